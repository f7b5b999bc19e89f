#include "run/yaml.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "run/yaml_internal.h"

/* libcyaml reads every scalar as text into a shadow of the structure; the conversion to numbers is
 * done here, because libcyaml accepts trailing characters and octal numbers. Where a line is not
 * known, the file is read again with a schema that rejects exactly the key in question: the
 * backtrace then names its line. */

enum { MAX_ENTRIES = 1 << 20, MAX_FILE = 1 << 20 };

typedef struct shadow_sequence {
    char **value;
    unsigned count;
} shadow_sequence;

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
        return sq_yaml_reject(r, "%.10g is outside %.10g to %.10g", value, f->min, f->max);
    return SQ_OK;
}

static sq_status parse_real(const reader *r, const sq_config_field *f, const char *text,
                            double *out)
{
    char *end;
    *out = strtod(text, &end);
    if (end == text || *end || *text == ' ')
        return sq_yaml_reject(r, "'%.60s' is not a number", text);
    if (!isfinite(*out))
        return sq_yaml_reject(r, "'%.60s' is not a finite number", text);
    return check_range(r, f, *out);
}

static sq_status parse_int(const reader *r, const sq_config_field *f, const char *text,
                           int64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    if (end == text || *end || *text == ' ')
        return sq_yaml_reject(r, "'%.60s' is not an integer", text);
    if (errno)
        return sq_yaml_reject(r, "'%.60s' does not fit 64 bits", text);
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
    return sq_yaml_reject(r, "'%.60s' is not true or false", text);
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
    return sq_yaml_reject(r, "'%.60s' is not one of %s", text, list);
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
        return sq_yaml_reject(r, "has no value (%s)", type_name(f));
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
                rc = sq_yaml_complain(r, 0, r->key, r->depth, "the group is missing");
            else
                rc = convert(r, f->fields, slot ? *(char *const *)slot : NULL, out + f->offset);
        } else if (is_present(f, slot)) {
            rc = convert_field(r, f, slot, out + f->offset);
        } else if (f->required && (shadow || r->depth == 1)) {
            unsigned line = r->depth > 1 ? sq_yaml_locate(r, r->key, r->depth - 1) : 0;
            rc = sq_yaml_complain(r, line, r->key, r->depth,
                                  "the key is missing and has no default");
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
    cyaml_config_t config = sq_yaml_settings(&log);
    cyaml_schema_value_t top = {.type = CYAML_MAPPING,
                                .flags = CYAML_FLAG_POINTER,
                                .data_size = (uint32_t)shadow_size(fields)};

    SQ_TRY(schema_create(fields, &schema));
    top.mapping.fields = schema;
    if (size) {
        cyaml_err_t error =
            cyaml_load_data(data, size, &config, &top, (cyaml_data_t **)&shadow, NULL);
        if (error != CYAML_OK) {
            rc = sq_yaml_explain(&r, fields, error, log.text);
            goto cleanup;
        }
        if (strstr(log.text, "Ignoring documents")) {
            rc = sq_yaml_complain(&r, 0, NULL, 0, "more than one YAML document");
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
