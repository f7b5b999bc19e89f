#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

#include "cli/version.h"

#include "base/log.h"

typedef struct command {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} command;

static const command commands[] = {
    {"index", "scan tile headers into a tile index", sq_cli_index},
    {"plan", "say what a run would do, without doing it", sq_cli_plan},
    {"run", "process a survey; run again to resume", sq_cli_run},
    {"reduce", "make the release again from the shards", sq_cli_reduce},
    {"status", "progress of a run, from its ledger", sq_cli_status},
    {"verify", "check hashes, counts and manifests", sq_cli_verify},
    {"validate", "compare a release with the truth", sq_cli_validate},
    {"compare", "what changed between two releases", sq_cli_compare},
    {"report", "a release on one page", sq_cli_report},
    {"simulate", "make tiles with truth, and training sets", sq_cli_simulate},
    {"n0", "noise of lensing reconstruction", sq_cli_n0},
    {"lensing-selftest", "check the lensing code of this install", sq_cli_lensing_selftest},
    {"model", "show what an ONNX file needs, or run it", sq_cli_model},
    {"bench", "measure what the machine and the engine reach", sq_cli_bench},
    {"doctor", "check the environment", sq_cli_doctor},
    {"export", "write a release as FITS tables", sq_cli_export},
};

static const command benches[] = {
    {"conv", "the machine's peak in convolutions", sq_cli_bench_conv},
    {"model", "a whole network against that peak", sq_cli_bench_model},
    {"fft", "Fourier transforms; makes the wisdom file", sq_cli_bench_fft},
    {"lensing", "quadratic estimators of lensing on given maps", sq_cli_bench_lensing},
    {"hdf5", "columns of a release against the bare disk", sq_cli_bench_hdf5},
    {"reduce", "a whole reduce against the bare disk", sq_cli_bench_reduce},
    {"scheduler", "rank 0's message rate and efficiency", sq_cli_bench_scheduler},
};

enum { COMMANDS = sizeof commands / sizeof *commands, BENCHES = sizeof benches / sizeof *benches };

static void list(FILE *out, const command *table, int count)
{
    for (int i = 0; i < count; i++)
        fprintf(out, "    %-16s %s\n", table[i].name, table[i].summary);
}

static void usage(FILE *out)
{
    fprintf(out, "NAME\n"
                 "    skyquilt - an MPI-distributed survey processor\n\n"
                 "SYNOPSIS\n"
                 "    [mpirun -n RANKS] skyquilt COMMAND [OPTIONS] [ARGUMENTS]\n"
                 "    skyquilt COMMAND --help\n"
                 "    skyquilt --version\n\n"
                 "COMMANDS\n");
    list(out, commands, COMMANDS);
    fprintf(out, "\nEXIT CODES\n"
                 "    0  complete\n"
                 "    1  usage or configuration error\n"
                 "    2  complete, with failed patches or tiles\n"
                 "    3  stopped on request; the same command resumes\n"
                 "    4  environment or storage error\n");
}

static const command *find(const command *table, int count, const char *name)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    }
    return NULL;
}

static int is_help(const char *text)
{
    return strcmp(text, "--help") == 0 || strcmp(text, "-h") == 0 || strcmp(text, "help") == 0;
}

int sq_cli_fail(const char *name, sq_status code)
{
    fprintf(stderr, "skyquilt %s: %s\n", name, sq_error());
    return sq_exit_code(code);
}

int sq_cli_bench(int argc, char **argv)
{
    if (argc < 2 || is_help(argv[1])) {
        FILE *out = argc < 2 ? stderr : stdout;
        fprintf(out, "NAME\n    skyquilt bench - measure what the machine and the engine reach\n\n"
                     "SYNOPSIS\n    skyquilt bench WHAT [OPTIONS]\n"
                     "    skyquilt bench WHAT --help\n\nWHAT\n");
        list(out, benches, BENCHES);
        return argc < 2;
    }
    const command *bench = find(benches, BENCHES, argv[1]);
    if (!bench) {
        fprintf(stderr, "skyquilt bench: '%s' is not a benchmark; see 'skyquilt bench --help'\n",
                argv[1]);
        return 1;
    }
    return bench->run(argc - 1, argv + 1);
}

int sq_cli_main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return 1;
    }
    if (is_help(argv[1])) {
        usage(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        sq_cli_version(stdout);
        return 0;
    }
    const command *found = find(commands, COMMANDS, argv[1]);
    if (!found) {
        fprintf(stderr, "skyquilt: '%s' is not a command; see 'skyquilt --help'\n", argv[1]);
        return 1;
    }
    return found->run(argc - 1, argv + 1);
}
