/* Convolutions and pooling: geometry and naive kernels (sums in double). */
#include <float.h>
#include <math.h>
#include <string.h>

#include "nn/ops.h"

enum { MAX_WINDOW = 1 << 20 };

static sq_status spatial_list(const nn_call *call, const char *name, int n, int64_t fallback,
                              int64_t least, int64_t *out)
{
    int count;
    sq_status rc = nn_ints(call, name, 3, out, &count);
    if (rc != SQ_OK)
        return rc;
    if (count >= 0 && count != n)
        return nn_fail(call, SQ_ERR_CONFIG, "attribute %s has %d values for %d dimensions", name,
                       count, n);
    for (int i = 0; i < n; i++) {
        if (count < 0)
            out[i] = fallback;
        if (out[i] < least || out[i] > MAX_WINDOW)
            return nn_fail(call, SQ_ERR_CONFIG, "attribute %s: %lld is outside %lld..%d", name,
                           (long long)out[i], (long long)least, MAX_WINDOW);
    }
    return SQ_OK;
}

static sq_status read_pads(const nn_call *call, nn_window *w, int *given)
{
    int64_t pads[6];
    int count;
    sq_status rc = nn_ints(call, "pads", 6, pads, &count);
    if (rc != SQ_OK)
        return rc;
    if (count >= 0 && count != 2 * w->n)
        return nn_fail(call, SQ_ERR_CONFIG, "attribute pads has %d values for %d dimensions", count,
                       w->n);
    for (int i = 0; count > 0 && i < w->n; i++) {
        w->begin[i] = pads[i];
        w->end[i] = pads[i + w->n];
        if (w->begin[i] < 0 || w->begin[i] > MAX_WINDOW || w->end[i] < 0 || w->end[i] > MAX_WINDOW)
            return nn_fail(call, SQ_ERR_CONFIG, "attribute pads: outside 0..%d", MAX_WINDOW);
    }
    *given = count > 0;
    return SQ_OK;
}

enum { PAD_NONE, PAD_VALID, PAD_UPPER, PAD_LOWER };

static sq_status auto_pad(const nn_call *call, int *mode)
{
    const char *text;
    sq_status rc = nn_text(call, "auto_pad", "NOTSET", &text);
    if (rc != SQ_OK)
        return rc;
    static const char *const names[] = {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"};
    for (*mode = 0; *mode < 4; (*mode)++) {
        if (strcmp(text, names[*mode]) == 0)
            return SQ_OK;
    }
    return nn_fail(call, SQ_ERR_CONFIG, "auto_pad '%.40s' is not known", text);
}

static void share_padding(nn_window *w, int i, int64_t total, int lower)
{
    total = total > 0 ? total : 0;
    w->begin[i] = lower ? total - total / 2 : total / 2;
    w->end[i] = total - w->begin[i];
}

/* in[], kernel[], the attributes, and the padding; out[] of a forward window. */
static sq_status read_window(const nn_call *call, nn_window *w)
{
    const nn_tensor *x = call->in[0];
    int mode, given = 0;
    for (int i = 0; i < w->n; i++)
        w->in[i] = x->dim[i + 2];
    sq_status rc = spatial_list(call, "strides", w->n, 1, 1, w->stride);
    if (rc == SQ_OK)
        rc = spatial_list(call, "dilations", w->n, 1, 1, w->dilation);
    if (rc == SQ_OK)
        rc = auto_pad(call, &mode);
    if (rc == SQ_OK && mode == PAD_NONE)
        rc = read_pads(call, w, &given);
    for (int i = 0; rc == SQ_OK && i < w->n; i++) {
        int64_t extent = (w->kernel[i] - 1) * w->dilation[i] + 1;
        if (mode >= PAD_UPPER) {
            int64_t out = (w->in[i] + w->stride[i] - 1) / w->stride[i];
            share_padding(w, i, (out - 1) * w->stride[i] + extent - w->in[i], mode == PAD_LOWER);
        }
        int64_t room = w->in[i] + w->begin[i] + w->end[i] - extent;
        if (room < 0)
            return nn_fail(call, SQ_ERR_CONFIG,
                           "a window of %lld does not fit into %lld padded elements",
                           (long long)extent, (long long)(room + extent));
        w->out[i] = (w->ceil ? (room + w->stride[i] - 1) / w->stride[i] : room / w->stride[i]) + 1;
        /* no window may begin in the padding at the end */
        if (w->ceil && (w->out[i] - 1) * w->stride[i] >= w->in[i] + w->begin[i])
            w->out[i]--;
    }
    return rc;
}

static sq_status need_spatial(const nn_call *call, nn_window *w)
{
    const nn_tensor *x = call->in[0];
    memset(w, 0, sizeof *w);
    w->n = x->rank - 2;
    w->groups = 1;
    if (w->n < 1 || w->n > 3)
        return nn_fail(call, SQ_ERR_UNSUPPORTED, "input of rank %d", x->rank);
    for (int i = 0; i < x->rank; i++) {
        if (x->dim[i] == 0)
            return nn_fail(call, SQ_ERR_UNSUPPORTED, "an empty input");
    }
    return SQ_OK;
}

static sq_status conv_arguments(const nn_call *call, nn_window *w, int transposed)
{
    const nn_tensor *x = call->in[0], *f = call->in[1], *b = call->in[2];
    int64_t kernel[3];
    sq_status rc = need_spatial(call, w);
    if (rc == SQ_OK)
        rc = nn_int(call, "group", 1, &w->groups);
    if (rc != SQ_OK)
        return rc;
    if (x->type != NN_F32 || f->type != NN_F32)
        return nn_fail(call, SQ_ERR_UNSUPPORTED, "%s input", nn_type_name(x->type));
    if (f->rank != x->rank || f->count == 0)
        return nn_fail(call, SQ_ERR_CONFIG, "weights of rank %d", f->rank);
    int64_t channels = transposed ? f->dim[0] : f->dim[1];
    if (w->groups < 1 || w->groups > MAX_WINDOW || f->dim[0] % w->groups ||
        x->dim[1] != (transposed ? channels : channels * w->groups))
        return nn_fail(call, SQ_ERR_CONFIG, "%lld channels do not fit the weights (%lld groups)",
                       (long long)x->dim[1], (long long)w->groups);
    rc = spatial_list(call, "kernel_shape", w->n, 1, 1, kernel);
    for (int i = 0; rc == SQ_OK && i < w->n; i++) {
        w->kernel[i] = f->dim[i + 2];
        if (nn_attr_find(call->node, "kernel_shape") && kernel[i] != w->kernel[i])
            return nn_fail(call, SQ_ERR_CONFIG, "kernel_shape differs from the weights");
        if (w->kernel[i] > MAX_WINDOW)
            return nn_fail(call, SQ_ERR_CONFIG, "a kernel of %lld", (long long)w->kernel[i]);
    }
    int64_t outputs = transposed ? f->dim[1] * w->groups : f->dim[0];
    if (b && (b->type != NN_F32 || b->rank != 1 || b->dim[0] != outputs))
        return nn_fail(call, SQ_ERR_CONFIG, "the bias does not have one value an output channel");
    return rc;
}

sq_status nn_conv_window(const nn_call *call, nn_window *w)
{
    sq_status rc = conv_arguments(call, w, 0);
    return rc == SQ_OK ? read_window(call, w) : rc;
}

static sq_status deconv_size(const nn_call *call, nn_window *w, int i, int mode,
                             const int64_t *extra, const int64_t *wanted)
{
    int64_t full =
        w->stride[i] * (w->in[i] - 1) + extra[i] + (w->kernel[i] - 1) * w->dilation[i] + 1;
    if (extra[i] >= w->stride[i] && extra[i] >= w->dilation[i])
        return nn_fail(call, SQ_ERR_CONFIG, "output_padding %lld", (long long)extra[i]);
    if (wanted && full < wanted[i] && wanted[i] - full < w->stride[i])
        w->end[i] = full - wanted[i]; /* more than the windows cover: zeros at the end */
    else if (wanted)
        share_padding(w, i, full - wanted[i], mode != PAD_UPPER);
    else if (mode >= PAD_UPPER)
        share_padding(w, i, full - w->in[i] * w->stride[i], mode == PAD_LOWER);
    w->out[i] = full - w->begin[i] - w->end[i];
    if (w->out[i] < 1 || (wanted && w->out[i] != wanted[i]))
        return nn_fail(call, SQ_ERR_CONFIG, "an output of %lld elements", (long long)w->out[i]);
    return SQ_OK;
}

sq_status nn_deconv_window(const nn_call *call, nn_window *w)
{
    int64_t extra[3], wanted[6];
    int mode = 0, given = 0, count;
    sq_status rc = conv_arguments(call, w, 1);
    if (rc != SQ_OK)
        return rc;
    for (int i = 0; i < w->n; i++)
        w->in[i] = call->in[0]->dim[i + 2];
    rc = spatial_list(call, "strides", w->n, 1, 1, w->stride);
    if (rc == SQ_OK)
        rc = spatial_list(call, "dilations", w->n, 1, 1, w->dilation);
    if (rc == SQ_OK)
        rc = spatial_list(call, "output_padding", w->n, 0, 0, extra);
    if (rc == SQ_OK)
        rc = auto_pad(call, &mode);
    if (rc == SQ_OK && mode == PAD_NONE)
        rc = read_pads(call, w, &given);
    if (rc == SQ_OK)
        rc = nn_ints(call, "output_shape", 6, wanted, &count);
    if (rc != SQ_OK)
        return rc;
    if (count >= 0 && count != w->n && count != w->n + 2)
        return nn_fail(call, SQ_ERR_CONFIG, "output_shape has %d values", count);
    for (int i = 0; rc == SQ_OK && i < w->n; i++)
        rc = deconv_size(call, w, i, mode, extra, count < 0 ? NULL : wanted + (count - w->n));
    return rc;
}

sq_status nn_pool_window(const nn_call *call, nn_window *w)
{
    int64_t ceil_mode, include;
    sq_status rc = need_spatial(call, w);
    if (rc == SQ_OK && !nn_attr_find(call->node, "kernel_shape"))
        rc = nn_fail(call, SQ_ERR_CONFIG, "attribute kernel_shape is missing");
    if (rc == SQ_OK)
        rc = spatial_list(call, "kernel_shape", w->n, 1, 1, w->kernel);
    if (rc == SQ_OK)
        rc = nn_int(call, "ceil_mode", 0, &ceil_mode);
    if (rc == SQ_OK)
        rc = nn_int(call, "count_include_pad", 0, &include);
    if (rc != SQ_OK)
        return rc;
    w->ceil = ceil_mode != 0;
    w->count_include_pad = include != 0;
    return read_window(call, w);
}

static sq_status window_out(nn_call *call, const nn_window *w, int i, nn_type type,
                            int64_t channels)
{
    int64_t dim[SQ_MAX_RANK] = {call->in[0]->dim[0], channels};
    for (int k = 0; k < w->n; k++)
        dim[k + 2] = w->out[k];
    return nn_out(call, i, type, w->n + 2, dim);
}

sq_status nn_infer_conv(nn_call *call)
{
    nn_window w;
    sq_status rc = nn_conv_window(call, &w);
    return rc == SQ_OK ? window_out(call, &w, 0, NN_F32, call->in[1]->dim[0]) : rc;
}

sq_status nn_infer_deconv(nn_call *call)
{
    nn_window w;
    sq_status rc = nn_deconv_window(call, &w);
    return rc == SQ_OK ? window_out(call, &w, 0, NN_F32, call->in[1]->dim[1] * w.groups) : rc;
}

sq_status nn_infer_pool(nn_call *call)
{
    nn_window w;
    int64_t order;
    sq_status rc = nn_pool_window(call, &w);
    if (rc == SQ_OK)
        rc = nn_int(call, "storage_order", 0, &order);
    if (rc != SQ_OK)
        return rc;
    rc = window_out(call, &w, 0, call->in[0]->type, call->in[0]->dim[1]);
    if (rc == SQ_OK && call->node->outputs > 1)
        rc = window_out(call, &w, 1, NN_I64, call->in[0]->dim[1]);
    return rc;
}

/* Every window with one to three dimensions is handled as one of three, the missing ones of size 1
 * in front. */
static nn_window widen(const nn_window *w)
{
    nn_window v = *w;
    int shift = 3 - w->n;
    for (int i = 2; i >= 0; i--) {
        int from = i - shift;
        v.kernel[i] = from < 0 ? 1 : w->kernel[from];
        v.stride[i] = from < 0 ? 1 : w->stride[from];
        v.dilation[i] = from < 0 ? 1 : w->dilation[from];
        v.begin[i] = from < 0 ? 0 : w->begin[from];
        v.end[i] = from < 0 ? 0 : w->end[from];
        v.in[i] = from < 0 ? 1 : w->in[from];
        v.out[i] = from < 0 ? 1 : w->out[from];
    }
    v.n = 3;
    return v;
}

static int64_t volume(const int64_t *size)
{
    return size[0] * size[1] * size[2];
}

static int inside(const nn_window *w, const int64_t *at)
{
    return at[0] >= 0 && at[0] < w->in[0] && at[1] >= 0 && at[1] < w->in[1] && at[2] >= 0 &&
           at[2] < w->in[2];
}

/* Counts index[3] through size[3]; 0 after the last. */
static int next(int64_t *index, const int64_t *size)
{
    for (int k = 2; k >= 0; k--) {
        if (++index[k] < size[k])
            return 1;
        index[k] = 0;
    }
    return 0;
}

/* One filter over one channel at one output position. */
static double conv_at(const nn_window *w, const float *x, const float *f, const int64_t *o)
{
    double sum = 0;
    int64_t k[3] = {0}, at[3];
    for (int64_t i = 0; i < volume(w->kernel); i++) {
        for (int d = 0; d < 3; d++)
            at[d] = o[d] * w->stride[d] + k[d] * w->dilation[d] - w->begin[d];
        if (inside(w, at))
            sum += (double)x[(at[0] * w->in[1] + at[1]) * w->in[2] + at[2]] * f[i];
        next(k, w->kernel);
    }
    return sum;
}

sq_status nn_eval_conv(nn_call *call)
{
    nn_window w;
    sq_status rc = nn_conv_window(call, &w);
    if (rc != SQ_OK)
        return rc;
    w = widen(&w);
    const nn_tensor *x = call->in[0], *f = call->in[1];
    const float *bias = call->in[2] ? call->in[2]->data : NULL;
    float *out = call->out[0]->data;
    int64_t channels = f->dim[1], outputs = f->dim[0], per_group = outputs / w.groups;
    int64_t plane = volume(w.in), kernel = volume(w.kernel), i = 0;
    for (int64_t nm = 0; nm < x->dim[0] * outputs; nm++) {
        int64_t n = nm / outputs, m = nm % outputs, o[3] = {0};
        const float *source =
            (const float *)x->data + (n * x->dim[1] + m / per_group * channels) * plane;
        const float *filter = (const float *)f->data + m * channels * kernel;
        do {
            double sum = bias ? bias[m] : 0;
            for (int64_t c = 0; c < channels; c++)
                sum += conv_at(&w, source + c * plane, filter + c * kernel, o);
            out[i++] = (float)sum;
        } while (next(o, w.out));
    }
    return SQ_OK;
}

/* The output element o collects every input i and tap k with i * stride + k * dilation - begin ==
 * o. */
static double deconv_at(const nn_window *w, const float *x, const float *f, const int64_t *o)
{
    double sum = 0;
    int64_t k[3] = {0}, at[3];
    for (int64_t i = 0; i < volume(w->kernel); i++) {
        int hit = 1;
        for (int d = 0; d < 3; d++) {
            int64_t offset = o[d] + w->begin[d] - k[d] * w->dilation[d];
            hit = hit && offset >= 0 && offset % w->stride[d] == 0;
            at[d] = offset / w->stride[d];
        }
        if (hit && inside(w, at))
            sum += (double)x[(at[0] * w->in[1] + at[1]) * w->in[2] + at[2]] * f[i];
        next(k, w->kernel);
    }
    return sum;
}

sq_status nn_eval_deconv(nn_call *call)
{
    nn_window w;
    sq_status rc = nn_deconv_window(call, &w);
    if (rc != SQ_OK)
        return rc;
    w = widen(&w);
    const nn_tensor *x = call->in[0], *f = call->in[1];
    const float *bias = call->in[2] ? call->in[2]->data : NULL, *filter = f->data;
    float *out = call->out[0]->data;
    int64_t channels = x->dim[1] / w.groups, per_group = f->dim[1];
    int64_t outputs = per_group * w.groups, plane = volume(w.in), kernel = volume(w.kernel), i = 0;
    for (int64_t nm = 0; nm < x->dim[0] * outputs; nm++) {
        int64_t n = nm / outputs, m = nm % outputs, first = m / per_group * channels, o[3] = {0};
        const float *source = (const float *)x->data + (n * x->dim[1] + first) * plane;
        do {
            double sum = bias ? bias[m] : 0;
            for (int64_t c = 0; c < channels; c++)
                sum += deconv_at(&w, source + c * plane,
                                 filter + ((first + c) * per_group + m % per_group) * kernel, o);
            out[i++] = (float)sum;
        } while (next(o, w.out));
    }
    return SQ_OK;
}

/* where: the index of the largest in the tensor, counted along columns first within a plane when
 * asked for. */
static void max_at(const nn_window *w, const nn_tensor *x, int64_t base, const int64_t *o,
                   int columns, double *best, int64_t *where)
{
    int64_t k[3] = {0}, at[3];
    *best = -INFINITY;
    *where = -1;
    do {
        for (int d = 0; d < 3; d++)
            at[d] = o[d] * w->stride[d] + k[d] * w->dilation[d] - w->begin[d];
        if (!inside(w, at))
            continue;
        int64_t i = base + (at[0] * w->in[1] + at[1]) * w->in[2] + at[2];
        double value = nn_get(x, i);
        if (*where < 0 || value > *best || isnan(value)) {
            *best = value;
            *where = columns ? base + at[0] + w->in[0] * (at[1] + w->in[1] * at[2]) : i;
        }
    } while (next(k, w->kernel));
}

sq_status nn_eval_maxpool(nn_call *call)
{
    nn_window w;
    int64_t order;
    sq_status rc = nn_pool_window(call, &w);
    if (rc == SQ_OK)
        rc = nn_int(call, "storage_order", 0, &order);
    if (rc != SQ_OK)
        return rc;
    w = widen(&w);
    const nn_tensor *x = call->in[0];
    int64_t i = 0;
    for (int64_t nc = 0; nc < x->dim[0] * x->dim[1]; nc++) {
        int64_t o[3] = {0};
        do {
            double best;
            int64_t where;
            max_at(&w, x, nc * volume(w.in), o, order != 0, &best, &where);
            if (call->out[0])
                nn_set(call->out[0], i, best);
            if (call->node->outputs > 1 && call->out[1])
                nn_set_int(call->out[1], i, where);
            i++;
        } while (next(o, w.out));
    }
    return SQ_OK;
}

/* Padding counts for the mean when it is asked for, but never what lies beyond the padding. */
static double mean_at(const nn_window *w, const nn_tensor *x, int64_t base, const int64_t *o)
{
    int64_t k[3] = {0}, at[3], count = 0;
    double sum = 0;
    do {
        int padded = 1;
        for (int d = 0; d < 3; d++) {
            at[d] = o[d] * w->stride[d] + k[d] * w->dilation[d] - w->begin[d];
            padded = padded && at[d] < w->in[d] + w->end[d];
        }
        if (inside(w, at))
            sum += nn_get(x, base + (at[0] * w->in[1] + at[1]) * w->in[2] + at[2]);
        count += inside(w, at) || (w->count_include_pad && padded);
    } while (next(k, w->kernel));
    return count > 0 ? sum / (double)count : 0.0;
}

sq_status nn_eval_avgpool(nn_call *call)
{
    nn_window w;
    sq_status rc = nn_pool_window(call, &w);
    if (rc != SQ_OK)
        return rc;
    w = widen(&w);
    const nn_tensor *x = call->in[0];
    int64_t i = 0;
    for (int64_t nc = 0; nc < x->dim[0] * x->dim[1]; nc++) {
        int64_t o[3] = {0};
        do {
            nn_set(call->out[0], i++, mean_at(&w, x, nc * volume(w.in), o));
        } while (next(o, w.out));
    }
    return SQ_OK;
}

sq_status nn_infer_global_pool(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    int64_t dim[SQ_MAX_RANK];
    if (x->rank < 3 || x->count == 0)
        return nn_fail(call, SQ_ERR_CONFIG, "input of rank %d", x->rank);
    for (int i = 0; i < x->rank; i++)
        dim[i] = i < 2 ? x->dim[i] : 1;
    return nn_out(call, 0, x->type, x->rank, dim);
}

sq_status nn_eval_global_pool(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    int64_t outputs = x->dim[0] * x->dim[1], plane = x->count / outputs;
    for (int64_t i = 0; i < outputs; i++) {
        double sum = 0;
        for (int64_t k = 0; k < plane; k++)
            sum += nn_get(x, i * plane + k);
        nn_set(call->out[0], i, sum / (double)plane);
    }
    return SQ_OK;
}
