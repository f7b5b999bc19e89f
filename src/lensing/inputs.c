#include "lensing/inputs.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "lensing/bins.h"
#include "lensing/box.h"
#include "lensing/delensed.h"
#include "sim/spectra.h"

enum { BINS = 16 };
/* Of the regressions, and rho. */
static const double EDGES[BINS + 1] = {60,   120,  200,  300,  400,  500,  650,  800, 1000,
                                       1200, 1400, 1600, 1800, 2000, 2300, 2600, 3000};
static const double ARCMIN = M_PI / 180 / 60;

/* Of the E and B modes: what is filtered, and spectra [0..lmax]. */
enum { WEIGHT_EE, RESPONSE_EE, LENSING_BB, PHI, TOTAL_EE, TOTAL_BB, TABLES };

struct sq_lensing_inputs {
    sq_flat flat;
    int lmin, lmax;
    int64_t pixels, modes;
    sq_fft *fft;
    sq_delensed *delensed;
    double *table[TABLES], *filter[2]; /* Wiener filters of E and of B, [0..lmax] */
    double *ell, *scale, *map;
    double rho[BINS], inverse_rms[SQ_LENSING_CHANNELS];
    double _Complex *first, *base, *work[2];
    float *image, conditions[SQ_LENSING_CONDITIONS];
};

void sq_lensing_inputs_destroy(sq_lensing_inputs *in)
{
    if (!in)
        return;
    for (int i = 0; i < TABLES; i++)
        sq_free(in->table[i]);
    for (int i = 0; i < 2; i++) {
        sq_free(in->filter[i]);
        sq_free(in->work[i]);
    }
    sq_free(in->ell);
    sq_free(in->scale);
    sq_free(in->map);
    sq_free(in->first);
    sq_free(in->base);
    sq_free(in->image);
    sq_delensed_destroy(in->delensed);
    sq_fft_destroy(in->fft);
    sq_free(in);
}

static sq_status fill_tables(sq_lensing_inputs *in, const double *noise)
{
    static const sq_fiducial kind[] = {
        [WEIGHT_EE] = SQ_LENSED_EE, [RESPONSE_EE] = SQ_GRADIENT_EE, [LENSING_BB] = SQ_LENSED_BB,
        [PHI] = SQ_POTENTIAL,       [TOTAL_EE] = SQ_LENSED_EE,      [TOTAL_BB] = SQ_LENSED_BB};
    sq_status rc = SQ_OK;
    for (int i = 0; i < TABLES; i++) {
        SQ_TRY(SQ_ALLOC(in->table[i], in->lmax + 1, "spectrum"));
        SQ_TRY(sq_fiducial_spectrum(kind[i], in->lmax, in->table[i]));
        for (int l = 0; i >= TOTAL_EE && l <= in->lmax; l++)
            in->table[i][l] += noise[l];
    }
    for (int i = 0; i < 2; i++) {
        SQ_TRY(SQ_ALLOC(in->filter[i], in->lmax + 1, "filter"));
        for (int l = in->lmin; l <= in->lmax; l++)
            in->filter[i][l] = i ? in->table[LENSING_BB][l] / in->table[TOTAL_BB][l]
                                 : in->table[WEIGHT_EE][l] / in->table[TOTAL_EE][l];
    }
    in->conditions[0] = (float)log(sqrt(noise[500 < in->lmax ? 500 : in->lmax]) / ARCMIN);
    in->conditions[1] = (float)(0.5 * log(noise[in->lmax] / noise[500 < in->lmax ? 500 : 2]));
cleanup:
    return rc;
}

static sq_status allocate(sq_lensing_inputs *in)
{
    sq_status rc = SQ_OK;
    SQ_TRY(sq_fft_create(in->flat.ny, in->flat.nx, &in->fft));
    SQ_TRY(SQ_ALLOC(in->ell, in->modes, "multipoles"));
    sq_flat_ell(&in->flat, in->ell);
    SQ_TRY(SQ_ALLOC(in->scale, in->modes, "scale"));
    SQ_TRY(SQ_ALLOC(in->map, in->pixels, "map"));
    SQ_TRY(SQ_ALLOC(in->first, in->modes, "kappa"));
    SQ_TRY(SQ_ALLOC(in->base, in->modes, "kappa"));
    for (int i = 0; i < 2; i++)
        SQ_TRY(SQ_ALLOC(in->work[i], in->modes, "modes"));
    SQ_TRY(SQ_ALLOC(in->image, SQ_LENSING_CHANNELS * in->pixels, "image"));
    for (int i = 0; i < SQ_LENSING_CHANNELS; i++)
        in->inverse_rms[i] = 1;
cleanup:
    return rc;
}

/* Simulated skies, which every pass of the regression sees. */
typedef struct skies {
    int count;
    double _Complex *mode; /* [count][3][modes]: E, B, kappa */
} skies;

static double _Complex *sky_of(const sq_lensing_inputs *in, const skies *s, int i, int field)
{
    return s->mode + (3 * i + field) * in->modes;
}

static sq_status draw_skies(const sq_lensing_inputs *in, const double *noise, uint64_t seed,
                            skies *s)
{
    sq_status rc = SQ_OK;
    sq_lensing_box *box = NULL;
    SQ_TRY(SQ_ALLOC(s->mode, 3 * s->count * in->modes, "simulated skies"));
    SQ_TRY(sq_lensing_box_create(&in->flat, NULL, &box));
    for (int i = 0; i < s->count; i++)
        SQ_TRY(sq_lensing_box_draw(box, seed, (uint64_t)i, 1, in->lmax, noise, sky_of(in, s, i, 0),
                                   sky_of(in, s, i, 1), sky_of(in, s, i, 2)));
cleanup:
    sq_lensing_box_destroy(box);
    return rc;
}

/* The passes, and rho of the last. */
static sq_status train(sq_lensing_inputs *in, const skies *s)
{
    sq_status rc = SQ_OK;
    double *const *t = in->table;
    const sq_qe_spectra spectra = {.weight_tt = t[WEIGHT_EE],
                                   .weight_ee = t[WEIGHT_EE],
                                   .weight_te = t[WEIGHT_EE],
                                   .response_ee = t[RESPONSE_EE],
                                   .total_tt = t[TOTAL_EE],
                                   .total_ee = t[TOTAL_EE],
                                   .total_bb = t[TOTAL_BB]};
    SQ_TRY(sq_delensed_create(&in->flat, in->lmin, in->lmax, &spectra, t[LENSING_BB], t[PHI], BINS,
                              EDGES, &in->delensed));
    for (int pass = 0; pass < SQ_LENSING_PASSES; pass++) {
        for (int i = 0; i < s->count; i++)
            SQ_TRY(sq_delensed_train(in->delensed, sky_of(in, s, i, 0), sky_of(in, s, i, 1),
                                     sky_of(in, s, i, 2)));
        SQ_TRY(sq_delensed_close(in->delensed, in->rho));
    }
    for (int64_t k = 0; k < in->modes; k++) {
        double l = in->ell[k], rho = sq_lensing_inputs_rho(in, l);
        if (l < SQ_LENSING_LOW || l > in->lmax)
            continue;
        double power = 0.25 * pow(l, 4) * sq_table_at(t[PHI], in->lmax, l);
        in->scale[k] = sqrt(power * (1 - rho * rho) / (in->flat.dx * in->flat.dy));
    }
cleanup:
    return rc;
}

/* The rms of the channels over the skies. */
static sq_status normalise(sq_lensing_inputs *in, const skies *s)
{
    sq_status rc = SQ_OK;
    double sum[SQ_LENSING_CHANNELS] = {0};
    for (int i = 0; i < s->count; i++) {
        SQ_TRY(sq_lensing_inputs_fill(in, sky_of(in, s, i, 0), sky_of(in, s, i, 1)));
        for (int c = 0; c < SQ_LENSING_CHANNELS; c++) {
            const float *x = in->image + c * in->pixels;
            for (int64_t k = 0; k < in->pixels; k++)
                sum[c] += (double)x[k] * x[k];
        }
    }
    for (int c = 0; c < SQ_LENSING_CHANNELS; c++)
        in->inverse_rms[c] = 1 / sqrt(sum[c] / (double)(s->count * in->pixels));
cleanup:
    return rc;
}

sq_status sq_lensing_inputs_create(const sq_flat *flat, int lmin, int lmax, const double *noise,
                                   int count, uint64_t seed, sq_lensing_inputs **out)
{
    sq_status rc = SQ_OK;
    sq_lensing_inputs *in = NULL;
    skies s = {.count = count};
    *out = NULL;
    if (count < 2)
        return sq_fail(SQ_ERR_USAGE, "lensing network: %d simulated skies, not 2 or more", count);
    SQ_TRY(SQ_ALLOC(in, 1, "lensing network's inputs"));
    in->flat = *flat;
    in->lmin = lmin;
    in->lmax = lmax;
    in->pixels = sq_flat_pixels(flat);
    in->modes = sq_flat_modes(flat);
    SQ_TRY(allocate(in));
    SQ_TRY(fill_tables(in, noise));
    SQ_TRY(draw_skies(in, noise, seed, &s));
    SQ_TRY(train(in, &s));
    SQ_TRY(normalise(in, &s));
    *out = in;
    in = NULL;
cleanup:
    sq_free(s.mode);
    sq_lensing_inputs_destroy(in);
    return rc;
}

static void channel(sq_lensing_inputs *in, int number, const double _Complex *modes)
{
    float *x = in->image + number * in->pixels;
    sq_fft_backward(in->fft, modes, in->map);
    for (int64_t k = 0; k < in->pixels; k++)
        x[k] = (float)(in->map[k] * in->inverse_rms[number]);
}

/* Q and U of one of the two fields alone, filtered. */
static void polarisation(sq_lensing_inputs *in, int field, const double _Complex *modes)
{
    memcpy(in->work[field], modes, (size_t)in->modes * sizeof *modes);
    sq_filter_table(&in->flat, in->filter[field], in->lmax, in->work[field]);
    memset(in->work[1 - field], 0, (size_t)in->modes * sizeof *modes);
    sq_filter_eb_to_qu(&in->flat, in->work[0], in->work[1]);
    channel(in, 2 * field, in->work[0]);
    channel(in, 2 * field + 1, in->work[1]);
}

sq_status sq_lensing_inputs_fill(sq_lensing_inputs *in, const double _Complex *e,
                                 const double _Complex *b)
{
    sq_status rc = SQ_OK;
    polarisation(in, 0, e);
    polarisation(in, 1, b);
    SQ_TRY(sq_delensed_run(in->delensed, 0, e, b, in->first));
    SQ_TRY(sq_delensed_run(in->delensed, -1, e, b, in->base));
    channel(in, 4, in->first);
    channel(in, 5, in->base);
cleanup:
    return rc;
}

const float *sq_lensing_inputs_image(const sq_lensing_inputs *in)
{
    return in->image;
}

const float *sq_lensing_inputs_conditions(const sq_lensing_inputs *in)
{
    return in->conditions;
}

const double _Complex *sq_lensing_inputs_first(const sq_lensing_inputs *in)
{
    return in->first;
}

const double _Complex *sq_lensing_inputs_base(const sq_lensing_inputs *in)
{
    return in->base;
}

double sq_lensing_inputs_rho(const sq_lensing_inputs *in, double l)
{
    int i, j;
    double x = bins_place(EDGES, BINS, l, &i, &j);
    return (1 - x) * in->rho[i] + x * in->rho[j];
}

const double *sq_lensing_inputs_scale(const sq_lensing_inputs *in)
{
    return in->scale;
}

void sq_lensing_inputs_finish(sq_lensing_inputs *in, const float *network, double _Complex *kappa)
{
    for (int64_t k = 0; k < in->pixels; k++)
        in->map[k] = network[k];
    sq_fft_forward(in->fft, in->map, kappa);
    for (int64_t k = 0; k < in->modes; k++)
        kappa[k] = in->base[k] + in->scale[k] * kappa[k];
}
