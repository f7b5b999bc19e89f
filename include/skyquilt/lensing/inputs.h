/* What the lensing network sees, and kappa from what it says.
 *
 * Polarisation alone, on a periodic box or filtered maps (lensing/filter.h). The network refines a
 * classical estimate: the base is the last of SQ_LENSING_PASSES quadratic estimates from delensed
 * maps (lensing/delensed.h), with correlation rho_L with the truth; the network's map is the rest,
 * whitened:
 *     kappa = base + FT^-1[S_L FT(network)],  S_L^2 = C^kk_L (1 - rho_L^2) / pixel,
 * in SQ_LENSING_LOW <= L <= lmax, so that a network that says nothing leaves the base. Channels,
 * each over its rms: Q and U of the Wiener-filtered E alone, Q and U of the Wiener-filtered B
 * alone, kappa of the first estimate (EB and EE), kappa of the base. Conditions: ln of the noise of
 * Q and U at l = 500 in uK arcmin, and half the ln of its power at l = 3000 over that (the beam's
 * part).
 *
 * Everything that depends on the noise (weights of the passes, rho, rms) comes from simulations of
 * the fiducial sky drawn from a seed. Modes as in lensing/quadratic.h. One handle is used by one
 * thread; nothing is allocated in fill and finish; local. */
#ifndef SQ_LENSING_INPUTS_H
#define SQ_LENSING_INPUTS_H

#include <complex.h>

#include "base/status.h"
#include "fourier/flat.h"

enum {
    SQ_LENSING_CHANNELS = 6,
    SQ_LENSING_CONDITIONS = 2,
    SQ_LENSING_PASSES = 5,
    SQ_LENSING_LOW = 60
};

typedef struct sq_lensing_inputs sq_lensing_inputs;

/* noise[0..lmax]: power of Q and of U noise, beam deconvolved, uK^2 steradian. `skies`: simulations
 * (24 do). SQ_ERR_USAGE for a grid whose Nyquist frequency is below 1.5 lmax. */
sq_status sq_lensing_inputs_create(const sq_flat *flat, int lmin, int lmax, const double *noise,
                                   int skies, uint64_t seed, sq_lensing_inputs **out);
void sq_lensing_inputs_destroy(sq_lensing_inputs *in);

/* From beam-deconvolved E and B. */
sq_status sq_lensing_inputs_fill(sq_lensing_inputs *in, const double _Complex *e,
                                 const double _Complex *b);
const float *
sq_lensing_inputs_image(const sq_lensing_inputs *in); /* [SQ_LENSING_CHANNELS][ny * nx] */
const float *sq_lensing_inputs_conditions(const sq_lensing_inputs *in);
/* Modes of kappa, both Wiener-filtered (transfer rho^2): of the first estimate and of the base. */
const double _Complex *sq_lensing_inputs_first(const sq_lensing_inputs *in);
const double _Complex *sq_lensing_inputs_base(const sq_lensing_inputs *in);
/* rho of the base and S of every mode (0 where the network has no say). */
double sq_lensing_inputs_rho(const sq_lensing_inputs *in, double l);
const double *sq_lensing_inputs_scale(const sq_lensing_inputs *in);
/* kappa [modes] from the network's map [ny * nx]. */
void sq_lensing_inputs_finish(sq_lensing_inputs *in, const float *network, double _Complex *kappa);

#endif
