/* The release goes to the disk while the ranks go on: a thread of its own asks for it, because
 * asking waits for the disk. It calls neither MPI nor HDF5. */
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/merge_internal.h"

struct merge_flusher {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int fd, wanted, stop;
};

static void *flush(void *user)
{
    merge_flusher *f = user;
    pthread_mutex_lock(&f->lock);
    while (!f->stop) {
        if (!f->wanted) {
            pthread_cond_wait(&f->wake, &f->lock);
            continue;
        }
        f->wanted = 0;
        pthread_mutex_unlock(&f->lock);
        sync_file_range(f->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
        pthread_mutex_lock(&f->lock);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

void merge_flush_begin(merge *m)
{
    merge_flusher *f = NULL;
    if (SQ_ALLOC(f, 1, "flushing") != SQ_OK)
        return;
    f->fd = open(m->partial, O_WRONLY | O_CLOEXEC);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->wake, NULL);
    if (f->fd >= 0 && pthread_create(&f->thread, NULL, flush, f) == 0) {
        m->flusher = f;
        return;
    }
    if (f->fd >= 0)
        close(f->fd);
    sq_free(f);
}

void merge_flush_wake(const merge *m)
{
    merge_flusher *f = m->flusher;
    if (!f)
        return;
    pthread_mutex_lock(&f->lock);
    f->wanted = 1;
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->lock);
}

void merge_flush_end(merge *m)
{
    merge_flusher *f = m->flusher;
    if (!f)
        return;
    pthread_mutex_lock(&f->lock);
    f->stop = 1;
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->lock);
    pthread_join(f->thread, NULL);
    pthread_cond_destroy(&f->wake);
    pthread_mutex_destroy(&f->lock);
    close(f->fd);
    sq_free(f);
    m->flusher = NULL;
}
