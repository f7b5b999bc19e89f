/* The bare disk, which benchmarks of written files are compared with. Local. */
#ifndef SQ_CLI_BENCH_DISK_H
#define SQ_CLI_BENCH_DISK_H

#include <stdint.h>

#include "base/status.h"

/* Seconds to write a plain file of `bytes` in `folder`, in blocks of 4 MiB, and to flush it to the
 * disk; the file is removed. */
sq_status sq_bench_disk(const char *folder, int64_t bytes, double *seconds);

#endif
