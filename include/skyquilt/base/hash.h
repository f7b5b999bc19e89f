/* 128-bit content hashes (XXH3). Not cryptographic: they find accidents, not attackers. Local. */
#ifndef SQ_BASE_HASH_H
#define SQ_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct sq_hash {
    uint64_t low, high;
} sq_hash;

enum { SQ_HASH_TEXT = 33 };   /* 32 hexadecimal digits and the terminator */

sq_hash sq_hash_bytes(const void *data, size_t size);
sq_hash sq_hash_combine(sq_hash a, sq_hash b);   /* order matters */
int sq_hash_equal(sq_hash a, sq_hash b);
void sq_hash_text(sq_hash hash, char out[SQ_HASH_TEXT]);
sq_status sq_hash_parse(const char *text, sq_hash *out);
sq_status sq_hash_file(const char *path, sq_hash *out);   /* streams the file */
uint64_t sq_hash64(const void *data, size_t size);        /* XXH3_64bits */

/* Incremental hashing. */
typedef struct sq_hasher sq_hasher;
sq_status sq_hasher_create(sq_hasher **out);
void sq_hasher_add(sq_hasher *hasher, const void *data, size_t size);
sq_hash sq_hasher_finish(sq_hasher *hasher);   /* may be called repeatedly */
void sq_hasher_destroy(sq_hasher *hasher);

#endif
