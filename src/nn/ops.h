/* The operators: for each one its shape rule and its naive kernel, in one table.
 *
 * `infer` sets type and shape of the outputs from the inputs' types and shapes, and from their data
 * where an operator's shape depends on it (data == NULL when not known: SQ_ERR_UNSUPPORTED). `eval`
 * fills outputs whose shape has been inferred; it is the oracle: sums in double, no layouts, no
 * cleverness. Local. */
#ifndef SQ_NN_OPS_H
#define SQ_NN_OPS_H

#include "nn/graph.h"

typedef struct nn_call {
    const sq_model *model;
    const nn_node *node;
    const nn_tensor *in[NN_MAX_ARGS]; /* NULL: absent */
    nn_tensor *out[NN_MAX_ARGS];      /* NULL: absent */
} nn_call;

typedef sq_status nn_kernel(nn_call *call);

typedef struct nn_op {
    const char *name;
    int code; /* for elementwise operators: nn_elementwise */
    int min_in, max_in, max_out;
    nn_kernel *infer, *eval;
} nn_op;

const nn_op *nn_op_find(const char *name);
const nn_op *nn_op_table(int *count);

/* Infer the outputs of `call` (argument counts are checked); messages name node and operator. */
sq_status nn_infer(nn_call *call);
sq_status nn_eval(nn_call *call);

/* SQ_ERR_CONFIG "MODEL: node NAME (OP): ...". */
sq_status nn_fail(const nn_call *call, sq_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Attributes with their defaults; a wrong type is an error. */
sq_status nn_int(const nn_call *call, const char *name, int64_t fallback, int64_t *out);
sq_status nn_float(const nn_call *call, const char *name, double fallback, double *out);
/* Text attribute: `fallback` when absent. */
sq_status nn_text(const nn_call *call, const char *name, const char *fallback, const char **out);
/* Integers into out[max]; *count = -1 when absent. */
sq_status nn_ints(const nn_call *call, const char *name, int max, int64_t *out, int *count);
/* The integers of constant input i (rank 0 or 1). *count = -1 when absent. */
sq_status nn_in_ints(const nn_call *call, int i, int max, int64_t *out, int *count);
/* The same list from an attribute (older opsets) or from input i. */
sq_status nn_list(const nn_call *call, const char *name, int i, int max, int64_t *out, int *count);
sq_status nn_axis(const nn_call *call, int64_t value, int rank, int *axis);
sq_status nn_out(nn_call *call, int i, nn_type type, int rank, const int64_t *dim);

/* Geometry of convolutions and pooling over the spatial dimensions. */
typedef struct nn_window {
    int n; /* spatial dimensions, 1..3 */
    int64_t kernel[3], stride[3], dilation[3], begin[3], end[3];
    int64_t in[3], out[3];
    int64_t groups;
    int ceil, count_include_pad;
} nn_window;

sq_status nn_conv_window(const nn_call *call, nn_window *w);
sq_status nn_deconv_window(const nn_call *call, nn_window *w);
sq_status nn_pool_window(const nn_call *call, nn_window *w);

/* Elementwise operators. */
typedef enum nn_elementwise {
    NN_EW_NONE,
    NN_EW_RELU,
    NN_EW_LEAKY,
    NN_EW_SIGMOID,
    NN_EW_TANH,
    NN_EW_SOFTPLUS,
    NN_EW_EXP,
    NN_EW_LOG,
    NN_EW_ELU,
    NN_EW_ABS,
    NN_EW_NEG,
    NN_EW_SQRT,
    NN_EW_FLOOR,
    NN_EW_CLIP,
    NN_EW_ADD,
    NN_EW_SUB,
    NN_EW_MUL,
    NN_EW_DIV,
} nn_elementwise;

/* Clip's bounds at any opset; infinite when absent. */
sq_status nn_clip_bounds(const nn_call *call, double *low, double *high);

/* Slice at any opset: first element, step and length for each dimension of the input. */
sq_status nn_slice_range(const nn_call *call, int64_t *first, int64_t *step, int64_t *length);
/* Pad at any opset: begin and end for each dimension, and the constant. */
sq_status nn_pad_range(const nn_call *call, int64_t *begin, int64_t *end, double *value);

typedef struct nn_resize {
    int rank, mode; /* 0 nearest, 1 linear, 2 cubic */
    int coordinate, nearest, exclude_outside;
    double cubic, extrapolation;
    double scale[SQ_MAX_RANK], roi[2 * SQ_MAX_RANK];
    int64_t out[SQ_MAX_RANK];
} nn_resize;
enum {
    NN_HALF_PIXEL,
    NN_PYTORCH_HALF_PIXEL,
    NN_ALIGN_CORNERS,
    NN_ASYMMETRIC,
    NN_TF_HALF_PIXEL,
    NN_CROP_AND_RESIZE
};
enum { NN_ROUND_PREFER_FLOOR, NN_ROUND_PREFER_CEIL, NN_FLOOR, NN_CEIL };
sq_status nn_resize_plan(const nn_call *call, nn_resize *out);

sq_status nn_reduce_axes(const nn_call *call, unsigned char axis[SQ_MAX_RANK], int *keep);

nn_kernel nn_infer_unary, nn_eval_unary, nn_infer_binary, nn_eval_binary, nn_infer_clip,
    nn_eval_clip, nn_infer_cast, nn_eval_cast, nn_infer_same, nn_eval_copy, nn_infer_batchnorm,
    nn_eval_batchnorm, nn_infer_dropout;
nn_kernel nn_infer_conv, nn_eval_conv, nn_infer_deconv, nn_eval_deconv, nn_infer_pool,
    nn_eval_maxpool, nn_eval_avgpool, nn_infer_global_pool, nn_eval_global_pool;
nn_kernel nn_infer_concat, nn_eval_concat, nn_infer_slice, nn_eval_slice, nn_infer_split,
    nn_eval_split, nn_infer_reshape, nn_infer_transpose, nn_eval_transpose, nn_infer_flatten,
    nn_infer_pad, nn_eval_pad, nn_infer_depth_to_space, nn_eval_depth_to_space,
    nn_infer_space_to_depth, nn_eval_space_to_depth, nn_infer_constant, nn_eval_constant,
    nn_infer_shape, nn_eval_shape, nn_infer_gather, nn_eval_gather, nn_infer_squeeze,
    nn_infer_unsqueeze, nn_infer_fill, nn_eval_fill, nn_infer_expand, nn_eval_expand;
nn_kernel nn_infer_reduce, nn_eval_reduce, nn_infer_gemm, nn_eval_gemm, nn_infer_matmul,
    nn_eval_matmul, nn_infer_softmax, nn_eval_softmax, nn_infer_resize, nn_eval_resize;

#endif
