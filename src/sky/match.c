#include "sky/match.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "sky/zones.h"

/* nearest[i]: the row of `z` nearest to point i within the radius, or -1; d2 may be NULL. */
static sq_status nearest_of(const sq_zones *z, int64_t n, const double *a, const double *b,
                            int64_t *nearest, double *d2)
{
    sq_status rc = SQ_OK;
    sq_zone_hits hits = {0};
    for (int64_t i = 0; i < n; i++) {
        sq_zone_hit best = {-1, INFINITY};
        SQ_TRY(sq_zones_query(z, a[i], b[i], &hits));
        for (size_t k = 0; k < hits.count; k++) {
            sq_zone_hit h = hits.hit[k];
            if (h.d2 < best.d2 || (h.d2 == best.d2 && h.index < best.index))
                best = h;
        }
        nearest[i] = best.index;
        if (d2)
            d2[i] = best.d2;
    }
cleanup:
    sq_free(hits.hit);
    return rc;
}

sq_status sq_match_mutual(sq_metric metric, int64_t n1, const double *a1, const double *b1,
                          int64_t n2, const double *a2, const double *b2, double radius,
                          int64_t *match1, int64_t *match2, double *distance1)
{
    sq_status rc = SQ_OK;
    sq_zones *z1 = NULL, *z2 = NULL;
    int64_t *back = NULL;
    SQ_TRY(sq_zones_create(metric, n1, a1, b1, NULL, radius, &z1));
    SQ_TRY(sq_zones_create(metric, n2, a2, b2, NULL, radius, &z2));
    SQ_TRY(SQ_ALLOC(back, n2, "nearest neighbours"));
    SQ_TRY(nearest_of(z2, n1, a1, b1, match1, distance1));
    SQ_TRY(nearest_of(z1, n2, a2, b2, back, NULL));
    for (int64_t i = 0; i < n1; i++) {
        if (match1[i] >= 0 && back[match1[i]] != i)
            match1[i] = -1;
        if (distance1)
            distance1[i] = match1[i] >= 0 ? sq_zones_distance(z2, distance1[i]) : NAN;
    }
    for (int64_t j = 0; match2 && j < n2; j++)
        match2[j] = back[j] >= 0 && match1[back[j]] == j ? back[j] : -1;
cleanup:
    sq_free(back);
    sq_zones_destroy(z1);
    sq_zones_destroy(z2);
    return rc;
}
