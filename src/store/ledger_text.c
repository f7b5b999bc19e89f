#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/ledger_internal.h"
#include "store/shard_internal.h"

static const char *const names[SQ_EVENT_COUNT] = {
    [SQ_EVENT_PLAN] = "plan",       [SQ_EVENT_START] = "start",
    [SQ_EVENT_STOP] = "stop",       [SQ_EVENT_ATTEMPT] = "attempt",
    [SQ_EVENT_COMMIT] = "commit",   [SQ_EVENT_FAIL] = "fail",
    [SQ_EVENT_DEATH] = "death",     [SQ_EVENT_QUARANTINE] = "quarantine",
    [SQ_EVENT_BARRIER] = "barrier", [SQ_EVENT_REDUCE] = "reduce",
    [SQ_EVENT_NOTE] = "note",       [SQ_EVENT_REOPEN] = "reopen",
    [SQ_EVENT_SUSPECT] = "suspect",
};

const char *sq_event_name(sq_event_kind kind)
{
    return (unsigned)kind < SQ_EVENT_COUNT ? names[kind] : "unknown";
}

/* ---- Writing ---- */

typedef struct writer {
    char *at, *end;
} writer;

static void put(writer *w, const char *text)
{
    while (*text && w->at < w->end)
        *w->at++ = *text++;
}

static void put_number(writer *w, const char *key, uint64_t value)
{
    char text[64];
    if (!value)
        return;
    snprintf(text, sizeof text, " %s=%" PRIu64, key, value);
    put(w, text);
}

static void put_hash(writer *w, const char *key, sq_hash hash)
{
    char text[SQ_HASH_TEXT];
    if (!hash.low && !hash.high)
        return;
    sq_hash_text(hash, text);
    put(w, " ");
    put(w, key);
    put(w, "=");
    put(w, text);
}

static void put_text(writer *w, const char *key, const char *text)
{
    static const char digits[] = "0123456789abcdef";
    if (!text[0])
        return;
    put(w, " ");
    put(w, key);
    put(w, "=");
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        char escaped[4] = {(char)*c};
        if (*c <= ' ' || *c == '%' || *c == 0x7f)
            memcpy(escaped, (char[]){'%', digits[*c >> 4], digits[*c & 15], 0}, 4);
        put(w, escaped);
    }
}

size_t sq_ledger_format(const sq_event *event, int64_t sequence, const char *stamp, uint64_t chain,
                        char line[SQ_LEDGER_LINE])
{
    char head[96], hash[17];
    writer w = {line + 16, line + SQ_LEDGER_LINE - 2};
    snprintf(head, sizeof head, " %" PRId64 " %.23s %s", sequence, stamp,
             sq_event_name(event->kind));
    put(&w, head);
    put_number(&w, "execution", event->execution);
    put_number(&w, "phase", event->phase);
    put_number(&w, "patch", event->patch);
    put_number(&w, "realisation", event->realisation);
    put_number(&w, "attempt", event->attempt);
    put_number(&w, "count", event->count);
    put_number(&w, "rows", event->rows);
    if (event->status != SQ_OK)
        put_text(&w, "status", sq_status_name(event->status));
    put_text(&w, "segment", event->place.segment);
    put_number(&w, "offset", event->place.offset);
    put_number(&w, "length", event->place.length);
    put_hash(&w, "hash", event->place.hash);
    put_hash(&w, "config", event->config);
    put_hash(&w, "input", event->input);
    put_hash(&w, "model", event->model);
    put_text(&w, "text", event->text);
    uint64_t parts[2] = {chain, sq_hash64(line + 16, (size_t)(w.at - line) - 16)};
    snprintf(hash, sizeof hash, "%016" PRIx64, sq_hash64(parts, sizeof parts));
    memcpy(line, hash, 16);
    *w.at++ = '\n';
    return (size_t)(w.at - line);
}

/* ---- Reading ---- */

static int read_number(const char *text, uint64_t *out)
{
    char *end;
    if (!isdigit((unsigned char)text[0]))
        return 0;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static int read_u32(const char *text, uint32_t *out)
{
    uint64_t value;
    if (!read_number(text, &value) || value > UINT32_MAX)
        return 0;
    *out = (uint32_t)value;
    return 1;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int read_text(const char *text, char *out, size_t size)
{
    size_t n = 0;
    while (*text) {
        int c = (unsigned char)*text++;
        if (c == '%') {
            int high = hex_digit(text[0]), low = high < 0 ? -1 : hex_digit(text[1]);
            if (low < 0)
                return 0;
            c = high * 16 + low;
            text += 2;
        }
        if (n + 1 >= size || c == 0)
            return 0;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return 1;
}

static int read_status(const char *text, sq_status *out)
{
    for (int code = 0; code < SQ_STATUS_COUNT; code++) {
        if (strcmp(text, sq_status_name((sq_status)code)) == 0) {
            *out = (sq_status)code;
            return 1;
        }
    }
    return 0;
}

static int read_segment(const char *text, char *out)
{
    return read_text(text, out, SQ_SEGMENT_NAME) && sq_segment_name_is_good(out);
}

static int read_field(const char *key, const char *value, sq_event *e)
{
    if (strcmp(key, "execution") == 0)
        return read_u32(value, &e->execution);
    if (strcmp(key, "phase") == 0)
        return read_u32(value, &e->phase);
    if (strcmp(key, "patch") == 0)
        return read_number(value, &e->patch);
    if (strcmp(key, "realisation") == 0)
        return read_u32(value, &e->realisation);
    if (strcmp(key, "attempt") == 0)
        return read_u32(value, &e->attempt);
    if (strcmp(key, "count") == 0)
        return read_number(value, &e->count);
    if (strcmp(key, "rows") == 0)
        return read_number(value, &e->rows);
    if (strcmp(key, "status") == 0)
        return read_status(value, &e->status);
    if (strcmp(key, "segment") == 0)
        return read_segment(value, e->place.segment);
    if (strcmp(key, "offset") == 0)
        return read_number(value, &e->place.offset);
    if (strcmp(key, "length") == 0)
        return read_number(value, &e->place.length);
    if (strcmp(key, "hash") == 0)
        return sq_hash_parse(value, &e->place.hash) == SQ_OK;
    if (strcmp(key, "config") == 0)
        return sq_hash_parse(value, &e->config) == SQ_OK;
    if (strcmp(key, "input") == 0)
        return sq_hash_parse(value, &e->input) == SQ_OK;
    if (strcmp(key, "model") == 0)
        return sq_hash_parse(value, &e->model) == SQ_OK;
    if (strcmp(key, "text") == 0)
        return read_text(value, e->text, sizeof e->text);
    return 0;
}

static int read_kind(const char *text, sq_event_kind *out)
{
    for (int k = 0; k < SQ_EVENT_COUNT; k++) {
        if (strcmp(text, names[k]) == 0) {
            *out = (sq_event_kind)k;
            return 1;
        }
    }
    return 0;
}

/* The fields of a line whose checksum is right; the copy is cut into words in place. */
static const char *read_event(char *copy, int64_t sequence, sq_event *event)
{
    char *save = NULL, *word = strtok_r(copy, " ", &save);
    uint64_t number;
    memset(event, 0, sizeof *event);
    if (!word || !read_number(word, &number) || number != (uint64_t)sequence)
        return "a line is missing or repeated";
    if (!strtok_r(NULL, " ", &save))
        return "no time";
    word = strtok_r(NULL, " ", &save);
    if (!word || !read_kind(word, &event->kind))
        return "an event that this version does not know";
    while ((word = strtok_r(NULL, " ", &save)) != NULL) {
        char *value = strchr(word, '=');
        if (!value)
            return "a field without a value";
        *value++ = '\0';
        if (!read_field(word, value, event))
            return "a field that this version does not know, or a bad value";
    }
    return NULL;
}

/* NULL when the line (without its newline) is right, else what is wrong. */
static const char *read_line(const char *line, size_t n, const sq_ledger_state *state,
                             sq_event *event)
{
    char copy[SQ_LEDGER_LINE], hash[17];
    if (n < 20 || n >= SQ_LEDGER_LINE - 16 || memchr(line, '\0', n))
        return "not a line of a ledger";
    uint64_t parts[2] = {state->chain, sq_hash64(line + 16, n - 16)};
    snprintf(hash, sizeof hash, "%016" PRIx64, sq_hash64(parts, sizeof parts));
    if (memcmp(hash, line, 16) != 0)
        return "the checksum does not match (changed, or a line before it is missing)";
    memcpy(copy, line + 16, n - 16);
    copy[n - 16] = '\0';
    return read_event(copy, state->sequence + 1, event);
}

sq_status sq_ledger_parse(const char *text, size_t size, const char *name, sq_ledger_visit visit,
                          void *user, sq_ledger_state *state, size_t *good)
{
    sq_event event;
    for (*good = 0; *good < size;) {
        const char *at = text + *good, *newline = memchr(at, '\n', size - *good);
        if (!newline)
            return SQ_OK; /* torn: the newline is written last */
        size_t n = (size_t)(newline - at);
        const char *wrong = read_line(at, n, state, &event);
        int64_t line = state->sequence + 1;
        if (wrong)
            return sq_fail(SQ_ERR_CORRUPT, "%s:%lld: %s", name, (long long)line, wrong);
        state->chain = sq_hash64(at, n);
        state->sequence = line;
        *good += n + 1;
        sq_status rc = visit ? visit(user, &event, line) : SQ_OK;
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}

/* What follows the last whole line is torn when it has no newline either, however long it is. */
static sq_status read_tail(FILE *file, const char *name, const sq_ledger_state *state, char *buffer,
                           size_t capacity, uint64_t *size)
{
    for (size_t n; (n = fread(buffer, 1, capacity, file)) > 0; *size += n) {
        if (memchr(buffer, '\n', n))
            return sq_fail(SQ_ERR_CORRUPT, "%s:%lld: not a line of a ledger", name,
                           (long long)state->sequence + 1);
    }
    return SQ_OK;
}

sq_status sq_ledger_read(const char *path, sq_ledger_visit visit, void *user,
                         sq_ledger_state *state, uint64_t *good, uint64_t *size)
{
    enum { BUFFER = 1 << 20 };
    char *buffer = NULL;
    size_t used = 0, n, whole;
    sq_status rc = SQ_OK;
    FILE *file = fopen(path, "rb");
    if (!file)
        return sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    setvbuf(file, NULL, _IONBF, 0);
    *good = *size = 0;
    SQ_TRY(SQ_ALLOC(buffer, BUFFER, "ledger"));
    while (used < BUFFER && (n = fread(buffer + used, 1, BUFFER - used, file)) > 0) {
        used += n;
        *size += n;
        SQ_TRY(sq_ledger_parse(buffer, used, path, visit, user, state, &whole));
        used -= whole;
        *good += whole;
        memmove(buffer, buffer + whole, used);
    }
    if (used == BUFFER)
        SQ_TRY(read_tail(file, path, state, buffer, BUFFER, size));
    if (ferror(file))
        rc = sq_fail(SQ_ERR_IO, "%s: cannot read: %s", path, strerror(errno));
cleanup:
    fclose(file);
    sq_free(buffer);
    return rc;
}
