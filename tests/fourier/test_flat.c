/* Axes, filters, spectra and random fields of the flat sky, against numpy, scipy and closed forms.
 */
#include <complex.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "fourier/flat.h"
#include "oracle.h"

/* The pixel sides that oracle.py has. */
static const double DY = 0.002, DX = 0.003;
static const int shapes[][2] = {{8, 12}, {9, 7}, {16, 5}, {30, 40}};
enum { SHAPES = 4, MOST = 2 * 64 * 64 };

static double map_a[MOST], map_b[MOST], out_a[MOST], expected[MOST];
static double _Complex modes_a[MOST], modes_b[MOST], modes_c[MOST];

static void noise(uint64_t id, int n, double *out)
{
    sq_rng rng;
    sq_rng_init(&rng, 90, 1, id);
    for (int i = 0; i < n; i++)
        out[i] = sq_rng_normal(&rng);
}

static sq_fft *plan(const sq_flat *flat)
{
    sq_fft *fft;
    assert_int_equal(sq_fft_create(flat->ny, flat->nx, &fft), SQ_OK);
    return fft;
}

static void test_axes(void **state)
{
    (void)state;
    for (int s = 0; s < SHAPES; s++) {
        sq_flat flat = {shapes[s][0], shapes[s][1], DY, DX};
        int columns = flat.nx / 2 + 1;
        double zero = 0, ly[64], lx[64], ell[2048];
        oracle("axes", flat.ny, flat.nx, &zero, 1, expected, (size_t)(flat.ny + columns));
        sq_flat_axes(&flat, ly, lx);
        sq_flat_ell(&flat, ell);
        for (int v = 0; v < flat.ny; v++)
            assert_true(fabs(ly[v] - expected[v]) < 1e-10);
        for (int u = 0; u < columns; u++)
            assert_true(fabs(lx[u] - expected[flat.ny + u]) < 1e-10);
        int full = 0;
        for (int v = 0; v < flat.ny; v++) {
            for (int u = 0; u < columns; u++) {
                full += sq_flat_weight(&flat, u);
                assert_true(fabs(ell[v * columns + u] - hypot(ly[v], lx[u])) < 1e-10);
            }
        }
        assert_int_equal(full, flat.ny * flat.nx);
        assert_int_equal(sq_flat_modes(&flat), flat.ny * columns);
        assert_true(fabs(sq_flat_area(&flat) - flat.ny * DY * flat.nx * DX) < 1e-15);
    }
}

static void test_gradient(void **state)
{
    (void)state;
    for (int s = 0; s < SHAPES; s++) {
        sq_flat flat = {shapes[s][0], shapes[s][1], DY, DX};
        int n = flat.ny * flat.nx;
        sq_fft *fft = plan(&flat);
        noise(1, n, map_a);
        oracle("gradient", flat.ny, flat.nx, map_a, (size_t)n, expected, (size_t)(2 * n));
        sq_fft_forward(fft, map_a, modes_a);
        for (int axis = 0; axis < 2; axis++) {
            sq_filter_gradient(&flat, axis, modes_a, modes_b);
            sq_fft_backward(fft, modes_b, out_a);
            for (int i = 0; i < n; i++)
                assert_true(fabs(out_a[i] - expected[axis * n + i]) < 1e-10);
        }
        sq_fft_destroy(fft);
    }
}

static void test_convolve(void **state)
{
    (void)state;
    sq_flat flat = {30, 40, DY, DX};
    sq_fft *fft = plan(&flat);
    noise(2, 1200 + 15, map_a);
    oracle("convolve", 30, 40, map_a, 1215, expected, 1200);
    assert_int_equal(sq_convolve(fft, map_a, map_a + 1200, 5, 3, out_a), SQ_OK);
    for (int i = 0; i < 1200; i++)
        assert_true(fabs(out_a[i] - expected[i]) < 1e-12);
    double one = 1;
    assert_int_equal(sq_convolve(fft, map_a, &one, 1, 1, out_a), SQ_OK);
    for (int i = 0; i < 1200; i++)
        assert_true(fabs(out_a[i] - map_a[i]) < 1e-13);
    assert_int_equal(sq_convolve(fft, map_a, map_a, 4, 3, out_a), SQ_ERR_USAGE);
    assert_int_equal(sq_convolve(fft, map_a, map_a, 31, 3, out_a), SQ_ERR_USAGE);
    sq_fft_destroy(fft);
}

static void test_spectrum(void **state)
{
    (void)state;
    const double edges[] = {0, 50, 200, 300, 777, 1500};
    for (int s = 0; s < SHAPES; s++) {
        sq_flat flat = {shapes[s][0], shapes[s][1], DY, DX};
        int n = flat.ny * flat.nx;
        double ell[5], power[5];
        int64_t count[5];
        sq_fft *fft = plan(&flat);
        noise(3, 2 * n, map_a);
        oracle("spectrum", flat.ny, flat.nx, map_a, (size_t)(2 * n), expected, 15);
        sq_fft_forward(fft, map_a, modes_a);
        memcpy(map_b, map_a + n, (size_t)n * sizeof *map_b);
        sq_fft_forward(fft, map_b, modes_b);
        assert_int_equal(sq_spectrum(&flat, modes_a, modes_b, 0.5, 5, edges, ell, power, count),
                         SQ_OK);
        for (int i = 0; i < 5; i++) {
            assert_int_equal(count[i], (int)expected[3 * i + 2]);
            if (count[i] == 0) {
                assert_true(isnan(power[i]) && isnan(ell[i]));
                continue;
            }
            assert_true(fabs(ell[i] - expected[3 * i]) < 1e-9);
            assert_true(fabs(power[i] * 0.5 - expected[3 * i + 1]) < 1e-15);
        }
        sq_fft_destroy(fft);
    }
    sq_flat flat = {8, 8, DY, DX};
    const double wrong[] = {0, 5, 5};
    double power[2];
    assert_int_equal(sq_spectrum(&flat, modes_a, modes_a, 1, 2, wrong, NULL, power, NULL),
                     SQ_ERR_USAGE);
}

/* Q and U made by differentiating a potential on an even and an odd grid have no B. */
static void test_eb(void **state)
{
    (void)state;
    for (int s = 0; s < SHAPES; s++) {
        sq_flat flat = {shapes[s][0], shapes[s][1], DY, DX};
        int n = flat.ny * flat.nx, m = (int)sq_flat_modes(&flat), columns = flat.nx / 2 + 1;
        double ly[64], lx[64];
        sq_fft *fft = plan(&flat);
        sq_flat_axes(&flat, ly, lx);
        noise(4, n, map_a);
        sq_fft_forward(fft, map_a, modes_a);
        /* Q = d_xx - d_yy, U = 2 d_xy of the potential: E = -l^2 psi, B = 0. */
        for (int k = 0; k < m; k++) {
            double y = ly[k / columns], x = lx[k % columns];
            modes_b[k] = -(x * x - y * y) * modes_a[k];
            modes_c[k] = -2 * x * y * modes_a[k];
        }
        sq_filter_qu_to_eb(&flat, modes_b, modes_c);
        for (int k = 0; k < m; k++) {
            double y = ly[k / columns], x = lx[k % columns];
            if (flat.nx % 2 == 0 && k % columns == flat.nx / 2)
                continue;
            assert_true(cabs(modes_b[k] + (x * x + y * y) * modes_a[k]) < 1e-6);
            assert_true(cabs(modes_c[k]) < 1e-6);
        }
        /* There and back, through real maps, for any Q and U. */
        noise(5, n, map_b);
        sq_fft_forward(fft, map_a, modes_a);
        sq_fft_forward(fft, map_b, modes_b);
        sq_filter_qu_to_eb(&flat, modes_a, modes_b);
        sq_fft_backward(fft, modes_a, out_a);
        sq_fft_backward(fft, modes_b, expected);
        sq_fft_forward(fft, out_a, modes_a);
        sq_fft_forward(fft, expected, modes_b);
        sq_filter_eb_to_qu(&flat, modes_a, modes_b);
        sq_fft_backward(fft, modes_a, out_a);
        sq_fft_backward(fft, modes_b, expected);
        for (int i = 0; i < n; i++) {
            assert_true(fabs(out_a[i] - map_a[i]) < 1e-12);
            assert_true(fabs(expected[i] - map_b[i]) < 1e-12);
        }
        sq_fft_destroy(fft);
    }
}

static void test_tables(void **state)
{
    (void)state;
    const double table[] = {1, 3, 7};
    assert_true(sq_table_at(table, 2, 0) == 1);
    assert_true(fabs(sq_table_at(table, 2, 1.25) - 4) < 1e-15);
    assert_true(sq_table_at(table, 2, 2) == 7);
    assert_true(sq_table_at(table, 2, 2.0001) == 0);
    assert_true(sq_table_at(table, 2, NAN) == 0);
    double beam[3001];
    sq_beam_gauss(1.4 * M_PI / 180 / 60, 3000, beam);
    /* healpy.gauss_beam(radians(1.4 / 60), 3000)[[0, 1000, 3000]], or exp(-l (l + 1) fwhm^2 / (16
     * ln 2)) */
    double fwhm = 1.4 * M_PI / 10800;
    assert_true(beam[0] == 1);
    assert_true(fabs(beam[1000] - exp(-1000. * 1001 * fwhm * fwhm / (16 * log(2)))) < 1e-12);
    assert_true(fabs(beam[3000] - exp(-3000. * 3001 * fwhm * fwhm / (16 * log(2)))) < 1e-12);
    /* A filter acts on each mode by its |l|. */
    sq_flat flat = {16, 16, DY, DX};
    double ell[16 * 9];
    sq_flat_ell(&flat, ell);
    for (int k = 0; k < 16 * 9; k++)
        modes_a[k] = 2;
    sq_filter_table(&flat, beam, 3000, modes_a);
    for (int k = 0; k < 16 * 9; k++)
        assert_true(cabs(modes_a[k] - 2 * sq_table_at(beam, 3000, ell[k])) < 1e-15);
}

/* Correlated fields have the power they were asked for: chi-square of the bins over many draws. */
static void test_fields(void **state)
{
    (void)state;
    enum { N = 64, LMAX = 4000, BINS = 6, DRAWS = 60, MODES = N * (N / 2 + 1) };
    static double c00[LMAX + 1], c10[LMAX + 1], c11[LMAX + 1];
    static double _Complex f0[MODES], f1[MODES];
    const double edges[BINS + 1] = {60, 200, 400, 600, 800, 1000, 1400};
    sq_flat flat = {N, N, DY, DX};
    sq_fft *fft = plan(&flat);
    for (int l = 0; l <= LMAX; l++) {
        c00[l] = 1 / (l + 30.0);
        c11[l] = 2 / (l + 200.0);
        c10[l] = 0.6 * sqrt(c00[l] * c11[l]);
    }
    const double *cl[4] = {c00, NULL, c10, c11};
    double sum[3][BINS] = {{0}}, power[BINS], want[3][BINS] = {{0}};
    int64_t count[BINS];
    double ell[MODES];
    sq_flat_ell(&flat, ell);
    for (int k = 0; k < MODES; k++) {
        for (int b = 0; b < BINS; b++) {
            if (ell[k] < edges[b] || ell[k] >= edges[b + 1])
                continue;
            int w = sq_flat_weight(&flat, k % (N / 2 + 1));
            want[0][b] += w * sq_table_at(c00, LMAX, ell[k]);
            want[1][b] += w * sq_table_at(c11, LMAX, ell[k]);
            want[2][b] += w * sq_table_at(c10, LMAX, ell[k]);
        }
    }
    for (int draw = 0; draw < DRAWS; draw++) {
        sq_rng rng;
        double _Complex *fields[2] = {f0, f1};
        sq_rng_init(&rng, 91, 1, (uint64_t)draw);
        assert_int_equal(sq_field_set(fft, &flat, &rng, 2, cl, LMAX, fields), SQ_OK);
        for (int pair = 0; pair < 3; pair++) {
            const double _Complex *a = pair == 1 ? f1 : f0, *b = pair == 0 ? f0 : f1;
            assert_int_equal(sq_spectrum(&flat, a, b, 1, BINS, edges, NULL, power, count), SQ_OK);
            for (int i = 0; i < BINS; i++)
                sum[pair][i] += power[i] / DRAWS;
        }
    }
    for (int i = 0; i < BINS; i++) {
        double n = (double)count[i], p0 = want[0][i] / n, p1 = want[1][i] / n, p2 = want[2][i] / n;
        /* Knox: variance 2 C^2 / modes for an auto power, (C11 C22 + C12^2) / modes for a cross
         * power. */
        assert_true(fabs(sum[0][i] - p0) < 4.5 * p0 * sqrt(2 / (n * DRAWS)));
        assert_true(fabs(sum[1][i] - p1) < 4.5 * p1 * sqrt(2 / (n * DRAWS)));
        assert_true(fabs(sum[2][i] - p2) < 4.5 * sqrt((p0 * p1 + p2 * p2) / (n * DRAWS)));
    }
    sq_fft_destroy(fft);
}

static void test_field_stream(void **state)
{
    (void)state;
    double cl[3001];
    sq_flat flat = {32, 24, DY, DX};
    sq_fft *fft = plan(&flat);
    sq_rng rng;
    for (int l = 0; l <= 3000; l++)
        cl[l] = 1e-6;
    for (int k = 0; k < 3; k++) {
        double _Complex *out = k == 0 ? modes_a : k == 1 ? modes_b : modes_c;
        sq_rng_init(&rng, 92, 1, k == 2);
        assert_int_equal(sq_field_modes(fft, &flat, &rng, cl, 3000, out), SQ_OK);
    }
    assert_memory_equal(modes_a, modes_b, (size_t)sq_flat_modes(&flat) * sizeof *modes_a);
    assert_memory_not_equal(modes_a, modes_c, (size_t)sq_flat_modes(&flat) * sizeof *modes_a);
    /* White power is white noise of variance C / pixel area, pixel by pixel from the stream. */
    sq_fft_backward(fft, modes_a, map_a);
    sq_rng_init(&rng, 92, 1, 0);
    for (int i = 0; i < 32 * 24; i++)
        assert_true(fabs(map_a[i] - sqrt(1e-6 / (DX * DY)) * sq_rng_normal(&rng)) < 1e-12);
    /* A correlation above 1, a negative power, a wrong plan. */
    double _Complex *two[2] = {modes_a, modes_b};
    double high[3001];
    for (int l = 0; l <= 3000; l++)
        high[l] = 1.1e-6;
    const double *matrix[4] = {cl, NULL, high, cl};
    assert_int_equal(sq_field_set(fft, &flat, &rng, 2, matrix, 3000, two), SQ_ERR_DATA);
    for (int l = 400; l < 700; l++)
        cl[l] = -1;
    assert_int_equal(sq_field_modes(fft, &flat, &rng, cl, 3000, modes_a), SQ_ERR_DATA);
    flat.nx = 25;
    assert_int_equal(sq_field_modes(fft, &flat, &rng, cl, 3000, modes_a), SQ_ERR_USAGE);
    sq_fft_destroy(fft);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_axes),     cmocka_unit_test(test_gradient),
        cmocka_unit_test(test_convolve), cmocka_unit_test(test_spectrum),
        cmocka_unit_test(test_eb),       cmocka_unit_test(test_tables),
        cmocka_unit_test(test_fields),   cmocka_unit_test(test_field_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
