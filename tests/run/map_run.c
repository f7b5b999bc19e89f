/* `run` for the probes of the tests: map_run CONFIG OUTPUT. Exits like `skyquilt run`. With
 * SQ_TEST_FILE_SIZE no file can grow beyond so many bytes: a full disk. With the name of a command
 * in front it is skyquilt with these probes beside its own. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/job.h"
#include "map_probe.h"
#include "par/comm.h"
#include "run/run.h"

/* SQ_TEST_REDUCING: say so there when the reduce has begun, and wait until somebody has died. */
static void linger(void *user, const sq_run_progress *p)
{
    static int done;
    const char *path = getenv("SQ_TEST_REDUCING");
    (void)user;
    if (!path || done || strncmp(p->what, "reduce", 6) != 0)
        return;
    done = 1;
    FILE *file = fopen(path, "w");
    if (file)
        fclose(file);
    sleep(2);
}

int main(int argc, char **argv)
{
    sq_status rc = sq_probe_register(&sq_map_probe);
    if (rc == SQ_OK)
        rc = sq_probe_register(&sq_tile_probe);
    if (rc == SQ_OK && argc > 1 && !strpbrk(argv[1], "./"))
        return sq_cli_main(argc, argv);
    if (rc != SQ_OK || sq_comm_init(&argc, &argv) != SQ_OK || argc != 3)
        return 1;
    sq_comm *world = sq_comm_world();
    const char *most = getenv("SQ_TEST_FILE_SIZE");
    if (most) {
        struct rlimit limit = {strtoull(most, NULL, 10), RLIM_INFINITY};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    sq_log_setup(sq_comm_rank(world), SQ_LOG_WARNING);
    sq_run_options options = {
        .config = argv[1], .output = argv[2], .progress = 1e-9, .report = linger};
    sq_run_verdict verdict = {0};
    rc = sq_run(world, &options, &verdict);
    if (sq_comm_rank(world) == 0) {
        if (rc != SQ_OK)
            fprintf(stderr, "map_run: %s\n", sq_error());
        printf("exit %d: %s (%llu done, %llu failed of %llu)\n", verdict.exit_code, verdict.reason,
               (unsigned long long)verdict.done, (unsigned long long)verdict.failed,
               (unsigned long long)verdict.total);
    }
    return sq_cli_job_end(verdict.exit_code, verdict.abandoned);
}
