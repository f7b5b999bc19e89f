/* Time: a monotonic clock for durations, the wall clock for records. Local. */
#ifndef SQ_BASE_CLOCK_H
#define SQ_BASE_CLOCK_H

#include <stddef.h>

double sq_now(void);        /* monotonic seconds */
double sq_cpu_now(void);    /* CPU seconds of the calling thread */
/* Seconds in which the calling thread computed or waited for something other than a core: the
 * difference of two calls leaves out the time in which it was ready to run and another thread had
 * the core. Linux; elsewhere sq_now. */
double sq_busy_now(void);
double sq_wall(void);       /* seconds since 1970-01-01 UTC */
void sq_timestamp(char *out, size_t size);   /* "2026-11-22T20:45:00Z" (21 bytes) */

#endif
