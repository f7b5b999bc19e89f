#include "fits/input.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "fits/unpack.h"

enum { BLOCK = 2880 };

/* ---- identity ---- */

sq_status sq_input_identity(const char *path, sq_file_identity *out)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return sq_fail(SQ_ERR_IO, "%s: not a regular file", path);
    out->size = st.st_size;
    out->mtime = (double)st.st_mtim.tv_sec + 1e-9 * (double)st.st_mtim.tv_nsec;
    return SQ_OK;
}

sq_status sq_input_check(const sq_file_identity *recorded)
{
    sq_file_identity now = {.size = -1};
    if (sq_input_identity(recorded->path, &now) != SQ_OK)
        return sq_fail_in(SQ_ERR_CHANGED, "vanished since it was indexed");
    if (now.size != recorded->size)
        return sq_fail(SQ_ERR_CHANGED, "%s: size is %lld bytes, %lld when it was indexed",
                       recorded->path, (long long)now.size, (long long)recorded->size);
    if (now.mtime != recorded->mtime)
        return sq_fail(SQ_ERR_CHANGED, "%s: modified since it was indexed", recorded->path);
    return SQ_OK;
}

/* ---- opening ---- */

static sq_status read_memory(void *user, int64_t offset, size_t size, void *out)
{
    const sq_input *input = user;
    memcpy(out, (const char *)input->memory + offset, size);
    return SQ_OK;
}

typedef struct disk {
    int fd;
    const char *path;
} disk;

static sq_status read_disk(void *user, int64_t offset, size_t size, void *out)
{
    const disk *d = user;
    ssize_t got = pread(d->fd, out, size, offset);
    if (got != (ssize_t)size)
        return sq_fail(SQ_ERR_IO, "%s: %s", d->path, got < 0 ? strerror(errno) : "short read");
    return SQ_OK;
}

static sq_status open_memory(sq_input *input, int whole)
{
    int status = 0;
    sq_status rc =
        sq_input_walk(input->path, (int64_t)input->size, whole, read_memory, input, &input->hdus);
    if (rc != SQ_OK)
        return rc;
    fits_clear_errmsg();
    /* cfitsio reads whole blocks, also the last: the buffer has one. */
    input->size = (input->size + BLOCK - 1) / BLOCK * BLOCK;
    fits_open_memfile(&input->fits, "memory", READONLY, &input->memory, &input->size, 0, NULL,
                      &status);
    return status ? sq_fits_fail(status, input->path, 0, "open") : SQ_OK;
}

static sq_status open_disk(sq_input *input, int fd, int64_t size)
{
    int status = 0;
    disk d = {fd, input->path};
    sq_status rc = sq_input_walk(input->path, size, 1, read_disk, &d, &input->hdus);
    if (rc != SQ_OK)
        return rc;
    fits_clear_errmsg();
    /* "diskfile": the name is taken as it is, without cfitsio's filter syntax. */
    fits_open_diskfile(&input->fits, input->path, READONLY, &status);
    return status ? sq_fits_fail(status, input->path, 0, "open") : SQ_OK;
}

sq_status sq_input_open(const char *path, sq_input_depth depth, sq_input **out)
{
    return sq_input_open_capped(path, depth, SQ_UNPACK_CAP, out);
}

sq_status sq_input_open_capped(const char *path, sq_input_depth depth, size_t cap, sq_input **out)
{
    sq_status rc = SQ_OK;
    sq_input *input = NULL;
    struct stat st;
    unsigned char magic[4] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    *out = NULL;
    if (fd < 0)
        return sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    SQ_TRY(SQ_ALLOC(input, 1, "input file"));
    snprintf(input->path, sizeof input->path, "%s", path);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        SQ_TRY(sq_fail(SQ_ERR_IO, "%s: not a regular file", path));
    if (st.st_size == 0)
        SQ_TRY(sq_fail(SQ_ERR_FORMAT, "%s[0]: empty file", path));
    if (pread(fd, magic, sizeof magic, 0) < 0)
        SQ_TRY(sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno)));
    sq_packing packing = sq_packing_of(magic);
    if (packing == SQ_PACKING_NONE) {
        SQ_TRY(open_disk(input, fd, st.st_size));
    } else {
        int whole = depth == SQ_INPUT_ALL, cut = 0;
        SQ_TRY(sq_unpack(path, fd, packing, whole ? cap : SQ_HEADER_CAP, whole,
                         &input->memory, &input->size, &input->capacity, &cut));
        SQ_TRY(open_memory(input, !cut));
    }
    *out = input;
    input = NULL;
cleanup:
    close(fd);
    sq_input_close(input);
    return rc;
}

sq_status sq_input_memory(const char *name, const void *bytes, size_t size, sq_input **out)
{
    sq_status rc = SQ_OK;
    sq_input *input = NULL;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(input, 1, "input file"));
    snprintf(input->path, sizeof input->path, "%s", name);
    input->capacity = size + BLOCK;
    SQ_TRY(sq_alloc(&input->memory, input->capacity, 1, "input bytes"));
    memcpy(input->memory, bytes, size);
    input->size = size;
    SQ_TRY(open_memory(input, 1));
    *out = input;
    input = NULL;
cleanup:
    sq_input_close(input);
    return rc;
}

void sq_input_close(sq_input *input)
{
    int status = 0;
    if (!input)
        return;
    if (input->fits)
        fits_close_file(input->fits, &status);
    sq_free(input->memory);
    sq_free(input);
}

/* ---- reading ---- */

sq_status sq_input_goto(sq_input *input, int hdu)
{
    int status = 0;
    if (hdu < 0 || hdu >= input->hdus)
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: no such HDU, the file has %d", input->path, hdu,
                       input->hdus);
    fits_movabs_hdu(input->fits, hdu + 1, NULL, &status);
    if (status)
        return sq_fits_fail(status, input->path, hdu, "no such HDU");
    input->hdu = hdu;
    return SQ_OK;
}

sq_status sq_input_header(sq_input *input, char **out)
{
    int status = 0, keys = 0;
    char *text = NULL;
    fits_convert_hdr2str(input->fits, 0, NULL, 0, &text, &keys, &status);
    if (status)
        return sq_fits_fail(status, input->path, input->hdu, "header");
    sq_status rc = sq_strdup(out, text);
    fits_free_memory(text, &status);
    return rc;
}

sq_status sq_input_image_size(sq_input *input, int64_t *nx, int64_t *ny)
{
    LONGLONG axes[2] = {0, 0};
    int status = 0, naxis = 0, type = 0;
    fits_get_hdu_type(input->fits, &type, &status);
    fits_get_img_dim(input->fits, &naxis, &status);
    if (!status && naxis == 2)
        fits_get_img_sizell(input->fits, 2, axes, &status);
    if (status)
        return sq_fits_fail(status, input->path, input->hdu, "image size");
    if (type != IMAGE_HDU || naxis != 2)
        return sq_fail(SQ_ERR_FORMAT,
                       "%s[%d]: NAXIS: %d dimensions where an image of 2 is expected", input->path,
                       input->hdu, naxis);
    for (int k = 0; k < 2; k++) {
        if (axes[k] < 1 || axes[k] > SQ_AXIS_MAX)
            return sq_fail(SQ_ERR_FORMAT, "%s[%d]: NAXIS%d: %lld is out of range", input->path,
                           input->hdu, k + 1, (long long)axes[k]);
    }
    *nx = axes[0];
    *ny = axes[1];
    return SQ_OK;
}

static sq_status read_box(sq_input *input, int type, void *null, int64_t x0, int64_t y0, int nx,
                          int ny, void *out)
{
    long first[2] = {(long)x0 + 1, (long)y0 + 1}, last[2] = {(long)x0 + nx, (long)y0 + ny};
    long step[2] = {1, 1};
    int status = 0, any;
    fits_read_subset(input->fits, type, first, last, step, null, out, &any, &status);
    return status ? sq_fits_fail(status, input->path, input->hdu, "pixels") : SQ_OK;
}

sq_status sq_input_read_float(sq_input *input, int64_t x0, int64_t y0, int nx, int ny, float *out)
{
    float nan = NAN;
    return read_box(input, TFLOAT, &nan, x0, y0, nx, ny, out);
}

sq_status sq_input_read_int(sq_input *input, int64_t x0, int64_t y0, int nx, int ny, int32_t *out)
{
    return read_box(input, TINT, NULL, x0, y0, nx, ny, out);
}

int64_t sq_input_rows(sq_input *input)
{
    LONGLONG rows = 0;
    int status = 0;
    fits_get_num_rowsll(input->fits, &rows, &status);
    fits_clear_errmsg();
    return status ? -1 : rows;
}

/* Column number, type and elements a row. */
static sq_status find_column(sq_input *input, const char *column, int *number, int *type,
                             LONGLONG *repeat)
{
    int status = 0;
    LONGLONG width = 0;
    fits_get_colnum(input->fits, CASEINSEN, (char *)column, number, &status);
    if (status) {
        fits_clear_errmsg();
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: %s: no such column", input->path, input->hdu,
                       column);
    }
    fits_get_coltypell(input->fits, *number, type, repeat, &width, &status);
    return status ? sq_fits_fail(status, input->path, input->hdu, column) : SQ_OK;
}

sq_status sq_input_cell(sq_input *input, const char *column, int64_t row, int64_t count, int more,
                        double *out)
{
    sq_status rc = SQ_OK;
    int status = 0, number = 0, type = 0, any = 0;
    LONGLONG repeat = 0, offset = 0;
    double nan = NAN;
    SQ_TRY(find_column(input, column, &number, &type, &repeat));
    if (type < 0) /* variable length: the descriptor knows */
        fits_read_descriptll(input->fits, number, row + 1, &repeat, &offset, &status);
    if (!status && (type == TSTRING || repeat < count || (!more && repeat != count)))
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: %s: %lld elements where %lld are expected",
                       input->path, input->hdu, column, (long long)repeat, (long long)count);
    fits_read_col(input->fits, TDOUBLE, number, row + 1, 1, count, &nan, out, &any, &status);
    if (status)
        rc = sq_fits_fail(status, input->path, input->hdu, column);
cleanup:
    return rc;
}

sq_status sq_input_column(sq_input *input, const char *column, double *out)
{
    sq_status rc = SQ_OK;
    int64_t rows = sq_input_rows(input);
    int status = 0, number = 0, type = 0, any = 0;
    LONGLONG repeat = 0;
    double nan = NAN;
    SQ_TRY(find_column(input, column, &number, &type, &repeat));
    if (type <= 0 || type == TSTRING || repeat < 1)
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: %s: not a column of numbers", input->path,
                       input->hdu, column);
    for (int64_t row = 0; row < rows && !status && repeat > 1; row++)
        fits_read_col(input->fits, TDOUBLE, number, row + 1, 1, 1, &nan, out + row, &any, &status);
    if (repeat == 1)
        fits_read_col(input->fits, TDOUBLE, number, 1, 1, rows, &nan, out, &any, &status);
    if (status)
        rc = sq_fits_fail(status, input->path, input->hdu, column);
cleanup:
    return rc;
}
