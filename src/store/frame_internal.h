/* The frame of a record, as it stands in a segment: 136 bytes little-endian, then the payload, then
 * zeros to a multiple of 8. header_hash covers the frame up to itself; payload_hash, which is part
 * of that, covers the payload: so the hash of the frame stands for the whole record. */
#ifndef SQ_STORE_FRAME_INTERNAL_H
#define SQ_STORE_FRAME_INTERNAL_H

#include <stdint.h>

#include "store/shard.h"

enum { SQ_FRAME_SIZE = 136, SQ_FRAME_VERSION = 1 };

typedef struct sq_frame {
    char magic[8]; /* "SQRECORD" */
    uint32_t version, kind;
    uint64_t payload_size, patch;
    uint32_t phase, realisation, attempt, zero;
    sq_hash input, payload_hash;
    float seconds[SQ_RECORD_CLOCKS];
    uint64_t memory, reserved;
    uint64_t header_hash;
} sq_frame;

_Static_assert(sizeof(sq_frame) == SQ_FRAME_SIZE, "the frame has no holes");

void sq_frame_make(const sq_record *record, const void *payload, size_t size, sq_frame *frame);
/* 1 when the frame's own checksum and constants are right. Fills record. */
int sq_frame_check(const sq_frame *frame, sq_record *record);
sq_hash sq_frame_hash(const sq_frame *frame);
static inline uint64_t sq_frame_padding(uint64_t payload)
{
    return (8 - payload % 8) % 8;
}

#endif
