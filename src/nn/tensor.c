#include "nn/tensor.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

static const struct {
    const char *name;
    unsigned char size, is_float;
} types[NN_TYPE_COUNT] = {
    [NN_NONE] = {"none", 0, 0},   [NN_F32] = {"float32", 4, 1},   [NN_F64] = {"float64", 8, 1},
    [NN_F16] = {"float16", 2, 1}, [NN_BF16] = {"bfloat16", 2, 1}, [NN_I8] = {"int8", 1, 0},
    [NN_U8] = {"uint8", 1, 0},    [NN_I16] = {"int16", 2, 0},     [NN_U16] = {"uint16", 2, 0},
    [NN_I32] = {"int32", 4, 0},   [NN_U32] = {"uint32", 4, 0},    [NN_I64] = {"int64", 8, 0},
    [NN_U64] = {"uint64", 8, 0},  [NN_BOOL] = {"bool", 1, 0},
};

size_t nn_type_size(nn_type type)
{
    return types[type].size;
}

const char *nn_type_name(nn_type type)
{
    return types[type].name;
}

int nn_is_float(nn_type type)
{
    return types[type].is_float;
}

sq_status nn_tensor_shape(nn_tensor *t, nn_type type, int rank, const int64_t *dim, int64_t limit,
                          const char *what)
{
    if (rank < 0 || rank > SQ_MAX_RANK)
        return sq_fail(SQ_ERR_CONFIG, "%s: rank %d is outside 0..%d", what, rank, SQ_MAX_RANK);
    int64_t count = 1;
    int empty = 0;
    for (int i = 0; i < rank; i++) {
        if (dim[i] < 0 || dim[i] > NN_MAX_DIM)
            return sq_fail(SQ_ERR_CONFIG, "%s: dimension %d is %lld, outside 0..%d", what, i,
                           (long long)dim[i], NN_MAX_DIM);
        if (dim[i] == 0)
            empty = 1;
        else if (__builtin_mul_overflow(count, dim[i], &count) || count > limit)
            return sq_fail(SQ_ERR_CONFIG, "%s: more than %lld elements", what, (long long)limit);
    }
    t->type = type;
    t->rank = rank;
    for (int i = 0; i < rank; i++)
        t->dim[i] = dim[i];
    t->count = empty ? 0 : count;
    return SQ_OK;
}

sq_status nn_tensor_alloc(nn_tensor *t, const char *what)
{
    return sq_alloc(&t->data, (size_t)(t->count > 0 ? t->count : 1), nn_type_size(t->type), what);
}

sq_status nn_tensor_copy(nn_tensor *out, const nn_tensor *in, const char *what)
{
    *out = *in;
    out->data = NULL;
    sq_status rc = nn_tensor_alloc(out, what);
    if (rc == SQ_OK)
        memcpy(out->data, in->data, (size_t)in->count * nn_type_size(in->type));
    return rc;
}

void nn_tensor_free(nn_tensor *t)
{
    sq_free(t->data);
    t->data = NULL;
}

float nn_bf16_to_float(uint16_t value)
{
    uint32_t bits = (uint32_t)value << 16;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

uint16_t nn_float_to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (isnan(value))
        return (uint16_t)((bits >> 16) | 0x40);
    bits += 0x7fff + ((bits >> 16) & 1);
    return (uint16_t)(bits >> 16);
}

float nn_half_to_float(uint16_t half)
{
    int exponent = (half >> 10) & 31, mantissa = half & 1023;
    float value;
    if (exponent == 31)
        value = mantissa ? NAN : INFINITY;
    else if (exponent == 0)
        value = ldexpf((float)mantissa, -24);
    else
        value = ldexpf((float)(mantissa + 1024), exponent - 25);
    return half & 0x8000 ? -value : value;
}

uint16_t nn_float_to_half(float value)
{
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    float a = fabsf(value);
    if (isnan(value))
        return sign | 0x7e00;
    if (a >= 65520.0f)
        return sign | 0x7c00;
    if (a < 6.103515625e-05f) /* subnormal: units of 2^-24 */
        return sign | (uint16_t)lrintf(ldexpf(a, 24));
    int exponent;
    float fraction = frexpf(a, &exponent); /* in [0.5, 1) */
    int mantissa = (int)lrintf(ldexpf(fraction, 11));
    return sign | (uint16_t)(((exponent + 14) << 10) + (mantissa - 1024));
}

double nn_get(const nn_tensor *t, int64_t i)
{
    switch (t->type) {
    case NN_F32:
        return ((const float *)t->data)[i];
    case NN_F64:
        return ((const double *)t->data)[i];
    case NN_F16:
        return nn_half_to_float(((const uint16_t *)t->data)[i]);
    case NN_BF16:
        return nn_bf16_to_float(((const uint16_t *)t->data)[i]);
    case NN_U64:
        return (double)((const uint64_t *)t->data)[i];
    default:
        return (double)nn_get_int(t, i);
    }
}

int64_t nn_get_int(const nn_tensor *t, int64_t i)
{
    switch (t->type) {
    case NN_I8:
        return ((const int8_t *)t->data)[i];
    case NN_U8:
        return ((const uint8_t *)t->data)[i];
    case NN_I16:
        return ((const int16_t *)t->data)[i];
    case NN_U16:
        return ((const uint16_t *)t->data)[i];
    case NN_I32:
        return ((const int32_t *)t->data)[i];
    case NN_U32:
        return ((const uint32_t *)t->data)[i];
    case NN_I64:
        return ((const int64_t *)t->data)[i];
    case NN_U64:
        return (int64_t)((const uint64_t *)t->data)[i];
    case NN_BOOL:
        return ((const uint8_t *)t->data)[i] != 0;
    default: {
        double value = nn_get(t, i);
        if (!(value > -9.2e18))
            return INT64_MIN;
        return value < 9.2e18 ? (int64_t)value : INT64_MAX;
    }
    }
}

void nn_set(nn_tensor *t, int64_t i, double value)
{
    switch (t->type) {
    case NN_F32:
        ((float *)t->data)[i] = (float)value;
        break;
    case NN_F64:
        ((double *)t->data)[i] = value;
        break;
    case NN_F16:
        ((uint16_t *)t->data)[i] = nn_float_to_half((float)value);
        break;
    case NN_BF16:
        ((uint16_t *)t->data)[i] = nn_float_to_bf16((float)value);
        break;
    case NN_BOOL:
        ((uint8_t *)t->data)[i] = value != 0.0;
        break;
    default:
        if (!(value > -9.2e18))
            nn_set_int(t, i, INT64_MIN);
        else
            nn_set_int(t, i, value < 9.2e18 ? (int64_t)value : INT64_MAX);
    }
}

void nn_set_int(nn_tensor *t, int64_t i, int64_t value)
{
    switch (t->type) {
    case NN_I8:
        ((int8_t *)t->data)[i] = (int8_t)value;
        break;
    case NN_U8:
        ((uint8_t *)t->data)[i] = (uint8_t)value;
        break;
    case NN_I16:
        ((int16_t *)t->data)[i] = (int16_t)value;
        break;
    case NN_U16:
        ((uint16_t *)t->data)[i] = (uint16_t)value;
        break;
    case NN_I32:
        ((int32_t *)t->data)[i] = (int32_t)value;
        break;
    case NN_U32:
        ((uint32_t *)t->data)[i] = (uint32_t)value;
        break;
    case NN_I64:
        ((int64_t *)t->data)[i] = value;
        break;
    case NN_U64:
        ((uint64_t *)t->data)[i] = (uint64_t)value;
        break;
    case NN_BOOL:
        ((uint8_t *)t->data)[i] = value != 0;
        break;
    default:
        nn_set(t, i, (double)value);
    }
}

void nn_strides(const nn_tensor *t, int64_t stride[SQ_MAX_RANK])
{
    int64_t step = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        stride[i] = step;
        step *= t->dim[i] > 0 ? t->dim[i] : 1;
    }
}

void nn_broadcast_strides(const nn_tensor *t, int rank, int64_t stride[SQ_MAX_RANK])
{
    int64_t own[SQ_MAX_RANK] = {0};
    nn_strides(t, own);
    for (int i = 0; i < rank; i++) {
        int j = i - (rank - t->rank);
        stride[i] = j < 0 || t->dim[j] == 1 ? 0 : own[j];
    }
}
