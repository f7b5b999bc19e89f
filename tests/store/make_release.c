/* A small survey with known sources, committed to shards and reduced: run under mpirun by
 * test_merge.py.
 *
 * make_release FOLDER RELEASE ORDER MEMORY DEFLATE
 *
 * Two tiles overlap on the sky; every patch reports the sources in its core and 4 pixels around
 * with an error of its own, so that neighbours disagree about who owns those near a border. ORDER
 * shuffles the order of commits, the segments and the attempts. Rank 0 writes the shards, all ranks
 * reduce. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/mem.h"
#include "base/rng.h"
#include "par/comm.h"
#include "sky/owner.h"
#include "sky/patch.h"
#include "sky/wcs.h"
#include "store/ledger.h"
#include "store/merge.h"

enum { NX = 700, NY = 520, CORE = 90, TILES = 2, SOURCES = 6000, MAP_X = 640, MAP_Y = 500 };

static const double scale = 0.4 / 3600, border = 4;

static const sq_column columns[] = {
    {"ra", SQ_F64, "deg", "pos.eq.ra;meta.main", "Right ascension", 0},
    {"dec", SQ_F64, "deg", "pos.eq.dec;meta.main", "Declination", 0},
    {"depth", SQ_F32, "pix", "", "Distance from the border of the core", 1},
    {"source", SQ_I64, "", "meta.id", "Number of the true source", 0},
    {"flux", SQ_F32, "nJy", "phot.flux", "Flux", 0},
    {"flag", SQ_U8, "", "meta.code", "Flag", 0},
};
static const sq_schema catalog = {.name = "catalog",
                                  .description = "Sources",
                                  .count = 6,
                                  .column = columns,
                                  .ra = "ra",
                                  .dec = "dec",
                                  .depth = "depth",
                                  .border = 4,
                                  .radius = 0.8};
static const sq_column noise_columns[] = {{"level", SQ_F64, "nJy", "", "Noise level", 0}};
static const sq_schema noise = {
    .name = "noise", .description = "", .count = 1, .column = noise_columns};
static const char *const planes[] = {"signal", "patch"};
static const sq_map_schema map = {.name = "sum",
                                  .unit = "K",
                                  .ucd = "",
                                  .description = "A map",
                                  .type = SQ_F32,
                                  .planes = 2,
                                  .plane = planes,
                                  .nx = MAP_X,
                                  .ny = MAP_Y};

typedef struct survey {
    sq_wcs *wcs[TILES];
    sq_tiling *tiling[TILES];
    sq_owner *owner;
    sq_wcs_pool *pool;
    sq_tile_list *tiles;
    uint64_t base[TILES + 1];
    double ra[SOURCES], dec[SOURCES];
    double x[TILES][SOURCES], y[TILES][SOURCES]; /* their pixels on each tile */
    sq_merge_task *task;
    int64_t ntask;
} survey;

static survey s;

#define DO(call)                                                                                   \
    do {                                                                                           \
        if ((call) != SQ_OK) {                                                                     \
            fprintf(stderr, "%s: %s\n", #call, sq_error());                                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* The WCS again: the pool owns what it is given. */
static sq_status solve(void *user, uint32_t number, sq_wcs **out)
{
    char *header;
    (void)user;
    sq_status rc = sq_wcs_to_header(s.wcs[number], &header);
    if (rc != SQ_OK)
        return rc;
    rc = sq_wcs_from_header(header, "tile", out);
    sq_free(header);
    return rc;
}

static void make_sky(void)
{
    sq_footprint footprint[TILES];
    sq_rng rng;
    DO(sq_tile_list_create(&s.tiles));
    for (int t = 0; t < TILES; t++) {
        double a = t * 0.3,
               cd[4] = {-scale * cos(a), scale * sin(a), scale * sin(a), scale * cos(a)};
        double ra = t * 0.045, dec = 10 + 0.012 * t;
        if (getenv("SQ_TEST_POLE")) { /* the pole lies near the middle of the overlap */
            ra = 30 + 180 * t;
            dec = 89.98;
        }
        DO(sq_wcs_tan(ra, dec, NX / 2.0, NY / 2.0, cd, &s.wcs[t]));
        sq_patch_shape shape = {CORE, 16, 1};
        DO(sq_tiling_bricks(NX, NY, shape, s.wcs[t], &s.tiling[t]));
        s.base[t + 1] = s.base[t] + sq_tiling_count(s.tiling[t]);
        DO(sq_footprint_of(s.wcs[t], NX, NY, &footprint[t]));
        sq_tile tile = {.nband = 0};
        snprintf(tile.name, SQ_NAME_MAX, "tile-%d", t);
        DO(sq_tile_list_add(s.tiles, &tile));
    }
    DO(sq_tile_list_finish(s.tiles));
    DO(sq_wcs_pool_create(TILES, TILES, solve, NULL, &s.pool));
    DO(sq_owner_create(footprint, TILES, s.pool, &s.owner));
    sq_rng_init(&rng, 11, 0, 0);
    for (int i = 0; i < SOURCES; i++) {
        double x = sq_rng_range(&rng, -20, NX + 20), y = sq_rng_range(&rng, -20, NY + 20);
        DO(sq_wcs_pix2sky(s.wcs[i % TILES], 1, &x, &y, &s.ra[i], &s.dec[i]));
    }
    for (int t = 0; t < TILES; t++)
        DO(sq_wcs_sky2pix(s.wcs[t], SOURCES, s.ra, s.dec, s.x[t], s.y[t]));
}

/* What patch p of tile t sees of every source. */
static void detect(int t, const sq_patch *p, sq_table *out)
{
    for (int i = 0; i < SOURCES; i++) {
        double x = s.x[t][i], y = s.y[t][i], ra, dec;
        sq_rng rng;
        if (!(sq_tiling_depth(s.tiling[t], p, x, y) > -border - 2))
            continue;
        sq_rng_init(&rng, 5, (uint32_t)i, p->id);
        x += 0.15 * sq_rng_normal(&rng);
        y += 0.15 * sq_rng_normal(&rng);
        float depth = (float)sq_tiling_depth(s.tiling[t], p, x, y);
        if (!(depth >= -border) || x < -0.5 || y < -0.5 || x >= NX - 0.5 || y >= NY - 0.5)
            continue;
        DO(sq_wcs_pix2sky(s.wcs[t], 1, &x, &y, &ra, &dec));
        /* Positions that are no positions: all have one key, and NaN compares with nothing. */
        if (getenv("SQ_TEST_NAN") && i % 3 == 0)
            *(i % 2 ? &ra : &dec) = i % 5 ? NAN : i % 7 ? INFINITY : -INFINITY;
        int64_t source = i;
        float flux = (float)(sq_rng_uniform(&rng) * 1000);
        uint8_t flag = (uint8_t)(p->id & 255);
        DO(sq_table_append(out, 1,
                           (const void *const[]){&ra, &dec, &depth, &source, &flux, &flag}));
    }
}

static sq_block block_of(uint64_t patch, float *pixels)
{
    sq_rng rng;
    sq_rng_init(&rng, 9, 0, patch);
    sq_block b = {0,
                  (int64_t)(sq_rng_u32(&rng) % (MAP_X - 60)),
                  (int64_t)(sq_rng_u32(&rng) % (MAP_Y - 40)),
                  60,
                  40,
                  pixels};
    for (int i = 0; i < 60 * 40; i++) {
        pixels[i] = sq_rng_uniform(&rng) < 0.1 ? NAN : (float)sq_rng_uniform(&rng);
        pixels[60 * 40 + i] = (float)patch;
    }
    return b;
}

static void process(sq_shard *shard, sq_merge_task *task, uint32_t attempt)
{
    static float pixels[2 * 60 * 40];
    const sq_schema *schemas[] = {&catalog, &noise};
    const sq_map_schema *maps[] = {&map};
    sq_table *table[2];
    sq_patch p;
    void *payload;
    size_t size;
    for (int k = 0; k < 2; k++)
        DO(sq_table_create(schemas[k], &table[k]));
    DO(sq_tiling_patch(s.tiling[task->tile], task->patch - s.base[task->tile], &p));
    p.id = task->patch;
    detect((int)task->tile, &p, table[0]);
    for (uint64_t k = 0; k < task->patch % 3; k++) {
        double level = (double)task->patch + 0.1 * (double)k;
        DO(sq_table_append(table[1], 1, (const void *const[]){&level}));
    }
    sq_block block = block_of(task->patch, pixels);
    DO(sq_payload_pack((const sq_table *const *)table, 2, maps, 1, &block, 1, &payload, &size));
    sq_record record = {.patch = task->patch, .attempt = attempt, .kind = SQ_RECORD_PRODUCT};
    record.input = sq_hash_bytes(&task->patch, 8);
    record.seconds[SQ_SECONDS_INFER] = (float)attempt;
    DO(sq_shard_append(shard, &record, payload, size, &task->place));
    task->input = record.input;
    task->attempts = attempt;
    task->rows = (uint64_t)(sq_table_rows(table[0]) + sq_table_rows(table[1]));
    sq_free(payload);
    for (int k = 0; k < 2; k++)
        sq_table_destroy(table[k]);
}

/* The order, the segments and the number of attempts differ from `order` to `order`; the products
 * do not. */
static void commit_all(const char *folder, uint64_t order)
{
    sq_shard *shard[3];
    sq_rng rng;
    sq_rng_init(&rng, order, 1, 0);
    s.ntask = (int64_t)s.base[TILES];
    DO(SQ_ALLOC(s.task, s.ntask, "tasks"));
    for (int64_t i = 0; i < s.ntask; i++) {
        s.task[i].patch = (uint64_t)i;
        s.task[i].tile = (uint64_t)i >= s.base[1];
    }
    for (int64_t i = s.ntask - 1; order && i > 0; i--) {
        int64_t j = (int64_t)(sq_rng_u64(&rng) % (uint64_t)(i + 1));
        sq_merge_task swap = s.task[i];
        s.task[i] = s.task[j];
        s.task[j] = swap;
    }
    for (int w = 0; w < 3; w++) {
        char name[24];
        snprintf(name, sizeof name, "e%d-r%d", (int)order, w);
        DO(sq_shard_create(folder, name, 40000, &shard[w]));
    }
    for (int64_t i = 0; i < s.ntask; i++) {
        sq_merge_task *task = &s.task[i];
        if (task->patch % 19 == 7 || getenv("SQ_TEST_EMPTY")) {
            task->state = task->patch % 2 ? SQ_TASK_FAILED : SQ_TASK_QUARANTINED;
            task->status = SQ_ERR_DATA;
            task->reason = task->patch % 2 ? "all pixels are masked" : "three deaths";
            continue;
        }
        uint32_t attempts = 1 + (order ? sq_rng_u32(&rng) % 3 : 0);
        for (uint32_t a = 1; a <= attempts; a++)
            process(shard[order ? sq_rng_u32(&rng) % 3 : 0], task, a);
    }
    for (int w = 0; w < 3; w++)
        DO(sq_shard_close(shard[w]));
}

/* For each source: is it well inside a tile, and is a failed patch near it? */
static void print_coverage(void)
{
    for (int i = 0; i < SOURCES; i++) {
        int inside = 0, failed = 0;
        for (int t = 0; t < TILES; t++) {
            double x = s.x[t][i], y = s.y[t][i];
            inside |= x > 3 && y > 3 && x < NX - 4 && y < NY - 4;
            for (uint64_t k = 0; k < s.base[t + 1] - s.base[t]; k++) {
                sq_patch p;
                DO(sq_tiling_patch(s.tiling[t], k, &p));
                failed |= (s.base[t] + k) % 19 == 7 && sq_tiling_depth(s.tiling[t], &p, x, y) > -6;
            }
        }
        printf("%d %d\n", inside, failed);
    }
}

static void print_blocks(void)
{
    static float pixels[2 * 60 * 40];
    for (uint64_t p = 0; p < s.base[TILES]; p++) {
        sq_block b = block_of(p, pixels);
        printf("%d %d %d\n", (int)p, (int)b.x0, (int)b.y0);
    }
}

/* One byte in the middle of a segment, to be found. */
static void damage(const char *path)
{
    FILE *file = fopen(path, "r+b");
    if (!file || fseek(file, 20000, SEEK_SET) != 0)
        exit(1);
    int byte = fgetc(file);
    fseek(file, 20000, SEEK_SET);
    fputc(byte ^ 4, file);
    fclose(file);
}

/* The ledger of this survey, beside its shards: FOLDER/../ledger. */
static void write_ledger(const char *folder)
{
    char path[1024];
    sq_ledger *ledger;
    sq_event plan = {.kind = SQ_EVENT_PLAN, .count = (uint64_t)s.ntask};
    snprintf(path, sizeof path, "%.900s/../ledger", folder);
    DO(sq_ledger_open(path, NULL, NULL, &ledger));
    DO(sq_ledger_append(ledger, &plan));
    for (int64_t i = 0; i < s.ntask; i++) {
        sq_event e = {.kind =
                          s.task[i].state == SQ_TASK_DONE ? SQ_EVENT_COMMIT : SQ_EVENT_QUARANTINE,
                      .patch = s.task[i].patch,
                      .rows = s.task[i].rows,
                      .input = s.task[i].input,
                      .status = s.task[i].status,
                      .place = s.task[i].place};
        DO(sq_ledger_append(ledger, &e));
    }
    DO(sq_ledger_close(ledger));
}

static int by_patch(const void *a, const void *b)
{
    const sq_merge_task *p = a, *q = b;
    return (p->patch > q->patch) - (p->patch < q->patch);
}

static sq_status get_task(void *tasks, int64_t i, sq_merge_task *out)
{
    *out = ((sq_merge_task *)tasks)[i];
    return SQ_OK;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strncmp(argv[1], "--", 2) == 0) {
        make_sky();
        if (strcmp(argv[1], "--coverage") == 0)
            print_coverage();
        else
            print_blocks();
        return 0;
    }
    const sq_schema *schemas[] = {&catalog, &noise};
    const sq_map_schema *maps[] = {&map};
    if (argc != 6)
        return 1;
    DO(sq_comm_init(&argc, &argv));
    const sq_comm *world = sq_comm_world();
    make_sky();
    if (sq_comm_rank(world) == 0)
        commit_all(argv[1], strtoull(argv[3], NULL, 10));
    if (sq_comm_rank(world) == 0 && getenv("SQ_TEST_DAMAGE"))
        damage(getenv("SQ_TEST_DAMAGE"));
    DO(sq_comm_barrier(world));
    if (sq_comm_rank(world) == 0 && getenv("SQ_TEST_LEDGER"))
        write_ledger(argv[1]);
    sq_merge_text provenance[] = {{"config", "seed: 1\n"}, {"config_hash", "00112233"}};
    sq_merge_text run[] = {{"host", sq_comm_host()}, {"order", argv[3]}};
    sq_merge merge = {.path = argv[2],
                      .shards = argv[1],
                      .ntable = 2,
                      .table = schemas,
                      .nmap = 1,
                      .map = maps,
                      .owner = s.owner,
                      .memory = strtoull(argv[4], NULL, 10),
                      .deflate = atoi(argv[5])};
    if (sq_comm_rank(world) == 0) {
        qsort(s.task, (size_t)s.ntask, sizeof *s.task, by_patch);
        merge.task = get_task;
        merge.tasks = s.task;
        merge.ntask = s.ntask;
        merge.tiles = s.tiles;
        merge.provenance = provenance;
        merge.nprovenance = 2;
        merge.run = run;
        merge.nrun = 2;
    }
    sq_merge_report report = {0};
    /* One allocation of the last rank fails. */
    if (getenv("SQ_TEST_FAIL_ALLOC") && sq_comm_rank(world) == sq_comm_size(world) - 1)
        sq_mem_fail_after(atoll(getenv("SQ_TEST_FAIL_ALLOC")));
    /* The last rank alone cannot write. */
    if (getenv("SQ_TEST_FILE_LIMIT") && sq_comm_rank(world) == sq_comm_size(world) - 1) {
        struct rlimit limit = {(rlim_t)atoll(getenv("SQ_TEST_FILE_LIMIT")), RLIM_INFINITY};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    sq_status rc = sq_merge_release(world, &merge, &report);
    sq_mem_fail_after(-1);
    char hash[SQ_HASH_TEXT];
    sq_hash_text(report.manifest, hash);
    if (rc != SQ_OK)
        printf("rank %d: %s: %s\n", sq_comm_rank(world), sq_status_name(rc), sq_error());
    else if (sq_comm_rank(world) == 0)
        printf("%s %lld %lld %.3f\n", hash, (long long)report.rows_in[0], (long long)report.rows[0],
               report.seconds);
    sq_owner_destroy(s.owner);
    sq_wcs_pool_destroy(s.pool);
    sq_tile_list_destroy(s.tiles);
    for (int t = 0; t < TILES; t++) {
        sq_tiling_destroy(s.tiling[t]);
        sq_wcs_destroy(s.wcs[t]);
    }
    sq_free(s.task);
    sq_comm_finalize();
    return sq_exit_code(rc);
}
