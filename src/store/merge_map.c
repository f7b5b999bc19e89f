/* One map: every rank stitches tiles, as large as its memory allows, from all blocks that touch
 * them, in the order of the tasks. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/hdf5_internal.h"
#include "store/merge_internal.h"

enum { CHUNK = 256 };

typedef struct stitch {
    merge *m;
    int k;
    const sq_map_schema *map;
    size_t width;
    int64_t height, breadth; /* of a tile */
    int64_t across, tiles;   /* tiles in a row, and in all: numbered row by row */
    merge_block *block;      /* those that touch this rank's tiles */
    size_t nblock;
    unsigned char *pixels; /* [planes][height][breadth] */
} stitch;

static int by_order(const void *a, const void *b)
{
    const merge_block *p = a, *q = b;
    if (p->number != q->number)
        return p->number < q->number ? -1 : 1;
    return (p->ordinal > q->ordinal) - (p->ordinal < q->ordinal);
}

/* Tiles go to the ranks in turn. */
static int touches(const stitch *s, const merge_block *b, int rank)
{
    if (b->map != s->k)
        return 0;
    for (int64_t y = b->y0 / s->height; y <= (b->y0 + b->ny - 1) / s->height; y++) {
        for (int64_t x = b->x0 / s->breadth; x <= (b->x0 + b->nx - 1) / s->breadth; x++) {
            if ((y * s->across + x) % s->m->size == rank)
                return 1;
        }
    }
    return 0;
}

/* Every rank learns of the blocks that touch its tiles. */
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

/* A rectangle of the map, the ends excluded. */
typedef struct box {
    int64_t x0, x1, y0, y1;
} box;

static box common(box a, box b)
{
    return (box){a.x0 > b.x0 ? a.x0 : b.x0, a.x1 < b.x1 ? a.x1 : b.x1, a.y0 > b.y0 ? a.y0 : b.y0,
                 a.y1 < b.y1 ? a.y1 : b.y1};
}

static box tile_box(const stitch *s, int64_t tile)
{
    int64_t x = tile % s->across * s->breadth, y = tile / s->across * s->height;
    return common((box){x, x + s->breadth, y, y + s->height}, (box){0, s->map->nx, 0, s->map->ny});
}

/* Local. */
static sq_status stitch_tile(stitch *s, box t)
{
    int64_t rows = t.y1 - t.y0, nx = t.x1 - t.x0;
    blank(s, s->map->planes * rows * nx);
    for (size_t i = 0; i < s->nblock; i++) {
        const merge_block *b = &s->block[i];
        sq_record record;
        sq_payload payload;
        box c = common(t, (box){b->x0, b->x0 + b->nx, b->y0, b->y0 + b->ny});
        if (c.x0 >= c.x1 || c.y0 >= c.y1)
            continue;
        sq_status rc = merge_load(s->m, &b->place, &record, &payload);
        if (rc != SQ_OK)
            return rc;
        const unsigned char *data = payload.block[b->ordinal].data;
        for (int p = 0; p < s->map->planes; p++) {
            for (int64_t y = c.y0; y < c.y1; y++) {
                int64_t from = ((int64_t)p * b->ny + y - b->y0) * b->nx + c.x0 - b->x0;
                int64_t to = ((int64_t)p * rows + y - t.y0) * nx + c.x0 - t.x0;
                paste(s->pixels + (size_t)to * s->width, data + (size_t)from * s->width,
                      c.x1 - c.x0, s->width);
            }
        }
        sq_payload_clear(&payload);
    }
    return SQ_OK;
}

static sq_status write_tiles(stitch *s, const merge_dataset *set, hid_t id)
{
    merge *m = s->m;
    sq_status rc = SQ_OK;
    for (int64_t round = 0; round * m->size < s->tiles; round++) {
        int64_t tile = round * m->size + m->rank;
        box t = tile < s->tiles ? tile_box(s, tile) : (box){0, 0, 0, 0};
        hsize_t start[3] = {0, (hsize_t)t.y0, (hsize_t)t.x0};
        hsize_t count[3] = {(hsize_t)s->map->planes, (hsize_t)(t.y1 - t.y0),
                            (hsize_t)(t.x1 - t.x0)};
        if (tile >= s->tiles)
            memset(count, 0, sizeof count);
        SQ_TRY_ALL(m->comm, tile < s->tiles ? stitch_tile(s, t) : SQ_OK);
        SQ_TRY_ALL(m->comm, merge_dataset_write(m, id, set, start, count, s->pixels));
        merge_flush_wake(m);
    }
cleanup:
    return rc;
}

static int64_t whole_chunks(int64_t n)
{
    return n > CHUNK ? n - n % CHUNK : n < 1 ? 1 : n;
}

/* Bands of whole rows where memory allows bands of some chunks: blocks that lie across a border of
 * tiles are read twice. Else squares, whose borders are shorter. */
static void choose_tiles(stitch *s)
{
    const sq_map_schema *map = s->map;
    int64_t pixels = (int64_t)(s->m->limit / 2 / ((uint64_t)map->planes * s->width));
    int64_t rows = pixels / map->nx, side = (int64_t)sqrt((double)pixels);
    int64_t fair = (map->ny + s->m->size - 1) / s->m->size;
    if (rows >= 2 * CHUNK || rows >= fair) {
        s->breadth = map->nx;
        s->height = whole_chunks(rows < fair ? rows : fair);
    } else {
        s->breadth = whole_chunks(side < map->nx ? side : map->nx);
        s->height = whole_chunks(side < map->ny ? side : map->ny);
    }
    s->across = (map->nx + s->breadth - 1) / s->breadth;
    s->tiles = s->across * ((map->ny + s->height - 1) / s->height);
}

static hsize_t chunk_side(int64_t n)
{
    return n < CHUNK ? (hsize_t)n : CHUNK;
}

/* The names of the planes, in their order. */
static sq_status name_planes(const merge *m, const sq_map_schema *map, hid_t id)
{
    char text[1024] = "";
    size_t used = 0;
    for (int p = 0; map->plane && p < map->planes && used < sizeof text; p++)
        used +=
            (size_t)snprintf(text + used, sizeof text - used, "%s%s", p ? "," : "", map->plane[p]);
    return map->plane ? sq_hdf5_attribute(id, m->partial, "planes", text) : SQ_OK;
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
    choose_tiles(&s);
    SQ_TRY(share_blocks(&s));
    size_t pixels = (size_t)(map->planes * s.height * s.breadth);
    SQ_TRY_ALL(m->comm, sq_alloc(&s.pixels, pixels, s.width, "tile of a map"));
    SQ_TRY_ALL(m->comm, merge_dataset_create(m, &set, &id));
    SQ_TRY_ALL(m->comm, name_planes(m, map, id));
    SQ_TRY(write_tiles(&s, &set, id));
cleanup:
    if (id >= 0)
        H5Dclose(id);
    sq_free(s.block);
    sq_free(s.pixels);
    return rc;
}
