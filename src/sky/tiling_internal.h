/* The two tilings behind sky/patch.h. Each fills a patch from its number within one pass and finds
 * the number of the patch of a pass that owns a point; patch.c adds the passes. Local. */
#ifndef SQ_SKY_TILING_INTERNAL_H
#define SQ_SKY_TILING_INTERNAL_H

#include "sky/patch.h"

/* One pass of a brick tiling: rows of cores that start at y = -dy, even rows at x = -dx[0], odd
 * rows at x = -dx[1] (pixels, 0 or half a core). */
typedef struct brick_pass {
    int64_t dy, dx[2];
    int64_t rows, columns[2];
    uint64_t count;
} brick_pass;

typedef struct bricks {
    int64_t nx, ny;
    brick_pass pass[4];
} bricks;

/* One ring of cells: [dec0, dec1) in `cells` equal steps of ra; `first` is the number of its first
 * cell in the pass. A polar cap is a ring of one cell. */
typedef struct ring {
    double dec0, dec1;
    int64_t cells;
    uint64_t first;
} ring;

/* A set of rings that covers the sphere; passes 0 and 1 share one, passes 2 and 3 the other. */
typedef struct ring_layout {
    ring *ring;
    int64_t rings;
    uint64_t count;
} ring_layout;

typedef struct rings {
    double scale; /* deg per pixel */
    ring_layout layout[2];
} rings;

struct sq_tiling {
    sq_patch_shape shape;
    const sq_wcs *wcs;
    int spherical;
    bricks bricks;
    rings rings;
    uint64_t first[5]; /* number of the first patch of each pass; then the total */
};

void sq_bricks_setup(sq_tiling *tiling);
void sq_bricks_patch(const sq_tiling *tiling, int pass, uint64_t local, sq_patch *out);
/* 0 when the point is outside the footprint. */
int sq_bricks_owner(const sq_tiling *tiling, int pass, double x, double y, uint64_t *local);
double sq_bricks_depth(const sq_patch *patch, double x, double y);

sq_status sq_rings_setup(sq_tiling *tiling, double scale);
void sq_rings_patch(const sq_tiling *tiling, int pass, uint64_t local, sq_patch *out);
int sq_rings_owner(const sq_tiling *tiling, int pass, double ra, double dec, uint64_t *local);
double sq_rings_depth(const sq_tiling *tiling, const sq_patch *patch, double ra, double dec);
void sq_rings_teardown(sq_tiling *tiling);

/* A depth whose sign says "owned" also where the distance rounds to zero or the border is the open
 * one, and also after it was stored as float32. */
double sq_signed_depth(double distance, int owned);

#endif
