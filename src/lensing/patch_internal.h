/* What the sources of lensing/patch.h share. */
#ifndef SQ_LENSING_PATCH_INTERNAL_H
#define SQ_LENSING_PATCH_INTERNAL_H

#include "lensing/filter.h"
#include "lensing/inputs.h"
#include "lensing/maximum.h"
#include "lensing/patch.h"
#include "sim/cmb.h"

enum { LENSING_SETS = 3, LENSING_DATA = 2 }; /* legs: of two simulations and the data */

struct lensing_patch {
    lensing_patch_setup setup;
    sq_flat flat, sky, work; /* of the patch; of the box of its simulated skies; finer */
    int side, polarised;
    int64_t pixels, modes;
    unsigned kinds, curl_kinds; /* estimators in use; those of the curl */
    sq_fft *fft, *sky_fft;
    sq_lensing_network *network;
    double scatter; /* of the network's ensemble on the data */
    sq_cmb *cmb;
    double *transfer, *ell, *sky_ell;
    double *box, *taper; /* of the core, and at the border of the patch */
    /* Of the patch that is loaded: */
    uint64_t number;
    int loaded, usable;
    double *map[3], *sigma, *window, *ivar[2], norm, level;
    double *table[6]; /* by MODEL_T .. TOTAL_B */
    sq_qe_spectra spectra;
    sq_wiener *wiener;
    sq_wiener_result result, data_result; /* of the last run; of the data's */
    sq_quadratic *q;
    sq_lensing_inputs *inputs; /* of the network, for inputs_noise; its base is QE_n */
    double *inputs_noise;
    sq_maximum *maximum;
    double _Complex *leg[LENSING_SETS][3];
    double _Complex *field[LENSING_SETS][LENSING_FIELDS];
    /* Of the sky that is drawn, and work areas: */
    double _Complex *wide[SQ_CMB_FIELDS];
    double *noise[3], *drawn[3], *sky_map;
    double _Complex *lensed[3] /* of the box */, *estimate[SQ_QE_COUNT], *curl[SQ_QE_COUNT];
    double _Complex *windowed[2][LENSING_FIELDS];
};

enum { MODEL_T, MODEL_E, MODEL_B, TOTAL_T, TOTAL_E, TOTAL_B, MODEL_TABLES = 6 };

/* Legs of T, Q, U maps into a set. */
sq_status lensing_patch_filter(lensing_patch *patch, double *const map[3], int set);
/* Quadratic fields from two sets of legs. */
sq_status lensing_patch_quadratic(lensing_patch *patch, double _Complex *const *a,
                                  double _Complex *const *b, double _Complex *const *out);
/* Power of correlated noise of T or of Q and U at l, beam in. */
double lensing_patch_correlated(const lensing_patch *patch, int polarised, int l);

#endif
