/* Making a tile index: rank 0 lists names, all ranks read headers of a share each. Headers only,
 * never pixels. A tile that cannot be read is reported and left out; the others are indexed.
 * Collective. */
#ifndef SQ_RUN_INDEX_H
#define SQ_RUN_INDEX_H

#include <stdint.h>

#include "base/status.h"
#include "fits/tile.h"
#include "par/comm.h"

typedef struct sq_index_report {
    int64_t tiles, bad;
    double seconds;
} sq_index_report;

/* `problem` is called on rank 0 (may be NULL). The index is written to `out`; without a single good
 * tile that is SQ_ERR_DATA and nothing is written. All ranks return the same status and report. */
sq_status sq_index_build(const sq_comm *comm, const char *const *paths, int count,
                         const char *reference, const char *out, sq_tile_problem problem,
                         void *user, sq_index_report *report);

#endif
