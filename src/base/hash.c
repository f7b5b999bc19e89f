#include "base/hash.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"

struct sq_hasher {
    XXH3_state_t *state;
};

static sq_hash from_xxh(XXH128_hash_t h)
{
    return (sq_hash){h.low64, h.high64};
}

sq_hash sq_hash_bytes(const void *data, size_t size)
{
    return from_xxh(XXH3_128bits(data, size));
}

sq_hash sq_hash_combine(sq_hash a, sq_hash b)
{
    uint64_t words[4] = {a.low, a.high, b.low, b.high};
    return sq_hash_bytes(words, sizeof words);
}

int sq_hash_equal(sq_hash a, sq_hash b)
{
    return a.low == b.low && a.high == b.high;
}

void sq_hash_text(sq_hash hash, char out[SQ_HASH_TEXT])
{
    snprintf(out, SQ_HASH_TEXT, "%016llx%016llx", (unsigned long long)hash.high,
             (unsigned long long)hash.low);
}

sq_status sq_hash_parse(const char *text, sq_hash *out)
{
    char copy[17];
    if (strlen(text) != 32 || strspn(text, "0123456789abcdef") != 32)
        return sq_fail(SQ_ERR_FORMAT, "'%.40s' is not a hash of 32 hexadecimal digits", text);
    memcpy(copy, text, 16);
    copy[16] = '\0';
    unsigned long long high, low;
    sscanf(copy, "%llx", &high);
    sscanf(text + 16, "%llx", &low);
    *out = (sq_hash){low, high};
    return SQ_OK;
}

uint64_t sq_hash64(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
}

sq_status sq_hasher_create(sq_hasher **out)
{
    sq_status rc = sq_alloc(out, 1, sizeof **out, "hash state");
    if (rc != SQ_OK)
        return rc;
    (*out)->state = XXH3_createState();
    if (!(*out)->state) {
        sq_free(*out);
        *out = NULL;
        return sq_fail(SQ_ERR_NOMEM, "hash state: cannot allocate");
    }
    XXH3_128bits_reset((*out)->state);
    return SQ_OK;
}

void sq_hasher_add(sq_hasher *hasher, const void *data, size_t size)
{
    XXH3_128bits_update(hasher->state, data, size);
}

sq_hash sq_hasher_finish(sq_hasher *hasher)
{
    return from_xxh(XXH3_128bits_digest(hasher->state));
}

void sq_hasher_destroy(sq_hasher *hasher)
{
    if (!hasher)
        return;
    XXH3_freeState(hasher->state);
    sq_free(hasher);
}

sq_status sq_hash_file(const char *path, sq_hash *out)
{
    sq_status rc = SQ_OK;
    sq_hasher *hasher = NULL;
    unsigned char *buffer = NULL;
    FILE *file = fopen(path, "rb");
    if (!file)
        return sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    SQ_TRY(sq_hasher_create(&hasher));
    SQ_TRY(sq_alloc(&buffer, 1 << 20, 1, "file buffer"));
    for (size_t n; (n = fread(buffer, 1, 1 << 20, file)) > 0;)
        sq_hasher_add(hasher, buffer, n);
    if (ferror(file)) {
        rc = sq_fail(SQ_ERR_IO, "%s: cannot read: %s", path, strerror(errno));
        goto cleanup;
    }
    *out = sq_hasher_finish(hasher);
cleanup:
    sq_free(buffer);
    sq_hasher_destroy(hasher);
    fclose(file);
    return rc;
}
