#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "probe/product.h"
#include "run/loop_internal.h"
#include "run/paths.h"

sq_status control_make_scheduler(control *c)
{
    sq_status rc = SQ_OK;
    const sq_run_execution *e = &c->survey->config->execution;
    const journal *j = c->setup->journal;
    double asked = c->setup->options->walltime, walltime = asked > 0 ? asked : e->walltime;
    sq_scheduler_limits limits = {.max_range = (uint32_t)e->max_range,
                                  .deadline = e->deadline,
                                  .drain_seconds = e->drain,
                                  .science_attempts = (uint32_t)e->science_attempts,
                                  .infra_attempts = (uint32_t)e->infra_attempts,
                                  .deadline_factor = DEADLINE_FACTOR,
                                  .deaths = JOURNAL_DEATHS,
                                  .lease = walltime > 0 ? c->setup->started + walltime : 0};
    SQ_TRY(sq_scheduler_create(c->plan, c->survey->d.nphase, &limits, &c->scheduler));
    for (journal_at at = {0}; sq_journal_at(j, &at); at.index++) {
        static const sq_settled settled[] = {[SQ_TASK_DONE] = SQ_SETTLED_DONE,
                                             [SQ_TASK_FAILED] = SQ_SETTLED_FAILED,
                                             [SQ_TASK_QUARANTINED] = SQ_SETTLED_QUARANTINED};
        journal_state state = sq_journal_state(j, at.phase, at.index);
        SQ_TRY(sq_scheduler_settle(c->scheduler, at.phase, at.index,
                                   settled[sq_journal_task_state(state)]));
    }
    for (size_t i = 0; i < j->deaths; i++) {
        if (j->death[i].deaths)
            SQ_TRY(sq_scheduler_add_deaths(c->scheduler, j->death[i].phase, j->death[i].index,
                                           (uint32_t)j->death[i].deaths));
    }
    for (size_t i = 0; i < j->suspects; i++) {
        const journal_suspects *t = &j->suspect[i];
        for (uint64_t k = 0; k < t->count; k++) {
            if (sq_journal_state(j, t->phase, t->index + k) == JOURNAL_OPEN)
                SQ_TRY(sq_scheduler_add_deaths(c->scheduler, t->phase, t->index + k, 0));
        }
    }
    sq_scheduler_stats stats = sq_scheduler_get_stats(c->scheduler);
    c->resumed = stats.done + stats.failed + stats.quarantined;
cleanup:
    return rc;
}

/* Let the probe condense a phase, unless its file stands from an earlier execution. */
static sq_status make_phase_file(control *c, int phase, sq_hash *hash)
{
    sq_status rc = SQ_OK;
    journal now = {.survey = c->survey, .folder = c->setup->folder};
    sq_phase_products *products = NULL;
    sq_task *task = NULL;
    sq_record_place *place = NULL;
    int64_t count;
    char ledger[SQ_PATH_MAX], path[SQ_PATH_MAX], partial[SQ_PATH_MAX + 8] = "", shards[SQ_PATH_MAX];
    SQ_TRY(sq_run_phase_path(c->setup->folder, phase, path));
    if (c->setup->journal->phase_done[phase] && access(path, F_OK) == 0) {
        SQ_TRY(sq_hash_file(path, hash));
        if (sq_hash_equal(*hash, c->setup->journal->phase_hash[phase]))
            return SQ_OK;
        sq_warn("%s: is not what the ledger says; it is made again", path);
    }
    SQ_TRY(sq_run_path(c->setup->folder, SQ_RUN_LEDGER, ledger));
    SQ_TRY(sq_run_path(c->setup->folder, SQ_RUN_SHARDS, shards));
    SQ_TRY(sq_ledger_flush(c->setup->ledger));
    SQ_TRY(sq_journal_replay(&now, ledger));
    SQ_TRY(sq_journal_products(&now, phase, &task, &place, &count));
    SQ_TRY(sq_phase_products_create(&c->survey->d, shards, task, place, count, &products));
    snprintf(partial, sizeof partial, "%s.partial", path);
    SQ_TRY(c->survey->config->cls->finish_phase(c->survey->self, phase, products, partial));
    SQ_TRY(sq_run_settle_file(c->setup->folder, partial, path));
    SQ_TRY(sq_hash_file(path, hash));
cleanup:
    if (rc != SQ_OK && *partial)
        unlink(partial);
    sq_phase_products_destroy(products);
    sq_free(task);
    sq_free(place);
    sq_journal_clear(&now);
    return rc;
}

/* What later phases did with another file of this phase is void. Returns whether there was any. */
static sq_status void_later_phases(control *c, int phase, sq_hash hash, int *found)
{
    sq_status rc = SQ_OK;
    const journal *j = c->setup->journal;
    *found = 0;
    if (sq_hash_equal(j->phase_hash[phase], hash))
        return SQ_OK;
    for (int later = phase + 1; later < c->survey->d.nphase; later++) {
        sq_event e = {.kind = SQ_EVENT_REOPEN,
                      .execution = c->setup->execution,
                      .phase = (uint32_t)later,
                      .patch = c->plan[later].base[0]};
        for (int state = JOURNAL_DONE; state < JOURNAL_STATES; state++) {
            e.count += j->count[later][state];
            e.rows += sq_journal_is_done((journal_state)state) ? j->count[later][state] : 0;
        }
        if (!e.count)
            continue;
        *found = 1;
        snprintf(e.text, sizeof e.text, "%s",
                 j->reopening[0] ? j->reopening : "an earlier phase has another result");
        SQ_TRY(sq_ledger_append(c->setup->ledger, &e));
    }
cleanup:
    return rc;
}

sq_status control_pass_barrier(control *c, int phase)
{
    sq_status rc = SQ_OK;
    wire_phase message = {.phase = phase, .has_file = c->survey->d.phase[phase].has_file};
    if (message.has_file) {
        /* This may last, and nobody is answered meanwhile. */
        for (uint32_t w = 0; w < c->setup->workers; w++)
            SQ_TRY(control_tell(c, w, WIRE_PAUSE, NULL, 0));
        SQ_TRY(make_phase_file(c, phase, &message.hash));
        SQ_TRY(void_later_phases(c, phase, message.hash, &c->restart));
    }
    if (!c->setup->journal->phase_done[phase] ||
        !sq_hash_equal(message.hash, c->setup->journal->phase_hash[phase])) {
        sq_event e = {.kind = SQ_EVENT_BARRIER,
                      .execution = c->setup->execution,
                      .phase = (uint32_t)phase,
                      .config = message.hash};
        SQ_TRY(sq_ledger_append(c->setup->ledger, &e));
        SQ_TRY(sq_ledger_flush(c->setup->ledger));
    }
    if (c->restart)
        return SQ_OK; /* the scheduler knows tasks as done that are not: it begins anew */
    for (uint32_t w = 0; w < c->setup->workers && phase + 1 < c->survey->d.nphase; w++)
        SQ_TRY(control_tell(c, w, WIRE_PHASE, &message, sizeof message));
    SQ_TRY(control_notify(c, &(sq_notice){.kind = SQ_NOTICE_PHASE_READY, .phase = phase}));
cleanup:
    return rc;
}

sq_status control_begin_anew(control *c)
{
    sq_status rc = SQ_OK;
    char ledger[SQ_PATH_MAX];
    journal *j = c->setup->journal;
    sq_message ready = {.kind = WIRE_READY};
    c->restart = 0;
    c->most = 0;
    sq_scheduler_destroy(c->scheduler);
    c->scheduler = NULL;
    SQ_TRY(sq_run_path(c->setup->folder, SQ_RUN_LEDGER, ledger));
    SQ_TRY(sq_ledger_flush(c->setup->ledger));
    SQ_TRY(sq_journal_replay(j, ledger));
    SQ_TRY(control_make_scheduler(c));
    for (uint32_t w = 0; w < c->setup->workers; w++)
        SQ_TRY(control_tell(c, w, WIRE_ALIVE, NULL, 0));
    SQ_TRY(sq_scheduler_begin(c->scheduler, sq_now()));
    SQ_TRY(control_perform(c));
    if (c->setup->own)
        SQ_TRY(control_hear(c, &ready));
cleanup:
    return rc;
}
