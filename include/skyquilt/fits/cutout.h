/* What a probe gets for a patch of an optical tile: all bands on the grid of the reference band.
 *
 * Planes are row-major [band][ny][nx]. Fluxes are nJy (AB zero point 31.4), surface brightness nJy
 * per pixel, sky-subtracted. Filled by the readers of fits/ and by the simulator; used by probes.
 * Local. */
#ifndef SQ_FITS_CUTOUT_H
#define SQ_FITS_CUTOUT_H

#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"

enum { SQ_MAX_BANDS = 8, SQ_PSF_NODES = 3, SQ_PSF_SIDE = 51 };

/* Unified mask bits. */
enum {
    SQ_MASK_OUTSIDE = 1u << 0, /* no data: outside the tile or not covered by the band */
    SQ_MASK_BAD = 1u << 1,     /* NaN, Inf, zero or negative variance, bad column, no data */
    SQ_MASK_SATURATED = 1u << 2,
    SQ_MASK_INTERPOLATED = 1u << 3,
    SQ_MASK_COSMIC = 1u << 4,
    SQ_MASK_BRIGHT = 1u << 5, /* near a bright object: halo, ghost, bleed */
    SQ_MASK_EDGE = 1u << 6,
    SQ_MASK_NOTCHECKED = 1u << 7,
    SQ_MASK_UNUSABLE = (1u << 0) | (1u << 1)
};

typedef struct sq_cutout {
    int nband, nx, ny;
    int64_t x0, y0;             /* origin on the tile's reference grid */
    char band[SQ_MAX_BANDS][8]; /* "u", "g", ... */
    int present[SQ_MAX_BANDS];  /* 0: this band is missing here; its planes are masked OUTSIDE */
    float *image;               /* nJy per pixel, sky-subtracted; 0 where unusable */
    float *variance;            /* of the pixel incl. source photons, nJy^2; inf where unusable */
    uint32_t *mask;
    float *sky;                /* subtracted sky level, nJy per pixel (0 where unknown) */
    float *sky_sigma;          /* rms of the empty sky's noise, nJy per pixel, > 0 where usable */
    double gain[SQ_MAX_BANDS]; /* electrons per nJy (0: unknown) */
    /* Aperture correction: a star's total flux over the amplitude of the PSF below. 1 where the PSF
     * holds all of the light or nothing is known; 1.01 to 1.04 for SDSS, whose PSF images lack the
     * outer wings. */
    double aperture[SQ_MAX_BANDS];
    double scale; /* arcsec per pixel at the centre */
    /* Noise correlation of neighbours [band][x, y] and the variance ratio left by resampling. */
    double correlation[SQ_MAX_BANDS][2];
    /* PSF images on the reference grid at SQ_PSF_NODES^2 nodes spread over the box from its first
     * to its last pixel [band][node_y][node_x][SQ_PSF_SIDE][SQ_PSF_SIDE], centred on the middle
     * pixel, unit sum. */
    float *psf;
    sq_hash input_hash; /* of the input sections that were read */
} sq_cutout;

sq_status sq_cutout_create(int nband, int nx, int ny, sq_cutout **out);
void sq_cutout_destroy(sq_cutout *cutout);
/* The PSF image (SQ_PSF_SIDE^2) at a pixel of the cutout: bilinear between nodes, unit sum. */
void sq_cutout_psf(const sq_cutout *cutout, int band, double x, double y, float *out);
static inline int64_t sq_cutout_plane(const sq_cutout *c, int band)
{
    return (int64_t)band * c->nx * c->ny;
}

#endif
