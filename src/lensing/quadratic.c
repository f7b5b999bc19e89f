#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "lensing/quadratic_internal.h"

const term sq_qe_terms[SQ_QE_COUNT][TERMS_MAX] = {
    [SQ_QE_TT] = {{1, T, TT, ROUND, T, ROUND}},
    [SQ_QE_TE] = {{1, T, TE, COS2, E, COS2},
                  {1, T, TE, SIN2, E, SIN2},
                  {1, E, TE, ROUND, T, ROUND}},
    [SQ_QE_EE] = {{1, E, EE, COS2, E, COS2}, {1, E, EE, SIN2, E, SIN2}},
    [SQ_QE_TB] = {{1, T, TE, SIN2, B, COS2}, {-1, T, TE, COS2, B, SIN2}},
    [SQ_QE_EB] = {{1, E, EE, SIN2, B, COS2}, {-1, E, EE, COS2, B, SIN2}},
};

const char *sq_qe_name(sq_qe kind)
{
    static const char *const name[] = {"TT", "TE", "EE", "TB", "EB"};
    return name[kind];
}

int sq_qe_polarised(sq_qe kind)
{
    return kind != SQ_QE_TT;
}

void sq_quadratic_destroy(sq_quadratic *q)
{
    if (!q)
        return;
    for (int i = 0; i < SPECTRA; i++) {
        if (q->gradient[i] != q->weight[i])
            sq_free(q->gradient[i]);
        sq_free(q->weight[i]);
    }
    for (int i = 0; i < FIELDS; i++) {
        sq_free(q->inverse[i]);
        for (int t = 0; t < TURNS; t++)
            sq_free(q->bar[i][t]);
    }
    for (int i = 0; i < SQ_QE_COUNT; i++) {
        if (q->response[i] != q->own[i])
            sq_free(q->response[i]);
        sq_free(q->own[i]);
        sq_free(q->curl_response[i]);
        for (int axis = 0; axis < 2; axis++)
            sq_free(q->sum[axis][i]);
    }
    sq_free(q->gradient_map);
    products_free(&q->products);
    sq_free(q);
}

sq_status sq_quadratic_spread(const sq_quadratic *q, const double *table, int invert,
                              const char *what, double **out)
{
    const products *p = &q->products;
    sq_status rc = SQ_ALLOC(*out, (int64_t)p->rows * p->columns, "spectrum");
    for (int v = 0; rc == SQ_OK && v < p->used_rows; v++) {
        for (int u = 0; u < p->used_columns; u++) {
            double l = hypot(p->ly[v], p->lx[u]);
            if (l < q->lmin || l > q->lmax)
                continue;
            double value = sq_table_at(table, q->lmax, l);
            if (invert && !(value > 0))
                return sq_fail(SQ_ERR_DATA, "lensing: total %s is not positive at l = %.0f", what,
                               l);
            (*out)[(int64_t)v * p->columns + u] = invert ? 1 / value : value;
        }
    }
    return rc;
}

static sq_status fill_spectra(sq_quadratic *q, const sq_qe_spectra *s)
{
    sq_status rc = SQ_OK;
    const double *weight[] = {s->weight_tt, s->weight_ee, s->weight_te};
    const double *gradient[] = {s->response_tt, s->response_ee, s->response_te};
    const double *total[] = {s->total_tt, s->total_ee, s->total_bb};
    static const char *const name[] = {"TT", "EE", "BB"};
    for (int i = 0; i < (q->polarised ? 3 : 1); i++) {
        SQ_TRY(sq_quadratic_spread(q, weight[i], 0, "", &q->weight[i]));
        if (gradient[i] && gradient[i] != weight[i])
            SQ_TRY(sq_quadratic_spread(q, gradient[i], 0, "", &q->gradient[i]));
        else
            q->gradient[i] = q->weight[i];
        SQ_TRY(sq_quadratic_spread(q, total[i], 1, name[i], &q->inverse[i]));
    }
cleanup:
    return rc;
}

sq_status sq_quadratic_create(const sq_flat *flat, int lmin, int lmax, const sq_qe_spectra *spectra,
                              sq_quadratic **out)
{
    sq_status rc = SQ_OK;
    sq_quadratic *q = NULL;
    double nyquist = M_PI / fmax(flat->dx, flat->dy);
    *out = NULL;
    if (lmin < 2 || lmin >= lmax)
        return sq_fail(SQ_ERR_USAGE, "lensing: multipoles %d to %d", lmin, lmax);
    if (1.5 * lmax > nyquist)
        return sq_fail(SQ_ERR_USAGE,
                       "lensing: lmax %d needs pixels of %.2f arcmin or less to be free of aliases",
                       lmax, M_PI / (1.5 * lmax) * 180 * 60 / M_PI);
    SQ_TRY(SQ_ALLOC(q, 1, "quadratic estimator"));
    q->lmin = lmin;
    q->lmax = lmax;
    q->polarised = spectra->total_ee && spectra->total_bb;
    q->pixels = sq_flat_pixels(flat);
    q->modes = sq_flat_modes(flat);
    SQ_TRY(products_create(flat, lmax, &q->products));
    SQ_TRY(fill_spectra(q, spectra));
    *out = q;
    q = NULL;
cleanup:
    sq_quadratic_destroy(q);
    return rc;
}

int64_t sq_quadratic_modes(const sq_quadratic *q)
{
    return q->modes;
}

static sq_status check_kind(const sq_quadratic *q, sq_qe kind)
{
    if (sq_qe_polarised(kind) && !q->polarised)
        return sq_fail(SQ_ERR_USAGE, "lensing: %s needs polarisation", sq_qe_name(kind));
    return SQ_OK;
}

/* |L|^2 of a mode. */
static double square(const sq_quadratic *q, int64_t k)
{
    const products *p = &q->products;
    int v = (int)(k / p->columns);
    double y = p->ly[v < p->rows ? v : p->flat.ny - v], x = p->lx[k % p->columns];
    return x * x + y * y;
}

/* Two modes within lmax reach no further than 2 lmax: what is there is rounding. */
static void cut(const sq_quadratic *q, double *response)
{
    for (int64_t k = 0; k < q->modes; k++) {
        if (square(q, k) >= 4.0 * q->lmax * q->lmax)
            response[k] = 0;
    }
}

sq_status sq_quadratic_need_responses(sq_quadratic *q, unsigned kinds)
{
    sq_status rc = SQ_OK;
    product_list *list = NULL;
    double *out[2 * SQ_QE_COUNT] = {NULL};
    int count = 0;
    for (sq_qe k = 0; k < SQ_QE_COUNT; k++) {
        SQ_TRY(kinds & 1u << k ? check_kind(q, k) : SQ_OK);
        kinds &= q->response[k] ? ~(1u << k) : ~0u;
    }
    if (!kinds)
        return SQ_OK;
    SQ_TRY(SQ_ALLOC(list, 2 * SQ_QE_COUNT, "products"));
    for (sq_qe k = 0; k < SQ_QE_COUNT; k++) {
        int s = sq_qe_terms[k][0].spectrum;
        for (int i = 0; kinds & 1u << k && i < (q->gradient[s] != q->weight[s] ? 2 : 1); i++) {
            SQ_TRY(SQ_ALLOC(out[count], q->modes, "response"));
            sq_quadratic_gram(q, k, q->weight, k, i ? q->gradient : q->weight, NULL,
                              &list[count++]);
        }
    }
    SQ_TRY(products_sums(&q->products, count, list, 0, out));
    for (int i = 0; i < count; i++)
        cut(q, out[i]);
    count = 0;
    for (sq_qe k = 0; k < SQ_QE_COUNT; k++) {
        int s = sq_qe_terms[k][0].spectrum;
        if (!(kinds & 1u << k))
            continue;
        q->own[k] = q->response[k] = out[count++];
        if (q->gradient[s] != q->weight[s])
            q->response[k] = out[count++];
    }
    memset(out, 0, sizeof out);
cleanup:
    sq_free(list);
    for (int i = 0; i < 2 * SQ_QE_COUNT; i++)
        sq_free(out[i]);
    return rc;
}

static sq_status need_curl_response(sq_quadratic *q, sq_qe kind)
{
    sq_status rc = SQ_OK;
    double *response = NULL;
    product_list *list = NULL;
    SQ_TRY(check_kind(q, kind));
    if (q->curl_response[kind])
        return SQ_OK;
    SQ_TRY(SQ_ALLOC(response, q->modes, "response"));
    SQ_TRY(SQ_ALLOC(list, 1, "products"));
    sq_quadratic_gram(q, kind, q->weight, kind, q->gradient, NULL, list);
    SQ_TRY(products_sums(&q->products, 1, list, 1, &response));
    cut(q, response);
    q->curl_response[kind] = response;
    response = NULL;
cleanup:
    sq_free(list);
    sq_free(response);
    return rc;
}

const double *sq_quadratic_response(sq_quadratic *q, sq_qe kind)
{
    return sq_quadratic_need_responses(q, 1u << kind) == SQ_OK ? q->response[kind] : NULL;
}

double sq_quadratic_to_kappa(const sq_quadratic *q, int64_t mode)
{
    double ll = square(q, mode);
    return 0.25 * ll * ll;
}

sq_status sq_quadratic_n0(sq_quadratic *q, sq_qe kind, double *n0)
{
    sq_status rc = sq_quadratic_need_responses(q, 1u << kind);
    for (int64_t k = 0; rc == SQ_OK && k < q->modes; k++) {
        double r = q->response[kind][k], scale = sq_quadratic_to_kappa(q, k);
        n0[k] = r > 0 && scale > 0 ? scale * q->own[kind][k] / (r * r) : INFINITY;
    }
    return rc;
}

void sq_quadratic_ring(const sq_flat *flat, const double *n0, double first, double width, int count,
                       double *value)
{
    int columns = flat->nx / 2 + 1;
    for (int i = 0; i < count; i++) {
        double sum = 0, modes = 0, centre = first + i * width;
        for (int v = 0; v < flat->ny; v++) {
            double y =
                2 * M_PI * (v < (flat->ny + 1) / 2 ? v : v - flat->ny) / (flat->ny * flat->dy);
            for (int u = 0; u < columns; u++) {
                double l = hypot(y, 2 * M_PI * u / (flat->nx * flat->dx));
                int64_t k = (int64_t)v * columns + u;
                if (l < centre - 0.5 * width || l >= centre + 0.5 * width || !isfinite(n0[k]))
                    continue;
                sum += sq_flat_weight(flat, u) / n0[k];
                modes += sq_flat_weight(flat, u);
            }
        }
        value[i] = modes > 0 ? modes / sum : NAN;
    }
}

/* One row of modes: x times a real function, times i when `rotate`, with a sign. */
static void filter_row(int count, const double *function, double sign, int rotate,
                       const double _Complex *x, double _Complex *out)
{
    const double *from = (const double *)x;
    double *to = (double *)out;
    for (int u = 0; u < count; u++) {
        double f = sign * function[u], re = f * from[2 * u], im = f * from[2 * u + 1];
        to[2 * u] = rotate ? -im : re;
        to[2 * u + 1] = rotate ? re : im;
    }
}

/* out = FT^-1[f x], with the factor i of a gradient. The modes of products->work that filters leave
 * out are 0. */
static void filter(sq_quadratic *q, const double _Complex *x, const factor *f, double *out)
{
    products *p = &q->products;
    int ny = p->flat.ny, rotate = f->axis[0] != NO_AXIS;
    double down = (f->turn[0] == SIN2) != (f->axis[0] == ALONG_Y) ? -1 : 1;
    for (int v = 0; v < p->used_rows; v++) {
        int64_t up = (int64_t)v * p->columns, low = (int64_t)((ny - v) % ny) * p->columns;
        products_row(p, f, v, p->line);
        filter_row(p->used_columns, p->line, down, rotate, x + low, p->work + low);
        filter_row(p->used_columns, p->line, 1, rotate, x + up, p->work + up);
    }
    sq_fft_backward(p->fft, p->work, out);
}

static int same_gradient(const term *a, const term *b)
{
    return a->x == b->x && a->spectrum == b->spectrum && a->xturn == b->xturn;
}

/* Whether a term before this one of the same kinds has its gradient. */
static int is_done(unsigned kinds, int kind, int number)
{
    const term *t = &sq_qe_terms[kind][number];
    for (int e = 0; e <= kind; e++) {
        int end = e < kind ? TERMS_MAX : number;
        for (int i = 0; i < end && kinds & 1u << e && sq_qe_terms[e][i].sign != 0; i++) {
            if (same_gradient(&sq_qe_terms[e][i], t))
                return 1;
        }
    }
    return 0;
}

/* Multiply one gradient into every term that has it. */
static void use_gradient(sq_quadratic *q, unsigned kinds, const term *t, double *const *sums)
{
    for (int e = 0; e < SQ_QE_COUNT; e++) {
        for (int i = 0; i < TERMS_MAX && kinds & 1u << e && sq_qe_terms[e][i].sign != 0; i++) {
            const term *u = &sq_qe_terms[e][i];
            if (!same_gradient(t, u))
                continue;
            const double *bar = q->bar[u->y][u->yturn], *gradient = q->gradient_map;
            double *sum = sums[e], sign = u->sign;
            for (int64_t k = 0; k < q->pixels; k++)
                sum[k] += sign * gradient[k] * bar[k];
        }
    }
}

static sq_status make_bars(sq_quadratic *q, unsigned kinds, const double _Complex *const *field)
{
    sq_status rc = SQ_OK;
    int made[FIELDS][TURNS] = {{0}};
    for (int e = 0; e < SQ_QE_COUNT; e++) {
        for (int i = 0; i < TERMS_MAX && kinds & 1u << e && sq_qe_terms[e][i].sign != 0; i++) {
            const term *t = &sq_qe_terms[e][i];
            double **bar = &q->bar[t->y][t->yturn];
            if (made[t->y][t->yturn]++)
                continue;
            SQ_TRY(*bar ? SQ_OK : SQ_ALLOC(*bar, q->pixels, "map"));
            filter(q, field[t->y], &(factor){{q->inverse[t->y]}, {t->yturn}, {NO_AXIS}}, *bar);
        }
    }
cleanup:
    return rc;
}

/* v_j += of the gradients of x and the maps of y. */
static sq_status add_products(sq_quadratic *q, unsigned kinds, const double _Complex *const *x,
                              const double _Complex *const *y)
{
    sq_status rc = SQ_OK;
    memset(q->products.work, 0, (size_t)q->modes * sizeof *q->products.work);
    SQ_TRY(make_bars(q, kinds, y));
    for (int axis = 0; axis < 2; axis++) {
        for (int k = 0; k < SQ_QE_COUNT; k++) {
            for (int i = 0; i < TERMS_MAX && kinds & 1u << k && sq_qe_terms[k][i].sign != 0; i++) {
                const term *u = &sq_qe_terms[k][i];
                if (is_done(kinds, k, i))
                    continue;
                filter(q, x[u->x],
                       &(factor){{q->weight[u->spectrum], q->inverse[u->x]},
                                 {u->xturn},
                                 {axis ? ALONG_Y : ALONG_X}},
                       q->gradient_map);
                use_gradient(q, kinds, u, q->sum[axis]);
            }
        }
    }
cleanup:
    return rc;
}

/* out = -i L_j W, added to what is there along y; for a curl L is turned to (L_y, -L_x). */
static void add_derivative(const sq_quadratic *q, int axis, int curl, double _Complex *out)
{
    const products *p = &q->products;
    for (int v = 0; v < p->flat.ny; v++) {
        double y = v < p->rows ? p->ly[v] : -p->ly[p->flat.ny - v];
        double _Complex *row = out + (int64_t)v * p->columns;
        const double _Complex *from = p->work + (int64_t)v * p->columns;
        for (int u = 0; u < p->columns; u++) {
            double l = axis == curl ? p->lx[u] : y;
            l = axis && curl ? -l : l;
            double re = l * cimag(from[u]), im = -l * creal(from[u]);
            row[u] = axis == 0 ? CMPLX(re, im) : CMPLX(creal(row[u]) + re, cimag(row[u]) + im);
        }
    }
}

/* Times L^2 / (2 R) and a scale. */
static void normalise(const sq_quadratic *q, const double *response, double scale,
                      double _Complex *kappa)
{
    const products *p = &q->products;
    for (int v = 0; v < p->flat.ny; v++) {
        double y = p->ly[v < p->rows ? v : p->flat.ny - v];
        int64_t k = (int64_t)v * p->columns;
        for (int u = 0; u < p->columns; u++) {
            double r = response[k + u];
            double f = r > 0 ? scale * 0.5 * (p->lx[u] * p->lx[u] + y * y) / r : 0;
            kappa[k + u] = CMPLX(f * creal(kappa[k + u]), f * cimag(kappa[k + u]));
        }
    }
}

static sq_status prepare(sq_quadratic *q, unsigned kinds, int curl)
{
    sq_status rc = SQ_OK;
    SQ_TRY(q->gradient_map ? SQ_OK : SQ_ALLOC(q->gradient_map, q->pixels, "map"));
    SQ_TRY(sq_quadratic_need_responses(q, kinds));
    for (int k = 0; k < SQ_QE_COUNT; k++) {
        if (!(kinds & 1u << k))
            continue;
        SQ_TRY(curl ? need_curl_response(q, (sq_qe)k) : SQ_OK);
        for (int axis = 0; axis < 2; axis++) {
            double **sum = &q->sum[axis][k];
            SQ_TRY(*sum ? SQ_OK : SQ_ALLOC(*sum, q->pixels, "map"));
            memset(*sum, 0, (size_t)q->pixels * sizeof **sum);
        }
    }
cleanup:
    return rc;
}

sq_status sq_quadratic_cross(sq_quadratic *q, unsigned kinds, const double _Complex *const a[3],
                             const double _Complex *const b[3],
                             double _Complex *const kappa[SQ_QE_COUNT],
                             double _Complex *const curl[SQ_QE_COUNT])
{
    sq_status rc = SQ_OK;
    products *p = &q->products;
    SQ_TRY(prepare(q, kinds, curl != NULL));
    SQ_TRY(add_products(q, kinds, a, b));
    if (a != b)
        SQ_TRY(add_products(q, kinds, b, a));
    for (int k = 0; k < SQ_QE_COUNT; k++) {
        if (!(kinds & 1u << k))
            continue;
        for (int axis = 0; axis < 2; axis++) {
            sq_fft_forward(p->fft, q->sum[axis][k], p->work);
            add_derivative(q, axis, 0, kappa[k]);
            if (curl)
                add_derivative(q, axis, 1, curl[k]);
        }
        normalise(q, q->response[k], a != b ? 0.5 : 1, kappa[k]);
        if (curl)
            normalise(q, q->curl_response[k], a != b ? 0.5 : 1, curl[k]);
    }
cleanup:
    return rc;
}

sq_status sq_quadratic_estimates(sq_quadratic *q, unsigned kinds, const double _Complex *t,
                                 const double _Complex *e, const double _Complex *b,
                                 double _Complex *const kappa[SQ_QE_COUNT])
{
    const double _Complex *const field[] = {t, e, b};
    return sq_quadratic_cross(q, kinds, field, field, kappa, NULL);
}

sq_status sq_quadratic_estimate(sq_quadratic *q, sq_qe kind, const double _Complex *t,
                                const double _Complex *e, const double _Complex *b,
                                double _Complex *kappa)
{
    double _Complex *all[SQ_QE_COUNT] = {NULL};
    all[kind] = kappa;
    return sq_quadratic_estimates(q, 1u << kind, t, e, b, all);
}

/* sum R kappa / sum R. */
static void combine(const sq_quadratic *q, unsigned kinds, double *const response[SQ_QE_COUNT],
                    const double _Complex *const kappa[SQ_QE_COUNT], double _Complex *combined)
{
    for (int64_t k = 0; k < q->modes; k++) {
        double _Complex sum = 0;
        double weight = 0;
        for (int e = 0; e < SQ_QE_COUNT; e++) {
            double r = kinds & 1u << e ? response[e][k] : 0;
            if (r > 0) {
                sum += r * kappa[e][k];
                weight += r;
            }
        }
        combined[k] = weight > 0 ? sum / weight : 0;
    }
}

sq_status sq_quadratic_combine(sq_quadratic *q, unsigned kinds,
                               const double _Complex *const kappa[SQ_QE_COUNT],
                               double _Complex *combined)
{
    sq_status rc = SQ_OK;
    SQ_TRY(sq_quadratic_need_responses(q, kinds));
    combine(q, kinds, q->response, kappa, combined);
cleanup:
    return rc;
}

sq_status sq_quadratic_combine_curl(sq_quadratic *q, unsigned kinds,
                                    const double _Complex *const curl[SQ_QE_COUNT],
                                    double _Complex *combined)
{
    sq_status rc = SQ_OK;
    for (int e = 0; e < SQ_QE_COUNT; e++) {
        if (kinds & 1u << e)
            SQ_TRY(need_curl_response(q, (sq_qe)e));
    }
    combine(q, kinds, q->curl_response, curl, combined);
cleanup:
    return rc;
}
