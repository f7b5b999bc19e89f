#include "cm.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "scratch.h"
#include "store/ledger.h"

enum { EVENTS = 60 };

/* In place of the C library's: fails once when told to, as a disk does whose kernel then takes the
 * lost pages for clean. */
static int fail_next_sync;

int fsync(int fd)
{
    if (!fail_next_sync)
        return (int)syscall(SYS_fsync, fd);
    fail_next_sync = 0;
    errno = EIO;
    return -1;
}

static sq_event event_of(int i)
{
    sq_event e = {.kind = (sq_event_kind)(i % SQ_EVENT_COUNT), .execution = (uint32_t)i / 9};
    e.phase = (uint32_t)i % 3;
    e.patch = (uint64_t)i * 1234567890123ull;
    e.realisation = (uint32_t)i % 4;
    e.attempt = (uint32_t)i % 5;
    e.count = (uint64_t)i % 7 * 100;
    e.rows = (uint64_t)i % 11;
    e.status = (sq_status)(i % SQ_STATUS_COUNT);
    e.config = (sq_hash){(uint64_t)i * 17, (uint64_t)i};
    e.input = (sq_hash){~(uint64_t)i, 3};
    if (i % 2)
        e.model = (sq_hash){1, 2};
    if (e.kind == SQ_EVENT_COMMIT) {
        snprintf(e.place.segment, sizeof e.place.segment, "e%d-r1-000001.sqs", i);
        e.place.offset = (uint64_t)i << 33;
        e.place.length = 160;
        e.place.hash = (sq_hash){5, (uint64_t)i};
    }
    snprintf(e.text, sizeof e.text, "a tile/of \"%d%%\" = x\n\tna\xc3\xafve", i);
    if (i == 20)
        memset(e.text, '\n', sizeof e.text - 1); /* the longest line there can be */
    return e;
}

typedef struct seen {
    int count;
} seen;

static sq_status visit(void *user, const sq_event *event, int64_t line)
{
    seen *s = user;
    sq_event expected = event_of(s->count++);
    assert_int_equal(line, s->count);
    assert_memory_equal(event->text, expected.text, sizeof event->text);
    assert_memory_equal(&event->place.segment, &expected.place.segment, SQ_SEGMENT_NAME);
    assert_int_equal(event->kind, expected.kind);
    assert_int_equal(event->patch, expected.patch);
    assert_int_equal(event->status, expected.status);
    assert_int_equal(event->place.offset, expected.place.offset);
    assert_true(sq_hash_equal(event->config, expected.config));
    assert_true(sq_hash_equal(event->model, expected.model));
    assert_true(sq_hash_equal(event->input, expected.input));
    assert_true(sq_hash_equal(event->place.hash, expected.place.hash));
    assert_int_equal(event->rows + event->count + event->attempt + event->phase,
                     expected.rows + expected.count + expected.attempt + expected.phase);
    return SQ_OK;
}

static void append(int from, int to)
{
    sq_ledger *ledger;
    seen s = {0};
    ok(sq_ledger_open(scratch("ledger"), visit, &s, &ledger));
    assert_int_equal(s.count, from);
    for (int i = from; i < to; i++) {
        sq_event e = event_of(i);
        ok(sq_ledger_append(ledger, &e));
        if (i % 5 == 0)
            ok(sq_ledger_flush(ledger));
    }
    ok(sq_ledger_close(ledger));
}

static void events_come_back(void **state)
{
    (void)state;
    append(0, 25);
    append(25, 26);
    append(26, EVENTS);
    seen s = {0};
    int torn;
    ok(sq_ledger_replay(scratch("ledger"), visit, &s, &torn));
    assert_int_equal(s.count, EVENTS);
    assert_false(torn);
}

/* Cut at every byte: all whole lines are replayed, the torn one is cut, and appending goes on from
 * there. */
static void a_torn_last_line_is_cut(void **state)
{
    (void)state;
    size_t size;
    append(0, EVENTS);
    char *data = (char *)slurp(scratch("ledger"), &size);
    for (size_t cut = 0; cut <= size; cut++) {
        int whole = 0;
        size_t good;
        seen s = {0};
        char *part = malloc(cut + 1);
        memcpy(part, data, cut);
        for (size_t i = 0; i < cut; i++)
            whole += data[i] == '\n';
        ok(sq_ledger_replay_bytes(part, cut, "ledger", visit, &s, &good));
        assert_int_equal(s.count, whole);
        assert_true(good == 0 || data[good - 1] == '\n');
        free(part);
        if (cut % 997)
            continue;
        spill(scratch("ledger"), data, cut);
        append(whole, EVENTS);
        int torn;
        s.count = 0;
        ok(sq_ledger_replay(scratch("ledger"), visit, &s, &torn));
        assert_int_equal(s.count, EVENTS);
    }
    free(data);
}

/* Any changed byte before the end is an error that names its line. A destroyed newline in the last
 * line makes it torn. */
static void damage_names_its_line(void **state)
{
    (void)state;
    size_t size, good;
    append(0, 30);
    char *data = (char *)slurp(scratch("ledger"), &size);
    int line = 1;
    for (size_t i = 0; i < size; i++) {
        char was = data[i], expected[32];
        int ends = was == '\n';
        data[i] ^= (char)(1 << i % 8);
        snprintf(expected, sizeof expected, "ledger:%d:", line);
        sq_status rc = sq_ledger_replay_bytes(data, size, "ledger", NULL, NULL, &good);
        if (i + 1 == size) {
            assert_int_equal(rc, SQ_OK);
            assert_true(good < size);
        } else {
            assert_int_equal(rc, SQ_ERR_CORRUPT);
            assert_memory_equal(sq_error(), expected, strlen(expected));
        }
        data[i] = was;
        line += ends;
    }
    /* Whole lines taken out, doubled or exchanged. */
    char *second = memchr(data, '\n', size), *third, *fourth;
    second++;
    third = memchr(second, '\n', size) + 1;
    fourth = memchr(third, '\n', size) + 1;
    char *other = malloc(2 * size);
    size_t head = (size_t)(second - data), n2 = (size_t)(third - second),
           n3 = (size_t)(fourth - third);
    memcpy(other, data, head);
    memcpy(other + head, third, size - head - n2);
    assert_int_equal(sq_ledger_replay_bytes(other, size - n2, "l", NULL, NULL, &good),
                     SQ_ERR_CORRUPT);
    memcpy(other + head, second, n2);
    memcpy(other + head + n2, second, size - head);
    assert_int_equal(sq_ledger_replay_bytes(other, size + n2, "l", NULL, NULL, &good),
                     SQ_ERR_CORRUPT);
    memcpy(other + head, third, n3);
    memcpy(other + head + n3, second, n2);
    memcpy(other + head + n2 + n3, fourth, size - head - n2 - n3);
    assert_int_equal(sq_ledger_replay_bytes(other, size, "l", NULL, NULL, &good), SQ_ERR_CORRUPT);
    spill(scratch("ledger"), other, size);
    sq_ledger *ledger;
    assert_int_equal(sq_ledger_open(scratch("ledger"), NULL, NULL, &ledger), SQ_ERR_CORRUPT);
    free(other);
    free(data);
}

static void a_second_writer_is_refused(void **state)
{
    (void)state;
    sq_ledger *first, *second;
    ok(sq_ledger_open(scratch("ledger"), NULL, NULL, &first));
    assert_int_equal(sq_ledger_open(scratch("ledger"), NULL, NULL, &second), SQ_ERR_IO);
    assert_non_null(strstr(sq_error(), "another run"));
    ok(sq_ledger_close(first));
    ok(sq_ledger_open(scratch("ledger"), NULL, NULL, &second));
    ok(sq_ledger_close(second));
    assert_int_equal(sq_ledger_open(scratch("no/such/ledger"), NULL, NULL, &second), SQ_ERR_IO);
}

static void a_full_disk_loses_nothing(void **state)
{
    (void)state;
    struct rlimit before, small;
    sq_ledger *ledger;
    seen s = {0};
    int torn;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 1000;
    ok(sq_ledger_open(scratch("ledger"), NULL, NULL, &ledger));
    for (int i = 0; i < EVENTS; i++) {
        sq_event e = event_of(i);
        ok(sq_ledger_append(ledger, &e));
        if (i == 1)
            ok(sq_ledger_flush(ledger));
        if (i == 30) {
            setrlimit(RLIMIT_FSIZE, &small);
            assert_int_equal(sq_ledger_flush(ledger), SQ_ERR_IO);
            assert_true(sq_ledger_unflushed(ledger) > 0);
            setrlimit(RLIMIT_FSIZE, &before);
            ok(sq_ledger_replay(scratch("ledger"), visit, &s, &torn));
            assert_int_equal(s.count, 2);
            assert_false(torn);
        }
    }
    ok(sq_ledger_close(ledger));
    s.count = 0;
    ok(sq_ledger_replay(scratch("ledger"), visit, &s, &torn));
    assert_int_equal(s.count, EVENTS);
}

/* After a failed fsync no later one may say that all is well, and nobody reads the lines. */
static void a_failed_fsync_is_final(void **state)
{
    (void)state;
    sq_ledger *ledger;
    seen s = {0};
    int torn;
    append(0, 10);
    ok(sq_ledger_open(scratch("ledger"), NULL, NULL, &ledger));
    for (int i = 10; i < 13; i++) {
        sq_event e = event_of(i);
        ok(sq_ledger_append(ledger, &e));
    }
    fail_next_sync = 1;
    assert_int_equal(sq_ledger_flush(ledger), SQ_ERR_IO);
    assert_false(fail_next_sync);
    assert_int_equal(sq_ledger_flush(ledger), SQ_ERR_IO);
    ok(sq_ledger_replay(scratch("ledger"), visit, &s, &torn));
    assert_int_equal(s.count, 10);
    assert_false(torn);
    assert_int_equal(sq_ledger_close(ledger), SQ_ERR_IO);
    append(10, EVENTS);
}

/* Larger than what is read at once; and a tail of zeros, as a power cut leaves, of any length. */
static void a_long_ledger_is_read_in_pieces(void **state)
{
    (void)state;
    enum { LINES = 20000 };
    sq_ledger *ledger;
    seen s = {0};
    int torn;
    size_t size;
    ok(sq_ledger_open(scratch("ledger"), NULL, NULL, &ledger));
    for (int i = 0; i < LINES; i++) {
        sq_event e = event_of(i);
        ok(sq_ledger_append(ledger, &e));
    }
    ok(sq_ledger_close(ledger));
    unsigned char *data = slurp(scratch("ledger"), &size);
    assert_true(size > 3 << 20);
    uint64_t held = sq_mem_held();
    ok(sq_ledger_replay(scratch("ledger"), visit, &s, &torn));
    assert_int_equal(s.count, LINES);
    assert_false(torn);
    assert_int_equal(sq_mem_held(), held);
    data = realloc(data, size + (3 << 20));
    memset(data + size, 0, 3 << 20);
    spill(scratch("ledger"), data, size + (3 << 20));
    s.count = 0;
    ok(sq_ledger_replay(scratch("ledger"), visit, &s, &torn));
    assert_int_equal(s.count, LINES);
    assert_true(torn);
    data[size + (2 << 20)] = '\n';
    spill(scratch("ledger"), data, size + (3 << 20));
    assert_int_equal(sq_ledger_replay(scratch("ledger"), NULL, NULL, &torn), SQ_ERR_CORRUPT);
    assert_non_null(strstr(sq_error(), ":20001: not a line"));
    data[size + (2 << 20)] = 0;
    spill(scratch("ledger"), data, size + (3 << 20));
    s.count = 0;
    ok(sq_ledger_open(scratch("ledger"), visit, &s, &ledger));
    assert_int_equal(s.count, LINES);
    ok(sq_ledger_close(ledger));
    free(data);
    free(slurp(scratch("ledger"), &size));
    assert_true(size > 3 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(events_come_back, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(a_torn_last_line_is_cut, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(damage_names_its_line, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(a_second_writer_is_refused, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(a_full_disk_loses_nothing, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(a_failed_fsync_is_final, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(a_long_ledger_is_read_in_pieces, scratch_begin,
                                        scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
