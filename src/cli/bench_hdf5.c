#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench_disk.h"
#include "cli/commands.h"
#include "par/comm.h"
#include "store/bench.h"

static const char help[] =
    "NAME\n"
    "    skyquilt bench hdf5 - columns of a release against the bare disk\n\n"
    "SYNOPSIS\n"
    "    [mpirun -n RANKS] skyquilt bench hdf5 [--folder DIR] [--megabytes N] [--repeats N] "
    "[--deflate N]\n"
    "                                          [--json]\n\n"
    "DESCRIPTION\n"
    "    Rank 0 writes a plain file of N megabytes in blocks of 4 MiB and flushes it to the disk: "
    "the bandwidth of\n"
    "    the bare disk. Then all ranks write columns of the same size together as reduce does "
    "(HDF5, 1-D chunked\n"
    "    datasets, flushed to the disk). Best and median of the repeats are shown. The files are "
    "removed. What the\n"
    "    disk's cache absorbs is in both figures alike. 'bench reduce' measures a whole "
    "reduce.\n\n"
    "OPTIONS\n"
    "    --folder DIR     where to write, default the present folder\n"
    "    --megabytes N    size of the data, default 256\n"
    "    --repeats N      default 3\n"
    "    --deflate N      compression of the columns, 0 to 9, default 0\n"
    "    --json           print one JSON object\n\n"
    "EXIT CODES\n"
    "    0  measured\n"
    "    1  usage error\n"
    "    4  the folder cannot be written\n";

typedef struct setup {
    const char *folder;
    int64_t megabytes, repeats, deflate;
    int json;
} setup;

enum { MAX_REPEATS = 100 };

static int by_value(const void *a, const void *b)
{
    double p = *(const double *)a, q = *(const double *)b;
    return (p > q) - (p < q);
}

static void show(const setup *s, int ranks, double *raw, double *all)
{
    size_t n = (size_t)s->repeats;
    double mb = (double)s->megabytes;
    qsort(raw, n, sizeof *raw, by_value);
    qsort(all, n, sizeof *all, by_value);
    if (s->json) {
        printf("{\"bench\": \"hdf5\", \"ranks\": %d, \"megabytes\": %lld, \"deflate\": %lld, "
               "\"raw_mb_s\": %.1f, \"raw_best_mb_s\": %.1f, \"columns_mb_s\": %.1f, "
               "\"columns_best_mb_s\": %.1f, \"ratio\": %.3f}\n",
               ranks, (long long)s->megabytes, (long long)s->deflate, mb / raw[n / 2], mb / raw[0],
               mb / all[n / 2], mb / all[0], raw[n / 2] / all[n / 2]);
        return;
    }
    printf("%-34s %10s %10s\n", "", "median", "best");
    printf("%-34s %7.0f MB/s %5.0f MB/s\n", "plain file, one process", mb / raw[n / 2],
           mb / raw[0]);
    printf("HDF5 columns, %3d rank%-14s %7.0f MB/s %5.0f MB/s\n", ranks, ranks == 1 ? "" : "s",
           mb / all[n / 2], mb / all[0]);
    printf("%-34s %9.2f\n", "ratio of the medians", raw[n / 2] / all[n / 2]);
}

static sq_status measure(const sq_comm *comm, const setup *s)
{
    double raw[MAX_REPEATS] = {0}, all[MAX_REPEATS] = {0};
    char path[1024];
    sq_status rc = SQ_OK;
    snprintf(path, sizeof path, "%.900s/skyquilt-bench.h5", s->folder);
    for (int64_t i = 0; i < s->repeats; i++) {
        SQ_TRY_ALL(comm, sq_comm_rank(comm) == 0
                             ? sq_bench_disk(s->folder, s->megabytes * 1000000, &raw[i])
                             : SQ_OK);
        SQ_TRY(sq_store_bench(comm, path, s->megabytes * 1000000, (int)s->deflate, &all[i]));
    }
    if (sq_comm_rank(comm) == 0)
        show(s, sq_comm_size(comm), raw, all);
cleanup:
    return rc;
}

static int number(const char *text, int64_t low, int64_t high, int64_t *out)
{
    char *end;
    long long value = strtoll(text, &end, 10);
    *out = value;
    return end != text && *end == '\0' && value >= low && value <= high;
}

static sq_status parse(int argc, char **argv, setup *s)
{
    for (int i = 1; i < argc; i++) {
        const char *key = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        int good = 1, takes = 1;
        if (strcmp(key, "--json") == 0) {
            s->json = 1;
            takes = 0;
        } else if (strcmp(key, "--folder") == 0 && *value) {
            s->folder = value;
        } else if (strcmp(key, "--megabytes") == 0) {
            good = number(value, 1, 1 << 20, &s->megabytes);
        } else if (strcmp(key, "--repeats") == 0) {
            good = number(value, 1, MAX_REPEATS, &s->repeats);
        } else if (strcmp(key, "--deflate") == 0) {
            good = number(value, 0, 9, &s->deflate);
        } else {
            return sq_fail(SQ_ERR_USAGE, "unexpected '%s'; see --help", key);
        }
        if (!good)
            return sq_fail(SQ_ERR_USAGE, "%s: '%s' is not a number in its range", key, value);
        i += takes;
    }
    return SQ_OK;
}

int sq_cli_bench_hdf5(int argc, char **argv)
{
    setup s = {".", 256, 3, 0, 0};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(help, stdout);
            return 0;
        }
    }
    sq_status rc = parse(argc, argv, &s);
    if (rc != SQ_OK)
        return sq_cli_fail("bench hdf5", rc);
    rc = sq_comm_init(&argc, &argv);
    if (rc == SQ_OK)
        rc = measure(sq_comm_world(), &s);
    int code = rc == SQ_OK ? 0 : sq_exit_code(rc);
    if (rc != SQ_OK && (!sq_comm_world() || sq_comm_rank(sq_comm_world()) == 0))
        sq_cli_fail("bench hdf5", rc);
    sq_comm_finalize();
    return code;
}
