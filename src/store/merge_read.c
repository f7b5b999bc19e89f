/* Distribution of the tasks and reading of their records. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/merge_internal.h"

static int by_task(const void *a, const void *b)
{
    const sq_merge_task *p = *(const sq_merge_task *const *)a;
    const sq_merge_task *q = *(const sq_merge_task *const *)b;
    if (p->phase != q->phase)
        return p->phase < q->phase ? -1 : 1;
    if (p->patch != q->patch)
        return p->patch < q->patch ? -1 : 1;
    return (p->realisation > q->realisation) - (p->realisation < q->realisation);
}

/* Sequential reading is worth more than any order of the tasks. */
static int by_place(const void *a, const void *b)
{
    const merge_task *p = a, *q = b;
    int order = strcmp(p->place.segment, q->place.segment);
    if (order)
        return order;
    return (p->place.offset > q->place.offset) - (p->place.offset < q->place.offset);
}

/* Rank 0: all committed tasks, one after the other for each rank. Dealt out in turn, so that every
 * rank's share is spread over the whole sky and the rows of one bucket come from all ranks alike.
 */
static sq_status deal(merge *m, merge_task **out, size_t *offset, size_t *size)
{
    const sq_merge *in = m->in;
    const sq_merge_task **order = NULL;
    merge_task *all = NULL;
    int64_t done = 0, at = 0;
    sq_status rc;
    SQ_TRY(SQ_ALLOC(order, in->ntask + 1, "tasks"));
    for (int64_t i = 0; i < in->ntask; i++)
        order[i] = &in->task[i];
    qsort(order, (size_t)in->ntask, sizeof *order, by_task);
    for (int64_t i = 0; i < in->ntask; i++) {
        if (i && by_task(&order[i - 1], &order[i]) == 0)
            SQ_TRY(sq_fail(SQ_ERR_USAGE, "reduce: patch %llu is given twice",
                           (unsigned long long)order[i]->patch));
        m->report.done += order[i]->state == SQ_TASK_DONE;
        m->report.failed += order[i]->state == SQ_TASK_FAILED;
        m->report.quarantined += order[i]->state == SQ_TASK_QUARANTINED;
    }
    done = m->report.done;
    SQ_TRY(SQ_ALLOC(all, done + 1, "tasks"));
    for (int r = 0; r < m->size; r++) {
        offset[r] = (size_t)at * sizeof *all;
        int64_t n = 0;
        for (int64_t i = 0; i < in->ntask; i++) {
            const sq_merge_task *t = order[i];
            if (t->state != SQ_TASK_DONE || n++ % m->size != r)
                continue;
            all[at++] = (merge_task){i, t->patch, t->phase, t->realisation, t->tile, 0, t->place};
        }
        size[r] = (size_t)at * sizeof *all - offset[r];
    }
    *out = all;
    all = NULL;
cleanup:
    sq_free(order);
    sq_free(all);
    return rc;
}

sq_status merge_share_tasks(merge *m)
{
    sq_status rc = SQ_OK;
    merge_task *all = NULL;
    size_t *offset = NULL, *size, *from, total = 0;
    void *mine = NULL;
    int64_t count[3];
    SQ_TRY_ALL(m->comm, SQ_ALLOC(offset, 3 * m->size, "shares"));
    size = offset + m->size;
    from = size + m->size;
    SQ_TRY_ALL(m->comm, m->rank == 0 ? deal(m, &all, offset, size) : SQ_OK);
    SQ_TRY(sq_comm_exchange(m->comm, all, offset, size, &mine, from));
    for (int r = 0; r < m->size; r++)
        total += from[r];
    m->task = mine;
    m->ntask = (int64_t)(total / sizeof *m->task);
    qsort(m->task, (size_t)m->ntask, sizeof *m->task, by_place);
    memcpy(count, (int64_t[]){m->report.done, m->report.failed, m->report.quarantined},
           sizeof count);
    SQ_TRY(sq_comm_broadcast(m->comm, 0, count, sizeof count));
    m->report.done = m->report.records = count[0];
    m->report.failed = count[1];
    m->report.quarantined = count[2];
cleanup:
    sq_free(all);
    sq_free(offset);
    return rc;
}

sq_status merge_load(merge *m, const sq_record_place *place, sq_record *record, sq_payload *payload)
{
    const void *data;
    size_t size;
    sq_status rc = sq_segment_read(&m->reader, place, record, &data, &size);
    if (rc != SQ_OK)
        return rc;
    rc = sq_payload_unpack(data, size, m->in->table, m->in->ntable, m->in->map, m->in->nmap,
                           payload);
    return rc == SQ_OK ? rc
                       : sq_fail_in(rc, "%s/%s: record at byte %llu", m->in->shards, place->segment,
                                    (unsigned long long)place->offset);
}

sq_status merge_each(merge *m, int t, merge_visit visit, void *user)
{
    for (int64_t i = 0; i < m->ntask; i++) {
        const merge_task *task = &m->task[i];
        sq_record record;
        sq_payload payload;
        if (t >= 0 && m->rows[t * m->ntask + i] == 0)
            continue;
        sq_status rc = merge_load(m, &task->place, &record, &payload);
        if (rc != SQ_OK)
            return rc;
        if (record.patch != task->patch || record.phase != task->phase ||
            record.realisation != task->realisation || record.kind != SQ_RECORD_PRODUCT)
            rc = sq_fail(SQ_ERR_CORRUPT, "%s/%s: the record at byte %llu is not of patch %llu",
                         m->in->shards, task->place.segment, (unsigned long long)task->place.offset,
                         (unsigned long long)task->patch);
        else
            rc = visit(m, i, &record, &payload, user);
        sq_payload_clear(&payload);
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}

static sq_status survey_one(merge *m, int64_t i, const sq_record *record, const sq_payload *payload,
                            void *user)
{
    const merge_task *task = &m->task[i];
    (void)user;
    m->timing[i].number = task->number;
    memcpy(m->timing[i].seconds, record->seconds, sizeof record->seconds);
    m->timing[i].memory = record->memory;
    for (int t = 0; t < m->in->ntable; t++) {
        if (m->in->table[t]->phase == (int)task->phase)
            m->rows[t * m->ntask + i] = payload->table[t].rows;
        m->report.rows_in[t] += m->rows[t * m->ntask + i];
    }
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

sq_status merge_survey(merge *m)
{
    sq_status rc;
    SQ_TRY_ALL(m->comm, SQ_ALLOC(m->timing, m->ntask + 1, "timings"));
    SQ_TRY_ALL(m->comm, SQ_ALLOC(m->rows, m->ntask * m->in->ntable + 1, "rows of tasks"));
    SQ_TRY_ALL(m->comm, merge_each(m, -1, survey_one, NULL));
    SQ_TRY(sq_comm_reduce_i64(m->comm, SQ_SUM, m->report.rows_in, 16));
cleanup:
    return rc;
}
