/* Hostile model files: each is refused with one clear line, nothing crashes and nothing leaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "nn/model.h"
#include "onnx_writer.h"

static const int64_t dim4[4] = {1, 2, 8, 8};

/* x -> y of shape [1, 2, 8, 8]; the nodes and initialisers are the case's own. */
static bytes frame(void)
{
    bytes g = {0};
    put_message(&g, 11, value_info("x", ONNX_FLOAT, 4, dim4));
    put_message(&g, 12, value_info("y", ONNX_FLOAT, 4, dim4));
    return g;
}

static void add(bytes *g, const char *op, const char *in, const char *out)
{
    put_message(g, 1, node_proto(op, in, out));
}

static void add_tensor(bytes *g, const char *name, int type, int rank, const int64_t *dim,
                       size_t size)
{
    static unsigned char zeros[1 << 16];
    put_message(g, 5, tensor_proto(name, type, rank, dim, zeros, size));
}

/* Expect: an error of load, or of compilation for inputs of `side`, whose line holds `word`. */
static void refuse(const char *what, bytes file, const char *word)
{
    sq_model *m = NULL;
    sq_engine *e = NULL;
    uint64_t before = sq_mem_held();
    sq_error_clear();
    sq_status rc = sq_model_parse(file.data, file.size, "bad.onnx", NULL, &m);
    if (rc == SQ_OK) {
        int64_t shape[SQ_MAX_IO][SQ_MAX_RANK] = {{0}};
        for (int i = 0; i < sq_model_inputs(m); i++) {
            sq_tensor_info info = sq_model_input(m, i);
            for (int k = 0; k < info.rank; k++)
                shape[i][k] = info.dim[k] >= 0 ? info.dim[k] : 8;
        }
        rc = sq_engine_create(m, (const int64_t(*)[SQ_MAX_RANK])shape, NULL, SQ_FP32, &e);
    }
    if (rc == SQ_OK)
        fail_msg("%s: accepted", what);
    if (rc == SQ_ERR_INTERNAL)
        fail_msg("%s: %s", what, sq_error());
    if (!strstr(sq_error(), word) || !strstr(sq_error(), "bad.onnx") || strchr(sq_error(), '\n'))
        fail_msg("%s: the message is '%s'", what, sq_error());
    sq_engine_destroy(e);
    sq_model_destroy(m);
    assert_int_equal(sq_mem_held(), before);
    free(file.data);
}

static void refuse_graph(const char *what, bytes graph, const char *word)
{
    refuse(what, model_proto(graph, 13), word);
}

static bytes good(void)
{
    static const int64_t w[4] = {2, 2, 3, 3}, pads[4] = {1, 1, 1, 1};
    bytes g = frame();
    add_tensor(&g, "w", ONNX_FLOAT, 4, w, 36 * 4);
    bytes n = node_proto("Conv", "x,w", "y");
    put_message(&n, 5, attr_ints("pads", 4, pads));
    put_message(&g, 1, n);
    return model_proto(g, 13);
}

static void test_files(void **state)
{
    (void)state;
    bytes f = {0};
    sq_model *m = NULL;
    assert_int_equal(sq_model_parse("", 0, "bad.onnx", NULL, &m), SQ_ERR_CONFIG);
    assert_int_equal(sq_model_load("/nonexistent/net.onnx", NULL, &m), SQ_ERR_CONFIG);
    assert_int_equal(sq_model_load("/", NULL, &m), SQ_ERR_CONFIG);
    put(&f, "SIMPLE  =                    T", 30);
    refuse("another format", f, "not an ONNX file");
    f = (bytes){0};
    put_int(&f, 1, 8);
    refuse("no graph", f, "no graph");
    f = good();
    f.size /= 2;
    refuse("cut off", f, "not an ONNX file");
    sq_model_limits tiny = {.file_bytes = 64};
    f = good();
    assert_int_equal(sq_model_parse(f.data, f.size, "bad.onnx", &tiny, &m), SQ_ERR_CONFIG);
    free(f.data);
    f = good();
    assert_int_equal(sq_model_parse(f.data, f.size, "good.onnx", NULL, &m), SQ_OK);
    sq_model_destroy(m);
    free(f.data);
}

static void test_graphs(void **state)
{
    (void)state;
    bytes g = frame(), m = {0};
    add(&g, "Relu", "nothing", "y");
    refuse_graph("undefined input", g, "nothing");
    g = frame();
    add(&g, "Add", "x,b", "a");
    add(&g, "Relu", "a", "b");
    add(&g, "Relu", "b", "y");
    refuse_graph("cycle", g, "cycle");
    g = frame();
    add(&g, "Relu", "y", "y");
    refuse_graph("self reference", g, "cycle");
    g = frame();
    add(&g, "Relu", "x", "y");
    add(&g, "Tanh", "x", "y");
    refuse_graph("defined twice", g, "twice");
    g = frame();
    add(&g, "Relu", "x", "x");
    refuse_graph("an input overwritten", g, "twice");
    g = frame();
    add(&g, "Relu", "x", "z");
    refuse_graph("output not computed", g, "not computed");
    refuse("no operator set", (put_message(&m, 7, frame()), m), "operator set");
    refuse("operator set of the future", model_proto(frame(), 4000), "operator set");
    g = frame();
    add(&g, "Relu", "x,x,x", "y");
    refuse_graph("too many inputs", g, "inputs");
    g = frame();
    add(&g, "Conv", "x", "y");
    refuse_graph("too few inputs", g, "inputs");
    g = frame();
    add(&g, "Relu", "", "y");
    refuse_graph("missing input", g, "inputs");
    g = frame();
    add(&g, "If", "x", "y");
    refuse_graph("control flow", g, "not supported");
    g = frame();
    bytes n = node_proto("Relu", "x", "y");
    put_text(&n, 7, "com.example");
    put_message(&g, 1, n);
    refuse_graph("another domain", g, "not supported");
}

static void test_tensors(void **state)
{
    (void)state;
    static const int64_t w[4] = {2, 2, 3, 3}, huge[4] = {1 << 20, 1 << 20, 1 << 20, 1 << 20};
    static const int64_t negative[2] = {-1, -36}, one[1] = {1}, many[1] = {(int64_t)1 << 40};
    bytes g = frame();
    add_tensor(&g, "w", ONNX_FLOAT, 4, w, 35 * 4);
    add(&g, "Conv", "x,w", "y");
    refuse_graph("initialiser too short", g, "needs");
    g = frame();
    add_tensor(&g, "w", ONNX_FLOAT, 4, huge, 16);
    add(&g, "Conv", "x,w", "y");
    refuse_graph("product that overflows", g, "elements");
    g = frame();
    add_tensor(&g, "w", ONNX_FLOAT, 1, many, 16);
    add(&g, "Add", "x,w", "y");
    refuse_graph("dimension out of range", g, "dimension");
    g = frame();
    add_tensor(&g, "w", ONNX_FLOAT, 2, negative, 36 * 4);
    add(&g, "Add", "x,w", "y");
    refuse_graph("negative dimensions", g, "dimension");
    g = frame();
    add_tensor(&g, "w", 8, 1, one, 4);
    add(&g, "Add", "x,w", "y");
    refuse_graph("strings", g, "type");
    g = frame();
    add_tensor(&g, "w", 999, 1, one, 4);
    add(&g, "Add", "x,w", "y");
    refuse_graph("unknown element type", g, "type");
    g = frame();
    add_tensor(&g, "w", ONNX_FLOAT, 1, one, 4);
    add_tensor(&g, "w", ONNX_FLOAT, 1, one, 4);
    add(&g, "Add", "x,w", "y");
    refuse_graph("initialiser twice", g, "twice");
    g = frame();
    bytes t = tensor_proto("w", ONNX_FLOAT, 1, one, "", 0), entry = {0};
    put_text(&entry, 1, "location");
    put_text(&entry, 2, "../../etc/passwd");
    put_message(&t, 13, entry);
    put_int(&t, 14, 1);
    put_message(&g, 5, t);
    add(&g, "Add", "x,w", "y");
    refuse_graph("data in another file", g, "another file");
    g = frame();
    int64_t nine[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    add_tensor(&g, "w", ONNX_FLOAT, 9, nine, 4);
    add(&g, "Add", "x,w", "y");
    refuse_graph("rank 9", g, "rank");
    g = frame();
    add_tensor(&g, "w", ONNX_INT64, 1, one, 8);
    add(&g, "Add", "x,w", "y");
    refuse_graph("mixed types", g, "types");
}

static void conv_case(const char *what, bytes attribute, const char *word)
{
    static const int64_t w[4] = {2, 2, 3, 3};
    bytes g = frame();
    add_tensor(&g, "w", ONNX_FLOAT, 4, w, 36 * 4);
    bytes n = node_proto("Conv", "x,w", "y");
    put_message(&n, 5, attribute);
    put_message(&g, 1, n);
    refuse_graph(what, g, word);
}

static void test_attributes(void **state)
{
    (void)state;
    static const int64_t zero[2] = {0, 0}, big[4] = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};
    static const int64_t negative[4] = {-5, -5, -5, -5}, five[5] = {1, 1, 1, 1, 1};
    conv_case("stride 0", attr_ints("strides", 2, zero), "strides");
    conv_case("dilations of 2^63", attr_ints("dilations", 2, big), "dilations");
    conv_case("pads of 2^63", attr_ints("pads", 4, big), "pads");
    conv_case("negative pads", attr_ints("pads", 4, negative), "pads");
    conv_case("too many strides", attr_ints("strides", 5, five), "strides");
    conv_case("group 0", attr_int("group", 0), "groups");
    conv_case("group of another type", attr_float("group", 1), "type");
    conv_case("auto_pad unknown", attr_text("auto_pad", "SOMEHOW"), "auto_pad");
    conv_case("kernel_shape that differs", attr_ints("kernel_shape", 2, five), "kernel_shape");
}

static bytes with_shape(const char *op, int count, const int64_t *shape)
{
    int64_t n = count;
    bytes g = frame();
    put_message(&g, 5, tensor_proto("s", ONNX_INT64, 1, &n, shape, (size_t)count * 8));
    add(&g, op, "x,s", "y");
    return g;
}

static void test_shapes(void **state)
{
    (void)state;
    static const int64_t wild[2] = {-1, -1}, odd[2] = {7, -1}, big[2] = {1 << 30, 1 << 30};
    static const int64_t fill[4] = {1 << 29, 1, 1, 2},
                         pads[8] = {0, 0, 1 << 29, 0, 0, 0, 0, 1 << 29};
    static const int64_t axis[1] = {9}, half[2] = {INT64_MIN, 2};
    refuse_graph("two unknown dimensions", with_shape("Reshape", 2, wild), "dimension");
    refuse_graph("a shape that does not fit", with_shape("Reshape", 2, odd), "fit");
    refuse_graph("a shape that overflows", with_shape("Reshape", 2, big), "shape");
    refuse_graph("a shape of -2^63", with_shape("Reshape", 2, half), "dimension");
    refuse_graph("padding to 2^58 elements", with_shape("Pad", 8, pads), "elements");
    refuse_graph("unsqueeze at axis 9", with_shape("Unsqueeze", 1, axis), "axis");
    refuse_graph("expand to 2^37 bytes", with_shape("Expand", 4, fill), "Expand");
    bytes g = frame();
    int64_t four = 4;
    put_message(&g, 5, tensor_proto("s", ONNX_INT64, 1, &four, fill, 32));
    add(&g, "ConstantOfShape", "s", "c");
    add(&g, "Add", "x,c", "y");
    refuse_graph("a constant of 2^30 elements", g, "constant");
    g = frame();
    add(&g, "Reshape", "x,x", "y");
    refuse_graph("a shape of floats", g, "integer");
    g = frame();
    bytes n = node_proto("Softmax", "x", "y");
    put_message(&n, 5, attr_int("axis", INT64_MIN));
    put_message(&g, 1, n);
    refuse_graph("axis -2^63", g, "axis");
}

/* Graphs in attributes in nodes in graphs: 20000 deep. */
static void test_nesting(void **state)
{
    (void)state;
    bytes inner = {0};
    for (int i = 0; i < 20000; i++) {
        bytes graph = {0}, node = {0}, attribute = {0};
        put_message(&attribute, 6, inner);
        put_message(&node, 5, attribute);
        put_message(&graph, 1, node);
        inner = graph;
        if (inner.size > 1 << 18)
            break;
    }
    refuse("deep nesting", model_proto(inner, 13), "not an ONNX file");
}

static void try_bytes(const unsigned char *data, size_t size)
{
    static const sq_model_limits limits = {.tensor_elements = 1 << 14, .nodes = 100};
    sq_model *m = NULL;
    FILE *out = fopen("/dev/null", "w");
    if (sq_model_parse(data, size, "bad.onnx", &limits, &m) == SQ_OK)
        sq_model_describe(m, 8, out);
    sq_model_destroy(m);
    fclose(out);
}

static void test_damaged(void **state)
{
    (void)state;
    bytes f = good();
    uint64_t before = sq_mem_held();
    sq_rng rng;
    sq_rng_init(&rng, 1, 1, 1);
    for (size_t n = 0; n < f.size; n++)
        try_bytes(f.data, n);
    for (int i = 0; i < 20000; i++) {
        unsigned char *copy = malloc(f.size);
        memcpy(copy, f.data, f.size);
        for (int k = 0; k < 1 + i % 4; k++)
            copy[sq_rng_u32(&rng) % f.size] ^= (unsigned char)(1u << (sq_rng_u32(&rng) % 8));
        try_bytes(copy, f.size);
        free(copy);
    }
    assert_int_equal(sq_mem_held(), before);
    free(f.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),   cmocka_unit_test(test_graphs),
        cmocka_unit_test(test_tensors), cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_shapes),  cmocka_unit_test(test_nesting),
        cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
