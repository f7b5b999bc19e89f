/* Apodisation: the profiles' closed forms, distances against scipy. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/rng.h"
#include "fourier/window.h"
#include "oracle.h"

/* The pixel sides that oracle.py has. */
static const double DY = 0.002, DX = 0.003;

static void test_profiles(void **state)
{
    (void)state;
    const double w = 0.05;
    const sq_window kinds[] = {SQ_WINDOW_COSINE, SQ_WINDOW_C1, SQ_WINDOW_C2};
    for (int k = 0; k < 3; k++) {
        assert_true(sq_window_profile(kinds[k], 0, w) == 0);
        assert_true(sq_window_profile(kinds[k], w, w) == 1);
        assert_true(sq_window_profile(kinds[k], 3 * w, w) == 1);
        assert_true(sq_window_profile(kinds[k], 1e-9, 0) == 1);
        double before = 0;
        for (int i = 0; i <= 1000; i++) {
            double v = sq_window_profile(kinds[k], w * i / 1000, w);
            assert_true(v >= before && v <= 1);
            before = v;
        }
    }
    for (double d = 0.001; d < w; d += 0.001) {
        double x = sqrt((1 - cos(d)) / (1 - cos(w)));
        double c1 = x - sin(2 * M_PI * x) / (2 * M_PI), c2 = 0.5 * (1 - cos(M_PI * x));
        assert_true(fabs(sq_window_profile(SQ_WINDOW_C1, d, w) - c1) < 1e-9);
        assert_true(fabs(sq_window_profile(SQ_WINDOW_C2, d, w) - c2) < 1e-9);
        double c = 0.5 * (1 - cos(M_PI * d / w));
        assert_true(fabs(sq_window_profile(SQ_WINDOW_COSINE, d, w) - c) < 1e-12);
    }
}

static void test_edges(void **state)
{
    (void)state;
    sq_flat flat = {40, 30, DY, DX};
    double out[1200];
    assert_int_equal(sq_window_edges(&flat, SQ_WINDOW_COSINE, 0.012, out), SQ_OK);
    for (int y = 0; y < 40; y++) {
        for (int x = 0; x < 30; x++) {
            double dy = (fmin(y, 39 - y) + 0.5) * DY, dx = (fmin(x, 29 - x) + 0.5) * DX;
            double wy = dy < 0.012 ? 0.5 - 0.5 * cos(M_PI * dy / 0.012) : 1;
            double wx = dx < 0.012 ? 0.5 - 0.5 * cos(M_PI * dx / 0.012) : 1;
            assert_true(fabs(out[y * 30 + x] - wy * wx) < 1e-14);
            assert_true(out[y * 30 + x] == out[(39 - y) * 30 + 29 - x]);
        }
    }
    double sum = 0;
    for (int i = 0; i < 1200; i++)
        sum += pow(out[i], 4) / 1200;
    assert_true(fabs(sq_window_mean(&flat, out, 4) - sum) < 1e-14);
    assert_int_equal(sq_window_edges(&flat, SQ_WINDOW_C1, 0.041, out), SQ_ERR_USAGE);
    assert_int_equal(sq_window_edges(&flat, SQ_WINDOW_C1, -1, out), SQ_ERR_USAGE);
    assert_int_equal(sq_window_edges(&flat, SQ_WINDOW_C1, NAN, out), SQ_ERR_USAGE);
}

static void check_mask(int ny, int nx, double holes, uint64_t seed)
{
    enum { MOST = 4096 };
    static double valid[MOST], distance[MOST], out[MOST];
    static uint8_t mask[MOST];
    sq_flat flat = {ny, nx, DY, DX};
    sq_rng rng;
    sq_rng_init(&rng, seed, 1, 1);
    for (int i = 0; i < ny * nx; i++)
        valid[i] = mask[i] = sq_rng_uniform(&rng) > holes;
    valid[ny * nx / 3] = mask[ny * nx / 3] = 0;
    oracle("distance", ny, nx, valid, (size_t)(ny * nx), distance, (size_t)(ny * nx));
    for (double width = 0; width < 0.2; width += 0.06) {
        assert_int_equal(sq_window_mask(&flat, SQ_WINDOW_C2, width, mask, out), SQ_OK);
        for (int i = 0; i < ny * nx; i++) {
            double expected = mask[i] ? sq_window_profile(SQ_WINDOW_C2, distance[i], width) : 0;
            assert_true(fabs(out[i] - expected) < 1e-9);
        }
    }
}

static void test_mask(void **state)
{
    (void)state;
    check_mask(64, 64, 0.02, 1);
    check_mask(50, 70, 0.0005, 2);
    check_mask(1, 40, 0.1, 3);
    check_mask(40, 1, 0.1, 4);
    check_mask(30, 30, 0.9, 5);
    sq_flat flat = {5, 5, DY, DX};
    uint8_t all[25];
    double out[25];
    for (int i = 0; i < 25; i++)
        all[i] = 1;
    assert_int_equal(sq_window_mask(&flat, SQ_WINDOW_C1, 0.1, all, out), SQ_OK);
    for (int i = 0; i < 25; i++)
        assert_true(out[i] == 1);
    assert_int_equal(sq_window_mask(&flat, SQ_WINDOW_C1, -0.1, all, out), SQ_ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_profiles),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_mask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
