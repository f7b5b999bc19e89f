/* From the wire format to the graph: the only place that sees protobuf-c. Local. */
#ifndef SQ_NN_ONNX_H
#define SQ_NN_ONNX_H

#include "nn/graph.h"

/* Fill an empty model (its name and limits are set) from the bytes of an ONNX file. */
sq_status nn_onnx_parse(sq_model *model, const void *data, size_t size, int64_t max_nodes);

/* A serialised TensorProto (the test data of ONNX). `what` names it in messages. Free with
 * nn_tensor_free. */
sq_status nn_onnx_tensor(const void *data, size_t size, const char *what, nn_tensor *out);

#endif
