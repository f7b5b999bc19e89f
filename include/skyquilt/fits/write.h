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
