#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "sim/sim_internal.h"

/* Side of a sky cell, arcsec. */
static const double CELL = 60;

void sim_field(const sim_scene *scene, double x, double y, double *u, double *v)
{
    *u = (x - scene->field_x) / scene->field_half;
    *v = (y - scene->field_y) / scene->field_half;
}

void sim_scene_clear(sim_scene *scene)
{
    sq_free(scene->source);
    sq_free(scene->defect);
    memset(scene, 0, sizeof *scene);
}

/* Poisson numbers of stars and galaxies, uniform over a box of the scene's pixels. */
static sq_status draw_box(sim_scene *scene, sq_rng *rng, double x0, double y0, double x1, double y1,
                          double factor)
{
    double area = (x1 - x0) * (y1 - y0) * scene->scale * scene->scale * factor;
    for (int star = 0; star < 2; star++) {
        int64_t n = sq_rng_poisson(rng, area * sim_density(scene->config, star));
        sq_status rc = SQ_GROW(scene->source, scene->capacity, scene->count + n, "sources");
        if (rc != SQ_OK)
            return rc;
        for (int64_t i = 0; i < n; i++) {
            sq_sim_source *s = &scene->source[scene->count];
            memset(s, 0, sizeof *s);
            s->x = sq_rng_range(rng, x0, x1);
            s->y = sq_rng_range(rng, y0, y1);
            sim_draw_source(scene, rng, star, s);
            if (s->x < -scene->margin || s->y < -scene->margin || s->x > scene->nx + scene->margin ||
                s->y > scene->ny + scene->margin)
                continue;
            scene->count++;
        }
    }
    return SQ_OK;
}

sq_status sim_scene_sources(sim_scene *scene, double left, double bottom)
{
    double side = CELL / scene->scale, m = scene->margin;
    int64_t a = (int64_t)floor((left - m) / side), b = (int64_t)floor((left + scene->nx + m) / side);
    int64_t c = (int64_t)floor((bottom - m) / side);
    int64_t d = (int64_t)floor((bottom + scene->ny + m) / side);
    for (int64_t j = c; j <= d; j++) {
        for (int64_t i = a; i <= b; i++) {
            sq_rng rng;
            sq_rng_init(&rng, scene->seed, SIM_RNG_SOURCES,
                        (uint64_t)(uint32_t)j << 32 | (uint32_t)i);
            double x = i * side - left, y = j * side - bottom;
            sq_status rc = draw_box(scene, &rng, x, y, x + side, y + side, 1);
            if (rc != SQ_OK)
                return rc;
        }
    }
    return SQ_OK;
}

sq_status sim_scene_sample_sources(sim_scene *scene, sq_rng *rng, double factor)
{
    double m = scene->margin;
    return draw_box(scene, rng, -m, -m, scene->nx + m, scene->ny + m, factor);
}

static double sky_at(const sim_band *b, double u, double v)
{
    const double *s = b->slope;
    return b->sky * (1 + s[0] * u + s[1] * v + s[2] * u * u + s[3] * u * v + s[4] * v * v);
}

static void fill_psf(const sim_scene *scene, int64_t x0, int64_t y0, sq_cutout *c)
{
    enum { N = SQ_PSF_NODES, P = SQ_PSF_SIDE * SQ_PSF_SIDE };
    for (int b = 0; b < c->nband; b++) {
        for (int k = 0; k < N * N; k++) {
            double x = x0 + (double)(k % N) * (c->nx - 1) / (N - 1), u;
            double y = y0 + (double)(k / N) * (c->ny - 1) / (N - 1), v;
            sim_field(scene, x, y, &u, &v);
            sim_psf_stamp(&scene->band[b].psf, u, v, c->psf + ((int64_t)b * N * N + k) * P);
        }
    }
}

/* Sky, variance and noise of one row of a band on top of the noiseless sources in `image`. */
static void finish_row(const sim_scene *scene, const sim_band *band, int64_t x0, int64_t y, int nx,
                       const float *noise, float *image, float *variance, float *sky, float *sigma)
{
    float per_photon = (float)(1 / band->gain), read = (float)band->read_variance;
    float kept = (float)band->tap_variance, factor = (float)band->noise_factor;
    double u, v, s[3];
    /* The sky is quadratic along a row: three of its values give all. */
    for (int k = 0; k < 3; k++) {
        sim_field(scene, (double)k * 1024, (double)y, &u, &v);
        s[k] = sky_at(band, u, v);
    }
    double c0 = s[0], c2 = 0.5 * (s[2] - 2 * s[1] + s[0]), c1 = s[1] - s[0] - c2;
    for (int i = 0; i < nx; i++) {
        double t = (double)(x0 + i) / 1024;
        float level = (float)(c0 + t * (c1 + t * c2)), empty = level * per_photon + read;
        float full = empty + image[i] * per_photon;
        sky[i] = level;
        sigma[i] = sqrtf(empty * kept);
        variance[i] = full * kept;
        image[i] += factor * sqrtf(full) * noise[i];
    }
}

static void saturate(const sim_band *band, int64_t n, const float *sky, float *image, uint32_t *mask)
{
    float limit = (float)band->saturation;
    for (int64_t i = 0; i < n; i++) {
        if (image[i] + sky[i] > limit) {
            image[i] = limit - sky[i];
            mask[i] |= SQ_MASK_SATURATED;
        }
    }
}

/* The part of the cutout that lies outside the scene. */
static void mask_outside(const sim_scene *scene, int64_t x0, int64_t y0, sq_cutout *c)
{
    for (int64_t i = 0; i < (int64_t)c->nband * c->ny * c->nx; i++) {
        int64_t x = x0 + i % c->nx, y = y0 + i / c->nx % c->ny;
        if (x >= 0 && y >= 0 && x < scene->nx && y < scene->ny)
            continue;
        c->image[i] = c->sky[i] = 0;
        c->variance[i] = INFINITY;
        c->sky_sigma[i] = 0;
        c->mask[i] = SQ_MASK_OUTSIDE;
    }
}

static void render_band(const sim_scene *scene, int b, int64_t x0, int64_t y0, sq_cutout *c,
                        float *work, float *noise)
{
    const sim_band *band = &scene->band[b];
    int64_t plane = sq_cutout_plane(c, b), n = (int64_t)c->nx * c->ny;
    for (size_t i = 0; i < scene->count; i++)
        sim_add_source(scene, b, &scene->source[i], c->image + plane, x0, y0, c->nx, c->ny);
    sim_noise(scene, b, x0, y0, c->nx, c->ny, work, noise);
    for (int j = 0; j < c->ny; j++) {
        int64_t at = plane + (int64_t)j * c->nx;
        finish_row(scene, band, x0, y0 + j, c->nx, noise + (int64_t)j * c->nx, c->image + at,
                   c->variance + at, c->sky + at, c->sky_sigma + at);
    }
    if (scene->config->saturation)
        saturate(band, n, c->sky + plane, c->image + plane, c->mask + plane);
    c->gain[b] = band->gain;
    c->correlation[b][0] = band->correlation[0];
    c->correlation[b][1] = band->correlation[1];
    c->present[b] = 1;
}

sq_status sim_scene_render(const sim_scene *scene, int64_t x0, int64_t y0, sq_cutout *c)
{
    const char *const *names;
    float *work = NULL, *noise = NULL;
    sq_status rc = SQ_OK;
    int64_t n = (int64_t)c->nx * c->ny;
    if (c->nband != sq_sim_optical_bands(scene->config->preset, &names, NULL))
        return sq_fail(SQ_ERR_USAGE, "simulator: a cutout of %d bands was given, the preset has %d",
                       c->nband, scene->nband);
    SQ_TRY(SQ_ALLOC(work, 2 * (int64_t)(c->nx + SIM_TAPS) * (c->ny + SIM_TAPS), "noise"));
    SQ_TRY(SQ_ALLOC(noise, n, "noise"));
    memset(c->image, 0, (size_t)(n * c->nband) * sizeof *c->image);
    memset(c->mask, 0, (size_t)(n * c->nband) * sizeof *c->mask);
    c->x0 = x0;
    c->y0 = y0;
    c->scale = scene->scale;
    for (int b = 0; b < c->nband; b++) {
        memcpy(c->band[b], names[b], strlen(names[b]) + 1);
        render_band(scene, b, x0, y0, c, work, noise);
    }
    sim_apply_defects(scene, x0, y0, c);
    mask_outside(scene, x0, y0, c);
    fill_psf(scene, x0, y0, c);
cleanup:
    sq_free(work);
    sq_free(noise);
    return rc;
}
