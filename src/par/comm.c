#include "par/comm.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/pulse.h"
#include "par/comm_internal.h"

struct sq_comm {
    MPI_Comm handle;
    int rank, size;
};

static sq_comm *world;
static int initialised;

MPI_Comm sq_comm_handle(const sq_comm *comm)
{
    return comm->handle;
}

sq_status sq_comm_check(int code, const char *what)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (code == MPI_SUCCESS) {
        sq_pulse(NULL);
        return SQ_OK;
    }
    MPI_Error_string(code, text, &length);
    return sq_fail(SQ_ERR_COMM, "MPI: %s: %s", what, text);
}

static void adopt(sq_comm *comm, MPI_Comm handle)
{
    comm->handle = handle;
    MPI_Comm_set_errhandler(handle, MPI_ERRORS_RETURN);
    MPI_Comm_rank(handle, &comm->rank);
    MPI_Comm_size(handle, &comm->size);
}

sq_status sq_comm_init(int *argc, char ***argv)
{
    int provided;
    MPI_Comm handle;
    if (initialised)
        return SQ_OK;
    /* ROMIO is the safer of Open MPI's two MPI-IO layers; harmless under another MPI. */
    setenv("OMPI_MCA_io", "romio321", 0);
    sq_status rc =
        sq_comm_check(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided), "cannot start");
    if (rc != SQ_OK)
        return rc;
    initialised = 1;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
    if (provided < MPI_THREAD_FUNNELED)
        return sq_fail(SQ_ERR_COMM, "MPI: the library does not allow threads beside its caller");
    SQ_TRY(sq_comm_check(MPI_Comm_dup(MPI_COMM_WORLD, &handle), "cannot duplicate the world"));
    SQ_TRY(SQ_ALLOC(world, 1, "communicator"));
    adopt(world, handle);
cleanup:
    return rc;
}

void sq_comm_finalize(void)
{
    if (!initialised)
        return;
    sq_comm_destroy(world);
    world = NULL;
    initialised = 0;
    MPI_Finalize();
}

int sq_comm_running(void)
{
    return initialised;
}

sq_comm *sq_comm_world(void)
{
    return world;
}

int sq_comm_rank(const sq_comm *comm)
{
    return comm->rank;
}

int sq_comm_size(const sq_comm *comm)
{
    return comm->size;
}

const char *sq_comm_host(void)
{
    static char host[MPI_MAX_PROCESSOR_NAME + 1];
    int length = 0;
    if (!host[0] && initialised)
        MPI_Get_processor_name(host, &length);
    return host;
}

const char *sq_comm_version(void)
{
    static char text[MPI_MAX_LIBRARY_VERSION_STRING + 1];
    int length = 0;
    if (!text[0]) {
        MPI_Get_library_version(text, &length);
        text[strcspn(text, ",\n")] = '\0';
    }
    return text;
}

/* Memory first, and agreed upon: a rank that fails alone would leave the others in the call. */
sq_status sq_comm_dup(const sq_comm *comm, sq_comm **out)
{
    MPI_Comm handle;
    sq_comm *made = NULL;
    sq_status rc;
    *out = NULL;
    SQ_TRY_ALL(comm, SQ_ALLOC(made, 1, "communicator"));
    SQ_TRY(sq_comm_check(MPI_Comm_dup(comm->handle, &handle), "cannot duplicate"));
    adopt(made, handle);
    *out = made;
    made = NULL;
cleanup:
    sq_free(made);
    return rc;
}

sq_status sq_comm_split(const sq_comm *comm, int colour, sq_comm **out)
{
    MPI_Comm handle;
    sq_comm *made = NULL;
    sq_status rc;
    *out = NULL;
    SQ_TRY_ALL(comm, SQ_ALLOC(made, 1, "communicator"));
    int code =
        MPI_Comm_split(comm->handle, colour < 0 ? MPI_UNDEFINED : colour, comm->rank, &handle);
    SQ_TRY(sq_comm_check(code, "cannot split"));
    if (handle == MPI_COMM_NULL)
        goto cleanup;
    adopt(made, handle);
    *out = made;
    made = NULL;
cleanup:
    sq_free(made);
    return rc;
}

sq_status sq_comm_subset(const sq_comm *comm, const int *member, int count, sq_comm **out)
{
    MPI_Group all = MPI_GROUP_NULL, some = MPI_GROUP_NULL;
    MPI_Comm handle = MPI_COMM_NULL;
    sq_comm *made = NULL;
    sq_status rc;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(made, 1, "communicator"));
    SQ_TRY(sq_comm_check(MPI_Comm_group(comm->handle, &all), "group"));
    SQ_TRY(sq_comm_check(MPI_Group_incl(all, count, member, &some), "subset of a group"));
    SQ_TRY(sq_comm_check(MPI_Comm_create_group(comm->handle, some, 17, &handle), "subset"));
    adopt(made, handle);
    *out = made;
    made = NULL;
cleanup:
    sq_free(made);
    if (some != MPI_GROUP_NULL)
        MPI_Group_free(&some);
    if (all != MPI_GROUP_NULL)
        MPI_Group_free(&all);
    return rc;
}

void sq_comm_destroy(sq_comm *comm)
{
    if (!comm)
        return;
    if (initialised)
        MPI_Comm_free(&comm->handle);
    sq_free(comm);
}

void sq_comm_forget(sq_comm *comm)
{
    sq_free(comm);
}

/* How bad a status is for the job as a whole. */
static int badness(sq_status code)
{
    static const int by_exit[] = {0, 3, 2, 1, 4};
    return code == SQ_OK ? 0 : by_exit[sq_exit_code(code)];
}

sq_status sq_comm_agree(const sq_comm *comm, sq_status mine)
{
    struct {
        int badness, rank;
    } in = {badness(mine), comm->rank}, worst;
    struct {
        int code;
        char text[SQ_ERROR_MAX];
    } verdict = {.code = SQ_OK};
    int code = MPI_Allreduce(&in, &worst, 1, MPI_2INT, MPI_MAXLOC, comm->handle);
    sq_status rc = sq_comm_check(code, "cannot agree on a status");
    if (rc != SQ_OK || worst.badness == 0)
        return rc;
    if (worst.rank == comm->rank) {
        verdict.code = mine;
        strncpy(verdict.text, sq_error(), sizeof verdict.text - 1);
    }
    code = MPI_Bcast(&verdict, sizeof verdict, MPI_BYTE, worst.rank, comm->handle);
    rc = sq_comm_check(code, "cannot share an error");
    if (rc != SQ_OK)
        return rc;
    if (worst.rank != comm->rank)
        sq_fail((sq_status)verdict.code, "rank %d: %s", worst.rank, verdict.text);
    return (sq_status)verdict.code;
}
