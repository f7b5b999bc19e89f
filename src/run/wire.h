/* What rank 0 and its workers say to each other; bodies fit sq_message. Machines of one job have
 * one byte order. */
#ifndef SQ_RUN_WIRE_H
#define SQ_RUN_WIRE_H

#include <stdint.h>

#include "base/hash.h"
#include "store/shard.h"

typedef enum wire_kind {
    /* From rank 0. */
    WIRE_ASSIGN = 1, /* wire_range */
    WIRE_CANCEL,     /* wire_range */
    WIRE_DRAIN,      /* nothing */
    WIRE_PHASE,      /* wire_phase: a finished phase's file may be loaded */
    WIRE_SHUTDOWN,   /* nothing: answer BYE and leave */
    WIRE_FATE,       /* wire_fate: after BYE */
    WIRE_LOST,       /* wire_lost: after FATE, until all lost ranks are named */
    WIRE_ALIVE,      /* nothing: the answer to a heartbeat */
    WIRE_PAUSE,      /* nothing: no answers until the next message; send no heartbeats */
    /* From workers. */
    WIRE_READY = 32, /* nothing */
    WIRE_STARTED,    /* wire_present */
    WIRE_DONE,       /* wire_done: results that are on disk */
    WIRE_FAILED,     /* wire_result */
    WIRE_HEARTBEAT,  /* wire_range: count = tasks held */
    WIRE_DRAINED,    /* nothing */
    WIRE_BYE,        /* wire_bye */
    WIRE_GONE        /* wire_gone: a process on the same node has died */
} wire_kind;

typedef struct wire_range {
    uint64_t index, count;
    int32_t phase;
    uint32_t attempt;
    int32_t alone;
    int32_t padding;
} wire_range;

typedef struct wire_phase {
    int32_t phase, has_file;
    sq_hash hash;
} wire_phase;

/* What a worker is at. It says so with its results and when it begins another task; one whose tasks
 * are short begins some without saying. */
enum { WIRE_IDLE, WIRE_AT, WIRE_SILENT };
typedef struct wire_present {
    uint64_t index;
    int32_t phase, what; /* WIRE_IDLE: at none; WIRE_AT: says before it begins another; WIRE_SILENT:
                            does not */
} wire_present;

/* Results whose records lie in one segment. */
enum { WIRE_ITEMS = 6, WIRE_TAKEN = 0x8000 };
typedef struct wire_item {
    sq_hash input, hash;
    uint64_t offset, length, rows;
    float seconds;
    uint16_t index;   /* beyond the first */
    uint16_t attempt; /* | WIRE_TAKEN */
} wire_item;

typedef struct wire_done {
    wire_present present;
    uint64_t first;
    int32_t phase, count;
    char segment[SQ_SEGMENT_NAME];
    wire_item item[WIRE_ITEMS];
} wire_done;

enum { WIRE_TEXT = 256 };

typedef struct wire_result {
    uint64_t index;
    int32_t phase;
    uint32_t attempt;
    int32_t status; /* sq_status */
    float seconds;
    uint64_t rows;
    uint32_t taken, padding; /* 1: from an earlier release, not computed */
    sq_hash input;
    sq_record_place place;
    char text[WIRE_TEXT]; /* of a failure */
} wire_result;

typedef struct wire_bye {
    int32_t status;
    int32_t padding;
    char text[WIRE_TEXT];
} wire_bye;

/* What follows the loop. With lost ranks only members may take part in what is collective: all but
 * those lost. */
typedef struct wire_fate {
    int32_t lost, outcome, status, member;
} wire_fate;

enum { WIRE_RANKS = 120 };

typedef struct wire_lost {
    int32_t count, rank[WIRE_RANKS];
} wire_lost;

typedef struct wire_gone {
    int32_t rank, padding;
} wire_gone;

#endif
