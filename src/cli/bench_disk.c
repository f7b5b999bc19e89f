#include "cli/bench_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

enum { BLOCK = 4 << 20 };

static sq_status write_plain(int fd, const char *path, const unsigned char *block, int64_t bytes)
{
    while (bytes > 0) {
        ssize_t n = write(fd, block, bytes < BLOCK ? (size_t)bytes : BLOCK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sq_fail(SQ_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
        bytes -= n;
    }
    return fsync(fd) == 0 ? SQ_OK : sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
}

sq_status sq_bench_disk(const char *folder, int64_t bytes, double *seconds)
{
    char path[1024];
    unsigned char *block = NULL;
    sq_status rc;
    int fd = -1;
    snprintf(path, sizeof path, "%.900s/skyquilt-bench.raw", folder);
    SQ_TRY(sq_alloc(&block, BLOCK, 1, "block"));
    for (int i = 0; i < BLOCK; i++)
        block[i] = (unsigned char)((unsigned)i * 2654435761u >> 24);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        SQ_TRY(sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno)));
    double start = sq_now();
    SQ_TRY(write_plain(fd, path, block, bytes));
    *seconds = sq_now() - start;
cleanup:
    if (fd >= 0) {
        close(fd);
        unlink(path);
    }
    sq_free(block);
    return rc;
}
