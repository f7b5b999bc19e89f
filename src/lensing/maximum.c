#include "lensing/maximum.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "lensing/remap.h"

enum { MEMORY = 12, SOLVES_MAX = 200, WORK = 11, REAL = 4, STAGES = 10, STAGE_STEPS = 5 };
static const double SOLVE_TOLERANCE = 1e-4;

struct sq_maximum {
    sq_flat flat;
    remap remap;
    int64_t modes;
    int stages, stage;
    /* [modes] of every stage: inverse noise, the preconditioner and the inverse curvature. */
    double *weight[STAGES], *precondition[STAGES], *curvature[STAGES];
    /* [modes]: inverse powers of E and phi (0: no such mode), 2 / L^2, how often a mode counts. */
    double *prior, *phi_prior, *to_phi, *count;
    double _Complex *x, *r, *p, *z, *ap, *e, *b, *phi, *gradient, *old, *step; /* WORK */
    double _Complex *s[MEMORY], *y[MEMORY];
    double rho[MEMORY];
};

static void list(sq_maximum *m, double **real[REAL], double _Complex **mode[WORK])
{
    double **a[] = {&m->prior, &m->phi_prior, &m->to_phi, &m->count};
    double _Complex **b[] = {&m->x, &m->r,   &m->p,        &m->z,   &m->ap,  &m->e,
                             &m->b, &m->phi, &m->gradient, &m->old, &m->step};
    memcpy(real, a, sizeof a);
    memcpy(mode, b, sizeof b);
}

void sq_maximum_destroy(sq_maximum *m)
{
    double **real[REAL];
    double _Complex **mode[WORK];
    if (!m)
        return;
    list(m, real, mode);
    for (int i = 0; i < REAL; i++)
        sq_free(*real[i]);
    for (int i = 0; i < WORK; i++)
        sq_free(*mode[i]);
    for (int i = 0; i < STAGES; i++) {
        sq_free(m->weight[i]);
        sq_free(m->precondition[i]);
        sq_free(m->curvature[i]);
    }
    for (int i = 0; i < MEMORY; i++) {
        sq_free(m->s[i]);
        sq_free(m->y[i]);
    }
    remap_free(&m->remap);
    sq_free(m);
}

static void fill(sq_maximum *m, int lmax, const double *phi, int ee_lmax, const double *ee)
{
    int columns = m->flat.nx / 2 + 1;
    sq_flat_ell(&m->flat, m->to_phi);
    for (int64_t k = 0; k < m->modes; k++) {
        double l = m->to_phi[k];
        double e = l >= 2 ? sq_table_at(ee, ee_lmax, l) : 0;
        double p = l >= 2 ? sq_table_at(phi, lmax, l) : 0;
        m->prior[k] = e > 0 ? 1 / e : 0;
        m->phi_prior[k] = p > 0 ? 1 / p : 0;
        m->to_phi[k] = l > 0 ? 2 / (l * l) : 0;
        m->count[k] = sq_flat_weight(&m->flat, (int)(k % columns));
    }
}

/* R of EB and EE for unlensed E and noise alone. */
static sq_status information(const sq_flat *flat, int lmin, int lmax, const double *ee,
                             const double *noise, double *total, double *out)
{
    sq_status rc = SQ_OK;
    sq_quadratic *q = NULL;
    for (int l = 0; l <= lmax; l++)
        total[l] = ee[l] + noise[l];
    sq_qe_spectra s = {.weight_tt = ee,
                       .weight_ee = ee,
                       .weight_te = ee,
                       .total_tt = total,
                       .total_ee = total,
                       .total_bb = noise};
    memset(out, 0, (size_t)sq_flat_modes(flat) * sizeof *out);
    SQ_TRY(sq_quadratic_create(flat, lmin, lmax, &s, &q));
    for (int kind = SQ_QE_EE; kind <= SQ_QE_EB; kind += SQ_QE_EB - SQ_QE_EE) {
        const double *r = sq_quadratic_response(q, (sq_qe)kind);
        if (!r) {
            rc = SQ_ERR_NOMEM;
            goto cleanup;
        }
        for (int64_t k = 0; k < sq_flat_modes(flat); k++)
            out[k] += fmax(0, r[k]);
    }
cleanup:
    sq_quadratic_destroy(q);
    return rc;
}

static sq_status fill_stage(sq_maximum *m, int stage, int lmin, int lmax, const double *ee,
                            const double *noise, double *total)
{
    sq_status rc = SQ_OK;
    SQ_TRY(SQ_ALLOC(m->weight[stage], m->modes, "noise"));
    SQ_TRY(SQ_ALLOC(m->precondition[stage], m->modes, "noise"));
    SQ_TRY(SQ_ALLOC(m->curvature[stage], m->modes, "noise"));
    double *weight = m->weight[stage], *curvature = m->curvature[stage];
    SQ_TRY(information(&m->flat, lmin, lmax, ee, noise, total, curvature));
    for (int64_t k = 0; k < m->modes; k++) {
        double l = m->to_phi[k] > 0 ? sqrt(2 / m->to_phi[k]) : 0;
        weight[k] = l >= lmin && l <= lmax ? 1 / sq_table_at(noise, lmax, l) : 0;
        m->precondition[stage][k] = m->prior[k] > 0 ? 1 / (m->prior[k] + weight[k]) : 0;
        curvature[k] = m->phi_prior[k] > 0 ? 1 / (m->phi_prior[k] + curvature[k]) : 0;
    }
cleanup:
    return rc;
}

/* Stages of noise N + C^BB / (25 4^i) until the latter is below 2 N everywhere; then N. */
static sq_status fill_stages(sq_maximum *m, int lmin, int lmax, const sq_qe_spectra *spectra,
                             const double *bb, const double *ee)
{
    sq_status rc = SQ_OK;
    double *noise = NULL, *total = NULL, part = 0.04, most = 0;
    SQ_TRY(SQ_ALLOC(noise, lmax + 1, "noise"));
    SQ_TRY(SQ_ALLOC(total, lmax + 1, "noise"));
    for (int l = lmin; l <= lmax; l++) {
        double n = spectra->total_ee[l] - spectra->weight_ee[l];
        if (!(n > 0)) {
            rc = sq_fail(SQ_ERR_DATA, "lensing: no noise at l = %d: the reconstruction needs some",
                         l);
            goto cleanup;
        }
        most = fmax(most, bb[l] / n);
    }
    for (int end = 0; !end; part /= 4) {
        end = m->stages == STAGES - 1 || part * most < 2;
        for (int l = 0; l <= lmax; l++)
            noise[l] = spectra->total_ee[l] - spectra->weight_ee[l] + (end ? 0 : part * bb[l]);
        SQ_TRY(fill_stage(m, m->stages++, lmin, lmax, ee, noise, total));
    }
cleanup:
    sq_free(noise);
    sq_free(total);
    return rc;
}

sq_status sq_maximum_create(const sq_flat *flat, int lmin, int lmax, const sq_qe_spectra *spectra,
                            const double *lensing_bb, const double *phi, int ee_lmax,
                            const double *ee, sq_maximum **out)
{
    sq_status rc = SQ_OK;
    sq_maximum *m = NULL;
    double **real[REAL];
    double _Complex **mode[WORK];
    *out = NULL;
    if (ee_lmax < lmax)
        return sq_fail(SQ_ERR_USAGE, "lensing: unlensed E ends at l = %d, below %d", ee_lmax, lmax);
    SQ_TRY(SQ_ALLOC(m, 1, "reconstruction"));
    m->flat = *flat;
    m->modes = sq_flat_modes(flat);
    list(m, real, mode);
    SQ_TRY(remap_create(flat, &m->remap));
    for (int i = 0; i < REAL; i++)
        SQ_TRY(sq_alloc(real[i], (size_t)m->modes, sizeof(double), "spectra"));
    for (int i = 0; i < WORK; i++)
        SQ_TRY(sq_alloc(mode[i], (size_t)m->modes, sizeof(double _Complex), "modes"));
    for (int i = 0; i < MEMORY; i++) {
        SQ_TRY(SQ_ALLOC(m->s[i], m->modes, "steps"));
        SQ_TRY(SQ_ALLOC(m->y[i], m->modes, "steps"));
    }
    fill(m, lmax, phi, ee_lmax, ee);
    SQ_TRY(fill_stages(m, lmin, lmax, spectra, lensing_bb, ee));
    *out = m;
    m = NULL;
cleanup:
    sq_maximum_destroy(m);
    return rc;
}

static double dot(const sq_maximum *m, const double _Complex *a, const double _Complex *b)
{
    double sum = 0;
    for (int64_t k = 0; k < m->modes; k++)
        sum += m->count[k] * (creal(a[k]) * creal(b[k]) + cimag(a[k]) * cimag(b[k]));
    return sum;
}

static void add(const sq_maximum *m, double factor, const double _Complex *x, double _Complex *y)
{
    for (int64_t k = 0; k < m->modes; k++)
        y[k] += factor * x[k];
}

static void scale(const sq_maximum *m, const double *by, const double _Complex *x,
                  double _Complex *out)
{
    for (int64_t k = 0; k < m->modes; k++)
        out[k] = by[k] * x[k];
}

/* out = (1 / C + D^T D / N) x where E has power. */
static void apply(sq_maximum *m, const double _Complex *x, double _Complex *out)
{
    remap_lens(&m->remap, x, m->e, m->b);
    scale(m, m->weight[m->stage], m->e, m->e);
    scale(m, m->weight[m->stage], m->b, m->b);
    remap_adjoint(&m->remap, m->e, m->b, out);
    for (int64_t k = 0; k < m->modes; k++)
        out[k] = m->prior[k] > 0 ? out[k] + m->prior[k] * x[k] : 0;
}

/* Wiener-filtered unlensed E for the present deflection, from what x holds. */
static sq_status solve(sq_maximum *m, const double _Complex *e, const double _Complex *b,
                       int *iterations)
{
    scale(m, m->weight[m->stage], e, m->e);
    scale(m, m->weight[m->stage], b, m->b);
    remap_adjoint(&m->remap, m->e, m->b, m->r);
    for (int64_t k = 0; k < m->modes; k++)
        m->r[k] = m->prior[k] > 0 ? m->r[k] : 0;
    scale(m, m->precondition[m->stage], m->r, m->z);
    double first = dot(m, m->r, m->z);
    apply(m, m->x, m->ap);
    add(m, -1, m->ap, m->r);
    scale(m, m->precondition[m->stage], m->r, m->z);
    memcpy(m->p, m->z, (size_t)m->modes * sizeof *m->p);
    double rz = dot(m, m->r, m->z);
    for (int i = 0; rz > SOLVE_TOLERANCE * SOLVE_TOLERANCE * first; i++) {
        if (i == SOLVES_MAX || !isfinite(rz))
            return sq_fail(SQ_ERR_DATA, "lensing: the filter of unlensed E does not converge");
        apply(m, m->p, m->ap);
        double step = rz / dot(m, m->p, m->ap);
        add(m, step, m->p, m->x);
        add(m, -step, m->ap, m->r);
        scale(m, m->precondition[m->stage], m->r, m->z);
        double next = dot(m, m->r, m->z);
        for (int64_t k = 0; k < m->modes; k++)
            m->p[k] = m->z[k] + next / rz * m->p[k];
        rz = next;
        (*iterations)++;
    }
    return SQ_OK;
}

/* The gradient of the posterior at phi, for E in x. */
static void slope(sq_maximum *m, const double _Complex *e, const double _Complex *b)
{
    remap_lens(&m->remap, m->x, m->e, m->b);
    for (int64_t k = 0; k < m->modes; k++) {
        m->e[k] = m->weight[m->stage][k] * (e[k] - m->e[k]);
        m->b[k] = m->weight[m->stage][k] * (b[k] - m->b[k]);
    }
    remap_gradient(&m->remap, m->x, m->e, m->b, m->gradient);
    for (int64_t k = 0; k < m->modes; k++)
        m->gradient[k] = m->phi_prior[k] > 0 ? m->gradient[k] - m->phi_prior[k] * m->phi[k] : 0;
}

/* The pair of the last step: s = step, y = decrease of the gradient. */
static int remember(sq_maximum *m, int held)
{
    if (held == MEMORY) {
        double _Complex *s = m->s[0], *y = m->y[0];
        for (int i = 0; i + 1 < MEMORY; i++) {
            m->s[i] = m->s[i + 1];
            m->y[i] = m->y[i + 1];
            m->rho[i] = m->rho[i + 1];
        }
        m->s[--held] = s;
        m->y[held] = y;
    }
    for (int64_t k = 0; k < m->modes; k++) {
        m->s[held][k] = m->step[k];
        m->y[held][k] = m->old[k] - m->gradient[k];
    }
    double product = dot(m, m->s[held], m->y[held]);
    m->rho[held] = 1 / product;
    return product > 0 ? held + 1 : held;
}

/* step = H gradient by the two loops of L-BFGS. */
static void direction(sq_maximum *m, int held)
{
    double alpha[MEMORY];
    memcpy(m->step, m->gradient, (size_t)m->modes * sizeof *m->step);
    for (int i = held - 1; i >= 0; i--) {
        alpha[i] = m->rho[i] * dot(m, m->s[i], m->step);
        add(m, -alpha[i], m->y[i], m->step);
    }
    scale(m, m->curvature[m->stage], m->step, m->step);
    for (int i = 0; i < held; i++)
        add(m, alpha[i] - m->rho[i] * dot(m, m->y[i], m->step), m->s[i], m->step);
}

/* rms of `a` in the prior's metric. */
static double size(const sq_maximum *m, const double _Complex *a)
{
    double sum = 0;
    for (int64_t k = 0; k < m->modes; k++)
        sum += m->count[k] * m->phi_prior[k] * pow(cabs(a[k]), 2);
    return sqrt(sum);
}

sq_status sq_maximum_run(sq_maximum *m, const double _Complex *e, const double _Complex *b,
                         const double _Complex *start, int most, double tolerance,
                         double _Complex *kappa, double _Complex *unlensed,
                         sq_maximum_result *result)
{
    sq_status rc = SQ_OK;
    sq_maximum_result now = {0, 0, 1};
    int held = 0;
    memset(m->x, 0, (size_t)m->modes * sizeof *m->x);
    for (int64_t k = 0; k < m->modes; k++)
        m->phi[k] = start && m->phi_prior[k] > 0 ? m->to_phi[k] * start[k] : 0;
    m->stage = 0;
    for (int steps = 0; now.iterations < most; steps++, now.iterations++) {
        int last = m->stage == m->stages - 1;
        if (last && now.change < tolerance)
            break;
        if (!last && steps == STAGE_STEPS) {
            m->stage++;
            steps = held = 0;
        }
        remap_set(&m->remap, m->phi);
        SQ_TRY(solve(m, e, b, &now.solves));
        memcpy(m->old, m->gradient, (size_t)m->modes * sizeof *m->old);
        slope(m, e, b);
        if (steps)
            held = remember(m, held);
        direction(m, held);
        add(m, 1, m->step, m->phi);
        now.change = size(m, m->step) / size(m, m->phi);
    }
    for (int64_t k = 0; k < m->modes; k++)
        kappa[k] = m->to_phi[k] > 0 ? m->phi[k] / m->to_phi[k] : 0;
    if (unlensed)
        memcpy(unlensed, m->x, (size_t)m->modes * sizeof *unlensed);
    if (result)
        *result = now;
cleanup:
    return rc;
}
