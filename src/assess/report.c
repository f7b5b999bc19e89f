/* The report of a validation as a table and as JSON. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "assess/validate.h"

static void percent(FILE *out, sq_estimate e)
{
    if (isfinite(e.value))
        fprintf(out, "  %.3f %5.3f", e.value, isfinite(e.error) ? e.error : 0.0);
    else
        fprintf(out, "      -     -");
}

static void print_range(FILE *out, double low, double high)
{
    if (isfinite(low))
        fprintf(out, "  %5.2f - ", low);
    else
        fprintf(out, "        < ");
    if (isfinite(high))
        fprintf(out, "%5.2f", high);
    else
        fprintf(out, "  all");
}

static void print_bin(FILE *out, const sq_validate_bin *b)
{
    print_range(out, b->low, b->high);
    fprintf(out, " %7lld %7lld", (long long)b->truth, (long long)b->found);
    percent(out, b->completeness);
    percent(out, b->purity);
    percent(out, b->f1);
    percent(out, b->star_accuracy);
    percent(out, b->galaxy_accuracy);
    fputc('\n', out);
}

static void print_quantity(FILE *out, const sq_validate_quantity *q)
{
    const sq_validate_residual *a = &q->all;
    fprintf(out, "  %-22s %7lld %10.4f %9.4f %-8s", q->name, (long long)a->n, a->median.value,
            a->mad.value, q->unit);
    if (strcmp(q->intervals, "none") != 0) {
        if (strcmp(q->intervals, "ellipse") == 0)
            fprintf(out, "  %6s %5s ", "", "");
        else
            fprintf(out, "  %6.2f %5.2f ", a->pull_median.value, a->pull_mad.value);
        for (int k = 0; k < SQ_LEVELS; k++)
            fprintf(out, "  %.3f", a->coverage[k].value);
        fprintf(out, "  %s", q->intervals);
    }
    fputc('\n', out);
}

static void print_reliability(FILE *out, const sq_validate_report *r)
{
    if (!r->has_probability)
        return;
    fprintf(out, "\ndetection probability: mean, fraction that is real, rows\n");
    for (int k = 0; k < SQ_RELIABILITY_BINS; k++) {
        const sq_validate_reliability *b = &r->reliability[k];
        if (b->n)
            fprintf(out, "  %.1f - %.1f   %.3f  %.3f  %lld\n", k / 10.0, (k + 1) / 10.0,
                    b->probability, b->fraction, (long long)b->n);
    }
    fprintf(out, "  expected calibration error %.4f; expected count %.1f, true count %lld\n",
            r->calibration_error.value, r->expected, (long long)r->truth_used);
}

void sq_validate_print(const sq_validate_report *r, FILE *out)
{
    fprintf(out, "%lld true sources and %lld rows inside (of %lld and %lld), match %g arcsec",
            (long long)r->truth_used, (long long)r->catalog_used, (long long)r->truth_rows,
            (long long)r->catalog_rows, r->match);
    if (r->tolerance > 0)
        fprintf(out, " and %g mag", r->tolerance);
    fprintf(out, ", probability >= %g, %lld blocks of sky\n\n", r->threshold, (long long)r->blocks);
    fprintf(out,
            "  %s mag            truth   found  completeness  purity       F1           "
            "stars right  galaxies right\n",
            r->band);
    for (int k = 0; k < r->bins; k++)
        print_bin(out, &r->bin[k]);
    fprintf(out, "  all brighter than the end of the bin\n");
    for (int k = 0; k < r->bins; k++)
        print_bin(out, &r->brighter[k]);
    fprintf(out, "  summary\n");
    print_bin(out, &r->all);
    fprintf(out,
            "\n  quantity                  rows     median       MAD unit        pull   MAD    "
            "in 50%%    68%%    90%%    95%%\n");
    for (int k = 0; k < r->quantities; k++)
        print_quantity(out, &r->quantity[k]);
    if (r->has_class)
        fprintf(out, "\nstar/galaxy: area under the ROC curve %.4f +- %.4f\n", r->auc.value,
                r->auc.error);
    print_reliability(out, r);
}

/* JSON. Every function writes one complete value or member; `first` tells whether a comma is due.
 */
typedef struct json {
    FILE *out;
    int first;
} json;

static void key(json *j, const char *name)
{
    fprintf(j->out, "%s", j->first ? "" : ", ");
    if (name)
        fprintf(j->out, "\"%s\": ", name);
    j->first = 0;
}

static void open_with(json *j, const char *name, char bracket)
{
    key(j, name);
    fputc(bracket, j->out);
    j->first = 1;
}

static void close_with(json *j, char bracket)
{
    fputc(bracket, j->out);
    j->first = 0;
}

static void real(json *j, const char *name, double value)
{
    key(j, name);
    if (isfinite(value))
        fprintf(j->out, "%.9g", value);
    else
        fprintf(j->out, "null");
}

static void integer(json *j, const char *name, int64_t value)
{
    key(j, name);
    fprintf(j->out, "%lld", (long long)value);
}

static void text(json *j, const char *name, const char *value)
{
    key(j, name);
    fputc('"', j->out);
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            fputc('\\', j->out);
        if ((unsigned char)*value >= 32)
            fputc(*value, j->out);
    }
    fputc('"', j->out);
}

static void estimate(json *j, const char *name, sq_estimate e)
{
    open_with(j, name, '{');
    real(j, "value", e.value);
    real(j, "error", e.error);
    close_with(j, '}');
}

static void json_bin(json *j, const char *name, const sq_validate_bin *b)
{
    open_with(j, name, '{');
    real(j, "low", b->low);
    real(j, "high", b->high);
    integer(j, "truth", b->truth);
    integer(j, "matched", b->matched);
    integer(j, "found", b->found);
    integer(j, "right", b->right);
    estimate(j, "completeness", b->completeness);
    estimate(j, "purity", b->purity);
    estimate(j, "f1", b->f1);
    estimate(j, "star_completeness", b->star_completeness);
    estimate(j, "galaxy_completeness", b->galaxy_completeness);
    estimate(j, "class_accuracy", b->class_accuracy);
    estimate(j, "star_accuracy", b->star_accuracy);
    estimate(j, "galaxy_accuracy", b->galaxy_accuracy);
    close_with(j, '}');
}

static void json_bins(json *j, const char *name, const sq_validate_bin *b, int n)
{
    open_with(j, name, '[');
    for (int k = 0; k < n; k++)
        json_bin(j, NULL, &b[k]);
    close_with(j, ']');
}

static void json_residual(json *j, const char *name, const sq_validate_residual *r)
{
    static const char *const level[SQ_LEVELS] = {"50", "68", "90", "95"};
    open_with(j, name, '{');
    real(j, "low", r->low);
    real(j, "high", r->high);
    integer(j, "n", r->n);
    estimate(j, "median", r->median);
    estimate(j, "mad", r->mad);
    estimate(j, "pull_median", r->pull_median);
    estimate(j, "pull_mad", r->pull_mad);
    open_with(j, "coverage", '{');
    for (int k = 0; k < SQ_LEVELS; k++)
        estimate(j, level[k], r->coverage[k]);
    close_with(j, '}');
    close_with(j, '}');
}

static void json_quantities(json *j, const sq_validate_report *r)
{
    open_with(j, "quantities", '[');
    for (int i = 0; i < r->quantities; i++) {
        const sq_validate_quantity *q = &r->quantity[i];
        open_with(j, NULL, '{');
        text(j, "name", q->name);
        text(j, "unit", q->unit);
        text(j, "intervals", q->intervals);
        json_residual(j, "all", &q->all);
        open_with(j, "bins", '[');
        for (int k = 0; k < q->bins; k++)
            json_residual(j, NULL, &q->bin[k]);
        close_with(j, ']');
        close_with(j, '}');
    }
    close_with(j, ']');
}

static void json_class(json *j, const sq_validate_report *r)
{
    open_with(j, "star_galaxy", '{');
    estimate(j, "auc", r->auc);
    open_with(j, "roc", '[');
    for (int k = 0; k < SQ_ROC_POINTS; k++) {
        open_with(j, NULL, '[');
        real(j, NULL, r->roc[k][0]);
        real(j, NULL, r->roc[k][1]);
        close_with(j, ']');
    }
    close_with(j, ']');
    close_with(j, '}');
}

static void json_reliability(json *j, const sq_validate_report *r)
{
    open_with(j, "reliability", '{');
    estimate(j, "calibration_error", r->calibration_error);
    real(j, "expected", r->expected);
    open_with(j, "bins", '[');
    for (int k = 0; k < SQ_RELIABILITY_BINS; k++) {
        open_with(j, NULL, '{');
        integer(j, "n", r->reliability[k].n);
        real(j, "probability", r->reliability[k].probability);
        real(j, "fraction", r->reliability[k].fraction);
        close_with(j, '}');
    }
    close_with(j, ']');
    close_with(j, '}');
}

static void json_report(json *j, const sq_validate_report *r)
{
    open_with(j, NULL, '{');
    text(j, "band", r->band);
    real(j, "match_arcsec", r->match);
    real(j, "tolerance_mag", r->tolerance > 0 ? r->tolerance : NAN);
    real(j, "threshold", r->threshold);
    integer(j, "seed", (int64_t)r->seed);
    integer(j, "blocks", r->blocks);
    integer(j, "truth_rows", r->truth_rows);
    integer(j, "catalog_rows", r->catalog_rows);
    integer(j, "truth_used", r->truth_used);
    integer(j, "catalog_used", r->catalog_used);
    json_bin(j, "summary", &r->all);
    json_bins(j, "bins", r->bin, r->bins);
    json_bins(j, "brighter", r->brighter, r->bins);
    json_quantities(j, r);
    if (r->has_class)
        json_class(j, r);
    if (r->has_probability)
        json_reliability(j, r);
    close_with(j, '}');
}

sq_status sq_validate_json(const sq_validate_report *report, const char *path)
{
    json j = {fopen(path, "w"), 1};
    if (!j.out)
        return sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    json_report(&j, report);
    fputc('\n', j.out);
    int bad = ferror(j.out);
    if (fclose(j.out) != 0 || bad)
        return sq_fail(SQ_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
    return SQ_OK;
}
