/* Elementwise operators, Cast and BatchNormalization: shape rules and naive kernels. */
#include <math.h>
#include <string.h>

#include "nn/ops.h"

static double softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

static double sigmoid(double x)
{
    return x >= 0 ? 1.0 / (1.0 + exp(-x)) : exp(x) / (1.0 + exp(x));
}

static double unary(nn_elementwise op, double x, double alpha)
{
    switch (op) {
    case NN_EW_RELU:
        return x > 0 || isnan(x) ? x : 0.0;
    case NN_EW_LEAKY:
        return x >= 0 ? x : alpha * x;
    case NN_EW_SIGMOID:
        return sigmoid(x);
    case NN_EW_TANH:
        return tanh(x);
    case NN_EW_SOFTPLUS:
        return softplus(x);
    case NN_EW_EXP:
        return exp(x);
    case NN_EW_LOG:
        return log(x);
    case NN_EW_ELU:
        return x >= 0 ? x : alpha * expm1(x);
    case NN_EW_ABS:
        return fabs(x);
    case NN_EW_NEG:
        return -x;
    case NN_EW_SQRT:
        return sqrt(x);
    case NN_EW_FLOOR:
        return floor(x);
    default:
        return x;
    }
}

static double default_alpha(nn_elementwise op)
{
    return op == NN_EW_LEAKY ? 0.01 : 1.0;
}

sq_status nn_infer_same(nn_call *call)
{
    return nn_out(call, 0, call->in[0]->type, call->in[0]->rank, call->in[0]->dim);
}

/* Inference only: the identity. */
sq_status nn_infer_dropout(nn_call *call)
{
    const nn_tensor *training = call->in[2];
    if (training && (!training->data || training->count != 1 || nn_get(training, 0) != 0))
        return nn_fail(call, SQ_ERR_UNSUPPORTED, "training mode");
    return nn_infer_same(call);
}

sq_status nn_infer_unary(nn_call *call)
{
    double alpha;
    sq_status rc = nn_float(call, "alpha", 1.0, &alpha);
    if (rc == SQ_OK && (call->in[0]->type == NN_BOOL || call->in[0]->type == NN_U64))
        return nn_fail(call, SQ_ERR_UNSUPPORTED, "%s input", nn_type_name(call->in[0]->type));
    return rc == SQ_OK ? nn_infer_same(call) : rc;
}

sq_status nn_eval_unary(nn_call *call)
{
    nn_elementwise op = (nn_elementwise)call->node->op->code;
    double alpha;
    sq_status rc = nn_float(call, "alpha", default_alpha(op), &alpha);
    for (int64_t i = 0; rc == SQ_OK && i < call->out[0]->count; i++)
        nn_set(call->out[0], i, unary(op, nn_get(call->in[0], i), alpha));
    return rc;
}

sq_status nn_eval_copy(nn_call *call)
{
    const nn_tensor *in = call->in[0];
    if (call->out[0])
        memcpy(call->out[0]->data, in->data, (size_t)in->count * nn_type_size(in->type));
    return SQ_OK;
}

/* Numpy's rule: dimensions are aligned at the end and those of size 1 are repeated. */
static sq_status broadcast(nn_call *call, const nn_tensor *a, const nn_tensor *b, int *rank,
                           int64_t *dim)
{
    *rank = a->rank > b->rank ? a->rank : b->rank;
    for (int i = 0; i < *rank; i++) {
        int ia = i - (*rank - a->rank), ib = i - (*rank - b->rank);
        int64_t da = ia < 0 ? 1 : a->dim[ia], db = ib < 0 ? 1 : b->dim[ib];
        if (da != db && da != 1 && db != 1)
            return nn_fail(call, SQ_ERR_CONFIG, "sizes %lld and %lld do not broadcast",
                           (long long)da, (long long)db);
        dim[i] = da == 1 ? db : da;
    }
    return SQ_OK;
}

sq_status nn_infer_binary(nn_call *call)
{
    const nn_tensor *a = call->in[0], *b = call->in[1];
    int rank;
    int64_t dim[SQ_MAX_RANK];
    if (call->model->opset < 7 && nn_attr_find(call->node, "axis"))
        return nn_fail(call, SQ_ERR_UNSUPPORTED, "an axis, as before operator set 7");
    if (a->type != b->type || a->type == NN_BOOL)
        return nn_fail(call, SQ_ERR_CONFIG, "types %s and %s", nn_type_name(a->type),
                       nn_type_name(b->type));
    sq_status rc = broadcast(call, a, b, &rank, dim);
    return rc == SQ_OK ? nn_out(call, 0, a->type, rank, dim) : rc;
}

static double combine(nn_elementwise op, double a, double b)
{
    switch (op) {
    case NN_EW_ADD:
        return a + b;
    case NN_EW_SUB:
        return a - b;
    case NN_EW_MUL:
        return a * b;
    default:
        return a / b;
    }
}

static int64_t combine_int(nn_elementwise op, nn_type type, int64_t a, int64_t b)
{
    switch (op) {
    case NN_EW_ADD:
        return (int64_t)((uint64_t)a + (uint64_t)b);
    case NN_EW_SUB:
        return (int64_t)((uint64_t)a - (uint64_t)b);
    case NN_EW_MUL:
        return (int64_t)((uint64_t)a * (uint64_t)b);
    default:
        if (type == NN_U64)
            return (int64_t)((uint64_t)a / (uint64_t)b);
        return b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b;
    }
}

/* Offsets of two broadcast operands while counting through `dim`. */
static void step(int rank, const int64_t *dim, int64_t *index, const int64_t *sa, const int64_t *sb,
                 int64_t *a, int64_t *b)
{
    for (int k = rank - 1; k >= 0; k--) {
        *a += sa[k];
        *b += sb[k];
        if (++index[k] < dim[k])
            return;
        *a -= sa[k] * dim[k];
        *b -= sb[k] * dim[k];
        index[k] = 0;
    }
}

sq_status nn_eval_binary(nn_call *call)
{
    const nn_tensor *x = call->in[0], *y = call->in[1];
    nn_tensor *out = call->out[0];
    nn_elementwise op = (nn_elementwise)call->node->op->code;
    int64_t sx[SQ_MAX_RANK], sy[SQ_MAX_RANK], index[SQ_MAX_RANK] = {0}, a = 0, b = 0;
    nn_broadcast_strides(x, out->rank, sx);
    nn_broadcast_strides(y, out->rank, sy);
    for (int64_t i = 0; i < out->count; i++) {
        if (nn_is_float(out->type)) {
            nn_set(out, i, combine(op, nn_get(x, a), nn_get(y, b)));
        } else {
            if (op == NN_EW_DIV && nn_get_int(y, b) == 0)
                return nn_fail(call, SQ_ERR_DATA, "integer division by zero");
            nn_set_int(out, i, combine_int(op, out->type, nn_get_int(x, a), nn_get_int(y, b)));
        }
        step(out->rank, out->dim, index, sx, sy, &a, &b);
    }
    return SQ_OK;
}

sq_status nn_clip_bounds(const nn_call *call, double *low, double *high)
{
    double *bound[2] = {low, high};
    sq_status rc = nn_float(call, "min", -INFINITY, low);
    if (rc == SQ_OK)
        rc = nn_float(call, "max", INFINITY, high);
    for (int i = 1; rc == SQ_OK && i < call->node->inputs; i++) {
        const nn_tensor *t = call->in[i];
        if (!t)
            continue;
        if (!t->data)
            return nn_fail(call, SQ_ERR_UNSUPPORTED, "a bound that is not a constant");
        if (t->count != 1)
            return nn_fail(call, SQ_ERR_CONFIG, "a bound that is not a scalar");
        *bound[i - 1] = nn_get(t, 0);
    }
    return rc;
}

sq_status nn_infer_clip(nn_call *call)
{
    double low, high;
    sq_status rc = nn_clip_bounds(call, &low, &high);
    return rc == SQ_OK ? nn_infer_same(call) : rc;
}

sq_status nn_eval_clip(nn_call *call)
{
    double low, high;
    sq_status rc = nn_clip_bounds(call, &low, &high);
    for (int64_t i = 0; rc == SQ_OK && i < call->out[0]->count; i++) {
        double x = nn_get(call->in[0], i);
        x = x < low ? low : x;
        nn_set(call->out[0], i, x > high ? high : x);
    }
    return rc;
}

static nn_type cast_type(int64_t onnx)
{
    static const nn_type map[] = {NN_NONE, NN_F32, NN_U8,   NN_I8,   NN_U16, NN_I16,
                                  NN_I32,  NN_I64, NN_NONE, NN_BOOL, NN_F16, NN_F64,
                                  NN_U32,  NN_U64, NN_NONE, NN_NONE, NN_BF16};
    return onnx >= 0 && onnx < (int64_t)(sizeof map / sizeof *map) ? map[onnx] : NN_NONE;
}

sq_status nn_infer_cast(nn_call *call)
{
    int64_t to;
    sq_status rc = nn_int(call, "to", 0, &to);
    if (rc != SQ_OK)
        return rc;
    if (cast_type(to) == NN_NONE)
        return nn_fail(call, SQ_ERR_UNSUPPORTED, "a cast to type %lld", (long long)to);
    return nn_out(call, 0, cast_type(to), call->in[0]->rank, call->in[0]->dim);
}

sq_status nn_eval_cast(nn_call *call)
{
    const nn_tensor *in = call->in[0];
    nn_tensor *out = call->out[0];
    for (int64_t i = 0; i < out->count; i++) {
        if (nn_is_float(in->type) || nn_is_float(out->type))
            nn_set(out, i, nn_get(in, i));
        else
            nn_set_int(out, i, nn_get_int(in, i));
    }
    return SQ_OK;
}

sq_status nn_infer_batchnorm(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    int64_t training;
    double epsilon;
    sq_status rc = nn_int(call, "training_mode", 0, &training);
    if (rc == SQ_OK)
        rc = nn_float(call, "epsilon", 1e-5, &epsilon);
    if (rc != SQ_OK)
        return rc;
    if (training)
        return nn_fail(call, SQ_ERR_UNSUPPORTED, "training mode");
    if (x->rank < 2 || x->type != NN_F32)
        return nn_fail(call, SQ_ERR_UNSUPPORTED, "%s input of rank %d", nn_type_name(x->type),
                       x->rank);
    for (int i = 1; i < 5; i++) {
        if (call->in[i]->rank != 1 || call->in[i]->dim[0] != x->dim[1] ||
            call->in[i]->type != NN_F32)
            return nn_fail(call, SQ_ERR_CONFIG, "input %d does not have one float32 a channel", i);
    }
    return nn_infer_same(call);
}

sq_status nn_eval_batchnorm(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    double epsilon;
    sq_status rc = nn_float(call, "epsilon", 1e-5, &epsilon);
    int64_t plane = 1;
    for (int i = 2; i < x->rank; i++)
        plane *= x->dim[i];
    for (int64_t i = 0; rc == SQ_OK && i < x->count; i++) {
        int64_t c = i / plane % x->dim[1];
        double scale = nn_get(call->in[1], c) / sqrt(nn_get(call->in[4], c) + epsilon);
        double shift = nn_get(call->in[2], c) - nn_get(call->in[3], c) * scale;
        nn_set(call->out[0], i, nn_get(x, i) * scale + shift);
    }
    return rc;
}
