/* The multi-frequency matched filter (MMF) of one flat patch.
 *
 * Model (Melin, Bartlett & Delabrouille 2006, A&A 459, 341): m_i(x) = y0 f_i (T_theta * B_i)(x) +
 * n_i(x), with f_i in map units per unit of y, T_theta the cluster's profile of unit height and B_i
 * beam and pixel window. With N(l) the cross power of the n_i and F_i = f_i B_i T_theta,
 *     sigma_theta^-2 = integral d2l / (2 pi)^2 F^T N^-1 F,   Psi = sigma^2 N^-1 F,
 *     y0(x) = sum_i FT^-1[Psi_i m_i],   S/N = y0 / sigma.
 * T_theta is common to all bands, so N^-1 is applied once a mode and a scale costs one transform.
 * Deprojected: N^-1 f B is replaced by its part that has no response to a second spectrum b,
 * N^-1 a - (a^T N^-1 b / b^T N^-1 b) N^-1 b with a_i = f_i B_i, b_i = g_i B_i.
 *
 * N is measured on the patch (rings of modes, and with smooth > 0 its smoothed deviation from
 * isotropy), given by a model, or at each ring the one of larger determinant. Transforms in single
 * precision, powers and sums in double. Maps and modes as in fourier/flat.h. One thread a filter;
 * local. */
#ifndef SQ_CLUSTERS_FILTER_H
#define SQ_CLUSTERS_FILTER_H

#include <stdint.h>

#include "base/status.h"
#include "fourier/flat.h"
#include "sim/halo.h"

enum { SQ_MMF_BANDS = 8 };

typedef struct sq_mmf_setup {
    sq_flat flat;
    int nband;
    double signal[SQ_MMF_BANDS];    /* f_i: map units per unit of y */
    double deproject[SQ_MMF_BANDS]; /* g_i: second spectrum in map units; all 0: none */
    /* Beam times pixel window at l = 0..lmax, by band; copied. */
    const double *transfer[SQ_MMF_BANDS];
    int lmax;
    double lmin; /* modes below, and above lmax, are not used */
} sq_mmf_setup;

typedef enum sq_mmf_power {
    SQ_MMF_DATA,  /* measured */
    SQ_MMF_MODEL, /* given */
    SQ_MMF_LARGER /* at each ring the one of larger determinant */
} sq_mmf_power;

typedef struct sq_mmf sq_mmf;

/* SQ_ERR_USAGE for no band, too many, or lmax < 1; SQ_ERR_CONFIG as sq_fftf_create. */
sq_status sq_mmf_create(const sq_mmf_setup *setup, sq_mmf **out);
void sq_mmf_destroy(sq_mmf *mmf);

/* The maps of one patch: map[i] has ny * nx pixels in map units with the window already applied;
 * they are transformed and kept. */
void sq_mmf_load(sq_mmf *mmf, const float *const *map);
/* The noise power N of the loaded maps. `norm` is the mean squared window. `model` is
 * [i * nband + j][l = 0..lmax] for j <= i (NULL: 0), needed for MODEL and LARGER. `smooth` > 0
 * multiplies the rings by the measured anisotropy, averaged over a Gaussian of so many modes
 * (sigma); below about 8 the filter begins to cancel what it looks for. SQ_ERR_DATA when the
 * power of a band is zero or not finite. */
sq_status sq_mmf_noise(sq_mmf *mmf, sq_mmf_power kind, double norm, double smooth,
                       const double *const *model);
/* Other maps under the noise power as it is: those with clusters, after it was measured without. */
void sq_mmf_reload(sq_mmf *mmf, const float *const *map);
/* One scale: theta in rad of the profile `shape` (theta500 or theta200). y0[ny * nx] (may be NULL):
 * the filtered map. *sigma: its predicted noise in a map without window. */
sq_status sq_mmf_filter(sq_mmf *mmf, sq_gas_model shape, double theta, int deprojected, float *y0,
                        double *sigma);
/* Response of the filter of the last scale to a cluster of another scale: the mean filtered central
 * value per unit of y0. 1 for the same scale. */
sq_status sq_mmf_response(sq_mmf *mmf, sq_gas_model shape, double theta, double *out);
/* The same at distances i * step rad from the cluster's centre, i = 0..n - 1: the mean over
 * directions. */
sq_status sq_mmf_profile(sq_mmf *mmf, sq_gas_model shape, double theta, double step, int n,
                         double *out);
/* The filter of one band at every mode, Psi_i[ny (nx/2 + 1)], of the last scale: for tests and
 * plots. */
void sq_mmf_weights(const sq_mmf *mmf, int band, double *psi);

#endif
