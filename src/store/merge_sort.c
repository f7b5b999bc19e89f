#include "store/merge_sort.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

enum { BLOCK = 1 << 20, MIN_ITEMS = 16, DIGIT = 11, DIGITS = 6, WRITE = 1 << 20 };

void merge_sort_init(merge_sorter *s, size_t width, merge_compare compare, const void *user,
                     uint64_t memory, const char *beside)
{
    memset(s, 0, sizeof *s);
    s->width = width;
    s->compare = compare;
    s->user = user;
    s->memory = memory;
    s->beside = beside;
    s->fd = -1;
    s->most = (size_t)(memory / (width + 2 * sizeof(merge_order)));
    s->most = s->most < MIN_ITEMS ? MIN_ITEMS : s->most;
    for (s->per_block = MIN_ITEMS; 2 * s->per_block * width <= BLOCK && s->per_block < s->most / 4;)
        s->per_block *= 2;
}

static unsigned char *item_at(const merge_sorter *s, size_t i)
{
    return s->block[i / s->per_block] + i % s->per_block * s->width;
}

/* ---- In memory ---- */

/* Stable, by digits of the key from the lowest; a digit that all keys share costs no pass. */
static void sort_keys(merge_sorter *s, size_t n)
{
    enum { BINS = 1 << DIGIT };
    size_t count[DIGITS][BINS];
    memset(count, 0, sizeof count);
    for (size_t i = 0; i < n; i++) {
        for (int d = 0; d < DIGITS; d++)
            count[d][s->order[i].key >> d * DIGIT & (BINS - 1)]++;
    }
    for (int d = 0; d < DIGITS; d++) {
        size_t sum = 0;
        if (count[d][s->order[0].key >> d * DIGIT & (BINS - 1)] == n)
            continue;
        for (int b = 0; b < BINS; b++) {
            size_t here = count[d][b];
            count[d][b] = sum;
            sum += here;
        }
        for (size_t i = 0; i < n; i++)
            s->other[count[d][s->order[i].key >> d * DIGIT & (BINS - 1)]++] = s->order[i];
        merge_order *swap = s->order;
        s->order = s->other;
        s->other = swap;
    }
}

typedef struct tie {
    merge_compare compare;
    const void *user;
} tie;

static int by_compare(const void *a, const void *b, void *user)
{
    const merge_order *p = a, *q = b;
    const tie *t = user;
    return t->compare(p->item, q->item, t->user);
}

static sq_status sort_memory(merge_sorter *s)
{
    sq_status rc;
    size_t n = s->count;
    tie t = {s->compare, s->user};
    if (n == 0)
        return SQ_OK;
    if (s->order_capacity < n) {
        sq_free(s->order);
        sq_free(s->other);
        s->order = s->other = NULL;
        s->order_capacity = 0;
        SQ_TRY(SQ_ALLOC(s->order, n, "order of rows"));
        SQ_TRY(SQ_ALLOC(s->other, n, "order of rows"));
        s->order_capacity = n;
    }
    for (size_t i = 0; i < n; i++) {
        s->order[i].item = item_at(s, i);
        memcpy(&s->order[i].key, s->order[i].item, sizeof s->order[i].key);
    }
    sort_keys(s, n);
    for (size_t i = 0, j; i < n; i = j) {
        for (j = i + 1; j < n && s->order[j].key == s->order[i].key; j++)
            ;
        if (j - i > 1)
            qsort_r(s->order + i, j - i, sizeof *s->order, by_compare, &t);
    }
    rc = SQ_OK;
cleanup:
    return rc;
}

/* ---- On disk ---- */

static sq_status open_file(merge_sorter *s)
{
    char path[4096];
    const char *slash = strrchr(s->beside, '/');
    int n = slash ? (int)(slash - s->beside) + 1 : 2;
    if (s->fd >= 0)
        return SQ_OK;
    snprintf(path, sizeof path, "%.*s", n, slash ? s->beside : "./");
    s->fd = open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (s->fd < 0) { /* not every file system has nameless files */
        snprintf(path, sizeof path, "%.*ssort-XXXXXX", n, slash ? s->beside : "./");
        s->fd = mkostemp(path, O_CLOEXEC);
        if (s->fd >= 0)
            unlink(path);
    }
    return s->fd >= 0
               ? SQ_OK
               : sq_fail(SQ_ERR_IO, "%s: cannot make a file to sort in: %s", path, strerror(errno));
}

static sq_status put_bytes(merge_sorter *s, const unsigned char *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = pwrite(s->fd, data + done, size - done, (off_t)(s->written + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sq_fail(SQ_ERR_IO, "%s: cannot write rows beside it to sort them: %s", s->beside,
                           strerror(errno));
        done += (size_t)n;
    }
    s->written += size;
    s->spilled += size;
    return SQ_OK;
}

static sq_status get_bytes(const merge_sorter *s, unsigned char *data, size_t size, uint64_t offset)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = pread(s->fd, data + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return sq_fail(SQ_ERR_IO, "%s: cannot read back the rows sorted beside it: %s",
                           s->beside, n ? strerror(errno) : "the file became shorter");
        done += (size_t)n;
    }
    return SQ_OK;
}

/* What is in memory becomes one sorted run. */
static sq_status spill(merge_sorter *s)
{
    sq_status rc;
    unsigned char *buffer = NULL;
    size_t most = WRITE / s->width + 1, n = 0;
    SQ_TRY(open_file(s));
    SQ_TRY(sort_memory(s));
    SQ_TRY(sq_alloc(&buffer, most, s->width, "sorted rows"));
    SQ_TRY(SQ_GROW(s->run, s->run_capacity, s->nrun + 1, "sorted runs"));
    s->run[s->nrun] = (merge_run){.offset = s->written};
    for (size_t i = 0; i < s->count; i++) {
        memcpy(buffer + n++ * s->width, s->order[i].item, s->width);
        if (n == most || i + 1 == s->count) {
            SQ_TRY(put_bytes(s, buffer, n * s->width));
            n = 0;
        }
    }
    s->run[s->nrun++].end = s->written;
    s->count = 0;
cleanup:
    sq_free(buffer);
    return rc;
}

sq_status merge_sort_add(merge_sorter *s, const void *items, size_t n)
{
    sq_status rc = SQ_OK;
    const unsigned char *from = items;
    while (n) {
        if (s->count == s->most)
            SQ_TRY(spill(s));
        if (s->count == s->nblock * s->per_block) {
            SQ_TRY(SQ_GROW(s->block, s->block_capacity, s->nblock + 1, "rows to sort"));
            SQ_TRY(sq_alloc(&s->block[s->nblock], s->per_block, s->width, "rows to sort"));
            s->nblock++;
        }
        size_t room = s->per_block - s->count % s->per_block, part = n;
        part = part > room ? room : part;
        part = part > s->most - s->count ? s->most - s->count : part;
        memcpy(item_at(s, s->count), from, part * s->width);
        s->count += part;
        from += part * s->width;
        n -= part;
    }
cleanup:
    return rc;
}

/* ---- Reading: from memory, or by a heap over the heads of the runs ---- */

static const unsigned char *head(const merge_sorter *s, size_t run)
{
    return s->run[run].buffer + s->run[run].at * s->width;
}

static int earlier(const merge_sorter *s, size_t a, size_t b)
{
    uint64_t p, q;
    memcpy(&p, head(s, a), sizeof p);
    memcpy(&q, head(s, b), sizeof q);
    return p != q ? p < q : s->compare(head(s, a), head(s, b), s->user) < 0;
}

static void sift(merge_sorter *s, size_t i)
{
    for (size_t child; (child = 2 * i + 1) < s->nheap; i = child) {
        if (child + 1 < s->nheap && earlier(s, s->heap[child + 1], s->heap[child]))
            child++;
        if (!earlier(s, s->heap[child], s->heap[i]))
            return;
        size_t swap = s->heap[i];
        s->heap[i] = s->heap[child];
        s->heap[child] = swap;
    }
}

static sq_status refill(merge_sorter *s, merge_run *run, size_t most)
{
    uint64_t rest = (run->end - run->offset) / s->width;
    run->at = 0;
    run->count = rest < most ? (size_t)rest : most;
    sq_status rc = get_bytes(s, run->buffer, run->count * s->width, run->offset);
    run->offset += run->count * s->width;
    return rc;
}

static size_t items_of_run(const merge_sorter *s)
{
    size_t most = (size_t)(s->memory / 2 / s->nrun / s->width);
    return most < MIN_ITEMS ? MIN_ITEMS : most;
}

static void free_memory(merge_sorter *s)
{
    for (size_t i = 0; i < s->nblock; i++)
        sq_free(s->block[i]);
    s->nblock = 0;
    sq_free(s->order);
    sq_free(s->other);
    s->order = s->other = NULL;
    s->order_capacity = 0;
}

static sq_status begin_merge(merge_sorter *s)
{
    sq_status rc;
    SQ_TRY(spill(s));
    free_memory(s);
    size_t most = items_of_run(s);
    SQ_TRY(sq_alloc(&s->buffer, s->nrun * most, s->width, "sorted runs"));
    SQ_TRY(SQ_GROW(s->heap, s->heap_capacity, s->nrun, "sorted runs"));
    for (s->nheap = 0; s->nheap < s->nrun; s->nheap++) {
        merge_run *run = &s->run[s->nheap];
        run->buffer = s->buffer + s->nheap * most * s->width;
        SQ_TRY(refill(s, run, most));
        s->heap[s->nheap] = s->nheap;
    }
    for (size_t i = s->nheap / 2; i-- > 0;)
        sift(s, i);
cleanup:
    return rc;
}

sq_status merge_sort_finish(merge_sorter *s, uint64_t *total)
{
    *total = s->written / s->width + s->count;
    s->next = 0;
    if (s->nrun == 0)
        return sort_memory(s);
    return s->count ? begin_merge(s) : SQ_ERR_INTERNAL;
}

static sq_status read_merged(merge_sorter *s, size_t most, const unsigned char **item, size_t *n)
{
    sq_status rc = SQ_OK;
    size_t buffer = items_of_run(s);
    if (s->out_capacity < most) {
        sq_free(s->out);
        s->out = NULL;
        s->out_capacity = 0;
        SQ_TRY(sq_alloc(&s->out, most, s->width, "merged rows"));
        s->out_capacity = most;
    }
    for (; *n < most && s->nheap; (*n)++) {
        merge_run *run = &s->run[s->heap[0]];
        item[*n] = s->out + *n * s->width;
        memcpy(s->out + *n * s->width, head(s, s->heap[0]), s->width);
        if (++run->at == run->count && run->offset < run->end)
            SQ_TRY(refill(s, run, buffer));
        if (run->at == run->count)
            s->heap[0] = s->heap[--s->nheap];
        sift(s, 0);
    }
cleanup:
    return rc;
}

sq_status merge_sort_read(merge_sorter *s, size_t most, const unsigned char **item, size_t *n)
{
    *n = 0;
    if (s->nrun)
        return read_merged(s, most, item, n);
    for (; *n < most && s->next < s->count; (*n)++)
        item[*n] = s->order[s->next++].item;
    return SQ_OK;
}

void merge_sort_reset(merge_sorter *s)
{
    sq_free(s->buffer);
    s->buffer = NULL;
    s->count = s->next = s->nrun = s->nheap = 0;
    if (s->written && ftruncate(s->fd, 0) != 0) {
        close(s->fd); /* a new one next time */
        s->fd = -1;
    }
    s->written = 0;
}

void merge_sort_clear(merge_sorter *s)
{
    free_memory(s);
    sq_free(s->block);
    sq_free(s->run);
    sq_free(s->heap);
    sq_free(s->buffer);
    sq_free(s->out);
    if (s->fd > 0)
        close(s->fd);
    memset(s, 0, sizeof *s);
    s->fd = -1;
}
