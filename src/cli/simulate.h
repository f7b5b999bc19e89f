/* The parts of `simulate`: one file a kind of sky, chosen by the key `preset`. */
#ifndef SQ_CLI_SIMULATE_H
#define SQ_CLI_SIMULATE_H

#include <stdint.h>

#include "base/config.h"
#include "base/status.h"
#include "sim/mm.h"

typedef struct sq_simulate_options {
    const char *sky, *output, *training;
    int64_t seed, samples, first, side, tile, sources, halos, cutouts, maximum; /* -1: not given */
    double limit, min_snr, margin, mass_min;
    int truth_only, fixed, quiet;
} sq_simulate_options;

/* Load the keys with the kind's defaults, and make the survey or the training set. `collective`:
 * called by all ranks after sq_comm_init, for a survey; else a training set by one process. */
sq_status sq_simulate_optical(const sq_simulate_options *options, int collective);
sq_status sq_simulate_mm(const sq_simulate_options *options, int collective);
sq_status sq_simulate_cmb(const sq_simulate_options *options, int collective);
/* Fields of the mm simulator from the defaults of one of its presets. */
sq_status sq_simulate_fields(const sq_simulate_options *options, const sq_sim_mm_config *defaults,
                             int collective);
/* KEYS OF SKY.yaml and what comes with them. */
void sq_simulate_optical_help(void);
void sq_simulate_mm_help(void);
void sq_simulate_cmb_help(void);

/* Make the output folder and write its sky.yaml, or see that the one that is there says the same:
 * files that exist are kept. One rank. */
sq_status sq_simulate_folder(const sq_simulate_options *options, const sq_config_field *fields,
                             const void *config);

#endif
