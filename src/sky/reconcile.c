/* Border reconciliation. Rows are put into the order of (patch, row) first; every later decision is
 * made on that order, which makes the result independent of the order of the input. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "sky/match.h"
#include "sky/sphere.h"
#include "sky/zones.h"

enum { FEW = 48 };

typedef struct border_row {
    uint64_t patch, row;
    int64_t input; /* number of the row in the caller's arrays */
    double depth;
    int64_t root; /* union-find parent */
    int64_t next; /* next member of the same group, -1 at its end */
    int64_t last; /* of a root: its last member */
} border_row;

typedef struct border_pair {
    double d2;
    int64_t i, j; /* i < j */
} border_pair;

typedef struct borders {
    int64_t n;
    border_row *row;
    double *ra, *dec;
    uint8_t *use;
    border_pair *pair;
    size_t pairs, capacity;
} borders;

static int by_identity(const void *x, const void *y)
{
    const border_row *p = x, *q = y;
    if (p->patch != q->patch)
        return p->patch < q->patch ? -1 : 1;
    if (p->row != q->row)
        return p->row < q->row ? -1 : 1;
    return 0;
}

static int by_distance(const void *x, const void *y)
{
    const border_pair *p = x, *q = y;
    if (p->d2 != q->d2)
        return p->d2 < q->d2 ? -1 : 1;
    if (p->i != q->i)
        return p->i < q->i ? -1 : 1;
    return (p->j > q->j) - (p->j < q->j);
}

static sq_status sort_rows(borders *b, const double *ra, const double *dec, const uint8_t *band)
{
    sq_status rc = SQ_OK;
    qsort(b->row, (size_t)b->n, sizeof *b->row, by_identity);
    SQ_TRY(SQ_ALLOC(b->ra, b->n, "border rows"));
    SQ_TRY(SQ_ALLOC(b->dec, b->n, "border rows"));
    SQ_TRY(SQ_ALLOC(b->use, b->n, "border rows"));
    for (int64_t i = 0; i < b->n; i++) {
        border_row *r = &b->row[i];
        if (i && by_identity(r - 1, r) == 0) {
            rc = sq_fail(SQ_ERR_USAGE, "reconcile: row %llu of patch %llu is given twice",
                         (unsigned long long)r->row, (unsigned long long)r->patch);
            goto cleanup;
        }
        r->root = r->last = i;
        r->next = -1;
        b->ra[i] = ra[r->input];
        b->dec[i] = dec[r->input];
        b->use[i] = band ? band[r->input] != 0 : 1;
    }
cleanup:
    return rc;
}

/* Few rows: every pair, with the distances that sq_zones_query would give. */
static sq_status compare_pairs(borders *b, double radius)
{
    double v[FEW][3], side = 2 * sin(fmin(180, radius / 3600) * (M_PI / 180) / 2);
    sq_status rc = SQ_OK;
    for (int64_t i = 0; i < b->n; i++) {
        b->use[i] &= isfinite(b->ra[i]) && isfinite(b->dec[i]) && fabs(b->dec[i]) <= 90;
        if (b->use[i])
            sq_unit_vector(sq_wrap_ra(b->ra[i]), b->dec[i], v[i]);
        for (int64_t j = 0; b->use[i] && j < i; j++) {
            double x = v[i][0] - v[j][0], y = v[i][1] - v[j][1], w = v[i][2] - v[j][2];
            double d2 = x * x + y * y + w * w;
            if (!b->use[j] || d2 > side * side || b->row[i].patch == b->row[j].patch)
                continue;
            SQ_TRY(SQ_GROW(b->pair, b->capacity, b->pairs + 1, "border pairs"));
            b->pair[b->pairs++] = (border_pair){d2, j, i};
        }
    }
cleanup:
    return rc;
}

static sq_status search_pairs(borders *b, double radius)
{
    sq_status rc = SQ_OK;
    sq_zones *z = NULL;
    sq_zone_hits hits = {0};
    SQ_TRY(sq_zones_create(SQ_METRIC_SKY, b->n, b->ra, b->dec, b->use, radius, &z));
    for (int64_t i = 0; i < b->n; i++) {
        if (!b->use[i])
            continue;
        SQ_TRY(sq_zones_query(z, b->ra[i], b->dec[i], &hits));
        for (size_t k = 0; k < hits.count; k++) {
            int64_t j = hits.hit[k].index;
            if (j <= i || b->row[i].patch == b->row[j].patch)
                continue;
            SQ_TRY(SQ_GROW(b->pair, b->capacity, b->pairs + 1, "border pairs"));
            b->pair[b->pairs++] = (border_pair){hits.hit[k].d2, i, j};
        }
    }
cleanup:
    sq_free(hits.hit);
    sq_zones_destroy(z);
    return rc;
}

static sq_status find_pairs(borders *b, double radius)
{
    int few = b->n <= FEW && radius > 0 && isfinite(radius);
    sq_status rc = few ? compare_pairs(b, radius) : search_pairs(b, radius);
    if (b->pairs)
        qsort(b->pair, b->pairs, sizeof *b->pair, by_distance);
    return rc;
}

static int64_t root_of(border_row *row, int64_t i)
{
    while (row[i].root != i)
        i = row[i].root = row[row[i].root].root;
    return i;
}

static int share_patch(const border_row *row, int64_t p, int64_t q)
{
    for (int64_t i = p; i >= 0; i = row[i].next) {
        for (int64_t j = q; j >= 0; j = row[j].next) {
            if (row[i].patch == row[j].patch)
                return 1;
        }
    }
    return 0;
}

/* Taking pairs in order of distance is the same as taking mutual nearest neighbours, removing them,
 * and starting again. */
static void group(borders *b)
{
    for (size_t k = 0; k < b->pairs; k++) {
        int64_t p = root_of(b->row, b->pair[k].i), q = root_of(b->row, b->pair[k].j);
        if (p == q || share_patch(b->row, p, q))
            continue;
        b->row[q].root = p;
        b->row[b->row[p].last].next = q;
        b->row[p].last = b->row[q].last;
    }
}

static void decide(const borders *b, int64_t root, uint8_t *keep, int64_t *winner)
{
    const border_row *row = b->row;
    int64_t best = root;
    for (int64_t i = row[root].next; i >= 0; i = row[i].next) {
        if (row[i].depth > row[best].depth || (row[i].depth == row[best].depth && i < best))
            best = i;
    }
    int kept = row[root].next >= 0 || row[root].depth >= 0;
    for (int64_t i = root; i >= 0; i = row[i].next) {
        keep[row[i].input] = kept && i == best;
        if (winner)
            winner[row[i].input] = kept ? row[best].input : -1;
    }
}

sq_status sq_reconcile(int64_t n, const double *ra, const double *dec, const uint64_t *patch,
                       const uint64_t *row, const double *depth, const uint8_t *band, double radius,
                       uint8_t *keep, int64_t *winner)
{
    sq_status rc = SQ_OK;
    borders b = {.n = n};
    SQ_TRY(SQ_ALLOC(b.row, n, "border rows"));
    for (int64_t i = 0; i < n; i++) {
        /* A depth that is not a number must not win, and must not make the order of rows matter. */
        double d = isnan(depth[i]) ? -INFINITY : depth[i];
        b.row[i] = (border_row){.patch = patch[i], .row = row[i], .input = i, .depth = d};
    }
    SQ_TRY(sort_rows(&b, ra, dec, band));
    SQ_TRY(find_pairs(&b, radius));
    group(&b);
    for (int64_t i = 0; i < n; i++) {
        if (b.row[i].root == i)
            decide(&b, i, keep, winner);
    }
cleanup:
    sq_free(b.row);
    sq_free(b.ra);
    sq_free(b.dec);
    sq_free(b.use);
    sq_free(b.pair);
    return rc;
}
