/* The optical simulator: independence of the box, counts, noise, defects, conditions. */
#include "sim_test.h"

#include "sky/wcs.h"

static sq_sim_optical *make(const sq_sim_optical_config *config)
{
    sq_sim_optical *sim;
    OK(sq_sim_optical_create(config, &sim));
    return sim;
}

static sq_cutout *render(sq_sim_optical *sim, int nband, int64_t x0, int64_t y0, int nx, int ny)
{
    sq_cutout *c;
    OK(sq_cutout_create(nband, nx, ny, &c));
    OK(sq_sim_optical_render(sim, 0, x0, y0, c));
    return c;
}

static int same(const void *a, const void *b, size_t size)
{
    return memcmp(a, b, size) == 0;
}

static void box_equals_whole(sq_sim_preset preset, double correlation)
{
    enum { W = 700, H = 500, NX = 131, NY = 97 };
    sq_sim_optical_config config;
    sq_sim_optical_defaults(preset, &config);
    config.tile_nx = W;
    config.tile_ny = H;
    config.correlation = correlation;
    config.cosmics = 300;
    config.bad_columns = 20;
    config.star_density *= 10;
    int nband = sq_sim_optical_bands(preset, NULL, NULL);
    sq_sim_optical *one = make(&config), *two = make(&config);
    sq_cutout *whole = render(one, nband, 0, 0, W, H);
    const int64_t at[][2] = {{0, 0}, {37, 211}, {W - NX, H - NY}, {255, 0}, {W - 40, -30}};
    for (int k = 0; k < 5; k++) {
        int64_t x0 = at[k][0], y0 = at[k][1];
        sq_cutout *box = render(two, nband, x0, y0, NX, NY);
        for (int64_t row = 0; row < (int64_t)nband * NY; row++) {
            int64_t y = y0 + row % NY, i = row * NX;
            int inside = (int)(x0 + NX > W ? W - x0 : NX);
            if (y < 0) {
                assert_int_equal(box->mask[i], SQ_MASK_OUTSIDE);
                continue;
            }
            if (inside < NX)
                assert_int_equal(box->mask[i + inside], SQ_MASK_OUTSIDE);
            size_t size = (size_t)inside * sizeof(float);
            int64_t j = (row / NY * H + y) * W + x0;
            assert_true(same(box->image + i, whole->image + j, size));
            assert_true(same(box->variance + i, whole->variance + j, size));
            assert_true(same(box->sky + i, whole->sky + j, size));
            assert_true(same(box->sky_sigma + i, whole->sky_sigma + j, size));
            assert_true(same(box->mask + i, whole->mask + j, size));
        }
        sq_cutout_destroy(box);
    }
    sq_cutout_destroy(whole);
    sq_sim_optical_destroy(one);
    sq_sim_optical_destroy(two);
}

static void boxes_equal_whole(void **state)
{
    (void)state;
    box_equals_whole(SQ_SIM_SDSS, 0);
    box_equals_whole(SQ_SIM_SDSS, 0.2);
    box_equals_whole(SQ_SIM_LSST, 0.15);
}

/* Sources where tiles overlap are the same in both, and the truth lists each once. */
static void tiles_share_sources(void **state)
{
    (void)state;
    sq_sim_optical_config config;
    sq_sim_optical_defaults(SQ_SIM_SDSS, &config);
    config.tile_nx = config.tile_ny = 900;
    config.tiles_x = config.tiles_y = 2;
    config.overlap = 200;
    sq_sim_optical *sim = make(&config);
    sq_sim_source *a, *b;
    int64_t na, nb;
    OK(sq_sim_optical_sources(sim, 0, 700, 0, 900, 900, 0, &a, &na));
    OK(sq_sim_optical_sources(sim, 1, 0, 0, 200, 900, 0, &b, &nb));
    assert_true(na > 20);
    assert_int_equal(na, nb);
    sq_wcs *left, *right;
    OK(sq_sim_optical_wcs(sim, 0, &left));
    OK(sq_sim_optical_wcs(sim, 1, &right));
    for (int64_t i = 0; i < na; i++) {
        int64_t k = 0;
        while (k < nb && fabs(b[k].flux[2] - a[i].flux[2]) > 1e-9 * a[i].flux[2])
            k++;
        assert_true(k < nb);
        assert_true(fabs(a[i].x - 700 - b[k].x) < 1e-9 && fabs(a[i].y - b[k].y) < 1e-9);
        double ra[2], dec[2];
        OK(sq_wcs_pix2sky(left, 1, &a[i].x, &a[i].y, ra, dec));
        OK(sq_wcs_pix2sky(right, 1, &b[k].x, &b[k].y, ra + 1, dec + 1));
        assert_true(fabs(ra[0] - ra[1]) < 1e-9 && fabs(dec[0] - dec[1]) < 1e-9);
    }
    sq_free(a);
    sq_free(b);
    sq_wcs_destroy(left);
    sq_wcs_destroy(right);
    sq_sim_optical_destroy(sim);
}

/* Expected number per square degree between two magnitudes, by Simpson's rule over the law of the
 * configuration. */
static double law(const sq_sim_optical_config *c, int star, double low, double high)
{
    enum { STEPS = 2000 };
    double bright = star ? c->star_slope : c->galaxy_slope;
    double faint = star ? c->star_faint_slope : c->galaxy_faint_slope;
    double part[2] = {0, 0}, from[2] = {low, c->bright_limit}, to[2] = {high, 22};
    for (int k = 0; k < 2; k++) {
        double h = (to[k] - from[k]) / STEPS;
        for (int i = 0; i <= STEPS; i++) {
            double m = from[k] + i * h - c->break_magnitude;
            double w = i == 0 || i == STEPS ? 1 : i % 2 ? 4 : 2;
            part[k] += w * h / 3 * pow(10, (m < 0 ? bright : faint) * m);
        }
    }
    return (star ? c->star_density : c->galaxy_density) * part[0] / part[1];
}

static void counts_follow_law(void **state)
{
    (void)state;
    sq_sim_optical_config config;
    sq_sim_optical_defaults(SQ_SIM_SDSS, &config);
    config.tile_nx = config.tile_ny = 12000;
    config.star_density = 20000;
    sq_sim_optical *sim = make(&config);
    sq_sim_source *s;
    int64_t n;
    OK(sq_sim_optical_sources(sim, 0, -0.5, -0.5, 11999.5, 11999.5, 0, &s, &n));
    double area = pow(12000 * config.scale / 3600, 2);
    for (int star = 0; star < 2; star++) {
        double chi2 = 0;
        int bins = 0;
        for (double m = 17; m < 24.5; m += 0.5, bins++) {
            double want = area * law(&config, star, m, m + 0.5);
            int64_t got = 0;
            for (int64_t i = 0; i < n; i++)
                got += s[i].star == star && s[i].r >= m && s[i].r < m + 0.5;
            chi2 += ((double)got - want) * ((double)got - want) / want;
        }
        print_message("%s: chi2 %.1f in %d bins\n", star ? "stars" : "galaxies", chi2, bins);
        assert_true(chi2 < bins + 4 * sqrt(2.0 * bins));
    }
    /* Uniform over the tile: quarters agree. */
    int64_t quarter[4] = {0};
    for (int64_t i = 0; i < n; i++)
        quarter[(s[i].x > 6000) + 2 * (s[i].y > 6000)]++;
    for (int k = 0; k < 4; k++)
        assert_true(fabs((double)quarter[k] - (double)n / 4) < 4 * sqrt((double)n / 4));
    sq_free(s);
    sq_sim_optical_destroy(sim);
}

/* Physical ranges, r consistent with the flux, sizes falling with magnitude. */
static void sources_are_sane(void **state)
{
    (void)state;
    sq_sim_optical_config config;
    sq_sim_optical_defaults(SQ_SIM_LSST, &config);
    sq_sim_optical *sim = make(&config);
    sq_sim_source *s;
    int64_t n;
    double size[2] = {0}, number[2] = {0};
    OK(sq_sim_optical_sources(sim, 0, 0, 0, 4096, 4096, 0, &s, &n));
    assert_true(n > 10000);
    for (int64_t i = 0; i < n; i++) {
        assert_true(s[i].r >= config.bright_limit && s[i].r <= config.faint_limit);
        assert_true(fabs(31.4 - 2.5 * log10(s[i].flux[2]) - s[i].r) < 1e-9);
        for (int b = 0; b < 6; b++)
            assert_true(s[i].flux[b] > 0 && isfinite(s[i].flux[b]));
        if (s[i].star)
            continue;
        double low = fmin(s[i].disk_radius, s[i].bulge_radius),
               high = fmax(s[i].disk_radius, s[i].bulge_radius);
        assert_true(s[i].bulge_fraction >= 0 && s[i].bulge_fraction <= 1 && high > 0 && high <= 12);
        assert_true(s[i].radius <= high &&
                    s[i].radius >= low * (s[i].bulge_fraction > 0 ? 0.2 : 0));
        assert_true(hypot(s[i].e1, s[i].e2) < 1);
        if (s[i].r > 21 && s[i].r < 23) {
            size[0] += log(s[i].radius);
            number[0]++;
        } else if (s[i].r > 26) {
            size[1] += log(s[i].radius);
            number[1]++;
        }
    }
    assert_true(number[0] > 50 && number[1] > 1000);
    /* CatSim: 0.65 arcsec (major axis, disks) at r = 22.5, 0.28 at 26.5; circularised less. */
    assert_true(size[0] / number[0] > log(0.3) && size[0] / number[0] < log(0.8));
    assert_true(size[1] / number[1] > log(0.12) && size[1] / number[1] < log(0.3));
    sq_free(s);
    sq_sim_optical_destroy(sim);
}

static void noise_is_as_stated(sq_sim_preset preset, double correlation)
{
    enum { W = 700, H = 500 };
    sq_sim_optical_config config = empty_sky(preset);
    config.correlation = correlation;
    int nband = sq_sim_optical_bands(preset, NULL, NULL);
    sq_sim_optical *sim = make(&config);
    sq_cutout *c = render(sim, nband, 0, 0, W, H);
    for (int b = 0; b < nband; b++) {
        double sum = 0, square = 0, right = 0, up = 0, other = 0, third = 0, fourth = 0;
        int64_t plane = sq_cutout_plane(c, b), next = sq_cutout_plane(c, (b + 1) % nband);
        for (int64_t y = 0; y < H - 1; y++) {
            for (int64_t x = 0; x < W - 1; x++) {
                int64_t i = plane + y * W + x;
                double z = c->image[i] / c->sky_sigma[i];
                sum += z;
                square += z * z;
                third += z * z * z;
                fourth += z * z * z * z;
                right += z * c->image[i + 1] / c->sky_sigma[i + 1];
                up += z * c->image[i + W] / c->sky_sigma[i + W];
                int64_t k = next + y * W + x;
                other += z * c->image[k] / c->sky_sigma[k];
                assert_true(fabs(c->variance[i] / (c->sky_sigma[i] * c->sky_sigma[i]) - 1) < 1e-5);
                assert_int_equal(c->mask[i], 0);
            }
        }
        /* Correlated noise has fewer independent values: errors are widened for it. */
        double n = (W - 1.0) * (H - 1.0), error = 3 / sqrt(n);
        assert_true(fabs(sum / n) < 5 * error);
        assert_true(fabs(square / n - 1) < 5 * sqrt(2) * error);
        assert_true(fabs(fourth / n - 3) < 0.15);
        /* Poisson's skewness: electrons over (electrons + read variance)^1.5. */
        int64_t k = plane + W * (H / 2) + W / 2;
        double electrons = c->sky[k] * c->gain[b], all = c->variance[k] * c->gain[b] * c->gain[b];
        if (c->correlation[b][0] == 0)
            assert_true(fabs(third / n - electrons / pow(all, 1.5)) < 5 * sqrt(15) / sqrt(n));
        assert_true(fabs(right / n - c->correlation[b][0]) < 5 * error);
        assert_true(fabs(up / n - c->correlation[b][1]) < 5 * error);
        assert_true(fabs(other / n) < 5 * error);
        if (correlation > 0 && (preset == SQ_SIM_LSST || b == 2))
            assert_true(fabs(c->correlation[b][0] - correlation) < 1e-9);
    }
    sq_cutout_destroy(c);
    sq_sim_optical_destroy(sim);
}

static void noise_is_stated(void **state)
{
    (void)state;
    noise_is_as_stated(SQ_SIM_SDSS, 0);
    noise_is_as_stated(SQ_SIM_LSST, 0);
    noise_is_as_stated(SQ_SIM_LSST, 0.2);
}

/* The sky varies by its gradient, and photons of sky and sources make the variance. */
static void photons_make_variance(void **state)
{
    (void)state;
    enum { W = 400, H = 300 };
    sq_sim_optical_config config = empty_sky(SQ_SIM_SDSS);
    config.tile_nx = W;
    config.tile_ny = H;
    config.sky_gradient = 0.05;
    config.resampled = 0;
    sq_sim_optical *dark = make(&config);
    sq_cutout *empty = render(dark, 5, 0, 0, W, H);
    config.star_density = 1e5;
    config.bright_limit = 18;
    config.saturation = config.bleed = 0;
    sq_sim_optical *full = make(&config);
    sq_cutout *stars = render(full, 5, 0, 0, W, H);
    for (int b = 0; b < 5; b++) {
        float low = INFINITY, high = 0;
        double read = -1, photons = 0;
        for (int64_t i = 0; i < W * H; i++) {
            int64_t k = sq_cutout_plane(empty, b) + i;
            low = fminf(low, empty->sky[k]);
            high = fmaxf(high, empty->sky[k]);
            double rest = empty->variance[k] - empty->sky[k] / empty->gain[b];
            read = read < 0 ? rest : read;
            assert_true(fabs(rest - read) < 1e-4 * empty->variance[k]);
            /* The same noise in both: what the stars add to the variance is their photons. */
            photons += (stars->variance[k] - empty->variance[k]) * stars->gain[b];
        }
        assert_true(high / low > 1.005 && high / low < 2);
        sq_sim_source *s;
        int64_t n;
        double flux = 0;
        OK(sq_sim_optical_sources(full, 0, -0.5, -0.5, W - 0.5, H - 0.5, -30, &s, &n));
        for (int64_t i = 0; i < n; i++)
            flux += s[i].flux[b];
        sq_free(s);
        assert_true(flux > 0 && photons > 0.97 * flux);
        OK(sq_sim_optical_sources(full, 0, -0.5, -0.5, W - 0.5, H - 0.5, 30, &s, &n));
        flux = 0;
        for (int64_t i = 0; i < n; i++)
            flux += s[i].flux[b];
        sq_free(s);
        assert_true(photons < 1.03 * flux);
    }
    sq_cutout_destroy(empty);
    sq_cutout_destroy(stars);
    sq_sim_optical_destroy(dark);
    sq_sim_optical_destroy(full);
}

static void defects_have_bits(void **state)
{
    (void)state;
    enum { W = 700, H = 500 };
    for (int preset = 0; preset < 2; preset++) {
        sq_sim_optical_config config = empty_sky((sq_sim_preset)preset);
        config.star_density = 3e5;
        config.bright_limit = 10;
        config.faint_limit = 15;
        config.bad_columns = 12;
        config.cosmics = 200;
        config.cosmics_unmasked = 0;
        int nband = sq_sim_optical_bands(preset, NULL, NULL);
        sq_sim_optical *sim = make(&config);
        sq_cutout *c = render(sim, nband, 0, 0, W, H);
        int64_t seen[5] = {0};
        const uint32_t bits[5] = {SQ_MASK_SATURATED, SQ_MASK_COSMIC, SQ_MASK_BRIGHT,
                                  preset ? SQ_MASK_BAD : SQ_MASK_INTERPOLATED, SQ_MASK_OUTSIDE};
        float level[SQ_MAX_BANDS] = {0};
        for (int64_t i = 0; i < (int64_t)nband * W * H; i++) {
            int64_t b = i / (W * H);
            for (int k = 0; k < 5; k++)
                seen[k] += (c->mask[i] & bits[k]) != 0;
            assert_true(((c->mask[i] & SQ_MASK_BAD) == 0) == (isfinite(c->variance[i]) != 0));
            assert_true(isfinite(c->image[i]));
            /* Whatever saturates does so at one level of the detector. */
            if ((c->mask[i] & SQ_MASK_SATURATED) &&
                !(c->mask[i] & ~SQ_MASK_SATURATED & ~SQ_MASK_BRIGHT)) {
                float full = c->image[i] + c->sky[i];
                level[b] = level[b] > 0 ? level[b] : full;
                assert_true(fabsf(full / level[b] - 1) < 1e-3f);
            }
        }
        for (int k = 0; k < 4; k++)
            assert_true(seen[k] > 20);
        assert_int_equal(seen[4], 0);
        sq_cutout_destroy(c);
        sq_sim_optical_destroy(sim);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Geometric mean of the sky rms (nJy per pixel) of the 1,578 real fields, from photoField:
 *   python3: s = np.sqrt(SKY*.396**2/NMGYPERCOUNT/GAIN+DARK_VARIANCE)*NMGYPERCOUNT*3630.78;
 * np.exp(np.log(s).mean(0)) */
static void conditions_are_sdss(void **state)
{
    (void)state;
    enum { SAMPLES = 400 };
    const double median[5] = {172.8, 68.5, 102.6, 164.8, 651.0};
    sq_sim_optical_config config = empty_sky(SQ_SIM_SDSS);
    config.resampled = 0;
    sq_sim_optical *sim = make(&config);
    sq_cutout *c;
    static double sigma[5][SAMPLES];
    OK(sq_cutout_create(5, 8, 8, &c));
    for (int i = 0; i < SAMPLES; i++) {
        sq_sim_source *s;
        int64_t n;
        OK(sq_sim_optical_sample(sim, 3, (uint64_t)i, 0, c, &s, &n));
        sq_free(s);
        for (int b = 0; b < 5; b++)
            sigma[b][i] = c->sky_sigma[sq_cutout_plane(c, b)];
    }
    for (int b = 0; b < 5; b++) {
        qsort(sigma[b], SAMPLES, sizeof(double), by_value);
        print_message("band %d: sky rms %.1f nJy, real fields %.1f\n", b, sigma[b][SAMPLES / 2],
                      median[b]);
        assert_true(fabs(log(sigma[b][SAMPLES / 2] / median[b])) < 0.12);
        assert_true(sigma[b][SAMPLES * 9 / 10] / sigma[b][SAMPLES / 10] > 1.1);
        assert_true(sigma[b][SAMPLES - 1] / sigma[b][0] < 10);
    }
    sq_cutout_destroy(c);
    sq_sim_optical_destroy(sim);
}

/* A sample depends on (seed, index) alone; others differ. */
static void samples_are_streams(void **state)
{
    (void)state;
    sq_sim_optical_config config;
    sq_sim_optical_defaults(SQ_SIM_SDSS, &config);
    sq_sim_optical *sim = make(&config), *again = make(&config);
    sq_cutout *a, *b;
    sq_sim_source *s, *t;
    int64_t n, m;
    OK(sq_cutout_create(5, 64, 64, &a));
    OK(sq_cutout_create(5, 64, 64, &b));
    OK(sq_sim_optical_sample(sim, 5, 17, 4, a, &s, &n));
    OK(sq_sim_optical_sample(again, 5, 16, 4, b, &t, &m));
    assert_false(same(a->image, b->image, 5 * 64 * 64 * sizeof(float)));
    sq_free(t);
    OK(sq_sim_optical_sample(again, 5, 17, 4, b, &t, &m));
    assert_int_equal(n, m);
    assert_true(same(s, t, (size_t)n * sizeof *s));
    assert_true(same(a->image, b->image, 5 * 64 * 64 * sizeof(float)));
    assert_true(same(a->psf, b->psf, 5 * 9 * SQ_PSF_SIDE * SQ_PSF_SIDE * sizeof(float)));
    for (int64_t i = 1; i < n; i++)
        assert_true(s[i].r >= s[i - 1].r);
    sq_free(s);
    sq_free(t);
    sq_cutout_destroy(a);
    sq_cutout_destroy(b);
    sq_sim_optical_destroy(sim);
    sq_sim_optical_destroy(again);
}

static void refuses_nonsense(void **state)
{
    (void)state;
    sq_sim_optical_config config, good;
    sq_sim_optical *sim;
    sq_cutout *c;
    sq_sim_optical_defaults(SQ_SIM_SDSS, &good);
    config = good;
    config.faint_limit = config.bright_limit;
    assert_int_equal(sq_sim_optical_create(&config, &sim), SQ_ERR_CONFIG);
    config = good;
    config.density_high = config.density_low / 2;
    assert_int_equal(sq_sim_optical_create(&config, &sim), SQ_ERR_CONFIG);
    config = good;
    config.overlap = config.tile_ny;
    assert_int_equal(sq_sim_optical_create(&config, &sim), SQ_ERR_CONFIG);
    config = good;
    config.tiles_x = 10000;
    assert_int_equal(sq_sim_optical_create(&config, &sim), SQ_ERR_CONFIG);
    config = good;
    config.star_density = 1e8;
    config.faint_limit = 32;
    assert_int_equal(sq_sim_optical_create(&config, &sim), SQ_ERR_CONFIG);
    OK(sq_sim_optical_create(&good, &sim));
    OK(sq_cutout_create(6, 8, 8, &c));
    assert_int_equal(sq_sim_optical_render(sim, 0, 0, 0, c), SQ_ERR_USAGE);
    assert_int_equal(sq_sim_optical_render(sim, 1, 0, 0, c), SQ_ERR_USAGE);
    sq_cutout_destroy(c);
    sq_sim_optical_destroy(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(boxes_equal_whole),   cmocka_unit_test(tiles_share_sources),
        cmocka_unit_test(counts_follow_law),   cmocka_unit_test(sources_are_sane),
        cmocka_unit_test(noise_is_stated),     cmocka_unit_test(photons_make_variance),
        cmocka_unit_test(defects_have_bits),   cmocka_unit_test(conditions_are_sdss),
        cmocka_unit_test(samples_are_streams), cmocka_unit_test(refuses_nonsense),
    };
    return cmocka_run_group_tests_name("optical", tests, NULL, NULL);
}
