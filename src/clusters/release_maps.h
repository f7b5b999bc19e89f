/* The release's maps: a plate carree grid (CAR) around the input, of which a patch fills its own
 * cell. Column i is at ra = ra0 - i step, row j at dec = dec0 + j step. Local. */
#ifndef SQ_CLUSTERS_RELEASE_MAPS_H
#define SQ_CLUSTERS_RELEASE_MAPS_H

#include "clusters/patch.h"

enum { CLUSTER_MAPS = 2 };

typedef struct cluster_maps {
    double ra0, dec0, step; /* deg */
    sq_map_schema schema[CLUSTER_MAPS];
    char description[CLUSTER_MAPS][160];
} cluster_maps;

/* `step` in arcmin. In place: the structure must not move. */
void cluster_maps_make(const cluster_mosaic *mosaic, double step, cluster_maps *out);
/* The blocks of one patch: greatest S/N, and the noise of y0 at the reference scale. */
sq_status cluster_maps_write(const cluster_maps *maps, const cluster_patch *patch, double sigma,
                             const sq_patch *place, const sq_wcs *grid, sq_product *product);

#endif
