/* Written tiles, read back as a run reads them, against what the simulator renders. */
#include "sim_test.h"

#include <sys/stat.h>

#include "fits/tile.h"
#include "sky/wcs.h"

enum { W = 320, H = 260, N = 96 };

static void remove_folder(const char *folder)
{
    char command[700];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    assert_int_equal(system(command), 0);
}

static void compare_band(const sq_cutout *want, const sq_cutout *got, int b)
{
    int64_t plane = sq_cutout_plane(want, b);
    double sky = 0, sigma = 0;
    for (int64_t i = plane; i < plane + N * N; i++) {
        int bad = (want->mask[i] & SQ_MASK_UNUSABLE) != 0;
        assert_int_equal((got->mask[i] & SQ_MASK_UNUSABLE) != 0, bad);
        assert_int_equal((got->mask[i] & SQ_MASK_SATURATED) != 0,
                         (want->mask[i] & SQ_MASK_SATURATED) != 0);
        if (bad)
            continue;
        assert_true(fabs(got->image[i] - want->image[i]) <= 1e-5 * fabs(want->image[i]));
        assert_true(fabs(got->variance[i] / want->variance[i] - 1) < 1e-5);
        sky = fmax(sky, fabs(got->sky[i] / want->sky[i] - 1));
        sigma = fmax(sigma, fabs(got->sky_sigma[i] / want->sky_sigma[i] - 1));
    }
    assert_true(sky < 2e-3);
    assert_true(sigma < 0.05);
    assert_true(fabs(got->gain[b] / want->gain[b] - 1) < 1e-5);
}

static void compare_psf(const sq_cutout *want, const sq_cutout *got, int nband)
{
    enum { P = SQ_PSF_SIDE * SQ_PSF_SIDE };
    float a[P], b[P];
    for (int k = 0; k < nband; k++) {
        double difference = 0;
        sq_cutout_psf(want, k, 30, 70, a);
        sq_cutout_psf(got, k, 30, 70, b);
        for (int i = 0; i < P; i++)
            difference += fabs(a[i] - b[i]);
        assert_true(difference < 2e-3);
    }
}

static void round_trip(sq_sim_preset preset)
{
    char folder[512];
    const char *path = scratch_path(folder, sizeof folder, "sq_sim_tiles");
    const char *const *bands;
    sq_sim_optical_config config;
    sq_sim_optical *sim;
    sq_tile *tile;
    int64_t count, nx, ny;
    sq_exposure *exposure;
    sq_cutout *want, *got;
    int nband = sq_sim_optical_bands(preset, &bands, NULL);
    sq_sim_optical_defaults(preset, &config);
    config.tile_nx = W;
    config.tile_ny = H;
    config.overlap = 20;
    config.tiles_x = 2;
    config.star_density *= 20;
    assert_int_equal(mkdir(folder, 0777), 0);
    OK(sq_sim_optical_create(&config, &sim));
    for (int t = 0; t < 2; t++)
        OK(sq_sim_optical_write_tile(sim, t, folder));
    OK(sq_tile_scan(&path, 1, "r", NULL, NULL, &tile, &count));
    assert_int_equal(count, 2);
    OK(sq_cutout_create(nband, N, N, &want));
    OK(sq_cutout_create(nband, N, N, &got));
    for (int t = 0; t < 2; t++) {
        char name[64];
        sq_sim_optical_tile_name(sim, t, name);
        assert_string_equal(tile[t].name, name);
        assert_int_equal(tile[t].nband, nband);
        assert_string_equal(tile[t].band[tile[t].reference].name, "r");
        OK(sq_exposure_open(&tile[t], bands, nband, 0, &exposure));
        sq_exposure_shape(exposure, &nx, &ny);
        assert_true(nx == W && ny == H);
        OK(sq_exposure_read(exposure, 100, 80, got));
        OK(sq_sim_optical_render(sim, t, 100, 80, want));
        for (int b = 0; b < nband; b++)
            compare_band(want, got, b);
        compare_psf(want, got, nband);
        assert_true(fabs(got->scale / config.scale - 1) < 1e-4);
        sq_exposure_close(exposure);
        sq_tile_clear(&tile[t]);
    }
    sq_free(tile);
    sq_cutout_destroy(want);
    sq_cutout_destroy(got);
    sq_sim_optical_destroy(sim);
    remove_folder(folder);
}

static void sdss_tiles_read_back(void **state)
{
    (void)state;
    round_trip(SQ_SIM_SDSS);
}

static void lsst_tiles_read_back(void **state)
{
    (void)state;
    round_trip(SQ_SIM_LSST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sdss_tiles_read_back),
        cmocka_unit_test(lsst_tiles_read_back),
    };
    return cmocka_run_group_tests_name("tiles", tests, NULL, NULL);
}
