/* The part of `plan` about a run against an earlier release: what is taken over and why the rest is
 * not. Local. */
#ifndef SQ_CLI_PLAN_BASE_H
#define SQ_CLI_PLAN_BASE_H

#include "run/base.h"

/* Reads the inputs of tiles whose files were written since. count: sq_base_count_clear. */
sq_status sq_cli_plan_base(const sq_survey *survey, const char *release, sq_base_count *count);
/* With `verbose` a line for each tile of which something is redone. */
void sq_cli_plan_base_text(const sq_survey *survey, const sq_base_count *count, int verbose);
/* One object. */
void sq_cli_plan_base_json(const sq_base_count *count);

#endif
