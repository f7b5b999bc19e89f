/* Products: tables of rows and blocks of maps, their schemas, and how they travel in a shard
 * record.
 *
 * A table is a structure of arrays with one schema; a block is a rectangle of a map, all its
 * planes. A payload is what a task commits: any number of tables and blocks, little-endian, fixed
 * width, every array on an 8-byte boundary, so that an unpacked payload points into its own buffer
 * without copying. Payload version 1: "SQPL", u16 version, u16 0, u32 tables, u32 blocks table: u32
 * number, u32 columns, u64 rows, u64 schema hash, then each column, padded to 8 bytes block:  u32
 * number, u32 type, i64 x0, y0, u32 nx, ny, planes, 0, then [plane][ny][nx], padded to 8 bytes Rows
 * keep their order. Payloads are untrusted when read: every count is checked against the size.
 * Local. */
#ifndef SQ_STORE_TABLE_H
#define SQ_STORE_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "store/tensor.h"

typedef struct sq_column {
    const char *name;
    sq_dtype type;    /* not F16 */
    const char *unit; /* as astropy writes it: "deg", "nJy", "arcsec"; "" without */
    const char *ucd;  /* UCD1+, "" without */
    const char *description;
    int hidden; /* 1: for the merge only, not in the release */
} sq_column;

/* A table of the release, group /NAME. The merge adds the columns healpix29 (only with ra and dec),
 * tile and patch. */
typedef struct sq_schema {
    const char *name, *description;
    int count;
    const sq_column *column;
    /* Names of the F64 columns that hold the position (ICRS deg). NULL: a table without positions:
     * no row is dropped, and rows come in the order (phase, patch, realisation, row). */
    const char *ra, *dec;
    /* Name of the F32 or F64 column with the signed distance in pixels of the row's position from
     * the border of its patch's core, positive inside (sq_tiling_depth). With it a task writes also
     * what it finds up to `border` pixels outside its core, and the merge keeps every source once.
     * NULL: all rows are owned by their patch. */
    const char *depth;
    double border; /* pixels */
    double radius; /* arcsec within which rows of two patches may be the same source */
    int phase; /* the phase whose rows are released; rows of other phases are for finish_phase only
                */
} sq_schema;

/* A map of the release, dataset /maps/NAME of shape [planes][ny][nx]. Pixels that no block covers
 * are NaN. Where blocks overlap, the later one in the order (phase, patch, realisation) wins; NaN
 * pixels of a block leave what is there. */
typedef struct sq_map_schema {
    const char *name, *unit, *ucd, *description;
    sq_dtype type; /* SQ_F32 or SQ_F64 */
    int planes;
    const char *const *plane; /* names of the planes, NULL: none */
    int64_t nx, ny;
} sq_map_schema;

/* Names that can be datasets, fixed-width types, ra/dec/depth that exist with their types:
 * SQ_ERR_USAGE otherwise. */
sq_status sq_schema_check(const sq_schema *schema);
int sq_schema_find(const sq_schema *schema, const char *name); /* column number, -1 when missing */
uint64_t sq_schema_hash(const sq_schema *schema);              /* of names and types */

typedef struct sq_table sq_table;

sq_status sq_table_create(const sq_schema *schema, sq_table **out); /* the schema is borrowed */
/* Append n rows; column[i] points to n values of column i. */
sq_status sq_table_append(sq_table *table, int64_t n, const void *const *column);
int64_t sq_table_rows(const sq_table *table);
const sq_schema *sq_table_schema(const sq_table *table);
void *sq_table_column(const sq_table *table,
                      int column);    /* valid until the next append; NULL without rows */
void sq_table_clear(sq_table *table); /* to 0 rows, keeps its memory */
void sq_table_destroy(sq_table *table);

/* A block as handed in and as unpacked. */
typedef struct sq_block {
    int map;
    int64_t x0, y0, nx, ny;
    const void *data; /* [plane][ny][nx] of the map's type */
} sq_block;

/* Tables and blocks to one payload. table[t] has number t (NULL: none); map[] gives types and
 * planes of the blocks. *data is allocated: sq_free. */
sq_status sq_payload_pack(const sq_table *const *table, int ntable, const sq_map_schema *const *map,
                          int nmap, const sq_block *block, int nblock, void **data, size_t *size);

typedef struct sq_payload_table {
    int64_t rows;        /* 0 for tables that the payload lacks */
    const void **column; /* [columns of the schema], into the payload's buffer */
} sq_payload_table;

typedef struct sq_payload {
    int ntable, nblock;
    sq_payload_table *table; /* [ntable of the call] */
    sq_block *block;
} sq_payload;

/* Views into `data` (8-byte aligned, kept by the caller as long as the views). SQ_ERR_CORRUPT for
 * anything that does not fit the schemas or the size. */
sq_status sq_payload_unpack(const void *data, size_t size, const sq_schema *const *schema,
                            int ntable, const sq_map_schema *const *map, int nmap, sq_payload *out);
void sq_payload_clear(sq_payload *payload);

#endif
