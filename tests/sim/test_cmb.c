/* Lensed CMB: the spline against exact Fourier sums, power against CAMB's lensed spectra,
 * regridding, and that streams do not depend on what else is drawn. */
#include <complex.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "sim/cmb.h"
#include "sim/spectra.h"

static const double ARCMIN = M_PI / 180 / 60;

static sq_flat grid(int side, double pixel)
{
    return (sq_flat){side, side, pixel * ARCMIN, pixel * ARCMIN};
}

static double _Complex *modes_of(const sq_flat *flat)
{
    double _Complex *out = calloc((size_t)sq_flat_modes(flat), sizeof *out);
    assert_non_null(out);
    return out;
}

static void draw(sq_cmb *cmb, uint64_t number, double _Complex *const m[SQ_CMB_FIELDS])
{
    sq_rng rng;
    sq_rng_init(&rng, 31, 0x636d62, number);
    assert_int_equal(sq_cmb_draw(cmb, &rng, m), SQ_OK);
}

/* The Fourier series at a point. */
static double series(const sq_flat *flat, const double _Complex *modes, double x, double y)
{
    int columns = flat->nx / 2 + 1;
    double sum = 0;
    for (int v = 0; v < flat->ny; v++) {
        int k = v < (flat->ny + 1) / 2 ? v : v - flat->ny;
        for (int u = 0; u < columns; u++) {
            double phase = 2 * M_PI * (k * y / flat->ny + u * x / flat->nx);
            sum += sq_flat_weight(flat, u) * creal(modes[v * columns + u] * cexp(I * phase));
        }
    }
    return sum / (double)sq_flat_pixels(flat);
}

enum { EXACT = 128, POINTS = 300 };

/* At `POINTS` pixels: rms error over rms of T, Q and U. */
static void compare_exact(double pixel, double error[3])
{
    sq_flat flat = grid(EXACT, pixel), fine = grid(2 * EXACT, pixel / 2);
    sq_cmb *cmb;
    sq_fft *fft;
    double _Complex *m[3], *out[3], *q = modes_of(&flat), *u = modes_of(&flat);
    double _Complex *wide = modes_of(&fine);
    static double gx[EXACT * EXACT], gy[EXACT * EXACT], map[EXACT * EXACT];
    assert_int_equal(sq_cmb_from_file(&flat, &flat, NULL, &cmb), SQ_OK);
    assert_int_equal(sq_fft_create(EXACT, EXACT, &fft), SQ_OK);
    for (int i = 0; i < 3; i++) {
        m[i] = modes_of(&flat);
        out[i] = modes_of(&flat);
    }
    draw(cmb, 0, m);
    /* Without the Nyquist modes, which have no definite sign. */
    for (int i = 0; i < 3; i++) {
        sq_cmb_regrid(&flat, m[i], &fine, wide);
        sq_cmb_regrid(&fine, wide, &flat, m[i]);
    }
    assert_int_equal(sq_cmb_lens(cmb, 1, m[2], m[0], m[1], NULL, out[0], out[1], out[2]), SQ_OK);
    sq_filter_gradient(&flat, 1, m[2], q);
    sq_fft_backward(fft, q, gx);
    sq_filter_gradient(&flat, 0, m[2], q);
    sq_fft_backward(fft, q, gy);
    memcpy(q, m[1], (size_t)sq_flat_modes(&flat) * sizeof *q);
    memset(u, 0, (size_t)sq_flat_modes(&flat) * sizeof *u);
    sq_filter_eb_to_qu(&flat, q, u);
    const double _Complex *unlensed[3] = {m[0], q, u};
    for (int f = 0; f < 3; f++) {
        double square = 0, wrong = 0;
        sq_fft_backward(fft, out[f], map);
        for (int k = 0; k < POINTS; k++) {
            int i = (k * 7919) % (EXACT * EXACT);
            double x = i % EXACT + gx[i] / flat.dx, y = i / EXACT + gy[i] / flat.dy;
            double exact = series(&flat, unlensed[f], x, y);
            square += exact * exact;
            wrong += (map[i] - exact) * (map[i] - exact);
        }
        error[f] = sqrt(wrong / square);
    }
    for (int i = 0; i < 3; i++) {
        free(m[i]);
        free(out[i]);
    }
    free(q);
    free(u);
    free(wide);
    sq_fft_destroy(fft);
    sq_cmb_destroy(cmb);
}

static void test_exact(void **state)
{
    (void)state;
    const double pixel[] = {1.171875, 0.6}, most[] = {2e-4, 5e-5};
    for (int k = 0; k < 2; k++) {
        double error[3];
        compare_exact(pixel[k], error);
        print_message("%.2f arcmin: T %.1e Q %.1e U %.1e of the rms\n", pixel[k], error[0],
                      error[1], error[2]);
        for (int f = 0; f < 3; f++)
            assert_true(error[f] < most[k] && error[f] > 0);
    }
}

enum { SIDE = 512, SKIES = 12, BINS = 4 };

/* TT, EE, BB, TE of a dozen skies of 100 square degrees against CAMB's lensed spectra. */
static void test_power(void **state)
{
    (void)state;
    sq_flat flat = grid(SIDE, 1.171875);
    const double edges[BINS + 1] = {300, 1000, 1700, 2400, 3000};
    const sq_fiducial kind[4] = {SQ_LENSED_TT, SQ_LENSED_EE, SQ_LENSED_BB, SQ_LENSED_TE};
    double sum[4][BINS] = {{0}}, *cl = NULL;
    int64_t count[BINS];
    sq_cmb *cmb;
    double _Complex *m[3], *out[3];
    assert_int_equal(sq_cmb_from_file(&flat, &flat, NULL, &cmb), SQ_OK);
    for (int i = 0; i < 3; i++) {
        m[i] = modes_of(&flat);
        out[i] = modes_of(&flat);
    }
    for (int sky = 0; sky < SKIES; sky++) {
        double now[BINS];
        draw(cmb, 100 + (uint64_t)sky, m);
        assert_int_equal(sq_cmb_lens(cmb, 1, m[2], m[0], m[1], NULL, out[0], out[1], out[2]),
                         SQ_OK);
        sq_filter_qu_to_eb(&flat, out[1], out[2]);
        const double _Complex *a[4] = {out[0], out[1], out[2], out[0]};
        const double _Complex *b[4] = {out[0], out[1], out[2], out[1]};
        for (int s = 0; s < 4; s++) {
            assert_int_equal(sq_spectrum(&flat, a[s], b[s], 1, BINS, edges, NULL, now, count),
                             SQ_OK);
            for (int i = 0; i < BINS; i++)
                sum[s][i] += now[i] / SKIES;
        }
    }
    cl = calloc(4 * 3001, sizeof *cl);
    assert_non_null(cl);
    for (int s = 0; s < 4; s++)
        assert_int_equal(sq_fiducial_spectrum(kind[s], 3000, cl + s * 3001), SQ_OK);
    /* The modes of the grid, and l in between: each mode's own expected power. */
    static double _Complex root[SIDE * (SIDE / 2 + 1)], one[SIDE * (SIDE / 2 + 1)];
    static double ell[SIDE * (SIDE / 2 + 1)];
    sq_flat_ell(&flat, ell);
    for (int s = 0; s < 4; s++) {
        double want[BINS];
        for (int64_t k = 0; k < sq_flat_modes(&flat); k++) {
            one[k] = 1;
            root[k] = sq_table_at(cl + s * 3001, 3000, ell[k]) * (double)sq_flat_pixels(&flat) /
                      (flat.dx * flat.dy);
        }
        assert_int_equal(sq_spectrum(&flat, root, one, 1, BINS, edges, NULL, want, NULL), SQ_OK);
        for (int i = 0; i < BINS; i++) {
            double ratio = sum[s][i] / want[i], error = sqrt(2.0 / (double)count[i] / SKIES);
            print_message("%s %4.0f-%4.0f: %.4f +- %.4f\n",
                          (const char *const[]){"TT", "EE", "BB", "TE"}[s], edges[i], edges[i + 1],
                          ratio, error);
            /* TE crosses zero: against the geometric mean of TT and EE. B is correlated between
             * modes and lacks the power of the box's missing long modes. */
            if (s == 3)
                ratio = 1 + (sum[3][i] - want[i]) / sqrt(sum[0][i] * sum[1][i]);
            assert_true(fabs(ratio - 1) < (s == 2 ? 0.04 + 6 * error : 0.02 + 3 * error));
        }
    }
    free(cl);
    for (int i = 0; i < 3; i++) {
        free(m[i]);
        free(out[i]);
    }
    sq_cmb_destroy(cmb);
}

/* T and phi are the same with and without E; a finer output grid holds the same modes. */
static void test_streams(void **state)
{
    (void)state;
    sq_flat work = grid(96, 1.2), fine = grid(192, 0.6), coarse = grid(64, 1.8);
    sq_cmb *a, *b;
    double _Complex *m[3], *n[3] = {modes_of(&work), NULL, modes_of(&work)};
    double _Complex *x = modes_of(&fine), *y = modes_of(&work), *z = modes_of(&coarse);
    for (int i = 0; i < 3; i++)
        m[i] = modes_of(&work);
    assert_int_equal(sq_cmb_from_file(&work, &fine, NULL, &a), SQ_OK);
    assert_int_equal(sq_cmb_from_file(&work, &work, NULL, &b), SQ_OK);
    draw(a, 1, m);
    draw(b, 1, n);
    assert_memory_equal(m[0], n[0], (size_t)sq_flat_modes(&work) * sizeof *m[0]);
    assert_memory_equal(m[2], n[2], (size_t)sq_flat_modes(&work) * sizeof *m[2]);
    assert_int_equal(sq_cmb_lens(a, 1, m[2], m[0], NULL, NULL, x, NULL, NULL), SQ_OK);
    assert_int_equal(sq_cmb_lens(b, 1, n[2], n[0], NULL, NULL, y, NULL, NULL), SQ_OK);
    for (int v = 0; v < 48; v++) {
        for (int u = 0; u < 48; u++)
            assert_true(cabs(x[v * 97 + u] / 4 - y[v * 49 + u]) <= 1e-9 * cabs(y[v * 49 + u]));
    }
    sq_cmb_regrid(&fine, x, &coarse, z);
    for (int v = 0; v < 32; v++) {
        for (int u = 0; u < 32; u++)
            assert_true(cabs(z[v * 33 + u] * 9 - x[v * 97 + u]) <= 1e-9 * cabs(x[v * 97 + u]));
    }
    /* Without deflection nothing moves. */
    assert_int_equal(sq_cmb_lens(b, 0, n[2], n[0], NULL, NULL, y, NULL, NULL), SQ_OK);
    double wrong = 0, all = 0;
    for (int v = 0; v < 40; v++) {
        for (int u = 0; u < 40; u++) {
            wrong += pow(cabs(y[v * 49 + u] - n[0][v * 49 + u]), 2);
            all += pow(cabs(y[v * 49 + u]), 2);
        }
    }
    assert_true(wrong < 1e-20 * all);
    sq_flat other = grid(96, 1.3);
    sq_cmb *refused;
    assert_int_equal(sq_cmb_from_file(&work, &other, NULL, &refused), SQ_ERR_USAGE);
    for (int i = 0; i < 3; i++) {
        free(m[i]);
        free(n[i]);
    }
    free(x);
    free(y);
    free(z);
    sq_cmb_destroy(a);
    sq_cmb_destroy(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_exact), cmocka_unit_test(test_power),
                                       cmocka_unit_test(test_streams)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
