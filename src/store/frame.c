#include "store/frame_internal.h"

#include <stddef.h>
#include <string.h>

void sq_frame_make(const sq_record *record, const void *payload, size_t size, sq_frame *frame)
{
    memset(frame, 0, sizeof *frame);
    memcpy(frame->magic, "SQRECORD", 8);
    frame->version = SQ_FRAME_VERSION;
    frame->kind = record->kind;
    frame->payload_size = size;
    frame->patch = record->patch;
    frame->phase = record->phase;
    frame->realisation = record->realisation;
    frame->attempt = record->attempt;
    frame->input = record->input;
    frame->payload_hash = sq_hash_bytes(payload, size);
    memcpy(frame->seconds, record->seconds, sizeof frame->seconds);
    frame->memory = record->memory;
    frame->header_hash = sq_hash64(frame, offsetof(sq_frame, header_hash));
}

int sq_frame_check(const sq_frame *frame, sq_record *record)
{
    if (memcmp(frame->magic, "SQRECORD", 8) != 0 || frame->version != SQ_FRAME_VERSION ||
        frame->header_hash != sq_hash64(frame, offsetof(sq_frame, header_hash)) ||
        frame->payload_size > (1ull << 40))
        return 0;
    *record = (sq_record){.patch = frame->patch,
                          .phase = frame->phase,
                          .realisation = frame->realisation,
                          .attempt = frame->attempt,
                          .kind = frame->kind,
                          .input = frame->input,
                          .memory = frame->memory};
    memcpy(record->seconds, frame->seconds, sizeof record->seconds);
    return 1;
}

sq_hash sq_frame_hash(const sq_frame *frame)
{
    return sq_hash_bytes(frame, sizeof *frame);
}
