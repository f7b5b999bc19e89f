/* The ledger: rank 0's append-only text journal, one checksummed line per event; the only truth
 * about what is done.
 *
 * A line is "HASH SEQ TIME EVENT key=value ...": HASH the first 16 digits of the XXH3 of the rest
 * and of the line before, so that lines can be neither changed, nor dropped, nor exchanged; SEQ
 * counts from 1; TIME is UTC, for people only. Values have no spaces (%XX escapes). A torn last
 * line is cut on opening and never trusted; any other damage is SQ_ERR_CORRUPT naming file and
 * line. Replays are independent of ranks: nothing is keyed by rank. Local. */
#ifndef SQ_STORE_LEDGER_H
#define SQ_STORE_LEDGER_H

#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"
#include "store/shard.h"

typedef enum sq_event_kind {
    SQ_EVENT_PLAN,  /* config, input, model hashes; count = tasks in all; text = program version */
    SQ_EVENT_START, /* an execution begins: execution, count = ranks, text = host */
    SQ_EVENT_STOP,  /* it ends in order: execution, status, count = 1 when complete, text = reason */
    SQ_EVENT_ATTEMPT,    /* a task is handed out: phase, patch, realisation, attempt */
    SQ_EVENT_COMMIT,     /* a task is done: + place, rows, input hash; count = 1: taken over from an
                            earlier release, not computed */
    SQ_EVENT_FAIL,       /* an attempt failed: + status, text = message */
    SQ_EVENT_DEATH,      /* a rank was lost while it executed the task: count = the rank, text = what
                            is known */
    SQ_EVENT_QUARANTINE, /* the task is given up: + status, text = reason */
    SQ_EVENT_BARRIER,    /* a phase is complete: phase, config = hash of its phase file (or 0) */
    SQ_EVENT_REDUCE, /* the release stands under its final name: text = path, config = hash of its
                        manifest */
    SQ_EVENT_NOTE,   /* text; ignored by replay */
    SQ_EVENT_REOPEN, /* what was said about the task before is void, its deaths too: text = why;
                        attempt = 0 done, 1 failed, 2 quarantined before; count > 0: about every
                        task of the phase, of which rows were done */
    SQ_EVENT_SUSPECT, /* a rank was lost that may have executed one of `count` tasks in a row: phase,
                         patch and realisation of the first; text = what is known */
    SQ_EVENT_COUNT
} sq_event_kind;

enum { SQ_EVENT_TEXT = 512 };

/* One event; unused fields are 0. */
typedef struct sq_event {
    sq_event_kind kind;
    uint32_t execution;
    uint32_t phase, realisation, attempt;
    uint64_t patch;
    uint64_t count;   /* PLAN: tasks, START: ranks */
    uint64_t rows;    /* COMMIT: rows of all tables */
    sq_status status; /* FAIL, QUARANTINE, STOP */
    sq_hash config, input, model;
    sq_record_place place;    /* COMMIT */
    char text[SQ_EVENT_TEXT]; /* longer texts are cut */
} sq_event;

typedef struct sq_ledger sq_ledger;
typedef sq_status (*sq_ledger_visit)(void *user, const sq_event *event, int64_t line);

/* Open for appending, making the file when it is not there; replays what is there through `visit`
 * (may be NULL). A torn last line is cut off the file. Takes an advisory lock: SQ_ERR_IO when
 * another process holds it. */
sq_status sq_ledger_open(const char *path, sq_ledger_visit visit, void *user, sq_ledger **out);
/* Append one event. It is on disk after the next sq_ledger_flush. After a failed write (disk full)
 * the tail is cut back to the last whole line and the event may be tried again. */
sq_status sq_ledger_append(sq_ledger *ledger, const sq_event *event);
/* Write and fsync. After a failed fsync what it should have covered is cut off the file, and this
 * and all later flushes fail: another fsync could not tell what is on disk. */
sq_status sq_ledger_flush(sq_ledger *ledger);
int64_t sq_ledger_unflushed(const sq_ledger *ledger); /* events since the last flush */
double sq_ledger_age(const sq_ledger *ledger); /* seconds since the oldest of them, 0 without */
sq_status sq_ledger_close(sq_ledger *ledger);  /* flushes; accepts NULL */

/* Read without a lock and without changing the file (status, verify, a running job). *torn: 1 when
 * a torn last line was left out. */
sq_status sq_ledger_replay(const char *path, sq_ledger_visit visit, void *user, int *torn);
sq_status sq_ledger_replay_bytes(const char *data, size_t size, const char *name,
                                 sq_ledger_visit visit, void *user, size_t *good);
const char *sq_event_name(sq_event_kind kind);

#endif
