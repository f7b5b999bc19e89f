#include "par/message.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "par/comm_internal.h"

enum { VERSION = 1, TAG = 20 };

/* A message on its way, until the transport has taken it over. */
typedef struct pending {
    MPI_Request request;
    struct pending *next;
    sq_message message;
} pending;

struct sq_mailbox {
    sq_comm *comm;
    pending *sending, *spare;
    int64_t unsent;
};

_Static_assert(sizeof(sq_message) == 512, "the wire size of a message");

sq_status sq_mailbox_create(const sq_comm *comm, sq_mailbox **out)
{
    sq_status rc;
    sq_mailbox *box = NULL;
    SQ_TRY_ALL(comm, SQ_ALLOC(box, 1, "mailbox"));
    SQ_TRY(sq_comm_dup(comm, &box->comm));
    *out = box;
    return SQ_OK;
cleanup:
    sq_free(box);
    return rc;
}

/* Move finished sends to the spare list. */
static sq_status collect(sq_mailbox *box)
{
    sq_status rc = SQ_OK;
    for (pending **at = &box->sending; *at;) {
        pending *one = *at;
        int done = 0;
        int code = MPI_Test(&one->request, &done, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS) {
            rc = sq_comm_check(code, "send of a message");
            done = 1;
        }
        if (!done) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        one->next = box->spare;
        box->spare = one;
        box->unsent--;
    }
    return rc;
}

static sq_status take_spare(sq_mailbox *box, pending **out)
{
    if (!box->spare)
        return sq_alloc(out, 1, sizeof **out, "message");
    *out = box->spare;
    box->spare = (*out)->next;
    return SQ_OK;
}

sq_status sq_mailbox_send(sq_mailbox *box, int to, uint32_t kind, const void *body, uint32_t size)
{
    pending *one;
    if (size > SQ_MESSAGE_BODY || to < 0 || to >= sq_comm_size(box->comm))
        return sq_fail(SQ_ERR_USAGE, "message of %u bytes to rank %d", size, to);
    sq_status rc = collect(box);
    if (rc == SQ_OK)
        rc = take_spare(box, &one);
    if (rc != SQ_OK)
        return rc;
    memset(&one->message, 0, sizeof one->message);
    one->message.kind = kind;
    one->message.size = size;
    one->message.version = VERSION;
    if (size)
        memcpy(one->message.body, body, size);
    int code = MPI_Isend(&one->message, sizeof one->message, MPI_BYTE, to, TAG,
                         sq_comm_handle(box->comm), &one->request);
    pending **list = code == MPI_SUCCESS ? &box->sending : &box->spare;
    one->next = *list;
    *list = one;
    box->unsent += code == MPI_SUCCESS;
    return sq_comm_check(code, "send of a message");
}

static sq_status look(sq_mailbox *box, sq_message *out, int *got)
{
    MPI_Status status;
    int length = 0;
    sq_status rc = sq_comm_check(
        MPI_Iprobe(MPI_ANY_SOURCE, TAG, sq_comm_handle(box->comm), got, &status), "probe");
    if (rc != SQ_OK || !*got)
        return rc;
    *got = 0;
    MPI_Get_count(&status, MPI_BYTE, &length);
    if (length != (int)sizeof *out)
        return sq_fail(SQ_ERR_COMM, "message from rank %d: %d bytes instead of %d",
                       status.MPI_SOURCE, length, (int)sizeof *out);
    int code = MPI_Recv(out, sizeof *out, MPI_BYTE, status.MPI_SOURCE, TAG,
                        sq_comm_handle(box->comm), MPI_STATUS_IGNORE);
    rc = sq_comm_check(code, "receive of a message");
    if (rc != SQ_OK)
        return rc;
    if (out->version != VERSION || out->size > SQ_MESSAGE_BODY)
        return sq_fail(SQ_ERR_COMM, "message from rank %d: version %u, this program has %d",
                       status.MPI_SOURCE, out->version, VERSION);
    out->source = status.MPI_SOURCE;
    *got = 1;
    return SQ_OK;
}

sq_status sq_mailbox_receive(sq_mailbox *box, double seconds, sq_message *out, int *got)
{
    double end = sq_now() + seconds, pause = 20e-6;
    *got = 0;
    for (;;) {
        sq_status rc = look(box, out, got);
        if (rc == SQ_OK && box->sending)
            rc = collect(box);
        if (rc != SQ_OK || *got)
            return rc;
        double left = seconds < 0 ? pause : end - sq_now();
        if (left <= 0)
            return SQ_OK;
        double nap = pause < left ? pause : left;
        struct timespec time = {0, (long)(nap * 1e9)};
        if (nanosleep(&time, NULL) != 0 && errno == EINTR)
            return SQ_OK;
        pause = pause < 1e-3 ? 2 * pause : 2e-3;
    }
}

int64_t sq_mailbox_unsent(sq_mailbox *box)
{
    collect(box);
    return box->unsent;
}

void sq_mailbox_destroy(sq_mailbox *box)
{
    if (!box)
        return;
    collect(box);
    while (box->spare) {
        pending *one = box->spare;
        box->spare = one->next;
        sq_free(one);
    }
    /* What a lost rank never took is left to the transport: MPI may still read those buffers. */
    sq_comm_forget(box->comm);
    sq_free(box);
}
