#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "run/execution.h"
#include "run/part.h"
#include "run/paths.h"
#include "run/retry.h"
#include "run/verdict.h"
#include "run/watchdog.h"

/* Once the ledger's lock is held: what the folder says about this execution. */
static sq_status begin_folder(execution *x)
{
    sq_status rc = SQ_OK;
    char *text = NULL, config[SQ_PATH_MAX];
    SQ_TRY(sq_verdict_remove(x->folder));
    SQ_TRY(sq_run_path(x->folder, SQ_RUN_CONFIG, config));
    SQ_TRY(sq_run_config_text(x->config, &text));
    SQ_TRY(sq_run_write_sealed(x->folder, SQ_RUN_CONFIG, text));
cleanup:
    sq_free(text);
    return rc;
}

void sq_execution_count(execution *x)
{
    sq_run_verdict *v = x->verdict;
    const journal *j = &x->journal;
    v->total = sq_survey_planned(x->survey);
    v->taken = sq_journal_count(j, JOURNAL_TAKEN);
    v->done = sq_journal_count(j, JOURNAL_DONE) + v->taken;
    v->failed = sq_journal_count(j, JOURNAL_FAILED) + sq_journal_count(j, JOURNAL_INFRA);
    v->quarantined = sq_journal_count(j, JOURNAL_QUARANTINED);
    x->open = v->total - v->done - v->failed - v->quarantined;
}

/* What the environment failed is tried again: it says nothing about the patch. */
static void reopen_failures(journal *j)
{
    for (journal_at at = {0}; sq_journal_at(j, &at); at.index++) {
        if (sq_journal_state(j, at.phase, at.index) == JOURNAL_INFRA)
            sq_journal_reopen(j, at.phase, at.index);
    }
}

/* Rank 0: replay the ledger and say what it holds. */
static sq_status open_ledger(execution *x)
{
    sq_status rc = SQ_OK;
    journal *j = &x->journal;
    *j = (journal){.survey = x->survey, .folder = x->folder};
    rc = sq_ledger_open(x->ledger_path, sq_journal_visit, j, &x->ledger);
    if (rc == SQ_ERR_IO)
        x->folder_ready = 0; /* it may be another execution's: leave its verdict alone */
    SQ_TRY(rc);
    SQ_TRY(begin_folder(x));
    sq_watchdog_verdict(x->folder, x->verdict);
    SQ_TRY(sq_retry_read_notes(x));
    SQ_TRY(sq_retry_quarantine(x));
    SQ_TRY(sq_retry_reopen(x));
    if (!x->options->reduce_only)
        reopen_failures(j);
    if (!j->has_plan) {
        sq_event plan = {.kind = SQ_EVENT_PLAN,
                         .config = x->survey->identity,
                         .input = x->survey->index_hash,
                         .model = x->survey->model_hash,
                         .count = sq_survey_planned(x->survey)};
        snprintf(plan.text, sizeof plan.text, "%s", sq_survey_software());
        SQ_TRY(sq_ledger_append(x->ledger, &plan));
        SQ_TRY(sq_ledger_flush(x->ledger));
    }
    if (x->options->parts && !x->options->part)
        SQ_TRY(sq_part_import(x));
    x->number = j->executions + 1;
cleanup:
    return rc;
}

enum { CHECKED = 1 << 12 }; /* records at a time */

/* Rank 0: the places of the next committed records, and whose they are. */
static sq_status next_places(const journal *j, journal_at *at, sq_record_place *place,
                             journal_at *whose, int64_t *n)
{
    sq_status rc = SQ_OK;
    run_entry entry;
    for (*n = 0; *n < CHECKED && sq_journal_at(j, at); at->index++) {
        if (!sq_journal_is_done(sq_journal_state(j, at->phase, at->index)))
            continue;
        SQ_TRY(sq_journal_entry(j, *at, &entry));
        place[*n] = entry.place;
        whose[(*n)++] = *at;
    }
cleanup:
    return rc;
}

/* Every rank checks a share of the committed records against their hashes; what does not match is
 * done again. */
static sq_status verify_records(execution *x)
{
    sq_status rc = SQ_OK;
    uint64_t bad = 0;
    sq_record_place *place = NULL;
    journal_at *whose = NULL, at = {0};
    int64_t *wrong = NULL, n = CHECKED;
    SQ_TRY_ALL(x->comm, SQ_ALLOC(place, CHECKED, "places of records"));
    SQ_TRY_ALL(x->comm, SQ_ALLOC(whose, CHECKED, "places of records"));
    SQ_TRY_ALL(x->comm, SQ_ALLOC(wrong, CHECKED, "places of records"));
    while (n == CHECKED) {
        SQ_TRY_ALL(x->comm,
                   x->rank == 0 ? next_places(&x->journal, &at, place, whose, &n) : SQ_OK);
        SQ_TRY(sq_comm_broadcast(x->comm, 0, &n, sizeof n));
        SQ_TRY(sq_comm_broadcast(x->comm, 0, place, (size_t)n * sizeof *place));
        memset(wrong, 0, CHECKED * sizeof *wrong);
        for (int64_t i = x->rank; i < n; i += x->size)
            wrong[i] = sq_shard_read(x->shards, &place[i], NULL, NULL, NULL) != SQ_OK;
        sq_error_clear();
        SQ_TRY(sq_comm_reduce_i64(x->comm, SQ_MAX, wrong, (int)n));
        for (int64_t i = 0; x->rank == 0 && i < n; i++) {
            if (wrong[i])
                sq_journal_reopen(&x->journal, whose[i].phase, whose[i].index);
            bad += wrong[i] != 0;
        }
    }
    if (bad)
        sq_warn("%llu committed records are damaged or missing; they are done again",
                (unsigned long long)bad);
cleanup:
    sq_free(place);
    sq_free(whose);
    sq_free(wrong);
    return rc;
}

typedef struct resumed {
    uint64_t open;
    uint32_t number;
    int32_t reduced;
} resumed;

sq_status sq_execution_resume(execution *x)
{
    sq_status rc = SQ_OK, mine = SQ_OK;
    if (x->rank == 0)
        mine = open_ledger(x);
    SQ_TRY(sq_comm_agree(x->comm, mine));
    SQ_TRY(verify_records(x));
    if (x->rank == 0) {
        sq_execution_count(x);
        x->reduced = x->journal.reduced && access(x->verdict->release, F_OK) == 0;
    }
    resumed r = {x->open, x->number, x->reduced};
    SQ_TRY(sq_comm_broadcast(x->comm, 0, &r, sizeof r));
    x->open = r.open;
    x->number = r.number;
    x->reduced = r.reduced;
cleanup:
    return rc;
}
