/* The parts of reduce. All functions are collective over merge->comm unless they say local. */
#ifndef SQ_STORE_MERGE_INTERNAL_H
#define SQ_STORE_MERGE_INTERNAL_H

#include <hdf5.h>

#include "par/comm.h"
#include "store/merge.h"
#include "store/merge_post.h"
#include "store/merge_sort.h"
#include "store/shard_internal.h"

/* A task as the ranks share it. */
typedef struct merge_task {
    int64_t number; /* in the order (phase, patch, realisation) of the whole run */
    uint64_t patch;
    uint32_t phase, realisation, tile, unused;
    sq_record_place place;
} merge_task;

/* What the headers of the records say about this execution, for /run. */
typedef struct merge_timing {
    int64_t number;
    float seconds[SQ_RECORD_CLOCKS];
    uint64_t memory;
} merge_timing;

/* A block of a map and where its pixels lie. */
typedef struct merge_block {
    int64_t number, ordinal; /* of the task, and within its payload */
    int64_t x0, y0, nx, ny;
    int map;
    sq_record_place place;
} merge_block;

/* The sum over all elements of a dataset as it was in memory: compared with what is read back. */
typedef struct merge_check {
    char name[160];
    uint64_t sum;
} merge_check;

/* A stretch of keys, both ends within it; low > high: empty. */
typedef struct merge_span {
    int64_t low, high;
} merge_span;

typedef struct merge_sample {
    int64_t key, weight;
} merge_sample;

/* A task's keys lie within few spans: a small patch of the sky has keys in up to four stretches,
 * however far apart these are. */
enum { MERGE_SPANS = 4 };

/* What a rank knows of one table. */
typedef struct merge_part {
    const sq_schema *schema;
    int ra, dec, depth; /* columns, -1 without */
    int64_t *first;     /* [ntask + 1]: number of a task's first row among this rank's rows */
    uint64_t *keep;     /* a bit a row: it goes into the release */
    size_t keep_capacity;
    merge_span (*span)[MERGE_SPANS]; /* [ntask] */
    merge_sample *sample;            /* of the keys */
    int64_t nsample, step, seen;
    /* Rows near borders: on their way to the cells of the sky, and those of this rank's cells. */
    merge_post post;
    merge_sorter border;
} merge_part;

typedef struct merge {
    const sq_merge *in;
    sq_comm *comm; /* a duplicate: parallel HDF5 gets a plain one */
    int rank, size;
    char *partial;
    hid_t file;
    struct merge_flusher *flusher; /* NULL: none */
    uint64_t limit;                /* bytes that a rank may hold */
    uint64_t committed;            /* rank 0: bytes of all committed records */
    /* This rank's share of the committed tasks, in the order of their places. */
    merge_task *task;
    int64_t ntask;
    merge_timing *timing; /* [ntask] */
    merge_part *part;     /* [tables] */
    merge_block *block;
    size_t nblock, block_capacity;
    sq_segment_reader reader;
    merge_check *check;
    size_t nchecks, check_capacity;
    sq_merge_report report;
} merge;

sq_status merge_share_tasks(merge *m); /* fills task from rank 0's list */

/* Local. This rank's records one after the other; a caller may stop anywhere within one. */
typedef struct merge_cursor {
    int64_t task, row;
    int table, loaded;
    sq_record record;
    sq_payload payload;
} merge_cursor;
sq_status merge_cursor_load(merge *m, merge_cursor *at); /* nothing when it is there already */
void merge_cursor_next(merge_cursor *at);
void merge_cursor_clear(merge_cursor *at);
/* Local. The payload of a record, valid until the next call; clear it. */
sq_status merge_load(merge *m, const sq_record_place *place, sq_record *record,
                     sq_payload *payload);
int64_t merge_key(const merge_part *part, const merge_task *task, const sq_payload_table *rows,
                  int64_t r);
/* Whether any rank has more to do. */
sq_status merge_more(const merge *m, int *more);
void merge_clock(merge *m, sq_reduce_part part, double since); /* local */

/* The one pass over all records that learns everything but the rows themselves: timings, counts,
 * blocks of maps, stretches and samples of keys, and the rows near borders. */
sq_status merge_survey(merge *m);
/* Local. Whether row `index` of a table is kept by ownership alone, and if it is near a border,
 * its way to the cells that may decide otherwise. */
enum { MERGE_CELLS = 16 }; /* items that one row can make of itself */
sq_status merge_border_init(merge *m, merge_part *part);
sq_status merge_border_row(merge *m, merge_part *part, const merge_task *task,
                           const sq_payload_table *rows, int64_t r, int64_t index);
sq_status merge_border_exchange(merge *m, merge_part *part);
/* Decides the rows near borders. */
sq_status merge_reconcile(merge *m, merge_part *part);

static inline int merge_kept(const merge_part *part, int64_t index)
{
    return (int)(part->keep[index >> 6] >> (index & 63) & 1);
}

static inline void merge_keep(merge_part *part, int64_t index, int keep)
{
    uint64_t bit = (uint64_t)1 << (index & 63);
    part->keep[index >> 6] = keep ? part->keep[index >> 6] | bit : part->keep[index >> 6] & ~bit;
}

sq_status merge_write_table(merge *m, int t);
sq_status merge_write_map(merge *m, int k);

/* /run/archive: all records as they lie in the shards. */
sq_status merge_write_archive(merge *m);
/* Rank 0: /run/tiles, what a later run compares its tiles with. */
sq_status merge_put_tile_hashes(hid_t run, const char *path, const sq_merge *in);

/* Datasets of the release. */
sq_status merge_create_file(merge *m);
/* Local. Reserve the disk space of all products, so that a full disk is found before anything is
 * written together. */
sq_status merge_reserve(merge *m);
sq_status merge_close_file(merge *m);
sq_status merge_group(merge *m, const char *name, const char *description);
sq_status merge_group_text(merge *m, const char *name, const char *attribute, const char *text);
typedef struct merge_dataset {
    const char *name, *unit, *ucd, *description;
    sq_dtype type;
    int rank;
    hsize_t dim[3], chunk[3];
} merge_dataset;
/* Calls HDF5 on every rank whatever happens, but agrees on nothing: the caller goes on to the next
 * and agrees once for many. */
sq_status merge_dataset_create(merge *m, const merge_dataset *set, hid_t *out);
/* Writes a box of one dataset and adds to the dataset's check. Local for plain datasets: each rank
 * writes what it has when it has it, and an error is agreed upon later, with no rank left in a
 * call. Compressed chunks can only be written by all ranks together (count 0: nothing). */
sq_status merge_dataset_write(merge *m, hid_t id, const merge_dataset *set, const hsize_t *start,
                              const hsize_t *count, const void *data);
/* Local. What was written so far goes to the disk while the rank goes on. Only speed depends on it:
 * nothing here fails. */
typedef struct merge_flusher merge_flusher;
void merge_flush_begin(merge *m);
void merge_flush_wake(const merge *m);
void merge_flush_end(merge *m);

/* The columns of one table in the release. */
typedef struct merge_columns merge_columns;
/* `at`: byte of each column of the schema within a packed row. */
sq_status merge_columns_create(merge *m, const merge_part *part, int64_t rows, int realisations,
                               const size_t *at, merge_columns **out);
/* This rank's sorted rows, from row `first` of the table on. */
sq_status merge_columns_write(merge_columns *c, merge_sorter *rows, int64_t first, int64_t n);
void merge_columns_close(merge_columns *c);

/* A packed row begins with this. */
typedef struct merge_row {
    uint64_t key;
    int64_t number; /* of the task */
    uint64_t patch;
    uint32_t row, tile, realisation, unused;
} merge_row;

/* Tiles, patches, failures, provenance, run: rank 0 alone writes, with the file closed, in portions
 * of the tasks. */
sq_status merge_write_records(merge *m);

#endif
