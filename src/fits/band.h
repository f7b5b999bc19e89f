/* One band of an open tile, whatever its format: pixels of a box, and the PSF at a pixel. Local. */
#ifndef SQ_FITS_BAND_H
#define SQ_FITS_BAND_H

#include <stdint.h>

#include "base/hash.h"
#include "fits/input.h"
#include "fits/tile.h"

/* Planes of a box on the band's own grid, row-major. */
typedef struct sq_planes {
    float *image;        /* nJy; NaN where unusable */
    float *variance;     /* nJy^2; NaN where unusable */
    uint32_t *mask;      /* unified bits; unusable pixels have a bit of SQ_MASK_UNUSABLE */
    float *sky;          /* nJy a pixel */
    float *sky_variance; /* of the empty sky, nJy^2; NaN where unusable */
} sq_planes;

typedef struct sq_band sq_band;
struct sq_band {
    const sq_tile_band *info; /* borrowed from the exposure's copy of the tile */
    int64_t nx, ny;
    double gain;     /* electrons per nJy, 0: unknown */
    double aperture; /* see sq_cutout, 1 where it is not measured */
    sq_hash hash;    /* of the tables and vectors that every read uses */
    size_t held;     /* bytes of unpacked files that the band keeps */
    /* The box lies inside the image. What was read from the file is added to the hasher. */
    sq_status (*read)(sq_band *band, int64_t x0, int64_t y0, int nx, int ny, const sq_planes *out,
                      sq_hasher *hasher);
    /* SQ_PSF_SIDE^2 pixels of unit sum at a pixel of the band's grid. */
    sq_status (*psf)(const sq_band *band, double x, double y, float *out);
    void (*close)(sq_band *band);
};

/* Zero point 31.4 (AB magnitude of 1 nJy) against 22.5 (of 1 nanomaggy). */
#define SQ_NJY_PER_NANOMAGGY 3630.780547701014 /* 10^((31.4 - 22.5) / 2.5) */
#define SQ_NJY_PER_MAGGY 3630780547701.014

/* Open one band; `shared` is what the bands of a tile have in common (see sq_field). */
typedef struct sq_sdss_field sq_sdss_field;
sq_status sq_sdss_band_open(const sq_tile *tile, const sq_tile_band *info,
                            const sq_sdss_field *field, sq_band **out);
typedef struct sq_psf_grid sq_psf_grid;
sq_status sq_afw_band_open(const sq_tile_band *info, const sq_psf_grid *psf, sq_band **out);

/* The band's aperture correction from its bright isolated stars (the median of eight at least, else
 * 1). */
sq_status sq_aperture_correction(sq_band *band, double *out);

/* ---- SDSS: what psField, photoField or tsField say about a field ---- */
sq_status sq_sdss_field_open(const sq_tile *tile, sq_sdss_field **out);
void sq_sdss_field_close(sq_sdss_field *field);
typedef struct sq_sdss_noise {
    double gain;          /* electrons per DN */
    double dark_variance; /* DN^2: dark current and read noise */
    double nmgy;          /* tsField: nanomaggies per DN, 0 with a frame */
} sq_sdss_noise;
/* `band`: 0..4 for u g r i z. */
void sq_sdss_field_noise(const sq_sdss_field *field, int band, sq_sdss_noise *out);
sq_status sq_sdss_field_psf(const sq_sdss_field *field, int band, double x, double y, float *out);
sq_hash sq_sdss_field_hash(const sq_sdss_field *field, int band);
/* -1 for another name. */
int sq_sdss_band_number(const char *name);
/* Run, camcol and field number of a tile's name. */
int sq_sdss_parse_name(const char *name, int *run, int *camcol, int *field);

/* The fpM mask over nx x ny pixels as unified bits (one byte a pixel); sq_free. */
sq_status sq_fpm_read(const char *path, const char *tile, int64_t nx, int64_t ny, uint8_t **out);

/* ---- the PSF side file ---- */
sq_status sq_psf_grid_open(const char *path, sq_psf_grid **out);
void sq_psf_grid_close(sq_psf_grid *grid);
/* Number of a band in the grid, -1 when it has none. */
int sq_psf_grid_band(const sq_psf_grid *grid, const char *name);
sq_status sq_psf_grid_at(const sq_psf_grid *grid, int band, double x, double y, float *out);
sq_hash sq_psf_grid_hash(const sq_psf_grid *grid);
/* The sky level of n pixels of row y from column x0 on, 0 when the file has none. */
void sq_psf_grid_sky_row(const sq_psf_grid *grid, int band, int64_t y, int64_t x0, int n,
                         float *out);
void sq_psf_grid_size(const sq_psf_grid *grid, int64_t *nx, int64_t *ny);

/* Copy a stamp of `side`^2 into one of SQ_PSF_SIDE^2 about the same centre and scale it to unit
 * sum. Returns 0 when the sum is not positive. */
int sq_psf_fit(const float *stamp, int side, float *out);

/* ---- a smooth surface given on a coarse grid ---- */
typedef struct sq_surface {
    int nx, ny; /* of the coarse grid */
    float *value;
    int64_t width, height;
    float *at_x, *at_y; /* coarse position of each column and row of the image */
} sq_surface;
sq_status sq_surface_create(int nx, int ny, int64_t width, int64_t height, sq_surface *out);
void sq_surface_clear(sq_surface *surface);
/* n pixels of row y from column x0 on: bilinear, clamped at the borders. */
void sq_surface_row(const sq_surface *surface, int64_t y, int64_t x0, int n, float *out);
/* The background of an image in cells of `cell` pixels: clipped modes, 3 x 3 median filtered.
 * `read` gives rows. */
typedef sq_status (*sq_rows_reader)(void *user, int64_t y0, int rows, float *out);
sq_status sq_background(int64_t width, int64_t height, int cell, sq_rows_reader read, void *user,
                        sq_surface *out);

/* The unit of an image as nJy per count, from BUNIT and FLUXMAG0. */
sq_status sq_afw_unit(const char *header, const char *where, double *out);
/* The HDU (0-based) of an Exposure's plane: "IMAGE", "MASK", "VARIANCE". */
sq_status sq_afw_find(sq_input *input, const char *plane, int *hdu);
/* The unified bits of a mask plane by its name, 0 where it says nothing about a pixel's use. */
uint32_t sq_afw_plane(const char *name);
/* Scale image and variance to nJy; pixels that have no use get NaN and a bit that says so. */
void sq_afw_finish(const sq_planes *planes, size_t n, float unit);
/* The variance of the empty sky in a box of a plane: the lower tercile, which holds as long as a
 * third of the pixels see little source light. NaN without usable pixels; `work` has the box. */
float sq_empty_variance(const float *variance, int64_t nx, int x0, int x1, int y0, int y1,
                        float *work);

/* ---- LSST cell coadds ---- */
/* Whether a primary header says that the file is one. */
int sq_cell_coadd_is(const char *header);
/* Band and TRACT-PATCH of a file of any name; 0 when it is no cell coadd. Of one whose tree cannot
 * be read the band is "?" and the name is the file's. */
int sq_cell_coadd_name(const char *path, char band[8], char name[SQ_NAME_MAX]);
/* Tree and index against the band's name and image size: for the index, which reads no pixels. */
sq_status sq_cell_coadd_check(const sq_tile_band *band);
sq_status sq_cell_band_open(const sq_tile_band *info, sq_band **out);

#endif
