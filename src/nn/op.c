/* Adding operations to an engine; they belong to the node and stage that are being compiled. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "nn/engine.h"

/* What a later stage reads stays for good: that stage may be run again. */
static void touch(sq_engine *e, int view, int op)
{
    for (int k = e->view[view].buffer; k >= 0; k = e->buffer[k].parent) {
        ex_buffer *b = &e->buffer[k];
        if (op < b->first)
            b->first = op;
        if (b->last >= 0 && b->stage != e->op[op].stage)
            b->last = INT32_MAX;
        if (op > b->last) {
            b->last = op;
            b->stage = e->op[op].stage;
        }
    }
}

static sq_status add_op(sq_engine *e, ex_op_kind kind, int args, const char *type, ex_op **out)
{
    sq_status rc = SQ_GROW(e->op, e->op_capacity, e->ops + 1, "operations of an engine");
    if (rc != SQ_OK)
        return rc;
    ex_op *op = &e->op[e->ops];
    memset(op, 0, sizeof *op);
    op->kind = kind;
    op->stage = e->now_stage;
    op->output = -1;
    const nn_node *node = e->now >= 0 ? &e->model->node[e->now] : NULL;
    op->name = node ? node->name : "";
    op->type = type ? type : node ? node->op_name : "";
    e->ops++;
    *out = op;
    rc = SQ_ALLOC(op->arg_name, args + 1, "arguments");
    if (rc == SQ_OK)
        rc = SQ_ALLOC(op->arg_view, args + 1, "arguments");
    if (rc == SQ_OK)
        rc = SQ_ALLOC(op->arg, args + 2, "arguments");
    return rc;
}

static sq_status add_primitive(sq_engine *e, const char *type, dnnl_primitive_desc_t pd, int args,
                               const int *name, const int *view, double flop)
{
    ex_op *op;
    nd_md scratch = {0};
    sq_status rc;
    SQ_TRY(add_op(e, EX_PRIMITIVE, args, type, &op));
    op->flop = flop;
    op->args = args;
    snprintf(op->implementation, sizeof op->implementation, "%s", nd_implementation(pd));
    for (int i = 0; i < args; i++) {
        op->arg_name[i] = name[i];
        op->arg_view[i] = view[i];
        touch(e, view[i], e->ops - 1);
    }
    SQ_TRY(nd_query(pd, dnnl_query_scratchpad_md, 0, &scratch));
    op->scratch = nd_md_size(&scratch);
    if (op->scratch > e->scratch_bytes)
        e->scratch_bytes = op->scratch;
    SQ_TRY(nd_memory(&scratch, e->dnnl, DNNL_MEMORY_NONE, &op->scratch_memory));
    SQ_TRY(nd_check(dnnl_primitive_create(&op->primitive, pd), "primitive"));
cleanup:
    nd_md_free(&scratch);
    return rc;
}

sq_status ex_add_primitive(sq_engine *e, dnnl_primitive_desc_t pd, int args, const int *name,
                           const int *view, double flop)
{
    return add_primitive(e, NULL, pd, args, name, view, flop);
}

sq_status ex_add_reorder(sq_engine *e, int from, int to)
{
    dnnl_primitive_desc_t pd = NULL;
    int name[2] = {DNNL_ARG_FROM, DNNL_ARG_TO}, view[2] = {from, to};
    sq_status rc = nd_reorder(e->dnnl, &e->view[from].md, &e->view[to].md, &pd);
    if (rc == SQ_OK)
        rc = add_primitive(e, "(reorder)", pd, 2, name, view, 0);
    dnnl_primitive_desc_destroy(pd);
    return rc;
}

static sq_status add_tensors(ex_op *op, int count)
{
    op->tensors = count;
    sq_status rc = SQ_ALLOC(op->tensor, count + 1, "tensors");
    return rc == SQ_OK ? SQ_ALLOC(op->tensor_view, count + 1, "tensors") : rc;
}

static void set_tensor(sq_engine *e, ex_op *op, int i, const nn_tensor *shape, int view)
{
    op->tensor[i] = *shape;
    op->tensor_view[i] = view;
    if (view >= 0)
        touch(e, view, (int)(op - e->op));
}

/* Plain row-major data of a value: its float32 copy, or the home when oneDNN has no such type. */
static sq_status plain_view(sq_engine *e, int value, int *view)
{
    const nn_tensor *t = &e->instance.value[value];
    *view = -1;
    if (t->data)
        return SQ_OK;
    if (t->type == NN_F32 && t->count > 0)
        return ex_plain(e, value, dnnl_f32, view);
    return ex_home(e, value, view);
}

static sq_status kernel_outputs(sq_engine *e, const nn_node *node, int *view)
{
    for (int k = 0; k < node->outputs; k++) {
        int v = node->out[k];
        nd_md md = {0};
        sq_status rc = SQ_OK;
        view[k] = -1;
        if (v < 0)
            continue;
        const nn_tensor *t = &e->instance.value[v];
        int known = t->type == NN_F32 && t->count > 0;
        if (known)
            rc = ex_plain_md(t, dnnl_f32, &md);
        if (rc == SQ_OK)
            rc = ex_new_view(e, t, known ? &md : NULL, &view[k]);
        nd_md_free(&md);
        if (rc != SQ_OK)
            return rc;
        e->home[v] = view[k];
    }
    return SQ_OK;
}

sq_status ex_add_kernel(sq_engine *e, int index)
{
    const nn_node *node = &e->model->node[index];
    int in[NN_MAX_ARGS], out[NN_MAX_ARGS], now = e->now;
    ex_op *op;
    sq_status rc = SQ_OK;
    e->now = index;
    for (int k = 0; k < node->inputs; k++) {
        in[k] = -1;
        if (node->in[k] >= 0)
            SQ_TRY(plain_view(e, node->in[k], &in[k]));
    }
    SQ_TRY(kernel_outputs(e, node, out));
    SQ_TRY(add_op(e, EX_KERNEL, 0, NULL, &op));
    snprintf(op->implementation, sizeof op->implementation, "naive");
    SQ_TRY(add_tensors(op, node->inputs + node->outputs));
    SQ_TRY(SQ_ALLOC(op->call, 1, "call"));
    op->call->model = e->model;
    op->call->node = node;
    for (int k = 0; k < node->inputs; k++) {
        if (node->in[k] >= 0)
            set_tensor(e, op, k, &e->instance.value[node->in[k]], in[k]);
        op->call->in[k] = node->in[k] >= 0 ? &op->tensor[k] : NULL;
    }
    for (int k = 0; k < node->outputs; k++) {
        nn_tensor *t = &op->tensor[node->inputs + k];
        if (out[k] >= 0)
            set_tensor(e, op, node->inputs + k, &e->instance.value[node->out[k]], out[k]);
        else
            op->tensor_view[node->inputs + k] = -1;
        op->call->out[k] = out[k] >= 0 ? t : NULL;
    }
cleanup:
    e->now = now;
    return rc;
}

sq_status ex_add_zero(sq_engine *e, int view)
{
    ex_op *op;
    sq_status rc = add_op(e, EX_ZERO, 0, "(zero)", &op);
    if (rc == SQ_OK)
        rc = add_tensors(op, 1);
    if (rc == SQ_OK)
        set_tensor(e, op, 0, &e->view[view].shape, view);
    return rc;
}

sq_status ex_add_load(sq_engine *e, int input, int view)
{
    ex_op *op;
    sq_status rc = add_op(e, EX_LOAD, 0, "(input)", &op);
    if (rc == SQ_OK)
        rc = add_tensors(op, 1);
    if (rc == SQ_OK)
        set_tensor(e, op, 0, &e->view[view].shape, view);
    if (rc == SQ_OK)
        op->args = input;
    return rc;
}

/* Plain float32 values, constants and other types are copied; layouts of oneDNN are reordered
 * straight into the caller's memory. */
sq_status ex_add_store(sq_engine *e, int output)
{
    int value = e->model->output[output], view = -1, buffer, to;
    const nn_tensor *t = &e->instance.value[value];
    nd_md md = {0};
    ex_op *op;
    sq_status rc = SQ_OK;
    if (t->type == NN_F32 && !t->data && t->count > 0) {
        SQ_TRY(ex_home(e, value, &view));
        SQ_TRY(ex_plain_md(t, dnnl_f32, &md));
        if (!nd_md_equal(&e->view[view].md, &md)) {
            SQ_TRY(ex_new_buffer(e, EX_OUTPUT, nd_md_size(&md), &buffer));
            e->buffer[buffer].io = output;
            SQ_TRY(ex_alias_view(e, buffer, 0, t, &md, &to));
            SQ_TRY(ex_add_reorder(e, view, to));
            e->op[e->ops - 1].output = output;
            goto cleanup;
        }
    }
    SQ_TRY(plain_view(e, value, &view));
    SQ_TRY(add_op(e, EX_STORE, 0, "(output)", &op));
    SQ_TRY(add_tensors(op, 1));
    op->output = output;
    set_tensor(e, op, 0, t, view);
cleanup:
    nd_md_free(&md);
    return rc;
}

void *ex_address(const sq_engine *e, int view)
{
    size_t offset;
    const ex_buffer *b = &e->buffer[ex_root(e, e->view[view].buffer, &offset)];
    char *base;
    switch (b->kind) {
    case EX_ARENA:
        base = e->arena + b->place;
        break;
    case EX_WEIGHT:
        base = b->data;
        break;
    case EX_INPUT:
        base = (char *)(uintptr_t)e->input[b->io];
        break;
    default:
        base = (char *)e->output[b->io];
    }
    return base ? base + offset + e->view[view].offset : NULL;
}

void ex_free_op(ex_op *op)
{
    for (int i = 0; op->arg && op->kind == EX_PRIMITIVE && i < op->args; i++)
        dnnl_memory_destroy(op->arg[i].memory);
    dnnl_memory_destroy(op->scratch_memory);
    dnnl_primitive_destroy(op->primitive);
    sq_free(op->arg_name);
    sq_free(op->arg_view);
    sq_free(op->arg);
    sq_free(op->call);
    sq_free(op->tensor);
    sq_free(op->tensor_view);
}
