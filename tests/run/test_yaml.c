/* Configuration files: what is right is read exactly, what is wrong is one line with file, line and
 * key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "run/yaml.h"

typedef struct inner {
    double radius;
    char *file;
    bool on;
} inner;

typedef struct outer {
    char *name;
    int64_t count;
    double threshold;
    bool fast;
    int mode;
    sq_config_reals box;
    sq_config_texts tiles;
    inner group;
} outer;

static const char *const modes[] = {"auto", "fp32", "bf16", NULL};
static const sq_config_field inner_fields[] = {
    {"radius", SQ_CONFIG_REAL, offsetof(inner, radius), 0, 0.5, 10, NULL, NULL, "arcsec"},
    {"file", SQ_CONFIG_TEXT, offsetof(inner, file), 1, 0, 0, NULL, NULL, "a path"},
    {"on", SQ_CONFIG_BOOL, offsetof(inner, on), 0, 0, 0, NULL, NULL, "switch"},
    {.key = NULL}};
static const sq_config_field fields[] = {
    {"name", SQ_CONFIG_TEXT, offsetof(outer, name), 1, 0, 0, NULL, NULL, "a name"},
    {"count", SQ_CONFIG_INT, offsetof(outer, count), 0, 1, 100, NULL, NULL, "a count"},
    {"threshold", SQ_CONFIG_REAL, offsetof(outer, threshold), 0, 0, 1, NULL, NULL, "a share"},
    {"fast", SQ_CONFIG_BOOL, offsetof(outer, fast), 0, 0, 0, NULL, NULL, "switch"},
    {"mode", SQ_CONFIG_CHOICE, offsetof(outer, mode), 0, 0, 0, modes, NULL, "precision"},
    {"box", SQ_CONFIG_REALS, offsetof(outer, box), 0, -90, 360, NULL, NULL, "degrees"},
    {"tiles", SQ_CONFIG_TEXTS, offsetof(outer, tiles), 0, 0, 0, NULL, NULL, "names"},
    {"group", SQ_CONFIG_GROUP, offsetof(outer, group), 0, 0, 0, NULL, inner_fields, "more"},
    {.key = NULL}};

static outer defaults(void)
{
    static char *tile[] = {"all"};
    return (outer){.name = "none",
                   .count = 7,
                   .threshold = 0.25,
                   .mode = 1,
                   .tiles = {tile, 1},
                   .group = {.radius = 2, .file = "f"}};
}

static void values_are_read(void **state)
{
    (void)state;
    const char *text = "name: \"a b\"\ncount: 12\nthreshold: 1e-3\nfast: yes\nmode: bf16\n"
                       "box: [1, -2.5, 360]\ntiles:\n  - x\n  - 'y z'\n"
                       "group:\n  radius: 0.5\n  file: data/m.onnx\n  on: true\n";
    outer o = defaults();
    assert_int_equal(sq_yaml_parse(text, strlen(text), "t.yaml", fields, &o), SQ_OK);
    assert_string_equal(o.name, "a b");
    assert_int_equal(o.count, 12);
    assert_true(o.threshold == 1e-3);
    assert_true(o.fast);
    assert_int_equal(o.mode, 2);
    assert_int_equal(o.box.count, 3);
    assert_true(o.box.value[1] == -2.5 && o.box.value[2] == 360);
    assert_int_equal(o.tiles.count, 2);
    assert_string_equal(o.tiles.value[1], "y z");
    assert_true(o.group.radius == 0.5 && o.group.on);
    assert_string_equal(o.group.file, "data/m.onnx");
    sq_yaml_free(fields, &o);
}

static void defaults_stay(void **state)
{
    (void)state;
    const char *text = "name: x\n";
    outer o = defaults();
    uint64_t held = sq_mem_held();
    assert_int_equal(sq_yaml_parse(text, strlen(text), "t.yaml", fields, &o), SQ_OK);
    assert_int_equal(o.count, 7);
    assert_int_equal(o.mode, 1);
    assert_int_equal(o.tiles.count, 1);
    assert_string_equal(o.tiles.value[0], "all");
    assert_string_equal(o.group.file, "f");
    sq_yaml_free(fields, &o);
    assert_int_equal(sq_mem_held(), held);
}

static void canonical_text_reads_back(void **state)
{
    (void)state;
    const char *text =
        "name: \"q\\\"\\\\ \\x01\\t: #\"\nthreshold: 0.1\nbox: [0.1, 0.3333333333333333]\n"
        "tiles: ['a, b', '']\ngroup: {file: 'null'}\n";
    outer a = defaults(), b = defaults();
    char *first = NULL, *second = NULL;
    sq_hash ha, hb;
    assert_int_equal(sq_yaml_parse(text, strlen(text), "t.yaml", fields, &a), SQ_OK);
    assert_int_equal(sq_yaml_canonical(fields, &a, &first), SQ_OK);
    if (sq_yaml_parse(first, strlen(first), "canonical", fields, &b) != SQ_OK)
        fail_msg("%s\n%s", sq_error(), first);
    assert_int_equal(sq_yaml_canonical(fields, &b, &second), SQ_OK);
    assert_string_equal(first, second);
    assert_string_equal(a.name, b.name);
    assert_true(a.box.value[0] == b.box.value[0]);
    assert_int_equal(sq_yaml_hash(fields, &a, &ha), SQ_OK);
    assert_int_equal(sq_yaml_hash(fields, &b, &hb), SQ_OK);
    assert_true(sq_hash_equal(ha, hb));
    b.count++;
    assert_int_equal(sq_yaml_hash(fields, &b, &hb), SQ_OK);
    assert_false(sq_hash_equal(ha, hb));
    sq_free(first);
    sq_free(second);
    sq_yaml_free(fields, &a);
    sq_yaml_free(fields, &b);
}

typedef struct bad {
    const char *text, *message;
} bad;

static const bad cases[] = {
    {"", "t.yaml: name: the key is missing and has no default"},
    {"count: 3\n", "t.yaml: name: the key is missing and has no default"},
    {"name: a\ncuont: 3\n", "t.yaml:2: cuont: unknown key; did you mean 'count'?"},
    {"name: a\n\n\nzzzzzz:\n  - 1\n", "t.yaml:5: zzzzzz: unknown key"},
    {"name: a\ngroup:\n  file: x\n  raduis: 1\n",
     "t.yaml:4: group.raduis: unknown key; did you mean 'radius'?"},
    {"name: a\ncount: 1\ncount: 2\n", "t.yaml:2: count: the key stands twice, first here"},
    {"name: a\ncount: many\n", "t.yaml:2: count: 'many' is not an integer"},
    {"name: a\ncount: 1.5\n", "t.yaml:2: count: '1.5' is not an integer"},
    {"name: a\ncount: 12abc\n", "t.yaml:2: count: '12abc' is not an integer"},
    {"name: a\ncount: 0\n", "t.yaml:2: count: 0 is outside 1 to 100"},
    {"name: a\ncount: 101\n", "t.yaml:2: count: 101 is outside 1 to 100"},
    {"name: a\ncount: 99999999999999999999\n",
     "t.yaml:2: count: '99999999999999999999' does not fit 64 bits"},
    {"name: a\ncount:\nfast: no\n", "t.yaml:2: count: has no value (integer)"},
    {"name: a\ncount: [1]\n", "t.yaml:2: count: must be a single value"},
    {"name: a\ncount: {a: 1}\n", "t.yaml:2: count: must be a single value"},
    {"name: a\nthreshold: high\n", "t.yaml:2: threshold: 'high' is not a number"},
    {"name: a\nthreshold: 1.0001\n", "t.yaml:2: threshold: 1.0001 is outside 0 to 1"},
    {"name: a\nthreshold: .nan\n", "t.yaml:2: threshold: '.nan' is not a number"},
    {"name: a\nthreshold: nan\n", "t.yaml:2: threshold: 'nan' is not a finite number"},
    {"name: a\nthreshold: inf\n", "t.yaml:2: threshold: 'inf' is not a finite number"},
    {"name: a\nfast: maybe\n", "t.yaml:2: fast: 'maybe' is not true or false"},
    {"name: a\nmode: fp64\n", "t.yaml:2: mode: 'fp64' is not one of auto, fp32, bf16"},
    {"name: a\nmode: 1\n", "t.yaml:2: mode: '1' is not one of auto, fp32, bf16"},
    {"name: a\nbox: 3\n", "t.yaml:2: box: must be a sequence, as in [a, b]"},
    {"name: a\nbox: [1, x]\n", "t.yaml:2: box: 'x' is not a number"},
    {"name: a\nbox: [1, 400]\n", "t.yaml:2: box: 400 is outside -90 to 360"},
    {"name: a\ntiles: [[a]]\n", "t.yaml:2: tiles: must be a single value"},
    {"name: a\ngroup: 3\n", "t.yaml:2: group: must be a mapping of keys to values"},
    {"name: a\ngroup:\n  radius: 1\n",
     "t.yaml:3: group.file: the key is missing and has no default"},
    {"name: a\ngroup:\n  file: x\n  radius: 0.1\n",
     "t.yaml:4: group.radius: 0.1 is outside 0.5 to 10"},
    {"- a\n- b\n", "t.yaml: must be a mapping of keys to values"},
    {"just text\n", "t.yaml: must be a mapping of keys to values"},
    {"name: a\n---\nname: b\n", "t.yaml: more than one YAML document"},
};

static void errors_name_line_and_key(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        outer o = defaults(), before = defaults();
        uint64_t held = sq_mem_held();
        sq_status rc = sq_yaml_parse(cases[i].text, strlen(cases[i].text), "t.yaml", fields, &o);
        if (rc != SQ_ERR_CONFIG || strcmp(sq_error(), cases[i].message) != 0)
            fail_msg("case %zu: status %d, '%s' instead of '%s'", i, rc, sq_error(),
                     cases[i].message);
        assert_int_equal(sq_exit_code(rc), 1);
        assert_memory_equal(&o, &before, sizeof o);
        assert_int_equal(sq_mem_held(), held);
    }
}

/* Syntax errors: the wording is libyaml's, the line and the code are ours. */
static void syntax_errors_are_one_line(void **state)
{
    (void)state;
    static const char *const texts[] = {"name: {",
                                        "name: a\n\tcount: 1\n",
                                        "name: [a\n",
                                        "name: &x a\nmode: *x\n",
                                        "name: 'a\n",
                                        "\xff\xfe\xfd",
                                        "name: a\n count: 2\n",
                                        "%FOO\n--- a",
                                        "? [a]: b\n",
                                        "name: \x01\n",
                                        "name: *a\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        outer o = defaults(), before = defaults();
        sq_status rc = sq_yaml_parse(texts[i], strlen(texts[i]), "t.yaml", fields, &o);
        if (rc != SQ_ERR_CONFIG || strncmp(sq_error(), "t.yaml:", 7) != 0 ||
            strchr(sq_error(), '\n'))
            fail_msg("case %zu: status %d, '%s'", i, rc, sq_error());
        assert_memory_equal(&o, &before, sizeof o);
    }
}

static void files_that_cannot_be_read(void **state)
{
    (void)state;
    outer o = defaults();
    assert_int_equal(sq_yaml_load("no/such.yaml", fields, &o), SQ_ERR_CONFIG);
    assert_non_null(strstr(sq_error(), "no/such.yaml"));
    assert_int_equal(sq_yaml_load(".", fields, &o), SQ_ERR_CONFIG);
    FILE *big = fopen("big.yaml", "w");
    assert_non_null(big);
    for (int i = 0; i < 200000; i++)
        fputs("# filler\n", big);
    fclose(big);
    assert_int_equal(sq_yaml_load("big.yaml", fields, &o), SQ_ERR_CONFIG);
    remove("big.yaml");
}

/* Fail each allocation in turn: an error, no leak, the defaults untouched. */
static void allocation_failures(void **state)
{
    (void)state;
    const char *text = "name: a\nbox: [1, 2]\ntiles: [a, b]\ngroup: {file: f}\n";
    int failures = 0;
    for (int after = 0; after < 200; after++) {
        outer o = defaults(), before = defaults();
        uint64_t held = sq_mem_held();
        sq_mem_fail_after(after);
        sq_status rc = sq_yaml_parse(text, strlen(text), "t.yaml", fields, &o);
        sq_mem_fail_after(-1);
        if (rc == SQ_OK) {
            sq_yaml_free(fields, &o);
            break;
        }
        failures++;
        assert_int_equal(rc, SQ_ERR_NOMEM);
        assert_memory_equal(&o, &before, sizeof o);
        assert_int_equal(sq_mem_held(), held);
    }
    assert_in_range(failures, 5, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(defaults_stay),
        cmocka_unit_test(canonical_text_reads_back),
        cmocka_unit_test(errors_name_line_and_key),
        cmocka_unit_test(syntax_errors_are_one_line),
        cmocka_unit_test(files_that_cannot_be_read),
        cmocka_unit_test(allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
