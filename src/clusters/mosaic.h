/* The maps of all bands, as one sky: opened once, read patch by patch onto flat grids.
 *
 * A band is one map or several; where they overlap, the first in the order of names that has data
 * wins. A pixel of a patch has data when every band has a value there with a weight above 0 and
 * neither mask nor listed source covers it. A mosaic is used by one thread at a time. Local. */
#ifndef SQ_CLUSTERS_MOSAIC_H
#define SQ_CLUSTERS_MOSAIC_H

#include <stdint.h>

#include "clusters/inputs.h"
#include "clusters/settings.h"
#include "probe/probe.h"

typedef struct cluster_mosaic cluster_mosaic;

/* `setup` gives folder and small files. Its `root` checks units and weights by reading some pixels.
 * SQ_ERR_CONFIG names the key, other errors the file. */
sq_status cluster_mosaic_open(const cluster_settings *settings, const sq_probe_setup *setup,
                              cluster_mosaic **out);
void cluster_mosaic_close(cluster_mosaic *mosaic);
int cluster_mosaic_lmax(const cluster_mosaic *mosaic);
/* Beam, pixel window and interpolation of a band at l = 0..lmax. */
const double *cluster_mosaic_transfer(const cluster_mosaic *mosaic, int band);
/* Of names, sizes and times of all files. */
sq_hash cluster_mosaic_identity(const cluster_mosaic *mosaic);

/* A box that holds all maps: centre and width in ra, least and greatest dec, deg. */
void cluster_mosaic_extent(const cluster_mosaic *mosaic, double *ra, double *width, double *low,
                           double *high);

/* One patch of side * side pixels. */
typedef struct cluster_input {
    int nband, side;
    float *map[SQ_MMF_BANDS];   /* uK; 0 without data */
    float *noise[SQ_MMF_BANDS]; /* uK-arcmin; 0 without data */
    int64_t held;               /* pixels with data */
    int64_t partial;            /* pixels that only some bands have */
} cluster_input;

/* NULL in *out when no map comes near the patch. SQ_ERR_DATA for values that are no map of the CMB
 * sky in uK. */
sq_status cluster_mosaic_read(cluster_mosaic *mosaic, const sq_patch *patch, const sq_wcs *grid,
                              cluster_input **out);
void cluster_input_destroy(cluster_input *input);
sq_hash cluster_input_hash(const cluster_input *input);

#endif
