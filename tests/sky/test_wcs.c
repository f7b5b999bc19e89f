/* sky/wcs against the closed form of the gnomonic projection, against astropy, and against itself
 * there and back. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "sky/sphere.h"
#include "sky/wcs.h"

#define RAD (M_PI / 180)

/* Cards without padding, separated by newlines, as one FITS header. */
static char *header_of(const char *lines)
{
    size_t n = 1;
    for (const char *c = lines; *c; c++)
        n += *c == '\n';
    char *out = malloc(80 * n + 1), *at = out;
    for (const char *line = lines; *line;) {
        size_t length = strcspn(line, "\n");
        at += sprintf(at, "%-80.*s", (int)length, line);
        line += length + (line[length] == '\n');
    }
    return out;
}

static sq_status parse(const char *lines, sq_wcs **out)
{
    char *header = header_of(lines);
    sq_status rc = sq_wcs_from_header(header, "file.fits[1]", out);
    free(header);
    return rc;
}

/* The gnomonic projection written out: Calabretta & Greisen 2002, section 5.1.3, by vectors. */
static void gnomonic(double ra0, double dec0, const double cd[4], double dx, double dy, double *ra,
                     double *dec)
{
    double xi = (cd[0] * dx + cd[1] * dy) * RAD, eta = (cd[2] * dx + cd[3] * dy) * RAD;
    double sr = sin(ra0 * RAD), cr = cos(ra0 * RAD), sd = sin(dec0 * RAD), c = cos(dec0 * RAD);
    double v[3] = {c * cr - xi * sr - eta * sd * cr, c * sr + xi * cr - eta * sd * sr,
                   sd + eta * c};
    sq_from_vector(v, ra, dec);
}

static void tan_follows_the_closed_form(void **state)
{
    (void)state;
    static const double centres[][2] = {{10, 20},    {0.001, -30}, {359.9995, 5},
                                        {180, 89.9}, {77, -90},    {200, 0}};
    const double cd[4] = {-1.1e-4, 2e-6, 3e-6, 1.0e-4};
    for (size_t k = 0; k < sizeof centres / sizeof centres[0]; k++) {
        sq_wcs *wcs;
        assert_int_equal(sq_wcs_tan(centres[k][0], centres[k][1], 100, 50, cd, &wcs), SQ_OK);
        for (double x = -500; x <= 2500; x += 750) {
            double y = 1500 - x, ra, dec, era, edec, bx, by;
            assert_int_equal(sq_wcs_pix2sky(wcs, 1, &x, &y, &ra, &dec), SQ_OK);
            gnomonic(centres[k][0], centres[k][1], cd, x - 100, y - 50, &era, &edec);
            assert_true(sq_separation(ra, dec, era, edec) < 1e-11);
            assert_true(ra >= 0 && ra < 360);
            assert_int_equal(sq_wcs_sky2pix(wcs, 1, &ra, &dec, &bx, &by), SQ_OK);
            assert_true(hypot(bx - x, by - y) < 1e-6);
        }
        sq_wcs_destroy(wcs);
    }
}

static void jacobian_is_the_cd_matrix_at_the_centre(void **state)
{
    (void)state;
    const double cd[4] = {-1.1e-4, 2e-6, 3e-6, 1.0e-4};
    static const double decs[] = {0, 60, 90, -89.999};
    for (size_t k = 0; k < 4; k++) {
        sq_wcs *wcs;
        double jac[4];
        assert_int_equal(sq_wcs_tan(359.99999, decs[k], 10, 20, cd, &wcs), SQ_OK);
        assert_int_equal(sq_wcs_jacobian(wcs, 10, 20, jac), SQ_OK);
        /* At a pole the direction of north is that of the right ascension there. */
        double det = jac[0] * jac[3] - jac[1] * jac[2];
        assert_true(fabs(det / (cd[0] * cd[3] - cd[1] * cd[2]) - 1) < 1e-8);
        for (int i = 0; i < 4 && decs[k] < 80 && decs[k] > -80; i++)
            assert_true(fabs(jac[i] - cd[i]) < 1e-12);
        assert_true(fabs(sq_wcs_scale(wcs, 10, 20) - 3600 * sqrt(fabs(det))) < 1e-9);
        sq_wcs_destroy(wcs);
    }
}

static const char *const headers[] = {
    /* an SDSS frame: x runs along declination */
    "CTYPE1  = 'RA---TAN'\nCTYPE2  = 'DEC--TAN'\nCUNIT1  = 'deg'\nCUNIT2  = 'deg'\n"
    "CRPIX1  = 1025.0\nCRPIX2  = 745.0\nCRVAL1  = 336.664257327\nCRVAL2  = -0.931558661381\n"
    "CD1_1   = -5.38649993335E-08\nCD1_2   = 0.000109953068982\nCD2_1   = 0.000109986838864\n"
    "CD2_2   = 6.39997095994E-09\nRADECSYS= 'ICRS'\n",
    /* SIP distortion */
    "CTYPE1  = 'RA---TAN-SIP'\nCTYPE2  = 'DEC--TAN-SIP'\nCRPIX1  = 866.8427\nCRPIX2  = 2004.389\n"
    "CRVAL1  = 151.3192662\nCRVAL2  = 1.6150446\nCD1_1   = 1.592E-07\nCD1_2   = -4.6219873E-05\n"
    "CD2_1   = -4.6616095E-05\nCD2_2   = 1.0645E-07\nA_ORDER = 3\nA_0_2   = 2.00559710166211E-07\n"
    "A_1_1   = 1.56376842367444E-06\nA_3_0   = -5.25967599433949E-11\nB_ORDER = 2\n"
    "B_0_2   = 2.11755417209102E-06\nB_1_1   = 3.33105422388897E-07\n",
    /* PC and CDELT across RA 0 */
    "CTYPE1  = 'RA---TAN'\nCTYPE2  = 'DEC--TAN'\nCRPIX1  = 100.0\nCRPIX2  = 100.0\n"
    "CRVAL1  = 0.0\nCRVAL2  = 45.0\nCDELT1  = -0.01\nCDELT2  = 0.01\nPC1_1   = 0.8\n"
    "PC1_2   = -0.6\nPC2_1   = 0.6\nPC2_2   = 0.8\n",
    /* an all-sky map without units */
    "CTYPE1  = 'RA---CAR'\nCTYPE2  = 'DEC--CAR'\nCRPIX1  = 180.5\nCRPIX2  = 90.5\nCRVAL1  = 0.0\n"
    "CRVAL2  = 0.0\nCDELT1  = -1.0\nCDELT2  = 1.0\n",
    /* equal area about the pole, declination first */
    "CTYPE1  = 'DEC--ZEA'\nCTYPE2  = 'RA---ZEA'\nCRPIX1  = 1.0\nCRPIX2  = 1.0\nCRVAL1  = 90.0\n"
    "CRVAL2  = 0.0\nCDELT1  = 0.1\nCDELT2  = 0.1\n",
    /* three axes, as maps of Stokes parameters have */
    "NAXIS   = 3\nCTYPE1  = 'RA---CEA'\nCTYPE2  = 'DEC--CEA'\nCTYPE3  = 'STOKES'\nCRPIX1  = 50.0\n"
    "CRPIX2  = 50.0\nCRPIX3  = 1.0\nCRVAL1  = 30.0\nCRVAL2  = 0.0\nCRVAL3  = 1.0\n"
    "CDELT1  = -0.1\nCDELT2  = 0.1\nCDELT3  = 1.0\n",
};

static const char script[] =
    "import sys, warnings\n"
    "warnings.simplefilter('ignore')\n"
    "from astropy.io import fits\n"
    "from astropy.wcs import WCS\n"
    "h = fits.Header.fromstring(sys.stdin.read(), sep='\\n')\n"
    "w = WCS(h).celestial\n"
    "for x, y in ((0, 0), (10.25, 3.5), (60, -20), (-30, 77.7), (300, 200)):\n"
    "    try:\n"
    "        c = w.all_pix2world([[x, y]], 0)[0]\n"
    "        print('%.17g %.17g' % ((c[1], c[0]) if w.wcs.lng == 1 else (c[0], c[1])))\n"
    "    except Exception:\n"
    "        print('nan nan')\n";

/* Runs the script on header k; fills five points. */
static int ask_astropy(int k, double ra[5], double dec[5])
{
    char name[] = "/tmp/sq_wcs_XXXXXX", command[512];
    const char *python = getenv("SQ_PYTHON");
    int fd = mkstemp(name), got = 0;
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file)
        return 0;
    fprintf(file, "%s", headers[k]);
    fclose(file);
    snprintf(command, sizeof command, "%s -c \"$SQ_SCRIPT\" < %s 2>/dev/null",
             python ? python : "/usr/bin/python3", name);
    setenv("SQ_SCRIPT", script, 1);
    FILE *pipe = popen(command, "r");
    while (pipe && got < 5 && fscanf(pipe, "%lf %lf", &ra[got], &dec[got]) == 2)
        got++;
    if (pipe)
        pclose(pipe);
    remove(name);
    return got == 5;
}

static void agrees_with_astropy(void **state)
{
    (void)state;
    const double x[5] = {0, 10.25, 60, -30, 300}, y[5] = {0, 3.5, -20, 77.7, 200};
    for (int k = 0; k < (int)(sizeof headers / sizeof headers[0]); k++) {
        double ra[5], dec[5], era[5], edec[5];
        sq_wcs *wcs;
        if (!ask_astropy(k, era, edec))
            skip();
        if (parse(headers[k], &wcs) != SQ_OK)
            fail_msg("header %d: %s", k, sq_error());
        assert_int_equal(sq_wcs_pix2sky(wcs, 5, x, y, ra, dec), SQ_OK);
        for (int i = 0; i < 5; i++) {
            assert_int_equal(isnan(era[i]), isnan(ra[i]));
            if (!isnan(ra[i]) && sq_separation(ra[i], dec[i], era[i], edec[i]) > 1e-10)
                fail_msg("header %d point %d: (%.12f, %.12f), astropy (%.12f, %.12f)", k, i, ra[i],
                         dec[i], era[i], edec[i]);
        }
        sq_wcs_destroy(wcs);
    }
}

static void written_header_reads_back(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof headers / sizeof headers[0]; k++) {
        sq_wcs *first, *second;
        char *cards;
        assert_int_equal(parse(headers[k], &first), SQ_OK);
        assert_int_equal(sq_wcs_to_header(first, &cards), SQ_OK);
        assert_int_equal(strlen(cards) % 80, 0);
        if (sq_wcs_from_header(cards, "again", &second) != SQ_OK)
            fail_msg("header %zu: %s", k, sq_error());
        for (int i = 0; i < 40; i++) {
            double x = 7.3 * i - 20, y = 5.1 * i, ra, dec, ra2, dec2;
            sq_wcs_pix2sky(first, 1, &x, &y, &ra, &dec);
            sq_wcs_pix2sky(second, 1, &x, &y, &ra2, &dec2);
            assert_int_equal(isnan(ra), isnan(ra2));
            assert_true(isnan(ra) || sq_separation(ra, dec, ra2, dec2) < 1e-12);
        }
        sq_free(cards);
        sq_wcs_destroy(first);
        sq_wcs_destroy(second);
    }
}

static void points_off_the_projection_are_nan(void **state)
{
    (void)state;
    const double cd[4] = {-1e-4, 0, 0, 1e-4};
    sq_wcs *wcs;
    assert_int_equal(sq_wcs_tan(10, 20, 0, 0, cd, &wcs), SQ_OK);
    double ra[4] = {10, 190, NAN, 10.001}, dec[4] = {20, -20, 0, 95}, x[4], y[4];
    assert_int_equal(sq_wcs_sky2pix(wcs, 4, ra, dec, x, y), SQ_OK);
    assert_true(fabs(x[0]) < 1e-6 && fabs(y[0]) < 1e-6);
    for (int i = 1; i < 4; i++)
        assert_true(isnan(x[i]) && isnan(y[i]));
    sq_wcs_destroy(wcs);
}

static void refuses(const char *lines, const char *word)
{
    sq_wcs *wcs = NULL;
    assert_int_equal(parse(lines, &wcs), SQ_ERR_FORMAT);
    assert_null(wcs);
    if (!strstr(sq_error(), "file.fits[1]") || !strstr(sq_error(), word))
        fail_msg("'%s' does not name the file and '%s'", sq_error(), word);
}

static void bad_headers_are_refused(void **state)
{
    (void)state;
    refuses("NAXIS   = 2\n", "celestial");
    refuses("CTYPE1  = 'LINEAR'\nCTYPE2  = 'LINEAR'\n", "celestial");
    refuses("CTYPE1  = 'GLON-TAN'\nCTYPE2  = 'GLAT-TAN'\nCDELT1  = -0.1\nCDELT2  = 0.1\n",
            "equatorial");
    refuses("CTYPE1  = 'RA---TAN'\nCTYPE2  = 'DEC--TAN'\nCD1_1   = 0.0\nCD1_2   = 0.0\n"
            "CD2_1   = 0.0\nCD2_2   = 0.0\n",
            "WCS");
    refuses("CTYPE1  = 'RA---TAN'\nCTYPE2  = 'DEC--TAN'\nCD1_1   = 1.0E-4\nCD1_2   = 2.0E-4\n"
            "CD2_1   = 2.0E-4\nCD2_2   = 4.0E-4\n",
            "WCS");
    refuses("CTYPE1  = 'RA---XYZ'\nCTYPE2  = 'DEC--XYZ'\nCDELT1  = -0.1\nCDELT2  = 0.1\n", "WCS");
    refuses("CTYPE1  = 'RA---TAN'\nCTYPE2  = 'DEC--SIN'\nCDELT1  = -0.1\nCDELT2  = 0.1\n", "WCS");
    refuses("CTYPE1  = 'RA---TAN'\nCTYPE2  = 'DEC--TAN'\nCDELT1  = -0.1\nCDELT2  = 0.1\n"
            "RADESYS = 'FK4'\nEQUINOX = 1950.0\n",
            "FK4");
    sq_wcs *wcs;
    assert_int_equal(sq_wcs_from_header("", "file.fits[1]", &wcs), SQ_ERR_FORMAT);
    const double zero[4] = {0};
    assert_int_not_equal(sq_wcs_tan(0, 0, 0, 0, zero, &wcs), SQ_OK);
}

typedef struct job {
    const sq_wcs *wcs;
    int wrong;
} job;

static void *use(void *user)
{
    job *j = user;
    for (int i = 0; i < 3000; i++) {
        double x = i % 97, y = i % 89, ra, dec, bx, by;
        sq_wcs_pix2sky(j->wcs, 1, &x, &y, &ra, &dec);
        sq_wcs_sky2pix(j->wcs, 1, &ra, &dec, &bx, &by);
        j->wrong += !(hypot(bx - x, by - y) < 1e-6);
    }
    return NULL;
}

static void threads_may_share_a_handle(void **state)
{
    (void)state;
    sq_wcs *wcs;
    assert_int_equal(parse(headers[1], &wcs), SQ_OK);
    job jobs[4];
    pthread_t thread[4];
    for (int i = 0; i < 4; i++) {
        jobs[i] = (job){wcs, 0};
        assert_int_equal(pthread_create(&thread[i], NULL, use, &jobs[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(jobs[i].wrong, 0);
    }
    sq_wcs_destroy(wcs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tan_follows_the_closed_form),
        cmocka_unit_test(jacobian_is_the_cd_matrix_at_the_centre),
        cmocka_unit_test(agrees_with_astropy),
        cmocka_unit_test(written_header_reads_back),
        cmocka_unit_test(points_off_the_projection_are_nan),
        cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(threads_may_share_a_handle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
