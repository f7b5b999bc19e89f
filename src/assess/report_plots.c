/* Drawings of a release: footprint, sky, magnitudes, times, maps. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assess/compare_report.h"
#include "assess/report_page.h"
#include "assess/svg.h"
#include "base/mem.h"
#include "sky/patch.h"
#include "sky/sphere.h"

enum {
    WIDTH = 1000,
    MOST_PATCHES = 20000, /* drawn one by one */
    PIXELS = 4096,        /* longer side of a tile when its patches are laid out */
    MOST_CELLS = 72,
    MAP_CELLS = 64,
    MOST_PLANES = 12,
    BIN_COUNT = 64
};

static const char *const state_name[] = {"done", "failed", "quarantined"};
static const char *const state_colour[] = {"#a9d5b5", "#d8342b", "#3a3a3a"};

static int state_of(const page *p, int64_t i)
{
    int64_t s = p->task.state[i];
    return s >= 0 && s < 3 ? (int)s : 1;
}

static void legend(const page *p, double x, double y)
{
    int64_t count[3] = {0, 0, 0};
    char text[64];
    for (int64_t i = 0; i < p->task.n; i++)
        count[state_of(p, i)]++;
    for (int s = 0; s < 3; s++) {
        svg_rect(p->out, x + 190 * s, y - 11, 13, 13, state_colour[s], "#555555", NULL);
        snprintf(text, sizeof text, "%s: %lld", state_name[s], (long long)count[s]);
        svg_text(p->out, x + 190 * s + 19, y, 13, "start", text);
    }
}

/* ---- Patches of tiles ---- */

/* The tasks of the first phase and realisation, by tile. */
typedef struct tile_tasks {
    int64_t *first, *count; /* patch number, tasks; per tile */
} tile_tasks;

static int is_first(const page *p, int64_t i)
{
    return p->task.phase[i] == p->task.phase[0] && p->task.realisation[i] == 0 &&
           p->task.tile[i] >= 0 && p->task.tile[i] < p->tiles;
}

static sq_status count_tasks(const page *p, tile_tasks *t)
{
    sq_status rc;
    SQ_TRY(SQ_ALLOC(t->first, p->tiles + 1, "tiles"));
    SQ_TRY(SQ_ALLOC(t->count, p->tiles + 1, "tiles"));
    for (int64_t i = 0; i < p->task.n; i++) {
        if (!is_first(p, i))
            continue;
        int64_t k = p->task.tile[i];
        if (t->count[k]++ == 0 || p->task.patch[i] < t->first[k])
            t->first[k] = p->task.patch[i];
    }
cleanup:
    return rc;
}

static sq_status tiling_of(int64_t nx, int64_t ny, int core, sq_tiling **out)
{
    return sq_tiling_bricks(nx, ny, (sq_patch_shape){core, 0, 1}, NULL, out);
}

/* Bricks with so many patches on a grid of this shape, in the middle of the possible sizes of the
 * core; NULL when no size gives that number. The release does not hold the size in pixels, and the
 * layout depends on its ratio only. */
static sq_status guess_tiling(int64_t nx, int64_t ny, int64_t patches, sq_tiling **out)
{
    int side[2];
    *out = NULL;
    for (int more = 0; more < 2; more++) { /* least core with <= patches, with < patches */
        int low = 1, high = PIXELS + 1;
        while (low < high) {
            int middle = (low + high) / 2;
            sq_tiling *t;
            sq_status rc = tiling_of(nx, ny, middle, &t);
            if (rc != SQ_OK)
                return rc;
            int64_t count = (int64_t)sq_tiling_count(t);
            sq_tiling_destroy(t);
            if (count <= patches - more)
                high = middle;
            else
                low = middle + 1;
        }
        side[more] = low;
    }
    sq_status rc = tiling_of(nx, ny, (side[0] + side[1]) / 2, out);
    if (rc == SQ_OK && (int64_t)sq_tiling_count(*out) != patches) {
        sq_tiling_destroy(*out);
        *out = NULL;
    }
    return rc;
}

typedef struct tile_frame {
    int64_t nx, ny;
    double xy[8]; /* corners in the drawing */
} tile_frame;

static tile_frame frame_of(const page *p, const svg_sky *sky, int64_t tile)
{
    const double *c = p->corner + 8 * tile;
    tile_frame f;
    double w = sq_separation(c[0], c[1], c[2], c[3]), h = sq_separation(c[2], c[3], c[4], c[5]);
    double most = fmax(w, h);
    f.nx = most > 0 ? (int64_t)fmax(1, round(PIXELS * w / most)) : 1;
    f.ny = most > 0 ? (int64_t)fmax(1, round(PIXELS * h / most)) : 1;
    for (int k = 0; k < 4; k++)
        svg_sky_point(sky, c[2 * k], c[2 * k + 1], &f.xy[2 * k], &f.xy[2 * k + 1]);
    return f;
}

/* Place of a pixel in the drawing, between the corners. */
static void place(const tile_frame *f, double px, double py, double out[2])
{
    double u = px / (double)f->nx, v = py / (double)f->ny;
    for (int k = 0; k < 2; k++)
        out[k] = (1 - v) * ((1 - u) * f->xy[k] + u * f->xy[2 + k]) +
                 v * ((1 - u) * f->xy[6 + k] + u * f->xy[4 + k]);
}

static void draw_patch(const page *p, const tile_frame *f, const sq_patch *patch, int64_t task)
{
    char tip[REPORT_NAME + 128];
    double xy[8];
    double x0 = (double)patch->x0, x1 = (double)patch->x1, y0 = (double)patch->y0,
           y1 = (double)patch->y1;
    place(f, x0, y0, xy);
    place(f, x1, y0, xy + 2);
    place(f, x1, y1, xy + 4);
    place(f, x0, y1, xy + 6);
    snprintf(tip, sizeof tip, "%s, patch %lld: %s, %lld rows", p->tile_name[p->task.tile[task]],
             (long long)p->task.patch[task], state_name[state_of(p, task)],
             (long long)p->task.rows[task]);
    svg_polygon(p->out, xy, 4, state_colour[state_of(p, task)], "#ffffff", 0.5, tip);
}

static sq_status draw_patches(const page *p, const svg_sky *sky, const tile_tasks *t)
{
    sq_status rc = SQ_OK;
    sq_tiling *tiling = NULL;
    tile_frame f = {0}, made = {0};
    int64_t made_count = -1, tile = -1;
    for (int64_t i = 0; i < p->task.n; i++) {
        int64_t k = p->task.tile[i];
        sq_patch patch;
        if (!is_first(p, i) || (p->task.n > MOST_PATCHES && p->task.state[i] == 0))
            continue;
        if (k != tile)
            f = frame_of(p, sky, k);
        tile = k;
        if (f.nx != made.nx || f.ny != made.ny || t->count[k] != made_count) {
            sq_tiling_destroy(tiling);
            tiling = NULL;
            SQ_TRY(guess_tiling(f.nx, f.ny, t->count[k], &tiling));
            made = f;
            made_count = t->count[k];
        }
        uint64_t index = (uint64_t)(p->task.patch[i] - t->first[k]);
        if (tiling && index < sq_tiling_count(tiling)) {
            SQ_TRY(sq_tiling_patch(tiling, index, &patch));
            draw_patch(p, &f, &patch, i);
        }
    }
cleanup:
    sq_tiling_destroy(tiling);
    return rc;
}

static void draw_outlines(const page *p, const svg_sky *sky, const char *fill)
{
    for (int64_t t = 0; t < p->tiles; t++) {
        tile_frame f = frame_of(p, sky, t);
        svg_polygon(p->out, f.xy, 4, fill, "#445566", 1.2, p->tile_name[t]);
    }
}

static void name_tiles(const page *p, const svg_sky *sky)
{
    for (int64_t t = 0; t < p->tiles && p->tiles <= 60; t++) {
        tile_frame f = frame_of(p, sky, t);
        double at[2];
        place(&f, (double)f.nx / 2, (double)f.ny / 2, at);
        svg_halo_text(p->out, at[0], at[1] + 4, 11, p->tile_name[t]);
    }
}

static sq_status fit_tiles(const page *p, svg_sky *sky, double height)
{
    sq_status rc;
    double *ra = NULL, *dec = NULL;
    SQ_TRY(SQ_ALLOC(ra, 4 * p->tiles + 1, "corners"));
    SQ_TRY(SQ_ALLOC(dec, 4 * p->tiles + 1, "corners"));
    for (int64_t i = 0; i < 4 * p->tiles; i++) {
        ra[i] = p->corner[2 * i];
        dec[i] = p->corner[2 * i + 1];
    }
    svg_sky_fit(sky, 4 * p->tiles, ra, dec, 20, 20, WIDTH - 40, height);
cleanup:
    sq_free(ra);
    sq_free(dec);
    return rc;
}

static sq_status tile_footprint(const page *p)
{
    sq_status rc;
    tile_tasks t = {NULL, NULL};
    svg_sky sky;
    SQ_TRY(fit_tiles(p, &sky, 560));
    SQ_TRY(count_tasks(p, &t));
    svg_begin(p->out, WIDTH, 660, "footprint with the states of patches");
    draw_outlines(p, &sky, p->task.n > MOST_PATCHES ? state_colour[0] : "#eeeeee");
    SQ_TRY(draw_patches(p, &sky, &t));
    draw_outlines(p, &sky, "none");
    name_tiles(p, &sky);
    legend(p, 300, 635);
    svg_sky_scale(p->out, &sky, 30, 630, 150);
    svg_end(p->out);
cleanup:
    sq_free(t.first);
    sq_free(t.count);
    return rc;
}

/* Without tiles: a square a task, or one for as many tasks as it takes; the worst state shows. */
static void task_squares(const page *p)
{
    int64_t each = p->task.n / 4000 + 1, squares = (p->task.n + each - 1) / each;
    double side = squares > 1000 ? 10 : 16;
    int columns = (int)((WIDTH - 40) / side);
    double height = 60 + side * (double)((squares + columns - 1) / columns);
    char tip[96];
    svg_begin(p->out, WIDTH, height, "states of tasks");
    for (int64_t k = 0; k < squares; k++) {
        int64_t first = k * each, last = first, worst = 0;
        for (; last < first + each && last < p->task.n; last++)
            worst = state_of(p, last) > worst ? state_of(p, last) : worst;
        snprintf(tip, sizeof tip, "phase %lld, patch %lld%s: %s", (long long)p->task.phase[first],
                 (long long)p->task.patch[first], last - first > 1 ? " and following" : "",
                 state_name[worst]);
        svg_rect(p->out, 20 + side * (double)(k % columns), 10 + side * (double)(k / columns),
                 side - 1.5, side - 1.5, state_colour[worst], "none", tip);
    }
    legend(p, 300, height - 15);
    svg_end(p->out);
}

sq_status page_footprint(const page *p)
{
    if (!p->task.n && !p->corner)
        return SQ_OK;
    fputs("<h2>Footprint</h2>\n", p->out);
    if (p->corner && p->task.n)
        return tile_footprint(p);
    fputs("<p class=\"note\">A square a task, in the order of phase, patch and "
          "realisation.</p>\n",
          p->out);
    task_squares(p);
    return SQ_OK;
}

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

sq_status page_map(const page *p, const char *name)
{
    sq_status rc;
    sq_dtype type;
    int rank;
    int64_t dim[8];
    float *pixel = NULL;
    double *cell = NULL;
    char path[2 * REPORT_NAME + 64], title[2 * REPORT_NAME], *unit = NULL;
    snprintf(path, sizeof path, "maps/%.120s", name);
    SQ_TRY(sq_h5_shape(p->h5, path, &type, &rank, dim));
    if (rank != 3 || dim[1] < 1 || dim[2] < 1)
        return SQ_OK;
    if (sq_h5_read_text(p->h5, path, "units", &unit) != SQ_OK)
        sq_error_clear();
    int cx = dim[2] < MAP_CELLS ? (int)dim[2] : MAP_CELLS;
    int cy = dim[1] < MAP_CELLS ? (int)dim[1] : MAP_CELLS;
    SQ_TRY(SQ_ALLOC(pixel, dim[1] * dim[2], "map"));
    SQ_TRY(SQ_ALLOC(cell, MAP_CELLS * MAP_CELLS, "map"));
    for (int64_t k = 0; k < dim[0] && k < MOST_PLANES; k++) {
        SQ_TRY(sq_h5_read(p->h5, path, SQ_F32, k, 1, pixel));
        average(pixel, dim[2], dim[1], cx, cy, cell);
        snprintf(title, sizeof title, "%.60s, plane %lld: %lld x %lld", name, (long long)k,
                 (long long)dim[2], (long long)dim[1]);
        draw_plane(p, title, unit ? unit : "", cell, cx, cy);
    }
cleanup:
    sq_free(unit);
    sq_free(pixel);
    sq_free(cell);
    return rc;
}
