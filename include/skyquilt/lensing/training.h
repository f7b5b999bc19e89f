/* Training and test sets of the lensing network: periodic boxes of lensed CMB with truth in one
 * HDF5 file.
 *
 * Samples come in groups of SQ_LENSING_GROUP with the same noise. Unless `fixed`, that is drawn:
 * white noise of Q and U log-uniform in 0.5 to 2 uK arcmin for half of the groups and in 0.1 to 10
 * for the others, a Gaussian beam of 1 to 2 arcmin; and each sample's lensing power is the fiducial
 * one times A, 1 for half of the samples and uniform in 0.7 to 1.3 for the others. Sample s of a
 * set is sample `first`
 * + s of the seed. For S samples of N x N pixels (channels as in lensing/inputs.h):
 *   image     f16 [S][C][N][N], condition f32 [S][2]
 *   target    f16 [S][N][N]   what the network is to say: FT^-1[(kappa - base) / S_L]
 *   amplitude f32 [S]         A
 * and of a set that is `fixed`, maps to compare with:
 *   observed  f32 [S][2][N][N]   Q and U with beam and noise, uK
 *   kappa, first, base f32 [S][N][N]   the latter two Wiener-filtered
 *   maximum   f32 [M][N][N]   the maximum a posteriori map of the first `maximum` samples, filtered
 *   scale     f64 [N][N/2 + 1]   S of the modes
 *   theory    f64 [4][lmax + 1]  C^kk, and N0 of EB and EE together, of EB, and of EB iterated
 * Attributes of the file: seed, first, pixel (arcmin), fixed, lmin, lmax, noise, fwhm.
 * Local; one thread. */
#ifndef SQ_LENSING_TRAINING_H
#define SQ_LENSING_TRAINING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "base/status.h"

enum { SQ_LENSING_GROUP = 64 };

extern const double sq_lensing_amplitudes[2]; /* least and greatest lensing power A of a sample */

/* The keys of SKY.yaml. */
typedef struct sq_lensing_sky_config {
    int preset; /* the only one: cmb */
    int64_t seed, side;
    double pixel;                  /* arcmin */
    double noise, fwhm, amplitude; /* of a fixed set: uK arcmin, arcmin, A */
    char *spectra; /* of the skies; the estimators and inputs take the fiducial ones */
    int64_t lmin, lmax;
} sq_lensing_sky_config;

extern const sq_config_field sq_lensing_sky_fields[];
void sq_lensing_sky_defaults(sq_lensing_sky_config *config);

typedef struct sq_lensing_training {
    int64_t first, samples;
    int64_t maximum; /* of a fixed set */
    bool fixed;
} sq_lensing_training;

sq_status sq_lensing_training_write(const char *path, const sq_lensing_sky_config *config,
                                    const sq_lensing_training *options);

#endif
