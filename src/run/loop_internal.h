/* The parts of rank 0's loop. Local. */
#ifndef SQ_RUN_LOOP_INTERNAL_H
#define SQ_RUN_LOOP_INTERNAL_H

#include "run/loop.h"
#include "run/present.h"
#include "run/wire.h"

enum { DEADLINE_FACTOR = 50 }; /* mean times of a task */

typedef struct control_present {
    sq_task task;
    double since; /* 0: it is at none */
    int silent;   /* or at one soon after it */
} control_present;

typedef struct control {
    const control_setup *setup;
    const sq_survey *survey;
    sq_scheduler *scheduler;
    control_result *result;
    const wire_result *present; /* the result that the scheduler decides about */
    sq_phase_plan plan[SQ_MAX_PHASES];
    double *cost;
    uint8_t *state; /* [workers] control_worker */
    double *doomed; /* [workers] since when its process is gone, 0: it is not known to be */
    int any_doomed;
    uint32_t most;            /* workers alive at one time */
    uint32_t gave_up;         /* by themselves, with an error */
    control_present *present_of; /* [workers] what it said that it began */
    double start, last_tick, last_report;
    uint64_t resumed;
    double slowest;
    uint64_t slowest_patch;
    uint64_t messages; /* received and sent */
    int charged; /* a death was recorded */
    int stop_sent;
    int restart; /* the ledger has overtaken the scheduler */
} control;

/* loop.c */
int control_rank(const control *c, uint32_t worker);
/* A worker that cannot be spoken to is as good as dead. */
sq_status control_tell(control *c, uint32_t worker, wire_kind kind, const void *body,
                       uint32_t size);
sq_status control_notify(control *c, const sq_notice *notice);
sq_status control_perform(control *c); /* what the scheduler wants done */
sq_status control_hear(control *c, const sq_message *message);

/* record.c: lines of the ledger about the task of an action, and what is said of tasks. */
sq_status control_record_commit(control *c, const sq_action *action);
sq_status control_record_failure(control *c, const sq_action *action);
sq_status control_record_death(control *c, const sq_action *action);
sq_status control_record_suspects(control *c, const sq_action *action);
void control_say_where(const control *c);  /* every rank's task in a line each */
void control_report(control *c, int last); /* progress, not too often */

/* phase.c: what is done between phases. */
sq_status control_make_scheduler(control *c); /* from what the journal holds */
sq_status control_pass_barrier(control *c, int phase);
/* At a barrier, with nothing in flight: a scheduler for what the ledger says now. Workers that are
 * there are heard by their heartbeats. */
sq_status control_begin_anew(control *c);

#endif
