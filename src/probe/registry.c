#include "probe/probe.h"

#include <string.h>

static const sq_probe_class *registered[SQ_MAX_PROBES];
static int count;

sq_status sq_probe_register(const sq_probe_class *cls)
{
    if (!cls || !cls->name || !cls->create || !cls->describe || !cls->read || !cls->process ||
        !cls->release || !cls->destroy)
        return sq_fail(SQ_ERR_USAGE, "probe class without its obligatory functions");
    if (sq_probe_find(cls->name))
        return sq_fail(SQ_ERR_USAGE, "probe '%s' is registered already", cls->name);
    if (count == SQ_MAX_PROBES)
        return sq_fail(SQ_ERR_USAGE, "more than %d probes", (int)SQ_MAX_PROBES);
    registered[count++] = cls;
    return SQ_OK;
}

int sq_probe_count(void)
{
    return count;
}

const sq_probe_class *sq_probe_at(int i)
{
    return i >= 0 && i < count ? registered[i] : NULL;
}

const sq_probe_class *sq_probe_find(const char *name)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(registered[i]->name, name) == 0)
            return registered[i];
    }
    return NULL;
}
