/* Synthetic records for the reduce: a grid of patches around (0, 0) deg whose sources are known by
 * arithmetic, so that a release of any size can be checked row by row without a list of its rows.
 *
 * Sources lie on a jittered grid of 20 pixels of 0.2 arcsec; 32 x 32 of them are a patch's core,
 * and the lines of the grid fall on the borders of the cores: the patches on both sides (four at a
 * corner) report such a source, each with an error of its own, and the one in whose core it lies
 * deepest must win. No two sources come closer than 9 pixels. Local, reentrant. */
#ifndef SQ_CLI_BENCH_SKY_H
#define SQ_CLI_BENCH_SKY_H

#include <stdint.h>

#include "store/table.h"

enum { SQ_BENCH_LINE = 33, SQ_BENCH_ROWS = SQ_BENCH_LINE * SQ_BENCH_LINE, SQ_BENCH_BANDS = 5 };

typedef struct sq_bench_sky {
    uint64_t seed;
    int64_t side;  /* patches along each axis */
    int64_t lines; /* sources along each axis */
    int scatter;   /* instead: no borders, every patch has sources from all over the sky */
} sq_bench_sky;

/* A row of the release, less what the merge adds. */
typedef struct sq_bench_row {
    double ra, dec;
    int64_t source;
    uint64_t patch;
    float flux[SQ_BENCH_BANDS], flux_error, radius, depth;
    uint32_t flag, unused;
} sq_bench_row;

extern const sq_schema sq_bench_schema;

void sq_bench_sky_init(sq_bench_sky *sky, uint64_t seed, int64_t rows, int scatter);
int64_t sq_bench_sky_rows(const sq_bench_sky *sky); /* of the release */
int64_t sq_bench_sky_patches(const sq_bench_sky *sky);
/* The rows that a patch reports. */
sq_status sq_bench_sky_patch(const sq_bench_sky *sky, uint64_t patch, sq_table *out);
/* The row that the release must have of a source. */
void sq_bench_sky_source(const sq_bench_sky *sky, int64_t source, sq_bench_row *out);
/* Sums of these over all rows tell whether each is there once. */
uint64_t sq_bench_row_hash(const sq_bench_row *row);

#endif
