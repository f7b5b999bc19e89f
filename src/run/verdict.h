/* exit.json: what became of an execution. Written by rank 0 only. */
#ifndef SQ_RUN_VERDICT_H
#define SQ_RUN_VERDICT_H

#include "run/run.h"

sq_status sq_verdict_write(const char *folder, const sq_run_verdict *verdict);
/* Absent while an execution goes on. */
sq_status sq_verdict_remove(const char *folder);
/* The exit code and reason; *there = 0 when there is no such file. */
sq_status sq_verdict_read(const char *folder, int *there, int *exit_code, char *reason,
                          size_t size);

#endif
