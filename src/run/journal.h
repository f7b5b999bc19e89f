/* What the ledger knows: states of tasks for a resume, products for a barrier, tasks for the
 * reduce. A byte a task is kept in memory; all else that is said of tasks stays on disk and is read
 * back in their order. Local, rank 0. */
#ifndef SQ_RUN_JOURNAL_H
#define SQ_RUN_JOURNAL_H

#include "run/entries.h"
#include "run/scheduler.h"
#include "run/survey.h"
#include "store/ledger.h"
#include "store/merge.h"

/* The last word about a task. */
typedef enum journal_state {
    JOURNAL_OPEN,
    JOURNAL_DONE,
    JOURNAL_TAKEN, /* done: over from an earlier release */
    JOURNAL_FAILED,
    JOURNAL_INFRA, /* failed for the environment's reasons */
    JOURNAL_QUARANTINED,
    JOURNAL_STATES
} journal_state;

typedef struct journal_death {
    int phase;
    uint64_t index, deaths;
} journal_death;

#define SQ_RUN_QUARANTINED "%llu ranks died or hung while executing it"

enum {
    JOURNAL_DEATHS = 3, /* while executing it, and a task is quarantined */
    JOURNAL_WHY = 128
};

/* Tasks of which one may have been executed when a rank was lost. */
typedef struct journal_suspects {
    int phase;
    uint64_t index, count;
} journal_suspects;

/* A rank that an execution has lost: it died once. */
typedef struct journal_lost {
    uint32_t execution;
    int rank;
} journal_lost;

typedef struct journal {
    /* Set by the user before the first line. */
    const sq_survey *survey;
    const char *folder; /* of the output, for entries; NULL: only states are wanted */
    uint8_t *state[SQ_MAX_PHASES];                 /* [tasks of the phase] journal_state */
    uint64_t count[SQ_MAX_PHASES][JOURNAL_STATES]; /* but for those open */
    uint64_t number[SQ_MAX_PHASES];                /* of the phase's first entry */
    run_entries *entries;
    journal_death *death;
    size_t deaths, death_capacity;
    journal_suspects *suspect;
    size_t suspects, suspect_capacity;
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
} journal;

/* Visit function of sq_ledger_open with a journal as its user; also for lines that are appended. */
sq_status sq_journal_visit(void *user, const sq_event *event, int64_t line);
/* Forget everything and read a ledger. */
sq_status sq_journal_replay(journal *j, const char *path);
journal_state sq_journal_state(const journal *j, int phase, uint64_t index);
void sq_journal_reopen(journal *j, int phase, uint64_t index);
int sq_journal_has_lost(const journal *j, uint32_t execution, int rank);
uint64_t sq_journal_count(const journal *j, journal_state state); /* over all phases */
void sq_journal_clear(journal *j);

/* Settled tasks in the order of phases and indices: for (journal_at at = {0}; sq_journal_at(j, &at);
 * at.index++). */
typedef struct journal_at {
    int phase;
    uint64_t index;
} journal_at;
int sq_journal_at(const journal *j, journal_at *at);
/* The entry of a settled task, with `folder` set. */
sq_status sq_journal_entry(const journal *j, journal_at at, run_entry *out);

static inline int sq_journal_is_done(journal_state state)
{
    return state == JOURNAL_DONE || state == JOURNAL_TAKEN;
}

static inline sq_task_state sq_journal_task_state(journal_state state)
{
    return sq_journal_is_done(state)      ? SQ_TASK_DONE
           : state == JOURNAL_QUARANTINED ? SQ_TASK_QUARANTINED
                                          : SQ_TASK_FAILED;
}

/* Committed tasks of a phase in order, for sq_phase_products_create; *task and *place: sq_free. */
sq_status sq_journal_products(const journal *j, int phase, sq_task **task, sq_record_place **place,
                              int64_t *count);

#endif
