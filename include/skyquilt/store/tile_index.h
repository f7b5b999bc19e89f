/* The tile index: what `index` writes and rank 0 of a run reads. An HDF5 file of columns (groups
 * tiles, bands, files; texts in one byte array with offsets), complete under its final name, without
 * time stamps. It is written and read some tiles at a time. Local. */
#ifndef SQ_STORE_TILE_INDEX_H
#define SQ_STORE_TILE_INDEX_H

#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"
#include "fits/tile_list.h"

/* The tiles of finished lists, in the order given: that order numbers them. SQ_ERR_USAGE for two
 * tiles of one name. */
sq_status sq_tile_index_write(const char *path, const sq_tile_list *const *list, int lists);
/* Every tile in turn; a tile is valid within the call, and a status other than SQ_OK ends the
 * reading. Every count and offset is checked: SQ_ERR_FORMAT for a file that is not an index,
 * SQ_ERR_CORRUPT for one that contradicts itself. */
typedef sq_status (*sq_tile_visit)(void *user, const sq_tile *tile);
sq_status sq_tile_index_read(const char *path, sq_tile_visit visit, void *user);
/* The identity of the tiles as a whole (names, files, sizes, checksum cards, WCS; not their paths
 * or mtimes). */
sq_status sq_tile_index_hash(const sq_tile_list *list, sq_hash *out);
/* What a tile's patches and the sky under them depend on beside pixels: format, bands, shapes, WCS. */
sq_hash sq_tile_geometry_hash(const sq_tile *tile);
/* The files as they stand: sizes, mtimes and checksum cards, without their folders. Equal: nobody
 * has written them since. */
sq_hash sq_tile_files_hash(const sq_tile *tile);

#endif
