#include "base/mem.h"
#include "run/base.h"
#include "run/prefetch.h"

typedef struct checker {
    const sq_survey *survey;
    sq_base *base;
    prefetch *reader;
    sq_base_count *count;
} checker;

/* Whether the input is what it was; one that cannot be read is not. */
static sq_status same_input(checker *c, const sq_task *task, const sq_base_entry *entry, int *same)
{
    prefetched *item = NULL;
    sq_status rc = sq_prefetch_ask(c->reader, task, 0);
    if (rc != SQ_OK)
        return rc;
    while (!sq_prefetch_take(c->reader, 1, &item))
        ;
    *same = item->status == SQ_OK && sq_hash_equal(item->input_hash, entry->input);
    sq_prefetch_done(c->reader, item);
    return SQ_OK;
}

static sq_status check_task(checker *c, int phase, uint64_t index)
{
    int same;
    sq_task task = sq_survey_task(c->survey, phase, index);
    const sq_base_entry *entry = sq_base_find(c->base, phase, index);
    if (!entry || sq_base_trusts(c->base, entry))
        return SQ_OK;
    sq_status rc = same_input(c, &task, entry, &same);
    if (rc != SQ_OK)
        return rc;
    uint32_t tile = sq_survey_tile_of(c->survey, phase, task.patch);
    sq_base_reason from = entry->same_files ? SQ_BASE_SAME : SQ_BASE_CHECK,
                   to = same ? SQ_BASE_SAME : SQ_BASE_INPUT;
    c->count->tile[from][tile]--;
    c->count->total[from]--;
    c->count->tile[to][tile]++;
    c->count->total[to]++;
    return SQ_OK;
}

sq_status sq_base_check_inputs(const sq_survey *survey, const char *release, const char *path,
                               sq_base_count *count)
{
    sq_status rc = SQ_OK;
    checker c = {.survey = survey, .count = count};
    SQ_TRY(sq_base_open(survey, release, path, &c.base));
    SQ_TRY(sq_prefetch_create(survey, &c.reader));
    for (int p = 0; p < survey->d.nphase; p++) {
        for (uint64_t i = 0; i < sq_survey_tasks(survey, p); i++)
            SQ_TRY(check_task(&c, p, i));
        if (survey->d.phase[p].has_file)
            break;
    }
cleanup:
    sq_prefetch_destroy(c.reader);
    sq_base_close(c.base);
    return rc;
}
