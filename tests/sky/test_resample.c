/* sky/resample: sampled functions are carried to another grid, flux is kept, noise is what it says.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "sky/resample.h"

enum { N = 160, M = 120 };

typedef struct grids {
    sq_wcs *from, *to;
    sq_grid_map *map;
} grids;

/* The target grid: turned by `angle` (deg), `zoom` source pixels a pixel, shifted by (dx, dy) at
 * the middle. */
static grids make(double angle, double zoom, double dx, double dy)
{
    grids g;
    double s = 1.1e-4, c = cos(angle * M_PI / 180) * zoom * s,
           d = sin(angle * M_PI / 180) * zoom * s;
    const double from[4] = {-s, 0, 0, s}, to[4] = {-c, d, d, c};
    assert_int_equal(sq_wcs_tan(150, 2, N / 2, N / 2, from, &g.from), SQ_OK);
    assert_int_equal(sq_wcs_tan(150, 2, M / 2 - dx, M / 2 - dy, to, &g.to), SQ_OK);
    assert_int_equal(sq_grid_map_create(g.from, g.to, 0, 0, M, M, &g.map), SQ_OK);
    return g;
}

static void drop(grids *g)
{
    sq_grid_map_destroy(g->map);
    sq_wcs_destroy(g->from);
    sq_wcs_destroy(g->to);
}

static double gauss(double x, double y, double cx, double cy, double sigma)
{
    double r2 = (x - cx) * (x - cx) + (y - cy) * (y - cy);
    return exp(-0.5 * r2 / (sigma * sigma)) / (2 * M_PI * sigma * sigma);
}

static void map_follows_the_wcs(void **state)
{
    (void)state;
    grids g = make(17, 1.3, 3.3, -2.2);
    double worst = 0;
    for (int j = 0; j < M; j += 7) {
        for (int i = 0; i < M; i += 5) {
            double x = i, y = j, ra, dec, ex, ey, mx, my, area;
            sq_wcs_pix2sky(g.to, 1, &x, &y, &ra, &dec);
            sq_wcs_sky2pix(g.from, 1, &ra, &dec, &ex, &ey);
            sq_grid_map_at(g.map, i, j, &mx, &my, &area);
            worst = fmax(worst, hypot(mx - ex, my - ey));
            assert_true(fabs(area / (1.3 * 1.3) - 1) < 1e-5);
        }
    }
    assert_true(worst < 1e-3);
    drop(&g);
}

static void a_row_is_its_points(void **state)
{
    (void)state;
    const double angles[] = {0, 0.05, 17, 90};
    for (int k = 0; k < 4; k++) {
        grids g = make(angles[k], 1.02, 3.3, -2.2);
        double x[M], y[M], area[M], mx, my, marea;
        for (int j = 0; j < M; j++) {
            sq_grid_map_row(g.map, j, x, y, area);
            for (int i = 0; i < M; i++) {
                sq_grid_map_at(g.map, i, j, &mx, &my, &marea);
                assert_true(x[i] == mx && y[i] == my && area[i] == marea);
            }
        }
        drop(&g);
    }
}

static void flux_and_centre_are_kept(void **state)
{
    (void)state;
    static const double cases[][4] = {{0, 1, 0.5, 0.5}, {0, 1, 4.9, 14.2}, {0.05, 1, 0.21, -0.4},
                                      {33, 1, 0, 0},    {5, 0.98, 1, 1},   {90, 1.03, 0.3, 0.1}};
    /* SDSS's PSF has a sigma of 1.3 pixels in its best seeing. */
    static float image[N * N], out[M * M];
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        grids g = make(cases[k][0], cases[k][1], cases[k][2], cases[k][3]);
        double cx = N / 2 + 3.37, cy = N / 2 - 5.61, sum = 0, mx = 0, my = 0;
        for (int i = 0; i < N * N; i++)
            image[i] = (float)(1000 * gauss(i % N, i / N, cx, cy, 1.3));
        assert_int_equal(sq_resample(g.map, 0, 0, N, N, image, NULL, NULL, 1, out, NULL, NULL),
                         SQ_OK);
        for (int i = 0; i < M * M; i++) {
            sum += out[i];
            mx += out[i] * (double)(i % M);
            my += out[i] * (double)(i / M);
        }
        double x, y, ra, dec;
        sq_wcs_pix2sky(g.from, 1, &cx, &cy, &ra, &dec);
        sq_wcs_sky2pix(g.to, 1, &ra, &dec, &x, &y);
        if (fabs(sum / 1000 - 1) > 1e-3 || hypot(mx / sum - x, my / sum - y) > 0.01)
            fail_msg("case %zu: flux %.6f, off by (%.4f, %.4f) pixels", k, sum / 1000, mx / sum - x,
                     my / sum - y);
        /* and the profile is that of the source */
        double worst = 0;
        for (int i = 0; i < M * M; i++) {
            double sx, sy, area;
            sq_grid_map_at(g.map, i % M, i / M, &sx, &sy, &area);
            worst = fmax(worst, fabs(out[i] - area * 1000 * gauss(sx, sy, cx, cy, 1.3)));
        }
        worst /= 1000 * gauss(0, 0, 0, 0, 1.3) * cases[k][1] * cases[k][1];
        if (worst > 0.015)
            fail_msg("case %zu: profile off by %.4f of its peak", k, worst);
        drop(&g);
    }
}

static void same_grid_is_copied(void **state)
{
    (void)state;
    static float image[N * N], variance[N * N], out[M * M], outv[M * M];
    static uint32_t mask[N * N], outm[M * M];
    sq_rng rng;
    sq_rng_init(&rng, 1, 2, 3);
    for (int i = 0; i < N * N; i++) {
        image[i] = (float)sq_rng_normal(&rng);
        variance[i] = (float)(1 + i % 7);
        mask[i] = (uint32_t)(i % 5 == 0) << 3;
    }
    image[50 * N + 60] = NAN;
    grids g = make(0, 1, 0, 0);
    int off = N / 2 - M / 2;
    assert_int_equal(sq_resample(g.map, 0, 0, N, N, image, variance, mask, 2, out, outv, outm),
                     SQ_OK);
    for (int j = 0; j < M; j++) {
        for (int i = 0; i < M; i++) {
            int k = (j + off) * N + i + off, at = j * M + i;
            if (isnan(image[k])) {
                assert_true(out[at] == 0 && isinf(outv[at]) && outm[at] != 0);
                continue;
            }
            assert_true(fabsf(out[at] - image[k]) < 1e-5f);
            assert_true(fabsf(outv[at] - variance[k]) < 1e-4f);
            assert_int_equal(outm[at], mask[k]);
        }
    }
    drop(&g);
}

/* White noise through the kernel: the spread, its propagation, and the correlation of neighbours.
 */
static void noise_is_predicted(void **state)
{
    (void)state;
    static const double shifts[][2] = {{0.5, 0.5}, {0.25, 0.1}, {0.75, 0}, {0.02, 0.6}};
    enum { TIMES = 12 };
    static float image[N * N], variance[N * N], out[M * M], outv[M * M], noise[M * M];
    sq_rng rng;
    sq_rng_init(&rng, 7, 0, 0);
    for (size_t k = 0; k < sizeof shifts / sizeof shifts[0]; k++) {
        grids g = make(0, 1, shifts[k][0], shifts[k][1]);
        double square = 0, cx = 0, cy = 0, n = 0, said[3];
        for (int t = 0; t < TIMES; t++) {
            for (int i = 0; i < N * N; i++) {
                image[i] = (float)sq_rng_normal(&rng);
                variance[i] = 1;
            }
            assert_int_equal(sq_resample_noise_plane(g.map, 0, 0, N, N, image, variance, NULL, 1,
                                                     out, outv, NULL, noise),
                             SQ_OK);
            for (int j = 0; j + 1 < M; j++) {
                for (int i = 0; i + 1 < M; i++) {
                    double v = out[j * M + i];
                    square += v * v;
                    cx += v * out[j * M + i + 1];
                    cy += v * out[(j + 1) * M + i];
                    n++;
                }
            }
        }
        sq_resample_noise(shifts[k][0], shifts[k][1], said);
        /* 170,000 pixels: 1 percent is three sigma. */
        if (fabs(square / n / said[0] - 1) > 0.012 || fabs(cx / square - said[1]) > 0.01 ||
            fabs(cy / square - said[2]) > 0.01)
            fail_msg("shift %zu: variance %.4f (%.4f), correlation %.4f (%.4f), %.4f (%.4f)", k,
                     square / n, said[0], cx / square, said[1], cy / square, said[2]);
        assert_true(fabs(outv[60 * M + 60] / said[0] - 1) < 1e-3);
        assert_true(fabs(noise[60 * M + 60] / said[0] - 1) < 1e-3);
        drop(&g);
    }
    double mean[3], at[3], sum = 0;
    for (int i = 0; i < 100; i++) {
        sq_resample_noise((i + 0.5) / 100, 0, at);
        sum += at[0] / 100;
    }
    sq_resample_noise(NAN, 0, mean);
    assert_true(fabs(mean[0] - sum) < 1e-3);
    sq_resample_noise(3, -2, at);
    assert_true(at[0] == 1 && fabs(at[1]) < 1e-12 && fabs(at[2]) < 1e-12);
}

static void masks_grow_by_the_core(void **state)
{
    (void)state;
    static float image[N * N], out[M * M], outv[M * M], variance[N * N];
    static uint32_t mask[N * N], outm[M * M];
    int off = N / 2 - M / 2, hx = 70, hy = 66, hit = 0;
    for (int i = 0; i < N * N; i++) {
        image[i] = 5;
        variance[i] = 2;
    }
    image[(hy + off) * N + hx + off] = NAN;
    mask[(hy + off) * N + hx + off] = 4;
    mask[30 * N + 30] = 8;
    grids g = make(0, 1, 0.4, 0.4);
    assert_int_equal(sq_resample(g.map, 0, 0, N, N, image, variance, mask, 2, out, outv, outm),
                     SQ_OK);
    for (int i = 0; i < M * M; i++) {
        double x, y;
        sq_grid_map_at(g.map, i % M, i / M, &x, &y, NULL);
        int core = fabs(x - hx - off) < 1 && fabs(y - hy - off) < 1;
        hit += core;
        assert_int_equal(outm[i] & 4, core ? 4 : 0);
        assert_int_equal(outm[i] & 8, fabs(x - 30) < 1 && fabs(y - 30) < 1 ? 8 : 0);
        if (core)
            assert_true(out[i] == 0 && isinf(outv[i]));
        else /* a constant stays one beside the gap */
            assert_true(fabsf(out[i] - 5) < 1e-4f && outv[i] > 0.5f && outv[i] < 8);
    }
    assert_int_equal(hit, 4);
    drop(&g);
}

static void beyond_the_source_is_bad(void **state)
{
    (void)state;
    static float image[40 * 40], out[M * M], outv[M * M];
    static uint32_t outm[M * M];
    for (int i = 0; i < 40 * 40; i++)
        image[i] = 1;
    grids g = make(0, 1, 0.3, 0.3);
    int64_t x0, y0, x1, y1;
    sq_grid_map_bounds(g.map, &x0, &y0, &x1, &y1);
    assert_true(x0 <= N / 2 - M / 2 - 2 && x1 >= N / 2 + M / 2 + 2 && x0 > 0 && x1 < N);
    assert_true(y0 <= N / 2 - M / 2 - 2 && y1 >= N / 2 + M / 2 + 2 && y0 > 0 && y1 < N);
    /* the source box covers 60 .. 99 of the source grid */
    assert_int_equal(sq_resample(g.map, 60, 60, 40, 40, image, NULL, NULL, 1, out, outv, outm),
                     SQ_OK);
    for (int i = 0; i < M * M; i++) {
        double x, y;
        sq_grid_map_at(g.map, i % M, i / M, &x, &y, NULL);
        int inside = x >= 60 && x <= 99 && y >= 60 && y <= 99;
        assert_int_equal(outm[i], inside ? 0 : 1);
        assert_true(inside ? fabsf(out[i] - 1) < 1e-4f : out[i] == 0 && isinf(outv[i]));
    }
    drop(&g);
}

static void grids_far_apart_do_not_meet(void **state)
{
    (void)state;
    const double cd[4] = {-1e-4, 0, 0, 1e-4};
    sq_wcs *from, *to;
    sq_grid_map *map;
    static float image[16], out[64 * 64], outv[64 * 64];
    static uint32_t outm[64 * 64];
    assert_int_equal(sq_wcs_tan(10, 10, 0, 0, cd, &from), SQ_OK);
    assert_int_equal(sq_wcs_tan(190, -10, 0, 0, cd, &to), SQ_OK);
    assert_int_equal(sq_grid_map_create(from, to, 0, 0, 64, 64, &map), SQ_OK);
    int64_t x0, y0, x1, y1;
    sq_grid_map_bounds(map, &x0, &y0, &x1, &y1);
    assert_true(x0 == x1 && y0 == y1);
    assert_int_equal(sq_resample(map, 0, 0, 4, 4, image, NULL, NULL, 1, out, outv, outm), SQ_OK);
    for (int i = 0; i < 64 * 64; i++)
        assert_true(out[i] == 0 && outm[i] == 1 && isinf(outv[i]));
    sq_grid_map_destroy(map);
    sq_wcs_destroy(from);
    sq_wcs_destroy(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(map_follows_the_wcs),         cmocka_unit_test(a_row_is_its_points),
        cmocka_unit_test(flux_and_centre_are_kept),
        cmocka_unit_test(same_grid_is_copied),         cmocka_unit_test(noise_is_predicted),
        cmocka_unit_test(masks_grow_by_the_core),      cmocka_unit_test(beyond_the_source_is_bad),
        cmocka_unit_test(grids_far_apart_do_not_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
