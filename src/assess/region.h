/* Which positions count: inside the footprint of the tiles, away from its border, and inside a
 * polygon. Polygons are convex or not, up to about ten degrees wide, edges straight on the tangent
 * plane of their centre. Local. */
#ifndef SQ_ASSESS_REGION_H
#define SQ_ASSESS_REGION_H

#include <stdint.h>

#include "base/status.h"
#include "store/tensor.h"

typedef struct polygon polygon;

/* corner: ra, dec, ra, dec, ... in deg; n >= 3 corners. */
sq_status polygon_create(const double *corner, int n, polygon **out);
/* Distance to the border in arcsec, positive inside, negative outside. */
double polygon_depth(const polygon *p, double ra, double dec);
void polygon_destroy(polygon *p);

typedef struct footprint {
    int64_t n; /* 0: everything is inside */
    polygon **tile;
} footprint;

/* The tiles of a release (columns tiles/ra0, dec0 ... ra3, dec3) but those of which no patch was
 * done; a file without tiles has no footprint. */
sq_status footprint_read(sq_h5 *file, footprint *out);
/* Depth in the tile in which the point lies deepest; INFINITY without tiles. */
double footprint_depth(const footprint *f, double ra, double dec);
void footprint_clear(footprint *f);

/* The corners ra0, dec0, ra1, ... of every tile of a release, [tile][8]. */
sq_status tile_corners(sq_h5 *file, int64_t tiles, double *corner);

#endif
