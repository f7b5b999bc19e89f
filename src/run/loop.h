/* Rank 0 while tasks are in flight: messages become notices, actions become messages and lines of
 * the ledger. With one rank the worker runs in the same loop. Local. */
#ifndef SQ_RUN_LOOP_H
#define SQ_RUN_LOOP_H

#include "par/message.h"
#include "run/journal.h"
#include "run/run.h"
#include "run/scheduler.h"
#include "run/worker.h"

typedef struct control_setup {
    const sq_survey *survey;
    sq_mailbox *mailbox;
    sq_ledger *ledger;
    journal *journal; /* what earlier executions did; settled */
    run_worker *own;  /* with one rank, else NULL */
    const char *folder;
    uint32_t workers;
    uint32_t execution;
    double started; /* sq_now() at the start of the job: for the walltime */
    const sq_run_options *options;
    uint8_t *state; /* [workers] enum control_worker, filled here */
} control_setup;

typedef enum control_worker {
    CONTROL_HERE, /* or silent */
    CONTROL_LEFT, /* said goodbye: waits for its fate, and can take part in the reduce */
    CONTROL_GONE  /* its process has died, or gave up on this rank */
} control_worker;

typedef struct control_result {
    sq_outcome outcome;
    int stop_signal; /* that asked for the drain */
    uint32_t lost;   /* workers that did not say goodbye */
    int weak;        /* stopped because less than half of the workers are left */
    sq_scheduler_stats stats;
    uint64_t taken; /* tasks of this execution that were taken over, not computed */
    char reason[256]; /* of BROKEN and NO_WORKERS: the last failure */
    sq_status status; /* its status */
} control_result;

/* Returns when all workers have left. */
sq_status sq_control_run(const control_setup *setup, control_result *result);

#endif
