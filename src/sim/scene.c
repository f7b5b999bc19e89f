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
            if (s->x < -scene->margin || s->y < -scene->margin ||
                s->x > scene->nx + scene->margin || s->y > scene->ny + scene->margin)
                continue;
            scene->count++;
        }
    }
    return SQ_OK;
}

sq_status sim_scene_sources(sim_scene *scene, double left, double bottom)
{
    double side = CELL / scene->scale, m = scene->margin;
    int64_t a = (int64_t)floor((left - m) / side),
            b = (int64_t)floor((left + scene->nx + m) / side);
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

double sim_sky_at(const sim_scene *scene, int band, double x, double y)
{
    double u, v;
    sim_field(scene, x, y, &u, &v);
    return sky_at(&scene->band[band], u, v);
}

/* Sky, variance and noise of row j on top of the noiseless sources in its image. */
static void finish_row(const sim_scene *scene, const sim_band *band, const sim_planes *p, int j,
                       const float *noise)
{
    int64_t at = (int64_t)j * p->nx;
    float *restrict image = p->image + at, *restrict variance = p->variance + at;
    float *restrict sky = p->sky + at, *restrict sigma = p->sigma + at;
    float per_photon = (float)(1 / band->gain), read = (float)band->read_variance;
    float kept = (float)band->tap_variance, factor = (float)band->noise_factor;
    double u, v, s[3];
    /* The sky is quadratic along a row: three of its values give all. */
    for (int k = 0; k < 3; k++) {
        sim_field(scene, (double)k * 1024, (double)(p->y0 + j), &u, &v);
        s[k] = sky_at(band, u, v);
    }
    double c0 = s[0], c2 = 0.5 * (s[2] - 2 * s[1] + s[0]), c1 = s[1] - s[0] - c2;
    sim_field(scene, 0, (double)(p->y0 + j), &u, &v);
    double left = band->residual[0] + band->residual[1] * u + band->residual[2] * v;
    double right = band->residual[1] * 1024 / scene->field_half;
    for (int i = 0; i < p->nx; i++) {
        double t = (double)(p->x0 + i) / 1024;
        float level = (float)(c0 + t * (c1 + t * c2)), empty = level * per_photon + read;
        float full = empty + image[i] * per_photon;
        sky[i] = level;
        sigma[i] = sqrtf(empty * kept);
        variance[i] = full * kept;
        /* Photons make skewed noise: the first Cornish-Fisher term with Poisson's third moment. */
        float z = noise[at + i], skew = (1 - read / full) * per_photon * (1.0f / 6);
        image[i] += factor * (sqrtf(full) * z + skew * (z * z - 1)) + (float)(left + t * right);
    }
}

static void saturate(const sim_band *band, const sim_planes *p)
{
    float limit = (float)band->saturation;
    for (int64_t i = 0; i < (int64_t)p->nx * p->ny; i++) {
        if (p->image[i] + p->sky[i] > limit) {
            p->image[i] = limit - p->sky[i];
            p->mask[i] |= SQ_MASK_SATURATED;
        }
    }
}

/* The part of the box that lies outside the scene. */
static void mask_outside(const sim_scene *scene, const sim_planes *p)
{
    for (int64_t i = 0; i < (int64_t)p->ny * p->nx; i++) {
        int64_t x = p->x0 + i % p->nx, y = p->y0 + i / p->nx;
        if (x >= 0 && y >= 0 && x < scene->nx && y < scene->ny)
            continue;
        p->image[i] = p->sky[i] = p->sigma[i] = 0;
        p->variance[i] = INFINITY;
        p->mask[i] = SQ_MASK_OUTSIDE;
    }
}

size_t sim_work_size(int nx, int ny)
{
    return 3 * (size_t)(nx + SIM_TAPS) * (size_t)(ny + SIM_TAPS);
}

void sim_render_band(const sim_scene *scene, int b, const sim_planes *p, float *work)
{
    const sim_band *band = &scene->band[b];
    size_t n = (size_t)p->nx * (size_t)p->ny;
    float *noise = work + 2 * (size_t)(p->nx + SIM_TAPS) * (size_t)(p->ny + SIM_TAPS);
    memset(p->image, 0, n * sizeof *p->image);
    memset(p->mask, 0, n * sizeof *p->mask);
    for (size_t i = 0; i < scene->count; i++)
        sim_add_source(scene, b, &scene->source[i], p->image, p->x0, p->y0, p->nx, p->ny);
    sim_noise(scene, b, p->x0, p->y0, p->nx, p->ny, work, noise);
    for (int j = 0; j < p->ny; j++)
        finish_row(scene, band, p, j, noise);
    if (scene->config->saturation)
        saturate(band, p);
    sim_apply_defects(scene, b, p);
    if (p->x0 < 0 || p->y0 < 0 || p->x0 + p->nx > scene->nx || p->y0 + p->ny > scene->ny)
        mask_outside(scene, p);
}

sq_status sim_scene_render(const sim_scene *scene, int64_t x0, int64_t y0, sq_cutout *c)
{
    const char *const *names;
    float *work = NULL;
    sq_status rc = SQ_OK;
    if (c->nband != sq_sim_optical_bands(scene->config->preset, &names, NULL))
        return sq_fail(SQ_ERR_USAGE, "simulator: a cutout of %d bands was given, the preset has %d",
                       c->nband, scene->nband);
    SQ_TRY(SQ_ALLOC(work, sim_work_size(c->nx, c->ny), "simulator"));
    c->x0 = x0;
    c->y0 = y0;
    c->scale = scene->scale;
    for (int b = 0; b < c->nband; b++) {
        const sim_band *band = &scene->band[b];
        int64_t at = sq_cutout_plane(c, b);
        sim_planes p = {x0,
                        y0,
                        c->nx,
                        c->ny,
                        c->image + at,
                        c->variance + at,
                        c->sky + at,
                        c->sky_sigma + at,
                        c->mask + at};
        sim_render_band(scene, b, &p, work);
        memcpy(c->band[b], names[b], strlen(names[b]) + 1);
        c->gain[b] = band->gain;
        c->correlation[b][0] = band->correlation[0];
        c->correlation[b][1] = band->correlation[1];
        c->present[b] = 1;
    }
    fill_psf(scene, x0, y0, c);
cleanup:
    sq_free(work);
    return rc;
}
