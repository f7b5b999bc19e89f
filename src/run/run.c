#include "run/run.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "run/base.h"
#include "run/execution.h"
#include "run/index.h"
#include "run/part.h"
#include "run/paths.h"
#include "run/signals.h"
#include "run/present.h"
#include "run/verdict.h"
#include "run/watchdog.h"
#include "run/wire.h"

/* Where a run with this configuration works. */
static sq_status choose_folder(const sq_run_options *o, const sq_run_config *config,
                               char folder[SQ_PATH_MAX])
{
    const char *base = o->output ? o->output : config->output;
    int n = o->part ? snprintf(folder, SQ_PATH_MAX, "%s/" SQ_RUN_PART, base, o->part, o->parts)
                    : snprintf(folder, SQ_PATH_MAX, "%s", base);
    if (!*base || n < 1 || n >= SQ_PATH_MAX)
        return sq_fail(SQ_ERR_CONFIG, "output: path too long or empty");
    if (o->parts && config->tiles.count)
        return sq_fail(SQ_ERR_CONFIG,
                       "%s: tiles: parts need one index: make it with 'skyquilt index' and give "
                       "its path as index",
                       o->config);
    return SQ_OK;
}

sq_status sq_run_folder(const sq_run_options *options, char folder[1024])
{
    sq_run_config *config = NULL;
    sq_status rc = sq_run_config_load(options->config, &config);
    if (rc == SQ_OK)
        rc = choose_folder(options, config, folder);
    sq_run_config_destroy(config);
    return rc;
}

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
    SQ_TRY(choose_folder(x->options, x->config, x->folder));
    SQ_TRY(sq_run_path(x->folder, SQ_RUN_LEDGER, x->ledger_path));
    SQ_TRY(sq_run_path(x->folder, SQ_RUN_SHARDS, x->shards));
cleanup:
    sq_free(data);
    return rc;
}

static sq_status make_folder(execution *x)
{
    sq_status rc = SQ_OK;
    char deaths[SQ_PATH_MAX];
    SQ_TRY(sq_run_make_folder(x->folder));
    SQ_TRY(sq_run_make_folder(x->shards));
    SQ_TRY(sq_run_path(x->folder, SQ_RUN_DEATHS, deaths));
    SQ_TRY(sq_run_make_folder(deaths));
cleanup:
    return rc;
}

/* Say and note a tile that the scan leaves out; the note stands before the index does. */
static void bad_tile(void *user, const char *name, sq_status code, const char *message)
{
    const execution *x = user;
    char path[SQ_PATH_MAX];
    sq_warn("tile %s left out (%s): %s", name, sq_status_name(code), message);
    if (sq_run_path(x->folder, SQ_RUN_BAD_TILES, path) != SQ_OK)
        return;
    FILE *file = fopen(path, "a");
    if (!file)
        return;
    fprintf(file, "%s\t%s\t%s\n", name, sq_status_name(code), message);
    fclose(file);
}

/* How many tiles an earlier or this scan has left out. */
static uint64_t count_bad_tiles(const execution *x)
{
    char path[SQ_PATH_MAX];
    uint64_t lines = 0;
    if (sq_run_path(x->folder, SQ_RUN_BAD_TILES, path) != SQ_OK)
        return 0;
    FILE *file = fopen(path, "r");
    for (int c; file && (c = fgetc(file)) != EOF;)
        lines += c == '\n';
    if (file)
        fclose(file);
    return lines;
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
    if (!there) {
        char bad[SQ_PATH_MAX];
        SQ_TRY(sq_run_path(x->folder, SQ_RUN_BAD_TILES, bad));
        if (x->rank == 0)
            unlink(bad);
        SQ_TRY(sq_index_build(x->comm, (const char *const *)x->config->tiles.value,
                              (int)x->config->tiles.count, x->config->reference, path, bad_tile, x,
                              &report));
    }
    if (x->rank == 0)
        x->verdict->left_out = count_bad_tiles(x);
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
    SQ_TRY(sq_survey_create(x->comm, x->config, index, &x->survey));
    if (x->options->part)
        SQ_TRY(sq_part_take(x->survey, x->options->part, x->options->parts));
    SQ_TRY(check_same(x));
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

/* The ranks that are left, from those that are not: all of `lost` in ascending order. */
static sq_status join_survivors(execution *x, const int32_t *lost, int count)
{
    sq_status rc = SQ_OK;
    int *member = NULL, n = 0, k = 0;
    SQ_TRY(SQ_ALLOC(member, x->size, "ranks that are left"));
    for (int r = 0; r < x->size; r++) {
        if (k < count && lost[k] == r) {
            sq_watchdog_forget(lost[k++]);
            continue;
        }
        member[n++] = r;
    }
    sq_watchdog_progress("joining the ranks that are left");
    SQ_TRY(sq_comm_subset(x->comm, member, n, &x->survivors));
    x->comm = x->survivors;
    x->size = n;
cleanup:
    sq_free(member);
    return rc;
}

/* The next message of one kind; SQ_ERR_COMM after so many seconds or when rank 0 is dead. */
static sq_status await(execution *x, wire_kind kind, double seconds, sq_message *message)
{
    int got = 0;
    double until = sq_now() + seconds;
    while (sq_now() < until) {
        sq_status rc = sq_mailbox_receive(x->mailbox, 0.5, message, &got);
        if (rc != SQ_OK)
            return rc;
        if (got && message->kind == kind)
            return SQ_OK;
    }
    return sq_fail(SQ_ERR_COMM, "rank 0 does not answer any more");
}

/* Worker ranks: compute, say goodbye, and hear what comes next. */
static sq_status work(execution *x, run_worker *worker, wire_fate *fate, int32_t **lost)
{
    sq_message message;
    wire_lost some;
    sq_status rc = sq_worker_run(worker);
    *fate = (wire_fate){.lost = 1};
    sq_worker_leave(worker, rc);
    if (rc == SQ_ERR_COMM)
        return rc;
    /* A worker that gave up can still take part in the reduce. */
    double patience = x->config->execution.drain + sq_watchdog_seconds();
    SQ_TRY(await(x, WIRE_FATE, patience, &message));
    memcpy(fate, message.body, sizeof *fate);
    if (!fate->lost || !fate->member)
        return SQ_OK;
    SQ_TRY(SQ_ALLOC(*lost, fate->lost, "lost ranks"));
    for (int n = 0; n < fate->lost; n += some.count) {
        SQ_TRY(await(x, WIRE_LOST, patience, &message));
        memcpy(&some, message.body, sizeof some);
        if (some.count < 1 || some.count > WIRE_RANKS || some.count > fate->lost - n)
            return sq_fail(SQ_ERR_COMM, "rank 0 names %d lost ranks", some.count);
        memcpy(*lost + n, some.rank, (size_t)some.count * sizeof **lost);
    }
cleanup:
    return rc;
}

/* Rank 0 tells every worker how it went on, and those that are left which are not. */
static sq_status tell_fate(execution *x, wire_fate *fate, int32_t **lost)
{
    sq_status rc = SQ_OK;
    int n = 0;
    SQ_TRY(SQ_ALLOC(*lost, x->size, "lost ranks"));
    for (int r = 1; r < x->size; r++) {
        if (x->workers[r - 1] != CONTROL_LEFT)
            (*lost)[n++] = r;
    }
    for (int r = 1; r < x->size; r++) {
        fate->member = x->workers[r - 1] == CONTROL_LEFT;
        if (x->workers[r - 1] == CONTROL_GONE)
            continue;
        /* One that cannot be told is missed in the reduce, which its watchdog ends. */
        sq_mailbox_send(x->mailbox, r, WIRE_FATE, fate, sizeof *fate);
        for (int at = 0; fate->member && at < n; at += WIRE_RANKS) {
            wire_lost some = {.count = n - at < WIRE_RANKS ? n - at : WIRE_RANKS};
            memcpy(some.rank, *lost + at, (size_t)some.count * sizeof **lost);
            sq_mailbox_send(x->mailbox, r, WIRE_LOST, &some, sizeof some);
        }
    }
    fate->member = 1;
cleanup:
    return rc;
}

static sq_status control(execution *x, run_worker *own, wire_fate *fate, int32_t **lost)
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
                           .options = x->options,
                           .state = x->workers};
    sq_status rc = sq_control_run(&setup, &x->result);
    *fate = (wire_fate){.lost = (int32_t)x->result.lost,
                        .outcome = rc == SQ_OK ? (int32_t)x->result.outcome : SQ_OUTCOME_NONE,
                        .status = (int32_t)rc};
    sq_status told = tell_fate(x, fate, lost);
    return rc == SQ_OK ? told : rc;
}

/* The release from which patches are taken over. Patches that are asked for by name are computed. */
static const char *base_of(const execution *x)
{
    const sq_run_options *o = x->options;
    const char *path = o->base ? o->base : x->config->base;
    return *path && !o->patches && !o->tiles ? path : NULL;
}

/* Rank 0: say what may be taken over, and write it down for the workers. */
static sq_status compare_base(execution *x)
{
    sq_status rc = SQ_OK;
    char path[SQ_PATH_MAX], text[512] = "";
    const char *release = base_of(x);
    sq_base_count count = {.total = {0}};
    SQ_TRY(sq_run_path(x->folder, SQ_RUN_BASE, path));
    unlink(path);
    if (!release)
        return SQ_OK;
    SQ_TRY(sq_base_make(x->survey, release, path, &count));
    for (int r = 0; r < SQ_BASE_REASONS; r++) {
        size_t used = strlen(text);
        if (count.total[r])
            snprintf(text + used, sizeof text - used, "%s%llu %s", used ? ", " : "",
                     (unsigned long long)count.total[r], sq_base_reason_name[r]);
    }
    sq_info("base %s: %s", release, text);
cleanup:
    sq_base_count_clear(&count);
    return rc;
}

/* All tasks that are open. *outcome is the same on every rank that is left. */
static sq_status process(execution *x, sq_outcome *outcome)
{
    sq_status rc = SQ_OK, mine = SQ_OK;
    run_worker *worker = NULL;
    wire_fate fate = {0};
    int32_t *lost = NULL;
    char name[48];
    if (x->options->part)
        snprintf(name, sizeof name, "p%dof%d-e%u-r%d", x->options->part, x->options->parts,
                 x->number, x->rank);
    else
        snprintf(name, sizeof name, "e%u-r%d", x->number, x->rank);
    SQ_TRY(sq_mailbox_create(x->comm, &x->mailbox));
    if (x->rank == 0)
        mine = note_start(x);
    if (mine == SQ_OK && x->rank == 0)
        mine = compare_base(x);
    SQ_TRY(sq_comm_agree(x->comm, mine));
    if (x->rank > 0 || x->size == 1) {
        worker_setup setup = {x->survey, x->mailbox, x->folder, name, base_of(x)};
        mine = sq_worker_create(&setup, &worker);
    }
    if (mine == SQ_OK && x->rank == 0)
        mine = SQ_ALLOC(x->workers, x->size, "workers");
    if (mine == SQ_OK)
        mine = sq_present_install(x->folder, x->number, x->rank, x->size == 1);
    SQ_TRY(sq_comm_agree(x->comm, mine));
    sq_watchdog_rest();
    rc = x->rank == 0 ? control(x, worker, &fate, &lost) : work(x, worker, &fate, &lost);
    sq_signals_end_stops();
    sq_present_restore();
    *outcome = (sq_outcome)fate.outcome;
    x->verdict->abandoned = x->alone = fate.lost > 0;
    if (rc == SQ_OK && fate.lost && fate.member && *outcome == SQ_OUTCOME_COMPLETE &&
        !x->options->part) {
        SQ_TRY(join_survivors(x, lost, fate.lost));
        x->alone = 0;
    }
cleanup:
    sq_worker_destroy(worker);
    sq_free(lost);
    char index[SQ_PATH_MAX];
    if (x->rank == 0 && sq_run_path(x->folder, SQ_RUN_BASE, index) == SQ_OK)
        unlink(index);
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
    v->taken += x->result.taken;
    switch (x->result.outcome) {
    case SQ_OUTCOME_COMPLETE:
        v->exit_code = v->failed + v->quarantined + v->left_out ? 2 : 0;
        break;
    case SQ_OUTCOME_STOPPED:
        v->exit_code = 3;
        v->relaunch = x->result.weak;
        if (x->result.weak)
            snprintf(v->reason, sizeof v->reason,
                     "%u of %d workers were lost; run again to resume", x->result.lost,
                     x->size - 1);
        else if (x->result.stop_signal)
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
        v->relaunch = x->result.lost > 0 || x->result.status == SQ_OK;
        v->exit_code = v->relaunch ? 3 : sq_exit_code(x->result.status);
        snprintf(v->reason, sizeof v->reason, "no worker is left%s%s",
                 x->result.reason[0] ? ": " : "", x->result.reason);
        break;
    }
}

static void say_complete(sq_run_verdict *v)
{
    char tiles[96] = "";
    if (v->left_out)
        snprintf(tiles, sizeof tiles, ", %llu tiles could not be read: see %s",
                 (unsigned long long)v->left_out, SQ_RUN_BAD_TILES);
    if (v->failed + v->quarantined)
        snprintf(v->reason, sizeof v->reason, "complete, %llu of %llu patches failed%s",
                 (unsigned long long)(v->failed + v->quarantined), (unsigned long long)v->total,
                 tiles);
    else
        snprintf(v->reason, sizeof v->reason, "complete%s", tiles);
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
    sq_watchdog_limit(x->config->execution.watchdog);
    sq_watchdog_progress("reading the tiles");
    SQ_TRY(make_survey(x));
    sq_watchdog_progress("resuming");
    SQ_TRY(sq_execution_resume(x));
    sq_watchdog_progress("start of the patches");
    if (x->open && !x->options->reduce_only) {
        x->reduced = 0;
        SQ_TRY(process(x, &outcome));
        if (x->rank == 0)
            judge(x);
        if (outcome != SQ_OUTCOME_COMPLETE || (x->alone && x->rank > 0))
            return SQ_OK;
        sq_watchdog_progress("end of the patches");
    }
    if (x->options->part || (x->reduced && !x->options->force_reduce)) {
        if (x->rank == 0) {
            x->verdict->manifest = x->journal.manifest;
            x->verdict->exit_code =
                x->verdict->failed + x->verdict->quarantined + x->verdict->left_out ? 2 : 0;
        }
    } else {
        SQ_TRY(sq_execution_reduce(x));
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
    sq_watchdog_progress("leaving a verdict");
    if (rc != SQ_OK) {
        v->exit_code = sq_exit_code(rc);
        v->relaunch = rc == SQ_ERR_COMM;
        snprintf(v->reason, sizeof v->reason, "%.511s", sq_error());
    }
    v->seconds = sq_now() - x->started;
    if (x->ledger && x->begun) {
        sq_event stop = {.kind = SQ_EVENT_STOP,
                         .execution = x->number,
                         .count = v->exit_code == 0 || v->exit_code == 2,
                         .status = rc};
        snprintf(stop.text, sizeof stop.text, "%s", v->reason);
        sq_status noted = sq_ledger_append(x->ledger, &stop);
        rc = rc == SQ_OK ? noted : rc;
    }
    if (x->ledger) {
        sq_status closed = sq_ledger_close(x->ledger);
        rc = rc == SQ_OK ? closed : rc;
    }
    sq_watchdog_verdict(NULL, v);
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
    /* A request to stop may come while the run is still being set up. */
    sq_signals_install(x.rank);
    sq_watchdog_start();
    sq_watchdog_progress("start-up");
    sq_status rc = sq_watchdog_meet(comm);
    if (rc == SQ_OK)
        rc = execute(&x);
    if (x.rank == 0)
        rc = leave_verdict(&x, rc);
    if (!x.alone) {
        /* Every rank that is left has left the collective phases together, so this is matched
         * everywhere. */
        int abandoned = verdict->abandoned;
        sq_status shared = sq_comm_broadcast(x.comm, 0, verdict, sizeof *verdict);
        rc = rc == SQ_OK ? shared : rc;
        /* HDF5 may hold a file that it cannot write: it would try again in MPI_Finalize, and crash
         * or wait there. */
        verdict->abandoned = abandoned || verdict->exit_code == 4;
    }
    sq_watchdog_progress("end");
    if (verdict->abandoned)
        sq_watchdog_rest();
    sq_signals_restore();
    if (x.rank == 0)
        sq_journal_clear(&x.journal);
    sq_free(x.workers);
    sq_survey_destroy(x.survey);
    sq_run_config_destroy(x.config);
    return rc;
}
