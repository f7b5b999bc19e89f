/* The parts of a cell coadd's file: HDUs by name, the tree, the index. Local. */
#ifndef SQ_FITS_CELL_FILE_H
#define SQ_FITS_CELL_FILE_H

#include "fits/cell_tree.h"
#include "fits/input.h"

/* The HDU (0-based) that the tree refers to. */
sq_status sq_cell_find(sq_input *input, const sq_cell_source *from, int *hdu);
/* Finds the index too, which must have a row for every HDU before it. */
sq_status sq_cell_tree_read(sq_input *input, sq_cell_tree *out);
/* The tree against the band's name and image size. */
sq_status sq_cell_tree_check(const sq_tile_band *band, const sq_cell_tree *tree);

#endif
