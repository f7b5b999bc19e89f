#include "lensing/reconstruct.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "fourier/interpolate.h"
#include "lensing/bins.h"
#include "lensing/survey.h"
#include "lensing/training.h"

static const double LEAST_TRANSFER = 0.05;

typedef struct work {
    const lensing_reconstruction *r;
    lensing_patch *patch;
    const lensing_pairs *pairs;
    const sq_patch *place;
    lensing_statistics stats;
    lensing_patch_facts facts;
    int64_t modes;
    double _Complex *mean[2][LENSING_FIELDS]; /* data less the mean field of either half */
    double *power, *mean_power;               /* [pairs * bins] */
    double *n0, *n1, *split;                  /* [fields * bins] */
    double iterated[LENSING_BINS], count[LENSING_BINS], signal[LENSING_BINS];
    double transfer[LENSING_FIELDS][LENSING_BINS], rho[LENSING_FIELDS][LENSING_BINS];
    bandpower_row *row;
} work;

static void drop(work *w)
{
    for (int f = 0; f < LENSING_FIELDS; f++) {
        sq_free(w->mean[0][f]);
        sq_free(w->mean[1][f]);
    }
    double *all[] = {w->power, w->mean_power, w->n0, w->n1, w->split};
    for (int i = 0; i < 5; i++)
        sq_free(all[i]);
    sq_free(w->row);
    lensing_statistics_free(&w->stats);
}

/* ---- mean field ---- */

static void spread_mean(const work *w, int half, int field, double _Complex *out)
{
    const lensing_reconstruction *r = w->r;
    int columns = lensing_patch_flat(w->patch)->nx / 2 + 1;
    memset(out, 0, (size_t)w->modes * sizeof *out);
    for (int64_t k = 0; k < r->mean_modes; k++)
        out[(int64_t)r->v[k] * columns + r->u[k]] = w->stats.half[half][field * r->mean_modes + k];
}

/* Powers of the mean field and of the data without it, both from the two halves. */
static sq_status mean_field_powers(work *w)
{
    sq_status rc = SQ_OK;
    const double _Complex *half[2][LENSING_FIELDS] = {{NULL}};
    int fields = w->pairs->fields - 1;
    for (int f = 0; f < fields; f++) {
        for (int h = 0; h < 2; h++) {
            SQ_TRY(SQ_ALLOC(w->mean[h][f], w->modes, "mean field"));
            spread_mean(w, h, f, w->mean[h][f]);
            half[h][f] = w->mean[h][f];
        }
    }
    SQ_TRY(lensing_patch_powers(w->patch, half[0], half[1], w->mean_power));
    for (int f = 0; f < fields; f++) {
        const double _Complex *data = lensing_patch_kappa(w->patch, f);
        for (int h = 0; h < 2; h++) {
            for (int64_t k = 0; k < w->modes; k++)
                w->mean[h][f][k] = data[k] - w->mean[h][f][k];
        }
    }
    SQ_TRY(lensing_patch_powers(w->patch, half[0], half[1], w->power));
cleanup:
    return rc;
}

/* ---- rows ---- */

static double auto_of(const work *w, const double *power, int field, int bin)
{
    int pair = lensing_pairs_find(w->pairs, w->pairs->field[field], w->pairs->field[field]);
    return power[pair * w->pairs->bins + bin];
}

/* Transfer and correlation of every field from the simulations. */
static void find_transfers(work *w)
{
    const lensing_pairs *p = w->pairs;
    int truth = p->fields - 1;
    for (int f = 0; f < truth; f++) {
        int pair = lensing_pairs_find(p, p->field[f], LENSING_TRUTH);
        for (int b = 0; b < p->bins; b++) {
            double own = auto_of(w, w->stats.mean, truth, b);
            w->transfer[f][b] = pair < 0 ? 0 : w->stats.mean[pair * p->bins + b] / own;
            double power = auto_of(w, w->stats.mean, f, b) - auto_of(w, w->mean_power, f, b);
            w->rho[f][b] = w->transfer[f][b] * sqrt(own / power);
        }
    }
}

static void fill_row(work *w, int k, int pair, int bin)
{
    const lensing_pairs *p = w->pairs;
    int a = p->a[pair], b = p->b[pair], at = pair * p->bins + bin;
    int quadratic = lensing_is_quadratic(p->field[a]) && lensing_is_quadratic(p->field[b]);
    int curl = p->field[a] == LENSING_CURL, both = a == b;
    double ta = w->transfer[a][bin], tb = w->transfer[b][bin], square = curl ? 1 : ta * tb;
    double own = auto_of(w, w->stats.mean, p->fields - 1, bin);
    double rest = w->stats.mean[at] - w->mean_power[at] - ta * tb * own;
    bandpower_row *r = &w->row[k];
    *r = (bandpower_row){.ra = w->place->ra,
                         .dec = w->place->dec,
                         .method_a = p->field[a],
                         .method_b = p->field[b],
                         .l_min = p->edges[bin],
                         .l_max = p->edges[bin + 1],
                         .modes = w->count[bin],
                         .area = w->facts.area,
                         .power = w->power[at],
                         .noise_sims = quadratic ? w->stats.noise_sims[at] : rest,
                         .mean_field = w->mean_power[at],
                         .transfer_a = curl ? 0 : ta,
                         .transfer_b = curl ? 0 : tb,
                         .signal = curl ? 0 : w->signal[bin],
                         .n0 = both ? w->n0[a * p->bins + bin] : NAN,
                         .n1_theory = both ? w->n1[a * p->bins + bin] : NAN,
                         .rho = both ? w->rho[a][bin] : NAN};
    r->noise = quadratic ? w->stats.noise_data[at] - w->stats.noise_sims[at] : rest;
    r->n1 = quadratic ? rest - w->stats.noise_sims[at] : 0;
    r->kappa = (r->power - r->noise - r->n1) / square;
    r->error = w->stats.scatter[at] / fabs(square);
    r->split =
        both ? (w->split[a * p->bins + bin] - w->stats.noise_cmb[at] - r->n1 - r->mean_field) /
                   square
             : NAN;
    r->snr = both ? sqrt(0.5 * w->count[bin]) * pow(w->rho[a][bin], 2) : NAN;
    double ideal = w->signal[bin] / (w->signal[bin] + w->iterated[bin]);
    r->snr_iterated = r->snr / (sqrt(0.5 * w->count[bin]) * ideal);
    r->snr_mv = NAN;
    for (int f = 0; f < p->fields; f++) {
        if (p->field[f] == LENSING_MV && both)
            r->snr_mv = pow(w->rho[a][bin] / w->rho[f][bin], 2);
    }
}

static sq_status write_bandpowers(work *w, sq_product *product)
{
    sq_status rc = SQ_OK;
    int index[LENSING_PAIRS], n = lensing_data_pairs(w->pairs, index), bins = w->pairs->bins;
    SQ_TRY(SQ_ALLOC(w->row, n * bins, "bandpowers"));
    for (int k = 0; k < n * bins; k++)
        fill_row(w, k, index[k / bins], k % bins);
    SQ_TRY(lensing_rows_write(TABLE_BANDPOWERS, n * bins, w->row, product));
cleanup:
    return rc;
}

static sq_status write_mean_field(const work *w, sq_product *product)
{
    sq_status rc = SQ_OK;
    const lensing_reconstruction *r = w->r;
    int fields = w->pairs->fields - 1;
    double n0 = w->stats.halves[0], n1 = w->stats.halves[1];
    mode_row *row = NULL;
    SQ_TRY(SQ_ALLOC(row, fields * r->mean_modes, "mean field"));
    for (int64_t k = 0; k < fields * r->mean_modes; k++) {
        double _Complex mean = (n0 * w->stats.half[0][k] + n1 * w->stats.half[1][k]) / (n0 + n1);
        row[k] = (mode_row){w->pairs->field[k / r->mean_modes], r->v[k % r->mean_modes],
                            r->u[k % r->mean_modes], creal(mean), cimag(mean)};
    }
    SQ_TRY(lensing_rows_write(TABLE_MEAN_FIELD, fields * r->mean_modes, row, product));
cleanup:
    sq_free(row);
    return rc;
}

/* ---- flags ---- */

/* Chi^2 of the curl's bandpowers; 3.1 sigma by the cube root of chi^2 (Wilson & Hilferty 1931).
 * With errors of N simulated skies the mean of each square is (N - 1) / (N - 3). */
static int test_curl(const work *w, patch_row *row)
{
    int index[LENSING_PAIRS], n = lensing_data_pairs(w->pairs, index), bins = w->pairs->bins;
    double chi2 = 0, dof = 0, skies = 2 * (double)w->stats.count;
    for (int k = 0; k < n * bins; k++) {
        if (w->pairs->field[w->pairs->a[index[k / bins]]] != LENSING_CURL)
            continue;
        double x = w->row[k].kappa / w->row[k].error;
        if (isfinite(x)) {
            chi2 += x * x * (skies - 3) / (skies - 1);
            dof++;
        }
    }
    row->curl_chi2 = chi2;
    row->curl_dof = dof;
    double z = dof > 0 ? (cbrt(chi2 / dof) - (1 - 2 / (9 * dof))) / sqrt(2 / (9 * dof)) : 0;
    return z > 3.1;
}

/* Lensing power of the patch by the first method of the list that is in use, over that of the
 * spectra; unbiased bandpowers, weighted by their scatter. */
static void find_amplitude(const work *w, patch_row *row)
{
    static const int preferred[] = {LENSING_MV, SQ_QE_EB, SQ_QE_EE, SQ_QE_TE, SQ_QE_TT, SQ_QE_TB};
    int index[LENSING_PAIRS], n = lensing_data_pairs(w->pairs, index), bins = w->pairs->bins, i = 0;
    double cross = 0, own = 0;
    while (i < SQ_QE_COUNT && lensing_pairs_find(w->pairs, preferred[i], preferred[i]) < 0)
        i++;
    for (int k = 0; k < n * bins; k++) {
        const bandpower_row *r = &w->row[k];
        if (index[k / bins] != lensing_pairs_find(w->pairs, preferred[i], preferred[i]) ||
            !(r->error > 0) || !isfinite(r->kappa))
            continue;
        cross += r->kappa * r->signal / (r->error * r->error);
        own += r->signal * r->signal / (r->error * r->error);
    }
    row->amplitude = own > 0 ? cross / own : NAN;
    row->amplitude_error = own > 0 ? 1 / sqrt(own) : NAN;
}

/* By two sigma. */
static int strange_amplitude(const work *w, const patch_row *row)
{
    return lensing_pairs_find(w->pairs, LENSING_NETWORK, LENSING_NETWORK) >= 0 &&
           (row->amplitude + 2 * row->amplitude_error < sq_lensing_amplitudes[0] ||
            row->amplitude - 2 * row->amplitude_error > sq_lensing_amplitudes[1]);
}

static int unlike(double ratio)
{
    return isfinite(ratio) && !(ratio > 0.5 && ratio < 2);
}

static int find_flags(const lensing_patch_facts *f)
{
    int flags = 0;
    if (f->bb_ratio > 1.5 && f->bb_flipped < 0.7 * f->bb_ratio && f->te_flipped > f->te_ratio)
        flags |= LENSING_U_SIGN;
    if (f->te_ratio < -0.3)
        flags |= LENSING_TE_SIGN;
    if (unlike(f->tt_ratio) || unlike(f->ee_ratio) || unlike(f->bb_ratio))
        flags |= LENSING_SPECTRUM;
    if (f->out_of_domain)
        flags |= LENSING_OUT_OF_DOMAIN;
    return flags;
}

static double held(const lensing_input *in)
{
    return (double)in->held / ((double)in->side * in->side);
}

static sq_status write_patch(const work *w, const lensing_input *in, sq_product *product)
{
    const lensing_patch_facts *f = &w->facts;
    patch_row row = {.ra = w->place->ra,
                     .dec = w->place->dec,
                     .area = f->area,
                     .held = held(in),
                     .noise_t = f->noise_t,
                     .noise_p = f->noise_p,
                     .iterations = f->iterations,
                     .residual = f->residual,
                     .tt_ratio = f->tt_ratio,
                     .ee_ratio = f->ee_ratio,
                     .bb_ratio = f->bb_ratio,
                     .te_ratio = f->te_ratio,
                     .bb_flipped = f->bb_flipped,
                     .te_flipped = f->te_flipped,
                     .curl_chi2 = NAN,
                     .scatter = f->scatter,
                     .amplitude = NAN,
                     .amplitude_error = NAN};
    row.flags = find_flags(f);
    if (w->row)
        find_amplitude(w, &row);
    if (strange_amplitude(w, &row))
        row.flags = (int)row.flags | LENSING_OUT_OF_DOMAIN;
    if (w->row && test_curl(w, &row))
        row.flags = (int)row.flags | LENSING_CURL_POWER;
    return lensing_rows_write(TABLE_PATCHES, 1, &row, product);
}

sq_status lensing_reconstruct_empty(const lensing_input *in, const sq_patch *place,
                                    sq_product *product)
{
    patch_row row = {.ra = place->ra,
                     .dec = place->dec,
                     .held = held(in),
                     .noise_t = NAN,
                     .noise_p = NAN,
                     .residual = NAN,
                     .tt_ratio = NAN,
                     .ee_ratio = NAN,
                     .bb_ratio = NAN,
                     .te_ratio = NAN,
                     .bb_flipped = NAN,
                     .te_flipped = NAN,
                     .curl_chi2 = NAN,
                     .scatter = NAN,
                     .amplitude = NAN,
                     .amplitude_error = NAN,
                     .flags = LENSING_EMPTY};
    return lensing_rows_write(TABLE_PATCHES, 1, &row, product);
}

/* ---- maps ---- */

/* 1 over the transfer between bins' middles; 0 outside the bins and where there is none. */
static double gain(const work *w, int field, double l)
{
    const lensing_pairs *p = w->pairs;
    int i, j;
    if (!(l >= p->edges[0] && l < p->edges[p->bins]))
        return 0;
    double x = bins_place(p->edges, p->bins, l, &i, &j);
    double t = (1 - x) * w->transfer[field][i] + x * w->transfer[field][j];
    return t > LEAST_TRANSFER ? 1 / t : 0;
}

/* Noise power of unbiased kappa in the lower half of the bins, inverted. */
static double weight_of(const work *w, int field)
{
    double sum = 0, modes = 0;
    for (int b = 0; b < (w->pairs->bins + 1) / 2; b++) {
        double t = w->transfer[field][b], own = auto_of(w, w->stats.mean, w->pairs->fields - 1, b);
        double noise = auto_of(w, w->stats.mean, field, b) - auto_of(w, w->mean_power, field, b);
        if (!(t > LEAST_TRANSFER))
            continue;
        sum += w->count[b] * fmax(0, noise / (t * t) - own);
        modes += w->count[b];
    }
    return sum > 0 ? modes / sum : 0;
}

static sq_status write_maps(work *w, const sq_wcs *grid, double reach, sq_product *product)
{
    sq_status rc = SQ_OK;
    const sq_flat *flat = lensing_patch_flat(w->patch);
    const lensing_release *release = w->r->release;
    double *kappa[LENSING_METHODS] = {NULL}, weight[LENSING_METHODS], *ell = NULL;
    double _Complex *m = NULL;
    sq_fft *fft = NULL;
    int plane = 0;
    SQ_TRY(SQ_ALLOC(ell, w->modes, "multipoles"));
    SQ_TRY(SQ_ALLOC(m, w->modes, "kappa"));
    SQ_TRY(sq_fft_create(flat->ny, flat->nx, &fft));
    sq_flat_ell(flat, ell);
    double n0 = w->stats.halves[0], n1 = w->stats.halves[1];
    for (int f = 0; f < w->pairs->fields; f++) {
        if (w->pairs->field[f] >= LENSING_METHODS)
            continue;
        /* The mean of data less either half, by their counts, is data less all. */
        for (int64_t k = 0; k < w->modes; k++)
            m[k] = (n0 * w->mean[0][f][k] + n1 * w->mean[1][f][k]) / (n0 + n1) * gain(w, f, ell[k]);
        sq_filter_spline(flat, m);
        SQ_TRY(SQ_ALLOC(kappa[plane], sq_flat_pixels(flat), "kappa"));
        sq_fft_backward(fft, m, kappa[plane]);
        weight[plane++] = weight_of(w, f);
    }
    SQ_TRY(lensing_release_write(release, flat, (const double *const *)kappa,
                                 lensing_patch_window(w->patch), weight, w->place, reach, grid,
                                 product));
cleanup:
    for (int p = 0; p < LENSING_METHODS; p++)
        sq_free(kappa[p]);
    sq_free(ell);
    sq_free(m);
    sq_fft_destroy(fft);
    return rc;
}

sq_status lensing_reconstruct(const lensing_reconstruction *r, lensing_patch *patch,
                              const lensing_input *in, const sq_patch *place, uint64_t number,
                              const sq_wcs *grid, sq_product *product)
{
    sq_status rc = SQ_OK;
    const sq_flat *flat = lensing_patch_flat(patch);
    work w = {.r = r, .patch = patch, .pairs = r->pairs, .place = place};
    int found, powers = r->pairs->pairs * r->pairs->bins;
    int values = r->pairs->fields * r->pairs->bins;
    w.modes = sq_flat_modes(flat);
    SQ_TRY(lensing_patch_describe(patch, &w.facts));
    SQ_TRY(
        lensing_statistics_read(r->statistics, r->pairs, r->mean_modes, number, &w.stats, &found));
    if (found && w.stats.halves[0] > 0 && w.stats.halves[1] > 0) {
        SQ_TRY(SQ_ALLOC(w.power, powers, "powers"));
        SQ_TRY(SQ_ALLOC(w.mean_power, powers, "powers"));
        SQ_TRY(SQ_ALLOC(w.n0, values, "noise"));
        SQ_TRY(SQ_ALLOC(w.n1, values, "noise"));
        SQ_TRY(SQ_ALLOC(w.split, values, "powers"));
        SQ_TRY(lensing_patch_noise(patch, w.n0, w.n1, w.iterated, w.count, w.signal));
        SQ_TRY(mean_field_powers(&w));
        find_transfers(&w);
        SQ_TRY(lensing_patch_split_power(patch, in, w.split));
        SQ_TRY(write_bandpowers(&w, product));
        SQ_TRY(write_mean_field(&w, product));
        if (r->release)
            SQ_TRY(write_maps(&w, grid, sqrt(0.5) * place->side * flat->dx * 180 / M_PI, product));
    }
    SQ_TRY(write_patch(&w, in, product));
cleanup:
    drop(&w);
    return rc;
}
