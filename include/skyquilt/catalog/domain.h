/* How far a piece of an image lies from what a catalog network was trained on.
 *
 * Features of a square of pixels, in order: of each band the median and ln of the scaled MAD of
 * image / sky rms, its correlation with the next pixel along x and along y (clipped at 3 MAD), and
 * the mean over its tiles of the planes FWHM, E1, E2, SIGMA and SKY; of all bands together ln of
 * the fraction, plus 0.01, of tiles whose matched filter has S/N above 5, and above 20. NaN: not
 * known (a missing band, a sky level that was not told).
 *
 * Training sets hold the features of their samples; their mean and covariance are in the model's
 * metadata. The distance is the root of the mean square of the known features, whitened; a score of
 * 1 is the distance that 5% of validation samples exceed. Local, reentrant. */
#ifndef SQ_CATALOG_DOMAIN_H
#define SQ_CATALOG_DOMAIN_H

#include "base/status.h"
#include "catalog/inputs.h"
#include "nn/model.h"

enum {
    SQ_DOMAIN_BLOCK = 64, /* side of a square in a run, pixels */
    SQ_DOMAIN_BAND = 9,   /* features of a band */
    SQ_DOMAIN_ALL = 2,    /* and of all bands */
    SQ_DOMAIN_FEATURES = SQ_MAX_BANDS * SQ_DOMAIN_BAND + SQ_DOMAIN_ALL
};

static inline int sq_domain_features(int nband)
{
    return nband * SQ_DOMAIN_BAND + SQ_DOMAIN_ALL;
}

/* Features of the pixels [x0, x0 + side) x [y0, y0 + side), all multiples of the inputs' tile.
 * `work` holds 2 side^2 floats. */
void sq_domain_measure(const sq_cutout *cutout, const sq_inputs *inputs, int x0, int y0, int side,
                       float *work, float *feature);

typedef struct sq_domain sq_domain;

/* *out = NULL for a model that says nothing of its domain. SQ_ERR_CONFIG names a key that is wrong.
 */
sq_status sq_domain_read(const sq_model *model, const char *path, int nband, sq_domain **out);
double sq_domain_score(const sq_domain *domain, const float *feature); /* NaN: nothing is known */
void sq_domain_destroy(sq_domain *domain);

#endif
