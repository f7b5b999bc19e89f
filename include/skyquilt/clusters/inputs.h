/* What the cluster networks see, made from the maps of a patch: the same in training sets and in a
 * run.
 *
 * For B bands and N x N pixels (N a multiple of SQ_CLUSTER_CELL = 8, M = N / 8), with S scales:
 *   image  [B + S + 2][N][N]
 *     B  high-passed maps, 1 - exp(-(l / 1500)^2 / 2), in 20 uK
 *     S  matched-filter y0 at sq_cluster_theta500, in 2e-5
 *     1  y0 without response to dust at the middle scale, in 2e-5; 0 for a single band
 *     1  S/N at the middle scale, in 10
 *     each in its unit, then compressed: v within +-16, sign(v) 16 (1 + ln(|v| / 16)) beyond; 0 in
 *     pixels without data
 *   planes [2 B + 2][M][M], means over cells of 8 x 8 pixels
 *     B  ln of the white noise in 5 uK-arcmin, B  FWHM of beam and pixel in 2 arcmin, the ln of the
 *     matched filter's noise of y0 at the middle scale in 1e-6, the fraction of pixels with data;
 *     all 0 in cells without data
 * Amplitudes stay physical, and depth and resolution are known to the network. The matched filter
 * here is linear and fixed by depth and beams alone: its noise is a model of CMB, dust, radio
 * sources, other clusters and white noise, and its maps are the high-passed ones cut off above +200
 * uK, so that bright sources do not ring.
 *
 * The cutouts of a DeepSZ-like network (Lin et al. 2021, MNRAS 507, 4149): 8' x 8' as 32 x 32
 * pixels, bilinear from the maps, all bands together scaled to [0, 1]. Deterministic. Local. */
#ifndef SQ_CLUSTERS_INPUTS_H
#define SQ_CLUSTERS_INPUTS_H

#include "base/status.h"
#include "clusters/filter.h"

enum { SQ_CLUSTER_SCALES = 3, SQ_CLUSTER_CELL = 8, SQ_CLUSTER_CUTOUT = 32 };
extern const double sq_cluster_theta500[SQ_CLUSTER_SCALES];         /* arcmin */
extern const double sq_cluster_cutout_side, sq_cluster_cutout_core; /* arcmin: 8, 6 */

typedef struct sq_cluster_bands {
    sq_flat flat;
    int nband;
    double ghz[SQ_MMF_BANDS];
    const double *transfer[SQ_MMF_BANDS]; /* beam times pixel window, l = 0..lmax; copied */
    int lmax;
} sq_cluster_bands;

typedef struct sq_cluster_inputs sq_cluster_inputs;

/* SQ_ERR_USAGE for a patch that is not square or whose side is no multiple of the cell. */
sq_status sq_cluster_inputs_create(const sq_cluster_bands *bands, sq_cluster_inputs **out);
/* map[b], uK, and noise[b], white noise in uK-arcmin, of ny * nx pixels: noise not above 0 where
 * there is no data. The maps are periodic, or have their mean taken off and a window applied, and
 * are finite. SQ_ERR_DATA when no pixel has data. */
sq_status sq_cluster_inputs_fill(sq_cluster_inputs *inputs, const float *const *map,
                                 const float *const *noise);
int sq_cluster_inputs_channels(const sq_cluster_inputs *inputs);
int sq_cluster_inputs_conditions(const sq_cluster_inputs *inputs);
const float *sq_cluster_inputs_image(const sq_cluster_inputs *inputs);
const float *sq_cluster_inputs_planes(const sq_cluster_inputs *inputs);
/* FWHM of beam and pixel of a band in arcmin; 0 where lmax does not show it. */
double sq_cluster_inputs_fwhm(const sq_cluster_inputs *inputs, int band);
void sq_cluster_inputs_destroy(sq_cluster_inputs *inputs);

/* The cutout whose corner (the outer corner of its first pixel) lies at x, y in pixels of the
 * patch, where pixel i reaches from i - 0.5 to i + 0.5; the patch is taken as periodic.
 * out[nband][32][32]. */
void sq_cluster_cutout(const sq_flat *flat, int nband, const float *const *map, double x, double y,
                       float *out);

/* The signal and the spectrum that is deprojected, in uK CMB per unit of y and in uK relative to
 * 150 GHz: the thermal SZ effect, and dust of star-forming galaxies as a modified black body of 9.6
 * K and index 1.75 in the observer's frame. */
double sq_cluster_signal(double ghz);
double sq_cluster_dust(double ghz);
/* Cross power of the sky between two frequencies at l = 0..lmax, in uK^2 steradian before beams:
 * CMB, dust, radio sources and unresolved clusters. */
sq_status sq_cluster_sky_power(double ghz_i, double ghz_j, int lmax, double *out);

#endif
