/* Constants and the operators that compute shapes: rules and naive kernels. */
#include <string.h>

#include "nn/ops.h"

sq_status nn_infer_constant(nn_call *call)
{
    const nn_node *node = call->node;
    if (node->attrs != 1)
        return nn_fail(call, SQ_ERR_CONFIG, "%d attributes", node->attrs);
    const nn_attr *a = &node->attr[0];
    int64_t count = a->count;
    if (strcmp(a->name, "value") == 0 && a->kind == NN_ATTR_TENSOR)
        return nn_out(call, 0, a->tensor.type, a->tensor.rank, a->tensor.dim);
    if (strcmp(a->name, "value_float") == 0 && a->kind == NN_ATTR_FLOAT)
        return nn_out(call, 0, NN_F32, 0, NULL);
    if (strcmp(a->name, "value_int") == 0 && a->kind == NN_ATTR_INT)
        return nn_out(call, 0, NN_I64, 0, NULL);
    if (strcmp(a->name, "value_floats") == 0 && a->kind == NN_ATTR_FLOATS)
        return nn_out(call, 0, NN_F32, 1, &count);
    if (strcmp(a->name, "value_ints") == 0 && a->kind == NN_ATTR_INTS)
        return nn_out(call, 0, NN_I64, 1, &count);
    return nn_fail(call, SQ_ERR_UNSUPPORTED, "attribute %.60s", a->name);
}

sq_status nn_eval_constant(nn_call *call)
{
    const nn_attr *a = &call->node->attr[0];
    nn_tensor *out = call->out[0];
    if (a->kind == NN_ATTR_TENSOR)
        memcpy(out->data, a->tensor.data, (size_t)out->count * nn_type_size(out->type));
    for (int64_t i = 0; a->kind != NN_ATTR_TENSOR && i < out->count; i++) {
        if (out->type == NN_I64)
            nn_set_int(out, i, a->kind == NN_ATTR_INT ? a->i : a->ints[i]);
        else
            nn_set(out, i, a->kind == NN_ATTR_FLOAT ? a->f : a->floats[i]);
    }
    return SQ_OK;
}

static sq_status shape_range(const nn_call *call, int64_t *start, int64_t *end)
{
    int64_t rank = call->in[0]->rank;
    sq_status rc = nn_int(call, "start", 0, start);
    if (rc == SQ_OK)
        rc = nn_int(call, "end", rank, end);
    int64_t *bound[2] = {start, end};
    for (int i = 0; i < 2; i++) {
        int64_t v = *bound[i];
        v = v < -rank ? -rank : v > rank ? rank : v;
        *bound[i] = v < 0 ? v + rank : v;
    }
    *end = *end < *start ? *start : *end;
    return rc;
}

sq_status nn_infer_shape(nn_call *call)
{
    int64_t start, end;
    sq_status rc = shape_range(call, &start, &end);
    int64_t dim[1] = {end - start};
    return rc == SQ_OK ? nn_out(call, 0, NN_I64, 1, dim) : rc;
}

sq_status nn_eval_shape(nn_call *call)
{
    int64_t start, end;
    sq_status rc = shape_range(call, &start, &end);
    for (int64_t i = start; rc == SQ_OK && i < end; i++)
        nn_set_int(call->out[0], i - start, call->in[0]->dim[i]);
    return rc;
}

static sq_status gather_axis(const nn_call *call, int *axis)
{
    int64_t value;
    sq_status rc = nn_int(call, "axis", 0, &value);
    return rc == SQ_OK ? nn_axis(call, value, call->in[0]->rank, axis) : rc;
}

sq_status nn_infer_gather(nn_call *call)
{
    const nn_tensor *x = call->in[0], *index = call->in[1];
    int64_t dim[2 * SQ_MAX_RANK];
    int axis, n = 0;
    sq_status rc = gather_axis(call, &axis);
    if (rc != SQ_OK)
        return rc;
    if (index->type != NN_I64 && index->type != NN_I32)
        return nn_fail(call, SQ_ERR_CONFIG, "indices of type %s", nn_type_name(index->type));
    for (int i = 0; i < axis; i++)
        dim[n++] = x->dim[i];
    for (int i = 0; i < index->rank; i++)
        dim[n++] = index->dim[i];
    for (int i = axis + 1; i < x->rank; i++)
        dim[n++] = x->dim[i];
    return nn_out(call, 0, x->type, n, dim);
}

sq_status nn_eval_gather(nn_call *call)
{
    const nn_tensor *x = call->in[0], *index = call->in[1];
    int axis;
    int64_t outer = 1, inner = 1;
    sq_status rc = gather_axis(call, &axis);
    if (rc != SQ_OK)
        return rc;
    for (int i = 0; i < x->rank; i++) {
        outer *= i < axis ? x->dim[i] : 1;
        inner *= i > axis ? x->dim[i] : 1;
    }
    size_t row = (size_t)inner * nn_type_size(x->type);
    char *to = call->out[0]->data;
    for (int64_t o = 0; o < outer; o++) {
        for (int64_t k = 0; k < index->count; k++) {
            int64_t at = nn_get_int(index, k), size = x->dim[axis];
            if (at < -size || at >= size)
                return nn_fail(call, SQ_ERR_DATA, "index %lld of %lld", (long long)at,
                               (long long)size);
            at += at < 0 ? size : 0;
            if (row > 0)
                memcpy(to, (const char *)x->data + (size_t)(o * size + at) * row, row);
            to += row;
        }
    }
    return SQ_OK;
}

/* Axes as a bit mask over a tensor of `rank`; *count = -1 when none are given. */
static sq_status axes_mask(const nn_call *call, int rank, unsigned *mask, int *count)
{
    int64_t axes[SQ_MAX_RANK];
    sq_status rc = nn_list(call, "axes", 1, SQ_MAX_RANK, axes, count);
    *mask = 0;
    for (int i = 0; rc == SQ_OK && i < *count; i++) {
        int axis;
        rc = nn_axis(call, axes[i], rank, &axis);
        if (rc == SQ_OK && (*mask >> axis & 1))
            rc = nn_fail(call, SQ_ERR_CONFIG, "axis %d is given twice", axis);
        if (rc == SQ_OK)
            *mask |= 1u << axis;
    }
    return rc;
}

sq_status nn_infer_squeeze(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    unsigned mask;
    int count, n = 0;
    int64_t dim[SQ_MAX_RANK];
    sq_status rc = axes_mask(call, x->rank, &mask, &count);
    for (int i = 0; rc == SQ_OK && i < x->rank; i++) {
        int drop = count < 0 ? x->dim[i] == 1 : (int)(mask >> i & 1);
        if (drop && x->dim[i] != 1)
            return nn_fail(call, SQ_ERR_CONFIG, "dimension %d is %lld, not 1", i,
                           (long long)x->dim[i]);
        if (!drop)
            dim[n++] = x->dim[i];
    }
    return rc == SQ_OK ? nn_out(call, 0, x->type, n, dim) : rc;
}

sq_status nn_infer_unsqueeze(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    unsigned mask;
    int count, from = 0;
    int64_t dim[SQ_MAX_RANK], axes[SQ_MAX_RANK];
    sq_status rc = nn_list(call, "axes", 1, SQ_MAX_RANK, axes, &count);
    if (rc != SQ_OK)
        return rc;
    if (count < 0 || x->rank + count > SQ_MAX_RANK)
        return nn_fail(call, SQ_ERR_CONFIG, "%d axes on rank %d", count, x->rank);
    int rank = x->rank + count;
    rc = axes_mask(call, rank, &mask, &count);
    for (int i = 0; rc == SQ_OK && i < rank; i++)
        dim[i] = mask >> i & 1 ? 1 : x->dim[from++];
    return rc == SQ_OK ? nn_out(call, 0, x->type, rank, dim) : rc;
}

sq_status nn_infer_fill(nn_call *call)
{
    const nn_attr *a = nn_attr_find(call->node, "value");
    int64_t dim[SQ_MAX_RANK];
    int count;
    sq_status rc = nn_in_ints(call, 0, SQ_MAX_RANK, dim, &count);
    if (rc != SQ_OK)
        return rc;
    if (a && (a->kind != NN_ATTR_TENSOR || a->tensor.count != 1))
        return nn_fail(call, SQ_ERR_CONFIG, "attribute value is not a tensor of one element");
    return nn_out(call, 0, a ? a->tensor.type : NN_F32, count, dim);
}

sq_status nn_eval_fill(nn_call *call)
{
    const nn_attr *a = nn_attr_find(call->node, "value");
    size_t size = nn_type_size(call->out[0]->type);
    for (int64_t i = 0; a && i < call->out[0]->count; i++)
        memcpy((char *)call->out[0]->data + (size_t)i * size, a->tensor.data, size);
    return SQ_OK;
}

sq_status nn_infer_expand(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    int64_t shape[SQ_MAX_RANK], dim[SQ_MAX_RANK];
    int count;
    sq_status rc = nn_in_ints(call, 1, SQ_MAX_RANK, shape, &count);
    if (rc != SQ_OK)
        return rc;
    int rank = x->rank > count ? x->rank : count;
    for (int i = 0; i < rank; i++) {
        int ix = i - (rank - x->rank), is = i - (rank - count);
        int64_t a = ix < 0 ? 1 : x->dim[ix], b = is < 0 ? 1 : shape[is];
        if (a != b && a != 1 && b != 1)
            return nn_fail(call, SQ_ERR_CONFIG, "sizes %lld and %lld do not broadcast",
                           (long long)a, (long long)b);
        dim[i] = a == 1 ? b : a;
    }
    return nn_out(call, 0, x->type, rank, dim);
}

sq_status nn_eval_expand(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    nn_tensor *out = call->out[0];
    int64_t stride[SQ_MAX_RANK], index[SQ_MAX_RANK] = {0};
    size_t size = nn_type_size(x->type);
    nn_broadcast_strides(x, out->rank, stride);
    for (int64_t i = 0; i < out->count; i++) {
        int64_t at = 0;
        for (int k = 0; k < out->rank; k++)
            at += index[k] * stride[k];
        memcpy((char *)out->data + (size_t)i * size, (const char *)x->data + (size_t)at * size,
               size);
        for (int k = out->rank - 1; k >= 0 && ++index[k] == out->dim[k]; k--)
            index[k] = 0;
    }
    return SQ_OK;
}
