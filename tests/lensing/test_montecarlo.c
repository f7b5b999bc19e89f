/* N1, realisation-dependent noise, split spectra and the curl null against simulations. */
#include "lensed_sky.h"
#include "lensing/montecarlo.h"
#include "lensing/n1.h"

enum { SIDE = 128, BINS = 3, EB = 1u << SQ_QE_EB, TT = 1u << SQ_QE_TT };
static const double edges[BINS + 1] = {200, 600, 1000, 1600};
static sky s;
static double _Complex *copy[8][3], *kappa, *curl;

static sq_legs legs(int i)
{
    return (sq_legs){{copy[i][0], copy[i][1], copy[i][2]}};
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
    sq_recon *r;
    double sum[BINS] = {0}, square[BINS] = {0}, n1[BINS];
    sq_qe_spectra spectra = sky_spectra(nt, np);
    assert_int_equal(sq_quadratic_create(&s.flat, 100, 3000, &spectra, &q), SQ_OK);
    assert_int_equal(sq_recon_create(q, kinds, &r), SQ_OK);
    for (int i = 0; i < draws; i++) {
        double now[2][BINS];
        draw_pair((uint64_t)i, nt, np);
        for (int apart = 0; apart < 2; apart++) {
            sq_legs a = legs(0), b = legs(1 + apart);
            assert_int_equal(sq_recon_cross(r, &a, &b, kappa, NULL), SQ_OK);
            assert_int_equal(
                sq_spectrum(&s.flat, kappa, kappa, 1, BINS, edges, NULL, now[apart], NULL), SQ_OK);
        }
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
    sq_recon_destroy(r);
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
    enum { SKIES = 5, SIMS = 12 };
    const double n = 8;
    sq_quadratic *q;
    sq_recon *r;
    double mean[BINS] = {0}, error[BINS] = {0}, mc[BINS] = {0};
    double want[BINS], low[BINS];
    int bad = 0;
    sq_qe_spectra spectra = sky_spectra(n, n * M_SQRT2);
    assert_int_equal(sq_quadratic_create(&s.flat, 100, 3000, &spectra, &q), SQ_OK);
    assert_int_equal(sq_recon_create(q, EB, &r), SQ_OK);
    for (uint64_t i = 0; i < SKIES; i++) {
        sq_rdn0 *x;
        double value[BINS], scatter[BINS], sims[BINS];
        sky_draw(&s, 5000 + i, 1, 1.1 * n, 1.1 * n * M_SQRT2);
        keep(0);
        sq_legs data = legs(0), sim = legs(1);
        assert_int_equal(sq_rdn0_create(r, &s.flat, BINS, edges, 1, &data, &x), SQ_OK);
        for (uint64_t k = 0; k < SIMS; k++) {
            sky_draw(&s, 6000 + 100 * i + k, 1, n, n * M_SQRT2);
            keep(1);
            assert_int_equal(sq_rdn0_add(x, &sim), SQ_OK);
        }
        assert_int_equal(sq_rdn0_get(x, value, scatter, sims), SQ_OK);
        for (int b = 0; b < BINS; b++) {
            mean[b] += value[b] / SKIES;
            error[b] += value[b] * value[b] / SKIES;
            mc[b] += sims[b] / SKIES;
        }
        sq_rdn0_destroy(x);
    }
    memset(want, 0, sizeof want);
    enum { GAUSS = 150 };
    sq_legs g = legs(2);
    for (uint64_t i = 0; i < GAUSS; i++) {
        sq_rng rng;
        double now[BINS];
        sq_rng_init(&rng, 31, 9, i);
        sky_spectra(1.1 * n, 1.1 * n * M_SQRT2);
        for (int f = 0; f < 3; f++)
            assert_int_equal(
                sq_field_modes(s.fft, &s.flat, &rng, sky_total[f], SKY_LMAX, copy[2][f]), SQ_OK);
        assert_int_equal(sq_recon_cross(r, &g, &g, kappa, NULL), SQ_OK);
        assert_int_equal(sq_spectrum(&s.flat, kappa, kappa, 1, BINS, edges, NULL, now, NULL),
                         SQ_OK);
        for (int b = 0; b < BINS; b++)
            want[b] += now[b] / GAUSS;
    }
    for (int b = 0; b < BINS; b++) {
        double e = sqrt(fmax(0, error[b] - mean[b] * mean[b]) / (SKIES - 1));
        low[b] = mc[b] / want[b];
        print_message("bin %d: RDN0 / truth %.4f +- %.4f, of simulations alone %.4f\n", b,
                      mean[b] / want[b], e / want[b], low[b]);
        bad += fabs(mean[b] / want[b] - 1) > 0.01 + 2.5 * e / want[b] || low[b] > 0.95;
    }
    assert_int_equal(bad, 0);
    sq_recon_destroy(r);
    sq_quadratic_destroy(q);
}

/* The fast sum over splits is the mean over all sets of four; with no common signal it is zero
 * within its scatter, whatever the splits' noise. */
static void test_splits(void **state)
{
    (void)state;
    enum { SPLITS = 5 };
    sq_quadratic *q;
    sq_recon *r;
    double _Complex *pair[SPLITS][SPLITS] = {{NULL}};
    double fast[BINS], want[BINS] = {0}, now[BINS];
    sq_legs leg[SPLITS];
    int count = 0;
    sq_qe_spectra spectra = sky_spectra(5, 7);
    assert_int_equal(sq_quadratic_create(&s.flat, 100, 3000, &spectra, &q), SQ_OK);
    assert_int_equal(sq_recon_create(q, EB | TT, &r), SQ_OK);
    for (int i = 0; i < SPLITS; i++) {
        sky_draw(&s, 70 + (uint64_t)i, 1, 5, 7);
        keep(i);
        leg[i] = legs(i);
    }
    for (int i = 0; i < SPLITS; i++) {
        for (int j = 0; j < SPLITS; j++) {
            assert_int_equal(SQ_ALLOC(pair[i][j], s.modes, "test"), SQ_OK);
            assert_int_equal(sq_recon_cross(r, &leg[i], &leg[j], pair[i][j], NULL), SQ_OK);
        }
    }
    for (int i = 0; i < SPLITS; i++)
        for (int j = 0; j < SPLITS; j++)
            for (int k = 0; k < SPLITS; k++)
                for (int l = 0; l < SPLITS; l++) {
                    if (i == j || i == k || i == l || j == k || j == l || k == l)
                        continue;
                    sq_spectrum(&s.flat, pair[i][j], pair[k][l], 1, BINS, edges, NULL, now, NULL);
                    for (int b = 0; b < BINS; b++)
                        want[b] += now[b];
                    count++;
                }
    assert_int_equal(sq_split_power(r, &s.flat, SPLITS, leg, 0, 1, BINS, edges, fast, kappa),
                     SQ_OK);
    for (int b = 0; b < BINS; b++)
        assert_true(fabs(fast[b] - want[b] / count) < 1e-9 * fabs(want[b] / count) + 1e-14);
    assert_int_equal(sq_split_power(r, &s.flat, 3, leg, 0, 1, BINS, edges, fast, NULL),
                     SQ_ERR_USAGE);
    for (int i = 0; i < SPLITS; i++)
        for (int j = 0; j < SPLITS; j++)
            sq_free(pair[i][j]);
    sq_recon_destroy(r);
    sq_quadratic_destroy(q);
}

/* Power of the estimate from Gaussian skies of the lensed CMB alone: what splits do not remove. */
static void gaussian_power(sq_recon *r, int draws, double *out)
{
    const double *cl[9] = {sky_cl[SQ_LENSED_TT], NULL, NULL, sky_cl[SQ_LENSED_TE],
                           sky_cl[SQ_LENSED_EE], NULL, NULL, NULL,
                           sky_cl[SQ_LENSED_BB]};
    sq_legs g = legs(0);
    memset(out, 0, BINS * sizeof *out);
    for (uint64_t i = 0; i < (uint64_t)draws; i++) {
        sq_rng rng;
        double now[BINS];
        sq_rng_init(&rng, 31, 10, i);
        assert_int_equal(sq_field_set(s.fft, &s.flat, &rng, 3, cl, SKY_LMAX, copy[0]), SQ_OK);
        assert_int_equal(sq_recon_cross(r, &g, &g, kappa, NULL), SQ_OK);
        assert_int_equal(sq_spectrum(&s.flat, kappa, kappa, 1, BINS, edges, NULL, now, NULL),
                         SQ_OK);
        for (int b = 0; b < BINS; b++)
            out[b] += now[b] / draws;
    }
}

/* Four splits of one sky: their power is that of the truth, N1 and the CMB's own N0, without a word
 * about noise; the curl has no cross power with the truth. Transfer, mean field. */
static void test_unbiased(void **state)
{
    (void)state;
    enum { SKIES = 14, SPLITS = 4, ESTIMATES = 4 };
    const double n = 4;
    sq_quadratic *q;
    sq_recon *r;
    sq_transfer *transfer, *null;
    sq_mean_field *field;
    double sum[2][BINS] = {{0}}, square[2][BINS] = {{0}}, truth[BINS] = {0}, now[BINS], value[BINS];
    double error[BINS], rho[BINS], n1[BINS], own[BINS], L[BINS];
    sq_legs leg[SPLITS];
    sq_qe_spectra spectra = sky_spectra(n, n);
    assert_int_equal(sq_quadratic_create(&s.flat, 100, 3000, &spectra, &q), SQ_OK);
    assert_int_equal(sq_recon_create(q, EB | TT | 1u << SQ_QE_EE, &r), SQ_OK);
    assert_int_equal(sq_transfer_create(&s.flat, BINS, edges, &transfer), SQ_OK);
    assert_int_equal(sq_transfer_create(&s.flat, BINS, edges, &null), SQ_OK);
    assert_int_equal(sq_mean_field_create(s.modes, &field), SQ_OK);
    for (uint64_t seed = 0; seed < SKIES; seed++) {
        sq_rng rng;
        sq_rng_init(&rng, 77041, 4, seed);
        sky_draw(&s, 900 + seed, 1, 0, 0);
        for (int i = 0; i < SPLITS; i++) {
            for (int f = 0; f < 3; f++) {
                sq_fft_backward(s.fft, s.field[f], s.map[f]);
                memcpy(copy[i][f], s.field[f], (size_t)s.modes * sizeof *copy[i][f]);
            }
            sq_filter_eb_to_qu(&s.flat, copy[i][1], copy[i][2]);
            for (int f = 0; f < 3; f++) {
                sq_fft_backward(s.fft, copy[i][f], s.map[f]);
                for (int64_t k = 0; k < s.pixels; k++)
                    s.map[f][k] += 2 * n / 2.34375 * sq_rng_normal(&rng);
                sq_fft_forward(s.fft, s.map[f], copy[i][f]);
            }
            sq_filter_qu_to_eb(&s.flat, copy[i][1], copy[i][2]);
            leg[i] = legs(i);
        }
        for (int c = 0; c < 2; c++) {
            double _Complex *estimate = c ? curl : kappa;
            assert_int_equal(
                sq_split_power(r, &s.flat, SPLITS, leg, c, 1, BINS, edges, now, estimate), SQ_OK);
            for (int b = 0; b < BINS; b++) {
                sum[c][b] += now[b] / SKIES;
                square[c][b] += now[b] * now[b] / SKIES;
            }
        }
        assert_int_equal(sq_transfer_add(transfer, kappa, s.kappa), SQ_OK);
        assert_int_equal(sq_transfer_add(null, curl, s.kappa), SQ_OK);
        sq_mean_field_add(field, kappa);
        sq_spectrum(&s.flat, s.kappa, s.kappa, 1, BINS, edges, NULL, now, NULL);
        for (int b = 0; b < BINS; b++)
            truth[b] += now[b] / SKIES;
    }
    for (int b = 0; b < BINS; b++)
        L[b] = 0.5 * (edges[b] + edges[b + 1]);
    assert_int_equal(
        sq_n1(&spectra, 100, 3000, EB | TT | 1u << SQ_QE_EE, sky_cl[SQ_POTENTIAL], 72, BINS, L, n1),
        SQ_OK);
    gaussian_power(r, 60, own);
    assert_int_equal(sq_transfer_get(transfer, value, error, rho), SQ_OK);
    for (int b = 0; b < BINS; b++) {
        double e[2], want = truth[b] + n1[b] + own[b];
        for (int c = 0; c < 2; c++)
            e[c] = sqrt((square[c][b] - sum[c][b] * sum[c][b]) / (SKIES - 1));
        print_message("bin %d: split power %.3e +- %.1e, expected %.3e; curl %.1e +- %.1e; "
                      "transfer %.3f +- %.3f, rho %.3f\n",
                      b, sum[0][b], e[0], want, sum[1][b], e[1], value[b], error[b], rho[b]);
        assert_true(fabs(sum[0][b] - want) < 3.5 * e[0] + 0.03 * want);
        assert_true(fabs(value[b] - 1) < 0.03 + 3.5 * error[b]);
    }
    assert_int_equal(sq_transfer_get(null, value, error, NULL), SQ_OK);
    for (int b = 0; b < BINS; b++) {
        print_message("curl x kappa %.4f +- %.4f\n", value[b], error[b]);
        assert_true(fabs(value[b]) < 3.5 * error[b]);
    }
    /* The two halves and all. */
    double _Complex *half[2] = {copy[4][0], copy[4][1]};
    assert_int_equal(sq_mean_field_get(field, 0, half[0]), SQ_OK);
    assert_int_equal(sq_mean_field_get(field, 1, half[1]), SQ_OK);
    assert_int_equal(sq_mean_field_get(field, 2, curl), SQ_OK);
    for (int64_t k = 0; k < s.modes; k += 97)
        assert_true(cabs(curl[k] - 0.5 * (half[0][k] + half[1][k])) < 1e-9 * cabs(curl[k]) + 1e-12);
    memcpy(half[0], kappa, (size_t)s.modes * sizeof *kappa);
    assert_int_equal(sq_mean_field_subtract_others(field, half[0]), SQ_OK);
    for (int64_t k = 0; k < s.modes; k += 97)
        assert_true(cabs(half[0][k] - (kappa[k] - curl[k]) * SKIES / (SKIES - 1)) <
                    1e-9 * cabs(kappa[k]) + 1e-12);
    sq_mean_field_destroy(field);
    sq_transfer_destroy(transfer);
    sq_transfer_destroy(null);
    sq_recon_destroy(r);
    sq_quadratic_destroy(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_n1), cmocka_unit_test(test_rdn0),
                                       cmocka_unit_test(test_splits),
                                       cmocka_unit_test(test_unbiased)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
