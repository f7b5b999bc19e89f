#include <string.h>

#include "base/mem.h"
#include "run/scheduler_internal.h"

/* Everything that waits on a worker goes away, without returning to the queue. */
void sq_scheduler_forget_held(sq_scheduler *s, worker *w)
{
    s->in_flight -= w->holding;
    w->segments = 0;
    w->holding = 0;
    w->running = NO_TASK;
    w->silent = 0;
    if (w->alone)
        s->suspects_running--;
    w->alone = 0;
}

static int held_anywhere(const sq_scheduler *s, uint64_t index)
{
    for (size_t i = 0; i < s->worker_count; i++) {
        if (sq_worker_holds(&s->workers[i], index))
            return 1;
    }
    return 0;
}

sq_status sq_scheduler_requeue(sq_scheduler *s, uint64_t index, double pause, int suspected)
{
    special *task;
    sq_status rc = sq_special_get(&s->specials, index, &task);
    if (rc != SQ_OK)
        return rc;
    task->suspected |= (uint8_t)suspected;
    if (task->queued || (task->reissued && held_anywhere(s, index)))
        return SQ_OK;
    task->queued = 1;
    task->reissued = 0;
    return sq_queue_push(task->suspected ? &s->suspects : &s->retries,
                         (retry){index, s->now + pause});
}

static sq_status count_death(sq_scheduler *s, uint32_t id, uint64_t index, int *gone)
{
    special *task;
    sq_status rc = sq_special_get(&s->specials, index, &task);
    if (rc != SQ_OK)
        return rc;
    uint32_t deaths = ++task->deaths;
    *gone = deaths >= s->limits.deaths;
    rc = sq_scheduler_push(s, (sq_action){.kind = SQ_ACTION_DEATH,
                                          .worker = id,
                                          .phase = s->phase,
                                          .index = index,
                                          .count = deaths});
    if (rc != SQ_OK || !*gone)
        return rc;
    rc = sq_scheduler_push(s, (sq_action){.kind = SQ_ACTION_QUARANTINE,
                                          .worker = id,
                                          .phase = s->phase,
                                          .index = index,
                                          .count = deaths});
    return rc == SQ_OK ? sq_scheduler_settle_now(s, index, SQ_SETTLED_QUARANTINED) : rc;
}

/* What a worker held goes back to the queue. When it died or hung, the task that it executed is
 * charged with a death, and the one after it, which was being read, is suspected with it. When it
 * is not known which one it executed, all are suspected. */
sq_status sq_scheduler_requeue_held(sq_scheduler *s, uint32_t id, int died)
{
    sq_status rc = SQ_OK;
    worker *w = &s->workers[id];
    uint64_t running = w->running, holding = w->holding;
    size_t pieces = w->segments;
    int silent = died && w->silent;
    segment *copy = NULL;
    if (!holding) {
        w->running = NO_TASK;
        return SQ_OK;
    }
    SQ_TRY(SQ_ALLOC(copy, pieces, "scheduler ranges"));
    memcpy(copy, w->held, pieces * sizeof *copy);
    sq_scheduler_forget_held(s, w);
    int next_suspected = died && !silent, gone = 0;
    for (size_t i = 0; i < pieces; i++) {
        if (silent)
            SQ_TRY(sq_scheduler_push(s, (sq_action){.kind = SQ_ACTION_SUSPECT,
                                                    .worker = id,
                                                    .phase = s->phase,
                                                    .index = copy[i].first,
                                                    .count = copy[i].count}));
        for (uint64_t k = copy[i].first; k < copy[i].first + copy[i].count; k++) {
            int suspected = silent;
            if (sq_bit_get(sq_present(s)->bits, k))
                continue;
            if (died && !silent && k == running) {
                SQ_TRY(count_death(s, id, k, &gone));
                if (gone)
                    continue;
                suspected = 1;
            } else if (next_suspected) {
                suspected = 1;
                next_suspected = 0;
            }
            SQ_TRY(sq_scheduler_requeue(s, k, 0, suspected));
        }
    }
cleanup:
    sq_free(copy);
    return rc;
}

/* A worker is out: dead or silent for too long. */
sq_status sq_scheduler_drop_worker(sq_scheduler *s, uint32_t id, worker_state state)
{
    sq_status rc = SQ_OK;
    worker *w = &s->workers[id];
    if (w->state == WORKER_ALIVE) {
        w->state = state;
        if (--s->alive == 0)
            s->none_since = s->now;
    }
    w->state = state;
    w->tile = NO_TILE;
    SQ_TRY(sq_scheduler_requeue_held(s, id, 1));
    SQ_TRY(sq_scheduler_check_phase_done(s));
    SQ_TRY(sq_scheduler_feed_idle(s));
cleanup:
    return rc;
}

sq_status sq_scheduler_check_deadlines(sq_scheduler *s)
{
    double limit = s->limits.deadline_factor * s->mean;
    limit = limit > s->limits.deadline ? limit : s->limits.deadline;
    if (s->draining) {
        double left = s->drain_since + s->limits.drain_seconds;
        limit = s->now > left ? 0 : limit;
    }
    for (size_t i = 0; i < s->worker_count; i++) {
        const worker *w = &s->workers[i];
        if (w->state != WORKER_ALIVE)
            continue;
        double since = w->last_heard > w->last_assign ? w->last_heard : w->last_assign;
        if (w->running != NO_TASK)
            since = w->running_since;
        if (s->now - since <= limit)
            continue;
        sq_status rc = sq_scheduler_drop_worker(s, (uint32_t)i, WORKER_HUNG);
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}

/* All workers are gone: at once when they are dead, after a while when they may come back. */
sq_status sq_scheduler_check_workers(sq_scheduler *s)
{
    int dead = s->worker_count > 0;
    if (s->alive)
        return SQ_OK;
    for (size_t i = 0; i < s->worker_count; i++)
        dead = dead && s->workers[i].state == WORKER_LOST;
    if (dead || s->now - s->none_since > s->limits.deadline)
        return sq_scheduler_end(s, SQ_OUTCOME_NO_WORKERS);
    return SQ_OK;
}
