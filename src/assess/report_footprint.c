/* The footprint of a release with the states of its patches. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "assess/report_page.h"
#include "assess/svg.h"
#include "base/mem.h"
#include "sky/patch.h"
#include "sky/sphere.h"

enum {
    WIDTH = 1000,
    MOST_PATCHES = 20000, /* drawn one by one */
    PIXELS = 4096         /* longer side of a tile when its patches are laid out */
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
