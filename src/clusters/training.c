#include "clusters/training.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "clusters/inputs.h"
#include "store/tensor.h"

enum { HALO_FIELDS = 7, LABELS = 3, KNOBS = 8, LMAX = 20000, DOMAIN_VARY = 0x636c01, DOMAIN_CELL };
static const double ARCMIN = M_PI / 180 / 60;
static const double TARGET_MASS = 2e14, TARGET_Z = 0.25;

/* A configuration whose lists are its own. */
typedef struct conditions {
    sq_sim_mm_config config;
    double noise[SQ_MM_BANDS], fwhm[SQ_MM_BANDS], knee[SQ_MM_BANDS];
    double knee_factor;
} conditions;

typedef struct writer {
    const sq_sim_mm_config *config;
    const sq_cluster_training *options;
    sq_h5 *file;
    int nband;
    int64_t pixels;
    double *transfer[SQ_MM_BANDS];
    float *noise[SQ_MM_BANDS];
    float *halo, *cutout, *label;
    int32_t *heaviest; /* [cells]: 1 + its place in the list of halos; 0: none */
} writer;

void sq_cluster_training_defaults(sq_cluster_training *o)
{
    *o = (sq_cluster_training){.fields = 8, .halos = 8192, .cutouts = 1024, .mass_min = 5e13};
}

static double factor(sq_rng *rng, double low, double high)
{
    return exp(sq_rng_range(rng, log(low), log(high)));
}

/* The conditions of one field. Every number is drawn whether it is used or not, so that fields do
 * not depend on the configuration more than they must. */
static void draw_conditions(const writer *w, int64_t field, conditions *out)
{
    sq_sim_mm_config *c = &out->config;
    static const double knee[] = {1200, 2200, 2300};
    sq_rng rng;
    *c = *w->config;
    c->fields = field + 1;
    out->knee_factor = 0;
    for (int b = 0; b < w->nband; b++) {
        out->noise[b] = c->noise.value[b];
        out->fwhm[b] = c->fwhm.value[b];
        out->knee[b] = c->knee.value[b];
    }
    c->noise.value = out->noise;
    c->fwhm.value = out->fwhm;
    c->knee.value = out->knee;
    sq_rng_init(&rng, (uint64_t)c->seed, DOMAIN_VARY, (uint64_t)field);
    if (w->options->fixed || sq_rng_uniform(&rng) < 1 / 3.0)
        return;
    double common = factor(&rng, 0.6, 1.8), wide = factor(&rng, 0.8, 1.3);
    double red = factor(&rng, 0.3, 1.2);
    out->knee_factor = sq_rng_uniform(&rng) < 0.5 ? red : 0;
    c->beams = sq_rng_uniform(&rng) > 1 / 3.0;
    for (int b = 0; b < w->nband; b++) {
        out->noise[b] *= common * factor(&rng, 0.8, 1.2);
        out->fwhm[b] *= wide;
        out->knee[b] = out->knee_factor * knee[b < 3 ? b : 2];
    }
    c->depth = sq_rng_range(&rng, 0, 0.2);
    c->scatter = sq_rng_range(&rng, 0.1, 0.35);
    c->ellipticity = sq_rng_range(&rng, 0, 0.2);
    c->substructure = sq_rng_range(&rng, 0, 0.4);
    c->radio_cluster = sq_rng_range(&rng, 0, 3);
    c->dust *= factor(&rng, 0.77, 1.3);
    c->radio *= factor(&rng, 0.77, 1.3);
    c->gas = sq_rng_uniform(&rng) < 0.2 ? SQ_GAS_BATTAGLIA : SQ_GAS_ARNAUD;
}

static sq_status append_conditions(writer *w, const conditions *k)
{
    const sq_sim_mm_config *c = &k->config;
    float row[2 * SQ_MM_BANDS + KNOBS];
    int n = 0;
    for (int b = 0; b < w->nband; b++)
        row[n++] = (float)(k->noise[b] * c->noise_factor);
    for (int b = 0; b < w->nband; b++)
        row[n++] = c->beams ? (float)k->fwhm[b] : 0;
    const double knobs[KNOBS] = {k->knee_factor,   c->scatter, c->ellipticity, c->substructure,
                                 c->radio_cluster, c->dust,    c->radio,       c->gas};
    for (int i = 0; i < KNOBS; i++)
        row[n++] = (float)knobs[i];
    return sq_h5_append(w->file, "condition", SQ_F32, 2, (const int64_t[]){1, n}, row);
}

static sq_status append_halos(writer *w, const sq_mm_field *f)
{
    sq_status rc = SQ_OK;
    int64_t room = w->options->halos;
    int32_t count = 0;
    memset(w->halo, 0, (size_t)(room * HALO_FIELDS) * sizeof *w->halo);
    for (int64_t i = 0; i < f->nhalo && count < room; i++) {
        const sq_mm_halo *h = &f->halo[i];
        if (h->mvir < w->options->mass_min)
            continue;
        const double row[HALO_FIELDS] = {h->x, h->y, h->z, h->mvir, h->m500, h->y0, h->theta500};
        for (int k = 0; k < HALO_FIELDS; k++)
            w->halo[(int64_t)count * HALO_FIELDS + k] = (float)row[k];
        count++;
    }
    SQ_TRY(sq_h5_append(w->file, "count", SQ_I32, 1, (const int64_t[]){1}, &count));
    SQ_TRY(
        sq_h5_append(w->file, "halo", SQ_F32, 3, (const int64_t[]){1, room, HALO_FIELDS}, w->halo));
cleanup:
    return rc;
}

/* The grid of cells on one field. */
typedef struct grid {
    double x, y, step; /* origin and side of a cell, pixels */
    int side;
} grid;

/* The cell of a point; -1 in the strip that is left over. */
static int cell_of(const grid *g, const sq_flat *f, double x, double y)
{
    double u = fmod(x - g->x + 2 * f->nx, f->nx), v = fmod(y - g->y + 2 * f->ny, f->ny);
    int column = (int)(u / g->step), row = (int)(v / g->step);
    return column < g->side && row < g->side ? row * g->side + column : -1;
}

static int is_target(const sq_mm_halo *h)
{
    return h->mvir >= TARGET_MASS && h->z >= TARGET_Z;
}

static void add_cutout(writer *w, const sq_mm_field *f, const grid *g, int cell, int positive,
                       int64_t at)
{
    int64_t size = (int64_t)w->nband * SQ_CLUSTER_CUTOUT * SQ_CLUSTER_CUTOUT;
    double rim = 0.5 * (sq_cluster_cutout_side - sq_cluster_cutout_core) * ARCMIN / f->flat.dx;
    sq_cluster_cutout(&f->flat, w->nband, (const float *const *)f->map,
                      g->x + g->step * (cell % g->side) - rim,
                      g->y + g->step * (cell / g->side) - rim, w->cutout + at * size);
    float *label = w->label + at * LABELS;
    const sq_mm_halo *h = w->heaviest[cell] ? &f->halo[w->heaviest[cell] - 1] : NULL;
    label[0] = (float)positive;
    label[1] = h ? (float)h->mvir : 0;
    label[2] = h ? (float)h->z : 0;
}

static sq_status append_cutouts(writer *w, const sq_mm_field *f, int64_t field)
{
    sq_status rc = SQ_OK;
    int64_t room = w->options->cutouts, held = 0;
    double step = sq_cluster_cutout_core * ARCMIN / f->flat.dx;
    grid g = {.step = step, .side = (int)(f->flat.nx / step)};
    uint8_t *state = NULL; /* 1: positive, 2: taken */
    sq_rng rng;
    SQ_TRY(SQ_ALLOC(state, g.side * g.side, "cells"));
    memset(w->heaviest, 0, (size_t)(g.side * g.side) * sizeof *w->heaviest);
    sq_rng_init(&rng, (uint64_t)w->config->seed, DOMAIN_CELL, (uint64_t)field);
    g.x = sq_rng_uniform(&rng) * f->flat.nx;
    g.y = sq_rng_uniform(&rng) * f->flat.ny;
    for (int64_t i = f->nhalo - 1; i >= 0; i--) {
        const sq_mm_halo *h = &f->halo[i];
        int cell = cell_of(&g, &f->flat, h->x, h->y);
        if (cell < 0 || h->mvir < w->options->mass_min)
            continue;
        w->heaviest[cell] = (int32_t)i + 1;
        state[cell] |= (uint8_t)is_target(h);
    }
    for (int c = 0; c < g.side * g.side && held < room; c++) {
        if (state[c] == 1)
            add_cutout(w, f, &g, c, 1, held++);
    }
    while (held < room) {
        int c = (int)(sq_rng_uniform(&rng) * g.side * g.side);
        if (state[c] == 0)
            add_cutout(w, f, &g, c, 0, held++);
    }
    const int64_t cutout[] = {1, room, w->nband, SQ_CLUSTER_CUTOUT, SQ_CLUSTER_CUTOUT};
    SQ_TRY(sq_h5_append(w->file, "cutout", SQ_F16, 5, cutout, w->cutout));
    SQ_TRY(sq_h5_append(w->file, "label", SQ_F32, 3, (const int64_t[]){1, room, LABELS}, w->label));
cleanup:
    sq_free(state);
    return rc;
}

/* Network inputs of a field. */
static sq_status append_inputs(writer *w, const sq_sim_mm *sim, const conditions *k,
                               const sq_mm_field *f)
{
    sq_status rc = SQ_OK;
    sq_cluster_inputs *in = NULL;
    sq_cluster_bands bands = {.flat = f->flat, .nband = w->nband, .lmax = LMAX};
    int64_t side = f->flat.nx, cells = side / SQ_CLUSTER_CELL;
    for (int b = 0; b < w->nband; b++) {
        bands.ghz[b] = k->config.ghz.value[b];
        sq_sim_mm_beam(sim, b, LMAX, w->transfer[b]);
        /* The mean over square pixels, to second order in l; without beams they keep it. */
        for (int l = 0; l <= LMAX && (k->config.window || !k->config.beams); l++)
            w->transfer[b][l] *= exp(-pow(l * f->flat.dx, 2) / 24);
        bands.transfer[b] = w->transfer[b];
        for (int64_t i = 0; i < w->pixels; i++)
            w->noise[b][i] =
                f->ivar[b][i] > 0 ? (float)(k->config.pixel / sqrt((double)f->ivar[b][i])) : 0;
    }
    SQ_TRY(sq_cluster_inputs_create(&bands, &in));
    SQ_TRY(
        sq_cluster_inputs_fill(in, (const float *const *)f->map, (const float *const *)w->noise));
    const int64_t image[] = {1, sq_cluster_inputs_channels(in), side, side};
    const int64_t planes[] = {1, sq_cluster_inputs_conditions(in), cells, cells};
    SQ_TRY(sq_h5_append(w->file, "image", SQ_F16, 4, image, sq_cluster_inputs_image(in)));
    SQ_TRY(sq_h5_append(w->file, "planes", SQ_F32, 4, planes, sq_cluster_inputs_planes(in)));
cleanup:
    sq_cluster_inputs_destroy(in);
    return rc;
}

static sq_status add_field(writer *w, int64_t field)
{
    sq_status rc = SQ_OK;
    conditions k;
    sq_sim_mm *sim = NULL;
    sq_mm_field f = {0};
    draw_conditions(w, field, &k);
    SQ_TRY(sq_sim_mm_create(&k.config, &sim));
    SQ_TRY(sq_sim_mm_field(sim, field, &f));
    SQ_TRY(append_inputs(w, sim, &k, &f));
    SQ_TRY(append_conditions(w, &k));
    SQ_TRY(append_halos(w, &f));
    SQ_TRY(append_cutouts(w, &f, field));
cleanup:
    sq_mm_field_clear(&f);
    sq_sim_mm_destroy(sim);
    return rc;
}

static sq_status create(writer *w)
{
    sq_status rc = SQ_OK;
    const sq_sim_mm_config *c = w->config;
    int side = (int)c->side;
    double pixel = c->pixel * ARCMIN;
    sq_flat flat = {side, side, pixel, pixel};
    int64_t size = (int64_t)w->nband * SQ_CLUSTER_CUTOUT * SQ_CLUSTER_CUTOUT;
    int64_t cells = (int64_t)(side * c->pixel / sq_cluster_cutout_core);
    w->pixels = sq_flat_pixels(&flat);
    if (w->options->fields < 1 || w->options->first < 0 || w->options->halos < 1 ||
        w->options->cutouts < 1 || cells * cells < 2 * w->options->cutouts)
        return sq_fail(SQ_ERR_USAGE,
                       "training set: %lld fields of %lld cells from number %lld on, %lld halos, "
                       "%lld cutouts (at most half of the cells)",
                       (long long)w->options->fields, (long long)(cells * cells),
                       (long long)w->options->first, (long long)w->options->halos,
                       (long long)w->options->cutouts);
    for (int b = 0; b < w->nband; b++) {
        SQ_TRY(SQ_ALLOC(w->transfer[b], LMAX + 1, "beam"));
        SQ_TRY(SQ_ALLOC(w->noise[b], w->pixels, "noise"));
    }
    SQ_TRY(SQ_ALLOC(w->halo, w->options->halos * HALO_FIELDS, "halos"));
    SQ_TRY(SQ_ALLOC(w->cutout, w->options->cutouts * size, "cutouts"));
    SQ_TRY(SQ_ALLOC(w->label, w->options->cutouts * LABELS, "labels"));
    SQ_TRY(SQ_ALLOC(w->heaviest, cells * cells, "cells"));
cleanup:
    return rc;
}

static sq_status write_attributes(writer *w)
{
    sq_status rc = SQ_OK;
    char ghz[16 * SQ_MM_BANDS] = "";
    size_t n = 0;
    for (int b = 0; b < w->nband; b++)
        n += (size_t)snprintf(ghz + n, sizeof ghz - n, "%s%g", b ? "," : "",
                              w->config->ghz.value[b]);
    SQ_TRY(sq_h5_attribute_text(w->file, "/", "ghz", ghz));
    SQ_TRY(sq_h5_attribute_real(w->file, "/", "seed", (double)w->config->seed));
    SQ_TRY(sq_h5_attribute_real(w->file, "/", "first", (double)w->options->first));
    SQ_TRY(sq_h5_attribute_real(w->file, "/", "pixel", w->config->pixel));
    SQ_TRY(sq_h5_attribute_real(w->file, "/", "fixed", w->options->fixed));
cleanup:
    return rc;
}

static void drop(writer *w)
{
    sq_h5_abandon(w->file);
    for (int b = 0; b < SQ_MM_BANDS; b++) {
        sq_free(w->transfer[b]);
        sq_free(w->noise[b]);
    }
    sq_free(w->halo);
    sq_free(w->cutout);
    sq_free(w->label);
    sq_free(w->heaviest);
}

sq_status sq_cluster_training_write(const char *path, const sq_sim_mm_config *config,
                                    const sq_cluster_training *options)
{
    sq_status rc = SQ_OK;
    writer w = {.config = config, .options = options, .nband = (int)config->ghz.count};
    SQ_TRY(create(&w));
    SQ_TRY(sq_h5_create(path, &w.file));
    for (int64_t f = 0; f < options->fields; f++)
        SQ_TRY(add_field(&w, options->first + f));
    SQ_TRY(write_attributes(&w));
    sq_h5 *file = w.file;
    w.file = NULL;
    SQ_TRY(sq_h5_close(file));
cleanup:
    drop(&w);
    return rc;
}
