/* Resize and Upsample: plan, shape rule and naive kernel (separable weights, sums in double). */
#include <math.h>
#include <string.h>

#include "nn/ops.h"

enum { MAX_TAPS = 4 };

static sq_status choose(const nn_call *call, const char *name, const char *fallback,
                        const char *const *names, int count, int *out)
{
    const char *text;
    sq_status rc = nn_text(call, name, fallback, &text);
    for (*out = 0; rc == SQ_OK && *out < count; (*out)++) {
        if (strcmp(text, names[*out]) == 0)
            return SQ_OK;
    }
    return rc != SQ_OK ? rc : nn_fail(call, SQ_ERR_UNSUPPORTED, "%s '%.40s'", name, text);
}

static sq_status read_modes(const nn_call *call, nn_resize *r)
{
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    static const char *const coordinates[] = {"half_pixel",           "pytorch_half_pixel",
                                              "align_corners",        "asymmetric",
                                              "tf_half_pixel_for_nn", "tf_crop_and_resize"};
    static const char *const nearest[] = {"round_prefer_floor", "round_prefer_ceil", "floor",
                                          "ceil"};
    int64_t exclude, antialias;
    int old = strcmp(call->node->op_name, "Upsample") == 0 || call->model->opset < 11;
    sq_status rc = choose(call, "mode", "nearest", modes, 3, &r->mode);
    if (rc == SQ_OK)
        rc = choose(call, "coordinate_transformation_mode", old ? "asymmetric" : "half_pixel",
                    coordinates, 6, &r->coordinate);
    if (rc == SQ_OK)
        rc = choose(call, "nearest_mode", old ? "floor" : "round_prefer_floor", nearest, 4,
                    &r->nearest);
    if (rc == SQ_OK)
        rc = nn_int(call, "exclude_outside", 0, &exclude);
    if (rc == SQ_OK)
        rc = nn_int(call, "antialias", 0, &antialias);
    if (rc == SQ_OK)
        rc = nn_float(call, "cubic_coeff_a", -0.75, &r->cubic);
    if (rc == SQ_OK)
        rc = nn_float(call, "extrapolation_value", 0.0, &r->extrapolation);
    if (rc != SQ_OK)
        return rc;
    r->exclude_outside = exclude != 0;
    if (antialias || nn_attr_find(call->node, "axes") ||
        nn_attr_find(call->node, "keep_aspect_ratio_policy"))
        return nn_fail(call, SQ_ERR_UNSUPPORTED, "antialias, axes or keep_aspect_ratio_policy");
    return SQ_OK;
}

/* Numbers of constant input i, of any float type; *count = -1 when absent or empty. */
static sq_status real_list(const nn_call *call, int i, int max, double *out, int *count)
{
    const nn_tensor *t = i < call->node->inputs ? call->in[i] : NULL;
    *count = -1;
    if (!t || t->count == 0)
        return SQ_OK;
    if (!t->data)
        return nn_fail(call, SQ_ERR_UNSUPPORTED, "input %d is not a constant", i);
    if (!nn_is_float(t->type) || t->rank != 1 || t->count > max)
        return nn_fail(call, SQ_ERR_CONFIG, "input %d is not a list of numbers", i);
    *count = (int)t->count;
    for (int k = 0; k < *count; k++)
        out[k] = nn_get(t, k);
    return SQ_OK;
}

static sq_status read_scales(const nn_call *call, nn_resize *r, int *count)
{
    const nn_attr *a = nn_attr_find(call->node, "scales");
    int old = strcmp(call->node->op_name, "Upsample") == 0 || call->model->opset < 11;
    sq_status rc = real_list(call, old ? 1 : 2, SQ_MAX_RANK, r->scale, count);
    if (rc != SQ_OK || *count >= 0 || !a)
        return rc;
    if (a->kind != NN_ATTR_FLOATS || a->count > SQ_MAX_RANK)
        return nn_fail(call, SQ_ERR_CONFIG, "attribute scales");
    *count = a->count;
    memcpy(r->scale, a->floats, (size_t)a->count * sizeof *a->floats);
    return SQ_OK;
}

sq_status nn_resize_plan(const nn_call *call, nn_resize *r)
{
    const nn_tensor *x = call->in[0];
    int n_scales, n_sizes = -1, n_roi = -1;
    memset(r, 0, sizeof *r);
    r->rank = x->rank;
    sq_status rc = read_modes(call, r);
    if (rc == SQ_OK)
        rc = read_scales(call, r, &n_scales);
    if (rc == SQ_OK && call->model->opset >= 11 && call->node->inputs > 3)
        rc = nn_in_ints(call, 3, SQ_MAX_RANK, r->out, &n_sizes);
    if (rc == SQ_OK && r->coordinate == NN_CROP_AND_RESIZE)
        rc = real_list(call, 1, 2 * SQ_MAX_RANK, r->roi, &n_roi);
    if (rc != SQ_OK)
        return rc;
    if (r->coordinate == NN_CROP_AND_RESIZE && n_roi != 2 * x->rank)
        return nn_fail(call, SQ_ERR_CONFIG, "the region of interest has %d values", n_roi);
    if ((n_scales == x->rank) == (n_sizes == x->rank) || x->rank == 0)
        return nn_fail(call, SQ_ERR_CONFIG, "%d scales and %d sizes for rank %d", n_scales, n_sizes,
                       x->rank);
    for (int i = 0; i < x->rank; i++) {
        if (x->dim[i] == 0)
            return nn_fail(call, SQ_ERR_UNSUPPORTED, "an empty input");
        if (n_sizes == x->rank)
            r->scale[i] = (double)r->out[i] / (double)x->dim[i];
        if (!(r->scale[i] > 0) || !(r->scale[i] * (double)x->dim[i] < NN_MAX_DIM))
            return nn_fail(call, SQ_ERR_CONFIG, "scale %g of dimension %d", r->scale[i], i);
        if (n_sizes != x->rank)
            r->out[i] = (int64_t)floor((double)x->dim[i] * r->scale[i]);
    }
    return SQ_OK;
}

sq_status nn_infer_resize(nn_call *call)
{
    nn_resize r;
    sq_status rc = nn_resize_plan(call, &r);
    return rc == SQ_OK ? nn_out(call, 0, call->in[0]->type, r.rank, r.out) : rc;
}

static double source_position(const nn_resize *r, int axis, int64_t o, int64_t in)
{
    double scale = r->scale[axis], length = scale * (double)in, x = (double)o;
    double from = r->roi[axis], to = r->roi[axis + r->rank];
    switch (r->coordinate) {
    case NN_HALF_PIXEL:
        return (x + 0.5) / scale - 0.5;
    case NN_PYTORCH_HALF_PIXEL:
        return length <= 1 ? -0.5 : (x + 0.5) / scale - 0.5;
    case NN_ALIGN_CORNERS:
        return length <= 1 ? 0.0 : x * (double)(in - 1) / (length - 1);
    case NN_ASYMMETRIC:
        return x / scale;
    case NN_TF_HALF_PIXEL:
        return (x + 0.5) / scale;
    default:
        if (length > 1)
            return from * (double)(in - 1) + x * (to - from) * (double)(in - 1) / (length - 1);
        return 0.5 * (from + to) * (double)(in - 1);
    }
}

static double round_to(int mode, double x)
{
    double low = floor(x);
    switch (mode) {
    case NN_ROUND_PREFER_FLOOR:
        return x - low <= 0.5 ? low : low + 1;
    case NN_ROUND_PREFER_CEIL:
        return x - low < 0.5 ? low : low + 1;
    case NN_FLOOR:
        return low;
    default:
        return ceil(x);
    }
}

/* Keys (1981), eq. 15, with free parameter a. */
static double cubic_weight(double t, double a)
{
    t = fabs(t);
    if (t <= 1)
        return ((a + 2) * t - (a + 3)) * t * t + 1;
    return t < 2 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a : 0;
}

typedef struct taps {
    int count, outside;
    int64_t at[MAX_TAPS];
    double weight[MAX_TAPS];
} taps;

static void make_taps(const nn_resize *r, int axis, int64_t o, int64_t in, taps *t)
{
    double x = source_position(r, axis, o, in), low = floor(x), sum = 0;
    t->outside = r->coordinate == NN_CROP_AND_RESIZE && (x < 0 || x > (double)(in - 1));
    t->count = r->mode == 0 ? 1 : r->mode == 1 ? 2 : 4;
    for (int i = 0; i < t->count; i++) {
        double at = r->mode == 0 ? round_to(r->nearest, x) : low + i - (r->mode == 2);
        double w = r->mode == 0   ? 1
                   : r->mode == 1 ? 1 - fabs(x - at)
                                  : cubic_weight(x - at, r->cubic);
        int out = at < 0 || at > (double)(in - 1);
        t->weight[i] = out && r->exclude_outside ? 0 : w;
        t->at[i] = at < 0 ? 0 : at > (double)(in - 1) ? in - 1 : (int64_t)at;
        sum += t->weight[i];
    }
    for (int i = 0; r->exclude_outside && sum != 0 && i < t->count; i++)
        t->weight[i] /= sum;
}

/* Sum over the product of the axes' taps. */
static double interpolate(const nn_tensor *x, const taps *t, const int64_t *stride)
{
    int pick[SQ_MAX_RANK] = {0};
    double sum = 0;
    for (;;) {
        double weight = 1;
        int64_t at = 0;
        int k = x->rank - 1;
        for (int i = 0; i < x->rank; i++) {
            weight *= t[i].weight[pick[i]];
            at += t[i].at[pick[i]] * stride[i];
        }
        if (weight != 0)
            sum += weight * nn_get(x, at);
        while (k >= 0 && ++pick[k] == t[k].count)
            pick[k--] = 0;
        if (k < 0)
            return sum;
    }
}

sq_status nn_eval_resize(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    nn_tensor *out = call->out[0];
    nn_resize r;
    taps t[SQ_MAX_RANK];
    int64_t stride[SQ_MAX_RANK], index[SQ_MAX_RANK] = {0};
    sq_status rc = nn_resize_plan(call, &r);
    if (rc != SQ_OK)
        return rc;
    nn_strides(x, stride);
    for (int k = 0; k < x->rank; k++)
        make_taps(&r, k, 0, x->dim[k], &t[k]);
    for (int64_t i = 0; i < out->count; i++) {
        int outside = 0;
        for (int k = 0; k < x->rank; k++)
            outside |= t[k].outside;
        nn_set(out, i, outside ? r.extrapolation : interpolate(x, t, stride));
        for (int k = x->rank - 1; k >= 0; k--) {
            int carry = ++index[k] == out->dim[k];
            index[k] = carry ? 0 : index[k];
            make_taps(&r, k, index[k], x->dim[k], &t[k]);
            if (!carry)
                break;
        }
    }
    return SQ_OK;
}
