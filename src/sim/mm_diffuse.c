#include <complex.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "fourier/interpolate.h"
#include "sim/mm_internal.h"
#include "sim/spectra.h"

enum { LMAX = 40000 };
/* D_3000 in uK^2 at 150 GHz, George et al. 2015, table 3; ratios to 95 and 220 GHz give the
 * spectra. Of their kSZ, 2.96, the halos above 1e13 Msun have 1.18 as they are painted here. */
static const double POISSON = 9.42, CLUSTERED = 3.37, DIFFUSE_KSZ = 1.78;
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
    static const double *const at[MM_PARTS] = {[MM_PART_CLUSTERED] = CLUSTERED_AT,
                                               [MM_PART_POISSON] = POISSON_AT,
                                               [MM_PART_RADIO] = RADIO_AT};
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
    /* A cluster of 3e14 Msun has on average 0.1 sources above 1 mJy, in proportion to mass: an
     * excess of several over the field, as counts toward clusters show (Gupta et al. 2017, MNRAS
     * 467, 3737). The counts are of all sources: those in halos are missing in the field. */
    double share = 0.1 * pow(low, -0.92) * sim->config.radio_cluster, inside = 0;
    for (int64_t i = 0; i < nhalo; i++)
        inside += share * halo[i].m500 / 3e14;
    int64_t n = sq_rng_poisson(&rng, fmax(0, density * sq_flat_area(&sim->flat) - inside));
    for (int64_t i = 0; i < n; i++) {
        sq_mm_source s = {.x = sq_rng_uniform(&rng) * sim->flat.nx - 0.5,
                          .y = sq_rng_uniform(&rng) * sim->flat.ny - 0.5,
                          .flux = draw_flux(&rng, low, high, cumulative),
                          .alpha = -0.5 + 0.3 * sq_rng_normal(&rng)};
        SQ_TRY(add_source(source, &capacity, count, &s));
    }
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

/* Bilinear: to the four pixels around. */
static void spread(const sq_flat *flat, double x, double y, double value, double *map)
{
    int64_t nx = flat->nx, ny = flat->ny, x0 = (int64_t)floor(x), y0 = (int64_t)floor(y);
    double u = x - (double)x0, v = y - (double)y0;
    for (int k = 0; k < 4; k++) {
        int64_t i = (x0 + k % 2 + nx) % nx, j = (y0 + k / 2 + ny) % ny;
        map[j * nx + i] += value * (k / 2 ? v : 1 - v) * (k % 2 ? u : 1 - u);
    }
}

/* The next source's share of its flux in I, Q or U: the fraction Gaussian, the angle anything. */
static double stokes_share(const sq_sim_mm *sim, sq_rng *rng, int stokes)
{
    double fraction = sim->config.source_polarisation * sq_rng_normal(rng);
    double angle = M_PI * sq_rng_uniform(rng);
    return stokes == MM_I ? 1 : fraction * (stokes == MM_Q ? cos(2 * angle) : sin(2 * angle));
}

void sq_mm_paint_sources(const sq_sim_mm *sim, int64_t field, const sq_mm_source *source,
                         int64_t count, int band, int stokes, double *map)
{
    double ghz = sim->config.ghz.value[band], pixel = sim->flat.dx * sim->flat.dy;
    double kelvin = sq_mm_kelvin_per_jansky(ghz, sq_cosmology_of(sim->cosmology)->tcmb);
    sq_rng rng;
    sq_rng_init(&rng, (uint64_t)sim->config.seed, MM_POLARISATION, (uint64_t)field);
    for (int64_t i = 0; i < count; i++) {
        const sq_mm_source *s = &source[i];
        double t =
            1e6 * kelvin * s->flux * 1e-3 * pow(ghz / 150, s->alpha) / pixel * sim->config.radio;
        t *= stokes_share(sim, &rng, stokes);
        if (sim->resolved)
            sq_spline_deposit(&sim->flat, s->x, s->y, t, map);
        else
            spread(&sim->flat, s->x, s->y, t, map);
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

/* A Gaussian part; nothing without power. */
static sq_status part(sq_sim_mm *sim, int64_t field, int number, double factor, const double *cl,
                      double _Complex *modes[MM_PARTS])
{
    sq_status rc = SQ_OK;
    if (factor <= 0)
        return SQ_OK;
    SQ_TRY(SQ_ALLOC(modes[number], sq_flat_modes(&sim->flat), "modes"));
    SQ_TRY(draw(sim, field, number, cl, modes[number]));
cleanup:
    return rc;
}

/* Add a deflected realisation of the CMB. */
static sq_status add_lensed(sq_sim_mm *sim, int64_t field, mm_sky *sky)
{
    sq_status rc = SQ_OK;
    const sq_sim_mm_config *c = &sim->config;
    double _Complex *wide[SQ_CMB_FIELDS] = {NULL}, *lensed = NULL;
    int64_t n = sq_flat_modes(&sim->flat);
    sq_rng rng;
    for (int i = 0; i < SQ_CMB_FIELDS; i++) {
        if (i != SQ_CMB_E || c->polarisation)
            SQ_TRY(SQ_ALLOC(wide[i], sq_flat_modes(&sim->work), "CMB"));
    }
    double _Complex **out[] = {&lensed, &sky->q, &sky->u, &sky->kappa};
    for (int i = 0; i < (c->polarisation ? 4 : 1); i++)
        SQ_TRY(SQ_ALLOC(*out[i], n, "CMB"));
    sq_rng_init(&rng, (uint64_t)c->seed, MM_CMB, (uint64_t)field);
    SQ_TRY(sq_cmb_draw(sim->cmb, &rng, wide));
    SQ_TRY(sq_cmb_lens(sim->cmb, c->amplitude, wide[SQ_CMB_PHI], wide[SQ_CMB_T], wide[SQ_CMB_E],
                       NULL, lensed, sky->q, sky->u));
    for (int64_t k = 0; k < n; k++) {
        sky->mode[MM_PART_CMB][k] += c->cmb * lensed[k];
        if (c->polarisation) {
            sky->q[k] *= c->cmb;
            sky->u[k] *= c->cmb;
        }
    }
    if (c->polarisation)
        sq_cmb_kappa(sim->cmb, c->amplitude, wide[SQ_CMB_PHI], sky->kappa);
cleanup:
    for (int i = 0; i < SQ_CMB_FIELDS; i++)
        sq_free(wide[i]);
    sq_free(lensed);
    return rc;
}

sq_status sq_mm_diffuse(sq_sim_mm *sim, int64_t field, mm_sky *sky)
{
    sq_status rc = SQ_OK;
    double _Complex **modes = sky->mode;
    const sq_sim_mm_config *c = &sim->config;
    double *cl = NULL, *ksz = NULL;
    SQ_TRY(SQ_ALLOC(cl, LMAX + 1, "spectrum"));
    SQ_TRY(SQ_ALLOC(ksz, LMAX + 1, "spectrum"));
    SQ_TRY(sq_fiducial_spectrum(SQ_LENSED_TT, LMAX, cl));
    power_law(c->velocity > 0 ? DIFFUSE_KSZ : 0, 0, ksz);
    for (int l = 0; l <= LMAX; l++)
        cl[l] = c->cmb * c->cmb * ((sim->cmb ? 0 : cl[l]) + ksz[l]);
    SQ_TRY(part(sim, field, MM_PART_CMB, c->cmb, cl, modes));
    if (sim->cmb)
        SQ_TRY(add_lensed(sim, field, sky));
    power_law(c->dust * c->dust * CLUSTERED, 0.8, cl);
    SQ_TRY(part(sim, field, MM_PART_CLUSTERED, c->dust, cl, modes));
    power_law(c->dust * c->dust * POISSON, 2, cl);
    SQ_TRY(part(sim, field, MM_PART_POISSON, c->dust, cl, modes));
    power_law(c->radio * c->radio * faint_radio(c->radio_min), 2, cl);
    SQ_TRY(part(sim, field, MM_PART_RADIO, c->radio, cl, modes));
cleanup:
    sq_free(cl);
    sq_free(ksz);
    return rc;
}
