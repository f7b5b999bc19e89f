/* One table: the kept rows go to the ranks that write them, are sorted and become columns.
 *
 * Keys are cut into buckets of about equal counts by a sample; in one round each rank gets a
 * bucket, from the records whose keys lie in the buckets of the round. Rows in the order of the
 * sky come from few records each, so little is read twice and nothing is written twice. Where that
 * does not hold (each record has rows all over the sky) there is one round, and the rows are sorted
 * on disk. Where the cuts fall is of no consequence: buckets follow one another in the order of the
 * keys and each is sorted by the total order. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "store/merge_internal.h"

enum { MAX_READS = 4 }; /* of the records, in all rounds together */

typedef struct table {
    merge *m;
    merge_part *part;
    int t;
    size_t width, *at;    /* of a packed row; [columns]: offset within it */
    int64_t total;        /* kept rows of all ranks */
    int64_t rounds, *cut; /* bucket b holds keys in [cut[b], cut[b + 1]); a rank has one a round */
    merge_post post;
    merge_sorter rows;
    merge_columns *columns;
} table;

static int64_t kept_of_task(const merge_part *part, int64_t task)
{
    int64_t n = 0;
    for (int64_t i = part->first[task]; i < part->first[task + 1]; i++)
        n += merge_kept(part, i);
    return n;
}

/* ---- Buckets ---- */

static int by_key(const void *a, const void *b)
{
    const merge_sample *p = a, *q = b;
    return (p->key > q->key) - (p->key < q->key);
}

static void choose_cuts(table *s, merge_sample *all, int64_t n)
{
    int64_t weight = 0, seen = 0, b = 1, buckets = s->rounds * s->m->size;
    qsort(all, (size_t)n, sizeof *all, by_key);
    for (int64_t i = 0; i < n; i++)
        weight += all[i].weight;
    for (int64_t i = 0; i < n && b < buckets; i++) {
        while (b < buckets && seen >= weight / buckets * b + weight % buckets * b / buckets)
            s->cut[b++] = all[i].key;
        seen += all[i].weight;
    }
    while (b < buckets)
        s->cut[b++] = INT64_MAX;
    s->cut[0] = INT64_MIN;
    s->cut[buckets] = INT64_MAX;
}

static int task_touches(const table *s, int64_t task, int64_t round)
{
    int64_t low = s->cut[round * s->m->size], high = s->cut[(round + 1) * s->m->size];
    const merge_span *span = s->part->span[task];
    for (int k = 0; k < MERGE_SPANS; k++) {
        if (span[k].low <= span[k].high && span[k].low < high && span[k].high >= low)
            return 1;
    }
    return 0;
}

/* One round when the rounds would read the records too often. */
static sq_status limit_reads(table *s)
{
    merge *m = s->m;
    int64_t bytes[2] = {0, 0};
    for (int64_t i = 0; i < m->ntask; i++) {
        for (int64_t round = 0; round < s->rounds; round++)
            bytes[0] += task_touches(s, i, round) * (int64_t)m->task[i].place.length;
        if (s->part->first[i + 1] > s->part->first[i])
            bytes[1] += (int64_t)m->task[i].place.length;
    }
    sq_status rc = sq_comm_reduce_i64(m->comm, SQ_SUM, bytes, 2);
    if (rc != SQ_OK || bytes[0] / MAX_READS <= bytes[1])
        return rc;
    for (int r = 0; r <= m->size; r++)
        s->cut[r] = s->cut[r * s->rounds];
    s->rounds = 1;
    return SQ_OK;
}

static sq_status partition(table *s)
{
    merge *m = s->m;
    merge_part *part = s->part;
    void *all = NULL;
    size_t bytes = 0;
    sq_status rc;
    s->total = 0;
    for (int64_t i = 0; i < m->ntask; i++)
        s->total += kept_of_task(part, i);
    SQ_TRY(sq_comm_reduce_i64(m->comm, SQ_SUM, &s->total, 1));
    /* An eighth more than a bucket's share: a sample cuts only roughly. */
    uint64_t volume = (uint64_t)s->total * (s->width + 2 * sizeof(merge_order)) / 8 * 9;
    s->rounds = (int64_t)(volume / (m->limit / 2 * (uint64_t)m->size)) + 1;
    SQ_TRY_ALL(m->comm, SQ_ALLOC(s->cut, s->rounds * m->size + 1, "cuts"));
    for (int64_t i = 0; i < part->nsample; i++)
        part->sample[i].weight = part->step;
    SQ_TRY(sq_comm_gather(m->comm, part->sample, (size_t)part->nsample * sizeof *part->sample, &all,
                          &bytes, NULL));
    if (m->rank == 0)
        choose_cuts(s, all, (int64_t)(bytes / sizeof *part->sample));
    SQ_TRY(
        sq_comm_broadcast(m->comm, 0, s->cut, (size_t)(s->rounds * m->size + 1) * sizeof *s->cut));
    SQ_TRY(limit_reads(s));
cleanup:
    sq_free(all);
    return rc;
}

/* ---- Rows: packed, sent, sorted ---- */

/* Packed are the columns of the release and the position. */
static sq_status lay_out(table *s)
{
    const sq_schema *schema = s->part->schema;
    sq_status rc = SQ_ALLOC(s->at, schema->count, "columns");
    s->width = sizeof(merge_row);
    for (int c = 0; rc == SQ_OK && c < schema->count; c++) {
        s->at[c] = s->width;
        if (!schema->column[c].hidden || c == s->part->ra || c == s->part->dec)
            s->width += (size_t)sq_dtype_size(schema->column[c].type);
    }
    return rc;
}

/* Doubles in an order that also holds for NaN and signed zeros. */
static int compare_double(const unsigned char *a, const unsigned char *b)
{
    int64_t p, q;
    memcpy(&p, a, sizeof p);
    memcpy(&q, b, sizeof q);
    p ^= p >> 63 & INT64_MAX;
    q ^= q >> 63 & INT64_MAX;
    return (p > q) - (p < q);
}

static int by_total_order(const void *a, const void *b, const void *user)
{
    const table *s = user;
    merge_row p, q;
    int order = 0;
    memcpy(&p, a, sizeof p);
    memcpy(&q, b, sizeof q);
    if (s->part->ra >= 0) {
        size_t ra = s->at[s->part->ra], dec = s->at[s->part->dec];
        order = compare_double((const unsigned char *)a + ra, (const unsigned char *)b + ra);
        if (order == 0)
            order = compare_double((const unsigned char *)a + dec, (const unsigned char *)b + dec);
    }
    if (order)
        return order;
    if (p.number != q.number)
        return p.number < q.number ? -1 : 1;
    return (p.row > q.row) - (p.row < q.row);
}

static int rank_of(const table *s, const int64_t *cut, int64_t key)
{
    int low = 0, high = s->m->size;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        *(key >= cut[middle] ? &low : &high) = middle;
    }
    return low;
}

static void pack(table *s, int64_t task, const sq_payload_table *rows, int64_t r, int64_t key,
                 int to)
{
    const merge_task *from = &s->m->task[task];
    const sq_schema *schema = s->part->schema;
    unsigned char *at = merge_post_put(&s->post, to);
    merge_row head = {
        (uint64_t)key, from->number, from->patch, (uint32_t)r, from->tile, from->realisation, 0};
    memcpy(at, &head, sizeof head);
    for (int c = 0; c < schema->count; c++) {
        size_t width = (c + 1 < schema->count ? s->at[c + 1] : s->width) - s->at[c];
        const char *value = (const char *)rows->column[c] + (size_t)r * width;
        if (width == 8)
            memcpy(at + s->at[c], value, 8);
        else if (width == 4)
            memcpy(at + s->at[c], value, 4);
        else if (width)
            memcpy(at + s->at[c], value, width);
    }
}

/* Local. Rows of this round's buckets, until the portion is full (*more) or no record is left. */
static sq_status pack_portion(table *s, int64_t round, merge_cursor *at, int *more)
{
    merge *m = s->m;
    const int64_t *cut = s->cut + round * m->size;
    sq_status rc = SQ_OK;
    *more = 1;
    for (; at->task < m->ntask; merge_cursor_next(at)) {
        int64_t first = s->part->first[at->task], n = s->part->first[at->task + 1] - first;
        if (n == 0 || !task_touches(s, at->task, round))
            continue;
        if (!at->loaded)
            m->report.read_again += (int64_t)m->task[at->task].place.length;
        SQ_TRY(merge_cursor_load(m, at));
        const sq_payload_table *rows = &at->payload.table[s->t];
        if (rows->rows != n)
            return sq_fail(SQ_ERR_CORRUPT, "%s: a record changed while it was read", m->in->shards);
        for (; at->row < n; at->row++) {
            if (!merge_kept(s->part, first + at->row))
                continue;
            int64_t key = merge_key(s->part, &m->task[at->task], rows, at->row);
            if (key < cut[0] || key >= cut[m->size])
                continue;
            if (!merge_post_fits(&s->post, 1))
                return SQ_OK;
            pack(s, at->task, rows, at->row, key, rank_of(s, cut, key));
        }
    }
    *more = 0;
cleanup:
    return rc;
}

static sq_status gather_bucket(table *s, int64_t round)
{
    merge *m = s->m;
    merge_cursor at = {0};
    void *got = NULL;
    size_t n;
    int more = 1;
    sq_status rc;
    while (more) {
        double start = sq_now();
        SQ_TRY_ALL(m->comm, pack_portion(s, round, &at, &more));
        SQ_TRY(merge_post_exchange(&s->post, &got, &n));
        merge_clock(m, SQ_REDUCE_PACK, start);
        start = sq_now();
        SQ_TRY_ALL(m->comm, merge_sort_add(&s->rows, got, n));
        sq_free(got);
        got = NULL;
        merge_clock(m, SQ_REDUCE_SORT, start);
        SQ_TRY(merge_more(m, &more));
    }
cleanup:
    sq_free(got);
    merge_cursor_clear(&at);
    return rc;
}

static sq_status run_rounds(table *s)
{
    merge *m = s->m;
    int64_t base = 0;
    sq_status rc = SQ_OK;
    for (int64_t round = 0; round < s->rounds; round++) {
        uint64_t mine;
        SQ_TRY(gather_bucket(s, round));
        double start = sq_now();
        SQ_TRY_ALL(m->comm, merge_sort_finish(&s->rows, &mine));
        merge_clock(m, SQ_REDUCE_SORT, start);
        int64_t before = (int64_t)mine, all = (int64_t)mine;
        SQ_TRY(sq_comm_scan_before(m->comm, &before, 1));
        SQ_TRY(sq_comm_reduce_i64(m->comm, SQ_SUM, &all, 1));
        if (base + all > s->total)
            break;
        start = sq_now();
        SQ_TRY_ALL(m->comm,
                   merge_columns_write(s->columns, &s->rows, base + before, (int64_t)mine));
        merge_clock(m, SQ_REDUCE_WRITE, start);
        merge_sort_reset(&s->rows);
        base += all;
    }
    if (base != s->total)
        rc = sq_fail(SQ_ERR_INTERNAL, "reduce: table %s: %lld rows written of %lld",
                     s->part->schema->name, (long long)base, (long long)s->total);
cleanup:
    return rc;
}

/* Whether any row comes from a realisation other than the first. */
static sq_status has_realisations(const table *s, int *out)
{
    *out = 0;
    for (int64_t i = 0; i < s->m->ntask; i++)
        *out |= s->m->task[i].realisation && s->part->first[i + 1] > s->part->first[i];
    return merge_more(s->m, out);
}

sq_status merge_write_table(merge *m, int t)
{
    table s = {.m = m, .part = &m->part[t], .t = t};
    int realisations;
    sq_status rc;
    SQ_TRY_ALL(m->comm, lay_out(&s));
    merge_sort_init(&s.rows, s.width, by_total_order, &s, m->limit / 2, m->partial);
    SQ_TRY_ALL(m->comm, merge_post_init(&s.post, m->comm, s.width, m->limit / 8, 16));
    SQ_TRY(partition(&s));
    m->report.rows[t] = s.total;
    SQ_TRY(has_realisations(&s, &realisations));
    SQ_TRY(merge_columns_create(m, s.part, s.total, realisations, s.at, &s.columns));
    SQ_TRY(run_rounds(&s));
    m->report.spilled += (int64_t)s.rows.spilled;
cleanup:
    merge_columns_close(s.columns);
    merge_post_clear(&s.post);
    merge_sort_clear(&s.rows);
    sq_free(s.at);
    sq_free(s.cut);
    return rc;
}
