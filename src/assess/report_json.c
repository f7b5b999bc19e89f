/* Sections of the page that come from the JSON of `validate` and `compare`. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "assess/report_page.h"
#include "assess/svg.h"

enum { W = 470, H = 330, MOST_POINTS = 256, MOST_LINES = 200 };

static double value_of(const json_value *object, const char *name)
{
    return json_number(json_member(object, name), "value");
}

static double error_of(const json_value *object, const char *name)
{
    double error = json_number(json_member(object, name), "error");
    return isfinite(error) ? error : 0;
}

static void graph_begin(const page *p, svg_graph *g, double x0, double x1, double y0, double y1,
                        const char *title, const char *x, const char *y)
{
    *g = (svg_graph){62, 34, W - 80, H - 84, x0, x1, y0, y1};
    svg_begin(p->out, W, H, title);
    svg_axes(p->out, g, title, x, y);
}

static void label(const page *p, const svg_graph *g, int k, const char *text)
{
    double x = g->x + 10 + (k / 8) * 110, y = g->y + g->h - 12 - 15.0 * (k % 8);
    svg_line(p->out, x, y - 4, x + 18, y - 4, svg_series(k), 2.5);
    svg_text(p->out, x + 23, y, 11, "start", text);
}

/* A value with its error against the middle of its bin. */
static void curve(const page *p, const svg_graph *g, const json_value *bins, const char *name,
                  int series)
{
    double xy[2 * MOST_POINTS];
    int n = 0;
    for (int64_t i = 0; i < bins->count && n < MOST_POINTS; i++) {
        const json_value *b = &bins->item[i];
        double mag = 0.5 * (json_number(b, "low") + json_number(b, "high"));
        double v = value_of(b, name), e = error_of(b, name);
        if (!isfinite(mag) || !isfinite(v))
            continue;
        xy[2 * n] = svg_x(g, mag);
        xy[2 * n + 1] = svg_y(g, v);
        svg_line(p->out, xy[2 * n], svg_y(g, fmin(v + e, g->y1)), xy[2 * n],
                 svg_y(g, fmax(v - e, g->y0)), svg_series(series), 1);
        svg_circle(p->out, xy[2 * n], xy[2 * n + 1], 2.5, svg_series(series), NULL);
        n++;
    }
    svg_polyline(p->out, xy, n, svg_series(series), 1.5);
}

static int mag_range(const json_value *bins, double *low, double *high)
{
    *low = INFINITY;
    *high = -INFINITY;
    for (int64_t i = 0; bins && i < bins->count; i++) {
        *low = fmin(*low, json_number(&bins->item[i], "low"));
        *high = fmax(*high, json_number(&bins->item[i], "high"));
    }
    return isfinite(*low) && isfinite(*high) && *high > *low;
}

static void plot_curves(const page *p, const json_value *bins, double low, double high,
                        const char *title, const char *band, const char *const *name,
                        const char *const *shown, int count)
{
    svg_graph g;
    graph_begin(p, &g, low, high, 0, 1.05, title, band, "fraction");
    for (int k = 0; k < count; k++) {
        curve(p, &g, bins, name[k], k);
        label(p, &g, k, shown[k]);
    }
    svg_end(p->out);
}

static void plot_coverage(const page *p, const json_value *quantities)
{
    static const char *const level[] = {"50", "68", "90", "95"};
    static const double nominal[] = {0.50, 0.68, 0.90, 0.95};
    svg_graph g;
    int series = 0;
    graph_begin(p, &g, 0.4, 1, 0, 1.05, "coverage of intervals", "nominal", "measured");
    svg_line(p->out, svg_x(&g, 0.4), svg_y(&g, 0.4), svg_x(&g, 1), svg_y(&g, 1), "#999999", 1);
    for (int64_t i = 0; i < quantities->count; i++) {
        const json_value *q = &quantities->item[i];
        const char *name = json_string(q, "name");
        double xy[8];
        int n = 0;
        if (strncmp(name, "psf_", 4) == 0 || strncmp(name, "aperture_", 9) == 0 || series >= 16)
            continue;
        const json_value *coverage = json_member(json_member(q, "all"), "coverage");
        for (int k = 0; k < 4; k++) {
            double v = value_of(coverage, level[k]);
            if (!isfinite(v))
                continue;
            xy[2 * n] = svg_x(&g, nominal[k]);
            xy[2 * n++ + 1] = svg_y(&g, v);
        }
        if (n == 0)
            continue;
        svg_polyline(p->out, xy, n, svg_series(series), 1.5);
        label(p, &g, series++, name);
    }
    svg_end(p->out);
}

static void plot_reliability(const page *p)
{
    const json_value *bins = json_member(json_member(p->validate, "reliability"), "bins");
    svg_graph g;
    double xy[2 * MOST_POINTS];
    int n = 0;
    if (!bins)
        return;
    graph_begin(p, &g, 0, 1, 0, 1.05, "detections: reliability", "stated probability",
                "fraction that is real");
    svg_line(p->out, svg_x(&g, 0), svg_y(&g, 0), svg_x(&g, 1), svg_y(&g, 1), "#999999", 1);
    for (int64_t i = 0; i < bins->count && n < MOST_POINTS; i++) {
        double x = json_number(&bins->item[i], "probability");
        double y = json_number(&bins->item[i], "fraction");
        if (!(json_number(&bins->item[i], "n") > 0) || !isfinite(x) || !isfinite(y))
            continue;
        xy[2 * n] = svg_x(&g, x);
        xy[2 * n + 1] = svg_y(&g, y);
        svg_circle(p->out, xy[2 * n], xy[2 * n + 1], 3, svg_series(0), NULL);
        n++;
    }
    svg_polyline(p->out, xy, n, svg_series(0), 1.5);
    svg_end(p->out);
}

static void number_cell(const page *p, const char *format, double value)
{
    fputs("<td class=\"n\">", p->out);
    if (isfinite(value)) {
        char text[64];
        snprintf(text, sizeof text, strcmp(format, "count") == 0 ? "%.0f" : "%.4g", value);
        fputs(text, p->out);
    }
    fputs("</td>", p->out);
}

static void text_cell(const page *p, const char *text)
{
    fputs("<td>", p->out);
    svg_escape(p->out, text);
    fputs("</td>", p->out);
}

static void table_of_quantities(const page *p, const json_value *quantities)
{
    fputs("<table><tr><th>quantity</th><th class=\"n\">rows</th><th class=\"n\">median</th><th "
          "class=\"n\">scatter</th><th>unit</th><th class=\"n\">pull</th><th class=\"n\">its "
          "scatter</th></tr>\n",
          p->out);
    for (int64_t i = 0; i < quantities->count; i++) {
        const json_value *q = &quantities->item[i], *all = json_member(q, "all");
        fputs("<tr>", p->out);
        text_cell(p, json_string(q, "name"));
        number_cell(p, "count", json_number(all, "n"));
        number_cell(p, "", value_of(all, "median"));
        number_cell(p, "", value_of(all, "mad"));
        text_cell(p, json_string(q, "unit"));
        number_cell(p, "", value_of(all, "pull_median"));
        number_cell(p, "", value_of(all, "pull_mad"));
        fputs("</tr>\n", p->out);
    }
    fputs("</table>\n", p->out);
}

void page_validation(const page *p)
{
    static const char *const found[] = {"completeness", "purity", "f1"};
    static const char *const shown[] = {"completeness", "purity", "F1"};
    static const char *const class[] = {"star_accuracy", "galaxy_accuracy"};
    static const char *const class_shown[] = {"stars right", "galaxies right"};
    const json_value *v = p->validate, *bins = json_member(v, "bins");
    const json_value *quantities = json_member(v, "quantities"), *all = json_member(v, "summary");
    char band[64];
    double low, high;
    if (!v)
        return;
    fprintf(p->out,
            "<h2>Against the truth</h2>\n<p>%.0f true sources: completeness %.4f &plusmn; %.4f, "
            "purity %.4f &plusmn; %.4f, F1 %.4f &plusmn; %.4f.</p>\n",
            json_number(all, "truth"), value_of(all, "completeness"), error_of(all, "completeness"),
            value_of(all, "purity"), error_of(all, "purity"), value_of(all, "f1"),
            error_of(all, "f1"));
    snprintf(band, sizeof band, "%.30s [mag]", json_string(v, "band"));
    if (mag_range(bins, &low, &high)) {
        plot_curves(p, bins, low, high, "found and right", band, found, shown, 3);
        plot_curves(p, bins, low, high, "class of the matched", band, class, class_shown, 2);
    }
    if (quantities && quantities->count)
        plot_coverage(p, quantities);
    plot_reliability(p);
    if (quantities && quantities->count)
        table_of_quantities(p, quantities);
}

/* ---- Comparison ---- */

static void compared_counts(const page *p, const json_value *tables)
{
    fputs("<table><tr><th>table</th><th class=\"n\">rows of A</th><th class=\"n\">of B</th><th "
          "class=\"n\">matched</th><th class=\"n\">vanished</th><th class=\"n\">appeared</th><th "
          "class=\"n\">class changed</th></tr>\n",
          p->out);
    for (int64_t i = 0; i < tables->count; i++) {
        static const char *const name[] = {"rows_a",   "rows_b",   "matched",
                                           "vanished", "appeared", "class_flips"};
        const json_value *all = json_member(&tables->item[i], "all");
        fputs("<tr>", p->out);
        text_cell(p, json_string(&tables->item[i], "name"));
        for (size_t k = 0; k < sizeof name / sizeof *name; k++)
            number_cell(p, "count", json_number(all, name[k]));
        fputs("</tr>\n", p->out);
    }
    fputs("</table>\n", p->out);
}

static void compared_shifts(const page *p, const json_value *table)
{
    const json_value *list = json_member(table, "quantities");
    fputs("<table><tr><th>B - A</th><th class=\"n\">rows</th><th class=\"n\">median</th><th "
          "class=\"n\">&plusmn;</th><th class=\"n\">scatter</th><th>unit</th></tr>\n",
          p->out);
    for (int64_t i = 0; list && i < list->count; i++) {
        const json_value *q = &list->item[i], *all = json_member(q, "all");
        const char *role = json_string(q, "role");
        if (strcmp(role, "other") == 0 || strstr(role, "pull"))
            continue;
        fputs("<tr>", p->out);
        text_cell(p, json_string(q, "name"));
        number_cell(p, "count", json_number(all, "n"));
        number_cell(p, "", json_number(all, "median"));
        number_cell(p, "", json_number(all, "error"));
        number_cell(p, "", json_number(all, "scatter"));
        text_cell(p, json_string(q, "unit"));
        fputs("</tr>\n", p->out);
    }
    fputs("</table>\n", p->out);
}

static void exceeded(const page *p, const json_value *list)
{
    if (list->count == 0) {
        fputs("<p class=\"good\">No threshold is exceeded.</p>\n", p->out);
        return;
    }
    fprintf(p->out,
            "<p class=\"bad\">%lld thresholds are exceeded%s.</p>\n<table><tr><th>table</th>"
            "<th>area</th><th>what</th><th>threshold</th><th class=\"n\">value</th><th "
            "class=\"n\">limit</th><th>unit</th><th class=\"n\">q</th></tr>\n",
            (long long)list->count, list->count > MOST_LINES ? "; the first of them" : "");
    for (int64_t i = 0; i < list->count && i < MOST_LINES; i++) {
        const json_value *e = &list->item[i];
        const char *area = json_string(e, "area");
        fputs("<tr>", p->out);
        text_cell(p, json_string(e, "table"));
        text_cell(p, area[0] ? area : "all");
        text_cell(p, json_string(e, "what"));
        text_cell(p, json_string(e, "threshold"));
        number_cell(p, "", json_number(e, "value"));
        number_cell(p, "", json_number(e, "limit"));
        text_cell(p, json_string(e, "unit"));
        number_cell(p, "", json_number(e, "q"));
        fputs("</tr>\n", p->out);
    }
    fputs("</table>\n", p->out);
}

void page_comparison(const page *p)
{
    const json_value *tables = json_member(p->compare, "tables");
    if (!p->compare)
        return;
    fputs("<h2>Against another release</h2>\n<table class=\"facts\"><tr><td>A</td>", p->out);
    text_cell(p, json_string(p->compare, "a"));
    fputs("</tr><tr><td>B</td>", p->out);
    text_cell(p, json_string(p->compare, "b"));
    fputs("</tr></table>\n", p->out);
    exceeded(p, json_member(p->compare, "exceeded"));
    if (!tables)
        return;
    compared_counts(p, tables);
    for (int64_t i = 0; i < tables->count; i++)
        compared_shifts(p, &tables->item[i]);
}
