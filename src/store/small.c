#include "store/small_internal.h"

#include <string.h>

#include "store/hdf5_internal.h"

sq_status sq_small_group(hid_t parent, const char *path, const char *name, const char *description,
                         hid_t *out)
{
    hid_t create = sq_hdf5_group_properties();
    *out = H5Gcreate2(parent, name, H5P_DEFAULT, create, H5P_DEFAULT);
    H5Pclose(create);
    if (*out < 0)
        return sq_hdf5_fail(path, name);
    return description ? sq_hdf5_attribute(*out, path, "description", description) : SQ_OK;
}

/* n < 0: a scalar. */
static sq_status put(hid_t group, const char *path, const char *name, hid_t type, hid_t memory,
                     int64_t n, const void *data, const char *description)
{
    hsize_t dim = n < 0 ? 1 : (hsize_t)n;
    hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = n < 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &dim, NULL);
    H5Pset_obj_track_times(create, 0);
    hid_t set = H5Dcreate2(group, name, type, space, H5P_DEFAULT, create, H5P_DEFAULT);
    sq_status rc = set < 0 ? sq_hdf5_fail(path, name) : SQ_OK;
    if (rc == SQ_OK && n != 0 && data &&
        H5Dwrite(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        rc = sq_hdf5_fail(path, name);
    if (rc == SQ_OK && description)
        rc = sq_hdf5_attribute(set, path, "description", description);
    rc = sq_hdf5_close_dataset(set, path, name, rc);
    H5Sclose(space);
    H5Pclose(create);
    return rc;
}

static sq_status put_part(hid_t group, const char *path, const char *name, hid_t memory,
                          int64_t first, int64_t n, const void *data)
{
    hsize_t start = (hsize_t)first, count = (hsize_t)n;
    sq_status rc = SQ_OK;
    if (n == 0)
        return SQ_OK;
    hid_t set = H5Dopen2(group, name, H5P_DEFAULT);
    if (set < 0)
        return sq_hdf5_fail(path, name);
    hid_t space = H5Dget_space(set), box = H5Screate_simple(1, &count, NULL);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL);
    if (H5Dwrite(set, memory, box, space, H5P_DEFAULT, data) < 0)
        rc = sq_hdf5_fail(path, name);
    H5Sclose(box);
    H5Sclose(space);
    return sq_hdf5_close_dataset(set, path, name, rc);
}

sq_status sq_small_numbers_part(hid_t group, const char *path, const char *name, sq_dtype type,
                                int64_t first, int64_t n, const void *data)
{
    return put_part(group, path, name, sq_hdf5_memory_type(type), first, n, data);
}

sq_status sq_small_texts_part(hid_t group, const char *path, const char *name, int width,
                              int64_t first, int64_t n, const char *data)
{
    hid_t type = sq_hdf5_text_type(width);
    sq_status rc = put_part(group, path, name, type, first, n, data);
    H5Tclose(type);
    return rc;
}

sq_status sq_small_numbers(hid_t group, const char *path, const char *name, sq_dtype type,
                           int64_t n, const void *data, const char *description)
{
    hid_t file_type = sq_hdf5_file_type(type);
    sq_status rc =
        put(group, path, name, file_type, sq_hdf5_memory_type(type), n, data, description);
    H5Tclose(file_type);
    return rc;
}

sq_status sq_small_texts(hid_t group, const char *path, const char *name, int width, int64_t n,
                         const char *data, const char *description)
{
    hid_t type = sq_hdf5_text_type(width);
    sq_status rc = put(group, path, name, type, type, n, data, description);
    H5Tclose(type);
    return rc;
}

sq_status sq_small_text(hid_t group, const char *path, const char *name, const char *text)
{
    size_t size = strlen(text);
    hid_t type = sq_hdf5_text_type(size ? (int)size : 1);
    sq_status rc = put(group, path, name, type, type, -1, text, NULL);
    H5Tclose(type);
    return rc;
}
