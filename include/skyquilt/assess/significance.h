/* Significance of differences between measurements that are correlated on the sky.
 *
 * Sources near each other share noise, blends and PSF, so sources are no independent trials: the
 * independent unit is a block of sky. A statistic that is a ratio of sums over sources,
 * sum(part) / sum(whole), gets its variance from the scatter of the blocks' residuals
 * part_b - ratio * whole_b (the linearised delete-one-block jackknife; Cochran 1977, section 6.6),
 * and its probability from Student's t with one degree of freedom less than there are blocks. It is
 * never reported below 2^(1 - blocks), the least that any test which exchanges whole blocks can
 * reach. No random numbers. Local, reentrant but for the accumulator. */
#ifndef SQ_ASSESS_SIGNIFICANCE_H
#define SQ_ASSESS_SIGNIFICANCE_H

#include <stdint.h>

#include "base/status.h"

/* P(|T| > |t|) of Student's distribution. */
double sq_student(double t, double degrees);
/* Adjusted probabilities of Benjamini & Hochberg (1995): reject those <= alpha, and of the
 * rejected a fraction alpha is false on the average. NaN stays NaN and is no test. */
sq_status sq_benjamini_hochberg(int64_t n, const double *p, double *q);

/* Sums per block, for any number of tests one after the other. */
typedef struct sq_block_sums sq_block_sums;

typedef struct sq_block_test {
    double value, error; /* the ratio and its standard error; NaN without data, or one block */
    double p;            /* two-sided, of the ratio being `null`; 1 with fewer than two blocks */
    int64_t blocks;
} sq_block_test;

sq_status sq_block_sums_create(int64_t blocks, sq_block_sums **out);
void sq_block_add(sq_block_sums *sums, int64_t block, double part, double whole);
/* The test of what was added; the sums are empty afterwards. */
sq_block_test sq_block_finish(sq_block_sums *sums, double null);
void sq_block_sums_destroy(sq_block_sums *sums);

/* One value of one of two samples. */
typedef struct sq_ks_value {
    double value;
    int32_t block;
    int32_t second; /* 0: first sample, 1: second */
} sq_ks_value;

typedef struct sq_ks_test {
    int64_t n[2];
    double distance; /* largest |difference| of the cumulative distributions; NaN without data */
    double at;       /* the value where it is reached */
    double p;
    double signed_distance; /* > 0: more of the second sample lies below */
} sq_ks_test;

enum { SQ_KS_QUANTILES = 20 };

/* The two-sample Kolmogorov-Smirnov distance, and the probability that samples without a
 * difference, correlated within and between each other (the same sources, the same pixels), differ
 * as much. Kolmogorov's distribution does not hold for them: where both samples share most of their
 * values' causes, distant values of the difference are independent and its maximum is larger. So
 * the difference is tested over blocks at the 5, 10 ... 95% points of both samples together, and
 * the least of the 19 probabilities is multiplied by 19 (Bonferroni). The values are sorted; they
 * must be finite. `scratch` is as long. */
sq_ks_test sq_ks(sq_ks_value *value, sq_ks_value *scratch, int64_t n, sq_block_sums *sums);

#endif
