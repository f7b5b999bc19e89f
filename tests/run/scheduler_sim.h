/* Workers, messages and faults in simulated time, around the real scheduler. */
#ifndef SQ_TESTS_SCHEDULER_SIM_H
#define SQ_TESTS_SCHEDULER_SIM_H

#include <stdint.h>

#include "run/scheduler.h"

typedef struct sim_setup {
    uint64_t seed;
    uint32_t workers;
    int nphase;
    sq_phase_plan phase[4];
    sq_scheduler_limits limits;
    double mean_seconds;         /* of a task; exponential */
    double delay;                /* mean delay of a message */
    double lose, duplicate;      /* probability a message */
    double kill_rate, hang_rate; /* a worker, 1/s */
    double lost_notice;          /* probability that a death is reported */
    double last_words;           /* and that the task is known by which it died */
    int batch;                   /* results that a worker reports together; above 1 it begins tasks in
                                    silence meanwhile */
    double heartbeat;            /* interval of idle and busy workers, s */
    double science, infra; /* share of tasks that always fail; probability of a passing failure */
    uint32_t bad_worker;   /* from 1: a worker whose storage always fails; 0: none */
    double killer;         /* share of tasks that kill whoever executes them */
    double stop_at;        /* 0: never */
} sim_setup;

typedef struct sim_result {
    sq_outcome outcome;
    double seconds, busy; /* simulated; worker-seconds in tasks that were committed */
    uint64_t events, commits, fails, quarantined, deaths, executions;
    sq_scheduler_stats stats;
} sim_result;

/* The world outside one execution: survives resumes. */
typedef struct sim_world {
    uint8_t *state[4];  /* sq_settled of every task, 0 when open */
    uint8_t *deaths[4]; /* as recorded */
    uint8_t *suspect[4]; /* as recorded: to be taken up by the next execution */
    uint8_t *hits[4];   /* true deaths and hangs during execution */
    const char *broken; /* the invariant that was violated, NULL */
} sim_world;

int sim_is_killer(const sim_setup *setup, int phase, uint64_t index);
int sim_always_fails(const sim_setup *setup, int phase, uint64_t index);
uint64_t sim_tasks(const sim_setup *setup, int phase);
int sim_world_create(const sim_setup *setup, sim_world *world);
void sim_world_destroy(sim_world *world);
/* One execution until the scheduler ends it. */
sq_status sim_run(const sim_setup *setup, sim_world *world, uint32_t execution, sim_result *out);

#endif
