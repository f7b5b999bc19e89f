#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "fourier/window.h"
#include "lensing/iterative.h"
#include "lensing/n1.h"
#include "lensing/patch_internal.h"

/* Estimates far above the bins, where hardly any pair of modes tells kappa, would leak into them
 * through the corners of a window. */
static const double MARGIN = 1.2;
static const double N1_STEP = 60; /* of the grid of l in N1: a finer one changes it by 1% */

/* Modes of a field, of l up to `top`, under the window. */
static void apply_window(lensing_patch *p, const double _Complex *field, double top,
                         double _Complex *out)
{
    for (int64_t k = 0; k < p->modes; k++)
        out[k] = p->ell[k] <= top ? field[k] : 0;
    sq_fft_backward(p->fft, out, p->drawn[0]);
    for (int64_t k = 0; k < p->pixels; k++)
        p->drawn[0][k] *= p->window[k];
    sq_fft_forward(p->fft, p->drawn[0], out);
}

static sq_status power_of(const lensing_patch *p, int a, int b, double *power)
{
    const lensing_pairs *pairs = p->setup.pairs;
    return sq_spectrum(&p->flat, p->windowed[0][a], p->windowed[1][b], p->norm, pairs->bins,
                       pairs->edges, NULL, power, NULL);
}

sq_status lensing_patch_powers(lensing_patch *p, const double _Complex *const *field,
                               const double _Complex *const *other, double *power)
{
    sq_status rc = SQ_OK;
    const lensing_pairs *pairs = p->setup.pairs;
    double swapped[LENSING_BINS], top = MARGIN * pairs->edges[pairs->bins];
    for (int f = 0; f < pairs->fields; f++) {
        if (!field[f])
            continue;
        apply_window(p, field[f], top, p->windowed[0][f]);
        if (other == field)
            memcpy(p->windowed[1][f], p->windowed[0][f], (size_t)p->modes * sizeof **field);
        else
            apply_window(p, other[f], top, p->windowed[1][f]);
    }
    for (int k = 0; k < pairs->pairs; k++) {
        double *out = power + (int64_t)k * pairs->bins;
        int a = pairs->a[k], b = pairs->b[k];
        for (int i = 0; i < pairs->bins; i++)
            out[i] = NAN;
        if (!field[a] || !field[b])
            continue;
        SQ_TRY(power_of(p, a, b, out));
        if (other == field || a == b)
            continue;
        SQ_TRY(power_of(p, b, a, swapped));
        for (int i = 0; i < pairs->bins; i++)
            out[i] = 0.5 * (out[i] + swapped[i]);
    }
cleanup:
    return rc;
}

/* ---- what the maps show ---- */

/* Powers TT, EE, BB of the filtered maps over those expected in one broad band, and the regression
 * of their TE on the theory's, whose sign changes with l. */
static void ratios(lensing_patch *p, int set, double ratio[4])
{
    const lensing_theory *t = p->setup.theory;
    const lensing_settings *s = p->setup.settings;
    double low = fmax(300, (double)s->lmin), high = fmin(1500, (double)s->lmax);
    double _Complex *m[3] = {p->windowed[0][0], p->windowed[0][1], p->windowed[1][0]};
    double power[4] = {0}, expected[4] = {0}, scale = p->flat.dx * p->flat.dy / (double)p->pixels;
    int columns = p->side / 2 + 1, planes = p->polarised ? 3 : 1;
    for (int i = 0; i < planes; i++) {
        /* Of T below, the window would bring much into the band. */
        for (int64_t k = 0; k < p->modes; k++)
            p->lensed[i][k] = p->ell[k] >= (double)s->lmin && p->ell[k] <= (double)s->lmax
                                  ? p->leg[set][i][k]
                                  : 0;
        apply_window(p, p->lensed[i], INFINITY, m[i]);
    }
    for (int64_t k = 0; k < p->modes; k++) {
        double l = p->ell[k], w = sq_flat_weight(&p->flat, (int)(k % columns));
        if (l < low || l >= high)
            continue;
        for (int i = 0; i < planes; i++) {
            power[i] += w * creal(m[i][k] * conj(m[i][k])) * scale / p->norm;
            expected[i] += w * sq_table_at(p->table[TOTAL_T + i], (int)s->lmax, l);
        }
        if (p->polarised) {
            double te = sq_table_at(t->lensed[THEORY_TE], t->top, l);
            power[3] += w * te * creal(m[0][k] * conj(m[1][k])) * scale / p->norm;
            expected[3] += w * te * te;
        }
    }
    for (int i = 0; i < 4; i++)
        ratio[i] = expected[i] > 0 ? power[i] / expected[i] : NAN;
}

sq_status lensing_patch_describe(lensing_patch *p, lensing_patch_facts *out)
{
    sq_status rc = SQ_OK;
    double ratio[4], flipped[4] = {NAN, NAN, NAN, NAN};
    ratios(p, LENSING_DATA, ratio);
    if (p->polarised) {
        for (int i = 0; i < 3; i++) {
            for (int64_t k = 0; k < p->pixels; k++)
                p->drawn[i][k] = (i == 2 ? -1 : 1) * p->map[i][k];
        }
        SQ_TRY(lensing_patch_filter(p, p->drawn, 0));
        ratios(p, 0, flipped);
    }
    *out = (lensing_patch_facts){
        .area = p->norm * sq_flat_area(&p->flat) * pow(180 / M_PI, 2),
        .noise_t = p->level,
        .noise_p = p->polarised ? p->level * p->setup.settings->polarisation_noise : NAN,
        .tt_ratio = ratio[0],
        .ee_ratio = ratio[1],
        .bb_ratio = ratio[2],
        .te_ratio = ratio[3],
        .bb_flipped = flipped[2],
        .te_flipped = flipped[3],
        .iterations = p->data_result.iterations,
        .residual = p->data_result.residual,
        .scatter = p->scatter,
        .out_of_domain = p->network && sq_lensing_out_of_domain(
                                           p->setup.net, sq_lensing_inputs_conditions(p->inputs))};
cleanup:
    return rc;
}

/* ---- noise ---- */

/* The inverse of the mean inverse by bins. */
static void bin_noise(const lensing_patch *p, const double *n0, double *out)
{
    const lensing_pairs *pairs = p->setup.pairs;
    int columns = p->side / 2 + 1;
    for (int b = 0; b < pairs->bins; b++) {
        double sum = 0, weight = 0;
        for (int64_t k = 0; k < p->modes; k++) {
            if (p->ell[k] < pairs->edges[b] || p->ell[k] >= pairs->edges[b + 1])
                continue;
            double w = sq_flat_weight(&p->flat, (int)(k % columns));
            sum += w * (isfinite(n0[k]) && n0[k] > 0 ? 1 / n0[k] : 0);
            weight += w;
        }
        out[b] = weight > 0 ? weight / sum : NAN;
    }
}

static void bin_signal(const lensing_patch *p, double *modes, double *signal)
{
    const lensing_pairs *pairs = p->setup.pairs;
    const lensing_theory *t = p->setup.theory;
    int columns = p->side / 2 + 1;
    double fourth = sq_window_mean(&p->flat, p->window, 4), share = p->norm * p->norm / fourth;
    for (int b = 0; b < pairs->bins; b++) {
        double sum = 0, weight = 0;
        for (int64_t k = 0; k < p->modes; k++) {
            double l = p->ell[k];
            if (l < pairs->edges[b] || l >= pairs->edges[b + 1])
                continue;
            double w = sq_flat_weight(&p->flat, (int)(k % columns));
            sum += w * 0.25 * pow(l, 4) * sq_table_at(t->phi, t->top, l);
            weight += w;
        }
        signal[b] = weight > 0 ? sum / weight : NAN;
        modes[b] = weight * share;
    }
}

/* Iterated EB with TT, TE and EE as they are. */
static sq_status iterate(lensing_patch *p, double *n0, double *even)
{
    const lensing_settings *s = p->setup.settings;
    const lensing_theory *t = p->setup.theory;
    const unsigned kinds = 1u << SQ_QE_TT | 1u << SQ_QE_TE | 1u << SQ_QE_EE;
    sq_status rc = sq_quadratic_combined_n0(p->q, kinds, t->lensed[THEORY_TE], even);
    if (rc == SQ_OK)
        rc = sq_iterative_n0(&p->flat, (int)s->lmin, (int)s->lmax, &p->spectra,
                             t->lensed[THEORY_BB], t->phi, 2, n0, NULL);
    for (int64_t k = 0; rc == SQ_OK && k < p->modes; k++)
        n0[k] = 1 / (1 / n0[k] + 1 / even[k]);
    return rc;
}

/* N1 of estimators together, in the middle of the bins. */
static sq_status bin_n1(const lensing_patch *p, unsigned kinds, double *out)
{
    const lensing_settings *s = p->setup.settings;
    const lensing_pairs *pairs = p->setup.pairs;
    double L[LENSING_BINS];
    for (int b = 0; b < pairs->bins; b++)
        L[b] = 0.5 * (pairs->edges[b] + pairs->edges[b + 1]);
    return sq_n1(&p->spectra, (int)s->lmin, (int)s->lmax, kinds, p->setup.theory->phi, N1_STEP,
                 pairs->bins, L, out);
}

sq_status lensing_patch_noise(lensing_patch *p, double *n0, double *n1, double *iterated,
                              double *modes, double *signal)
{
    sq_status rc = SQ_OK;
    const lensing_pairs *pairs = p->setup.pairs;
    const double *te = p->polarised ? p->setup.theory->lensed[THEORY_TE] : NULL;
    double *noise = NULL, *even = NULL;
    SQ_TRY(SQ_ALLOC(noise, p->modes, "noise"));
    SQ_TRY(SQ_ALLOC(even, p->modes, "noise"));
    bin_signal(p, modes, signal);
    for (int f = 0; f < pairs->fields; f++) {
        int code = pairs->field[f];
        for (int b = 0; b < pairs->bins; b++)
            n0[f * pairs->bins + b] = n1[f * pairs->bins + b] = NAN;
        if (code < SQ_QE_COUNT)
            SQ_TRY(sq_quadratic_n0(p->q, (sq_qe)code, noise));
        else if (code == LENSING_MV && p->polarised)
            SQ_TRY(sq_quadratic_combined_n0(p->q, p->kinds, te, noise));
        else if (code == LENSING_MV)
            SQ_TRY(sq_quadratic_n0(p->q, SQ_QE_TT, noise));
        if (code > LENSING_MV)
            continue;
        bin_noise(p, noise, n0 + (int64_t)f * pairs->bins);
        SQ_TRY(
            bin_n1(p, code == LENSING_MV ? p->kinds : 1u << code, n1 + (int64_t)f * pairs->bins));
    }
    for (int b = 0; b < pairs->bins; b++)
        iterated[b] = NAN;
    if (p->polarised && p->kinds == (1u << SQ_QE_COUNT) - 1) {
        SQ_TRY(iterate(p, noise, even));
        bin_noise(p, noise, iterated);
    }
cleanup:
    sq_free(noise);
    sq_free(even);
    return rc;
}

/* ---- splits ---- */

typedef struct split_sums {
    double _Complex *sum[LENSING_FIELDS], *row[LENSING_SPLITS][LENSING_FIELDS];
    double _Complex *leg[LENSING_SPLITS][3];
    double *power; /* [pairs * bins] */
} split_sums;

static sq_status load_splits(lensing_patch *p, const lensing_input *in, split_sums *s)
{
    sq_status rc = SQ_OK;
    for (int k = 0; k < in->splits; k++) {
        for (int m = 0; m < in->planes; m++) {
            SQ_TRY(SQ_ALLOC(s->leg[k][m], p->modes, "split"));
            for (int64_t i = 0; i < p->pixels; i++)
                p->drawn[m][i] = in->map[k][m][i];
        }
        SQ_TRY(lensing_patch_filter(p, p->drawn, 0));
        for (int m = 0; m < in->planes; m++)
            memcpy(s->leg[k][m], p->leg[0][m], (size_t)p->modes * sizeof **s->leg[k]);
    }
cleanup:
    return rc;
}

/* Add factor times the autos of quadratic fields. */
static sq_status add_powers(lensing_patch *p, const split_sums *s, double _Complex *const *field,
                            double factor, double *power)
{
    const lensing_pairs *pairs = p->setup.pairs;
    const double _Complex *use[LENSING_FIELDS] = {NULL};
    for (int f = 0; f < pairs->fields; f++)
        use[f] = lensing_is_quadratic(pairs->field[f]) ? field[f] : NULL;
    sq_status rc = lensing_patch_powers(p, use, use, s->power);
    for (int f = 0; rc == SQ_OK && f < pairs->fields; f++) {
        int pair = lensing_pairs_find(pairs, pairs->field[f], pairs->field[f]);
        for (int b = 0; b < pairs->bins; b++)
            power[f * pairs->bins + b] += factor * s->power[pair * pairs->bins + b];
    }
    return rc;
}

/* Power from n >= 4 splits with independent noise, of which it has no bias: the mean of C(kappa_ij,
 * kappa_kl) over all i, j, k, l that differ (Madhavacheril et al. 2020, 2011.02475). With S = sum
 * over ordered pairs i != j of kappa_ij and s_i = sum over j != i of kappa_ij their sum is C(S, S)
 * - 4 sum_i C(s_i, s_i) + 2 sum_(i != j) C(kappa_ij, kappa_ij). */
static sq_status sum_splits(lensing_patch *p, const split_sums *s, int splits, double *power)
{
    sq_status rc = SQ_OK;
    const lensing_pairs *pairs = p->setup.pairs;
    double m = splits;
    for (int i = 0; i < splits; i++) {
        for (int j = i + 1; j < splits; j++) {
            SQ_TRY(lensing_patch_quadratic(p, s->leg[i], s->leg[j], p->field[0]));
            SQ_TRY(add_powers(p, s, p->field[0], 4, power));
            for (int f = 0; f < pairs->fields; f++) {
                for (int64_t k = 0; s->sum[f] && k < p->modes; k++) {
                    s->sum[f][k] += 2 * p->field[0][f][k];
                    s->row[i][f][k] += p->field[0][f][k];
                    s->row[j][f][k] += p->field[0][f][k];
                }
            }
        }
    }
    for (int i = 0; i <= splits; i++)
        SQ_TRY(add_powers(p, s, i < splits ? s->row[i] : s->sum, i < splits ? -4 : 1, power));
    for (int k = 0; k < pairs->fields * pairs->bins; k++)
        power[k] /= m * (m - 1) * (m - 2) * (m - 3);
cleanup:
    return rc;
}

sq_status lensing_patch_split_power(lensing_patch *p, const lensing_input *in, double *power)
{
    sq_status rc = SQ_OK;
    const lensing_pairs *pairs = p->setup.pairs;
    split_sums s = {.power = NULL};
    for (int k = 0; k < pairs->fields * pairs->bins; k++)
        power[k] = in->splits < 4 ? NAN : 0;
    if (in->splits < 4)
        return SQ_OK;
    SQ_TRY(SQ_ALLOC(s.power, pairs->pairs * pairs->bins, "power"));
    for (int f = 0; f < pairs->fields; f++) {
        if (!lensing_is_quadratic(pairs->field[f]))
            continue;
        SQ_TRY(SQ_ALLOC(s.sum[f], p->modes, "splits"));
        for (int k = 0; k < in->splits; k++)
            SQ_TRY(SQ_ALLOC(s.row[k][f], p->modes, "splits"));
    }
    SQ_TRY(load_splits(p, in, &s));
    SQ_TRY(sum_splits(p, &s, in->splits, power));
cleanup:
    sq_free(s.power);
    for (int f = 0; f < LENSING_FIELDS; f++) {
        sq_free(s.sum[f]);
        for (int k = 0; k < LENSING_SPLITS; k++)
            sq_free(s.row[k][f]);
    }
    for (int k = 0; k < LENSING_SPLITS; k++) {
        for (int m = 0; m < 3; m++)
            sq_free(s.leg[k][m]);
    }
    return rc;
}
