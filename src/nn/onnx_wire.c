#include "nn/onnx_wire.h"

#include <stdlib.h>
#include <string.h>

/* A few bytes on the wire can ask for a large structure or for a deep recursion (messages that hold
 * themselves), and protobuf-c limits neither. Its allocator is called once for every message, so
 * both limits are applied there. */
typedef struct budget {
    size_t left;
    const char *stack;
} budget;

enum { MAX_STACK = 1 << 20 };

static void *take(void *data, size_t size)
{
    budget *b = data;
    const char *here = __builtin_frame_address(0);
    ptrdiff_t depth = b->stack > here ? b->stack - here : here - b->stack;
    if (size > b->left || depth > MAX_STACK)
        return NULL;
    b->left -= size;
    return malloc(size ? size : 1);
}

static void give(void *data, void *pointer)
{
    (void)data;
    free(pointer);
}

static ProtobufCMessage *unpack(const ProtobufCMessageDescriptor *descriptor, const void *data,
                                size_t size)
{
    budget b = {.left = 24 * size + (1u << 20), .stack = __builtin_frame_address(0)};
    ProtobufCAllocator allocator = {take, give, &b};
    return protobuf_c_message_unpack(descriptor, &allocator, size, data);
}

static void release(ProtobufCMessage *message)
{
    ProtobufCAllocator allocator = {take, give, NULL};
    if (message)
        protobuf_c_message_free_unpacked(message, &allocator);
}

sq_status nn_wire_model(const void *data, size_t size, const char *name, Onnx__ModelProto **out)
{
    *out = (Onnx__ModelProto *)unpack(&onnx__model_proto__descriptor, data, size);
    if (!*out)
        return sq_fail(SQ_ERR_CONFIG,
                       "%s: not an ONNX file (cut off, damaged or nested too deeply)", name);
    return SQ_OK;
}

void nn_wire_model_free(Onnx__ModelProto *model)
{
    release(model ? &model->base : NULL);
}

sq_status nn_wire_tensor(const void *data, size_t size, const char *name, Onnx__TensorProto **out)
{
    *out = (Onnx__TensorProto *)unpack(&onnx__tensor_proto__descriptor, data, size);
    return *out ? SQ_OK : sq_fail(SQ_ERR_CONFIG, "%s: not a serialised tensor", name);
}

void nn_wire_tensor_free(Onnx__TensorProto *tensor)
{
    release(tensor ? &tensor->base : NULL);
}

nn_type nn_wire_type(int onnx)
{
    static const nn_type map[] = {
        [ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT] = NN_F32,
        [ONNX__TENSOR_PROTO__DATA_TYPE__UINT8] = NN_U8,
        [ONNX__TENSOR_PROTO__DATA_TYPE__INT8] = NN_I8,
        [ONNX__TENSOR_PROTO__DATA_TYPE__UINT16] = NN_U16,
        [ONNX__TENSOR_PROTO__DATA_TYPE__INT16] = NN_I16,
        [ONNX__TENSOR_PROTO__DATA_TYPE__INT32] = NN_I32,
        [ONNX__TENSOR_PROTO__DATA_TYPE__INT64] = NN_I64,
        [ONNX__TENSOR_PROTO__DATA_TYPE__BOOL] = NN_BOOL,
        [ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16] = NN_F16,
        [ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE] = NN_F64,
        [ONNX__TENSOR_PROTO__DATA_TYPE__UINT32] = NN_U32,
        [ONNX__TENSOR_PROTO__DATA_TYPE__UINT64] = NN_U64,
        [ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16] = NN_BF16,
    };
    int known = (int)(sizeof map / sizeof *map);
    return onnx > 0 && onnx < known ? map[onnx] : NN_NONE;
}

/* Elements given in the typed fields: their number, and a copy converted to the type. */
static size_t listed(const Onnx__TensorProto *p, nn_type type)
{
    switch (type) {
    case NN_F32:
        return p->n_float_data;
    case NN_F64:
        return p->n_double_data;
    case NN_I64:
        return p->n_int64_data;
    case NN_U32:
    case NN_U64:
        return p->n_uint64_data;
    default:
        return p->n_int32_data;
    }
}

static void copy_listed(const Onnx__TensorProto *p, nn_tensor *out)
{
    for (int64_t i = 0; i < out->count; i++) {
        switch (out->type) {
        case NN_F32:
            ((float *)out->data)[i] = p->float_data[i];
            break;
        case NN_F64:
            ((double *)out->data)[i] = p->double_data[i];
            break;
        case NN_F16:
        case NN_BF16: /* bit patterns */
            ((uint16_t *)out->data)[i] = (uint16_t)p->int32_data[i];
            break;
        case NN_I64:
            ((int64_t *)out->data)[i] = p->int64_data[i];
            break;
        case NN_U32:
        case NN_U64:
            nn_set_int(out, i, (int64_t)p->uint64_data[i]);
            break;
        default:
            nn_set_int(out, i, p->int32_data[i]);
        }
    }
}

sq_status nn_wire_copy_tensor(const Onnx__TensorProto *p, int64_t limit, const char *what,
                              nn_tensor *out)
{
    nn_type type = nn_wire_type(p->data_type);
    if (type == NN_NONE)
        return sq_fail(SQ_ERR_UNSUPPORTED, "%s: element type %d is not supported", what,
                       (int)p->data_type);
    if (p->n_external_data > 0 || p->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
        return sq_fail(SQ_ERR_UNSUPPORTED, "%s: data in another file is not supported", what);
    if (p->segment)
        return sq_fail(SQ_ERR_UNSUPPORTED, "%s: segmented data is not supported", what);
    if (p->n_dims > SQ_MAX_RANK)
        return sq_fail(SQ_ERR_CONFIG, "%s: rank %zu is above %d", what, p->n_dims, SQ_MAX_RANK);
    nn_tensor t = {0};
    sq_status rc = nn_tensor_shape(&t, type, (int)p->n_dims, p->dims, limit, what);
    if (rc != SQ_OK)
        return rc;
    size_t bytes = (size_t)t.count * nn_type_size(type);
    if (p->has_raw_data ? p->raw_data.len != bytes : listed(p, type) != (size_t)t.count)
        return sq_fail(SQ_ERR_CONFIG, "%s: holds %zu %s where its shape needs %zu", what,
                       p->has_raw_data ? p->raw_data.len : listed(p, type),
                       p->has_raw_data ? "bytes" : "elements",
                       p->has_raw_data ? bytes : (size_t)t.count);
    rc = nn_tensor_alloc(&t, what);
    if (rc != SQ_OK)
        return rc;
    if (!p->has_raw_data)
        copy_listed(p, &t);
    else if (bytes > 0)
        memcpy(t.data, p->raw_data.data, bytes);
    *out = t;
    return SQ_OK;
}
