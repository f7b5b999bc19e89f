/* A probe of two phases over a synthetic map: rows and a condensed file first, then map blocks with
 * realisations that use it. */
#ifndef SQ_TESTS_MAP_PROBE_H
#define SQ_TESTS_MAP_PROBE_H

#include "probe/probe.h"

extern const sq_probe_class sq_map_probe, sq_tile_probe;

/* Trouble on demand, outside of the configuration: SQ_TEST_TROUBLE=KIND:WHERE:PHASE:PATCH,... with
 * KIND segv, abort, stack, hang, slow (3 s) or fail and WHERE read or process. */
sq_status sq_test_trouble(const char *where, const sq_task *task);

#endif
