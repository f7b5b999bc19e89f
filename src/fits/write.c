#include "fits/write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "fits/writer.h"

/* One's complement sum of a card's 20 big-endian words, in steps of cfitsio's running sum. */
static uint64_t add_card(uint64_t sum, const char *text, int invert)
{
    char card[SQ_CARD + 1];
    snprintf(card, sizeof card, "%-80s", text); /* cfitsio strips the trailing blanks */
    for (int i = 0; i < SQ_CARD; i += 4) {
        const unsigned char *c = (const unsigned char *)card + i;
        uint32_t word = (uint32_t)c[0] << 24 | (uint32_t)c[1] << 16 | (uint32_t)c[2] << 8 | c[3];
        sum += invert ? ~word : word;
        sum = (sum & 0xffffffffu) + (sum >> 32);
    }
    return sum;
}

/* The data are summed once: the change of the DATASUM card is added by hand. */
void sq_writer_checksums(sq_writer *w)
{
    unsigned long data, hdu;
    char before[FLEN_CARD], after[FLEN_CARD], text[32];
    fits_update_key(w->fits, TSTRING, "CHECKSUM", "0000000000000000", "of the HDU", &w->status);
    fits_update_key(w->fits, TSTRING, "DATASUM", "0         ", "of the data", &w->status);
    fits_flush_file(w->fits, &w->status); /* writes the END card, which counts too */
    fits_get_chksum(w->fits, &data, &hdu, &w->status);
    fits_read_card(w->fits, "DATASUM", before, &w->status);
    snprintf(text, sizeof text, "%-10lu", data & 0xffffffffu);
    fits_update_key(w->fits, TSTRING, "DATASUM", text, "of the data", &w->status);
    fits_read_card(w->fits, "DATASUM", after, &w->status);
    if (w->status)
        return;
    uint64_t sum = add_card(add_card(hdu, before, 1), after, 0);
    fits_encode_chksum((unsigned long)sum, 1, text);
    fits_update_key(w->fits, TSTRING, "CHECKSUM", text, "of the HDU", &w->status);
}

sq_status sq_writer_begin(sq_writer *w, const char *path)
{
    memset(w, 0, sizeof *w);
    w->path = path;
    if (strlen(path) >= SQ_PATH_MAX)
        return sq_fail(SQ_ERR_USAGE, "%.200s...: path is longer than %d bytes", path,
                       SQ_PATH_MAX - 1);
    snprintf(w->partial, sizeof w->partial, "%s.partial", path);
    if (unlink(w->partial) != 0 && errno != ENOENT)
        return sq_fail(SQ_ERR_IO, "%s: %s", w->partial, strerror(errno));
    fits_clear_errmsg();
    /* "diskfile": brackets and plus signs in a name are not cfitsio's syntax. */
    fits_create_diskfile(&w->fits, w->partial, &w->status);
    if (w->status)
        return sq_fits_fail(w->status, path, 0, "create");
    return SQ_OK;
}

static sq_status flush_to_disk(const char *path, int flags)
{
    int fd = open(path, O_RDONLY | flags);
    if (fd < 0)
        return sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    int failed = fsync(fd) != 0 && errno != EINVAL;
    int code = errno;
    close(fd);
    return failed ? sq_fail(SQ_ERR_IO, "%s: fsync: %s", path, strerror(code)) : SQ_OK;
}

static sq_status flush_folder(const char *path)
{
    char folder[SQ_PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (!slash)
        return flush_to_disk(".", O_DIRECTORY);
    slash[slash == folder] = '\0';
    return flush_to_disk(folder, O_DIRECTORY);
}

sq_status sq_writer_finish(sq_writer *w, sq_status rc)
{
    int hdu = 0;
    if (w->fits) {
        fits_get_hdu_num(w->fits, &hdu);
        if (rc == SQ_OK && w->status)
            rc = sq_fits_fail(w->status, w->path, hdu - 1, w->what ? w->what : "write");
        int closing = 0;
        fits_close_file(w->fits, &closing);
        if (rc == SQ_OK && closing)
            rc = sq_fits_fail(closing, w->path, hdu - 1, "close");
    }
    if (rc == SQ_OK)
        rc = flush_to_disk(w->partial, 0);
    if (rc == SQ_OK && rename(w->partial, w->path) != 0)
        rc = sq_fail(SQ_ERR_IO, "%s: rename: %s", w->path, strerror(errno));
    if (rc == SQ_OK)
        return flush_folder(w->path);
    if (w->partial[0])
        unlink(w->partial);
    return rc;
}

/* ---- exposures ---- */

/* The planes of an exposure that this program writes. The first nine have the LSST pipelines' usual
 * numbers, but a reader goes by the MP_ cards. */
static const struct {
    const char *name;
    int plane;
    uint32_t bit;
} planes[] = {
    {"BAD", 0, SQ_MASK_BAD},
    {"SAT", 1, SQ_MASK_SATURATED},
    {"INTRP", 2, SQ_MASK_INTERPOLATED},
    {"CR", 3, SQ_MASK_COSMIC},
    {"EDGE", 4, SQ_MASK_EDGE},
    {"NO_DATA", 8, SQ_MASK_OUTSIDE},
    {"BRIGHT_OBJECT", 9, SQ_MASK_BRIGHT},
    {"NOT_CHECKED", 10, SQ_MASK_NOTCHECKED},
};
enum { PLANES = sizeof planes / sizeof planes[0] };

void sq_writer_cards(sq_writer *w, const char *cards)
{
    char card[SQ_CARD + 1];
    for (size_t n = strlen(cards), i = 0; i + SQ_CARD <= n; i += SQ_CARD) {
        memcpy(card, cards + i, SQ_CARD);
        card[SQ_CARD] = '\0';
        if (strncmp(card, "COMMENT", 7) != 0 && strncmp(card, "        ", 8) != 0)
            fits_write_record(w->fits, card, &w->status);
    }
}

void sq_writer_text(sq_writer *w, const char *key, const char *value, const char *comment)
{
    char copy[FLEN_VALUE];
    snprintf(copy, sizeof copy, "%s", value);
    fits_update_key(w->fits, TSTRING, key, copy, comment, &w->status);
}

static void start_plane(sq_writer *w, const char *type, int bitpix, int64_t nx, int64_t ny,
                        const char *band, const char *wcs_cards)
{
    LONGLONG axes[2] = {nx, ny};
    double zero = 0;
    w->what = type;
    fits_create_imgll(w->fits, bitpix, 2, axes, &w->status);
    sq_writer_text(w, "EXTTYPE", type, "what the plane holds");
    sq_writer_text(w, "EXTNAME", type, "");
    sq_writer_text(w, "FILTER", band, "band");
    fits_update_key(w->fits, TDOUBLE, "LTV1", &zero, "parent offset in x", &w->status);
    fits_update_key(w->fits, TDOUBLE, "LTV2", &zero, "parent offset in y", &w->status);
    sq_writer_cards(w, wcs_cards);
}

static uint32_t to_planes(uint32_t bits)
{
    uint32_t value = 0;
    for (int k = 0; k < PLANES; k++) {
        if (bits & planes[k].bit)
            value |= 1u << planes[k].plane;
    }
    return value;
}

static sq_status put_mask(sq_writer *w, int64_t nx, int64_t ny, const uint32_t *mask)
{
    enum { BITS = 8 };
    int *row = NULL, table[1 << BITS];
    sq_status rc = SQ_ALLOC(row, nx, "mask row");
    for (uint32_t v = 0; v < 1u << BITS; v++)
        table[v] = (int)to_planes(v);
    for (int k = 0; k < PLANES; k++) {
        char key[FLEN_KEYWORD + 8];
        int plane = planes[k].plane;
        snprintf(key, sizeof key, "%sMP_%s", strlen(planes[k].name) > 5 ? "HIERARCH " : "",
                 planes[k].name);
        fits_update_key(w->fits, TINT, key, &plane, "mask plane", &w->status);
    }
    for (int64_t y = 0; y < ny && rc == SQ_OK && !w->status; y++) {
        for (int64_t x = 0; x < nx; x++)
            row[x] = table[mask[y * nx + x] & 0xff];
        fits_write_img(w->fits, TINT, 1 + y * nx, nx, row, &w->status);
    }
    sq_free(row);
    return rc;
}

static void start_exposure(sq_writer *w, const char *band)
{
    int version = 2;
    w->what = "primary header";
    fits_create_imgll(w->fits, BYTE_IMG, 0, NULL, &w->status);
    fits_update_key(w->fits, TINT, "EXPINFO_V", &version, "version of the Exposure layout",
                    &w->status);
    sq_writer_text(w, "FILTER", band, "band");
    sq_writer_text(w, "CREATOR", "skyquilt " SQ_VERSION, "");
    sq_writer_checksums(w);
}

sq_status sq_write_exposure(const char *path, const char *band, int64_t nx, int64_t ny,
                            const sq_wcs *wcs, const float *image, const uint32_t *mask,
                            const float *variance, double gain)
{
    sq_status rc = SQ_OK;
    char *cards = NULL;
    sq_writer w = {0};
    if (nx < 1 || ny < 1 || nx > INT32_MAX || ny > INT32_MAX)
        return sq_fail(SQ_ERR_USAGE, "%s: %lld x %lld pixels", path, (long long)nx, (long long)ny);
    SQ_TRY(sq_wcs_to_header(wcs, &cards));
    SQ_TRY(sq_writer_begin(&w, path));
    start_exposure(&w, band);
    start_plane(&w, "IMAGE", FLOAT_IMG, nx, ny, band, cards);
    sq_writer_text(&w, "BUNIT", "nJy", "AB zero point 31.4");
    fits_update_key(w.fits, TDOUBLE, "GAIN", &gain, "electrons per nJy, 0: unknown", &w.status);
    fits_write_img(w.fits, TFLOAT, 1, nx * ny, (float *)image, &w.status);
    sq_writer_checksums(&w);
    start_plane(&w, "MASK", LONG_IMG, nx, ny, band, cards);
    SQ_TRY(put_mask(&w, nx, ny, mask));
    sq_writer_checksums(&w);
    start_plane(&w, "VARIANCE", FLOAT_IMG, nx, ny, band, cards);
    sq_writer_text(&w, "BUNIT", "nJy**2", "");
    fits_write_img(w.fits, TFLOAT, 1, nx * ny, (float *)variance, &w.status);
    sq_writer_checksums(&w);
cleanup:
    rc = sq_writer_finish(&w, rc);
    sq_free(cards);
    return rc;
}

/* ---- PSF side file ---- */

static void put_band_names(sq_writer *w, int nband, const char (*band)[8])
{
    for (int b = 0; b < nband; b++) {
        char key[32];
        snprintf(key, sizeof key, "BAND%d", b + 1);
        sq_writer_text(w, key, band[b], "");
    }
}

static void put_nodes(sq_writer *w, char axis, int nodes, int64_t n)
{
    for (int k = 0; k < nodes; k++) {
        char key[32];
        double at = nodes > 1 ? (double)k * (double)(n - 1) / (nodes - 1) : (double)(n - 1) / 2;
        snprintf(key, sizeof key, "NODE%c%d", axis, k + 1);
        fits_update_key(w->fits, TDOUBLE, key, &at, "0-based pixel position", &w->status);
    }
}

sq_status sq_write_psf_grid(const char *path, int nband, const char (*band)[8], int nodes_x,
                            int nodes_y, int64_t nx, int64_t ny, int side, const float *psf,
                            const float *sky)
{
    sq_status rc = SQ_OK;
    sq_writer w = {0};
    LONGLONG axes[5] = {side, side, nodes_x, nodes_y, nband}, size[2] = {nx, ny};
    if (nband < 1 || nband > SQ_MAX_BANDS || nodes_x < 1 || nodes_y < 1 || nodes_x > 999 ||
        nodes_y > 999 || side < 1 || side % 2 == 0 || nx < 1 || ny < 1)
        return sq_fail(SQ_ERR_USAGE, "%s: PSF grid of %d bands, %d x %d nodes, side %d", path,
                       nband, nodes_x, nodes_y, side);
    SQ_TRY(sq_writer_begin(&w, path));
    w.what = "PSF";
    fits_create_imgll(w.fits, FLOAT_IMG, 5, axes, &w.status);
    sq_writer_text(&w, "PSFGRID", "1", "PSF images [band][node_y][node_x][side][side]");
    sq_writer_text(&w, "CREATOR", "skyquilt " SQ_VERSION, "");
    fits_update_key(w.fits, TLONGLONG, "TILE_NX", &size[0], "pixels of the tile", &w.status);
    fits_update_key(w.fits, TLONGLONG, "TILE_NY", &size[1], "", &w.status);
    put_band_names(&w, nband, band);
    put_nodes(&w, 'X', nodes_x, nx);
    put_nodes(&w, 'Y', nodes_y, ny);
    LONGLONG count = axes[0] * axes[1] * axes[2] * axes[3] * axes[4];
    fits_write_img(w.fits, TFLOAT, 1, count, (float *)psf, &w.status);
    sq_writer_checksums(&w);
    w.what = "SKY";
    fits_create_imgll(w.fits, FLOAT_IMG, 3, axes + 2, &w.status);
    sq_writer_text(&w, "EXTNAME", "SKY", "subtracted sky level at the nodes");
    sq_writer_text(&w, "BUNIT", "nJy", "a pixel");
    fits_write_img(w.fits, TFLOAT, 1, axes[2] * axes[3] * axes[4], (float *)sky, &w.status);
    sq_writer_checksums(&w);
cleanup:
    return sq_writer_finish(&w, rc);
}

/* ---- maps ---- */

sq_status sq_write_map(const char *path, const sq_wcs *wcs, int64_t nx, int64_t ny, int nplane,
                       const char *const *name, const char *const *unit, const float *data)
{
    sq_status rc = SQ_OK;
    char *cards = NULL;
    sq_writer w = {0};
    LONGLONG axes[2] = {nx, ny};
    if (nx < 1 || ny < 1 || nx > INT32_MAX || ny > INT32_MAX || nplane < 1)
        return sq_fail(SQ_ERR_USAGE, "%s: map of %d planes, %lld x %lld pixels", path, nplane,
                       (long long)nx, (long long)ny);
    SQ_TRY(sq_wcs_to_header(wcs, &cards));
    SQ_TRY(sq_writer_begin(&w, path));
    for (int k = 0; k < nplane; k++) {
        w.what = name[k];
        fits_create_imgll(w.fits, FLOAT_IMG, 2, axes, &w.status);
        sq_writer_text(&w, "EXTNAME", name[k], "");
        sq_writer_text(&w, "BUNIT", unit[k], "");
        sq_writer_text(&w, "POLCCONV", "IAU", "position angles from north through east");
        sq_writer_cards(&w, cards);
        fits_write_img(w.fits, TFLOAT, 1, nx * ny, (float *)data + k * nx * ny, &w.status);
        sq_writer_checksums(&w);
    }
cleanup:
    rc = sq_writer_finish(&w, rc);
    sq_free(cards);
    return rc;
}

/* ---- tables ---- */

static int column_type(char type, const char **form, size_t *size)
{
    switch (type) {
    case 'D':
        *form = "1D";
        *size = 8;
        return TDOUBLE;
    case 'E':
        *form = "1E";
        *size = 4;
        return TFLOAT;
    case 'K':
        *form = "1K";
        *size = 8;
        return TLONGLONG;
    case 'J':
        *form = "1J";
        *size = 4;
        return TINT;
    case 'B':
        *form = "1B";
        *size = 1;
        return TBYTE;
    default:
        *form = "";
        *size = 0;
        return 0;
    }
}

static sq_status put_columns(sq_writer *w, int ncolumn, const sq_fits_column *column)
{
    for (int c = 0; c < ncolumn; c++) {
        const char *form;
        size_t size;
        char key[32], name[FLEN_VALUE];
        if (!column_type(column[c].type, &form, &size))
            return sq_fail(SQ_ERR_USAGE, "%s: column %s has unknown type '%c'", w->path,
                           column[c].name, column[c].type);
        snprintf(name, sizeof name, "%s", column[c].name);
        fits_insert_col(w->fits, c + 1, name, (char *)form, &w->status);
        snprintf(key, sizeof key, "TUNIT%d", c + 1);
        if (column[c].unit && column[c].unit[0])
            sq_writer_text(w, key, column[c].unit, "");
        snprintf(key, sizeof key, "TUCD%d", c + 1);
        if (column[c].ucd && column[c].ucd[0])
            sq_writer_text(w, key, column[c].ucd, "");
        snprintf(key, sizeof key, "TCOMM%d", c + 1);
        if (column[c].description && column[c].description[0])
            sq_writer_text(w, key, column[c].description, "");
    }
    return SQ_OK;
}

sq_status sq_write_table(const char *path, const char *extname, int64_t n, int ncolumn,
                         const sq_fits_column *column)
{
    sq_status rc = SQ_OK;
    sq_writer w = {0};
    long block = 0;
    if (n < 0 || ncolumn < 1 || ncolumn > 999)
        return sq_fail(SQ_ERR_USAGE, "%s: table of %d columns and %lld rows", path, ncolumn,
                       (long long)n);
    SQ_TRY(sq_writer_begin(&w, path));
    w.what = extname;
    fits_create_tbl(w.fits, BINARY_TBL, n, 0, NULL, NULL, NULL, extname, &w.status);
    SQ_TRY(put_columns(&w, ncolumn, column));
    /* Rows in blocks that cfitsio's buffers hold, so that the columns do not chase each other over
     * the file. */
    fits_get_rowsize(w.fits, &block, &w.status);
    if (block < 1)
        block = 1;
    for (int64_t row = 0; row < n && !w.status; row += block) {
        int64_t rows = n - row < block ? n - row : block;
        for (int c = 0; c < ncolumn; c++) {
            const char *form;
            size_t size;
            int type = column_type(column[c].type, &form, &size);
            fits_write_col(w.fits, type, c + 1, row + 1, 1, rows,
                           (char *)column[c].data + (size_t)row * size, &w.status);
        }
    }
    sq_writer_checksums(&w);
cleanup:
    return sq_writer_finish(&w, rc);
}
