/* What the ledger knows: states of tasks for a resume, products for a barrier, tasks for the
 * reduce. Local, rank 0. */
#ifndef SQ_RUN_JOURNAL_H
#define SQ_RUN_JOURNAL_H

#include "run/scheduler.h"
#include "run/survey.h"
#include "store/ledger.h"
#include "store/merge.h"

/* The last word about one task. */
typedef struct journal_task {
    uint64_t index; /* within the phase */
    uint64_t order; /* of its line */
    sq_record_place place;
    sq_hash input;
    uint64_t rows;
    char *reason; /* NULL when done */
    int32_t phase;
    uint32_t attempt;
    sq_task_state state;
    sq_status status;
    int taken;    /* over from an earlier release */
    int reopened; /* no state any more: settling drops it */
} journal_task;

typedef struct journal_death {
    int phase;
    uint64_t index, deaths;
} journal_death;

#define SQ_RUN_QUARANTINED "%llu ranks died or hung while executing it"

enum {
    JOURNAL_DEATHS = 3, /* while executing it, and a task is quarantined */
    JOURNAL_WHY = 128
};

/* A rank that an execution has lost: it died once. */
typedef struct journal_lost {
    uint32_t execution;
    int rank;
} journal_lost;

typedef struct journal {
    journal_task *task; /* sorted by (phase, index), each once */
    size_t tasks, task_capacity;
    journal_death *death;
    size_t deaths, death_capacity;
    journal_lost *lost;
    size_t losses, lost_capacity;
    char reopening[JOURNAL_WHY]; /* why tasks were reopened that may not all be settled yet */
    int has_plan, reduced;
    sq_hash plan; /* identity of the survey that the ledger belongs to */
    uint64_t plan_tasks;
    uint32_t executions, ranks;
    sq_hash phase_hash[SQ_MAX_PHASES];
    int phase_done[SQ_MAX_PHASES];
    sq_hash manifest;
    /* While reading. */
    const sq_survey *survey;
    uint64_t order, void_before[SQ_MAX_PHASES];
} journal;

/* Visit function of sq_ledger_open and sq_ledger_replay with a journal as its user. */
sq_status sq_journal_visit(void *user, const sq_event *event, int64_t line);
/* After the replay: one entry a task, the last line wins. */
sq_status sq_journal_settle(journal *j);
/* The last word about a task, after settling; NULL when there is none. */
const journal_task *sq_journal_find(const journal *j, int phase, uint64_t index);
int sq_journal_has_lost(const journal *j, uint32_t execution, int rank);
void sq_journal_clear(journal *j);

/* Committed tasks of a phase in order, for sq_phase_products_create; *task and *place: sq_free. */
sq_status sq_journal_products(const journal *j, int phase, sq_task **task, sq_record_place **place,
                              int64_t *count);
/* All tasks for the reduce; reasons are borrowed from the journal. */
sq_status sq_journal_merge_tasks(const journal *j, sq_merge_task **task, int64_t *count);

#endif
