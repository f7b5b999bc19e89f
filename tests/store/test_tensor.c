/* Arrays written here are read by h5py and the other way round. */
#include "cm.h"

#include <math.h>
#include <unistd.h>

#include "base/mem.h"
#include "scratch.h"
#include "store/tensor.h"

static void python(const char *script)
{
    char command[4096];
    const char *program = getenv("SQ_PYTHON") ? getenv("SQ_PYTHON") : "/usr/bin/python3";
    snprintf(command, sizeof command, "cd %s && %s -c \"import h5py, numpy as np\n%s\"",
             scratch_folder, program, script);
    assert_int_equal(system(command), 0);
}

static void h5py_reads_what_is_written(void **state)
{
    (void)state;
    sq_h5 *h5;
    float half[8] = {0.1f, -2, 65519.9f, 65520, 6e-8f, 2.9e-8f, NAN, -INFINITY};
    int64_t rows = 8, ids[5] = {1, -2, 3, INT64_MIN, INT64_MAX}, five = 5, image[3] = {2, 3, 4},
            none = 0;
    float pixels[24];
    for (int i = 0; i < 24; i++)
        pixels[i] = (float)i / 3;
    ok(sq_h5_create(scratch("a.h5"), &h5));
    ok(sq_h5_append(h5, "half", SQ_F16, 1, &rows, half));
    for (int i = 0; i < 3; i++)
        ok(sq_h5_append(h5, "group/sub/ids", SQ_I64, 1, &five, ids));
    for (int i = 0; i < 1000; i++)
        ok(sq_h5_append(h5, "images", SQ_F32, 3, image, pixels));
    ok(sq_h5_append(h5, "nothing", SQ_U16, 1, &none, NULL));
    ok(sq_h5_append_text(h5, "names", 4, 2, "abcd\xc3\xa9\0\0"));
    ok(sq_h5_attribute_text(h5, "images", "units", "nJy"));
    ok(sq_h5_attribute_text(h5, "/", "kind", "first"));
    ok(sq_h5_attribute_text(h5, "/", "kind", "second"));
    ok(sq_h5_attribute_real(h5, "/", "pi", 3.25));
    assert_int_equal(access(scratch("a.h5"), F_OK), -1); /* not there before it is complete */
    ok(sq_h5_close(h5));
    assert_int_equal(access(scratch("a.h5.partial"), F_OK), -1);
    python("f = h5py.File('a.h5')\n"
           "x = np.array([0.1, -2, 65519.9, 65520, 6e-8, 2.9e-8, np.nan, -np.inf], np.float32)\n"
           "assert f['half'].dtype == np.float16\n"
           "np.testing.assert_array_equal(f['half'][:], x.astype(np.float16))\n"
           "i = np.array([1, -2, 3, -2**63, 2**63 - 1])\n"
           "np.testing.assert_array_equal(f['group/sub/ids'][:], np.tile(i, 3))\n"
           "p = (np.arange(24, dtype=np.float32) / np.float32(3)).reshape(2, 3, 4)\n"
           "np.testing.assert_array_equal(f['images'][:], np.tile(p, (1000, 1, 1)))\n"
           "assert f['nothing'].shape == (0,) and f['nothing'].dtype == np.uint16\n"
           "assert f['names'][:].tolist() == [b'abcd', b'\\xc3\\xa9']\n"
           "assert f['images'].attrs['units'] == b'nJy' and f.attrs['kind'] == b'second'\n"
           "assert f.attrs['pi'] == 3.25\n");
}

static void what_h5py_writes_is_read(void **state)
{
    (void)state;
    sq_h5 *h5;
    sq_dtype type;
    int rank;
    int64_t dim[8];
    float out[8];
    double number;
    char *text;
    python("f = h5py.File('b.h5', 'w')\n"
           "f['h'] = np.array([[0.5, 1e-7], [-65504, np.inf]], np.float16)\n"
           "f['big'] = np.arange(6, dtype='>i4').reshape(3, 2)\n"
           "f.create_dataset('z', data=np.arange(1000.), chunks=(100,), compression='gzip', "
           "shuffle=True)\n"
           "f.attrs['s'] = 'text of any length'\n"
           "f['z'].attrs['n'] = np.int32(7)\n"
           "f['words'] = [b'a', b'b']\n");
    ok(sq_h5_open(scratch("b.h5"), &h5));
    ok(sq_h5_shape(h5, "h", &type, &rank, dim));
    assert_true(type == SQ_F16 && rank == 2 && dim[0] == 2 && dim[1] == 2);
    ok(sq_h5_read_f32(h5, "h", 0, 2, out));
    assert_true(out[0] == 0.5f && out[2] == -65504 && isinf(out[3]));
    assert_true(fabs(out[1] - 1e-7) < 3e-8);
    ok(sq_h5_read_f32(h5, "big", 1, 2, out));
    for (int i = 0; i < 4; i++)
        assert_true(out[i] == (float)(2 + i));
    ok(sq_h5_read_f32(h5, "z", 990, 3, out));
    assert_true(out[2] == 992);
    ok(sq_h5_read_text(h5, "/", "s", &text));
    assert_string_equal(text, "text of any length");
    sq_free(text);
    ok(sq_h5_read_real(h5, "z", "n", &number));
    assert_true(number == 7);
    assert_int_equal(sq_h5_shape(h5, "words", &type, &rank, dim), SQ_ERR_FORMAT);
    assert_int_equal(sq_h5_shape(h5, "gone", &type, &rank, dim), SQ_ERR_FORMAT);
    assert_int_equal(sq_h5_read_f32(h5, "z", 998, 3, out), SQ_ERR_USAGE);
    assert_int_equal(sq_h5_read_real(h5, "/", "s", &number), SQ_ERR_FORMAT);
    assert_int_equal(sq_h5_read_text(h5, "/", "gone", &text), SQ_ERR_FORMAT);
    assert_true(sq_h5_has(h5, "z") && !sq_h5_has(h5, "y"));
    char **names;
    int count;
    ok(sq_h5_list(h5, "/", &names, &count));
    assert_int_equal(count, 4);
    assert_string_equal(names[0], "big");
    sq_h5_free_names(names, count);
    ok(sq_h5_close(h5));
}

/* Every float of a wide sample against numpy's conversion. */
static void halves_round_as_numpy_rounds(void **state)
{
    (void)state;
    enum { N = 1 << 18 };
    sq_h5 *h5;
    float *x;
    int64_t n = N;
    ok(SQ_ALLOC(x, N, "floats"));
    for (uint32_t i = 0; i < N; i++) {
        uint32_t bits = i * 16411u + 0x0000fffu;
        memcpy(&x[i], &bits, 4);
        if (isnan(x[i]))
            x[i] = 1.0f / (float)(i + 1);
    }
    ok(sq_h5_create(scratch("c.h5"), &h5));
    ok(sq_h5_append(h5, "f", SQ_F32, 1, &n, x));
    ok(sq_h5_append(h5, "h", SQ_F16, 1, &n, x));
    ok(sq_h5_close(h5));
    python("f = h5py.File('c.h5')\n"
           "with np.errstate(over='ignore'): h = f['f'][:].astype(np.float16)\n"
           "np.testing.assert_array_equal(f['h'][:].view(np.uint16), h.view(np.uint16))\n"
           "f.close()\n"
           "f = h5py.File('d.h5', 'w'); a = np.arange(65536, dtype=np.uint16).view(np.float16)\n"
           "f['h'] = a; f['f'] = a.astype(np.float32)\n");
    ok(sq_h5_open(scratch("d.h5"), &h5));
    float *y;
    ok(SQ_ALLOC(y, 65536, "floats"));
    ok(sq_h5_read_f32(h5, "h", 0, 65536, x));
    ok(sq_h5_read_f32(h5, "f", 0, 65536, y));
    for (int i = 0; i < 65536; i++)
        assert_true(isnan(y[i]) ? isnan(x[i]) : memcmp(&x[i], &y[i], 4) == 0);
    ok(sq_h5_close(h5));
    sq_free(x);
    sq_free(y);
}

static void misuse_is_refused(void **state)
{
    (void)state;
    sq_h5 *h5;
    int64_t dim[2] = {2, 3}, other[2] = {2, 4};
    float x[8] = {0};
    ok(sq_h5_create(scratch("e.h5"), &h5));
    ok(sq_h5_append(h5, "x", SQ_F32, 2, dim, x));
    assert_int_equal(sq_h5_append(h5, "x", SQ_F32, 2, other, x), SQ_ERR_USAGE);
    assert_int_equal(sq_h5_append(h5, "x", SQ_F64, 2, dim, x), SQ_ERR_USAGE);
    assert_int_equal(sq_h5_append(h5, "x", SQ_F32, 1, dim, x), SQ_ERR_USAGE);
    assert_int_equal(sq_h5_append(h5, "y", SQ_F32, 9, dim, x), SQ_ERR_USAGE);
    sq_h5_abandon(h5);
    assert_int_equal(access(scratch("e.h5"), F_OK), -1);
    assert_int_equal(access(scratch("e.h5.partial"), F_OK), -1);
    assert_int_equal(sq_h5_create(scratch("no/such/folder.h5"), &h5), SQ_ERR_IO);
    assert_int_equal(sq_h5_open(scratch("e.h5"), &h5), SQ_ERR_IO);
    static const char junk[] = "\211HDF\r\n\032\n junk that only begins like HDF5";
    spill(scratch("junk.h5"), junk, sizeof junk);
    assert_int_equal(sq_h5_open(scratch("junk.h5"), &h5), SQ_ERR_FORMAT);
    sq_h5_abandon(NULL);
    ok(sq_h5_close(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(h5py_reads_what_is_written, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(what_h5py_writes_is_read, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(halves_round_as_numpy_rounds, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(misuse_is_refused, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
