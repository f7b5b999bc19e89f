/* A tile of 20,000 x 20,000 pixels (a file with holes) is read in sections: memory follows the
 * patch, not the tile; and threads may read different exposures at the same time. */
#include <fcntl.h>
#include <pthread.h>

#include "fits_test.h"

enum { SIDE = 20000, PATCH = 512 };

static void put_card(char *header, int *n, const char *format, ...)
{
    char card[81];
    va_list args;
    va_start(args, format);
    vsnprintf(card, sizeof card, format, args);
    va_end(args);
    char padded[81];
    snprintf(padded, sizeof padded, "%-80s", card);
    memcpy(header + 80 * (*n)++, padded, 80);
}

/* A plane's header; its data are a hole. Returns the offset of the data. */
static off_t put_plane(int fd, off_t at, const char *type, int bitpix)
{
    char header[2880];
    int n = 0;
    memset(header, ' ', sizeof header);
    put_card(header, &n, "XTENSION= 'IMAGE   '");
    put_card(header, &n, "BITPIX  = %20d", bitpix);
    put_card(header, &n, "NAXIS   = %20d", 2);
    put_card(header, &n, "NAXIS1  = %20d", SIDE);
    put_card(header, &n, "NAXIS2  = %20d", SIDE);
    put_card(header, &n, "PCOUNT  = %20d", 0);
    put_card(header, &n, "GCOUNT  = %20d", 1);
    put_card(header, &n, "EXTTYPE = '%-8s'", type);
    put_card(header, &n, "BUNIT   = 'nJy     '");
    put_card(header, &n, "MP_BAD  = %20d", 0);
    put_card(header, &n, "CTYPE1  = 'RA---TAN'");
    put_card(header, &n, "CTYPE2  = 'DEC--TAN'");
    put_card(header, &n, "CRPIX1  = %20.1f", SIDE / 2.0);
    put_card(header, &n, "CRPIX2  = %20.1f", SIDE / 2.0);
    put_card(header, &n, "CRVAL1  = %20.1f", 10.0);
    put_card(header, &n, "CRVAL2  = %20.1f", 10.0);
    put_card(header, &n, "CDELT1  = %20.8f", -5e-5);
    put_card(header, &n, "CDELT2  = %20.8f", 5e-5);
    put_card(header, &n, "END");
    assert_int_equal(pwrite(fd, header, sizeof header, at), sizeof header);
    return at + 2880;
}

static void put_float(int fd, off_t data, int64_t x, int64_t y, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = __builtin_bswap32(bits);
    assert_int_equal(pwrite(fd, &bits, 4, data + 4 * (y * SIDE + x)), 4);
}

/* Image value 7 and variance 3 in a 20 x 20 square at (x0, y0) and zeros elsewhere. */
static int make_tile(const char *name, int64_t x0, int64_t y0)
{
    char header[2880];
    int n = 0, fd = open(t_path(name), O_CREAT | O_TRUNC | O_RDWR, 0644);
    assert_true(fd >= 0);
    memset(header, ' ', sizeof header);
    put_card(header, &n, "SIMPLE  =                    T");
    put_card(header, &n, "BITPIX  = %20d", 8);
    put_card(header, &n, "NAXIS   = %20d", 0);
    put_card(header, &n, "END");
    assert_int_equal(pwrite(fd, header, sizeof header, 0), sizeof header);
    off_t plane = ((off_t)4 * SIDE * SIDE + 2879) / 2880 * 2880, at = 2880;
    off_t image = put_plane(fd, at, "IMAGE", -32), mask = put_plane(fd, image + plane, "MASK", 32);
    off_t variance = put_plane(fd, mask + plane, "VARIANCE", -32);
    if (ftruncate(fd, variance + plane) != 0) {
        close(fd);
        return 0;
    }
    for (int64_t y = y0; y < y0 + 20; y++) {
        for (int64_t x = x0; x < x0 + 20; x++) {
            put_float(fd, image, x, y, 7);
            put_float(fd, variance, x, y, 3);
        }
    }
    close(fd);
    return 1;
}

static void make_psf(const char *name)
{
    static float psf[T_SIDE * T_SIDE], sky[1] = {5};
    char band[1][8] = {"r"};
    psf[T_SIDE * T_SIDE / 2] = 1;
    assert_int_equal(sq_write_psf_grid(t_path(name), 1, (const char(*)[8])band, 1, 1, SIDE, SIDE,
                                       T_SIDE, psf, sky),
                     SQ_OK);
}

static void sections_only(void **state)
{
    (void)state;
    sq_tile tile;
    t_problem problem;
    sq_exposure *e;
    sq_cutout *c;
    const char *bands[1] = {"r"};
    t_clear();
    if (!make_tile("big-r.fits", 17000, 19300))
        skip();
    make_psf("big-psf.fits");
    if (!t_scan(&tile, &problem))
        fail_msg("%s", problem.message);
    assert_int_equal(sq_exposure_open(&tile, bands, 1, 0, &e), SQ_OK);
    assert_int_equal(sq_cutout_create(1, PATCH, PATCH, &c), SQ_OK);
    for (int k = 0; k < 40; k++)
        assert_int_equal(sq_exposure_read(e, 450 * k - 20, 19100 - 400 * k, c), SQ_OK);
    assert_int_equal(sq_exposure_read(e, 16800, 19200, c), SQ_OK);
    int usable = 0;
    for (int j = 0; j < PATCH; j++) {
        for (int i = 0; i < PATCH; i++) {
            int64_t k = (int64_t)j * PATCH + i;
            int inside = i >= 200 && i < 220 && j >= 100 && j < 120;
            assert_int_equal(!(c->mask[k] & SQ_MASK_UNUSABLE), inside);
            usable += inside && c->image[k] == 7 && c->variance[k] == 3 && c->sky[k] == 5;
        }
    }
    assert_int_equal(usable, 400);
    print_message("peak: %.0f MB allocated, %.0f MB resident\n", (double)sq_mem_peak() / 1e6,
                  (double)sq_mem_resident_peak() / 1e6);
    assert_true(sq_mem_peak() < (uint64_t)64 << 20);
    sq_cutout_destroy(c);
    sq_exposure_close(e);
    sq_tile_clear(&tile);
}

/* ---- threads ---- */

typedef struct job {
    const sq_tile *tile;
    sq_hash first;
    int wrong;
} job;

static void *read_often(void *user)
{
    job *j = user;
    const char *bands[5] = {"u", "g", "r", "i", "z"};
    for (int k = 0; k < 12; k++) {
        sq_exposure *e = NULL;
        sq_cutout *c = NULL;
        if (sq_exposure_open(j->tile, bands, 5, 1, &e) != SQ_OK ||
            sq_cutout_create(5, 64, 64, &c) != SQ_OK || sq_exposure_read(e, 5, 7, c) != SQ_OK)
            j->wrong++;
        else if (k == 0)
            j->first = c->input_hash;
        else
            j->wrong += !sq_hash_equal(j->first, c->input_hash);
        sq_cutout_destroy(c);
        sq_exposure_close(e);
    }
    return NULL;
}

static void exposures_in_threads(void **state)
{
    (void)state;
    sq_tile *tile;
    int64_t count;
    const char *paths[1] = {t_folder};
    t_sdss_field();
    t_afw_band(1, 0, 0);
    t_afw_band(2, 0.3, 0);
    t_afw_psf();
    assert_int_equal(sq_tile_scan(paths, 1, "r", NULL, NULL, &tile, &count), SQ_OK);
    assert_int_equal(count, 2);
    pthread_t thread[4];
    job jobs[4];
    for (int k = 0; k < 4; k++) {
        jobs[k] = (job){.tile = &tile[k % 2]};
        assert_int_equal(pthread_create(&thread[k], NULL, read_often, &jobs[k]), 0);
    }
    for (int k = 0; k < 4; k++)
        pthread_join(thread[k], NULL);
    for (int k = 0; k < 4; k++) {
        assert_int_equal(jobs[k].wrong, 0);
        assert_true(sq_hash_equal(jobs[k].first, jobs[k % 2].first));
    }
    for (int k = 0; k < 2; k++)
        sq_tile_clear(&tile[k]);
    sq_free(tile);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sections_only),
        cmocka_unit_test(exposures_in_threads),
    };
    return cmocka_run_group_tests(tests, t_setup, t_teardown);
}
