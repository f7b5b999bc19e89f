/* The first pass over the records: everything but the rows themselves. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "store/merge_internal.h"

enum { MAX_SAMPLE = 1 << 15, MIN_SAMPLE = 1 << 6, ALL_SAMPLES = 1 << 22 };

/* Rank 0 collects the samples of all ranks. */
static int64_t sample_size(const merge *m)
{
    int64_t n = ALL_SAMPLES / m->size;
    return n > MAX_SAMPLE ? MAX_SAMPLE : n < MIN_SAMPLE ? MIN_SAMPLE : n & ~(int64_t)1;
}

/* A sample of one row in `step`; the step doubles whenever the sample is full. */
static void take_sample(merge_part *part, int64_t most, int64_t key)
{
    if (part->seen++ % part->step)
        return;
    if (part->nsample == most) {
        for (int64_t i = 0; i < most / 2; i++)
            part->sample[i] = part->sample[2 * i];
        part->nsample /= 2;
        part->step *= 2;
    }
    part->sample[part->nsample++].key = key;
}

static uint64_t gap(const merge_span *a, const merge_span *b)
{
    return a->low > b->high   ? (uint64_t)a->low - (uint64_t)b->high
           : b->low > a->high ? (uint64_t)b->low - (uint64_t)a->high
                              : 0;
}

/* The spans grow to hold the key: the two that are closest, the key counted as one, become one. */
static void widen(merge_span span[MERGE_SPANS], int64_t key)
{
    merge_span one = {key, key};
    uint64_t best = UINT64_MAX, d;
    int a = 0, b = -1; /* b < 0: the key joins a */
    for (int i = 0; i < MERGE_SPANS; i++) {
        if (span[i].low > span[i].high) {
            span[i] = one;
            return;
        }
        if (key >= span[i].low && key <= span[i].high)
            return;
        if ((d = gap(&span[i], &one)) < best)
            best = d, a = i;
    }
    for (int i = 0; i < MERGE_SPANS; i++) {
        for (int k = i + 1; k < MERGE_SPANS; k++) {
            if ((d = gap(&span[i], &span[k])) < best)
                best = d, a = i, b = k;
        }
    }
    const merge_span *other = b < 0 ? &one : &span[b];
    span[a].low = other->low < span[a].low ? other->low : span[a].low;
    span[a].high = other->high > span[a].high ? other->high : span[a].high;
    if (b >= 0)
        span[b] = one;
}

static sq_status begin_part(merge *m, int t)
{
    merge_part *part = &m->part[t];
    const sq_schema *schema = m->in->table[t];
    sq_status rc;
    part->schema = schema;
    part->step = 1;
    part->ra = sq_schema_find(schema, schema->ra);
    part->dec = sq_schema_find(schema, schema->dec);
    part->depth = sq_schema_find(schema, schema->depth);
    SQ_TRY(SQ_ALLOC(part->first, m->ntask + 1, "rows of tasks"));
    SQ_TRY(SQ_ALLOC(part->span, m->ntask + 1, "keys of tasks"));
    SQ_TRY(SQ_ALLOC(part->sample, sample_size(m), "sample of keys"));
    for (int64_t i = 0; i < m->ntask; i++) {
        for (int k = 0; k < MERGE_SPANS; k++)
            part->span[i][k] = (merge_span){0, -1};
    }
    if (schema->depth)
        rc = merge_border_init(m, part);
cleanup:
    return rc;
}

static sq_status note_blocks(merge *m, const merge_task *task, const sq_payload *payload)
{
    sq_status rc =
        SQ_GROW(m->block, m->block_capacity, m->nblock + (size_t)payload->nblock, "blocks");
    for (int b = 0; rc == SQ_OK && b < payload->nblock; b++) {
        const sq_block *k = &payload->block[b];
        m->block[m->nblock++] = (merge_block){.number = task->number,
                                              .ordinal = b,
                                              .x0 = k->x0,
                                              .y0 = k->y0,
                                              .nx = k->nx,
                                              .ny = k->ny,
                                              .map = k->map,
                                              .place = task->place};
    }
    return rc;
}

/* What the record says as a whole, and room for its rows. */
static sq_status note_record(merge *m, const merge_cursor *at)
{
    const merge_task *task = &m->task[at->task];
    merge_timing *timing = &m->timing[at->task];
    timing->number = task->number;
    memcpy(timing->seconds, at->record.seconds, sizeof timing->seconds);
    timing->memory = at->record.memory;
    for (int t = 0; t < m->in->ntable; t++) {
        merge_part *part = &m->part[t];
        int64_t rows = part->schema->phase == (int)task->phase ? at->payload.table[t].rows : 0;
        if (rows > UINT32_MAX)
            return sq_fail(SQ_ERR_CORRUPT, "%s/%s: record at byte %llu: %lld rows", m->in->shards,
                           task->place.segment, (unsigned long long)task->place.offset,
                           (long long)rows);
        part->first[at->task + 1] = part->first[at->task] + rows;
        m->report.rows_in[t] += rows;
        sq_status rc = SQ_GROW(part->keep, part->keep_capacity, part->first[at->task + 1] / 64 + 1,
                               "rows to keep");
        if (rc != SQ_OK)
            return rc;
    }
    return note_blocks(m, task, &at->payload);
}

/* Rows from the cursor on, until the portion of border rows is full (*full) or all are seen. */
static sq_status note_rows(merge *m, merge_cursor *at, int *full)
{
    merge_part *part = &m->part[at->table];
    const merge_task *task = &m->task[at->task];
    const sq_payload_table *rows = &at->payload.table[at->table];
    int64_t first = part->first[at->task], n = part->first[at->task + 1] - first;
    int64_t most = sample_size(m);
    for (; at->row < n; at->row++) {
        if (part->depth >= 0 && !merge_post_fits(&part->post, MERGE_CELLS)) {
            *full = 1;
            return SQ_OK;
        }
        int64_t key = merge_key(part, task, rows, at->row);
        take_sample(part, most, key);
        widen(part->span[at->task], key);
        merge_keep(part, first + at->row, 1);
        if (part->depth < 0)
            continue;
        sq_status rc = merge_border_row(m, part, task, rows, at->row, first + at->row);
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}

static sq_status survey_portion(merge *m, merge_cursor *at)
{
    sq_status rc = SQ_OK;
    for (int full = 0; at->task < m->ntask; merge_cursor_next(at)) {
        if (!at->loaded) {
            SQ_TRY(merge_cursor_load(m, at));
            SQ_TRY(note_record(m, at));
        }
        for (; at->table < m->in->ntable; at->table++, at->row = 0) {
            SQ_TRY(note_rows(m, at, &full));
            if (full)
                return SQ_OK;
        }
    }
cleanup:
    return rc;
}

static sq_status survey_all(merge *m)
{
    merge_cursor at = {0};
    sq_status rc;
    int more = 1;
    while (more) {
        SQ_TRY_ALL(m->comm, survey_portion(m, &at));
        for (int t = 0; t < m->in->ntable; t++) {
            if (m->part[t].depth >= 0)
                SQ_TRY(merge_border_exchange(m, &m->part[t]));
        }
        more = at.task < m->ntask;
        SQ_TRY(merge_more(m, &more));
    }
cleanup:
    merge_cursor_clear(&at);
    return rc;
}

sq_status merge_survey(merge *m)
{
    double start = sq_now();
    sq_status rc = SQ_ALLOC(m->timing, m->ntask + 1, "timings");
    for (int t = 0; rc == SQ_OK && t < m->in->ntable; t++)
        rc = begin_part(m, t);
    SQ_TRY_ALL(m->comm, rc);
    SQ_TRY(survey_all(m));
    SQ_TRY(sq_comm_reduce_i64(m->comm, SQ_SUM, m->report.rows_in, 16));
    merge_clock(m, SQ_REDUCE_READ, start);
cleanup:
    return rc;
}
