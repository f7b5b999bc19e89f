/* The reading thread: inputs of the next tasks are read while the present one computes.
 *
 * Tasks are read in the order given; one input exists beside the one in use. Tiles are
 * opened once for a run of neighbouring patches. The probe's `read` and all of cfitsio run on this
 * thread. Local. */
#ifndef SQ_RUN_PREFETCH_H
#define SQ_RUN_PREFETCH_H

#include "run/survey.h"

typedef struct prefetch prefetch;

typedef struct prefetched {
    sq_task task;
    int alone;
    sq_place place;
    void *input; /* NULL after a failure */
    sq_hash input_hash;
    sq_status status;
    char text[SQ_ERROR_MAX];
    double seconds;    /* spent on reading */
    sq_tiling *tiling; /* that place refers to; shared */
} prefetched;

sq_status sq_prefetch_create(const sq_survey *survey, prefetch **out);
/* Ask for a task's input. Never blocks; there is room for `sq_prefetch_room` more. */
int sq_prefetch_room(prefetch *p);
sq_status sq_prefetch_ask(prefetch *p, const sq_task *task, int alone);
/* The input of the task asked for first, waiting up to `seconds`; 0 when there is none yet. The
 * slot is in use until sq_prefetch_done. */
int sq_prefetch_take(prefetch *p, double seconds, prefetched **out);
void sq_prefetch_done(prefetch *p, prefetched *item);
/* Wait until nothing is being read and drop what was read and not taken. */
void sq_prefetch_quiesce(prefetch *p);
void sq_prefetch_destroy(prefetch *p);

#endif
