#include "lensing/n1.h"

#include <complex.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "lensing/quadratic_internal.h"

enum { STOKES = 3, PAIRS = STOKES * STOKES };
enum { WEIGHT, LEFT, RIGHT, BOTH, MATRICES }; /* F, F^T C1, F C2, C2 F^T C1 */

typedef struct plane {
    int n, lmin, lmax;
    double step;
    int64_t size, modes;
    unsigned kinds;
    const sq_qe_spectra *spectra;
    sq_fft *fft;
    double *matrix[MATRICES][PAIRS]; /* [size]; index 3 row + column */
    double *map;
    double *kernel[3]; /* transforms of k_i k_j C^phi: xx, xy, yy; real */
    double _Complex *f[4];
} plane;

static void drop(plane *p)
{
    sq_fft_destroy(p->fft);
    for (int m = 0; m < MATRICES; m++) {
        for (int i = 0; i < PAIRS; i++)
            sq_free(p->matrix[m][i]);
    }
    for (int i = 0; i < 3; i++)
        sq_free(p->kernel[i]);
    for (int i = 0; i < 4; i++)
        sq_free(p->f[i]);
    sq_free(p->map);
}

static double wave(const plane *p, int k)
{
    return p->step * (k < (p->n + 1) / 2 ? k : k - p->n);
}

/* The least size of factors 2, 3 and 5 from n on. */
static int smooth(int n)
{
    for (;; n++) {
        int rest = n;
        for (int f = 2; f <= 5; f++) {
            while (rest % f == 0)
                rest /= f;
        }
        if (rest == 1)
            return n;
    }
}

static sq_status make_kernel(plane *p, const double *phi)
{
    for (int pair = 0; pair < 3; pair++) {
        for (int v = 0; v < p->n; v++) {
            for (int u = 0; u < p->n; u++) {
                double y = wave(p, v), x = wave(p, u), k = hypot(x, y);
                double ll = pair == 0 ? x * x : pair == 1 ? x * y : y * y;
                p->map[(int64_t)v * p->n + u] = k >= 2 ? ll * sq_table_at(phi, p->lmax, k) : 0;
            }
        }
        sq_fft_forward(p->fft, p->map, p->f[0]);
        for (int64_t k = 0; k < p->modes; k++)
            p->kernel[pair][k] = creal(p->f[0][k]);
    }
    return SQ_OK;
}

/* n spans 3 lmax: a difference of l1 that wraps is beyond lmax, where there is no phi. */
static sq_status make(plane *p, const double *phi)
{
    sq_status rc = SQ_OK;
    p->n = smooth((int)ceil(3 * p->lmax / p->step) + 2);
    p->size = (int64_t)p->n * p->n;
    p->modes = (int64_t)p->n * (p->n / 2 + 1);
    SQ_TRY(sq_fft_create(p->n, p->n, &p->fft));
    SQ_TRY(SQ_ALLOC(p->map, p->size, "N1"));
    for (int m = 0; m < MATRICES; m++) {
        for (int i = 0; i < PAIRS; i++)
            SQ_TRY(SQ_ALLOC(p->matrix[m][i], p->size, "N1"));
    }
    for (int i = 0; i < 3; i++)
        SQ_TRY(SQ_ALLOC(p->kernel[i], p->modes, "N1"));
    for (int i = 0; i < 4; i++)
        SQ_TRY(SQ_ALLOC(p->f[i], p->modes, "N1"));
    SQ_TRY(make_kernel(p, phi));
cleanup:
    return rc;
}

typedef struct point {
    double x, y, l, cos2, sin2;
    int used;
} point;

static point at(const plane *p, double x, double y)
{
    double l = hypot(x, y), ll = fmax(l * l, 1e-30);
    return (point){x, y, l, (x * x - y * y) / ll, 2 * x * y / ll, l >= p->lmin && l <= p->lmax};
}

static double turned(const point *p, turn t)
{
    return t == COS2 ? p->cos2 : t == SIN2 ? p->sin2 : 1;
}

/* T, E or B as a row over T, Q, U. */
static void row_of(const point *p, int field, double out[STOKES])
{
    out[0] = field == T;
    out[1] = field == T ? 0 : field == E ? p->cos2 : -p->sin2;
    out[2] = field == T ? 0 : field == E ? p->sin2 : p->cos2;
}

/* F(l1, l2), not yet symmetric, added times one half; transposed into the place of (l2, l1). */
static void add_weight(const plane *p, double length, const point *a, const point *b, int transpose,
                       double f[PAIRS])
{
    const sq_qe_spectra *s = p->spectra;
    const double *weight[] = {s->weight_tt, s->weight_ee, s->weight_te};
    const double *total[] = {s->total_tt, s->total_ee, s->total_bb};
    for (int e = 0; e < SQ_QE_COUNT; e++) {
        for (int i = 0; i < TERMS_MAX && p->kinds & 1u << e && sq_qe_terms[e][i].sign != 0; i++) {
            const term *t = &sq_qe_terms[e][i];
            double x[STOKES], y[STOKES];
            double value = 0.5 * t->sign * length * a->x * turned(a, t->xturn) *
                           turned(b, t->yturn) * sq_table_at(weight[t->spectrum], p->lmax, a->l) /
                           sq_table_at(total[t->x], p->lmax, a->l) /
                           sq_table_at(total[t->y], p->lmax, b->l);
            row_of(a, t->x, x);
            row_of(b, t->y, y);
            for (int j = 0; j < PAIRS; j++)
                f[transpose ? 3 * (j % 3) + j / 3 : j] += value * x[j / 3] * y[j % 3];
        }
    }
}

/* The power of T, Q, U without B. */
static void covariance_at(const plane *p, const point *a, double c[PAIRS])
{
    const sq_qe_spectra *s = p->spectra;
    const double *tables[] = {s->response_tt ? s->response_tt : s->weight_tt,
                              s->response_ee ? s->response_ee : s->weight_ee,
                              s->response_te ? s->response_te : s->weight_te};
    double t[STOKES], e[STOKES], power[3];
    row_of(a, T, t);
    row_of(a, E, e);
    for (int i = 0; i < 3; i++)
        power[i] = tables[i] ? sq_table_at(tables[i], p->lmax, a->l) : 0;
    for (int j = 0; j < PAIRS; j++)
        c[j] = power[0] * t[j / 3] * t[j % 3] + power[1] * e[j / 3] * e[j % 3] +
               power[2] * (t[j / 3] * e[j % 3] + e[j / 3] * t[j % 3]);
}

/* out = a b, a transposed when asked. */
static void times(const double *a, int transpose, const double *b, double *out)
{
    for (int i = 0; i < STOKES; i++) {
        for (int j = 0; j < STOKES; j++) {
            double sum = 0;
            for (int k = 0; k < STOKES; k++)
                sum += (transpose ? a[3 * k + i] : a[3 * i + k]) * b[3 * k + j];
            out[3 * i + j] = sum;
        }
    }
}

/* All matrices for L = (length, 0), and the response. */
static double fill(plane *p, double length)
{
    double response = 0;
    for (int64_t k = 0; k < p->size; k++) {
        double y = wave(p, (int)(k / p->n)), x = wave(p, (int)(k % p->n));
        point a = at(p, x, y), b = at(p, length - x, -y);
        double m[MATRICES][PAIRS] = {{0}}, c1[PAIRS], c2[PAIRS];
        if (a.used && b.used) {
            covariance_at(p, &a, c1);
            covariance_at(p, &b, c2);
            add_weight(p, length, &a, &b, 0, m[WEIGHT]);
            add_weight(p, length, &b, &a, 1, m[WEIGHT]);
            times(m[WEIGHT], 1, c1, m[LEFT]);
            times(m[WEIGHT], 0, c2, m[RIGHT]);
            times(c2, 0, m[LEFT], m[BOTH]);
            for (int j = 0; j < PAIRS; j++)
                response += m[WEIGHT][j] * length * (a.x * c1[j] + b.x * c2[j]);
        }
        for (int i = 0; i < MATRICES; i++) {
            for (int j = 0; j < PAIRS; j++)
                p->matrix[i][j][k] = m[i][j];
        }
    }
    return response;
}

/* out = FT of a matrix element times a component of l1 (axis 0: x, 1: y), of l2 (2: x, 3: y), of
 * both, or alone (-1). */
static void transform(plane *p, const double *element, double length, int a, int b,
                      double _Complex *out)
{
    for (int v = 0; v < p->n; v++) {
        double y = wave(p, v);
        for (int u = 0; u < p->n; u++) {
            double x = wave(p, u), c[4] = {x, y, length - x, -y};
            int64_t k = (int64_t)v * p->n + u;
            p->map[k] = element[k] * (a < 0 ? 1 : c[a]) * (b < 0 ? 1 : c[b]);
        }
    }
    sq_fft_forward(p->fft, p->map, out);
}

/* sum over l1, l1' of g(l1) K(l1 - l1') h(l1') for one pair of components. */
static double convolve(const plane *p, const double _Complex *g, const double *kernel,
                       const double _Complex *h)
{
    int columns = p->n / 2 + 1;
    double sum = 0;
    for (int v = 0; v < p->n; v++) {
        for (int u = 0; u < columns; u++) {
            int64_t k = (int64_t)v * columns + u;
            int twice = u > 0 && 2 * u != p->n;
            sum += (twice ? 2 : 1) * kernel[k] *
                   (creal(g[k]) * creal(h[k]) + cimag(g[k]) * cimag(h[k]));
        }
    }
    return sum / (double)p->size;
}

/* sum of C^phi [2 (k.l1)(k.l2') tr(F^T C1 F' C2') - 2 (k.l1)(k.l2) tr(C2 F^T C1 F')]. */
static double bispectrum(plane *p, double length)
{
    double sum = 0;
    for (int j = 0; j < PAIRS; j++) {
        int t = 3 * (j % 3) + j / 3;
        transform(p, p->matrix[WEIGHT][t], length, -1, -1, p->f[0]);
        for (int pair = 0; pair < 4; pair++) {
            transform(p, p->matrix[BOTH][j], length, pair / 2, 2 + pair % 2, p->f[1]);
            sum -= 2 * convolve(p, p->f[1], p->kernel[pair / 2 + pair % 2], p->f[0]);
        }
        for (int i = 0; i < 2; i++) {
            transform(p, p->matrix[LEFT][j], length, i, -1, p->f[i]);
            transform(p, p->matrix[RIGHT][t], length, 2 + i, -1, p->f[2 + i]);
        }
        for (int pair = 0; pair < 4; pair++)
            sum +=
                2 * convolve(p, p->f[pair / 2], p->kernel[pair / 2 + pair % 2], p->f[2 + pair % 2]);
    }
    return sum;
}

sq_status sq_n1(const sq_qe_spectra *spectra, int lmin, int lmax, unsigned kinds, const double *phi,
                double step, int count, const double *L, double *n1)
{
    sq_status rc = SQ_OK;
    plane p = {.lmin = lmin, .lmax = lmax, .step = step, .kinds = kinds, .spectra = spectra};
    double cell = pow(step / (2 * M_PI), 2);
    if (lmin < 2 || lmin >= lmax || !(step >= 2 && step < lmax))
        return sq_fail(SQ_ERR_USAGE, "lensing: N1 of multipoles %d to %d in steps of %g", lmin,
                       lmax, step);
    SQ_TRY(make(&p, phi));
    for (int i = 0; i < count; i++) {
        double r = cell * fill(&p, L[i]);
        n1[i] = r > 0 ? 2 * cell * cell * bispectrum(&p, L[i]) * pow(L[i], 4) / (4 * r * r) : NAN;
    }
cleanup:
    drop(&p);
    return rc;
}
