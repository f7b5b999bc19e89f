/* Opening FITS files of unknown health.
 *
 * Every header is walked and judged before cfitsio sees the file: mandatory cards, sane axes, data
 * that lie inside the file. .gz and .bz2 files (known by their first bytes, not by their names) are
 * unpacked into memory up to a cap; others are read from disk section by section. Errors name file,
 * HDU and card. Local; one thread at a time per handle. */
#ifndef SQ_FITS_INPUT_H
#define SQ_FITS_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "fits/fits_internal.h"
#include "fits/tile.h"

enum {
    SQ_UNPACK_CAP = 128 << 20, /* bytes that one compressed file may unpack to */
    SQ_HEADER_CAP = 1 << 20, /* bytes of an unpacked file that the headers-only opening looks at */
    SQ_AXIS_MAX = 1 << 20    /* pixels along an axis */
};

typedef struct sq_input {
    fitsfile *fits;
    char path[SQ_PATH_MAX];
    void *memory; /* the unpacked file; cfitsio keeps the address of this member */
    size_t size, capacity;
    int hdus; /* HDUs with sound headers: cfitsio is shown no others */
    int hdu;  /* the HDU that `fits` stands on, 0-based */
} sq_input;

typedef enum sq_input_depth { SQ_INPUT_HEADERS, SQ_INPUT_ALL } sq_input_depth;

/* SQ_INPUT_HEADERS unpacks only the beginning of a compressed file, enough for the headers in front
 * of the first data; its data must not be read. */
sq_status sq_input_open(const char *path, sq_input_depth depth, sq_input **out);
/* With a cap of the caller's instead of SQ_UNPACK_CAP. */
sq_status sq_input_open_capped(const char *path, sq_input_depth depth, size_t cap, sq_input **out);
/* The same over bytes in memory (copied). */
sq_status sq_input_memory(const char *name, const void *bytes, size_t size, sq_input **out);
void sq_input_close(sq_input *input);

/* Go to an HDU (0-based). SQ_ERR_FORMAT when the file has fewer. */
sq_status sq_input_goto(sq_input *input, int hdu);
/* The header of the present HDU as 80-character cards (a tile-compressed image's as the image's).
 * Free with sq_free. */
sq_status sq_input_header(sq_input *input, char **out);
/* Axes of the present HDU's image, which must have two dimensions of 1 .. SQ_AXIS_MAX. */
sq_status sq_input_image_size(sq_input *input, int64_t *nx, int64_t *ny);
/* A box that lies inside the image; NaN, Inf and BLANK become NaN. Row-major nx x ny. */
sq_status sq_input_read_float(sq_input *input, int64_t x0, int64_t y0, int nx, int ny, float *out);
sq_status sq_input_read_int(sq_input *input, int64_t x0, int64_t y0, int nx, int ny, int32_t *out);
/* `count` numbers of one cell of a table's column, which must hold exactly that many (at least,
 * when `more`). */
sq_status sq_input_cell(sq_input *input, const char *column, int64_t row, int64_t count, int more,
                        double *out);
/* The first element of every row of a column; `out` has sq_input_rows() elements. */
sq_status sq_input_column(sq_input *input, const char *column, double *out);
int64_t sq_input_rows(sq_input *input); /* of the present table, -1 when it is none */

/* Walk the headers of `size` bytes; `read` gives bytes at an offset. `whole` 0: the end may be
 * missing. */
typedef sq_status (*sq_input_reader)(void *user, int64_t offset, size_t size, void *out);
sq_status sq_input_walk(const char *path, int64_t size, int whole, sq_input_reader read, void *user,
                        int *hdus);

/* Size and mtime of a file. SQ_ERR_IO when it is not there. */
sq_status sq_input_identity(const char *path, sq_file_identity *out);
/* SQ_ERR_CHANGED when the file is not what was recorded. */
sq_status sq_input_check(const sq_file_identity *recorded);

#endif
