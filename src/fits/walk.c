#include "fits/input.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fits/cards.h"

enum { BLOCK = 2880, CARDS = BLOCK / SQ_CARD, MAX_BLOCKS = 4096, MAX_HDUS = 100000, MAX_AXES = 9 };

typedef struct shape {
    int64_t bitpix, naxis, axis[MAX_AXES], pcount, gcount;
    int random_groups;
} shape;

/* A mandatory integer card within bounds. */
static sq_status need(const char *path, int hdu, const char *header, const char *key, int64_t low,
                      int64_t high, int64_t *out)
{
    if (!sq_cards_int(header, key, out))
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: %s: missing or not an integer", path, hdu, key);
    if (*out < low || *out > high)
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: %s: %lld is out of range", path, hdu, key,
                       (long long)*out);
    return SQ_OK;
}

/* What a table needs beside: cfitsio trusts these cards. */
static sq_status check_table(const char *path, int hdu, const char *header, const shape *s)
{
    char type[24], form[72];
    int64_t fields = 0;
    if (!sq_cards_text(header, "XTENSION", type, sizeof type) ||
        (strcmp(type, "BINTABLE") != 0 && strcmp(type, "TABLE") != 0))
        return SQ_OK;
    if (s->bitpix != 8 || s->naxis != 2 || s->gcount != 1)
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: NAXIS: a table has 2 axes of bytes", path, hdu);
    sq_status rc = need(path, hdu, header, "TFIELDS", 0, 999, &fields);
    for (int k = 1; k <= fields && rc == SQ_OK; k++) {
        char key[16];
        snprintf(key, sizeof key, "TFORM%d", k);
        if (!sq_cards_text(header, key, form, sizeof form) || !form[0])
            rc = sq_fail(SQ_ERR_FORMAT, "%s[%d]: %s: missing", path, hdu, key);
    }
    return rc;
}

static sq_status parse(const char *path, int hdu, const char *header, shape *s)
{
    sq_status rc = SQ_OK;
    SQ_TRY(need(path, hdu, header, "BITPIX", -64, 64, &s->bitpix));
    int64_t b = s->bitpix < 0 ? -s->bitpix : s->bitpix;
    if ((b != 8 && b != 16 && b != 32 && b != 64) || s->bitpix == -8 || s->bitpix == -16)
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: BITPIX: %lld is out of range", path, hdu,
                       (long long)s->bitpix);
    SQ_TRY(need(path, hdu, header, "NAXIS", 0, MAX_AXES, &s->naxis));
    for (int k = 0; k < s->naxis; k++) {
        char key[16];
        snprintf(key, sizeof key, "NAXIS%d", k + 1);
        SQ_TRY(need(path, hdu, header, key, 0, (int64_t)1 << 40, &s->axis[k]));
    }
    s->pcount = 0;
    s->gcount = 1;
    int64_t value;
    if (sq_cards_int(header, "PCOUNT", &value))
        SQ_TRY(need(path, hdu, header, "PCOUNT", 0, (int64_t)1 << 46, &s->pcount));
    if (sq_cards_int(header, "GCOUNT", &value))
        SQ_TRY(need(path, hdu, header, "GCOUNT", 1, (int64_t)1 << 20, &s->gcount));
    if (sq_cards_true(header, "GROUPS"))
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: GROUPS: random groups are not supported", path, hdu);
    rc = check_table(path, hdu, header, s);
cleanup:
    return rc;
}

/* Bytes of the data unit without padding, -1 when they do not fit a 64-bit number. */
static int64_t data_bytes(const shape *s)
{
    int64_t n = s->naxis > 0 ? 1 : 0;
    for (int k = 0; k < s->naxis; k++) {
        if (__builtin_mul_overflow(n, s->axis[k], &n))
            return -1;
    }
    int64_t b = s->bitpix < 0 ? -s->bitpix : s->bitpix;
    if (__builtin_add_overflow(n, s->pcount, &n) || __builtin_mul_overflow(n, s->gcount, &n) ||
        __builtin_mul_overflow(n, b / 8, &n) || n > INT64_MAX - BLOCK)
        return -1;
    return n;
}

static sq_status check_start(const char *path, int hdu, const char *block)
{
    if (hdu == 0 && memcmp(block, "SIMPLE  =", 9) != 0)
        return sq_fail(SQ_ERR_FORMAT, "%s[0]: not a FITS file", path);
    if (hdu > 0 && memcmp(block, "XTENSION=", 9) != 0)
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: XTENSION: no header where one is expected", path,
                       hdu);
    return SQ_OK;
}

static int has_end(const char *block)
{
    for (int c = 0; c < CARDS; c++) {
        if (memcmp(block + c * SQ_CARD, "END     ", 8) == 0)
            return 1;
    }
    return 0;
}

/* One header at `offset` into `header` (NUL-terminated, grown); *end: where its data begin. */
static sq_status read_header(const char *path, int hdu, int64_t size, sq_input_reader read,
                             void *user, int64_t *offset, char **header, size_t *capacity)
{
    sq_status rc = SQ_OK;
    for (int blocks = 0;; blocks++) {
        if (blocks == MAX_BLOCKS)
            return sq_fail(SQ_ERR_FORMAT, "%s[%d]: END: none in %d blocks", path, hdu, blocks);
        if (*offset + BLOCK > size)
            return sq_fail(SQ_ERR_FORMAT, "%s[%d]: truncated inside a header (%lld bytes)", path,
                           hdu, (long long)size);
        SQ_TRY(SQ_GROW(*header, *capacity, (size_t)(blocks + 1) * BLOCK + 1, "header"));
        char *block = *header + (size_t)blocks * BLOCK;
        SQ_TRY(read(user, *offset, BLOCK, block));
        block[BLOCK] = '\0';
        *offset += BLOCK;
        if (blocks == 0)
            SQ_TRY(check_start(path, hdu, block));
        if (memchr(block, '\0', BLOCK))
            return sq_fail(SQ_ERR_FORMAT, "%s[%d]: header with binary bytes", path, hdu);
        if (has_end(block))
            break;
    }
cleanup:
    return rc;
}

/* What follows the last HDU: padding of zeros and blanks, or records that no reader looks at. */
static int more_follows(int64_t size, int64_t offset, sq_input_reader read, void *user)
{
    char start[9];
    return offset + (int64_t)sizeof start <= size &&
           read(user, offset, sizeof start, start) == SQ_OK && memcmp(start, "XTENSION=", 9) == 0;
}

sq_status sq_input_walk(const char *path, int64_t size, int whole, sq_input_reader read, void *user,
                        int *hdus)
{
    sq_status rc = SQ_OK;
    char *header = NULL;
    size_t capacity = 0;
    int64_t offset = 0;
    *hdus = 0;
    if (size == 0)
        return sq_fail(SQ_ERR_FORMAT, "%s[0]: empty file", path);
    for (int hdu = 0; hdu < MAX_HDUS; hdu++) {
        shape s;
        SQ_TRY(read_header(path, hdu, size, read, user, &offset, &header, &capacity));
        SQ_TRY(parse(path, hdu, header, &s));
        *hdus = hdu + 1;
        int64_t bytes = data_bytes(&s);
        if (bytes < 0)
            SQ_TRY(
                sq_fail(SQ_ERR_FORMAT, "%s[%d]: NAXIS: data of more than 2^63 bytes", path, hdu));
        if (whole && bytes > size - offset)
            SQ_TRY(sq_fail(SQ_ERR_FORMAT,
                           "%s[%d]: truncated: the data need %lld bytes, the file "
                           "has %lld",
                           path, hdu, (long long)bytes, (long long)(size - offset)));
        if (bytes > size - offset)
            break;
        offset += (bytes + BLOCK - 1) / BLOCK * BLOCK;
        if (!more_follows(size, offset, read, user))
            break;
    }
cleanup:
    sq_free(header);
    return rc;
}
