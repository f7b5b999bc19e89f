/* The catalog probe: network inputs from a cutout, the network colour by colour, rows. */
#include "catalog/probe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "catalog/inputs.h"
#include "catalog/rows.h"

/* Rows up to here outside a core, for the reconciliation of seams: a few position errors and a
 * tile. */
#define BORDER 8.0

enum { INPUTS = 1 + SQ_CATALOG_COLOURS };

typedef struct catalog_config {
    double aperture; /* arcsec */
} catalog_config;

typedef struct catalog_probe {
    catalog_config config;
    sq_probe_model file;
    sq_catalog_net net;
    sq_precision precision;
    int core, halo, side;
    double threshold;
    sq_catalog_rows *rows;
    sq_model *model; /* outlives the engine */
    sq_engine *engine;
    sq_inputs *inputs;
    sq_decoder *decoder;
    float *head;
} catalog_probe;

static const sq_config_field fields[] = {{"aperture", SQ_CONFIG_REAL,
                                          offsetof(catalog_config, aperture), 0, 0.1, 30, NULL,
                                          NULL, "radius of the check columns' aperture in arcsec"},
                                         {.key = NULL}};

static void defaults(void *config)
{
    *(catalog_config *)config = (catalog_config){.aperture = 2.0};
}

static sq_status check_setup(const sq_probe_setup *setup, const catalog_probe *p)
{
    const sq_catalog_net *net = &p->net;
    int same = setup->nband == 0 || setup->nband == net->nband;
    for (int b = 0; b < setup->nband && same; b++)
        same = strcmp(setup->bands[b], net->band[b]) == 0;
    if (!same)
        return sq_fail(SQ_ERR_CONFIG, "%s: the bands of the network are not those of the run",
                       p->file.path);
    if (setup->reference && *setup->reference &&
        strcmp(setup->reference, net->band[net->reference]) != 0)
        return sq_fail(SQ_ERR_CONFIG, "%s: the network's reference band is %s, the run's %s",
                       p->file.path, net->band[net->reference], setup->reference);
    if (p->core < 1 || p->halo < 0 || p->side % net->multiple || p->halo % (2 * net->tile))
        return sq_fail(
            SQ_ERR_CONFIG,
            "patch: core %d and halo %d: core + 2 halo must be a multiple of %d, the halo of %d",
            p->core, p->halo, net->multiple, 2 * net->tile);
    return SQ_OK;
}

static void destroy(void *self)
{
    catalog_probe *p = self;
    if (!p)
        return;
    sq_catalog_rows_destroy(p->rows);
    sq_engine_destroy(p->engine);
    sq_model_destroy(p->model);
    sq_inputs_destroy(p->inputs);
    sq_decoder_destroy(p->decoder);
    sq_free(p->head);
    sq_free(p);
}

static sq_status create(const void *config, const sq_probe_setup *setup, void **self)
{
    catalog_probe *p = NULL;
    const void *data;
    size_t size;
    sq_status rc = SQ_OK;
    if (!setup->model || !*setup->model)
        return sq_fail(SQ_ERR_CONFIG, "catalog: model: the path of a catalog network is needed");
    SQ_TRY(SQ_ALLOC(p, 1, "catalog probe"));
    p->config = *(const catalog_config *)config;
    int n = snprintf(p->file.path, sizeof p->file.path, "%s", setup->model);
    if (n < 0 || (size_t)n >= sizeof p->file.path) {
        rc = sq_fail(SQ_ERR_CONFIG, "catalog: model: the path is too long");
        goto cleanup;
    }
    SQ_TRY(sq_files_read(setup->files, p->file.path, &data, &size));
    SQ_TRY(sq_model_parse(data, size, p->file.path, NULL, &p->model));
    SQ_TRY(sq_catalog_net_read(p->model, p->file.path, &p->net));
    p->file.hash = sq_model_hash(p->model);
    p->precision = setup->precision;
    p->threshold = setup->threshold;
    p->core = setup->core >= 0 ? setup->core : p->net.core;
    p->halo = setup->halo >= 0 ? setup->halo : p->net.halo;
    p->side = p->core + 2 * p->halo;
    SQ_TRY(check_setup(setup, p));
    SQ_TRY(sq_catalog_rows_create(&p->net, BORDER, p->config.aperture, &p->rows));
    *self = p;
    p = NULL;
cleanup:
    destroy(p);
    return rc;
}

static sq_status describe(void *self, sq_probe_description *out)
{
    const catalog_probe *p = self;
    uint64_t pixels = (uint64_t)p->side * p->side;
    *out = (sq_probe_description){.footprint = SQ_FOOTPRINT_TILES,
                                  .nphase = 1,
                                  .phase = {{"sources", {p->core, p->halo, 1}, 1, 0}},
                                  .nband = p->net.nband,
                                  .allow_missing = 1,
                                  .nmodel = 1,
                                  .model = {p->file},
                                  .ntable = 1,
                                  .table = {sq_catalog_rows_schema(p->rows)}};
    memcpy(out->band, p->net.band, sizeof out->band);
    /* Three cutouts of five planes, the inputs, and some 160 channels of the network at full
     * resolution. */
    out->memory = pixels * 4 * (uint64_t)(p->net.nband * (3 * 5 + 4) + 160) + ((uint64_t)64 << 20);
    return SQ_OK;
}

static sq_status start(void *self)
{
    catalog_probe *p = self;
    int tiles = p->side / p->net.tile;
    const int64_t shape[INPUTS][SQ_MAX_RANK] = {
        {1, 2 * p->net.nband, p->side, p->side},
        {1, SQ_PLANES_PER_BAND * p->net.nband, tiles, tiles},
        {1, p->net.context, tiles, tiles},
        {1, p->net.context, tiles, tiles},
        {1, p->net.context, tiles, tiles}};
    const int stage[INPUTS] = {0, 0, 1, 2, 3};
    sq_status rc = SQ_OK;
    SQ_TRY(sq_engine_create(p->model, shape, stage, p->precision, &p->engine));
    SQ_TRY(sq_inputs_create(p->net.nband, p->side, p->net.tile, &p->inputs));
    SQ_TRY(sq_decoder_create(&p->net, tiles, &p->decoder));
    SQ_TRY(SQ_ALLOC(p->head, (size_t)p->net.head * (tiles / 2) * (tiles / 2), "network head"));
cleanup:
    return rc;
}

static sq_status read_input(void *self, const sq_task *task, const sq_place *place, void **input,
                            sq_hash *input_hash)
{
    const catalog_probe *p = self;
    sq_cutout *cutout = NULL;
    sq_status rc = SQ_OK;
    (void)task;
    SQ_TRY(sq_cutout_create(p->net.nband, p->side, p->side, &cutout));
    SQ_TRY(sq_exposure_read(place->exposure, place->patch.in_x0, place->patch.in_y0, cutout));
    *input_hash = cutout->input_hash;
    *input = cutout;
    cutout = NULL;
cleanup:
    sq_cutout_destroy(cutout);
    return rc;
}

static void release(void *self, void *input)
{
    (void)self;
    sq_cutout_destroy(input);
}

/* The network, one colour of tiles after another. */
static sq_status infer(catalog_probe *p, sq_product *product)
{
    double network = 0.0, decode = 0.0;
    sq_decoder_begin(p->decoder);
    for (int k = 0; k < SQ_CATALOG_COLOURS; k++) {
        const float *input[INPUTS] = {p->inputs->image, p->inputs->planes, NULL, NULL, NULL};
        float *output[SQ_CATALOG_COLOURS] = {NULL};
        double began = sq_now();
        for (int i = 1; i <= k; i++)
            input[1 + i] = sq_decoder_context(p->decoder);
        output[k] = p->head;
        sq_status rc = sq_engine_run(p->engine, k, k, input, output);
        if (rc != SQ_OK)
            return rc;
        double ran = sq_now();
        sq_decoder_colour(p->decoder, k, p->head, p->inputs);
        network += ran - began;
        decode += sq_now() - ran;
    }
    sq_product_clock(product, SQ_CLOCK_INFER, network);
    sq_product_clock(product, SQ_CLOCK_DECODE, decode);
    return SQ_OK;
}

/* 1 when the source is inside the image and near enough to the core to be written. */
static int belongs(const sq_place *place, const sq_cutout *c, const catalog_probe *p,
                   sq_catalog_row *row)
{
    const sq_catalog_source *s = row->source;
    int64_t x = sq_pixel_of(s->x), y = sq_pixel_of(s->y);
    row->x = s->x + (double)place->patch.in_x0;
    row->y = s->y + (double)place->patch.in_y0;
    row->depth = sq_tiling_depth(place->tiling, &place->patch, row->x, row->y);
    if (!(row->depth > -BORDER) || x < 0 || y < 0 || x >= c->nx || y >= c->ny)
        return 0;
    for (int b = 0; b < p->net.nband; b++)
        if (!(c->mask[sq_cutout_plane(c, b) + y * c->nx + x] & SQ_MASK_OUTSIDE))
            return 1;
    return 0;
}

static sq_status fill_row(catalog_probe *p, const sq_place *place, const sq_cutout *c,
                          sq_catalog_row *row)
{
    const sq_catalog_source *s = row->source;
    int64_t tiles = p->inputs->tiles, tile = s->row * tiles + s->column;
    sq_status rc = sq_wcs_pix2sky(place->wcs, 1, &row->x, &row->y, &row->ra, &row->dec);
    if (rc == SQ_OK)
        rc = sq_wcs_jacobian(place->wcs, row->x, row->y, row->jac);
    if (rc != SQ_OK)
        return rc;
    double scale = sq_wcs_scale(place->wcs, row->x, row->y);
    for (int b = 0; b < p->net.nband; b++) {
        int64_t plane = (int64_t)b * SQ_PLANES_PER_BAND + SQ_PLANE_FWHM;
        row->check[b] = sq_catalog_check(c, b, s->x, s->y, p->config.aperture / scale);
        row->sigma[b] = c->present[b] ? p->inputs->sigma[b * tiles * tiles + tile] : NAN;
        row->fwhm[b] = c->present[b]
                           ? 4.0 * scale * exp(p->inputs->planes[plane * tiles * tiles + tile])
                           : NAN;
    }
    return sq_catalog_rows_add(p->rows, row);
}

/* The network's fluxes are in units of the PSF images, which may lack the wings. */
static sq_catalog_source to_total_flux(const sq_catalog_source *source, const sq_cutout *c)
{
    sq_catalog_source out = *source;
    for (int b = 0; b < c->nband; b++)
        out.ln_flux[b] += log(c->aperture[b]);
    return out;
}

static sq_status process(void *self, const sq_task *task, const sq_place *place, void *input,
                         sq_product *product)
{
    catalog_probe *p = self;
    const sq_cutout *c = input;
    const sq_catalog_source *source;
    int64_t count;
    sq_status rc = SQ_OK;
    (void)task;
    SQ_TRY(sq_inputs_fill(c, p->inputs));
    SQ_TRY(infer(p, product));
    SQ_TRY(sq_decoder_collect(p->decoder, p->threshold, &source, &count));
    sq_catalog_rows_clear(p->rows);
    for (int64_t i = 0; i < count; i++) {
        sq_catalog_source total = to_total_flux(&source[i], c);
        sq_catalog_row row = {.net = &p->net, .source = &total};
        if (belongs(place, c, p, &row))
            SQ_TRY(fill_row(p, place, c, &row));
    }
    SQ_TRY(sq_catalog_rows_write(p->rows, product));
cleanup:
    return rc;
}

const sq_probe_class sq_catalog_probe = {
    .name = "catalog",
    .summary = "sources of optical tiles with posteriors of position, fluxes, type and shape",
    .fields = fields,
    .config_size = sizeof(catalog_config),
    .defaults = defaults,
    .create = create,
    .describe = describe,
    .start = start,
    .read = read_input,
    .process = process,
    .release = release,
    .destroy = destroy,
};
