/* What the page of a release is made from, and its parts. Local. */
#ifndef SQ_ASSESS_REPORT_PAGE_H
#define SQ_ASSESS_REPORT_PAGE_H

#include <stdio.h>

#include "assess/json.h"
#include "assess/report.h"
#include "store/tensor.h"

enum { REPORT_NAME = 64, REPORT_CLOCKS = 7 };

typedef struct report_text {
    char *name, *text;
} report_text;

/* Every task, in the order of /patches. */
typedef struct report_tasks {
    int64_t n;
    int64_t *phase, *patch, *realisation, *tile, *state, *rows;
    float *clock[REPORT_CLOCKS]; /* seconds, see report_clock; NULL without */
} report_tasks;
extern const char *const report_clock[REPORT_CLOCKS]; /* the last is the total */

typedef struct report_failures {
    int64_t n, shown;
    int64_t *phase, *patch, *tile, *state;
    int status_width, reason_width;
    char *status, *reason; /* [shown][width + 1] */
} report_failures;

typedef struct report_table {
    char name[REPORT_NAME];
    char *description, *columns;
    int64_t rows;
    int sky;
} report_table;

typedef struct page {
    const sq_report_options *options;
    FILE *out;
    sq_h5 *h5;
    char *manifest, *kind;
    int64_t tiles;
    char (*tile_name)[REPORT_NAME];
    double *corner; /* [tiles][8], NULL without */
    report_tasks task;
    report_failures failure;
    int tables;
    report_table *table;
    char **map;
    int maps;
    int provenances, runs;
    report_text *provenance, *run;
    json_value *validate, *compare;
} page;

sq_status page_read(page *p);
void page_clear(page *p);

/* Drawings. */
sq_status page_footprint(const page *p);
sq_status page_sky(const page *p, const report_table *table);
sq_status page_magnitudes(const page *p, const report_table *table);
void page_times(const page *p);
sq_status page_map(const page *p, const char *name);
sq_status page_lensing(const page *p); /* nothing in releases of other probes */
/* Sections made from JSON. */
void page_validation(const page *p);
void page_comparison(const page *p);

#endif
