#include "nn/ops.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { ANY = NN_MAX_ARGS };

/* clang-format off */
static const nn_op table[] = {
    /* name, elementwise code, least and most inputs, most outputs, shape rule, naive kernel */
    {"Abs", NN_EW_ABS, 1, 1, 1, nn_infer_unary, nn_eval_unary},
    {"Add", NN_EW_ADD, 2, 2, 1, nn_infer_binary, nn_eval_binary},
    {"AveragePool", 0, 1, 1, 1, nn_infer_pool, nn_eval_avgpool},
    {"BatchNormalization", 0, 5, 5, 1, nn_infer_batchnorm, nn_eval_batchnorm},
    {"Cast", 0, 1, 1, 1, nn_infer_cast, nn_eval_cast},
    {"Clip", NN_EW_CLIP, 1, 3, 1, nn_infer_clip, nn_eval_clip},
    {"Concat", 0, 1, ANY, 1, nn_infer_concat, nn_eval_concat},
    {"Constant", 0, 0, 0, 1, nn_infer_constant, nn_eval_constant},
    {"ConstantOfShape", 0, 1, 1, 1, nn_infer_fill, nn_eval_fill},
    {"Conv", 0, 2, 3, 1, nn_infer_conv, nn_eval_conv},
    {"ConvTranspose", 0, 2, 3, 1, nn_infer_deconv, nn_eval_deconv},
    {"DepthToSpace", 0, 1, 1, 1, nn_infer_depth_to_space, nn_eval_depth_to_space},
    {"Div", NN_EW_DIV, 2, 2, 1, nn_infer_binary, nn_eval_binary},
    {"Dropout", 0, 1, 3, 1, nn_infer_dropout, nn_eval_copy},
    {"Elu", NN_EW_ELU, 1, 1, 1, nn_infer_unary, nn_eval_unary},
    {"Exp", NN_EW_EXP, 1, 1, 1, nn_infer_unary, nn_eval_unary},
    {"Expand", 0, 2, 2, 1, nn_infer_expand, nn_eval_expand},
    {"Flatten", 0, 1, 1, 1, nn_infer_flatten, nn_eval_copy},
    {"Floor", NN_EW_FLOOR, 1, 1, 1, nn_infer_unary, nn_eval_unary},
    {"Gather", 0, 2, 2, 1, nn_infer_gather, nn_eval_gather},
    {"Gemm", 0, 2, 3, 1, nn_infer_gemm, nn_eval_gemm},
    {"GlobalAveragePool", 0, 1, 1, 1, nn_infer_global_pool, nn_eval_global_pool},
    {"Identity", 0, 1, 1, 1, nn_infer_same, nn_eval_copy},
    {"LeakyRelu", NN_EW_LEAKY, 1, 1, 1, nn_infer_unary, nn_eval_unary},
    {"Log", NN_EW_LOG, 1, 1, 1, nn_infer_unary, nn_eval_unary},
    {"LogSoftmax", 0, 1, 1, 1, nn_infer_softmax, nn_eval_softmax},
    {"MatMul", 0, 2, 2, 1, nn_infer_matmul, nn_eval_matmul},
    {"MaxPool", 0, 1, 1, 2, nn_infer_pool, nn_eval_maxpool},
    {"Mul", NN_EW_MUL, 2, 2, 1, nn_infer_binary, nn_eval_binary},
    {"Neg", NN_EW_NEG, 1, 1, 1, nn_infer_unary, nn_eval_unary},
    {"Pad", 0, 1, 4, 1, nn_infer_pad, nn_eval_pad},
    {"ReduceMax", 0, 1, 2, 1, nn_infer_reduce, nn_eval_reduce},
    {"ReduceMean", 0, 1, 2, 1, nn_infer_reduce, nn_eval_reduce},
    {"ReduceSum", 0, 1, 2, 1, nn_infer_reduce, nn_eval_reduce},
    {"Relu", NN_EW_RELU, 1, 1, 1, nn_infer_unary, nn_eval_unary},
    {"Reshape", 0, 1, 2, 1, nn_infer_reshape, nn_eval_copy},
    {"Resize", 0, 1, 4, 1, nn_infer_resize, nn_eval_resize},
    {"Shape", 0, 1, 1, 1, nn_infer_shape, nn_eval_shape},
    {"Sigmoid", NN_EW_SIGMOID, 1, 1, 1, nn_infer_unary, nn_eval_unary},
    {"Slice", 0, 1, 5, 1, nn_infer_slice, nn_eval_slice},
    {"Softmax", 0, 1, 1, 1, nn_infer_softmax, nn_eval_softmax},
    {"Softplus", NN_EW_SOFTPLUS, 1, 1, 1, nn_infer_unary, nn_eval_unary},
    {"SpaceToDepth", 0, 1, 1, 1, nn_infer_space_to_depth, nn_eval_space_to_depth},
    {"Split", 0, 1, 2, ANY, nn_infer_split, nn_eval_split},
    {"Sqrt", NN_EW_SQRT, 1, 1, 1, nn_infer_unary, nn_eval_unary},
    {"Squeeze", 0, 1, 2, 1, nn_infer_squeeze, nn_eval_copy},
    {"Sub", NN_EW_SUB, 2, 2, 1, nn_infer_binary, nn_eval_binary},
    {"Tanh", NN_EW_TANH, 1, 1, 1, nn_infer_unary, nn_eval_unary},
    {"Transpose", 0, 1, 1, 1, nn_infer_transpose, nn_eval_transpose},
    {"Unsqueeze", 0, 1, 2, 1, nn_infer_unsqueeze, nn_eval_copy},
    {"Upsample", 0, 1, 2, 1, nn_infer_resize, nn_eval_resize},
};
/* clang-format on */

const nn_op *nn_op_table(int *count)
{
    *count = (int)(sizeof table / sizeof *table);
    return table;
}

const nn_op *nn_op_find(const char *name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    }
    return NULL;
}

sq_status nn_fail(const nn_call *call, sq_status code, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return sq_fail(code, "%s: node %.100s (%.60s): %s", call->model->name, call->node->name,
                   call->node->op_name, text);
}

static sq_status check_arguments(const nn_call *call)
{
    const nn_node *node = call->node;
    if (!node->op)
        return nn_fail(call, SQ_ERR_UNSUPPORTED, "this operator is not supported");
    if (node->inputs < node->op->min_in || node->inputs > node->op->max_in)
        return nn_fail(call, SQ_ERR_CONFIG, "%d inputs where %d to %d are possible", node->inputs,
                       node->op->min_in, node->op->max_in);
    if (node->outputs < 1 || node->outputs > node->op->max_out)
        return nn_fail(call, node->outputs ? SQ_ERR_UNSUPPORTED : SQ_ERR_CONFIG,
                       "%d outputs where 1 to %d are supported", node->outputs, node->op->max_out);
    for (int i = 0; i < node->op->min_in; i++) {
        if (!call->in[i])
            return nn_fail(call, SQ_ERR_CONFIG, "input %d is missing", i);
    }
    for (int i = 0; i < node->inputs; i++) {
        if (call->in[i] && call->in[i]->type == NN_NONE)
            return nn_fail(call, SQ_ERR_CONFIG, "input %d has no type", i);
    }
    return SQ_OK;
}

sq_status nn_infer(nn_call *call)
{
    sq_status rc = check_arguments(call);
    return rc == SQ_OK ? call->node->op->infer(call) : rc;
}

sq_status nn_eval(nn_call *call)
{
    return call->node->op->eval(call);
}

sq_status nn_out(nn_call *call, int i, nn_type type, int rank, const int64_t *dim)
{
    if (!call->out[i])
        return SQ_OK;
    sq_status rc = nn_tensor_shape(call->out[i], type, rank, dim, call->model->limit, "output");
    return rc == SQ_OK ? rc : nn_fail(call, rc, "%s", sq_error());
}

static sq_status wrong_kind(const nn_call *call, const nn_attr *a, nn_attr_kind kind)
{
    if (a->kind == kind)
        return SQ_OK;
    return nn_fail(call, SQ_ERR_CONFIG, "attribute %.60s has the wrong type", a->name);
}

sq_status nn_int(const nn_call *call, const char *name, int64_t fallback, int64_t *out)
{
    const nn_attr *a = nn_attr_find(call->node, name);
    *out = a ? a->i : fallback;
    return a ? wrong_kind(call, a, NN_ATTR_INT) : SQ_OK;
}

sq_status nn_float(const nn_call *call, const char *name, double fallback, double *out)
{
    const nn_attr *a = nn_attr_find(call->node, name);
    *out = a ? a->f : fallback;
    return a ? wrong_kind(call, a, NN_ATTR_FLOAT) : SQ_OK;
}

sq_status nn_text(const nn_call *call, const char *name, const char *fallback, const char **out)
{
    const nn_attr *a = nn_attr_find(call->node, name);
    *out = a && a->text ? a->text : fallback;
    return a ? wrong_kind(call, a, NN_ATTR_TEXT) : SQ_OK;
}

sq_status nn_ints(const nn_call *call, const char *name, int max, int64_t *out, int *count)
{
    const nn_attr *a = nn_attr_find(call->node, name);
    *count = -1;
    if (!a)
        return SQ_OK;
    sq_status rc = wrong_kind(call, a, NN_ATTR_INTS);
    if (rc != SQ_OK)
        return rc;
    if (a->count > max)
        return nn_fail(call, SQ_ERR_CONFIG, "attribute %.60s has %d values", name, a->count);
    *count = a->count;
    for (int i = 0; i < a->count; i++)
        out[i] = a->ints[i];
    return SQ_OK;
}

sq_status nn_in_ints(const nn_call *call, int i, int max, int64_t *out, int *count)
{
    const nn_tensor *t = i < call->node->inputs ? call->in[i] : NULL;
    *count = -1;
    if (!t)
        return SQ_OK;
    if (t->type != NN_I64 && t->type != NN_I32)
        return nn_fail(call, SQ_ERR_CONFIG, "input %d is %s, not an integer", i,
                       nn_type_name(t->type));
    if (!t->data)
        return nn_fail(call, SQ_ERR_UNSUPPORTED, "input %d is not a constant", i);
    if (t->rank > 1 || t->count > max)
        return nn_fail(call, SQ_ERR_CONFIG, "input %d is not a list of at most %d values", i, max);
    *count = (int)t->count;
    for (int k = 0; k < *count; k++)
        out[k] = nn_get_int(t, k);
    return SQ_OK;
}

sq_status nn_list(const nn_call *call, const char *name, int i, int max, int64_t *out, int *count)
{
    sq_status rc = nn_in_ints(call, i, max, out, count);
    if (rc != SQ_OK || *count >= 0)
        return rc;
    return nn_ints(call, name, max, out, count);
}

sq_status nn_axis(const nn_call *call, int64_t value, int rank, int *axis)
{
    if (value < -rank || value >= rank)
        return nn_fail(call, SQ_ERR_CONFIG, "axis %lld of a tensor of rank %d", (long long)value,
                       rank);
    *axis = (int)(value < 0 ? value + rank : value);
    return SQ_OK;
}
