#include "catalog/training.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "catalog/domain.h"
#include "store/tensor.h"

enum { FIXED_FIELDS = 7 };

/* Samples are written in groups, so that HDF5 is called seldom. */
enum { GROUP = 64 };

typedef struct group {
    int64_t held;
    float *image, *planes, *flux, *error, *sigma, *source, *features;
    uint8_t *peak;
    int32_t *count;
} group;

typedef struct writer {
    const sq_training_options *options;
    int nband, fields, tiles;
    int64_t npix, ntile, nplane; /* values per sample of image, of a band's tiles, of planes */
    sq_sim_optical *sim;
    sq_cutout *cutout;
    sq_inputs *inputs;
    float *work; /* of sq_domain_measure */
    sq_h5 *file;
    group g;
} writer;

void sq_training_defaults(int preset, sq_training_options *o)
{
    *o = (sq_training_options){.seed = 1, .samples = 1024, .side = 80, .tile = 4, .min_snr = 0};
    o->limit = preset == SQ_SIM_LSST ? 27.5 : 24;
    o->sources = preset == SQ_SIM_LSST ? 256 : 128;
}

/* Matched-filter flux and error of every band at the tiles' peaks. */
static void at_peaks(const sq_inputs *in, float *flux, float *error, uint8_t *peak)
{
    int64_t plane = (int64_t)in->side * in->side, tiles = (int64_t)in->tiles * in->tiles;
    for (int64_t k = 0; k < tiles; k++) {
        int64_t at = in->peak[k];
        peak[k] = (uint8_t)(at / in->side % in->tile * in->tile + at % in->side % in->tile);
        for (int b = 0; b < in->nband; b++) {
            flux[b * tiles + k] = in->mf_flux[b * plane + at];
            error[b * tiles + k] = in->mf_error[b * plane + at];
        }
    }
}

static void group_free(group *g)
{
    sq_free(g->image);
    sq_free(g->planes);
    sq_free(g->flux);
    sq_free(g->error);
    sq_free(g->sigma);
    sq_free(g->source);
    sq_free(g->features);
    sq_free(g->peak);
    sq_free(g->count);
}

static sq_status group_create(writer *w)
{
    group *g = &w->g;
    sq_status rc = SQ_OK;
    SQ_TRY(SQ_ALLOC(g->image, GROUP * w->npix, "training images"));
    SQ_TRY(SQ_ALLOC(g->planes, GROUP * w->nplane, "training planes"));
    SQ_TRY(SQ_ALLOC(g->flux, GROUP * w->ntile * w->nband, "training fluxes"));
    SQ_TRY(SQ_ALLOC(g->error, GROUP * w->ntile * w->nband, "training errors"));
    SQ_TRY(SQ_ALLOC(g->sigma, GROUP * w->ntile * w->nband, "training sigmas"));
    SQ_TRY(SQ_ALLOC(g->peak, GROUP * w->ntile, "training peaks"));
    SQ_TRY(
        SQ_ALLOC(g->source, (int64_t)GROUP * w->options->sources * w->fields, "training sources"));
    SQ_TRY(SQ_ALLOC(g->count, GROUP, "training counts"));
    SQ_TRY(SQ_ALLOC(g->features, (int64_t)GROUP * sq_domain_features(w->nband), "features"));
cleanup:
    return rc;
}

static sq_status flush(writer *w)
{
    group *g = &w->g;
    int64_t s = g->held, n = w->options->side, m = w->tiles, b = w->nband;
    sq_status rc = SQ_OK;
    if (s == 0)
        return SQ_OK;
    const int64_t image[] = {s, b, n, n}, planes[] = {s, b * SQ_PLANES_PER_BAND, m, m};
    const int64_t tiles[] = {s, b, m, m}, peak[] = {s, m, m};
    const int64_t source[] = {s, w->options->sources, w->fields};
    const int64_t features[] = {s, sq_domain_features(w->nband)};
    SQ_TRY(sq_h5_append(w->file, "image", SQ_F16, 4, image, g->image));
    SQ_TRY(sq_h5_append(w->file, "planes", SQ_F32, 4, planes, g->planes));
    SQ_TRY(sq_h5_append(w->file, "mf_flux", SQ_F32, 4, tiles, g->flux));
    SQ_TRY(sq_h5_append(w->file, "mf_error", SQ_F32, 4, tiles, g->error));
    SQ_TRY(sq_h5_append(w->file, "mf_peak", SQ_U8, 3, peak, g->peak));
    SQ_TRY(sq_h5_append(w->file, "sigma", SQ_F32, 4, tiles, g->sigma));
    SQ_TRY(sq_h5_append(w->file, "count", SQ_I32, 1, source, g->count));
    SQ_TRY(sq_h5_append(w->file, "source", SQ_F32, 3, source, g->source));
    SQ_TRY(sq_h5_append(w->file, "features", SQ_F32, 2, features, g->features));
    g->held = 0;
cleanup:
    return rc;
}

/* image / sky_sigma as the networks get it, before asinh. */
static void fill_image(const writer *w, float *out)
{
    const sq_cutout *c = w->cutout;
    for (int64_t i = 0; i < w->npix; i++) {
        int usable = !(c->mask[i] & SQ_MASK_UNUSABLE) && c->sky_sigma[i] > 0;
        float v = usable ? c->image[i] / c->sky_sigma[i] : 0;
        out[i] = fminf(60000, fmaxf(-60000, v));
    }
}

static int wanted(const writer *w, const sq_sim_source *s, const double *unit)
{
    if (s->r <= w->options->limit)
        return 1;
    for (int b = 0; b < w->nband && w->options->min_snr > 0; b++) {
        if (s->flux[b] > w->options->min_snr * unit[b])
            return 1;
    }
    return 0;
}

/* 1-sigma PSF flux of each band against the empty sky at the patch's centre. */
static void point_errors(const writer *w, double *unit)
{
    enum { P = SQ_PSF_SIDE * SQ_PSF_SIDE };
    const sq_cutout *c = w->cutout;
    float psf[P];
    for (int b = 0; b < w->nband; b++) {
        double power = 0;
        sq_cutout_psf(c, b, 0.5 * c->nx, 0.5 * c->ny, psf);
        for (int i = 0; i < P; i++)
            power += (double)psf[i] * psf[i];
        int64_t middle = sq_cutout_plane(c, b) + (int64_t)(c->ny / 2) * c->nx + c->nx / 2;
        unit[b] = c->sky_sigma[middle] / sqrt(power);
    }
}

static int32_t fill_sources(const writer *w, const sq_sim_source *list, int64_t n, float *out)
{
    double unit[SQ_MAX_BANDS];
    int32_t count = 0;
    point_errors(w, unit);
    for (int64_t i = 0; i < n && count < w->options->sources; i++) {
        const sq_sim_source *s = &list[i];
        if (!wanted(w, s, unit))
            continue;
        float *f = out + (int64_t)count++ * w->fields;
        *f++ = (float)s->x;
        *f++ = (float)s->y;
        for (int b = 0; b < w->nband; b++)
            *f++ = (float)s->flux[b];
        *f++ = (float)s->star;
        *f++ = (float)s->bulge_fraction;
        *f++ = (float)s->radius;
        *f++ = (float)s->e1;
        *f = (float)s->e2;
    }
    return count;
}

/* Of a square in the middle that is as large as those of a run, where it fits. */
static void fill_features(const writer *w, float *out)
{
    int n = w->options->side, tile = w->options->tile;
    int side = (n < SQ_DOMAIN_BLOCK ? n : SQ_DOMAIN_BLOCK) / tile * tile;
    int from = (n - side) / 2 / tile * tile;
    sq_domain_measure(w->cutout, w->inputs, from, from, side, w->work, out);
}

static sq_status add_sample(writer *w, int64_t index)
{
    group *g = &w->g;
    int64_t at = g->held, per_band = w->ntile * w->nband;
    int64_t per_list = (int64_t)w->options->sources * w->fields, n;
    sq_sim_source *list = NULL;
    sq_status rc = SQ_OK;
    SQ_TRY(sq_sim_optical_sample(w->sim, w->options->seed, (uint64_t)index, w->options->margin,
                                 w->cutout, &list, &n));
    SQ_TRY(sq_inputs_fill(w->cutout, w->inputs));
    fill_image(w, g->image + at * w->npix);
    memcpy(g->planes + at * w->nplane, w->inputs->planes, (size_t)w->nplane * sizeof(float));
    memcpy(g->sigma + at * per_band, w->inputs->sigma, (size_t)per_band * sizeof(float));
    fill_features(w, g->features + at * sq_domain_features(w->nband));
    at_peaks(w->inputs, g->flux + at * per_band, g->error + at * per_band, g->peak + at * w->ntile);
    memset(g->source + at * per_list, 0, (size_t)per_list * sizeof(float));
    g->count[at] = fill_sources(w, list, n, g->source + at * per_list);
    if (++g->held == GROUP)
        SQ_TRY(flush(w));
cleanup:
    sq_free(list);
    return rc;
}

static sq_status write_attributes(writer *w, const sq_sim_optical_config *config)
{
    const sq_training_options *o = w->options;
    const char *const *names;
    char bands[128] = "", fields[512] = "x,y";
    sq_status rc = SQ_OK;
    sq_sim_optical_bands(config->preset, &names, NULL);
    for (int b = 0; b < w->nband; b++) {
        strcat(bands, b ? "," : "");
        strcat(bands, names[b]);
        strcat(strcat(fields, ",flux_"), names[b]);
    }
    strcat(fields, ",star,bulge_fraction,radius,e1,e2");
    SQ_TRY(sq_h5_attribute_text(w->file, "/", "bands", bands));
    SQ_TRY(sq_h5_attribute_text(w->file, "/", "fields", fields));
    SQ_TRY(sq_h5_attribute_text(w->file, "/", "preset",
                                config->preset == SQ_SIM_LSST ? "lsst" : "sdss"));
    SQ_TRY(sq_h5_attribute_real(w->file, "/", "seed", (double)o->seed));
    SQ_TRY(sq_h5_attribute_real(w->file, "/", "first", (double)o->first));
    SQ_TRY(sq_h5_attribute_real(w->file, "/", "side", o->side));
    SQ_TRY(sq_h5_attribute_real(w->file, "/", "tile", o->tile));
    SQ_TRY(sq_h5_attribute_real(w->file, "/", "limit", o->limit));
    SQ_TRY(sq_h5_attribute_real(w->file, "/", "scale", config->scale));
cleanup:
    return rc;
}

static sq_status check(const sq_training_options *o)
{
    if (o->samples < 1 || o->first < 0)
        return sq_fail(SQ_ERR_USAGE, "training set: %lld samples from number %lld",
                       (long long)o->samples, (long long)o->first);
    if (o->tile < 1 || o->tile > 16 || o->side < o->tile || o->side > 4096 || o->side % o->tile)
        return sq_fail(SQ_ERR_USAGE,
                       "training set: a side of %d pixels is no multiple of the tile's %d", o->side,
                       o->tile);
    if (o->sources < 1 || o->sources > 1 << 20)
        return sq_fail(SQ_ERR_USAGE, "training set: room for %d sources", o->sources);
    return SQ_OK;
}

sq_status sq_training_write(const char *path, const sq_sim_optical_config *config,
                            const sq_training_options *o)
{
    writer w = {.options = o};
    sq_status rc = SQ_OK;
    SQ_TRY(check(o));
    w.nband = sq_sim_optical_bands(config->preset, NULL, NULL);
    w.fields = FIXED_FIELDS + w.nband;
    w.tiles = o->side / o->tile;
    w.npix = (int64_t)w.nband * o->side * o->side;
    w.ntile = (int64_t)w.tiles * w.tiles;
    w.nplane = w.ntile * w.nband * SQ_PLANES_PER_BAND;
    SQ_TRY(sq_sim_optical_create(config, &w.sim));
    SQ_TRY(sq_cutout_create(w.nband, o->side, o->side, &w.cutout));
    SQ_TRY(sq_inputs_create(w.nband, o->side, o->tile, &w.inputs));
    SQ_TRY(group_create(&w));
    SQ_TRY(SQ_ALLOC(w.work, 2 * SQ_DOMAIN_BLOCK * SQ_DOMAIN_BLOCK, "features"));
    SQ_TRY(sq_h5_create(path, &w.file));
    for (int64_t s = 0; s < o->samples; s++)
        SQ_TRY(add_sample(&w, o->first + s));
    SQ_TRY(flush(&w));
    SQ_TRY(write_attributes(&w, config));
    sq_h5 *file = w.file;
    w.file = NULL;
    SQ_TRY(sq_h5_close(file));
cleanup:
    sq_h5_abandon(w.file);
    group_free(&w.g);
    sq_free(w.work);
    sq_inputs_destroy(w.inputs);
    sq_cutout_destroy(w.cutout);
    sq_sim_optical_destroy(w.sim);
    return rc;
}
