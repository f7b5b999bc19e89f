/* The text of the ledger: formatting and parsing of lines. Local. */
#ifndef SQ_STORE_LEDGER_INTERNAL_H
#define SQ_STORE_LEDGER_INTERNAL_H

#include <stddef.h>

#include "store/ledger.h"

enum { SQ_LEDGER_LINE = 4096 };

/* Where a replay stands: the hash and the number of the last good line. */
typedef struct sq_ledger_state {
    uint64_t chain;
    int64_t sequence;
} sq_ledger_state;

/* The line with its newline; returns its length. `chain` is the hash of the line before (0 for the
 * first). */
size_t sq_ledger_format(const sq_event *event, int64_t sequence, const char *stamp, uint64_t chain,
                        char line[SQ_LEDGER_LINE]);
/* *good: bytes of whole, right lines. Only the last line may be torn (no newline, or wrong while
 * nothing follows). */
sq_status sq_ledger_parse(const char *text, size_t size, const char *name, sq_ledger_visit visit,
                          void *user, sq_ledger_state *state, size_t *good);
/* A file line by line, in bounded memory. *good and *size: bytes of right lines, and of all. */
sq_status sq_ledger_read(const char *path, sq_ledger_visit visit, void *user,
                         sq_ledger_state *state, uint64_t *good, uint64_t *size);

#endif
