/* The part of oneDNN that the engine uses, in one form for the 2.x and 3.x interfaces.
 *
 * In 2.x descriptors are structures and operations have descriptors of their own; in 3.x both are
 * opaque handles and primitive descriptors are made at once. dnnl2.c and dnnl3.c implement this
 * header; the compiler keeps one of them. Layouts are values of type nd_md that must be freed.
 * Everything is forward inference with user-managed scratchpads. Local. */
#ifndef SQ_NN_DNNL_COMPAT_H
#define SQ_NN_DNNL_COMPAT_H

#include <dnnl.h>
#include <stdint.h>

#include "base/status.h"

typedef struct nd_md {
    dnnl_memory_desc_t d;
    int set;
} nd_md;

#if DNNL_VERSION_MAJOR >= 3
#define ND_PTR(m) ((m)->d)
#else
#define ND_PTR(m) (&(m)->d)
#endif

/* SQ_ERR_INTERNAL or SQ_ERR_NOMEM with `what`; SQ_ERR_UNSUPPORTED when oneDNN has no
 * implementation. */
sq_status nd_check(dnnl_status_t status, const char *what);

sq_status nd_md_tag(nd_md *out, int rank, const int64_t *dim, dnnl_data_type_t type,
                    dnnl_format_tag_t tag);
sq_status nd_md_strides(nd_md *out, int rank, const int64_t *dim, dnnl_data_type_t type,
                        const int64_t *stride);
/* A box of another layout; SQ_ERR_UNSUPPORTED when it does not begin and end on blocks. */
sq_status nd_md_box(nd_md *out, const nd_md *parent, const int64_t *dim, const int64_t *first);
/* Dimension i becomes dimension perm[i]. */
sq_status nd_md_permute(nd_md *out, const nd_md *in, const int *perm);
sq_status nd_md_copy(nd_md *out, const nd_md *in);
void nd_md_free(nd_md *md);
int nd_md_equal(const nd_md *a, const nd_md *b);
size_t nd_md_size(const nd_md *md);
dnnl_data_type_t nd_md_type(const nd_md *md);
sq_status nd_memory(const nd_md *md, dnnl_engine_t engine, void *data, dnnl_memory_t *out);

/* What is done to a result before it is stored. */
enum { ND_MAX_POST = 8 };
typedef enum nd_post_kind { ND_ELTWISE, ND_BINARY, ND_SUM } nd_post_kind;
typedef struct nd_post {
    int count;
    struct {
        nd_post_kind kind;
        dnnl_alg_kind_t alg;
        float alpha, beta;
        const nd_md *other; /* ND_BINARY */
    } op[ND_MAX_POST];
} nd_post;

typedef struct nd_window {
    int64_t kernel[DNNL_MAX_NDIMS], stride[DNNL_MAX_NDIMS];
    int64_t dilation[DNNL_MAX_NDIMS]; /* 0 is dense */
    int64_t begin[DNNL_MAX_NDIMS], end[DNNL_MAX_NDIMS];
} nd_window;

/* Each makes a primitive descriptor. bias may be NULL. */
sq_status nd_conv(dnnl_engine_t engine, int transposed, const nd_md *src, const nd_md *weights,
                  const nd_md *bias, const nd_md *dst, const nd_window *w, const nd_post *post,
                  dnnl_primitive_desc_t *out);
sq_status nd_pool(dnnl_engine_t engine, dnnl_alg_kind_t alg, const nd_md *src, const nd_md *dst,
                  const nd_window *w, dnnl_primitive_desc_t *out);
sq_status nd_eltwise(dnnl_engine_t engine, dnnl_alg_kind_t alg, float alpha, float beta,
                     const nd_md *data, dnnl_primitive_desc_t *out);
sq_status nd_binary(dnnl_engine_t engine, dnnl_alg_kind_t alg, const nd_md *a, const nd_md *b,
                    const nd_md *dst, const nd_post *post, dnnl_primitive_desc_t *out);
sq_status nd_resample(dnnl_engine_t engine, dnnl_alg_kind_t alg, const nd_md *src, const nd_md *dst,
                      dnnl_primitive_desc_t *out);
sq_status nd_softmax(dnnl_engine_t engine, int logarithm, const nd_md *src, const nd_md *dst,
                     int axis, dnnl_primitive_desc_t *out);
sq_status nd_matmul(dnnl_engine_t engine, const nd_md *a, const nd_md *b, const nd_md *bias,
                    const nd_md *dst, const nd_post *post, dnnl_primitive_desc_t *out);
sq_status nd_reorder(dnnl_engine_t engine, const nd_md *src, const nd_md *dst,
                     dnnl_primitive_desc_t *out);
sq_status nd_concat(dnnl_engine_t engine, int count, int axis, const nd_md *src, const nd_md *dst,
                    dnnl_primitive_desc_t *out);

/* A copy of a layout that the implementation chose: dnnl_query_src_md, dnnl_query_weights_md ... */
sq_status nd_query(dnnl_primitive_desc_t pd, dnnl_query_t what, int index, nd_md *out);
/* The implementation's name, "jit:avx512_core" and such; "" when unknown. */
const char *nd_implementation(dnnl_primitive_desc_t pd);
/* 1: a generic implementation that is many times slower than the others. */
int nd_is_slow(dnnl_primitive_desc_t pd);

/* Attributes shared by every primitive (internal to dnnl2.c and dnnl3.c). */
sq_status nd_attributes(const nd_post *post, dnnl_primitive_attr_t *out);

#endif
