#include "run/entries.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "run/paths.h"

enum { BLOCK = 1024 };

struct run_entries {
    char folder[SQ_PATH_MAX];
    int fd;
    uint64_t end; /* of the file: texts follow the entries */
    run_entry block[BLOCK]; /* neighbours: not yet written, or read ahead */
    uint64_t first, count;
    int dirty;
};

static sq_status complain(const run_entries *e, const char *what)
{
    return sq_fail(SQ_ERR_IO, "%s: cannot %s a scratch file: %s", e->folder, what,
                   strerror(errno));
}

static sq_status open_nameless(run_entries *e)
{
    char path[SQ_PATH_MAX];
    e->fd = open(e->folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (e->fd >= 0)
        return SQ_OK;
    /* Not every file system has nameless files. */
    sq_status rc = sq_run_path(e->folder, "tasks-XXXXXX", path);
    if (rc != SQ_OK)
        return rc;
    e->fd = mkostemp(path, O_CLOEXEC);
    if (e->fd < 0)
        return complain(e, "make");
    unlink(path);
    return SQ_OK;
}

sq_status sq_entries_create(const char *folder, uint64_t tasks, run_entries **out)
{
    sq_status rc = SQ_OK;
    run_entries *e = NULL;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(e, 1, "entries of tasks"));
    e->fd = -1;
    e->end = tasks * sizeof(run_entry);
    snprintf(e->folder, sizeof e->folder, "%s", folder);
    SQ_TRY(open_nameless(e));
    *out = e;
    e = NULL;
cleanup:
    sq_entries_destroy(e);
    return rc;
}

void sq_entries_destroy(run_entries *e)
{
    if (e && e->fd >= 0)
        close(e->fd);
    sq_free(e);
}

static sq_status write_at(const run_entries *e, const void *data, size_t size, uint64_t offset)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = pwrite(e->fd, (const char *)data + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return complain(e, "write");
        done += (size_t)n;
    }
    return SQ_OK;
}

/* As much as there is. */
static sq_status read_at(const run_entries *e, void *data, size_t size, uint64_t offset,
                         size_t *got)
{
    *got = 0;
    while (*got < size) {
        ssize_t n = pread(e->fd, (char *)data + *got, size - *got, (off_t)(offset + *got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return complain(e, "read");
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    return SQ_OK;
}

static sq_status write_block(run_entries *e)
{
    if (!e->dirty)
        return SQ_OK;
    e->dirty = 0;
    return write_at(e, e->block, e->count * sizeof *e->block, e->first * sizeof *e->block);
}

sq_status sq_entries_put(run_entries *e, uint64_t number, const run_entry *entry, const char *text)
{
    sq_status rc = SQ_OK;
    run_entry new = *entry;
    new.text_size = text ? (uint32_t)strlen(text) : 0;
    if (new.text_size) {
        new.text = e->end;
        SQ_TRY(write_at(e, text, new.text_size, e->end));
        e->end += new.text_size;
    }
    if (!e->dirty || number != e->first + e->count || e->count == BLOCK) {
        SQ_TRY(write_block(e));
        e->first = number;
        e->count = 0;
        e->dirty = 1;
    }
    e->block[e->count++] = new;
cleanup:
    return rc;
}

sq_status sq_entries_get(run_entries *e, uint64_t number, run_entry *out)
{
    sq_status rc = SQ_OK;
    size_t got;
    SQ_TRY(write_block(e));
    if (number - e->first >= e->count) {
        e->first = number;
        e->count = 0;
        SQ_TRY(read_at(e, e->block, sizeof e->block, number * sizeof *out, &got));
        e->count = got / sizeof *out;
        if (!e->count)
            SQ_TRY(sq_fail(SQ_ERR_IO, "%s: a scratch file is too short", e->folder));
    }
    *out = e->block[number - e->first];
cleanup:
    return rc;
}

sq_status sq_entries_text(run_entries *e, const run_entry *entry, char out[SQ_EVENT_TEXT])
{
    size_t n = entry->text_size < SQ_EVENT_TEXT ? entry->text_size : SQ_EVENT_TEXT - 1, got;
    sq_status rc = read_at(e, out, n, entry->text, &got);
    out[got] = 0;
    return rc;
}
