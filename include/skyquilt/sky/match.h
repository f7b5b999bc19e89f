/* Matching of positions, and the reconciliation of the border bands of patches.
 *
 * Positions are structure-of-arrays: on the sphere (a, b) = (ra, dec) in degrees with a radius in
 * arcsec, on the plane (x, y) with a radius in the same unit. Rows whose position is not finite
 * match nothing. Results depend on positions and identities alone, never on the order of the rows
 * but for exact ties of the distance, which break on the lower row number (match) or on (patch,
 * row) (reconcile). O(n log n) while the neighbours within the radius are few. Local, reentrant. */
#ifndef SQ_SKY_MATCH_H
#define SQ_SKY_MATCH_H

#include <stdint.h>

#include "base/status.h"

typedef enum sq_metric { SQ_METRIC_SKY, SQ_METRIC_PLANE } sq_metric;

/* Mutual nearest neighbours within `radius` (closed): match1[i] is the row of list 2 that has row i
 * of list 1 as its nearest and is its nearest, or -1; match2 the reverse. match2 and distance1 (the
 * unit of the radius, NaN when unmatched) may be NULL. SQ_ERR_USAGE for a radius that is not
 * positive. */
sq_status sq_match_mutual(sq_metric metric, int64_t n1, const double *a1, const double *b1,
                          int64_t n2, const double *a2, const double *b2, double radius,
                          int64_t *match1, int64_t *match2, double *distance1);

/* Which rows of overlapping patches stay in a catalogue.
 *
 * Each patch reports the sources in its core and a band around it. depth[i] is the signed distance
 * from row i to the border of its own patch's core, >= 0 exactly where that patch owns the
 * position. Rows of different patches within `radius` arcsec are grouped: mutual nearest neighbours
 * first, then mutual nearest among the rest, and so on (pairs in order of distance); a group never
 * holds two rows of one patch. Of a group exactly one row is kept, the deepest, ties on the lower
 * (patch, row): a source that each side claims is kept once, one that each side assigns to the
 * other is not lost. A row alone is kept where its depth is
 * >= 0. `band` marks the rows that take part in the grouping (within the border band); NULL: all
 * do. The pair (patch, row) must be unique. keep[i] is set to 1 or 0. winner (may be NULL) gets the
 * number of the row that stands for row i: itself when kept, -1 when row i was alone and is
 * dropped. SQ_ERR_USAGE for a radius that is not positive or a repeated (patch, row). */
sq_status sq_reconcile(int64_t n, const double *ra, const double *dec, const uint64_t *patch,
                       const uint64_t *row, const double *depth, const uint8_t *band, double radius,
                       uint8_t *keep, int64_t *winner);

#endif
