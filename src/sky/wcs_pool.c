#include "sky/wcs_pool.h"

#include <pthread.h>

#include "base/mem.h"

typedef struct slot {
    sq_wcs *wcs;
    uint32_t tile, taken;
    uint64_t used;
} slot;

struct sq_wcs_pool {
    pthread_mutex_t lock;
    sq_wcs_solve solve;
    void *user;
    uint32_t keep, *at; /* [tiles] number of the slot + 1, 0: not held */
    slot *slot;
    size_t slots, capacity;
    uint64_t clock, solved;
};

sq_status sq_wcs_pool_create(uint32_t tiles, uint32_t keep, sq_wcs_solve solve, void *user,
                             sq_wcs_pool **out)
{
    sq_status rc = SQ_OK;
    sq_wcs_pool *p = NULL;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(p, 1, "WCS of tiles"));
    pthread_mutex_init(&p->lock, NULL);
    p->keep = keep ? keep : 1;
    p->solve = solve;
    p->user = user;
    SQ_TRY(SQ_ALLOC(p->at, tiles, "WCS of tiles"));
    *out = p;
    p = NULL;
cleanup:
    sq_wcs_pool_destroy(p);
    return rc;
}

void sq_wcs_pool_destroy(sq_wcs_pool *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->slots; i++)
        sq_wcs_destroy(p->slot[i].wcs);
    pthread_mutex_destroy(&p->lock);
    sq_free(p->at);
    sq_free(p->slot);
    sq_free(p);
}

/* A slot for another WCS: a new one as long as there are few, else that of the WCS used longest ago
 * of those that nobody has. */
static sq_status find_slot(sq_wcs_pool *p, slot **out)
{
    slot *best = NULL;
    for (size_t i = 0; i < p->slots; i++) {
        slot *s = &p->slot[i];
        if (!s->taken && (!best || s->used < best->used))
            best = s;
    }
    if (!best || p->slots < p->keep) {
        sq_status rc = SQ_GROW(p->slot, p->capacity, p->slots + 1, "WCS of tiles");
        if (rc != SQ_OK)
            return rc;
        best = &p->slot[p->slots++];
    }
    if (best->wcs)
        p->at[best->tile] = 0;
    sq_wcs_destroy(best->wcs);
    *out = best;
    return SQ_OK;
}

static sq_status solve(sq_wcs_pool *p, uint32_t tile)
{
    slot *s;
    sq_wcs *wcs = NULL;
    sq_status rc = p->solve(p->user, tile, &wcs);
    if (rc != SQ_OK)
        return rc;
    rc = find_slot(p, &s);
    if (rc != SQ_OK) {
        sq_wcs_destroy(wcs);
        return rc;
    }
    *s = (slot){.wcs = wcs, .tile = tile};
    p->at[tile] = (uint32_t)(s - p->slot) + 1;
    p->solved++;
    return SQ_OK;
}

sq_status sq_wcs_pool_take(sq_wcs_pool *p, uint32_t tile, const sq_wcs **out)
{
    sq_status rc = SQ_OK;
    pthread_mutex_lock(&p->lock);
    if (!p->at[tile])
        rc = solve(p, tile);
    if (rc == SQ_OK) {
        slot *s = &p->slot[p->at[tile] - 1];
        s->taken++;
        s->used = ++p->clock;
        *out = s->wcs;
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

void sq_wcs_pool_give(sq_wcs_pool *p, uint32_t tile)
{
    pthread_mutex_lock(&p->lock);
    p->slot[p->at[tile] - 1].taken--;
    pthread_mutex_unlock(&p->lock);
}

uint64_t sq_wcs_pool_solved(const sq_wcs_pool *p)
{
    return p->solved;
}
