/* Transforms against numpy, bit identity whatever the alignment and the order of planning, wisdom
 * files. */
#include <complex.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "fourier/fft.h"
#include "oracle.h"

static const int sizes[][2] = {{1, 16}, {7, 5}, {64, 64}, {60, 100}, {128, 33}, {31, 1}};
enum { SIZES = sizeof sizes / sizeof *sizes };

static double *noise(int ny, int nx)
{
    double *map;
    sq_rng rng;
    sq_rng_init(&rng, 80, (uint32_t)ny, (uint64_t)nx);
    assert_int_equal(SQ_ALLOC(map, ny * nx, "test"), SQ_OK);
    for (int i = 0; i < ny * nx; i++)
        map[i] = sq_rng_normal(&rng);
    return map;
}

static double _Complex *transform(int ny, int nx, const double *map)
{
    sq_fft *fft;
    double _Complex *modes;
    assert_int_equal(SQ_ALLOC(modes, ny * (nx / 2 + 1), "test"), SQ_OK);
    assert_int_equal(sq_fft_create(ny, nx, &fft), SQ_OK);
    assert_int_equal(sq_fft_ny(fft), ny);
    assert_int_equal(sq_fft_nx(fft), nx);
    sq_fft_forward(fft, map, modes);
    sq_fft_destroy(fft);
    return modes;
}

static void check_size(int ny, int nx)
{
    int modes_count = ny * (nx / 2 + 1);
    double *map = noise(ny, nx), *again, *expected;
    double _Complex *modes = transform(ny, nx, map);
    float *mapf;
    float _Complex *modesf;
    sq_fft *fft;
    sq_fftf *fftf;
    assert_int_equal(SQ_ALLOC(expected, 2 * modes_count, "test"), SQ_OK);
    assert_int_equal(SQ_ALLOC(again, ny * nx, "test"), SQ_OK);
    assert_int_equal(SQ_ALLOC(mapf, ny * nx, "test"), SQ_OK);
    assert_int_equal(SQ_ALLOC(modesf, modes_count, "test"), SQ_OK);
    oracle("fft", ny, nx, map, (size_t)(ny * nx), expected, (size_t)(2 * modes_count));
    assert_int_equal(sq_fft_create(ny, nx, &fft), SQ_OK);
    assert_int_equal(sq_fftf_create(ny, nx, &fftf), SQ_OK);
    for (int i = 0; i < ny * nx; i++)
        mapf[i] = (float)map[i];
    sq_fftf_forward(fftf, mapf, modesf);
    double scale = sqrt(ny * nx);
    for (int k = 0; k < modes_count; k++) {
        double _Complex e = CMPLX(expected[2 * k], expected[2 * k + 1]);
        assert_true(cabs(modes[k] - e) < 1e-13 * scale);
        assert_true(cabs((double _Complex)modesf[k] - e) < 2e-6 * scale);
    }
    sq_fft_backward(fft, modes, again);
    sq_fftf_backward(fftf, modesf, mapf);
    for (int i = 0; i < ny * nx; i++) {
        assert_true(fabs(again[i] - map[i]) < 1e-13);
        assert_true(fabs(mapf[i] - map[i]) < 3e-6);
    }
    sq_fft_destroy(fft);
    sq_fftf_destroy(fftf);
    sq_free(map);
    sq_free(again);
    sq_free(expected);
    sq_free(modes);
    sq_free(mapf);
    sq_free(modesf);
}

static void test_numpy(void **state)
{
    (void)state;
    for (int i = 0; i < SIZES; i++)
        check_size(sizes[i][0], sizes[i][1]);
}

/* Arrays off the alignment of the plan go another way, to the same bits; inputs are preserved. */
static void test_alignment(void **state)
{
    (void)state;
    enum { NY = 24, NX = 20, MODES = NY * (NX / 2 + 1) };
    sq_fft *fft;
    double *map = noise(NY, NX), *room, *copy;
    double _Complex *modes, *crooked;
    assert_int_equal(SQ_ALLOC(modes, MODES + 1, "test"), SQ_OK);
    assert_int_equal(SQ_ALLOC(crooked, MODES + 1, "test"), SQ_OK);
    assert_int_equal(SQ_ALLOC(room, NY * NX + 1, "test"), SQ_OK);
    assert_int_equal(SQ_ALLOC(copy, NY * NX, "test"), SQ_OK);
    assert_int_equal(sq_fft_create(NY, NX, &fft), SQ_OK);
    memcpy(room + 1, map, NY * NX * sizeof *map);
    sq_fft_forward(fft, map, modes);
    sq_fft_forward(fft, room + 1, crooked);
    assert_memory_equal(modes, crooked, MODES * sizeof *modes);
    assert_memory_equal(room + 1, map, NY * NX * sizeof *map);
    memmove(crooked + 1, crooked, MODES * sizeof *modes);
    sq_fft_backward(fft, modes, copy);
    sq_fft_backward(fft, crooked + 1, room + 1);
    assert_memory_equal(copy, room + 1, NY * NX * sizeof *copy);
    assert_memory_equal(modes, crooked + 1, MODES * sizeof *modes);
    sq_fft_destroy(fft);
    sq_free(map);
    sq_free(room);
    sq_free(copy);
    sq_free(modes);
    sq_free(crooked);
}

/* What was planned before must not matter. */
static void test_order(void **state)
{
    (void)state;
    double *map[SIZES];
    double _Complex *first[SIZES];
    sq_fft_wisdom_forget();
    for (int i = 0; i < SIZES; i++) {
        map[i] = noise(sizes[i][0], sizes[i][1]);
        first[i] = transform(sizes[i][0], sizes[i][1], map[i]);
    }
    sq_fft_wisdom_forget();
    for (int i = SIZES - 1; i >= 0; i--) {
        double _Complex *again = transform(sizes[i][0], sizes[i][1], map[i]);
        size_t count = (size_t)(sizes[i][0] * (sizes[i][1] / 2 + 1));
        assert_memory_equal(first[i], again, count * sizeof *again);
        sq_free(again);
        sq_free(first[i]);
        sq_free(map[i]);
    }
}

static void test_usage(void **state)
{
    (void)state;
    sq_fft *fft;
    assert_int_equal(sq_fft_create(0, 5, &fft), SQ_ERR_USAGE);
    assert_int_equal(sq_fft_create(5, -1, &fft), SQ_ERR_USAGE);
    assert_int_equal(sq_fft_create(1, 1 << 17, &fft), SQ_ERR_USAGE);
    assert_null(fft);
    sq_fft_destroy(NULL);
    sq_fftf_destroy(NULL);
}

static void write_file(const char *path, const char *text, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    fclose(file);
}

static void test_wisdom(void **state)
{
    (void)state;
    char folder[512], path[600], bad[600];
    sq_hash loaded, file;
    sq_fft *fft;
    temporary(folder, sizeof folder, "sq_wisdom");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/w", folder);
    snprintf(bad, sizeof bad, "%s/bad", folder);
    sq_fft_wisdom_forget();
    assert_int_equal(sq_fft_wisdom_learn(32, 48, 0), SQ_OK);
    assert_int_equal(sq_fft_wisdom_save(path), SQ_OK);
    sq_fft_wisdom_forget();
    assert_int_equal(sq_fft_wisdom_load(path, &loaded), SQ_OK);
    assert_int_equal(sq_hash_file(path, &file), SQ_OK);
    assert_true(sq_hash_equal(loaded, file));
    /* Two loads of one file give the same bits; a size that is not in it is refused. */
    double *map = noise(32, 48);
    double _Complex *one = transform(32, 48, map), *two;
    assert_int_equal(sq_fft_create(32, 50, &fft), SQ_ERR_CONFIG);
    assert_non_null(strstr(sq_error(), "32x50"));
    assert_int_equal(sq_fft_wisdom_load(path, NULL), SQ_OK);
    two = transform(32, 48, map);
    assert_memory_equal(one, two, 32 * 25 * sizeof *one);
    /* Every truncation and a damaged byte of the header are an error, never a crash. */
    FILE *in = fopen(path, "rb");
    static char text[1 << 20];
    size_t size = fread(text, 1, sizeof text, in);
    fclose(in);
    for (size_t cut = 0; cut < size; cut += 1 + size / 97) {
        write_file(bad, text, cut);
        assert_int_equal(sq_fft_wisdom_load(bad, NULL), SQ_ERR_CONFIG);
    }
    text[0] = 'X';
    write_file(bad, text, size);
    assert_int_equal(sq_fft_wisdom_load(bad, NULL), SQ_ERR_CONFIG);
    assert_int_equal(sq_fft_wisdom_load("/does/not/exist", NULL), SQ_ERR_CONFIG);
    assert_int_equal(sq_fft_wisdom_save("/does/not/exist"), SQ_ERR_IO);
    sq_fft_wisdom_forget();
    assert_int_equal(sq_fft_create(32, 50, &fft), SQ_OK);
    sq_fft_destroy(fft);
    sq_free(map);
    sq_free(one);
    sq_free(two);
    unlink(path);
    unlink(bad);
    rmdir(folder);
}

static void test_no_memory(void **state)
{
    (void)state;
    sq_fft *fft = NULL;
    uint64_t held = sq_mem_held();
    int64_t tries = 0;
    for (; !fft && tries < 20; tries++) {
        sq_mem_fail_after(tries);
        sq_status rc = sq_fft_create(8, 8, &fft);
        assert_int_equal(rc, fft ? SQ_OK : SQ_ERR_NOMEM);
        assert_true(fft || sq_mem_held() == held);
    }
    sq_mem_fail_after(-1);
    assert_int_equal(tries, 4);
    sq_fft_destroy(fft);
    assert_true(sq_mem_held() == held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numpy),  cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_order),  cmocka_unit_test(test_usage),
        cmocka_unit_test(test_wisdom), cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
