/* One execution of a run on one rank, in the order of its steps. Shared by run.c, resume.c and
 * reduce.c. */
#ifndef SQ_RUN_EXECUTION_H
#define SQ_RUN_EXECUTION_H

#include "run/journal.h"
#include "run/loop.h"
#include "run/run.h"

typedef struct execution {
    const sq_comm *comm;
    const sq_run_options *options;
    sq_run_verdict *verdict;
    int rank, size;
    double started;
    char started_text[32];
    char folder[SQ_PATH_MAX], ledger_path[SQ_PATH_MAX], shards[SQ_PATH_MAX];
    sq_run_config *config;
    sq_survey *survey;
    sq_comm *survivors; /* ranks that are left for the reduce, when some were lost */
    int alone;          /* nothing collective any more */
    sq_mailbox *mailbox;
    sq_ledger *ledger;     /* rank 0 */
    journal journal;       /* rank 0 */
    control_result result; /* rank 0 */
    uint8_t *workers;      /* rank 0: what became of each */
    uint32_t number;       /* of this execution, from 1 */
    uint64_t open;         /* tasks that are not settled */
    int reduced;           /* a release of this ledger stands */
    int folder_ready, begun;
} execution;

/* Collective: replay the ledger on rank 0, verify committed records on all, say what is open. */
sq_status sq_execution_resume(execution *x);
/* Collective: the release from everything that is committed. */
sq_status sq_execution_reduce(execution *x);
/* Rank 0: states of tasks from the journal into the verdict, and the number that are open. */
void sq_execution_count(execution *x);

#endif
