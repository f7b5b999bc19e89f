/* ONNX's protobuf messages, read as untrusted bytes: bounded memory and recursion. The code behind
 * onnx.pb-c.h is generated at build time from the onnx.proto that the system installs. Local. */
#ifndef SQ_NN_ONNX_WIRE_H
#define SQ_NN_ONNX_WIRE_H

#include "nn/tensor.h"
#include "onnx.pb-c.h"

sq_status nn_wire_model(const void *data, size_t size, const char *name, Onnx__ModelProto **out);
void nn_wire_model_free(Onnx__ModelProto *model);
sq_status nn_wire_tensor(const void *data, size_t size, const char *name, Onnx__TensorProto **out);
void nn_wire_tensor_free(Onnx__TensorProto *tensor);

nn_type nn_wire_type(int onnx); /* NN_NONE: not supported */
/* A tensor of its own from a message; its data must have exactly the size that its shape needs. */
sq_status nn_wire_copy_tensor(const Onnx__TensorProto *p, int64_t limit, const char *what,
                              nn_tensor *out);

#endif
