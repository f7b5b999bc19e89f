#include "assess/report.h"

#include <stdio.h>
#include <string.h>

#include "cli/commands.h"

static const char help[] =
    "NAME\n"
    "    skyquilt report - a release on one page\n\n"
    "SYNOPSIS\n"
    "    skyquilt report RELEASE [--output FILE] [--validate FILE] [--compare FILE]\n\n"
    "DESCRIPTION\n"
    "    Writes one HTML page that needs nothing else, no scripts and no network: the footprint\n"
    "    with the state of every patch, rows on the sky, magnitudes by band, maps, where the time\n"
    "    went, failures with their reasons, and what the release was made from (configuration,\n"
    "    hashes, versions). With the JSON of `skyquilt validate` also completeness, purity,\n"
    "    classes, coverage and reliability; with that of `skyquilt compare` also what changed\n"
    "    and which thresholds are exceeded; of a lensing release the methods side by side, their\n"
    "    correlation with the truth, transfer and S/N by bin of L. Drawings show their numbers as\n"
    "    tool tips.\n\n"
    "    The outlines of patches are drawn from their number in a tile and its shape; in\n"
    "    releases without tiles every task is a square.\n\n"
    "OPTIONS\n"
    "    --output FILE      the page, default RELEASE with .html in place of .h5\n"
    "    --validate FILE    from `skyquilt validate RELEASE --truth TRUTH --json FILE`\n"
    "    --compare FILE     from `skyquilt compare A RELEASE --json FILE`\n"
    "    --title TEXT       default the name of the release\n\n"
    "EXIT CODES\n"
    "    0  written\n"
    "    1  usage error, or a file that is not what it should be\n"
    "    4  storage error\n";

static sq_status read_arguments(int argc, char **argv, sq_report_options *o)
{
    for (int i = 1; i < argc; i++) {
        int more = i + 1 < argc;
        if (strcmp(argv[i], "--output") == 0 && more)
            o->output = argv[++i];
        else if (strcmp(argv[i], "--validate") == 0 && more)
            o->validate = argv[++i];
        else if (strcmp(argv[i], "--compare") == 0 && more)
            o->compare = argv[++i];
        else if (strcmp(argv[i], "--title") == 0 && more)
            o->title = argv[++i];
        else if (argv[i][0] != '-' && !o->release)
            o->release = argv[i];
        else
            return sq_fail(SQ_ERR_USAGE, "unexpected '%s'; see --help", argv[i]);
    }
    return o->release ? SQ_OK : sq_fail(SQ_ERR_USAGE, "no RELEASE given; see --help");
}

int sq_cli_report(int argc, char **argv)
{
    sq_report_options o = {.release = NULL};
    char output[4096];
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(help, stdout);
            return 0;
        }
    }
    sq_status rc = read_arguments(argc, argv, &o);
    if (rc == SQ_OK && !o.output) {
        size_t n = strlen(o.release);
        n -= n > 3 && strcmp(o.release + n - 3, ".h5") == 0 ? 3 : 0;
        if (n > sizeof output - 6)
            return sq_cli_fail("report", sq_fail(SQ_ERR_USAGE, "the path is too long"));
        snprintf(output, sizeof output, "%.*s.html", (int)n, o.release);
        o.output = output;
    }
    if (rc == SQ_OK)
        rc = sq_report(&o);
    if (rc != SQ_OK)
        return sq_cli_fail("report", rc);
    printf("%s\n", o.output);
    return 0;
}
