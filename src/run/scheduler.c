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

static sq_status check_task(const sq_scheduler *s, int phase, uint64_t index)
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
    sq_status rc = check_task(s, phase, index);
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
    sq_status rc = check_task(s, phase, index);
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

static sq_status need_worker(sq_scheduler *s, uint32_t id)
{
    enum { MOST = 1 << 24 };
    if (id >= MOST)
        return sq_fail(SQ_ERR_USAGE, "scheduler: worker %u", id);
    sq_status rc = SQ_GROW(s->workers, s->worker_capacity, id + 1, "workers");
    if (rc != SQ_OK)
        return rc;
    for (; s->worker_count <= id; s->worker_count++)
        s->workers[s->worker_count] = (worker){.running = NO_TASK, .tile = NO_TILE};
    return SQ_OK;
}

/* A worker has spoken. One that was taken for hung is back; one that is dead stays dead. */
static void heard(sq_scheduler *s, worker *w)
{
    w->last_heard = s->now;
    if (w->state == WORKER_HUNG || w->state == WORKER_ABSENT) {
        w->state = WORKER_ALIVE;
        s->alive++;
    }
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

static int anything_held(const sq_scheduler *s)
{
    for (size_t i = 0; i < s->worker_count; i++) {
        if (s->workers[i].state == WORKER_ALIVE && s->workers[i].holding)
            return 1;
    }
    return 0;
}

static sq_status check_drained(sq_scheduler *s)
{
    if (!s->draining || s->outcome != SQ_OUTCOME_NONE)
        return SQ_OK;
    const phase_state *p = sq_present(s);
    if (s->phase == s->nphase - 1 && p->settled == p->tasks)
        return SQ_OK; /* its barrier ends the run as complete */
    return anything_held(s) ? SQ_OK : sq_scheduler_end(s, s->after_drain);
}

static void end_infra_row(sq_scheduler *s)
{
    s->infra_in_row = s->infra_workers = 0;
    s->infra_row++;
}

/* The environment is broken when nothing but infrastructure failures comes, from every worker: one
 * bad disk or node must not end the run. */
static int is_broken(sq_scheduler *s, worker *w)
{
    uint32_t alive = s->alive ? s->alive : 1;
    uint32_t most = s->limits.broken_after ? s->limits.broken_after : 4 * alive + 8;
    s->infra_in_row++;
    if (w->failing != s->infra_row + 1) {
        w->failing = s->infra_row + 1;
        s->infra_workers++;
    }
    return s->infra_in_row >= most && s->infra_workers >= alive;
}

static sq_status failed(sq_scheduler *s, const sq_notice *n, uint32_t attempt)
{
    special *task;
    sq_status rc = sq_special_get(&s->specials, n->index, &task);
    if (rc != SQ_OK)
        return rc;
    int science = n->failure == SQ_FAILURE_SCIENCE;
    uint32_t count = science ? ++task->science : ++task->infra;
    uint32_t most = science ? s->limits.science_attempts : s->limits.infra_attempts;
    task->avoid = n->worker;
    sq_action action = {.kind = count >= most ? SQ_ACTION_FAIL : SQ_ACTION_RETRY,
                        .worker = n->worker,
                        .phase = n->phase,
                        .index = n->index,
                        .attempt = attempt,
                        .count = 1};
    rc = sq_scheduler_push(s, action);
    if (rc != SQ_OK)
        return rc;
    if (science)
        end_infra_row(s);
    else if (is_broken(s, &s->workers[n->worker])) {
        rc = sq_scheduler_drain(s, SQ_OUTCOME_BROKEN);
        if (rc != SQ_OK)
            return rc;
    }
    if (count >= most)
        return sq_scheduler_settle_now(s, n->index, SQ_SETTLED_FAILED);
    s->retried++;
    double pause =
        science ? 0 : s->limits.retry_pause * (double)(1u << (count - 1 < 10 ? count - 1 : 10));
    return sq_scheduler_requeue(s, n->index, pause, 0);
}

static sq_status on_result(sq_scheduler *s, const sq_notice *n)
{
    sq_status rc = SQ_OK;
    uint32_t attempt = 0;
    int held = 0;
    worker *w = &s->workers[n->worker];
    int late = n->phase != s->phase || sq_bit_get(sq_present(s)->bits, n->index);
    if (n->phase == s->phase) {
        if (!sq_bit_get(s->issued, n->index))
            return sq_fail(SQ_ERR_USAGE, "scheduler: task %llu was not handed out",
                           (unsigned long long)n->index);
        SQ_TRY(sq_worker_take(w, n->index, &attempt, &held));
        s->in_flight -= held ? 1 : 0;
        if (w->running == n->index)
            w->running = NO_TASK;
        if (w->alone && !w->holding) {
            w->alone = 0;
            s->suspects_running--;
        }
    }
    if (late) {
        s->duplicates++;
        SQ_TRY(sq_scheduler_push(s, (sq_action){.kind = SQ_ACTION_DROP,
                                                .worker = n->worker,
                                                .phase = n->phase,
                                                .index = n->index}));
    } else if (n->ok) {
        SQ_TRY(sq_scheduler_push(s, (sq_action){.kind = SQ_ACTION_COMMIT,
                                                .worker = n->worker,
                                                .phase = n->phase,
                                                .index = n->index,
                                                .count = 1,
                                                .attempt = attempt}));
        SQ_TRY(sq_scheduler_settle_now(s, n->index, SQ_SETTLED_DONE));
        end_infra_row(s);
        s->measured++;
        double weight = s->measured < 100 ? 1.0 / (double)s->measured : 0.01;
        s->mean += weight * (n->seconds - s->mean);
    } else {
        SQ_TRY(failed(s, n, attempt));
    }
    SQ_TRY(sq_scheduler_check_phase_done(s));
    SQ_TRY(sq_scheduler_feed(s, n->worker));
    if (!n->ok && !late)
        SQ_TRY(sq_scheduler_feed_idle(s));
cleanup:
    return rc;
}

static sq_status on_started(sq_scheduler *s, const sq_notice *n)
{
    worker *w = &s->workers[n->worker];
    if (n->phase != s->phase || !sq_worker_holds(w, n->index))
        return SQ_OK; /* late: its result came first, or it was taken away */
    w->running = n->index;
    w->running_since = s->now;
    return SQ_OK;
}

/* The worker says how much it has. Less than was handed out, some time after, means that messages
 * were lost. */
static sq_status on_heartbeat(sq_scheduler *s, const sq_notice *n)
{
    sq_status rc = SQ_OK;
    worker *w = &s->workers[n->worker];
    if (n->holding == 0 && w->holding && s->now - w->last_assign > s->limits.grace) {
        SQ_TRY(sq_scheduler_requeue_held(s, n->worker, 0));
        SQ_TRY(sq_scheduler_feed_idle(s));
    }
    SQ_TRY(sq_scheduler_feed(s, n->worker));
cleanup:
    return rc;
}

static sq_status on_drained(sq_scheduler *s, const sq_notice *n)
{
    sq_status rc = SQ_OK;
    SQ_TRY(sq_scheduler_requeue_held(s, n->worker, 0));
    SQ_TRY(sq_scheduler_feed(s, n->worker));
cleanup:
    return rc;
}

static sq_status on_tick(sq_scheduler *s)
{
    sq_status rc = SQ_OK;
    SQ_TRY(sq_scheduler_check_deadlines(s));
    if (s->limits.lease > 0 && s->now >= s->limits.lease)
        SQ_TRY(sq_scheduler_drain(s, SQ_OUTCOME_STOPPED));
    SQ_TRY(sq_scheduler_feed_idle(s));
    SQ_TRY(sq_scheduler_issue_slow(s));
cleanup:
    return rc;
}

static sq_status on_phase_ready(sq_scheduler *s, const sq_notice *n)
{
    sq_status rc = SQ_OK;
    if (!s->waiting_barrier || n->phase != s->phase)
        return SQ_OK;
    if (s->phase == s->nphase - 1)
        return sq_scheduler_end(s, SQ_OUTCOME_COMPLETE);
    s->waiting_barrier = 0;
    for (size_t i = 0; i < s->worker_count; i++)
        s->workers[i].tile = NO_TILE;
    SQ_TRY(sq_scheduler_open_phase(s, s->phase + 1));
    SQ_TRY(sq_scheduler_check_phase_done(s));
    for (size_t i = 0; i < s->worker_count; i++)
        SQ_TRY(sq_scheduler_feed(s, (uint32_t)i));
cleanup:
    return rc;
}

static sq_status dispatch(sq_scheduler *s, const sq_notice *n)
{
    switch (n->kind) {
    case SQ_NOTICE_READY:
        return sq_scheduler_feed(s, n->worker);
    case SQ_NOTICE_STARTED:
        return on_started(s, n);
    case SQ_NOTICE_RESULT:
        return on_result(s, n);
    case SQ_NOTICE_HEARTBEAT:
        return on_heartbeat(s, n);
    case SQ_NOTICE_DRAINED:
        return on_drained(s, n);
    case SQ_NOTICE_LOST:
        return sq_scheduler_drop_worker(s, n->worker, WORKER_LOST);
    case SQ_NOTICE_PHASE_READY:
        return on_phase_ready(s, n);
    case SQ_NOTICE_STOP:
        return sq_scheduler_drain(s, SQ_OUTCOME_STOPPED);
    case SQ_NOTICE_TICK:
        return on_tick(s);
    }
    return sq_fail(SQ_ERR_USAGE, "scheduler: unknown notice %d", (int)n->kind);
}

sq_status sq_scheduler_notify(sq_scheduler *s, double now, const sq_notice *n)
{
    sq_status rc = SQ_OK;
    if (!s->begun)
        return sq_fail(SQ_ERR_USAGE, "scheduler: a notice before the beginning");
    s->now = now > s->now ? now : s->now;
    if (n->kind == SQ_NOTICE_RESULT || n->kind == SQ_NOTICE_STARTED) {
        SQ_TRY(check_task(s, n->phase, n->index));
        if (n->phase > s->phase) {
            rc = sq_fail(SQ_ERR_USAGE, "scheduler: a notice from phase %d in phase %d", n->phase,
                         s->phase);
            goto cleanup;
        }
    }
    if (n->kind <= SQ_NOTICE_LOST) {
        SQ_TRY(need_worker(s, n->worker));
        if (n->kind != SQ_NOTICE_LOST)
            heard(s, &s->workers[n->worker]);
    }
    if (s->outcome == SQ_OUTCOME_NONE) {
        SQ_TRY(dispatch(s, n));
        SQ_TRY(sq_scheduler_check_workers(s));
        SQ_TRY(check_drained(s));
    }
cleanup:
    return rc;
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
