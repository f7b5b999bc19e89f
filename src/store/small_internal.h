/* Small datasets that one process writes with HDF5 as it is: contiguous, without time stamps.
 * Local. */
#ifndef SQ_STORE_SMALL_INTERNAL_H
#define SQ_STORE_SMALL_INTERNAL_H

#include <hdf5.h>

#include "base/status.h"
#include "store/tensor.h"

sq_status sq_small_group(hid_t parent, const char *path, const char *name, const char *description,
                         hid_t *out);
sq_status sq_small_numbers(hid_t group, const char *path, const char *name, sq_dtype type,
                           int64_t n, const void *data, const char *description);
sq_status sq_small_texts(hid_t group, const char *path, const char *name, int width, int64_t n,
                         const char *data, const char *description);
/* `data` NULL above: the values come later, n of them from `first` on. */
sq_status sq_small_numbers_part(hid_t group, const char *path, const char *name, sq_dtype type,
                                int64_t first, int64_t n, const void *data);
sq_status sq_small_texts_part(hid_t group, const char *path, const char *name, int width,
                              int64_t first, int64_t n, const char *data);
sq_status sq_small_text(hid_t group, const char *path, const char *name,
                        const char *text); /* a scalar */

#endif
