#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "catalog/training.h"
#include "cli/simulate.h"
#include "par/comm.h"
#include "run/yaml.h"
#include "sim/optical.h"

typedef sq_simulate_options options;

void sq_simulate_optical_help(void)
{
    sq_sim_optical_config defaults;
    printf("\nKEYS OF SKY.yaml (defaults of the preset sdss)\n");
    sq_sim_optical_defaults(SQ_SIM_SDSS, &defaults);
    sq_yaml_print_help(sq_sim_optical_fields, &defaults, stdout);
    printf("\nKEYS OF SKY.yaml (defaults of the preset lsst)\n");
    sq_sim_optical_defaults(SQ_SIM_LSST, &defaults);
    sq_yaml_print_help(sq_sim_optical_fields, &defaults, stdout);
}

/* The preset decides the defaults, so the file is read twice. */
static sq_status load(const options *o, sq_sim_optical_config *config)
{
    sq_sim_optical_defaults(SQ_SIM_SDSS, config);
    sq_status rc = sq_yaml_load(o->sky, sq_sim_optical_fields, config);
    if (rc != SQ_OK)
        return rc;
    int preset = config->preset;
    sq_yaml_free(sq_sim_optical_fields, config);
    sq_sim_optical_defaults((sq_sim_preset)preset, config);
    rc = sq_yaml_load(o->sky, sq_sim_optical_fields, config);
    if (rc == SQ_OK && o->seed >= 0)
        config->seed = o->seed;
    return rc;
}

static sq_status training(const options *o, const sq_sim_optical_config *config)
{
    sq_training_options t;
    sq_training_defaults(config->preset, &t);
    t.seed = (uint64_t)config->seed;
    t.samples = o->samples > 0 ? o->samples : t.samples;
    t.first = o->first >= 0 ? o->first : t.first;
    t.side = o->side > 0 ? (int)o->side : t.side;
    t.tile = o->tile > 0 ? (int)o->tile : t.tile;
    t.sources = o->sources > 0 ? (int)o->sources : t.sources;
    t.limit = o->limit > 0 ? o->limit : t.limit;
    t.min_snr = o->min_snr >= 0 ? o->min_snr : t.min_snr;
    t.margin = o->margin >= 0 ? o->margin : t.margin;
    double start = sq_now();
    sq_status rc = sq_training_write(o->training, config, &t);
    if (rc == SQ_OK && !o->quiet)
        fprintf(stderr, "simulate: %lld patches of %d pixels in %.1f s: %s\n", (long long)t.samples,
                t.side, sq_now() - start, o->training);
    return rc;
}

/* A file has its final name only when complete; the PSF grid comes last, of cell coadds the last
 * band. */
static int tile_is_there(const sq_sim_optical *sim, const sq_sim_optical_config *config,
                         int64_t tile, const char *folder)
{
    const char *const *bands;
    char name[64], path[PATH_MAX];
    struct stat st;
    int n = sq_sim_optical_bands(config->preset, &bands, NULL);
    sq_sim_optical_tile_name(sim, tile, name);
    snprintf(path, sizeof path, "%.3900s/%s-%s.fits", folder, name,
             config->format == SQ_SIM_CELL_COADD ? bands[n - 1] : "psf");
    return stat(path, &st) == 0;
}

/* This rank's tiles: every size-th, from its own number on. */
static sq_status make_tiles(const options *o, const sq_sim_optical_config *config,
                            sq_sim_optical *sim, int rank, int size)
{
    int64_t tiles = sq_sim_optical_tiles(sim);
    double start = sq_now();
    for (int64_t t = rank; t < tiles; t += size) {
        if (tile_is_there(sim, config, t, o->output))
            continue;
        sq_status rc = sq_sim_optical_write_tile(sim, t, o->output);
        if (rc != SQ_OK)
            return rc;
        if (!o->quiet && rank == 0)
            fprintf(stderr, "simulate: tile %lld of %lld, %.1f s\n", (long long)t + 1,
                    (long long)tiles, sq_now() - start);
    }
    return SQ_OK;
}

static sq_status survey(const options *o, const sq_sim_optical_config *config)
{
    sq_sim_optical *sim = NULL;
    char path[PATH_MAX];
    const sq_comm *world = sq_comm_world();
    sq_status rc = SQ_OK;
    int rank = sq_comm_rank(world);
    SQ_TRY_ALL(world, sq_sim_optical_create(config, &sim));
    SQ_TRY_ALL(world, rank == 0 ? sq_simulate_folder(o, sq_sim_optical_fields, config) : SQ_OK);
    if (!o->truth_only)
        SQ_TRY_ALL(world, make_tiles(o, config, sim, rank, sq_comm_size(world)));
    snprintf(path, sizeof path, "%.3900s/truth.h5", o->output);
    SQ_TRY_ALL(world, rank == 0 ? sq_sim_optical_write_truth(sim, path) : SQ_OK);
cleanup:
    sq_sim_optical_destroy(sim);
    return rc;
}

sq_status sq_simulate_optical(const options *o, int collective)
{
    sq_sim_optical_config config = {0};
    sq_status mine = load(o, &config), rc = SQ_OK;
    int loaded = mine == SQ_OK;
    SQ_TRY(collective ? sq_comm_agree(sq_comm_world(), mine) : mine);
    SQ_TRY(collective ? survey(o, &config) : training(o, &config));
cleanup:
    if (loaded)
        sq_yaml_free(sq_sim_optical_fields, &config);
    return rc;
}
