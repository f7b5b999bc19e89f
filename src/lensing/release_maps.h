/* The release's maps: a plate carree grid (CAR) around the input, with a plane a method. Column i
 * is at ra = ra0 - i step, row j at dec = dec0 + j step.
 *
 * In the phase of the reconstruction a patch gives its kappa and weight on all of its window, which
 * overlaps with its neighbours'; rank 0 sums weight * kappa and weight into a file; in the last
 * phase every patch gives its own cell of the mean. Local. */
#ifndef SQ_LENSING_RELEASE_MAPS_H
#define SQ_LENSING_RELEASE_MAPS_H

#include <stdio.h>

#include "lensing/patch.h"

enum { MAP_KAPPA, MAP_WEIGHT, LENSING_MAPS };

typedef struct lensing_release {
    double ra0, dec0, step; /* deg */
    int64_t nx, ny;
    int planes;
    sq_map_schema schema[LENSING_MAPS];
    char description[LENSING_MAPS][256];
    const char *plane[LENSING_METHODS];
} lensing_release;

/* `step` in arcmin. In place: the structure must not move. */
void lensing_release_make(const lensing_maps *maps, const lensing_pairs *pairs, double step,
                          lensing_release *out);
/* The blocks of one patch: kappa[planes][side * side], spline coefficients; weight of a pixel is
 * window^2 times weight[plane]. */
sq_status lensing_release_write(const lensing_release *release, const sq_flat *flat,
                                const double *const *kappa, const double *window,
                                const double *weight, const sq_patch *place, double reach,
                                const sq_wcs *grid, sq_product *product);

/* Sums over the blocks, [planes][ny][nx]. */
typedef struct lensing_stitch {
    double *sum, *weight;
} lensing_stitch;
sq_status lensing_stitch_make(const lensing_release *release, lensing_stitch *out);
void lensing_stitch_free(lensing_stitch *stitch);
void lensing_stitch_add(const lensing_release *release, const sq_product_view *view,
                        lensing_stitch *stitch);
/* Kappa, then weight, both F32. */
sq_status lensing_stitch_save(const lensing_release *release, const lensing_stitch *stitch,
                              FILE *file, const char *path);
/* The cell of a patch from such a file, whose maps begin at `offset`. */
sq_status lensing_stitch_cell(const lensing_release *release, FILE *file, const char *path,
                              long offset, const sq_patch *place, sq_product *product);

#endif
