#include <stdio.h>

#include "base/clock.h"
#include "cli/simulate.h"
#include "clusters/training.h"
#include "par/comm.h"
#include "run/yaml.h"
#include "sim/mm.h"

typedef sq_simulate_options options;

void sq_simulate_mm_help(void)
{
    sq_sim_mm_config defaults;
    printf("\nKEYS OF SKY.yaml (defaults of the preset mm)\n");
    sq_sim_mm_defaults(&defaults);
    sq_yaml_print_help(sq_sim_mm_fields, &defaults, stdout);
}

static sq_status load(const options *o, sq_sim_mm_config *config)
{
    sq_status rc = sq_yaml_load(o->sky, sq_sim_mm_fields, config);
    if (rc == SQ_OK && o->seed >= 0)
        config->seed = o->seed;
    return rc;
}

static sq_status training(const options *o, const sq_sim_mm_config *config)
{
    sq_cluster_training t;
    sq_cluster_training_defaults(&t);
    t.fields = o->samples > 0 ? o->samples : t.fields;
    t.first = o->first >= 0 ? o->first : t.first;
    t.halos = o->halos > 0 ? o->halos : t.halos;
    t.cutouts = o->cutouts >= 0 ? o->cutouts : t.cutouts;
    t.mass_min = o->mass_min > 0 ? o->mass_min : t.mass_min;
    t.fixed = o->fixed;
    double start = sq_now();
    sq_status rc = sq_cluster_training_write(o->training, config, &t);
    if (rc == SQ_OK && !o->quiet)
        fprintf(stderr, "simulate: %lld fields of %lld pixels in %.1f s: %s\n", (long long)t.fields,
                (long long)config->side, sq_now() - start, o->training);
    return rc;
}

/* This rank's fields: every size-th, from its own number on. */
static sq_status make_fields(const options *o, sq_sim_mm *sim, int64_t fields, int rank, int size)
{
    double start = sq_now();
    for (int64_t f = rank; f < fields; f += size) {
        sq_status rc = sq_sim_mm_write_field(sim, f, o->truth_only, o->output);
        if (rc != SQ_OK)
            return rc;
        if (!o->quiet && rank == 0)
            fprintf(stderr, "simulate: field %lld of %lld, %.1f s\n", (long long)f + 1,
                    (long long)fields, sq_now() - start);
    }
    return SQ_OK;
}

static sq_status survey(const options *o, const sq_sim_mm_config *config)
{
    sq_sim_mm *sim = NULL;
    const sq_comm *world = sq_comm_world();
    sq_status rc = SQ_OK;
    int rank = sq_comm_rank(world);
    SQ_TRY_ALL(world, sq_sim_mm_create(config, &sim));
    SQ_TRY_ALL(world, rank == 0 ? sq_simulate_folder(o, sq_sim_mm_fields, config) : SQ_OK);
    SQ_TRY_ALL(world, make_fields(o, sim, config->fields, rank, sq_comm_size(world)));
    SQ_TRY_ALL(world, rank == 0 ? sq_sim_mm_write_survey(sim, o->output) : SQ_OK);
cleanup:
    sq_sim_mm_destroy(sim);
    return rc;
}

sq_status sq_simulate_fields(const options *o, const sq_sim_mm_config *defaults, int collective)
{
    sq_sim_mm_config config = *defaults;
    sq_status mine = load(o, &config), rc = SQ_OK;
    int loaded = mine == SQ_OK;
    SQ_TRY(collective ? sq_comm_agree(sq_comm_world(), mine) : mine);
    SQ_TRY(collective ? survey(o, &config) : training(o, &config));
cleanup:
    if (loaded)
        sq_yaml_free(sq_sim_mm_fields, &config);
    return rc;
}

sq_status sq_simulate_mm(const options *o, int collective)
{
    sq_sim_mm_config defaults;
    sq_sim_mm_defaults(&defaults);
    return sq_simulate_fields(o, &defaults, collective);
}
