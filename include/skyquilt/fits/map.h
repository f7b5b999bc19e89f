/* Maps of the millimetre sky: flat FITS images (CAR, CEA, ZEA, TAN, SFL) and HEALPix tables.
 *
 * A map is opened by its headers; values are read where they are asked for, in memory of a fixed
 * size whatever the map's. Points are ICRS degrees: they are rotated into the frame of a galactic
 * or ecliptic HEALPix map. Temperatures come out in uK, their inverse variances in uK^-2, whatever
 * the file's unit; hits and dimensionless maps as they are. U has the IAU sign (position angles
 * from north through east), COSMO files are turned. Pixels that are NaN, Inf, BLANK or UNSEEN, and
 * points off the map, are not valid (value 0). A map is used by one thread at a time. Local. */
#ifndef SQ_FITS_MAP_H
#define SQ_FITS_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "fits/tile.h"
#include "sky/wcs.h"

enum { SQ_MAP_PLANES = 16 };

/* What the header does not say; each may be NULL. They stand in for cards that are missing, and are
 * an error where they contradict one. */
typedef struct sq_map_options {
    const char *unit;         /* "uK", "K", "mK", "uK^-2", ..., "1" for a dimensionless map */
    const char *frame;        /* of a HEALPix map: "C", "G" or "E" */
    const char *polarisation; /* "IAU" or "COSMO" */
} sq_map_options;

typedef struct sq_map_plane {
    char name[24]; /* "I", "Q", "U", "ivar", "hits", "variance", or the file's own in lower case */
    char unit[16]; /* of the values given out: "uK", "uK^-2", "uK^2", "1" */
    double scale;  /* from the file's values; negative for a U that was turned */
} sq_map_plane;

typedef struct sq_map_info {
    sq_file_identity file;
    int nplane;
    sq_map_plane plane[SQ_MAP_PLANES];
    int64_t nx, ny;         /* flat maps; 0 for HEALPix */
    char projection[4];     /* "CAR", ...; "HPX" for HEALPix */
    int64_t nside;          /* HEALPix; 0 for flat maps */
    int nested, partial;    /* NESTED ordering; explicit pixel numbers */
    char frame;             /* 'C' equatorial, 'G' galactic, 'E' ecliptic */
    char polarisation[8];   /* the file's convention: "IAU", "COSMO", "" without U */
    int polarisation_given; /* 0: neither file nor options say; IAU for flat maps, COSMO for HEALPix
                               is taken, the habit of each */
    double scale;           /* side of a pixel in arcmin: square root of the area */
} sq_map_info;

typedef enum sq_map_method {
    SQ_MAP_NEAREST,
    SQ_MAP_BILINEAR,
    SQ_MAP_BICUBIC,
    SQ_MAP_SINC
} sq_map_method;

typedef struct sq_map sq_map;

/* Plain files are read by sections; .gz and .bz2 are unpacked into memory up to 1 GiB. SQ_ERR_DATA:
 * a unit that is none of temperature; a frame or unit that nothing tells. */
sq_status sq_map_open(const char *path, const sq_map_options *options, sq_map **out);
const sq_map_info *sq_map_information(const sq_map *map);
const sq_wcs *sq_map_wcs(const sq_map *map);                /* NULL for HEALPix */
int sq_map_find_plane(const sq_map *map, const char *name); /* -1 when there is none */
void sq_map_close(sq_map *map);
/* A circle around what the map covers: centre in ICRS degrees and radius, 180 for maps of much of
 * the sky and those whose corners are beyond their projection. */
sq_status sq_map_extent(const sq_map *map, double *ra, double *dec, double *radius);

/* Values at n points. HEALPix: nearest or bilinear (four neighbours on two rings). Flat: nearest,
 * bilinear, bicubic (Catmull-Rom: Keys 1981, a = -1/2) or by a sinc in a Kaiser window of 12 x 12
 * pixels (bicubic where one of them is missing) in pixels, around ra 0 and over the poles of a
 * cylindrical map. A point is valid when every pixel of non-zero weight is. SQ_ERR_USAGE for Q or U
 * of a map that is not equatorial: sq_map_sample_qu. */
sq_status sq_map_sample(sq_map *map, int plane, sq_map_method method, size_t n, const double *ra,
                        const double *dec, float *value, uint8_t *valid);
/* Q and U relative to equatorial north, IAU. */
sq_status sq_map_sample_qu(sq_map *map, sq_map_method method, size_t n, const double *ra,
                           const double *dec, float *q, float *u, uint8_t *valid);
/* The same on the pixels of a grid, row-major [ny][nx]. */
sq_status sq_map_patch(sq_map *map, int plane, const sq_wcs *grid, int nx, int ny,
                       sq_map_method method, float *out, uint8_t *valid);
/* Q and U relative to the +y axis of the grid, positive U from there towards east: sq_grid_angle
 * and sq_spin2_rotate by its negative. */
sq_status sq_map_patch_qu(sq_map *map, const sq_wcs *grid, int nx, int ny, sq_map_method method,
                          float *q, float *u, uint8_t *valid);

/* Position angle (radians, from north through east) of the +y axis of a grid at its pixels
 * [ny][nx]; NaN off the sky. */
sq_status sq_grid_angle(const sq_wcs *grid, int nx, int ny, double *angle);
/* Adds angle to the position angle of the polarisation: Q' = Q cos 2a - U sin 2a, U' = Q sin 2a +
 * U cos 2a. A frame whose axis has position angle psi sees Q and U rotated by -psi. In place;
 * `sign` multiplies the angles. */
void sq_spin2_rotate(size_t n, const double *angle, double sign, float *q, float *u);

/* Is the rms of a typical section what a map of the CMB sky can have (I: 20 .. 2000 uK, Q and U:
 * 0.3 .. 2000 uK)? SQ_ERR_DATA names file, key and value when not, or when no pixel is valid.
 * Planes of other kinds pass. *rms (may be NULL) in uK. */
sq_status sq_map_check_unit(sq_map *map, int plane, double *rms);

/* Window of the map's pixels at multipole l. Square pixels: the azimuthal average of
 * sinc(l_x s / 2) sinc(l_y s / 2). HEALPix: that of a square of 1.05 times the pixel's area, within
 * 0.13% of the tables up to l = 2 nside and 0.52% up to 3 nside (nside >= 512). */
double sq_map_window(const sq_map *map, double l);
double sq_pixel_window(double side, double l); /* square of `side` radians */

#endif
