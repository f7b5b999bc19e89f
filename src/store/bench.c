#include "store/bench.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "store/durable_internal.h"
#include "store/hdf5_internal.h"
#include "store/merge_internal.h"

enum { COLUMNS = 8, CHUNK = 1 << 17, PART = 1 << 21 };

static const char *const names[COLUMNS] = {"c/0", "c/1", "c/2", "c/3", "c/4", "c/5", "c/6", "c/7"};

static sq_status write_column(merge *m, int c, int64_t rows, const double *data)
{
    merge_dataset set = {.name = names[c],
                         .type = SQ_F64,
                         .rank = 1,
                         .dim = {(hsize_t)rows},
                         .chunk = {rows < CHUNK ? (hsize_t)rows : CHUNK}};
    int64_t first = rows * m->rank / m->size, end = rows * (m->rank + 1) / m->size;
    int64_t longest = rows / m->size + 1;
    hid_t id = -1;
    sq_status rc;
    SQ_TRY_ALL(m->comm, merge_dataset_create(m, &set, &id));
    for (int64_t done = 0; done < longest; done += PART) {
        int64_t from = first + done < end ? first + done : end;
        hsize_t start = (hsize_t)from, count = (hsize_t)(end - from < PART ? end - from : PART);
        SQ_TRY_ALL(m->comm, merge_dataset_write(m, id, &set, &start, &count, data));
    }
cleanup:
    if (id >= 0)
        H5Dclose(id);
    return rc;
}

sq_status sq_store_bench(const sq_comm *comm, const char *path, int64_t bytes, int deflate,
                         double *seconds)
{
    sq_merge in = {.path = path, .deflate = deflate};
    merge m = {.in = &in, .file = -1};
    double *data = NULL, start = 0;
    int64_t rows = bytes / (8 * COLUMNS) + 1;
    sq_status rc;
    sq_hdf5_quiet();
    SQ_TRY(sq_comm_dup(comm, &m.comm));
    m.rank = sq_comm_rank(comm);
    m.size = sq_comm_size(comm);
    SQ_TRY_ALL(comm, sq_strdup(&m.partial, path));
    SQ_TRY_ALL(comm, SQ_ALLOC(data, PART, "columns"));
    for (int64_t i = 0; i < PART; i++)
        data[i] = (double)((uint64_t)i * 2654435761u % 1000003) * 1e-3;
    start = sq_now();
    SQ_TRY(merge_create_file(&m));
    SQ_TRY(merge_group(&m, "c", "columns"));
    for (int c = 0; c < COLUMNS; c++)
        SQ_TRY(write_column(&m, c, rows, data));
    SQ_TRY(merge_close_file(&m));
    SQ_TRY_ALL(comm, m.rank == 0 ? sq_durable_file(path) : SQ_OK);
    *seconds = sq_now() - start;
    SQ_TRY(sq_comm_reduce_f64(comm, SQ_MAX, seconds, 1));
cleanup:
    if (m.rank == 0)
        unlink(path);
    sq_free(m.check);
    sq_free(data);
    sq_free(m.partial);
    sq_comm_destroy(m.comm);
    return rc;
}
