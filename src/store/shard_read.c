#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/pulse.h"
#include "store/frame_internal.h"
#include "store/shard_internal.h"

int sq_segment_name_is_good(const char *segment)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    size_t n = strnlen(segment, SQ_SEGMENT_NAME);
    return n > 4 && n < SQ_SEGMENT_NAME && strspn(segment, letters) == n - 4 &&
           strcmp(segment + n - 4, ".sqs") == 0;
}

void sq_segment_reader_init(sq_segment_reader *reader, const char *folder)
{
    memset(reader, 0, sizeof *reader);
    reader->folder = folder;
    reader->fd = -1;
}

void sq_segment_reader_clear(sq_segment_reader *reader)
{
    if (reader->fd >= 0)
        close(reader->fd);
    sq_free(reader->buffer);
    memset(reader, 0, sizeof *reader);
    reader->fd = -1;
}

static sq_status open_segment(sq_segment_reader *reader, const char *segment)
{
    char *path;
    if (reader->fd >= 0 && strcmp(reader->segment, segment) == 0)
        return SQ_OK;
    if (!sq_segment_name_is_good(segment))
        return sq_fail(SQ_ERR_CORRUPT, "'%.48s' is not the name of a segment", segment);
    if (reader->fd >= 0)
        close(reader->fd);
    reader->fd = -1;
    sq_status rc = sq_alloc(&path, strlen(reader->folder) + SQ_SEGMENT_NAME + 2, 1, "segment path");
    if (rc != SQ_OK)
        return rc;
    sprintf(path, "%s/%s", reader->folder, segment);
    reader->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (reader->fd < 0)
        rc = sq_fail(SQ_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    sq_free(path);
    strcpy(reader->segment, segment);
    return rc;
}

/* Fewer bytes than asked for only at the end of the file. */
static ssize_t read_at(int fd, void *out, size_t size, uint64_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(fd, (char *)out + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static sq_status damaged(const sq_segment_reader *reader, const sq_record_place *place,
                         const char *what)
{
    return sq_fail(SQ_ERR_CORRUPT, "%s/%s: record at byte %llu: %s", reader->folder, place->segment,
                   (unsigned long long)place->offset, what);
}

static sq_status fetch(sq_segment_reader *reader, const sq_record_place *place, uint64_t offset,
                       void *out, size_t size)
{
    ssize_t n = read_at(reader->fd, out, size, offset);
    if (n < 0)
        return sq_fail(SQ_ERR_IO, "%s/%s: cannot read: %s", reader->folder, place->segment,
                       strerror(errno));
    return (size_t)n == size ? SQ_OK : damaged(reader, place, "cut off");
}

static sq_status fetch_frame(sq_segment_reader *reader, const sq_record_place *place,
                             sq_frame *frame, sq_record *record)
{
    sq_status rc = open_segment(reader, place->segment);
    if (rc == SQ_OK)
        rc = fetch(reader, place, place->offset, frame, sizeof *frame);
    if (rc != SQ_OK)
        return rc;
    if (!sq_hash_equal(sq_frame_hash(frame), place->hash) || !sq_frame_check(frame, record))
        return damaged(reader, place, "the header does not match its checksum");
    if (place->length !=
        sizeof *frame + frame->payload_size + sq_frame_padding(frame->payload_size))
        return damaged(reader, place, "the length is not the recorded one");
    return SQ_OK;
}

static int payload_is_right(const sq_frame *frame, const unsigned char *payload)
{
    static const unsigned char zeros[8];
    return sq_hash_equal(sq_hash_bytes(payload, frame->payload_size), frame->payload_hash) &&
           memcmp(payload + frame->payload_size, zeros, sq_frame_padding(frame->payload_size)) == 0;
}

sq_status sq_segment_read(sq_segment_reader *reader, const sq_record_place *place,
                          sq_record *record, const void **payload, size_t *size)
{
    sq_frame frame;
    sq_pulse(NULL);
    sq_status rc = fetch_frame(reader, place, &frame, record);
    if (rc != SQ_OK)
        return rc;
    size_t rest = (size_t)(place->length - sizeof frame);
    if (rest + 8 > reader->capacity) {
        sq_free(reader->buffer);
        reader->buffer = NULL;
        reader->capacity = 0;
        rc = sq_alloc(&reader->buffer, rest + 8, 1, "record");
        if (rc != SQ_OK)
            return rc;
        reader->capacity = rest + 8;
    }
    rc = fetch(reader, place, place->offset + sizeof frame, reader->buffer, rest);
    if (rc != SQ_OK)
        return rc;
    if (!payload_is_right(&frame, reader->buffer))
        return damaged(reader, place, "the payload does not match its checksum");
    *payload = reader->buffer;
    *size = (size_t)frame.payload_size;
    return SQ_OK;
}

sq_status sq_shard_read(const char *folder, const sq_record_place *place, sq_record *record,
                        void **payload, size_t *size)
{
    sq_segment_reader reader;
    sq_record unwanted;
    const void *view;
    size_t length;
    sq_segment_reader_init(&reader, folder);
    sq_status rc = sq_segment_read(&reader, place, record ? record : &unwanted, &view, &length);
    if (rc == SQ_OK && payload) {
        *payload = reader.buffer;
        reader.buffer = NULL;
    }
    if (rc == SQ_OK && size)
        *size = length;
    sq_segment_reader_clear(&reader);
    return rc;
}

sq_status sq_shard_read_header(const char *folder, const sq_record_place *place, sq_record *record)
{
    sq_segment_reader reader;
    sq_frame frame;
    sq_segment_reader_init(&reader, folder);
    sq_status rc = fetch_frame(&reader, place, &frame, record);
    sq_segment_reader_clear(&reader);
    return rc;
}

static sq_status keep_record(void *user, const sq_record *record, const sq_record_place *place,
                             const void *payload, size_t size)
{
    sq_record *out = user;
    (void)place;
    (void)payload;
    (void)size;
    *out = *record;
    return SQ_OK;
}

sq_status sq_record_read(const char *path, uint64_t offset, uint64_t length, sq_record *record,
                         void **payload, size_t *size)
{
    sq_status rc = SQ_OK;
    unsigned char *data = NULL;
    sq_frame frame;
    uint64_t good = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return sq_fail(SQ_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    if (length < sizeof frame || length > (1ull << 40))
        SQ_TRY(sq_fail(SQ_ERR_CORRUPT, "%s: byte %llu: not a record", path,
                       (unsigned long long)offset));
    SQ_TRY(sq_alloc(&data, length, 1, "record"));
    if (read_at(fd, data, length, offset) != (ssize_t)length)
        SQ_TRY(sq_fail(SQ_ERR_CORRUPT, "%s: record at byte %llu: cut off", path,
                       (unsigned long long)offset));
    SQ_TRY(sq_shard_scan_bytes(data, length, "", keep_record, record, &good));
    if (good != length)
        SQ_TRY(sq_fail(SQ_ERR_CORRUPT, "%s: record at byte %llu: does not match its checksum", path,
                       (unsigned long long)offset));
    memcpy(&frame, data, sizeof frame);
    *size = (size_t)frame.payload_size;
    memmove(data, data + sizeof frame, *size);
    *payload = data;
    data = NULL;
cleanup:
    close(fd);
    sq_free(data);
    return rc;
}

/* A scan reads from memory or from a file through one window that grows with the records. */
typedef struct scanner {
    const unsigned char *data; /* NULL: read from fd */
    int fd;
    uint64_t total;
    unsigned char *window;
    size_t capacity;
} scanner;

static sq_status look(scanner *s, uint64_t offset, size_t size, const unsigned char **out)
{
    if (s->data) {
        *out = s->data + offset;
        return SQ_OK;
    }
    if (size > s->capacity) {
        sq_free(s->window);
        s->window = NULL;
        s->capacity = 0;
        sq_status rc = sq_alloc(&s->window, size, 1, "record");
        if (rc != SQ_OK)
            return rc;
        s->capacity = size;
    }
    if (read_at(s->fd, s->window, size, offset) != (ssize_t)size)
        return sq_fail(SQ_ERR_IO, "cannot read %zu bytes at %llu", size,
                       (unsigned long long)offset);
    *out = s->window;
    return SQ_OK;
}

/* *whole = 0 at the first record that is not complete and right. */
static sq_status scan_one(scanner *s, uint64_t offset, sq_frame *frame, sq_record *record,
                          const unsigned char **payload, int *whole)
{
    const unsigned char *at = NULL;
    sq_status rc;
    *whole = 0;
    if (s->total - offset < sizeof *frame)
        return SQ_OK;
    rc = look(s, offset, sizeof *frame, &at);
    if (rc != SQ_OK)
        return rc;
    memcpy(frame, at, sizeof *frame);
    if (!sq_frame_check(frame, record))
        return SQ_OK;
    uint64_t rest = frame->payload_size + sq_frame_padding(frame->payload_size);
    if (s->total - offset - sizeof *frame < rest)
        return SQ_OK;
    rc = look(s, offset + sizeof *frame, (size_t)rest, payload);
    if (rc == SQ_OK)
        *whole = payload_is_right(frame, *payload);
    return rc;
}

static sq_status scan(scanner *s, const char *segment, sq_shard_visit visit, void *user,
                      uint64_t *good)
{
    sq_frame frame;
    sq_record record;
    sq_record_place place = {0};
    const unsigned char *payload = NULL;
    int whole = 1;
    strncpy(place.segment, segment, sizeof place.segment - 1);
    for (*good = 0; *good < s->total; *good += place.length) {
        sq_status rc = scan_one(s, *good, &frame, &record, &payload, &whole);
        if (rc != SQ_OK || !whole)
            return rc;
        place.offset = *good;
        place.length = sizeof frame + frame.payload_size + sq_frame_padding(frame.payload_size);
        place.hash = sq_frame_hash(&frame);
        rc = visit ? visit(user, &record, &place, payload, (size_t)frame.payload_size) : SQ_OK;
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}

sq_status sq_shard_scan_bytes(const void *data, size_t size, const char *segment,
                              sq_shard_visit visit, void *user, uint64_t *good)
{
    static const unsigned char nothing;
    scanner s = {.data = size ? data : &nothing, .fd = -1, .total = size};
    return scan(&s, segment, visit, user, good);
}

sq_status sq_shard_scan(const char *folder, const char *segment, sq_shard_visit visit, void *user,
                        uint64_t *good, uint64_t *total)
{
    sq_segment_reader reader;
    struct stat info;
    scanner s = {0};
    sq_segment_reader_init(&reader, folder);
    sq_status rc;
    SQ_TRY(open_segment(&reader, segment));
    if (fstat(reader.fd, &info) != 0)
        SQ_TRY(sq_fail(SQ_ERR_IO, "%s/%s: %s", folder, segment, strerror(errno)));
    s.fd = reader.fd;
    s.total = (uint64_t)info.st_size;
    *total = s.total;
    SQ_TRY(scan(&s, segment, visit, user, good));
cleanup:
    sq_free(s.window);
    sq_segment_reader_clear(&reader);
    return rc;
}
