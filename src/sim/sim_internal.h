/* What the parts of the optical simulator share: conditions of a scene, its sources and its
 * rendering.
 *
 * A scene is one tile or one training sample: a pixel grid with its bands' PSF, sky and noise, and
 * every source that reaches it. PSFs and profiles are sums of elliptical Gaussians (Hogg & Lang
 * 2013, PASP 125, 719), so a source is one too; the PSF includes the pixel's response, as the PSFs
 * that pipelines measure do, and a source is sampled at pixel centres. Fluxes in nJy, lengths in
 * pixels unless said otherwise. Local. */
#ifndef SQ_SIM_INTERNAL_H
#define SQ_SIM_INTERNAL_H

#include <stdint.h>

#include "base/rng.h"
#include "base/status.h"
#include "fits/cutout.h"
#include "sim/optical.h"

enum { SIM_PSF_MAX = 16, SIM_TAPS = 7 };

/* Domains of the random streams. */
enum {
    SIM_RNG_SOURCES = 0x53430001,
    SIM_RNG_CONDITIONS,
    SIM_RNG_DEFECTS,
    SIM_RNG_SAMPLE,
    SIM_RNG_OFFSETS,
    SIM_RNG_CELLS,
    SIM_RNG_NOISE = 0x53430100 /* + band */
};

/* A PSF and how it varies over a field: (u, v) run from -1 to 1 over the field's longer side. */
typedef struct sim_psf {
    int count;
    double flux[SIM_PSF_MAX], variance[SIM_PSF_MAX];
    double size[5]; /* log size: coefficients of u, v, u^2, u v, v^2 */
    double e[2][3]; /* e1 and e2: constant, u, v; (a-b)/(a+b) */
} sim_psf;

/* The PSF at a place: component k has covariance variance[k] * (xx, xy, yy). */
typedef struct sim_shape {
    double xx, xy, yy;
} sim_shape;

typedef struct sim_band {
    sim_psf psf;
    double sky;           /* nJy per pixel at the field's centre */
    double slope[5];      /* sky relative to that: u, v, u^2, u v, v^2 */
    double gain;          /* electrons per nJy */
    double read_variance; /* nJy^2 per pixel */
    double saturation;    /* nJy per pixel, sky included */
    double residual[3];   /* what sky subtraction left: nJy per pixel; constant, u, v */
    double noise_factor;  /* true noise over the one that the variance plane states */
    double tap_x[SIM_TAPS],
        tap_y[SIM_TAPS]; /* noise correlation: separable kernel on white noise */
    double tap_variance, correlation[2];
    int white;  /* no kernel */
    double cut; /* nJy per pixel below which a component is not rendered */
} sim_band;

typedef enum sim_defect_kind { SIM_BAD_COLUMN, SIM_COSMIC, SIM_BLEED, SIM_HALO } sim_defect_kind;

typedef struct sim_defect {
    sim_defect_kind kind;
    int band, masked;
    double x, y, dx, dy, amount; /* start and step (cosmic); x, y range (column, bleed); radius */
} sim_defect;

typedef struct sim_scene {
    const sq_sim_optical_config *config;
    int nband;
    int64_t nx, ny;
    uint64_t seed, id;
    double scale;                        /* arcsec per pixel */
    double years;                        /* lsst: depth */
    double field_x, field_y, field_half; /* of (u, v) */
    double margin;                       /* pixels outside the grid from which sources are taken */
    sim_band band[SQ_MAX_BANDS];
    sq_sim_source *source;
    size_t count, capacity;
    sim_defect *defect;
    size_t defects, defect_capacity;
} sim_scene;

static inline double sim_flux(double mag)
{
    return __builtin_exp((31.4 - mag) * 0.92103403719761836);
}

/* The planes of one band for a box of a scene, row-major. */
typedef struct sim_planes {
    int64_t x0, y0;
    int nx, ny;
    float *image, *variance, *sky, *sigma;
    uint32_t *mask;
} sim_planes;

struct sq_sim_optical {
    sq_sim_optical_config config;
    sim_scene scene; /* of the tile used last */
    int64_t tile;    /* -1: none */
};

/* optical.c: conditions, sources and defects of a tile into sim->scene; a tile's origin on the
 * survey's grid. */
sq_status sim_load_tile(sq_sim_optical *sim, int64_t tile);
sq_status sim_band_wcs(const sq_sim_optical *sim, int64_t tile, double dx, double dy, sq_wcs **out);
void sim_origin(const sq_sim_optical_config *config, int64_t tile, int64_t *x, int64_t *y);

/* cell_files.c: a rendered band of the loaded tile as a cell coadd. */
sq_status sim_write_cell_coadd(const sim_scene *scene, int band, const char *name, const char *path,
                               const sq_wcs *wcs, const float *image, const float *variance,
                               const uint32_t *mask);

/* psf.c */
void sim_psf_moffat(sim_psf *psf, double fwhm, double beta);
void sim_psf_sdss(sim_psf *psf, double sigma1, double sigma2, double b, double p0, double beta,
                  double sigmap);
void sim_psf_at(const sim_psf *psf, double u, double v, sim_shape *shape);
/* The image of a PSF centred on the middle pixel, unit sum; stamp of SQ_PSF_SIDE^2. */
void sim_psf_stamp(const sim_psf *psf, double u, double v, float *stamp);
double
sim_psf_area(const sim_psf *psf); /* 1 / sum of squares, pixels: of the noise of PSF photometry */

/* render.c: add a Gaussian of the given flux and covariance to the box (x0, y0, nx, ny) of a plane.
 */
void sim_add_gaussian(float *plane, int64_t x0, int64_t y0, int nx, int ny, double x, double y,
                      double flux, double cxx, double cxy, double cyy, double cut, double reach);
void sim_add_source(const sim_scene *scene, int band, const sq_sim_source *s, float *plane,
                    int64_t x0, int64_t y0, int nx, int ny);

/* population.c */
void sim_draw_source(const sim_scene *scene, sq_rng *rng, int star, sq_sim_source *out);
double sim_density(const sq_sim_optical_config *config,
                   int star); /* per square arcsec, all magnitudes */

/* conditions.c */
void sim_draw_conditions(sim_scene *scene, sq_rng *rng);

/* scene.c */
sq_status sim_scene_sources(sim_scene *scene, double left,
                            double bottom); /* of a tile at that global pixel */
sq_status sim_scene_sample_sources(sim_scene *scene, sq_rng *rng, double factor);
sq_status sim_scene_render(const sim_scene *scene, int64_t x0, int64_t y0, sq_cutout *cutout);
size_t sim_work_size(int nx, int ny); /* floats that sim_render_band wants */
void sim_render_band(const sim_scene *scene, int band, const sim_planes *planes, float *work);
double sim_sky_at(const sim_scene *scene, int band, double x, double y);
void sim_scene_clear(sim_scene *scene);
void sim_field(const sim_scene *scene, double x, double y, double *u, double *v);

/* noise.c: noise of unit variance per underlying pixel, filtered, for a box. `work` has (nx +
 * SIM_TAPS) * (ny + SIM_TAPS) * 2. */
void sim_noise(const sim_scene *scene, int band, int64_t x0, int64_t y0, int nx, int ny,
               float *work, float *out);

/* defects.c */
sq_status sim_draw_defects(sim_scene *scene, sq_rng *rng);
void sim_apply_defects(const sim_scene *scene, int band, const sim_planes *planes);

#endif
