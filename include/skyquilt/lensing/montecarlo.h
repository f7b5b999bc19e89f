/* Monte Carlo products of quadratic estimators: mean field, transfer, realisation-dependent noise,
 * and spectra of splits without the bias of their noise.
 *
 * `sq_legs` are T, E and B modes as sq_quadratic_cross takes them. Estimates are the combination of
 * `kinds` by sq_quadratic_combine, of kappa or of the curl. Powers are those of sq_spectrum in
 * bins, `norm` the mean of the product of the windows (1 without). A recon and what is made from it
 * are used by one thread; sums run in the order of the calls; local. */
#ifndef SQ_LENSING_MONTECARLO_H
#define SQ_LENSING_MONTECARLO_H

#include <complex.h>

#include "lensing/quadratic.h"

typedef struct sq_legs {
    const double _Complex *field[3]; /* T, E, B; NULL where not needed */
} sq_legs;

/* An estimator with its work areas. */
typedef struct sq_recon sq_recon;
/* `q` must outlive it. */
sq_status sq_recon_create(sq_quadratic *q, unsigned kinds, sq_recon **out);
void sq_recon_destroy(sq_recon *r);
/* Combined estimate from the legs of a and b (symmetrised) into kappa and, unless NULL, curl. */
sq_status sq_recon_cross(sq_recon *r, const sq_legs *a, const sq_legs *b, double _Complex *kappa,
                         double _Complex *curl);

/* Mean of estimates over simulations, in two halves (even and odd calls), whose noises are
 * independent: cross(kappa - half 0, kappa - half 1) has no bias from their scatter. */
typedef struct sq_mean_field sq_mean_field;
sq_status sq_mean_field_create(int64_t modes, sq_mean_field **out);
void sq_mean_field_destroy(sq_mean_field *m);
void sq_mean_field_add(sq_mean_field *m, const double _Complex *kappa);
/* half 0 or 1, or 2 for all; SQ_ERR_DATA when there is none. */
sq_status sq_mean_field_get(const sq_mean_field *m, int half, double _Complex *out);
/* kappa -= the mean of all but `kappa` itself, which has been added: for simulations. */
sq_status sq_mean_field_subtract_others(const sq_mean_field *m, double _Complex *kappa);

/* Transfer t = <cross(estimate, truth)> / <power(truth)> in bins with its standard error. */
typedef struct sq_transfer sq_transfer;
sq_status sq_transfer_create(const sq_flat *flat, int bins, const double *edges, sq_transfer **out);
void sq_transfer_destroy(sq_transfer *t);
sq_status sq_transfer_add(sq_transfer *t, const double _Complex *estimate,
                          const double _Complex *truth);
/* value[bins] and error[bins] (may be NULL), and rho[bins] (may be NULL). */
sq_status sq_transfer_get(const sq_transfer *t, double *value, double *error, double *rho);
/* Divide modes by t at their |l|: linear between the bins' middles, constant beyond, untouched
 * where t is not above 0.05. */
sq_status sq_transfer_apply(const sq_transfer *t, double _Complex *modes);

/* RDN0 = <4 C[d, s_i] - 2 C[s_i, s_(i+1)]> (Namikawa, Hanson & Takahashi 2013): simulations are
 * independent, given one after the other. */
typedef struct sq_rdn0 sq_rdn0;
sq_status sq_rdn0_create(sq_recon *r, const sq_flat *flat, int bins, const double *edges,
                         double norm, const sq_legs *data, sq_rdn0 **out);
void sq_rdn0_destroy(sq_rdn0 *x);
sq_status sq_rdn0_add(sq_rdn0 *x, const sq_legs *sim);
/* value[bins], error[bins] (may be NULL) from the scatter of the simulations; and mc[bins] (may be
 * NULL): <2 C[s_i, s_(i+1)]>, the noise that the simulations alone expect. SQ_ERR_DATA below two.
 */
sq_status sq_rdn0_get(const sq_rdn0 *x, double *value, double *error, double *mc);

/* Power of kappa from n >= 4 splits with independent noise, of which it has no bias: the mean of
 * C(kappa_ij, kappa_kl) over all i, j, k, l that differ (Madhavacheril et al. 2020, 2011.02475).
 * N1 and the N0 of the CMB itself, which all splits share, are left.
 * power[bins]; combined[modes] (may be NULL): the mean of kappa_ij, i != j. `curl`: of the curl. */
sq_status sq_split_power(sq_recon *r, const sq_flat *flat, int splits, const sq_legs *leg, int curl,
                         double norm, int bins, const double *edges, double *power,
                         double _Complex *combined);

#endif
