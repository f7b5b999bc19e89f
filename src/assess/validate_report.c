/* The report of a validation as a table and as JSON. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "assess/json.h"
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

static void estimate(json *j, const char *name, sq_estimate e)
{
    json_open(j, name, '{');
    json_real(j, "value", e.value);
    json_real(j, "error", e.error);
    json_close(j, '}');
}

static void json_bin(json *j, const char *name, const sq_validate_bin *b)
{
    json_open(j, name, '{');
    json_real(j, "low", b->low);
    json_real(j, "high", b->high);
    json_integer(j, "truth", b->truth);
    json_integer(j, "matched", b->matched);
    json_integer(j, "found", b->found);
    json_integer(j, "right", b->right);
    estimate(j, "completeness", b->completeness);
    estimate(j, "purity", b->purity);
    estimate(j, "f1", b->f1);
    estimate(j, "star_completeness", b->star_completeness);
    estimate(j, "galaxy_completeness", b->galaxy_completeness);
    estimate(j, "class_accuracy", b->class_accuracy);
    estimate(j, "star_accuracy", b->star_accuracy);
    estimate(j, "galaxy_accuracy", b->galaxy_accuracy);
    json_close(j, '}');
}

static void json_bins(json *j, const char *name, const sq_validate_bin *b, int n)
{
    json_open(j, name, '[');
    for (int k = 0; k < n; k++)
        json_bin(j, NULL, &b[k]);
    json_close(j, ']');
}

static void json_residual(json *j, const char *name, const sq_validate_residual *r)
{
    static const char *const level[SQ_LEVELS] = {"50", "68", "90", "95"};
    json_open(j, name, '{');
    json_real(j, "low", r->low);
    json_real(j, "high", r->high);
    json_integer(j, "n", r->n);
    estimate(j, "median", r->median);
    estimate(j, "mad", r->mad);
    estimate(j, "pull_median", r->pull_median);
    estimate(j, "pull_mad", r->pull_mad);
    json_open(j, "coverage", '{');
    for (int k = 0; k < SQ_LEVELS; k++)
        estimate(j, level[k], r->coverage[k]);
    json_close(j, '}');
    json_close(j, '}');
}

static void json_quantities(json *j, const sq_validate_report *r)
{
    json_open(j, "quantities", '[');
    for (int i = 0; i < r->quantities; i++) {
        const sq_validate_quantity *q = &r->quantity[i];
        json_open(j, NULL, '{');
        json_text(j, "name", q->name);
        json_text(j, "unit", q->unit);
        json_text(j, "intervals", q->intervals);
        json_residual(j, "all", &q->all);
        json_open(j, "bins", '[');
        for (int k = 0; k < q->bins; k++)
            json_residual(j, NULL, &q->bin[k]);
        json_close(j, ']');
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void json_class(json *j, const sq_validate_report *r)
{
    json_open(j, "star_galaxy", '{');
    estimate(j, "auc", r->auc);
    json_open(j, "roc", '[');
    for (int k = 0; k < SQ_ROC_POINTS; k++) {
        json_open(j, NULL, '[');
        json_real(j, NULL, r->roc[k][0]);
        json_real(j, NULL, r->roc[k][1]);
        json_close(j, ']');
    }
    json_close(j, ']');
    json_close(j, '}');
}

static void json_reliability(json *j, const sq_validate_report *r)
{
    json_open(j, "reliability", '{');
    estimate(j, "calibration_error", r->calibration_error);
    json_real(j, "expected", r->expected);
    json_open(j, "bins", '[');
    for (int k = 0; k < SQ_RELIABILITY_BINS; k++) {
        json_open(j, NULL, '{');
        json_integer(j, "n", r->reliability[k].n);
        json_real(j, "probability", r->reliability[k].probability);
        json_real(j, "fraction", r->reliability[k].fraction);
        json_close(j, '}');
    }
    json_close(j, ']');
    json_close(j, '}');
}

static void json_report(json *j, const sq_validate_report *r)
{
    json_open(j, NULL, '{');
    json_text(j, "band", r->band);
    json_real(j, "match_arcsec", r->match);
    json_real(j, "tolerance_mag", r->tolerance > 0 ? r->tolerance : NAN);
    json_real(j, "threshold", r->threshold);
    json_integer(j, "seed", (int64_t)r->seed);
    json_integer(j, "blocks", r->blocks);
    json_integer(j, "truth_rows", r->truth_rows);
    json_integer(j, "catalog_rows", r->catalog_rows);
    json_integer(j, "truth_used", r->truth_used);
    json_integer(j, "catalog_used", r->catalog_used);
    json_bin(j, "summary", &r->all);
    json_bins(j, "bins", r->bin, r->bins);
    json_bins(j, "brighter", r->brighter, r->bins);
    json_quantities(j, r);
    if (r->has_class)
        json_class(j, r);
    if (r->has_probability)
        json_reliability(j, r);
    json_close(j, '}');
}

sq_status sq_validate_json(const sq_validate_report *report, const char *path)
{
    json j;
    sq_status rc = json_create(path, &j);
    if (rc != SQ_OK)
        return rc;
    json_report(&j, report);
    return json_finish(&j, path);
}
