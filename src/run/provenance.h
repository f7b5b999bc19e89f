/* Who ran what, where and with which versions: the texts of /run and /provenance. */
#ifndef SQ_RUN_PROVENANCE_H
#define SQ_RUN_PROVENANCE_H

#include "par/comm.h"
#include "run/survey.h"
#include "store/merge.h"

enum { SQ_PROVENANCE_TEXTS = 40 };

typedef struct provenance {
    sq_merge_text text[SQ_PROVENANCE_TEXTS];
    char *owned[SQ_PROVENANCE_TEXTS];
    int count;
} provenance;

sq_status sq_provenance_add(provenance *p, const char *name, const char *text);
void sq_provenance_clear(provenance *p);
/* What is the same for every execution: configuration, hashes, software. Local. */
sq_status sq_provenance_survey(const sq_survey *survey, provenance *out);
/* This execution. Collective: gathers hosts and peak memory; filled on rank 0. */
sq_status sq_provenance_execution(const sq_comm *comm, const sq_survey *survey, uint32_t execution,
                                  const char *started, provenance *out);

#endif
