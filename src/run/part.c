#include "run/part.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "run/paths.h"

void sq_part_range(uint64_t patches, int part, int parts, uint64_t *first, uint64_t *end)
{
    uint64_t share = patches / (uint64_t)parts, rest = patches % (uint64_t)parts;
    uint64_t before = (uint64_t)(part - 1);
    *first = before * share + (before < rest ? before : rest);
    *end = *first + share + (before < rest);
}

sq_status sq_part_take(sq_survey *s, int part, int parts)
{
    uint64_t first, end;
    if (s->d.nphase > 1)
        return sq_fail(SQ_ERR_CONFIG,
                       "part: probe %s has %d phases that need each other's results: run it whole",
                       s->config->cls->name, s->d.nphase);
    sq_status rc = SQ_ALLOC(s->cut, s->parts + 1, "patch numbers");
    if (rc != SQ_OK)
        return rc;
    sq_part_range(s->base[0][s->parts], part, parts, &first, &end);
    for (uint32_t t = 0; t <= s->parts; t++) {
        uint64_t base = s->base[0][t];
        s->cut[t] = base < first ? first : base > end ? end : base;
    }
    return SQ_OK;
}

typedef struct part_reader {
    execution *x;
    journal journal; /* of the part */
    int part;
} part_reader;

static sq_status part_path(const part_reader *p, const char *name, char path[SQ_PATH_MAX])
{
    char inner[64];
    snprintf(inner, sizeof inner, SQ_RUN_PART "/%s", p->part, p->x->options->parts, name);
    return sq_run_path(p->x->folder, inner, path);
}

/* Every settled task of a part must be its own: so none is settled by two. */
static sq_status check_range(const part_reader *p, uint64_t first, uint64_t end)
{
    for (journal_at at = {0}; sq_journal_at(&p->journal, &at); at.index++) {
        uint64_t patch = sq_survey_task(p->x->survey, 0, at.index).patch;
        if (patch < first || patch >= end)
            return sq_fail(SQ_ERR_CORRUPT, "patch %llu is not of this part",
                           (unsigned long long)patch);
    }
    return SQ_OK;
}

/* Adds the part to `missing` when a task of it is open. */
static sq_status check_part(part_reader *p, char *missing, size_t size)
{
    sq_status rc = SQ_OK;
    const sq_survey *s = p->x->survey;
    char path[SQ_PATH_MAX];
    uint64_t first, end, settled = 0;
    size_t used = strlen(missing);
    sq_part_range(s->base[0][s->parts], p->part, p->x->options->parts, &first, &end);
    SQ_TRY(part_path(p, SQ_RUN_LEDGER, path));
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        snprintf(missing + used, size - used, "; part %d has not begun", p->part);
        return SQ_OK;
    }
    p->journal = (journal){.survey = s};
    SQ_TRY(sq_journal_replay(&p->journal, path));
    SQ_TRY(check_range(p, first, end));
    uint64_t total = (end - first) * s->d.phase[0].realisations;
    for (int state = JOURNAL_DONE; state < JOURNAL_STATES; state++)
        settled += sq_journal_count(&p->journal, (journal_state)state);
    if (settled < total)
        snprintf(missing + used, size - used, "; part %d has %llu of %llu tasks open", p->part,
                 (unsigned long long)(total - settled), (unsigned long long)total);
cleanup:
    sq_journal_clear(&p->journal);
    return rc == SQ_OK ? rc : sq_fail_in(rc, "part %d of %d", p->part, p->x->options->parts);
}

/* The segments of a part under the same names in the folder of the whole: as links, since they are
 * never written again; as symbolic links where the file system has no others. */
static sq_status link_segments(const part_reader *p)
{
    sq_status rc = SQ_OK;
    char folder[SQ_PATH_MAX], from[SQ_PATH_MAX], to[SQ_PATH_MAX], relative[128];
    DIR *list = NULL;
    SQ_TRY(part_path(p, SQ_RUN_SHARDS, folder));
    list = opendir(folder);
    if (!list) {
        rc = sq_fail(SQ_ERR_IO, "%s: %s", folder, strerror(errno));
        goto cleanup;
    }
    for (struct dirent *e; (e = readdir(list));) {
        size_t n = strlen(e->d_name);
        if (n <= 4 || n >= SQ_SEGMENT_NAME || strcmp(e->d_name + n - 4, ".sqs") != 0)
            continue;
        SQ_TRY(sq_run_path(folder, e->d_name, from));
        SQ_TRY(sq_run_path(p->x->shards, e->d_name, to));
        snprintf(relative, sizeof relative, "../" SQ_RUN_PART "/" SQ_RUN_SHARDS "/%.47s", p->part,
                 p->x->options->parts, e->d_name);
        unlink(to); /* of an earlier merge; the part may have been computed anew since */
        if (link(from, to) != 0 && symlink(relative, to) != 0) {
            rc = sq_fail(SQ_ERR_IO, "%s: cannot be linked to %s: %s", from, to, strerror(errno));
            goto cleanup;
        }
    }
cleanup:
    if (list)
        closedir(list);
    return rc;
}

static sq_status copy_settled(void *user, const sq_event *e, int64_t line)
{
    const part_reader *p = user;
    if (e->kind != SQ_EVENT_COMMIT && e->kind != SQ_EVENT_QUARANTINE)
        return SQ_OK;
    sq_status rc = sq_ledger_append(p->x->ledger, e);
    return rc == SQ_OK ? sq_journal_visit(&p->x->journal, e, line) : rc;
}

sq_status sq_part_import(execution *x)
{
    sq_status rc = SQ_OK;
    char missing[SQ_ERROR_MAX / 2] = "", path[SQ_PATH_MAX];
    part_reader p = {.x = x};
    int parts = x->options->parts;
    for (p.part = 1; p.part <= parts; p.part++)
        SQ_TRY(check_part(&p, missing, sizeof missing));
    if (missing[0]) {
        rc = sq_fail(SQ_ERR_STOPPED, "not all of %d parts are complete%s", parts, missing);
        goto cleanup;
    }
    for (p.part = 1; p.part <= parts; p.part++)
        SQ_TRY(link_segments(&p));
    SQ_TRY(sq_run_sync_folder(x->shards));
    for (p.part = 1; p.part <= parts; p.part++) {
        SQ_TRY(part_path(&p, SQ_RUN_LEDGER, path));
        SQ_TRY(sq_ledger_replay(path, copy_settled, &p, NULL));
    }
    SQ_TRY(sq_ledger_flush(x->ledger));
cleanup:
    return rc;
}
