/* One calibrated probability from all that is known about a candidate.
 *
 * logit P = bias + sum over features of f_i(x_i), each f_i linear between knots and constant
 * outside, fitted by tools/train/calibrate_clusters.py on validation skies alone and kept in the
 * metadata of the network: "skyquilt.combination" its name ("none": there is none),
 * "combination_features", and for each of them "combination_NAME_knots", "combination_NAME_target",
 * "combination_NAME_halo"; "combination_bias" has two numbers. Two probabilities: that the
 * candidate is a target (Mvir > 2e14 Msun, z > .25), and that it is a halo above 5e13 Msun. Local,
 * reentrant. */
#ifndef SQ_CLUSTERS_COMBINE_H
#define SQ_CLUSTERS_COMBINE_H

#include "base/status.h"
#include "clusters/network.h"

typedef enum sq_cluster_feature {
    SQ_FEATURE_SNR,   /* S/N of the matched filter, best scale */
    SQ_FEATURE_CLEAN, /* S/N of the deprojected filter */
    SQ_FEATURE_THETA, /* ln of theta500 of the best scale in arcmin */
    SQ_FEATURE_HALO,  /* heads of the network at the candidate */
    SQ_FEATURE_CLUSTER,
    SQ_FEATURE_TARGET,
    SQ_FEATURE_MASS, /* ln(Mvir / 2e14 Msun) in units of its error */
    SQ_FEATURE_FAR,
    SQ_FEATURE_CUTOUT, /* logit of the cutout network */
    SQ_FEATURE_BEAM,   /* FWHM of beam and pixel of the middle band in arcmin */
    SQ_CLUSTER_FEATURES
} sq_cluster_feature;

enum { SQ_COMBINATION_KNOTS = 8 };

typedef struct sq_cluster_combination {
    char name[64];
    int features; /* 0: none */
    sq_cluster_feature feature[SQ_CLUSTER_FEATURES];
    int knots[SQ_CLUSTER_FEATURES];
    double knot[SQ_CLUSTER_FEATURES][SQ_COMBINATION_KNOTS];
    double value[2][SQ_CLUSTER_FEATURES][SQ_COMBINATION_KNOTS];
    double bias[2];
} sq_cluster_combination;

sq_status sq_cluster_combination_read(const sq_model *model, const char *path,
                                      sq_cluster_combination *out);
/* The features that a network of maps gives. */
void sq_cluster_evidence(const float head[SQ_CLUSTER_HEADS], double feature[SQ_CLUSTER_FEATURES]);
/* NaN when there is no combination or a feature that it uses is NaN. */
void sq_cluster_combine(const sq_cluster_combination *combination,
                        const double feature[SQ_CLUSTER_FEATURES], double *target, double *halo);

#endif
