/* Items of one width on their way to other ranks, in portions of bounded size. Local, but for
 * merge_post_exchange.
 *
 * Each rank fills its portion until it is full or there is nothing left, then all exchange; a rank
 * holds one portion to send, and receives at most one portion in all. */
#ifndef SQ_STORE_MERGE_POST_H
#define SQ_STORE_MERGE_POST_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "par/comm.h"

typedef struct merge_post {
    const sq_comm *comm; /* borrowed */
    size_t width, each;  /* items that one rank can get of a portion */
    size_t *count;       /* [ranks]: items of the portion */
    size_t fullest;
    unsigned char *item; /* [ranks][each] */
} merge_post;

/* `memory`: bytes of a portion; at least `least` items for every rank fit whatever it is. */
sq_status merge_post_init(merge_post *p, const sq_comm *comm, size_t width, uint64_t memory,
                          size_t least);
/* Whether n more items fit, whoever they go to. */
int merge_post_fits(const merge_post *p, size_t n);
void *merge_post_put(merge_post *p, int to); /* the caller has asked merge_post_fits */
/* Collective: n items arrive in *got (sq_free), in the order of the ranks; the portion is empty. */
sq_status merge_post_exchange(merge_post *p, void **got, size_t *n);
void merge_post_clear(merge_post *p);

#endif
