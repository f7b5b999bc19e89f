#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/status.h"

static void test_message(void **state)
{
    (void)state;
    assert_int_equal(sq_fail(SQ_ERR_FORMAT, "%s[%d]: %s: cut off", "a.fits", 3, "NAXIS"),
                     SQ_ERR_FORMAT);
    assert_string_equal(sq_error(), "a.fits[3]: NAXIS: cut off");
    assert_int_equal(sq_fail_in(SQ_ERR_FORMAT, "tile %d", 7), SQ_ERR_FORMAT);
    assert_string_equal(sq_error(), "tile 7: a.fits[3]: NAXIS: cut off");
    /* The message may be an argument of its own replacement. */
    sq_fail(SQ_ERR_IO, "again: %s", sq_error());
    assert_string_equal(sq_error(), "again: tile 7: a.fits[3]: NAXIS: cut off");
    sq_error_clear();
    assert_string_equal(sq_error(), "");
}

static void test_one_line(void **state)
{
    (void)state;
    sq_fail(SQ_ERR_FORMAT, "a\nb\rc\td\x1b[31m");
    for (const char *c = sq_error(); *c; c++)
        assert_true((unsigned char)*c >= 0x20);
    assert_string_equal(sq_error(), "a b c d [31m");
    sq_fail_in(SQ_ERR_FORMAT, "x\ny");
    assert_string_equal(sq_error(), "x y: a b c d [31m");
}

static void test_long(void **state)
{
    (void)state;
    char text[3 * SQ_ERROR_MAX];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    sq_fail(SQ_ERR_IO, "%s", text);
    assert_int_equal(strlen(sq_error()), SQ_ERROR_MAX - 1);
    for (int i = 0; i < 20; i++)
        sq_fail_in(SQ_ERR_IO, "%.*s", 100 * i, text);
    assert_int_equal(strlen(sq_error()), SQ_ERROR_MAX - 1);
}

static void *other_thread(void *seen)
{
    *(int *)seen = sq_error()[0] == '\0';
    sq_fail(SQ_ERR_IO, "theirs");
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t thread;
    int clean = 0;
    sq_fail(SQ_ERR_DATA, "mine");
    assert_int_equal(pthread_create(&thread, NULL, other_thread, &clean), 0);
    pthread_join(thread, NULL);
    assert_true(clean);
    assert_string_equal(sq_error(), "mine");
}

/* Names are stored in ledgers and codes are documented: they may not change. */
static void test_stable(void **state)
{
    (void)state;
    const struct {
        sq_status code;
        const char *name;
        int exit;
    } table[] = {
        {SQ_OK, "ok", 0},
        {SQ_ERR_USAGE, "usage", 1},
        {SQ_ERR_CONFIG, "config", 1},
        {SQ_ERR_FORMAT, "format", 1},
        {SQ_ERR_DATA, "data", 1},
        {SQ_ERR_CHANGED, "changed", 1},
        {SQ_ERR_UNSUPPORTED, "unsupported", 1},
        {SQ_ERR_IO, "io", 4},
        {SQ_ERR_NOMEM, "nomem", 4},
        {SQ_ERR_COMM, "comm", 4},
        {SQ_ERR_STOPPED, "stopped", 3},
        {SQ_ERR_CORRUPT, "corrupt", 4},
        {SQ_ERR_INTERNAL, "internal", 4},
    };
    assert_int_equal(sizeof table / sizeof *table, SQ_STATUS_COUNT);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        assert_string_equal(sq_status_name(table[i].code), table[i].name);
        assert_int_equal(sq_exit_code(table[i].code), table[i].exit);
    }
    assert_string_equal(sq_status_name((sq_status)1000), "unknown");
    assert_int_equal(sq_exit_code((sq_status)-1), 4);
}

static sq_status leave(sq_status first, int *reached)
{
    sq_status rc = SQ_OK;
    SQ_TRY(first);
    *reached = 1;
cleanup:
    return rc;
}

static void test_try(void **state)
{
    (void)state;
    int reached = 0;
    assert_int_equal(leave(SQ_ERR_DATA, &reached), SQ_ERR_DATA);
    assert_int_equal(reached, 0);
    assert_int_equal(leave(SQ_OK, &reached), SQ_OK);
    assert_int_equal(reached, 1);
}

static void *spin(void *stop)
{
    volatile double sink = 0;
    while (!*(volatile int *)stop)
        sink += 1;
    return NULL;
}

/* Beside a thread that spins on the same core, waiting for the core does not count; sleeping does. */
static void test_busy_clock(void **state)
{
    (void)state;
    cpu_set_t before, one;
    pthread_t other;
    volatile int stop = 0;
    volatile double sink = 0;
    if (access("/proc/thread-self/schedstat", R_OK) != 0 ||
        sched_getaffinity(0, sizeof before, &before) != 0)
        skip();
    CPU_ZERO(&one);
    for (int c = 0; c < CPU_SETSIZE && CPU_COUNT(&one) == 0; c++) {
        if (CPU_ISSET(c, &before))
            CPU_SET(c, &one);
    }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(pthread_create(&other, NULL, spin, (void *)&stop), 0);
    double wall = sq_now(), busy = sq_busy_now(), cpu = sq_cpu_now();
    while (sq_cpu_now() - cpu < 0.2)
        sink += 1;
    busy = sq_busy_now() - busy;
    wall = sq_now() - wall;
    stop = 1;
    pthread_join(other, NULL);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_true(wall > 0.3);
    assert_true(busy > 0.19 && busy < 0.25);
    busy = sq_busy_now();
    usleep(50000);
    assert_true(sq_busy_now() - busy > 0.045);
}

static void test_clock(void **state)
{
    (void)state;
    char stamp[21], small[5] = "abcd";
    double before = sq_now(), cpu = sq_cpu_now();
    volatile double sink = 0;
    while (sq_cpu_now() - cpu < 0.01)
        sink += 1;
    assert_true(sq_now() - before >= 0.0099);
    assert_true(sq_wall() > 1.7e9);
    sq_timestamp(stamp, sizeof stamp);
    assert_int_equal(strlen(stamp), 20);
    assert_true(stamp[4] == '-' && stamp[10] == 'T' && stamp[19] == 'Z');
    sq_timestamp(small, sizeof small);
    assert_string_equal(small, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message), cmocka_unit_test(test_one_line),
        cmocka_unit_test(test_long),    cmocka_unit_test(test_threads),
        cmocka_unit_test(test_stable),  cmocka_unit_test(test_try),
        cmocka_unit_test(test_clock), cmocka_unit_test(test_busy_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
