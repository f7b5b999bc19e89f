/* The inverse-variance filter against a dense solution, and quadratic estimators on its maps. */
#include "fourier/window.h"
#include "lensed_sky.h"
#include "lensing/filter.h"

enum { SMALL = 10, PIXELS = SMALL * SMALL, SIZE = 3 * PIXELS };

/* Covariance of the maps' pixels by explicit sums over modes of the grid: that of T, Q and U. */
static void dense_covariance(const sq_flat *flat, const double *const cl[4], const double *beam,
                             double (*c)[SIZE])
{
    double scale = 1 / (flat->dx * flat->dy * PIXELS);
    for (int v = 0; v < SMALL; v++) {
        for (int u = 0; u < SMALL; u++) {
            int a = v < SMALL / 2 ? v : v - SMALL, b = u < SMALL / 2 ? u : u - SMALL;
            double y = 2 * M_PI * a / (SMALL * flat->dy), x = 2 * M_PI * b / (SMALL * flat->dx);
            /* Nyquist rows and columns stand for both signs: fourier/flat.h. */
            if (b == -SMALL / 2) {
                x = -x;
                y = fabs(y);
            } else if (a == -SMALL / 2 && b < 0) {
                y = -y;
            }
            double l = hypot(x, y), b2 = pow(sq_table_at(beam, SKY_LMAX, fmax(2, l)), 2) * scale;
            double p[4], turn = 2 * (l > 0 ? atan2(y, x) : 0), cs = cos(turn), sn = sin(turn);
            for (int i = 0; i < 4; i++)
                p[i] = b2 * sq_table_at(cl[i], SKY_LMAX, fmax(2, l));
            double s[3][3] = {
                {p[0], p[3] * cs, p[3] * sn},
                {p[3] * cs, p[1] * cs * cs + p[2] * sn * sn, (p[1] - p[2]) * cs * sn},
                {p[3] * sn, (p[1] - p[2]) * cs * sn, p[1] * sn * sn + p[2] * cs * cs}};
            for (int i = 0; i < SIZE; i++) {
                for (int j = 0; j < SIZE; j++) {
                    int m = i % PIXELS, n = j % PIXELS;
                    double phase = 2 * M_PI *
                                   (a * (m / SMALL - n / SMALL) + b * (m % SMALL - n % SMALL)) /
                                   SMALL;
                    c[i][j] += s[i / PIXELS][j / PIXELS] * cos(phase);
                }
            }
        }
    }
}

/* Gauss elimination with pivots of the seen part, in place. */
static void dense_solve(double (*c)[SIZE], const int *seen, double *x)
{
    for (int k = 0; k < SIZE; k++) {
        for (int i = 0; i < SIZE && seen[k]; i++) {
            if (i == k || !seen[i])
                continue;
            double f = c[i][k] / c[k][k];
            for (int j = k; j < SIZE; j++)
                c[i][j] -= f * c[k][j];
            x[i] -= f * x[k];
        }
    }
    for (int k = 0; k < SIZE; k++)
        x[k] = seen[k] ? x[k] / c[k][k] : 0;
}

/* T, Q, U with TE, a beam, a mask and noise that varies by a factor of four. */
static void test_dense(void **state)
{
    (void)state;
    static double c[SIZE][SIZE], beam[SKY_LMAX + 1], ivar[2][PIXELS], x[SIZE], y[SIZE];
    static double _Complex mode[3][SMALL * (SMALL / 2 + 1)], want[3][SMALL * (SMALL / 2 + 1)];
    int seen[SIZE];
    sq_flat flat = {SMALL, SMALL, 12 * ARCMIN, 15 * ARCMIN};
    sq_fft *fft;
    sq_wiener *w;
    sq_wiener_result result;
    sq_rng rng;
    for (int k = 0; k < SQ_FIDUCIAL_COUNT; k++)
        assert_int_equal(sq_fiducial_spectrum((sq_fiducial)k, SKY_LMAX, sky_cl[k]), SQ_OK);
    const double *const cl[4] = {sky_cl[SQ_LENSED_TT], sky_cl[SQ_LENSED_EE], sky_cl[SQ_LENSED_BB],
                                 sky_cl[SQ_LENSED_TE]};
    sq_beam_gauss(10 * ARCMIN, SKY_LMAX, beam);
    sq_rng_init(&rng, 5, 6, 7);
    for (int i = 0; i < PIXELS; i++) {
        int hole = i % SMALL < 2 || (i / SMALL == 6 && i % SMALL > 5);
        ivar[0][i] = hole ? 0 : sq_rng_range(&rng, 1, 4);
        ivar[1][i] = hole || i == 57 ? 0 : sq_rng_range(&rng, 1, 4) * 10;
    }
    dense_covariance(&flat, cl, beam, c);
    for (int i = 0; i < SIZE; i++) {
        double v = ivar[i >= PIXELS][i % PIXELS];
        seen[i] = v > 0;
        c[i][i] += v > 0 ? 1 / v : 0;
        x[i] = y[i] = 10 * sq_rng_normal(&rng);
    }
    dense_solve(c, seen, y);
    sq_wiener_model m = {SKY_LMAX, cl[0], cl[1], cl[2], cl[3], beam, ivar[0], ivar[1]};
    assert_int_equal(sq_wiener_create(&flat, &m, &w), SQ_OK);
    assert_int_equal(sq_wiener_run(w, x, x + PIXELS, x + 2 * PIXELS, 1e-12, 1000, mode[0], mode[1],
                                   mode[2], &result),
                     SQ_OK);
    assert_int_equal(sq_fft_create(SMALL, SMALL, &fft), SQ_OK);
    double size = 0, error = 0;
    for (int i = 0; i < 3; i++)
        sq_fft_forward(fft, y + i * PIXELS, want[i]);
    sq_filter_qu_to_eb(&flat, want[1], want[2]);
    for (int i = 0; i < 3; i++) {
        sq_filter_table(&flat, beam, SKY_LMAX, want[i]);
        for (int k = 1; k < SMALL * (SMALL / 2 + 1); k++) {
            double _Complex now = mode[i][k] * flat.dx * flat.dy;
            size += pow(cabs(want[i][k]), 2);
            error += pow(cabs(now - want[i][k]), 2);
        }
    }
    print_message("dense: %.1e in %d iterations\n", sqrt(error / size), result.iterations);
    assert_true(sqrt(error / size) < 1e-8);
    sq_wiener_destroy(w);
    sq_fft_destroy(fft);
}

/* A whole sky with even noise: one step, and the maps themselves come back. */
static void test_whole(void **state)
{
    (void)state;
    sky s;
    sq_wiener *w;
    sq_wiener_result result;
    sky_open(&s, 64, 4.6875);
    sky_draw(&s, 1, 1, 3, 4);
    double *ivar[2] = {NULL, NULL};
    double _Complex *out[3] = {NULL};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(SQ_ALLOC(ivar[i], s.pixels, "test"), SQ_OK);
        for (int64_t k = 0; k < s.pixels; k++)
            ivar[i][k] = pow(4.6875 / (i ? 4 : 3), 2);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(SQ_ALLOC(out[i], s.modes, "test"), SQ_OK);
    sq_wiener_model m = {SKY_LMAX,
                         sky_cl[SQ_LENSED_TT],
                         sky_cl[SQ_LENSED_EE],
                         sky_cl[SQ_LENSED_BB],
                         sky_cl[SQ_LENSED_TE],
                         NULL,
                         ivar[0],
                         ivar[1]};
    assert_int_equal(sq_wiener_create(&s.flat, &m, &w), SQ_OK);
    assert_int_equal(
        sq_wiener_run(w, s.map[0], s.map[1], s.map[2], 1e-9, 3, out[0], out[1], out[2], &result),
        SQ_OK);
    assert_true(result.iterations <= 2);
    sq_wiener_restore(w, out[0], out[1], out[2]);
    for (int i = 0; i < 3; i++) {
        double worst = 0;
        for (int64_t k = 0; k < s.modes; k++)
            worst = fmax(worst, cabs(out[i][k] - s.field[i][k]) / cabs(s.field[i][0] + 100));
        assert_true(worst < 1e-5);
    }
    s.map[1][17] = NAN;
    assert_int_equal(
        sq_wiener_run(w, s.map[0], s.map[1], s.map[2], 1e-9, 9, out[0], out[1], out[2], NULL),
        SQ_ERR_DATA);
    sq_wiener_destroy(w);
    memset(ivar[1], 0, (size_t)s.pixels * sizeof *ivar[1]);
    assert_int_equal(sq_wiener_create(&s.flat, &m, &w), SQ_ERR_DATA);
    for (int i = 0; i < 3; i++)
        sq_free(out[i]);
    for (int i = 0; i < 2; i++)
        sq_free(ivar[i]);
    sky_close(&s);
}

enum { DRAWS = 12, BINS = 3 };

/* Spectra of an estimate inside a window: with itself, with the truth and of the truth. */
static void in_window(sky *s, const double *window, const double _Complex *kappa,
                      double _Complex *const work[2], double *map, double out[3][BINS])
{
    static const double edges[BINS + 1] = {300, 500, 800, 1200};
    const double _Complex *const from[2] = {kappa, s->kappa};
    for (int i = 0; i < 2; i++) {
        sq_fft_backward(s->fft, from[i], map);
        for (int64_t k = 0; k < s->pixels; k++)
            map[k] *= window[k];
        sq_fft_forward(s->fft, map, work[i]);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(sq_spectrum(&s->flat, work[i > 0 ? 1 : 0],
                                     work[i == 0   ? 0
                                          : i == 1 ? 0
                                                   : 1],
                                     1, BINS, edges, NULL, out[i], NULL),
                         SQ_OK);
}

/* EB on a patch whose border of 1 degree is masked within the map of 6.25 deg, noise deeper in the
 * middle: rho with the truth inside is that of the whole sky to a few per cent, and the transfer is
 * near 1; a plain taper, the same mask without the filter, loses much more. */
static void test_cut(void **state)
{
    (void)state;
    enum { SIDE = 160, EDGE = 13 };
    sky s;
    sq_wiener *w;
    sq_quadratic *q;
    sq_wiener_result result = {0, 0};
    double *ivar = NULL, *window = NULL, *map = NULL, *taper = NULL;
    double _Complex *f[3] = {NULL}, *kappa = NULL, *work[2] = {NULL};
    double sum[3][3][BINS] = {{{0}}}, now[3][BINS];
    sky_open(&s, SIDE, 2.34375);
    sq_qe_spectra spectra = sky_spectra(1, M_SQRT2);
    double **maps[] = {&ivar, &window, &map, &taper};
    for (int i = 0; i < 4; i++)
        assert_int_equal(sq_alloc(maps[i], (size_t)s.pixels, sizeof(double), "test"), SQ_OK);
    double _Complex **modes[] = {&f[0], &f[1], &f[2], &kappa, &work[0], &work[1]};
    for (int i = 0; i < 6; i++)
        assert_int_equal(sq_alloc(modes[i], (size_t)s.modes, sizeof(double _Complex), "test"),
                         SQ_OK);
    sq_flat inner = {SIDE - 2 * EDGE, SIDE - 2 * EDGE, s.flat.dy, s.flat.dx};
    assert_int_equal(sq_window_edges(&inner, SQ_WINDOW_COSINE, 60 * ARCMIN, map), SQ_OK);
    for (int y = EDGE; y < SIDE - EDGE; y++) {
        for (int x = EDGE; x < SIDE - EDGE; x++) {
            int64_t k = (int64_t)y * SIDE + x;
            taper[k] = map[(y - EDGE) * inner.nx + x - EDGE];
            ivar[k] = pow(2.34375 / M_SQRT2, 2);
            window[k] = taper[k] * taper[k];
        }
    }
    sq_wiener_model m = {SKY_LMAX, NULL, sky_cl[SQ_LENSED_EE], sky_cl[SQ_LENSED_BB], NULL, NULL,
                         NULL,     ivar};
    assert_int_equal(sq_wiener_create(&s.flat, &m, &w), SQ_OK);
    assert_int_equal(sq_quadratic_create(&s.flat, 100, 3000, &spectra, &q), SQ_OK);
    for (uint64_t seed = 0; seed < DRAWS; seed++) {
        sky_draw(&s, seed, 1, 1, M_SQRT2);
        for (int way = 0; way < 3; way++) {
            const double _Complex *e = s.field[1], *b = s.field[2];
            if (way == 1) {
                assert_int_equal(sq_wiener_run(w, NULL, s.map[1], s.map[2], 1e-4, 500, NULL, f[1],
                                               f[2], &result),
                                 SQ_OK);
                sq_wiener_restore(w, NULL, f[1], f[2]);
            }
            for (int i = 1; i < 3 && way == 2; i++) {
                for (int64_t k = 0; k < s.pixels; k++)
                    map[k] = s.map[i][k] * taper[k];
                sq_fft_forward(s.fft, map, f[i]);
            }
            if (way == 2)
                sq_filter_qu_to_eb(&s.flat, f[1], f[2]);
            if (way)
                e = f[1], b = f[2];
            assert_int_equal(sq_quadratic_estimate(q, SQ_QE_EB, NULL, e, b, kappa), SQ_OK);
            in_window(&s, window, kappa, work, map, now);
            for (int i = 0; i < 3; i++) {
                for (int bin = 0; bin < BINS; bin++)
                    sum[way][i][bin] += now[i][bin];
            }
        }
    }
    for (int bin = 0; bin < BINS; bin++) {
        double rho[3], t[3];
        for (int way = 0; way < 3; way++) {
            rho[way] = sum[way][1][bin] / sqrt(sum[way][0][bin] * sum[way][2][bin]);
            t[way] = sum[way][1][bin] / sum[way][2][bin];
        }
        print_message("bin %d: rho whole %.3f filtered %.3f taper %.3f; transfer %.3f %.3f %.3f\n",
                      bin, rho[0], rho[1], rho[2], t[0], t[1], t[2]);
        assert_true(rho[1] > (bin == 0 ? 0.93 : 0.95) * rho[0]);
        assert_true(rho[2] < rho[1]);
        assert_true(fabs(t[1] / t[0] - 1) < 0.06);
    }
    print_message("filter: %d iterations to 1e-4\n", result.iterations);
    assert_true(result.iterations < 150);
    for (int i = 0; i < 4; i++)
        sq_free(*maps[i]);
    for (int i = 0; i < 6; i++)
        sq_free(*modes[i]);
    sq_wiener_destroy(w);
    sq_quadratic_destroy(q);
    sky_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_dense), cmocka_unit_test(test_whole),
                                       cmocka_unit_test(test_cut)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
