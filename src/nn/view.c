/* Buffers, layouts, and copies of values in other layouts. */
#include <string.h>

#include "base/mem.h"
#include "nn/engine.h"

dnnl_data_type_t ex_float_type(const sq_engine *e)
{
    return e->precision == SQ_BF16 ? dnnl_bf16 : dnnl_f32;
}

int ex_dnnl_rank(const nn_tensor *shape)
{
    return shape->rank > 0 ? shape->rank : 1;
}

dnnl_format_tag_t ex_plain_tag(int rank)
{
    static const dnnl_format_tag_t tags[] = {dnnl_a,      dnnl_a,       dnnl_ab,
                                             dnnl_abc,    dnnl_abcd,    dnnl_abcde,
                                             dnnl_abcdef, dnnl_abcdefg, dnnl_abcdefgh};
    return tags[rank];
}

static void dnnl_dims(const nn_tensor *shape, int64_t *dim)
{
    dim[0] = 1;
    for (int i = 0; i < shape->rank; i++)
        dim[i] = shape->dim[i];
}

sq_status ex_plain_md(const nn_tensor *shape, dnnl_data_type_t type, nd_md *out)
{
    int64_t dim[DNNL_MAX_NDIMS];
    dnnl_dims(shape, dim);
    return nd_md_tag(out, ex_dnnl_rank(shape), dim, type, ex_plain_tag(shape->rank));
}

sq_status ex_any_md(const nn_tensor *shape, dnnl_data_type_t type, nd_md *out)
{
    int64_t dim[DNNL_MAX_NDIMS];
    dnnl_dims(shape, dim);
    return nd_md_tag(out, ex_dnnl_rank(shape), dim, type, dnnl_format_tag_any);
}

sq_status ex_new_buffer(sq_engine *e, ex_kind kind, size_t bytes, int *out)
{
    sq_status rc = SQ_GROW(e->buffer, e->buffer_capacity, e->buffers + 1, "buffers of an engine");
    if (rc != SQ_OK)
        return rc;
    ex_buffer *b = &e->buffer[e->buffers];
    *b = (ex_buffer){.kind = kind, .parent = -1, .bytes = bytes, .first = INT32_MAX, .last = -1};
    if (kind == EX_WEIGHT) {
        rc = sq_alloc(&b->data, bytes, 1, "weights");
        e->weight_bytes += bytes;
    }
    *out = e->buffers++;
    return rc;
}

/* shape and md may lie in the table of views, which may move. */
sq_status ex_alias_view(sq_engine *e, int buffer, size_t offset, const nn_tensor *shape,
                        const nd_md *md, int *out)
{
    ex_view v = {.buffer = buffer, .offset = offset, .shape = *shape, .next = -1};
    v.shape.data = NULL;
    sq_status rc = md ? nd_md_copy(&v.md, md) : SQ_OK;
    if (rc == SQ_OK)
        rc = SQ_GROW(e->view, e->view_capacity, e->views + 1, "views of an engine");
    if (rc != SQ_OK) {
        nd_md_free(&v.md);
        return rc;
    }
    e->view[e->views] = v;
    *out = e->views++;
    return SQ_OK;
}

sq_status ex_new_view(sq_engine *e, const nn_tensor *shape, const nd_md *md, int *out)
{
    int buffer;
    size_t bytes = md ? nd_md_size(md) : (size_t)shape->count * nn_type_size(shape->type);
    sq_status rc = ex_new_buffer(e, EX_ARENA, bytes, &buffer);
    return rc == SQ_OK ? ex_alias_view(e, buffer, 0, shape, md, out) : rc;
}

int ex_root(const sq_engine *e, int buffer, size_t *offset)
{
    *offset = 0;
    while (e->buffer[buffer].parent >= 0) {
        *offset += e->buffer[buffer].offset;
        buffer = e->buffer[buffer].parent;
    }
    return buffer;
}

/* Run a reorder at once. */
static sq_status reorder_now(sq_engine *e, const nd_md *from, void *source, const nd_md *to,
                             void *target)
{
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_memory_t memory[3] = {NULL};
    void *scratch = NULL;
    nd_md scratch_md = {0};
    sq_status rc;
    SQ_TRY(nd_reorder(e->dnnl, from, to, &pd));
    SQ_TRY(nd_query(pd, dnnl_query_scratchpad_md, 0, &scratch_md));
    SQ_TRY(sq_alloc(&scratch, nd_md_size(&scratch_md) + 1, 1, "scratchpad"));
    SQ_TRY(nd_check(dnnl_primitive_create(&primitive, pd), "reorder"));
    SQ_TRY(nd_memory(from, e->dnnl, source, &memory[0]));
    SQ_TRY(nd_memory(to, e->dnnl, target, &memory[1]));
    SQ_TRY(nd_memory(&scratch_md, e->dnnl, scratch, &memory[2]));
    dnnl_exec_arg_t args[3] = {
        {DNNL_ARG_FROM, memory[0]}, {DNNL_ARG_TO, memory[1]}, {DNNL_ARG_SCRATCHPAD, memory[2]}};
    SQ_TRY(nd_check(dnnl_primitive_execute(primitive, e->stream, 3, args), "reorder"));
    SQ_TRY(nd_check(dnnl_stream_wait(e->stream), "reorder"));
cleanup:
    for (int i = 0; i < 3; i++)
        dnnl_memory_destroy(memory[i]);
    dnnl_primitive_destroy(primitive);
    dnnl_primitive_desc_destroy(pd);
    nd_md_free(&scratch_md);
    sq_free(scratch);
    return rc;
}

sq_status ex_constant(sq_engine *e, const nn_tensor *t, const nd_md *plain, const nd_md *md,
                      int *out)
{
    int buffer;
    sq_status rc = ex_new_buffer(e, EX_WEIGHT, nd_md_size(md), &buffer);
    if (rc == SQ_OK)
        rc = reorder_now(e, plain, t->data, md, e->buffer[buffer].data);
    return rc == SQ_OK ? ex_alias_view(e, buffer, 0, t, md, out) : rc;
}

sq_status ex_home(sq_engine *e, int value, int *view)
{
    nn_tensor *t = &e->instance.value[value];
    nd_md md = {0};
    *view = e->home[value];
    if (*view >= 0)
        return SQ_OK;
    if (!t->data || t->type != NN_F32)
        return sq_fail(SQ_ERR_UNSUPPORTED, "%s: value %s has no layout", e->model->name,
                       e->model->value[value].name);
    sq_status rc = ex_plain_md(t, dnnl_f32, &md);
    if (rc == SQ_OK)
        rc = ex_constant(e, t, &md, &md, view);
    if (rc == SQ_OK)
        e->home[value] = *view;
    nd_md_free(&md);
    return rc;
}

sq_status ex_in_layout(sq_engine *e, int value, const nd_md *md, int *view)
{
    int home, made;
    sq_status rc = ex_home(e, value, &home);
    if (rc != SQ_OK)
        return rc;
    if (!e->view[home].md.set)
        return sq_fail(SQ_ERR_UNSUPPORTED, "%s: value %s has no layout", e->model->name,
                       e->model->value[value].name);
    for (int v = home; v >= 0; v = e->view[v].next) {
        if (nd_md_equal(&e->view[v].md, md)) {
            *view = v;
            return SQ_OK;
        }
    }
    const nn_tensor *t = &e->instance.value[value];
    if (t->data) {
        rc = ex_constant(e, t, &e->view[home].md, md, &made);
    } else {
        rc = ex_new_view(e, t, md, &made);
        if (rc == SQ_OK)
            rc = ex_add_reorder(e, home, made);
    }
    if (rc == SQ_OK) {
        e->view[made].next = e->view[home].next;
        e->view[home].next = made;
        *view = made;
    }
    return rc;
}

sq_status ex_plain(sq_engine *e, int value, dnnl_data_type_t type, int *view)
{
    nd_md md = {0};
    sq_status rc = ex_plain_md(&e->instance.value[value], type, &md);
    if (rc == SQ_OK)
        rc = ex_in_layout(e, value, &md, view);
    nd_md_free(&md);
    return rc;
}
