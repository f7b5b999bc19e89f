/* The release file while all ranks write it together. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/pulse.h"
#include "par/comm_internal.h"
#include "store/hdf5_internal.h"
#include "store/manifest_internal.h"
#include "store/merge_internal.h"
#include "store/write_guard.h"

/* Collective metadata both ways: without it compressed chunks can hang, and every rank would read
 * all metadata. */
static hid_t access_properties(const merge *m)
{
    hid_t list = H5Pcreate(H5P_FILE_ACCESS);
    if (list < 0)
        return list;
    MPI_Info hints = sq_write_guard_hints();
    if (H5Pset_fapl_mpio(list, sq_comm_handle(m->comm), hints) < 0 ||
        H5Pset_all_coll_metadata_ops(list, 1) < 0 || H5Pset_coll_metadata_write(list, 1) < 0) {
        H5Pclose(list);
        list = -1;
    }
    if (hints != MPI_INFO_NULL)
        MPI_Info_free(&hints);
    return list;
}

/* Calls of HDF5 that were good, unless a write within them was not. */
static sq_status written(const merge *m, const char *what, sq_status rc)
{
    return rc == SQ_OK ? sq_write_guard_check(m->partial, what) : rc;
}

sq_status merge_create_file(merge *m)
{
    hid_t access = access_properties(m), create = sq_hdf5_file_properties();
    H5Pset_userblock(create, SQ_USER_BLOCK);
    sq_write_guard_begin();
    m->file = access < 0 ? -1 : H5Fcreate(m->partial, H5F_ACC_TRUNC, create, access);
    sq_status rc = m->file < 0 ? sq_hdf5_fail(m->partial, "cannot create") : SQ_OK;
    rc = written(m, "cannot create", rc);
    H5Pclose(create);
    if (access >= 0)
        H5Pclose(access);
    rc = sq_comm_agree(m->comm, rc);
    if (rc == SQ_OK)
        merge_flush_begin(m);
    return rc;
}

/* An upper bound: rows that borders will drop are counted, the texts of rank 0 only roughly. */
static uint64_t estimate(const merge *m)
{
    const sq_merge *in = m->in;
    uint64_t bytes = 1 << 20;
    for (int t = 0; t < in->ntable; t++) {
        uint64_t row = 24;
        for (int c = 0; c < in->table[t]->count; c++)
            row += (uint64_t)sq_dtype_size(in->table[t]->column[c].type);
        bytes += row * (uint64_t)m->report.rows_in[t];
    }
    for (int k = 0; k < in->nmap; k++) {
        const sq_map_schema *map = in->map[k];
        bytes += (uint64_t)(map->planes * map->nx * map->ny * sq_dtype_size(map->type));
    }
    return bytes + 160 * (uint64_t)in->ntask;
}

sq_status merge_reserve(merge *m)
{
    sq_status rc = SQ_OK;
    struct rlimit most;
    uint64_t bytes = estimate(m);
    if (m->in->deflate)
        bytes /= 8; /* real columns hardly become smaller than that */
    bytes += m->in->archive ? m->committed : 0;
    if (getrlimit(RLIMIT_FSIZE, &most) == 0 && most.rlim_cur < bytes)
        return sq_fail(SQ_ERR_IO, "%s: needs %.1f MB, files are limited to %.1f MB (ulimit -f)",
                       m->partial, (double)bytes / 1e6, (double)most.rlim_cur / 1e6);
    int fd = open(m->partial, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return sq_fail(SQ_ERR_IO, "%s: %s", m->partial, strerror(errno));
    if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes) != 0 && errno != EOPNOTSUPP &&
        errno != ENOSYS)
        rc = sq_fail(SQ_ERR_IO, "%s: cannot reserve %.1f MB: %s", m->partial, (double)bytes / 1e6,
                     strerror(errno));
    close(fd);
    return rc;
}

sq_status merge_close_file(merge *m)
{
    sq_status rc = SQ_OK;
    if (m->file < 0)
        return SQ_OK;
    if (H5Fflush(m->file, H5F_SCOPE_GLOBAL) < 0)
        rc = sq_hdf5_fail(m->partial, "cannot flush");
    if (H5Fclose(m->file) < 0 && rc == SQ_OK)
        rc = sq_hdf5_fail(m->partial, "cannot close");
    rc = written(m, "cannot close", rc);
    m->file = -1;
    merge_flush_end(m);
    return sq_comm_agree(m->comm, rc);
}

sq_status merge_group(merge *m, const char *name, const char *description)
{
    hid_t create = sq_hdf5_group_properties();
    hid_t group = H5Gcreate2(m->file, name, H5P_DEFAULT, create, H5P_DEFAULT);
    sq_status rc = group < 0 ? sq_hdf5_fail(m->partial, name) : SQ_OK;
    if (rc == SQ_OK && description)
        rc = sq_hdf5_attribute(group, m->partial, "description", description);
    if (group >= 0)
        H5Gclose(group);
    H5Pclose(create);
    return sq_comm_agree(m->comm, written(m, name, rc));
}

sq_status merge_group_text(merge *m, const char *name, const char *attribute, const char *text)
{
    hid_t group = H5Gopen2(m->file, name, H5P_DEFAULT);
    sq_status rc = group < 0 ? sq_hdf5_fail(m->partial, name)
                             : sq_hdf5_attribute(group, m->partial, attribute, text);
    if (group >= 0)
        H5Gclose(group);
    return sq_comm_agree(m->comm, written(m, name, rc));
}

static hid_t creation(const merge *m, const merge_dataset *set)
{
    hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    herr_t bad = H5Pset_obj_track_times(list, 0);
    bad |= H5Pset_chunk(list, set->rank, set->chunk);
    bad |= H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY);
    if (m->in->deflate) {
        bad |= H5Pset_shuffle(list);
        bad |= H5Pset_deflate(list, (unsigned)m->in->deflate);
    } else {
        bad |= H5Pset_fill_time(list, H5D_FILL_TIME_NEVER);
    }
    if (bad < 0) {
        H5Pclose(list);
        return -1;
    }
    return list;
}

static sq_status annotate(merge *m, hid_t id, const merge_dataset *set)
{
    sq_status rc;
    SQ_TRY(sq_hdf5_attribute(id, m->partial, "units", set->unit ? set->unit : ""));
    SQ_TRY(sq_hdf5_attribute(id, m->partial, "ucd", set->ucd ? set->ucd : ""));
    SQ_TRY(
        sq_hdf5_attribute(id, m->partial, "description", set->description ? set->description : ""));
cleanup:
    return rc;
}

static sq_status add_check(merge *m, const char *name, uint64_t sum)
{
    for (size_t i = 0; i < m->nchecks; i++) {
        if (strcmp(m->check[i].name, name) == 0) {
            m->check[i].sum += sum;
            return SQ_OK;
        }
    }
    sq_status rc = SQ_GROW(m->check, m->check_capacity, m->nchecks + 1, "checks");
    if (rc != SQ_OK)
        return rc;
    merge_check *c = &m->check[m->nchecks++];
    strncpy(c->name, name, sizeof c->name - 1);
    c->sum = sum;
    return SQ_OK;
}

sq_status merge_dataset_create(merge *m, const merge_dataset *set, hid_t *out)
{
    hsize_t most[3];
    hid_t create = creation(m, set), type = sq_hdf5_file_type(set->type), space;
    sq_status rc = SQ_OK;
    memcpy(most, set->dim, sizeof most);
    if (set->rank == 1)
        most[0] = H5S_UNLIMITED; /* a chunk may be longer than an empty table */
    space = H5Screate_simple(set->rank, set->dim, most);
    *out = create < 0
               ? -1
               : H5Dcreate2(m->file, set->name, type, space, H5P_DEFAULT, create, H5P_DEFAULT);
    if (*out < 0)
        rc = sq_hdf5_fail(m->partial, set->name);
    if (rc == SQ_OK)
        rc = annotate(m, *out, set);
    /* Also on ranks that have nothing to write: all ranks list the same checks. */
    if (rc == SQ_OK)
        rc = add_check(m, set->name, 0);
    H5Sclose(space);
    H5Tclose(type);
    if (create >= 0)
        H5Pclose(create);
    return written(m, set->name, rc);
}

/* The check's place in the dataset is that of row-major order; a box may lie anywhere. */
static uint64_t sum_box(const merge_dataset *set, const hsize_t *start, const hsize_t *count,
                        const void *data)
{
    size_t width = (size_t)sq_dtype_size(set->type);
    const unsigned char *at = data;
    uint64_t sum = 0;
    if (set->rank == 1)
        return sq_element_sum(data, width, (int64_t)count[0], start[0]);
    for (hsize_t p = 0; p < count[0]; p++) {
        for (hsize_t y = 0; y < count[1]; y++, at += count[2] * width) {
            hsize_t first = ((start[0] + p) * set->dim[1] + start[1] + y) * set->dim[2] + start[2];
            sum += sq_element_sum(at, width, (int64_t)count[2], first);
        }
    }
    return sum;
}

sq_status merge_dataset_write(merge *m, hid_t id, const merge_dataset *set, const hsize_t *start,
                              const hsize_t *count, const void *data)
{
    hid_t space = H5Dget_space(id), box = H5Screate_simple(set->rank, count, NULL);
    hid_t transfer = H5Pcreate(H5P_DATASET_XFER);
    int none = count[0] == 0;
    sq_status rc = SQ_OK;
    sq_pulse(NULL);
    H5Pset_dxpl_mpio(transfer, m->in->deflate ? H5FD_MPIO_COLLECTIVE : H5FD_MPIO_INDEPENDENT);
    if (none) {
        H5Sselect_none(space);
        H5Sselect_none(box);
    } else {
        H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
    }
    if ((!none || m->in->deflate) &&
        H5Dwrite(id, sq_hdf5_memory_type(set->type), box, space, transfer, data) < 0)
        rc = sq_hdf5_fail(m->partial, set->name);
    rc = written(m, set->name, rc);
    if (rc == SQ_OK)
        rc = add_check(m, set->name, none ? 0 : sum_box(set, start, count, data));
    H5Pclose(transfer);
    H5Sclose(box);
    H5Sclose(space);
    return rc;
}
