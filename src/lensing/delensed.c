#include "lensing/delensed.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "lensing/bins.h"
#include "lensing/iterative.h"
#include "lensing/remap.h"

enum { INPUTS = 3, PRESENT = 0, NEW, FIRST };

typedef struct pass {
    sq_quadratic *q;
    int inputs;
    double *gram, *cross, *truth; /* [bins][INPUTS][INPUTS], [bins][INPUTS], [bins] */
    double *weight;               /* [bins][INPUTS] once closed */
} pass;

struct sq_delensed {
    sq_flat flat;
    int lmin, lmax, bins, closed;
    int64_t modes;
    double
        *table[8]; /* copies: weights and totals of E, B (5), lensing B, phi, Wiener filter of E */
    double *edges, *ell, *now;
    remap remap;
    pass pass[SQ_DELENSED_PASSES];
    double _Complex *input[INPUTS], *work, *wiener;
};

enum { WEIGHT_E, RESPONSE_E, TOTAL_E, TOTAL_B, LENSING_B, PHI, FILTER, TEMPLATE, TABLES };

void sq_delensed_destroy(sq_delensed *d)
{
    if (!d)
        return;
    for (int i = 0; i < TABLES; i++)
        sq_free(d->table[i]);
    for (int i = 0; i < SQ_DELENSED_PASSES; i++) {
        sq_quadratic_destroy(d->pass[i].q);
        sq_free(d->pass[i].gram);
        sq_free(d->pass[i].cross);
        sq_free(d->pass[i].truth);
        sq_free(d->pass[i].weight);
    }
    for (int i = 0; i < INPUTS; i++)
        sq_free(d->input[i]);
    sq_free(d->edges);
    sq_free(d->ell);
    sq_free(d->now);
    sq_free(d->work);
    sq_free(d->wiener);
    remap_free(&d->remap);
    sq_free(d);
}

/* The estimator of a pass with the B modes that its template leaves. */
static sq_status open_pass(sq_delensed *d, int number)
{
    sq_status rc = SQ_OK;
    pass *p = &d->pass[number];
    double *total = NULL;
    SQ_TRY(SQ_ALLOC(total, d->lmax + 1, "spectrum"));
    for (int l = 0; l <= d->lmax; l++) {
        double removed = number ? fmin(d->table[TEMPLATE][l], d->table[LENSING_B][l]) : 0;
        total[l] = d->table[TOTAL_B][l] - removed;
    }
    sq_qe_spectra s = {.weight_tt = d->table[WEIGHT_E],
                       .weight_ee = d->table[WEIGHT_E],
                       .weight_te = d->table[WEIGHT_E],
                       .response_ee = d->table[RESPONSE_E],
                       .total_tt = d->table[TOTAL_E],
                       .total_ee = d->table[TOTAL_E],
                       .total_bb = total};
    SQ_TRY(sq_quadratic_create(&d->flat, d->lmin, d->lmax, &s, &p->q));
    p->inputs = number == 0 ? 2 : number == 1 ? 2 : 3;
    SQ_TRY(SQ_ALLOC(p->gram, d->bins * INPUTS * INPUTS, "regression"));
    SQ_TRY(SQ_ALLOC(p->cross, d->bins * INPUTS, "regression"));
    SQ_TRY(SQ_ALLOC(p->truth, d->bins, "regression"));
    SQ_TRY(SQ_ALLOC(p->weight, d->bins * INPUTS, "regression"));
cleanup:
    sq_free(total);
    return rc;
}

static sq_status fill(sq_delensed *d, const sq_qe_spectra *s, const double *bb, const double *phi,
                      const double *edges)
{
    sq_status rc = SQ_OK;
    const double *from[] = {s->weight_ee, s->response_ee ? s->response_ee : s->weight_ee,
                            s->total_ee,  s->total_bb,
                            bb,           phi};
    for (int i = 0; i < TABLES; i++) {
        SQ_TRY(SQ_ALLOC(d->table[i], d->lmax + 1, "spectrum"));
        if (i <= PHI)
            memcpy(d->table[i], from[i], ((size_t)d->lmax + 1) * sizeof(double));
    }
    for (int l = d->lmin; l <= d->lmax; l++)
        d->table[FILTER][l] = s->weight_ee[l] / s->total_ee[l];
    SQ_TRY(SQ_ALLOC(d->edges, d->bins + 1, "bins"));
    memcpy(d->edges, edges, ((size_t)d->bins + 1) * sizeof *edges);
    SQ_TRY(SQ_ALLOC(d->now, d->bins, "bins"));
    SQ_TRY(SQ_ALLOC(d->ell, d->modes, "multipoles"));
    sq_flat_ell(&d->flat, d->ell);
    for (int i = 0; i < INPUTS; i++)
        SQ_TRY(SQ_ALLOC(d->input[i], d->modes, "kappa"));
    SQ_TRY(SQ_ALLOC(d->work, d->modes, "kappa"));
    SQ_TRY(SQ_ALLOC(d->wiener, d->modes, "modes"));
    SQ_TRY(remap_create(&d->flat, &d->remap));
    SQ_TRY(open_pass(d, 0));
cleanup:
    return rc;
}

sq_status sq_delensed_create(const sq_flat *flat, int lmin, int lmax, const sq_qe_spectra *spectra,
                             const double *lensing_bb, const double *phi, int bins,
                             const double *edges, sq_delensed **out)
{
    sq_status rc = SQ_OK;
    sq_delensed *d = NULL;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(d, 1, "delensed estimator"));
    d->flat = *flat;
    d->lmin = lmin;
    d->lmax = lmax;
    d->bins = bins;
    d->modes = sq_flat_modes(flat);
    SQ_TRY(fill(d, spectra, lensing_bb, phi, edges));
    *out = d;
    d = NULL;
cleanup:
    sq_delensed_destroy(d);
    return rc;
}

/* work = b less the B modes of the filtered E lensed by kappa. */
static void delens(sq_delensed *d, const double _Complex *e, const double _Complex *b,
                   const double _Complex *kappa)
{
    for (int64_t k = 0; k < d->modes; k++)
        d->work[k] = d->ell[k] > 0 ? 2 * kappa[k] / (d->ell[k] * d->ell[k]) : 0;
    remap_set(&d->remap, d->work);
    memcpy(d->wiener, e, (size_t)d->modes * sizeof *e);
    sq_filter_table(&d->flat, d->table[FILTER], d->lmax, d->wiener);
    remap_adjoint(&d->remap, d->wiener, NULL, d->wiener);
    remap_lens(&d->remap, d->wiener, NULL, d->work);
    for (int64_t k = 0; k < d->modes; k++)
        d->work[k] = b[k] - d->work[k];
}

/* The regression of a pass, into out, which may be one of the inputs. */
static void combine(const sq_delensed *d, const pass *p, double _Complex *out)
{
    for (int64_t k = 0; k < d->modes; k++) {
        int i, j;
        double x = bins_place(d->edges, d->bins, d->ell[k], &i, &j);
        double _Complex sum = 0;
        for (int n = 0; n < p->inputs; n++)
            sum += ((1 - x) * p->weight[i * INPUTS + n] + x * p->weight[j * INPUTS + n]) *
                   d->input[n][k];
        out[k] = d->ell[k] <= d->lmax ? sum : 0;
    }
}

/* The inputs of a pass; those before are closed. */
static sq_status prepare(sq_delensed *d, int number, const double _Complex *e,
                         const double _Complex *b)
{
    sq_status rc = SQ_OK;
    for (int n = 0; n <= number; n++) {
        sq_quadratic *q = d->pass[n].q;
        if (n == 0) {
            SQ_TRY(sq_quadratic_estimate(q, SQ_QE_EB, NULL, e, b, d->input[0]));
            SQ_TRY(sq_quadratic_estimate(q, SQ_QE_EE, NULL, e, b, d->input[1]));
            continue;
        }
        combine(d, &d->pass[n - 1], d->input[PRESENT]);
        if (n == 1)
            memcpy(d->input[FIRST], d->input[PRESENT], (size_t)d->modes * sizeof *d->work);
        delens(d, e, b, d->input[PRESENT]);
        SQ_TRY(sq_quadratic_estimate(q, SQ_QE_EB, NULL, e, d->work, d->input[NEW]));
    }
cleanup:
    return rc;
}

sq_status sq_delensed_train(sq_delensed *d, const double _Complex *e, const double _Complex *b,
                            const double _Complex *truth)
{
    sq_status rc = SQ_OK;
    pass *p = &d->pass[d->closed];
    if (d->closed == SQ_DELENSED_PASSES)
        return sq_fail(SQ_ERR_USAGE, "lensing: more than %d passes", SQ_DELENSED_PASSES);
    SQ_TRY(prepare(d, d->closed, e, b));
    for (int i = 0; i <= p->inputs; i++) {
        const double _Complex *x = i < p->inputs ? d->input[i] : truth;
        for (int j = 0; j <= i && j < (i < p->inputs ? p->inputs : p->inputs + 1); j++) {
            const double _Complex *y = j < p->inputs ? d->input[j] : truth;
            SQ_TRY(sq_spectrum(&d->flat, x, y, 1, d->bins, d->edges, NULL, d->now, NULL));
            for (int k = 0; k < d->bins; k++) {
                double *to = i < p->inputs   ? &p->gram[(k * INPUTS + i) * INPUTS + j]
                             : j < p->inputs ? &p->cross[k * INPUTS + j]
                                             : &p->truth[k];
                *to += d->now[k];
            }
        }
    }
cleanup:
    return rc;
}

/* weight = gram^-1 cross by Cholesky; an input that the others make redundant gets 0. */
static void solve(int n, const double *gram, const double *cross, double *weight)
{
    double root[INPUTS][INPUTS] = {{0}};
    for (int i = 0; i < n; i++) {
        for (int j = 0; j <= i; j++) {
            double sum = gram[i * INPUTS + j], own = gram[i * INPUTS + i];
            for (int k = 0; k < j; k++)
                sum -= root[i][k] * root[j][k];
            root[i][j] = i == j       ? (sum > 1e-9 * own ? sqrt(sum) : INFINITY)
                         : root[j][j] ? sum / root[j][j]
                                      : 0;
        }
        weight[i] = cross[i];
        for (int k = 0; k < i; k++)
            weight[i] -= root[i][k] * weight[k];
        weight[i] /= root[i][i];
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int k = i + 1; k < n; k++)
            weight[i] -= root[k][i] * weight[k];
        weight[i] /= root[i][i];
    }
}

sq_status sq_delensed_close(sq_delensed *d, double *rho)
{
    sq_status rc = SQ_OK;
    double *e = NULL, *phi = NULL;
    if (d->closed == SQ_DELENSED_PASSES)
        return sq_fail(SQ_ERR_USAGE, "lensing: more than %d passes", SQ_DELENSED_PASSES);
    pass *p = &d->pass[d->closed];
    for (int k = 0; k < d->bins; k++) {
        double reached = 0;
        if (!(p->truth[k] > 0))
            return sq_fail(SQ_ERR_DATA, "lensing: bin %d of the training has no truth", k);
        solve(p->inputs, p->gram + k * INPUTS * INPUTS, p->cross + k * INPUTS,
              p->weight + k * INPUTS);
        for (int i = 0; i < p->inputs; i++)
            reached += p->weight[k * INPUTS + i] * p->cross[k * INPUTS + i];
        d->now[k] = fmin(1, fmax(0, reached / p->truth[k]));
        if (rho)
            rho[k] = sqrt(d->now[k]);
    }
    SQ_TRY(SQ_ALLOC(e, d->lmax + 1, "spectrum"));
    SQ_TRY(SQ_ALLOC(phi, d->lmax + 1, "spectrum"));
    for (int l = 2; l <= d->lmax; l++) {
        int i, j;
        double x = bins_place(d->edges, d->bins, l, &i, &j);
        e[l] = d->table[FILTER][l] * d->table[WEIGHT_E][l];
        phi[l] = d->table[PHI][l] * ((1 - x) * d->now[i] + x * d->now[j]);
    }
    SQ_TRY(sq_lensing_bb(&d->flat, d->lmax, e, phi, d->table[TEMPLATE]));
    if (d->closed + 1 < SQ_DELENSED_PASSES)
        SQ_TRY(open_pass(d, d->closed + 1));
    d->closed++;
cleanup:
    sq_free(e);
    sq_free(phi);
    return rc;
}

sq_status sq_delensed_run(sq_delensed *d, int number, const double _Complex *e,
                          const double _Complex *b, double _Complex *kappa)
{
    sq_status rc = SQ_OK;
    int last = number < 0 ? d->closed - 1 : number;
    if (last < 0 || last >= d->closed)
        return sq_fail(SQ_ERR_USAGE, "lensing: pass %d of %d trained", last, d->closed);
    SQ_TRY(prepare(d, last, e, b));
    combine(d, &d->pass[last], kappa);
cleanup:
    return rc;
}
