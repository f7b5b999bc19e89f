/* The lensing amplitude A (power of phi over the fiducial one) from binned powers of kappa maps of
 * one or several methods, jointly.
 *
 * Simulations at a few amplitudes give the mean and the covariance of the vector of all methods'
 * powers: transfer and noise power both depend on A, and a fit with those of A = 1 alone is biased.
 * Between nodes the mean and the scatter of each power are the polynomials through them, of degree
 * 2 for three; the correlations are those of the node nearest to A = 1, with the factor of Hartlap
 * et al. 2007. The covariance is that at the estimate, found in three rounds. Methods that share a
 * map are correlated: their joint error is not that of independent ones. Local. */
#ifndef SQ_LENSING_AMPLITUDE_H
#define SQ_LENSING_AMPLITUDE_H

#include "base/status.h"

enum { SQ_AMPLITUDE_NODES = 5 };

typedef struct sq_amplitude_fit {
    double a, sigma; /* sigma from the curvature of the likelihood at a */
    double chi2;
    int dof;
} sq_amplitude_fit;

typedef struct sq_amplitude sq_amplitude;

/* Vectors of `size` powers; `nodes` (2..SQ_AMPLITUDE_NODES) ascending amplitudes. */
sq_status sq_amplitude_create(int size, int nodes, const double *a, sq_amplitude **out);
void sq_amplitude_destroy(sq_amplitude *x);
/* One simulated vector at a node. */
void sq_amplitude_add(sq_amplitude *x, int node, const double *power);
/* The fit to a vector that is the mean of `patches` independent ones; `use` (may be NULL: all) has
 * a nonzero entry for each element to take: one method, or some bins. SQ_ERR_DATA with fewer than
 * two simulations at a node, fewer at the covariance's than elements + 3, or a singular covariance.
 */
sq_status sq_amplitude_estimate(const sq_amplitude *x, const double *power, double patches,
                                const int *use, sq_amplitude_fit *out);

#endif
