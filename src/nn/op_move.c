/* Operators that move elements without computing: shape rules and naive kernels. */
#include <string.h>

#include "nn/ops.h"

/* dst (row-major over dim) = src element at base + sum index[k] * stride[k]. */
static void gather_strided(const nn_tensor *src, int64_t base, int rank, const int64_t *dim,
                           const int64_t *stride, char *dst)
{
    size_t size = nn_type_size(src->type);
    const char *from = src->data;
    int64_t index[SQ_MAX_RANK] = {0}, count = 1, inner = rank > 0 ? dim[rank - 1] : 1;
    int64_t inner_stride = rank > 0 ? stride[rank - 1] : 1;
    for (int i = 0; i + 1 < rank; i++)
        count *= dim[i];
    for (int64_t row = 0; row < count && inner > 0; row++) {
        if (inner_stride == 1)
            memcpy(dst, from + base * (int64_t)size, (size_t)inner * size);
        else
            for (int64_t i = 0; i < inner; i++)
                memcpy(dst + (size_t)i * size, from + (base + i * inner_stride) * (int64_t)size,
                       size);
        dst += (size_t)inner * size;
        for (int k = rank - 2; k >= 0; k--) {
            base += stride[k];
            if (++index[k] < dim[k])
                break;
            base -= stride[k] * dim[k];
            index[k] = 0;
        }
    }
}

sq_status nn_infer_concat(nn_call *call)
{
    const nn_tensor *first = call->in[0];
    int64_t value, dim[SQ_MAX_RANK];
    int axis;
    sq_status rc = nn_int(call, "axis", 1, &value);
    if (rc == SQ_OK)
        rc = nn_axis(call, value, first->rank, &axis);
    if (rc != SQ_OK)
        return rc;
    memcpy(dim, first->dim, sizeof dim);
    for (int i = 1; i < call->node->inputs; i++) {
        const nn_tensor *t = call->in[i];
        if (!t || t->rank != first->rank || t->type != first->type)
            return nn_fail(call, SQ_ERR_CONFIG, "input %d differs in rank or type", i);
        for (int k = 0; k < t->rank; k++) {
            if (k != axis && t->dim[k] != dim[k])
                return nn_fail(call, SQ_ERR_CONFIG, "input %d differs in dimension %d", i, k);
        }
        dim[axis] += t->dim[axis];
    }
    return nn_out(call, 0, first->type, first->rank, dim);
}

sq_status nn_eval_concat(nn_call *call)
{
    nn_tensor *out = call->out[0];
    int64_t value, outer = 1, at = 0;
    int axis;
    sq_status rc = nn_int(call, "axis", 1, &value);
    if (rc == SQ_OK)
        rc = nn_axis(call, value, out->rank, &axis);
    if (rc != SQ_OK || out->count == 0)
        return rc;
    for (int k = 0; k < axis; k++)
        outer *= out->dim[k];
    size_t size = nn_type_size(out->type), row = (size_t)(out->count / outer) * size;
    for (int i = 0; i < call->node->inputs; i++) {
        size_t part = (size_t)(call->in[i]->count / outer) * size;
        for (int64_t o = 0; part > 0 && o < outer; o++)
            memcpy((char *)out->data + (size_t)o * row + at,
                   (const char *)call->in[i]->data + (size_t)o * part, part);
        at += (int64_t)part;
    }
    return SQ_OK;
}

static int64_t clamp(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* ONNX's rule for one axis: negative indices count from the end, then everything is clamped. */
static void slice_axis(int64_t start, int64_t end, int64_t step, int64_t size, int64_t *first,
                       int64_t *length)
{
    start = start < 0 ? (start < -size ? -1 : start + size) : start;
    end = end < 0 ? (end < -size ? -1 : end + size) : end;
    if (step > 0) {
        start = clamp(start, 0, size);
        end = clamp(end, 0, size);
        *length = end > start ? (end - start - 1) / step + 1 : 0;
    } else {
        start = clamp(start, 0, size - 1);
        end = clamp(end, -1, size - 1);
        *length = start > end && size > 0 ? (start - end - 1) / -step + 1 : 0;
    }
    *first = start;
}

sq_status nn_slice_range(const nn_call *call, int64_t *first, int64_t *step, int64_t *length)
{
    const nn_tensor *x = call->in[0];
    int64_t starts[SQ_MAX_RANK], ends[SQ_MAX_RANK], axes[SQ_MAX_RANK], steps[SQ_MAX_RANK];
    int n, n_ends, n_axes, n_steps;
    sq_status rc = nn_list(call, "starts", 1, SQ_MAX_RANK, starts, &n);
    if (rc == SQ_OK)
        rc = nn_list(call, "ends", 2, SQ_MAX_RANK, ends, &n_ends);
    if (rc == SQ_OK)
        rc = nn_list(call, "axes", 3, SQ_MAX_RANK, axes, &n_axes);
    if (rc == SQ_OK)
        rc = nn_in_ints(call, 4, SQ_MAX_RANK, steps, &n_steps);
    if (rc != SQ_OK)
        return rc;
    if (n < 0 || n != n_ends || (n_axes >= 0 && n_axes != n) || (n_steps >= 0 && n_steps != n) ||
        n > x->rank)
        return nn_fail(call, SQ_ERR_CONFIG, "starts, ends, axes and steps do not agree");
    for (int k = 0; k < x->rank; k++) {
        first[k] = 0;
        step[k] = 1;
        length[k] = x->dim[k];
    }
    for (int i = 0; i < n; i++) {
        int axis;
        rc = nn_axis(call, n_axes >= 0 ? axes[i] : i, x->rank, &axis);
        if (rc != SQ_OK)
            return rc;
        step[axis] = n_steps >= 0 ? clamp(steps[i], -NN_MAX_DIM, NN_MAX_DIM) : 1;
        if (step[axis] == 0)
            return nn_fail(call, SQ_ERR_CONFIG, "a step of 0");
        slice_axis(starts[i], ends[i], step[axis], x->dim[axis], &first[axis], &length[axis]);
    }
    return SQ_OK;
}

sq_status nn_infer_slice(nn_call *call)
{
    int64_t first[SQ_MAX_RANK], step[SQ_MAX_RANK], length[SQ_MAX_RANK];
    sq_status rc = nn_slice_range(call, first, step, length);
    return rc == SQ_OK ? nn_out(call, 0, call->in[0]->type, call->in[0]->rank, length) : rc;
}

sq_status nn_eval_slice(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    int64_t first[SQ_MAX_RANK], step[SQ_MAX_RANK], length[SQ_MAX_RANK], stride[SQ_MAX_RANK];
    sq_status rc = nn_slice_range(call, first, step, length);
    if (rc != SQ_OK || call->out[0]->count == 0)
        return rc;
    int64_t base = 0;
    nn_strides(x, stride);
    for (int k = 0; k < x->rank; k++) {
        base += first[k] * stride[k];
        stride[k] *= step[k];
    }
    gather_strided(x, base, x->rank, length, stride, call->out[0]->data);
    return SQ_OK;
}

static sq_status split_sizes(const nn_call *call, int *axis, int64_t *size)
{
    const nn_tensor *x = call->in[0];
    int64_t value;
    int count, n = call->node->outputs;
    sq_status rc = nn_int(call, "axis", 0, &value);
    if (rc == SQ_OK)
        rc = nn_axis(call, value, x->rank, axis);
    if (rc == SQ_OK)
        rc = nn_list(call, "split", 1, NN_MAX_ARGS, size, &count);
    if (rc != SQ_OK)
        return rc;
    int64_t each = (x->dim[*axis] + n - 1) / n, total = 0;
    if (count < 0 && each * n != x->dim[*axis] && call->model->opset < 18)
        return nn_fail(call, SQ_ERR_CONFIG, "%lld elements in %d equal parts",
                       (long long)x->dim[*axis], n);
    for (int i = 0; i < n; i++) {
        if (count < 0)
            size[i] = clamp(x->dim[*axis] - i * each, 0, each);
        if ((count >= 0 && count != n) || size[i] < 0 || size[i] > x->dim[*axis])
            return nn_fail(call, SQ_ERR_CONFIG, "the sizes of the parts do not fit");
        total += size[i];
    }
    return total == x->dim[*axis] ? SQ_OK
                                  : nn_fail(call, SQ_ERR_CONFIG, "parts of %lld of %lld elements",
                                            (long long)total, (long long)x->dim[*axis]);
}

sq_status nn_infer_split(nn_call *call)
{
    int64_t size[NN_MAX_ARGS], dim[SQ_MAX_RANK];
    int axis;
    sq_status rc = split_sizes(call, &axis, size);
    for (int i = 0; rc == SQ_OK && i < call->node->outputs; i++) {
        memcpy(dim, call->in[0]->dim, sizeof dim);
        dim[axis] = size[i];
        rc = nn_out(call, i, call->in[0]->type, call->in[0]->rank, dim);
    }
    return rc;
}

sq_status nn_eval_split(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    int64_t size[NN_MAX_ARGS], stride[SQ_MAX_RANK], at = 0;
    int axis;
    sq_status rc = split_sizes(call, &axis, size);
    if (rc != SQ_OK)
        return rc;
    nn_strides(x, stride);
    for (int i = 0; i < call->node->outputs; i++) {
        nn_tensor *out = call->out[i];
        if (out && out->count > 0)
            gather_strided(x, at * stride[axis], x->rank, out->dim, stride, out->data);
        at += size[i];
    }
    return SQ_OK;
}

sq_status nn_infer_reshape(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    int64_t dim[SQ_MAX_RANK], allow_zero, known = 1;
    int n, wild = -1;
    sq_status rc = nn_list(call, "shape", 1, SQ_MAX_RANK, dim, &n);
    if (rc == SQ_OK)
        rc = nn_int(call, "allowzero", 0, &allow_zero);
    if (rc != SQ_OK)
        return rc;
    if (n < 0)
        return nn_fail(call, SQ_ERR_CONFIG, "no shape is given");
    for (int i = 0; i < n; i++) {
        if (dim[i] == 0 && !allow_zero && i >= x->rank)
            return nn_fail(call, SQ_ERR_CONFIG, "dimension %d copies one that is not there", i);
        if (dim[i] == 0 && !allow_zero)
            dim[i] = x->dim[i];
        if (dim[i] < -1 || dim[i] > NN_MAX_DIM || (dim[i] == -1 && wild >= 0))
            return nn_fail(call, SQ_ERR_CONFIG, "dimension %d is %lld", i, (long long)dim[i]);
        if (dim[i] == -1)
            wild = i;
        else if (__builtin_mul_overflow(known, dim[i], &known))
            return nn_fail(call, SQ_ERR_CONFIG, "the shape has too many elements");
    }
    if (wild >= 0 && (known == 0 || x->count % known))
        return nn_fail(call, SQ_ERR_CONFIG, "%lld elements do not fit the shape",
                       (long long)x->count);
    if (wild >= 0)
        dim[wild] = x->count / known;
    else if (known != x->count)
        return nn_fail(call, SQ_ERR_CONFIG, "%lld elements into a shape of %lld",
                       (long long)x->count, (long long)known);
    return nn_out(call, 0, x->type, n, dim);
}

static sq_status permutation(const nn_call *call, int64_t *perm)
{
    int rank = call->in[0]->rank, count;
    unsigned seen = 0;
    sq_status rc = nn_ints(call, "perm", SQ_MAX_RANK, perm, &count);
    if (rc != SQ_OK)
        return rc;
    if (count >= 0 && count != rank)
        return nn_fail(call, SQ_ERR_CONFIG, "perm has %d values for rank %d", count, rank);
    for (int i = 0; i < rank; i++) {
        if (count < 0)
            perm[i] = rank - 1 - i;
        if (perm[i] < 0 || perm[i] >= rank || (seen >> perm[i] & 1))
            return nn_fail(call, SQ_ERR_CONFIG, "perm is not a permutation");
        seen |= 1u << perm[i];
    }
    return SQ_OK;
}

sq_status nn_infer_transpose(nn_call *call)
{
    int64_t perm[SQ_MAX_RANK], dim[SQ_MAX_RANK];
    sq_status rc = permutation(call, perm);
    if (rc != SQ_OK)
        return rc;
    for (int i = 0; i < call->in[0]->rank; i++)
        dim[i] = call->in[0]->dim[perm[i]];
    return nn_out(call, 0, call->in[0]->type, call->in[0]->rank, dim);
}

sq_status nn_eval_transpose(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    int64_t perm[SQ_MAX_RANK], stride[SQ_MAX_RANK], own[SQ_MAX_RANK];
    sq_status rc = permutation(call, perm);
    if (rc != SQ_OK || x->count == 0)
        return rc;
    nn_strides(x, own);
    for (int i = 0; i < x->rank; i++)
        stride[i] = own[perm[i]];
    gather_strided(x, 0, x->rank, call->out[0]->dim, stride, call->out[0]->data);
    return SQ_OK;
}

sq_status nn_infer_flatten(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    int64_t axis, dim[2] = {1, 1};
    sq_status rc = nn_int(call, "axis", 1, &axis);
    if (rc != SQ_OK)
        return rc;
    if (axis < -x->rank || axis > x->rank)
        return nn_fail(call, SQ_ERR_CONFIG, "axis %lld", (long long)axis);
    axis += axis < 0 ? x->rank : 0;
    for (int i = 0; i < x->rank; i++) {
        if (__builtin_mul_overflow(dim[i >= axis], x->dim[i], &dim[i >= axis]))
            return nn_fail(call, SQ_ERR_CONFIG, "too many elements");
    }
    return nn_out(call, 0, x->type, 2, dim);
}

static sq_status pad_mode(const nn_call *call, int *mode)
{
    static const char *const names[] = {"constant", "reflect", "edge"};
    const char *text;
    sq_status rc = nn_text(call, "mode", "constant", &text);
    for (*mode = 0; rc == SQ_OK && *mode < 3; (*mode)++) {
        if (strcmp(text, names[*mode]) == 0)
            return SQ_OK;
    }
    return rc != SQ_OK ? rc : nn_fail(call, SQ_ERR_UNSUPPORTED, "mode '%.40s'", text);
}

sq_status nn_pad_range(const nn_call *call, int64_t *begin, int64_t *end, double *value)
{
    const nn_tensor *x = call->in[0], *fill = call->in[2];
    int64_t pads[2 * SQ_MAX_RANK], axes[SQ_MAX_RANK];
    int n, n_axes;
    sq_status rc = nn_list(call, "pads", 1, 2 * SQ_MAX_RANK, pads, &n);
    if (rc == SQ_OK && n < 0)
        rc = nn_ints(call, "paddings", 2 * SQ_MAX_RANK, pads, &n);
    if (rc == SQ_OK)
        rc = nn_in_ints(call, 3, SQ_MAX_RANK, axes, &n_axes);
    if (rc == SQ_OK)
        rc = nn_float(call, "value", 0.0, value);
    if (rc != SQ_OK)
        return rc;
    int count = n_axes >= 0 ? n_axes : x->rank;
    if (n != 2 * count)
        return nn_fail(call, SQ_ERR_CONFIG, "%d pads for %d dimensions", n, count);
    if (fill && (!fill->data || fill->count != 1))
        return nn_fail(call, SQ_ERR_UNSUPPORTED, "the value is not a constant scalar");
    if (fill)
        *value = nn_get(fill, 0);
    memset(begin, 0, SQ_MAX_RANK * sizeof *begin);
    memset(end, 0, SQ_MAX_RANK * sizeof *end);
    for (int i = 0; i < count; i++) {
        int axis;
        rc = nn_axis(call, n_axes >= 0 ? axes[i] : i, x->rank, &axis);
        if (rc != SQ_OK)
            return rc;
        if (pads[i] < -NN_MAX_DIM || pads[i] > NN_MAX_DIM || pads[i + count] < -NN_MAX_DIM ||
            pads[i + count] > NN_MAX_DIM)
            return nn_fail(call, SQ_ERR_CONFIG, "pads of dimension %d", axis);
        begin[axis] = pads[i];
        end[axis] = pads[i + count];
    }
    return SQ_OK;
}

sq_status nn_infer_pad(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    int64_t begin[SQ_MAX_RANK], end[SQ_MAX_RANK], dim[SQ_MAX_RANK];
    double value;
    int mode;
    sq_status rc = nn_pad_range(call, begin, end, &value);
    if (rc == SQ_OK)
        rc = pad_mode(call, &mode);
    for (int k = 0; rc == SQ_OK && k < x->rank; k++) {
        dim[k] = x->dim[k] + begin[k] + end[k];
        int64_t most = begin[k] > end[k] ? begin[k] : end[k];
        if ((mode == 1 && most >= x->dim[k] && most > 0) || (mode == 2 && x->dim[k] == 0))
            return nn_fail(call, SQ_ERR_CONFIG, "pads of dimension %d exceed its %lld elements", k,
                           (long long)x->dim[k]);
    }
    return rc == SQ_OK ? nn_out(call, 0, x->type, x->rank, dim) : rc;
}

/* The element of the input that position i (may lie outside) shows; -1: the constant. */
static int64_t pad_source(int64_t i, int64_t size, int mode)
{
    if (i >= 0 && i < size)
        return i;
    if (mode == 0)
        return -1;
    if (mode == 2)
        return clamp(i, 0, size - 1);
    return i < 0 ? -i : 2 * (size - 1) - i;
}

sq_status nn_eval_pad(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    nn_tensor *out = call->out[0];
    int64_t begin[SQ_MAX_RANK], end[SQ_MAX_RANK], stride[SQ_MAX_RANK], index[SQ_MAX_RANK] = {0};
    double value;
    int mode;
    size_t size = nn_type_size(x->type);
    sq_status rc = nn_pad_range(call, begin, end, &value);
    if (rc == SQ_OK)
        rc = pad_mode(call, &mode);
    if (rc != SQ_OK)
        return rc;
    nn_strides(x, stride);
    for (int64_t i = 0; i < out->count; i++) {
        int64_t at = 0;
        for (int k = 0; at >= 0 && k < x->rank; k++) {
            int64_t from = pad_source(index[k] - begin[k], x->dim[k], mode);
            at = from < 0 ? -1 : at + from * stride[k];
        }
        if (at < 0)
            nn_set(out, i, value);
        else
            memcpy((char *)out->data + (size_t)i * size, (const char *)x->data + (size_t)at * size,
                   size);
        for (int k = x->rank - 1; k >= 0 && ++index[k] == out->dim[k]; k--)
            index[k] = 0;
    }
    return SQ_OK;
}

static sq_status block_size(const nn_call *call, int64_t *block, int *crd)
{
    const char *mode;
    sq_status rc = nn_int(call, "blocksize", 0, block);
    if (rc == SQ_OK)
        rc = nn_text(call, "mode", "DCR", &mode);
    if (rc != SQ_OK)
        return rc;
    if (*block < 1 || *block > 4096 || call->in[0]->rank != 4)
        return nn_fail(call, SQ_ERR_CONFIG, "blocksize %lld on rank %d", (long long)*block,
                       call->in[0]->rank);
    *crd = strcmp(mode, "CRD") == 0;
    if (!*crd && strcmp(mode, "DCR") != 0)
        return nn_fail(call, SQ_ERR_CONFIG, "mode '%.40s'", mode);
    return SQ_OK;
}

sq_status nn_infer_depth_to_space(nn_call *call)
{
    const int64_t *d = call->in[0]->dim;
    int64_t b;
    int crd = 0;
    sq_status rc = block_size(call, &b, &crd);
    if (rc != SQ_OK)
        return rc;
    if (d[1] % (b * b))
        return nn_fail(call, SQ_ERR_CONFIG, "%lld channels in blocks of %lld", (long long)d[1],
                       (long long)(b * b));
    int64_t dim[4] = {d[0], d[1] / (b * b), d[2] * b, d[3] * b};
    return nn_out(call, 0, call->in[0]->type, 4, dim);
}

sq_status nn_eval_depth_to_space(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    const int64_t *d = x->dim;
    int64_t b;
    int crd = 0;
    sq_status rc = block_size(call, &b, &crd);
    if (rc != SQ_OK || x->count == 0)
        return rc;
    int64_t c = d[1] / (b * b), s[SQ_MAX_RANK];
    nn_strides(x, s);
    /* out[n, c, h, by, w, bx] */
    int64_t dim[6] = {d[0], c, d[2], b, d[3], b};
    int64_t dcr[6] = {s[0], s[1], s[2], b * c * s[1], s[3], c * s[1]};
    int64_t crd_stride[6] = {s[0], b * b * s[1], s[2], b * s[1], s[3], s[1]};
    gather_strided(x, 0, 6, dim, crd ? crd_stride : dcr, call->out[0]->data);
    return SQ_OK;
}

sq_status nn_infer_space_to_depth(nn_call *call)
{
    const int64_t *d = call->in[0]->dim;
    int64_t b;
    int crd = 0;
    sq_status rc = block_size(call, &b, &crd);
    if (rc != SQ_OK)
        return rc;
    if (d[2] % b || d[3] % b)
        return nn_fail(call, SQ_ERR_CONFIG, "%lld x %lld in blocks of %lld", (long long)d[2],
                       (long long)d[3], (long long)b);
    int64_t dim[4] = {d[0], d[1] * b * b, d[2] / b, d[3] / b};
    return nn_out(call, 0, call->in[0]->type, 4, dim);
}

sq_status nn_eval_space_to_depth(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    const int64_t *d = x->dim;
    int64_t b, s[SQ_MAX_RANK];
    int crd = 0;
    sq_status rc = block_size(call, &b, &crd);
    if (rc != SQ_OK || x->count == 0)
        return rc;
    nn_strides(x, s);
    /* out[n, by, bx, c, h, w] */
    int64_t dim[6] = {d[0], b, b, d[1], d[2] / b, d[3] / b};
    int64_t stride[6] = {s[0], s[2], s[3], s[1], b * s[2], b * s[3]};
    gather_strided(x, 0, 6, dim, stride, call->out[0]->data);
    return SQ_OK;
}
