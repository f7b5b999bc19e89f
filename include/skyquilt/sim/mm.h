/* The mm sky: fields of sky at a few frequencies with the thermal SZ clusters in them, and truth.
 *
 * A survey is a number of square fields, each a periodic flat (ZEA) grid of its own, drawn from
 * (seed, field) alone, so that any rank can make any field. In a field:
 *  - halos above mass_min, Tinker 2008 counts, Poisson sampled from lognormal density fields of
 *    comoving shells (linear power, Limber; Tinker 2010 bias);
 *  - their tSZ, Arnaud 2010 or Battaglia 2012, with lognormal scatter, ellipticity and a second
 *    clump in some; their kSZ, a beta model of gas with random linear velocities;
 *  - CMB with the lensed power of the fiducial spectra, or that of `cmb` alone;
 *  - dust of star-forming galaxies, Poisson and clustered, one spectrum, Gaussian; diffuse kSZ
 *    (levels of George et al. 2015, ApJ 799, 177);
 *  - radio sources above radio_min at 150 GHz, counts as Tucci et al. 2011 (A&A 533, A57) C2Ex,
 * with scatter in spectral index, part of them in clusters; below it Gaussian;
 *  - Gaussian beams, white noise of uneven depth and 1/f noise N_l = n^2 (1 + (l_knee / l)^slope).
 * Maps in uK CMB, y without unit, masses in Msun, x and y 0-based pixels of the field. Local. */
#ifndef SQ_SIM_MM_H
#define SQ_SIM_MM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "base/status.h"
#include "fourier/flat.h"
#include "sim/halo.h"

enum { SQ_MM_BANDS = 8 };

/* The keys of SKY.yaml: see sq_sim_mm_fields. */
typedef struct sq_sim_mm_config {
    int64_t seed, fields, side;                    /* side in pixels */
    double pixel;                                  /* arcmin */
    sq_config_reals ghz, fwhm, noise, knee, slope; /* one value a band; GHz, arcmin, uK-arcmin */
    int gas;                                       /* sq_gas_model */
    double mass_min, z_max;
    double scatter;       /* of ln Y at given mass and redshift */
    double ellipticity;   /* rms of each component of the projected shape */
    double substructure;  /* fraction of clusters with a second clump */
    double velocity;      /* rms along the line of sight today, km/s; 0: no kSZ */
    double depth;         /* rms of ln noise over a field, on scales of degrees */
    double radio_min;     /* mJy at 150 GHz */
    double radio_cluster; /* factor on the radio sources in clusters; 0: none */
    /* Factors on the amplitude of a component's map; 0 leaves it out. */
    double tsz, cmb, dust, radio, noise_factor;
    bool beams;
} sq_sim_mm_config;

extern const sq_config_field sq_sim_mm_fields[];
/* 95, 150, 220 GHz; 1.7, 1.2, 1.0 arcmin; 2.8, 2.6, 6.6 uK-arcmin; 10 deg fields at 0.5 arcmin. */
void sq_sim_mm_defaults(sq_sim_mm_config *config);

typedef struct sq_mm_halo {
    double x, y, z;
    double m500, m200m, mvir;
    double y0, theta500; /* y0 with its scatter; theta500 in arcmin */
    double velocity;     /* km/s, away from us */
} sq_mm_halo;

typedef struct sq_mm_source {
    double x, y, flux, alpha; /* mJy at 150 GHz; S ~ nu^alpha */
    int cluster;              /* in a halo */
} sq_mm_source;

typedef struct sq_mm_field {
    int nband;
    sq_flat flat;
    float *map[SQ_MM_BANDS];  /* [side * side] uK */
    float *ivar[SQ_MM_BANDS]; /* uK^-2 of white noise in a pixel */
    sq_mm_halo *halo;
    int64_t nhalo; /* heaviest first */
    sq_mm_source *source;
    int64_t nsource;
} sq_mm_field;

typedef struct sq_sim_mm sq_sim_mm;

/* SQ_ERR_CONFIG names the key: lists of different length, a side that is not a multiple of 4. The
 * configuration is copied but for its sequences, which are borrowed. */
sq_status sq_sim_mm_create(const sq_sim_mm_config *config, sq_sim_mm **out);
/* Draw a field (0 .. fields - 1). Clear with sq_mm_field_clear. */
sq_status sq_sim_mm_field(sq_sim_mm *sim, int64_t field, sq_mm_field *out);
void sq_mm_field_clear(sq_mm_field *field);
void sq_sim_mm_destroy(sq_sim_mm *sim);
const sq_cosmology *sq_sim_mm_cosmology(const sq_sim_mm *sim);
/* The dimensions of uK per mJy spread over one steradian at a frequency: dT / dI of the CMB. */
double sq_mm_kelvin_per_jansky(double ghz, double tcmb);

#endif
