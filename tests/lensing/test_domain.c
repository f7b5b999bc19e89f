/* Noise and beam against the domain of the lensing network, up to its very limits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lensing/network.h"

enum { LMAX = 3000 };

/* The conditions of white noise (uK arcmin) behind a beam (arcmin), as lensing/inputs.h has them.
 */
static void conditions(double level, double fwhm, float out[SQ_LENSING_CONDITIONS])
{
    double sigma = fwhm / sqrt(8 * log(2)) * M_PI / 10800;
    out[0] = (float)(log(level) + 0.5 * pow(500 * sigma, 2));
    out[1] = (float)(0.5 * (pow(LMAX, 2) - pow(500, 2)) * sigma * sigma);
}

static sq_lensing_net net_of(double noise, double fwhm, double noise_most, double fwhm_most)
{
    float low[2], high[2];
    conditions(noise, fwhm, low);
    conditions(noise_most, fwhm_most, high);
    return (sq_lensing_net){.domain = {{low[0], low[1]}, {high[0], high[1]}}};
}

static int outside(const sq_lensing_net *net, double level, double fwhm)
{
    float c[SQ_LENSING_CONDITIONS];
    conditions(level, fwhm, c);
    return sq_lensing_out_of_domain(net, c);
}

static void test_limits(void **state)
{
    (void)state;
    sq_lensing_net net = net_of(0.1, 1, 10, 2);
    assert_false(outside(&net, 0.1, 1));
    assert_false(outside(&net, 10, 2));
    assert_false(outside(&net, 1, 1.4));
    assert_true(outside(&net, 0.0999, 1));
    assert_true(outside(&net, 10.01, 2));
    assert_true(outside(&net, 1, 0.999));
    assert_true(outside(&net, 1, 2.001));
    assert_true(outside(&net, 1, 0));
    for (int i = 0; i < SQ_LENSING_CONDITIONS; i++) {
        float c[SQ_LENSING_CONDITIONS], at = 0;
        conditions(1, 1.4, c);
        for (int high = 0; high < 2; high++) {
            at = c[i] = (float)net.domain[high][i];
            assert_false(sq_lensing_out_of_domain(&net, c));
            c[i] = nextafterf(at, high ? INFINITY : -INFINITY);
            assert_true(sq_lensing_out_of_domain(&net, c));
        }
        c[i] = NAN;
        assert_true(sq_lensing_out_of_domain(&net, c));
    }
}

/* The logarithm of no noise at all. */
static void test_noise_free(void **state)
{
    (void)state;
    sq_lensing_net net = net_of(0.1, 1, 10, 2);
    assert_true(outside(&net, 0, 1.4));
    assert_true(outside(&net, 1e-9, 1.4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_limits),
                                       cmocka_unit_test(test_noise_free)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
