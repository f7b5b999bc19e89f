/* Differences of matched rows, quantity by quantity. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "assess/compare_report.h"
#include "base/select.h"
#include "base/mem.h"
#include "sky/sphere.h"

typedef struct job {
    const sq_compare_thresholds *limit;
    const cmp_rows *rows;
    const double *ra, *dec;
    sq_block_sums *sums;
    cmp_table *out;
    /* Pairs in the order of their areas. */
    int64_t n, *start;
    int32_t *a, *b;
    int8_t *bin;
    double *difference, *pull, *scratch; /* [n] */
    double *value[2], *error[2];         /* [rows] */
} job;

int cmp_is_flux(const char *name)
{
    const char *at = strstr(name, "flux_");
    return at && (at == name || at[-1] == '_') && at[5] && !strchr(at + 5, '_');
}

int cmp_bin(const cmp_table *table, double mag)
{
    double k = floor((mag - table->low) / table->step);
    return table->bins && k >= 0 && k < table->bins ? (int)k : -1;
}

static sq_status list_pairs(job *j, double *const mag[2])
{
    sq_status rc;
    const cmp_rows *r = j->rows;
    SQ_TRY(SQ_ALLOC(j->a, r->n[0] + 1, "pairs"));
    SQ_TRY(SQ_ALLOC(j->b, r->n[0] + 1, "pairs"));
    SQ_TRY(SQ_ALLOC(j->bin, r->n[0] + 1, "pairs"));
    SQ_TRY(SQ_ALLOC(j->start, j->out->areas + 2, "pairs"));
    for (int64_t area = 0; area <= j->out->areas; area++) {
        j->start[area] = j->n;
        for (int64_t k = r->start[0][area]; k < r->start[0][area + 1]; k++) {
            int64_t i = r->row[0][k];
            if (r->partner[0][i] < 0)
                continue;
            j->a[j->n] = (int32_t)i;
            j->b[j->n] = r->partner[0][i];
            j->bin[j->n++] = (int8_t)(mag[0] ? cmp_bin(j->out, mag[0][i]) : -1);
        }
    }
    SQ_TRY(SQ_ALLOC(j->difference, j->n + 1, "differences"));
    SQ_TRY(SQ_ALLOC(j->pull, j->n + 1, "differences"));
    SQ_TRY(SQ_ALLOC(j->scratch, j->n + 1, "differences"));
    for (int s = 0; s < 2; s++) {
        SQ_TRY(SQ_ALLOC(j->value[s], r->n[s] + 1, "values"));
        SQ_TRY(SQ_ALLOC(j->error[s], r->n[s] + 1, "errors"));
    }
cleanup:
    return rc;
}

static void job_clear(job *j)
{
    sq_free(j->a);
    sq_free(j->b);
    sq_free(j->bin);
    sq_free(j->start);
    sq_free(j->difference);
    sq_free(j->pull);
    sq_free(j->scratch);
    for (int s = 0; s < 2; s++) {
        sq_free(j->value[s]);
        sq_free(j->error[s]);
    }
}

/* Pairs [from, to), of one bin when bin >= 0, whose difference is finite. */
typedef struct subset {
    int64_t from, to;
    int bin;
} subset;

static int in_subset(const job *j, const subset *s, const double *d, int64_t k)
{
    return isfinite(d[k]) && (s->bin < 0 || j->bin[k] == s->bin);
}

static int sign(double x)
{
    return (x > 0) - (x < 0);
}

/* Sign test over blocks: is the median of d - centre zero? Zeros count only with `zeros`. */
static sq_block_test sign_test(const job *j, const subset *s, const double *d, double centre,
                               int zeros)
{
    for (int64_t k = s->from; k < s->to; k++) {
        int side = in_subset(j, s, d, k) ? sign(d[k] - centre) : 0;
        if (in_subset(j, s, d, k) && (side || zeros))
            sq_block_add(j->sums, j->rows->block[0][j->a[k]], side, 1);
    }
    return sq_block_finish(j->sums, 0);
}

/* One-sided: is the scatter above its limit, that is, do more than half of the values lie farther
 * from the median than limit / 1.4826? */
static double wide_test(const job *j, const subset *s, const double *d, const cmp_stat *stat,
                        double limit)
{
    for (int64_t k = s->from; k < s->to; k++) {
        if (in_subset(j, s, d, k))
            sq_block_add(j->sums, j->rows->block[0][j->a[k]],
                         sign(fabs(d[k] - stat->median) - limit / 1.4826), 1);
    }
    sq_block_test t = sq_block_finish(j->sums, 0);
    return t.value > 0 ? t.p / 2 : 1;
}

static cmp_stat measure(const job *j, const subset *s, const double *d)
{
    cmp_stat out = {.median = NAN, .mean = NAN, .scatter = NAN, .error = NAN};
    int64_t n = 0;
    double sum = 0;
    for (int64_t k = s->from; k < s->to; k++) {
        if (!in_subset(j, s, d, k))
            continue;
        j->scratch[n++] = d[k];
        sum += d[k];
    }
    out.n = n;
    if (!n)
        return out;
    out.mean = sum / (double)n;
    out.median = sq_median(j->scratch, n);
    for (int64_t k = 0; k < n; k++)
        j->scratch[k] = fabs(j->scratch[k] - out.median);
    out.scatter = 1.4826 * sq_median(j->scratch, n);
    /* The error of a median is that of the mean sign over twice the density there, for which that
     * of a Gaussian with this scatter stands. */
    out.error = sign_test(j, s, d, out.median, 1).error * sqrt(M_PI / 2) * out.scatter;
    return out;
}

static cmp_stat measure_and_test(const job *j, const subset *s, const double *d, double limit)
{
    cmp_stat out = measure(j, s, d);
    out.shift = (cmp_test){out.median, NAN, NAN};
    out.wide = (cmp_test){out.scatter, NAN, NAN};
    if (!out.n)
        return out;
    out.shift.p = sign_test(j, s, d, 0, 0).p;
    if (limit > 0)
        out.wide.p = out.scatter > limit ? wide_test(j, s, d, &out, limit) : 1;
    return out;
}

static double scatter_limit(const job *j, cmp_role role)
{
    return role == CMP_COORDINATE  ? j->limit->position_scatter
           : role == CMP_FLUX_PULL ? j->limit->flux_scatter
                                   : NAN;
}

static sq_status add_quantity(job *j, const char *name, const char *unit, cmp_role role,
                              const double *d)
{
    sq_status rc;
    cmp_table *t = j->out;
    cmp_quantity *q = &t->quantity[t->quantities++];
    double limit = scatter_limit(j, role);
    snprintf(q->name, sizeof q->name, "%s", name);
    snprintf(q->unit, sizeof q->unit, "%s", unit);
    q->role = role;
    SQ_TRY(SQ_ALLOC(q->bin, t->bins + 1, "quantity"));
    SQ_TRY(SQ_ALLOC(q->area, t->areas + 1, "quantity"));
    q->all = measure_and_test(j, &(subset){0, j->n, -1}, d, limit);
    for (int b = 0; b < t->bins; b++)
        q->bin[b] = measure(j, &(subset){0, j->n, b}, d);
    for (int64_t a = 0; a < t->areas; a++)
        q->area[a] = measure_and_test(j, &(subset){j->start[a], j->start[a + 1], -1}, d, limit);
cleanup:
    return rc;
}

/* Medians per patch: pairs of a patch lie anywhere among those of its area, so sort them. */
static sq_status by_patch(job *j, const double *d, size_t offset)
{
    sq_status rc;
    cmp_table *t = j->out;
    int64_t *start = NULL;
    int32_t *order = NULL;
    SQ_TRY(SQ_ALLOC(start, t->patches + 2, "patches"));
    SQ_TRY(SQ_ALLOC(order, j->n + 1, "patches"));
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t k = 0; k < j->n; k++) {
            int32_t p = j->rows->patch[0][j->a[k]];
            if (p < 0 || !isfinite(d[k]))
                continue;
            if (pass == 0)
                start[p + 1]++;
            else
                order[start[p]++] = (int32_t)k;
        }
        for (int64_t p = 0; pass == 0 && p < t->patches; p++)
            start[p + 1] += start[p];
    }
    for (int64_t p = 0, from = 0; p < t->patches; from = start[p++]) {
        int64_t n = start[p] - from;
        for (int64_t k = 0; k < n; k++)
            j->scratch[k] = d[order[from + k]];
        *(double *)((char *)&t->patch[p] + offset) = sq_median(j->scratch, n);
    }
cleanup:
    sq_free(start);
    sq_free(order);
    return rc;
}

/* Factor to arcsec of an error on the sky. */
static double to_arcsec(const char *unit)
{
    return strcmp(unit, "deg") == 0 ? 3600 : strcmp(unit, "mas") == 0 ? 1e-3 : 1;
}

/* Reads the stated errors; 0 when a release has none. */
static sq_status read_errors(job *j, const char *name, int sky, int *have)
{
    sq_status rc = SQ_OK;
    char error[CMP_NAME + 8], unit[CMP_UNIT];
    snprintf(error, sizeof error, "%s_err", name);
    *have = catalog_has(&j->rows->file[0], error) && catalog_has(&j->rows->file[1], error);
    for (int s = 0; *have && s < 2; s++) {
        SQ_TRY(catalog_read(&j->rows->file[s], error, SQ_F64, j->error[s]));
        SQ_TRY(catalog_unit(&j->rows->file[s], error, unit, sizeof unit));
        double scale = sky ? to_arcsec(unit) : 1;
        for (int64_t i = 0; i < j->rows->n[s]; i++)
            j->error[s][i] *= scale;
    }
cleanup:
    return rc;
}

static sq_status add_pull(job *j, const char *name, cmp_role role)
{
    char pull[CMP_NAME];
    snprintf(pull, sizeof pull, "%.80s pull", name);
    for (int64_t k = 0; k < j->n; k++) {
        double a = j->error[0][j->a[k]], b = j->error[1][j->b[k]];
        j->pull[k] = a > 0 && b > 0 ? j->pull[k] / hypot(a, b) : NAN;
    }
    return add_quantity(j, pull, "sigma", role, j->pull);
}

static sq_status add_position(job *j)
{
    sq_status rc = SQ_OK;
    int have;
    int64_t nA = j->rows->n[0];
    for (int axis = 0; axis < 2; axis++) {
        const char *name = axis ? "dec" : "ra";
        for (int64_t k = 0; k < j->n; k++) {
            int64_t a = j->a[k], b = nA + j->b[k];
            double c = cos(0.5 * (j->dec[a] + j->dec[b]) * M_PI / 180);
            j->difference[k] = axis ? 3600 * (j->dec[b] - j->dec[a])
                                    : 3600 * remainder(j->ra[b] - j->ra[a], 360) * c;
            j->pull[k] = j->difference[k];
        }
        SQ_TRY(add_quantity(j, name, "arcsec", CMP_COORDINATE, j->difference));
        SQ_TRY(by_patch(j, j->difference,
                        axis ? offsetof(cmp_patch, shift_dec) : offsetof(cmp_patch, shift_ra)));
        SQ_TRY(read_errors(j, name, 1, &have));
        if (have)
            SQ_TRY(add_pull(j, name, CMP_PULL));
    }
    for (int64_t k = 0; k < j->n; k++) {
        int64_t a = j->a[k], b = nA + j->b[k];
        j->difference[k] = 3600 * sq_separation(j->ra[a], j->dec[a], j->ra[b], j->dec[b]);
    }
    SQ_TRY(add_quantity(j, "separation", "arcsec", CMP_SEPARATION, j->difference));
cleanup:
    return rc;
}

/* A column of numbers: B - A, of fluxes in mag. */
static sq_status add_column(job *j, const char *name)
{
    sq_status rc = SQ_OK;
    char unit[CMP_UNIT];
    int have, flux = cmp_is_flux(name), class = strcmp(name, "star_probability") == 0;
    SQ_TRY(read_errors(j, name, 0, &have));
    if (!have && !flux && !class && j->out->sky)
        return SQ_OK;
    for (int s = 0; s < 2; s++)
        SQ_TRY(catalog_read(&j->rows->file[s], name, SQ_F64, j->value[s]));
    for (int64_t k = 0; k < j->n; k++) {
        double a = j->value[0][j->a[k]], b = j->value[1][j->b[k]];
        j->pull[k] = b - a;
        j->difference[k] = !flux ? b - a : a > 0 && b > 0 ? 0 - 2.5 * log10(b / a) : NAN;
    }
    SQ_TRY(catalog_unit(&j->rows->file[0], name, unit, sizeof unit));
    SQ_TRY(add_quantity(j, name, flux ? "mag" : unit,
                        flux    ? CMP_FLUX
                        : class ? CMP_CLASS
                                : CMP_OTHER,
                        j->difference));
    if (strcmp(name, j->out->flux) == 0)
        SQ_TRY(by_patch(j, j->difference, offsetof(cmp_patch, mag)));
    if (have)
        SQ_TRY(add_pull(j, name, flux ? CMP_FLUX_PULL : CMP_PULL));
cleanup:
    return rc;
}

static int is_quantity(const job *j, const char *name)
{
    static const char *const other[] = {"healpix29", "tile", "patch", "ra", "dec"};
    size_t last = j->out->sky ? 5 : 3, n = strlen(name);
    for (size_t i = 0; i < last; i++) {
        if (strcmp(name, other[i]) == 0)
            return 0;
    }
    return !(n > 4 && strcmp(name + n - 4, "_err") == 0) && catalog_has(&j->rows->file[1], name);
}

sq_status cmp_quantities(const sq_compare_thresholds *thresholds, const cmp_rows *rows,
                         const double *ra, const double *dec, double *const mag[2],
                         sq_block_sums *sums, cmp_table *out)
{
    sq_status rc;
    job j = {.limit = thresholds, .rows = rows, .ra = ra, .dec = dec, .sums = sums, .out = out};
    SQ_TRY(list_pairs(&j, mag));
    SQ_TRY(SQ_ALLOC(out->quantity, 2 * rows->file[0].count + 8, "quantities"));
    for (int64_t p = 0; p < out->patches; p++)
        out->patch[p].shift_ra = out->patch[p].shift_dec = out->patch[p].mag = NAN;
    if (out->sky)
        SQ_TRY(add_position(&j));
    for (int i = 0; i < rows->file[0].count; i++) {
        if (is_quantity(&j, rows->file[0].column[i].name))
            SQ_TRY(add_column(&j, rows->file[0].column[i].name));
    }
cleanup:
    job_clear(&j);
    return rc;
}
