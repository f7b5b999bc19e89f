/* Pixels without data: filling them smoothly, and the window of a patch. Local. */
#ifndef SQ_CLUSTERS_HOLES_H
#define SQ_CLUSTERS_HOLES_H

#include <stdint.h>

#include "base/status.h"
#include "fourier/flat.h"

/* Replaces what is not valid, in place, by averages of ever larger cells ("pull-push": Gortler et
 * al. 1996, SIGGRAPH, section 3.3), so that no step remains. Without a valid pixel: 0. */
sq_status cluster_fill(int ny, int nx, const uint8_t *valid, float *map);
/* The window of a patch: a C2 taper of `width` rad at its edges and toward cells of 8 x 8 pixels of
 * which less than half is valid; small holes do not matter. Sides are multiples of 8. */
sq_status cluster_window(const sq_flat *flat, const uint8_t *valid, double width, float *out);

#endif
