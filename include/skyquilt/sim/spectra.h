/* The fiducial CMB spectra that ship with the program: CAMB, Planck 2018, flat, sum m_nu 0.06 eV
 * (made by tools/train/make_spectra.py), to l = 12000. Local. */
#ifndef SQ_SIM_SPECTRA_H
#define SQ_SIM_SPECTRA_H

#include "base/status.h"

typedef enum sq_fiducial {
    SQ_LENSED_TT,
    SQ_LENSED_EE,
    SQ_LENSED_BB,
    SQ_LENSED_TE,
    SQ_UNLENSED_TT,
    SQ_UNLENSED_EE,
    SQ_UNLENSED_TE,
    SQ_GRADIENT_TT, /* gradient-lensed, for responses (Lewis, Challinor & Hanson 2011) */
    SQ_GRADIENT_EE,
    SQ_GRADIENT_TE,
    SQ_POTENTIAL, /* of the lensing potential phi, without unit */
    SQ_FIDUCIAL_COUNT
} sq_fiducial;

/* cl[0..lmax]: C_l in uK^2 steradian (SQ_POTENTIAL: steradian); 0 at l < 2. Above 12000 the last
 * slope of ln D_l goes on. SQ_ERR_NOMEM. */
sq_status sq_fiducial_spectrum(sq_fiducial kind, int lmax, double *cl);

#endif
