#include "store/table.h"

#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

struct sq_table {
    const sq_schema *schema;
    int64_t rows, capacity;
    unsigned char **column;
};

static int name_is_good(const char *name)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    return name && name[0] && strlen(name) < 64 && name[strspn(name, letters)] == '\0';
}

int sq_schema_find(const sq_schema *schema, const char *name)
{
    for (int i = 0; name && i < schema->count; i++) {
        if (strcmp(schema->column[i].name, name) == 0)
            return i;
    }
    return -1;
}

static sq_status check_special(const sq_schema *schema)
{
    int ra = sq_schema_find(schema, schema->ra), dec = sq_schema_find(schema, schema->dec);
    int depth = sq_schema_find(schema, schema->depth);
    const sq_column *c = schema->column;
    if ((schema->ra || schema->dec) &&
        (ra < 0 || dec < 0 || c[ra].type != SQ_F64 || c[dec].type != SQ_F64))
        return sq_fail(SQ_ERR_USAGE, "table %s: ra and dec must be columns of type f64",
                       schema->name);
    if (!schema->depth)
        return SQ_OK;
    if (depth < 0 || (c[depth].type != SQ_F32 && c[depth].type != SQ_F64) || ra < 0)
        return sq_fail(SQ_ERR_USAGE, "table %s: depth must be a floating column beside ra and dec",
                       schema->name);
    if (!(schema->radius > 0) || !(schema->border >= 0))
        return sq_fail(SQ_ERR_USAGE, "table %s: a depth needs a radius > 0 and a border >= 0",
                       schema->name);
    return SQ_OK;
}

sq_status sq_schema_check(const sq_schema *schema)
{
    if (!name_is_good(schema->name) || schema->count < 1)
        return sq_fail(SQ_ERR_USAGE, "table '%.64s': bad name or no columns",
                       schema->name ? schema->name : "");
    for (int i = 0; i < schema->count; i++) {
        const sq_column *c = &schema->column[i];
        if (!name_is_good(c->name) || sq_schema_find(schema, c->name) != i || c->type == SQ_F16 ||
            sq_dtype_size(c->type) == 0)
            return sq_fail(SQ_ERR_USAGE,
                           "table %s: column %d '%.64s': bad or repeated name, or type",
                           schema->name, i, c->name ? c->name : "");
        if (strcmp(c->name, "healpix29") == 0 || strcmp(c->name, "tile") == 0 ||
            strcmp(c->name, "patch") == 0)
            return sq_fail(SQ_ERR_USAGE, "table %s: column %s is added by the merge", schema->name,
                           c->name);
    }
    return check_special(schema);
}

uint64_t sq_schema_hash(const sq_schema *schema)
{
    uint64_t hash = sq_hash64(schema->name, strlen(schema->name));
    for (int i = 0; i < schema->count; i++) {
        const char *name = schema->column[i].name;
        uint64_t part[3] = {hash, sq_hash64(name, strlen(name)), schema->column[i].type};
        hash = sq_hash64(part, sizeof part);
    }
    return hash;
}

sq_status sq_table_create(const sq_schema *schema, sq_table **out)
{
    sq_table *table = NULL;
    sq_status rc = sq_schema_check(schema);
    if (rc != SQ_OK)
        return rc;
    SQ_TRY(SQ_ALLOC(table, 1, "table"));
    table->schema = schema;
    SQ_TRY(SQ_ALLOC(table->column, schema->count, "columns"));
    *out = table;
    return SQ_OK;
cleanup:
    sq_free(table);
    return rc;
}

static sq_status reserve(sq_table *table, int64_t rows)
{
    int64_t capacity = table->capacity ? table->capacity : 64;
    if (rows <= table->capacity)
        return SQ_OK;
    while (capacity < rows)
        capacity *= 2;
    for (int i = 0; i < table->schema->count; i++) {
        unsigned char *grown;
        size_t width = (size_t)sq_dtype_size(table->schema->column[i].type);
        sq_status rc = sq_alloc(&grown, (size_t)capacity, width, "rows");
        if (rc != SQ_OK)
            return rc;
        if (table->rows)
            memcpy(grown, table->column[i], (size_t)table->rows * width);
        sq_free(table->column[i]);
        table->column[i] = grown;
    }
    table->capacity = capacity;
    return SQ_OK;
}

sq_status sq_table_append(sq_table *table, int64_t n, const void *const *column)
{
    if (n <= 0)
        return n == 0 ? SQ_OK : sq_fail(SQ_ERR_USAGE, "table: %lld rows", (long long)n);
    sq_status rc = reserve(table, table->rows + n);
    if (rc != SQ_OK)
        return rc;
    for (int i = 0; i < table->schema->count; i++) {
        size_t width = (size_t)sq_dtype_size(table->schema->column[i].type);
        memcpy(table->column[i] + (size_t)table->rows * width, column[i], (size_t)n * width);
    }
    table->rows += n;
    return SQ_OK;
}

int64_t sq_table_rows(const sq_table *table)
{
    return table->rows;
}

const sq_schema *sq_table_schema(const sq_table *table)
{
    return table->schema;
}

void *sq_table_column(const sq_table *table, int column)
{
    return table->column[column];
}

void sq_table_clear(sq_table *table)
{
    table->rows = 0;
}

void sq_table_destroy(sq_table *table)
{
    if (!table)
        return;
    for (int i = 0; i < table->schema->count; i++)
        sq_free(table->column[i]);
    sq_free(table->column);
    sq_free(table);
}
