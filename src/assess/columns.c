#include "assess/columns.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static void full_name(const catalog *c, const char *name, char *out, size_t size)
{
    snprintf(out, size, "%s%s", c->group, name);
}

static sq_status choose_group(catalog *c, const char *table)
{
    if (table) {
        snprintf(c->group, sizeof c->group, "%s/", table);
        return SQ_OK;
    }
    snprintf(c->group, sizeof c->group, "%s", sq_h5_has(c->file, "catalog") ? "catalog/" : "");
    return SQ_OK;
}

/* The rows of the first one-dimensional dataset. */
static sq_status find_rows(catalog *c, char **name, int count)
{
    char path[256];
    int rank;
    sq_dtype type;
    int64_t dim[8];
    for (int i = 0; i < count; i++) {
        full_name(c, name[i], path, sizeof path);
        if (sq_h5_shape(c->file, path, &type, &rank, dim) == SQ_OK && rank == 1) {
            c->rows = dim[0];
            return SQ_OK;
        }
    }
    return sq_fail(SQ_ERR_FORMAT, "%s: %s: has no columns", c->path, c->group);
}

/* One-dimensional datasets of the same length as `ra`, or as the first, are the columns. */
static sq_status list_columns(catalog *c, int sky)
{
    sq_status rc;
    char **name = NULL, path[256];
    int count = 0, rank;
    sq_dtype type;
    int64_t dim[8];
    if (sky) {
        full_name(c, "ra", path, sizeof path);
        SQ_TRY(sq_h5_shape(c->file, path, &type, &rank, dim));
        c->rows = dim[0];
    }
    SQ_TRY(sq_h5_list(c->file, c->group[0] ? c->group : "/", &name, &count));
    if (!sky)
        SQ_TRY(find_rows(c, name, count));
    SQ_TRY(SQ_ALLOC(c->column, count + 1, "columns"));
    for (int i = 0; i < count; i++) {
        full_name(c, name[i], path, sizeof path);
        if (sq_h5_shape(c->file, path, &type, &rank, dim) != SQ_OK || rank != 1 ||
            dim[0] != c->rows)
            continue;
        c->column[c->count].type = type;
        c->column[c->count++].name = name[i];
        name[i] = NULL;
    }
    sq_error_clear();
cleanup:
    sq_h5_free_names(name, count);
    return rc;
}

static sq_status open_columns(const char *path, const char *table, int sky, catalog *out)
{
    sq_status rc;
    *out = (catalog){.path = path};
    SQ_TRY(sq_h5_open(path, &out->file));
    SQ_TRY(choose_group(out, table));
    SQ_TRY(list_columns(out, sky));
    if (sky && !catalog_has(out, "dec"))
        SQ_TRY(sq_fail(SQ_ERR_FORMAT, "%s: dec: no such column", path));
cleanup:
    if (rc != SQ_OK)
        catalog_close(out);
    return rc;
}

sq_status catalog_open(const char *path, const char *table, catalog *out)
{
    return open_columns(path, table, 1, out);
}

sq_status catalog_open_table(const char *path, const char *table, catalog *out)
{
    return open_columns(path, table, 0, out);
}

void catalog_close(catalog *c)
{
    for (int i = 0; i < c->count; i++) {
        sq_free(c->column[i].name);
        sq_free(c->column[i].value);
    }
    sq_free(c->column);
    sq_h5_close(c->file);
    *c = (catalog){0};
}

static column *find(const catalog *c, const char *name)
{
    for (int i = 0; i < c->count; i++) {
        if (strcmp(c->column[i].name, name) == 0)
            return &c->column[i];
    }
    return NULL;
}

int catalog_has(const catalog *c, const char *name)
{
    return find(c, name) != NULL;
}

sq_status catalog_read(const catalog *c, const char *name, sq_dtype type, void *out)
{
    char path[256];
    full_name(c, name, path, sizeof path);
    return sq_h5_read(c->file, path, type, 0, c->rows, out);
}

sq_status catalog_column(catalog *c, const char *name, const double **out)
{
    column *found = find(c, name);
    *out = NULL;
    if (!found)
        return sq_fail(SQ_ERR_FORMAT, "%s: %s%s: no such column", c->path, c->group, name);
    if (!found->value) {
        sq_status rc = SQ_ALLOC(found->value, c->rows + 1, name);
        if (rc == SQ_OK)
            rc = catalog_read(c, name, SQ_F64, found->value);
        if (rc != SQ_OK)
            return rc;
    }
    *out = found->value;
    return SQ_OK;
}

sq_status catalog_optional(catalog *c, const char *name, const double **out)
{
    *out = NULL;
    return catalog_has(c, name) ? catalog_column(c, name, out) : SQ_OK;
}

sq_status catalog_unit(const catalog *c, const char *name, char *unit, size_t size)
{
    char path[256], *text = NULL;
    full_name(c, name, path, sizeof path);
    snprintf(unit, size, "%s", "");
    if (sq_h5_read_text(c->file, path, "units", &text) != SQ_OK) {
        sq_error_clear();
        return SQ_OK;
    }
    snprintf(unit, size, "%s", text);
    sq_free(text);
    return SQ_OK;
}
