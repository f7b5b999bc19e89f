/* Damaged, swapped and absurd files: each is refused with one line that names the file and the
 * reason, at the first stage that can know, or read with the damage masked. */
#include "fits_test.h"

typedef enum kind { SDSS, AFW } kind;

/* Where a tile must be refused. */
typedef enum stage { AT_SCAN, AT_OPEN, AT_READ, NEVER } stage;

typedef struct bad_case {
    const char *name;
    kind kind;
    void (*spoil)(void);
    stage stage;
    sq_status code;
    const char *file, *word; /* both must be in the message */
} bad_case;

/* ---- ways to spoil a file ---- */

static fitsfile *edit(const char *name, int hdu)
{
    fitsfile *f = NULL;
    int status = 0;
    fits_open_diskfile(&f, t_path(name), READWRITE, &status);
    fits_movabs_hdu(f, hdu + 1, NULL, &status);
    assert_int_equal(status, 0);
    return f;
}

static void set_text(const char *name, int hdu, const char *key, const char *value)
{
    fitsfile *f = edit(name, hdu);
    t_text(f, key, value);
    t_close(f);
}

static void set_int(const char *name, int hdu, const char *key, int value)
{
    fitsfile *f = edit(name, hdu);
    t_int(f, key, value);
    t_close(f);
}

static void set_real(const char *name, int hdu, const char *key, double value)
{
    fitsfile *f = edit(name, hdu);
    t_real(f, key, value);
    t_close(f);
}

static void drop_key(const char *name, int hdu, const char *key)
{
    fitsfile *f = edit(name, hdu);
    int status = 0;
    fits_delete_key(f, key, &status);
    assert_int_equal(status, 0);
    t_close(f);
}

static void drop_column(const char *name, int hdu, const char *column)
{
    fitsfile *f = edit(name, hdu);
    int status = 0, number;
    fits_get_colnum(f, CASEINSEN, (char *)column, &number, &status);
    fits_delete_col(f, number, &status);
    assert_int_equal(status, 0);
    t_close(f);
}

static void drop_hdu(const char *name, int hdu)
{
    fitsfile *f = edit(name, hdu);
    int status = 0;
    fits_delete_hdu(f, NULL, &status);
    assert_int_equal(status, 0);
    t_close(f);
}

static void set_cell(const char *name, int hdu, const char *column, int row, int element,
                     double value)
{
    fitsfile *f = edit(name, hdu);
    int status = 0, number;
    fits_get_colnum(f, CASEINSEN, (char *)column, &number, &status);
    fits_write_col(f, TDOUBLE, number, row + 1, element + 1, 1, &value, &status);
    assert_int_equal(status, 0);
    t_close(f);
}

static void set_pixels(const char *name, int hdu, float value)
{
    fitsfile *f = edit(name, hdu);
    int status = 0;
    LONGLONG axes[5] = {1, 1, 1, 1, 1}, n = 1;
    int naxis;
    fits_get_img_dim(f, &naxis, &status);
    fits_get_img_sizell(f, 5, axes, &status);
    for (int k = 0; k < naxis; k++)
        n *= axes[k];
    for (LONGLONG k = 0; k < n; k++)
        fits_write_img(f, TFLOAT, k + 1, 1, &value, &status);
    assert_int_equal(status, 0);
    t_close(f);
}

static void cut(const char *name, long keep)
{
    struct stat st;
    assert_int_equal(stat(t_path(name), &st), 0);
    assert_int_equal(truncate(t_path(name), keep < 0 ? st.st_size + keep : keep), 0);
}

static void put_bytes(const char *name, long at, const char *bytes)
{
    FILE *f = fopen(t_path(name), at < 0 ? "wb" : "r+b");
    assert_non_null(f);
    if (at >= 0)
        fseek(f, at, SEEK_SET);
    fwrite(bytes, 1, strlen(bytes), f);
    fclose(f);
}

/* Overwrite the card of a keyword in place, whatever the FITS standard says. */
static void put_card(const char *name, const char *key, const char *card)
{
    FILE *f = fopen(t_path(name), "r+b");
    char buffer[81] = "", padded[81];
    assert_non_null(f);
    snprintf(padded, sizeof padded, "%-80s", card);
    for (long at = 0; fread(buffer, 1, 80, f) == 80; at += 80) {
        if (strncmp(buffer, key, strlen(key)) == 0) {
            fseek(f, at, SEEK_SET);
            fwrite(padded, 1, 80, f);
            fclose(f);
            return;
        }
    }
    fail_msg("%s has no card %s", name, key);
}

static void swap(const char *a, const char *b)
{
    assert_int_equal(rename(t_path(a), t_path("swap")), 0);
    assert_int_equal(rename(t_path(b), t_path(a)), 0);
    assert_int_equal(rename(t_path("swap"), t_path(b)), 0);
}

#define R "frame-r-000001-2-0003.fits"
#define G "frame-g-000001-2-0003.fits"
#define PSF "psField-000001-2-0003.fit"
#define FIELD "photoField-000001-2.fits"
#define FPM "fpM-000001-r2-0003.fit"
#define SPOIL(name, ...)                                                                           \
    static void name(void)                                                                         \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
    }

/* clang-format off */
SPOIL(empty_file, cut(R, 0))
SPOIL(half_a_header, cut(R, 1000))
SPOIL(cut_in_header_block, cut(R, 2879))
SPOIL(cut_in_pixels, cut(R, 2880 * 3))
SPOIL(cut_last_table, cut(R, -2880))
SPOIL(not_fits, put_bytes(R, -1, "this is a text file that someone named .fits\n"))
SPOIL(html_page, put_bytes(R, -1, "<!DOCTYPE html><html><body>404 Not Found</body></html>"))
SPOIL(binary_header, put_bytes(R, 500, "\x01\x02\xff\xfe"); put_bytes(R, 700, "\x80"); cut(R, 800))
SPOIL(swapped_bands, swap(R, G))
SPOIL(other_run, set_int(R, 0, "RUN", 4))
SPOIL(other_camcol, set_int(R, 0, "CAMCOL", 5))
SPOIL(other_field, set_int(R, 0, "FRAME", 99))
SPOIL(other_filter, set_text(R, 0, "FILTER", "i"))
SPOIL(negative_axis, put_card(R, "NAXIS1", "NAXIS1  =                  -96"))
SPOIL(huge_axis, put_card(R, "NAXIS1", "NAXIS1  =        2000000000000000"))
SPOIL(absurd_axis, put_card(R, "NAXIS1", "NAXIS1  = 99999999999999999999999999"))
SPOIL(many_axes, put_card(R, "NAXIS   ", "NAXIS   =                  999"))
SPOIL(negative_axes, put_card(R, "NAXIS   ", "NAXIS   =                   -2"))
SPOIL(axis_is_text, put_card(R, "NAXIS1", "NAXIS1  = 'ninety-six'"))
SPOIL(no_bitpix, put_card(R, "BITPIX", "COMMENT"))
SPOIL(odd_bitpix, put_card(R, "BITPIX", "BITPIX  =                   17"))
SPOIL(one_dimension, put_card(R, "NAXIS   ", "NAXIS   =                    1"))
SPOIL(no_end, put_card(R, "END ", "COMMENT no end"))
SPOIL(no_wcs, put_card(R, "CTYPE1", "COMMENT"); put_card(R, "CTYPE2", "COMMENT"))
SPOIL(singular_wcs, set_real(R, 0, "CD1_2", 0))
SPOIL(galactic_wcs, set_text(R, 0, "CTYPE1", "GLON-TAN"); set_text(R, 0, "CTYPE2", "GLAT-TAN"))
SPOIL(unknown_projection, set_text(R, 0, "CTYPE1", "RA---QQQ"); set_text(R, 0, "CTYPE2", "DEC--QQQ"))
SPOIL(no_overlap, set_real(G, 0, "CRVAL1", 170))
SPOIL(other_pixels, set_real(G, 0, "CD1_2", 2.2e-4); set_real(G, 0, "CD2_1", 2.2e-4))
SPOIL(wrong_unit, set_text(R, 0, "BUNIT", "K_CMB"))
SPOIL(no_calibration, drop_hdu(R, 1))
SPOIL(zero_calibration, set_pixels(R, 1, 0))
SPOIL(nan_calibration, set_pixels(R, 1, NAN))
SPOIL(no_sky, drop_hdu(R, 2))
SPOIL(no_allsky, drop_column(R, 2, "ALLSKY"))
SPOIL(flat_allsky, drop_key(R, 2, "TDIM1"))
SPOIL(nan_sky, set_cell(R, 2, "ALLSKY", 0, 5, NAN))
SPOIL(no_interp, drop_column(R, 2, "XINTERP"))
SPOIL(no_psfield, remove(t_path(PSF)))
SPOIL(psfield_of_other_field, set_int(PSF, 0, "FIELD", 12))
SPOIL(psfield_of_other_run, set_int(PSF, 0, "RUN", 94))
SPOIL(psfield_other_order, set_text(PSF, 0, "FILTERS", "r i u z g"))
SPOIL(psfield_short, for (int k = 5; k > 1; k--) drop_hdu(PSF, k))
SPOIL(psfield_no_rows, drop_column(PSF, 3, "RROWS"))
SPOIL(psfield_wrong_size, set_cell(PSF, 3, "RNROW", 0, 0, 50))
SPOIL(psfield_huge_size, set_cell(PSF, 3, "RNROW", 1, 0, 2000000000))
SPOIL(psfield_order, set_cell(PSF, 3, "nrow_b", 0, 0, 9))
SPOIL(psfield_nan, set_cell(PSF, 3, "c", 0, 0, NAN))
SPOIL(psfield_zero, for (int k = 0; k < 2; k++) for (int i = 0; i < 25; i++) set_cell(PSF, 3, "c", k, i, 0))
SPOIL(psfield_is_photofield, swap(PSF, FIELD))
SPOIL(photofield_without_row, set_cell(FIELD, 1, "FIELD", 1, 0, 77))
SPOIL(photofield_zero_gain, set_cell(FIELD, 1, "GAIN", 1, 2, 0))
SPOIL(photofield_nan_dark, set_cell(FIELD, 1, "DARK_VARIANCE", 1, 2, NAN))
SPOIL(photofield_no_gain, drop_column(FIELD, 1, "GAIN"))
SPOIL(photofield_other_run, set_int(FIELD, 0, "RUN", 9))
SPOIL(fpm_of_other_field, set_int(FPM, 0, "FIELD", 4))
SPOIL(fpm_no_names, drop_hdu(FPM, 6))
SPOIL(fpm_no_runs, drop_column(FPM, 1, "s"))
SPOIL(fpm_cut, cut(FPM, -2880))
SPOIL(bad_gz, put_bytes(R, -1, "\x1f\x8b\x08not really compressed data, only its first bytes"))
SPOIL(bad_bz2, put_bytes(R, -1, "BZh91AY&SYnot really compressed data"))

#define AR "t-r.fits"
#define AG "t-g.fits"
#define AP "t-psf.fits"
SPOIL(afw_no_image, set_text(AR, 1, "EXTTYPE", "PICTURE"))
SPOIL(afw_no_mask, drop_hdu(AR, 2))
SPOIL(afw_no_variance, drop_hdu(AR, 3))
SPOIL(afw_small_mask, put_card(AR, "XTENSION", "XTENSION= 'IMAGE   '"); drop_hdu(AR, 2);
      fitsfile *f = edit(AR, 2); int s = 0; long n[2] = {10, 10};
      fits_create_img(f, LONG_IMG, 2, n, &s); t_text(f, "EXTTYPE", "MASK"); t_int(f, "MP_BAD", 0); t_close(f))
SPOIL(afw_no_planes, for (const char *const *k = (const char *const[]){"MP_BAD", "MP_SAT", "MP_INTRP", "MP_CR",
      "MP_EDGE", "MP_NO_DATA", "MP_BRIGHT_OBJECT", "MP_NOT_CHECKED", NULL}; *k; k++) drop_key(AR, 2, *k))
SPOIL(afw_plane_40, set_int(AR, 2, "MP_SAT", 40))
SPOIL(afw_swapped, swap(AR, AG))
SPOIL(afw_unit, set_text(AR, 1, "BUNIT", "furlong"))
SPOIL(afw_no_psf, remove(t_path(AP)))
SPOIL(afw_psf_other_tile, set_int(AP, 0, "TILE_NX", 4000))
SPOIL(afw_psf_no_card, drop_key(AP, 0, "PSFGRID"))
SPOIL(afw_psf_no_band, set_text(AP, 0, "BAND3", "y"))
SPOIL(afw_psf_nodes, set_real(AP, 0, "NODEX2", -5))
SPOIL(afw_psf_zero, set_pixels(AP, 0, 0))
SPOIL(afw_psf_nan, set_pixels(AP, 0, NAN))
SPOIL(afw_sky_nan, set_pixels(AP, 1, NAN))
SPOIL(afw_psf_is_image, swap(AP, AG))

static const bad_case cases[] = {
    {"empty file", SDSS, empty_file, AT_SCAN, SQ_ERR_FORMAT, R, "empty"},
    {"half a header", SDSS, half_a_header, AT_SCAN, SQ_ERR_FORMAT, R, "truncated"},
    {"one byte short of a block", SDSS, cut_in_header_block, AT_SCAN, SQ_ERR_FORMAT, R, "truncated"},
    {"cut within the pixels", SDSS, cut_in_pixels, AT_SCAN, SQ_ERR_FORMAT, R, "truncated"},
    {"last table cut", SDSS, cut_last_table, AT_SCAN, SQ_ERR_FORMAT, R, "truncated"},
    {"text file", SDSS, not_fits, AT_SCAN, SQ_ERR_FORMAT, R, "truncated"},
    {"web page", SDSS, html_page, AT_SCAN, SQ_ERR_FORMAT, R, "truncated"},
    {"binary header", SDSS, binary_header, AT_SCAN, SQ_ERR_FORMAT, R, ""},
    {"swapped bands", SDSS, swapped_bands, AT_SCAN, SQ_ERR_DATA, "frame-", "FILTER"},
    {"renamed from another run", SDSS, other_run, AT_SCAN, SQ_ERR_DATA, R, "RUN"},
    {"renamed from another camcol", SDSS, other_camcol, AT_SCAN, SQ_ERR_DATA, R, "CAMCOL"},
    {"renamed from another field", SDSS, other_field, AT_SCAN, SQ_ERR_DATA, R, "FRAME"},
    {"another filter", SDSS, other_filter, AT_SCAN, SQ_ERR_DATA, R, "FILTER"},
    {"negative NAXIS1", SDSS, negative_axis, AT_SCAN, SQ_ERR_FORMAT, R, "NAXIS1"},
    {"huge NAXIS1", SDSS, huge_axis, AT_SCAN, SQ_ERR_FORMAT, R, "NAXIS1"},
    {"NAXIS1 beyond 64 bits", SDSS, absurd_axis, AT_SCAN, SQ_ERR_FORMAT, R, "NAXIS1"},
    {"NAXIS 999", SDSS, many_axes, AT_SCAN, SQ_ERR_FORMAT, R, "NAXIS"},
    {"NAXIS -2", SDSS, negative_axes, AT_SCAN, SQ_ERR_FORMAT, R, "NAXIS"},
    {"NAXIS1 a string", SDSS, axis_is_text, AT_SCAN, SQ_ERR_FORMAT, R, "NAXIS1"},
    {"no BITPIX", SDSS, no_bitpix, AT_SCAN, SQ_ERR_FORMAT, R, "BITPIX"},
    {"BITPIX 17", SDSS, odd_bitpix, AT_SCAN, SQ_ERR_FORMAT, R, "BITPIX"},
    {"one dimension", SDSS, one_dimension, AT_SCAN, SQ_ERR_FORMAT, R, ""},
    {"no END", SDSS, no_end, AT_SCAN, SQ_ERR_FORMAT, R, ""},
    {"no WCS", SDSS, no_wcs, AT_SCAN, SQ_ERR_FORMAT, R, "WCS"},
    {"singular WCS", SDSS, singular_wcs, AT_SCAN, SQ_ERR_FORMAT, R, "WCS"},
    {"galactic WCS", SDSS, galactic_wcs, AT_SCAN, SQ_ERR_FORMAT, R, "equatorial"},
    {"unknown projection", SDSS, unknown_projection, AT_SCAN, SQ_ERR_FORMAT, R, "WCS"},
    {"bands that do not overlap", SDSS, no_overlap, AT_OPEN, SQ_ERR_DATA, G, "overlap"},
    {"bands of other pixels", SDSS, other_pixels, AT_OPEN, SQ_ERR_DATA, G, "pixels"},
    {"unit of a CMB map", SDSS, wrong_unit, AT_OPEN, SQ_ERR_FORMAT, R, "BUNIT"},
    {"no calibration vector", SDSS, no_calibration, AT_OPEN, SQ_ERR_FORMAT, R "[1]", ""},
    {"zero calibration", SDSS, zero_calibration, AT_OPEN, SQ_ERR_FORMAT, R "[1]", "calibration"},
    {"NaN calibration", SDSS, nan_calibration, AT_OPEN, SQ_ERR_FORMAT, R "[1]", "calibration"},
    {"no sky table", SDSS, no_sky, AT_OPEN, SQ_ERR_FORMAT, R "[2]", ""},
    {"no ALLSKY", SDSS, no_allsky, AT_OPEN, SQ_ERR_FORMAT, R "[2]", "ALLSKY"},
    {"ALLSKY without shape", SDSS, flat_allsky, AT_OPEN, SQ_ERR_FORMAT, R "[2]", "ALLSKY"},
    {"NaN sky", SDSS, nan_sky, AT_OPEN, SQ_ERR_FORMAT, R "[2]", "ALLSKY"},
    {"no XINTERP", SDSS, no_interp, AT_OPEN, SQ_ERR_FORMAT, R "[2]", "XINTERP"},
    {"no psField", SDSS, no_psfield, AT_SCAN, SQ_ERR_DATA, "000001-2-0003", "psField"},
    {"psField of another field", SDSS, psfield_of_other_field, AT_OPEN, SQ_ERR_DATA, PSF, "FIELD"},
    {"psField of another run", SDSS, psfield_of_other_run, AT_OPEN, SQ_ERR_DATA, PSF, "RUN"},
    {"psField in another order", SDSS, psfield_other_order, AT_OPEN, SQ_ERR_FORMAT, PSF, "FILTERS"},
    {"psField with two tables", SDSS, psfield_short, AT_OPEN, SQ_ERR_FORMAT, PSF "[2]", "HDU"},
    {"psField without RROWS", SDSS, psfield_no_rows, AT_OPEN, SQ_ERR_FORMAT, PSF "[3]", "RROWS"},
    {"psField with an even side", SDSS, psfield_wrong_size, AT_OPEN, SQ_ERR_FORMAT, PSF "[3]", "RNROW"},
    {"psField of 2e9 rows", SDSS, psfield_huge_size, AT_OPEN, SQ_ERR_FORMAT, PSF "[3]", "RNROW"},
    {"psField of order 9", SDSS, psfield_order, AT_OPEN, SQ_ERR_FORMAT, PSF "[3]", "nrow_b"},
    {"psField with NaN", SDSS, psfield_nan, AT_OPEN, SQ_ERR_FORMAT, PSF "[3]", "c:"},
    {"psField without light", SDSS, psfield_zero, AT_READ, SQ_ERR_DATA, "psField", "sum"},
    {"psField and photoField swapped", SDSS, psfield_is_photofield, AT_OPEN, SQ_ERR_FORMAT, PSF, ""},
    {"photoField without the field", SDSS, photofield_without_row, AT_OPEN, SQ_ERR_DATA, FIELD, "no row"},
    {"gain 0", SDSS, photofield_zero_gain, AT_OPEN, SQ_ERR_FORMAT, FIELD "[1]", "gain"},
    {"dark variance NaN", SDSS, photofield_nan_dark, AT_OPEN, SQ_ERR_FORMAT, FIELD "[1]", "dark_variance"},
    {"photoField without gain", SDSS, photofield_no_gain, AT_OPEN, SQ_ERR_FORMAT, FIELD "[1]", "gain"},
    {"photoField of another run", SDSS, photofield_other_run, AT_OPEN, SQ_ERR_DATA, FIELD, "RUN"},
    {"fpM of another field", SDSS, fpm_of_other_field, AT_OPEN, SQ_ERR_DATA, FPM, "FIELD"},
    {"fpM without names", SDSS, fpm_no_names, AT_OPEN, SQ_ERR_FORMAT, FPM "[6]", ""},
    {"fpM without runs", SDSS, fpm_no_runs, AT_OPEN, SQ_ERR_FORMAT, FPM "[1]", "s:"},
    {"fpM cut", SDSS, fpm_cut, AT_OPEN, SQ_ERR_FORMAT, FPM, "truncated"},
    {"damaged gz", SDSS, bad_gz, AT_SCAN, SQ_ERR_FORMAT, R, "damaged"},
    {"damaged bz2", SDSS, bad_bz2, AT_SCAN, SQ_ERR_FORMAT, R, "damaged"},
    {"no IMAGE", AFW, afw_no_image, AT_SCAN, SQ_ERR_FORMAT, AR, "IMAGE"},
    {"no MASK", AFW, afw_no_mask, AT_OPEN, SQ_ERR_FORMAT, AR, "MASK"},
    {"no VARIANCE", AFW, afw_no_variance, AT_OPEN, SQ_ERR_FORMAT, AR, "VARIANCE"},
    {"MASK of another size", AFW, afw_small_mask, AT_OPEN, SQ_ERR_FORMAT, AR, "MASK"},
    {"mask without planes", AFW, afw_no_planes, AT_OPEN, SQ_ERR_FORMAT, AR "[2]", "MP_"},
    {"mask plane 40", AFW, afw_plane_40, AT_OPEN, SQ_ERR_FORMAT, AR "[2]", "MP_SAT"},
    {"swapped exposures", AFW, afw_swapped, AT_SCAN, SQ_ERR_DATA, "t-", "FILTER"},
    {"unit furlong", AFW, afw_unit, AT_OPEN, SQ_ERR_FORMAT, AR "[1]", "BUNIT"},
    {"no PSF side file", AFW, afw_no_psf, AT_SCAN, SQ_ERR_DATA, "t:", "PSF"},
    {"PSF of a larger tile", AFW, afw_psf_other_tile, AT_OPEN, SQ_ERR_DATA, "t-", "PSF"},
    {"PSF file of another kind", AFW, afw_psf_no_card, AT_OPEN, SQ_ERR_FORMAT, AP "[0]", "PSFGRID"},
    {"PSF without the band", AFW, afw_psf_no_band, AT_OPEN, SQ_ERR_DATA, AR, "band r"},
    {"PSF nodes in disorder", AFW, afw_psf_nodes, AT_OPEN, SQ_ERR_FORMAT, AP "[0]", "NODEX2"},
    {"PSF without light", AFW, afw_psf_zero, AT_OPEN, SQ_ERR_DATA, AP "[0]", "sum"},
    {"PSF of NaN", AFW, afw_psf_nan, AT_OPEN, SQ_ERR_DATA, AP "[0]", "sum"},
    {"sky of NaN", AFW, afw_sky_nan, AT_OPEN, SQ_ERR_FORMAT, AP "[SKY]", "number"},
    {"PSF and image swapped", AFW, afw_psf_is_image, AT_SCAN, SQ_ERR_FORMAT, AG, "IMAGE"},
};
/* clang-format on */

enum { CASES = sizeof cases / sizeof cases[0] };

static int right;

static void judge(const bad_case *c, stage stage, sq_status code, const char *message)
{
    if (stage != c->stage || code != c->code || !strstr(message, c->file) ||
        !strstr(message, c->word) || strchr(message, '\n'))
        print_error("%s: stage %d (not %d), %s: %s\n", c->name, stage, c->stage,
                    sq_status_name(code), message);
    else
        right++;
}

static void try_case(const bad_case *c)
{
    sq_tile tile;
    t_problem problem;
    sq_exposure *e = NULL;
    sq_cutout *cutout = NULL;
    const char *bands[2] = {"g", "r"};
    if (c->kind == SDSS)
        t_sdss_field();
    else
        t_afw_tile();
    c->spoil();
    if (!t_scan(&tile, &problem)) {
        judge(c, AT_SCAN, problem.code, problem.message);
        return;
    }
    sq_status code = sq_exposure_open(&tile, bands, 2, 0, &e);
    if (code != SQ_OK) {
        judge(c, AT_OPEN, code, sq_error());
        sq_tile_clear(&tile);
        return;
    }
    assert_int_equal(sq_cutout_create(2, 32, 32, &cutout), SQ_OK);
    code = sq_exposure_read(e, 0, 0, cutout);
    judge(c, code == SQ_OK ? NEVER : AT_READ, code, sq_error());
    sq_cutout_destroy(cutout);
    sq_exposure_close(e);
    sq_tile_clear(&tile);
}

static void each_is_refused(void **state)
{
    (void)state;
    uint64_t held = sq_mem_held();
    for (int k = 0; k < CASES; k++) {
        try_case(&cases[k]);
        if (sq_mem_held() != held)
            fail_msg("%s: %ld bytes left", cases[k].name, (long)(sq_mem_held() - held));
    }
    print_message("%d of %d cases\n", right, CASES);
    assert_int_equal(right, CASES);
}

/* ---- damage that is masked, not refused ---- */

static void nan_pixels_are_masked(void **state)
{
    (void)state;
    sq_tile tile;
    t_problem problem;
    sq_exposure *e;
    sq_cutout *c;
    const char *bands[1] = {"r"};
    t_sdss_field();
    fitsfile *f = edit(R, 0);
    int status = 0;
    float bad[3] = {NAN, INFINITY, -INFINITY};
    fits_write_img(f, TFLOAT, 20 * T_NX + 31, 3, bad, &status);
    assert_int_equal(status, 0);
    t_close(f);
    assert_true(t_scan(&tile, &problem));
    assert_int_equal(sq_exposure_open(&tile, bands, 1, 0, &e), SQ_OK);
    assert_int_equal(sq_cutout_create(1, T_NX, T_NY, &c), SQ_OK);
    assert_int_equal(sq_exposure_read(e, 0, 0, c), SQ_OK);
    int masked = 0;
    for (int k = 0; k < T_NX * T_NY; k++) {
        int is = k >= 20 * T_NX + 30 && k < 20 * T_NX + 33;
        assert_int_equal(!!(c->mask[k] & SQ_MASK_BAD), is);
        assert_true(isfinite(c->image[k]) && !isnan(c->variance[k]));
        masked += is && c->image[k] == 0 && isinf(c->variance[k]);
    }
    assert_int_equal(masked, 3);
    sq_cutout_destroy(c);
    sq_exposure_close(e);
    sq_tile_clear(&tile);
}

/* A band that is masked out everywhere, and one of zero variance: the other band stays usable. */
static void masked_out_bands_read(void **state)
{
    (void)state;
    for (int what = 0; what < 3; what++) {
        sq_tile tile;
        t_problem problem;
        sq_exposure *e;
        sq_cutout *c;
        const char *bands[2] = {"g", "r"};
        t_afw_tile();
        set_pixels(AR, what == 0 ? 2 : what == 1 ? 3 : 1, what == 0 ? 256 : what == 1 ? 0 : NAN);
        assert_true(t_scan(&tile, &problem));
        assert_int_equal(sq_exposure_open(&tile, bands, 2, 0, &e), SQ_OK);
        assert_int_equal(sq_cutout_create(2, 40, 40, &c), SQ_OK);
        assert_int_equal(sq_exposure_read(e, 20, 20, c), SQ_OK);
        for (int k = 0; k < 40 * 40; k++) {
            assert_int_equal(c->mask[k] & SQ_MASK_UNUSABLE, 0);
            assert_true(c->mask[1600 + k] & SQ_MASK_UNUSABLE);
            assert_true(c->image[1600 + k] == 0 && isinf(c->variance[1600 + k]));
            assert_true(c->sky_sigma[k] > 0);
        }
        sq_cutout_destroy(c);
        sq_exposure_close(e);
        sq_tile_clear(&tile);
    }
}

/* ---- files that change after they were indexed ---- */

static void spoil_size(void)
{
    put_bytes(R, 0, "SIMPLE");
    cut(R, -2880);
}
static void spoil_time(void)
{
    struct timespec t[2] = {{1, 0}, {1, 0}};
    utimensat(0, t_path(R), t, 0);
}
static void spoil_gone(void)
{
    remove(t_path(R));
}
static void spoil_psf(void)
{
    remove(t_path(PSF));
}
static void spoil_field(void)
{
    cut(FIELD, -1);
}
static void spoil_mask(void)
{
    cut(FPM, -1);
}

static void changed_files_are_noticed(void **state)
{
    (void)state;
    void (*const spoil[])(void) = {spoil_size, spoil_time,  spoil_gone,
                                   spoil_psf,  spoil_field, spoil_mask};
    const char *const named[] = {R, R, R, PSF, FIELD, FPM};
    for (int k = 0; k < 6; k++) {
        sq_tile tile;
        t_problem problem;
        sq_exposure *e = NULL;
        const char *bands[1] = {"r"};
        t_sdss_field();
        assert_true(t_scan(&tile, &problem));
        spoil[k]();
        assert_int_equal(sq_exposure_open(&tile, bands, 1, 0, &e), SQ_ERR_CHANGED);
        assert_null(e);
        assert_non_null(strstr(sq_error(), named[k]));
        sq_tile_clear(&tile);
    }
}

/* ---- compressed files ---- */

static void gzip(const char *name, const char *to, const char *command)
{
    char line[1400];
    snprintf(line, sizeof line, "%s '%s' > '%s'", command, t_path(name), t_path(to));
    assert_int_equal(system(line), 0);
    remove(t_path(name));
}

static void cut_compressed_files(void **state)
{
    (void)state;
    static const char *const tools[2][2] = {{"gzip -c", R ".gz"}, {"bzip2 -c", R ".bz2"}};
    for (int k = 0; k < 2; k++) {
        sq_tile tile;
        t_problem problem;
        sq_exposure *e = NULL;
        const char *bands[1] = {"r"};
        t_sdss_field();
        gzip(R, tools[k][1], tools[k][0]);
        assert_true(t_scan(&tile, &problem));
        assert_int_equal(sq_exposure_open(&tile, bands, 1, 0, &e), SQ_OK);
        sq_exposure_close(e);
        sq_tile_clear(&tile);
        cut(tools[k][1], -200);
        if (t_scan(&tile, &problem)) { /* the header may still be whole */
            assert_int_equal(sq_exposure_open(&tile, bands, 1, 0, &e), SQ_ERR_FORMAT);
            snprintf(problem.message, sizeof problem.message, "%s", sq_error());
            sq_tile_clear(&tile);
        } else {
            assert_int_equal(problem.code, SQ_ERR_FORMAT);
        }
        if (!strstr(problem.message, tools[k][1]))
            fail_msg("%s", problem.message);
    }
}

/* 4 GB of zeros in a few megabytes of gz: the cap stops it before memory does. */
static void bombs_are_capped(void **state)
{
    (void)state;
    sq_tile tile;
    t_problem problem;
    sq_exposure *e = NULL;
    const char *bands[1] = {"r"};
    char line[1400];
    t_sdss_field();
    snprintf(line, sizeof line, "( cat '%s'; head -c 400000000 /dev/zero ) | gzip -1 > '%s'",
             t_path(R), t_path(R ".gz"));
    assert_int_equal(system(line), 0);
    remove(t_path(R));
    if (t_scan(&tile, &problem)) {
        uint64_t before = sq_mem_peak();
        assert_int_equal(sq_exposure_open(&tile, bands, 1, 0, &e), SQ_ERR_DATA);
        assert_non_null(strstr(sq_error(), "MiB"));
        assert_true(sq_mem_peak() < before + ((uint64_t)450 << 20));
        sq_tile_clear(&tile);
    } else {
        fail_msg("%s", problem.message);
    }
}

static void paths_that_are_not_there(void **state)
{
    (void)state;
    const char *paths[1] = {"/nonexistent/survey"};
    sq_tile *tiles;
    int64_t count;
    assert_int_equal(sq_tile_scan(paths, 1, "r", NULL, NULL, &tiles, &count), SQ_ERR_IO);
    assert_non_null(strstr(sq_error(), "/nonexistent/survey"));
    t_clear();
    paths[0] = t_folder;
    assert_int_equal(sq_tile_scan(paths, 1, "r", NULL, NULL, &tiles, &count), SQ_OK);
    assert_int_equal(count, 0);
    sq_free(tiles);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_refused),          cmocka_unit_test(nan_pixels_are_masked),
        cmocka_unit_test(masked_out_bands_read),    cmocka_unit_test(changed_files_are_noticed),
        cmocka_unit_test(cut_compressed_files),     cmocka_unit_test(bombs_are_capped),
        cmocka_unit_test(paths_that_are_not_there),
    };
    return cmocka_run_group_tests(tests, t_setup, t_teardown);
}
