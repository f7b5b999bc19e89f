#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "run/yaml_internal.h"

enum { KEY_SIZE = 128 };

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

cyaml_config_t sq_yaml_settings(text_log *log)
{
    return (cyaml_config_t){.log_fn = collect,
                            .log_ctx = log,
                            .mem_fn = cyaml_mem,
                            .log_level = CYAML_LOG_WARNING,
                            .flags = CYAML_CFG_NO_ALIAS};
}

/* The line in "(line: N, column: M)" after `from`, 0 without. */
static unsigned line_in(const char *from)
{
    const char *found = strstr(from, "(line: ");
    return found ? (unsigned)strtoul(found + 7, NULL, 10) : 0;
}

/* The line of the value at a path of keys, 0 when there is none. */
unsigned sq_yaml_locate(const reader *r, const char *const *key, int depth)
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
    cyaml_config_t config = sq_yaml_settings(&log);
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

sq_status sq_yaml_complain(const reader *r, unsigned line, const char *const *key, int depth,
                           const char *reason)
{
    char path[512] = "", where[32] = "";
    path_text(key, depth, path, sizeof path);
    if (line)
        snprintf(where, sizeof where, ":%u", line);
    return sq_fail(SQ_ERR_CONFIG, "%s%s: %s%s%s", r->name, where, path, *path ? ": " : "", reason);
}

/* A value of the present field is wrong. */
sq_status sq_yaml_reject(const reader *r, const char *format, ...)
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
    return sq_yaml_complain(r, sq_yaml_locate(r, r->key, r->depth), r->key, r->depth, reason);
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
sq_status sq_yaml_explain(const reader *r, const sq_config_field *fields, cyaml_err_t error,
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
        unsigned exact = sq_yaml_locate(r, key, depth);
        const char *near = nearest(fields, unknown);
        snprintf(reason, sizeof reason, near ? "unknown key; did you mean '%s'?" : "unknown key",
                 near);
        return sq_yaml_complain(r, exact ? exact : line, key, depth, reason);
    }
    if ((found = strstr(text, "Expecting ")))
        return sq_yaml_complain(r, line, key, depth, expected(found + 10));
    if (strstr(text, "already seen"))
        return sq_yaml_complain(r, sq_yaml_locate(r, key, depth), key, depth,
                                "the key stands twice, first here");
    if ((found = strstr(text, "libyaml: "))) {
        snprintf(reason, sizeof reason, "not YAML: %.*s", (int)strcspn(found + 9, "\n"), found + 9);
        return sq_yaml_complain(r, line, key, depth, reason);
    }
    if (error == CYAML_ERR_OOM)
        return sq_fail(SQ_ERR_NOMEM, "%s: out of memory", r->name);
    return sq_yaml_complain(r, line, key, depth, cyaml_strerror(error));
}
