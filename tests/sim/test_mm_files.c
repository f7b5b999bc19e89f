/* mm surveys as files: maps in every projection hold the same sky, also across right ascension 0
 * and over a pole; weights, units, beams, truth; what is there is kept; fields keep apart. */
#include <complex.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "fits/map.h"
#include "fourier/interpolate.h"
#include "sim/mm.h"
#include "sky/sphere.h"
#include "store/tensor.h"

enum { SIDE = 128, POINTS = 400 };
static const double ARCMIN = M_PI / 180 / 60;
static char folder[] = "/tmp/sq_mm_files_XXXXXX";
static double ghz[] = {95, 150}, fwhm[] = {3, 3}, noise[] = {5, 5}, zero[] = {0, 0};

static sq_sim_mm_config small_config(void)
{
    sq_sim_mm_config c;
    sq_sim_mm_defaults(&c);
    c.side = SIDE;
    c.pixel = 1;
    c.mass_min = 1e14;
    c.ghz = (sq_config_reals){ghz, 2};
    c.fwhm = (sq_config_reals){fwhm, 2};
    c.noise = (sq_config_reals){noise, 2};
    c.knee = c.slope = (sq_config_reals){zero, 2};
    return c;
}

static const char *in_folder(const char *name)
{
    static char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void empty_folder(void)
{
    char command[100];
    snprintf(command, sizeof command, "rm -f %s/*", folder);
    assert_int_equal(system(command), 0);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
    (void)state;
    empty_folder();
    return rmdir(folder);
}

static void write_field(const sq_sim_mm_config *c, int64_t field)
{
    sq_sim_mm *sim;
    assert_int_equal(sq_sim_mm_create(c, &sim), SQ_OK);
    assert_int_equal(sq_sim_mm_write_field(sim, field, false, folder), SQ_OK);
    sq_sim_mm_destroy(sim);
}

/* The field's own map as a spline. */
static double *own_map(const sq_sim_mm_config *c, sq_flat *flat)
{
    sq_sim_mm *sim;
    sq_mm_field f;
    sq_fft *fft;
    static double map[SIDE * SIDE];
    static double _Complex modes[SIDE * (SIDE / 2 + 1)];
    assert_int_equal(sq_sim_mm_create(c, &sim), SQ_OK);
    assert_int_equal(sq_sim_mm_field(sim, 0, &f), SQ_OK);
    assert_int_equal(sq_fft_create(SIDE, SIDE, &fft), SQ_OK);
    for (int i = 0; i < SIDE * SIDE; i++)
        map[i] = f.map[1][i];
    sq_fft_forward(fft, map, modes);
    sq_filter_spline(&f.flat, modes);
    sq_fft_backward(fft, modes, map);
    *flat = f.flat;
    sq_fft_destroy(fft);
    sq_mm_field_clear(&f);
    sq_sim_mm_destroy(sim);
    return map;
}

/* Points of the field: flat pixels and directions. */
static void points(const sq_sim_mm_config *c, double *x, double *y, double *ra, double *dec)
{
    sq_sim_mm_config own = *c;
    sq_sim_mm *sim;
    sq_wcs *wcs;
    int64_t nx, ny;
    own.projection = SQ_MM_ZEA;
    assert_int_equal(sq_sim_mm_create(&own, &sim), SQ_OK);
    assert_int_equal(sq_sim_mm_grid(sim, 0, &wcs, &nx, &ny), SQ_OK);
    assert_int_equal(nx, SIDE);
    for (int k = 0; k < POINTS; k++) {
        x[k] = 3 + fmod(k * 0.6180339887, 1) * (SIDE - 7);
        y[k] = 3 + fmod(k * 0.7548776662, 1) * (SIDE - 7);
    }
    assert_int_equal(sq_wcs_pix2sky(wcs, POINTS, x, y, ra, dec), SQ_OK);
    sq_wcs_destroy(wcs);
    sq_sim_mm_destroy(sim);
}

static void same_sky(double ra0, double dec0, int projection)
{
    static const char *const code[] = {"ZEA", "TAN", "CAR", "CEA"};
    static double x[POINTS], y[POINTS], ra[POINTS], dec[POINTS];
    static float value[POINTS];
    static uint8_t valid[POINTS];
    double square = 0, wrong = 0, lost = 0;
    sq_sim_mm_config c = small_config();
    sq_map *map;
    sq_flat flat;
    c.ra = ra0;
    c.dec = dec0;
    c.projection = projection;
    c.noise_factor = 0;
    c.depth = 0;
    empty_folder();
    write_field(&c, 0);
    double *spline = own_map(&c, &flat);
    points(&c, x, y, ra, dec);
    assert_int_equal(sq_map_open(in_folder("field-000-150.fits"), NULL, &map), SQ_OK);
    assert_string_equal(sq_map_information(map)->projection, code[projection]);
    assert_int_equal(sq_map_information(map)->nplane, 2);
    assert_int_equal(sq_map_sample(map, sq_map_find_plane(map, "I"), SQ_MAP_BICUBIC, POINTS, ra,
                                   dec, value, valid),
                     SQ_OK);
    for (int k = 0; k < POINTS; k++) {
        double want = sq_spline_value(&flat, spline, x[k], y[k]);
        lost += !valid[k];
        square += valid[k] ? want * want : 0;
        wrong += valid[k] ? pow(value[k] - want, 2) : 0;
    }
    print_message("%s at %g, %g: %lld x %lld pixels, error %.1e of the rms, %.0f points lost\n",
                  code[projection], ra0, dec0, (long long)sq_map_information(map)->nx,
                  (long long)sq_map_information(map)->ny, sqrt(wrong / square), lost);
    /* The reader's cubic kernel sets the error. */
    assert_true(sqrt(wrong / square) < 0.01);
    assert_true(lost <= 0.02 * POINTS);
    sq_map_close(map);
}

static void test_projections(void **state)
{
    (void)state;
    for (int projection = 0; projection < 4; projection++) {
        same_sky(40, -35, projection);
        same_sky(0, 10, projection);
    }
    same_sky(10, 90, SQ_MM_ZEA);
    same_sky(10, -89.7, SQ_MM_TAN);
    same_sky(10, 89.5, SQ_MM_CAR);
}

/* The scatter of a map of noise is that of its weights, and those are those of the pixels' area. */
static void test_weights(void **state)
{
    (void)state;
    for (int projection = 0; projection < 4; projection++) {
        sq_sim_mm_config c = small_config();
        static float value[SIDE * SIDE * 2], ivar[SIDE * SIDE * 2];
        static uint8_t valid[SIDE * SIDE * 2], known[SIDE * SIDE * 2];
        double square = 0, n = 0, level = 0;
        sq_map *map;
        c.dec = -40;
        c.tsz = c.cmb = c.dust = c.radio = c.velocity = 0;
        c.projection = projection;
        empty_folder();
        write_field(&c, 0);
        assert_int_equal(sq_map_open(in_folder("field-000-95.fits"), NULL, &map), SQ_OK);
        const sq_wcs *grid = sq_map_wcs(map);
        int nx = (int)sq_map_information(map)->nx, ny = (int)sq_map_information(map)->ny;
        assert_true(nx * ny < 2 * SIDE * SIDE);
        assert_string_equal(sq_map_information(map)->plane[1].unit, "uK^-2");
        assert_int_equal(sq_map_patch(map, 0, grid, nx, ny, SQ_MAP_NEAREST, value, valid), SQ_OK);
        assert_int_equal(sq_map_patch(map, 1, grid, nx, ny, SQ_MAP_NEAREST, ivar, known), SQ_OK);
        for (int i = 0; i < nx * ny; i++) {
            assert_true(known[i] && valid[i] == (ivar[i] > 0));
            if (!valid[i])
                continue;
            double side = sq_wcs_scale(grid, i % nx, i / nx) / 60;
            square += value[i] * value[i] * ivar[i];
            level += 1 / (sqrt(ivar[i]) * 1) * side;
            n++;
        }
        print_message("projection %d: %.0f pixels, chi2 %.4f, level %.3f\n", projection, n,
                      square / n, level / n);
        assert_true(fabs(square / n - 1) < 5 * sqrt(2 / n));
        assert_true(fabs(level / n / 5 - 1) < 0.15); /* rms 0.1 of the depth over the field */
        sq_map_close(map);
    }
}

static void test_choices(void **state)
{
    (void)state;
    sq_sim_mm_config c = small_config();
    sq_map *map;
    double rms = 0, again = 0;
    empty_folder();
    write_field(&c, 0);
    assert_int_equal(sq_map_open(in_folder("field-000-95.fits"), NULL, &map), SQ_OK);
    assert_int_equal(sq_map_check_unit(map, 0, &rms), SQ_OK);
    sq_map_close(map);
    /* In K, with hits of their own: the same values in uK. */
    c.unit = 1;
    c.weights = SQ_MM_HITS;
    empty_folder();
    write_field(&c, 0);
    assert_int_equal(sq_map_open(in_folder("field-000-95.fits"), NULL, &map), SQ_OK);
    assert_int_equal(sq_map_information(map)->nplane, 1);
    assert_int_equal(sq_map_check_unit(map, 0, &again), SQ_OK);
    assert_true(fabs(again / rms - 1) < 1e-4);
    sq_map_close(map);
    assert_int_equal(sq_map_open(in_folder("field-000-95-hits.fits"), NULL, &map), SQ_OK);
    assert_string_equal(sq_map_information(map)->plane[0].name, "hits");
    sq_map_close(map);
}

static void test_beams(void **state)
{
    (void)state;
    sq_sim_mm_config c = small_config();
    char *names[] = {NULL, ""};
    char path[200];
    double b[3001], theta, value;
    sq_sim_mm *sim;
    FILE *file;
    empty_folder();
    snprintf(path, sizeof path, "%s", in_folder("given.txt"));
    names[0] = path;
    /* Not normalised, every tenth l, with a tail. */
    file = fopen(path, "w");
    fprintf(file, "# a beam\n");
    for (int l = 0; l <= 9000; l += 10)
        fprintf(file, "%d %.9g\n", l, 3e-8 * (exp(-l * l / 8e6) + 0.01) / 1.01);
    fclose(file);
    c.beam_files = (sq_config_texts){names, 2};
    assert_int_equal(sq_sim_mm_create(&c, &sim), SQ_OK);
    sq_sim_mm_beam(sim, 0, 3000, b);
    assert_true(fabs(b[0] - 1) < 1e-12 && fabs(b[2000] - (exp(-0.5) + 0.01) / 1.01) < 1e-6);
    assert_true(fabs(b[1005] - (exp(-1005 * 1005 / 8e6) + 0.01) / 1.01) < 1e-5);
    sq_sim_mm_beam(sim, 1, 3000, b);
    double sigma = 3 * ARCMIN / sqrt(8 * log(2));
    assert_true(fabs(b[2000] - exp(-0.5 * 2000 * 2001 * sigma * sigma)) < 1e-9);
    sq_sim_mm_destroy(sim);
    /* The radial profile of a Gaussian. */
    c.beam_format = 1;
    assert_int_equal(sq_sim_mm_create(&c, &sim), SQ_OK);
    assert_int_equal(sq_sim_mm_write_field(sim, 0, true, folder), SQ_OK);
    assert_int_equal(sq_sim_mm_write_survey(sim, folder), SQ_OK);
    sq_sim_mm_destroy(sim);
    file = fopen(in_folder("beam-150.txt"), "r");
    int rows = 0;
    for (char line[100]; fgets(line, sizeof line, file);) {
        if (sscanf(line, "%lf %lf", &theta, &value) != 2)
            continue;
        assert_true(fabs(value - exp(-0.5 * pow(theta * ARCMIN / sigma, 2))) < 1e-3);
        rows++;
    }
    fclose(file);
    assert_true(rows > 100);
    file = fopen(path, "w");
    fprintf(file, "0 1\n1 0.9\n1 0.8\n");
    fclose(file);
    assert_int_equal(sq_sim_mm_create(&c, &sim), SQ_ERR_DATA);
    assert_non_null(strstr(sq_error(), "given.txt:3"));
    names[0] = "/nowhere";
    assert_int_equal(sq_sim_mm_create(&c, &sim), SQ_ERR_CONFIG);
}

/* Sources painted by splines have the flux and the beam's shape wherever in a pixel they lie. */
static void test_sources(void **state)
{
    (void)state;
    sq_sim_mm_config c = small_config();
    sq_sim_mm *sim;
    sq_mm_field f;
    double sum = 0, flux = 0, kelvin = sq_mm_kelvin_per_jansky(150, 2.726);
    c.tsz = c.cmb = c.dust = c.velocity = c.noise_factor = c.radio_cluster = 0;
    c.radio_min = 10; /* the fainter ones are a Gaussian field of mean 0 */
    assert_int_equal(sq_sim_mm_create(&c, &sim), SQ_OK);
    assert_int_equal(sq_sim_mm_field(sim, 0, &f), SQ_OK);
    for (int i = 0; i < SIDE * SIDE; i++)
        sum += f.map[1][i];
    for (int64_t i = 0; i < f.nsource; i++)
        flux += f.source[i].flux * 1e-3;
    sum *= f.flat.dx * f.flat.dy * 1e-6 / kelvin;
    print_message("%lld sources of %.4f Jy: %.4f Jy in the map\n", (long long)f.nsource, flux, sum);
    assert_true(f.nsource > 0);
    assert_true(fabs(sum - flux) < 0.03 * flux + 0.005);
    sq_mm_field_clear(&f);
    sq_sim_mm_destroy(sim);
}

static int64_t rows_of(sq_h5 *file, const char *name)
{
    sq_dtype type;
    int rank;
    int64_t dim[8];
    assert_int_equal(sq_h5_shape(file, name, &type, &rank, dim), SQ_OK);
    return dim[0];
}

/* Truth: all fields, positions on the maps' own pixels, and only what is missing is made again. */
static void test_truth(void **state)
{
    (void)state;
    sq_sim_mm_config c = small_config();
    sq_sim_mm *sim;
    sq_h5 *file;
    struct stat before, after;
    c.fields = 3;
    c.projection = SQ_MM_CAR;
    c.catalogue = 5;
    empty_folder();
    assert_int_equal(sq_sim_mm_create(&c, &sim), SQ_OK);
    for (int64_t k = 0; k < 3; k++)
        assert_int_equal(sq_sim_mm_write_field(sim, k, k == 2, folder), SQ_OK);
    assert_int_equal(sq_sim_mm_write_survey(sim, folder), SQ_OK);
    assert_int_equal(sq_h5_open(in_folder("truth.h5"), &file), SQ_OK);
    int64_t n = rows_of(file, "halos/x");
    double *v = calloc((size_t)(4 * n), sizeof *v);
    int32_t *field = calloc((size_t)n, sizeof *field);
    const char *const names[] = {"halos/x", "halos/y", "halos/ra", "halos/dec"};
    for (int k = 0; k < 4; k++)
        assert_int_equal(sq_h5_read(file, names[k], SQ_F64, 0, n, v + k * n), SQ_OK);
    assert_int_equal(sq_h5_read(file, "halos/field", SQ_I32, 0, n, field), SQ_OK);
    for (int64_t i = 0; i < n; i++) {
        sq_wcs *wcs;
        int64_t nx, ny;
        double ra, dec;
        assert_true(i == 0 || field[i] >= field[i - 1]);
        if (i % 7)
            continue;
        assert_int_equal(sq_sim_mm_grid(sim, field[i], &wcs, &nx, &ny), SQ_OK);
        assert_true(v[i] > -1 && v[i] < (double)nx && v[n + i] > -1 && v[n + i] < (double)ny);
        assert_int_equal(sq_wcs_pix2sky(wcs, 1, &v[i], &v[n + i], &ra, &dec), SQ_OK);
        assert_true(sq_separation(ra, dec, v[2 * n + i], v[3 * n + i]) < 1e-9);
        sq_wcs_destroy(wcs);
    }
    assert_int_equal(field[n - 1], 2);
    assert_int_equal(sq_h5_close(file), SQ_OK);
    free(v);
    free(field);
    assert_int_equal(stat(in_folder("sources.fits"), &before), 0);
    assert_int_equal(stat(in_folder("field-001-95.fits"), &before), 0);
    assert_int_equal(unlink(in_folder("field-000-150.fits")), 0);
    for (int64_t k = 0; k < 3; k++)
        assert_int_equal(sq_sim_mm_write_field(sim, k, false, folder), SQ_OK);
    assert_int_equal(stat(in_folder("field-001-95.fits"), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(stat(in_folder("field-000-150.fits"), &after), 0);
    assert_int_equal(stat(in_folder("field-002-150.fits"), &after), 0);
    sq_sim_mm_destroy(sim);
}

static void test_places(void **state)
{
    (void)state;
    sq_sim_mm_config c = small_config();
    const double start[] = {0, -50, 88, 90};
    c.fields = 60;
    c.side = 600;
    c.gap = 2;
    for (int k = 0; k < 4; k++) {
        sq_sim_mm *sim;
        double least = 180, ra, dec, ra2, dec2;
        c.ra = 350;
        c.dec = start[k];
        assert_int_equal(sq_sim_mm_create(&c, &sim), SQ_OK);
        sq_sim_mm_centre(sim, 0, &ra, &dec);
        assert_true(ra == 350 && dec == start[k]);
        for (int64_t i = 0; i < 60; i++) {
            sq_sim_mm_centre(sim, i, &ra, &dec);
            for (int64_t j = 0; j < i; j++) {
                sq_sim_mm_centre(sim, j, &ra2, &dec2);
                least = fmin(least, sq_separation(ra, dec, ra2, dec2));
            }
        }
        assert_true(least > 10 * sqrt(2) + 2 - 1e-6);
        sq_sim_mm_destroy(sim);
    }
    /* More fields than the sky holds can be drawn, but not written. */
    c.fields = 1000;
    sq_sim_mm *sim;
    assert_int_equal(sq_sim_mm_create(&c, &sim), SQ_OK);
    assert_int_equal(sq_sim_mm_write_field(sim, 999, true, folder), SQ_ERR_CONFIG);
    sq_sim_mm_destroy(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_projections), cmocka_unit_test(test_weights),
        cmocka_unit_test(test_choices),     cmocka_unit_test(test_beams),
        cmocka_unit_test(test_sources),     cmocka_unit_test(test_truth),
        cmocka_unit_test(test_places)};
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
