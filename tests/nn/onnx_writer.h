/* Writes ONNX files for tests, field by field in protobuf's wire format, so that well-formed and
 * hostile files are made without the code that is tested. */
#ifndef SQ_TESTS_NN_ONNX_WRITER_H
#define SQ_TESTS_NN_ONNX_WRITER_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bytes {
    unsigned char *data;
    size_t size, capacity;
} bytes;

static inline void put(bytes *b, const void *data, size_t size)
{
    if (b->size + size > b->capacity) {
        b->capacity = 2 * (b->size + size) + 64;
        b->data = realloc(b->data, b->capacity);
    }
    if (size > 0)
        memcpy(b->data + b->size, data, size);
    b->size += size;
}

static inline void put_varint(bytes *b, uint64_t v)
{
    do {
        unsigned char c = (unsigned char)((v & 127) | (v > 127 ? 128 : 0));
        put(b, &c, 1);
        v >>= 7;
    } while (v);
}

static inline void put_int(bytes *b, int field, int64_t v)
{
    put_varint(b, (uint64_t)field << 3);
    put_varint(b, (uint64_t)v);
}

static inline void put_float(bytes *b, int field, float v)
{
    put_varint(b, (uint64_t)field << 3 | 5);
    put(b, &v, 4);
}

static inline void put_data(bytes *b, int field, const void *data, size_t size)
{
    put_varint(b, (uint64_t)field << 3 | 2);
    put_varint(b, size);
    put(b, data, size);
}

static inline void put_text(bytes *b, int field, const char *text)
{
    put_data(b, field, text, strlen(text));
}

/* A message inside another; `inner` is freed. */
static inline void put_message(bytes *b, int field, bytes inner)
{
    put_data(b, field, inner.data, inner.size);
    free(inner.data);
}

/* ---- ONNX ---- */

enum { ONNX_FLOAT = 1, ONNX_INT64 = 7 };

static inline bytes tensor_proto(const char *name, int type, int rank, const int64_t *dim,
                                 const void *raw, size_t size)
{
    bytes t = {0};
    for (int i = 0; i < rank; i++)
        put_int(&t, 1, dim[i]);
    put_int(&t, 2, type);
    if (name)
        put_text(&t, 8, name);
    put_data(&t, 9, raw, size);
    return t;
}

static inline bytes value_info(const char *name, int type, int rank, const int64_t *dim)
{
    bytes shape = {0}, tensor = {0}, info = {0}, outer = {0};
    for (int i = 0; i < rank; i++) {
        bytes d = {0};
        if (dim[i] >= 0)
            put_int(&d, 1, dim[i]);
        else
            put_text(&d, 2, "n");
        put_message(&shape, 1, d);
    }
    put_int(&tensor, 1, type);
    put_message(&tensor, 2, shape);
    put_message(&outer, 1, tensor);
    put_text(&info, 1, name);
    put_message(&info, 2, outer);
    return info;
}

static inline bytes attr_int(const char *name, int64_t v)
{
    bytes a = {0};
    put_text(&a, 1, name);
    put_int(&a, 3, v);
    put_int(&a, 20, 2);
    return a;
}

static inline bytes attr_float(const char *name, float v)
{
    bytes a = {0};
    put_text(&a, 1, name);
    put_float(&a, 2, v);
    put_int(&a, 20, 1);
    return a;
}

static inline bytes attr_text(const char *name, const char *v)
{
    bytes a = {0};
    put_text(&a, 1, name);
    put_text(&a, 4, v);
    put_int(&a, 20, 3);
    return a;
}

static inline bytes attr_ints(const char *name, int count, const int64_t *v)
{
    bytes a = {0};
    put_text(&a, 1, name);
    for (int i = 0; i < count; i++)
        put_int(&a, 8, v[i]);
    put_int(&a, 20, 7);
    return a;
}

/* "in1,in2" and "out1,out2"; attributes are added with put_message(&node, 5, attr_...). */
static inline bytes node_proto(const char *op, const char *inputs, const char *outputs)
{
    bytes n = {0};
    const char *lists[2] = {inputs, outputs};
    for (int k = 0; k < 2; k++) {
        char copy[512], *rest = copy, *word;
        snprintf(copy, sizeof copy, "%s", lists[k]);
        while (copy[0] && (word = strsep(&rest, ",")) != NULL)
            put_text(&n, k + 1, word);
    }
    put_text(&n, 4, op);
    return n;
}

/* Wrap a graph; `graph` is freed. */
static inline bytes model_proto(bytes graph, int64_t opset)
{
    bytes m = {0}, id = {0};
    put_int(&m, 1, 8);
    put_int(&id, 2, opset);
    put_message(&m, 8, id);
    put_message(&m, 7, graph);
    return m;
}

#endif
