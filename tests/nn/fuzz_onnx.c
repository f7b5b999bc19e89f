/* Fuzz target: any bytes as a model file. What loads is described, compiled and run when it is
 * small. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "nn/model.h"

enum { SIDE = 6, MOST = 1 << 14 };

static void run(const sq_model *m)
{
    int64_t shape[SQ_MAX_IO][SQ_MAX_RANK];
    float *in[SQ_MAX_IO] = {NULL}, *out[SQ_MAX_IO] = {NULL};
    sq_engine *e = NULL;
    memset(shape, 0, sizeof shape);
    for (int i = 0; i < sq_model_inputs(m); i++) {
        sq_tensor_info info = sq_model_input(m, i);
        int64_t count = 1;
        for (int k = 0; k < info.rank && count <= MOST; k++) {
            shape[i][k] = info.dim[k] >= 0 ? info.dim[k] : SIDE;
            count *= shape[i][k];
        }
        if (count > MOST || sq_alloc(&in[i], (size_t)count + 1, sizeof(float), "input") != SQ_OK)
            goto cleanup;
    }
    if (sq_engine_create(m, (const int64_t(*)[SQ_MAX_RANK])shape, NULL, SQ_FP32, &e) != SQ_OK)
        goto cleanup;
    for (int i = 0; i < sq_model_outputs(m); i++) {
        sq_tensor_info info = sq_engine_output(e, i);
        size_t count = 1;
        for (int k = 0; k < info.rank; k++)
            count *= (size_t)info.dim[k];
        if (sq_alloc(&out[i], count + 1, sizeof(float), "output") != SQ_OK)
            goto cleanup;
    }
    if (sq_engine_run(e, 0, 0, (const float *const *)in, out) == SQ_OK)
        sq_engine_run(e, 0, 0, (const float *const *)in, out);
cleanup:
    sq_engine_destroy(e);
    for (int i = 0; i < SQ_MAX_IO; i++) {
        sq_free(in[i]);
        sq_free(out[i]);
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static const sq_model_limits limits = {.tensor_elements = MOST, .nodes = 64};
    static FILE *sink;
    sq_model *m = NULL;
    if (!sink)
        sink = fopen("/dev/null", "w");
    if (sq_model_parse(data, size, "fuzz", &limits, &m) == SQ_OK) {
        sq_model_describe(m, SIDE, sink);
        run(m);
    }
    sq_model_destroy(m);
    return 0;
}
