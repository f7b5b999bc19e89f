#include <complex.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "sim/mm_internal.h"
#include "sim/spectra.h"

enum { LMAX = 40000 };
/* D_3000 in uK^2 at 150 GHz, George et al. 2015, table 3; ratios to 95 and 220 GHz give the
 * spectra. */
static const double POISSON = 9.42, CLUSTERED = 3.37, DIFFUSE_KSZ = 2.96;
static const double GHZ[3] = {95, 150, 220}, POISSON_AT[3] = {1.41, 9.42, 68.1},
                    CLUSTERED_AT[3] = {0.20, 3.37, 50.5}, RADIO_AT[3] = {8.04, 1.01, 0.34};

/* Power laws between the measured frequencies, and on beyond them. */
static double scale(const double at[3], double ghz)
{
    int i = ghz < GHZ[1] ? 0 : 1;
    double slope = log(at[i + 1] / at[i]) / log(GHZ[i + 1] / GHZ[i]);
    return sqrt(at[i] / at[1] * pow(ghz / GHZ[i], slope));
}

double sq_mm_part_scale(int part, double ghz)
{
    static const double *const at[MM_PARTS] = {NULL, CLUSTERED_AT, POISSON_AT, RADIO_AT};
    return at[part] ? scale(at[part], ghz) : 1;
}

double sq_mm_kelvin_per_jansky(double ghz, double tcmb)
{
    const double h = 6.62607015e-34, k = 1.380649e-23, c = 299792458;
    double x = h * ghz * 1e9 / (k * tcmb), e = exp(x);
    double slope = 2 * pow(k, 3) * tcmb * tcmb / (h * h * c * c) * pow(x, 4) * e / pow(e - 1, 2);
    return 1e-26 / slope; /* K steradian per Jy */
}

/* C_l of D_l = amplitude (l / 3000)^slope. */
static void power_law(double amplitude, double slope, double *cl)
{
    cl[0] = cl[1] = 0;
    for (int l = 2; l <= LMAX; l++)
        cl[l] = amplitude * pow(l / 3000.0, slope) * 2 * M_PI / ((double)l * (l + 1));
}

/* Counts of Tucci et al. 2011, model C2Ex at 148 GHz, fitted to 10% over 0.1 mJy to 1 Jy: dN / dS =
 * 1.85e7 (S / mJy)^(-1.923 - 0.0205 ln(S / mJy)) per Jy per steradian. Cumulative on a grid in ln
 * S.
 */
enum { COUNTS = 400 };
static double radio_counts(double low, double high, double cumulative[COUNTS + 1])
{
    double step = log(high / low) / COUNTS;
    cumulative[0] = 0;
    for (int i = 0; i < COUNTS; i++) {
        double l = log(low) + (i + 0.5) * step, s = exp(l);
        cumulative[i + 1] =
            cumulative[i] + 1.85e7 * exp(-(1.923 + 0.0205 * l) * l) * s * 1e-3 * step;
    }
    return cumulative[COUNTS];
}

static double draw_flux(sq_rng *rng, double low, double high, const double *cumulative)
{
    double value = sq_rng_uniform(rng) * cumulative[COUNTS];
    int i = 0;
    while (i < COUNTS - 1 && cumulative[i + 1] <= value)
        i++;
    double t = (value - cumulative[i]) / (cumulative[i + 1] - cumulative[i]);
    return low * exp(log(high / low) * (i + t) / COUNTS);
}

static sq_status add_source(sq_mm_source **source, size_t *capacity, int64_t *count,
                            const sq_mm_source *one)
{
    sq_status rc = SQ_GROW(*source, *capacity, *count + 1, "radio sources");
    if (rc == SQ_OK)
        (*source)[(*count)++] = *one;
    return rc;
}

sq_status sq_mm_draw_sources(sq_sim_mm *sim, int64_t field, const sq_mm_halo *halo, int64_t nhalo,
                             sq_mm_source **source, int64_t *count)
{
    sq_status rc = SQ_OK;
    double cumulative[COUNTS + 1], low = sim->config.radio_min, high = 1000;
    double density = radio_counts(low, high, cumulative);
    size_t capacity = 0;
    sq_rng rng;
    *source = NULL;
    *count = 0;
    if (sim->config.radio <= 0)
        return SQ_OK;
    sq_rng_init(&rng, (uint64_t)sim->config.seed, MM_RADIO, mm_stream(field, 0));
    int64_t n = sq_rng_poisson(&rng, density * sq_flat_area(&sim->flat));
    for (int64_t i = 0; i < n; i++) {
        sq_mm_source s = {.x = sq_rng_uniform(&rng) * sim->flat.nx - 0.5,
                          .y = sq_rng_uniform(&rng) * sim->flat.ny - 0.5,
                          .flux = draw_flux(&rng, low, high, cumulative),
                          .alpha = -0.5 + 0.3 * sq_rng_normal(&rng)};
        SQ_TRY(add_source(source, &capacity, count, &s));
    }
    /* A cluster of 3e14 Msun has on average 0.1 sources above 1 mJy, in proportion to mass: an
     * excess of several over the field, as counts toward clusters show (Gupta et al. 2017, MNRAS
     * 467, 3737). */
    double share = 0.1 * pow(low, -0.92) * sim->config.radio_cluster;
    for (int64_t i = 0; i < nhalo && sim->config.radio_cluster > 0; i++) {
        const sq_mm_halo *h = &halo[i];
        int64_t k = sq_rng_poisson(&rng, share * h->m500 / 3e14);
        for (int64_t j = 0; j < k; j++) {
            double scatter = 0.2 * h->theta500 / (sim->flat.dx * 180 * 60 / M_PI);
            sq_mm_source s = {.x = h->x + scatter * sq_rng_normal(&rng),
                              .y = h->y + scatter * sq_rng_normal(&rng),
                              .flux = draw_flux(&rng, low, high, cumulative),
                              .alpha = -0.7 + 0.3 * sq_rng_normal(&rng),
                              .cluster = 1};
            SQ_TRY(add_source(source, &capacity, count, &s));
        }
    }
cleanup:
    return rc;
}

static int64_t wrap(int64_t i, int64_t n)
{
    return ((i % n) + n) % n;
}

/* Each source goes to its four nearest pixels (the beam makes it smooth), in uK. */
void sq_mm_paint_sources(const sq_sim_mm *sim, const sq_mm_source *source, int64_t count, int band,
                         double *map)
{
    double ghz = sim->config.ghz.value[band], pixel = sim->flat.dx * sim->flat.dy;
    double kelvin = sq_mm_kelvin_per_jansky(ghz, sq_cosmology_of(sim->cosmology)->tcmb);
    int64_t nx = sim->flat.nx, ny = sim->flat.ny;
    for (int64_t i = 0; i < count; i++) {
        const sq_mm_source *s = &source[i];
        double t =
            1e6 * kelvin * s->flux * 1e-3 * pow(ghz / 150, s->alpha) / pixel * sim->config.radio;
        int64_t x = (int64_t)floor(s->x), y = (int64_t)floor(s->y);
        double u = s->x - (double)x, v = s->y - (double)y;
        for (int k = 0; k < 4; k++)
            map[wrap(y + k / 2, ny) * nx + wrap(x + k % 2, nx)] +=
                t * (k / 2 ? v : 1 - v) * (k % 2 ? u : 1 - u);
    }
}

/* The part of the power of radio sources below 6.4 mJy, George et al.'s cut, that comes from those
 * below radio_min. */
static double faint_radio(double radio_min)
{
    double below = 0, all = 0, step = 0.02;
    for (double l = log(1e-3); l < log(6.4); l += step) {
        double part = exp(-(1.923 + 0.0205 * l) * l) * exp(3 * l) * step;
        all += part;
        below += exp(l) < radio_min ? part : 0;
    }
    return RADIO_AT[1] * below / all;
}

static sq_status draw(sq_sim_mm *sim, int64_t field, int part, const double *cl,
                      double _Complex *modes)
{
    sq_rng rng;
    sq_rng_init(&rng, (uint64_t)sim->config.seed, MM_DIFFUSE, mm_stream(field, part));
    return sq_field_modes(sim->fft, &sim->flat, &rng, cl, LMAX, modes);
}

sq_status sq_mm_diffuse(sq_sim_mm *sim, int64_t field, double _Complex *modes[MM_PARTS])
{
    sq_status rc = SQ_OK;
    const sq_sim_mm_config *c = &sim->config;
    double *cl = NULL, *ksz = NULL;
    SQ_TRY(SQ_ALLOC(cl, LMAX + 1, "spectrum"));
    SQ_TRY(SQ_ALLOC(ksz, LMAX + 1, "spectrum"));
    SQ_TRY(sq_fiducial_spectrum(SQ_LENSED_TT, LMAX, cl));
    power_law(c->velocity > 0 ? DIFFUSE_KSZ : 0, 0, ksz);
    for (int l = 0; l <= LMAX; l++)
        cl[l] = c->cmb * c->cmb * (cl[l] + ksz[l]);
    SQ_TRY(draw(sim, field, MM_PART_CMB, cl, modes[MM_PART_CMB]));
    power_law(c->dust * c->dust * CLUSTERED, 0.8, cl);
    SQ_TRY(draw(sim, field, MM_PART_CLUSTERED, cl, modes[MM_PART_CLUSTERED]));
    power_law(c->dust * c->dust * POISSON, 2, cl);
    SQ_TRY(draw(sim, field, MM_PART_POISSON, cl, modes[MM_PART_POISSON]));
    power_law(c->radio * c->radio * faint_radio(c->radio_min), 2, cl);
    SQ_TRY(draw(sim, field, MM_PART_RADIO, cl, modes[MM_PART_RADIO]));
cleanup:
    sq_free(cl);
    sq_free(ksz);
    return rc;
}

/* Smooth relative depth: exp of a Gaussian field with power at a few degrees. */
static sq_status depth_field(sq_sim_mm *sim, int64_t field, int band, double *depth)
{
    sq_status rc = SQ_OK;
    double *cl = NULL, variance = 0;
    double _Complex *modes = NULL;
    int64_t n = sq_flat_pixels(&sim->flat);
    sq_rng rng;
    SQ_TRY(SQ_ALLOC(cl, LMAX + 1, "depth"));
    SQ_TRY(SQ_ALLOC(modes, sq_flat_modes(&sim->flat), "depth"));
    for (int l = 2; l <= LMAX; l++)
        cl[l] = exp(-pow(l / 100.0, 2));
    sq_rng_init(&rng, (uint64_t)sim->config.seed, MM_DEPTH, mm_stream(field, band));
    SQ_TRY(sq_field_modes(sim->fft, &sim->flat, &rng, cl, LMAX, modes));
    sq_fft_backward(sim->fft, modes, depth);
    for (int64_t i = 0; i < n; i++)
        variance += depth[i] * depth[i] / (double)n;
    for (int64_t i = 0; i < n; i++)
        depth[i] = exp(sim->config.depth * depth[i] / sqrt(variance));
cleanup:
    sq_free(cl);
    sq_free(modes);
    return rc;
}

sq_status sq_mm_noise(sq_sim_mm *sim, int64_t field, int band, double *work, float *map,
                      float *ivar)
{
    sq_status rc = SQ_OK;
    const sq_sim_mm_config *c = &sim->config;
    int64_t n = sq_flat_pixels(&sim->flat), modes = sq_flat_modes(&sim->flat);
    double *depth = NULL, *ell = NULL;
    double _Complex *noise = NULL;
    /* uK-arcmin to uK in a pixel. */
    double level = c->noise.value[band] * c->noise_factor, sigma = level / c->pixel;
    sq_rng rng;
    SQ_TRY(SQ_ALLOC(depth, n, "noise"));
    SQ_TRY(SQ_ALLOC(ell, modes, "noise"));
    SQ_TRY(SQ_ALLOC(noise, modes, "noise"));
    SQ_TRY(depth_field(sim, field, band, depth));
    sq_rng_init(&rng, (uint64_t)c->seed, MM_NOISE, mm_stream(field, band));
    for (int64_t i = 0; i < n; i++)
        work[i] = sigma * sq_rng_normal(&rng);
    sq_fft_forward(sim->fft, work, noise);
    sq_flat_ell(&sim->flat, ell);
    for (int64_t k = 0; k < modes; k++)
        noise[k] *=
            ell[k] > 0 ? sqrt(1 + pow(c->knee.value[band] / ell[k], c->slope.value[band])) : 0;
    sq_fft_backward(sim->fft, noise, work);
    for (int64_t i = 0; i < n; i++) {
        double s = sigma * depth[i];
        map[i] += (float)(work[i] * depth[i]);
        ivar[i] = s > 0 ? (float)(1 / (s * s)) : 0;
    }
cleanup:
    sq_free(depth);
    sq_free(ell);
    sq_free(noise);
    return rc;
}
