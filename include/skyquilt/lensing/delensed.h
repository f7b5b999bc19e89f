/* Quadratic estimates from delensed maps: QE_n, the strong classical method short of a maximum a
 * posteriori reconstruction.
 *
 * Pass 0 is the best linear combination of EB and EE. Every later pass lenses the Wiener-filtered E
 * by the kappa it has, subtracts the B modes of that from the data, and estimates EB again with
 * weights for the lensing B that is left, C^BB minus the power of the template to first order; the
 * present, the new and the first estimate are combined. The combinations are regressions on the
 * true kappa in bins of L, trained on simulations pass by pass: train with all simulations, close
 * the pass, and so on. What comes out is Wiener-filtered (transfer rho^2); its bias at the data's
 * own amplitude is that of the training and its spectra need simulations. Periodic box or filtered
 * maps (lensing/filter.h). One handle is used by one thread; local. */
#ifndef SQ_LENSING_DELENSED_H
#define SQ_LENSING_DELENSED_H

#include <complex.h>

#include "lensing/quadratic.h"

enum { SQ_DELENSED_PASSES = 8 };

typedef struct sq_delensed sq_delensed;

/* spectra, lensing_bb and phi [0..lmax] as for sq_iterative_n0; bins of L for the regression. */
sq_status sq_delensed_create(const sq_flat *flat, int lmin, int lmax, const sq_qe_spectra *spectra,
                             const double *lensing_bb, const double *phi, int bins,
                             const double *edges, sq_delensed **out);
void sq_delensed_destroy(sq_delensed *d);
/* One simulation for the open pass. SQ_ERR_USAGE when all are closed. */
sq_status sq_delensed_train(sq_delensed *d, const double _Complex *e, const double _Complex *b,
                            const double _Complex *truth);
/* Close the open pass and open the next one. SQ_ERR_DATA when a bin has no modes. rho[bins] (may be
 * NULL): the correlation with the truth that the regression reached. */
sq_status sq_delensed_close(sq_delensed *d, double *rho);
/* kappa [modes] of the last pass closed (>= 1), or of pass `pass` when not negative. */
sq_status sq_delensed_run(sq_delensed *d, int pass, const double _Complex *e,
                          const double _Complex *b, double _Complex *kappa);

#endif
