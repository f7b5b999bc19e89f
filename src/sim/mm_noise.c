#include <complex.h>
#include <math.h>

#include "base/mem.h"
#include "sim/mm_internal.h"

enum { DEPTH_LMAX = 1000 };

/* Smooth relative depth: exp of a Gaussian field with power at a few degrees. */
static sq_status draw_depth(sq_sim_mm *sim, int64_t field, int band, double _Complex *modes,
                            double *depth)
{
    sq_status rc = SQ_OK;
    double cl[DEPTH_LMAX + 1] = {0}, variance = 0;
    int64_t n = sq_flat_pixels(&sim->flat);
    sq_rng rng;
    if (sim->config.depth <= 0) {
        for (int64_t i = 0; i < n; i++)
            depth[i] = 1;
        return SQ_OK;
    }
    for (int l = 2; l <= DEPTH_LMAX; l++)
        cl[l] = exp(-pow(l / 100.0, 2));
    sq_rng_init(&rng, (uint64_t)sim->config.seed, MM_DEPTH, mm_stream(field, band));
    SQ_TRY(sq_field_modes(sim->fft, &sim->flat, &rng, cl, DEPTH_LMAX, modes));
    sq_fft_backward(sim->fft, modes, depth);
    for (int64_t i = 0; i < n; i++)
        variance += depth[i] * depth[i] / (double)n;
    for (int64_t i = 0; i < n; i++)
        depth[i] = exp(sim->config.depth * depth[i] / sqrt(variance));
cleanup:
    return rc;
}

/* What 1/f noise has above white noise: N_l = n^2 (l_knee / l)^slope. */
static sq_status draw_excess(sq_sim_mm *sim, uint64_t stream, double level, double knee,
                             double slope, double _Complex *modes, double *out)
{
    sq_status rc = SQ_OK;
    double *cl = NULL, arcmin = M_PI / 180 / 60;
    sq_rng rng;
    SQ_TRY(SQ_ALLOC(cl, sim->lmax + 1, "noise"));
    for (int l = 1; l <= sim->lmax; l++)
        cl[l] = pow(level * arcmin, 2) * pow(knee / l, slope);
    sq_rng_init(&rng, (uint64_t)sim->config.seed, MM_EXCESS, stream);
    SQ_TRY(sq_field_modes(sim->fft, &sim->flat, &rng, cl, sim->lmax, modes));
    modes[0] = 0;
    sq_fft_backward(sim->fft, modes, out);
cleanup:
    sq_free(cl);
    return rc;
}

sq_status sq_mm_noise(sq_sim_mm *sim, int64_t field, int band, int stokes, int64_t split,
                      mm_noise *out)
{
    sq_status rc = SQ_OK;
    const sq_sim_mm_config *c = &sim->config;
    double _Complex *modes = NULL;
    double factor = sqrt((double)c->splits * (stokes == MM_I ? 1 : 2));
    double knee = (stokes == MM_I ? c->knee : c->polarisation_knee).value[band];
    uint64_t stream = mm_stream(field, band + SQ_MM_BANDS * (stokes + MM_STOKES * split));
    *out = (mm_noise){.level = c->noise.value[band] * c->noise_factor * factor};
    sq_rng_init(&out->rng, (uint64_t)c->seed, MM_NOISE, stream);
    SQ_TRY(SQ_ALLOC(out->depth, sq_flat_pixels(&sim->flat), "noise"));
    SQ_TRY(SQ_ALLOC(modes, sq_flat_modes(&sim->flat), "noise"));
    SQ_TRY(draw_depth(sim, field, band, modes, out->depth));
    if (knee > 0 && out->level > 0) {
        SQ_TRY(SQ_ALLOC(out->excess, sq_flat_pixels(&sim->flat), "noise"));
        SQ_TRY(
            draw_excess(sim, stream, out->level, knee, c->slope.value[band], modes, out->excess));
    }
cleanup:
    sq_free(modes);
    return rc;
}

void sq_mm_noise_clear(mm_noise *noise)
{
    sq_free(noise->depth);
    sq_free(noise->excess);
    *noise = (mm_noise){.depth = NULL};
}
