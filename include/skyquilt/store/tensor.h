/* Plain HDF5 arrays for training sets, truth files and `model run`: named datasets of any rank,
 * chunked by their first axis. One process writes one file; it is complete under its final name
 * only (temporary name, flush, fsync, rename). Also the reader of every HDF5 file of the program,
 * releases included. No time stamps are stored, so the same content gives the same bytes. Local;
 * HDF5 is not thread-safe: one thread at a time. */
#ifndef SQ_STORE_TENSOR_H
#define SQ_STORE_TENSOR_H

#include <stdint.h>

#include "base/status.h"

typedef enum sq_dtype {
    SQ_F32,
    SQ_F64,
    SQ_I32,
    SQ_I64,
    SQ_U8,
    SQ_U32,
    SQ_U64,
    SQ_F16,
    SQ_I8,
    SQ_U16
} sq_dtype;
enum { SQ_DTYPE_COUNT = 10 };
int64_t sq_dtype_size(sq_dtype type); /* bytes of an element in a file; 0 when unknown */

typedef struct sq_h5 sq_h5;

sq_status sq_h5_create(const char *path, sq_h5 **out); /* writes path + ".partial" */
/* The same with a seal in front, 512 bytes of text with the hash of all bytes behind it, so that
 * verification finds any flipped bit (see sq_verify_sealed). */
sq_status sq_h5_create_sealed(const char *path, sq_h5 **out);
sq_status sq_h5_open(const char *path, sq_h5 **out);   /* read only */
/* Append rows to dataset `name` (made on first use, with the groups of a name like "a/b"; dim[0] is
 * the number of rows of this call, dim[1..] are the same in every call). F16 data is given as float
 * and converted (round to nearest even). SQ_ERR_USAGE when type, rank or row shape differ from the
 * first call. */
sq_status sq_h5_append(sq_h5 *file, const char *name, sq_dtype type, int rank, const int64_t *dim,
                       const void *data);
/* Attributes of an object ("/" is the file); an attribute of the same name is replaced. */
sq_status sq_h5_attribute_text(sq_h5 *file, const char *object, const char *name, const char *text);
sq_status sq_h5_attribute_real(sq_h5 *file, const char *object, const char *name, double value);
/* SQ_ERR_FORMAT when the attribute or object is missing or of another type. Text: free with
 * sq_free. */
sq_status sq_h5_read_text(sq_h5 *file, const char *object, const char *name, char **text);
sq_status sq_h5_read_real(sq_h5 *file, const char *object, const char *name, double *value);

/* Columns of fixed-width texts: n times `width` bytes, NUL-padded (a text of full width has no
 * terminator). */
sq_status sq_h5_append_text(sq_h5 *file, const char *name, int width, int64_t n, const char *data);
sq_status sq_h5_read_rows_text(sq_h5 *file, const char *name, int width, int64_t first,
                               int64_t count, char *out);
/* Its width in bytes and its number of texts; a single text (no column) has count 1. */
sq_status sq_h5_text_shape(sq_h5 *file, const char *name, int *width, int64_t *count);
/* A single text as a string: free with sq_free. */
sq_status sq_h5_read_string(sq_h5 *file, const char *name, char **text);

int sq_h5_has(sq_h5 *file, const char *name); /* 1: the dataset or group is there */
/* Names of the datasets in a group ("/" is the top) in the order of their names; groups are left
 * out. Free each name and the list with sq_free. */
sq_status sq_h5_list(sq_h5 *file, const char *group, char ***names, int *count);
sq_status sq_h5_groups(sq_h5 *file, const char *group, char ***names,
                       int *count); /* the groups in it */
void sq_h5_free_names(char **names, int count);
sq_status sq_h5_shape(sq_h5 *file, const char *name, sq_dtype *type, int *rank, int64_t dim[8]);
/* Rows [first, first + count) converted to float. */
sq_status sq_h5_read_f32(sq_h5 *file, const char *name, int64_t first, int64_t count, float *out);
/* The same, converted to any type but F16. */
sq_status sq_h5_read(sq_h5 *file, const char *name, sq_dtype type, int64_t first, int64_t count,
                     void *out);
sq_status
sq_h5_close(sq_h5 *file); /* of a written file: completes and renames it; the handle is gone */
void sq_h5_abandon(sq_h5 *file); /* removes the partial file; accepts NULL */

#endif
