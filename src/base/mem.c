#include "base/mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_uint_fast64_t held, peak;
static atomic_int_fast64_t fail_after = -2; /* -2: the environment has not been asked yet */

void sq_mem_fail_after(int64_t after)
{
    atomic_store(&fail_after, after < 0 ? -1 : after);
}

static int told_to_fail(void)
{
    int64_t left = atomic_load(&fail_after);
    if (left == -2) {
        const char *text = getenv("SQ_FAIL_ALLOC");
        left = text ? atoll(text) : -1;
        atomic_store(&fail_after, left);
    }
    return left >= 0 && atomic_fetch_sub(&fail_after, 1) == 0;
}

static void count(void *pointer)
{
    uint64_t now = atomic_fetch_add(&held, malloc_usable_size(pointer)) +
                   malloc_usable_size(pointer);
    uint64_t seen = atomic_load(&peak);
    while (now > seen && !atomic_compare_exchange_weak(&peak, &seen, now)) {
    }
}

sq_status sq_alloc(void *out, size_t count_, size_t size, const char *what)
{
    size_t bytes;
    void *pointer = NULL;
    if (__builtin_mul_overflow(count_, size, &bytes) || bytes > SIZE_MAX / 2)
        return sq_fail(SQ_ERR_NOMEM, "%s: %zu x %zu bytes is more than an address can hold", what,
                       count_, size);
    if (told_to_fail() || posix_memalign(&pointer, 64, bytes ? bytes : 1) != 0)
        return sq_fail(SQ_ERR_NOMEM, "%s: cannot allocate %zu bytes", what, bytes);
    memset(pointer, 0, bytes ? bytes : 1);
    count(pointer);
    memcpy(out, &pointer, sizeof pointer);
    return SQ_OK;
}

sq_status sq_grow(void *array, size_t *capacity, size_t need, size_t size, const char *what)
{
    if (need <= *capacity)
        return SQ_OK;
    size_t wanted = *capacity < 8 ? 8 : *capacity;
    while (wanted < need) {
        if (__builtin_mul_overflow(wanted, (size_t)2, &wanted))
            return sq_fail(SQ_ERR_NOMEM, "%s: cannot grow to %zu elements", what, need);
    }
    void *old, *grown;
    memcpy(&old, array, sizeof old);
    sq_status rc = sq_alloc(&grown, wanted, size, what);
    if (rc != SQ_OK)
        return rc;
    if (old)
        memcpy(grown, old, *capacity * size);
    sq_free(old);
    memcpy(array, &grown, sizeof grown);
    *capacity = wanted;
    return SQ_OK;
}

sq_status sq_strdup(char **out, const char *text)
{
    size_t size = strlen(text) + 1;
    sq_status rc = sq_alloc(out, size, 1, "string");
    if (rc == SQ_OK)
        memcpy(*out, text, size);
    return rc;
}

void sq_free(void *pointer)
{
    if (!pointer)
        return;
    atomic_fetch_sub(&held, malloc_usable_size(pointer));
    free(pointer);
}

uint64_t sq_mem_held(void)
{
    return atomic_load(&held);
}

uint64_t sq_mem_peak(void)
{
    return atomic_load(&peak);
}

uint64_t sq_mem_resident_peak(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long long kib = 0;
    if (!file)
        return 0;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "VmHWM: %llu", &kib) == 1)
            break;
    }
    fclose(file);
    return kib * 1024;
}
