/* The register of probes, and products on their way into a shard and back to a barrier. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "probe/product.h"

static const sq_column columns[] = {{"a", SQ_I32, "", "", "number", 0},
                                    {"b", SQ_F64, "deg", "", "angle", 0}};
static const sq_schema first = {"first", "", 2, columns, NULL, NULL, NULL, 0, 0, 0};
static const sq_schema second = {"second", "", 1, columns, NULL, NULL, NULL, 0, 0, 0};
static const sq_map_schema map = {"map", "K", "", "a map", SQ_F32, 2, NULL, 100, 80};
static const sq_probe_description description = {
    .nphase = 1, .ntable = 2, .table = {&first, &second}, .nmap = 1, .map = {&map}};

static sq_status nothing(void *self, sq_probe_description *out)
{
    (void)self;
    *out = description;
    return SQ_OK;
}

static sq_status make(const void *config, const sq_probe_setup *setup, void **self)
{
    (void)config;
    (void)setup;
    *self = NULL;
    return SQ_OK;
}

static sq_status take(void *self, const sq_task *task, const sq_place *place, void **input,
                      sq_hash *hash)
{
    (void)self;
    (void)task;
    (void)place;
    *input = NULL;
    *hash = (sq_hash){0};
    return SQ_OK;
}

static sq_status process(void *self, const sq_task *task, const sq_place *place, void *input,
                         sq_product *product)
{
    (void)self;
    (void)task;
    (void)place;
    (void)input;
    (void)product;
    return SQ_OK;
}

static void drop(void *self, void *input)
{
    (void)self;
    (void)input;
}

static void end(void *self)
{
    (void)self;
}

static void names_are_registered_once(void **state)
{
    (void)state;
    static const sq_probe_class good = {.name = "good",
                                        .create = make,
                                        .describe = nothing,
                                        .read = take,
                                        .process = process,
                                        .release = drop,
                                        .destroy = end};
    static const sq_probe_class twin = {.name = "good",
                                        .create = make,
                                        .describe = nothing,
                                        .read = take,
                                        .process = process,
                                        .release = drop,
                                        .destroy = end};
    static const sq_probe_class hollow = {.name = "hollow", .create = make};
    assert_null(sq_probe_find("good"));
    assert_int_equal(sq_probe_register(&good), SQ_OK);
    assert_ptr_equal(sq_probe_find("good"), &good);
    assert_int_equal(sq_probe_register(&twin), SQ_ERR_USAGE);
    assert_int_equal(sq_probe_register(&hollow), SQ_ERR_USAGE);
    assert_int_equal(sq_probe_register(NULL), SQ_ERR_USAGE);
    assert_int_equal(sq_probe_count(), 1);
    assert_ptr_equal(sq_probe_at(0), &good);
    assert_null(sq_probe_at(1));
    assert_null(sq_probe_at(-1));
    assert_null(sq_probe_find("bad"));
}

static void fill(sq_product *product, int n)
{
    int32_t a[64];
    double b[64];
    float block[2 * 3 * 2];
    for (int i = 0; i < n; i++) {
        a[i] = 10 * n + i;
        b[i] = 0.5 * i;
    }
    for (int i = 0; i < 12; i++)
        block[i] = (float)(n + i);
    const void *both[] = {a, b}, *one[] = {a};
    assert_int_equal(sq_product_rows(product, 0, n, both), SQ_OK);
    assert_int_equal(sq_product_rows(product, 1, 1, one), SQ_OK);
    assert_int_equal(sq_product_block(product, 0, n, 2, 3, 2, block), SQ_OK);
}

static void products_come_back_at_a_barrier(void **state)
{
    (void)state;
    enum { TASKS = 5 };
    char folder[] = "product-XXXXXX";
    assert_non_null(mkdtemp(folder));
    sq_task task[TASKS];
    sq_record_place place[TASKS];
    sq_product *product;
    sq_shard *shard;
    uint64_t held = sq_mem_held();
    assert_int_equal(sq_product_create(&description, &product), SQ_OK);
    assert_int_equal(sq_shard_create(folder, "t", 1 << 20, &shard), SQ_OK);
    for (int i = TASKS - 1; i >= 0; i--) {
        void *data;
        size_t size;
        uint64_t rows;
        task[i] = (sq_task){.phase = 0, .patch = (uint64_t)i, .realisation = 1};
        sq_record record = {.patch = (uint64_t)i, .realisation = 1, .kind = SQ_RECORD_PRODUCT};
        sq_product_reset(product);
        fill(product, i);
        sq_product_clock(product, SQ_CLOCK_INFER, 1.5);
        assert_true(sq_product_seconds(product, SQ_CLOCK_INFER) == 1.5);
        assert_int_equal(sq_product_pack(product, &data, &size, &rows), SQ_OK);
        assert_int_equal(rows, i + 1);
        assert_int_equal(sq_shard_append(shard, &record, data, size, &place[i]), SQ_OK);
        sq_free(data);
    }
    assert_int_equal(sq_shard_close(shard), SQ_OK);
    sq_phase_products *products;
    sq_product_view view;
    int more, seen = 0;
    assert_int_equal(sq_phase_products_create(&description, folder, task, place, TASKS, &products),
                     SQ_OK);
    while (sq_phase_products_next(products, &view, &more) == SQ_OK && more) {
        assert_int_equal(view.task.patch, seen);
        assert_int_equal(view.rows[0], seen);
        assert_int_equal(view.rows[1], 1);
        for (int i = 0; i < seen; i++) {
            assert_int_equal(((const int32_t *)view.value[0][0])[i], 10 * seen + i);
            assert_true(((const double *)view.value[0][1])[i] == 0.5 * i);
        }
        assert_int_equal(view.nblock, 1);
        assert_int_equal(view.block[0].x0, seen);
        assert_true(((const float *)view.block[0].data)[11] == (float)(seen + 11));
        seen++;
    }
    assert_int_equal(seen, TASKS);
    sq_phase_products_destroy(products);
    /* A place that belongs to another task is damage, not a product. */
    sq_record_place swap = place[0];
    place[0] = place[1];
    place[1] = swap;
    assert_int_equal(sq_phase_products_create(&description, folder, task, place, TASKS, &products),
                     SQ_OK);
    assert_int_equal(sq_phase_products_next(products, &view, &more), SQ_ERR_CORRUPT);
    sq_phase_products_destroy(products);
    sq_product_destroy(product);
    assert_int_equal(sq_mem_held(), held);
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, place[0].segment);
    unlink(path);
    rmdir(folder);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    sq_product *product;
    int32_t a = 1;
    float block[64] = {0};
    const void *column[] = {&a, &a};
    assert_int_equal(sq_product_create(&description, &product), SQ_OK);
    assert_int_equal(sq_product_rows(product, 2, 1, column), SQ_ERR_USAGE);
    assert_int_equal(sq_product_rows(product, -1, 1, column), SQ_ERR_USAGE);
    assert_int_equal(sq_product_rows(product, 0, -1, column), SQ_ERR_USAGE);
    assert_int_equal(sq_product_rows(product, 0, 0, column), SQ_OK);
    static const int64_t box[][4] = {{-1, 0, 2, 2}, {0, 0, 0, 2},   {99, 0, 2, 2},
                                     {0, 79, 2, 2}, {0, 0, 101, 1}, {0, 0, 1, INT64_MAX}};
    for (size_t i = 0; i < sizeof box / sizeof *box; i++)
        assert_int_equal(
            sq_product_block(product, 0, box[i][0], box[i][1], box[i][2], box[i][3], block),
            SQ_ERR_USAGE);
    assert_int_equal(sq_product_block(product, 1, 0, 0, 1, 1, block), SQ_ERR_USAGE);
    assert_int_equal(sq_product_block(product, 0, 98, 78, 2, 2, block), SQ_OK);
    sq_product_destroy(product);
}

static void allocation_failures(void **state)
{
    (void)state;
    uint64_t held = sq_mem_held();
    int failures = 0;
    for (int after = 0; after < 100; after++) {
        sq_product *product = NULL;
        void *data = NULL;
        size_t size;
        uint64_t rows;
        float block[8] = {0};
        int32_t a = 1;
        double b = 2;
        const void *column[] = {&a, &b};
        sq_mem_fail_after(after);
        sq_status rc = sq_product_create(&description, &product);
        if (rc == SQ_OK)
            rc = sq_product_rows(product, 0, 1, column);
        if (rc == SQ_OK)
            rc = sq_product_block(product, 0, 0, 0, 2, 2, block);
        if (rc == SQ_OK)
            rc = sq_product_pack(product, &data, &size, &rows);
        sq_mem_fail_after(-1);
        sq_free(data);
        sq_product_destroy(product);
        assert_int_equal(sq_mem_held(), held);
        if (rc == SQ_OK)
            break;
        failures++;
        assert_int_equal(rc, SQ_ERR_NOMEM);
    }
    assert_in_range(failures, 4, 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_registered_once),
        cmocka_unit_test(products_come_back_at_a_barrier),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
