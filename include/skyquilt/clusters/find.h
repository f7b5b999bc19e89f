/* Candidates: peaks of signal to noise over all scales of the matched filter.
 *
 * The filtered maps of one patch are added scale by scale; at each pixel the scale of greatest S/N
 * is kept. A candidate is a local maximum among its eight neighbours whose top is above the
 * threshold, and that has no higher one within `radius`. Its position is the top of the Gaussian
 * through the 3 x 3 pixels; the position's error per axis is 1 / sqrt(q k), with q the S/N and k its curvature
 * (the Fisher information of a shift). Positions in 0-based pixels. Local. */
#ifndef SQ_CLUSTERS_FIND_H
#define SQ_CLUSTERS_FIND_H

#include <stdint.h>

#include "base/status.h"

typedef struct sq_candidate {
    double x, y, error_x, error_y; /* pixels */
    double snr;                    /* greatest over the scales, at the peak */
    double snr_fixed;              /* at the reference scale, at the same place */
    double y0, y0_error;           /* of the scale `scale` */
    double y0_fixed, y0_fixed_error;
    int scale, column, row; /* the peak's pixel */
} sq_candidate;

typedef struct sq_finder sq_finder;

/* `noise` (borrowed, may be NULL): relative noise of each pixel, 1 where it is that of the filter's
 * sigma, not above 0 where a pixel is masked. `reference`: the scale of snr_fixed. */
sq_status sq_finder_create(int ny, int nx, const float *noise, int reference, sq_finder **out);
/* y0[ny * nx] of a scale with its noise. Scales in ascending order. */
void sq_finder_add(sq_finder *finder, int scale, const float *y0, double sigma);
/* Candidates by falling S/N, free with sq_free. `radius` in pixels. The finder is empty again. */
sq_status sq_finder_peaks(sq_finder *finder, double threshold, double radius, sq_candidate **out,
                          int64_t *count);
/* Greatest S/N of each pixel so far, [ny * nx]; NaN where masked. */
const float *sq_finder_snr(const sq_finder *finder);
void sq_finder_destroy(sq_finder *finder);

#endif
