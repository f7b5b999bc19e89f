#include <ftw.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/bench_scheduler_sim.h"
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

enum { MOST_CASES = 16 };

typedef struct bench {
    double seconds, message; /* of rank 0 for a message, simulated; 0: measured */
    int64_t tasks, messages;
    int json, simulate, cases;
    uint32_t workers[MOST_CASES]; /* of the simulated runs */
    sim_case setup;
    sim_outcome outcome[MOST_CASES];
    sim_service service[MOST_CASES];
    char folder[128];
    double loop_seconds, rate, cost; /* loop_seconds: scheduling and sleeping only */
    uint64_t loop_messages;          /* of rank 0 in it */
} bench;

static void help(void)
{
    printf(
        "NAME\n"
        "    skyquilt bench scheduler - rank 0's message rate and efficiency\n\n"
        "SYNOPSIS\n"
        "    mpirun -n RANKS [--oversubscribe] skyquilt bench scheduler [OPTIONS]\n"
        "    [mpirun -n 2] skyquilt bench scheduler --simulate [--workers N,N,...] [OPTIONS]\n\n"
        "DESCRIPTION\n"
        "    Runs the real machinery - scheduler, messages, shards, ledger - with tasks that "
        "sleep\n"
        "    instead of computing, so that more ranks than cores say something about scheduling "
        "and\n"
        "    nothing about computing. Efficiency is the time slept over workers times wall time "
        "of the\n"
        "    loop. Then rank 0 exchanges messages with all others as fast as it can.\n\n"
        "    --simulate runs the same state machine on one rank with workers in simulated time: "
        "tasks of\n"
        "    lognormal cost, some of 100 times the mean, failures and deaths of workers. Rank 0 "
        "serves one\n"
        "    message after the other, with service times measured here first: messages (with the "
        "other ranks,\n"
        "    or of one rank to itself), ledger lines and their fsync in TMPDIR, the state machine. "
        "'tail' is the "
        "share of the\n"
        "    workers' time after their last task, 'bound' the least time of any schedule: the "
        "mean load of\n"
        "    a worker or the longest task; 'load' is rank 0's busy share.\n\n"
        "OPTIONS\n"
        "    --seconds S       of a task, default 0.1; simulated: the mean, default 1\n"
        "    --tasks N         in all, default 50 a worker; simulated: 1000 a worker\n"
        "    --messages N      of each worker in the exchange, default 20000; 0: none\n"
        "    --simulate        in simulated time\n"
        "    --workers LIST    of simulated runs, default 100,1000,10000,100000\n"
        "    --batch N         results in one message, default 6, as in a run\n"
        "    --plain           every begin and every result in a message of its own: what "
        "batches\n"
        "                      save\n"
        "    --flush S         that a worker's results may wait for each other, default 0.5\n"
        "    --sigma X         of the logarithm of a cost, default 1\n"
        "    --slow X          share of tasks of 100 times the mean, default 1e-4\n"
        "    --fail X          share of attempts that fail, default 1e-3\n"
        "    --mtbf HOURS      between deaths of one worker, default 1000; 0: none\n"
        "    --message S       of rank 0's processor for a message, default: measured\n"
        "    --latency S       of a message, default 5e-6\n"
        "    --json            print JSON\n\n"
        "EXIT CODES\n"
        "    0  measured\n"
        "    1  usage error\n"
        "    4  environment or storage error\n");
}

static void keep_last(void *user, const sq_run_progress *p)
{
    bench *b = user;
    if (!p->last)
        return;
    b->loop_seconds = p->seconds;
    b->loop_messages = p->messages;
}

/* Rank 0 answers every message; the rate counts both directions, and so does the processor time
 * that a message takes of rank 0. */
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
    double start = sq_now(), before = sq_bench_processor();
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
    if (rank == 0) {
        b->rate = 2.0 * (double)expected / (sq_now() - start);
        b->cost = (sq_bench_processor() - before) / (2.0 * (double)expected);
    }
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

static sq_status local_folder(bench *b)
{
    const char *base = getenv("TMPDIR");
    snprintf(b->folder, sizeof b->folder, "%.80s/skyquilt-bench-XXXXXX", base ? base : "/tmp");
    if (mkdtemp(b->folder))
        return SQ_OK;
    sq_status rc = sq_fail(SQ_ERR_IO, "%s: cannot make a folder", b->folder);
    b->folder[0] = 0;
    return rc;
}

/* A folder that all ranks see, with the configuration in it. */
static sq_status make_folder(bench *b, int rank)
{
    sq_status rc = SQ_OK;
    char path[160];
    if (rank == 0) {
        rc = local_folder(b);
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
               "\"loop_seconds\": %.4f, \"efficiency\": %.4f, \"messages_per_task\": %.3f, "
               "\"messages_per_second\": %.0f, \"message_seconds\": %.3g, "
               "\"kind\": \"sleeping tasks\"}\n",
               size, workers, cores, (long long)b->tasks, b->seconds, b->loop_seconds, efficiency,
               (double)b->loop_messages / (double)b->tasks, b->rate, b->cost);
        return;
    }
    printf("sleeping tasks, %d ranks (%d workers) on %ld cores\n"
           "    tasks       %lld of %g s, %.2f messages of rank 0 each\n"
           "    loop        %.3f s\n    efficiency  %.1f%%\n",
           size, workers, cores, (long long)b->tasks, b->seconds,
           (double)b->loop_messages / (double)b->tasks, b->loop_seconds, 100 * efficiency);
    if (b->rate > 0)
        printf("    messages    %.0f /s through rank 0, %.2f us of its processor each\n", b->rate,
               1e6 * b->cost);
}

static uint64_t tasks_of(const bench *b, int i)
{
    return b->tasks ? (uint64_t)b->tasks : 1000 * (uint64_t)b->workers[i];
}

static sq_status simulate(bench *b)
{
    sq_status rc = SQ_OK;
    int rank = sq_cli_job_rank();
    double message = b->message;
    if (sq_comm_size(sq_comm_world()) > 1 && message <= 0) {
        SQ_TRY(exchange(b));
        message = b->cost;
    }
    if (rank)
        return SQ_OK;
    SQ_TRY(local_folder(b));
    for (int i = 0; i < b->cases; i++) {
        sim_case c = b->setup;
        c.workers = b->workers[i];
        c.tasks = tasks_of(b, i);
        c.seconds = b->seconds;
        c.service.message = message;
        SQ_TRY(sq_bench_service(b->folder, c.workers, &c.service));
        b->service[i] = c.service;
        SQ_TRY(sq_bench_simulate(&c, &b->outcome[i]));
    }
cleanup:
    if (b->folder[0])
        nftw(b->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return rc;
}

static void print_simulated_json(const bench *b)
{
    const sim_case *c = &b->setup;
    printf("{\"kind\": \"simulated time\", \"task_seconds\": %g, \"sigma\": %g, \"slow\": %g, "
           "\"fail\": %g, \"deaths_per_second\": %g, \"latency\": %g, \"flush\": %g, "
           "\"batch\": %u, \"runs\": [",
           b->seconds, c->sigma, c->slow, c->fail, c->death, c->latency, c->flush,
           c->plain ? 1 : c->batch);
    for (int i = 0; i < b->cases; i++) {
        const sim_outcome *o = &b->outcome[i];
        const sim_service *v = &b->service[i];
        printf("%s\n{\"workers\": %u, \"tasks\": %llu, \"seconds\": %.3f, \"bound\": %.3f, "
               "\"efficiency\": %.4f, \"tail\": %.4f, \"load\": %.4f, "
               "\"messages_per_second\": %.1f, \"delay\": %.3g, \"failures\": %llu, "
               "\"deaths\": %llu, \"duplicates\": %llu, \"quarantined\": %llu, "
               "\"bytes\": %llu, \"real_seconds\": %.2f, \"service\": {\"message\": %.3g, "
               "\"notice\": %.3g, \"line\": %.3g, \"flush\": %.3g}}",
               i ? "," : "", b->workers[i], (unsigned long long)tasks_of(b, i), o->seconds,
               o->bound, o->efficiency, o->tail, o->load, o->messages, o->delay,
               (unsigned long long)o->failures, (unsigned long long)o->deaths,
               (unsigned long long)o->duplicates, (unsigned long long)o->quarantined,
               (unsigned long long)o->bytes, o->real, v->message, v->notice, v->line, v->flush);
    }
    printf("]}\n");
}

static void print_simulated(const bench *b)
{
    const sim_case *c = &b->setup;
    const sim_service *v = &b->service[b->cases - 1];
    if (b->json) {
        print_simulated_json(b);
        return;
    }
    printf("simulated time: tasks of %g s (lognormal, sigma %g; %g of them 100 times the mean),\n"
           "%g of attempts fail, up to %u result%s a message%s\n"
           "service of rank 0: message %.2f us, notice %.2f us, ledger line %.2f us, fsync %.2f "
           "ms\n\n"
           " workers      tasks    run [s]  bound [s]  efficiency   tail   load  messages/s  delay "
           "[ms]  deaths  memory [MB]  took [s]\n",
           b->seconds, c->sigma, c->slow, c->fail, c->plain ? 1 : c->batch,
           c->batch > 1 && !c->plain ? "s" : "", c->plain ? ", each begin in one too" : "",
           1e6 * v->message, 1e6 * v->notice, 1e6 * v->line, 1e3 * v->flush);
    for (int i = 0; i < b->cases; i++) {
        const sim_outcome *o = &b->outcome[i];
        printf("%8u %10llu %10.1f %10.1f %10.1f%% %5.1f%% %5.1f%% %11.0f %11.3f %7llu %12.1f "
               "%9.1f\n",
               b->workers[i], (unsigned long long)tasks_of(b, i), o->seconds, o->bound,
               100 * o->efficiency, 100 * o->tail, 100 * o->load, o->messages, 1e3 * o->delay,
               (unsigned long long)o->deaths, 1e-6 * (double)o->bytes, o->real);
    }
}

static int parse_workers(const char *text, bench *b)
{
    b->cases = 0;
    for (char *end; b->cases < MOST_CASES; text = end + 1) {
        long number = strtol(text, &end, 10);
        if (end == text || number < 1 || number > 10000000 || (*end && *end != ','))
            return 0;
        b->workers[b->cases++] = (uint32_t)number;
        if (!*end)
            return 1;
    }
    return 0;
}

static int parse_real(const char *text, double least, double most, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && !*end && *out >= least && *out <= most;
}

static int parse(int argc, char **argv, bench *b)
{
    static const struct option known[] = {
        {"seconds", required_argument, NULL, 's'},  {"tasks", required_argument, NULL, 't'},
        {"messages", required_argument, NULL, 'm'}, {"json", no_argument, NULL, 'j'},
        {"simulate", no_argument, NULL, 'S'},       {"workers", required_argument, NULL, 'w'},
        {"batch", required_argument, NULL, 'b'},    {"flush", required_argument, NULL, 'f'},
        {"sigma", required_argument, NULL, 'g'},    {"slow", required_argument, NULL, 'l'},
        {"fail", required_argument, NULL, 'F'},     {"mtbf", required_argument, NULL, 'M'},
        {"message", required_argument, NULL, 'c'},  {"latency", required_argument, NULL, 'L'},
        {"plain", no_argument, NULL, 'p'},
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
        case 'S':
            b->simulate = 1;
            break;
        case 'w':
            good = parse_workers(optarg, b);
            break;
        case 'p':
            b->setup.plain = 1;
            break;
        case 'b':
            good = parse_real(optarg, 1, 1e6, &number);
            b->setup.batch = (uint32_t)number;
            break;
        case 'f':
            good = parse_real(optarg, 0, 3600, &b->setup.flush);
            break;
        case 'g':
            good = parse_real(optarg, 0, 5, &b->setup.sigma);
            break;
        case 'l':
            good = parse_real(optarg, 0, 0.009, &b->setup.slow);
            break;
        case 'F':
            good = parse_real(optarg, 0, 0.5, &b->setup.fail);
            break;
        case 'M':
            good = parse_real(optarg, 0, 1e9, &number);
            b->setup.death = number > 0 ? 1 / (3600 * number) : 0;
            break;
        case 'c':
            good = parse_real(optarg, 0, 1, &b->message);
            break;
        case 'L':
            good = parse_real(optarg, 0, 1, &b->setup.latency);
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
    bench b = {.messages = 20000,
               .cases = 4,
               .workers = {100, 1000, 10000, 100000},
               .setup = {.sigma = 1,
                         .slow = 1e-4,
                         .fail = 1e-3,
                         .death = 1 / 3.6e6,
                         .latency = 5e-6,
                         .flush = 0.5,
                         .batch = 6}};
    int code = parse(argc, argv, &b);
    if (code >= 0)
        return code;
    sq_status rc = sq_cli_job_begin(&argc, &argv, 1);
    if (rc != SQ_OK)
        return sq_cli_fail("bench scheduler", rc);
    if (b.seconds <= 0)
        b.seconds = b.simulate ? 1 : 0.1;
    rc = b.simulate ? simulate(&b) : measure(&b);
    code = sq_exit_code(rc);
    if (rc != SQ_OK)
        sq_cli_job_fail("bench scheduler", rc);
    else if (sq_cli_job_rank() == 0)
        (b.simulate ? print_simulated : print_result)(&b);
    return sq_cli_job_end(code, 0);
}
