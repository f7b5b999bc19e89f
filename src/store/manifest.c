#include "store/manifest_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/pulse.h"
#include "store/hdf5_internal.h"
#include "store/tensor.h"

enum { BLOCK = 1 << 20, MAX_RANK = 3 };

/* The version for the processor is chosen when the program starts; integers, so all agree. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "default")))
#else
#define CLONES
#endif

/* One loop a width: a copy of known size is a load. */
#define SUM_OF(type)                                                                               \
    for (int64_t i = 0; i < n; i++) {                                                              \
        type bits;                                                                                 \
        memcpy(&bits, at + (size_t)i * sizeof bits, sizeof bits);                                  \
        sum += sq_element_mix(bits, first + (uint64_t)i);                                          \
    }

CLONES uint64_t sq_element_sum(const void *data, size_t width, int64_t n, uint64_t first)
{
    const unsigned char *at = data;
    uint64_t sum = 0;
    if (width == 8) {
        SUM_OF(uint64_t)
    } else if (width == 4) {
        SUM_OF(uint32_t)
    } else {
        for (int64_t i = 0; i < n; i++, at += width) {
            uint64_t bits = 0;
            memcpy(&bits, at, width);
            sum += sq_element_mix(bits, first + (uint64_t)i);
        }
    }
    return sum;
}

void sq_manifest_clear(sq_manifest *manifest)
{
    sq_free(manifest->entry);
    memset(manifest, 0, sizeof *manifest);
}

/* ---- Objects of the file in the order of their names ---- */

typedef struct walk {
    const char *path;
    sq_manifest *out;
    hid_t file;
    sq_status rc;
} walk;

typedef struct attribute_hash {
    sq_hash hash;
    sq_status rc;
    const char *path;
} attribute_hash;

static herr_t hash_attribute(hid_t object, const char *name, const H5A_info_t *info, void *user)
{
    attribute_hash *a = user;
    unsigned char *data = NULL;
    hid_t id = H5Aopen(object, name, H5P_DEFAULT), type = H5Aget_type(id), space = H5Aget_space(id);
    size_t size = H5Tget_size(type) * (size_t)H5Sget_simple_extent_npoints(space);
    int64_t kind[2] = {H5Tget_class(type), (int64_t)size};
    (void)info;
    /* A release has no texts of variable width: the kind alone tells that somebody put one there.
     */
    if (H5Tis_variable_str(type) > 0 || kind[0] == H5T_VLEN || size > BLOCK)
        kind[0] = -1, size = 0;
    a->rc = sq_alloc(&data, size + 1, 1, "attribute");
    if (a->rc == SQ_OK && size && H5Aread(id, type, data) < 0)
        a->rc = sq_hdf5_fail(a->path, name);
    if (a->rc == SQ_OK) {
        a->hash = sq_hash_combine(a->hash, sq_hash_bytes(name, strlen(name)));
        a->hash = sq_hash_combine(a->hash, sq_hash_bytes(kind, sizeof kind));
        a->hash = sq_hash_combine(a->hash, sq_hash_bytes(data, size));
    }
    sq_free(data);
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(id);
    return a->rc == SQ_OK ? 0 : -1;
}

/* Type, shape and attributes of an object. */
static sq_status form_of(const char *path, hid_t object, int is_dataset, sq_manifest_entry *e)
{
    int64_t shape[8] = {-1};
    attribute_hash a = {.path = path};
    e->rows = -1;
    if (is_dataset) {
        hsize_t dim[H5S_MAX_RANK] = {0};
        hid_t type = H5Dget_type(object), space = H5Dget_space(object);
        int rank = H5Sget_simple_extent_dims(space, dim, NULL);
        shape[0] = rank;
        shape[1] = H5Tget_class(type);
        shape[2] = (int64_t)H5Tget_size(type);
        shape[3] = H5Tget_class(type) == H5T_INTEGER ? H5Tget_sign(type) : 0;
        for (int i = 0; i < rank && i < MAX_RANK; i++)
            shape[4 + i] = (int64_t)dim[i];
        e->rows = rank > 0 ? (int64_t)dim[0] : 1;
        H5Sclose(space);
        H5Tclose(type);
        if (rank > MAX_RANK)
            return sq_fail(SQ_ERR_FORMAT, "%s: %s: rank %d", path, e->name, rank);
    }
    a.hash = sq_hash_bytes(shape, sizeof shape);
    if (H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, NULL, hash_attribute, &a) < 0 &&
        a.rc == SQ_OK)
        a.rc = sq_hdf5_fail(path, e->name);
    e->form = a.hash;
    return a.rc;
}

static herr_t visit_object(hid_t root, const char *name, const H5O_info_t *info, void *user)
{
    walk *w = user;
    sq_manifest *m = w->out;
    if (strncmp(name, "run/", 4) == 0 || strcmp(name, "run") == 0 ||
        strncmp(name, "manifest", 8) == 0)
        return 0;
    if (strlen(name) >= SQ_MANIFEST_NAME ||
        (info->type != H5O_TYPE_DATASET && info->type != H5O_TYPE_GROUP)) {
        w->rc = sq_fail(SQ_ERR_FORMAT, "%s: %.64s: not an object of a release", w->path, name);
        return -1;
    }
    w->rc = SQ_GROW(m->entry, m->capacity, m->count + 1, "manifest");
    if (w->rc != SQ_OK)
        return -1;
    sq_manifest_entry *e = &m->entry[m->count++];
    memset(e, 0, sizeof *e);
    strcpy(e->name, name);
    hid_t object = H5Oopen(root, name, H5P_DEFAULT);
    w->rc = object < 0 ? sq_hdf5_fail(w->path, name)
                       : form_of(w->path, object, info->type == H5O_TYPE_DATASET, e);
    if (object >= 0)
        H5Oclose(object);
    return w->rc == SQ_OK ? 0 : -1;
}

/* ---- Content ---- */

/* A dataset as [outer][rows][inner] with its blocks of rows. */
typedef struct layout {
    hid_t set, type;
    int rank;
    hsize_t dim[MAX_RANK];
    size_t width;
    int64_t outer, rows, inner, step, blocks; /* blocks within one outer */
} layout;

static sq_status open_layout(const char *path, hid_t file, const char *name, layout *l)
{
    memset(l, 0, sizeof *l);
    l->set = H5Dopen2(file, name, H5P_DEFAULT);
    if (l->set < 0)
        return sq_hdf5_fail(path, name);
    hid_t space = H5Dget_space(l->set);
    l->type = H5Dget_type(l->set);
    l->rank = H5Sget_simple_extent_dims(space, l->dim, NULL);
    l->width = H5Tget_size(l->type);
    l->outer = l->rank == 3 ? (int64_t)l->dim[0] : 1;
    l->rows = l->rank == 0 ? 1 : (int64_t)l->dim[l->rank == 3];
    l->inner = l->rank < 2 ? 1 : (int64_t)l->dim[l->rank - 1];
    l->step = BLOCK / (int64_t)(l->width * (size_t)(l->inner ? l->inner : 1));
    l->step = l->step < 1 ? 1 : l->step;
    l->blocks = (l->rows + l->step - 1) / l->step;
    H5Sclose(space);
    return SQ_OK;
}

static void close_layout(layout *l)
{
    if (l->set >= 0) {
        H5Tclose(l->type);
        H5Dclose(l->set);
    }
}

/* Block b of all blocks into buffer; *first is the place of its first element, *n their number. */
static sq_status read_block(const char *path, const char *name, const layout *l, int64_t b,
                            void *buffer, int64_t *first, int64_t *n)
{
    int64_t outer = b / l->blocks, row = b % l->blocks * l->step;
    int64_t rows = l->rows - row < l->step ? l->rows - row : l->step;
    hsize_t start[MAX_RANK] = {0}, count[MAX_RANK];
    herr_t bad;
    *first = (outer * l->rows + row) * l->inner;
    *n = rows * l->inner;
    memcpy(count, l->dim, sizeof count);
    if (l->rank == 0)
        return H5Dread(l->set, l->type, H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer) < 0
                   ? sq_hdf5_fail(path, name)
                   : SQ_OK;
    start[l->rank == 3] = (hsize_t)row;
    count[l->rank == 3] = (hsize_t)rows;
    if (l->rank == 3) {
        start[0] = (hsize_t)outer;
        count[0] = 1;
    }
    hid_t space = H5Dget_space(l->set), box = H5Screate_simple(l->rank, count, NULL);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
    bad = H5Dread(l->set, l->type, box, space, H5P_DEFAULT, buffer);
    H5Sclose(box);
    H5Sclose(space);
    return bad < 0 ? sq_hdf5_fail(path, name) : SQ_OK;
}

/* Local. hash[2 b], hash[2 b + 1] of this rank's blocks; the others stay 0. The last word is the
 * sum. */
static sq_status hash_blocks(const char *path, const char *name, const layout *l, int rank,
                             int size, int64_t *word)
{
    int64_t total = l->outer * l->blocks, first, n;
    unsigned char *buffer = NULL;
    sq_status rc;
    uint64_t sum = 0;
    SQ_TRY(sq_alloc(&buffer, (size_t)(l->step * (l->inner ? l->inner : 1)), l->width, "block"));
    for (int64_t b = rank; b < total; b += size) {
        sq_pulse(NULL);
        SQ_TRY(read_block(path, name, l, b, buffer, &first, &n));
        sq_hash h = sq_hash_bytes(buffer, (size_t)n * l->width);
        memcpy(&word[2 * b], &h, sizeof h);
        if (l->width <= 8)
            sum += sq_element_sum(buffer, l->width, n, (uint64_t)first);
    }
    memcpy(&word[2 * total], &sum, sizeof sum);
cleanup:
    sq_free(buffer);
    return rc;
}

static sq_status content_of(const char *path, hid_t file, const sq_comm *comm, sq_manifest_entry *e)
{
    layout l = {.set = -1};
    int64_t *word = NULL;
    int rank = comm ? sq_comm_rank(comm) : 0, size = comm ? sq_comm_size(comm) : 1;
    sq_status rc = open_layout(path, file, e->name, &l);
    int64_t total = rc == SQ_OK ? l.outer * l.blocks : 0;
    if (rc == SQ_OK)
        rc = SQ_ALLOC(word, 2 * total + 1, "hashes of blocks");
    if (rc == SQ_OK)
        rc = hash_blocks(path, e->name, &l, rank, size, word);
    if (comm)
        rc = sq_comm_agree(comm, rc);
    if (rc == SQ_OK && comm)
        rc = sq_comm_reduce_i64(comm, SQ_SUM, word, (int)(2 * total + 1));
    if (rc == SQ_OK) {
        e->content = sq_hash_bytes(word, (size_t)(2 * total) * sizeof *word);
        memcpy(&e->sum, &word[2 * total], sizeof e->sum);
    }
    sq_free(word);
    close_layout(&l);
    return rc;
}

static sq_hash hash_entries(const sq_manifest *m)
{
    sq_hash hash = {0};
    for (size_t i = 0; i < m->count; i++) {
        const sq_manifest_entry *e = &m->entry[i];
        hash = sq_hash_combine(hash, sq_hash_bytes(e->name, strlen(e->name)));
        hash = sq_hash_combine(hash, sq_hash_combine(e->form, e->content));
    }
    return hash;
}

sq_status sq_manifest_compute(const char *path, const sq_comm *comm, sq_manifest *out)
{
    walk w = {.path = path, .out = out};
    memset(out, 0, sizeof *out);
    sq_hdf5_quiet();
    w.file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (w.file < 0)
        w.rc = sq_hdf5_fail(path, "cannot open");
    else if (H5Ovisit2(w.file, H5_INDEX_NAME, H5_ITER_INC, visit_object, &w, H5O_INFO_BASIC) < 0 &&
             w.rc == SQ_OK)
        w.rc = sq_hdf5_fail(path, "cannot list the objects");
    if (comm)
        w.rc = sq_comm_agree(comm, w.rc);
    for (size_t i = 0; w.rc == SQ_OK && i < out->count; i++) {
        if (out->entry[i].rows >= 0)
            w.rc = content_of(path, w.file, comm, &out->entry[i]);
    }
    if (w.file >= 0)
        H5Fclose(w.file);
    out->hash = hash_entries(out);
    if (w.rc != SQ_OK)
        sq_manifest_clear(out);
    return w.rc;
}
