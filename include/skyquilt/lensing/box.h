/* Polarised lensed skies of a periodic box, with Gaussian noise, for training and calibration.
 *
 * The CMB by sim/cmb.h on pixels of at most 1.2 arcmin, B by lensing alone, and noise of a
 * given power in E and in B, which is a beam-deconvolved map's. Modes as in fourier/flat.h. One
 * handle is used by one thread; nothing is allocated in a draw; local. */
#ifndef SQ_LENSING_BOX_H
#define SQ_LENSING_BOX_H

#include <complex.h>

#include "base/status.h"
#include "fourier/flat.h"

typedef struct sq_lensing_box sq_lensing_box;

/* Of CAMB's lenspotentialCls in a file; NULL or "": of the fiducial spectra. */
sq_status sq_lensing_box_create(const sq_flat *flat, const char *spectra, sq_lensing_box **out);
void sq_lensing_box_destroy(sq_lensing_box *box);
/* E and B with noise of power noise[0..lmax], 0 above lmax and below l = 2, and the true kappa, all
 * [modes], of `amplitude` times the lensing power. The same (seed, number) is the same sky and the
 * same pattern of noise whatever amplitude and noise. */
sq_status sq_lensing_box_draw(sq_lensing_box *box, uint64_t seed, uint64_t number, double amplitude,
                              int lmax, const double *noise, double _Complex *e, double _Complex *b,
                              double _Complex *kappa);
/* White noise of Q and of U in uK arcmin behind a Gaussian beam in arcmin: out[0..lmax], uK^2
 * steradian, beam deconvolved. */
void sq_lensing_noise(double level, double fwhm, int lmax, double *out);

#endif
