#include "lensing/montecarlo.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "lensing/bins.h"

struct sq_recon {
    sq_quadratic *q;
    unsigned kinds;
    int64_t modes;
    double _Complex *kappa[SQ_QE_COUNT], *curl[SQ_QE_COUNT];
};

struct sq_mean_field {
    int64_t modes;
    int count[2];
    double _Complex *sum[2];
};

struct sq_transfer {
    sq_flat flat;
    int bins, count;
    double *edges, *now[3], *sum[3], *square[3]; /* estimate^2, cross, truth^2 */
};

struct sq_rdn0 {
    sq_recon *recon;
    sq_flat flat;
    int bins, count, pairs;
    double norm, *edges, *now, *data, *data_square, *sims, *sims_square;
    sq_legs legs;
    double _Complex *kept[3], *last[3], *kappa; /* the data, the simulation before */
};

void sq_recon_destroy(sq_recon *r)
{
    for (int k = 0; r && k < SQ_QE_COUNT; k++) {
        sq_free(r->kappa[k]);
        sq_free(r->curl[k]);
    }
    sq_free(r);
}

sq_status sq_recon_create(sq_quadratic *q, unsigned kinds, sq_recon **out)
{
    sq_status rc = SQ_OK;
    sq_recon *r = NULL;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(r, 1, "reconstruction"));
    r->q = q;
    r->kinds = kinds;
    r->modes = sq_quadratic_modes(q);
    for (int k = 0; k < SQ_QE_COUNT; k++) {
        if (kinds & 1u << k) {
            SQ_TRY(SQ_ALLOC(r->kappa[k], r->modes, "kappa"));
            SQ_TRY(SQ_ALLOC(r->curl[k], r->modes, "kappa"));
        }
    }
    *out = r;
    r = NULL;
cleanup:
    sq_recon_destroy(r);
    return rc;
}

sq_status sq_recon_cross(sq_recon *r, const sq_legs *a, const sq_legs *b, double _Complex *kappa,
                         double _Complex *curl)
{
    sq_status rc = SQ_OK;
    SQ_TRY(sq_quadratic_cross(r->q, r->kinds, a->field, b->field, r->kappa, curl ? r->curl : NULL));
    SQ_TRY(sq_quadratic_combine(r->q, r->kinds, (const double _Complex *const *)r->kappa, kappa));
    if (curl)
        SQ_TRY(sq_quadratic_combine_curl(r->q, r->kinds, (const double _Complex *const *)r->curl,
                                         curl));
cleanup:
    return rc;
}

void sq_mean_field_destroy(sq_mean_field *m)
{
    for (int i = 0; m && i < 2; i++)
        sq_free(m->sum[i]);
    sq_free(m);
}

sq_status sq_mean_field_create(int64_t modes, sq_mean_field **out)
{
    sq_status rc = SQ_OK;
    sq_mean_field *m = NULL;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(m, 1, "mean field"));
    m->modes = modes;
    for (int i = 0; i < 2; i++)
        SQ_TRY(SQ_ALLOC(m->sum[i], modes, "mean field"));
    *out = m;
    m = NULL;
cleanup:
    sq_mean_field_destroy(m);
    return rc;
}

void sq_mean_field_add(sq_mean_field *m, const double _Complex *kappa)
{
    int half = (m->count[0] + m->count[1]) % 2;
    for (int64_t k = 0; k < m->modes; k++)
        m->sum[half][k] += kappa[k];
    m->count[half]++;
}

sq_status sq_mean_field_get(const sq_mean_field *m, int half, double _Complex *out)
{
    int use[2] = {half != 1, half != 0}, count = 0;
    for (int i = 0; i < 2; i++)
        count += use[i] ? m->count[i] : 0;
    if (count == 0)
        return sq_fail(SQ_ERR_DATA, "lensing: a mean field of no simulation");
    for (int64_t k = 0; k < m->modes; k++)
        out[k] = ((use[0] ? m->sum[0][k] : 0) + (use[1] ? m->sum[1][k] : 0)) / count;
    return SQ_OK;
}

sq_status sq_mean_field_subtract_others(const sq_mean_field *m, double _Complex *kappa)
{
    int count = m->count[0] + m->count[1];
    if (count < 2)
        return sq_fail(SQ_ERR_DATA, "lensing: a mean field of no other simulation");
    for (int64_t k = 0; k < m->modes; k++)
        kappa[k] -= (m->sum[0][k] + m->sum[1][k] - kappa[k]) / (count - 1);
    return SQ_OK;
}

void sq_transfer_destroy(sq_transfer *t)
{
    if (!t)
        return;
    sq_free(t->edges);
    for (int i = 0; i < 3; i++) {
        sq_free(t->now[i]);
        sq_free(t->sum[i]);
        sq_free(t->square[i]);
    }
    sq_free(t);
}

static sq_status copy_edges(int bins, const double *edges, double **out)
{
    sq_status rc = SQ_ALLOC(*out, bins + 1, "bins");
    if (rc == SQ_OK)
        memcpy(*out, edges, ((size_t)bins + 1) * sizeof **out);
    return rc;
}

sq_status sq_transfer_create(const sq_flat *flat, int bins, const double *edges, sq_transfer **out)
{
    sq_status rc = SQ_OK;
    sq_transfer *t = NULL;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(t, 1, "transfer"));
    t->flat = *flat;
    t->bins = bins;
    SQ_TRY(copy_edges(bins, edges, &t->edges));
    for (int i = 0; i < 3; i++) {
        SQ_TRY(SQ_ALLOC(t->now[i], bins, "transfer"));
        SQ_TRY(SQ_ALLOC(t->sum[i], bins, "transfer"));
        SQ_TRY(SQ_ALLOC(t->square[i], bins, "transfer"));
    }
    *out = t;
    t = NULL;
cleanup:
    sq_transfer_destroy(t);
    return rc;
}

sq_status sq_transfer_add(sq_transfer *t, const double _Complex *estimate,
                          const double _Complex *truth)
{
    sq_status rc = SQ_OK;
    const double _Complex *const a[] = {estimate, estimate, truth};
    const double _Complex *const b[] = {estimate, truth, truth};
    for (int i = 0; i < 3; i++)
        SQ_TRY(sq_spectrum(&t->flat, a[i], b[i], 1, t->bins, t->edges, NULL, t->now[i], NULL));
    for (int i = 0; i < t->bins; i++) {
        for (int j = 0; j < 3; j++)
            t->sum[j][i] += t->now[j][i];
        t->square[0][i] += t->now[1][i] * t->now[1][i];
        t->square[1][i] += t->now[1][i] * t->now[2][i];
        t->square[2][i] += t->now[2][i] * t->now[2][i];
    }
    t->count++;
cleanup:
    return rc;
}

sq_status sq_transfer_get(const sq_transfer *t, double *value, double *error, double *rho)
{
    if (t->count < 2)
        return sq_fail(SQ_ERR_DATA, "lensing: a transfer of %d simulation(s)", t->count);
    for (int i = 0; i < t->bins; i++) {
        double n = t->count, ratio = t->sum[1][i] / t->sum[2][i];
        /* Scatter of cross - ratio truth^2. */
        double s = t->square[0][i] - 2 * ratio * t->square[1][i] + ratio * ratio * t->square[2][i];
        value[i] = ratio;
        if (error)
            error[i] = sqrt(fmax(0, s) * n / (n - 1)) / t->sum[2][i];
        if (rho)
            rho[i] = t->sum[1][i] / sqrt(t->sum[0][i] * t->sum[2][i]);
    }
    return SQ_OK;
}

static double between(const sq_transfer *t, double l)
{
    int i, j;
    double x = bins_place(t->edges, t->bins, l, &i, &j);
    return (1 - x) * t->sum[1][i] / t->sum[2][i] + x * t->sum[1][j] / t->sum[2][j];
}

sq_status sq_transfer_apply(const sq_transfer *t, double _Complex *modes)
{
    sq_status rc = SQ_OK;
    double *ell = NULL;
    SQ_TRY(SQ_ALLOC(ell, sq_flat_modes(&t->flat), "multipoles"));
    sq_flat_ell(&t->flat, ell);
    for (int64_t k = 0; k < sq_flat_modes(&t->flat); k++) {
        double value = between(t, ell[k]);
        if (value > 0.05)
            modes[k] /= value;
    }
cleanup:
    sq_free(ell);
    return rc;
}

void sq_rdn0_destroy(sq_rdn0 *x)
{
    if (!x)
        return;
    double *all[] = {x->edges, x->now, x->data, x->data_square, x->sims, x->sims_square};
    for (int i = 0; i < 6; i++)
        sq_free(all[i]);
    for (int i = 0; i < 3; i++) {
        sq_free(x->kept[i]);
        sq_free(x->last[i]);
    }
    sq_free(x->kappa);
    sq_free(x);
}

static void keep(int64_t modes, const sq_legs *from, double _Complex *const to[3])
{
    for (int i = 0; i < 3; i++) {
        if (to[i])
            memcpy(to[i], from->field[i], (size_t)modes * sizeof **to);
    }
}

sq_status sq_rdn0_create(sq_recon *r, const sq_flat *flat, int bins, const double *edges,
                         double norm, const sq_legs *data, sq_rdn0 **out)
{
    sq_status rc = SQ_OK;
    sq_rdn0 *x = NULL;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(x, 1, "noise"));
    x->recon = r;
    x->flat = *flat;
    x->bins = bins;
    x->norm = norm;
    SQ_TRY(copy_edges(bins, edges, &x->edges));
    double **all[] = {&x->now, &x->data, &x->data_square, &x->sims, &x->sims_square};
    for (int i = 0; i < 5; i++)
        SQ_TRY(sq_alloc(all[i], (size_t)bins, sizeof(double), "noise"));
    SQ_TRY(SQ_ALLOC(x->kappa, r->modes, "kappa"));
    for (int i = 0; i < 3; i++) {
        if (!data->field[i])
            continue;
        SQ_TRY(SQ_ALLOC(x->kept[i], r->modes, "modes"));
        SQ_TRY(SQ_ALLOC(x->last[i], r->modes, "modes"));
        x->legs.field[i] = x->kept[i];
    }
    keep(r->modes, data, x->kept);
    *out = x;
    x = NULL;
cleanup:
    sq_rdn0_destroy(x);
    return rc;
}

static sq_status rdn0_power(sq_rdn0 *x, const sq_legs *a, const sq_legs *b, double factor,
                            double *sum, double *square)
{
    sq_status rc = SQ_OK;
    SQ_TRY(sq_recon_cross(x->recon, a, b, x->kappa, NULL));
    SQ_TRY(
        sq_spectrum(&x->flat, x->kappa, x->kappa, x->norm, x->bins, x->edges, NULL, x->now, NULL));
    for (int i = 0; i < x->bins; i++) {
        sum[i] += factor * x->now[i];
        square[i] += pow(factor * x->now[i], 2);
    }
cleanup:
    return rc;
}

sq_status sq_rdn0_add(sq_rdn0 *x, const sq_legs *sim)
{
    sq_status rc = SQ_OK;
    sq_legs last = {{x->last[0], x->last[1], x->last[2]}};
    SQ_TRY(rdn0_power(x, &x->legs, sim, 4, x->data, x->data_square));
    x->count++;
    if (x->count > 1) {
        SQ_TRY(rdn0_power(x, &last, sim, 2, x->sims, x->sims_square));
        x->pairs++;
    }
    keep(x->recon->modes, sim, x->last);
cleanup:
    return rc;
}

/* Variance of a mean. */
static double spread(int n, double sum, double square)
{
    return n > 1 ? fmax(0, square - sum * sum / n) / n / (n - 1) : 0;
}

sq_status sq_rdn0_get(const sq_rdn0 *x, double *value, double *error, double *mc)
{
    if (x->pairs < 1)
        return sq_fail(SQ_ERR_DATA, "lensing: noise of %d simulation(s)", x->count);
    for (int i = 0; i < x->bins; i++) {
        value[i] = x->data[i] / x->count - x->sims[i] / x->pairs;
        if (error)
            error[i] = sqrt(spread(x->count, x->data[i], x->data_square[i]) +
                            spread(x->pairs, x->sims[i], x->sims_square[i]));
        if (mc)
            mc[i] = x->sims[i] / x->pairs;
    }
    return SQ_OK;
}

/* With S = sum over ordered pairs i != j of kappa_ij and s_i = sum over j != i of kappa_ij, the sum
 * over four different indices is C(S, S) - 4 sum_i C(s_i, s_i) + 2 sum_(i != j) C(kappa_ij,
 * kappa_ij). */
sq_status sq_split_power(sq_recon *r, const sq_flat *flat, int splits, const sq_legs *leg, int curl,
                         double norm, int bins, const double *edges, double *power,
                         double _Complex *combined)
{
    sq_status rc = SQ_OK;
    int64_t modes = r->modes;
    double _Complex *one = NULL, *other = NULL, *sum = NULL, *row = NULL;
    double *now = NULL, m = splits;
    if (splits < 4)
        return sq_fail(SQ_ERR_USAGE, "lensing: %d splits; power without noise bias needs 4",
                       splits);
    SQ_TRY(SQ_ALLOC(one, modes, "kappa"));
    SQ_TRY(SQ_ALLOC(other, modes, "kappa"));
    SQ_TRY(SQ_ALLOC(sum, modes, "kappa"));
    SQ_TRY(SQ_ALLOC(row, modes * splits, "kappa"));
    SQ_TRY(SQ_ALLOC(now, bins, "power"));
    memset(power, 0, (size_t)bins * sizeof *power);
    for (int i = 0; i < splits; i++) {
        for (int j = i + 1; j < splits; j++) {
            SQ_TRY(sq_recon_cross(r, &leg[i], &leg[j], one, curl ? other : NULL));
            const double _Complex *pair = curl ? other : one;
            SQ_TRY(sq_spectrum(flat, pair, pair, norm, bins, edges, NULL, now, NULL));
            for (int b = 0; b < bins; b++)
                power[b] += 4 * now[b];
            for (int64_t k = 0; k < modes; k++) {
                sum[k] += 2 * pair[k];
                row[i * modes + k] += pair[k];
                row[j * modes + k] += pair[k];
            }
        }
    }
    for (int i = 0; i <= splits; i++) {
        const double _Complex *x = i < splits ? row + i * modes : sum;
        SQ_TRY(sq_spectrum(flat, x, x, norm, bins, edges, NULL, now, NULL));
        for (int b = 0; b < bins; b++)
            power[b] += (i < splits ? -4 : 1) * now[b];
    }
    for (int b = 0; b < bins; b++)
        power[b] /= m * (m - 1) * (m - 2) * (m - 3);
    for (int64_t k = 0; combined && k < modes; k++)
        combined[k] = sum[k] / (m * (m - 1));
cleanup:
    sq_free(one);
    sq_free(other);
    sq_free(sum);
    sq_free(row);
    sq_free(now);
    return rc;
}
