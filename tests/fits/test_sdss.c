/* Real SDSS fields: calibration, coordinates, PSF and noise against what SDSS itself published
 * about them. */
#include "fits_test.h"

#include "sky/sphere.h"

enum { NX = 2048, NY = 1489, STAMP = SQ_PSF_SIDE * SQ_PSF_SIDE, MAX = 40000 };

/* A catalogue beside the images: one row per object, `n` columns of five bands or one number. */
static int load(const char *path, const char *column, int element, double *out)
{
    fitsfile *f = NULL;
    int status = 0, number, any;
    long rows = 0;
    fits_open_file(&f, path, READONLY, &status);
    fits_movabs_hdu(f, 2, NULL, &status);
    fits_get_num_rows(f, &rows, &status);
    fits_get_colnum(f, CASEINSEN, (char *)column, &number, &status);
    for (long r = 0; r < rows && r < MAX; r++)
        fits_read_col(f, TDOUBLE, number, r + 1, element + 1, 1, NULL, out + r, &any, &status);
    assert_int_equal(status, 0);
    fits_close_file(f, &status);
    return (int)(rows < MAX ? rows : MAX);
}

static sq_exposure *open_field(const char *folder, sq_tile *tile)
{
    const char *paths[1] = {folder};
    sq_tile *tiles;
    int64_t count;
    t_problem problem = {0};
    sq_exposure *e;
    assert_int_equal(sq_tile_scan(paths, 1, "r", t_note, &problem, &tiles, &count), SQ_OK);
    if (count != 1)
        fail_msg("%s", problem.message);
    *tile = tiles[0];
    sq_free(tiles);
    if (sq_exposure_open(tile, t_bands, T_BANDS, 0, &e) != SQ_OK)
        fail_msg("%s", sq_error());
    return e;
}

/* A star at (x, y) within 6 pixels: its flux as the amplitude of the PSF moved there, and how far
 * its centroid (first moment in a Gaussian window, iterated) is from there. Returns 0 where pixels
 * are masked. */
static int psf_photometry(const sq_cutout *c, int band, double x, double y, double *flux,
                          double *offset)
{
    enum { R = 6 };
    float psf[STAMP];
    int cx = (int)lround(x), cy = (int)lround(y), mid = SQ_PSF_SIDE / 2;
    double fx = x - cx, fy = y - cy, pp = 0, pi = 0, mx = fx, my = fy;
    int64_t centre = sq_cutout_plane(c, band) + (int64_t)cy * c->nx + cx;
    sq_cutout_psf(c, band, x, y, psf);
    for (int j = -R; j <= R; j++) {
        for (int i = -R; i <= R; i++) {
            int64_t k = centre + (int64_t)j * c->nx + i;
            if (c->mask[k] & (SQ_MASK_UNUSABLE | SQ_MASK_SATURATED | SQ_MASK_COSMIC))
                return 0;
            const float *p = psf + (mid + j) * SQ_PSF_SIDE + mid + i;
            double gx = (p[1] - p[-1]) / 2.0, gy = (p[SQ_PSF_SIDE] - p[-SQ_PSF_SIDE]) / 2.0;
            double hx = p[1] - 2.0 * p[0] + p[-1];
            double hy = p[SQ_PSF_SIDE] - 2.0 * p[0] + p[-SQ_PSF_SIDE];
            double hxy = (p[SQ_PSF_SIDE + 1] - p[SQ_PSF_SIDE - 1] - p[-SQ_PSF_SIDE + 1] +
                          p[-SQ_PSF_SIDE - 1]) /
                         4.0;
            /* second-order Taylor shift by (fx, fy) */
            double model =
                p[0] - fx * gx - fy * gy + 0.5 * (fx * fx * hx + fy * fy * hy) + fx * fy * hxy;
            pp += model * model;
            pi += model * c->image[k];
        }
    }
    for (int pass = 0; pass < 20; pass++) {
        double s = 0, sx = 0, sy = 0;
        for (int j = -R; j <= R; j++) {
            for (int i = -R; i <= R; i++) {
                double w = exp(-0.5 * ((i - mx) * (i - mx) + (j - my) * (j - my)) / (1.7 * 1.7)) *
                           c->image[centre + (int64_t)j * c->nx + i];
                s += w;
                sx += w * (i - mx);
                sy += w * (j - my);
            }
        }
        mx += 2 * sx / s;
        my += 2 * sy / s;
    }
    *flux = pi / pp;
    *offset = hypot(mx - fx, my - fy);
    return *flux > 0;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, ascending);
    return n % 2 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}

/* Robust spread of image / sky_sigma over clean pixels of a band. */
static double noise_ratio(const sq_cutout *c, int band)
{
    int n = 0, most = c->nx * c->ny;
    double *v = malloc((size_t)most * sizeof *v);
    for (int64_t k = sq_cutout_plane(c, band), end = k + most; k < end; k++) {
        if (c->mask[k] == 0)
            v[n++] = (double)c->image[k] / c->sky_sigma[k];
    }
    double middle = median(v, n);
    for (int k = 0; k < n; k++)
        v[k] = fabs(v[k] - middle);
    double out = 1.4826 * median(v, n);
    free(v);
    return out;
}

/* Adaptive moments (Bernstein & Jarvis 2002) of a stamp: the size that SDSS publishes as
 * M_RR_CC_PSF. */
static double adaptive_size(const float *p)
{
    double xx = 2.5, yy = 2.5, xy = 0;
    for (int pass = 0; pass < 50; pass++) {
        double det = xx * yy - xy * xy, s = 0, sx = 0, sy = 0, sxy = 0;
        for (int k = 0; k < STAMP; k++) {
            double x = k % SQ_PSF_SIDE - SQ_PSF_SIDE / 2, y = k / SQ_PSF_SIDE - SQ_PSF_SIDE / 2;
            double w = exp(-0.5 * (x * x * yy - 2 * x * y * xy + y * y * xx) / det) * p[k];
            s += w;
            sx += w * x * x;
            sy += w * y * y;
            sxy += w * x * y;
        }
        xx = 2 * sx / s;
        yy = 2 * sy / s;
        xy = 2 * sxy / s;
    }
    return xx + yy;
}

static void stars_agree_with_photoobj(void **state)
{
    (void)state;
    const char *folder = t_shared("sdss_94_1_12");
    const char *catalogue = t_shared("sdss_94_1_12/photoObj-000094-1-0012.fits");
    static double ra[MAX], dec[MAX], type[MAX], child[MAX], r[MAX], mag[T_BANDS][MAX];
    static double x[MAX], y[MAX], dmag[MAX], shift[MAX], corrected[MAX];
    if (!folder || !catalogue)
        skip();
    sq_tile tile;
    sq_exposure *e = open_field(folder, &tile);
    sq_cutout *c;
    assert_int_equal(sq_cutout_create(T_BANDS, NX, NY, &c), SQ_OK);
    assert_int_equal(sq_exposure_read(e, 0, 0, c), SQ_OK);
    int n = load(catalogue, "RA", 0, ra);
    load(catalogue, "DEC", 0, dec);
    load(catalogue, "OBJC_TYPE", 0, type);
    load(catalogue, "NCHILD", 0, child);
    for (int b = 0; b < T_BANDS; b++)
        load(catalogue, "PSFMAG", b, mag[b]);
    memcpy(r, mag[2], sizeof r);
    assert_int_equal(sq_wcs_sky2pix(sq_exposure_wcs(e), (size_t)n, ra, dec, x, y), SQ_OK);
    for (int b = 1; b <= 3; b++) {
        int used = 0;
        for (int k = 0; k < n; k++) {
            double flux, offset;
            if (type[k] != 6 || child[k] != 0 || r[k] > 21 || r[k] < 15 ||
                !(x[k] > 20 && x[k] < NX - 20 && y[k] > 20 && y[k] < NY - 20) ||
                !psf_photometry(c, b, x[k], y[k], &flux, &offset))
                continue;
            dmag[used] = fabs(31.4 - 2.5 * log10(flux) - mag[b][k]);
            corrected[used] = fabs(31.4 - 2.5 * log10(flux * c->aperture[b]) - mag[b][k]);
            shift[used++] = offset * c->scale;
        }
        double dm = median(dmag, used), ds = median(shift, used);
        double da = median(corrected, used);
        print_message("%s: %d stars, median |dmag| %.4f (%.4f with the aperture correction %.4f), "
                      "offset %.3f arcsec\n",
                      t_bands[b], used, dm, da, c->aperture[b], ds);
        assert_true(used > 100 && dm < 0.03 && da < 0.02 && ds < 0.15);
    }
    for (int b = 0; b < T_BANDS; b++) {
        double ratio = noise_ratio(c, b);
        print_message("%s: noise over its prediction %.3f\n", t_bands[b], ratio);
        assert_true(ratio > 0.93 && ratio < 1.1);
    }
    sq_cutout_destroy(c);
    sq_exposure_close(e);
    sq_tile_clear(&tile);
}

/* The size of the PSF at each object, in its own band's pixels, as SDSS measured it there. The two
 * conventions of the order of rows and columns differ here by 3 percent and more. */
static void psf_varies_as_published(void **state)
{
    (void)state;
    const char *folder = t_shared("sdss_94_1_12");
    const char *catalogue = t_shared("sdss_94_1_12/photoObj-000094-1-0012.fits");
    static double x[MAX], y[MAX], size[MAX];
    if (!folder || !catalogue)
        skip();
    sq_tile tile;
    sq_exposure *e = open_field(folder, &tile);
    sq_cutout *c;
    float psf[STAMP];
    assert_int_equal(sq_cutout_create(T_BANDS, 8, 8, &c), SQ_OK);
    for (int b = 0; b < T_BANDS; b++) {
        int n = load(catalogue, "COLC", b, x), used = 0;
        load(catalogue, "ROWC", b, y);
        load(catalogue, "M_RR_CC_PSF", b, size);
        double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
        for (int k = 0; k < n; k += 10) {
            if (size[k] <= 0 || x[k] < 8 || y[k] < 20 || x[k] > NX - 8 || y[k] > NY - 20)
                continue;
            /* The bands' grids are some pixels apart, over which the PSF does not change. */
            assert_int_equal(sq_exposure_read(e, (int64_t)x[k] - 4, (int64_t)y[k] - 4, c), SQ_OK);
            sq_cutout_psf(c, b, 4, 4, psf);
            double mine = adaptive_size(psf);
            assert_true(fabs(mine / size[k] - 1) < 0.025);
            mx += mine;
            my += size[k];
            xx += mine * mine;
            yy += size[k] * size[k];
            xy += mine * size[k];
            used++;
        }
        double r = (xy - mx * my / used) / sqrt((xx - mx * mx / used) * (yy - my * my / used));
        print_message("%s: correlation of PSF sizes at %d objects %.4f\n", t_bands[b], used, r);
        assert_true(used > 60 && r > 0.99);
    }
    sq_cutout_destroy(c);
    sq_exposure_close(e);
    sq_tile_clear(&tile);
}

/* PSF images that SDSS's own program made from the psField of M2: r at row 600, column 500 (i is
 * constant). */
static void psf_equals_the_stored_images(void **state)
{
    (void)state;
    const char *folder = t_shared("sdss_m2_crowded");
    enum { SIDE = 25 };
    sq_tile tile;
    if (!folder)
        skip();
    sq_exposure *e = open_field(folder, &tile);
    sq_cutout *c;
    float psf[STAMP], stored[SIDE * SIDE];
    assert_int_equal(sq_cutout_create(T_BANDS, 9, 9, &c), SQ_OK);
    assert_int_equal(sq_exposure_read(e, 496, 596, c), SQ_OK);
    for (int b = 2; b <= 3; b++) {
        char name[128];
        fitsfile *f = NULL;
        int status = 0, any;
        snprintf(name, sizeof name, "sdss_m2_crowded/sdss-002583-2-0136-psf-%s.fits", t_bands[b]);
        fits_open_file(&f, t_shared(name), READONLY, &status);
        fits_read_img(f, TFLOAT, 1, SIDE * SIDE, NULL, stored, &any, &status);
        assert_int_equal(status, 0);
        fits_close_file(f, &status);
        sq_cutout_psf(c, b, 4, 4, psf);
        double sum = 0, mine = 0, distance = 0;
        int off = (SQ_PSF_SIDE - SIDE) / 2;
        for (int k = 0; k < SIDE * SIDE; k++) {
            sum += stored[k];
            mine += psf[(k / SIDE + off) * SQ_PSF_SIDE + k % SIDE + off];
        }
        for (int k = 0; k < SIDE * SIDE; k++)
            distance +=
                fabs(psf[(k / SIDE + off) * SQ_PSF_SIDE + k % SIDE + off] / mine - stored[k] / sum);
        print_message("%s: L1 %.6f\n", t_bands[b], distance);
        assert_true(distance < 0.002);
    }
    /* M2's noise, away from the cluster's middle by the robust estimate */
    sq_cutout_destroy(c);
    sq_exposure_close(e);
    sq_tile_clear(&tile);
}

/* fpC with tsField: PSF magnitudes against the Stripe 82 standard stars. */
static void fpc_agrees_with_standard_stars(void **state)
{
    (void)state;
    const char *folder = t_shared("sdss_s82_4192_4_300");
    const char *catalogue = t_shared("sdss_s82_4192_4_300/s82_standard_stars.fits.gz");
    static double ra[MAX], dec[MAX], mag[MAX], x[MAX], y[MAX], dmag[MAX], size[MAX];
    if (!folder || !catalogue)
        skip();
    sq_tile tile;
    sq_exposure *e = open_field(folder, &tile);
    sq_cutout *c;
    assert_int_equal(tile.format, SQ_TILE_SDSS_FPC);
    assert_int_equal(sq_cutout_create(T_BANDS, NX, NY, &c), SQ_OK);
    assert_int_equal(sq_exposure_read(e, 0, 0, c), SQ_OK);
    int n = load(catalogue, "ra", 0, ra);
    load(catalogue, "dec", 0, dec);
    assert_int_equal(sq_wcs_sky2pix(sq_exposure_wcs(e), (size_t)n, ra, dec, x, y), SQ_OK);
    for (int b = 1; b <= 3; b++) {
        int used = 0;
        load(catalogue, t_bands[b], 0, mag);
        for (int k = 0; k < n; k++) {
            double flux, offset;
            if (!(mag[k] > 14 && mag[k] < 19.5) ||
                !(x[k] > 30 && x[k] < NX - 30 && y[k] > 30 && y[k] < NY - 30) ||
                !psf_photometry(c, b, x[k], y[k], &flux, &offset))
                continue;
            dmag[used++] = 31.4 - 2.5 * log10(flux) - mag[k];
        }
        double dm = median(dmag, used);
        for (int k = 0; k < used; k++)
            size[k] = fabs(dmag[k] - dm);
        double mad = median(size, used), ratio = noise_ratio(c, b);
        print_message("%s: %d standards, dmag %+.4f, MAD %.4f, noise %.3f\n", t_bands[b], used, dm,
                      mad, ratio);
        assert_true(used > 20 && fabs(dm) < 0.03 && mad < 0.05);
        assert_true(ratio > 0.93 && ratio < 1.1);
    }
    sq_cutout_destroy(c);
    sq_exposure_close(e);
    sq_tile_clear(&tile);
}

/* fpM: the pixels that the file itself counts in each object's npix. */
static void masks_have_the_counted_pixels(void **state)
{
    (void)state;
    const char *folder = t_shared("sdss_94_1_12");
    const char *mask = t_shared("sdss_94_1_12/fpM-000094-r1-0012.fit");
    sq_tile tile;
    if (!folder || !mask)
        skip();
    sq_exposure *e = open_field(folder, &tile);
    sq_cutout *c;
    assert_int_equal(sq_cutout_create(T_BANDS, NX, NY, &c), SQ_OK);
    assert_int_equal(sq_exposure_read(e, 0, 0, c), SQ_OK);
    static const struct {
        int hdu;
        uint32_t bit;
    } planes[] = {{2, SQ_MASK_INTERPOLATED}, {3, SQ_MASK_SATURATED}, {11, SQ_MASK_COSMIC}};
    for (int p = 0; p < 3; p++) {
        fitsfile *f = NULL;
        int status = 0, column, any;
        long rows = 0, counted = 0, seen = 0;
        fits_open_file(&f, mask, READONLY, &status);
        fits_movabs_hdu(f, planes[p].hdu, NULL, &status);
        fits_get_num_rows(f, &rows, &status);
        fits_get_colnum(f, CASEINSEN, "npix", &column, &status);
        for (long r = 0; r < rows; r++) {
            long npix = 0;
            fits_read_col(f, TLONG, column, r + 1, 1, 1, NULL, &npix, &any, &status);
            counted += npix;
        }
        assert_int_equal(status, 0);
        fits_close_file(f, &status);
        for (int64_t k = 0; k < (int64_t)NX * NY; k++)
            seen += !!(c->mask[sq_cutout_plane(c, 2) + k] & planes[p].bit);
        print_message("plane %d: %ld pixels, %ld in the image\n", planes[p].hdu - 2, counted, seen);
        /* Objects may overlap, none may be lost. */
        assert_true(counted > 0 && seen <= counted && seen >= counted - counted / 20);
    }
    sq_cutout_destroy(c);
    sq_exposure_close(e);
    sq_tile_clear(&tile);
}

/* A cropped field without photoField: gain and dark variance come from psField. */
static void cropped_field_reads(void **state)
{
    (void)state;
    const char *folder = t_shared("sdss_tiny_1000_1_100");
    const char *paths[1] = {folder}, *bands[1] = {"r"};
    sq_tile *tiles;
    int64_t count;
    sq_exposure *e;
    sq_cutout *c;
    if (!folder)
        skip();
    assert_int_equal(sq_tile_scan(paths, 1, "r", NULL, NULL, &tiles, &count), SQ_OK);
    assert_int_equal(count, 1);
    assert_int_equal(sq_exposure_open(&tiles[0], bands, 1, 0, &e), SQ_OK);
    assert_int_equal(sq_cutout_create(1, 100, 100, &c), SQ_OK);
    assert_int_equal(sq_exposure_read(e, 0, 0, c), SQ_OK);
    double ratio = noise_ratio(c, 0);
    assert_true(ratio > 0.85 && ratio < 1.25);
    sq_cutout_destroy(c);
    sq_exposure_close(e);
    sq_tile_clear(&tiles[0]);
    sq_free(tiles);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stars_agree_with_photoobj),
        cmocka_unit_test(psf_varies_as_published),
        cmocka_unit_test(psf_equals_the_stored_images),
        cmocka_unit_test(fpc_agrees_with_standard_stars),
        cmocka_unit_test(masks_have_the_counted_pixels),
        cmocka_unit_test(cropped_field_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
