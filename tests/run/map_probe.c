#include "map_probe.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"

/* The "sky": a fixed pseudo-random map with point sources, evaluated pixel by pixel. Phase 0 finds
 * its local maxima (rows); the barrier takes their mean brightness; phase 1 subtracts it and adds a
 * noise realisation (map blocks, and a row a realisation). Some patches fail always, some once.
 * SQ_TEST_SPOT=X,Y,VALUE brightens a pixel: other input under the same configuration. */

enum { NX = 320, NY = 260, CORE = 32, HALO = 4, REALISATIONS = 3 };

typedef struct map_config {
    int64_t fail_every; /* 0: none */
    int64_t flaky_every;
    double task_seconds;
    double noise;
    char *marks; /* folder of files that make a failure pass; "" none */
} map_config;

typedef struct map_probe {
    map_config config;
    uint64_t seed;
    double mean; /* of phase 0 */
    long long spot_x, spot_y;
    float spot; /* 0: none */
    int started;
} map_probe;

#define AT(member) offsetof(map_config, member)
static const sq_config_field fields[] = {
    {"fail_every", SQ_CONFIG_INT, AT(fail_every), 0, 0, 1e9, NULL, NULL, "patches that fail"},
    {"flaky_every", SQ_CONFIG_INT, AT(flaky_every), 0, 0, 1e9, NULL, NULL,
     "patches that fail once"},
    {"task_seconds", SQ_CONFIG_REAL, AT(task_seconds), 0, 0, 60, NULL, NULL, "sleep in a task"},
    {"noise", SQ_CONFIG_REAL, AT(noise), 0, 0, 10, NULL, NULL, "sigma of a realisation"},
    {"marks", SQ_CONFIG_TEXT, AT(marks), 0, 0, 0, NULL, NULL, "folder for flaky patches"},
    {.key = NULL}};

static const sq_column peak_columns[] = {
    {"x", SQ_I32, "pixel", "pos.cartesian.x", "column", 0},
    {"y", SQ_I32, "pixel", "pos.cartesian.y", "row", 0},
    {"ra", SQ_F64, "deg", "pos.eq.ra", "position", 0},
    {"dec", SQ_F64, "deg", "pos.eq.dec", "position", 0},
    {"value", SQ_F32, "mJy", "phot.flux", "brightness", 0},
};
static const sq_schema peaks = {"peaks", "local maxima", 5, peak_columns, "ra", "dec", NULL, 0, 0,
                                0};
static const sq_column trial_columns[] = {
    {"trial", SQ_I32, "", "meta.id", "number", 0},
    {"sum", SQ_F64, "mJy", "phot.flux", "sum of the block", 0},
};
static const sq_schema trials = {
    "trials", "sums of blocks", 2, trial_columns, NULL, NULL, NULL, 0, 0, 1};
/* All rows from one task, so that one rank alone has some. */
static const sq_column lone_columns[] = {{"mean", SQ_F64, "mJy", "phot.flux", "of phase 0", 0}};
static const sq_schema lone = {"lone", "one row", 1, lone_columns, NULL, NULL, NULL, 0, 0, 1};
static const char *const planes[] = {"signal", "noise"};
static const sq_map_schema cleaned = {
    "cleaned", "mJy", "phot.flux", "map without its mean", SQ_F32, 2, planes, NX, NY};

static double sky(uint64_t seed, int64_t x, int64_t y)
{
    sq_rng rng;
    if (x < 0 || y < 0 || x >= NX || y >= NY)
        return 0;
    sq_rng_init(&rng, seed, 1, (uint64_t)(y * NX + x));
    double value = sq_rng_normal(&rng);
    return value + (sq_rng_u32(&rng) % 50 == 0 ? 20 * sq_rng_uniform(&rng) : 0);
}

static void defaults(void *config)
{
    *(map_config *)config = (map_config){.noise = 1, .marks = ""};
}

static sq_status create(const void *config, const sq_probe_setup *setup, void **self)
{
    map_probe *p = NULL;
    sq_status rc = SQ_ALLOC(p, 1, "map probe");
    if (rc != SQ_OK)
        return rc;
    p->config = *(const map_config *)config;
    p->seed = setup->seed;
    p->mean = NAN;
    const char *spot = getenv("SQ_TEST_SPOT");
    if (spot && sscanf(spot, "%lld,%lld,%f", &p->spot_x, &p->spot_y, &p->spot) != 3)
        p->spot = 0;
    *self = p;
    return SQ_OK;
}

static sq_status describe(void *self, sq_probe_description *out)
{
    (void)self;
    *out = (sq_probe_description){
        .footprint = SQ_FOOTPRINT_GRID,
        .nx = NX,
        .ny = NY,
        .nphase = 2,
        .phase = {{"peaks", {CORE, HALO, 1}, 1, 1}, {"clean", {2 * CORE, 0, 1}, REALISATIONS, 0}},
        .ntable = 3,
        .table = {&peaks, &trials, &lone},
        .nmap = 1,
        .map = {&cleaned},
        .memory = 1 << 20};
    return SQ_OK;
}

static sq_status start(void *self)
{
    ((map_probe *)self)->started = 1;
    return SQ_OK;
}

static sq_status load_phase(void *self, int phase, const char *path)
{
    map_probe *p = self;
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%la", &p->mean) != 1 || phase != 0) {
        if (file)
            fclose(file);
        return sq_fail(SQ_ERR_IO, "%s: cannot be read", path);
    }
    fclose(file);
    return SQ_OK;
}

static sq_status read_input(void *self, const sq_task *task, const sq_place *place, void **input,
                            sq_hash *input_hash)
{
    const map_probe *p = self;
    const sq_patch *patch = &place->patch;
    float *image = NULL;
    sq_status rc = sq_test_trouble("read", task);
    if (rc != SQ_OK)
        return rc;
    rc = SQ_ALLOC(image, (size_t)patch->side * (size_t)patch->side, "map section");
    if (rc != SQ_OK)
        return rc;
    for (int y = 0; y < patch->side; y++) {
        for (int x = 0; x < patch->side; x++)
            image[y * patch->side + x] = (float)sky(p->seed, patch->in_x0 + x, patch->in_y0 + y);
    }
    long long u = p->spot_x - patch->in_x0, v = p->spot_y - patch->in_y0;
    if (u >= 0 && v >= 0 && u < patch->side && v < patch->side)
        image[v * patch->side + u] += p->spot;
    *input_hash = sq_hash_bytes(image, sizeof *image * (size_t)patch->side * (size_t)patch->side);
    *input = image;
    return SQ_OK;
}

static int is_peak(const float *image, int side, int x, int y)
{
    float value = image[y * side + x];
    for (int dy = -1; dy <= 1; dy++) {
        for (int dx = -1; dx <= 1; dx++) {
            if ((dx || dy) && image[(y + dy) * side + x + dx] >= value)
                return 0;
        }
    }
    return value > 4;
}

static sq_status find_peaks(const sq_place *place, const float *image, sq_product *product)
{
    sq_status rc = SQ_OK;
    const sq_patch *patch = &place->patch;
    for (int64_t y = patch->y0; y < patch->y1; y++) {
        for (int64_t x = patch->x0; x < patch->x1; x++) {
            int u = (int)(x - patch->in_x0), v = (int)(y - patch->in_y0);
            if (!is_peak(image, patch->side, u, v))
                continue;
            int32_t xi = (int32_t)x, yi = (int32_t)y;
            double ra = fmod(359.5 + 0.01 * (double)x, 360), dec = -1 + 0.01 * (double)y;
            float value = image[v * patch->side + u];
            const void *column[] = {&xi, &yi, &ra, &dec, &value};
            SQ_TRY(sq_product_rows(product, 0, 1, column));
        }
    }
cleanup:
    return rc;
}

static sq_status clean(const map_probe *p, const sq_task *task, const sq_place *place,
                       const float *image, sq_product *product)
{
    sq_status rc = SQ_OK;
    const sq_patch *patch = &place->patch;
    int64_t nx = patch->x1 - patch->x0, ny = patch->y1 - patch->y0;
    float *block = NULL;
    double sum = 0;
    sq_rng rng;
    if (isnan(p->mean))
        return sq_fail(SQ_ERR_INTERNAL, "phase 1 without the file of phase 0");
    SQ_TRY(SQ_ALLOC(block, 2 * nx * ny, "block"));
    sq_rng_init(&rng, p->seed, 2, task->patch * REALISATIONS + task->realisation);
    for (int64_t y = 0; y < ny; y++) {
        for (int64_t x = 0; x < nx; x++) {
            int64_t u = patch->x0 - patch->in_x0 + x, v = patch->y0 - patch->in_y0 + y;
            block[y * nx + x] = image[v * patch->side + u] - (float)p->mean;
            block[(ny + y) * nx + x] = (float)(p->config.noise * sq_rng_normal(&rng));
            sum += block[y * nx + x] + block[(ny + y) * nx + x];
        }
    }
    SQ_TRY(sq_product_block(product, 0, patch->x0, patch->y0, nx, ny, block));
    int32_t realisation = (int32_t)task->realisation;
    const void *column[] = {&realisation, &sum};
    SQ_TRY(sq_product_rows(product, 1, 1, column));
    const void *mean[] = {&p->mean};
    if (place->patch.index == 1 && task->realisation == 0)
        SQ_TRY(sq_product_rows(product, 2, 1, mean));
cleanup:
    sq_free(block);
    return rc;
}

/* A patch that fails once leaves a mark, so that its second attempt passes, whichever rank makes
 * it. */
static sq_status flaky(const map_probe *p, const sq_task *task)
{
    char path[512];
    if (!p->config.flaky_every || !p->config.marks[0] ||
        task->patch % (uint64_t)p->config.flaky_every != 1)
        return SQ_OK;
    snprintf(path, sizeof path, "%s/mark-%d-%llu-%u", p->config.marks, task->phase,
             (unsigned long long)task->patch, task->realisation);
    if (access(path, F_OK) == 0)
        return SQ_OK;
    FILE *file = fopen(path, "w");
    if (file)
        fclose(file);
    return sq_fail(SQ_ERR_DATA, "this patch fails once");
}

static sq_status process(void *self, const sq_task *task, const sq_place *place, void *input,
                         sq_product *product)
{
    const map_probe *p = self;
    if (!p->started)
        return sq_fail(SQ_ERR_INTERNAL, "the probe was not started");
    sq_status rc = sq_test_trouble("process", task);
    if (rc != SQ_OK)
        return rc;
    if (p->config.task_seconds > 0)
        usleep((useconds_t)(1e6 * p->config.task_seconds));
    if (p->config.fail_every && task->patch % (uint64_t)p->config.fail_every == 3)
        return sq_fail(SQ_ERR_DATA, "patch %llu cannot be processed",
                       (unsigned long long)task->patch);
    rc = flaky(p, task);
    if (rc != SQ_OK)
        return rc;
    double start = sq_now();
    rc = task->phase == 0 ? find_peaks(place, input, product)
                          : clean(p, task, place, input, product);
    sq_product_clock(product, SQ_CLOCK_DECODE, sq_now() - start);
    return rc;
}

static void release(void *self, void *input)
{
    (void)self;
    sq_free(input);
}

static sq_status finish_phase(void *self, int phase, sq_phase_products *products, const char *path)
{
    sq_status rc = SQ_OK;
    sq_product_view view;
    double sum = 0;
    int64_t count = 0;
    int more = 1;
    (void)self;
    while (more) {
        SQ_TRY(sq_phase_products_next(products, &view, &more));
        for (int64_t i = 0; more && i < view.rows[0]; i++, count++)
            sum += ((const float *)view.value[0][4])[i];
    }
    FILE *file = fopen(path, "w");
    if (!file || phase != 0)
        return sq_fail(SQ_ERR_IO, "%s: cannot be written", path);
    fprintf(file, "%a\n%lld\n", count ? sum / (double)count : 0, (long long)count);
    if (fclose(file) != 0)
        return sq_fail(SQ_ERR_IO, "%s: cannot be written", path);
cleanup:
    return rc;
}

static void destroy(void *self)
{
    sq_free(self);
}

const sq_probe_class sq_map_probe = {.name = "testmap",
                                     .summary = "maxima and cleaned map of a synthetic sky",
                                     .fields = fields,
                                     .config_size = sizeof(map_config),
                                     .defaults = defaults,
                                     .create = create,
                                     .describe = describe,
                                     .start = start,
                                     .load_phase = load_phase,
                                     .read = read_input,
                                     .process = process,
                                     .release = release,
                                     .finish_phase = finish_phase,
                                     .destroy = destroy};
