/* The mm sky: fields of sky at a few frequencies with the thermal SZ clusters in them, or of the
 * polarised CMB for lensing, and truth.
 *
 * A survey is a number of square fields, each a periodic flat (ZEA) grid of its own, drawn from
 * (seed, field) alone, so that any rank can make any field. In a field:
 *  - halos above mass_min, Tinker 2008 counts, Poisson sampled from lognormal density fields of
 *    comoving shells (linear power, Limber; Tinker 2010 bias);
 *  - their tSZ, Arnaud 2010 or Battaglia 2012, with lognormal scatter, ellipticity and a second
 *    clump in some; their kSZ, a beta model of gas with random linear velocities;
 *  - CMB of the fiducial spectra or of a file's: a Gaussian realisation of unlensed power deflected
 *    by one of the potential (sim/cmb.h), or a Gaussian field of lensed power; with `polarisation`
 *    Q and U of it and of radio sources, and the true kappa;
 *  - dust of star-forming galaxies, Poisson and clustered, one spectrum, Gaussian; diffuse kSZ
 *    (levels of George et al. 2015, ApJ 799, 177);
 *  - radio sources above radio_min at 150 GHz, counts as Tucci et al. 2011 (A&A 533, A57) C2Ex,
 * with scatter in spectral index, part of them in clusters; below it Gaussian;
 *  - beams, Gaussian or read from files, the window of square pixels or none, white noise of uneven
 *    depth and 1/f noise N_l = n^2 (1 + (l_knee / l)^slope), in Q and U sqrt 2 times that of I, in
 *    each of n splits sqrt n times.
 * Maps in uK CMB, y without unit, masses in Msun, x and y 0-based pixels of the field. Files:
 * fields stand apart on the sky, in one of four projections. Local. */
#ifndef SQ_SIM_MM_H
#define SQ_SIM_MM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "base/status.h"
#include "fourier/flat.h"
#include "sim/halo.h"
#include "sky/wcs.h"

enum { SQ_MM_BANDS = 8 };

typedef enum sq_mm_projection { SQ_MM_ZEA, SQ_MM_TAN, SQ_MM_CAR, SQ_MM_CEA } sq_mm_projection;
/* Where the weights of a map are: a plane of its file, a file of their own, hits in a file. */
typedef enum sq_mm_weights { SQ_MM_PLANE, SQ_MM_FILE, SQ_MM_HITS, SQ_MM_NO_WEIGHTS } sq_mm_weights;
typedef enum sq_mm_cmb { SQ_MM_DEFLECTED, SQ_MM_GAUSSIAN } sq_mm_cmb;
typedef enum sq_mm_preset { SQ_MM_CLUSTERS, SQ_MM_LENSING } sq_mm_preset; /* mm, cmb */

/* The keys of SKY.yaml: see sq_sim_mm_fields. */
typedef struct sq_sim_mm_config {
    int preset;                                    /* sq_mm_preset */
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
    bool window;                /* of square pixels */
    sq_config_texts beam_files; /* of each band: b_l; none, or "": Gaussian */
    int lensing;                /* sq_mm_cmb */
    char *spectra;              /* CAMB's lenspotentialCls of the CMB; "": the fiducial set */
    double amplitude;           /* of the lensing power, over that of the spectra */
    bool polarisation;          /* of files: planes Q and U, and kappa */
    sq_config_reals polarisation_knee; /* as knee, for Q and U */
    double source_polarisation;        /* rms fraction */
    /* Of files. */
    double ra, dec, gap; /* of the centre of field 0; between the fields' circles; deg */
    int projection;      /* sq_mm_projection */
    int weights;         /* sq_mm_weights */
    int beam_format;     /* 0: b_l, 1: radial profile */
    int unit;            /* 0: uK, 1: K */
    double catalogue;    /* mJy at 150 GHz: sources above it in sources.fits; 0: none */
    int64_t splits;      /* maps of the same sky with noise of their own */
    double holes;        /* masked discs per square degree, besides those of the catalogue */
    double hole_radius;  /* arcmin; 0: no masks */
} sq_sim_mm_config;

extern const sq_config_field sq_sim_mm_fields[];
/* The preset mm: 95, 150, 220 GHz; 1.7, 1.2, 1.0 arcmin; 2.8, 2.6, 6.6 uK-arcmin; 10 deg fields at
 * 0.5 arcmin. */
void sq_sim_mm_defaults(sq_sim_mm_config *config);
/* The preset cmb: 150 GHz, 1.4 arcmin, 6 uK-arcmin, 20 deg fields at 1 arcmin, polarised CMB alone:
 * no halos or sources unless tsz, velocity or radio is given. */
void sq_sim_mm_lensing_defaults(sq_sim_mm_config *config);

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
    float *map[SQ_MM_BANDS];  /* [side * side] uK, I */
    float *ivar[SQ_MM_BANDS]; /* uK^-2 of white noise in a pixel */
    sq_mm_halo *halo;
    int64_t nhalo; /* heaviest first */
    sq_mm_source *source;
    int64_t nsource;
} sq_mm_field;

typedef struct sq_sim_mm sq_sim_mm;

/* SQ_ERR_CONFIG names the key: lists of different length, a side that is not a multiple of 4, beams
 * that cannot be read, more fields than the sky holds. The configuration is copied but for its
 * sequences, which are borrowed. */
sq_status sq_sim_mm_create(const sq_sim_mm_config *config, sq_sim_mm **out);
/* Draw a field (0 .. fields - 1). Clear with sq_mm_field_clear. */
sq_status sq_sim_mm_field(sq_sim_mm *sim, int64_t field, sq_mm_field *out);
void sq_mm_field_clear(sq_mm_field *field);
void sq_sim_mm_destroy(sq_sim_mm *sim);
const sq_cosmology *sq_sim_mm_cosmology(const sq_sim_mm *sim);

/* Files. Each is complete under its final name: in `folder`
 *   field-NNN-BAND.fits   planes I, or I, Q, U (uK or K; IAU, about north), and ivar of I, or
 *                         field-NNN-BAND-ivar.fits, -hits.fits; with splits
 *                         field-NNN-BAND-splitK.fits, K = 0 .. splits - 1
 *   field-NNN-kappa.fits  with polarisation: the true convergence
 *   field-NNN-mask.fits   with a hole_radius: 0 in holes and at sources of the catalogue, else 1
 *   field-NNN-truth.h5    halos/ and sources/: one-dimensional columns
 *   beam-BAND.txt         "l b_l", or "arcmin value" of the radial profile
 *   sources.fits          ra, dec, flux of the bright sources of all fields
 *   truth.h5              all fields' truth, with a column `field`
 * with BAND the frequency in GHz. A map in a projection that is not ZEA covers the field; pixels
 * outside are NaN with weight 0. */
/* Centre of a field, deg. */
void sq_sim_mm_centre(const sq_sim_mm *sim, int64_t field, double *ra, double *dec);
/* The grid of a field's maps. */
sq_status sq_sim_mm_grid(const sq_sim_mm *sim, int64_t field, sq_wcs **wcs, int64_t *nx,
                         int64_t *ny);
/* What is there and complete is kept. truth_only: no maps. */
sq_status sq_sim_mm_write_field(sq_sim_mm *sim, int64_t field, bool truth_only, const char *folder);
/* beam-BAND.txt, truth.h5, sources.fits: when all fields are there. */
sq_status sq_sim_mm_write_survey(sq_sim_mm *sim, const char *folder);

/* b_l of a band at l = 0..lmax, without pixel window; 1 without beams. */
void sq_sim_mm_beam(const sq_sim_mm *sim, int band, int lmax, double *out);
/* The dimensions of uK per mJy spread over one steradian at a frequency: dT / dI of the CMB. */
double sq_mm_kelvin_per_jansky(double ghz, double tcmb);

#endif
