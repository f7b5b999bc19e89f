#include "run/index.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "run/share.h"
#include "sky/wcs.h"
#include "store/tile_index.h"

typedef struct buffer {
    char *data;
    size_t size, capacity;
} buffer;

static sq_status append(buffer *b, const void *data, size_t size)
{
    sq_status rc = SQ_GROW(b->data, b->capacity, b->size + size, "tile headers");
    if (rc != SQ_OK)
        return rc;
    if (size)
        memcpy(b->data + b->size, data, size);
    b->size += size;
    return SQ_OK;
}

/* The headers of one tile, checked as far as a run needs them. */
static sq_status read_tile(sq_tile *tile)
{
    sq_status rc = SQ_OK;
    sq_wcs *wcs = NULL;
    SQ_TRY(sq_tile_headers(tile));
    for (int b = 0; b < tile->nband; b++) {
        if (!tile->band[b].wcs_header || tile->band[b].nx < 1 || tile->band[b].ny < 1) {
            rc = sq_fail(SQ_ERR_FORMAT, "%s: no image with a WCS", tile->band[b].image.path);
            goto cleanup;
        }
        SQ_TRY(sq_wcs_from_header(tile->band[b].wcs_header, tile->band[b].image.path, &wcs));
        sq_wcs_destroy(wcs);
        wcs = NULL;
    }
cleanup:
    sq_wcs_destroy(wcs);
    return rc;
}

/* A tile that is left out. */
typedef struct bad_tile {
    char name[SQ_NAME_MAX], message[512];
    int32_t status, padding;
} bad_tile;

/* What a rank makes of its share. */
typedef struct answer {
    sq_tile_list *tiles; /* good ones, in the order of the share */
    buffer bad;          /* of bad_tile */
} answer;

static sq_status answer_tile(sq_tile *tile, answer *out)
{
    bad_tile bad = {.padding = 0};
    sq_error_clear();
    sq_status rc = read_tile(tile);
    if (rc == SQ_OK)
        return sq_tile_list_add(out->tiles, tile);
    if (rc == SQ_ERR_NOMEM)
        return rc;
    bad.status = (int32_t)rc;
    snprintf(bad.name, sizeof bad.name, "%s", tile->name);
    snprintf(bad.message, sizeof bad.message, "%.511s", sq_error());
    return append(&out->bad, &bad, sizeof bad);
}

/* Tiles [first, end) of those that were found. */
static sq_status answer_share(const sq_tile_list *found, int64_t first, int64_t end, answer *out)
{
    sq_status rc = SQ_OK;
    sq_tile tile = {.nband = 0};
    SQ_TRY(sq_tile_list_create(&out->tiles));
    for (int64_t t = first; t < end; t++) {
        SQ_TRY(sq_tile_list_get(found, t, &tile));
        SQ_TRY(answer_tile(&tile, out));
        sq_tile_clear(&tile);
    }
    SQ_TRY(sq_tile_list_finish(out->tiles));
cleanup:
    sq_tile_clear(&tile);
    return rc;
}

/* Rank 0: the tiles that the names of the files make, without their headers. */
static sq_status find_tiles(const char *const *paths, int count, const char *reference,
                            sq_tile_list **out)
{
    sq_status rc = SQ_OK;
    sq_tile *tile = NULL;
    int64_t n = 0;
    SQ_TRY(sq_tile_group(paths, count, reference, &tile, &n));
    SQ_TRY(sq_tile_list_create(out));
    for (int64_t t = 0; t < n; t++)
        SQ_TRY(sq_tile_list_add(*out, &tile[t]));
    SQ_TRY(sq_tile_list_finish(*out));
cleanup:
    for (int64_t t = 0; t < n; t++)
        sq_tile_clear(&tile[t]);
    sq_free(tile);
    return rc;
}

/* A list as one message: each piece behind its size. */
static sq_status flatten(const sq_tile_list *list, buffer *out)
{
    sq_status rc = SQ_OK;
    for (int i = 0; i < sq_tile_list_pieces(list); i++) {
        const void *data;
        size_t size;
        sq_tile_list_piece(list, i, &data, &size);
        SQ_TRY(append(out, &size, sizeof size));
        SQ_TRY(append(out, data, size));
    }
cleanup:
    return rc;
}

static sq_status open_flat(const char *data, size_t size, sq_tile_list **out)
{
    sq_status rc = SQ_OK;
    size_t at = 0, length;
    SQ_TRY(sq_tile_list_create(out));
    for (int i = 0; at < size; i++, at += length) {
        void *piece;
        memcpy(&length, data + at, sizeof length);
        at += sizeof length;
        SQ_TRY(sq_alloc(&piece, length, 1, "tiles"));
        memcpy(piece, data + at, length);
        SQ_TRY(sq_tile_list_put_piece(*out, i, piece, length));
    }
    SQ_TRY(sq_tile_list_open(*out));
cleanup:
    return rc;
}

/* Rank 0: shares are contiguous in the order of the names, so are the lists of the ranks. */
static sq_status write_index(const char *data, const size_t *size, int ranks, const char *out,
                             sq_index_report *report)
{
    sq_status rc = SQ_OK;
    sq_tile_list **list = NULL;
    SQ_TRY(SQ_ALLOC(list, ranks, "tiles"));
    for (int r = 0; r < ranks; data += size[r++]) {
        SQ_TRY(open_flat(data, size[r], &list[r]));
        report->tiles += sq_tile_list_count(list[r]);
    }
    if (!report->tiles)
        SQ_TRY(sq_fail(SQ_ERR_DATA, "no tile could be read (%lld found)", (long long)report->bad));
    SQ_TRY(sq_tile_index_write(out, (const sq_tile_list *const *)list, ranks));
cleanup:
    for (int r = 0; list && r < ranks; r++)
        sq_tile_list_destroy(list[r]);
    sq_free(list);
    return rc;
}

static void tell_problems(const char *data, size_t size, sq_tile_problem problem, void *user,
                          sq_index_report *report)
{
    for (size_t at = 0; at < size; at += sizeof(bad_tile), report->bad++) {
        bad_tile bad;
        memcpy(&bad, data + at, sizeof bad);
        if (problem)
            problem(user, bad.name, (sq_status)bad.status, bad.message);
    }
}

/* Rank 0 gets all answers and writes them down. */
static sq_status collect(const sq_comm *comm, const answer *a, const char *out,
                         sq_tile_problem problem, void *user, sq_index_report *report)
{
    sq_status rc = SQ_OK, mine = SQ_OK;
    buffer flat = {.size = 0};
    void *all = NULL, *bad = NULL;
    size_t total, bad_total, *sizes = NULL;
    if ((mine = SQ_ALLOC(sizes, sq_comm_size(comm), "tiles")) == SQ_OK)
        mine = flatten(a->tiles, &flat);
    SQ_TRY(sq_comm_agree(comm, mine));
    SQ_TRY(sq_comm_gather(comm, a->bad.data, a->bad.size, &bad, &bad_total, NULL));
    SQ_TRY(sq_comm_gather(comm, flat.data, flat.size, &all, &total, sizes));
    if (sq_comm_rank(comm) == 0) {
        tell_problems(bad, bad_total, problem, user, report);
        mine = write_index(all, sizes, sq_comm_size(comm), out, report);
    }
    SQ_TRY(sq_comm_agree(comm, mine));
cleanup:
    sq_free(sizes);
    sq_free(flat.data);
    sq_free(all);
    sq_free(bad);
    return rc;
}

sq_status sq_index_build(const sq_comm *comm, const char *const *paths, int count,
                         const char *reference, const char *out, sq_tile_problem problem,
                         void *user, sq_index_report *report)
{
    sq_status rc = SQ_OK, mine = SQ_OK;
    sq_tile_list *found = NULL;
    int64_t rank = sq_comm_rank(comm), size = sq_comm_size(comm), n;
    answer a = {.tiles = NULL};
    double start = sq_now();
    *report = (sq_index_report){0};
    if (rank == 0)
        mine = find_tiles(paths, count, reference, &found);
    SQ_TRY(sq_comm_agree(comm, mine));
    SQ_TRY(sq_share_tiles(comm, &found));
    n = sq_tile_list_count(found);
    SQ_TRY_ALL(comm, answer_share(found, n * rank / size, n * (rank + 1) / size, &a));
    SQ_TRY(collect(comm, &a, out, problem, user, report));
    report->seconds = sq_now() - start;
    SQ_TRY(sq_comm_broadcast(comm, 0, report, sizeof *report));
cleanup:
    sq_tile_list_destroy(found);
    sq_tile_list_destroy(a.tiles);
    sq_free(a.bad.data);
    return rc;
}
