#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "run/execution.h"
#include "run/paths.h"
#include "run/provenance.h"

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

/* The tasks as the reduce asks for them: all are settled, and it goes forward. */
typedef struct settled_tasks {
    const journal *journal;
    int64_t next; /* number of the task at or after `at` */
    journal_at at;
    char reason[SQ_EVENT_TEXT];
} settled_tasks;

static sq_status get_task(void *tasks, int64_t i, sq_merge_task *out)
{
    sq_status rc = SQ_OK;
    settled_tasks *s = tasks;
    const sq_survey *survey = s->journal->survey;
    run_entry entry;
    if (i < s->next) {
        s->next = 0;
        s->at = (journal_at){0};
    }
    for (; sq_journal_at(s->journal, &s->at) && s->next < i; s->next++)
        s->at.index++;
    journal_state state = sq_journal_state(s->journal, s->at.phase, s->at.index);
    sq_task name = sq_survey_task(survey, s->at.phase, s->at.index);
    SQ_TRY(sq_journal_entry(s->journal, s->at, &entry));
    SQ_TRY(sq_entries_text(s->journal->entries, &entry, s->reason));
    *out = (sq_merge_task){.phase = (uint32_t)name.phase,
                           .realisation = name.realisation,
                           .patch = name.patch,
                           .tile = sq_survey_tile_of(survey, name.phase, name.patch),
                           .state = sq_journal_task_state(state),
                           .attempts = entry.attempt,
                           .taken = state == JOURNAL_TAKEN,
                           .rows = entry.rows,
                           .input = entry.input,
                           .place = entry.place,
                           .status = (sq_status)entry.status,
                           .reason = entry.text_size ? s->reason : NULL};
cleanup:
    return rc;
}

/* Rank 0: the tasks as the ledger has them now. */
static sq_status find_tasks(execution *x, sq_merge *merge, settled_tasks *tasks)
{
    sq_status rc = SQ_OK;
    SQ_TRY(sq_ledger_flush(x->ledger));
    SQ_TRY(sq_journal_replay(&x->journal, x->ledger_path));
    sq_execution_count(x);
    if (x->open) {
        rc = sq_fail(SQ_ERR_STOPPED, "%llu tasks are not done yet; run first",
                     (unsigned long long)x->open);
        goto cleanup;
    }
    *tasks = (settled_tasks){.journal = &x->journal};
    merge->task = get_task;
    merge->tasks = tasks;
    merge->ntask = (int64_t)x->verdict->total;
    merge->tiles = x->survey->tiles;
cleanup:
    return rc;
}

/* Bytes that the release takes at most, roughly. */
static sq_status release_size(const execution *x, const sq_merge *merge, uint64_t *out)
{
    sq_status rc = SQ_OK;
    const sq_probe_description *d = &x->survey->d;
    uint64_t records = 0, bytes = (1 << 16) + 512 * (uint64_t)merge->ntask;
    run_entry entry;
    for (journal_at at = {0}; sq_journal_at(&x->journal, &at); at.index++) {
        SQ_TRY(sq_journal_entry(&x->journal, at, &entry));
        records += entry.place.length;
    }
    bytes += records;
    for (int m = 0; m < d->nmap; m++)
        bytes += (uint64_t)(d->map[m]->nx * d->map[m]->ny * d->map[m]->planes) *
                 (uint64_t)sq_dtype_size(d->map[m]->type);
    *out = (merge->deflate ? bytes / 3 : bytes) + (merge->archive ? records : 0);
cleanup:
    return rc;
}

/* Is there room for the release? A disk that becomes full inside a collective write would leave
 * ranks that wait for each other, so the space is asked for, and given back, before. */
static sq_status check_room(const execution *x, const sq_merge *merge)
{
    sq_status rc = SQ_OK;
    char path[SQ_PATH_MAX];
    struct statvfs info;
    uint64_t need;
    SQ_TRY(release_size(x, merge, &need));
    SQ_TRY(sq_run_path(x->folder, "release.room", path));
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0666);
    if (fd < 0)
        return sq_fail(SQ_ERR_IO, "%s: cannot be made: %s", path, strerror(errno));
    int error = fallocate(fd, 0, 0, (off_t)need) != 0 ? errno : 0;
    close(fd);
    unlink(path);
    if (error == EOPNOTSUPP || error == ENOSYS || error == EINVAL) {
        /* A file system that cannot reserve: believe what it says about itself. */
        error = 0;
        if (statvfs(x->folder, &info) == 0 && (uint64_t)info.f_bavail * info.f_frsize < need)
            error = ENOSPC;
    }
    if (error)
        rc = sq_fail(SQ_ERR_IO, "%s: no room for the release, which needs up to %.1f MB: %s",
                     x->folder, 1e-6 * (double)need, strerror(error));
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

/* The hashes of the phase files: what products of later phases depend on. */
static sq_status add_phase_files(const execution *x, provenance *run)
{
    char text[SQ_MAX_PHASES * (SQ_HASH_TEXT + 1) + 1] = "";
    for (int p = 0; p < x->survey->d.nphase; p++) {
        char one[SQ_HASH_TEXT];
        size_t used = strlen(text);
        sq_hash_text(x->journal.phase_hash[p], one);
        snprintf(text + used, sizeof text - used, "%s%s", p ? " " : "", one);
    }
    return sq_provenance_add(run, "phase_files", text);
}

sq_status sq_execution_reduce(execution *x)
{
    sq_status rc = SQ_OK, mine = SQ_OK;
    const sq_survey *s = x->survey;
    provenance fixed = {.count = 0}, run = {.count = 0};
    settled_tasks tasks;
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
                      .archive = x->config->execution.archive,
                      .progress = reduce_progress,
                      .user = &state};
    if (x->rank == 0) {
        mine = find_tasks(x, &merge, &tasks);
        if (mine == SQ_OK)
            mine = check_room(x, &merge);
        if (mine == SQ_OK)
            mine = sq_provenance_survey(s, &fixed);
    }
    SQ_TRY(sq_comm_agree(x->comm, mine));
    SQ_TRY(sq_provenance_execution(x->comm, s, x->number, x->started_text, &run));
    SQ_TRY(sq_comm_agree(x->comm, x->rank == 0 ? add_phase_files(x, &run) : SQ_OK));
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
        x->verdict->exit_code =
            x->verdict->failed + x->verdict->quarantined + x->verdict->left_out ? 2 : 0;
    }
    SQ_TRY(sq_comm_agree(x->comm, mine));
cleanup:
    sq_provenance_clear(&fixed);
    sq_provenance_clear(&run);
    return rc;
}
