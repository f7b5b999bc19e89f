/* The clusters probe, for the register of probes (probe/probe.h): Sunyaev-Zel'dovich clusters in mm
 * maps.
 *
 * Patches are ring cells over the sphere, each projected on a flat ZEA grid; those that no map
 * comes near cost nothing. Phase 0 filters a patch, finds candidates, and asks the network about
 * them, when the run gives one; a network of maps adds candidates of its own. Phase 1 has one task
 * with work, the completeness of the whole survey by the filter alone. Tables: clusters, area,
 * completeness. Maps: snr and y0_noise, plate carree around the input. Local. */
#ifndef SQ_CLUSTERS_PROBE_H
#define SQ_CLUSTERS_PROBE_H

#include "probe/probe.h"

extern const sq_probe_class sq_clusters_probe;

#endif
