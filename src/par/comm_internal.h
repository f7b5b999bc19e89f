/* The MPI handle of a communicator, for the layers that may call MPI: par/ and store/. */
#ifndef SQ_PAR_COMM_INTERNAL_H
#define SQ_PAR_COMM_INTERNAL_H

#include <mpi.h>

#include "par/comm.h"

MPI_Comm sq_comm_handle(const sq_comm *comm);
/* Local: gives up the handle without freeing it in MPI, which would be collective. */
void sq_comm_forget(sq_comm *comm);
sq_status sq_comm_check(int code, const char *what); /* SQ_ERR_COMM with MPI's own text */

#endif
