#include "store/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "store/durable_internal.h"
#include "store/ledger_internal.h"

struct sq_ledger {
    char *path;
    int fd;
    uint64_t chain;   /* hash of the last line */
    int64_t sequence; /* of the last line */
    uint64_t size;    /* of the file: all of it whole lines */
    char *buffer;     /* lines that are not yet in the file */
    size_t used, capacity;
    double oldest; /* monotonic time of the first of them */
    int64_t unflushed;
    uint64_t synced;  /* of the file, what an fsync has covered */
    sq_status broken; /* an fsync failed: nothing is taken any more */
};

static void destroy(sq_ledger *ledger)
{
    if (!ledger)
        return;
    if (ledger->fd >= 0)
        close(ledger->fd);
    sq_free(ledger->path);
    sq_free(ledger->buffer);
    sq_free(ledger);
}

static sq_status open_locked(sq_ledger *ledger)
{
    const char *path = ledger->path;
    int fresh = access(path, F_OK) != 0;
    ledger->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (ledger->fd < 0)
        return sq_fail(SQ_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    /* Some network file systems have no locks: that is not a reason to refuse. */
    if (flock(ledger->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return sq_fail(SQ_ERR_IO, "%s: another run is using this output folder", path);
    return fresh ? sq_durable_folder_of(path) : SQ_OK;
}

static sq_status replay_own(sq_ledger *ledger, sq_ledger_visit visit, void *user)
{
    uint64_t size, good;
    sq_ledger_state state = {0};
    sq_status rc;
    SQ_TRY(sq_ledger_read(ledger->path, visit, user, &state, &good, &size));
    if (good < size) {
        if (ftruncate(ledger->fd, (off_t)good) != 0)
            SQ_TRY(sq_fail(SQ_ERR_IO, "%s: cannot cut the torn last line: %s", ledger->path,
                           strerror(errno)));
        SQ_TRY(sq_durable_fd(ledger->fd, ledger->path));
    }
    ledger->size = ledger->synced = good;
    ledger->chain = state.chain;
    ledger->sequence = state.sequence;
    if (lseek(ledger->fd, (off_t)good, SEEK_SET) < 0)
        rc = sq_fail(SQ_ERR_IO, "%s: cannot seek: %s", ledger->path, strerror(errno));
cleanup:
    return rc;
}

sq_status sq_ledger_open(const char *path, sq_ledger_visit visit, void *user, sq_ledger **out)
{
    sq_status rc;
    sq_ledger *ledger = NULL;
    SQ_TRY(SQ_ALLOC(ledger, 1, "ledger"));
    ledger->fd = -1;
    SQ_TRY(sq_strdup(&ledger->path, path));
    SQ_TRY(open_locked(ledger));
    SQ_TRY(replay_own(ledger, visit, user));
    *out = ledger;
    ledger = NULL;
cleanup:
    destroy(ledger);
    return rc;
}

/* After a failed write: cut back to whole lines. The buffered events stay and are written by the
 * next flush. */
static sq_status cut_back(sq_ledger *ledger, sq_status failed)
{
    if (ftruncate(ledger->fd, (off_t)ledger->size) != 0 ||
        lseek(ledger->fd, (off_t)ledger->size, SEEK_SET) < 0)
        return sq_fail_in(failed, "the torn tail of the ledger could not be cut");
    return failed;
}

static sq_status write_lines(sq_ledger *ledger)
{
    if (ledger->broken != SQ_OK)
        return sq_fail(ledger->broken, "%s: an earlier fsync failed", ledger->path);
    if (!ledger->used)
        return SQ_OK;
    sq_status rc = sq_durable_write(ledger->fd, ledger->path, ledger->buffer, ledger->used);
    if (rc != SQ_OK)
        return cut_back(ledger, rc);
    ledger->size += ledger->used;
    ledger->used = 0;
    return SQ_OK;
}

sq_status sq_ledger_append(sq_ledger *ledger, const sq_event *event)
{
    enum { MOST = 1 << 20 };
    char line[SQ_LEDGER_LINE], stamp[24];
    sq_status rc = SQ_OK;
    if (ledger->used > MOST)
        SQ_TRY(write_lines(ledger));
    sq_timestamp(stamp, sizeof stamp);
    size_t n = sq_ledger_format(event, ledger->sequence + 1, stamp, ledger->chain, line);
    SQ_TRY(SQ_GROW(ledger->buffer, ledger->capacity, ledger->used + n, "ledger lines"));
    memcpy(ledger->buffer + ledger->used, line, n);
    ledger->used += n;
    ledger->sequence++;
    ledger->chain = sq_hash64(line, n - 1);
    if (ledger->unflushed++ == 0)
        ledger->oldest = sq_now();
cleanup:
    return rc;
}

/* After a failed fsync the kernel takes the pages for clean: another one would succeed and say
 * nothing about these lines. They are cut off, so that nobody reads what may not be on disk, and the
 * ledger is closed to all that follows. */
static sq_status give_up(sq_ledger *ledger, sq_status failed)
{
    ledger->broken = failed;
    if (ftruncate(ledger->fd, (off_t)ledger->synced) != 0)
        return sq_fail_in(failed, "the end of the ledger could not be cut");
    return failed;
}

sq_status sq_ledger_flush(sq_ledger *ledger)
{
    sq_status rc = write_lines(ledger);
    if (rc != SQ_OK || ledger->size == ledger->synced)
        return rc;
    rc = sq_durable_fd(ledger->fd, ledger->path);
    if (rc != SQ_OK)
        return give_up(ledger, rc);
    ledger->synced = ledger->size;
    ledger->unflushed = 0;
    return SQ_OK;
}

int64_t sq_ledger_unflushed(const sq_ledger *ledger)
{
    return ledger->unflushed;
}

double sq_ledger_age(const sq_ledger *ledger)
{
    return ledger->unflushed ? sq_now() - ledger->oldest : 0;
}

sq_status sq_ledger_close(sq_ledger *ledger)
{
    if (!ledger)
        return SQ_OK;
    sq_status rc = sq_ledger_flush(ledger);
    destroy(ledger);
    return rc;
}

sq_status sq_ledger_replay(const char *path, sq_ledger_visit visit, void *user, int *torn)
{
    uint64_t size, good;
    sq_ledger_state state = {0};
    sq_status rc = sq_ledger_read(path, visit, user, &state, &good, &size);
    if (rc == SQ_OK && torn)
        *torn = good < size;
    return rc;
}

sq_status sq_ledger_replay_bytes(const char *data, size_t size, const char *name,
                                 sq_ledger_visit visit, void *user, size_t *good)
{
    sq_ledger_state state = {0};
    return sq_ledger_parse(data, size, name, visit, user, &state, good);
}
