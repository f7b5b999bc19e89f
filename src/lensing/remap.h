/* Lensing of E modes on one periodic grid, X(n) = X_unlensed(n + grad phi), by the quintic spline,
 * with the adjoint and the derivative by the deflection. Modes as in fourier/flat.h. One thread. */
#ifndef SQ_LENSING_REMAP_H
#define SQ_LENSING_REMAP_H

#include <complex.h>

#include "base/status.h"
#include "fourier/flat.h"

typedef struct remap {
    sq_flat flat;
    sq_fft *fft;
    int64_t pixels, modes;
    double *x, *y; /* displaced positions in pixels */
    double *coefficient, *map, *other;
    double _Complex *q, *u, *work;
} remap;

sq_status remap_create(const sq_flat *flat, remap *r);
void remap_free(remap *r);
/* The deflection of phi. */
void remap_set(remap *r, const double _Complex *phi);
/* Unlensed E to lensed E and B; they may be the same place as e, and each NULL. */
void remap_lens(remap *r, const double _Complex *e, double _Complex *lensed_e,
                double _Complex *lensed_b);
/* The adjoint: from lensed E and B to E. */
void remap_adjoint(remap *r, const double _Complex *lensed_e, const double _Complex *lensed_b,
                   double _Complex *e);
/* The derivative by phi of sum over pixels of (Q, U) of (residual e, b) times those of lensed
 * `unlensed`: out = -i l_a FT[sum of residual times gradient at the displaced points]. */
void remap_gradient(remap *r, const double _Complex *unlensed, const double _Complex *e,
                    const double _Complex *b, double _Complex *out);

#endif
