#include <string.h>

#include "base/mem.h"
#include "run/scheduler_internal.h"

static size_t home(const special_table *table, uint64_t index)
{
    return (size_t)((index * 0x9E3779B97F4A7C15u) >> 20) & (table->size - 1);
}

special *sq_special_find(const special_table *table, uint64_t index)
{
    if (!table->size)
        return NULL;
    for (size_t i = home(table, index);; i = (i + 1) & (table->size - 1)) {
        if (table->slot[i].index == index)
            return &table->slot[i];
        if (table->slot[i].index == NO_TASK)
            return NULL;
    }
}

static special *insert(special_table *table, special entry)
{
    size_t i = home(table, entry.index);
    while (table->slot[i].index != NO_TASK)
        i = (i + 1) & (table->size - 1);
    table->slot[i] = entry;
    table->used++;
    return &table->slot[i];
}

static sq_status enlarge(special_table *table)
{
    special_table next = {.size = table->size ? 2 * table->size : 64};
    sq_status rc = SQ_ALLOC(next.slot, next.size, "scheduler tasks");
    if (rc != SQ_OK)
        return rc;
    for (size_t i = 0; i < next.size; i++)
        next.slot[i].index = NO_TASK;
    for (size_t i = 0; i < table->size; i++) {
        if (table->slot[i].index != NO_TASK)
            insert(&next, table->slot[i]);
    }
    sq_free(table->slot);
    *table = next;
    return SQ_OK;
}

sq_status sq_special_get(special_table *table, uint64_t index, special **out)
{
    *out = sq_special_find(table, index);
    if (*out)
        return SQ_OK;
    if (2 * (table->used + 1) > table->size) {
        sq_status rc = enlarge(table);
        if (rc != SQ_OK)
            return rc;
    }
    *out = insert(table, (special){.index = index, .attempts = 1, .avoid = NO_WORKER, .holder = NO_WORKER});
    return SQ_OK;
}

void sq_special_remove(special_table *table, uint64_t index)
{
    special *found = sq_special_find(table, index);
    if (!found)
        return;
    /* Close the gap: move back what its home allows (Knuth 6.4, algorithm R). */
    size_t mask = table->size - 1, gap = (size_t)(found - table->slot);
    for (size_t i = (gap + 1) & mask; table->slot[i].index != NO_TASK; i = (i + 1) & mask) {
        size_t want = home(table, table->slot[i].index);
        if (((i - want) & mask) >= ((i - gap) & mask)) {
            table->slot[gap] = table->slot[i];
            gap = i;
        }
    }
    table->slot[gap].index = NO_TASK;
    table->used--;
}

void sq_special_clear(special_table *table)
{
    sq_free(table->slot);
    *table = (special_table){0};
}

sq_status sq_worker_hold(worker *w, segment piece)
{
    sq_status rc = SQ_GROW(w->held, w->capacity, w->segments + 1, "scheduler ranges");
    if (rc != SQ_OK)
        return rc;
    w->held[w->segments++] = piece;
    w->holding += piece.count;
    return SQ_OK;
}

static size_t segment_of(const worker *w, uint64_t index)
{
    size_t i = 0;
    while (i < w->segments &&
           !(index >= w->held[i].first && index - w->held[i].first < w->held[i].count))
        i++;
    return i;
}

int sq_worker_holds(const worker *w, uint64_t index)
{
    return segment_of(w, index) < w->segments;
}

sq_status sq_worker_take(worker *w, uint64_t index, uint32_t *attempt, int *held)
{
    size_t i = segment_of(w, index);
    *held = i < w->segments;
    if (!*held)
        return SQ_OK;
    segment *piece = &w->held[i];
    uint64_t before = index - piece->first, after = piece->count - before - 1;
    *attempt = piece->attempt;
    if (before && after) {
        sq_status rc = SQ_GROW(w->held, w->capacity, w->segments + 1, "scheduler ranges");
        if (rc != SQ_OK)
            return rc;
        piece = &w->held[i];
        memmove(piece + 1, piece, (w->segments - i) * sizeof *piece);
        w->segments++;
        piece[0].count = before;
        piece[1].first = index + 1;
        piece[1].count = after;
    } else if (before) {
        piece->count--;
    } else if (after) {
        piece->first++;
        piece->count--;
    } else {
        memmove(piece, piece + 1, (w->segments - i - 1) * sizeof *piece);
        w->segments--;
    }
    w->holding--;
    return SQ_OK;
}

sq_status sq_queue_push(queue *q, retry item)
{
    if (q->head > q->count && q->head + q->count == q->capacity) {
        memmove(q->item, q->item + q->head, q->count * sizeof *q->item);
        q->head = 0;
    }
    sq_status rc = SQ_GROW(q->item, q->capacity, q->head + q->count + 1, "scheduler queue");
    if (rc == SQ_OK)
        q->item[q->head + q->count++] = item;
    return rc;
}

retry sq_queue_take(queue *q, size_t position)
{
    retry item = q->item[q->head + position];
    memmove(q->item + q->head + 1, q->item + q->head, position * sizeof *q->item);
    q->head++;
    q->count--;
    if (!q->count)
        q->head = 0;
    return item;
}
