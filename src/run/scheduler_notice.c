/* What each notice does. */
#include "base/mem.h"
#include "run/scheduler_internal.h"

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
        if (!w->holding)
            w->silent = 0;
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
    w->silent = (uint8_t)n->silent;
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

static sq_status on_lost(sq_scheduler *s, const sq_notice *n)
{
    worker *w = &s->workers[n->worker];
    if (n->known && n->phase == s->phase && sq_worker_holds(w, n->index)) {
        w->running = n->index;
        w->silent = 0;
    }
    return sq_scheduler_drop_worker(s, n->worker, WORKER_LOST);
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
        return on_lost(s, n);
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
        SQ_TRY(sq_scheduler_check_task(s, n->phase, n->index));
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
