#include "run/retry.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "run/paths.h"
#include "run/present.h"

/* Append a line and let the journal see it. */
static sq_status record(execution *x, const sq_event *e)
{
    sq_status rc = sq_ledger_append(x->ledger, e);
    return rc == SQ_OK ? sq_journal_visit(&x->journal, e, 0) : rc;
}

static sq_status record_note(execution *x, const present_note *note)
{
    const sq_probe_description *d = &x->survey->d;
    const sq_task *t = &note->task;
    sq_event e = {.kind = SQ_EVENT_DEATH,
                  .execution = note->execution,
                  .phase = (uint32_t)t->phase,
                  .patch = t->patch,
                  .realisation = t->realisation,
                  .count = (uint64_t)note->rank};
    if (t->phase < 0 || t->phase >= d->nphase ||
        t->realisation >= d->phase[t->phase].realisations ||
        t->patch >= x->survey->base[t->phase][x->survey->parts])
        return SQ_OK;
    if (note->signal == SIGKILL)
        snprintf(e.text, sizeof e.text, "rank %d was killed", note->rank);
    else if (note->signal)
        snprintf(e.text, sizeof e.text, "rank %d died by signal %d", note->rank, note->signal);
    else
        snprintf(e.text, sizeof e.text, "rank %d hung", note->rank);
    sq_warn("patch %llu: execution %u: %s", (unsigned long long)t->patch, note->execution, e.text);
    return record(x, &e);
}

/* What one rank was at when it died; unless that is known. */
static sq_status record_notes(execution *x, const char *folder, const char *name)
{
    present_note note[PRESENT_PLACES];
    sq_status rc = SQ_OK;
    int n;
    /* A file that is cut short says nothing that could be trusted. */
    if (sq_present_read_notes(folder, name, note, &n) != SQ_OK || n == 0 ||
        sq_journal_has_lost(&x->journal, note[0].execution, note[0].rank))
        return SQ_OK;
    for (int i = 0; rc == SQ_OK && i < n; i++)
        rc = record_note(x, &note[i]);
    return rc;
}

static int is_note(const struct dirent *entry)
{
    return entry->d_name[0] == 'e';
}

sq_status sq_retry_read_notes(execution *x)
{
    sq_status rc = SQ_OK;
    char folder[SQ_PATH_MAX], path[SQ_PATH_MAX];
    struct dirent **entry = NULL;
    int n = 0;
    SQ_TRY(sq_run_path(x->folder, SQ_RUN_DEATHS, folder));
    n = scandir(folder, &entry, is_note, alphasort);
    if (n < 0) {
        rc = errno == ENOENT ? SQ_OK : sq_fail(SQ_ERR_IO, "%s: %s", folder, strerror(errno));
        goto cleanup;
    }
    for (int i = 0; i < n; i++)
        SQ_TRY(record_notes(x, folder, entry[i]->d_name));
    SQ_TRY(sq_ledger_flush(x->ledger));
    for (int i = 0; i < n; i++) {
        SQ_TRY(sq_run_path(folder, entry[i]->d_name, path));
        unlink(path);
    }
cleanup:
    for (int i = 0; i < n; i++)
        free(entry[i]);
    free(entry);
    return rc;
}

sq_status sq_retry_quarantine(execution *x)
{
    sq_status rc = SQ_OK;
    journal *j = &x->journal;
    for (size_t i = 0; i < j->deaths; i++) {
        const journal_death *d = &j->death[i];
        if (d->deaths < JOURNAL_DEATHS || sq_journal_state(j, d->phase, d->index) != JOURNAL_OPEN)
            continue;
        sq_task task = sq_survey_task(x->survey, d->phase, d->index);
        sq_event e = {.kind = SQ_EVENT_QUARANTINE,
                      .execution = j->executions,
                      .phase = (uint32_t)task.phase,
                      .patch = task.patch,
                      .realisation = task.realisation,
                      .count = d->deaths,
                      .status = SQ_ERR_INTERNAL};
        snprintf(e.text, sizeof e.text, SQ_RUN_QUARANTINED, (unsigned long long)d->deaths);
        sq_warn("patch %llu: %s; quarantined", (unsigned long long)task.patch, e.text);
        SQ_TRY(record(x, &e));
    }
    SQ_TRY(sq_ledger_flush(x->ledger));
cleanup:
    return rc;
}

/* ---- Wishes ---- */

typedef struct range {
    uint64_t first, last;
} range;

typedef struct choice {
    uint8_t *tile; /* [tiles] named; NULL: all */
    range *patch;  /* NULL: all */
    size_t ranges, capacity;
} choice;

static sq_status choose_tiles(const execution *x, const char *names, choice *c)
{
    sq_status rc = SQ_OK;
    const sq_survey *s = x->survey;
    char *copy = NULL, *save = NULL;
    if (!names)
        return SQ_OK;
    if (!s->ntile)
        return sq_fail(SQ_ERR_CONFIG, "--tiles: probe %s has no tiles", s->config->cls->name);
    SQ_TRY(SQ_ALLOC(c->tile, s->ntile, "named tiles"));
    SQ_TRY(sq_strdup(&copy, names));
    for (char *name = strtok_r(copy, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
        int found = 0;
        for (int64_t t = 0; t < s->ntile; t++) {
            if (fnmatch(name, sq_tile_list_name(s->tiles, t), 0) == 0)
                c->tile[t] = found = 1;
        }
        if (!found)
            SQ_TRY(sq_fail(SQ_ERR_CONFIG, "--tiles: the survey has no tile '%s'", name));
    }
cleanup:
    sq_free(copy);
    return rc;
}

/* "N" or "N-M" */
static int read_range(const char *text, range *out)
{
    char *end;
    errno = 0;
    if (!isdigit((unsigned char)*text))
        return 0;
    out->first = out->last = strtoull(text, &end, 10);
    if (*end == '-' && isdigit((unsigned char)end[1]))
        out->last = strtoull(end + 1, &end, 10);
    return !*end && !errno && out->first <= out->last;
}

static sq_status choose_patches(const execution *x, const char *names, choice *c)
{
    sq_status rc = SQ_OK;
    char *copy = NULL, *save = NULL;
    uint64_t most = 0;
    if (!names)
        return SQ_OK;
    for (int p = 0; p < x->survey->d.nphase; p++) {
        uint64_t end = x->survey->base[p][x->survey->parts];
        most = end > most ? end : most;
    }
    SQ_TRY(sq_strdup(&copy, names));
    for (char *name = strtok_r(copy, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
        range r;
        if (!read_range(name, &r) || r.last >= most) {
            rc = sq_fail(SQ_ERR_CONFIG, "--patches: '%s' is not N or N-M below %llu", name,
                         (unsigned long long)most);
            goto cleanup;
        }
        SQ_TRY(SQ_GROW(c->patch, c->capacity, c->ranges + 1, "named patches"));
        c->patch[c->ranges++] = r;
    }
    if (!c->ranges)
        rc = sq_fail(SQ_ERR_CONFIG, "--patches: names none");
cleanup:
    sq_free(copy);
    return rc;
}

static int is_chosen(const execution *x, const choice *c, journal_at at)
{
    sq_task task = sq_survey_task(x->survey, at.phase, at.index);
    if (x->options->retry_failed &&
        sq_journal_is_done(sq_journal_state(&x->journal, at.phase, at.index)))
        return 0;
    if (c->tile && !c->tile[sq_survey_tile_of(x->survey, at.phase, task.patch)])
        return 0;
    for (size_t i = 0; i < c->ranges; i++) {
        if (task.patch >= c->patch[i].first && task.patch <= c->patch[i].last)
            return 1;
    }
    return c->ranges == 0;
}

static sq_status reopen_chosen(execution *x, const choice *c, const char *why)
{
    sq_status rc = SQ_OK;
    journal *j = &x->journal;
    uint64_t count = 0;
    for (journal_at at = {0}; sq_journal_at(j, &at); at.index++) {
        if (!is_chosen(x, c, at))
            continue;
        sq_task task = sq_survey_task(x->survey, at.phase, at.index);
        sq_event e = {.kind = SQ_EVENT_REOPEN,
                      .execution = j->executions + 1,
                      .phase = (uint32_t)task.phase,
                      .patch = task.patch,
                      .realisation = task.realisation,
                      .attempt = (uint32_t)sq_journal_task_state(
                          sq_journal_state(j, at.phase, at.index))};
        snprintf(e.text, sizeof e.text, "%s", why);
        SQ_TRY(record(x, &e));
        count++;
    }
    sq_info("%llu tasks are done again", (unsigned long long)count);
    SQ_TRY(sq_ledger_flush(x->ledger));
cleanup:
    return rc;
}

sq_status sq_retry_reopen(execution *x)
{
    sq_status rc = SQ_OK;
    const sq_run_options *o = x->options;
    choice c = {.tile = NULL};
    char all[2 * SQ_PATH_MAX], why[JOURNAL_WHY], hash[SQ_HASH_TEXT];
    if (!o->retry_failed && !o->tiles && !o->patches)
        return SQ_OK;
    SQ_TRY(choose_tiles(x, o->tiles, &c));
    SQ_TRY(choose_patches(x, o->patches, &c));
    int n = snprintf(all, sizeof all, "%s", o->retry_failed ? "retry-failed" : "again");
    if (o->tiles && n < (int)sizeof all)
        n += snprintf(all + n, sizeof all - (size_t)n, " tiles %s", o->tiles);
    if (o->patches && n < (int)sizeof all)
        snprintf(all + n, sizeof all - (size_t)n, " patches %s", o->patches);
    sq_hash_text(sq_hash_bytes(all, strlen(all)), hash);
    snprintf(why, sizeof why, "%.60s, %s", all, hash);
    /* A launcher gives the same command again when ranks were lost in the middle. */
    if (strcmp(x->journal.reopening, why) != 0)
        SQ_TRY(reopen_chosen(x, &c, why));
cleanup:
    sq_free(c.tile);
    sq_free(c.patch);
    return rc;
}
