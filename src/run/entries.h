/* What the ledger says about each task beyond its state: where its record lies, or why it has none.
 * Kept on disk, in a nameless file of the output folder that is addressed by a number of the task,
 * so that neither the memory nor the order of the ledger's lines matters. A scratch file: it is made
 * again from the ledger whenever it is needed. Local, one thread. */
#ifndef SQ_RUN_ENTRIES_H
#define SQ_RUN_ENTRIES_H

#include "store/ledger.h"

typedef struct run_entry {
    sq_record_place place;
    sq_hash input;
    uint64_t rows;
    uint64_t text; /* where the reason of a failure begins */
    uint32_t text_size, attempt;
    int32_t status, padding;
} run_entry;

typedef struct run_entries run_entries;

/* For tasks numbered below `tasks`. */
sq_status sq_entries_create(const char *folder, uint64_t tasks, run_entries **out);
/* The last entry of a number counts. `text` NULL or empty: none. */
sq_status sq_entries_put(run_entries *e, uint64_t number, const run_entry *entry, const char *text);
/* One that was put. In ascending order the file is read in large pieces. */
sq_status sq_entries_get(run_entries *e, uint64_t number, run_entry *out);
sq_status sq_entries_text(run_entries *e, const run_entry *entry, char out[SQ_EVENT_TEXT]);
void sq_entries_destroy(run_entries *e);

#endif
