/* Speed of the optical simulator: pixels of the sky with all bands, in CPU time of one thread.
 *
 *     meson test --benchmark simulate --verbose */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "sim/optical.h"

enum { SIDE = 1024 };

static sq_status measure(sq_sim_preset preset, const char *name)
{
    sq_sim_optical_config config;
    sq_sim_optical *sim = NULL;
    sq_cutout *c = NULL;
    sq_sim_source *s = NULL;
    int64_t n;
    sq_status rc = SQ_OK;
    sq_sim_optical_defaults(preset, &config);
    SQ_TRY(sq_sim_optical_create(&config, &sim));
    SQ_TRY(sq_cutout_create(sq_sim_optical_bands(preset, NULL, NULL), SIDE, SIDE, &c));
    /* Draws the tile's sources, which all of its boxes share. */
    double start = sq_cpu_now();
    SQ_TRY(sq_sim_optical_sources(sim, 0, 0, 0, SIDE, SIDE, 0, &s, &n));
    double drawn = sq_cpu_now();
    SQ_TRY(sq_sim_optical_render(sim, 0, 0, 0, c));
    double rendered = sq_cpu_now();
    double tile = (double)config.tile_nx * (double)config.tile_ny / 1e6;
    double box = SIDE * SIDE / 1e6;
    printf("%s: %d bands, %lld sources in %.2f Mpix: %.2f Mpix/s (drawing them: %.0f Mpix/s)\n",
           name, c->nband, (long long)n, box, box / (rendered - drawn), tile / (drawn - start));
cleanup:
    sq_free(s);
    sq_cutout_destroy(c);
    sq_sim_optical_destroy(sim);
    return rc;
}

int main(void)
{
    if (measure(SQ_SIM_SDSS, "sdss") == SQ_OK && measure(SQ_SIM_LSST, "lsst") == SQ_OK)
        return 0;
    fprintf(stderr, "%s\n", sq_error());
    return 1;
}
