#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/mem.h"

enum { MOST = 3000000 };

/* Python's xxhash 3.x: d = bytes((i * 7 + 3) % 256 for i in range(n)); xxh3_128_hexdigest(d),
 * xxh3_64_hexdigest(d) */
static const struct {
    size_t size;
    const char *wide;
    uint64_t narrow;
} known[] = {
    {0, "99aa06d3014798d86001c324468d497f", 0x2d06800538d394c2},
    {1, "22bbb76b211a39ba13e608bc156defed", 0x13e608bc156defed},
    {8, "e3bc8a5f461715553cd024e3d63a1588", 0x60539db630471163},
    {100, "2207ed96998d91f20cc97f05750182b2", 0xb5937857f0d78c9f},
    {240, "ad46c1021b076bc704e0b5f034bee80b", 0x64556dc6b462a6cf},
    {241, "ac6c3492c3d6b45d8beadd3a8874fe17", 0x8beadd3a8874fe17},
    {1000, "6bcc7eff62da44c26c4f14bd97bd9e82", 0x6c4f14bd97bd9e82},
    {MOST, "fa69b0fe764131a5631d9e1c5110ba67", 0x631d9e1c5110ba67},
};

static unsigned char data[MOST];

static int fill(void **state)
{
    (void)state;
    for (size_t i = 0; i < MOST; i++)
        data[i] = (unsigned char)(i * 7 + 3);
    return 0;
}

static void assert_hash(sq_hash hash, const char *text)
{
    char out[SQ_HASH_TEXT];
    sq_hash_text(hash, out);
    assert_string_equal(out, text);
}

static void test_known(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        assert_hash(sq_hash_bytes(data, known[i].size), known[i].wide);
        assert_true(sq_hash64(data, known[i].size) == known[i].narrow);
    }
}

/* Pieces of any length, and digests in between, do not matter. */
static void test_pieces(void **state)
{
    (void)state;
    for (size_t step = 1; step < 100000; step = step * 7 + 1) {
        sq_hasher *hasher;
        assert_int_equal(sq_hasher_create(&hasher), SQ_OK);
        for (size_t at = 0; at < 100000; at += step) {
            sq_hasher_add(hasher, data + at, at + step > 100000 ? 100000 - at : step);
            if (at < 3 * step)
                sq_hasher_finish(hasher);
        }
        assert_true(sq_hash_equal(sq_hasher_finish(hasher), sq_hash_bytes(data, 100000)));
        assert_true(sq_hash_equal(sq_hasher_finish(hasher), sq_hash_bytes(data, 100000)));
        sq_hasher_destroy(hasher);
    }
    sq_hasher_destroy(NULL);
}

static void test_file(void **state)
{
    (void)state;
    char path[512];
    sq_hash hash;
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/sq_hash_XXXXXX", folder && *folder ? folder : P_tmpdir);
    FILE *file = fdopen(mkstemp(path), "wb");
    assert_int_equal(fwrite(data, 1, MOST, file), MOST);
    fclose(file);
    assert_int_equal(sq_hash_file(path, &hash), SQ_OK);
    assert_hash(hash, known[7].wide);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(sq_hash_file(path, &hash), SQ_OK);
    assert_hash(hash, known[0].wide);
    unlink(path);
    assert_int_equal(sq_hash_file(path, &hash), SQ_ERR_IO);
    assert_non_null(strstr(sq_error(), path));
    assert_int_equal(sq_hash_file("/", &hash), SQ_ERR_IO);
}

static void test_combine(void **state)
{
    (void)state;
    sq_hash a = sq_hash_bytes("a", 1), b = sq_hash_bytes("b", 1);
    assert_true(sq_hash_equal(sq_hash_combine(a, b), sq_hash_combine(a, b)));
    assert_false(sq_hash_equal(sq_hash_combine(a, b), sq_hash_combine(b, a)));
    assert_false(sq_hash_equal(a, b));
}

static void test_text(void **state)
{
    (void)state;
    sq_hash hash;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        assert_int_equal(sq_hash_parse(known[i].wide, &hash), SQ_OK);
        assert_true(sq_hash_equal(hash, sq_hash_bytes(data, known[i].size)));
    }
    assert_int_equal(sq_hash_parse("", &hash), SQ_ERR_FORMAT);
    assert_int_equal(sq_hash_parse("99aa06d3014798d86001c324468d497", &hash), SQ_ERR_FORMAT);
    assert_int_equal(sq_hash_parse("99aa06d3014798d86001c324468d497f0", &hash), SQ_ERR_FORMAT);
    assert_int_equal(sq_hash_parse("99aa06d3014798d8 001c324468d497f", &hash), SQ_ERR_FORMAT);
    assert_int_equal(sq_hash_parse("99AA06d3014798d86001c324468d497f", &hash), SQ_ERR_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),   cmocka_unit_test(test_pieces), cmocka_unit_test(test_file),
        cmocka_unit_test(test_combine), cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
