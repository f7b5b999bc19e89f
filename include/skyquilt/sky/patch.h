/* Patches: how a footprint is cut into pieces of one fixed shape.
 *
 * A patch has a core, which it owns, inside a halo of context. Cores tile the footprint half-open;
 * alternate rows are shifted by half a core so that no four cores meet. Staggered passes repeat the
 * tiling offset by (0,0), (1/2,0), (0,1/2), (1/2,1/2) core. Patches are generated from their
 * number, never stored: patch k of a tile costs O(1). Two tilings share this interface: bricks on
 * the pixel grid of a tile, and iso-latitude ring cells with polar caps on the sphere, each cell
 * projected on a flat grid of its own. The core should be even, so that half of it is whole pixels;
 * a probe whose network works on tiles of T pixels takes a core and a halo that are multiples of 2
 * T. Local, reentrant. */
#ifndef SQ_SKY_PATCH_H
#define SQ_SKY_PATCH_H

#include <stdint.h>

#include "base/status.h"
#include "sky/wcs.h"

typedef struct sq_patch_shape {
    int core;   /* side of the core in pixels */
    int halo;   /* context on each side in pixels; the input is (core + 2 halo) squared */
    int passes; /* 1 or 4 staggered passes */
} sq_patch_shape;

typedef struct sq_patch {
    uint64_t
        id; /* number in the survey: base of the tile + index; here the index, the caller adds */
    uint64_t index;      /* number within the tiling: 0 .. sq_tiling_count() - 1 */
    int pass;            /* 0..3 */
    int64_t row, column; /* place in the tiling (ring and cell on the sphere) */
    /* The owned core, half-open, in pixels of the grid, clipped to the footprint. */
    int64_t x0, y0, x1, y1;
    /* Origin of the input box of (core + 2 halo)^2 pixels; it may reach outside the tile. It
     * belongs to the unclipped core: a core that the footprint clips has the box of a whole one. */
    int64_t in_x0, in_y0;
    int side; /* core + 2 halo */
    /* Spherical tilings: centre of the cell's own grid and bounds of the owned cell in degrees
     * (ra1 may exceed 360). For bricks on a tile with a WCS the centre is filled, the bounds are 0.
     */
    double ra, dec, ra0, ra1, dec0, dec1;
} sq_patch;

typedef struct sq_tiling sq_tiling;

/* Bricks over an nx x ny pixel grid. `wcs` may be NULL and is borrowed. SQ_ERR_USAGE for a core <
 * 1, a halo < 0, passes other than 1 and 4, or a grid without pixels. */
sq_status sq_tiling_bricks(int64_t nx, int64_t ny, sq_patch_shape shape, const sq_wcs *wcs,
                           sq_tiling **out);
/* Ring cells over the whole sphere with pixels of `scale` arcmin. Passes 0 and 1 have a cap of one
 * cell on each pole; in passes 2 and 3, shifted by half a ring, wedges meet in it. Every cell lies
 * within the square core of its grid, and each point lies within a quarter core of the centre of
 * the grid of its owner, in x and in y, in one of four passes. x0, y0, x1, y1 are that square,
 * in_x0 and in_y0 are 0. SQ_ERR_USAGE also for a core above 60 deg or below 180 deg / 2^20. */
sq_status sq_tiling_rings(double scale, sq_patch_shape shape, sq_tiling **out);

uint64_t sq_tiling_count(const sq_tiling *tiling); /* patches of all passes */
/* Number of the first patch of a pass; `passes` gives the count. Passes follow each other. */
uint64_t sq_tiling_pass_first(const sq_tiling *tiling, int pass);
/* O(1) for bricks, O(log rings) for ring cells. SQ_ERR_USAGE for an index that does not exist. */
sq_status sq_tiling_patch(const sq_tiling *tiling, uint64_t index, sq_patch *out);
/* The patch of `pass` that owns a point; the point is (x, y) for bricks, (ra, dec) for rings.
 * SQ_ERR_DATA when the point is outside the footprint. Exactly one patch owns each point inside:
 * pixel i covers [i - 0.5, i + 0.5). A pole of the sphere counts as ra 0. */
sq_status sq_tiling_owner(const sq_tiling *tiling, int pass, double a, double b, uint64_t *index);
/* The pixel that covers x, exactly half-open: x in [i - 0.5, i + 0.5). x is finite, |x| < 2^62. */
int64_t sq_pixel_of(double x);
/* Signed distance in pixels from a point to the border of a patch's core: >= 0 exactly when the
 * patch owns the point, also after a conversion to float32. Outside it is the distance to the
 * farthest crossed side. */
double sq_tiling_depth(const sq_tiling *tiling, const sq_patch *patch, double a, double b);
/* The flat grid of a ring cell: a ZEA (equal-area) WCS centred on it; `side` pixels square. */
sq_status sq_tiling_grid(const sq_tiling *tiling, const sq_patch *patch, sq_wcs **out);
/* Fraction of computed pixels that no core owns: halo, and for the share of cores that the
 * footprint clips. */
double sq_tiling_overhead(const sq_tiling *tiling);
void sq_tiling_destroy(sq_tiling *tiling);

#endif
