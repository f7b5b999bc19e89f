#include <math.h>

#include "base/mem.h"
#include "fits/write.h"
#include "sim/sim_internal.h"

enum { STAMP = SQ_PSF_SIDE * SQ_PSF_SIDE };

/* The PSF at the middle of each cell's part of the tile; NaN where the cell has no input. One cell
 * at least has. */
static void fill_psf(const sim_scene *scene, int band, int64_t nx, int64_t ny, float *psf)
{
    const sq_sim_optical_config *c = scene->config;
    sq_rng rng;
    int kept = 0;
    sq_rng_init(&rng, scene->seed, SIM_RNG_CELLS, scene->id * SQ_MAX_BANDS + (uint64_t)band);
    for (int64_t k = 0; k < nx * ny; k++, psf += STAMP) {
        int64_t left = k % nx * c->cell, right = left + c->cell;
        int64_t bottom = k / nx * c->cell, top = bottom + c->cell;
        right = right < scene->nx ? right : scene->nx;
        top = top < scene->ny ? top : scene->ny;
        int missing = sq_rng_range(&rng, 0, 1) < c->cell_missing;
        double u, v;
        sim_field(scene, 0.5 * (double)(left + right - 1), 0.5 * (double)(bottom + top - 1), &u,
                  &v);
        sim_psf_stamp(&scene->band[band].psf, u, v, psf);
        if (missing && (kept || k < nx * ny - 1)) {
            for (int i = 0; i < STAMP; i++)
                psf[i] = NAN;
        } else {
            kept = 1;
        }
    }
}

/* Chebyshev coefficients of a parabola from its values at -1, 0 and 1. */
static void chebyshev(const double value[3], double out[3])
{
    out[1] = 0.5 * (value[2] - value[0]);
    out[2] = 0.25 * (value[2] + value[0]) - 0.5 * value[1];
    out[0] = value[1] + out[2];
}

/* The sky is a polynomial of second order, so nine values give it exactly. */
static void fill_sky(const sim_scene *scene, int band, double out[3][3])
{
    double column[3][3], value[3], c[3];
    for (int p = 0; p < 3; p++) {
        for (int q = 0; q < 3; q++)
            value[q] = sim_sky_at(scene, band, 0.5 * q * (double)scene->nx - 0.5,
                                  0.5 * p * (double)scene->ny - 0.5);
        chebyshev(value, column[p]);
    }
    for (int q = 0; q < 3; q++) {
        for (int p = 0; p < 3; p++)
            value[p] = column[p][q];
        chebyshev(value, c);
        for (int p = 0; p < 3; p++)
            out[p][q] = c[p];
    }
}

sq_status sim_write_cell_coadd(const sim_scene *scene, int band, const char *name, const char *path,
                               const sq_wcs *wcs, const float *image, const float *variance,
                               const uint32_t *mask)
{
    const sq_sim_optical_config *c = scene->config;
    int64_t tile = (int64_t)scene->id, tx = tile % c->tiles_x, ty = tile / c->tiles_x;
    int64_t step_x = c->tile_nx - c->overlap, step_y = c->tile_ny - c->overlap;
    int64_t nx = (scene->nx + c->cell - 1) / c->cell, ny = (scene->ny + c->cell - 1) / c->cell;
    float *psf = NULL;
    sq_status rc = SQ_ALLOC(psf, nx * ny * STAMP, "PSF");
    if (rc != SQ_OK)
        return rc;
    sq_cell_coadd coadd = {.band = name,
                           .skymap = "skyquilt",
                           .tract_nx = step_x * (c->tiles_x - 1) + c->tile_nx,
                           .tract_ny = step_y * (c->tiles_y - 1) + c->tile_ny,
                           .patch = tile,
                           .patch_x = tx,
                           .patch_y = ty,
                           .border = c->overlap / 2,
                           .x0 = tx * step_x,
                           .y0 = ty * step_y,
                           .nx = scene->nx,
                           .ny = scene->ny,
                           .cell = (int)c->cell,
                           .side = SQ_PSF_SIDE,
                           .image = image,
                           .variance = variance,
                           .mask = mask,
                           .psf = psf};
    fill_psf(scene, band, nx, ny, psf);
    fill_sky(scene, band, coadd.sky);
    rc = sq_write_cell_coadd(path, &coadd, wcs);
    sq_free(psf);
    return rc;
}
