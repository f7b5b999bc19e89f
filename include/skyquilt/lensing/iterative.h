/* The noise of iterated EB lensing reconstruction, analytically (Smith et al. 2012, JCAP 06, 014).
 *
 * N0 of EB and the lensing B modes that a reconstruction of that noise leaves are computed in turn
 * until they do not change: C^BB_res = C^BB - B, with the first-order template
 *     B(L) = integral d2l / (2 pi)^2 [l . (L - l)]^2 sin^2(2 (phi_l - phi_L)) E_l P_|L - l|,
 *     E = C^EE^2 / C^EE_tot,  P = (C^phi)^2 / (C^phi + N^phi).
 * It stands for what a maximum-likelihood reconstruction reaches. Local. */
#ifndef SQ_LENSING_ITERATIVE_H
#define SQ_LENSING_ITERATIVE_H

#include "lensing/quadratic.h"

/* Lensing B modes to first order in a periodic box, e[0..lmax] and p[0..lmax] the powers of E and
 * phi; bb[0..lmax] by rings. Modes of e and p within 2..lmax take part. */
sq_status sq_lensing_bb(const sq_flat *flat, int lmax, const double *e, const double *p,
                        double *bb);

/* `spectra` as sq_quadratic_create (polarised), with `lensing_bb` the lensing part of its total_bb
 * and phi the power of the potential, both [0..lmax]; modes of phi
 * below phi_lmin are not delensed. n0[modes]: of kappa. residual[0..lmax] (may
 * be NULL): C^BB_res. SQ_ERR_DATA when it does not settle to 1e-4 within 50 rounds. */
sq_status sq_iterative_n0(const sq_flat *flat, int lmin, int lmax, const sq_qe_spectra *spectra,
                          const double *lensing_bb, const double *phi, int phi_lmin, double *n0,
                          double *residual);

#endif
