/* N1: the noise bias of first order in the power of lensing, on the flat sky.
 *
 * Kesden, Cooray & Kamionkowski 2003 (PRD 67, 123507): with F the weight of an estimator,
 * g(L) = sum_XY integral F_XY(l1, l2) X(l1) Y(l2), symmetric under the exchange of both fields,
 *     N1(L) = 2 / R^2 integral d2l1 d2l1' / (2 pi)^4 C^phi_k tr[F^T(l1) f(l1, -l1') F(l1')
 *         f(l2, -l2')],
 *     k = l1 - l1',  f(l1, l2) = (L . l1) C(l1) + (L . l2) C(l2),  L = l1 + l2,
 * all as 3 x 3 matrices of T, Q, U, where lensing does not turn fields and every factor depends on
 * l1 or on l1' alone: what is left is a convolution with k_i k_j C^phi, done by FFT over the
 * plane of l1. Local. */
#ifndef SQ_LENSING_N1_H
#define SQ_LENSING_N1_H

#include "lensing/quadratic.h"

/* N1 of kappa for the combination sum R kappa / sum R of `kinds` at L[count]; spectra as for
 * sq_quadratic_create, phi the power of the potential, all [0..lmax]. `step` is the spacing of the
 * grid of l1: the fundamental 2 pi / side of a periodic box makes the sum that of the box, lensing
 * by modes longer than it being absent; 30 to 70 is fine for the sky. */
sq_status sq_n1(const sq_qe_spectra *spectra, int lmin, int lmax, unsigned kinds, const double *phi,
                double step, int count, const double *L, double *n1);

#endif
