/* Small fixed-size wire messages between rank 0 and its workers, point to point; nothing here is
 * collective.
 *
 * A message is 512 bytes on the wire whatever its content, below the eager limit of every
 * transport, and is copied at once: a send never waits for its receiver, so a dead or hung rank
 * cannot block another. Receiving sleeps between probes (20 us doubling to 2 ms): a waiting rank
 * does not burn a core. One thread at a time. */
#ifndef SQ_PAR_MESSAGE_H
#define SQ_PAR_MESSAGE_H

#include <stdint.h>

#include "base/status.h"
#include "par/comm.h"

enum { SQ_MESSAGE_BODY = 496 };

typedef struct sq_message {
    uint32_t kind;    /* the caller's */
    uint32_t size;    /* bytes of body in use */
    int32_t source;   /* filled on receipt */
    uint32_t version; /* filled on sending; a mismatch is SQ_ERR_COMM */
    unsigned char body[SQ_MESSAGE_BODY];
} sq_message;

typedef struct sq_mailbox sq_mailbox;

/* Collective over comm (it makes a private duplicate). */
sq_status sq_mailbox_create(const sq_comm *comm, sq_mailbox **out);
/* Copy and send. SQ_ERR_USAGE for a body that does not fit or a rank that is not there; to oneself
 * is legal. */
sq_status sq_mailbox_send(sq_mailbox *box, int to, uint32_t kind, const void *body, uint32_t size);
/* The next message from anyone, in order of arrival per sender. Waits up to `seconds` (0: only
 * looks; negative: for ever); *got says whether there was one. Returns early with *got = 0 when a
 * signal arrives. */
sq_status sq_mailbox_receive(sq_mailbox *box, double seconds, sq_message *out, int *got);
int64_t sq_mailbox_unsent(sq_mailbox *box); /* messages not yet taken over by the transport */
/* Local: drops what was not sent (a lost rank never takes it). The duplicate communicator is freed
 * with the job. */
void sq_mailbox_destroy(sq_mailbox *box);

#endif
