#include "store/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/durable_internal.h"
#include "store/frame_internal.h"
#include "store/hdf5_internal.h"
#include "store/merge_internal.h"
#include "store/small_internal.h"
#include "store/tile_index.h"

enum { PORTION = 1 << 16, HEX = SQ_HASH_TEXT - 1 };

/* ---- Reading ---- */

/* The byte of the file at which the records begin; HDF5 counts the user block in. */
static sq_status find_records(const char *path, uint64_t *at, uint64_t *bytes)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), set = -1, space = -1;
    sq_status rc = SQ_OK;
    set = file < 0 ? -1 : H5Dopen2(file, "run/archive/records", H5P_DEFAULT);
    space = set < 0 ? -1 : H5Dget_space(set);
    if (space < 0)
        SQ_TRY(sq_hdf5_fail(path, "/run/archive/records"));
    hssize_t n = H5Sget_simple_extent_npoints(space);
    haddr_t offset = H5Dget_offset(set);
    if (n < 0 || (n && offset == HADDR_UNDEF))
        SQ_TRY(sq_fail(SQ_ERR_FORMAT, "%s: /run/archive/records: not contiguous", path));
    *at = n ? offset : 0;
    *bytes = (uint64_t)n;
cleanup:
    if (space >= 0)
        H5Sclose(space);
    if (set >= 0)
        H5Dclose(set);
    if (file >= 0)
        H5Fclose(file);
    return rc;
}

static sq_status read_column(sq_h5 *h5, const char *name, int64_t tasks, uint64_t **out)
{
    sq_status rc = SQ_OK;
    sq_dtype type;
    int rank;
    int64_t dim[8];
    *out = NULL;
    SQ_TRY(sq_h5_shape(h5, name, &type, &rank, dim));
    if (rank != 1 || dim[0] != tasks)
        SQ_TRY(sq_fail(SQ_ERR_FORMAT, "%s: has not one element for each patch", name));
    SQ_TRY(SQ_ALLOC(*out, tasks + 1, "places of records"));
    if (tasks)
        SQ_TRY(sq_h5_read(h5, name, SQ_U64, 0, tasks, *out));
cleanup:
    return rc;
}

sq_status sq_archive_places(const char *path, int64_t tasks, uint64_t **offset, uint64_t **length,
                            int *there)
{
    sq_status rc = SQ_OK;
    sq_h5 *h5 = NULL;
    uint64_t at = 0, bytes = 0;
    *offset = *length = NULL;
    SQ_TRY(sq_h5_open(path, &h5));
    *there = sq_h5_has(h5, "run/archive");
    if (*there) {
        SQ_TRY(read_column(h5, "run/archive/offset", tasks, offset));
        SQ_TRY(read_column(h5, "run/archive/length", tasks, length));
    }
    sq_h5_abandon(h5);
    h5 = NULL;
    if (!*there)
        return SQ_OK;
    SQ_TRY(find_records(path, &at, &bytes));
    for (int64_t i = 0; i < tasks; i++) {
        if ((*length)[i] > bytes || (*offset)[i] > bytes - (*length)[i])
            SQ_TRY(sq_fail(SQ_ERR_CORRUPT, "%s: /run/archive: reaches beyond its bytes", path));
        (*offset)[i] += at;
    }
cleanup:
    if (rc != SQ_OK) {
        sq_free(*offset);
        sq_free(*length);
        *offset = *length = NULL;
    }
    sq_h5_abandon(h5);
    return rc;
}

/* ---- Writing ---- */

/* Room for the records; the ranks write them past HDF5, each its own. */
static sq_status reserve(hid_t group, const char *path, uint64_t bytes, uint64_t *at)
{
    sq_status rc = SQ_OK;
    hsize_t dim = bytes;
    hid_t type = sq_hdf5_file_type(SQ_U8), space = H5Screate_simple(1, &dim, NULL);
    hid_t create = H5Pcreate(H5P_DATASET_CREATE), set = -1;
    if (create >= 0 && H5Pset_layout(create, H5D_CONTIGUOUS) >= 0 &&
        H5Pset_obj_track_times(create, 0) >= 0 &&
        H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY) >= 0 &&
        H5Pset_fill_time(create, H5D_FILL_TIME_NEVER) >= 0)
        set = H5Dcreate2(group, "records", type, space, H5P_DEFAULT, create, H5P_DEFAULT);
    if (set < 0)
        rc = sq_hdf5_fail(path, "/run/archive/records");
    else
        rc = sq_hdf5_attribute(set, path, "description",
                               "Framed records, one after the other, in the order of /patches");
    haddr_t offset = set < 0 ? HADDR_UNDEF : H5Dget_offset(set);
    if (rc == SQ_OK && bytes && offset == HADDR_UNDEF)
        rc = sq_fail(SQ_ERR_IO, "%s: /run/archive/records: no room was made", path);
    *at = bytes ? offset : 0;
    rc = sq_hdf5_close_dataset(set, path, "/run/archive/records", rc);
    H5Pclose(create);
    H5Sclose(space);
    H5Tclose(type);
    return rc;
}

/* Rank 0: the group and its index; `offset` gets where each task's record belongs in the file. */
static sq_status make_group(merge *m, uint64_t *offset)
{
    sq_status rc = SQ_OK;
    int64_t n = m->in->ntask;
    uint64_t *length = NULL, bytes = 0, at = 0;
    sq_merge_task task;
    hid_t run = -1, group = -1, file = H5Fopen(m->partial, H5F_ACC_RDWR, H5P_DEFAULT);
    run = file < 0 ? -1 : H5Gopen2(file, "run", H5P_DEFAULT);
    if (run < 0)
        SQ_TRY(sq_hdf5_fail(m->partial, "cannot open /run"));
    SQ_TRY(SQ_ALLOC(length, n + 1, "lengths of records"));
    for (int64_t i = 0; i < n; i++) {
        SQ_TRY(m->in->task(m->in->tasks, i, &task));
        length[i] = task.state == SQ_TASK_DONE ? task.place.length : 0;
        offset[i] = bytes;
        bytes += length[i];
    }
    SQ_TRY(sq_small_group(run, m->partial, "archive", "Records before the merge", &group));
    SQ_TRY(sq_small_numbers(group, m->partial, "offset", SQ_U64, n, offset,
                            "First byte of the record of each row of /patches"));
    SQ_TRY(sq_small_numbers(group, m->partial, "length", SQ_U64, n, length,
                            "Bytes of the record, 0: none"));
    SQ_TRY(reserve(group, m->partial, bytes, &at));
    for (int64_t i = 0; i < n; i++)
        offset[i] += at;
cleanup:
    sq_free(length);
    if (group >= 0)
        H5Gclose(group);
    if (run >= 0)
        H5Gclose(run);
    if (file >= 0 && H5Fclose(file) < 0 && rc == SQ_OK)
        rc = sq_hdf5_fail(m->partial, "cannot close");
    return rc;
}

typedef struct target {
    int64_t number, task; /* in the whole run, and among this rank's */
} target;

static int by_number(const void *a, const void *b)
{
    const target *p = a, *q = b;
    return (p->number > q->number) - (p->number < q->number);
}

/* Every rank learns the places of its own records; `all` is there on rank 0 only. */
static sq_status share_offsets(merge *m, const uint64_t *all, uint64_t *mine)
{
    sq_status rc = SQ_OK;
    uint64_t *part = NULL;
    target *sorted = NULL;
    int64_t tasks = m->in->ntask, at = 0;
    sq_status mem = SQ_ALLOC(part, PORTION, "places of records");
    if (mem == SQ_OK)
        mem = SQ_ALLOC(sorted, m->ntask + 1, "places of records");
    SQ_TRY(sq_comm_agree(m->comm, mem));
    for (int64_t i = 0; i < m->ntask; i++)
        sorted[i] = (target){m->task[i].number, i};
    qsort(sorted, (size_t)m->ntask, sizeof *sorted, by_number);
    SQ_TRY(sq_comm_broadcast(m->comm, 0, &tasks, sizeof tasks));
    for (int64_t first = 0; first < tasks; first += PORTION) {
        int64_t n = tasks - first < PORTION ? tasks - first : PORTION;
        if (m->rank == 0)
            memcpy(part, all + first, (size_t)n * sizeof *part);
        SQ_TRY(sq_comm_broadcast(m->comm, 0, part, (size_t)n * sizeof *part));
        for (; at < m->ntask && sorted[at].number < first + n; at++)
            mine[sorted[at].task] = part[sorted[at].number - first];
    }
cleanup:
    sq_free(part);
    sq_free(sorted);
    return rc;
}

static sq_status put_at(int fd, const char *path, const void *data, size_t size, uint64_t offset)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = pwrite(fd, (const char *)data + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno != EINTR)
            return sq_fail(SQ_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
        done += n > 0 ? (size_t)n : 0;
    }
    return SQ_OK;
}

/* Local. This rank's records, in the order in which they lie in the shards. */
static sq_status copy_records(merge *m, const uint64_t *offset)
{
    sq_status rc = SQ_OK;
    int fd = open(m->partial, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return sq_fail(SQ_ERR_IO, "%s: cannot open: %s", m->partial, strerror(errno));
    for (int64_t i = 0; i < m->ntask; i++) {
        sq_record record;
        sq_frame frame;
        const void *payload;
        size_t size;
        SQ_TRY(sq_segment_read(&m->reader, &m->task[i].place, &record, &payload, &size));
        sq_frame_make(&record, payload, size, &frame);
        SQ_TRY(put_at(fd, m->partial, &frame, sizeof frame, offset[i]));
        /* The reader holds the padding behind the payload too. */
        SQ_TRY(put_at(fd, m->partial, payload, size + sq_frame_padding(size),
                      offset[i] + sizeof frame));
    }
    SQ_TRY(sq_durable_fd(fd, m->partial));
cleanup:
    if (close(fd) != 0 && rc == SQ_OK)
        rc = sq_fail(SQ_ERR_IO, "%s: cannot close: %s", m->partial, strerror(errno));
    return rc;
}

sq_status merge_write_archive(merge *m)
{
    sq_status rc = SQ_OK, mine = SQ_OK;
    uint64_t *all = NULL, *own = NULL;
    if (m->rank == 0 && (mine = SQ_ALLOC(all, m->in->ntask + 1, "places of records")) == SQ_OK)
        mine = make_group(m, all);
    if (mine == SQ_OK)
        mine = SQ_ALLOC(own, m->ntask + 1, "places of records");
    SQ_TRY(sq_comm_agree(m->comm, mine));
    SQ_TRY(share_offsets(m, all, own));
    SQ_TRY_ALL(m->comm, copy_records(m, own));
cleanup:
    sq_free(all);
    sq_free(own);
    return rc;
}

static sq_status put_hashes(hid_t group, const char *path, const char *name,
                            const sq_tile_list *tiles, sq_hash (*hash)(const sq_tile *tile),
                            const char *description)
{
    sq_status rc = SQ_OK;
    int64_t n = sq_tile_list_count(tiles);
    char *hex = NULL, text[SQ_HASH_TEXT];
    SQ_TRY(SQ_ALLOC(hex, n * HEX + 1, "hashes of tiles"));
    for (int64_t t = 0; t < n; t++) {
        sq_tile tile;
        SQ_TRY(sq_tile_list_get(tiles, t, &tile));
        sq_hash_text(hash(&tile), text);
        sq_tile_clear(&tile);
        memcpy(hex + t * HEX, text, HEX);
    }
    SQ_TRY(sq_small_texts(group, path, name, HEX, n, hex, description));
cleanup:
    sq_free(hex);
    return rc;
}

sq_status merge_put_tile_hashes(hid_t run, const char *path, const sq_merge *in)
{
    sq_status rc = SQ_OK;
    hid_t group = -1;
    if (!in->tiles || !sq_tile_list_count(in->tiles))
        return SQ_OK;
    SQ_TRY(
        sq_small_group(run, path, "tiles", "Tiles as they were, in the order of /tiles", &group));
    SQ_TRY(put_hashes(group, path, "geometry", in->tiles, sq_tile_geometry_hash,
                      "XXH3 of format, bands, shapes and WCS"));
    SQ_TRY(put_hashes(group, path, "files", in->tiles, sq_tile_files_hash,
                      "XXH3 of sizes, mtimes and checksum cards of the files"));
cleanup:
    if (group >= 0)
        H5Gclose(group);
    return rc;
}
