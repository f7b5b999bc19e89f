/* Start and end of the commands that run under MPI. */
#ifndef SQ_CLI_JOB_H
#define SQ_CLI_JOB_H

#include "par/comm.h"
#include "run/run.h"

/* Start message passing and logging. Collective. */
sq_status sq_cli_job_begin(int *argc, char ***argv, int quiet);
int sq_cli_job_rank(void);
/* Print "skyquilt COMMAND: message" on rank 0 and return the status's exit code. */
int sq_cli_job_fail(const char *command, sq_status code);
/* End message passing. Only rank 0 returns the code: a launcher that sees a rank end badly kills
 * the others. With `abandoned` the process ends here. */
int sq_cli_job_end(int code, int abandoned);
/* Instead of running: print the folder that it would work in, or what is wrong. Local. */
int sq_cli_job_check(const char *command, const sq_run_options *options);
/* Begin, sq_run, end. `summary` is printed on rank 0 after success unless quiet; every rank keeps a
 * log of its own in folder `log` unless that is NULL. */
int sq_cli_job_run(const char *command, int argc, char **argv, const sq_run_options *options,
                   int quiet, const char *log, void (*summary)(const sq_run_verdict *verdict));

/* An empty file NAME-XXXXXX in $TMPDIR, /tmp without it; the caller removes it. SQ_ERR_IO names the
 * folder, and path is "" then. */
sq_status sq_cli_temporary(const char *name, size_t size, char *path);

#endif
