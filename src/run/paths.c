#include "run/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

sq_status sq_run_path(const char *folder, const char *name, char out[SQ_PATH_MAX])
{
    int n = snprintf(out, SQ_PATH_MAX, "%s/%s", folder, name);
    if (n < 0 || n >= SQ_PATH_MAX)
        return sq_fail(SQ_ERR_CONFIG, "output: %s: path too long", folder);
    return SQ_OK;
}

sq_status sq_run_phase_path(const char *folder, int phase, char out[SQ_PATH_MAX])
{
    char name[32];
    snprintf(name, sizeof name, "phase-%d", phase);
    return sq_run_path(folder, name, out);
}

sq_status sq_run_make_folder(const char *path)
{
    char part[SQ_PATH_MAX];
    struct stat info;
    int n = snprintf(part, sizeof part, "%s", path);
    if (n < 0 || (size_t)n >= sizeof part)
        return sq_fail(SQ_ERR_CONFIG, "output: %s: path too long", path);
    for (char *c = part + 1;; c++) {
        if (*c != '/' && *c)
            continue;
        char kept = *c;
        *c = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return sq_fail(SQ_ERR_IO, "%s: cannot make the folder: %s", part, strerror(errno));
        *c = kept;
        if (!kept)
            break;
    }
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return sq_fail(SQ_ERR_IO, "%s: is not a folder", path);
    return SQ_OK;
}

static sq_status sync_path(const char *path, int flags)
{
    int fd = open(path, flags);
    if (fd < 0)
        return sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    int bad = fsync(fd) != 0, error = errno;
    close(fd);
    return bad ? sq_fail(SQ_ERR_IO, "%s: fsync: %s", path, strerror(error)) : SQ_OK;
}

sq_status sq_run_sync_folder(const char *folder)
{
    return sync_path(folder, O_RDONLY | O_DIRECTORY);
}

sq_status sq_run_settle_file(const char *folder, const char *from, const char *to)
{
    sq_status rc = sync_path(from, O_RDONLY);
    if (rc != SQ_OK)
        return rc;
    if (rename(from, to) != 0)
        return sq_fail(SQ_ERR_IO, "%s: rename to %s: %s", from, to, strerror(errno));
    return sq_run_sync_folder(folder);
}

sq_status sq_run_write_file(const char *folder, const char *name, const char *text)
{
    sq_status rc = SQ_OK;
    char path[SQ_PATH_MAX], partial[SQ_PATH_MAX];
    FILE *file = NULL;
    SQ_TRY(sq_run_path(folder, name, path));
    int n = snprintf(partial, sizeof partial, "%s.partial", path);
    if (n < 0 || (size_t)n >= sizeof partial)
        return sq_fail(SQ_ERR_CONFIG, "output: %s: path too long", path);
    file = fopen(partial, "w");
    if (!file || fputs(text, file) < 0 || fflush(file) != 0) {
        rc = sq_fail(SQ_ERR_IO, "%s: %s", partial, strerror(errno));
        goto cleanup;
    }
    SQ_TRY(sq_run_settle_file(folder, partial, path));
cleanup:
    if (file)
        fclose(file);
    if (rc != SQ_OK)
        unlink(partial);
    return rc;
}

#define SEAL "# xxh3 "

sq_status sq_run_write_sealed(const char *folder, const char *name, const char *text)
{
    sq_status rc = SQ_OK;
    char *sealed = NULL, hash[SQ_HASH_TEXT];
    size_t size = strlen(text) + sizeof SEAL + SQ_HASH_TEXT + 1;
    SQ_TRY(SQ_ALLOC(sealed, size, "sealed text"));
    sq_hash_text(sq_hash_bytes(text, strlen(text)), hash);
    snprintf(sealed, size, "%s" SEAL "%s\n", text, hash);
    SQ_TRY(sq_run_write_file(folder, name, sealed));
cleanup:
    sq_free(sealed);
    return rc;
}

sq_status sq_run_check_sealed(const char *path)
{
    enum { MOST = 1 << 20, LAST = sizeof SEAL + SQ_HASH_TEXT - 1 };
    sq_status rc = SQ_OK;
    char *text = NULL, last[LAST + 1] = "", hash[SQ_HASH_TEXT];
    size_t size = 0;
    FILE *file = fopen(path, "rb");
    if (!file)
        return sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    SQ_TRY(SQ_ALLOC(text, MOST, "sealed text"));
    size = fread(text, 1, MOST, file);
    if (size >= LAST) {
        sq_hash_text(sq_hash_bytes(text, size - LAST), hash);
        snprintf(last, sizeof last, SEAL "%s\n", hash);
    }
    if (size < LAST || memcmp(text + size - LAST, last, LAST) != 0)
        rc = sq_fail(SQ_ERR_CORRUPT, "%s: changed since it was written (XXH3 differs)", path);
cleanup:
    sq_free(text);
    fclose(file);
    return rc;
}
