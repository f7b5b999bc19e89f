/* The scheduler's state machine with workers in simulated time, for more ranks than there are.
 *
 * Rank 0 is a server with one queue, first come first served: every message, result and ledger
 * flush takes the service time that was measured for it, and answers leave when it is through.
 * Costs of tasks are lognormal with rare fixed ones of 100 times the mean, keyed by the task: the
 * same survey for any number of workers. One thread; the same costs give the same result. Local. */
#ifndef SQ_CLI_BENCH_SCHEDULER_SIM_H
#define SQ_CLI_BENCH_SCHEDULER_SIM_H

#include <stdint.h>

#include "base/status.h"

/* Service times of rank 0, seconds. */
typedef struct sim_service {
    double message; /* to receive or to send one */
    double notice;  /* the state machine's part of one */
    double line;    /* a line of the ledger */
    double flush;   /* write and fsync of the ledger */
} sim_service;

typedef struct sim_case {
    uint32_t workers;
    uint64_t tasks;
    double seconds, sigma; /* mean of a task, and of the logarithm of its cost */
    double slow;           /* share of tasks of 100 times the mean */
    double fail;           /* share of attempts that fail for the environment's reasons */
    double death;          /* of a worker, 1/s */
    double latency;        /* of a message, s */
    double flush;          /* seconds that results of a worker may wait for each other */
    uint32_t batch;        /* results in one message */
    int plain;             /* every begin and result in a message of its own */
    sim_service service;
} sim_case;

typedef struct sim_outcome {
    double seconds;    /* simulated, to the end of the run */
    double efficiency; /* cost of the committed tasks over workers times seconds */
    double tail;       /* share of the workers' time from their last task to the end */
    double bound;      /* no schedule is faster: mean load or the longest task, s */
    double load;       /* busy share of rank 0 */
    double messages;   /* that rank 0 receives and sends, 1/s */
    double delay;      /* mean wait of a message for rank 0, s */
    double real;       /* seconds that the simulation took */
    uint64_t deaths, failures, duplicates, quarantined;
    uint64_t bytes; /* the state machine's memory */
} sim_outcome;

/* Seconds of processor time of this process: what others take of the machine does not count. */
double sq_bench_processor(void);
/* Measure the service times on this machine: messages of the only rank to itself unless
 * out->message is given, a ledger in `folder`, the state machine with so many workers. */
sq_status sq_bench_service(const char *folder, uint32_t workers, sim_service *out);
/* SQ_ERR_INTERNAL when the run does not end complete. */
sq_status sq_bench_simulate(const sim_case *c, sim_outcome *out);

#endif
