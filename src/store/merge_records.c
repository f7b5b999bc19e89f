/* What rank 0 writes alone into the release: tiles, patches, failures, provenance, and /run. What
 * there is of every task goes in portions, so that it is never all in memory a second time. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "store/hdf5_internal.h"
#include "store/merge_internal.h"
#include "store/small_internal.h"

enum { HEX = SQ_HASH_TEXT - 1, STATUS = 16, PORTION = 1 << 16 };

typedef struct records {
    merge *m;
    const char *path;
    hid_t file;
    int64_t n; /* tasks */
} records;

/* The k-th of some tasks; `which` NULL: of all. */
static sq_status get_task(const records *r, const int64_t *which, int64_t k, sq_merge_task *out)
{
    return r->m->in->task(r->m->in->tasks, which ? which[k] : k, out);
}

/* One column of numbers made from each task. */
typedef uint64_t (*task_value)(const sq_merge_task *task);

static uint64_t phase_of(const sq_merge_task *t)
{
    return t->phase;
}

static uint64_t patch_of(const sq_merge_task *t)
{
    return t->patch;
}

static uint64_t realisation_of(const sq_merge_task *t)
{
    return t->realisation;
}

static uint64_t tile_of(const sq_merge_task *t)
{
    return t->tile;
}

static uint64_t state_of(const sq_merge_task *t)
{
    return t->state;
}

static uint64_t rows_of(const sq_merge_task *t)
{
    return t->state == SQ_TASK_DONE ? t->rows : 0;
}

static uint64_t attempts_of(const sq_merge_task *t)
{
    return t->attempts;
}

static uint64_t taken_of(const sq_merge_task *t)
{
    return (uint64_t)t->taken;
}

static sq_status put_values(const records *r, hid_t group, const char *name, sq_dtype type,
                            task_value value, const int64_t *which, int64_t n,
                            const char *description)
{
    uint64_t *wide = NULL;
    sq_merge_task task;
    size_t width = (size_t)sq_dtype_size(type);
    sq_status rc;
    SQ_TRY(SQ_ALLOC(wide, PORTION, "column"));
    SQ_TRY(sq_small_numbers(group, r->path, name, type, n, NULL, description));
    for (int64_t first = 0; first < n; first += PORTION) {
        int64_t part = n - first < PORTION ? n - first : PORTION;
        /* In place: a narrow element never reaches beyond the wide one that it comes from. */
        for (int64_t i = 0; i < part; i++) {
            SQ_TRY(get_task(r, which, first + i, &task));
            uint64_t v = value(&task);
            memcpy((char *)wide + (size_t)i * width, &v, width);
        }
        SQ_TRY(sq_small_numbers_part(group, r->path, name, type, first, part, wide));
    }
cleanup:
    sq_free(wide);
    return rc;
}

static sq_status put_identity(const records *r, hid_t group, const int64_t *which, int64_t n)
{
    sq_status rc;
    SQ_TRY(put_values(r, group, "phase", SQ_U32, phase_of, which, n, "Phase of the probe"));
    SQ_TRY(put_values(r, group, "patch", SQ_U64, patch_of, which, n, "Number of the patch"));
    SQ_TRY(put_values(r, group, "realisation", SQ_U32, realisation_of, which, n, "Realisation"));
    SQ_TRY(put_values(r, group, "tile", SQ_U32, tile_of, which, n, "Row of /tiles"));
    SQ_TRY(
        put_values(r, group, "state", SQ_U8, state_of, which, n, "0 done, 1 failed, 2 quarantined"));
cleanup:
    return rc;
}

/* The hashes that hold for all patches: config_hash, model_hash, index_hash ... */
static sq_status put_common_hashes(const records *r, hid_t group)
{
    for (int i = 0; i < r->m->in->nprovenance; i++) {
        const sq_merge_text *p = &r->m->in->provenance[i];
        size_t n = strlen(p->name);
        if (n < 5 || strcmp(p->name + n - 5, "_hash") != 0)
            continue;
        sq_status rc = sq_hdf5_attribute(group, r->path, p->name, p->text);
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}

static sq_status put_inputs(const records *r, hid_t group)
{
    char *input = NULL, text[SQ_HASH_TEXT];
    sq_merge_task task;
    sq_status rc;
    SQ_TRY(SQ_ALLOC(input, PORTION * HEX, "hashes of inputs"));
    SQ_TRY(sq_small_texts(group, r->path, "input_hash", HEX, r->n, NULL,
                          "XXH3 of the input sections that were read"));
    for (int64_t first = 0; first < r->n; first += PORTION) {
        int64_t part = r->n - first < PORTION ? r->n - first : PORTION;
        memset(input, 0, (size_t)part * HEX);
        for (int64_t i = 0; i < part; i++) {
            SQ_TRY(get_task(r, NULL, first + i, &task));
            if (task.state != SQ_TASK_DONE)
                continue;
            sq_hash_text(task.input, text);
            memcpy(input + i * HEX, text, HEX);
        }
        SQ_TRY(sq_small_texts_part(group, r->path, "input_hash", HEX, first, part, input));
    }
cleanup:
    sq_free(input);
    return rc;
}

static sq_status put_patches(const records *r)
{
    hid_t group = -1;
    sq_status rc;
    SQ_TRY(sq_small_group(r->file, r->path, "patches", "Every task of the run, once", &group));
    SQ_TRY(put_identity(r, group, NULL, r->n));
    SQ_TRY(put_values(r, group, "rows", SQ_U64, rows_of, NULL, r->n,
                      "Rows found, before borders were reconciled"));
    SQ_TRY(put_inputs(r, group));
    SQ_TRY(put_common_hashes(r, group));
cleanup:
    if (group >= 0)
        H5Gclose(group);
    return rc;
}

static sq_status put_reasons(const records *r, hid_t group, const int64_t *bad, int64_t n)
{
    size_t width = 1;
    char *status = NULL, *reason = NULL;
    sq_merge_task task;
    sq_status rc = SQ_OK;
    for (int64_t i = 0; i < n; i++) {
        SQ_TRY(get_task(r, bad, i, &task));
        size_t size = task.reason ? strlen(task.reason) : 0;
        width = size > width ? size : width;
    }
    SQ_TRY(SQ_ALLOC(status, n * STATUS + 1, "statuses"));
    SQ_TRY(sq_alloc(&reason, (size_t)n + 1, width, "reasons"));
    for (int64_t i = 0; i < n; i++) {
        SQ_TRY(get_task(r, bad, i, &task));
        if (task.reason)
            memcpy(reason + (size_t)i * width, task.reason, strlen(task.reason));
        strncpy(status + i * STATUS, sq_status_name(task.status), STATUS);
    }
    SQ_TRY(sq_small_texts(group, r->path, "status", STATUS, n, status, "Class of the failure"));
    SQ_TRY(sq_small_texts(group, r->path, "reason", (int)width, n, reason, "What went wrong"));
cleanup:
    sq_free(status);
    sq_free(reason);
    return rc;
}

static sq_status put_failures(const records *r)
{
    int64_t *bad = NULL, n = 0, all = r->m->report.failed + r->m->report.quarantined;
    hid_t group = -1;
    sq_merge_task task;
    sq_status rc;
    SQ_TRY(SQ_ALLOC(bad, all + 1, "failures"));
    for (int64_t i = 0; n < all; i++) {
        SQ_TRY(get_task(r, NULL, i, &task));
        if (task.state != SQ_TASK_DONE)
            bad[n++] = i;
    }
    SQ_TRY(sq_small_group(r->file, r->path, "failures", "Tasks without a product", &group));
    SQ_TRY(put_identity(r, group, bad, n));
    SQ_TRY(put_reasons(r, group, bad, n));
cleanup:
    if (group >= 0)
        H5Gclose(group);
    sq_free(bad);
    return rc;
}

static sq_status put_corners(const records *r, hid_t group)
{
    const sq_tile_list *tiles = r->m->in->tiles;
    int64_t n = sq_tile_list_count(tiles);
    double *value = NULL, ra[4], dec[4];
    char name[16];
    sq_status rc;
    SQ_TRY(SQ_ALLOC(value, n + 1, "corners"));
    for (int k = 0; k < 8; k++) {
        for (int64_t i = 0; i < n; i++) {
            sq_tile_list_corners(tiles, i, ra, dec);
            value[i] = k < 4 ? ra[k] : dec[k - 4];
        }
        snprintf(name, sizeof name, "%s%d", k < 4 ? "ra" : "dec", k % 4);
        SQ_TRY(sq_small_numbers(
            group, r->path, name, SQ_F64, n, value,
            "Corner of the reference band's grid, deg, counter-clockwise in pixels"));
    }
cleanup:
    sq_free(value);
    return rc;
}

static sq_status put_tiles(const records *r)
{
    const sq_tile_list *tiles = r->m->in->tiles;
    int64_t n = tiles ? sq_tile_list_count(tiles) : 0;
    char *name = NULL;
    hid_t group = -1;
    sq_status rc;
    SQ_TRY(SQ_ALLOC(name, n * SQ_NAME_MAX + 1, "names of tiles"));
    for (int64_t i = 0; i < n; i++)
        strncpy(name + i * SQ_NAME_MAX, sq_tile_list_name(tiles, i), SQ_NAME_MAX);
    SQ_TRY(
        sq_small_group(r->file, r->path, "tiles", "Tiles in the order of their numbers", &group));
    SQ_TRY(sq_small_texts(group, r->path, "name", SQ_NAME_MAX, n, name, "Name of the tile"));
    if (n)
        SQ_TRY(put_corners(r, group));
cleanup:
    if (group >= 0)
        H5Gclose(group);
    sq_free(name);
    return rc;
}

static sq_status put_texts(const records *r, const char *name, const sq_merge_text *text, int n,
                           const char *description, hid_t *group)
{
    sq_status rc = sq_small_group(r->file, r->path, name, description, group);
    for (int i = 0; rc == SQ_OK && i < n; i++)
        rc = sq_small_text(*group, r->path, text[i].name, text[i].text ? text[i].text : "");
    return rc;
}

/* ---- Seconds and memory of every task: from all ranks, a portion at a time ---- */

static const char *const clock_name[SQ_RECORD_CLOCKS] = {
    [SQ_SECONDS_READ] = "read",   [SQ_SECONDS_INFER] = "infer", [SQ_SECONDS_DECODE] = "decode",
    [SQ_SECONDS_FFT] = "fft",     [SQ_SECONDS_WRITE] = "write", [SQ_SECONDS_WAIT] = "wait",
    [SQ_SECONDS_TOTAL] = "total",
};

static sq_status begin_timing(const records *r, hid_t group)
{
    sq_status rc = SQ_OK;
    for (int k = 0; rc == SQ_OK && k < SQ_RECORD_CLOCKS; k++) {
        if (clock_name[k])
            rc = sq_small_numbers(group, r->path, clock_name[k], SQ_F32, r->n, NULL, "Seconds");
    }
    return rc == SQ_OK ? sq_small_numbers(group, r->path, "memory", SQ_U64, r->n, NULL,
                                          "Peak resident memory of the worker when it was done, "
                                          "bytes")
                       : rc;
}

/* Tasks first .. first + part; NaN and 0 for those without a record. */
static sq_status put_timing(const records *r, hid_t group, int64_t first, int64_t part,
                            const merge_timing *timing, int64_t n)
{
    float *value = NULL;
    uint64_t *memory = NULL;
    sq_status rc;
    SQ_TRY(SQ_ALLOC(value, PORTION, "seconds"));
    SQ_TRY(SQ_ALLOC(memory, PORTION, "memory"));
    for (int k = 0; k < SQ_RECORD_CLOCKS; k++) {
        if (!clock_name[k])
            continue;
        for (int64_t i = 0; i < part; i++)
            value[i] = __builtin_nanf("");
        for (int64_t i = 0; i < n; i++)
            value[timing[i].number - first] = timing[i].seconds[k];
        SQ_TRY(sq_small_numbers_part(group, r->path, clock_name[k], SQ_F32, first, part, value));
    }
    for (int64_t i = 0; i < n; i++)
        memory[timing[i].number - first] = timing[i].memory;
    SQ_TRY(sq_small_numbers_part(group, r->path, "memory", SQ_U64, first, part, memory));
cleanup:
    sq_free(value);
    sq_free(memory);
    return rc;
}

static int by_number(const void *a, const void *b)
{
    const merge_timing *p = a, *q = b;
    return (p->number > q->number) - (p->number < q->number);
}

/* Collective. Rank 0 goes on collecting after an error of its own: the others do not know of it. */
static sq_status gather_timing(const records *r, sq_status mine, hid_t group)
{
    merge *m = r->m;
    void *all = NULL;
    size_t bytes;
    int64_t tasks = r->n, at = 0;
    sq_status rc;
    qsort(m->timing, (size_t)m->ntask, sizeof *m->timing, by_number);
    SQ_TRY(sq_comm_broadcast(m->comm, 0, &tasks, sizeof tasks));
    for (int64_t first = 0; first < tasks; first += PORTION) {
        int64_t from = at, part = tasks - first < PORTION ? tasks - first : PORTION;
        while (at < m->ntask && m->timing[at].number < first + part)
            at++;
        SQ_TRY(sq_comm_gather(m->comm, m->timing + from, (size_t)(at - from) * sizeof *m->timing,
                              &all, &bytes, NULL));
        if (m->rank == 0 && mine == SQ_OK)
            mine = put_timing(r, group, first, part, all, (int64_t)(bytes / sizeof *m->timing));
        sq_free(all);
        all = NULL;
    }
    rc = mine;
cleanup:
    sq_free(all);
    return rc;
}

static sq_status put_all(const records *r, hid_t *tasks)
{
    hid_t provenance = -1, run = -1;
    const sq_merge *in = r->m->in;
    sq_status rc;
    SQ_TRY(sq_hdf5_attribute(r->file, r->path, "kind", "skyquilt release 1"));
    SQ_TRY(put_tiles(r));
    SQ_TRY(put_patches(r));
    SQ_TRY(put_failures(r));
    SQ_TRY(put_texts(r, "provenance", in->provenance, in->nprovenance,
                     "What the content was made from", &provenance));
    SQ_TRY(put_texts(r, "run", in->run, in->nrun,
                     "This execution: the only part that two runs of one configuration may differ "
                     "in",
                     &run));
    SQ_TRY(merge_put_tile_hashes(run, r->path, in));
    SQ_TRY(sq_small_group(run, r->path, "tasks", "In the order of /patches", tasks));
    SQ_TRY(put_values(r, *tasks, "attempts", SQ_U32, attempts_of, NULL, r->n, "Attempts made"));
    SQ_TRY(put_values(r, *tasks, "taken_over", SQ_U8, taken_of, NULL, r->n,
                      "1: taken over from an earlier release, not computed"));
    SQ_TRY(begin_timing(r, *tasks));
cleanup:
    if (provenance >= 0)
        H5Gclose(provenance);
    if (run >= 0)
        H5Gclose(run);
    return rc;
}

sq_status merge_write_records(merge *m)
{
    records r = {.m = m, .path = m->partial, .file = -1, .n = m->in->ntask};
    hid_t tasks = -1;
    double start = sq_now();
    sq_status rc = SQ_OK;
    if (m->rank == 0) {
        r.file = H5Fopen(m->partial, H5F_ACC_RDWR, H5P_DEFAULT);
        rc = r.file < 0 ? sq_hdf5_fail(m->partial, "cannot open") : put_all(&r, &tasks);
    }
    rc = gather_timing(&r, rc, tasks);
    if (tasks >= 0)
        H5Gclose(tasks);
    if (r.file >= 0 && H5Fflush(r.file, H5F_SCOPE_GLOBAL) < 0 && rc == SQ_OK)
        rc = sq_hdf5_fail(m->partial, "cannot flush");
    if (r.file >= 0 && H5Fclose(r.file) < 0 && rc == SQ_OK)
        rc = sq_hdf5_fail(m->partial, "cannot close");
    merge_clock(m, SQ_REDUCE_RECORD, start);
    return sq_comm_agree(m->comm, rc);
}
