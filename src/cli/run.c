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
        "    resumes. SIGTERM, SIGINT and SIGUSR1 finish the patches that have begun and stop. "
        "SIGUSR2\n"
        "    prints the present patch: of every rank when sent to rank 0 or to mpirun, else of "
        "that rank.\n"
        "    Under 'mpirun --enable-recovery' the run goes on without ranks that die or hang and "
        "makes\n"
        "    the release with those left. With less than half of the workers, and when a rank "
        "dies where\n"
        "    all must take part, it ends with \"relaunch\": true in DIR/exit.json: the same "
        "command goes on\n"
        "    from there, which jobs/launch does by itself. A patch during which three ranks died "
        "or hung\n"
        "    is quarantined.\n\n"
        "    Against an earlier release (--base) a patch whose input, model, configuration, phase "
        "files and\n"
        "    program are the same is taken over from the shards beside that release, or from its "
        "archive\n"
        "    (execution: {archive: true}); the result is that of a full computation. Tiles are "
        "matched by\n"
        "    name. Files whose size, mtime and checksum cards are those of the earlier run are not "
        "read;\n"
        "    other inputs are read and compared by hash. 'skyquilt plan' says what is redone and "
        "why.\n"
        "    Patches named with --tiles or --patches are always computed.\n\n"
        "OPTIONS\n"
        "    --output DIR      folder of the results instead of the configuration's\n"
        "    --base OLD.h5     release of an earlier run instead of the configuration's base\n"
        "    --progress S      seconds between progress lines in a log\n"
        "    --quiet           warnings and errors only\n"
        "    --walltime S      seconds that the job may take, instead of the configuration's: no "
        "patch is\n"
        "                      begun that may not end in time\n"
        "    --part I/N        compute only the I-th (from 1) of N parts, as equal as can be, in\n"
        "                      DIR/part-I-of-N, without a release: 'skyquilt reduce --parts N' "
        "makes that\n"
        "                      of all parts. For arrays of jobs; needs an index and a probe of one "
        "phase\n"
        "    --retry-failed    do failed and quarantined patches again, their deaths forgotten\n"
        "    --tiles NAMES     with --retry-failed only those of these tiles; alone do these tiles "
        "again,\n"
        "                      failed or not. Names with commas between them, shell patterns "
        "allowed\n"
        "    --patches LIST    the same for patch numbers: N,N-M,...\n"
        "    --log DIR         each rank writes DIR/rank-N.log, with more detail than standard "
        "error\n"
        "    --check           only check RUN.yaml and print the folder that the run would work "
        "in\n\n"
        "FILES\n"
        "    DIR/run.yaml      the configuration with all defaults\n"
        "    DIR/tiles.h5      the tile index, when RUN.yaml gives `tiles` instead of `index`\n"
        "    DIR/tiles.bad     name and reason of each tile that could not be read\n"
        "    DIR/ledger        the journal: what is done\n"
        "    DIR/shards/       products until the release\n"
        "    DIR/deaths/       notes of ranks that a patch has killed, until the next execution\n"
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

/* "I/N" */
static int parse_part(const char *text, int *part, int *parts)
{
    int length = 0;
    return sscanf(text, "%d/%d%n", part, parts, &length) == 2 && !text[length] && *part >= 1 &&
           *part <= *parts && *parts <= SQ_MAX_PARTS;
}

static void summary(const sq_run_verdict *v)
{
    char hash[SQ_HASH_TEXT];
    if (v->exit_code != 0 && v->exit_code != 2) {
        printf("%s: %s\n", v->output, v->reason);
        return;
    }
    int released = !sq_hash_equal(v->manifest, (sq_hash){0});
    printf("%s: %s\n    patches     %llu done, %llu failed, %llu quarantined\n",
           released ? v->release : v->output, v->reason, (unsigned long long)v->done,
           (unsigned long long)v->failed, (unsigned long long)v->quarantined);
    if (v->taken)
        printf("    taken over  %llu\n", (unsigned long long)v->taken);
    if (!released)
        return;
    sq_hash_text(v->manifest, hash);
    if (v->rows)
        printf("    rows        %lld\n", (long long)v->rows);
    printf("    manifest    %s\n    time        %.1f s\n", hash, v->seconds);
}

int sq_cli_run(int argc, char **argv)
{
    static const struct option known[] = {
        {"output", required_argument, NULL, 'o'}, {"base", required_argument, NULL, 'B'},
        {"progress", required_argument, NULL, 'p'},
        {"quiet", no_argument, NULL, 'q'},        {"walltime", required_argument, NULL, 'w'},
        {"part", required_argument, NULL, 'P'},   {"check", no_argument, NULL, 'c'},
        {"retry-failed", no_argument, NULL, 'r'}, {"tiles", required_argument, NULL, 't'},
        {"patches", required_argument, NULL, 'n'}, {"log", required_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},         {0}};
    sq_cli_progress bar = {0};
    sq_run_options options = {.report = sq_cli_show_progress, .user = &bar};
    const char *log = NULL;
    int option, quiet = 0, only_check = 0;
    optind = 1;
    while ((option = getopt_long(argc, argv, "o:qh", known, NULL)) != -1) {
        switch (option) {
        case 'o':
            options.output = optarg;
            break;
        case 'B':
            options.base = optarg;
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
        case 'w':
            if (!sq_cli_seconds(optarg, &options.walltime)) {
                fprintf(stderr, "skyquilt run: --walltime: '%s' is not a time\n", optarg);
                return 1;
            }
            break;
        case 'P':
            if (!parse_part(optarg, &options.part, &options.parts)) {
                fprintf(stderr, "skyquilt run: --part: '%s' is not I/N with I from 1 to N\n",
                        optarg);
                return 1;
            }
            break;
        case 'r':
            options.retry_failed = 1;
            break;
        case 't':
            options.tiles = optarg;
            break;
        case 'n':
            options.patches = optarg;
            break;
        case 'l':
            log = optarg;
            break;
        case 'c':
            only_check = 1;
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
    if (only_check)
        return sq_cli_job_check("run", &options);
    if (!quiet && isatty(STDERR_FILENO) && options.progress <= 0)
        options.progress = 0.5;
    return sq_cli_job_run("run", argc, argv, &options, quiet, log, summary);
}
