#include <stdio.h>
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
    v->total = sq_survey_planned(x->survey);
    v->done = v->failed = v->quarantined = v->taken = 0;
    for (size_t i = 0; i < x->journal.tasks; i++) {
        v->done += x->journal.task[i].state == SQ_TASK_DONE;
        v->taken += (uint64_t)x->journal.task[i].taken;
        v->failed += x->journal.task[i].state == SQ_TASK_FAILED;
        v->quarantined += x->journal.task[i].state == SQ_TASK_QUARANTINED;
    }
    x->open = v->total - v->done - v->failed - v->quarantined;
}

/* What the environment failed is tried again: it says nothing about the patch. */
static void reopen_failures(journal *j)
{
    size_t kept = 0;
    for (size_t i = 0; i < j->tasks; i++) {
        journal_task *t = &j->task[i];
        if (t->state == SQ_TASK_FAILED && sq_failure_class_of(t->status) == SQ_FAILURE_INFRA) {
            sq_free(t->reason);
            j->reduced = 0;
            continue;
        }
        j->task[kept++] = *t;
    }
    j->tasks = kept;
}

/* Rank 0: replay the ledger and say what it holds. */
static sq_status open_ledger(execution *x)
{
    sq_status rc = SQ_OK;
    journal *j = &x->journal;
    j->survey = x->survey;
    rc = sq_ledger_open(x->ledger_path, sq_journal_visit, j, &x->ledger);
    if (rc == SQ_ERR_IO)
        x->folder_ready = 0; /* it may be another execution's: leave its verdict alone */
    SQ_TRY(rc);
    SQ_TRY(begin_folder(x));
    sq_watchdog_verdict(x->folder, x->verdict);
    SQ_TRY(sq_retry_read_notes(x));
    SQ_TRY(sq_journal_settle(j));
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

/* Every rank checks a share of the committed records against their hashes; what does not match is
 * done again. */
static sq_status verify_records(execution *x)
{
    sq_status rc = SQ_OK, mine = SQ_OK;
    uint64_t n = 0, bad = 0;
    sq_record_place *place = NULL;
    int64_t *wrong = NULL;
    journal *j = &x->journal;
    for (size_t i = 0; x->rank == 0 && i < j->tasks; i++)
        n += j->task[i].state == SQ_TASK_DONE;
    SQ_TRY(sq_comm_broadcast(x->comm, 0, &n, sizeof n));
    if (!n)
        return SQ_OK;
    if ((mine = SQ_ALLOC(place, n, "places of records")) == SQ_OK)
        mine = SQ_ALLOC(wrong, n, "places of records");
    SQ_TRY(sq_comm_agree(x->comm, mine));
    n = 0;
    for (size_t i = 0; x->rank == 0 && i < j->tasks; i++) {
        if (j->task[i].state == SQ_TASK_DONE)
            place[n++] = j->task[i].place;
    }
    SQ_TRY(sq_comm_broadcast(x->comm, 0, &n, sizeof n));
    SQ_TRY(sq_comm_broadcast(x->comm, 0, place, n * sizeof *place));
    for (uint64_t i = (uint64_t)x->rank; i < n; i += (uint64_t)x->size) {
        sq_record record;
        wrong[i] = sq_shard_read(x->shards, &place[i], &record, NULL, NULL) != SQ_OK;
    }
    sq_error_clear();
    SQ_TRY(sq_comm_reduce_i64(x->comm, SQ_MAX, wrong, (int)n));
    size_t kept = 0;
    n = 0;
    for (size_t i = 0; x->rank == 0 && i < j->tasks; i++) {
        if (j->task[i].state == SQ_TASK_DONE && wrong[n++]) {
            bad++;
            j->reduced = 0;
            continue;
        }
        j->task[kept++] = j->task[i];
    }
    if (x->rank == 0)
        j->tasks = kept;
    if (bad)
        sq_warn("%llu committed records are damaged or missing; they are done again",
                (unsigned long long)bad);
cleanup:
    sq_free(place);
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
