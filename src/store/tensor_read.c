/* Attributes, listings and reading. */
#include <limits.h>
#include <string.h>

#include "base/mem.h"
#include "store/half_internal.h"
#include "store/hdf5_internal.h"
#include "store/tensor_internal.h"

static sq_status open_object(sq_h5 *file, const char *name, hid_t *out)
{
    *out = H5Oopen(file->id, name, H5P_DEFAULT);
    if (*out >= 0)
        return SQ_OK;
    H5Eclear2(H5E_DEFAULT);
    return sq_fail(SQ_ERR_FORMAT, "%s: %s: no such object", file->path, name);
}

sq_status sq_h5_attribute_text(sq_h5 *file, const char *object, const char *name, const char *text)
{
    hid_t id;
    sq_status rc = open_object(file, object, &id);
    if (rc != SQ_OK)
        return rc;
    rc = sq_hdf5_attribute(id, file->path, name, text);
    H5Oclose(id);
    return rc;
}

sq_status sq_h5_attribute_real(sq_h5 *file, const char *object, const char *name, double value)
{
    hid_t id;
    sq_status rc = open_object(file, object, &id);
    if (rc != SQ_OK)
        return rc;
    rc = sq_hdf5_attribute_f64(id, file->path, name, value);
    H5Oclose(id);
    return rc;
}

sq_status sq_h5_read_text(sq_h5 *file, const char *object, const char *name, char **text)
{
    hid_t id;
    sq_status rc = open_object(file, object, &id);
    if (rc != SQ_OK)
        return rc;
    rc = sq_hdf5_attribute_get(id, file->path, name, text);
    H5Oclose(id);
    return rc;
}

sq_status sq_h5_read_real(sq_h5 *file, const char *object, const char *name, double *value)
{
    hid_t id;
    sq_status rc = open_object(file, object, &id);
    if (rc != SQ_OK)
        return rc;
    hid_t attribute = H5Aexists(id, name) > 0 ? H5Aopen(id, name, H5P_DEFAULT) : -1;
    hid_t space = attribute >= 0 ? H5Aget_space(attribute) : -1;
    if (space < 0 || H5Sget_simple_extent_npoints(space) != 1 ||
        H5Aread(attribute, H5T_NATIVE_DOUBLE, value) < 0) {
        H5Eclear2(H5E_DEFAULT);
        rc =
            sq_fail(SQ_ERR_FORMAT, "%s: attribute %s: missing or not one number", file->path, name);
    }
    if (space >= 0)
        H5Sclose(space);
    if (attribute >= 0)
        H5Aclose(attribute);
    H5Oclose(id);
    return rc;
}

int sq_h5_has(sq_h5 *file, const char *name)
{
    hid_t id = H5Oopen(file->id, name, H5P_DEFAULT);
    H5Eclear2(H5E_DEFAULT);
    if (id < 0)
        return 0;
    H5Oclose(id);
    return 1;
}

typedef struct listing {
    H5O_type_t type;
    char **name;
    size_t count, capacity;
    sq_status rc;
} listing;

static herr_t list_one(hid_t group, const char *name, const H5L_info_t *info, void *user)
{
    listing *list = user;
    H5O_info_t object;
    (void)info;
    if (H5Oget_info_by_name2(group, name, &object, H5O_INFO_BASIC, H5P_DEFAULT) < 0 ||
        object.type != list->type)
        return 0;
    list->rc = SQ_GROW(list->name, list->capacity, list->count + 1, "names");
    if (list->rc == SQ_OK)
        list->rc = sq_strdup(&list->name[list->count], name);
    if (list->rc != SQ_OK)
        return -1;
    list->count++;
    return 0;
}

void sq_h5_free_names(char **names, int count)
{
    for (int i = 0; i < count; i++)
        sq_free(names[i]);
    sq_free(names);
}

static sq_status list_objects(sq_h5 *file, const char *group, H5O_type_t type, char ***names,
                              int *count)
{
    listing list = {.type = type};
    hid_t id = H5Gopen2(file->id, group, H5P_DEFAULT);
    if (id < 0) {
        H5Eclear2(H5E_DEFAULT);
        return sq_fail(SQ_ERR_FORMAT, "%s: %s: no such group", file->path, group);
    }
    herr_t bad = H5Literate(id, H5_INDEX_NAME, H5_ITER_INC, NULL, list_one, &list);
    if (bad < 0 && list.rc == SQ_OK)
        list.rc = sq_hdf5_fail(file->path, group);
    H5Gclose(id);
    if (list.rc != SQ_OK) {
        sq_h5_free_names(list.name, (int)list.count);
        return list.rc;
    }
    *names = list.name;
    *count = (int)list.count;
    return SQ_OK;
}

sq_status sq_h5_list(sq_h5 *file, const char *group, char ***names, int *count)
{
    return list_objects(file, group, H5O_TYPE_DATASET, names, count);
}

sq_status sq_h5_groups(sq_h5 *file, const char *group, char ***names, int *count)
{
    return list_objects(file, group, H5O_TYPE_GROUP, names, count);
}

static sq_status open_dataset(sq_h5 *file, const char *name, hid_t *set)
{
    *set = H5Dopen2(file->id, name, H5P_DEFAULT);
    if (*set >= 0)
        return SQ_OK;
    H5Eclear2(H5E_DEFAULT);
    return sq_fail(SQ_ERR_FORMAT, "%s: %s: no such dataset", file->path, name);
}

static sq_status dataset_shape(const char *path, const char *name, hid_t set, sq_dtype *type,
                               int *rank, int64_t dim[8])
{
    hsize_t size[H5S_MAX_RANK];
    hid_t space = H5Dget_space(set), stored = H5Dget_type(set);
    sq_status rc = SQ_OK;
    *rank = H5Sget_simple_extent_ndims(space);
    if (*rank < 1 || *rank > SQ_H5_MAX_RANK || !sq_hdf5_dtype(stored, type))
        rc = sq_fail(SQ_ERR_FORMAT, "%s: %s: rank or type is not one this program reads", path,
                     name);
    else
        H5Sget_simple_extent_dims(space, size, NULL);
    for (int i = 0; rc == SQ_OK && i < *rank; i++)
        dim[i] = (int64_t)size[i];
    H5Tclose(stored);
    H5Sclose(space);
    return rc;
}

sq_status sq_h5_shape(sq_h5 *file, const char *name, sq_dtype *type, int *rank, int64_t dim[8])
{
    hid_t set;
    sq_status rc = open_dataset(file, name, &set);
    if (rc != SQ_OK)
        return rc;
    rc = dataset_shape(file->path, name, set, type, rank, dim);
    H5Dclose(set);
    return rc;
}

static sq_status read_rows(sq_h5 *file, const char *name, hid_t set, int rank, const int64_t *dim,
                           hid_t memory, int64_t first, int64_t count, void *out)
{
    hsize_t start[SQ_H5_MAX_RANK] = {0}, size[SQ_H5_MAX_RANK];
    for (int i = 0; i < rank; i++)
        size[i] = (hsize_t)dim[i];
    start[0] = (hsize_t)first;
    size[0] = (hsize_t)count;
    hid_t space = H5Dget_space(set), box = H5Screate_simple(rank, size, NULL);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, size, NULL);
    herr_t bad = H5Dread(set, memory, box, space, H5P_DEFAULT, out);
    H5Sclose(box);
    H5Sclose(space);
    return bad < 0 ? sq_hdf5_fail(file->path, name) : SQ_OK;
}

static sq_status read_half(sq_h5 *file, const char *name, hid_t set, int rank, const int64_t *dim,
                           int64_t first, int64_t count, float *out)
{
    int64_t n = count * sq_h5_row(rank, dim);
    uint16_t *half = NULL;
    hid_t type = sq_hdf5_file_type(SQ_F16);
    sq_status rc;
    SQ_TRY(SQ_ALLOC(half, n ? n : 1, "half-precision rows"));
    SQ_TRY(read_rows(file, name, set, rank, dim, type, first, count, half));
    for (int64_t i = 0; i < n; i++)
        out[i] = sq_half_to_float(half[i]);
cleanup:
    H5Tclose(type);
    sq_free(half);
    return rc;
}

sq_status sq_h5_read(sq_h5 *file, const char *name, sq_dtype type, int64_t first, int64_t count,
                     void *out)
{
    sq_dtype stored;
    int rank;
    int64_t dim[SQ_H5_MAX_RANK];
    hid_t set, memory = sq_hdf5_memory_type(type);
    if (memory < 0)
        return sq_fail(SQ_ERR_USAGE, "%s: %s: cannot read into that type", file->path, name);
    sq_status rc = open_dataset(file, name, &set);
    if (rc != SQ_OK)
        return rc;
    SQ_TRY(dataset_shape(file->path, name, set, &stored, &rank, dim));
    if (first < 0 || count < 0 || first > dim[0] - count)
        SQ_TRY(sq_fail(SQ_ERR_USAGE, "%s: %s: rows %lld to %lld of %lld", file->path, name,
                       (long long)first, (long long)(first + count), (long long)dim[0]));
    if (count == 0)
        goto cleanup;
    if (stored == SQ_F16 && type == SQ_F32)
        SQ_TRY(read_half(file, name, set, rank, dim, first, count, out));
    else
        SQ_TRY(read_rows(file, name, set, rank, dim, memory, first, count, out));
cleanup:
    H5Dclose(set);
    return rc;
}

sq_status sq_h5_read_rows_text(sq_h5 *file, const char *name, int width, int64_t first,
                               int64_t count, char *out)
{
    hsize_t dim[H5S_MAX_RANK] = {0};
    hid_t set;
    sq_status rc = open_dataset(file, name, &set);
    if (rc != SQ_OK)
        return rc;
    hid_t space = H5Dget_space(set), stored = H5Dget_type(set), memory = sq_hdf5_text_type(width);
    int rank = H5Sget_simple_extent_ndims(space);
    if (rank == 1)
        H5Sget_simple_extent_dims(space, dim, NULL);
    int64_t rows = (int64_t)dim[0];
    if (rank != 1 || H5Tget_class(stored) != H5T_STRING || H5Tis_variable_str(stored) > 0)
        rc = sq_fail(SQ_ERR_FORMAT, "%s: %s: not a column of texts", file->path, name);
    else if (first < 0 || count < 0 || first > rows - count)
        rc = sq_fail(SQ_ERR_USAGE, "%s: %s: rows %lld to %lld of %lld", file->path, name,
                     (long long)first, (long long)(first + count), (long long)rows);
    else if (count)
        rc = read_rows(file, name, set, 1, &rows, memory, first, count, out);
    H5Tclose(memory);
    H5Tclose(stored);
    H5Sclose(space);
    H5Dclose(set);
    return rc;
}

sq_status sq_h5_text_shape(sq_h5 *file, const char *name, int *width, int64_t *count)
{
    hid_t set;
    sq_status rc = open_dataset(file, name, &set);
    if (rc != SQ_OK)
        return rc;
    hid_t space = H5Dget_space(set), stored = H5Dget_type(set);
    if (H5Tget_class(stored) != H5T_STRING || H5Tis_variable_str(stored) > 0 ||
        H5Sget_simple_extent_ndims(space) > 1 || H5Tget_size(stored) > INT_MAX)
        rc = sq_fail(SQ_ERR_FORMAT, "%s: %s: not a text of fixed width", file->path, name);
    *width = rc == SQ_OK ? (int)H5Tget_size(stored) : 0;
    *count = rc == SQ_OK ? (int64_t)H5Sget_simple_extent_npoints(space) : 0;
    H5Tclose(stored);
    H5Sclose(space);
    H5Dclose(set);
    return rc;
}

sq_status sq_h5_read_string(sq_h5 *file, const char *name, char **text)
{
    int width;
    int64_t count;
    hid_t set = -1, type = -1;
    sq_status rc = sq_h5_text_shape(file, name, &width, &count);
    *text = NULL;
    if (rc == SQ_OK && count != 1)
        rc = sq_fail(SQ_ERR_FORMAT, "%s: %s: %lld texts instead of one", file->path, name,
                     (long long)count);
    if (rc != SQ_OK)
        return rc;
    SQ_TRY(sq_alloc(text, (size_t)width + 1, 1, "text"));
    SQ_TRY(open_dataset(file, name, &set));
    type = sq_hdf5_text_type(width);
    if (H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, *text) < 0)
        rc = sq_hdf5_fail(file->path, name);
cleanup:
    if (set >= 0)
        H5Dclose(set);
    if (type >= 0)
        H5Tclose(type);
    if (rc != SQ_OK) {
        sq_free(*text);
        *text = NULL;
    }
    return rc;
}

sq_status sq_h5_read_f32(sq_h5 *file, const char *name, int64_t first, int64_t count, float *out)
{
    return sq_h5_read(file, name, SQ_F32, first, count, out);
}
