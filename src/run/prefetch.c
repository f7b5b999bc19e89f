#include "run/prefetch.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "run/present.h"

enum { SLOTS = 2, TILES = SLOTS + 1 };

typedef enum slot_state { FREE, ASKED, READING, READ, IN_USE } slot_state;

/* What the patches of a tile have in common. */
typedef struct shared_tile {
    sq_tiling *tiling; /* NULL: free */
    const sq_wcs *wcs; /* taken from the survey's pool; NULL for maps */
    sq_tile info;      /* none for maps */
    int phase;
    uint32_t tile;
    uint64_t used; /* for the choice of the one to drop */
} shared_tile;

struct prefetch {
    const sq_survey *survey;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t to_read, was_read;
    int running, stop;
    prefetched item[SLOTS];
    slot_state state[SLOTS];
    uint64_t order[SLOTS], next;

    /* Of the reading thread. */
    sq_exposure *exposure;
    uint32_t exposure_tile;
    shared_tile tiles[TILES];
    uint64_t clock;
};

static int first_in(const prefetch *p, slot_state state)
{
    int best = -1;
    for (int i = 0; i < SLOTS; i++) {
        if (p->state[i] == state && (best < 0 || p->order[i] < p->order[best]))
            best = i;
    }
    return best;
}

static int tiling_in_use(const prefetch *p, const sq_tiling *tiling)
{
    for (int i = 0; i < SLOTS; i++) {
        if (p->state[i] != FREE && p->item[i].tiling == tiling)
            return 1;
    }
    return 0;
}

static void drop_tile(prefetch *p, shared_tile *s)
{
    sq_tiling_destroy(s->tiling);
    if (s->wcs)
        sq_wcs_pool_give(p->survey->wcs, s->tile);
    sq_tile_clear(&s->info);
    *s = (shared_tile){.phase = 0};
}

static sq_status make_tile(prefetch *p, int phase, uint32_t tile, shared_tile *s)
{
    sq_status rc = SQ_OK;
    const sq_survey *survey = p->survey;
    *s = (shared_tile){.phase = phase, .tile = tile, .used = ++p->clock};
    if (survey->d.footprint == SQ_FOOTPRINT_TILES) {
        SQ_TRY(sq_tile_list_get(survey->tiles, tile, &s->info));
        SQ_TRY(sq_wcs_pool_take(survey->wcs, tile, &s->wcs));
    }
    SQ_TRY(sq_survey_tiling(survey, phase, tile, s->wcs, &s->tiling));
cleanup:
    if (rc != SQ_OK)
        drop_tile(p, s);
    return rc;
}

/* A tile's tiling and description: kept as long as an input refers to them. */
static sq_status get_tile(prefetch *p, int phase, uint32_t tile, const shared_tile **out)
{
    shared_tile *oldest = NULL;
    pthread_mutex_lock(&p->lock);
    for (int i = 0; i < TILES; i++) {
        shared_tile *s = &p->tiles[i];
        if (s->tiling && s->phase == phase && s->tile == tile) {
            s->used = ++p->clock;
            *out = s;
            pthread_mutex_unlock(&p->lock);
            return SQ_OK;
        }
        if ((!s->tiling || !tiling_in_use(p, s->tiling)) && (!oldest || s->used < oldest->used))
            oldest = s;
    }
    pthread_mutex_unlock(&p->lock);
    drop_tile(p, oldest);
    *out = oldest;
    return make_tile(p, phase, tile, oldest);
}

static sq_status open_tile(prefetch *p, uint32_t tile, const sq_tile *info)
{
    const sq_probe_description *d = &p->survey->d;
    const char *band[SQ_MAX_BANDS];
    if (p->exposure && p->exposure_tile == tile)
        return SQ_OK;
    sq_exposure_close(p->exposure);
    p->exposure = NULL;
    for (int b = 0; b < d->nband; b++)
        band[b] = d->band[b];
    sq_status rc = sq_exposure_open(info, band, d->nband, d->allow_missing, &p->exposure);
    if (rc != SQ_OK)
        return rc;
    p->exposure_tile = tile;
    return SQ_OK;
}

static sq_status read_item(prefetch *p, prefetched *item)
{
    sq_status rc = SQ_OK;
    const sq_survey *s = p->survey;
    sq_place *place = &item->place;
    uint32_t tile = sq_survey_tile_of(s, item->task.phase, item->task.patch);
    const shared_tile *shared;
    SQ_TRY(get_tile(p, item->task.phase, tile, &shared));
    place->tiling = item->tiling = shared->tiling;
    place->tile = tile;
    SQ_TRY(sq_tiling_patch(item->tiling, item->task.patch - s->base[item->task.phase][tile],
                           &place->patch));
    place->patch.id = item->task.patch;
    place->owner = s->owner;
    if (s->d.footprint == SQ_FOOTPRINT_TILES) {
        place->info = &shared->info;
        place->wcs = shared->wcs;
        SQ_TRY(open_tile(p, tile, &shared->info));
        place->exposure = p->exposure;
    }
    SQ_TRY(s->config->cls->read(s->self, &item->task, place, &item->input, &item->input_hash));
    if (place->exposure && (rc = sq_exposure_check(place->exposure)) != SQ_OK) {
        /* It changed while it was open. */
        s->config->cls->release(s->self, item->input);
        item->input = NULL;
    }
cleanup:
    return rc;
}

static void *reading(void *user)
{
    prefetch *p = user;
    sq_present_thread();
    pthread_mutex_lock(&p->lock);
    for (;;) {
        int i = first_in(p, ASKED);
        if (p->stop)
            break;
        if (i < 0) {
            pthread_cond_wait(&p->to_read, &p->lock);
            continue;
        }
        prefetched *item = &p->item[i];
        p->state[i] = READING;
        pthread_mutex_unlock(&p->lock);
        /* The reader shares a core with the computation: what it waits for that is no reading. */
        double start = sq_now(), busy = sq_busy_now();
        sq_error_clear();
        sq_present_begin(PRESENT_READ, &item->task);
        item->status = read_item(p, item);
        sq_present_end(PRESENT_READ);
        if (item->status != SQ_OK)
            snprintf(item->text, sizeof item->text, "%s", sq_error());
        item->seconds = fmin(sq_busy_now() - busy, sq_now() - start);
        pthread_mutex_lock(&p->lock);
        p->state[i] = READ;
        pthread_cond_broadcast(&p->was_read);
    }
    pthread_mutex_unlock(&p->lock);
    sq_present_thread_end();
    return NULL;
}

sq_status sq_prefetch_create(const sq_survey *survey, prefetch **out)
{
    prefetch *p = NULL;
    sq_status rc = SQ_ALLOC(p, 1, "reading thread");
    if (rc != SQ_OK)
        return rc;
    p->survey = survey;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->to_read, NULL);
    pthread_cond_init(&p->was_read, NULL);
    int error = pthread_create(&p->thread, NULL, reading, p);
    if (error) {
        sq_free(p);
        return sq_fail(SQ_ERR_IO, "cannot start the reading thread: %s", strerror(error));
    }
    p->running = 1;
    *out = p;
    return SQ_OK;
}

int sq_prefetch_room(prefetch *p)
{
    int room = 0;
    pthread_mutex_lock(&p->lock);
    for (int i = 0; i < SLOTS; i++)
        room += p->state[i] == FREE;
    pthread_mutex_unlock(&p->lock);
    return room;
}

sq_status sq_prefetch_ask(prefetch *p, const sq_task *task, int alone)
{
    sq_status rc = SQ_OK;
    pthread_mutex_lock(&p->lock);
    int i = first_in(p, FREE);
    if (i < 0) {
        rc = sq_fail(SQ_ERR_INTERNAL, "no room to read ahead");
    } else {
        p->item[i] = (prefetched){.task = *task, .alone = alone};
        p->order[i] = ++p->next;
        p->state[i] = ASKED;
        pthread_cond_signal(&p->to_read);
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

/* The oldest task that was asked for and not taken. */
static int first_pending(const prefetch *p)
{
    int best = -1;
    for (int i = 0; i < SLOTS; i++) {
        if ((p->state[i] == ASKED || p->state[i] == READING || p->state[i] == READ) &&
            (best < 0 || p->order[i] < p->order[best]))
            best = i;
    }
    return best;
}

int sq_prefetch_take(prefetch *p, double seconds, prefetched **out)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    int64_t nanoseconds = until.tv_nsec + (int64_t)(seconds * 1e9);
    until.tv_sec += (time_t)(nanoseconds / 1000000000);
    until.tv_nsec = (long)(nanoseconds % 1000000000);
    pthread_mutex_lock(&p->lock);
    int i = first_pending(p), error = 0;
    while (i >= 0 && p->state[i] != READ && error != ETIMEDOUT) {
        error = pthread_cond_timedwait(&p->was_read, &p->lock, &until);
        i = first_pending(p);
    }
    int got = i >= 0 && p->state[i] == READ;
    if (got) {
        p->state[i] = IN_USE;
        *out = &p->item[i];
    }
    pthread_mutex_unlock(&p->lock);
    return got;
}

void sq_prefetch_done(prefetch *p, prefetched *item)
{
    if (item->input)
        p->survey->config->cls->release(p->survey->self, item->input);
    pthread_mutex_lock(&p->lock);
    item->input = NULL;
    p->state[item - p->item] = FREE;
    pthread_mutex_unlock(&p->lock);
}

void sq_prefetch_quiesce(prefetch *p)
{
    prefetched *item;
    pthread_mutex_lock(&p->lock);
    for (int i = 0; i < SLOTS; i++) {
        if (p->state[i] == ASKED)
            p->state[i] = FREE;
    }
    pthread_mutex_unlock(&p->lock);
    while (sq_prefetch_room(p) < SLOTS) {
        if (sq_prefetch_take(p, 0.1, &item))
            sq_prefetch_done(p, item);
    }
}

void sq_prefetch_destroy(prefetch *p)
{
    if (!p)
        return;
    sq_prefetch_quiesce(p);
    pthread_mutex_lock(&p->lock);
    p->stop = 1;
    pthread_cond_broadcast(&p->to_read);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    sq_exposure_close(p->exposure);
    for (int i = 0; i < TILES; i++)
        drop_tile(p, &p->tiles[i]);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->to_read);
    pthread_cond_destroy(&p->was_read);
    sq_free(p);
}
