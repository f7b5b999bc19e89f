/* What is written is read by astropy without a complaint, equal data make equal files, and failures
 * leave nothing. */
#include "fits_test.h"

#include <sys/stat.h>

/* Run a python script with the folder as its argument; its output is compared. */
static void python_says(const char *script, const char *expected)
{
    const char *python = getenv("SQ_PYTHON");
    char command[1400], line[512] = "";
    setenv("SQ_SCRIPT", script, 1);
    snprintf(command, sizeof command, "%s -W error -c \"$SQ_SCRIPT\" '%s' 2>&1",
             python ? python : "/usr/bin/python3", t_folder);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t used = 0;
    while (used + 1 < sizeof line && fgets(line + used, (int)(sizeof line - used), pipe))
        used += strlen(line + used);
    pclose(pipe);
    if (strstr(line, "No module named"))
        skip();
    assert_string_equal(line, expected);
}

static void astropy_reads_an_exposure(void **state)
{
    (void)state;
    t_afw_tile();
    python_says(
        "import sys\n"
        "from astropy.io import fits\n"
        "from astropy.wcs import WCS\n"
        "with fits.open(sys.argv[1] + '/t-r.fits', checksum=True) as f:\n"
        "    print([h.header.get('EXTTYPE') for h in f], f[1].data.dtype, f[2].data.dtype)\n"
        "    print([h.verify_checksum() + h.verify_datasum() for h in f])\n"
        "    print('%.4f' % f[1].data[30, 20], f[2].data[5, 7], f[3].data[0, 0])\n"
        "    h = f[2].header\n"
        "    print(h['MP_SAT'], h['MP_INTRP'], h['MP_NO_DATA'], h['MP_BRIGHT_OBJECT'])\n"
        "    c = WCS(f[1].header).pixel_to_world_values(48, 40)\n"
        "    print('%.9f %.9f' % (c[0], c[1]), f[1].header['BUNIT'], f[0].header['EXPINFO_V'])\n",
        "[None, 'IMAGE', 'MASK', 'VARIANCE'] >f4 >i4\n[2, 2, 2, 2]\n31.0000 6 6.0\n"
        "1 2 8 9\n40.000000000 -20.000000000 nJy 2\n");
}

static void astropy_reads_the_psf_file(void **state)
{
    (void)state;
    t_afw_tile();
    python_says("import sys\n"
                "from astropy.io import fits\n"
                "with fits.open(sys.argv[1] + '/t-psf.fits', checksum=True) as f:\n"
                "    print(f[0].data.shape, f['SKY'].data.shape, f['SKY'].data[2, 1, 1])\n"
                "    print(f[0].header['NODEX2'], f[0].header['NODEY1'], f[0].header['BAND4'])\n",
                "(5, 2, 2, 51, 51) (5, 2, 2) 215.0\n95.0 0.0 i\n");
}

static void astropy_reads_a_table(void **state)
{
    (void)state;
    enum { N = 5000 };
    static double ra[N];
    static float flux[N];
    static int64_t id[N];
    static int32_t flags[N];
    static uint8_t star[N];
    for (int i = 0; i < N; i++) {
        ra[i] = i / 7.0;
        flux[i] = (float)i * 0.5f;
        id[i] = ((int64_t)1 << 60) + i;
        flags[i] = -i;
        star[i] = (uint8_t)(i % 200);
    }
    const sq_fits_column columns[] = {
        {"ra", "deg", "pos.eq.ra;meta.main", "Right ascension (ICRS)", 'D', ra},
        {"flux_r", "nJy", "phot.flux", "Flux", 'E', flux},
        {"id", NULL, "meta.id", NULL, 'K', id},
        {"flags", "", "", "Flags", 'J', flags},
        {"star", NULL, NULL, NULL, 'B', star}};
    t_clear();
    assert_int_equal(sq_write_table(t_path("t.fits"), "CATALOG", N, 5, columns), SQ_OK);
    python_says(
        "import sys\n"
        "from astropy.io import fits\n"
        "with fits.open(sys.argv[1] + '/t.fits', checksum=True) as f:\n"
        "    t = f['CATALOG'].data; h = f[1].header\n"
        "    print(len(t), t.dtype.names, h['TUNIT1'], h['TUCD2'], h['TCOMM1'])\n"
        "    print(t['ra'][4999] == 4999 / 7, t['flux_r'][9], t['id'][4321] - 2**60)\n"
        "    print(t['flags'][77], t['star'][4999], h['TFORM5'])\n",
        "5000 ('ra', 'flux_r', 'id', 'flags', 'star') deg phot.flux Right ascension (ICRS)\n"
        "True 4.5 4321\n-77 199 1B\n");
    assert_int_equal(sq_write_table(t_path("none.fits"), "CATALOG", 0, 5, columns), SQ_OK);
    sq_fits_column bad = {"x", NULL, NULL, NULL, 'Q', ra};
    assert_int_equal(sq_write_table(t_path("bad.fits"), "CATALOG", N, 1, &bad), SQ_ERR_USAGE);
    assert_int_not_equal(access(t_path("bad.fits"), F_OK), 0);
    assert_int_not_equal(access(t_path("bad.fits.partial"), F_OK), 0);
}

static size_t slurp(const char *name, char *out, size_t size)
{
    FILE *f = fopen(t_path(name), "rb");
    assert_non_null(f);
    size_t n = fread(out, 1, size, f);
    fclose(f);
    return n;
}

static void equal_data_make_equal_files(void **state)
{
    (void)state;
    static char a[200000], b[200000];
    t_afw_tile();
    size_t n = slurp("t-r.fits", a, sizeof a);
    sleep(1);
    t_afw_band(2, 0, 0);
    assert_int_equal(slurp("t-r.fits", b, sizeof b), n);
    assert_memory_equal(a, b, n);
    t_afw_band(2, 1, 0);
    assert_int_equal(slurp("t-r.fits", b, sizeof b), n);
    assert_memory_not_equal(a, b, n);
}

static void failures_leave_nothing(void **state)
{
    (void)state;
    static float image[16], variance[16];
    static uint32_t mask[16];
    sq_wcs *wcs = t_wcs(0, 0);
    t_clear();
    assert_int_equal(
        sq_write_exposure("/nonexistent/t-r.fits", "r", 4, 4, wcs, image, mask, variance, 0),
        SQ_ERR_IO);
    assert_non_null(strstr(sq_error(), "/nonexistent/t-r.fits"));
    /* a folder under the final name: the rename fails */
    assert_int_equal(mkdir(t_path("d-r.fits"), 0755), 0);
    assert_int_equal(
        sq_write_exposure(t_path("d-r.fits"), "r", 4, 4, wcs, image, mask, variance, 0), SQ_ERR_IO);
    assert_int_not_equal(access(t_path("d-r.fits.partial"), F_OK), 0);
    rmdir(t_path("d-r.fits"));
    assert_int_equal(
        sq_write_exposure(t_path("x-r.fits"), "r", 0, 4, wcs, image, mask, variance, 0),
        SQ_ERR_USAGE);
    char names[1][8] = {"r"};
    assert_int_equal(sq_write_psf_grid(t_path("p.fits"), 1, (const char(*)[8])names, 1, 1, 4, 4, 50,
                                       image, image),
                     SQ_ERR_USAGE);
    /* brackets are cfitsio's syntax, and letters of a name here */
    assert_int_equal(
        sq_write_exposure(t_path("t[1]+2(x)-r.fits"), "r", 4, 4, wcs, image, mask, variance, 0),
        SQ_OK);
    assert_int_equal(access(t_path("t[1]+2(x)-r.fits"), F_OK), 0);
    sq_wcs_destroy(wcs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(astropy_reads_an_exposure), cmocka_unit_test(astropy_reads_the_psf_file),
        cmocka_unit_test(astropy_reads_a_table),     cmocka_unit_test(equal_data_make_equal_files),
        cmocka_unit_test(failures_leave_nothing),
    };
    return cmocka_run_group_tests(tests, t_setup, t_teardown);
}
