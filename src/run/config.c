#include "run/config.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "run/yaml.h"

#define AT(member) offsetof(sq_run_config, member)
#define EXECUTION(member) offsetof(sq_run_execution, member)

static const char *const precisions[] = {"fp32", "bf16", "auto", NULL};

static const sq_config_field patch_fields[] = {
    {"core", SQ_CONFIG_INT, 0, 0, -1, 65536, NULL, NULL,
     "side of the part that a patch owns, pixels; -1: what the model was made for"},
    {"halo", SQ_CONFIG_INT, sizeof(int64_t), 0, -1, 8192, NULL, NULL,
     "context on each side, pixels; -1: what the model needs"},
    {.key = NULL}};

static const sq_config_field execution_fields[] = {
    {"deadline", SQ_CONFIG_REAL, EXECUTION(deadline), 0, 1, 1e6, NULL, NULL,
     "seconds after which a patch counts as hung"},
    {"drain", SQ_CONFIG_REAL, EXECUTION(drain), 0, 1, 1e6, NULL, NULL,
     "seconds that a stop waits for patches that have begun"},
    {"walltime", SQ_CONFIG_REAL, EXECUTION(walltime), 0, 0, 1e8, NULL, NULL,
     "seconds that the job may take: no patch is begun that may not end in time; 0: no limit"},
    {"flush", SQ_CONFIG_REAL, EXECUTION(flush), 0, 0, 60, NULL, NULL,
     "seconds that results may wait to be flushed to disk together"},
    {"progress", SQ_CONFIG_REAL, EXECUTION(progress), 0, 0.1, 3600, NULL, NULL,
     "seconds between progress lines in a log"},
    {"watchdog", SQ_CONFIG_REAL, EXECUTION(watchdog), 0, 1, 1e6, NULL, NULL,
     "seconds without progress after which a rank leaves start-up or reduce, and a worker whose "
     "rank 0 is silent; SKYQUILT_WATCHDOG in the environment outweighs it"},
    {"memory", SQ_CONFIG_INT, EXECUTION(memory), 0, 16, 1 << 20, NULL, NULL,
     "MiB a rank for rows and pixels in the reduce"},
    {"segment", SQ_CONFIG_INT, EXECUTION(segment), 0, 1, 1 << 20, NULL, NULL,
     "MiB at which a shard segment is closed and the next one begun"},
    {"deflate", SQ_CONFIG_INT, EXECUTION(deflate), 0, 0, 9, NULL, NULL,
     "compression of the release's columns"},
    {"max_range", SQ_CONFIG_INT, EXECUTION(max_range), 0, 1, 4096, NULL, NULL,
     "most patches handed to a worker at once"},
    {"science_attempts", SQ_CONFIG_INT, EXECUTION(science_attempts), 0, 1, 100, NULL, NULL,
     "attempts at a patch whose input or processing fails"},
    {"infra_attempts", SQ_CONFIG_INT, EXECUTION(infra_attempts), 0, 1, 100, NULL, NULL,
     "attempts at a patch that storage or memory fails"},
    {"archive", SQ_CONFIG_BOOL, EXECUTION(archive), 0, 0, 0, NULL, NULL,
     "keep the products of all patches within the release (/run/archive): a later run can take "
     "them over from it alone"},
    {"shuffle", SQ_CONFIG_BOOL, EXECUTION(shuffle), 0, 0, 0, NULL, NULL,
     "hand out tiles in a scrambled order (results do not change)"},
    {.key = NULL}};

/* The first RESULTS entries decide what a patch yields, the first IDENTITY the results as a whole;
 * the others do not, or only through the contents of a file. */
enum { IDENTITY = 9, RESULTS = 7, OTHERS = 5, BASE = IDENTITY + OTHERS };
static const sq_config_field base_fields[BASE] = {
    {"probe", SQ_CONFIG_TEXT, AT(probe), 1, 0, 0, NULL, NULL, "what to run: a registered probe"},
    {"bands", SQ_CONFIG_TEXTS, AT(bands), 0, 0, 0, NULL, NULL,
     "bands to read, in the model's order; none: the model's own"},
    {"reference", SQ_CONFIG_TEXT, AT(reference), 0, 0, 0, NULL, NULL,
     "band whose pixel grid is used when tiles are scanned"},
    {"precision", SQ_CONFIG_CHOICE, AT(precision), 0, 0, 0, precisions, NULL,
     "arithmetic of networks; auto: what the processor does best"},
    {"threshold", SQ_CONFIG_REAL, AT(threshold), 0, 0, 1, NULL, NULL,
     "detection probability from which sources are written"},
    {"seed", SQ_CONFIG_INT, AT(seed), 0, 0, 9e18, NULL, NULL, "of all random numbers"},
    {"patch", SQ_CONFIG_GROUP, AT(patch), 0, 0, 0, NULL, patch_fields, "shape of the patches"},
    {"region", SQ_CONFIG_REALS, AT(region), 0, -90, 360, NULL, NULL,
     "[ra0, ra1, dec0, dec1] in degrees: only tiles that touch it; ra0 > ra1 crosses 0"},
    {"select", SQ_CONFIG_TEXTS, AT(select), 0, 0, 0, NULL, NULL, "only tiles of these names"},
    {"index", SQ_CONFIG_TEXT, AT(index), 0, 0, 0, NULL, NULL,
     "tile index made by 'skyquilt index'"},
    {"tiles", SQ_CONFIG_TEXTS, AT(tiles), 0, 0, 0, NULL, NULL,
     "instead of an index: files and folders to scan for tiles"},
    {"model", SQ_CONFIG_TEXT, AT(model), 0, 0, 0, NULL, NULL, "network file (ONNX)"},
    {"base", SQ_CONFIG_TEXT, AT(base), 0, 0, 0, NULL, NULL,
     "release of an earlier run: patches with the same input, model, configuration and program are "
     "taken over from the shards beside it or its archive"},
    {"output", SQ_CONFIG_TEXT, AT(output), 0, 0, 0, NULL, NULL, "folder of the results"},
};

static size_t align(size_t size)
{
    return (size + 15) / 16 * 16;
}

/* All fields: the base, `execution`, a group a probe. With `only`, the first
 * `most` and what is that probe's own. */
static int make_fields(sq_config_field *out, const sq_probe_class *only, int most, size_t *bytes)
{
    int n = 0;
    size_t end = align(sizeof(sq_run_config));
    for (int i = 0; i < most; i++)
        out[n++] = base_fields[i];
    if (!only)
        out[n++] = (sq_config_field){"execution",
                                     SQ_CONFIG_GROUP,
                                     AT(execution),
                                     0,
                                     0,
                                     0,
                                     NULL,
                                     execution_fields,
                                     "how to run; does not change results"};
    for (int i = 0; i < sq_probe_count(); i++) {
        const sq_probe_class *cls = sq_probe_at(i);
        if (!cls->fields)
            continue;
        if (!only || only == cls)
            out[n++] = (sq_config_field){cls->name, SQ_CONFIG_GROUP, end,         0, 0, 0,
                                         NULL,      cls->fields,     cls->summary};
        end += align(cls->config_size);
    }
    out[n] = (sq_config_field){.key = NULL};
    *bytes = end;
    return n;
}

enum { MOST_FIELDS = BASE + 1 + SQ_MAX_PROBES + 1 };

static void *probe_place(sq_run_config *config, const sq_probe_class *wanted)
{
    size_t end = align(sizeof(sq_run_config));
    for (int i = 0; i < sq_probe_count(); i++) {
        const sq_probe_class *cls = sq_probe_at(i);
        if (!cls->fields)
            continue;
        if (cls == wanted)
            return (char *)config + end;
        end += align(cls->config_size);
    }
    return NULL;
}

static void set_defaults(sq_run_config *config)
{
    config->reference = "r";
    config->output = "out";
    config->model = "";
    config->index = "";
    config->base = "";
    config->precision = SQ_PRECISION_AUTO;
    config->threshold = 0.5;
    config->seed = 1;
    config->patch.core = config->patch.halo = -1;
    config->execution = (sq_run_execution){.deadline = 600,
                                           .drain = 120,
                                           .flush = 0.5,
                                           .progress = 10,
                                           .watchdog = 300,
                                           .memory = 128,
                                           .segment = 256,
                                           .max_range = 64,
                                           .science_attempts = 2,
                                           .infra_attempts = 5};
    for (int i = 0; i < sq_probe_count(); i++) {
        const sq_probe_class *cls = sq_probe_at(i);
        if (cls->fields && cls->defaults)
            cls->defaults(probe_place(config, cls));
    }
}

static sq_status resolve(const char *folder, char **path)
{
    char full[SQ_PATH_MAX];
    if (!*path || !**path || **path == '/')
        return SQ_OK;
    int n = snprintf(full, sizeof full, "%s/%s", folder, *path);
    if (n < 0 || (size_t)n >= sizeof full)
        return sq_fail(SQ_ERR_CONFIG, "%s: path too long", *path);
    char *copy = NULL;
    sq_status rc = sq_strdup(&copy, full);
    if (rc != SQ_OK)
        return rc;
    sq_free(*path);
    *path = copy;
    return SQ_OK;
}

static sq_status resolve_paths(sq_run_config *c)
{
    sq_status rc = SQ_OK;
    SQ_TRY(resolve(c->folder, &c->index));
    SQ_TRY(resolve(c->folder, &c->base));
    SQ_TRY(resolve(c->folder, &c->output));
    SQ_TRY(resolve(c->folder, &c->model));
    for (unsigned i = 0; i < c->tiles.count; i++)
        SQ_TRY(resolve(c->folder, &c->tiles.value[i]));
cleanup:
    return rc;
}

static sq_status check(sq_run_config *c, const char *path)
{
    c->cls = sq_probe_find(c->probe);
    if (!c->cls) {
        char names[512] = "";
        for (int i = 0; i < sq_probe_count(); i++) {
            size_t used = strlen(names);
            snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "",
                     sq_probe_at(i)->name);
        }
        return sq_fail(SQ_ERR_CONFIG, "%s: probe: '%s' is not one of: %s", path, c->probe, names);
    }
    c->own = probe_place(c, c->cls);
    if (c->index[0] && c->tiles.count)
        return sq_fail(SQ_ERR_CONFIG, "%s: index: give either index or tiles, not both", path);
    if (c->region.count != 0 && c->region.count != 4)
        return sq_fail(SQ_ERR_CONFIG, "%s: region: needs four numbers, ra0, ra1, dec0, dec1", path);
    if (c->region.count && (c->region.value[0] < 0 || c->region.value[1] < 0 ||
                            c->region.value[2] >= c->region.value[3] || c->region.value[3] > 90))
        return sq_fail(SQ_ERR_CONFIG, "%s: region: is empty or outside the sky", path);
    if (c->bands.count > SQ_MAX_BANDS)
        return sq_fail(SQ_ERR_CONFIG, "%s: bands: more than %d", path, (int)SQ_MAX_BANDS);
    for (unsigned i = 0; i < c->bands.count; i++) {
        if (strlen(c->bands.value[i]) > 7 || !*c->bands.value[i])
            return sq_fail(SQ_ERR_CONFIG, "%s: bands: '%s' is not a band name", path,
                           c->bands.value[i]);
        for (unsigned j = 0; j < i; j++) {
            if (strcmp(c->bands.value[i], c->bands.value[j]) == 0)
                return sq_fail(SQ_ERR_CONFIG, "%s: bands: '%s' stands twice", path,
                               c->bands.value[i]);
        }
    }
    return SQ_OK;
}

sq_status sq_run_config_parse(const char *data, size_t size, const char *path, sq_run_config **out)
{
    sq_status rc = SQ_OK;
    sq_config_field fields[MOST_FIELDS];
    sq_run_config *config = NULL;
    size_t bytes;
    int loaded = 0;
    *out = NULL;
    make_fields(fields, NULL, BASE, &bytes);
    SQ_TRY(sq_alloc(&config, bytes, 1, "run configuration"));
    set_defaults(config);
    SQ_TRY(sq_yaml_parse(data, size, path, fields, config));
    loaded = 1;
    const char *slash = strrchr(path, '/');
    snprintf(config->folder, sizeof config->folder, "%.*s", slash ? (int)(slash - path) : 1,
             slash ? path : ".");
    if (slash == path)
        strcpy(config->folder, "/");
    SQ_TRY(check(config, path));
    SQ_TRY(resolve_paths(config));
    *out = config;
    return SQ_OK;
cleanup:
    if (loaded)
        sq_yaml_free(fields, config);
    sq_free(config);
    return rc;
}

sq_status sq_run_config_load(const char *path, sq_run_config **out)
{
    enum { MOST = 1 << 20 };
    sq_status rc = SQ_OK;
    char *data = NULL;
    *out = NULL;
    FILE *file = fopen(path, "rb");
    if (!file)
        return sq_fail(SQ_ERR_CONFIG, "%s: %s", path, strerror(errno));
    SQ_TRY(SQ_ALLOC(data, MOST + 1, "run configuration"));
    size_t size = fread(data, 1, MOST + 1, file);
    if (ferror(file)) {
        rc = sq_fail(SQ_ERR_CONFIG, "%s: %s", path, strerror(errno));
        goto cleanup;
    }
    if (size > MOST) {
        rc = sq_fail(SQ_ERR_CONFIG, "%s: larger than 1 MiB, not a configuration", path);
        goto cleanup;
    }
    SQ_TRY(sq_run_config_parse(data, size, path, out));
cleanup:
    sq_free(data);
    fclose(file);
    return rc;
}

void sq_run_config_destroy(sq_run_config *config)
{
    sq_config_field fields[MOST_FIELDS];
    size_t bytes;
    if (!config)
        return;
    make_fields(fields, NULL, BASE, &bytes);
    sq_yaml_free(fields, config);
    sq_free(config);
}

sq_status sq_run_config_text(const sq_run_config *config, char **text)
{
    sq_config_field fields[MOST_FIELDS];
    size_t bytes;
    make_fields(fields, NULL, BASE, &bytes);
    return sq_yaml_canonical(fields, config, text);
}

sq_status sq_run_config_identity(const sq_run_config *config, char **text)
{
    sq_config_field fields[MOST_FIELDS];
    size_t bytes;
    make_fields(fields, config->cls, IDENTITY, &bytes);
    return sq_yaml_canonical(fields, config, text);
}

sq_status sq_run_config_results(const sq_run_config *config, char **text)
{
    sq_config_field fields[MOST_FIELDS];
    size_t bytes;
    make_fields(fields, config->cls, RESULTS, &bytes);
    return sq_yaml_canonical(fields, config, text);
}

sq_status sq_run_config_help(FILE *out)
{
    sq_config_field fields[MOST_FIELDS];
    sq_run_config *config = NULL;
    size_t bytes;
    make_fields(fields, NULL, BASE, &bytes);
    sq_status rc = sq_alloc(&config, bytes, 1, "run configuration");
    if (rc != SQ_OK)
        return rc;
    set_defaults(config);
    sq_yaml_print_help(fields, config, out);
    sq_free(config);
    return SQ_OK;
}

sq_probe_setup sq_run_config_setup(const sq_run_config *config)
{
    return (sq_probe_setup){.bands = (const char *const *)config->bands.value,
                            .nband = (int)config->bands.count,
                            .reference = config->reference,
                            .model = config->model,
                            .precision = (sq_precision)config->precision,
                            .core = (int)config->patch.core,
                            .halo = (int)config->patch.halo,
                            .threshold = config->threshold,
                            .seed = (uint64_t)config->seed,
                            .folder = config->folder};
}
