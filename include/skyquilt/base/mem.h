/* Checked allocation. All memory is 64-byte aligned and zeroed; products are checked for overflow.
 * The bytes held and their peak are counted per process. Local. */
#ifndef SQ_BASE_MEM_H
#define SQ_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* *out = count * size zeroed bytes (never NULL on success). SQ_ERR_NOMEM names `what`. */
sq_status sq_alloc(void *out, size_t count, size_t size, const char *what);

/* Grow an array to hold at least `need` elements; doubles *capacity. New elements are zeroed. */
sq_status sq_grow(void *array, size_t *capacity, size_t need, size_t size, const char *what);

/* A copy of a string. */
sq_status sq_strdup(char **out, const char *text);

void sq_free(void *pointer);            /* accepts NULL */
uint64_t sq_mem_held(void);             /* bytes now held through sq_alloc */
uint64_t sq_mem_peak(void);             /* their maximum so far */
uint64_t sq_mem_resident_peak(void);    /* the process's peak resident set in bytes (VmHWM) */

/* Test hook: let the allocation after the next `after` ones fail; negative switches it off.
 * Also set by the environment variable SQ_FAIL_ALLOC. */
void sq_mem_fail_after(int64_t after);

#define SQ_ALLOC(out, count, what) sq_alloc(&(out), (size_t)(count), sizeof *(out), what)
#define SQ_GROW(array, capacity, need, what)                                                       \
    sq_grow(&(array), &(capacity), (size_t)(need), sizeof *(array), what)

#endif
