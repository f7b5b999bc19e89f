#include "run/inputs.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "run/paths.h"
#include "run/prefetch.h"
#include "store/ledger.h"

typedef struct commit {
    uint64_t index; /* of the task within its phase */
    int64_t line;
    sq_hash input;
    int phase;
} commit;

typedef struct inputs {
    const char *folder;
    void (*problem)(void *user, const char *line);
    void *user;
    sq_inputs_report *report;
    sq_run_config *config;
    sq_survey *survey;
    sq_hash model;
    commit *commit;
    size_t count, capacity;
    uint8_t *told; /* [parts] tiles with a problem */
} inputs;

static void complain(inputs *in, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void complain(inputs *in, const char *format, ...)
{
    char line[3 * SQ_ERROR_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    in->report->problems++;
    in->problem(in->user, line);
}

static sq_status visit(void *user, const sq_event *e, int64_t line)
{
    inputs *in = user;
    const sq_survey *s = in->survey;
    if (e->kind == SQ_EVENT_PLAN)
        in->model = e->model;
    if (e->kind != SQ_EVENT_COMMIT || e->phase >= (uint32_t)s->d.nphase ||
        e->patch >= s->base[e->phase][s->parts] ||
        e->realisation >= s->d.phase[e->phase].realisations || (!e->input.low && !e->input.high))
        return SQ_OK;
    sq_status rc = SQ_GROW(in->commit, in->capacity, in->count + 1, "patches");
    if (rc == SQ_OK)
        in->commit[in->count++] =
            (commit){sq_survey_index(s, (int)e->phase, e->patch, e->realisation), line, e->input,
                     (int)e->phase};
    return rc;
}

static int by_task(const void *a, const void *b)
{
    const commit *p = a, *q = b;
    if (p->phase != q->phase)
        return p->phase < q->phase ? -1 : 1;
    if (p->index != q->index)
        return p->index < q->index ? -1 : 1;
    return (p->line > q->line) - (p->line < q->line);
}

static void check_models(inputs *in)
{
    const sq_probe_description *d = &in->survey->d;
    in->report->models = d->nmodel;
    if (sq_hash_equal(in->model, in->survey->model_hash))
        return;
    for (int i = 0; i < d->nmodel; i++)
        complain(in, "%s: %s the model that the run began with (XXH3 differs)", d->model[i].path,
                 d->nmodel == 1 ? "not" : "this or another is not");
}

/* The files that a tile's pixels come from: one of them has changed. */
static void tell_tile(inputs *in, uint32_t part, const sq_task *task, const char *what)
{
    char files[2 * SQ_ERROR_MAX] = "";
    if (in->told[part])
        return;
    in->told[part] = 1;
    if (!in->survey->ntile) {
        complain(in, "patch %llu: %s", (unsigned long long)task->patch, what);
        return;
    }
    sq_tile tile;
    const char *name = sq_tile_list_name(in->survey->tiles, part);
    if (sq_tile_list_get(in->survey->tiles, part, &tile) != SQ_OK) {
        complain(in, "tile %s: patch %llu: %s", name, (unsigned long long)task->patch, what);
        return;
    }
    for (int b = 0; b < tile.nband; b++) {
        size_t used = strlen(files);
        snprintf(files + used, sizeof files - used, "%s%s", b ? ", " : "",
                 tile.band[b].image.path);
    }
    sq_tile_clear(&tile);
    complain(in, "tile %s (%s): patch %llu: %s", name, files, (unsigned long long)task->patch,
             what);
}

static sq_status check_patch(inputs *in, prefetch *reader, const commit *c)
{
    sq_status rc = SQ_OK;
    prefetched *item = NULL;
    sq_task task = sq_survey_task(in->survey, c->phase, c->index);
    uint32_t part = sq_survey_tile_of(in->survey, c->phase, task.patch);
    if (in->told[part])
        return SQ_OK;
    SQ_TRY(sq_prefetch_ask(reader, &task, 0));
    while (!sq_prefetch_take(reader, 1, &item)) {
    }
    in->report->patches++;
    if (item->status != SQ_OK)
        tell_tile(in, part, &task, item->text);
    else if (!sq_hash_equal(item->input_hash, c->input))
        tell_tile(in, part, &task, "the input is not what the run read (XXH3 differs)");
    sq_prefetch_done(reader, item);
cleanup:
    return rc;
}

static sq_status check_patches(inputs *in)
{
    sq_status rc = SQ_OK;
    prefetch *reader = NULL;
    char path[SQ_PATH_MAX];
    const sq_survey *s = in->survey;
    SQ_TRY(SQ_ALLOC(in->told, s->parts, "tiles"));
    SQ_TRY(sq_prefetch_create(s, &reader));
    if (in->count)
        qsort(in->commit, in->count, sizeof *in->commit, by_task);
    for (size_t i = 0; i < in->count; i++) {
        const commit *c = &in->commit[i];
        if (i && c->phase != c[-1].phase && s->config->cls->load_phase) {
            sq_prefetch_quiesce(reader);
            SQ_TRY(sq_run_phase_path(in->folder, c->phase - 1, path));
            if (s->d.phase[c->phase - 1].has_file)
                SQ_TRY(s->config->cls->load_phase(s->self, c->phase - 1, path));
        }
        /* The last commit of a task counts. */
        if (i + 1 == in->count || c->phase != c[1].phase || c->index != c[1].index)
            SQ_TRY(check_patch(in, reader, c));
    }
cleanup:
    sq_prefetch_destroy(reader);
    return rc;
}

sq_status sq_run_verify_config(const char *folder)
{
    char path[SQ_PATH_MAX];
    sq_status rc = sq_run_path(folder, SQ_RUN_CONFIG, path);
    return rc == SQ_OK ? sq_run_check_sealed(path) : rc;
}

sq_status sq_run_verify_inputs(const char *folder, void (*problem)(void *user, const char *line),
                               void *user, sq_inputs_report *report)
{
    inputs in = {.folder = folder, .problem = problem, .user = user, .report = report};
    char path[SQ_PATH_MAX], tiles[SQ_PATH_MAX];
    sq_status rc = SQ_OK;
    *report = (sq_inputs_report){0};
    SQ_TRY(sq_run_path(folder, SQ_RUN_CONFIG, path));
    SQ_TRY(sq_run_config_load(path, &in.config));
    SQ_TRY(sq_run_path(folder, SQ_RUN_TILES, tiles));
    const char *index = in.config->index[0] ? in.config->index : tiles;
    SQ_TRY(sq_survey_create(NULL, in.config, access(index, F_OK) == 0 ? index : NULL,
                            &in.survey));
    SQ_TRY(sq_run_path(folder, SQ_RUN_LEDGER, path));
    SQ_TRY(sq_ledger_replay(path, visit, &in, NULL));
    check_models(&in);
    SQ_TRY(check_patches(&in));
cleanup:
    sq_free(in.told);
    sq_free(in.commit);
    sq_survey_destroy(in.survey);
    sq_run_config_destroy(in.config);
    return rc;
}
