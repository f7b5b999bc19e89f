/* Finding peaks: known Gaussian bumps in smooth noise. */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "clusters/find.h"

enum { SIDE = 96 };
static float map[SIDE * SIDE], noise[SIDE * SIDE];

static void bump(double x0, double y0, double height, double width)
{
    for (int y = 0; y < SIDE; y++) {
        for (int x = 0; x < SIDE; x++)
            map[y * SIDE + x] +=
                (float)(height * exp(-0.5 * (pow(x - x0, 2) + pow(y - y0, 2)) / (width * width)));
    }
}

static void clear(void)
{
    memset(map, 0, sizeof map);
}

static void test_positions(void **state)
{
    (void)state;
    sq_rng rng;
    sq_finder *f;
    sq_candidate *c;
    int64_t n;
    sq_rng_init(&rng, 3, 3, 3);
    assert_int_equal(sq_finder_create(SIDE, SIDE, NULL, 0, &f), SQ_OK);
    for (int k = 0; k < 50; k++) {
        double x = sq_rng_range(&rng, 10, 85), y = sq_rng_range(&rng, 10, 85);
        clear();
        bump(x, y, 12e-6, 3);
        sq_finder_add(f, 0, map, 1e-6);
        assert_int_equal(sq_finder_peaks(f, 4, 5, &c, &n), SQ_OK);
        assert_int_equal(n, 1);
        assert_true(fabs(c->x - x) < 0.02 && fabs(c->y - y) < 0.02);
        assert_true(fabs(c->snr - 12) < 0.05 && fabs(c->y0 - 12e-6) < 5e-8);
        /* Curvature of a Gaussian of sigma 3 and height 12: k = 12 / 9. */
        assert_true(fabs(c->error_x - 1 / sqrt(12 * 12 / 9.0)) < 0.02);
        sq_free(c);
    }
    sq_finder_destroy(f);
}

/* As narrow as a beam, and between pixels: what a parabola would take 2% from. */
static void test_narrow(void **state)
{
    (void)state;
    sq_finder *f;
    sq_candidate *c;
    int64_t n;
    assert_int_equal(sq_finder_create(SIDE, SIDE, NULL, 0, &f), SQ_OK);
    for (double shift = 0; shift <= 0.5; shift += 0.125) {
        clear();
        bump(40 + shift, 50 - shift, 20e-6, 1.7);
        sq_finder_add(f, 0, map, 1e-6);
        assert_int_equal(sq_finder_peaks(f, 4, 5, &c, &n), SQ_OK);
        assert_int_equal(n, 1);
        assert_true(fabs(c->y0 / 20e-6 - 1) < 1e-4);
        assert_true(fabs(c->x - 40 - shift) < 1e-3 && fabs(c->y - 50 + shift) < 1e-3);
        sq_free(c);
    }
    sq_finder_destroy(f);
}

/* What counts against the threshold is the top, wherever it lies between pixels. */
static void test_threshold(void **state)
{
    (void)state;
    sq_finder *f;
    sq_candidate *c;
    int64_t n;
    assert_int_equal(sq_finder_create(SIDE, SIDE, NULL, 0, &f), SQ_OK);
    for (double shift = 0; shift <= 0.5; shift += 0.125) {
        for (double height = 4.9e-6; height < 5.2e-6; height += 0.2e-6) {
            clear();
            bump(40 + shift, 50 - shift, height, 1.7);
            sq_finder_add(f, 0, map, 1e-6);
            assert_int_equal(sq_finder_peaks(f, 5, 5, &c, &n), SQ_OK);
            assert_int_equal(n, height > 5e-6);
            sq_free(c);
        }
    }
    sq_finder_destroy(f);
}

/* A lone pixel of noise, or one beside a pixel almost as high, is not the slope of a peak that rises
 * far above both. */
static void test_noise(void **state)
{
    (void)state;
    sq_finder *f;
    sq_candidate *c;
    int64_t n;
    assert_int_equal(sq_finder_create(SIDE, SIDE, NULL, 0, &f), SQ_OK);
    for (float rest = -4e-6f; rest < 1e-6f; rest += 0.37e-6f) {
        for (int k = 0; k < SIDE * SIDE; k++)
            map[k] = rest;
        map[40 * SIDE + 40] = 4.5e-6f;
        map[40 * SIDE + 41] = map[41 * SIDE + 40] = 4.4e-6f;
        map[60 * SIDE + 60] = 4.5e-6f;
        sq_finder_add(f, 0, map, 1e-6);
        assert_int_equal(sq_finder_peaks(f, 4, 5, &c, &n), SQ_OK);
        assert_int_equal(n, 2);
        assert_true(c[0].x > 40.3 && c[0].snr > 4.8 && c[0].snr < 4.5 * 1.3);
        assert_true(fabs(c[1].x - 60) < 1e-6 && fabs(c[1].snr - 4.5) < 1e-5);
        sq_free(c);
    }
    sq_finder_destroy(f);
}

/* The scale with the greatest S/N wins; the reference scale is read at the same place. */
static void test_scales(void **state)
{
    (void)state;
    sq_finder *f;
    sq_candidate *c;
    int64_t n;
    assert_int_equal(sq_finder_create(SIDE, SIDE, NULL, 1, &f), SQ_OK);
    for (int s = 0; s < 3; s++) {
        clear();
        bump(40, 50, (s == 2 ? 30e-6 : 10e-6), 4);
        sq_finder_add(f, s, map, s == 0 ? 1e-6 : 2e-6);
    }
    assert_int_equal(sq_finder_peaks(f, 3, 5, &c, &n), SQ_OK);
    assert_int_equal(n, 1);
    assert_int_equal(c->scale, 2);
    assert_true(fabs(c->snr - 15) < 1e-3 && fabs(c->snr_fixed - 5) < 1e-3);
    assert_true(fabs(c->y0_fixed - 10e-6) < 1e-9 && fabs(c->y0_fixed_error - 2e-6) < 1e-12);
    sq_free(c);
    sq_finder_destroy(f);
}

/* Masked pixels make no candidates; deep pixels count more; close pairs are one; order by S/N. */
static void test_rules(void **state)
{
    (void)state;
    sq_finder *f;
    sq_candidate *c;
    int64_t n;
    for (int i = 0; i < SIDE * SIDE; i++)
        noise[i] = i % SIDE < 48 ? 1 : 2;
    for (int y = 60; y < 80; y++) {
        for (int x = 10; x < 30; x++)
            noise[y * SIDE + x] = 0;
    }
    clear();
    bump(20, 70, 20e-6, 2); /* masked */
    bump(20, 20, 10e-6, 2);
    bump(70, 20, 10e-6, 2); /* where noise is twice as high */
    bump(30, 40, 8e-6, 1);
    bump(33, 40, 7e-6, 1);
    assert_int_equal(sq_finder_create(SIDE, SIDE, noise, 0, &f), SQ_OK);
    sq_finder_add(f, 0, map, 1e-6);
    assert_true(isnan(sq_finder_snr(f)[70 * SIDE + 20]));
    assert_int_equal(sq_finder_peaks(f, 3, 5, &c, &n), SQ_OK);
    assert_int_equal(n, 3);
    assert_true(fabs(c[0].snr - 10) < 0.1 && fabs(c[0].x - 20) < 0.1);
    assert_true(fabs(c[1].snr - 8) < 0.3 && fabs(c[1].x - 30) < 0.3);
    assert_true(fabs(c[2].snr - 5) < 0.1 && fabs(c[2].y0 - 10e-6) < 1e-7);
    sq_free(c);
    /* Empty again. */
    assert_int_equal(sq_finder_peaks(f, 3, 5, &c, &n), SQ_OK);
    assert_int_equal(n, 0);
    sq_finder_destroy(f);
    assert_int_equal(sq_finder_create(2, 9, NULL, 0, &f), SQ_ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_positions),
                                       cmocka_unit_test(test_narrow),
                                       cmocka_unit_test(test_threshold),
                                       cmocka_unit_test(test_noise),
                                       cmocka_unit_test(test_scales), cmocka_unit_test(test_rules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
