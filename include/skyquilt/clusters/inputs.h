/* What the cluster networks see, made from a patch: the same in training sets and in a run.
 *
 * For B bands and N x N pixels (N a multiple of SQ_CLUSTER_CELL = 8, M = N / 8), with S scales of
 * the matched filter:
 *   image  [B + S + 2][N][N]
 *     B  high-passed maps, 1 - exp(-(l / 1500)^2 / 2), in 20 uK
 *     S  matched-filter y0 at sq_cluster_theta500, in 2e-5
 *     1  y0 without response to dust at the middle scale, in 2e-5; 0 without a second spectrum
 *     1  S/N at the middle scale, in 10
 *     each in its unit, then compressed: v within +-16, sign(v) 16 (1 + ln(|v| / 16)) beyond; 0 in
 *     pixels without data
 *   planes [2 B + 2][M][M], means over cells of 8 x 8 pixels
 *     B  ln of the white noise in 5 uK-arcmin, B  the beam's FWHM in 2 arcmin, the ln of the
 *     matched filter's noise of y0 at the middle scale in 1e-6, the fraction of pixels with data;
 *     all 0 in cells without data
 * so that amplitudes stay physical and depth and resolution are known to the network.
 *
 * The cutouts of a DeepSZ-like network (Lin et al. 2021, MNRAS 507, 4149): 8' x 8' as 32 x 32
 * pixels, bilinear from the patch, all bands together scaled to [0, 1]. Deterministic. Local. */
#ifndef SQ_CLUSTERS_INPUTS_H
#define SQ_CLUSTERS_INPUTS_H

#include "base/status.h"
#include "clusters/filter.h"

enum { SQ_CLUSTER_SCALES = 3, SQ_CLUSTER_CELL = 8, SQ_CLUSTER_CUTOUT = 32 };
extern const double sq_cluster_theta500[SQ_CLUSTER_SCALES];    /* arcmin */
extern const double sq_cluster_cutout_side, sq_cluster_cutout_core; /* arcmin: 8, 6 */

/* A patch as it was given to its matched filter. All borrowed. */
typedef struct sq_cluster_view {
    sq_flat flat;
    int nband;
    const float *map[SQ_MMF_BANDS];   /* uK, [ny * nx]; periodic or with its window applied */
    const float *noise[SQ_MMF_BANDS]; /* white noise, uK-arcmin; not above 0: no data */
    double fwhm[SQ_MMF_BANDS];        /* arcmin */
    sq_mmf *mmf;                      /* loaded with the maps, its noise known */
    int deprojects;                   /* the filter has a second spectrum */
} sq_cluster_view;

typedef struct sq_cluster_inputs {
    int nband, side, cells;  /* B, N, M */
    int channels, conditions; /* of image, of planes */
    float *image, *planes;
} sq_cluster_inputs;

/* SQ_ERR_USAGE for a patch that is not square or whose side is no multiple of the cell. */
sq_status sq_cluster_inputs_create(const sq_flat *flat, int nband, sq_cluster_inputs **out);
/* The filter's last scale is changed. */
sq_status sq_cluster_inputs_fill(const sq_cluster_view *view, sq_cluster_inputs *inputs);
void sq_cluster_inputs_destroy(sq_cluster_inputs *inputs);

/* The cutout whose corner (the outer corner of its first pixel) lies at x, y in pixels of the
 * patch, where pixel i reaches from i - 0.5 to i + 0.5; the patch is taken as periodic.
 * out[nband][32][32]. */
void sq_cluster_cutout(const sq_cluster_view *view, double x, double y, float *out);

/* What the filters of clusters take as the signal and as the spectrum that is deprojected, in uK
 * CMB per unit of y and in uK relative to 150 GHz: the thermal SZ effect, and dust of star-forming
 * galaxies as a modified black body of 9.6 K and index 1.75 in the observer's frame. */
double sq_cluster_signal(double ghz);
double sq_cluster_dust(double ghz);

#endif
