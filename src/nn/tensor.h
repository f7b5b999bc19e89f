/* Plain row-major tensors of the types that ONNX files hold, as the loader, the shape inference and
 * the naive kernels use them.
 *
 * A tensor with data == NULL is known by type and shape only. Element counts are products that were
 * checked for overflow when the shape was set. Local. */
#ifndef SQ_NN_TENSOR_H
#define SQ_NN_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "nn/model.h"

typedef enum nn_type {
    NN_NONE,
    NN_F32,
    NN_F64,
    NN_F16,
    NN_BF16,
    NN_I8,
    NN_U8,
    NN_I16,
    NN_U16,
    NN_I32,
    NN_U32,
    NN_I64,
    NN_U64,
    NN_BOOL,
    NN_TYPE_COUNT
} nn_type;

typedef struct nn_tensor {
    nn_type type;
    int rank;
    int64_t dim[SQ_MAX_RANK];
    int64_t count; /* product of dim */
    void *data;
} nn_tensor;

enum { NN_MAX_DIM = 1 << 30 }; /* of any single dimension */

size_t nn_type_size(nn_type type);
const char *nn_type_name(nn_type type);
int nn_is_float(nn_type type);

/* Set type and shape; SQ_ERR_CONFIG with `what` in the message when a dimension is negative or too
 * large or the element count exceeds `limit`. Leaves data alone. */
sq_status nn_tensor_shape(nn_tensor *t, nn_type type, int rank, const int64_t *dim, int64_t limit,
                          const char *what);
sq_status nn_tensor_alloc(nn_tensor *t, const char *what); /* t->data, zeroed */
sq_status nn_tensor_copy(nn_tensor *out, const nn_tensor *in, const char *what);
void nn_tensor_free(nn_tensor *t); /* the data; the shape stays */

double nn_get(const nn_tensor *t, int64_t i);
int64_t nn_get_int(const nn_tensor *t, int64_t i);
void nn_set(nn_tensor *t, int64_t i, double value);      /* rounds to the type, saturating */
void nn_set_int(nn_tensor *t, int64_t i, int64_t value); /* wraps around, as C does */

/* Row-major strides in elements; for broadcasting against `rank` dimensions, 0 where the tensor has
 * size 1. */
void nn_strides(const nn_tensor *t, int64_t stride[SQ_MAX_RANK]);
void nn_broadcast_strides(const nn_tensor *t, int rank, int64_t stride[SQ_MAX_RANK]);

float nn_half_to_float(uint16_t half);
uint16_t nn_float_to_half(float value);
float nn_bf16_to_float(uint16_t value);
uint16_t nn_float_to_bf16(float value); /* round to nearest even */

#endif
