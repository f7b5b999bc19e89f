/* Statistics against figures that scipy 1.10 and numpy 1.24 print for the same formulas:
 *   norm.ppf(p), norm.cdf(z); median(v) and 1.4826 median(|v - median(v)|) of
 *   v_i = 10 sin(1.7 i) + (i mod 7)^2; the Mann-Whitney U / (n0 n1) of rankdata(s) for
 *   s_i = round(sin(0.9 i) + 0.4 [i mod 3 = 0], 1), positive where i mod 3 = 0, i < 200. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "assess/statistics.h"
#include "base/mem.h"
#include "base/rng.h"

enum { REPLICAS = 400 };

static void normal_distribution(void **state)
{
    static const double p[8] = {1e-12, 0.001, 0.025, 0.16, 0.5, 0.9, 0.995, 1 - 1e-9};
    static const double z[8] = {
        -7.034483825301131, -3.090232306167813, -1.9599639845400545, -0.994457883209753, 0.0,
        1.2815515655446004, 2.5758293035489004, 5.997807019601637};
    (void)state;
    for (int i = 0; i < 8; i++)
        assert_true(fabs(sq_normal_quantile(p[i]) - z[i]) < 1e-8 * fmax(1, fabs(z[i])));
    for (int i = 0; i < 7; i++)
        assert_true(fabs(sq_normal_quantile(p[i]) - z[i]) < 1e-13 * fmax(1, fabs(z[i])));
    assert_true(isnan(sq_normal_quantile(0)) && isnan(sq_normal_quantile(1)));
    assert_true(fabs(sq_normal_cdf(-8) / 6.22096057427174e-16 - 1) < 1e-12);
    assert_true(fabs(sq_normal_cdf(0.3) - 0.6179114221889526) < 1e-15);
    assert_true(fabs(sq_normal_cdf(3) - 0.9986501019683699) < 1e-15);
}

static void quantiles_of_a_gaussian_give_its_score(void **state)
{
    static const double p[5] = {0.05, 0.16, 0.5, 0.84, 0.95};
    double value[5];
    (void)state;
    for (int k = 0; k < 5; k++)
        value[k] = 7 + 3 * sq_normal_quantile(p[k]);
    for (double truth = -20; truth < 30; truth += 0.37)
        assert_true(fabs(sq_quantile_score(5, p, value, truth) - (truth - 7) / 3) < 1e-12);
    assert_true(sq_quantile_score(5, p, value, 1e9) == 40);
    assert_true(isnan(sq_quantile_score(1, p, value, 7)));
    assert_true(isnan(sq_quantile_score(5, p, value, NAN)));
    value[2] = value[0] - 1;
    assert_true(isnan(sq_quantile_score(5, p, value, 7)));
    /* A point mass: below, above, within. */
    double same[2] = {2, 2};
    assert_true(sq_quantile_score(2, p, same, 1) == -40 && sq_quantile_score(2, p, same, 3) == 40);
}

static void medians(void **state)
{
    double v[101];
    int64_t block[101];
    sq_bootstrap *b;
    sq_estimate median, mad;
    (void)state;
    for (int i = 0; i < 101; i++) {
        v[i] = sin(i * 1.7) * 10 + (i % 7) * (i % 7);
        block[i] = i;
    }
    assert_int_equal(sq_bootstrap_create(3, 101, REPLICAS, &b), SQ_OK);
    assert_int_equal(sq_bootstrap_median(b, 101, v, block, &median, &mad), SQ_OK);
    assert_true(fabs(median.value - 10.150947682210798) < 1e-12);
    assert_true(fabs(mad.value - 15.584197055848776) < 1e-12);
    assert_true(median.error > 0.5 && median.error < 5);
    assert_int_equal(sq_bootstrap_median(b, 100, v, block, &median, &mad), SQ_OK);
    assert_true(fabs(median.value - 10.418402390707122) < 1e-12);
    assert_true(fabs(mad.value - 15.715026512085982) < 1e-12);
    assert_int_equal(sq_bootstrap_median(b, 0, v, block, &median, &mad), SQ_OK);
    assert_true(isnan(median.value) && isnan(median.error));
    sq_bootstrap_destroy(b);
}

/* The error of the median of n standard normals is sqrt(pi / 2 / n). */
static void error_of_a_median(void **state)
{
    enum { N = 2000 };
    static double v[N];
    static int64_t block[N];
    sq_bootstrap *b;
    sq_estimate median, mad;
    sq_rng rng;
    (void)state;
    sq_rng_init(&rng, 11, 1, 0);
    for (int i = 0; i < N; i++) {
        v[i] = sq_rng_normal(&rng);
        block[i] = i;
    }
    assert_int_equal(sq_bootstrap_create(5, N, REPLICAS, &b), SQ_OK);
    assert_int_equal(sq_bootstrap_median(b, N, v, block, &median, &mad), SQ_OK);
    double expected = sqrt(M_PI / 2 / N);
    assert_true(fabs(median.value) < 4 * expected);
    assert_true(fabs(median.error / expected - 1) < 0.25);
    assert_true(fabs(mad.value - 1) < 0.1);
    sq_bootstrap_destroy(b);
}

/* Blocks of m equal values: the error of a fraction is sqrt(m) times that of independent ones. */
static void errors_know_blocks(void **state)
{
    enum { BLOCKS = 500, M = 9 };
    static double part[BLOCKS], whole[BLOCKS];
    sq_bootstrap *b;
    sq_rng rng;
    double sum = 0;
    (void)state;
    sq_rng_init(&rng, 2, 1, 0);
    for (int i = 0; i < BLOCKS; i++) {
        whole[i] = M;
        part[i] = sq_rng_uniform(&rng) < 0.3 ? M : 0;
        sum += part[i];
    }
    assert_int_equal(sq_bootstrap_create(5, BLOCKS, REPLICAS, &b), SQ_OK);
    sq_estimate e = sq_bootstrap_ratio(b, part, whole);
    assert_true(fabs(e.value - sum / (BLOCKS * M)) < 1e-15);
    assert_true(fabs(e.error / sqrt(0.3 * 0.7 / BLOCKS) - 1) < 0.2);
    sq_estimate f1 = sq_bootstrap_f1(b, part, whole, whole, whole);
    assert_true(fabs(f1.value - 2 * e.value / (1 + e.value)) < 1e-15);
    static const double nothing[BLOCKS];
    assert_true(isnan(sq_bootstrap_ratio(b, nothing, nothing).value));
    assert_true(sq_bootstrap_f1(b, nothing, whole, nothing, whole).value == 0);
    sq_bootstrap_destroy(b);
}

static void area_under_the_curve(void **state)
{
    double score[200];
    uint8_t positive[200];
    int64_t block[200];
    sq_bootstrap *b;
    sq_estimate auc;
    (void)state;
    for (int i = 0; i < 200; i++) {
        positive[i] = i % 3 == 0;
        score[i] = rint((sin(i * 0.9) + 0.4 * positive[i]) * 10) / 10;
        block[i] = i;
    }
    assert_int_equal(sq_bootstrap_create(1, 200, REPLICAS, &b), SQ_OK);
    assert_int_equal(sq_bootstrap_auc(b, 200, score, positive, block, &auc), SQ_OK);
    assert_true(fabs(auc.value - 0.6545281113230839) < 1e-12);
    /* Hanley & McNeil (1982) give 0.042 for this area and these numbers. */
    assert_true(auc.error > 0.03 && auc.error < 0.055);
    assert_int_equal(sq_bootstrap_auc(b, 1, score, positive, block, &auc), SQ_OK);
    assert_true(isnan(auc.value));
    sq_bootstrap_destroy(b);
}

static void blocks_of_sky(void **state)
{
    enum { N = 5000 };
    static double ra[N], dec[N];
    static int64_t block[N];
    int64_t count, most = -1;
    (void)state;
    for (int i = 0; i < N; i++) {
        ra[i] = 359.8 + 0.4 * (i % 70) / 70.0;
        ra[i] -= ra[i] >= 360 ? 360 : 0;
        dec[i] = -0.2 + 0.4 * (i / 70) / 70.0;
    }
    ra[17] = NAN;
    assert_int_equal(sq_sky_blocks(N, ra, dec, 100, block, &count), SQ_OK);
    assert_true(count >= 100 && count < 800);
    assert_int_equal(block[17], -1);
    for (int i = 0; i < N; i++) {
        assert_true(block[i] < count);
        most = block[i] > most ? block[i] : most;
    }
    assert_int_equal(most, count - 1);
    /* Fewer points than blocks wanted: each its own. */
    assert_int_equal(sq_sky_blocks(3, ra, dec, 100, block, &count), SQ_OK);
    assert_int_equal(count, 3);
}

static void bad_use_is_refused(void **state)
{
    sq_bootstrap *b = NULL;
    (void)state;
    assert_int_equal(sq_bootstrap_create(1, 0, 10, &b), SQ_ERR_USAGE);
    sq_mem_fail_after(1);
    assert_int_equal(sq_bootstrap_create(1, 10, 10, &b), SQ_ERR_NOMEM);
    sq_mem_fail_after(-1);
    assert_null(b);
    assert_int_equal(sq_mem_held(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normal_distribution),
        cmocka_unit_test(quantiles_of_a_gaussian_give_its_score),
        cmocka_unit_test(medians),
        cmocka_unit_test(error_of_a_median),
        cmocka_unit_test(errors_know_blocks),
        cmocka_unit_test(area_under_the_curve),
        cmocka_unit_test(blocks_of_sky),
        cmocka_unit_test(bad_use_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
