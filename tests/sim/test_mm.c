/* The mm sky: counts and clustering of halos, painted y, power spectra, and that a field depends on
 * its number alone. */
#include <complex.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "sim/mm.h"
#include "sim/spectra.h"

enum { SIDE = 480, LMAX = 6000 };
static const double ARCMIN = M_PI / 180 / 60;

static sq_sim_mm_config small_config(void)
{
    sq_sim_mm_config c;
    sq_sim_mm_defaults(&c);
    c.seed = 20411;
    c.side = SIDE;
    c.fields = 8;
    return c;
}

static void make(const sq_sim_mm_config *c, int64_t field, sq_sim_mm **sim, sq_mm_field *out)
{
    assert_int_equal(sq_sim_mm_create(c, sim), SQ_OK);
    assert_int_equal(sq_sim_mm_field(*sim, field, out), SQ_OK);
}

/* Expected number above a mass in the field. */
static double expected(const sq_cosmology *c, double area, double mass)
{
    const sq_overdensity m200m = {SQ_MEAN, 200};
    double sum = 0, dz = 0.01, dm = 0.02;
    for (double z = 0.02 + dz / 2; z < 3; z += dz) {
        for (double m = log(mass) + dm / 2; m < log(5e15); m += dm)
            sum += sq_cosmology_volume(c, z) * dz * dm * sq_halo_mass_function(c, z, exp(m), m200m);
    }
    return sum * area;
}

/* Over four fields of 16 square degrees: the number of halos, within the scatter of clustered
 * counts, and more scatter between cells than Poisson has. */
static void test_halos(void **state)
{
    (void)state;
    sq_sim_mm_config c = small_config();
    double count = 0, heavy = 0, want = 0, want_heavy = 0, excess = 0;
    c.tsz = c.velocity = 0;
    for (int64_t field = 0; field < 4; field++) {
        sq_sim_mm *sim;
        sq_mm_field f;
        double cell[64] = {0}, square = 0;
        make(&c, field, &sim, &f);
        for (int64_t i = 0; i < f.nhalo; i++) {
            const sq_mm_halo *h = &f.halo[i];
            assert_true(h->x >= -0.5 && h->x < SIDE - 0.5 && h->y >= -0.5 && h->y < SIDE - 0.5);
            assert_true(h->z > 0.01 && h->z < 3.01 && h->m200m >= 1e13);
            assert_true(h->m500 < h->mvir && h->mvir < h->m200m * 1.05);
            assert_true(i == 0 || h->m200m <= f.halo[i - 1].m200m);
            heavy += h->m200m > 1e14;
            cell[(int)((h->x + 0.5) * 8 / SIDE) + 8 * (int)((h->y + 0.5) * 8 / SIDE)]++;
        }
        double mean = (double)f.nhalo / 64;
        for (int k = 0; k < 64; k++)
            square += (cell[k] - mean) * (cell[k] - mean) / 63;
        excess += square / mean / 4;
        count += (double)f.nhalo;
        double area = sq_flat_area(&f.flat);
        want += expected(sq_sim_mm_cosmology(sim), area, 1e13);
        want_heavy += expected(sq_sim_mm_cosmology(sim), area, 1e14);
        sq_mm_field_clear(&f);
        sq_sim_mm_destroy(sim);
    }
    print_message("halos %.0f of %.0f, above 1e14 %.0f of %.0f, variance over Poisson %.2f\n",
                  count, want, heavy, want_heavy, excess);
    assert_true(fabs(count / want - 1) < 0.04);
    assert_true(fabs(heavy / want_heavy - 1) < 4 * 1.5 / sqrt(want_heavy));
    assert_true(excess > 1.5 && excess < 8);
}

/* Round clusters without scatter: the sum of y over the map is that of the profiles. */
static void test_gas(void **state)
{
    (void)state;
    sq_sim_mm_config c = small_config();
    double one_ghz[] = {150}, one[] = {0};
    c.ghz = (sq_config_reals){one_ghz, 1};
    c.fwhm = c.noise = c.knee = c.slope = (sq_config_reals){one, 1};
    c.scatter = c.ellipticity = c.substructure = c.velocity = c.cmb = c.dust = c.radio = 0;
    c.beams = false;
    c.mass_min = 5e13;
    for (int gas = 0; gas < 2; gas++) {
        sq_sim_mm *sim;
        sq_mm_field f;
        double sum = 0, want = 0, peak = 0;
        c.gas = gas;
        make(&c, 1, &sim, &f);
        double per_y = 2.726e6 * sq_sz_spectrum(150, 2.726);
        for (int64_t i = 0; i < f.nhalo; i++) {
            const sq_overdensity m500 = {SQ_CRITICAL, 500}, m200 = {SQ_CRITICAL, 200};
            const sq_mm_halo *h = &f.halo[i];
            const sq_cosmology *cosmology = sq_sim_mm_cosmology(sim);
            sq_gas g;
            if (gas == SQ_GAS_ARNAUD)
                sq_gas_arnaud(cosmology, h->z, h->m500, &g);
            else
                sq_gas_battaglia(cosmology, h->z,
                                 sq_halo_convert(cosmology, h->z, h->m500, m500, m200), &g);
            want += g.flux;
            peak = fmax(peak, fabs(h->y0 / g.y0 - 1));
        }
        for (int64_t i = 0; i < SIDE * SIDE; i++)
            sum += f.map[0][i] / per_y * f.flat.dx * f.flat.dy;
        print_message("gas %d: y %.4f of the profiles' sum, y0 within %.3f\n", gas, sum / want,
                      peak);
        assert_true(fabs(sum / want - 1) < 0.01);
        assert_true(peak < (gas == SQ_GAS_ARNAUD ? 1e-9 : 0.05));
        sq_mm_field_clear(&f);
        sq_sim_mm_destroy(sim);
    }
}

/* What goes in at 150 GHz with the beam: CMB, dust, noise. 1 / sqrt(C_l) up to lmax. */
static void whitener(int lmax, double *out)
{
    double sigma = 1.2 * ARCMIN / sqrt(8 * log(2));
    assert_int_equal(sq_fiducial_spectrum(SQ_LENSED_TT, lmax, out), SQ_OK);
    for (int l = 1; l <= lmax; l++) {
        double ll = (double)l * (l + 1);
        double dust = 2 * M_PI / ll * (9.42 * pow(l / 3000.0, 2) + 3.37 * pow(l / 3000.0, 0.8));
        out[l] = 1 / sqrt((out[l] + dust) * exp(-ll * sigma * sigma) + pow(2.6 * ARCMIN, 2));
    }
    out[0] = 0;
}

/* Power in rings of modes whitened by what goes in: of small fields, a ring's mean of steep spectra
 * would depend on where its few modes lie. */
static void test_power(void **state)
{
    (void)state;
    sq_sim_mm_config c = small_config();
    sq_sim_mm *sim;
    sq_fft *fft;
    double *map = NULL, *white = NULL, power[4] = {0}, edges[] = {800, 1200, 2600, 3400, 5400};
    double _Complex *modes = NULL;
    int64_t count[4];
    c.tsz = c.velocity = c.radio = c.depth = 0;
    c.mass_min = 1e15;
    assert_int_equal(SQ_ALLOC(white, LMAX + 1, "spectrum"), SQ_OK);
    whitener(LMAX, white);
    assert_int_equal(sq_sim_mm_create(&c, &sim), SQ_OK);
    assert_int_equal(sq_fft_create(SIDE, SIDE, &fft), SQ_OK);
    for (int64_t field = 0; field < 8; field++) {
        sq_mm_field f;
        double now[4];
        assert_int_equal(sq_sim_mm_field(sim, field, &f), SQ_OK);
        assert_int_equal(SQ_ALLOC(map, SIDE * SIDE, "map"), SQ_OK);
        assert_int_equal(SQ_ALLOC(modes, sq_flat_modes(&f.flat), "modes"), SQ_OK);
        for (int i = 0; i < SIDE * SIDE; i++)
            map[i] = f.map[1][i];
        sq_fft_forward(fft, map, modes);
        sq_filter_table(&f.flat, white, LMAX, modes);
        assert_int_equal(sq_spectrum(&f.flat, modes, modes, 1, 4, edges, NULL, now, count), SQ_OK);
        for (int i = 0; i < 4; i++)
            power[i] += now[i] / 8;
        /* The stated variance is that of the noise. */
        assert_true(fabs(1 / sqrt(f.ivar[1][17]) / (2.6 / 0.5) - 1) < 1e-5);
        sq_free(map);
        sq_free(modes);
        map = NULL;
        modes = NULL;
        sq_mm_field_clear(&f);
    }
    for (int i = 0; i < 4; i++) {
        double error = sqrt(2.0 / (8 * (double)count[i]));
        print_message("ring %d: power over expected %.3f +- %.3f\n", i, power[i], error);
        assert_true(fabs(power[i] - 1) < 3.5 * error);
    }
    sq_free(white);
    sq_fft_destroy(fft);
    sq_sim_mm_destroy(sim);
}

/* What velocities add to two fields is all of the kSZ, of halos and diffuse: George et al.'s. */
static void test_ksz(void **state)
{
    (void)state;
    enum { FIELDS = 2 };
    sq_sim_mm_config c = small_config();
    sq_fft *fft;
    double *map = NULL, power = 0, edges[] = {2500, 3500};
    double _Complex *modes = NULL;
    c.tsz = c.dust = c.radio = c.noise_factor = 0;
    c.beams = false;
    assert_int_equal(sq_fft_create(SIDE, SIDE, &fft), SQ_OK);
    for (int64_t field = 0; field < FIELDS; field++) {
        sq_sim_mm *moving, *still;
        sq_mm_field a, b;
        double now;
        int64_t count;
        c.velocity = 300;
        make(&c, field, &moving, &a);
        c.velocity = 0;
        make(&c, field, &still, &b);
        assert_int_equal(SQ_ALLOC(map, SIDE * SIDE, "map"), SQ_OK);
        assert_int_equal(SQ_ALLOC(modes, sq_flat_modes(&a.flat), "modes"), SQ_OK);
        for (int i = 0; i < SIDE * SIDE; i++)
            map[i] = a.map[1][i] - b.map[1][i];
        sq_fft_forward(fft, map, modes);
        assert_int_equal(sq_spectrum(&a.flat, modes, modes, 1, 1, edges, NULL, &now, &count),
                         SQ_OK);
        power += now / FIELDS * 3000 * 3001 / (2 * M_PI);
        sq_free(map);
        sq_free(modes);
        map = NULL;
        modes = NULL;
        sq_mm_field_clear(&a);
        sq_mm_field_clear(&b);
        sq_sim_mm_destroy(moving);
        sq_sim_mm_destroy(still);
    }
    print_message("kSZ: D_3000 = %.2f uK^2 of 2.96\n", power);
    assert_true(fabs(power / 2.96 - 1) < 0.1);
    sq_fft_destroy(fft);
}

/* Sources of 1 mJy and more: three per square degree above 2 mJy, in halos and outside, and many
 * times as many close to clusters as elsewhere. */
static void test_sources(void **state)
{
    (void)state;
    sq_sim_mm_config c = small_config();
    double bright = 0, area = 0, inside = 0, near = 0, clusters = 0;
    c.tsz = c.velocity = 0;
    for (int64_t field = 0; field < 4; field++) {
        sq_sim_mm *sim;
        sq_mm_field f;
        make(&c, field, &sim, &f);
        for (int64_t i = 0; i < f.nsource; i++) {
            assert_true(f.source[i].flux >= 1 && f.source[i].flux <= 1000);
            bright += f.source[i].flux > 2;
            inside += f.source[i].cluster;
        }
        for (int64_t k = 0; k < f.nhalo && f.halo[k].m200m > 2e14; k++) {
            for (int64_t i = 0; i < f.nsource; i++)
                near += hypot(f.source[i].x - f.halo[k].x, f.source[i].y - f.halo[k].y) < 2;
            clusters++;
        }
        area += sq_flat_area(&f.flat) * pow(180 / M_PI, 2);
        sq_mm_field_clear(&f);
        sq_sim_mm_destroy(sim);
    }
    /* Within an arcminute of a cluster by chance 6 of 1 mJy per square degree. */
    double chance = clusters * 6 * M_PI / 3600;
    print_message(
        "sources > 2 mJy: %.2f per square degree of 2.99; at %.0f clusters %.0f, by chance "
        "%.1f\n",
        bright / area, clusters, near, chance);
    assert_true(fabs(bright / area - 2.99) < 4 * sqrt(2.99 / area));
    assert_true(inside > 0 && near > 3 * chance);
    /* 150 GHz: 1 mJy over a pixel of 0.5 arcmin is 119 uK. */
    double pixel = pow(0.5 * ARCMIN, 2);
    assert_true(fabs(1e-3 * 1e6 * sq_mm_kelvin_per_jansky(150, 2.726) / pixel / 118.7 - 1) < 0.01);
}

static void test_same(void **state)
{
    (void)state;
    sq_sim_mm_config c = small_config();
    sq_sim_mm *a, *b;
    sq_mm_field f, g;
    make(&c, 3, &a, &f);
    assert_int_equal(sq_sim_mm_create(&c, &b), SQ_OK);
    assert_int_equal(sq_sim_mm_field(b, 0, &g), SQ_OK);
    assert_true(memcmp(f.map[0], g.map[0], SIDE * SIDE * sizeof(float)) != 0);
    sq_mm_field_clear(&g);
    assert_int_equal(sq_sim_mm_field(b, 3, &g), SQ_OK);
    assert_int_equal(f.nhalo, g.nhalo);
    assert_memory_equal(f.halo, g.halo, (size_t)f.nhalo * sizeof *f.halo);
    for (int band = 0; band < 3; band++) {
        assert_memory_equal(f.map[band], g.map[band], SIDE * SIDE * sizeof(float));
        assert_memory_equal(f.ivar[band], g.ivar[band], SIDE * SIDE * sizeof(float));
    }
    sq_mm_field_clear(&f);
    sq_mm_field_clear(&g);
    sq_sim_mm_destroy(a);
    sq_sim_mm_destroy(b);
}

static void test_refusals(void **state)
{
    (void)state;
    sq_sim_mm_config c = small_config();
    sq_sim_mm *sim;
    sq_mm_field f;
    c.fwhm.count = 2;
    assert_int_equal(sq_sim_mm_create(&c, &sim), SQ_ERR_CONFIG);
    c = small_config();
    c.side = 102;
    assert_int_equal(sq_sim_mm_create(&c, &sim), SQ_ERR_CONFIG);
    c = small_config();
    assert_int_equal(sq_sim_mm_create(&c, &sim), SQ_OK);
    assert_int_equal(sq_sim_mm_field(sim, 8, &f), SQ_ERR_USAGE);
    sq_sim_mm_destroy(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_halos),   cmocka_unit_test(test_gas),
                                       cmocka_unit_test(test_power),   cmocka_unit_test(test_ksz),
                                       cmocka_unit_test(test_sources), cmocka_unit_test(test_same),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
