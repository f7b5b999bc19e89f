#include "cm.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "store/table.h"

static const sq_column columns[] = {
    {"ra", SQ_F64, "deg", "", "", 0}, {"dec", SQ_F64, "deg", "", "", 0},
    {"depth", SQ_F32, "", "", "", 1}, {"flag", SQ_U8, "", "", "", 0},
    {"id", SQ_U64, "", "", "", 0},    {"n", SQ_I32, "", "", "", 0},
};
static const sq_schema sources = {.name = "sources",
                                  .count = 6,
                                  .column = columns,
                                  .ra = "ra",
                                  .dec = "dec",
                                  .depth = "depth",
                                  .radius = 1};
static const sq_schema plain = {.name = "plain", .count = 2, .column = columns + 3};
static const sq_map_schema single = {
    .name = "kappa", .type = SQ_F32, .planes = 3, .nx = 100, .ny = 50};
static const sq_map_schema wide = {.name = "noise", .type = SQ_F64, .planes = 1, .nx = 7, .ny = 9};
static const sq_schema *const schemas[] = {&sources, &plain};
static const sq_map_schema *const maps[] = {&single, &wide};

static void fill(sq_table *table, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double ra = (double)i / 7, dec = -(double)i;
        float depth = (float)i * 0.5f;
        uint8_t flag = (uint8_t)i;
        uint64_t id = (uint64_t)i << 40;
        int32_t k = (int32_t)-i;
        ok(sq_table_append(table, 1, (const void *const[]){&ra, &dec, &depth, &flag, &id, &k}));
    }
}

static void pack(void **data, size_t *size, int64_t rows)
{
    static float pixels[3 * 4 * 5];
    static double noise[63];
    sq_table *table[2];
    ok(sq_table_create(&sources, &table[0]));
    ok(sq_table_create(&plain, &table[1]));
    fill(table[0], rows);
    for (int i = 0; i < 60; i++)
        pixels[i] = (float)i;
    for (int i = 0; i < 63; i++)
        noise[i] = i * 1e-3;
    sq_block block[2] = {{0, 96, 45, 4, 5, pixels}, {1, 0, 0, 7, 9, noise}};
    ok(sq_payload_pack((const sq_table *const *)table, 2, maps, 2, block, 2, data, size));
    sq_table_destroy(table[0]);
    sq_table_destroy(table[1]);
}

static void payloads_come_back(void **state)
{
    (void)state;
    void *data;
    size_t size;
    sq_payload p;
    pack(&data, &size, 333);
    assert_int_equal(size % 8, 0);
    ok(sq_payload_unpack(data, size, schemas, 2, maps, 2, &p));
    assert_int_equal(p.table[0].rows, 333);
    assert_int_equal(p.table[1].rows, 0);
    for (int i = 0; i < 333; i++) {
        assert_true(((const double *)p.table[0].column[0])[i] == (double)i / 7);
        assert_true(((const float *)p.table[0].column[2])[i] == (float)i * 0.5f);
        assert_int_equal(((const uint8_t *)p.table[0].column[3])[i], (uint8_t)i);
        assert_int_equal(((const uint64_t *)p.table[0].column[4])[i], (uint64_t)i << 40);
        assert_int_equal(((const int32_t *)p.table[0].column[5])[i], -i);
    }
    assert_int_equal(p.nblock, 2);
    assert_int_equal(p.block[0].x0, 96);
    assert_true(((const float *)p.block[0].data)[59] == 59);
    assert_true(((const double *)p.block[1].data)[62] == 62 * 1e-3);
    sq_payload_clear(&p);
    sq_free(data);
}

/* A fixed payload: the layout of version 1 is what the header file says. */
static void the_layout_is_the_documented_one(void **state)
{
    (void)state;
    void *data;
    size_t size;
    sq_table *table;
    uint8_t flag = 7;
    uint64_t id = 9;
    ok(sq_table_create(&plain, &table));
    ok(sq_table_append(table, 1, (const void *const[]){&flag, &id}));
    const sq_table *list[] = {NULL, table};
    ok(sq_payload_pack(list, 2, NULL, 0, NULL, 0, &data, &size));
    const unsigned char *b = data;
    assert_int_equal(size, 16 + 24 + 8 + 8);
    assert_memory_equal(b, "SQPL\1\0\0\0\1\0\0\0\0\0\0\0", 16);
    assert_memory_equal(b + 16, "\1\0\0\0\2\0\0\0\1\0\0\0\0\0\0\0", 16);
    assert_memory_equal(b + 40, "\7\0\0\0\0\0\0\0\t\0\0\0\0\0\0\0", 16);
    sq_free(data);
    sq_table_destroy(table);
}

/* Cut or changed anywhere, a payload is refused or read within its bounds: a sanitizer sees the
 * rest. */
static void damaged_payloads_are_refused(void **state)
{
    (void)state;
    unsigned char *data;
    void *packed;
    size_t size;
    sq_payload p;
    pack(&packed, &size, 5);
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_equal(sq_alloc(&data, cut + 1, 1, "copy"), SQ_OK);
        memcpy(data, packed, cut);
        assert_int_equal(sq_payload_unpack(data, cut, schemas, 2, maps, 2, &p), SQ_ERR_CORRUPT);
        sq_free(data);
    }
    data = packed;
    for (size_t i = 0; i < 40; i++) {
        for (int bit = 0; bit < 8; bit++) {
            data[i] ^= (unsigned char)(1 << bit);
            sq_status rc = sq_payload_unpack(data, size, schemas, 2, maps, 2, &p);
            assert_true(rc == SQ_ERR_CORRUPT || i == 6 || i == 7);
            sq_payload_clear(&p);
            data[i] ^= (unsigned char)(1 << bit);
        }
    }
    const sq_schema *swapped[] = {&plain, &sources};
    assert_int_equal(sq_payload_unpack(data, size, swapped, 2, maps, 2, &p), SQ_ERR_CORRUPT);
    sq_free(packed);
}

static void bad_schemas_and_blocks_are_refused(void **state)
{
    (void)state;
    sq_table *table;
    sq_column c[2] = {{"x", SQ_F64, "", "", "", 0}, {"x", SQ_F64, "", "", "", 0}};
    sq_schema s = {.name = "t", .count = 2, .column = c};
    assert_int_equal(sq_table_create(&s, &table), SQ_ERR_USAGE);
    c[1].name = "y/z";
    assert_int_equal(sq_table_create(&s, &table), SQ_ERR_USAGE);
    c[1].name = "patch";
    assert_int_equal(sq_table_create(&s, &table), SQ_ERR_USAGE);
    c[1].name = "y";
    c[1].type = SQ_F16;
    assert_int_equal(sq_table_create(&s, &table), SQ_ERR_USAGE);
    c[1].type = SQ_F64;
    s.ra = "x";
    assert_int_equal(sq_table_create(&s, &table), SQ_ERR_USAGE);
    s.dec = "y";
    s.depth = "z";
    assert_int_equal(sq_table_create(&s, &table), SQ_ERR_USAGE);
    s.depth = "y";
    assert_int_equal(sq_table_create(&s, &table), SQ_ERR_USAGE); /* no radius */
    s.radius = 1;
    ok(sq_table_create(&s, &table));
    sq_table_destroy(table);

    float pixels[3] = {0};
    void *data;
    size_t size;
    sq_block outside = {0, 99, 0, 2, 1, pixels}, none = {2, 0, 0, 1, 1, pixels};
    assert_int_equal(sq_payload_pack(NULL, 0, maps, 2, &outside, 1, &data, &size), SQ_ERR_USAGE);
    assert_int_equal(sq_payload_pack(NULL, 0, maps, 2, &none, 1, &data, &size), SQ_ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(payloads_come_back),
        cmocka_unit_test(the_layout_is_the_documented_one),
        cmocka_unit_test(damaged_payloads_are_refused),
        cmocka_unit_test(bad_schemas_and_blocks_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
