#include "run/measure.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "probe/product.h"
#include "run/prefetch.h"

sq_status sq_measure_phase(const sq_survey *s, int phase, sq_phase_cost *cost)
{
    sq_status rc = SQ_OK;
    uint64_t last = UINT64_MAX;
    double overhead = 0, weighted = 0;
    *cost =
        (sq_phase_cost){.patches = s->base[phase][s->parts], .tasks = sq_survey_tasks(s, phase)};
    for (uint32_t t = 0; t < s->parts; t++) {
        uint64_t count = s->base[phase][t + 1] - s->base[phase][t];
        if (count != last) {
            sq_tiling *tiling = NULL;
            SQ_TRY(sq_survey_tiling(s, phase, t, NULL, &tiling));
            overhead = sq_tiling_overhead(tiling);
            sq_tiling_destroy(tiling);
            last = count;
        }
        weighted += overhead * (double)count;
    }
    cost->overhead = cost->patches ? weighted / (double)cost->patches : 0;
cleanup:
    return rc;
}

static void fail_one(sq_rate *rate, const char *text)
{
    rate->failed++;
    snprintf(rate->problem, sizeof rate->problem, "%.511s", text);
}

static sq_status one(const sq_survey *s, prefetch *reader, sq_product *product, uint64_t index,
                     sq_rate *rate)
{
    sq_status rc = SQ_OK;
    prefetched *item = NULL;
    void *data = NULL;
    size_t size;
    uint64_t rows;
    sq_task task = sq_survey_task(s, 0, index);
    SQ_TRY(sq_prefetch_ask(reader, &task, 0));
    while (!sq_prefetch_take(reader, 1, &item))
        ;
    if (item->status != SQ_OK) {
        fail_one(rate, item->text);
        goto cleanup;
    }
    double start = sq_now();
    sq_product_reset(product);
    if (s->config->cls->process(s->self, &item->task, &item->place, item->input, product) !=
        SQ_OK) {
        fail_one(rate, sq_error());
        goto cleanup;
    }
    SQ_TRY(sq_product_pack(product, &data, &size, &rows));
    rate->process += sq_now() - start;
    rate->read += item->seconds;
    rate->measured++;
cleanup:
    if (item)
        sq_prefetch_done(reader, item);
    sq_free(data);
    return rc;
}

sq_status sq_measure_rate(const sq_survey *s, int count, sq_rate *rate)
{
    sq_status rc = SQ_OK;
    prefetch *reader = NULL;
    sq_product *product = NULL;
    uint64_t tasks = sq_survey_tasks(s, 0);
    *rate = (sq_rate){0};
    SQ_TRY(sq_prefetch_create(s, &reader));
    SQ_TRY(sq_product_create(&s->d, &product));
    if (s->config->cls->start)
        SQ_TRY(s->config->cls->start(s->self));
    if ((uint64_t)count > tasks)
        count = (int)tasks;
    for (int i = 0; i < count; i++) {
        uint64_t index = (uint64_t)(((double)i + 0.5) / count * (double)tasks);
        SQ_TRY(one(s, reader, product, index < tasks ? index : tasks - 1, rate));
    }
    if (rate->measured) {
        rate->read /= rate->measured;
        rate->process /= rate->measured;
    }
    rate->resident = sq_mem_resident_peak();
cleanup:
    sq_prefetch_destroy(reader);
    sq_product_destroy(product);
    return rc;
}
