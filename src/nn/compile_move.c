/* Operators that only move elements. Where memory allows, nothing moves: a part of a concatenation
 * is written where the whole is read, a slice or a reshaped tensor is a view. */
#include <string.h>

#include "base/mem.h"
#include "nn/engine.h"

/* The regular layouts that are recognised: channels in blocks, channels last, plain. */
typedef enum layout { PLAIN, BLOCK16, BLOCK8, LAST, OTHER } layout;

static dnnl_format_tag_t layout_tag(layout kind, int rank)
{
    static const dnnl_format_tag_t tags[4][6] = {
        [PLAIN] = {0},
        [BLOCK16] = {0, 0, 0, dnnl_aBc16b, dnnl_aBcd16b, dnnl_aBcde16b},
        [BLOCK8] = {0, 0, 0, dnnl_aBc8b, dnnl_aBcd8b, dnnl_aBcde8b},
        [LAST] = {0, 0, 0, dnnl_acb, dnnl_acdb, dnnl_acdeb},
    };
    if (kind == PLAIN)
        return ex_plain_tag(rank);
    return rank >= 3 && rank <= 5 ? tags[kind][rank] : dnnl_format_tag_undef;
}

static int64_t block_of(layout kind)
{
    return kind == BLOCK16 ? 16 : kind == BLOCK8 ? 8 : 1;
}

static sq_status layout_md(const nn_tensor *shape, dnnl_data_type_t type, layout kind, nd_md *out)
{
    int64_t dim[DNNL_MAX_NDIMS] = {1};
    for (int i = 0; i < shape->rank; i++)
        dim[i] = shape->dim[i];
    return nd_md_tag(out, ex_dnnl_rank(shape), dim, type, layout_tag(kind, shape->rank));
}

static sq_status layout_of(sq_engine *e, int value, int *view, layout *kind)
{
    sq_status rc = ex_home(e, value, view);
    if (rc != SQ_OK || !e->view[*view].md.set)
        return rc != SQ_OK ? rc : SQ_ERR_UNSUPPORTED;
    for (*kind = PLAIN; *kind < OTHER; (*kind)++) {
        nd_md md = {0};
        if (layout_tag(*kind, ex_shape(e, value)->rank) == dnnl_format_tag_undef)
            continue;
        rc = layout_md(ex_shape(e, value), nd_md_type(&e->view[*view].md), *kind, &md);
        int equal = rc == SQ_OK && nd_md_equal(&md, &e->view[*view].md);
        nd_md_free(&md);
        if (rc != SQ_OK || equal)
            return rc;
    }
    return SQ_OK;
}

/* Whether parts along `axis` lie one after the other in memory. */
static int parts_adjoin(const nn_tensor *whole, layout kind, int axis)
{
    if (kind == LAST || kind == OTHER)
        return 0;
    if (kind != PLAIN && axis != 1)
        return 0;
    for (int i = 0; i < axis; i++) {
        if (whole->dim[i] != 1)
            return 0;
    }
    return 1;
}

static size_t type_size(dnnl_data_type_t type)
{
    return type == dnnl_bf16 ? 2 : 4;
}

/* Bytes before element `at` of `axis`, given parts that adjoin. */
static size_t part_offset(const nn_tensor *whole, int axis, int64_t at, dnnl_data_type_t type)
{
    size_t row = type_size(type);
    for (int i = axis + 1; i < whole->rank; i++)
        row *= (size_t)whole->dim[i];
    return row * (size_t)at;
}

/* ---- Concat ---- */

/* The layout that most of the input has. */
static sq_status concat_layout(sq_engine *e, const nn_node *node, int axis, layout *out)
{
    int64_t weight[OTHER + 1] = {0};
    int blocks16 = 1, blocks8 = 1;
    for (int k = 0; k < node->inputs; k++) {
        int view;
        layout kind;
        const nn_tensor *t = ex_shape(e, node->in[k]);
        sq_status rc = layout_of(e, node->in[k], &view, &kind);
        if (rc != SQ_OK)
            return rc;
        weight[kind] += t->count;
        blocks16 = blocks16 && t->rank > 1 && t->dim[1] % 16 == 0;
        blocks8 = blocks8 && t->rank > 1 && t->dim[1] % 8 == 0;
    }
    if (axis == 1 && !blocks16)
        weight[LAST] += weight[BLOCK16], weight[BLOCK16] = 0;
    if (axis == 1 && !blocks8)
        weight[LAST] += weight[BLOCK8], weight[BLOCK8] = 0;
    *out = PLAIN;
    for (layout kind = BLOCK16; kind < OTHER; kind++) {
        if (weight[kind] > weight[*out])
            *out = kind;
    }
    return SQ_OK;
}

/* Let the buffer of an input lie inside the whole's. Possible once, for memory of the arena that
 * holds nothing else, and within a stage: the whole may be written over. */
static int adopt(sq_engine *e, int view, const nd_md *md, int whole, size_t offset)
{
    ex_view *v = &e->view[view];
    ex_buffer *b = &e->buffer[v->buffer];
    if (!nd_md_equal(&v->md, md) || v->offset != 0 || b->kind != EX_ARENA || b->parent >= 0 ||
        b->bytes != nd_md_size(md))
        return 0;
    b->parent = whole;
    b->offset = offset;
    return 1;
}

static sq_status join(sq_engine *e, const nn_node *node, int axis, layout kind,
                      dnnl_data_type_t type)
{
    const nn_tensor *out = ex_shape(e, node->out[0]);
    nd_md md = {0}, part = {0};
    int whole, view, from;
    int64_t at = 0;
    sq_status rc;
    SQ_TRY(layout_md(out, type, kind, &md));
    SQ_TRY(ex_new_view(e, out, &md, &whole));
    int buffer = e->view[whole].buffer;
    for (int k = 0; k < node->inputs; k++) {
        const nn_tensor *t = ex_shape(e, node->in[k]);
        size_t offset = part_offset(out, axis, at, type);
        at += t->dim[axis];
        if (t->count == 0)
            continue;
        SQ_TRY(layout_md(t, type, kind, &part));
        SQ_TRY(ex_home(e, node->in[k], &from));
        if (e->value_stage[node->in[k]] < e->now_stage ||
            !adopt(e, from, &part, buffer, offset)) {
            SQ_TRY(ex_alias_view(e, buffer, offset, t, &part, &view));
            SQ_TRY(ex_add_reorder(e, from, view));
        }
        nd_md_free(&part);
    }
    e->home[node->out[0]] = whole;
cleanup:
    nd_md_free(&md);
    nd_md_free(&part);
    return rc;
}

static sq_status copy_parts(sq_engine *e, const nn_node *node, int axis, layout kind,
                            dnnl_data_type_t type)
{
    nd_md src[NN_MAX_ARGS], dst = {0};
    int name[NN_MAX_ARGS + 1], view[NN_MAX_ARGS + 1], n = node->inputs;
    dnnl_primitive_desc_t pd = NULL;
    sq_status rc;
    memset(src, 0, sizeof src);
    for (int k = 0; k < n; k++) {
        if (ex_shape(e, node->in[k])->count == 0)
            return SQ_ERR_UNSUPPORTED;
        SQ_TRY(layout_md(ex_shape(e, node->in[k]), type, kind, &src[k]));
        SQ_TRY(ex_in_layout(e, node->in[k], &src[k], &view[k]));
        name[k] = DNNL_ARG_MULTIPLE_SRC + k;
    }
    SQ_TRY(layout_md(ex_shape(e, node->out[0]), type, kind, &dst));
    SQ_TRY(nd_concat(e->dnnl, n, axis, src, &dst, &pd));
    SQ_TRY(ex_new_view(e, ex_shape(e, node->out[0]), &dst, &view[n]));
    name[n] = DNNL_ARG_DST;
    SQ_TRY(ex_add_primitive(e, pd, n + 1, name, view, 0));
    e->home[node->out[0]] = view[n];
cleanup:
    for (int k = 0; k < n; k++)
        nd_md_free(&src[k]);
    nd_md_free(&dst);
    dnnl_primitive_desc_destroy(pd);
    return rc;
}

sq_status ex_compile_concat(sq_engine *e, int index)
{
    const nn_node *node = &e->model->node[index];
    const nn_tensor *out = ex_shape(e, node->out[0]);
    nn_call call;
    int64_t value;
    int axis;
    layout kind;
    ex_call(e, index, &call);
    sq_status rc = nn_int(&call, "axis", 1, &value);
    if (rc == SQ_OK)
        rc = nn_axis(&call, value, out->rank, &axis);
    if (rc == SQ_OK)
        rc = concat_layout(e, node, axis, &kind);
    if (rc != SQ_OK)
        return rc;
    dnnl_data_type_t type = ex_float_type(e);
    return parts_adjoin(out, kind, axis) ? join(e, node, axis, kind, type)
                                         : copy_parts(e, node, axis, kind, type);
}

/* ---- Slice and Split ---- */

typedef struct box {
    int64_t first[SQ_MAX_RANK], step[SQ_MAX_RANK], length[SQ_MAX_RANK];
} box;

/* The only dimension that is cut, -1: none, -2: several or with steps. */
static int cut_axis(const nn_tensor *t, const box *b)
{
    int axis = -1;
    for (int i = 0; i < t->rank; i++) {
        if (b->length[i] == t->dim[i] && b->step[i] == 1)
            continue;
        if (axis >= 0 || b->step[i] != 1)
            return -2;
        axis = i;
    }
    return axis;
}

static int is_view(const nn_tensor *t, layout kind, int axis, const box *b)
{
    if (axis < 0 || !parts_adjoin(t, kind, axis))
        return axis == -1;
    return b->first[axis] % block_of(kind) == 0 && b->length[axis] % block_of(kind) == 0;
}

static sq_status box_view(sq_engine *e, int home, layout kind, int axis, const box *b, int out)
{
    const ex_view *v = &e->view[home];
    const nn_tensor *t = ex_shape(e, out);
    dnnl_data_type_t type = nd_md_type(&v->md);
    nd_md md = {0};
    int view;
    size_t offset = axis < 0 ? 0 : part_offset(&v->shape, axis, b->first[axis], type);
    sq_status rc = axis < 0 ? nd_md_copy(&md, &v->md) : layout_md(t, type, kind, &md);
    if (rc == SQ_OK)
        rc = ex_alias_view(e, v->buffer, v->offset + offset, t, &md, &view);
    if (rc == SQ_OK) {
        e->buffer[e->view[view].buffer].shared = 1;
        e->home[out] = view;
    }
    nd_md_free(&md);
    return rc;
}

/* A box within a regular layout, copied in that layout. */
static sq_status box_copy(sq_engine *e, int home, layout kind, const box *b, int out)
{
    const nn_tensor *t = ex_shape(e, out);
    nd_md part = {0}, md = {0};
    int from, view;
    int64_t dim[DNNL_MAX_NDIMS] = {0}, first[DNNL_MAX_NDIMS] = {0};
    sq_status rc;
    for (int i = 0; i < t->rank; i++) {
        if (b->step[i] != 1 || kind == OTHER || (i == 1 && b->first[i] % block_of(kind)))
            return SQ_ERR_UNSUPPORTED;
        dim[i] = b->length[i];
        first[i] = b->first[i];
    }
    SQ_TRY(nd_md_box(&part, &e->view[home].md, dim, first));
    SQ_TRY(layout_md(t, nd_md_type(&part), kind, &md));
    SQ_TRY(ex_alias_view(e, e->view[home].buffer, e->view[home].offset, t, &part, &from));
    SQ_TRY(ex_new_view(e, t, &md, &view));
    SQ_TRY(ex_add_reorder(e, from, view));
    e->home[out] = view;
cleanup:
    nd_md_free(&part);
    nd_md_free(&md);
    return rc;
}

/* dst = plain elements of `value` at an offset, with strides (both in elements). */
static sq_status strided_copy(sq_engine *e, int value, int64_t offset, const nn_tensor *shape,
                              const int64_t *stride, int *view)
{
    nd_md from_md = {0}, md = {0};
    int home, plain, from;
    sq_status rc;
    SQ_TRY(ex_home(e, value, &home));
    if (!e->view[home].md.set)
        return SQ_ERR_UNSUPPORTED;
    dnnl_data_type_t type = nd_md_type(&e->view[home].md);
    SQ_TRY(ex_plain(e, value, type, &plain));
    SQ_TRY(nd_md_strides(&from_md, shape->rank, shape->dim, type, stride));
    SQ_TRY(ex_plain_md(shape, type, &md));
    SQ_TRY(ex_alias_view(e, e->view[plain].buffer,
                         e->view[plain].offset + (size_t)offset * type_size(type), shape, &from_md,
                         &from));
    SQ_TRY(ex_new_view(e, shape, &md, view));
    SQ_TRY(ex_add_reorder(e, from, *view));
cleanup:
    nd_md_free(&from_md);
    nd_md_free(&md);
    return rc;
}

static sq_status take_box(sq_engine *e, int value, const box *b, int out)
{
    const nn_tensor *t = ex_shape(e, value);
    int home, axis = cut_axis(t, b), view;
    int64_t stride[SQ_MAX_RANK], offset = 0;
    layout kind;
    sq_status rc = layout_of(e, value, &home, &kind);
    if (rc != SQ_OK)
        return rc;
    if (is_view(t, kind, axis, b))
        return box_view(e, home, kind, axis, b, out);
    rc = box_copy(e, home, kind, b, out);
    if (rc != SQ_ERR_UNSUPPORTED)
        return rc;
    nn_strides(t, stride);
    for (int i = 0; i < t->rank; i++) {
        if (b->step[i] < 1)
            return SQ_ERR_UNSUPPORTED;
        offset += b->first[i] * stride[i];
        stride[i] *= b->step[i];
    }
    rc = strided_copy(e, value, offset, ex_shape(e, out), stride, &view);
    if (rc == SQ_OK)
        e->home[out] = view;
    return rc;
}

sq_status ex_compile_slice(sq_engine *e, int index)
{
    nn_call call;
    box b;
    ex_call(e, index, &call);
    sq_status rc = nn_slice_range(&call, b.first, b.step, b.length);
    return rc == SQ_OK ? take_box(e, call.node->in[0], &b, call.node->out[0]) : rc;
}

sq_status ex_compile_split(sq_engine *e, int index)
{
    nn_call call;
    int64_t value, at = 0;
    int axis;
    ex_call(e, index, &call);
    const nn_tensor *t = call.in[0];
    sq_status rc = nn_int(&call, "axis", 0, &value);
    if (rc == SQ_OK)
        rc = nn_axis(&call, value, t->rank, &axis);
    for (int k = 0; rc == SQ_OK && k < call.node->outputs; k++) {
        box b;
        if (!call.out[k])
            return SQ_ERR_UNSUPPORTED;
        for (int i = 0; i < t->rank; i++) {
            b.first[i] = i == axis ? at : 0;
            b.step[i] = 1;
            b.length[i] = i == axis ? call.out[k]->dim[i] : t->dim[i];
        }
        at += call.out[k]->dim[axis];
        rc = take_box(e, call.node->in[0], &b, call.node->out[k]);
    }
    return rc;
}

/* ---- views and permutations ---- */

sq_status ex_compile_reshape(sq_engine *e, int index)
{
    const nn_node *node = &e->model->node[index];
    const nn_tensor *out = ex_shape(e, node->out[0]), *in = ex_shape(e, node->in[0]);
    nd_md md = {0};
    int home, plain, view;
    sq_status rc;
    if (node->outputs > 1)
        return SQ_ERR_UNSUPPORTED;
    SQ_TRY(ex_home(e, node->in[0], &home));
    if (!e->view[home].md.set)
        return SQ_ERR_UNSUPPORTED;
    plain = home;
    if (in->rank == out->rank && memcmp(in->dim, out->dim, (size_t)in->rank * 8) == 0) {
        SQ_TRY(nd_md_copy(&md, &e->view[home].md));
    } else {
        SQ_TRY(ex_plain(e, node->in[0], nd_md_type(&e->view[home].md), &plain));
        SQ_TRY(ex_plain_md(out, nd_md_type(&e->view[home].md), &md));
    }
    SQ_TRY(ex_alias_view(e, e->view[plain].buffer, e->view[plain].offset, out, &md, &view));
    e->buffer[e->view[view].buffer].shared = 1;
    e->home[node->out[0]] = view;
cleanup:
    nd_md_free(&md);
    return rc;
}

sq_status ex_compile_transpose(sq_engine *e, int index)
{
    const nn_node *node = &e->model->node[index];
    const nn_tensor *x = ex_shape(e, node->in[0]), *out = ex_shape(e, node->out[0]);
    int64_t perm[SQ_MAX_RANK];
    int inverse[SQ_MAX_RANK], count, home, from, view;
    nd_md turned = {0}, md = {0};
    nn_call call;
    sq_status rc;
    ex_call(e, index, &call);
    if (x->rank == 0)
        return SQ_ERR_UNSUPPORTED;
    SQ_TRY(nn_ints(&call, "perm", SQ_MAX_RANK, perm, &count));
    for (int i = 0; i < x->rank; i++)
        inverse[count < 0 ? x->rank - 1 - i : perm[i]] = i;
    SQ_TRY(ex_home(e, node->in[0], &home));
    if (!e->view[home].md.set)
        return SQ_ERR_UNSUPPORTED;
    SQ_TRY(nd_md_permute(&turned, &e->view[home].md, inverse));
    SQ_TRY(ex_plain_md(out, nd_md_type(&turned), &md));
    SQ_TRY(ex_alias_view(e, e->view[home].buffer, e->view[home].offset, out, &turned, &from));
    SQ_TRY(ex_new_view(e, out, &md, &view));
    SQ_TRY(ex_add_reorder(e, from, view));
    e->home[node->out[0]] = view;
cleanup:
    nd_md_free(&turned);
    nd_md_free(&md);
    return rc;
}

/* DepthToSpace and SpaceToDepth: six dimensions in another order. */
sq_status ex_compile_blocks(sq_engine *e, int index)
{
    const nn_node *node = &e->model->node[index];
    const nn_tensor *x = ex_shape(e, node->in[0]), *out = ex_shape(e, node->out[0]);
    const int64_t *d = x->dim;
    int64_t b, s[SQ_MAX_RANK], stride[6];
    const char *mode;
    nn_tensor six = {.type = NN_F32, .rank = 6, .count = x->count};
    nd_md md = {0};
    nn_call call;
    int view, alias;
    sq_status rc;
    ex_call(e, index, &call);
    SQ_TRY(nn_int(&call, "blocksize", 1, &b));
    SQ_TRY(nn_text(&call, "mode", "DCR", &mode));
    nn_strides(x, s);
    if (strcmp(node->op_name, "DepthToSpace") == 0) {
        int crd = strcmp(mode, "CRD") == 0;
        int64_t c = d[1] / (b * b), dims[6] = {d[0], c, d[2], b, d[3], b};
        int64_t steps[6] = {s[0], (crd ? b * b : 1) * s[1], s[2], b * (crd ? 1 : c) * s[1],
                            s[3], (crd ? 1 : c) * s[1]};
        memcpy(six.dim, dims, sizeof dims);
        memcpy(stride, steps, sizeof steps);
    } else {
        int64_t dims[6] = {d[0], b, b, d[1], d[2] / b, d[3] / b};
        int64_t steps[6] = {s[0], s[2], s[3], s[1], b * s[2], b * s[3]};
        memcpy(six.dim, dims, sizeof dims);
        memcpy(stride, steps, sizeof steps);
    }
    SQ_TRY(strided_copy(e, node->in[0], 0, &six, stride, &view));
    SQ_TRY(ex_plain_md(out, nd_md_type(&e->view[view].md), &md));
    SQ_TRY(ex_alias_view(e, e->view[view].buffer, 0, out, &md, &alias));
    e->home[node->out[0]] = alias;
cleanup:
    nd_md_free(&md);
    return rc;
}

/* Zero padding: clear the whole, then copy into its middle. */
sq_status ex_compile_pad(sq_engine *e, int index)
{
    const nn_node *node = &e->model->node[index];
    const nn_tensor *x = ex_shape(e, node->in[0]), *out = ex_shape(e, node->out[0]);
    int64_t begin[SQ_MAX_RANK], end[SQ_MAX_RANK], first[DNNL_MAX_NDIMS] = {0};
    int64_t dim[DNNL_MAX_NDIMS] = {0};
    double value;
    const char *mode;
    nd_md md = {0}, part = {0};
    nn_call call;
    layout kind;
    int home, view, middle;
    sq_status rc;
    ex_call(e, index, &call);
    SQ_TRY(nn_pad_range(&call, begin, end, &value));
    SQ_TRY(nn_text(&call, "mode", "constant", &mode));
    SQ_TRY(layout_of(e, node->in[0], &home, &kind));
    if (value != 0 || strcmp(mode, "constant") != 0 || kind == OTHER || x->rank == 0)
        return SQ_ERR_UNSUPPORTED;
    for (int i = 0; i < x->rank; i++) {
        if (begin[i] < 0 || end[i] < 0 || (i == 1 && begin[1] % block_of(kind)) ||
            (i == 1 && kind != PLAIN &&
             (x->dim[1] % block_of(kind) || out->dim[1] % block_of(kind))))
            return SQ_ERR_UNSUPPORTED;
        first[i] = begin[i];
        dim[i] = x->dim[i];
    }
    SQ_TRY(layout_md(out, nd_md_type(&e->view[home].md), kind, &md));
    SQ_TRY(nd_md_box(&part, &md, dim, first));
    SQ_TRY(ex_new_view(e, out, &md, &view));
    SQ_TRY(ex_add_zero(e, view));
    SQ_TRY(ex_alias_view(e, e->view[view].buffer, 0, x, &part, &middle));
    SQ_TRY(ex_add_reorder(e, home, middle));
    e->home[node->out[0]] = view;
cleanup:
    nd_md_free(&md);
    nd_md_free(&part);
    return rc;
}
