/* Points on the sphere. Degrees in the interface, ra in [0, 360), dec in [-90, 90]. Local. */
#ifndef SQ_SKY_SPHERE_H
#define SQ_SKY_SPHERE_H

#include <stdint.h>

double sq_wrap_ra(double ra);                                              /* to [0, 360) */
double sq_separation(double ra1, double dec1, double ra2, double dec2);    /* deg, stable at 0 and 180 */
void sq_unit_vector(double ra, double dec, double v[3]);
void sq_from_vector(const double v[3], double *ra, double *dec);
/* NESTED HEALPix index at order 29 (12 * 4^29 cells of 0.4 mas): the sort key of every catalogue. */
int64_t sq_healpix29(double ra, double dec);

#endif
