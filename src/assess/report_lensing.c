/* The comparison of lensing methods: what /survey of a release says, bin by bin. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assess/report_page.h"
#include "assess/svg.h"
#include "base/mem.h"

enum { A, B, LOW, HIGH, RHO, TRANSFER, SNR, OVER_MV, OVER_ITERATED, COLUMNS, NAME = 24 };
static const char *const column[COLUMNS] = {"method_a", "method_b", "l_min",  "l_max",       "rho",
                                            "transfer", "snr",      "snr_mv", "snr_iterated"};

typedef struct bins {
    int64_t n;
    double *v[COLUMNS]; /* of rows with method_a == method_b and a truth */
    char *methods;      /* "0: tt, 1: te, ..." */
} bins;

/* The name of a method in the description of its column. */
static void method_name(const bins *b, int method, char out[NAME])
{
    snprintf(out, NAME, "%d", method);
    for (const char *at = b->methods; at; at = strchr(at, ',')) {
        char *end;
        at += strspn(at, ", ");
        if (strtol(at, &end, 10) == method && end != at && strncmp(end, ": ", 2) == 0) {
            snprintf(out, NAME, "%.*s", (int)strcspn(end + 2, ", ("), end + 2);
            return;
        }
    }
}

static sq_status read_bins(const page *p, bins *b)
{
    sq_status rc = SQ_OK;
    sq_dtype type;
    int rank;
    int64_t dim[8], kept = 0;
    char name[32];
    for (int c = 0; c < COLUMNS; c++) {
        snprintf(name, sizeof name, "survey/%s", column[c]);
        SQ_TRY(sq_h5_shape(p->h5, name, &type, &rank, dim));
        SQ_TRY(SQ_ALLOC(b->v[c], dim[0] + 1, "lensing powers"));
        SQ_TRY(sq_h5_read(p->h5, name, SQ_F64, 0, dim[0], b->v[c]));
    }
    for (int64_t i = 0; i < dim[0]; i++) {
        /* Null tests, as the curl, have no truth to correlate with. */
        if (b->v[A][i] != b->v[B][i] || !isfinite(b->v[RHO][i]) || b->v[RHO][i] == 0)
            continue;
        for (int c = 0; c < COLUMNS; c++)
            b->v[c][kept] = b->v[c][i];
        kept++;
    }
    b->n = kept;
    if (sq_h5_read_text(p->h5, "survey/method_a", "description", &b->methods) != SQ_OK)
        sq_error_clear();
cleanup:
    return rc;
}

/* A curve a method, of a column over the middle of the bins. */
static void draw(const page *p, const bins *b, int c, const char *title, double most)
{
    char name[NAME], tip[96];
    svg_graph g = {60, 34, 360, 250, 0, 0, 0, most};
    for (int64_t i = 0; i < b->n; i++)
        g.x1 = fmax(g.x1, b->v[HIGH][i]);
    svg_begin(p->out, 520, 330, title);
    svg_axes(p->out, &g, title, "L", "");
    for (int64_t i = 0, series = 0; i < b->n; series++) {
        double xy[2 * 64];
        int n = 0, method = (int)b->v[A][i];
        method_name(b, method, name);
        for (; i < b->n && b->v[A][i] == method; i++) {
            double value = b->v[c][i];
            if (n == 64 || !isfinite(value))
                continue;
            xy[2 * n] = svg_x(&g, 0.5 * (b->v[LOW][i] + b->v[HIGH][i]));
            xy[2 * n + 1] = svg_y(&g, fmax(g.y0, fmin(value, most)));
            snprintf(tip, sizeof tip, "%s, L %.0f to %.0f: %.4g", name, b->v[LOW][i], b->v[HIGH][i],
                     value);
            svg_circle(p->out, xy[2 * n], xy[2 * n + 1], 2.5, svg_series((int)series), tip);
            n++;
        }
        svg_polyline(p->out, xy, n, svg_series((int)series), 1.5);
        svg_line(p->out, 434, 46 + 18 * (double)series, 452, 46 + 18 * (double)series,
                 svg_series((int)series), 2.5);
        svg_text(p->out, 458, 50 + 18 * (double)series, 12, "start", name);
    }
    svg_end(p->out);
}

static void put_table(const page *p, const bins *b)
{
    char name[NAME];
    fputs("<table><tr><th>method</th><th class=\"n\">L</th><th class=\"n\">&rho; with the "
          "truth</th><th class=\"n\">transfer</th><th class=\"n\">S/N of the power</th>"
          "<th class=\"n\">over mv</th><th class=\"n\">over iterated</th></tr>\n",
          p->out);
    for (int64_t i = 0; i < b->n; i++) {
        method_name(b, (int)b->v[A][i], name);
        fputs("<tr><td>", p->out);
        svg_escape(p->out, name);
        fprintf(p->out, "</td><td class=\"n\">%.0f to %.0f</td>", b->v[LOW][i], b->v[HIGH][i]);
        fprintf(p->out, "<td class=\"n\">%.4f</td>", b->v[RHO][i]);
        /* The column is the product of both methods' transfers, here of one with itself. */
        fprintf(p->out, "<td class=\"n\">%.3f</td>", sqrt(b->v[TRANSFER][i]));
        for (int c = SNR; c < COLUMNS; c++)
            fprintf(p->out, "<td class=\"n\">%.3f</td>", b->v[c][i]);
        fputs("</tr>\n", p->out);
    }
    fputs("</table>\n", p->out);
}

sq_status page_lensing(const page *p)
{
    sq_status rc = SQ_OK;
    bins b = {.n = 0};
    double most = 0;
    if (!sq_h5_has(p->h5, "survey") || !sq_h5_has(p->h5, "survey/snr_mv"))
        return SQ_OK;
    SQ_TRY(read_bins(p, &b));
    for (int64_t i = 0; i < b.n; i++)
        most = isfinite(b.v[OVER_MV][i]) ? fmax(most, b.v[OVER_MV][i]) : most;
    fputs("<h2>Lensing methods</h2>\n<p>Correlation with the truth and transfer are those of "
          "simulations.</p>\n",
          p->out);
    draw(p, &b, RHO, "correlation with the true kappa", 1);
    draw(p, &b, OVER_MV, "S/N of the lensing power over that of mv", 1.1 * fmax(most, 1));
    put_table(p, &b);
cleanup:
    for (int c = 0; c < COLUMNS; c++)
        sq_free(b.v[c]);
    sq_free(b.methods);
    return rc;
}
