/* Statistics with bootstrap errors, as the comparisons need them.
 *
 * Sources that lie close together share noise, blends and PSF, so errors come from a bootstrap over
 * blocks of sky: each replica gives every block a Poisson(1) weight (Efron & Tibshirani 1993; the
 * Poisson form: Hanley & MacGibbon 2006). Weights are keyed by (seed, replica): the same on every
 * machine. A value that is undefined (no data) is NaN, and so is the error of fewer than two
 * replicas that define it. Local, reentrant. */
#ifndef SQ_ASSESS_STATISTICS_H
#define SQ_ASSESS_STATISTICS_H

#include <stdint.h>

#include "base/status.h"

typedef struct sq_estimate {
    double value, error; /* error: standard deviation over the replicas */
} sq_estimate;

typedef struct sq_bootstrap sq_bootstrap;

sq_status sq_bootstrap_create(uint64_t seed, int64_t blocks, int replicas, sq_bootstrap **out);
int64_t sq_bootstrap_blocks(const sq_bootstrap *bootstrap);
void sq_bootstrap_destroy(sq_bootstrap *bootstrap);

/* sum(part) / sum(whole) of values per block. */
sq_estimate sq_bootstrap_ratio(const sq_bootstrap *bootstrap, const double *part,
                               const double *whole);
/* Harmonic mean of matched / truth and right / found, each [blocks]. */
sq_estimate sq_bootstrap_f1(const sq_bootstrap *bootstrap, const double *matched,
                            const double *truth, const double *right, const double *found);
/* Median and 1.4826 times the median absolute deviation from it. block[i] is the block of value[i].
 */
sq_status sq_bootstrap_median(const sq_bootstrap *bootstrap, int64_t n, const double *value,
                              const int64_t *block, sq_estimate *median, sq_estimate *mad);
/* Area under the ROC curve (the Mann-Whitney statistic, ties count a half). */
sq_status sq_bootstrap_auc(const sq_bootstrap *bootstrap, int64_t n, const double *score,
                           const uint8_t *positive, const int64_t *block, sq_estimate *auc);

/* Blocks of sky for n points: cells of the HEALPix grid, the coarsest level that has at least
 * `least` occupied cells (or as many as there are at the finest one). block[i] in [0, *count); -1
 * for positions that are not finite. */
sq_status sq_sky_blocks(int64_t n, const double *ra, const double *dec, int64_t least,
                        int64_t *block, int64_t *count);

double sq_normal_cdf(double z);
/* The inverse, by Wichura's algorithm AS 241 (1988): relative accuracy 1e-15. NaN outside (0, 1).
 */
double sq_normal_quantile(double p);

/* The normal score of `truth` in a distribution given by quantiles: value[k] at probability p[k]
 * (both ascending), interpolated and extrapolated linearly in the normal score, so that a Gaussian
 * gives (truth - mean) / sigma. Clipped to +-40; NaN when a quantile is missing or out of order. */
double sq_quantile_score(int count, const double *p, const double *value, double truth);

#endif
