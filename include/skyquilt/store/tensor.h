/* Plain HDF5 arrays for training sets and `model run`: named datasets of any rank, chunked by their first axis.
 * One process writes one file; it is complete under its final name only (temporary name, flush, fsync, rename). Local. */
#ifndef SQ_STORE_TENSOR_H
#define SQ_STORE_TENSOR_H

#include <stdint.h>

#include "base/status.h"

typedef enum sq_dtype {
    SQ_F32, SQ_F64, SQ_I32, SQ_I64, SQ_U8, SQ_U32, SQ_U64, SQ_F16, SQ_I8, SQ_U16
} sq_dtype;
int64_t sq_dtype_size(sq_dtype type);

typedef struct sq_h5 sq_h5;

sq_status sq_h5_create(const char *path, sq_h5 **out);              /* writes path + ".partial" */
sq_status sq_h5_open(const char *path, sq_h5 **out);                /* read only */
/* Append rows to dataset `name` (made on first use; dim[0] is the number of rows of this call). F16 data is given as float and converted. */
sq_status sq_h5_append(sq_h5 *file, const char *name, sq_dtype type, int rank, const int64_t *dim,
                       const void *data);
sq_status sq_h5_attribute_text(sq_h5 *file, const char *object, const char *name, const char *text);
sq_status sq_h5_attribute_real(sq_h5 *file, const char *object, const char *name, double value);
sq_status sq_h5_shape(sq_h5 *file, const char *name, sq_dtype *type, int *rank, int64_t dim[8]);
/* Rows [first, first + count) converted to float. */
sq_status sq_h5_read_f32(sq_h5 *file, const char *name, int64_t first, int64_t count, float *out);
sq_status sq_h5_close(sq_h5 *file);      /* of a written file: completes and renames it */
void sq_h5_abandon(sq_h5 *file);         /* removes the partial file */

#endif
