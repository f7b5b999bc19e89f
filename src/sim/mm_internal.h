/* The parts of the mm simulator. Local. */
#ifndef SQ_SIM_MM_INTERNAL_H
#define SQ_SIM_MM_INTERNAL_H

#include <complex.h>

#include "base/rng.h"
#include "sim/mm.h"

/* Domains of random streams. */
enum { MM_DENSITY = 0x6d6d01, MM_HALO, MM_GAS, MM_RADIO, MM_DIFFUSE, MM_NOISE, MM_DEPTH };

struct sq_sim_mm {
    sq_sim_mm_config config;
    int nband;
    sq_flat flat;
    sq_cosmology *cosmology;
    sq_fft *fft;   /* of a field */
    sq_fft *small; /* of its density grid */
    sq_flat coarse;
    sq_gas shape; /* Arnaud's, in arbitrary units */
};

static inline uint64_t mm_stream(int64_t field, int64_t part)
{
    return (uint64_t)field << 32 | (uint64_t)part;
}

/* Halos of a field, heaviest first; positions, masses, redshifts. */
sq_status sq_mm_draw_halos(sq_sim_mm *sim, int64_t field, sq_mm_halo **halo, int64_t *count);
/* Add y (and, in units of uK, kSZ) of all halos to maps of the field; fills y0 and theta500. */
sq_status sq_mm_paint_halos(sq_sim_mm *sim, int64_t field, sq_mm_halo *halo, int64_t count,
                            double *y, double *ksz);
/* Radio sources, and their sum in Jy per pixel at 150 GHz times nu^alpha in each band. */
sq_status sq_mm_draw_sources(sq_sim_mm *sim, int64_t field, const sq_mm_halo *halo, int64_t nhalo,
                             sq_mm_source **source, int64_t *count);
void sq_mm_paint_sources(const sq_sim_mm *sim, const sq_mm_source *source, int64_t count, int band,
                         double *map);
/* Modes of the Gaussian parts at 150 GHz: CMB with diffuse kSZ, clustered and Poisson dust, faint
 * radio sources; and their ratio in uK at another frequency. */
enum { MM_PART_CMB, MM_PART_CLUSTERED, MM_PART_POISSON, MM_PART_RADIO, MM_PARTS };
sq_status sq_mm_diffuse(sq_sim_mm *sim, int64_t field, double _Complex *modes[MM_PARTS]);
double sq_mm_part_scale(int part, double ghz);
/* Add the noise of a band to a map; its inverse variance. */
sq_status sq_mm_noise(sq_sim_mm *sim, int64_t field, int band, double *work, float *map,
                      float *ivar);

#endif
