#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "run/paths.h"
#include "run/run.h"
#include "run/verdict.h"
#include "store/ledger.h"

static void take(uint64_t *from, uint64_t n)
{
    *from -= n < *from ? n : *from;
}

static void reopen(sq_run_state *s, const sq_event *e)
{
    if (e->count) {
        take(&s->done, e->rows);
        take(&s->failed, e->count - e->rows);
    } else {
        take(e->attempt == 0 ? &s->done : e->attempt == 1 ? &s->failed : &s->quarantined, 1);
    }
}

static sq_status visit(void *user, const sq_event *e, int64_t line)
{
    sq_run_state *s = user;
    (void)line;
    switch (e->kind) {
    case SQ_EVENT_PLAN:
        s->total = e->count;
        break;
    case SQ_EVENT_START:
        s->executions = e->execution;
        s->ranks = (uint32_t)e->count;
        s->running = 1;
        break;
    case SQ_EVENT_STOP:
        s->running = 0;
        snprintf(s->reason, sizeof s->reason, "%.511s", e->text);
        break;
    case SQ_EVENT_COMMIT:
        s->done++;
        s->taken += e->count;
        break;
    case SQ_EVENT_QUARANTINE:
        s->quarantined += e->count > 0;
        s->failed += e->count == 0;
        break;
    case SQ_EVENT_FAIL:
        s->retries++;
        break;
    case SQ_EVENT_DEATH:
        s->deaths++;
        break;
    case SQ_EVENT_REOPEN:
        s->reduced = 0;
        reopen(s, e);
        break;
    case SQ_EVENT_REDUCE:
        s->reduced = 1;
        break;
    case SQ_EVENT_ATTEMPT:
    case SQ_EVENT_BARRIER:
    case SQ_EVENT_SUSPECT:
    case SQ_EVENT_NOTE:
    case SQ_EVENT_COUNT:
        break;
    }
    return SQ_OK;
}

sq_status sq_run_inspect(const char *folder, sq_run_state *state)
{
    sq_status rc = SQ_OK;
    char path[SQ_PATH_MAX], reason[512];
    int torn;
    *state = (sq_run_state){0};
    SQ_TRY(sq_verdict_read(folder, &state->has_verdict, &state->exit_code, reason, sizeof reason));
    SQ_TRY(sq_run_path(folder, SQ_RUN_LEDGER, path));
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        if (!state->has_verdict)
            rc = sq_fail(SQ_ERR_USAGE, "%s: is not the output folder of a run", folder);
    } else {
        rc = sq_ledger_replay(path, visit, state, &torn);
    }
    if (state->done > state->total)
        state->done = state->total; /* records that were damaged and done again */
    if (state->has_verdict)
        snprintf(state->reason, sizeof state->reason, "%s", reason);
cleanup:
    return rc;
}
