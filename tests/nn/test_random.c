/* Random small networks: the engine against the naive executor, for every operator that networks
 * are made of, in random order, with shapes that do not fit blocks, values that are read several
 * times, and outputs in the middle. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "nn/model.h"
#include "onnx_writer.h"

enum { MAX_VALUES = 64, OPSET = 13, INPUTS = 2 };

typedef struct value {
    char name[16];
    int64_t dim[4];
} value;

typedef struct net {
    bytes graph;
    sq_rng rng;
    value v[MAX_VALUES];
    int values, names;
} net;

static int pick(net *n, int count)
{
    return (int)(sq_rng_u32(&n->rng) % (uint32_t)count);
}

static value *add_value(net *n, int64_t c, int64_t h, int64_t w)
{
    value *v = &n->v[n->values++];
    snprintf(v->name, sizeof v->name, "v%d", n->values);
    v->dim[0] = 1;
    v->dim[1] = c;
    v->dim[2] = h;
    v->dim[3] = w;
    return v;
}

/* A random float32 initialiser; its name. */
static const char *weights(net *n, int rank, const int64_t *dim, double scale, double shift)
{
    static char name[16];
    size_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= (size_t)dim[i];
    float *data = malloc(count * sizeof *data + 1);
    for (size_t i = 0; i < count; i++)
        data[i] = (float)(shift + scale * sq_rng_normal(&n->rng));
    snprintf(name, sizeof name, "w%d", ++n->names);
    put_message(&n->graph, 5,
                tensor_proto(name, ONNX_FLOAT, rank, dim, data, count * sizeof *data));
    free(data);
    return name;
}

static const char *integers(net *n, int count, const int64_t *data)
{
    static char name[16];
    int64_t dim = count;
    snprintf(name, sizeof name, "i%d", ++n->names);
    put_message(&n->graph, 5,
                tensor_proto(name, ONNX_INT64, 1, &dim, data, (size_t)count * sizeof *data));
    return name;
}

static void add_node(net *n, const char *op, const char *inputs, const char *outputs, int attrs,
                     ...)
{
    bytes node = node_proto(op, inputs, outputs);
    va_list list;
    va_start(list, attrs);
    for (int i = 0; i < attrs; i++)
        put_message(&node, 5, va_arg(list, bytes));
    va_end(list);
    put_message(&n->graph, 1, node);
}

static void add_conv(net *n, const value *x)
{
    int64_t k = 1 + pick(n, 3), stride = 1 + pick(n, 2), dilation = k > 1 ? 1 + pick(n, 2) : 1;
    int64_t group = pick(n, 4) == 0 ? x->dim[1] : 1, out = group > 1 ? group : 1 + pick(n, 36);
    int64_t pads[4] = {pick(n, 2), pick(n, 3), pick(n, 2), pick(n, 3)},
            extent = (k - 1) * dilation + 1;
    int64_t h = (x->dim[2] + pads[0] + pads[2] - extent),
            w = (x->dim[3] + pads[1] + pads[3] - extent);
    if (h < 0 || w < 0)
        return;
    int64_t wdim[4] = {out, x->dim[1] / group, k, k}, two[2] = {stride, stride};
    int64_t dil[2] = {dilation, dilation};
    char in[64], bias[16];
    snprintf(bias, sizeof bias, "%s", weights(n, 1, &out, 0.3, 0));
    snprintf(in, sizeof in, "%s,%s%s%s", x->name,
             weights(n, 4, wdim, 1 / sqrt((double)(wdim[1] * k * k)), 0), pick(n, 2) ? "," : "",
             "");
    if (in[strlen(in) - 1] == ',')
        snprintf(in + strlen(in), sizeof in - strlen(in), "%s", bias);
    value *y = add_value(n, out, h / stride + 1, w / stride + 1);
    add_node(n, "Conv", in, y->name, 4, attr_ints("pads", 4, pads), attr_ints("strides", 2, two),
             attr_ints("dilations", 2, dil), attr_int("group", group));
}

static void add_deconv(net *n, const value *x)
{
    int64_t k = 1 + pick(n, 3), stride = 1 + pick(n, 3), out = 1 + pick(n, 20);
    int64_t wdim[4] = {x->dim[1], out, k, k}, two[2] = {stride, stride};
    char in[64];
    if (x->dim[2] * stride > 40)
        return;
    snprintf(in, sizeof in, "%s,%s", x->name, weights(n, 4, wdim, 1 / sqrt((double)x->dim[1]), 0));
    value *y = add_value(n, out, stride * (x->dim[2] - 1) + k, stride * (x->dim[3] - 1) + k);
    add_node(n, "ConvTranspose", in, y->name, 1, attr_ints("strides", 2, two));
}

static void add_batchnorm(net *n, const value *x)
{
    char in[128], list[4][16];
    for (int i = 0; i < 4; i++)
        snprintf(list[i], sizeof list[i], "%s",
                 weights(n, 1, &x->dim[1], i == 3 ? 0.05 : 0.2, i == 0 || i == 3 ? 1 : 0));
    snprintf(in, sizeof in, "%s,%s,%s,%s,%s", x->name, list[0], list[1], list[2], list[3]);
    value *y = add_value(n, x->dim[1], x->dim[2], x->dim[3]);
    add_node(n, "BatchNormalization", in, y->name, 0);
}

static void add_activation(net *n, const value *x)
{
    static const char *const ops[] = {"Relu", "LeakyRelu", "Sigmoid", "Tanh", "Softplus", "Elu"};
    int op = pick(n, 7);
    value *y = add_value(n, x->dim[1], x->dim[2], x->dim[3]);
    if (op < 6) {
        add_node(n, ops[op], x->name, y->name, 0);
        return;
    }
    char gate[16], in[40];
    snprintf(gate, sizeof gate, "g%d", ++n->names);
    add_node(n, "Sigmoid", x->name, gate, 0);
    snprintf(in, sizeof in, pick(n, 2) ? "%s,%s" : "%2$s,%1$s", x->name, gate);
    add_node(n, "Mul", in, y->name, 0);
}

/* Another value of the same shape, or a constant that broadcasts. */
static void add_binary(net *n, const value *x)
{
    static const char *const ops[] = {"Add", "Sub", "Mul"};
    const char *other = NULL;
    char in[64];
    int64_t per_channel[4] = {1, x->dim[1], 1, 1}, one = 1, op = pick(n, 3);
    for (int i = 0; i < n->values; i++) {
        if (memcmp(n->v[i].dim, x->dim, sizeof x->dim) == 0 && pick(n, 2))
            other = n->v[i].name;
    }
    if (!other)
        other = pick(n, 2) ? weights(n, 4, per_channel, 0.5, 1) : weights(n, 1, &one, 0.5, 1);
    snprintf(in, sizeof in, pick(n, 3) || op == 1 ? "%s,%s" : "%2$s,%1$s", x->name, other);
    value *y = add_value(n, x->dim[1], x->dim[2], x->dim[3]);
    add_node(n, ops[op], in, y->name, 0);
}

static void add_concat(net *n, const value *x)
{
    char in[128] = "";
    int64_t channels = 0;
    int count = 0;
    for (int i = n->values - 1; i >= 0 && count < 3; i--) {
        if (n->v[i].dim[2] != x->dim[2] || n->v[i].dim[3] != x->dim[3])
            continue;
        snprintf(in + strlen(in), sizeof in - strlen(in), "%s%s", count ? "," : "", n->v[i].name);
        channels += n->v[i].dim[1];
        count++;
    }
    if (channels > 100)
        return;
    value *y = add_value(n, channels, x->dim[2], x->dim[3]);
    add_node(n, "Concat", in, y->name, 1, attr_int("axis", 1));
}

static void add_slice(net *n, const value *x)
{
    int64_t axis = 1 + pick(n, 3), size = x->dim[axis], step = 1 + pick(n, 2);
    int64_t start = pick(n, (int)size), length = (size - start - 1) / step + 1, end = INT64_MAX;
    char in[80], list[4][16];
    if (pick(n, 2) && size % 16 == 0)
        start = size / 2, step = 1, length = size - start;
    const int64_t *data[4] = {&start, &end, &axis, &step};
    for (int i = 0; i < 4; i++)
        snprintf(list[i], sizeof list[i], "%s", integers(n, 1, data[i]));
    snprintf(in, sizeof in, "%s,%s,%s,%s,%s", x->name, list[0], list[1], list[2], list[3]);
    value *y = add_value(n, x->dim[1], x->dim[2], x->dim[3]);
    y->dim[axis] = length;
    add_node(n, "Slice", in, y->name, 0);
}

static void add_split(net *n, const value *x)
{
    int64_t c = x->dim[1], sizes[2] = {c > 31 ? 16 : c / 2, 0};
    char in[40], out[40];
    if (c < 2)
        return;
    sizes[1] = c - sizes[0];
    snprintf(in, sizeof in, "%s,%s", x->name, integers(n, 2, sizes));
    value copy = *x, *a = add_value(n, sizes[0], copy.dim[2], copy.dim[3]);
    value *b = add_value(n, sizes[1], copy.dim[2], copy.dim[3]);
    snprintf(out, sizeof out, "%s,%s", a->name, b->name);
    add_node(n, "Split", in, out, 1, attr_int("axis", 1));
}

static void add_pool(net *n, const value *x)
{
    int64_t k = 2 + pick(n, 2), two[2] = {k, k}, s[2] = {2, 2},
            pads[4] = {pick(n, 2), 0, 0, pick(n, 2)};
    int64_t h = x->dim[2] + pads[0] - k, w = x->dim[3] + pads[3] - k;
    int max = pick(n, 2);
    if (h < 0 || w < 0)
        return;
    value *y = add_value(n, x->dim[1], h / 2 + 1, w / 2 + 1);
    add_node(n, max ? "MaxPool" : "AveragePool", x->name, y->name, 3,
             attr_ints("kernel_shape", 2, two), attr_ints("strides", 2, s),
             attr_ints("pads", 4, pads));
}

static void add_resize(net *n, const value *x)
{
    static const char *const modes[][3] = {{"nearest", "asymmetric", "floor"},
                                           {"linear", "half_pixel", "floor"},
                                           {"linear", "align_corners", "floor"},
                                           {"cubic", "half_pixel", "floor"}};
    float scales[4] = {1, 1, 2, 2};
    int64_t four = 4;
    int m = pick(n, 4);
    char in[40], name[16];
    if (x->dim[2] > 20 || x->dim[3] > 20)
        return;
    snprintf(name, sizeof name, "s%d", ++n->names);
    put_message(&n->graph, 5, tensor_proto(name, ONNX_FLOAT, 1, &four, scales, sizeof scales));
    snprintf(in, sizeof in, "%s,,%s", x->name, name);
    value *y = add_value(n, x->dim[1], 2 * x->dim[2], 2 * x->dim[3]);
    add_node(n, "Resize", in, y->name, 3, attr_text("mode", modes[m][0]),
             attr_text("coordinate_transformation_mode", modes[m][1]),
             attr_text("nearest_mode", modes[m][2]));
}

/* Squeeze and excite: a gate that broadcasts over the plane. */
static void add_gate(net *n, const value *x)
{
    char mean[16], in[40];
    snprintf(mean, sizeof mean, "m%d", ++n->names);
    add_node(n, "GlobalAveragePool", x->name, mean, 0);
    snprintf(in, sizeof in, "%s,%s", x->name, mean);
    value *y = add_value(n, x->dim[1], x->dim[2], x->dim[3]);
    add_node(n, "Mul", in, y->name, 0);
}

static void add_pad(net *n, const value *x)
{
    static const char *const modes[] = {"constant", "reflect", "edge"};
    int64_t pads[8] = {0, 0, pick(n, 2), pick(n, 2), 0, 0, pick(n, 2), pick(n, 2)};
    char in[40];
    if (x->dim[2] < 3 || x->dim[3] < 3)
        return;
    snprintf(in, sizeof in, "%s,%s", x->name, integers(n, 8, pads));
    value *y =
        add_value(n, x->dim[1], x->dim[2] + pads[2] + pads[6], x->dim[3] + pads[3] + pads[7]);
    add_node(n, "Pad", in, y->name, 1, attr_text("mode", modes[pick(n, 3)]));
}

static void add_move(net *n, const value *x)
{
    int64_t perm[4] = {0, 1, 3, 2}, b = 2, shape[4];
    char in[40];
    if (pick(n, 3) == 0) {
        value *y = add_value(n, x->dim[1], x->dim[3], x->dim[2]);
        add_node(n, "Transpose", x->name, y->name, 1, attr_ints("perm", 4, perm));
    } else if (x->dim[1] % 4 == 0 && pick(n, 2)) {
        value *y = add_value(n, x->dim[1] / 4, 2 * x->dim[2], 2 * x->dim[3]);
        add_node(n, "DepthToSpace", x->name, y->name, 2, attr_int("blocksize", b),
                 attr_text("mode", pick(n, 2) ? "CRD" : "DCR"));
    } else if (x->dim[2] % 2 == 0 && x->dim[3] % 2 == 0 && x->dim[1] < 30) {
        value *y = add_value(n, 4 * x->dim[1], x->dim[2] / 2, x->dim[3] / 2);
        add_node(n, "SpaceToDepth", x->name, y->name, 1, attr_int("blocksize", b));
    } else {
        shape[0] = 1;
        shape[1] = x->dim[1] * x->dim[2];
        shape[2] = x->dim[3];
        shape[3] = 1;
        if (shape[1] > 200)
            return;
        snprintf(in, sizeof in, "%s,%s", x->name, integers(n, 4, shape));
        value *y = add_value(n, shape[1], shape[2], shape[3]);
        add_node(n, "Reshape", in, y->name, 0);
    }
}

static void add_softmax(net *n, const value *x)
{
    value *y = add_value(n, x->dim[1], x->dim[2], x->dim[3]);
    add_node(n, pick(n, 2) ? "Softmax" : "LogSoftmax", x->name, y->name, 1,
             attr_int("axis", 1 + pick(n, 3)));
}

static void add_matmul(net *n, const value *x)
{
    int64_t out = 1 + pick(n, 20), dim[2] = {x->dim[3], out};
    char in[40];
    snprintf(in, sizeof in, "%s,%s", x->name, weights(n, 2, dim, 1 / sqrt((double)dim[0]), 0));
    value *y = add_value(n, x->dim[1], x->dim[2], out);
    add_node(n, "MatMul", in, y->name, 0);
}

/* act(affine(batchnorm(conv(relu(conv(x))))) + x): everything that is fused into one convolution; x
 * may be read again later. */
static void add_residual(net *n, const value *x)
{
    static const char *const names[] = {"Relu", "Tanh"};
    int64_t c = x->dim[1], wdim[4] = {c, c, 3, 3}, pads[4] = {1, 1, 1, 1}, each[4] = {1, c, 1, 1};
    char in[128], list[7][16];
    for (int i = 0; i < 7; i++)
        snprintf(list[i], sizeof list[i], "t%d", ++n->names);
    snprintf(in, sizeof in, "%s,%s", x->name, weights(n, 4, wdim, 0.3 / sqrt((double)c), 0));
    add_node(n, "Conv", in, list[5], 1, attr_ints("pads", 4, pads));
    add_node(n, "Relu", list[5], list[6], 0);
    snprintf(in, sizeof in, "%s,%s", pick(n, 4) ? list[6] : x->name,
             weights(n, 4, wdim, 0.3 / sqrt((double)c), 0));
    add_node(n, "Conv", in, list[0], 1, attr_ints("pads", 4, pads));
    snprintf(in, sizeof in, "%s", list[0]);
    for (int i = 0; i < 4; i++)
        snprintf(in + strlen(in), sizeof in - strlen(in), ",%s",
                 weights(n, 1, &c, i == 3 ? 0.05 : 0.4, i == 0 || i == 3 ? 1 : 0));
    add_node(n, "BatchNormalization", in, list[1], 0);
    snprintf(in, sizeof in, pick(n, 2) ? "%s,%s" : "%2$s,%1$s", list[1],
             weights(n, 4, each, 0.3, 1.5));
    add_node(n, pick(n, 2) ? "Mul" : "Sub", in, list[2], 0);
    snprintf(in, sizeof in, pick(n, 2) ? "%s,%s" : "%2$s,%1$s", list[2], x->name);
    add_node(n, "Add", in, list[3], 0);
    value *y = add_value(n, c, x->dim[2], x->dim[3]);
    if (pick(n, 2)) {
        add_node(n, names[pick(n, 2)], list[3], y->name, 0);
    } else {
        add_node(n, "Sigmoid", list[3], list[4], 0);
        snprintf(in, sizeof in, "%s,%s", list[3], list[4]);
        add_node(n, "Mul", in, y->name, 0);
    }
}

typedef void builder(net *n, const value *x);

static void build(net *n, uint64_t seed, int nodes)
{
    static builder *const builders[] = {
        add_residual, add_residual,   add_residual,   add_conv,      add_conv,   add_conv,
        add_conv,     add_activation, add_activation, add_batchnorm, add_binary, add_binary,
        add_concat,   add_slice,      add_split,      add_pool,      add_resize, add_gate,
        add_pad,      add_move,       add_deconv,     add_softmax,   add_matmul};
    memset(n, 0, sizeof *n);
    sq_rng_init(&n->rng, seed, 7, 0);
    value *x = add_value(n, 1 + pick(n, 33), 6 + pick(n, 8), 6 + pick(n, 8));
    put_message(&n->graph, 11, value_info(x->name, ONNX_FLOAT, 4, x->dim));
    x = add_value(n, x->dim[1], x->dim[2], x->dim[3]);
    put_message(&n->graph, 11, value_info(x->name, ONNX_FLOAT, 4, x->dim));
    for (int i = 0; i < nodes && n->values < MAX_VALUES - 4; i++) {
        /* mostly the latest value, so that chains grow; sometimes an older one */
        int from = pick(n, 3) ? n->values - 1 : pick(n, n->values);
        value copy = n->v[from];
        if (copy.dim[1] * copy.dim[2] * copy.dim[3] < 60000)
            builders[pick(n, (int)(sizeof builders / sizeof *builders))](n, &copy);
    }
    for (int i = 0; i < 4 && i < n->values; i++) {
        const value *y = &n->v[i == 0 ? n->values - 1 : pick(n, n->values)];
        put_message(&n->graph, 12, value_info(y->name, ONNX_FLOAT, 4, y->dim));
    }
}

typedef struct run {
    sq_model *model;
    int64_t shape[SQ_MAX_IO][SQ_MAX_RANK];
    float *input[INPUTS], *other, *want[SQ_MAX_IO], *got[SQ_MAX_IO];
    int64_t count[SQ_MAX_IO];
} run;

static void prepare(run *r, net *n)
{
    bytes file = model_proto(n->graph, OPSET);
    memset(r, 0, sizeof *r);
    if (sq_model_parse(file.data, file.size, "random", NULL, &r->model) != SQ_OK)
        fail_msg("%s", sq_error());
    free(file.data);
    int64_t count = 1;
    for (int i = 0; i < 4; i++)
        count *= r->shape[0][i] = r->shape[1][i] = n->v[0].dim[i];
    float **all[] = {&r->input[0], &r->input[1], &r->other};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sq_alloc(all[i], (size_t)count, sizeof(float), "input"), SQ_OK);
        sq_rng_normal_fill(&n->rng, *all[i], count);
    }
    for (int i = 0; i < sq_model_outputs(r->model); i++) {
        sq_tensor_info info = sq_model_output(r->model, i);
        r->count[i] = 1;
        for (int k = 0; k < info.rank; k++)
            r->count[i] *= info.dim[k];
        assert_int_equal(sq_alloc(&r->want[i], (size_t)r->count[i], sizeof(float), "out"), SQ_OK);
        assert_int_equal(sq_alloc(&r->got[i], (size_t)r->count[i], sizeof(float), "out"), SQ_OK);
    }
}

static void finish(run *r)
{
    for (int i = 0; i < SQ_MAX_IO; i++) {
        sq_free(r->want[i]);
        sq_free(r->got[i]);
    }
    sq_free(r->input[0]);
    sq_free(r->input[1]);
    sq_free(r->other);
    sq_model_destroy(r->model);
}

/* The outputs agree to `tolerance` of the output's rms, everywhere (fp32) or in the mean (bf16). A
 * difference of equal values leaves the rounding of its operands, of order one: the rms has a
 * floor. */
static void compare(const run *r, uint64_t seed, double tolerance, int mean)
{
    for (int i = 0; i < sq_model_outputs(r->model); i++) {
        double norm = 0, worst = 0, sum = 0;
        for (int64_t k = 0; k < r->count[i]; k++)
            norm += (double)r->want[i][k] * r->want[i][k];
        norm = fmax(sqrt(norm / (double)r->count[i]), mean ? 0.1 : 0.01);
        for (int64_t k = 0; k < r->count[i]; k++) {
            double d = fabs((double)r->got[i][k] - r->want[i][k]) / norm;
            worst = d > worst || isnan(d) ? d : worst;
            sum += d * d;
        }
        double error = mean ? sqrt(sum / (double)r->count[i]) : worst;
        if (!(error <= tolerance))
            fail_msg("network %llu, output %d (%s): error %g", (unsigned long long)seed, i,
                     sq_model_output(r->model, i).name, error);
    }
}

static void run_stages(sq_engine *e, int first, int last, run *r, float *late, uint64_t seed)
{
    const float *input[INPUTS] = {r->input[0], late};
    if (sq_engine_run(e, first, last, input, r->got) != SQ_OK)
        fail_msg("network %llu: %s", (unsigned long long)seed, sq_error());
}

/* The second input comes later, and changes: the stage that needs it runs again. */
static void check(uint64_t seed, int nodes, sq_precision precision, double tolerance)
{
    static const int stage[INPUTS] = {0, 1};
    net n;
    run r;
    sq_engine *e = NULL;
    build(&n, seed, nodes);
    prepare(&r, &n);
    const float *input[INPUTS] = {r.input[0], r.input[1]};
    const int64_t(*shape)[SQ_MAX_RANK] = (const int64_t(*)[SQ_MAX_RANK])r.shape;
    if (sq_reference_run(r.model, shape, input, r.want) != SQ_OK ||
        sq_engine_create(r.model, shape, stage, precision, &e) != SQ_OK)
        fail_msg("network %llu: %s", (unsigned long long)seed, sq_error());
    run_stages(e, 0, 1, &r, r.input[1], seed);
    compare(&r, seed, tolerance, precision == SQ_BF16);
    run_stages(e, 0, 0, &r, NULL, seed); /* a second pass finds memory used before */
    run_stages(e, 1, 1, &r, r.other, seed);
    run_stages(e, 1, 1, &r, r.input[1], seed);
    compare(&r, seed, tolerance, precision == SQ_BF16);
    sq_engine_destroy(e);
    finish(&r);
}

static void test_fp32(void **state)
{
    (void)state;
    const char *text = getenv("SQ_RANDOM_NETS");
    int count = text ? atoi(text) : 300;
    for (int seed = 1; seed <= count; seed++)
        check((uint64_t)seed, 3 + seed % 25, SQ_FP32, 2e-3);
}

static void test_bf16(void **state)
{
    (void)state;
    if (!sq_nn_has_bf16())
        skip();
    for (uint64_t seed = 1000; seed < 1100; seed++)
        check(seed, 3 + (int)(seed % 12), SQ_BF16, 0.1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fp32), cmocka_unit_test(test_bf16)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
