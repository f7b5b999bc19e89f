#include <math.h>
#include <string.h>

#include "sim/sim_internal.h"
#include "sim/sdss_conditions_table.inc.h"

enum { SDSS_BANDS = 5, SDSS_VALUES = 10 };

/* AB nanomaggies to nJy. */
static const double NJY_PER_NMGY = 3630.7805477010137;

static double clamp(double x, double low, double high)
{
    return fmin(high, fmax(low, x));
}

/* PSF, sky and detector of the five bands together from the distribution fitted to real fields. */
static void draw_sdss(sim_scene *scene, sq_rng *rng)
{
    enum { N = SDSS_BANDS * SDSS_VALUES };
    const sq_sim_optical_config *c = scene->config;
    double z[N], x[N];
    for (int i = 0; i < N; i++)
        z[i] = c->spread * sq_rng_normal(rng);
    const float *row = conditions_factor;
    for (int i = 0; i < N; i++) {
        x[i] = conditions_mean[i];
        for (int j = 0; j <= i; j++)
            x[i] += row[j] * z[j];
        row += i + 1;
    }
    for (int b = 0; b < SDSS_BANDS; b++) {
        sim_band *band = &scene->band[b];
        const double *v = x + b * SDSS_VALUES;
        double sigma1 = c->seeing * clamp(exp(v[0]), 0.75, 2.8);
        double sigma2 = sigma1 * clamp(exp(v[1]), 1.2, 4);
        int wing = sq_rng_uniform(rng) < conditions_wing[b];
        sim_psf_sdss(&band->psf, sigma1, sigma2, clamp(exp(v[2]), 0.003, 0.5),
                     wing ? clamp(exp(v[3]), 2e-4, 0.02) : 0, 2 + clamp(exp(v[4]), 0.15, 4),
                     c->seeing * clamp(exp(v[5]), 1, 7));
        double unit = exp(v[7]) * NJY_PER_NMGY; /* nJy per DN */
        double gain = clamp(exp(v[8]), 1, 8), dark = clamp(exp(v[9]), 0.3, 25);
        band->sky = c->sky_factor * exp(v[6]) * NJY_PER_NMGY * c->scale * c->scale;
        band->gain = gain / unit;
        band->read_variance = dark * unit * unit;
        band->saturation = sq_rng_range(rng, 45000, 64000) * unit;
    }
}

/* Medians of the LSST site and the ten-year coadded depths (5 sigma, point source). */
static const double lsst_fwhm[6] = {0.92, 0.87, 0.83, 0.80, 0.78, 0.76};
static const double lsst_depth[6] = {26.1, 27.4, 27.5, 26.8, 26.1, 24.9};
static const double lsst_sky[6] = {22.95, 22.24, 21.20, 20.47, 19.60, 18.63}; /* AB per arcsec^2 */

static void draw_lsst(sim_scene *scene, sq_rng *rng)
{
    const sq_sim_optical_config *c = scene->config;
    double common = 0.06 * sq_rng_normal(rng);
    double beta = clamp(3.2 + 0.4 * c->spread * sq_rng_normal(rng), 2.4, 4.8);
    for (int b = 0; b < scene->nband; b++) {
        sim_band *band = &scene->band[b];
        double wide = exp(c->spread * (common + 0.04 * sq_rng_normal(rng)));
        double depth =
            lsst_depth[b] + 1.25 * log10(scene->years / 10) + 0.1 * c->spread * sq_rng_normal(rng);
        sim_psf_moffat(&band->psf, c->seeing * wide * lsst_fwhm[b] / c->scale, beta);
        double sigma = sim_flux(depth) / 5 / sqrt(sim_psf_area(&band->psf));
        band->sky = c->sky_factor * sim_flux(lsst_sky[b]) * c->scale * c->scale *
                    exp(0.1 * c->spread * sq_rng_normal(rng));
        band->read_variance = 0.02 * sigma * sigma;
        band->gain = band->sky / (0.98 * sigma * sigma);
        /* A star of about r = 16 fills the pixel in one exposure. */
        band->saturation = 1.5e6 * c->scale * c->scale * exp(0.2 * sq_rng_normal(rng));
    }
}

/* Taps of the Lanczos-3 kernel for a sub-pixel shift, unit sum. */
static void lanczos_taps(double shift, double *tap)
{
    double sum = 0;
    for (int k = 0; k < SIM_TAPS; k++) {
        double t = k - SIM_TAPS / 2 - shift, a = M_PI * t;
        tap[k] = fabs(t) >= 3 ? 0 : fabs(t) < 1e-9 ? 1 : 3 * sin(a) * sin(a / 3) / (a * a);
        sum += tap[k];
    }
    for (int k = 0; k < SIM_TAPS; k++)
        tap[k] /= sum;
}

/* Variance and neighbours' correlation that a kernel leaves of white noise. */
static double tap_power(const double *tap, double *correlation)
{
    double power = 0, next = 0;
    for (int k = 0; k < SIM_TAPS; k++) {
        power += tap[k] * tap[k];
        next += k ? tap[k] * tap[k - 1] : 0;
    }
    *correlation = next / power;
    return power;
}

static void draw_kernel(sim_scene *scene, int b, int reference, sq_rng *rng)
{
    const sq_sim_optical_config *c = scene->config;
    sim_band *band = &scene->band[b];
    double fx = sq_rng_range(rng, -0.5, 0.5), fy = sq_rng_range(rng, -0.5, 0.5);
    band->white = 1;
    band->tap_variance = 1;
    if (c->resampled && b != reference) {
        lanczos_taps(fx, band->tap_x);
        lanczos_taps(fy, band->tap_y);
        band->white = 0;
        band->tap_variance = tap_power(band->tap_x, &band->correlation[0]) *
                             tap_power(band->tap_y, &band->correlation[1]);
    } else if (c->correlation > 0) {
        /* Taps (a, 1, a): neighbours correlate as 2a / (1 + 2a^2); unit variance. */
        double a = (1 - sqrt(1 - 2 * c->correlation * c->correlation)) / (2 * c->correlation);
        double norm = 1 / sqrt(1 + 2 * a * a);
        for (int k = 0; k < SIM_TAPS; k++)
            band->tap_x[k] = band->tap_y[k] = 0;
        for (int k = -1; k <= 1; k++)
            band->tap_x[SIM_TAPS / 2 + k] = band->tap_y[SIM_TAPS / 2 + k] = k ? a * norm : norm;
        band->white = 0;
        band->correlation[0] = band->correlation[1] = c->correlation;
    }
}

void sim_draw_conditions(sim_scene *scene, sq_rng *rng)
{
    const sq_sim_optical_config *c = scene->config;
    int reference;
    sq_sim_optical_bands(c->preset, NULL, &reference);
    if (c->preset == SQ_SIM_SDSS)
        draw_sdss(scene, rng);
    else
        draw_lsst(scene, rng);
    for (int b = 0; b < scene->nband; b++) {
        sim_band *band = &scene->band[b];
        for (int i = 0; i < 2; i++) {
            band->psf.e[i][0] = clamp(c->psf_ellipticity * sq_rng_normal(rng), -0.2, 0.2);
            for (int k = 1; k < 3; k++)
                band->psf.e[i][k] = clamp(0.5 * c->psf_gradient * sq_rng_normal(rng), -0.1, 0.1);
        }
        for (int k = 0; k < 5; k++) {
            band->psf.size[k] = clamp(c->psf_gradient * sq_rng_normal(rng), -0.1, 0.1);
            band->slope[k] = clamp(c->sky_gradient * sq_rng_normal(rng), -0.15, 0.15);
        }
        double sigma = sqrt(band->sky / band->gain + band->read_variance);
        for (int k = 0; k < 3; k++)
            band->residual[k] = c->sky_residual * sigma * (k ? 0.5 : 1) * sq_rng_normal(rng);
        band->noise_factor = exp(c->noise_mismatch * sq_rng_normal(rng));
        draw_kernel(scene, b, reference, rng);
        band->cut = 0.003 * sigma;
    }
}
