/* Convolutions, transposed convolutions and matrix products, with what was fused into them. */
#include <string.h>

#include "base/mem.h"
#include "nn/engine.h"

typedef struct conv {
    sq_engine *e;
    const fx_node *f;
    int transposed;
    nn_window w;
    nd_window window;
    nn_tensor weights, bias; /* folded; bias.data == NULL: none */
    nd_md any_src, any_weights, any_dst, plain_weights, bias_md;
    int64_t outputs;
    double flop;
    int other; /* view of the binary post-op's operand, -1: none */
    int other_post;
    int in_place; /* the operand's memory receives the result */
} conv;

static void free_conv(conv *c)
{
    nd_md_free(&c->any_src);
    nd_md_free(&c->any_weights);
    nd_md_free(&c->any_dst);
    nd_md_free(&c->plain_weights);
    nd_md_free(&c->bias_md);
    nn_tensor_free(&c->weights);
    nn_tensor_free(&c->bias);
}

/* Copies of weights and bias with the scales and shifts of the output channels taken in. */
static sq_status fold_weights(conv *c, const nn_tensor *w, const nn_tensor *b)
{
    const fx_node *f = c->f;
    sq_status rc = nn_tensor_copy(&c->weights, w, "folded weights");
    if (rc != SQ_OK)
        return rc;
    int64_t kernel = w->count / (w->dim[0] * w->dim[1]);
    float *data = c->weights.data;
    for (int64_t i = 0; f->scale && i < w->count; i++) {
        int64_t o = c->transposed
                        ? i / (kernel * w->dim[1] * (w->dim[0] / c->w.groups)) * w->dim[1] +
                              i / kernel % w->dim[1]
                        : i / (kernel * w->dim[1]);
        data[i] = (float)(data[i] * f->scale[o]);
    }
    if (!b && !f->shift)
        return SQ_OK;
    rc = nn_tensor_shape(&c->bias, NN_F32, 1, &c->outputs, INT32_MAX, "bias");
    if (rc == SQ_OK)
        rc = nn_tensor_alloc(&c->bias, "folded bias");
    for (int64_t o = 0; rc == SQ_OK && o < c->outputs; o++) {
        double value = b ? nn_get(b, o) : 0;
        ((float *)c->bias.data)[o] = (float)(f->scale ? value * f->scale[o] + f->shift[o] : value);
    }
    return rc;
}

/* oneDNN's weights are [groups,] outputs, inputs, kernel; ONNX's transposed ones come with inputs
 * first. */
static sq_status weight_layouts(conv *c)
{
    const nn_tensor *w = &c->weights;
    int64_t dim[DNNL_MAX_NDIMS], stride[DNNL_MAX_NDIMS], kernel = 1;
    int64_t g = c->w.groups, in = c->transposed ? w->dim[0] / g : w->dim[1], out = c->outputs / g;
    int n = 0, grouped = g > 1;
    for (int i = 2; i < w->rank; i++)
        kernel *= w->dim[i];
    if (grouped) {
        dim[n] = g;
        stride[n++] = in * out * kernel;
    }
    dim[n] = out;
    stride[n++] = c->transposed ? kernel : in * kernel;
    dim[n] = in;
    stride[n++] = c->transposed ? out * kernel : kernel;
    for (int i = 2; i < w->rank; i++) {
        kernel /= w->dim[i];
        dim[n] = w->dim[i];
        stride[n++] = kernel;
    }
    sq_status rc = nd_md_strides(&c->plain_weights, n, dim, dnnl_f32, stride);
    if (rc == SQ_OK)
        rc = nd_md_tag(&c->any_weights, n, dim, ex_float_type(c->e), dnnl_format_tag_any);
    return rc;
}

/* Whether a window has no tap on the image along some dimension, or some output of a transposed
 * convolution gets nothing because windows do not meet. oneDNN 2.6 follows null pointers in the one
 * (AMX) and writes outside its memory in the other. */
static int has_empty_window(const conv *c)
{
    for (int d = 0; d < c->w.n; d++) {
        int64_t in = c->w.in[d] - (c->f->pad_begin[d] + c->f->pad_end[d]);
        if (c->transposed && c->w.stride[d] > 1 &&
            (c->w.dilation[d] > 1 || c->w.kernel[d] < c->w.stride[d]))
            return 1;
        for (int64_t o = 0; !c->transposed && o < c->w.out[d]; o++) {
            int64_t at = o * c->w.stride[d] - c->window.begin[d], k = 0;
            while (k < c->w.kernel[d] && (at < 0 || at >= in)) {
                at += c->w.dilation[d];
                k++;
            }
            if (k == c->w.kernel[d])
                return 1;
        }
    }
    return 0;
}

static sq_status prepare(conv *c, sq_engine *e, int index)
{
    const nn_node *node = &e->model->node[index];
    nn_call call;
    sq_status rc;
    memset(c, 0, sizeof *c);
    c->e = e;
    c->f = &e->fused[index];
    c->other = -1;
    c->transposed = strcmp(node->op_name, "ConvTranspose") == 0;
    ex_call(e, index, &call);
    if (!call.in[1]->data || (call.in[2] && !call.in[2]->data))
        return SQ_ERR_UNSUPPORTED;
    SQ_TRY(c->transposed ? nn_deconv_window(&call, &c->w) : nn_conv_window(&call, &c->w));
    for (int i = 0; i < c->w.n; i++) {
        c->window.stride[i] = c->w.stride[i];
        c->window.dilation[i] = c->w.dilation[i] - 1;
        c->window.begin[i] = c->w.begin[i] + c->f->pad_begin[i];
        c->window.end[i] = c->w.end[i] + c->f->pad_end[i];
    }
    if (has_empty_window(c))
        return SQ_ERR_UNSUPPORTED;
    c->outputs = call.out[0]->dim[1];
    c->flop = 2.0 * (double)call.in[1]->count *
              (double)(c->transposed ? call.in[0]->count / call.in[0]->dim[1]
                                     : call.out[0]->count / c->outputs);
    SQ_TRY(fold_weights(c, call.in[1], call.in[2]));
    SQ_TRY(weight_layouts(c));
    SQ_TRY(ex_any_md(ex_shape(e, c->f->input), ex_float_type(e), &c->any_src));
    SQ_TRY(ex_any_md(call.out[0], ex_result_type(e, c->f->output), &c->any_dst));
    if (c->bias.data)
        SQ_TRY(nd_md_tag(&c->bias_md, 1, &c->outputs, dnnl_f32, dnnl_a));
cleanup:
    return rc;
}

/* The first `count` post-ops; binary ones only when `other` tells the layout of their operand, as
 * sums with what is in the result's memory when `sum`. */
static void list_posts(const fx_node *f, int count, const nd_md *other, int sum, nd_post *out)
{
    out->count = 0;
    for (int i = 0; i < count; i++) {
        const fx_post *p = &f->post[i];
        if (p->other >= 0 && !other)
            continue;
        out->op[out->count].kind = p->other < 0 ? ND_ELTWISE : sum ? ND_SUM : ND_BINARY;
        out->op[out->count].alg = p->alg;
        out->op[out->count].alpha = p->alpha;
        out->op[out->count].beta = p->beta;
        out->op[out->count++].other = other;
    }
}

static int find_binary(const fx_node *f, int count)
{
    for (int i = 0; i < count; i++) {
        if (f->post[i].other >= 0)
            return i;
    }
    return -1;
}

/* Whether this convolution may write over the value: nobody reads it later, nobody else looks into
 * its memory, and the layouts agree. */
static int is_last_use(const conv *c, int value, const nd_md *md)
{
    const sq_engine *e = c->e;
    int home = e->home[value];
    if (home < 0 || e->last_use[value] > ex_order(e, c->f->stage, c->f->end) ||
        value == c->f->input || !nd_md_equal(&e->view[home].md, md))
        return 0;
    const ex_buffer *b = &e->buffer[e->view[home].buffer];
    return b->kind == EX_ARENA && b->parent < 0 && !b->shared && e->view[home].offset == 0;
}

/* With the first `count` post-ops. The operand of a binary one is wanted in the layout of the
 * result, which is found by leaving it out first. */
static sq_status describe(conv *c, int count, dnnl_primitive_desc_t *pd)
{
    sq_engine *e = c->e;
    nd_post post;
    nd_md dst = {0};
    const nd_md *bias = c->bias.data ? &c->bias_md : NULL;
    int binary = find_binary(c->f, count);
    sq_status rc;
    c->other = -1;
    list_posts(c->f, count, NULL, 0, &post);
    SQ_TRY(nd_conv(e->dnnl, c->transposed, &c->any_src, &c->any_weights, bias, &c->any_dst,
                   &c->window, &post, pd));
    if (binary < 0)
        goto cleanup;
    SQ_TRY(nd_query(*pd, dnnl_query_dst_md, 0, &dst));
    dnnl_primitive_desc_destroy(*pd);
    *pd = NULL;
    c->other_post = binary;
    c->in_place =
        c->f->post[binary].alg == dnnl_binary_add && is_last_use(c, c->f->post[binary].other, &dst);
    list_posts(c->f, count, &dst, c->in_place, &post);
    SQ_TRY(nd_conv(e->dnnl, c->transposed, &c->any_src, &c->any_weights, bias, &dst, &c->window,
                   &post, pd));
    SQ_TRY(ex_in_layout(e, c->f->post[binary].other, &dst, &c->other));
cleanup:
    nd_md_free(&dst);
    return rc;
}

enum { LARGE_RESULT = 2 << 20 }; /* bytes: a usual second-level cache */

/* Post-ops that are worth taking in. The AMX convolutions of oneDNN 2.6 spend two to three times as
 * long on an exponential in a result that leaves the second-level cache as a pass of its own does
 * (measured: 48 channels of 160 x 160, 3.0 against 0.9 + 0.5 ms). A rule by size, never by timing:
 * results must not depend on load. */
static int useful_posts(const conv *c)
{
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    int amx = (isa & dnnl_cpu_isa_avx512_core_amx) == dnnl_cpu_isa_avx512_core_amx;
    int large = 2 * ex_shape(c->e, c->f->output)->count > LARGE_RESULT;
    for (int i = 0; amx && large && c->e->precision == SQ_BF16 && i < c->f->posts; i++) {
        const fx_post *p = &c->f->post[i];
        if (p->other < 0 && p->alg != dnnl_eltwise_relu && p->alg != dnnl_eltwise_clip &&
            p->alg != dnnl_eltwise_linear)
            return i;
    }
    return c->f->posts;
}

/* As many post-ops as a fast implementation takes. */
static sq_status choose(conv *c, dnnl_primitive_desc_t *pd, int *count)
{
    sq_status rc = SQ_ERR_UNSUPPORTED;
    for (*count = useful_posts(c); *count >= 0; (*count)--) {
        rc = describe(c, *count, pd);
        if (rc == SQ_OK && (*count == 0 || !nd_is_slow(*pd)))
            return SQ_OK;
        if (rc != SQ_OK && rc != SQ_ERR_UNSUPPORTED)
            return rc;
        dnnl_primitive_desc_destroy(*pd);
        *pd = NULL;
    }
    return rc;
}

static sq_status add(conv *c, dnnl_primitive_desc_t pd, int posts)
{
    sq_engine *e = c->e;
    nd_md src = {0}, weights = {0}, dst = {0};
    int name[5] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST}, view[5], n = 3;
    sq_status rc;
    SQ_TRY(nd_query(pd, dnnl_query_src_md, 0, &src));
    SQ_TRY(nd_query(pd, dnnl_query_weights_md, 0, &weights));
    SQ_TRY(nd_query(pd, dnnl_query_dst_md, 0, &dst));
    SQ_TRY(ex_in_layout(e, c->f->input, &src, &view[0]));
    SQ_TRY(ex_constant(e, &c->weights, &c->plain_weights, &weights, &view[1]));
    if (c->other >= 0 && c->in_place)
        SQ_TRY(ex_alias_view(e, e->view[c->other].buffer, 0, ex_shape(e, c->f->output), &dst,
                             &view[2]));
    else
        SQ_TRY(ex_new_view(e, ex_shape(e, c->f->output), &dst, &view[2]));
    if (c->bias.data) {
        name[n] = DNNL_ARG_BIAS;
        SQ_TRY(ex_constant(e, &c->bias, &c->bias_md, &c->bias_md, &view[n]));
        n++;
    }
    if (c->other >= 0 && !c->in_place) {
        name[n] = DNNL_ARG_ATTR_MULTIPLE_POST_OP(c->other_post) | DNNL_ARG_SRC_1;
        view[n++] = c->other;
    }
    SQ_TRY(ex_add_primitive(e, pd, n, name, view, c->flop));
    SQ_TRY(ex_apply_posts(e, c->f, posts, view[2]));
cleanup:
    nd_md_free(&src);
    nd_md_free(&weights);
    nd_md_free(&dst);
    return rc;
}

sq_status ex_compile_conv(sq_engine *e, int index)
{
    conv c;
    dnnl_primitive_desc_t pd = NULL;
    int posts;
    sq_status rc = prepare(&c, e, index);
    if (rc == SQ_OK)
        rc = choose(&c, &pd, &posts);
    if (rc == SQ_OK)
        rc = add(&c, pd, posts);
    dnnl_primitive_desc_destroy(pd);
    free_conv(&c);
    return rc;
}

/* ---- matrix products ---- */

typedef struct product {
    sq_engine *e;
    const fx_node *f;
    nn_call call;
    int rank;
    int64_t a_transposed, b_transposed;
    double alpha, beta;
    nn_tensor b, bias; /* folded copies; data == NULL: none */
    nd_md a_md, b_plain, b_any, bias_md, dst;
} product;

static void free_product(product *p)
{
    nd_md_free(&p->a_md);
    nd_md_free(&p->b_plain);
    nd_md_free(&p->b_any);
    nd_md_free(&p->bias_md);
    nd_md_free(&p->dst);
    nn_tensor_free(&p->b);
    nn_tensor_free(&p->bias);
}

/* An operand in plain memory with leading dimensions of 1, the last two swapped when transposed. */
static sq_status operand(const nn_tensor *t, int rank, int transposed, dnnl_data_type_t type,
                         nd_md *out)
{
    int64_t dim[DNNL_MAX_NDIMS], stride[DNNL_MAX_NDIMS], step = 1;
    for (int i = rank - 1; i >= 0; i--) {
        int k = i - (rank - t->rank);
        dim[i] = k < 0 ? 1 : t->dim[k];
        stride[i] = step;
        step *= dim[i];
    }
    if (transposed) {
        int64_t d = dim[rank - 1], s = stride[rank - 1];
        dim[rank - 1] = dim[rank - 2];
        stride[rank - 1] = stride[rank - 2];
        dim[rank - 2] = d;
        stride[rank - 2] = s;
    }
    return nd_md_strides(out, rank, dim, type, stride);
}

/* One value a column: from Gemm's third input or from what was fused. */
static sq_status make_bias(product *p)
{
    const nn_tensor *c = p->call.node->inputs > 2 ? p->call.in[2] : NULL;
    int64_t n = p->call.out[0]->dim[p->call.out[0]->rank - 1], dim[DNNL_MAX_NDIMS];
    if (!c && !p->f->shift)
        return SQ_OK;
    if (c && (!c->data || (c->rank == 2 && c->dim[0] != 1)))
        return SQ_ERR_UNSUPPORTED;
    sq_status rc = nn_tensor_shape(&p->bias, NN_F32, 1, &n, INT32_MAX, "bias");
    if (rc == SQ_OK)
        rc = nn_tensor_alloc(&p->bias, "bias");
    for (int64_t i = 0; rc == SQ_OK && i < n; i++)
        ((float *)p->bias.data)[i] =
            (float)(c ? p->beta * nn_get(c, c->count == 1 ? 0 : i) : p->f->shift[i]);
    for (int i = 0; i < p->rank; i++)
        dim[i] = i == p->rank - 1 ? n : 1;
    return rc == SQ_OK ? nd_md_tag(&p->bias_md, p->rank, dim, dnnl_f32, ex_plain_tag(p->rank)) : rc;
}

static sq_status prepare_product(product *p, sq_engine *e, int index)
{
    const nn_tensor *a, *b;
    dnnl_data_type_t type = ex_float_type(e);
    sq_status rc;
    memset(p, 0, sizeof *p);
    p->e = e;
    p->f = &e->fused[index];
    ex_call(e, index, &p->call);
    a = p->call.in[0];
    b = p->call.in[1];
    if (a->rank < 2 || b->rank < 2 || a->count == 0 || b->count == 0)
        return SQ_ERR_UNSUPPORTED;
    p->rank = a->rank > b->rank ? a->rank : b->rank;
    SQ_TRY(nn_int(&p->call, "transA", 0, &p->a_transposed));
    SQ_TRY(nn_int(&p->call, "transB", 0, &p->b_transposed));
    SQ_TRY(nn_float(&p->call, "alpha", 1, &p->alpha));
    SQ_TRY(nn_float(&p->call, "beta", 1, &p->beta));
    if (p->alpha != 1 && !b->data)
        return SQ_ERR_UNSUPPORTED;
    SQ_TRY(operand(a, p->rank, p->a_transposed != 0, type, &p->a_md));
    SQ_TRY(operand(b, p->rank, p->b_transposed != 0, b->data ? dnnl_f32 : type, &p->b_plain));
    if (b->data) {
        SQ_TRY(nn_tensor_copy(&p->b, b, "folded weights"));
        for (int64_t i = 0; i < b->count; i++)
            ((float *)p->b.data)[i] *=
                (float)(p->alpha * (p->f->scale ? p->f->scale[i % b->dim[b->rank - 1]] : 1));
        nn_tensor shape = *b;
        shape.dim[b->rank - 1] = b->dim[b->rank - 1 - (p->b_transposed != 0)];
        shape.dim[b->rank - 2] = b->dim[b->rank - 2 + (p->b_transposed != 0)];
        SQ_TRY(operand(&shape, p->rank, 0, type, &p->b_any));
    }
    SQ_TRY(make_bias(p));
    SQ_TRY(ex_plain_md(p->call.out[0], ex_result_type(e, p->f->output), &p->dst));
cleanup:
    return rc;
}

/* A view of plain data through another layout of the same memory. */
static sq_status through(sq_engine *e, int value, const nd_md *md, int *view)
{
    int plain;
    sq_status rc = ex_plain(e, value, nd_md_type(md), &plain);
    if (rc == SQ_OK)
        rc = ex_alias_view(e, e->view[plain].buffer, e->view[plain].offset, ex_shape(e, value), md,
                           view);
    return rc;
}

sq_status ex_compile_matmul(sq_engine *e, int index)
{
    product p;
    dnnl_primitive_desc_t pd = NULL;
    int name[4] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS}, view[4];
    nd_post post;
    int posts;
    sq_status rc;
    SQ_TRY(prepare_product(&p, e, index));
    posts = find_binary(p.f, p.f->posts);
    posts = posts < 0 ? p.f->posts : posts;
    list_posts(p.f, posts, NULL, 0, &post);
    SQ_TRY(nd_matmul(e->dnnl, &p.a_md, p.b.data ? &p.b_any : &p.b_plain,
                     p.bias.data ? &p.bias_md : NULL, &p.dst, &post, &pd));
    SQ_TRY(through(e, p.call.node->in[0], &p.a_md, &view[0]));
    if (p.b.data)
        SQ_TRY(ex_constant(e, &p.b, &p.b_plain, &p.b_any, &view[1]));
    else
        SQ_TRY(through(e, p.call.node->in[1], &p.b_plain, &view[1]));
    SQ_TRY(ex_new_view(e, p.call.out[0], &p.dst, &view[2]));
    if (p.bias.data)
        SQ_TRY(ex_constant(e, &p.bias, &p.bias_md, &p.bias_md, &view[3]));
    int k = p.call.in[0]->rank - 1 - (p.a_transposed != 0);
    SQ_TRY(ex_add_primitive(e, pd, p.bias.data ? 4 : 3, name, view,
                            2.0 * (double)p.call.out[0]->count * (double)p.call.in[0]->dim[k]));
    SQ_TRY(ex_apply_posts(e, p.f, posts, view[2]));
cleanup:
    dnnl_primitive_desc_destroy(pd);
    free_product(&p);
    return rc;
}
