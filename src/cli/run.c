#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/job.h"
#include "cli/progress.h"
#include "run/config.h"
#include "run/run.h"

static int help(void)
{
    printf(
        "NAME\n"
        "    skyquilt run - process a survey; run again to resume\n\n"
        "SYNOPSIS\n"
        "    [mpirun -n RANKS] skyquilt run RUN.yaml [--output DIR] [OPTIONS]\n\n"
        "DESCRIPTION\n"
        "    Cuts the tiles of a survey into patches, hands them to the ranks, keeps what is done "
        "in a\n"
        "    ledger and shards, and merges everything into DIR/release.h5. Rank 0 schedules, the\n"
        "    others compute; with one rank everything happens in it. Run again on the same "
        "folder\n"
        "    it resumes, with any number of ranks; the release does not depend on ranks, order "
        "or\n"
        "    resumes. SIGTERM, SIGINT and SIGUSR1 finish the patches that have begun and stop.\n\n"
        "OPTIONS\n"
        "    --output DIR      folder of the results instead of the configuration's\n"
        "    --progress S      seconds between progress lines in a log\n"
        "    --quiet           warnings and errors only\n\n"
        "FILES\n"
        "    DIR/run.yaml      the configuration with all defaults\n"
        "    DIR/tiles.h5      the tile index, when RUN.yaml gives `tiles` instead of `index`\n"
        "    DIR/tiles.bad     name and reason of each tile that could not be read\n"
        "    DIR/ledger        the journal: what is done\n"
        "    DIR/shards/       products until the release\n"
        "    DIR/release.h5    the result: complete under this name\n"
        "    DIR/exit.json     verdict of the last execution; absent while one goes on and after "
        "a crash\n\n"
        "RUN.YAML\n");
    int code = 0;
    sq_status rc = sq_cli_register_probes();
    if (rc == SQ_OK)
        rc = sq_run_config_help(stdout);
    if (rc != SQ_OK)
        code = sq_cli_fail("run", rc);
    printf("\nEXIT CODES\n"
           "    0  complete\n"
           "    1  usage or configuration error\n"
           "    2  complete, with failed patches (see /failures in the release) or tiles left out\n"
           "    3  stopped on request or at the end of the walltime; the same command resumes\n"
           "    4  environment or storage error\n");
    return code;
}

static void summary(const sq_run_verdict *v)
{
    char hash[SQ_HASH_TEXT];
    if (v->exit_code != 0 && v->exit_code != 2) {
        printf("%s: %s\n", v->output, v->reason);
        return;
    }
    sq_hash_text(v->manifest, hash);
    printf("%s: %s\n    patches     %llu done, %llu failed, %llu quarantined\n", v->release,
           v->reason, (unsigned long long)v->done, (unsigned long long)v->failed,
           (unsigned long long)v->quarantined);
    if (v->rows)
        printf("    rows        %lld\n", (long long)v->rows);
    printf("    manifest    %s\n    time        %.1f s\n", hash, v->seconds);
}

int sq_cli_run(int argc, char **argv)
{
    static const struct option known[] = {{"output", required_argument, NULL, 'o'},
                                          {"progress", required_argument, NULL, 'p'},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    sq_cli_progress bar = {0};
    sq_run_options options = {.report = sq_cli_show_progress, .user = &bar};
    int option, quiet = 0;
    optind = 1;
    while ((option = getopt_long(argc, argv, "o:qh", known, NULL)) != -1) {
        switch (option) {
        case 'o':
            options.output = optarg;
            break;
        case 'p':
            if (!sq_cli_seconds(optarg, &options.progress)) {
                fprintf(stderr, "skyquilt run: --progress: '%s' is not a time\n", optarg);
                return 1;
            }
            break;
        case 'q':
            quiet = 1;
            options.report = NULL;
            break;
        case 'h':
            return help();
        default:
            return 1;
        }
    }
    if (optind + 1 != argc) {
        fprintf(stderr, "skyquilt run: give one configuration; see 'skyquilt run --help'\n");
        return 1;
    }
    options.config = argv[optind];
    if (!quiet && isatty(STDERR_FILENO) && options.progress <= 0)
        options.progress = 0.5;
    return sq_cli_job_run("run", argc, argv, &options, quiet, summary);
}
