#include "clusters/release_maps.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"

void cluster_maps_make(const cluster_mosaic *mosaic, double step, cluster_maps *out)
{
    double ra, width, low, high;
    cluster_mosaic_extent(mosaic, &ra, &width, &low, &high);
    *out = (cluster_maps){.step = step / 60};
    out->dec0 = fmax(low, -90 + 0.5 * out->step);
    out->ra0 = fmod(ra + 0.5 * width + 360, 360);
    int64_t nx = (int64_t)ceil(width / out->step), ny = (int64_t)ceil((high - low) / out->step);
    int64_t whole = (int64_t)floor(360 / out->step + 0.5);
    nx = nx > whole ? whole : nx;
    out->schema[0] = (sq_map_schema){.name = "snr", .unit = "", .ucd = "stat.snr"};
    out->schema[1] = (sq_map_schema){.name = "y0_noise", .unit = "", .ucd = "stat.stdev"};
    for (int k = 0; k < CLUSTER_MAPS; k++) {
        snprintf(out->description[k], sizeof out->description[k],
                 "%s; plate carree: ra = %.10g - %.10g column, dec = %.10g + %.10g row, deg",
                 k ? "noise of y0 at the reference scale" : "greatest S/N over the scales",
                 out->ra0, out->step, out->dec0, out->step);
        out->schema[k].description = out->description[k];
        out->schema[k].type = SQ_F32;
        out->schema[k].planes = 1;
        out->schema[k].nx = nx;
        out->schema[k].ny = ny;
    }
}

static double forward(double from, double to)
{
    double d = fmod(to - from, 360);
    return d < 0 ? d + 360 : d;
}

/* Columns [*first, end) from `from` on whose ra lies in the cell; gives end, or `from` at the end
 * of the map. */
static int64_t next_run(const cluster_maps *m, const sq_patch *place, int64_t from, int64_t *first)
{
    int64_t nx = m->schema[0].nx, i = from;
    double width = place->ra1 - place->ra0;
    while (i < nx && !(forward(place->ra0, m->ra0 - (double)i * m->step) < width))
        i++;
    *first = i;
    while (i < nx && forward(place->ra0, m->ra0 - (double)i * m->step) < width)
        i++;
    return i;
}

typedef struct box {
    int64_t x0, x1, y0, y1;
} box;

static sq_status write_block(const cluster_maps *m, const cluster_patch *patch, double sigma,
                             const sq_wcs *grid, int side, box b, sq_product *product)
{
    sq_status rc = SQ_OK;
    int64_t nx = b.x1 - b.x0, ny = b.y1 - b.y0;
    const float *snr = cluster_patch_snr_map(patch), *relative = cluster_patch_relative(patch);
    float *out[CLUSTER_MAPS] = {NULL};
    double *ra = NULL, *dec = NULL, *x = NULL, *y = NULL;
    SQ_TRY(SQ_ALLOC(ra, 4 * nx, "row of a map"));
    dec = ra + nx;
    x = dec + nx;
    y = x + nx;
    for (int k = 0; k < CLUSTER_MAPS; k++)
        SQ_TRY(SQ_ALLOC(out[k], nx * ny, "block of a map"));
    for (int64_t j = 0; j < ny; j++) {
        for (int64_t i = 0; i < nx; i++) {
            ra[i] = forward(0, m->ra0 - (double)(b.x0 + i) * m->step);
            dec[i] = m->dec0 + (double)(b.y0 + j) * m->step;
        }
        SQ_TRY(sq_wcs_sky2pix(grid, (size_t)nx, ra, dec, x, y));
        for (int64_t i = 0; i < nx; i++) {
            int inside = x[i] > -0.5 && y[i] > -0.5 && x[i] < side - 0.5 && y[i] < side - 0.5;
            int64_t at = inside ? lround(y[i]) * (int64_t)side + lround(x[i]) : 0;
            int known = inside && relative[at] > 0;
            out[0][j * nx + i] = known ? snr[at] : NAN;
            out[1][j * nx + i] = known ? (float)(sigma * relative[at]) : NAN;
        }
    }
    for (int k = 0; k < CLUSTER_MAPS; k++)
        SQ_TRY(sq_product_block(product, k, b.x0, b.y0, nx, ny, out[k]));
cleanup:
    sq_free(ra);
    for (int k = 0; k < CLUSTER_MAPS; k++)
        sq_free(out[k]);
    return rc;
}

sq_status cluster_maps_write(const cluster_maps *m, const cluster_patch *patch, double sigma,
                             const sq_patch *place, const sq_wcs *grid, sq_product *product)
{
    box b = {.y0 = (int64_t)fmax(0, ceil((place->dec0 - m->dec0) / m->step))};
    double top = ceil((place->dec1 - m->dec0) / m->step);
    b.y1 = (int64_t)fmin(top, (double)m->schema[0].ny);
    if (place->dec1 >= 90)
        b.y1 = m->schema[0].ny;
    if (b.y0 >= b.y1)
        return SQ_OK;
    for (int64_t at = 0; at < m->schema[0].nx;) {
        at = b.x1 = next_run(m, place, at, &b.x0);
        if (b.x0 >= b.x1)
            break;
        sq_status rc = write_block(m, patch, sigma, grid, place->side, b, product);
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}
