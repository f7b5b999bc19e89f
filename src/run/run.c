#include "run/run.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "run/index.h"
#include "run/loop.h"
#include "run/paths.h"
#include "run/provenance.h"
#include "run/signals.h"
#include "run/verdict.h"
#include "run/wire.h"

/* One execution on one rank. */
typedef struct execution {
    const sq_comm *comm;
    const sq_run_options *options;
    sq_run_verdict *verdict;
    int rank, size;
    double started;
    char started_text[32];
    char folder[SQ_PATH_MAX], ledger_path[SQ_PATH_MAX], shards[SQ_PATH_MAX];
    sq_run_config *config;
    sq_survey *survey;
    sq_mailbox *mailbox;
    sq_ledger *ledger;     /* rank 0 */
    journal journal;       /* rank 0 */
    control_result result; /* rank 0 */
    uint32_t number;       /* of this execution, from 1 */
    uint64_t open;         /* tasks that are not settled */
    int reduced;           /* a release of this ledger stands */
    int folder_ready, begun;
} execution;

/* Rank 0 reads the configuration, all parse it. */
static sq_status load_config(execution *x)
{
    enum { MOST = 1 << 20 };
    sq_status rc = SQ_OK, mine = SQ_OK;
    char *data = NULL;
    uint64_t size = 0;
    SQ_TRY_ALL(x->comm, SQ_ALLOC(data, MOST + 1, "run configuration"));
    if (x->rank == 0) {
        FILE *file = fopen(x->options->config, "rb");
        if (file) {
            size = fread(data, 1, MOST + 1, file);
            if (ferror(file))
                mine = sq_fail(SQ_ERR_CONFIG, "%s: %s", x->options->config, strerror(errno));
            fclose(file);
        } else {
            mine = sq_fail(SQ_ERR_CONFIG, "%s: %s", x->options->config, strerror(errno));
        }
        if (size > MOST)
            mine = sq_fail(SQ_ERR_CONFIG, "%s: larger than 1 MiB, not a configuration",
                           x->options->config);
    }
    SQ_TRY(sq_comm_agree(x->comm, mine));
    SQ_TRY(sq_comm_broadcast(x->comm, 0, &size, sizeof size));
    SQ_TRY(sq_comm_broadcast(x->comm, 0, data, size));
    SQ_TRY(sq_comm_agree(x->comm, sq_run_config_parse(data, size, x->options->config, &x->config)));
    const char *folder = x->options->output ? x->options->output : x->config->output;
    int n = snprintf(x->folder, sizeof x->folder, "%s", folder);
    if (n < 1 || (size_t)n >= sizeof x->folder) {
        rc = sq_fail(SQ_ERR_CONFIG, "output: path too long or empty");
        goto cleanup;
    }
    SQ_TRY(sq_run_path(x->folder, SQ_RUN_LEDGER, x->ledger_path));
    SQ_TRY(sq_run_path(x->folder, SQ_RUN_SHARDS, x->shards));
cleanup:
    sq_free(data);
    return rc;
}

static sq_status make_folder(execution *x)
{
    sq_status rc = SQ_OK;
    SQ_TRY(sq_run_make_folder(x->folder));
    SQ_TRY(sq_run_make_folder(x->shards));
cleanup:
    return rc;
}

/* Once the ledger's lock is held: what the folder says about this execution. */
static sq_status begin_folder(execution *x)
{
    sq_status rc = SQ_OK;
    char *text = NULL, config[SQ_PATH_MAX];
    SQ_TRY(sq_verdict_remove(x->folder));
    SQ_TRY(sq_run_path(x->folder, SQ_RUN_CONFIG, config));
    SQ_TRY(sq_run_config_text(x->config, &text));
    SQ_TRY(sq_run_write_file(x->folder, SQ_RUN_CONFIG, text));
cleanup:
    sq_free(text);
    return rc;
}

static void bad_tile(void *user, const char *name, sq_status code, const char *message)
{
    (void)user;
    sq_warn("tile %s left out (%s): %s", name, sq_status_name(code), message);
}

/* The path of the index: given, or made from a scan on the first execution. NULL when neither is
 * asked for. */
static sq_status find_index(execution *x, char path[SQ_PATH_MAX], const char **index)
{
    sq_status rc = SQ_OK;
    int there = 0;
    sq_index_report report;
    *index = NULL;
    if (x->config->index[0]) {
        *index = x->config->index;
        return SQ_OK;
    }
    if (!x->config->tiles.count)
        return SQ_OK;
    SQ_TRY(sq_run_path(x->folder, SQ_RUN_TILES, path));
    if (x->rank == 0)
        there = access(path, F_OK) == 0;
    SQ_TRY(sq_comm_broadcast(x->comm, 0, &there, sizeof there));
    if (!there)
        SQ_TRY(sq_index_build(x->comm, (const char *const *)x->config->tiles.value,
                              (int)x->config->tiles.count, x->config->reference, path, bad_tile,
                              NULL, &report));
    *index = path;
cleanup:
    return rc;
}

/* All ranks must have come to the same survey with the same software, else results would depend on
 * who computes. */
static sq_status check_same(execution *x)
{
    sq_status rc = SQ_OK, mine = SQ_OK;
    sq_hash *all = NULL;
    SQ_TRY_ALL(x->comm, SQ_ALLOC(all, x->size, "hashes of ranks"));
    SQ_TRY(sq_comm_all_gather(x->comm, &x->survey->identity, sizeof *all, all));
    for (int r = 1; r < x->size && mine == SQ_OK; r++) {
        if (!sq_hash_equal(all[r], all[0]))
            mine =
                sq_fail(SQ_ERR_IO,
                        "rank %d has another processor, library or input than rank 0 (here: %s); "
                        "cap all nodes to one instruction set with ONEDNN_MAX_CPU_ISA",
                        r, sq_survey_software());
    }
    SQ_TRY(sq_comm_agree(x->comm, mine));
cleanup:
    sq_free(all);
    return rc;
}

static sq_status make_survey(execution *x)
{
    sq_status rc = SQ_OK;
    char path[SQ_PATH_MAX];
    const char *index;
    SQ_TRY(find_index(x, path, &index));
    SQ_TRY(sq_comm_agree(x->comm, sq_survey_create(x->config, index, &x->survey)));
    SQ_TRY(check_same(x));
cleanup:
    return rc;
}

static uint64_t all_tasks(const sq_survey *s)
{
    uint64_t total = 0;
    for (int p = 0; p < s->d.nphase; p++)
        total += sq_survey_tasks(s, p);
    return total;
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
    SQ_TRY(sq_journal_settle(j));
    if (!j->has_plan) {
        sq_event plan = {.kind = SQ_EVENT_PLAN,
                         .config = x->survey->identity,
                         .input = x->survey->index_hash,
                         .model = x->survey->model_hash,
                         .count = all_tasks(x->survey)};
        snprintf(plan.text, sizeof plan.text, "%s", sq_survey_software());
        SQ_TRY(sq_ledger_append(x->ledger, &plan));
        SQ_TRY(sq_ledger_flush(x->ledger));
    }
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

static void count_states(execution *x)
{
    sq_run_verdict *v = x->verdict;
    v->total = all_tasks(x->survey);
    v->done = v->failed = v->quarantined = 0;
    for (size_t i = 0; i < x->journal.tasks; i++) {
        v->done += x->journal.task[i].state == SQ_TASK_DONE;
        v->failed += x->journal.task[i].state == SQ_TASK_FAILED;
        v->quarantined += x->journal.task[i].state == SQ_TASK_QUARANTINED;
    }
    x->open = v->total - v->done - v->failed - v->quarantined;
}

typedef struct resumed {
    uint64_t open;
    uint32_t number;
    int32_t reduced;
} resumed;

static sq_status resume(execution *x)
{
    sq_status rc = SQ_OK, mine = SQ_OK;
    if (x->rank == 0)
        mine = open_ledger(x);
    SQ_TRY(sq_comm_agree(x->comm, mine));
    SQ_TRY(verify_records(x));
    if (x->rank == 0) {
        count_states(x);
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

static sq_status note_start(execution *x)
{
    sq_event e = {.kind = SQ_EVENT_START, .execution = x->number, .count = (uint64_t)x->size};
    snprintf(e.text, sizeof e.text, "%s", sq_comm_host());
    sq_status rc = sq_ledger_append(x->ledger, &e);
    if (rc == SQ_OK)
        rc = sq_ledger_flush(x->ledger);
    x->begun = rc == SQ_OK;
    return rc;
}

/* Worker ranks: compute, say goodbye, and hear what comes next. */
static sq_status work(execution *x, run_worker *worker, wire_fate *fate)
{
    sq_message message;
    int got = 0;
    sq_worker_leave(worker, sq_worker_run(worker));
    *fate = (wire_fate){.lost = 1};
    double until = sq_now() + 2 * x->config->execution.drain + x->config->execution.deadline;
    while (sq_now() < until) {
        sq_status heard = sq_mailbox_receive(x->mailbox, 1, &message, &got);
        if (heard != SQ_OK)
            return heard;
        if (got && message.kind == WIRE_FATE) {
            /* A worker that gave up can still take part in the reduce. */
            memcpy(fate, message.body, sizeof *fate);
            return SQ_OK;
        }
    }
    return sq_fail(SQ_ERR_COMM, "rank 0 does not answer any more");
}

static sq_status control(execution *x, run_worker *own, wire_fate *fate)
{
    control_setup setup = {.survey = x->survey,
                           .mailbox = x->mailbox,
                           .ledger = x->ledger,
                           .journal = &x->journal,
                           .own = own,
                           .folder = x->folder,
                           .workers = x->size > 1 ? (uint32_t)x->size - 1 : 1,
                           .execution = x->number,
                           .started = x->started,
                           .options = x->options};
    sq_status rc = sq_control_run(&setup, &x->result);
    *fate = (wire_fate){.lost = (int32_t)x->result.lost,
                        .outcome = rc == SQ_OK ? (int32_t)x->result.outcome : SQ_OUTCOME_NONE,
                        .status = (int32_t)rc};
    for (int r = 1; r < x->size; r++) {
        sq_status sent = sq_mailbox_send(x->mailbox, r, WIRE_FATE, fate, sizeof *fate);
        rc = rc == SQ_OK ? sent : rc;
    }
    return rc;
}

/* All tasks that are open. *outcome is the same on every rank that is left. */
static sq_status process(execution *x, sq_outcome *outcome)
{
    sq_status rc = SQ_OK, mine = SQ_OK;
    run_worker *worker = NULL;
    wire_fate fate = {0};
    char name[48];
    snprintf(name, sizeof name, "e%u-r%d", x->number, x->rank);
    SQ_TRY(sq_mailbox_create(x->comm, &x->mailbox));
    if (x->rank == 0)
        mine = note_start(x);
    if (mine == SQ_OK && (x->rank > 0 || x->size == 1)) {
        worker_setup setup = {x->survey, x->mailbox, x->folder, name};
        mine = sq_worker_create(&setup, &worker);
    }
    SQ_TRY(sq_comm_agree(x->comm, mine));
    sq_signals_install();
    rc = x->rank == 0 ? control(x, worker, &fate) : work(x, worker, &fate);
    sq_signals_restore();
    *outcome = (sq_outcome)fate.outcome;
    x->verdict->abandoned = fate.lost > 0;
cleanup:
    sq_worker_destroy(worker);
    if (!x->verdict->abandoned)
        sq_mailbox_destroy(x->mailbox);
    return rc;
}

/* What the control loop left, in words and as an exit code. */
static void judge(execution *x)
{
    sq_run_verdict *v = x->verdict;
    v->done = x->result.stats.done;
    v->failed = x->result.stats.failed;
    v->quarantined = x->result.stats.quarantined;
    switch (x->result.outcome) {
    case SQ_OUTCOME_COMPLETE:
        v->exit_code = v->failed + v->quarantined ? 2 : 0;
        break;
    case SQ_OUTCOME_STOPPED:
        v->exit_code = 3;
        if (x->result.stop_signal)
            snprintf(v->reason, sizeof v->reason, "stopped by signal %d; run again to resume",
                     x->result.stop_signal);
        else
            snprintf(v->reason, sizeof v->reason, "walltime is used up; run again to resume");
        break;
    case SQ_OUTCOME_BROKEN:
        v->exit_code = 4;
        snprintf(v->reason, sizeof v->reason, "storage or memory fails everywhere: %s",
                 x->result.reason);
        break;
    case SQ_OUTCOME_NO_WORKERS:
    case SQ_OUTCOME_NONE:
        v->exit_code = x->result.status != SQ_OK ? sq_exit_code(x->result.status) : 3;
        snprintf(v->reason, sizeof v->reason, "no worker is left%s%s",
                 x->result.reason[0] ? ": " : "", x->result.reason);
        break;
    }
}

typedef struct reduce_state {
    execution *x;
    double last;
} reduce_state;

static void reduce_progress(void *user, const char *what, double fraction)
{
    reduce_state *s = user;
    const sq_run_options *o = s->x->options;
    double now = sq_now();
    double every = o->progress > 0 ? o->progress : s->x->config->execution.progress;
    char text[128];
    if (!o->report || now - s->last < every)
        return;
    s->last = now;
    snprintf(text, sizeof text, "reduce: %s", what);
    sq_run_progress p = {.what = text,
                         .total = 1000,
                         .done = (uint64_t)(1000 * fraction),
                         .seconds = now - s->x->started};
    o->report(o->user, &p);
}

/* Rank 0: the tasks as the ledger has them now. */
static sq_status gather_tasks(execution *x, sq_merge *merge, sq_merge_task **task)
{
    sq_status rc = SQ_OK;
    sq_journal_clear(&x->journal);
    SQ_TRY(sq_ledger_flush(x->ledger));
    SQ_TRY(sq_ledger_replay(x->ledger_path, sq_journal_visit, &x->journal, NULL));
    SQ_TRY(sq_journal_settle(&x->journal));
    count_states(x);
    if (x->open) {
        rc = sq_fail(SQ_ERR_STOPPED, "%llu tasks are not done yet; run first",
                     (unsigned long long)x->open);
        goto cleanup;
    }
    SQ_TRY(sq_journal_merge_tasks(&x->journal, task, &merge->ntask));
    merge->task = *task;
    merge->tile = x->survey->tile;
    merge->ntile = x->survey->ntile;
cleanup:
    return rc;
}

static sq_status note_reduce(execution *x, const sq_merge_report *report)
{
    sq_event e = {.kind = SQ_EVENT_REDUCE, .execution = x->number, .config = report->manifest};
    snprintf(e.text, sizeof e.text, "%s", SQ_RUN_RELEASE);
    sq_status rc = sq_ledger_append(x->ledger, &e);
    return rc == SQ_OK ? sq_ledger_flush(x->ledger) : rc;
}

/* Collective: the release from everything that is committed. */
static sq_status reduce(execution *x)
{
    sq_status rc = SQ_OK, mine = SQ_OK;
    const sq_survey *s = x->survey;
    provenance fixed = {.count = 0}, run = {.count = 0};
    sq_merge_task *task = NULL;
    sq_merge_report report;
    reduce_state state = {x, sq_now()};
    sq_merge merge = {.path = x->verdict->release,
                      .shards = x->shards,
                      .ntable = s->d.ntable,
                      .nmap = s->d.nmap,
                      .table = s->d.table,
                      .map = s->d.map,
                      .owner = s->owner,
                      .memory = (uint64_t)x->config->execution.memory << 20,
                      .deflate = (int)x->config->execution.deflate,
                      .progress = reduce_progress,
                      .user = &state};
    if (x->rank == 0) {
        mine = gather_tasks(x, &merge, &task);
        if (mine == SQ_OK)
            mine = sq_provenance_survey(s, &fixed);
    }
    SQ_TRY(sq_comm_agree(x->comm, mine));
    SQ_TRY(sq_provenance_execution(x->comm, s, x->number, x->started_text, &run));
    merge.provenance = fixed.text;
    merge.nprovenance = fixed.count;
    merge.run = run.text;
    merge.nrun = run.count;
    SQ_TRY(sq_merge_release(x->comm, &merge, &report));
    if (x->rank == 0) {
        mine = note_reduce(x, &report);
        x->verdict->manifest = report.manifest;
        x->verdict->rows = 0;
        for (int t = 0; t < s->d.ntable; t++)
            x->verdict->rows += report.rows[t];
        x->verdict->exit_code = x->verdict->failed + x->verdict->quarantined ? 2 : 0;
    }
    SQ_TRY(sq_comm_agree(x->comm, mine));
cleanup:
    sq_provenance_clear(&fixed);
    sq_provenance_clear(&run);
    sq_free(task);
    return rc;
}

static void say_complete(sq_run_verdict *v)
{
    if (v->exit_code == 2)
        snprintf(v->reason, sizeof v->reason, "complete, %llu of %llu patches failed",
                 (unsigned long long)(v->failed + v->quarantined), (unsigned long long)v->total);
    else if (v->exit_code == 0)
        snprintf(v->reason, sizeof v->reason, "complete");
}

static sq_status execute(execution *x)
{
    sq_status rc = SQ_OK;
    sq_outcome outcome = SQ_OUTCOME_COMPLETE;
    SQ_TRY(load_config(x));
    snprintf(x->verdict->output, sizeof x->verdict->output, "%s", x->folder);
    SQ_TRY(sq_run_path(x->folder, SQ_RUN_RELEASE, x->verdict->release));
    SQ_TRY(sq_comm_agree(x->comm, x->rank == 0 ? make_folder(x) : SQ_OK));
    x->folder_ready = 1;
    SQ_TRY(make_survey(x));
    SQ_TRY(resume(x));
    if (x->open && !x->options->reduce_only) {
        x->reduced = 0;
        SQ_TRY(process(x, &outcome));
        if (x->rank == 0)
            judge(x);
        if (outcome != SQ_OUTCOME_COMPLETE || x->verdict->abandoned) {
            if (x->rank == 0 && outcome == SQ_OUTCOME_COMPLETE) {
                x->verdict->exit_code = 3;
                snprintf(x->verdict->reason, sizeof x->verdict->reason,
                         "ranks were lost; run again for the release");
            }
            return SQ_OK;
        }
    }
    if (x->reduced && !x->options->force_reduce) {
        if (x->rank == 0) {
            x->verdict->manifest = x->journal.manifest;
            x->verdict->exit_code = x->verdict->failed + x->verdict->quarantined ? 2 : 0;
        }
    } else {
        SQ_TRY(reduce(x));
    }
    if (x->rank == 0)
        say_complete(x->verdict);
cleanup:
    return rc;
}

/* Rank 0 leaves its verdict on disk. An error here outweighs a good end. */
static sq_status leave_verdict(execution *x, sq_status rc)
{
    sq_run_verdict *v = x->verdict;
    if (rc != SQ_OK) {
        v->exit_code = sq_exit_code(rc);
        snprintf(v->reason, sizeof v->reason, "%.511s", sq_error());
    }
    v->seconds = sq_now() - x->started;
    if (x->ledger && x->begun) {
        sq_event stop = {.kind = SQ_EVENT_STOP, .execution = x->number, .status = rc};
        snprintf(stop.text, sizeof stop.text, "%s", v->reason);
        sq_status noted = sq_ledger_append(x->ledger, &stop);
        rc = rc == SQ_OK ? noted : rc;
    }
    if (x->ledger) {
        sq_status closed = sq_ledger_close(x->ledger);
        rc = rc == SQ_OK ? closed : rc;
    }
    if (x->folder_ready) {
        sq_status written = sq_verdict_write(x->folder, v);
        rc = rc == SQ_OK ? written : rc;
    }
    if (rc != SQ_OK && (v->exit_code == 0 || v->exit_code == 2)) {
        v->exit_code = sq_exit_code(rc);
        snprintf(v->reason, sizeof v->reason, "%.511s", sq_error());
    }
    return rc;
}

sq_status sq_run(const sq_comm *comm, const sq_run_options *options, sq_run_verdict *verdict)
{
    execution x = {.comm = comm,
                   .options = options,
                   .verdict = verdict,
                   .rank = sq_comm_rank(comm),
                   .size = sq_comm_size(comm),
                   .started = sq_now()};
    *verdict = (sq_run_verdict){0};
    sq_timestamp(x.started_text, sizeof x.started_text);
    sq_status rc = execute(&x);
    if (x.rank == 0)
        rc = leave_verdict(&x, rc);
    if (!verdict->abandoned) {
        /* Every rank has left the collective phases together, so this is matched everywhere. */
        sq_status shared = sq_comm_broadcast(comm, 0, verdict, sizeof *verdict);
        rc = rc == SQ_OK ? shared : rc;
    }
    if (x.rank == 0)
        sq_journal_clear(&x.journal);
    sq_survey_destroy(x.survey);
    sq_run_config_destroy(x.config);
    return rc;
}
