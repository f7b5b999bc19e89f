#include <ftw.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/job.h"
#include "cli/progress.h"
#include "par/message.h"
#include "probe/probe.h"
#include "run/run.h"

/* A probe whose tasks sleep: everything but the work is real. */
typedef struct sleep_config {
    double seconds;
    int64_t tasks;
} sleep_config;

static const sq_config_field sleep_fields[] = {
    {"seconds", SQ_CONFIG_REAL, offsetof(sleep_config, seconds), 0, 0, 1e6, NULL, NULL,
     "of a task"},
    {"tasks", SQ_CONFIG_INT, offsetof(sleep_config, tasks), 0, 1, 1e9, NULL, NULL, "number"},
    {.key = NULL}};
static const sq_column done_column = {"slept", SQ_F32, "s", "time.duration", "seconds asleep", 0};
static const sq_schema done_schema = {
    "naps", "sleeping tasks", 1, &done_column, NULL, NULL, NULL, 0, 0, 0};

static sq_status sleep_create(const void *config, const sq_probe_setup *setup, void **self)
{
    sleep_config *copy = NULL;
    sq_status rc = SQ_ALLOC(copy, 1, "sleeping probe");
    (void)setup;
    if (rc == SQ_OK)
        *copy = *(const sleep_config *)config;
    *self = copy;
    return rc;
}

static sq_status sleep_describe(void *self, sq_probe_description *out)
{
    *out = (sq_probe_description){.footprint = SQ_FOOTPRINT_GRID,
                                  .nx = ((sleep_config *)self)->tasks,
                                  .ny = 1,
                                  .nphase = 1,
                                  .phase = {{"sleep", {1, 0, 1}, 1, 0}},
                                  .ntable = 1,
                                  .table = {&done_schema}};
    return SQ_OK;
}

static sq_status sleep_read(void *self, const sq_task *task, const sq_place *place, void **input,
                            sq_hash *hash)
{
    (void)self;
    (void)place;
    *input = NULL;
    *hash = sq_hash_bytes(&task->patch, sizeof task->patch);
    return SQ_OK;
}

static sq_status sleep_process(void *self, const sq_task *task, const sq_place *place, void *input,
                               sq_product *product)
{
    double seconds = ((sleep_config *)self)->seconds;
    struct timespec pause = {(time_t)seconds, (long)(1e9 * (seconds - (double)(time_t)seconds))};
    float slept = (float)seconds;
    const void *column[] = {&slept};
    (void)task;
    (void)place;
    (void)input;
    nanosleep(&pause, NULL);
    return sq_product_rows(product, 0, 1, column);
}

static void sleep_release(void *self, void *input)
{
    (void)self;
    (void)input;
}

static void sleep_destroy(void *self)
{
    sq_free(self);
}

static const sq_probe_class sleep_probe = {.name = "sleep",
                                           .summary = "tasks that sleep",
                                           .fields = sleep_fields,
                                           .config_size = sizeof(sleep_config),
                                           .create = sleep_create,
                                           .describe = sleep_describe,
                                           .read = sleep_read,
                                           .process = sleep_process,
                                           .release = sleep_release,
                                           .destroy = sleep_destroy};

typedef struct bench {
    double seconds;
    int64_t tasks, messages;
    int json;
    char folder[128];
    double loop_seconds, rate, worst; /* loop_seconds: scheduling and sleeping only */
} bench;

static void help(void)
{
    printf("NAME\n"
           "    skyquilt bench scheduler - rank 0's message rate and efficiency\n\n"
           "SYNOPSIS\n"
           "    mpirun -n RANKS [--oversubscribe] skyquilt bench scheduler [OPTIONS]\n\n"
           "DESCRIPTION\n"
           "    Runs the real machinery - scheduler, messages, shards, ledger - with tasks that "
           "sleep\n"
           "    instead of computing, so that more ranks than cores say something about scheduling "
           "and\n"
           "    nothing about computing. Efficiency is the time slept over workers times wall time "
           "of the\n"
           "    loop. Then rank 0 exchanges messages with all others as fast as it can.\n\n"
           "OPTIONS\n"
           "    --seconds S       of a task, default 0.1\n"
           "    --tasks N         in all, default 50 a worker\n"
           "    --messages N      of each worker in the exchange, default 20000; 0: none\n"
           "    --json            print JSON\n\n"
           "EXIT CODES\n"
           "    0  measured\n"
           "    1  usage error\n"
           "    4  environment or storage error\n");
}

static void keep_last(void *user, const sq_run_progress *p)
{
    bench *b = user;
    if (p->last)
        b->loop_seconds = p->seconds;
}

/* Rank 0 answers every message; the rate counts both directions. */
static sq_status exchange(bench *b)
{
    enum { PING = 7 };
    sq_status rc = SQ_OK;
    const sq_comm *world = sq_comm_world();
    sq_mailbox *box = NULL;
    sq_message m;
    int rank = sq_comm_rank(world), size = sq_comm_size(world), got;
    unsigned char body[64] = {0};
    SQ_TRY(sq_mailbox_create(world, &box));
    SQ_TRY(sq_comm_barrier(world));
    double start = sq_now();
    int64_t expected = rank ? b->messages : b->messages * (size - 1), sent = 0;
    for (int64_t n = 0; n < expected; n++) {
        /* A worker keeps 16 messages on the way. */
        while (rank && sent < b->messages && sent < n + 16) {
            SQ_TRY(sq_mailbox_send(box, 0, PING, body, sizeof body));
            sent++;
        }
        SQ_TRY(sq_mailbox_receive(box, -1, &m, &got));
        if (!got)
            n--;
        else if (rank == 0)
            SQ_TRY(sq_mailbox_send(box, m.source, PING, body, sizeof body));
    }
    if (rank == 0)
        b->rate = 2.0 * (double)expected / (sq_now() - start);
    SQ_TRY(sq_comm_barrier(world));
cleanup:
    sq_mailbox_destroy(box);
    return rc;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

/* A folder that all ranks see, with the configuration in it. */
static sq_status make_folder(bench *b, int rank)
{
    sq_status rc = SQ_OK;
    char path[160];
    if (rank == 0) {
        const char *base = getenv("TMPDIR");
        snprintf(b->folder, sizeof b->folder, "%.80s/skyquilt-bench-XXXXXX", base ? base : "/tmp");
        if (!mkdtemp(b->folder))
            rc = sq_fail(SQ_ERR_IO, "%s: cannot make a folder", b->folder);
        snprintf(path, sizeof path, "%s/bench.yaml", b->folder);
        FILE *file = rc == SQ_OK ? fopen(path, "w") : NULL;
        if (file) {
            fprintf(file, "probe: sleep\noutput: out\nsleep: {seconds: %.9g, tasks: %lld}\n",
                    b->seconds, (long long)b->tasks);
            fclose(file);
        } else if (rc == SQ_OK) {
            rc = sq_fail(SQ_ERR_IO, "%s: cannot be written", path);
        }
    }
    SQ_TRY(sq_comm_agree(sq_comm_world(), rc));
    SQ_TRY(sq_comm_broadcast(sq_comm_world(), 0, b->folder, sizeof b->folder));
cleanup:
    return rc;
}

static sq_status measure(bench *b)
{
    sq_status rc = SQ_OK;
    int rank = sq_cli_job_rank(), size = sq_comm_size(sq_comm_world());
    char path[160];
    sq_run_verdict verdict;
    if (!b->tasks)
        b->tasks = 50 * (size > 1 ? size - 1 : 1);
    SQ_TRY(sq_probe_register(&sleep_probe));
    SQ_TRY(make_folder(b, rank));
    snprintf(path, sizeof path, "%s/bench.yaml", b->folder);
    sq_run_options options = {.config = path, .report = keep_last, .user = b, .progress = 1e9};
    SQ_TRY(sq_run(sq_comm_world(), &options, &verdict));
    if (verdict.done != (uint64_t)b->tasks)
        rc = sq_fail(SQ_ERR_INTERNAL, "%llu of %lld tasks done", (unsigned long long)verdict.done,
                     (long long)b->tasks);
    if (rc == SQ_OK && b->messages && size > 1)
        rc = exchange(b);
cleanup:
    if (rank == 0 && b->folder[0])
        nftw(b->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return rc;
}

static void print_result(const bench *b)
{
    int size = sq_comm_size(sq_comm_world()), workers = size > 1 ? size - 1 : 1;
    double efficiency = b->seconds * (double)b->tasks / (b->loop_seconds * workers);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (b->json) {
        printf("{\"ranks\": %d, \"workers\": %d, \"cores\": %ld, \"tasks\": %lld, "
               "\"task_seconds\": %g, "
               "\"loop_seconds\": %.4f, \"efficiency\": %.4f, \"messages_per_second\": %.0f, "
               "\"kind\": \"sleeping tasks\"}\n",
               size, workers, cores, (long long)b->tasks, b->seconds, b->loop_seconds, efficiency,
               b->rate);
        return;
    }
    printf("sleeping tasks, %d ranks (%d workers) on %ld cores\n"
           "    tasks       %lld of %g s\n    loop        %.3f s\n    efficiency  %.1f%%\n",
           size, workers, cores, (long long)b->tasks, b->seconds, b->loop_seconds,
           100 * efficiency);
    if (b->rate > 0)
        printf("    messages    %.0f /s through rank 0\n", b->rate);
}

static int parse(int argc, char **argv, bench *b)
{
    static const struct option known[] = {
        {"seconds", required_argument, NULL, 's'},  {"tasks", required_argument, NULL, 't'},
        {"messages", required_argument, NULL, 'm'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},           {0}};
    int option, good = 1;
    double number;
    optind = 1;
    while ((option = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        switch (option) {
        case 's':
            good = sq_cli_seconds(optarg, &b->seconds);
            break;
        case 't':
            good = sq_cli_seconds(optarg, &number) && number >= 1;
            b->tasks = (int64_t)number;
            break;
        case 'm':
            b->messages = strtoll(optarg, NULL, 10);
            good = b->messages >= 0 && b->messages < 100000000;
            break;
        case 'j':
            b->json = 1;
            break;
        case 'h':
            help();
            return 0;
        default:
            return 1;
        }
        if (!good) {
            fprintf(stderr, "skyquilt bench scheduler: '%s' is not a number that fits\n", optarg);
            return 1;
        }
    }
    if (optind != argc) {
        fprintf(stderr, "skyquilt bench scheduler: takes no arguments; see --help\n");
        return 1;
    }
    return -1;
}

int sq_cli_bench_scheduler(int argc, char **argv)
{
    bench b = {.seconds = 0.1, .messages = 20000};
    int code = parse(argc, argv, &b);
    if (code >= 0)
        return code;
    sq_status rc = sq_cli_job_begin(&argc, &argv, 1);
    if (rc != SQ_OK)
        return sq_cli_fail("bench scheduler", rc);
    rc = measure(&b);
    code = sq_exit_code(rc);
    if (rc != SQ_OK)
        sq_cli_job_fail("bench scheduler", rc);
    else if (sq_cli_job_rank() == 0)
        print_result(&b);
    return sq_cli_job_end(code, 0);
}
