/* Several maps of one band as one sky, with the noise that their weights tell, read patch by patch
 * onto flat grids; and discs of sky that a list takes out.
 *
 * Where maps overlap, the first in the order of names that has data wins. The value of a pixel is
 * interpolated, and on demand, when pixels of the patch are larger than the map's, averaged over a
 * fine grid of at most the map's pixels, so that noise above the patch's Nyquist frequency does not
 * fold in.
 * Weights are inverse variances, variances or hits. A mosaic is used by one thread at a time.
 * Local. */
#ifndef SQ_FITS_MOSAIC_H
#define SQ_FITS_MOSAIC_H

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"
#include "fits/map.h"
#include "sky/patch.h"

typedef struct sq_mosaic_options {
    const char *group;   /* of the configuration, for errors: "lensing" */
    const char *folder;  /* where relative paths start */
    const char *maps;    /* path or pattern */
    const char *weights; /* the same of weight maps, NULL: planes of the maps' files, else noise */
    double noise; /* uK-arcmin where nothing tells it, with hits that of one hit; NaN: unknown */
    const char *unit, *frame, *polarisation; /* as in sq_map_options; NULL or "" when not given */
    int polarised;                           /* Q and U must be there */
    int average;                             /* over patch pixels that are larger than the map's */
    int check;                               /* test units by reading some pixels */
} sq_mosaic_options;

typedef struct sq_mosaic sq_mosaic;

/* SQ_ERR_CONFIG "GROUP: key: reason" for what the configuration lacks, SQ_ERR_DATA for files. */
sq_status sq_mosaic_open(const sq_mosaic_options *options, sq_mosaic **out);
void sq_mosaic_close(sq_mosaic *mosaic);             /* accepts NULL */
const char *sq_mosaic_name(const sq_mosaic *mosaic); /* of its first file, for errors */
/* Of names, sizes and times of all files. */
sq_hash sq_mosaic_identity(const sq_mosaic *mosaic);
/* A box that holds all maps of n mosaics: centre and width in ra, least and greatest dec, deg. */
void sq_mosaic_extent(sq_mosaic *const *mosaic, int n, double *ra, double *width, double *low,
                      double *high);
/* Whether any map comes near a patch with pixels of `pixel` arcmin. */
int sq_mosaic_near(const sq_mosaic *mosaic, const sq_patch *patch, double pixel);
/* What reading such a patch does to modes of multipole l, out[0..lmax]: interpolation, average, and
 * the map's own pixels when `averaged`. */
sq_status sq_mosaic_window(const sq_mosaic *mosaic, double pixel, int averaged, int lmax,
                           double *out);

/* T (and Q, U when polarised; else NULL) in uK on the patch's grid of side * side pixels of `pixel`
 * arcmin, Q and U as of sq_map_patch_qu, and the noise of T in uK-arcmin, 0 where there are no
 * data.
 */
sq_status sq_mosaic_read(sq_mosaic *mosaic, const sq_patch *patch, const sq_wcs *grid, double pixel,
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
/* Clear what lies within `radius` pixels of x, y. */
void sq_disc_clear(int ny, int nx, double x, double y, double radius, uint8_t *valid);
/* Of a map's name, size and time. */
sq_hash sq_map_identity(const sq_map *map);
/* A path of the configuration: relative ones start at `folder`. */
sq_status sq_input_path(const char *group, const char *folder, const char *path, char *out,
                        size_t size);

#endif
