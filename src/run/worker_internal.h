/* The parts of a worker. Local. */
#ifndef SQ_RUN_WORKER_INTERNAL_H
#define SQ_RUN_WORKER_INTERNAL_H

#include "run/base.h"
#include "run/paths.h"
#include "run/prefetch.h"
#include "run/wire.h"
#include "run/worker.h"

typedef struct held_task {
    sq_task task;
    int alone;
} held_task;

struct run_worker {
    worker_setup setup;
    const sq_survey *survey;
    char shards[SQ_PATH_MAX];
    sq_shard *shard;
    prefetch *reader;
    sq_base *base; /* NULL: none */
    sq_product *product;
    held_task *queue; /* not yet asked of the reader */
    size_t head, count, capacity;
    held_task ahead[4]; /* asked of the reader and not yet taken, the oldest first */
    uint64_t asked;
    held_task cancelled[8]; /* asked of the reader and no longer wanted */
    unsigned cancel_next;
    wire_result *pending; /* appended and not yet flushed */
    size_t pendings, pending_capacity;
    double pending_since, last_sent, write_seconds, waited;
    wire_present announced; /* what rank 0 knows */
    double mean;            /* seconds of a task, of late; 0: none was done */
    double last_heard;      /* of rank 0 */
    int paused;             /* it has said that it will not answer for a while */
    int finished;
};

/* worker_say.c: what rank 0 hears. */
sq_status worker_say(run_worker *w, wire_kind kind, const void *body, uint32_t size);
uint64_t worker_index_of(const run_worker *w, const sq_task *task);
sq_status worker_say_started(run_worker *w, const sq_task *task, int alone);
/* Say that a task begins, unless rank 0 knows or need not know at once. */
sq_status worker_begin_task(run_worker *w, const sq_task *task);
void worker_set_text(char out[WIRE_TEXT], const char *text);
/* Report pending results, which are on disk, and what begins next. */
sq_status worker_report_done(run_worker *w);
sq_status worker_report_failure(run_worker *w, wire_result *r, sq_status status, const char *text);
/* Pending results whose records could not be written. */
sq_status worker_report_lost(run_worker *w, sq_status status, const char *text);

#endif
