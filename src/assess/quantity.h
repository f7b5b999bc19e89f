/* Measured quantities of matched sources beside their true values. Local. */
#ifndef SQ_ASSESS_QUANTITY_H
#define SQ_ASSESS_QUANTITY_H

#include <stdint.h>

#include "assess/columns.h"
#include "assess/validate.h"

/* The matched sources: row of the truth, row of the catalogue, true magnitude, block of sky. */
typedef struct pairs {
    int64_t n;
    int64_t *truth, *found, *block;
    double *mag;
} pairs;

/* One quantity after the other: every column of the catalogue whose true value is known. Fills
 * report->quantity; report->bin gives the ranges of magnitude. */
sq_status quantities_compare(catalog *release, catalog *truth, const pairs *pairs,
                             const sq_bootstrap *bootstrap, double bright, double limit,
                             sq_validate_report *report);

#endif
