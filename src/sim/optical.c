#include "sim/optical.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sim/sim_internal.h"

/* Reach of a source's light, arcsec. */
static const double MARGIN = 60, SAMPLE_MARGIN = 20;

/* Bounds that a table of single keys cannot state. */
static sq_status check(const sq_sim_optical_config *c)
{
    if (c->faint_limit <= c->bright_limit)
        return sq_fail(SQ_ERR_CONFIG, "faint_limit: %g is not above bright_limit %g",
                       c->faint_limit, c->bright_limit);
    if (c->years_low > c->years)
        return sq_fail(SQ_ERR_CONFIG, "years_low: %g is above years %g", c->years_low, c->years);
    if (c->density_high < c->density_low || !(c->density_low > 0))
        return sq_fail(SQ_ERR_CONFIG,
                       "density_high: %g and density_low %g are no range of positive factors",
                       c->density_high, c->density_low);
    int64_t cells_x = (c->tile_nx + c->cell - 1) / c->cell;
    int64_t cells_y = (c->tile_ny + c->cell - 1) / c->cell;
    if (c->format == SQ_SIM_CELL_COADD && cells_x * cells_y > 4096)
        return sq_fail(SQ_ERR_CONFIG, "cell: %lld x %lld cells in a tile, above 4096",
                       (long long)cells_x, (long long)cells_y);
    if (c->overlap >= c->tile_nx || c->overlap >= c->tile_ny)
        return sq_fail(SQ_ERR_CONFIG, "overlap: %lld pixels is not below the tile's side",
                       (long long)c->overlap);
    double wide = (double)(c->tile_nx - c->overlap) * (double)c->tiles_x * c->scale / 3600;
    double high = (double)(c->tile_ny - c->overlap) * (double)c->tiles_y * c->scale / 3600;
    if (wide > 60 || high > 60)
        return sq_fail(SQ_ERR_CONFIG,
                       "tiles_x, tiles_y: %.1f x %.1f degrees do not fit on one tangent plane (60)",
                       wide, high);
    double area = (double)c->tile_nx * (double)c->tile_ny * c->scale * c->scale;
    double sources = area * (sim_density(c, 0) + sim_density(c, 1));
    if (sources > 3e7)
        return sq_fail(
            SQ_ERR_CONFIG,
            "galaxy_density, star_density, faint_limit: %.2g sources in a tile, above 3e7",
            sources);
    return SQ_OK;
}

sq_status sq_sim_optical_create(const sq_sim_optical_config *config, sq_sim_optical **out)
{
    *out = NULL;
    sq_status rc = check(config);
    if (rc == SQ_OK)
        rc = SQ_ALLOC(*out, 1, "simulator");
    if (rc == SQ_OK) {
        (*out)->config = *config;
        (*out)->tile = -1;
    }
    return rc;
}

void sq_sim_optical_destroy(sq_sim_optical *sim)
{
    if (!sim)
        return;
    sim_scene_clear(&sim->scene);
    sq_free(sim);
}

int64_t sq_sim_optical_tiles(const sq_sim_optical *sim)
{
    return sim->config.tiles_x * sim->config.tiles_y;
}

void sq_sim_optical_tile_name(const sq_sim_optical *sim, int64_t tile, char name[64])
{
    snprintf(name, 64, "tile-%03lld-%03lld", (long long)(tile % sim->config.tiles_x),
             (long long)(tile / sim->config.tiles_x));
}

/* Origin of a tile on the survey's grid; the survey's centre is that grid's (0, 0). */
void sim_origin(const sq_sim_optical_config *c, int64_t tile, int64_t *x, int64_t *y)
{
    int64_t step_x = c->tile_nx - c->overlap, step_y = c->tile_ny - c->overlap;
    *x = tile % c->tiles_x * step_x - (c->tiles_x * step_x + c->overlap) / 2;
    *y = tile / c->tiles_x * step_y - (c->tiles_y * step_y + c->overlap) / 2;
}

sq_status sim_band_wcs(const sq_sim_optical *sim, int64_t tile, double dx, double dy, sq_wcs **out)
{
    const sq_sim_optical_config *c = &sim->config;
    int64_t x, y;
    sim_origin(c, tile, &x, &y);
    double step = c->scale / 3600;
    const double cd[4] = {-step, 0, 0, step};
    return sq_wcs_tan(c->ra, c->dec, dx - (double)x, dy - (double)y, cd, out);
}

sq_status sq_sim_optical_wcs(const sq_sim_optical *sim, int64_t tile, sq_wcs **out)
{
    return sim_band_wcs(sim, tile, 0, 0, out);
}

static void start_scene(sim_scene *scene, const sq_sim_optical_config *config, uint64_t seed,
                        uint64_t id, int64_t nx, int64_t ny, double margin)
{
    memset(scene, 0, sizeof *scene);
    scene->config = config;
    scene->nband = sq_sim_optical_bands(config->preset, NULL, NULL);
    scene->nx = nx;
    scene->ny = ny;
    scene->seed = seed;
    scene->id = id;
    scene->scale = config->scale;
    scene->years = config->years;
    scene->margin = margin / config->scale;
    scene->field_x = 0.5 * (double)(nx - 1);
    scene->field_y = 0.5 * (double)(ny - 1);
    scene->field_half = 0.5 * (double)(nx > ny ? nx : ny);
}

/* Conditions, sources and defects of a tile; kept until another tile is wanted. */
sq_status sim_load_tile(sq_sim_optical *sim, int64_t tile)
{
    const sq_sim_optical_config *c = &sim->config;
    sq_status rc = SQ_OK;
    int64_t x, y;
    if (tile == sim->tile)
        return SQ_OK;
    if (tile < 0 || tile >= sq_sim_optical_tiles(sim))
        return sq_fail(SQ_ERR_USAGE, "simulator: no tile %lld", (long long)tile);
    sim_scene_clear(&sim->scene);
    sim->tile = -1;
    start_scene(&sim->scene, c, (uint64_t)c->seed, (uint64_t)tile, c->tile_nx, c->tile_ny, MARGIN);
    sq_rng rng;
    sq_rng_init(&rng, (uint64_t)c->seed, SIM_RNG_CONDITIONS, (uint64_t)tile);
    sim_draw_conditions(&sim->scene, &rng);
    sim_origin(c, tile, &x, &y);
    SQ_TRY(sim_scene_sources(&sim->scene, (double)x, (double)y));
    sq_rng_init(&rng, (uint64_t)c->seed, SIM_RNG_DEFECTS, (uint64_t)tile);
    SQ_TRY(sim_draw_defects(&sim->scene, &rng));
    sim->tile = tile;
cleanup:
    return rc;
}

sq_status sq_sim_optical_render(sq_sim_optical *sim, int64_t tile, int64_t x0, int64_t y0,
                                sq_cutout *cutout)
{
    sq_status rc = sim_load_tile(sim, tile);
    return rc == SQ_OK ? sim_scene_render(&sim->scene, x0, y0, cutout) : rc;
}

static sq_status copy_sources(const sim_scene *scene, double x0, double y0, double x1, double y1,
                              double margin, sq_sim_source **out, int64_t *count)
{
    sq_status rc = SQ_ALLOC(*out, scene->count + 1, "sources");
    *count = 0;
    for (size_t i = 0; rc == SQ_OK && i < scene->count; i++) {
        const sq_sim_source *s = &scene->source[i];
        if (s->x >= x0 - margin && s->x < x1 + margin && s->y >= y0 - margin && s->y < y1 + margin)
            (*out)[(*count)++] = *s;
    }
    return rc;
}

sq_status sq_sim_optical_sources(sq_sim_optical *sim, int64_t tile, double x0, double y0, double x1,
                                 double y1, double margin, sq_sim_source **out, int64_t *count)
{
    *out = NULL;
    sq_status rc = sim_load_tile(sim, tile);
    return rc == SQ_OK ? copy_sources(&sim->scene, x0, y0, x1, y1, margin, out, count) : rc;
}

static int brighter(const void *a, const void *b)
{
    const sq_sim_source *s = a, *t = b;
    if (s->r != t->r)
        return s->r < t->r ? -1 : 1;
    return s->x != t->x ? (s->x < t->x ? -1 : 1) : (s->y > t->y) - (s->y < t->y);
}

/* A patch somewhere on a field of the preset's tile size, under conditions of its own. */
static sq_status draw_sample(sim_scene *scene, const sq_sim_optical_config *c, uint64_t seed,
                             uint64_t index, int64_t nx, int64_t ny)
{
    sq_rng rng;
    sq_status rc = SQ_OK;
    start_scene(scene, c, seed, index, nx, ny, SAMPLE_MARGIN);
    sq_rng_init(&rng, seed, SIM_RNG_SAMPLE, index);
    scene->field_half = 0.5 * (double)(c->tile_nx > c->tile_ny ? c->tile_nx : c->tile_ny);
    scene->field_x = 0.5 * (double)c->tile_nx - sq_rng_range(&rng, 0, (double)c->tile_nx);
    scene->field_y = 0.5 * (double)c->tile_ny - sq_rng_range(&rng, 0, (double)c->tile_ny);
    if (c->years_low > 0)
        scene->years = exp(sq_rng_range(&rng, log(c->years_low), log(c->years)));
    sim_draw_conditions(scene, &rng);
    double factor = exp(sq_rng_range(&rng, log(c->density_low), log(c->density_high)));
    SQ_TRY(sim_scene_sample_sources(scene, &rng, factor));
    SQ_TRY(sim_draw_defects(scene, &rng));
cleanup:
    return rc;
}

sq_status sq_sim_optical_sample(sq_sim_optical *sim, uint64_t seed, uint64_t index, double margin,
                                sq_cutout *cutout, sq_sim_source **out, int64_t *count)
{
    sim_scene scene;
    sq_status rc = SQ_OK;
    *out = NULL;
    SQ_TRY(draw_sample(&scene, &sim->config, seed, index, cutout->nx, cutout->ny));
    SQ_TRY(sim_scene_render(&scene, 0, 0, cutout));
    SQ_TRY(copy_sources(&scene, 0, 0, cutout->nx, cutout->ny, margin, out, count));
    qsort(*out, (size_t)*count, sizeof **out, brighter);
cleanup:
    sim_scene_clear(&scene);
    return rc;
}
