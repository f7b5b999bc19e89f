/* Pairs of detections and true sources. Local. */
#ifndef SQ_ASSESS_MATCHING_H
#define SQ_ASSESS_MATCHING_H

#include <stdint.h>

#include "base/status.h"

typedef struct match_list {
    int64_t n;
    const double *ra, *dec; /* deg */
    const double *mag;      /* may be NULL without a tolerance */
    const uint8_t *use;     /* NULL: all rows */
} match_list;

/* match1[i] is the row of list 2 that is nearest to row i among those within `radius` arcsec (and
 * within `tolerance` mag when it is above 0), when row i is in turn its nearest; else -1. match2
 * is the reverse. Ties go to the lower row. */
sq_status match_pairs(const match_list *list1, const match_list *list2, double radius,
                      double tolerance, int64_t *match1, int64_t *match2);

#endif
