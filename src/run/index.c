#include "run/index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "sky/wcs.h"
#include "store/tile_index.h"

enum { MESSAGE = 512 };

/* What a rank sends back for a tile, followed by the WCS headers of its bands. */
typedef struct answer {
    sq_tile tile;
    int64_t header[SQ_MAX_BANDS]; /* bytes with the terminator, 0 without */
    int32_t status, padding;
    char message[MESSAGE];
} answer;

typedef struct buffer {
    char *data;
    size_t size, capacity;
} buffer;

static sq_status append(buffer *b, const void *data, size_t size)
{
    sq_status rc = SQ_GROW(b->data, b->capacity, b->size + size, "tile headers");
    if (rc != SQ_OK)
        return rc;
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

static sq_status answer_tile(sq_tile *tile, buffer *out)
{
    sq_status rc = SQ_OK;
    answer *a = NULL;
    SQ_TRY(SQ_ALLOC(a, 1, "tile headers"));
    sq_error_clear();
    a->status = (int32_t)read_tile(tile);
    if (a->status == SQ_ERR_NOMEM) {
        rc = SQ_ERR_NOMEM;
        goto cleanup;
    }
    if (a->status != SQ_OK)
        snprintf(a->message, sizeof a->message, "%.*s", MESSAGE - 1, sq_error());
    a->tile = *tile;
    for (int b = 0; b < tile->nband; b++) {
        a->tile.band[b].wcs_header = NULL;
        if (a->status == SQ_OK)
            a->header[b] = (int64_t)strlen(tile->band[b].wcs_header) + 1;
    }
    SQ_TRY(append(out, a, sizeof *a));
    for (int b = 0; b < tile->nband && a->status == SQ_OK; b++)
        SQ_TRY(append(out, tile->band[b].wcs_header, (size_t)a->header[b]));
cleanup:
    sq_free(a);
    return rc;
}

/* Each rank's contiguous share of the tiles that rank 0 has. */
static sq_status share_tiles(const sq_comm *comm, const sq_tile *tile, int64_t ntile,
                             sq_tile **mine, int64_t *count)
{
    sq_status rc = SQ_OK;
    int size = sq_comm_size(comm), rank = sq_comm_rank(comm);
    size_t *offset = NULL, *bytes = NULL, *from = NULL;
    void *received = NULL;
    sq_status mem = SQ_OK;
    SQ_TRY(sq_comm_broadcast(comm, 0, &ntile, sizeof ntile));
    if ((mem = SQ_ALLOC(offset, size, "shares")) == SQ_OK &&
        (mem = SQ_ALLOC(bytes, size, "shares")) == SQ_OK)
        mem = SQ_ALLOC(from, size, "shares");
    SQ_TRY(sq_comm_agree(comm, mem));
    for (int r = 0; r < size && rank == 0; r++) {
        int64_t first = ntile * r / size, end = ntile * (r + 1) / size;
        offset[r] = (size_t)first * sizeof *tile;
        bytes[r] = (size_t)(end - first) * sizeof *tile;
    }
    SQ_TRY(sq_comm_exchange(comm, tile, offset, bytes, &received, from));
    *mine = received;
    *count = ntile * (rank + 1) / size - ntile * rank / size;
cleanup:
    sq_free(offset);
    sq_free(bytes);
    sq_free(from);
    return rc;
}

/* Rank 0: the good tiles of all answers, which come in the order of the listing. */
static sq_status collect(const char *data, size_t size, sq_tile_problem problem, void *user,
                         sq_tile **tile, int64_t *good, int64_t *bad)
{
    sq_status rc = SQ_OK;
    size_t at = 0, capacity = 0;
    answer *a = NULL;
    SQ_TRY(SQ_ALLOC(a, 1, "tile headers"));
    while (at < size) {
        memcpy(a, data + at, sizeof *a);
        at += sizeof *a;
        if (a->status != SQ_OK) {
            (*bad)++;
            if (problem)
                problem(user, a->tile.name, (sq_status)a->status, a->message);
            continue;
        }
        SQ_TRY(SQ_GROW(*tile, capacity, *good + 1, "tiles"));
        sq_tile *t = &(*tile)[(*good)++];
        *t = a->tile;
        for (int b = 0; b < t->nband; b++) {
            SQ_TRY(sq_strdup(&t->band[b].wcs_header, data + at));
            at += (size_t)a->header[b];
        }
    }
cleanup:
    sq_free(a);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const sq_tile *)a)->name, ((const sq_tile *)b)->name);
}

static sq_status write_index(const char *data, size_t size, const char *out,
                             sq_tile_problem problem, void *user, sq_index_report *report)
{
    sq_status rc = SQ_OK;
    sq_tile *tile = NULL;
    SQ_TRY(collect(data, size, problem, user, &tile, &report->tiles, &report->bad));
    if (!report->tiles) {
        rc = sq_fail(SQ_ERR_DATA, "no tile could be read (%lld found)", (long long)report->bad);
        goto cleanup;
    }
    qsort(tile, (size_t)report->tiles, sizeof *tile, by_name);
    SQ_TRY(sq_tile_index_write(out, tile, report->tiles));
cleanup:
    sq_tile_index_free(tile, report->tiles);
    return rc;
}

sq_status sq_index_build(const sq_comm *comm, const char *const *paths, int count,
                         const char *reference, const char *out, sq_tile_problem problem,
                         void *user, sq_index_report *report)
{
    sq_status rc = SQ_OK, mine = SQ_OK;
    sq_tile *listed = NULL, *share = NULL;
    int64_t nlisted = 0, nshare = 0;
    buffer answers = {0};
    void *all = NULL;
    size_t total = 0;
    double start = sq_now();
    *report = (sq_index_report){0};
    if (sq_comm_rank(comm) == 0)
        mine = sq_tile_group(paths, count, reference, &listed, &nlisted);
    SQ_TRY(sq_comm_agree(comm, mine));
    SQ_TRY(share_tiles(comm, listed, nlisted, &share, &nshare));
    for (int64_t t = 0; t < nshare && mine == SQ_OK; t++) {
        mine = answer_tile(&share[t], &answers);
        sq_tile_clear(&share[t]);
    }
    SQ_TRY(sq_comm_agree(comm, mine));
    SQ_TRY(sq_comm_gather(comm, answers.data, answers.size, &all, &total, NULL));
    if (sq_comm_rank(comm) == 0)
        mine = write_index(all, total, out, problem, user, report);
    SQ_TRY(sq_comm_agree(comm, mine));
    report->seconds = sq_now() - start;
    SQ_TRY(sq_comm_broadcast(comm, 0, report, sizeof *report));
cleanup:
    for (int64_t t = 0; listed && t < nlisted; t++)
        sq_tile_clear(&listed[t]);
    sq_free(listed);
    sq_free(share);
    sq_free(answers.data);
    sq_free(all);
    return rc;
}
