/* A survey as a run sees it: the probe's instance, the tiles, and how each phase cuts them into
 * patches.
 *
 * Patches are numbered tile by tile in the order of the index: patch = base of the tile + index in
 * its tiling. Every rank has the same survey; rank 0 alone reads the files that it is made of. */
#ifndef SQ_RUN_SURVEY_H
#define SQ_RUN_SURVEY_H

#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"
#include "fits/tile_list.h"
#include "par/comm.h"
#include "probe/probe.h"
#include "run/config.h"
#include "run/scheduler.h"

typedef struct sq_survey {
    const sq_run_config *config; /* borrowed */
    void *self;                  /* of the probe */
    sq_probe_description d;
    sq_tile_list *tiles; /* that are selected; NULL for maps */
    int64_t ntile;
    sq_wcs_pool *wcs; /* of the reference bands */
    sq_owner *owner;  /* NULL for maps */
    uint32_t parts;   /* tiles, or 1 for maps */
    uint64_t *base[SQ_MAX_PHASES]; /* [parts + 1] */
    uint64_t *cut; /* [parts + 1] base[0] within the part that is planned; NULL: all is */
    sq_hash identity;              /* of configuration, models, tiles, program and libraries */
    sq_hash config_hash, model_hash, index_hash;
    sq_hash results_hash; /* of the configuration and patch shapes that decide what a patch yields */
    char *identity_text; /* canonical YAML of what decides results */
} sq_survey;

/* Collective over `comm`; NULL: one rank. All ranks return the same status. `index`: path of the
 * tile index, NULL for probes of maps. */
sq_status sq_survey_create(const sq_comm *comm, const sq_run_config *config, const char *index,
                           sq_survey **out);
void sq_survey_destroy(sq_survey *survey);

uint64_t sq_survey_tasks(const sq_survey *survey, int phase);
/* The phases for the scheduler, and the tasks in them; arrays are borrowed from the survey. */
void sq_survey_plan(const sq_survey *survey, sq_phase_plan plan[SQ_MAX_PHASES]);
uint64_t sq_survey_planned(const sq_survey *survey);
uint32_t sq_survey_tile_of(const sq_survey *survey, int phase, uint64_t patch);
/* The tiling of a tile in a phase: sq_tiling_destroy. `wcs`: of the tile, borrowed by the tiling;
 * NULL for maps, and where only numbers and pixels of patches are wanted. */
sq_status sq_survey_tiling(const sq_survey *survey, int phase, uint32_t tile, const sq_wcs *wcs,
                           sq_tiling **out);
/* The scheduler's index and a task are two names of one thing. */
sq_task sq_survey_task(const sq_survey *survey, int phase, uint64_t index);
uint64_t sq_survey_index(const sq_survey *survey, int phase, uint64_t patch, uint32_t realisation);
/* "skyquilt 0.1.0, oneDNN ..., ISA": what results may depend on beside inputs. */
const char *sq_survey_software(void);

#endif
