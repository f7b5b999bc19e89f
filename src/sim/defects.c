#include <math.h>

#include "base/mem.h"
#include "sim/sim_internal.h"

static sq_status add(sim_scene *scene, const sim_defect *d)
{
    sq_status rc = SQ_GROW(scene->defect, scene->defect_capacity, scene->defects + 1, "defects");
    if (rc == SQ_OK)
        scene->defect[scene->defects++] = *d;
    return rc;
}

static sq_status draw_columns(sim_scene *scene, int band, double area, sq_rng *rng)
{
    int64_t n = sq_rng_poisson(rng, scene->config->bad_columns * area);
    sq_status rc = SQ_OK;
    for (int64_t i = 0; i < n && rc == SQ_OK; i++) {
        sim_defect d = {.kind = SIM_BAD_COLUMN, .band = band, .masked = 1};
        d.x = floor(sq_rng_range(rng, 0, (double)scene->nx));
        d.y = floor(sq_rng_range(rng, -0.3, 0.7) * (double)scene->ny);
        d.dy = ceil(sq_rng_range(rng, 0.3, 1.3) * (double)scene->ny);
        rc = add(scene, &d);
    }
    return rc;
}

static sq_status draw_cosmics(sim_scene *scene, int band, double area, sq_rng *rng)
{
    const sq_sim_optical_config *c = scene->config;
    int64_t n = sq_rng_poisson(rng, c->cosmics * area);
    sq_status rc = SQ_OK;
    for (int64_t i = 0; i < n && rc == SQ_OK; i++) {
        sim_defect d = {.kind = SIM_COSMIC, .band = band};
        double angle = sq_rng_range(rng, 0, 2 * M_PI), length = 1 - 5 * log(sq_rng_uniform(rng));
        d.x = sq_rng_range(rng, -0.5, (double)scene->nx - 0.5);
        d.y = sq_rng_range(rng, -0.5, (double)scene->ny - 0.5);
        d.dx = length * cos(angle);
        d.dy = length * sin(angle);
        /* Electrons per pixel of track: a broad spectrum, in nJy. */
        d.amount = exp(sq_rng_range(rng, log(100), log(8000))) / scene->band[band].gain;
        d.masked = sq_rng_uniform(rng) > c->cosmics_unmasked;
        rc = add(scene, &d);
    }
    return rc;
}

/* Charge above saturation runs along the column, and the neighbourhood is marked. */
static sq_status bleed(sim_scene *scene, int band, const sq_sim_source *s)
{
    const sim_band *b = &scene->band[band];
    double peak = 0;
    for (int k = 0; k < b->psf.count; k++)
        peak += b->psf.flux[k] / (2 * M_PI * b->psf.variance[k]);
    if (!s->star || s->flux[band] * peak < 1.5 * b->saturation)
        return SQ_OK;
    double excess = s->flux[band] * peak / b->saturation - 1;
    double length = fmin(scene->margin, 3 * sqrt(excess) + 0.15 * excess);
    sim_defect d = {.kind = SIM_BLEED,
                    .band = band,
                    .masked = 1,
                    .x = s->x,
                    .y = s->y - length,
                    .dx = fmin(3, 0.5 + 0.3 * log(1 + excess)),
                    .dy = 2 * length};
    sq_status rc = add(scene, &d);
    d = (sim_defect){.kind = SIM_HALO,
                     .band = band,
                     .masked = 1,
                     .x = s->x,
                     .y = s->y,
                     .amount = fmin(scene->margin, 4 * sqrt(excess + 1) + 2)};
    return rc == SQ_OK ? add(scene, &d) : rc;
}

sq_status sim_draw_defects(sim_scene *scene, sq_rng *rng)
{
    double area = (double)scene->nx * (double)scene->ny / 1e6;
    sq_status rc = SQ_OK;
    for (int b = 0; b < scene->nband && rc == SQ_OK; b++) {
        rc = draw_columns(scene, b, area, rng);
        if (rc == SQ_OK)
            rc = draw_cosmics(scene, b, area, rng);
        for (size_t i = 0; scene->config->bleed && i < scene->count && rc == SQ_OK; i++)
            rc = bleed(scene, b, &scene->source[i]);
    }
    return rc;
}

/* Index of a pixel of the scene in a plane, or -1. */
static int64_t at(const sim_planes *p, int64_t x, int64_t y)
{
    if (x < p->x0 || y < p->y0 || x >= p->x0 + p->nx || y >= p->y0 + p->ny)
        return -1;
    return (y - p->y0) * p->nx + (x - p->x0);
}

static int64_t above(int64_t a, int64_t b)
{
    return a > b ? a : b;
}
static int64_t below(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* A dead column. SDSS frames interpolate over it, which leaves less noise, and say so; afw
 * exposures mark it BAD. */
static void apply_column(const sim_planes *p, const sim_defect *d, int interpolated)
{
    int64_t low = above((int64_t)d->y, p->y0),
            high = below((int64_t)d->y + (int64_t)d->dy, p->y0 + p->ny);
    for (int64_t y = low; y < high; y++) {
        int64_t i = at(p, (int64_t)d->x, y);
        if (i < 0)
            continue;
        p->mask[i] |= interpolated ? SQ_MASK_INTERPOLATED : SQ_MASK_BAD;
        p->image[i] *= interpolated ? 0.7f : 0;
        if (!interpolated)
            p->variance[i] = INFINITY;
    }
}

/* What is found of a cosmic ray is interpolated in SDSS frames; what is missed is faint. */
static void apply_cosmic(const sim_planes *p, const sim_defect *d, int interpolated)
{
    int steps = 1 + (int)hypot(d->dx, d->dy);
    for (int k = 0; k < steps; k++) {
        int64_t i = at(p, llround(d->x + d->dx * k / steps), llround(d->y + d->dy * k / steps));
        if (i < 0)
            continue;
        if (d->masked)
            p->mask[i] |= SQ_MASK_COSMIC | (interpolated ? SQ_MASK_INTERPOLATED : 0u);
        if (!d->masked || !interpolated)
            p->image[i] += (float)(d->masked ? d->amount : 0.1 * d->amount);
    }
}

static void apply_bleed(const sim_planes *p, const sim_defect *d, float limit)
{
    int64_t low = above(llround(d->y), p->y0),
            high = below(llround(d->y + d->dy), p->y0 + p->ny - 1);
    int64_t left = llround(d->x - d->dx), right = llround(d->x + d->dx);
    for (int64_t y = low; y <= high; y++) {
        for (int64_t x = left; x <= right; x++) {
            int64_t i = at(p, x, y);
            if (i < 0)
                continue;
            p->image[i] = limit - p->sky[i];
            p->mask[i] |= SQ_MASK_SATURATED;
        }
    }
}

static void apply_halo(const sim_planes *p, const sim_defect *d)
{
    int64_t r = (int64_t)d->amount, cx = llround(d->x), cy = llround(d->y);
    int64_t low = above(cy - r, p->y0), high = below(cy + r, p->y0 + p->ny - 1);
    for (int64_t y = low; y <= high; y++) {
        for (int64_t x = cx - r; x <= cx + r; x++) {
            int64_t i = at(p, x, y);
            if (i >= 0 && (x - cx) * (x - cx) + (y - cy) * (y - cy) <= r * r)
                p->mask[i] |= SQ_MASK_BRIGHT;
        }
    }
}

void sim_apply_defects(const sim_scene *scene, int band, const sim_planes *p)
{
    int interpolated = scene->config->preset == SQ_SIM_SDSS;
    for (size_t i = 0; i < scene->defects; i++) {
        const sim_defect *d = &scene->defect[i];
        if (d->band != band)
            continue;
        if (d->kind == SIM_BAD_COLUMN)
            apply_column(p, d, interpolated);
        else if (d->kind == SIM_COSMIC)
            apply_cosmic(p, d, interpolated);
        else if (d->kind == SIM_BLEED)
            apply_bleed(p, d, (float)scene->band[band].saturation);
        else
            apply_halo(p, d);
    }
}
