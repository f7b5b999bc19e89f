#include "run/loop.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "probe/product.h"
#include "run/paths.h"
#include "run/present.h"
#include "run/signals.h"
#include "run/watchdog.h"
#include "run/wire.h"

static const double TICK = 0.25; /* seconds */
static const double LEDGER_FLUSH = 0.2;
static const double LONGEST_WAIT = 0.25;
static const double DEADLINE_FACTOR = 50; /* mean times of a task */
static const double AWAY = 2;
static const double LAST_WORDS = 0.5; /* that a dead worker's messages may take */

typedef struct control {
    const control_setup *setup;
    const sq_survey *survey;
    sq_scheduler *scheduler;
    control_result *result;
    const wire_result *present; /* the result that the scheduler decides about */
    sq_phase_plan plan[SQ_MAX_PHASES];
    double *cost;
    uint8_t *state;  /* [workers] control_worker */
    double *doomed;  /* [workers] since when its process is gone, 0: it is not known to be */
    int any_doomed;
    uint32_t most;    /* workers alive at one time */
    uint32_t gave_up; /* by themselves, with an error */
    present_task *present_of; /* [workers] what it said that it began */
    double start, last_tick, last_report;
    uint64_t resumed;
    double slowest;
    uint64_t slowest_patch;
    int stop_sent;
    int restart; /* the ledger has overtaken the scheduler */
} control;

static int rank_of(const control *c, uint32_t worker)
{
    return c->setup->own ? 0 : (int)worker + 1;
}

static uint32_t worker_of(const control *c, int rank)
{
    return c->setup->own ? 0 : (uint32_t)(rank - 1);
}

static sq_status notify(control *c, const sq_notice *notice);

/* A line about one task. */
static sq_event line(const control *c, sq_event_kind kind, int phase, uint64_t index)
{
    sq_task task = sq_survey_task(c->survey, phase, index);
    return (sq_event){.kind = kind,
                      .execution = c->setup->execution,
                      .phase = (uint32_t)phase,
                      .patch = task.patch,
                      .realisation = task.realisation};
}

static const char *patch_name(const control *c, int phase, uint64_t index, char *out, size_t size)
{
    sq_task task = sq_survey_task(c->survey, phase, index);
    uint32_t tile = sq_survey_tile_of(c->survey, phase, task.patch);
    if (c->survey->ntile)
        snprintf(out, size, "tile %s, patch %llu", sq_tile_list_name(c->survey->tiles, tile),
                 (unsigned long long)task.patch);
    else
        snprintf(out, size, "patch %llu, realisation %u", (unsigned long long)task.patch,
                 task.realisation);
    return out;
}

static sq_status record_commit(control *c, const sq_action *a)
{
    const wire_result *r = c->present;
    sq_event e = line(c, SQ_EVENT_COMMIT, a->phase, a->index);
    e.attempt = r->attempt;
    e.rows = r->rows;
    e.input = r->input;
    e.place = r->place;
    e.count = r->taken;
    c->result->taken += r->taken;
    if (r->seconds > c->slowest) {
        c->slowest = r->seconds;
        c->slowest_patch = e.patch;
    }
    return sq_ledger_append(c->setup->ledger, &e);
}

static sq_status record_failure(control *c, const sq_action *a)
{
    const wire_result *r = c->present;
    int final = a->kind == SQ_ACTION_FAIL;
    char name[128];
    sq_event e = line(c, final ? SQ_EVENT_QUARANTINE : SQ_EVENT_FAIL, a->phase, a->index);
    e.attempt = r->attempt;
    e.status = (sq_status)r->status;
    e.input = r->input;
    snprintf(e.text, sizeof e.text, "%s", r->text);
    patch_name(c, a->phase, a->index, name, sizeof name);
    if (final)
        sq_warn("%s failed: %s", name, r->text);
    else
        sq_debug("%s, attempt %u failed: %s", name, r->attempt, r->text);
    if (sq_failure_class_of(e.status) == SQ_FAILURE_INFRA) {
        c->result->status = e.status;
        snprintf(c->result->reason, sizeof c->result->reason, "%s", r->text);
    }
    return sq_ledger_append(c->setup->ledger, &e);
}

static sq_status record_death(control *c, const sq_action *a)
{
    char name[128];
    int quarantine = a->kind == SQ_ACTION_QUARANTINE;
    sq_event e = line(c, quarantine ? SQ_EVENT_QUARANTINE : SQ_EVENT_DEATH, a->phase, a->index);
    e.count = quarantine ? a->count : (uint64_t)rank_of(c, a->worker);
    e.status = quarantine ? SQ_ERR_INTERNAL : SQ_OK;
    patch_name(c, a->phase, a->index, name, sizeof name);
    if (quarantine)
        snprintf(e.text, sizeof e.text, SQ_RUN_QUARANTINED, (unsigned long long)a->count);
    else
        snprintf(e.text, sizeof e.text, "rank %d died or hung", rank_of(c, a->worker));
    sq_warn("%s: %s%s", name, e.text, quarantine ? "; quarantined" : "");
    return sq_ledger_append(c->setup->ledger, &e);
}

/* A worker that cannot be spoken to is as good as dead. */
static sq_status tell(control *c, uint32_t worker, wire_kind kind, const void *body, uint32_t size)
{
    if (c->state[worker] != CONTROL_HERE)
        return SQ_OK;
    sq_status rc = sq_mailbox_send(c->setup->mailbox, rank_of(c, worker), kind, body, size);
    if (rc == SQ_ERR_COMM && !c->doomed[worker]) {
        sq_warn("rank %d: %s", rank_of(c, worker), sq_error());
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
    return tell(c, a->worker, kind, &range, sizeof range);
}

/* Let the probe condense a phase, unless its file stands from an earlier execution. */
static sq_status make_phase_file(control *c, int phase, sq_hash *hash)
{
    sq_status rc = SQ_OK;
    journal now = {.survey = c->survey, .folder = c->setup->folder};
    sq_phase_products *products = NULL;
    sq_task *task = NULL;
    sq_record_place *place = NULL;
    int64_t count;
    char ledger[SQ_PATH_MAX], path[SQ_PATH_MAX], partial[SQ_PATH_MAX + 8] = "",
         shards[SQ_PATH_MAX];
    SQ_TRY(sq_run_phase_path(c->setup->folder, phase, path));
    if (c->setup->journal->phase_done[phase] && access(path, F_OK) == 0) {
        SQ_TRY(sq_hash_file(path, hash));
        if (sq_hash_equal(*hash, c->setup->journal->phase_hash[phase]))
            return SQ_OK;
        sq_warn("%s: is not what the ledger says; it is made again", path);
    }
    SQ_TRY(sq_run_path(c->setup->folder, SQ_RUN_LEDGER, ledger));
    SQ_TRY(sq_run_path(c->setup->folder, SQ_RUN_SHARDS, shards));
    SQ_TRY(sq_ledger_flush(c->setup->ledger));
    SQ_TRY(sq_journal_replay(&now, ledger));
    SQ_TRY(sq_journal_products(&now, phase, &task, &place, &count));
    SQ_TRY(sq_phase_products_create(&c->survey->d, shards, task, place, count, &products));
    snprintf(partial, sizeof partial, "%s.partial", path);
    SQ_TRY(c->survey->config->cls->finish_phase(c->survey->self, phase, products, partial));
    SQ_TRY(sq_run_settle_file(c->setup->folder, partial, path));
    SQ_TRY(sq_hash_file(path, hash));
cleanup:
    if (rc != SQ_OK && *partial)
        unlink(partial);
    sq_phase_products_destroy(products);
    sq_free(task);
    sq_free(place);
    sq_journal_clear(&now);
    return rc;
}

/* What later phases did with another file of this phase is void. Returns whether there was any. */
static sq_status void_later_phases(control *c, int phase, sq_hash hash, int *found)
{
    sq_status rc = SQ_OK;
    const journal *j = c->setup->journal;
    *found = 0;
    if (sq_hash_equal(j->phase_hash[phase], hash))
        return SQ_OK;
    for (int later = phase + 1; later < c->survey->d.nphase; later++) {
        sq_event e = {.kind = SQ_EVENT_REOPEN,
                      .execution = c->setup->execution,
                      .phase = (uint32_t)later,
                      .patch = c->plan[later].base[0]};
        for (int state = JOURNAL_DONE; state < JOURNAL_STATES; state++) {
            e.count += j->count[later][state];
            e.rows += sq_journal_is_done((journal_state)state) ? j->count[later][state] : 0;
        }
        if (!e.count)
            continue;
        *found = 1;
        snprintf(e.text, sizeof e.text, "%s",
                 j->reopening[0] ? j->reopening : "an earlier phase has another result");
        SQ_TRY(sq_ledger_append(c->setup->ledger, &e));
    }
cleanup:
    return rc;
}

static sq_status pass_barrier(control *c, int phase)
{
    sq_status rc = SQ_OK;
    wire_phase message = {.phase = phase, .has_file = c->survey->d.phase[phase].has_file};
    if (message.has_file) {
        /* This may last, and nobody is answered meanwhile. */
        for (uint32_t w = 0; w < c->setup->workers; w++)
            SQ_TRY(tell(c, w, WIRE_PAUSE, NULL, 0));
        SQ_TRY(make_phase_file(c, phase, &message.hash));
        SQ_TRY(void_later_phases(c, phase, message.hash, &c->restart));
    }
    if (!c->setup->journal->phase_done[phase] ||
        !sq_hash_equal(message.hash, c->setup->journal->phase_hash[phase])) {
        sq_event e = {.kind = SQ_EVENT_BARRIER,
                      .execution = c->setup->execution,
                      .phase = (uint32_t)phase,
                      .config = message.hash};
        SQ_TRY(sq_ledger_append(c->setup->ledger, &e));
        SQ_TRY(sq_ledger_flush(c->setup->ledger));
    }
    if (c->restart)
        return SQ_OK; /* the scheduler knows tasks as done that are not: it begins anew */
    for (uint32_t w = 0; w < c->setup->workers && phase + 1 < c->survey->d.nphase; w++)
        SQ_TRY(tell(c, w, WIRE_PHASE, &message, sizeof message));
    SQ_TRY(notify(c, &(sq_notice){.kind = SQ_NOTICE_PHASE_READY, .phase = phase}));
cleanup:
    return rc;
}

static sq_status act(control *c, const sq_action *a)
{
    switch (a->kind) {
    case SQ_ACTION_ASSIGN:
        return send_range(c, a, WIRE_ASSIGN);
    case SQ_ACTION_CANCEL:
        return send_range(c, a, WIRE_CANCEL);
    case SQ_ACTION_DRAIN:
        return tell(c, a->worker, WIRE_DRAIN, NULL, 0);
    case SQ_ACTION_COMMIT:
        return record_commit(c, a);
    case SQ_ACTION_RETRY:
    case SQ_ACTION_FAIL:
        return record_failure(c, a);
    case SQ_ACTION_DEATH:
    case SQ_ACTION_QUARANTINE:
        return record_death(c, a);
    case SQ_ACTION_PHASE_DONE:
        return pass_barrier(c, a->phase);
    case SQ_ACTION_DROP:
    case SQ_ACTION_END:
        break;
    }
    return SQ_OK;
}

static sq_status perform(control *c)
{
    sq_action action;
    sq_status rc = SQ_OK;
    while (rc == SQ_OK && sq_scheduler_next(c->scheduler, &action))
        rc = act(c, &action);
    return rc;
}

static sq_status notify(control *c, const sq_notice *notice)
{
    sq_status rc = sq_scheduler_notify(c->scheduler, sq_now(), notice);
    return rc == SQ_OK ? perform(c) : rc;
}

static sq_status on_bye(control *c, uint32_t worker, const wire_bye *bye)
{
    c->state[worker] = bye->status == SQ_ERR_COMM ? CONTROL_GONE : CONTROL_LEFT;
    if (bye->status == SQ_OK)
        return SQ_OK;
    c->gave_up += bye->status != SQ_ERR_COMM;
    sq_warn("rank %d gave up: %s", rank_of(c, worker), bye->text);
    c->result->status = (sq_status)bye->status;
    snprintf(c->result->reason, sizeof c->result->reason, "%s", bye->text);
    return notify(c, &(sq_notice){.kind = SQ_NOTICE_LOST, .worker = worker});
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
        sq_warn("rank %d has died", rank_of(c, w));
        c->state[w] = CONTROL_GONE;
        SQ_TRY(notify(c, &(sq_notice){.kind = SQ_NOTICE_LOST, .worker = w}));
    }
cleanup:
    return rc;
}

/* Every rank's task in a line each, as far as it is known here. */
static void say_where(const control *c)
{
    char name[128];
    double now = sq_now();
    for (uint32_t w = 0; w < c->setup->workers; w++) {
        const present_task *t = &c->present_of[w];
        int rank = rank_of(c, w);
        if (c->state[w] != CONTROL_HERE) {
            fprintf(stderr, "rank %d: %s\n", rank, c->state[w] == CONTROL_GONE ? "dead" : "left");
        } else if (t->since > 0) {
            patch_name(c, t->task.phase,
                       sq_survey_index(c->survey, t->task.phase, t->task.patch,
                                       t->task.realisation),
                       name, sizeof name);
            fprintf(stderr, "rank %d: phase %d, %s, for %.1f s\n", rank, t->task.phase, name,
                    now - t->since);
        } else {
            fprintf(stderr, "rank %d: no patch\n", rank);
        }
    }
}

/* A message of a worker. What makes no sense is logged and dropped: it may be late from another
 * state of affairs. */
static sq_status on_message(control *c, const sq_message *m)
{
    sq_status rc = SQ_OK;
    wire_range range = {0};
    wire_result result;
    wire_bye bye;
    wire_gone gone;
    uint32_t worker = worker_of(c, m->source);
    sq_notice n = {.worker = worker};
    if (c->state[worker] == CONTROL_GONE && m->kind != WIRE_RESULT)
        return SQ_OK;
    switch ((wire_kind)m->kind) {
    case WIRE_READY:
        n.kind = SQ_NOTICE_READY;
        break;
    case WIRE_STARTED:
        memcpy(&range, m->body, sizeof range);
        n.kind = SQ_NOTICE_STARTED;
        n.phase = range.phase;
        n.index = range.index;
        if (range.phase >= 0 && range.phase < c->survey->d.nphase)
            c->present_of[worker] =
                (present_task){sq_survey_task(c->survey, range.phase, range.index), sq_now()};
        break;
    case WIRE_HEARTBEAT:
        memcpy(&range, m->body, sizeof range);
        n.kind = SQ_NOTICE_HEARTBEAT;
        n.holding = range.count;
        c->present_of[worker].since = 0;
        SQ_TRY(tell(c, worker, WIRE_ALIVE, NULL, 0));
        break;
    case WIRE_DRAINED:
        n.kind = SQ_NOTICE_DRAINED;
        break;
    case WIRE_RESULT:
        memcpy(&result, m->body, sizeof result);
        result.text[WIRE_TEXT - 1] = 0;
        n.kind = SQ_NOTICE_RESULT;
        n.phase = result.phase;
        n.index = result.index;
        n.seconds = result.seconds;
        n.ok = result.status == SQ_OK;
        n.failure = sq_failure_class_of((sq_status)result.status);
        c->present = &result;
        break;
    case WIRE_BYE:
        memcpy(&bye, m->body, sizeof bye);
        bye.text[WIRE_TEXT - 1] = 0;
        return on_bye(c, worker, &bye);
    case WIRE_GONE:
        memcpy(&gone, m->body, sizeof gone);
        on_gone(c, gone.rank);
        return SQ_OK;
    default:
        sq_warn("message %u of rank %d is unknown", m->kind, m->source);
        return SQ_OK;
    }
    rc = notify(c, &n);
    c->present = NULL;
    if (rc == SQ_ERR_USAGE) {
        sq_warn("message of rank %d: %s", m->source, sq_error());
        rc = SQ_OK;
    }
cleanup:
    return rc;
}

static void report(control *c, int last)
{
    const sq_run_options *o = c->setup->options;
    double now = sq_now(),
           every = o->progress > 0 ? o->progress : c->survey->config->execution.progress;
    if (!o->report || (!last && now - c->last_report < every))
        return;
    c->last_report = now;
    sq_scheduler_stats s = sq_scheduler_get_stats(c->scheduler);
    char what[128];
    snprintf(what, sizeof what, "phase %d of %d: %s", s.phase + 1, c->survey->d.nphase,
             c->survey->d.phase[s.phase].name);
    uint64_t settled = s.done + s.failed + s.quarantined;
    sq_run_progress p = {.what = what,
                         .total = s.total,
                         .done = s.done,
                         .failed = s.failed,
                         .quarantined = s.quarantined,
                         .in_flight = s.in_flight,
                         .resumed = c->resumed,
                         .workers = s.workers,
                         .seconds = now - c->start,
                         .slowest = c->slowest,
                         .slowest_patch = c->slowest_patch,
                         .last = last};
    if (p.seconds > 0 && settled > c->resumed)
        p.rate = (double)(settled - c->resumed) / p.seconds;
    if (p.rate > 0)
        p.eta = (double)(s.total - settled) / p.rate;
    o->report(o->user, &p);
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
    return notify(c, &(sq_notice){.kind = SQ_NOTICE_STOP});
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
        SQ_TRY(notify(c, &(sq_notice){.kind = SQ_NOTICE_STOP}));
    }
    if (now - c->last_tick >= TICK) {
        c->last_tick = now;
        for (int rank; (rank = sq_watchdog_gone()) >= 0;)
            on_gone(c, rank);
        if (c->any_doomed)
            SQ_TRY(bury(c, now));
        SQ_TRY(notify(c, &(sq_notice){.kind = SQ_NOTICE_TICK}));
        SQ_TRY(check_strength(c));
        if (c->setup->own)
            sq_watchdog_task_limit(patience(c));
    }
    if (!c->setup->own && sq_signals_where_wanted())
        say_where(c);
    if (sq_ledger_unflushed(c->setup->ledger) && sq_ledger_age(c->setup->ledger) >= LEDGER_FLUSH)
        SQ_TRY(sq_ledger_flush(c->setup->ledger));
    report(c, 0);
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
        if (message.kind >= WIRE_READY)
            SQ_TRY(on_message(c, &message));
        else if (c->setup->own)
            SQ_TRY(sq_worker_handle(c->setup->own, &message));
        if (!away && sq_now() - c->last_tick >= TICK)
            SQ_TRY(housekeeping(c));
    }
cleanup:
    return rc;
}

static sq_status make_scheduler(control *c);

/* At a barrier, with nothing in flight: a scheduler for what the ledger says now. Workers that are
 * there are heard by their heartbeats. */
static sq_status begin_anew(control *c)
{
    sq_status rc = SQ_OK;
    char ledger[SQ_PATH_MAX];
    journal *j = c->setup->journal;
    sq_message ready = {.kind = WIRE_READY};
    c->restart = 0;
    c->most = 0;
    sq_scheduler_destroy(c->scheduler);
    c->scheduler = NULL;
    SQ_TRY(sq_run_path(c->setup->folder, SQ_RUN_LEDGER, ledger));
    SQ_TRY(sq_ledger_flush(c->setup->ledger));
    SQ_TRY(sq_journal_replay(j, ledger));
    SQ_TRY(make_scheduler(c));
    for (uint32_t w = 0; w < c->setup->workers; w++)
        SQ_TRY(tell(c, w, WIRE_ALIVE, NULL, 0));
    SQ_TRY(sq_scheduler_begin(c->scheduler, sq_now()));
    SQ_TRY(perform(c));
    if (c->setup->own)
        SQ_TRY(on_message(c, &ready));
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
        SQ_TRY(on_message(c, &ready));
    }
    while (sq_scheduler_outcome(c->scheduler) == SQ_OUTCOME_NONE) {
        SQ_TRY(receive(c, own ? (busy ? 0 : 0.01) : LONGEST_WAIT));
        if (own)
            SQ_TRY(sq_worker_work(own, 0.005, &busy));
        SQ_TRY(housekeeping(c));
        if (c->restart)
            SQ_TRY(begin_anew(c));
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
        SQ_TRY(tell(c, w, WIRE_SHUTDOWN, NULL, 0));
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

/* The scheduler from what the journal holds. */
static sq_status make_scheduler(control *c)
{
    sq_status rc = SQ_OK;
    const sq_run_execution *e = &c->survey->config->execution;
    const journal *j = c->setup->journal;
    double asked = c->setup->options->walltime, walltime = asked > 0 ? asked : e->walltime;
    sq_scheduler_limits limits = {.max_range = (uint32_t)e->max_range,
                                  .deadline = e->deadline,
                                  .drain_seconds = e->drain,
                                  .science_attempts = (uint32_t)e->science_attempts,
                                  .infra_attempts = (uint32_t)e->infra_attempts,
                                  .deadline_factor = DEADLINE_FACTOR,
                                  .deaths = JOURNAL_DEATHS,
                                  .lease = walltime > 0 ? c->setup->started + walltime : 0};
    SQ_TRY(sq_scheduler_create(c->plan, c->survey->d.nphase, &limits, &c->scheduler));
    for (journal_at at = {0}; sq_journal_at(j, &at); at.index++) {
        static const sq_settled settled[] = {[SQ_TASK_DONE] = SQ_SETTLED_DONE,
                                             [SQ_TASK_FAILED] = SQ_SETTLED_FAILED,
                                             [SQ_TASK_QUARANTINED] = SQ_SETTLED_QUARANTINED};
        journal_state state = sq_journal_state(j, at.phase, at.index);
        SQ_TRY(sq_scheduler_settle(c->scheduler, at.phase, at.index,
                                   settled[sq_journal_task_state(state)]));
    }
    for (size_t i = 0; i < j->deaths; i++) {
        if (j->death[i].deaths)
            SQ_TRY(sq_scheduler_add_deaths(c->scheduler, j->death[i].phase, j->death[i].index,
                                           (uint32_t)j->death[i].deaths));
    }
    sq_scheduler_stats stats = sq_scheduler_get_stats(c->scheduler);
    c->resumed = stats.done + stats.failed + stats.quarantined;
cleanup:
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
    SQ_TRY(make_scheduler(c));
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
    SQ_TRY(perform(&c));
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
        report(&c, 1);
    }
    sq_watchdog_task_limit(0);
    sq_scheduler_destroy(c.scheduler);
    sq_free(c.cost);
    sq_free(c.doomed);
    sq_free(c.present_of);
    return rc;
}
