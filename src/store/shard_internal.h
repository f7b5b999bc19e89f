/* Reading many records of few segments: one open file is kept. Local. */
#ifndef SQ_STORE_SHARD_INTERNAL_H
#define SQ_STORE_SHARD_INTERNAL_H

#include "store/shard.h"

typedef struct sq_segment_reader {
    const char *folder;            /* borrowed */
    char segment[SQ_SEGMENT_NAME]; /* now open, "" none */
    int fd;
    unsigned char *buffer; /* grows to the largest record */
    size_t capacity;
} sq_segment_reader;

void sq_segment_reader_init(sq_segment_reader *reader, const char *folder);
/* As sq_shard_read, but *payload points into the reader's buffer until the next call. */
sq_status sq_segment_read(sq_segment_reader *reader, const sq_record_place *place,
                          sq_record *record, const void **payload, size_t *size);
void sq_segment_reader_clear(sq_segment_reader *reader);
int sq_segment_name_is_good(const char *segment);

#endif
