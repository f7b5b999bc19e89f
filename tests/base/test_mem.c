#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"

static void test_alloc(void **state)
{
    (void)state;
    uint64_t before = sq_mem_held();
    for (size_t size = 0; size < 100000; size = size * 3 + 1) {
        unsigned char *p = NULL;
        assert_int_equal(sq_alloc(&p, size, 1, "test"), SQ_OK);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, size);
        assert_true(sq_mem_held() >= before + size);
        assert_true(sq_mem_peak() >= sq_mem_held());
        sq_free(p);
        assert_true(sq_mem_held() == before);
    }
    sq_free(NULL);
}

static void test_overflow(void **state)
{
    (void)state;
    double *p = NULL;
    assert_int_equal(SQ_ALLOC(p, SIZE_MAX / 4, "catalogue"), SQ_ERR_NOMEM);
    assert_non_null(strstr(sq_error(), "catalogue"));
    assert_int_equal(SQ_ALLOC(p, -1, "catalogue"), SQ_ERR_NOMEM);
    assert_int_equal(sq_alloc(&p, SIZE_MAX / 2 + 1, 1, "catalogue"), SQ_ERR_NOMEM);
    assert_int_equal(sq_alloc(&p, (size_t)1 << 46, 1, "catalogue"), SQ_ERR_NOMEM);
    assert_null(p);
}

static void test_grow(void **state)
{
    (void)state;
    int *array = NULL;
    size_t capacity = 0;
    uint64_t before = sq_mem_held();
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(SQ_GROW(array, capacity, i + 1, "test"), SQ_OK);
        assert_true(capacity >= (size_t)i + 1);
        assert_int_equal(array[capacity - 1], 0);
        array[i] = i + 1;
    }
    for (int i = 0; i < 10000; i++)
        assert_int_equal(array[i], i + 1);
    int *same = array;
    assert_int_equal(SQ_GROW(array, capacity, 5, "test"), SQ_OK);
    assert_ptr_equal(array, same);
    /* A failure leaves the array as it was. */
    size_t had = capacity;
    assert_int_equal(SQ_GROW(array, capacity, SIZE_MAX / 2, "test"), SQ_ERR_NOMEM);
    assert_int_equal(SQ_GROW(array, capacity, SIZE_MAX, "test"), SQ_ERR_NOMEM);
    assert_true(array == same && capacity == had && array[9999] == 10000);
    sq_free(array);
    assert_true(sq_mem_held() == before);
}

static void test_strdup(void **state)
{
    (void)state;
    char *copy = NULL;
    assert_int_equal(sq_strdup(&copy, "kappa"), SQ_OK);
    assert_string_equal(copy, "kappa");
    sq_free(copy);
    assert_int_equal(sq_strdup(&copy, ""), SQ_OK);
    assert_string_equal(copy, "");
    sq_free(copy);
}

static void test_injected_failure(void **state)
{
    (void)state;
    for (int64_t after = 0; after < 4; after++) {
        int got = 0;
        void *p[6] = {0};
        sq_mem_fail_after(after);
        for (int i = 0; i < 6; i++)
            got += sq_alloc(&p[i], 8, 1, "test") == SQ_OK;
        assert_int_equal(got, 5);
        assert_null(p[after]);
        for (int i = 0; i < 6; i++)
            sq_free(p[i]);
    }
    sq_mem_fail_after(-1);
    void *p;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(sq_alloc(&p, 8, 1, "test"), SQ_OK);
        sq_free(p);
    }
}

static void test_resident(void **state)
{
    (void)state;
    enum { SIZE = 64 << 20 };
    uint64_t before = sq_mem_resident_peak();
    assert_true(before > 100000);
    unsigned char *p;
    assert_int_equal(sq_alloc(&p, SIZE, 1, "test"), SQ_OK);
    memset(p, 1, SIZE);
    assert_true(sq_mem_resident_peak() >= SIZE);
    sq_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alloc),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_grow),
        cmocka_unit_test(test_strdup),
        cmocka_unit_test(test_injected_failure),
        cmocka_unit_test(test_resident),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
