/* oneDNN 2.x. */
#include "nn/dnnl_compat.h"

#if DNNL_VERSION_MAJOR < 3

sq_status nd_md_tag(nd_md *out, int rank, const int64_t *dim, dnnl_data_type_t type,
                    dnnl_format_tag_t tag)
{
    out->set = 1;
    return nd_check(dnnl_memory_desc_init_by_tag(&out->d, rank, dim, type, tag), "layout");
}

sq_status nd_md_strides(nd_md *out, int rank, const int64_t *dim, dnnl_data_type_t type,
                        const int64_t *stride)
{
    out->set = 1;
    return nd_check(dnnl_memory_desc_init_by_strides(&out->d, rank, dim, type, stride), "layout");
}

sq_status nd_md_box(nd_md *out, const nd_md *parent, const int64_t *dim, const int64_t *first)
{
    out->set = 1;
    return nd_check(dnnl_memory_desc_init_submemory(&out->d, &parent->d, dim, first), "box");
}

sq_status nd_md_permute(nd_md *out, const nd_md *in, const int *perm)
{
    out->set = 1;
    return nd_check(dnnl_memory_desc_permute_axes(&out->d, &in->d, perm), "permutation");
}

sq_status nd_md_copy(nd_md *out, const nd_md *in)
{
    *out = *in;
    return SQ_OK;
}

void nd_md_free(nd_md *md)
{
    md->set = 0;
}

dnnl_data_type_t nd_md_type(const nd_md *md)
{
    return md->d.data_type;
}

static sq_status make(const_dnnl_op_desc_t desc, const nd_post *post, dnnl_engine_t engine,
                      const char *what, dnnl_primitive_desc_t *out)
{
    dnnl_primitive_attr_t attr = NULL;
    *out = NULL;
    sq_status rc = nd_attributes(post, &attr);
    if (rc == SQ_OK)
        rc = nd_check(dnnl_primitive_desc_create(out, desc, attr, engine, NULL), what);
    dnnl_primitive_attr_destroy(attr);
    return rc;
}

sq_status nd_conv(dnnl_engine_t engine, int transposed, const nd_md *src, const nd_md *weights,
                  const nd_md *bias, const nd_md *dst, const nd_window *w, const nd_post *post,
                  dnnl_primitive_desc_t *out)
{
    dnnl_convolution_desc_t desc;
    dnnl_status_t status;
    if (transposed)
        status = dnnl_dilated_deconvolution_forward_desc_init(
            &desc, dnnl_forward_inference, dnnl_deconvolution_direct, &src->d, &weights->d,
            bias ? &bias->d : NULL, &dst->d, w->stride, w->dilation, w->begin, w->end);
    else
        status = dnnl_dilated_convolution_forward_desc_init(
            &desc, dnnl_forward_inference, dnnl_convolution_direct, &src->d, &weights->d,
            bias ? &bias->d : NULL, &dst->d, w->stride, w->dilation, w->begin, w->end);
    sq_status rc = nd_check(status, "convolution");
    return rc == SQ_OK ? make(&desc, post, engine, "convolution", out) : rc;
}

sq_status nd_pool(dnnl_engine_t engine, dnnl_alg_kind_t alg, const nd_md *src, const nd_md *dst,
                  const nd_window *w, dnnl_primitive_desc_t *out)
{
    dnnl_pooling_v2_desc_t desc;
    sq_status rc = nd_check(
        dnnl_pooling_v2_forward_desc_init(&desc, dnnl_forward_inference, alg, &src->d, &dst->d,
                                          w->stride, w->kernel, w->dilation, w->begin, w->end),
        "pooling");
    return rc == SQ_OK ? make(&desc, NULL, engine, "pooling", out) : rc;
}

sq_status nd_eltwise(dnnl_engine_t engine, dnnl_alg_kind_t alg, float alpha, float beta,
                     const nd_md *data, dnnl_primitive_desc_t *out)
{
    dnnl_eltwise_desc_t desc;
    sq_status rc = nd_check(
        dnnl_eltwise_forward_desc_init(&desc, dnnl_forward_inference, alg, &data->d, alpha, beta),
        "elementwise");
    return rc == SQ_OK ? make(&desc, NULL, engine, "elementwise", out) : rc;
}

sq_status nd_binary(dnnl_engine_t engine, dnnl_alg_kind_t alg, const nd_md *a, const nd_md *b,
                    const nd_md *dst, const nd_post *post, dnnl_primitive_desc_t *out)
{
    dnnl_binary_desc_t desc;
    sq_status rc = nd_check(dnnl_binary_desc_init(&desc, alg, &a->d, &b->d, &dst->d), "binary");
    return rc == SQ_OK ? make(&desc, post, engine, "binary", out) : rc;
}

sq_status nd_resample(dnnl_engine_t engine, dnnl_alg_kind_t alg, const nd_md *src, const nd_md *dst,
                      dnnl_primitive_desc_t *out)
{
    dnnl_resampling_desc_t desc;
    sq_status rc = nd_check(dnnl_resampling_forward_desc_init(&desc, dnnl_forward_inference, alg,
                                                              NULL, &src->d, &dst->d),
                            "resampling");
    return rc == SQ_OK ? make(&desc, NULL, engine, "resampling", out) : rc;
}

sq_status nd_softmax(dnnl_engine_t engine, int logarithm, const nd_md *src, const nd_md *dst,
                     int axis, dnnl_primitive_desc_t *out)
{
    dnnl_softmax_v2_desc_t desc;
    sq_status rc =
        nd_check(dnnl_softmax_v2_forward_desc_init(
                     &desc, dnnl_forward_inference,
                     logarithm ? dnnl_softmax_log : dnnl_softmax_accurate, &src->d, &dst->d, axis),
                 "softmax");
    return rc == SQ_OK ? make(&desc, NULL, engine, "softmax", out) : rc;
}

sq_status nd_matmul(dnnl_engine_t engine, const nd_md *a, const nd_md *b, const nd_md *bias,
                    const nd_md *dst, const nd_post *post, dnnl_primitive_desc_t *out)
{
    dnnl_matmul_desc_t desc;
    sq_status rc = nd_check(
        dnnl_matmul_desc_init(&desc, &a->d, &b->d, bias ? &bias->d : NULL, &dst->d), "product");
    return rc == SQ_OK ? make(&desc, post, engine, "product", out) : rc;
}

sq_status nd_reorder(dnnl_engine_t engine, const nd_md *src, const nd_md *dst,
                     dnnl_primitive_desc_t *out)
{
    dnnl_primitive_attr_t attr = NULL;
    *out = NULL;
    sq_status rc = nd_attributes(NULL, &attr);
    if (rc == SQ_OK)
        rc = nd_check(
            dnnl_reorder_primitive_desc_create(out, &src->d, engine, &dst->d, engine, attr),
            "reorder");
    dnnl_primitive_attr_destroy(attr);
    return rc;
}

sq_status nd_concat(dnnl_engine_t engine, int count, int axis, const nd_md *src, const nd_md *dst,
                    dnnl_primitive_desc_t *out)
{
    dnnl_memory_desc_t list[64];
    dnnl_primitive_attr_t attr = NULL;
    *out = NULL;
    for (int i = 0; i < count; i++)
        list[i] = src[i].d;
    sq_status rc = nd_attributes(NULL, &attr);
    if (rc == SQ_OK)
        rc = nd_check(
            dnnl_concat_primitive_desc_create(out, &dst->d, count, axis, list, attr, engine),
            "concatenation");
    dnnl_primitive_attr_destroy(attr);
    return rc;
}

sq_status nd_query(dnnl_primitive_desc_t pd, dnnl_query_t what, int index, nd_md *out)
{
    const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(pd, what, index);
    if (!md)
        return sq_fail(SQ_ERR_INTERNAL, "oneDNN: a primitive without a layout");
    out->d = *md;
    out->set = 1;
    return SQ_OK;
}

#else
typedef int nd_not_this_version; /* a translation unit may not be empty */
#endif
