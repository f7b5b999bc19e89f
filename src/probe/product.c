#include "probe/product.h"

#include <string.h>

#include "base/mem.h"

struct sq_product {
    const sq_probe_description *description;
    sq_table *table[SQ_MAX_TABLES];
    sq_block *block;
    size_t blocks, capacity;
    double seconds[SQ_CLOCK_COUNT];
};

sq_status sq_product_create(const sq_probe_description *description, sq_product **out)
{
    sq_status rc = SQ_OK;
    sq_product *product = NULL;
    SQ_TRY(SQ_ALLOC(product, 1, "product"));
    product->description = description;
    for (int t = 0; t < description->ntable; t++)
        SQ_TRY(sq_table_create(description->table[t], &product->table[t]));
    *out = product;
    product = NULL;
cleanup:
    sq_product_destroy(product);
    return rc;
}

void sq_product_reset(sq_product *product)
{
    for (int t = 0; t < product->description->ntable; t++)
        sq_table_clear(product->table[t]);
    for (size_t i = 0; i < product->blocks; i++)
        sq_free((void *)(uintptr_t)product->block[i].data);
    product->blocks = 0;
    memset(product->seconds, 0, sizeof product->seconds);
}

void sq_product_destroy(sq_product *product)
{
    if (!product)
        return;
    for (size_t i = 0; i < product->blocks; i++)
        sq_free((void *)(uintptr_t)product->block[i].data);
    for (int t = 0; t < SQ_MAX_TABLES; t++)
        sq_table_destroy(product->table[t]);
    sq_free(product->block);
    sq_free(product);
}

sq_status sq_product_rows(sq_product *product, int table, int64_t n, const void *const *column)
{
    if (table < 0 || table >= product->description->ntable || n < 0)
        return sq_fail(SQ_ERR_USAGE, "product: %lld rows for table %d", (long long)n, table);
    return n ? sq_table_append(product->table[table], n, column) : SQ_OK;
}

static sq_status check_block(const sq_probe_description *d, int map, int64_t x0, int64_t y0,
                             int64_t nx, int64_t ny)
{
    if (map < 0 || map >= d->nmap)
        return sq_fail(SQ_ERR_USAGE, "product: there is no map %d", map);
    const sq_map_schema *m = d->map[map];
    if (x0 < 0 || y0 < 0 || nx < 1 || ny < 1 || x0 > m->nx - nx || y0 > m->ny - ny)
        return sq_fail(SQ_ERR_USAGE, "product: block %lld+%lld, %lld+%lld is outside map %s",
                       (long long)x0, (long long)nx, (long long)y0, (long long)ny, m->name);
    return SQ_OK;
}

sq_status sq_product_block(sq_product *product, int map, int64_t x0, int64_t y0, int64_t nx,
                           int64_t ny, const void *data)
{
    sq_status rc = SQ_OK;
    char *copy = NULL;
    SQ_TRY(check_block(product->description, map, x0, y0, nx, ny));
    const sq_map_schema *m = product->description->map[map];
    size_t pixel = (size_t)sq_dtype_size(m->type) * (size_t)m->planes;
    size_t pixels = (size_t)nx * (size_t)ny;
    SQ_TRY(sq_alloc(&copy, pixels, pixel, "map block"));
    memcpy(copy, data, pixels * pixel);
    SQ_TRY(SQ_GROW(product->block, product->capacity, product->blocks + 1, "map blocks"));
    product->block[product->blocks++] = (sq_block){map, x0, y0, nx, ny, copy};
    return SQ_OK;
cleanup:
    sq_free(copy);
    return rc;
}

void sq_product_clock(sq_product *product, sq_probe_clock clock, double seconds)
{
    if (clock >= 0 && clock < SQ_CLOCK_COUNT)
        product->seconds[clock] += seconds;
}

double sq_product_seconds(const sq_product *product, sq_probe_clock clock)
{
    return product->seconds[clock];
}

sq_status sq_product_pack(const sq_product *product, void **data, size_t *size, uint64_t *rows)
{
    const sq_probe_description *d = product->description;
    *rows = 0;
    for (int t = 0; t < d->ntable; t++)
        *rows += (uint64_t)sq_table_rows(product->table[t]);
    return sq_payload_pack((const sq_table *const *)product->table, d->ntable, d->map, d->nmap,
                           product->block, (int)product->blocks, data, size);
}

sq_status sq_product_count(const sq_product *product, const void *data, size_t size,
                           uint64_t *rows)
{
    const sq_probe_description *d = product->description;
    sq_payload payload;
    sq_status rc = sq_payload_unpack(data, size, d->table, d->ntable, d->map, d->nmap, &payload);
    if (rc != SQ_OK)
        return rc;
    *rows = 0;
    for (int t = 0; t < d->ntable; t++)
        *rows += (uint64_t)payload.table[t].rows;
    sq_payload_clear(&payload);
    return SQ_OK;
}

struct sq_phase_products {
    const sq_probe_description *description;
    const char *shards;
    const sq_task *task;
    const sq_record_place *place;
    int64_t count, next;
    void *data;
    sq_payload payload;
};

sq_status sq_phase_products_create(const sq_probe_description *description, const char *shards,
                                   const sq_task *task, const sq_record_place *place, int64_t count,
                                   sq_phase_products **out)
{
    sq_status rc = SQ_ALLOC(*out, 1, "phase products");
    if (rc == SQ_OK)
        **out = (sq_phase_products){.description = description,
                                    .shards = shards,
                                    .task = task,
                                    .place = place,
                                    .count = count};
    return rc;
}

static void clear_record(sq_phase_products *p)
{
    sq_payload_clear(&p->payload);
    sq_free(p->data);
    p->data = NULL;
}

sq_status sq_phase_products_next(sq_phase_products *p, sq_product_view *view, int *more)
{
    sq_status rc = SQ_OK;
    const sq_probe_description *d = p->description;
    sq_record record;
    size_t size;
    clear_record(p);
    *more = p->next < p->count;
    if (!*more)
        return SQ_OK;
    const sq_task *task = &p->task[p->next];
    SQ_TRY(sq_shard_read(p->shards, &p->place[p->next], &record, &p->data, &size));
    if (record.patch != task->patch || record.phase != (uint32_t)task->phase ||
        record.realisation != task->realisation) {
        rc = sq_fail(SQ_ERR_CORRUPT, "%s/%s: offset %llu holds another task than the ledger says",
                     p->shards, p->place[p->next].segment,
                     (unsigned long long)p->place[p->next].offset);
        goto cleanup;
    }
    SQ_TRY(sq_payload_unpack(p->data, size, d->table, d->ntable, d->map, d->nmap, &p->payload));
    *view = (sq_product_view){
        .task = *task, .ntable = d->ntable, .nblock = p->payload.nblock, .block = p->payload.block};
    for (int t = 0; t < d->ntable; t++) {
        view->rows[t] = p->payload.table[t].rows;
        view->value[t] = p->payload.table[t].column;
    }
    p->next++;
cleanup:
    return rc;
}

void sq_phase_products_destroy(sq_phase_products *products)
{
    if (!products)
        return;
    clear_record(products);
    sq_free(products);
}
