/* One patch through the matched filter: from its maps to candidates.
 *
 * Holes are filled and a window applied; point sources are found band by band and taken out; the
 * noise power is measured, again without the clusters that a first filtering finds; every scale is
 * filtered; peaks of S/N are candidates. Noise follows the local depth: of the filter's variance,
 * the part that is white noise scales with the pixel's. Local. */
#ifndef SQ_CLUSTERS_PATCH_H
#define SQ_CLUSTERS_PATCH_H

#include "clusters/filter.h"
#include "clusters/find.h"
#include "clusters/mosaic.h"
#include "clusters/settings.h"

enum cluster_flag {
    CLUSTER_NEAR_HOLE = 1,    /* a pixel without data, or one that a source took, within 4' */
    CLUSTER_NEAR_SOURCE = 2,  /* a point source was taken out within 2' */
    CLUSTER_NEAR_EDGE = 4,    /* the window is below 1 */
    CLUSTER_OUT_OF_DOMAIN = 8 /* depth or beams that the network was not trained for */
};

typedef struct cluster_setup {
    const cluster_settings *settings;
    int nband, side, lmax;
    const double *transfer[SQ_MMF_BANDS];
} cluster_setup;

typedef struct cluster_patch cluster_patch;

sq_status cluster_patch_create(const cluster_setup *setup, cluster_patch **out);
/* The input is not changed. SQ_ERR_DATA when the noise of a band cannot be measured. */
sq_status cluster_patch_run(cluster_patch *patch, const cluster_input *input);
void cluster_patch_destroy(cluster_patch *patch);

/* Of the last run; maps of side * side pixels. */
const sq_candidate *cluster_patch_candidates(const cluster_patch *patch, int64_t *count);
/* What the filter says at a pixel that need not be a peak, with errors of a pixel; an S/N of NaN
 * where it was not searched. */
sq_candidate cluster_patch_at(const cluster_patch *patch, int column, int row);
/* S/N at a candidate's pixel: of each scale, and of the reference scale without response to dust
 * (NaN without deprojection). */
void cluster_patch_snr(const cluster_patch *patch, const sq_candidate *c, float *by_scale,
                       float *clean);
int cluster_patch_flags(const cluster_patch *patch, const sq_candidate *c);
const float *cluster_patch_snr_map(const cluster_patch *patch); /* NaN where nothing is known */
const float *
cluster_patch_relative(const cluster_patch *patch); /* local over mean noise; 0: none */
double cluster_patch_sigma(const cluster_patch *patch, int scale); /* mean noise of y0 */
int cluster_patch_sources(const cluster_patch *patch);             /* taken out */
/* Maps with holes filled, without mean, under the window, sources still in: for the network. */
const float *const *cluster_patch_maps(const cluster_patch *patch);
/* What the filter of the reference scale answers to a cluster of unit y0 and theta500 (rad). */
double cluster_patch_response(const cluster_patch *patch, double theta500);

#endif
