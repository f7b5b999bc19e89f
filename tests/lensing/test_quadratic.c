/* Quadratic estimators: N0 against an independent curved-sky code, and kappa against maps that were
 * lensed by exact sums over modes. */
#include <complex.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "lensing/iterative.h"
#include "lensing/quadratic.h"
#include "sim/spectra.h"

enum { LMAX = 4600, SIDE = 64, DRAWS = 24, BINS = 3 };
static const double ARCMIN = M_PI / 180 / 60;

static double spectrum[SQ_FIDUCIAL_COUNT][LMAX + 1], total[3][LMAX + 1];

static void add_noise(const double *tt, const double *ee, const double *bb, double nt, double np,
                      double fwhm)
{
    double sigma = fwhm * ARCMIN / sqrt(8 * log(2));
    for (int l = 0; l <= LMAX; l++) {
        double beam = exp((double)l * (l + 1) * sigma * sigma);
        total[0][l] = tt[l] + pow(nt * ARCMIN, 2) * beam;
        total[1][l] = ee[l] + pow(np * ARCMIN, 2) * beam;
        total[2][l] = bb[l] + pow(np * ARCMIN, 2) * beam;
    }
}

static int read_columns(const char *path, double (*out)[LMAX + 1])
{
    FILE *file = fopen(path, "r");
    char line[1024];
    if (!file)
        return 0;
    while (fgets(line, sizeof line, file)) {
        int l;
        double v[4];
        if (sscanf(line, "%d %lf %lf %lf %lf", &l, v, v + 1, v + 2, v + 3) == 5 && l > 1 &&
            l <= LMAX)
            for (int i = 0; i < 4; i++)
                out[i][l] = v[i] * 2 * M_PI / ((double)l * (l + 1));
    }
    fclose(file);
    return 1;
}

/* The fixtures that came with the project's data: N0 by L. */
static int read_fixture(double (*out)[8], double lensed[4][LMAX + 1])
{
    const char *shared = getenv("SQ_SHARED");
    char path[1024], line[1024];
    snprintf(path, sizeof path, "%s/data/cmb/ffp10/FFP10_wdipole_lensedCls.dat",
             shared ? shared : "");
    if (!read_columns(path, lensed))
        return 0;
    snprintf(path, sizeof path,
             "%s/data/cmb/fixtures/N0kk_tempura_FFP10_nT0.707_nP1.0_fwhm1.0_l100-3000.csv", shared);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    while (fgets(line, sizeof line, file)) {
        double v[8];
        if (sscanf(line, "%lf,%lf,%lf,%lf,%lf,%lf,%lf,%lf", v, v + 1, v + 2, v + 3, v + 4, v + 5,
                   v + 6, v + 7) == 8 &&
            v[0] <= 5000)
            memcpy(out[(int)v[0]], v, sizeof v);
    }
    fclose(file);
    return 1;
}

/* Harmonic mean over a ring, as sq_quadratic_ring takes it. */
static double fixture_ring(double (*fixture)[8], int column, int centre, int half)
{
    double sum = 0, weight = 0;
    for (int l = centre - half; l < centre + half; l++) {
        sum += l / fixture[l][column];
        weight += l;
    }
    return weight / sum;
}

/* N0 of the flat sky at 512^2 against tempura's curved N0 for FFP10, which takes lensed spectra in
 * weights and responses: TT and EB within 0.3%, the others within 1%. */
static void test_n0(void **state)
{
    (void)state;
    static double lensed[4][LMAX + 1], fixture[5001][8], n0[512 * 257];
    static const int at[] = {100, 300, 500, 1000, 1500, 2000};
    if (!read_fixture(fixture, lensed))
        skip();
    add_noise(lensed[0], lensed[1], lensed[2], sqrt(0.5), 1, 1);
    sq_flat flat = {512, 512, 20 * 60 * ARCMIN / 512, 20 * 60 * ARCMIN / 512};
    sq_qe_spectra s = {.weight_tt = lensed[0],
                       .weight_ee = lensed[1],
                       .weight_te = lensed[3],
                       .total_tt = total[0],
                       .total_ee = total[1],
                       .total_bb = total[2]};
    sq_quadratic *q;
    assert_int_equal(sq_quadratic_create(&flat, 100, 3000, &s, &q), SQ_OK);
    for (int e = 0; e < SQ_QE_COUNT; e++) {
        assert_int_equal(sq_quadratic_n0(q, (sq_qe)e, n0), SQ_OK);
        for (int i = 0; i < 6; i++) {
            double value;
            int half = at[i] < 400 ? 20 : 30;
            sq_quadratic_ring(&flat, n0, at[i], 2 * half, 1, &value);
            double ratio = value / fixture_ring(fixture, 2 + e, at[i], half);
            double most = e == SQ_QE_TT || e == SQ_QE_EB ? (at[i] < 2000 ? 0.003 : 0.004) : 0.01;
            print_message("%s L %d: %.4f\n", sq_qe_name((sq_qe)e), at[i], ratio);
            assert_true(fabs(ratio - 1) < most);
        }
    }
    sq_quadratic_destroy(q);
}

/* The potential's power of the fixtures' cosmology, from their column of kappa. */
static const double *fixture_phi(void)
{
    static double phi[LMAX + 1], lensed[4][LMAX + 1], fixture[5001][8];
    assert_true(read_fixture(fixture, lensed));
    for (int l = 2; l <= LMAX; l++)
        phi[l] = 4 * fixture[l][1] / pow((double)l * (l + 1), 2);
    return phi;
}

/* Iterated EB against tempura's, which delenses with phi from L = 100: within 2%; and lensing B
 * modes to first order against CAMB's: within 2%. */
static void test_iterative(void **state)
{
    (void)state;
    static double lensed[4][LMAX + 1], fixture[5001][8], n0[512 * 257], bb[LMAX + 1];
    static const int at[] = {100, 300, 500, 1000, 1500, 2000};
    sq_flat flat = {512, 512, 20 * 60 * ARCMIN / 512, 20 * 60 * ARCMIN / 512};
    for (int k = 0; k < SQ_FIDUCIAL_COUNT; k++)
        assert_int_equal(sq_fiducial_spectrum((sq_fiducial)k, LMAX, spectrum[k]), SQ_OK);
    assert_int_equal(
        sq_lensing_bb(&flat, 4500, spectrum[SQ_UNLENSED_EE], spectrum[SQ_POTENTIAL], bb), SQ_OK);
    for (int l = 100; l < 2000; l += 50)
        assert_true(fabs(bb[l] / spectrum[SQ_LENSED_BB][l] - 1) < 0.02);
    if (!read_fixture(fixture, lensed))
        skip();
    add_noise(lensed[0], lensed[1], lensed[2], sqrt(0.5), 1, 1);
    sq_qe_spectra s = {.weight_tt = lensed[0],
                       .weight_ee = lensed[1],
                       .weight_te = lensed[3],
                       .total_tt = total[0],
                       .total_ee = total[1],
                       .total_bb = total[2]};
    assert_int_equal(sq_iterative_n0(&flat, 100, 3000, &s, lensed[2], fixture_phi(), 100, n0, NULL),
                     SQ_OK);
    for (int i = 0; i < 6; i++) {
        double value;
        int half = at[i] < 400 ? 20 : 30;
        sq_quadratic_ring(&flat, n0, at[i], 2 * half, 1, &value);
        double ratio = value / fixture_ring(fixture, 7, at[i], half);
        print_message("EB iterated L %d: %.4f\n", at[i], ratio);
        assert_true(fabs(ratio - 1) < 0.02);
    }
}

typedef struct draw {
    sq_flat flat;
    sq_fft *fft;
    double _Complex *t, *e, *b, *phi, *work[2];
    double *map[3], *gx, *gy;
} draw;

/* The band-limited field at displaced points: the sum over its modes. */
static void displaced(const draw *d, const double _Complex *modes, double *out)
{
    int columns = SIDE / 2 + 1;
    double ly[SIDE], lx[SIDE / 2 + 1];
    sq_flat_axes(&d->flat, ly, lx);
    for (int i = 0; i < SIDE * SIDE; i++) {
        double x = (i % SIDE) * d->flat.dx + d->gx[i], y = (i / SIDE) * d->flat.dy + d->gy[i];
        double sum = 0;
        double _Complex step = cexp(I * lx[1] * x);
        for (int v = 0; v < SIDE; v++) {
            double _Complex phase = cexp(I * ly[v] * y);
            for (int u = 0; u < columns; u++, phase *= step)
                sum += sq_flat_weight(&d->flat, u) * creal(modes[v * columns + u] * phase);
        }
        out[i] = sum / (SIDE * SIDE);
    }
}

static void make_draw(draw *d)
{
    int64_t modes;
    *d = (draw){.flat = {SIDE, SIDE, 2.34375 * ARCMIN, 2.34375 * ARCMIN}};
    modes = sq_flat_modes(&d->flat);
    double _Complex **all[] = {&d->t, &d->e, &d->b, &d->phi, &d->work[0], &d->work[1]};
    assert_int_equal(sq_fft_create(SIDE, SIDE, &d->fft), SQ_OK);
    for (int i = 0; i < 6; i++)
        assert_int_equal(sq_alloc(all[i], (size_t)modes, sizeof(double _Complex), "modes"), SQ_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(SQ_ALLOC(d->map[i], SIDE * SIDE, "map"), SQ_OK);
    assert_int_equal(SQ_ALLOC(d->gx, SIDE * SIDE, "map"), SQ_OK);
    assert_int_equal(SQ_ALLOC(d->gy, SIDE * SIDE, "map"), SQ_OK);
}

static void drop_draw(draw *d)
{
    double _Complex *all[] = {d->t, d->e, d->b, d->phi, d->work[0], d->work[1]};
    for (int i = 0; i < 6; i++)
        sq_free(all[i]);
    for (int i = 0; i < 3; i++)
        sq_free(d->map[i]);
    sq_free(d->gx);
    sq_free(d->gy);
    sq_fft_destroy(d->fft);
}

/* T, E and phi; T, Q and U lensed; white noise; back to T, E and B. phi keeps its own modes. */
static void lens(draw *d, uint64_t seed, double nt, double np, double factor)
{
    const double *cl[9] = {spectrum[SQ_UNLENSED_TT], NULL, NULL, spectrum[SQ_UNLENSED_TE],
                           spectrum[SQ_UNLENSED_EE], NULL, NULL, NULL,
                           spectrum[SQ_POTENTIAL]};
    double _Complex *const field[3] = {d->t, d->e, d->phi};
    int64_t modes = sq_flat_modes(&d->flat);
    sq_rng rng;
    sq_rng_init(&rng, 20533, 1, seed);
    assert_int_equal(sq_field_set(d->fft, &d->flat, &rng, 3, cl, LMAX, field), SQ_OK);
    for (int64_t k = 0; k < modes; k++)
        d->phi[k] *= factor;
    sq_filter_gradient(&d->flat, 1, d->phi, d->work[0]);
    sq_fft_backward(d->fft, d->work[0], d->gx);
    sq_filter_gradient(&d->flat, 0, d->phi, d->work[0]);
    sq_fft_backward(d->fft, d->work[0], d->gy);
    memcpy(d->work[0], d->e, (size_t)modes * sizeof *d->e);
    memset(d->work[1], 0, (size_t)modes * sizeof *d->e);
    sq_filter_eb_to_qu(&d->flat, d->work[0], d->work[1]);
    displaced(d, d->t, d->map[0]);
    displaced(d, d->work[0], d->map[1]);
    displaced(d, d->work[1], d->map[2]);
    for (int i = 0; i < 3 * SIDE * SIDE; i++)
        d->map[i / (SIDE * SIDE)][i % (SIDE * SIDE)] +=
            (i < SIDE * SIDE ? nt : np) / 2.34375 * sq_rng_normal(&rng);
    sq_fft_forward(d->fft, d->map[0], d->t);
    sq_fft_forward(d->fft, d->map[1], d->e);
    sq_fft_forward(d->fft, d->map[2], d->b);
    sq_filter_qu_to_eb(&d->flat, d->e, d->b);
}

/* Mean cross power of the estimate with the true kappa over the power of the latter is 1 for every
 * estimator; without lensing it is 0. */
static void test_unbiased(void **state)
{
    (void)state;
    static const double edges[BINS + 1] = {200, 600, 1000, 1600};
    draw d;
    sq_quadratic *q;
    double _Complex *kappa[SQ_QE_COUNT + 1], *truth = NULL;
    double cross[SQ_QE_COUNT + 1][BINS] = {{0}}, power[BINS] = {0},
                               square[SQ_QE_COUNT + 1][BINS] = {{0}};
    make_draw(&d);
    int64_t modes = sq_flat_modes(&d.flat);
    for (int k = 0; k < SQ_FIDUCIAL_COUNT; k++)
        assert_int_equal(sq_fiducial_spectrum((sq_fiducial)k, LMAX, spectrum[k]), SQ_OK);
    add_noise(spectrum[SQ_LENSED_TT], spectrum[SQ_LENSED_EE], spectrum[SQ_LENSED_BB], sqrt(0.5), 1,
              0);
    sq_qe_spectra s = {.weight_tt = spectrum[SQ_LENSED_TT],
                       .weight_ee = spectrum[SQ_LENSED_EE],
                       .weight_te = spectrum[SQ_LENSED_TE],
                       .response_tt = spectrum[SQ_GRADIENT_TT],
                       .response_ee = spectrum[SQ_GRADIENT_EE],
                       .response_te = spectrum[SQ_GRADIENT_TE],
                       .total_tt = total[0],
                       .total_ee = total[1],
                       .total_bb = total[2]};
    assert_int_equal(sq_quadratic_create(&d.flat, 100, 3000, &s, &q), SQ_OK);
    for (int e = 0; e <= SQ_QE_COUNT; e++)
        assert_int_equal(SQ_ALLOC(kappa[e], modes, "kappa"), SQ_OK);
    assert_int_equal(SQ_ALLOC(truth, modes, "kappa"), SQ_OK);
    for (uint64_t seed = 0; seed < DRAWS; seed++) {
        double now[BINS], own[BINS];
        lens(&d, seed, sqrt(0.5), 1, 1);
        double ly[SIDE], lx[SIDE / 2 + 1];
        sq_flat_axes(&d.flat, ly, lx);
        for (int64_t k = 0; k < modes; k++)
            truth[k] =
                0.5 * (pow(ly[k / (SIDE / 2 + 1)], 2) + pow(lx[k % (SIDE / 2 + 1)], 2)) * d.phi[k];
        for (int e = 0; e < SQ_QE_COUNT; e++)
            assert_int_equal(sq_quadratic_estimate(q, (sq_qe)e, d.t, d.e, d.b, kappa[e]), SQ_OK);
        assert_int_equal(sq_quadratic_combine(q, (1u << SQ_QE_COUNT) - 1,
                                              (const double _Complex *const *)kappa,
                                              kappa[SQ_QE_COUNT]),
                         SQ_OK);
        sq_spectrum(&d.flat, truth, truth, 1, BINS, edges, NULL, own, NULL);
        for (int b = 0; b < BINS; b++)
            power[b] += own[b];
        for (int e = 0; e <= SQ_QE_COUNT; e++) {
            sq_spectrum(&d.flat, kappa[e], truth, 1, BINS, edges, NULL, now, NULL);
            for (int b = 0; b < BINS; b++) {
                cross[e][b] += now[b];
                square[e][b] += pow(now[b] - own[b], 2);
            }
        }
    }
    /* Within four standard errors, as the draws scatter, and 1.5%. */
    for (int e = 0; e <= SQ_QE_COUNT; e++) {
        for (int b = 0; b < BINS; b++) {
            double error = sqrt(square[e][b]) / power[b];
            print_message("%s bin %d: %.3f +- %.3f\n",
                          e < SQ_QE_COUNT ? sq_qe_name((sq_qe)e) : "MV", b, cross[e][b] / power[b],
                          error);
            assert_true(fabs(cross[e][b] / power[b] - 1) < 4 * error + 0.015);
            assert_true(error < 0.25);
        }
    }
    for (int e = 0; e <= SQ_QE_COUNT; e++)
        sq_free(kappa[e]);
    sq_free(truth);
    sq_quadratic_destroy(q);
    drop_draw(&d);
}

/* Noise of the estimate from unlensed maps with the power that the estimator expects is N0. */
static void test_noise(void **state)
{
    (void)state;
    static const double edges[2] = {300, 1500};
    draw d;
    sq_quadratic *q;
    double _Complex *kappa = NULL;
    double *n0 = NULL, sum[SQ_QE_COUNT] = {0}, want[SQ_QE_COUNT] = {0};
    make_draw(&d);
    int64_t modes = sq_flat_modes(&d.flat);
    for (int k = 0; k < SQ_FIDUCIAL_COUNT; k++)
        assert_int_equal(sq_fiducial_spectrum((sq_fiducial)k, LMAX, spectrum[k]), SQ_OK);
    add_noise(spectrum[SQ_UNLENSED_TT], spectrum[SQ_UNLENSED_EE], spectrum[SQ_LENSED_BB], 5, 5, 0);
    for (int l = 0; l <= LMAX; l++)
        total[2][l] -= spectrum[SQ_LENSED_BB][l];
    sq_qe_spectra s = {.weight_tt = spectrum[SQ_UNLENSED_TT],
                       .weight_ee = spectrum[SQ_UNLENSED_EE],
                       .weight_te = spectrum[SQ_UNLENSED_TE],
                       .total_tt = total[0],
                       .total_ee = total[1],
                       .total_bb = total[2]};
    assert_int_equal(sq_quadratic_create(&d.flat, 100, 3000, &s, &q), SQ_OK);
    assert_int_equal(SQ_ALLOC(kappa, modes, "kappa"), SQ_OK);
    assert_int_equal(SQ_ALLOC(n0, modes, "noise"), SQ_OK);
    for (uint64_t seed = 100; seed < 100 + 2 * DRAWS; seed++) {
        lens(&d, seed, 5, 5, 0);
        for (int e = 0; e < SQ_QE_COUNT; e++) {
            double now;
            assert_int_equal(sq_quadratic_estimate(q, (sq_qe)e, d.t, d.e, d.b, kappa), SQ_OK);
            assert_int_equal(sq_quadratic_n0(q, (sq_qe)e, n0), SQ_OK);
            /* Each mode against its own N0. */
            for (int64_t k = 0; k < modes; k++)
                kappa[k] = isfinite(n0[k]) && n0[k] > 0 ? kappa[k] / sqrt(n0[k]) : 0;
            sq_spectrum(&d.flat, kappa, kappa, 1, 1, edges, NULL, &now, NULL);
            sum[e] += now;
            want[e] += 1;
        }
    }
    for (int e = 0; e < SQ_QE_COUNT; e++) {
        print_message("%s: noise over N0 %.3f\n", sq_qe_name((sq_qe)e), sum[e] / want[e]);
        assert_true(fabs(sum[e] / want[e] - 1) < (e == SQ_QE_TE ? 0.06 : 0.03));
    }
    sq_free(kappa);
    sq_free(n0);
    sq_quadratic_destroy(q);
    drop_draw(&d);
}

static void test_refusals(void **state)
{
    (void)state;
    sq_flat flat = {64, 64, 3 * ARCMIN, 3 * ARCMIN};
    sq_quadratic *q;
    double *n0 = NULL;
    static double zero[LMAX + 1];
    for (int k = 0; k < SQ_FIDUCIAL_COUNT; k++)
        assert_int_equal(sq_fiducial_spectrum((sq_fiducial)k, LMAX, spectrum[k]), SQ_OK);
    add_noise(spectrum[SQ_LENSED_TT], spectrum[SQ_LENSED_EE], spectrum[SQ_LENSED_BB], 1, 1, 0);
    sq_qe_spectra s = {.weight_tt = spectrum[SQ_LENSED_TT], .total_tt = total[0]};
    assert_int_equal(sq_quadratic_create(&flat, 100, 3000, &s, &q), SQ_ERR_USAGE); /* aliases */
    assert_int_equal(sq_quadratic_create(&flat, 100, 90, &s, &q), SQ_ERR_USAGE);
    s.total_tt = zero;
    assert_int_equal(sq_quadratic_create(&flat, 100, 2000, &s, &q), SQ_ERR_DATA);
    /* Temperature alone works; what needs polarisation says so. */
    s.total_tt = total[0];
    assert_int_equal(sq_quadratic_create(&flat, 100, 2000, &s, &q), SQ_OK);
    assert_int_equal(SQ_ALLOC(n0, sq_flat_modes(&flat), "noise"), SQ_OK);
    assert_int_equal(sq_quadratic_n0(q, SQ_QE_TT, n0), SQ_OK);
    assert_int_equal(sq_quadratic_n0(q, SQ_QE_EB, n0), SQ_ERR_USAGE);
    sq_free(n0);
    sq_quadratic_destroy(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_n0), cmocka_unit_test(test_iterative),
                                       cmocka_unit_test(test_unbiased),
                                       cmocka_unit_test(test_noise),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
