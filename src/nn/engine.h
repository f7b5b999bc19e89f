/* A model compiled for fixed shapes: views of memory, and operations in the order of execution.
 *
 * A buffer is a piece of memory: of the arena (placed after compilation, from the operations that
 * first and last touch it), of the weights, or the caller's. A view is a buffer seen through a
 * layout. Every value of the graph has a home view, in the layout that its producer chose, and
 * perhaps copies in other layouts, made once and shared. A buffer may lie inside another one: a
 * part of a concatenation is written where the whole is read. Local. */
#ifndef SQ_NN_ENGINE_H
#define SQ_NN_ENGINE_H

#include "nn/dnnl_compat.h"
#include "nn/graph.h"
#include "nn/ops.h"

typedef enum ex_kind { EX_ARENA, EX_WEIGHT, EX_INPUT, EX_OUTPUT } ex_kind;

typedef struct ex_buffer {
    ex_kind kind;
    int parent; /* lies inside this one at `offset`; -1: stands alone */
    size_t offset, bytes;
    int first, last; /* operations that touch it; first > last: none; last INT32_MAX: for good */
    int stage;       /* of the operations that touch it, until it stays for good */
    int io;          /* EX_INPUT, EX_OUTPUT: which */
    size_t place;    /* EX_ARENA: where in the arena */
    int shared;      /* another value looks into it */
    void *data;      /* EX_WEIGHT: owned */
} ex_buffer;

typedef struct ex_view {
    int buffer;
    size_t offset;   /* bytes */
    nn_tensor shape; /* data == NULL */
    nd_md md;        /* not set for types that oneDNN does not handle */
    int next;        /* another view of the same value, -1: none */
} ex_view;

enum { EX_MAX_ARGS = 80 };

typedef enum ex_op_kind { EX_PRIMITIVE, EX_KERNEL, EX_LOAD, EX_STORE, EX_ZERO } ex_op_kind;

typedef struct ex_op {
    ex_op_kind kind;
    int stage;
    const char *name, *type; /* of the node; owned by the model or static */
    char implementation[40];
    double flop, seconds;
    dnnl_primitive_t primitive;
    int args;
    int *arg_name, *arg_view; /* EX_PRIMITIVE: DNNL_ARG_... and views */
    dnnl_exec_arg_t *arg;
    size_t scratch;
    dnnl_memory_t scratch_memory;
    int bound;  /* some argument is the caller's memory */
    int output; /* model output that it writes, -1: none */
    /* EX_KERNEL, EX_LOAD, EX_STORE, EX_ZERO */
    nn_call *call;
    nn_tensor *tensor;
    int *tensor_view; /* of tensor i; -1: a constant */
    int tensors;
} ex_op;

/* A node after fusion: see fuse.c. */
typedef struct fx_post {
    dnnl_alg_kind_t alg;
    float alpha, beta;
    int other; /* value of a binary post-op, -1: elementwise */
    int node;
} fx_post;

enum { FX_MAX_POST = 6 };

typedef struct fx_node {
    int dead;  /* done by another node */
    int head;  /* emit node `head` here with its posts; -1: nothing to emit */
    int owner; /* head of the chain that it belongs to */
    int end;   /* of a head: the node where it is emitted */
    int stage;
    int input, output;                /* values, where fusion changed them */
    int64_t pad_begin[3], pad_end[3]; /* of a Pad that was taken in */
    double *scale, *shift; /* of each output channel, to be folded into weights and bias */
    fx_post post[FX_MAX_POST];
    int posts;
} fx_node;

struct sq_engine {
    const sq_model *model;
    nn_instance instance;
    sq_precision precision;
    dnnl_engine_t dnnl;
    dnnl_stream_t stream;
    int *value_stage, *home; /* of each value; home: view, -1: none */
    int64_t *last_use;       /* of each value: ex_order() of the last chain that reads it */
    int input_stage[SQ_MAX_IO];
    fx_node *fused;
    ex_view *view;
    int views;
    size_t view_capacity;
    ex_buffer *buffer;
    int buffers;
    size_t buffer_capacity;
    ex_op *op;
    int ops;
    size_t op_capacity;
    char *arena, *arena_memory, *scratch; /* arena: within arena_memory, on a page */
    size_t arena_bytes, scratch_bytes, weight_bytes;
    int profile, next_stage, last_stage;
    int now; /* node that is being compiled, -1: none */
    int now_stage;
    const float *input[SQ_MAX_IO];
    float *output[SQ_MAX_IO];
};

/* fuse.c: which nodes are done inside others. */
sq_status fx_fuse(sq_engine *e);
int64_t ex_order(const sq_engine *e, int stage, int node); /* increases as execution does */
int fx_is_activation(const nn_call *call, dnnl_alg_kind_t *alg, float *alpha, float *beta);

/* view.c */
dnnl_data_type_t ex_float_type(const sq_engine *e); /* of activations: f32 or bf16 */
int ex_dnnl_rank(const nn_tensor *shape);           /* scalars count as vectors */
dnnl_format_tag_t ex_plain_tag(int rank);
sq_status ex_plain_md(const nn_tensor *shape, dnnl_data_type_t type, nd_md *out);
sq_status ex_any_md(const nn_tensor *shape, dnnl_data_type_t type, nd_md *out);
sq_status ex_new_buffer(sq_engine *e, ex_kind kind, size_t bytes, int *out);
/* A view on a new arena buffer; takes a copy of md. */
sq_status ex_new_view(sq_engine *e, const nn_tensor *shape, const nd_md *md, int *out);
sq_status ex_alias_view(sq_engine *e, int buffer, size_t offset, const nn_tensor *shape,
                        const nd_md *md, int *out);
/* Constant numbers in a layout of their own, made once. */
sq_status ex_constant(sq_engine *e, const nn_tensor *t, const nd_md *plain, const nd_md *md,
                      int *out);
/* The value in this layout; reorders when needed. */
sq_status ex_in_layout(sq_engine *e, int value, const nd_md *md, int *view);
sq_status ex_plain(sq_engine *e, int value, dnnl_data_type_t type, int *view);
/* The home of a value: made when it is a constant. */
sq_status ex_home(sq_engine *e, int value, int *view);
int ex_root(const sq_engine *e, int buffer, size_t *offset);

/* op.c: adding operations; they belong to the node and stage that are being compiled. */
sq_status ex_add_primitive(sq_engine *e, dnnl_primitive_desc_t pd, int args, const int *name,
                           const int *view, double flop);
sq_status ex_add_reorder(sq_engine *e, int from, int to);
sq_status ex_add_kernel(sq_engine *e, int node); /* the naive kernel, on plain copies */
sq_status ex_add_zero(sq_engine *e, int view);
sq_status ex_add_load(sq_engine *e, int input, int view);
sq_status ex_add_store(sq_engine *e, int output);
void *ex_address(const sq_engine *e, int view); /* at run time */
void ex_free_op(ex_op *op);

/* compile.c and compile_*.c: one node or chain each; SQ_ERR_UNSUPPORTED: let the naive kernels do
 * it. */
sq_status ex_compile(sq_engine *e);
sq_status ex_compile_conv(sq_engine *e, int node);
sq_status ex_compile_matmul(sq_engine *e, int node);
sq_status ex_compile_unary(sq_engine *e, int node);
sq_status ex_compile_binary(sq_engine *e, int node);
sq_status ex_compile_batchnorm(sq_engine *e, int node);
sq_status ex_compile_pool(sq_engine *e, int node);
sq_status ex_compile_mean(sq_engine *e, int node);
sq_status ex_compile_resize(sq_engine *e, int node);
sq_status ex_compile_softmax(sq_engine *e, int node);
sq_status ex_compile_concat(sq_engine *e, int node);
sq_status ex_compile_slice(sq_engine *e, int node);
sq_status ex_compile_split(sq_engine *e, int node);
sq_status ex_compile_reshape(sq_engine *e, int node);
sq_status ex_compile_transpose(sq_engine *e, int node);
sq_status ex_compile_blocks(sq_engine *e, int node);
sq_status ex_compile_pad(sq_engine *e, int node);

void ex_call(const sq_engine *e, int node, nn_call *call);
const nn_tensor *ex_shape(const sq_engine *e, int value);
/* Element type of a primitive's result that becomes `value`: float32 for outputs of the model. */
dnnl_data_type_t ex_result_type(const sq_engine *e, int value);
/* posts[from..] of a chain as operations of their own on `view`, whose shape they keep; the result
 * becomes the home of the chain's output. */
sq_status ex_apply_posts(sq_engine *e, const fx_node *f, int from, int view);

/* engine.c: ask oneDNN's runtime for one thread in this thread. */
void ex_one_thread(void);
sq_status ex_run_op(sq_engine *e, ex_op *op);

/* arena.c: places for the arena's buffers. */
sq_status ex_plan_arena(sq_engine *e);

#endif
