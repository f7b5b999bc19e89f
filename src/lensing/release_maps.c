#include "lensing/release_maps.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "fourier/interpolate.h"

void lensing_release_make(const lensing_maps *maps, const lensing_pairs *pairs, double step,
                          lensing_release *out)
{
    static const char *const what[LENSING_MAPS] = {
        "convergence kappa by method, unbiased, modes of the bins of L, patches weighted by the "
        "inverse of their noise",
        "sum of the weights of the patches: inverse of the noise power in steradian"};
    double ra, width, low, high;
    lensing_maps_extent(maps, &ra, &width, &low, &high);
    *out = (lensing_release){.step = step / 60};
    out->dec0 = fmax(low, -90 + 0.5 * out->step);
    out->ra0 = fmod(ra + 0.5 * width + 360, 360);
    int64_t nx = (int64_t)ceil(width / out->step), whole = (int64_t)floor(360 / out->step + 0.5);
    out->nx = nx > whole ? whole : nx;
    out->ny = (int64_t)ceil((high - low) / out->step);
    for (int f = 0; f < pairs->fields; f++) {
        if (pairs->field[f] < LENSING_METHODS)
            out->plane[out->planes++] = lensing_method_name(pairs->field[f]);
    }
    for (int k = 0; k < LENSING_MAPS; k++) {
        snprintf(out->description[k], sizeof out->description[k],
                 "%s; plate carree: ra = %.10g - %.10g column, dec = %.10g + %.10g row, deg",
                 what[k], out->ra0, out->step, out->dec0, out->step);
        out->schema[k] = (sq_map_schema){.name = k ? "kappa_weight" : "kappa",
                                         .unit = k ? "sr-1" : "",
                                         .ucd = k ? "stat.weight" : "",
                                         .description = out->description[k],
                                         .type = SQ_F32,
                                         .planes = out->planes,
                                         .plane = out->plane,
                                         .nx = out->nx,
                                         .ny = out->ny};
    }
}

static double forward(double from, double to)
{
    double d = fmod(to - from, 360);
    return d < 0 ? d + 360 : d;
}

/* Columns [*first, end) from `from` on within `width` deg east of ra; `from` at the end of the map.
 */
static int64_t next_run(const lensing_release *m, double ra, double width, int64_t from,
                        int64_t *first)
{
    int64_t i = from;
    while (i < m->nx && !(forward(ra, m->ra0 - (double)i * m->step) < width))
        i++;
    *first = i;
    while (i < m->nx && forward(ra, m->ra0 - (double)i * m->step) < width)
        i++;
    return i;
}

typedef struct box {
    int64_t x0, x1, y0, y1;
} box;

typedef struct layer {
    const sq_flat *flat;
    const double *const *kappa;
    const double *window, *weight;
    const sq_wcs *grid;
} layer;

static void fill_point(const lensing_release *m, const layer *s, double x, double y, int64_t at,
                       int64_t size, float *kappa, float *weight)
{
    int n = s->flat->nx, inside = x > 0 && y > 0 && x < n - 1 && y < n - 1;
    double window = 0;
    if (inside) {
        int i = (int)x, j = (int)y;
        const double *w = s->window + (int64_t)j * n + i;
        double u = x - i, v = y - j;
        window = (1 - v) * ((1 - u) * w[0] + u * w[1]) + v * ((1 - u) * w[n] + u * w[n + 1]);
    }
    for (int p = 0; p < m->planes; p++) {
        double value = window * window * s->weight[p];
        int known = value > 0 && window > 1e-3;
        kappa[p * size + at] = known ? (float)sq_spline_value(s->flat, s->kappa[p], x, y) : NAN;
        weight[p * size + at] = known ? (float)value : NAN;
    }
}

static sq_status write_block(const lensing_release *m, const layer *s, box b, sq_product *product)
{
    sq_status rc = SQ_OK;
    int64_t nx = b.x1 - b.x0, ny = b.y1 - b.y0;
    float *out[LENSING_MAPS] = {NULL};
    double *ra = NULL, *dec, *x, *y;
    SQ_TRY(SQ_ALLOC(ra, 4 * nx, "row of a map"));
    dec = ra + nx;
    x = dec + nx;
    y = x + nx;
    for (int k = 0; k < LENSING_MAPS; k++)
        SQ_TRY(SQ_ALLOC(out[k], m->planes * nx * ny, "block of a map"));
    for (int64_t j = 0; j < ny; j++) {
        for (int64_t i = 0; i < nx; i++) {
            ra[i] = forward(0, m->ra0 - (double)(b.x0 + i) * m->step);
            dec[i] = m->dec0 + (double)(b.y0 + j) * m->step;
        }
        SQ_TRY(sq_wcs_sky2pix(s->grid, (size_t)nx, ra, dec, x, y));
        for (int64_t i = 0; i < nx; i++)
            fill_point(m, s, x[i], y[i], j * nx + i, nx * ny, out[0], out[1]);
    }
    for (int k = 0; k < LENSING_MAPS; k++)
        SQ_TRY(sq_product_block(product, k, b.x0, b.y0, nx, ny, out[k]));
cleanup:
    sq_free(ra);
    for (int k = 0; k < LENSING_MAPS; k++)
        sq_free(out[k]);
    return rc;
}

static void rows_within(const lensing_release *m, double low, double high, box *b)
{
    double top = high >= 90 ? (double)m->ny : ceil((high - m->dec0) / m->step);
    b->y0 = (int64_t)fmax(0, ceil((low - m->dec0) / m->step));
    b->y1 = (int64_t)fmin(top, (double)m->ny);
}

sq_status lensing_release_write(const lensing_release *m, const sq_flat *flat,
                                const double *const *kappa, const double *window,
                                const double *weight, const sq_patch *place, double reach,
                                const sq_wcs *grid, sq_product *product)
{
    layer s = {flat, kappa, window, weight, grid};
    box b;
    double far = fabs(place->dec) + reach, half = 180;
    if (far < 90)
        half = asin(sin(reach * M_PI / 180) / cos(place->dec * M_PI / 180)) * 180 / M_PI;
    rows_within(m, place->dec - reach, place->dec + reach, &b);
    if (b.y0 >= b.y1)
        return SQ_OK;
    for (int64_t at = 0; at < m->nx;) {
        at = b.x1 = next_run(m, place->ra - half, 2 * half, at, &b.x0);
        if (b.x0 >= b.x1)
            break;
        sq_status rc = write_block(m, &s, b, product);
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}

/* ---- stitching ---- */

sq_status lensing_stitch_make(const lensing_release *m, lensing_stitch *out)
{
    *out = (lensing_stitch){NULL, NULL};
    sq_status rc = SQ_ALLOC(out->sum, m->planes * m->nx * m->ny, "kappa of the survey");
    if (rc == SQ_OK)
        rc = SQ_ALLOC(out->weight, m->planes * m->nx * m->ny, "weight of the survey");
    return rc;
}

void lensing_stitch_free(lensing_stitch *s)
{
    sq_free(s->sum);
    sq_free(s->weight);
    *s = (lensing_stitch){NULL, NULL};
}

void lensing_stitch_add(const lensing_release *m, const sq_product_view *view, lensing_stitch *s)
{
    for (int k = 0; k + 1 < view->nblock; k += LENSING_MAPS) {
        const sq_block *b = &view->block[k];
        const float *kappa = b->data, *weight = view->block[k + 1].data;
        for (int64_t i = 0; i < m->planes * b->ny * b->nx; i++) {
            int64_t x = b->x0 + i % b->nx, y = b->y0 + i / b->nx % b->ny;
            int64_t at = (i / (b->nx * b->ny) * m->ny + y) * m->nx + x;
            if (!(weight[i] > 0))
                continue;
            s->sum[at] += (double)weight[i] * kappa[i];
            s->weight[at] += weight[i];
        }
    }
}

sq_status lensing_stitch_save(const lensing_release *m, const lensing_stitch *s, FILE *file,
                              const char *path)
{
    sq_status rc = SQ_OK;
    float *row = NULL;
    SQ_TRY(SQ_ALLOC(row, m->nx, "row of a map"));
    for (int k = 0; k < LENSING_MAPS; k++) {
        for (int64_t j = 0; j < m->planes * m->ny; j++) {
            for (int64_t i = 0; i < m->nx; i++) {
                double w = s->weight[j * m->nx + i];
                row[i] = !(w > 0) ? NAN : (float)(k ? w : s->sum[j * m->nx + i] / w);
            }
            if (fwrite(row, sizeof *row, (size_t)m->nx, file) != (size_t)m->nx)
                SQ_TRY(sq_fail(SQ_ERR_IO, "%s: cannot be written: %s", path, strerror(errno)));
        }
    }
cleanup:
    sq_free(row);
    return rc;
}

static sq_status copy_block(const lensing_release *m, FILE *file, const char *path, long offset,
                            box b, sq_product *product)
{
    sq_status rc = SQ_OK;
    int64_t nx = b.x1 - b.x0, ny = b.y1 - b.y0;
    float *out = NULL;
    SQ_TRY(SQ_ALLOC(out, m->planes * nx * ny, "block of a map"));
    for (int k = 0; k < LENSING_MAPS; k++) {
        for (int64_t j = 0; j < m->planes * ny; j++) {
            int64_t row = (k * m->planes + j / ny) * m->ny + b.y0 + j % ny;
            long at = offset + (long)((row * m->nx + b.x0) * (int64_t)sizeof *out);
            if (fseek(file, at, SEEK_SET) != 0 ||
                fread(out + j * nx, sizeof *out, (size_t)nx, file) != (size_t)nx)
                SQ_TRY(sq_fail(SQ_ERR_CORRUPT, "%s: is cut off", path));
        }
        SQ_TRY(sq_product_block(product, k, b.x0, b.y0, nx, ny, out));
    }
cleanup:
    sq_free(out);
    return rc;
}

sq_status lensing_stitch_cell(const lensing_release *m, FILE *file, const char *path, long offset,
                              const sq_patch *place, sq_product *product)
{
    box b;
    rows_within(m, place->dec0, place->dec1, &b);
    if (b.y0 >= b.y1)
        return SQ_OK;
    for (int64_t at = 0; at < m->nx;) {
        at = b.x1 = next_run(m, place->ra0, place->ra1 - place->ra0, at, &b.x0);
        if (b.x0 >= b.x1)
            break;
        sq_status rc = copy_block(m, file, path, offset, b, product);
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}
