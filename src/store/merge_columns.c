/* Sorted rows become the columns of a table. */
#include <string.h>

#include "base/mem.h"
#include "store/hdf5_internal.h"
#include "store/merge_internal.h"

enum { CHUNK_ROWS = 1 << 17, MAX_EXTRA = 4, BATCH = 512 };

static const int64_t largest_write = 64 << 20; /* bytes of all columns together */

struct merge_columns {
    merge *m;
    const sq_schema *schema;
    int64_t rows;
    merge_dataset *set;
    char (*name)[160];
    hid_t *id;
    size_t *from, *width;   /* of a column within a packed row */
    unsigned char **column; /* [slab] values each */
    int nset;
    int64_t slab; /* rows written at once */
};

static void describe(merge_columns *s, size_t from, const char *name, sq_dtype type,
                     const char *unit, const char *ucd, const char *description)
{
    hsize_t rows = (hsize_t)s->rows;
    snprintf(s->name[s->nset], sizeof *s->name, "%s/%s", s->schema->name, name);
    s->set[s->nset] = (merge_dataset){.name = s->name[s->nset],
                                      .unit = unit,
                                      .ucd = ucd,
                                      .description = description,
                                      .type = type,
                                      .rank = 1,
                                      .dim = {rows},
                                      .chunk = {rows < 1            ? 1
                                                : rows < CHUNK_ROWS ? rows
                                                                    : CHUNK_ROWS}};
    s->from[s->nset] = from;
    s->width[s->nset] = (size_t)sq_dtype_size(type);
    s->id[s->nset++] = -1;
}

/* The columns of the schema in their order, then those that the merge adds. */
static void describe_all(merge_columns *s, const merge_part *part, int realisations,
                         const size_t *at)
{
    for (int c = 0; c < s->schema->count; c++) {
        const sq_column *k = &s->schema->column[c];
        if (!k->hidden)
            describe(s, at[c], k->name, k->type, k->unit, k->ucd, k->description);
    }
    if (part->ra >= 0)
        describe(s, offsetof(merge_row, key), "healpix29", SQ_I64, "", "pos.healpix",
                 "HEALPix index, nested, order 29: the order of the rows");
    describe(s, offsetof(merge_row, tile), "tile", SQ_U32, "", "meta.id",
             "Row of /tiles from which the row comes");
    describe(s, offsetof(merge_row, patch), "patch", SQ_U64, "", "meta.id",
             "Patch from which the row comes, as in /patches");
    if (realisations)
        describe(s, offsetof(merge_row, realisation), "realisation", SQ_U32, "", "meta.id",
                 "Number of the realisation");
}

/* HDF5 lists datasets by name: the order of the columns is an attribute. */
static sq_status name_columns(merge_columns *s)
{
    char *text = NULL;
    size_t size = 1;
    sq_status rc;
    for (int i = 0; i < s->nset; i++)
        size += strlen(s->name[i]) + 1;
    SQ_TRY_ALL(s->m->comm, sq_alloc(&text, size, 1, "names of columns"));
    for (int i = 0; i < s->nset; i++) {
        strcat(text, i ? "," : "");
        strcat(text, strchr(s->name[i], '/') + 1);
    }
    SQ_TRY(merge_group_text(s->m, s->schema->name, "columns", text));
cleanup:
    sq_free(text);
    return rc;
}

/* Whole chunks where memory allows. */
static sq_status reserve(merge_columns *s)
{
    int64_t row = 0, bytes = (int64_t)(s->m->limit / 8), share = s->rows / s->m->size + 1;
    sq_status rc;
    for (int i = 0; i < s->nset; i++)
        row += (int64_t)s->width[i];
    bytes = bytes > largest_write ? largest_write : bytes;
    s->slab = bytes / row < BATCH ? BATCH : bytes / row;
    s->slab = s->slab > 2 * share ? 2 * share : s->slab;
    if (s->slab > CHUNK_ROWS)
        s->slab -= s->slab % CHUNK_ROWS;
    SQ_TRY(SQ_ALLOC(s->column, s->nset, "columns"));
    for (int i = 0; i < s->nset; i++)
        SQ_TRY(sq_alloc(&s->column[i], (size_t)s->slab, s->width[i], "columns"));
cleanup:
    return rc;
}

static sq_status make_datasets(merge_columns *s)
{
    sq_status rc;
    SQ_TRY(merge_group(s->m, s->schema->name, s->schema->description));
    for (int i = 0; i < s->nset; i++) {
        sq_status one = merge_dataset_create(s->m, &s->set[i], &s->id[i]);
        rc = rc == SQ_OK ? one : rc;
    }
    SQ_TRY_ALL(s->m->comm, rc);
    SQ_TRY(name_columns(s));
cleanup:
    return rc;
}

sq_status merge_columns_create(merge *m, const merge_part *part, int64_t rows, int realisations,
                               const size_t *at, merge_columns **out)
{
    int n = part->schema->count + MAX_EXTRA;
    merge_columns *s = NULL;
    sq_status rc = SQ_ALLOC(s, 1, "columns");
    *out = s;
    SQ_TRY_ALL(m->comm, rc);
    s->m = m;
    s->schema = part->schema;
    s->rows = rows;
    rc = SQ_ALLOC(s->set, n, "datasets");
    if (rc == SQ_OK)
        rc = SQ_ALLOC(s->name, n, "datasets");
    if (rc == SQ_OK)
        rc = SQ_ALLOC(s->id, n, "datasets");
    if (rc == SQ_OK)
        rc = SQ_ALLOC(s->from, n, "datasets");
    if (rc == SQ_OK)
        rc = SQ_ALLOC(s->width, n, "datasets");
    if (rc == SQ_OK) {
        describe_all(s, part, realisations, at);
        rc = reserve(s);
    }
    SQ_TRY_ALL(m->comm, rc);
    SQ_TRY(make_datasets(s));
cleanup:
    return rc;
}

/* Values `first`.. of the columns from n rows, which are looked at once. */
static void unpack(merge_columns *s, const unsigned char *const *row, size_t n, int64_t first)
{
    for (int i = 0; i < s->nset; i++) {
        size_t from = s->from[i], width = s->width[i];
        unsigned char *to = s->column[i] + (size_t)first * width;
        if (width == 8) {
            for (size_t r = 0; r < n; r++)
                memcpy(to + 8 * r, row[r] + from, 8);
        } else if (width == 4) {
            for (size_t r = 0; r < n; r++)
                memcpy(to + 4 * r, row[r] + from, 4);
        } else {
            for (size_t r = 0; r < n; r++)
                memcpy(to + width * r, row[r] + from, width);
        }
    }
}

static sq_status fill(merge_columns *s, merge_sorter *rows, int64_t n)
{
    const unsigned char *row[BATCH];
    size_t got;
    for (int64_t done = 0; done < n; done += (int64_t)got) {
        sq_status rc =
            merge_sort_read(rows, n - done < BATCH ? (size_t)(n - done) : BATCH, row, &got);
        if (rc == SQ_OK && got == 0)
            rc = sq_fail(SQ_ERR_INTERNAL, "reduce: rows are missing");
        if (rc != SQ_OK)
            return rc;
        unpack(s, row, got, done);
    }
    return SQ_OK;
}

static sq_status write_slab(merge_columns *s, int64_t first, int64_t n)
{
    hsize_t start = (hsize_t)first, count = (hsize_t)n;
    sq_status rc = SQ_OK;
    for (int i = 0; i < s->nset; i++) {
        sq_status one =
            merge_dataset_write(s->m, s->id[i], &s->set[i], &start, &count, s->column[i]);
        rc = rc == SQ_OK ? one : rc;
    }
    merge_flush_wake(s->m);
    return rc;
}

sq_status merge_columns_write(merge_columns *s, merge_sorter *rows, int64_t first, int64_t n)
{
    int64_t end = first + n;
    int together = s->m->in->deflate > 0, more = n > 0;
    sq_status rc = SQ_OK;
    if (together)
        SQ_TRY(merge_more(s->m, &more));
    while (more) {
        /* Up to a multiple of the slab: of the chunks, too. */
        int64_t stop = (first / s->slab + 1) * s->slab, part;
        stop = stop > end ? end : stop;
        part = stop - first;
        rc = fill(s, rows, part);
        if (together)
            rc = sq_comm_agree(s->m->comm, rc);
        SQ_TRY(rc);
        rc = write_slab(s, first, part);
        if (together)
            rc = sq_comm_agree(s->m->comm, rc);
        SQ_TRY(rc);
        first = stop;
        more = first < end;
        if (together)
            SQ_TRY(merge_more(s->m, &more));
    }
cleanup:
    return rc;
}

void merge_columns_close(merge_columns *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->nset; i++) {
        if (s->id[i] >= 0)
            H5Dclose(s->id[i]);
        if (s->column)
            sq_free(s->column[i]);
    }
    sq_free(s->set);
    sq_free(s->name);
    sq_free(s->id);
    sq_free(s->from);
    sq_free(s->width);
    sq_free(s->column);
    sq_free(s);
}
