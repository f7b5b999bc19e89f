#include "clusters/holes.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "fourier/window.h"

enum { LEVELS = 16, CELL = 8 };

typedef struct level {
    int ny, nx;
    float *value, *weight;
} level;

/* Means over 2 x 2, the weight saturating at 1. */
static void pull(const level *fine, const level *coarse)
{
    for (int y = 0; y < coarse->ny; y++) {
        for (int x = 0; x < coarse->nx; x++) {
            float sum = 0, weight = 0;
            for (int k = 0; k < 4; k++) {
                int v = 2 * y + k / 2, u = 2 * x + k % 2;
                if (v >= fine->ny || u >= fine->nx)
                    continue;
                float w = fine->weight[(int64_t)v * fine->nx + u];
                sum += w * fine->value[(int64_t)v * fine->nx + u];
                weight += w;
            }
            int64_t at = (int64_t)y * coarse->nx + x;
            coarse->value[at] = weight > 0 ? sum / weight : 0;
            coarse->weight[at] = fminf(1, weight);
        }
    }
}

static float smooth_at(const level *coarse, int y, int x)
{
    /* The centre of a fine pixel lies a quarter of a coarse one from the centre of its own. */
    int v = y / 2, u = x / 2, other_v = v + (y % 2 ? 1 : -1), other_u = u + (x % 2 ? 1 : -1);
    other_v = other_v < 0 || other_v >= coarse->ny ? v : other_v;
    other_u = other_u < 0 || other_u >= coarse->nx ? u : other_u;
    const float *a = coarse->value + (int64_t)v * coarse->nx;
    const float *b = coarse->value + (int64_t)other_v * coarse->nx;
    return 0.5625f * a[u] + 0.1875f * (a[other_u] + b[u]) + 0.0625f * b[other_u];
}

static void push(const level *coarse, const level *fine)
{
    for (int y = 0; y < fine->ny; y++) {
        for (int x = 0; x < fine->nx; x++) {
            int64_t at = (int64_t)y * fine->nx + x;
            float w = fine->weight[at];
            if (w < 1)
                fine->value[at] = w * fine->value[at] + (1 - w) * smooth_at(coarse, y, x);
        }
    }
}

sq_status cluster_fill(int ny, int nx, const uint8_t *valid, float *map)
{
    sq_status rc = SQ_OK;
    level all[LEVELS] = {{.ny = ny, .nx = nx, .value = map}};
    int levels = 1, holes = 0;
    int64_t n = (int64_t)ny * nx;
    for (int64_t i = 0; i < n && !holes; i++)
        holes = !valid[i];
    if (!holes)
        return SQ_OK;
    SQ_TRY(SQ_ALLOC(all[0].weight, n, "weights"));
    for (int64_t i = 0; i < n; i++) {
        all[0].weight[i] = valid[i];
        map[i] = valid[i] ? map[i] : 0;
    }
    while (levels < LEVELS && (all[levels - 1].ny > 1 || all[levels - 1].nx > 1)) {
        level *l = &all[levels];
        l->ny = (all[levels - 1].ny + 1) / 2;
        l->nx = (all[levels - 1].nx + 1) / 2;
        SQ_TRY(SQ_ALLOC(l->value, (int64_t)l->ny * l->nx, "means"));
        SQ_TRY(SQ_ALLOC(l->weight, (int64_t)l->ny * l->nx, "weights"));
        pull(&all[levels - 1], l);
        levels++;
    }
    for (int k = levels - 1; k > 0; k--)
        push(&all[k], &all[k - 1]);
cleanup:
    for (int k = 0; k < LEVELS; k++) {
        if (k)
            sq_free(all[k].value);
        sq_free(all[k].weight);
    }
    return rc;
}

static void find_void(const sq_flat *flat, const uint8_t *valid, uint8_t *filled)
{
    for (int j = 0; j < flat->ny / CELL; j++) {
        for (int i = 0; i < flat->nx / CELL; i++) {
            int held = 0;
            for (int k = 0; k < CELL * CELL; k++)
                held += valid[(int64_t)(j * CELL + k / CELL) * flat->nx + i * CELL + k % CELL];
            filled[(int64_t)j * (flat->nx / CELL) + i] = 2 * held >= CELL * CELL;
        }
    }
}

/* Bilinear between the centres of cells. */
static void spread(const sq_flat *cells, const double *coarse, float *out)
{
    int nx = cells->nx * CELL;
    for (int y = 0; y < cells->ny * CELL; y++) {
        double v = fmin(fmax((y + 0.5) / CELL - 0.5, 0), cells->ny - 1);
        int j = (int)fmin(v, fmax(0, cells->ny - 2)), up = j + 1 < cells->ny ? j + 1 : j;
        v -= j;
        for (int x = 0; x < nx; x++) {
            double u = fmin(fmax((x + 0.5) / CELL - 0.5, 0), cells->nx - 1);
            int i = (int)fmin(u, fmax(0, cells->nx - 2)), right = i + 1 < cells->nx ? i + 1 : i;
            u -= i;
            out[(int64_t)y * nx + x] =
                (float)((1 - v) * ((1 - u) * coarse[(int64_t)j * cells->nx + i] +
                                   u * coarse[(int64_t)j * cells->nx + right]) +
                        v * ((1 - u) * coarse[(int64_t)up * cells->nx + i] +
                             u * coarse[(int64_t)up * cells->nx + right]));
        }
    }
}

sq_status cluster_window(const sq_flat *flat, const uint8_t *valid, double width, float *out)
{
    sq_status rc = SQ_OK;
    sq_flat cells = {flat->ny / CELL, flat->nx / CELL, flat->dy * CELL, flat->dx * CELL};
    int64_t n = sq_flat_pixels(&cells);
    uint8_t *filled = NULL;
    double *edges = NULL, *mask = NULL;
    SQ_TRY(SQ_ALLOC(filled, n, "cells"));
    SQ_TRY(SQ_ALLOC(edges, n, "window"));
    SQ_TRY(SQ_ALLOC(mask, n, "window"));
    find_void(flat, valid, filled);
    SQ_TRY(sq_window_edges(&cells, SQ_WINDOW_C2, width, edges));
    SQ_TRY(sq_window_mask(&cells, SQ_WINDOW_C2, width, filled, mask));
    for (int64_t i = 0; i < n; i++)
        mask[i] *= edges[i];
    spread(&cells, mask, out);
cleanup:
    sq_free(filled);
    sq_free(edges);
    sq_free(mask);
    return rc;
}
