/* One table: partition of the kept rows by key, sorting, collective writing of its columns.
 *
 * Rows are cut into buckets of about equal counts by sampled keys; rounds of one bucket a rank keep
 * the memory bounded. Where the cuts fall is of no consequence: buckets follow one another in the
 * order of the keys and each is sorted by the total order. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sky/sphere.h"
#include "store/merge_internal.h"

enum { MAX_SAMPLE = 1 << 15, CHUNK_ROWS = 1 << 17, MAX_EXTRA = 4 };

/* In front of the columns of a packed row. */
typedef struct row_head {
    int64_t key, number, row;
    double ra, dec;
    uint64_t patch;
    uint32_t tile, realisation;
} row_head;

typedef struct sample {
    int64_t key, weight;
} sample;

typedef struct sorter {
    merge *m;
    int t, ra, dec; /* columns, -1 without */
    const sq_schema *schema;
    const merge_keep *keep;
    size_t stride;
    size_t *at;          /* [columns]: offset within a packed row */
    int64_t (*range)[2]; /* [ntask]: smallest and largest key of its kept rows */
    int64_t total, mine; /* kept rows */
    sample *sampled;
    int64_t nsampled, step;
    int64_t buckets, rounds, *cut; /* bucket b holds keys in [cut[b], cut[b + 1]) */
    int realisations;
    /* The present round. */
    unsigned char *packed;
    int32_t *to;
    size_t count, packed_capacity, to_capacity;
    int64_t first_bucket;
    /* The datasets. */
    merge_dataset *set;
    char (*name)[160];
    hid_t *id;
    int nset;
} sorter;

static int64_t key_of(const sorter *s, const merge_task *task, const sq_payload_table *rows,
                      int64_t r)
{
    if (s->ra < 0)
        return task->number;
    double ra = ((const double *)rows->column[s->ra])[r];
    double dec = ((const double *)rows->column[s->dec])[r];
    if (!isfinite(ra) || !isfinite(dec) || fabs(dec) > 90)
        return INT64_MAX - 1;
    return sq_healpix29(sq_wrap_ra(ra), dec);
}

/* A sample of one row in `step`; the step doubles whenever the sample is full. */
static void take_sample(sorter *s, int64_t key)
{
    if (s->mine++ % s->step)
        return;
    if (s->nsampled == MAX_SAMPLE) {
        for (int64_t i = 0; i < MAX_SAMPLE / 2; i++)
            s->sampled[i] = s->sampled[2 * i];
        s->nsampled /= 2;
        s->step *= 2;
    }
    s->sampled[s->nsampled++].key = key;
}

static sq_status key_one(merge *m, int64_t i, const sq_record *record, const sq_payload *payload,
                         void *user)
{
    sorter *s = user;
    const sq_payload_table *rows = &payload->table[s->t];
    if (record->realisation && rows->rows)
        s->realisations = 1;
    for (int64_t r = 0; r < rows->rows; r++) {
        if (!s->keep->keep[s->keep->first[i] + r])
            continue;
        int64_t key = key_of(s, &m->task[i], rows, r);
        take_sample(s, key);
        if (key < s->range[i][0])
            s->range[i][0] = key;
        if (key > s->range[i][1])
            s->range[i][1] = key;
    }
    return SQ_OK;
}

static int by_key(const void *a, const void *b)
{
    const sample *p = a, *q = b;
    return (p->key > q->key) - (p->key < q->key);
}

static void choose_cuts(sorter *s, sample *all, int64_t n)
{
    int64_t weight = 0, seen = 0, b = 1;
    qsort(all, (size_t)n, sizeof *all, by_key);
    for (int64_t i = 0; i < n; i++)
        weight += all[i].weight;
    for (int64_t i = 0; i < n && b < s->buckets; i++) {
        while (b < s->buckets &&
               seen >= weight / s->buckets * b + weight % s->buckets * b / s->buckets)
            s->cut[b++] = all[i].key;
        seen += all[i].weight;
    }
    while (b < s->buckets)
        s->cut[b++] = INT64_MAX;
    s->cut[0] = INT64_MIN;
    s->cut[s->buckets] = INT64_MAX;
}

static sq_status partition(sorter *s)
{
    merge *m = s->m;
    void *all = NULL;
    size_t bytes = 0;
    sq_status rc;
    int64_t counts[2] = {s->mine, s->realisations};
    SQ_TRY(sq_comm_reduce_i64(m->comm, SQ_SUM, counts, 2));
    s->total = counts[0];
    s->realisations = counts[1] > 0;
    uint64_t volume = (uint64_t)s->total * s->stride;
    s->rounds = (int64_t)(volume / (m->limit * (uint64_t)m->size)) + 1;
    s->buckets = s->rounds * m->size;
    SQ_TRY_ALL(m->comm, SQ_ALLOC(s->cut, s->buckets + 1, "cuts"));
    for (int64_t i = 0; i < s->nsampled; i++)
        s->sampled[i].weight = s->step;
    SQ_TRY(sq_comm_gather(m->comm, s->sampled, (size_t)s->nsampled * sizeof(sample), &all, &bytes,
                          NULL));
    if (m->rank == 0)
        choose_cuts(s, all, (int64_t)(bytes / sizeof(sample)));
    SQ_TRY(sq_comm_broadcast(m->comm, 0, s->cut, (size_t)(s->buckets + 1) * sizeof *s->cut));
cleanup:
    sq_free(all);
    return rc;
}

/* ---- Datasets ---- */

static void describe(sorter *s, const char *name, sq_dtype type, const char *unit, const char *ucd,
                     const char *description)
{
    hsize_t rows = (hsize_t)s->total;
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
    s->id[s->nset++] = -1;
}

/* HDF5 lists datasets by name: the order of the columns is an attribute. */
static sq_status name_columns(sorter *s)
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

/* The columns of the schema in their order, then those that the merge adds. */
static sq_status create_datasets(sorter *s)
{
    sq_status rc;
    int n = s->schema->count + MAX_EXTRA;
    rc = SQ_ALLOC(s->set, n, "datasets");
    if (rc == SQ_OK)
        rc = SQ_ALLOC(s->name, n, "datasets");
    if (rc == SQ_OK)
        rc = SQ_ALLOC(s->id, n, "datasets");
    SQ_TRY_ALL(s->m->comm, rc);
    for (int c = 0; c < s->schema->count; c++) {
        const sq_column *k = &s->schema->column[c];
        if (!k->hidden)
            describe(s, k->name, k->type, k->unit, k->ucd, k->description);
    }
    if (s->ra >= 0)
        describe(s, "healpix29", SQ_I64, "", "pos.healpix",
                 "HEALPix index, nested, order 29: the order of the rows");
    describe(s, "tile", SQ_U32, "", "meta.id", "Row of /tiles from which the row comes");
    describe(s, "patch", SQ_U64, "", "meta.id", "Patch from which the row comes, as in /patches");
    if (s->realisations)
        describe(s, "realisation", SQ_U32, "", "meta.id", "Number of the realisation");
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

/* ---- One round ---- */

static int32_t bucket_of(const sorter *s, int64_t key)
{
    int64_t low = 0, high = s->buckets;
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        *(key >= s->cut[middle] ? &low : &high) = middle;
    }
    int64_t rank = low - s->first_bucket;
    return rank >= 0 && rank < s->m->size ? (int32_t)rank : -1;
}

static sq_status pack_one(sorter *s, int64_t i, const sq_payload_table *rows, int64_t r)
{
    const merge_task *task = &s->m->task[i];
    row_head head = {.key = key_of(s, task, rows, r), .number = task->number, .row = r};
    int32_t to = bucket_of(s, head.key);
    if (to < 0)
        return SQ_OK;
    sq_status rc = SQ_GROW(s->packed, s->packed_capacity, (s->count + 1) * s->stride, "rows");
    if (rc == SQ_OK)
        rc = SQ_GROW(s->to, s->to_capacity, s->count + 1, "rows");
    if (rc != SQ_OK)
        return rc;
    if (s->ra >= 0) {
        head.ra = ((const double *)rows->column[s->ra])[r];
        head.dec = ((const double *)rows->column[s->dec])[r];
    }
    head.patch = task->patch;
    head.tile = task->tile;
    head.realisation = task->realisation;
    unsigned char *at = s->packed + s->count * s->stride;
    memcpy(at, &head, sizeof head);
    for (int c = 0; c < s->schema->count; c++) {
        size_t width = (size_t)sq_dtype_size(s->schema->column[c].type);
        memcpy(at + s->at[c], (const char *)rows->column[c] + (size_t)r * width, width);
    }
    s->to[s->count++] = to;
    return SQ_OK;
}

static sq_status pack_round(sorter *s)
{
    merge *m = s->m;
    int64_t low = s->cut[s->first_bucket], high = s->cut[s->first_bucket + m->size];
    sq_status rc = SQ_OK;
    s->count = 0;
    for (int64_t i = 0; rc == SQ_OK && i < m->ntask; i++) {
        sq_record record;
        sq_payload payload;
        if (s->range[i][1] < low || s->range[i][0] >= high)
            continue;
        rc = merge_load(m, &m->task[i].place, &record, &payload);
        if (rc != SQ_OK)
            break;
        const sq_payload_table *rows = &payload.table[s->t];
        for (int64_t r = 0; rc == SQ_OK && r < rows->rows; r++) {
            if (s->keep->keep[s->keep->first[i] + r])
                rc = pack_one(s, i, rows, r);
        }
        sq_payload_clear(&payload);
    }
    return rc;
}

static int by_total_order(const void *a, const void *b)
{
    row_head p, q;
    memcpy(&p, *(const unsigned char *const *)a, sizeof p);
    memcpy(&q, *(const unsigned char *const *)b, sizeof q);
    if (p.key != q.key)
        return p.key < q.key ? -1 : 1;
    if (p.ra < q.ra || p.ra > q.ra)
        return p.ra < q.ra ? -1 : 1;
    if (p.dec < q.dec || p.dec > q.dec)
        return p.dec < q.dec ? -1 : 1;
    if (p.number != q.number)
        return p.number < q.number ? -1 : 1;
    return (p.row > q.row) - (p.row < q.row);
}

static sq_status exchange_round(sorter *s, unsigned char **rows, int64_t *n)
{
    merge *m = s->m;
    size_t *offset = NULL, *size, *from, *at, sum = 0, total = 0;
    unsigned char *send = NULL;
    void *got = NULL;
    sq_status rc;
    SQ_TRY_ALL(m->comm, SQ_ALLOC(offset, 4 * m->size, "offsets"));
    size = offset + m->size;
    from = size + m->size;
    at = from + m->size;
    for (size_t i = 0; i < s->count; i++)
        size[s->to[i]] += s->stride;
    for (int r = 0; r < m->size; sum += size[r], r++)
        at[r] = offset[r] = sum;
    SQ_TRY_ALL(m->comm, SQ_ALLOC(send, sum + 1, "rows to send"));
    for (size_t i = 0; i < s->count; at[s->to[i]] += s->stride, i++)
        memcpy(send + at[s->to[i]], s->packed + i * s->stride, s->stride);
    SQ_TRY(sq_comm_exchange(m->comm, send, offset, size, &got, from));
    for (int r = 0; r < m->size; r++)
        total += from[r];
    *rows = got;
    *n = (int64_t)(total / s->stride);
cleanup:
    sq_free(send);
    sq_free(offset);
    return rc;
}

/* Column `i` of the datasets out of the sorted rows. */
static void unpack_column(const sorter *s, int i, unsigned char *const *order, int64_t n,
                          unsigned char *out)
{
    const char *name = strchr(s->set[i].name, '/') + 1;
    size_t width = (size_t)sq_dtype_size(s->set[i].type), at;
    int c = sq_schema_find(s->schema, name);
    if (c >= 0)
        at = s->at[c];
    else if (strcmp(name, "healpix29") == 0)
        at = offsetof(row_head, key);
    else if (strcmp(name, "tile") == 0)
        at = offsetof(row_head, tile);
    else if (strcmp(name, "patch") == 0)
        at = offsetof(row_head, patch);
    else
        at = offsetof(row_head, realisation);
    for (int64_t r = 0; r < n; r++)
        memcpy(out + (size_t)r * width, order[r] + at, width);
}

static sq_status write_round(sorter *s, unsigned char *rows, int64_t n, int64_t *base)
{
    merge *m = s->m;
    unsigned char **order = NULL, *column = NULL;
    int64_t before = n, all = n;
    sq_status rc;
    rc = SQ_ALLOC(order, n + 1, "order of rows");
    if (rc == SQ_OK)
        rc = SQ_ALLOC(column, 8 * n + 8, "column");
    SQ_TRY_ALL(m->comm, rc);
    for (int64_t i = 0; i < n; i++)
        order[i] = rows + (size_t)i * s->stride;
    if (n)
        qsort(order, (size_t)n, sizeof *order, by_total_order);
    SQ_TRY(sq_comm_scan_before(m->comm, &before, 1));
    SQ_TRY(sq_comm_reduce_i64(m->comm, SQ_SUM, &all, 1));
    hsize_t start = (hsize_t)(*base + before), count = (hsize_t)n;
    for (int i = 0; i < s->nset; i++) {
        unpack_column(s, i, order, n, column);
        sq_status one = merge_dataset_write(m, s->id[i], &s->set[i], &start, &count, column);
        rc = rc == SQ_OK ? one : rc;
    }
    SQ_TRY_ALL(m->comm, rc);
    *base += all;
cleanup:
    sq_free(order);
    sq_free(column);
    return rc;
}

static sq_status run_rounds(sorter *s)
{
    int64_t base = 0, n;
    sq_status rc = SQ_OK;
    for (int64_t round = 0; round < s->rounds; round++) {
        unsigned char *rows = NULL;
        s->first_bucket = round * s->m->size;
        SQ_TRY_ALL(s->m->comm, pack_round(s));
        SQ_TRY(exchange_round(s, &rows, &n));
        rc = write_round(s, rows, n, &base);
        sq_free(rows);
        if (rc != SQ_OK)
            goto cleanup;
    }
    if (base != s->total)
        rc = sq_fail(SQ_ERR_INTERNAL, "reduce: table %s: %lld rows written of %lld",
                     s->schema->name, (long long)base, (long long)s->total);
cleanup:
    return rc;
}

static sq_status prepare(sorter *s)
{
    sq_status rc;
    SQ_TRY(SQ_ALLOC(s->at, s->schema->count, "columns"));
    s->stride = sizeof(row_head);
    for (int c = 0; c < s->schema->count; c++) {
        s->at[c] = s->stride;
        s->stride += (size_t)sq_dtype_size(s->schema->column[c].type);
    }
    SQ_TRY(SQ_ALLOC(s->range, s->m->ntask + 1, "ranges of keys"));
    SQ_TRY(SQ_ALLOC(s->sampled, MAX_SAMPLE, "sample of keys"));
    for (int64_t i = 0; i < s->m->ntask; i++) {
        s->range[i][0] = INT64_MAX;
        s->range[i][1] = INT64_MIN;
    }
    SQ_TRY(merge_each(s->m, s->t, key_one, s));
cleanup:
    return rc;
}

sq_status merge_write_table(merge *m, int t, const merge_keep *keep)
{
    const sq_schema *schema = m->in->table[t];
    sorter s = {.m = m, .t = t, .schema = schema, .keep = keep, .step = 1};
    sq_status rc;
    s.ra = sq_schema_find(schema, schema->ra);
    s.dec = sq_schema_find(schema, schema->dec);
    SQ_TRY_ALL(m->comm, prepare(&s));
    SQ_TRY(partition(&s));
    m->report.rows[t] = s.total;
    SQ_TRY(create_datasets(&s));
    SQ_TRY(run_rounds(&s));
cleanup:
    for (int i = 0; i < s.nset; i++) {
        if (s.id[i] >= 0)
            H5Dclose(s.id[i]);
    }
    sq_free(s.at);
    sq_free(s.range);
    sq_free(s.sampled);
    sq_free(s.cut);
    sq_free(s.packed);
    sq_free(s.to);
    sq_free(s.set);
    sq_free(s.name);
    sq_free(s.id);
    return rc;
}
