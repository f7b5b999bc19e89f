/* Time: a monotonic clock for durations, the wall clock for records. Local. */
#ifndef SQ_BASE_CLOCK_H
#define SQ_BASE_CLOCK_H

#include <stddef.h>

double sq_now(void);        /* monotonic seconds */
double sq_cpu_now(void);    /* CPU seconds of the calling thread */
double sq_wall(void);       /* seconds since 1970-01-01 UTC */
void sq_timestamp(char *out, size_t size);   /* "2026-11-22T20:45:00Z" (21 bytes) */

#endif
