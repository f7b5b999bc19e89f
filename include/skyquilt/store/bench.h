/* How fast columns are written as reduce writes them. Collective. */
#ifndef SQ_STORE_BENCH_H
#define SQ_STORE_BENCH_H

#include <stdint.h>

#include "base/status.h"
#include "par/comm.h"

/* Write `bytes` of doubles in 8 columns to a new file at `path`, each rank its share, flushed to
 * the disk; the file is removed. *seconds: from the creation of the datasets to the end of the
 * flush, the slowest rank's. */
sq_status sq_store_bench(const sq_comm *comm, const char *path, int64_t bytes, int deflate,
                         double *seconds);

#endif
