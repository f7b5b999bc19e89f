#include "lensing/training.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/mem.h"
#include "lensing/box.h"
#include "lensing/inputs.h"
#include "lensing/iterative.h"
#include "lensing/maximum.h"
#include "sim/spectra.h"
#include "store/tensor.h"

#define AT(member) offsetof(sq_lensing_sky_config, member)

enum {
    SKIES = 24,
    SKIES_FIXED = 96,
    DOMAIN_GROUP = 0x6c6511,
    DOMAIN_AMPLITUDE,
    STEPS = 16,
    PIXELS_MOST = 4096
};
const double sq_lensing_amplitudes[2] = {0.7, 1.3};
static const double ARCMIN = M_PI / 180 / 60;

static const char *const presets[] = {"cmb", NULL};

const sq_config_field sq_lensing_sky_fields[] = {
    {"preset", SQ_CONFIG_CHOICE, AT(preset), 0, 0, 0, presets, NULL, "boxes of lensed CMB"},
    {"seed", SQ_CONFIG_INT, AT(seed), 0, 0, 9007199254740992.0, NULL, NULL,
     "of every random stream"},
    {"side", SQ_CONFIG_INT, AT(side), 0, 32, PIXELS_MOST, NULL, NULL,
     "side of a box in pixels, a multiple of 4"},
    {"pixel", SQ_CONFIG_REAL, AT(pixel), 0, 0.1, 10, NULL, NULL, "side of a pixel, arcmin"},
    {"noise", SQ_CONFIG_REAL, AT(noise), 0, 0.01, 1000, NULL, NULL,
     "white noise of Q and U of a fixed set, uK arcmin"},
    {"fwhm", SQ_CONFIG_REAL, AT(fwhm), 0, 0, 60, NULL, NULL, "of the beam of a fixed set, arcmin"},
    {"amplitude", SQ_CONFIG_REAL, AT(amplitude), 0, 0, 10, NULL, NULL,
     "lensing power of a fixed set over the fiducial one"},
    {"spectra", SQ_CONFIG_TEXT, AT(spectra), 0, 0, 0, NULL, NULL,
     "of the skies, CAMB's lenspotentialCls; \"\": the fiducial set, which estimators and inputs "
     "take"},
    {"lmin", SQ_CONFIG_INT, AT(lmin), 0, 2, 10000, NULL, NULL, "least multipole of E and B"},
    {"lmax", SQ_CONFIG_INT, AT(lmax), 0, 1000, 12000, NULL, NULL, "largest multipole of E and B"},
    {0}};

void sq_lensing_sky_defaults(sq_lensing_sky_config *c)
{
    *c = (sq_lensing_sky_config){.seed = 1,
                                 .side = 128,
                                 .pixel = 2.34375,
                                 .noise = 1,
                                 .fwhm = 1,
                                 .amplitude = 1,
                                 .spectra = "",
                                 .lmin = 100,
                                 .lmax = 3000};
}

typedef struct writer {
    const sq_lensing_sky_config *config;
    const sq_lensing_training *options;
    sq_h5 *file;
    sq_flat flat;
    int lmin, lmax;
    int64_t pixels, modes;
    sq_fft *fft;
    sq_lensing_box *box;
    sq_lensing_inputs *inputs;
    sq_maximum *maximum;
    double *noise, *beam, *map;
    float *pixel;
    double _Complex *e, *b, *kappa, *work, *other;
} writer;

static void map_of(writer *w, const double _Complex *modes, float *pixel)
{
    sq_fft_backward(w->fft, modes, w->map);
    for (int64_t k = 0; k < w->pixels; k++)
        pixel[k] = (float)w->map[k];
}

static sq_status append_map(writer *w, const char *name, sq_dtype type,
                            const double _Complex *modes)
{
    const int64_t dim[] = {1, w->flat.ny, w->flat.nx};
    map_of(w, modes, w->pixel);
    return sq_h5_append(w->file, name, type, 3, dim, w->pixel);
}

/* Q and U with the beam that the estimators do without. */
static sq_status append_observed(writer *w)
{
    const int64_t dim[] = {1, 2, w->flat.ny, w->flat.nx};
    memcpy(w->work, w->e, (size_t)w->modes * sizeof *w->e);
    memcpy(w->other, w->b, (size_t)w->modes * sizeof *w->b);
    sq_filter_eb_to_qu(&w->flat, w->work, w->other);
    sq_filter_table(&w->flat, w->beam, w->lmax, w->work);
    sq_filter_table(&w->flat, w->beam, w->lmax, w->other);
    map_of(w, w->work, w->pixel);
    map_of(w, w->other, w->pixel + w->pixels);
    return sq_h5_append(w->file, "observed", SQ_F32, 4, dim, w->pixel);
}

static sq_status append_theory(writer *w, const sq_qe_spectra *s, const double *bb,
                               const double *phi)
{
    sq_status rc = SQ_OK;
    sq_quadratic *q = NULL;
    double *n0 = NULL, *row = NULL;
    int size = w->lmax + 1;
    const int64_t dim[] = {1, size};
    SQ_TRY(SQ_ALLOC(n0, w->modes, "noise"));
    SQ_TRY(SQ_ALLOC(row, size, "noise"));
    for (int l = 0; l < size; l++)
        row[l] = 0.25 * pow(l, 4) * phi[l];
    SQ_TRY(sq_h5_append(w->file, "theory", SQ_F64, 2, dim, row));
    SQ_TRY(sq_quadratic_create(&w->flat, w->lmin, w->lmax, s, &q));
    for (int i = 0; i < 3; i++) {
        if (i == 0)
            SQ_TRY(sq_quadratic_combined_n0(q, 1u << SQ_QE_EB | 1u << SQ_QE_EE, s->weight_te, n0));
        if (i == 1)
            SQ_TRY(sq_quadratic_n0(q, SQ_QE_EB, n0));
        if (i == 2)
            SQ_TRY(sq_iterative_n0(&w->flat, w->lmin, w->lmax, s, bb, phi, 2, n0, NULL));
        /* Rings as wide as the distance of modes, so that none is empty. */
        double width = ceil(2 * M_PI / (w->flat.ny * w->flat.dy)) + 1;
        for (int l = 0; l < size; l++)
            sq_quadratic_ring(&w->flat, n0, l, width, 1, row + l);
        SQ_TRY(sq_h5_append(w->file, "theory", SQ_F64, 2, dim, row));
    }
cleanup:
    sq_quadratic_destroy(q);
    sq_free(n0);
    sq_free(row);
    return rc;
}

/* What a fixed set holds once: the scale, theory, and the estimator of maximum a posteriori maps.
 */
static sq_status begin_fixed(writer *w)
{
    enum { EE, GRADIENT, BB, PHI, UNLENSED, TOTAL_E, TOTAL_B, COUNT };
    static const sq_fiducial kind[COUNT] = {SQ_LENSED_EE, SQ_GRADIENT_EE, SQ_LENSED_BB,
                                            SQ_POTENTIAL, SQ_UNLENSED_EE, SQ_LENSED_EE,
                                            SQ_LENSED_BB};
    sq_status rc = SQ_OK;
    double *cl[COUNT] = {NULL};
    for (int i = 0; i < COUNT; i++) {
        SQ_TRY(SQ_ALLOC(cl[i], w->lmax + 1, "spectrum"));
        SQ_TRY(sq_fiducial_spectrum(kind[i], w->lmax, cl[i]));
        for (int l = 0; i >= TOTAL_E && l <= w->lmax; l++)
            cl[i][l] += w->noise[l];
    }
    const sq_qe_spectra s = {.weight_tt = cl[EE],
                             .weight_ee = cl[EE],
                             .weight_te = cl[EE],
                             .response_ee = cl[GRADIENT],
                             .total_tt = cl[TOTAL_E],
                             .total_ee = cl[TOTAL_E],
                             .total_bb = cl[TOTAL_B]};
    const int64_t dim[] = {w->flat.ny, w->flat.nx / 2 + 1};
    SQ_TRY(sq_h5_append(w->file, "scale", SQ_F64, 2, dim, sq_lensing_inputs_scale(w->inputs)));
    SQ_TRY(append_theory(w, &s, cl[BB], cl[PHI]));
    if (w->options->maximum)
        SQ_TRY(sq_maximum_create(&w->flat, w->lmin, w->lmax, &s, cl[BB], cl[PHI], w->lmax,
                                 cl[UNLENSED], &w->maximum));
cleanup:
    for (int i = 0; i < COUNT; i++)
        sq_free(cl[i]);
    return rc;
}

static double log_uniform(sq_rng *rng, double low, double high)
{
    return exp(sq_rng_range(rng, log(low), log(high)));
}

/* The noise of a group, and the network's inputs for it. */
static sq_status begin_group(writer *w, int64_t group)
{
    sq_status rc = SQ_OK;
    const sq_lensing_sky_config *c = w->config;
    double noise = c->noise, fwhm = c->fwhm;
    sq_rng rng;
    sq_rng_init(&rng, (uint64_t)c->seed, DOMAIN_GROUP, (uint64_t)group);
    if (!w->options->fixed) {
        int near = sq_rng_uniform(&rng) < 0.5;
        noise = log_uniform(&rng, near ? 0.5 : 0.1, near ? 2 : 10);
        fwhm = sq_rng_range(&rng, 1, 2);
    }
    sq_lensing_noise(noise, fwhm, w->lmax, w->noise);
    sq_beam_gauss(fwhm * ARCMIN, w->lmax, w->beam);
    sq_lensing_inputs_destroy(w->inputs);
    w->inputs = NULL;
    /* Simulations of a seed of their own: the samples are not to be known to the regression. */
    SQ_TRY(sq_lensing_inputs_create(&w->flat, w->lmin, w->lmax, w->noise,
                                    w->options->fixed ? SKIES_FIXED : SKIES, sq_rng_u64(&rng),
                                    &w->inputs));
    if (w->options->fixed && !w->maximum && group == w->options->first / SQ_LENSING_GROUP)
        SQ_TRY(begin_fixed(w));
cleanup:
    return rc;
}

static double amplitude_of(const writer *w, int64_t sample)
{
    sq_rng rng;
    if (w->options->fixed)
        return w->config->amplitude;
    sq_rng_init(&rng, (uint64_t)w->config->seed, DOMAIN_AMPLITUDE, (uint64_t)sample);
    double vary = sq_rng_uniform(&rng),
           drawn = sq_rng_range(&rng, sq_lensing_amplitudes[0], sq_lensing_amplitudes[1]);
    return vary < 0.5 ? 1 : drawn;
}

static sq_status append_target(writer *w)
{
    const double *scale = sq_lensing_inputs_scale(w->inputs);
    const double _Complex *base = sq_lensing_inputs_base(w->inputs);
    for (int64_t k = 0; k < w->modes; k++)
        w->work[k] = scale[k] > 0 ? (w->kappa[k] - base[k]) / scale[k] : 0;
    return append_map(w, "target", SQ_F16, w->work);
}

static sq_status append_fixed(writer *w, int64_t sample)
{
    sq_status rc = SQ_OK;
    SQ_TRY(append_observed(w));
    SQ_TRY(append_map(w, "kappa", SQ_F32, w->kappa));
    SQ_TRY(append_map(w, "first", SQ_F32, sq_lensing_inputs_first(w->inputs)));
    SQ_TRY(append_map(w, "base", SQ_F32, sq_lensing_inputs_base(w->inputs)));
    if (sample < w->options->maximum) {
        SQ_TRY(sq_maximum_run(w->maximum, w->e, w->b, sq_lensing_inputs_base(w->inputs), STEPS,
                              0.01, w->work, NULL, NULL));
        SQ_TRY(append_map(w, "maximum", SQ_F32, w->work));
    }
cleanup:
    return rc;
}

static sq_status add_sample(writer *w, int64_t sample)
{
    sq_status rc = SQ_OK;
    int64_t number = w->options->first + sample;
    const int64_t image[] = {1, SQ_LENSING_CHANNELS, w->flat.ny, w->flat.nx};
    const int64_t condition[] = {1, SQ_LENSING_CONDITIONS};
    float amplitude = (float)amplitude_of(w, number);
    if (sample == 0 || number % SQ_LENSING_GROUP == 0)
        if (!(w->options->fixed && sample))
            SQ_TRY(begin_group(w, number / SQ_LENSING_GROUP));
    SQ_TRY(sq_lensing_box_draw(w->box, (uint64_t)w->config->seed, (uint64_t)number, amplitude,
                               w->lmax, w->noise, w->e, w->b, w->kappa));
    SQ_TRY(sq_lensing_inputs_fill(w->inputs, w->e, w->b));
    SQ_TRY(sq_h5_append(w->file, "image", SQ_F16, 4, image, sq_lensing_inputs_image(w->inputs)));
    SQ_TRY(sq_h5_append(w->file, "condition", SQ_F32, 2, condition,
                        sq_lensing_inputs_conditions(w->inputs)));
    SQ_TRY(sq_h5_append(w->file, "amplitude", SQ_F32, 1, image, &amplitude));
    SQ_TRY(append_target(w));
    if (w->options->fixed)
        SQ_TRY(append_fixed(w, sample));
cleanup:
    return rc;
}

static sq_status create(writer *w)
{
    sq_status rc = SQ_OK;
    const sq_lensing_sky_config *c = w->config;
    if (w->options->samples < 1 || w->options->first < 0 || c->side % 4 || c->lmin >= c->lmax)
        return sq_fail(SQ_ERR_USAGE,
                       "training set: %lld samples from number %lld on, side %lld, l %lld to %lld",
                       (long long)w->options->samples, (long long)w->options->first,
                       (long long)c->side, (long long)c->lmin, (long long)c->lmax);
    w->flat = (sq_flat){(int)c->side, (int)c->side, c->pixel * ARCMIN, c->pixel * ARCMIN};
    w->lmin = (int)c->lmin;
    w->lmax = (int)c->lmax;
    w->pixels = sq_flat_pixels(&w->flat);
    w->modes = sq_flat_modes(&w->flat);
    SQ_TRY(sq_fft_create(w->flat.ny, w->flat.nx, &w->fft));
    SQ_TRY(sq_lensing_box_create(&w->flat, c->spectra, &w->box));
    SQ_TRY(SQ_ALLOC(w->noise, w->lmax + 1, "noise"));
    SQ_TRY(SQ_ALLOC(w->beam, w->lmax + 1, "beam"));
    SQ_TRY(SQ_ALLOC(w->map, w->pixels, "map"));
    SQ_TRY(SQ_ALLOC(w->pixel, 2 * w->pixels, "map"));
    double _Complex **modes[] = {&w->e, &w->b, &w->kappa, &w->work, &w->other};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        SQ_TRY(SQ_ALLOC(*modes[i], w->modes, "modes"));
cleanup:
    return rc;
}

static sq_status write_attributes(writer *w)
{
    sq_status rc = SQ_OK;
    const sq_lensing_sky_config *c = w->config;
    const struct {
        const char *name;
        double value;
    } all[] = {{"seed", (double)c->seed}, {"first", (double)w->options->first},
               {"pixel", c->pixel},       {"fixed", w->options->fixed},
               {"lmin", (double)c->lmin}, {"lmax", (double)c->lmax},
               {"noise", c->noise},       {"fwhm", c->fwhm}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        SQ_TRY(sq_h5_attribute_real(w->file, "/", all[i].name, all[i].value));
cleanup:
    return rc;
}

static void drop(writer *w)
{
    sq_h5_abandon(w->file);
    sq_lensing_inputs_destroy(w->inputs);
    sq_maximum_destroy(w->maximum);
    sq_lensing_box_destroy(w->box);
    sq_fft_destroy(w->fft);
    sq_free(w->noise);
    sq_free(w->beam);
    sq_free(w->map);
    sq_free(w->pixel);
    sq_free(w->e);
    sq_free(w->b);
    sq_free(w->kappa);
    sq_free(w->work);
    sq_free(w->other);
}

sq_status sq_lensing_training_write(const char *path, const sq_lensing_sky_config *config,
                                    const sq_lensing_training *options)
{
    sq_status rc = SQ_OK;
    writer w = {.config = config, .options = options};
    SQ_TRY(create(&w));
    SQ_TRY(sq_h5_create(path, &w.file));
    for (int64_t s = 0; s < options->samples; s++)
        SQ_TRY(add_sample(&w, s));
    SQ_TRY(write_attributes(&w));
    sq_h5 *file = w.file;
    w.file = NULL;
    SQ_TRY(sq_h5_close(file));
cleanup:
    drop(&w);
    return rc;
}
