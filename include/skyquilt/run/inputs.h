/* Are the inputs of a finished or interrupted run still what it read? Local, one process; every
 * patch that is done is read again, and nothing is computed. */
#ifndef SQ_RUN_INPUTS_H
#define SQ_RUN_INPUTS_H

#include <stdint.h>

#include "base/status.h"

typedef struct sq_inputs_report {
    int64_t models, patches, problems;
} sq_inputs_report;

/* run.yaml of an output folder, every byte: SQ_ERR_CORRUPT when it is not what the run wrote. */
sq_status sq_run_verify_config(const char *folder);

/* Model files against the hash in the ledger; of every patch that is done the sections of its tiles
 * (pixels, masks, PSF and calibration as the probe reads them) against the hash that was committed
 * with it. One line for a model or tile that differs. Errors are those that keep it from checking
 * at all. */
sq_status sq_run_verify_inputs(const char *folder, void (*problem)(void *user, const char *line),
                               void *user, sq_inputs_report *report);

#endif
