/* What a run configuration says to the lensing probe. */
#ifndef SQ_LENSING_SETTINGS_H
#define SQ_LENSING_SETTINGS_H

#include <stdbool.h>

#include "base/config.h"
#include "base/status.h"
#include "lensing/quadratic.h"

enum { LENSING_SPLITS = 8, LENSING_BINS = 32 };

/* Estimators come first, in the order of sq_qe. */
typedef enum lensing_method {
    LENSING_MV = SQ_QE_COUNT,
    LENSING_QEN,     /* quadratic estimates from delensed maps */
    LENSING_MAP,     /* maximum a posteriori */
    LENSING_NETWORK, /* learned */
    LENSING_METHODS
} lensing_method;

typedef struct lensing_settings {
    sq_config_texts maps, weights, methods;
    double noise, polarisation_noise; /* uK-arcmin of T (0: unknown); Q and U over T */
    char *noise_spectrum, *beam;
    double fwhm; /* arcmin; 0: not given */
    char *unit, *frame, *polarisation, *mask, *sources;
    bool pixel_window, temperature_only;
    char *lensed, *potential, *gradient;
    int spectra_unit; /* sq_cl_unit */
    int64_t lmin, lmax, simulations, iterations;
    sq_config_reals bins;
    double pixel, edge, map_pixel, tolerance; /* arcmin */
    bool amplitude;
} lensing_settings;

extern const sq_config_field lensing_settings_fields[];
void lensing_settings_defaults(void *settings);
/* SQ_ERR_CONFIG names the key. */
sq_status lensing_settings_check(const lensing_settings *settings);
/* Bits 1 << lensing_method of the methods asked for; `network`: a model is given. */
sq_status lensing_settings_methods(const lensing_settings *settings, int network, unsigned *out);
const char *lensing_method_name(int method); /* "tt", ..., "mv", "qen", "map", "network" */
/* Edges of the bins of L; gives their number. */
int lensing_settings_bins(const lensing_settings *settings, double edges[LENSING_BINS + 1]);

#endif
