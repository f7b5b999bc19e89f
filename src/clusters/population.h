/* y0 and theta500 of a cluster from its S/N at every scale of the filter, with the population of
 * clusters as prior.
 *
 * Taken freely from the scale of greatest S/N, y0 is too high: size and y0 trade off, noise chooses
 * the scale, and there are many more faint clusters than bright ones. So the prior is the number of
 * halos above 1e13 Msun by y0 and theta500 (mass function, volume, the configured relation of y0
 * and mass with its scatter), and the posterior's median is unbiased at any S/N. A scale of S/N q
 * has the likelihood exp(q^2 / 2) of its best y0, and y0 there is Gaussian around it.
 *
 * Clusters are not the model: kinetic SZ, second clumps, neighbours and ellipticity leave a share
 * of the signal unexplained, which noise alone would take for knowledge. Both likelihoods are
 * widened by it (SIZE_MISFIT, Y0_MISFIT). Local; immutable. */
#ifndef SQ_CLUSTERS_POPULATION_H
#define SQ_CLUSTERS_POPULATION_H

#include "clusters/mass.h"

typedef struct cluster_population cluster_population;

typedef struct cluster_fit {
    double y0, y0_error;           /* median, half of what lies between 16% and 84% */
    double ln_theta, ln_theta_err; /* mean and standard deviation; theta500 in rad */
} cluster_fit;

/* Prior for n scales theta[n] (rad, ascending). */
sq_status cluster_population_create(const cluster_masses *masses, int n, const double *theta,
                                    cluster_population **out);
void cluster_population_destroy(cluster_population *population);
/* q[n]: S/N at each scale, one of them above 0; sigma[n]: noise of y0. */
void cluster_population_fit(const cluster_population *population, const double *q,
                            const double *sigma, cluster_fit *out);

#endif
