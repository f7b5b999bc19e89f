/* Places in one arena for buffers that live at different times: largest first, each at the lowest
 * offset where no buffer that lives at the same time lies (greedy by size; Pisarchyk & Lee 2020).
 */
#include <stdlib.h>

#include "base/mem.h"
#include "nn/engine.h"

enum { ALIGN = 64 };

/* A buffer that holds others lives while any of them does. */
static void join_lifetimes(sq_engine *e)
{
    for (int i = 0; i < e->buffers; i++) {
        const ex_buffer *b = &e->buffer[i];
        for (int p = b->parent; p >= 0; p = e->buffer[p].parent) {
            if (b->first < e->buffer[p].first)
                e->buffer[p].first = b->first;
            if (b->last > e->buffer[p].last)
                e->buffer[p].last = b->last;
        }
    }
}

typedef struct item {
    size_t bytes, place;
    int first, last, index;
} item;

static int larger(const void *x, const void *y)
{
    const item *a = x, *b = y;
    if (a->bytes != b->bytes)
        return a->bytes < b->bytes ? 1 : -1;
    return a->index - b->index;
}

static int by_place(const void *x, const void *y)
{
    const item *a = *(item *const *)x, *b = *(item *const *)y;
    if (a->place != b->place)
        return a->place < b->place ? -1 : 1;
    return a->index - b->index;
}

static size_t find_place(const item *it, item *const *placed, int count)
{
    size_t at = 0;
    for (int k = 0; k < count; k++) {
        const item *p = placed[k];
        if (p->last < it->first || p->first > it->last)
            continue;
        if (at + it->bytes <= p->place)
            return at;
        if (p->place + p->bytes > at)
            at = p->place + p->bytes;
    }
    return at;
}

sq_status ex_plan_arena(sq_engine *e)
{
    item *items = NULL, **placed = NULL;
    int count = 0;
    sq_status rc;
    join_lifetimes(e);
    SQ_TRY(SQ_ALLOC(items, e->buffers + 1, "memory plan"));
    SQ_TRY(SQ_ALLOC(placed, e->buffers + 1, "memory plan"));
    for (int i = 0; i < e->buffers; i++) {
        const ex_buffer *b = &e->buffer[i];
        if (b->kind != EX_ARENA || b->parent >= 0 || b->last < 0)
            continue;
        size_t bytes = (b->bytes + ALIGN - 1) / ALIGN * ALIGN;
        items[count++] = (item){.bytes = bytes, .first = b->first, .last = b->last, .index = i};
    }
    qsort(items, (size_t)count, sizeof *items, larger);
    for (int k = 0; k < count; k++) {
        items[k].place = find_place(&items[k], placed, k);
        e->buffer[items[k].index].place = items[k].place;
        if (items[k].place + items[k].bytes > e->arena_bytes)
            e->arena_bytes = items[k].place + items[k].bytes;
        placed[k] = &items[k];
        qsort(placed, (size_t)k + 1, sizeof *placed, by_place);
    }
cleanup:
    sq_free(items);
    sq_free(placed);
    return rc;
}
