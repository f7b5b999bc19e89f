#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cli/commands.h"
#include "nn/bench.h"
#include "nn/model.h"

/* Images of one convolution, chosen as a network over a 320-pixel patch meets them: wide where they
 * are coarse. */
static const int shapes[][2] = {{32, 320}, {32, 160}, {48, 160}, {64, 160}, {64, 80},
                                {96, 80},  {96, 40},  {128, 80}, {128, 40}, {128, 20}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct options {
    const char *file, *json;
    double seconds;
    int64_t side;
    int precisions; /* bit 0: fp32, bit 1: bf16 */
    int table;
} options;

typedef struct peak {
    double flops[SHAPES], best;
} peak;

typedef struct speed {
    double seconds, flop, compute, moves, peak;
    uint64_t bytes;
    int ops;
    double *op; /* [ops] seconds of each, the best of some passes */
} speed;

static sq_status parse(int argc, char **argv, options *o)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        char *end = "";
        if (strcmp(name, "--ops") == 0) {
            o->table = 1;
            continue;
        }
        if (name[0] != '-') {
            o->file = name;
            continue;
        }
        if (!value)
            return sq_fail(SQ_ERR_USAGE, "%s needs a value, or is not an option", name);
        i++;
        if (strcmp(name, "--json") == 0)
            o->json = value;
        else if (strcmp(name, "--seconds") == 0)
            o->seconds = strtod(value, &end);
        else if (strcmp(name, "--side") == 0)
            o->side = strtoll(value, &end, 10);
        else if (strcmp(name, "--precision") == 0)
            o->precisions = strcmp(value, "fp32") == 0   ? 1
                            : strcmp(value, "bf16") == 0 ? 2
                            : strcmp(value, "both") == 0 ? 3
                                                         : 0;
        else
            return sq_fail(SQ_ERR_USAGE, "%s is not an option", name);
        if (*end || o->seconds <= 0 || o->side < 1 || o->side > 65536 || o->precisions == 0)
            return sq_fail(SQ_ERR_USAGE, "%s %s: not a possible value", name, value);
    }
    return SQ_OK;
}

static int is_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return 1;
    }
    return 0;
}

static sq_status measure_peak(sq_precision precision, double seconds, peak *out)
{
    out->best = 0;
    for (int i = 0; i < SHAPES; i++) {
        sq_status rc = sq_bench_convolution(shapes[i][0], shapes[i][1], precision, seconds / SHAPES,
                                            &out->flops[i]);
        if (rc != SQ_OK)
            return rc;
        out->best = fmax(out->best, out->flops[i]);
    }
    return SQ_OK;
}

static const char *const names[2] = {"fp32", "bf16"};

static sq_status open_json(const char *path, FILE **out)
{
    *out = path ? fopen(path, "w") : NULL;
    if (path && !*out)
        return sq_fail(SQ_ERR_IO, "%s: cannot write: %m", path);
    return SQ_OK;
}

static sq_status close_json(const char *path, FILE *file)
{
    if (file && fclose(file) != 0)
        return sq_fail(SQ_ERR_IO, "%s: cannot write: %m", path);
    return SQ_OK;
}

static void conv_help(void)
{
    printf(
        "NAME\n"
        "    skyquilt bench conv - the machine's peak in convolutions\n\n"
        "SYNOPSIS\n"
        "    skyquilt bench conv [--precision fp32|bf16|both] [--seconds S] [--json FILE]\n\n"
        "DESCRIPTION\n"
        "    Times bare 3x3 oneDNN convolutions with a fused ReLU, in the layouts that oneDNN\n"
        "    prefers, on one thread, for %d shapes of 32 to 128 channels. The best of them is the\n"
        "    peak that 'bench model' measures networks against. Measures the bandwidth of memory\n"
        "    too: the triad a = b + s c over arrays of 128 MB, three streams.\n\n"
        "OPTIONS\n"
        "    --precision P    fp32, bf16 or both (the default)\n"
        "    --seconds S      time for each precision; default 4\n"
        "    --json FILE      also write the figures to FILE\n\n"
        "EXIT CODES\n"
        "    0  complete\n"
        "    1  usage error\n"
        "    4  no memory, or FILE cannot be written\n",
        SHAPES);
}

static void print_peaks(const options *o, const peak *p, double bandwidth, FILE *json)
{
    printf("%s\n%10s %6s", sq_nn_version(), "channels", "side");
    for (int k = 0; k < 2; k++) {
        if (o->precisions >> k & 1)
            printf("  %s GFLOP/s", names[k]);
    }
    for (int i = 0; i < SHAPES; i++) {
        printf("\n%10d %6d", shapes[i][0], shapes[i][1]);
        for (int k = 0; k < 2; k++) {
            if (o->precisions >> k & 1)
                printf("  %12.1f", p[k].flops[i] * 1e-9);
        }
    }
    printf("\n");
    for (int k = 0; k < 2; k++) {
        if (o->precisions >> k & 1)
            printf("peak %s: %.1f GFLOP/s\n", names[k], p[k].best * 1e-9);
    }
    printf("memory: %.1f GB/s\n", bandwidth * 1e-9);
    if (!json)
        return;
    fprintf(json, "{\"library\": \"%s\", \"bandwidth_gbs\": %.2f", sq_nn_version(),
            bandwidth * 1e-9);
    for (int k = 0; k < 2; k++) {
        if (!(o->precisions >> k & 1))
            continue;
        fprintf(json, ",\n \"%s\": {\"peak_gflops\": %.2f, \"shapes\": [", names[k],
                p[k].best * 1e-9);
        for (int i = 0; i < SHAPES; i++)
            fprintf(json, "%s{\"channels\": %d, \"side\": %d, \"gflops\": %.2f}", i ? ", " : "",
                    shapes[i][0], shapes[i][1], p[k].flops[i] * 1e-9);
        fprintf(json, "]}");
    }
    fprintf(json, "}\n");
}

int sq_cli_bench_conv(int argc, char **argv)
{
    options o = {.seconds = 4, .side = 320, .precisions = 3};
    peak p[2];
    double bandwidth;
    FILE *json = NULL;
    sq_status rc;
    if (is_help(argc, argv)) {
        conv_help();
        return 0;
    }
    SQ_TRY(parse(argc, argv, &o));
    SQ_TRY(open_json(o.json, &json));
    for (int k = 0; k < 2; k++) {
        if (o.precisions >> k & 1)
            SQ_TRY(measure_peak(k ? SQ_BF16 : SQ_FP32, o.seconds, &p[k]));
    }
    SQ_TRY(sq_bench_bandwidth(o.seconds / 4, &bandwidth));
    print_peaks(&o, p, bandwidth, json);
    rc = close_json(o.json, json);
    json = NULL;
cleanup:
    if (json)
        fclose(json);
    return rc == SQ_OK ? 0 : sq_cli_fail("bench conv", rc);
}

static void model_help(void)
{
    printf(
        "NAME\n"
        "    skyquilt bench model - a whole network against the machine's peak\n\n"
        "SYNOPSIS\n"
        "    skyquilt bench model FILE.onnx [--side N] [--precision fp32|bf16|both] [--seconds S]\n"
        "                         [--ops] [--json FILE]\n\n"
        "DESCRIPTION\n"
        "    Runs the network on random input, on one thread, as a worker does, and reports for\n"
        "    each precision: the median CPU time of a pass, its FLOP/s, the share of the peak "
        "that\n"
        "    'bench conv' measures, and the overhead over the sum of the bare oneDNN primitives\n"
        "    that the model's operators ask for, called one after the other (what the\n"
        "    engine adds: reorders between layouts, copies at the ends, calls). Measures the\n"
        "    bandwidth of memory too, as 'bench conv' does.\n\n"
        "OPTIONS\n"
        "    --side N         sides of symbolic dimensions of the first input; default 320; the "
        "others\n"
        "                     may be coarser by a power of two\n"
        "    --precision P    fp32, bf16 or both (the default: what the processor is good at)\n"
        "    --seconds S      time for each measurement; default 4\n"
        "    --ops            also print a table of the operations: time (the best of 7 passes), "
        "speed,\n"
        "                     and FLOP for each byte that they must read or write\n"
        "    --json FILE      also write the figures to FILE\n\n"
        "EXIT CODES\n"
        "    0  complete\n"
        "    1  usage error, or a model that cannot be run\n"
        "    4  no memory, or FILE cannot be written\n");
}

typedef struct net {
    sq_model *model;
    sq_engine *engine;
    int64_t shape[SQ_MAX_IO][SQ_MAX_RANK];
    float *input[SQ_MAX_IO], *output[SQ_MAX_IO];
} net;

static int64_t elements(const int64_t *dim, int rank)
{
    int64_t n = 1;
    for (int i = 0; i < rank; i++)
        n *= dim[i];
    return n;
}

static sq_status make_input(net *n, int64_t side)
{
    sq_rng rng;
    sq_rng_init(&rng, 1, 0, 0);
    sq_status rc = sq_model_shapes(n->model, side, n->shape);
    for (int i = 0; rc == SQ_OK && i < sq_model_inputs(n->model); i++) {
        int64_t count = elements(n->shape[i], sq_model_input(n->model, i).rank);
        rc = sq_alloc(&n->input[i], (size_t)count + 1, sizeof(float), "input");
        if (rc == SQ_OK)
            sq_rng_normal_fill(&rng, n->input[i], count);
    }
    return rc;
}

static sq_status start_engine(net *n, sq_precision precision)
{
    sq_status rc = sq_engine_create(n->model, (const int64_t(*)[SQ_MAX_RANK])n->shape, NULL,
                                    precision, &n->engine);
    for (int i = 0; rc == SQ_OK && i < sq_model_outputs(n->model); i++) {
        sq_tensor_info info = sq_engine_output(n->engine, i);
        sq_free(n->output[i]);
        rc = sq_alloc(&n->output[i], (size_t)elements(info.dim, info.rank) + 1, sizeof(float),
                      "output");
    }
    return rc;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

enum { MAX_PASSES = 1000 };

/* Passes of the engine and of its bare primitives in turn, so that both see the same machine.
 * Medians. */
static sq_status time_passes(net *n, double seconds, speed *out)
{
    double(*t)[MAX_PASSES] = NULL, begin = sq_now();
    int count = 0;
    sq_status rc;
    SQ_TRY(SQ_ALLOC(t, 3, "times"));
    SQ_TRY(sq_engine_run(n->engine, 0, 0, (const float *const *)n->input, n->output));
    while (count < 3 || (sq_now() - begin < seconds && count < MAX_PASSES)) {
        double start = sq_cpu_now();
        SQ_TRY(sq_engine_run(n->engine, 0, 0, (const float *const *)n->input, n->output));
        t[0][count] = sq_cpu_now() - start;
        SQ_TRY(sq_engine_bare(n->engine, &t[1][count], &t[2][count]));
        count++;
    }
    for (int k = 0; k < 3; k++)
        qsort(t[k], (size_t)count, sizeof **t, by_value);
    out->seconds = t[0][count / 2];
    out->compute = t[1][count / 2];
    out->moves = t[2][count / 2];
cleanup:
    sq_free(t);
    return rc;
}

static sq_status time_ops(net *n, speed *out)
{
    enum { PASSES = 7 };
    sq_status rc = SQ_OK;
    sq_engine_profile(n->engine, 1);
    for (int k = 0; rc == SQ_OK && k < PASSES; k++) {
        rc = sq_engine_run(n->engine, 0, 0, (const float *const *)n->input, n->output);
        for (int i = 0; i < out->ops; i++) {
            double seconds = sq_engine_op_at(n->engine, i).seconds;
            out->op[i] = k ? fmin(out->op[i], seconds) : seconds;
        }
    }
    return rc;
}

static sq_status measure(net *n, sq_precision precision, double seconds, speed *out)
{
    peak p;
    sq_status rc;
    memset(out, 0, sizeof *out);
    SQ_TRY(measure_peak(precision, seconds, &p));
    out->peak = p.best;
    SQ_TRY(start_engine(n, precision));
    SQ_TRY(time_passes(n, 2 * seconds, out));
    out->ops = sq_engine_ops(n->engine);
    out->bytes = sq_engine_bytes(n->engine);
    SQ_TRY(SQ_ALLOC(out->op, out->ops, "operations"));
    SQ_TRY(time_ops(n, out));
    for (int i = 0; i < out->ops; i++)
        out->flop += sq_engine_op_at(n->engine, i).flop;
cleanup:
    return rc;
}

static void print_ops(const sq_engine *e, const speed *s)
{
    printf("%9s %9s %10s  %-18s %-24s %s\n", "ms", "GFLOP/s", "FLOP/byte", "operator",
           "implementation", "node");
    for (int i = 0; i < sq_engine_ops(e); i++) {
        sq_engine_op op = sq_engine_op_at(e, i);
        printf("%9.3f %9.1f %10.1f  %-18s %-24s %s\n", s->op[i] * 1e3,
               s->op[i] > 0 ? op.flop / s->op[i] * 1e-9 : 0, op.bytes > 0 ? op.flop / op.bytes : 0,
               op.type, sq_engine_implementation(e, i), op.name);
    }
}

static void print_speed(const speed *s, int k, int first, FILE *json)
{
    double gflops = s->flop / s->seconds * 1e-9;
    printf("%s: %.2f ms, %.2f GFLOP, %.1f GFLOP/s, %.1f%% of the peak of %.1f; bare primitives "
           "%.2f ms, overhead %.1f%% (reorders alone %.2f ms); %.1f MB\n",
           names[k], s->seconds * 1e3, s->flop * 1e-9, gflops, 100 * gflops / (s->peak * 1e-9),
           s->peak * 1e-9, s->compute * 1e3, 100 * (s->seconds / s->compute - 1), s->moves * 1e3,
           (double)s->bytes * 1e-6);
    if (json)
        fprintf(json,
                "%s\n \"%s\": {\"seconds\": %.6g, \"flop\": %.6g, \"gflops\": %.2f, "
                "\"peak_gflops\": %.2f, \"fraction_of_peak\": %.4f, \"bare_seconds\": %.6g, "
                "\"overhead\": %.4f, \"bytes\": %llu",
                first ? "" : ",", names[k], s->seconds, s->flop, gflops, s->peak * 1e-9,
                gflops / (s->peak * 1e-9), s->compute, s->seconds / s->compute - 1,
                (unsigned long long)s->bytes);
}

static void json_ops(const sq_engine *e, const speed *s, FILE *json)
{
    fprintf(json, ", \"ops\": [");
    for (int i = 0; i < sq_engine_ops(e); i++) {
        sq_engine_op op = sq_engine_op_at(e, i);
        fprintf(json,
                "%s\n  {\"operator\": \"%s\", \"seconds\": %.6g, \"flop\": %.6g, "
                "\"bytes\": %.0f}",
                i ? "," : "", op.type, s->op[i], op.flop, op.bytes);
    }
    fprintf(json, "]}");
}

static sq_status bench_model(const options *o, FILE *json)
{
    net n;
    int first = 1;
    double bandwidth;
    sq_status rc;
    memset(&n, 0, sizeof n);
    SQ_TRY(sq_model_load(o->file, NULL, &n.model));
    SQ_TRY(make_input(&n, o->side));
    SQ_TRY(sq_bench_bandwidth(o->seconds / 4, &bandwidth));
    printf("%s; memory %.1f GB/s\n", sq_nn_version(), bandwidth * 1e-9);
    if (json)
        fprintf(json, "{\"library\": \"%s\", \"bandwidth_gbs\": %.2f,", sq_nn_version(),
                bandwidth * 1e-9);
    for (int k = 0; k < 2; k++) {
        speed s;
        if (!(o->precisions >> k & 1))
            continue;
        rc = measure(&n, k ? SQ_BF16 : SQ_FP32, o->seconds, &s);
        if (rc == SQ_OK && o->table)
            print_ops(n.engine, &s);
        if (rc == SQ_OK)
            print_speed(&s, k, first, json);
        if (rc == SQ_OK && json)
            json_ops(n.engine, &s, json);
        sq_free(s.op);
        SQ_TRY(rc);
        first = 0;
        sq_engine_destroy(n.engine);
        n.engine = NULL;
    }
    if (json)
        fprintf(json, "}\n");
cleanup:
    sq_engine_destroy(n.engine);
    for (int i = 0; i < SQ_MAX_IO; i++) {
        sq_free(n.input[i]);
        sq_free(n.output[i]);
    }
    sq_model_destroy(n.model);
    return rc;
}

int sq_cli_bench_model(int argc, char **argv)
{
    options o = {.seconds = 4, .side = 320, .precisions = sq_nn_has_bf16() ? 3 : 1};
    FILE *json = NULL;
    sq_status rc;
    if (is_help(argc, argv)) {
        model_help();
        return 0;
    }
    SQ_TRY(parse(argc, argv, &o));
    if (!o.file) {
        rc = sq_fail(SQ_ERR_USAGE, "no model is named; see 'skyquilt bench model --help'");
        goto cleanup;
    }
    SQ_TRY(open_json(o.json, &json));
    rc = bench_model(&o, json);
    if (rc == SQ_OK)
        rc = close_json(o.json, json);
    else if (json)
        fclose(json);
    json = NULL;
cleanup:
    if (json)
        fclose(json);
    return rc == SQ_OK ? 0 : sq_cli_fail("bench model", rc);
}
