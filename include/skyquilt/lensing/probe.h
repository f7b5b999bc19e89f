/* The lensing probe: kappa maps of CMB T, Q, U maps by every method, with their noise.
 *
 * A patch is a ring cell of the sphere with its halo on a flat equal-area grid. Phase
 * "simulations": a task is (patch, realisation): skies of that patch, with its mask and noise,
 * through every method, for mean field, transfer, noise and errors. Phase "reconstruction": the
 * data of a patch through the same methods. Phase "survey": bandpowers and amplitude of all patches
 * together, and kappa maps stitched with weights from the local noise. Local. */
#ifndef SQ_LENSING_PROBE_H
#define SQ_LENSING_PROBE_H

#include "probe/probe.h"

extern const sq_probe_class sq_lensing_probe;

#endif
