/* Signs of life. Work that may last says that it goes on, so that a watchdog can tell slow from
 * stuck: a counter that grows and a word about what is being done. Costs two relaxed atomic writes.
 * Thread-safe. Local, process-wide. */
#ifndef SQ_BASE_PULSE_H
#define SQ_BASE_PULSE_H

#include <stdint.h>

/* `what` must stay valid for ever (a literal); NULL: still the same. */
void sq_pulse(const char *what);
uint64_t sq_pulse_count(void);
const char *sq_pulse_what(void); /* "" before the first */

#endif
