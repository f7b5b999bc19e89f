/* Sorting of more items than memory holds. Local.
 *
 * Items have one width; their first 8 bytes are an unsigned key in native order, equal keys are
 * ordered by `compare`, which must leave no two items equal if the order is to be defined. What
 * does not fit into the memory given is written as sorted runs to a nameless file in the folder of
 * `beside` and merged when read: the file is gone with the process, however that ends. */
#ifndef SQ_STORE_MERGE_SORT_H
#define SQ_STORE_MERGE_SORT_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef int (*merge_compare)(const void *a, const void *b, const void *user);

typedef struct merge_order {
    uint64_t key;
    unsigned char *item;
} merge_order;

typedef struct merge_run {
    uint64_t offset, end; /* bytes of the file that are not in the buffer yet */
    unsigned char *buffer;
    size_t at, count; /* items of the buffer */
} merge_run;

typedef struct merge_sorter {
    size_t width;
    merge_compare compare;
    const void *user;
    const char *beside; /* borrowed */
    uint64_t memory;
    /* Items in memory lie in blocks, so that none moves when there are more of them. */
    unsigned char **block;
    size_t nblock, block_capacity, per_block; /* per_block: a power of two */
    size_t count, most;
    merge_order *order, *other;
    size_t order_capacity, next;
    /* Items on disk. */
    int fd;
    uint64_t written; /* bytes since the last reset */
    uint64_t spilled; /* bytes in all */
    merge_run *run;
    size_t nrun, run_capacity;
    size_t *heap, nheap, heap_capacity;
    unsigned char *buffer; /* of all runs; or what is written to one */
    unsigned char *out;    /* the present batch of a merge */
    size_t out_capacity;
} merge_sorter;

/* `memory` bounds the bytes held, but for a few items of each run. */
void merge_sort_init(merge_sorter *s, size_t width, merge_compare compare, const void *user,
                     uint64_t memory, const char *beside);
sq_status merge_sort_add(merge_sorter *s, const void *items, size_t n);
/* No more items come: *total of them can be read. */
sq_status merge_sort_finish(merge_sorter *s, uint64_t *total);
/* The next items in order, *n <= most; valid until the next call. *n = 0 at the end. */
sq_status merge_sort_read(merge_sorter *s, size_t most, const unsigned char **item, size_t *n);
void merge_sort_reset(merge_sorter *s); /* empty, ready for other items; keeps its memory */
void merge_sort_clear(merge_sorter *s);

#endif
