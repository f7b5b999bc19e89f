/* Masses from y0, and completeness.
 *
 * y0 = A E(z)^2 (M500c / 3e14 Msun)^B exp(n), n normal with the scatter (Hilton et al. 2021, ApJS
 * 253, 3, equation 5 without its relativistic factor). A mass is the mean of ln M500c under the
 * measured y0 of the reference scale, its Gaussian error, the scatter, and the Tinker 2008 mass
 * function as prior, so that it is free of the bias of selecting on a steep function. Local. */
#ifndef SQ_CLUSTERS_MASS_H
#define SQ_CLUSTERS_MASS_H

#include "clusters/patch.h"
#include "sim/cosmology.h"

typedef struct cluster_masses cluster_masses;

sq_status cluster_masses_create(const cluster_settings *settings, cluster_masses **out);
void cluster_masses_destroy(cluster_masses *masses);
/* ln(M500c / Msun) and its standard deviation. */
void cluster_mass(const cluster_masses *masses, const cluster_patch *patch, double y0, double error,
                  double *ln_mass, double *ln_error);
/* Of a cluster of M500c at z: true y0 without scatter, and theta500 in rad. */
void cluster_truth(const cluster_masses *masses, double m500, double z, double *y0, double *theta);
/* Halos of M200m 1e13 to 5e15 Msun and z < 3, per steradian, in small bins of mass, redshift and scatter
 * of ln y0: `count` is called for each with its number. y0 and theta (rad; the filter's, theta500 or
 * theta200) are those of the filter's gas. */
sq_status cluster_count(const cluster_masses *masses,
                        void (*count)(void *to, double y0, double theta, double number), void *to);
/* The fraction found at S/N above `threshold`, of clusters at (m500, z) where the noise of y0 is
 * sigma[i] at theta[i] (rad), i = 0..n - 1: erfc of the distance to sqrt(q^2 + 3), q = y0 / sigma
 * (position and scale are free), over the scatter. */
double cluster_completeness(const cluster_masses *masses, double m500, double z, int n,
                            const double *theta, const float *sigma, double threshold);

#endif
