/* Lensed skies with white noise for the tests of lensing/: the fiducial CMB by sim/cmb.h on a grid
 * twice as fine, noise of its own stream, no beam. One at a time. */
#ifndef SQ_TESTS_LENSED_SKY_H
#define SQ_TESTS_LENSED_SKY_H

#include <complex.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "lensing/quadratic.h"
#include "sim/cmb.h"
#include "sim/spectra.h"

enum { SKY_LMAX = 14000 };
static const double ARCMIN = M_PI / 180 / 60;
static double sky_cl[SQ_FIDUCIAL_COUNT][SKY_LMAX + 1], sky_total[3][SKY_LMAX + 1];

typedef struct sky {
    sq_flat flat, work;
    int64_t pixels, modes;
    sq_fft *fft;
    sq_cmb *cmb;
    double _Complex *wide[SQ_CMB_FIELDS]; /* unlensed, of the working grid */
    double _Complex *kappa, *field[3];    /* the truth; T, E, B with noise */
    double *map[3];                       /* T, Q, U with noise */
} sky;

static inline void sky_open(sky *s, int side, double arcmin)
{
    *s = (sky){.flat = {side, side, arcmin * ARCMIN, arcmin * ARCMIN},
               .work = {2 * side, 2 * side, 0.5 * arcmin * ARCMIN, 0.5 * arcmin * ARCMIN}};
    s->pixels = sq_flat_pixels(&s->flat);
    s->modes = sq_flat_modes(&s->flat);
    for (int k = 0; k < SQ_FIDUCIAL_COUNT; k++)
        assert_int_equal(sq_fiducial_spectrum((sq_fiducial)k, SKY_LMAX, sky_cl[k]), SQ_OK);
    assert_int_equal(sq_fft_create(side, side, &s->fft), SQ_OK);
    assert_int_equal(sq_cmb_from_file(&s->work, &s->flat, NULL, &s->cmb), SQ_OK);
    assert_int_equal(SQ_ALLOC(s->kappa, s->modes, "test"), SQ_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(SQ_ALLOC(s->wide[i], sq_flat_modes(&s->work), "test"), SQ_OK);
        assert_int_equal(SQ_ALLOC(s->field[i], s->modes, "test"), SQ_OK);
        assert_int_equal(SQ_ALLOC(s->map[i], s->pixels, "test"), SQ_OK);
    }
}

static inline void sky_close(sky *s)
{
    for (int i = 0; i < 3; i++) {
        sq_free(s->wide[i]);
        sq_free(s->field[i]);
        sq_free(s->map[i]);
    }
    sq_free(s->kappa);
    sq_cmb_destroy(s->cmb);
    sq_fft_destroy(s->fft);
}

/* A sky of amplitude A of the lensing power; nt and np in uK arcmin. */
static inline void sky_draw(sky *s, uint64_t seed, double amplitude, double nt, double np)
{
    sq_rng rng;
    double side = s->flat.dx / ARCMIN;
    sq_rng_init(&rng, 77041, 1, seed);
    assert_int_equal(sq_cmb_draw(s->cmb, &rng, s->wide), SQ_OK);
    sq_cmb_kappa(s->cmb, amplitude, s->wide[SQ_CMB_PHI], s->kappa);
    assert_int_equal(sq_cmb_lens(s->cmb, amplitude, s->wide[SQ_CMB_PHI], s->wide[SQ_CMB_T],
                                 s->wide[SQ_CMB_E], NULL, s->field[0], s->field[1], s->field[2]),
                     SQ_OK);
    sq_rng_init(&rng, 77041, 2, seed);
    for (int i = 0; i < 3; i++) {
        sq_fft_backward(s->fft, s->field[i], s->map[i]);
        for (int64_t k = 0; k < s->pixels; k++)
            s->map[i][k] += (i ? np : nt) / side * sq_rng_normal(&rng);
        sq_fft_forward(s->fft, s->map[i], s->field[i]);
    }
    sq_filter_qu_to_eb(&s->flat, s->field[1], s->field[2]);
}

/* The estimator's spectra for that noise; totals in sky_total. */
static inline sq_qe_spectra sky_spectra(double nt, double np)
{
    static const int of[3] = {SQ_LENSED_TT, SQ_LENSED_EE, SQ_LENSED_BB};
    for (int l = 0; l <= SKY_LMAX; l++) {
        for (int i = 0; i < 3; i++)
            sky_total[i][l] = sky_cl[of[i]][l] + pow((i ? np : nt) * ARCMIN, 2);
    }
    return (sq_qe_spectra){.weight_tt = sky_cl[SQ_LENSED_TT],
                           .weight_ee = sky_cl[SQ_LENSED_EE],
                           .weight_te = sky_cl[SQ_LENSED_TE],
                           .response_tt = sky_cl[SQ_GRADIENT_TT],
                           .response_ee = sky_cl[SQ_GRADIENT_EE],
                           .response_te = sky_cl[SQ_GRADIENT_TE],
                           .total_tt = sky_total[0],
                           .total_ee = sky_total[1],
                           .total_bb = sky_total[2]};
}

#endif
