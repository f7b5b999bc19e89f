/* The subcommands of the program: one file of src/cli/ each.
 *
 * A command gets its own argument vector (argv[0] is its name), prints its manual for --help, and returns a
 * documented exit code: 0 complete, 1 usage or configuration, 2 complete with failed patches, 3 stopped and
 * resumable, 4 environment or storage. */
#ifndef SQ_CLI_COMMANDS_H
#define SQ_CLI_COMMANDS_H

#include <stdio.h>

#include "base/status.h"

int sq_cli_main(int argc, char **argv);

int sq_cli_index(int argc, char **argv);
int sq_cli_plan(int argc, char **argv);
int sq_cli_run(int argc, char **argv);
int sq_cli_reduce(int argc, char **argv);
int sq_cli_status(int argc, char **argv);
int sq_cli_verify(int argc, char **argv);
int sq_cli_validate(int argc, char **argv);
int sq_cli_compare(int argc, char **argv);
int sq_cli_report(int argc, char **argv);
int sq_cli_simulate(int argc, char **argv);
int sq_cli_n0(int argc, char **argv);
int sq_cli_lensing_selftest(int argc, char **argv);
int sq_cli_model(int argc, char **argv);
int sq_cli_bench(int argc, char **argv);
int sq_cli_doctor(int argc, char **argv);
int sq_cli_export(int argc, char **argv);

/* The parts of `bench`. */
int sq_cli_bench_conv(int argc, char **argv);
int sq_cli_bench_model(int argc, char **argv);
int sq_cli_bench_fft(int argc, char **argv);
int sq_cli_bench_lensing(int argc, char **argv);
int sq_cli_bench_hdf5(int argc, char **argv);
int sq_cli_bench_reduce(int argc, char **argv);
int sq_cli_bench_scheduler(int argc, char **argv);

/* Print "skyquilt COMMAND: message" on standard error and return the status's exit code. */
int sq_cli_fail(const char *command, sq_status code);

/* Make every probe known to the machinery: one line a probe. */
sq_status sq_cli_register_probes(void);

#endif
