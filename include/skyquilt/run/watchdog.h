/* A thread on each rank that ends it when it can no longer get anywhere.
 *
 * A collective call with a dead rank never returns. So in the collective parts of a run (start-up,
 * reduce, end) every step says that it goes on, here or by sq_pulse; after so many seconds without,
 * the watchdog says what the rank was doing and for how long, rank 0 leaves exit.json with
 * "relaunch": true, and the process ends by _exit(4). The launcher runs the same command again,
 * which resumes. It ends a rank sooner
 *  - when another process of the job on the same node has died in a collective part;
 *  - when rank 0 has died on the same node, or the launcher that started this process has;
 *  - in a run of one rank when a task takes longer than it may, leaving a note of its death.
 * While tasks are in flight nothing else is watched: there rank 0's deadlines rule.
 *
 * It also answers SIGUSR2 with a line about the task in hand, however long that takes.
 *
 * Time in which the process itself did not run (SIGSTOP, a suspended machine) does not count.
 * Local, process-wide, except for sq_watchdog_meet. */
#ifndef SQ_RUN_WATCHDOG_H
#define SQ_RUN_WATCHDOG_H

#include "par/comm.h"
#include "run/run.h"

/* Start the thread, armed; before message passing starts, so that it covers that too. Does nothing
 * the second time. SKYQUILT_WATCHDOG in the environment sets the seconds. */
void sq_watchdog_start(void);
/* Seconds without progress; the environment's outweigh them. */
void sq_watchdog_limit(double seconds);
double sq_watchdog_seconds(void);
/* A collective part goes on with `what`, a literal; arms. */
void sq_watchdog_progress(const char *what);
/* Nothing collective from here on: tasks are in flight, or this rank leaves on its own. */
void sq_watchdog_rest(void);
/* Collective: learn which processes of the job run on the same node. */
sq_status sq_watchdog_meet(const sq_comm *comm);
/* Rank 0: where to leave a verdict, with the counts of `verdict`. NULL: the verdict stands, and
 * from here on the process leaves with its exit code. */
void sq_watchdog_verdict(const char *folder, const sq_run_verdict *verdict);
/* A rank of this node that has died and was not yet returned, -1 when there is none. */
int sq_watchdog_gone(void);
/* It is no member of what follows: its death will not matter. */
void sq_watchdog_forget(int rank);
/* In a run of one rank: how long a task may take; 0: for ever. */
void sq_watchdog_task_limit(double seconds);
void sq_watchdog_stop(void);

#endif
