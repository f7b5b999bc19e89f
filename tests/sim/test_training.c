/* Training sets: shapes, contents against the cutout they come from, making them in pieces; truth
 * files. */
#include "sim_test.h"

#include "catalog/training.h"
#include "fits/cutout.h"
#include "store/tensor.h"

enum { SIDE = 32, TILE = 4, M = SIDE / TILE, B = 5, K = 40, F = 7 + B };

static sq_training_options options(int64_t first, int64_t samples)
{
    sq_training_options o;
    sq_training_defaults(SQ_SIM_SDSS, &o);
    o.seed = 11;
    o.first = first;
    o.samples = samples;
    o.side = SIDE;
    o.tile = TILE;
    o.sources = K;
    o.margin = 2;
    return o;
}

static sq_h5 *make(const char *path, int64_t first, int64_t samples)
{
    sq_sim_optical_config config;
    sq_h5 *file;
    sq_training_options o = options(first, samples);
    sq_sim_optical_defaults(SQ_SIM_SDSS, &config);
    config.density_low = 4;
    config.density_high = 8;
    OK(sq_training_write(path, &config, &o));
    OK(sq_h5_open(path, &file));
    return file;
}

static void check_shape(sq_h5 *file, const char *name, sq_dtype type, int rank, const int64_t *want)
{
    sq_dtype got;
    int n;
    int64_t dim[8];
    OK(sq_h5_shape(file, name, &got, &n, dim));
    assert_int_equal(got, type);
    assert_int_equal(n, rank);
    for (int i = 0; i < rank; i++)
        assert_int_equal(dim[i], want[i]);
}

static void has_its_datasets(void **state)
{
    (void)state;
    char path[512], *text;
    sq_h5 *file = make(scratch_path(path, sizeof path, "sq_training"), 0, 5);
    const int64_t image[] = {5, B, SIDE, SIDE}, planes[] = {5, B * SQ_PLANES_PER_BAND, M, M};
    const int64_t tiles[] = {5, B, M, M}, source[] = {5, K, F};
    check_shape(file, "image", SQ_F16, 4, image);
    check_shape(file, "planes", SQ_F32, 4, planes);
    check_shape(file, "mf_flux", SQ_F32, 4, tiles);
    check_shape(file, "mf_error", SQ_F32, 4, tiles);
    check_shape(file, "sigma", SQ_F32, 4, tiles);
    check_shape(file, "source", SQ_F32, 3, source);
    OK(sq_h5_read_text(file, "/", "fields", &text));
    assert_string_equal(text,
                        "x,y,flux_u,flux_g,flux_r,flux_i,flux_z,star,bulge_fraction,radius,e1,e2");
    sq_free(text);
    OK(sq_h5_close(file));
    unlink(path);
}

/* Sample 3 against the same sample rendered here. */
static void holds_the_cutout(void **state)
{
    (void)state;
    enum { S = 3, PIXELS = B * SIDE * SIDE };
    static float image[PIXELS], source[K * F];
    char path[512];
    sq_sim_optical_config config;
    sq_sim_optical *sim;
    sq_cutout *c;
    sq_sim_source *s;
    int64_t n;
    int32_t count, k = 0;
    sq_h5 *file = make(scratch_path(path, sizeof path, "sq_training"), 0, 5);
    sq_sim_optical_defaults(SQ_SIM_SDSS, &config);
    config.density_low = 4;
    config.density_high = 8;
    OK(sq_sim_optical_create(&config, &sim));
    OK(sq_cutout_create(B, SIDE, SIDE, &c));
    OK(sq_sim_optical_sample(sim, 11, S, 2, c, &s, &n));
    OK(sq_h5_read_f32(file, "image", S, 1, image));
    OK(sq_h5_read_f32(file, "source", S, 1, source));
    OK(sq_h5_read(file, "count", SQ_I32, S, 1, &count));
    for (int i = 0; i < PIXELS; i++) {
        double want = fmin(60000, fmax(-60000, c->image[i] / c->sky_sigma[i]));
        if (c->mask[i] & SQ_MASK_UNUSABLE)
            want = 0;
        assert_true(fabs(image[i] - want) <= fabs(want) / 1024 + 1e-6);
    }
    for (int64_t i = 0; i < n && k < count; i++) {
        if (s[i].r > 24)
            continue;
        const float *f = source + k++ * F;
        assert_true(f[0] == (float)s[i].x && f[1] == (float)s[i].y && f[4] == (float)s[i].flux[2]);
        assert_true(f[7] == (float)s[i].star && f[9] == (float)s[i].radius);
        assert_true(f[0] >= -2 && f[0] < SIDE + 2 && f[1] >= -2 && f[1] < SIDE + 2);
    }
    assert_true(count > 0);
    assert_int_equal(k, count);
    for (int i = count * F; i < K * F; i++)
        assert_true(source[i] == 0);
    sq_free(s);
    sq_cutout_destroy(c);
    sq_sim_optical_destroy(sim);
    OK(sq_h5_close(file));
    unlink(path);
}

/* Largest over smallest sky rms in r of 40 samples whose conditions are all the same but the depth.
 */
static double depth_range(double years_low)
{
    sq_sim_optical_config config;
    sq_sim_optical *sim;
    sq_cutout *c;
    double least = INFINITY, most = 0;
    sq_sim_optical_defaults(SQ_SIM_LSST, &config);
    config.spread = config.sky_gradient = 0;
    config.years = 8;
    config.years_low = years_low;
    OK(sq_sim_optical_create(&config, &sim));
    OK(sq_cutout_create(6, SIDE, SIDE, &c));
    for (uint64_t k = 0; k < 40; k++) {
        sq_sim_source *s;
        int64_t n;
        OK(sq_sim_optical_sample(sim, 5, k, 0, c, &s, &n));
        double sigma = c->sky_sigma[sq_cutout_plane(c, 2)];
        least = fmin(least, sigma);
        most = fmax(most, sigma);
        sq_free(s);
    }
    sq_cutout_destroy(c);
    sq_sim_optical_destroy(sim);
    return most / least;
}

/* Noise goes as one over the root of the years. */
static void depth_varies_on_demand(void **state)
{
    (void)state;
    assert_true(depth_range(0) < 1.01);
    double range = depth_range(2);
    assert_true(range > 1.8 && range < 2.01);
}

/* 70 samples at once (more than are written together) and the last four alone. */
static void comes_in_pieces(void **state)
{
    (void)state;
    enum { N = 4 * B * SIDE * SIDE };
    static float a[N], b[N];
    char path[2][512];
    sq_h5 *all = make(scratch_path(path[0], sizeof path[0], "sq_training_all"), 0, 70);
    sq_h5 *end = make(scratch_path(path[1], sizeof path[1], "sq_training_end"), 66, 4);
    const struct {
        const char *name;
        int n;
    } data[] = {{"image", B * SIDE * SIDE}, {"planes", B * SQ_PLANES_PER_BAND * M * M},
                {"mf_flux", B * M * M},     {"mf_error", B * M * M},
                {"sigma", B * M * M},       {"source", K * F}};
    for (size_t k = 0; k < sizeof data / sizeof *data; k++) {
        OK(sq_h5_read_f32(all, data[k].name, 66, 4, a));
        OK(sq_h5_read_f32(end, data[k].name, 0, 4, b));
        assert_memory_equal(a, b, 4 * (size_t)data[k].n * sizeof(float));
    }
    OK(sq_h5_close(all));
    OK(sq_h5_close(end));
    unlink(path[0]);
    unlink(path[1]);
}

static void refuses_nonsense(void **state)
{
    (void)state;
    char path[512];
    sq_sim_optical_config config;
    sq_sim_optical_defaults(SQ_SIM_SDSS, &config);
    scratch_path(path, sizeof path, "sq_training");
    sq_training_options o = options(0, 1);
    o.side = 33;
    assert_int_equal(sq_training_write(path, &config, &o), SQ_ERR_USAGE);
    o = options(-1, 1);
    assert_int_equal(sq_training_write(path, &config, &o), SQ_ERR_USAGE);
    o = options(0, 0);
    assert_int_equal(sq_training_write(path, &config, &o), SQ_ERR_USAGE);
    o = options(0, 1);
    assert_int_equal(sq_training_write("/nowhere/set.h5", &config, &o), SQ_ERR_IO);
    assert_int_equal(access(path, F_OK), -1);
}

/* Every source of the survey once, and in the tile where it lies deepest. */
static void truth_lists_once(void **state)
{
    (void)state;
    char path[512];
    sq_sim_optical_config config;
    sq_sim_optical *sim;
    sq_h5 *file;
    int64_t dim[8], seen = 0;
    int rank;
    sq_dtype type;
    sq_sim_optical_defaults(SQ_SIM_SDSS, &config);
    config.tile_nx = 500;
    config.tile_ny = 400;
    config.tiles_x = 3;
    config.tiles_y = 2;
    config.overlap = 120;
    OK(sq_sim_optical_create(&config, &sim));
    OK(sq_sim_optical_write_truth(sim, scratch_path(path, sizeof path, "sq_truth")));
    OK(sq_h5_open(path, &file));
    OK(sq_h5_shape(file, "x", &type, &rank, dim));
    int64_t n = dim[0];
    double *flux = calloc((size_t)n, sizeof *flux), *x = calloc((size_t)n, sizeof *x);
    double *y = calloc((size_t)n, sizeof *y);
    int32_t *tile = calloc((size_t)n, sizeof *tile);
    OK(sq_h5_read(file, "flux_r", SQ_F64, 0, n, flux));
    OK(sq_h5_read(file, "x", SQ_F64, 0, n, x));
    OK(sq_h5_read(file, "y", SQ_F64, 0, n, y));
    OK(sq_h5_read(file, "tile", SQ_I32, 0, n, tile));
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < i; k++)
            assert_true(flux[k] != flux[i]);
        /* A neighbour along x holds the outer half of the overlap deeper. */
        double low = tile[i] % 3 > 0 ? 59 : -1, high = tile[i] % 3 < 2 ? 440 : 500;
        /* (near the upper and lower edge both hold it equally deep) */
        if (y[i] > 130 && y[i] < 270)
            assert_true(x[i] > low && x[i] < high);
    }
    /* The survey as one tile of the same sky has the same sources. */
    for (int64_t t = 0; t < 6; t++) {
        sq_sim_source *s;
        int64_t count;
        OK(sq_sim_optical_sources(sim, t, 60, 60, 439, 339, 0, &s, &count));
        for (int64_t i = 0; i < count; i++) {
            int64_t k = 0;
            while (k < n && (flux[k] != s[i].flux[2] || tile[k] != t))
                k++;
            seen += k < n;
            assert_true(k < n);
        }
        sq_free(s);
    }
    assert_true(seen > 100);
    free(flux);
    free(x);
    free(y);
    free(tile);
    OK(sq_h5_close(file));
    sq_sim_optical_destroy(sim);
    unlink(path);
}

/* Every allocation fails in turn: an error each time, nothing held, no torn file. */
static void survives_failed_allocations(void **state)
{
    (void)state;
    char path[512];
    sq_sim_optical_config config;
    sq_training_options o = options(0, 2);
    sq_sim_optical_defaults(SQ_SIM_SDSS, &config);
    scratch_path(path, sizeof path, "sq_training");
    uint64_t held = sq_mem_held();
    sq_status rc = SQ_ERR_NOMEM;
    int failures = 0;
    for (int64_t after = 0; rc != SQ_OK && after < 500; after++) {
        sq_mem_fail_after(after);
        rc = sq_training_write(path, &config, &o);
        sq_mem_fail_after(-1);
        assert_int_equal(sq_mem_held(), held);
        if (rc != SQ_OK) {
            failures++;
            assert_int_equal(rc, SQ_ERR_NOMEM);
            /* What has the final name is complete, even if flushing its folder failed. */
            if (access(path, F_OK) == 0) {
                sq_h5 *file;
                OK(sq_h5_open(path, &file));
                OK(sq_h5_close(file));
                unlink(path);
            }
        }
    }
    assert_int_equal(rc, SQ_OK);
    assert_true(failures > 20);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_its_datasets),
        cmocka_unit_test(holds_the_cutout),
        cmocka_unit_test(depth_varies_on_demand),
        cmocka_unit_test(comes_in_pieces),
        cmocka_unit_test(refuses_nonsense),
        cmocka_unit_test(truth_lists_once),
        cmocka_unit_test(survives_failed_allocations),
    };
    return cmocka_run_group_tests_name("training", tests, NULL, NULL);
}
