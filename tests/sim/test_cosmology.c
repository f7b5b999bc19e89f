/* Cosmology, halo counts and gas against colossus (PyPI), published anchors and closed forms.
 *
 * The constants are colossus 1.3 with setCosmology(flat=True, H0=71, Om0=.264, Ob0=.044, sigma8=.8,
 * ns=.96, Tcmb0=2.726, relspecies=False): growthFactor(z), comovingDistance(0, z) / h,
 * massFunction(M h, z, mdef='200m', model='tinker08', q_out='dndlnM') h^3, haloBias(M h, z,
 * mdef='200m', model='tinker10') and matterPowerSpectrum(k / h) / h^3. */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "sim/halo.h"

static const double HALO[][6] = {
    /* z, M200m, growth, comoving distance, dn / d ln M, bias */
    {0.25, 1e+13, 0.885526, 1000.584, 2.0171e-04, 1.2970},
    {0.25, 1e+14, 0.885526, 1000.584, 1.5097e-05, 2.4375},
    {0.25, 1e+15, 0.885526, 1000.584, 1.5998e-07, 6.6075},
    {0.5, 1e+13, 0.784227, 1885.862, 1.8165e-04, 1.5217},
    {0.5, 1e+14, 0.784227, 1885.862, 1.0517e-05, 3.0190},
    {0.5, 1e+15, 0.784227, 1885.862, 4.7324e-08, 8.5201},
    {1, 1e+13, 0.625191, 3329.969, 1.2964e-04, 2.1442},
    {1, 1e+14, 0.625191, 3329.969, 3.7509e-06, 4.6400},
    {1, 1e+15, 0.625191, 3329.969, 1.7232e-09, 13.8924},
    {1.5, 1e+13, 0.513250, 4425.558, 7.6658e-05, 3.0138},
    {1.5, 1e+14, 0.513250, 4425.558, 8.7384e-07, 6.9212},
    {1.5, 1e+15, 0.513250, 4425.558, 1.9324e-11, 21.5134},
    {3, 1e+13, 0.328129, 6503.897, 5.1433e-06, 7.2527},
    {3, 1e+14, 0.328129, 6503.897, 9.1016e-10, 18.1718},
    {3, 1e+15, 0.328129, 6503.897, 2.8316e-20, 59.5346},
};
static const double POWER[][2] = {
    {0.001, 19769.2},   {0.0046416, 63592.6}, {0.021544, 59342.5}, {0.1, 9489.52},
    {0.46416, 433.049}, {2.1544, 11.3012},    {10, 0.215267},
};
static const double ARCMIN = M_PI / 180 / 60;
static const sq_overdensity M200M = {SQ_MEAN, 200}, M500C = {SQ_CRITICAL, 500},
                            M200C = {SQ_CRITICAL, 200}, MVIR = {SQ_VIRIAL, 0};

static int make(void **state)
{
    sq_cosmology_parameters p = sq_cosmology_sehgal();
    return sq_cosmology_create(&p, (sq_cosmology **)state) != SQ_OK;
}

static int drop(void **state)
{
    sq_cosmology_destroy(*state);
    return 0;
}

static void close_to(double value, double expected, double relative)
{
    if (!(fabs(value / expected - 1) < relative))
        fail_msg("%g instead of %g", value, expected);
}

static void test_background(void **state)
{
    for (size_t i = 0; i < sizeof HALO / sizeof *HALO; i++) {
        close_to(sq_cosmology_growth(*state, HALO[i][0]), HALO[i][2], 1e-4);
        close_to(sq_cosmology_comoving(*state, HALO[i][0]), HALO[i][3], 1e-5);
    }
    close_to(sq_cosmology_growth(*state, 0), 1, 1e-12);
    close_to(sq_cosmology_angular(*state, 1), sq_cosmology_comoving(*state, 1) / 2, 1e-12);
}

static void test_power(void **state)
{
    for (size_t i = 0; i < sizeof POWER / sizeof *POWER; i++)
        close_to(sq_cosmology_power(*state, POWER[i][0]), POWER[i][1], 2e-3);
}

static void test_halos(void **state)
{
    for (size_t i = 0; i < sizeof HALO / sizeof *HALO; i++) {
        close_to(sq_halo_mass_function(*state, HALO[i][0], HALO[i][1], M200M), HALO[i][4], 0.02);
        close_to(sq_halo_bias(*state, HALO[i][0], HALO[i][1], M200M), HALO[i][5], 0.003);
    }
}

/* Clusters of Mvir > 2e14 Msun at z > 0.25: about 3.4 per square degree. */
static void test_counts(void **state)
{
    double sum = 0, dz = 0.01, dm = 0.02;
    for (double z = 0.25 + dz / 2; z < 3; z += dz) {
        for (double m = log(2e14) + dm / 2; m < log(5e15); m += dm)
            sum += sq_cosmology_volume(*state, z) * dz * dm *
                   sq_halo_mass_function(*state, z, exp(m), MVIR);
    }
    close_to(sum * pow(M_PI / 180, 2), 3.4, 0.04);
}

static void test_masses(void **state)
{
    for (double z = 0; z < 2; z += 0.5) {
        double m = 3e14, m500 = sq_halo_convert(*state, z, m, M200M, M500C);
        assert_true(m500 < sq_halo_convert(*state, z, m, M200M, M200C));
        close_to(sq_halo_convert(*state, z, m500, M500C, M200M), m, 1e-6);
        close_to(sq_halo_convert(*state, z, m, MVIR, MVIR), m, 1e-6);
        double r = sq_halo_radius(*state, z, m500, M500C);
        close_to(m500 / (4 * M_PI / 3 * r * r * r), 500 * sq_cosmology_critical(*state, z), 1e-9);
    }
}

static void test_gas(void **state)
{
    sq_gas g;
    assert_int_equal(sq_gas_arnaud(*state, 0.7, 2e14, &g), SQ_OK);
    close_to(g.y0, 6.43e-5, 0.005);
    close_to(g.theta500, 1.62 * ARCMIN, 0.005);
    assert_int_equal(sq_gas_arnaud(*state, 0.3, 2e14, &g), SQ_OK);
    close_to(g.y0, 4.16e-5, 0.005);
    close_to(g.theta500, 3.03 * ARCMIN, 0.005);
    /* int_0^5 3 u^2 p du = 1.1037 for the shape without its P0: the transform at 0 is 4 pi / 3 of
     * it over the central line integral, and the volume of the projection. */
    close_to(g.flux / (g.y0 * g.theta_s * g.theta_s), sq_gas_transform(SQ_GAS_ARNAUD, 0), 2e-4);
    close_to(sq_gas_at(&g, 0), g.y0, 1e-12);
    assert_true(sq_gas_at(&g, 5.01 * g.theta_s) == 0);
    /* The transform of the projected profile by direct integration. */
    for (double k = 0.5; k < 20; k *= 2) {
        double sum = 0;
        int n = 20000;
        for (int i = 0; i < n; i++) {
            double x = 5 * (i + 0.5) / n;
            sum += 2 * M_PI * x * sq_gas_at(&g, x * g.theta_s) / g.y0 * j0(k * x) * 5 / n;
        }
        assert_true(fabs(sum - sq_gas_transform(SQ_GAS_ARNAUD, k)) <
                    1e-3 * sq_gas_transform(SQ_GAS_ARNAUD, 0));
    }
    assert_int_equal(sq_gas_arnaud(*state, 0, 2e14, &g), SQ_ERR_DATA);
}

/* A rescaled profile is the one made anew. */
static void test_rescale(void **state)
{
    sq_gas a, b, c;
    assert_int_equal(sq_gas_arnaud(*state, 0.7, 2e14, &a), SQ_OK);
    assert_int_equal(sq_gas_rescale(*state, SQ_GAS_ARNAUD, 0.2, 6e14, &a, &b), SQ_OK);
    assert_int_equal(sq_gas_arnaud(*state, 0.2, 6e14, &c), SQ_OK);
    for (double theta = 0; theta < 30 * ARCMIN; theta += 0.7 * ARCMIN)
        assert_true(fabs(sq_gas_at(&b, theta) - sq_gas_at(&c, theta)) <= 1e-12 * c.y0);
    close_to(b.flux, c.flux, 1e-12);
    close_to(b.theta500, c.theta500, 1e-12);
    assert_int_equal(sq_gas_battaglia(*state, 0.7, 2e14, &a), SQ_OK);
    assert_int_equal(sq_gas_rescale(*state, SQ_GAS_BATTAGLIA, 0.72, 2.1e14, &a, &b), SQ_OK);
    assert_int_equal(sq_gas_battaglia(*state, 0.72, 2.1e14, &c), SQ_OK);
    close_to(b.y0, c.y0, 0.03);
    close_to(b.flux, c.flux, 0.03);
}

/* Battaglia's fit and Arnaud's profile describe the same clusters: integrated y within 25%. */
static void test_models(void **state)
{
    for (double z = 0.3; z < 1; z += 0.3) {
        sq_gas a, b;
        double m200 = 4e14, m500 = sq_halo_convert(*state, z, m200, M200C, M500C);
        assert_int_equal(sq_gas_battaglia(*state, z, m200, &b), SQ_OK);
        assert_int_equal(sq_gas_arnaud(*state, z, m500, &a), SQ_OK);
        close_to(b.m500, m500, 1e-6);
        close_to(b.flux, a.flux, 0.25);
    }
}

static void test_spectrum(void **state)
{
    (void)state;
    close_to(sq_sz_spectrum(95, 2.7255), -1.554, 1e-3);
    close_to(sq_sz_spectrum(150, 2.7255), -0.953, 1e-3);
    close_to(sq_sz_spectrum(220, 2.7255), 0.038, 0.01);
}

static void test_refusals(void **state)
{
    (void)state;
    sq_cosmology *c;
    sq_cosmology_parameters p = sq_cosmology_sehgal();
    p.omega_b = p.omega_m;
    assert_int_equal(sq_cosmology_create(&p, &c), SQ_ERR_CONFIG);
    p = sq_cosmology_sehgal();
    p.h = NAN;
    assert_int_equal(sq_cosmology_create(&p, &c), SQ_ERR_CONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_background), cmocka_unit_test(test_power),
        cmocka_unit_test(test_halos),      cmocka_unit_test(test_counts),
        cmocka_unit_test(test_masses),     cmocka_unit_test(test_gas),
        cmocka_unit_test(test_models),     cmocka_unit_test(test_rescale),
        cmocka_unit_test(test_spectrum),   cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, make, drop);
}
