/* Requests from outside. SIGTERM, SIGINT and SIGUSR1 ask for a drain: rank 0 acts on them; other
 * ranks note them only, so that they survive what a launcher sends to the whole job. SIGUSR2 asks
 * for the present patch: of every rank on rank 0, of this rank elsewhere. Local, process-wide. */
#ifndef SQ_RUN_SIGNALS_H
#define SQ_RUN_SIGNALS_H

void sq_signals_install(int rank);
void sq_signals_restore(void);
/* There is nothing left to drain: SIGTERM and SIGINT end the process again, the others are ignored.
 */
void sq_signals_end_stops(void);
int sq_signals_stop_wanted(void);  /* the signal's number, 0 when none came */
int sq_signals_where_wanted(void); /* once for each request */

#endif
