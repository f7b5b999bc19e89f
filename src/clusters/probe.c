/* The clusters probe: maps of a patch, matched filter, network, rows. */
#include "clusters/probe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "clusters/combine.h"
#include "clusters/mass.h"
#include "clusters/mosaic.h"
#include "clusters/network.h"
#include "clusters/patch.h"
#include "clusters/population.h"
#include "clusters/release_maps.h"
#include "clusters/rows.h"
#include "clusters/union.h"
#include "sky/patch.h"

static const double ARCMIN = M_PI / 180 / 60;
/* Candidates up to here outside a core, in pixels, for the reconciliation of seams. */
#define BORDER 6.0
static const double SAMPLE = 0.75; /* arcmin around a candidate where the network is asked */
enum { CORE = 768, HALO = 128, AREA_STEP = 8, AREA_ROWS = 8, COMPLETENESS_CORE_DEG = 60 };
static const double GRID_MASS[] = {5e13, 7e13,   1e14, 1.4e14, 1.7e14, 2e14, 2.5e14,
                                   3e14, 3.5e14, 4e14, 5e14,   7e14,   1e15};
static const double GRID_Z[] = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0};

typedef struct clusters_probe {
    const cluster_settings *settings;
    double theta[CLUSTER_SCALES_MAX]; /* rad */
    int nscale, core, halo, side;
    cluster_mosaic *mosaic;
    cluster_masses *masses;
    cluster_population *population;
    cluster_tables tables;
    cluster_maps maps;
    /* With a network: */
    sq_probe_model file;
    sq_model *model;
    sq_cluster_net net;
    sq_cluster_combination combination;
    sq_precision precision;
    /* On ranks that compute: */
    cluster_patch *patch;
    sq_cluster_network *network;
    uint8_t *wanted; /* of cutouts: pixels whose scores are asked for */
    /* Of phase 0, for phase 1: */
    double *area;
    float *noise; /* [areas][nscale] */
    size_t areas, capacity_area, capacity_noise;
} clusters_probe;

/* ---- an instance ---- */

static void destroy(void *self)
{
    clusters_probe *p = self;
    if (!p)
        return;
    sq_cluster_network_destroy(p->network);
    sq_free(p->wanted);
    cluster_patch_destroy(p->patch);
    sq_model_destroy(p->model);
    cluster_population_destroy(p->population);
    cluster_masses_destroy(p->masses);
    cluster_mosaic_close(p->mosaic);
    sq_free(p->area);
    sq_free(p->noise);
    sq_free(p);
}

static sq_cluster_bands bands_of(const clusters_probe *p)
{
    double step = p->settings->pixel * ARCMIN;
    sq_cluster_bands bands = {.flat = {p->side, p->side, step, step},
                              .nband = (int)p->settings->ghz.count,
                              .lmax = cluster_mosaic_lmax(p->mosaic)};
    for (int b = 0; b < bands.nband; b++) {
        bands.ghz[b] = p->settings->ghz.value[b];
        bands.transfer[b] = cluster_mosaic_transfer(p->mosaic, b);
    }
    return bands;
}

static sq_status load_network(clusters_probe *p, const sq_probe_setup *setup)
{
    const void *data;
    size_t size;
    sq_status rc = SQ_OK;
    int n = snprintf(p->file.path, sizeof p->file.path, "%s", setup->model);
    if (n < 0 || (size_t)n >= sizeof p->file.path)
        return sq_fail(SQ_ERR_CONFIG, "clusters: model: the path is too long");
    SQ_TRY(sq_files_read(setup->files, p->file.path, &data, &size));
    SQ_TRY(sq_model_parse(data, size, p->file.path, NULL, &p->model));
    SQ_TRY(sq_cluster_net_read(p->model, p->file.path, &p->net));
    SQ_TRY(sq_cluster_combination_read(p->model, p->file.path, &p->combination));
    p->file.hash = sq_model_hash(p->model);
cleanup:
    return rc;
}

static sq_status create(const void *config, const sq_probe_setup *setup, void **self)
{
    sq_status rc = SQ_OK;
    clusters_probe *p = NULL;
    SQ_TRY(cluster_settings_check(config));
    SQ_TRY(SQ_ALLOC(p, 1, "clusters probe"));
    p->settings = config;
    p->precision = setup->precision;
    p->core = setup->core >= 0 ? setup->core : CORE;
    p->halo = setup->halo >= 0 ? setup->halo : HALO;
    p->side = p->core + 2 * p->halo;
    if (p->core < 16 || p->core % 2 || p->side % 16)
        SQ_TRY(sq_fail(SQ_ERR_CONFIG,
                       "patch: core %d and halo %d: the core must be even and core + 2 halo a "
                       "multiple of 16",
                       p->core, p->halo));
    if (p->settings->edge > p->halo * p->settings->pixel)
        SQ_TRY(sq_fail(SQ_ERR_CONFIG,
                       "clusters: edge: %g arcmin are more than the halo of %d pixels: patches "
                       "would not meet",
                       p->settings->edge, p->halo));
    p->nscale = cluster_settings_scales(p->settings, p->theta);
    for (int s = 0; s < p->nscale; s++)
        p->theta[s] *= ARCMIN;
    SQ_TRY(cluster_mosaic_open(p->settings, setup, &p->mosaic));
    SQ_TRY(cluster_masses_create(p->settings, &p->masses));
    SQ_TRY(cluster_population_create(p->masses, p->nscale, p->theta, &p->population));
    cluster_tables_make(p->nscale, p->theta, BORDER, &p->tables);
    if (p->settings->map_pixel > 0)
        cluster_maps_make(p->mosaic, p->settings->map_pixel, &p->maps);
    if (setup->model && *setup->model)
        SQ_TRY(load_network(p, setup));
    *self = p;
    p = NULL;
cleanup:
    destroy(p);
    return rc;
}

static sq_status describe(void *self, sq_probe_description *out)
{
    const clusters_probe *p = self;
    uint64_t pixels = (uint64_t)p->side * (uint64_t)p->side;
    int wide = (int)(COMPLETENESS_CORE_DEG * 60 / p->settings->pixel) & ~1;
    *out = (sq_probe_description){.footprint = SQ_FOOTPRINT_SPHERE,
                                  .scale = p->settings->pixel,
                                  .nphase = 2,
                                  .phase = {{"candidates", {p->core, p->halo, 1}, 1, 1},
                                            {"completeness", {wide, 0, 1}, 1, 0}},
                                  .inputs = cluster_mosaic_identity(p->mosaic),
                                  .nmodel = p->model ? 1 : 0,
                                  .model = {p->file},
                                  .ntable = CLUSTER_TABLES,
                                  .nmap = p->settings->map_pixel > 0 ? CLUSTER_MAPS : 0};
    for (int t = 0; t < CLUSTER_TABLES; t++)
        out->table[t] = &p->tables.schema[t];
    for (int k = 0; k < out->nmap; k++)
        out->map[k] = &p->maps.schema[k];
    /* Maps, modes and noise power of the filters; some 100 channels of a network. */
    out->memory =
        pixels * 4 *
            (uint64_t)(p->nscale + 30 * (int)p->settings->ghz.count + (p->model ? 100 : 0)) +
        ((uint64_t)64 << 20);
    return SQ_OK;
}

static sq_status start(void *self)
{
    clusters_probe *p = self;
    sq_status rc = SQ_OK;
    sq_cluster_bands bands = bands_of(p);
    cluster_setup setup = {
        .settings = p->settings, .nband = bands.nband, .side = p->side, .lmax = bands.lmax};
    memcpy(setup.transfer, bands.transfer, sizeof setup.transfer);
    SQ_TRY(cluster_patch_create(&setup, &p->patch));
    if (!p->model)
        return SQ_OK;
    int whole = !p->net.cutouts && !p->settings->tile;
    sq_cluster_network_setup network = {.model = p->model,
                                        .net = p->net,
                                        .bands = bands,
                                        .precision = p->precision,
                                        .passes = whole ? 1 : (int)p->settings->passes,
                                        .tile = (int)p->settings->tile};
    SQ_TRY(sq_cluster_network_create(&network, &p->network));
    if (p->net.cutouts)
        SQ_TRY(SQ_ALLOC(p->wanted, (int64_t)p->side * p->side, "pixels"));
cleanup:
    return rc;
}

/* ---- phase 0 ---- */

static sq_status read_input(void *self, const sq_task *task, const sq_place *place, void **input,
                            sq_hash *input_hash)
{
    clusters_probe *p = self;
    cluster_input *in = NULL;
    sq_wcs *grid = NULL;
    sq_status rc = SQ_OK;
    *input = NULL;
    *input_hash = sq_hash_bytes("no data", 7);
    if (task->phase != 0)
        return SQ_OK;
    SQ_TRY(sq_tiling_grid(place->tiling, &place->patch, &grid));
    SQ_TRY(cluster_mosaic_read(p->mosaic, &place->patch, grid, &in));
    if (in)
        *input_hash = cluster_input_hash(in);
    *input = in;
cleanup:
    sq_wcs_destroy(grid);
    return rc;
}

static void release(void *self, void *input)
{
    (void)self;
    cluster_input_destroy(input);
}

static void ask_network(clusters_probe *p, const sq_candidate *c, cluster_row *row)
{
    double feature[SQ_CLUSTER_FEATURES], target = NAN, halo = NAN;
    float head[SQ_CLUSTER_HEADS];
    for (int f = 0; f < SQ_CLUSTER_FEATURES; f++)
        feature[f] = NAN;
    row->cnn_halo = row->cnn_cluster = row->cnn_target = row->cnn_ln_mass = NAN;
    row->cnn_ln_mass_err = row->cnn_far = row->cnn_cutout = row->cnn_beam = NAN;
    row->probability = row->probability_halo = NAN;
    if (!p->network)
        return;
    double pixel = p->settings->pixel;
    sq_cluster_network_sample(p->network, c->x, c->y, p->net.cutouts ? 0.75 : SAMPLE / pixel, head);
    if (p->net.cutouts) {
        row->cnn_cutout = head[0];
        feature[SQ_FEATURE_CUTOUT] = head[0];
    } else {
        row->cnn_halo = head[SQ_HEAD_HALO];
        row->cnn_cluster = head[SQ_HEAD_CLUSTER];
        row->cnn_target = head[SQ_HEAD_TARGET];
        row->cnn_ln_mass = head[SQ_HEAD_LN_MASS];
        row->cnn_ln_mass_err = expf(head[SQ_HEAD_LN_SIGMA]);
        row->cnn_far = head[SQ_HEAD_FAR];
        sq_cluster_evidence(head, feature);
    }
    feature[SQ_FEATURE_SNR] = row->snr;
    feature[SQ_FEATURE_CLEAN] = row->snr_deprojected;
    feature[SQ_FEATURE_THETA] = log(row->theta500);
    feature[SQ_FEATURE_BEAM] = row->cnn_beam = (float)sq_cluster_network_fwhm(p->network);
    sq_cluster_combine(&p->combination, feature, &target, &halo);
    row->probability = (float)target;
    row->probability_halo = (float)halo;
    if (!sq_cluster_network_in_domain(p->network, c->column, c->row))
        row->flags |= CLUSTER_OUT_OF_DOMAIN;
}

/* Neighbours and shapes displace a peak by this share of theta500. */
static const double PLACE_FLOOR = 0.04;

static void fit_profile(const clusters_probe *p, const sq_candidate *c, cluster_row *row)
{
    double q[CLUSTER_SCALES_MAX], sigma[CLUSTER_SCALES_MAX],
        rise = c->snr / row->by_scale[c->scale];
    cluster_fit fit;
    for (int s = 0; s < p->nscale; s++) {
        q[s] = rise * row->by_scale[s];
        sigma[s] = cluster_patch_sigma(p->patch, s) * row->noise;
    }
    cluster_population_fit(p->population, q, sigma, &fit);
    row->y0 = (float)fit.y0;
    row->y0_err = (float)fit.y0_error;
    row->theta500 = (float)(exp(fit.ln_theta) / ARCMIN);
    row->ln_theta500_err = (float)fit.ln_theta_err;
    row->y0_peak = (float)c->y0;
    row->y0_peak_err = (float)c->y0_error;
    row->theta500_peak = (float)(p->theta[c->scale] / ARCMIN);
}

static sq_status fill_row(clusters_probe *p, const sq_place *place, const sq_wcs *grid,
                          const sq_candidate *c, cluster_row *row, int *belongs)
{
    double jac[4], ln_mass, ln_error, arcsec = p->settings->pixel * 60;
    sq_status rc = sq_wcs_pix2sky(grid, 1, &c->x, &c->y, &row->ra, &row->dec);
    if (rc == SQ_OK)
        rc = sq_wcs_jacobian(grid, c->x, c->y, jac);
    if (rc != SQ_OK)
        return rc;
    row->depth = (float)sq_tiling_depth(place->tiling, &place->patch, row->ra, row->dec);
    *belongs = row->depth > -BORDER;
    if (!*belongs)
        return SQ_OK;
    /* The grid's pixels are square on the sky: rotation is all that is left. */
    double along = 1 / hypot(jac[0], jac[1]), up = 1 / hypot(jac[2], jac[3]);
    row->snr = (float)c->snr;
    row->snr_fixed = (float)c->snr_fixed;
    row->y0_fixed = (float)c->y0_fixed;
    row->y0_fixed_err = (float)c->y0_fixed_error;
    row->noise = cluster_patch_relative(p->patch)[(int64_t)c->row * p->side + c->column];
    cluster_patch_snr(p->patch, c, row->by_scale, &row->snr_deprojected);
    fit_profile(p, c, row);
    double floor_err = 60 * PLACE_FLOOR * row->theta500; /* arcsec */
    row->ra_err =
        (float)hypot(arcsec * hypot(jac[0] * c->error_x, jac[1] * c->error_y) * along, floor_err);
    row->dec_err =
        (float)hypot(arcsec * hypot(jac[2] * c->error_x, jac[3] * c->error_y) * up, floor_err);
    cluster_mass(p->masses, p->patch, c->y0_fixed, c->y0_fixed_error, &ln_mass, &ln_error);
    row->m500 = (float)exp(ln_mass);
    row->ln_m500_err = (float)ln_error;
    row->flags = cluster_patch_flags(p->patch, c);
    ask_network(p, c, row);
    return SQ_OK;
}

static sq_status write_candidates(clusters_probe *p, const sq_place *place, const sq_wcs *grid,
                                  sq_product *product)
{
    sq_status rc = SQ_OK;
    cluster_row *row = NULL;
    sq_candidate *both = NULL;
    int64_t count, n = 0;
    const sq_candidate *c = cluster_patch_candidates(p->patch, &count);
    if (p->network && !p->net.cutouts) {
        SQ_TRY(cluster_union(p->patch, p->network, p->settings->pixel, &both, &count));
        c = both;
    }
    SQ_TRY(SQ_ALLOC(row, count, "candidates"));
    for (int64_t k = 0; k < count; k++) {
        int belongs;
        SQ_TRY(fill_row(p, place, grid, &c[k], &row[n], &belongs));
        n += belongs;
    }
    SQ_TRY(cluster_tables_write(&p->tables, TABLE_CLUSTERS, n, row, product));
cleanup:
    sq_free(both);
    sq_free(row);
    return rc;
}

static int ascending(const void *a, const void *b)
{
    const float *p = a, *q = b;
    return (*p > *q) - (*p < *q);
}

/* The relative noise at every eighth pixel that the patch owns and that was searched. */
static sq_status sample_noise(const clusters_probe *p, const sq_place *place, const sq_wcs *grid,
                              float *out, int64_t *count)
{
    const float *relative = cluster_patch_relative(p->patch);
    *count = 0;
    for (int y = AREA_STEP / 2; y < p->side; y += AREA_STEP) {
        for (int x = AREA_STEP / 2; x < p->side; x += AREA_STEP) {
            double u = x, v = y, ra, dec;
            float value = relative[(int64_t)y * p->side + x];
            if (!(value > 0))
                continue;
            sq_status rc = sq_wcs_pix2sky(grid, 1, &u, &v, &ra, &dec);
            if (rc != SQ_OK)
                return rc;
            if (sq_tiling_depth(place->tiling, &place->patch, ra, dec) >= 0)
                out[(*count)++] = value;
        }
    }
    qsort(out, (size_t)*count, sizeof *out, ascending);
    return SQ_OK;
}

static sq_status write_area(clusters_probe *p, const sq_place *place, const sq_wcs *grid, int flags,
                            sq_product *product)
{
    sq_status rc = SQ_OK;
    float *sample = NULL;
    int64_t count = 0;
    cluster_area_row row[AREA_ROWS] = {{0}};
    double cell = pow(p->settings->pixel / 60 * AREA_STEP, 2);
    int rows = flags & AREA_EMPTY ? 1 : AREA_ROWS;
    SQ_TRY(SQ_ALLOC(sample, (p->side / AREA_STEP + 1) * (p->side / AREA_STEP + 1), "noise"));
    if (!(flags & AREA_EMPTY))
        SQ_TRY(sample_noise(p, place, grid, sample, &count));
    for (int k = 0; k < rows; k++) {
        int64_t first = count * k / rows, end = count * (k + 1) / rows;
        double sum = 0;
        for (int64_t i = first; i < end; i++)
            sum += sample[i];
        row[k] =
            (cluster_area_row){.ra = place->patch.ra,
                               .dec = place->patch.dec,
                               .area = (double)(end - first) * cell,
                               .relative = end > first ? (float)(sum / (double)(end - first)) : NAN,
                               .sources = flags & AREA_EMPTY ? 0 : cluster_patch_sources(p->patch),
                               .flags = flags};
        for (int s = 0; s < p->nscale; s++)
            row[k].by_scale[s] = flags & AREA_EMPTY
                                     ? NAN
                                     : (float)(row[k].relative * cluster_patch_sigma(p->patch, s));
    }
    SQ_TRY(cluster_tables_write(&p->tables, TABLE_AREA, rows, row, product));
cleanup:
    sq_free(sample);
    return rc;
}

/* The pixels at which ask_network looks for the score of a cutout. */
static void mark_candidates(clusters_probe *p)
{
    int64_t count;
    const sq_candidate *c = cluster_patch_candidates(p->patch, &count);
    memset(p->wanted, 0, (size_t)p->side * (size_t)p->side);
    for (int64_t k = 0; k < 9 * count; k++) {
        int x = c[k / 9].column + (int)(k % 3) - 1, y = c[k / 9].row + (int)(k / 3 % 3) - 1;
        if (x >= 0 && y >= 0 && x < p->side && y < p->side)
            p->wanted[(int64_t)y * p->side + x] = 1;
    }
}

static sq_status run_network(clusters_probe *p, const cluster_input *in, sq_product *product)
{
    double began = sq_now();
    if (p->wanted)
        mark_candidates(p);
    sq_status rc = sq_cluster_network_run(p->network, cluster_patch_maps(p->patch),
                                          (const float *const *)in->noise, p->wanted);
    sq_product_clock(product, SQ_CLOCK_INFER, sq_now() - began);
    return rc;
}

static int nearest_reference(const clusters_probe *p)
{
    int best = 0;
    double wanted = p->settings->reference * ARCMIN;
    for (int s = 1; s < p->nscale; s++) {
        if (fabs(log(p->theta[s] / wanted)) < fabs(log(p->theta[best] / wanted)))
            best = s;
    }
    return best;
}

static sq_status search(clusters_probe *p, const sq_place *place, const cluster_input *in,
                        sq_product *product)
{
    sq_status rc = SQ_OK;
    sq_wcs *grid = NULL;
    int64_t pixels = (int64_t)p->side * p->side;
    /* Less than a hundredth: nothing to measure the noise on. */
    int flags = (in->held < pixels / 100 ? AREA_EMPTY : 0) |
                (in->partial > pixels / 100 ? AREA_PARTIAL : 0);
    SQ_TRY(sq_tiling_grid(place->tiling, &place->patch, &grid));
    if (!(flags & AREA_EMPTY)) {
        double began = sq_now();
        SQ_TRY(cluster_patch_run(p->patch, in));
        sq_product_clock(product, SQ_CLOCK_FFT, sq_now() - began);
        if (p->network)
            SQ_TRY(run_network(p, in, product));
        began = sq_now();
        SQ_TRY(write_candidates(p, place, grid, product));
        if (p->settings->map_pixel > 0)
            SQ_TRY(cluster_maps_write(&p->maps, p->patch,
                                      cluster_patch_sigma(p->patch, nearest_reference(p)),
                                      &place->patch, grid, product));
        sq_product_clock(product, SQ_CLOCK_DECODE, sq_now() - began);
    }
    SQ_TRY(write_area(p, place, grid, flags, product));
cleanup:
    sq_wcs_destroy(grid);
    return rc;
}

/* ---- from phase 0 to phase 1 ---- */

static sq_status finish_phase(void *self, int phase, sq_phase_products *products, const char *path)
{
    const clusters_probe *p = self;
    sq_status rc = SQ_OK;
    sq_product_view view;
    int more = 1, first = 0;
    FILE *file = fopen(path, "w");
    (void)phase;
    if (!file)
        return sq_fail(SQ_ERR_IO, "%s: cannot be written", path);
    const sq_schema *schema = &p->tables.schema[TABLE_AREA];
    int area = sq_schema_find(schema, "area");
    first = sq_schema_find(schema, "y0_noise_00");
    for (;;) {
        SQ_TRY(sq_phase_products_next(products, &view, &more));
        if (!more)
            break;
        for (int64_t i = 0; i < view.rows[TABLE_AREA]; i++) {
            const void *const *column = view.value[TABLE_AREA];
            double size = ((const double *)column[area])[i];
            if (!(size > 0))
                continue;
            fprintf(file, "%a", size);
            for (int s = 0; s < p->nscale; s++)
                fprintf(file, " %a", ((const float *)column[first + s])[i]);
            fputc('\n', file);
        }
    }
cleanup:
    if (fclose(file) != 0 && rc == SQ_OK)
        rc = sq_fail(SQ_ERR_IO, "%s: cannot be written", path);
    return rc;
}

static sq_status load_phase(void *self, int phase, const char *path)
{
    clusters_probe *p = self;
    sq_status rc = SQ_OK;
    FILE *file = fopen(path, "r");
    double area;
    (void)phase;
    if (!file)
        return sq_fail(SQ_ERR_IO, "%s: cannot be read", path);
    p->areas = 0;
    while (fscanf(file, "%la", &area) == 1) {
        SQ_TRY(SQ_GROW(p->area, p->capacity_area, p->areas + 1, "areas"));
        SQ_TRY(SQ_GROW(p->noise, p->capacity_noise, (p->areas + 1) * (size_t)p->nscale, "areas"));
        for (int s = 0; s < p->nscale; s++) {
            if (fscanf(file, "%a", &p->noise[p->areas * (size_t)p->nscale + (size_t)s]) != 1)
                SQ_TRY(sq_fail(SQ_ERR_CORRUPT, "%s: row %zu is cut off", path, p->areas + 1));
        }
        p->area[p->areas++] = area;
    }
    if (!feof(file))
        rc = sq_fail(SQ_ERR_CORRUPT, "%s: row %zu is not understood", path, p->areas + 1);
cleanup:
    fclose(file);
    return rc;
}

static sq_status tabulate_completeness(clusters_probe *p, sq_product *product)
{
    enum { MASSES = sizeof GRID_MASS / sizeof *GRID_MASS, ZS = sizeof GRID_Z / sizeof *GRID_Z };
    cluster_completeness_row row[MASSES * ZS];
    for (int k = 0; k < MASSES * ZS; k++) {
        double mass = GRID_MASS[k / ZS], z = GRID_Z[k % ZS], sum = 0, area = 0;
        for (size_t i = 0; i < p->areas; i++) {
            sum += p->area[i] * cluster_completeness(p->masses, mass, z, p->nscale, p->theta,
                                                     p->noise + i * (size_t)p->nscale,
                                                     p->settings->min_snr);
            area += p->area[i];
        }
        row[k] = (cluster_completeness_row){mass, z, area > 0 ? sum / area : NAN, area};
    }
    return cluster_tables_write(&p->tables, TABLE_COMPLETENESS, MASSES * ZS, row, product);
}

static sq_status process(void *self, const sq_task *task, const sq_place *place, void *input,
                         sq_product *product)
{
    clusters_probe *p = self;
    if (task->phase == 1)
        return place->patch.index == 0 ? tabulate_completeness(p, product) : SQ_OK;
    return input ? search(p, place, input, product) : SQ_OK;
}

const sq_probe_class sq_clusters_probe = {
    .name = "clusters",
    .summary = "Sunyaev-Zel'dovich clusters in mm maps: matched filter, network and both combined",
    .fields = cluster_settings_fields,
    .config_size = sizeof(cluster_settings),
    .defaults = cluster_settings_defaults,
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
