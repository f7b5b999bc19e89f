/* Elementwise operators, BatchNormalization that no convolution took in, Softmax, pooling and
 * resampling: all keep the layout in which their input comes. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "nn/engine.h"

static sq_status home_md(sq_engine *e, int value, int *view, nd_md *md)
{
    sq_status rc = ex_home(e, value, view);
    if (rc == SQ_OK && !e->view[*view].md.set)
        return SQ_ERR_UNSUPPORTED;
    return rc == SQ_OK ? nd_md_copy(md, &e->view[*view].md) : rc;
}

sq_status ex_compile_unary(sq_engine *e, int index)
{
    static const int name[2] = {DNNL_ARG_SRC, DNNL_ARG_DST};
    const fx_node *f = &e->fused[index];
    const nn_node *node = &e->model->node[index];
    dnnl_alg_kind_t alg;
    float alpha, beta;
    dnnl_primitive_desc_t pd = NULL;
    nd_md md = {0};
    nn_call call;
    int view[2];
    sq_status rc;
    ex_call(e, index, &call);
    if (f->posts > 0) { /* x * sigmoid(x) */
        alg = f->post[0].alg;
        alpha = f->post[0].alpha;
        beta = f->post[0].beta;
    } else if (!fx_is_activation(&call, &alg, &alpha, &beta)) {
        return SQ_ERR_UNSUPPORTED;
    }
    SQ_TRY(home_md(e, node->in[0], &view[0], &md));
    SQ_TRY(nd_eltwise(e->dnnl, alg, alpha, beta, &md, &pd));
    SQ_TRY(ex_new_view(e, call.out[0], &md, &view[1]));
    SQ_TRY(ex_add_primitive(e, pd, 2, name, view, 0));
    e->home[f->output] = view[1];
cleanup:
    dnnl_primitive_desc_destroy(pd);
    nd_md_free(&md);
    return rc;
}

static int same_shape(const nn_tensor *a, const nn_tensor *b)
{
    return a->rank == b->rank && memcmp(a->dim, b->dim, (size_t)a->rank * sizeof *a->dim) == 0;
}

/* A value that is repeated along dimensions: its plain data with leading dimensions of 1. */
static sq_status repeated(sq_engine *e, int value, int rank, dnnl_data_type_t type, int *view)
{
    const nn_tensor *t = ex_shape(e, value);
    nn_tensor shape = {.type = NN_F32, .rank = rank, .count = t->count};
    nd_md md = {0};
    int plain;
    sq_status rc;
    for (int i = 0; i < rank; i++)
        shape.dim[i] = i < rank - t->rank ? 1 : t->dim[i - (rank - t->rank)];
    SQ_TRY(ex_plain(e, value, type, &plain));
    SQ_TRY(ex_plain_md(&shape, type, &md));
    SQ_TRY(ex_alias_view(e, e->view[plain].buffer, e->view[plain].offset, &shape, &md, view));
cleanup:
    nd_md_free(&md);
    return rc;
}

/* Which operand is the whole one, and the layout of the operation. */
static sq_status order_operands(sq_engine *e, int code, const nn_tensor *out, int *a, int *b,
                                int *whole)
{
    int commutes = code == NN_EW_ADD || code == NN_EW_MUL;
    int swap = !same_shape(ex_shape(e, *a), out) ||
               (ex_shape(e, *a)->data && same_shape(ex_shape(e, *b), out));
    if (swap && commutes) {
        int t = *a;
        *a = *b;
        *b = t;
    }
    *whole = same_shape(ex_shape(e, *b), out);
    return same_shape(ex_shape(e, *a), out) ? SQ_OK : SQ_ERR_UNSUPPORTED;
}

/* The layout in which a binary operation runs: that of its first operand, or of the second when the
 * first is plain. */
static sq_status binary_layout(sq_engine *e, int a, int b, int whole, nd_md *md)
{
    nd_md plain = {0}, other = {0};
    int view;
    sq_status rc;
    SQ_TRY(home_md(e, a, &view, md));
    if (!whole)
        goto cleanup;
    SQ_TRY(ex_plain_md(ex_shape(e, a), nd_md_type(md), &plain));
    SQ_TRY(home_md(e, b, &view, &other));
    if (nd_md_equal(md, &plain) && !ex_shape(e, b)->data) {
        nd_md_free(md);
        SQ_TRY(nd_md_copy(md, &other));
    }
cleanup:
    nd_md_free(&plain);
    nd_md_free(&other);
    return rc;
}

static sq_status describe_binary(sq_engine *e, const fx_node *f, dnnl_alg_kind_t alg,
                                 const nd_md *a, const nd_md *b, int *posts,
                                 dnnl_primitive_desc_t *pd)
{
    nd_post post = {0};
    for (int i = 0; i < f->posts; i++) {
        post.op[i].kind = ND_ELTWISE;
        post.op[i].alg = f->post[i].alg;
        post.op[i].alpha = f->post[i].alpha;
        post.op[i].beta = f->post[i].beta;
        post.count++;
    }
    *posts = post.count;
    sq_status rc = nd_binary(e->dnnl, alg, a, b, a, &post, pd);
    if (rc != SQ_ERR_UNSUPPORTED || *posts == 0)
        return rc;
    *posts = 0;
    return nd_binary(e->dnnl, alg, a, b, a, NULL, pd);
}

sq_status ex_compile_binary(sq_engine *e, int index)
{
    static const dnnl_alg_kind_t algs[] = {dnnl_binary_add, dnnl_binary_sub, dnnl_binary_mul,
                                           dnnl_binary_div};
    static const int name[3] = {DNNL_ARG_SRC_0, DNNL_ARG_SRC_1, DNNL_ARG_DST};
    const nn_node *node = &e->model->node[index];
    const nn_tensor *out = ex_shape(e, node->out[0]);
    int a = node->in[0], b = node->in[1], whole, posts, view[3];
    dnnl_primitive_desc_t pd = NULL;
    nd_md md = {0};
    sq_status rc;
    SQ_TRY(order_operands(e, node->op->code, out, &a, &b, &whole));
    SQ_TRY(binary_layout(e, a, b, whole, &md));
    SQ_TRY(ex_in_layout(e, a, &md, &view[0]));
    if (whole)
        SQ_TRY(ex_in_layout(e, b, &md, &view[1]));
    else
        SQ_TRY(repeated(e, b, ex_dnnl_rank(out), nd_md_type(&md), &view[1]));
    SQ_TRY(describe_binary(e, &e->fused[index], algs[node->op->code - NN_EW_ADD], &md,
                           &e->view[view[1]].md, &posts, &pd));
    SQ_TRY(ex_new_view(e, out, &md, &view[2]));
    SQ_TRY(ex_add_primitive(e, pd, 3, name, view, 0));
    SQ_TRY(ex_apply_posts(e, &e->fused[index], posts, view[2]));
cleanup:
    dnnl_primitive_desc_destroy(pd);
    nd_md_free(&md);
    return rc;
}

/* One constant a channel as a view that repeats over the rest. */
static sq_status channel_constant(sq_engine *e, const nn_tensor *x, const double *value, int *view)
{
    nn_tensor t = {0};
    nd_md md = {0};
    int64_t dim[SQ_MAX_RANK];
    sq_status rc;
    for (int i = 0; i < x->rank; i++)
        dim[i] = i == 1 ? x->dim[1] : 1;
    SQ_TRY(nn_tensor_shape(&t, NN_F32, x->rank, dim, INT32_MAX, "channels"));
    SQ_TRY(nn_tensor_alloc(&t, "channels"));
    for (int64_t c = 0; c < x->dim[1]; c++)
        ((float *)t.data)[c] = (float)value[c];
    SQ_TRY(ex_plain_md(&t, dnnl_f32, &md));
    SQ_TRY(ex_constant(e, &t, &md, &md, view));
cleanup:
    nd_md_free(&md);
    nn_tensor_free(&t);
    return rc;
}

sq_status ex_compile_batchnorm(sq_engine *e, int index)
{
    static const int name[3] = {DNNL_ARG_SRC_0, DNNL_ARG_SRC_1, DNNL_ARG_DST};
    double *value[2] = {NULL, NULL}, epsilon;
    dnnl_primitive_desc_t pd = NULL;
    nd_md md = {0};
    nn_call call;
    int view[3], from;
    sq_status rc;
    ex_call(e, index, &call);
    for (int i = 1; i < 5; i++) {
        if (!call.in[i]->data)
            return SQ_ERR_UNSUPPORTED;
    }
    int64_t channels = call.in[0]->dim[1];
    SQ_TRY(nn_float(&call, "epsilon", 1e-5, &epsilon));
    SQ_TRY(SQ_ALLOC(value[0], channels, "channels"));
    SQ_TRY(SQ_ALLOC(value[1], channels, "channels"));
    for (int64_t c = 0; c < channels; c++) {
        value[0][c] = nn_get(call.in[1], c) / sqrt(nn_get(call.in[4], c) + epsilon);
        value[1][c] = nn_get(call.in[2], c) - nn_get(call.in[3], c) * value[0][c];
    }
    SQ_TRY(home_md(e, call.node->in[0], &from, &md));
    SQ_TRY(ex_new_view(e, call.out[0], &md, &view[2]));
    for (int i = 0; i < 2; i++) {
        view[0] = i == 0 ? from : view[2];
        SQ_TRY(channel_constant(e, call.in[0], value[i], &view[1]));
        SQ_TRY(nd_binary(e->dnnl, i == 0 ? dnnl_binary_mul : dnnl_binary_add, &md,
                         &e->view[view[1]].md, &md, NULL, &pd));
        SQ_TRY(ex_add_primitive(e, pd, 3, name, view, 0));
        dnnl_primitive_desc_destroy(pd);
        pd = NULL;
    }
    e->home[call.node->out[0]] = view[2];
cleanup:
    dnnl_primitive_desc_destroy(pd);
    nd_md_free(&md);
    sq_free(value[0]);
    sq_free(value[1]);
    return rc;
}

/* Finish an operation with one input and one output. */
static sq_status add_simple(sq_engine *e, int value, dnnl_primitive_desc_t pd)
{
    static const int name[2] = {DNNL_ARG_SRC, DNNL_ARG_DST};
    const nn_node *node = &e->model->node[e->now];
    nd_md src = {0}, dst = {0};
    int view[2];
    sq_status rc;
    SQ_TRY(nd_query(pd, dnnl_query_src_md, 0, &src));
    SQ_TRY(nd_query(pd, dnnl_query_dst_md, 0, &dst));
    SQ_TRY(ex_in_layout(e, value, &src, &view[0]));
    SQ_TRY(ex_new_view(e, ex_shape(e, node->out[0]), &dst, &view[1]));
    SQ_TRY(ex_add_primitive(e, pd, 2, name, view, 0));
    e->home[node->out[0]] = view[1];
cleanup:
    nd_md_free(&src);
    nd_md_free(&dst);
    return rc;
}

sq_status ex_compile_softmax(sq_engine *e, int index)
{
    const nn_node *node = &e->model->node[index];
    const nn_tensor *x = ex_shape(e, node->in[0]);
    dnnl_primitive_desc_t pd = NULL;
    nd_md md = {0};
    nn_call call;
    int64_t value;
    int axis, flat = e->model->opset < 13;
    sq_status rc;
    ex_call(e, index, &call);
    SQ_TRY(nn_int(&call, "axis", flat ? 1 : -1, &value));
    if (x->rank == 0)
        return SQ_ERR_UNSUPPORTED;
    SQ_TRY(nn_axis(&call, value, x->rank, &axis));
    if (flat && axis != x->rank - 1)
        return SQ_ERR_UNSUPPORTED;
    SQ_TRY(ex_plain_md(x, dnnl_f32, &md));
    SQ_TRY(nd_softmax(e->dnnl, strcmp(node->op_name, "LogSoftmax") == 0, &md, &md, axis, &pd));
    SQ_TRY(add_simple(e, node->in[0], pd));
cleanup:
    dnnl_primitive_desc_destroy(pd);
    nd_md_free(&md);
    return rc;
}

static sq_status pool(sq_engine *e, int index, dnnl_alg_kind_t alg, const nd_window *w)
{
    const nn_node *node = &e->model->node[index];
    dnnl_primitive_desc_t pd = NULL;
    nd_md src = {0}, dst = {0};
    int view;
    sq_status rc;
    SQ_TRY(home_md(e, node->in[0], &view, &src));
    SQ_TRY(ex_any_md(ex_shape(e, node->out[0]), nd_md_type(&src), &dst));
    SQ_TRY(nd_pool(e->dnnl, alg, &src, &dst, w, &pd));
    SQ_TRY(add_simple(e, node->in[0], pd));
cleanup:
    dnnl_primitive_desc_destroy(pd);
    nd_md_free(&src);
    nd_md_free(&dst);
    return rc;
}

sq_status ex_compile_pool(sq_engine *e, int index)
{
    nn_window w;
    nd_window d;
    nn_call call;
    int max = strcmp(e->model->node[index].op_name, "MaxPool") == 0;
    ex_call(e, index, &call);
    sq_status rc = nn_pool_window(&call, &w);
    if (rc != SQ_OK)
        return rc;
    memset(&d, 0, sizeof d);
    for (int i = 0; i < w.n; i++) {
        int64_t extent = (w.kernel[i] - 1) * w.dilation[i] + 1;
        int64_t end = (w.out[i] - 1) * w.stride[i] + extent - w.in[i] - w.begin[i];
        if (w.begin[i] >= extent || end >= extent ||
            (!max && w.count_include_pad && end > w.end[i]))
            return SQ_ERR_UNSUPPORTED;
        d.kernel[i] = w.kernel[i];
        d.stride[i] = w.stride[i];
        d.dilation[i] = w.dilation[i] - 1;
        d.begin[i] = w.begin[i];
        d.end[i] = end;
    }
    return pool(e, index,
                max                   ? dnnl_pooling_max
                : w.count_include_pad ? dnnl_pooling_avg_include_padding
                                      : dnnl_pooling_avg_exclude_padding,
                &d);
}

/* Means over exactly the spatial dimensions. */
sq_status ex_compile_mean(sq_engine *e, int index)
{
    nn_call call;
    nd_window d;
    unsigned char axis[SQ_MAX_RANK];
    int keep;
    ex_call(e, index, &call);
    const nn_tensor *x = call.in[0];
    if (x->rank < 3 || x->rank > 5)
        return SQ_ERR_UNSUPPORTED;
    if (strcmp(call.node->op_name, "ReduceMean") == 0) {
        sq_status rc = nn_reduce_axes(&call, axis, &keep);
        if (rc != SQ_OK)
            return rc;
        for (int i = 0; i < x->rank; i++) {
            if (axis[i] != (i >= 2) || !keep)
                return SQ_ERR_UNSUPPORTED;
        }
    }
    memset(&d, 0, sizeof d);
    for (int i = 2; i < x->rank; i++) {
        d.kernel[i - 2] = x->dim[i];
        d.stride[i - 2] = 1;
    }
    return pool(e, index, dnnl_pooling_avg_exclude_padding, &d);
}

/* oneDNN's nearest neighbour is ONNX's for whole factors; its linear interpolation is the
 * half-pixel one. */
static int resample_fits(const nn_tensor *x, const nn_resize *r)
{
    int nearest = r->mode == 0 &&
                  ((r->coordinate == NN_ASYMMETRIC && r->nearest == NN_FLOOR) ||
                   ((r->coordinate == NN_HALF_PIXEL || r->coordinate == NN_PYTORCH_HALF_PIXEL) &&
                    r->nearest <= NN_ROUND_PREFER_CEIL));
    int linear = r->mode == 1 && !r->exclude_outside &&
                 (r->coordinate == NN_HALF_PIXEL || r->coordinate == NN_PYTORCH_HALF_PIXEL);
    if ((!nearest && !linear) || x->rank < 3 || x->rank > 5)
        return 0;
    for (int i = 0; i < x->rank; i++) {
        double exact = (double)r->out[i] / (double)x->dim[i];
        if ((i < 2 && r->out[i] != x->dim[i]) || exact != r->scale[i] ||
            (nearest && exact != floor(exact)) ||
            (linear && r->coordinate == NN_PYTORCH_HALF_PIXEL && r->out[i] == 1))
            return 0;
    }
    return 1;
}

sq_status ex_compile_resize(sq_engine *e, int index)
{
    const nn_node *node = &e->model->node[index];
    dnnl_primitive_desc_t pd = NULL;
    nd_md src = {0}, dst = {0};
    nn_resize r;
    nn_call call;
    int view;
    sq_status rc;
    ex_call(e, index, &call);
    SQ_TRY(nn_resize_plan(&call, &r));
    if (!resample_fits(call.in[0], &r))
        return SQ_ERR_UNSUPPORTED;
    SQ_TRY(home_md(e, node->in[0], &view, &src));
    SQ_TRY(ex_any_md(call.out[0], nd_md_type(&src), &dst));
    SQ_TRY(nd_resample(e->dnnl, r.mode == 0 ? dnnl_resampling_nearest : dnnl_resampling_linear,
                       &src, &dst, &pd));
    SQ_TRY(add_simple(e, node->in[0], pd));
cleanup:
    dnnl_primitive_desc_destroy(pd);
    nd_md_free(&src);
    nd_md_free(&dst);
    return rc;
}
