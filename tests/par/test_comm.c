/* Run under mpirun with 1, 2 and 4 ranks: every rank runs every test, in the same order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "par/comm.h"
#include "par/message.h"

static const sq_comm *world;
static int rank, size;

static void all_ranks_learn_the_worst_status(void **state)
{
    (void)state;
    static const struct {
        sq_status first, last, worst;
    } cases[] = {
        {SQ_OK, SQ_OK, SQ_OK},
        {SQ_ERR_IO, SQ_OK, SQ_ERR_IO},
        {SQ_OK, SQ_ERR_CONFIG, SQ_ERR_CONFIG},
        {SQ_ERR_STOPPED, SQ_ERR_CORRUPT, SQ_ERR_CORRUPT},
        {SQ_ERR_STOPPED, SQ_ERR_USAGE, SQ_ERR_USAGE},
        {SQ_ERR_IO, SQ_ERR_NOMEM, SQ_ERR_IO}, /* equally bad: the lowest rank's */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sq_status mine = rank == 0 ? cases[i].first : rank == size - 1 ? cases[i].last : SQ_OK;
        if (mine != SQ_OK)
            sq_fail(mine, "file%d.h5: reason %d", rank, (int)i);
        sq_status got = sq_comm_agree(world, mine);
        if (size == 1) {
            assert_int_equal(got, cases[i].first);
            continue;
        }
        assert_int_equal(got, cases[i].worst);
        if (got == SQ_OK)
            continue;
        int culprit = got == cases[i].first ? 0 : size - 1;
        char expected[64];
        snprintf(expected, sizeof expected, "%sfile%d.h5: reason %d",
                 rank == culprit ? ""
                 : culprit       ? "rank N: "
                                 : "rank 0: ",
                 culprit, (int)i);
        char *letter = strchr(expected, 'N');
        if (letter)
            *letter = (char)('0' + culprit);
        assert_string_equal(sq_error(), expected);
    }
}

static void collectives_carry_what_they_should(void **state)
{
    (void)state;
    char *text;
    assert_int_equal(SQ_ALLOC(text, 100000, "text"), SQ_OK);
    if (rank == size - 1)
        memset(text, 'x', 100000);
    assert_int_equal(sq_comm_broadcast(world, size - 1, text, 100000), SQ_OK);
    for (int i = 0; i < 100000; i += 999)
        assert_int_equal(text[i], 'x');
    sq_free(text);

    int64_t sum[2] = {rank + 1, -rank}, low = rank * 3 + 5, before[2] = {rank + 1, 10};
    assert_int_equal(sq_comm_reduce_i64(world, SQ_SUM, sum, 2), SQ_OK);
    assert_int_equal(sum[0], size * (size + 1) / 2);
    assert_int_equal(sum[1], -size * (size - 1) / 2);
    assert_int_equal(sq_comm_reduce_i64(world, SQ_MIN, &low, 1), SQ_OK);
    assert_int_equal(low, 5);
    assert_int_equal(sq_comm_scan_before(world, before, 2), SQ_OK);
    assert_int_equal(before[0], rank * (rank + 1) / 2);
    assert_int_equal(before[1], 10 * rank);

    /* Sums of doubles are those of rank order, which is not associative arithmetic. */
    double value[3] = {rank == 0 ? 1e16 : 1, rank, -rank}, expected = 1e16;
    for (int r = 1; r < size; r++)
        expected += 1;
    assert_int_equal(sq_comm_reduce_f64(world, SQ_SUM, value, 1), SQ_OK);
    assert_true(value[0] == expected);
    assert_int_equal(sq_comm_reduce_f64(world, SQ_MAX, value + 1, 1), SQ_OK);
    assert_int_equal(sq_comm_reduce_f64(world, SQ_MIN, value + 2, 1), SQ_OK);
    assert_true(value[1] == size - 1 && value[2] == 1 - size);

    int all[64];
    assert_int_equal(sq_comm_all_gather(world, &rank, sizeof rank, all), SQ_OK);
    for (int r = 0; r < size; r++)
        assert_int_equal(all[r], r);
}

static void buffers_of_different_sizes_are_gathered(void **state)
{
    (void)state;
    size_t n = (size_t)rank * 1000 + (rank == 1 ? 0 : 7), total, count[64];
    if (rank == 1)
        n = 0;
    unsigned char *mine = malloc(n + 1);
    void *all;
    memset(mine, rank, n);
    assert_int_equal(sq_comm_gather(world, mine, n, &all, &total, count), SQ_OK);
    if (rank == 0) {
        size_t at = 0;
        for (int r = 0; r < size; r++) {
            assert_int_equal(count[r], r == 1 ? 0 : (size_t)r * 1000 + 7);
            for (size_t i = 0; i < count[r]; i++)
                assert_int_equal(((unsigned char *)all)[at + i], r);
            at += count[r];
        }
        assert_int_equal(at, total);
    } else {
        assert_null(all);
    }
    sq_free(all);
    free(mine);
}

/* What rank a sends to rank b: a length and content that both can compute. */
static size_t length(int a, int b)
{
    return (a + b) % 3 == 1 ? 0 : (size_t)(a * 577 + b * 31 + 5);
}

static void exchanges_deliver_in_rank_order(void **state)
{
    (void)state;
    size_t offset[64], to[64], from[64], total = 0, at = 0;
    for (int r = 0; r < size; total += to[r], r++) {
        offset[r] = total;
        to[r] = length(rank, r);
    }
    unsigned char *send = malloc(total + 1);
    void *got;
    for (int r = 0; r < size; r++)
        memset(send + offset[r], rank * 16 + r, to[r]);
    assert_int_equal(sq_comm_exchange(world, send, offset, to, &got, from), SQ_OK);
    for (int r = 0; r < size; r++) {
        assert_int_equal(from[r], length(r, rank));
        for (size_t i = 0; i < from[r]; i++)
            assert_int_equal(((unsigned char *)got)[at++], r * 16 + rank);
    }
    sq_free(got);
    free(send);
}

static void parts_of_a_communicator_work_alone(void **state)
{
    (void)state;
    sq_comm *half;
    assert_int_equal(sq_comm_split(world, rank % 2 ? -1 : 3, &half), SQ_OK);
    if (rank % 2) {
        assert_null(half);
    } else {
        int64_t one = 1;
        assert_int_equal(sq_comm_size(half), (size + 1) / 2);
        assert_int_equal(sq_comm_rank(half), rank / 2);
        assert_int_equal(sq_comm_reduce_i64(half, SQ_SUM, &one, 1), SQ_OK);
        assert_int_equal(one, (size + 1) / 2);
        sq_comm_destroy(half);
    }
    /* Without the last rank, which does not take part in the call. */
    int member[64];
    for (int r = 0; r < size; r++)
        member[r] = r;
    if (size > 1 && rank < size - 1) {
        sq_comm *rest;
        int64_t one = 1;
        assert_int_equal(sq_comm_subset(world, member, size - 1, &rest), SQ_OK);
        assert_int_equal(sq_comm_reduce_i64(rest, SQ_SUM, &one, 1), SQ_OK);
        assert_int_equal(one, size - 1);
        sq_comm_destroy(rest);
    }
    sq_comm_barrier(world);
}

enum { MESSAGES = 500 };

static void messages_arrive_once_in_order(void **state)
{
    (void)state;
    sq_mailbox *box;
    sq_message m;
    int got;
    assert_int_equal(sq_mailbox_create(world, &box), SQ_OK);
    if (rank == 0) {
        uint32_t next[64] = {0};
        for (int left = MESSAGES * (size - 1); left;) {
            assert_int_equal(sq_mailbox_receive(box, 10, &m, &got), SQ_OK);
            assert_true(got);
            uint32_t number;
            memcpy(&number, m.body, 4);
            assert_int_equal(m.kind, 7);
            assert_int_equal(m.size, 4 + number % (SQ_MESSAGE_BODY - 3));
            assert_int_equal(number, next[m.source]++);
            assert_int_equal(sq_mailbox_send(box, m.source, 8, m.body, 4), SQ_OK);
            left--;
        }
    } else {
        unsigned char body[SQ_MESSAGE_BODY] = {0};
        for (uint32_t i = 0; i < MESSAGES; i++) {
            memcpy(body, &i, 4);
            assert_int_equal(sq_mailbox_send(box, 0, 7, body, 4 + i % (SQ_MESSAGE_BODY - 3)),
                             SQ_OK);
        }
        for (uint32_t i = 0; i < MESSAGES; i++) {
            assert_int_equal(sq_mailbox_receive(box, -1, &m, &got), SQ_OK);
            assert_true(got);
            assert_int_equal(m.source, 0);
            assert_memory_equal(m.body, &i, 4);
        }
    }
    assert_int_equal(sq_mailbox_send(box, size, 1, NULL, 0), SQ_ERR_USAGE);
    assert_int_equal(sq_mailbox_send(box, rank, 1, &m, SQ_MESSAGE_BODY + 1), SQ_ERR_USAGE);
    assert_int_equal(sq_mailbox_send(box, rank, 9, "self", 5), SQ_OK);
    assert_int_equal(sq_mailbox_receive(box, 1, &m, &got), SQ_OK);
    assert_true(got && m.kind == 9 && m.source == rank);
    assert_string_equal((char *)m.body, "self");
    sq_comm_barrier(world);
    for (double end = sq_now() + 5; sq_mailbox_unsent(box) && sq_now() < end;)
        assert_int_equal(sq_mailbox_receive(box, 0.01, &m, &got), SQ_OK);
    assert_int_equal(sq_mailbox_unsent(box), 0);
    sq_mailbox_destroy(box);
}

static void waiting_costs_no_core(void **state)
{
    (void)state;
    sq_mailbox *box;
    sq_message m;
    int got;
    assert_int_equal(sq_mailbox_create(world, &box), SQ_OK);
    if (rank == 0) {
        double start = sq_now(), cpu = sq_cpu_now();
        assert_int_equal(sq_mailbox_receive(box, 0.5, &m, &got), SQ_OK);
        assert_false(got);
        assert_true(sq_now() - start >= 0.5);
        assert_true(sq_cpu_now() - cpu < 0.05);
        start = sq_now();
        assert_int_equal(sq_mailbox_receive(box, 0, &m, &got), SQ_OK);
        assert_false(got);
    }
    sq_comm_barrier(world);
    /* Nobody receives these yet: sending does not wait for it. */
    double start = sq_now();
    for (int i = 0; i < 500; i++)
        assert_int_equal(sq_mailbox_send(box, (rank + 1) % size, 1, "x", 2), SQ_OK);
    assert_true(sq_now() - start < 5);
    sq_comm_barrier(world);
    for (int i = 0; i < 500; i++) {
        assert_int_equal(sq_mailbox_receive(box, 10, &m, &got), SQ_OK);
        assert_true(got);
    }
    sq_comm_barrier(world);
    sq_mailbox_destroy(box);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_ranks_learn_the_worst_status),
        cmocka_unit_test(collectives_carry_what_they_should),
        cmocka_unit_test(buffers_of_different_sizes_are_gathered),
        cmocka_unit_test(exchanges_deliver_in_rank_order),
        cmocka_unit_test(parts_of_a_communicator_work_alone),
        cmocka_unit_test(messages_arrive_once_in_order),
        cmocka_unit_test(waiting_costs_no_core),
    };
    if (sq_comm_init(&argc, &argv) != SQ_OK)
        return 99;
    world = sq_comm_world();
    rank = sq_comm_rank(world);
    size = sq_comm_size(world);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sq_comm_finalize();
    return failed;
}
