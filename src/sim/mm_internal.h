/* The parts of the mm simulator. Local. */
#ifndef SQ_SIM_MM_INTERNAL_H
#define SQ_SIM_MM_INTERNAL_H

#include <complex.h>

#include "base/rng.h"
#include "sim/cmb.h"
#include "sim/mm.h"

/* Domains of random streams. */
enum {
    MM_DENSITY = 0x6d6d01,
    MM_HALO,
    MM_GAS,
    MM_RADIO,
    MM_DIFFUSE,
    MM_NOISE,
    MM_DEPTH,
    MM_EXCESS,
    MM_CMB,
    MM_POLARISATION,
    MM_HOLES
};
enum { MM_I, MM_Q, MM_U, MM_STOKES };

struct sq_sim_mm {
    sq_sim_mm_config config;
    int nband;
    sq_flat flat;
    sq_cosmology *cosmology;
    sq_fft *fft;   /* of a field */
    sq_fft *small; /* of its density grid */
    sq_flat coarse;
    sq_flat work; /* of the CMB's deflection */
    sq_cmb *cmb;  /* NULL: Gaussian, or no CMB */
    sq_gas shape; /* Arnaud's, in arbitrary units */
    int lmax;     /* of the field's modes */
    /* The beams are wide enough that points can be painted without aliases; otherwise what is
     * painted keeps its averages over pixels, and there is no other pixel window. */
    bool resolved;
    double *beam[SQ_MM_BANDS]; /* b_l at 0..lmax; NULL: none */
    double *centre;            /* [fields][2] ra, dec */
    int64_t placed;            /* fields that have one */
};

static inline uint64_t mm_stream(int64_t field, int64_t part)
{
    return (uint64_t)field << 32 | (uint64_t)part;
}

/* Halos of a field, heaviest first; positions, masses, redshifts. */
sq_status sq_mm_draw_halos(sq_sim_mm *sim, int64_t field, sq_mm_halo **halo, int64_t *count);
/* Add y (and, in units of uK, kSZ) of all halos, averaged over the pixel, to maps of the field
 * (both may be NULL); fills y0 and theta500. */
sq_status sq_mm_paint_halos(sq_sim_mm *sim, int64_t field, sq_mm_halo *halo, int64_t count,
                            double *y, double *ksz);
sq_status sq_mm_draw_sources(sq_sim_mm *sim, int64_t field, const sq_mm_halo *halo, int64_t nhalo,
                             sq_mm_source **source, int64_t *count);
/* Their sum in uK at a band, deposited by splines (fourier/interpolate.h); Q and U about the x
 * axis. */
void sq_mm_paint_sources(const sq_sim_mm *sim, int64_t field, const sq_mm_source *source,
                         int64_t count, int band, int stokes, double *map);

/* The sky of a field: modes of its parts, at 150 GHz those that have a spectrum. The Gaussian parts
 * are CMB with diffuse kSZ, clustered and Poisson dust, faint radio sources; NULL: left out. */
enum {
    MM_PART_CMB,
    MM_PART_CLUSTERED,
    MM_PART_POISSON,
    MM_PART_RADIO,
    MM_PART_TSZ,
    MM_PART_KSZ,
    MM_PARTS
};
typedef struct mm_sky {
    double _Complex *mode[MM_PARTS], *sum;
    double _Complex *q, *u, *kappa; /* of the CMB, about the x axis; NULL without polarisation */
    double *work;                   /* a map */
} mm_sky;

/* Halos and sources; y and ksz as in sq_mm_paint_halos. */
sq_status sq_mm_truth(sq_sim_mm *sim, int64_t field, double *y, double *ksz, sq_mm_field *out);
/* sq_mm_truth and the modes of all parts. To be cleared also after an error. */
sq_status sq_mm_sky(sq_sim_mm *sim, int64_t field, mm_sky *sky, sq_mm_field *out);
/* The modes of a band in sky->sum. */
void sq_mm_band(sq_sim_mm *sim, int64_t field, int band, int stokes, const sq_mm_field *truth,
                mm_sky *sky);
void sq_mm_sky_clear(mm_sky *sky);
sq_status sq_mm_diffuse(sq_sim_mm *sim, int64_t field, mm_sky *sky);
/* A part's ratio in uK to 150 GHz; tSZ has its own. */
double sq_mm_part_scale(int part, double ghz);

/* The noise of a band: depth (excess + level / (side of a pixel in arcmin) times a normal of the
 * stream). */
typedef struct mm_noise {
    double *depth, *excess; /* maps of the field; excess NULL: none */
    double level;           /* uK-arcmin */
    sq_rng rng;
} mm_noise;
sq_status sq_mm_noise(sq_sim_mm *sim, int64_t field, int band, int stokes, int64_t split,
                      mm_noise *out);
void sq_mm_noise_clear(mm_noise *noise);

sq_status sq_mm_load_beams(sq_sim_mm *sim);
sq_status sq_mm_write_beam(const sq_sim_mm *sim, int band, const char *path);
sq_status sq_mm_place(sq_sim_mm *sim);
/* The field's own grid, ZEA about its centre, and the pixel of a point on it. */
sq_status sq_mm_own_grid(const sq_sim_mm *sim, int64_t field, sq_wcs **out);
void sq_mm_to_flat(const sq_sim_mm *sim, int64_t field, double ra, double dec, double *x,
                   double *y);
/* Position angle (from north through east) at a point of what is parallel, along the great circle,
 * to north at the field's centre. */
double sq_mm_meridian_angle(const sq_sim_mm *sim, int64_t field, double ra, double dec);

/* The files of a field's maps, and a name of one of its files. */
enum { MM_PATH = 4096 };
void sq_mm_path(const char *folder, int64_t field, const char *rest, char out[MM_PATH]);
int sq_mm_maps_are_there(const sq_sim_mm *sim, const char *folder, int64_t field);
sq_status sq_mm_write_maps(sq_sim_mm *sim, int64_t field, const sq_mm_field *truth, mm_sky *sky,
                           const char *folder);

#endif
