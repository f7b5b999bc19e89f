#include "scheduler_sim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

typedef enum { TO_RANK0, TO_WORKER, TASK_END, HEARTBEAT, KILL, HANG, WAKE, TICK, STOP } kind;

typedef struct entry {
    double time;
    uint64_t order;
    kind kind;
    uint32_t worker;
    uint32_t life; /* generation of the worker's task: an old TASK_END is ignored */
    sq_notice notice;
    sq_action action;
} entry;

typedef struct held {
    int phase;
    uint64_t index;
    int alone;
} held;

typedef enum { NOTHING, AT, SILENT } promise;
enum { BATCH = 8 };

typedef struct node {
    held *queue;
    size_t count, capacity;
    int dead, hung, busy, draining;
    held now;
    sq_notice done[BATCH]; /* not yet reported */
    int dones;
    held announced;
    promise promise;
    double last_said;
    uint32_t life;
    double began;
} node;

typedef struct sim {
    const sim_setup *setup;
    sim_world *world;
    sim_result *result;
    sq_scheduler *scheduler;
    sq_rng rng;
    entry *heap;
    size_t count, capacity;
    uint64_t order;
    double now;
    node *nodes;
    int barrier; /* phases whose barrier has passed */
} sim;

static double exponential(sim *s, double mean)
{
    return -mean * log(sq_rng_uniform(&s->rng));
}

static int chance(sim *s, double p)
{
    return p > 0 && sq_rng_uniform(&s->rng) < p;
}

static int before(const entry *a, const entry *b)
{
    return a->time != b->time ? a->time < b->time : a->order < b->order;
}

static void push(sim *s, entry e)
{
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? 2 * s->capacity : 1024;
        s->heap = realloc(s->heap, s->capacity * sizeof *s->heap);
    }
    e.order = s->order++;
    size_t i = s->count++;
    for (; i && before(&e, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = e;
}

static entry pop(sim *s)
{
    entry top = s->heap[0], last = s->heap[--s->count];
    size_t i = 0;
    for (;;) {
        size_t c = 2 * i + 1;
        if (c >= s->count)
            break;
        if (c + 1 < s->count && before(&s->heap[c + 1], &s->heap[c]))
            c++;
        if (before(&last, &s->heap[c]))
            break;
        s->heap[i] = s->heap[c];
        i = c;
    }
    s->heap[i] = last;
    return top;
}

static uint64_t mix(const sim_setup *setup, int what, int phase, uint64_t index)
{
    sq_rng rng;
    sq_rng_init(&rng, setup->seed, (uint32_t)(what * 8 + phase), index);
    return sq_rng_u64(&rng);
}

static int share(uint64_t hash, double p)
{
    return (double)(hash >> 11) * 0x1p-53 < p;
}

int sim_is_killer(const sim_setup *setup, int phase, uint64_t index)
{
    return setup->killer > 0 && share(mix(setup, 1, phase, index), setup->killer);
}

int sim_always_fails(const sim_setup *setup, int phase, uint64_t index)
{
    return setup->science > 0 && share(mix(setup, 2, phase, index), setup->science);
}

uint64_t sim_tasks(const sim_setup *setup, int phase)
{
    const sq_phase_plan *p = &setup->phase[phase];
    return p->tiles ? p->base[p->tiles] * p->realisations : 0;
}

int sim_world_create(const sim_setup *setup, sim_world *world)
{
    *world = (sim_world){0};
    for (int p = 0; p < setup->nphase; p++) {
        world->state[p] = calloc(sim_tasks(setup, p) + 1, 1);
        world->deaths[p] = calloc(sim_tasks(setup, p) + 1, 1);
        world->suspect[p] = calloc(sim_tasks(setup, p) + 1, 1);
        world->hits[p] = calloc(sim_tasks(setup, p) + 1, 1);
    }
    return 1;
}

void sim_world_destroy(sim_world *world)
{
    for (int p = 0; p < 4; p++) {
        free(world->state[p]);
        free(world->deaths[p]);
        free(world->suspect[p]);
        free(world->hits[p]);
    }
}

static void say(sim *s, uint32_t id, sq_notice notice)
{
    notice.worker = id;
    int copies = chance(s, s->setup->lose) ? 0 : chance(s, s->setup->duplicate) ? 2 : 1;
    for (int i = 0; i < copies; i++)
        push(s, (entry){.time = s->now + exponential(s, s->setup->delay),
                        .kind = TO_RANK0,
                        .worker = id,
                        .notice = notice});
}

static int same(const held *a, const held *b)
{
    return a->phase == b->phase && a->index == b->index;
}

static void announce(sim *s, uint32_t id, const held *task, size_t after)
{
    node *n = &s->nodes[id];
    int silent = s->setup->batch > 1 && after && !task->alone;
    n->announced = *task;
    n->promise = silent ? SILENT : AT;
    n->last_said = s->now;
    say(s, id,
        (sq_notice){.kind = SQ_NOTICE_STARTED,
                    .phase = task->phase,
                    .index = task->index,
                    .silent = silent});
}

/* Report what is done, and what begins next. */
static void flush(sim *s, uint32_t id)
{
    node *n = &s->nodes[id];
    if (!n->dones)
        return;
    for (int i = 0; i < n->dones; i++)
        say(s, id, n->done[i]);
    n->dones = 0;
    n->promise = NOTHING;
    if (n->count && s->setup->batch > 1)
        announce(s, id, &n->queue[0], n->count - 1);
}

static void begin_next(sim *s, uint32_t id)
{
    node *n = &s->nodes[id];
    if (n->dead || n->hung || n->busy)
        return;
    if (!n->count) {
        flush(s, id);
        if (n->draining)
            say(s, id, (sq_notice){.kind = SQ_NOTICE_DRAINED});
        n->draining = 0;
        return;
    }
    n->now = n->queue[0];
    memmove(n->queue, n->queue + 1, --n->count * sizeof *n->queue);
    n->busy = 1;
    n->life++;
    n->began = s->now;
    s->result->executions++;
    if ((n->promise == NOTHING || !same(&n->announced, &n->now)) &&
        (n->promise != SILENT || s->now - n->last_said > s->setup->mean_seconds))
        announce(s, id, &n->now, n->count);
    push(s, (entry){.time = s->now + exponential(s, s->setup->mean_seconds),
                    .kind = TASK_END,
                    .worker = id,
                    .life = n->life});
}

static void die(sim *s, uint32_t id)
{
    node *n = &s->nodes[id];
    if (n->dead)
        return;
    n->dead = 1;
    if (n->busy && s->world->hits[n->now.phase][n->now.index] < 255)
        s->world->hits[n->now.phase][n->now.index]++;
    if (chance(s, s->setup->lost_notice))
        push(s, (entry){.time = s->now + exponential(s, 1),
                        .kind = TO_RANK0,
                        .worker = id,
                        .notice = {.kind = SQ_NOTICE_LOST,
                                   .worker = id,
                                   .known = n->busy && chance(s, s->setup->last_words),
                                   .phase = n->now.phase,
                                   .index = n->now.index}});
}

static void task_end(sim *s, uint32_t id)
{
    node *n = &s->nodes[id];
    if (sim_is_killer(s->setup, n->now.phase, n->now.index)) {
        die(s, id);
        return;
    }
    sq_notice notice = {.kind = SQ_NOTICE_RESULT,
                        .phase = n->now.phase,
                        .index = n->now.index,
                        .seconds = s->now - n->began,
                        .ok = 1};
    if (sim_always_fails(s->setup, n->now.phase, n->now.index)) {
        notice.ok = 0;
        notice.failure = SQ_FAILURE_SCIENCE;
    } else if (id + 1 == s->setup->bad_worker || chance(s, s->setup->infra)) {
        notice.ok = 0;
        notice.failure = SQ_FAILURE_INFRA;
    }
    n->busy = 0;
    if (notice.ok)
        n->done[n->dones++] = notice;
    else
        say(s, id, notice);
    if (n->dones >= s->setup->batch || n->count <= 1)
        flush(s, id);
    begin_next(s, id);
}

static void told(sim *s, uint32_t id, const sq_action *a)
{
    node *n = &s->nodes[id];
    if (n->dead)
        return;
    if (a->kind == SQ_ACTION_ASSIGN) {
        for (uint64_t k = 0; k < a->count; k++) {
            if (n->count == n->capacity) {
                n->capacity = n->capacity ? 2 * n->capacity : 16;
                n->queue = realloc(n->queue, n->capacity * sizeof *n->queue);
            }
            n->queue[n->count++] = (held){a->phase, a->index + k, a->alone};
        }
    } else if (a->kind == SQ_ACTION_DRAIN) {
        n->count = 0;
        n->draining = 1;
    } else {
        for (size_t k = 0; k < n->count; k++) {
            if (n->queue[k].phase == a->phase && n->queue[k].index == a->index) {
                memmove(n->queue + k, n->queue + k + 1, (n->count - k - 1) * sizeof *n->queue);
                n->count--;
                break;
            }
        }
    }
    begin_next(s, id);
}

static void violate(sim *s, const char *what)
{
    if (!s->world->broken)
        s->world->broken = what;
}

static void record(sim *s, const sq_action *a, sq_settled state)
{
    uint8_t *place = &s->world->state[a->phase][a->index];
    if (*place)
        violate(s, "a task was settled twice");
    *place = (uint8_t)state;
}

static sq_status act(sim *s, const sq_action *a, const sq_notice *cause)
{
    const sq_notice ready = {.kind = SQ_NOTICE_PHASE_READY, .phase = a->phase};
    switch (a->kind) {
    case SQ_ACTION_ASSIGN:
        if (a->phase != s->barrier)
            violate(s, "a task was handed out across a barrier");
        /* fall through */
    case SQ_ACTION_CANCEL:
    case SQ_ACTION_DRAIN:
        if (!chance(s, s->setup->lose))
            push(s, (entry){.time = s->now + exponential(s, s->setup->delay),
                            .kind = TO_WORKER,
                            .worker = a->worker,
                            .action = *a});
        break;
    case SQ_ACTION_COMMIT:
        record(s, a, SQ_SETTLED_DONE);
        s->result->commits++;
        s->result->busy += cause->seconds;
        if (!cause->ok)
            violate(s, "a failure was committed");
        break;
    case SQ_ACTION_FAIL:
        record(s, a, SQ_SETTLED_FAILED);
        s->result->fails++;
        break;
    case SQ_ACTION_QUARANTINE:
        record(s, a, SQ_SETTLED_QUARANTINED);
        s->result->quarantined++;
        break;
    case SQ_ACTION_DEATH:
        s->world->deaths[a->phase][a->index] = (uint8_t)a->count;
        s->result->deaths++;
        break;
    case SQ_ACTION_SUSPECT:
        for (uint64_t k = a->index; k < a->index + a->count; k++)
            s->world->suspect[a->phase][k] = 1;
        break;
    case SQ_ACTION_PHASE_DONE:
        for (uint64_t i = 0; i < sim_tasks(s->setup, a->phase); i++) {
            if (!s->world->state[a->phase][i])
                violate(s, "a barrier passed with open tasks");
        }
        s->barrier = a->phase + 1;
        return sq_scheduler_notify(s->scheduler, s->now, &ready);
    case SQ_ACTION_RETRY:
    case SQ_ACTION_DROP:
    case SQ_ACTION_END:
        break;
    }
    return SQ_OK;
}

static sq_status tell(sim *s, const sq_notice *notice)
{
    sq_action action;
    sq_status rc = sq_scheduler_notify(s->scheduler, s->now, notice);
    while (rc == SQ_OK && sq_scheduler_next(s->scheduler, &action))
        rc = act(s, &action, notice);
    return rc;
}

static void beat(sim *s, uint32_t id)
{
    node *n = &s->nodes[id];
    if (n->dead)
        return;
    if (!n->hung && !n->busy)
        say(s, id, (sq_notice){.kind = SQ_NOTICE_HEARTBEAT, .holding = n->count});
    push(s, (entry){.time = s->now + s->setup->heartbeat, .kind = HEARTBEAT, .worker = id});
}

static void hang(sim *s, uint32_t id)
{
    node *n = &s->nodes[id];
    if (n->dead || n->hung)
        return;
    n->hung = 1;
    if (n->busy && s->world->hits[n->now.phase][n->now.index] < 255)
        s->world->hits[n->now.phase][n->now.index]++;
    push(s, (entry){.time = s->now + exponential(s, 2 * s->setup->limits.deadline),
                    .kind = WAKE,
                    .worker = id});
}

static sq_status step(sim *s, entry *e)
{
    node *n = &s->nodes[e->worker];
    switch (e->kind) {
    case TO_RANK0:
        return tell(s, &e->notice);
    case TO_WORKER:
        if (n->hung)
            push(s, (entry){.time = s->now + 1,
                            .kind = TO_WORKER,
                            .worker = e->worker,
                            .action = e->action});
        else
            told(s, e->worker, &e->action);
        break;
    case TASK_END:
        if (n->dead || e->life != n->life)
            break;
        if (n->hung)
            push(s,
                 (entry){
                     .time = s->now + 1, .kind = TASK_END, .worker = e->worker, .life = e->life});
        else
            task_end(s, e->worker);
        break;
    case HEARTBEAT:
        beat(s, e->worker);
        break;
    case KILL:
        die(s, e->worker);
        break;
    case HANG:
        hang(s, e->worker);
        break;
    case WAKE:
        n->hung = 0;
        begin_next(s, e->worker);
        push(s, (entry){.time = s->now + exponential(s, 1 / s->setup->hang_rate),
                        .kind = HANG,
                        .worker = e->worker});
        break;
    case TICK:
        push(s, (entry){.time = s->now + 1, .kind = TICK});
        return tell(s, &(sq_notice){.kind = SQ_NOTICE_TICK});
    case STOP:
        return tell(s, &(sq_notice){.kind = SQ_NOTICE_STOP});
    }
    return SQ_OK;
}

static sq_status preload(sim *s)
{
    sq_status rc = SQ_OK;
    for (int p = 0; p < s->setup->nphase; p++) {
        for (uint64_t i = 0; i < sim_tasks(s->setup, p) && rc == SQ_OK; i++) {
            if (s->world->state[p][i])
                rc = sq_scheduler_settle(s->scheduler, p, i, s->world->state[p][i]);
            else if (s->world->deaths[p][i] || s->world->suspect[p][i])
                rc = sq_scheduler_add_deaths(s->scheduler, p, i, s->world->deaths[p][i]);
        }
    }
    return rc;
}

static void populate(sim *s)
{
    const sim_setup *setup = s->setup;
    for (uint32_t i = 0; i < setup->workers; i++) {
        say(s, i, (sq_notice){.kind = SQ_NOTICE_READY});
        if (setup->heartbeat > 0)
            push(s, (entry){.time = s->now + setup->heartbeat, .kind = HEARTBEAT, .worker = i});
        if (setup->kill_rate > 0)
            push(s,
                 (entry){.time = exponential(s, 1 / setup->kill_rate), .kind = KILL, .worker = i});
        if (setup->hang_rate > 0)
            push(s,
                 (entry){.time = exponential(s, 1 / setup->hang_rate), .kind = HANG, .worker = i});
    }
    push(s, (entry){.time = 1, .kind = TICK});
    if (setup->stop_at > 0)
        push(s, (entry){.time = setup->stop_at, .kind = STOP});
}

sq_status sim_run(const sim_setup *setup, sim_world *world, uint32_t execution, sim_result *out)
{
    sq_status rc = SQ_OK;
    sim s = {.setup = setup, .world = world, .result = out};
    uint64_t most = 200000 + 200 * (sim_tasks(setup, 0) + setup->workers);
    sq_action action;
    *out = (sim_result){0};
    s.nodes = calloc(setup->workers, sizeof *s.nodes);
    sq_rng_init(&s.rng, setup->seed, 100 + execution, 0);
    SQ_TRY(sq_scheduler_create(setup->phase, setup->nphase, &setup->limits, &s.scheduler));
    SQ_TRY(preload(&s));
    SQ_TRY(sq_scheduler_begin(s.scheduler, 0));
    while (sq_scheduler_next(s.scheduler, &action))
        SQ_TRY(act(&s, &action, NULL));
    populate(&s);
    while (s.count && sq_scheduler_outcome(s.scheduler) == SQ_OUTCOME_NONE) {
        entry e = pop(&s);
        s.now = e.time;
        SQ_TRY(step(&s, &e));
        if (++out->events > most) {
            violate(&s, "the run did not end");
            break;
        }
    }
    out->outcome = sq_scheduler_outcome(s.scheduler);
    out->seconds = s.now;
    out->stats = sq_scheduler_get_stats(s.scheduler);
cleanup:
    for (uint32_t i = 0; i < setup->workers; i++)
        free(s.nodes[i].queue);
    free(s.nodes);
    free(s.heap);
    sq_scheduler_destroy(s.scheduler);
    return rc;
}
