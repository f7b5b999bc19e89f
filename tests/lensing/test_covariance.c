/* Covariances of quadratic estimators against the scatter of estimates from Gaussian maps. */
#include <complex.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "lensing/quadratic.h"
#include "sim/spectra.h"

enum { LMAX = 3000, SIDE = 64, COLUMNS = SIDE / 2 + 1, MODES = SIDE * COLUMNS, DRAWS = 600 };
enum { MV = SQ_QE_COUNT, ALL };
static const double ARCMIN = M_PI / 180 / 60;

static double spectrum[3][LMAX + 1], total[3][LMAX + 1];
static double _Complex field[3][MODES], kappa[ALL][MODES];
static double noise[ALL][MODES], covariance[SQ_QE_COUNT][SQ_QE_COUNT][MODES];

/* Unlensed maps with white noise, B of noise alone; 64^2 pixels of 2.34 arcmin. */
static sq_quadratic *make(const sq_flat *flat)
{
    static const sq_fiducial kinds[] = {SQ_UNLENSED_TT, SQ_UNLENSED_EE, SQ_UNLENSED_TE};
    sq_quadratic *q;
    for (int i = 0; i < 3; i++)
        assert_int_equal(sq_fiducial_spectrum(kinds[i], LMAX, spectrum[i]), SQ_OK);
    for (int l = 0; l <= LMAX; l++) {
        for (int i = 0; i < 3; i++)
            total[i][l] = (i < 2 ? spectrum[i][l] : 0) + pow((i ? 5 : 3.5) * ARCMIN, 2);
    }
    sq_qe_spectra s = {.weight_tt = spectrum[0],
                       .weight_ee = spectrum[1],
                       .weight_te = spectrum[2],
                       .total_tt = total[0],
                       .total_ee = total[1],
                       .total_bb = total[2]};
    assert_int_equal(sq_quadratic_create(flat, 100, LMAX, &s, &q), SQ_OK);
    for (int a = 0; a < SQ_QE_COUNT; a++) {
        for (int b = 0; b < SQ_QE_COUNT; b++)
            assert_int_equal(
                sq_quadratic_covariance(q, (sq_qe)a, (sq_qe)b, spectrum[2], covariance[a][b]),
                SQ_OK);
        assert_int_equal(sq_quadratic_n0(q, (sq_qe)a, noise[a]), SQ_OK);
    }
    assert_int_equal(sq_quadratic_combined_n0(q, (1u << SQ_QE_COUNT) - 1, spectrum[2], noise[MV]),
                     SQ_OK);
    return q;
}

/* Mean over modes with 300 < L < 1500 of Re(a b*) / sqrt(na nb), each over its own noise. */
static double overlap(const sq_flat *flat, const double _Complex *a, const double *na,
                      const double _Complex *b, const double *nb)
{
    static const double edges[2] = {300, 1500};
    static double _Complex x[MODES], y[MODES];
    double value;
    for (int k = 0; k < MODES; k++) {
        int fine = isfinite(na[k]) && na[k] > 0 && isfinite(nb[k]) && nb[k] > 0;
        x[k] = fine ? a[k] / sqrt(na[k]) : 0;
        y[k] = fine ? b[k] / sqrt(nb[k]) : 0;
    }
    sq_spectrum(flat, x, y, 1, 1, edges, NULL, &value, NULL);
    return value;
}

/* The same of what is expected. */
static double expected(const sq_flat *flat, const double *c, const double *na, const double *nb)
{
    static double _Complex x[MODES], y[MODES];
    for (int k = 0; k < MODES; k++) {
        x[k] = c[k];
        y[k] = SIDE * SIDE / (flat->dx * flat->dy);
    }
    return overlap(flat, x, na, y, nb);
}

/* Variances to 3%, correlations to 0.02, zero between parity-even and -odd; MV to 3%. */
static void test_scatter(void **state)
{
    (void)state;
    sq_flat flat = {SIDE, SIDE, 2.34375 * ARCMIN, 2.34375 * ARCMIN};
    const double *cl[9] = {total[0], NULL, NULL, spectrum[2], total[1], NULL, NULL, NULL, total[2]};
    double _Complex *const out[3] = {field[0], field[1], field[2]};
    double _Complex *each[SQ_QE_COUNT];
    double sum[ALL][ALL] = {{0}};
    sq_fft *fft;
    sq_rng rng;
    sq_quadratic *q = make(&flat);
    assert_int_equal(sq_fft_create(SIDE, SIDE, &fft), SQ_OK);
    sq_rng_init(&rng, 77, 0, 0);
    for (int e = 0; e < SQ_QE_COUNT; e++)
        each[e] = kappa[e];
    for (int draw = 0; draw < DRAWS; draw++) {
        assert_int_equal(sq_field_set(fft, &flat, &rng, 3, cl, LMAX, out), SQ_OK);
        assert_int_equal(sq_quadratic_estimates(q, 31, field[0], field[1], field[2], each), SQ_OK);
        assert_int_equal(
            sq_quadratic_combine(q, 31, (const double _Complex *const *)each, kappa[MV]), SQ_OK);
        for (int a = 0; a < ALL; a++) {
            for (int b = 0; b <= a; b++)
                sum[a][b] += overlap(&flat, kappa[a], noise[a], kappa[b], noise[b]) / DRAWS;
        }
    }
    for (int a = 0; a < SQ_QE_COUNT; a++) {
        for (int b = 0; b <= a; b++) {
            double want = expected(&flat, covariance[a][b], noise[a], noise[b]);
            print_message("%s %s: %.4f, expected %.4f\n", sq_qe_name((sq_qe)a),
                          sq_qe_name((sq_qe)b), sum[a][b], want);
            assert_true(fabs(sum[a][b] - want) < (a == b ? 0.03 * want : 0.02));
            assert_true(want == 0 || a == b || fabs(want) > 1e-4);
            assert_true(fabs(expected(&flat, covariance[b][a], noise[a], noise[b]) - want) < 1e-9);
        }
    }
    print_message("MV: %.4f\n", sum[MV][MV]);
    assert_true(fabs(sum[MV][MV] - 1) < 0.03);
    sq_fft_destroy(fft);
    sq_quadratic_destroy(q);
}

/* The estimate of one kind alone is the one made with all others, to rounding, on an odd grid. */
static void test_together(void **state)
{
    (void)state;
    sq_flat flat = {63, 50, 2.34375 * ARCMIN, 2.2 * ARCMIN};
    const int modes = (int)sq_flat_modes(&flat);
    double _Complex *each[SQ_QE_COUNT];
    static double _Complex alone[MODES];
    sq_rng rng;
    sq_quadratic *q = make(&flat);
    sq_rng_init(&rng, 5, 0, 0);
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < modes; k++)
            field[i][k] = sq_rng_normal(&rng) + I * sq_rng_normal(&rng);
    }
    for (int e = 0; e < SQ_QE_COUNT; e++)
        each[e] = kappa[e];
    assert_int_equal(sq_quadratic_estimates(q, 31, field[0], field[1], field[2], each), SQ_OK);
    for (int e = 0; e < SQ_QE_COUNT; e++) {
        assert_int_equal(sq_quadratic_estimate(q, (sq_qe)e, field[0], field[1], field[2], alone),
                         SQ_OK);
        double most = 0, off = 0;
        for (int k = 0; k < modes; k++) {
            most = fmax(most, cabs(alone[k]));
            off = fmax(off, cabs(alone[k] - each[e][k]));
        }
        assert_true(most > 0 && off <= 1e-12 * most);
    }
    sq_quadratic_destroy(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scatter),
                                       cmocka_unit_test(test_together)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
