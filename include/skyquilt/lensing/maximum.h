/* The maximum a posteriori reconstruction of kappa from E and B modes on a periodic box (Hirata &
 * Seljak 2003; Carron & Lewis 2017, PRD 96, 063510).
 *
 * For a given phi the unlensed E modes are Wiener-filtered from the data with the lensing operator
 * D in the model, (1 / C^EE + D^T D / N) E = D^T d / N, by conjugate gradients; the gradient of the
 * posterior of phi is the quadratic estimate from the residual and the gradient of that E at the
 * displaced points, less phi / C^phi. L-BFGS steps start from the curvature 1 / C^phi + R of
 * EB and EE for a sky whose lensing is known. Where the noise is far below the
 * lensing B modes, stages of five steps each take a falling part of these for noise: what is not
 * yet delensed would throw the steps off. The determinant of the covariance is left out: for
 * homogeneous noise its gradient is a function of L times phi to first order, to be calibrated with
 * the transfer. The result is filtered (its transfer is about C / (C + N)). The solution in E is
 * known to converge for noise of 0.3 uK arcmin and more, with 2.3 arcmin pixels; below it may not,
 * which is an error: model such data with more noise. One handle is used by one thread; nothing is
 * allocated in a run; local. */
#ifndef SQ_LENSING_MAXIMUM_H
#define SQ_LENSING_MAXIMUM_H

#include <complex.h>

#include "lensing/quadratic.h"

typedef struct sq_maximum_result {
    int iterations, solves; /* steps in phi, and CG iterations of all of them */
    double change;          /* of phi in the last step, rms over its own in the prior's metric */
} sq_maximum_result;

typedef struct sq_maximum sq_maximum;

/* Data of lmin..lmax; spectra [0..lmax] as for sq_quadratic_create (the noise is total -
 * weight of E, above 0), phi [0..lmax] the power of the potential; lensing_bb [0..lmax]; ee the
 * unlensed power [0..ee_lmax], better beyond lmax. */
sq_status sq_maximum_create(const sq_flat *flat, int lmin, int lmax, const sq_qe_spectra *spectra,
                            const double *lensing_bb, const double *phi, int ee_lmax,
                            const double *ee, sq_maximum **out);
void sq_maximum_destroy(sq_maximum *m);
/* kappa [modes] from beam-deconvolved e and b. `start` (may be NULL: none): a Wiener-filtered
 * estimate to begin with. Ends when the change is below `tolerance` or after `most` steps. unlensed
 * (may be NULL): the Wiener-filtered unlensed E. SQ_ERR_DATA when conjugate gradients diverge. */
sq_status sq_maximum_run(sq_maximum *m, const double _Complex *e, const double _Complex *b,
                         const double _Complex *start, int most, double tolerance,
                         double _Complex *kappa, double _Complex *unlensed,
                         sq_maximum_result *result);

#endif
