/* Communicators: start and end of message passing, agreement on errors, and the few collectives
 * that index, reduce and bench need. Collective functions are marked; all ranks of the communicator
 * call them in the same order.
 *
 * Error contract: a function that fails on one rank because of that rank's own data is followed by
 * sq_comm_agree, after which every rank holds the same status and the message of the lowest rank
 * with the worst one. So all ranks leave a collective phase together and none is left in a
 * collective whose peers are gone. MPI errors come back as SQ_ERR_COMM (MPI_ERRORS_RETURN); nothing
 * here aborts. */
#ifndef SQ_PAR_COMM_H
#define SQ_PAR_COMM_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct sq_comm sq_comm;

/* Collective over the job. Asks for MPI_THREAD_FUNNELED; chooses ROMIO for MPI-IO unless
 * OMPI_MCA_io is set. Safe to call without mpirun: one rank. A second call does nothing. */
sq_status sq_comm_init(int *argc, char ***argv);
/* Collective. Frees the world; call it once, last. Not to be called when ranks were lost. */
void sq_comm_finalize(void);
int sq_comm_running(void);    /* between init and finalize */
sq_comm *sq_comm_world(void); /* borrowed; NULL before sq_comm_init */
int sq_comm_rank(const sq_comm *comm);
int sq_comm_size(const sq_comm *comm);
const char *sq_comm_host(void);    /* name of this rank's host */
const char *sq_comm_version(void); /* of the MPI library, one line */

/* Collective. A new communicator of the same ranks / of those that give the same colour (< 0: none,
 * *out = NULL). */
sq_status sq_comm_dup(const sq_comm *comm, sq_comm **out);
sq_status sq_comm_split(const sq_comm *comm, int colour, sq_comm **out);
/* Collective over the ranks in `member` (ascending ranks of comm) only: the others need not take
 * part. */
sq_status sq_comm_subset(const sq_comm *comm, const int *member, int count, sq_comm **out);
void sq_comm_destroy(sq_comm *comm); /* not for the world; accepts NULL */

/* Collective. The worst status of all ranks; on the others the message becomes "rank N: message".
 * Order of badness: exit code 4, then 1, then 3; ties go to the lowest rank. */
sq_status sq_comm_agree(const sq_comm *comm, sq_status mine);

/* Leave a collective phase together: needs `sq_status rc` and a `cleanup:` label. */
#define SQ_TRY_ALL(comm, call) SQ_TRY(sq_comm_agree(comm, (call)))

typedef enum sq_reduce_op { SQ_SUM, SQ_MIN, SQ_MAX } sq_reduce_op;

/* Collective, in place where there is one buffer. Sums of doubles are taken in rank order on rank 0
 * and broadcast, so that they do not depend on the library's choice of algorithm. */
sq_status sq_comm_barrier(const sq_comm *comm);
sq_status sq_comm_broadcast(const sq_comm *comm, int root, void *data, size_t size);
sq_status sq_comm_reduce_i64(const sq_comm *comm, sq_reduce_op op, int64_t *value, int count);
sq_status sq_comm_reduce_f64(const sq_comm *comm, sq_reduce_op op, double *value, int count);
sq_status sq_comm_scan_before(const sq_comm *comm, int64_t *value,
                              int count); /* exclusive sum; 0 on rank 0 */
/* All ranks get size(comm) values of `size` bytes each, in rank order. */
sq_status sq_comm_all_gather(const sq_comm *comm, const void *mine, size_t size, void *all);
/* Buffers of different size to rank 0 in rank order: there *all (free with sq_free) of *total bytes
 * and count[rank] (may be NULL) bytes each; elsewhere *all is NULL. */
sq_status sq_comm_gather(const sq_comm *comm, const void *mine, size_t size, void **all,
                         size_t *total, size_t *count);
/* Bytes to every rank: send[to_offset[r] .. + to_size[r]); what arrives is allocated, in rank
 * order, with its sizes per rank in from_size[size(comm)]. Buffers above 2 GB are sent in rounds.
 */
sq_status sq_comm_exchange(const sq_comm *comm, const void *send, const size_t *to_offset,
                           const size_t *to_size, void **received, size_t *from_size);

#endif
