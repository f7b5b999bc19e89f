#include "run/yaml.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static void indent(FILE *out, int level)
{
    fprintf(out, "%*s", 2 * level, "");
}

/* A double-quoted YAML scalar. */
static void put_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)(text ? text : ""); *c; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else if (*c < ' ' || *c == 127)
            fprintf(out, "\\x%02x", *c);
        else
            fputc(*c, out);
    }
    fputc('"', out);
}

static void put_value(FILE *out, const sq_config_field *f, const void *place)
{
    switch (f->type) {
    case SQ_CONFIG_BOOL:
        fputs(*(const bool *)place ? "true" : "false", out);
        break;
    case SQ_CONFIG_INT:
        fprintf(out, "%lld", (long long)*(const int64_t *)place);
        break;
    case SQ_CONFIG_REAL:
        fprintf(out, "%.17g", *(const double *)place);
        break;
    case SQ_CONFIG_TEXT:
        put_text(out, *(char *const *)place);
        break;
    case SQ_CONFIG_CHOICE:
        fputs(f->choices[*(const int *)place], out);
        break;
    case SQ_CONFIG_REALS: {
        const sq_config_reals *reals = place;
        fputc('[', out);
        for (unsigned i = 0; i < reals->count; i++)
            fprintf(out, "%s%.17g", i ? ", " : "", reals->value[i]);
        fputc(']', out);
        break;
    }
    case SQ_CONFIG_TEXTS: {
        const sq_config_texts *texts = place;
        fputc('[', out);
        for (unsigned i = 0; i < texts->count; i++) {
            fputs(i ? ", " : "", out);
            put_text(out, texts->value[i]);
        }
        fputc(']', out);
        break;
    }
    case SQ_CONFIG_GROUP:
        break;
    }
}

static void put_fields(FILE *out, const sq_config_field *fields, const char *value, int level)
{
    for (const sq_config_field *f = fields; f->key; f++) {
        indent(out, level);
        fprintf(out, "%s:", f->key);
        if (f->type == SQ_CONFIG_GROUP) {
            if (!f->fields->key) {
                fputs(" {}\n", out);
                continue;
            }
            fputc('\n', out);
            put_fields(out, f->fields, value + f->offset, level + 1);
        } else {
            fputc(' ', out);
            put_value(out, f, value + f->offset);
            fputc('\n', out);
        }
    }
}

sq_status sq_yaml_canonical(const sq_config_field *fields, const void *value, char **text)
{
    char *buffer = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&buffer, &size);
    if (!out)
        return sq_fail(SQ_ERR_NOMEM, "configuration text: out of memory");
    put_fields(out, fields, value, 0);
    int bad = ferror(out);
    if (fclose(out) != 0 || bad) {
        free(buffer);
        return sq_fail(SQ_ERR_NOMEM, "configuration text: out of memory");
    }
    sq_status rc = sq_strdup(text, buffer);
    free(buffer);
    return rc;
}

sq_status sq_yaml_hash(const sq_config_field *fields, const void *value, sq_hash *hash)
{
    char *text = NULL;
    sq_status rc = sq_yaml_canonical(fields, value, &text);
    if (rc == SQ_OK)
        *hash = sq_hash_bytes(text, strlen(text));
    sq_free(text);
    return rc;
}

static void put_type(FILE *out, const sq_config_field *f)
{
    static const char *const name[] = {"true|false", "integer",   "number",      "text",
                                       "",           "[numbers]", "[text, ...]", "group"};
    if (f->type == SQ_CONFIG_CHOICE) {
        for (int i = 0; f->choices[i]; i++)
            fprintf(out, "%s%s", i ? "|" : "", f->choices[i]);
    } else {
        fputs(name[f->type], out);
    }
    if ((f->type == SQ_CONFIG_INT || f->type == SQ_CONFIG_REAL || f->type == SQ_CONFIG_REALS) &&
        (f->min != 0 || f->max != 0))
        fprintf(out, " from %.10g to %.10g", f->min, f->max);
}

static void put_help(const sq_config_field *fields, const char *defaults, FILE *out, int level)
{
    for (const sq_config_field *f = fields; f->key; f++) {
        fprintf(out, "    %*s%s:", 4 * level, "", f->key);
        if (f->type == SQ_CONFIG_GROUP) {
            fprintf(out, "  %s\n", f->doc ? f->doc : "");
            put_help(f->fields, defaults ? defaults + f->offset : NULL, out, level + 1);
            continue;
        }
        fputs(" ", out);
        put_type(out, f);
        if (f->required) {
            fputs(", required", out);
        } else if (defaults) {
            fputs(", default ", out);
            if (f->type == SQ_CONFIG_REAL)
                fprintf(out, "%.10g", *(const double *)(defaults + f->offset));
            else
                put_value(out, f, defaults + f->offset);
        }
        fprintf(out, "\n    %*s    %s\n", 4 * level, "", f->doc ? f->doc : "");
    }
}

void sq_yaml_print_help(const sq_config_field *fields, const void *defaults, FILE *out)
{
    put_help(fields, defaults, out, 0);
}
