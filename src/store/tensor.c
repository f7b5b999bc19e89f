#include "store/tensor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/durable_internal.h"
#include "store/half_internal.h"
#include "store/hdf5_internal.h"
#include "store/manifest_internal.h"
#include "store/tensor_internal.h"

enum { CHUNK_BYTES = 1 << 18, CHUNK_ROWS = 1 << 16 };

static sq_status release(sq_h5 *file)
{
    sq_status rc = SQ_OK;
    for (size_t i = 0; i < file->count; i++) {
        rc = sq_hdf5_close_dataset(file->set[i].id, file->partial, file->set[i].name, rc);
        sq_free(file->set[i].name);
    }
    sq_free(file->set);
    file->set = NULL;
    file->count = 0;
    return rc;
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

static sq_status create(const char *path, int sealed, sq_h5 **out)
{
    sq_status rc;
    sq_h5 *file = NULL;
    hid_t properties = -1;
    sq_hdf5_quiet();
    SQ_TRY(SQ_ALLOC(file, 1, "HDF5 file"));
    file->id = -1;
    file->sealed = sealed;
    SQ_TRY(sq_strdup(&file->path, path));
    SQ_TRY(sq_alloc(&file->partial, strlen(path) + sizeof ".partial", 1, "file name"));
    sprintf(file->partial, "%s.partial", path);
    properties = sq_hdf5_file_properties();
    if (sealed)
        H5Pset_userblock(properties, SQ_USER_BLOCK);
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

sq_status sq_h5_create(const char *path, sq_h5 **out)
{
    return create(path, 0, out);
}

sq_status sq_h5_create_sealed(const char *path, sq_h5 **out)
{
    return create(path, 1, out);
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

static hid_t chunked(int64_t width, int rank, const int64_t *dim)
{
    hsize_t chunk[SQ_H5_MAX_RANK];
    int64_t row = sq_h5_row(rank, dim) * width;
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
    hsize_t dim[SQ_H5_MAX_RANK], max[SQ_H5_MAX_RANK];
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
    hsize_t start[SQ_H5_MAX_RANK] = {0}, size[SQ_H5_MAX_RANK], total[SQ_H5_MAX_RANK];
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
    int64_t n = rows * sq_h5_row(set->rank, set->dim);
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
    if (!file->partial || rank < 1 || rank > SQ_H5_MAX_RANK || !sq_dtype_size(type))
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

sq_status sq_h5_close(sq_h5 *file)
{
    sq_status rc;
    if (!file)
        return SQ_OK;
    rc = release(file);
    if (rc == SQ_OK && file->partial && H5Fflush(file->id, H5F_SCOPE_GLOBAL) < 0)
        rc = sq_hdf5_fail(file->partial, "cannot flush");
    herr_t bad = H5Fclose(file->id);
    file->id = -1;
    if (rc == SQ_OK && bad < 0)
        rc = sq_hdf5_fail(file->partial ? file->partial : file->path, "cannot close");
    if (file->sealed && rc == SQ_OK)
        rc = sq_seal_data(file->partial);
    if (file->partial && rc == SQ_OK)
        rc = sq_durable_rename(file->partial, file->path);
    if (file->partial && rc != SQ_OK)
        unlink(file->partial);
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
