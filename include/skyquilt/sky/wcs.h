/* World coordinate systems of images, through wcslib.
 *
 * Pixel coordinates are 0-based and refer to pixel centres: the centre of the first pixel is (0,
 * 0), x along NAXIS1. Sky coordinates are ICRS degrees, ra in [0, 360). Handles are immutable and
 * may be read by several threads at once (wcslib calls are serialised inside where it needs that).
 * Local. */
#ifndef SQ_SKY_WCS_H
#define SQ_SKY_WCS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct sq_wcs sq_wcs;

/* From a FITS header of 80-character cards without separators (as cfitsio's ffhdr2str gives).
 * `where` names the file and HDU in errors. SQ_ERR_FORMAT when there is no celestial WCS, it is
 * singular or cannot be solved. */
sq_status sq_wcs_from_header(const char *header, const char *where, sq_wcs **out);

/* A tangent-plane WCS: reference sky point (deg), reference pixel (0-based), CD matrix in
 * deg/pixel (row-major: dx-of-xi, dy-of-xi, dx-of-eta, dy-of-eta). Used by simulators and tests. */
sq_status sq_wcs_tan(double ra, double dec, double x0, double y0, const double cd[4], sq_wcs **out);

sq_status sq_wcs_pix2sky(const sq_wcs *wcs, size_t n, const double *x, const double *y, double *ra,
                         double *dec);
/* Points that do not project get NaN pixels. */
sq_status sq_wcs_sky2pix(const sq_wcs *wcs, size_t n, const double *ra, const double *dec,
                         double *x, double *y);

/* The local Jacobian at a pixel: jac = {d(ra cos dec)/dx, d(ra cos dec)/dy, ddec/dx, ddec/dy} in
 * deg. */
sq_status sq_wcs_jacobian(const sq_wcs *wcs, double x, double y, double jac[4]);

/* The cards that reproduce this WCS, 80 characters each, NUL-terminated as a whole. Free with
 * sq_free. */
sq_status sq_wcs_to_header(const sq_wcs *wcs, char **out);

/* The side of a pixel at (x, y) in arcsec: sqrt of the area. */
double sq_wcs_scale(const sq_wcs *wcs, double x, double y);
void sq_wcs_destroy(sq_wcs *wcs);

#endif
