#include "run/journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static sq_status check_task(const journal *j, const sq_event *e)
{
    const sq_probe_description *d = &j->survey->d;
    if (e->phase >= (uint32_t)d->nphase || e->realisation >= d->phase[e->phase].realisations ||
        e->patch >= j->survey->base[e->phase][j->survey->parts])
        return sq_fail(SQ_ERR_CORRUPT, "ledger: names a task that the survey does not have");
    return SQ_OK;
}

static sq_status add_task(journal *j, const sq_event *e, sq_task_state state)
{
    sq_status rc = SQ_OK;
    SQ_TRY(check_task(j, e));
    SQ_TRY(SQ_GROW(j->task, j->task_capacity, j->tasks + 1, "tasks of the ledger"));
    journal_task *t = &j->task[j->tasks];
    *t =
        (journal_task){.index = sq_survey_index(j->survey, (int)e->phase, e->patch, e->realisation),
                       .order = j->order++,
                       .place = e->place,
                       .input = e->input,
                       .rows = e->rows,
                       .taken = e->kind == SQ_EVENT_COMMIT && e->count,
                       .phase = (int32_t)e->phase,
                       .attempt = e->attempt,
                       .state = state,
                       .status = e->status};
    if (state != SQ_TASK_DONE)
        SQ_TRY(sq_strdup(&t->reason, e->text));
    j->tasks++;
cleanup:
    return rc;
}

/* Once tasks of a phase are open again, its file is out of date. */
static sq_status reopen(journal *j, const sq_event *e)
{
    sq_status rc = SQ_OK;
    SQ_TRY(check_task(j, e));
    j->reduced = 0;
    j->phase_done[e->phase] = 0;
    snprintf(j->reopening, sizeof j->reopening, "%.127s", e->text);
    if (e->count) {
        j->void_before[e->phase] = j->order;
        return SQ_OK;
    }
    SQ_TRY(add_task(j, e, SQ_TASK_DONE));
    j->task[j->tasks - 1].reopened = 1;
    for (size_t i = 0; i < j->deaths; i++) {
        if (j->death[i].phase == (int)e->phase &&
            j->death[i].index == j->task[j->tasks - 1].index)
            j->death[i].deaths = 0;
    }
cleanup:
    return rc;
}

static sq_status add_death(journal *j, const sq_event *e)
{
    sq_status rc = check_task(j, e);
    if (rc == SQ_OK)
        rc = SQ_GROW(j->lost, j->lost_capacity, j->losses + 1, "lost ranks of the ledger");
    if (rc != SQ_OK)
        return rc;
    j->lost[j->losses++] = (journal_lost){e->execution, (int)e->count};
    uint64_t index = sq_survey_index(j->survey, (int)e->phase, e->patch, e->realisation);
    for (size_t i = 0; i < j->deaths; i++) {
        if (j->death[i].phase == (int)e->phase && j->death[i].index == index) {
            j->death[i].deaths++;
            return SQ_OK;
        }
    }
    rc = SQ_GROW(j->death, j->death_capacity, j->deaths + 1, "deaths of the ledger");
    if (rc == SQ_OK)
        j->death[j->deaths++] = (journal_death){(int)e->phase, index, 1};
    return rc;
}

sq_status sq_journal_visit(void *user, const sq_event *e, int64_t line)
{
    journal *j = user;
    (void)line;
    switch (e->kind) {
    case SQ_EVENT_PLAN:
        j->has_plan = 1;
        j->plan = e->config;
        j->plan_tasks = e->count;
        if (!sq_hash_equal(j->plan, j->survey->identity))
            return sq_fail(SQ_ERR_CONFIG,
                           "the output folder belongs to another configuration, model, index or "
                           "program; give another folder with --output");
        return SQ_OK;
    case SQ_EVENT_START:
        j->executions = e->execution > j->executions ? e->execution : j->executions;
        j->ranks = (uint32_t)e->count;
        return SQ_OK;
    case SQ_EVENT_COMMIT:
        j->reduced = 0;
        return add_task(j, e, SQ_TASK_DONE);
    case SQ_EVENT_QUARANTINE:
        j->reduced = 0;
        return add_task(j, e, e->count ? SQ_TASK_QUARANTINED : SQ_TASK_FAILED);
    case SQ_EVENT_DEATH:
        return add_death(j, e);
    case SQ_EVENT_BARRIER:
        if (e->phase < SQ_MAX_PHASES) {
            j->phase_done[e->phase] = 1;
            j->phase_hash[e->phase] = e->config;
        }
        return SQ_OK;
    case SQ_EVENT_REDUCE:
        j->reduced = 1;
        j->manifest = e->config;
        j->reopening[0] = 0;
        return SQ_OK;
    case SQ_EVENT_REOPEN:
        return reopen(j, e);
    case SQ_EVENT_STOP:
        if (e->count)
            j->reopening[0] = 0;
        return SQ_OK;
    case SQ_EVENT_ATTEMPT:
    case SQ_EVENT_FAIL:
    case SQ_EVENT_NOTE:
    case SQ_EVENT_COUNT:
        break;
    }
    return SQ_OK;
}

static int by_task(const void *a, const void *b)
{
    const journal_task *x = a, *y = b;
    if (x->phase != y->phase)
        return x->phase < y->phase ? -1 : 1;
    if (x->index != y->index)
        return x->index < y->index ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

sq_status sq_journal_settle(journal *j)
{
    size_t kept = 0;
    if (j->tasks)
        qsort(j->task, j->tasks, sizeof *j->task, by_task);
    for (size_t i = 0; i < j->tasks; i++) {
        const journal_task *next = i + 1 < j->tasks ? &j->task[i + 1] : NULL;
        int last = !next || next->phase != j->task[i].phase || next->index != j->task[i].index;
        if (!last || j->task[i].reopened || j->task[i].order < j->void_before[j->task[i].phase]) {
            sq_free(j->task[i].reason);
            continue;
        }
        j->task[kept++] = j->task[i];
    }
    j->tasks = kept;
    return SQ_OK;
}

const journal_task *sq_journal_find(const journal *j, int phase, uint64_t index)
{
    journal_task key = {.phase = phase, .index = index};
    size_t low = 0, high = j->tasks;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const journal_task *t = &j->task[middle];
        if (t->phase == phase && t->index == index)
            return t;
        if (by_task(t, &key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

int sq_journal_has_lost(const journal *j, uint32_t execution, int rank)
{
    for (size_t i = 0; i < j->losses; i++) {
        if (j->lost[i].execution == execution && j->lost[i].rank == rank)
            return 1;
    }
    return 0;
}

void sq_journal_clear(journal *j)
{
    for (size_t i = 0; i < j->tasks; i++)
        sq_free(j->task[i].reason);
    sq_free(j->task);
    sq_free(j->death);
    sq_free(j->lost);
    *j = (journal){.survey = j->survey};
}

sq_status sq_journal_products(const journal *j, int phase, sq_task **task, sq_record_place **place,
                              int64_t *count)
{
    sq_status rc = SQ_OK;
    int64_t n = 0;
    *task = NULL;
    *place = NULL;
    for (size_t i = 0; i < j->tasks; i++)
        n += j->task[i].phase == phase && j->task[i].state == SQ_TASK_DONE;
    SQ_TRY(SQ_ALLOC(*task, n + 1, "tasks of a phase"));
    SQ_TRY(SQ_ALLOC(*place, n + 1, "tasks of a phase"));
    n = 0;
    for (size_t i = 0; i < j->tasks; i++) {
        const journal_task *t = &j->task[i];
        if (t->phase != phase || t->state != SQ_TASK_DONE)
            continue;
        (*task)[n] = sq_survey_task(j->survey, phase, t->index);
        (*place)[n++] = t->place;
    }
    *count = n;
    return SQ_OK;
cleanup:
    sq_free(*task);
    sq_free(*place);
    *task = NULL;
    *place = NULL;
    return rc;
}

sq_status sq_journal_merge_tasks(const journal *j, sq_merge_task **task, int64_t *count)
{
    sq_status rc = SQ_ALLOC(*task, j->tasks + 1, "tasks of the reduce");
    if (rc != SQ_OK)
        return rc;
    for (size_t i = 0; i < j->tasks; i++) {
        const journal_task *t = &j->task[i];
        sq_task name = sq_survey_task(j->survey, t->phase, t->index);
        (*task)[i] = (sq_merge_task){.phase = (uint32_t)t->phase,
                                     .realisation = name.realisation,
                                     .patch = name.patch,
                                     .tile = sq_survey_tile_of(j->survey, t->phase, name.patch),
                                     .state = t->state,
                                     .attempts = t->attempt,
                                     .taken = t->taken,
                                     .rows = t->rows,
                                     .input = t->input,
                                     .place = t->place,
                                     .status = t->status,
                                     .reason = t->reason};
    }
    *count = (int64_t)j->tasks;
    return SQ_OK;
}
