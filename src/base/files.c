#include "base/files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"

typedef struct file {
    char *path, *data;
    size_t size;
} file;

struct sq_files {
    file *file;
    size_t count, capacity;
    int closed;
};

static sq_status read_all(FILE *in, const char *path, uint64_t limit, char **data, size_t *size)
{
    struct stat st;
    if (fstat(fileno(in), &st) != 0 || !S_ISREG(st.st_mode))
        return sq_fail(SQ_ERR_CONFIG, "%s: not a regular file", path);
    if ((uint64_t)st.st_size > limit)
        return sq_fail(SQ_ERR_CONFIG, "%s: %lld bytes, the limit is %llu", path,
                       (long long)st.st_size, (unsigned long long)limit);
    sq_status rc = SQ_ALLOC(*data, st.st_size + 1, path);
    if (rc != SQ_OK)
        return rc;
    *size = fread(*data, 1, (size_t)st.st_size, in);
    if (*size == (size_t)st.st_size)
        return SQ_OK;
    sq_free(*data);
    *data = NULL;
    return sq_fail(SQ_ERR_IO, "%s: cannot read: %s", path,
                   ferror(in) ? strerror(errno) : "it became shorter");
}

sq_status sq_file_read(const char *path, uint64_t limit, char **data, size_t *size)
{
    *data = NULL;
    *size = 0;
    FILE *in = fopen(path, "rbe");
    if (!in)
        return sq_fail(SQ_ERR_CONFIG, "%s: cannot open: %s", path, strerror(errno));
    sq_status rc = read_all(in, path, limit, data, size);
    fclose(in);
    return rc;
}

sq_status sq_files_create(int closed, sq_files **out)
{
    sq_status rc = sq_alloc(out, 1, sizeof **out, "files");
    if (rc == SQ_OK)
        (*out)->closed = closed;
    return rc;
}

void sq_files_destroy(sq_files *files)
{
    for (size_t i = 0; files && i < files->count; i++) {
        sq_free(files->file[i].path);
        sq_free(files->file[i].data);
    }
    if (files)
        sq_free(files->file);
    sq_free(files);
}

static const file *find(const sq_files *files, const char *path)
{
    for (size_t i = 0; i < files->count; i++) {
        if (strcmp(files->file[i].path, path) == 0)
            return &files->file[i];
    }
    return NULL;
}

/* `data` is taken over, also on failure. */
static sq_status add(sq_files *files, const char *path, char *data, size_t size)
{
    char *name = NULL;
    sq_status rc;
    SQ_TRY(sq_strdup(&name, path));
    SQ_TRY(SQ_GROW(files->file, files->capacity, files->count + 1, "files"));
    files->file[files->count++] = (file){name, data, size};
    return SQ_OK;
cleanup:
    sq_free(name);
    sq_free(data);
    return rc;
}

sq_status sq_files_put(sq_files *files, const char *path, const void *data, size_t size)
{
    char *copy = NULL;
    sq_status rc = SQ_ALLOC(copy, size + 1, path);
    if (rc != SQ_OK)
        return rc;
    if (size)
        memcpy(copy, data, size);
    return add(files, path, copy, size);
}

sq_status sq_files_read(sq_files *files, const char *path, const void **data, size_t *size)
{
    char *bytes = NULL;
    size_t length;
    sq_status rc = SQ_OK;
    const file *f = find(files, path);
    if (!f && files->closed)
        return sq_fail(SQ_ERR_INTERNAL, "%s: is read here but not on rank 0", path);
    if (!f) {
        SQ_TRY(sq_file_read(path, SQ_FILES_MAX, &bytes, &length));
        SQ_TRY(add(files, path, bytes, length));
        f = &files->file[files->count - 1];
    }
    *data = f->data;
    *size = f->size;
cleanup:
    return rc;
}

int sq_files_count(const sq_files *files)
{
    return (int)files->count;
}

const char *sq_files_at(const sq_files *files, int i, const void **data, size_t *size)
{
    *data = files->file[i].data;
    *size = files->file[i].size;
    return files->file[i].path;
}
