#include "assess/compare.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "run/yaml.h"

static void help(void)
{
    sq_compare_thresholds defaults;
    printf(
        "NAME\n"
        "    skyquilt compare - what changed between two releases\n\n"
        "SYNOPSIS\n"
        "    skyquilt compare A.h5 B.h5 [OPTIONS]\n\n"
        "DESCRIPTION\n"
        "    Compares every table and map that both releases have, B minus A, and says which\n"
        "    thresholds are exceeded, by what, and in which tile.\n\n"
        "    Tables with ra and dec: rows are the same source when each is the other's nearest\n"
        "    within the radius; what is left beside pairs is paired in further rounds. Counted:\n"
        "    matched, vanished (in A alone), appeared (in B alone), by magnitude, tile and patch.\n"
        "    Measured over the matched: shift (median, mean) and scatter (1.4826 times the median\n"
        "    absolute deviation) of ra cos dec, dec, separation, every flux_BAND in magnitudes,\n"
        "    every column X that has X_err also as a pull (difference over the root of the summed\n"
        "    squares of both errors; two releases of the same pixels share their noise, so pulls\n"
        "    scatter by less than 1), star_probability, and rows that crossed 0.5. Other tables:\n"
        "    rows with the same value of the first integer column without repetitions, else with\n"
        "    the same number. Drift of every common column: the largest distance of the\n"
        "    cumulative distributions (Kolmogorov-Smirnov), for the table and for every tile.\n"
        "    Maps: mean, rms and largest difference, pixels that differ or are missing.\n\n"
        "    Tiles are known by their names. Releases without tiles are compared by patch, plain\n"
        "    catalogues (columns in the group catalog or at the top) as a whole.\n\n"
        "SIGNIFICANCE\n"
        "    Neighbours share noise, blends and PSF, and both releases share pixels, so sources\n"
        "    are no independent trials. The independent unit is a block of sky (a HEALPix cell;\n"
        "    32 or more a tile, at least 256). Every statistic is a ratio of sums over blocks,\n"
        "    with the variance of the delete-one-block jackknife and Student's t; shifts by a\n"
        "    sign test, drifts by the difference of the cumulative distributions at the 5, 10 ...\n"
        "    95%% points, the least of the 19 probabilities times 19. No probability of a test is\n"
        "    below 2^(1 - blocks), the least that exchanging whole blocks could reach. All tests\n"
        "    of a comparison, over tiles, columns and bands, are one family, adjusted by\n"
        "    Benjamini and Hochberg (1995): of the effects below q = 0.01 one in a hundred is\n"
        "    expected to be chance.\n\n"
        "    A threshold is exceeded when the effect is larger than its limit and its q is below\n"
        "    `significance`. Maps, and tables, maps or columns that one release lacks, are judged\n"
        "    without it.\n\n"
        "OPTIONS\n"
        "    --thresholds FILE  limits in YAML, keys below\n"
        "    --json FILE        write the whole report as JSON\n"
        "    --maps DIR         draw TABLE-counts.svg, TABLE-position.svg, TABLE-flux.svg and\n"
        "                       TABLE-drift.svg (tools/plot compare draws a PNG from the JSON)\n"
        "    --table NAME       only this table\n"
        "    --match ARCSEC     radius of the pairs, default 1\n"
        "    --band B           band of the magnitude bins, default r, else the first\n"
        "    --bins LOW,STEP    first magnitude and width of the bins, default from the data, 1\n"
        "    --quiet            print only the exceeded thresholds\n\n"
        "KEYS OF THE THRESHOLDS\n");
    sq_compare_thresholds_defaults(&defaults);
    sq_yaml_print_help(sq_compare_fields, &defaults, stdout);
    printf("\nEXAMPLE\n"
           "    echo 'flux_shift: 0.01' > limits.yaml\n"
           "    skyquilt compare dr1.h5 dr2.h5 --thresholds limits.yaml --maps maps\n\n"
           "EXIT CODES\n"
           "    0  no threshold is exceeded\n"
           "    1  usage error, or a file that is no release\n"
           "    2  a threshold is exceeded: a line each\n"
           "    4  storage error\n");
}

typedef struct arguments {
    sq_compare_options options;
    const char *json, *maps, *thresholds;
    int quiet, help;
} arguments;

static sq_status read_bins(const char *text, sq_compare_options *o)
{
    char *end;
    o->bin_low = strtod(text, &end);
    if (end == text || *end != ',' || !isfinite(o->bin_low))
        return sq_fail(SQ_ERR_USAGE, "--bins: '%s' is not LOW,STEP", text);
    const char *step = end + 1;
    o->bin_step = strtod(step, &end);
    if (end == step || *end || !(o->bin_step > 0) || !isfinite(o->bin_step))
        return sq_fail(SQ_ERR_USAGE, "--bins: '%s' is not LOW,STEP", text);
    return SQ_OK;
}

static sq_status take(int option, const char *value, arguments *a)
{
    sq_compare_options *o = &a->options;
    char *end;
    switch (option) {
    case 't':
        a->thresholds = value;
        return SQ_OK;
    case 'j':
        a->json = value;
        return SQ_OK;
    case 'm':
        a->maps = value;
        return SQ_OK;
    case 'T':
        o->table = value;
        return SQ_OK;
    case 'r':
        o->match = strtod(value, &end);
        return end == value || *end ? sq_fail(SQ_ERR_USAGE, "--match: '%s' is not a number", value)
                                    : SQ_OK;
    case 'b':
        o->band = value;
        return SQ_OK;
    case 'B':
        return read_bins(value, o);
    case 'q':
        a->quiet = 1;
        return SQ_OK;
    case 'h':
        a->help = 1;
        return SQ_OK;
    default:
        return sq_fail(SQ_ERR_USAGE, "unknown option or missing value; see --help");
    }
}

static sq_status read_arguments(int argc, char **argv, arguments *a)
{
    static const struct option table[] = {
        {"thresholds", 1, 0, 't'}, {"json", 1, 0, 'j'}, {"maps", 1, 0, 'm'}, {"table", 1, 0, 'T'},
        {"match", 1, 0, 'r'},      {"band", 1, 0, 'b'}, {"bins", 1, 0, 'B'}, {"quiet", 0, 0, 'q'},
        {"help", 0, 0, 'h'},       {0, 0, 0, 0}};
    int option;
    *a = (arguments){.json = NULL};
    sq_compare_defaults(&a->options);
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "h", table, NULL)) != -1) {
        sq_status rc = take(option, optarg, a);
        if (rc != SQ_OK)
            return rc;
    }
    if (a->help)
        return SQ_OK;
    if (optind != argc - 2)
        return sq_fail(SQ_ERR_USAGE, "two releases are needed; see --help");
    a->options.a = argv[optind];
    a->options.b = argv[optind + 1];
    return SQ_OK;
}

int sq_cli_compare(int argc, char **argv)
{
    sq_status rc;
    arguments a;
    sq_compare_report *report = NULL;
    int exceeded = 0;
    SQ_TRY(read_arguments(argc, argv, &a));
    if (a.help) {
        help();
        return 0;
    }
    if (a.thresholds)
        SQ_TRY(sq_yaml_load(a.thresholds, sq_compare_fields, &a.options.thresholds));
    SQ_TRY(sq_compare(&a.options, &report));
    if (!a.quiet)
        sq_compare_print(report, stdout);
    else
        sq_compare_print_exceeded(report, stdout);
    if (a.json)
        SQ_TRY(sq_compare_json(report, a.json));
    if (a.maps)
        SQ_TRY(sq_compare_maps(report, a.maps));
    exceeded = sq_compare_exceeded(report) > 0;
cleanup:
    sq_compare_destroy(report);
    return rc == SQ_OK ? (exceeded ? 2 : 0) : sq_cli_fail("compare", rc);
}
