/* What a run configuration says to the clusters probe. Lists have one entry a band. */
#ifndef SQ_CLUSTERS_SETTINGS_H
#define SQ_CLUSTERS_SETTINGS_H

#include <stdbool.h>

#include "base/config.h"
#include "base/status.h"

enum { CLUSTER_SCALES_MAX = 24 };

typedef struct cluster_settings {
    sq_config_reals ghz, fwhm, noise;
    sq_config_texts maps, weights, beams;
    char *unit, *frame, *mask, *sources;
    bool pixel_window;
    double pixel, edge; /* arcmin */
    sq_config_reals scales;
    double reference; /* arcmin */
    double lmin, lmax, map_pixel;
    int gas, power; /* sq_gas_model, sq_mmf_power */
    bool deproject;
    double min_snr, source_snr;
    int64_t iterations, passes, tile;
    double amplitude, slope, scatter, redshift; /* of y0-M */
} cluster_settings;

extern const sq_config_field cluster_settings_fields[];
void cluster_settings_defaults(void *settings);
/* Lists of equal length, known keys that need each other: SQ_ERR_CONFIG names the key. */
sq_status cluster_settings_check(const cluster_settings *settings);
/* theta500 of the filter's scales in arcmin, ascending; gives their number. */
int cluster_settings_scales(const cluster_settings *settings, double theta[CLUSTER_SCALES_MAX]);

#endif
