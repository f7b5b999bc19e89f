#include <getopt.h>
#include <stdio.h>

#include "cli/commands.h"
#include "cli/job.h"
#include "cli/progress.h"
#include "run/run.h"

static void help(void)
{
    printf("NAME\n"
           "    skyquilt reduce - make the release again from the shards\n\n"
           "SYNOPSIS\n"
           "    [mpirun -n RANKS] skyquilt reduce RUN.yaml [--output DIR] [--parts N] [--quiet]\n\n"
           "DESCRIPTION\n"
           "    Merges the committed products of a finished run into DIR/release.h5, replacing it "
           "only\n"
           "    when the new one is complete. No patch is computed: if some are open, that is said "
           "and\n"
           "    nothing changes.\n\n"
           "OPTIONS\n"
           "    --output DIR      folder of the run instead of the configuration's\n"
           "    --parts N         take over what 'skyquilt run --part I/N' left in "
           "DIR/part-I-of-N for I = 1\n"
           "                      to N; the release is that of a single run. Parts that are "
           "missing or not\n"
           "                      complete are named\n"
           "    --check           only check RUN.yaml and print the folder of the run\n"
           "    --quiet           warnings and errors only\n\n"
           "EXIT CODES\n"
           "    0  complete\n"
           "    1  usage or configuration error\n"
           "    2  complete, with failed patches\n"
           "    3  patches are open: run first\n"
           "    4  environment or storage error\n");
}

static void summary(const sq_run_verdict *verdict)
{
    printf("%s: %s, %lld rows, %.1f s\n", verdict->release, verdict->reason,
           (long long)verdict->rows, verdict->seconds);
}

int sq_cli_reduce(int argc, char **argv)
{
    static const struct option known[] = {
        {"output", required_argument, NULL, 'o'}, {"quiet", no_argument, NULL, 'q'},
        {"parts", required_argument, NULL, 'P'},  {"check", no_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},         {0}};
    sq_cli_progress bar = {0};
    sq_run_options options = {
        .report = sq_cli_show_progress, .user = &bar, .force_reduce = 1, .reduce_only = 1};
    int option, quiet = 0, only_check = 0, length;
    optind = 1;
    while ((option = getopt_long(argc, argv, "o:qh", known, NULL)) != -1) {
        switch (option) {
        case 'o':
            options.output = optarg;
            break;
        case 'q':
            quiet = 1;
            options.report = NULL;
            break;
        case 'P':
            length = 0;
            if (sscanf(optarg, "%d%n", &options.parts, &length) != 1 || optarg[length] ||
                options.parts < 1 || options.parts > SQ_MAX_PARTS) {
                fprintf(stderr, "skyquilt reduce: --parts: '%s' is not a number of parts\n",
                        optarg);
                return 1;
            }
            break;
        case 'c':
            only_check = 1;
            break;
        case 'h':
            help();
            return 0;
        default:
            return 1;
        }
    }
    if (optind + 1 != argc) {
        fprintf(stderr, "skyquilt reduce: give one configuration; see 'skyquilt reduce --help'\n");
        return 1;
    }
    options.config = argv[optind];
    if (only_check)
        return sq_cli_job_check("reduce", &options);
    return sq_cli_job_run("reduce", argc, argv, &options, quiet, NULL, summary);
}
