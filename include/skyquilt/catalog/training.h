/* Training sets of the catalog networks: simulated patches with truth in one HDF5 file.
 *
 * Sample s of (seed, first) is made from the random stream (seed, first + s) alone: sets can be
 * made in pieces. For S samples, B bands, N x N pixels, tiles of T pixels and M = N / T: image f16
 * [S][B][N][N]  image / sky_sigma, clipped to +-60000; 0 where unusable planes   f32 [S][P][M][M]
 * the conditioning planes of catalog/inputs.h mf_flux, mf_error f32 [S][B][M][M]  matched-filter
 * flux and error (nJy) of every band at the tile's peak pixel mf_peak  u8  [S][M][M]  that pixel:
 * row * T + column within the tile sigma    f32 [S][B][M][M]  sky rms at the tile, nJy per pixel
 *   count    i32 [S]           number of sources (brightest first)
 *   source   f32 [S][K][F]     the fields of `fields`, zero beyond count; x, y in pixels of the
 * patch
 *   features f32 [S][D]        of catalog/domain.h
 * Attributes of the file: bands, fields, seed, first, side, tile, scale, preset. Local; one
 * thread. */
#ifndef SQ_CATALOG_TRAINING_H
#define SQ_CATALOG_TRAINING_H

#include <stdint.h>

#include "base/status.h"
#include "catalog/inputs.h"
#include "sim/optical.h"

typedef struct sq_training_options {
    uint64_t seed;
    int64_t first, samples;
    int side, tile; /* N, T */
    int sources;    /* K: the faintest beyond are left out */
    double limit;   /* sources with r up to this magnitude, or with S/N above min_snr in a band */
    double min_snr; /* of PSF photometry against the empty sky; 0: no such rule */
    double margin;  /* pixels outside the patch up to which sources are listed */
} sq_training_options;

void sq_training_defaults(int preset, sq_training_options *options);
sq_status sq_training_write(const char *path, const sq_sim_optical_config *config,
                            const sq_training_options *options);

#endif
