#include <stdio.h>

#include "base/clock.h"
#include "cli/simulate.h"
#include "lensing/training.h"
#include "run/yaml.h"

typedef sq_simulate_options options;

void sq_simulate_cmb_help(void)
{
    sq_lensing_sky_config defaults;
    printf("\nKEYS OF SKY.yaml (defaults of the preset cmb, for training sets alone)\n");
    sq_lensing_sky_defaults(&defaults);
    sq_yaml_print_help(sq_lensing_sky_fields, &defaults, stdout);
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
    sq_lensing_sky_config config;
    sq_status rc = SQ_OK;
    if (collective)
        return sq_fail(SQ_ERR_USAGE, "%s: preset cmb makes training sets: give --training FILE",
                       o->sky);
    sq_lensing_sky_defaults(&config);
    SQ_TRY(sq_yaml_load(o->sky, sq_lensing_sky_fields, &config));
    if (o->seed >= 0)
        config.seed = o->seed;
    rc = training(o, &config);
    sq_yaml_free(sq_lensing_sky_fields, &config);
cleanup:
    return rc;
}
