/* Which rows stay: each source once, across borders of patches and seams of tiles.
 *
 * Rows far from any border are decided by ownership alone. The others are candidates: they are sent
 * to the cells of a fixed grid of the sky, each with a halo of HALO radii, sorted by cell (on disk
 * where memory does not hold them) and decided by sq_reconcile cell by cell. A cell's content does
 * not depend on who holds it, so neither does the decision. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/pulse.h"
#include "sky/match.h"
#include "sky/sphere.h"
#include "store/merge_internal.h"

enum { HALO = 8, CELL = 64, BATCH = 256 }; /* HALO, CELL: in units of the matching radius */

typedef struct candidate {
    uint64_t cell;
    double ra, dec, depth;
    uint64_t patch;
    int64_t index; /* among the sender's rows: ascending within a patch */
    uint32_t realisation;
    int32_t home; /* sender's rank + 1 when the row lies in this cell itself, else 0 */
} candidate;

typedef struct decision {
    int64_t index;
    int64_t keep;
} decision;

static double depth_at(const sq_schema *schema, int column, const void *data, int64_t row)
{
    return schema->column[column].type == SQ_F32 ? ((const float *)data)[row]
                                                 : ((const double *)data)[row];
}

/* The owner at eight points around: a straight seam within 0.92 `reach` (arcsec) is seen by at
 * least one of them. */
static int near_seam(const sq_owner *owner, int64_t owned_by, double ra, double dec, double reach)
{
    double step = reach / 3600, shrink = fmax(cos(dec * M_PI / 180), 1e-6);
    for (int i = 0; i < 8; i++) {
        double d = fmin(fmax(dec + step * sin(i * M_PI / 4), -90), 90);
        double a = sq_wrap_ra(ra + step * cos(i * M_PI / 4) / shrink);
        if (sq_owner_of(owner, a, d) != owned_by)
            return 1;
    }
    return 0;
}

typedef struct standing {
    double depth;  /* by which duplicates are ranked: >= 0 exactly where patch and tile own the
                      position */
    int candidate; /* takes part in the grouping */
} standing;

/* A row on foreign ground can only stand for a source that the owner places on the other side of
 * the seam: so it lies within a radius of the seam, and the owner's row within two. Farther out the
 * owner's own row decides alone. */
static standing stand(const merge *m, uint32_t tile, double ra, double dec, double depth,
                      const sq_schema *schema)
{
    const sq_owner *owner = m->in->owner;
    standing s = {depth, fabs(depth) <= 2 * schema->border};
    if (!owner)
        return s;
    int64_t owned_by = sq_owner_of(owner, ra, dec);
    if (owned_by == (int64_t)tile) {
        s.candidate = s.candidate || near_seam(owner, owned_by, ra, dec, 3 * schema->radius);
        return s;
    }
    double margin = sq_owner_depth(owner, tile, ra, dec);
    if (owned_by >= 0)
        margin -= sq_owner_depth(owner, (uint32_t)owned_by, ra, dec);
    margin = fmin(margin, depth);
    s.depth = isnan(margin) ? -INFINITY : fmin(margin, -1e-9);
    s.candidate = near_seam(owner, owned_by, ra, dec, 1.2 * schema->radius);
    return s;
}

/* ---- The grid: rows of equal declination, cut into cells of about equal width ---- */

static double cell_of(const merge_part *part)
{
    return fmax(CELL * part->schema->radius / 3600, 0.01); /* deg */
}

static double halo_of(const merge_part *part)
{
    return HALO * part->schema->radius / 3600; /* deg */
}

static int64_t grid_row(double dec, double cell)
{
    return (int64_t)floor((fmin(fmax(dec, -90), 90) + 90) / cell);
}

static int64_t grid_columns(int64_t row, double cell)
{
    double low = row * cell - 90, high = low + cell;
    double nearest_pole = fmin(fmax(fabs(low), fabs(high)), 90);
    return (int64_t)fmax(1, floor(360 * cos(nearest_pole * M_PI / 180) / cell));
}

static int64_t grid_column(double ra, int64_t columns)
{
    int64_t c = (int64_t)floor(ra / 360 * (double)columns);
    return ((c % columns) + columns) % columns;
}

/* Local. A copy to each cell within the halo of the row, its own among them. */
static sq_status send_to_cells(const merge *m, merge_part *part, candidate *c)
{
    double cell = cell_of(part), halo = halo_of(part);
    int64_t own = grid_row(c->dec, cell);
    int64_t low = grid_row(c->dec - halo, cell), high = grid_row(c->dec + halo, cell);
    double top = fmin(fabs(c->dec) + halo, 90), shrink = cos(top * M_PI / 180);
    double reach = shrink > 1e-9 ? halo / shrink * 1.01 : 360;
    for (int64_t row = low; row <= high; row++) {
        int64_t n = grid_columns(row, cell), mine = grid_column(c->ra, n);
        int64_t first = mine, count = n;
        if (2 * reach < 360 - 720.0 / (double)n) {
            first = (int64_t)floor((c->ra - reach) / 360 * (double)n);
            count = (int64_t)floor((c->ra + reach) / 360 * (double)n) - first + 1;
        }
        for (int64_t k = 0; k < count && k < n; k++) {
            int64_t column = (((first + k) % n) + n) % n;
            c->cell = (uint64_t)row << 32 | (uint64_t)column;
            c->home = row == own && column == mine ? m->rank + 1 : 0;
            uint64_t key[2] = {c->cell, c->realisation};
            if (!merge_post_fits(&part->post, 1))
                return sq_fail(SQ_ERR_INTERNAL, "reduce: a row has too many cells around it");
            memcpy(
                merge_post_put(&part->post, (int)(sq_hash64(key, sizeof key) % (uint64_t)m->size)),
                c, sizeof *c);
        }
    }
    return SQ_OK;
}

static int by_group(const void *a, const void *b, const void *user)
{
    const candidate *p = a, *q = b;
    (void)user;
    if (p->realisation != q->realisation)
        return p->realisation < q->realisation ? -1 : 1;
    if (p->patch != q->patch)
        return p->patch < q->patch ? -1 : 1;
    return (p->index > q->index) - (p->index < q->index);
}

sq_status merge_border_init(merge *m, merge_part *part)
{
    uint64_t share = m->limit / (uint64_t)m->in->ntable;
    merge_sort_init(&part->border, sizeof(candidate), by_group, NULL, share / 2, m->partial);
    return merge_post_init(&part->post, m->comm, sizeof(candidate), share / 8, 16 * MERGE_CELLS);
}

sq_status merge_border_row(merge *m, merge_part *part, const merge_task *task,
                           const sq_payload_table *rows, int64_t r, int64_t index)
{
    candidate c = {.ra = ((const double *)rows->column[part->ra])[r],
                   .dec = ((const double *)rows->column[part->dec])[r],
                   .patch = task->patch,
                   .index = index,
                   .realisation = task->realisation};
    double depth = depth_at(part->schema, part->depth, rows->column[part->depth], r);
    standing s = {depth, 0};
    if (isfinite(c.ra) && isfinite(c.dec) && fabs(c.dec) <= 90)
        s = stand(m, task->tile, c.ra, c.dec, depth, part->schema);
    sq_status rc = m->in->owner ? sq_owner_check(m->in->owner) : SQ_OK;
    if (rc != SQ_OK)
        return rc;
    merge_keep(part, index, s.depth >= 0);
    if (!s.candidate)
        return SQ_OK;
    c.ra = sq_wrap_ra(c.ra);
    c.depth = s.depth;
    return send_to_cells(m, part, &c);
}

sq_status merge_border_exchange(merge *m, merge_part *part)
{
    void *got = NULL;
    size_t n;
    sq_status rc;
    SQ_TRY(merge_post_exchange(&part->post, &got, &n));
    SQ_TRY_ALL(m->comm, merge_sort_add(&part->border, got, n));
cleanup:
    sq_free(got);
    return rc;
}

/* ---- Decisions ---- */

/* The rows of one cell, and those that are read already but of the next. */
typedef struct group {
    double *ra, *dec, *depth;
    uint64_t *patch, *row;
    uint8_t *keep;
    size_t capacity;
    candidate *row_of; /* [count] */
    size_t count, row_capacity;
    size_t told; /* rows whose decision is on its way */
    const unsigned char *batch[BATCH];
    size_t at, nbatch;
} group;

static void group_clear(group *g)
{
    sq_free(g->ra);
    sq_free(g->dec);
    sq_free(g->depth);
    sq_free(g->patch);
    sq_free(g->row);
    sq_free(g->keep);
    g->ra = g->dec = g->depth = NULL;
    g->patch = g->row = NULL;
    g->keep = NULL;
    g->capacity = 0;
}

static sq_status group_reserve(group *g, size_t n)
{
    sq_status rc = SQ_OK;
    if (n <= g->capacity)
        return SQ_OK;
    group_clear(g);
    n *= 2;
    SQ_TRY(SQ_ALLOC(g->ra, n, "border rows"));
    SQ_TRY(SQ_ALLOC(g->dec, n, "border rows"));
    SQ_TRY(SQ_ALLOC(g->depth, n, "border rows"));
    SQ_TRY(SQ_ALLOC(g->patch, n, "border rows"));
    SQ_TRY(SQ_ALLOC(g->row, n, "border rows"));
    SQ_TRY(SQ_ALLOC(g->keep, n, "border rows"));
    g->capacity = n;
cleanup:
    return rc;
}

/* The next rows that share a cell and a realisation; none at the end. */
static sq_status next_group(merge_sorter *border, group *g)
{
    sq_status rc = SQ_OK;
    g->count = g->told = 0;
    for (;; g->at++) {
        if (g->at == g->nbatch) {
            g->at = 0;
            SQ_TRY(merge_sort_read(border, BATCH, g->batch, &g->nbatch));
            if (g->nbatch == 0)
                goto cleanup;
        }
        SQ_TRY(SQ_GROW(g->row_of, g->row_capacity, g->count + 1, "border rows"));
        candidate *c = &g->row_of[g->count];
        memcpy(c, g->batch[g->at], sizeof *c);
        if (g->count && (c->cell != g->row_of->cell || c->realisation != g->row_of->realisation))
            goto cleanup;
        g->count++;
    }
cleanup:
    return rc;
}

static sq_status decide(group *g, double radius)
{
    size_t n = g->count;
    sq_status rc = group_reserve(g, n);
    if (rc != SQ_OK)
        return rc;
    for (size_t i = 0; i < n; i++) {
        g->ra[i] = g->row_of[i].ra;
        g->dec[i] = g->row_of[i].dec;
        g->depth[i] = g->row_of[i].depth;
        g->patch[i] = g->row_of[i].patch;
        g->row[i] = (uint64_t)g->row_of[i].index;
    }
    return sq_reconcile((int64_t)n, g->ra, g->dec, g->patch, g->row, g->depth, NULL, radius,
                        g->keep, NULL);
}

/* Local. Decides cell after cell until the portion is full (*more) or none is left. */
static sq_status decide_portion(const merge_part *part, merge_post *post, merge_sorter *border,
                                group *g, int *more)
{
    sq_status rc = SQ_OK;
    for (*more = 1;;) {
        for (; g->told < g->count; g->told++) {
            const candidate *c = &g->row_of[g->told];
            if (!c->home)
                continue;
            if (!merge_post_fits(post, 1))
                return SQ_OK;
            decision d = {c->index, g->keep[g->told]};
            memcpy(merge_post_put(post, c->home - 1), &d, sizeof d);
        }
        sq_pulse(NULL);
        SQ_TRY(next_group(border, g));
        if (g->count == 0) {
            *more = 0;
            return SQ_OK;
        }
        SQ_TRY(decide(g, part->schema->radius));
    }
cleanup:
    return rc;
}

static sq_status settle(merge *m, merge_part *part)
{
    group *g = NULL;
    merge_post post = {0};
    uint64_t total;
    void *got = NULL;
    size_t n;
    int more = 1;
    sq_status rc = merge_sort_finish(&part->border, &total);
    if (rc == SQ_OK)
        rc = SQ_ALLOC(g, 1, "border rows");
    if (rc == SQ_OK)
        rc = merge_post_init(&post, m->comm, sizeof(decision), m->limit / 16, 1);
    SQ_TRY_ALL(m->comm, rc);
    while (more) {
        SQ_TRY_ALL(m->comm, decide_portion(part, &post, &part->border, g, &more));
        SQ_TRY(merge_post_exchange(&post, &got, &n));
        for (size_t i = 0; i < n; i++) {
            const decision *d = (const decision *)got + i;
            merge_keep(part, d->index, (int)d->keep);
        }
        sq_free(got);
        got = NULL;
        SQ_TRY(merge_more(m, &more));
    }
cleanup:
    sq_free(got);
    if (g) {
        group_clear(g);
        sq_free(g->row_of);
    }
    sq_free(g);
    merge_post_clear(&post);
    return rc;
}

sq_status merge_reconcile(merge *m, merge_part *part)
{
    double start = sq_now();
    sq_status rc = SQ_OK;
    if (part->depth < 0)
        return SQ_OK;
    merge_post_clear(&part->post);
    SQ_TRY(settle(m, part));
    m->report.spilled += (int64_t)part->border.spilled;
    merge_sort_clear(&part->border);
    merge_clock(m, SQ_REDUCE_BORDER, start);
cleanup:
    return rc;
}
