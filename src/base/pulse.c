#include "base/pulse.h"

#include <stdatomic.h>
#include <stddef.h>

static _Atomic uint64_t count;
static _Atomic(const char *) present = "";

void sq_pulse(const char *what)
{
    if (what)
        atomic_store_explicit(&present, what, memory_order_relaxed);
    atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
}

uint64_t sq_pulse_count(void)
{
    return atomic_load_explicit(&count, memory_order_relaxed);
}

const char *sq_pulse_what(void)
{
    return atomic_load_explicit(&present, memory_order_relaxed);
}
