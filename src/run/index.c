#include "run/index.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
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

static sq_status answer_share(const sq_tile_list *share, answer *out)
{
    sq_status rc = SQ_OK;
    sq_tile tile = {.nband = 0};
    SQ_TRY(sq_tile_list_create(&out->tiles));
    for (int64_t t = 0; t < sq_tile_list_count(share); t++) {
        SQ_TRY(sq_tile_list_get(share, t, &tile));
        SQ_TRY(answer_tile(&tile, out));
        sq_tile_clear(&tile);
    }
    SQ_TRY(sq_tile_list_finish(out->tiles));
cleanup:
    sq_tile_clear(&tile);
    return rc;
}

/* Rank 0: a contiguous share of the tiles for every rank, one behind the other. */
static sq_status cut_shares(const sq_tile *tile, int64_t ntile, int ranks, buffer *out,
                            size_t *offset, size_t *bytes)
{
    sq_status rc = SQ_OK;
    sq_tile_list *list = NULL;
    for (int r = 0; r < ranks; r++) {
        const void *data;
        SQ_TRY(sq_tile_list_create(&list));
        for (int64_t t = ntile * r / ranks; t < ntile * (r + 1) / ranks; t++)
            SQ_TRY(sq_tile_list_add(list, &tile[t]));
        SQ_TRY(sq_tile_list_finish(list));
        sq_tile_list_bytes(list, &data, &bytes[r]);
        offset[r] = out->size;
        SQ_TRY(append(out, data, bytes[r]));
        sq_tile_list_destroy(list);
        list = NULL;
    }
cleanup:
    sq_tile_list_destroy(list);
    return rc;
}

/* The share of this rank of the tiles that rank 0 has found. */
static sq_status share_tiles(const sq_comm *comm, const sq_tile *tile, int64_t ntile,
                             sq_tile_list **share)
{
    sq_status rc = SQ_OK, mine = SQ_OK;
    int size = sq_comm_size(comm);
    size_t *number = NULL; /* [3][size]: offsets, bytes, bytes received */
    buffer shares = {0};
    void *received = NULL;
    SQ_TRY_ALL(comm, SQ_ALLOC(number, 3 * size, "shares"));
    if (sq_comm_rank(comm) == 0)
        mine = cut_shares(tile, ntile, size, &shares, number, number + size);
    SQ_TRY(sq_comm_agree(comm, mine));
    SQ_TRY(sq_comm_exchange(comm, shares.data, number, number + size, &received,
                            number + 2 * size));
    mine = sq_tile_list_open(received, number[2 * size], share);
    SQ_TRY(sq_comm_agree(comm, mine));
cleanup:
    sq_free(number);
    sq_free(shares.data);
    return rc;
}

/* Rank 0: the lists of all ranks from their bytes. */
static sq_status open_lists(const char *data, const size_t *size, int ranks, sq_tile_list **list,
                            int64_t *tiles)
{
    sq_status rc = SQ_OK;
    for (int r = 0; r < ranks; data += size[r++]) {
        void *copy;
        SQ_TRY(sq_alloc(&copy, size[r], 1, "tiles"));
        memcpy(copy, data, size[r]);
        SQ_TRY(sq_tile_list_open(copy, size[r], &list[r]));
        *tiles += sq_tile_list_count(list[r]);
    }
cleanup:
    return rc;
}

/* Shares are contiguous in the order of the names: so are the lists of the ranks. */
static sq_status write_index(const char *data, const size_t *size, int ranks, const char *out,
                             sq_index_report *report)
{
    sq_status rc = SQ_OK;
    sq_tile_list **list = NULL;
    SQ_TRY(SQ_ALLOC(list, ranks, "tiles"));
    SQ_TRY(open_lists(data, size, ranks, list, &report->tiles));
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
    const void *data;
    void *all = NULL, *bad = NULL;
    size_t size, total, bad_total, *sizes = NULL;
    SQ_TRY_ALL(comm, SQ_ALLOC(sizes, sq_comm_size(comm), "tiles"));
    sq_tile_list_bytes(a->tiles, &data, &size);
    SQ_TRY(sq_comm_gather(comm, a->bad.data, a->bad.size, &bad, &bad_total, NULL));
    SQ_TRY(sq_comm_gather(comm, data, size, &all, &total, sizes));
    if (sq_comm_rank(comm) == 0) {
        tell_problems(bad, bad_total, problem, user, report);
        mine = write_index(all, sizes, sq_comm_size(comm), out, report);
    }
    SQ_TRY(sq_comm_agree(comm, mine));
cleanup:
    sq_free(sizes);
    sq_free(all);
    sq_free(bad);
    return rc;
}

sq_status sq_index_build(const sq_comm *comm, const char *const *paths, int count,
                         const char *reference, const char *out, sq_tile_problem problem,
                         void *user, sq_index_report *report)
{
    sq_status rc = SQ_OK, mine = SQ_OK;
    sq_tile *listed = NULL;
    sq_tile_list *share = NULL;
    int64_t nlisted = 0;
    answer a = {.tiles = NULL};
    double start = sq_now();
    *report = (sq_index_report){0};
    if (sq_comm_rank(comm) == 0)
        mine = sq_tile_group(paths, count, reference, &listed, &nlisted);
    SQ_TRY(sq_comm_agree(comm, mine));
    SQ_TRY(share_tiles(comm, listed, nlisted, &share));
    SQ_TRY(sq_comm_agree(comm, answer_share(share, &a)));
    SQ_TRY(collect(comm, &a, out, problem, user, report));
    report->seconds = sq_now() - start;
    SQ_TRY(sq_comm_broadcast(comm, 0, report, sizeof *report));
cleanup:
    for (int64_t t = 0; listed && t < nlisted; t++)
        sq_tile_clear(&listed[t]);
    sq_free(listed);
    sq_tile_list_destroy(share);
    sq_tile_list_destroy(a.tiles);
    sq_free(a.bad.data);
    return rc;
}
