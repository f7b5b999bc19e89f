#include "sim/mm.h"

#include <complex.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/mem.h"
#include "fourier/interpolate.h"
#include "sim/mm_internal.h"

#define AT(member) offsetof(sq_sim_mm_config, member)
#define REAL(member, low, high, doc)                                                               \
    {                                                                                              \
#member, SQ_CONFIG_REAL, AT(member), 0, low, high, NULL, NULL, doc                         \
    }

#define CHOICE(member, list, doc)                                                                  \
    {                                                                                              \
#member, SQ_CONFIG_CHOICE, AT(member), 0, 0, 0, list, NULL, doc                            \
    }

static const char *const presets[] = {"mm", "cmb", NULL},
                         *const gas_models[] = {"arnaud", "battaglia", NULL},
                         *const lensings[] = {"deflected", "gaussian", NULL},
                         *const projections[] = {"zea", "tan", "car", "cea", NULL},
                         *const weights[] = {"plane", "file", "hits", "none", NULL},
                         *const beam_formats[] = {"bl", "profile", NULL},
                         *const units[] = {"uK", "K", NULL};

const sq_config_field sq_sim_mm_fields[] = {
    CHOICE(preset, presets,
           "sets the defaults: mm, the sky of clusters, or cmb, polarised for lensing"),
    {"seed", SQ_CONFIG_INT, AT(seed), 0, 0, 9007199254740992.0, NULL, NULL,
     "of every random stream"},
    {"fields", SQ_CONFIG_INT, AT(fields), 0, 1, 1e6, NULL, NULL, "number of fields"},
    {"side", SQ_CONFIG_INT, AT(side), 0, 64, 8192, NULL, NULL,
     "side of a field in pixels, a multiple of 4"},
    REAL(pixel, 0.1, 10, "side of a pixel, arcmin"),
    {"ghz", SQ_CONFIG_REALS, AT(ghz), 0, 20, 900, NULL, NULL, "frequencies, GHz"},
    {"fwhm", SQ_CONFIG_REALS, AT(fwhm), 0, 0, 60, NULL, NULL, "of the beams, arcmin"},
    {"noise", SQ_CONFIG_REALS, AT(noise), 0, 0, 1e6, NULL, NULL, "white noise, uK-arcmin"},
    {"knee", SQ_CONFIG_REALS, AT(knee), 0, 0, 1e5, NULL, NULL,
     "multipole at which 1/f noise equals white noise; 0: none"},
    {"slope", SQ_CONFIG_REALS, AT(slope), 0, 0, 10, NULL, NULL, "of the 1/f noise power"},
    {"gas", SQ_CONFIG_CHOICE, AT(gas), 0, 0, 0, gas_models, NULL, "pressure profile"},
    REAL(mass_min, 1e12, 1e15, "least M200m of a halo, Msun"),
    REAL(z_max, 0.1, 6, "redshift to which halos are drawn"),
    REAL(scatter, 0, 1, "of ln Y at given mass and redshift"),
    REAL(ellipticity, 0, 0.4, "rms of each component of the projected shape"),
    REAL(substructure, 0, 1, "fraction of clusters with a second clump"),
    REAL(velocity, 0, 3000, "rms along the line of sight today, km/s; 0: no kSZ"),
    REAL(depth, 0, 1, "rms of ln noise over a field"),
    REAL(radio_min, 0.01, 100, "mJy at 150 GHz from which radio sources are drawn one by one"),
    REAL(radio_cluster, 0, 10, "factor on the radio sources in clusters"),
    REAL(tsz, 0, 10, "factor on the thermal SZ effect"),
    REAL(cmb, 0, 10, "factor on the CMB"),
    REAL(dust, 0, 10, "factor on dust"),
    REAL(radio, 0, 10, "factor on the flux of radio sources"),
    REAL(noise_factor, 0, 100, "factor on the noise"),
    {"beams", SQ_CONFIG_BOOL, AT(beams), 0, 0, 0, NULL, NULL, "convolve with the beams"},
    {"beam_files", SQ_CONFIG_TEXTS, AT(beam_files), 0, 0, 0, NULL, NULL,
     "a file of each band with rows \"l b_l\", or \"\" for a Gaussian beam"},
    {"window", SQ_CONFIG_BOOL, AT(window), 0, 0, 0, NULL, NULL,
     "convolve the sky with the square pixel, as maps of binned samples are"},
    CHOICE(lensing, lensings, "the CMB: a deflected realisation, or Gaussian of lensed power"),
    {"spectra", SQ_CONFIG_TEXT, AT(spectra), 0, 0, 0, NULL, NULL,
     "CAMB's lenspotentialCls of the CMB; \"\": the fiducial set"},
    REAL(amplitude, 0, 10, "lensing power over that of the spectra"),
    {"polarisation", SQ_CONFIG_BOOL, AT(polarisation), 0, 0, 0, NULL, NULL,
     "planes Q and U, with sqrt 2 times the noise, and the true kappa in field-NNN-kappa.fits"},
    {"polarisation_knee", SQ_CONFIG_REALS, AT(polarisation_knee), 0, 0, 1e5, NULL, NULL,
     "as knee, for Q and U"},
    REAL(source_polarisation, 0, 1, "rms polarised fraction of radio sources"),
    REAL(ra, 0, 360, "centre of field 0, degrees"),
    REAL(dec, -90, 90, "centre of field 0, degrees"),
    REAL(gap, 0, 90, "least distance between the circles around two fields, degrees"),
    CHOICE(projection, projections, "of the maps; north is up at a field's centre"),
    CHOICE(weights, weights, "ivar in the map's file, in a file of its own, as hits, or none"),
    CHOICE(beam_format, beam_formats, "of beam-BAND.txt: l and b_l, or arcmin and value"),
    CHOICE(unit, units, "of the maps"),
    REAL(catalogue, 0, 1e4, "mJy at 150 GHz above which sources.fits lists sources; 0: none"),
    {"splits", SQ_CONFIG_INT, AT(splits), 0, 1, 64, NULL, NULL,
     "maps of the same sky, each with noise of its own: field-NNN-BAND-splitK.fits"},
    REAL(holes, 0, 1000, "masked discs per square degree"),
    REAL(hole_radius, 0, 600,
         "arcmin, of these and of those at sources of the catalogue; 0: no field-NNN-mask.fits"),
    {0}};

void sq_sim_mm_defaults(sq_sim_mm_config *config)
{
    static double ghz[] = {95, 150, 220}, fwhm[] = {1.7, 1.2, 1.0}, noise[] = {2.8, 2.6, 6.6},
                  knee[] = {0, 0, 0}, slope[] = {3, 4, 4}, flat[] = {0, 0, 0};
    *config = (sq_sim_mm_config){.seed = 1,
                                 .fields = 1,
                                 .side = 1200,
                                 .pixel = 0.5,
                                 .ghz = {ghz, 3},
                                 .fwhm = {fwhm, 3},
                                 .noise = {noise, 3},
                                 .knee = {knee, 3},
                                 .slope = {slope, 3},
                                 .gas = SQ_GAS_ARNAUD,
                                 .mass_min = 1e13,
                                 .z_max = 3,
                                 .scatter = 0.2,
                                 .ellipticity = 0.1,
                                 .substructure = 0.2,
                                 .velocity = 300,
                                 .depth = 0.1,
                                 .radio_min = 1,
                                 .radio_cluster = 1,
                                 .tsz = 1,
                                 .cmb = 1,
                                 .dust = 1,
                                 .radio = 1,
                                 .noise_factor = 1,
                                 .beams = true,
                                 .ra = 60,
                                 .gap = 2,
                                 .lensing = SQ_MM_DEFLECTED,
                                 .spectra = "",
                                 .amplitude = 1,
                                 .polarisation_knee = {flat, 3},
                                 .source_polarisation = 0.03,
                                 .splits = 1};
}

void sq_sim_mm_lensing_defaults(sq_sim_mm_config *config)
{
    static double ghz = 150, fwhm = 1.4, noise = 6, knee = 0, slope = 3;
    sq_sim_mm_defaults(config);
    config->preset = SQ_MM_LENSING;
    config->pixel = 1;
    config->ghz = (sq_config_reals){&ghz, 1};
    config->fwhm = (sq_config_reals){&fwhm, 1};
    config->noise = (sq_config_reals){&noise, 1};
    config->knee = config->polarisation_knee = (sq_config_reals){&knee, 1};
    config->slope = (sq_config_reals){&slope, 1};
    config->tsz = config->dust = config->radio = config->velocity = 0;
    config->polarisation = true;
}

static sq_status check(const sq_sim_mm_config *c)
{
    unsigned n = c->ghz.count;
    const struct {
        const char *name;
        unsigned count;
    } lists[] = {{"fwhm", c->fwhm.count},
                 {"noise", c->noise.count},
                 {"knee", c->knee.count},
                 {"slope", c->slope.count},
                 {"polarisation_knee", c->polarisation ? c->polarisation_knee.count : n}};
    if (n < 1 || n > SQ_MM_BANDS)
        return sq_fail(SQ_ERR_CONFIG, "ghz: %u frequencies, not 1 to %d", n, SQ_MM_BANDS);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        if (lists[i].count != n)
            return sq_fail(SQ_ERR_CONFIG, "%s: %u values for %u frequencies", lists[i].name,
                           lists[i].count, n);
    }
    if (c->beam_files.count && c->beam_files.count != n)
        return sq_fail(SQ_ERR_CONFIG, "beam_files: %u files for %u frequencies",
                       c->beam_files.count, n);
    if (c->polarisation && (c->lensing != SQ_MM_DEFLECTED || c->cmb <= 0))
        return sq_fail(SQ_ERR_CONFIG, "polarisation: needs a CMB, and lensing: deflected");
    if (c->side % 4)
        return sq_fail(SQ_ERR_CONFIG, "side: %lld is not a multiple of 4", (long long)c->side);
    return SQ_OK;
}

/* Deflection on pixels of at most 1.2 arcmin, where the spline is exact enough (sim/cmb.h). */
static sq_status create_cmb(sq_sim_mm *s)
{
    const double fine = 1.2;
    int side = (int)s->config.side, ratio = (int)(fine / s->config.pixel + 1e-9);
    while (ratio > 1 && (side % ratio || side / ratio % 2))
        ratio--;
    int n = ratio >= 1 ? side / ratio : side * (int)ceil(s->config.pixel / fine);
    double pixel = side * s->flat.dx / n;
    s->work = (sq_flat){n, n, pixel, pixel};
    return sq_cmb_from_file(&s->work, &s->flat, s->config.spectra, &s->cmb);
}

sq_status sq_sim_mm_create(const sq_sim_mm_config *config, sq_sim_mm **out)
{
    sq_status rc = SQ_OK;
    sq_sim_mm *s = NULL;
    const double arcmin = M_PI / 180 / 60;
    sq_cosmology_parameters cosmology = sq_cosmology_sehgal();
    *out = NULL;
    SQ_TRY(check(config));
    SQ_TRY(SQ_ALLOC(s, 1, "mm simulator"));
    s->config = *config;
    s->nband = (int)config->ghz.count;
    int side = (int)config->side;
    s->flat = (sq_flat){side, side, config->pixel * arcmin, config->pixel * arcmin};
    s->coarse = (sq_flat){side / 4, side / 4, 4 * s->flat.dy, 4 * s->flat.dx};
    SQ_TRY(sq_cosmology_create(&cosmology, &s->cosmology));
    SQ_TRY(sq_fft_create(side, side, &s->fft));
    SQ_TRY(sq_fft_create(side / 4, side / 4, &s->small));
    SQ_TRY(sq_gas_arnaud(s->cosmology, 0.5, 1e14, &s->shape));
    if (config->cmb > 0 && config->lensing == SQ_MM_DEFLECTED)
        SQ_TRY(create_cmb(s));
    SQ_TRY(sq_mm_load_beams(s));
    SQ_TRY(sq_mm_place(s));
    *out = s;
    s = NULL;
cleanup:
    sq_sim_mm_destroy(s);
    return rc;
}

void sq_sim_mm_destroy(sq_sim_mm *s)
{
    if (!s)
        return;
    sq_cosmology_destroy(s->cosmology);
    sq_fft_destroy(s->fft);
    sq_fft_destroy(s->small);
    sq_cmb_destroy(s->cmb);
    for (int b = 0; b < s->nband; b++)
        sq_free(s->beam[b]);
    sq_free(s->centre);
    sq_free(s);
}

const sq_cosmology *sq_sim_mm_cosmology(const sq_sim_mm *s)
{
    return s->cosmology;
}

void sq_mm_field_clear(sq_mm_field *f)
{
    for (int b = 0; b < f->nband; b++) {
        sq_free(f->map[b]);
        sq_free(f->ivar[b]);
    }
    sq_free(f->halo);
    sq_free(f->source);
    *f = (sq_mm_field){0};
}

/* ---- a field ---- */

void sq_mm_sky_clear(mm_sky *sky)
{
    for (int i = 0; i < MM_PARTS; i++)
        sq_free(sky->mode[i]);
    double _Complex *const own[] = {sky->sum, sky->q, sky->u, sky->kappa};
    for (int i = 0; i < 4; i++)
        sq_free(own[i]);
    sq_free(sky->work);
}

/* Modes of a painted map, whose pixels are averages over the pixel: the window is divided out when
 * a beam follows that makes the map smooth. */
static sq_status painted(sq_sim_mm *s, const double *map, double _Complex **modes)
{
    sq_status rc = SQ_ALLOC(*modes, sq_flat_modes(&s->flat), "modes");
    if (rc == SQ_OK) {
        sq_fft_forward(s->fft, map, *modes);
        if (s->resolved)
            sq_filter_pixel(&s->flat, -1, *modes);
    }
    return rc;
}

sq_status sq_mm_truth(sq_sim_mm *s, int64_t field, double *y, double *ksz, sq_mm_field *out)
{
    sq_status rc = SQ_OK;
    const sq_sim_mm_config *c = &s->config;
    *out = (sq_mm_field){.nband = s->nband, .flat = s->flat};
    if (field < 0 || field >= s->config.fields)
        return sq_fail(SQ_ERR_USAGE, "mm simulator: field %lld of %lld", (long long)field,
                       (long long)s->config.fields);
    if (c->preset == SQ_MM_LENSING && c->tsz <= 0 && c->velocity <= 0 && c->radio <= 0)
        return SQ_OK;
    SQ_TRY(sq_mm_draw_halos(s, field, &out->halo, &out->nhalo));
    SQ_TRY(sq_mm_paint_halos(s, field, out->halo, out->nhalo, y, ksz));
    SQ_TRY(sq_mm_draw_sources(s, field, out->halo, out->nhalo, &out->source, &out->nsource));
cleanup:
    return rc;
}

sq_status sq_mm_sky(sq_sim_mm *s, int64_t field, mm_sky *sky, sq_mm_field *out)
{
    sq_status rc = SQ_OK;
    double *ksz = NULL;
    int64_t n = sq_flat_pixels(&s->flat), modes = sq_flat_modes(&s->flat);
    *sky = (mm_sky){.work = NULL};
    *out = (sq_mm_field){.nband = 0};
    SQ_TRY(SQ_ALLOC(sky->work, n, "map"));
    SQ_TRY(SQ_ALLOC(ksz, n, "map"));
    SQ_TRY(SQ_ALLOC(sky->sum, modes, "modes"));
    SQ_TRY(sq_mm_truth(s, field, sky->work, ksz, out));
    SQ_TRY(painted(s, sky->work, &sky->mode[MM_PART_TSZ]));
    SQ_TRY(painted(s, ksz, &sky->mode[MM_PART_KSZ]));
    sq_free(ksz);
    ksz = NULL;
    SQ_TRY(sq_mm_diffuse(s, field, sky));
cleanup:
    sq_free(ksz);
    return rc;
}

/* The parts of the sky that are only seen in I. */
static void add_parts(sq_sim_mm *s, int band, mm_sky *sky)
{
    double ghz = s->config.ghz.value[band], tcmb = sq_cosmology_of(s->cosmology)->tcmb;
    double scale[MM_PARTS];
    for (int i = 0; i < MM_PARTS; i++)
        scale[i] =
            i == MM_PART_TSZ ? 1e6 * tcmb * sq_sz_spectrum(ghz, tcmb) : sq_mm_part_scale(i, ghz);
    for (int i = 0; i < MM_PARTS; i++) {
        for (int64_t k = 0; k < sq_flat_modes(&s->flat) && sky->mode[i]; k++)
            sky->sum[k] += scale[i] * sky->mode[i][k];
    }
}

/* Everything of the sky in sky->sum, then beam and window. */
void sq_mm_band(sq_sim_mm *s, int64_t field, int band, int stokes, const sq_mm_field *truth,
                mm_sky *sky)
{
    const double _Complex *polarised = stokes == MM_Q ? sky->q : sky->u;
    int64_t n = sq_flat_pixels(&s->flat), modes = sq_flat_modes(&s->flat);
    memset(sky->work, 0, (size_t)n * sizeof *sky->work);
    sq_mm_paint_sources(s, field, truth->source, truth->nsource, band, stokes, sky->work);
    sq_fft_forward(s->fft, sky->work, sky->sum);
    if (s->resolved)
        sq_filter_pixel(&s->flat, -6, sky->sum);
    if (stokes == MM_I)
        add_parts(s, band, sky);
    for (int64_t k = 0; stokes != MM_I && k < modes; k++)
        sky->sum[k] += polarised[k];
    if (s->beam[band])
        sq_filter_table(&s->flat, s->beam[band], s->lmax, sky->sum);
    if (s->config.window && s->resolved)
        sq_filter_pixel(&s->flat, 1, sky->sum);
}

/* A band with its noise on the field's own grid: out->map[band] and ivar[band], allocated. */
static sq_status make_band(sq_sim_mm *s, int64_t field, int band, mm_sky *sky, sq_mm_field *out)
{
    sq_status rc = SQ_OK;
    int64_t n = sq_flat_pixels(&s->flat);
    mm_noise noise = {.depth = NULL};
    sq_mm_band(s, field, band, MM_I, out, sky);
    sq_fft_backward(s->fft, sky->sum, sky->work);
    SQ_TRY(sq_mm_noise(s, field, band, MM_I, 0, &noise));
    for (int64_t i = 0; i < n; i++) {
        double sigma = noise.level / s->config.pixel * noise.depth[i];
        double excess = noise.excess ? noise.excess[i] * noise.depth[i] : 0;
        out->map[band][i] = (float)(sky->work[i] + excess + sigma * sq_rng_normal(&noise.rng));
        out->ivar[band][i] = sigma > 0 ? (float)(1 / (sigma * sigma)) : 0;
    }
cleanup:
    sq_mm_noise_clear(&noise);
    return rc;
}

sq_status sq_sim_mm_field(sq_sim_mm *s, int64_t field, sq_mm_field *out)
{
    sq_status rc = SQ_OK;
    mm_sky sky;
    SQ_TRY(sq_mm_sky(s, field, &sky, out));
    for (int b = 0; b < s->nband; b++) {
        SQ_TRY(SQ_ALLOC(out->map[b], sq_flat_pixels(&s->flat), "map"));
        SQ_TRY(SQ_ALLOC(out->ivar[b], sq_flat_pixels(&s->flat), "inverse variance"));
        SQ_TRY(make_band(s, field, b, &sky, out));
    }
cleanup:
    sq_mm_sky_clear(&sky);
    if (rc != SQ_OK)
        sq_mm_field_clear(out);
    return rc;
}
