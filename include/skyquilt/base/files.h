/* Whole files, each opened once: networks, FFTW wisdom, tables.
 *
 * A set of files keeps the bytes of every file that was read through it. In a run rank 0 reads, the
 * other ranks receive its files (sq_files_put) into a closed set, which opens nothing: so that a job
 * opens such a file once, however many ranks it has. Bytes are borrowed until the set is destroyed.
 * One thread at a time. Local. */
#ifndef SQ_BASE_FILES_H
#define SQ_BASE_FILES_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { SQ_FILES_MAX = 1 << 30 }; /* bytes of one file */

/* A regular file of at most `limit` bytes, and a NUL behind it. *data: sq_free. SQ_ERR_CONFIG when
 * there is none or it is larger, SQ_ERR_IO when it cannot be read. */
sq_status sq_file_read(const char *path, uint64_t limit, char **data, size_t *size);

typedef struct sq_files sq_files;

/* closed: files that were not put are an error instead of being opened. */
sq_status sq_files_create(int closed, sq_files **out);
void sq_files_destroy(sq_files *files); /* accepts NULL */
/* The same file gives the same bytes. Errors as of sq_file_read. */
sq_status sq_files_read(sq_files *files, const char *path, const void **data, size_t *size);
/* A copy. */
sq_status sq_files_put(sq_files *files, const char *path, const void *data, size_t size);
/* The files so far, in the order of their first reading. */
int sq_files_count(const sq_files *files);
const char *sq_files_at(const sq_files *files, int i, const void **data, size_t *size);

#endif
