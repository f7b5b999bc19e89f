/* The maximum a posteriori reconstruction, its lensing operator and fits of the amplitude. */
#include "lensed_sky.h"
#include "lensing/amplitude.h"
#include "lensing/delensed.h"
#include "lensing/iterative.h"
#include "lensing/maximum.h"
#include "lensing/remap.h"

static double dot(const sky *s, const double _Complex *a, const double _Complex *b)
{
    double sum = 0;
    for (int64_t k = 0; k < s->modes; k++)
        sum += sq_flat_weight(&s->flat, (int)(k % (s->flat.nx / 2 + 1))) *
               (creal(a[k]) * creal(b[k]) + cimag(a[k]) * cimag(b[k]));
    return sum;
}

/* <y, D x> = <D^T y, x>; and the gradient against differences of <y, D x>. */
static void test_operator(void **state)
{
    (void)state;
    enum { COUNT = 7 };
    sky s;
    remap r;
    double _Complex *m[COUNT];
    sq_rng rng;
    sky_open(&s, 48, 2.34375);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(SQ_ALLOC(m[i], s.modes, "test"), SQ_OK);
    double _Complex *x = m[0], *ye = m[1], *yb = m[2], *phi = m[3], *e = m[4], *b = m[5];
    double _Complex *turn = m[6];
    sq_rng_init(&rng, 4, 4, 4);
    static const int kind[5] = {SQ_UNLENSED_EE, SQ_LENSED_EE, SQ_LENSED_BB, SQ_POTENTIAL,
                                SQ_POTENTIAL};
    double _Complex *const to[5] = {x, ye, yb, phi, turn};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(sq_field_modes(s.fft, &s.flat, &rng, sky_cl[kind[i]], SKY_LMAX / 4, to[i]),
                         SQ_OK);
    }
    assert_int_equal(remap_create(&s.flat, &r), SQ_OK);
    remap_set(&r, phi);
    remap_lens(&r, x, e, b);
    double here = dot(&s, ye, e) + dot(&s, yb, b);
    remap_adjoint(&r, ye, yb, e);
    assert_true(fabs(dot(&s, e, x) - here) < 1e-10 * sqrt(dot(&s, ye, ye) * dot(&s, x, x)));
    remap_gradient(&r, x, ye, yb, e);
    double slope = dot(&s, e, turn), value[2];
    for (int i = 0; i < 2; i++) {
        for (int64_t k = 0; k < s.modes; k++)
            b[k] = phi[k] + (i ? 1e-3 : -1e-3) * turn[k];
        remap_set(&r, b);
        remap_lens(&r, x, e, b);
        value[i] = dot(&s, ye, e) + dot(&s, yb, b);
    }
    print_message("gradient %.6e, by differences %.6e\n", slope, (value[1] - value[0]) / 2e-3);
    assert_true(fabs((value[1] - value[0]) / 2e-3 / slope - 1) < 0.02);
    remap_free(&r);
    for (int i = 0; i < COUNT; i++)
        sq_free(m[i]);
    sky_close(&s);
}

/* rho with the truth: above the quadratic estimate everywhere and near the expectation of the
 * iterated one, 1 uK arcmin at 128^2. */
static void test_reconstruction(void **state)
{
    (void)state;
    enum { BINS = 4, DRAWS = 4 };
    static const double low[BINS] = {300, 500, 800, 1600}, high[BINS] = {500, 800, 1200, 2000};
    sky s;
    sq_quadratic *q;
    sq_maximum *m;
    double _Complex *kappa[2] = {NULL};
    double sum[2][3][BINS] = {{{0}}}, *n0 = NULL;
    sky_open(&s, 128, 2.34375);
    sq_qe_spectra spectra = sky_spectra(M_SQRT1_2, 1);
    assert_int_equal(sq_quadratic_create(&s.flat, 100, 3000, &spectra, &q), SQ_OK);
    assert_int_equal(sq_maximum_create(&s.flat, 100, 3000, &spectra, sky_cl[SQ_LENSED_BB],
                                       sky_cl[SQ_POTENTIAL], SKY_LMAX, sky_cl[SQ_UNLENSED_EE], &m),
                     SQ_OK);
    assert_int_equal(SQ_ALLOC(n0, s.modes, "test"), SQ_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(SQ_ALLOC(kappa[i], s.modes, "test"), SQ_OK);
    for (uint64_t seed = 0; seed < DRAWS; seed++) {
        sq_maximum_result result;
        sky_draw(&s, 4000 + seed, 1, M_SQRT1_2, 1);
        assert_int_equal(sq_quadratic_estimate(q, SQ_QE_EB, NULL, s.field[1], s.field[2], kappa[0]),
                         SQ_OK);
        assert_int_equal(
            sq_maximum_run(m, s.field[1], s.field[2], NULL, 14, 0.02, kappa[1], NULL, &result),
            SQ_OK);
        print_message("%d steps, %d solves, change %.1e\n", result.iterations, result.solves,
                      result.change);
        for (int w = 0; w < 2; w++) {
            for (int b = 0; b < BINS; b++) {
                const double edges[2] = {low[b], high[b]};
                for (int i = 0; i < 3; i++) {
                    double now;
                    sq_spectrum(&s.flat, i < 2 ? kappa[w] : s.kappa, i < 1 ? kappa[w] : s.kappa, 1,
                                1, edges, NULL, &now, NULL);
                    sum[w][i][b] += now;
                }
            }
        }
    }
    assert_int_equal(sq_iterative_n0(&s.flat, 100, 3000, &spectra, sky_cl[SQ_LENSED_BB],
                                     sky_cl[SQ_POTENTIAL], 2, n0, NULL),
                     SQ_OK);
    for (int b = 0; b < BINS; b++) {
        double l = 0.5 * (low[b] + high[b]), noise, rho[2];
        for (int w = 0; w < 2; w++)
            rho[w] = sum[w][1][b] / sqrt(sum[w][0][b] * sum[w][2][b]);
        sq_quadratic_ring(&s.flat, n0, l, high[b] - low[b], 1, &noise);
        double power = 0.25 * pow(l, 4) * sky_cl[SQ_POTENTIAL][(int)l];
        double want = sqrt(power / (power + noise));
        print_message("L %.0f: rho QE %.3f MAP %.3f, iterated expectation %.3f\n", l, rho[0],
                      rho[1], want);
        assert_true(rho[1] > rho[0] + 0.05);
        assert_true(fabs(rho[1] - want) < 0.05);
    }
    sq_maximum_destroy(m);
    spectra.total_ee = spectra.weight_ee;
    assert_int_equal(sq_maximum_create(&s.flat, 100, 3000, &spectra, sky_cl[SQ_LENSED_BB],
                                       sky_cl[SQ_POTENTIAL], SKY_LMAX, sky_cl[SQ_UNLENSED_EE], &m),
                     SQ_ERR_DATA);
    for (int i = 0; i < 2; i++)
        sq_free(kappa[i]);
    sq_free(n0);
    sq_quadratic_destroy(q);
    sky_close(&s);
}

/* Passes on skies that they have not seen: each better than the one before, as in training. */
static void test_delensed(void **state)
{
    (void)state;
    enum { BINS = 9, PASSES = 4, SIMS = 6, DRAWS = 4, SHOWN = 3 };
    static const double edges[BINS + 1] = {60, 150, 300, 500, 800, 1200, 1600, 2000, 2500, 3000};
    sky s;
    sq_delensed *d;
    double _Complex *kappa = NULL;
    double rho[PASSES][BINS], sum[PASSES][3][BINS] = {{{0}}}, now[BINS];
    sky_open(&s, 128, 2.34375);
    sq_qe_spectra spectra = sky_spectra(M_SQRT1_2, 1);
    assert_int_equal(SQ_ALLOC(kappa, s.modes, "test"), SQ_OK);
    assert_int_equal(sq_delensed_create(&s.flat, 100, 3000, &spectra, sky_cl[SQ_LENSED_BB],
                                        sky_cl[SQ_POTENTIAL], BINS, edges, &d),
                     SQ_OK);
    assert_int_equal(sq_delensed_run(d, -1, s.field[1], s.field[2], kappa), SQ_ERR_USAGE);
    assert_int_equal(sq_delensed_close(d, NULL), SQ_ERR_DATA);
    for (int pass = 0; pass < PASSES; pass++) {
        for (uint64_t i = 0; i < SIMS; i++) {
            sky_draw(&s, 8000 + i, 1, M_SQRT1_2, 1);
            assert_int_equal(sq_delensed_train(d, s.field[1], s.field[2], s.kappa), SQ_OK);
        }
        assert_int_equal(sq_delensed_close(d, rho[pass]), SQ_OK);
    }
    for (uint64_t i = 0; i < DRAWS; i++) {
        sky_draw(&s, 4000 + i, 1, M_SQRT1_2, 1);
        for (int pass = 0; pass < PASSES; pass++) {
            assert_int_equal(sq_delensed_run(d, pass, s.field[1], s.field[2], kappa), SQ_OK);
            for (int k = 0; k < 3; k++) {
                sq_spectrum(&s.flat, k < 2 ? kappa : s.kappa, k < 1 ? kappa : s.kappa, 1, BINS,
                            edges, NULL, now, NULL);
                for (int b = 0; b < BINS; b++)
                    sum[pass][k][b] += now[b];
            }
        }
    }
    for (int b = 2; b < 2 + SHOWN; b++) {
        double before = 0;
        for (int pass = 0; pass < PASSES; pass++) {
            double reached = sum[pass][1][b] / sqrt(sum[pass][0][b] * sum[pass][2][b]);
            print_message("L %.0f pass %d: rho %.3f (training %.3f)\n",
                          0.5 * (edges[b] + edges[b + 1]), pass, reached, rho[pass][b]);
            assert_true(reached > before + (pass == 1 ? 0.02 : -0.005));
            assert_true(fabs(reached - rho[pass][b]) < 0.05);
            before = reached;
        }
    }
    sq_free(kappa);
    sq_delensed_destroy(d);
    sky_close(&s);
}

/* Powers of two methods that share a part of their scatter, at an amplitude: A^2 makes the noise
 * depend on it. */
static void draw_powers(uint64_t seed, double a, double out[6])
{
    sq_rng rng;
    sq_rng_init(&rng, 12, 12, seed);
    for (int b = 0; b < 3; b++) {
        double common = sq_rng_normal(&rng);
        for (int method = 0; method < 2; method++) {
            double mean = (1 + b) * (a + 0.3 * a * a) + (method ? 1 : 3);
            out[3 * method + b] =
                mean * (1 + 0.1 * (common + (method ? 0.3 : 1) * sq_rng_normal(&rng)));
        }
    }
}

static void test_amplitude(void **state)
{
    (void)state;
    enum { SIMS = 400, PATCHES = 300 };
    static const double nodes[3] = {0.8, 1, 1.2};
    static const int first[6] = {1, 1, 1, 0, 0, 0}, second[6] = {0, 0, 0, 1, 1, 1};
    const int *use[3] = {first, second, NULL};
    sq_amplitude *x;
    sq_amplitude_fit fit;
    double power[6], sigma[3];
    assert_int_equal(sq_amplitude_create(6, 3, nodes, &x), SQ_OK);
    for (int n = 0; n < 3; n++) {
        assert_int_equal(sq_amplitude_estimate(x, power, 1, NULL, &fit), SQ_ERR_DATA);
        for (uint64_t i = 0; i < SIMS; i++) {
            draw_powers(10000 * (uint64_t)(n + 1) + i, nodes[n], power);
            sq_amplitude_add(x, n, power);
        }
    }
    for (int n = 0; n < 3; n++) {
        for (int w = 0; w < 3; w++) {
            double sum = 0, square = 0, chi2 = 0, claimed = 0;
            for (uint64_t i = 0; i < PATCHES; i++) {
                draw_powers(900000 + 1000 * (uint64_t)n + i, nodes[n], power);
                assert_int_equal(sq_amplitude_estimate(x, power, 1, use[w], &fit), SQ_OK);
                sum += fit.a / PATCHES;
                square += fit.a * fit.a / PATCHES;
                chi2 += fit.chi2 / fit.dof / PATCHES;
                claimed += fit.sigma / PATCHES;
            }
            double scatter = sqrt(square - sum * sum);
            print_message("A %.1f way %d: %.4f +- %.4f, claimed %.4f, chi2/dof %.2f\n", nodes[n], w,
                          sum, scatter, claimed, chi2);
            assert_true(fabs(sum - nodes[n]) < 0.02);
            assert_true(fabs(claimed / scatter - 1) < 0.15);
            assert_true(fabs(chi2 - 1) < 0.2);
            sigma[w] = claimed;
        }
        assert_true(sigma[2] < sigma[0] && sigma[2] < 1.02 * sigma[1]);
    }
    sq_amplitude_destroy(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operator), cmocka_unit_test(test_reconstruction),
        cmocka_unit_test(test_delensed), cmocka_unit_test(test_amplitude)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
