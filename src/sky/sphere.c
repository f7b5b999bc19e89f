#include "sky/sphere.h"

#include <chealpix.h>
#include <math.h>

#define RAD (M_PI / 180)

double sq_wrap_ra(double ra)
{
    if (ra >= 0 && ra < 360)
        return ra;
    double wrapped = fmod(ra, 360);
    if (wrapped < 0)
        wrapped += 360;
    /* A tiny negative angle rounds to 360 in the addition. */
    return wrapped >= 360 ? 0 : wrapped;
}

double sq_separation(double ra1, double dec1, double ra2, double dec2)
{
    double s1 = sin(dec1 * RAD), c1 = cos(dec1 * RAD), s2 = sin(dec2 * RAD), c2 = cos(dec2 * RAD);
    /* The difference in degrees is exact for neighbours; multiplied first it would not be. */
    double d = (ra2 - ra1) * RAD, sd = sin(d), cd = cos(d);
    /* c1 s2 - s1 c2 cos d, written so that close points do not cancel. */
    double half = sin(d / 2);
    double along = sin((dec2 - dec1) * RAD) + 2 * s1 * c2 * half * half;
    return atan2(hypot(c2 * sd, along), s1 * s2 + c1 * c2 * cd) / RAD;
}

void sq_unit_vector(double ra, double dec, double v[3])
{
    double c = cos(dec * RAD);
    v[0] = c * cos(ra * RAD);
    v[1] = c * sin(ra * RAD);
    v[2] = sin(dec * RAD);
}

void sq_from_vector(const double v[3], double *ra, double *dec)
{
    double rho = hypot(v[0], v[1]);
    *ra = rho > 0 ? sq_wrap_ra(atan2(v[1], v[0]) / RAD) : 0;
    *dec = atan2(v[2], rho) / RAD;
}

void sq_project_zea(double ra0, double dec0, double ra, double dec, double *x, double *y)
{
    double s0 = sin(dec0 * RAD), c0 = cos(dec0 * RAD), s = sin(dec * RAD), c = cos(dec * RAD);
    double d = (ra - ra0) * RAD;
    double cosine = s0 * s + c0 * c * cos(d);
    if (cosine <= -1) {
        *x = *y = NAN;
        return;
    }
    double k = sqrt(2 / (1 + cosine)) / RAD;
    *x = k * c * sin(d);
    *y = k * (c0 * s - s0 * c * cos(d));
}

int64_t sq_healpix29(double ra, double dec)
{
    int64_t pixel;
    if (!isfinite(ra) || !isfinite(dec))
        return -1;
    /* The library ends the process on an angle outside its range. */
    double theta = (90 - fmin(90, fmax(-90, dec))) * RAD;
    ang2pix_nest64((int64_t)1 << 29, fmin(theta, M_PI), sq_wrap_ra(ra) * RAD, &pixel);
    return pixel;
}

int64_t sq_healpix_pixel(int64_t nside, int nested, double theta, double phi)
{
    int64_t pixel;
    (nested ? ang2pix_nest64 : ang2pix_ring64)(nside, theta, phi, &pixel);
    return pixel;
}

void sq_healpix_centre(int64_t nside, int nested, int64_t pixel, double *theta, double *phi)
{
    (nested ? pix2ang_nest64 : pix2ang_ring64)(nside, pixel, theta, phi);
}

int64_t sq_healpix_ring_to_nested(int64_t nside, int64_t pixel)
{
    int64_t nested;
    ring2nest64(nside, pixel, &nested);
    return nested;
}
