/* The JSON tree of an LSST cell coadd (lsst.images, CellCoadd of schema 1.x): what a reader of its
 * pixels needs to know.
 *
 * Pixels of the tree count in the tract; a band's image begins at (x0, y0) there. Cells are
 * numbered row by row over the box that has PSF images. Local. */
#ifndef SQ_FITS_CELL_TREE_H
#define SQ_FITS_CELL_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { SQ_CELL_MASKS = 4, SQ_CELL_ORDER = 16, SQ_CELL_MAX = 4096 };

/* "fits:EXTNAME[,EXTVER]". */
typedef struct sq_cell_source {
    char name[72];
    int version;
} sq_cell_source;

/* A background that was subtracted: sum of c[p][q] T_p(v) T_q(u), where u and v run from -1 to 1
 * over the box that begins at (left, bottom), nJy a pixel. */
typedef struct sq_cell_sky {
    int nx, ny; /* coefficients along u and v, 0: unknown */
    double c[SQ_CELL_ORDER][SQ_CELL_ORDER];
    double left, bottom, width, height; /* pixel edges */
} sq_cell_sky;

typedef struct sq_cell_tree {
    char band[8];         /* "" where the tree does not say */
    int64_t tract, patch; /* -1: unknown */
    int64_t x0, y0, nx, ny;
    sq_cell_source image, variance, psf, mask[SQ_CELL_MASKS];
    int masks;
    int64_t cell_nx, cell_ny; /* pixels of a cell */
    int64_t left, bottom;     /* of the first cell with a PSF image */
    int64_t cells_x, cells_y; /* cells with PSF images, missing ones included */
    int side;                 /* of a PSF image, odd */
    uint8_t *missing;         /* [cells_y][cells_x]; owned */
    sq_cell_sky sky;
} sq_cell_tree;

/* `where` names the file in errors. SQ_ERR_FORMAT names the member that is missing or impossible.
 * The cells tile their grid, the box of the PSF images lies on it and covers the image. */
sq_status sq_cell_tree_parse(const char *text, size_t size, const char *where, sq_cell_tree *out);
void sq_cell_tree_clear(sq_cell_tree *tree);
/* The sky level of n pixels of row y of the image from column x0 on; 0 where it is unknown. */
void sq_cell_sky_row(const sq_cell_tree *tree, int64_t y, int64_t x0, int n, float *out);

#endif
