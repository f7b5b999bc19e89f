#include <math.h>
#include <string.h>

#include "sim/sim_internal.h"

enum { BLOCK = 256, PAD = SIM_TAPS / 2 };

/* White noise of row y, columns [a, b), from blocks of BLOCK pixels with a stream each. */
static void white_row(const sim_scene *scene, int band, int64_t y, int64_t a, int64_t b, float *out)
{
    float block[BLOCK];
    /* Coordinates are offset so that the kernel's margin around the grid has blocks too. */
    int64_t first = (a + BLOCK) / BLOCK, last = (b - 1 + BLOCK) / BLOCK;
    for (int64_t k = first; k <= last; k++) {
        sq_rng rng;
        uint64_t id = scene->id << 28 ^ (uint64_t)(y + BLOCK) << 10 ^ (uint64_t)k;
        sq_rng_init(&rng, scene->seed, SIM_RNG_NOISE + (uint32_t)band, id);
        int64_t start = (k - 1) * BLOCK, low = start < a ? a : start;
        int64_t high = start + BLOCK < b ? start + BLOCK : b;
        /* Normals come in pairs: fill up to the pair that holds the last wanted pixel. */
        sq_rng_normal_fill(&rng, block, (high - start + 1) / 2 * 2);
        memcpy(out + (low - a), block + (low - start), (size_t)(high - low) * sizeof *out);
    }
}

void sim_noise(const sim_scene *scene, int band, int64_t x0, int64_t y0, int nx, int ny,
               float *work, float *out)
{
    const sim_band *b = &scene->band[band];
    if (b->white) {
        for (int j = 0; j < ny; j++)
            white_row(scene, band, y0 + j, x0, x0 + nx, out + (int64_t)j * nx);
        return;
    }
    int wide = nx + 2 * PAD, high = ny + 2 * PAD;
    float *rows = work + (int64_t)wide * high;
    for (int j = 0; j < high; j++) {
        float *in = work + (int64_t)j * wide, *row = rows + (int64_t)j * nx;
        white_row(scene, band, y0 - PAD + j, x0 - PAD, x0 + nx + PAD, in);
        memset(row, 0, (size_t)nx * sizeof *row);
        for (int k = 0; k < SIM_TAPS; k++) {
            float tap = (float)b->tap_x[k];
            for (int i = 0; i < nx; i++)
                row[i] += tap * in[i + k];
        }
    }
    memset(out, 0, (size_t)nx * ny * sizeof *out);
    for (int j = 0; j < ny; j++) {
        for (int k = 0; k < SIM_TAPS; k++) {
            float tap = (float)b->tap_y[k];
            const float *row = rows + (int64_t)(j + k) * nx;
            for (int i = 0; i < nx; i++)
                out[(int64_t)j * nx + i] += tap * row[i];
        }
    }
}
