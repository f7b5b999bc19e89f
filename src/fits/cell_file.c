#include "fits/cell_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "fits/band.h"
#include "fits/cards.h"

enum { BLOCK = 2880, JSON_CAP = 64 << 20 /* bytes of the tree */ };

/* ---- finding HDUs ---- */

static int has_name(sq_input *in, int hdu, const sq_cell_source *from)
{
    char name[FLEN_VALUE] = "";
    int version = 1, status = 0;
    if (sq_input_goto(in, hdu) != SQ_OK)
        return 0;
    fits_read_key(in->fits, TSTRING, "EXTNAME", name, NULL, &status);
    if (!status)
        fits_read_key(in->fits, TINT, "EXTVER", &version, NULL, &status);
    fits_clear_errmsg();
    return strcasecmp(name, from->name) == 0 && version == from->version;
}

sq_status sq_cell_find(sq_input *in, const sq_cell_source *from, int *hdu)
{
    for (int k = 1; k < in->hdus; k++) {
        if (has_name(in, k, from)) {
            *hdu = k;
            return SQ_OK;
        }
    }
    return sq_fail(SQ_ERR_FORMAT, "%s: EXTNAME: no HDU is %s", in->path, from->name);
}

/* The last two HDUs are the tree and the index, which has a row for every HDU before it. */
static sq_status find_tree(sq_input *in, int *hdu)
{
    int index;
    sq_status rc = SQ_OK;
    SQ_TRY(sq_cell_find(in, &(sq_cell_source){"JSON", 1}, hdu));
    SQ_TRY(sq_cell_find(in, &(sq_cell_source){"INDEX", 1}, &index));
    SQ_TRY(sq_input_goto(in, index));
    if (sq_input_rows(in) != index)
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: INDEX: %lld rows for %d HDUs", in->path, index,
                       (long long)sq_input_rows(in), index);
cleanup:
    return rc;
}

/* The first cell of the column JSON, NUL-terminated. */
static sq_status read_text(sq_input *in, int hdu, char **out, size_t *size)
{
    int status = 0, column = 0, any;
    LONGLONG length = 0, offset = 0;
    sq_status rc = SQ_OK;
    SQ_TRY(sq_input_goto(in, hdu));
    if (sq_input_rows(in) < 1)
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: JSON: the table has no row", in->path, hdu);
    fits_get_colnum(in->fits, CASEINSEN, "JSON", &column, &status);
    if (!status)
        fits_read_descriptll(in->fits, column, 1, &length, &offset, &status);
    if (status)
        return sq_fits_fail(status, in->path, hdu, "JSON");
    if (length < 1 || length > JSON_CAP)
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: JSON: a tree of %lld bytes", in->path, hdu,
                       (long long)length);
    SQ_TRY(sq_alloc((void **)out, (size_t)length + 1, 1, "JSON tree"));
    fits_read_col(in->fits, TBYTE, column, 1, 1, length, NULL, *out, &any, &status);
    if (status)
        SQ_TRY(sq_fits_fail(status, in->path, hdu, "JSON"));
    *size = (size_t)length;
cleanup:
    return rc;
}

sq_status sq_cell_tree_read(sq_input *in, sq_cell_tree *out)
{
    char *text = NULL;
    size_t size = 0;
    int hdu = 0;
    sq_status rc = SQ_OK;
    SQ_TRY(find_tree(in, &hdu));
    SQ_TRY(read_text(in, hdu, &text, &size));
    SQ_TRY(sq_cell_tree_parse(text, size, in->path, out));
cleanup:
    sq_free(text);
    return rc;
}

/* ---- by headers alone ---- */

int sq_cell_coadd_is(const char *header)
{
    char model[72];
    return sq_cards_text(header, "DATAMODL", model, sizeof model) && strstr(model, "/cell_coadd-");
}

/* The first block of a file's header, NUL-terminated; 0 when it is no FITS file. */
static int first_block(const char *path, char block[BLOCK + 1])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int good = fd >= 0 && pread(fd, block, BLOCK, 0) == BLOCK &&
               memcmp(block, "SIMPLE  =", 9) == 0 && !memchr(block, '\0', BLOCK);
    if (fd >= 0)
        close(fd);
    block[BLOCK] = '\0';
    return good;
}

int sq_cell_coadd_name(const char *path, char band[8], char name[SQ_NAME_MAX])
{
    char block[BLOCK + 1];
    sq_input *in = NULL;
    sq_cell_tree tree = {.side = 0};
    if (!first_block(path, block) || !sq_cell_coadd_is(block))
        return 0;
    /* A damaged file is a problem of the tile that it would have made: its name must stand. */
    const char *slash = strrchr(path, '/');
    snprintf(name, SQ_NAME_MAX, "%.60s", slash ? slash + 1 : path);
    snprintf(band, 8, "?");
    if (sq_input_open(path, SQ_INPUT_ALL, &in) == SQ_OK && sq_cell_tree_read(in, &tree) == SQ_OK) {
        snprintf(band, 8, "%s", tree.band);
        if (tree.tract >= 0 && tree.patch >= 0)
            snprintf(name, SQ_NAME_MAX, "%lld-%lld", (long long)tree.tract, (long long)tree.patch);
    }
    sq_cell_tree_clear(&tree);
    sq_input_close(in);
    return 1;
}

sq_status sq_cell_tree_check(const sq_tile_band *band, const sq_cell_tree *tree)
{
    const char *path = band->image.path;
    if (strlen(tree->band) != 1 || !strchr("ugrizy", tree->band[0]))
        return sq_fail(SQ_ERR_DATA, "%s[JSON]: /band: '%s' is none of ugrizy", path, tree->band);
    if (strcmp(tree->band, band->name) != 0)
        return sq_fail(SQ_ERR_DATA, "%s[JSON]: /band: '%s' in a file named as band %s", path,
                       tree->band, band->name);
    if (tree->nx != band->nx || tree->ny != band->ny)
        return sq_fail(SQ_ERR_FORMAT,
                       "%s[JSON]: /image/data: %lld x %lld pixels, the image has %lld x %lld", path,
                       (long long)tree->nx, (long long)tree->ny, (long long)band->nx,
                       (long long)band->ny);
    return SQ_OK;
}

sq_status sq_cell_coadd_check(const sq_tile_band *band)
{
    sq_input *in = NULL;
    sq_cell_tree tree = {.side = 0};
    sq_status rc = SQ_OK;
    SQ_TRY(sq_input_open(band->image.path, SQ_INPUT_ALL, &in));
    SQ_TRY(sq_cell_tree_read(in, &tree));
    SQ_TRY(sq_cell_tree_check(band, &tree));
cleanup:
    sq_cell_tree_clear(&tree);
    sq_input_close(in);
    return rc;
}
