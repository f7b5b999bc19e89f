#include "fits/tile_list.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "base/mem.h"

enum {
    BLOCK = 16,      /* tiles packed together: neighbours have much in common */
    PIECE = 1 << 20, /* bytes, or one block where that is larger */
    LEVEL = 6,       /* of zlib */
    KIND = 0x7153514c
};

/* What is not packed. */
typedef struct entry {
    double corner_ra[4], corner_dec[4];
    int64_t nx, ny;
    uint64_t name; /* where it starts among the names */
} entry;

/* Where a block lies. */
typedef struct place {
    uint32_t piece, packed; /* bytes */
    uint64_t at, raw;       /* bytes unpacked */
} place;

/* The first piece of a list's memory: this, the entries, the places of the blocks, the names. The
 * others hold blocks. */
typedef struct head {
    uint64_t kind, tiles, blocks, names; /* bytes of names */
} head;

typedef struct buffer {
    char *data;
    size_t size, capacity;
} buffer;

/* The block that was unpacked last. */
typedef struct cache {
    pthread_mutex_t lock;
    buffer raw;
    int64_t block; /* -1: none */
} cache;

struct sq_tile_list {
    buffer *piece; /* [0] is made when the list is finished */
    size_t pieces, capacity;
    /* While it is made. */
    buffer made_entry, made_place, made_name;
    buffer raw, packed; /* records of the block that is being filled; scratch */
    int64_t tiles;
    /* Finished. */
    const entry *entry;
    const place *place;
    const char *name;
    cache *cache;
};

/* ---- Records: a tile as bytes ---- */

static sq_status put(buffer *b, const void *data, size_t size)
{
    sq_status rc = SQ_GROW(b->data, b->capacity, b->size + size, "tiles");
    if (rc != SQ_OK)
        return rc;
    if (size)
        memcpy(b->data + b->size, data, size);
    b->size += size;
    return SQ_OK;
}

/* NULL is told from "". */
static sq_status put_text(buffer *b, const char *text)
{
    uint32_t size = text ? (uint32_t)strlen(text) + 1 : 0;
    sq_status rc = put(b, &size, sizeof size);
    return rc == SQ_OK ? put(b, text, size) : rc;
}

static sq_status put_file(buffer *b, const sq_file_identity *file)
{
    sq_status rc = SQ_OK;
    SQ_TRY(put_text(b, file->path));
    SQ_TRY(put(b, &file->size, sizeof file->size));
    SQ_TRY(put(b, &file->mtime, sizeof file->mtime));
    SQ_TRY(put(b, file->checksum, sizeof file->checksum));
    SQ_TRY(put(b, file->datasum, sizeof file->datasum));
cleanup:
    return rc;
}

static sq_status put_band(buffer *b, const sq_tile_band *band)
{
    sq_status rc = SQ_OK;
    int64_t side[2] = {band->nx, band->ny};
    SQ_TRY(put(b, band->name, sizeof band->name));
    SQ_TRY(put(b, side, sizeof side));
    SQ_TRY(put_file(b, &band->image));
    SQ_TRY(put_file(b, &band->mask));
    SQ_TRY(put_text(b, band->wcs_header));
cleanup:
    return rc;
}

static sq_status put_tile(buffer *b, const sq_tile *tile)
{
    sq_status rc = SQ_OK;
    int32_t shape[3] = {(int32_t)tile->format, tile->nband, tile->reference};
    SQ_TRY(put(b, shape, sizeof shape));
    SQ_TRY(put_file(b, &tile->psf));
    SQ_TRY(put_file(b, &tile->calibration));
    for (int k = 0; k < tile->nband; k++)
        SQ_TRY(put_band(b, &tile->band[k]));
cleanup:
    return rc;
}

typedef struct reader {
    const char *at, *end;
} reader;

static sq_status get(reader *r, void *out, size_t size)
{
    if ((size_t)(r->end - r->at) < size)
        return sq_fail(SQ_ERR_CORRUPT, "tiles: a record is cut");
    memcpy(out, r->at, size);
    r->at += size;
    return SQ_OK;
}

static sq_status get_text(reader *r, char **out)
{
    sq_status rc = SQ_OK;
    uint32_t size = 0;
    SQ_TRY(get(r, &size, sizeof size));
    if (!size)
        return SQ_OK;
    if ((size_t)(r->end - r->at) < size || r->at[size - 1])
        return sq_fail(SQ_ERR_CORRUPT, "tiles: a record is cut");
    SQ_TRY(sq_strdup(out, r->at));
    r->at += size;
cleanup:
    return rc;
}

static sq_status get_file(reader *r, sq_file_identity *file)
{
    sq_status rc = SQ_OK;
    SQ_TRY(get_text(r, &file->path));
    SQ_TRY(get(r, &file->size, sizeof file->size));
    SQ_TRY(get(r, &file->mtime, sizeof file->mtime));
    SQ_TRY(get(r, file->checksum, sizeof file->checksum));
    SQ_TRY(get(r, file->datasum, sizeof file->datasum));
cleanup:
    return rc;
}

static sq_status get_band(reader *r, sq_tile_band *band)
{
    sq_status rc = SQ_OK;
    int64_t side[2];
    SQ_TRY(get(r, band->name, sizeof band->name));
    SQ_TRY(get(r, side, sizeof side));
    band->nx = side[0];
    band->ny = side[1];
    SQ_TRY(get_file(r, &band->image));
    SQ_TRY(get_file(r, &band->mask));
    SQ_TRY(get_text(r, &band->wcs_header));
cleanup:
    return rc;
}

static sq_status get_tile(reader *r, sq_tile *tile)
{
    sq_status rc = SQ_OK;
    int32_t shape[3];
    SQ_TRY(get(r, shape, sizeof shape));
    if (shape[1] < 0 || shape[1] > SQ_MAX_BANDS)
        return sq_fail(SQ_ERR_CORRUPT, "tiles: a tile of %d bands", shape[1]);
    tile->format = (sq_tile_format)shape[0];
    tile->nband = shape[1];
    tile->reference = shape[2];
    SQ_TRY(get_file(r, &tile->psf));
    SQ_TRY(get_file(r, &tile->calibration));
    for (int k = 0; k < tile->nband; k++)
        SQ_TRY(get_band(r, &tile->band[k]));
cleanup:
    return rc;
}

/* ---- Making a list ---- */

static void clear_made(sq_tile_list *l)
{
    buffer *all[] = {&l->made_entry, &l->made_place, &l->made_name, &l->raw, &l->packed};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        sq_free(all[i]->data);
        *all[i] = (buffer){.size = 0};
    }
}

static void clear_pieces(buffer *piece, size_t pieces)
{
    for (size_t i = 0; i < pieces; i++)
        sq_free(piece[i].data);
    sq_free(piece);
}

sq_status sq_tile_list_create(sq_tile_list **out)
{
    sq_tile_list *l = NULL;
    sq_status rc = SQ_OK;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(l, 1, "tiles"));
    SQ_TRY(SQ_GROW(l->piece, l->capacity, 1, "tiles"));
    l->pieces = 1;
    *out = l;
    l = NULL;
cleanup:
    sq_tile_list_destroy(l);
    return rc;
}

void sq_tile_list_destroy(sq_tile_list *l)
{
    if (!l)
        return;
    clear_made(l);
    clear_pieces(l->piece, l->pieces);
    if (l->cache) {
        pthread_mutex_destroy(&l->cache->lock);
        sq_free(l->cache->raw.data);
    }
    sq_free(l->cache);
    sq_free(l);
}

/* The piece that a block of so many bytes goes to: pieces are never moved, so that a long list is
 * not held twice while it grows. */
static sq_status find_piece(sq_tile_list *l, size_t size, buffer **out)
{
    sq_status rc = SQ_OK;
    buffer *last = &l->piece[l->pieces - 1];
    if (l->pieces == 1 || last->size + size > last->capacity) {
        buffer piece = {.capacity = size > PIECE ? size : PIECE};
        SQ_TRY(SQ_GROW(l->piece, l->capacity, l->pieces + 1, "tiles"));
        SQ_TRY(SQ_ALLOC(piece.data, piece.capacity, "tiles"));
        l->piece[l->pieces++] = piece;
        last = &l->piece[l->pieces - 1];
    }
    *out = last;
cleanup:
    return rc;
}

/* Pack the records gathered so far. */
static sq_status pack(sq_tile_list *l)
{
    sq_status rc = SQ_OK;
    buffer *piece;
    uLongf size = compressBound(l->raw.size);
    SQ_TRY(SQ_GROW(l->packed.data, l->packed.capacity, size, "tiles"));
    if (compress2((Bytef *)l->packed.data, &size, (const Bytef *)l->raw.data, l->raw.size, LEVEL) !=
        Z_OK)
        return sq_fail(SQ_ERR_NOMEM, "tiles: no memory to pack them");
    SQ_TRY(find_piece(l, size, &piece));
    place p = {(uint32_t)(piece - l->piece), (uint32_t)size, piece->size, l->raw.size};
    SQ_TRY(put(&l->made_place, &p, sizeof p));
    memcpy(piece->data + piece->size, l->packed.data, size);
    piece->size += size;
    l->raw.size = 0;
cleanup:
    return rc;
}

static sq_status add(sq_tile_list *l, const sq_tile *tile)
{
    sq_status rc = SQ_OK;
    size_t before = l->raw.size;
    uint64_t size = 0;
    entry e = {.name = l->made_name.size};
    memcpy(e.corner_ra, tile->corner_ra, sizeof e.corner_ra);
    memcpy(e.corner_dec, tile->corner_dec, sizeof e.corner_dec);
    if (tile->nband) {
        e.nx = tile->band[tile->reference].nx;
        e.ny = tile->band[tile->reference].ny;
    }
    SQ_TRY(put(&l->made_entry, &e, sizeof e));
    SQ_TRY(put(&l->made_name, tile->name, strnlen(tile->name, SQ_NAME_MAX - 1)));
    SQ_TRY(put(&l->made_name, "", 1));
    SQ_TRY(put(&l->raw, &size, sizeof size));
    SQ_TRY(put_tile(&l->raw, tile));
    size = l->raw.size - before - sizeof size;
    memcpy(l->raw.data + before, &size, sizeof size);
cleanup:
    return rc;
}

sq_status sq_tile_list_add(sq_tile_list *l, const sq_tile *tile)
{
    sq_status rc = SQ_OK;
    if (tile->nband < 0 || tile->nband > SQ_MAX_BANDS || tile->reference < 0 ||
        tile->reference >= (tile->nband ? tile->nband : 1))
        return sq_fail(SQ_ERR_USAGE, "tile %s: impossible bands", tile->name);
    SQ_TRY(add(l, tile));
    if (++l->tiles % BLOCK == 0)
        SQ_TRY(pack(l));
cleanup:
    return rc;
}

/* Point into the first piece. 0 when it is none, or a block lies outside its piece. */
static int lay_out(sq_tile_list *l)
{
    const head *h = (const void *)l->piece->data;
    uint64_t left = l->piece->size - sizeof *h;
    if (l->piece->size < sizeof *h || h->kind != KIND ||
        h->blocks != (h->tiles + BLOCK - 1) / BLOCK || h->tiles > left / sizeof *l->entry ||
        h->blocks > left / sizeof *l->place || h->names > left ||
        h->tiles * sizeof *l->entry + h->blocks * sizeof *l->place + h->names != left)
        return 0;
    l->entry = (const void *)(h + 1);
    l->place = (const void *)(l->entry + h->tiles);
    l->name = (const char *)(l->place + h->blocks);
    l->tiles = (int64_t)h->tiles;
    if (h->names && l->name[h->names - 1])
        return 0;
    for (uint64_t t = 0; t < h->tiles; t++) {
        if (l->entry[t].name >= h->names)
            return 0;
    }
    for (uint64_t b = 0; b < h->blocks; b++) {
        const place *p = &l->place[b];
        /* Deflate cannot pack more than about a thousandfold. */
        if (p->piece < 1 || p->piece >= l->pieces || p->packed > l->piece[p->piece].size ||
            p->at > l->piece[p->piece].size - p->packed || p->raw / 1100 > p->packed)
            return 0;
    }
    return 1;
}

static sq_status set_up(sq_tile_list *l)
{
    if (!lay_out(l))
        return sq_fail(SQ_ERR_CORRUPT, "tiles: not the memory of a list");
    sq_status rc = SQ_ALLOC(l->cache, 1, "tiles");
    if (rc != SQ_OK)
        return rc;
    pthread_mutex_init(&l->cache->lock, NULL);
    l->cache->block = -1;
    return SQ_OK;
}

sq_status sq_tile_list_finish(sq_tile_list *l)
{
    sq_status rc = SQ_OK;
    if (l->raw.size)
        SQ_TRY(pack(l));
    head h = {KIND, (uint64_t)l->tiles, l->made_place.size / sizeof(place), l->made_name.size};
    const buffer *part[] = {&l->made_entry, &l->made_place, &l->made_name};
    buffer first = {.size = 0};
    first.capacity = sizeof h + l->made_entry.size + l->made_place.size + l->made_name.size;
    SQ_TRY(SQ_ALLOC(first.data, first.capacity, "tiles"));
    l->piece[0] = first;
    SQ_TRY(put(&l->piece[0], &h, sizeof h));
    for (int i = 0; i < 3; i++)
        SQ_TRY(put(&l->piece[0], part[i]->data, part[i]->size));
    clear_made(l);
    SQ_TRY(set_up(l));
cleanup:
    return rc;
}

int sq_tile_list_pieces(const sq_tile_list *l)
{
    return (int)l->pieces;
}

void sq_tile_list_piece(const sq_tile_list *l, int i, const void **data, size_t *size)
{
    *data = l->piece[i].data;
    *size = l->piece[i].size;
}

sq_status sq_tile_list_put_piece(sq_tile_list *l, int i, void *data, size_t size)
{
    sq_status rc = SQ_GROW(l->piece, l->capacity, (size_t)i + 1, "tiles");
    if (rc != SQ_OK) {
        sq_free(data);
        return rc;
    }
    l->piece[i] = (buffer){data, size, size};
    l->pieces = (size_t)i + 1;
    return SQ_OK;
}

sq_status sq_tile_list_open(sq_tile_list *l)
{
    return set_up(l);
}

/* ---- Reading a list ---- */

int64_t sq_tile_list_count(const sq_tile_list *l)
{
    return l->tiles;
}

const char *sq_tile_list_name(const sq_tile_list *l, int64_t t)
{
    return l->name + l->entry[t].name;
}

void sq_tile_list_shape(const sq_tile_list *l, int64_t t, int64_t *nx, int64_t *ny)
{
    *nx = l->entry[t].nx;
    *ny = l->entry[t].ny;
}

void sq_tile_list_corners(const sq_tile_list *l, int64_t t, double ra[4], double dec[4])
{
    memcpy(ra, l->entry[t].corner_ra, sizeof l->entry[t].corner_ra);
    memcpy(dec, l->entry[t].corner_dec, sizeof l->entry[t].corner_dec);
}

/* Unpack a block into the cache, which is locked. */
static sq_status unpack(const sq_tile_list *l, int64_t block)
{
    cache *c = l->cache;
    const place *p = &l->place[block];
    if (c->block == block)
        return SQ_OK;
    c->block = -1;
    sq_status rc = SQ_GROW(c->raw.data, c->raw.capacity, p->raw, "tiles");
    if (rc != SQ_OK)
        return rc;
    uLongf size = p->raw;
    int code = uncompress((Bytef *)c->raw.data, &size,
                          (const Bytef *)l->piece[p->piece].data + p->at, p->packed);
    if (code == Z_MEM_ERROR)
        return sq_fail(SQ_ERR_NOMEM, "tiles: no memory to unpack them");
    if (code != Z_OK || size != p->raw)
        return sq_fail(SQ_ERR_CORRUPT, "tiles: a block is damaged");
    c->raw.size = p->raw;
    c->block = block;
    return SQ_OK;
}

/* The record of a tile within its block. */
static sq_status find_record(const buffer *raw, int64_t number, reader *out)
{
    uint64_t size = 0;
    reader r = {raw->data, raw->data + raw->size};
    for (int64_t k = 0;; k++, r.at += size) {
        sq_status rc = get(&r, &size, sizeof size);
        if (rc != SQ_OK)
            return rc;
        if (size > (uint64_t)(r.end - r.at))
            return sq_fail(SQ_ERR_CORRUPT, "tiles: a record is cut");
        if (k == number)
            break;
    }
    *out = (reader){r.at, r.at + size};
    return SQ_OK;
}

sq_status sq_tile_list_get(const sq_tile_list *l, int64_t t, sq_tile *out)
{
    sq_status rc = SQ_OK;
    reader r = {NULL, NULL};
    *out = (sq_tile){.nband = 0};
    pthread_mutex_lock(&l->cache->lock);
    SQ_TRY(unpack(l, t / BLOCK));
    SQ_TRY(find_record(&l->cache->raw, t % BLOCK, &r));
    SQ_TRY(get_tile(&r, out));
    snprintf(out->name, sizeof out->name, "%s", sq_tile_list_name(l, t));
    sq_tile_list_corners(l, t, out->corner_ra, out->corner_dec);
cleanup:
    pthread_mutex_unlock(&l->cache->lock);
    if (rc != SQ_OK)
        sq_tile_clear(out);
    return rc;
}
