/* The prior of y0 and theta500: its posterior against sums over the halos themselves. */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/mem.h"
#include "clusters/population.h"

enum { SCALES = 4, SCALE = 1 };
static const double ARCMIN = M_PI / 180 / 60;
static const double THETA[SCALES] = {0.75, 1.5, 3, 6}; /* arcmin */

typedef struct halo {
    double y0, number;
} halo;

typedef struct halos {
    halo *halo;
    size_t count, capacity;
} halos;

typedef struct fixture {
    cluster_settings settings;
    cluster_masses *masses;
    cluster_population *population;
    halos at; /* that count for the scale SCALE */
} fixture;

static void keep(void *to, double y0, double theta, double number)
{
    halos *h = to;
    double t = fabs(log(theta / (THETA[SCALE] * ARCMIN))) / M_LN2;
    if (t >= 1)
        return;
    assert_int_equal(SQ_GROW(h->halo, h->capacity, h->count + 1, "halos"), SQ_OK);
    h->halo[h->count++] = (halo){y0, number * (1 - t)};
}

static int ascending(const void *a, const void *b)
{
    const halo *p = a, *q = b;
    return (p->y0 > q->y0) - (p->y0 < q->y0);
}

static int make(void **state)
{
    fixture *f = NULL;
    double theta[SCALES];
    assert_int_equal(SQ_ALLOC(f, 1, "fixture"), SQ_OK);
    cluster_settings_defaults(&f->settings);
    for (int s = 0; s < SCALES; s++)
        theta[s] = THETA[s] * ARCMIN;
    assert_int_equal(cluster_masses_create(&f->settings, &f->masses), SQ_OK);
    assert_int_equal(cluster_population_create(f->masses, SCALES, theta, &f->population), SQ_OK);
    assert_int_equal(cluster_count(f->masses, keep, &f->at), SQ_OK);
    qsort(f->at.halo, f->at.count, sizeof(halo), ascending);
    *state = f;
    return 0;
}

static int drop(void **state)
{
    fixture *f = *state;
    cluster_population_destroy(f->population);
    cluster_masses_destroy(f->masses);
    sq_free(f->at.halo);
    sq_free(f);
    return 0;
}

/* y0 below which a share of the halos lies that a S/N of q makes likely. */
static double quantile(const fixture *f, double q, double sigma, double width, double share)
{
    double sum = 0, below = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t k = 0; k < f->at.count; k++) {
            double x = (f->at.halo[k].y0 / sigma - q) / width;
            double w = f->at.halo[k].number * exp(-0.5 * x * x);
            sum += pass ? 0 : w;
            below += pass ? w : 0;
            if (pass && below >= share * sum)
                return f->at.halo[k].y0;
        }
    }
    return NAN;
}

/* Where one scale alone sees a cluster: the median and the errors of all halos that look like it,
 * which are fainter than they look. */
static void test_population(void **state)
{
    const fixture *f = *state;
    const double sigma[SCALES] = {8e-6, 5e-6, 3e-6, 2e-6};
    for (double q = 4; q < 40; q *= 1.6) {
        double snr[SCALES] = {-1, -1, -1, -1}, width = sqrt(1 + pow(0.05 * q, 2));
        cluster_fit fit;
        snr[SCALE] = q;
        cluster_population_fit(f->population, snr, sigma, &fit);
        double median = quantile(f, q, sigma[SCALE], width, 0.5);
        double error = 0.5 * (quantile(f, q, sigma[SCALE], width, 0.8413) -
                              quantile(f, q, sigma[SCALE], width, 0.1587));
        print_message("S/N %.1f: y0 %.3g, halos %.3g +- %.2g, filter %.3g\n", q, fit.y0, median,
                      error, q * sigma[SCALE]);
        assert_true(fabs(fit.y0 / median - 1) < 0.01);
        assert_true(fabs(fit.y0_error / error - 1) < 0.05);
        assert_true(fit.y0 < q * sigma[SCALE]);
        assert_true(fabs(fit.ln_theta - log(THETA[SCALE] * ARCMIN)) < 1e-9);
        assert_true(fit.ln_theta_err < 1e-6);
    }
}

/* Scales that say the same: sizes as often as halos have them, small ones when y0 is small. */
static void test_sizes(void **state)
{
    const fixture *f = *state;
    cluster_fit small, large;
    const double q[SCALES] = {6, 6, 6, 6};
    const double faint[SCALES] = {4e-6, 4e-6, 4e-6, 4e-6},
                 bright[SCALES] = {4e-5, 4e-5, 4e-5, 4e-5};
    cluster_population_fit(f->population, q, faint, &small);
    cluster_population_fit(f->population, q, bright, &large);
    assert_true(small.ln_theta < large.ln_theta - 0.2 && small.ln_theta_err > 0.2);
    assert_true(exp(small.ln_theta) > THETA[0] * ARCMIN &&
                exp(large.ln_theta) < THETA[SCALES - 1] * ARCMIN);
}

/* What no halo is like keeps what the filter says. */
static void test_unforeseen(void **state)
{
    const fixture *f = *state;
    cluster_fit fit;
    const double q[SCALES] = {10, 20, 40, 60}, sigma[SCALES] = {2e-4, 2e-4, 2e-4, 2e-4};
    cluster_population_fit(f->population, q, sigma, &fit);
    assert_true(fabs(fit.y0 / (60 * 2e-4) - 1) < 0.1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_population),
                                       cmocka_unit_test(test_sizes),
                                       cmocka_unit_test(test_unforeseen)};
    return cmocka_run_group_tests(tests, make, drop);
}
