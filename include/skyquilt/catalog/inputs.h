/* What the catalog networks see: planes made from a cutout, the same in training sets and in a run.
 *
 * For B bands and an N x N patch, with tiles of T = 4 pixels (M = N / T):
 *   image  [2B][N][N]  asinh(w), asinh(w / 30) with w = image / sky_sigma; 0 where unusable
 *   planes [P][M][M]   conditioning at tile resolution (see SQ_PLANE_*), P = B * SQ_PLANES_PER_BAND
 * Deterministic. Local, reentrant. */
#ifndef SQ_CATALOG_INPUTS_H
#define SQ_CATALOG_INPUTS_H

#include <stdint.h>

#include "base/status.h"
#include "fits/cutout.h"

/* Per band, in this order. */
enum {
    SQ_PLANE_FWHM, /* log(PSF FWHM / 4 pixels) of the tile, from second moments in a Gaussian window
                    */
    SQ_PLANE_E1,   /* PSF ellipticity */
    SQ_PLANE_E2,
    SQ_PLANE_SIGMA,   /* log10 of the sky rms in nJy per pixel, minus 2 */
    SQ_PLANE_SKY,     /* log10(1 + sky / sky_sigma) / 2 */
    SQ_PLANE_MF,      /* asinh of the matched filter's S/N at the tile's peak (see below) */
    SQ_PLANE_MF_UNIT, /* log10 of the matched filter's flux error in units of sky_sigma */
    SQ_PLANE_USABLE,  /* fraction of the tile's pixels that are usable; 0 for a missing band */
    SQ_PLANES_PER_BAND
};

/* The matched filter is the local PSF, truncated at 1.5 FWHM and constant over blocks of 16 pixels:
 * a pixel's flux is sum P I / sum P^2, 0 with error 0 where too little of the PSF is usable; masked
 * pixels are left out of both of its sums. A tile's peak is the pixel with the largest sum over
 * bands of (S/N)^2 of positive fluxes, the same pixel for all bands. */
typedef struct sq_inputs {
    int nband, side, tile, tiles; /* N, T, M */
    float *image;                 /* [2B][N][N] */
    float *planes;                /* [P][M][M] */
    float *mf_flux;               /* [B][N][N] matched-filter flux, nJy */
    float *mf_error;              /* [B][N][N] its error, nJy */
    float *sigma;  /* [B][M][M] sky rms at the tile, nJy per pixel; 0: no usable pixel */
    int32_t *peak; /* [M][M] offset (row * N + column) of the tile's peak in the patch */
} sq_inputs;

sq_status sq_inputs_create(int nband, int side, int tile, sq_inputs **out);
sq_status sq_inputs_fill(const sq_cutout *cutout, sq_inputs *inputs);
void sq_inputs_destroy(sq_inputs *inputs);

#endif
