/* From the fused graph to operations: stage by stage, node by node. Whatever oneDNN does not do is
 * left to the naive kernels. */
#include <string.h>

#include "base/mem.h"
#include "nn/engine.h"

typedef sq_status compiler(sq_engine *e, int node);

static const struct {
    const char *name;
    compiler *compile;
} compilers[] = {
    {"AveragePool", ex_compile_pool},
    {"BatchNormalization", ex_compile_batchnorm},
    {"Concat", ex_compile_concat},
    {"Conv", ex_compile_conv},
    {"ConvTranspose", ex_compile_conv},
    {"DepthToSpace", ex_compile_blocks},
    {"Dropout", ex_compile_reshape},
    {"Flatten", ex_compile_reshape},
    {"Gemm", ex_compile_matmul},
    {"GlobalAveragePool", ex_compile_mean},
    {"Identity", ex_compile_reshape},
    {"LogSoftmax", ex_compile_softmax},
    {"MatMul", ex_compile_matmul},
    {"MaxPool", ex_compile_pool},
    {"Pad", ex_compile_pad},
    {"ReduceMean", ex_compile_mean},
    {"Reshape", ex_compile_reshape},
    {"Resize", ex_compile_resize},
    {"Slice", ex_compile_slice},
    {"Softmax", ex_compile_softmax},
    {"SpaceToDepth", ex_compile_blocks},
    {"Split", ex_compile_split},
    {"Squeeze", ex_compile_reshape},
    {"Transpose", ex_compile_transpose},
    {"Unsqueeze", ex_compile_reshape},
    {"Upsample", ex_compile_resize},
};

void ex_call(const sq_engine *e, int index, nn_call *call)
{
    const nn_node *node = &e->model->node[index];
    memset(call, 0, sizeof *call);
    call->model = e->model;
    call->node = node;
    for (int k = 0; k < node->inputs; k++)
        call->in[k] = node->in[k] < 0 ? NULL : &e->instance.value[node->in[k]];
    for (int k = 0; k < node->outputs; k++)
        call->out[k] = node->out[k] < 0 ? NULL : &e->instance.value[node->out[k]];
}

const nn_tensor *ex_shape(const sq_engine *e, int value)
{
    return &e->instance.value[value];
}

dnnl_data_type_t ex_result_type(const sq_engine *e, int value)
{
    for (int i = 0; i < e->model->outputs; i++) {
        if (e->model->output[i] == value)
            return dnnl_f32;
    }
    return ex_float_type(e);
}

/* oneDNN sees float32 values that are not empty. */
static int all_float(const sq_engine *e, const nn_node *node)
{
    for (int k = 0; k < node->outputs; k++) {
        if (node->out[k] >= 0 &&
            (ex_shape(e, node->out[k])->type != NN_F32 || ex_shape(e, node->out[k])->count == 0))
            return 0;
    }
    return node->inputs > 0 && node->in[0] >= 0 && ex_shape(e, node->in[0])->type == NN_F32 &&
           ex_shape(e, node->in[0])->count > 0;
}

static compiler *find_compiler(const sq_engine *e, int head)
{
    const nn_node *node = &e->model->node[head];
    if (!all_float(e, node))
        return NULL;
    if (node->op->code >= NN_EW_ADD)
        return ex_compile_binary;
    for (size_t i = 0; i < sizeof compilers / sizeof *compilers; i++) {
        if (strcmp(compilers[i].name, node->op_name) == 0)
            return compilers[i].compile;
    }
    return node->op->code ? ex_compile_unary : NULL;
}

static sq_status compile_chain(sq_engine *e, int head, int last)
{
    compiler *compile = find_compiler(e, head);
    e->now = head;
    e->now_stage = e->fused[head].stage;
    sq_status rc = compile ? compile(e, head) : SQ_ERR_UNSUPPORTED;
    if (rc != SQ_ERR_UNSUPPORTED)
        return rc;
    rc = SQ_OK;
    for (int i = 0; rc == SQ_OK && i <= last; i++) {
        if (e->fused[i].owner == head && !e->fused[i].dead)
            rc = ex_add_kernel(e, i);
    }
    return rc;
}

static int last_reader_stage(const sq_engine *e, int value)
{
    int stage = e->value_stage[value];
    for (int i = 0; i < e->model->nodes; i++) {
        const nn_node *node = &e->model->node[i];
        for (int k = 0; !e->fused[i].dead && k < node->inputs; k++) {
            if (node->in[k] == value && e->fused[i].stage > stage)
                stage = e->fused[i].stage;
        }
    }
    return stage;
}

/* The caller's memory is read in place when only the stage in which it is given needs it. */
static sq_status compile_input(sq_engine *e, int i)
{
    int value = e->model->input[i], view, buffer;
    const nn_tensor *t = ex_shape(e, value);
    nd_md md = {0};
    int known = t->type == NN_F32 && t->count > 0;
    sq_status rc = SQ_OK;
    if (t->data)
        return SQ_OK;
    if (known)
        SQ_TRY(ex_plain_md(t, dnnl_f32, &md));
    if (known && last_reader_stage(e, value) == e->input_stage[i]) {
        SQ_TRY(ex_new_buffer(e, EX_INPUT, nd_md_size(&md), &buffer));
        e->buffer[buffer].io = i;
        SQ_TRY(ex_alias_view(e, buffer, 0, t, &md, &view));
    } else {
        SQ_TRY(ex_new_view(e, t, known ? &md : NULL, &view));
        SQ_TRY(ex_add_load(e, i, view));
    }
    e->home[value] = view;
cleanup:
    nd_md_free(&md);
    return rc;
}

/* Outputs that have been computed by now. */
static sq_status compile_outputs(sq_engine *e, int stage, unsigned char *stored)
{
    for (int i = 0; i < e->model->outputs; i++) {
        int value = e->model->output[i];
        int ready = e->home[value] >= 0 || ex_shape(e, value)->data;
        if (stored[i] || !ready || e->value_stage[value] > stage)
            continue;
        stored[i] = 1;
        sq_status rc = ex_add_store(e, i);
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}

sq_status ex_compile(sq_engine *e)
{
    unsigned char stored[SQ_MAX_IO] = {0};
    sq_status rc;
    for (int stage = 0; stage <= e->last_stage; stage++) {
        e->now = -1;
        e->now_stage = stage;
        for (int i = 0; i < e->model->inputs; i++) {
            if (e->input_stage[i] == stage)
                SQ_TRY(compile_input(e, i));
        }
        SQ_TRY(compile_outputs(e, stage, stored));
        for (int i = 0; i < e->model->nodes; i++) {
            if (e->fused[i].stage != stage || e->fused[i].head < 0)
                continue;
            SQ_TRY(compile_chain(e, e->fused[i].head, i));
            SQ_TRY(compile_outputs(e, stage, stored));
        }
    }
    rc = SQ_OK;
cleanup:
    return rc;
}

sq_status ex_apply_posts(sq_engine *e, const fx_node *f, int from, int view)
{
    static const int binary_names[3] = {DNNL_ARG_SRC_0, DNNL_ARG_SRC_1, DNNL_ARG_DST};
    static const int unary_names[2] = {DNNL_ARG_SRC, DNNL_ARG_DST};
    dnnl_primitive_desc_t pd = NULL;
    nd_md md = {0};
    sq_status rc;
    SQ_TRY(nd_md_copy(&md, &e->view[view].md));
    for (int i = from; i < f->posts; i++) {
        const fx_post *p = &f->post[i];
        if (p->other >= 0) {
            int other;
            SQ_TRY(ex_in_layout(e, p->other, &md, &other));
            SQ_TRY(nd_binary(e->dnnl, p->alg, &md, &md, &md, NULL, &pd));
            int views[3] = {view, other, view};
            SQ_TRY(ex_add_primitive(e, pd, 3, binary_names, views, 0));
        } else {
            int views[2] = {view, view};
            SQ_TRY(nd_eltwise(e->dnnl, p->alg, p->alpha, p->beta, &md, &pd));
            SQ_TRY(ex_add_primitive(e, pd, 2, unary_names, views, 0));
        }
        dnnl_primitive_desc_destroy(pd);
        pd = NULL;
    }
    e->home[f->output] = view;
cleanup:
    dnnl_primitive_desc_destroy(pd);
    nd_md_free(&md);
    return rc;
}
