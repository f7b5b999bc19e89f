/* Points on the sphere. Degrees in the interface, ra in [0, 360), dec in [-90, 90]. Local,
 * reentrant. */
#ifndef SQ_SKY_SPHERE_H
#define SQ_SKY_SPHERE_H

#include <stdint.h>

double sq_wrap_ra(double ra); /* to [0, 360) */
/* Angle between two points in deg, by Vincenty's formula: accurate at 0, 90 and 180 deg. */
double sq_separation(double ra1, double dec1, double ra2, double dec2);
/* v = (cos dec cos ra, cos dec sin ra, sin dec). */
void sq_unit_vector(double ra, double dec, double v[3]);
/* The direction of a vector of any length; a pole has ra 0. */
void sq_from_vector(const double v[3], double *ra, double *dec);
/* Lambert's zenithal equal-area projection (ZEA of FITS WCS paper II, section 5.1.7) about (ra0,
 * dec0), in degrees: x to the east, y to the north. The antipode of the centre gives NaN. */
void sq_project_zea(double ra0, double dec0, double ra, double dec, double *x, double *y);
/* NESTED HEALPix index at order 29 (12 * 4^29 cells of 0.4 mas): the sort key of every catalogue.
 * -1 for coordinates that are not finite. */
int64_t sq_healpix29(double ra, double dec);
/* HEALPix pixels of any nside, RING or NESTED; colatitude theta and longitude phi in rad. */
int64_t sq_healpix_pixel(int64_t nside, int nested, double theta, double phi);
void sq_healpix_centre(int64_t nside, int nested, int64_t pixel, double *theta, double *phi);
int64_t sq_healpix_ring_to_nested(int64_t nside, int64_t pixel);

#endif
