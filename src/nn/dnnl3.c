/* oneDNN 3.x. */
#include "nn/dnnl_compat.h"

#if DNNL_VERSION_MAJOR >= 3

sq_status nd_md_tag(nd_md *out, int rank, const int64_t *dim, dnnl_data_type_t type,
                    dnnl_format_tag_t tag)
{
    sq_status rc =
        nd_check(dnnl_memory_desc_create_with_tag(&out->d, rank, dim, type, tag), "layout");
    out->set = rc == SQ_OK;
    return rc;
}

sq_status nd_md_strides(nd_md *out, int rank, const int64_t *dim, dnnl_data_type_t type,
                        const int64_t *stride)
{
    sq_status rc =
        nd_check(dnnl_memory_desc_create_with_strides(&out->d, rank, dim, type, stride), "layout");
    out->set = rc == SQ_OK;
    return rc;
}

sq_status nd_md_box(nd_md *out, const nd_md *parent, const int64_t *dim, const int64_t *first)
{
    sq_status rc =
        nd_check(dnnl_memory_desc_create_submemory(&out->d, parent->d, dim, first), "box");
    out->set = rc == SQ_OK;
    return rc;
}

sq_status nd_md_permute(nd_md *out, const nd_md *in, const int *perm)
{
    sq_status rc = nd_check(dnnl_memory_desc_permute_axes(&out->d, in->d, perm), "permutation");
    out->set = rc == SQ_OK;
    return rc;
}

sq_status nd_md_copy(nd_md *out, const nd_md *in)
{
    out->set = 0;
    if (!in->set)
        return SQ_OK;
    sq_status rc = nd_check(dnnl_memory_desc_clone(&out->d, in->d), "layout");
    out->set = rc == SQ_OK;
    return rc;
}

void nd_md_free(nd_md *md)
{
    if (md->set)
        dnnl_memory_desc_destroy(md->d);
    md->set = 0;
}

dnnl_data_type_t nd_md_type(const nd_md *md)
{
    dnnl_data_type_t type = dnnl_data_type_undef;
    dnnl_memory_desc_query(md->d, dnnl_query_data_type, &type);
    return type;
}

/* Make attributes, run `call` with them as `attr`, release them. */
#define WITH_ATTRIBUTES(post, what, call)                                                          \
    do {                                                                                           \
        dnnl_primitive_attr_t attr = NULL;                                                         \
        *out = NULL;                                                                               \
        sq_status rc_ = nd_attributes(post, &attr);                                                \
        if (rc_ == SQ_OK)                                                                          \
            rc_ = nd_check(call, what);                                                            \
        dnnl_primitive_attr_destroy(attr);                                                         \
        return rc_;                                                                                \
    } while (0)

sq_status nd_conv(dnnl_engine_t engine, int transposed, const nd_md *src, const nd_md *weights,
                  const nd_md *bias, const nd_md *dst, const nd_window *w, const nd_post *post,
                  dnnl_primitive_desc_t *out)
{
    dnnl_memory_desc_t b = bias ? bias->d : NULL;
    WITH_ATTRIBUTES(
        post, "convolution",
        transposed ? dnnl_deconvolution_forward_primitive_desc_create(
                         out, engine, dnnl_forward_inference, dnnl_deconvolution_direct, src->d,
                         weights->d, b, dst->d, w->stride, w->dilation, w->begin, w->end, attr)
                   : dnnl_convolution_forward_primitive_desc_create(
                         out, engine, dnnl_forward_inference, dnnl_convolution_direct, src->d,
                         weights->d, b, dst->d, w->stride, w->dilation, w->begin, w->end, attr));
}

sq_status nd_pool(dnnl_engine_t engine, dnnl_alg_kind_t alg, const nd_md *src, const nd_md *dst,
                  const nd_window *w, dnnl_primitive_desc_t *out)
{
    WITH_ATTRIBUTES(NULL, "pooling",
                    dnnl_pooling_forward_primitive_desc_create(
                        out, engine, dnnl_forward_inference, alg, src->d, dst->d, w->stride,
                        w->kernel, w->dilation, w->begin, w->end, attr));
}

sq_status nd_eltwise(dnnl_engine_t engine, dnnl_alg_kind_t alg, float alpha, float beta,
                     const nd_md *data, dnnl_primitive_desc_t *out)
{
    WITH_ATTRIBUTES(NULL, "elementwise",
                    dnnl_eltwise_forward_primitive_desc_create(out, engine, dnnl_forward_inference,
                                                               alg, data->d, data->d, alpha, beta,
                                                               attr));
}

sq_status nd_binary(dnnl_engine_t engine, dnnl_alg_kind_t alg, const nd_md *a, const nd_md *b,
                    const nd_md *dst, const nd_post *post, dnnl_primitive_desc_t *out)
{
    WITH_ATTRIBUTES(post, "binary",
                    dnnl_binary_primitive_desc_create(out, engine, alg, a->d, b->d, dst->d, attr));
}

sq_status nd_resample(dnnl_engine_t engine, dnnl_alg_kind_t alg, const nd_md *src, const nd_md *dst,
                      dnnl_primitive_desc_t *out)
{
    WITH_ATTRIBUTES(NULL, "resampling",
                    dnnl_resampling_forward_primitive_desc_create(
                        out, engine, dnnl_forward_inference, alg, NULL, src->d, dst->d, attr));
}

sq_status nd_softmax(dnnl_engine_t engine, int logarithm, const nd_md *src, const nd_md *dst,
                     int axis, dnnl_primitive_desc_t *out)
{
    WITH_ATTRIBUTES(NULL, "softmax",
                    dnnl_softmax_forward_primitive_desc_create(out, engine, dnnl_forward_inference,
                                                               logarithm ? dnnl_softmax_log
                                                                         : dnnl_softmax_accurate,
                                                               src->d, dst->d, axis, attr));
}

sq_status nd_matmul(dnnl_engine_t engine, const nd_md *a, const nd_md *b, const nd_md *bias,
                    const nd_md *dst, const nd_post *post, dnnl_primitive_desc_t *out)
{
    WITH_ATTRIBUTES(post, "product",
                    dnnl_matmul_primitive_desc_create(out, engine, a->d, b->d,
                                                      bias ? bias->d : NULL, dst->d, attr));
}

sq_status nd_reorder(dnnl_engine_t engine, const nd_md *src, const nd_md *dst,
                     dnnl_primitive_desc_t *out)
{
    WITH_ATTRIBUTES(NULL, "reorder",
                    dnnl_reorder_primitive_desc_create(out, src->d, engine, dst->d, engine, attr));
}

sq_status nd_concat(dnnl_engine_t engine, int count, int axis, const nd_md *src, const nd_md *dst,
                    dnnl_primitive_desc_t *out)
{
    const_dnnl_memory_desc_t list[64];
    for (int i = 0; i < count; i++)
        list[i] = src[i].d;
    WITH_ATTRIBUTES(
        NULL, "concatenation",
        dnnl_concat_primitive_desc_create(out, engine, dst->d, count, axis, list, attr));
}

sq_status nd_query(dnnl_primitive_desc_t pd, dnnl_query_t what, int index, nd_md *out)
{
    const_dnnl_memory_desc_t md = dnnl_primitive_desc_query_md(pd, what, index);
    if (!md)
        return sq_fail(SQ_ERR_INTERNAL, "oneDNN: a primitive without a layout");
    sq_status rc = nd_check(dnnl_memory_desc_clone(&out->d, md), "layout");
    out->set = rc == SQ_OK;
    return rc;
}

#else
typedef int nd_not_this_version; /* a translation unit may not be empty */
#endif
