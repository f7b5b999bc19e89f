#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fits/band.h"
#include "fits/cards.h"

enum { SPAN_BYTES = 6, MAX_PLANES = 64 };

/* The planes that matter here, by the attribute names of the file's last table. */
static const struct {
    const char *name;
    uint8_t bit;
} known[] = {
    {"S_MASK_INTERP", SQ_MASK_INTERPOLATED},   {"S_MASK_SATUR", SQ_MASK_SATURATED},
    {"S_MASK_NOTCHECKED", SQ_MASK_NOTCHECKED}, {"S_MASK_BRIGHTOBJECT", SQ_MASK_BRIGHT},
    {"S_MASK_GHOST", SQ_MASK_BRIGHT},          {"S_MASK_CR", SQ_MASK_COSMIC},
};

/* The bit of each mask HDU (1 + value) from the table in HDU 11. */
static sq_status read_names(sq_input *input, int planes, uint8_t bit[MAX_PLANES])
{
    sq_status rc = SQ_OK;
    double value;
    SQ_TRY(sq_input_goto(input, planes + 1));
    int64_t rows = sq_input_rows(input);
    if (rows < 0 || rows > 1000)
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: no table of mask names", input->path, planes + 1);
    for (int64_t row = 0; row < rows; row++) {
        char text[128] = "", *cell = text;
        int column = 0, any, status = 0, width = 0;
        fits_get_colnum(input->fits, CASEINSEN, "attributeName", &column, &status);
        fits_get_col_display_width(input->fits, column, &width, &status);
        if (!status && width >= (int)sizeof text)
            status = BAD_TFORM;
        fits_read_col(input->fits, TSTRING, column, row + 1, 1, 1, "", &cell, &any, &status);
        if (status)
            return sq_fits_fail(status, input->path, planes + 1, "attributeName");
        SQ_TRY(sq_input_cell(input, "Value", row, 1, 0, &value));
        for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
            if (strcmp(text, known[k].name) == 0 && value >= 0 && value < planes)
                bit[(int)value] = known[k].bit;
        }
    }
cleanup:
    return rc;
}

static int big16(const unsigned char *c)
{
    return (int16_t)(uint16_t)(c[0] << 8 | c[1]);
}

/* Runs of (row, first column, last column) as big-endian int16, relative to the object's origin. */
static void paint(const unsigned char *runs, int64_t count, int64_t row0, int64_t col0, int64_t nx,
                  int64_t ny, uint8_t bit, uint8_t *mask)
{
    for (int64_t k = 0; k < count; k++, runs += SPAN_BYTES) {
        int64_t y = big16(runs) + row0, a = big16(runs + 2) + col0, b = big16(runs + 4) + col0;
        if (y < 0 || y >= ny)
            continue;
        a = a > 0 ? a : 0;
        b = b < nx - 1 ? b : nx - 1;
        for (int64_t x = a; x <= b; x++)
            mask[y * nx + x] |= bit;
    }
}

static sq_status read_runs(sq_input *input, int64_t row, int column, unsigned char **buffer,
                           size_t *capacity, int64_t *count)
{
    LONGLONG length = 0, offset = 0;
    int status = 0, any;
    fits_read_descriptll(input->fits, column, row + 1, &length, &offset, &status);
    if (!status && (length < 0 || length > (LONGLONG)1 << 26 || length % SPAN_BYTES != 0))
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: s: %lld bytes are not whole runs", input->path,
                       input->hdu, (long long)length);
    *count = length / SPAN_BYTES;
    if (status || *count == 0)
        return status ? sq_fits_fail(status, input->path, input->hdu, "s") : SQ_OK;
    sq_status rc = SQ_GROW(*buffer, *capacity, length, "mask runs");
    if (rc != SQ_OK)
        return rc;
    fits_read_col(input->fits, TBYTE, column, row + 1, 1, length, NULL, *buffer, &any, &status);
    return status ? sq_fits_fail(status, input->path, input->hdu, "s") : SQ_OK;
}

static sq_status read_plane(sq_input *input, int plane, uint8_t bit, int64_t nx, int64_t ny,
                            uint8_t *mask)
{
    sq_status rc = SQ_OK;
    unsigned char *runs = NULL;
    size_t capacity = 0;
    int column = 0, status = 0;
    SQ_TRY(sq_input_goto(input, plane + 1));
    int64_t rows = sq_input_rows(input), count = 0;
    fits_get_colnum(input->fits, CASEINSEN, "s", &column, &status);
    if (rows < 0 || status) {
        fits_clear_errmsg();
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: s: no such column", input->path, plane + 1);
    }
    for (int64_t row = 0; row < rows; row++) {
        double row0, col0;
        SQ_TRY(sq_input_cell(input, "row0", row, 1, 0, &row0));
        SQ_TRY(sq_input_cell(input, "col0", row, 1, 0, &col0));
        SQ_TRY(read_runs(input, row, column, &runs, &capacity, &count));
        paint(runs, count, (int64_t)row0, (int64_t)col0, nx, ny, bit, mask);
    }
cleanup:
    sq_free(runs);
    return rc;
}

/* A mask of another field must not be laid over this one. */
static sq_status check_header(sq_input *input, const char *tile, int64_t *planes)
{
    char *header = NULL;
    int run, camcol, field;
    int64_t r, c, f;
    sq_status rc = SQ_OK;
    SQ_TRY(sq_input_goto(input, 0));
    SQ_TRY(sq_input_header(input, &header));
    if (sq_sdss_parse_name(tile, &run, &camcol, &field) && sq_cards_int(header, "RUN", &r) &&
        sq_cards_int(header, "CAMCOL", &c) && sq_cards_int(header, "FIELD", &f) &&
        (r != run || c != camcol || f != field))
        rc = sq_fail(SQ_ERR_DATA, "%s[0]: FIELD: it is %lld-%lld-%lld, not %s", input->path,
                     (long long)r, (long long)c, (long long)f, tile);
    else if (!sq_cards_int(header, "NPLANE", planes) || *planes < 1 || *planes > MAX_PLANES)
        rc = sq_fail(SQ_ERR_FORMAT, "%s[0]: NPLANE: missing or out of range", input->path);
cleanup:
    sq_free(header);
    return rc;
}

sq_status sq_fpm_read(const char *path, const char *tile, int64_t nx, int64_t ny, uint8_t **out)
{
    sq_status rc = SQ_OK;
    sq_input *input = NULL;
    uint8_t *mask = NULL, bit[MAX_PLANES] = {0};
    int64_t planes = 0;
    *out = NULL;
    SQ_TRY(sq_input_open(path, SQ_INPUT_ALL, &input));
    SQ_TRY(check_header(input, tile, &planes));
    SQ_TRY(read_names(input, (int)planes, bit));
    SQ_TRY(SQ_ALLOC(mask, (size_t)nx * ny, "mask"));
    for (int plane = 0; plane < planes; plane++) {
        if (bit[plane])
            SQ_TRY(read_plane(input, plane, bit[plane], nx, ny, mask));
    }
    *out = mask;
    mask = NULL;
cleanup:
    sq_free(mask);
    sq_input_close(input);
    return rc;
}
