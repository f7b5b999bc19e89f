/* Products of an earlier release that a run takes over instead of computing them.
 *
 * A product depends on the program and its libraries, the models, the configuration (without what
 * selects tiles), the tile's geometry, the phase files of earlier phases, and the input that was
 * read. All but the last two are compared here, from what the release says of itself; tasks are
 * matched by (tile's name, phase, number within the tile, realisation), since patches are numbered
 * anew when tiles come or go. The last two are compared by the worker:
 *  - Files of a tile whose sizes, mtimes and checksum cards are those of the earlier run, and which
 *    still stand as the index says, are trusted without being read.
 *  - Otherwise the task's input is read, and its product is taken over when the hash is the same.
 * Maps have no index of their files: their input is always read.
 * The records come from the shards beside the release, or from its archive, and are copied into
 * shards of this run, which so stands by itself.
 *
 * Rank 0 writes what may be taken over to a file of entries sorted by (phase, index), which workers
 * map: nothing is held per task in their memory. Local. */
#ifndef SQ_RUN_BASE_H
#define SQ_RUN_BASE_H

#include "run/survey.h"
#include "store/shard.h"

#define SQ_RUN_BASE "base.index"

/* Why tasks are not taken over. */
typedef enum sq_base_reason {
    SQ_BASE_SAME,  /* files unchanged: taken over without reading them */
    SQ_BASE_CHECK, /* files written since: taken over where the pixels that are read are the same */
    SQ_BASE_CODE,
    SQ_BASE_MODEL,
    SQ_BASE_CONFIG,
    SQ_BASE_INPUT,  /* another geometry; in a plan also: other pixels */
    SQ_BASE_NEW,    /* the earlier release has no such patch */
    SQ_BASE_FAILED, /* it has no product of it */
    SQ_BASE_LOST,   /* its record is gone */
    SQ_BASE_REASONS
} sq_base_reason;
extern const char *const sq_base_reason_name[SQ_BASE_REASONS];

typedef struct sq_base_entry {
    uint64_t index; /* of the task in this survey */
    uint64_t patch; /* in the earlier one */
    uint32_t phase, realisation;
    int32_t same_files, padding;
    sq_hash input;
    uint64_t offset, length;       /* of the record in its file */
    char segment[SQ_SEGMENT_NAME]; /* "": in the archive of the release itself */
} sq_base_entry;

typedef struct sq_base_count {
    uint64_t *tile[SQ_BASE_REASONS]; /* [parts] */
    uint64_t total[SQ_BASE_REASONS];
} sq_base_count;

/* Rank 0: compare and write the entries to `path`. `release`: the earlier one. SQ_ERR_CONFIG when
 * it is no release, or has neither shards nor an archive. count: sq_base_count_clear. */
sq_status sq_base_make(const sq_survey *survey, const char *release, const char *path,
                       sq_base_count *count);
void sq_base_count_clear(sq_base_count *count);

/* For a plan: read the inputs that a run would read to decide, and count their tasks as taken over
 * or redone. Those of later phases stay undecided when the probe has a phase file. */
sq_status sq_base_check_inputs(const sq_survey *survey, const char *release, const char *path,
                               sq_base_count *count);

typedef struct sq_base sq_base;

/* *out = NULL when there is no such file. */
sq_status sq_base_open(const sq_survey *survey, const char *release, const char *path,
                       sq_base **out);
/* The entry of a task, NULL when it cannot be taken over; `base` may be NULL. */
const sq_base_entry *sq_base_find(const sq_base *base, int phase, uint64_t index);
/* Whether the files of the task's tile need not be read. */
int sq_base_trusts(sq_base *base, const sq_base_entry *entry);
/* The file of a phase is this: what comes later cannot be taken over when it was another. */
void sq_base_set_phase(sq_base *base, int phase, sq_hash hash);
/* The product and what stands beside it; *payload: sq_free. SQ_ERR_CORRUPT or SQ_ERR_IO when it
 * cannot be read or is another task's: then it is not found any more. */
sq_status sq_base_read(sq_base *base, const sq_base_entry *entry, sq_record *record, void **payload,
                       size_t *size);
void sq_base_close(sq_base *base);

#endif
