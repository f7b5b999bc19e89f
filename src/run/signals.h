/* Requests from outside: SIGTERM, SIGINT and SIGUSR1 ask for a drain. Rank 0 acts on them; other
 * ranks note them only, so that they survive what a launcher sends to the whole job. Local,
 * process-wide. */
#ifndef SQ_RUN_SIGNALS_H
#define SQ_RUN_SIGNALS_H

void sq_signals_install(void);
void sq_signals_restore(void);
int sq_signals_stop_wanted(void); /* the signal's number, 0 when none came */

#endif
