/* The input maps of the lensing probe: splits of T, Q, U on a patch's grid. One thread at a time.
 * Local. */
#ifndef SQ_LENSING_SKY_MAPS_H
#define SQ_LENSING_SKY_MAPS_H

#include <stdint.h>

#include "lensing/settings.h"
#include "probe/probe.h"

typedef struct lensing_maps lensing_maps;

sq_status lensing_maps_open(const lensing_settings *settings, const sq_probe_setup *setup,
                            lensing_maps **out);
void lensing_maps_close(lensing_maps *maps); /* accepts NULL */
sq_hash lensing_maps_identity(const lensing_maps *maps);
/* Transfer of what is read beside the beam: pixel windows and interpolation. */
sq_status lensing_maps_window(const lensing_maps *maps, int lmax, double *out);
/* A box that holds all maps: centre and width in ra, least and greatest dec, deg. */
void lensing_maps_extent(const lensing_maps *maps, double *ra, double *width, double *low,
                         double *high);

/* One patch; a pixel has data when all splits have and nothing masks it. */
typedef struct lensing_input {
    int side, splits, planes;      /* planes: 1 (T) or 3 */
    float *map[LENSING_SPLITS][3]; /* uK; 0 without data; Q, U about the x axis of the grid */
    float *noise[LENSING_SPLITS];  /* of T, uK-arcmin; 0 without data */
    int64_t held;
} lensing_input;

/* NULL in *out when no map comes near the patch. */
sq_status lensing_maps_read(lensing_maps *maps, const sq_patch *patch, const sq_wcs *grid,
                            lensing_input **out);
sq_status lensing_input_copy(const lensing_input *from, lensing_input **out);
void lensing_input_destroy(lensing_input *input);
sq_hash lensing_input_hash(const lensing_input *input);

#endif
