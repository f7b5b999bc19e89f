/* The lensing probe: simulations of every patch, its data, the survey. */
#include "lensing/probe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "lensing/reconstruct.h"
#include "lensing/survey.h"

static const double ARCMIN = M_PI / 180 / 60;
enum { CORE = 128, HALO = 64, PHASE_SIMULATIONS = 0, PHASE_DATA, PHASE_SURVEY, PHASES };

typedef struct lensing_probe {
    lensing_settings settings;
    lensing_theory theory;
    lensing_pairs pairs;
    lensing_maps *maps;
    lensing_release release;
    double *window; /* of reading the maps */
    unsigned methods;
    int core, halo, side;
    uint64_t seed;
    /* With a network: */
    sq_probe_model file;
    sq_model *model;
    sq_lensing_net net;
    sq_precision precision;
    char statistics[SQ_PATH_MAX], survey[SQ_PATH_MAX];
    int64_t mean_modes;
    int32_t *v, *u;
    /* On ranks that compute: */
    lensing_patch *patch;
    /* Of the reading thread: the patch that was read last. */
    lensing_input *last;
    uint64_t last_patch;
    int have_last;
} lensing_probe;

static void destroy(void *self)
{
    lensing_probe *p = self;
    if (!p)
        return;
    lensing_patch_destroy(p->patch);
    lensing_input_destroy(p->last);
    lensing_maps_close(p->maps);
    sq_model_destroy(p->model);
    lensing_theory_free(&p->theory);
    sq_free(p->window);
    sq_free(p->v);
    sq_free(p->u);
    sq_free(p);
}

/* A noise spectrum stands in for the level of white noise when no weight and no level tells it. */
static void take_noise(lensing_probe *p)
{
    double least[2] = {INFINITY, INFINITY};
    lensing_settings *s = &p->settings;
    if (s->noise > 0 || !p->theory.noise[0])
        return;
    for (int k = 0; k < 2; k++) {
        for (int64_t l = s->lmin; l <= s->lmax; l++)
            least[k] = fmin(least[k], p->theory.noise[k][l]);
    }
    s->noise = sqrt(least[0] * (double)s->maps.count) / ARCMIN;
    s->polarisation_noise = sqrt(least[1] / least[0]);
}

static sq_status check_shape(const lensing_probe *p)
{
    double deg = p->side * p->settings.pixel / 60;
    if (p->core < 16 || p->core % 2 || p->side % 8 || p->halo < 8)
        return sq_fail(SQ_ERR_CONFIG,
                       "patch: core %d and halo %d: the core must be even and 16 at least, the "
                       "halo 8, and core + 2 halo a multiple of 8",
                       p->core, p->halo);
    if (deg > 30)
        return sq_fail(SQ_ERR_CONFIG, "patch: %.1f deg with the halo: the sky is flat up to 30",
                       deg);
    if (p->settings.edge > p->halo * p->settings.pixel)
        return sq_fail(SQ_ERR_CONFIG,
                       "lensing: edge: %g arcmin are more than the halo of %d pixels",
                       p->settings.edge, p->halo);
    return SQ_OK;
}

static sq_status list_modes(lensing_probe *p)
{
    sq_status rc = SQ_OK;
    double step = p->settings.pixel * ARCMIN;
    sq_flat flat = {p->side, p->side, step, step};
    p->mean_modes = lensing_mean_modes(&flat, &p->pairs, NULL, NULL);
    if (!p->mean_modes)
        return sq_fail(SQ_ERR_CONFIG, "lensing: bins: no mode of a patch lies in them");
    SQ_TRY(SQ_ALLOC(p->v, p->mean_modes, "modes"));
    SQ_TRY(SQ_ALLOC(p->u, p->mean_modes, "modes"));
    lensing_mean_modes(&flat, &p->pairs, p->v, p->u);
cleanup:
    return rc;
}

static sq_status load_network(lensing_probe *p, const sq_probe_setup *setup)
{
    const void *data;
    size_t size;
    sq_status rc = SQ_OK;
    const lensing_settings *s = &p->settings;
    int n = snprintf(p->file.path, sizeof p->file.path, "%s", setup->model);
    if (n < 0 || (size_t)n >= sizeof p->file.path)
        return sq_fail(SQ_ERR_CONFIG, "lensing: model: the path is too long");
    SQ_TRY(sq_files_read(setup->files, p->file.path, &data, &size));
    SQ_TRY(sq_model_parse(data, size, p->file.path, NULL, &p->model));
    SQ_TRY(sq_lensing_net_read(p->model, p->file.path, &p->net));
    p->file.hash = sq_model_hash(p->model);
    p->precision = setup->precision;
    if (p->net.lmin != s->lmin || p->net.lmax != s->lmax ||
        fabs(p->net.pixel / s->pixel - 1) > 1e-6 || p->side % p->net.multiple)
        SQ_TRY(sq_fail(SQ_ERR_CONFIG,
                       "lensing: model: %s is for lmin %d, lmax %d, pixels of %g arcmin and "
                       "patches with their halo of a multiple of %d pixels",
                       p->file.path, p->net.lmin, p->net.lmax, p->net.pixel, p->net.multiple));
cleanup:
    return rc;
}

static sq_status create(const void *config, const sq_probe_setup *setup, void **self)
{
    sq_status rc = SQ_OK;
    lensing_probe *p = NULL;
    SQ_TRY(lensing_settings_check(config));
    SQ_TRY(SQ_ALLOC(p, 1, "lensing probe"));
    p->settings = *(const lensing_settings *)config;
    p->seed = setup->seed;
    p->core = setup->core >= 0 ? setup->core : CORE;
    p->halo = setup->halo >= 0 ? setup->halo : HALO;
    p->side = p->core + 2 * p->halo;
    SQ_TRY(check_shape(p));
    SQ_TRY(lensing_settings_methods(&p->settings, setup->model && *setup->model, &p->methods));
    if (p->methods & 1u << LENSING_NETWORK)
        SQ_TRY(load_network(p, setup));
    lensing_pairs_make(&p->settings, p->methods, &p->pairs);
    SQ_TRY(list_modes(p));
    /* To the corner of the grid on which skies are drawn. */
    int top = (int)ceil(M_SQRT2 * 2 * 10800 / p->settings.pixel) + 2;
    SQ_TRY(lensing_theory_load(&p->settings, setup->folder, setup->files, top, &p->theory));
    take_noise(p);
    SQ_TRY(lensing_maps_open(&p->settings, setup, &p->maps));
    SQ_TRY(SQ_ALLOC(p->window, top + 1, "window"));
    SQ_TRY(lensing_maps_window(p->maps, top, p->window));
    if (p->settings.map_pixel > 0)
        lensing_release_make(p->maps, &p->pairs, p->settings.map_pixel, &p->release);
    *self = p;
    p = NULL;
cleanup:
    destroy(p);
    return rc;
}

static sq_status describe(void *self, sq_probe_description *out)
{
    const lensing_probe *p = self;
    uint64_t pixels = (uint64_t)p->side * (uint64_t)p->side;
    sq_patch_shape shape = {p->core, p->halo, 1};
    *out = (sq_probe_description){
        .footprint = SQ_FOOTPRINT_SPHERE,
        .scale = p->settings.pixel,
        .nphase = PHASES,
        .phase = {{"simulations", shape, (uint32_t)p->settings.simulations, 1},
                  {"reconstruction", shape, 1, 1},
                  {"survey", shape, 1, 0}},
        .inputs = sq_hash_combine(lensing_maps_identity(p->maps), p->theory.hash),
        .nmodel = p->model ? 1 : 0,
        .model = {p->file},
        .ntable = LENSING_TABLES,
        .nmap = p->settings.map_pixel > 0 ? LENSING_MAPS : 0};
    for (int t = 0; t < LENSING_TABLES; t++)
        out->table[t] = &lensing_schemas[t];
    for (int k = 0; k < out->nmap; k++)
        out->map[k] = &p->release.schema[k];
    /* Maps and modes of patch and simulations in double precision, three sets of fields. */
    out->memory = pixels * 8 * (uint64_t)(170 + 6 * p->pairs.fields + (p->model ? 200 : 0)) +
                  ((uint64_t)64 << 20);
    return SQ_OK;
}

static sq_status start(void *self)
{
    lensing_probe *p = self;
    lensing_patch_setup setup = {.settings = &p->settings,
                                 .theory = &p->theory,
                                 .pairs = &p->pairs,
                                 .window = p->window,
                                 .methods = p->methods,
                                 .core = p->core,
                                 .halo = p->halo,
                                 .seed = p->seed,
                                 .model = p->model,
                                 .net = &p->net,
                                 .precision = p->precision};
    return lensing_patch_create(&setup, &p->patch);
}

static sq_status load_phase(void *self, int phase, const char *path)
{
    lensing_probe *p = self;
    char *out = phase == PHASE_SIMULATIONS ? p->statistics : p->survey;
    int n = snprintf(out, SQ_PATH_MAX, "%s", path);
    return n > 0 && n < SQ_PATH_MAX ? SQ_OK : sq_fail(SQ_ERR_CONFIG, "%s: path too long", path);
}

/* Realisations of a patch come one after the other: its maps are read once. */
static sq_status read_patch(lensing_probe *p, const sq_task *task, const sq_place *place)
{
    sq_status rc = SQ_OK;
    sq_wcs *grid = NULL;
    if (p->have_last && p->last_patch == task->patch)
        return SQ_OK;
    lensing_input_destroy(p->last);
    p->last = NULL;
    p->have_last = 0;
    SQ_TRY(sq_tiling_grid(place->tiling, &place->patch, &grid));
    SQ_TRY(lensing_maps_read(p->maps, &place->patch, grid, &p->last));
    p->last_patch = task->patch;
    p->have_last = 1;
cleanup:
    sq_wcs_destroy(grid);
    return rc;
}

static sq_status read_input(void *self, const sq_task *task, const sq_place *place, void **input,
                            sq_hash *input_hash)
{
    lensing_probe *p = self;
    lensing_input *in = NULL;
    sq_status rc = SQ_OK;
    *input = NULL;
    *input_hash = sq_hash_bytes("no data", 7);
    if (task->phase == PHASE_SURVEY)
        return SQ_OK;
    SQ_TRY(read_patch(p, task, place));
    if (p->last) {
        SQ_TRY(lensing_input_copy(p->last, &in));
        *input_hash = lensing_input_hash(in);
    }
    *input = in;
cleanup:
    return rc;
}

static void release(void *self, void *input)
{
    (void)self;
    lensing_input_destroy(input);
}

/* ---- simulations ---- */

enum { FIRST, SECOND, NOISE_DATA, NOISE_SIMS, LOW, HIGH, NOISE_CMB };

typedef struct realisation {
    double *power[LENSING_KINDS]; /* [pairs * bins] */
    double _Complex *mean;        /* [fields without truth][mean modes] */
} realisation;

static void drop_realisation(realisation *r)
{
    for (int k = 0; k < LENSING_KINDS; k++)
        sq_free(r->power[k]);
    sq_free(r->mean);
}

static void fields_of(const lensing_probe *p, int set, int quadratic,
                      const double _Complex *field[LENSING_FIELDS])
{
    for (int f = 0; f < p->pairs.fields; f++)
        field[f] = quadratic && !lensing_is_quadratic(p->pairs.field[f])
                       ? NULL
                       : lensing_patch_simulated(p->patch, set, f);
}

static void add_mean(const lensing_probe *p, int set, realisation *r)
{
    int columns = p->side / 2 + 1;
    for (int f = 0; f < p->pairs.fields - 1; f++) {
        const double _Complex *field = lensing_patch_simulated(p->patch, set, f);
        for (int64_t k = 0; k < p->mean_modes; k++)
            r->mean[f * p->mean_modes + k] += 0.5 * field[(int64_t)p->v[k] * columns + p->u[k]];
    }
}

static sq_status powers_of(const lensing_probe *p, int set, int quadratic, double *out)
{
    const double _Complex *field[LENSING_FIELDS];
    fields_of(p, set, quadratic, field);
    return lensing_patch_powers(p->patch, field, field, out);
}

/* The bias that the CMB has of its own: splits share it. */
static sq_status simulate_quiet(lensing_probe *p, uint32_t number, double *power)
{
    sq_status rc = SQ_OK;
    for (int set = 0; set < 2; set++) {
        SQ_TRY(lensing_patch_draw(p->patch, number, set));
        lensing_patch_quieten(p->patch);
        SQ_TRY(lensing_patch_simulate(p->patch, 1, set));
    }
    SQ_TRY(lensing_patch_cross(p->patch, 0, 1));
    SQ_TRY(powers_of(p, 0, 1, power));
    for (int k = 0; k < p->pairs.pairs * p->pairs.bins; k++)
        power[k] *= 2;
cleanup:
    return rc;
}

static sq_status simulate(lensing_probe *p, uint32_t number, realisation *r)
{
    sq_status rc = SQ_OK;
    int powers = p->pairs.pairs * p->pairs.bins;
    double *more = NULL;
    for (int set = 0; set < 2; set++) {
        SQ_TRY(lensing_patch_draw(p->patch, number, set));
        SQ_TRY(lensing_patch_simulate(p->patch, 1, set));
        SQ_TRY(powers_of(p, set, 0, r->power[set ? SECOND : FIRST]));
        add_mean(p, set, r);
    }
    SQ_TRY(SQ_ALLOC(more, powers, "powers"));
    SQ_TRY(lensing_patch_cross(p->patch, 0, 1));
    SQ_TRY(powers_of(p, 0, 1, r->power[NOISE_SIMS]));
    SQ_TRY(lensing_patch_cross(p->patch, -1, 0));
    SQ_TRY(powers_of(p, 0, 1, r->power[NOISE_DATA]));
    SQ_TRY(lensing_patch_cross(p->patch, -1, 1));
    SQ_TRY(powers_of(p, 0, 1, more));
    for (int k = 0; k < powers; k++) {
        r->power[NOISE_SIMS][k] *= 2;
        r->power[NOISE_DATA][k] = 2 * (r->power[NOISE_DATA][k] + more[k]);
        r->power[LOW][k] = r->power[HIGH][k] = r->power[NOISE_CMB][k] = NAN;
    }
    if (p->settings.amplitude) {
        SQ_TRY(lensing_patch_draw(p->patch, number, 0));
        SQ_TRY(lensing_patch_simulate(p->patch, 0.8, 0));
        SQ_TRY(powers_of(p, 0, 0, r->power[LOW]));
        SQ_TRY(lensing_patch_simulate(p->patch, 1.2, 0));
        SQ_TRY(powers_of(p, 0, 0, r->power[HIGH]));
    }
    if (p->settings.maps.count >= 4)
        SQ_TRY(simulate_quiet(p, number, r->power[NOISE_CMB]));
cleanup:
    sq_free(more);
    return rc;
}

static double area_of(const lensing_probe *p)
{
    return lensing_patch_norm(p->patch) * sq_flat_area(lensing_patch_flat(p->patch)) *
           pow(180 / M_PI, 2);
}

static sq_status write_realisation(const lensing_probe *p, const realisation *r,
                                   sq_product *product)
{
    sq_status rc = SQ_OK;
    const lensing_pairs *pairs = &p->pairs;
    int64_t powers = (int64_t)pairs->pairs * pairs->bins;
    int64_t modes = (pairs->fields - 1) * p->mean_modes;
    simulation_row *row = NULL;
    mode_row *mode = NULL;
    SQ_TRY(SQ_ALLOC(row, powers, "rows"));
    for (int64_t k = 0; k < powers; k++)
        row[k] = (simulation_row){.method_a = pairs->field[pairs->a[k / pairs->bins]],
                                  .method_b = pairs->field[pairs->b[k / pairs->bins]],
                                  .l_min = pairs->edges[k % pairs->bins],
                                  .l_max = pairs->edges[k % pairs->bins + 1],
                                  .area = area_of(p),
                                  .first = r->power[FIRST][k],
                                  .second = r->power[SECOND][k],
                                  .noise_data = r->power[NOISE_DATA][k],
                                  .noise_sims = r->power[NOISE_SIMS][k],
                                  .low = r->power[LOW][k],
                                  .high = r->power[HIGH][k],
                                  .noise_cmb = r->power[NOISE_CMB][k]};
    SQ_TRY(lensing_rows_write(TABLE_SIMULATIONS, powers, row, product));
    SQ_TRY(SQ_ALLOC(mode, modes, "rows"));
    for (int64_t k = 0; k < modes; k++)
        mode[k] = (mode_row){pairs->field[k / p->mean_modes], p->v[k % p->mean_modes],
                             p->u[k % p->mean_modes], creal(r->mean[k]), cimag(r->mean[k])};
    SQ_TRY(lensing_rows_write(TABLE_MEAN_FIELD, modes, mode, product));
cleanup:
    sq_free(row);
    sq_free(mode);
    return rc;
}

static sq_status run_simulation(lensing_probe *p, const sq_task *task, sq_product *product)
{
    sq_status rc = SQ_OK;
    realisation r = {.mean = NULL};
    for (int k = 0; k < LENSING_KINDS; k++)
        SQ_TRY(SQ_ALLOC(r.power[k], p->pairs.pairs * p->pairs.bins, "powers"));
    SQ_TRY(SQ_ALLOC(r.mean, (p->pairs.fields - 1) * p->mean_modes, "mean field"));
    SQ_TRY(simulate(p, task->realisation, &r));
    SQ_TRY(write_realisation(p, &r, product));
cleanup:
    drop_realisation(&r);
    return rc;
}

/* ---- data and survey ---- */

static sq_status run_data(lensing_probe *p, const sq_task *task, const sq_place *place,
                          const lensing_input *in, sq_product *product)
{
    sq_status rc = SQ_OK;
    sq_wcs *grid = NULL;
    lensing_reconstruction r = {&p->pairs,     p->settings.map_pixel > 0 ? &p->release : NULL,
                                p->statistics, p->mean_modes,
                                p->v,          p->u};
    SQ_TRY(sq_tiling_grid(place->tiling, &place->patch, &grid));
    SQ_TRY(lensing_reconstruct(&r, p->patch, in, &place->patch, task->patch, grid, product));
cleanup:
    sq_wcs_destroy(grid);
    return rc;
}

static sq_status run_survey(lensing_probe *p, const sq_place *place, sq_product *product)
{
    sq_status rc = SQ_OK;
    if (place->patch.index == 0)
        SQ_TRY(lensing_survey_rows(&p->pairs, p->survey, p->statistics, p->settings.amplitude,
                                   product));
    if (p->settings.map_pixel > 0)
        SQ_TRY(lensing_survey_cell(&p->pairs, &p->release, p->survey, &place->patch, product));
cleanup:
    return rc;
}

static sq_status process(void *self, const sq_task *task, const sq_place *place, void *input,
                         sq_product *product)
{
    lensing_probe *p = self;
    sq_status rc = SQ_OK;
    int usable;
    double began = sq_now();
    if (task->phase == PHASE_SURVEY)
        return run_survey(p, place, product);
    if (!input)
        return SQ_OK;
    SQ_TRY(lensing_patch_load(p->patch, task->patch, input, &usable));
    if (!usable && task->phase == PHASE_DATA)
        SQ_TRY(lensing_reconstruct_empty(input, &place->patch, product));
    else if (usable && task->phase == PHASE_DATA)
        SQ_TRY(run_data(p, task, place, input, product));
    else if (usable)
        SQ_TRY(run_simulation(p, task, product));
    sq_product_clock(product, SQ_CLOCK_FFT, sq_now() - began);
cleanup:
    return rc;
}

static sq_status finish_phase(void *self, int phase, sq_phase_products *products, const char *path)
{
    const lensing_probe *p = self;
    if (phase == PHASE_SIMULATIONS)
        return lensing_statistics_write(&p->pairs, p->mean_modes, products, path);
    return lensing_survey_write(&p->pairs, p->settings.map_pixel > 0 ? &p->release : NULL, products,
                                path);
}

const sq_probe_class sq_lensing_probe = {
    .name = "lensing",
    .summary = "kappa maps and lensing power of CMB T, Q, U maps by every method side by side",
    .fields = lensing_settings_fields,
    .config_size = sizeof(lensing_settings),
    .defaults = lensing_settings_defaults,
    .create = create,
    .describe = describe,
    .start = start,
    .load_phase = load_phase,
    .read = read_input,
    .process = process,
    .release = release,
    .finish_phase = finish_phase,
    .destroy = destroy,
};
