/* Every allocation fails once: the error is reported as such, nothing leaks, nothing is left half
 * done. */
#include "cm.h"

#include <unistd.h>

#include "base/mem.h"
#include "scratch.h"
#include "store/ledger.h"
#include "store/shard.h"
#include "store/table.h"
#include "store/tile_index.h"

static const sq_column columns[] = {{"x", SQ_F64, "", "", "", 0}, {"y", SQ_U8, "", "", "", 0}};
static const sq_schema schema = {.name = "t", .count = 2, .column = columns};
static const sq_schema *const schemas[] = {&schema};

static int round_number; /* a new name for each attempt: segments are never written again */

static sq_status shard_round(void)
{
    char name[24];
    unsigned char payload[100] = {1};
    sq_shard *shard = NULL;
    sq_record record = {.patch = 4}, back;
    sq_record_place place;
    void *data = NULL;
    size_t size;
    uint64_t good, total;
    sq_status rc, closed;
    snprintf(name, sizeof name, "n%d", round_number++);
    SQ_TRY(sq_shard_create(scratch_folder, name, 10, &shard));
    for (int i = 0; i < 3; i++)
        SQ_TRY(sq_shard_append(shard, &record, payload, sizeof payload, &place));
    SQ_TRY(sq_shard_flush(shard));
    SQ_TRY(sq_shard_read(scratch_folder, &place, &back, &data, &size));
    SQ_TRY(sq_shard_scan(scratch_folder, place.segment, NULL, NULL, &good, &total));
cleanup:
    sq_free(data);
    closed = sq_shard_close(shard);
    return rc == SQ_OK ? closed : rc;
}

static sq_status ledger_round(void)
{
    sq_ledger *ledger = NULL;
    sq_event event = {.kind = SQ_EVENT_NOTE};
    sq_status rc, closed;
    SQ_TRY(sq_ledger_open(scratch("ledger"), NULL, NULL, &ledger));
    SQ_TRY(sq_ledger_append(ledger, &event));
    SQ_TRY(sq_ledger_flush(ledger));
    SQ_TRY(sq_ledger_replay(scratch("ledger"), NULL, NULL, NULL));
cleanup:
    closed = sq_ledger_close(ledger);
    return rc == SQ_OK ? closed : rc;
}

static sq_status table_round(void)
{
    sq_table *table = NULL;
    sq_payload payload = {0};
    void *data = NULL;
    size_t size;
    double x = 1;
    uint8_t y = 2;
    sq_status rc;
    SQ_TRY(sq_table_create(&schema, &table));
    for (int i = 0; i < 100; i++)
        SQ_TRY(sq_table_append(table, 1, (const void *const[]){&x, &y}));
    SQ_TRY(sq_payload_pack((const sq_table *const *)&table, 1, NULL, 0, NULL, 0, &data, &size));
    SQ_TRY(sq_payload_unpack(data, size, schemas, 1, NULL, 0, &payload));
cleanup:
    sq_payload_clear(&payload);
    sq_free(data);
    sq_table_destroy(table);
    return rc;
}

static sq_status add_to(void *user, const sq_tile *tile)
{
    return sq_tile_list_add(user, tile);
}

static sq_status index_round(void)
{
    static sq_tile tile;
    static char cards[] = "CRVAL1  = 1";
    static char psf[] = "/psf";
    sq_tile_list *list = NULL, *back = NULL;
    sq_tile got = {.nband = 0};
    sq_status rc;
    strcpy(tile.name, "one");
    tile.psf.path = psf;
    tile.nband = 1;
    tile.band[0].wcs_header = cards;
    SQ_TRY(sq_tile_list_create(&list));
    SQ_TRY(sq_tile_list_add(list, &tile));
    SQ_TRY(sq_tile_list_finish(list));
    SQ_TRY(sq_tile_index_write(scratch("index.h5"), (const sq_tile_list *const *)&list, 1));
    SQ_TRY(sq_tile_list_create(&back));
    SQ_TRY(sq_tile_index_read(scratch("index.h5"), add_to, back));
    SQ_TRY(sq_tile_list_finish(back));
    SQ_TRY(sq_tile_list_get(back, 0, &got));
cleanup:
    sq_tile_clear(&got);
    sq_tile_list_destroy(list);
    sq_tile_list_destroy(back);
    return rc;
}

static void sweep(sq_status (*round)(void), int least)
{
    int n = 0;
    uint64_t held = sq_mem_held();
    for (;; n++) {
        sq_mem_fail_after(n);
        sq_status rc = round();
        sq_mem_fail_after(-1);
        assert_int_equal(sq_mem_held(), held);
        if (rc == SQ_OK)
            break;
        assert_int_equal(rc, SQ_ERR_NOMEM);
        assert_true(n < 1000);
    }
    assert_true(n >= least);
    ok(round());
}

static void shards(void **state)
{
    (void)state;
    sweep(shard_round, 4);
}

static void ledgers(void **state)
{
    (void)state;
    sweep(ledger_round, 4);
}

static void tables(void **state)
{
    (void)state;
    sweep(table_round, 6);
}

static void indexes(void **state)
{
    (void)state;
    sweep(index_round, 30);
    assert_int_equal(access(scratch("index.h5.partial"), F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(shards, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(ledgers, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(tables, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(indexes, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
