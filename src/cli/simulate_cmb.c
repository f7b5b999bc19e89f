#include <stdio.h>

#include "base/clock.h"
#include "cli/simulate.h"
#include "lensing/training.h"
#include "run/yaml.h"

typedef sq_simulate_options options;

void sq_simulate_cmb_help(void)
{
    sq_sim_mm_config survey;
    sq_lensing_sky_config training;
    printf("\nKEYS OF SKY.yaml (defaults of the preset cmb, surveys)\n");
    sq_sim_mm_lensing_defaults(&survey);
    sq_yaml_print_help(sq_sim_mm_fields, &survey, stdout);
    printf("\nKEYS OF SKY.yaml (defaults of the preset cmb, training sets)\n");
    sq_lensing_sky_defaults(&training);
    sq_yaml_print_help(sq_lensing_sky_fields, &training, stdout);
}

static sq_status training(const options *o, const sq_lensing_sky_config *config)
{
    sq_lensing_training t = {.samples = o->samples > 0 ? o->samples : 512,
                             .first = o->first >= 0 ? o->first : 0,
                             .maximum = o->maximum >= 0 ? o->maximum : 0,
                             .fixed = o->fixed};
    double start = sq_now();
    sq_status rc = sq_lensing_training_write(o->training, config, &t);
    if (rc == SQ_OK && !o->quiet)
        fprintf(stderr, "simulate: %lld boxes of %lld pixels in %.1f s: %s\n", (long long)t.samples,
                (long long)config->side, sq_now() - start, o->training);
    return rc;
}

sq_status sq_simulate_cmb(const options *o, int collective)
{
    sq_sim_mm_config fields;
    sq_lensing_sky_config config;
    sq_status rc = SQ_OK;
    sq_sim_mm_lensing_defaults(&fields);
    if (collective)
        return sq_simulate_fields(o, &fields, 1);
    sq_lensing_sky_defaults(&config);
    SQ_TRY(sq_yaml_load(o->sky, sq_lensing_sky_fields, &config));
    if (o->seed >= 0)
        config.seed = o->seed;
    rc = training(o, &config);
    sq_yaml_free(sq_lensing_sky_fields, &config);
cleanup:
    return rc;
}
