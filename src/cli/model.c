#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/commands.h"
#include "nn/model.h"
#include "store/tensor.h"

typedef struct options {
    const char *file, *input, *output;
    int64_t side;
    sq_precision precision;
    int reference;
} options;

static void help(void)
{
    printf(
        "NAME\n"
        "    skyquilt model - show what an ONNX file needs, or run it\n\n"
        "SYNOPSIS\n"
        "    skyquilt model show FILE.onnx [--side N]\n"
        "    skyquilt model run FILE.onnx --input IN.h5 --output OUT.h5\n"
        "                       [--precision auto|fp32|bf16] [--reference]\n\n"
        "DESCRIPTION\n"
        "    show prints the inputs and outputs, the operators and how often each is used, the\n"
        "    number of parameters, the floating-point operations per pixel of the first input, "
        "the\n"
        "    receptive field in its pixels, and whether the model can be run or which node, with\n"
        "    which operator, prevents it. Symbolic dimensions are taken as N, the batch as 1.\n\n"
        "    run reads from IN.h5 one dataset for each input, named as the input is, and writes "
        "one\n"
        "    for each output. The first dimension of a dataset counts samples: as many as the\n"
        "    model's batch are computed at a time (one when its batch is symbolic), and results "
        "are\n"
        "    appended in the order of the samples. Other dimensions must fit the model. Numbers "
        "are\n"
        "    converted to float32. OUT.h5 appears under its name only when it is complete.\n\n"
        "    A model is untrusted: sizes are bounded and checked before anything is allocated. "
        "The\n"
        "    limits are 1 GiB a file, 2^31 elements a tensor and 100000 nodes.\n\n"
        "OPTIONS\n"
        "    --side N         sides of symbolic dimensions of the first input, for show; default "
        "320;\n"
        "                     the other inputs may be coarser by a power of two\n"
        "    --input FILE     HDF5 file with the inputs\n"
        "    --output FILE    HDF5 file to write, replaced when it is there\n"
        "    --precision P    fp32 (the default), bf16, or auto: bf16 where the processor has it\n"
        "    --reference      use the naive executor: slow, plain loops, sums in double\n"
        "    -h, --help       this text\n\n"
        "EXIT CODES\n"
        "    0  complete (show: also when the model is not supported, which it says)\n"
        "    1  usage, or a file that is not a model that can be run\n"
        "    4  the output cannot be written, or no memory\n\n"
        "EXAMPLES\n"
        "    skyquilt model show tools/models/catalog.onnx --side 512\n"
        "    skyquilt model run net.onnx --input patches.h5 --output heads.h5 --precision bf16\n");
}

static sq_status parse_precision(const char *text, sq_precision *out)
{
    static const char *const names[] = {"fp32", "bf16", "auto"};
    static const sq_precision values[] = {SQ_FP32, SQ_BF16, SQ_PRECISION_AUTO};
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = values[i];
            return SQ_OK;
        }
    }
    return sq_fail(SQ_ERR_USAGE, "--precision %s: not fp32, bf16 or auto", text);
}

static sq_status parse(int argc, char **argv, options *o)
{
    *o = (options){.side = 320, .precision = SQ_FP32};
    for (int i = 2; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        sq_status rc = SQ_OK;
        if (strcmp(name, "--reference") == 0) {
            o->reference = 1;
            continue;
        }
        if (name[0] != '-') {
            if (o->file)
                return sq_fail(SQ_ERR_USAGE, "'%s': one model at a time", name);
            o->file = name;
            continue;
        }
        if (!value)
            return sq_fail(SQ_ERR_USAGE, "%s needs a value, or is not an option", name);
        i++;
        if (strcmp(name, "--side") == 0) {
            char *end;
            o->side = strtoll(value, &end, 10);
            if (*end || o->side < 1 || o->side > 65536)
                rc = sq_fail(SQ_ERR_USAGE, "--side %s: not a number in 1..65536", value);
        } else if (strcmp(name, "--input") == 0) {
            o->input = value;
        } else if (strcmp(name, "--output") == 0) {
            o->output = value;
        } else if (strcmp(name, "--precision") == 0) {
            rc = parse_precision(value, &o->precision);
        } else {
            rc = sq_fail(SQ_ERR_USAGE, "%s is not an option", name);
        }
        if (rc != SQ_OK)
            return rc;
    }
    return o->file ? SQ_OK : sq_fail(SQ_ERR_USAGE, "no model is named");
}

typedef struct job {
    sq_model *model;
    sq_engine *engine;
    sq_h5 *in, *out;
    int64_t shape[SQ_MAX_IO][SQ_MAX_RANK]; /* of one batch */
    int64_t out_dim[SQ_MAX_IO][SQ_MAX_RANK];
    int out_rank[SQ_MAX_IO];
    int64_t samples, batch;
    float *input[SQ_MAX_IO], *output[SQ_MAX_IO];
} job;

static int64_t product(const int64_t *dim, int rank)
{
    int64_t n = 1;
    for (int i = 0; i < rank; i++)
        n *= dim[i];
    return n;
}

static sq_status read_shapes(job *j, const options *o)
{
    for (int i = 0; i < sq_model_inputs(j->model); i++) {
        sq_tensor_info info = sq_model_input(j->model, i);
        sq_dtype type;
        int rank;
        int64_t dim[8] = {0};
        sq_status rc = sq_h5_shape(j->in, info.name, &type, &rank, dim);
        if (rc != SQ_OK)
            return rc;
        if (rank != info.rank || rank < 1)
            return sq_fail(SQ_ERR_CONFIG, "%s: dataset %s has rank %d where the model has %d",
                           o->input, info.name, rank, info.rank);
        int64_t batch = info.dim[0] > 0 ? info.dim[0] : 1;
        if (i == 0) {
            j->samples = dim[0];
            j->batch = batch;
        }
        if (dim[0] != j->samples || batch != j->batch || dim[0] % batch)
            return sq_fail(SQ_ERR_CONFIG, "%s: dataset %s has %lld samples for batches of %lld",
                           o->input, info.name, (long long)dim[0], (long long)batch);
        dim[0] = batch;
        memcpy(j->shape[i], dim, sizeof dim);
        rc = sq_alloc(&j->input[i], (size_t)product(dim, rank), sizeof(float), "input");
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}

static sq_status make_outputs(job *j)
{
    for (int i = 0; i < sq_model_outputs(j->model); i++) {
        sq_tensor_info info = sq_engine_output(j->engine, i);
        j->out_rank[i] = info.rank > 0 ? info.rank : 1;
        j->out_dim[i][0] = 1;
        for (int k = 0; k < info.rank; k++)
            j->out_dim[i][k] = info.dim[k];
        sq_status rc = sq_alloc(&j->output[i], (size_t)product(j->out_dim[i], j->out_rank[i]) + 1,
                                sizeof(float), "output");
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}

static sq_status run_batch(job *j, const options *o, int64_t first)
{
    const int64_t(*shape)[SQ_MAX_RANK] = (const int64_t(*)[SQ_MAX_RANK])j->shape;
    const float *const *input = (const float *const *)j->input;
    sq_status rc = SQ_OK;
    for (int i = 0; rc == SQ_OK && i < sq_model_inputs(j->model); i++)
        rc = sq_h5_read_f32(j->in, sq_model_input(j->model, i).name, first, j->batch, j->input[i]);
    if (rc == SQ_OK)
        rc = o->reference ? sq_reference_run(j->model, shape, input, j->output)
                          : sq_engine_run(j->engine, 0, 0, input, j->output);
    for (int i = 0; rc == SQ_OK && i < sq_model_outputs(j->model); i++)
        rc = sq_h5_append(j->out, sq_model_output(j->model, i).name, SQ_F32, j->out_rank[i],
                          j->out_dim[i], j->output[i]);
    return rc;
}

static sq_status run(const options *o)
{
    job j = {0};
    char hash[SQ_HASH_TEXT];
    sq_status rc;
    if (!o->input || !o->output)
        return sq_fail(SQ_ERR_USAGE, "run needs --input and --output");
    SQ_TRY(sq_model_load(o->file, NULL, &j.model));
    SQ_TRY(sq_h5_open(o->input, &j.in));
    SQ_TRY(read_shapes(&j, o));
    SQ_TRY(sq_engine_create(j.model, (const int64_t(*)[SQ_MAX_RANK])j.shape, NULL, o->precision,
                            &j.engine));
    SQ_TRY(make_outputs(&j));
    SQ_TRY(sq_h5_create(o->output, &j.out));
    for (int64_t s = 0; s < j.samples; s += j.batch)
        SQ_TRY(run_batch(&j, o, s));
    sq_hash_text(sq_model_hash(j.model), hash);
    SQ_TRY(sq_h5_attribute_text(j.out, "/", "model", hash));
    SQ_TRY(sq_h5_attribute_text(j.out, "/", "engine", sq_nn_version()));
    rc = sq_h5_close(j.out);
    j.out = NULL;
cleanup:
    if (j.out)
        sq_h5_abandon(j.out);
    if (j.in)
        sq_h5_close(j.in);
    for (int i = 0; i < SQ_MAX_IO; i++) {
        sq_free(j.input[i]);
        sq_free(j.output[i]);
    }
    sq_engine_destroy(j.engine);
    sq_model_destroy(j.model);
    return rc;
}

static sq_status show(const options *o)
{
    sq_model *model = NULL;
    sq_status rc = sq_model_load(o->file, NULL, &model);
    if (rc == SQ_OK)
        rc = sq_model_describe(model, o->side, stdout);
    sq_model_destroy(model);
    return rc;
}

int sq_cli_model(int argc, char **argv)
{
    options o;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            help();
            return 0;
        }
    }
    if (argc < 2 || (strcmp(argv[1], "show") != 0 && strcmp(argv[1], "run") != 0)) {
        fprintf(stderr, "skyquilt model: 'show' or 'run' is needed; see 'skyquilt model --help'\n");
        return 1;
    }
    sq_status rc = parse(argc, argv, &o);
    if (rc == SQ_OK)
        rc = strcmp(argv[1], "show") == 0 ? show(&o) : run(&o);
    return rc == SQ_OK ? 0 : sq_cli_fail("model", rc);
}
