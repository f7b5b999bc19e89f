#include "store/merge_post.h"

#include <string.h>

#include "base/mem.h"
#include "base/pulse.h"

sq_status merge_post_init(merge_post *p, const sq_comm *comm, size_t width, uint64_t memory,
                          size_t least)
{
    size_t ranks = (size_t)sq_comm_size(comm);
    sq_status rc;
    *p = (merge_post){.comm = comm, .width = width};
    p->each = (size_t)(memory / ranks / width);
    p->each = p->each < least ? least : p->each;
    SQ_TRY(SQ_ALLOC(p->count, ranks, "portions"));
    SQ_TRY(sq_alloc(&p->item, ranks * p->each, width, "rows to send"));
cleanup:
    return rc;
}

int merge_post_fits(const merge_post *p, size_t n)
{
    return p->fullest + n <= p->each;
}

void *merge_post_put(merge_post *p, int to)
{
    unsigned char *at = p->item + ((size_t)to * p->each + p->count[to]) * p->width;
    p->count[to]++;
    if (p->count[to] > p->fullest)
        p->fullest = p->count[to];
    return at;
}

sq_status merge_post_exchange(merge_post *p, void **got, size_t *n)
{
    size_t *offset = NULL, *size, *from, ranks = (size_t)sq_comm_size(p->comm), total = 0;
    sq_status rc;
    *got = NULL;
    *n = 0;
    sq_pulse(NULL);
    SQ_TRY_ALL(p->comm, SQ_ALLOC(offset, 3 * ranks, "portions"));
    size = offset + ranks;
    from = size + ranks;
    for (size_t r = 0; r < ranks; r++) {
        offset[r] = r * p->each * p->width;
        size[r] = p->count[r] * p->width;
    }
    SQ_TRY(sq_comm_exchange(p->comm, p->item, offset, size, got, from));
    for (size_t r = 0; r < ranks; r++)
        total += from[r];
    *n = total / p->width;
    memset(p->count, 0, ranks * sizeof *p->count);
    p->fullest = 0;
cleanup:
    sq_free(offset);
    return rc;
}

void merge_post_clear(merge_post *p)
{
    sq_free(p->count);
    sq_free(p->item);
    memset(p, 0, sizeof *p);
}
