/* What the simulations of all patches say: made by rank 0 at the barrier, kept in one file of which
 * a patch's task reads its own part, and the survey's task the survey's.
 *
 * File, native byte order: a header, [patches] entries (number, offset), the patches' parts and the
 * survey's. Local. */
#ifndef SQ_LENSING_STATISTICS_H
#define SQ_LENSING_STATISTICS_H

#include <complex.h>

#include "lensing/patch.h"
#include "lensing/rows.h"

/* Modes of the mean field that are kept: 0 < l below the last bin's end. */
int64_t lensing_mean_modes(const sq_flat *flat, const lensing_pairs *pairs, int32_t *v, int32_t *u);

enum { LENSING_KINDS = 7 }; /* first, second, noise_data, noise_sims, low, high, noise_cmb */

/* Of one patch; arrays [pairs * bins], fields are indices into pairs->field. */
typedef struct lensing_statistics {
    int64_t count; /* realisations */
    double area;
    double *mean;    /* power, of first and second skies */
    double *scatter; /* its standard deviation */
    double *noise_data, *noise_sims, *noise_cmb;
    double _Complex *half[2]; /* mean field of even and odd realisations, [fields][mean modes] */
    double halves[2];         /* realisations in each */
} lensing_statistics;

/* Rank 0: read the products of the simulations, write the file. */
sq_status lensing_statistics_write(const lensing_pairs *pairs, int64_t mean_modes,
                                   sq_phase_products *products, const char *path);
/* SQ_ERR_CORRUPT for a file of other sizes. *found = 0: the patch has no simulations. */
sq_status lensing_statistics_read(const char *path, const lensing_pairs *pairs, int64_t mean_modes,
                                  uint64_t patch, lensing_statistics *out, int *found);
void lensing_statistics_free(lensing_statistics *s);

/* Of the survey: means over the patches by area, of every realisation. */
typedef struct lensing_survey_sims {
    int64_t count;
    double *power; /* [count][LENSING_KINDS][pairs * bins] */
} lensing_survey_sims;
sq_status lensing_survey_sims_read(const char *path, const lensing_pairs *pairs,
                                   lensing_survey_sims *out);

#endif
