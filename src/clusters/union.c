#include "clusters/union.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

static const double UNION_LOGIT = 0, UNION_SNR = 2;
static const double UNION_NEAR = 1.5, UNION_APART = 1; /* arcmin */

/* The nearest of n candidates within `radius` of x, y that is not taken; -1: none. */
static int64_t nearest(const sq_candidate *c, const uint8_t *taken, int64_t n, double x, double y,
                       double radius)
{
    int64_t best = -1;
    for (int64_t k = 0; k < n; k++) {
        double distance = hypot(c[k].x - x, c[k].y - y);
        if (!taken[k] && distance <= radius) {
            radius = distance;
            best = k;
        }
    }
    return best;
}

static sq_status find_peaks(const sq_cluster_network *network, double pixel, sq_candidate **peak,
                            int64_t *peaks)
{
    sq_status rc = SQ_OK;
    sq_finder *finder = NULL;
    const sq_flat *flat = sq_cluster_network_flat(network);
    SQ_TRY(sq_finder_create(flat->ny, flat->nx, NULL, 0, &finder));
    sq_finder_add(finder, 0, sq_cluster_network_map(network, SQ_HEAD_HALO), 1);
    SQ_TRY(sq_finder_peaks(finder, UNION_LOGIT, UNION_APART / pixel, peak, peaks));
cleanup:
    sq_finder_destroy(finder);
    return rc;
}

sq_status cluster_union(const cluster_patch *patch, const sq_cluster_network *network, double pixel,
                        sq_candidate **out, int64_t *count)
{
    sq_status rc = SQ_OK;
    sq_candidate *peak = NULL, *c = NULL;
    uint8_t *taken = NULL;
    int64_t peaks = 0, n;
    const sq_candidate *found = cluster_patch_candidates(patch, &n);
    SQ_TRY(find_peaks(network, pixel, &peak, &peaks));
    SQ_TRY(SQ_ALLOC(c, n + peaks, "candidates"));
    SQ_TRY(SQ_ALLOC(taken, n, "candidates"));
    if (n)
        memcpy(c, found, (size_t)n * sizeof *c);
    *count = n;
    for (int64_t k = 0; k < peaks; k++) {
        sq_candidate here = cluster_patch_at(patch, peak[k].column, peak[k].row);
        if (!(here.snr >= UNION_SNR))
            continue;
        int64_t of = nearest(found, taken, n, peak[k].x, peak[k].y, UNION_NEAR / pixel);
        sq_candidate *to = of < 0 ? &c[(*count)++] : &c[of];
        if (of < 0)
            *to = here;
        else
            taken[of] = 1;
        to->x = peak[k].x;
        to->y = peak[k].y;
    }
    *out = c;
    c = NULL;
cleanup:
    sq_free(taken);
    sq_free(peak);
    sq_free(c);
    return rc;
}
