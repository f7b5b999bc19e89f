#include "map_probe.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "fits/cutout.h"

/* Local maxima of the first band of real tiles, with the border that the reduce reconciles. */

enum { CORE = 64, HALO = 6, BORDER = 4 };

typedef struct tile_probe {
    sq_probe_setup setup;
} tile_probe;

static const sq_column columns[] = {
    {"ra", SQ_F64, "deg", "pos.eq.ra", "position", 0},
    {"dec", SQ_F64, "deg", "pos.eq.dec", "position", 0},
    {"value", SQ_F32, "nJy", "phot.flux", "brightest pixel", 0},
    {"depth", SQ_F32, "pixel", "", "distance from the border of the patch", 1},
};
static const sq_schema spots = {"spots", "local maxima", 4,      columns, "ra",
                                "dec",   "depth",        BORDER, 0.5,     0};

static sq_status create(const void *config, const sq_probe_setup *setup, void **self)
{
    tile_probe *p = NULL;
    (void)config;
    sq_status rc = SQ_ALLOC(p, 1, "tile probe");
    if (rc != SQ_OK)
        return rc;
    p->setup = *setup;
    *self = p;
    return SQ_OK;
}

static sq_status describe(void *self, sq_probe_description *out)
{
    const tile_probe *p = self;
    *out = (sq_probe_description){.footprint = SQ_FOOTPRINT_TILES,
                                  .nphase = 1,
                                  .phase = {{"spots", {CORE, HALO, 1}, 1, 0}},
                                  .nband = 2,
                                  .band = {"r", "g"},
                                  .ntable = 1,
                                  .table = {&spots}};
    if (p->setup.core > 0)
        out->phase[0].shape.core = p->setup.core;
    return SQ_OK;
}

static sq_status read_input(void *self, const sq_task *task, const sq_place *place, void **input,
                            sq_hash *input_hash)
{
    sq_status rc = SQ_OK;
    sq_cutout *cutout = NULL;
    const sq_patch *patch = &place->patch;
    (void)self;
    (void)task;
    SQ_TRY(sq_cutout_create(2, patch->side, patch->side, &cutout));
    SQ_TRY(sq_exposure_read(place->exposure, patch->in_x0, patch->in_y0, cutout));
    *input_hash = cutout->input_hash;
    *input = cutout;
    return SQ_OK;
cleanup:
    sq_cutout_destroy(cutout);
    return rc;
}

static int is_peak(const sq_cutout *c, int x, int y)
{
    float value = c->image[y * c->nx + x];
    for (int dy = -1; dy <= 1; dy++) {
        for (int dx = -1; dx <= 1; dx++) {
            if ((dx || dy) && c->image[(y + dy) * c->nx + x + dx] >= value)
                return 0;
        }
    }
    return value > 100;
}

static sq_status process(void *self, const sq_task *task, const sq_place *place, void *input,
                         sq_product *product)
{
    sq_status rc = SQ_OK;
    const sq_cutout *c = input;
    const sq_patch *p = &place->patch;
    (void)self;
    SQ_TRY(sq_test_trouble("process", task));
    for (int y = 1; y < c->ny - 1; y++) {
        for (int x = 1; x < c->nx - 1; x++) {
            double px = (double)(p->in_x0 + x), py = (double)(p->in_y0 + y), ra, dec;
            float depth = (float)sq_tiling_depth(place->tiling, p, px, py);
            if (depth < -BORDER || !is_peak(c, x, y))
                continue;
            SQ_TRY(sq_wcs_pix2sky(place->wcs, 1, &px, &py, &ra, &dec));
            const void *column[] = {&ra, &dec, &c->image[y * c->nx + x], &depth};
            SQ_TRY(sq_product_rows(product, 0, 1, column));
        }
    }
cleanup:
    return rc;
}

static void release(void *self, void *input)
{
    (void)self;
    sq_cutout_destroy(input);
}

static void destroy(void *self)
{
    sq_free(self);
}

const sq_probe_class sq_tile_probe = {.name = "testtile",
                                      .summary = "maxima of tiles",
                                      .create = create,
                                      .describe = describe,
                                      .read = read_input,
                                      .process = process,
                                      .release = release,
                                      .destroy = destroy};
