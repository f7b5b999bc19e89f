/* A run: from a configuration to a release file.
 *
 * The output folder holds
 *   run.yaml       the configuration, canonical
 *   tiles.h5       the tile index, when the run scanned for tiles itself
 *   tiles.bad      name and reason of each tile that the scan left out
 *   ledger         rank 0's journal: the only truth about what is done
 *   shards/        products of tasks, one series of segments a worker and execution
 *   phase-N        the file of a finished phase, for probes that have one
 *   release.h5     the result; complete under this name
 *   part-I-of-N/   the same for a part of the survey that was run apart
 *   exit.json      the verdict of the last execution: {"exit_code", "relaunch", "reason", "counts",
 *                  ...}; absent while one runs and after a crash
 *
 * Running again on the same folder resumes: the ledger is
 * replayed, hashes of committed records are verified, the rest is done, with any number of ranks.
 * With one rank everything happens in it; with more, rank 0 carries control only and sleeps between
 * messages, and nothing is collective while tasks are in flight. Every function here that takes a
 * communicator is collective. */
#ifndef SQ_RUN_RUN_H
#define SQ_RUN_RUN_H

#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"
#include "par/comm.h"

typedef struct sq_run_progress {
    const char *what; /* "phase 1 of 2: rows", "reduce: sort" */
    uint64_t total, done, failed, quarantined, in_flight;
    uint64_t resumed; /* of done: by earlier executions */
    uint32_t workers;
    double seconds, rate, eta; /* tasks per second, seconds; 0 when unknown */
    double slowest;            /* seconds of the slowest task so far */
    uint64_t slowest_patch;
    uint64_t messages; /* that rank 0 received and sent */
    int last;          /* the run is over */
} sq_run_progress;

enum { SQ_MAX_PARTS = 9999 };

typedef struct sq_run_options {
    const char *config; /* path of the run configuration */
    const char *output; /* folder instead of the configuration's, or NULL */
    const char *base;   /* release to take patches over from, instead of the configuration's */
    int force_reduce;   /* make the release again, although it is there */
    int reduce_only;    /* do no tasks: merge what is committed */
    int part, parts;    /* do only this part of so many (from 1), in OUTPUT/part-I-of-N; without
                           `part`: take over what all parts did, and merge that */
    int retry_failed;   /* do failed and quarantined patches again */
    const char *tiles;  /* "NAME,NAME..", shell patterns, and */
    const char *patches; /* "N,N-M..": which of those; without retry_failed these patches are done
                            again whatever became of them. NULL: all */
    double walltime;    /* seconds that the job may take instead of the configuration's; 0: that */
    double progress;    /* seconds between calls on rank 0; 0: the configuration's */
    void (*report)(void *user, const sq_run_progress *progress); /* rank 0; may be NULL */
    void *user;
} sq_run_options;

typedef struct sq_run_verdict {
    int exit_code; /* 0 complete, 2 with failed patches, 3 stopped, 1 and 4 errors */
    int relaunch;  /* ranks were lost: the same command, given again at once, goes on */
    char reason[512];
    char output[1024], release[1024];
    uint64_t total, done, failed, quarantined;
    uint64_t taken;    /* of `done`: taken over from an earlier release */
    uint64_t left_out; /* tiles that a scan of this run could not read */
    int64_t rows;
    sq_hash manifest;
    double seconds;
    int abandoned; /* ranks were lost, or storage fails: leave by _exit, without collective calls or
                      MPI_Finalize */
} sq_run_verdict;

/* The same verdict on every rank. SQ_OK also for runs that were stopped or have failed patches;
 * otherwise the verdict has the exit code of the status. */
sq_status sq_run(const sq_comm *comm, const sq_run_options *options, sq_run_verdict *verdict);

/* The folder in which such a run works; also the check of a configuration. Local. */
sq_status sq_run_folder(const sq_run_options *options, char folder[1024]);

/* What the ledger of an output folder says, while a run goes on or after it. Local. */
typedef struct sq_run_state {
    uint64_t total, done, failed, quarantined, deaths, retries, executions;
    uint64_t taken;             /* of `done`: taken over from an earlier release */
    uint32_t ranks;             /* of the last execution */
    int running;                /* an execution has begun and not ended in order */
    int reduced;                /* a release stands */
    int has_verdict, exit_code; /* exit.json */
    char reason[512];
} sq_run_state;
sq_status sq_run_inspect(const char *folder, sq_run_state *state);

#endif
