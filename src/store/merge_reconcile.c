/* Which rows stay: each source once, across borders of patches and seams of tiles.
 *
 * Rows far from any border are decided by ownership alone. The others are candidates: they are sent
 * to the cells of a fixed grid of the sky, each with a halo of HALO radii, and decided by
 * sq_reconcile cell by cell. A cell's content does not depend on who holds it, so neither does the
 * decision. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "sky/match.h"
#include "sky/sphere.h"
#include "store/merge_internal.h"

enum { HALO = 8, CELL = 64 }; /* in units of the matching radius */

typedef struct candidate {
    double ra, dec, depth;
    uint64_t patch, row, cell;
    int64_t index; /* into the sender's keep */
    uint32_t realisation;
    int32_t home; /* sender's rank + 1 when the row lies in this cell itself, else 0 */
} candidate;

typedef struct decision {
    int64_t index;
    int64_t keep;
} decision;

typedef struct finder {
    int t, ra, dec, depth;
    double cell, halo; /* deg */
    merge_keep *keep;
    candidate *found; /* one for each candidate row, cell not set */
    size_t nfound, capacity;
} finder;

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

static sq_status find_one(merge *m, int64_t i, const sq_record *record, const sq_payload *payload,
                          void *user)
{
    finder *f = user;
    const sq_schema *schema = m->in->table[f->t];
    const merge_task *task = &m->task[i];
    const sq_payload_table *rows = &payload->table[f->t];
    (void)record;
    for (int64_t r = 0; r < rows->rows; r++) {
        double ra = ((const double *)rows->column[f->ra])[r];
        double dec = ((const double *)rows->column[f->dec])[r];
        double depth = depth_at(schema, f->depth, rows->column[f->depth], r);
        int64_t index = f->keep->first[i] + r;
        standing s = {depth, 0};
        if (isfinite(ra) && isfinite(dec) && fabs(dec) <= 90)
            s = stand(m, task->tile, ra, dec, depth, schema);
        f->keep->keep[index] = s.depth >= 0;
        if (!s.candidate)
            continue;
        sq_status rc = SQ_GROW(f->found, f->capacity, f->nfound + 1, "border rows");
        if (rc != SQ_OK)
            return rc;
        f->found[f->nfound++] = (candidate){.ra = sq_wrap_ra(ra),
                                            .dec = dec,
                                            .depth = s.depth,
                                            .patch = task->patch,
                                            .row = (uint64_t)r,
                                            .index = index,
                                            .realisation = task->realisation};
    }
    return SQ_OK;
}

/* ---- The grid: rows of equal declination, cut into cells of about equal width ---- */

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

typedef sq_status (*cell_visit)(void *user, uint64_t cell, int home);

/* All cells within the halo of a point, each once, its own among them. */
static sq_status cells_around(const finder *f, double ra, double dec, cell_visit visit, void *user)
{
    int64_t own = grid_row(dec, f->cell);
    int64_t low = grid_row(dec - f->halo, f->cell), high = grid_row(dec + f->halo, f->cell);
    double top = fmin(fabs(dec) + f->halo, 90), shrink = cos(top * M_PI / 180);
    double reach = shrink > 1e-9 ? f->halo / shrink * 1.01 : 360;
    for (int64_t row = low; row <= high; row++) {
        int64_t n = grid_columns(row, f->cell), mine = grid_column(ra, n);
        int64_t first = mine, count = n;
        if (2 * reach < 360 - 720.0 / (double)n) {
            first = (int64_t)floor((ra - reach) / 360 * (double)n);
            count = (int64_t)floor((ra + reach) / 360 * (double)n) - first + 1;
        }
        for (int64_t k = 0; k < count && k < n; k++) {
            int64_t column = (((first + k) % n) + n) % n;
            uint64_t cell = (uint64_t)row << 32 | (uint64_t)column;
            sq_status rc = visit(user, cell, row == own && column == mine);
            if (rc != SQ_OK)
                return rc;
        }
    }
    return SQ_OK;
}

typedef struct outbox {
    const candidate *from;
    int rank, size;
    candidate *copy;
    int32_t *to;
    size_t count, copy_capacity, to_capacity;
} outbox;

static sq_status post(void *user, uint64_t cell, int home)
{
    outbox *out = user;
    uint64_t key[2] = {cell, out->from->realisation};
    sq_status rc = SQ_GROW(out->copy, out->copy_capacity, out->count + 1, "border rows");
    if (rc == SQ_OK)
        rc = SQ_GROW(out->to, out->to_capacity, out->count + 1, "border rows");
    if (rc != SQ_OK)
        return rc;
    candidate *c = &out->copy[out->count];
    *c = *out->from;
    c->cell = cell;
    c->home = home ? out->rank + 1 : 0;
    out->to[out->count++] = (int32_t)(sq_hash64(key, sizeof key) % (uint64_t)out->size);
    return SQ_OK;
}

/* Put n things of `width` bytes in the order of their destination. */
static sq_status by_destination(const void *thing, size_t width, const int32_t *to, size_t n,
                                int ranks, void **send, size_t *offset, size_t *size)
{
    size_t *at = NULL, sum = 0;
    sq_status rc;
    SQ_TRY(SQ_ALLOC(at, ranks, "offsets"));
    memset(size, 0, (size_t)ranks * sizeof *size);
    for (size_t i = 0; i < n; i++)
        size[to[i]] += width;
    for (int r = 0; r < ranks; sum += size[r], r++)
        at[r] = offset[r] = sum;
    SQ_TRY(sq_alloc(send, sum + 1, 1, "send buffer"));
    for (size_t i = 0; i < n; at[to[i]] += width, i++)
        memcpy((char *)*send + at[to[i]], (const char *)thing + i * width, width);
cleanup:
    sq_free(at);
    return rc;
}

/* Collective: things to their destinations; *got of them arrive. */
static sq_status deliver(merge *m, sq_status before, const void *thing, size_t width,
                         const int32_t *to, size_t n, void **arrived, size_t *got)
{
    sq_status rc = before;
    size_t *offset = NULL, *size, *from;
    void *send = NULL;
    *arrived = NULL;
    *got = 0;
    if (rc == SQ_OK)
        rc = SQ_ALLOC(offset, 3 * m->size, "offsets");
    SQ_TRY_ALL(m->comm, rc);
    size = offset + m->size;
    from = size + m->size;
    SQ_TRY_ALL(m->comm, by_destination(thing, width, to, n, m->size, &send, offset, size));
    SQ_TRY(sq_comm_exchange(m->comm, send, offset, size, arrived, from));
    for (int r = 0; r < m->size; r++)
        *got += from[r] / width;
cleanup:
    sq_free(send);
    sq_free(offset);
    return rc;
}

static int by_cell(const void *a, const void *b)
{
    const candidate *p = a, *q = b;
    if (p->realisation != q->realisation)
        return p->realisation < q->realisation ? -1 : 1;
    if (p->cell != q->cell)
        return p->cell < q->cell ? -1 : 1;
    if (p->patch != q->patch)
        return p->patch < q->patch ? -1 : 1;
    return (p->row > q->row) - (p->row < q->row);
}

typedef struct group {
    double *ra, *dec, *depth;
    uint64_t *patch, *row;
    uint8_t *keep;
    size_t capacity;
} group;

static void group_clear(group *g)
{
    sq_free(g->ra);
    sq_free(g->dec);
    sq_free(g->depth);
    sq_free(g->patch);
    sq_free(g->row);
    sq_free(g->keep);
    memset(g, 0, sizeof *g);
}

static sq_status group_reserve(group *g, size_t n)
{
    sq_status rc = SQ_OK;
    if (n <= g->capacity)
        return SQ_OK;
    group_clear(g);
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

static sq_status decide_cell(group *g, const candidate *c, size_t n, double radius, decision *out,
                             int32_t *to, size_t *count)
{
    sq_status rc = group_reserve(g, n);
    if (rc != SQ_OK)
        return rc;
    for (size_t i = 0; i < n; i++) {
        g->ra[i] = c[i].ra;
        g->dec[i] = c[i].dec;
        g->depth[i] = c[i].depth;
        g->patch[i] = c[i].patch;
        g->row[i] = c[i].row;
    }
    rc = sq_reconcile((int64_t)n, g->ra, g->dec, g->patch, g->row, g->depth, NULL, radius, g->keep,
                      NULL);
    for (size_t i = 0; rc == SQ_OK && i < n; i++) {
        if (!c[i].home)
            continue;
        to[*count] = c[i].home - 1;
        out[(*count)++] = (decision){c[i].index, g->keep[i]};
    }
    return rc;
}

static sq_status decide(candidate *c, size_t n, double radius, decision **out, int32_t **to,
                        size_t *count)
{
    group g = {0};
    sq_status rc;
    SQ_TRY(SQ_ALLOC(*out, n + 1, "decisions"));
    SQ_TRY(SQ_ALLOC(*to, n + 1, "decisions"));
    if (n)
        qsort(c, n, sizeof *c, by_cell);
    for (size_t i = 0, j; i < n; i = j) {
        for (j = i + 1; j < n && c[j].cell == c[i].cell && c[j].realisation == c[i].realisation;
             j++)
            ;
        SQ_TRY(decide_cell(&g, c + i, j - i, radius, *out, *to, count));
    }
cleanup:
    group_clear(&g);
    return rc;
}

static sq_status settle_borders(merge *m, finder *f)
{
    outbox out = {.rank = m->rank, .size = m->size};
    void *arrived = NULL, *back = NULL;
    decision *verdict = NULL;
    int32_t *to = NULL;
    size_t got = 0, count = 0, answers = 0;
    sq_status rc = SQ_OK;
    for (size_t i = 0; rc == SQ_OK && i < f->nfound; i++) {
        out.from = &f->found[i];
        rc = cells_around(f, out.from->ra, out.from->dec, post, &out);
    }
    SQ_TRY(deliver(m, rc, out.copy, sizeof *out.copy, out.to, out.count, &arrived, &got));
    rc = decide(arrived, got, m->in->table[f->t]->radius, &verdict, &to, &count);
    SQ_TRY(deliver(m, rc, verdict, sizeof *verdict, to, count, &back, &answers));
    for (size_t i = 0; i < answers; i++) {
        const decision *d = (const decision *)back + i;
        f->keep->keep[d->index] = (uint8_t)d->keep;
    }
cleanup:
    sq_free(out.copy);
    sq_free(out.to);
    sq_free(arrived);
    sq_free(back);
    sq_free(verdict);
    sq_free(to);
    return rc;
}

static sq_status make_keep(merge *m, finder *f)
{
    sq_status rc;
    SQ_TRY(SQ_ALLOC(f->keep->first, m->ntask + 1, "rows of tasks"));
    for (int64_t i = 0; i < m->ntask; i++)
        f->keep->first[i + 1] = f->keep->first[i] + m->rows[f->t * m->ntask + i];
    int64_t rows = f->keep->first[m->ntask];
    SQ_TRY(SQ_ALLOC(f->keep->keep, rows + 1, "rows to keep"));
    memset(f->keep->keep, 1, (size_t)rows);
cleanup:
    return rc;
}

void merge_keep_clear(merge_keep *keep)
{
    sq_free(keep->first);
    sq_free(keep->keep);
    memset(keep, 0, sizeof *keep);
}

sq_status merge_reconcile(merge *m, int t, merge_keep *out)
{
    const sq_schema *schema = m->in->table[t];
    finder f = {.t = t, .keep = out};
    sq_status rc;
    SQ_TRY_ALL(m->comm, make_keep(m, &f));
    if (!schema->depth)
        goto cleanup;
    f.ra = sq_schema_find(schema, schema->ra);
    f.dec = sq_schema_find(schema, schema->dec);
    f.depth = sq_schema_find(schema, schema->depth);
    f.cell = fmax(CELL * schema->radius / 3600, 0.01);
    f.halo = HALO * schema->radius / 3600;
    SQ_TRY_ALL(m->comm, merge_each(m, t, find_one, &f));
    SQ_TRY(settle_borders(m, &f));
cleanup:
    sq_free(f.found);
    if (rc != SQ_OK)
        merge_keep_clear(out);
    return rc;
}
