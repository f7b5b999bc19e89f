#include "store/tensor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/durable_internal.h"
#include "store/half_internal.h"
#include "store/hdf5_internal.h"

enum { MAX_RANK = 8, CHUNK_BYTES = 1 << 18, CHUNK_ROWS = 1 << 16 };

/* A dataset that is being appended to; kept open so that its last chunk stays in the cache. */
typedef struct growing {
    char *name;
    hid_t id;
    sq_dtype type;
    int width; /* of texts; 0 for numbers */
    int rank;
    int64_t dim[MAX_RANK];
} growing;

struct sq_h5 {
    char *path, *partial; /* partial is NULL for a file opened to read */
    hid_t id;
    growing *set;
    size_t count, capacity;
};

static void release(sq_h5 *file)
{
    for (size_t i = 0; i < file->count; i++) {
        if (file->set[i].id >= 0)
            H5Dclose(file->set[i].id);
        sq_free(file->set[i].name);
    }
    sq_free(file->set);
    file->set = NULL;
    file->count = 0;
}

static void destroy(sq_h5 *file)
{
    release(file);
    if (file->id >= 0)
        H5Fclose(file->id);
    sq_free(file->path);
    sq_free(file->partial);
    sq_free(file);
}

sq_status sq_h5_create(const char *path, sq_h5 **out)
{
    sq_status rc;
    sq_h5 *file = NULL;
    hid_t properties = -1;
    sq_hdf5_quiet();
    SQ_TRY(SQ_ALLOC(file, 1, "HDF5 file"));
    file->id = -1;
    SQ_TRY(sq_strdup(&file->path, path));
    SQ_TRY(sq_alloc(&file->partial, strlen(path) + sizeof ".partial", 1, "file name"));
    sprintf(file->partial, "%s.partial", path);
    properties = sq_hdf5_file_properties();
    file->id = H5Fcreate(file->partial, H5F_ACC_TRUNC, properties, H5P_DEFAULT);
    if (file->id < 0)
        SQ_TRY(sq_hdf5_fail(file->partial, "cannot create"));
    *out = file;
    file = NULL;
cleanup:
    if (properties >= 0)
        H5Pclose(properties);
    if (file)
        destroy(file);
    return rc;
}

sq_status sq_h5_open(const char *path, sq_h5 **out)
{
    sq_status rc;
    sq_h5 *file = NULL;
    sq_hdf5_quiet();
    if (access(path, R_OK) != 0)
        return sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    SQ_TRY(SQ_ALLOC(file, 1, "HDF5 file"));
    file->id = -1;
    SQ_TRY(sq_strdup(&file->path, path));
    if (H5Fis_hdf5(path) <= 0)
        SQ_TRY(sq_fail(SQ_ERR_FORMAT, "%s: not an HDF5 file", path));
    file->id = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file->id < 0) {
        sq_hdf5_fail(path, "cannot open");
        rc = SQ_ERR_FORMAT;
        goto cleanup;
    }
    *out = file;
    file = NULL;
cleanup:
    if (file)
        destroy(file);
    return rc;
}

static int64_t row_elements(int rank, const int64_t *dim)
{
    int64_t n = 1;
    for (int i = 1; i < rank; i++)
        n *= dim[i];
    return n;
}

static hid_t chunked(int64_t width, int rank, const int64_t *dim)
{
    hsize_t chunk[MAX_RANK];
    int64_t row = row_elements(rank, dim) * width;
    int64_t rows = row > 0 ? CHUNK_BYTES / row : 1;
    chunk[0] = (hsize_t)(rows < 1 ? 1 : rows > CHUNK_ROWS ? CHUNK_ROWS : rows);
    for (int i = 1; i < rank; i++)
        chunk[i] = dim[i] > 0 ? (hsize_t)dim[i] : 1;
    hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    if (list < 0)
        return list;
    H5Pset_obj_track_times(list, 0);
    H5Pset_fill_time(list, H5D_FILL_TIME_NEVER);
    if (H5Pset_chunk(list, rank, chunk) < 0) {
        H5Pclose(list);
        return -1;
    }
    return list;
}

static sq_status make_dataset(sq_h5 *file, growing *set)
{
    hsize_t dim[MAX_RANK], max[MAX_RANK];
    for (int i = 0; i < set->rank; i++)
        dim[i] = max[i] = (hsize_t)set->dim[i];
    dim[0] = 0;
    max[0] = H5S_UNLIMITED;
    hid_t type = set->width ? sq_hdf5_text_type(set->width) : sq_hdf5_file_type(set->type);
    int64_t bytes = set->width ? set->width : sq_dtype_size(set->type);
    hid_t create = chunked(bytes, set->rank, set->dim);
    hid_t space = H5Screate_simple(set->rank, dim, max), link = sq_hdf5_link_properties();
    if (create >= 0)
        set->id = H5Dcreate2(file->id, set->name, type, space, link, create, H5P_DEFAULT);
    sq_status rc = set->id < 0 ? sq_hdf5_fail(file->partial, set->name) : SQ_OK;
    H5Pclose(link);
    H5Sclose(space);
    if (create >= 0)
        H5Pclose(create);
    H5Tclose(type);
    return rc;
}

static sq_status new_growing(sq_h5 *file, const char *name, sq_dtype type, int width, int rank,
                             const int64_t *dim, growing **out)
{
    sq_status rc = SQ_GROW(file->set, file->capacity, file->count + 1, "datasets");
    if (rc != SQ_OK)
        return rc;
    growing *set = &file->set[file->count];
    *set = (growing){.id = -1, .type = type, .width = width, .rank = rank};
    memcpy(set->dim, dim, (size_t)rank * sizeof *dim);
    set->dim[0] = 0;
    SQ_TRY(sq_strdup(&set->name, name));
    SQ_TRY(make_dataset(file, set));
    file->count++;
    *out = set;
    return SQ_OK;
cleanup:
    sq_free(set->name);
    return rc;
}

static sq_status find_growing(sq_h5 *file, const char *name, sq_dtype type, int width, int rank,
                              const int64_t *dim, growing **out)
{
    for (size_t i = 0; i < file->count; i++) {
        growing *set = &file->set[i];
        if (strcmp(set->name, name) != 0)
            continue;
        if (set->type != type || set->width != width || set->rank != rank ||
            memcmp(set->dim + 1, dim + 1, (size_t)(rank - 1) * sizeof *dim) != 0)
            return sq_fail(SQ_ERR_USAGE, "%s: %s: type or shape differs from the first rows",
                           file->path, name);
        *out = set;
        return SQ_OK;
    }
    return new_growing(file, name, type, width, rank, dim, out);
}

static sq_status write_rows(sq_h5 *file, growing *set, int64_t rows, hid_t memory, const void *data)
{
    hsize_t start[MAX_RANK] = {0}, size[MAX_RANK], total[MAX_RANK];
    for (int i = 0; i < set->rank; i++)
        size[i] = total[i] = (hsize_t)set->dim[i];
    start[0] = (hsize_t)set->dim[0];
    size[0] = (hsize_t)rows;
    total[0] = start[0] + size[0];
    if (H5Dset_extent(set->id, total) < 0)
        return sq_hdf5_fail(file->partial, set->name);
    hid_t space = H5Dget_space(set->id), box = H5Screate_simple(set->rank, size, NULL);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, size, NULL);
    herr_t bad = H5Dwrite(set->id, memory, box, space, H5P_DEFAULT, data);
    H5Sclose(box);
    H5Sclose(space);
    if (bad < 0)
        return sq_hdf5_fail(file->partial, set->name);
    set->dim[0] += rows;
    return SQ_OK;
}

/* HDF5's own conversion to binary16 is several times slower than the disk. */
static sq_status write_half(sq_h5 *file, growing *set, int64_t rows, const float *data)
{
    int64_t n = rows * row_elements(set->rank, set->dim);
    uint16_t *half = NULL;
    hid_t type = sq_hdf5_file_type(SQ_F16);
    sq_status rc;
    SQ_TRY(SQ_ALLOC(half, n ? n : 1, "half-precision rows"));
    for (int64_t i = 0; i < n; i++)
        half[i] = sq_half_from_float(data[i]);
    SQ_TRY(write_rows(file, set, rows, type, half));
cleanup:
    H5Tclose(type);
    sq_free(half);
    return rc;
}

sq_status sq_h5_append(sq_h5 *file, const char *name, sq_dtype type, int rank, const int64_t *dim,
                       const void *data)
{
    growing *set = NULL;
    if (!file->partial || rank < 1 || rank > MAX_RANK || !sq_dtype_size(type))
        return sq_fail(SQ_ERR_USAGE, "%s: %s: cannot append (read only, rank or type)", file->path,
                       name);
    for (int i = 0; i < rank; i++) {
        if (dim[i] < (i > 0))
            return sq_fail(SQ_ERR_USAGE, "%s: %s: dimension %d is %lld", file->path, name, i,
                           (long long)dim[i]);
    }
    sq_status rc = find_growing(file, name, type, 0, rank, dim, &set);
    if (rc != SQ_OK || dim[0] == 0)
        return rc;
    if (type == SQ_F16)
        return write_half(file, set, dim[0], data);
    return write_rows(file, set, dim[0], sq_hdf5_memory_type(type), data);
}

sq_status sq_h5_append_text(sq_h5 *file, const char *name, int width, int64_t n, const char *data)
{
    growing *set = NULL;
    if (!file->partial || width < 1 || n < 0)
        return sq_fail(SQ_ERR_USAGE, "%s: %s: cannot append texts", file->path, name);
    sq_status rc = find_growing(file, name, SQ_U8, width, 1, &n, &set);
    if (rc != SQ_OK || n == 0)
        return rc;
    hid_t type = sq_hdf5_text_type(width);
    rc = write_rows(file, set, n, type, data);
    H5Tclose(type);
    return rc;
}

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
    if (*rank < 1 || *rank > MAX_RANK || !sq_hdf5_dtype(stored, type))
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
    hsize_t start[MAX_RANK] = {0}, size[MAX_RANK];
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
    int64_t n = count * row_elements(rank, dim);
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
    int64_t dim[MAX_RANK];
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

sq_status sq_h5_read_f32(sq_h5 *file, const char *name, int64_t first, int64_t count, float *out)
{
    return sq_h5_read(file, name, SQ_F32, first, count, out);
}

sq_status sq_h5_close(sq_h5 *file)
{
    sq_status rc = SQ_OK;
    if (!file)
        return SQ_OK;
    release(file);
    if (file->partial && H5Fflush(file->id, H5F_SCOPE_GLOBAL) < 0)
        rc = sq_hdf5_fail(file->partial, "cannot flush");
    herr_t bad = H5Fclose(file->id);
    file->id = -1;
    if (rc == SQ_OK && bad < 0)
        rc = sq_hdf5_fail(file->partial ? file->partial : file->path, "cannot close");
    if (file->partial && rc == SQ_OK)
        rc = sq_durable_rename(file->partial, file->path);
    destroy(file);
    return rc;
}

void sq_h5_abandon(sq_h5 *file)
{
    if (!file)
        return;
    release(file);
    H5Fclose(file->id);
    file->id = -1;
    if (file->partial)
        unlink(file->partial);
    destroy(file);
}
