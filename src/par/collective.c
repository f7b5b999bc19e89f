#include <string.h>

#include "base/mem.h"
#include "par/comm_internal.h"

/* MPI counts are int: longer buffers go in rounds of this many bytes. */
enum { ROUND = 1 << 30 };

static const int root = 0;

static MPI_Op op_of(sq_reduce_op op)
{
    return op == SQ_SUM ? MPI_SUM : op == SQ_MIN ? MPI_MIN : MPI_MAX;
}

sq_status sq_comm_barrier(const sq_comm *comm)
{
    return sq_comm_check(MPI_Barrier(sq_comm_handle(comm)), "barrier");
}

sq_status sq_comm_broadcast(const sq_comm *comm, int from, void *data, size_t size)
{
    char *at = data;
    while (size) {
        int n = size > ROUND ? ROUND : (int)size;
        sq_status rc =
            sq_comm_check(MPI_Bcast(at, n, MPI_BYTE, from, sq_comm_handle(comm)), "broadcast");
        if (rc != SQ_OK)
            return rc;
        at += n;
        size -= (size_t)n;
    }
    return SQ_OK;
}

sq_status sq_comm_reduce_i64(const sq_comm *comm, sq_reduce_op op, int64_t *value, int count)
{
    return sq_comm_check(
        MPI_Allreduce(MPI_IN_PLACE, value, count, MPI_INT64_T, op_of(op), sq_comm_handle(comm)),
        "reduction");
}

sq_status sq_comm_reduce_f64(const sq_comm *comm, sq_reduce_op op, double *value, int count)
{
    sq_status rc;
    double *all = NULL;
    int size = sq_comm_size(comm);
    SQ_TRY(sq_comm_agree(comm, SQ_ALLOC(all, (size_t)size * (size_t)count + 1, "reduction")));
    SQ_TRY(sq_comm_all_gather(comm, value, (size_t)count * sizeof *value, all));
    for (int i = 0; i < count; i++) {
        double total = all[i];
        for (int r = 1; r < size; r++) {
            double next = all[(size_t)r * (size_t)count + (size_t)i];
            total = op == SQ_SUM ? total + next : (op == SQ_MIN) == (next < total) ? next : total;
        }
        value[i] = total;
    }
cleanup:
    sq_free(all);
    return rc;
}

sq_status sq_comm_scan_before(const sq_comm *comm, int64_t *value, int count)
{
    sq_status rc = sq_comm_check(
        MPI_Exscan(MPI_IN_PLACE, value, count, MPI_INT64_T, MPI_SUM, sq_comm_handle(comm)), "scan");
    if (rc == SQ_OK && sq_comm_rank(comm) == 0)
        memset(value, 0, (size_t)count * sizeof *value);
    return rc;
}

sq_status sq_comm_all_gather(const sq_comm *comm, const void *mine, size_t size, void *all)
{
    if (size > ROUND)
        return sq_fail(SQ_ERR_USAGE, "gather: %zu bytes a rank", size);
    return sq_comm_check(
        MPI_Allgather(mine, (int)size, MPI_BYTE, all, (int)size, MPI_BYTE, sq_comm_handle(comm)),
        "gather");
}

/* Point to point: the sizes differ and their sum may be above what a single count holds. */
static sq_status send_long(const sq_comm *comm, int to, const void *data, size_t size)
{
    const char *at = data;
    while (size) {
        int n = size > ROUND ? ROUND : (int)size;
        sq_status rc =
            sq_comm_check(MPI_Send(at, n, MPI_BYTE, to, 18, sq_comm_handle(comm)), "send");
        if (rc != SQ_OK)
            return rc;
        at += n;
        size -= (size_t)n;
    }
    return SQ_OK;
}

static sq_status receive_long(const sq_comm *comm, int from, void *data, size_t size)
{
    char *at = data;
    while (size) {
        int n = size > ROUND ? ROUND : (int)size;
        sq_status rc = sq_comm_check(
            MPI_Recv(at, n, MPI_BYTE, from, 18, sq_comm_handle(comm), MPI_STATUS_IGNORE),
            "receive");
        if (rc != SQ_OK)
            return rc;
        at += n;
        size -= (size_t)n;
    }
    return SQ_OK;
}

sq_status sq_comm_gather(const sq_comm *comm, const void *mine, size_t size, void **all,
                         size_t *total, size_t *count)
{
    sq_status rc;
    uint64_t *sizes = NULL, bytes = size, sum = 0;
    int ranks = sq_comm_size(comm), me = sq_comm_rank(comm);
    *all = NULL;
    SQ_TRY_ALL(comm, SQ_ALLOC(sizes, ranks, "sizes"));
    SQ_TRY(sq_comm_all_gather(comm, &bytes, sizeof bytes, sizes));
    for (int r = 0; r < ranks; r++)
        sum += sizes[r];
    SQ_TRY_ALL(comm, me == root ? sq_alloc(all, sum + 1, 1, "gathered bytes") : SQ_OK);
    *total = me == root ? sum : 0;
    if (me != root) {
        rc = send_long(comm, root, mine, size);
        goto cleanup;
    }
    char *at = *all;
    for (int r = 0; r < ranks; at += sizes[r], r++) {
        if (count)
            count[r] = sizes[r];
        if (r == root && size)
            memcpy(at, mine, size);
        else if (r != root)
            SQ_TRY(receive_long(comm, r, at, sizes[r]));
    }
cleanup:
    sq_free(sizes);
    return rc;
}

/* One pair of ranks: both directions in step, so that neither waits for the other's buffer. */
static sq_status swap(const sq_comm *comm, int to, const char *out, size_t out_size, int from,
                      char *in, size_t in_size)
{
    while (out_size || in_size) {
        int n = out_size > ROUND ? ROUND : (int)out_size;
        int m = in_size > ROUND ? ROUND : (int)in_size;
        sq_status rc = sq_comm_check(MPI_Sendrecv(out, n, MPI_BYTE, n ? to : MPI_PROC_NULL, 19, in,
                                                  m, MPI_BYTE, m ? from : MPI_PROC_NULL, 19,
                                                  sq_comm_handle(comm), MPI_STATUS_IGNORE),
                                     "exchange");
        if (rc != SQ_OK)
            return rc;
        out += n;
        in += m;
        out_size -= (size_t)n;
        in_size -= (size_t)m;
    }
    return SQ_OK;
}

static sq_status share_sizes(const sq_comm *comm, const size_t *to_size, size_t *from_size)
{
    sq_status rc;
    uint64_t *in = NULL, *out = NULL;
    int ranks = sq_comm_size(comm);
    SQ_TRY_ALL(comm, SQ_ALLOC(out, 2 * ranks, "sizes"));
    in = out + ranks;
    for (int r = 0; r < ranks; r++)
        out[r] = to_size[r];
    SQ_TRY(
        sq_comm_check(MPI_Alltoall(out, 1, MPI_UINT64_T, in, 1, MPI_UINT64_T, sq_comm_handle(comm)),
                      "exchange of sizes"));
    for (int r = 0; r < ranks; r++)
        from_size[r] = in[r];
cleanup:
    sq_free(out);
    return rc;
}

sq_status sq_comm_exchange(const sq_comm *comm, const void *send, const size_t *to_offset,
                           const size_t *to_size, void **received, size_t *from_size)
{
    sq_status rc;
    int ranks = sq_comm_size(comm), me = sq_comm_rank(comm);
    size_t total = 0, *at = NULL;
    char *in = NULL;
    *received = NULL;
    SQ_TRY(share_sizes(comm, to_size, from_size));
    for (int r = 0; r < ranks; r++)
        total += from_size[r];
    rc = SQ_ALLOC(at, ranks, "offsets");
    if (rc == SQ_OK)
        rc = sq_alloc(&in, total + 1, 1, "exchanged bytes");
    SQ_TRY(sq_comm_agree(comm, rc));
    for (int r = 1; r < ranks; r++)
        at[r] = at[r - 1] + from_size[r - 1];
    for (int step = 0; step < ranks; step++) {
        int to = (me + step) % ranks, from = (me - step + ranks) % ranks;
        const char *out = (const char *)send + to_offset[to];
        if (step == 0 && to_size[me])
            memcpy(in + at[me], out, to_size[me]);
        else if (step > 0)
            SQ_TRY(swap(comm, to, out, to_size[to], from, in + at[from], from_size[from]));
    }
    *received = in;
    in = NULL;
cleanup:
    sq_free(at);
    sq_free(in);
    return rc;
}
