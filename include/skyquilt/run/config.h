/* The run configuration: one YAML file that says what to process and how.
 *
 * Keys outside `execution`, the paths and `output` decide results: with the contents of models and
 * index they make up the configuration's hash. Each registered probe has a group of its own under
 * its name. Relative paths start at the folder of the file. Local. */
#ifndef SQ_RUN_CONFIG_H
#define SQ_RUN_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/config.h"
#include "base/hash.h"
#include "base/status.h"
#include "probe/probe.h"

/* What does not change results. Seconds and MiB. */
typedef struct sq_run_execution {
    double deadline, drain, walltime, flush, progress, watchdog;
    int64_t memory, segment;
    int64_t deflate, max_range, science_attempts, infra_attempts;
    bool archive; /* keep the products before the merge within the release, for later runs */
    bool shuffle; /* hand tiles out in another order: for tests of order independence */
} sq_run_execution;

typedef struct sq_run_config {
    char *probe, *index, *output, *model, *reference, *base;
    sq_config_texts tiles, bands, select;
    sq_config_reals region; /* ra0, ra1, dec0, dec1 in degrees, or empty */
    int precision;          /* sq_precision */
    double threshold;
    int64_t seed;
    struct {
        int64_t core, halo; /* pixels, -1: the probe's own */
    } patch;
    sq_run_execution execution;

    /* Beyond the YAML. */
    const sq_probe_class *cls;
    void *own;                /* the probe's structure: points into this block */
    char folder[SQ_PATH_MAX]; /* of the file */
} sq_run_config;

/* Parse and check; relative paths are resolved. `path` names the file. Probes must be registered
 * before. */
sq_status sq_run_config_parse(const char *data, size_t size, const char *path, sq_run_config **out);
sq_status sq_run_config_load(const char *path, sq_run_config **out);
void sq_run_config_destroy(sq_run_config *config);

/* Canonical YAML of everything, and of what decides results only. Free with sq_free. */
sq_status sq_run_config_text(const sq_run_config *config, char **text);
sq_status sq_run_config_identity(const sq_run_config *config, char **text);
/* The same without region and select: what decides the product of one patch. */
sq_status sq_run_config_results(const sq_run_config *config, char **text);
/* All keys with their meaning, for --help. */
sq_status sq_run_config_help(FILE *out);

/* What a probe gets from this configuration; pointers go into it. */
sq_probe_setup sq_run_config_setup(const sq_run_config *config);

#endif
