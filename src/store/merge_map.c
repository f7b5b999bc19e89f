/* One map: every rank stitches bands of rows from all blocks that touch them, in the order of the
 * tasks. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/merge_internal.h"

enum { CHUNK = 256 };

typedef struct stitch {
    merge *m;
    int k;
    const sq_map_schema *map;
    size_t width;
    int64_t height, bands; /* rows of a band */
    merge_block *block;    /* those that touch this rank's bands */
    size_t nblock;
    unsigned char *pixels; /* [planes][height][nx] */
} stitch;

static int by_order(const void *a, const void *b)
{
    const merge_block *p = a, *q = b;
    if (p->number != q->number)
        return p->number < q->number ? -1 : 1;
    return (p->ordinal > q->ordinal) - (p->ordinal < q->ordinal);
}

static int touches(const stitch *s, const merge_block *b, int rank)
{
    int64_t first = b->y0 / s->height, last = (b->y0 + b->ny - 1) / s->height;
    int64_t next = first + ((rank - first) % s->m->size + s->m->size) % s->m->size;
    return b->map == s->k && next <= last;
}

/* Every rank learns of the blocks that touch its bands. */
static sq_status share_blocks(stitch *s)
{
    merge *m = s->m;
    size_t *offset = NULL, *size, *from, n = 0;
    merge_block *send = NULL;
    void *got = NULL;
    sq_status rc;
    SQ_TRY_ALL(m->comm, SQ_ALLOC(offset, 3 * m->size, "offsets"));
    size = offset + m->size;
    from = size + m->size;
    for (int r = 0; r < m->size; r++) {
        for (size_t b = 0; b < m->nblock; b++)
            n += (size_t)touches(s, &m->block[b], r);
    }
    SQ_TRY_ALL(m->comm, SQ_ALLOC(send, n + 1, "blocks"));
    n = 0;
    for (int r = 0; r < m->size; r++) {
        offset[r] = n * sizeof *send;
        for (size_t b = 0; b < m->nblock; b++) {
            if (touches(s, &m->block[b], r))
                send[n++] = m->block[b];
        }
        size[r] = n * sizeof *send - offset[r];
    }
    SQ_TRY(sq_comm_exchange(m->comm, send, offset, size, &got, from));
    s->block = got;
    for (int r = 0; r < m->size; r++)
        s->nblock += from[r] / sizeof *send;
    qsort(s->block, s->nblock, sizeof *s->block, by_order);
cleanup:
    sq_free(send);
    sq_free(offset);
    return rc;
}

static void paste(unsigned char *to, const unsigned char *from, int64_t n, size_t width)
{
    for (int64_t i = 0; i < n; i++, to += width, from += width) {
        float f;
        double d;
        if (width == 4)
            memcpy(&f, from, 4);
        else
            memcpy(&d, from, 8);
        if (width == 4 ? !isnan(f) : !isnan(d))
            memcpy(to, from, width);
    }
}

static void blank(stitch *s, int64_t n)
{
    if (s->width == 4) {
        for (int64_t i = 0; i < n; i++)
            ((float *)s->pixels)[i] = NAN;
    } else {
        for (int64_t i = 0; i < n; i++)
            ((double *)s->pixels)[i] = NAN;
    }
}

/* Local. The rows [y0, y1) of the map. */
static sq_status stitch_band(stitch *s, int64_t y0, int64_t y1)
{
    int64_t rows = y1 - y0, nx = s->map->nx;
    blank(s, s->map->planes * rows * nx);
    for (size_t i = 0; i < s->nblock; i++) {
        const merge_block *b = &s->block[i];
        sq_record record;
        sq_payload payload;
        int64_t low = b->y0 > y0 ? b->y0 : y0, high = b->y0 + b->ny < y1 ? b->y0 + b->ny : y1;
        if (low >= high)
            continue;
        sq_status rc = merge_load(s->m, &b->place, &record, &payload);
        if (rc != SQ_OK)
            return rc;
        const unsigned char *data = payload.block[b->ordinal].data;
        for (int p = 0; p < s->map->planes; p++) {
            for (int64_t y = low; y < high; y++) {
                int64_t from = ((int64_t)p * b->ny + y - b->y0) * b->nx;
                int64_t to = ((int64_t)p * rows + y - y0) * nx + b->x0;
                paste(s->pixels + (size_t)to * s->width, data + (size_t)from * s->width, b->nx,
                      s->width);
            }
        }
        sq_payload_clear(&payload);
    }
    return SQ_OK;
}

static sq_status write_bands(stitch *s, const merge_dataset *set, hid_t id)
{
    merge *m = s->m;
    sq_status rc = SQ_OK;
    for (int64_t round = 0; round * m->size < s->bands; round++) {
        int64_t band = round * m->size + m->rank, y0 = band * s->height, y1 = y0 + s->height;
        hsize_t start[3] = {0, (hsize_t)y0, 0};
        hsize_t count[3] = {(hsize_t)s->map->planes, 0, (hsize_t)s->map->nx};
        if (y1 > s->map->ny)
            y1 = s->map->ny;
        SQ_TRY_ALL(m->comm, y0 < y1 ? stitch_band(s, y0, y1) : SQ_OK);
        if (y0 < y1)
            count[1] = (hsize_t)(y1 - y0);
        else
            memset(count, 0, sizeof count);
        SQ_TRY_ALL(m->comm, merge_dataset_write(m, id, set, start, count, s->pixels));
        merge_start_flush(m);
    }
cleanup:
    return rc;
}

/* Bands fill the memory that is allowed, in whole chunks where they can. */
static void choose_height(stitch *s)
{
    uint64_t row = (uint64_t)s->map->planes * (uint64_t)s->map->nx * s->width;
    int64_t rows = (int64_t)(s->m->limit / 2 / row);
    int64_t fair = (s->map->ny + s->m->size - 1) / s->m->size;
    if (rows > fair)
        rows = fair;
    if (rows > CHUNK)
        rows -= rows % CHUNK;
    s->height = rows < 1 ? 1 : rows;
    s->bands = (s->map->ny + s->height - 1) / s->height;
}

static hsize_t chunk_side(int64_t n)
{
    return n < CHUNK ? (hsize_t)n : CHUNK;
}

sq_status merge_write_map(merge *m, int k)
{
    const sq_map_schema *map = m->in->map[k];
    stitch s = {.m = m, .k = k, .map = map, .width = (size_t)sq_dtype_size(map->type)};
    char name[160];
    hid_t id = -1;
    sq_status rc;
    snprintf(name, sizeof name, "maps/%s", map->name);
    merge_dataset set = {.name = name,
                         .unit = map->unit,
                         .ucd = map->ucd,
                         .description = map->description,
                         .type = map->type,
                         .rank = 3,
                         .dim = {(hsize_t)map->planes, (hsize_t)map->ny, (hsize_t)map->nx},
                         .chunk = {1, chunk_side(map->ny), chunk_side(map->nx)}};
    choose_height(&s);
    SQ_TRY(share_blocks(&s));
    size_t pixels = (size_t)(map->planes * s.height * map->nx);
    SQ_TRY_ALL(m->comm, sq_alloc(&s.pixels, pixels, s.width, "band of a map"));
    SQ_TRY_ALL(m->comm, merge_dataset_create(m, &set, &id));
    SQ_TRY(write_bands(&s, &set, id));
cleanup:
    if (id >= 0)
        H5Dclose(id);
    sq_free(s.block);
    sq_free(s.pixels);
    return rc;
}
