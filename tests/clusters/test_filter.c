/* The matched filter against injections into Gaussian skies whose power is known. */
#include <complex.h>
#include <math.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "clusters/filter.h"

enum { SIDE = 512, LMAX = 20000, BANDS = 3, DRAWS = 10 };
static const double ARCMIN = M_PI / 180 / 60;
static const double GHZ[BANDS] = {95, 150, 220}, NOISE[BANDS] = {2.8, 2.6, 6.6},
                    FWHM[BANDS] = {1.7, 1.2, 1.0};
static const double TCMB = 2.7255e6; /* uK */

typedef struct sky {
    sq_flat flat;
    sq_fft *fft;
    double *beam[BANDS], *transfer[BANDS], *cmb, *dust, *white[BANDS], *model[BANDS * BANDS];
    double signal[BANDS], dust_scale[BANDS];
    float *map[BANDS];
    double *work;
    double _Complex *modes, *band_modes;
} sky;

static double power_law(double l, double amplitude, double pivot, double slope)
{
    return l < 30 ? 0 : amplitude * 2 * M_PI / (l * (l + 1)) * pow(l / pivot, slope);
}

static int make_sky(void **state)
{
    sky *s = NULL;
    assert_int_equal(SQ_ALLOC(s, 1, "sky"), SQ_OK);
    s->flat = (sq_flat){SIDE, SIDE, 0.5 * ARCMIN, 0.5 * ARCMIN};
    assert_int_equal(sq_fft_create(SIDE, SIDE, &s->fft), SQ_OK);
    assert_int_equal(SQ_ALLOC(s->cmb, LMAX + 1, "cmb"), SQ_OK);
    assert_int_equal(SQ_ALLOC(s->dust, LMAX + 1, "dust"), SQ_OK);
    assert_int_equal(SQ_ALLOC(s->work, SIDE * SIDE, "map"), SQ_OK);
    assert_int_equal(SQ_ALLOC(s->modes, sq_flat_modes(&s->flat), "modes"), SQ_OK);
    assert_int_equal(SQ_ALLOC(s->band_modes, sq_flat_modes(&s->flat), "modes"), SQ_OK);
    for (int l = 0; l <= LMAX; l++) {
        s->cmb[l] = power_law(l, 1000, 1000, 0) * exp(-pow(l / 1500.0, 1.2));
        s->dust[l] = power_law(l, 9.4, 3000, 2) + power_law(l, 3.4, 3000, 0.8);
    }
    static const double dust_scale[BANDS] = {0.39, 1, 2.7};
    for (int b = 0; b < BANDS; b++) {
        s->signal[b] = TCMB * sq_sz_spectrum(GHZ[b], 2.7255);
        s->dust_scale[b] = dust_scale[b];
        assert_int_equal(SQ_ALLOC(s->beam[b], LMAX + 1, "beam"), SQ_OK);
        sq_beam_gauss(FWHM[b] * ARCMIN, LMAX, s->beam[b]);
        /* The mean over square pixels, to second order in l and isotropic. */
        assert_int_equal(SQ_ALLOC(s->transfer[b], LMAX + 1, "beam"), SQ_OK);
        for (int l = 0; l <= LMAX; l++)
            s->transfer[b][l] = s->beam[b][l] * exp(-pow(l * 0.5 * ARCMIN, 2) / 24);
        assert_int_equal(SQ_ALLOC(s->map[b], SIDE * SIDE, "map"), SQ_OK);
        assert_int_equal(SQ_ALLOC(s->white[b], LMAX + 1, "noise"), SQ_OK);
        for (int l = 0; l <= LMAX; l++)
            s->white[b][l] = pow(NOISE[b] * ARCMIN, 2);
    }
    for (int i = 0; i < BANDS; i++) {
        for (int j = 0; j <= i; j++) {
            assert_int_equal(SQ_ALLOC(s->model[i * BANDS + j], LMAX + 1, "model"), SQ_OK);
            for (int l = 0; l <= LMAX; l++)
                s->model[i * BANDS + j][l] =
                    (s->cmb[l] + s->dust_scale[i] * s->dust_scale[j] * s->dust[l]) * s->beam[i][l] *
                        s->beam[j][l] +
                    (i == j ? s->white[i][l] : 0);
        }
    }
    *state = s;
    return 0;
}

static int drop_sky(void **state)
{
    sky *s = *state;
    for (int b = 0; b < BANDS; b++) {
        sq_free(s->beam[b]);
        sq_free(s->transfer[b]);
        sq_free(s->map[b]);
        sq_free(s->white[b]);
    }
    for (int i = 0; i < BANDS * BANDS; i++)
        sq_free(s->model[i]);
    sq_free(s->cmb);
    sq_free(s->dust);
    sq_free(s->work);
    sq_free(s->modes);
    sq_free(s->band_modes);
    sq_fft_destroy(s->fft);
    sq_free(s);
    return 0;
}

/* CMB, dust and white noise, and one cluster of y0 and theta in the middle, rendered in real
 * space from the projected profile; `y0` 0: none. `dust_only` leaves everything else out. */
static void draw(sky *s, uint64_t seed, double y0, double theta, int dust_only)
{
    double _Complex *fields[2];
    const double *cl[4] = {s->cmb, NULL, NULL, s->dust};
    sq_rng rng;
    int64_t modes = sq_flat_modes(&s->flat);
    double _Complex *second = NULL;
    double *cluster = NULL;
    assert_int_equal(SQ_ALLOC(second, modes, "modes"), SQ_OK);
    assert_int_equal(SQ_ALLOC(cluster, SIDE * SIDE, "map"), SQ_OK);
    fields[0] = s->modes;
    fields[1] = second;
    sq_rng_init(&rng, 20991, 3, seed);
    assert_int_equal(sq_field_set(s->fft, &s->flat, &rng, 2, cl, LMAX, fields), SQ_OK);
    if (y0 > 0) {
        sq_cosmology *c;
        sq_cosmology_parameters p = sq_cosmology_sehgal();
        sq_gas gas;
        assert_int_equal(sq_cosmology_create(&p, &c), SQ_OK);
        assert_int_equal(sq_gas_arnaud(c, 0.5, 2e14, &gas), SQ_OK);
        sq_cosmology_destroy(c);
        gas.y0 = y0;
        gas.theta_s = theta;
        /* The mean over each pixel of 9 x 9 points. */
        for (int y = 0; y < SIDE; y++) {
            for (int x = 0; x < SIDE; x++) {
                for (int k = 0; k < 81; k++) {
                    double dy = (y - SIDE / 2 + (k / 9 - 4) / 9.0) * s->flat.dy;
                    double dx = (x - SIDE / 2 + (k % 9 - 4) / 9.0) * s->flat.dx;
                    cluster[y * SIDE + x] += sq_gas_at(&gas, hypot(dx, dy)) / 81;
                }
            }
        }
    }
    double _Complex *signal = NULL;
    assert_int_equal(SQ_ALLOC(signal, modes, "modes"), SQ_OK);
    sq_fft_forward(s->fft, cluster, signal);
    for (int b = 0; b < BANDS; b++) {
        for (int64_t k = 0; k < modes; k++)
            s->band_modes[k] = (dust_only ? 0 : s->modes[k] + s->signal[b] * signal[k]) +
                               s->dust_scale[b] * second[k];
        sq_filter_table(&s->flat, s->beam[b], LMAX, s->band_modes);
        sq_fft_backward(s->fft, s->band_modes, s->work);
        for (int i = 0; i < SIDE * SIDE; i++)
            s->map[b][i] =
                (float)(s->work[i] + (dust_only ? 0 : sq_rng_normal(&rng) * NOISE[b] / 0.5));
    }
    sq_free(second);
    sq_free(signal);
    sq_free(cluster);
}

static sq_mmf *make_filter(sky *s)
{
    sq_mmf *mmf = NULL;
    sq_mmf_setup setup = {.flat = s->flat, .nband = BANDS, .lmax = LMAX, .lmin = 100};
    for (int b = 0; b < BANDS; b++) {
        setup.signal[b] = s->signal[b];
        setup.deproject[b] = s->dust_scale[b];
        setup.transfer[b] = s->transfer[b];
    }
    assert_int_equal(sq_mmf_create(&setup, &mmf), SQ_OK);
    return mmf;
}

/* Scatter of the filtered noise against the prediction, over draws; the model's and the measured
 * power. */
static void check_noise(void **state, sq_mmf_power kind, double smooth, double tolerance)
{
    sky *s = *state;
    sq_mmf *mmf = make_filter(s);
    float *y0 = NULL;
    double sum = 0, expected = 0;
    assert_int_equal(SQ_ALLOC(y0, SIDE * SIDE, "map"), SQ_OK);
    for (int d = 0; d < DRAWS; d++) {
        double sigma, square = 0;
        draw(s, (uint64_t)d, 0, 0, 0);
        sq_mmf_load(mmf, (const float *const *)s->map);
        assert_int_equal(sq_mmf_noise(mmf, kind, 1, smooth, (const double *const *)s->model),
                         SQ_OK);
        assert_int_equal(sq_mmf_filter(mmf, SQ_GAS_ARNAUD, 2 * ARCMIN, 0, y0, &sigma), SQ_OK);
        for (int i = 0; i < SIDE * SIDE; i++)
            square += (double)y0[i] * y0[i];
        sum += square / (SIDE * SIDE) / DRAWS;
        expected += sigma * sigma / DRAWS;
    }
    print_message("scatter over prediction: %.4f\n", sqrt(sum / expected));
    assert_true(fabs(sqrt(sum / expected) - 1) < tolerance);
    sq_free(y0);
    sq_mmf_destroy(mmf);
}

static void test_noise_model(void **state)
{
    check_noise(state, SQ_MMF_MODEL, 0, 0.01);
}

static void test_noise_data(void **state)
{
    check_noise(state, SQ_MMF_DATA, 0, 0.01);
}

static void test_noise_larger(void **state)
{
    check_noise(state, SQ_MMF_LARGER, 0, 0.05);
}

/* Injected y0 comes back, for clusters of 1 to 8 arcmin. */
static void test_unbiased(void **state)
{
    sky *s = *state;
    sq_mmf *mmf = make_filter(s);
    float *y0 = NULL, *empty = NULL;
    assert_int_equal(SQ_ALLOC(y0, SIDE * SIDE, "map"), SQ_OK);
    assert_int_equal(SQ_ALLOC(empty, SIDE * SIDE, "map"), SQ_OK);
    for (double theta = 1; theta <= 8; theta *= 2) {
        for (int deprojected = 0; deprojected < 2; deprojected++) {
            double sigma, mean;
            /* The same noise with and without clusters: what they add. */
            draw(s, 77, 0, 0, 0);
            sq_mmf_load(mmf, (const float *const *)s->map);
            assert_int_equal(sq_mmf_noise(mmf, SQ_MMF_MODEL, 1, 0, (const double *const *)s->model),
                             SQ_OK);
            assert_int_equal(
                sq_mmf_filter(mmf, SQ_GAS_ARNAUD, theta * ARCMIN, deprojected, empty, &sigma),
                SQ_OK);
            draw(s, 77, 1e-4, theta * ARCMIN, 0);
            sq_mmf_load(mmf, (const float *const *)s->map);
            assert_int_equal(sq_mmf_noise(mmf, SQ_MMF_MODEL, 1, 0, (const double *const *)s->model),
                             SQ_OK);
            assert_int_equal(
                sq_mmf_filter(mmf, SQ_GAS_ARNAUD, theta * ARCMIN, deprojected, y0, &sigma), SQ_OK);
            mean = y0[SIDE / 2 * SIDE + SIDE / 2] - empty[SIDE / 2 * SIDE + SIDE / 2];
            print_message("theta %.0f', deprojected %d: y0 / true %.4f, sigma %.3g\n", theta,
                          deprojected, mean / 1e-4, sigma);
            assert_true(fabs(mean / 1e-4 - 1) < 0.01);
        }
    }
    sq_free(y0);
    sq_free(empty);
    sq_mmf_destroy(mmf);
}

/* The deprojected filter does not see what has the second spectrum. */
static void test_deprojection(void **state)
{
    sky *s = *state;
    sq_mmf *mmf = make_filter(s);
    float *y0 = NULL;
    double rms[2] = {0}, sigma;
    assert_int_equal(SQ_ALLOC(y0, SIDE * SIDE, "map"), SQ_OK);
    draw(s, 5, 0, 0, 1);
    for (int d = 0; d < 2; d++) {
        sq_mmf_load(mmf, (const float *const *)s->map);
        assert_int_equal(sq_mmf_noise(mmf, SQ_MMF_MODEL, 1, 0, (const double *const *)s->model),
                         SQ_OK);
        assert_int_equal(sq_mmf_filter(mmf, SQ_GAS_ARNAUD, 2 * ARCMIN, d, y0, &sigma), SQ_OK);
        for (int i = 0; i < SIDE * SIDE; i++)
            rms[d] += (double)y0[i] * y0[i];
    }
    assert_true(rms[1] < 1e-8 * rms[0]);
    sq_free(y0);
    sq_mmf_destroy(mmf);
}

/* Psi has unit response to the cluster and the filter is its own matched template. */
static void test_response(void **state)
{
    sky *s = *state;
    sq_mmf *mmf = make_filter(s);
    double sigma[3], response;
    draw(s, 6, 0, 0, 0);
    sq_mmf_load(mmf, (const float *const *)s->map);
    assert_int_equal(sq_mmf_noise(mmf, SQ_MMF_MODEL, 1, 0, (const double *const *)s->model), SQ_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(sq_mmf_filter(mmf, SQ_GAS_ARNAUD, (1 + i) * ARCMIN, 0, NULL, &sigma[i]),
                         SQ_OK);
    assert_true(sigma[0] > sigma[1] && sigma[1] > sigma[2]);
    assert_int_equal(sq_mmf_response(mmf, SQ_GAS_ARNAUD, 3 * ARCMIN, &response), SQ_OK);
    assert_true(fabs(response - 1) < 1e-6);
    assert_int_equal(sq_mmf_response(mmf, SQ_GAS_ARNAUD, 2 * ARCMIN, &response), SQ_OK);
    assert_true(response < 1 && response > 0.3);
}

/* Stripes: with the measured anisotropy the filter is quieter, and its prediction holds. */
static void test_anisotropy(void **state)
{
    sky *s = *state;
    sq_mmf *mmf = make_filter(s);
    float *y0 = NULL;
    double scatter[2], sigma;
    assert_int_equal(SQ_ALLOC(y0, SIDE * SIDE, "map"), SQ_OK);
    draw(s, 9, 0, 0, 0);
    for (int b = 0; b < BANDS; b++) {
        sq_rng rng;
        sq_rng_init(&rng, 4, 4, (uint64_t)b);
        for (int y = 0; y < SIDE; y++) {
            /* Noise that is correlated along rows. */
            double level = 0;
            for (int x = -64; x < SIDE; x++) {
                level = 0.8 * level + 20 * sq_rng_normal(&rng);
                if (x >= 0)
                    s->map[b][y * SIDE + x] += (float)level;
            }
        }
    }
    for (int d = 0; d < 2; d++) {
        double square = 0;
        sq_mmf_load(mmf, (const float *const *)s->map);
        assert_int_equal(sq_mmf_noise(mmf, SQ_MMF_DATA, 1, d ? 10 : 0, NULL), SQ_OK);
        assert_int_equal(sq_mmf_filter(mmf, SQ_GAS_ARNAUD, 2 * ARCMIN, 0, y0, &sigma), SQ_OK);
        for (int i = 0; i < SIDE * SIDE; i++)
            square += (double)y0[i] * y0[i];
        scatter[d] = sqrt(square) / SIDE;
        print_message("stripes, anisotropy %d: scatter %.3g, predicted %.3g\n", d, scatter[d],
                      sigma);
        assert_true(fabs(scatter[d] / sigma - 1) < (d ? 0.03 : 0.3));
    }
    assert_true(scatter[1] < 0.9 * scatter[0]);
    sq_free(y0);
    sq_mmf_destroy(mmf);
}

static void test_refusals(void **state)
{
    sky *s = *state;
    sq_mmf *mmf = make_filter(s);
    sq_mmf_setup none = {.flat = s->flat, .nband = 0, .lmax = 10};
    sq_mmf *never = NULL;
    double sigma;
    assert_int_equal(sq_mmf_create(&none, &never), SQ_ERR_USAGE);
    for (int i = 0; i < SIDE * SIDE; i++)
        s->map[1][i] = 0;
    sq_mmf_load(mmf, (const float *const *)s->map);
    assert_int_equal(sq_mmf_noise(mmf, SQ_MMF_DATA, 1, 0, NULL), SQ_ERR_DATA);
    assert_int_equal(sq_mmf_filter(mmf, SQ_GAS_ARNAUD, 2 * ARCMIN, 0, NULL, &sigma), SQ_ERR_DATA);
    sq_mmf_destroy(mmf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_noise_model),  cmocka_unit_test(test_noise_data),
        cmocka_unit_test(test_noise_larger), cmocka_unit_test(test_unbiased),
        cmocka_unit_test(test_deprojection), cmocka_unit_test(test_response),
        cmocka_unit_test(test_anisotropy),   cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, make_sky, drop_sky);
}
