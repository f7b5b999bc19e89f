#include "lensing/remap.h"

#include <string.h>

#include "base/mem.h"
#include "fourier/interpolate.h"

void remap_free(remap *r)
{
    sq_fft_destroy(r->fft);
    double *maps[] = {r->x, r->y, r->coefficient, r->map, r->other};
    double _Complex *modes[] = {r->q, r->u, r->work};
    for (int i = 0; i < 5; i++)
        sq_free(maps[i]);
    for (int i = 0; i < 3; i++)
        sq_free(modes[i]);
    memset(r, 0, sizeof *r);
}

sq_status remap_create(const sq_flat *flat, remap *r)
{
    sq_status rc = SQ_OK;
    *r = (remap){.flat = *flat, .pixels = sq_flat_pixels(flat), .modes = sq_flat_modes(flat)};
    double **maps[] = {&r->x, &r->y, &r->coefficient, &r->map, &r->other};
    double _Complex **modes[] = {&r->q, &r->u, &r->work};
    SQ_TRY(sq_fft_create(flat->ny, flat->nx, &r->fft));
    for (int i = 0; i < 5; i++)
        SQ_TRY(sq_alloc(maps[i], (size_t)r->pixels, sizeof(double), "lensing map"));
    for (int i = 0; i < 3; i++)
        SQ_TRY(sq_alloc(modes[i], (size_t)r->modes, sizeof(double _Complex), "lensing modes"));
cleanup:
    if (rc != SQ_OK)
        remap_free(r);
    return rc;
}

void remap_set(remap *r, const double _Complex *phi)
{
    int64_t nx = r->flat.nx;
    sq_filter_gradient(&r->flat, 1, phi, r->work);
    sq_fft_backward(r->fft, r->work, r->x);
    sq_filter_gradient(&r->flat, 0, phi, r->work);
    sq_fft_backward(r->fft, r->work, r->y);
    for (int64_t i = 0; i < r->pixels; i++) {
        r->x[i] = (double)(i % nx) + r->x[i] / r->flat.dx;
        r->y[i] = (double)(i / nx) + r->y[i] / r->flat.dy;
    }
}

/* out = the field of `modes`, which are used up, at the displaced points. */
static void interpolate(remap *r, double _Complex *modes, double *out)
{
    sq_filter_spline(&r->flat, modes);
    sq_fft_backward(r->fft, modes, r->coefficient);
    for (int64_t i = 0; i < r->pixels; i++)
        out[i] = sq_spline_value(&r->flat, r->coefficient, r->x[i], r->y[i]);
}

static void to_qu(remap *r, const double _Complex *e, const double _Complex *b)
{
    memcpy(r->q, e, (size_t)r->modes * sizeof *e);
    if (b)
        memcpy(r->u, b, (size_t)r->modes * sizeof *b);
    else
        memset(r->u, 0, (size_t)r->modes * sizeof *r->u);
    sq_filter_eb_to_qu(&r->flat, r->q, r->u);
}

void remap_lens(remap *r, const double _Complex *e, double _Complex *lensed_e,
                double _Complex *lensed_b)
{
    to_qu(r, e, NULL);
    interpolate(r, r->q, r->map);
    sq_fft_forward(r->fft, r->map, r->q);
    interpolate(r, r->u, r->map);
    sq_fft_forward(r->fft, r->map, r->u);
    sq_filter_qu_to_eb(&r->flat, r->q, r->u);
    if (lensed_e)
        memcpy(lensed_e, r->q, (size_t)r->modes * sizeof *lensed_e);
    if (lensed_b)
        memcpy(lensed_b, r->u, (size_t)r->modes * sizeof *lensed_b);
}

static void deposit(remap *r, double _Complex *modes)
{
    sq_fft_backward(r->fft, modes, r->map);
    memset(r->coefficient, 0, (size_t)r->pixels * sizeof *r->coefficient);
    for (int64_t i = 0; i < r->pixels; i++)
        sq_spline_deposit(&r->flat, r->x[i], r->y[i], r->map[i], r->coefficient);
    sq_fft_forward(r->fft, r->coefficient, modes);
    sq_filter_spline(&r->flat, modes);
}

void remap_adjoint(remap *r, const double _Complex *lensed_e, const double _Complex *lensed_b,
                   double _Complex *e)
{
    to_qu(r, lensed_e, lensed_b);
    deposit(r, r->q);
    deposit(r, r->u);
    sq_filter_qu_to_eb(&r->flat, r->q, r->u);
    memcpy(e, r->q, (size_t)r->modes * sizeof *e);
}

/* other += map times the derivative along an axis of `from` at the displaced points. */
static void add_slope(remap *r, int axis, const double _Complex *from, const double *map,
                      double *other)
{
    sq_filter_gradient(&r->flat, axis, from, r->work);
    sq_filter_spline(&r->flat, r->work);
    sq_fft_backward(r->fft, r->work, r->coefficient);
    for (int64_t i = 0; i < r->pixels; i++)
        other[i] += map[i] * sq_spline_value(&r->flat, r->coefficient, r->x[i], r->y[i]);
}

void remap_gradient(remap *r, const double _Complex *unlensed, const double _Complex *e,
                    const double _Complex *b, double _Complex *out)
{
    memset(out, 0, (size_t)r->modes * sizeof *out);
    for (int axis = 0; axis < 2; axis++) {
        memset(r->other, 0, (size_t)r->pixels * sizeof *r->other);
        for (int field = 0; field < 2; field++) {
            to_qu(r, e, b);
            sq_fft_backward(r->fft, field ? r->u : r->q, r->map);
            to_qu(r, unlensed, NULL);
            add_slope(r, axis, field ? r->u : r->q, r->map, r->other);
        }
        sq_fft_forward(r->fft, r->other, r->work);
        sq_filter_gradient(&r->flat, axis, r->work, r->work);
        for (int64_t k = 0; k < r->modes; k++)
            out[k] -= r->work[k];
    }
}
