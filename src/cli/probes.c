#include "catalog/probe.h"
#include "cli/commands.h"
#include "clusters/probe.h"
#include "lensing/probe.h"

static const sq_probe_class *const probes[] = {
    &sq_catalog_probe,
    &sq_clusters_probe,
    &sq_lensing_probe,
};

sq_status sq_cli_register_probes(void)
{
    for (size_t i = 0; i < sizeof probes / sizeof *probes; i++) {
        if (sq_probe_find(probes[i]->name))
            continue;
        sq_status rc = sq_probe_register(probes[i]);
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}
