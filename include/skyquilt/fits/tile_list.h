/* Many tiles in little memory, as every rank of a run holds them.
 *
 * Names, corners and shapes stand as they are; everything else of a tile (files, WCS cards) is
 * packed, a few tiles together, and unpacked when it is asked for. A list is made by adding tiles
 * and finishing it. A finished list is one piece of memory without pointers, which other processes
 * can take over. Tiles are numbered from 0 in the order in which they were added. A finished list
 * may be read by several threads. Local. */
#ifndef SQ_FITS_TILE_LIST_H
#define SQ_FITS_TILE_LIST_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "fits/tile.h"

typedef struct sq_tile_list sq_tile_list;

sq_status sq_tile_list_create(sq_tile_list **out);
void sq_tile_list_destroy(sq_tile_list *list); /* accepts NULL */
sq_status sq_tile_list_add(sq_tile_list *list, const sq_tile *tile);
/* Once, after the last tile: what follows needs it. */
sq_status sq_tile_list_finish(sq_tile_list *list);

int64_t sq_tile_list_count(const sq_tile_list *list);
const char *sq_tile_list_name(const sq_tile_list *list, int64_t t);
/* Pixels of the reference band's grid, and the sky at its corners (see sq_tile). */
void sq_tile_list_shape(const sq_tile_list *list, int64_t t, int64_t *nx, int64_t *ny);
void sq_tile_list_corners(const sq_tile_list *list, int64_t t, double ra[4], double dec[4]);
/* All of it: sq_tile_clear. Fast in the order of the numbers. */
sq_status sq_tile_list_get(const sq_tile_list *list, int64_t t, sq_tile *out);

/* The list's memory, piece by piece, borrowed. In another process: put the pieces of a list into a
 * created one in their order, by which their memory is taken over (on failure too), then open it:
 * SQ_ERR_CORRUPT when it is no list. */
int sq_tile_list_pieces(const sq_tile_list *list);
void sq_tile_list_piece(const sq_tile_list *list, int i, const void **data, size_t *size);
sq_status sq_tile_list_put_piece(sq_tile_list *list, int i, void *data, size_t size);
sq_status sq_tile_list_open(sq_tile_list *list);

#endif
