/* Comparison of two releases, A (the older) and B (the newer).
 *
 * Tables with ra and dec: rows are the same source when each is the other's nearest within the
 * radius, in rounds until no pair is left. Other tables: rows with the same key, or the same
 * number. Differences are B minus A; magnitudes are AB, m = 31.4 - 2.5 log10(flux / nJy); a pull is
 * a difference over the root of the summed squares of both stated errors. An area is a tile (by its
 * name), or a patch in releases without tiles. A matched source counts in the area of its row in A.
 * Each row of a table comes in one pair at most.
 *
 * Significance (significance.h): blocks of sky are the independent units. Median shifts: sign test.
 * Scatter and fractions against a limit, counts against balance: ratios over blocks. Distributions
 * of columns: the Kolmogorov-Smirnov distance, tested at fixed quantiles. All tests of a comparison
 * form one family for the adjustment of Benjamini & Hochberg. A threshold is exceeded when the
 * effect is above its limit and its adjusted probability is below `significance`. Maps: plain
 * differences, without significance.
 *
 * Local, one process; holds a few columns of both releases at a time. */
#ifndef SQ_ASSESS_COMPARE_H
#define SQ_ASSESS_COMPARE_H

#include <stdint.h>
#include <stdio.h>

#include "base/config.h"
#include "base/status.h"

typedef struct sq_compare_thresholds {
    double position_shift, position_scatter;     /* arcsec; per coordinate */
    double flux_shift, flux_scatter;             /* mag; sigma (of the pulls) */
    double class_flips, count_change, unmatched; /* fractions */
    double drift;                                /* Kolmogorov-Smirnov distance */
    double map_difference;                       /* rms of B - A over the rms of A */
    double significance;                         /* of the adjusted probabilities */
    int64_t least;                               /* rows, of an area that is judged */
} sq_compare_thresholds;

extern const sq_config_field sq_compare_fields[];
void sq_compare_thresholds_defaults(sq_compare_thresholds *thresholds);

typedef struct sq_compare_options {
    const char *a, *b;        /* paths */
    const char *table;        /* only this table; NULL: all of both */
    const char *band;         /* of the magnitude bins, NULL: r, else the first that both have */
    double match;             /* arcsec */
    double bin_low, bin_step; /* mag; bin_low NaN: from the data */
    sq_compare_thresholds thresholds;
} sq_compare_options;

void sq_compare_defaults(sq_compare_options *options);

typedef struct sq_compare_report sq_compare_report;

/* SQ_ERR_FORMAT when a file is not a release or catalogue. */
sq_status sq_compare(const sq_compare_options *options, sq_compare_report **out);
int64_t sq_compare_exceeded(const sq_compare_report *report); /* thresholds that are exceeded */
/* A line for each of them, and one before with their number. */
void sq_compare_print_exceeded(const sq_compare_report *report, FILE *out);
void sq_compare_print(const sq_compare_report *report, FILE *out);
/* The whole report as one JSON object; undefined values are null. */
sq_status sq_compare_json(const sq_compare_report *report, const char *path);
/* FOLDER/TABLE-counts.svg, -position.svg, -flux.svg, -drift.svg of every table with positions. */
sq_status sq_compare_maps(const sq_compare_report *report, const char *folder);
void sq_compare_destroy(sq_compare_report *report);

#endif
