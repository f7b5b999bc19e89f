#include "sky/owner.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sky/sphere.h"

#define RAD (M_PI / 180)

enum { EDGE_SAMPLES = 8 };

struct sq_owner {
    uint32_t tiles;
    sq_footprint *tile;
    sq_wcs_pool *wcs;
    _Atomic int *failed; /* sq_status of the first WCS that could not be had */
    int64_t rows; /* of the grid: iso-latitude rows of nearly square cells */
    int64_t *row_cells, *row_first;
    uint64_t *start; /* cells + 1: where the list of a cell starts */
    uint32_t *list;  /* tile numbers, ascending within a cell */
};

/* A point of the outline: `t` runs over 0..4, one unit a side. */
static void outline(int64_t nx, int64_t ny, double t, double *x, double *y)
{
    double w = (double)nx, h = (double)ny, f = t - floor(t);
    int side = (int)t & 3;
    *x = (side == 0 ? f : side == 1 ? 1 : side == 2 ? 1 - f : 0) * w - 0.5;
    *y = (side == 0 ? 0 : side == 1 ? f : side == 2 ? 1 : 1 - f) * h - 0.5;
}

sq_status sq_footprint_of(const sq_wcs *wcs, int64_t nx, int64_t ny, sq_footprint *out)
{
    double cx = 0.5 * (double)(nx - 1), cy = 0.5 * (double)(ny - 1), jac[4];
    sq_status rc = SQ_OK;
    if (nx < 1 || ny < 1)
        return sq_fail(SQ_ERR_USAGE, "a footprint of %lld x %lld pixels", (long long)nx,
                       (long long)ny);
    *out = (sq_footprint){.nx = nx, .ny = ny};
    SQ_TRY(sq_wcs_pix2sky(wcs, 1, &cx, &cy, &out->ra, &out->dec));
    SQ_TRY(sq_wcs_jacobian(wcs, cx, cy, jac));
    out->step_x = 3600 * hypot(jac[0], jac[2]);
    out->step_y = 3600 * hypot(jac[1], jac[3]);
    for (int i = 0; i < 4 * EDGE_SAMPLES; i++) {
        double x, y, ra, dec;
        outline(nx, ny, (double)i / EDGE_SAMPLES, &x, &y);
        if (sq_wcs_pix2sky(wcs, 1, &x, &y, &ra, &dec) != SQ_OK || !isfinite(ra + dec)) {
            /* An all-sky map whose corners do not project: any cell may touch it. */
            sq_error_clear();
            out->radius = 180;
            break;
        }
        out->radius = fmax(out->radius, sq_separation(out->ra, out->dec, ra, dec));
    }
    /* The outline bulges between samples by less than an eighth of its length. */
    out->radius = out->radius > 60 ? 180 : out->radius * 1.05 + 1e-6;
cleanup:
    return rc;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Cells of about a tile's diameter, but not many more cells than tiles. */
static sq_status choose_rows(sq_owner *owner)
{
    sq_status rc = SQ_OK;
    double *radius = NULL;
    SQ_TRY(SQ_ALLOC(radius, owner->tiles, "tile radii"));
    for (uint32_t i = 0; i < owner->tiles; i++)
        radius[i] = owner->tile[i].radius;
    qsort(radius, owner->tiles, sizeof *radius, by_value);
    double size = fmax(2 * radius[owner->tiles / 2], sqrt(41253.0 / (4.0 * owner->tiles + 1024)));
    owner->rows = (int64_t)ceil(180 / fmin(size, 30));
    SQ_TRY(SQ_ALLOC(owner->row_cells, owner->rows, "owner grid"));
    SQ_TRY(SQ_ALLOC(owner->row_first, owner->rows + 1, "owner grid"));
    for (int64_t r = 0; r < owner->rows; r++) {
        double south = -90 + 180.0 * (double)r / (double)owner->rows;
        double north = -90 + 180.0 * (double)(r + 1) / (double)owner->rows;
        double widest = south * north <= 0 ? 1 : cos(fmin(fabs(south), fabs(north)) * RAD);
        double cells = ceil(2 * (double)owner->rows * widest);
        owner->row_cells[r] = cells < 1 ? 1 : (int64_t)cells;
        owner->row_first[r + 1] = owner->row_first[r] + owner->row_cells[r];
    }
cleanup:
    sq_free(radius);
    return rc;
}

static int64_t row_of(const sq_owner *owner, double dec)
{
    int64_t r = (int64_t)floor((dec + 90) / 180 * (double)owner->rows);
    return r < 0 ? 0 : r >= owner->rows ? owner->rows - 1 : r;
}

static int64_t cell_of(const sq_owner *owner, int64_t row, double ra)
{
    int64_t c = (int64_t)floor(sq_wrap_ra(ra) / 360 * (double)owner->row_cells[row]);
    return c < owner->row_cells[row] ? c : owner->row_cells[row] - 1;
}

/* Visit the cells that a tile's circle may touch: count them in start[], or (fill) list the tile
 * there. */
static void visit(sq_owner *owner, uint32_t number, int fill, uint64_t *next)
{
    const sq_footprint *t = &owner->tile[number];
    double south = t->dec - t->radius, north = t->dec + t->radius;
    double reach = 180;
    if (south > -90 && north < 90)
        reach = asin(fmin(1, sin(t->radius * RAD) / cos(t->dec * RAD))) / RAD * (1 + 1e-9) + 1e-9;
    for (int64_t r = row_of(owner, south); r <= row_of(owner, north); r++) {
        int64_t n = owner->row_cells[r], first = 0, count = n;
        if (reach < 180) {
            first = cell_of(owner, r, t->ra - reach);
            count = (cell_of(owner, r, t->ra + reach) - first + n) % n + 1;
            /* The two ends may share a cell that the circle leaves and enters again. */
            if (2 * reach >= 360 - 360.0 / (double)n)
                count = n;
        }
        for (int64_t k = 0; k < count; k++) {
            uint64_t cell = (uint64_t)(owner->row_first[r] + (first + k) % n);
            if (fill)
                owner->list[next[cell]++] = number;
            else
                owner->start[cell + 1]++;
        }
    }
}

static sq_status fill_grid(sq_owner *owner)
{
    sq_status rc = SQ_OK;
    uint64_t *next = NULL;
    uint64_t cells = (uint64_t)owner->row_first[owner->rows];
    SQ_TRY(SQ_ALLOC(owner->start, cells + 1, "owner grid"));
    for (uint32_t i = 0; i < owner->tiles; i++)
        visit(owner, i, 0, NULL);
    for (uint64_t c = 0; c < cells; c++)
        owner->start[c + 1] += owner->start[c];
    SQ_TRY(SQ_ALLOC(owner->list, owner->start[cells], "owner grid"));
    SQ_TRY(SQ_ALLOC(next, cells, "owner grid"));
    memcpy(next, owner->start, cells * sizeof *next);
    for (uint32_t i = 0; i < owner->tiles; i++)
        visit(owner, i, 1, next);
cleanup:
    sq_free(next);
    return rc;
}

sq_status sq_owner_create(const sq_footprint *tile, uint32_t count, sq_wcs_pool *wcs,
                          sq_owner **out)
{
    sq_status rc = SQ_OK;
    sq_owner *owner = NULL;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(owner, 1, "tile owner"));
    owner->tiles = count;
    owner->wcs = wcs;
    SQ_TRY(SQ_ALLOC(owner->failed, 1, "tile owner"));
    if (count) {
        SQ_TRY(SQ_ALLOC(owner->tile, count, "tile owner"));
        memcpy(owner->tile, tile, count * sizeof *tile);
        SQ_TRY(choose_rows(owner));
        SQ_TRY(fill_grid(owner));
    }
    *out = owner;
    owner = NULL;
cleanup:
    sq_owner_destroy(owner);
    return rc;
}

/* Distance in pixels below the upper edge, which is open: a point on it is outside. */
static double upper(int64_t n, double x)
{
    double distance = (double)n - 0.5 - x;
    return distance == 0 ? -1e-30 : distance;
}

double sq_owner_depth(const sq_owner *owner, uint32_t number, double ra, double dec)
{
    const sq_footprint *t = &owner->tile[number];
    const sq_wcs *wcs;
    double x, y;
    sq_status rc = sq_wcs_pool_take(owner->wcs, number, &wcs);
    if (rc != SQ_OK) {
        int none = SQ_OK;
        atomic_compare_exchange_strong(owner->failed, &none, (int)rc);
        return NAN;
    }
    rc = sq_wcs_sky2pix(wcs, 1, &ra, &dec, &x, &y);
    sq_wcs_pool_give(owner->wcs, number);
    if (rc != SQ_OK || !isfinite(x + y)) {
        sq_error_clear();
        return NAN;
    }
    double dx = fmin(x + 0.5, upper(t->nx, x)) * t->step_x;
    double dy = fmin(y + 0.5, upper(t->ny, y)) * t->step_y;
    return fmin(dx, dy);
}

int64_t sq_owner_of(const sq_owner *owner, double ra, double dec)
{
    int64_t best = -1;
    double deepest = 0;
    if (!owner->tiles || !isfinite(ra) || !(fabs(dec) <= 90))
        return -1;
    int64_t row = row_of(owner, dec);
    int64_t cell = owner->row_first[row] + cell_of(owner, row, ra);
    for (uint64_t i = owner->start[cell]; i < owner->start[cell + 1]; i++) {
        const sq_footprint *t = &owner->tile[owner->list[i]];
        if (sq_separation(t->ra, t->dec, ra, dec) > t->radius)
            continue;
        double depth = sq_owner_depth(owner, owner->list[i], ra, dec);
        /* The list ascends, so a tie stays with the lower number. */
        if (depth >= 0 && (best < 0 || depth > deepest)) {
            best = owner->list[i];
            deepest = depth;
        }
    }
    return best;
}

sq_status sq_owner_check(const sq_owner *owner)
{
    int failed = atomic_load(owner->failed);
    return failed ? sq_fail((sq_status)failed, "a tile's WCS could not be had") : SQ_OK;
}

void sq_owner_destroy(sq_owner *owner)
{
    if (!owner)
        return;
    sq_free(owner->failed);
    sq_free(owner->tile);
    sq_free(owner->row_cells);
    sq_free(owner->row_first);
    sq_free(owner->start);
    sq_free(owner->list);
    sq_free(owner);
}
