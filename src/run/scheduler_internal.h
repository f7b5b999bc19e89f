/* The parts of the scheduler: what is kept per task, per worker and per tile. Local. */
#ifndef SQ_RUN_SCHEDULER_INTERNAL_H
#define SQ_RUN_SCHEDULER_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "run/scheduler.h"

#define NO_TASK UINT64_MAX
#define NO_TILE UINT32_MAX
#define NO_WORKER UINT32_MAX

/* Tasks that are not simply fresh, in flight once, or settled. Open addressing, keyed by index. */
typedef struct special {
    uint64_t index;          /* NO_TASK: free */
    uint32_t attempts;       /* times issued */
    uint16_t science, infra; /* failures */
    uint16_t deaths;
    uint8_t reissued;  /* may be held by several workers */
    uint8_t suspected; /* runs last and alone */
    uint8_t queued;    /* stands in the retry or suspect queue */
    uint32_t avoid;    /* worker of the last failure */
    uint32_t holder;   /* to whom it was issued last, NO_WORKER: only as part of a range */
} special;

typedef struct special_table {
    special *slot;
    size_t size, used; /* size is a power of two; used counts live entries */
} special_table;

/* NULL when absent. */
special *sq_special_find(const special_table *table, uint64_t index);
/* Made with 1 attempt when absent. Pointers are valid until the next call. */
sq_status sq_special_get(special_table *table, uint64_t index, special **out);
void sq_special_remove(special_table *table, uint64_t index);
void sq_special_clear(special_table *table);

typedef struct segment {
    uint64_t first, count;
    uint32_t attempt;
} segment;

typedef enum worker_state { WORKER_ABSENT, WORKER_ALIVE, WORKER_HUNG, WORKER_LOST } worker_state;

typedef struct worker {
    worker_state state;
    segment *held; /* in the order handed out */
    size_t segments, capacity;
    uint64_t holding; /* tasks in `held` */
    uint64_t running; /* NO_TASK when not known */
    double running_since, last_heard, last_assign;
    uint32_t tile; /* takes from this one while there is something */
    uint8_t alone; /* holds a suspect */
    uint8_t idle;  /* stands in the idle list */
    uint8_t silent; /* begins tasks without saying */
    uint32_t failing; /* the row of infrastructure failures that it is part of */
} worker;

sq_status sq_worker_hold(worker *w, segment piece);
/* *held says whether the worker had the task; then *attempt is its attempt. */
sq_status sq_worker_take(worker *w, uint64_t index, uint32_t *attempt, int *held);
int sq_worker_holds(const worker *w, uint64_t index);

typedef struct retry {
    uint64_t index;
    double not_before;
} retry;

typedef struct queue { /* first in, first out */
    retry *item;
    size_t head, count, capacity;
} queue;

sq_status sq_queue_push(queue *q, retry item);
retry sq_queue_take(queue *q, size_t position); /* counted from the head */

typedef struct phase_state {
    uint32_t realisations, tiles;
    uint64_t *base;  /* [tiles + 1] in tasks */
    uint32_t *order; /* tiles, the most costly first */
    uint64_t end;    /* base[tiles] */
    uint64_t tasks, settled, done, failed, quarantined;
    uint64_t *bits; /* [end] settled tasks */
} phase_state;

typedef struct known_death {
    int phase;
    uint64_t index;
    uint32_t deaths;
} known_death;

struct sq_scheduler {
    sq_scheduler_limits limits;
    int nphase, phase;
    phase_state *phases;
    int begun, draining, waiting_barrier;
    sq_outcome outcome, after_drain;
    double now, drain_since, none_since;
    known_death *deaths; /* of earlier executions */
    size_t death_count, death_capacity;

    /* Of the present phase. */
    uint64_t *issued;   /* bits: handed out at least once */
    uint64_t *cursor;   /* [tiles]: next task to look at */
    uint32_t next_tile; /* in `order` */
    uint32_t *open;     /* tiles begun and not used up */
    size_t open_count, open_capacity, open_next;
    uint64_t fresh; /* tasks that were never handed out and are not settled */
    special_table specials;
    queue retries, suspects;
    double mean;
    uint64_t measured;
    uint32_t suspects_running;

    worker *workers;
    size_t worker_count, worker_capacity;
    uint32_t alive;
    uint32_t *idle;
    size_t idle_count, idle_capacity;
    size_t backlog_next; /* where the search for waiting tasks goes on */
    int no_backlog;
    uint32_t infra_in_row, infra_row; /* failures in the present row; its number, from 1 */
    uint32_t infra_workers;           /* workers that are part of it */

    sq_action *actions;
    size_t action_head, action_count, action_capacity;
    uint64_t in_flight, reissued, duplicates, retried;
};

static inline int sq_bit_get(const uint64_t *bits, uint64_t i)
{
    return (int)(bits[i >> 6] >> (i & 63) & 1);
}

static inline void sq_bit_set(uint64_t *bits, uint64_t i)
{
    bits[i >> 6] |= (uint64_t)1 << (i & 63);
}

static inline phase_state *sq_present(sq_scheduler *s)
{
    return &s->phases[s->phase];
}

/* scheduler.c */
sq_status sq_scheduler_check_task(const sq_scheduler *s, int phase, uint64_t index);
sq_status sq_scheduler_drain(sq_scheduler *s, sq_outcome outcome);
sq_status sq_scheduler_end(sq_scheduler *s, sq_outcome outcome);
sq_status sq_scheduler_settle_now(sq_scheduler *s, uint64_t index, sq_settled state);
sq_status sq_scheduler_check_phase_done(sq_scheduler *s);

/* scheduler_fault.c: failures, deaths, silence. */
void sq_scheduler_forget_held(sq_scheduler *s, worker *w);
sq_status sq_scheduler_requeue(sq_scheduler *s, uint64_t index, double pause, int suspected);
sq_status sq_scheduler_requeue_held(sq_scheduler *s, uint32_t id, int died);
sq_status sq_scheduler_drop_worker(sq_scheduler *s, uint32_t id, worker_state state);
sq_status sq_scheduler_check_deadlines(sq_scheduler *s);
sq_status sq_scheduler_check_workers(sq_scheduler *s);

/* scheduler_pick.c: what to hand out next. */
sq_status sq_scheduler_open_phase(sq_scheduler *s, int phase);
sq_status sq_scheduler_feed(sq_scheduler *s, uint32_t id);
sq_status sq_scheduler_feed_idle(sq_scheduler *s);
sq_status sq_scheduler_issue_slow(sq_scheduler *s);
sq_status sq_scheduler_push(sq_scheduler *s, sq_action action);

#endif
