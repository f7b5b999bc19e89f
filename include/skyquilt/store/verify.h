/* Verification: is what stands on the disk what was written? Local, one process, reads everything
 * once. */
#ifndef SQ_STORE_VERIFY_H
#define SQ_STORE_VERIFY_H

#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"

/* One line for each thing that is wrong; the check goes on. */
typedef void (*sq_verify_problem)(void *user, const char *line);

typedef struct sq_verify_report {
    int64_t datasets, rows, records, lines, tiles, problems;
    uint64_t bytes;
    sq_hash manifest;
} sq_verify_report;

/* A release: the hash of every byte, then each dataset against the manifest (type, shape, content,
 * attributes), row counts of the columns of a table. SQ_ERR_CORRUPT when anything differs,
 * SQ_ERR_FORMAT when it is not a release. */
sq_status sq_verify_release(const char *path, sq_verify_problem problem, void *user,
                            sq_verify_report *report);
/* A file that sq_h5_create_sealed made: the hash of every byte. */
sq_status sq_verify_sealed(const char *path, sq_verify_problem problem, void *user,
                           sq_verify_report *report);
/* An output folder: every line of `ledger`, every committed record in `shards` (bytes and header
 * against the ledger). */
sq_status sq_verify_run(const char *ledger, const char *shards, sq_verify_problem problem,
                        void *user, sq_verify_report *report);

#endif
