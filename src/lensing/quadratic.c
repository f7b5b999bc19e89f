#include "lensing/quadratic.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

/* The angular part of a filter: 1, or cosine or sine of 2 or 4 phi_l. All are even under l -> -l.
 */
typedef enum turn { ROUND, COS2, SIN2, COS4, SIN4, TURNS } turn;
enum { TT, EE, TE, SPECTRA };
enum { T, E, B, FIELDS };

struct sq_quadratic {
    sq_flat flat;
    int lmin, lmax, polarised;
    int64_t pixels, modes;
    sq_fft *fft;
    double *ly, *lx;
    double *turn[TURNS];                              /* [modes]; ROUND: NULL */
    double *weight[SPECTRA], *gradient[SPECTRA];      /* at every mode, 0 outside lmin..lmax */
    double *inverse[FIELDS];                          /* 1 / C_tot */
    double *response[SQ_QE_COUNT], *own[SQ_QE_COUNT]; /* R and R_ww, made when asked for */
    double _Complex *work;
    double *real[4]; /* factors of a product */
    double *sum[3];  /* of products: xx, xy, yy */
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
    for (int i = 0; i < TURNS; i++)
        sq_free(q->turn[i]);
    for (int i = 0; i < SPECTRA; i++) {
        sq_free(q->weight[i]);
        sq_free(q->gradient[i]);
    }
    for (int i = 0; i < FIELDS; i++)
        sq_free(q->inverse[i]);
    for (int i = 0; i < SQ_QE_COUNT; i++) {
        sq_free(q->response[i]);
        sq_free(q->own[i]);
    }
    for (int i = 0; i < 4; i++)
        sq_free(q->real[i]);
    for (int i = 0; i < 3; i++)
        sq_free(q->sum[i]);
    sq_free(q->work);
    sq_free(q->ly);
    sq_free(q->lx);
    sq_fft_destroy(q->fft);
    sq_free(q);
}

/* A table at every mode within lmin..lmax, or its inverse. */
static sq_status spread(const sq_quadratic *q, const double *table, int invert, const char *what,
                        double **out)
{
    sq_status rc = SQ_ALLOC(*out, q->modes, "spectrum");
    int columns = q->flat.nx / 2 + 1;
    for (int v = 0; rc == SQ_OK && v < q->flat.ny; v++) {
        for (int u = 0; u < columns; u++) {
            double l = hypot(q->ly[v], q->lx[u]);
            if (l < q->lmin || l > q->lmax)
                continue;
            double value = sq_table_at(table, q->lmax, l);
            if (invert && !(value > 0))
                return sq_fail(SQ_ERR_DATA, "lensing: total %s is not positive at l = %.0f", what,
                               l);
            (*out)[(int64_t)v * columns + u] = invert ? 1 / value : value;
        }
    }
    return rc;
}

static sq_status fill_turns(sq_quadratic *q)
{
    sq_status rc = SQ_OK;
    int columns = q->flat.nx / 2 + 1;
    for (int k = COS2; k <= SIN4; k++)
        SQ_TRY(SQ_ALLOC(q->turn[k], q->modes, "angles of modes"));
    for (int v = 0; v < q->flat.ny; v++) {
        for (int u = 0; u < columns; u++) {
            int64_t i = (int64_t)v * columns + u;
            double phi = atan2(q->ly[v], q->lx[u]);
            q->turn[COS2][i] = cos(2 * phi);
            q->turn[SIN2][i] = sin(2 * phi);
            q->turn[COS4][i] = cos(4 * phi);
            q->turn[SIN4][i] = sin(4 * phi);
        }
    }
cleanup:
    return rc;
}

static sq_status allocate(sq_quadratic *q)
{
    sq_status rc = SQ_OK;
    SQ_TRY(SQ_ALLOC(q->ly, q->flat.ny, "wave numbers"));
    SQ_TRY(SQ_ALLOC(q->lx, q->flat.nx / 2 + 1, "wave numbers"));
    SQ_TRY(SQ_ALLOC(q->work, q->modes, "modes"));
    for (int i = 0; i < 4; i++)
        SQ_TRY(SQ_ALLOC(q->real[i], q->pixels, "map"));
    for (int i = 0; i < 3; i++)
        SQ_TRY(SQ_ALLOC(q->sum[i], q->pixels, "map"));
    sq_flat_axes(&q->flat, q->ly, q->lx);
cleanup:
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
        SQ_TRY(spread(q, weight[i], 0, "", &q->weight[i]));
        SQ_TRY(spread(q, gradient[i] ? gradient[i] : weight[i], 0, "", &q->gradient[i]));
        SQ_TRY(spread(q, total[i], 1, name[i], &q->inverse[i]));
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
    q->flat = *flat;
    q->lmin = lmin;
    q->lmax = lmax;
    q->polarised = spectra->total_ee && spectra->total_bb;
    q->pixels = sq_flat_pixels(flat);
    q->modes = sq_flat_modes(flat);
    SQ_TRY(allocate(q));
    SQ_TRY(fill_turns(q));
    SQ_TRY(fill_spectra(q, spectra));
    SQ_TRY(sq_fft_create(flat->ny, flat->nx, &q->fft));
    *out = q;
    q = NULL;
cleanup:
    sq_quadratic_destroy(q);
    return rc;
}

/* One factor of a product: FT^-1 of a function of modes, with up to two components of l in it. */
typedef struct factor {
    const double *part[3]; /* multiplied; NULL ends */
    turn turn;
} factor;

static double component(const sq_quadratic *q, int axis, int v, int u)
{
    return axis < 0 ? 1 : axis == 0 ? q->lx[u] : q->ly[v];
}

/* out = FT^-1[l_i l_j f] (axes -1: none); an odd number of components brings a factor i, so that
 * the map is real. */
static void transform(sq_quadratic *q, const factor *f, int i, int j, double *out)
{
    int columns = q->flat.nx / 2 + 1, odd = (i >= 0) != (j >= 0);
    for (int v = 0; v < q->flat.ny; v++) {
        for (int u = 0; u < columns; u++) {
            int64_t k = (int64_t)v * columns + u;
            double value = component(q, i, v, u) * component(q, j, v, u);
            for (int p = 0; p < 3 && f->part[p]; p++)
                value *= f->part[p][k];
            if (f->turn != ROUND)
                value *= q->turn[f->turn][k];
            q->work[k] = odd ? I * value : value;
        }
    }
    sq_fft_backward(q->fft, q->work, out);
}

static void add_product(sq_quadratic *q, double factor, const double *a, const double *b,
                        double *sum)
{
    for (int64_t k = 0; k < q->pixels; k++)
        sum[k] += factor * a[k] * b[k];
}

/* c FT^-1[l_i l_j f] FT^-1[g] for the three pairs of axes. */
static void both_on_one(sq_quadratic *q, double c, factor f, factor g)
{
    static const int axes[3][2] = {{0, 0}, {0, 1}, {1, 1}};
    transform(q, &g, -1, -1, q->real[1]);
    for (int p = 0; p < 3; p++) {
        transform(q, &f, axes[p][0], axes[p][1], q->real[0]);
        add_product(q, c, q->real[0], q->real[1], q->sum[p]);
    }
}

/* c FT^-1[l_i f] FT^-1[l_j g], symmetric in i and j; the two factors i make the sign. */
static void one_on_each(sq_quadratic *q, double c, factor f, factor g)
{
    transform(q, &f, 0, -1, q->real[0]);
    transform(q, &f, 1, -1, q->real[1]);
    transform(q, &g, 0, -1, q->real[2]);
    transform(q, &g, 1, -1, q->real[3]);
    add_product(q, -c, q->real[0], q->real[2], q->sum[0]);
    add_product(q, -0.5 * c, q->real[0], q->real[3], q->sum[1]);
    add_product(q, -0.5 * c, q->real[1], q->real[2], q->sum[1]);
    add_product(q, -c, q->real[1], q->real[3], q->sum[2]);
}

static factor with(factor f, turn t)
{
    f.turn = t;
    return f;
}

/* c times the product with cos n (phi_1 - phi_2) between the two. */
static void both_turned(sq_quadratic *q, double c, factor f, factor g)
{
    both_on_one(q, c, with(f, COS4), with(g, COS4));
    both_on_one(q, c, with(f, SIN4), with(g, SIN4));
}

static void each_turned(sq_quadratic *q, double c, factor f, factor g, turn cosine)
{
    one_on_each(q, c, with(f, cosine), with(g, cosine));
    one_on_each(q, c, with(f, cosine + 1), with(g, cosine + 1));
}

/* The response of the weights w to the spectra r, sum over l1 + l2 = L. */
static void respond(sq_quadratic *q, sq_qe kind, double *const *r, double *out)
{
    double *const *w = q->weight, *const *p = q->inverse;
    int s = kind == SQ_QE_TT ? TT : kind == SQ_QE_EE || kind == SQ_QE_EB ? EE : TE;
    for (int i = 0; i < 3; i++)
        memset(q->sum[i], 0, (size_t)q->pixels * sizeof *q->sum[i]);
    switch (kind) {
    case SQ_QE_TT:
        both_on_one(q, 1, (factor){{w[s], r[s], p[T]}, ROUND}, (factor){{p[T]}, ROUND});
        one_on_each(q, 1, (factor){{w[s], p[T]}, ROUND}, (factor){{r[s], p[T]}, ROUND});
        break;
    case SQ_QE_EE: { /* cos^2 2 (phi_1 - phi_2) = 1/2 + 1/2 cos 4 (phi_1 - phi_2) */
        factor square = {{w[s], r[s], p[E]}, ROUND}, plain = {{p[E]}, ROUND};
        factor one = {{w[s], p[E]}, ROUND}, two = {{r[s], p[E]}, ROUND};
        both_on_one(q, 0.5, square, plain);
        both_turned(q, 0.5, square, plain);
        one_on_each(q, 0.5, one, two);
        each_turned(q, 0.5, one, two, COS4);
        break;
    }
    case SQ_QE_EB:
    case SQ_QE_TB: { /* sin^2 = 1/2 - 1/2 cos 4 (phi_1 - phi_2) */
        factor square = {{w[s], r[s], p[kind == SQ_QE_EB ? E : T]}, ROUND};
        both_on_one(q, 0.5, square, (factor){{p[B]}, ROUND});
        both_turned(q, -0.5, square, (factor){{p[B]}, ROUND});
        break;
    }
    case SQ_QE_TE: {
        factor square = {{w[s], r[s], p[T]}, ROUND}, plain = {{p[E]}, ROUND};
        both_on_one(q, 0.5, square, plain);
        both_turned(q, 0.5, square, plain);
        both_on_one(q, 1, (factor){{w[s], r[s], p[E]}, ROUND}, (factor){{p[T]}, ROUND});
        each_turned(q, 1, (factor){{w[s], p[T]}, ROUND}, (factor){{r[s], p[E]}, ROUND}, COS2);
        each_turned(q, 1, (factor){{r[s], p[T]}, ROUND}, (factor){{w[s], p[E]}, ROUND}, COS2);
        break;
    }
    case SQ_QE_COUNT:
        break;
    }
    memset(out, 0, (size_t)q->modes * sizeof *out);
    int columns = q->flat.nx / 2 + 1;
    double scale = 1 / (q->flat.dx * q->flat.dy);
    static const int axes[3][2] = {{0, 0}, {0, 1}, {1, 1}};
    for (int i = 0; i < 3; i++) {
        sq_fft_forward(q->fft, q->sum[i], q->work);
        for (int v = 0; v < q->flat.ny; v++) {
            for (int u = 0; u < columns; u++) {
                int64_t k = (int64_t)v * columns + u;
                double ll = component(q, axes[i][0], v, u) * component(q, axes[i][1], v, u);
                out[k] += scale * (i == 1 ? 2 : 1) * ll * creal(q->work[k]);
            }
        }
    }
}

static sq_status check_kind(const sq_quadratic *q, sq_qe kind)
{
    if (sq_qe_polarised(kind) && !q->polarised)
        return sq_fail(SQ_ERR_USAGE, "lensing: %s needs polarisation", sq_qe_name(kind));
    return SQ_OK;
}

static sq_status need_response(sq_quadratic *q, sq_qe kind)
{
    sq_status rc = SQ_OK;
    SQ_TRY(check_kind(q, kind));
    if (q->response[kind])
        return SQ_OK;
    SQ_TRY(SQ_ALLOC(q->own[kind], q->modes, "response"));
    SQ_TRY(SQ_ALLOC(q->response[kind], q->modes, "response"));
    respond(q, kind, q->weight, q->own[kind]);
    respond(q, kind, q->gradient, q->response[kind]);
cleanup:
    return rc;
}

const double *sq_quadratic_response(sq_quadratic *q, sq_qe kind)
{
    return need_response(q, kind) == SQ_OK ? q->response[kind] : NULL;
}

static double square(const sq_quadratic *q, int64_t k)
{
    int columns = q->flat.nx / 2 + 1;
    double y = q->ly[k / columns], x = q->lx[k % columns];
    return x * x + y * y;
}

sq_status sq_quadratic_n0(sq_quadratic *q, sq_qe kind, double *n0)
{
    sq_status rc = need_response(q, kind);
    for (int64_t k = 0; rc == SQ_OK && k < q->modes; k++) {
        double r = q->response[kind][k], ll = square(q, k);
        n0[k] = r > 0 && ll > 0 ? 0.25 * ll * ll * q->own[kind][k] / (r * r) : INFINITY;
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

/* out = FT^-1[i l_axis C Xbar turn] (axis -1: without i l). */
static void filter(sq_quadratic *q, const double _Complex *x, const double *inverse,
                   const double *spectrum, turn t, int axis, double *out)
{
    int columns = q->flat.nx / 2 + 1;
    for (int v = 0; v < q->flat.ny; v++) {
        for (int u = 0; u < columns; u++) {
            int64_t k = (int64_t)v * columns + u;
            double f = inverse[k] * (spectrum ? spectrum[k] : 1) *
                       (t == ROUND ? 1 : q->turn[t][k]) * component(q, axis, v, u);
            q->work[k] = axis < 0 ? f * x[k] : I * f * x[k];
        }
    }
    sq_fft_backward(q->fft, q->work, out);
}

/* Add sign FT^-1[i l_axis C Xbar t] FT^-1[Ybar s] to a map. */
static void add_pair(sq_quadratic *q, double sign, int axis, const double _Complex *x,
                     const double *px, const double *c, turn t, const double _Complex *y,
                     const double *py, turn s, double *sum)
{
    filter(q, x, px, c, t, axis, q->real[0]);
    filter(q, y, py, NULL, s, -1, q->real[1]);
    add_product(q, sign, q->real[0], q->real[1], sum);
}

static void add_gradients(sq_quadratic *q, sq_qe kind, int axis, const double _Complex *t,
                          const double _Complex *e, const double _Complex *b, double *sum)
{
    double *const *w = q->weight, *const *p = q->inverse;
    switch (kind) {
    case SQ_QE_TT:
        add_pair(q, 1, axis, t, p[T], w[TT], ROUND, t, p[T], ROUND, sum);
        break;
    case SQ_QE_EE:
        add_pair(q, 1, axis, e, p[E], w[EE], COS2, e, p[E], COS2, sum);
        add_pair(q, 1, axis, e, p[E], w[EE], SIN2, e, p[E], SIN2, sum);
        break;
    case SQ_QE_EB:
        add_pair(q, 1, axis, e, p[E], w[EE], SIN2, b, p[B], COS2, sum);
        add_pair(q, -1, axis, e, p[E], w[EE], COS2, b, p[B], SIN2, sum);
        break;
    case SQ_QE_TB:
        add_pair(q, 1, axis, t, p[T], w[TE], SIN2, b, p[B], COS2, sum);
        add_pair(q, -1, axis, t, p[T], w[TE], COS2, b, p[B], SIN2, sum);
        break;
    case SQ_QE_TE:
        add_pair(q, 1, axis, t, p[T], w[TE], COS2, e, p[E], COS2, sum);
        add_pair(q, 1, axis, t, p[T], w[TE], SIN2, e, p[E], SIN2, sum);
        add_pair(q, 1, axis, e, p[E], w[TE], ROUND, t, p[T], ROUND, sum);
        break;
    case SQ_QE_COUNT:
        break;
    }
}

sq_status sq_quadratic_estimate(sq_quadratic *q, sq_qe kind, const double _Complex *t,
                                const double _Complex *e, const double _Complex *b,
                                double _Complex *kappa)
{
    sq_status rc = need_response(q, kind);
    int columns = q->flat.nx / 2 + 1;
    if (rc != SQ_OK)
        return rc;
    for (int axis = 0; axis < 2; axis++) {
        memset(q->sum[axis], 0, (size_t)q->pixels * sizeof *q->sum[axis]);
        add_gradients(q, kind, axis, t, e, b, q->sum[axis]);
    }
    memset(kappa, 0, (size_t)q->modes * sizeof *kappa);
    for (int axis = 0; axis < 2; axis++) {
        sq_fft_forward(q->fft, q->sum[axis], q->work);
        for (int v = 0; v < q->flat.ny; v++) {
            for (int u = 0; u < columns; u++) {
                int64_t k = (int64_t)v * columns + u;
                kappa[k] -= I * component(q, axis, v, u) * q->work[k];
            }
        }
    }
    for (int64_t k = 0; k < q->modes; k++) {
        double r = q->response[kind][k];
        kappa[k] *= r > 0 ? 0.5 * square(q, k) / r : 0;
    }
    return SQ_OK;
}

sq_status sq_quadratic_combine(sq_quadratic *q, unsigned kinds,
                               const double _Complex *const kappa[SQ_QE_COUNT],
                               double _Complex *combined)
{
    sq_status rc = SQ_OK;
    for (int e = 0; e < SQ_QE_COUNT; e++) {
        if (kinds & 1u << e)
            SQ_TRY(need_response(q, (sq_qe)e));
    }
    for (int64_t k = 0; k < q->modes; k++) {
        double _Complex sum = 0;
        double weight = 0;
        for (int e = 0; e < SQ_QE_COUNT; e++) {
            double r = kinds & 1u << e ? q->response[e][k] : 0;
            if (r > 0) {
                sum += r * kappa[e][k];
                weight += r;
            }
        }
        combined[k] = weight > 0 ? sum / weight : 0;
    }
cleanup:
    return rc;
}

sq_status sq_quadratic_combined_n0(sq_quadratic *q, unsigned kinds, double *n0)
{
    sq_status rc = SQ_OK;
    double *one = NULL;
    SQ_TRY(SQ_ALLOC(one, q->modes, "noise"));
    memset(n0, 0, (size_t)q->modes * sizeof *n0);
    for (int e = 0; e < SQ_QE_COUNT; e++) {
        if (!(kinds & 1u << e))
            continue;
        SQ_TRY(sq_quadratic_n0(q, (sq_qe)e, one));
        for (int64_t k = 0; k < q->modes; k++)
            n0[k] += 1 / one[k];
    }
    for (int64_t k = 0; k < q->modes; k++)
        n0[k] = 1 / n0[k];
cleanup:
    sq_free(one);
    return rc;
}
