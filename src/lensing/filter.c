#include "lensing/filter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { MAP_T, MAP_Q, MAP_U, MAPS };
enum { TT, EE, BB, TE, POWERS };

/* Maps of vectors hold T, Q, U one after the other, those that the model has. */
struct sq_wiener {
    sq_flat flat;
    sq_fft *fft;
    int lmax, first, last; /* of the maps: T alone 0..1, polarisation alone 1..3, both 0..3 */
    int64_t pixels, modes;
    double *beam_table;
    double *beam;            /* [modes] */
    double *power[POWERS];   /* [modes], of deconvolved modes, S */
    double *forward[POWERS]; /* [modes], pixel covariance's eigenvalues of beamed S */
    double *inverse[POWERS]; /* [modes], of the preconditioner */
    double *variance[2];     /* [pixels], 0: masked */
    double median[2];
    double *vector[5]; /* [MAPS * pixels]: the solution, residual, direction and two more */
    double _Complex *field[MAPS];
};

void sq_wiener_destroy(sq_wiener *w)
{
    if (!w)
        return;
    sq_fft_destroy(w->fft);
    sq_free(w->beam_table);
    sq_free(w->beam);
    for (int i = 0; i < POWERS; i++) {
        sq_free(w->power[i]);
        sq_free(w->forward[i]);
        sq_free(w->inverse[i]);
    }
    for (int i = 0; i < 2; i++)
        sq_free(w->variance[i]);
    for (int i = 0; i < 5; i++)
        sq_free(w->vector[i]);
    for (int i = 0; i < MAPS; i++)
        sq_free(w->field[i]);
    sq_free(w);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Variances of the pixels seen, and the inverse of their median inverse. */
static sq_status fill_variance(sq_wiener *w, const double *ivar, int polarised)
{
    sq_status rc = SQ_OK;
    double *sorted = NULL, *variance = NULL;
    int64_t count = 0;
    SQ_TRY(SQ_ALLOC(variance, w->pixels, "noise"));
    w->variance[polarised] = variance;
    SQ_TRY(SQ_ALLOC(sorted, w->pixels, "noise"));
    for (int64_t i = 0; i < w->pixels; i++) {
        if (ivar[i] > 0 && isfinite(ivar[i]))
            sorted[count++] = ivar[i];
    }
    if (count == 0) {
        rc = sq_fail(SQ_ERR_DATA, "lensing: no pixel has an inverse variance above 0");
        goto cleanup;
    }
    qsort(sorted, (size_t)count, sizeof *sorted, compare);
    double median = sorted[count / 2];
    for (int64_t i = 0; i < w->pixels; i++)
        variance[i] = ivar[i] > 1e-6 * median && isfinite(ivar[i]) ? 1 / ivar[i] : 0;
    w->median[polarised] = 1 / median;
cleanup:
    sq_free(sorted);
    return rc;
}

static sq_status spread(const sq_wiener *w, const double *table, double *out)
{
    sq_status rc = SQ_OK;
    double *ell = NULL;
    SQ_TRY(SQ_ALLOC(ell, w->modes, "multipoles"));
    sq_flat_ell(&w->flat, ell);
    for (int64_t k = 0; k < w->modes; k++)
        out[k] = table ? sq_table_at(table, w->lmax, fmax(2, ell[k])) : 1;
cleanup:
    sq_free(ell);
    return rc;
}

/* The (T, E) block [tt te; te ee] and B at one mode; a field that is not there is 0. */
static sq_status invert(double tt, double ee, double bb, double te, double out[POWERS])
{
    double det = tt * ee - te * te;
    if (te != 0 && !(det > 0))
        return sq_fail(SQ_ERR_DATA, "lensing: |TE|^2 is above TT EE");
    out[TT] = te != 0 ? ee / det : tt > 0 ? 1 / tt : 0;
    out[EE] = te != 0 ? tt / det : ee > 0 ? 1 / ee : 0;
    out[TE] = te != 0 ? -te / det : 0;
    out[BB] = bb > 0 ? 1 / bb : 0;
    return SQ_OK;
}

static sq_status fill_operators(sq_wiener *w)
{
    double area = 1 / (w->flat.dx * w->flat.dy);
    for (int64_t k = 0; k < w->modes; k++) {
        double b2 = w->beam[k] * w->beam[k] * area, value[POWERS] = {0};
        double total[POWERS];
        for (int i = 0; i < POWERS; i++) {
            w->forward[i][k] = b2 * w->power[i][k];
            total[i] = w->forward[i][k] + (i == TE ? 0 : w->median[i != TT]);
        }
        sq_status rc = invert(total[TT], total[EE], total[BB], total[TE], value);
        if (rc != SQ_OK)
            return rc;
        for (int i = 0; i < POWERS; i++)
            w->inverse[i][k] = value[i];
    }
    return SQ_OK;
}

static sq_status fill(sq_wiener *w, const sq_wiener_model *m)
{
    sq_status rc = SQ_OK;
    const double *table[POWERS] = {m->tt, m->ee, m->bb, m->tt && m->ee ? m->te : NULL};
    SQ_TRY(sq_fft_create(w->flat.ny, w->flat.nx, &w->fft));
    if (m->tt)
        SQ_TRY(fill_variance(w, m->ivar_t, 0));
    if (m->ee)
        SQ_TRY(fill_variance(w, m->ivar_p, 1));
    SQ_TRY(SQ_ALLOC(w->beam, w->modes, "beam"));
    SQ_TRY(SQ_ALLOC(w->beam_table, w->lmax + 1, "beam"));
    for (int l = 0; l <= w->lmax; l++)
        w->beam_table[l] = m->beam ? m->beam[l] : 1;
    SQ_TRY(spread(w, m->beam, w->beam));
    for (int i = 0; i < POWERS; i++) {
        SQ_TRY(SQ_ALLOC(w->power[i], w->modes, "power"));
        SQ_TRY(SQ_ALLOC(w->forward[i], w->modes, "power"));
        SQ_TRY(SQ_ALLOC(w->inverse[i], w->modes, "power"));
        if (table[i])
            SQ_TRY(spread(w, table[i], w->power[i]));
    }
    SQ_TRY(fill_operators(w));
    for (int i = 0; i < 5; i++)
        SQ_TRY(SQ_ALLOC(w->vector[i], MAPS * w->pixels, "maps"));
    for (int i = 0; i < MAPS; i++)
        SQ_TRY(SQ_ALLOC(w->field[i], w->modes, "modes"));
cleanup:
    return rc;
}

sq_status sq_wiener_create(const sq_flat *flat, const sq_wiener_model *model, sq_wiener **out)
{
    sq_status rc = SQ_OK;
    sq_wiener *w = NULL;
    *out = NULL;
    if ((!model->tt && !model->ee) || !model->ee != !model->bb || model->lmax < 2 ||
        (model->tt && !model->ivar_t) || (model->ee && !model->ivar_p))
        return sq_fail(SQ_ERR_USAGE, "lensing: the filter's model is not complete");
    SQ_TRY(SQ_ALLOC(w, 1, "filter"));
    w->flat = *flat;
    w->lmax = model->lmax;
    w->first = model->tt ? MAP_T : MAP_Q;
    w->last = model->ee ? MAPS : MAP_Q;
    w->pixels = sq_flat_pixels(flat);
    w->modes = sq_flat_modes(flat);
    SQ_TRY(fill(w, model));
    *out = w;
    w = NULL;
cleanup:
    sq_wiener_destroy(w);
    return rc;
}

/* (T, E, B) times a symmetric matrix a mode. */
static void multiply(int64_t modes, double *const matrix[POWERS], double _Complex *t,
                     double _Complex *e, double _Complex *b)
{
    for (int64_t k = 0; t && k < modes; k++) {
        double _Complex x = t[k], y = e ? e[k] : 0;
        t[k] = matrix[TT][k] * x + matrix[TE][k] * y;
        if (e)
            e[k] = matrix[TE][k] * x + matrix[EE][k] * y;
    }
    for (int64_t k = 0; e && k < modes; k++) {
        e[k] *= t ? 1 : matrix[EE][k];
        b[k] *= matrix[BB][k];
    }
}

static void to_modes(sq_wiener *w, const double *maps)
{
    for (int i = w->first; i < w->last; i++)
        sq_fft_forward(w->fft, maps + i * w->pixels, w->field[i]);
    if (w->last == MAPS)
        sq_filter_qu_to_eb(&w->flat, w->field[MAP_Q], w->field[MAP_U]);
}

/* out = the matrix in modes applied to maps, 0 where masked, plus the noise's part when `noise`. */
static void apply(sq_wiener *w, double *const matrix[POWERS], int noise, const double *in,
                  double *out)
{
    to_modes(w, in);
    multiply(w->modes, matrix, w->first == MAP_T ? w->field[MAP_T] : NULL,
             w->last == MAPS ? w->field[MAP_Q] : NULL, w->field[MAP_U]);
    if (w->last == MAPS)
        sq_filter_eb_to_qu(&w->flat, w->field[MAP_Q], w->field[MAP_U]);
    for (int i = w->first; i < w->last; i++) {
        const double *variance = w->variance[i != MAP_T], *from = in + i * w->pixels;
        double *to = out + i * w->pixels;
        sq_fft_backward(w->fft, w->field[i], to);
        for (int64_t k = 0; k < w->pixels; k++)
            to[k] = variance[k] > 0 ? to[k] + (noise ? variance[k] * from[k] : 0) : 0;
    }
}

static double dot(const sq_wiener *w, const double *a, const double *b)
{
    double sum = 0;
    for (int64_t k = w->first * w->pixels; k < w->last * w->pixels; k++)
        sum += a[k] * b[k];
    return sum;
}

static void add(const sq_wiener *w, double factor, const double *x, double *y)
{
    for (int64_t k = w->first * w->pixels; k < w->last * w->pixels; k++)
        y[k] += factor * x[k];
}

static sq_status load(sq_wiener *w, const double *const map[MAPS], double *out)
{
    for (int i = w->first; i < w->last; i++) {
        const double *variance = w->variance[i != MAP_T];
        for (int64_t k = 0; k < w->pixels; k++) {
            if (variance[k] > 0 && !isfinite(map[i][k]))
                return sq_fail(SQ_ERR_DATA, "lensing: a pixel that is not masked is not finite");
            out[i * w->pixels + k] = variance[k] > 0 ? map[i][k] : 0;
        }
    }
    return SQ_OK;
}

/* Conjugate gradients: solution in vector[0], data in vector[1]. */
static sq_status solve(sq_wiener *w, double tolerance, int most, sq_wiener_result *result)
{
    double *x = w->vector[0], *r = w->vector[1], *p = w->vector[2], *z = w->vector[3];
    double *ap = w->vector[4];
    memset(x, 0, (size_t)(MAPS * w->pixels) * sizeof *x);
    apply(w, w->inverse, 0, r, z);
    memcpy(p, z, (size_t)(MAPS * w->pixels) * sizeof *p);
    double rz = dot(w, r, z), first = rz;
    *result = (sq_wiener_result){0, first > 0 ? 1 : 0};
    while (result->residual > tolerance && result->iterations < most) {
        apply(w, w->forward, 1, p, ap);
        double step = rz / dot(w, p, ap);
        add(w, step, p, x);
        add(w, -step, ap, r);
        apply(w, w->inverse, 0, r, z);
        double next = dot(w, r, z), ratio = next / rz;
        for (int64_t k = w->first * w->pixels; k < w->last * w->pixels; k++)
            p[k] = z[k] + ratio * p[k];
        rz = next;
        result->iterations++;
        result->residual = sqrt(rz / first);
    }
    if (!(result->residual <= tolerance))
        return sq_fail(SQ_ERR_DATA, "lensing: the filter is at %.1e instead of %.1e after %d steps",
                       result->residual, tolerance, result->iterations);
    return SQ_OK;
}

sq_status sq_wiener_run(sq_wiener *w, const double *t, const double *q, const double *u,
                        double tolerance, int most, double _Complex *mt, double _Complex *me,
                        double _Complex *mb, sq_wiener_result *result)
{
    sq_status rc = SQ_OK;
    const double *const map[MAPS] = {t, q, u};
    double _Complex *const out[MAPS] = {mt, me, mb};
    sq_wiener_result unused;
    double scale = 1 / (w->flat.dx * w->flat.dy);
    SQ_TRY(load(w, map, w->vector[1]));
    SQ_TRY(solve(w, tolerance, most, result ? result : &unused));
    to_modes(w, w->vector[0]);
    for (int i = w->first; i < w->last; i++) {
        for (int64_t k = 0; k < w->modes; k++)
            out[i][k] = scale * w->beam[k] * w->field[i][k];
    }
cleanup:
    return rc;
}

/* y is (S + N) Xbar: with the beam's zeros, where Xbar is 0, left at 0. */
void sq_wiener_restore(const sq_wiener *w, double _Complex *t, double _Complex *e,
                       double _Complex *b)
{
    double _Complex *const x[MAPS] = {t, e, b};
    double area = w->flat.dx * w->flat.dy;
    for (int64_t k = 0; k < w->modes; k++) {
        double b2 = w->beam[k] * w->beam[k];
        double _Complex add[MAPS] = {0};
        for (int i = w->first; i < w->last; i++)
            add[i] = b2 > 0 ? area * w->median[i != MAP_T] / b2 * x[i][k] : 0;
        double _Complex was = w->first == MAP_T ? t[k] : 0;
        if (w->first == MAP_T)
            t[k] = w->power[TT][k] * t[k] + (w->last == MAPS ? w->power[TE][k] * e[k] : 0) +
                   add[MAP_T];
        if (w->last == MAPS) {
            e[k] = w->power[TE][k] * was + w->power[EE][k] * e[k] + add[MAP_Q];
            b[k] = w->power[BB][k] * b[k] + add[MAP_U];
        }
    }
}

void sq_wiener_noise(const sq_wiener *w, int polarised, double *out)
{
    double noise = w->median[polarised] * w->flat.dx * w->flat.dy;
    for (int l = 0; l <= w->lmax; l++)
        out[l] = noise / (w->beam_table[l] * w->beam_table[l]);
}
