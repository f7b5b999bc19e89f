/* Which of several overlapping tiles owns a point of the sky.
 *
 * A point belongs to the tile in whose interior it lies deepest (largest distance to the nearest
 * edge of the tile's pixel grid, in arcsec); ties break on the tile's number. A uniform grid of
 * cells over the sphere lists the tiles that touch each cell, so that a query costs O(overlapping
 * tiles). An owner holds a few numbers a tile; the WCS that a query needs come from a pool. Local;
 * queries are reentrant. */
#ifndef SQ_SKY_OWNER_H
#define SQ_SKY_OWNER_H

#include <stdint.h>

#include "base/status.h"
#include "sky/wcs.h"
#include "sky/wcs_pool.h"

typedef struct sq_owner sq_owner;

/* Where a tile lies, roughly. */
typedef struct sq_footprint {
    double ra, dec, radius; /* a circle that holds the tile, deg */
    double step_x, step_y;  /* arcsec per pixel at the centre */
    int64_t nx, ny;
} sq_footprint;

sq_status sq_footprint_of(const sq_wcs *wcs, int64_t nx, int64_t ny, sq_footprint *out);

/* `count` tiles numbered 0.. in the order given; the array is copied, the pool is borrowed. */
sq_status sq_owner_create(const sq_footprint *tile, uint32_t count, sq_wcs_pool *wcs,
                          sq_owner **out);
/* SQ_OK, or the first failure to get a WCS from the pool: a query has no other way to say that its
 * answer is worth nothing, so whoever asks an owner ends with this. */
sq_status sq_owner_check(const sq_owner *owner);
/* The owning tile, or -1 when no tile covers the point. */
int64_t sq_owner_of(const sq_owner *owner, double ra, double dec);
/* Distance in arcsec from a point to the nearest edge of a tile: positive inside, negative outside,
 * NaN where the point does not project. Pixels are measured at the tile's centre, along x and y
 * separately. */
double sq_owner_depth(const sq_owner *owner, uint32_t tile, double ra, double dec);
void sq_owner_destroy(sq_owner *owner);

#endif
