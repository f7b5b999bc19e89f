/* Reading a release for its page. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "assess/region.h"
#include "assess/report_page.h"
#include "base/mem.h"

enum { MOST_FAILURES = 200 };

const char *const report_clock[REPORT_CLOCKS] = {"read",  "infer", "decode", "fft",
                                                 "write", "wait",  "total"};

static sq_status rows_of(sq_h5 *h5, const char *name, int64_t *rows)
{
    sq_dtype type;
    int rank;
    int64_t dim[8];
    sq_status rc = sq_h5_shape(h5, name, &type, &rank, dim);
    *rows = rc == SQ_OK ? dim[0] : 0;
    return rc;
}

static sq_status read_tiles(page *p)
{
    sq_status rc = SQ_OK;
    int width;
    if (!sq_h5_has(p->h5, "tiles") || !sq_h5_has(p->h5, "tiles/name"))
        return SQ_OK;
    SQ_TRY(sq_h5_text_shape(p->h5, "tiles/name", &width, &p->tiles));
    SQ_TRY(SQ_ALLOC(p->tile_name, p->tiles + 1, "names of tiles"));
    SQ_TRY(sq_h5_read_rows_text(p->h5, "tiles/name", REPORT_NAME, 0, p->tiles, p->tile_name[0]));
    for (int64_t t = 0; t < p->tiles; t++)
        p->tile_name[t][REPORT_NAME - 1] = '\0';
    if (p->tiles && sq_h5_has(p->h5, "tiles/ra0")) {
        SQ_TRY(SQ_ALLOC(p->corner, 8 * p->tiles, "corners of tiles"));
        SQ_TRY(tile_corners(p->h5, p->tiles, p->corner));
    }
cleanup:
    return rc;
}

static sq_status read_tasks(page *p)
{
    report_tasks *t = &p->task;
    const struct {
        const char *name;
        int64_t **out;
    } column[] = {{"patches/phase", &t->phase},
                  {"patches/patch", &t->patch},
                  {"patches/realisation", &t->realisation},
                  {"patches/tile", &t->tile},
                  {"patches/state", &t->state},
                  {"patches/rows", &t->rows}};
    char name[64];
    sq_status rc = SQ_OK;
    if (!sq_h5_has(p->h5, "patches") || !sq_h5_has(p->h5, "patches/patch"))
        return SQ_OK;
    SQ_TRY(rows_of(p->h5, "patches/patch", &t->n));
    for (size_t i = 0; i < sizeof column / sizeof *column; i++) {
        SQ_TRY(SQ_ALLOC(*column[i].out, t->n + 1, "patches"));
        SQ_TRY(sq_h5_read(p->h5, column[i].name, SQ_I64, 0, t->n, *column[i].out));
    }
    for (int k = 0; k < REPORT_CLOCKS && sq_h5_has(p->h5, "run") && sq_h5_has(p->h5, "run/tasks");
         k++) {
        snprintf(name, sizeof name, "run/tasks/%s", report_clock[k]);
        if (!sq_h5_has(p->h5, name))
            continue;
        SQ_TRY(SQ_ALLOC(t->clock[k], t->n + 1, "seconds"));
        SQ_TRY(sq_h5_read(p->h5, name, SQ_F32, 0, t->n, t->clock[k]));
    }
cleanup:
    return rc;
}

/* The first texts of a column, each with a terminator. */
static sq_status read_texts(sq_h5 *h5, const char *name, int64_t n, int *width, char **out)
{
    sq_status rc;
    int64_t count;
    SQ_TRY(sq_h5_text_shape(h5, name, width, &count));
    SQ_TRY(sq_alloc(out, (size_t)n + 1, (size_t)*width + 1, "texts"));
    for (int64_t i = 0; i < n; i++)
        SQ_TRY(sq_h5_read_rows_text(h5, name, *width, i, 1, *out + i * (*width + 1)));
cleanup:
    return rc;
}

static sq_status read_failures(page *p)
{
    report_failures *f = &p->failure;
    const struct {
        const char *name;
        int64_t **out;
    } column[] = {{"failures/phase", &f->phase},
                  {"failures/patch", &f->patch},
                  {"failures/tile", &f->tile},
                  {"failures/state", &f->state}};
    sq_status rc = SQ_OK;
    if (!sq_h5_has(p->h5, "failures") || !sq_h5_has(p->h5, "failures/patch"))
        return SQ_OK;
    SQ_TRY(rows_of(p->h5, "failures/patch", &f->n));
    f->shown = f->n < MOST_FAILURES ? f->n : MOST_FAILURES;
    for (size_t i = 0; i < sizeof column / sizeof *column; i++) {
        SQ_TRY(SQ_ALLOC(*column[i].out, f->shown + 1, "failures"));
        SQ_TRY(sq_h5_read(p->h5, column[i].name, SQ_I64, 0, f->shown, *column[i].out));
    }
    SQ_TRY(read_texts(p->h5, "failures/status", f->shown, &f->status_width, &f->status));
    SQ_TRY(read_texts(p->h5, "failures/reason", f->shown, &f->reason_width, &f->reason));
cleanup:
    return rc;
}

static sq_status add_table(page *p, const char *group, char *columns)
{
    report_table *t = &p->table[p->tables++];
    char first[REPORT_NAME * 2];
    snprintf(t->name, sizeof t->name, "%.63s", group);
    t->columns = columns;
    snprintf(first, sizeof first, "%.63s/%.*s", group, (int)strcspn(columns, ",") % 60, columns);
    t->sky = strncmp(columns, "ra,dec,", 7) == 0 || strstr(columns, ",ra,dec") != NULL;
    if (sq_h5_read_text(p->h5, group, "description", &t->description) != SQ_OK)
        sq_error_clear();
    return rows_of(p->h5, first, &t->rows);
}

static sq_status read_tables(page *p)
{
    char **group = NULL, *columns;
    int count = 0;
    sq_status rc;
    SQ_TRY(sq_h5_groups(p->h5, "/", &group, &count));
    SQ_TRY(SQ_ALLOC(p->table, count + 1, "tables"));
    for (int i = 0; i < count; i++) {
        if (sq_h5_read_text(p->h5, group[i], "columns", &columns) == SQ_OK)
            SQ_TRY(add_table(p, group[i], columns));
    }
    sq_error_clear();
    if (sq_h5_has(p->h5, "maps"))
        SQ_TRY(sq_h5_list(p->h5, "maps", &p->map, &p->maps));
cleanup:
    sq_h5_free_names(group, count);
    return rc;
}

/* The single texts of a group. */
static sq_status read_group(page *p, const char *group, report_text **out, int *count)
{
    char **name = NULL, path[256];
    int names = 0;
    sq_status rc = SQ_OK;
    if (!sq_h5_has(p->h5, group))
        return SQ_OK;
    SQ_TRY(sq_h5_list(p->h5, group, &name, &names));
    SQ_TRY(SQ_ALLOC(*out, names + 1, "texts"));
    for (int i = 0; i < names; i++) {
        snprintf(path, sizeof path, "%s/%.200s", group, name[i]);
        if (sq_h5_read_string(p->h5, path, &(*out)[*count].text) != SQ_OK)
            continue;
        (*out)[(*count)++].name = name[i];
        name[i] = NULL;
    }
    sq_error_clear();
cleanup:
    sq_h5_free_names(name, names);
    return rc;
}

static sq_status load_json(const char *path, const char *member, json_value **out)
{
    if (!path)
        return SQ_OK;
    sq_status rc = json_load(path, out);
    if (rc == SQ_OK && !json_member(*out, member))
        rc = sq_fail(SQ_ERR_FORMAT, "%s: has no '%s': not the right report", path, member);
    return rc;
}

sq_status page_read(page *p)
{
    sq_status rc;
    SQ_TRY(sq_h5_open(p->options->release, &p->h5));
    if (sq_h5_read_text(p->h5, "/", "kind", &p->kind) != SQ_OK)
        SQ_TRY(sq_fail(SQ_ERR_FORMAT, "%s: not a release: it has no attribute kind",
                       p->options->release));
    if (sq_h5_has(p->h5, "manifest") &&
        sq_h5_read_text(p->h5, "manifest", "hash", &p->manifest) != SQ_OK)
        sq_error_clear();
    SQ_TRY(read_tiles(p));
    SQ_TRY(read_tasks(p));
    SQ_TRY(read_failures(p));
    SQ_TRY(read_tables(p));
    SQ_TRY(read_group(p, "provenance", &p->provenance, &p->provenances));
    SQ_TRY(read_group(p, "run", &p->run, &p->runs));
    SQ_TRY(load_json(p->options->validate, "brighter", &p->validate));
    SQ_TRY(load_json(p->options->compare, "exceeded", &p->compare));
cleanup:
    return rc;
}

static void clear_texts(report_text *text, int count)
{
    for (int i = 0; i < count; i++) {
        sq_free(text[i].name);
        sq_free(text[i].text);
    }
    sq_free(text);
}

void page_clear(page *p)
{
    report_tasks *t = &p->task;
    report_failures *f = &p->failure;
    void *const owned[] = {p->manifest,    p->kind,  p->tile_name, p->corner, t->phase, t->patch,
                           t->realisation, t->tile,  t->state,     t->rows,   f->phase, f->patch,
                           f->tile,        f->state, f->status,    f->reason};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        sq_free(owned[i]);
    for (int k = 0; k < REPORT_CLOCKS; k++)
        sq_free(t->clock[k]);
    for (int i = 0; i < p->tables; i++) {
        sq_free(p->table[i].description);
        sq_free(p->table[i].columns);
    }
    sq_free(p->table);
    sq_h5_free_names(p->map, p->maps);
    clear_texts(p->provenance, p->provenances);
    clear_texts(p->run, p->runs);
    json_free(p->validate);
    json_free(p->compare);
    sq_h5_abandon(p->h5);
}
