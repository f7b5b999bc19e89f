#include "lensing/amplitude.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

enum { STEPS = 60 };

struct sq_amplitude {
    int size, nodes, centre; /* the node of the covariance */
    double a[SQ_AMPLITUDE_NODES];
    int count[SQ_AMPLITUDE_NODES];
    double *sum[SQ_AMPLITUDE_NODES]; /* [size] */
    double *square;                  /* [size * size] about its first vector */
    double *offset[SQ_AMPLITUDE_NODES], *own[SQ_AMPLITUDE_NODES]; /* first vectors, squares */
};

/* The elements in use, their covariance's Cholesky root and work areas. */
typedef struct fit {
    const sq_amplitude *x;
    int n, *index;
    double *root, *data, *residual, *slope;
    double *scatter; /* of the elements over that at the covariance's node */
} fit;

void sq_amplitude_destroy(sq_amplitude *x)
{
    if (!x)
        return;
    for (int i = 0; i < SQ_AMPLITUDE_NODES; i++) {
        sq_free(x->sum[i]);
        sq_free(x->offset[i]);
        sq_free(x->own[i]);
    }
    sq_free(x->square);
    sq_free(x);
}

sq_status sq_amplitude_create(int size, int nodes, const double *a, sq_amplitude **out)
{
    sq_status rc = SQ_OK;
    sq_amplitude *x = NULL;
    *out = NULL;
    if (size < 1 || nodes < 2 || nodes > SQ_AMPLITUDE_NODES)
        return sq_fail(SQ_ERR_USAGE, "amplitude: %d powers at %d nodes", size, nodes);
    SQ_TRY(SQ_ALLOC(x, 1, "amplitude"));
    x->size = size;
    x->nodes = nodes;
    for (int i = 0; i < nodes; i++) {
        if (i && !(a[i] > a[i - 1])) {
            rc = sq_fail(SQ_ERR_USAGE, "amplitude: nodes do not ascend");
            goto cleanup;
        }
        x->a[i] = a[i];
        if (fabs(a[i] - 1) < fabs(x->a[x->centre] - 1))
            x->centre = i;
        SQ_TRY(SQ_ALLOC(x->sum[i], size, "amplitude"));
        SQ_TRY(SQ_ALLOC(x->offset[i], size, "amplitude"));
        SQ_TRY(SQ_ALLOC(x->own[i], size, "amplitude"));
    }
    SQ_TRY(SQ_ALLOC(x->square, (int64_t)size * size, "amplitude"));
    *out = x;
    x = NULL;
cleanup:
    sq_amplitude_destroy(x);
    return rc;
}

void sq_amplitude_add(sq_amplitude *x, int node, const double *power)
{
    double *offset = x->offset[node];
    if (x->count[node]++ == 0)
        memcpy(offset, power, (size_t)x->size * sizeof *power);
    for (int i = 0; i < x->size; i++) {
        x->sum[node][i] += power[i];
        x->own[node][i] += pow(power[i] - offset[i], 2);
        for (int j = 0; j < x->size && node == x->centre; j++)
            x->square[i * x->size + j] += (power[i] - offset[i]) * (power[j] - offset[j]);
    }
}

static double mean_of(const sq_amplitude *x, int node, int element)
{
    return x->sum[node][element] / x->count[node];
}

static double scatter_of(const sq_amplitude *x, int node, int element)
{
    double n = x->count[node], shift = mean_of(x, node, element) - x->offset[node][element];
    return sqrt(fmax(0, x->own[node][element] - n * shift * shift) / (n - 1));
}

static double covariance(const sq_amplitude *x, int i, int j)
{
    const double *offset = x->offset[x->centre];
    double n = x->count[x->centre];
    double a = mean_of(x, x->centre, i) - offset[i], b = mean_of(x, x->centre, j) - offset[j];
    return (x->square[i * x->size + j] - n * a * b) / (n - 1);
}

/* At A, the polynomial through the nodes' values of an element, and its derivative. */
static double value_at(const sq_amplitude *x, double (*of)(const sq_amplitude *, int, int),
                       int element, double a, double *slope)
{
    double value = 0;
    *slope = 0;
    for (int i = 0; i < x->nodes; i++) {
        double basis = 1, derivative = 0;
        for (int j = 0; j < x->nodes; j++) {
            if (j == i)
                continue;
            double gap = x->a[i] - x->a[j];
            derivative = derivative * (a - x->a[j]) / gap + basis / gap;
            basis *= (a - x->a[j]) / gap;
        }
        value += of(x, i, element) * basis;
        *slope += of(x, i, element) * derivative;
    }
    return value;
}

static sq_status factor(fit *f, double patches)
{
    int n = f->n;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j <= i; j++) {
            double own = covariance(f->x, f->index[i], f->index[j]) / patches, sum = own;
            for (int k = 0; k < j; k++)
                sum -= f->root[i * n + k] * f->root[j * n + k];
            if (i == j && !(sum > 1e-12 * own))
                return sq_fail(SQ_ERR_DATA, "amplitude: the covariance is singular");
            f->root[i * n + j] = i == j ? sqrt(sum) : sum / f->root[j * n + j];
        }
    }
    return SQ_OK;
}

/* v = (scatter root)^-1 v. */
static void whiten(const fit *f, double *v)
{
    for (int i = 0; i < f->n; i++) {
        v[i] /= f->scatter[i];
        for (int k = 0; k < i; k++)
            v[i] -= f->root[i * f->n + k] * v[k];
        v[i] /= f->root[i * f->n + i];
    }
}

/* chi^2 at A; products of the slope with the residual and with itself. */
static double chi2_at(fit *f, double a, double *cross, double *own)
{
    double chi2 = 0;
    *cross = *own = 0;
    for (int i = 0; i < f->n; i++)
        f->residual[i] = f->data[i] - value_at(f->x, mean_of, f->index[i], a, &f->slope[i]);
    whiten(f, f->residual);
    whiten(f, f->slope);
    for (int i = 0; i < f->n; i++) {
        chi2 += f->residual[i] * f->residual[i];
        *cross += f->slope[i] * f->residual[i];
        *own += f->slope[i] * f->slope[i];
    }
    return chi2;
}

/* The elements' scatter at A, within the nodes. */
static void set_scatter(fit *f, double a)
{
    const sq_amplitude *x = f->x;
    double within = fmin(x->a[x->nodes - 1], fmax(x->a[0], a)), slope;
    for (int i = 0; i < f->n; i++)
        f->scatter[i] = value_at(x, scatter_of, f->index[i], within, &slope) /
                        scatter_of(x, x->centre, f->index[i]);
}

/* Gauss-Newton from A = 1. */
static sq_status minimise(fit *f, double hartlap, sq_amplitude_fit *out)
{
    double a = 1, cross, own, step = 1, limit = 0.5 * (f->x->a[f->x->nodes - 1] - f->x->a[0]);
    for (int i = 0; i < STEPS && fabs(step) > 1e-10; i++) {
        chi2_at(f, a, &cross, &own);
        if (!(own > 0))
            return sq_fail(SQ_ERR_DATA, "amplitude: the powers do not depend on it");
        step = fmax(-limit, fmin(limit, cross / own));
        a += step;
    }
    out->chi2 = hartlap * chi2_at(f, a, &cross, &own);
    out->a = a;
    out->sigma = 1 / sqrt(hartlap * own);
    out->dof = f->n - 1;
    return fabs(step) < 1e-6
               ? SQ_OK
               : sq_fail(SQ_ERR_DATA, "amplitude: the fit does not settle (A = %g)", a);
}

sq_status sq_amplitude_estimate(const sq_amplitude *x, const double *power, double patches,
                                const int *use, sq_amplitude_fit *out)
{
    sq_status rc = SQ_OK;
    fit f = {.x = x};
    SQ_TRY(SQ_ALLOC(f.index, x->size, "amplitude"));
    SQ_TRY(SQ_ALLOC(f.data, x->size, "amplitude"));
    SQ_TRY(SQ_ALLOC(f.residual, x->size, "amplitude"));
    SQ_TRY(SQ_ALLOC(f.slope, x->size, "amplitude"));
    SQ_TRY(SQ_ALLOC(f.scatter, x->size, "amplitude"));
    for (int i = 0; i < x->size; i++) {
        if (!use || use[i]) {
            f.data[f.n] = power[i];
            f.index[f.n++] = i;
        }
    }
    int n = x->count[x->centre], few = f.n < 1 || n < f.n + 3;
    for (int i = 0; i < x->nodes; i++)
        few = few || x->count[i] < 2;
    if (few) {
        rc = sq_fail(SQ_ERR_DATA, "amplitude: %d simulations for %d powers", n, f.n);
        goto cleanup;
    }
    SQ_TRY(SQ_ALLOC(f.root, (int64_t)f.n * f.n, "amplitude"));
    SQ_TRY(factor(&f, patches));
    out->a = x->a[x->centre];
    for (int round = 0; round < 3; round++) {
        set_scatter(&f, out->a);
        SQ_TRY(minimise(&f, (n - f.n - 2.0) / (n - 1.0), out));
    }
cleanup:
    sq_free(f.index);
    sq_free(f.data);
    sq_free(f.residual);
    sq_free(f.slope);
    sq_free(f.scatter);
    sq_free(f.root);
    return rc;
}
