/* The biases of the power of quadratic estimates, as the probe takes them from pairs of maps,
 * against simulations: N1, realisation-dependent noise, what splits leave; the curl null. */
#include "lensed_sky.h"
#include "lensing/n1.h"

enum { SIDE = 128, BINS = 3, EB = 1u << SQ_QE_EB, TT = 1u << SQ_QE_TT };
static const double edges[BINS + 1] = {200, 600, 1000, 1600};
static sky s;
static double _Complex *copy[8][3], *kappa, *curl, *work[2][SQ_QE_COUNT];

/* The combined estimate of kappa (and of the curl, unless NULL) from copies i and j. */
static void estimate(sq_quadratic *q, unsigned kinds, int i, int j, double _Complex *k,
                     double _Complex *c)
{
    assert_int_equal(sq_quadratic_cross(q, kinds, (const double _Complex *const *)copy[i],
                                        (const double _Complex *const *)copy[j], work[0], work[1]),
                     SQ_OK);
    assert_int_equal(sq_quadratic_combine(q, kinds, (const double _Complex *const *)work[0], k),
                     SQ_OK);
    if (c)
        assert_int_equal(
            sq_quadratic_combine_curl(q, kinds, (const double _Complex *const *)work[1], c), SQ_OK);
}

static void power(const double _Complex *a, const double _Complex *b, double out[BINS])
{
    assert_int_equal(sq_spectrum(&s.flat, a, b, 1, BINS, edges, NULL, out, NULL), SQ_OK);
}

/* Of the estimate from copies i and j. */
static void power_of(sq_quadratic *q, unsigned kinds, int i, int j, double out[BINS])
{
    estimate(q, kinds, i, j, kappa, NULL);
    power(kappa, kappa, out);
}

/* The present sky's modes into place i. */
static void keep(int i)
{
    for (int f = 0; f < 3; f++)
        memcpy(copy[i][f], s.field[f], (size_t)s.modes * sizeof *copy[i][f]);
}

static int setup(void **state)
{
    (void)state;
    sky_open(&s, SIDE, 2.34375);
    for (int i = 0; i < 8; i++) {
        for (int f = 0; f < 3; f++)
            assert_int_equal(SQ_ALLOC(copy[i][f], s.modes, "test"), SQ_OK);
    }
    assert_int_equal(SQ_ALLOC(kappa, s.modes, "test"), SQ_OK);
    assert_int_equal(SQ_ALLOC(curl, s.modes, "test"), SQ_OK);
    for (int k = 0; k < 2 * SQ_QE_COUNT; k++)
        assert_int_equal(SQ_ALLOC(work[k % 2][k / 2], s.modes, "test"), SQ_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        for (int f = 0; f < 3; f++)
            sq_free(copy[i][f]);
    }
    sq_free(kappa);
    sq_free(curl);
    for (int k = 0; k < 2 * SQ_QE_COUNT; k++)
        sq_free(work[k % 2][k / 2]);
    sky_close(&s);
    return 0;
}

/* Two skies of one phi, CMB and noise apart. */
static void draw_pair(uint64_t seed, double nt, double np)
{
    double _Complex *phi = NULL;
    sq_rng rng;
    assert_int_equal(SQ_ALLOC(phi, sq_flat_modes(&s.work), "test"), SQ_OK);
    sky_draw(&s, seed, 1, nt, np);
    keep(0);
    memcpy(phi, s.wide[SQ_CMB_PHI], (size_t)sq_flat_modes(&s.work) * sizeof *phi);
    sky_draw(&s, seed + 1000000, 1, nt, np);
    keep(2);
    sq_rng_init(&rng, 77041, 3, seed);
    assert_int_equal(sq_cmb_lens(s.cmb, 1, phi, s.wide[SQ_CMB_T], s.wide[SQ_CMB_E], NULL,
                                 s.field[0], s.field[1], s.field[2]),
                     SQ_OK);
    for (int i = 0; i < 3; i++) {
        sq_fft_backward(s.fft, s.field[i], s.map[i]);
        for (int64_t k = 0; k < s.pixels; k++)
            s.map[i][k] += (i ? np : nt) / 2.34375 * sq_rng_normal(&rng);
        sq_fft_forward(s.fft, s.map[i], s.field[i]);
    }
    sq_filter_qu_to_eb(&s.flat, s.field[1], s.field[2]);
    keep(1);
    sq_free(phi);
}

/* 2 <C[s1, s2]> of a shared phi, less the same of phi apart, is N1. */
static void check_n1(unsigned kinds, double nt, double np, int draws, double most)
{
    sq_quadratic *q;
    double sum[BINS] = {0}, square[BINS] = {0}, n1[BINS];
    sq_qe_spectra spectra = sky_spectra(nt, np);
    assert_int_equal(sq_quadratic_create(&s.flat, 100, 3000, &spectra, &q), SQ_OK);
    for (int i = 0; i < draws; i++) {
        double now[2][BINS];
        draw_pair((uint64_t)i, nt, np);
        for (int apart = 0; apart < 2; apart++)
            power_of(q, kinds, 0, 1 + apart, now[apart]);
        for (int b = 0; b < BINS; b++) {
            double value = 2 * (now[0][b] - now[1][b]);
            sum[b] += value / draws;
            square[b] += value * value / draws;
        }
    }
    for (int b = 0; b < BINS; b++) {
        double part = 0, L[5], all[5], error = sqrt((square[b] - sum[b] * sum[b]) / (draws - 1));
        for (int i = 0; i < 5; i++)
            L[i] = edges[b] + (edges[b + 1] - edges[b]) * (i + 0.5) / 5;
        assert_int_equal(sq_n1(&spectra, 100, 3000, kinds, sky_cl[SQ_POTENTIAL], 72, 5, L, all),
                         SQ_OK);
        for (int i = 0; i < 5; i++) {
            n1[b] = (i ? n1[b] : 0) + all[i] * L[i];
            part += L[i];
        }
        n1[b] /= part;
        print_message("kinds %x bin %d: N1 %.3e, simulated %.3e +- %.1e\n", kinds, b, n1[b], sum[b],
                      error);
        assert_true(fabs(sum[b] - n1[b]) < 3.5 * error + 0.05 * n1[b]);
        assert_true(error < most * n1[b]);
    }
    sq_quadratic_destroy(q);
}

static void test_n1(void **state)
{
    (void)state;
    check_n1(EB, 1, M_SQRT2, 60, 0.12);
    check_n1((1u << SQ_QE_COUNT) - 1, 1, M_SQRT2, 60, 0.15);
}

/* Data with 10% more noise than the simulations, estimator and expectation: RDN0 follows the data
 * to first order and its error is of second order; the simulations' own noise does not. Truth: the
 * estimates' power from Gaussian maps with the spectra of the data. */
static void test_rdn0(void **state)
{
    (void)state;
    enum { SKIES = 5, SIMS = 12, GAUSS = 150, DATA = 0 };
    const double n = 8;
    sq_quadratic *q;
    double mean[BINS] = {0}, square[BINS] = {0}, sims[BINS] = {0}, want[BINS] = {0}, now[BINS];
    int bad = 0;
    sq_qe_spectra spectra = sky_spectra(n, n * M_SQRT2);
    assert_int_equal(sq_quadratic_create(&s.flat, 100, 3000, &spectra, &q), SQ_OK);
    for (uint64_t i = 0; i < SKIES; i++) {
        double value[BINS] = {0};
        sky_draw(&s, 5000 + i, 1, 1.1 * n, 1.1 * n * M_SQRT2);
        keep(DATA);
        for (uint64_t k = 0; k < SIMS; k++) {
            int here = 1 + (int)k % 2, before = 2 - (int)k % 2;
            sky_draw(&s, 6000 + 100 * i + k, 1, n, n * M_SQRT2);
            keep(here);
            power_of(q, EB, DATA, here, now);
            for (int b = 0; b < BINS; b++)
                value[b] += 4 * now[b] / SIMS;
            if (!k)
                continue;
            power_of(q, EB, before, here, now);
            for (int b = 0; b < BINS; b++) {
                value[b] -= 2 * now[b] / (SIMS - 1);
                sims[b] += 2 * now[b] / (SIMS - 1) / SKIES;
            }
        }
        for (int b = 0; b < BINS; b++) {
            mean[b] += value[b] / SKIES;
            square[b] += value[b] * value[b] / SKIES;
        }
    }
    sky_spectra(1.1 * n, 1.1 * n * M_SQRT2);
    for (uint64_t i = 0; i < GAUSS; i++) {
        sq_rng rng;
        sq_rng_init(&rng, 31, 9, i);
        for (int f = 0; f < 3; f++)
            assert_int_equal(
                sq_field_modes(s.fft, &s.flat, &rng, sky_total[f], SKY_LMAX, copy[2][f]), SQ_OK);
        power_of(q, EB, 2, 2, now);
        for (int b = 0; b < BINS; b++)
            want[b] += now[b] / GAUSS;
    }
    for (int b = 0; b < BINS; b++) {
        double e = sqrt(fmax(0, square[b] - mean[b] * mean[b]) / (SKIES - 1));
        print_message("bin %d: RDN0 / truth %.4f +- %.4f, of simulations alone %.4f\n", b,
                      mean[b] / want[b], e / want[b], sims[b] / want[b]);
        bad += fabs(mean[b] / want[b] - 1) > 0.01 + 2.5 * e / want[b] || sims[b] > 0.95 * want[b];
    }
    assert_int_equal(bad, 0);
    sq_quadratic_destroy(q);
}

/* Power of the estimate from Gaussian skies of the lensed CMB alone: what splits do not remove. */
static void gaussian_power(sq_quadratic *q, unsigned kinds, int draws, double *out)
{
    const double *cl[9] = {sky_cl[SQ_LENSED_TT], NULL, NULL, sky_cl[SQ_LENSED_TE],
                           sky_cl[SQ_LENSED_EE], NULL, NULL, NULL,
                           sky_cl[SQ_LENSED_BB]};
    memset(out, 0, BINS * sizeof *out);
    for (uint64_t i = 0; i < (uint64_t)draws; i++) {
        sq_rng rng;
        double now[BINS];
        sq_rng_init(&rng, 31, 10, i);
        assert_int_equal(sq_field_set(s.fft, &s.flat, &rng, 3, cl, SKY_LMAX, copy[0]), SQ_OK);
        power_of(q, kinds, 0, 0, now);
        for (int b = 0; b < BINS; b++)
            out[b] += now[b] / draws;
    }
}

/* The present sky, which has no noise, with some, into place i. */
static void keep_noisy(int i, double level, sq_rng *rng)
{
    keep(i);
    sq_filter_eb_to_qu(&s.flat, copy[i][1], copy[i][2]);
    for (int f = 0; f < 3; f++) {
        sq_fft_backward(s.fft, copy[i][f], s.map[f]);
        for (int64_t k = 0; k < s.pixels; k++)
            s.map[f][k] += level / 2.34375 * sq_rng_normal(rng);
        sq_fft_forward(s.fft, s.map[f], copy[i][f]);
    }
    sq_filter_qu_to_eb(&s.flat, copy[i][1], copy[i][2]);
}

/* Means over skies and their errors. */
typedef struct series {
    double sum[BINS], square[BINS];
    int count;
} series;

static void add(series *x, const double value[BINS])
{
    x->count++;
    for (int b = 0; b < BINS; b++) {
        x->sum[b] += value[b];
        x->square[b] += value[b] * value[b];
    }
}

static double mean_of(const series *x, int b)
{
    return x->sum[b] / x->count;
}

static double error_of(const series *x, int b)
{
    double n = x->count;
    return sqrt(fmax(0, x->square[b] / n - pow(mean_of(x, b), 2)) / (n - 1));
}

/* Estimates from three divisions of four splits into pairs: their cross power is that of the truth,
 * N1 and the CMB's own N0, without a word about noise. The estimate is unbiased, and the curl has
 * no cross power with the truth. */
static void test_unbiased(void **state)
{
    (void)state;
    enum { SKIES = 14, SPLITS = 4, KINDS = EB | TT | 1u << SQ_QE_EE };
    static const int pairs[3][4] = {{0, 1, 2, 3}, {0, 2, 1, 3}, {0, 3, 1, 2}};
    const double n = 4;
    sq_quadratic *q;
    series split = {.count = 0}, truth = split, transfer = split, null = split;
    double now[BINS], own[BINS], n1[BINS], L[BINS], value[4][BINS];
    double _Complex *other = copy[4][0];
    sq_qe_spectra spectra = sky_spectra(n, n);
    assert_int_equal(sq_quadratic_create(&s.flat, 100, 3000, &spectra, &q), SQ_OK);
    for (uint64_t seed = 0; seed < SKIES; seed++) {
        sq_rng rng;
        sq_rng_init(&rng, 77041, 4, seed);
        sky_draw(&s, 900 + seed, 1, 0, 0);
        for (int i = 0; i < SPLITS; i++)
            keep_noisy(i, 2 * n, &rng);
        memset(value, 0, sizeof value);
        power(s.kappa, s.kappa, value[1]);
        for (int p = 0; p < 3; p++) {
            estimate(q, KINDS, pairs[p][0], pairs[p][1], kappa, curl);
            estimate(q, KINDS, pairs[p][2], pairs[p][3], other, NULL);
            power(kappa, other, now);
            for (int b = 0; b < BINS; b++)
                value[0][b] += now[b] / 3;
            power(kappa, s.kappa, now);
            for (int b = 0; b < BINS; b++)
                value[2][b] += now[b] / value[1][b] / 3;
            power(curl, s.kappa, now);
            for (int b = 0; b < BINS; b++)
                value[3][b] += now[b] / value[1][b] / 3;
        }
        add(&split, value[0]);
        add(&truth, value[1]);
        add(&transfer, value[2]);
        add(&null, value[3]);
    }
    for (int b = 0; b < BINS; b++)
        L[b] = 0.5 * (edges[b] + edges[b + 1]);
    assert_int_equal(sq_n1(&spectra, 100, 3000, KINDS, sky_cl[SQ_POTENTIAL], 72, BINS, L, n1),
                     SQ_OK);
    gaussian_power(q, KINDS, 60, own);
    for (int b = 0; b < BINS; b++) {
        double want = mean_of(&truth, b) + n1[b] + own[b], e = error_of(&split, b);
        print_message("bin %d: split power %.3e +- %.1e, expected %.3e; transfer %.3f +- %.3f; "
                      "curl x kappa %.4f +- %.4f\n",
                      b, mean_of(&split, b), e, want, mean_of(&transfer, b), error_of(&transfer, b),
                      mean_of(&null, b), error_of(&null, b));
        assert_true(fabs(mean_of(&split, b) - want) < 3.5 * e + 0.03 * want);
        assert_true(fabs(mean_of(&transfer, b) - 1) < 0.03 + 3.5 * error_of(&transfer, b));
        assert_true(fabs(mean_of(&null, b)) < 3.5 * error_of(&null, b));
    }
    sq_quadratic_destroy(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_n1), cmocka_unit_test(test_rdn0),
                                       cmocka_unit_test(test_unbiased)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
