/* The progress of a run: a bar on a terminal, plain lines in a log, both on standard error. */
#ifndef SQ_CLI_PROGRESS_H
#define SQ_CLI_PROGRESS_H

#include "run/run.h"

typedef struct sq_cli_progress {
    int drawn; /* a bar stands on the present line */
} sq_cli_progress;

/* A sq_run_options.report function whose user is a sq_cli_progress. */
void sq_cli_show_progress(void *user, const sq_run_progress *progress);
void sq_cli_end_progress(sq_cli_progress *progress);
/* A positive number of seconds; 0 when the text is none. */
int sq_cli_seconds(const char *text, double *out);

#endif
