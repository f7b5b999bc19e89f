/* Engines: stages, errors in use, outputs that are not wanted, determinism, the report, constants
 * folded. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "nn/bench.h"
#include "nn/model.h"
#include "onnx_writer.h"

static const int64_t image_dim[4] = {1, 3, 9, 11}, context_dim[4] = {1, 2, 9, 11};
enum { PIXELS = 9 * 11 };

static void initialiser(bytes *g, const char *name, int rank, const int64_t *dim)
{
    size_t count = 1;
    float data[4096];
    for (int i = 0; i < rank; i++)
        count *= (size_t)dim[i];
    for (size_t i = 0; i < count; i++)
        data[i] = (float)sin(1.0 + (double)i + name[0]);
    put_message(g, 5, tensor_proto(name, ONNX_FLOAT, rank, dim, data, count * sizeof *data));
}

/* first = relu(conv(image)); second = first + conv(context) + image-dependent sigmoid: `second`
 * needs the context, and reads the image again. */
static sq_model *staged_model(void)
{
    static const int64_t a[4] = {5, 3, 3, 3}, b[4] = {5, 2, 3, 3}, c[4] = {5, 3, 1, 1};
    static const int64_t pads[4] = {1, 1, 1, 1}, out[4] = {1, 5, 9, 11};
    bytes g = {0};
    sq_model *m = NULL;
    put_message(&g, 11, value_info("image", ONNX_FLOAT, 4, image_dim));
    put_message(&g, 11, value_info("context", ONNX_FLOAT, 4, context_dim));
    initialiser(&g, "a", 4, a);
    initialiser(&g, "b", 4, b);
    initialiser(&g, "c", 4, c);
    bytes n = node_proto("Conv", "image,a", "x");
    put_message(&n, 5, attr_ints("pads", 4, pads));
    put_message(&g, 1, n);
    put_message(&g, 1, node_proto("Relu", "x", "first"));
    n = node_proto("Conv", "context,b", "y");
    put_message(&n, 5, attr_ints("pads", 4, pads));
    put_message(&g, 1, n);
    put_message(&g, 1, node_proto("Add", "y,first", "z"));
    put_message(&g, 1, node_proto("Conv", "image,c", "p"));
    put_message(&g, 1, node_proto("Mul", "z,p", "second"));
    put_message(&g, 12, value_info("first", ONNX_FLOAT, 4, out));
    put_message(&g, 12, value_info("second", ONNX_FLOAT, 4, out));
    bytes file = model_proto(g, 13);
    if (sq_model_parse(file.data, file.size, "staged", NULL, &m) != SQ_OK)
        fail_msg("%s", sq_error());
    free(file.data);
    return m;
}

typedef struct fixture {
    sq_model *model;
    int64_t shape[2][SQ_MAX_RANK];
    float image[3 * PIXELS], context[2 * PIXELS], want[2][5 * PIXELS], got[2][5 * PIXELS];
} fixture;

static void start(fixture *f)
{
    memset(f, 0, sizeof *f);
    f->model = staged_model();
    memcpy(f->shape[0], image_dim, sizeof image_dim);
    memcpy(f->shape[1], context_dim, sizeof context_dim);
    for (int i = 0; i < 3 * PIXELS; i++)
        f->image[i] = (float)cos(i);
    for (int i = 0; i < 2 * PIXELS; i++)
        f->context[i] = (float)sin(0.3 * i);
    const float *in[2] = {f->image, f->context};
    float *out[2] = {f->want[0], f->want[1]};
    assert_int_equal(sq_reference_run(f->model, (const int64_t(*)[SQ_MAX_RANK])f->shape, in, out),
                     SQ_OK);
}

static sq_engine *engine(fixture *f, const int *stage)
{
    sq_engine *e = NULL;
    if (sq_engine_create(f->model, (const int64_t(*)[SQ_MAX_RANK])f->shape, stage, SQ_FP32, &e) !=
        SQ_OK)
        fail_msg("%s", sq_error());
    return e;
}

static void assert_close(const float *got, const float *want)
{
    for (int i = 0; i < 5 * PIXELS; i++) {
        if (!(fabsf(got[i] - want[i]) < 1e-4f))
            fail_msg("element %d is %g, expected %g", i, got[i], want[i]);
    }
}

/* The second stage runs after the first one's input has been overwritten, as a caller may do. */
static void test_stages(void **state)
{
    (void)state;
    fixture f;
    start(&f);
    static const int stage[2] = {0, 1};
    sq_engine *e = engine(&f, stage);
    for (int pass = 0; pass < 2; pass++) {
        float copy[3 * PIXELS];
        memcpy(copy, f.image, sizeof copy);
        const float *first[2] = {copy, NULL}, *second[2] = {NULL, f.context};
        float *out0[2] = {f.got[0], NULL}, *out1[2] = {NULL, f.got[1]};
        assert_int_equal(sq_engine_run(e, 0, 0, first, out0), SQ_OK);
        memset(copy, 0, sizeof copy);
        assert_close(f.got[0], f.want[0]);
        assert_int_equal(sq_engine_run(e, 1, 1, second, out1), SQ_OK);
        assert_close(f.got[1], f.want[1]);
        memset(f.got, 0, sizeof f.got);
        assert_int_equal(sq_engine_run(e, 1, 1, second, out1), SQ_OK); /* again */
        assert_close(f.got[1], f.want[1]);
    }
    const float *both[2] = {f.image, f.context};
    float *out[2] = {f.got[0], f.got[1]};
    assert_int_equal(sq_engine_run(e, 0, 1, both, out), SQ_OK);
    assert_close(f.got[0], f.want[0]);
    assert_close(f.got[1], f.want[1]);
    sq_engine_destroy(e);
    sq_model_destroy(f.model);
}

static void test_stage_errors(void **state)
{
    (void)state;
    fixture f;
    start(&f);
    static const int stage[2] = {0, 1}, wrong[2] = {0, -1};
    sq_engine *e = engine(&f, stage), *none = NULL;
    const float *in[2] = {f.image, f.context}, *missing[2] = {NULL, f.context};
    float *out[2] = {f.got[0], f.got[1]};
    assert_int_equal(sq_engine_run(e, 1, 1, in, out), SQ_ERR_USAGE); /* stage 0 comes first */
    assert_int_equal(sq_engine_run(e, 0, 2, in, out), SQ_ERR_USAGE);
    assert_int_equal(sq_engine_run(e, 0, 0, missing, out), SQ_ERR_USAGE);
    assert_non_null(strstr(sq_error(), "image"));
    assert_int_equal(sq_engine_run(e, 0, 0, in, out), SQ_OK);
    assert_int_equal(sq_engine_run(e, 1, 1, in, out), SQ_OK);
    assert_int_equal(
        sq_engine_create(f.model, (const int64_t(*)[SQ_MAX_RANK])f.shape, wrong, SQ_FP32, &none),
        SQ_ERR_USAGE);
    f.shape[0][1] = 4;
    assert_int_equal(
        sq_engine_create(f.model, (const int64_t(*)[SQ_MAX_RANK])f.shape, stage, SQ_FP32, &none),
        SQ_ERR_CONFIG);
    sq_engine_destroy(e);
    sq_model_destroy(f.model);
}

/* The same numbers from two engines and from two runs, bit for bit. */
static void test_deterministic(void **state)
{
    (void)state;
    fixture f;
    start(&f);
    const float *in[2] = {f.image, f.context};
    float again[5 * PIXELS], *out[2] = {f.got[0], f.got[1]}, *second[2] = {NULL, again};
    sq_engine *a = engine(&f, NULL), *b = engine(&f, NULL);
    assert_int_equal(sq_engine_run(a, 0, 0, in, out), SQ_OK);
    assert_int_equal(sq_engine_run(b, 0, 0, in, second), SQ_OK);
    assert_memory_equal(f.got[1], again, sizeof again);
    assert_int_equal(sq_engine_run(a, 0, 0, in, second), SQ_OK);
    assert_memory_equal(f.got[1], again, sizeof again);
    sq_engine_destroy(a);
    sq_engine_destroy(b);
    sq_model_destroy(f.model);
}

static void test_account(void **state)
{
    (void)state;
    fixture f;
    start(&f);
    sq_engine *e = engine(&f, NULL);
    const float *in[2] = {f.image, f.context};
    float *out[2] = {f.got[0], f.got[1]};
    double flop = 0, compute, moves;
    sq_engine_profile(e, 1);
    assert_int_equal(sq_engine_run(e, 0, 0, in, out), SQ_OK);
    for (int i = 0; i < sq_engine_ops(e); i++) {
        flop += sq_engine_op_at(e, i).flop;
        assert_true(sq_engine_op_at(e, i).seconds >= 0);
        assert_true(strlen(sq_engine_implementation(e, i)) < 40);
    }
    assert_true(flop == 2.0 * PIXELS * 5 * (27 + 18 + 3));
    assert_true(sq_engine_bytes(e) > 0);
    assert_int_equal(sq_engine_bare(e, &compute, &moves), SQ_OK);
    assert_true(compute > 0 && moves >= 0);
    assert_close(f.got[1], f.want[1]);
    sq_engine_destroy(e);
    sq_model_destroy(f.model);
}

static void test_describe(void **state)
{
    (void)state;
    fixture f;
    char text[4096] = "";
    start(&f);
    FILE *out = fmemopen(text, sizeof text, "w");
    assert_int_equal(sq_model_describe(f.model, 64, out), SQ_OK);
    fclose(out);
    assert_non_null(strstr(text, "supported: yes"));
    assert_non_null(strstr(text, "receptive field: 3 pixels"));
    assert_non_null(strstr(text, "parameters: 240"));
    assert_non_null(strstr(text, "image [1, 3, 9, 11]"));
    sq_model_destroy(f.model);
}

/* An operator that is not known: the file loads and can be shown, running it names node and
 * operator. */
static void test_unknown_operator(void **state)
{
    (void)state;
    static const int64_t dim[2] = {2, -1}, shape[1][SQ_MAX_RANK] = {{2, 3}};
    bytes g = {0};
    sq_model *m = NULL;
    sq_engine *e = NULL;
    char text[4096] = "";
    float x[6] = {0}, y[6];
    const float *in[1] = {x};
    float *outputs[1] = {y};
    put_message(&g, 11, value_info("x", ONNX_FLOAT, 2, dim));
    bytes n = node_proto("Fancy", "x", "y");
    put_text(&n, 3, "the fancy one");
    put_message(&g, 1, n);
    put_message(&g, 12, value_info("y", ONNX_FLOAT, 2, dim));
    bytes file = model_proto(g, 13);
    assert_int_equal(sq_model_parse(file.data, file.size, "odd.onnx", NULL, &m), SQ_OK);
    free(file.data);
    assert_int_equal(sq_engine_create(m, shape, NULL, SQ_FP32, &e), SQ_ERR_UNSUPPORTED);
    assert_non_null(strstr(sq_error(), "the fancy one"));
    assert_non_null(strstr(sq_error(), "Fancy"));
    assert_int_equal(sq_reference_run(m, shape, in, outputs), SQ_ERR_UNSUPPORTED);
    FILE *out = fmemopen(text, sizeof text, "w");
    assert_int_equal(sq_model_describe(m, 8, out), SQ_OK);
    fclose(out);
    assert_non_null(strstr(text, "NOT SUPPORTED"));
    assert_non_null(strstr(text, "supported: no"));
    sq_model_destroy(m);
}

/* reshape(x, concat(gather(shape(x), 0), [-1])): the shape is a constant once x's is. */
static void test_shape_chain(void **state)
{
    (void)state;
    static const int64_t dim[4] = {-1, 2, 3, 4}, minus[1] = {-1}, zero[1] = {0};
    static const int64_t shape[1][SQ_MAX_RANK] = {{2, 2, 3, 4}}, two[2] = {-1, 24};
    bytes g = {0};
    sq_model *m = NULL;
    sq_engine *e = NULL;
    int64_t one = 1;
    float x[48], y[48];
    const float *in[1] = {x};
    float *out[1] = {y};
    put_message(&g, 11, value_info("x", ONNX_FLOAT, 4, dim));
    put_message(&g, 5, tensor_proto("zero", ONNX_INT64, 1, &one, zero, 8));
    put_message(&g, 5, tensor_proto("minus", ONNX_INT64, 1, &one, minus, 8));
    put_message(&g, 1, node_proto("Shape", "x", "s"));
    put_message(&g, 1, node_proto("Gather", "s,zero", "b"));
    bytes n = node_proto("Concat", "b,minus", "t");
    put_message(&n, 5, attr_int("axis", 0));
    put_message(&g, 1, n);
    put_message(&g, 1, node_proto("Reshape", "x,t", "y"));
    put_message(&g, 12, value_info("y", ONNX_FLOAT, 2, two));
    bytes file = model_proto(g, 13);
    assert_int_equal(sq_model_parse(file.data, file.size, "chain", NULL, &m), SQ_OK);
    free(file.data);
    assert_int_equal(sq_engine_create(m, shape, NULL, SQ_FP32, &e), SQ_OK);
    sq_tensor_info info = sq_engine_output(e, 0);
    assert_int_equal(info.rank, 2);
    assert_int_equal(info.dim[0], 2);
    assert_int_equal(info.dim[1], 24);
    for (int i = 0; i < 48; i++)
        x[i] = (float)i;
    assert_int_equal(sq_engine_run(e, 0, 0, in, out), SQ_OK);
    assert_memory_equal(x, y, sizeof x);
    sq_engine_destroy(e);
    sq_model_destroy(m);
}

/* Every allocation fails once: an error, no crash, nothing left behind. */
static void test_no_memory(void **state)
{
    (void)state;
    fixture f;
    start(&f);
    uint64_t before = sq_mem_held();
    int failures = 0;
    for (int64_t k = 0; k < 2000; k++) {
        sq_engine *e = NULL;
        sq_mem_fail_after(k);
        sq_status rc =
            sq_engine_create(f.model, (const int64_t(*)[SQ_MAX_RANK])f.shape, NULL, SQ_FP32, &e);
        sq_mem_fail_after(-1);
        sq_engine_destroy(e);
        assert_int_equal(sq_mem_held(), before);
        if (rc == SQ_OK)
            break;
        assert_int_equal(rc, SQ_ERR_NOMEM);
        failures++;
    }
    assert_in_range(failures, 20, 1999);
    sq_model_destroy(f.model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stages),        cmocka_unit_test(test_stage_errors),
        cmocka_unit_test(test_deterministic), cmocka_unit_test(test_account),
        cmocka_unit_test(test_describe),      cmocka_unit_test(test_unknown_operator),
        cmocka_unit_test(test_shape_chain),   cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
