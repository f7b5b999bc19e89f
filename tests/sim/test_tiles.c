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

/* Centroid of the light within 4 pixels of a place, against the sky of the whole. */
static void centroid(const sq_cutout *c, int band, double x, double y, double *cx, double *cy)
{
    double sum = 0;
    *cx = *cy = 0;
    for (int j = (int)y - 4; j <= (int)y + 5; j++) {
        for (int i = (int)x - 4; i <= (int)x + 5; i++) {
            double v = c->image[sq_cutout_plane(c, band) + (int64_t)j * c->nx + i];
            sum += v;
            *cx += v * i;
            *cy += v * j;
        }
    }
    *cx /= sum;
    *cy /= sum;
}

/* Bands on grids of their own come back onto the reference grid: a bright star is where it is in
 * all of them. */
static void shifted_bands_come_back(void **state)
{
    (void)state;
    char folder[512];
    const char *path = scratch_path(folder, sizeof folder, "sq_sim_shift");
    const char *const *bands;
    sq_sim_optical_config config = empty_sky(SQ_SIM_SDSS);
    sq_sim_optical *sim;
    sq_tile *tile;
    int64_t count, n;
    sq_exposure *exposure;
    sq_cutout *c, *want;
    sq_sim_source *s;
    double moved = 0;
    int stars = 0, nband = sq_sim_optical_bands(SQ_SIM_SDSS, &bands, NULL);
    config.band_offset = 12;
    config.star_density = 60000;
    config.bright_limit = 15;
    config.faint_limit = 16.5;
    config.saturation = config.bleed = 0;
    assert_int_equal(mkdir(folder, 0777), 0);
    OK(sq_sim_optical_create(&config, &sim));
    OK(sq_sim_optical_write_tile(sim, 0, folder));
    OK(sq_tile_scan(&path, 1, "r", NULL, NULL, &tile, &count));
    assert_int_equal(count, 1);
    OK(sq_exposure_open(&tile[0], bands, nband, 0, &exposure));
    OK(sq_cutout_create(nband, 600, 400, &c));
    OK(sq_cutout_create(nband, 600, 400, &want));
    OK(sq_exposure_read(exposure, 50, 50, c));
    OK(sq_sim_optical_render(sim, 0, 50, 50, want));
    OK(sq_sim_optical_sources(sim, 0, 60, 60, 640, 440, 0, &s, &count));
    for (int64_t i = 0; i < count; i++) {
        double x = s[i].x - 50, y = s[i].y - 50;
        int alone = 1;
        for (n = 0; n < count; n++)
            alone &= n == i || hypot(s[n].x - s[i].x, s[n].y - s[i].y) > 30;
        for (int b = 1; b < 4 && alone; b++, stars++) {
            double cx, cy, wx, wy;
            centroid(c, b, x, y, &cx, &cy);
            centroid(want, b, x, y, &wx, &wy);
            assert_true(fabs(cx - wx) < 0.06 && fabs(cy - wy) < 0.06);
        }
    }
    /* The test means something: the bands were elsewhere. */
    for (int b = 0; b < nband; b++)
        moved += fabs(c->correlation[b][0]);
    assert_true(moved > 0.01);
    assert_true(stars > 3);
    sq_free(s);
    sq_exposure_close(exposure);
    sq_tile_clear(&tile[0]);
    sq_free(tile);
    sq_cutout_destroy(c);
    sq_cutout_destroy(want);
    sq_sim_optical_destroy(sim);
    remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sdss_tiles_read_back),
        cmocka_unit_test(lsst_tiles_read_back),
        cmocka_unit_test(shifted_bands_come_back),
    };
    return cmocka_run_group_tests_name("tiles", tests, NULL, NULL);
}
