/* Small tiles for tests: an SDSS field with all its files, an afw Exposure tile, in a temporary
 * folder. */
#ifndef SQ_TESTS_FITS_TEST_H
#define SQ_TESTS_FITS_TEST_H

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <fitsio.h>

#include "base/mem.h"
#include "fits/tile.h"
#include "fits/write.h"

enum { T_NX = 96, T_NY = 80, T_BANDS = 5 };
static const char *const t_bands[T_BANDS] = {"u", "g", "r", "i", "z"};
static const int t_delay[T_BANDS] = {4, 8, 0, 2, 6};

static char t_folder[256];

/* ---- the folder ---- */

static inline void t_clear(void)
{
    DIR *dir = opendir(t_folder);
    struct dirent *entry;
    char path[600];
    while (dir && (entry = readdir(dir))) {
        snprintf(path, sizeof path, "%s/%s", t_folder, entry->d_name);
        if (entry->d_name[0] != '.')
            remove(path);
    }
    if (dir)
        closedir(dir);
}

static inline int t_setup(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(t_folder, sizeof t_folder, "%s/sq_fits_XXXXXX", base ? base : "/tmp");
    return mkdtemp(t_folder) ? 0 : -1;
}

static inline int t_teardown(void **state)
{
    (void)state;
    t_clear();
    return rmdir(t_folder);
}

static inline const char *t_path(const char *name)
{
    static char path[4][512];
    static int next;
    char *out = path[next++ % 4];
    snprintf(out, sizeof path[0], "%s/%s", t_folder, name);
    return out;
}

/* Real data; NULL when it is not there. */
static inline const char *t_shared(const char *name)
{
    static char path[4][1024];
    static int next;
    const char *root = getenv("SQ_SHARED");
    char *out = path[next++ % 4];
    struct stat st;
    snprintf(out, sizeof path[0], "%s/data/optical/%s", root ? root : "../shared", name);
    return stat(out, &st) == 0 ? out : NULL;
}

static inline fitsfile *t_create(const char *name)
{
    int status = 0;
    fitsfile *f = NULL;
    remove(t_path(name));
    fits_create_diskfile(&f, t_path(name), &status);
    assert_int_equal(status, 0);
    return f;
}

static inline void t_close(fitsfile *f)
{
    int status = 0;
    fits_close_file(f, &status);
    assert_int_equal(status, 0);
}

static inline void t_int(fitsfile *f, const char *key, int value)
{
    int status = 0;
    fits_update_key(f, TINT, key, &value, NULL, &status);
    assert_int_equal(status, 0);
}

static inline void t_real(fitsfile *f, const char *key, double value)
{
    int status = 0;
    fits_update_key(f, TDOUBLE, key, &value, NULL, &status);
    assert_int_equal(status, 0);
}

static inline void t_text(fitsfile *f, const char *key, const char *value)
{
    int status = 0;
    fits_update_key(f, TSTRING, key, (void *)value, NULL, &status);
    assert_int_equal(status, 0);
}

/* ---- an SDSS field: run 1, camcol 2, field 3 ---- */

enum { T_SKY_X = 12, T_SKY_Y = 10, T_SIDE = 51 };
static const double t_cal = 0.005, t_sky = 150, t_gain = 4,
                    t_dark = 2; /* nMgy/DN, DN, e/DN, DN^2 */

/* What the frames hold, in nMgy. */
static inline float t_pixel(int band, int x, int y)
{
    return (float)(0.01 * (band + 1) + 0.001 * x - 0.0005 * y);
}

static inline void t_wcs_cards(fitsfile *f, double dx, double dy)
{
    t_text(f, "CTYPE1", "RA---TAN");
    t_text(f, "CTYPE2", "DEC--TAN");
    t_text(f, "CUNIT1", "deg");
    t_text(f, "CUNIT2", "deg");
    t_real(f, "CRPIX1", 49 + dx);
    t_real(f, "CRPIX2", 41 + dy);
    t_real(f, "CRVAL1", 150);
    t_real(f, "CRVAL2", 1);
    t_real(f, "CD1_1", 0);
    t_real(f, "CD1_2", 1.1e-4);
    t_real(f, "CD2_1", 1.1e-4);
    t_real(f, "CD2_2", 0);
}

static inline void t_frame(int band)
{
    char name[64];
    int status = 0;
    long axes[2] = {T_NX, T_NY};
    static float image[T_NX * T_NY], cal[T_NX], sky[T_SKY_X * T_SKY_Y], xi[T_NX], yi[T_NY];
    for (int i = 0; i < T_NX * T_NY; i++)
        image[i] = t_pixel(band, i % T_NX, i / T_NX);
    for (int i = 0; i < T_NX; i++) {
        cal[i] = (float)t_cal;
        xi[i] = ((float)i + 0.5f) / 8 - 0.5f;
    }
    for (int i = 0; i < T_NY; i++)
        yi[i] = ((float)i + 0.5f) / 8 - 0.5f;
    for (int i = 0; i < T_SKY_X * T_SKY_Y; i++)
        sky[i] = (float)(t_sky + i % T_SKY_X);
    snprintf(name, sizeof name, "frame-%s-000001-2-0003.fits", t_bands[band]);
    fitsfile *f = t_create(name);
    fits_create_img(f, FLOAT_IMG, 2, axes, &status);
    t_int(f, "RUN", 1);
    t_int(f, "CAMCOL", 2);
    t_int(f, "FRAME", 3 + t_delay[band]);
    t_text(f, "FILTER", t_bands[band]);
    t_text(f, "BUNIT", "nanomaggy");
    t_wcs_cards(f, band == 2 ? 0 : 0.37 * (band + 1), 0);
    fits_write_img(f, TFLOAT, 1, T_NX * T_NY, image, &status);
    fits_create_img(f, FLOAT_IMG, 1, axes, &status);
    fits_write_img(f, TFLOAT, 1, T_NX, cal, &status);
    char *type[] = {"ALLSKY", "XINTERP", "YINTERP"}, form[3][16], *forms[3];
    int count[3] = {T_SKY_X * T_SKY_Y, T_NX, T_NY};
    for (int k = 0; k < 3; k++) {
        snprintf(form[k], sizeof form[k], "%dE", count[k]);
        forms[k] = form[k];
    }
    fits_create_tbl(f, BINARY_TBL, 1, 3, type, forms, NULL, NULL, &status);
    snprintf(name, sizeof name, "(%d,%d)", T_SKY_X, T_SKY_Y);
    t_text(f, "TDIM1", name);
    fits_write_col(f, TFLOAT, 1, 1, 1, count[0], sky, &status);
    fits_write_col(f, TFLOAT, 2, 1, 1, count[1], xi, &status);
    fits_write_col(f, TFLOAT, 3, 1, 1, count[2], yi, &status);
    assert_int_equal(status, 0);
    t_close(f);
}

static inline void t_psfield(void)
{
    int status = 0;
    fitsfile *f = t_create("psField-000001-2-0003.fit");
    static float stamp[T_SIDE * T_SIDE], c[25];
    char *type[] = {"nrow_b", "ncol_b", "c", "RNROW", "RNCOL", "RROWS"};
    char *form[] = {"1J", "1J", "25E", "1J", "1J", "1PE"};
    fits_create_img(f, BYTE_IMG, 0, NULL, &status);
    t_int(f, "RUN", 1);
    t_int(f, "CAMCOL", 2);
    t_int(f, "FIELD", 3);
    t_text(f, "FILTERS", "u g r i z");
    for (int b = 0; b < T_BANDS; b++) {
        fits_create_tbl(f, BINARY_TBL, 2, 6, type, form, NULL, NULL, &status);
        for (int k = 0; k < 2; k++) {
            int order = 2, side = T_SIDE;
            /* A Gaussian, and a wider one whose share grows along the rows. */
            double sigma = k == 0 ? 1.5 + 0.1 * b : 2.5;
            for (int i = 0; i < T_SIDE * T_SIDE; i++) {
                double x = i % T_SIDE - T_SIDE / 2, y = i / T_SIDE - T_SIDE / 2;
                stamp[i] = (float)(exp(-0.5 * (x * x + y * y) / (sigma * sigma)) /
                                   (2 * M_PI * sigma * sigma));
            }
            memset(c, 0, sizeof c);
            c[0] = k == 0 ? 1 : 0;
            c[5] = k == 0 ? 0 : 2; /* [1][0]: 0.001 row */
            fits_write_col(f, TINT, 1, k + 1, 1, 1, &order, &status);
            fits_write_col(f, TINT, 2, k + 1, 1, 1, &order, &status);
            fits_write_col(f, TFLOAT, 3, k + 1, 1, 25, c, &status);
            fits_write_col(f, TINT, 4, k + 1, 1, 1, &side, &status);
            fits_write_col(f, TINT, 5, k + 1, 1, 1, &side, &status);
            fits_write_col(f, TFLOAT, 6, k + 1, 1, T_SIDE * T_SIDE, stamp, &status);
        }
    }
    assert_int_equal(status, 0);
    t_close(f);
}

static inline void t_photofield(void)
{
    int status = 0;
    fitsfile *f = t_create("photoField-000001-2.fits");
    char *type[] = {"FIELD", "GAIN", "DARK_VARIANCE"}, *form[] = {"1J", "5E", "5E"};
    fits_create_img(f, BYTE_IMG, 0, NULL, &status);
    t_int(f, "RUN", 1);
    t_int(f, "CAMCOL", 2);
    fits_create_tbl(f, BINARY_TBL, 3, 3, type, form, NULL, NULL, &status);
    for (int row = 0; row < 3; row++) {
        int field = row + 2;
        float gain[5], dark[5];
        for (int b = 0; b < 5; b++) {
            gain[b] = (float)(field == 3 ? t_gain : 99);
            dark[b] = (float)t_dark;
        }
        fits_write_col(f, TINT, 1, row + 1, 1, 1, &field, &status);
        fits_write_col(f, TFLOAT, 2, row + 1, 1, 5, gain, &status);
        fits_write_col(f, TFLOAT, 3, row + 1, 1, 5, dark, &status);
    }
    assert_int_equal(status, 0);
    t_close(f);
}

/* A mask of r with one run in INTERP (row 10, columns 20..25) and one object in CR with an origin
 * of its own. */
static inline void t_fpm(void)
{
    static const char *const names[] = {"S_MASK_INTERP", "S_MASK_SATUR", "S_MASK_NOTCHECKED",
                                        "S_MASK_OBJECT", "S_MASK_CR"};
    int status = 0, planes = 5;
    fitsfile *f = t_create("fpM-000001-r2-0003.fit");
    char *type[] = {"row0", "col0", "s"}, *form[] = {"1J", "1J", "1PB"};
    char *ntype[] = {"defName", "attributeName", "Value"}, *nform[] = {"31A", "31A", "1J"};
    fits_create_img(f, BYTE_IMG, 0, NULL, &status);
    t_int(f, "RUN", 1);
    t_int(f, "CAMCOL", 2);
    t_int(f, "FIELD", 3);
    t_int(f, "NPLANE", planes);
    for (int p = 0; p < planes; p++) {
        unsigned char run[6] = {0, 10, 0, 20, 0, 25};
        int zero = 0, row0 = 30;
        int used = p == 0 || p == 4;
        fits_create_tbl(f, BINARY_TBL, used, 3, type, form, NULL, NULL, &status);
        if (!used)
            continue;
        fits_write_col(f, TINT, 1, 1, 1, 1, p == 4 ? &row0 : &zero, &status);
        fits_write_col(f, TINT, 2, 1, 1, 1, &zero, &status);
        fits_write_col(f, TBYTE, 3, 1, 1, 6, run, &status);
    }
    fits_create_tbl(f, BINARY_TBL, planes, 3, ntype, nform, NULL, NULL, &status);
    for (int p = 0; p < planes; p++) {
        char *def = "S_MASKTYPE", *name = (char *)names[p];
        fits_write_col(f, TSTRING, 1, p + 1, 1, 1, &def, &status);
        fits_write_col(f, TSTRING, 2, p + 1, 1, 1, &name, &status);
        fits_write_col(f, TINT, 3, p + 1, 1, 1, &p, &status);
    }
    assert_int_equal(status, 0);
    t_close(f);
}

static inline void t_sdss_field(void)
{
    t_clear();
    for (int b = 0; b < T_BANDS; b++)
        t_frame(b);
    t_psfield();
    t_photofield();
    t_fpm();
}

/* ---- an afw tile: t-g.fits, t-r.fits, t-psf.fits ---- */

static inline sq_wcs *t_wcs(double dx, double dy)
{
    const double cd[4] = {-5e-5, 0, 0, 5e-5};
    sq_wcs *wcs;
    assert_int_equal(sq_wcs_tan(40, -20, 48 + dx, 40 + dy, cd, &wcs), SQ_OK);
    return wcs;
}

static inline float t_afw_pixel(int band, int x, int y)
{
    return (float)(10 * band + 0.1 * x + 0.3 * y);
}

static inline void t_afw_band(int band, double dx, double dy)
{
    static float image[T_NX * T_NY], variance[T_NX * T_NY];
    static uint32_t mask[T_NX * T_NY];
    char name[64];
    for (int i = 0; i < T_NX * T_NY; i++) {
        image[i] = t_afw_pixel(band, i % T_NX, i / T_NX);
        variance[i] = (float)(4 + band);
        mask[i] = 0;
    }
    mask[5 * T_NX + 7] = SQ_MASK_SATURATED | SQ_MASK_INTERPOLATED;
    mask[6 * T_NX + 8] = SQ_MASK_OUTSIDE;
    image[9 * T_NX + 9] = NAN;
    variance[10 * T_NX + 10] = 0;
    image[11 * T_NX + 11] = INFINITY;
    variance[12 * T_NX + 12] = -1;
    mask[13 * T_NX + 13] = SQ_MASK_BRIGHT | SQ_MASK_COSMIC | SQ_MASK_EDGE | SQ_MASK_NOTCHECKED;
    sq_wcs *wcs = t_wcs(dx, dy);
    snprintf(name, sizeof name, "t-%s.fits", t_bands[band]);
    assert_int_equal(
        sq_write_exposure(t_path(name), t_bands[band], T_NX, T_NY, wcs, image, mask, variance, 0.5),
        SQ_OK);
    sq_wcs_destroy(wcs);
}

/* A Gaussian whose width grows with x, at 2 x 2 nodes; the sky is 100 + 10 band + x. */
static inline void t_afw_psf(void)
{
    static float psf[T_BANDS][2][2][T_SIDE * T_SIDE], sky[T_BANDS][2][2];
    char names[T_BANDS][8];
    for (int b = 0; b < T_BANDS; b++) {
        snprintf(names[b], sizeof names[b], "%s", t_bands[b]);
        for (int n = 0; n < 4; n++) {
            double sigma = n % 2 ? 2.4 : 1.6;
            for (int i = 0; i < T_SIDE * T_SIDE; i++) {
                double x = i % T_SIDE - T_SIDE / 2, y = i / T_SIDE - T_SIDE / 2;
                psf[b][n / 2][n % 2][i] = (float)exp(-0.5 * (x * x + y * y) / (sigma * sigma));
            }
            sky[b][n / 2][n % 2] = (float)(100 + 10 * b + (n % 2) * (T_NX - 1));
        }
    }
    assert_int_equal(sq_write_psf_grid(t_path("t-psf.fits"), T_BANDS, (const char(*)[8])names, 2, 2,
                                       T_NX, T_NY, T_SIDE, &psf[0][0][0][0], &sky[0][0][0]),
                     SQ_OK);
}

static inline void t_afw_tile(void)
{
    t_clear();
    t_afw_band(1, 0, 0);
    t_afw_band(2, 0, 0);
    t_afw_psf();
}

/* ---- scanning ---- */

typedef struct t_problem {
    int count;
    sq_status code;
    char message[SQ_ERROR_MAX];
} t_problem;

static inline void t_note(void *user, const char *name, sq_status code, const char *message)
{
    t_problem *p = user;
    (void)name;
    p->count++;
    p->code = code;
    snprintf(p->message, sizeof p->message, "%s", message);
}

/* Scan the folder, which holds one tile. Returns 0 when it was refused. */
static inline int t_scan(sq_tile *tile, t_problem *problem)
{
    const char *paths[1] = {t_folder};
    sq_tile *tiles = NULL;
    int64_t count = 0;
    *problem = (t_problem){0};
    assert_int_equal(sq_tile_scan(paths, 1, "r", t_note, problem, &tiles, &count), SQ_OK);
    assert_int_equal(count + problem->count, 1);
    if (count == 1)
        *tile = tiles[0];
    sq_free(tiles);
    return count == 1;
}

#endif
