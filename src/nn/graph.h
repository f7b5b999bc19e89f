/* The graph of an ONNX file after loading: values, nodes in an order in which they can be executed,
 * attributes.
 *
 * Everything is checked when the file is loaded: names resolve, every value has one producer, there
 * are no cycles, initialisers have exactly the bytes that their shape needs. Nodes whose operator
 * is not known stay in the graph (op == NULL), so that the model can be shown; executing them is an
 * error. Local. */
#ifndef SQ_NN_GRAPH_H
#define SQ_NN_GRAPH_H

#include "nn/model.h"
#include "nn/tensor.h"

enum { NN_MAX_ARGS = 64 }; /* inputs or outputs of a node */

typedef enum nn_attr_kind {
    NN_ATTR_INT = 1,
    NN_ATTR_FLOAT,
    NN_ATTR_TEXT,
    NN_ATTR_TENSOR,
    NN_ATTR_INTS,
    NN_ATTR_FLOATS,
    NN_ATTR_OTHER
} nn_attr_kind;

typedef struct nn_attr {
    char *name;
    nn_attr_kind kind;
    int64_t i;
    double f;
    char *text;
    int count;
    int64_t *ints;
    double *floats;
    nn_tensor tensor;
} nn_attr;

struct nn_op;

typedef struct nn_node {
    char *name, *op_name;   /* name: of the file, or "OP#INDEX" */
    const struct nn_op *op; /* NULL: not supported */
    int inputs, outputs;    /* trailing absent ones are dropped */
    int *in, *out;          /* values; -1: absent */
    nn_attr *attr;
    int attrs;
} nn_node;

typedef struct nn_value {
    char *name;
    nn_type type;  /* NN_NONE: not declared */
    int has_shape; /* declared shape; -1 in dim: symbolic */
    int rank;
    int64_t dim[SQ_MAX_RANK];
    nn_tensor constant; /* initialiser when constant.type is not NN_NONE */
    int producer;       /* node, -1: none */
} nn_value;

struct sq_model {
    char *name; /* file or buffer name for messages */
    int opset;
    sq_hash hash;
    int64_t limit; /* elements of a tensor */
    nn_value *value;
    int values;
    nn_node *node;
    int nodes;
    int *input, *output; /* values */
    int inputs, outputs;
    char **key, **text; /* metadata */
    int metadata;
};

/* Shapes and folded constants of every value for given input shapes. */
typedef struct nn_instance {
    const sq_model *model;
    nn_tensor *value; /* data: constants only (owned, or the model's when !owned[i]) */
    unsigned char *owned;
} nn_instance;

/* Infer every shape and fold whatever depends on constants only. shape: of each input.
 * SQ_ERR_UNSUPPORTED when an operator is unknown or a shape depends on data. With `partial`, stop
 * quietly at such nodes (describe). */
sq_status nn_instance_create(const sq_model *model, const int64_t (*shape)[SQ_MAX_RANK],
                             int partial, nn_instance *out);
void nn_instance_destroy(nn_instance *instance);
int nn_is_constant(const nn_instance *instance, int value);

/* Make an input a constant (the conformance suite gives weights as inputs). */
sq_status nn_model_freeze(sq_model *model, int input, const nn_tensor *data);

const nn_attr *nn_attr_find(const nn_node *node, const char *name);

#endif
