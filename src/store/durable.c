#include "store/durable_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

sq_status sq_durable_fd(int fd, const char *path)
{
    while (fsync(fd) != 0) {
        if (errno == EINTR)
            continue;
        return sq_fail(SQ_ERR_IO, "%s: cannot flush to disk: %s", path, strerror(errno));
    }
    return SQ_OK;
}

static sq_status flush_path(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0)
        return sq_fail(SQ_ERR_IO, "%s: cannot open to flush: %s", path, strerror(errno));
    sq_status rc = sq_durable_fd(fd, path);
    close(fd);
    return rc;
}

sq_status sq_durable_file(const char *path)
{
    return flush_path(path, O_RDONLY);
}

sq_status sq_durable_folder(const char *path)
{
    return flush_path(path, O_RDONLY | O_DIRECTORY);
}

sq_status sq_durable_folder_of(const char *path)
{
    char *folder;
    sq_status rc = sq_strdup(&folder, path);
    if (rc != SQ_OK)
        return rc;
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    rc = sq_durable_folder(slash ? folder : ".");
    sq_free(folder);
    return rc;
}

sq_status sq_durable_rename(const char *partial, const char *path)
{
    sq_status rc = sq_durable_file(partial);
    if (rc != SQ_OK)
        return rc;
    if (rename(partial, path) != 0)
        return sq_fail(SQ_ERR_IO, "%s: cannot rename to %s: %s", partial, path, strerror(errno));
    return sq_durable_folder_of(path);
}

sq_status sq_durable_write(int fd, const char *path, const void *data, size_t size)
{
    const unsigned char *at = data;
    while (size) {
        ssize_t n = write(fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sq_fail(SQ_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
        at += n;
        size -= (size_t)n;
    }
    return SQ_OK;
}
