/* A rank that computes: takes ranges of tasks, reads ahead, processes, appends to a shard of its
 * own, and reports a result only when it is on disk. Talks to rank 0 through the mailbox; nothing
 * here is collective. */
#ifndef SQ_RUN_WORKER_H
#define SQ_RUN_WORKER_H

#include "par/message.h"
#include "run/survey.h"

typedef struct run_worker run_worker;

typedef struct worker_setup {
    const sq_survey *survey;
    sq_mailbox *mailbox;
    const char *folder; /* of the output */
    const char *name;   /* of the shard's segments */
    const char *base;   /* the release from which SQ_RUN_BASE was made; NULL: none */
} worker_setup;

/* Starts the reading thread and the probe on this rank. */
sq_status sq_worker_create(const worker_setup *setup, run_worker **out);
/* Take a message of rank 0. A status other than SQ_OK means that this worker cannot go on. */
sq_status sq_worker_handle(run_worker *w, const sq_message *message);
/* Do one piece of work, waiting up to `seconds` for an input. *busy: 0 when there was nothing to
 * do. */
sq_status sq_worker_work(run_worker *w, double seconds, int *busy);
int sq_worker_finished(const run_worker *w); /* after SHUTDOWN */
/* Say READY, receive and work until SHUTDOWN. */
sq_status sq_worker_run(run_worker *w);
/* Say BYE with the worker's last status. */
void sq_worker_leave(run_worker *w, sq_status status);
void sq_worker_destroy(run_worker *w);

#endif
