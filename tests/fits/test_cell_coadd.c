/* LSST cell coadds: the simulator's against its exposures of the same sky, cells without input,
 * names, missing bands, and files that are damaged. */
#include "fits_test.h"

#include <stdlib.h>

#include "sim/optical.h"

enum { W = 250, H = 180, CELL = 50, NX = 5, NY = 4, BANDS = 6, STAMP = SQ_PSF_SIDE * SQ_PSF_SIDE };
static const char *const bands[BANDS] = {"u", "g", "r", "i", "z", "y"};

#define OK(call)                                                                                   \
    do {                                                                                           \
        if ((call) != SQ_OK)                                                                       \
            fail_msg("%s: %s", #call, sq_error());                                                 \
    } while (0)

/* ---- skies ---- */

static sq_sim_optical_config sky_of(sq_sim_format format, double missing)
{
    sq_sim_optical_config c;
    sq_sim_optical_defaults(SQ_SIM_LSST, &c);
    c.tile_nx = W;
    c.tile_ny = H;
    c.tiles_x = 2;
    c.overlap = 30;
    c.faint_limit = 26;
    c.star_density *= 20;
    c.bad_columns = 40;
    c.format = format;
    c.cell = CELL;
    c.cell_missing = missing;
    return c;
}

static const char *fresh(const char *name)
{
    const char *path = t_path(name);
    char command[700];
    snprintf(command, sizeof command, "rm -rf '%s' && mkdir -p '%s'", path, path);
    assert_int_equal(system(command), 0);
    return path;
}

static void simulate(const sq_sim_optical_config *config, int tiles, const char *folder)
{
    sq_sim_optical *sim;
    OK(sq_sim_optical_create(config, &sim));
    for (int t = 0; t < tiles; t++)
        OK(sq_sim_optical_write_tile(sim, t, folder));
    sq_sim_optical_destroy(sim);
}

static char problem_text[1024];
static sq_status problem_code;

static void note(void *user, const char *name, sq_status code, const char *message)
{
    (void)user;
    problem_code = code;
    snprintf(problem_text, sizeof problem_text, "%s: %s", name, message);
}

static int64_t scan(const char *folder, sq_tile **out)
{
    int64_t n;
    problem_text[0] = '\0';
    OK(sq_tile_scan(&folder, 1, "r", note, NULL, out, &n));
    return n;
}

static void clear(sq_tile *tile, int64_t n)
{
    for (int64_t t = 0; t < n; t++)
        sq_tile_clear(&tile[t]);
    sq_free(tile);
}

static sq_cutout *read_box(const sq_tile *tile, int64_t x0, int64_t y0, int nx, int ny)
{
    sq_exposure *e;
    sq_cutout *c;
    OK(sq_exposure_open(tile, bands, BANDS, 1, &e));
    OK(sq_cutout_create(BANDS, nx, ny, &c));
    OK(sq_exposure_read(e, x0, y0, c));
    OK(sq_exposure_check(e));
    sq_exposure_close(e);
    return c;
}

/* ---- against exposures ---- */

static void compare_planes(const sq_cutout *cell, const sq_cutout *exposure, int b)
{
    int64_t plane = sq_cutout_plane(cell, b), good = 0;
    double sky = 0, sigma = 0;
    for (int64_t i = plane; i < plane + (int64_t)cell->nx * cell->ny; i++) {
        int bad = (exposure->mask[i] & SQ_MASK_UNUSABLE) != 0;
        uint32_t kept = ~(uint32_t)SQ_MASK_UNUSABLE;
        assert_int_equal((cell->mask[i] & SQ_MASK_UNUSABLE) != 0, bad);
        assert_int_equal(cell->mask[i] & kept, exposure->mask[i] & kept);
        assert_true(cell->image[i] == exposure->image[i]);
        assert_true(cell->variance[i] == exposure->variance[i]);
        if (bad)
            continue;
        good++;
        sky = fmax(sky, fabs(cell->sky[i] / exposure->sky[i] - 1));
        sigma = fmax(sigma, fabs(cell->sky_sigma[i] / exposure->sky_sigma[i] - 1));
    }
    assert_true(good > 0.9 * cell->nx * cell->ny);
    assert_true(sky < 2e-3);
    assert_true(sigma < 0.05);
}

/* At the middle of a cell both have the same PSF; it is another one in other cells. */
static void compare_psf(const sq_tile *cells, const sq_tile *exposure)
{
    static const int at[3][2] = {{24, 24}, {124, 74}, {223, 164}};
    double varies = 0, off = 0;
    for (int k = 0; k < 3; k++) {
        sq_cutout *a = read_box(cells, at[k][0], at[k][1], 2, 2);
        sq_cutout *b = read_box(exposure, at[k][0], at[k][1], 2, 2);
        sq_cutout *c = read_box(exposure, at[(k + 1) % 3][0], at[(k + 1) % 3][1], 2, 2);
        for (int i = 0; i < BANDS * SQ_PSF_NODES * SQ_PSF_NODES * STAMP; i++) {
            off += fabs(a->psf[i] - b->psf[i]);
            varies += fabs(c->psf[i] - b->psf[i]);
        }
        sq_cutout_destroy(a);
        sq_cutout_destroy(b);
        sq_cutout_destroy(c);
    }
    off /= 3 * BANDS * SQ_PSF_NODES * SQ_PSF_NODES;
    varies /= 3 * BANDS * SQ_PSF_NODES * SQ_PSF_NODES;
    print_message("PSF: %.5f off, %.5f between cells\n", off, varies);
    assert_true(off < 1e-3 && varies > 10 * off);
}

static void like_the_exposures_of_the_same_sky(void **state)
{
    (void)state;
    sq_sim_optical_config cells = sky_of(SQ_SIM_CELL_COADD, 0), plain = sky_of(SQ_SIM_EXPOSURE, 0);
    const char *folder[2] = {fresh("cells"), fresh("plain")};
    sq_tile *tile[2];
    simulate(&cells, 2, folder[0]);
    simulate(&plain, 2, folder[1]);
    for (int k = 0; k < 2; k++)
        assert_int_equal(scan(folder[k], &tile[k]), 2);
    for (int t = 0; t < 2; t++) {
        assert_int_equal(tile[0][t].format, SQ_TILE_CELL_COADD);
        assert_int_equal(tile[1][t].format, SQ_TILE_LSST_EXPOSURE);
        assert_string_equal(tile[0][t].name, tile[1][t].name);
        assert_int_equal(tile[0][t].nband, BANDS);
        assert_string_equal(tile[0][t].band[tile[0][t].reference].name, "r");
        for (int k = 0; k < 4; k++) {
            assert_true(tile[0][t].corner_ra[k] == tile[1][t].corner_ra[k]);
            assert_true(tile[0][t].corner_dec[k] == tile[1][t].corner_dec[k]);
        }
        sq_cutout *a = read_box(&tile[0][t], 0, 0, W, H), *b = read_box(&tile[1][t], 0, 0, W, H);
        assert_true(a->scale == b->scale);
        for (int band = 0; band < BANDS; band++) {
            compare_planes(a, b, band);
            assert_true(a->aperture[band] == 1 && a->gain[band] == 0);
        }
        sq_cutout_destroy(a);
        sq_cutout_destroy(b);
        compare_psf(&tile[0][t], &tile[1][t]);
    }
    for (int k = 0; k < 2; k++)
        clear(tile[k], 2);
}

/* A part that is read alone equals that part of the whole, noise of the empty sky included. */
static void a_part_equals_the_whole(void **state)
{
    (void)state;
    sq_sim_optical_config config = sky_of(SQ_SIM_CELL_COADD, 0.2);
    const char *folder = fresh("cells");
    sq_tile *tile;
    simulate(&config, 1, folder);
    assert_int_equal(scan(folder, &tile), 1);
    sq_cutout *whole = read_box(tile, 0, 0, W, H), *part = read_box(tile, 37, 61, 90, 130);
    for (int64_t k = 0; k < (int64_t)BANDS * 90 * 130; k++) {
        int64_t x = 37 + k % 90, y = 61 + k / 90 % 130;
        int64_t at = sq_cutout_plane(whole, (int)(k / (90 * 130))) + y * W + x;
        if (y >= H) {
            assert_int_equal(part->mask[k], SQ_MASK_OUTSIDE);
            continue;
        }
        assert_true(part->image[k] == whole->image[at] && part->sky[k] == whole->sky[at]);
        assert_true(part->variance[k] == whole->variance[at]);
        assert_true(part->sky_sigma[k] == whole->sky_sigma[at]);
        assert_int_equal(part->mask[k], whole->mask[at]);
    }
    sq_cutout_destroy(whole);
    sq_cutout_destroy(part);
    clear(tile, 1);
}

/* ---- cells and their PSFs ---- */

/* A band with cells of different PSF and noise; cell (1, 2) is missing. */
static void write_cells(const char *folder, const char *band, float unit)
{
    enum { SIDE = 15 };
    static float image[W * H], variance[W * H], psf[NY * NX * SIDE * SIDE];
    static uint32_t mask[W * H];
    const double cd[4] = {-5.5e-5, 0, 0, 5.5e-5};
    char path[600];
    sq_wcs *wcs;
    sq_cell_coadd c = {.band = band,
                       .skymap = "test",
                       .tract_nx = 1000,
                       .tract_ny = 900,
                       .patch = 7,
                       .patch_x = 1,
                       .patch_y = 2,
                       .border = 10,
                       .x0 = 300,
                       .y0 = 200,
                       .nx = W,
                       .ny = H,
                       .cell = CELL,
                       .side = SIDE,
                       .image = image,
                       .variance = variance,
                       .mask = mask,
                       .psf = psf,
                       .sky = {{40}}};
    for (int k = 0; k < W * H; k++) {
        int cell = k / W / CELL * NX + k % W / CELL;
        image[k] = unit * (float)(k % 97);
        variance[k] = unit * unit * (float)(1 + cell);
        mask[k] = k % 101 == 0 ? SQ_MASK_SATURATED : 0;
    }
    for (int cell = 0; cell < NX * NY; cell++) {
        for (int i = 0; i < SIDE * SIDE; i++) {
            double x = i % SIDE - SIDE / 2, y = i / SIDE - SIDE / 2, s = 1.2 + 0.05 * cell;
            psf[cell * SIDE * SIDE + i] = (float)exp(-0.5 * (x * x + y * y) / (s * s));
        }
    }
    for (int i = 0; i < SIDE * SIDE; i++)
        psf[(1 * NX + 2) * SIDE * SIDE + i] = NAN;
    snprintf(path, sizeof path, "%s/x-%s.fits", folder, band);
    OK(sq_wcs_tan(30, -10, 40, 50, cd, &wcs));
    OK(sq_write_cell_coadd(path, &c, wcs));
    sq_wcs_destroy(wcs);
}

static double width_of(const float *stamp)
{
    double sum = 0, second = 0;
    for (int i = 0; i < STAMP; i++) {
        double x = i % SQ_PSF_SIDE - SQ_PSF_SIDE / 2;
        sum += stamp[i];
        second += stamp[i] * x * x;
    }
    assert_true(fabs(sum - 1) < 1e-5);
    return sqrt(second);
}

static void each_cell_has_its_psf_and_noise(void **state)
{
    (void)state;
    const char *folder = fresh("cells");
    sq_tile *tile;
    write_cells(folder, "r", 1);
    assert_int_equal(scan(folder, &tile), 1);
    int64_t outside = 0;
    for (int cell = 0; cell < NX * NY; cell++) {
        int x = cell % NX * CELL, y = cell / NX * CELL, missing = cell == 1 * NX + 2;
        int ny = y + CELL > H ? H - y : CELL;
        sq_cutout *c = read_box(tile, x, y, CELL, ny);
        int64_t r = sq_cutout_plane(c, 2), masked = 0;
        assert_true(c->present[2] && !c->present[0]);
        for (int64_t k = r; k < r + CELL * ny; k++) {
            if (missing) {
                assert_int_equal(c->mask[k] & SQ_MASK_OUTSIDE, SQ_MASK_OUTSIDE);
                assert_true(isinf(c->variance[k]) && c->image[k] == 0);
            } else {
                assert_true(c->variance[k] == 1 + cell);
                assert_true(fabs(c->sky_sigma[k] - sqrt(1 + cell)) < 1e-6);
                assert_true(c->sky[k] == 40);
                masked += (c->mask[k] & SQ_MASK_SATURATED) != 0;
            }
            outside += (c->mask[k] & SQ_MASK_OUTSIDE) != 0;
        }
        assert_true(missing || masked > 10);
        /* The nearest cell of a missing one is the first of its four neighbours. */
        double s = 1.2 + 0.05 * (missing ? 0 * NX + 2 : cell);
        for (int n = 0; n < SQ_PSF_NODES * SQ_PSF_NODES; n++)
            assert_true(fabs(width_of(c->psf + (2 * SQ_PSF_NODES * SQ_PSF_NODES + n) * STAMP) - s) <
                        0.02);
        sq_cutout_destroy(c);
    }
    assert_int_equal(outside, CELL * CELL);
    clear(tile, 1);
}

/* ---- names and bands ---- */

static void move(const char *folder, const char *from, const char *to)
{
    char a[700], b[700];
    snprintf(a, sizeof a, "%s/%s", folder, from);
    snprintf(b, sizeof b, "%s/%s", folder, to);
    char *slash = strrchr(b, '/');
    *slash = '\0';
    mkdir(b, 0777);
    *slash = '/';
    assert_int_equal(rename(a, b), 0);
}

static void known_by_their_headers(void **state)
{
    (void)state;
    const char *folder = fresh("cells");
    sq_tile *tile;
    static const char *const some[3] = {"g", "r", "z"};
    for (int b = 0; b < 3; b++)
        write_cells(folder, some[b], 1);
    move(folder, "x-g.fits", "g/deep_coadd_0_7_g_lsst_cells_v1_run.fits");
    move(folder, "x-r.fits", "r/some.fits");
    move(folder, "x-z.fits", "z/other.fit");
    assert_int_equal(scan(folder, &tile), 1);
    assert_string_equal(tile->name, "0-7");
    assert_int_equal(tile->format, SQ_TILE_CELL_COADD);
    assert_int_equal(tile->nband, 3);
    for (int b = 0; b < 3; b++)
        assert_string_equal(tile->band[b].name, some[b]);
    sq_cutout *c = read_box(tile, 0, 0, 32, 32);
    for (int b = 0; b < BANDS; b++) {
        assert_int_equal(c->present[b], b == 1 || b == 2 || b == 4);
        assert_int_equal(c->mask[sq_cutout_plane(c, b) + 5] & SQ_MASK_OUTSIDE, !c->present[b]);
    }
    sq_cutout_destroy(c);
    clear(tile, 1);
}

/* An exposure and a cell coadd are no bands of one tile. */
static void formats_are_not_mixed(void **state)
{
    (void)state;
    sq_sim_optical_config config = sky_of(SQ_SIM_EXPOSURE, 0);
    const char *folder = fresh("cells");
    sq_tile *tile;
    simulate(&config, 1, folder);
    write_cells(folder, "r", 1);
    move(folder, "x-r.fits", "tile-000-000-r.fits");
    assert_int_equal(scan(folder, &tile), 0);
    sq_free(tile);
    assert_non_null(strstr(problem_text, "DATAMODL"));
}

/* ---- damage ---- */

static fitsfile *edit(const char *name)
{
    fitsfile *f;
    int status = 0;
    fits_open_diskfile(&f, t_path("cells/x-r.fits"), READWRITE, &status);
    if (name)
        fits_movnam_hdu(f, ANY_HDU, (char *)name, 0, &status);
    assert_int_equal(status, 0);
    return f;
}

static void drop(const char *name)
{
    int status = 0;
    fitsfile *f = edit(name);
    fits_delete_hdu(f, NULL, &status);
    assert_int_equal(status, 0);
    t_close(f);
}

/* Replace a piece of the tree by one of the same length. */
static void retell(const char *from, const char *to)
{
    int status = 0, any, found = 0;
    LONGLONG length, offset;
    fitsfile *f = edit("JSON");
    fits_read_descriptll(f, 1, 1, &length, &offset, &status);
    char *text = calloc((size_t)length + 1, 1);
    fits_read_col(f, TBYTE, 1, 1, 1, length, NULL, text, &any, &status);
    for (char *at = text; (at = strstr(at, from)); at += strlen(from), found++)
        memcpy(at, to, strlen(from));
    if (found == 0 || strlen(from) != strlen(to))
        fail_msg("'%s' stands %d times in %s", from, found, text);
    fits_write_col(f, TBYTE, 1, 1, 1, length, text, &status);
    assert_int_equal(status, 0);
    free(text);
    t_close(f);
}

static void cut(void)
{
    struct stat st;
    assert_int_equal(stat(t_path("cells/x-r.fits"), &st), 0);
    assert_int_equal(truncate(t_path("cells/x-r.fits"), st.st_size * 2 / 3), 0);
}
static void cut_short(void)
{
    assert_int_equal(truncate(t_path("cells/x-r.fits"), 5760), 0);
}
static void no_tree(void)
{
    drop("JSON");
}
static void no_index(void)
{
    drop("INDEX");
}
static void no_psf(void)
{
    drop("PSF");
}
static void no_variance(void)
{
    drop("VARIANCE");
}
static void bad_json(void)
{
    retell("\"band\":\"r\",", "\"band\":\"r\";");
}
static void half_json(void)
{
    retell("cell_coadd-1.0.0\"}", "cell_coadd-1.0.0\" ");
}
static void other_band(void)
{
    retell("\"band\":\"r\",", "\"band\":\"g\",");
}
static void no_band(void)
{
    retell("\"band\":\"r\",", "\"bond\":\"r\",");
}
static void newer(void)
{
    retell("\"min_read_version\":1", "\"min_read_version\":7");
}
static void no_tiling(void)
{
    retell("\"cell_shape\":[50,50]", "\"cell_shape\":[50,51]");
}
static void off_the_grid(void)
{
    /* The bounds' own box begins two pixels before its cells. */
    retell("},\"bbox\":{\"y\":{\"start\":200,", "},\"bbox\":{\"y\":{\"start\":198,");
}
static void short_grid(void)
{
    retell("\"stop\":550", "\"stop\":500");
}
static void missing_far(void)
{
    retell("{\"i\":1,\"j\":2}", "{\"i\":1,\"j\":9}");
}
static void psf_cells(void)
{
    retell("\"shape\":[4,5,15,15]", "\"shape\":[5,4,15,15]");
}
static void psf_side(void)
{
    retell("\"shape\":[4,5,15,15]", "\"shape\":[4,5,13,13]");
}
static void psf_even(void)
{
    retell("\"shape\":[4,5,15,15]", "\"shape\":[4,5,14,14]");
}
static void psf_not_missing(void)
{
    retell("{\"i\":1,\"j\":2}", "{\"i\":1,\"j\":3}");
}
static void other_shape(void)
{
    retell("\"shape\":[180,250]", "\"shape\":[180,249]");
}
static void other_source(void)
{
    retell("\"fits:VARIANCE\"", "\"fits:VERYANCE\"");
}
static void inline_psf(void)
{
    retell("\"source\":\"fits:PSF\"", "\"source\":\"json:PSF\"");
}
static void no_planes(void)
{
    int status = 0;
    fitsfile *f = edit("MASK");
    for (int k = 0; k < 7; k++) {
        char key[16];
        snprintf(key, sizeof key, "MSKN%04d", k);
        fits_delete_key(f, key, &status);
    }
    assert_int_equal(status, 0);
    t_close(f);
}
static void wrong_bit(void)
{
    fitsfile *f = edit("MASK");
    t_int(f, "MSKM0003", 5);
    t_close(f);
}
static void wrong_unit(void)
{
    fitsfile *f = edit("IMAGE");
    t_text(f, "BUNIT", "furlong");
    t_close(f);
}
static void no_unit(void)
{
    int status = 0;
    fitsfile *f = edit("IMAGE");
    fits_delete_key(f, "BUNIT", &status);
    assert_int_equal(status, 0);
    t_close(f);
}
static void no_wcs(void)
{
    fitsfile *f = edit("IMAGE");
    t_text(f, "CTYPE1", "LINEAR");
    t_text(f, "CTYPE2", "LINEAR");
    t_close(f);
}

typedef struct damage {
    const char *name;
    void (*spoil)(void);
    int opens; /* found when the tile is opened, else by the index */
    sq_status code;
    const char *word;
} damage;

static const damage cases[] = {
    {"cut", cut, 0, SQ_ERR_FORMAT, "truncated"},
    {"cut in the second header", cut_short, 0, SQ_ERR_FORMAT, "truncated"},
    {"no tree", no_tree, 0, SQ_ERR_FORMAT, "JSON"},
    {"no index", no_index, 0, SQ_ERR_FORMAT, "INDEX"},
    {"no PSF", no_psf, 0, SQ_ERR_FORMAT, "INDEX"},
    {"no VARIANCE", no_variance, 0, SQ_ERR_FORMAT, "INDEX"},
    {"bad JSON", bad_json, 0, SQ_ERR_FORMAT, "not a JSON object"},
    {"half of the JSON", half_json, 0, SQ_ERR_FORMAT, "not a JSON object"},
    {"another band", other_band, 0, SQ_ERR_DATA, "/band"},
    {"no band", no_band, 0, SQ_ERR_DATA, "/band"},
    {"for later readers", newer, 0, SQ_ERR_FORMAT, "/min_read_version"},
    {"cells that do not tile", no_tiling, 0, SQ_ERR_FORMAT, "do not tile"},
    {"PSF box off the grid", off_the_grid, 0, SQ_ERR_FORMAT, "/psf/bounds/bbox/y"},
    {"PSF box that ends inside", short_grid, 0, SQ_ERR_FORMAT, "/psf/bounds/bbox/x"},
    {"missing cell off the grid", missing_far, 0, SQ_ERR_FORMAT, "/psf/bounds/missing/0/j"},
    {"PSF of other cells", psf_cells, 0, SQ_ERR_FORMAT, "/psf/array/shape"},
    {"PSF of an even side", psf_even, 0, SQ_ERR_FORMAT, "/psf/array/shape"},
    {"inline PSF", inline_psf, 0, SQ_ERR_FORMAT, "/psf/array/source"},
    {"image of another shape", other_shape, 0, SQ_ERR_FORMAT, "/image/data"},
    {"no WCS", no_wcs, 0, SQ_ERR_FORMAT, "WCS"},
    {"PSF of another side", psf_side, 1, SQ_ERR_FORMAT, "NAXIS"},
    {"NaN PSF of a present cell", psf_not_missing, 1, SQ_ERR_DATA, "positive sum"},
    {"source that is not there", other_source, 1, SQ_ERR_FORMAT, "VERYANCE"},
    {"mask without planes", no_planes, 1, SQ_ERR_FORMAT, "MSKN"},
    {"wrong bit", wrong_bit, 1, SQ_ERR_FORMAT, "MSKM0003"},
    {"unit furlong", wrong_unit, 1, SQ_ERR_FORMAT, "BUNIT"},
    {"no unit", no_unit, 1, SQ_ERR_FORMAT, "BUNIT"},
};

/* What the index or the opening says about a spoilt file, in one line. */
static int refused(const damage *d)
{
    static const char *const r[1] = {"r"};
    const char *folder = fresh("cells");
    sq_tile *tile;
    sq_exposure *e = NULL;
    write_cells(folder, "r", 1);
    d->spoil();
    int64_t n = scan(folder, &tile);
    if (n == 1) {
        problem_code = sq_exposure_open(tile, r, 1, 0, &e);
        snprintf(problem_text, sizeof problem_text, "%s", sq_error());
        sq_exposure_close(e);
    }
    clear(tile, n);
    int right = n == d->opens && problem_code == d->code && strstr(problem_text, "x-r.fits") &&
                strstr(problem_text, d->word) && !strchr(problem_text, '\n');
    if (!right)
        print_error("%s: %s at %s: %s\n", d->name, sq_status_name(problem_code),
                    n ? "opening" : "the index", problem_text);
    return right;
}

static void damage_is_told_in_one_line(void **state)
{
    (void)state;
    int right = 0, all = sizeof cases / sizeof cases[0];
    uint64_t held = sq_mem_held();
    for (int k = 0; k < all; k++) {
        right += refused(&cases[k]);
        assert_true(sq_mem_held() == held);
    }
    assert_int_equal(right, all);
}

/* Infinite or NaN variance is no data, and a band of it leaves the others as they are. */
static void no_variance_is_no_data(void **state)
{
    (void)state;
    static float bad[W * H];
    const char *folder = fresh("cells");
    sq_tile *tile;
    int status = 0;
    write_cells(folder, "g", 1);
    write_cells(folder, "r", 1);
    for (int k = 0; k < W * H; k++)
        bad[k] = k % 2 ? INFINITY : NAN;
    fitsfile *f = edit("VARIANCE");
    fits_set_compression_type(f, GZIP_2, &status);
    fits_set_quantize_level(f, 0, &status);
    fits_write_img(f, TFLOAT, 1, W * H, bad, &status);
    assert_int_equal(status, 0);
    t_close(f);
    assert_int_equal(scan(folder, &tile), 1);
    sq_cutout *c = read_box(tile, 0, 0, W, H);
    for (int64_t k = 0; k < W * H; k++) {
        int64_t g = sq_cutout_plane(c, 1) + k, r = sq_cutout_plane(c, 2) + k;
        int missing = k / W / CELL == 1 && k % W / CELL == 2;
        assert_true((c->mask[r] & SQ_MASK_UNUSABLE) && isinf(c->variance[r]) && c->image[r] == 0);
        assert_int_equal((c->mask[g] & SQ_MASK_UNUSABLE) != 0, missing);
    }
    sq_cutout_destroy(c);
    clear(tile, 1);
}

static int teardown(void **state)
{
    (void)state;
    char command[700];
    snprintf(command, sizeof command, "rm -rf '%s'", t_folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(like_the_exposures_of_the_same_sky),
        cmocka_unit_test(a_part_equals_the_whole),
        cmocka_unit_test(each_cell_has_its_psf_and_noise),
        cmocka_unit_test(known_by_their_headers),
        cmocka_unit_test(formats_are_not_mixed),
        cmocka_unit_test(damage_is_told_in_one_line),
        cmocka_unit_test(no_variance_is_no_data),
    };
    return cmocka_run_group_tests_name("cell_coadd", tests, t_setup, teardown);
}
