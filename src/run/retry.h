/* Before an execution begins: what deaths and wishes say about tasks that were tried before. Rank
 * 0, with the ledger open and replayed. */
#ifndef SQ_RUN_RETRY_H
#define SQ_RUN_RETRY_H

#include "run/execution.h"

/* Notes that dying ranks left become lines of the ledger, each once; the notes go away. */
sq_status sq_retry_read_notes(execution *x);
/* Tasks that are open after too many deaths are given up. */
sq_status sq_retry_quarantine(execution *x);
/* Reopen what the options ask for; not again when the same was asked for and is not finished.
 * SQ_ERR_CONFIG for names that nothing has. */
sq_status sq_retry_reopen(execution *x);

#endif
