/* Which row of A is which row of B. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assess/compare_report.h"
#include "assess/matching.h"
#include "assess/statistics.h"
#include "base/mem.h"

/* Blocks of sky per area, and at least: enough for probabilities that survive the adjustment. */
enum { BLOCKS_PER_AREA = 32, LEAST_BLOCKS = 256 };

static sq_status pair_round(double match, match_list list[2], int64_t *const found[2],
                            uint8_t *const use[2], cmp_rows *rows, int64_t *pairs)
{
    sq_status rc = match_pairs(&list[0], &list[1], match, 0, found[0], found[1]);
    *pairs = 0;
    for (int s = 0; rc == SQ_OK && s < 2; s++) {
        for (int64_t i = 0; i < rows->n[s]; i++) {
            if (!use[s][i] || found[s][i] < 0)
                continue;
            rows->partner[s][i] = (int32_t)found[s][i];
            use[s][i] = 0;
            ++*pairs;
        }
    }
    return rc;
}

static sq_status pair_positions(double match, const double *ra, const double *dec, cmp_rows *rows)
{
    sq_status rc = SQ_OK;
    int64_t *found[2] = {NULL, NULL}, pairs;
    uint8_t *use[2] = {NULL, NULL};
    match_list list[2];
    for (int s = 0; s < 2; s++) {
        int64_t first = s ? rows->n[0] : 0;
        SQ_TRY(SQ_ALLOC(found[s], rows->n[s] + 1, "pairs"));
        SQ_TRY(SQ_ALLOC(use[s], rows->n[s] + 1, "pairs"));
        for (int64_t i = 0; i < rows->n[s]; i++)
            use[s][i] = isfinite(ra[first + i]) && isfinite(dec[first + i]);
        list[s] = (match_list){rows->n[s], ra + first, dec + first, NULL, use[s]};
    }
    /* Later rounds pair what stands beside a pair: parts of a blend, and rows at one place. */
    do {
        SQ_TRY(pair_round(match, list, found, use, rows, &pairs));
    } while (pairs > 0);
cleanup:
    for (int s = 0; s < 2; s++) {
        sq_free(found[s]);
        sq_free(use[s]);
    }
    return rc;
}

static sq_status alloc_rows(cmp_rows *rows)
{
    sq_status rc = SQ_OK;
    for (int s = 0; s < 2; s++) {
        SQ_TRY(SQ_ALLOC(rows->partner[s], rows->n[s] + 1, "pairs"));
        SQ_TRY(SQ_ALLOC(rows->block[s], rows->n[s] + 1, "blocks"));
        for (int64_t i = 0; i < rows->n[s]; i++)
            rows->partner[s][i] = -1;
    }
cleanup:
    return rc;
}

sq_status cmp_pair_sky(double match, const double *ra, const double *dec, cmp_rows *rows,
                       cmp_table *out)
{
    sq_status rc;
    int64_t *block = NULL, n = rows->n[0] + rows->n[1];
    int64_t least = BLOCKS_PER_AREA * out->areas;
    out->paired = 1;
    SQ_TRY(alloc_rows(rows));
    SQ_TRY(pair_positions(match, ra, dec, rows));
    snprintf(out->pairing, sizeof out->pairing, "mutual nearest neighbours within %g arcsec",
             match);
    SQ_TRY(SQ_ALLOC(block, n + 1, "blocks"));
    SQ_TRY(sq_sky_blocks(n, ra, dec, least > LEAST_BLOCKS ? least : LEAST_BLOCKS, block,
                         &out->blocks));
    for (int64_t i = 0; i < n; i++)
        *(i < rows->n[0] ? &rows->block[0][i] : &rows->block[1][i - rows->n[0]]) =
            (int32_t)block[i];
cleanup:
    sq_free(block);
    return rc;
}

typedef struct keyed {
    int64_t key, row;
} keyed;

static int by_key(const void *a, const void *b)
{
    const keyed *p = a, *q = b;
    return p->key != q->key ? (p->key > q->key) - (p->key < q->key)
                            : (p->row > q->row) - (p->row < q->row);
}

/* The rows sorted by an integer column; *unique = 0 when a value is repeated. */
static sq_status sort_keys(const catalog *c, const char *name, keyed *k, int *unique)
{
    int64_t *key = NULL;
    sq_status rc;
    SQ_TRY(SQ_ALLOC(key, c->rows + 1, "keys"));
    SQ_TRY(catalog_read(c, name, SQ_I64, key));
    for (int64_t i = 0; i < c->rows; i++)
        k[i] = (keyed){key[i], i};
    qsort(k, (size_t)c->rows, sizeof *k, by_key);
    for (int64_t i = 1; i < c->rows; i++)
        *unique = *unique && k[i].key != k[i - 1].key;
cleanup:
    sq_free(key);
    return rc;
}

static void join_keys(const keyed *a, int64_t na, const keyed *b, int64_t nb, cmp_rows *rows)
{
    for (int64_t i = 0, j = 0; i < na && j < nb;) {
        if (a[i].key == b[j].key) {
            rows->partner[0][a[i].row] = (int32_t)b[j].row;
            rows->partner[1][b[j].row] = (int32_t)a[i].row;
            i++;
            j++;
        } else if (a[i].key < b[j].key) {
            i++;
        } else {
            j++;
        }
    }
}

static int may_be_key(sq_dtype type)
{
    return type == SQ_I32 || type == SQ_I64 || type == SQ_U32 || type == SQ_U64;
}

/* The first integer column without repetitions in both; *done = 0 when there is none. */
static sq_status pair_by_column(cmp_rows *rows, cmp_table *out, int *done)
{
    sq_status rc = SQ_OK;
    keyed *k[2] = {NULL, NULL};
    const catalog *c = rows->file;
    for (int s = 0; s < 2; s++)
        SQ_TRY(SQ_ALLOC(k[s], rows->n[s] + 1, "keys"));
    for (int i = 0; i < c->count && !*done; i++) {
        const char *name = c->column[i].name;
        int unique = 1;
        if (!may_be_key(c->column[i].type) || !catalog_has(&rows->file[1], name))
            continue;
        for (int s = 0; s < 2 && unique; s++)
            SQ_TRY(sort_keys(&rows->file[s], name, k[s], &unique));
        if (!unique)
            continue;
        *done = 1;
        join_keys(k[0], rows->n[0], k[1], rows->n[1], rows);
        snprintf(out->pairing, sizeof out->pairing, "equal %.80s", name);
    }
cleanup:
    sq_free(k[0]);
    sq_free(k[1]);
    return rc;
}

sq_status cmp_pair_keys(cmp_rows *rows, cmp_table *out)
{
    sq_status rc;
    int done = 0;
    SQ_TRY(alloc_rows(rows));
    SQ_TRY(pair_by_column(rows, out, &done));
    if (!done && rows->n[0] == rows->n[1]) {
        done = 1;
        snprintf(out->pairing, sizeof out->pairing, "equal row number");
        for (int64_t i = 0; i < rows->n[0]; i++)
            rows->partner[0][i] = rows->partner[1][i] = (int32_t)i;
    }
    out->paired = done;
    if (!done)
        snprintf(out->pairing, sizeof out->pairing, "none: no key and other numbers of rows");
    /* Every row, or pair of rows, is a block of its own. */
    out->blocks = rows->n[0] + rows->n[1] + 1;
    for (int64_t i = 0; i < rows->n[0]; i++)
        rows->block[0][i] = (int32_t)i;
    for (int64_t i = 0; i < rows->n[1]; i++) {
        int64_t p = rows->partner[1][i];
        rows->block[1][i] = (int32_t)(p >= 0 ? p : rows->n[0] + i);
    }
cleanup:
    return rc;
}
