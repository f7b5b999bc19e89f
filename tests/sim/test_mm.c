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

enum { SIDE = 480 };
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

/* Power at 150 GHz in rings against what goes in: CMB and kSZ, dust, noise, with the beam. */
static void test_power(void **state)
{
    (void)state;
    sq_sim_mm_config c = small_config();
    sq_sim_mm *sim;
    sq_fft *fft;
    double *map = NULL, *cl = NULL, power[4] = {0}, edges[] = {800, 1200, 2600, 3400, 5400};
    double _Complex *modes = NULL;
    int64_t count[4];
    c.tsz = c.velocity = c.radio = c.depth = 0;
    c.mass_min = 1e15;
    assert_int_equal(SQ_ALLOC(cl, 6001, "spectrum"), SQ_OK);
    assert_int_equal(sq_fiducial_spectrum(SQ_LENSED_TT, 6000, cl), SQ_OK);
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
        double want = 0, weight = 0, sigma = 1.2 * ARCMIN / sqrt(8 * log(2));
        for (int l = (int)edges[i]; l < edges[i + 1]; l++) {
            double d = 2 * M_PI / ((double)l * (l + 1)),
                   b = exp(-(double)l * (l + 1) * sigma * sigma);
            double dust = d * (9.42 * pow(l / 3000.0, 2) + 3.37 * pow(l / 3000.0, 0.8));
            want += l * ((cl[l] + dust) * b + pow(2.6 * ARCMIN, 2));
            weight += l;
        }
        double error = sqrt(2.0 / (8 * (double)count[i]));
        print_message("ring %d: power over expected %.3f +- %.3f\n", i, power[i] / (want / weight),
                      error);
        assert_true(fabs(power[i] / (want / weight) - 1) < 4 * error + 0.01);
    }
    sq_free(cl);
    sq_fft_destroy(fft);
    sq_sim_mm_destroy(sim);
}

/* Sources of 1 mJy and more: three per square degree above 2 mJy, and more in clusters. */
static void test_sources(void **state)
{
    (void)state;
    sq_sim_mm_config c = small_config();
    double bright = 0, area = 0, inside = 0;
    c.tsz = c.velocity = 0;
    for (int64_t field = 0; field < 4; field++) {
        sq_sim_mm *sim;
        sq_mm_field f;
        make(&c, field, &sim, &f);
        for (int64_t i = 0; i < f.nsource; i++) {
            assert_true(f.source[i].flux >= 1 && f.source[i].flux <= 1000);
            bright += f.source[i].flux > 2 && !f.source[i].cluster;
            inside += f.source[i].cluster;
        }
        area += sq_flat_area(&f.flat) * pow(180 / M_PI, 2);
        sq_mm_field_clear(&f);
        sq_sim_mm_destroy(sim);
    }
    assert_true(fabs(bright / area - 2.99) < 4 * sqrt(2.99 / area));
    assert_true(inside > 0);
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_halos), cmocka_unit_test(test_gas),
        cmocka_unit_test(test_power), cmocka_unit_test(test_sources),
        cmocka_unit_test(test_same),  cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
