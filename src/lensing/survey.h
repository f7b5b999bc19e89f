/* All patches together: sums of their bandpowers and of their kappa maps, made by rank 0 after the
 * reconstruction, and the rows that come of them. Local. */
#ifndef SQ_LENSING_SURVEY_H
#define SQ_LENSING_SURVEY_H

#include "lensing/release_maps.h"
#include "lensing/statistics.h"

/* Pairs of which a patch has data, in the order of its rows: all without the truth. */
int lensing_data_pairs(const lensing_pairs *pairs, int *index);

/* Rank 0: the sums, then the stitched maps when `release` is given. */
sq_status lensing_survey_write(const lensing_pairs *pairs, const lensing_release *release,
                               sq_phase_products *products, const char *path);
/* The rows of the survey and of the amplitude, from that file and the statistics. */
sq_status lensing_survey_rows(const lensing_pairs *pairs, const char *path, const char *statistics,
                              int amplitude, sq_product *product);
/* The blocks of a patch's cell. */
sq_status lensing_survey_cell(const lensing_pairs *pairs, const lensing_release *release,
                              const char *path, const sq_patch *place, sq_product *product);

#endif
