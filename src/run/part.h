/* Parts of a survey that separate executions compute, each in a folder of its own, and the one
 * release made of them.
 *
 * Part I of N is the I-th of N contiguous runs of patches of the whole survey's plan, as equal as
 * can be: patches have the numbers, and records the bytes, that a single run gives them. The folder
 * of a part is an output folder like any other, DIR/part-I-of-N. */
#ifndef SQ_RUN_PART_H
#define SQ_RUN_PART_H

#include "run/execution.h"

/* Patches first <= patch < end of part `part` of `parts`, counted from 1. */
void sq_part_range(uint64_t patches, int part, int parts, uint64_t *first, uint64_t *end);

/* Make the survey plan only one part. SQ_ERR_CONFIG for a probe of several phases, which need each
 * other's results. Local. */
sq_status sq_part_take(sq_survey *survey, int part, int parts);

/* Rank 0, before the reduce: put into the open ledger what the ledgers of all parts say, and their
 * segments beside the folder's own. SQ_ERR_STOPPED names the parts that are not complete; then
 * nothing is changed. */
sq_status sq_part_import(execution *x);

#endif
