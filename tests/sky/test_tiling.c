/* Properties of both tilings: every point has exactly one owner, cells fit their grids, staggered
 * passes leave no point near an edge in all of them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "sky/patch.h"
#include "sky/sphere.h"

#define RAD (M_PI / 180)

/* A number to either side of x, or x itself: the borders are where ownership breaks. */
static double nudge(sq_rng *rng, double x)
{
    switch (sq_rng_u32(rng) % 4) {
    case 0:
        return nextafter(x, -1e9);
    case 1:
        return nextafter(x, 1e9);
    default:
        return x;
    }
}

static int64_t pick(sq_rng *rng, int64_t low, int64_t high)
{
    return low + (int64_t)(sq_rng_u64(rng) % (uint64_t)(high - low + 1));
}

/* Exactly one patch of each pass has depth >= 0, in double and in float, and it is the owner. */
static void check_owned_once(const sq_tiling *t, int passes, double a, double b)
{
    for (int p = 0; p < passes; p++) {
        uint64_t owner, found = UINT64_MAX;
        assert_int_equal(sq_tiling_owner(t, p, a, b, &owner), SQ_OK);
        uint64_t end = sq_tiling_pass_first(t, p + 1);
        for (uint64_t i = sq_tiling_pass_first(t, p); i < end; i++) {
            sq_patch patch;
            assert_int_equal(sq_tiling_patch(t, i, &patch), SQ_OK);
            double depth = sq_tiling_depth(t, &patch, a, b);
            assert_int_equal(depth >= 0, (float)depth >= 0);
            if (depth >= 0) {
                assert_true(found == UINT64_MAX);
                found = i;
            }
        }
        if (found != owner)
            fail_msg("pass %d: (%.17g, %.17g): owner %llu, but %llu has depth >= 0", p, a, b,
                     (unsigned long long)owner, (unsigned long long)found);
    }
}

static void test_pixel(void **state)
{
    (void)state;
    assert_int_equal(sq_pixel_of(0.5 - 0x1p-54), 0);
    assert_int_equal(sq_pixel_of(0.5), 1);
    assert_int_equal(sq_pixel_of(-0.5), 0);
    assert_int_equal(sq_pixel_of(nextafter(-0.5, -1)), -1);
    assert_int_equal(sq_pixel_of(-1e-300), 0);
    assert_int_equal(sq_pixel_of(1e9 - 0.5), 1000000000);
}

/* Paint every core of a small grid: each pixel once a pass, and the box is where the core is. */
static void paint(int64_t nx, int64_t ny, sq_patch_shape shape)
{
    sq_tiling *t;
    unsigned char *seen;
    assert_int_equal(sq_tiling_bricks(nx, ny, shape, NULL, &t), SQ_OK);
    assert_int_equal(SQ_ALLOC(seen, nx * ny, "test"), SQ_OK);
    for (uint64_t i = 0; i < sq_tiling_count(t); i++) {
        sq_patch p;
        assert_int_equal(sq_tiling_patch(t, i, &p), SQ_OK);
        assert_int_equal(p.index, i);
        assert_int_equal(p.side, shape.core + 2 * shape.halo);
        assert_true(p.x0 < p.x1 && p.y0 < p.y1 && p.x1 <= nx && p.y1 <= ny && p.x0 >= 0 &&
                    p.y0 >= 0);
        int64_t x = p.in_x0 + shape.halo, y = p.in_y0 + shape.halo;
        assert_true(p.x0 == (x < 0 ? 0 : x) && p.x1 == (x + shape.core > nx ? nx : x + shape.core));
        assert_true(p.y0 == (y < 0 ? 0 : y) && p.y1 == (y + shape.core > ny ? ny : y + shape.core));
        for (int64_t v = p.y0; v < p.y1; v++) {
            for (int64_t u = p.x0; u < p.x1; u++) {
                uint64_t owner;
                seen[v * nx + u]++;
                assert_int_equal(sq_tiling_owner(t, p.pass, (double)u, (double)v, &owner), SQ_OK);
                assert_int_equal(owner, i);
            }
        }
    }
    for (int64_t i = 0; i < nx * ny; i++)
        assert_int_equal(seen[i], shape.passes);
    double side = shape.core + 2.0 * shape.halo;
    double overhead =
        1 - (double)(nx * ny) * shape.passes / ((double)sq_tiling_count(t) * side * side);
    assert_true(fabs(sq_tiling_overhead(t) - overhead) < 1e-12);
    sq_free(seen);
    sq_tiling_destroy(t);
}

static void test_bricks_cover(void **state)
{
    (void)state;
    sq_rng rng;
    sq_rng_init(&rng, 4, 1, 1);
    for (int i = 0; i < 300; i++) {
        sq_patch_shape shape = {(int)pick(&rng, 1, 40), (int)pick(&rng, 0, 9), i & 1 ? 4 : 1};
        paint(pick(&rng, 1, 90), pick(&rng, 1, 90), shape);
    }
}

static void test_bricks_owner(void **state)
{
    (void)state;
    sq_rng rng;
    sq_rng_init(&rng, 5, 1, 1);
    for (int i = 0; i < 60; i++) {
        int64_t nx = pick(&rng, 20, 3000), ny = pick(&rng, 20, 3000);
        sq_patch_shape shape = {(int)pick(&rng, 100, 700), 16, 4};
        sq_tiling *t;
        assert_int_equal(sq_tiling_bricks(nx, ny, shape, NULL, &t), SQ_OK);
        for (int k = 0; k < 200; k++) {
            /* Corners and seams of a random patch, moved by one unit in the last place. */
            sq_patch p;
            uint64_t number = sq_rng_u64(&rng) % sq_tiling_count(t);
            assert_int_equal(sq_tiling_patch(t, number, &p), SQ_OK);
            double x = (double)(k & 1 ? p.x0 : p.x1) - 0.5, y = (double)(k & 2 ? p.y0 : p.y1) - 0.5;
            x = k % 5 == 0 ? sq_rng_range(&rng, -0.5, (double)nx - 0.5) : nudge(&rng, x);
            y = k % 7 == 0 ? sq_rng_range(&rng, -0.5, (double)ny - 0.5) : nudge(&rng, y);
            uint64_t owner;
            int inside = x >= -0.5 && y >= -0.5 && x < (double)nx - 0.5 && y < (double)ny - 0.5;
            if (inside)
                check_owned_once(t, 4, x, y);
            else
                assert_int_equal(sq_tiling_owner(t, 0, x, y, &owner), SQ_ERR_DATA);
        }
        sq_tiling_destroy(t);
    }
}

/* Around a point at most three cores meet, and some pass keeps it a quarter core from its border.
 */
static void test_bricks_pattern(void **state)
{
    (void)state;
    sq_tiling *t;
    sq_rng rng;
    sq_rng_init(&rng, 6, 1, 1);
    sq_patch_shape shape = {64, 16, 4};
    assert_int_equal(sq_tiling_bricks(1000, 900, shape, NULL, &t), SQ_OK);
    for (int i = 0; i < 20000; i++) {
        double x = sq_rng_range(&rng, -0.5, 999.5), y = sq_rng_range(&rng, -0.5, 899.5), best = -1;
        for (int p = 0; p < 4; p++) {
            uint64_t owner;
            sq_patch patch;
            assert_int_equal(sq_tiling_owner(t, p, x, y, &owner), SQ_OK);
            assert_int_equal(sq_tiling_patch(t, owner, &patch), SQ_OK);
            double u = x - (double)(patch.in_x0 + shape.halo) + 0.5;
            double v = y - (double)(patch.in_y0 + shape.halo) + 0.5;
            double edge = fmin(fmin(u, shape.core - u), fmin(v, shape.core - v));
            best = fmax(best, edge);
        }
        assert_true(best >= shape.core / 4.0);
    }
    for (uint64_t i = 0; i < sq_tiling_count(t); i++) {
        sq_patch p;
        uint64_t around[4];
        int distinct = 0;
        assert_int_equal(sq_tiling_patch(t, i, &p), SQ_OK);
        if (p.x0 == 0 || p.y0 == 0)
            continue;
        for (int k = 0; k < 4; k++) {
            double x = (double)(p.x0 - (k & 1)), y = (double)(p.y0 - (k >> 1));
            assert_int_equal(sq_tiling_owner(t, p.pass, x, y, &around[k]), SQ_OK);
            int known = 0;
            for (int j = 0; j < k; j++)
                known |= around[j] == around[k];
            distinct += !known;
        }
        assert_true(distinct == 2 || distinct == 3);
    }
    sq_tiling_destroy(t);
}

/* Ten petapixels are tiled as fast as a stamp. */
static void test_bricks_huge(void **state)
{
    (void)state;
    sq_tiling *t;
    sq_rng rng;
    sq_rng_init(&rng, 7, 1, 1);
    const int64_t n = 100000000;
    assert_int_equal(sq_tiling_bricks(n, n, (sq_patch_shape){256, 32, 4}, NULL, &t), SQ_OK);
    for (int i = 0; i < 100000; i++) {
        uint64_t k = sq_rng_u64(&rng) % sq_tiling_count(t), owner;
        sq_patch p;
        assert_int_equal(sq_tiling_patch(t, k, &p), SQ_OK);
        assert_int_equal(sq_tiling_owner(t, p.pass, (double)p.x1 - 1, (double)p.y0 - 0.5, &owner),
                         SQ_OK);
        assert_int_equal(owner, k);
    }
    sq_tiling_destroy(t);
}

static void test_usage(void **state)
{
    (void)state;
    sq_tiling *t;
    sq_patch p;
    uint64_t owner;
    assert_int_equal(sq_tiling_bricks(0, 5, (sq_patch_shape){8, 0, 1}, NULL, &t), SQ_ERR_USAGE);
    assert_int_equal(sq_tiling_bricks(5, -5, (sq_patch_shape){8, 0, 1}, NULL, &t), SQ_ERR_USAGE);
    assert_int_equal(sq_tiling_bricks(5, 5, (sq_patch_shape){0, 0, 1}, NULL, &t), SQ_ERR_USAGE);
    assert_int_equal(sq_tiling_bricks(5, 5, (sq_patch_shape){8, -1, 1}, NULL, &t), SQ_ERR_USAGE);
    assert_int_equal(sq_tiling_bricks(5, 5, (sq_patch_shape){8, 0, 2}, NULL, &t), SQ_ERR_USAGE);
    assert_int_equal(sq_tiling_rings(0, (sq_patch_shape){8, 0, 1}, &t), SQ_ERR_USAGE);
    assert_int_equal(sq_tiling_rings(NAN, (sq_patch_shape){8, 0, 1}, &t), SQ_ERR_USAGE);
    assert_int_equal(sq_tiling_rings(1e-6, (sq_patch_shape){8, 0, 1}, &t), SQ_ERR_USAGE);
    assert_int_equal(sq_tiling_rings(60, (sq_patch_shape){61, 0, 1}, &t), SQ_ERR_USAGE);
    assert_null(t);
    assert_int_equal(sq_tiling_bricks(5, 5, (sq_patch_shape){8, 0, 1}, NULL, &t), SQ_OK);
    assert_int_equal(sq_tiling_patch(t, 1, &p), SQ_ERR_USAGE);
    assert_int_equal(sq_tiling_owner(t, 1, 0, 0, &owner), SQ_ERR_USAGE);
    assert_int_equal(sq_tiling_owner(t, 0, NAN, 0, &owner), SQ_ERR_DATA);
    assert_int_equal(sq_tiling_owner(t, 0, 4.5, 0, &owner), SQ_ERR_DATA);
    assert_int_equal(sq_tiling_grid(t, &p, NULL), SQ_ERR_USAGE);
    sq_tiling_destroy(t);
    assert_int_equal(sq_tiling_rings(60, (sq_patch_shape){10, 0, 1}, &t), SQ_OK);
    assert_int_equal(sq_tiling_owner(t, 0, 0, 90.5, &owner), SQ_ERR_DATA);
    assert_int_equal(sq_tiling_owner(t, 0, INFINITY, 0, &owner), SQ_ERR_DATA);
    sq_tiling_destroy(t);
}

/* A point of the sphere that is likely to be awkward: on borders, at the poles, across ra = 0. */
static void awkward(sq_rng *rng, const sq_tiling *t, double *ra, double *dec)
{
    sq_patch p;
    assert_int_equal(sq_tiling_patch(t, sq_rng_u64(rng) % sq_tiling_count(t), &p), SQ_OK);
    *ra = sq_rng_range(rng, 0, 360);
    *dec = asin(sq_rng_range(rng, -1, 1)) / RAD;
    uint32_t kind = sq_rng_u32(rng);
    if (kind & 1)
        *ra = nudge(rng, kind & 2 ? p.ra0 : p.ra1);
    if (kind & 4)
        *dec = nudge(rng, kind & 8 ? p.dec0 : p.dec1);
    if ((kind >> 4) % 8 == 0)
        *ra = nudge(rng, 0);
    if ((kind >> 7) % 16 == 0)
        *dec = kind & 8 ? 90 : -90;
    if ((kind >> 11) % 16 == 0)
        *dec = (kind & 8 ? 1 : -1) * (90 - pow(10, sq_rng_range(rng, -14, 0)));
    *dec = fmax(-90, fmin(90, *dec));
}

static void test_rings_owner(void **state)
{
    (void)state;
    sq_rng rng;
    sq_rng_init(&rng, 8, 1, 1);
    const double cores[] = {59.9, 45, 31.7, 20, 12, 7.3};
    for (size_t i = 0; i < sizeof cores / sizeof *cores; i++) {
        sq_tiling *t;
        sq_patch_shape shape = {(int)pick(&rng, 16, 256), 8, 4};
        assert_int_equal(sq_tiling_rings(cores[i] * 60 / shape.core, shape, &t), SQ_OK);
        for (int k = 0; k < 600; k++) {
            double ra, dec;
            awkward(&rng, t, &ra, &dec);
            check_owned_once(t, 4, ra, dec);
            uint64_t owner, turned;
            assert_int_equal(sq_tiling_owner(t, 3, sq_wrap_ra(ra), dec, &owner), SQ_OK);
            assert_int_equal(sq_tiling_owner(t, 3, ra, dec, &turned), SQ_OK);
            assert_int_equal(owner, turned);
        }
        sq_tiling_destroy(t);
    }
}

/* A pole has one owner, whatever ra it is written with. */
static void test_rings_pole(void **state)
{
    (void)state;
    sq_tiling *t;
    assert_int_equal(sq_tiling_rings(60, (sq_patch_shape){10, 2, 4}, &t), SQ_OK);
    for (int pass = 0; pass < 4; pass++) {
        for (int side = -1; side <= 1; side += 2) {
            uint64_t first, other;
            assert_int_equal(sq_tiling_owner(t, pass, 0, 90 * side, &first), SQ_OK);
            for (int ra = 1; ra < 360; ra++) {
                assert_int_equal(sq_tiling_owner(t, pass, ra, 90 * side, &other), SQ_OK);
                assert_int_equal(first, other);
            }
        }
    }
    sq_tiling_destroy(t);
}

/* Cells add up to the sphere, lie in the square core of their grids, and four passes keep each
 * point within a quarter core of the centre of a grid. */
static void check_rings_fit(double core, int points)
{
    sq_tiling *t;
    sq_rng rng;
    sq_patch_shape shape = {100, 20, 4};
    double scale = core / shape.core, area = 0, worst = 0;
    sq_rng_init(&rng, 9, 1, 1);
    assert_int_equal(sq_tiling_rings(scale * 60, shape, &t), SQ_OK);
    for (uint64_t i = 0; i < sq_tiling_count(t); i++) {
        sq_patch p;
        assert_int_equal(sq_tiling_patch(t, i, &p), SQ_OK);
        area += (p.ra1 - p.ra0) * RAD * (sin(p.dec1 * RAD) - sin(p.dec0 * RAD));
        assert_true(p.x0 == 20 && p.y0 == 20 && p.x1 == 120 && p.y1 == 120 && p.side == 140);
    }
    assert_true(fabs(area / (16 * M_PI) - 1) < 1e-9);
    double used = 16 * M_PI / ((double)sq_tiling_count(t) * core * core * RAD * RAD);
    assert_true(used > (core > 20 ? 0.4 : core > 3 ? 0.65 : 0.8));
    assert_true(fabs(1 - sq_tiling_overhead(t) - used / (1.4 * 1.4)) < 1e-9);
    for (int i = 0; i < points; i++) {
        double ra = sq_rng_range(&rng, 0, 360), dec = asin(sq_rng_range(&rng, -1, 1)) / RAD;
        if (i % 4 == 0)
            dec = (i & 4 ? 1 : -1) * (90 - 2 * core * sq_rng_uniform(&rng));
        double best = INFINITY;
        for (int pass = 0; pass < 4; pass++) {
            uint64_t owner;
            sq_patch p;
            double x, y;
            assert_int_equal(sq_tiling_owner(t, pass, ra, dec, &owner), SQ_OK);
            assert_int_equal(sq_tiling_patch(t, owner, &p), SQ_OK);
            sq_project_zea(p.ra, p.dec, ra, dec, &x, &y);
            double reach = fmax(fabs(x), fabs(y)) / core;
            assert_true(reach <= 0.5 + 1e-9);
            best = fmin(best, reach);
        }
        worst = fmax(worst, best);
    }
    print_message("core %g deg: %llu patches a pass, %.3f of the core area owned, "
                  "worst place %.4f core from a centre\n",
                  core, (unsigned long long)(sq_tiling_count(t) / 4), used, worst);
    assert_true(worst <= 0.25 + 1e-9);
    sq_tiling_destroy(t);
}

static void test_rings_fit(void **state)
{
    (void)state;
    const double cores[] = {60, 40, 25, 10, 5, 2.5, 1};
    for (size_t i = 0; i < sizeof cores / sizeof *cores; i++)
        check_rings_fit(cores[i], 20000);
}

/* The grid of a cell, through the WCS library, is the projection that the fit was made with. */
static void test_rings_grid(void **state)
{
    (void)state;
    sq_tiling *t;
    sq_rng rng;
    sq_rng_init(&rng, 10, 1, 1);
    const double scale = 0.5 / 60;
    sq_patch_shape shape = {600, 84, 4};
    assert_int_equal(sq_tiling_rings(0.5, shape, &t), SQ_OK);
    for (int i = 0; i < 200; i++) {
        sq_patch p;
        sq_wcs *wcs;
        uint64_t count = sq_tiling_count(t);
        uint64_t k = i == 0 ? 0 : i == 1 ? count / 4 - 1 : sq_rng_u64(&rng) % count;
        assert_int_equal(sq_tiling_patch(t, k, &p), SQ_OK);
        assert_int_equal(sq_tiling_grid(t, &p, &wcs), SQ_OK);
        double px = sq_rng_range(&rng, 0, p.side), py = sq_rng_range(&rng, 0, p.side), ra, dec, x,
               y;
        assert_int_equal(sq_wcs_pix2sky(wcs, 1, &px, &py, &ra, &dec), SQ_OK);
        sq_project_zea(p.ra, p.dec, ra, dec, &x, &y);
        double middle = 0.5 * (p.side - 1);
        assert_true(fabs(middle - x / scale - px) < 1e-6);
        assert_true(fabs(middle + y / scale - py) < 1e-6);
        sq_wcs_destroy(wcs);
    }
    sq_tiling_destroy(t);
}

static void test_bricks_centre(void **state)
{
    (void)state;
    sq_tiling *t;
    sq_wcs *wcs;
    sq_patch p;
    const double cd[4] = {-1e-4, 0, 0, 1e-4};
    double ra, dec, x, y;
    assert_int_equal(sq_wcs_tan(359.99, 89, 500, 500, cd, &wcs), SQ_OK);
    assert_int_equal(sq_tiling_bricks(1000, 1000, (sq_patch_shape){96, 8, 1}, wcs, &t), SQ_OK);
    assert_int_equal(sq_tiling_patch(t, 17, &p), SQ_OK);
    ra = p.ra;
    dec = p.dec;
    assert_int_equal(sq_wcs_sky2pix(wcs, 1, &ra, &dec, &x, &y), SQ_OK);
    assert_true(fabs(x - 0.5 * (double)(p.x0 + p.x1 - 1)) < 1e-6);
    assert_true(fabs(y - 0.5 * (double)(p.y0 + p.y1 - 1)) < 1e-6);
    sq_tiling_destroy(t);
    sq_wcs_destroy(wcs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pixel),         cmocka_unit_test(test_bricks_cover),
        cmocka_unit_test(test_bricks_owner),  cmocka_unit_test(test_bricks_pattern),
        cmocka_unit_test(test_bricks_huge),   cmocka_unit_test(test_usage),
        cmocka_unit_test(test_rings_owner),   cmocka_unit_test(test_rings_pole),
        cmocka_unit_test(test_rings_fit),     cmocka_unit_test(test_rings_grid),
        cmocka_unit_test(test_bricks_centre),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
