/* Shards: append-only segments of framed records, the only place where products live until the
 * release.
 *
 * A worker writes segments of its own, DIR/NAME-000001.sqs and so on, rotated by size. A record is
 * a fixed header (magic, version, payload length, sq_record, checksums) and its payload. A record
 * counts only when sq_shard_flush has returned (fsync of the segment and, once, of its folder):
 * then its place is reported and may be committed in the ledger. A torn tail is cut by
 * sq_shard_scan and never trusted; segments are never reopened for writing. Local. */
#ifndef SQ_STORE_SHARD_H
#define SQ_STORE_SHARD_H

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"

enum { SQ_SEGMENT_NAME = 48, SQ_RECORD_CLOCKS = 8 };

/* What stands in a record's header beside its payload. */
typedef struct sq_record {
    uint64_t patch;
    uint32_t phase, realisation, attempt;
    uint32_t kind; /* the caller's: 1 is a product */
    sq_hash input; /* of the input sections that were read */
    /* Of this execution, for /run only: seconds (SQ_SECONDS_*) and peak resident bytes of the
     * worker. */
    float seconds[SQ_RECORD_CLOCKS];
    uint64_t memory;
} sq_record;

enum { SQ_RECORD_PRODUCT = 1 };
enum {
    SQ_SECONDS_READ,
    SQ_SECONDS_INFER,
    SQ_SECONDS_DECODE,
    SQ_SECONDS_FFT,
    SQ_SECONDS_WRITE,
    SQ_SECONDS_WAIT,
    SQ_SECONDS_TOTAL
};

/* Where a record lies: what the ledger stores. */
typedef struct sq_record_place {
    char segment[SQ_SEGMENT_NAME]; /* file name within the shard folder */
    uint64_t offset, length;       /* of the whole record, header included */
    sq_hash hash;                  /* of the whole record */
} sq_record_place;

typedef struct sq_shard sq_shard;

/* A writer whose segments are named NAME-NNNNNN.sqs: NAME (letters, digits, '-', '_') must be
 * unique to this process and execution, e.g. "e3-r12". The folder must exist. A segment is begun
 * when the last one has reached `rotate` bytes. */
sq_status sq_shard_create(const char *folder, const char *name, uint64_t rotate, sq_shard **out);
/* Append; *place says where it will be valid after the next flush. On an error the writer starts a
 * new segment at the next append; records of the broken one that were not flushed are lost. */
sq_status sq_shard_append(sq_shard *shard, const sq_record *record, const void *payload,
                          size_t size, sq_record_place *place);
/* Make everything appended so far durable. */
sq_status sq_shard_flush(sq_shard *shard);
uint64_t sq_shard_unflushed(const sq_shard *shard); /* bytes appended since the last flush */
sq_status sq_shard_close(sq_shard *shard);          /* flushes; accepts NULL */

/* Read one record back and check it: SQ_ERR_CORRUPT with the file and offset when any byte differs.
 * *payload is allocated, 64-byte aligned: sq_free. `record`, `payload` and `size` may be NULL. */
sq_status sq_shard_read(const char *folder, const sq_record_place *place, sq_record *record,
                        void **payload, size_t *size);
/* The record of so many bytes at a place of any file: of a segment, or of an archive. */
sq_status sq_record_read(const char *path, uint64_t offset, uint64_t length, sq_record *record,
                         void **payload, size_t *size);
/* The header only, checked by its own checksum: cheap. */
sq_status sq_shard_read_header(const char *folder, const sq_record_place *place, sq_record *record);

/* Every whole record of a segment in order. *good is the length of the part that can be trusted;
 * what follows is a torn tail (or damage) and is skipped. The callback may be NULL; a status other
 * than SQ_OK ends the scan. */
typedef sq_status (*sq_shard_visit)(void *user, const sq_record *record,
                                    const sq_record_place *place, const void *payload, size_t size);
sq_status sq_shard_scan(const char *folder, const char *segment, sq_shard_visit visit, void *user,
                        uint64_t *good, uint64_t *total);
/* The same over bytes in memory, for tests and fuzzing. */
sq_status sq_shard_scan_bytes(const void *data, size_t size, const char *segment,
                              sq_shard_visit visit, void *user, uint64_t *good);

#endif
