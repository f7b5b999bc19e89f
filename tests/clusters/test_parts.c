/* Parts of the clusters probe by themselves: beams from text, holes, masses and completeness. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "clusters/beam.h"
#include "clusters/holes.h"
#include "clusters/mass.h"

static const double ARCMIN = M_PI / 180 / 60;
enum { LMAX = 12000 };

/* ---- beams ---- */

static sq_status parse(const char *text, double *out)
{
    return cluster_beam_parse("beam.txt", text, strlen(text), LMAX, out);
}

static void test_transfer_is_interpolated(void **state)
{
    (void)state;
    double *b = malloc((LMAX + 1) * sizeof *b);
    assert_int_equal(parse("# l b_l\n0 2\n1000, 1\n", b), SQ_ERR_DATA);
    assert_int_equal(parse("# l b_l\n0 2\n\n1000 1\n2000 0.5 0.01\n", b), SQ_OK);
    assert_true(fabs(b[0] - 1) < 1e-12 && fabs(b[500] - 0.75) < 1e-12);
    assert_true(fabs(b[1500] - 0.375) < 1e-12 && fabs(b[2000] - 0.25) < 1e-12);
    assert_true(b[2001] == 0 && b[LMAX] == 0);
    free(b);
}

/* Rows of arcmin and a profile: 0 a Gaussian of 1.4' FWHM, 1 an exponential of 0.5', whose
 * transforms are known. */
static char *profile_text(int kind, double step, double end)
{
    size_t n = (size_t)(end / step) + 2, at = 0;
    char *text = malloc(64 * n);
    double s = 1.4 / sqrt(8 * log(2));
    for (double x = 0; x <= end; x += step)
        at += (size_t)snprintf(text + at, 64, "%.6f %.9g\n", x,
                               kind ? 3 * exp(-x / 0.5) : exp(-0.5 * x * x / (s * s)));
    return text;
}

static void test_profile_is_transformed(void **state)
{
    (void)state;
    double *b = malloc((LMAX + 1) * sizeof *b), s = 1.4 / sqrt(8 * log(2)) * ARCMIN;
    for (int kind = 0; kind < 2; kind++) {
        char *text = profile_text(kind, 0.02, 12);
        assert_int_equal(parse(text, b), SQ_OK);
        for (int l = 0; l <= LMAX; l += 7) {
            double want =
                kind ? pow(1 + pow(l * 0.5 * ARCMIN, 2), -1.5) : exp(-0.5 * l * l * s * s);
            assert_true(fabs(b[l] - want) < 1e-3);
        }
        free(text);
    }
    free(b);
}

/* A transfer function becomes its profile, whose rows give it again. */
static void test_profile_and_back(void **state)
{
    (void)state;
    enum { N = 400 };
    double *b = malloc((LMAX + 1) * sizeof *b), *again = malloc((LMAX + 1) * sizeof *b), profile[N];
    double s = 2.6 / sqrt(8 * log(2)) * ARCMIN, step = 0.03, sum = 0;
    for (int l = 0; l <= LMAX; l++)
        b[l] = exp(-0.5 * l * (l + 1.0) * s * s);
    cluster_beam_profile(b, LMAX, step * ARCMIN, N, profile);
    char *text = malloc(64 * N);
    size_t at = 0;
    for (int i = 0; i < N; i++) {
        sum += profile[i] * 2 * M_PI * i * pow(step * ARCMIN, 2);
        at += (size_t)snprintf(text + at, 64, "%.6f %.9g\n", i * step, profile[i]);
    }
    assert_true(fabs(sum - 1) < 2e-3);
    assert_int_equal(parse(text, again), SQ_OK);
    for (int l = 0; l <= LMAX; l += 11)
        assert_true(fabs(again[l] - b[l]) < 1e-3);
    free(text);
    free(b);
    free(again);
}

static void test_bad_beams(void **state)
{
    (void)state;
    static const struct {
        const char *text, *where;
    } bad[] = {{"", "beam.txt: "},
               {"0 1\n", "beam.txt: "},
               {"0 1\n700 0\n", "beam.txt: "},
               {"0 0\n2000 1\n", "beam.txt: "},
               {"0 1\n10 x\n", "beam.txt:2:"},
               {"0 1\n10 nan\n", "beam.txt:2:"},
               {"0 1\n\n10 1\n10 1\n", "beam.txt:4:"},
               {"-1 1\n2000 1\n", "beam.txt:1:"}};
    double *b = malloc((LMAX + 1) * sizeof *b);
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        assert_int_equal(parse(bad[k].text, b), SQ_ERR_DATA);
        assert_non_null(strstr(sq_error(), bad[k].where));
    }
    free(b);
}

/* ---- holes ---- */

enum { SIDE = 128 };

static void test_fill(void **state)
{
    (void)state;
    static float map[SIDE * SIDE];
    static uint8_t valid[SIDE * SIDE];
    for (int i = 0; i < SIDE * SIDE; i++) {
        int x = i % SIDE, y = i / SIDE;
        valid[i] = hypot(x - 60, y - 50) > 9 && !(x > 100 && y < 20);
        map[i] = valid[i] ? (float)(3 + 0.1 * x - 0.05 * y) : NAN;
    }
    assert_int_equal(cluster_fill(SIDE, SIDE, valid, map), SQ_OK);
    for (int i = 0; i < SIDE * SIDE; i++) {
        int x = i % SIDE, y = i / SIDE;
        double plane = 3 + 0.1 * x - 0.05 * y;
        /* What is known stays; a slope goes on over a hole, and no step is left at its border.
         * A corner takes the values beside it. */
        if (valid[i])
            assert_true(map[i] == (float)plane);
        else if (x > 100)
            assert_true(map[i] > 11 && map[i] < 14.5);
        else
            assert_true(fabs(map[i] - plane) < 0.5);
        if (x > 0 && x < 96)
            assert_true(fabsf(map[i] - map[i - 1]) < 0.5f);
    }
    memset(valid, 0, sizeof valid);
    assert_int_equal(cluster_fill(SIDE, SIDE, valid, map), SQ_OK);
    for (int i = 0; i < SIDE * SIDE; i++)
        assert_true(map[i] == 0);
}

static void test_window(void **state)
{
    (void)state;
    static float window[SIDE * SIDE];
    static uint8_t valid[SIDE * SIDE];
    sq_flat flat = {SIDE, SIDE, 0.5 * ARCMIN, 0.5 * ARCMIN};
    for (int i = 0; i < SIDE * SIDE; i++) {
        int x = i % SIDE, y = i / SIDE;
        /* A large hole at a corner of cells, and one of a few pixels. */
        valid[i] = !(x >= 64 && x < 80 && y >= 64 && y < 80) && !(x == 30 && y > 60 && y < 64);
    }
    assert_int_equal(cluster_window(&flat, valid, 8 * ARCMIN, window), SQ_OK);
    assert_true(window[72 * SIDE + 72] == 0 && window[0] < 0.2);
    assert_true(window[62 * SIDE + 30] == 1 && window[30 * SIDE + 64] == 1);
    for (int x = 81; x < 100; x++)
        assert_true(window[72 * SIDE + x] >= window[72 * SIDE + x - 1]);
    for (int i = 0; i < SIDE * SIDE; i++)
        assert_true(window[i] >= 0 && window[i] <= 1);
}

/* ---- masses ---- */

typedef struct fixture {
    cluster_settings settings;
    double ghz[1], *transfer;
    cluster_patch *patch;
    cluster_masses *masses;
} fixture;

static void make(fixture *f, double scatter)
{
    enum { N = 256 };
    cluster_settings_defaults(&f->settings);
    f->ghz[0] = 150;
    f->settings.ghz = (sq_config_reals){.value = f->ghz, .count = 1};
    f->settings.scatter = scatter;
    f->transfer = malloc((LMAX + 1) * sizeof *f->transfer);
    for (int l = 0; l <= LMAX; l++)
        f->transfer[l] = exp(-0.5 * pow(l * 0.6 * ARCMIN, 2));
    cluster_setup setup = {
        .settings = &f->settings, .nband = 1, .side = N, .lmax = LMAX, .transfer = {f->transfer}};
    assert_int_equal(cluster_patch_create(&setup, &f->patch), SQ_OK);
    cluster_input in = {.nband = 1, .side = N, .held = N * N};
    in.map[0] = malloc(N * N * sizeof(float));
    in.noise[0] = malloc(N * N * sizeof(float));
    srand(3);
    for (int i = 0; i < N * N; i++) {
        double uniform = 0;
        for (int k = 0; k < 12; k++)
            uniform += rand() / (double)RAND_MAX;
        in.map[0][i] = (float)(20 * (uniform - 6));
        in.noise[0][i] = 10;
    }
    assert_int_equal(cluster_patch_run(f->patch, &in), SQ_OK);
    free(in.map[0]);
    free(in.noise[0]);
    assert_int_equal(cluster_masses_create(&f->settings, &f->masses), SQ_OK);
}

static void drop(fixture *f)
{
    cluster_masses_destroy(f->masses);
    cluster_patch_destroy(f->patch);
    free(f->transfer);
}

/* What the filter sees of a cluster of mass m, and its slope in ln m. */
static double seen(const fixture *f, double m, double *slope)
{
    double y[3];
    for (int k = 0; k < 3; k++) {
        double theta, y0;
        cluster_truth(f->masses, m * pow(1.1, k - 1), f->settings.redshift, &y0, &theta);
        y[k] = y0 * cluster_patch_response(f->patch, theta);
    }
    *slope = log(y[2] / y[0]) / (2 * log(1.1));
    return y[1];
}

static void test_mass_inverts_the_relation(void **state)
{
    (void)state;
    fixture f = {.transfer = NULL};
    make(&f, 0.1);
    for (double m = 6e13; m < 1.2e15; m *= 1.7) {
        double slope, ln_mass, ln_error, y0 = seen(&f, m, &slope);
        assert_true(slope > f.settings.slope && slope < f.settings.slope + 0.67);
        cluster_mass(f.masses, f.patch, y0, 0.02 * y0, &ln_mass, &ln_error);
        assert_true(fabs(ln_mass - log(m)) < 0.03);
        assert_true(fabs(ln_error / (hypot(0.1, 0.02) / slope) - 1) < 0.1);
    }
    drop(&f);
}

/* With a larger error the steep mass function says that the cluster is lighter, and is all there is
 * when nothing is measured. */
static void test_mass_leans_to_the_population(void **state)
{
    (void)state;
    fixture f = {.transfer = NULL};
    make(&f, 0.2);
    double slope, sharp, wide, error[2], nothing[2], y0 = seen(&f, 3e14, &slope);
    cluster_mass(f.masses, f.patch, y0, 0.02 * y0, &sharp, &error[0]);
    cluster_mass(f.masses, f.patch, y0, 0.15 * y0, &wide, &error[1]);
    assert_true(wide < sharp && sharp < log(3e14) && sharp > log(3e14) - 0.2);
    assert_true(fabs(error[0] / (0.2 / slope) - 1) < 0.1 && error[1] > error[0]);
    cluster_mass(f.masses, f.patch, y0, 1e3 * y0, &nothing[0], &error[0]);
    cluster_mass(f.masses, f.patch, -y0, 1e3 * y0, &nothing[1], &error[1]);
    assert_true(fabs(nothing[0] - nothing[1]) < 1e-2 && nothing[0] < log(5e13));
    drop(&f);
}

static void test_completeness(void **state)
{
    (void)state;
    fixture f = {.transfer = NULL};
    const double theta[] = {0.5 * ARCMIN, 2 * ARCMIN, 8 * ARCMIN};
    const float sigma[] = {2e-5f, 1e-5f, 5e-6f};
    double y0, size, last = 0;
    make(&f, 0);
    for (double m = 5e13; m < 1e15; m *= 1.3) {
        cluster_truth(f.masses, m, 0.6, &y0, &size);
        /* The noise falls as a power of theta here. */
        double q = y0 / (1e-5 * pow(size / (2 * ARCMIN), -0.5));
        double want = 0.5 * erfc((5 - sqrt(q * q + 3)) / sqrt(2));
        double got = cluster_completeness(f.masses, m, 0.6, 3, theta, sigma, 5);
        assert_true(fabs(got - want) < 1e-6 && got >= last);
        last = got;
    }
    assert_true(last > 0.999);
    drop(&f);
    /* Scatter widens the fall: half stays half, the ends move towards it. */
    make(&f, 0.3);
    cluster_truth(f.masses, 4e14, 0.6, &y0, &size);
    float level[] = {(float)y0 / 8, (float)y0 / 8, (float)y0 / 8};
    double high = cluster_completeness(f.masses, 4e14, 0.6, 3, theta, level, 5);
    assert_true(high < 0.97 && high > 0.85);
    drop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transfer_is_interpolated),
        cmocka_unit_test(test_profile_is_transformed),
        cmocka_unit_test(test_profile_and_back),
        cmocka_unit_test(test_bad_beams),
        cmocka_unit_test(test_fill),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_mass_inverts_the_relation),
        cmocka_unit_test(test_mass_leans_to_the_population),
        cmocka_unit_test(test_completeness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
