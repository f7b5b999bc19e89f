/* Networks: ONNX files, what they need, and their execution.
 *
 * A model is untrusted input: every dimension is bounded, products are checked for overflow, and what is not
 * supported is an error that names node and operator. Tensors are float32 row-major (NCHW) at the interface.
 *
 * Inputs are staged: stage[i] says after which earlier outputs input i becomes known (0: at once). A node belongs to
 * the latest stage among its inputs; sq_engine_run(engine, s, s, ...) runs the nodes of one stage, so that a network
 * whose later heads depend on decoded earlier heads is one file and its shared part is computed once. A stage may be run
 * again, with other inputs.
 *
 * An engine compiles a model for fixed shapes and one thread; it is used by one thread at a time. Local. */
#ifndef SQ_NN_MODEL_H
#define SQ_NN_MODEL_H

#include <stdint.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/status.h"

enum { SQ_MAX_RANK = 8, SQ_MAX_IO = 32 };

typedef struct sq_model sq_model;
typedef struct sq_engine sq_engine;

typedef struct sq_tensor_info {
    const char *name;
    int rank;
    int64_t dim[SQ_MAX_RANK];   /* -1: symbolic */
} sq_tensor_info;

typedef enum sq_precision { SQ_FP32, SQ_BF16, SQ_PRECISION_AUTO } sq_precision;

typedef struct sq_model_limits {
    uint64_t file_bytes, tensor_elements;   /* 0: the defaults, 1 GiB and 2^31 */
    int64_t nodes;                          /* 0: 100000 */
} sq_model_limits;

sq_status sq_model_load(const char *path, const sq_model_limits *limits, sq_model **out);
sq_status sq_model_parse(const void *data, size_t size, const char *name,
                         const sq_model_limits *limits, sq_model **out);
sq_hash sq_model_hash(const sq_model *model);
int sq_model_inputs(const sq_model *model);
int sq_model_outputs(const sq_model *model);
sq_tensor_info sq_model_input(const sq_model *model, int i);
sq_tensor_info sq_model_output(const sq_model *model, int i);
/* metadata_props of the file, NULL when absent. Owned by the model. */
const char *sq_model_metadata(const sq_model *model, const char *key);
/* Dimensions of every input with symbolic ones taken as `side` and the batch as 1. Inputs after the first may be
 * coarser by one power of two, up to 32: the first with which all shapes agree. */
sq_status sq_model_shapes(const sq_model *model, int64_t side, int64_t (*shape)[SQ_MAX_RANK]);
/* A report for people: operators, parameters, FLOP per input pixel, receptive field, supported or why not. Dimensions that are
 * symbolic are taken as `side`. */
sq_status sq_model_describe(const sq_model *model, int64_t side, FILE *out);
void sq_model_destroy(sq_model *model);

/* shape[i]: full dimensions of input i. stage may be NULL (all 0). */
sq_status sq_engine_create(const sq_model *model, const int64_t (*shape)[SQ_MAX_RANK],
                           const int *stage, sq_precision precision, sq_engine **out);
sq_tensor_info sq_engine_output(const sq_engine *engine, int i);   /* with its final dimensions */
/* Run stages first..last. inputs[i] must be set for the inputs of stages <= last that have not been given in an
 * earlier call of the same pass; output[i] is filled when its stage is run (NULL: not wanted). */
sq_status sq_engine_run(sq_engine *engine, int first, int last, const float *const *inputs,
                        float *const *outputs);
sq_precision sq_engine_precision(const sq_engine *engine);
/* The engine's own account: bytes of arena and weights, seconds, FLOP and bytes per primitive. */
typedef struct sq_engine_op {
    const char *name, *type;
    double flop, seconds;     /* of the last run; CPU seconds, only after sq_engine_profile(engine, 1) */
    double bytes;             /* of all that a oneDNN primitive reads and writes, each once; 0 for others */
} sq_engine_op;
int sq_engine_ops(const sq_engine *engine);
sq_engine_op sq_engine_op_at(const sq_engine *engine, int i);
void sq_engine_profile(sq_engine *engine, int on);
uint64_t sq_engine_bytes(const sq_engine *engine);
void sq_engine_destroy(sq_engine *engine);

/* The naive executor, the oracle of the tests: any supported graph, no layouts, no folding. */
sq_status sq_reference_run(const sq_model *model, const int64_t (*shape)[SQ_MAX_RANK],
                           const float *const *inputs, float *const *outputs);

/* "oneDNN 2.6.3, avx512_core_bf16" and whether bf16 is worth using on this machine. */
const char *sq_nn_version(void);
int sq_nn_has_bf16(void);

#endif
