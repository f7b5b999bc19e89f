#include "assess/json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { MAX_DEPTH = 64, MAX_FILE = 256 << 20 };

sq_status json_create(const char *path, json *out)
{
    *out = (json){fopen(path, "w"), 1};
    return out->out ? SQ_OK : sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
}

static void put_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 32)
            fprintf(out, "\\u%04x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

static void key(json *j, const char *name)
{
    fputs(j->first ? "" : ", ", j->out);
    if (name) {
        put_string(j->out, name);
        fputs(": ", j->out);
    }
    j->first = 0;
}

void json_open(json *j, const char *name, char bracket)
{
    key(j, name);
    fputc(bracket, j->out);
    j->first = 1;
}

void json_close(json *j, char bracket)
{
    fputc(bracket, j->out);
    j->first = 0;
}

void json_real(json *j, const char *name, double value)
{
    key(j, name);
    if (isfinite(value))
        fprintf(j->out, "%.9g", value == 0 ? 0 : value);
    else
        fprintf(j->out, "null");
}

void json_integer(json *j, const char *name, int64_t value)
{
    key(j, name);
    fprintf(j->out, "%lld", (long long)value);
}

void json_boolean(json *j, const char *name, int value)
{
    key(j, name);
    fputs(value ? "true" : "false", j->out);
}

void json_text(json *j, const char *name, const char *value)
{
    key(j, name);
    put_string(j->out, value);
}

sq_status json_finish(json *j, const char *path)
{
    fputc('\n', j->out);
    int bad = ferror(j->out);
    if (fclose(j->out) != 0 || bad)
        return sq_fail(SQ_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
    return SQ_OK;
}

/* ---- Reading ---- */

typedef struct reader {
    const char *path, *start, *at, *end;
    int depth;
} reader;

static sq_status bad(const reader *r, const char *reason)
{
    int line = 1;
    for (const char *c = r->start; c < r->at && c < r->end; c++)
        line += *c == '\n';
    return sq_fail(SQ_ERR_FORMAT, "%s:%d: %s", r->path, line, reason);
}

static int peek(reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
        r->at++;
    return r->at < r->end ? (unsigned char)*r->at : -1;
}

static int hex4(reader *r, unsigned *out)
{
    *out = 0;
    for (int k = 0; k < 4; k++, r->at++) {
        const char *digits = "0123456789abcdefABCDEF", *at;
        if (r->at >= r->end || !*r->at || !(at = strchr(digits, *r->at)))
            return 0;
        unsigned digit = (unsigned)(at - digits);
        *out = 16 * *out + (digit < 16 ? digit : digit - 6);
    }
    return 1;
}

static char *put_utf8(char *to, unsigned code)
{
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 63));
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    }
    return to;
}

/* After the backslash. Halves of surrogate pairs that stand alone become U+FFFD. */
static sq_status read_escape(reader *r, char **to)
{
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    unsigned code, low;
    if (r->at >= r->end)
        return bad(r, "the text does not end");
    char c = *r->at++;
    const char *simple = c ? strchr(from, c) : NULL;
    if (simple) {
        *(*to)++ = into[simple - from];
        return SQ_OK;
    }
    if (c != 'u' || !hex4(r, &code))
        return bad(r, "not an escape");
    if (code >= 0xd800 && code < 0xdc00 && r->end - r->at > 6 && r->at[0] == '\\' &&
        r->at[1] == 'u') {
        r->at += 2;
        if (!hex4(r, &low))
            return bad(r, "not an escape");
        code = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)
                                             : 0xfffd;
    }
    if ((code >= 0xd800 && code < 0xe000) || code == 0)
        code = 0xfffd;
    *to = put_utf8(*to, code);
    return SQ_OK;
}

static sq_status read_string(reader *r, char **out)
{
    sq_status rc = SQ_OK;
    const char *close = ++r->at;
    while (close < r->end && *close != '"')
        close += *close == '\\' && close + 1 < r->end ? 2 : 1;
    if (close >= r->end)
        return bad(r, "the text does not end");
    /* Escapes never grow. */
    rc = sq_alloc(out, (size_t)(close - r->at) + 4, 1, "JSON text");
    if (rc != SQ_OK)
        return rc;
    char *to = *out;
    while (rc == SQ_OK && r->at < close) {
        unsigned char c = (unsigned char)*r->at++;
        if (c == '\\')
            rc = read_escape(r, &to);
        else if (c < 32)
            rc = bad(r, "a control character in a text");
        else
            *to++ = (char)c;
    }
    if (rc == SQ_OK)
        r->at = close + 1;
    return rc;
}

static sq_status read_number(reader *r, json_value *v)
{
    char text[64];
    size_t n = 0;
    while (r->at + n < r->end && n < sizeof text - 1 && r->at[n] &&
           strchr("+-.eE0123456789", r->at[n]))
        n++;
    memcpy(text, r->at, n);
    text[n] = '\0';
    char *end;
    v->kind = JSON_NUMBER;
    v->number = strtod(text, &end);
    if (n == 0 || *end || text[0] == '+' || text[0] == '.')
        return bad(r, "not a value");
    r->at += n;
    return SQ_OK;
}

static sq_status read_word(reader *r, json_value *v)
{
    static const struct {
        const char *word;
        json_kind kind;
    } words[] = {{"null", JSON_NULL}, {"true", JSON_TRUE}, {"false", JSON_FALSE}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i].word);
        if ((size_t)(r->end - r->at) >= n && memcmp(r->at, words[i].word, n) == 0) {
            v->kind = words[i].kind;
            r->at += n;
            return SQ_OK;
        }
    }
    return read_number(r, v);
}

static sq_status read_value(reader *r, json_value *v);

static sq_status read_name(reader *r, json_value *item)
{
    if (peek(r) != '"')
        return bad(r, "a member without a name");
    sq_status rc = read_string(r, &item->name);
    if (rc == SQ_OK && peek(r) != ':')
        return bad(r, "no ':' after a name");
    r->at += rc == SQ_OK;
    return rc;
}

static sq_status read_items(reader *r, json_value *v, char close)
{
    size_t capacity = 0;
    if (++r->depth > MAX_DEPTH)
        return bad(r, "nested too deep");
    r->at++;
    for (int c = peek(r); c != close; c = peek(r)) {
        if (v->count && (c != ',' || (r->at++, 0)))
            return bad(r, "no ',' between values");
        sq_status rc = SQ_GROW(v->item, capacity, v->count + 1, "JSON values");
        if (rc != SQ_OK)
            return rc;
        json_value *item = &v->item[v->count++];
        if (close == '}')
            rc = read_name(r, item);
        if (rc == SQ_OK)
            rc = read_value(r, item);
        if (rc != SQ_OK)
            return rc;
    }
    r->at++;
    r->depth--;
    return SQ_OK;
}

static sq_status read_value(reader *r, json_value *v)
{
    switch (peek(r)) {
    case '{':
        v->kind = JSON_OBJECT;
        return read_items(r, v, '}');
    case '[':
        v->kind = JSON_ARRAY;
        return read_items(r, v, ']');
    case '"':
        v->kind = JSON_STRING;
        return read_string(r, &v->string);
    default:
        return read_word(r, v);
    }
}

sq_status json_parse(const char *data, size_t size, const char *path, json_value **out)
{
    reader r = {path, data, data, data + size, 0};
    json_value *v = NULL;
    sq_status rc;
    SQ_TRY(SQ_ALLOC(v, 1, "JSON"));
    SQ_TRY(read_value(&r, v));
    if (peek(&r) >= 0)
        SQ_TRY(bad(&r, "more after the end"));
    *out = v;
    v = NULL;
cleanup:
    json_free(v);
    return rc;
}

sq_status json_load(const char *path, json_value **out)
{
    sq_status rc = SQ_OK;
    char *data = NULL;
    long size = -1;
    FILE *in = fopen(path, "rb");
    if (!in)
        return sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    if (fseek(in, 0, SEEK_END) == 0)
        size = ftell(in);
    if (size < 0 || size > MAX_FILE)
        SQ_TRY(sq_fail(SQ_ERR_FORMAT, "%s: not a file of at most 256 MiB", path));
    rewind(in);
    SQ_TRY(SQ_ALLOC(data, size + 1, "JSON"));
    if (fread(data, 1, (size_t)size, in) != (size_t)size)
        SQ_TRY(sq_fail(SQ_ERR_IO, "%s: cannot read", path));
    SQ_TRY(json_parse(data, (size_t)size, path, out));
cleanup:
    fclose(in);
    sq_free(data);
    return rc;
}

const json_value *json_member(const json_value *object, const char *name)
{
    for (int64_t i = 0; object && object->kind == JSON_OBJECT && i < object->count; i++) {
        if (object->item[i].name && strcmp(object->item[i].name, name) == 0)
            return &object->item[i];
    }
    return NULL;
}

double json_number(const json_value *object, const char *name)
{
    const json_value *v = json_member(object, name);
    return v && v->kind == JSON_NUMBER ? v->number : NAN;
}

const char *json_string(const json_value *object, const char *name)
{
    const json_value *v = json_member(object, name);
    return v && v->kind == JSON_STRING ? v->string : "";
}

static void clear(json_value *v)
{
    for (int64_t i = 0; i < v->count; i++)
        clear(&v->item[i]);
    sq_free(v->item);
    sq_free(v->name);
    sq_free(v->string);
}

void json_free(json_value *value)
{
    if (!value)
        return;
    clear(value);
    sq_free(value);
}
