/* Distribution of the tasks and reading of their records. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sky/sphere.h"
#include "store/merge_internal.h"

static int is_before(const sq_merge_task *p, const sq_merge_task *q)
{
    if (p->phase != q->phase)
        return p->phase < q->phase;
    if (p->patch != q->patch)
        return p->patch < q->patch;
    return p->realisation < q->realisation;
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

/* Rank 0: are the tasks in their order? Counts them. */
static sq_status count_tasks(merge *m)
{
    const sq_merge *in = m->in;
    sq_merge_task before, task;
    sq_status rc = SQ_OK;
    for (int64_t i = 0; i < in->ntask; i++, before = task) {
        SQ_TRY(in->task(in->tasks, i, &task));
        if (i && !is_before(&before, &task))
            SQ_TRY(sq_fail(SQ_ERR_USAGE, "reduce: patch %llu is given twice or out of order",
                           (unsigned long long)task.patch));
        m->report.done += task.state == SQ_TASK_DONE;
        m->committed += task.state == SQ_TASK_DONE ? task.place.length : 0;
        m->report.failed += task.state == SQ_TASK_FAILED;
        m->report.quarantined += task.state == SQ_TASK_QUARANTINED;
    }
cleanup:
    return rc;
}

/* Rank 0, local: committed tasks are dealt out in turn, so that every rank's share is spread over
 * the whole sky and the rows of one bucket come from all ranks alike. */
static sq_status deal(const merge *m, merge_post *post, int64_t *next, int64_t *dealt)
{
    sq_merge_task t;
    for (; *next < m->in->ntask && merge_post_fits(post, 1); ++*next) {
        sq_status rc = m->in->task(m->in->tasks, *next, &t);
        if (rc != SQ_OK)
            return rc;
        if (t.state != SQ_TASK_DONE)
            continue;
        merge_task task = {*next, t.patch, t.phase, t.realisation, t.tile, 0, t.place};
        memcpy(merge_post_put(post, (int)((*dealt)++ % m->size)), &task, sizeof task);
    }
    return SQ_OK;
}

static sq_status share(merge *m)
{
    merge_post post = {0};
    void *got = NULL;
    size_t n;
    int64_t next = 0, dealt = 0;
    int more = 1;
    sq_status rc;
    SQ_TRY_ALL(m->comm,
               merge_post_init(&post, m->comm, sizeof(merge_task), m->rank ? 0 : m->limit / 8, 1));
    while (more) {
        SQ_TRY_ALL(m->comm, m->rank == 0 ? deal(m, &post, &next, &dealt) : SQ_OK);
        SQ_TRY(merge_post_exchange(&post, &got, &n));
        if (n)
            memcpy(m->task + m->ntask, got, n * sizeof *m->task);
        m->ntask += (int64_t)n;
        sq_free(got);
        got = NULL;
        more = m->rank == 0 && next < m->in->ntask;
        SQ_TRY(merge_more(m, &more));
    }
cleanup:
    sq_free(got);
    merge_post_clear(&post);
    return rc;
}

sq_status merge_share_tasks(merge *m)
{
    sq_status rc = SQ_OK;
    int64_t count[3];
    SQ_TRY_ALL(m->comm, m->rank == 0 ? count_tasks(m) : SQ_OK);
    memcpy(count, (int64_t[]){m->report.done, m->report.failed, m->report.quarantined},
           sizeof count);
    SQ_TRY(sq_comm_broadcast(m->comm, 0, count, sizeof count));
    m->report.done = m->report.records = count[0];
    m->report.failed = count[1];
    m->report.quarantined = count[2];
    SQ_TRY_ALL(m->comm, SQ_ALLOC(m->task, count[0] / m->size + 2, "tasks"));
    SQ_TRY(share(m));
    qsort(m->task, (size_t)m->ntask, sizeof *m->task, by_place);
cleanup:
    return rc;
}

sq_status merge_more(const merge *m, int *more)
{
    int64_t any = *more;
    sq_status rc = sq_comm_reduce_i64(m->comm, SQ_MAX, &any, 1);
    *more = any > 0;
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

sq_status merge_cursor_load(merge *m, merge_cursor *at)
{
    const merge_task *task = &m->task[at->task];
    if (at->loaded)
        return SQ_OK;
    sq_status rc = merge_load(m, &task->place, &at->record, &at->payload);
    if (rc != SQ_OK)
        return rc;
    at->loaded = 1;
    if (at->record.patch != task->patch || at->record.phase != task->phase ||
        at->record.realisation != task->realisation || at->record.kind != SQ_RECORD_PRODUCT)
        return sq_fail(SQ_ERR_CORRUPT, "%s/%s: the record at byte %llu is not of patch %llu",
                       m->in->shards, task->place.segment, (unsigned long long)task->place.offset,
                       (unsigned long long)task->patch);
    return SQ_OK;
}

void merge_cursor_clear(merge_cursor *at)
{
    if (at->loaded)
        sq_payload_clear(&at->payload);
    at->loaded = 0;
}

void merge_cursor_next(merge_cursor *at)
{
    merge_cursor_clear(at);
    at->task++;
    at->row = 0;
    at->table = 0;
}

int64_t merge_key(const merge_part *part, const merge_task *task, const sq_payload_table *rows,
                  int64_t r)
{
    if (part->ra < 0)
        return task->number;
    double ra = ((const double *)rows->column[part->ra])[r];
    double dec = ((const double *)rows->column[part->dec])[r];
    if (!isfinite(ra) || !isfinite(dec) || fabs(dec) > 90)
        return INT64_MAX - 1;
    return sq_healpix29(sq_wrap_ra(ra), dec);
}
