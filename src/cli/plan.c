#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/job.h"
#include "cli/plan_base.h"
#include "cli/progress.h"
#include "run/index.h"
#include "run/measure.h"

static void help(void)
{
    printf(
        "NAME\n"
        "    skyquilt plan - say what a run would do, without doing it\n\n"
        "SYNOPSIS\n"
        "    skyquilt plan RUN.yaml [--measure N | --rate SECONDS] [--ranks N] [--base OLD.h5\n"
        "        [--verbose]] [--json]\n\n"
        "DESCRIPTION\n"
        "    Reads the configuration and the tile index (or scans for tiles) and prints tiles, "
        "patches,\n"
        "    the share of work that is halo, memory per rank, and core-hours. The time of a patch "
        "is\n"
        "    measured by processing a few patches of the survey on this machine, or given. "
        "Nothing is\n"
        "    written.\n\n"
        "    Against an earlier release (--base, or base in RUN.yaml) it says how many patches are "
        "taken over\n"
        "    and why the others are redone: input (other pixels, files that cannot be read, "
        "another WCS),\n"
        "    model, configuration, code, new, failed before, record lost. Files whose size, mtime "
        "and\n"
        "    checksum cards are those of the earlier run count as unchanged; patches of other "
        "files are\n"
        "    read. 'input read first': a later phase, which the run decides when it comes to "
        "it.\n\n"
        "OPTIONS\n"
        "    --measure N       patches to process, default 3; 0: estimate no time\n"
        "    --rate SECONDS    seconds of a patch, instead of measuring\n"
        "    --ranks N         ranks of the run, for the wall time, default 3\n"
        "    --base OLD.h5     release of an earlier run instead of the configuration's base\n"
        "    --verbose         with a base: a line for each tile of which something is redone\n"
        "    --json            print JSON\n\n"
        "EXIT CODES\n"
        "    0  the run can be done\n"
        "    1  usage or configuration error\n"
        "    2  some of the measured patches fail, or tiles cannot be read\n"
        "    4  environment or storage error\n");
}

typedef struct plan {
    const char *config;
    const char *base;
    int measure, ranks, json, verbose;
    sq_base_count taken;
    double rate;
    sq_run_config *run;
    sq_survey *survey;
    char scanned[4096]; /* temporary index, "" when none was made */
    sq_index_report index;
    sq_phase_cost cost[SQ_MAX_PHASES];
    sq_rate measured;
    uint64_t patches, tasks, compute; /* tasks that nothing is taken over for */
    double seconds; /* of a task */
} plan;

static void say_bad(void *user, const char *name, sq_status code, const char *message)
{
    (void)user;
    fprintf(stderr, "skyquilt plan: %s: %s: %s\n", name, sq_status_name(code), message);
}

static sq_status find_tiles(plan *p, const char **index)
{
    *index = p->run->index[0] ? p->run->index : NULL;
    if (*index || !p->run->tiles.count)
        return SQ_OK;
    sq_status rc = sq_cli_temporary("skyquilt-plan", sizeof p->scanned, p->scanned);
    if (rc != SQ_OK)
        return rc;
    *index = p->scanned;
    return sq_index_build(sq_comm_world(), (const char *const *)p->run->tiles.value,
                          (int)p->run->tiles.count, p->run->reference, p->scanned, say_bad, NULL,
                          &p->index);
}

static sq_status make(plan *p)
{
    sq_status rc = SQ_OK;
    const char *index;
    SQ_TRY(sq_cli_register_probes());
    SQ_TRY(sq_run_config_load(p->config, &p->run));
    SQ_TRY(find_tiles(p, &index));
    SQ_TRY(sq_survey_create(sq_comm_world(), p->run, index, &p->survey));
    for (int i = 0; i < p->survey->d.nphase; i++) {
        SQ_TRY(sq_measure_phase(p->survey, i, &p->cost[i]));
        p->patches += p->cost[i].patches;
        p->tasks += p->cost[i].tasks;
    }
    if (!p->base && p->run->base[0])
        p->base = p->run->base;
    if (p->base)
        SQ_TRY(sq_cli_plan_base(p->survey, p->base, &p->taken));
    p->compute = p->tasks - p->taken.total[SQ_BASE_SAME];
    p->seconds = p->rate;
    if (p->rate <= 0 && p->measure > 0) {
        SQ_TRY(sq_measure_rate(p->survey, p->measure, &p->measured));
        p->seconds = p->measured.process;
    }
cleanup:
    return rc;
}

static void print_text(const plan *p)
{
    const sq_survey *s = p->survey;
    int workers = p->ranks > 1 ? p->ranks - 1 : 1;
    printf("%s: probe %s\n", p->config, p->run->cls->name);
    if (s->ntile)
        printf("    tiles           %lld\n", (long long)s->ntile);
    for (int i = 0; i < s->d.nphase; i++)
        printf("    phase %-9s %llu patches of %d + 2 x %d pixels, %d pass%s, %u realisation%s; "
               "%.1f%% of the pixels are halo\n",
               s->d.phase[i].name, (unsigned long long)p->cost[i].patches, s->d.phase[i].shape.core,
               s->d.phase[i].shape.halo, s->d.phase[i].shape.passes,
               s->d.phase[i].shape.passes > 1 ? "es" : "", s->d.phase[i].realisations,
               s->d.phase[i].realisations > 1 ? "s" : "", 100 * p->cost[i].overhead);
    printf("    tasks           %llu\n", (unsigned long long)p->tasks);
    if (p->base)
        sq_cli_plan_base_text(s, &p->taken, p->verbose);
    if (p->measured.resident)
        printf("    memory per rank %.0f MB (measured peak)\n",
               1e-6 * (double)p->measured.resident);
    else
        printf("    memory per rank %.0f MB (the probe's estimate)\n", 1e-6 * (double)s->d.memory);
    if (p->measured.measured)
        printf("    a patch         %.3f s, and %.3f s of reading beside it (mean of %d)\n",
               p->measured.process, p->measured.read, p->measured.measured);
    if (p->measured.failed)
        printf("    failed          %d of the measured patches: %s\n", p->measured.failed,
               p->measured.problem);
    if (p->seconds > 0)
        printf("    core-hours      %.3f\n    wall time       %.0f s with %d ranks (%d compute)\n",
               p->seconds * (double)p->compute / 3600, p->seconds * (double)p->compute / workers,
               p->ranks, workers);
}

static void print_json(const plan *p)
{
    const sq_survey *s = p->survey;
    printf("{\"probe\": \"%s\", \"tiles\": %lld, \"patches\": %llu, \"tasks\": %llu, \"phases\": [",
           p->run->cls->name, (long long)s->ntile, (unsigned long long)p->patches,
           (unsigned long long)p->tasks);
    for (int i = 0; i < s->d.nphase; i++)
        printf(
            "%s{\"name\": \"%s\", \"patches\": %llu, \"tasks\": %llu, \"core\": %d, \"halo\": %d, "
            "\"passes\": %d, \"halo_overhead\": %.6f}",
            i ? ", " : "", s->d.phase[i].name, (unsigned long long)p->cost[i].patches,
            (unsigned long long)p->cost[i].tasks, s->d.phase[i].shape.core,
            s->d.phase[i].shape.halo, s->d.phase[i].shape.passes, p->cost[i].overhead);
    if (p->base) {
        printf("], \"base\": ");
        sq_cli_plan_base_json(&p->taken);
    } else {
        printf("]");
    }
    printf(", \"memory_bytes\": %llu, \"seconds_per_patch\": %.6g, \"read_seconds\": %.6g, "
           "\"core_hours\": %.6g, \"measured\": %d, \"failed\": %d}\n",
           (unsigned long long)(p->measured.resident ? p->measured.resident : s->d.memory),
           p->seconds, p->measured.read, p->seconds * (double)p->compute / 3600,
           p->measured.measured,
           p->measured.failed);
}

static int parse_int(const char *text, int least, int *out)
{
    char *end;
    long value = strtol(text, &end, 10);
    *out = (int)value;
    return end != text && !*end && value >= least && value <= 10000000;
}

static int parse(int argc, char **argv, plan *p)
{
    static const struct option known[] = {
        {"measure", required_argument, NULL, 'm'}, {"rate", required_argument, NULL, 'r'},
        {"base", required_argument, NULL, 'b'},    {"verbose", no_argument, NULL, 'v'},
        {"ranks", required_argument, NULL, 'n'},   {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},          {0}};
    int option, good = 1;
    optind = 1;
    while ((option = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        switch (option) {
        case 'm':
            good = parse_int(optarg, 0, &p->measure);
            break;
        case 'n':
            good = parse_int(optarg, 1, &p->ranks);
            break;
        case 'r':
            good = sq_cli_seconds(optarg, &p->rate);
            break;
        case 'b':
            p->base = optarg;
            break;
        case 'v':
            p->verbose = 1;
            break;
        case 'j':
            p->json = 1;
            break;
        case 'h':
            help();
            return 0;
        default:
            return 1;
        }
        if (!good) {
            fprintf(stderr, "skyquilt plan: '%s' is not a number that fits\n", optarg);
            return 1;
        }
    }
    if (optind + 1 != argc) {
        fprintf(stderr, "skyquilt plan: give one configuration; see 'skyquilt plan --help'\n");
        return 1;
    }
    p->config = argv[optind];
    return -1;
}

int sq_cli_plan(int argc, char **argv)
{
    plan p = {.measure = 3, .ranks = 3};
    int code = parse(argc, argv, &p);
    if (code >= 0)
        return code;
    sq_status rc = sq_cli_job_begin(&argc, &argv, 1);
    if (rc != SQ_OK)
        return sq_cli_fail("plan", rc);
    if (sq_comm_size(sq_comm_world()) > 1)
        rc = sq_fail(SQ_ERR_USAGE, "runs on one rank");
    else
        rc = make(&p);
    if (rc != SQ_OK) {
        code = sq_cli_job_fail("plan", rc);
    } else {
        (p.json ? print_json : print_text)(&p);
        code = p.measured.failed || p.index.bad ? 2 : 0;
    }
    if (p.scanned[0])
        unlink(p.scanned);
    sq_base_count_clear(&p.taken);
    sq_survey_destroy(p.survey);
    sq_run_config_destroy(p.run);
    return sq_cli_job_end(code, 0);
}
