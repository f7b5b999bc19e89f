/* The WCS of many tiles, solved when they are first used, a bounded number of them kept.
 *
 * A WCS is taken before use and given back after it; meanwhile it stays. Those that nobody has are
 * dropped, the least recently used first, when more than `keep` are held. Threads may share a pool.
 * Local. */
#ifndef SQ_SKY_WCS_POOL_H
#define SQ_SKY_WCS_POOL_H

#include <stdint.h>

#include "base/status.h"
#include "sky/wcs.h"

typedef struct sq_wcs_pool sq_wcs_pool;
typedef sq_status (*sq_wcs_solve)(void *user, uint32_t tile, sq_wcs **out);

sq_status sq_wcs_pool_create(uint32_t tiles, uint32_t keep, sq_wcs_solve solve, void *user,
                             sq_wcs_pool **out);
void sq_wcs_pool_destroy(sq_wcs_pool *pool); /* accepts NULL; all have been given back */
sq_status sq_wcs_pool_take(sq_wcs_pool *pool, uint32_t tile, const sq_wcs **out);
void sq_wcs_pool_give(sq_wcs_pool *pool, uint32_t tile);
uint64_t sq_wcs_pool_solved(const sq_wcs_pool *pool); /* how often one had to be solved */

#endif
