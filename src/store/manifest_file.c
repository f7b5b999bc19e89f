/* The manifest inside the file, and the seal in front of it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/pulse.h"
#include "store/durable_internal.h"
#include "store/hdf5_internal.h"
#include "store/manifest_internal.h"
#include "store/small_internal.h"

enum { BLOCK = 1 << 22, HEX = SQ_HASH_TEXT - 1 };

static sq_status store_columns(hid_t file, const char *path, const sq_manifest *m)
{
    char *name = NULL, *form = NULL, *content = NULL, text[SQ_HASH_TEXT];
    int64_t *rows = NULL, n = (int64_t)m->count;
    hid_t group = -1;
    sq_status rc;
    SQ_TRY(SQ_ALLOC(name, n * SQ_MANIFEST_NAME + 1, "manifest"));
    SQ_TRY(SQ_ALLOC(form, n * HEX + 1, "manifest"));
    SQ_TRY(SQ_ALLOC(content, n * HEX + 1, "manifest"));
    SQ_TRY(SQ_ALLOC(rows, n + 1, "manifest"));
    for (int64_t i = 0; i < n; i++) {
        memcpy(name + i * SQ_MANIFEST_NAME, m->entry[i].name, SQ_MANIFEST_NAME);
        sq_hash_text(m->entry[i].form, text);
        memcpy(form + i * HEX, text, HEX);
        sq_hash_text(m->entry[i].content, text);
        memcpy(content + i * HEX, text, HEX);
        rows[i] = m->entry[i].rows;
    }
    SQ_TRY(sq_small_group(file, path, "manifest", "Hashes (XXH3) of everything but /run", &group));
    SQ_TRY(sq_small_texts(group, path, "name", SQ_MANIFEST_NAME, n, name, "Object"));
    SQ_TRY(sq_small_numbers(group, path, "rows", SQ_I64, n, rows, "Rows; -1 for a group"));
    SQ_TRY(sq_small_texts(group, path, "form", HEX, n, form, "Hash of type, shape, attributes"));
    SQ_TRY(sq_small_texts(group, path, "content", HEX, n, content,
                          "Hash of the hashes of its blocks"));
    sq_hash_text(m->hash, text);
    SQ_TRY(sq_hdf5_attribute(group, path, "hash", text));
cleanup:
    if (group >= 0)
        H5Gclose(group);
    sq_free(name);
    sq_free(form);
    sq_free(content);
    sq_free(rows);
    return rc;
}

sq_status sq_manifest_store(const char *path, const sq_manifest *manifest)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    if (file < 0)
        return sq_hdf5_fail(path, "cannot open to add the manifest");
    sq_status rc = store_columns(file, path, manifest);
    if (rc == SQ_OK && H5Fflush(file, H5F_SCOPE_GLOBAL) < 0)
        rc = sq_hdf5_fail(path, "cannot flush");
    if (H5Fclose(file) < 0 && rc == SQ_OK)
        rc = sq_hdf5_fail(path, "cannot close");
    return rc;
}

static sq_status load_rows(sq_h5 *h5, sq_manifest *m, int64_t n)
{
    char *name = NULL, *form = NULL, *content = NULL, text[SQ_HASH_TEXT] = "";
    int64_t *rows = NULL;
    sq_status rc;
    SQ_TRY(SQ_ALLOC(name, n * SQ_MANIFEST_NAME + 1, "manifest"));
    SQ_TRY(SQ_ALLOC(form, n * HEX + 1, "manifest"));
    SQ_TRY(SQ_ALLOC(content, n * HEX + 1, "manifest"));
    SQ_TRY(SQ_ALLOC(rows, n + 1, "manifest"));
    SQ_TRY(SQ_ALLOC(m->entry, n + 1, "manifest"));
    SQ_TRY(sq_h5_read_rows_text(h5, "manifest/name", SQ_MANIFEST_NAME, 0, n, name));
    SQ_TRY(sq_h5_read_rows_text(h5, "manifest/form", HEX, 0, n, form));
    SQ_TRY(sq_h5_read_rows_text(h5, "manifest/content", HEX, 0, n, content));
    SQ_TRY(sq_h5_read(h5, "manifest/rows", SQ_I64, 0, n, rows));
    for (int64_t i = 0; i < n; i++, m->count++) {
        sq_manifest_entry *e = &m->entry[i];
        memcpy(e->name, name + i * SQ_MANIFEST_NAME, SQ_MANIFEST_NAME - 1);
        memcpy(text, form + i * HEX, HEX);
        SQ_TRY(sq_hash_parse(text, &e->form));
        memcpy(text, content + i * HEX, HEX);
        SQ_TRY(sq_hash_parse(text, &e->content));
        e->rows = rows[i];
    }
cleanup:
    sq_free(name);
    sq_free(form);
    sq_free(content);
    sq_free(rows);
    return rc;
}

sq_status sq_manifest_load(const char *path, sq_manifest *out)
{
    sq_h5 *h5 = NULL;
    sq_dtype type;
    int rank;
    int64_t dim[8];
    char *text = NULL;
    sq_status rc;
    memset(out, 0, sizeof *out);
    SQ_TRY(sq_h5_open(path, &h5));
    SQ_TRY(sq_h5_read_text(h5, "manifest", "hash", &text));
    SQ_TRY(sq_hash_parse(text, &out->hash));
    SQ_TRY(sq_h5_shape(h5, "manifest/rows", &type, &rank, dim));
    SQ_TRY(load_rows(h5, out, rank == 1 ? dim[0] : 0));
cleanup:
    sq_free(text);
    sq_h5_abandon(h5);
    if (rc != SQ_OK)
        sq_manifest_clear(out);
    return rc;
}

/* ---- The seal ---- */

static sq_status hash_part(int fd, const char *path, uint64_t bytes, int rank, int size,
                           int64_t *word)
{
    unsigned char *buffer = NULL;
    sq_status rc;
    SQ_TRY(sq_alloc(&buffer, BLOCK, 1, "file buffer"));
    for (uint64_t b = (uint64_t)rank; b * BLOCK < bytes; b += (uint64_t)size) {
        sq_pulse(NULL);
        size_t n = bytes - b * BLOCK < BLOCK ? (size_t)(bytes - b * BLOCK) : BLOCK, done = 0;
        while (done < n) {
            ssize_t got =
                pread(fd, buffer + done, n - done, (off_t)(SQ_USER_BLOCK + b * BLOCK + done));
            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0)
                SQ_TRY(sq_fail(SQ_ERR_IO, "%s: cannot read: %s", path,
                               got ? strerror(errno) : "the file became shorter"));
            done += (size_t)got;
        }
        sq_hash h = sq_hash_bytes(buffer, n);
        memcpy(&word[2 * b], &h, sizeof h);
    }
cleanup:
    sq_free(buffer);
    return rc;
}

sq_status sq_seal_compute(const char *path, const sq_comm *comm, sq_hash *hash, uint64_t *bytes)
{
    struct stat info;
    int64_t *word = NULL;
    uint64_t blocks = 0;
    sq_status rc = SQ_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0)
        rc = sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    else if (info.st_size < SQ_USER_BLOCK)
        rc = sq_fail(SQ_ERR_FORMAT, "%s: too short for a release", path);
    *bytes = rc == SQ_OK ? (uint64_t)info.st_size - SQ_USER_BLOCK : 0;
    blocks = (*bytes + BLOCK - 1) / BLOCK;
    if (rc == SQ_OK)
        rc = SQ_ALLOC(word, 2 * blocks + 1, "hashes of blocks");
    if (rc == SQ_OK)
        rc = hash_part(fd, path, *bytes, comm ? sq_comm_rank(comm) : 0,
                       comm ? sq_comm_size(comm) : 1, word);
    if (fd >= 0)
        close(fd);
    if (comm)
        rc = sq_comm_agree(comm, rc);
    if (rc == SQ_OK && comm)
        rc = sq_comm_reduce_i64(comm, SQ_SUM, word, (int)(2 * blocks));
    if (rc == SQ_OK)
        *hash = sq_hash_bytes(word, (size_t)(2 * blocks) * sizeof *word);
    sq_free(word);
    return rc;
}

static int seal_text(const char *kind, sq_hash hash, uint64_t bytes, sq_hash manifest,
                     char out[SQ_USER_BLOCK])
{
    char content[SQ_HASH_TEXT], list[SQ_HASH_TEXT];
    memset(out, 0, SQ_USER_BLOCK);
    sq_hash_text(hash, content);
    sq_hash_text(manifest, list);
    return snprintf(out, SQ_USER_BLOCK,
                    "skyquilt %s 1\nHDF5 begins at byte %d\nbytes %" PRIu64
                    "\nxxh3 %s\nmanifest %s\n",
                    kind, SQ_USER_BLOCK, bytes, content, list);
}

static sq_status write_seal(const char *path, const char *kind, sq_hash hash, uint64_t bytes,
                            sq_hash manifest)
{
    char block[SQ_USER_BLOCK];
    seal_text(kind, hash, bytes, manifest, block);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return sq_fail(SQ_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    sq_status rc = sq_durable_write(fd, path, block, sizeof block);
    close(fd);
    return rc;
}

sq_status sq_seal_write(const char *path, sq_hash hash, uint64_t bytes, sq_hash manifest)
{
    return write_seal(path, "release", hash, bytes, manifest);
}

sq_status sq_seal_data(const char *path)
{
    sq_hash hash;
    uint64_t bytes;
    sq_status rc = sq_seal_compute(path, NULL, &hash, &bytes);
    return rc == SQ_OK ? write_seal(path, "data", hash, bytes, (sq_hash){0}) : rc;
}

sq_status sq_seal_read(const char *path, const char *kind, sq_hash *hash, uint64_t *bytes,
                       sq_hash *manifest)
{
    char block[SQ_USER_BLOCK + 1] = "", again[SQ_USER_BLOCK], content[64] = "", list[64] = "";
    FILE *file = fopen(path, "rb");
    if (!file)
        return sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    size_t n = fread(block, 1, SQ_USER_BLOCK, file);
    fclose(file);
    if (n < SQ_USER_BLOCK || memcmp(block, "skyquilt", 8) != 0)
        return sq_fail(SQ_ERR_FORMAT, "%s: not a sealed file of skyquilt", path);
    /* What is read back must print as the same block: so no bit of it can differ unseen. */
    if (sscanf(block,
               "skyquilt %*s 1\nHDF5 begins at byte %*d\nbytes %" SCNu64
               "\nxxh3 %63s\nmanifest %63s",
               bytes, content, list) != 3 ||
        sq_hash_parse(content, hash) != SQ_OK || sq_hash_parse(list, manifest) != SQ_OK)
        return sq_fail(SQ_ERR_CORRUPT, "%s: the seal in the first %d bytes is damaged", path,
                       SQ_USER_BLOCK);
    seal_text(kind, *hash, *bytes, *manifest, again);
    if (memcmp(block, again, SQ_USER_BLOCK) != 0)
        return sq_fail(SQ_ERR_CORRUPT, "%s: the seal in the first %d bytes is damaged", path,
                       SQ_USER_BLOCK);
    return SQ_OK;
}
