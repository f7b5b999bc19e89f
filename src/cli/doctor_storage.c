#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "cli/doctor_internal.h"
#include "store/tensor.h"

enum { SYNCS = 15, SYNC_BYTES = 4096 };

/* statfs magic numbers; linux/magic.h lacks those of the parallel file systems. */
static const struct {
    unsigned long magic;
    const char *name;
    verdict v;
    const char *remark;
} systems[] = {
    {0xEF53, "ext", VERDICT_OK, ""},
    {0x58465342, "xfs", VERDICT_OK, ""},
    {0x9123683E, "btrfs", VERDICT_OK, ""},
    {0x2FC12FC1, "zfs", VERDICT_OK, ""},
    {0x0BD00BD0, "lustre", VERDICT_OK, ""},
    {0x47504653, "gpfs", VERDICT_OK, ""},
    {0x19830326, "beegfs", VERDICT_OK, ""},
    {0x00C36400, "ceph", VERDICT_OK, ""},
    {0xAAD7AAEA, "panfs", VERDICT_OK, ""},
    {0x794C7630, "overlay", VERDICT_WARN, ": a container's own layer, gone with the container"},
    {0x01021994, "tmpfs", VERDICT_WARN, ": in memory, gone with the node, no resume"},
    {0x858458F6, "ramfs", VERDICT_WARN, ": in memory, gone with the node, no resume"},
    {0x6969, "nfs", VERDICT_WARN,
     ": locks and caches of NFS make parallel HDF5 slow or wrong; "
     "prefer a parallel file system"},
    {0xFF534D42, "cifs", VERDICT_WARN, ": not meant for parallel writes"},
    {0x65735546, "fuse", VERDICT_WARN, ": what fsync promises depends on the FUSE server"},
    {0x01021997, "9p", VERDICT_WARN, ": not meant for parallel writes"},
};

static void file_system(report *r, const char *folder)
{
    struct statfs fs;
    if (statfs(folder, &fs) != 0) {
        doctor_say(r, VERDICT_FAIL, "file-system", "%s: %s", folder, strerror(errno));
        return;
    }
    const char *name = "of unknown type", *remark = "";
    verdict v = VERDICT_OK;
    for (size_t i = 0; i < sizeof systems / sizeof *systems; i++) {
        if (systems[i].magic == ((unsigned long)fs.f_type & 0xFFFFFFFF)) {
            name = systems[i].name;
            remark = systems[i].remark;
            v = systems[i].v;
        }
    }
    doctor_say(r, v, "file-system", "%s is %s%s", folder, name, remark);
    double free_gib = (double)fs.f_bavail * (double)fs.f_bsize / (1 << 30);
    verdict space = free_gib < 0.1 ? VERDICT_FAIL : free_gib < 5 ? VERDICT_WARN : VERDICT_OK;
    doctor_say(r, space, "space", "%.1f GiB free%s", free_gib,
               space == VERDICT_OK ? ""
                                   : ": shards and the release stand side by side during reduce");
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median seconds of an append with fsync, as the journal does it; negative with errno on failure.
 */
static double fsync_seconds(const char *path)
{
    char page[SYNC_BYTES] = {0};
    double seconds[SYNCS];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    for (int i = 0; i < SYNCS; i++) {
        double start = sq_now();
        if (write(fd, page, sizeof page) != (ssize_t)sizeof page || fsync(fd) != 0) {
            int why = errno;
            close(fd);
            errno = why;
            return -1;
        }
        seconds[i] = sq_now() - start;
    }
    close(fd);
    qsort(seconds, SYNCS, sizeof *seconds, ascending);
    return seconds[SYNCS / 2];
}

static void sync_speed(report *r, const char *path)
{
    double seconds = fsync_seconds(path);
    int why = errno;
    unlink(path);
    if (seconds < 0) {
        doctor_say(r, VERDICT_FAIL, "fsync", "%s: cannot write: %s", path, strerror(why));
        return;
    }
    doctor_say(r, seconds > 0.1 ? VERDICT_WARN : VERDICT_OK, "fsync",
               "%.2f ms for a record of %d bytes%s", 1e3 * seconds, SYNC_BYTES,
               seconds > 0.1 ? ": each commit of a group of patches waits for one" : "");
}

static void hdf5_file(report *r, const char *path)
{
    const float row[4] = {1, 2, 3, 4};
    const int64_t dim[1] = {4};
    float back[4] = {0};
    sq_h5 *file = NULL;
    sq_status rc = SQ_OK;
    SQ_TRY(sq_h5_create(path, &file));
    SQ_TRY(sq_h5_append(file, "x", SQ_F32, 1, dim, row));
    rc = sq_h5_close(file);
    file = NULL;
    SQ_TRY(rc);
    SQ_TRY(sq_h5_open(path, &file));
    SQ_TRY(sq_h5_read_f32(file, "x", 0, 4, back));
    rc = sq_h5_close(file);
    file = NULL;
    if (rc == SQ_OK && memcmp(row, back, sizeof row) != 0)
        rc = sq_fail(SQ_ERR_CORRUPT, "%s: what was read is not what was written", path);
cleanup:
    sq_h5_abandon(file);
    unlink(path);
    doctor_say(r, rc == SQ_OK ? VERDICT_OK : VERDICT_FAIL, "hdf5-file", "%s",
               rc == SQ_OK ? "written, flushed, read back" : sq_error());
}

/* File locks fail with ENOLCK on mounts that have none, which HDF5 reports as a file that cannot be
 * opened. */
static void locking(report *r, const char *folder)
{
    const char *set = getenv("HDF5_USE_FILE_LOCKING");
    struct statfs fs;
    int remote = 0;
    if (statfs(folder, &fs) == 0)
        remote = fs.f_type == 0x6969 || fs.f_type == 0x0BD00BD0;
    int off = set && (strcmp(set, "FALSE") == 0 || strcmp(set, "BEST_EFFORT") == 0);
    doctor_say(r, remote && !off ? VERDICT_WARN : VERDICT_OK, "hdf5-locking",
               "HDF5_USE_FILE_LOCKING is %s%s", set ? set : "not set",
               remote && !off ? ": set it to FALSE where the mount has no locks" : "");
}

void doctor_storage(report *r, const char *folder)
{
    char *path = NULL;
    size_t size = strlen(folder) + 64;
    struct stat st;
    int made = mkdir(folder, 0777) == 0;
    if (!made && (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode))) {
        doctor_say(r, VERDICT_FAIL, "output", "%s: %s", folder,
                   errno == EEXIST || errno == 0 ? "not a folder" : strerror(errno));
        return;
    }
    file_system(r, folder);
    if (sq_alloc(&path, size, 1, "path") != SQ_OK) {
        doctor_say(r, VERDICT_FAIL, "output", "%s", sq_error());
        return;
    }
    snprintf(path, size, "%s/.doctor-%ld", folder, (long)getpid());
    sync_speed(r, path);
    snprintf(path, size, "%s/.doctor-%ld.h5", folder, (long)getpid());
    hdf5_file(r, path);
    locking(r, folder);
    sq_free(path);
    if (made)
        rmdir(folder);
}
