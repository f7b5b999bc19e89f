/* A circle around a map. */
#include <math.h>

#include "base/mem.h"
#include "fits/map_internal.h"
#include "sky/sphere.h"

#define RAD (M_PI / 180)

static const double EVERYWHERE = 180;

/* Points on the border, seen from the centre. */
static sq_status flat_extent(const sq_map *map, double *ra, double *dec, double *radius)
{
    enum { N = 16 };
    static const double corner[4][2] = {{0, 0}, {1, 0}, {1, 1}, {0, 1}};
    double x = 0.5 * (double)(map->info.nx - 1), y = 0.5 * (double)(map->info.ny - 1), far = 0;
    double area = pow(map->info.scale / 60, 2) * (double)map->info.nx * (double)map->info.ny;
    /* Beyond a third of the sphere a border says little of what lies inside. */
    if (area > 14000)
        return SQ_OK;
    sq_status rc = sq_wcs_pix2sky(map->wcs, 1, &x, &y, ra, dec);
    if (rc != SQ_OK)
        return rc;
    for (int k = 0; k < 4 * N; k++) {
        const double *from = corner[k / N], *to = corner[(k / N + 1) % 4];
        double t = (double)(k % N) / N, a, d;
        x = (from[0] + t * (to[0] - from[0])) * (double)map->info.nx - 0.5;
        y = (from[1] + t * (to[1] - from[1])) * (double)map->info.ny - 0.5;
        /* A corner beyond the projection's sky. */
        if (sq_wcs_pix2sky(map->wcs, 1, &x, &y, &a, &d) != SQ_OK || !isfinite(a)) {
            sq_error_clear();
            return SQ_OK;
        }
        far = fmax(far, sq_separation(*ra, *dec, a, d));
    }
    /* Between two points of the border it may bulge. */
    *radius = fmin(EVERYWHERE, 1.1 * far + 0.1);
    return SQ_OK;
}

/* The listed pixels of a partial map, around their mean direction. */
static void healpix_extent(const sq_map *map, double *ra, double *dec, double *radius)
{
    double mean[3] = {0}, low = 1, theta, phi, v[3], lon, lat;
    for (int64_t i = 0; i < map->listed; i++) {
        sq_healpix_centre(map->info.nside, map->info.nested, map->pixel[i], &theta, &phi);
        sq_unit_vector(phi / RAD, 90 - theta / RAD, v);
        for (int k = 0; k < 3; k++)
            mean[k] += v[k];
    }
    double norm = sqrt(mean[0] * mean[0] + mean[1] * mean[1] + mean[2] * mean[2]);
    if (!(norm > 0.1 * (double)map->listed))
        return;
    for (int k = 0; k < 3; k++)
        mean[k] /= norm;
    for (int64_t i = 0; i < map->listed; i++) {
        sq_healpix_centre(map->info.nside, map->info.nested, map->pixel[i], &theta, &phi);
        sq_unit_vector(phi / RAD, 90 - theta / RAD, v);
        low = fmin(low, v[0] * mean[0] + v[1] * mean[1] + v[2] * mean[2]);
    }
    sq_from_vector(mean, &lon, &lat);
    sq_map_from_frame(map->info.frame, lon, lat, ra, dec);
    *radius = fmin(EVERYWHERE, acos(fmax(-1, low)) / RAD + map->info.scale / 60);
}

sq_status sq_map_extent(const sq_map *map, double *ra, double *dec, double *radius)
{
    *ra = *dec = 0;
    *radius = EVERYWHERE;
    if (map->wcs)
        return flat_extent(map, ra, dec, radius);
    if (map->info.partial && map->listed)
        healpix_extent(map, ra, dec, radius);
    return SQ_OK;
}
