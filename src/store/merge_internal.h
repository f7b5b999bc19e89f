/* The parts of reduce. All functions are collective over merge->comm unless they say local. */
#ifndef SQ_STORE_MERGE_INTERNAL_H
#define SQ_STORE_MERGE_INTERNAL_H

#include <hdf5.h>

#include "par/comm.h"
#include "store/merge.h"
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

typedef struct merge {
    const sq_merge *in;
    sq_comm *comm; /* a duplicate: parallel HDF5 gets a plain one */
    int rank, size;
    char *partial;
    hid_t file;
    uint64_t limit; /* bytes of rows or pixels in one buffer */
    /* This rank's share of the committed tasks, in the order of their places. */
    merge_task *task;
    int64_t ntask;
    merge_timing *timing; /* [ntask] */
    int64_t *rows;        /* [table][ntask]: rows of the table's own phase */
    merge_block *block;
    size_t nblock, block_capacity;
    sq_segment_reader reader;
    merge_check *check;
    size_t nchecks, check_capacity;
    sq_merge_report report;
} merge;

/* Local. One record of the share after the other; with t >= 0 only those that have rows of table t.
 */
typedef sq_status (*merge_visit)(merge *m, int64_t task, const sq_record *record,
                                 const sq_payload *payload, void *user);
sq_status merge_each(merge *m, int t, merge_visit visit, void *user);
/* Local. The payload of a record, valid until the next call; clear it. */
sq_status merge_load(merge *m, const sq_record_place *place, sq_record *record,
                     sq_payload *payload);

sq_status merge_share_tasks(merge *m); /* fills task from rank 0's list */
sq_status merge_survey(merge *m);      /* first pass: timings, rows, blocks of maps */

/* Which rows of table t this rank's tasks keep. */
typedef struct merge_keep {
    int64_t *first; /* [ntask + 1]: where a task's rows begin in keep */
    uint8_t *keep;
} merge_keep;
sq_status merge_reconcile(merge *m, int t, merge_keep *out);
void merge_keep_clear(merge_keep *keep);

sq_status merge_write_table(merge *m, int t, const merge_keep *keep);
sq_status merge_write_map(merge *m, int k);

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
/* These two call HDF5 on every rank whatever happens, but agree on nothing: the caller goes on to
 * the next and agrees once for many. */
sq_status merge_dataset_create(merge *m, const merge_dataset *set, hid_t *out);
/* Each rank writes a box (count 0: nothing) of one dataset. Adds to the dataset's check. */
sq_status merge_dataset_write(merge *m, hid_t id, const merge_dataset *set, const hsize_t *start,
                              const hsize_t *count, const void *data);

/* Rank 0 alone, with the file closed: tiles, patches, failures, provenance, run. */
sq_status merge_write_records(merge *m, const merge_timing *timing, int64_t ntiming);

#endif
