/* Patches of tiles that the test writes itself: every pixel, mask bit, PSF and number is known. */
#include <zlib.h>

#include "fits_test.h"

static sq_exposure *open_tile(sq_tile *tile, const char *const *bands, int nband)
{
    t_problem problem;
    sq_exposure *e = NULL;
    if (!t_scan(tile, &problem))
        fail_msg("%s", problem.message);
    if (sq_exposure_open(tile, bands, nband, 0, &e) != SQ_OK)
        fail_msg("%s", sq_error());
    return e;
}

static sq_cutout *read_box(sq_exposure *e, int nband, int64_t x0, int64_t y0, int nx, int ny)
{
    sq_cutout *c;
    assert_int_equal(sq_cutout_create(nband, nx, ny, &c), SQ_OK);
    if (sq_exposure_read(e, x0, y0, c) != SQ_OK)
        fail_msg("%s", sq_error());
    return c;
}

static void unusable(const sq_cutout *c, int64_t k, uint32_t bit)
{
    assert_true(c->mask[k] & bit);
    assert_true(c->image[k] == 0 && isinf(c->variance[k]) && c->sky_sigma[k] == 0);
}

static void exposure_pixels_and_masks(void **state)
{
    (void)state;
    sq_tile tile;
    const char *bands[2] = {"r", "g"};
    t_afw_tile();
    sq_exposure *e = open_tile(&tile, bands, 2);
    assert_string_equal(tile.name, "t");
    assert_int_equal(tile.format, SQ_TILE_LSST_EXPOSURE);
    assert_true(tile.band[0].image.checksum[0] && tile.band[0].image.datasum[0]);
    int64_t nx, ny;
    sq_exposure_shape(e, &nx, &ny);
    assert_true(nx == T_NX && ny == T_NY);
    sq_cutout *c = read_box(e, 2, -4, -3, T_NX + 9, T_NY + 6);
    for (int b = 0; b < 2; b++) {
        int band = b == 0 ? 2 : 1;
        assert_string_equal(c->band[b], bands[b]);
        assert_true(c->present[b] && c->gain[b] == 0.5);
        assert_true(c->correlation[b][0] == 0 && c->correlation[b][1] == 0);
        for (int j = 0; j < c->ny; j++) {
            for (int i = 0; i < c->nx; i++) {
                int x = i - 4, y = j - 3;
                int64_t k = sq_cutout_plane(c, b) + (int64_t)j * c->nx + i;
                if (x < 0 || y < 0 || x >= T_NX || y >= T_NY || (x == 8 && y == 6)) {
                    unusable(c, k, SQ_MASK_OUTSIDE);
                } else if (x == y && x >= 9 && x <= 12) {
                    unusable(c, k, SQ_MASK_BAD);
                } else {
                    uint32_t bits = x == 7 && y == 5     ? SQ_MASK_SATURATED | SQ_MASK_INTERPOLATED
                                    : x == 13 && y == 13 ? SQ_MASK_BRIGHT | SQ_MASK_COSMIC |
                                                               SQ_MASK_EDGE | SQ_MASK_NOTCHECKED
                                                         : 0;
                    assert_int_equal(c->mask[k], bits);
                    assert_true(c->image[k] == t_afw_pixel(band, x, y));
                    assert_true(c->variance[k] == (float)(4 + band));
                    assert_true(fabsf(c->sky_sigma[k] - sqrtf((float)(4 + band))) < 1e-5f);
                    assert_true(fabs(c->sky[k] - (100 + 10 * band + x)) < 1e-3);
                }
            }
        }
    }
    assert_true(fabs(c->scale - 0.18) < 1e-6);
    sq_cutout_destroy(c);
    sq_exposure_close(e);
    sq_tile_clear(&tile);
}

/* Second moment of a stamp along x. */
static double width(const float *psf)
{
    double sum = 0, square = 0;
    for (int i = 0; i < T_SIDE * T_SIDE; i++) {
        double x = i % T_SIDE - T_SIDE / 2;
        sum += psf[i];
        square += x * x * psf[i];
    }
    assert_true(fabs(sum - 1) < 1e-5);
    return square;
}

static void psf_follows_its_nodes(void **state)
{
    (void)state;
    sq_tile tile;
    const char *bands[1] = {"g"};
    float psf[T_SIDE * T_SIDE];
    t_afw_tile();
    sq_exposure *e = open_tile(&tile, bands, 1);
    sq_cutout *c = read_box(e, 1, 20, 10, 41, 33);
    for (int x = 0; x < 41; x += 8) {
        sq_cutout_psf(c, 0, x, 16, psf);
        /* The stamps of the file are of unit sum: a mixture's second moment is linear. */
        double f = (20.0 + x) / (T_NX - 1), expected = (1 - f) * 1.6 * 1.6 + f * 2.4 * 2.4;
        assert_true(fabs(width(psf) - expected) < 2e-4);
    }
    sq_cutout_destroy(c);
    sq_exposure_close(e);
    sq_tile_clear(&tile);
}

static void bands_on_other_grids_are_resampled(void **state)
{
    (void)state;
    sq_tile tile;
    const char *bands[3] = {"r", "i", "g"};
    t_afw_tile();
    t_afw_band(3, 3, -2);     /* i: whole pixels apart */
    t_afw_band(1, 0.4, 0.25); /* g: not */
    sq_exposure *e = open_tile(&tile, bands, 3);
    sq_cutout *c = read_box(e, 3, 0, 0, T_NX, T_NY);
    int checked = 0;
    for (int y = 20; y < 70; y++) {
        for (int x = 20; x < 80; x++) {
            int64_t k = (int64_t)y * T_NX + x, n = (int64_t)T_NX * T_NY;
            /* The pixel (x, y) of r is (x + 3, y - 2) of i and (x + 0.4, y + 0.25) of g. */
            assert_true(fabsf(c->image[n + k] - t_afw_pixel(3, x + 3, y - 2)) < 1e-4f);
            double linear = 10 + 0.1 * (x + 0.4) + 0.3 * (y + 0.25);
            assert_true(fabs(c->image[2 * n + k] - linear) < 1e-3);
            assert_int_equal(c->mask[2 * n + k], 0);
            double ratio = c->variance[2 * n + k] / 5;
            assert_true(ratio > 0.5 && ratio < 0.9);
            assert_true(fabs(c->sky_sigma[2 * n + k] - sqrt(5 * ratio)) < 1e-3);
            checked++;
        }
    }
    assert_int_equal(checked, 3000);
    assert_true(c->correlation[1][0] == 0 && c->correlation[2][0] > 0.05);
    /* r's upper columns lie beyond i's, which starts 3 pixels lower; g's last column has no
     * neighbour. */
    int64_t n = (int64_t)T_NX * T_NY;
    assert_int_equal(c->mask[n + 30 * T_NX + T_NX - 1], SQ_MASK_OUTSIDE);
    assert_int_equal(c->mask[n + 30 * T_NX + T_NX - 4], 0);
    assert_int_equal(c->mask[2 * n + 30 * T_NX + T_NX - 1], SQ_MASK_OUTSIDE);
    assert_int_equal(c->mask[2 * n + 30 * T_NX + T_NX - 2], 0);
    sq_cutout_destroy(c);
    sq_exposure_close(e);
    sq_tile_clear(&tile);
}

static void hash_tells_what_was_read(void **state)
{
    (void)state;
    sq_tile tile;
    const char *bands[2] = {"g", "r"};
    t_afw_tile();
    sq_exposure *e = open_tile(&tile, bands, 2);
    sq_cutout *a = read_box(e, 2, 0, 0, 32, 32), *b = read_box(e, 2, 0, 0, 32, 32);
    sq_cutout *far = read_box(e, 2, 50, 40, 32, 32);
    assert_true(sq_hash_equal(a->input_hash, b->input_hash));
    assert_false(sq_hash_equal(a->input_hash, far->input_hash));
    sq_exposure_close(e);
    sq_tile_clear(&tile);
    /* One pixel inside the first box changes; the second box has none of it. */
    fitsfile *f = NULL;
    int status = 0;
    float value = 123;
    fits_open_diskfile(&f, t_path("t-r.fits"), READWRITE, &status);
    fits_movabs_hdu(f, 2, NULL, &status);
    fits_write_img(f, TFLOAT, 20 * T_NX + 20 + 1, 1, &value, &status);
    assert_int_equal(status, 0);
    t_close(f);
    e = open_tile(&tile, bands, 2);
    sq_cutout *changed = read_box(e, 2, 0, 0, 32, 32), *same = read_box(e, 2, 50, 40, 32, 32);
    assert_false(sq_hash_equal(a->input_hash, changed->input_hash));
    assert_true(sq_hash_equal(far->input_hash, same->input_hash));
    sq_cutout *all[] = {a, b, far, changed, same};
    for (int k = 0; k < 5; k++)
        sq_cutout_destroy(all[k]);
    sq_exposure_close(e);
    sq_tile_clear(&tile);
}

static void sdss_field_is_calibrated(void **state)
{
    (void)state;
    sq_tile tile;
    t_sdss_field();
    sq_exposure *e = open_tile(&tile, t_bands, T_BANDS);
    assert_string_equal(tile.name, "000001-2-0003");
    assert_int_equal(tile.nband, 5);
    assert_string_equal(tile.band[tile.reference].name, "r");
    sq_cutout *c = read_box(e, T_BANDS, 0, 0, T_NX, T_NY);
    const double njy = pow(10, (31.4 - 22.5) / 2.5), cal = t_cal * njy;
    int64_t r = sq_cutout_plane(c, 2);
    for (int y = 0; y < T_NY; y++) {
        for (int x = 0; x < T_NX; x++) {
            int64_t k = r + (int64_t)y * T_NX + x;
            double nodes = fmin(T_SKY_X - 1, fmax(0, (x + 0.5) / 8 - 0.5));
            double level = t_sky + nodes, pixel = t_pixel(2, x, y);
            double dn = pixel / t_cal + level;
            assert_true(fabs(c->image[k] - pixel * njy) < 1e-3);
            assert_true(fabs(c->sky[k] / (level * cal) - 1) < 1e-5);
            assert_true(fabs(c->variance[k] / (cal * cal * (dn / t_gain + t_dark)) - 1) < 1e-5);
            double sigma = cal * sqrt(level / t_gain + t_dark);
            assert_true(fabs(c->sky_sigma[k] / sigma - 1) < 1e-5);
            uint32_t bits = x >= 20 && x <= 25 && y == 10   ? SQ_MASK_INTERPOLATED
                            : x >= 20 && x <= 25 && y == 40 ? SQ_MASK_COSMIC
                                                            : 0;
            assert_int_equal(c->mask[k], bits);
        }
    }
    assert_true(fabs(c->gain[2] / (t_gain / cal) - 1) < 1e-6);
    /* PSF: shares 1 and 0.002 (row + 0.5) of two Gaussians. */
    float psf[T_SIDE * T_SIDE];
    for (int y = 0; y < T_NY; y += 13) {
        sq_cutout_psf(c, 2, 30, y, psf);
        double share = 0.002 * (y + 0.5) / (1 + 0.002 * (y + 0.5));
        double expected = (1 - share) * 1.7 * 1.7 + share * 2.5 * 2.5;
        /* the cutout is bilinear between three nodes, the share nearly linear */
        assert_true(fabs(width(psf) - expected) < 0.01);
    }
    sq_cutout_destroy(c);
    sq_exposure_close(e);
    sq_tile_clear(&tile);
}

static void missing_bands_only_where_allowed(void **state)
{
    (void)state;
    sq_tile tile;
    t_problem problem;
    sq_exposure *e;
    const char *bands[2] = {"r", "z"};
    t_afw_tile();
    assert_true(t_scan(&tile, &problem));
    assert_int_equal(sq_exposure_open(&tile, bands, 2, 0, &e), SQ_ERR_DATA);
    assert_non_null(strstr(sq_error(), "band z is missing"));
    assert_int_equal(sq_exposure_open(&tile, bands, 2, 1, &e), SQ_OK);
    sq_cutout *c = read_box(e, 2, 0, 0, 16, 16);
    assert_true(c->present[0] && !c->present[1]);
    for (int64_t k = sq_cutout_plane(c, 1); k < 2 * 16 * 16; k++)
        unusable(c, k, SQ_MASK_OUTSIDE);
    sq_cutout_destroy(c);
    sq_exposure_close(e);
    sq_tile_clear(&tile);
}

/* Copy a file through gzip, in two members. */
static void pack(const char *from, const char *to)
{
    FILE *in = fopen(t_path(from), "rb");
    static char buffer[1 << 20];
    size_t n = fread(buffer, 1, sizeof buffer, in);
    fclose(in);
    assert_true(n > 0 && n < sizeof buffer);
    for (int part = 0; part < 2; part++) {
        gzFile out = gzopen(t_path(to), part ? "ab" : "wb");
        size_t start = part ? n / 2 : 0, end = part ? n : n / 2;
        assert_int_equal(gzwrite(out, buffer + start, (unsigned)(end - start)), end - start);
        gzclose(out);
    }
    remove(t_path(from));
}

/* A copy with every image tile-compressed without loss. */
static void compress_tiles(const char *from, const char *to)
{
    fitsfile *in = NULL, *out;
    int status = 0, count = 0;
    fits_open_diskfile(&in, t_path(from), READONLY, &status);
    fits_get_num_hdus(in, &count, &status);
    out = t_create(to);
    for (int k = 1; k <= count; k++) {
        fits_movabs_hdu(in, k, NULL, &status);
        fits_set_compression_type(out, GZIP_1, &status);
        fits_set_quantize_level(out, 9999, &status); /* no quantisation */
        if (k == 1)
            fits_copy_hdu(in, out, 0, &status);
        else
            fits_img_compress(in, out, &status);
    }
    assert_int_equal(status, 0);
    fits_close_file(in, &status);
    t_close(out);
    remove(t_path(from));
}

static void packed_files_hold_the_same(void **state)
{
    (void)state;
    sq_tile tile;
    const char *bands[2] = {"g", "r"};
    t_afw_tile();
    sq_exposure *e = open_tile(&tile, bands, 2);
    sq_cutout *plain = read_box(e, 2, 3, 2, 70, 60);
    sq_exposure_close(e);
    sq_tile_clear(&tile);
    pack("t-g.fits", "t-g.fits.gz");
    pack("t-psf.fits", "t-psf.fits.gz");
    compress_tiles("t-r.fits", "t-r.fits.fz");
    e = open_tile(&tile, bands, 2);
    sq_cutout *packed = read_box(e, 2, 3, 2, 70, 60);
    size_t n = (size_t)2 * 70 * 60;
    assert_memory_equal(plain->image, packed->image, n * sizeof(float));
    assert_memory_equal(plain->variance, packed->variance, n * sizeof(float));
    assert_memory_equal(plain->mask, packed->mask, n * sizeof(uint32_t));
    assert_memory_equal(plain->psf, packed->psf, 2 * 9 * T_SIDE * T_SIDE * sizeof(float));
    assert_true(sq_hash_equal(plain->input_hash, packed->input_hash));
    sq_cutout_destroy(plain);
    sq_cutout_destroy(packed);
    sq_exposure_close(e);
    sq_tile_clear(&tile);
}

static void edit_unit(const char *name, const char *unit, double fluxmag0)
{
    fitsfile *f = NULL;
    int status = 0;
    fits_open_diskfile(&f, t_path(name), READWRITE, &status);
    fits_movabs_hdu(f, 2, NULL, &status);
    if (unit)
        t_text(f, "BUNIT", unit);
    else
        fits_delete_key(f, "BUNIT", &status);
    if (fluxmag0 > 0)
        t_real(f, "FLUXMAG0", fluxmag0);
    assert_int_equal(status, 0);
    t_close(f);
}

static void units_become_njy(void **state)
{
    (void)state;
    static const struct {
        const char *unit;
        double fluxmag0, njy;
    } cases[] = {{"nJy", 0, 1},         {"uJy", 0, 1000},         {"nanomaggy", 0, 3630.7805477},
                 {NULL, 0, 57.5439937}, {"count", 0, 57.5439937}, {"adu", 1e11, 36.3078055}};
    const char *bands[1] = {"r"};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        sq_tile tile;
        t_afw_tile();
        edit_unit("t-r.fits", cases[k].unit, cases[k].fluxmag0);
        sq_exposure *e = open_tile(&tile, bands, 1);
        sq_cutout *c = read_box(e, 1, 30, 30, 8, 8);
        double pixel = t_afw_pixel(2, 30, 30);
        assert_true(fabs(c->image[0] / (pixel * cases[k].njy) - 1) < 1e-6);
        assert_true(fabs(c->variance[0] / (6 * cases[k].njy * cases[k].njy) - 1) < 1e-6);
        assert_true(fabs(c->gain[0] * cases[k].njy / 0.5 - 1) < 1e-6);
        sq_cutout_destroy(c);
        sq_exposure_close(e);
        sq_tile_clear(&tile);
    }
}

static void names_make_tiles(void **state)
{
    (void)state;
    static const char *const names[] = {"frame-r-000094-1-0012.fits.bz2",
                                        "frame-g-000094-1-0012.fits.bz2",
                                        "photoField-000094-1.fits",
                                        "psField-000094-1-0012.fit",
                                        "fpM-000094-g1-0012.fit",
                                        "photoObj-000094-1-0012.fits",
                                        "fpC-000094-r1-0012.fit.gz",
                                        "tsField-000094-1-40-0012.fit.gz",
                                        "calexp-i-4849-3,4.fits",
                                        "calexp-4849-3,4-psf.fits",
                                        "calexp-g-4849-3,4.fits",
                                        "a_b-u.fits",
                                        "a_b-psf.fits",
                                        "sdss-psf-r.fits",
                                        "coadd_catalog.fits",
                                        "notes.txt",
                                        "x-r.fits.part",
                                        "-r.fits"};
    const char *paths[1] = {t_folder};
    sq_tile *tile;
    int64_t count;
    t_clear();
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++)
        fclose(fopen(t_path(names[k]), "w"));
    assert_int_equal(sq_tile_group(paths, 1, "r", &tile, &count), SQ_OK);
    assert_int_equal(count, 4);
    int seen = 0;
    for (int64_t k = 0; k < count; k++) {
        const sq_tile *t = &tile[k];
        if (t->format == SQ_TILE_SDSS_FRAME) {
            assert_non_null(strstr(t->name, "000094-1-0012"));
            assert_int_equal(t->nband, 2);
            assert_string_equal(t->band[0].name, "g");
            assert_int_equal(t->reference, 1);
            assert_non_null(strstr(t->band[0].mask.path, "fpM-000094-g1"));
            assert_null(t->band[1].mask.path);
            assert_non_null(strstr(t->calibration.path, "photoField"));
            assert_non_null(strstr(t->psf.path, "psField"));
            seen |= 1;
        } else if (t->format == SQ_TILE_SDSS_FPC) {
            assert_non_null(strstr(t->calibration.path, "tsField"));
            assert_int_equal(t->nband, 1);
            seen |= 2;
        } else if (strcmp(t->name, "4849-3,4") == 0) {
            assert_int_equal(t->nband, 2);
            assert_non_null(strstr(t->psf.path, "-psf"));
            seen |= 4;
        } else {
            assert_string_equal(t->name, "a_b");
            assert_string_equal(t->band[0].name, "u");
            assert_int_equal(t->reference, 0);
            seen |= 8;
        }
    }
    assert_int_equal(seen, 15);
    for (int64_t a = 0; a < count; a++) {
        for (int64_t b = 0; b < a; b++)
            assert_string_not_equal(tile[a].name, tile[b].name);
    }
    sq_free(tile);
}

/* The real afw Exposure of HSC: planes against cfitsio's own reading, mask planes by their cards.
 */
static void hsc_exposure_reads(void **state)
{
    (void)state;
    const char *real = t_shared("lsst_layout/HSC-0908120-056-small.fits.gz"), *bands[1] = {"r"};
    enum { SIDE = 200 };
    static float image[SIDE * SIDE], psf[T_SIDE * T_SIDE], sky[1];
    static int mask[SIDE * SIDE];
    sq_tile tile;
    fitsfile *f = NULL;
    int status = 0, any, sat = 0, checked = 0;
    if (!real)
        skip();
    t_clear();
    assert_int_equal(symlink(real, t_path("hsc-r.fits.gz")), 0);
    psf[T_SIDE * T_SIDE / 2] = 1;
    char name[1][8] = {"r"};
    assert_int_equal(sq_write_psf_grid(t_path("hsc-psf.fits"), 1, (const char(*)[8])name, 1, 1,
                                       SIDE, SIDE, T_SIDE, psf, sky),
                     SQ_OK);
    sq_exposure *e = open_tile(&tile, bands, 1);
    sq_cutout *c = read_box(e, 1, 0, 0, SIDE, SIDE);
    fits_open_file(&f, real, READONLY, &status);
    fits_movabs_hdu(f, 2, NULL, &status);
    fits_read_img(f, TFLOAT, 1, SIDE * SIDE, NULL, image, &any, &status);
    fits_movabs_hdu(f, 3, NULL, &status);
    fits_read_img(f, TINT, 1, SIDE * SIDE, NULL, mask, &any, &status);
    assert_int_equal(status, 0);
    fits_close_file(f, &status);
    for (int k = 0; k < SIDE * SIDE; k++) {
        /* MP_BAD 0, MP_SAT 1, MP_UNMASKEDNAN 10, MP_NO_DATA 9 in this file */
        if (mask[k] & (1 << 0 | 1 << 9 | 1 << 10)) {
            assert_true(c->mask[k] & SQ_MASK_UNUSABLE);
            continue;
        }
        assert_true(fabs(c->image[k] - image[k] * 57.5439937) <= 1e-5 * fabs(c->image[k]) + 1e-3);
        assert_int_equal(!!(c->mask[k] & SQ_MASK_SATURATED), !!(mask[k] & 1 << 1));
        assert_int_equal(!!(c->mask[k] & SQ_MASK_COSMIC), !!(mask[k] & 1 << 3));
        sat += !!(mask[k] & 1 << 1);
        checked++;
    }
    assert_true(checked > 30000);
    /* astropy: determinant of all_pix2world about (100, 100) */
    if (fabs(c->scale - 0.1659615) > 1e-5)
        fail_msg("scale %.6f", c->scale);
    sq_cutout_destroy(c);
    sq_exposure_close(e);
    sq_tile_clear(&tile);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exposure_pixels_and_masks),
        cmocka_unit_test(psf_follows_its_nodes),
        cmocka_unit_test(bands_on_other_grids_are_resampled),
        cmocka_unit_test(hash_tells_what_was_read),
        cmocka_unit_test(sdss_field_is_calibrated),
        cmocka_unit_test(missing_bands_only_where_allowed),
        cmocka_unit_test(packed_files_hold_the_same),
        cmocka_unit_test(units_become_njy),
        cmocka_unit_test(names_make_tiles),
        cmocka_unit_test(hsc_exposure_reads),
    };
    return cmocka_run_group_tests(tests, t_setup, t_teardown);
}
