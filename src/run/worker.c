#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "probe/product.h"
#include "run/paths.h"
#include "run/present.h"
#include "run/watchdog.h"
#include "run/worker_internal.h"

enum { FLUSH_BYTES = 8 << 20 };
static const double HEARTBEAT = 2; /* seconds between heartbeats of an idle worker */

sq_status sq_worker_create(const worker_setup *setup, run_worker **out)
{
    sq_status rc = SQ_OK;
    run_worker *w = NULL;
    const sq_probe_class *cls = setup->survey->config->cls;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(w, 1, "worker"));
    w->setup = *setup;
    w->survey = setup->survey;
    SQ_TRY(sq_run_path(setup->folder, SQ_RUN_SHARDS, w->shards));
    SQ_TRY(sq_shard_create(w->shards, setup->name,
                           (uint64_t)setup->survey->config->execution.segment << 20, &w->shard));
    SQ_TRY(sq_product_create(&setup->survey->d, &w->product));
    SQ_TRY(sq_prefetch_create(setup->survey, &w->reader));
    if (setup->base) {
        char index[SQ_PATH_MAX];
        SQ_TRY(sq_run_path(setup->folder, SQ_RUN_BASE, index));
        SQ_TRY(sq_base_open(setup->survey, setup->base, index, &w->base));
    }
    if (cls->start)
        SQ_TRY(cls->start(setup->survey->self));
    *out = w;
    w = NULL;
cleanup:
    sq_worker_destroy(w);
    return rc;
}

void sq_worker_destroy(run_worker *w)
{
    if (!w)
        return;
    sq_prefetch_destroy(w->reader);
    sq_base_close(w->base);
    sq_shard_close(w->shard);
    sq_product_destroy(w->product);
    sq_free(w->queue);
    sq_free(w->pending);
    sq_free(w);
}

int sq_worker_finished(const run_worker *w)
{
    return w->finished;
}

static sq_status queue_range(run_worker *w, const wire_range *range)
{
    if (range->phase < 0 || range->phase >= w->survey->d.nphase ||
        range->index + range->count > sq_survey_tasks(w->survey, range->phase))
        return sq_fail(SQ_ERR_COMM, "worker: was given tasks that do not exist");
    if (w->head) {
        memmove(w->queue, w->queue + w->head, w->count * sizeof *w->queue);
        w->head = 0;
    }
    sq_status rc = SQ_GROW(w->queue, w->capacity, w->count + range->count, "worker's tasks");
    if (rc != SQ_OK)
        return rc;
    for (uint64_t k = 0; k < range->count; k++) {
        held_task *h = &w->queue[w->count++];
        h->task = sq_survey_task(w->survey, range->phase, range->index + k);
        h->task.attempt = range->attempt;
        h->alone = range->alone;
    }
    return SQ_OK;
}

static int same_task(const sq_task *a, const sq_task *b)
{
    return a->phase == b->phase && a->patch == b->patch && a->realisation == b->realisation;
}

static void cancel(run_worker *w, const wire_range *range)
{
    sq_task task = sq_survey_task(w->survey, range->phase, range->index);
    for (size_t i = 0; i < w->count; i++) {
        held_task *h = &w->queue[w->head + i];
        if (same_task(&h->task, &task)) {
            memmove(h, h + 1, (w->count - i - 1) * sizeof *h);
            w->count--;
            return;
        }
    }
    if (w->asked)
        w->cancelled[w->cancel_next++ % 8] = (held_task){.task = task, .alone = 1};
}

static int was_cancelled(run_worker *w, const sq_task *task)
{
    for (int i = 0; i < 8; i++) {
        if (w->cancelled[i].alone && same_task(&w->cancelled[i].task, task)) {
            w->cancelled[i].alone = 0;
            return 1;
        }
    }
    return 0;
}

/* Make pending results durable and report them. */
static sq_status flush(run_worker *w)
{
    if (!w->pendings)
        return SQ_OK;
    double start = sq_now();
    sq_status flushed = sq_shard_flush(w->shard);
    w->write_seconds += sq_now() - start;
    return flushed == SQ_OK ? worker_report_done(w) : worker_report_lost(w, flushed, sq_error());
}

static void forget_tasks(run_worker *w)
{
    sq_prefetch_quiesce(w->reader);
    w->count = w->head = 0;
    w->asked = 0;
    w->announced.what = WIRE_IDLE;
    memset(w->cancelled, 0, sizeof w->cancelled);
}

static sq_status load_phase(run_worker *w, const wire_phase *phase)
{
    sq_status rc = SQ_OK;
    char path[SQ_PATH_MAX];
    sq_hash hash;
    const sq_probe_class *cls = w->survey->config->cls;
    forget_tasks(w);
    if (!phase->has_file || !cls->load_phase)
        return SQ_OK;
    SQ_TRY(sq_run_phase_path(w->setup.folder, phase->phase, path));
    SQ_TRY(sq_hash_file(path, &hash));
    sq_base_set_phase(w->base, phase->phase, hash);
    if (!sq_hash_equal(hash, phase->hash)) {
        rc = sq_fail(SQ_ERR_CORRUPT, "%s: is not the file that rank 0 wrote", path);
        goto cleanup;
    }
    SQ_TRY(cls->load_phase(w->survey->self, phase->phase, path));
cleanup:
    return rc;
}

sq_status sq_worker_handle(run_worker *w, const sq_message *message)
{
    sq_status rc = SQ_OK;
    wire_range range;
    wire_phase phase;
    w->last_heard = sq_now();
    w->paused = message->kind == WIRE_PAUSE;
    switch ((wire_kind)message->kind) {
    case WIRE_ASSIGN:
        memcpy(&range, message->body, sizeof range);
        return queue_range(w, &range);
    case WIRE_CANCEL:
        memcpy(&range, message->body, sizeof range);
        cancel(w, &range);
        return SQ_OK;
    case WIRE_DRAIN:
        forget_tasks(w);
        SQ_TRY(flush(w));
        return worker_say(w, WIRE_DRAINED, NULL, 0);
    case WIRE_PHASE:
        memcpy(&phase, message->body, sizeof phase);
        return load_phase(w, &phase);
    case WIRE_SHUTDOWN:
        forget_tasks(w);
        w->finished = 1;
        return flush(w);
    case WIRE_ALIVE:
    case WIRE_PAUSE:
        return SQ_OK;
    default:
        return sq_fail(SQ_ERR_COMM, "worker: unknown message %u", message->kind);
    }
cleanup:
    return rc;
}

/* Keep the reader busy: one input ahead. A suspect's reading counts as its execution. */
static sq_status read_ahead(run_worker *w)
{
    sq_status rc = SQ_OK;
    while (w->count && sq_prefetch_room(w->reader)) {
        held_task *h = &w->queue[w->head];
        if (h->alone)
            SQ_TRY(worker_say_started(w, &h->task, 1));
        SQ_TRY(sq_prefetch_ask(w->reader, &h->task, h->alone));
        w->ahead[w->asked++] = *h;
        w->head++;
        w->count--;
    }
cleanup:
    return rc;
}

static sq_status add_pending(run_worker *w, const wire_result *result)
{
    sq_status rc = SQ_GROW(w->pending, w->pending_capacity, w->pendings + 1, "results");
    if (rc != SQ_OK)
        return rc;
    if (!w->pendings)
        w->pending_since = sq_now();
    w->pending[w->pendings++] = *result;
    return SQ_OK;
}

/* Append a product to the shard. */
static sq_status append(run_worker *w, const sq_record *record, const void *data, size_t size,
                        wire_result *result)
{
    sq_status rc = sq_shard_append(w->shard, record, data, size, &result->place);
    if (rc == SQ_OK)
        return rc;
    /* The segment is given up, and with it what was appended and not flushed. */
    sq_status lost = worker_report_lost(w, rc, sq_error());
    return lost == SQ_OK ? rc : lost;
}

/* Compute one task and append its product to the shard. */
static sq_status compute(run_worker *w, prefetched *item, wire_result *result)
{
    sq_status rc = SQ_OK;
    const sq_probe_class *cls = w->survey->config->cls;
    void *data = NULL;
    size_t size = 0;
    double start = sq_now();
    sq_product_reset(w->product);
    SQ_TRY(cls->process(w->survey->self, &item->task, &item->place, item->input, w->product));
    double processed = sq_now();
    SQ_TRY(sq_product_pack(w->product, &data, &size, &result->rows));
    sq_record record = {.patch = item->task.patch,
                        .phase = (uint32_t)item->task.phase,
                        .realisation = item->task.realisation,
                        .attempt = item->task.attempt,
                        .kind = SQ_RECORD_PRODUCT,
                        .input = item->input_hash,
                        .memory = sq_mem_resident_peak()};
    record.seconds[SQ_SECONDS_READ] = (float)item->seconds;
    record.seconds[SQ_SECONDS_INFER] = (float)sq_product_seconds(w->product, SQ_CLOCK_INFER);
    record.seconds[SQ_SECONDS_DECODE] = (float)sq_product_seconds(w->product, SQ_CLOCK_DECODE);
    record.seconds[SQ_SECONDS_FFT] = (float)sq_product_seconds(w->product, SQ_CLOCK_FFT);
    record.seconds[SQ_SECONDS_WRITE] = (float)(w->write_seconds + sq_now() - processed);
    record.seconds[SQ_SECONDS_WAIT] = (float)w->waited;
    record.seconds[SQ_SECONDS_TOTAL] = (float)(sq_now() - start);
    SQ_TRY(append(w, &record, data, size, result));
    w->write_seconds = sq_now() - processed;
    w->waited = 0;
cleanup:
    sq_free(data);
    return rc;
}

/* The record of an earlier run under this task's name, with the seconds that this took. One that
 * cannot be had is said and computed again: result->taken stays 0. */
static sq_status take_over(run_worker *w, const sq_base_entry *entry, const sq_task *task,
                           double read_seconds, wire_result *result)
{
    sq_status rc = SQ_OK;
    sq_record old;
    void *data = NULL;
    size_t size;
    double start = sq_now();
    rc = sq_base_read(w->base, entry, &old, &data, &size);
    if (rc == SQ_OK)
        rc = sq_product_count(w->product, data, size, &result->rows);
    if (rc != SQ_OK) {
        sq_warn("base: %s; computed again", sq_error());
        sq_free(data);
        sq_error_clear();
        return SQ_OK;
    }
    sq_record record = {.patch = task->patch,
                        .phase = (uint32_t)task->phase,
                        .realisation = task->realisation,
                        .attempt = task->attempt,
                        .kind = SQ_RECORD_PRODUCT,
                        .input = entry->input,
                        .memory = sq_mem_resident_peak()};
    record.seconds[SQ_SECONDS_READ] = (float)read_seconds;
    record.seconds[SQ_SECONDS_TOTAL] = (float)(sq_now() - start);
    SQ_TRY(append(w, &record, data, size, result));
    result->input = entry->input;
    result->taken = 1;
cleanup:
    sq_free(data);
    return rc;
}

static const sq_base_entry *find_base(const run_worker *w, const sq_task *task)
{
    return sq_base_find(
        w->base, task->phase,
        sq_survey_index(w->survey, task->phase, task->patch, task->realisation));
}

/* The next task, when it need not even be read. */
static sq_status take_next(run_worker *w, int *taken)
{
    sq_status rc = SQ_OK;
    *taken = 0;
    if (!w->base || !w->count)
        return SQ_OK;
    const sq_task *task = &w->queue[w->head].task;
    const sq_base_entry *entry = find_base(w, task);
    double start = sq_now();
    if (!entry || !sq_base_trusts(w->base, entry))
        return SQ_OK;
    wire_result result = {.index = entry->index, .phase = task->phase, .attempt = task->attempt};
    result.status = (int32_t)take_over(w, entry, task, 0, &result);
    if (result.status == SQ_OK && !result.taken)
        return SQ_OK;
    result.seconds = (float)(sq_now() - start);
    *taken = 1;
    w->head++;
    w->count--;
    if (result.status == SQ_OK)
        SQ_TRY(add_pending(w, &result));
    else
        SQ_TRY(worker_report_failure(w, &result, (sq_status)result.status, sq_error()));
cleanup:
    return rc;
}

static sq_status process(run_worker *w, prefetched *item)
{
    sq_status rc = SQ_OK;
    const sq_task *task = &item->task;
    double start = sq_now();
    wire_result result = {
        .index = worker_index_of(w, task),
        .phase = task->phase,
        .attempt = task->attempt,
        .status = (int32_t)item->status,
        .input = item->input_hash};
    if (item->status == SQ_OK) {
        if (!item->alone)
            SQ_TRY(worker_begin_task(w, task));
        sq_error_clear();
        sq_present_begin(PRESENT_PROCESS, task);
        const sq_base_entry *entry = find_base(w, task);
        if (entry && sq_hash_equal(entry->input, item->input_hash))
            result.status = (int32_t)take_over(w, entry, task, item->seconds, &result);
        if (!result.taken && result.status == SQ_OK)
            result.status = (int32_t)compute(w, item, &result);
        sq_present_end(PRESENT_PROCESS);
        if (result.status != SQ_OK)
            worker_set_text(result.text, sq_error());
    } else {
        worker_set_text(result.text, item->text);
    }
    result.seconds = (float)(sq_now() - start);
    w->mean = w->mean > 0 ? 0.8 * w->mean + 0.2 * (double)result.seconds : (double)result.seconds;
    sq_debug("phase %d, patch %llu, realisation %u, attempt %u: %s, %.3f s", task->phase,
             (unsigned long long)task->patch, task->realisation, task->attempt,
             result.status == SQ_OK ? "done" : result.text, (double)result.seconds);
    if (result.status == SQ_OK)
        SQ_TRY(add_pending(w, &result));
    else
        SQ_TRY(worker_say(w, WIRE_FAILED, &result, sizeof result));
cleanup:
    return rc;
}

/* Rank 0 refills only what has been reported, so nothing waits for a flush while little is left to
 * do. */
static int should_flush(const run_worker *w)
{
    return w->pendings &&
           (w->count + w->asked <= 1 || sq_shard_unflushed(w->shard) >= FLUSH_BYTES ||
            sq_now() - w->pending_since >= w->survey->config->execution.flush);
}

sq_status sq_worker_work(run_worker *w, double seconds, int *busy)
{
    sq_status rc = SQ_OK;
    prefetched *item = NULL;
    int taken = 0;
    *busy = w->asked || w->count || w->pendings;
    SQ_TRY(take_next(w, &taken));
    if (taken)
        return should_flush(w) ? flush(w) : SQ_OK;
    SQ_TRY(read_ahead(w));
    double start = sq_now();
    if (w->asked && sq_prefetch_take(w->reader, seconds, &item)) {
        w->waited += sq_now() - start;
        w->asked--;
        memmove(w->ahead, w->ahead + 1, (size_t)w->asked * sizeof *w->ahead);
        if (!was_cancelled(w, &item->task)) {
            /* The next input is read while this one computes. */
            SQ_TRY(read_ahead(w));
            SQ_TRY(process(w, item));
        }
    } else {
        w->waited += sq_now() - start;
    }
    if (should_flush(w))
        SQ_TRY(flush(w));
    if (!*busy && !w->paused && sq_now() - w->last_sent > HEARTBEAT) {
        wire_range beat = {.count = 0};
        SQ_TRY(worker_say(w, WIRE_HEARTBEAT, &beat, sizeof beat));
    }
cleanup:
    if (item)
        sq_prefetch_done(w->reader, item);
    return rc;
}

/* Is rank 0 still there? One that is asked and silent for too long counts as dead; and what this
 * rank sees of others on its node is passed on. */
static sq_status mind_others(run_worker *w, int busy, double *before)
{
    sq_status rc = SQ_OK;
    double now = sq_now(), away = now - *before;
    *before = now;
    for (int rank; (rank = sq_watchdog_gone()) >= 0;) {
        wire_gone gone = {.rank = rank};
        if (rank == 0)
            return sq_fail(SQ_ERR_COMM, "rank 0 has died");
        SQ_TRY(worker_say(w, WIRE_GONE, &gone, sizeof gone));
    }
    if (busy || w->paused || away > HEARTBEAT)
        w->last_heard = now; /* nothing was asked, or this rank did not listen */
    else if (now - w->last_heard > sq_watchdog_seconds())
        rc = sq_fail(SQ_ERR_COMM, "rank 0 has been silent for %.0f s", now - w->last_heard);
cleanup:
    return rc;
}

sq_status sq_worker_run(run_worker *w)
{
    sq_status rc = SQ_OK;
    double before = w->last_heard = sq_now();
    SQ_TRY(worker_say(w, WIRE_READY, NULL, 0));
    while (!w->finished) {
        sq_message message;
        int got = 1, busy = w->asked || w->count || w->pendings;
        SQ_TRY(mind_others(w, busy, &before));
        double wait = busy ? 0 : 0.5;
        while (got && !w->finished) {
            SQ_TRY(sq_mailbox_receive(w->setup.mailbox, wait, &message, &got));
            wait = 0;
            if (got)
                SQ_TRY(sq_worker_handle(w, &message));
        }
        if (!w->finished)
            SQ_TRY(sq_worker_work(w, 0.005, &busy));
    }
cleanup:
    return rc;
}
