/* The catalog probe, for the register of probes (probe/probe.h). It takes a network (an ONNX file
 * whose metadata say "skyquilt.kind" catalog), needs the network's bands and writes the table
 * `catalog`. Local. */
#ifndef SQ_CATALOG_PROBE_H
#define SQ_CATALOG_PROBE_H

#include "probe/probe.h"

extern const sq_probe_class sq_catalog_probe;

#endif
