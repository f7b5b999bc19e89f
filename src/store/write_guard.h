/* Failed writes of a file that all ranks write together through HDF5.
 *
 * HDF5 leaves a collective call on the rank whose write failed, and the others wait in it for ever.
 * Between begin and end a failed write of this process looks like a good one to HDF5, so that every
 * rank comes back from the call; what failed is asked for then, and agreed upon before anything is
 * read back. Local, process-wide; one file at a time. */
#ifndef SQ_STORE_WRITE_GUARD_H
#define SQ_STORE_WRITE_GUARD_H

#include <mpi.h>

#include "base/status.h"

void sq_write_guard_begin(void);
/* SQ_ERR_IO with the cause of the first failure since begin, as often as it is asked. */
sq_status sq_write_guard_check(const char *path, const char *what);
void sq_write_guard_end(void);

/* Hints for such a file: each rank writes its own pieces by itself. MPI's collective writes in
 * several rounds would be left by a rank that fails, as HDF5's calls are. Free it. */
MPI_Info sq_write_guard_hints(void);

#endif
