#include "assess/region.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "sky/sphere.h"

struct polygon {
    int n;
    double centre[3], east[3], north[3]; /* tangent plane */
    double reach;                        /* cosine of the angle to the farthest corner */
    double *x, *y;                       /* arcsec */
};

static double dot(const double a[3], const double b[3])
{
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

/* Gnomonic projection in arcsec; 0 when the point is on the other side of the sphere. */
static int project(const polygon *p, double ra, double dec, double *x, double *y)
{
    double v[3];
    sq_unit_vector(ra, dec, v);
    double along = dot(v, p->centre);
    if (!(along > 0.1))
        return 0;
    double scale = 3600 * 180 / M_PI / along;
    *x = dot(v, p->east) * scale;
    *y = dot(v, p->north) * scale;
    return 1;
}

static void set_plane(polygon *p, const double *corner)
{
    double sum[3] = {0, 0, 0}, v[3], ra, dec;
    for (int i = 0; i < p->n; i++) {
        sq_unit_vector(corner[2 * i], corner[2 * i + 1], v);
        for (int k = 0; k < 3; k++)
            sum[k] += v[k];
    }
    sq_from_vector(sum, &ra, &dec);
    sq_unit_vector(ra, dec, p->centre);
    sq_unit_vector(ra + 90, 0, p->east);
    sq_unit_vector(ra, dec + 90, p->north);
    p->reach = 1;
    for (int i = 0; i < p->n; i++) {
        sq_unit_vector(corner[2 * i], corner[2 * i + 1], v);
        p->reach = fmin(p->reach, dot(v, p->centre));
    }
}

sq_status polygon_create(const double *corner, int n, polygon **out)
{
    sq_status rc;
    polygon *p = NULL;
    if (n < 3)
        return sq_fail(SQ_ERR_USAGE, "region: a polygon needs at least 3 corners, not %d", n);
    for (int i = 0; i < 2 * n; i++) {
        if (!isfinite(corner[i]) || (i % 2 && fabs(corner[i]) > 90))
            return sq_fail(SQ_ERR_USAGE, "region: corner %d is not a position", i / 2 + 1);
    }
    SQ_TRY(SQ_ALLOC(p, 1, "polygon"));
    SQ_TRY(SQ_ALLOC(p->x, n, "polygon"));
    SQ_TRY(SQ_ALLOC(p->y, n, "polygon"));
    p->n = n;
    set_plane(p, corner);
    for (int i = 0; i < n; i++) {
        if (!project(p, corner[2 * i], corner[2 * i + 1], &p->x[i], &p->y[i]))
            SQ_TRY(sq_fail(SQ_ERR_USAGE, "region: the polygon is too wide"));
    }
    *out = p;
    p = NULL;
cleanup:
    polygon_destroy(p);
    return rc;
}

static double segment_distance(double x, double y, double x0, double y0, double x1, double y1)
{
    double dx = x1 - x0, dy = y1 - y0, length2 = dx * dx + dy * dy;
    double t = length2 > 0 ? ((x - x0) * dx + (y - y0) * dy) / length2 : 0;
    t = fmax(0, fmin(1, t));
    return hypot(x - x0 - t * dx, y - y0 - t * dy);
}

double polygon_depth(const polygon *p, double ra, double dec)
{
    double x, y, least = INFINITY;
    int inside = 0;
    if (!project(p, ra, dec, &x, &y))
        return -INFINITY;
    for (int i = 0, j = p->n - 1; i < p->n; j = i++) {
        least = fmin(least, segment_distance(x, y, p->x[j], p->y[j], p->x[i], p->y[i]));
        /* A ray toward +x crosses the edge. */
        if ((p->y[i] > y) != (p->y[j] > y) &&
            x < (p->x[j] - p->x[i]) * (y - p->y[i]) / (p->y[j] - p->y[i]) + p->x[i])
            inside = !inside;
    }
    return inside ? least : -least;
}

void polygon_destroy(polygon *p)
{
    if (!p)
        return;
    sq_free(p->x);
    sq_free(p->y);
    sq_free(p);
}

sq_status tile_corners(sq_h5 *file, int64_t tiles, double *corner)
{
    double *value = NULL;
    char name[32];
    sq_status rc;
    SQ_TRY(SQ_ALLOC(value, tiles + 1, "tile corners"));
    for (int k = 0; k < 8; k++) {
        snprintf(name, sizeof name, "tiles/%s%d", k % 2 ? "dec" : "ra", k / 2);
        SQ_TRY(sq_h5_read(file, name, SQ_F64, 0, tiles, value));
        for (int64_t t = 0; t < tiles; t++)
            corner[8 * t + k] = value[t];
    }
cleanup:
    sq_free(value);
    return rc;
}

/* dead[t] = 1 for tiles of which no patch was done. */
static sq_status find_dead(sq_h5 *file, int64_t tiles, uint8_t *dead)
{
    sq_status rc = SQ_OK;
    int64_t *tile = NULL, *state = NULL, dim[8];
    sq_dtype type;
    int rank;
    if (!sq_h5_has(file, "patches/tile") || !sq_h5_has(file, "patches/state"))
        return SQ_OK;
    SQ_TRY(sq_h5_shape(file, "patches/tile", &type, &rank, dim));
    SQ_TRY(SQ_ALLOC(tile, dim[0] + 1, "patches"));
    SQ_TRY(SQ_ALLOC(state, dim[0] + 1, "patches"));
    SQ_TRY(sq_h5_read(file, "patches/tile", SQ_I64, 0, dim[0], tile));
    SQ_TRY(sq_h5_read(file, "patches/state", SQ_I64, 0, dim[0], state));
    memset(dead, 1, (size_t)tiles);
    for (int64_t i = 0; i < dim[0]; i++) {
        if (state[i] == 0 && tile[i] >= 0 && tile[i] < tiles)
            dead[tile[i]] = 0;
    }
cleanup:
    sq_free(tile);
    sq_free(state);
    return rc;
}

sq_status footprint_read(sq_h5 *file, footprint *out)
{
    sq_status rc = SQ_OK;
    double *corner = NULL;
    uint8_t *dead = NULL;
    sq_dtype type;
    int rank;
    int64_t dim[8];
    *out = (footprint){0};
    if (!sq_h5_has(file, "tiles/ra0"))
        return SQ_OK;
    SQ_TRY(sq_h5_shape(file, "tiles/ra0", &type, &rank, dim));
    SQ_TRY(SQ_ALLOC(corner, 8 * dim[0] + 1, "tile corners"));
    SQ_TRY(SQ_ALLOC(dead, dim[0] + 1, "tiles"));
    SQ_TRY(tile_corners(file, dim[0], corner));
    SQ_TRY(find_dead(file, dim[0], dead));
    SQ_TRY(SQ_ALLOC(out->tile, dim[0] + 1, "footprint"));
    for (int64_t t = 0; t < dim[0]; t++) {
        if (dead[t])
            continue;
        SQ_TRY(polygon_create(corner + 8 * t, 4, &out->tile[out->n]));
        out->n++;
    }
cleanup:
    sq_free(corner);
    sq_free(dead);
    if (rc != SQ_OK)
        footprint_clear(out);
    return rc;
}

double footprint_depth(const footprint *f, double ra, double dec)
{
    double v[3], depth = f->n ? -INFINITY : INFINITY;
    sq_unit_vector(ra, dec, v);
    for (int64_t t = 0; t < f->n; t++) {
        /* Outside the circle around the corners nothing is inside. */
        if (dot(v, f->tile[t]->centre) >= f->tile[t]->reach)
            depth = fmax(depth, polygon_depth(f->tile[t], ra, dec));
    }
    return depth;
}

void footprint_clear(footprint *f)
{
    for (int64_t t = 0; t < f->n; t++)
        polygon_destroy(f->tile[t]);
    sq_free(f->tile);
    *f = (footprint){0};
}
