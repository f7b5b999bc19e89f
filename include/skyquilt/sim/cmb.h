/* Realisations of the lensed CMB on a periodic flat grid.
 *
 * Correlated Gaussian modes of the unlensed T and E and of the lensing potential phi are drawn on a
 * working grid of the same sky; T, Q and U are moved, X(n) = X_unlensed(n + grad phi(n)), by a
 * quintic spline through the pixels (fourier/interpolate.h), and the modes that the output grid
 * holds are kept. The spline errs by 3e-5 of the rms with working pixels of 1.2 arcmin, 4e-3 with
 * 2.4; `work` is any grid of the same area, coarser or finer than the output.
 *
 * Modes as in fourier/fft.h, in uK (phi: without unit); Q and U relative to the axes of the grid
 * (fourier/flat.h). The power of B is that of lensing alone. A periodic box has no lensing by modes
 * longer than itself: the power of lensed B of a 10 deg box is 1 to 3% low. Local; a handle is used
 * by one thread at a time. */
#ifndef SQ_SIM_CMB_H
#define SQ_SIM_CMB_H

#include "base/rng.h"
#include "base/status.h"
#include "fourier/flat.h"

/* Powers at l = 0..lmax, 0 above; NULL: none. tt, ee, te of the unlensed CMB in uK^2 steradian; pp
 * of phi, tp and ep its cross powers in uK steradian. */
typedef struct sq_cmb_spectra {
    int lmax;
    const double *tt, *ee, *te, *pp, *tp, *ep;
} sq_cmb_spectra;

typedef struct sq_cmb sq_cmb;

enum { SQ_CMB_T, SQ_CMB_E, SQ_CMB_PHI, SQ_CMB_FIELDS };

/* The spectra are copied. SQ_ERR_USAGE for grids of different area. */
sq_status sq_cmb_create(const sq_flat *work, const sq_flat *out, const sq_cmb_spectra *spectra,
                        sq_cmb **cmb);
/* The same of CAMB's lenspotentialCls in a file, or of the fiducial spectra (sim/spectra.h) when the
 * path is NULL or ""; phi is independent of T and E. */
sq_status sq_cmb_from_file(const sq_flat *work, const sq_flat *out, const char *path, sq_cmb **cmb);
void sq_cmb_destroy(sq_cmb *cmb);

/* Unlensed T and E and phi, modes of the working grid; each may be NULL when its power is not
 * wanted. T alone is the same with and without E. */
sq_status sq_cmb_draw(sq_cmb *cmb, sq_rng *rng, double _Complex *const modes[SQ_CMB_FIELDS]);
/* Deflect by sqrt(amplitude) phi. t -> lensed_t; e (and b, may be NULL) -> lensed_q and lensed_u:
 * modes of the output grid. t and lensed_t, or e, lensed_q and lensed_u, may be NULL. */
sq_status sq_cmb_lens(sq_cmb *cmb, double amplitude, const double _Complex *phi,
                      const double _Complex *t, const double _Complex *e, const double _Complex *b,
                      double _Complex *lensed_t, double _Complex *lensed_q,
                      double _Complex *lensed_u);
/* The convergence of sqrt(amplitude) phi, L^2 phi / 2: modes of the output grid. */
void sq_cmb_kappa(const sq_cmb *cmb, double amplitude, const double _Complex *phi,
                  double _Complex *kappa);
/* Modes of a map on one grid as those of another of the same area: higher ones are dropped, missing
 * ones 0, and so are, unless the grids are the same, those of the smaller one's Nyquist frequency.
 */
void sq_cmb_regrid(const sq_flat *from, const double _Complex *in, const sq_flat *to,
                   double _Complex *out);

#endif
