/* One patch of the lensing probe: from its maps, or those of a simulated sky with its mask and
 * noise, to kappa by every method and their powers.
 *
 * Fields are the methods in use, in the order of lensing_method, then the curl of the quadratic
 * estimate (MV, or the first estimator), then the truth. Powers of pairs of fields are taken under
 * the window of the patch's core, over its mean square. Local. */
#ifndef SQ_LENSING_PATCH_H
#define SQ_LENSING_PATCH_H

#include <complex.h>

#include "fourier/flat.h"
#include "lensing/network.h"
#include "lensing/sky_maps.h"
#include "lensing/theory.h"

enum { LENSING_CURL = LENSING_METHODS, LENSING_TRUTH, LENSING_FIELDS, LENSING_PAIRS = 64 };

/* Which powers there are: a list of pairs of fields (their codes). */
typedef struct lensing_pairs {
    int fields, field[LENSING_FIELDS];             /* codes */
    int pairs, a[LENSING_PAIRS], b[LENSING_PAIRS]; /* indices into field[] */
    int bins;
    double edges[LENSING_BINS + 1];
} lensing_pairs;

/* All methods with each other, the curl with itself, everything with the truth. */
void lensing_pairs_make(const lensing_settings *settings, unsigned methods, lensing_pairs *out);
int lensing_pairs_find(const lensing_pairs *pairs, int a, int b); /* of codes; -1: none */
int lensing_is_quadratic(int field);                              /* estimators, MV and curl */

typedef struct lensing_patch_setup {
    const lensing_settings *settings;
    const lensing_theory *theory;
    const lensing_pairs *pairs;
    const double *window; /* of reading the maps, [0..theory->top] */
    unsigned methods;
    int core, halo; /* pixels */
    uint64_t seed;
    const sq_model *model; /* NULL: no network */
    const sq_lensing_net *net;
    sq_precision precision;
} lensing_patch_setup;

typedef struct lensing_patch lensing_patch;

sq_status lensing_patch_create(const lensing_patch_setup *setup, lensing_patch **out);
void lensing_patch_destroy(lensing_patch *patch); /* accepts NULL */

/* Take a patch's maps: noise, filter, estimators, kappa of the data. The same number again does
 * nothing. *usable = 0: less than a tenth of the core has data. */
sq_status lensing_patch_load(lensing_patch *patch, uint64_t number, const lensing_input *input,
                             int *usable);
const sq_flat *lensing_patch_flat(const lensing_patch *patch);
const double *lensing_patch_window(const lensing_patch *patch); /* of the powers */
double lensing_patch_norm(const lensing_patch *patch);          /* mean of its square */
/* Kappa modes of the data, by index of field (curl too; not the truth). */
const double _Complex *lensing_patch_kappa(const lensing_patch *patch, int field);

/* A simulated sky: of (patch, realisation, which = 0, 1) with CMB, phi and noise of its own. */
sq_status lensing_patch_draw(lensing_patch *patch, uint32_t realisation, int which);
/* Take the noise out of the sky that is drawn. */
void lensing_patch_quieten(lensing_patch *patch);
/* Its fields when phi is that times sqrt(amplitude), truth too: in the places that
 * lensing_patch_simulated gives, of set 0 or 1. The legs of the set are kept. */
sq_status lensing_patch_simulate(lensing_patch *patch, double amplitude, int set);
const double _Complex *lensing_patch_simulated(const lensing_patch *patch, int set, int field);
/* Quadratic fields from two maps (-1: data, 0 and 1: sets), symmetrised, in place of those of
 * set 0's non-truth fields; other methods stay. */
sq_status lensing_patch_cross(lensing_patch *patch, int a, int b);
/* power[pairs * bins] of fields (NULL: NaN). */
sq_status lensing_patch_powers(lensing_patch *patch, const double _Complex *const *field,
                               const double _Complex *const *other, double *power);

/* What the patch tells about itself. */
typedef struct lensing_patch_facts {
    double area;                                   /* deg^2, effective: of the window */
    double noise_t, noise_p;                       /* uK-arcmin, median */
    double tt_ratio, ee_ratio, bb_ratio, te_ratio; /* power of the data over the expected */
    double bb_flipped, te_flipped;                 /* the same with U of the other sign */
    int iterations;
    double residual;
    double scatter;    /* rms of the network's ensemble about its mean, whitened; NaN without */
    int out_of_domain; /* of the network */
} lensing_patch_facts;
sq_status lensing_patch_describe(lensing_patch *patch, lensing_patch_facts *out);
/* N0 and N1 by index of field (NaN where there is no formula) and of the iterated expectation, by
 * bins: n0, n1[fields * bins], iterated[bins]; modes[bins]: independent modes in the window;
 * signal[bins]. */
sq_status lensing_patch_noise(lensing_patch *patch, double *n0, double *n1, double *iterated,
                              double *modes, double *signal);
/* Powers of quadratic autos from 4 or more splits, without noise bias: power[fields * bins], NaN
 * where there is none. */
sq_status lensing_patch_split_power(lensing_patch *patch, const lensing_input *input,
                                    double *power);

#endif
