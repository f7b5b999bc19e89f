#include "lensing/patch.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/select.h"
#include "fourier/window.h"
#include "lensing/patch_internal.h"

static const double ARCMIN = M_PI / 180 / 60;
/* Far below the median the weights would only slow the filter down. */
static const double LEAST_TAPER = 0.02;
static const double HOLE = 20; /* arcmin: smaller holes do not shape the window of powers */
enum { STEPS = 10000, INPUT_SKIES = 24, SKY_STREAM = 0x6c656e73, NOISE_STREAM = 0x6c656e74 };

/* ---- pairs ---- */

int lensing_is_quadratic(int field)
{
    return field <= LENSING_MV || field == LENSING_CURL;
}

void lensing_pairs_make(const lensing_settings *settings, unsigned methods, lensing_pairs *p)
{
    memset(p, 0, sizeof *p);
    for (int m = 0; m < LENSING_METHODS; m++) {
        if (methods & 1u << m)
            p->field[p->fields++] = m;
    }
    int count = p->fields;
    p->field[p->fields++] = LENSING_CURL;
    p->field[p->fields++] = LENSING_TRUTH;
    for (int i = 0; i < p->fields; i++) {
        for (int j = i; j < p->fields; j++) {
            int curl = i == count || j == count;
            if (curl && i != j)
                continue;
            p->a[p->pairs] = i;
            p->b[p->pairs++] = j;
        }
    }
    p->bins = lensing_settings_bins(settings, p->edges);
}

int lensing_pairs_find(const lensing_pairs *p, int a, int b)
{
    for (int k = 0; k < p->pairs; k++) {
        int i = p->field[p->a[k]], j = p->field[p->b[k]];
        if ((i == a && j == b) || (i == b && j == a))
            return k;
    }
    return -1;
}

/* ---- an instance ---- */

static void unload(lensing_patch *p)
{
    sq_wiener_destroy(p->wiener);
    sq_quadratic_destroy(p->q);
    sq_maximum_destroy(p->maximum);
    p->wiener = NULL;
    p->q = NULL;
    p->maximum = NULL;
    p->loaded = p->usable = 0;
}

void lensing_patch_destroy(lensing_patch *p)
{
    if (!p)
        return;
    unload(p);
    sq_lensing_inputs_destroy(p->inputs);
    sq_free(p->inputs_noise);
    sq_fft_destroy(p->fft);
    sq_fft_destroy(p->sky_fft);
    sq_lensing_network_destroy(p->network);
    sq_cmb_destroy(p->cmb);
    double *real[] = {p->transfer, p->ell,   p->sky_ell, p->sky_map, p->box,
                      p->taper,    p->sigma, p->window,  p->ivar[0], p->ivar[1]};
    for (size_t i = 0; i < sizeof real / sizeof *real; i++)
        sq_free(real[i]);
    for (int i = 0; i < MODEL_TABLES; i++)
        sq_free(p->table[i]);
    for (int i = 0; i < 3; i++) {
        sq_free(p->map[i]);
        sq_free(p->noise[i]);
        sq_free(p->drawn[i]);
        sq_free(p->wide[i]);
        sq_free(p->lensed[i]);
        for (int s = 0; s < LENSING_SETS; s++)
            sq_free(p->leg[s][i]);
    }
    for (int f = 0; f < LENSING_FIELDS; f++) {
        for (int s = 0; s < LENSING_SETS; s++)
            sq_free(p->field[s][f]);
        sq_free(p->windowed[0][f]);
        sq_free(p->windowed[1][f]);
    }
    for (int k = 0; k < SQ_QE_COUNT; k++) {
        sq_free(p->estimate[k]);
        sq_free(p->curl[k]);
    }
    sq_free(p);
}

static sq_status modes_for(lensing_patch *p, double _Complex **out)
{
    return sq_alloc(out, (size_t)p->modes, sizeof **out, "modes of a patch");
}

static sq_status make_room(lensing_patch *p)
{
    sq_status rc = SQ_OK;
    int planes = p->polarised ? 3 : 1;
    double **real[] = {&p->box, &p->taper, &p->sigma, &p->window, &p->ivar[0], &p->ivar[1]};
    for (size_t i = 0; i < sizeof real / sizeof *real; i++)
        SQ_TRY(sq_alloc(real[i], (size_t)p->pixels, sizeof(double), "patch"));
    for (int i = 0; i < planes; i++) {
        SQ_TRY(SQ_ALLOC(p->map[i], p->pixels, "patch"));
        SQ_TRY(SQ_ALLOC(p->noise[i], p->pixels, "patch"));
        SQ_TRY(SQ_ALLOC(p->drawn[i], p->pixels, "patch"));
        SQ_TRY(SQ_ALLOC(p->lensed[i], sq_flat_modes(&p->sky), "sky"));
        for (int s = 0; s < LENSING_SETS; s++)
            SQ_TRY(modes_for(p, &p->leg[s][i]));
    }
    for (int i = 0; i < SQ_CMB_FIELDS; i++) {
        if (i != SQ_CMB_E || p->polarised)
            SQ_TRY(SQ_ALLOC(p->wide[i], sq_flat_modes(&p->work), "sky"));
    }
    for (int f = 0; f < p->setup.pairs->fields; f++) {
        for (int s = 0; s < LENSING_SETS; s++)
            SQ_TRY(modes_for(p, &p->field[s][f]));
        SQ_TRY(modes_for(p, &p->windowed[0][f]));
        SQ_TRY(modes_for(p, &p->windowed[1][f]));
    }
    for (int k = 0; k < SQ_QE_COUNT; k++) {
        if (!(p->kinds & 1u << k))
            continue;
        SQ_TRY(modes_for(p, &p->estimate[k]));
        SQ_TRY(modes_for(p, &p->curl[k]));
    }
    for (int i = 0; i < MODEL_TABLES; i++)
        SQ_TRY(SQ_ALLOC(p->table[i], p->setup.theory->top + 1, "spectrum"));
cleanup:
    return rc;
}

/* 0 up to `border` pixels from the patch's border, 1 from border + width on. */
static void make_edges(const lensing_patch *p, double border, double width, double *out)
{
    for (int64_t i = 0; i < p->pixels; i++) {
        out[i] = 1;
        for (int axis = 0; axis < 2; axis++) {
            double x = (double)(axis ? i / p->side : i % p->side);
            double d = fmin(x, p->side - 1 - x) + 0.5 - border;
            out[i] *= sq_window_profile(SQ_WINDOW_COSINE, fmax(0, d), width);
        }
    }
}

/* The window falls over half a halo about the core's border. The filter's weight is 0 in a band
 * along the patch's: its model of the sky is periodic and would join what lies on opposite sides.
 */
static void make_windows(lensing_patch *p)
{
    double halo = p->setup.halo, width = fmin(0.5 * halo, 0.5 * p->setup.core);
    double edge = fmin(p->setup.settings->edge / p->setup.settings->pixel, 0.45 * p->side);
    make_edges(p, halo - 0.5 * width, width, p->box);
    make_edges(p, 0.5 * edge, 0.5 * edge, p->taper);
}

static sq_status make_sky(lensing_patch *p)
{
    const lensing_theory *t = p->setup.theory;
    sq_cmb_spectra s = {.lmax = t->top,
                        .tt = t->unlensed[THEORY_TT],
                        .ee = p->polarised ? t->unlensed[THEORY_EE] : NULL,
                        .te = p->polarised ? t->unlensed[THEORY_TE] : NULL,
                        .pp = t->phi};
    return sq_cmb_create(&p->work, &p->sky, &s, &p->cmb);
}

static void choose_kinds(lensing_patch *p)
{
    unsigned all = p->polarised ? (1u << SQ_QE_COUNT) - 1 : 1u << SQ_QE_TT;
    p->kinds = p->setup.methods & all;
    if (p->setup.methods & 1u << LENSING_MV || !p->kinds) {
        p->kinds = all;
        p->curl_kinds = all;
    } else {
        p->curl_kinds = p->kinds & -p->kinds;
    }
}

sq_status lensing_patch_create(const lensing_patch_setup *setup, lensing_patch **out)
{
    sq_status rc = SQ_OK;
    lensing_patch *p = NULL;
    const lensing_settings *s = setup->settings;
    int side = setup->core + 2 * setup->halo;
    double step = s->pixel * ARCMIN;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(p, 1, "lensing patch"));
    p->setup = *setup;
    p->side = side;
    p->polarised = !s->temperature_only;
    p->flat = (sq_flat){side, side, step, step};
    /* Skies go on beyond the patch, as the data's does: its opposite borders must not join. */
    p->sky = (sq_flat){side + side / 2, side + side / 2, step, step};
    p->work = (sq_flat){2 * p->sky.ny, 2 * p->sky.nx, 0.5 * step, 0.5 * step};
    p->pixels = sq_flat_pixels(&p->flat);
    p->modes = sq_flat_modes(&p->flat);
    choose_kinds(p);
    SQ_TRY(sq_fft_create(side, side, &p->fft));
    SQ_TRY(SQ_ALLOC(p->transfer, setup->theory->top + 1, "transfer"));
    for (int l = 0; l <= setup->theory->top; l++)
        p->transfer[l] = setup->theory->beam[l] * setup->window[l];
    SQ_TRY(SQ_ALLOC(p->ell, p->modes, "multipoles"));
    sq_flat_ell(&p->flat, p->ell);
    SQ_TRY(sq_fft_create(p->sky.ny, p->sky.nx, &p->sky_fft));
    SQ_TRY(SQ_ALLOC(p->sky_ell, sq_flat_modes(&p->sky), "multipoles"));
    sq_flat_ell(&p->sky, p->sky_ell);
    SQ_TRY(SQ_ALLOC(p->sky_map, sq_flat_pixels(&p->sky), "sky"));
    SQ_TRY(make_room(p));
    make_windows(p);
    SQ_TRY(make_sky(p));
    if (setup->methods & 1u << LENSING_NETWORK)
        SQ_TRY(sq_lensing_network_create(setup->model, setup->net, &p->flat, setup->precision,
                                         &p->network));
    *out = p;
    p = NULL;
cleanup:
    lensing_patch_destroy(p);
    return rc;
}

/* ---- the maps of a patch ---- */

/* Weighted by the splits' inverse variances. */
static void coadd(lensing_patch *p, const lensing_input *in)
{
    for (int64_t i = 0; i < p->pixels; i++) {
        double weight = 0, sum[3] = {0};
        for (int k = 0; k < in->splits && in->noise[k][i] > 0; k++) {
            double w = 1 / ((double)in->noise[k][i] * in->noise[k][i]);
            weight += w;
            for (int m = 0; m < in->planes; m++)
                sum[m] += w * in->map[k][m][i];
        }
        for (int m = 0; m < in->planes; m++)
            p->map[m][i] = weight > 0 ? sum[m] / weight : 0;
        p->sigma[i] = weight > 0 ? 1 / sqrt(weight) : 0;
    }
}

/* The box, falling to 0 over half the edge toward regions without data. */
static sq_status make_window(lensing_patch *p)
{
    sq_status rc = SQ_OK;
    uint8_t *held = NULL;
    int64_t *sum = NULL;
    int n = p->side, reach = (int)ceil(HOLE / p->setup.settings->pixel / 2);
    SQ_TRY(SQ_ALLOC(held, p->pixels, "window"));
    SQ_TRY(SQ_ALLOC(sum, (int64_t)(n + 1) * (n + 1), "window"));
    for (int y = 0; y < n; y++) {
        for (int x = 0; x < n; x++)
            sum[(y + 1) * (n + 1) + x + 1] = (p->sigma[y * n + x] > 0) + sum[y * (n + 1) + x + 1] +
                                             sum[(y + 1) * (n + 1) + x] - sum[y * (n + 1) + x];
    }
    for (int y = 0; y < n; y++) {
        for (int x = 0; x < n; x++) {
            int y0 = y > reach ? y - reach : 0, y1 = y + reach + 1 < n ? y + reach + 1 : n;
            int x0 = x > reach ? x - reach : 0, x1 = x + reach + 1 < n ? x + reach + 1 : n;
            int64_t count = sum[y1 * (n + 1) + x1] - sum[y0 * (n + 1) + x1] -
                            sum[y1 * (n + 1) + x0] + sum[y0 * (n + 1) + x0];
            held[y * n + x] = 2 * count > (int64_t)(y1 - y0) * (x1 - x0);
        }
    }
    SQ_TRY(sq_window_mask(&p->flat, SQ_WINDOW_COSINE, 0.5 * p->setup.settings->edge * ARCMIN, held,
                          p->window));
    for (int64_t i = 0; i < p->pixels; i++)
        p->window[i] *= p->box[i];
    p->norm = sq_window_mean(&p->flat, p->window, 2);
cleanup:
    sq_free(held);
    sq_free(sum);
    return rc;
}

/* The level that the window sees, and inverse variances a pixel. */
static sq_status make_noise(lensing_patch *p)
{
    sq_status rc = SQ_OK;
    const lensing_settings *s = p->setup.settings;
    double *seen = NULL;
    int64_t count = 0;
    SQ_TRY(SQ_ALLOC(seen, p->pixels, "noise"));
    for (int64_t i = 0; i < p->pixels; i++) {
        int seen_at_all = p->sigma[i] > 0 && p->taper[i] > LEAST_TAPER;
        double weight = seen_at_all ? pow(s->pixel / p->sigma[i], 2) * p->taper[i] : 0;
        p->ivar[0][i] = weight;
        p->ivar[1][i] = weight / (s->polarisation_noise * s->polarisation_noise);
        if (p->sigma[i] > 0 && p->window[i] > 0.5)
            seen[count++] = p->sigma[i];
    }
    p->level = sq_median(seen, count);
    p->usable = count > 0 && p->norm > 0.1 * sq_window_mean(&p->flat, p->box, 2);
cleanup:
    sq_free(seen);
    return rc;
}

double lensing_patch_correlated(const lensing_patch *p, int polarised, int l)
{
    const lensing_settings *s = p->setup.settings;
    const double *shape = p->setup.theory->noise[polarised];
    if (!shape)
        return 0;
    double least = INFINITY;
    for (int64_t k = s->lmin; k <= s->lmax; k++)
        least = fmin(least, shape[k]);
    double level = p->level * ARCMIN * (polarised ? s->polarisation_noise : 1);
    /* Below the least multipole in use it would only grow. */
    double here = shape[l < s->lmin ? (int)s->lmin : l];
    return level * level * fmax(0, here / least - 1);
}

static sq_status make_filter(lensing_patch *p)
{
    sq_status rc = SQ_OK;
    const lensing_settings *s = p->setup.settings;
    const lensing_theory *t = p->setup.theory;
    static const int of[3] = {THEORY_TT, THEORY_EE, THEORY_BB};
    for (int k = 0; k < (p->polarised ? 3 : 1); k++) {
        for (int l = 0; l <= t->top; l++) {
            double beam = p->transfer[l];
            double red = l <= s->lmax && beam > 0
                             ? lensing_patch_correlated(p, k > 0, l) / (beam * beam)
                             : 0;
            p->table[MODEL_T + k][l] = t->lensed[of[k]][l] + red;
        }
    }
    sq_wiener_model m = {.lmax = t->top,
                         .tt = p->table[MODEL_T],
                         .ee = p->polarised ? p->table[MODEL_E] : NULL,
                         .bb = p->polarised ? p->table[MODEL_B] : NULL,
                         .te = p->polarised ? t->lensed[THEORY_TE] : NULL,
                         .beam = p->transfer,
                         .ivar_t = p->ivar[0],
                         .ivar_p = p->polarised ? p->ivar[1] : NULL};
    SQ_TRY(sq_wiener_create(&p->flat, &m, &p->wiener));
    for (int k = 0; k < (p->polarised ? 3 : 1); k++) {
        double *total = p->table[TOTAL_T + k];
        sq_wiener_noise(p->wiener, k > 0, total);
        for (int l = 0; l <= t->top; l++)
            total[l] = l <= s->lmax ? total[l] + p->table[MODEL_T + k][l] : 0;
    }
cleanup:
    return rc;
}

static sq_status make_estimators(lensing_patch *p)
{
    const lensing_settings *s = p->setup.settings;
    const lensing_theory *t = p->setup.theory;
    p->spectra = (sq_qe_spectra){.weight_tt = t->lensed[THEORY_TT],
                                 .weight_ee = t->lensed[THEORY_EE],
                                 .weight_te = t->lensed[THEORY_TE],
                                 .response_tt = t->gradient[THEORY_TT],
                                 .response_ee = t->gradient[THEORY_EE],
                                 .response_te = t->gradient[THEORY_TE],
                                 .total_tt = p->table[TOTAL_T],
                                 .total_ee = p->polarised ? p->table[TOTAL_E] : NULL,
                                 .total_bb = p->polarised ? p->table[TOTAL_B] : NULL};
    sq_status rc = sq_quadratic_create(&p->flat, (int)s->lmin, (int)s->lmax, &p->spectra, &p->q);
    if (rc == SQ_OK && p->setup.methods & 1u << LENSING_MAP)
        rc = sq_maximum_create(&p->flat, (int)s->lmin, (int)s->lmax, &p->spectra,
                               t->lensed[THEORY_BB], t->phi, t->top, t->unlensed[THEORY_EE],
                               &p->maximum);
    return rc;
}

/* What the network and QE_n need to know of the noise: that of the patch before where it is the
 * same.
 */
static sq_status make_inputs(lensing_patch *p)
{
    sq_status rc = SQ_OK;
    const lensing_settings *s = p->setup.settings;
    double *noise = NULL;
    size_t size = ((size_t)s->lmax + 1) * sizeof *noise;
    SQ_TRY(SQ_ALLOC(noise, s->lmax + 1, "noise"));
    for (int l = 0; l <= s->lmax; l++)
        noise[l] = p->table[TOTAL_E][l] - p->setup.theory->lensed[THEORY_EE][l];
    if (p->inputs && memcmp(noise, p->inputs_noise, size) == 0)
        goto cleanup;
    sq_lensing_inputs_destroy(p->inputs);
    p->inputs = NULL;
    SQ_TRY(sq_lensing_inputs_create(&p->flat, (int)s->lmin, (int)s->lmax, noise, INPUT_SKIES,
                                    p->setup.seed, &p->inputs));
    sq_free(p->inputs_noise);
    p->inputs_noise = noise;
    noise = NULL;
cleanup:
    sq_free(noise);
    return rc;
}

sq_status lensing_patch_filter(lensing_patch *p, double *const map[3], int set)
{
    double _Complex **leg = p->leg[set];
    sq_status rc = sq_wiener_run(p->wiener, map[0], map[1], map[2], p->setup.settings->tolerance,
                                 STEPS, leg[0], leg[1], leg[2], &p->result);
    if (rc == SQ_OK)
        sq_wiener_restore(p->wiener, leg[0], leg[1], leg[2]);
    return rc;
}

sq_status lensing_patch_quadratic(lensing_patch *p, double _Complex *const *a,
                                  double _Complex *const *b, double _Complex *const *out)
{
    sq_status rc = SQ_OK;
    const lensing_pairs *pairs = p->setup.pairs;
    const double _Complex *const *kappa = (const double _Complex *const *)p->estimate;
    const double _Complex *const *curl = (const double _Complex *const *)p->curl;
    SQ_TRY(sq_quadratic_cross(p->q, p->kinds, (const double _Complex *const *)a,
                              (const double _Complex *const *)b, p->estimate, p->curl));
    for (int f = 0; f < pairs->fields; f++) {
        int code = pairs->field[f];
        if (code < SQ_QE_COUNT)
            memcpy(out[f], p->estimate[code], (size_t)p->modes * sizeof **out);
        else if (code == LENSING_MV)
            SQ_TRY(sq_quadratic_combine(p->q, p->kinds, kappa, out[f]));
        else if (code == LENSING_CURL)
            SQ_TRY(sq_quadratic_combine_curl(p->q, p->curl_kinds, curl, out[f]));
    }
cleanup:
    return rc;
}

/* QE_n and the network's kappa, each where it is wanted. */
static sq_status learn(lensing_patch *p, int set)
{
    sq_status rc = SQ_OK;
    const lensing_pairs *pairs = p->setup.pairs;
    SQ_TRY(sq_lensing_inputs_fill(p->inputs, p->leg[set][1], p->leg[set][2]));
    if (p->network)
        SQ_TRY(sq_lensing_network_run(p->network, p->inputs));
    for (int f = 0; f < pairs->fields; f++) {
        if (pairs->field[f] == LENSING_QEN)
            memcpy(p->field[set][f], sq_lensing_inputs_base(p->inputs),
                   (size_t)p->modes * sizeof **p->field[set]);
        if (pairs->field[f] == LENSING_NETWORK)
            sq_lensing_inputs_finish(p->inputs, sq_lensing_network_mean(p->network),
                                     p->field[set][f]);
    }
cleanup:
    return rc;
}

/* All fields of a set but the truth. */
static sq_status estimate(lensing_patch *p, int set)
{
    sq_status rc = SQ_OK;
    const lensing_pairs *pairs = p->setup.pairs;
    double _Complex **leg = p->leg[set];
    sq_maximum_result result;
    SQ_TRY(lensing_patch_quadratic(p, leg, leg, p->field[set]));
    for (int f = 0; f < pairs->fields && p->maximum; f++) {
        if (pairs->field[f] == LENSING_MAP)
            SQ_TRY(sq_maximum_run(p->maximum, leg[1], leg[2], NULL,
                                  (int)p->setup.settings->iterations, 1e-3, p->field[set][f], NULL,
                                  &result));
    }
    if (p->inputs)
        SQ_TRY(learn(p, set));
cleanup:
    return rc;
}

/* How far the ensemble's members are apart in the window. */
static double scatter_of(const lensing_patch *p)
{
    double sum = 0, weight = 0;
    if (!p->network)
        return NAN;
    const float *scatter = sq_lensing_network_scatter(p->network);
    for (int64_t k = 0; k < p->pixels; k++) {
        sum += p->window[k] * scatter[k] * scatter[k];
        weight += p->window[k];
    }
    return sqrt(sum / weight);
}

sq_status lensing_patch_load(lensing_patch *p, uint64_t number, const lensing_input *in,
                             int *usable)
{
    sq_status rc = SQ_OK;
    if (p->loaded && p->number == number) {
        *usable = p->usable;
        return SQ_OK;
    }
    unload(p);
    *usable = 0;
    p->number = number;
    coadd(p, in);
    SQ_TRY(make_window(p));
    SQ_TRY(make_noise(p));
    if (p->usable) {
        SQ_TRY(make_filter(p));
        SQ_TRY(make_estimators(p));
        if (p->setup.methods & (1u << LENSING_QEN | 1u << LENSING_NETWORK))
            SQ_TRY(make_inputs(p));
        SQ_TRY(lensing_patch_filter(p, p->map, LENSING_DATA));
        p->data_result = p->result;
        SQ_TRY(estimate(p, LENSING_DATA));
        p->scatter = scatter_of(p);
    }
    p->loaded = 1;
    *usable = p->usable;
cleanup:
    return rc;
}

/* ---- simulated skies ---- */

/* White noise of the local level, and correlated noise. */
static sq_status draw_noise(lensing_patch *p, sq_rng *rng)
{
    sq_status rc = SQ_OK;
    const lensing_settings *s = p->setup.settings;
    double *power = NULL;
    for (int i = 0; i < (p->polarised ? 3 : 1); i++) {
        double factor = (i ? s->polarisation_noise : 1) / s->pixel;
        memset(p->noise[i], 0, (size_t)p->pixels * sizeof(double));
        if (p->setup.theory->noise[i > 0]) {
            sq_free(power);
            SQ_TRY(SQ_ALLOC(power, s->lmax + 1, "noise"));
            for (int l = 0; l <= s->lmax; l++)
                power[l] = lensing_patch_correlated(p, i > 0, l);
            SQ_TRY(sq_field_modes(p->fft, &p->flat, rng, power, (int)s->lmax, p->lensed[i]));
            sq_fft_backward(p->fft, p->lensed[i], p->noise[i]);
        }
        for (int64_t k = 0; k < p->pixels; k++)
            p->noise[i][k] += p->sigma[k] * factor * sq_rng_normal(rng);
    }
cleanup:
    sq_free(power);
    return rc;
}

sq_status lensing_patch_draw(lensing_patch *p, uint32_t realisation, int which)
{
    sq_rng rng;
    uint64_t id = p->number << 24 | (uint64_t)realisation << 1 | (uint64_t)which;
    sq_rng_init(&rng, p->setup.seed, SKY_STREAM, id);
    sq_status rc = sq_cmb_draw(p->cmb, &rng, p->wide);
    sq_rng_init(&rng, p->setup.seed, NOISE_STREAM, id);
    return rc == SQ_OK ? draw_noise(p, &rng) : rc;
}

void lensing_patch_quieten(lensing_patch *p)
{
    for (int i = 0; i < (p->polarised ? 3 : 1); i++)
        memset(p->noise[i], 0, (size_t)p->pixels * sizeof(double));
}

/* The patch's part of modes of the box of skies. */
static void cut(lensing_patch *p, const double _Complex *modes, double *map)
{
    sq_fft_backward(p->sky_fft, modes, p->sky_map);
    for (int y = 0; y < p->side; y++)
        memcpy(map + (int64_t)y * p->side, p->sky_map + (int64_t)y * p->sky.nx,
               (size_t)p->side * sizeof *map);
}

/* L^2 phi / 2. */
static void true_kappa(lensing_patch *p, double amplitude, double _Complex *kappa)
{
    double _Complex *m = p->lensed[0];
    sq_cmb_regrid(&p->work, p->wide[SQ_CMB_PHI], &p->sky, m);
    for (int64_t k = 0; k < sq_flat_modes(&p->sky); k++)
        m[k] *= 0.5 * sqrt(amplitude) * p->sky_ell[k] * p->sky_ell[k];
    cut(p, m, p->drawn[0]);
    sq_fft_forward(p->fft, p->drawn[0], kappa);
}

sq_status lensing_patch_simulate(lensing_patch *p, double amplitude, int set)
{
    sq_status rc = SQ_OK;
    double _Complex **m = p->lensed;
    SQ_TRY(sq_cmb_lens(p->cmb, amplitude, p->wide[SQ_CMB_PHI], p->wide[SQ_CMB_T],
                       p->polarised ? p->wide[SQ_CMB_E] : NULL, NULL, m[0], m[1], m[2]));
    for (int i = 0; i < (p->polarised ? 3 : 1); i++) {
        sq_filter_table(&p->sky, p->transfer, p->setup.theory->top, m[i]);
        cut(p, m[i], p->drawn[i]);
        for (int64_t k = 0; k < p->pixels; k++)
            p->drawn[i][k] += p->noise[i][k];
    }
    SQ_TRY(lensing_patch_filter(p, p->drawn, set));
    SQ_TRY(estimate(p, set));
    true_kappa(p, amplitude, p->field[set][p->setup.pairs->fields - 1]);
cleanup:
    return rc;
}

sq_status lensing_patch_cross(lensing_patch *p, int a, int b)
{
    return lensing_patch_quadratic(p, p->leg[a < 0 ? LENSING_DATA : a],
                                   p->leg[b < 0 ? LENSING_DATA : b], p->field[0]);
}

const sq_flat *lensing_patch_flat(const lensing_patch *p)
{
    return &p->flat;
}

const double *lensing_patch_window(const lensing_patch *p)
{
    return p->window;
}

double lensing_patch_norm(const lensing_patch *p)
{
    return p->norm;
}

const double _Complex *lensing_patch_kappa(const lensing_patch *p, int field)
{
    return p->field[LENSING_DATA][field];
}

const double _Complex *lensing_patch_simulated(const lensing_patch *p, int set, int field)
{
    return p->field[set][field];
}
