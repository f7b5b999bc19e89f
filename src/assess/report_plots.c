/* Drawings of a release: sky, magnitudes, times, maps. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assess/compare_report.h"
#include "assess/report_page.h"
#include "assess/svg.h"
#include "base/mem.h"

enum { WIDTH = 1000, MOST_CELLS = 72, MAP_CELLS = 64, MOST_PLANES = 12, BIN_COUNT = 64 };

/* ---- Sources on the sky ---- */

static sq_status read_column(const page *p, const report_table *t, const char *name, double *out)
{
    char path[2 * REPORT_NAME];
    snprintf(path, sizeof path, "%s/%.60s", t->name, name);
    return sq_h5_read(p->h5, path, SQ_F64, 0, t->rows, out);
}

/* Cells along a side, so that a cell holds about eight rows. */
static int sky_cells(int64_t rows)
{
    return (int)fmax(4, fmin(MOST_CELLS, sqrt((double)rows / 8)));
}

static void draw_density(const page *p, const report_table *t, const svg_sky *sky, const double *ra,
                         const double *dec, int64_t *cell)
{
    int cells = sky_cells(t->rows);
    double box = 520.0 / cells, x, y;
    int64_t most = 0;
    char colour[8], tip[64];
    for (int64_t i = 0; i < t->rows; i++) {
        svg_sky_point(sky, ra[i], dec[i], &x, &y);
        int cx = (int)floor((x - 20) / box), cy = (int)floor((y - 20) / box);
        if (isfinite(x) && isfinite(y) && cx >= 0 && cx < cells && cy >= 0 && cy < cells) {
            int64_t n = ++cell[cy * cells + cx];
            most = n > most ? n : most;
        }
    }
    for (int k = 0; k < cells * cells; k++) {
        if (!cell[k])
            continue;
        svg_ramp((double)cell[k] / (double)most, colour);
        snprintf(tip, sizeof tip, "%lld", (long long)cell[k]);
        svg_rect(p->out, 20 + box * (k % cells), 20 + box * (double)(k / cells), box + 0.3,
                 box + 0.3, colour, "none", tip);
    }
    double area = pow(box / sky->scale * 60, 2);
    snprintf(tip, sizeof tip, "rows in a cell of %.3g arcmin2", area);
    svg_colour_bar(p->out, 200, 560, 340, 0, 0, (double)most, tip);
}

sq_status page_sky(const page *p, const report_table *t)
{
    sq_status rc;
    svg_sky sky;
    double *ra = NULL, *dec = NULL;
    int64_t *cell = NULL;
    SQ_TRY(SQ_ALLOC(ra, t->rows + 1, "positions"));
    SQ_TRY(SQ_ALLOC(dec, t->rows + 1, "positions"));
    SQ_TRY(SQ_ALLOC(cell, MOST_CELLS * MOST_CELLS, "cells"));
    SQ_TRY(read_column(p, t, "ra", ra));
    SQ_TRY(read_column(p, t, "dec", dec));
    svg_sky_fit(&sky, t->rows, ra, dec, 20, 20, 519.9, 519.9);
    svg_begin(p->out, 560, 600, "density of rows on the sky");
    draw_density(p, t, &sky, ra, dec, cell);
    svg_sky_scale(p->out, &sky, 20, 565, 120);
    svg_end(p->out);
cleanup:
    sq_free(ra);
    sq_free(dec);
    sq_free(cell);
    return rc;
}

/* ---- Magnitudes ---- */

static double magnitude(double flux)
{
    return flux > 0 ? 31.4 - 2.5 * log10(flux) : NAN;
}

typedef struct histogram {
    char band[REPORT_NAME];
    int64_t count[BIN_COUNT];
} histogram;

static const double mag_low = 12, mag_step = 0.25;

static void draw_histograms(const page *p, const histogram *h, int bands)
{
    int first = BIN_COUNT, last = 0;
    int64_t most = 1;
    double xy[4 * BIN_COUNT];
    for (int b = 0; b < bands; b++) {
        for (int k = 0; k < BIN_COUNT; k++) {
            if (h[b].count[k]) {
                first = k < first ? k : first;
                last = k > last ? k : last;
                most = h[b].count[k] > most ? h[b].count[k] : most;
            }
        }
    }
    if (first > last)
        return;
    svg_graph g = {60,
                   40,
                   340,
                   300,
                   mag_low + first * mag_step,
                   mag_low + (last + 1) * mag_step,
                   0,
                   1.05 * (double)most};
    svg_begin(p->out, 430, 600, "magnitudes");
    svg_axes(p->out, &g, "magnitudes", "AB mag", "rows in 0.25 mag");
    for (int b = 0; b < bands; b++) {
        int n = 0;
        for (int k = first; k <= last; k++) {
            for (int side = 0; side < 2; side++, n++) {
                xy[2 * n] = svg_x(&g, mag_low + (k + side) * mag_step);
                xy[2 * n + 1] = svg_y(&g, (double)h[b].count[k]);
            }
        }
        svg_polyline(p->out, xy, n, svg_series(b), 1.6);
        svg_line(p->out, 70, 55 + 16.0 * b, 90, 55 + 16.0 * b, svg_series(b), 2.5);
        svg_text(p->out, 96, 59 + 16.0 * b, 12, "start", h[b].band);
    }
    svg_end(p->out);
}

sq_status page_magnitudes(const page *p, const report_table *t)
{
    enum { MOST_BANDS = 8 };
    sq_status rc;
    histogram *h = NULL;
    double *flux = NULL;
    char *list = NULL, *save = NULL;
    int bands = 0;
    SQ_TRY(SQ_ALLOC(h, MOST_BANDS, "histograms"));
    SQ_TRY(SQ_ALLOC(flux, t->rows + 1, "fluxes"));
    SQ_TRY(sq_strdup(&list, t->columns));
    for (char *name = strtok_r(list, ",", &save); name && bands < MOST_BANDS;
         name = strtok_r(NULL, ",", &save)) {
        if (strncmp(name, "flux_", 5) != 0 || !cmp_is_flux(name))
            continue;
        SQ_TRY(read_column(p, t, name, flux));
        snprintf(h[bands].band, sizeof h[bands].band, "%.60s", name + 5);
        for (int64_t i = 0; i < t->rows; i++) {
            double k = floor((magnitude(flux[i]) - mag_low) / mag_step);
            if (k >= 0 && k < BIN_COUNT)
                h[bands].count[(int)k]++;
        }
        bands++;
    }
    if (bands)
        draw_histograms(p, h, bands);
cleanup:
    sq_free(h);
    sq_free(flux);
    sq_free(list);
    return rc;
}

/* ---- Times ---- */

static double sum_clock(const page *p, int k)
{
    double sum = 0;
    for (int64_t i = 0; p->task.clock[k] && i < p->task.n; i++) {
        if (isfinite(p->task.clock[k][i]))
            sum += p->task.clock[k][i];
    }
    return sum;
}

static void draw_split(const page *p, const double *sum, double other, double all)
{
    double x = 20;
    char text[96];
    svg_begin(p->out, WIDTH, 100, "time split");
    for (int k = 0; k < REPORT_CLOCKS; k++) {
        double part = k + 1 < REPORT_CLOCKS ? sum[k] : other;
        const char *name = k + 1 < REPORT_CLOCKS ? report_clock[k] : "other";
        double w = all > 0 ? (WIDTH - 40) * part / all : 0;
        if (part <= 0)
            continue;
        snprintf(text, sizeof text, "%s: %.1f s, %.1f%%", name, part, 100 * part / all);
        svg_rect(p->out, x, 20, w, 34, svg_series(k), "#ffffff", text);
        if (w > 110)
            svg_text(p->out, x + w / 2, 74, 12, "middle", text);
        else if (w > 34)
            svg_text(p->out, x + w / 2, 92, 12, "middle", name);
        x += w;
    }
    svg_end(p->out);
}

static int by_float(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void put_quantiles(const page *p, const float *total)
{
    float *sorted = NULL;
    int64_t n = 0;
    if (SQ_ALLOC(sorted, p->task.n + 1, "seconds") != SQ_OK)
        return;
    for (int64_t i = 0; i < p->task.n; i++) {
        if (isfinite(total[i]))
            sorted[n++] = total[i];
    }
    qsort(sorted, (size_t)n, sizeof *sorted, by_float);
    if (n)
        fprintf(p->out,
                "<p>Seconds of a task: median %.3f, 90%% below %.3f, 99%% below %.3f, longest "
                "%.3f.</p>\n",
                (double)sorted[n / 2], (double)sorted[n * 9 / 10], (double)sorted[n * 99 / 100],
                (double)sorted[n - 1]);
    sq_free(sorted);
}

void page_times(const page *p)
{
    double sum[REPORT_CLOCKS], total, other, named = 0, all;
    if (!p->task.clock[REPORT_CLOCKS - 1])
        return;
    for (int k = 0; k < REPORT_CLOCKS; k++)
        sum[k] = sum_clock(p, k);
    total = sum[REPORT_CLOCKS - 1];
    for (int k = 0; k + 1 < REPORT_CLOCKS; k++)
        named += sum[k];
    /* Waiting is not part of a task's total. */
    double wait = sum[5];
    other = fmax(0, total - (named - wait));
    all = named + other;
    fprintf(p->out,
            "<h2>Time</h2>\n<p>Summed over all tasks: %.1f s at work, %.1f s waiting for "
            "rank 0.</p>\n",
            named - wait + other, wait);
    put_quantiles(p, p->task.clock[REPORT_CLOCKS - 1]);
    draw_split(p, sum, other, all);
}

/* ---- Maps ---- */

/* Means of the pixels that are there, in at most MAP_CELLS x MAP_CELLS cells. */
static void average(const float *pixel, int64_t nx, int64_t ny, int cx, int cy, double *cell)
{
    double n[MAP_CELLS * MAP_CELLS] = {0};
    memset(cell, 0, MAP_CELLS * MAP_CELLS * sizeof *cell);
    for (int64_t y = 0; y < ny; y++) {
        for (int64_t x = 0; x < nx; x++) {
            int64_t k = (y * cy / ny) * cx + x * cx / nx;
            if (isfinite(pixel[y * nx + x])) {
                cell[k] += pixel[y * nx + x];
                n[k]++;
            }
        }
    }
    for (int k = 0; k < cx * cy; k++)
        cell[k] = n[k] > 0 ? cell[k] / n[k] : NAN;
}

static void draw_plane(const page *p, const char *title, const char *unit, const double *cell,
                       int cx, int cy)
{
    double most = 0, side = fmin(300.0 / cx, 300.0 / cy);
    char colour[8], tip[48];
    for (int k = 0; k < cx * cy; k++)
        most = isfinite(cell[k]) ? fmax(most, fabs(cell[k])) : most;
    svg_begin(p->out, 330, 390, title);
    svg_text(p->out, 165, 18, 13, "middle", title);
    for (int y = 0; y < cy; y++) {
        for (int x = 0; x < cx; x++) {
            double v = cell[y * cx + x];
            svg_diverging(most > 0 ? v / most : v, colour);
            snprintf(tip, sizeof tip, "%.4g", v);
            svg_rect(p->out, 15 + side * x, 28 + side * (cy - 1 - y), side + 0.3, side + 0.3,
                     colour, "none", tip);
        }
    }
    svg_colour_bar(p->out, 15, 345, 300, 1, -most, most, unit);
    svg_end(p->out);
}

/* "NAME, plane K", or the name that the release has for the plane, the K-th of a list. */
static void plane_title(const char *name, const char *planes, int64_t k, char *out, size_t size)
{
    for (int64_t i = 0; planes && i < k; i++) {
        planes = strchr(planes, ',');
        planes += planes != NULL;
    }
    if (planes && *planes)
        snprintf(out, size, "%.60s, %.*s", name, (int)fmin(40, (double)strcspn(planes, ",")),
                 planes);
    else
        snprintf(out, size, "%.60s, plane %lld", name, (long long)k);
}

sq_status page_map(const page *p, const char *name)
{
    sq_status rc;
    sq_dtype type;
    int rank;
    int64_t dim[8];
    float *pixel = NULL;
    double *cell = NULL;
    char path[2 * REPORT_NAME + 64], plane[2 * REPORT_NAME], title[4 * REPORT_NAME];
    char *unit = NULL, *planes = NULL;
    snprintf(path, sizeof path, "maps/%.120s", name);
    SQ_TRY(sq_h5_shape(p->h5, path, &type, &rank, dim));
    if (rank != 3 || dim[1] < 1 || dim[2] < 1)
        return SQ_OK;
    if (sq_h5_read_text(p->h5, path, "units", &unit) != SQ_OK)
        sq_error_clear();
    if (sq_h5_read_text(p->h5, path, "planes", &planes) != SQ_OK)
        sq_error_clear();
    int cx = dim[2] < MAP_CELLS ? (int)dim[2] : MAP_CELLS;
    int cy = dim[1] < MAP_CELLS ? (int)dim[1] : MAP_CELLS;
    SQ_TRY(SQ_ALLOC(pixel, dim[1] * dim[2], "map"));
    SQ_TRY(SQ_ALLOC(cell, MAP_CELLS * MAP_CELLS, "map"));
    for (int64_t k = 0; k < dim[0] && k < MOST_PLANES; k++) {
        SQ_TRY(sq_h5_read(p->h5, path, SQ_F32, k, 1, pixel));
        average(pixel, dim[2], dim[1], cx, cy, cell);
        plane_title(name, planes, k, plane, sizeof plane);
        snprintf(title, sizeof title, "%s: %lld x %lld", plane, (long long)dim[2],
                 (long long)dim[1]);
        draw_plane(p, title, unit ? unit : "", cell, cx, cy);
    }
cleanup:
    sq_free(unit);
    sq_free(planes);
    sq_free(pixel);
    sq_free(cell);
    return rc;
}
