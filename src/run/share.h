/* What rank 0 reads at start-up, to all ranks. Collective; without a communicator (NULL) there is
 * one rank and nothing to do. All ranks return the same status. */
#ifndef SQ_RUN_SHARE_H
#define SQ_RUN_SHARE_H

#include <stddef.h>

#include "base/files.h"
#include "fits/tile_list.h"
#include "par/comm.h"

int sq_share_rank(const sq_comm *comm);
/* The worst status of all ranks. */
sq_status sq_share_agree(const sq_comm *comm, sq_status mine);
/* Rank 0 gives *size bytes; the others get them in memory of their own (sq_free). */
sq_status sq_share_bytes(const sq_comm *comm, void **data, size_t *size);
/* The files of rank 0's set into the others' sets. */
sq_status sq_share_files(const sq_comm *comm, sq_files *files);
/* Rank 0's list; the others get one of their own in *list. */
sq_status sq_share_tiles(const sq_comm *comm, sq_tile_list **list);

#endif
