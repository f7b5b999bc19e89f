/* Cluster networks over a patch: maps of what they say, from overlapping tiles or cutouts.
 *
 * Two kinds, told apart by the metadata "skyquilt.layout":
 *   clusters-maps-1     fully convolutional; inputs image and planes of clusters/inputs.h, output
 *                       heads [1][SQ_CLUSTER_HEADS][N][N]; evaluated on tiles, or whole
 *   clusters-cutouts-1  one logit for a cutout of 8', which stands for its core of 6'
 * A pass puts cores side by side over the patch; p passes shift them by (0, 0), (1/2, 1/2), and
 * with p = 4 (1/2, 0), (0, 1/2) of a core. A pixel's value is the mean over the passes, weighted by
 * its distance from the edge of its core. With one pass a cluster at the edge of a core is seen
 * with less context; with four, every point is at least a quarter core from an edge in some pass.
 * Deterministic. Local, one thread a network. */
#ifndef SQ_CLUSTERS_NETWORK_H
#define SQ_CLUSTERS_NETWORK_H

#include "base/status.h"
#include "clusters/inputs.h"
#include "nn/model.h"

/* Outputs of clusters-maps-1: logits of the centre of a halo above 5e13 Msun, above 1e14, and of a
 * target (Mvir >= 2e14, z >= .25); ln(Mvir / 2e14 Msun) and the ln of its error; logit of z >= .25.
 */
typedef enum sq_cluster_head {
    SQ_HEAD_HALO,
    SQ_HEAD_CLUSTER,
    SQ_HEAD_TARGET,
    SQ_HEAD_LN_MASS,
    SQ_HEAD_LN_SIGMA,
    SQ_HEAD_FAR,
    SQ_CLUSTER_HEADS
} sq_cluster_head;

/* What the metadata of a model say. */
typedef struct sq_cluster_net {
    char name[64], version[16];
    int cutouts; /* clusters-cutouts-1 */
    int heads;   /* SQ_CLUSTER_HEADS, 1 for cutouts */
    int nband;
    double ghz[SQ_MMF_BANDS];
    double pixel;       /* arcmin */
    int halo, multiple; /* pixels; of tiles */
    /* Limits of the planes of clusters/inputs.h in training. */
    double domain[2][2 * SQ_MMF_BANDS + 2];
} sq_cluster_net;

/* SQ_ERR_CONFIG, with the model's name, for a model that is no cluster network or whose shapes and
 * metadata differ. */
sq_status sq_cluster_net_read(const sq_model *model, const char *path, sq_cluster_net *out);

typedef struct sq_cluster_network_setup {
    const sq_model *model; /* outlives the network */
    sq_cluster_net net;
    sq_cluster_bands bands; /* of the patch; transfer is not needed for cutouts */
    sq_precision precision;
    int passes; /* 1, 2 or 4 */
    int tile;   /* side of a tile of clusters-maps-1 in pixels, halo included; 0: the patch whole */
} sq_cluster_network_setup;

typedef struct sq_cluster_network sq_cluster_network;

/* SQ_ERR_CONFIG: other bands (more than 5% in frequency) or pixels than the network's; a tile that
 * is no multiple of the network's, not above two halos, or larger than the patch. SQ_ERR_USAGE:
 * passes; several passes without tiles. */
sq_status sq_cluster_network_create(const sq_cluster_network_setup *setup,
                                    sq_cluster_network **out);
/* Maps and noise as for sq_cluster_inputs_fill. `wanted`, [ny * nx], is for cutouts: those whose
 * core holds no pixel that is wanted are left out, and what is not wanted is NaN; NULL: all. */
sq_status sq_cluster_network_run(sq_cluster_network *network, const float *const *map,
                                 const float *const *noise, const uint8_t *wanted);
/* A head of the last patch, [ny * nx]; head 0 alone for cutouts. Where a cutout would reach over
 * the patch's edge, NaN. */
const float *sq_cluster_network_map(const sq_cluster_network *network, int head);
const sq_flat *sq_cluster_network_flat(const sq_cluster_network *network);
/* How much of a pixel's own context it saw, 0 on the edge of its core to 1 in the middle: the
 * greatest over the passes, [ny * nx]. */
const float *sq_cluster_network_depth(const sq_cluster_network *network);
/* All heads at the pixel of greatest first head within `radius` pixels of x, y (0-based); NaN when
 * there is none. */
void sq_cluster_network_sample(const sq_cluster_network *network, double x, double y, double radius,
                               float *head);
/* 1 when depth and beams at a pixel are those of the network's training; cutouts: always. */
int sq_cluster_network_in_domain(const sq_cluster_network *network, int x, int y);
/* FWHM of beam and pixel of the middle band in arcmin, as the network knows it; cutouts: NaN. */
double sq_cluster_network_fwhm(const sq_cluster_network *network);
void sq_cluster_network_destroy(sq_cluster_network *network);

#endif
