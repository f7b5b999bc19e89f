#include "sim/cmb.h"

#include <complex.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "fourier/interpolate.h"
#include "sim/spectra.h"
#include "sim/spectra_file.h"

enum { SPECTRA = 6, FIDUCIAL_LMAX = 20000 };

struct sq_cmb {
    sq_flat work, out;
    sq_fft *fft; /* of the working grid */
    int lmax;
    double *cl[SPECTRA]; /* tt, ee, te, pp, tp, ep */
};

static int same(double a, double b)
{
    return fabs(a - b) < 1e-9 * fabs(a);
}

sq_status sq_cmb_create(const sq_flat *work, const sq_flat *out, const sq_cmb_spectra *spectra,
                        sq_cmb **cmb)
{
    sq_status rc = SQ_OK;
    sq_cmb *c = NULL;
    const double *const from[SPECTRA] = {spectra->tt, spectra->ee, spectra->te,
                                         spectra->pp, spectra->tp, spectra->ep};
    *cmb = NULL;
    if (!same(work->nx * work->dx, out->nx * out->dx) ||
        !same(work->ny * work->dy, out->ny * out->dy))
        return sq_fail(SQ_ERR_USAGE, "CMB: the working grid has not the area of the output");
    SQ_TRY(SQ_ALLOC(c, 1, "CMB simulator"));
    c->work = *work;
    c->out = *out;
    c->lmax = spectra->lmax;
    SQ_TRY(sq_fft_create(work->ny, work->nx, &c->fft));
    for (int i = 0; i < SPECTRA; i++) {
        if (!from[i])
            continue;
        SQ_TRY(SQ_ALLOC(c->cl[i], c->lmax + 1, "spectrum"));
        memcpy(c->cl[i], from[i], ((size_t)c->lmax + 1) * sizeof(double));
    }
    *cmb = c;
    c = NULL;
cleanup:
    sq_cmb_destroy(c);
    return rc;
}

static sq_status fiducial(const sq_flat *work, const sq_flat *out, sq_cmb **cmb)
{
    static const sq_fiducial kind[4] = {SQ_UNLENSED_TT, SQ_UNLENSED_EE, SQ_UNLENSED_TE,
                                        SQ_POTENTIAL};
    sq_status rc = SQ_OK;
    double *cl[4] = {NULL};
    *cmb = NULL;
    for (int i = 0; i < 4; i++) {
        SQ_TRY(SQ_ALLOC(cl[i], FIDUCIAL_LMAX + 1, "spectrum"));
        SQ_TRY(sq_fiducial_spectrum(kind[i], FIDUCIAL_LMAX, cl[i]));
    }
    sq_cmb_spectra s = {FIDUCIAL_LMAX, cl[0], cl[1], cl[2], cl[3], NULL, NULL};
    SQ_TRY(sq_cmb_create(work, out, &s, cmb));
cleanup:
    for (int i = 0; i < 4; i++)
        sq_free(cl[i]);
    return rc;
}

sq_status sq_cmb_from_file(const sq_flat *work, const sq_flat *out, const char *path, sq_cmb **cmb)
{
    const unsigned need = 1u << SQ_CL_TT | 1u << SQ_CL_EE | 1u << SQ_CL_TE | 1u << SQ_CL_PP;
    sq_spectra file;
    *cmb = NULL;
    if (!path || !path[0])
        return fiducial(work, out, cmb);
    sq_status rc = sq_spectra_read(path, SQ_DL_UK2, need, 0, &file);
    if (rc != SQ_OK)
        return rc;
    sq_cmb_spectra s = {.lmax = file.lmax,
                        .tt = file.cl[SQ_CL_TT],
                        .ee = file.cl[SQ_CL_EE],
                        .te = file.cl[SQ_CL_TE],
                        .pp = file.cl[SQ_CL_PP]};
    rc = sq_cmb_create(work, out, &s, cmb);
    sq_spectra_free(&file);
    return rc;
}

void sq_cmb_destroy(sq_cmb *c)
{
    if (!c)
        return;
    sq_fft_destroy(c->fft);
    for (int i = 0; i < SPECTRA; i++)
        sq_free(c->cl[i]);
    sq_free(c);
}

sq_status sq_cmb_draw(sq_cmb *c, sq_rng *rng, double _Complex *const modes[SQ_CMB_FIELDS])
{
    /* In the order T, phi, E, so that T and phi do not depend on whether E is wanted. */
    static const int order[SQ_CMB_FIELDS] = {SQ_CMB_T, SQ_CMB_PHI, SQ_CMB_E};
    static const int power[SQ_CMB_FIELDS][SQ_CMB_FIELDS] = {{0}, {4, 3}, {2, 5, 1}};
    const double *cl[SQ_CMB_FIELDS * SQ_CMB_FIELDS] = {NULL};
    double _Complex *wanted[SQ_CMB_FIELDS];
    int which[SQ_CMB_FIELDS], n = 0;
    for (int i = 0; i < SQ_CMB_FIELDS; i++) {
        if (modes[order[i]]) {
            which[n] = i;
            wanted[n++] = modes[order[i]];
        }
    }
    for (int i = 0; i < n; i++) {
        for (int j = 0; j <= i; j++)
            cl[i * n + j] = c->cl[power[which[i]][which[j]]];
        if (!cl[i * n + i])
            return sq_fail(SQ_ERR_USAGE, "CMB: no power of a field that is wanted");
    }
    return n ? sq_field_set(c->fft, &c->work, rng, n, cl, c->lmax, wanted) : SQ_OK;
}

/* Row or column of a mode on a grid of n pixels; -1 when it does not hold the mode. */
static int place(int k, int n, int small)
{
    return 2 * (k < 0 ? -k : k) >= small ? -1 : k < 0 ? k + n : k;
}

void sq_cmb_regrid(const sq_flat *from, const double _Complex *in, const sq_flat *to,
                   double _Complex *out)
{
    int small_y = from->ny < to->ny ? from->ny : to->ny;
    int small_x = from->nx < to->nx ? from->nx : to->nx;
    int64_t columns_in = from->nx / 2 + 1, columns_out = to->nx / 2 + 1;
    double scale = (double)sq_flat_pixels(to) / (double)sq_flat_pixels(from);
    if (from->nx == to->nx && from->ny == to->ny) {
        memcpy(out, in, (size_t)sq_flat_modes(to) * sizeof *out);
        return;
    }
    memset(out, 0, (size_t)sq_flat_modes(to) * sizeof *out);
    for (int v = -(small_y / 2); v <= small_y / 2; v++) {
        int a = place(v, from->ny, small_y), b = place(v, to->ny, small_y);
        for (int u = 0; a >= 0 && 2 * u < small_x; u++)
            out[b * columns_out + u] = scale * in[a * columns_in + u];
    }
}

/* Displaced positions in pixels: n + grad phi(n). */
static sq_status deflect(sq_cmb *c, double amplitude, const double _Complex *phi, double *x,
                         double *y)
{
    sq_status rc = SQ_OK;
    int64_t nx = c->work.nx, n = sq_flat_pixels(&c->work);
    double root = sqrt(amplitude);
    double _Complex *gradient = NULL;
    SQ_TRY(SQ_ALLOC(gradient, sq_flat_modes(&c->work), "deflection"));
    sq_filter_gradient(&c->work, 1, phi, gradient);
    sq_fft_backward(c->fft, gradient, x);
    sq_filter_gradient(&c->work, 0, phi, gradient);
    sq_fft_backward(c->fft, gradient, y);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (double)(i % nx) + root * x[i] / c->work.dx;
        y[i] = (double)(i / nx) + root * y[i] / c->work.dy;
    }
cleanup:
    sq_free(gradient);
    return rc;
}

typedef struct remap {
    double *x, *y, *coefficient, *moved;
    double _Complex *modes;
} remap;

/* One field from working modes (in r->modes, which are used up) to output modes. */
static void move(sq_cmb *c, remap *r, double _Complex *out)
{
    int64_t n = sq_flat_pixels(&c->work);
    sq_filter_spline(&c->work, r->modes);
    sq_fft_backward(c->fft, r->modes, r->coefficient);
    for (int64_t i = 0; i < n; i++)
        r->moved[i] = sq_spline_value(&c->work, r->coefficient, r->x[i], r->y[i]);
    sq_fft_forward(c->fft, r->moved, r->modes);
    sq_cmb_regrid(&c->work, r->modes, &c->out, out);
}

static sq_status lens_spin2(sq_cmb *c, remap *r, const double _Complex *e, const double _Complex *b,
                            double _Complex *lensed_q, double _Complex *lensed_u)
{
    sq_status rc = SQ_OK;
    double _Complex *u = NULL;
    int64_t modes = sq_flat_modes(&c->work);
    SQ_TRY(SQ_ALLOC(u, modes, "polarisation"));
    memcpy(r->modes, e, (size_t)modes * sizeof *e);
    if (b)
        memcpy(u, b, (size_t)modes * sizeof *b);
    sq_filter_eb_to_qu(&c->work, r->modes, u);
    move(c, r, lensed_q);
    memcpy(r->modes, u, (size_t)modes * sizeof *u);
    move(c, r, lensed_u);
cleanup:
    sq_free(u);
    return rc;
}

sq_status sq_cmb_lens(sq_cmb *c, double amplitude, const double _Complex *phi,
                      const double _Complex *t, const double _Complex *e, const double _Complex *b,
                      double _Complex *lensed_t, double _Complex *lensed_q,
                      double _Complex *lensed_u)
{
    sq_status rc = SQ_OK;
    int64_t n = sq_flat_pixels(&c->work), modes = sq_flat_modes(&c->work);
    remap r = {NULL, NULL, NULL, NULL, NULL};
    double **map[] = {&r.x, &r.y, &r.coefficient, &r.moved};
    for (int i = 0; i < 4; i++)
        SQ_TRY(sq_alloc(map[i], (size_t)n, sizeof(double), "CMB map"));
    SQ_TRY(SQ_ALLOC(r.modes, modes, "CMB modes"));
    SQ_TRY(deflect(c, amplitude, phi, r.x, r.y));
    if (t) {
        memcpy(r.modes, t, (size_t)modes * sizeof *t);
        move(c, &r, lensed_t);
    }
    if (e)
        SQ_TRY(lens_spin2(c, &r, e, b, lensed_q, lensed_u));
cleanup:
    for (int i = 0; i < 4; i++)
        sq_free(*map[i]);
    sq_free(r.modes);
    return rc;
}

void sq_cmb_kappa(const sq_cmb *c, double amplitude, const double _Complex *phi,
                  double _Complex *kappa)
{
    const sq_flat *f = &c->out;
    int columns = f->nx / 2 + 1;
    sq_cmb_regrid(&c->work, phi, f, kappa);
    for (int v = 0; v < f->ny; v++) {
        double y = 2 * M_PI * (v < f->ny / 2 ? v : v - f->ny) / (f->ny * f->dy);
        for (int u = 0; u < columns; u++) {
            double x = 2 * M_PI * u / (f->nx * f->dx);
            kappa[v * columns + u] *= 0.5 * sqrt(amplitude) * (x * x + y * y);
        }
    }
}
