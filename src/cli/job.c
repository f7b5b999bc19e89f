#include "cli/job.h"

#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/commands.h"

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
    if (abandoned)
        _exit(code);
    sq_comm_finalize();
    return rank == 0 ? code : 0;
}
