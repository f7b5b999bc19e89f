/* Training sets of the cluster networks: fields of the mm simulator with truth in one HDF5 file.
 *
 * Field f of a set is field `first` + f of the seed, so that sets can be made in pieces. Unless
 * `fixed`, two of three fields change the configuration at random, so that the networks learn what
 * depends on depth, beam and gas: the common noise by 0.6 to 1.8 and each band's by up to 20%, 1/f
 * noise in half of them, beams off in a third and else scaled by 0.8 to 1.3 all together, uneven
 * depth to 0.2, scatter of ln Y 0.1 to 0.35, ellipticity to 0.2, substructure to 0.4, radio sources
 * in clusters by 0 to 3, dust and radio flux by up to 30%, Battaglia's gas in a fifth.
 * For F fields of N x N pixels, M = N / 8, B bands (shapes as in clusters/inputs.h):
 *   image     f16 [F][C][N][N], planes f32 [F][P][M][M]
 *   count     i32 [F]          number of halos listed, heaviest first
 *   halo      f32 [F][K][7]    x, y (0-based pixels), z, mvir, m500, y0, theta500 (arcmin)
 *   cutout    f16 [F][Q][B][32][32], label f32 [F][Q][3]: the cell holds a halo of Mvir >= 2e14 and
 *             z >= .25, and mass and redshift of the heaviest in the cell (0: none listed); cells
 * of 6' on a grid at a random origin, all that are positive first and then others at random
 *   condition f32 [F][2 B + 8] noise, fwhm, 1/f factor, scatter, ellipticity, substructure,
 *             radio_cluster, dust, radio, gas
 * Attributes of the file: ghz, seed, first, pixel (arcmin), fixed. Periodic fields, no window.
 * Local; one thread. */
#ifndef SQ_CLUSTERS_TRAINING_H
#define SQ_CLUSTERS_TRAINING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "sim/mm.h"

typedef struct sq_cluster_training {
    int64_t first, fields;
    int64_t halos;   /* K */
    int64_t cutouts; /* Q */
    double mass_min; /* Mvir of a halo that is listed, Msun */
    bool fixed;      /* no field changes the configuration */
} sq_cluster_training;

void sq_cluster_training_defaults(sq_cluster_training *options);
sq_status sq_cluster_training_write(const char *path, const sq_sim_mm_config *config,
                                    const sq_cluster_training *options);

#endif
