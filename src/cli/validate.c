#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assess/validate.h"
#include "base/mem.h"
#include "cli/commands.h"

enum { MAX_CORNERS = 256 };

static void help(void)
{
    printf(
        "NAME\n"
        "    skyquilt validate - compare a release with the truth\n\n"
        "SYNOPSIS\n"
        "    skyquilt validate RELEASE --truth TRUTH [OPTIONS]\n\n"
        "DESCRIPTION\n"
        "    Pairs detections with true sources (mutual nearest neighbours) and prints:\n"
        "    completeness, purity, F1 and the classes of stars and galaxies by magnitude, for "
        "each\n"
        "    bin and for everything brighter; residuals (median, scaled MAD), pulls and the "
        "coverage\n"
        "    of the 50, 68, 90 and 95%% intervals of every quantity whose truth is known;\n"
        "    star/galaxy separation; reliability of the detection probability. Completeness is "
        "by\n"
        "    true magnitude, purity by measured magnitude, against the whole truth. Errors come\n"
        "    from a seeded bootstrap over blocks of sky.\n\n"
        "    RELEASE and TRUTH are HDF5 files with one-dimensional columns in the group catalog "
        "or\n"
        "    at the top: ra, dec (deg), flux_BAND (nJy); the truth may have star, tile, radius, "
        "e1,\n"
        "    e2; the release detection_probability, star_probability, and X_err or quantiles\n"
        "    X_q05, X_q16, ... of any column X. Truth outside the tiles of the release is not\n"
        "    counted. AB magnitudes: 31.4 - 2.5 log10(flux / nJy).\n\n"
        "OPTIONS\n"
        "    --truth FILE       the truth\n"
        "    --table NAME       group of the release, default catalog\n"
        "    --match ARCSEC     radius of the pairs, default 0.6\n"
        "    --tolerance MAG    pairs must also agree in magnitude, default: no\n"
        "    --band B           band of the magnitudes, default r\n"
        "    --limit MAG        faint end of summary and table, default: none\n"
        "    --bright MAG       bright end, default: none\n"
        "    --bins LOW,STEP    first magnitude and width of the bins, default from the data and "
        "0.5\n"
        "    --threshold P      count detections of at least this probability, default 0.5 "
        "(the\n"
        "                       reliability takes all)\n"
        "    --reject BITS      leave out rows with one of these bits in the column flags\n"
        "    --region LIST      only inside the polygon RA,DEC,RA,DEC,RA,DEC[,...] in deg\n"
        "    --margin ARCSEC    leave out this much along the border of the footprint, default 2\n"
        "    --json FILE        write the whole report as JSON\n"
        "    --seed N           of the bootstrap, default 1\n"
        "    --replicas N       of the bootstrap, default 200\n"
        "    --quiet            no table\n\n"
        "EXIT CODES\n"
        "    0  compared\n"
        "    1  usage error, a file that is not a catalogue, or nothing to compare\n"
        "    4  storage error\n");
}

typedef struct arguments {
    sq_validate_options options;
    double corner[2 * MAX_CORNERS];
    const char *json;
    int quiet, help;
} arguments;

static sq_status read_number(const char *option, const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    if (end == text || *end || !isfinite(*out))
        return sq_fail(SQ_ERR_USAGE, "--%s: '%s' is not a number", option, text);
    return SQ_OK;
}

/* Numbers between commas, at most `most`. */
static sq_status read_list(const char *option, const char *text, int most, double *out, int *count)
{
    const char *at = text;
    for (*count = 0; *count < most; at++) {
        char *end;
        out[*count] = strtod(at, &end);
        if (end == at || (*end && *end != ',') || !isfinite(out[*count]))
            break;
        ++*count;
        at = end;
        if (!*at)
            return SQ_OK;
    }
    return sq_fail(SQ_ERR_USAGE, "--%s: '%s' is not a list of up to %d numbers", option, text,
                   most);
}

static sq_status read_whole(const char *option, const char *text, double most, uint64_t *out)
{
    double value;
    sq_status rc = read_number(option, text, &value);
    if (rc == SQ_OK && !(value >= 0 && value <= most && value == floor(value)))
        return sq_fail(SQ_ERR_USAGE, "--%s: '%s' is not a whole number from 0 to %.0f", option,
                       text, most);
    if (rc == SQ_OK)
        *out = (uint64_t)value;
    return rc;
}

static sq_status read_region(const char *text, arguments *a)
{
    int count;
    sq_status rc = read_list("region", text, 2 * MAX_CORNERS, a->corner, &count);
    if (rc == SQ_OK && (count % 2 || count < 6))
        return sq_fail(SQ_ERR_USAGE, "--region: %d numbers are not three or more corners", count);
    a->options.region = a->corner;
    a->options.vertices = count / 2;
    return rc;
}

static sq_status read_bins(const char *text, arguments *a)
{
    double value[2];
    int count;
    sq_status rc = read_list("bins", text, 2, value, &count);
    if (rc != SQ_OK)
        return rc;
    if (count != 2 || !(value[1] > 0))
        return sq_fail(SQ_ERR_USAGE, "--bins: '%s' is not LOW,STEP", text);
    a->options.bin_low = value[0];
    a->options.bin_step = value[1];
    return SQ_OK;
}

static sq_status take(int option, const char *name, const char *value, arguments *a)
{
    sq_validate_options *o = &a->options;
    uint64_t whole = 0;
    sq_status rc = SQ_OK;
    switch (option) {
    case 't':
        o->truth = value;
        break;
    case 'T':
        o->table = value;
        break;
    case 'm':
        return read_number(name, value, &o->match);
    case 'o':
        return read_number(name, value, &o->tolerance);
    case 'b':
        o->band = value;
        break;
    case 'l':
        return read_number(name, value, &o->limit);
    case 'L':
        return read_number(name, value, &o->bright);
    case 'B':
        return read_bins(value, a);
    case 'p':
        return read_number(name, value, &o->threshold);
    case 'R':
        return read_whole(name, value, 4294967295.0, &o->reject);
    case 'r':
        return read_region(value, a);
    case 'M':
        return read_number(name, value, &o->margin);
    case 'j':
        a->json = value;
        break;
    case 's':
        return read_whole(name, value, 9007199254740992.0, &o->seed);
    case 'n':
        rc = read_whole(name, value, 10000, &whole);
        o->replicas = (int)whole;
        break;
    case 'q':
        a->quiet = 1;
        break;
    case 'h':
        a->help = 1;
        break;
    default:
        return sq_fail(SQ_ERR_USAGE, "unknown option or missing value; see --help");
    }
    return rc;
}

static sq_status read_arguments(int argc, char **argv, arguments *a)
{
    static const struct option table[] = {
        {"truth", 1, 0, 't'},     {"table", 1, 0, 'T'},  {"match", 1, 0, 'm'},
        {"tolerance", 1, 0, 'o'}, {"band", 1, 0, 'b'},   {"limit", 1, 0, 'l'},
        {"bright", 1, 0, 'L'},    {"bins", 1, 0, 'B'},   {"threshold", 1, 0, 'p'},
        {"region", 1, 0, 'r'},    {"reject", 1, 0, 'R'}, {"margin", 1, 0, 'M'},
        {"json", 1, 0, 'j'},      {"seed", 1, 0, 's'},   {"replicas", 1, 0, 'n'},
        {"quiet", 0, 0, 'q'},     {"help", 0, 0, 'h'},   {0, 0, 0, 0}};
    int option, index = 0;
    sq_validate_defaults(&a->options);
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "h", table, &index)) != -1) {
        sq_status rc = take(option, option == 'h' ? "help" : table[index].name, optarg, a);
        if (rc != SQ_OK)
            return rc;
    }
    if (a->help)
        return SQ_OK;
    if (optind != argc - 1)
        return sq_fail(SQ_ERR_USAGE, "one release is needed; see --help");
    a->options.release = argv[optind];
    if (!a->options.truth)
        return sq_fail(SQ_ERR_USAGE, "--truth is needed; see --help");
    return SQ_OK;
}

int sq_cli_validate(int argc, char **argv)
{
    sq_status rc;
    arguments *a = NULL;
    sq_validate_report *report = NULL;
    SQ_TRY(SQ_ALLOC(a, 1, "arguments"));
    SQ_TRY(read_arguments(argc, argv, a));
    if (a->help) {
        help();
        goto cleanup;
    }
    SQ_TRY(sq_validate(&a->options, &report));
    if (!a->quiet)
        sq_validate_print(report, stdout);
    if (a->json)
        SQ_TRY(sq_validate_json(report, a->json));
cleanup:
    sq_validate_destroy(report);
    sq_free(a);
    return rc == SQ_OK ? 0 : sq_cli_fail("validate", rc);
}
