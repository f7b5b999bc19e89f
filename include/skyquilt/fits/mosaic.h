/* Several maps of one band as one sky, with the noise that their weights tell, read patch by patch
 * onto flat grids; and discs of sky that a list takes out.
 *
 * Where maps overlap, the first in the order of names that has data wins. The value of a pixel is
 * interpolated, and when pixels of the patch are larger than the map's averaged over a fine grid of
 * at most the map's pixels, so that noise above the patch's Nyquist frequency does not fold in.
 * Weights are inverse variances, variances or hits. A mosaic is used by one thread at a time.
 * Local. */
#ifndef SQ_FITS_MOSAIC_H
#define SQ_FITS_MOSAIC_H

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"
#include "fits/map.h"

typedef struct sq_mosaic_options {
    const char *group;   /* of the configuration, for errors: "lensing" */
    const char *folder;  /* where relative paths start */
    const char *maps;    /* path or pattern */
    const char *weights; /* the same of weight maps, NULL: planes of the maps' files, else noise */
    double noise; /* uK-arcmin where nothing tells it, with hits that of one hit; NaN: unknown */
    const char *unit, *frame, *polarisation; /* as in sq_map_options; NULL or "" when not given */
    int polarised;                           /* Q and U must be there */
    int check;                               /* test units by reading some pixels */
} sq_mosaic_options;

typedef struct sq_mosaic sq_mosaic;

/* SQ_ERR_CONFIG "GROUP: key: reason" for what the configuration lacks, SQ_ERR_DATA for files. */
sq_status sq_mosaic_open(const sq_mosaic_options *options, sq_mosaic **out);
void sq_mosaic_close(sq_mosaic *mosaic);             /* accepts NULL */
const char *sq_mosaic_name(const sq_mosaic *mosaic); /* of its first file, for errors */
/* Of names, sizes and times of all files. */
sq_hash sq_mosaic_identity(const sq_mosaic *mosaic);
int sq_mosaic_pieces(const sq_mosaic *mosaic);
/* A circle around a piece, deg; radius 180: everywhere. */
void sq_mosaic_circle(const sq_mosaic *mosaic, int piece, double *ra, double *dec, double *radius);
/* Whether any piece lies within `reach` deg of a point. */
int sq_mosaic_near(const sq_mosaic *mosaic, double ra, double dec, double reach);
/* What reading a patch with pixels of `pixel` arcmin does to a mode of multipole l: interpolation,
 * average, and the map's own pixels when `averaged`. */
double sq_mosaic_window(const sq_mosaic *mosaic, double pixel, int averaged, double l);

/* T (and Q, U when polarised; else NULL) in uK on the grid's side * side pixels of `pixel` arcmin,
 * Q and U as of sq_map_patch_qu, and the noise of T in uK-arcmin, 0 where there are no data. */
sq_status sq_mosaic_read(sq_mosaic *mosaic, const sq_wcs *grid, int side, double pixel,
                         float *const map[3], float *noise);

/* Clear valid[side * side] where a map is not above 0.5; `mask` by nearest pixels. */
sq_status sq_mask_apply(sq_map *mask, const sq_wcs *grid, int side, uint8_t *valid);

typedef struct sq_disc {
    double ra, dec, radius; /* deg, deg, arcmin */
} sq_disc;

/* Rows of ra, dec (deg) and radius (arcmin), '#' comments. SQ_ERR_DATA names the line. *disc:
 * sq_free. */
sq_status sq_discs_parse(const char *path, const void *text, size_t size, sq_disc **disc,
                         size_t *count);
/* Clear valid[side * side] within the discs. */
sq_status sq_discs_apply(const sq_disc *disc, size_t count, const sq_wcs *grid, int side,
                         double pixel, uint8_t *valid);
/* A path of the configuration: relative ones start at `folder`. */
sq_status sq_input_path(const char *group, const char *folder, const char *path, char *out,
                        size_t size);

#endif
