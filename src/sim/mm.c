#include "sim/mm.h"

#include <complex.h>
#include <math.h>
#include <stddef.h>

#include "base/mem.h"
#include "sim/mm_internal.h"

#define AT(member) offsetof(sq_sim_mm_config, member)
#define REAL(member, low, high, doc)                                                               \
    {                                                                                              \
#member, SQ_CONFIG_REAL, AT(member), 0, low, high, NULL, NULL, doc                         \
    }

static const char *const gas_models[] = {"arnaud", "battaglia", NULL};

const sq_config_field sq_sim_mm_fields[] = {
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
    {0}};

void sq_sim_mm_defaults(sq_sim_mm_config *config)
{
    static double ghz[] = {95, 150, 220}, fwhm[] = {1.7, 1.2, 1.0}, noise[] = {2.8, 2.6, 6.6},
                  knee[] = {0, 0, 0}, slope[] = {3, 4, 4};
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
                                 .beams = true};
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
                 {"slope", c->slope.count}};
    if (n < 1 || n > SQ_MM_BANDS)
        return sq_fail(SQ_ERR_CONFIG, "ghz: %u frequencies, not 1 to %d", n, SQ_MM_BANDS);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        if (lists[i].count != n)
            return sq_fail(SQ_ERR_CONFIG, "%s: %u values for %u frequencies", lists[i].name,
                           lists[i].count, n);
    }
    if (c->side % 4)
        return sq_fail(SQ_ERR_CONFIG, "side: %lld is not a multiple of 4", (long long)c->side);
    return SQ_OK;
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

/* What is needed to put the bands together. */
typedef struct parts {
    double *y, *ksz, *work;
    double _Complex *mode[MM_PARTS], *sum;
} parts;

static void drop(parts *p)
{
    sq_free(p->y);
    sq_free(p->ksz);
    sq_free(p->work);
    sq_free(p->sum);
    for (int i = 0; i < MM_PARTS; i++)
        sq_free(p->mode[i]);
}

/* One band: everything of the sky, then the beam, then the noise. */
static sq_status make_band(sq_sim_mm *s, int64_t field, int band, parts *p, sq_mm_field *out)
{
    sq_status rc = SQ_OK;
    const sq_sim_mm_config *c = &s->config;
    int64_t n = sq_flat_pixels(&s->flat), modes = sq_flat_modes(&s->flat);
    double ghz = c->ghz.value[band], tcmb = sq_cosmology_of(s->cosmology)->tcmb;
    double per_y = 1e6 * tcmb * sq_sz_spectrum(ghz, tcmb), scale[MM_PARTS], *ell = NULL;
    double sigma = c->fwhm.value[band] * M_PI / 180 / 60 / sqrt(8 * log(2));
    SQ_TRY(SQ_ALLOC(out->map[band], n, "map"));
    SQ_TRY(SQ_ALLOC(out->ivar[band], n, "inverse variance"));
    SQ_TRY(SQ_ALLOC(ell, modes, "wave numbers"));
    for (int64_t i = 0; i < n; i++)
        p->work[i] = per_y * p->y[i] + p->ksz[i];
    sq_mm_paint_sources(s, out->source, out->nsource, band, p->work);
    sq_fft_forward(s->fft, p->work, p->sum);
    sq_flat_ell(&s->flat, ell);
    for (int i = 0; i < MM_PARTS; i++)
        scale[i] = sq_mm_part_scale(i, ghz);
    for (int64_t k = 0; k < modes; k++) {
        for (int i = 0; i < MM_PARTS; i++)
            p->sum[k] += scale[i] * p->mode[i][k];
        if (c->beams)
            p->sum[k] *= exp(-0.5 * ell[k] * (ell[k] + 1) * sigma * sigma);
    }
    sq_fft_backward(s->fft, p->sum, p->work);
    for (int64_t i = 0; i < n; i++)
        out->map[band][i] = (float)p->work[i];
    SQ_TRY(sq_mm_noise(s, field, band, p->work, out->map[band], out->ivar[band]));
cleanup:
    sq_free(ell);
    return rc;
}

sq_status sq_sim_mm_field(sq_sim_mm *s, int64_t field, sq_mm_field *out)
{
    sq_status rc = SQ_OK;
    parts p = {0};
    int64_t n = sq_flat_pixels(&s->flat), modes = sq_flat_modes(&s->flat);
    *out = (sq_mm_field){.nband = s->nband, .flat = s->flat};
    if (field < 0 || field >= s->config.fields)
        return sq_fail(SQ_ERR_USAGE, "mm simulator: field %lld of %lld", (long long)field,
                       (long long)s->config.fields);
    SQ_TRY(SQ_ALLOC(p.y, n, "map"));
    SQ_TRY(SQ_ALLOC(p.ksz, n, "map"));
    SQ_TRY(SQ_ALLOC(p.work, n, "map"));
    SQ_TRY(SQ_ALLOC(p.sum, modes, "modes"));
    for (int i = 0; i < MM_PARTS; i++)
        SQ_TRY(SQ_ALLOC(p.mode[i], modes, "modes"));
    SQ_TRY(sq_mm_draw_halos(s, field, &out->halo, &out->nhalo));
    SQ_TRY(sq_mm_paint_halos(s, field, out->halo, out->nhalo, p.y, p.ksz));
    SQ_TRY(sq_mm_draw_sources(s, field, out->halo, out->nhalo, &out->source, &out->nsource));
    SQ_TRY(sq_mm_diffuse(s, field, p.mode));
    for (int b = 0; b < s->nband; b++)
        SQ_TRY(make_band(s, field, b, &p, out));
cleanup:
    drop(&p);
    if (rc != SQ_OK)
        sq_mm_field_clear(out);
    return rc;
}
