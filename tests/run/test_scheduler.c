/* The scheduler under simulated faults: every task is settled exactly once and the run ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "scheduler_sim.h"

static const uint64_t small_a[] = {0, 7, 7, 20, 41}, small_b[] = {0, 5, 9};

static sim_setup calm(uint64_t seed)
{
    return (sim_setup){.seed = seed,
                       .workers = 4,
                       .nphase = 2,
                       .phase = {{1, 4, small_a, NULL}, {3, 2, small_b, NULL}},
                       .limits = {.deadline = 60, .retry_pause = 0.5, .grace = 4},
                       .mean_seconds = 1,
                       .delay = 0.01,
                       .heartbeat = 5,
                       .lost_notice = 1};
}

/* Run and resume until the survey is complete; checks what holds in every schedule. */
static int until_complete(const sim_setup *setup, sim_world *world, sim_result *sum)
{
    enum { MOST = 400 };
    int executions = 0;
    uint64_t open = 0;
    for (int p = 0; p < setup->nphase; p++) {
        for (uint64_t i = 0; i < sim_tasks(setup, p); i++)
            open += !world->state[p][i];
    }
    *sum = (sim_result){0};
    for (; executions < MOST; executions++) {
        sim_result r;
        sim_setup again = *setup;
        again.stop_at = executions == 0 ? setup->stop_at : 0;
        if (executions > 20)
            again.kill_rate = again.hang_rate = 0;
        if (sim_run(&again, world, (uint32_t)executions, &r) != SQ_OK)
            fail_msg("seed %llu: %s", (unsigned long long)setup->seed, sq_error());
        if (world->broken)
            fail_msg("seed %llu, execution %d: %s", (unsigned long long)setup->seed, executions,
                     world->broken);
        sum->commits += r.commits;
        sum->fails += r.fails;
        sum->quarantined += r.quarantined;
        sum->deaths += r.deaths;
        sum->executions += r.executions;
        sum->stats.reissued += r.stats.reissued;
        sum->stats.duplicates += r.stats.duplicates;
        sum->outcome = r.outcome;
        sum->seconds += r.seconds;
        if (r.outcome == SQ_OUTCOME_COMPLETE)
            break;
    }
    assert_in_range(executions, 0, MOST - 1);
    for (int p = 0; p < setup->nphase; p++) {
        for (uint64_t i = 0; i < sim_tasks(setup, p); i++) {
            if (!world->state[p][i])
                fail_msg("seed %llu: task %llu of phase %d is open at the end",
                         (unsigned long long)setup->seed, (unsigned long long)i, p);
        }
    }
    assert_int_equal(sum->commits + sum->fails + sum->quarantined, open);
    return executions + 1;
}

static void undisturbed(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        sim_setup setup = calm(seed);
        sim_world world;
        sim_result r;
        setup.workers = 1 + (uint32_t)(seed % 9);
        assert_true(sim_world_create(&setup, &world));
        assert_int_equal(until_complete(&setup, &world, &r), 1);
        assert_int_equal(r.commits, 41 + 27);
        assert_int_equal(r.deaths, 0);
        sim_world_destroy(&world);
    }
}

/* Science failures are tried twice and recorded; nothing else is. */
static void science_failures(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        sim_setup setup = calm(seed);
        sim_world world;
        sim_result r;
        setup.science = 0.2;
        assert_true(sim_world_create(&setup, &world));
        assert_int_equal(until_complete(&setup, &world, &r), 1);
        for (int p = 0; p < 2; p++) {
            for (uint64_t i = 0; i < sim_tasks(&setup, p); i++)
                assert_int_equal(world.state[p][i], sim_always_fails(&setup, p, i)
                                                        ? SQ_SETTLED_FAILED
                                                        : SQ_SETTLED_DONE);
        }
        assert_in_range(r.executions, 68 + r.fails, 3 * 68);
        sim_world_destroy(&world);
    }
}

/* When everything fails for environment's reasons, the run stops and no patch is blamed. */
static void a_broken_environment_stops_the_run(void **state)
{
    (void)state;
    sim_setup setup = calm(1);
    sim_world world;
    sim_result r;
    setup.infra = 1;
    setup.limits.broken_after = 12;
    assert_true(sim_world_create(&setup, &world));
    assert_int_equal(sim_run(&setup, &world, 0, &r), SQ_OK);
    assert_int_equal(r.outcome, SQ_OUTCOME_BROKEN);
    assert_int_equal(r.commits, 0);
    assert_in_range(r.fails, 0, 2);
    sim_world_destroy(&world);
}

/* Failures in a row of one worker are that worker's. */
static void one_bad_disk_does_not_stop_the_run(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        sim_setup setup = calm(seed);
        sim_world world;
        sim_result r;
        setup.bad_worker = 1 + (uint32_t)(seed % setup.workers);
        setup.limits.broken_after = 3;
        setup.limits.infra_attempts = 20;
        assert_true(sim_world_create(&setup, &world));
        assert_int_equal(sim_run(&setup, &world, 0, &r), SQ_OK);
        assert_int_equal(r.outcome, SQ_OUTCOME_COMPLETE);
        assert_int_equal(r.commits, 68);
        sim_world_destroy(&world);
    }
}

static void a_stop_drains(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        sim_setup setup = calm(seed);
        sim_world world;
        sim_result r;
        setup.stop_at = 0.1 + 0.1 * (double)seed;
        assert_true(sim_world_create(&setup, &world));
        assert_int_equal(sim_run(&setup, &world, 0, &r), SQ_OK);
        assert_null(world.broken);
        if (r.outcome == SQ_OUTCOME_STOPPED)
            assert_true(r.seconds < setup.stop_at + 30);
        else
            assert_int_equal(r.outcome, SQ_OUTCOME_COMPLETE);
        uint64_t before = r.commits;
        setup.stop_at = 0;
        sim_result rest;
        until_complete(&setup, &world, &rest);
        assert_int_equal(before + rest.commits, 68);
        sim_world_destroy(&world);
    }
}

static void a_lease_is_kept(void **state)
{
    (void)state;
    static const uint64_t base[] = {0, 1000};
    for (uint64_t seed = 0; seed < 30; seed++) {
        sim_setup setup = calm(seed);
        sim_world world;
        sim_result r;
        setup.nphase = 1;
        setup.phase[0] = (sq_phase_plan){1, 1, base, NULL};
        setup.limits.lease = 20;
        assert_true(sim_world_create(&setup, &world));
        assert_int_equal(sim_run(&setup, &world, 0, &r), SQ_OK);
        assert_int_equal(r.outcome, SQ_OUTCOME_STOPPED);
        assert_in_range(r.commits, 20, 100);
        assert_true(r.seconds < 20 + 8);
        sim_world_destroy(&world);
    }
}

/* Patches that kill are quarantined after three deaths, all others are done. */
static void killers_are_quarantined(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        sim_setup setup = calm(seed);
        sim_world world;
        sim_result sum;
        setup.workers = 6;
        setup.killer = 0.04;
        setup.batch = (int)(seed % 7);
        setup.last_words = seed % 3 == 0 ? 0 : 0.5;
        assert_true(sim_world_create(&setup, &world));
        until_complete(&setup, &world, &sum);
        for (int p = 0; p < 2; p++) {
            for (uint64_t i = 0; i < sim_tasks(&setup, p); i++) {
                int killer = sim_is_killer(&setup, p, i);
                assert_int_equal(world.state[p][i],
                                 killer ? SQ_SETTLED_QUARANTINED : SQ_SETTLED_DONE);
                assert_int_equal(world.deaths[p][i], killer ? 3 : 0);
            }
        }
        sim_world_destroy(&world);
    }
}

/* Everything at once, with random strength. */
static sim_setup wild(uint64_t seed)
{
    sim_setup setup = calm(seed);
    sq_rng rng;
    sq_rng_init(&rng, seed, 7, 0);
    setup.workers = 1 + sq_rng_u32(&rng) % 8;
    setup.delay = sq_rng_uniform(&rng) * (sq_rng_u32(&rng) % 2 ? 0.01 : 3);
    setup.lose = sq_rng_u32(&rng) % 2 ? 0 : 0.2 * sq_rng_uniform(&rng);
    setup.duplicate = 0.3 * sq_rng_uniform(&rng);
    setup.kill_rate = sq_rng_u32(&rng) % 2 ? 0 : 0.05 * sq_rng_uniform(&rng);
    setup.hang_rate = sq_rng_u32(&rng) % 2 ? 0 : 0.02 * sq_rng_uniform(&rng);
    setup.lost_notice = sq_rng_u32(&rng) % 2;
    setup.science = 0.1 * (sq_rng_u32(&rng) % 2);
    setup.infra = 0.1 * (sq_rng_u32(&rng) % 2);
    setup.killer = 0.03 * (sq_rng_u32(&rng) % 3 == 0);
    setup.stop_at = sq_rng_u32(&rng) % 4 ? 0 : 20 * sq_rng_uniform(&rng);
    setup.batch = 1 + (int)(sq_rng_u32(&rng) % 7);
    setup.last_words = 0.5 * (sq_rng_u32(&rng) % 2);
    setup.limits.max_range = 1 + sq_rng_u32(&rng) % 10;
    setup.limits.depth = 1 + sq_rng_u32(&rng) % 3;
    setup.limits.deadline = 20 + 40 * sq_rng_uniform(&rng);
    setup.limits.broken_after = 1000;
    return setup;
}

static void random_fault_schedules(void **state)
{
    (void)state;
    const char *wanted = getenv("SQ_SCHEDULES");
    uint64_t schedules = wanted ? strtoull(wanted, NULL, 10) : 100000;
    double start = sq_now();
    uint64_t held = sq_mem_held(), executions = 0, quarantined = 0, duplicates = 0, reissued = 0;
    for (uint64_t seed = 0; seed < schedules; seed++) {
        sim_setup setup = wild(seed);
        sim_world world;
        sim_result sum;
        assert_true(sim_world_create(&setup, &world));
        executions += (uint64_t)until_complete(&setup, &world, &sum);
        quarantined += sum.quarantined;
        duplicates += sum.stats.duplicates;
        reissued += sum.stats.reissued;
        /* Without lost messages only deaths and hangs that happened can quarantine a patch. */
        for (int p = 0; p < 2 && setup.lose == 0 && setup.delay < 0.5; p++) {
            for (uint64_t i = 0; i < sim_tasks(&setup, p); i++) {
                if (world.state[p][i] == SQ_SETTLED_QUARANTINED && world.hits[p][i] < 3)
                    fail_msg("seed %llu: a healthy task was quarantined", (unsigned long long)seed);
            }
        }
        sim_world_destroy(&world);
    }
    assert_int_equal(sq_mem_held(), held);
    printf("%llu schedules, %llu executions, %llu quarantined, %llu duplicates, %llu reissued, "
           "%.1f s\n",
           (unsigned long long)schedules, (unsigned long long)executions,
           (unsigned long long)quarantined, (unsigned long long)duplicates,
           (unsigned long long)reissued, sq_now() - start);
    assert_true(duplicates > 0 && reissued > 0);
}

/* Guided hand-outs, stealing and reissue keep workers busy to the end. */
static void the_tail_is_short(void **state)
{
    (void)state;
    enum { TILES = 100, EACH = 400 };
    uint64_t base[TILES + 1];
    for (int t = 0; t <= TILES; t++)
        base[t] = (uint64_t)t * EACH;
    sim_setup setup = calm(3);
    setup.workers = 200;
    setup.nphase = 1;
    setup.phase[0] = (sq_phase_plan){1, TILES, base, NULL};
    setup.delay = 0.001;
    sim_world world;
    sim_result r;
    assert_true(sim_world_create(&setup, &world));
    assert_int_equal(sim_run(&setup, &world, 0, &r), SQ_OK);
    assert_int_equal(r.outcome, SQ_OUTCOME_COMPLETE);
    double efficiency = r.busy / (r.seconds * setup.workers);
    printf("200 workers, 40000 tasks of 1 s (exponential): efficiency %.3f, %llu messages\n",
           efficiency, (unsigned long long)r.events);
    assert_true(efficiency > 0.94);
    sim_world_destroy(&world);
}

/* 10^8 tasks on 10^4 workers: the memory is a few bits a task, and hand-outs are cheap. */
static void a_large_survey(void **state)
{
    (void)state;
    enum { TILES = 100000, EACH = 1000, WORKERS = 10000 };
    uint64_t *base = calloc(TILES + 1, sizeof *base);
    for (int t = 0; t <= TILES; t++)
        base[t] = (uint64_t)t * EACH;
    sq_scheduler *s;
    sq_phase_plan plan = {1, TILES, base, NULL};
    assert_int_equal(sq_scheduler_create(&plan, 1, NULL, &s), SQ_OK);
    assert_int_equal(sq_scheduler_begin(s, 0), SQ_OK);
    double start = sq_now();
    sq_action a;
    uint64_t notices = 0, results = 0;
    for (uint32_t w = 0; w < WORKERS; w++) {
        assert_int_equal(
            sq_scheduler_notify(s, 0, &(sq_notice){.kind = SQ_NOTICE_READY, .worker = w}), SQ_OK);
        notices++;
    }
    while (sq_scheduler_next(s, &a) && results < 2000000) {
        if (a.kind != SQ_ACTION_ASSIGN)
            continue;
        for (uint64_t k = 0; k < a.count; k++, notices++, results++)
            assert_int_equal(sq_scheduler_notify(s, 1e-6 * (double)notices,
                                                 &(sq_notice){.kind = SQ_NOTICE_RESULT,
                                                              .worker = a.worker,
                                                              .index = a.index + k,
                                                              .seconds = 0.1,
                                                              .ok = 1}),
                             SQ_OK);
    }
    double seconds = sq_now() - start;
    sq_scheduler_stats stats = sq_scheduler_get_stats(s);
    printf("10^8 tasks, 10^4 workers: %.1f MB, %.2f million notices/s\n",
           1e-6 * (double)stats.bytes, 1e-6 * (double)notices / seconds);
    assert_true(stats.bytes < 64000000);
    assert_int_equal(stats.done, results);
    sq_scheduler_destroy(s);
    free(base);
}

static void senseless_notices(void **state)
{
    (void)state;
    sq_scheduler *s;
    sq_phase_plan plan = {1, 4, small_a, NULL};
    assert_int_equal(sq_scheduler_create(&plan, 1, NULL, &s), SQ_OK);
    sq_notice ready = {.kind = SQ_NOTICE_READY};
    assert_int_equal(sq_scheduler_notify(s, 0, &ready), SQ_ERR_USAGE);
    assert_int_equal(sq_scheduler_settle(s, 1, 0, SQ_SETTLED_DONE), SQ_ERR_USAGE);
    assert_int_equal(sq_scheduler_settle(s, 0, 41, SQ_SETTLED_DONE), SQ_ERR_USAGE);
    assert_int_equal(sq_scheduler_settle(s, 0, 40, SQ_SETTLED_DONE), SQ_OK);
    assert_int_equal(sq_scheduler_settle(s, 0, 40, SQ_SETTLED_DONE), SQ_ERR_USAGE);
    assert_int_equal(sq_scheduler_begin(s, 0), SQ_OK);
    sq_notice odd[] = {{.kind = SQ_NOTICE_RESULT, .phase = 7},
                       {.kind = SQ_NOTICE_RESULT, .index = 41},
                       {.kind = SQ_NOTICE_RESULT, .index = 3, .ok = 1},
                       {.kind = SQ_NOTICE_READY, .worker = UINT32_MAX},
                       {.kind = (sq_notice_kind)99}};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        assert_int_equal(sq_scheduler_notify(s, 0, &odd[i]), SQ_ERR_USAGE);
    assert_int_equal(sq_scheduler_get_stats(s).done, 1);
    sq_scheduler_destroy(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(undisturbed),
        cmocka_unit_test(science_failures),
        cmocka_unit_test(a_broken_environment_stops_the_run),
        cmocka_unit_test(one_bad_disk_does_not_stop_the_run),
        cmocka_unit_test(a_stop_drains),
        cmocka_unit_test(a_lease_is_kept),
        cmocka_unit_test(killers_are_quarantined),
        cmocka_unit_test(random_fault_schedules),
        cmocka_unit_test(the_tail_is_short),
        cmocka_unit_test(a_large_survey),
        cmocka_unit_test(senseless_notices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
