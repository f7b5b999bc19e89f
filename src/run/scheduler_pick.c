#include <string.h>

#include "base/mem.h"
#include "run/scheduler_internal.h"

sq_status sq_scheduler_push(sq_scheduler *s, sq_action action)
{
    if (s->action_head == s->action_count)
        s->action_head = s->action_count = 0;
    sq_status rc = SQ_GROW(s->actions, s->action_capacity, s->action_count + 1, "actions");
    if (rc == SQ_OK)
        s->actions[s->action_count++] = action;
    return rc;
}

sq_status sq_scheduler_open_phase(sq_scheduler *s, int phase)
{
    sq_status rc = SQ_OK;
    s->phase = phase;
    phase_state *p = sq_present(s);
    sq_free(s->issued);
    sq_free(s->cursor);
    s->issued = s->cursor = NULL;
    SQ_TRY(SQ_ALLOC(s->issued, p->end / 64 + 1, "scheduler tasks"));
    SQ_TRY(SQ_ALLOC(s->cursor, p->tiles + 1, "scheduler tiles"));
    memcpy(s->cursor, p->base, p->tiles * sizeof *s->cursor);
    s->next_tile = 0;
    s->open_count = s->open_next = 0;
    s->fresh = p->tasks - p->settled;
    sq_special_clear(&s->specials);
    s->retries.count = s->retries.head = 0;
    s->suspects.count = s->suspects.head = 0;
    s->mean = 0;
    s->measured = 0;
    s->suspects_running = 0;
    s->no_backlog = 0;
    for (size_t i = 0; i < s->death_count; i++) {
        const known_death *d = &s->deaths[i];
        special *task;
        if (d->phase != phase || sq_bit_get(p->bits, d->index) || sq_bit_get(s->issued, d->index))
            continue;
        SQ_TRY(sq_special_get(&s->specials, d->index, &task));
        task->deaths = (uint16_t)d->deaths;
        task->attempts = d->deaths;
        task->suspected = task->queued = 1;
        sq_bit_set(s->issued, d->index);
        s->fresh--;
        SQ_TRY(sq_queue_push(&s->suspects, (retry){d->index, 0}));
    }
cleanup:
    return rc;
}

/* Move a tile's cursor to a task that can be handed out; 0 when there is none left. */
static int advance(sq_scheduler *s, uint32_t tile)
{
    const phase_state *p = sq_present(s);
    uint64_t i = s->cursor[tile], end = p->base[tile + 1];
    while (i < end && (sq_bit_get(p->bits, i) || sq_bit_get(s->issued, i)))
        i++;
    s->cursor[tile] = i;
    return i < end;
}

/* The worker's own tile, else one that nobody has begun, else one of those begun in turn. */
static sq_status choose_tile(sq_scheduler *s, worker *w, int *found)
{
    const phase_state *p = sq_present(s);
    *found = 1;
    if (w->tile != NO_TILE && w->tile < p->tiles && advance(s, w->tile))
        return SQ_OK;
    while (s->next_tile < p->tiles) {
        w->tile = p->order[s->next_tile++];
        if (!advance(s, w->tile))
            continue;
        sq_status rc = SQ_GROW(s->open, s->open_capacity, s->open_count + 1, "scheduler tiles");
        if (rc != SQ_OK) {
            s->next_tile--;
            return rc;
        }
        s->open[s->open_count++] = w->tile;
        return SQ_OK;
    }
    while (s->open_count) {
        size_t i = s->open_next++ % s->open_count;
        w->tile = s->open[i];
        if (advance(s, w->tile))
            return SQ_OK;
        s->open[i] = s->open[--s->open_count];
    }
    w->tile = NO_TILE;
    *found = 0;
    return SQ_OK;
}

/* Guided self-scheduling: half of a fair share of what is left, bounded in number and time. */
static uint64_t range_size(const sq_scheduler *s)
{
    uint64_t share = s->fresh / (2 * (uint64_t)(s->alive ? s->alive : 1));
    uint64_t most = s->limits.max_range;
    if (s->mean > 0 && s->limits.range_seconds / s->mean < (double)most)
        most = (uint64_t)(s->limits.range_seconds / s->mean);
    share = share < most ? share : most;
    return share ? share : 1;
}

/* How many tasks may still be begun before the lease ends. */
static uint64_t lease_room(const sq_scheduler *s, const worker *w)
{
    if (s->limits.lease <= 0)
        return UINT64_MAX;
    double left = s->limits.lease - s->now;
    if (left <= 0)
        return 0;
    if (s->mean <= 0)
        return 1;
    double room = left / (1.5 * s->mean) - (double)w->holding;
    return room < 1 ? 0 : room > 1e9 ? UINT64_MAX : (uint64_t)room;
}

static sq_status assign(sq_scheduler *s, uint32_t id, segment piece, int alone)
{
    worker *w = &s->workers[id];
    sq_status rc = sq_worker_hold(w, piece);
    if (rc != SQ_OK)
        return rc;
    s->in_flight += piece.count;
    w->last_assign = s->now;
    w->alone = (uint8_t)alone;
    if (w->holding > 1)
        s->no_backlog = 0;
    return sq_scheduler_push(s, (sq_action){.kind = SQ_ACTION_ASSIGN,
                                            .worker = id,
                                            .phase = s->phase,
                                            .index = piece.first,
                                            .count = piece.count,
                                            .attempt = piece.attempt,
                                            .alone = alone});
}

static sq_status assign_fresh(sq_scheduler *s, uint32_t id, uint64_t room, int *given)
{
    worker *w = &s->workers[id];
    sq_status rc = choose_tile(s, w, given);
    if (rc != SQ_OK || !*given)
        return rc;
    const phase_state *p = sq_present(s);
    uint64_t want = range_size(s), end = p->base[w->tile + 1], first = s->cursor[w->tile];
    want = want < room ? want : room;
    segment piece = {.first = first, .attempt = 1};
    while (piece.count < want && first + piece.count < end &&
           !sq_bit_get(p->bits, first + piece.count) && !sq_bit_get(s->issued, first + piece.count))
        sq_bit_set(s->issued, first + piece.count++);
    s->cursor[w->tile] = first + piece.count;
    s->fresh -= piece.count;
    return assign(s, id, piece, 0);
}

static sq_status assign_again(sq_scheduler *s, uint32_t id, uint64_t index, int alone)
{
    special *task;
    sq_status rc = sq_special_get(&s->specials, index, &task);
    if (rc != SQ_OK)
        return rc;
    task->queued = 0;
    task->attempts++;
    task->holder = id;
    if (alone)
        s->suspects_running++;
    return assign(s, id, (segment){.first = index, .count = 1, .attempt = task->attempts}, alone);
}

/* The first entry of a queue that may go to this worker now; entries that were settled meanwhile
 * are dropped. */
static int pick_queued(sq_scheduler *s, queue *q, uint32_t id, uint64_t *index)
{
    enum { LOOK = 64 };
    const phase_state *p = sq_present(s);
    for (size_t i = 0; i < q->count && i < LOOK;) {
        retry item = q->item[q->head + i];
        const special *task = sq_special_find(&s->specials, item.index);
        if (sq_bit_get(p->bits, item.index) || !task || !task->queued) {
            sq_queue_take(q, i);
            continue;
        }
        if (item.not_before <= s->now && (task->avoid != id || s->alive == 1)) {
            *index = sq_queue_take(q, i).index;
            return 1;
        }
        i++;
    }
    return 0;
}

/* The last task that a busy worker has not begun. */
static int pick_waiting(sq_scheduler *s, uint32_t id, uint32_t *victim, uint64_t *index)
{
    if (s->no_backlog)
        return 0;
    for (size_t n = 0; n < s->worker_count; n++) {
        uint32_t v = (uint32_t)(s->backlog_next % s->worker_count);
        const worker *w = &s->workers[v];
        if (v != id && w->state == WORKER_ALIVE && w->holding > 1 && !w->alone) {
            const segment *last = &w->held[w->segments - 1];
            *index = last->first + last->count - 1;
            *victim = v;
            if (*index != w->running)
                return 1;
        }
        s->backlog_next++;
    }
    s->no_backlog = 1;
    return 0;
}

static sq_status take_over(sq_scheduler *s, uint32_t id, uint32_t victim, uint64_t index)
{
    sq_status rc = SQ_OK;
    uint32_t attempt;
    int held;
    SQ_TRY(sq_worker_take(&s->workers[victim], index, &attempt, &held));
    s->in_flight -= held ? 1 : 0;
    SQ_TRY(sq_scheduler_push(s, (sq_action){.kind = SQ_ACTION_CANCEL,
                                            .worker = victim,
                                            .phase = s->phase,
                                            .index = index,
                                            .count = 1}));
    SQ_TRY(assign_again(s, id, index, 0));
cleanup:
    return rc;
}

/* How many tasks a worker should hold. Results are reported in batches, so that with short tasks it
 * takes more than the next one to bridge the time between two reports; less toward the end, where
 * what waits is missed elsewhere. */
static uint64_t depth_now(const sq_scheduler *s)
{
    uint64_t depth = s->limits.depth;
    if (s->mean > 0 && s->fresh) {
        double wanted = s->limits.hold_seconds / s->mean;
        uint64_t share = depth + s->fresh / (2 * (uint64_t)(s->alive ? s->alive : 1));
        uint64_t most = share < s->limits.max_range ? share : s->limits.max_range;
        uint64_t bridge = wanted < (double)most ? (uint64_t)wanted : most;
        depth = bridge > depth ? bridge : depth;
    }
    return depth;
}

static sq_status give_one(sq_scheduler *s, uint32_t id, int *given)
{
    worker *w = &s->workers[id];
    uint64_t index, room = lease_room(s, w);
    uint32_t victim;
    *given = 0;
    if (!room)
        return w->holding ? SQ_OK : sq_scheduler_drain(s, SQ_OUTCOME_STOPPED);
    *given = 1;
    if (pick_queued(s, &s->retries, id, &index))
        return assign_again(s, id, index, 0);
    if (s->fresh)
        return assign_fresh(s, id, room, given);
    *given = 0;
    if (w->holding)
        return SQ_OK;
    *given = 1;
    if (pick_waiting(s, id, &victim, &index))
        return take_over(s, id, victim, index);
    uint32_t together = s->alive / 2 ? s->alive / 2 : 1;
    if (!s->retries.count && s->suspects_running < together &&
        pick_queued(s, &s->suspects, id, &index))
        return assign_again(s, id, index, 1);
    *given = 0;
    return SQ_OK;
}

sq_status sq_scheduler_feed(sq_scheduler *s, uint32_t id)
{
    sq_status rc = SQ_OK;
    worker *w = &s->workers[id];
    int given = 1;
    while (given && w->state == WORKER_ALIVE && !s->draining && !s->waiting_barrier &&
           s->outcome == SQ_OUTCOME_NONE && !w->alone && w->holding < depth_now(s))
        SQ_TRY(give_one(s, id, &given));
    if (w->state == WORKER_ALIVE && !w->holding && !w->idle) {
        SQ_TRY(SQ_GROW(s->idle, s->idle_capacity, s->idle_count + 1, "idle workers"));
        s->idle[s->idle_count++] = id;
        w->idle = 1;
    }
cleanup:
    return rc;
}

/* The next idle worker, NO_WORKER when there is none. */
static uint32_t pop_idle(sq_scheduler *s)
{
    while (s->idle_count) {
        uint32_t id = s->idle[--s->idle_count];
        s->workers[id].idle = 0;
        if (s->workers[id].state == WORKER_ALIVE && !s->workers[id].holding)
            return id;
    }
    return NO_WORKER;
}

sq_status sq_scheduler_feed_idle(sq_scheduler *s)
{
    sq_status rc = SQ_OK;
    uint32_t *again = NULL;
    size_t count = 0;
    if (!s->idle_count)
        return SQ_OK;
    SQ_TRY(SQ_ALLOC(again, s->idle_count, "idle workers"));
    while (s->idle_count && (s->fresh || s->retries.count || s->suspects.count)) {
        uint32_t id = pop_idle(s);
        if (id == NO_WORKER)
            break;
        SQ_TRY(sq_scheduler_feed(s, id));
        if (s->idle_count && s->workers[id].idle) {
            /* Still idle: set it aside, so that the loop ends. */
            s->idle_count--;
            s->workers[id].idle = 0;
            again[count++] = id;
        }
    }
    for (size_t i = 0; i < count; i++) {
        s->idle[s->idle_count++] = again[i];
        s->workers[again[i]].idle = 1;
    }
cleanup:
    sq_free(again);
    return rc;
}

sq_status sq_scheduler_issue_slow(sq_scheduler *s)
{
    sq_status rc = SQ_OK;
    const phase_state *p = sq_present(s);
    double limit = s->limits.slow_factor * s->mean;
    limit = limit > s->limits.slow_seconds ? limit : s->limits.slow_seconds;
    if (s->draining || s->waiting_barrier || s->fresh || s->retries.count || !s->measured)
        return SQ_OK;
    for (size_t v = 0; v < s->worker_count && s->idle_count; v++) {
        const worker *w = &s->workers[v];
        if (w->state != WORKER_ALIVE || w->running == NO_TASK || w->alone ||
            s->now - w->running_since < limit || sq_bit_get(p->bits, w->running))
            continue;
        special *task;
        uint64_t index = w->running;
        SQ_TRY(sq_special_get(&s->specials, index, &task));
        if (task->reissued || task->queued || !sq_worker_holds(w, index))
            continue;
        uint32_t id = pop_idle(s);
        if (id == NO_WORKER)
            break;
        if (!lease_room(s, &s->workers[id])) {
            SQ_TRY(sq_scheduler_feed(s, id));
            break;
        }
        task->reissued = 1;
        s->reissued++;
        SQ_TRY(assign_again(s, id, index, 0));
    }
cleanup:
    return rc;
}
