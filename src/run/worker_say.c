#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "run/worker_internal.h"

static const double SHORT = 0.25; /* mean seconds of tasks that begin without a message each */

void worker_set_text(char out[WIRE_TEXT], const char *text)
{
    snprintf(out, WIRE_TEXT, "%.*s", WIRE_TEXT - 1, text);
}

sq_status worker_say(run_worker *w, wire_kind kind, const void *body, uint32_t size)
{
    w->last_sent = sq_now();
    return sq_mailbox_send(w->setup.mailbox, 0, kind, body, size);
}

uint64_t worker_index_of(const run_worker *w, const sq_task *task)
{
    return sq_survey_index(w->survey, task->phase, task->patch, task->realisation);
}

/* Nothing else may begin in silence while a suspect, the last task, or a long one is at work. */
static wire_present present_at(const run_worker *w, const sq_task *task, int alone, uint64_t after)
{
    int silent = !alone && after && w->mean > 0 && w->mean < SHORT;
    return (wire_present){.index = worker_index_of(w, task),
                          .phase = task->phase,
                          .what = silent ? WIRE_SILENT : WIRE_AT};
}

sq_status worker_say_started(run_worker *w, const sq_task *task, int alone)
{
    w->announced = present_at(w, task, alone, w->asked + w->count);
    return worker_say(w, WIRE_STARTED, &w->announced, sizeof w->announced);
}

/* What begins next, to be said with results. */
static void announce_next(run_worker *w)
{
    const held_task *next = w->asked ? &w->ahead[0] : w->count ? &w->queue[w->head] : NULL;
    w->announced = (wire_present){.what = WIRE_IDLE};
    if (next)
        w->announced = present_at(w, &next->task, next->alone, w->asked + w->count - 1);
}

sq_status worker_begin_task(run_worker *w, const sq_task *task)
{
    const wire_present *a = &w->announced;
    if (a->what != WIRE_IDLE && a->phase == task->phase && a->index == worker_index_of(w, task))
        return SQ_OK;
    if (a->what == WIRE_SILENT && sq_now() - w->last_sent < w->survey->config->execution.flush)
        return SQ_OK;
    return worker_say_started(w, task, 0);
}

/* 0 when a result cannot share a message with those that are in it. */
static int add_item(wire_done *d, const wire_result *r)
{
    if (!d->count) {
        d->first = r->index;
        d->phase = r->phase;
        memcpy(d->segment, r->place.segment, sizeof d->segment);
    }
    if (d->count == WIRE_ITEMS || r->phase != d->phase || r->index < d->first ||
        r->index - d->first > UINT16_MAX || strcmp(r->place.segment, d->segment) != 0)
        return 0;
    uint32_t attempt = r->attempt < WIRE_TAKEN ? r->attempt : WIRE_TAKEN - 1;
    d->item[d->count++] = (wire_item){.input = r->input,
                                      .hash = r->place.hash,
                                      .offset = r->place.offset,
                                      .length = r->place.length,
                                      .rows = r->rows,
                                      .seconds = r->seconds,
                                      .index = (uint16_t)(r->index - d->first),
                                      .attempt = (uint16_t)(attempt | (r->taken ? WIRE_TAKEN : 0))};
    return 1;
}

sq_status worker_report_done(run_worker *w)
{
    sq_status rc = SQ_OK;
    announce_next(w);
    for (size_t i = 0; i < w->pendings;) {
        wire_done d = {.present = w->announced};
        while (i < w->pendings && add_item(&d, &w->pending[i]))
            i++;
        uint32_t size = (uint32_t)(offsetof(wire_done, item) + (size_t)d.count * sizeof *d.item);
        SQ_TRY(worker_say(w, WIRE_DONE, &d, size));
    }
    w->pendings = 0;
cleanup:
    return rc;
}

sq_status worker_report_failure(run_worker *w, wire_result *r, sq_status status, const char *text)
{
    r->status = (int32_t)status;
    worker_set_text(r->text, text);
    return worker_say(w, WIRE_FAILED, r, sizeof *r);
}

sq_status worker_report_lost(run_worker *w, sq_status status, const char *text)
{
    sq_status rc = SQ_OK;
    for (size_t i = 0; i < w->pendings; i++)
        SQ_TRY(worker_report_failure(w, &w->pending[i], status, text));
    w->pendings = 0;
cleanup:
    return rc;
}

void sq_worker_leave(run_worker *w, sq_status status)
{
    wire_bye bye = {.status = (int32_t)status};
    if (status != SQ_OK)
        worker_set_text(bye.text, sq_error());
    sq_status rc = worker_say(w, WIRE_BYE, &bye, sizeof bye);
    if (rc != SQ_OK)
        sq_warn("cannot say goodbye to rank 0: %s", sq_error());
}
