#include "assess/matching.h"

#include <math.h>

#include "base/mem.h"
#include "sky/zones.h"

static int agree(const match_list *a, int64_t i, const match_list *b, int64_t j, double tolerance)
{
    return !(tolerance > 0) || fabs(a->mag[i] - b->mag[j]) <= tolerance;
}

/* nearest[i]: the row of `to` that is nearest to row i of `from` and agrees with it, or -1. */
static sq_status nearest_agreeing(const match_list *from, const match_list *to, double radius,
                                  double tolerance, int64_t *nearest)
{
    sq_status rc;
    sq_zones *z = NULL;
    sq_zone_hits hits = {0};
    SQ_TRY(sq_zones_create(SQ_METRIC_SKY, to->n, to->ra, to->dec, to->use, radius, &z));
    for (int64_t i = 0; i < from->n; i++) {
        sq_zone_hit best = {-1, INFINITY};
        nearest[i] = -1;
        if (from->use && !from->use[i])
            continue;
        SQ_TRY(sq_zones_query(z, from->ra[i], from->dec[i], &hits));
        for (size_t k = 0; k < hits.count; k++) {
            sq_zone_hit h = hits.hit[k];
            if (!agree(from, i, to, h.index, tolerance))
                continue;
            if (h.d2 < best.d2 || (h.d2 == best.d2 && h.index < best.index))
                best = h;
        }
        nearest[i] = best.index;
    }
cleanup:
    sq_free(hits.hit);
    sq_zones_destroy(z);
    return rc;
}

sq_status match_pairs(const match_list *list1, const match_list *list2, double radius,
                      double tolerance, int64_t *match1, int64_t *match2)
{
    sq_status rc;
    int64_t *near1 = NULL, *near2 = NULL;
    SQ_TRY(SQ_ALLOC(near1, list1->n + 1, "nearest neighbours"));
    SQ_TRY(SQ_ALLOC(near2, list2->n + 1, "nearest neighbours"));
    SQ_TRY(nearest_agreeing(list1, list2, radius, tolerance, near1));
    SQ_TRY(nearest_agreeing(list2, list1, radius, tolerance, near2));
    for (int64_t i = 0; i < list1->n; i++)
        match1[i] = near1[i] >= 0 && near2[near1[i]] == i ? near1[i] : -1;
    for (int64_t j = 0; j < list2->n; j++)
        match2[j] = near2[j] >= 0 && near1[near2[j]] == j ? near2[j] : -1;
cleanup:
    sq_free(near1);
    sq_free(near2);
    return rc;
}
