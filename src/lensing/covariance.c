/* Responses and covariances of quadratic estimators.
 *
 * With the terms t of an estimator a (quadratic_internal.h), W = C xturn / C_tot and V = yturn /
 * C_tot, all even in l, and l2 = L - l1,
 *     g_a(L) = integral d2l1 / (2 pi)^2 sum_t sign_t (L . l1) W_t(l1) V_t(l2) X_t(l1) Y_t(l2),
 * so that for Gaussian fields (Wick; the third contraction has L = 0 alone)
 *     <g_a g_b*> = area integral d2l1 / (2 pi)^2 sum_tu sign_t sign_u (L . l1) W_t(l1) V_t(l2)
 *         { (L . l1) W_u(l1) V_u(l2) C^(X_t X_u)(l1) C^(Y_t Y_u)(l2)
 *         + (L . l2) W_u(l2) V_u(l1) C^(X_t Y_u)(l1) C^(Y_t X_u)(l2) }.
 * Each line is a sum over i, j of L_i L_j times the transform of a product of two maps: the first
 * of FT^-1[l_i l_j W_t W_u C] and FT^-1[V_t V_u C], the second of FT^-1[l_i W_t V_u C] and
 * FT^-1[l_j V_t W_u C]. Of the spectra only TT, EE, BB and TE are there: TT, TE and EE correlate
 * among each other, and TB with EB. The response to phi is the same with the spectra of the
 * response in the place of C in W_u, and diagonal power C_tot: it cancels the denominators of the
 * second estimator. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "lensing/quadratic_internal.h"

/* C^(x y) over both totals, at the quadrant's modes; NULL: 0. */
static const double *between(const sq_quadratic *q, const double *cross, int x, int y)
{
    return x == y ? q->inverse[x] : x + y == T + E ? cross : NULL;
}

static factor make(const double *w1, const double *w2, const double *c, turn a, turn b, int i,
                   int j)
{
    return (factor){{w1, w2, c}, {a < b ? a : b, a < b ? b : a}, {i, j}};
}

static void add_straight(const sq_quadratic *q, const term *t, double *const *wa, const term *u,
                         double *const *wb, const double *cross, product_list *l)
{
    static const int axes[3][2] = {{ALONG_X, ALONG_X}, {ALONG_X, ALONG_Y}, {ALONG_Y, ALONG_Y}};
    const double *x = between(q, cross, t->x, u->x), *y = between(q, cross, t->y, u->y);
    if (!x || !y)
        return;
    for (int p = 0; p < 3; p++) {
        factor a =
            make(wa[t->spectrum], wb[u->spectrum], x, t->xturn, u->xturn, axes[p][0], axes[p][1]);
        factor b = make(NULL, NULL, y, t->yturn, u->yturn, NO_AXIS, NO_AXIS);
        products_add(l, (p == 1 ? 2 : 1) * t->sign * u->sign, p, &a, &b);
    }
}

/* The two factors i of the maps' gradients make the sign. */
static void add_swapped(const sq_quadratic *q, const term *t, double *const *wa, const term *u,
                        double *const *wb, const double *cross, product_list *l)
{
    const double *x = between(q, cross, t->x, u->y), *y = between(q, cross, t->y, u->x);
    if (!x || !y)
        return;
    for (int i = ALONG_X; i <= ALONG_Y; i++) {
        for (int j = ALONG_X; j <= ALONG_Y; j++) {
            factor a = make(wa[t->spectrum], NULL, x, t->xturn, u->yturn, i, NO_AXIS);
            factor b = make(wb[u->spectrum], NULL, y, t->yturn, u->xturn, j, NO_AXIS);
            products_add(l, -t->sign * u->sign, (i == ALONG_Y) + (j == ALONG_Y), &a, &b);
        }
    }
}

void sq_quadratic_gram(const sq_quadratic *q, sq_qe a, double *const *wa, sq_qe b,
                       double *const *wb, const double *cross, product_list *out)
{
    out->count = 0;
    for (int i = 0; i < TERMS_MAX && sq_qe_terms[a][i].sign != 0; i++) {
        for (int j = 0; j < TERMS_MAX && sq_qe_terms[b][j].sign != 0; j++) {
            const term *t = &sq_qe_terms[a][i], *u = &sq_qe_terms[b][j];
            add_straight(q, t, wa, u, wb, cross, out);
            add_swapped(q, t, wa, u, wb, cross, out);
        }
    }
}

/* C^TE / (C^TT C^EE). */
static sq_status make_cross(const sq_quadratic *q, const double *total_te, double **out)
{
    sq_status rc = SQ_OK;
    *out = NULL;
    if (!q->polarised)
        return SQ_OK;
    SQ_TRY(sq_quadratic_spread(q, total_te, 0, "TE", out));
    for (int64_t k = 0; k < (int64_t)q->products.rows * q->products.columns; k++)
        (*out)[k] *= q->inverse[T][k] * q->inverse[E][k];
cleanup:
    return rc;
}

static int correlated(int a, int b)
{
    int parity_a = a == SQ_QE_TB || a == SQ_QE_EB, parity_b = b == SQ_QE_TB || b == SQ_QE_EB;
    return parity_a == parity_b;
}

sq_status sq_quadratic_covariance(sq_quadratic *q, sq_qe a, sq_qe b, const double *total_te,
                                  double *out)
{
    sq_status rc = SQ_OK;
    double *cross = NULL;
    product_list *list = NULL;
    SQ_TRY(sq_quadratic_need_responses(q, 1u << a | 1u << b));
    SQ_TRY(make_cross(q, total_te, &cross));
    SQ_TRY(SQ_ALLOC(list, 1, "products"));
    sq_quadratic_gram(q, a, q->weight, b, q->weight, cross, list);
    SQ_TRY(products_sums(&q->products, 1, list, 0, &out));
    for (int64_t k = 0; k < q->modes; k++) {
        double r = q->response[a][k] * q->response[b][k];
        out[k] = r > 0 ? out[k] * sq_quadratic_to_kappa(q, k) / r : 0;
    }
cleanup:
    sq_free(cross);
    sq_free(list);
    return rc;
}

/* n0 += of a pair of estimators, counted `times`. */
static void add_pair(const sq_quadratic *q, sq_qe a, sq_qe b, int times, const double *gram,
                     double *n0)
{
    for (int64_t k = 0; k < q->modes; k++) {
        int there = q->response[a][k] > 0 && q->response[b][k] > 0;
        n0[k] += there ? times * gram[k] : 0;
    }
}

/* All covariances over (sum R)^2; those of one estimator alone are known but for TE's, which has
 * terms of the cross power. */
sq_status sq_quadratic_combined_n0(sq_quadratic *q, unsigned kinds, const double *total_te,
                                   double *n0)
{
    enum { PAIRS = SQ_QE_COUNT * (SQ_QE_COUNT + 1) / 2 };
    sq_status rc = SQ_OK;
    double *cross = NULL, *gram[PAIRS] = {NULL};
    sq_qe pair[PAIRS][2];
    product_list *list = NULL;
    int pairs = 0;
    SQ_TRY(sq_quadratic_need_responses(q, kinds));
    SQ_TRY(make_cross(q, total_te, &cross));
    SQ_TRY(SQ_ALLOC(list, PAIRS, "products"));
    memset(n0, 0, (size_t)q->modes * sizeof *n0);
    for (sq_qe a = 0; a < SQ_QE_COUNT; a++) {
        for (sq_qe b = a; b < SQ_QE_COUNT; b++) {
            if (!(kinds & 1u << a) || !(kinds & 1u << b) || !correlated(a, b))
                continue;
            if (a == b && a != SQ_QE_TE) {
                add_pair(q, a, a, 1, q->own[a], n0);
                continue;
            }
            SQ_TRY(SQ_ALLOC(gram[pairs], q->modes, "noise"));
            sq_quadratic_gram(q, a, q->weight, b, q->weight, cross, &list[pairs]);
            pair[pairs][0] = a;
            pair[pairs++][1] = b;
        }
    }
    SQ_TRY(products_sums(&q->products, pairs, list, 0, gram));
    for (int i = 0; i < pairs; i++)
        add_pair(q, pair[i][0], pair[i][1], pair[i][0] == pair[i][1] ? 1 : 2, gram[i], n0);
    for (int64_t k = 0; k < q->modes; k++) {
        double r = 0;
        for (int a = 0; a < SQ_QE_COUNT; a++)
            r += kinds & 1u << a && q->response[a][k] > 0 ? q->response[a][k] : 0;
        double scale = sq_quadratic_to_kappa(q, k);
        n0[k] = r > 0 && scale > 0 ? scale * n0[k] / (r * r) : INFINITY;
    }
cleanup:
    sq_free(cross);
    sq_free(list);
    for (int i = 0; i < PAIRS; i++)
        sq_free(gram[i]);
    return rc;
}
