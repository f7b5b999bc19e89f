/* Classical check columns beside the posteriors: forced photometry on the pixels that the network
 * saw.
 *
 * At a given position, without deblending. PSF flux: sum P I / s^2 over sum P^2 / s^2 with the
 * sky's variance s^2 as weight, so that bright sources are not weighted by their own noise; its
 * error takes the whole variance plane; both are brought to total flux by the band's aperture
 * correction. Aperture flux: the sum in a circle, pixels on the border by
 * the fraction of 5 x 5 subpixels inside, scaled up for unusable pixels up to half of the area. NaN
 * where not measurable. Local, reentrant. */
#ifndef SQ_CATALOG_PHOTOMETRY_H
#define SQ_CATALOG_PHOTOMETRY_H

#include "fits/cutout.h"

typedef struct sq_check {
    double psf_flux, psf_error, aperture_flux, aperture_error; /* nJy */
    uint32_t mask; /* bits set within one pixel of the position */
} sq_check;

/* `radius` of the aperture in pixels. */
sq_check sq_catalog_check(const sq_cutout *cutout, int band, double x, double y, double radius);

#endif
