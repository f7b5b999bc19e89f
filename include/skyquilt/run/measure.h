/* What a run would cost: patches, halo overhead, memory and time from a few patches that are really
 * processed. Local. */
#ifndef SQ_RUN_MEASURE_H
#define SQ_RUN_MEASURE_H

#include "run/survey.h"

typedef struct sq_phase_cost {
    uint64_t patches, tasks;
    double overhead; /* share of computed pixels that is halo or lies outside */
} sq_phase_cost;

sq_status sq_measure_phase(const sq_survey *survey, int phase, sq_phase_cost *cost);

typedef struct sq_rate {
    int measured, failed; /* tasks */
    double read, process; /* mean seconds of a task */
    uint64_t resident;    /* peak bytes of this process afterwards */
    char problem[512];    /* of the last failure */
} sq_rate;

/* Read and process `count` tasks of phase 0, spread evenly over the survey. Nothing is written. */
sq_status sq_measure_rate(const sq_survey *survey, int count, sq_rate *rate);

#endif
