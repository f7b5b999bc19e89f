/* Writing FITS: images, afw Exposures with a PSF side file, and tables. Every file is written under
 * a temporary name, flushed to disk and renamed: under its final name a file is complete. Local. */
#ifndef SQ_FITS_WRITE_H
#define SQ_FITS_WRITE_H

#include <stdint.h>

#include "base/status.h"
#include "fits/cutout.h"
#include "sky/wcs.h"

/* One band of an LSST afw Exposure: IMAGE, MASK (int32, MP_ cards), VARIANCE by EXTTYPE, nJy.
 * CHECKSUM and DATASUM are set. `mask` uses the unified bits. */
sq_status sq_write_exposure(const char *path, const char *band, int64_t nx, int64_t ny,
                            const sq_wcs *wcs, const float *image, const uint32_t *mask,
                            const float *variance, double gain);
/* One band of a patch as an LSST cell coadd. Pixels count in the tract, where the image begins at
 * (x0, y0), as do its cells; the last cells may reach over the image's end. A cell whose PSF images
 * are NaN is missing: its pixels get no data. */
typedef struct sq_cell_coadd {
    const char *band, *skymap;
    int64_t tract_nx, tract_ny;     /* pixels of the tract, which begins at (0, 0) */
    int64_t patch, patch_x, patch_y; /* number and place of the patch in its tract, which is 0 */
    int64_t border;                 /* pixels that neighbouring patches share at each side */
    int64_t x0, y0, nx, ny;
    int cell, side;        /* pixels of a cell's side; of a PSF image's, odd */
    const float *image;    /* nJy */
    const float *variance; /* nJy^2 */
    const uint32_t *mask;  /* unified bits */
    const float *psf;      /* [cells_y][cells_x][side][side] */
    double sky[3][3];      /* the subtracted level, nJy a pixel: of T_p(v) T_q(u), u and v from -1 to
                            * 1 over the image's box */
} sq_cell_coadd;
/* lsst.images' CellCoadd, schema 1.0.0: IMAGE, MASK, VARIANCE and PSF, tile-compressed without loss
 * by cell, the JSON tree and the index. `wcs` is a TAN without distortion, of the image's pixels.
 * Unusable pixels have infinite variance and NO_DATA. */
sq_status sq_write_cell_coadd(const char *path, const sq_cell_coadd *coadd, const sq_wcs *wcs);
/* The PSF side file: image [band][node_y][node_x][side][side] with the nodes' pixel positions in
 * the header, plus the sky level of each band at the same nodes [band][node_y][node_x] in extension
 * SKY. */
sq_status sq_write_psf_grid(const char *path, int nband, const char (*band)[8], int nodes_x,
                            int nodes_y, int64_t nx, int64_t ny, int side, const float *psf,
                            const float *sky);

/* A flat map: float32 planes [plane][ny][nx] as images of their own, EXTNAME their names, on one
 * grid; U has the IAU sign (POLCCONV). */
sq_status sq_write_map(const char *path, const sq_wcs *wcs, int64_t nx, int64_t ny, int nplane,
                       const char *const *name, const char *const *unit, const float *data);

typedef struct sq_fits_column {
    const char *name, *unit, *ucd, *description;
    char type; /* 'D' double, 'E' float, 'K' int64, 'J' int32, 'B' uint8 */
    const void *data;
} sq_fits_column;
/* A binary table of n rows. */
sq_status sq_write_table(const char *path, const char *extname, int64_t n, int ncolumn,
                         const sq_fits_column *column);

#endif
