/* Sorting beyond memory: the same order as qsort gives, from memory and from the disk. */
#include "cm.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/mem.h"
#include "base/rng.h"
#include "scratch.h"
#include "store/merge_sort.h"

enum { WIDTH = 29, ITEMS = 30000 };

static const uint64_t second_bias = 7; /* to see that `user` arrives */

static int by_second(const void *a, const void *b, const void *user)
{
    uint64_t p, q;
    memcpy(&p, (const char *)a + 8, 8);
    memcpy(&q, (const char *)b + 8, 8);
    assert_ptr_equal(user, &second_bias);
    return (p > q) - (p < q);
}

static int by_both(const void *a, const void *b)
{
    uint64_t p, q;
    memcpy(&p, a, 8);
    memcpy(&q, b, 8);
    return p != q ? (p < q ? -1 : 1) : by_second(a, b, &second_bias);
}

/* Keys of all sizes, the largest among them, and many equal ones. */
static void make_items(unsigned char *out, size_t n, uint64_t seed)
{
    sq_rng rng;
    sq_rng_init(&rng, seed, 0, 0);
    for (size_t i = 0; i < n; i++) {
        uint64_t key = sq_rng_u64(&rng) >> sq_rng_u32(&rng) % 64, second = i * 2654435761u % 65521;
        key = sq_rng_u32(&rng) % 3 ? key : key % 5 ? UINT64_MAX : 11;
        memset(out + i * WIDTH, (int)i, WIDTH);
        memcpy(out + i * WIDTH, &key, 8);
        memcpy(out + i * WIDTH + 8, &second, 8);
    }
}

static void add_all(merge_sorter *s, const unsigned char *items, size_t n)
{
    for (size_t i = 0, part; i < n; i += part) {
        part = i % 97 + 1 < n - i ? i % 97 + 1 : n - i;
        assert_int_equal(merge_sort_add(s, items + i * WIDTH, part), SQ_OK);
    }
}

static void expect_sorted(merge_sorter *s, unsigned char *items, size_t n)
{
    const unsigned char *batch[33];
    size_t seen = 0, got;
    uint64_t total;
    qsort(items, n, WIDTH, by_both);
    assert_int_equal(merge_sort_finish(s, &total), SQ_OK);
    assert_int_equal(total, n);
    do {
        assert_int_equal(merge_sort_read(s, 33, batch, &got), SQ_OK);
        assert_true(seen + got <= n);
        for (size_t i = 0; i < got; i++)
            assert_memory_equal(batch[i], items + seen++ * WIDTH, WIDTH);
    } while (got);
    assert_int_equal(seen, n);
}

static void test_order(void **state)
{
    unsigned char *items = NULL;
    static const size_t sizes[] = {0, 1, 17, 4000, ITEMS};
    const char *path = scratch("release");
    (void)state;
    assert_int_equal(sq_alloc(&items, ITEMS, WIDTH, "items"), SQ_OK);
    for (uint64_t memory = 1; memory <= 100000000; memory *= 100) {
        merge_sorter s;
        merge_sort_init(&s, WIDTH, by_second, &second_bias, memory, path);
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            make_items(items, sizes[k], memory + k);
            add_all(&s, items, sizes[k]);
            expect_sorted(&s, items, sizes[k]);
            merge_sort_reset(&s);
        }
        assert_int_equal(s.spilled > 0, memory < 100000000);
        merge_sort_clear(&s);
    }
    sq_free(items);
}

static void test_memory_is_bounded(void **state)
{
    unsigned char *items = NULL;
    const uint64_t memory = 200000;
    merge_sorter s;
    const char *path = scratch("release");
    (void)state;
    assert_int_equal(sq_alloc(&items, ITEMS, WIDTH, "items"), SQ_OK);
    make_items(items, ITEMS, 1);
    uint64_t before = sq_mem_held(), most = 0;
    merge_sort_init(&s, WIDTH, by_second, &second_bias, memory, path);
    for (size_t i = 0; i < ITEMS; i++) {
        assert_int_equal(merge_sort_add(&s, items + i * WIDTH, 1), SQ_OK);
        most = sq_mem_held() - before > most ? sq_mem_held() - before : most;
    }
    expect_sorted(&s, items, ITEMS);
    most = sq_mem_held() - before > most ? sq_mem_held() - before : most;
    assert_true(most < memory + memory / 4);
    merge_sort_clear(&s);
    assert_int_equal(sq_mem_held(), before);
    sq_free(items);
}

static void test_a_full_disk_is_reported(void **state)
{
    unsigned char *items = NULL;
    struct rlimit old, limit;
    merge_sorter s;
    sq_status rc = SQ_OK;
    const char *path = scratch("release");
    (void)state;
    assert_int_equal(sq_alloc(&items, ITEMS, WIDTH, "items"), SQ_OK);
    make_items(items, ITEMS, 2);
    merge_sort_init(&s, WIDTH, by_second, &second_bias, 10000, path);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    limit = (struct rlimit){100000, old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
    for (size_t i = 0; rc == SQ_OK && i < ITEMS; i++)
        rc = merge_sort_add(&s, items + i * WIDTH, 1);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(rc, SQ_ERR_IO);
    assert_non_null(strstr(sq_error(), "release"));
    merge_sort_clear(&s);
    sq_free(items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_a_full_disk_is_reported),
    };
    return cmocka_run_group_tests(tests, scratch_begin, scratch_end);
}
