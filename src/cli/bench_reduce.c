#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/bench_disk.h"
#include "cli/bench_sky.h"
#include "cli/commands.h"
#include "cli/job.h"
#include "sky/sphere.h"
#include "store/merge.h"
#include "store/tensor.h"

static const char help[] =
    "NAME\n"
    "    skyquilt bench reduce - a whole reduce of synthetic records against the bare disk\n\n"
    "SYNOPSIS\n"
    "    [mpirun -n RANKS] skyquilt bench reduce [--rows N] [--memory MB] [--folder DIR] "
    "[--deflate N]\n"
    "                                            [--seed N] [--scatter] [--json]\n\n"
    "DESCRIPTION\n"
    "    The ranks write records of a synthetic sky with overlapping patches, as workers do; the "
    "records are\n"
    "    reduced to a release; the release is read and every row checked against the sky's "
    "arithmetic: the\n"
    "    number of rows, their order, each source once, and of the patches that report it the one "
    "in which it\n"
    "    lies deepest. Before and after the reduce a plain file of the release's size is written "
    "and flushed\n"
    "    to the same disk. Shown are the bandwidth of the whole reduce (bytes of the release over "
    "all its\n"
    "    seconds) against the plain file's, the seconds of its parts (of each the slowest "
    "rank's), and the\n"
    "    peak memory of the ranks. A row takes about 60 bytes in the records and 76 in the "
    "release; the files\n"
    "    are removed.\n\n"
    "OPTIONS\n"
    "    --rows N         of the release, at least; default 1e6\n"
    "    --memory MB      that a rank may hold, as execution.memory; default 128\n"
    "    --folder DIR     where to write, default the present folder\n"
    "    --deflate N      compression of the columns, 0 to 9, default 0\n"
    "    --seed N         of the sky, default 1\n"
    "    --scatter        every record has rows from all over the sky: they are sorted on disk\n"
    "    --json           print one JSON object\n\n"
    "EXIT CODES\n"
    "    0  measured, the release is right\n"
    "    1  usage error\n"
    "    4  the folder cannot be written, or the release is wrong\n";

enum { ROTATE = 256 << 20, READ = 1 << 16 };

typedef struct bench {
    const char *folder;
    double rows, memory; /* MB */
    int64_t deflate, seed;
    int scatter, json;
    sq_bench_sky sky;
    const sq_comm *comm;
    int rank, size;
    char shards[1024], release[1024];
    double raw[2], write; /* seconds: the plain file before and after; the records */
    sq_merge_report report;
    int64_t resident[2]; /* bytes, the largest rank's, before and after */
    double cpu;          /* seconds of all ranks within the reduce */
} bench;

/* ---- Records ---- */

static sq_status make_folder(const bench *b)
{
    if (mkdir(b->shards, 0777) != 0)
        return sq_fail(SQ_ERR_IO, "%s: %s", b->shards, strerror(errno));
    return SQ_OK;
}

static void remove_all(const bench *b)
{
    DIR *folder = opendir(b->shards);
    char path[2048];
    unlink(b->release);
    for (struct dirent *e; folder && (e = readdir(folder));) {
        snprintf(path, sizeof path, "%s/%s", b->shards, e->d_name);
        unlink(path);
    }
    if (folder)
        closedir(folder);
    rmdir(b->shards);
}

static sq_status commit_patch(const bench *b, sq_shard *shard, sq_table *table, uint64_t patch,
                              sq_merge_task *task)
{
    sq_record record = {.patch = patch, .attempt = 1, .kind = SQ_RECORD_PRODUCT};
    const sq_table *tables[] = {table};
    void *payload = NULL;
    size_t size;
    sq_status rc;
    sq_table_clear(table);
    SQ_TRY(sq_bench_sky_patch(&b->sky, patch, table));
    SQ_TRY(sq_payload_pack(tables, 1, NULL, 0, NULL, 0, &payload, &size));
    SQ_TRY(sq_shard_append(shard, &record, payload, size, &task->place));
    task->patch = patch;
    task->state = SQ_TASK_DONE;
    task->attempts = 1;
    task->rows = (uint64_t)sq_table_rows(table);
cleanup:
    sq_free(payload);
    return rc;
}

static sq_status write_records(const bench *b, sq_merge_task **out, int64_t *n)
{
    char name[32];
    sq_shard *shard = NULL;
    sq_table *table = NULL;
    int64_t patches = sq_bench_sky_patches(&b->sky);
    sq_status rc;
    *n = 0;
    snprintf(name, sizeof name, "e1-r%d", b->rank);
    SQ_TRY(SQ_ALLOC(*out, patches / b->size + 1, "tasks"));
    SQ_TRY(sq_table_create(&sq_bench_schema, &table));
    SQ_TRY(sq_shard_create(b->shards, name, ROTATE, &shard));
    for (int64_t p = b->rank; p < patches; p += b->size)
        SQ_TRY(commit_patch(b, shard, table, (uint64_t)p, &(*out)[(*n)++]));
cleanup:
    sq_table_destroy(table);
    sq_status closed = sq_shard_close(shard);
    return rc == SQ_OK ? closed : rc;
}

static double cpu_seconds(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           1e-6 * (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

typedef struct gathered {
    const sq_merge_task *task; /* rank after rank, each with every size-th patch */
    int64_t n;
    int size;
} gathered;

static sq_status get_task(void *tasks, int64_t i, sq_merge_task *out)
{
    const gathered *g = tasks;
    int64_t rank = i % g->size, share = g->n / g->size, more = g->n % g->size;
    *out = g->task[rank * share + (rank < more ? rank : more) + i / g->size];
    return SQ_OK;
}

static sq_status reduce(bench *b, const sq_merge_task *task, int64_t n)
{
    gathered tasks = {task, n, b->size};
    const sq_schema *schema = &sq_bench_schema;
    sq_merge merge = {.path = b->release,
                      .shards = b->shards,
                      .ntable = 1,
                      .table = &schema,
                      .memory = (uint64_t)(b->memory * 1e6),
                      .deflate = (int)b->deflate,
                      .task = get_task,
                      .tasks = &tasks,
                      .ntask = n};
    double before = cpu_seconds();
    sq_status rc = sq_merge_release(b->comm, &merge, &b->report);
    b->cpu = cpu_seconds() - before;
    return rc == SQ_OK ? sq_comm_reduce_f64(b->comm, SQ_SUM, &b->cpu, 1) : rc;
}

/* ---- Checks ---- */

typedef struct columns {
    double *ra, *dec;
    int64_t *source, *key;
    uint64_t *patch;
    float *value[SQ_BENCH_BANDS + 2];
    uint32_t *flag;
} columns;

static const char *const value_name[SQ_BENCH_BANDS + 2] = {
    "catalog/flux_u", "catalog/flux_g",     "catalog/flux_r", "catalog/flux_i",
    "catalog/flux_z", "catalog/flux_error", "catalog/radius"};

static sq_status alloc_columns(columns *c)
{
    sq_status rc;
    SQ_TRY(SQ_ALLOC(c->ra, READ, "columns"));
    SQ_TRY(SQ_ALLOC(c->dec, READ, "columns"));
    SQ_TRY(SQ_ALLOC(c->source, READ, "columns"));
    SQ_TRY(SQ_ALLOC(c->key, READ, "columns"));
    SQ_TRY(SQ_ALLOC(c->patch, READ, "columns"));
    SQ_TRY(SQ_ALLOC(c->flag, READ, "columns"));
    for (int k = 0; k < SQ_BENCH_BANDS + 2; k++)
        SQ_TRY(SQ_ALLOC(c->value[k], READ, "columns"));
cleanup:
    return rc;
}

static void free_columns(columns *c)
{
    sq_free(c->ra);
    sq_free(c->dec);
    sq_free(c->source);
    sq_free(c->key);
    sq_free(c->patch);
    sq_free(c->flag);
    for (int k = 0; k < SQ_BENCH_BANDS + 2; k++)
        sq_free(c->value[k]);
}

static sq_status read_columns(sq_h5 *h5, int64_t first, int64_t n, columns *c)
{
    sq_status rc;
    SQ_TRY(sq_h5_read(h5, "catalog/ra", SQ_F64, first, n, c->ra));
    SQ_TRY(sq_h5_read(h5, "catalog/dec", SQ_F64, first, n, c->dec));
    SQ_TRY(sq_h5_read(h5, "catalog/source", SQ_I64, first, n, c->source));
    SQ_TRY(sq_h5_read(h5, "catalog/healpix29", SQ_I64, first, n, c->key));
    SQ_TRY(sq_h5_read(h5, "catalog/patch", SQ_U64, first, n, c->patch));
    SQ_TRY(sq_h5_read(h5, "catalog/flag", SQ_U32, first, n, c->flag));
    for (int k = 0; k < SQ_BENCH_BANDS + 2; k++)
        SQ_TRY(sq_h5_read(h5, value_name[k], SQ_F32, first, n, c->value[k]));
cleanup:
    return rc;
}

static sq_bench_row row_of(const columns *c, int64_t i)
{
    sq_bench_row row;
    memset(&row, 0, sizeof row);
    row.ra = c->ra[i];
    row.dec = c->dec[i];
    row.source = c->source[i];
    row.patch = c->patch[i];
    for (int k = 0; k < SQ_BENCH_BANDS; k++)
        row.flux[k] = c->value[k][i];
    row.flux_error = c->value[SQ_BENCH_BANDS][i];
    row.radius = c->value[SQ_BENCH_BANDS + 1][i];
    row.flag = c->flag[i];
    return row;
}

/* Rows first .. end: each is what the sky says, all are in order. Adds to *sum. */
static sq_status check_rows(const bench *b, sq_h5 *h5, int64_t first, int64_t end, uint64_t *sum)
{
    columns c = {0};
    int64_t last = -1;
    sq_status rc;
    SQ_TRY(alloc_columns(&c));
    if (first > 0 && first < end)
        SQ_TRY(sq_h5_read(h5, "catalog/healpix29", SQ_I64, first - 1, 1, &last));
    for (int64_t n; first < end; first += n) {
        n = end - first < READ ? end - first : READ;
        SQ_TRY(read_columns(h5, first, n, &c));
        for (int64_t i = 0; i < n; i++) {
            sq_bench_row row = row_of(&c, i), right;
            if (c.key[i] < last || c.key[i] != sq_healpix29(row.ra, row.dec))
                SQ_TRY(sq_fail(SQ_ERR_CORRUPT, "%s: row %lld is out of order", b->release,
                               (long long)(first + i)));
            if (row.source < 0 || row.source >= sq_bench_sky_rows(&b->sky))
                SQ_TRY(sq_fail(SQ_ERR_CORRUPT, "%s: row %lld: source %lld", b->release,
                               (long long)(first + i), (long long)row.source));
            sq_bench_sky_source(&b->sky, row.source, &right);
            if (sq_bench_row_hash(&row) != sq_bench_row_hash(&right))
                SQ_TRY(sq_fail(SQ_ERR_CORRUPT, "%s: row %lld: not what the sky has of source %lld",
                               b->release, (long long)(first + i), (long long)row.source));
            *sum += sq_bench_row_hash(&row);
            last = c.key[i];
        }
    }
cleanup:
    free_columns(&c);
    return rc;
}

/* Every row is right and the sums over all sources are equal: so each source is there once. */
static sq_status check_release(const bench *b)
{
    sq_h5 *h5 = NULL;
    int64_t rows = sq_bench_sky_rows(&b->sky), dim[8] = {0};
    int64_t first = rows / b->size * b->rank;
    int64_t end = b->rank + 1 < b->size ? rows / b->size * (b->rank + 1) : rows;
    uint64_t found = 0, expected = 0;
    int64_t difference;
    sq_dtype type;
    int rank;
    sq_status rc = sq_h5_open(b->release, &h5);
    if (rc == SQ_OK)
        rc = sq_h5_shape(h5, "catalog/ra", &type, &rank, dim);
    if (rc == SQ_OK && dim[0] != rows)
        rc = sq_fail(SQ_ERR_CORRUPT, "%s: %lld rows instead of %lld", b->release, (long long)dim[0],
                     (long long)rows);
    if (rc == SQ_OK)
        rc = check_rows(b, h5, first, end, &found);
    SQ_TRY_ALL(b->comm, rc);
    for (int64_t s = first; s < end; s++) {
        sq_bench_row row;
        sq_bench_sky_source(&b->sky, s, &row);
        expected += sq_bench_row_hash(&row);
    }
    difference = (int64_t)(found - expected);
    SQ_TRY(sq_comm_reduce_i64(b->comm, SQ_SUM, &difference, 1));
    if (difference)
        rc = sq_fail(SQ_ERR_CORRUPT, "%s: sources are missing or there twice", b->release);
cleanup:
    sq_h5_abandon(h5);
    return rc;
}

/* ---- Report ---- */

static void show_json(const bench *b, double mb)
{
    char hash[SQ_HASH_TEXT];
    const sq_merge_report *r = &b->report;
    double raw = 0.5 * (b->raw[0] + b->raw[1]);
    printf("{\"bench\": \"reduce\", \"ranks\": %d, \"cpu_seconds\": %.3f, \"rows\": %lld, "
           "\"rows_in\": %lld, "
           "\"records\": %lld, \"memory_mb\": %.6g, \"deflate\": %lld, \"scatter\": %s, ",
           b->size, b->cpu, (long long)r->rows[0], (long long)r->rows_in[0], (long long)r->records,
           b->memory, (long long)b->deflate, b->scatter ? "true" : "false");
    printf("\"release_mb\": %.1f, \"seconds\": %.3f, \"mb_s\": %.1f, \"raw_mb_s\": [%.1f, %.1f], "
           "\"ratio\": %.3f, \"write_mb_s\": %.1f, \"resident_before_mb\": %.1f, "
           "\"peak_resident_mb\": %.1f, "
           "\"read_again_mb\": %.1f, \"spilled_mb\": %.1f, \"parts\": {",
           mb, r->seconds, mb / r->seconds, mb / b->raw[0], mb / b->raw[1], raw / r->seconds,
           mb / (r->part[SQ_REDUCE_WRITE] + r->part[SQ_REDUCE_FLUSH]),
           1e-6 * (double)b->resident[0], 1e-6 * (double)b->resident[1],
           1e-6 * (double)r->read_again, 1e-6 * (double)r->spilled);
    for (int k = 0; k < SQ_REDUCE_PARTS; k++)
        printf("%s\"%s\": %.3f", k ? ", " : "", sq_reduce_part_name[k], r->part[k]);
    sq_hash_text(r->manifest, hash);
    printf("}, \"manifest\": \"%s\", \"exact\": true}\n", hash);
}

static void show_text(const bench *b, double mb)
{
    const sq_merge_report *r = &b->report;
    double raw = 0.5 * (b->raw[0] + b->raw[1]);
    printf("%lld rows in %lld records, %lld in the release of %.0f MB: every row is right\n",
           (long long)r->rows_in[0], (long long)r->records, (long long)r->rows[0], mb);
    printf("%-34s %9.1f s %9.0f MB/s\n", "plain file, before", b->raw[0], mb / b->raw[0]);
    printf("%-34s %9.1f s %9.0f MB/s\n", "plain file, after", b->raw[1], mb / b->raw[1]);
    printf("reduce, %3d rank%-18s %9.1f s %9.0f MB/s %8.2f of the disk\n", b->size,
           b->size == 1 ? "" : "s", r->seconds, mb / r->seconds, raw / r->seconds);
    for (int k = 0; k < SQ_REDUCE_PARTS; k++)
        printf("    %-30s %9.1f s %8.0f %%\n", sq_reduce_part_name[k], r->part[k],
               100 * r->part[k] / r->seconds);
    printf("seconds of processors in all ranks %.1f\n", b->cpu);
    printf("records read again %.0f MB, sorted on disk %.0f MB\n", 1e-6 * (double)r->read_again,
           1e-6 * (double)r->spilled);
    printf("peak memory of a rank %.0f MB, of which it was allowed to hold %.6g MB of rows\n",
           1e-6 * (double)b->resident[1], b->memory);
}

static sq_status measure(bench *b)
{
    sq_merge_task *mine = NULL;
    void *all = NULL;
    size_t bytes = 0;
    int64_t n = 0;
    double start;
    sq_status rc;
    int made = 0;
    SQ_TRY_ALL(b->comm, b->rank == 0 ? make_folder(b) : SQ_OK);
    made = 1;
    start = sq_now();
    SQ_TRY_ALL(b->comm, write_records(b, &mine, &n));
    SQ_TRY(sq_comm_gather(b->comm, mine, (size_t)n * sizeof *mine, &all, &bytes, NULL));
    b->write = sq_now() - start;
    sq_free(mine);
    mine = NULL;
    int64_t size = sq_bench_sky_rows(&b->sky) * 76;
    SQ_TRY_ALL(b->comm, b->rank == 0 ? sq_bench_disk(b->folder, size, &b->raw[0]) : SQ_OK);
    b->resident[0] = (int64_t)sq_mem_resident_peak();
    SQ_TRY(reduce(b, all, (int64_t)(bytes / sizeof *mine)));
    b->resident[1] = (int64_t)sq_mem_resident_peak();
    SQ_TRY(sq_comm_reduce_i64(b->comm, SQ_MAX, b->resident, 2));
    SQ_TRY_ALL(b->comm, b->rank == 0 ? sq_bench_disk(b->folder, size, &b->raw[1]) : SQ_OK);
    SQ_TRY_ALL(b->comm, check_release(b));
    if (b->rank == 0)
        (b->json ? show_json : show_text)(b, 1e-6 * (double)b->report.bytes);
cleanup:
    if (made && b->rank == 0)
        remove_all(b);
    sq_free(mine);
    sq_free(all);
    return rc;
}

static int number(const char *text, double low, double high, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out >= low && *out <= high;
}

static sq_status parse(int argc, char **argv, bench *b)
{
    for (int i = 1; i < argc; i++) {
        const char *key = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        int good = 1, takes = 1;
        double whole = 0;
        if (strcmp(key, "--json") == 0 || strcmp(key, "--scatter") == 0) {
            *(key[2] == 'j' ? &b->json : &b->scatter) = 1;
            takes = 0;
        } else if (strcmp(key, "--folder") == 0 && *value) {
            b->folder = value;
        } else if (strcmp(key, "--rows") == 0) {
            good = number(value, 1, 1e9, &b->rows);
        } else if (strcmp(key, "--memory") == 0) {
            good = number(value, 0.01, 1e6, &b->memory);
        } else if (strcmp(key, "--deflate") == 0) {
            good = number(value, 0, 9, &whole);
            b->deflate = (int64_t)whole;
        } else if (strcmp(key, "--seed") == 0) {
            good = number(value, 0, 1e9, &whole);
            b->seed = (int64_t)whole;
        } else {
            return sq_fail(SQ_ERR_USAGE, "unexpected '%s'; see --help", key);
        }
        if (!good)
            return sq_fail(SQ_ERR_USAGE, "%s: '%s' is not a number in its range", key, value);
        i += takes;
    }
    return SQ_OK;
}

int sq_cli_bench_reduce(int argc, char **argv)
{
    bench b = {.folder = ".", .rows = 1e6, .memory = 128, .seed = 1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(help, stdout);
            return 0;
        }
    }
    sq_status rc = parse(argc, argv, &b);
    if (rc != SQ_OK)
        return sq_cli_fail("bench reduce", rc);
    sq_bench_sky_init(&b.sky, (uint64_t)b.seed, (int64_t)b.rows, b.scatter);
    snprintf(b.shards, sizeof b.shards, "%.900s/skyquilt-bench.shards", b.folder);
    snprintf(b.release, sizeof b.release, "%.900s/skyquilt-bench.h5", b.folder);
    rc = sq_cli_job_begin(&argc, &argv, 1);
    if (rc == SQ_OK) {
        b.comm = sq_comm_world();
        b.rank = sq_comm_rank(b.comm);
        b.size = sq_comm_size(b.comm);
        rc = measure(&b);
    }
    return sq_cli_job_end(rc == SQ_OK ? 0 : sq_cli_job_fail("bench reduce", rc), 0);
}
