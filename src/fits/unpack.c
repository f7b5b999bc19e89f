#include "fits/unpack.h"

#include <bzlib.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/mem.h"

enum { PIECE = 1 << 18, BLOCK = 2880 };

sq_packing sq_packing_of(const unsigned char magic[4])
{
    if (magic[0] == 0x1f && magic[1] == 0x8b)
        return SQ_PACKING_GZ;
    if (memcmp(magic, "BZh", 3) == 0)
        return SQ_PACKING_BZ2;
    return SQ_PACKING_NONE;
}

/* Both libraries have the same streaming interface; this is what the loop below needs of it. */
typedef struct stream {
    sq_packing packing;
    z_stream z;
    bz_stream bz;
    int open;
} stream;

static int stream_begin(stream *s)
{
    if (s->packing == SQ_PACKING_GZ) {
        memset(&s->z, 0, sizeof s->z);
        s->open = inflateInit2(&s->z, 15 + 16) == Z_OK;
    } else {
        memset(&s->bz, 0, sizeof s->bz);
        s->open = BZ2_bzDecompressInit(&s->bz, 0, 0) == BZ_OK;
    }
    return s->open;
}

static void stream_end(stream *s)
{
    if (!s->open)
        return;
    if (s->packing == SQ_PACKING_GZ)
        inflateEnd(&s->z);
    else
        BZ2_bzDecompressEnd(&s->bz);
    s->open = 0;
}

enum step { STEP_MORE, STEP_END, STEP_BROKEN };

/* Unpack from `in` to `out`; the counts come back as what is left of each. */
static enum step stream_step(stream *s, char *in, unsigned *nin, char *out, unsigned *nout)
{
    if (s->packing == SQ_PACKING_GZ) {
        s->z.next_in = (unsigned char *)in;
        s->z.avail_in = *nin;
        s->z.next_out = (unsigned char *)out;
        s->z.avail_out = *nout;
        int code = inflate(&s->z, Z_NO_FLUSH);
        *nin = s->z.avail_in;
        *nout = s->z.avail_out;
        return code == Z_STREAM_END                  ? STEP_END
               : code == Z_OK || code == Z_BUF_ERROR ? STEP_MORE
                                                     : STEP_BROKEN;
    }
    s->bz.next_in = in;
    s->bz.avail_in = *nin;
    s->bz.next_out = out;
    s->bz.avail_out = *nout;
    int code = BZ2_bzDecompress(&s->bz);
    *nin = s->bz.avail_in;
    *nout = s->bz.avail_out;
    return code == BZ_STREAM_END ? STEP_END : code == BZ_OK ? STEP_MORE : STEP_BROKEN;
}

/* The loop's state: unread input and the output so far. */
typedef struct unpacker {
    const char *path;
    int fd;
    char *piece;
    size_t at, have; /* in `piece` */
    off_t offset;
    char *out;
    size_t size, capacity;
} unpacker;

static sq_status refill(unpacker *u)
{
    ssize_t got = pread(u->fd, u->piece, PIECE, u->offset);
    if (got < 0)
        return sq_fail(SQ_ERR_IO, "%s: %s", u->path, strerror(errno));
    u->offset += got;
    u->at = 0;
    u->have = (size_t)got;
    return SQ_OK;
}

/* One member. *full: the cap was reached. */
static sq_status unpack_member(unpacker *u, stream *s, size_t cap, int whole, int *full)
{
    sq_status rc = SQ_OK;
    for (;;) {
        if (u->at == u->have)
            SQ_TRY(refill(u));
        int ended = u->have == 0;
        size_t room = cap + 1 - u->size;
        room = room < PIECE ? room : PIECE;
        SQ_TRY(SQ_GROW(u->out, u->capacity, u->size + room, "unpacked file"));
        unsigned nin = (unsigned)(u->have - u->at), nout = (unsigned)room;
        enum step step = stream_step(s, u->piece + u->at, &nin, u->out + u->size, &nout);
        u->at = u->have - nin;
        u->size += room - nout;
        *full = u->size > cap;
        if (*full || step == STEP_END)
            return SQ_OK;
        int stuck = ended && nout == room;
        if ((step == STEP_BROKEN || stuck) && !whole && u->size > 0) {
            *full = 1; /* the headers at hand may do; a full read will tell */
            return SQ_OK;
        }
        if (step == STEP_BROKEN)
            return sq_fail(SQ_ERR_FORMAT, "%s: compressed data are damaged", u->path);
        if (stuck)
            return sq_fail(SQ_ERR_FORMAT, "%s: truncated inside compressed data", u->path);
    }
cleanup:
    return rc;
}

/* Whether another member follows (1), or the end, or padding that is ignored (0). */
static sq_status another(unpacker *u, sq_packing packing, int *out)
{
    sq_status rc = SQ_OK;
    *out = 0;
    if (u->have - u->at < 4) {
        /* Put the rest in front and read on, so that the magic bytes lie together. */
        u->offset -= (off_t)(u->have - u->at);
        SQ_TRY(refill(u));
    }
    if (u->have - u->at >= 4)
        *out = sq_packing_of((unsigned char *)u->piece + u->at) == packing;
cleanup:
    return rc;
}

sq_status sq_unpack(const char *path, int fd, sq_packing packing, size_t cap, int whole, void **out,
                    size_t *size, size_t *capacity, int *cut)
{
    sq_status rc = SQ_OK;
    stream s = {.packing = packing};
    unpacker u = {.path = path, .fd = fd};
    int again = 1, full = 0;
    SQ_TRY(SQ_ALLOC(u.piece, PIECE, "compressed piece"));
    while (again && !full) {
        if (!stream_begin(&s))
            SQ_TRY(sq_fail(SQ_ERR_NOMEM, "%s: cannot start unpacking", path));
        SQ_TRY(unpack_member(&u, &s, cap, whole, &full));
        stream_end(&s);
        if (!full)
            SQ_TRY(another(&u, packing, &again));
    }
    if (full && whole)
        SQ_TRY(sq_fail(SQ_ERR_DATA,
                       "%s: unpacks to more than %zu MiB; unpack it on disk or use tile "
                       "compression",
                       path, cap >> 20));
    *cut = full;
    *size = u.size < cap ? u.size : cap;
    /* cfitsio reads whole blocks. */
    SQ_TRY(SQ_GROW(u.out, u.capacity, *size + BLOCK, "unpacked file"));
    memset(u.out + *size, 0, u.capacity - *size);
    *capacity = u.capacity;
    *out = u.out;
    u.out = NULL;
cleanup:
    stream_end(&s);
    sq_free(u.piece);
    sq_free(u.out);
    return rc;
}
