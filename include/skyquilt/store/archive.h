/* The archive of a release: all committed records as they lay in the shards, so that a later run
 * can take over what has not changed and merge it again beside what has. (The tables of a release
 * alone cannot: near borders rows have been dropped that other neighbours would keep.)
 *
 * Group /run/archive: records, u8, the framed records one after the other in the order of /patches,
 * contiguous in the file, so that a record is read like one in a segment; offset and length, u64,
 * one for each row of /patches (length 0: no product). It stands under /run because records carry
 * the seconds of their execution. Local. */
#ifndef SQ_STORE_ARCHIVE_H
#define SQ_STORE_ARCHIVE_H

#include <stdint.h>

#include "base/status.h"

/* Where the records lie in the file, one for each of the `tasks` rows of /patches, for
 * sq_record_read; sq_free. *there = 0 when the release has no archive. SQ_ERR_CORRUPT for one that
 * reaches beyond its own bytes. */
sq_status sq_archive_places(const char *path, int64_t tasks, uint64_t **offset, uint64_t **length,
                            int *there);

#endif
