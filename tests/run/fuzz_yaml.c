/* Any bytes as a configuration: no crash, no leak, and what is accepted reads back from its
 * canonical text. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "run/yaml.h"

typedef struct inner {
    double radius;
    char *file;
} inner;

typedef struct outer {
    char *name;
    int64_t count;
    bool fast;
    int mode;
    sq_config_reals box;
    sq_config_texts tiles;
    inner group;
} outer;

static const char *const modes[] = {"auto", "fp32", NULL};
static const sq_config_field inner_fields[] = {
    {"r", SQ_CONFIG_REAL, offsetof(inner, radius), 0, 0.5, 10, NULL, NULL, ""},
    {"f", SQ_CONFIG_TEXT, offsetof(inner, file), 0, 0, 0, NULL, NULL, ""},
    {.key = NULL}};
static const sq_config_field fields[] = {
    {"n", SQ_CONFIG_TEXT, offsetof(outer, name), 0, 0, 0, NULL, NULL, ""},
    {"c", SQ_CONFIG_INT, offsetof(outer, count), 0, 0, 0, NULL, NULL, ""},
    {"b", SQ_CONFIG_BOOL, offsetof(outer, fast), 0, 0, 0, NULL, NULL, ""},
    {"m", SQ_CONFIG_CHOICE, offsetof(outer, mode), 0, 0, 0, modes, NULL, ""},
    {"x", SQ_CONFIG_REALS, offsetof(outer, box), 0, 0, 0, NULL, NULL, ""},
    {"t", SQ_CONFIG_TEXTS, offsetof(outer, tiles), 0, 0, 0, NULL, NULL, ""},
    {"g", SQ_CONFIG_GROUP, offsetof(outer, group), 0, 0, 0, NULL, inner_fields, ""},
    {.key = NULL}};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t held = sq_mem_held();
    outer a = {.name = "d", .group = {.radius = 1}}, b = {.name = "d", .group = {.radius = 1}};
    if (sq_yaml_parse(data, size, "fuzz", fields, &a) == SQ_OK) {
        char *text = NULL, *again = NULL;
        if (sq_yaml_canonical(fields, &a, &text) != SQ_OK ||
            sq_yaml_parse(text, strlen(text), "canonical", fields, &b) != SQ_OK ||
            sq_yaml_canonical(fields, &b, &again) != SQ_OK || strcmp(text, again) != 0)
            abort();
        sq_free(text);
        sq_free(again);
        sq_yaml_free(fields, &a);
        sq_yaml_free(fields, &b);
    }
    if (sq_mem_held() != held)
        abort();
    return 0;
}
