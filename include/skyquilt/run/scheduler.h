/* The scheduler: a pure state machine. Notices go in, actions come out, time is injected.
 *
 * Tasks are numbered within a phase: index = patch * realisations + realisation. They are
 * generated, never materialised: beside a bit a task the memory is that of the ranges in flight and
 * of the tasks that needed more than one attempt. Phases are separated by barriers.
 *
 * Hand-outs are contiguous ranges within one tile, smaller toward the end; costly tiles go first
 * when costs are known; a worker holds enough that the next task is read while the present one
 * computes. A task is settled once: done, failed or quarantined; the first result wins, and late,
 * duplicate, lost and reordered messages are legal.
 *  - A science failure (the input or the processing) is retried once, an infrastructure failure
 * several times, on another worker if there is one, after a pause that doubles.
 *  - A task during whose execution a worker died or hung is suspected: it runs last and alone on
 * its worker and is quarantined after the given number of deaths. Tasks that only waited on that
 * worker go back to the queue. A worker of short tasks does not say when it begins each: what it
 * held is suspected then, and no task is charged with the death.
 *  - When nothing is left to hand out, what waits on a busy worker goes to an idle one, and what
 * runs much longer than usual is issued a second time.
 *
 * Workers that do not compute are expected to send heartbeats: one that is silent beyond the
 * deadline counts as hung until it speaks again.
 *
 * Local; one thread. */
#ifndef SQ_RUN_SCHEDULER_H
#define SQ_RUN_SCHEDULER_H

#include <stdint.h>

#include "base/status.h"

typedef struct sq_scheduler sq_scheduler;

typedef struct sq_phase_plan {
    uint32_t realisations; /* >= 1 */
    uint32_t tiles;
    const uint64_t
        *base;          /* [tiles + 1] first patch of each tile and the end; above 0 at first for a
                           part of a survey; copied */
    const double *cost; /* [tiles] expected seconds of a task of the tile, or NULL; copied */
} sq_phase_plan;

/* Zeros mean the defaults in brackets. Seconds. */
typedef struct sq_scheduler_limits {
    uint32_t depth;         /* tasks that a worker holds at least [2] */
    uint32_t max_range;     /* largest hand-out [64] */
    double hold_seconds;    /* and enough for so long, while there is plenty [1] */
    double range_seconds;   /* a hand-out should not take longer [30] */
    double deadline;        /* a task that runs longer makes its worker count as hung [600] */
    double deadline_factor; /* and longer than this many mean task times [50] */
    double slow_factor;     /* a tail task that runs this many mean times is issued again [3] */
    double slow_seconds;    /* but not before [5] */
    double
        grace; /* silence after a hand-out before an idle worker counts as not having got it [10] */
    double retry_pause;        /* before the first retry of an infrastructure failure [1] */
    uint32_t science_attempts; /* [2] */
    uint32_t infra_attempts;   /* [5] */
    uint32_t deaths;           /* quarantine after this many [3] */
    uint32_t
        broken_after; /* infrastructure failures in a row, from every worker that is left, that
                         stop the run [4 per worker + 8] */
    double lease;     /* nothing is begun that may not end by this time; 0: no limit */
    double drain_seconds; /* how long a drain waits for workers [deadline] */
} sq_scheduler_limits;

typedef enum sq_failure_class { SQ_FAILURE_SCIENCE, SQ_FAILURE_INFRA } sq_failure_class;
/* The class of a status: what the environment did is infrastructure, everything else science. */
sq_failure_class sq_failure_class_of(sq_status code);

typedef enum sq_notice_kind {
    SQ_NOTICE_READY,       /* worker: can take tasks */
    SQ_NOTICE_STARTED,     /* worker, phase, index: execution begins; silent: others may begin after
                              it before the next notice */
    SQ_NOTICE_RESULT,      /* worker, phase, index, seconds, ok, failure */
    SQ_NOTICE_HEARTBEAT,   /* worker, holding: tasks that it has and has not reported */
    SQ_NOTICE_DRAINED,     /* worker: has reported all, holds nothing */
    SQ_NOTICE_LOST,        /* worker: is dead; known: while it executed phase, index */
    SQ_NOTICE_PHASE_READY, /* phase: its file is there; the next one may begin */
    SQ_NOTICE_STOP,        /* drain and end */
    SQ_NOTICE_TICK         /* time passes; expected about once a second */
} sq_notice_kind;

typedef struct sq_notice {
    sq_notice_kind kind;
    uint32_t worker;
    int phase;
    uint64_t index;
    double seconds;
    int ok;
    sq_failure_class failure;
    uint64_t holding;
    int silent, known;
} sq_notice;

typedef enum sq_action_kind {
    SQ_ACTION_ASSIGN, /* worker, phase, index, count, attempt, alone */
    SQ_ACTION_CANCEL, /* worker, phase, index: need not be begun any more (a hint) */
    SQ_ACTION_DRAIN,  /* worker: drop what has not begun, report the rest, answer DRAINED */
    SQ_ACTION_COMMIT, /* worker, phase, index, attempt: record the result of the present notice as
                         done */
    SQ_ACTION_RETRY,  /* the attempt of the present notice failed and will be repeated */
    SQ_ACTION_FAIL,   /* the same as failed, with the reason of the present notice */
    SQ_ACTION_DROP,   /* the result of the present notice came too late */
    SQ_ACTION_DEATH,  /* worker, phase, index, count: deaths while executing it, to be recorded */
    SQ_ACTION_SUSPECT,    /* worker, phase, index, count: it may have executed one of these tasks
                             when it was lost; to be recorded */
    SQ_ACTION_QUARANTINE, /* phase, index: to be recorded */
    SQ_ACTION_PHASE_DONE, /* phase: all settled; answer with PHASE_READY */
    SQ_ACTION_END         /* outcome */
} sq_action_kind;

typedef enum sq_outcome {
    SQ_OUTCOME_NONE, /* goes on */
    SQ_OUTCOME_COMPLETE,
    SQ_OUTCOME_STOPPED, /* drained on request or at the end of the lease */
    SQ_OUTCOME_BROKEN,  /* only infrastructure failures */
    SQ_OUTCOME_NO_WORKERS
} sq_outcome;

typedef struct sq_action {
    sq_action_kind kind;
    uint32_t worker;
    int phase;
    uint64_t index, count;
    uint32_t attempt;
    int alone;
    sq_outcome outcome;
} sq_action;

typedef enum sq_settled {
    SQ_SETTLED_DONE = 1,
    SQ_SETTLED_FAILED,
    SQ_SETTLED_QUARANTINED
} sq_settled;

typedef struct sq_scheduler_stats {
    uint64_t total, done, failed, quarantined; /* over all phases */
    uint64_t in_flight, reissued, duplicates, retried;
    int phase;           /* present */
    uint32_t workers;    /* alive */
    double mean_seconds; /* of a task of the present phase, 0 when unknown */
    uint64_t bytes;      /* memory held */
} sq_scheduler_stats;

sq_status sq_scheduler_create(const sq_phase_plan *phase, int nphase,
                              const sq_scheduler_limits *limits, sq_scheduler **out);
/* Before the first notice: what an earlier execution settled, deaths that it saw, and where it
 * stands. Zero deaths: it is suspected. */
sq_status sq_scheduler_settle(sq_scheduler *scheduler, int phase, uint64_t index, sq_settled state);
sq_status sq_scheduler_add_deaths(sq_scheduler *scheduler, int phase, uint64_t index,
                                  uint32_t deaths);
int sq_scheduler_is_settled(const sq_scheduler *scheduler, int phase, uint64_t index);
/* Begin: the barriers of phases that are settled already are passed one by one, like all others. */
sq_status sq_scheduler_begin(sq_scheduler *scheduler, double now);

/* Time must not go back. Errors: SQ_ERR_NOMEM, and SQ_ERR_USAGE for notices that make no sense (an
 * unknown phase or index), which change nothing. */
sq_status sq_scheduler_notify(sq_scheduler *scheduler, double now, const sq_notice *notice);
/* The next action, 0 when there is none. */
int sq_scheduler_next(sq_scheduler *scheduler, sq_action *action);

sq_outcome sq_scheduler_outcome(const sq_scheduler *scheduler);
sq_scheduler_stats sq_scheduler_get_stats(const sq_scheduler *scheduler);
void sq_scheduler_destroy(sq_scheduler *scheduler);

#endif
