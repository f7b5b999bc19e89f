/* Inverse-variance filtering of CMB maps on a cut sky with inhomogeneous noise.
 *
 * Data d = A s + n: s the beam-deconvolved T, E, B modes of a periodic grid with powers S, A the
 * beam and the transform to T, Q, U maps, n white noise of given inverse variance a pixel, 0 where
 * masked. The solution y of (A S A^T + N) y = d on the pixels seen gives the inverse-variance
 * filtered modes Xbar = A^T y (the legs of quadratic estimators, on the whole sky and with
 * homogeneous noise X / (C + N_l)) and the Wiener-filtered signal S Xbar. E and B are told apart by
 * their powers: what a mask makes ambiguous goes to the likelier E, and B is as clean of it as a
 * pure-B estimate. An apodisation is a factor on the inverse variance.
 *
 * Solved by conjugate gradients in the pixels, preconditioned by the same operator for an unmasked
 * sky with the median noise, which is diagonal in modes: what is left are directions along the
 * mask's border, not its area. Units: maps uK (any), powers unit^2 steradian, beam deconvolved;
 * inverse variance unit^-2 a pixel. One handle is used by one thread; nothing is allocated in a
 * run; local. */
#ifndef SQ_LENSING_FILTER_H
#define SQ_LENSING_FILTER_H

#include <complex.h>

#include "base/status.h"
#include "fourier/flat.h"

/* Tables [0..lmax], 0 above; those at l < 2 are not used: modes there have the power of l = 2. NULL
 * tt: no temperature; NULL ee and bb: no polarisation; NULL te: T filtered apart from E; NULL beam:
 * 1. Masked: inverse variance below 1e-6 of its median over positive ones. */
typedef struct sq_wiener_model {
    int lmax;
    const double *tt, *ee, *bb, *te, *beam;
    const double *ivar_t, *ivar_p; /* [pixels], the latter of Q and of U */
} sq_wiener_model;

typedef struct sq_wiener_result {
    int iterations;
    double residual; /* preconditioned norm of the residual over that of the data */
} sq_wiener_result;

typedef struct sq_wiener sq_wiener;

/* Everything is copied. SQ_ERR_DATA when nothing is seen or |TE|^2 is above TT EE. */
sq_status sq_wiener_create(const sq_flat *flat, const sq_wiener_model *model, sq_wiener **out);
void sq_wiener_destroy(sq_wiener *w);

/* Xbar of maps t, q, u [pixels] (those of the model; others may be NULL) into t, e, b [modes].
 * Stops at a residual of `tolerance`; SQ_ERR_DATA when `most` iterations do not reach it or a seen
 * pixel is not finite. `result` may be NULL. */
sq_status sq_wiener_run(sq_wiener *w, const double *t, const double *q, const double *u,
                        double tolerance, int most, double _Complex *mt, double _Complex *me,
                        double _Complex *mb, sq_wiener_result *result);

/* From Xbar, in place, to (S + N_l) Xbar with the median noise: on a whole sky with that noise the
 * deconvolved maps themselves; the maps for sq_quadratic with total = power + sq_wiener_noise.
 * Modes of the quadratic estimator's lmin..lmax alone may be used: N_l is as steep as 1 / beam^2.
 */
void sq_wiener_restore(const sq_wiener *w, double _Complex *t, double _Complex *e,
                       double _Complex *b);
/* Deconvolved power of the median noise of T (polarised 0) or of E and B, out[0..lmax]. */
void sq_wiener_noise(const sq_wiener *w, int polarised, double *out);

#endif
