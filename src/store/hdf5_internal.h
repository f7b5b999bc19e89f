/* What every file of this layer that calls HDF5 shares: quiet errors with a reason, file types,
 * handles without time stamps. File types are little-endian and of fixed width. Local. */
#ifndef SQ_STORE_HDF5_INTERNAL_H
#define SQ_STORE_HDF5_INTERNAL_H

#include <hdf5.h>

#include "base/status.h"
#include "store/tensor.h"

void sq_hdf5_quiet(void); /* no error stack on standard error */
/* SQ_ERR_IO "path: what: reason", the reason from HDF5's own error stack. */
sq_status sq_hdf5_fail(const char *path, const char *what);
hid_t sq_hdf5_file_type(sq_dtype type);   /* a new type handle, < 0 on failure */
hid_t sq_hdf5_memory_type(sq_dtype type); /* borrowed; F16 has none: -1 */
hid_t sq_hdf5_text_type(int width);       /* a fixed-width, NUL-padded UTF-8 string: a new handle */
int sq_hdf5_dtype(hid_t type, sq_dtype *out); /* 1 when `type` is one of ours */
hid_t sq_hdf5_file_properties(void);          /* creation properties of a file, a group, a link */
hid_t sq_hdf5_group_properties(void);
hid_t sq_hdf5_link_properties(void);
/* Closing a dataset is what brings its last bytes to the file: it fails as a write does. `rc` is how
 * it went before, and what is returned then. Nothing happens for a dataset < 0. */
sq_status sq_hdf5_close_dataset(hid_t set, const char *path, const char *name, sq_status rc);
sq_status sq_hdf5_attribute(hid_t object, const char *path, const char *name, const char *text);
sq_status sq_hdf5_attribute_f64(hid_t object, const char *path, const char *name, double value);
sq_status sq_hdf5_attribute_i64(hid_t object, const char *path, const char *name, int64_t value);
/* A text attribute as an allocated string, SQ_ERR_FORMAT when it is missing. */
sq_status sq_hdf5_attribute_get(hid_t object, const char *path, const char *name, char **text);

#endif
