/* Catalogues as columns of doubles, read by name when first asked for. Local. */
#ifndef SQ_ASSESS_COLUMNS_H
#define SQ_ASSESS_COLUMNS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "store/tensor.h"

typedef struct column {
    char *name;
    sq_dtype type;
    double *value; /* NULL until it is read */
} column;

typedef struct catalog {
    const char *path; /* borrowed */
    sq_h5 *file;
    char group[64]; /* "" or "catalog/" */
    int64_t rows;
    int count;
    column *column;
} catalog;

/* `table` NULL: group catalog when it is there, else the top. Needs ra and dec. */
sq_status catalog_open(const char *path, const char *table, catalog *out);
/* The same for a table that may lack them. */
sq_status catalog_open_table(const char *path, const char *table, catalog *out);
void catalog_close(catalog *c);
int catalog_has(const catalog *c, const char *name);
/* The values of a column; they live as long as the catalogue. */
sq_status catalog_column(catalog *c, const char *name, const double **out);
/* The same, *out = NULL when there is no such column. */
sq_status catalog_optional(catalog *c, const char *name, const double **out);
/* Reads a column into the caller's memory. */
sq_status catalog_read(const catalog *c, const char *name, sq_dtype type, void *out);
/* The unit of a column, "" when it has none. */
sq_status catalog_unit(const catalog *c, const char *name, char *unit, size_t size);

#endif
