/* Common to the tests of sim/. */
#ifndef SQ_SIM_TEST_H
#define SQ_SIM_TEST_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "sim/optical.h"

/* A failed call shows its message. */
#define OK(call)                                                                                   \
    do {                                                                                           \
        if ((call) != SQ_OK)                                                                       \
            fail_msg("%s: %s", #call, sq_error());                                                 \
    } while (0)

static inline const char *scratch_path(char *out, size_t size, const char *name)
{
    const char *folder = getenv("TMPDIR");
    snprintf(out, size, "%s/%s_%ld", folder && *folder ? folder : P_tmpdir, name, (long)getpid());
    return out;
}

/* A sky without sources, defects and mismatch. */
static inline sq_sim_optical_config empty_sky(sq_sim_preset preset)
{
    sq_sim_optical_config c;
    sq_sim_optical_defaults(preset, &c);
    c.galaxy_density = c.star_density = 0;
    c.bad_columns = c.cosmics = c.noise_mismatch = c.sky_residual = 0;
    c.tile_nx = 700;
    c.tile_ny = 500;
    c.overlap = 0;
    return c;
}

#endif
