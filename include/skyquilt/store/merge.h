/* Reduce: from committed records to a release file. Collective over the communicator given; no task
 * may be in flight.
 *
 * Every rank reads a share of the records. Rows in border bands and on seams of tiles are
 * reconciled in fixed cells of the sky; the rows that stay are partitioned by their HEALPix key
 * into buckets of bounded size, sorted by the total order (healpix29, ra, dec, phase, patch,
 * realisation, row) and written together as one-dimensional chunked datasets into PATH.partial.
 * Rows are never all in memory: buckets are made one after the other from records that are read
 * again, and what a rank cannot hold is sorted through a nameless file beside the release.
 * That file is closed, read back and checked against what was in memory, given its manifest,
 * flushed and renamed. Every dataset outside /run is the same, bit for bit, for any number of ranks
 * and any order and history of tasks.
 *
 * Layout: /TABLE/COLUMN (attributes units, ucd, description; the group's attribute columns names
 * them in order), /maps/NAME, /tiles, /patches (state, rows, hashes), /failures, /provenance/NAME
 * (texts), /run (this execution: texts and the seconds of each task), /manifest (dataset, rows,
 * XXH3). A 512-byte user block in front of the HDF5 content holds the XXH3 of all bytes behind it.
 */
#ifndef SQ_STORE_MERGE_H
#define SQ_STORE_MERGE_H

#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"
#include "fits/tile_list.h"
#include "par/comm.h"
#include "sky/owner.h"
#include "store/shard.h"
#include "store/table.h"

typedef enum sq_task_state {
    SQ_TASK_DONE,   /* committed: `place` is valid */
    SQ_TASK_FAILED, /* the input or the processing of this patch failed; `status` and `reason` say
                       why */
    SQ_TASK_QUARANTINED /* given up after deaths or repeated failures */
} sq_task_state;

typedef struct sq_merge_task {
    uint32_t phase, realisation;
    uint64_t patch;
    uint32_t tile; /* 0 for maps */
    sq_task_state state;
    uint32_t attempts; /* goes to /run */
    int taken;         /* from an earlier release, not computed; goes to /run */
    uint64_t rows;     /* of all tables, as committed */
    sq_hash input;
    sq_record_place place;
    sq_status status;
    const char *reason; /* NULL when done */
} sq_merge_task;

typedef struct sq_merge_text {
    const char *name, *text; /* a dataset name; any length */
} sq_merge_text;

typedef struct sq_merge {
    /* The same on every rank. */
    const char *path;   /* of the release */
    const char *shards; /* folder of the segments */
    int ntable, nmap;
    const sq_schema *const *table;
    const sq_map_schema *const *map;
    const sq_owner
        *owner; /* sky ownership of the tiles; NULL: tiles do not overlap (or there are none) */
    uint64_t memory; /* bytes that a rank may hold for rows and pixels; 0: 128 MiB. Beyond it come
                        the largest record, about 250 bytes a task and a bit a row of its share */
    int deflate;     /* 0 (plain chunks) .. 9 */
    int archive;     /* keep all records in /run/archive (store/archive.h) */
    /* On rank 0 only. */
    /* All tasks of the run, each once, in the order (phase, patch, realisation): the i-th, whose
     * reason stays until the next call. Asked for in ascending order, several times. */
    sq_status (*task)(void *tasks, int64_t i, sq_merge_task *out);
    void *tasks;
    int64_t ntask;
    const sq_tile_list *tiles; /* may be NULL */
    const sq_merge_text
        *provenance; /* e.g. config (canonical YAML), config_hash, model_hash, index_hash */
    int nprovenance;
    const sq_merge_text *run; /* e.g. version, host, isa, mpi, slurm_job_id, started, command */
    int nrun;
    void (*progress)(void *user, const char *what, double fraction); /* rank 0; may be NULL */
    void *user;
} sq_merge;

/* Where the time goes. */
typedef enum sq_reduce_part {
    SQ_REDUCE_READ,   /* first pass over the records: checks, counts, keys, rows near borders */
    SQ_REDUCE_BORDER, /* decisions about the rows near borders */
    SQ_REDUCE_PACK,   /* second pass: rows to the ranks that write them */
    SQ_REDUCE_SORT,
    SQ_REDUCE_WRITE,  /* columns and maps */
    SQ_REDUCE_RECORD, /* tasks, provenance */
    SQ_REDUCE_CHECK,  /* read back and compared with what was in memory */
    SQ_REDUCE_SEAL,   /* manifest, checksum of the file */
    SQ_REDUCE_FLUSH,  /* fsync, rename */
    SQ_REDUCE_PARTS
} sq_reduce_part;
extern const char *const sq_reduce_part_name[SQ_REDUCE_PARTS];

/* The same on every rank. */
typedef struct sq_merge_report {
    int64_t rows_in[16], rows[16]; /* by table: read, kept */
    int64_t done, failed, quarantined;
    int64_t records;
    uint64_t bytes;   /* of the file */
    sq_hash manifest; /* equal for equal releases */
    double seconds;
    double part[SQ_REDUCE_PARTS]; /* seconds, the slowest rank's of each */
    int64_t read_again;           /* bytes of records that the second pass read */
    int64_t spilled;              /* bytes sorted on disk */
} sq_merge_report;

/* An error on one rank, writing included, ends all of them together. But compressed columns can only
 * be written by calls of HDF5 that all ranks make: a disk that fails one rank within such a call
 * leaves the others waiting, for the job's watchdog to end.
 *
 * All ranks return the same status. On failure PATH is as it was and PATH.partial is removed. A
 * record that does not match its place is SQ_ERR_CORRUPT: nothing is left out silently. */
sq_status sq_merge_release(const sq_comm *comm, const sq_merge *merge, sq_merge_report *report);

#endif
