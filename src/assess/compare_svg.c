/* Maps of a comparison: one drawing per table and kind of difference. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "assess/compare_report.h"
#include "assess/svg.h"
#include "base/mem.h"

enum { WIDTH = 900, HEIGHT = 760, TOP = 60, BOTTOM = 90, MARGIN = 40, NAMED_TILES = 60 };

typedef enum kind { MAP_COUNTS, MAP_POSITION, MAP_FLUX, MAP_DRIFT, MAP_KINDS } kind;

static const char *const kind_name[MAP_KINDS] = {"counts", "position", "flux", "drift"};

typedef struct drawing {
    const sq_compare_report *report;
    const cmp_table *t;
    kind kind;
    FILE *out;
    svg_sky sky;
    double most; /* end of the colour scale */
} drawing;

static const cmp_quantity *quantity_of(const cmp_table *t, const char *name)
{
    for (int i = 0; i < t->quantities; i++) {
        if (strcmp(t->quantity[i].name, name) == 0)
            return &t->quantity[i];
    }
    return NULL;
}

/* The number that colours an area. */
static double area_value(const drawing *d, int64_t a)
{
    const cmp_table *t = d->t;
    const cmp_quantity *ra = quantity_of(t, "ra"), *dec = quantity_of(t, "dec");
    const cmp_quantity *flux = quantity_of(t, t->flux);
    double most = 0;
    switch (d->kind) {
    case MAP_COUNTS:
        return 100 * t->area[a].count.change.value;
    case MAP_POSITION:
        return ra && dec ? hypot(ra->area[a].median, dec->area[a].median) : NAN;
    case MAP_FLUX:
        return flux ? flux->area[a].median : NAN;
    default:
        for (int i = 0; i < t->columns; i++) {
            if (t->column[i].area[a].q < d->report->options.thresholds.significance)
                most = fmax(most, t->column[i].area[a].distance);
        }
        return most;
    }
}

static double patch_value(const drawing *d, const cmp_patch *p)
{
    switch (d->kind) {
    case MAP_COUNTS:
        return p->rows[0] ? 100.0 * (double)(p->appeared - p->vanished) / (double)p->rows[0] : NAN;
    case MAP_POSITION:
        return hypot(p->shift_ra, p->shift_dec);
    case MAP_FLUX:
        return p->mag;
    default:
        return NAN;
    }
}

static int is_diverging(kind k)
{
    return k == MAP_COUNTS || k == MAP_FLUX;
}

static void colour_of(const drawing *d, double value, char colour[8])
{
    if (is_diverging(d->kind))
        svg_diverging(value / d->most, colour);
    else
        svg_ramp(value / d->most, colour);
}

static int area_exceeds(const drawing *d, const char *area)
{
    for (size_t i = 0; i < d->report->exceeded; i++) {
        const cmp_exceeded *e = &d->report->exceed[i];
        if (strcmp(e->table, d->t->name) == 0 && strcmp(e->area, area) == 0)
            return 1;
    }
    return 0;
}

static sq_status fit(drawing *d)
{
    const cmp_table *t = d->t;
    double *ra = NULL, *dec = NULL;
    int64_t n = 0;
    sq_status rc;
    SQ_TRY(SQ_ALLOC(ra, 4 * t->areas + t->patches + 1, "footprint"));
    SQ_TRY(SQ_ALLOC(dec, 4 * t->areas + t->patches + 1, "footprint"));
    for (int64_t a = 0; a < t->areas; a++) {
        for (int k = 0; k < t->area[a].corners; k++, n++) {
            ra[n] = t->area[a].corner[2 * k];
            dec[n] = t->area[a].corner[2 * k + 1];
        }
    }
    for (int64_t p = 0; p < t->patches; p++) {
        if (t->patch[p].rows[0] + t->patch[p].rows[1] == 0)
            continue;
        ra[n] = t->patch[p].ra;
        dec[n++] = t->patch[p].dec;
    }
    svg_sky_fit(&d->sky, n, ra, dec, MARGIN, TOP, WIDTH - 2 * MARGIN, HEIGHT - TOP - BOTTOM);
cleanup:
    sq_free(ra);
    sq_free(dec);
    return rc;
}

static void draw_tile(const drawing *d, int64_t a, double xy[8])
{
    const cmp_area *area = &d->t->area[a];
    char colour[8], tip[CMP_NAME + 64];
    double value = area_value(d, a);
    int bad = area_exceeds(d, area->name);
    for (int k = 0; k < 4; k++)
        svg_sky_point(&d->sky, area->corner[2 * k], area->corner[2 * k + 1], &xy[2 * k],
                      &xy[2 * k + 1]);
    colour_of(d, value, colour);
    snprintf(tip, sizeof tip, "%s: %.4g%s", area->name, value, bad ? ", exceeds a threshold" : "");
    svg_polygon(d->out, xy, 4, colour, bad ? "#e00000" : "#666666", bad ? 3 : 0.8, tip);
}

static void draw_tiles(const drawing *d)
{
    double xy[8];
    for (int pass = 0; pass < 2; pass++) { /* those that exceed a threshold on top */
        for (int64_t a = 0; a < d->t->areas; a++) {
            if (d->t->area[a].corners && area_exceeds(d, d->t->area[a].name) == pass)
                draw_tile(d, a, xy);
        }
    }
}

static void name_tiles(const drawing *d)
{
    for (int64_t a = 0; a < d->t->areas; a++) {
        const cmp_area *area = &d->t->area[a];
        double x = 0, y = 0, px, py;
        if (!area->corners || (d->t->areas > NAMED_TILES && !area_exceeds(d, area->name)))
            continue;
        for (int k = 0; k < 4; k++) {
            svg_sky_point(&d->sky, area->corner[2 * k], area->corner[2 * k + 1], &px, &py);
            x += px / 4;
            y += py / 4;
        }
        svg_halo_text(d->out, x, y, 12, area->name);
    }
}

/* Patches as dots at the mean of their rows, or as arrows along their shift. */
static void draw_patches(const drawing *d)
{
    for (int64_t k = 0; k < d->t->patches; k++) {
        const cmp_patch *p = &d->t->patch[k];
        char colour[8], tip[CMP_NAME + 64];
        double x, y, value = patch_value(d, p), length = 25 / d->most;
        if (p->rows[0] + p->rows[1] == 0 || isnan(value))
            continue;
        svg_sky_point(&d->sky, p->ra, p->dec, &x, &y);
        if (!isfinite(x) || !isfinite(y))
            continue;
        colour_of(d, value, colour);
        snprintf(tip, sizeof tip, "%s patch %lld: %.4g",
                 p->area >= 0 ? d->t->area[p->area].name : "", (long long)p->number, value);
        if (d->kind == MAP_POSITION && value > 0)
            svg_line(d->out, x, y, x - length * p->shift_ra, y - length * p->shift_dec, "#d06010",
                     1);
        fputs("<g stroke=\"#555555\" stroke-width=\"0.5\">", d->out);
        svg_circle(d->out, x, y, d->t->patches > 2000 ? 2 : 5, colour, tip);
        fputs("</g>\n", d->out);
    }
}

static void find_scale(drawing *d)
{
    d->most = 0;
    for (int64_t a = 0; a < d->t->areas; a++) {
        double v = fabs(area_value(d, a));
        d->most = isfinite(v) ? fmax(d->most, v) : d->most;
    }
    /* Few rows make patches noisy: they may saturate at four times the largest area. */
    for (int64_t k = 0; k < d->t->patches; k++) {
        double v = fabs(patch_value(d, &d->t->patch[k])),
               cap = d->t->areas ? 4 * d->most : INFINITY;
        d->most = isfinite(v) && v <= cap ? fmax(d->most, v) : d->most;
    }
    if (d->most == 0)
        d->most = d->kind == MAP_COUNTS ? 1 : 0.01;
}

static void draw(drawing *d)
{
    static const char *const label[MAP_KINDS] = {
        "change of the number of rows [%]", "median shift of the position [arcsec]",
        "median shift [mag]", "largest significant Kolmogorov-Smirnov distance of a column"};
    char title[2 * CMP_NAME + 80];
    snprintf(title, sizeof title, "%s: %s%s%s, B - A", d->t->name, label[d->kind],
             d->kind == MAP_FLUX ? ", " : "", d->kind == MAP_FLUX ? d->t->flux : "");
    svg_begin(d->out, WIDTH, HEIGHT, title);
    svg_text(d->out, WIDTH / 2.0, 28, 16, "middle", title);
    draw_tiles(d);
    draw_patches(d);
    name_tiles(d);
    int diverging = is_diverging(d->kind);
    svg_colour_bar(d->out, WIDTH - 340, HEIGHT - 60, 300, diverging, diverging ? -d->most : 0,
                   d->most, "");
    svg_sky_scale(d->out, &d->sky, MARGIN, HEIGHT - 50, 200);
    svg_text(d->out, WIDTH / 2.0, HEIGHT - 12, 11, "middle",
             d->kind == MAP_DRIFT ? "tiles; red outline: exceeds a threshold"
                                  : "tiles and, as dots, their patches; red outline: exceeds a "
                                    "threshold");
    svg_end(d->out);
}

/* Names of tables come from the file: keep what is harmless in a file name. */
static void file_name(const char *folder, const char *table, const char *kind, char *path,
                      size_t size)
{
    char safe[CMP_NAME];
    snprintf(safe, sizeof safe, "%s", table);
    for (char *c = safe; *c; c++) {
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", *c))
            *c = '_';
    }
    snprintf(path, size, "%.3000s/%s-%s.svg", folder, safe, kind);
}

static sq_status draw_file(drawing *d, const char *folder)
{
    char path[4096];
    file_name(folder, d->t->name, kind_name[d->kind], path, sizeof path);
    d->out = fopen(path, "w");
    if (!d->out)
        return sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    sq_status rc = fit(d);
    if (rc == SQ_OK) {
        find_scale(d);
        draw(d);
    }
    int bad = ferror(d->out);
    if ((fclose(d->out) != 0 || bad) && rc == SQ_OK)
        rc = sq_fail(SQ_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
    return rc;
}

sq_status sq_compare_maps(const sq_compare_report *report, const char *folder)
{
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return sq_fail(SQ_ERR_IO, "%s: cannot make the folder: %s", folder, strerror(errno));
    for (int i = 0; i < report->tables; i++) {
        const cmp_table *t = &report->table[i];
        for (int k = 0; k < MAP_KINDS && t->sky; k++) {
            drawing d = {.report = report, .t = t, .kind = (kind)k};
            sq_status rc = k == MAP_FLUX && !t->flux[0] ? SQ_OK : draw_file(&d, folder);
            if (rc != SQ_OK)
                return rc;
        }
    }
    return SQ_OK;
}
