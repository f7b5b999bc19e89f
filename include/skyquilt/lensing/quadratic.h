/* Quadratic estimators of CMB lensing on the flat sky: TT, TE, EE, EB, TB and their minimum
 * variance combination.
 *
 * Hu & Okamoto 2002 (ApJ 574, 566) in the separable form of products of filtered maps. With
 * lensed X(n) = X(n + grad phi), kappa = L^2 phi / 2 and Xbar = X / C_tot within lmin..lmax of the
 * beam-deconvolved maps,
 *     phi(L) = -(1 / R_L) sum_j i L_j FT[v_j],   a_j = FT^-1[i l_j C Xbar e^(2 i phi_l)],
 *     b = FT^-1[Ybar e^(2 i phi_l)],
 *     TT  v_j = FT^-1[Ybar] FT^-1[i l_j C^TT Xbar],        EE  v_j = Re(a_j b*), C = C^EE,
 *     EB  v_j = Im(a_j b*), C = C^EE, X = E, Y = B,        TB  the same with C^TE, X = T,
 *     TE  v_j = Re(a_j b*) + FT^-1[Tbar] FT^-1[i l_j C^TE Ebar].
 * Weights use lensed spectra, responses R the exact normalisation against gradient-lensed ones. TE
 * has the separable weight 1 / (C^TT C^EE). N0 = R_ww / R^2, R_ww the response with the weights'
 * own spectra: the noise when C_tot is the power of the maps (TE: without its C^TE C^TE part,
 * up to 5%; sq_quadratic_covariance has it).
 *
 * Alias-free when 1.5 lmax is below the grid's Nyquist frequency. Double precision. Maps and modes
 * as in fourier/flat.h; spectra in (map unit)^2 steradian at l = 0..lmax. A quadratic estimator is
 * used by one thread; local. */
#ifndef SQ_LENSING_QUADRATIC_H
#define SQ_LENSING_QUADRATIC_H

#include <complex.h>

#include "base/status.h"
#include "fourier/flat.h"

typedef enum sq_qe { SQ_QE_TT, SQ_QE_TE, SQ_QE_EE, SQ_QE_TB, SQ_QE_EB, SQ_QE_COUNT } sq_qe;

/* Spectra; pointers are borrowed during the call that gets them. */
typedef struct sq_qe_spectra {
    const double *weight_tt, *weight_ee, *weight_te; /* lensed */
    const double *response_tt, *response_ee,
        *response_te;                             /* gradient-lensed, or NULL: the weights */
    const double *total_tt, *total_ee, *total_bb; /* signal + noise, beam deconvolved */
} sq_qe_spectra;

typedef struct sq_quadratic sq_quadratic;

const char *sq_qe_name(sq_qe kind);
/* Whether a kind needs polarisation. */
int sq_qe_polarised(sq_qe kind);

/* SQ_ERR_USAGE for 2 > lmin, lmin >= lmax or a grid whose Nyquist frequency is below 1.5 lmax;
 * SQ_ERR_DATA where a total is not positive within lmin..lmax. total_ee and total_bb may be NULL:
 * then only TT is there. */
sq_status sq_quadratic_create(const sq_flat *flat, int lmin, int lmax, const sq_qe_spectra *spectra,
                              sq_quadratic **out);
void sq_quadratic_destroy(sq_quadratic *q);
int64_t sq_quadratic_modes(const sq_quadratic *q); /* of its grid */

/* R_L of phi at every mode, response[modes]; 0 from 2 lmax on. */
const double *sq_quadratic_response(sq_quadratic *q, sq_qe kind);
/* N0 of kappa at every mode; infinite where there is no response. */
sq_status sq_quadratic_n0(sq_quadratic *q, sq_qe kind, double *n0);
/* Mean of a function of modes over rings |l| = L - 1/2 .. L + 1/2 of `width` multipoles about
 * L = first, first + width, ...: value[count]; for N0 the inverse is averaged. NaN without modes.
 */
void sq_quadratic_ring(const sq_flat *flat, const double *n0, double first, double width, int count,
                       double *value);

/* kappa modes of one estimator from beam-deconvolved T, E, B modes (those that it needs; others may
 * be NULL). */
sq_status sq_quadratic_estimate(sq_quadratic *q, sq_qe kind, const double _Complex *t,
                                const double _Complex *e, const double _Complex *b,
                                double _Complex *kappa);
/* The same of all `kinds` (bits 1 << kind) at once, which share their filtered maps. kappa[kind] of
 * those. */
sq_status sq_quadratic_estimates(sq_quadratic *q, unsigned kinds, const double _Complex *t,
                                 const double _Complex *e, const double _Complex *b,
                                 double _Complex *const kappa[SQ_QE_COUNT]);
/* Estimates from the (T, E, B) of two maps, symmetrised: half of the gradients are a's and half b's,
 * so that cross(a, a) is the estimate of a. `curl` (may be NULL) gets the same of the curl mode psi
 * of a deflection (d psi / dy, -d psi / dx), as L^2 psi / 2 with its own response: lensing has
 * none, and what it shows is noise or a fault. */
sq_status sq_quadratic_cross(sq_quadratic *q, unsigned kinds, const double _Complex *const a[3],
                             const double _Complex *const b[3],
                             double _Complex *const kappa[SQ_QE_COUNT],
                             double _Complex *const curl[SQ_QE_COUNT]);
/* sum R kappa / sum R over the estimators of `kinds` (bits 1 << kind). kappa[kind] of those. */
sq_status sq_quadratic_combine(sq_quadratic *q, unsigned kinds,
                               const double _Complex *const kappa[SQ_QE_COUNT],
                               double _Complex *combined);
/* The same of curls, with their responses. */
sq_status sq_quadratic_combine_curl(sq_quadratic *q, unsigned kinds,
                                    const double _Complex *const curl[SQ_QE_COUNT],
                                    double _Complex *combined);
/* Gaussian covariance of two estimates of kappa at every mode, for maps with the totals of
 * sq_quadratic_create and total_te[0..lmax] (signal alone when the noises are independent),
 * out[modes]; 0 without response and between parity-even (TT, TE, EE) and -odd (TB, EB) estimators.
 * With a = b it is N0, for TE with all of its terms. */
sq_status sq_quadratic_covariance(sq_quadratic *q, sq_qe a, sq_qe b, const double *total_te,
                                  double *out);
/* The noise of sq_quadratic_combine with all covariances, n0[modes]. */
sq_status sq_quadratic_combined_n0(sq_quadratic *q, unsigned kinds, const double *total_te,
                                   double *n0);

#endif
