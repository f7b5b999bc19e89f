/* A probe of two phases over a synthetic map: rows and a condensed file first, then map blocks with
 * realisations that use it. */
#ifndef SQ_TESTS_MAP_PROBE_H
#define SQ_TESTS_MAP_PROBE_H

#include "probe/probe.h"

extern const sq_probe_class sq_map_probe, sq_tile_probe;

#endif
