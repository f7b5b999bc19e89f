/* A comparison as a table and as JSON. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assess/compare_report.h"
#include "assess/json.h"
#include "base/mem.h"

enum { MOST_LINES = 20 };

static void print_count(FILE *out, const char *name, const cmp_count *c)
{
    fprintf(out, "  %-22s %9lld %9lld %9lld %9lld %9lld", name, (long long)c->rows[0],
            (long long)c->rows[1], (long long)c->matched, (long long)c->vanished,
            (long long)c->appeared);
    if (c->rows[0])
        fprintf(out, "  %+8.3f%%", 100 * c->change.value);
    if (c->classed)
        fprintf(out, "  %7lld", (long long)c->flips);
    fputc('\n', out);
}

typedef struct ranked {
    int64_t area, changes;
} ranked;

static int by_changes(const void *a, const void *b)
{
    const ranked *p = a, *q = b;
    return p->changes != q->changes ? (p->changes < q->changes) - (p->changes > q->changes)
                                    : (p->area > q->area) - (p->area < q->area);
}

/* All areas in their order; of many, those in which most rows came or went. */
static void print_areas(FILE *out, const cmp_table *t)
{
    ranked *r = NULL;
    if (SQ_ALLOC(r, t->areas + 1, "areas") != SQ_OK)
        return;
    for (int64_t a = 0; a < t->areas; a++)
        r[a] = (ranked){a, t->area[a].count.vanished + t->area[a].count.appeared};
    if (t->areas > MOST_LINES)
        qsort(r, (size_t)t->areas, sizeof *r, by_changes);
    for (int64_t k = 0; k < t->areas && k < MOST_LINES; k++)
        print_count(out, t->area[r[k].area].name, &t->area[r[k].area].count);
    if (t->areas > MOST_LINES)
        fprintf(out, "  ... and %lld areas with fewer changes: see --json\n",
                (long long)(t->areas - MOST_LINES));
    sq_free(r);
}

static void print_counts(FILE *out, const cmp_table *t)
{
    char name[32];
    fprintf(out, "\n  %-22s %9s %9s %9s %9s %9s  %9s  class flips\n", "rows", "A", "B", "matched",
            "vanished", "appeared", "change");
    print_count(out, "all", &t->all);
    for (int k = 0; k < t->bins; k++) {
        snprintf(name, sizeof name, "%.8s %5.2f - %5.2f", t->band, t->low + k * t->step,
                 t->low + (k + 1) * t->step);
        print_count(out, name, &t->bin[k]);
    }
    print_areas(out, t);
}

/* The area with the largest shift that is significant, or -1. */
static int64_t worst_area(const sq_compare_report *r, const cmp_table *t, const cmp_quantity *q)
{
    int64_t worst = -1;
    for (int64_t a = 0; a < t->areas; a++) {
        const cmp_stat *s = &q->area[a];
        if (s->n >= r->options.thresholds.least &&
            s->shift.q < r->options.thresholds.significance &&
            (worst < 0 || fabs(s->median) > fabs(q->area[worst].median)))
            worst = a;
    }
    return worst;
}

static void print_quantities(FILE *out, const sq_compare_report *r, const cmp_table *t)
{
    fprintf(out, "\n  %-22s %9s %11s %10s %11s %10s %-8s %9s  %s\n", "B - A", "rows", "median",
            "+-", "mean", "scatter", "unit", "q", "largest significant area");
    for (int i = 0; i < t->quantities; i++) {
        const cmp_quantity *q = &t->quantity[i];
        const cmp_stat *s = &q->all;
        if (t->sky && (q->role == CMP_OTHER || strncmp(q->name, "psf_", 4) == 0 ||
                       strncmp(q->name, "aperture_", 9) == 0 || q->role == CMP_PULL))
            continue; /* in the JSON */
        fprintf(out, "  %-22s %9lld %11.5f %10.5f %11.5f %10.5f %-8s %9.2g", q->name,
                (long long)s->n, s->median, s->error, s->mean, s->scatter, q->unit, s->shift.q);
        int64_t a = worst_area(r, t, q);
        if (a >= 0)
            fprintf(out, "  %s: %+.5f", t->area[a].name, q->area[a].median);
        fputc('\n', out);
    }
}

static void print_by_magnitude(FILE *out, const cmp_table *t)
{
    for (int i = 0; i < t->quantities && t->bins; i++) {
        const cmp_quantity *q = &t->quantity[i];
        if (strcmp(q->name, t->flux) != 0 && strcmp(q->name, "separation") != 0)
            continue;
        fprintf(out, "\n  %s by magnitude: rows, median, scatter [%s]\n", q->name, q->unit);
        for (int k = 0; k < t->bins; k++)
            fprintf(out, "  %.8s %5.2f - %5.2f %9lld %11.5f %10.5f\n", t->band,
                    t->low + k * t->step, t->low + (k + 1) * t->step, (long long)q->bin[k].n,
                    q->bin[k].median, q->bin[k].scatter);
    }
}

typedef struct drifted {
    const cmp_column *column;
    int64_t area;
    double distance, q;
} drifted;

static int by_distance(const void *a, const void *b)
{
    const drifted *p = a, *q = b;
    return (p->distance < q->distance) - (p->distance > q->distance);
}

/* The significant drifts, largest first. */
static void print_drift(FILE *out, const sq_compare_report *r, const cmp_table *t)
{
    drifted *d = NULL;
    int64_t n = 0;
    if (SQ_ALLOC(d, t->columns * (t->areas + 1) + 1, "drifts") != SQ_OK)
        return;
    for (int i = 0; i < t->columns; i++) {
        for (int64_t a = -1; a < t->areas; a++) {
            const cmp_drift *one = a < 0 ? &t->column[i].all : &t->column[i].area[a];
            if (one->q < r->options.thresholds.significance && one->distance > 0)
                d[n++] = (drifted){&t->column[i], a, one->distance, one->q};
        }
    }
    qsort(d, (size_t)n, sizeof *d, by_distance);
    fprintf(out, "\n  %d columns, %lld significant drifts%s\n", t->columns, (long long)n,
            n ? "; the largest (Kolmogorov-Smirnov distance, adjusted probability):" : "");
    for (int64_t i = 0; i < n && i < MOST_LINES; i++)
        fprintf(out, "  %-28s %-22s %8.4f %9.2g\n", d[i].column->name,
                d[i].area < 0 ? "all" : t->area[d[i].area].name, d[i].distance, d[i].q);
    sq_free(d);
}

static void print_map(FILE *out, const cmp_map *m)
{
    if (!m->same_shape) {
        fprintf(out, "\nmap %s: not the same shape\n", m->name);
        return;
    }
    fprintf(
        out,
        "\nmap %s, plane %lld: %lld pixels in both, %lld differ, %lld and %lld missing in A and "
        "B alone\n",
        m->name, (long long)m->plane, (long long)m->pixels, (long long)m->different,
        (long long)m->missing[0], (long long)m->missing[1]);
    fprintf(out, "  mean %.6g, rms %.6g %s (%.3g of A's), largest %.6g at x %lld, y %lld\n",
            m->mean, m->rms, m->unit, m->relative, m->largest, (long long)m->x, (long long)m->y);
}

void sq_compare_print_exceeded(const sq_compare_report *r, FILE *out)
{
    fprintf(out, "%lld thresholds exceeded (of %lld tests)\n", (long long)r->exceeded,
            (long long)r->tests);
    for (size_t i = 0; i < r->exceeded; i++) {
        const cmp_exceeded *e = &r->exceed[i];
        if (strcmp(e->threshold, "layout") == 0) {
            fprintf(out, "  %s: %s\n", e->table, e->what);
            continue;
        }
        fprintf(out, "  %s: %s: %s: %s %.4g > %g%s%s", e->table, e->area[0] ? e->area : "all",
                e->what, e->threshold, e->value, e->limit, e->unit[0] ? " " : "", e->unit);
        if (isfinite(e->q))
            fprintf(out, " (q %.2g)", e->q);
        fputc('\n', out);
    }
}

void sq_compare_print(const sq_compare_report *r, FILE *out)
{
    fprintf(out, "A %s\nB %s\n", r->path[0], r->path[1]);
    if (r->identical)
        fprintf(out, "the manifests are equal: %s\n", r->manifest[0]);
    for (int i = 0; i < r->tables; i++) {
        const cmp_table *t = &r->table[i];
        fprintf(out, "\n%s: rows paired: %s; %lld blocks\n", t->name, t->pairing,
                (long long)t->blocks);
        print_counts(out, t);
        print_quantities(out, r, t);
        print_by_magnitude(out, t);
        print_drift(out, r, t);
        for (int s = 0; s < 2; s++) {
            for (int k = 0; k < t->only[s]; k++)
                fprintf(out, "  only in %c: %s\n", "AB"[s], t -> only_name[s][k]);
        }
        if (t->patches_differ)
            fprintf(out, "  the patches of A and B differ: no figures by patch\n");
    }
    for (int i = 0; i < r->maps; i++)
        print_map(out, &r->map[i]);
    fputc('\n', out);
    sq_compare_print_exceeded(r, out);
}

/* ---- JSON ---- */

static void put_test(json *j, const char *name, const cmp_test *t)
{
    json_open(j, name, '{');
    json_real(j, "value", t->value);
    json_real(j, "p", t->p);
    json_real(j, "q", t->q);
    json_close(j, '}');
}

static void put_counts(json *j, const cmp_count *c, int tests)
{
    json_integer(j, "rows_a", c->rows[0]);
    json_integer(j, "rows_b", c->rows[1]);
    json_integer(j, "matched", c->matched);
    json_integer(j, "vanished", c->vanished);
    json_integer(j, "appeared", c->appeared);
    json_integer(j, "classed", c->classed);
    json_integer(j, "class_flips", c->flips);
    if (!tests)
        return;
    put_test(j, "change", &c->change);
    put_test(j, "unmatched", &c->unmatched);
    put_test(j, "flipped", &c->flipped);
}

static void put_stat(json *j, const cmp_stat *s, int tests)
{
    json_integer(j, "n", s->n);
    json_real(j, "median", s->median);
    json_real(j, "error", s->error);
    json_real(j, "mean", s->mean);
    json_real(j, "scatter", s->scatter);
    if (!tests)
        return;
    json_real(j, "p", s->shift.p);
    json_real(j, "q", s->shift.q);
    json_real(j, "scatter_q", s->wide.q);
}

static void put_quantity(json *j, const cmp_table *t, const cmp_quantity *q)
{
    static const char *const role[] = {
        [CMP_OTHER] = "other",           [CMP_COORDINATE] = "coordinate",
        [CMP_SEPARATION] = "separation", [CMP_FLUX] = "flux",
        [CMP_CLASS] = "class",           [CMP_PULL] = "pull",
        [CMP_FLUX_PULL] = "flux pull"};
    json_open(j, NULL, '{');
    json_text(j, "name", q->name);
    json_text(j, "unit", q->unit);
    json_text(j, "role", role[q->role]);
    json_open(j, "all", '{');
    put_stat(j, &q->all, 1);
    json_close(j, '}');
    json_open(j, "bins", '[');
    for (int k = 0; k < t->bins; k++) {
        json_open(j, NULL, '{');
        json_real(j, "low", t->low + k * t->step);
        json_real(j, "high", t->low + (k + 1) * t->step);
        put_stat(j, &q->bin[k], 0);
        json_close(j, '}');
    }
    json_close(j, ']');
    json_open(j, "areas", '[');
    for (int64_t a = 0; a < t->areas; a++) {
        json_open(j, NULL, '{');
        json_text(j, "area", t->area[a].name);
        put_stat(j, &q->area[a], 1);
        json_close(j, '}');
    }
    json_close(j, ']');
    json_close(j, '}');
}

static void put_drift(json *j, const char *area, const cmp_drift *d)
{
    json_open(j, NULL, '{');
    json_text(j, "area", area);
    json_integer(j, "n_a", d->n[0]);
    json_integer(j, "n_b", d->n[1]);
    json_real(j, "distance", d->distance);
    json_real(j, "at", d->at);
    json_real(j, "signed_distance", d->signed_distance);
    json_real(j, "p", d->p);
    json_real(j, "q", d->q);
    json_close(j, '}');
}

static void put_column(json *j, const cmp_table *t, const cmp_column *c)
{
    json_open(j, NULL, '{');
    json_text(j, "name", c->name);
    json_text(j, "unit", c->unit);
    json_integer(j, "missing_a", c->missing[0]);
    json_integer(j, "missing_b", c->missing[1]);
    json_open(j, "drift", '[');
    put_drift(j, "", &c->all);
    for (int64_t a = 0; a < t->areas; a++) {
        if (c->area[a].distance > 0)
            put_drift(j, t->area[a].name, &c->area[a]);
    }
    json_close(j, ']');
    json_close(j, '}');
}

static void put_patch(json *j, const cmp_table *t, const cmp_patch *p)
{
    json_open(j, NULL, '{');
    if (p->area >= 0)
        json_text(j, "area", t->area[p->area].name);
    json_integer(j, "patch", p->number);
    json_integer(j, "rows_a", p->rows[0]);
    json_integer(j, "rows_b", p->rows[1]);
    json_integer(j, "matched", p->matched);
    json_integer(j, "vanished", p->vanished);
    json_integer(j, "appeared", p->appeared);
    json_real(j, "ra", p->rows[0] + p->rows[1] ? p->ra : NAN);
    json_real(j, "dec", p->rows[0] + p->rows[1] ? p->dec : NAN);
    json_real(j, "shift_ra_arcsec", p->shift_ra);
    json_real(j, "shift_dec_arcsec", p->shift_dec);
    json_real(j, "shift_mag", p->mag);
    json_close(j, '}');
}

static void put_names(json *j, const char *name, char *const *list, int count)
{
    json_open(j, name, '[');
    for (int i = 0; i < count; i++)
        json_text(j, NULL, list[i]);
    json_close(j, ']');
}

static void put_areas(json *j, const cmp_table *t)
{
    json_open(j, "areas", '[');
    for (int64_t a = 0; a < t->areas; a++) {
        json_open(j, NULL, '{');
        json_text(j, "area", t->area[a].name);
        put_counts(j, &t->area[a].count, 1);
        json_open(j, "corners", '[');
        for (int k = 0; k < 2 * t->area[a].corners; k++)
            json_real(j, NULL, t->area[a].corner[k]);
        json_close(j, ']');
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void put_table(json *j, const cmp_table *t)
{
    json_open(j, NULL, '{');
    json_text(j, "name", t->name);
    json_text(j, "pairing", t->pairing);
    json_boolean(j, "sky", t->sky);
    json_text(j, "band", t->band);
    json_integer(j, "blocks", t->blocks);
    json_open(j, "all", '{');
    put_counts(j, &t->all, 1);
    json_close(j, '}');
    json_open(j, "bins", '[');
    for (int k = 0; k < t->bins; k++) {
        json_open(j, NULL, '{');
        json_real(j, "low", t->low + k * t->step);
        json_real(j, "high", t->low + (k + 1) * t->step);
        put_counts(j, &t->bin[k], 0);
        json_close(j, '}');
    }
    json_close(j, ']');
    put_areas(j, t);
    json_boolean(j, "patches_differ", t->patches_differ);
    json_open(j, "patches", '[');
    for (int64_t p = 0; p < t->patches; p++)
        put_patch(j, t, &t->patch[p]);
    json_close(j, ']');
    json_open(j, "quantities", '[');
    for (int i = 0; i < t->quantities; i++)
        put_quantity(j, t, &t->quantity[i]);
    json_close(j, ']');
    json_open(j, "columns", '[');
    for (int i = 0; i < t->columns; i++)
        put_column(j, t, &t->column[i]);
    json_close(j, ']');
    put_names(j, "only_a", t->only_name[0], t->only[0]);
    put_names(j, "only_b", t->only_name[1], t->only[1]);
    json_close(j, '}');
}

static void put_map(json *j, const cmp_map *m)
{
    json_open(j, NULL, '{');
    json_text(j, "name", m->name);
    json_text(j, "unit", m->unit);
    json_integer(j, "plane", m->plane);
    json_boolean(j, "same_shape", m->same_shape);
    json_integer(j, "pixels", m->pixels);
    json_integer(j, "different", m->different);
    json_integer(j, "missing_a", m->missing[0]);
    json_integer(j, "missing_b", m->missing[1]);
    json_real(j, "mean", m->mean);
    json_real(j, "rms", m->rms);
    json_real(j, "rms_a", m->rms_a);
    json_real(j, "relative", m->relative);
    json_real(j, "largest", m->largest);
    json_integer(j, "x", m->x);
    json_integer(j, "y", m->y);
    json_open(j, "cell_rms", '[');
    for (int y = 0; y < 8; y++) {
        json_open(j, NULL, '[');
        for (int x = 0; x < 8; x++)
            json_real(j, NULL, m->cell[y][x]);
        json_close(j, ']');
    }
    json_close(j, ']');
    json_close(j, '}');
}

static void put_thresholds(json *j, const sq_compare_thresholds *t)
{
    json_open(j, "thresholds", '{');
    for (const sq_config_field *f = sq_compare_fields; f->key; f++) {
        const void *at = (const char *)t + f->offset;
        if (f->type == SQ_CONFIG_INT)
            json_integer(j, f->key, *(const int64_t *)at);
        else
            json_real(j, f->key, *(const double *)at);
    }
    json_close(j, '}');
}

static void put_exceeded(json *j, const cmp_exceeded *e)
{
    json_open(j, NULL, '{');
    json_text(j, "table", e->table);
    json_text(j, "area", e->area);
    json_text(j, "what", e->what);
    json_text(j, "threshold", e->threshold);
    json_text(j, "unit", e->unit);
    json_real(j, "value", e->value);
    json_real(j, "limit", e->limit);
    json_real(j, "q", e->q);
    json_close(j, '}');
}

sq_status sq_compare_json(const sq_compare_report *r, const char *path)
{
    json file, *j = &file;
    sq_status rc = json_create(path, j);
    if (rc != SQ_OK)
        return rc;
    json_open(j, NULL, '{');
    json_text(j, "a", r->path[0]);
    json_text(j, "b", r->path[1]);
    json_text(j, "manifest_a", r->manifest[0]);
    json_text(j, "manifest_b", r->manifest[1]);
    json_boolean(j, "identical", r->identical);
    json_real(j, "match_arcsec", r->options.match);
    json_integer(j, "tests", r->tests);
    put_thresholds(j, &r->options.thresholds);
    json_open(j, "exceeded", '[');
    for (size_t i = 0; i < r->exceeded; i++)
        put_exceeded(j, &r->exceed[i]);
    json_close(j, ']');
    put_names(j, "only_a", r->only_name[0], r->only[0]);
    put_names(j, "only_b", r->only_name[1], r->only[1]);
    json_open(j, "tables", '[');
    for (int i = 0; i < r->tables; i++)
        put_table(j, &r->table[i]);
    json_close(j, ']');
    json_open(j, "maps", '[');
    for (int i = 0; i < r->maps; i++)
        put_map(j, &r->map[i]);
    json_close(j, ']');
    json_close(j, '}');
    return json_finish(j, path);
}
