#include "run/scheduler.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "run/scheduler_internal.h"

sq_failure_class sq_failure_class_of(sq_status code)
{
    switch (code) {
    case SQ_ERR_IO:
    case SQ_ERR_NOMEM:
    case SQ_ERR_COMM:
    case SQ_ERR_CORRUPT:
    case SQ_ERR_STOPPED:
        return SQ_FAILURE_INFRA;
    default:
        return SQ_FAILURE_SCIENCE;
    }
}

static void set_defaults(sq_scheduler_limits *l)
{
    l->depth = l->depth ? l->depth : 2;
    l->max_range = l->max_range ? l->max_range : 64;
    l->range_seconds = l->range_seconds > 0 ? l->range_seconds : 30;
    l->hold_seconds = l->hold_seconds > 0 ? l->hold_seconds : 1;
    l->deadline = l->deadline > 0 ? l->deadline : 600;
    l->deadline_factor = l->deadline_factor > 0 ? l->deadline_factor : 50;
    l->slow_factor = l->slow_factor > 0 ? l->slow_factor : 3;
    l->slow_seconds = l->slow_seconds > 0 ? l->slow_seconds : 5;
    l->grace = l->grace > 0 ? l->grace : 10;
    l->retry_pause = l->retry_pause > 0 ? l->retry_pause : 1;
    l->science_attempts = l->science_attempts ? l->science_attempts : 2;
    l->infra_attempts = l->infra_attempts ? l->infra_attempts : 5;
    l->deaths = l->deaths ? l->deaths : 3;
    l->drain_seconds = l->drain_seconds > 0 ? l->drain_seconds : l->deadline;
}

typedef struct costed {
    double cost;
    uint32_t tile;
} costed;

static int by_cost(const void *a, const void *b)
{
    const costed *x = a, *y = b;
    if (x->cost != y->cost)
        return x->cost < y->cost ? 1 : -1;
    return x->tile < y->tile ? -1 : x->tile > y->tile;
}

static sq_status create_phase(const sq_phase_plan *plan, phase_state *p)
{
    sq_status rc = SQ_OK;
    costed *sorted = NULL;
    p->realisations = plan->realisations ? plan->realisations : 1;
    p->tiles = plan->tiles;
    SQ_TRY(SQ_ALLOC(p->base, p->tiles + 1, "scheduler tiles"));
    SQ_TRY(SQ_ALLOC(p->order, p->tiles + 1, "scheduler tiles"));
    SQ_TRY(SQ_ALLOC(sorted, p->tiles + 1, "scheduler tiles"));
    for (uint32_t t = 0; t < p->tiles; t++) {
        if (plan->base[t + 1] < plan->base[t] ||
            plan->base[t + 1] > UINT64_MAX / 2 / p->realisations) {
            rc = sq_fail(SQ_ERR_USAGE, "scheduler: patches of tile %u are not in order", t);
            goto cleanup;
        }
        p->base[t] = plan->base[t] * p->realisations;
        sorted[t] = (costed){plan->cost ? plan->cost[t] : 0, t};
    }
    p->base[p->tiles] = p->tiles ? plan->base[p->tiles] * p->realisations : 0;
    p->end = p->base[p->tiles];
    p->tasks = p->end - p->base[0];
    qsort(sorted, p->tiles, sizeof *sorted, by_cost);
    for (uint32_t t = 0; t < p->tiles; t++)
        p->order[t] = sorted[t].tile;
    SQ_TRY(SQ_ALLOC(p->bits, p->end / 64 + 1, "scheduler tasks"));
cleanup:
    sq_free(sorted);
    return rc;
}

sq_status sq_scheduler_create(const sq_phase_plan *phase, int nphase,
                              const sq_scheduler_limits *limits, sq_scheduler **out)
{
    sq_status rc = SQ_OK;
    sq_scheduler *s = NULL;
    *out = NULL;
    if (nphase < 1)
        return sq_fail(SQ_ERR_USAGE, "scheduler: no phases");
    SQ_TRY(SQ_ALLOC(s, 1, "scheduler"));
    if (limits)
        s->limits = *limits;
    set_defaults(&s->limits);
    s->nphase = nphase;
    SQ_TRY(SQ_ALLOC(s->phases, nphase, "scheduler phases"));
    for (int i = 0; i < nphase; i++)
        SQ_TRY(create_phase(&phase[i], &s->phases[i]));
    *out = s;
    s = NULL;
cleanup:
    sq_scheduler_destroy(s);
    return rc;
}

void sq_scheduler_destroy(sq_scheduler *s)
{
    if (!s)
        return;
    for (int i = 0; s->phases && i < s->nphase; i++) {
        sq_free(s->phases[i].base);
        sq_free(s->phases[i].order);
        sq_free(s->phases[i].bits);
    }
    for (size_t i = 0; i < s->worker_count; i++)
        sq_free(s->workers[i].held);
    sq_special_clear(&s->specials);
    sq_free(s->phases);
    sq_free(s->workers);
    sq_free(s->deaths);
    sq_free(s->issued);
    sq_free(s->cursor);
    sq_free(s->open);
    sq_free(s->retries.item);
    sq_free(s->suspects.item);
    sq_free(s->idle);
    sq_free(s->actions);
    sq_free(s);
}

sq_status sq_scheduler_check_task(const sq_scheduler *s, int phase, uint64_t index)
{
    if (phase < 0 || phase >= s->nphase || index < s->phases[phase].base[0] ||
        index >= s->phases[phase].end)
        return sq_fail(SQ_ERR_USAGE, "scheduler: there is no task %llu in phase %d",
                       (unsigned long long)index, phase);
    return SQ_OK;
}

static void count_settled(phase_state *p, uint64_t index, sq_settled state)
{
    sq_bit_set(p->bits, index);
    p->settled++;
    p->done += state == SQ_SETTLED_DONE;
    p->failed += state == SQ_SETTLED_FAILED;
    p->quarantined += state == SQ_SETTLED_QUARANTINED;
}

sq_status sq_scheduler_settle(sq_scheduler *s, int phase, uint64_t index, sq_settled state)
{
    sq_status rc = sq_scheduler_check_task(s, phase, index);
    if (rc != SQ_OK)
        return rc;
    if (s->begun || sq_bit_get(s->phases[phase].bits, index))
        return sq_fail(SQ_ERR_USAGE, "scheduler: task %llu of phase %d is settled twice",
                       (unsigned long long)index, phase);
    count_settled(&s->phases[phase], index, state);
    return SQ_OK;
}

sq_status sq_scheduler_add_deaths(sq_scheduler *s, int phase, uint64_t index, uint32_t deaths)
{
    sq_status rc = sq_scheduler_check_task(s, phase, index);
    if (rc != SQ_OK)
        return rc;
    rc = SQ_GROW(s->deaths, s->death_capacity, s->death_count + 1, "deaths");
    if (rc == SQ_OK)
        s->deaths[s->death_count++] = (known_death){phase, index, deaths};
    return rc;
}

int sq_scheduler_is_settled(const sq_scheduler *s, int phase, uint64_t index)
{
    return phase >= 0 && phase < s->nphase && index < s->phases[phase].end &&
           sq_bit_get(s->phases[phase].bits, index);
}

sq_status sq_scheduler_end(sq_scheduler *s, sq_outcome outcome)
{
    if (s->outcome != SQ_OUTCOME_NONE)
        return SQ_OK;
    s->outcome = outcome;
    return sq_scheduler_push(s, (sq_action){.kind = SQ_ACTION_END, .outcome = outcome});
}

sq_status sq_scheduler_check_phase_done(sq_scheduler *s)
{
    phase_state *p = sq_present(s);
    if (p->settled < p->tasks || s->waiting_barrier)
        return SQ_OK;
    s->waiting_barrier = 1;
    for (size_t i = 0; i < s->worker_count; i++)
        sq_scheduler_forget_held(s, &s->workers[i]);
    return sq_scheduler_push(s, (sq_action){.kind = SQ_ACTION_PHASE_DONE, .phase = s->phase});
}

sq_status sq_scheduler_begin(sq_scheduler *s, double now)
{
    if (s->begun)
        return sq_fail(SQ_ERR_USAGE, "scheduler: begun twice");
    s->begun = 1;
    s->now = s->none_since = now;
    sq_status rc = sq_scheduler_open_phase(s, 0);
    return rc == SQ_OK ? sq_scheduler_check_phase_done(s) : rc;
}

/* A worker that holds a settled task need not begin it. */
static sq_status release(sq_scheduler *s, uint32_t id, uint64_t index)
{
    uint32_t attempt;
    int held;
    worker *w = &s->workers[id];
    sq_status rc = sq_worker_take(w, index, &attempt, &held);
    if (rc != SQ_OK || !held)
        return rc;
    s->in_flight--;
    if (w->running == index) {
        /* It computes in vain; it is fed when it reports. Its time is watched as that of a silent
         * worker. */
        w->running = NO_TASK;
    }
    if (w->alone && !w->holding) {
        w->alone = 0;
        s->suspects_running--;
    }
    return sq_scheduler_push(s, (sq_action){.kind = SQ_ACTION_CANCEL,
                                            .worker = id,
                                            .phase = s->phase,
                                            .index = index,
                                            .count = 1});
}

/* Record the end of a task. What was issued a second time while it ran may be held by several;
 * all other tasks are held by the last one that they were issued to. */
sq_status sq_scheduler_settle_now(sq_scheduler *s, uint64_t index, sq_settled state)
{
    sq_status rc = SQ_OK;
    const special *task = sq_special_find(&s->specials, index);
    count_settled(sq_present(s), index, state);
    if (!task)
        return SQ_OK;
    if (task->reissued) {
        for (size_t i = 0; i < s->worker_count; i++)
            SQ_TRY(release(s, (uint32_t)i, index));
    } else if (task->holder != NO_WORKER) {
        SQ_TRY(release(s, task->holder, index));
    }
    sq_special_remove(&s->specials, index);
cleanup:
    return rc;
}

sq_status sq_scheduler_drain(sq_scheduler *s, sq_outcome outcome)
{
    if (s->draining || s->outcome != SQ_OUTCOME_NONE)
        return SQ_OK;
    s->draining = 1;
    s->after_drain = outcome;
    s->drain_since = s->now;
    for (size_t i = 0; i < s->worker_count; i++) {
        worker *w = &s->workers[i];
        if (w->state != WORKER_ALIVE || !w->holding)
            continue;
        sq_status rc =
            sq_scheduler_push(s, (sq_action){.kind = SQ_ACTION_DRAIN, .worker = (uint32_t)i});
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}

int sq_scheduler_next(sq_scheduler *s, sq_action *action)
{
    if (s->action_head == s->action_count)
        return 0;
    *action = s->actions[s->action_head++];
    return 1;
}

sq_outcome sq_scheduler_outcome(const sq_scheduler *s)
{
    return s->outcome;
}

sq_scheduler_stats sq_scheduler_get_stats(const sq_scheduler *s)
{
    sq_scheduler_stats stats = {.in_flight = s->in_flight,
                                .reissued = s->reissued,
                                .duplicates = s->duplicates,
                                .retried = s->retried,
                                .phase = s->phase,
                                .workers = s->alive,
                                .mean_seconds = s->mean};
    for (int i = 0; i < s->nphase; i++) {
        const phase_state *p = &s->phases[i];
        stats.total += p->tasks;
        stats.done += p->done;
        stats.failed += p->failed;
        stats.quarantined += p->quarantined;
        stats.bytes += p->end / 8 + p->tiles * 12ull;
    }
    stats.bytes += s->phases[s->phase].end / 8 + s->phases[s->phase].tiles * 8ull;
    stats.bytes += s->specials.size * sizeof(special) + s->worker_capacity * sizeof(worker);
    stats.bytes += (s->retries.capacity + s->suspects.capacity) * sizeof(retry);
    for (size_t i = 0; i < s->worker_count; i++)
        stats.bytes += s->workers[i].capacity * sizeof(segment);
    return stats;
}
