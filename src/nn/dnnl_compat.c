/* What 2.x and 3.x have in common. */
#include "nn/dnnl_compat.h"

#include <string.h>

sq_status nd_check(dnnl_status_t status, const char *what)
{
    switch (status) {
    case dnnl_success:
        return SQ_OK;
    case dnnl_out_of_memory:
        return sq_fail(SQ_ERR_NOMEM, "oneDNN: %s: out of memory", what);
    case dnnl_unimplemented:
        return sq_fail(SQ_ERR_UNSUPPORTED, "oneDNN: %s: not implemented", what);
    case dnnl_invalid_arguments:
        return sq_fail(SQ_ERR_UNSUPPORTED, "oneDNN: %s: arguments not accepted", what);
    default:
        return sq_fail(SQ_ERR_INTERNAL, "oneDNN: %s: status %d", what, (int)status);
    }
}

sq_status nd_memory(const nd_md *md, dnnl_engine_t engine, void *data, dnnl_memory_t *out)
{
    return nd_check(dnnl_memory_create(out, ND_PTR(md), engine, data), "memory");
}

int nd_md_equal(const nd_md *a, const nd_md *b)
{
    return dnnl_memory_desc_equal(ND_PTR(a), ND_PTR(b));
}

size_t nd_md_size(const nd_md *md)
{
    return dnnl_memory_desc_get_size(ND_PTR(md));
}

const char *nd_implementation(dnnl_primitive_desc_t pd)
{
    const char *name = NULL;
    if (dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name) != dnnl_success)
        return "";
    return name ? name : "";
}

int nd_is_slow(dnnl_primitive_desc_t pd)
{
    return strncmp(nd_implementation(pd), "ref", 3) == 0;
}

static sq_status append(dnnl_post_ops_t ops, const nd_post *post, int i)
{
    switch (post->op[i].kind) {
    case ND_ELTWISE:
#if DNNL_VERSION_MAJOR >= 3
        return nd_check(
            dnnl_post_ops_append_eltwise(ops, post->op[i].alg, post->op[i].alpha, post->op[i].beta),
            "post-op");
#else
        return nd_check(dnnl_post_ops_append_eltwise(ops, 1.0f, post->op[i].alg, post->op[i].alpha,
                                                     post->op[i].beta),
                        "post-op");
#endif
    case ND_BINARY:
        return nd_check(
            dnnl_post_ops_append_binary(ops, post->op[i].alg, ND_PTR(post->op[i].other)),
            "post-op");
    default:
#if DNNL_VERSION_MAJOR >= 3
        return nd_check(dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef), "post-op");
#else
        return nd_check(dnnl_post_ops_append_sum(ops, 1.0f), "post-op");
#endif
    }
}

sq_status nd_attributes(const nd_post *post, dnnl_primitive_attr_t *out)
{
    dnnl_post_ops_t ops = NULL;
    sq_status rc;
    *out = NULL;
    SQ_TRY(nd_check(dnnl_primitive_attr_create(out), "attributes"));
    SQ_TRY(nd_check(dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user),
                    "attributes"));
    if (post && post->count > 0) {
        SQ_TRY(nd_check(dnnl_post_ops_create(&ops), "post-ops"));
        for (int i = 0; i < post->count; i++)
            SQ_TRY(append(ops, post, i));
        SQ_TRY(nd_check(dnnl_primitive_attr_set_post_ops(*out, ops), "post-ops"));
    }
cleanup:
    dnnl_post_ops_destroy(ops);
    if (rc != SQ_OK) {
        dnnl_primitive_attr_destroy(*out);
        *out = NULL;
    }
    return rc;
}
