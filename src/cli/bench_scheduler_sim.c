#include "cli/bench_scheduler_sim.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "par/message.h"
#include "run/scheduler.h"
#include "store/ledger.h"

static const double TICK = 0.25, LEDGER_FLUSH = 0.2, HEARTBEAT = 2; /* as in a run */
static const double NOTICED = 1;                                    /* until a death is known */
static const double SHORT = 0.25; /* mean of tasks that begin in silence, as in a worker */
static const uint64_t NOTHING = UINT64_MAX;
enum { PATCHES = 1000 };                                            /* of a tile */

typedef struct range {
    uint64_t first, count;
    double from; /* when its message is there */
} range;

typedef struct finished {
    uint64_t index;
    float seconds;
    int ok;
} finished;

typedef enum phase_of_life { IDLE, TO_BEGIN, COMPUTING, DYING, DEAD } phase_of_life;

typedef struct node {
    phase_of_life life;
    range *queue;
    size_t ranges, range_capacity;
    finished *done; /* not yet reported */
    size_t dones, done_capacity;
    double done_since, last_sent, last_end, death;
    uint64_t index; /* being computed */
    float cost;
    uint64_t announced; /* what rank 0 knows, NOTHING: that it is at none */
    double mean;        /* of its tasks, of late; 0: none was done */
    int silent;         /* it said that it will begin others without saying */
} node;

typedef struct event {
    double time;
    uint32_t worker;
} event;

typedef struct sim {
    const sim_case *c;
    sim_outcome *out;
    sq_scheduler *scheduler;
    node *nodes;
    event *heap; /* one of each worker at most */
    size_t count;
    double now, next_tick;
    double free, busy; /* of rank 0: when it is through, how long it was at work */
    double flushed;    /* when the ledger was */
    int unflushed;
    double committed, waited;
    uint64_t messages, attempts;
    sq_rng rng; /* deaths and passing failures */
} sim;

static int before(event a, event b)
{
    return a.time != b.time ? a.time < b.time : a.worker < b.worker;
}

static void push(sim *s, double time, uint32_t worker)
{
    event e = {time, worker};
    size_t i = s->count++;
    for (; i && before(e, s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = e;
}

static event pop(sim *s)
{
    event top = s->heap[0], last = s->heap[--s->count];
    size_t i = 0;
    for (size_t c; (c = 2 * i + 1) < s->count; i = c) {
        if (c + 1 < s->count && before(s->heap[c + 1], s->heap[c]))
            c++;
        if (before(last, s->heap[c]))
            break;
        s->heap[i] = s->heap[c];
    }
    s->heap[i] = last;
    return top;
}

/* A cost of mean `seconds`: lognormal, or 100 times the mean. */
static double cost_of(const sim_case *c, uint64_t index)
{
    sq_rng rng;
    sq_rng_init(&rng, 1, 0, index);
    if (sq_rng_uniform(&rng) < c->slow)
        return 100 * c->seconds;
    double rest = c->seconds * (1 - 100 * c->slow) / (1 - c->slow);
    return rest * exp(c->sigma * sq_rng_normal(&rng) - 0.5 * c->sigma * c->sigma);
}

/* The worker's next event: the begin of its next task, or its death if that comes first. */
static void plan_begin(sim *s, uint32_t id)
{
    node *n = &s->nodes[id];
    double time = n->queue[0].from > s->now ? n->queue[0].from : s->now;
    n->life = time < n->death ? TO_BEGIN : DYING;
    push(s, time < n->death ? time : n->death, id);
}

static sq_status on_assign(sim *s, const sq_action *a)
{
    node *n = &s->nodes[a->worker];
    if (n->life == DEAD)
        return SQ_OK;
    sq_status rc = SQ_GROW(n->queue, n->range_capacity, n->ranges + 1, "simulated ranges");
    if (rc != SQ_OK)
        return rc;
    n->queue[n->ranges++] = (range){a->index, a->count, s->free + s->c->latency};
    if (n->life == IDLE)
        plan_begin(s, a->worker);
    return SQ_OK;
}

/* Only the ends of ranges are ever cancelled before they begin. */
static void on_cancel(sim *s, const sq_action *a)
{
    node *n = &s->nodes[a->worker];
    for (size_t i = 0; i < n->ranges; i++) {
        range *r = &n->queue[i];
        if (a->index != r->first + r->count - 1 || (r->count == 1 && i == 0))
            continue;
        if (--r->count == 0) {
            memmove(r, r + 1, (n->ranges - i - 1) * sizeof *r);
            n->ranges--;
        }
        return;
    }
}

static sq_status act(sim *s, const sq_action *a, double cost)
{
    switch (a->kind) {
    case SQ_ACTION_ASSIGN:
        s->messages++;
        return on_assign(s, a);
    case SQ_ACTION_CANCEL:
        s->messages++;
        on_cancel(s, a);
        break;
    case SQ_ACTION_COMMIT:
        s->committed += cost;
        break;
    case SQ_ACTION_PHASE_DONE:
        return sq_scheduler_notify(s->scheduler, s->free,
                                   &(sq_notice){.kind = SQ_NOTICE_PHASE_READY, .phase = a->phase});
    default:
        break;
    }
    return SQ_OK;
}

static void spend(sim *s, double seconds)
{
    s->free += seconds;
    s->busy += seconds;
}

static sq_status perform(sim *s, double cost)
{
    sq_action a;
    sq_status rc = SQ_OK;
    while (rc == SQ_OK && sq_scheduler_next(s->scheduler, &a)) {
        if (a.kind == SQ_ACTION_ASSIGN || a.kind == SQ_ACTION_CANCEL)
            spend(s, s->c->service.message);
        if (a.kind >= SQ_ACTION_COMMIT && a.kind <= SQ_ACTION_QUARANTINE &&
            a.kind != SQ_ACTION_DROP) {
            spend(s, s->c->service.line);
            s->unflushed = 1;
        }
        rc = act(s, &a, cost);
    }
    return rc;
}

/* Rank 0 hears a notice: `messages` is 0 for what shares a message with an earlier one. */
static sq_status tell(sim *s, double sent, int messages, const sq_notice *notice)
{
    double arrival = sent + s->c->latency;
    if (messages) {
        s->free = arrival > s->free ? arrival : s->free;
        if (s->unflushed && s->free - s->flushed >= LEDGER_FLUSH) {
            spend(s, s->c->service.flush);
            s->flushed = s->free;
            s->unflushed = 0;
        }
        s->waited += s->free - arrival;
        s->messages++;
        spend(s, s->c->service.message);
    }
    spend(s, s->c->service.notice);
    sq_status rc = sq_scheduler_notify(s->scheduler, s->free, notice);
    return rc == SQ_OK ? perform(s, notice->seconds) : rc;
}

static uint64_t waiting(const sim *s, const node *n)
{
    uint64_t count = 0;
    for (size_t i = 0; i < n->ranges && n->queue[i].from <= s->now; i++)
        count += n->queue[i].count;
    return count;
}

/* Of what this worker has or will have begun, with or without a message of its own. */
static sq_status announce(sim *s, uint32_t id, uint64_t index, uint64_t after, int messages)
{
    node *n = &s->nodes[id];
    n->last_sent = s->now;
    n->announced = index;
    n->silent = !s->c->plain && after && n->mean > 0 && n->mean < SHORT;
    return tell(s, s->now, messages,
                &(sq_notice){.kind = SQ_NOTICE_STARTED,
                             .worker = id,
                             .index = index,
                             .silent = n->silent});
}

static sq_status report(sim *s, uint32_t id)
{
    sq_status rc = SQ_OK;
    node *n = &s->nodes[id];
    n->last_sent = s->now;
    for (size_t i = 0; i < n->dones; i++) {
        const finished *f = &n->done[i];
        SQ_TRY(tell(s, s->now, s->c->plain || i % s->c->batch == 0,
                    &(sq_notice){.kind = SQ_NOTICE_RESULT,
                                 .worker = id,
                                 .index = f->index,
                                 .seconds = (double)f->seconds,
                                 .ok = f->ok,
                                 .failure = SQ_FAILURE_INFRA}));
    }
    if (n->dones && !s->c->plain) {
        uint64_t after = waiting(s, n);
        n->announced = NOTHING;
        n->silent = 0;
        if (after)
            SQ_TRY(announce(s, id, n->queue[0].first, after - 1, 0));
    }
    n->dones = 0;
cleanup:
    return rc;
}

static sq_status begin(sim *s, uint32_t id)
{
    node *n = &s->nodes[id];
    range *r = &n->queue[0];
    n->index = r->first++;
    if (--r->count == 0)
        memmove(r, r + 1, --n->ranges * sizeof *r);
    n->cost = (float)cost_of(s->c, n->index);
    double end = s->now + (double)n->cost;
    n->life = end < n->death ? COMPUTING : DYING;
    push(s, end < n->death ? end : n->death, id);
    if (n->announced == n->index || (n->silent && s->now - n->last_sent < s->c->flush))
        return SQ_OK;
    return announce(s, id, n->index, waiting(s, n), 1);
}

static sq_status end(sim *s, uint32_t id)
{
    node *n = &s->nodes[id];
    sq_status rc = SQ_GROW(n->done, n->done_capacity, n->dones + 1, "simulated results");
    if (rc != SQ_OK)
        return rc;
    int ok = s->c->fail <= 0 || sq_rng_uniform(&s->rng) >= s->c->fail;
    if (!n->dones)
        n->done_since = s->now;
    n->done[n->dones++] = (finished){n->index, n->cost, ok};
    n->last_end = s->now;
    n->mean = n->mean > 0 ? 0.8 * n->mean + 0.2 * (double)n->cost : (double)n->cost;
    n->life = IDLE;
    s->attempts++;
    s->out->failures += !ok;
    if (n->ranges)
        plan_begin(s, id);
    if (!ok || waiting(s, n) <= 1 || s->now - n->done_since >= s->c->flush)
        return report(s, id);
    return SQ_OK;
}

static sq_status die(sim *s, uint32_t id)
{
    node *n = &s->nodes[id];
    n->life = DEAD;
    n->ranges = n->dones = 0;
    s->out->deaths++;
    return tell(s, s->now + NOTICED, 1, &(sq_notice){.kind = SQ_NOTICE_LOST, .worker = id});
}

static sq_status tick(sim *s)
{
    sq_status rc = SQ_OK;
    s->now = s->next_tick;
    s->next_tick += TICK;
    s->free = s->now > s->free ? s->now : s->free;
    for (uint32_t id = 0; id < s->c->workers; id++) {
        node *n = &s->nodes[id];
        if (n->life != IDLE || s->now - n->last_sent < HEARTBEAT)
            continue;
        n->last_sent = s->now;
        spend(s, s->c->service.message); /* the answer */
        s->messages++;
        SQ_TRY(tell(s, s->now, 1, &(sq_notice){.kind = SQ_NOTICE_HEARTBEAT, .worker = id}));
    }
    SQ_TRY(tell(s, s->now, 0, &(sq_notice){.kind = SQ_NOTICE_TICK}));
cleanup:
    return rc;
}

static sq_status step(sim *s)
{
    if (!s->count || s->heap[0].time > s->next_tick)
        return tick(s);
    event e = pop(s);
    s->now = e.time;
    switch (s->nodes[e.worker].life) {
    case TO_BEGIN:
        return begin(s, e.worker);
    case COMPUTING:
        return end(s, e.worker);
    case DYING:
        return die(s, e.worker);
    case IDLE:
    case DEAD:
        break;
    }
    return SQ_OK;
}

static sq_status populate(sim *s)
{
    sq_status rc = SQ_OK;
    for (uint32_t id = 0; id < s->c->workers; id++)
        s->nodes[id].announced = NOTHING;
    for (uint32_t id = 0; id < s->c->workers; id++)
        s->nodes[id].death = s->c->death > 0 ? -log(sq_rng_uniform(&s->rng)) / s->c->death : 1e300;
    for (uint32_t id = 0; id < s->c->workers; id++)
        SQ_TRY(tell(s, 0, 1, &(sq_notice){.kind = SQ_NOTICE_READY, .worker = id}));
cleanup:
    return rc;
}

static sq_status make_scheduler(uint64_t tasks, sq_scheduler **out)
{
    sq_status rc = SQ_OK;
    uint64_t *base = NULL;
    uint32_t tiles = (uint32_t)((tasks + PATCHES - 1) / PATCHES);
    SQ_TRY(SQ_ALLOC(base, tiles + 1, "simulated tiles"));
    for (uint32_t t = 0; t <= tiles; t++)
        base[t] = t < tiles ? (uint64_t)t * PATCHES : tasks;
    sq_phase_plan plan = {1, tiles, base, NULL};
    SQ_TRY(sq_scheduler_create(&plan, 1, NULL, out));
    SQ_TRY(sq_scheduler_begin(*out, 0));
cleanup:
    sq_free(base);
    return rc;
}

static void summarise(sim *s)
{
    sim_outcome *o = s->out;
    const sim_case *c = s->c;
    sq_scheduler_stats stats = sq_scheduler_get_stats(s->scheduler);
    double longest = 0, total = 0, tail = 0, all;
    o->seconds = s->free;
    all = o->seconds * c->workers;
    for (uint64_t i = 0; i < c->tasks; i++) {
        double cost = cost_of(c, i);
        total += cost;
        longest = cost > longest ? cost : longest;
    }
    for (uint32_t id = 0; id < c->workers; id++)
        tail += s->nodes[id].life == DEAD ? 0 : o->seconds - s->nodes[id].last_end;
    o->bound = total / c->workers > longest ? total / c->workers : longest;
    o->efficiency = s->committed / all;
    o->tail = tail / all;
    o->load = s->busy / o->seconds;
    o->messages = (double)s->messages / o->seconds;
    o->delay = s->waited / (double)s->messages;
    o->duplicates = stats.duplicates;
    o->quarantined = stats.quarantined;
    o->bytes = stats.bytes;
}

sq_status sq_bench_simulate(const sim_case *c, sim_outcome *out)
{
    sq_status rc = SQ_OK;
    sim s = {.c = c, .out = out, .next_tick = TICK};
    double start = sq_now();
    *out = (sim_outcome){0};
    sq_rng_init(&s.rng, 1, 1, 0);
    SQ_TRY(SQ_ALLOC(s.nodes, c->workers, "simulated workers"));
    SQ_TRY(SQ_ALLOC(s.heap, c->workers + 1, "simulated workers"));
    SQ_TRY(make_scheduler(c->tasks, &s.scheduler));
    SQ_TRY(populate(&s));
    while (sq_scheduler_outcome(s.scheduler) == SQ_OUTCOME_NONE)
        SQ_TRY(step(&s));
    if (sq_scheduler_outcome(s.scheduler) != SQ_OUTCOME_COMPLETE)
        rc = sq_fail(SQ_ERR_INTERNAL, "the simulated run of %u workers does not end complete",
                     c->workers);
    summarise(&s);
    out->real = sq_now() - start;
cleanup:
    for (uint32_t id = 0; s.nodes && id < c->workers; id++) {
        sq_free(s.nodes[id].queue);
        sq_free(s.nodes[id].done);
    }
    sq_free(s.nodes);
    sq_free(s.heap);
    sq_scheduler_destroy(s.scheduler);
    return rc;
}

double sq_bench_processor(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static sq_status time_messages(double *seconds)
{
    enum { N = 50000 };
    sq_status rc = SQ_OK;
    sq_mailbox *box = NULL;
    unsigned char body[400] = {0};
    sq_message m;
    SQ_TRY(sq_mailbox_create(sq_comm_world(), &box));
    double start = sq_bench_processor();
    for (int i = 0, got; i < N; i++) {
        SQ_TRY(sq_mailbox_send(box, 0, 1, body, sizeof body));
        do
            SQ_TRY(sq_mailbox_receive(box, 0, &m, &got));
        while (!got);
    }
    *seconds = (sq_bench_processor() - start) / (2.0 * N);
cleanup:
    sq_mailbox_destroy(box);
    return rc;
}

static sq_status time_ledger(const char *folder, sim_service *out)
{
    enum { FLUSHES = 20, LINES = 5000 };
    sq_status rc = SQ_OK;
    sq_ledger *ledger = NULL;
    char path[256];
    double lines = 0, flushes = 0;
    snprintf(path, sizeof path, "%s/ledger", folder);
    SQ_TRY(sq_ledger_open(path, NULL, NULL, &ledger));
    for (int f = 0; f < FLUSHES; f++) {
        double start = sq_bench_processor();
        for (int i = 0; i < LINES; i++) {
            sq_event e = {.kind = SQ_EVENT_COMMIT, .patch = (uint64_t)(f * LINES + i), .rows = 100};
            snprintf(e.place.segment, sizeof e.place.segment, "e1-r1-000000.sqs");
            SQ_TRY(sq_ledger_append(ledger, &e));
        }
        lines += sq_bench_processor() - start;
        double written = sq_now();
        SQ_TRY(sq_ledger_flush(ledger));
        flushes += sq_now() - written;
    }
    out->line = lines / (FLUSHES * LINES);
    out->flush = flushes / FLUSHES;
cleanup:
    sq_ledger_close(ledger);
    unlink(path);
    return rc;
}

/* Results in the order of hand-outs, at the beginning of a survey of 10^8 tasks. */
static sq_status time_notices(uint32_t workers, double *seconds)
{
    const uint64_t TASKS = 100000000, ENOUGH = 1000000 + workers;
    sq_status rc = SQ_OK;
    sq_scheduler *s = NULL;
    sq_action a;
    uint64_t notices = 0;
    SQ_TRY(make_scheduler(TASKS, &s));
    double start = sq_bench_processor();
    for (uint32_t w = 0; w < workers; w++, notices++)
        SQ_TRY(sq_scheduler_notify(s, 0, &(sq_notice){.kind = SQ_NOTICE_READY, .worker = w}));
    while (notices < ENOUGH && sq_scheduler_next(s, &a)) {
        for (uint64_t k = 0; a.kind == SQ_ACTION_ASSIGN && k < 2 * a.count; k++, notices++)
            SQ_TRY(sq_scheduler_notify(
                s, 1e-6 * (double)notices,
                &(sq_notice){.kind = k % 2 ? SQ_NOTICE_RESULT : SQ_NOTICE_STARTED,
                             .worker = a.worker,
                             .index = a.index + k / 2,
                             .seconds = 1,
                             .ok = 1}));
    }
    *seconds = (sq_bench_processor() - start) / (double)notices;
cleanup:
    sq_scheduler_destroy(s);
    return rc;
}

sq_status sq_bench_service(const char *folder, uint32_t workers, sim_service *out)
{
    sq_status rc = SQ_OK;
    if (out->message <= 0)
        SQ_TRY(time_messages(&out->message));
    SQ_TRY(time_ledger(folder, out));
    SQ_TRY(time_notices(workers, &out->notice));
cleanup:
    return rc;
}
