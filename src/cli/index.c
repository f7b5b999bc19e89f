#include <getopt.h>
#include <stdio.h>

#include "cli/commands.h"
#include "cli/job.h"
#include "run/index.h"

static void help(void)
{
    printf("NAME\n"
           "    skyquilt index - scan tile headers into a tile index\n\n"
           "SYNOPSIS\n"
           "    [mpirun -n RANKS] skyquilt index --output INDEX.h5 [--reference BAND] PATH...\n\n"
           "DESCRIPTION\n"
           "    Finds the tiles under files and folders (SDSS frame and fpC files with their "
           "psField,\n"
           "    photoField, tsField and fpM; LSST exposures with their side files; LSST cell "
           "coadds,\n"
           "    known by their headers under any name), reads their headers on all ranks, and writes an index: path, format, footprint, bands and identity (size, "
           "time,\n"
           "    CHECKSUM and DATASUM cards). Pixels are not read. A tile whose headers cannot be "
           "used is\n"
           "    reported in one line and left out. Tiles are numbered by name.\n\n"
           "OPTIONS\n"
           "    --output FILE     the index (HDF5), complete under this name\n"
           "    --reference BAND  band whose pixel grid is used, default r\n"
           "    --quiet           no summary\n\n"
           "EXIT CODES\n"
           "    0  all tiles are in the index\n"
           "    1  usage error, or there is no tile\n"
           "    2  some tiles were left out\n"
           "    4  environment or storage error\n");
}

static void say_bad(void *user, const char *name, sq_status code, const char *message)
{
    (void)user;
    fprintf(stderr, "skyquilt index: %s: %s: %s\n", name, sq_status_name(code), message);
}

int sq_cli_index(int argc, char **argv)
{
    static const struct option known[] = {{"output", required_argument, NULL, 'o'},
                                          {"reference", required_argument, NULL, 'r'},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    const char *output = NULL, *reference = "r";
    sq_index_report report = {0};
    int option, quiet = 0;
    optind = 1;
    while ((option = getopt_long(argc, argv, "o:r:qh", known, NULL)) != -1) {
        switch (option) {
        case 'o':
            output = optarg;
            break;
        case 'r':
            reference = optarg;
            break;
        case 'q':
            quiet = 1;
            break;
        case 'h':
            help();
            return 0;
        default:
            return 1;
        }
    }
    if (!output || optind >= argc) {
        fprintf(stderr, "skyquilt index: %s; see 'skyquilt index --help'\n",
                output ? "give files or folders to scan" : "--output FILE is missing");
        return 1;
    }
    int count = argc - optind;
    const char *const *paths = (const char *const *)(argv + optind);
    sq_status rc = sq_cli_job_begin(&argc, &argv, quiet);
    if (rc != SQ_OK)
        return sq_cli_fail("index", rc);
    rc = sq_index_build(sq_comm_world(), paths, count, reference, output, say_bad, NULL, &report);
    int code = report.bad ? 2 : 0;
    if (rc != SQ_OK) {
        sq_cli_job_fail("index", rc);
        code = rc == SQ_ERR_DATA && report.bad ? 2 : sq_exit_code(rc);
    } else if (sq_cli_job_rank() == 0 && !quiet) {
        printf("%s: %lld tiles, %lld left out, %.1f s\n", output, (long long)report.tiles,
               (long long)report.bad, report.seconds);
    }
    return sq_cli_job_end(code, 0);
}
