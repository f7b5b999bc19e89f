/* What a comparison found, for the files that compute, print and draw it. Local. */
#ifndef SQ_ASSESS_COMPARE_REPORT_H
#define SQ_ASSESS_COMPARE_REPORT_H

#include "assess/columns.h"
#include "assess/compare.h"
#include "assess/significance.h"

enum { CMP_NAME = 96, CMP_UNIT = 24, CMP_BINS = 64 };

/* One tested number: p by itself, q adjusted for all tests of the comparison. */
typedef struct cmp_test {
    double value, p, q;
} cmp_test;

/* Differences of matched rows. */
typedef struct cmp_stat {
    int64_t n;
    double median, mean, scatter; /* scatter: 1.4826 times the median absolute deviation */
    double error;                 /* of the median, from blocks of sky */
    cmp_test shift;               /* sign test of the median being 0 */
    cmp_test wide;                /* the scatter being within its limit; NaN: not judged */
} cmp_stat;

typedef enum cmp_role {
    CMP_OTHER,
    CMP_COORDINATE,
    CMP_SEPARATION,
    CMP_FLUX,
    CMP_CLASS,
    CMP_PULL,
    CMP_FLUX_PULL
} cmp_role;

typedef struct cmp_quantity {
    char name[CMP_NAME], unit[CMP_UNIT];
    cmp_role role;
    cmp_stat all, *bin, *area; /* [bins], [areas] */
} cmp_quantity;

/* Rows in a magnitude bin, an area, or all. */
typedef struct cmp_count {
    int64_t rows[2], matched, vanished, appeared;
    int64_t classed, flips; /* matched rows with a class in both; those that changed it */
    cmp_test change;        /* (appeared - vanished) / rows of A */
    cmp_test unmatched;     /* (appeared + vanished) / rows of both */
    cmp_test flipped;       /* flips / classed */
} cmp_count;

typedef struct cmp_drift {
    int64_t n[2]; /* finite values */
    double distance, at, signed_distance, p, q;
} cmp_drift;

typedef struct cmp_column {
    char name[CMP_NAME], unit[CMP_UNIT];
    int64_t missing[2]; /* values that are not finite */
    cmp_drift all, *area;
} cmp_column;

typedef struct cmp_patch {
    int64_t area, number; /* number within the tile, or in the survey when there are no tiles */
    int64_t rows[2], matched, vanished, appeared;
    double ra, dec;                  /* mean of its rows, deg */
    double shift_ra, shift_dec, mag; /* medians, arcsec and mag; NaN without pairs */
} cmp_patch;

typedef struct cmp_area {
    char name[CMP_NAME];
    int corners; /* 4, or 0 when not known */
    double corner[8];
    cmp_count count;
} cmp_area;

typedef struct cmp_table {
    char name[CMP_NAME];
    char pairing[CMP_NAME];        /* how rows were paired */
    int sky, paired;               /* paired 0: rows cannot be paired, and matched means nothing */
    char band[16], flux[CMP_NAME]; /* of the magnitudes; "" without */
    int64_t blocks;
    cmp_count all;
    int bins;
    double low, step;
    cmp_count bin[CMP_BINS];
    int64_t areas, patches;
    cmp_area *area;
    cmp_patch *patch;
    int patches_differ; /* the patches of A and B are not the same pieces of sky */
    int quantities, columns;
    cmp_quantity *quantity;
    cmp_column *column;
    int only[2];
    char **only_name[2]; /* columns of one release alone */
} cmp_table;

typedef struct cmp_map {
    char name[CMP_NAME], unit[CMP_UNIT];
    int64_t plane, nx, ny;
    int same_shape;
    int64_t pixels, missing[2], different; /* finite in both; not finite in one alone */
    double mean, rms, rms_a, largest, relative;
    int64_t x, y;                /* of the largest difference */
    double cell[8][8], cell_rms; /* rms of the differences in 8 x 8 cells [y][x]; largest of them */
    int cell_x, cell_y;
} cmp_map;

typedef struct cmp_exceeded {
    char table[CMP_NAME], area[CMP_NAME], what[CMP_NAME], threshold[32], unit[CMP_UNIT];
    double value, limit, q;
} cmp_exceeded;

struct sq_compare_report {
    sq_compare_options options;
    char path[2][1024], manifest[2][40];
    int identical; /* the manifests say that everything is equal */
    int tables, maps;
    cmp_table *table;
    cmp_map *map;
    int only[2];
    char **only_name[2]; /* tables and maps of one release alone */
    int64_t tests;
    size_t exceeded, capacity;
    cmp_exceeded *exceed;
};

/* The rows of one table in both releases. */
typedef struct cmp_rows {
    catalog file[2];
    int64_t n[2];
    int32_t *area[2];  /* -1: none */
    int32_t *patch[2]; /* row of the table's patches, -1: none */
    int32_t *block[2];
    int32_t *partner[2]; /* -1: none */
    /* Rows in the order of their areas: area a has row[start[a]] to row[start[a + 1] - 1]. */
    int32_t *row[2];
    int64_t *start[2];
} cmp_rows;

/* Tiles and patches of both releases, and where each row belongs. */
sq_status cmp_areas(cmp_rows *rows, cmp_table *out);
/* Pairs by position, or by key; `blocks` gets the number of blocks. ra and dec hold the rows of A,
 * then those of B. */
sq_status cmp_pair_sky(double match, const double *ra, const double *dec, cmp_rows *rows,
                       cmp_table *out);
sq_status cmp_pair_keys(cmp_rows *rows, cmp_table *out);
/* Differences of every quantity; ra and dec NULL in tables without positions. mag[side][row]. */
sq_status cmp_quantities(const sq_compare_thresholds *thresholds, const cmp_rows *rows,
                         const double *ra, const double *dec, double *const mag[2],
                         sq_block_sums *sums, cmp_table *out);
/* Drift of every common column. */
sq_status cmp_columns(const cmp_rows *rows, sq_block_sums *sums, cmp_table *out);
int cmp_is_flux(const char *name);               /* flux_BAND or ..._flux_BAND */
int cmp_bin(const cmp_table *table, double mag); /* -1: in none */

/* Fill `out`, whose name is the group. */
sq_status cmp_table_compare(const sq_compare_options *options, const char *group, cmp_table *out);
void cmp_table_clear(cmp_table *table);

sq_status cmp_map_compare(sq_h5 *a, sq_h5 *b, const char *name, int64_t plane, cmp_map *out);
/* Adjusts all probabilities, then lists what is exceeded. */
sq_status cmp_judge(sq_compare_report *report);

#endif
