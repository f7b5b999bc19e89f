/* The data of a patch: kappa, bandpowers, null tests. Local. */
#ifndef SQ_LENSING_RECONSTRUCT_H
#define SQ_LENSING_RECONSTRUCT_H

#include "lensing/release_maps.h"
#include "lensing/statistics.h"

typedef struct lensing_reconstruction {
    const lensing_pairs *pairs;
    const lensing_release *release; /* NULL: no maps */
    const char *statistics;         /* path of the simulations' file */
    int64_t mean_modes;
    const int32_t *v, *u; /* of the mean field */
} lensing_reconstruction;

/* Rows and blocks of a patch that is loaded. */
sq_status lensing_reconstruct(const lensing_reconstruction *r, lensing_patch *patch,
                              const lensing_input *input, const sq_patch *place, uint64_t number,
                              const sq_wcs *grid, sq_product *product);
/* The row of a patch without usable data. */
sq_status lensing_reconstruct_empty(const lensing_input *input, const sq_patch *place,
                                    sq_product *product);

#endif
