/* All probabilities of a comparison are adjusted as one family; then the thresholds are applied. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "assess/compare_report.h"
#include "base/mem.h"

typedef struct family {
    size_t n, capacity, out_capacity;
    double *p, **out;
} family;

static sq_status add(family *f, double p, double *q)
{
    *q = NAN;
    if (isnan(p))
        return SQ_OK;
    sq_status rc = SQ_GROW(f->p, f->capacity, f->n + 1, "tests");
    if (rc == SQ_OK)
        rc = SQ_GROW(f->out, f->out_capacity, f->n + 1, "tests");
    if (rc != SQ_OK)
        return rc;
    f->p[f->n] = p;
    f->out[f->n++] = q;
    return SQ_OK;
}

static sq_status add_test(family *f, cmp_test *t)
{
    return add(f, t->p, &t->q);
}

/* area -1: the whole table. */
static sq_status add_area(family *f, cmp_table *t, int64_t area)
{
    sq_status rc = SQ_OK;
    cmp_count *c = area < 0 ? &t->all : &t->area[area].count;
    SQ_TRY(add_test(f, &c->change));
    SQ_TRY(add_test(f, &c->unmatched));
    SQ_TRY(add_test(f, &c->flipped));
    for (int i = 0; i < t->quantities; i++) {
        cmp_stat *s = area < 0 ? &t->quantity[i].all : &t->quantity[i].area[area];
        SQ_TRY(add_test(f, &s->shift));
        SQ_TRY(add_test(f, &s->wide));
    }
    for (int i = 0; i < t->columns; i++) {
        cmp_drift *d = area < 0 ? &t->column[i].all : &t->column[i].area[area];
        SQ_TRY(add(f, d->p, &d->q));
    }
cleanup:
    return rc;
}

static sq_status adjust(sq_compare_report *r)
{
    sq_status rc = SQ_OK;
    family f = {0};
    double *q = NULL;
    for (int i = 0; i < r->tables; i++) {
        for (int64_t a = -1; a < r->table[i].areas; a++)
            SQ_TRY(add_area(&f, &r->table[i], a));
    }
    SQ_TRY(SQ_ALLOC(q, f.n + 1, "tests"));
    SQ_TRY(sq_benjamini_hochberg((int64_t)f.n, f.p, q));
    for (size_t i = 0; i < f.n; i++)
        *f.out[i] = q[i];
    r->tests = (int64_t)f.n;
cleanup:
    sq_free(f.p);
    sq_free(f.out);
    sq_free(q);
    return rc;
}

static sq_status exceed(sq_compare_report *r, const char *table, const char *area, const char *what,
                        const char *threshold, const char *unit, double value, double limit,
                        double q)
{
    sq_status rc = SQ_GROW(r->exceed, r->capacity, r->exceeded + 1, "exceeded thresholds");
    if (rc != SQ_OK)
        return rc;
    cmp_exceeded *e = &r->exceed[r->exceeded++];
    snprintf(e->table, sizeof e->table, "%s", table);
    snprintf(e->area, sizeof e->area, "%s", area);
    snprintf(e->what, sizeof e->what, "%s", what);
    snprintf(e->threshold, sizeof e->threshold, "%s", threshold);
    snprintf(e->unit, sizeof e->unit, "%s", unit);
    e->value = value;
    e->limit = limit;
    e->q = q;
    return SQ_OK;
}

typedef struct judge {
    sq_compare_report *r;
    const cmp_table *t;
    const char *area;
    int64_t least; /* rows; the whole table is always judged */
} judge;

static sq_status check(const judge *j, const char *what, const char *threshold, const char *unit,
                       double value, double limit, double q, int64_t n)
{
    if (n < j->least || !(fabs(value) > limit) || !(q < j->r->options.thresholds.significance))
        return SQ_OK;
    return exceed(j->r, j->t->name, j->area, what, threshold, unit, value, limit, q);
}

static sq_status judge_counts(const judge *j, const cmp_count *c)
{
    sq_status rc;
    const sq_compare_thresholds *limit = &j->r->options.thresholds;
    /* An area that is there in one release only has lost or won everything. */
    double change = c->rows[0] ? c->change.value : NAN;
    SQ_TRY(
        check(j, "rows", "count_change", "", change, limit->count_change, c->change.q, c->rows[0]));
    SQ_TRY(check(j, "rows without a partner", "unmatched", "", c->unmatched.value, limit->unmatched,
                 c->unmatched.q, c->rows[0] + c->rows[1]));
    SQ_TRY(check(j, "star_probability", "class_flips", "", c->flipped.value, limit->class_flips,
                 c->flipped.q, c->classed));
cleanup:
    return rc;
}

static sq_status judge_quantity(const judge *j, const cmp_quantity *q, const cmp_stat *s)
{
    sq_status rc = SQ_OK;
    const sq_compare_thresholds *limit = &j->r->options.thresholds;
    if (q->role == CMP_COORDINATE) {
        SQ_TRY(check(j, q->name, "position_shift", q->unit, s->median, limit->position_shift,
                     s->shift.q, s->n));
        SQ_TRY(check(j, q->name, "position_scatter", q->unit, s->scatter, limit->position_scatter,
                     s->wide.q, s->n));
    } else if (q->role == CMP_FLUX) {
        SQ_TRY(check(j, q->name, "flux_shift", q->unit, s->median, limit->flux_shift, s->shift.q,
                     s->n));
    } else if (q->role == CMP_FLUX_PULL) {
        SQ_TRY(check(j, q->name, "flux_scatter", q->unit, s->scatter, limit->flux_scatter,
                     s->wide.q, s->n));
    }
cleanup:
    return rc;
}

static sq_status judge_area(sq_compare_report *r, const cmp_table *t, int64_t area)
{
    sq_status rc;
    judge j = {r, t, area < 0 ? "" : t->area[area].name,
               area < 0 ? 1 : r->options.thresholds.least};
    SQ_TRY(judge_counts(&j, area < 0 ? &t->all : &t->area[area].count));
    for (int i = 0; i < t->quantities; i++)
        SQ_TRY(judge_quantity(&j, &t->quantity[i],
                              area < 0 ? &t->quantity[i].all : &t->quantity[i].area[area]));
    for (int i = 0; i < t->columns; i++) {
        const cmp_drift *d = area < 0 ? &t->column[i].all : &t->column[i].area[area];
        int64_t n = d->n[0] < d->n[1] ? d->n[0] : d->n[1];
        SQ_TRY(check(&j, t->column[i].name, "drift", "", d->distance, r->options.thresholds.drift,
                     d->q, n));
    }
cleanup:
    return rc;
}

static sq_status judge_map(sq_compare_report *r, const cmp_map *m)
{
    double limit = r->options.thresholds.map_difference;
    char what[CMP_NAME], cell[CMP_NAME];
    snprintf(what, sizeof what, "plane %lld", (long long)m->plane);
    snprintf(cell, sizeof cell, "x %lld, y %lld", (long long)(m->nx * (2 * m->cell_x + 1) / 16),
             (long long)(m->ny * (2 * m->cell_y + 1) / 16));
    if (!m->same_shape)
        return exceed(r, m->name, "", "shape", "map_difference", "", NAN, limit, NAN);
    if (m->relative > limit || isnan(m->relative) != (m->pixels == 0))
        return exceed(r, m->name, cell, what, "map_difference", "", m->relative, limit, NAN);
    double all = (double)(m->pixels + m->missing[0] + m->missing[1]);
    double missing = (double)(m->missing[0] + m->missing[1]);
    return missing > limit * all ? exceed(r, m->name, "", "pixels missing in one", "map_difference",
                                          "", missing / all, limit, NAN)
                                 : SQ_OK;
}

sq_status cmp_judge(sq_compare_report *r)
{
    sq_status rc;
    SQ_TRY(adjust(r));
    for (int i = 0; i < r->tables; i++) {
        for (int64_t a = -1; a < r->table[i].areas; a++)
            SQ_TRY(judge_area(r, &r->table[i], a));
    }
    for (int i = 0; i < r->maps; i++)
        SQ_TRY(judge_map(r, &r->map[i]));
    /* A table, map or column that went away or came is no drift, but nobody should miss it. */
    for (int s = 0; s < 2; s++) {
        for (int i = 0; i < r->only[s]; i++)
            SQ_TRY(exceed(r, r->only_name[s][i], "", s ? "only in B" : "only in A", "layout", "",
                          NAN, 0, NAN));
    }
cleanup:
    return rc;
}
