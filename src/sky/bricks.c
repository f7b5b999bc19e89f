#include <math.h>

#include "sky/tiling_internal.h"

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

void sq_bricks_setup(sq_tiling *tiling)
{
    bricks *b = &tiling->bricks;
    int64_t core = tiling->shape.core, half = core / 2;
    for (int p = 0; p < tiling->shape.passes; p++) {
        brick_pass *pass = &b->pass[p];
        pass->dy = p & 2 ? half : 0;
        pass->dx[0] = p & 1 ? half : 0;
        pass->dx[1] = p & 1 ? 0 : half;
        pass->rows = ceil_div(b->ny + pass->dy, core);
        for (int odd = 0; odd < 2; odd++)
            pass->columns[odd] = ceil_div(b->nx + pass->dx[odd], core);
        pass->count =
            (uint64_t)((pass->rows + 1) / 2 * pass->columns[0] + pass->rows / 2 * pass->columns[1]);
        tiling->first[p + 1] = tiling->first[p] + pass->count;
    }
}

static int64_t clip(int64_t value, int64_t high)
{
    return value < 0 ? 0 : value > high ? high : value;
}

void sq_bricks_patch(const sq_tiling *tiling, int pass_number, uint64_t local, sq_patch *out)
{
    const bricks *b = &tiling->bricks;
    const brick_pass *pass = &b->pass[pass_number];
    int64_t core = tiling->shape.core, halo = tiling->shape.halo, k = (int64_t)local;
    int64_t pair = pass->columns[0] + pass->columns[1];
    int odd = k % pair >= pass->columns[0];
    out->row = k / pair * 2 + odd;
    out->column = k % pair - (odd ? pass->columns[0] : 0);
    int64_t x = out->column * core - pass->dx[odd], y = out->row * core - pass->dy;
    out->x0 = clip(x, b->nx);
    out->y0 = clip(y, b->ny);
    out->x1 = clip(x + core, b->nx);
    out->y1 = clip(y + core, b->ny);
    out->in_x0 = x - halo;
    out->in_y0 = y - halo;
}

int sq_bricks_owner(const sq_tiling *tiling, int pass_number, double x, double y, uint64_t *local)
{
    const bricks *b = &tiling->bricks;
    const brick_pass *pass = &b->pass[pass_number];
    if (!(x >= -0.5 && x < (double)b->nx - 0.5 && y >= -0.5 && y < (double)b->ny - 0.5))
        return 0;
    int64_t core = tiling->shape.core;
    int64_t row = (sq_pixel_of(y) + pass->dy) / core, odd = row & 1;
    int64_t column = (sq_pixel_of(x) + pass->dx[odd]) / core;
    int64_t pair = pass->columns[0] + pass->columns[1];
    *local = (uint64_t)(row / 2 * pair + (odd ? pass->columns[0] : 0) + column);
    return 1;
}

double sq_bricks_depth(const sq_patch *patch, double x, double y)
{
    double x0 = (double)patch->x0 - 0.5, x1 = (double)patch->x1 - 0.5;
    double y0 = (double)patch->y0 - 0.5, y1 = (double)patch->y1 - 0.5;
    double distance = fmin(fmin(x - x0, x1 - x), fmin(y - y0, y1 - y));
    return sq_signed_depth(distance, x >= x0 && x < x1 && y >= y0 && y < y1);
}
