/* Dark-matter halos and the hot gas in them: counts, bias, mass definitions, pressure profiles.
 *
 * Masses in Msun without h. A mass definition is a mean density within the radius: a multiple of
 * the critical density (SQ_CRITICAL), of the mean matter density (SQ_MEAN), or virial (Bryan &
 * Norman 1998, ApJ 495, 80). Conversions assume NFW profiles with the concentration of Duffy et
 * al. 2008 (MNRAS 390, L64), full sample. Local, reentrant. */
#ifndef SQ_SIM_HALO_H
#define SQ_SIM_HALO_H

#include "base/status.h"
#include "sim/cosmology.h"

typedef enum sq_overdensity_of { SQ_CRITICAL, SQ_MEAN, SQ_VIRIAL } sq_overdensity_of;
typedef struct sq_overdensity {
    sq_overdensity_of of;
    double factor; /* unused for SQ_VIRIAL */
} sq_overdensity;

/* The density in Msun per proper Mpc^3. */
double sq_halo_density(const sq_cosmology *cosmology, double z, sq_overdensity definition);
/* Proper Mpc. */
double sq_halo_radius(const sq_cosmology *cosmology, double z, double mass,
                      sq_overdensity definition);
/* c200c of a halo of mass M200c. */
double sq_halo_concentration(const sq_cosmology *cosmology, double z, double m200c);
double sq_halo_convert(const sq_cosmology *cosmology, double z, double mass, sq_overdensity from,
                       sq_overdensity to);

/* dn / d ln M in comoving Mpc^-3, Tinker et al. 2008 (ApJ 688, 709), equations 2 to 8, parameters
 * linear in log10 of the overdensity against the mean, 200..3200. */
double sq_halo_mass_function(const sq_cosmology *cosmology, double z, double mass,
                             sq_overdensity definition);
/* Large-scale bias, Tinker et al. 2010 (ApJ 724, 878), equation 6 and table 2. */
double sq_halo_bias(const sq_cosmology *cosmology, double z, double mass,
                    sq_overdensity definition);

/* Thermal electron pressure. */
typedef enum sq_gas_model {
    SQ_GAS_ARNAUD,   /* Arnaud et al. 2010 (A&A 517, A92), equations 11 to 13 */
    SQ_GAS_BATTAGLIA /* Battaglia et al. 2012 (ApJ 758, 75), AGN feedback, delta = 200 */
} sq_gas_model;

enum { SQ_GAS_POINTS = 256 };

/* The projected Compton profile of one halo: y(theta) = y0 shape(theta / theta_s), truncated at a
 * sphere of 5 R500 (Arnaud) or 4 R200 (Battaglia). shape is 1 in the centre. */
typedef struct sq_gas {
    double y0;      /* central Compton y */
    double theta_s; /* rad: theta500 (Arnaud), theta200 (Battaglia) */
    double theta500, m500;
    double edge;                 /* of the profile, in theta_s */
    double shape[SQ_GAS_POINTS]; /* at theta / theta_s = edge (i / (SQ_GAS_POINTS - 1))^2 */
    double centre;               /* of the dimensionless profile: its line integral */
    double flux;                 /* integral of y over the sky, steradian */
} sq_gas;

/* Of a halo of mass M500c / M200c. SQ_ERR_DATA for z <= 0 or a mass that is not positive. */
sq_status sq_gas_arnaud(const sq_cosmology *cosmology, double z, double m500c, sq_gas *out);
sq_status sq_gas_battaglia(const sq_cosmology *cosmology, double z, double m200c, sq_gas *out);
/* The same profile for another halo, cheap: Arnaud's shape is universal; Battaglia's is kept from
 * `like`, which should be of nearly the same mass and redshift. */
sq_status sq_gas_rescale(const sq_cosmology *cosmology, sq_gas_model model, double z, double mass,
                         const sq_gas *like, sq_gas *out);
double sq_gas_at(const sq_gas *gas, double theta); /* y at an angle in rad */
/* Integral over the sky of shape(theta / theta_s) exp(-i l . theta) in units of theta_s^2, as a
 * function of l theta_s: the Fourier transform of the profile of unit height. */
double sq_gas_transform(sq_gas_model model, double l_theta_s);

/* Spectral dependence of the thermal SZ effect: dT / T = y f(x), f = x coth(x / 2) - 4, with
 * x = h nu / k T, for a frequency in GHz (non-relativistic). */
double sq_sz_spectrum(double ghz, double tcmb);

#endif
