#include "store/verify.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/hdf5_internal.h"
#include "store/ledger.h"
#include "store/manifest_internal.h"
#include "store/shard_internal.h"

typedef struct check {
    sq_verify_problem problem;
    void *user;
    sq_verify_report *report;
} check;

static void complain(check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void complain(check *c, const char *format, ...)
{
    char line[2 * SQ_ERROR_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    c->report->problems++;
    if (c->problem)
        c->problem(c->user, line);
}

static sq_status verdict(const check *c, const char *path)
{
    if (c->report->problems == 0)
        return SQ_OK;
    return sq_fail(SQ_ERR_CORRUPT, "%s: %lld problem%s", path, (long long)c->report->problems,
                   c->report->problems == 1 ? "" : "s");
}

/* ---- A release ---- */

static const sq_manifest_entry *find(const sq_manifest *m, const char *name)
{
    for (size_t i = 0; i < m->count; i++) {
        if (strcmp(m->entry[i].name, name) == 0)
            return &m->entry[i];
    }
    return NULL;
}

static void compare(check *c, const char *path, const sq_manifest *stored, const sq_manifest *now)
{
    for (size_t i = 0; i < stored->count; i++) {
        const sq_manifest_entry *e = &stored->entry[i], *f = find(now, e->name);
        if (!f)
            complain(c, "%s: %s: missing", path, e->name);
        else if (f->rows != e->rows)
            complain(c, "%s: %s: %lld rows instead of %lld", path, e->name, (long long)f->rows,
                     (long long)e->rows);
        else if (!sq_hash_equal(f->form, e->form))
            complain(c, "%s: %s: type, shape or attributes changed", path, e->name);
        else if (!sq_hash_equal(f->content, e->content))
            complain(c, "%s: %s: content changed", path, e->name);
    }
    for (size_t i = 0; i < now->count; i++) {
        if (!find(stored, now->entry[i].name))
            complain(c, "%s: %s: not in the manifest", path, now->entry[i].name);
        if (now->entry[i].rows >= 0) {
            c->report->datasets++;
            c->report->rows += now->entry[i].rows;
        }
    }
    if (!sq_hash_equal(stored->hash, now->hash) && c->report->problems == 0)
        complain(c, "%s: the hash of the manifest does not match its entries", path);
}

/* The columns of one table have one length. */
static void compare_lengths(check *c, const char *path, const sq_manifest *m)
{
    for (size_t i = 1; i < m->count; i++) {
        const sq_manifest_entry *a = &m->entry[i - 1], *b = &m->entry[i];
        const char *slash = strchr(a->name, '/');
        if (!slash || a->rows < 0 || b->rows < 0 || strncmp(a->name, "maps/", 5) == 0 ||
            strncmp(a->name, "provenance/", 11) == 0)
            continue;
        if (strncmp(a->name, b->name, (size_t)(slash - a->name) + 1) == 0 && a->rows != b->rows)
            complain(c, "%s: %s has %lld rows, %s %lld", path, a->name, (long long)a->rows, b->name,
                     (long long)b->rows);
    }
}

static void check_seal(check *c, const char *path, sq_hash sealed, uint64_t bytes)
{
    sq_hash hash;
    uint64_t size;
    if (sq_seal_compute(path, NULL, &hash, &size) != SQ_OK) {
        complain(c, "%s", sq_error());
        return;
    }
    c->report->bytes = size + SQ_USER_BLOCK;
    if (size != bytes)
        complain(c, "%s: %llu bytes instead of %llu", path, (unsigned long long)size,
                 (unsigned long long)bytes);
    else if (!sq_hash_equal(hash, sealed))
        complain(c, "%s: bytes of the file changed (XXH3 differs)", path);
}

sq_status sq_verify_release(const char *path, sq_verify_problem problem, void *user,
                            sq_verify_report *report)
{
    check c = {problem, user, report};
    sq_manifest stored = {0}, now = {0};
    sq_hash sealed, listed;
    uint64_t bytes;
    memset(report, 0, sizeof *report);
    sq_status rc = sq_seal_read(path, "release", &sealed, &bytes, &listed);
    if (rc == SQ_ERR_CORRUPT)
        complain(&c, "%s", sq_error());
    else if (rc != SQ_OK)
        return rc;
    else
        check_seal(&c, path, sealed, bytes);
    if (sq_manifest_load(path, &stored) != SQ_OK ||
        sq_manifest_compute(path, NULL, &now) != SQ_OK) {
        complain(&c, "%s", sq_error());
    } else {
        compare(&c, path, &stored, &now);
        compare_lengths(&c, path, &now);
        report->manifest = stored.hash;
        if (rc == SQ_OK && !sq_hash_equal(listed, stored.hash))
            complain(&c, "%s: the manifest is not the one of the seal", path);
    }
    sq_manifest_clear(&stored);
    sq_manifest_clear(&now);
    return verdict(&c, path);
}

sq_status sq_verify_sealed(const char *path, sq_verify_problem problem, void *user,
                           sq_verify_report *report)
{
    check c = {problem, user, report};
    sq_hash sealed, none;
    uint64_t bytes;
    memset(report, 0, sizeof *report);
    sq_status rc = sq_seal_read(path, "data", &sealed, &bytes, &none);
    if (rc == SQ_ERR_CORRUPT)
        complain(&c, "%s", sq_error());
    else if (rc != SQ_OK)
        return rc;
    else
        check_seal(&c, path, sealed, bytes);
    return verdict(&c, path);
}

/* ---- An output folder ---- */

typedef struct commit {
    sq_event event;
    int64_t line;
} commit;

typedef struct folder {
    check c;
    const char *ledger;
    sq_segment_reader reader;
    commit *commit;
    size_t count, capacity;
} folder;

static sq_status visit(void *user, const sq_event *event, int64_t line)
{
    folder *f = user;
    f->c.report->lines = line;
    if (event->kind != SQ_EVENT_COMMIT)
        return SQ_OK;
    sq_status rc = SQ_GROW(f->commit, f->capacity, f->count + 1, "commits");
    if (rc == SQ_OK)
        f->commit[f->count++] = (commit){*event, line};
    return rc;
}

static int by_task(const void *a, const void *b)
{
    const commit *p = a, *q = b;
    if (p->event.phase != q->event.phase)
        return p->event.phase < q->event.phase ? -1 : 1;
    if (p->event.patch != q->event.patch)
        return p->event.patch < q->event.patch ? -1 : 1;
    if (p->event.realisation != q->event.realisation)
        return p->event.realisation < q->event.realisation ? -1 : 1;
    return (p->line > q->line) - (p->line < q->line);
}

static int same_task(const commit *p, const commit *q)
{
    return p->event.phase == q->event.phase && p->event.patch == q->event.patch &&
           p->event.realisation == q->event.realisation;
}

static void check_record(folder *f, const commit *c)
{
    const sq_event *event = &c->event;
    sq_record record;
    const void *payload;
    size_t size;
    f->c.report->records++;
    f->c.report->rows += (int64_t)event->rows;
    f->c.report->bytes += event->place.length;
    if (sq_segment_read(&f->reader, &event->place, &record, &payload, &size) != SQ_OK) {
        complain(&f->c, "%s", sq_error());
        return;
    }
    if (record.patch != event->patch || record.phase != event->phase ||
        record.realisation != event->realisation || !sq_hash_equal(record.input, event->input))
        complain(&f->c, "%s:%lld: the record of patch %llu is another one (%s at byte %llu)",
                 f->ledger, (long long)c->line, (unsigned long long)event->patch,
                 event->place.segment, (unsigned long long)event->place.offset);
}

sq_status sq_verify_run(const char *ledger, const char *shards, sq_verify_problem problem,
                        void *user, sq_verify_report *report)
{
    folder f = {.c = {problem, user, report}, .ledger = ledger};
    int torn = 0;
    memset(report, 0, sizeof *report);
    sq_segment_reader_init(&f.reader, shards);
    sq_status rc = sq_ledger_replay(ledger, visit, &f, &torn);
    if (rc == SQ_ERR_IO || rc == SQ_ERR_NOMEM)
        goto cleanup;
    if (rc != SQ_OK)
        complain(&f.c, "%s", sq_error());
    if (torn)
        complain(&f.c, "%s: the last line is torn (the next run cuts it)", ledger);
    if (f.count)
        qsort(f.commit, f.count, sizeof *f.commit, by_task);
    /* A damaged record is done again and committed again: the last commit of a task counts. */
    for (size_t i = 0; i < f.count; i++) {
        if (i + 1 == f.count || !same_task(&f.commit[i], &f.commit[i + 1]))
            check_record(&f, &f.commit[i]);
    }
    rc = verdict(&f.c, ledger);
cleanup:
    sq_free(f.commit);
    sq_segment_reader_clear(&f.reader);
    return rc;
}
