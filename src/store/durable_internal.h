/* Making files durable: fsync of a file and of its folder, and the rename that completes a file.
 * Local. */
#ifndef SQ_STORE_DURABLE_INTERNAL_H
#define SQ_STORE_DURABLE_INTERNAL_H

#include <stddef.h>

#include "base/status.h"

sq_status sq_durable_fd(int fd, const char *path); /* fsync */
sq_status sq_durable_file(const char *path);       /* open, fsync, close */
sq_status sq_durable_folder_of(const char *path);  /* fsync the folder that holds `path` */
sq_status sq_durable_folder(const char *path);     /* fsync the folder itself */
/* fsync `partial`, rename it to `path`, fsync the folder. */
sq_status sq_durable_rename(const char *partial, const char *path);
/* Write all of a buffer, through interruptions and short writes. */
sq_status sq_durable_write(int fd, const char *path, const void *data, size_t size);

#endif
