#include "cli/job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "run/watchdog.h"

sq_status sq_cli_job_begin(int *argc, char ***argv, int quiet)
{
    sq_status rc = sq_comm_init(argc, argv);
    if (rc != SQ_OK)
        return rc;
    int rank = sq_cli_job_rank();
    sq_log_setup(rank, quiet || rank ? SQ_LOG_WARNING : SQ_LOG_INFO);
    return SQ_OK;
}

int sq_cli_job_rank(void)
{
    return sq_comm_rank(sq_comm_world());
}

int sq_cli_job_fail(const char *command, sq_status code)
{
    return !sq_comm_running() || sq_cli_job_rank() == 0 ? sq_cli_fail(command, code)
                                                        : sq_exit_code(code);
}

int sq_cli_job_end(int code, int abandoned)
{
    int rank = sq_comm_running() ? sq_cli_job_rank() : 0;
    fflush(NULL);
    if (abandoned) {
        /* mpirun ends all when one leaves like this: rank 0 first, so that its words are out. */
        usleep(rank == 0 ? 0 : 300000);
        _exit(code);
    }
    sq_comm_finalize();
    return rank == 0 ? code : 0;
}

int sq_cli_job_check(const char *command, const sq_run_options *options)
{
    char folder[1024];
    sq_status rc = sq_cli_register_probes();
    if (rc == SQ_OK)
        rc = sq_run_folder(options, folder);
    if (rc != SQ_OK)
        return sq_cli_fail(command, rc);
    printf("%s\n", folder);
    return 0;
}

static sq_status open_log(const char *folder)
{
    char path[1024];
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return sq_fail(SQ_ERR_IO, "%s: cannot make the folder: %s", folder, strerror(errno));
    int n = snprintf(path, sizeof path, "%s/rank-%d.log", folder, sq_cli_job_rank());
    if (n < 0 || (size_t)n >= sizeof path)
        return sq_fail(SQ_ERR_CONFIG, "--log: path too long");
    return sq_log_open(path);
}

int sq_cli_job_run(const char *command, int argc, char **argv, const sq_run_options *options,
                   int quiet, const char *log, void (*summary)(const sq_run_verdict *verdict))
{
    sq_run_verdict verdict = {0};
    sq_watchdog_start();
    sq_status rc = sq_cli_job_begin(&argc, &argv, quiet);
    if (rc != SQ_OK)
        return sq_cli_fail(command, rc);
    if (log)
        rc = open_log(log);
    if (rc == SQ_OK)
        rc = sq_cli_register_probes();
    rc = sq_comm_agree(sq_comm_world(), rc);
    if (rc == SQ_OK)
        rc = sq_run(sq_comm_world(), options, &verdict);
    else
        verdict.exit_code = sq_exit_code(rc);
    sq_cli_end_progress(options->user);
    if (rc != SQ_OK)
        sq_cli_job_fail(command, rc);
    else if (sq_cli_job_rank() == 0 && !quiet)
        summary(&verdict);
    return sq_cli_job_end(verdict.exit_code, verdict.abandoned);
}

sq_status sq_cli_temporary(const char *name, size_t size, char *path)
{
    const char *folder = getenv("TMPDIR");
    folder = folder && *folder ? folder : "/tmp";
    int length = snprintf(path, size, "%s/%s-XXXXXX", folder, name);
    int fd = length < (int)size ? mkstemp(path) : -1;
    if (fd < 0) {
        path[0] = 0;
        return sq_fail(SQ_ERR_IO, "%s: cannot make a temporary file", folder);
    }
    close(fd);
    return SQ_OK;
}
