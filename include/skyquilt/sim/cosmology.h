/* Flat wCDM cosmology: expansion, distances, linear growth and power.
 *
 * Masses in Msun, lengths in Mpc (comoving where said), wave numbers in 1/Mpc: no factors of h.
 * Radiation is neglected after recombination. The linear power is that of Eisenstein & Hu 1998 (ApJ
 * 496, 605) for baryons and cold dark matter with acoustic oscillations, good to a few percent,
 * normalised to sigma8. Handles are immutable. Local. */
#ifndef SQ_SIM_COSMOLOGY_H
#define SQ_SIM_COSMOLOGY_H

#include "base/status.h"

typedef struct sq_cosmology_parameters {
    double h, omega_m, omega_b, sigma8, ns;
    double w;    /* of dark energy */
    double tcmb; /* K */
} sq_cosmology_parameters;

/* WMAP5-like, of the simulation that DeepSZ used (Sehgal et al. 2010, ApJ 709, 920). */
sq_cosmology_parameters sq_cosmology_sehgal(void);

typedef struct sq_cosmology sq_cosmology;

/* SQ_ERR_CONFIG for parameters outside h .3-1.5, omega_m .05-1, 0 < omega_b < omega_m, sigma8 .1-2,
 * ns .5-1.5, w -2 to -0.4, tcmb 2-3.5. */
sq_status sq_cosmology_create(const sq_cosmology_parameters *parameters, sq_cosmology **out);
const sq_cosmology_parameters *sq_cosmology_of(const sq_cosmology *cosmology);
void sq_cosmology_destroy(sq_cosmology *cosmology);

/* Redshifts 0..20. */
double sq_cosmology_e(const sq_cosmology *cosmology, double z);        /* H(z) / H0 */
double sq_cosmology_comoving(const sq_cosmology *cosmology, double z); /* comoving distance */
double sq_cosmology_angular(const sq_cosmology *cosmology, double z);  /* angular diameter one */
/* Comoving volume per unit redshift and steradian, Mpc^3. */
double sq_cosmology_volume(const sq_cosmology *cosmology, double z);
/* Critical density, and mean matter density, in Msun per proper Mpc^3. */
double sq_cosmology_critical(const sq_cosmology *cosmology, double z);
double sq_cosmology_matter(const sq_cosmology *cosmology, double z);
double sq_cosmology_omega_m(const sq_cosmology *cosmology, double z);
/* Linear growth factor, 1 at z = 0. */
double sq_cosmology_growth(const sq_cosmology *cosmology, double z);
/* Linear matter power at z = 0 in Mpc^3. */
double sq_cosmology_power(const sq_cosmology *cosmology, double k);
/* Rms density contrast in a top hat of radius (3 M / 4 pi rho_m)^(1/3) at z = 0, for 1e9 to 1e17
 * Msun; *slope (may be NULL): d ln sigma / d ln M. */
double sq_cosmology_sigma(const sq_cosmology *cosmology, double mass, double *slope);

#endif
