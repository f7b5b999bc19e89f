#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "run/loop_internal.h"

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

sq_status control_record_commit(control *c, const sq_action *a)
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

sq_status control_record_failure(control *c, const sq_action *a)
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

sq_status control_record_death(control *c, const sq_action *a)
{
    char name[128];
    int quarantine = a->kind == SQ_ACTION_QUARANTINE;
    sq_event e = line(c, quarantine ? SQ_EVENT_QUARANTINE : SQ_EVENT_DEATH, a->phase, a->index);
    e.count = quarantine ? a->count : (uint64_t)control_rank(c, a->worker);
    e.status = quarantine ? SQ_ERR_INTERNAL : SQ_OK;
    c->charged = 1;
    patch_name(c, a->phase, a->index, name, sizeof name);
    if (quarantine)
        snprintf(e.text, sizeof e.text, SQ_RUN_QUARANTINED, (unsigned long long)a->count);
    else
        snprintf(e.text, sizeof e.text, "rank %d died or hung", control_rank(c, a->worker));
    sq_warn("%s: %s%s", name, e.text, quarantine ? "; quarantined" : "");
    return sq_ledger_append(c->setup->ledger, &e);
}

sq_status control_record_suspects(control *c, const sq_action *a)
{
    sq_event e = line(c, SQ_EVENT_SUSPECT, a->phase, a->index);
    e.count = a->count;
    snprintf(e.text, sizeof e.text, "rank %d died or hung", control_rank(c, a->worker));
    sq_warn("rank %d died or hung in one of %llu patches from %llu: they go last and alone",
            control_rank(c, a->worker), (unsigned long long)a->count,
            (unsigned long long)e.patch);
    return sq_ledger_append(c->setup->ledger, &e);
}

void control_say_where(const control *c)
{
    char name[128];
    double now = sq_now();
    for (uint32_t w = 0; w < c->setup->workers; w++) {
        const control_present *t = &c->present_of[w];
        int rank = control_rank(c, w);
        if (c->state[w] != CONTROL_HERE) {
            fprintf(stderr, "rank %d: %s\n", rank, c->state[w] == CONTROL_GONE ? "dead" : "left");
        } else if (t->since > 0) {
            patch_name(
                c, t->task.phase,
                sq_survey_index(c->survey, t->task.phase, t->task.patch, t->task.realisation), name,
                sizeof name);
            fprintf(stderr, "rank %d: phase %d, %s%s, for %.1f s\n", rank, t->task.phase, name,
                    t->silent ? " or one soon after it" : "",
                    now - t->since);
        } else {
            fprintf(stderr, "rank %d: no patch\n", rank);
        }
    }
}

void control_report(control *c, int last)
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
                         .messages = c->messages,
                         .last = last};
    if (p.seconds > 0 && settled > c->resumed)
        p.rate = (double)(settled - c->resumed) / p.seconds;
    if (p.rate > 0)
        p.eta = (double)(s.total - settled) / p.rate;
    o->report(o->user, &p);
}
