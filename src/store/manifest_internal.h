/* The manifest of a release, and the seal in its user block. Used by reduce (collective) and verify
 * (alone).
 *
 * An object's content hash is the XXH3 of the hashes of its blocks (about 1 MiB of rows each,
 * little-endian, cut by shape and type alone); its form hash covers type, shape and attributes.
 * Groups have no content. /run and /manifest are not in the manifest. The seal is text: size and
 * XXH3 of all bytes behind the user block, and the manifest's own hash. */
#ifndef SQ_STORE_MANIFEST_INTERNAL_H
#define SQ_STORE_MANIFEST_INTERNAL_H

#include <hdf5.h>

#include "base/hash.h"
#include "base/status.h"
#include "par/comm.h"

enum { SQ_USER_BLOCK = 512, SQ_MANIFEST_NAME = 192 };

typedef struct sq_manifest_entry {
    char name[SQ_MANIFEST_NAME];
    int64_t rows; /* of the first axis; -1 for a group */
    sq_hash form, content;
    uint64_t sum; /* of position-dependent mixes of the elements, for numbers only */
} sq_manifest_entry;

typedef struct sq_manifest {
    sq_manifest_entry *entry;
    size_t count, capacity;
    sq_hash hash; /* of all entries */
} sq_manifest;

/* Reads every dataset of the file. With a communicator the ranks share the blocks and all get the
 * result; NULL: alone. */
sq_status sq_manifest_compute(const char *path, const sq_comm *comm, sq_manifest *out);
/* As stored in the file. SQ_ERR_FORMAT when there is none. */
sq_status sq_manifest_load(const char *path, sq_manifest *out);
/* Add /manifest to the closed file. One process. */
sq_status sq_manifest_store(const char *path, const sq_manifest *manifest);
void sq_manifest_clear(sq_manifest *manifest);

/* The additive check of one element: `bits` zero-extended, `index` its place in row-major order. */
static inline uint64_t sq_element_mix(uint64_t bits, uint64_t index)
{
    uint64_t x = bits ^ index * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}
uint64_t sq_element_sum(const void *data, size_t width, int64_t n, uint64_t first);

/* Hash of the bytes behind the user block; shared by the ranks when there is a communicator. */
sq_status sq_seal_compute(const char *path, const sq_comm *comm, sq_hash *hash, uint64_t *bytes);
sq_status sq_seal_write(const char *path, sq_hash hash, uint64_t bytes, sq_hash manifest);
/* The seal of a file without a manifest. */
sq_status sq_seal_data(const char *path);
/* `kind`: "release", or "data" for files without a manifest (its hash is 0).
 * SQ_ERR_FORMAT when the file does not begin with such a seal, SQ_ERR_CORRUPT when the seal itself is
 * damaged. */
sq_status sq_seal_read(const char *path, const char *kind, sq_hash *hash, uint64_t *bytes,
                       sq_hash *manifest);

#endif
