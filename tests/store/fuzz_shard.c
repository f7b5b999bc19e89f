/* Any bytes as a segment, and as the payload of a record. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/shard.h"
#include "store/table.h"

static const sq_column columns[] = {{"ra", SQ_F64, "deg", "", "", 0}, {"n", SQ_U8, "", "", "", 0}};
static const sq_schema schema = {.name = "t", .count = 2, .column = columns};
static const sq_map_schema map = {.name = "m", .type = SQ_F32, .planes = 2, .nx = 64, .ny = 64};

static void touch(const void *data, size_t size)
{
    volatile unsigned char sum = 0;
    for (size_t i = 0; i < size; i++)
        sum = (unsigned char)(sum + ((const unsigned char *)data)[i]);
}

static sq_status visit(void *user, const sq_record *record, const sq_record_place *place,
                       const void *payload, size_t size)
{
    (void)user;
    (void)record;
    if (place->length < size)
        abort();
    touch(payload, size);
    return SQ_OK;
}

static void unpack(const void *data, size_t size)
{
    const sq_schema *schemas[] = {&schema};
    const sq_map_schema *maps[] = {&map};
    sq_payload payload;
    if (sq_payload_unpack(data, size, schemas, 1, maps, 1, &payload) != SQ_OK)
        return;
    for (int c = 0; payload.table[0].rows && c < schema.count; c++)
        touch(payload.table[0].column[c],
              (size_t)(payload.table[0].rows * sq_dtype_size(columns[c].type)));
    for (int b = 0; b < payload.nblock; b++)
        touch(payload.block[b].data, (size_t)(payload.block[b].nx * payload.block[b].ny * 8));
    sq_payload_clear(&payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t good;
    unsigned char *copy;
    if (sq_alloc(&copy, size + 1, 1, "input") != SQ_OK)
        return 0;
    memcpy(copy, data, size);
    sq_shard_scan_bytes(copy, size, "f-000001.sqs", visit, NULL, &good);
    if (good > size)
        abort();
    unpack(copy, size);
    sq_free(copy);
    return 0;
}
