/* Files of theory spectra: the fiducial set in every layout and unit, real files, and bad ones. */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "sim/spectra_file.h"
#include "sim/spectra.h"

enum { LMAX = 4000, ROOM = 1 << 20 };
enum {
    TT = 1 << SQ_CL_TT,
    EE = 1 << SQ_CL_EE,
    BB = 1 << SQ_CL_BB,
    TE = 1 << SQ_CL_TE,
    PP = 1 << SQ_CL_PP
};
static const double T = 2.7255e6;

static double cl[SQ_CL_COUNT][LMAX + 1];
static char text[ROOM];
static size_t size;

static void put(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    size += (size_t)vsnprintf(text + size, ROOM - size, format, args);
    va_end(args);
    assert_true(size < ROOM);
}

static int setup(void **state)
{
    (void)state;
    static const sq_fiducial kind[] = {SQ_LENSED_TT, SQ_LENSED_EE, SQ_LENSED_BB, SQ_LENSED_TE,
                                       SQ_POTENTIAL};
    for (int c = 0; c < SQ_CL_COUNT; c++)
        assert_int_equal(sq_fiducial_spectrum(kind[c], LMAX, cl[c]), SQ_OK);
    return 0;
}

static double value_in(sq_cl column, sq_cl_unit unit, int scalar, double l)
{
    double power = unit <= SQ_CL_UK2 ? 1 : unit <= SQ_CL_K2 ? 1e-12 : 1 / (T * T);
    int bare = unit % 2;
    double c = cl[column][(int)l], d = l * (l + 1) / (2 * M_PI);
    if (column != SQ_CL_PP)
        return c * power * (bare ? 1 : d);
    if (scalar)
        return pow(l, 4) * c * T * T * power;
    return bare ? c : c * d * l * (l + 1);
}

/* Rows of the columns, from `first` with `step`, up to LMAX. */
static void write_rows(const sq_cl *columns, int count, int extra, sq_cl_unit unit, int first,
                       int step, const char *end)
{
    int scalar = count == 4 && columns[3] == SQ_CL_PP;
    for (int l = first; l <= LMAX; l += step) {
        put("%6d", l);
        for (int i = 0; i < count; i++)
            put(" %15.8E", l < 2 ? 0 : value_in(columns[i], unit, scalar, l));
        for (int i = 0; i < extra; i++)
            put(" -0.1E-05");
        put("%s", end);
    }
}

static void check_back(sq_cl_unit unit, unsigned need, int lmax, double tolerance)
{
    sq_spectra s;
    assert_int_equal(sq_spectra_parse(text, size, "text", unit, need, lmax, &s), SQ_OK);
    for (int c = 0; c < SQ_CL_COUNT; c++) {
        if (!(need & 1u << c))
            continue;
        for (int l = 2; l <= lmax; l++) {
            double scale = c == SQ_CL_TE ? sqrt(cl[SQ_CL_TT][l] * cl[SQ_CL_EE][l]) : cl[c][l];
            if (fabs(s.cl[c][l] - cl[c][l]) > tolerance * scale)
                fail_msg("%s at %d: %g instead of %g", sq_cl_name((sq_cl)c), l, s.cl[c][l],
                         cl[c][l]);
        }
        assert_true(s.cl[c][0] == 0 && s.cl[c][1] == 0);
    }
    assert_string_equal(s.warning, "");
    sq_spectra_free(&s);
}

/* Every layout of CAMB, every unit, from 0, 1 and 2, blank lines, comments and CRLF. */
static void test_layouts(void **state)
{
    (void)state;
    static const sq_cl lensed[] = {SQ_CL_TT, SQ_CL_EE, SQ_CL_BB, SQ_CL_TE, SQ_CL_PP};
    static const sq_cl scalar[] = {SQ_CL_TT, SQ_CL_EE, SQ_CL_TE, SQ_CL_PP};
    for (int unit = 0; unit < SQ_CL_UNITS; unit++) {
        for (int first = 0; first <= 2; first++) {
            size = 0;
            write_rows(lensed, 4, 0, (sq_cl_unit)unit, first, 1, "\n");
            check_back((sq_cl_unit)unit, TT | EE | BB | TE, LMAX, 1e-7);
        }
        size = 0;
        put("# made by hand\r\n\r\n#    L    TT    EE    BB    TE    PP    TP    EP\r\n");
        write_rows(lensed, 5, 2, (sq_cl_unit)unit, 2, 1, "\r\n");
        check_back((sq_cl_unit)unit, TT | EE | BB | TE | PP, LMAX, 1e-7);
        size = 0;
        write_rows(scalar, 4, 1, (sq_cl_unit)unit, 2, 1, "\n\n");
        check_back((sq_cl_unit)unit, TT | EE | TE | PP, LMAX, 1e-7);
        size = 0;
        write_rows(scalar, 3, 0, (sq_cl_unit)unit, 2, 1, "\n");
        check_back((sq_cl_unit)unit, TT | EE | TE, LMAX, 1e-7);
    }
}

/* The header decides on the order; other columns are passed over; Fortran's D. */
static void test_header(void **state)
{
    (void)state;
    size = 0;
    put("# 1:l 2:TxT[uK^2] 3:wx 4:ET 5:ExE\n");
    for (int l = 2; l <= LMAX; l++) {
        double tt = value_in(SQ_CL_TT, SQ_DL_UK2, 0, l);
        int power = (int)floor(log10(tt));
        put("%.4E %.9fD%+03d 7 %.8E %.8E\n", (double)l, tt / pow(10, power), power,
            value_in(SQ_CL_TE, SQ_DL_UK2, 0, l), value_in(SQ_CL_EE, SQ_DL_UK2, 0, l));
    }
    check_back(SQ_DL_UK2, TT | EE | TE, LMAX, 1e-7);
}

/* Rows at few L: the acoustic peaks come back through the spline. */
static void test_sparse(void **state)
{
    (void)state;
    static const sq_cl lensed[] = {SQ_CL_TT, SQ_CL_EE, SQ_CL_BB, SQ_CL_TE};
    size = 0;
    for (int l = 2; l <= LMAX; l += l < 50 ? 1 : l < 100 ? 5 : 10) {
        put("%d", l);
        for (int i = 0; i < 4; i++)
            put(" %.9e", value_in(lensed[i], SQ_DL_UK2, 0, l));
        put("\n");
    }
    check_back(SQ_DL_UK2, TT | EE | BB | TE, LMAX - 10, 2e-3);
}

/* The same rows again are dropped; to 1% the first holds, with a warning; else an error. */
static void test_repeated(void **state)
{
    (void)state;
    static const struct {
        double factor;
        sq_status rc;
        int warned;
    } cases[] = {{1 + 1e-8, SQ_OK, 0}, {1.005, SQ_OK, 1}, {1.02, SQ_ERR_DATA, 0}};
    for (int i = 0; i < 3; i++) {
        sq_spectra s;
        size = 0;
        for (int l = 2; l <= LMAX; l++) {
            put("%d %.9e\n", l, value_in(SQ_CL_TT, SQ_DL_UK2, 0, l));
            if (l == 1000 || l == 1001)
                put("%d %.9e\n", l, cases[i].factor * value_in(SQ_CL_TT, SQ_DL_UK2, 0, l));
        }
        assert_int_equal(sq_spectra_parse(text, size, "text", SQ_DL_UK2, TT, LMAX, &s),
                         cases[i].rc);
        if (cases[i].rc != SQ_OK) {
            assert_non_null(strstr(sq_error(), "text:1000: L = 1000 a second time"));
            continue;
        }
        assert_int_equal(strstr(s.warning, "text:1000: repeated L") != NULL, cases[i].warned);
        assert_true(fabs(s.cl[SQ_CL_TT][1000] / cl[SQ_CL_TT][1000] - 1) < 1e-8);
        sq_spectra_free(&s);
    }
}

/* A file in one unit read in another is refused, and the unit that it has is named. */
static void test_units(void **state)
{
    (void)state;
    static const sq_cl columns[] = {SQ_CL_TT, SQ_CL_EE, SQ_CL_BB, SQ_CL_TE};
    for (int of = 0; of < SQ_CL_UNITS; of++) {
        size = 0;
        write_rows(columns, 4, 0, (sq_cl_unit)of, 2, 1, "\n");
        for (int as = 0; as < SQ_CL_UNITS; as++) {
            sq_spectra s;
            char want[32];
            sq_status rc = sq_spectra_parse(text, size, "text", (sq_cl_unit)as, TT, 2000, &s);
            if (as == of) {
                assert_int_equal(rc, SQ_OK);
                sq_spectra_free(&s);
                continue;
            }
            assert_int_equal(rc, SQ_ERR_DATA);
            snprintf(want, sizeof want, "give --cls-unit %s", sq_cl_unit_name((sq_cl_unit)of));
            assert_non_null(strstr(sq_error(), want));
            assert_non_null(strstr(sq_error(), "text: TT: "));
        }
    }
}

static void edit(const char *from, const char *to)
{
    char *at = strstr(text, from);
    assert_non_null(at);
    size_t old = strlen(from), new = strlen(to);
    memmove(at + new, at + old, size - (size_t)(at - text) - old + 1);
    memcpy(at, to, new);
    size += new - old;
}

/* One thing wrong in a good file: one line that says it. */
static void test_bad(void **state)
{
    (void)state;
    static const sq_cl columns[] = {SQ_CL_TT, SQ_CL_EE, SQ_CL_BB, SQ_CL_TE, SQ_CL_PP};
    static const struct {
        const char *from, *to, *message;
    } cases[] = {
        {"\n   100 ", "\n   100 nan ", "text:100: column 2: 'nan' is not a finite number"},
        {"\n   100 ", "\n   100 inf ", "is not a finite number"},
        {"\n   100 ", "\n   100 0x10 ", "is not a finite number"},
        {"\n   100 ", "\n   100 1.234-105 ", "'1.234-105' is not a finite number"},
        {"\n   100 ", "\n   100 1,5 ", "'1,5' is not a finite number"},
        {"\n   100 ", "\n   100 1.0 ", "text:100: 9 column(s) instead of 8"},
        {"\n   100 ", "\n   100\n 101 ", "text:100: 1 column(s) instead of 8"},
        {"\n   100 ", "\n    10 ", "text:100: L = 10 after 99: rows must ascend"},
        {"\n   100 ", "\n   99 ", "text:100: L = 99 a second time"},
        {"\n   100 ", "\n 100.5 ", "text:100: L = 100.5 is not a whole number"},
        {"\n   100 ", "\n  1e30 ", "is not a whole number"},
        {"\n   100 ", "\n  -100 ", "L = -100 is not a whole number"},
        {"\n   100 ", "\n abc ", "text:100: column 1: 'abc' is not a finite number"},
        {"\n     2 ", "\n# ", "text:3: starts at L = 3"},
        {"# L TT EE BB TE PP TP EP", "# L EE TT BB TE PP TP EP",
         "TT: its mean D over L = 200..300 is 3.28"},
        {"# L TT EE BB TE PP TP EP", "# L TT EE TE BB PP TP EP", "BB is negative at L = "},
        {"# L TT EE BB TE PP TP EP", "# L TT BB EE TE PP TP EP", "|TE| is above sqrt(TT EE)"},
        {"# L TT EE BB TE PP TP EP", "# L TT EE BB TE XX TP EP", "no column PP"},
        {"# L TT EE BB TE PP TP EP", "# L TT TT BB TE PP TP EP",
         "text:1: the header names TT twice"},
        {"# L TT EE BB TE PP TP EP", "# L TT EE BB TE PP TP", "text:2: 8 column(s) instead of 7"},
        {"# L TT EE BB TE PP TP EP", "# L TT EE BB TE TP PP EP", "PP is negative at L = 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sq_spectra s;
        size = 0;
        put("# L TT EE BB TE PP TP EP\n");
        write_rows(columns, 5, 2, SQ_DL_UK2, 2, 1, "\n");
        edit(cases[i].from, cases[i].to);
        sq_status rc =
            sq_spectra_parse(text, size, "text", SQ_DL_UK2, TT | EE | BB | TE | PP, 2000, &s);
        if (rc == SQ_OK || !strstr(sq_error(), cases[i].message))
            fail_msg("%s: '%s' instead of '%s'", cases[i].to, rc == SQ_OK ? "fine" : sq_error(),
                     cases[i].message);
        assert_true(rc == SQ_ERR_FORMAT || rc == SQ_ERR_DATA);
        assert_null(strchr(sq_error(), '\n'));
    }
}

static void test_short(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {{"", "text: no rows of numbers"},
                 {"# L TT\n", "text: no rows of numbers"},
                 {"2 1 2\n", "text:1: 3 column(s) without a header line"},
                 {"2 1000\n3 1000\n", "text: ends at L = 3, below 2000"},
                 {"0 0\n1 0\n5000 3\n", "no rows from L = 2 on"},
                 {"2 1000\n5000 1e300\n", "TT"},
                 {"PK\003\004 zip\n", "'PK"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sq_spectra s;
        sq_status rc =
            sq_spectra_parse(cases[i].text, strlen(cases[i].text), "text", SQ_DL_UK2, TT, 2000, &s);
        if (rc == SQ_OK || !strstr(sq_error(), cases[i].message))
            fail_msg("'%s': '%s'", cases[i].text, rc == SQ_OK ? "fine" : sq_error());
    }
    sq_spectra s;
    /* Finite as written, infinite in uK^2. */
    size = 0;
    put("# L TT EE\n");
    for (int l = 2; l <= LMAX; l++)
        put("%d %.9e %s\n", l, value_in(SQ_CL_TT, SQ_DL_K2, 0, l), l == 50 ? "1e307" : "1e-12");
    assert_int_equal(sq_spectra_parse(text, size, "text", SQ_DL_K2, TT | EE, 2000, &s),
                     SQ_ERR_DATA);
    assert_non_null(strstr(sq_error(), "text: EE is too large"));
    assert_int_equal(sq_spectra_read("/no/such", SQ_DL_UK2, TT, 2000, &s), SQ_ERR_IO);
    assert_int_equal(sq_spectra_read("/", SQ_DL_UK2, TT, 2000, &s), SQ_ERR_IO);
}

/* The files of the project's data: all agree with the fiducial set to some 10%. */
static void test_real(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        sq_cl_unit unit;
        unsigned need;
        int lmax;
    } files[] = {
        {"ffp10/FFP10_wdipole_lensedCls.dat", SQ_DL_UK2, TT | EE | BB | TE, 6900},
        {"ffp10/FFP10_wdipole_gradlensedCls.dat", SQ_DL_UK2, TT | EE | TE, 4500},
        {"ffp10/FFP10_wdipole_lenspotentialCls.dat", SQ_DL_UK2, TT | EE | BB | TE | PP, 7000},
        {"so_2017/cosmo2017_10K_acc3_lensedCls.dat", SQ_DL_UK2, TT | EE | BB | TE, 8250},
        {"so_2017/cosmo2017_10K_acc3_camb_1.0.12_grads.dat", SQ_CL_UK2, TT | EE | TE, 4500},
        /* unlensed EE of rounding's size is below 0 at L = 6370 */
        {"so_2017/cosmo2017_10K_acc3_lenspotentialCls.dat", SQ_DL_UK2, TT | BB | PP, 10000},
        {"planck2013_quicklens/planck_lensing_wp_highL_bestFit_20130627_lensedCls.dat", SQ_DL_UK2,
         TT | EE | BB | TE, 14834},
        {"planck2013_quicklens/planck_lensing_wp_highL_bestFit_20130627_lenspotentialCls.dat",
         SQ_DL_UK2, TT | BB | PP, 15100},
        {"planck2013_quicklens/planck_lensing_wp_highL_bestFit_20130627_scalCls.dat", SQ_DL_UK2,
         TT | PP, 15100}};
    const char *shared = getenv("SQ_SHARED");
    double pp[2] = {0};
    for (int i = 0; i < 9; i++) {
        char path[1024];
        sq_spectra s;
        snprintf(path, sizeof path, "%s/data/cmb/%s", shared ? shared : "", files[i].name);
        sq_status rc = sq_spectra_read(path, files[i].unit, files[i].need, files[i].lmax, &s);
        if (rc == SQ_ERR_IO)
            skip();
        if (rc != SQ_OK)
            fail_msg("%s", sq_error());
        assert_string_equal(s.warning, "");
        for (int l = 100; l < 2000; l += 100) {
            assert_true(fabs(s.cl[SQ_CL_TT][l] / cl[SQ_CL_TT][l] - 1) < 0.15);
            if (files[i].need & PP)
                assert_true(fabs(s.cl[SQ_CL_PP][l] / cl[SQ_CL_PP][l] - 1) < 0.1);
        }
        if (i >= 7)
            pp[i - 7] = s.cl[SQ_CL_PP][321];
        sq_spectra_free(&s);
    }
    /* The two conventions of PP are the same potential (files have five digits). */
    assert_true(fabs(pp[1] / pp[0] - 1) < 1e-4);
}

static void write_file(const char *path, const char *content)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(content, file);
    fclose(file);
}

static void test_beam(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {{"0 1\n1 0.9\n3 0.8\n", ":3: l = 3 where 2 is due"},
               {"0 1\n1 0.9\n", "b_l ends at l = 1, below 3"},
               {"0 0.5\n1 0.4\n2 0.3\n3 0.2\n", "not within 0..1"},
               {"0 1\n1 0.9\n2 -0.1\n3 0.1\n", ":3: b_l = -0.1"},
               {"0 1 2\n", "a row is 'l b_l' or b_l"},
               {"0 nan\n", "'nan'"}};
    char path[] = "/tmp/sq_beam_XXXXXX";
    double b[4];
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    write_file(path, "# l b\n0 1\n1 0.9\n2 0.8\n3 0.7\n4 0.6\n");
    assert_int_equal(sq_beam_read(path, 3, b), SQ_OK);
    assert_true(b[0] == 1 && b[3] == 0.7);
    write_file(path, "1\r\n0.9\r\n0.8\r\n0.7");
    assert_int_equal(sq_beam_read(path, 3, b), SQ_OK);
    assert_true(b[0] == 1 && b[3] == 0.7);
    static const char beyond[] = "1\n.99\n.98\n.96\n.94\n-.1\n.3\n";
    double c[9];
    assert_int_equal(sq_beam_parse(beyond, sizeof beyond - 1, "b", 3, 8, c), SQ_OK);
    assert_true(c[3] == .96 && c[4] == .94);
    for (int l = 5; l <= 8; l++)
        assert_float_equal(log(c[l]) / (l * (l + 1)), log(.94) / 20, 1e-12);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_file(path, bad[i].text);
        assert_int_not_equal(sq_beam_read(path, 3, b), SQ_OK);
        if (!strstr(sq_error(), bad[i].message))
            fail_msg("'%s': '%s'", bad[i].text, sq_error());
    }
    remove(path);
    assert_int_equal(sq_beam_read(path, 3, b), SQ_ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts), cmocka_unit_test(test_header),
        cmocka_unit_test(test_sparse),  cmocka_unit_test(test_repeated),
        cmocka_unit_test(test_units),   cmocka_unit_test(test_bad),
        cmocka_unit_test(test_short),   cmocka_unit_test(test_real),
        cmocka_unit_test(test_beam)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
