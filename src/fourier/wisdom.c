/* The wisdom file: a first line "skyquilt wisdom 1", then for each precision a line "double BYTES"
 * or "single BYTES" and FFTW's own text. */
#include <errno.h>
#include <fftw3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/files.h"
#include "base/mem.h"
#include "fourier/fft_internal.h"

enum { WISDOM_MAX = 64 << 20 };

static const char magic[] = "skyquilt wisdom 1\n";

static pthread_mutex_t planner = PTHREAD_MUTEX_INITIALIZER;
static unsigned policy = FFTW_ESTIMATE;

unsigned sq_fft_planner_lock(void)
{
    pthread_mutex_lock(&planner);
    return policy;
}

void sq_fft_planner_unlock(void)
{
    pthread_mutex_unlock(&planner);
}

static void set_policy(unsigned flags)
{
    pthread_mutex_lock(&planner);
    policy = flags;
    pthread_mutex_unlock(&planner);
}

sq_status sq_fft_no_plan(int ny, int nx, const char *precision)
{
    return sq_fail(SQ_ERR_CONFIG,
                   "FFT: the wisdom file has no %s-precision plan for %d x %d: make it with "
                   "'skyquilt bench fft --sizes %dx%d --wisdom FILE'",
                   precision, ny, nx, ny, nx);
}

void sq_fft_wisdom_forget(void)
{
    pthread_mutex_lock(&planner);
    fftw_forget_wisdom();
    fftwf_forget_wisdom();
    policy = FFTW_ESTIMATE;
    pthread_mutex_unlock(&planner);
}

/* One section; `text` moves behind it. FFTW wants its text terminated, so that it is copied. */
static sq_status import_section(const char *path, const char *name, const char **text,
                                const char *end, int (*import)(const char *))
{
    size_t head = strlen(name), bytes = 0;
    char *copy = NULL, *after;
    sq_status rc = SQ_OK;
    if ((size_t)(end - *text) <= head || strncmp(*text, name, head) != 0 || (*text)[head] != ' ')
        return sq_fail(SQ_ERR_CONFIG, "%s: not a wisdom file: no section '%s'", path, name);
    bytes = strtoul(*text + head + 1, &after, 10);
    if (*after != '\n' || bytes > (size_t)(end - after - 1))
        return sq_fail(SQ_ERR_CONFIG, "%s: section '%s' is cut off", path, name);
    SQ_TRY(sq_alloc(&copy, bytes + 1, 1, "wisdom"));
    memcpy(copy, after + 1, bytes);
    if (strlen(copy) != bytes || !import(copy)) {
        rc = sq_fail(SQ_ERR_CONFIG, "%s: section '%s' does not fit this FFTW, %s", path, name,
                     sq_fft_version());
        goto cleanup;
    }
    *text = after + 1 + bytes;
cleanup:
    sq_free(copy);
    return rc;
}

sq_status sq_fft_wisdom_parse(const void *data, size_t size, const char *name, sq_hash *hash)
{
    sq_status rc = SQ_OK;
    const char *text = data, *at = text + strlen(magic), *end = text + size;
    if (size < strlen(magic) || memcmp(text, magic, strlen(magic)) != 0)
        return sq_fail(SQ_ERR_CONFIG, "%s: not a wisdom file: its first line is not '%.17s'", name,
                       magic);
    sq_fft_wisdom_forget();
    SQ_TRY(import_section(name, "double", &at, end, fftw_import_wisdom_from_string));
    SQ_TRY(import_section(name, "single", &at, end, fftwf_import_wisdom_from_string));
    /* FFTW_MEASURE says which grade of recorded plans will do; nothing is measured. */
    set_policy(FFTW_WISDOM_ONLY | FFTW_MEASURE);
    if (hash)
        *hash = sq_hash_bytes(text, size);
cleanup:
    return rc;
}

sq_status sq_fft_wisdom_load(const char *path, sq_hash *hash)
{
    char *text = NULL;
    size_t size = 0;
    sq_status rc = sq_file_read(path, WISDOM_MAX, &text, &size);
    if (rc == SQ_OK)
        rc = sq_fft_wisdom_parse(text, size, path, hash);
    sq_free(text);
    return rc;
}

sq_status sq_fft_wisdom_learn(int ny, int nx, int patient)
{
    sq_status rc = SQ_OK;
    sq_fft *fft = NULL;
    sq_fftf *fftf = NULL;
    unsigned before = sq_fft_planner_lock();
    sq_fft_planner_unlock();
    set_policy(patient ? FFTW_PATIENT : FFTW_MEASURE);
    SQ_TRY(sq_fft_create(ny, nx, &fft));
    SQ_TRY(sq_fftf_create(ny, nx, &fftf));
cleanup:
    set_policy(before);
    sq_fft_destroy(fft);
    sq_fftf_destroy(fftf);
    return rc;
}

sq_status sq_fft_wisdom_save(const char *path)
{
    sq_status rc = SQ_OK;
    char *partial = NULL;
    size_t length = strlen(path) + sizeof ".partial";
    /* FFTW allocates these with its own malloc. */
    char *wide = fftw_export_wisdom_to_string(), *narrow = fftwf_export_wisdom_to_string();
    FILE *file = NULL;
    if (!wide || !narrow) {
        rc = sq_fail(SQ_ERR_NOMEM, "%s: cannot export wisdom", path);
        goto cleanup;
    }
    SQ_TRY(sq_alloc(&partial, length, 1, "wisdom path"));
    snprintf(partial, length, "%s.partial", path);
    file = fopen(partial, "wb");
    int bad = !file;
    if (file) {
        bad |= fprintf(file, "%sdouble %zu\n%s", magic, strlen(wide), wide) < 0;
        bad |= fprintf(file, "single %zu\n%s", strlen(narrow), narrow) < 0;
        bad |= fflush(file) != 0 || fsync(fileno(file)) != 0;
        bad |= fclose(file) != 0;
    }
    if (bad || rename(partial, path) != 0)
        rc = sq_fail(SQ_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
cleanup:
    sq_free(partial);
    free(wide);
    free(narrow);
    return rc;
}

const char *sq_fft_version(void)
{
    return fftw_version;
}
