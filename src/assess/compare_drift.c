/* Drift of the distributions of columns. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "assess/compare_report.h"
#include "base/mem.h"

/* Which piece of sky a row belongs to is no measurement. */
static int is_place(const char *name)
{
    return strcmp(name, "healpix29") == 0 || strcmp(name, "tile") == 0 ||
           strcmp(name, "patch") == 0;
}

static cmp_drift drift_of(sq_ks_value *const value[2], int64_t n, sq_block_sums *sums)
{
    sq_ks_test t = sq_ks(value[0], value[1], n, sums);
    return (cmp_drift){
        {t.n[0], t.n[1]}, t.distance, t.at, t.signed_distance, isnan(t.distance) ? NAN : t.p, NAN};
}

/* Finite values of rows [from, to) of each side. */
static int64_t collect(const cmp_rows *rows, double *const value[2], const int64_t from[2],
                       const int64_t to[2], sq_ks_value *out)
{
    int64_t n = 0;
    for (int s = 0; s < 2; s++) {
        for (int64_t k = from[s]; k < to[s]; k++) {
            int64_t i = rows->row[s][k];
            if (isfinite(value[s][i]))
                out[n++] = (sq_ks_value){value[s][i], rows->block[s][i], s};
        }
    }
    return n;
}

/* A column that is the same in both needs no sorting. */
static int same(const cmp_rows *rows, double *const value[2])
{
    size_t n = (size_t)rows->n[0];
    return rows->n[0] == rows->n[1] && memcmp(value[0], value[1], n * sizeof(double)) == 0 &&
           memcmp(rows->area[0], rows->area[1], n * sizeof(int32_t)) == 0;
}

static void compare_column(const cmp_rows *rows, double *const value[2],
                           sq_ks_value *const scratch[2], sq_block_sums *sums, int64_t areas,
                           cmp_column *out)
{
    int equal = same(rows, value);
    for (int64_t a = -1; a < areas; a++) {
        int64_t from[2] = {0, 0}, to[2] = {rows->n[0], rows->n[1]};
        for (int s = 0; a >= 0 && s < 2; s++) {
            from[s] = rows->start[s][a];
            to[s] = rows->start[s][a + 1];
        }
        cmp_drift *d = a < 0 ? &out->all : &out->area[a];
        int64_t n = collect(rows, value, from, to, scratch[0]);
        if (equal)
            *d = (cmp_drift){{n / 2, n / 2}, n ? 0 : NAN, NAN, 0, n ? 1 : NAN, NAN};
        else
            *d = drift_of(scratch, n, sums);
    }
    for (int s = 0; s < 2; s++)
        out->missing[s] = rows->n[s] - out->all.n[s];
}

sq_status cmp_columns(const cmp_rows *rows, sq_block_sums *sums, cmp_table *out)
{
    sq_status rc;
    double *value[2] = {NULL, NULL};
    sq_ks_value *scratch[2] = {NULL, NULL};
    const catalog *a = &rows->file[0], *b = &rows->file[1];
    for (int s = 0; s < 2; s++)
        SQ_TRY(SQ_ALLOC(value[s], rows->n[s] + 1, "column"));
    for (int s = 0; s < 2; s++)
        SQ_TRY(SQ_ALLOC(scratch[s], rows->n[0] + rows->n[1] + 1, "values of both"));
    SQ_TRY(SQ_ALLOC(out->column, a->count + 1, "columns"));
    for (int i = 0; i < a->count; i++) {
        const char *name = a->column[i].name;
        if (is_place(name) || !catalog_has(b, name))
            continue;
        cmp_column *c = &out->column[out->columns++];
        snprintf(c->name, sizeof c->name, "%s", name);
        SQ_TRY(catalog_unit(a, name, c->unit, sizeof c->unit));
        SQ_TRY(SQ_ALLOC(c->area, out->areas + 1, "drift"));
        for (int s = 0; s < 2; s++)
            SQ_TRY(catalog_read(s ? b : a, name, SQ_F64, value[s]));
        compare_column(rows, value, scratch, sums, out->areas, c);
    }
cleanup:
    for (int s = 0; s < 2; s++)
        sq_free(value[s]);
    sq_free(scratch[0]);
    sq_free(scratch[1]);
    return rc;
}
