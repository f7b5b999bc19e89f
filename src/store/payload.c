/* The payload of a record: its layout is described in store/table.h. */
#include <string.h>

#include "base/mem.h"
#include "store/table.h"

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "payloads and records are used in place: this host is not little-endian"
#endif

enum { VERSION = 1 };

typedef struct head {
    char magic[4];
    uint16_t version, zero;
    uint32_t tables, blocks;
} head;

typedef struct table_head {
    uint32_t number, columns;
    uint64_t rows, schema;
} table_head;

typedef struct block_head {
    uint32_t number, type;
    int64_t x0, y0;
    uint32_t nx, ny, planes, zero;
} block_head;

_Static_assert(sizeof(head) == 16 && sizeof(table_head) == 24 && sizeof(block_head) == 40,
               "layout");

static size_t padded(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

/* Bytes of one plane set; 0 when the product overflows or is absurd. */
static size_t block_bytes(uint64_t planes, uint64_t nx, uint64_t ny, size_t width)
{
    if (planes == 0 || nx == 0 || ny == 0 || nx > UINT32_MAX || ny > UINT32_MAX ||
        nx * ny > (1ull << 40) || planes > 4096)
        return 0;
    return (size_t)(planes * nx * ny) * width;
}

static size_t table_bytes(const sq_table *table)
{
    const sq_schema *schema = sq_table_schema(table);
    size_t size = sizeof(table_head);
    for (int c = 0; c < schema->count; c++)
        size +=
            padded((size_t)sq_table_rows(table) * (size_t)sq_dtype_size(schema->column[c].type));
    return size;
}

static sq_status measure(const sq_table *const *table, int ntable, const sq_map_schema *const *map,
                         int nmap, const sq_block *block, int nblock, size_t *size)
{
    *size = sizeof(head);
    for (int t = 0; t < ntable; t++)
        *size += table[t] && sq_table_rows(table[t]) ? table_bytes(table[t]) : 0;
    for (int b = 0; b < nblock; b++) {
        const sq_block *k = &block[b];
        if (k->map < 0 || k->map >= nmap || k->nx < 1 || k->ny < 1)
            return sq_fail(SQ_ERR_USAGE, "block %d: map %d of %lld x %lld pixels", b, k->map,
                           (long long)k->nx, (long long)k->ny);
        const sq_map_schema *m = map[k->map];
        size_t bytes = block_bytes((uint64_t)m->planes, (uint64_t)k->nx, (uint64_t)k->ny,
                                   (size_t)sq_dtype_size(m->type));
        if (k->x0 < 0 || k->y0 < 0 || k->nx > m->nx - k->x0 || k->ny > m->ny - k->y0 || !bytes)
            return sq_fail(SQ_ERR_USAGE, "block %d: not inside map %s", b, m->name);
        *size += sizeof(block_head) + padded(bytes);
    }
    return SQ_OK;
}

static unsigned char *put(unsigned char *at, const void *data, size_t size)
{
    if (size)
        memcpy(at, data, size);
    return at + padded(size);
}

static unsigned char *put_table(unsigned char *at, uint32_t number, const sq_table *table)
{
    const sq_schema *schema = sq_table_schema(table);
    int64_t rows = sq_table_rows(table);
    table_head h = {number, (uint32_t)schema->count, (uint64_t)rows, sq_schema_hash(schema)};
    at = put(at, &h, sizeof h);
    for (int c = 0; c < schema->count; c++)
        at = put(at, sq_table_column(table, c),
                 (size_t)rows * (size_t)sq_dtype_size(schema->column[c].type));
    return at;
}

sq_status sq_payload_pack(const sq_table *const *table, int ntable, const sq_map_schema *const *map,
                          int nmap, const sq_block *block, int nblock, void **data, size_t *size)
{
    unsigned char *at;
    head h = {{'S', 'Q', 'P', 'L'}, VERSION, 0, 0, (uint32_t)nblock};
    sq_status rc = measure(table, ntable, map, nmap, block, nblock, size);
    if (rc == SQ_OK)
        rc = sq_alloc(data, *size, 1, "payload");
    if (rc != SQ_OK)
        return rc;
    at = (unsigned char *)*data + sizeof h;
    for (int t = 0; t < ntable; t++) {
        if (!table[t] || sq_table_rows(table[t]) == 0)
            continue;
        at = put_table(at, (uint32_t)t, table[t]);
        h.tables++;
    }
    for (int b = 0; b < nblock; b++) {
        const sq_block *k = &block[b];
        const sq_map_schema *m = map[k->map];
        block_head bh = {
            (uint32_t)k->map,    m->type, k->x0, k->y0, (uint32_t)k->nx, (uint32_t)k->ny,
            (uint32_t)m->planes, 0};
        at = put(at, &bh, sizeof bh);
        at = put(at, k->data, block_bytes(bh.planes, bh.nx, bh.ny, (size_t)sq_dtype_size(m->type)));
    }
    memcpy(*data, &h, sizeof h);
    return SQ_OK;
}

typedef struct reader {
    const unsigned char *at;
    size_t left;
} reader;

static const void *take(reader *r, size_t size)
{
    const unsigned char *at = r->at;
    if (size > r->left || padded(size) > r->left)
        return NULL;
    r->at += padded(size);
    r->left -= padded(size);
    return at;
}

static sq_status bad(const char *what)
{
    return sq_fail(SQ_ERR_CORRUPT, "payload: %s", what);
}

static sq_status get_table(reader *r, const sq_schema *const *schema, int ntable, sq_payload *out)
{
    const table_head *h = take(r, sizeof *h);
    if (!h || h->number >= (uint32_t)ntable)
        return bad("a table is cut off or has no schema");
    const sq_schema *s = schema[h->number];
    sq_payload_table *t = &out->table[h->number];
    if (h->columns != (uint32_t)s->count || h->schema != sq_schema_hash(s))
        return sq_fail(SQ_ERR_CORRUPT, "payload: table %s has another schema", s->name);
    if (h->rows > r->left || t->rows)
        return bad("a table's rows are cut off, or it comes twice");
    for (int c = 0; c < s->count; c++) {
        t->column[c] = take(r, (size_t)h->rows * (size_t)sq_dtype_size(s->column[c].type));
        if (!t->column[c])
            return bad("a column is cut off");
    }
    t->rows = (int64_t)h->rows;
    return SQ_OK;
}

static sq_status get_block(reader *r, const sq_map_schema *const *map, int nmap, sq_block *out)
{
    const block_head *h = take(r, sizeof *h);
    if (!h || h->number >= (uint32_t)nmap)
        return bad("a block is cut off or has no map");
    const sq_map_schema *m = map[h->number];
    if (h->type != (uint32_t)m->type || h->planes != (uint32_t)m->planes || h->x0 < 0 ||
        h->y0 < 0 || h->nx > m->nx - h->x0 || h->ny > m->ny - h->y0)
        return sq_fail(SQ_ERR_CORRUPT, "payload: a block does not fit map %s", m->name);
    size_t bytes = block_bytes(h->planes, h->nx, h->ny, (size_t)sq_dtype_size(m->type));
    *out = (sq_block){(int)h->number, h->x0, h->y0, h->nx, h->ny, NULL};
    out->data = bytes ? take(r, bytes) : NULL;
    return out->data ? SQ_OK : bad("a block's pixels are cut off");
}

static sq_status make_room(const sq_schema *const *schema, int ntable, uint32_t nblock,
                           sq_payload *out)
{
    sq_status rc;
    SQ_TRY(SQ_ALLOC(out->table, ntable + 1, "payload tables"));
    out->ntable = ntable;
    for (int t = 0; t < ntable; t++)
        SQ_TRY(SQ_ALLOC(out->table[t].column, schema[t]->count, "payload columns"));
    SQ_TRY(SQ_ALLOC(out->block, nblock + 1, "payload blocks"));
cleanup:
    return rc;
}

sq_status sq_payload_unpack(const void *data, size_t size, const sq_schema *const *schema,
                            int ntable, const sq_map_schema *const *map, int nmap, sq_payload *out)
{
    reader r = {data, size};
    const head *h = size >= sizeof *h ? take(&r, sizeof *h) : NULL;
    sq_status rc;
    memset(out, 0, sizeof *out);
    if (!h || memcmp(h->magic, "SQPL", 4) != 0 || h->version != VERSION)
        return bad("not a payload of version 1");
    if (h->tables > (uint32_t)ntable || h->blocks > r.left / sizeof(block_head))
        return bad("more tables or blocks than can be");
    SQ_TRY(make_room(schema, ntable, h->blocks, out));
    for (uint32_t t = 0; t < h->tables; t++)
        SQ_TRY(get_table(&r, schema, ntable, out));
    for (uint32_t b = 0; b < h->blocks; b++)
        SQ_TRY(get_block(&r, map, nmap, &out->block[b]));
    out->nblock = (int)h->blocks;
    if (r.left)
        rc = bad("bytes behind the last block");
cleanup:
    if (rc != SQ_OK)
        sq_payload_clear(out);
    return rc;
}

void sq_payload_clear(sq_payload *payload)
{
    for (int t = 0; payload->table && t < payload->ntable; t++)
        sq_free(payload->table[t].column);
    sq_free(payload->table);
    sq_free(payload->block);
    memset(payload, 0, sizeof *payload);
}
