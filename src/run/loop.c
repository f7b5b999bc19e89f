#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "run/loop_internal.h"
#include "run/paths.h"
#include "run/signals.h"
#include "run/watchdog.h"

static const double TICK = 0.25; /* seconds */
static const double LEDGER_FLUSH = 0.2;
static const double LONGEST_WAIT = 0.25;
static const double AWAY = 2;
static const double LAST_WORDS = 0.5; /* that a dead worker's messages may take */

int control_rank(const control *c, uint32_t worker)
{
    return c->setup->own ? 0 : (int)worker + 1;
}

static uint32_t worker_of(const control *c, int rank)
{
    return c->setup->own ? 0 : (uint32_t)(rank - 1);
}

sq_status control_tell(control *c, uint32_t worker, wire_kind kind, const void *body, uint32_t size)
{
    if (c->state[worker] != CONTROL_HERE)
        return SQ_OK;
    sq_status rc = sq_mailbox_send(c->setup->mailbox, control_rank(c, worker), kind, body, size);
    c->messages++;
    if (rc == SQ_ERR_COMM && !c->doomed[worker]) {
        sq_warn("rank %d: %s", control_rank(c, worker), sq_error());
        c->doomed[worker] = sq_now();
        c->any_doomed = 1;
    }
    return rc == SQ_ERR_COMM ? SQ_OK : rc;
}

static sq_status send_range(control *c, const sq_action *a, wire_kind kind)
{
    wire_range range = {.index = a->index,
                        .count = a->count,
                        .phase = a->phase,
                        .attempt = a->attempt,
                        .alone = a->alone};
    return control_tell(c, a->worker, kind, &range, sizeof range);
}

static sq_status act(control *c, const sq_action *a)
{
    switch (a->kind) {
    case SQ_ACTION_ASSIGN:
        return send_range(c, a, WIRE_ASSIGN);
    case SQ_ACTION_CANCEL:
        return send_range(c, a, WIRE_CANCEL);
    case SQ_ACTION_DRAIN:
        return control_tell(c, a->worker, WIRE_DRAIN, NULL, 0);
    case SQ_ACTION_COMMIT:
        return control_record_commit(c, a);
    case SQ_ACTION_RETRY:
    case SQ_ACTION_FAIL:
        return control_record_failure(c, a);
    case SQ_ACTION_DEATH:
    case SQ_ACTION_QUARANTINE:
        return control_record_death(c, a);
    case SQ_ACTION_SUSPECT:
        return control_record_suspects(c, a);
    case SQ_ACTION_PHASE_DONE:
        return control_pass_barrier(c, a->phase);
    case SQ_ACTION_DROP:
    case SQ_ACTION_END:
        break;
    }
    return SQ_OK;
}

sq_status control_perform(control *c)
{
    sq_action action;
    sq_status rc = SQ_OK;
    while (rc == SQ_OK && sq_scheduler_next(c->scheduler, &action))
        rc = act(c, &action);
    return rc;
}

sq_status control_notify(control *c, const sq_notice *notice)
{
    sq_status rc = sq_scheduler_notify(c->scheduler, sq_now(), notice);
    return rc == SQ_OK ? control_perform(c) : rc;
}

static sq_status on_bye(control *c, uint32_t worker, const wire_bye *bye)
{
    c->state[worker] = bye->status == SQ_ERR_COMM ? CONTROL_GONE : CONTROL_LEFT;
    if (bye->status == SQ_OK)
        return SQ_OK;
    c->gave_up += bye->status != SQ_ERR_COMM;
    sq_warn("rank %d gave up: %s", control_rank(c, worker), bye->text);
    c->result->status = (sq_status)bye->status;
    snprintf(c->result->reason, sizeof c->result->reason, "%s", bye->text);
    return control_notify(c, &(sq_notice){.kind = SQ_NOTICE_LOST, .worker = worker});
}

/* A process was seen to have died. What it said before may still be on its way. */
static void on_gone(control *c, int rank)
{
    uint32_t worker = worker_of(c, rank);
    if (rank < 1 || worker >= c->setup->workers || c->doomed[worker])
        return;
    c->doomed[worker] = sq_now();
    c->any_doomed = 1;
}

/* A task that brings a rank down by itself leaves a note. */
static void read_last_words(const control *c, sq_notice *lost)
{
    char folder[SQ_PATH_MAX], name[64];
    present_note note[PRESENT_PLACES];
    int n;
    snprintf(name, sizeof name, "e%u-r%d", c->setup->execution, control_rank(c, lost->worker));
    if (sq_run_path(c->setup->folder, SQ_RUN_DEATHS, folder) == SQ_OK &&
        sq_present_read_notes(folder, name, note, &n) == SQ_OK && n == 1) {
        const sq_task *task = &note->task;
        lost->known = task->phase >= 0 && task->phase < c->survey->d.nphase;
        lost->phase = task->phase;
        lost->index = lost->known ? sq_survey_index(c->survey, task->phase, task->patch,
                                                    task->realisation)
                                  : 0;
    }
    sq_error_clear();
}

/* What it says is in the ledger. */
static sq_status forget_last_words(const control *c, uint32_t worker)
{
    char path[SQ_PATH_MAX], name[64];
    snprintf(name, sizeof name, SQ_RUN_DEATHS "/e%u-r%d", c->setup->execution,
             control_rank(c, worker));
    sq_status rc = sq_ledger_flush(c->setup->ledger);
    if (rc == SQ_OK && sq_run_path(c->setup->folder, name, path) == SQ_OK)
        unlink(path);
    return rc;
}

static sq_status bury(control *c, double now)
{
    sq_status rc = SQ_OK;
    c->any_doomed = 0;
    for (uint32_t w = 0; w < c->setup->workers; w++) {
        if (!c->doomed[w] || c->state[w] == CONTROL_GONE)
            continue;
        if (now - c->doomed[w] < LAST_WORDS) {
            c->any_doomed = 1;
            continue;
        }
        sq_notice lost = {.kind = SQ_NOTICE_LOST, .worker = w};
        sq_warn("rank %d has died", control_rank(c, w));
        c->state[w] = CONTROL_GONE;
        read_last_words(c, &lost);
        c->charged = 0;
        SQ_TRY(control_notify(c, &lost));
        if (lost.known && c->charged)
            SQ_TRY(forget_last_words(c, w));
    }
cleanup:
    return rc;
}

/* What makes no sense is logged and dropped: it may be late from another state of affairs. */
static sq_status pass_on(control *c, const sq_notice *n)
{
    sq_status rc = control_notify(c, n);
    if (rc != SQ_ERR_USAGE)
        return rc;
    sq_warn("message of rank %d: %s", control_rank(c, n->worker), sq_error());
    return SQ_OK;
}

static sq_status on_result(control *c, uint32_t worker, const wire_result *r)
{
    c->present = r;
    sq_status rc = pass_on(c, &(sq_notice){.kind = SQ_NOTICE_RESULT,
                                           .worker = worker,
                                           .phase = r->phase,
                                           .index = r->index,
                                           .seconds = r->seconds,
                                           .ok = r->status == SQ_OK,
                                           .failure = sq_failure_class_of((sq_status)r->status)});
    c->present = NULL;
    return rc;
}

static sq_status on_present(control *c, uint32_t worker, const wire_present *p)
{
    control_present *now = &c->present_of[worker];
    now->since = 0;
    if (p->what == WIRE_IDLE)
        return SQ_OK;
    if (p->phase >= 0 && p->phase < c->survey->d.nphase)
        *now = (control_present){sq_survey_task(c->survey, p->phase, p->index), sq_now(),
                                 p->what == WIRE_SILENT};
    return pass_on(c, &(sq_notice){.kind = SQ_NOTICE_STARTED,
                                   .worker = worker,
                                   .phase = p->phase,
                                   .index = p->index,
                                   .silent = p->what == WIRE_SILENT});
}

static sq_status on_done(control *c, uint32_t worker, const wire_done *d)
{
    sq_status rc = SQ_OK;
    for (int i = 0; i < d->count && i < WIRE_ITEMS; i++) {
        const wire_item *item = &d->item[i];
        wire_result r = {.index = d->first + item->index,
                         .phase = d->phase,
                         .attempt = item->attempt & (WIRE_TAKEN - 1u),
                         .seconds = item->seconds,
                         .rows = item->rows,
                         .taken = (item->attempt & WIRE_TAKEN) != 0,
                         .input = item->input,
                         .place = {.offset = item->offset,
                                   .length = item->length,
                                   .hash = item->hash}};
        memcpy(r.place.segment, d->segment, sizeof r.place.segment);
        SQ_TRY(on_result(c, worker, &r));
    }
    if (c->state[worker] != CONTROL_GONE)
        SQ_TRY(on_present(c, worker, &d->present));
cleanup:
    return rc;
}

/* The body of a message; what the sender left out is 0. */
#define BODY(type, name)                                                                           \
    type name;                                                                                     \
    memcpy(&name, m->body, sizeof name)

/* A message of a worker. */
sq_status control_hear(control *c, const sq_message *m)
{
    uint32_t worker = worker_of(c, m->source);
    sq_notice n = {.worker = worker};
    if (c->state[worker] == CONTROL_GONE && m->kind != WIRE_DONE && m->kind != WIRE_FAILED)
        return SQ_OK;
    switch ((wire_kind)m->kind) {
    case WIRE_READY:
        n.kind = SQ_NOTICE_READY;
        return pass_on(c, &n);
    case WIRE_STARTED: {
        BODY(wire_present, present);
        return on_present(c, worker, &present);
    }
    case WIRE_HEARTBEAT: {
        BODY(wire_range, range);
        n.kind = SQ_NOTICE_HEARTBEAT;
        n.holding = range.count;
        c->present_of[worker].since = 0;
        sq_status rc = control_tell(c, worker, WIRE_ALIVE, NULL, 0);
        return rc == SQ_OK ? pass_on(c, &n) : rc;
    }
    case WIRE_DRAINED:
        n.kind = SQ_NOTICE_DRAINED;
        return pass_on(c, &n);
    case WIRE_DONE: {
        BODY(wire_done, done);
        done.segment[SQ_SEGMENT_NAME - 1] = 0;
        return on_done(c, worker, &done);
    }
    case WIRE_FAILED: {
        BODY(wire_result, result);
        result.text[WIRE_TEXT - 1] = 0;
        return on_result(c, worker, &result);
    }
    case WIRE_BYE: {
        BODY(wire_bye, bye);
        bye.text[WIRE_TEXT - 1] = 0;
        return on_bye(c, worker, &bye);
    }
    case WIRE_GONE: {
        BODY(wire_gone, gone);
        on_gone(c, gone.rank);
        return SQ_OK;
    }
    default:
        sq_warn("message %u of rank %d is unknown", m->kind, m->source);
        return SQ_OK;
    }
}

/* How long a task may take in a run of one rank: as the scheduler allows its workers. */
static double patience(const control *c)
{
    double many = DEADLINE_FACTOR * sq_scheduler_get_stats(c->scheduler).mean_seconds,
           limit = c->survey->config->execution.deadline;
    return many > limit ? many : limit;
}

/* With less than half of the workers left a new launch is worth more than going on. */
static sq_status check_strength(control *c)
{
    uint32_t all = c->setup->workers, alive = sq_scheduler_get_stats(c->scheduler).workers;
    c->most = alive > c->most ? alive : c->most;
    if (sq_scheduler_outcome(c->scheduler) != SQ_OUTCOME_NONE || c->stop_sent ||
        2 * c->most < all || 2 * (alive + c->gave_up) >= all || !alive)
        return SQ_OK;
    sq_warn("%u of %u workers are left: patches that have begun are finished", alive, all);
    c->stop_sent = c->result->weak = 1;
    return control_notify(c, &(sq_notice){.kind = SQ_NOTICE_STOP});
}

static sq_status housekeeping(control *c)
{
    sq_status rc = SQ_OK;
    double now = sq_now();
    if (sq_signals_stop_wanted() && !c->stop_sent) {
        c->stop_sent = 1;
        c->result->stop_signal = sq_signals_stop_wanted();
        sq_info("stopping on signal %d: patches that have begun are finished",
                c->result->stop_signal);
        SQ_TRY(control_notify(c, &(sq_notice){.kind = SQ_NOTICE_STOP}));
    }
    if (now - c->last_tick >= TICK) {
        c->last_tick = now;
        for (int rank; (rank = sq_watchdog_gone()) >= 0;)
            on_gone(c, rank);
        if (c->any_doomed)
            SQ_TRY(bury(c, now));
        SQ_TRY(control_notify(c, &(sq_notice){.kind = SQ_NOTICE_TICK}));
        SQ_TRY(check_strength(c));
        if (c->setup->own)
            sq_watchdog_task_limit(patience(c));
    }
    if (!c->setup->own && sq_signals_where_wanted())
        control_say_where(c);
    if (sq_ledger_unflushed(c->setup->ledger) && sq_ledger_age(c->setup->ledger) >= LEDGER_FLUSH)
        SQ_TRY(sq_ledger_flush(c->setup->ledger));
    control_report(c, 0);
cleanup:
    return rc;
}

/* Take all messages that are there, waiting for the first one. */
static sq_status receive(control *c, double wait)
{
    sq_status rc = SQ_OK;
    sq_message message;
    int got = 1;
    /* After a while away (stopped, or busy at a barrier) nobody is judged before what was said
     * meanwhile is heard. */
    int away = sq_now() - c->last_tick > AWAY;
    for (int n = 0; got && n < (away ? INT_MAX : 10000); n++) {
        SQ_TRY(sq_mailbox_receive(c->setup->mailbox, n ? 0 : wait, &message, &got));
        if (!got)
            break;
        c->messages++;
        if (message.kind >= WIRE_READY)
            SQ_TRY(control_hear(c, &message));
        else if (c->setup->own)
            SQ_TRY(sq_worker_handle(c->setup->own, &message));
        if (!away && sq_now() - c->last_tick >= TICK)
            SQ_TRY(housekeeping(c));
    }
cleanup:
    return rc;
}

static sq_status serve(control *c)
{
    sq_status rc = SQ_OK;
    run_worker *own = c->setup->own;
    int busy = 0;
    if (own) {
        sq_message ready = {.kind = WIRE_READY};
        sq_watchdog_task_limit(patience(c));
        SQ_TRY(control_hear(c, &ready));
    }
    while (sq_scheduler_outcome(c->scheduler) == SQ_OUTCOME_NONE) {
        SQ_TRY(receive(c, own ? (busy ? 0 : 0.01) : LONGEST_WAIT));
        if (own)
            SQ_TRY(sq_worker_work(own, 0.005, &busy));
        SQ_TRY(housekeeping(c));
        if (c->restart)
            SQ_TRY(control_begin_anew(c));
    }
    SQ_TRY(sq_ledger_flush(c->setup->ledger));
cleanup:
    return rc;
}

/* Send the workers home and wait for them, as long as a task may take. */
static sq_status dismiss(control *c)
{
    sq_status rc = SQ_OK;
    double until = sq_now() + c->survey->config->execution.drain;
    uint32_t left = 0, waiting;
    if (c->setup->own)
        return SQ_OK;
    for (uint32_t w = 0; w < c->setup->workers; w++)
        SQ_TRY(control_tell(c, w, WIRE_SHUTDOWN, NULL, 0));
    for (;;) {
        waiting = left = 0;
        for (uint32_t w = 0; w < c->setup->workers; w++) {
            waiting += c->state[w] == CONTROL_HERE;
            left += c->state[w] == CONTROL_LEFT;
        }
        if (!waiting || sq_now() > until)
            break;
        SQ_TRY(receive(c, LONGEST_WAIT));
        SQ_TRY(housekeeping(c));
    }
cleanup:
    c->result->lost = c->setup->workers - left;
    return rc;
}

static sq_status prepare(control *c)
{
    sq_status rc = SQ_OK;
    sq_survey_plan(c->survey, c->plan);
    SQ_TRY(SQ_ALLOC(c->doomed, c->setup->workers, "workers"));
    SQ_TRY(SQ_ALLOC(c->present_of, c->setup->workers, "workers"));
    if (c->survey->config->execution.shuffle) {
        SQ_TRY(SQ_ALLOC(c->cost, c->survey->parts, "tile order"));
        for (uint32_t t = 0; t < c->survey->parts; t++)
            c->cost[t] = (double)(sq_hash64(&t, sizeof t) >> 11);
        for (int p = 0; p < c->survey->d.nphase; p++)
            c->plan[p].cost = c->cost;
    }
    SQ_TRY(control_make_scheduler(c));
cleanup:
    return rc;
}

sq_status sq_control_run(const control_setup *setup, control_result *result)
{
    sq_status rc = SQ_OK;
    control c = {.setup = setup, .survey = setup->survey, .result = result, .state = setup->state};
    *result = (control_result){0};
    c.start = c.last_tick = c.last_report = sq_now();
    SQ_TRY(prepare(&c));
    SQ_TRY(sq_scheduler_begin(c.scheduler, sq_now()));
    SQ_TRY(control_perform(&c));
    SQ_TRY(serve(&c));
cleanup:
    /* Also after an error of rank 0 the workers are sent home: none is left waiting for it. */
    if (c.present_of) {
        char text[SQ_ERROR_MAX];
        snprintf(text, sizeof text, "%s", sq_error());
        sq_status dismissed = dismiss(&c);
        if (rc == SQ_OK)
            rc = dismissed;
        else
            sq_fail(rc, "%s", text);
    }
    if (c.scheduler) {
        result->outcome = sq_scheduler_outcome(c.scheduler);
        result->stats = sq_scheduler_get_stats(c.scheduler);
        control_report(&c, 1);
    }
    sq_watchdog_task_limit(0);
    sq_scheduler_destroy(c.scheduler);
    sq_free(c.cost);
    sq_free(c.doomed);
    sq_free(c.present_of);
    return rc;
}
