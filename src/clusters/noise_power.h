/* The cross power of the noise of a patch, mode by mode: what the matched filter inverts. Local. */
#ifndef SQ_CLUSTERS_NOISE_POWER_H
#define SQ_CLUSTERS_NOISE_POWER_H

#include "clusters/filter.h"

typedef struct noise_power_setup {
    sq_flat flat;
    int nband;
    const float *ell; /* [modes], 0: not used */
    float _Complex *const *mode;
    sq_mmf_power kind;
    double norm, smooth;
    const double *const *model;
    int lmax;
} noise_power_setup;

/* power[pair][modes], lower triangle of pairs of bands, in (map unit)^2 steradian. */
sq_status sq_noise_power(const noise_power_setup *setup, double *power);

#endif
