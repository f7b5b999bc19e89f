#include "run/yaml.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* libcyaml reads every scalar as text into a shadow of the structure; the conversion to numbers is
 * done here, because libcyaml accepts trailing characters and octal numbers. Where a line is not
 * known, the file is read again with a schema that rejects exactly the key in question: the
 * backtrace then names its line. */

enum { MAX_DEPTH = 8, MAX_ENTRIES = 1 << 20, MAX_FILE = 1 << 20, LOG_SIZE = 4096, KEY_SIZE = 128 };

typedef struct shadow_sequence {
    char **value;
    unsigned count;
} shadow_sequence;

typedef struct reader {
    const char *name;
    const uint8_t *data;
    size_t size;
    const char *key[MAX_DEPTH]; /* path to the present field */
    int depth;
} reader;

typedef struct text_log {
    char text[LOG_SIZE];
    size_t used;
} text_log;

static void collect(cyaml_log_t level, void *context, const char *format, va_list args)
{
    text_log *log = context;
    (void)level;
    int n = vsnprintf(log->text + log->used, sizeof log->text - log->used, format, args);
    if (n > 0)
        log->used += (size_t)n;
    if (log->used >= sizeof log->text)
        log->used = sizeof log->text - 1;
}

static cyaml_config_t settings(text_log *log)
{
    return (cyaml_config_t){.log_fn = collect,
                            .log_ctx = log,
                            .mem_fn = cyaml_mem,
                            .log_level = CYAML_LOG_WARNING,
                            .flags = CYAML_CFG_NO_ALIAS};
}

static int is_sequence(sq_config_type type)
{
    return type == SQ_CONFIG_REALS || type == SQ_CONFIG_TEXTS;
}

static size_t slot_size(const sq_config_field *field)
{
    return is_sequence(field->type) ? sizeof(shadow_sequence) : sizeof(char *);
}

static size_t shadow_size(const sq_config_field *fields)
{
    size_t size = 0;
    for (const sq_config_field *f = fields; f->key; f++)
        size += slot_size(f);
    return size ? size : sizeof(char *);
}

static const cyaml_schema_value_t text_entry = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};

static void schema_destroy(cyaml_schema_field_t *schema)
{
    if (!schema)
        return;
    for (cyaml_schema_field_t *s = schema; s->key; s++) {
        if (s->value.type == CYAML_MAPPING)
            schema_destroy((cyaml_schema_field_t *)(uintptr_t)s->value.mapping.fields);
    }
    sq_free(schema);
}

static sq_status schema_create(const sq_config_field *fields, cyaml_schema_field_t **out)
{
    sq_status rc = SQ_OK;
    size_t n = 0, offset = 0;
    for (const sq_config_field *f = fields; f->key; f++)
        n++;
    cyaml_schema_field_t *schema = NULL;
    SQ_TRY(SQ_ALLOC(schema, n + 1, "YAML schema"));
    for (size_t i = 0; i < n; i++) {
        cyaml_schema_field_t *s = &schema[i];
        s->data_offset = (uint32_t)offset;
        s->value.flags = CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER;
        if (fields[i].type == SQ_CONFIG_GROUP) {
            cyaml_schema_field_t *child = NULL;
            SQ_TRY(schema_create(fields[i].fields, &child));
            s->value.type = CYAML_MAPPING;
            s->value.mapping.fields = child;
            s->value.data_size = (uint32_t)shadow_size(fields[i].fields);
        } else if (is_sequence(fields[i].type)) {
            s->value.type = CYAML_SEQUENCE;
            s->value.sequence.entry = &text_entry;
            s->value.sequence.max = MAX_ENTRIES;
            s->value.data_size = sizeof(char *);
            s->count_offset = (uint32_t)(offset + offsetof(shadow_sequence, count));
            s->count_size = sizeof(unsigned);
        } else {
            s->value.type = CYAML_STRING;
            s->value.string.max = CYAML_UNLIMITED;
            s->value.data_size = 1;
        }
        s->key = fields[i].key;
        offset += slot_size(&fields[i]);
    }
    *out = schema;
    return SQ_OK;
cleanup:
    schema_destroy(schema);
    return rc;
}

/* The line in "(line: N, column: M)" after `from`, 0 without. */
static unsigned line_in(const char *from)
{
    const char *found = strstr(from, "(line: ");
    return found ? (unsigned)strtoul(found + 7, NULL, 10) : 0;
}

/* The line of the value at a path of keys, 0 when there is none. */
static unsigned locate(const reader *r, const char *const *key, int depth)
{
    cyaml_schema_field_t level[MAX_DEPTH][2];
    memset(level, 0, sizeof level);
    for (int i = depth - 1; i >= 0; i--) {
        level[i][0].key = key[i];
        level[i][0].value.flags = CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER;
        level[i][0].value.data_size = sizeof(char *);
        level[i][0].value.type = i == depth - 1 ? CYAML_ENUM : CYAML_MAPPING;
        if (i == depth - 1)
            level[i][0].value.flags |= CYAML_FLAG_STRICT;
        else
            level[i][0].value.mapping.fields = level[i + 1];
    }
    cyaml_schema_value_t top = {.type = CYAML_MAPPING,
                                .flags = CYAML_FLAG_POINTER,
                                .data_size = sizeof(char *),
                                .mapping = {.fields = level[0]}};
    text_log log = {.used = 0};
    cyaml_config_t config = settings(&log);
    config.flags |= CYAML_CFG_IGNORE_UNKNOWN_KEYS;
    cyaml_data_t *data = NULL;
    cyaml_err_t error = cyaml_load_data(r->data, r->size, &config, &top, &data, NULL);
    if (data)
        cyaml_free(&config, &top, data, 0);
    return error == CYAML_OK ? 0 : line_in(log.text);
}

/* "key.subkey" with what does not print replaced. */
static void path_text(const char *const *key, int depth, char *out, size_t size)
{
    size_t used = 0;
    for (int i = 0; i < depth; i++) {
        int n = snprintf(out + used, size - used, "%s%.*s", i ? "." : "", KEY_SIZE, key[i]);
        used += n > 0 && (size_t)n < size - used ? (size_t)n : 0;
    }
    for (char *c = out; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = '?';
    }
}

static sq_status complain(const reader *r, unsigned line, const char *const *key, int depth,
                          const char *reason)
{
    char path[512] = "", where[32] = "";
    path_text(key, depth, path, sizeof path);
    if (line)
        snprintf(where, sizeof where, ":%u", line);
    return sq_fail(SQ_ERR_CONFIG, "%s%s: %s%s%s", r->name, where, path, *path ? ": " : "", reason);
}

/* A value of the present field is wrong. */
static sq_status reject(const reader *r, const char *format, ...)
{
    char reason[512];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    for (char *c = reason; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = '?';
    }
    return complain(r, locate(r, r->key, r->depth), r->key, r->depth, reason);
}

/* Edit distance of two short words, for the "did you mean" of an unknown key. */
static int distance(const char *a, const char *b)
{
    int row[64];
    size_t n = strlen(b);
    if (n >= 63 || strlen(a) >= 63)
        return 99;
    for (size_t j = 0; j <= n; j++)
        row[j] = (int)j;
    for (size_t i = 0; a[i]; i++) {
        int diagonal = row[0];
        row[0] = (int)i + 1;
        for (size_t j = 0; j < n; j++) {
            int best = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (diagonal + 1 < best)
                best = diagonal + 1;
            row[j + 1] = best;
        }
    }
    return row[n];
}

static const char *nearest(const sq_config_field *fields, const char *key)
{
    const char *best = NULL;
    int least = 3;
    for (const sq_config_field *f = fields; f->key; f++) {
        int d = distance(key, f->key);
        if (d < least) {
            least = d;
            best = f->key;
        }
    }
    return best;
}

static const sq_config_field *find_field(const sq_config_field *fields, const char *key)
{
    for (const sq_config_field *f = fields; f && f->key; f++) {
        if (strcmp(f->key, key) == 0)
            return f;
    }
    return NULL;
}

/* The keys of a backtrace, outermost first: its lines come innermost first. */
static int backtrace_path(const char *text, char key[MAX_DEPTH][KEY_SIZE])
{
    int depth = 0;
    const char mark[] = "in mapping field '";
    for (const char *p = strstr(text, mark); p && depth < MAX_DEPTH - 1; p = strstr(p, mark)) {
        p += sizeof mark - 1;
        size_t n = strcspn(p, "'\n");
        snprintf(key[depth++], KEY_SIZE, "%.*s", (int)(n < KEY_SIZE ? n : KEY_SIZE - 1), p);
    }
    for (int i = 0; i < depth / 2; i++) {
        char swap[KEY_SIZE];
        memcpy(swap, key[i], KEY_SIZE);
        memcpy(key[i], key[depth - 1 - i], KEY_SIZE);
        memcpy(key[depth - 1 - i], swap, KEY_SIZE);
    }
    return depth;
}

static const char *expected(const char *event)
{
    if (strncmp(event, "STRING", 6) == 0)
        return "must be a single value";
    if (strncmp(event, "SEQUENCE", 8) == 0)
        return "must be a sequence, as in [a, b]";
    return "must be a mapping of keys to values";
}

/* Turn what libcyaml logged into one line with file, line and key. */
static sq_status explain(const reader *r, const sq_config_field *fields, cyaml_err_t error,
                         const char *text)
{
    char store[MAX_DEPTH][KEY_SIZE], unknown[KEY_SIZE], reason[512];
    const char *key[MAX_DEPTH], *found;
    int depth = backtrace_path(text, store);
    for (int i = 0; i < depth; i++)
        key[i] = store[i];
    unsigned line = line_in(text);
    if ((found = strstr(text, "Unexpected key: "))) {
        snprintf(unknown, sizeof unknown, "%.*s", (int)strcspn(found + 16, "\n"), found + 16);
        for (int i = 0; i < depth; i++) {
            const sq_config_field *group = find_field(fields, key[i]);
            if (group && group->type == SQ_CONFIG_GROUP)
                fields = group->fields;
        }
        key[depth++] = unknown;
        unsigned exact = locate(r, key, depth);
        const char *near = nearest(fields, unknown);
        snprintf(reason, sizeof reason, near ? "unknown key; did you mean '%s'?" : "unknown key",
                 near);
        return complain(r, exact ? exact : line, key, depth, reason);
    }
    if ((found = strstr(text, "Expecting ")))
        return complain(r, line, key, depth, expected(found + 10));
    if (strstr(text, "already seen"))
        return complain(r, locate(r, key, depth), key, depth, "the key stands twice, first here");
    if ((found = strstr(text, "libyaml: "))) {
        snprintf(reason, sizeof reason, "not YAML: %.*s", (int)strcspn(found + 9, "\n"), found + 9);
        return complain(r, line, key, depth, reason);
    }
    if (error == CYAML_ERR_OOM)
        return sq_fail(SQ_ERR_NOMEM, "%s: out of memory", r->name);
    return complain(r, line, key, depth, cyaml_strerror(error));
}

static const char *type_name(const sq_config_field *f)
{
    static const char *const names[] = {
        "true or false", "integer",           "number", "text", "choice",
        "numbers",       "sequence of texts", "group"};
    return names[f->type];
}

static sq_status check_range(const reader *r, const sq_config_field *f, double value)
{
    if ((f->min != 0 || f->max != 0) && !(value >= f->min && value <= f->max))
        return reject(r, "%.10g is outside %.10g to %.10g", value, f->min, f->max);
    return SQ_OK;
}

static sq_status parse_real(const reader *r, const sq_config_field *f, const char *text,
                            double *out)
{
    char *end;
    *out = strtod(text, &end);
    if (end == text || *end || *text == ' ')
        return reject(r, "'%.60s' is not a number", text);
    if (!isfinite(*out))
        return reject(r, "'%.60s' is not a finite number", text);
    return check_range(r, f, *out);
}

static sq_status parse_int(const reader *r, const sq_config_field *f, const char *text,
                           int64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    if (end == text || *end || *text == ' ')
        return reject(r, "'%.60s' is not an integer", text);
    if (errno)
        return reject(r, "'%.60s' does not fit 64 bits", text);
    return check_range(r, f, (double)*out);
}

static sq_status parse_bool(const reader *r, const char *text, bool *out)
{
    static const char *const yes[] = {"true", "yes", "on"}, *const no[] = {"false", "no", "off"};
    for (int i = 0; i < 3; i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *out = strcasecmp(text, yes[i]) == 0;
            return SQ_OK;
        }
    }
    return reject(r, "'%.60s' is not true or false", text);
}

static sq_status parse_choice(const reader *r, const sq_config_field *f, const char *text, int *out)
{
    char list[256] = "";
    for (int i = 0; f->choices[i]; i++) {
        if (strcmp(text, f->choices[i]) == 0) {
            *out = i;
            return SQ_OK;
        }
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", f->choices[i]);
    }
    return reject(r, "'%.60s' is not one of %s", text, list);
}

static sq_status copy_reals(const reader *r, const sq_config_field *f, const shadow_sequence *in,
                            sq_config_reals *out)
{
    sq_status rc = SQ_OK;
    double *value = NULL;
    if (in->count)
        SQ_TRY(SQ_ALLOC(value, in->count, f->key));
    for (unsigned i = 0; i < in->count; i++)
        SQ_TRY(parse_real(r, f, in->value[i] ? in->value[i] : "", &value[i]));
    *out = (sq_config_reals){value, in->count};
    return SQ_OK;
cleanup:
    sq_free(value);
    return rc;
}

static sq_status copy_texts(char *const *in, unsigned count, sq_config_texts *out)
{
    sq_status rc = SQ_OK;
    *out = (sq_config_texts){0};
    if (!count)
        return SQ_OK;
    SQ_TRY(SQ_ALLOC(out->value, count, "texts"));
    for (out->count = 0; out->count < count; out->count++)
        SQ_TRY(sq_strdup(&out->value[out->count], in[out->count] ? in[out->count] : ""));
    return SQ_OK;
cleanup:
    for (unsigned i = 0; i < out->count; i++)
        sq_free(out->value[i]);
    sq_free(out->value);
    *out = (sq_config_texts){0};
    return rc;
}

/* Put the value of a slot that is present where it belongs. */
static sq_status convert_field(const reader *r, const sq_config_field *f, const void *slot,
                               void *place)
{
    const char *text = is_sequence(f->type) ? "" : *(char *const *)slot;
    const shadow_sequence *sequence = slot;
    if (!is_sequence(f->type) && f->type != SQ_CONFIG_TEXT && !*text)
        return reject(r, "has no value (%s)", type_name(f));
    switch (f->type) {
    case SQ_CONFIG_BOOL:
        return parse_bool(r, text, place);
    case SQ_CONFIG_INT:
        return parse_int(r, f, text, place);
    case SQ_CONFIG_REAL:
        return parse_real(r, f, text, place);
    case SQ_CONFIG_CHOICE:
        return parse_choice(r, f, text, place);
    case SQ_CONFIG_TEXT:
        return sq_strdup(place, text);
    case SQ_CONFIG_REALS:
        return copy_reals(r, f, sequence, place);
    case SQ_CONFIG_TEXTS:
        return copy_texts(sequence->value, sequence->count, place);
    case SQ_CONFIG_GROUP:
        break;
    }
    return sq_fail(SQ_ERR_INTERNAL, "%s: field of unknown type", f->key);
}

/* Give the structure a copy of its own of a default text or sequence. */
static sq_status own_default(const sq_config_field *f, void *place)
{
    sq_status rc = SQ_OK;
    if (f->type == SQ_CONFIG_TEXT) {
        char **text = place;
        if (*text)
            SQ_TRY(sq_strdup(text, *text));
    } else if (f->type == SQ_CONFIG_TEXTS) {
        sq_config_texts *texts = place;
        SQ_TRY(copy_texts(texts->value, texts->count, texts));
    } else if (f->type == SQ_CONFIG_REALS) {
        sq_config_reals *reals = place;
        double *copy = NULL;
        if (reals->count) {
            SQ_TRY(SQ_ALLOC(copy, reals->count, f->key));
            memcpy(copy, reals->value, reals->count * sizeof *copy);
        }
        reals->value = copy;
    }
    return SQ_OK;
cleanup:
    return rc;
}

static int is_present(const sq_config_field *f, const void *slot)
{
    if (!slot)
        return 0;
    return is_sequence(f->type) ? ((const shadow_sequence *)slot)->value != NULL
                                : *(void *const *)slot != NULL;
}

/* Fill `out` from the shadow (NULL: nothing is present) as far as there is no error. */
static sq_status convert(reader *r, const sq_config_field *fields, const char *shadow, char *out)
{
    size_t offset = 0;
    for (const sq_config_field *f = fields; f->key; f++) {
        const void *slot = shadow ? shadow + offset : NULL;
        offset += slot_size(f);
        r->key[r->depth++] = f->key;
        sq_status rc = SQ_OK;
        if (f->type == SQ_CONFIG_GROUP) {
            if (f->required && !is_present(f, slot))
                rc = complain(r, 0, r->key, r->depth, "the group is missing");
            else
                rc = convert(r, f->fields, slot ? *(char *const *)slot : NULL, out + f->offset);
        } else if (is_present(f, slot)) {
            rc = convert_field(r, f, slot, out + f->offset);
        } else if (f->required && (shadow || r->depth == 1)) {
            unsigned line = r->depth > 1 ? locate(r, r->key, r->depth - 1) : 0;
            rc = complain(r, line, r->key, r->depth, "the key is missing and has no default");
        } else {
            rc = own_default(f, out + f->offset);
        }
        r->depth--;
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}

static size_t field_size(const sq_config_field *f)
{
    static const size_t size[] = {
        sizeof(bool), sizeof(int64_t),         sizeof(double),          sizeof(char *),
        sizeof(int),  sizeof(sq_config_reals), sizeof(sq_config_texts), 0};
    return size[f->type];
}

/* Bytes from the start of the structure to the end of its last described field. */
static size_t extent(const sq_config_field *fields)
{
    size_t end = 0;
    for (const sq_config_field *f = fields; f->key; f++) {
        size_t size = f->type == SQ_CONFIG_GROUP ? extent(f->fields) : field_size(f);
        end = f->offset + size > end ? f->offset + size : end;
    }
    return end;
}

/* After a failed conversion: release what it made. A field still equal to the default's pointer was
 * not reached. */
static void undo(const sq_config_field *fields, char *now, const char *before)
{
    for (const sq_config_field *f = fields; f->key; f++) {
        if (f->type == SQ_CONFIG_GROUP) {
            undo(f->fields, now + f->offset, before + f->offset);
            continue;
        }
        if (f->type != SQ_CONFIG_TEXT && !is_sequence(f->type))
            continue;
        if (memcmp(now + f->offset, before + f->offset, sizeof(double *)) == 0)
            continue;
        sq_config_field one[2] = {*f, {.key = NULL}};
        sq_yaml_free(one, now);
    }
}

static sq_status convert_all(reader *r, const sq_config_field *fields, const char *shadow,
                             void *out)
{
    size_t size = extent(fields);
    char *before = NULL;
    sq_status rc = sq_alloc(&before, size ? size : 1, 1, "configuration");
    if (rc != SQ_OK)
        return rc;
    memcpy(before, out, size);
    rc = convert(r, fields, shadow, out);
    if (rc != SQ_OK) {
        undo(fields, out, before);
        memcpy(out, before, size);
    }
    sq_free(before);
    return rc;
}

sq_status sq_yaml_parse(const void *data, size_t size, const char *name,
                        const sq_config_field *fields, void *out)
{
    sq_status rc = SQ_OK;
    reader r = {.name = name, .data = data, .size = size};
    cyaml_schema_field_t *schema = NULL;
    char *shadow = NULL;
    text_log log = {.used = 0};
    cyaml_config_t config = settings(&log);
    cyaml_schema_value_t top = {.type = CYAML_MAPPING,
                                .flags = CYAML_FLAG_POINTER,
                                .data_size = (uint32_t)shadow_size(fields)};

    SQ_TRY(schema_create(fields, &schema));
    top.mapping.fields = schema;
    if (size) {
        cyaml_err_t error =
            cyaml_load_data(data, size, &config, &top, (cyaml_data_t **)&shadow, NULL);
        if (error != CYAML_OK) {
            rc = explain(&r, fields, error, log.text);
            goto cleanup;
        }
        if (strstr(log.text, "Ignoring documents")) {
            rc = complain(&r, 0, NULL, 0, "more than one YAML document");
            goto cleanup;
        }
    }
    SQ_TRY(convert_all(&r, fields, shadow, out));
cleanup:
    if (shadow)
        cyaml_free(&config, &top, shadow, 0);
    schema_destroy(schema);
    return rc;
}

sq_status sq_yaml_load(const char *path, const sq_config_field *fields, void *out)
{
    sq_status rc = SQ_OK;
    char *data = NULL;
    FILE *file = fopen(path, "rb");
    if (!file)
        return sq_fail(errno == ENOENT || errno == EISDIR ? SQ_ERR_CONFIG : SQ_ERR_IO, "%s: %s",
                       path, strerror(errno));
    SQ_TRY(SQ_ALLOC(data, MAX_FILE + 1, "YAML file"));
    size_t size = fread(data, 1, MAX_FILE + 1, file);
    if (ferror(file)) {
        rc = sq_fail(errno == EISDIR ? SQ_ERR_CONFIG : SQ_ERR_IO, "%s: %s", path, strerror(errno));
        goto cleanup;
    }
    if (size > MAX_FILE) {
        rc = sq_fail(SQ_ERR_CONFIG, "%s: larger than 1 MiB, not a configuration", path);
        goto cleanup;
    }
    SQ_TRY(sq_yaml_parse(data, size, path, fields, out));
cleanup:
    sq_free(data);
    fclose(file);
    return rc;
}

void sq_yaml_free(const sq_config_field *fields, void *out)
{
    if (!out)
        return;
    for (const sq_config_field *f = fields; f->key; f++) {
        void *place = (char *)out + f->offset;
        if (f->type == SQ_CONFIG_GROUP) {
            sq_yaml_free(f->fields, place);
        } else if (f->type == SQ_CONFIG_TEXT) {
            sq_free(*(char **)place);
            *(char **)place = NULL;
        } else if (f->type == SQ_CONFIG_REALS) {
            sq_free(((sq_config_reals *)place)->value);
            *(sq_config_reals *)place = (sq_config_reals){0};
        } else if (f->type == SQ_CONFIG_TEXTS) {
            sq_config_texts *texts = place;
            for (unsigned i = 0; i < texts->count; i++)
                sq_free(texts->value[i]);
            sq_free(texts->value);
            *texts = (sq_config_texts){0};
        }
    }
}
