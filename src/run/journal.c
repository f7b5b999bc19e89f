#include "run/journal.h"

#include <stdio.h>
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

static uint64_t index_of(const journal *j, const sq_event *e)
{
    return sq_survey_index(j->survey, (int)e->phase, e->patch, e->realisation);
}

/* Room for what is said of tasks, once anything is. */
static sq_status begin_tasks(journal *j)
{
    sq_status rc = SQ_OK;
    uint64_t all = 0;
    if (j->state[0])
        return SQ_OK;
    for (int p = 0; p < j->survey->d.nphase; p++) {
        uint64_t tasks = sq_survey_tasks(j->survey, p);
        SQ_TRY(SQ_ALLOC(j->state[p], tasks + 1, "states of tasks"));
        j->number[p] = all;
        all += tasks;
    }
    if (j->folder)
        SQ_TRY(sq_entries_create(j->folder, all, &j->entries));
cleanup:
    return rc;
}

static void set_state(journal *j, int phase, uint64_t index, journal_state state)
{
    uint8_t *now = &j->state[phase][index];
    if (*now != JOURNAL_OPEN)
        j->count[phase][*now]--;
    if (state != JOURNAL_OPEN)
        j->count[phase][state]++;
    *now = (uint8_t)state;
}

static sq_status settle(journal *j, const sq_event *e, journal_state state)
{
    sq_status rc = SQ_OK;
    SQ_TRY(check_task(j, e));
    SQ_TRY(begin_tasks(j));
    uint64_t index = index_of(j, e);
    j->reduced = 0;
    set_state(j, (int)e->phase, index, state);
    if (j->entries) {
        run_entry entry = {.place = e->place,
                           .input = e->input,
                           .rows = e->rows,
                           .attempt = e->attempt,
                           .status = (int32_t)e->status};
        SQ_TRY(sq_entries_put(j->entries, j->number[e->phase] + index, &entry,
                              sq_journal_is_done(state) ? NULL : e->text));
    }
cleanup:
    return rc;
}

static journal_state given_up(const sq_event *e)
{
    if (e->count)
        return JOURNAL_QUARANTINED;
    return sq_failure_class_of(e->status) == SQ_FAILURE_INFRA ? JOURNAL_INFRA : JOURNAL_FAILED;
}

/* Once tasks of a phase are open again, its file is out of date. */
static sq_status reopen(journal *j, const sq_event *e)
{
    sq_status rc = SQ_OK;
    SQ_TRY(check_task(j, e));
    SQ_TRY(begin_tasks(j));
    j->reduced = 0;
    j->phase_done[e->phase] = 0;
    snprintf(j->reopening, sizeof j->reopening, "%.127s", e->text);
    if (e->count) {
        memset(j->state[e->phase], JOURNAL_OPEN, sq_survey_tasks(j->survey, (int)e->phase));
        memset(j->count[e->phase], 0, sizeof j->count[e->phase]);
        return SQ_OK;
    }
    set_state(j, (int)e->phase, index_of(j, e), JOURNAL_OPEN);
    for (size_t i = 0; i < j->deaths; i++) {
        if (j->death[i].phase == (int)e->phase && j->death[i].index == index_of(j, e))
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
    for (size_t i = 0; i < j->deaths; i++) {
        if (j->death[i].phase == (int)e->phase && j->death[i].index == index_of(j, e)) {
            j->death[i].deaths++;
            return SQ_OK;
        }
    }
    rc = SQ_GROW(j->death, j->death_capacity, j->deaths + 1, "deaths of the ledger");
    if (rc == SQ_OK)
        j->death[j->deaths++] = (journal_death){(int)e->phase, index_of(j, e), 1};
    return rc;
}

static sq_status add_suspects(journal *j, const sq_event *e)
{
    sq_status rc = check_task(j, e);
    if (rc != SQ_OK)
        return rc;
    uint64_t index = index_of(j, e);
    if (e->count > sq_survey_tasks(j->survey, (int)e->phase) - index)
        return sq_fail(SQ_ERR_CORRUPT, "ledger: names a task that the survey does not have");
    rc = SQ_GROW(j->suspect, j->suspect_capacity, j->suspects + 1, "suspects of the ledger");
    if (rc == SQ_OK)
        j->suspect[j->suspects++] = (journal_suspects){(int)e->phase, index, e->count};
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
        return settle(j, e, e->count ? JOURNAL_TAKEN : JOURNAL_DONE);
    case SQ_EVENT_QUARANTINE:
        return settle(j, e, given_up(e));
    case SQ_EVENT_DEATH:
        return add_death(j, e);
    case SQ_EVENT_SUSPECT:
        return add_suspects(j, e);
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

sq_status sq_journal_replay(journal *j, const char *path)
{
    sq_journal_clear(j);
    return sq_ledger_replay(path, sq_journal_visit, j, NULL);
}

journal_state sq_journal_state(const journal *j, int phase, uint64_t index)
{
    return j->state[phase] ? (journal_state)j->state[phase][index] : JOURNAL_OPEN;
}

void sq_journal_reopen(journal *j, int phase, uint64_t index)
{
    j->reduced = 0;
    set_state(j, phase, index, JOURNAL_OPEN);
}

int sq_journal_has_lost(const journal *j, uint32_t execution, int rank)
{
    for (size_t i = 0; i < j->losses; i++) {
        if (j->lost[i].execution == execution && j->lost[i].rank == rank)
            return 1;
    }
    return 0;
}

uint64_t sq_journal_count(const journal *j, journal_state state)
{
    uint64_t n = 0;
    for (int p = 0; p < SQ_MAX_PHASES; p++)
        n += j->count[p][state];
    return n;
}

void sq_journal_clear(journal *j)
{
    for (int p = 0; p < SQ_MAX_PHASES; p++)
        sq_free(j->state[p]);
    sq_entries_destroy(j->entries);
    sq_free(j->death);
    sq_free(j->suspect);
    sq_free(j->lost);
    *j = (journal){.survey = j->survey, .folder = j->folder};
}

int sq_journal_at(const journal *j, journal_at *at)
{
    for (; at->phase < j->survey->d.nphase; at->phase++, at->index = 0) {
        uint64_t tasks = j->state[at->phase] ? sq_survey_tasks(j->survey, at->phase) : 0;
        while (at->index < tasks && j->state[at->phase][at->index] == JOURNAL_OPEN)
            at->index++;
        if (at->index < tasks)
            return 1;
    }
    return 0;
}

sq_status sq_journal_entry(const journal *j, journal_at at, run_entry *out)
{
    return sq_entries_get(j->entries, j->number[at.phase] + at.index, out);
}

sq_status sq_journal_products(const journal *j, int phase, sq_task **task, sq_record_place **place,
                              int64_t *count)
{
    sq_status rc = SQ_OK;
    run_entry entry;
    uint64_t done = j->count[phase][JOURNAL_DONE] + j->count[phase][JOURNAL_TAKEN];
    *count = 0;
    *task = NULL;
    *place = NULL;
    SQ_TRY(SQ_ALLOC(*task, done + 1, "tasks of a phase"));
    SQ_TRY(SQ_ALLOC(*place, done + 1, "tasks of a phase"));
    for (journal_at at = {.phase = phase}; sq_journal_at(j, &at) && at.phase == phase; at.index++) {
        if (!sq_journal_is_done(sq_journal_state(j, phase, at.index)))
            continue;
        SQ_TRY(sq_journal_entry(j, at, &entry));
        (*task)[*count] = sq_survey_task(j->survey, phase, at.index);
        (*place)[(*count)++] = entry.place;
    }
    return SQ_OK;
cleanup:
    sq_free(*task);
    sq_free(*place);
    *task = NULL;
    *place = NULL;
    return rc;
}
