#include "assess/quantity.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { MAX_QUANTILES = 32, NAME = 64 };

typedef enum kind {
    KIND_NONE,
    KIND_RA, /* residuals in arcsec on the sky */
    KIND_DEC,
    KIND_POSITION, /* distance in arcsec, intervals are error ellipses */
    KIND_FLUX,     /* residuals relative to the true flux */
    KIND_COLOUR,   /* mag */
    KIND_SHAPE     /* galaxies only */
} kind;

typedef struct quantity {
    kind kind;
    char truth[2][NAME]; /* columns of the truth: one, or two fluxes of a colour */
    const double *value, *error, *true1, *true2, *star, *dec;
    double error_scale;
    const double *found_dec, *dec_error, *covariance; /* of positions */
    int quantiles;
    double p[MAX_QUANTILES];
    const double *at[MAX_QUANTILES];
} quantity;

/* Residuals and normal scores of one quantity over the pairs that have it. */
typedef struct samples {
    int64_t n;
    double *residual, *score, *mag;
    int64_t *block;
    double *selected; /* scratch */
    int64_t *selected_block;
    double *inside, *whole; /* [blocks] */
} samples;

/* Stands for the pair of ra and dec with their covariance, after the columns. */
static const char position[] = "position";

static int ends_with(const char *text, const char *tail)
{
    size_t n = strlen(text), m = strlen(tail);
    return n >= m && strcmp(text + n - m, tail) == 0;
}

/* The probability of "X_q05", "X_q975"; NaN when the name is not a quantile of `base`. */
static double quantile_of(const char *name, const char *base)
{
    size_t n = strlen(base);
    if (strncmp(name, base, n) != 0 || strncmp(name + n, "_q", 2) != 0 || !name[n + 2])
        return NAN;
    double p = 0, scale = 1;
    for (const char *c = name + n + 2; *c; c++) {
        if (!isdigit((unsigned char)*c))
            return NAN;
        scale /= 10;
        p += (*c - '0') * scale;
    }
    return p > 0 && p < 1 ? p : NAN;
}

static int is_auxiliary(const char *name)
{
    const char *q = strrchr(name, '_');
    return ends_with(name, "_err") || (q && q[1] == 'q' && isdigit((unsigned char)q[2]));
}

static int flux_of(const catalog *truth, const char *name, char out[NAME])
{
    const char *at = strstr(name, "flux_");
    if (!at || (at > name && at[-1] != '_') || !catalog_has(truth, at))
        return 0;
    snprintf(out, NAME, "%s", at);
    return 1;
}

/* "colour_g_r": the fluxes of g and r. */
static int colour_of(const catalog *truth, const char *name, char out[2][NAME])
{
    char first[NAME], *second;
    if (strncmp(name, "colour_", 7) != 0 && strncmp(name, "color_", 6) != 0)
        return 0;
    snprintf(first, sizeof first, "%s", strchr(name, '_') + 1);
    second = strchr(first, '_');
    if (!second)
        return 0;
    *second++ = '\0';
    snprintf(out[0], NAME, "flux_%.50s", first);
    snprintf(out[1], NAME, "flux_%.50s", second);
    return catalog_has(truth, out[0]) && catalog_has(truth, out[1]);
}

static kind kind_of(const catalog *truth, const char *name, char out[2][NAME])
{
    static const char *const place[] = {"x",  "y",   "tile", "patch",    "star",
                                        "id", "row", "cell", "healpix29"};
    if (is_auxiliary(name))
        return KIND_NONE;
    if (strcmp(name, "ra") == 0 || strcmp(name, "dec") == 0) {
        snprintf(out[0], NAME, "%s", name);
        return name[0] == 'r' ? KIND_RA : KIND_DEC;
    }
    for (size_t i = 0; i < sizeof place / sizeof *place; i++) {
        if (strcmp(name, place[i]) == 0)
            return KIND_NONE;
    }
    if (strcmp(name, position) == 0) {
        snprintf(out[0], NAME, "ra");
        return KIND_POSITION;
    }
    if (flux_of(truth, name, out[0]))
        return KIND_FLUX;
    if (colour_of(truth, name, out))
        return KIND_COLOUR;
    snprintf(out[0], NAME, "%s", name);
    return catalog_has(truth, name) ? KIND_SHAPE : KIND_NONE;
}

static void insert_quantile(quantity *q, double p, const double *at)
{
    int k = q->quantiles++;
    for (; k > 0 && q->p[k - 1] > p; k--) {
        q->p[k] = q->p[k - 1];
        q->at[k] = q->at[k - 1];
    }
    q->p[k] = p;
    q->at[k] = at;
}

static sq_status read_intervals(catalog *release, const char *name, quantity *q)
{
    char other[NAME + 8], unit[32];
    for (int i = 0; i < release->count && q->quantiles < MAX_QUANTILES; i++) {
        const double *at, p = quantile_of(release->column[i].name, name);
        if (!isfinite(p))
            continue;
        sq_status rc = catalog_column(release, release->column[i].name, &at);
        if (rc != SQ_OK)
            return rc;
        insert_quantile(q, p, at);
    }
    snprintf(other, sizeof other, "%s_err", name);
    q->error_scale = 1;
    if (q->kind == KIND_RA || q->kind == KIND_DEC) {
        catalog_unit(release, other, unit, sizeof unit);
        q->error_scale = strcmp(unit, "deg") == 0 ? 3600 : strcmp(unit, "mas") == 0 ? 1e-3 : 1;
    }
    return catalog_optional(release, other, &q->error);
}

/* ra_err, dec_err (arcsec) and ra_dec_cov (arcsec^2). */
static sq_status read_ellipse(catalog *release, quantity *q)
{
    sq_status rc;
    SQ_TRY(catalog_column(release, "ra", &q->value));
    SQ_TRY(catalog_column(release, "dec", &q->found_dec));
    SQ_TRY(catalog_column(release, "ra_err", &q->error));
    SQ_TRY(catalog_column(release, "dec_err", &q->dec_error));
    SQ_TRY(catalog_column(release, "ra_dec_cov", &q->covariance));
cleanup:
    return rc;
}

static sq_status read_quantity(catalog *release, catalog *truth, const char *name, quantity *q)
{
    sq_status rc;
    *q = (quantity){0};
    q->kind = kind_of(truth, name, q->truth);
    if (q->kind == KIND_NONE)
        return SQ_OK;
    SQ_TRY(catalog_column(truth, q->truth[0], &q->true1));
    SQ_TRY(catalog_optional(truth, q->truth[1], &q->true2));
    SQ_TRY(catalog_optional(truth, "star", &q->star));
    SQ_TRY(catalog_column(truth, "dec", &q->dec));
    if (q->kind == KIND_POSITION)
        return read_ellipse(release, q);
    SQ_TRY(catalog_column(release, name, &q->value));
    SQ_TRY(read_intervals(release, name, q));
cleanup:
    return rc;
}

static double true_value(const quantity *q, int64_t row)
{
    if (q->kind == KIND_COLOUR)
        return -2.5 * log10(q->true1[row] / q->true2[row]);
    if (q->kind == KIND_SHAPE && q->star && q->star[row] != 0)
        return NAN;
    return q->true1[row];
}

static double residual_of(const quantity *q, double value, double truth, int64_t row)
{
    double step = value - truth;
    if (q->kind == KIND_RA)
        return 3600 * remainder(step, 360) * cos(q->dec[row] * M_PI / 180);
    if (q->kind == KIND_DEC)
        return 3600 * step;
    return q->kind == KIND_FLUX ? (truth > 0 ? step / truth : NAN) : step;
}

static double score_of(const quantity *q, int64_t found, double truth, double residual)
{
    double value[MAX_QUANTILES];
    if (q->quantiles >= 2) {
        for (int k = 0; k < q->quantiles; k++)
            value[k] = q->at[k][found];
        return sq_quantile_score(q->quantiles, q->p, value, truth);
    }
    if (!q->error || !(q->error[found] > 0))
        return NAN;
    double step = q->kind == KIND_RA || q->kind == KIND_DEC ? -residual : truth - q->value[found];
    return fmax(-40, fmin(40, step / (q->error[found] * q->error_scale)));
}

/* The normal score with the same two-sided probability as the error ellipse through the truth. */
static double position_sample(const quantity *q, int64_t t, int64_t f, double *distance)
{
    double x = 3600 * remainder(q->value[f] - q->true1[t], 360) * cos(q->dec[t] * M_PI / 180);
    double y = 3600 * (q->found_dec[f] - q->dec[t]);
    double xx = q->error[f] * q->error[f], yy = q->dec_error[f] * q->dec_error[f];
    double xy = q->covariance[f], determinant = xx * yy - xy * xy;
    *distance = hypot(x, y);
    if (!(determinant > 0))
        return NAN;
    double chi2 = (yy * x * x - 2 * xy * x * y + xx * y * y) / determinant;
    return fmin(40, -sq_normal_quantile(fmax(1e-300, 0.5 * exp(-0.5 * chi2))));
}

static void collect(const quantity *q, const pairs *pairs, samples *s)
{
    s->n = 0;
    for (int64_t i = 0; i < pairs->n; i++) {
        int64_t t = pairs->truth[i], f = pairs->found[i];
        double truth = true_value(q, t), residual = residual_of(q, q->value[f], truth, t);
        double score = q->kind == KIND_POSITION ? position_sample(q, t, f, &residual)
                                                : score_of(q, f, truth, residual);
        if (!isfinite(residual))
            continue;
        s->residual[s->n] = residual;
        s->score[s->n] = score;
        s->mag[s->n] = pairs->mag[i];
        s->block[s->n++] = pairs->block[i];
    }
}

/* Values within a range of magnitude that are finite. */
static int64_t select_values(samples *s, const double *value, double low, double high)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->n; i++) {
        if (!(s->mag[i] >= low && s->mag[i] < high) || !isfinite(value[i]))
            continue;
        s->selected[n] = value[i];
        s->selected_block[n++] = s->block[i];
    }
    return n;
}

static sq_estimate coverage_of(samples *s, int64_t n, const sq_bootstrap *b, double level)
{
    double most = sq_normal_quantile(0.5 + 0.5 * level);
    size_t bytes = (size_t)sq_bootstrap_blocks(b) * sizeof(double);
    memset(s->inside, 0, bytes);
    memset(s->whole, 0, bytes);
    for (int64_t i = 0; i < n; i++) {
        s->whole[s->selected_block[i]]++;
        s->inside[s->selected_block[i]] += fabs(s->selected[i]) <= most;
    }
    return sq_bootstrap_ratio(b, s->inside, s->whole);
}

static sq_status summarise(samples *s, const sq_bootstrap *b, double low, double high,
                           sq_validate_residual *out)
{
    sq_status rc;
    *out = (sq_validate_residual){.low = low, .high = high};
    out->n = select_values(s, s->residual, low, high);
    SQ_TRY(sq_bootstrap_median(b, out->n, s->selected, s->selected_block, &out->median, &out->mad));
    int64_t scored = select_values(s, s->score, low, high);
    SQ_TRY(sq_bootstrap_median(b, scored, s->selected, s->selected_block, &out->pull_median,
                               &out->pull_mad));
    for (int k = 0; k < SQ_LEVELS; k++)
        out->coverage[k] = coverage_of(s, scored, b, sq_level[k]);
cleanup:
    return rc;
}

static const char *unit_of(catalog *release, const char *name, const quantity *q, char *unit,
                           size_t size)
{
    if (q->kind == KIND_RA || q->kind == KIND_DEC || q->kind == KIND_POSITION)
        return "arcsec";
    if (q->kind == KIND_FLUX)
        return "relative";
    if (q->kind == KIND_COLOUR)
        return "mag";
    catalog_unit(release, name, unit, size);
    return unit;
}

static sq_status compare_one(catalog *release, const char *name, const quantity *q, samples *s,
                             const sq_bootstrap *b, double bright, double limit,
                             const sq_validate_report *report, sq_validate_quantity *out)
{
    sq_status rc;
    char unit[16] = "";
    snprintf(out->name, sizeof out->name, "%s", name);
    snprintf(out->unit, sizeof out->unit, "%s", unit_of(release, name, q, unit, sizeof unit));
    snprintf(out->intervals, sizeof out->intervals, "%s",
             q->kind == KIND_POSITION ? "ellipse"
             : q->quantiles >= 2      ? "quantiles"
             : q->error               ? "gaussian"
                                      : "none");
    SQ_TRY(summarise(s, b, bright, limit, &out->all));
    out->bins = report->bins;
    for (int k = 0; k < report->bins; k++)
        SQ_TRY(summarise(s, b, report->bin[k].low, report->bin[k].high, &out->bin[k]));
cleanup:
    return rc;
}

static sq_status samples_create(int64_t n, int64_t blocks, samples *s)
{
    sq_status rc;
    SQ_TRY(SQ_ALLOC(s->residual, n + 1, "residuals"));
    SQ_TRY(SQ_ALLOC(s->score, n + 1, "residuals"));
    SQ_TRY(SQ_ALLOC(s->mag, n + 1, "residuals"));
    SQ_TRY(SQ_ALLOC(s->block, n + 1, "residuals"));
    SQ_TRY(SQ_ALLOC(s->selected, n + 1, "residuals"));
    SQ_TRY(SQ_ALLOC(s->selected_block, n + 1, "residuals"));
    SQ_TRY(SQ_ALLOC(s->inside, blocks, "residuals"));
    SQ_TRY(SQ_ALLOC(s->whole, blocks, "residuals"));
cleanup:
    return rc;
}

static void samples_clear(samples *s)
{
    sq_free(s->residual);
    sq_free(s->score);
    sq_free(s->mag);
    sq_free(s->block);
    sq_free(s->selected);
    sq_free(s->selected_block);
    sq_free(s->inside);
    sq_free(s->whole);
}

sq_status quantities_compare(catalog *release, catalog *truth, const pairs *pairs,
                             const sq_bootstrap *bootstrap, double bright, double limit,
                             sq_validate_report *report)
{
    sq_status rc;
    samples s = {0};
    quantity q;
    SQ_TRY(samples_create(pairs->n, sq_bootstrap_blocks(bootstrap), &s));
    int all = release->count + (catalog_has(release, "ra_dec_cov") &&
                                catalog_has(release, "ra_err") && catalog_has(release, "dec_err"));
    SQ_TRY(SQ_ALLOC(report->quantity, all, "quantities"));
    for (int i = 0; i < all; i++) {
        const char *name = i < release->count ? release->column[i].name : position;
        SQ_TRY(read_quantity(release, truth, name, &q));
        if (q.kind == KIND_NONE)
            continue;
        collect(&q, pairs, &s);
        SQ_TRY(compare_one(release, name, &q, &s, bootstrap, bright, limit, report,
                           &report->quantity[report->quantities]));
        report->quantities++;
    }
cleanup:
    samples_clear(&s);
    return rc;
}
