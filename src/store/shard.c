#include "store/shard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/durable_internal.h"
#include "store/frame_internal.h"
#include "store/shard_internal.h"

struct sq_shard {
    char *folder, *path; /* path of the segment that is open */
    char name[SQ_SEGMENT_NAME], segment[SQ_SEGMENT_NAME];
    unsigned number; /* of the segment that is open, counted from 1 */
    uint64_t rotate, size, flushed;
    int fd;
    int folder_is_durable;
};

static int name_is_good(const char *name)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    size_t n = strlen(name);
    return n > 0 && n <= 31 && name[strspn(name, letters)] == 0;
}

sq_status sq_shard_create(const char *folder, const char *name, uint64_t rotate, sq_shard **out)
{
    sq_status rc;
    sq_shard *shard = NULL;
    if (!name_is_good(name))
        return sq_fail(SQ_ERR_USAGE, "shard name '%.64s': letters, digits, '-' and '_' only", name);
    SQ_TRY(SQ_ALLOC(shard, 1, "shard"));
    shard->fd = -1;
    shard->rotate = rotate;
    strcpy(shard->name, name);
    SQ_TRY(sq_strdup(&shard->folder, folder));
    SQ_TRY(sq_alloc(&shard->path, strlen(folder) + SQ_SEGMENT_NAME + 2, 1, "segment path"));
    *out = shard;
    return SQ_OK;
cleanup:
    if (shard)
        sq_free(shard->folder);
    sq_free(shard);
    return rc;
}

static sq_status begin_segment(sq_shard *shard)
{
    shard->number++;
    snprintf(shard->segment, sizeof shard->segment, "%.31s-%06u.sqs", shard->name, shard->number);
    sprintf(shard->path, "%s/%s", shard->folder, shard->segment);
    shard->fd = open(shard->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (shard->fd < 0)
        return sq_fail(SQ_ERR_IO, "%s: cannot create: %s", shard->path, strerror(errno));
    shard->size = shard->flushed = 0;
    shard->folder_is_durable = 0;
    return SQ_OK;
}

/* After a failed write or fsync nothing beyond the last flush may be trusted: cut it and leave the
 * segment. */
static void leave_segment(sq_shard *shard)
{
    if (shard->fd < 0)
        return;
    if (shard->flushed < shard->size && ftruncate(shard->fd, (off_t)shard->flushed) != 0)
        shard->flushed = shard->size; /* the torn tail stays; readers cut it */
    close(shard->fd);
    shard->fd = -1;
    shard->size = shard->flushed = 0;
}

static sq_status write_record(sq_shard *shard, const sq_frame *frame, const void *payload)
{
    static const unsigned char zeros[8];
    sq_status rc;
    SQ_TRY(sq_durable_write(shard->fd, shard->path, frame, sizeof *frame));
    SQ_TRY(sq_durable_write(shard->fd, shard->path, payload, frame->payload_size));
    SQ_TRY(sq_durable_write(shard->fd, shard->path, zeros, sq_frame_padding(frame->payload_size)));
cleanup:
    return rc;
}

sq_status sq_shard_append(sq_shard *shard, const sq_record *record, const void *payload,
                          size_t size, sq_record_place *place)
{
    sq_status rc = SQ_OK;
    sq_frame frame;
    if (shard->fd >= 0 && shard->size >= shard->rotate) {
        SQ_TRY(sq_shard_flush(shard));
        leave_segment(shard);
    }
    if (shard->fd < 0)
        SQ_TRY(begin_segment(shard));
    sq_frame_make(record, payload, size, &frame);
    uint64_t length = sizeof frame + size + sq_frame_padding(size), offset = shard->size;
    shard->size += length;
    rc = write_record(shard, &frame, payload);
    if (rc != SQ_OK) {
        leave_segment(shard);
        return rc;
    }
    memset(place, 0, sizeof *place);
    memcpy(place->segment, shard->segment, sizeof place->segment);
    place->offset = offset;
    place->length = length;
    place->hash = sq_frame_hash(&frame);
cleanup:
    return rc;
}

sq_status sq_shard_flush(sq_shard *shard)
{
    if (shard->fd < 0 || shard->flushed == shard->size)
        return SQ_OK;
    sq_status rc = sq_durable_fd(shard->fd, shard->path);
    if (rc == SQ_OK && !shard->folder_is_durable)
        rc = sq_durable_folder(shard->folder);
    if (rc != SQ_OK) {
        leave_segment(shard);
        return rc;
    }
    shard->folder_is_durable = 1;
    shard->flushed = shard->size;
    return SQ_OK;
}

uint64_t sq_shard_unflushed(const sq_shard *shard)
{
    return shard->size - shard->flushed;
}

sq_status sq_shard_close(sq_shard *shard)
{
    if (!shard)
        return SQ_OK;
    sq_status rc = sq_shard_flush(shard);
    leave_segment(shard);
    sq_free(shard->folder);
    sq_free(shard->path);
    sq_free(shard);
    return rc;
}
