#include "sky/patch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "sky/tiling_internal.h"

int64_t sq_pixel_of(double x)
{
    double low = floor(x);
    /* x - low is exact; x + 0.5 would round 0.5 - 2^-54 up into the next pixel. */
    return (int64_t)low + (x - low >= 0.5);
}

double sq_signed_depth(double distance, int owned)
{
    const double least = 1e-30; /* survives the conversion to float32 */
    if (isnan(distance))
        return -INFINITY;
    if (owned)
        return distance > 0 ? distance : 0;
    return distance < -least ? distance : -least;
}

static sq_status check_shape(sq_patch_shape shape)
{
    if (shape.core < 1 || shape.core > 1 << 20)
        return sq_fail(SQ_ERR_USAGE, "tiling: core: %d is not in 1..%d pixels", shape.core,
                       1 << 20);
    if (shape.halo < 0 || shape.halo > 1 << 20)
        return sq_fail(SQ_ERR_USAGE, "tiling: halo: %d is not in 0..%d pixels", shape.halo,
                       1 << 20);
    if (shape.passes != 1 && shape.passes != 4)
        return sq_fail(SQ_ERR_USAGE, "tiling: passes: %d is neither 1 nor 4", shape.passes);
    return SQ_OK;
}

sq_status sq_tiling_bricks(int64_t nx, int64_t ny, sq_patch_shape shape, const sq_wcs *wcs,
                           sq_tiling **out)
{
    const int64_t limit = (int64_t)1 << 30;
    *out = NULL;
    sq_status rc = check_shape(shape);
    if (rc != SQ_OK)
        return rc;
    if (nx < 1 || ny < 1 || nx > limit || ny > limit)
        return sq_fail(SQ_ERR_USAGE, "tiling: a grid of %lld x %lld pixels is not within 1..2^30",
                       (long long)nx, (long long)ny);
    rc = sq_alloc(out, 1, sizeof **out, "tiling");
    if (rc != SQ_OK)
        return rc;
    (*out)->shape = shape;
    (*out)->wcs = wcs;
    (*out)->bricks.nx = nx;
    (*out)->bricks.ny = ny;
    sq_bricks_setup(*out);
    return SQ_OK;
}

sq_status sq_tiling_rings(double scale, sq_patch_shape shape, sq_tiling **out)
{
    *out = NULL;
    sq_status rc = check_shape(shape);
    if (rc != SQ_OK)
        return rc;
    rc = sq_alloc(out, 1, sizeof **out, "tiling");
    if (rc != SQ_OK)
        return rc;
    (*out)->shape = shape;
    (*out)->spherical = 1;
    rc = sq_rings_setup(*out, scale);
    if (rc != SQ_OK) {
        sq_tiling_destroy(*out);
        *out = NULL;
    }
    return rc;
}

uint64_t sq_tiling_count(const sq_tiling *tiling)
{
    return tiling->first[tiling->shape.passes];
}

uint64_t sq_tiling_pass_first(const sq_tiling *tiling, int pass)
{
    return tiling->first[pass];
}

sq_status sq_tiling_patch(const sq_tiling *tiling, uint64_t index, sq_patch *out)
{
    int pass = 0;
    if (index >= sq_tiling_count(tiling))
        return sq_fail(SQ_ERR_USAGE, "tiling: patch %llu of %llu", (unsigned long long)index,
                       (unsigned long long)sq_tiling_count(tiling));
    while (index >= tiling->first[pass + 1])
        pass++;
    memset(out, 0, sizeof *out);
    out->id = out->index = index;
    out->pass = pass;
    out->side = tiling->shape.core + 2 * tiling->shape.halo;
    if (tiling->spherical) {
        sq_rings_patch(tiling, pass, index - tiling->first[pass], out);
        return SQ_OK;
    }
    sq_bricks_patch(tiling, pass, index - tiling->first[pass], out);
    if (!tiling->wcs)
        return SQ_OK;
    double x = 0.5 * (double)(out->x0 + out->x1 - 1), y = 0.5 * (double)(out->y0 + out->y1 - 1);
    return sq_wcs_pix2sky(tiling->wcs, 1, &x, &y, &out->ra, &out->dec);
}

sq_status sq_tiling_owner(const sq_tiling *tiling, int pass, double a, double b, uint64_t *index)
{
    uint64_t local = 0;
    if (pass < 0 || pass >= tiling->shape.passes)
        return sq_fail(SQ_ERR_USAGE, "tiling: pass %d of %d", pass, tiling->shape.passes);
    int inside = tiling->spherical ? sq_rings_owner(tiling, pass, a, b, &local)
                                   : sq_bricks_owner(tiling, pass, a, b, &local);
    if (!inside)
        return sq_fail(SQ_ERR_DATA, "tiling: the point (%.9g, %.9g) is outside the footprint", a,
                       b);
    *index = tiling->first[pass] + local;
    return SQ_OK;
}

double sq_tiling_depth(const sq_tiling *tiling, const sq_patch *patch, double a, double b)
{
    return tiling->spherical ? sq_rings_depth(tiling, patch, a, b) : sq_bricks_depth(patch, a, b);
}

sq_status sq_tiling_grid(const sq_tiling *tiling, const sq_patch *patch, sq_wcs **out)
{
    char line[16][81], header[sizeof line + 1];
    double scale = tiling->rings.scale, middle = 0.5 * (patch->side + 1);
    int n = 0;
    if (!tiling->spherical)
        return sq_fail(SQ_ERR_USAGE, "tiling: bricks have the grid of their tile");
#define CARD(...) snprintf(line[n++], sizeof *line, __VA_ARGS__)
    CARD("NAXIS   = 2");
    CARD("NAXIS1  = %d", patch->side);
    CARD("NAXIS2  = %d", patch->side);
    CARD("CTYPE1  = 'RA---ZEA'");
    CARD("CTYPE2  = 'DEC--ZEA'");
    CARD("CUNIT1  = 'deg'");
    CARD("CUNIT2  = 'deg'");
    CARD("CRVAL1  = %.17g", patch->ra);
    CARD("CRVAL2  = %.17g", patch->dec);
    CARD("CRPIX1  = %.1f", middle);
    CARD("CRPIX2  = %.1f", middle);
    CARD("CDELT1  = %.17g", -scale);
    CARD("CDELT2  = %.17g", scale);
    /* Said outright, because its default differs for a grid centred on a pole. */
    CARD("LONPOLE = 180.0");
    CARD("RADESYS = 'ICRS'");
    CARD("END");
#undef CARD
    memset(header, ' ', (size_t)n * 80);
    header[n * 80] = '\0';
    for (int i = 0; i < n; i++)
        memcpy(header + 80 * i, line[i], strlen(line[i]));
    return sq_wcs_from_header(header, "ring cell", out);
}

double sq_tiling_overhead(const sq_tiling *tiling)
{
    double side = tiling->shape.core + 2.0 * tiling->shape.halo, owned;
    if (tiling->spherical) {
        double scale = tiling->rings.scale * M_PI / 180;
        owned = 4 * M_PI / (scale * scale);
    } else {
        owned = (double)tiling->bricks.nx * (double)tiling->bricks.ny;
    }
    return 1 - owned * tiling->shape.passes / ((double)sq_tiling_count(tiling) * side * side);
}

void sq_tiling_destroy(sq_tiling *tiling)
{
    if (!tiling)
        return;
    sq_rings_teardown(tiling);
    sq_free(tiling);
}
