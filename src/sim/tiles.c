#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fits/write.h"
#include "sim/sim_internal.h"
#include "store/tensor.h"

enum { STRIP = 512, NODES = 7, PSF_PIXELS = SQ_PSF_SIDE * SQ_PSF_SIDE, PATH = 1200 };

/* A whole band of the tile, rendered by strips so that only three planes are held whole. */
static sq_status render_strips(const sim_scene *scene, int band, float *image, float *variance,
                               uint32_t *mask)
{
    float *work = NULL, *scratch = NULL;
    sq_status rc = SQ_OK;
    int nx = (int)scene->nx;
    SQ_TRY(SQ_ALLOC(work, sim_work_size(nx, STRIP), "simulator"));
    SQ_TRY(SQ_ALLOC(scratch, 2 * (int64_t)STRIP * nx, "simulator"));
    for (int64_t y = 0; y < scene->ny; y += STRIP) {
        int ny = (int)(scene->ny - y < STRIP ? scene->ny - y : STRIP);
        int64_t at = y * nx;
        sim_planes p = {
            0,        y, nx, ny, image + at, variance + at, scratch, scratch + (int64_t)STRIP * nx,
            mask + at};
        sim_render_band(scene, band, &p, work);
    }
cleanup:
    sq_free(work);
    sq_free(scratch);
    return rc;
}

/* Shift of a band's grid against the reference: the same for all tiles, so that they are cuts of
 * one grid per band. */
static void band_offset(const sq_sim_optical_config *c, int band, double *dx, double *dy)
{
    int reference;
    sq_rng rng;
    sq_sim_optical_bands(c->preset, NULL, &reference);
    sq_rng_init(&rng, (uint64_t)c->seed, SIM_RNG_OFFSETS, (uint64_t)band);
    double most = band == reference ? 0 : c->band_offset;
    *dx = most * sq_rng_range(&rng, -1, 1);
    *dy = most * sq_rng_range(&rng, -1, 1);
}

/* Move what the sky holds on a band's grid. Its noise is then white: who reads the tile resamples
 * it. */
static void shift_scene(sim_scene *scene, int band, double dx, double dy)
{
    for (size_t i = 0; i < scene->count; i++) {
        scene->source[i].x += dx;
        scene->source[i].y += dy;
    }
    for (size_t i = 0; i < scene->defects; i++) {
        sim_defect *d = &scene->defect[i];
        if (d->kind == SIM_BLEED || d->kind == SIM_HALO) {
            d->x += dx;
            d->y += dy;
        }
    }
    scene->field_x += dx;
    scene->field_y += dy;
    scene->band[band].white = 1;
    scene->band[band].tap_variance = 1;
}

static sq_status write_band(const sim_scene *scene, int band, const char *name, const char *path,
                            const sq_wcs *wcs)
{
    int64_t n = scene->nx * scene->ny;
    float *image = NULL, *variance = NULL;
    uint32_t *mask = NULL;
    sq_status rc = SQ_OK;
    SQ_TRY(SQ_ALLOC(image, n, "image"));
    SQ_TRY(SQ_ALLOC(variance, n, "variance"));
    SQ_TRY(SQ_ALLOC(mask, n, "mask"));
    SQ_TRY(render_strips(scene, band, image, variance, mask));
    if (scene->config->format == SQ_SIM_CELL_COADD)
        SQ_TRY(sim_write_cell_coadd(scene, band, name, path, wcs, image, variance, mask));
    else
        SQ_TRY(sq_write_exposure(path, name, scene->nx, scene->ny, wcs, image, mask, variance,
                                 scene->band[band].gain));
cleanup:
    sq_free(image);
    sq_free(variance);
    sq_free(mask);
    return rc;
}

/* A band on its own grid. */
static sq_status write_shifted(sq_sim_optical *sim, int64_t tile, int band, const char *name,
                               const char *path)
{
    double dx, dy;
    sq_wcs *wcs = NULL;
    sq_status rc = SQ_OK;
    band_offset(&sim->config, band, &dx, &dy);
    SQ_TRY(sim_load_tile(sim, tile));
    SQ_TRY(sim_band_wcs(sim, tile, dx, dy, &wcs));
    if (dx != 0 || dy != 0) {
        /* Rounding would not undo this exactly: the scene is drawn again for the next band. */
        shift_scene(&sim->scene, band, dx, dy);
        sim->tile = -1;
    }
    SQ_TRY(write_band(&sim->scene, band, name, path, wcs));
cleanup:
    sq_wcs_destroy(wcs);
    return rc;
}

static sq_status write_psf(const sim_scene *scene, const char *path, const char *const *names)
{
    double dx, dy;
    char band[SQ_MAX_BANDS][8];
    float *psf = NULL, *sky = NULL;
    sq_status rc = SQ_OK;
    SQ_TRY(SQ_ALLOC(psf, (int64_t)scene->nband * NODES * NODES * PSF_PIXELS, "PSF"));
    SQ_TRY(SQ_ALLOC(sky, (int64_t)scene->nband * NODES * NODES, "sky"));
    for (int b = 0; b < scene->nband; b++) {
        snprintf(band[b], sizeof band[b], "%s", names[b]);
        band_offset(scene->config, b, &dx, &dy);
        for (int k = 0; k < NODES * NODES; k++) {
            int64_t at = (int64_t)b * NODES * NODES + k;
            double x = (double)(k % NODES) * (double)(scene->nx - 1) / (NODES - 1), u;
            double y = (double)(k / NODES) * (double)(scene->ny - 1) / (NODES - 1), v;
            sim_field(scene, x - dx, y - dy, &u, &v);
            sim_psf_stamp(&scene->band[b].psf, u, v, psf + at * PSF_PIXELS);
            sky[at] = (float)sim_sky_at(scene, b, x - dx, y - dy);
        }
    }
    SQ_TRY(sq_write_psf_grid(path, scene->nband, (const char(*)[8])band, NODES, NODES, scene->nx,
                             scene->ny, SQ_PSF_SIDE, psf, sky));
cleanup:
    sq_free(psf);
    sq_free(sky);
    return rc;
}

sq_status sq_sim_optical_write_tile(sq_sim_optical *sim, int64_t tile, const char *folder)
{
    const char *const *names;
    char name[64], path[PATH];
    sq_status rc = SQ_OK;
    int nband = sq_sim_optical_bands(sim->config.preset, &names, NULL);
    if (strlen(folder) > PATH - 100)
        return sq_fail(SQ_ERR_USAGE, "%.80s...: path is too long", folder);
    SQ_TRY(sim_load_tile(sim, tile));
    sq_sim_optical_tile_name(sim, tile, name);
    for (int b = 0; b < nband; b++) {
        snprintf(path, sizeof path, "%s/%s-%s.fits", folder, name, names[b]);
        SQ_TRY(write_shifted(sim, tile, b, names[b], path));
    }
    if (sim->config.format == SQ_SIM_CELL_COADD)
        return SQ_OK;
    SQ_TRY(sim_load_tile(sim, tile));
    snprintf(path, sizeof path, "%s/%s-psf.fits", folder, name);
    SQ_TRY(write_psf(&sim->scene, path, names));
cleanup:
    return rc;
}

/* How deep a point lies in a tile, pixels: negative outside. */
static double depth(const sq_sim_optical_config *c, int64_t tile, double x, double y)
{
    int64_t left, bottom;
    sim_origin(c, tile, &left, &bottom);
    x -= (double)left - 0.5;
    y -= (double)bottom - 0.5;
    return fmin(fmin(x, (double)c->tile_nx - x), fmin(y, (double)c->tile_ny - y));
}

/* Whether no other tile holds the source deeper. Only neighbours within the overlap can. */
static int owned(const sq_sim_optical_config *c, int64_t tile, const sq_sim_source *s)
{
    int64_t left, bottom, tx = tile % c->tiles_x, ty = tile / c->tiles_x;
    sim_origin(c, tile, &left, &bottom);
    double x = (double)left + s->x, y = (double)bottom + s->y, mine = depth(c, tile, x, y);
    int64_t reach_x = c->overlap / (c->tile_nx - c->overlap) + 1;
    int64_t reach_y = c->overlap / (c->tile_ny - c->overlap) + 1;
    for (int64_t j = ty - reach_y; j <= ty + reach_y; j++) {
        for (int64_t i = tx - reach_x; i <= tx + reach_x; i++) {
            int64_t other = j * c->tiles_x + i;
            if (i < 0 || j < 0 || i >= c->tiles_x || j >= c->tiles_y || other == tile)
                continue;
            double theirs = depth(c, other, x, y);
            if (theirs > mine || (theirs == mine && other < tile))
                return 0;
        }
    }
    return mine > 0;
}

static sq_status column(sq_h5 *file, const char *name, int64_t n, const double *value)
{
    return sq_h5_append(file, name, SQ_F64, 1, &n, value);
}

#define COLUMN(member)                                                                             \
    do {                                                                                           \
        for (int64_t i = 0; i < n; i++)                                                            \
            value[i] = s[i].member;                                                                \
        SQ_TRY(column(file, #member, n, value));                                                   \
    } while (0)

static sq_status write_fluxes(sq_h5 *file, int preset, const sq_sim_source *s, int64_t n,
                              double *value)
{
    const char *const *names;
    char name[32];
    sq_status rc = SQ_OK;
    int nband = sq_sim_optical_bands(preset, &names, NULL);
    for (int b = 0; b < nband; b++) {
        for (int64_t i = 0; i < n; i++)
            value[i] = s[i].flux[b];
        snprintf(name, sizeof name, "flux_%s", names[b]);
        SQ_TRY(column(file, name, n, value));
    }
cleanup:
    return rc;
}

static sq_status write_sky(sq_h5 *file, const sq_wcs *wcs, int64_t n, double *value)
{
    /* value holds x, y and gets ra, dec behind them. */
    sq_status rc = SQ_OK;
    SQ_TRY(sq_wcs_pix2sky(wcs, (size_t)n, value, value + n, value + 2 * n, value + 3 * n));
    SQ_TRY(column(file, "ra", n, value + 2 * n));
    SQ_TRY(column(file, "dec", n, value + 3 * n));
cleanup:
    return rc;
}

static sq_status truth_rows(sq_sim_optical *sim, sq_h5 *file, int64_t tile, const sq_sim_source *s,
                            int64_t n)
{
    sq_wcs *wcs = NULL;
    double *value = NULL;
    int32_t *number = NULL;
    sq_status rc = SQ_OK;
    SQ_TRY(sq_sim_optical_wcs(sim, tile, &wcs));
    SQ_TRY(SQ_ALLOC(value, 4 * n + 1, "truth"));
    SQ_TRY(SQ_ALLOC(number, n + 1, "truth"));
    for (int64_t i = 0; i < n; i++) {
        number[i] = (int32_t)tile;
        value[i] = s[i].x;
        value[n + i] = s[i].y;
    }
    SQ_TRY(sq_h5_append(file, "tile", SQ_I32, 1, &n, number));
    SQ_TRY(write_sky(file, wcs, n, value));
    for (int64_t i = 0; i < n; i++)
        number[i] = s[i].star;
    SQ_TRY(sq_h5_append(file, "star", SQ_I32, 1, &n, number));
    COLUMN(x);
    COLUMN(y);
    SQ_TRY(write_fluxes(file, sim->config.preset, s, n, value));
    COLUMN(bulge_fraction);
    COLUMN(radius);
    COLUMN(e1);
    COLUMN(e2);
    COLUMN(disk_radius);
    COLUMN(disk_e1);
    COLUMN(disk_e2);
    COLUMN(bulge_radius);
    COLUMN(bulge_e1);
    COLUMN(bulge_e2);
cleanup:
    sq_free(number);
    sq_free(value);
    sq_wcs_destroy(wcs);
    return rc;
}

static sq_status describe(sq_h5 *file, const char *name, const char *unit, const char *text)
{
    sq_status rc = SQ_OK;
    if (!sq_h5_has(file, name))
        return SQ_OK;
    SQ_TRY(sq_h5_attribute_text(file, name, "units", unit));
    SQ_TRY(sq_h5_attribute_text(file, name, "description", text));
cleanup:
    return rc;
}

static sq_status describe_all(sq_h5 *file, int preset)
{
    static const char *const column[][3] = {
        {"tile", "", "number of the tile that owns the source"},
        {"x", "pix", "0-based column in that tile"},
        {"y", "pix", "0-based row in that tile"},
        {"ra", "deg", "right ascension, ICRS"},
        {"dec", "deg", "declination, ICRS"},
        {"star", "", "1 star, 0 galaxy"},
        {"bulge_fraction", "", "of the flux, all bands alike"},
        {"radius", "arcsec", "half-light radius of the whole, circularised"},
        {"e1", "", "(a-b)/(a+b) cos 2phi, weighted by flux; phi from +x to +y"},
        {"e2", "", "(a-b)/(a+b) sin 2phi"},
        {"disk_radius", "arcsec", "half-light radius of the disk, major axis"},
        {"disk_e1", "", "ellipticity of the disk"},
        {"disk_e2", "", "ellipticity of the disk"},
        {"bulge_radius", "arcsec", "half-light radius of the bulge, major axis"},
        {"bulge_e1", "", "ellipticity of the bulge"},
        {"bulge_e2", "", "ellipticity of the bulge"},
    };
    const char *const *names;
    char name[32];
    sq_status rc = SQ_OK;
    for (size_t i = 0; i < sizeof column / sizeof *column; i++)
        SQ_TRY(describe(file, column[i][0], column[i][1], column[i][2]));
    int nband = sq_sim_optical_bands(preset, &names, NULL);
    for (int b = 0; b < nband; b++) {
        snprintf(name, sizeof name, "flux_%s", names[b]);
        SQ_TRY(describe(file, name, "nJy", "total flux"));
    }
cleanup:
    return rc;
}

sq_status sq_sim_optical_write_truth(sq_sim_optical *sim, const char *path)
{
    const sq_sim_optical_config *c = &sim->config;
    sq_sim_source *list = NULL;
    sq_h5 *file = NULL;
    sq_status rc = SQ_OK;
    SQ_TRY(sq_h5_create(path, &file));
    for (int64_t tile = 0; tile < sq_sim_optical_tiles(sim); tile++) {
        int64_t n, kept = 0;
        SQ_TRY(sq_sim_optical_sources(sim, tile, -0.5, -0.5, (double)c->tile_nx - 0.5,
                                      (double)c->tile_ny - 0.5, 0, &list, &n));
        for (int64_t i = 0; i < n; i++) {
            if (owned(c, tile, &list[i]))
                list[kept++] = list[i];
        }
        SQ_TRY(truth_rows(sim, file, tile, list, kept));
        sq_free(list);
        list = NULL;
    }
    SQ_TRY(describe_all(file, c->preset));
    SQ_TRY(sq_h5_attribute_real(file, "/", "seed", (double)c->seed));
    SQ_TRY(sq_h5_attribute_real(file, "/", "faint_limit", c->faint_limit));
    sq_h5 *done = file;
    file = NULL;
    SQ_TRY(sq_h5_close(done));
cleanup:
    sq_free(list);
    sq_h5_abandon(file);
    return rc;
}
