/* The optical simulator: stars and bulge+disk galaxies under a varying PSF and sky, with truth.
 *
 * The sources of a survey are drawn from cells of the sky keyed by (seed, cell) and the noise from
 * pixel blocks keyed by (seed, tile, band, block), so any part of a survey can be rendered alone
 * and by any rank: a box of a tile equals the same part of the whole tile bit for bit. The PSF
 * includes the pixel's response; a source's flux is the one that scales the PSF of unit sum over
 * SQ_PSF_SIDE pixels. Fluxes in nJy, positions in 0-based pixels of the tile. A configured
 * simulator is used by one thread at a time. Local. */
#ifndef SQ_SIM_OPTICAL_H
#define SQ_SIM_OPTICAL_H

#include <stdint.h>

#include "base/config.h"
#include "base/rng.h"
#include "base/status.h"
#include "fits/cutout.h"
#include "sky/wcs.h"

typedef struct sq_sim_source {
    double x, y;               /* pixels of the tile's reference grid */
    double flux[SQ_MAX_BANDS]; /* nJy */
    int star;                  /* 1 star, 0 galaxy */
    double bulge_fraction;     /* of the flux, all bands alike; galaxies only, as all below */
    double disk_radius, bulge_radius; /* half-light radii, semi-major axis, arcsec */
    double disk_e1, disk_e2, bulge_e1,
        bulge_e2; /* (a-b)/(a+b) cos 2phi, sin 2phi; phi from +x to +y */
    /* Of the total profile: half-light radius (arcsec, circularised) and the flux-weighted
     * ellipticity. */
    double radius, e1, e2;
    double r; /* magnitude in the band r (or the first) */
} sq_sim_source;

typedef enum sq_sim_preset { SQ_SIM_SDSS, SQ_SIM_LSST } sq_sim_preset;
typedef enum sq_sim_format { SQ_SIM_EXPOSURE, SQ_SIM_CELL_COADD } sq_sim_format;

/* The keys of SKY.yaml: see sq_sim_optical_fields and `skyquilt simulate --help`. Texts and
 * sequences are borrowed. */
typedef struct sq_sim_optical_config {
    int preset;
    int64_t seed;
    int64_t tile_nx, tile_ny, tiles_x, tiles_y, overlap;
    double ra, dec;     /* of the survey's centre, degrees */
    double scale;       /* arcsec per pixel */
    double years;       /* lsst: of a ten-year survey */
    double years_low;   /* training: the least, log-uniform up to `years`; 0: always `years` */
    double faint_limit; /* r magnitude to which sources are drawn */
    double bright_limit;
    double galaxy_density; /* per square degree at r < 22 */
    double star_density;
    double galaxy_slope, galaxy_faint_slope, star_slope, star_faint_slope; /* d log10 N / dm */
    double break_magnitude;
    double density_low, density_high; /* training: factor on the densities, log-uniform */
    double seeing;                    /* factor on the PSF width */
    double spread;                    /* factor on the scatter of the conditions */
    double psf_ellipticity;           /* rms of each component */
    double psf_gradient; /* rms of log size from centre to edge; half of it for ellipticity */
    double sky_gradient; /* rms relative change from centre to edge */
    double sky_factor;
    double sky_residual;         /* rms of what sky subtraction leaves, in units of the sky rms */
    double noise_mismatch;       /* rms of log(true noise / stated noise) */
    double correlation;          /* of neighbouring pixels' noise */
    int resampled;               /* bands other than the reference carry resampling noise */
    double band_offset;          /* tiles: largest shift of a band's grid against r, pixels */
    double bad_columns, cosmics; /* per 1000 x 1000 pixels and band */
    double cosmics_unmasked;     /* fraction left without mask bit */
    int saturation, bleed;
    int format;          /* tiles: see sq_sim_format */
    int64_t cell;        /* cell coadds: pixels of a cell's side */
    double cell_missing; /* cell coadds: fraction of the cells without input */
} sq_sim_optical_config;

extern const sq_config_field sq_sim_optical_fields[];
void sq_sim_optical_defaults(sq_sim_preset preset, sq_sim_optical_config *config);
/* Names and number of the preset's bands; the reference band's number. */
int sq_sim_optical_bands(int preset, const char *const **names, int *reference);

typedef struct sq_sim_optical sq_sim_optical; /* a configured simulator */

sq_status sq_sim_optical_create(const sq_sim_optical_config *config, sq_sim_optical **out);
void sq_sim_optical_destroy(sq_sim_optical *sim);

int64_t sq_sim_optical_tiles(const sq_sim_optical *sim);
void sq_sim_optical_tile_name(const sq_sim_optical *sim, int64_t tile, char name[64]);
/* The TAN system of a tile; all tiles are cuts of one grid. */
sq_status sq_sim_optical_wcs(const sq_sim_optical *sim, int64_t tile, sq_wcs **out);
/* Fill a cutout of tile `tile` with origin (x0, y0); its nband must be the preset's. Pixels outside
 * are masked. */
sq_status sq_sim_optical_render(sq_sim_optical *sim, int64_t tile, int64_t x0, int64_t y0,
                                sq_cutout *cutout);
/* The sources within `margin` pixels of a box of a tile, in drawing order. Free with sq_free. */
sq_status sq_sim_optical_sources(sq_sim_optical *sim, int64_t tile, double x0, double y0, double x1,
                                 double y1, double margin, sq_sim_source **out, int64_t *count);

/* A training sample: a square patch under conditions and density of its own, from the stream (seed,
 * index). The sources, brightest first, include those up to `margin` pixels outside. Free the list
 * with sq_free. */
sq_status sq_sim_optical_sample(sq_sim_optical *sim, uint64_t seed, uint64_t index, double margin,
                                sq_cutout *cutout, sq_sim_source **out, int64_t *count);

/* Write a tile into `folder`, NAME-BAND.fits: as LSST afw Exposures with NAME-psf.fits, or as cell
 * coadds, whose PSF is that of each cell's centre. Holds one band at a time. */
sq_status sq_sim_optical_write_tile(sq_sim_optical *sim, int64_t tile, const char *folder);

/* Write the truth of all tiles as 1-D columns of an HDF5 file: tile, x, y, ra, dec, flux_BAND,
 * star, bulge_fraction, radius, e1, e2, the components' shapes. A source that several tiles hold is
 * listed once, for the one it is deepest in. */
sq_status sq_sim_optical_write_truth(sq_sim_optical *sim, const char *path);

#endif
