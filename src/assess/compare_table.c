/* One table in both releases: counts, and what the other files of the comparison add. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assess/compare_report.h"
#include "base/mem.h"

typedef struct job {
    const sq_compare_options *options;
    cmp_rows rows;
    cmp_table *out;
    double *ra, *dec; /* rows of A, then of B */
    double *mag[2];
    double *star[2]; /* class probabilities, NULL without */
    sq_block_sums *sums;
} job;

static void rows_clear(cmp_rows *r)
{
    for (int s = 0; s < 2; s++) {
        if (r->file[s].file)
            catalog_close(&r->file[s]);
        sq_free(r->area[s]);
        sq_free(r->patch[s]);
        sq_free(r->block[s]);
        sq_free(r->partner[s]);
        sq_free(r->row[s]);
        sq_free(r->start[s]);
    }
}

/* Gives memory back that the next step would have to add to. */
static void release(double **values)
{
    sq_free(*values);
    *values = NULL;
}

static void job_clear(job *j)
{
    rows_clear(&j->rows);
    sq_free(j->ra);
    sq_free(j->dec);
    for (int s = 0; s < 2; s++) {
        sq_free(j->mag[s]);
        sq_free(j->star[s]);
    }
    sq_block_sums_destroy(j->sums);
}

static sq_status open_tables(job *j, const char *group)
{
    sq_status rc = SQ_OK;
    const char *path[2] = {j->options->a, j->options->b};
    cmp_rows *r = &j->rows;
    j->out->sky = 1;
    for (int s = 0; s < 2; s++) {
        SQ_TRY(catalog_open_table(path[s], group[0] ? group : NULL, &r->file[s]));
        r->n[s] = r->file[s].rows;
        if (r->n[s] > INT32_MAX / 2)
            SQ_TRY(sq_fail(SQ_ERR_UNSUPPORTED, "%s: %s: %lld rows are too many", path[s], group,
                           (long long)r->n[s]));
        if (!catalog_has(&r->file[s], "ra") || !catalog_has(&r->file[s], "dec"))
            j->out->sky = 0;
    }
cleanup:
    return rc;
}

static sq_status list_alone(job *j)
{
    sq_status rc = SQ_OK;
    cmp_table *t = j->out;
    for (int s = 0; s < 2; s++) {
        const catalog *c = &j->rows.file[s], *other = &j->rows.file[1 - s];
        SQ_TRY(SQ_ALLOC(t->only_name[s], c->count + 1, "columns"));
        for (int i = 0; i < c->count; i++) {
            if (!catalog_has(other, c->column[i].name))
                SQ_TRY(sq_strdup(&t->only_name[s][t->only[s]++], c->column[i].name));
        }
    }
cleanup:
    return rc;
}

static sq_status read_positions(job *j)
{
    sq_status rc;
    const cmp_rows *r = &j->rows;
    SQ_TRY(SQ_ALLOC(j->ra, r->n[0] + r->n[1] + 1, "positions"));
    SQ_TRY(SQ_ALLOC(j->dec, r->n[0] + r->n[1] + 1, "positions"));
    for (int s = 0; s < 2; s++) {
        int64_t first = s ? r->n[0] : 0;
        SQ_TRY(catalog_read(&r->file[s], "ra", SQ_F64, j->ra + first));
        SQ_TRY(catalog_read(&r->file[s], "dec", SQ_F64, j->dec + first));
    }
cleanup:
    return rc;
}

/* Column of the magnitudes: the wanted band, r, or the first. */
static void choose_flux(job *j)
{
    cmp_table *t = j->out;
    const catalog *a = &j->rows.file[0], *b = &j->rows.file[1];
    const char *band = j->options->band;
    snprintf(t->flux, sizeof t->flux, "flux_%.60s", band ? band : "r");
    if (!catalog_has(a, t->flux) || !catalog_has(b, t->flux))
        t->flux[0] = '\0';
    for (int i = 0; !band && !t->flux[0] && i < a->count; i++) {
        const char *name = a->column[i].name;
        if (strncmp(name, "flux_", 5) == 0 && cmp_is_flux(name) && catalog_has(b, name))
            snprintf(t->flux, sizeof t->flux, "%s", name);
    }
    if (t->flux[0])
        snprintf(t->band, sizeof t->band, "%.15s", t->flux + 5);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* From the whole magnitude below the brightest percent to that above all but one of a thousand. */
static sq_status choose_bins(job *j)
{
    cmp_table *t = j->out;
    double *mag = NULL, high;
    int64_t n = 0;
    sq_status rc = SQ_ALLOC(mag, j->rows.n[0] + 1, "magnitudes");
    if (rc != SQ_OK)
        return rc;
    for (int64_t i = 0; i < j->rows.n[0]; i++) {
        if (isfinite(j->mag[0][i]))
            mag[n++] = j->mag[0][i];
    }
    qsort(mag, (size_t)n, sizeof *mag, by_value);
    t->step = j->options->bin_step;
    if (n) {
        t->low = isfinite(j->options->bin_low) ? j->options->bin_low : floor(mag[n / 100]);
        high = ceil(mag[n - 1 - n / 1000]);
        double bins = ceil((high - t->low) / t->step - 1e-9);
        t->bins = bins < 1 ? 0 : bins > CMP_BINS ? CMP_BINS : (int)bins;
    }
    sq_free(mag);
    return SQ_OK;
}

static sq_status read_magnitudes(job *j)
{
    sq_status rc = SQ_OK;
    choose_flux(j);
    if (!j->out->flux[0])
        return SQ_OK;
    for (int s = 0; s < 2; s++) {
        SQ_TRY(SQ_ALLOC(j->mag[s], j->rows.n[s] + 1, "magnitudes"));
        SQ_TRY(catalog_read(&j->rows.file[s], j->out->flux, SQ_F64, j->mag[s]));
        for (int64_t i = 0; i < j->rows.n[s]; i++)
            j->mag[s][i] = j->mag[s][i] > 0 ? 31.4 - 2.5 * log10(j->mag[s][i]) : NAN;
    }
    SQ_TRY(choose_bins(j));
cleanup:
    return rc;
}

static sq_status read_classes(job *j)
{
    static const char name[] = "star_probability";
    sq_status rc = SQ_OK;
    if (!catalog_has(&j->rows.file[0], name) || !catalog_has(&j->rows.file[1], name))
        return SQ_OK;
    for (int s = 0; s < 2; s++) {
        SQ_TRY(SQ_ALLOC(j->star[s], j->rows.n[s] + 1, "classes"));
        SQ_TRY(catalog_read(&j->rows.file[s], name, SQ_F64, j->star[s]));
    }
cleanup:
    return rc;
}

/* ---- Counts ---- */

/* 1 when a matched row changed its class, 0 when not, -1 when it has none in a release. */
static int flipped(const job *j, int64_t i)
{
    int64_t p = j->rows.partner[0][i];
    if (!j->star[0] || p < 0 || !isfinite(j->star[0][i]) || !isfinite(j->star[1][p]))
        return -1;
    return (j->star[0][i] >= 0.5) != (j->star[1][p] >= 0.5);
}

static void count_row(const job *j, int s, int64_t i, cmp_count *c)
{
    int alone = j->rows.partner[s][i] < 0, flip = s ? -1 : flipped(j, i);
    c->rows[s]++;
    c->vanished += alone && s == 0;
    c->appeared += alone && s == 1;
    c->matched += !alone && s == 0;
    c->classed += flip >= 0;
    c->flips += flip > 0;
}

static void count_patch(const job *j, int s, int64_t i)
{
    if (j->rows.patch[s][i] < 0 || !j->out->patch)
        return;
    cmp_patch *p = &j->out->patch[j->rows.patch[s][i]];
    int alone = j->rows.partner[s][i] < 0;
    p->rows[s]++;
    p->vanished += alone && s == 0;
    p->appeared += alone && s == 1;
    p->matched += !alone && s == 0;
    int64_t k = i + (s ? j->rows.n[0] : 0), n = p->rows[0] + p->rows[1];
    if (!j->ra || !isfinite(j->ra[k]) || !isfinite(j->dec[k]))
        return;
    if (n == 1)
        p->ra = j->ra[k];
    p->ra += remainder(j->ra[k] - p->ra, 360) / (double)n;
    p->dec += (j->dec[k] - p->dec) / (double)n;
}

typedef enum count_test { TEST_CHANGE, TEST_UNMATCHED, TEST_FLIPPED } count_test;

static void add_row(const job *j, count_test test, int s, int64_t i)
{
    int alone = j->rows.partner[s][i] < 0, flip = s ? -1 : flipped(j, i);
    int64_t block = j->rows.block[s][i];
    if (test == TEST_CHANGE && (alone || s == 0))
        sq_block_add(j->sums, block, alone ? (s ? 1 : -1) : 0, s == 0);
    else if (test == TEST_UNMATCHED)
        sq_block_add(j->sums, block, alone, 1);
    else if (test == TEST_FLIPPED && flip >= 0)
        sq_block_add(j->sums, block, flip, 1);
}

/* Of rows [from, to) of both; changes are two-sided, fractions one-sided above their limit. */
static cmp_test test_count(const job *j, count_test test, const int64_t from[2],
                           const int64_t to[2], double limit)
{
    for (int s = 0; s < 2; s++) {
        for (int64_t k = from[s]; k < to[s]; k++)
            add_row(j, test, s, j->rows.row[s][k]);
    }
    sq_block_test t = sq_block_finish(j->sums, test == TEST_CHANGE ? 0 : limit);
    double p = isnan(t.value)                 ? NAN
               : test == TEST_CHANGE          ? t.p
               : limit > 0 && t.value > limit ? t.p / 2
                                              : 1;
    return (cmp_test){t.value, p, NAN};
}

static void count_area(job *j, int64_t area, cmp_count *c)
{
    const sq_compare_thresholds *limit = &j->options->thresholds;
    int64_t from[2] = {0, 0}, to[2] = {j->rows.n[0], j->rows.n[1]};
    for (int s = 0; s < 2; s++) {
        if (area >= 0) {
            from[s] = j->rows.start[s][area];
            to[s] = j->rows.start[s][area + 1];
        }
        for (int64_t k = from[s]; k < to[s]; k++)
            count_row(j, s, j->rows.row[s][k], c);
    }
    c->change = test_count(j, TEST_CHANGE, from, to, 0);
    c->unmatched = (cmp_test){NAN, NAN, NAN};
    if (j->out->paired)
        c->unmatched = test_count(j, TEST_UNMATCHED, from, to, limit->unmatched);
    c->flipped = test_count(j, TEST_FLIPPED, from, to, limit->class_flips);
}

static void count_bins(job *j)
{
    cmp_table *t = j->out;
    for (int s = 0; s < 2; s++) {
        for (int64_t i = 0; i < j->rows.n[s]; i++) {
            /* A matched source stays in the bin of its magnitude in A. */
            int64_t p = j->rows.partner[s][i];
            double mag = s == 1 && p >= 0 ? j->mag[0][p] : j->mag[s][i];
            int k = cmp_bin(t, mag);
            if (k >= 0)
                count_row(j, s, i, &t->bin[k]);
        }
    }
    for (int k = 0; k < t->bins; k++) {
        cmp_count *c = &t->bin[k];
        double rows = (double)(c->rows[0] + c->rows[1]);
        c->change.value =
            c->rows[0] ? (double)(c->appeared - c->vanished) / (double)c->rows[0] : NAN;
        c->unmatched.value = rows > 0 ? (double)(c->appeared + c->vanished) / rows : NAN;
        c->flipped.value = c->classed ? (double)c->flips / (double)c->classed : NAN;
    }
}

static void count_all(job *j)
{
    cmp_table *t = j->out;
    count_area(j, -1, &t->all);
    for (int64_t a = 0; a < t->areas; a++)
        count_area(j, a, &t->area[a].count);
    if (j->mag[0])
        count_bins(j);
    for (int s = 0; s < 2; s++) {
        for (int64_t i = 0; i < j->rows.n[s]; i++)
            count_patch(j, s, i);
    }
}

sq_status cmp_table_compare(const sq_compare_options *options, const char *group, cmp_table *out)
{
    sq_status rc;
    job j = {.options = options, .out = out};
    snprintf(out->name, sizeof out->name, "%s", group[0] ? group : "catalog");
    SQ_TRY(open_tables(&j, group));
    SQ_TRY(list_alone(&j));
    SQ_TRY(cmp_areas(&j.rows, out));
    if (out->sky)
        SQ_TRY(read_positions(&j));
    SQ_TRY(out->sky ? cmp_pair_sky(options->match, j.ra, j.dec, &j.rows, out)
                    : cmp_pair_keys(&j.rows, out));
    SQ_TRY(sq_block_sums_create(out->blocks, &j.sums));
    SQ_TRY(read_magnitudes(&j));
    SQ_TRY(read_classes(&j));
    count_all(&j);
    for (int s = 0; s < 2; s++)
        release(&j.star[s]);
    SQ_TRY(cmp_quantities(&options->thresholds, &j.rows, j.ra, j.dec, j.mag, j.sums, out));
    for (int s = 0; s < 2; s++)
        release(&j.mag[s]);
    release(&j.ra);
    release(&j.dec);
    SQ_TRY(cmp_columns(&j.rows, j.sums, out));
cleanup:
    job_clear(&j);
    return rc;
}

void cmp_table_clear(cmp_table *table)
{
    for (int i = 0; i < table->quantities; i++) {
        sq_free(table->quantity[i].bin);
        sq_free(table->quantity[i].area);
    }
    for (int i = 0; i < table->columns; i++)
        sq_free(table->column[i].area);
    sq_free(table->quantity);
    sq_free(table->column);
    sq_free(table->area);
    sq_free(table->patch);
    for (int s = 0; s < 2; s++)
        sq_h5_free_names(table->only_name[s], table->only[s]);
}
