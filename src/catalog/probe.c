/* The catalog probe: network inputs from a cutout, the network colour by colour, rows. */
#include "catalog/probe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "catalog/counts.h"
#include "catalog/domain.h"
#include "catalog/inputs.h"
#include "catalog/rows.h"

/* Rows up to here outside a core, for the reconciliation of seams: a few position errors and a
 * tile. */
#define BORDER 8.0

enum { INPUTS = 1 + SQ_CATALOG_COLOURS };

/* Domain of the random streams of joint draws; the draw's number is added. */
enum { RNG_SAMPLES = 0x43530000 };

typedef struct catalog_config {
    double aperture; /* arcsec */
    int64_t samples; /* joint draws, 0: none */
    int64_t nside;   /* of expected counts, 0: none */
} catalog_config;

typedef struct catalog_probe {
    catalog_config config;
    sq_probe_model file;
    sq_catalog_net net;
    sq_precision precision;
    int core, halo, side;
    double threshold;
    uint64_t seed;
    int ntable; /* sources, then what is asked for */
    sq_catalog_rows *rows[SQ_CATALOG_TABLES];
    sq_catalog_table table[SQ_CATALOG_TABLES];
    sq_catalog_counter *counter;
    sq_domain *domain;
    int block, blocks; /* squares of the core whose distance from the domain is measured */
    float *work;
    double *ood;     /* [blocks][blocks] */
    sq_model *model; /* outlives the engine */
    sq_engine *engine;
    sq_inputs *inputs;
    sq_decoder *decoder;
    float *head, *first_head; /* of the colour at work; of the first colour */
} catalog_probe;

static const sq_config_field fields[] = {
    {"aperture", SQ_CONFIG_REAL, offsetof(catalog_config, aperture), 0, 0.1, 30, NULL, NULL,
     "radius of the check columns' aperture in arcsec"},
    {"samples", SQ_CONFIG_INT, offsetof(catalog_config, samples), 0, 0, 65535, NULL, NULL,
     "joint draws from the posterior, as the table `samples`; 0: none. Draws of two patches are "
     "independent"},
    {"expected_nside", SQ_CONFIG_INT, offsetof(catalog_config, nside), 0, 0, 1 << 24, NULL, NULL,
     "HEALPix nside (RING) of the table `expected_counts`; 0: none"},
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
    for (int t = 0; t < SQ_CATALOG_TABLES; t++)
        sq_catalog_rows_destroy(p->rows[t]);
    sq_catalog_counter_destroy(p->counter);
    sq_domain_destroy(p->domain);
    sq_free(p->work);
    sq_free(p->ood);
    sq_engine_destroy(p->engine);
    sq_model_destroy(p->model);
    sq_inputs_destroy(p->inputs);
    sq_decoder_destroy(p->decoder);
    sq_free(p->head);
    sq_free(p->first_head);
    sq_free(p);
}

static sq_status add_table(catalog_probe *p, sq_catalog_table table)
{
    p->table[p->ntable] = table;
    return sq_catalog_rows_create(&p->net, table, BORDER, p->config.aperture,
                                  &p->rows[p->ntable++]);
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
    p->seed = setup->seed;
    p->core = setup->core >= 0 ? setup->core : p->net.core;
    p->halo = setup->halo >= 0 ? setup->halo : p->net.halo;
    p->side = p->core + 2 * p->halo;
    SQ_TRY(check_setup(setup, p));
    SQ_TRY(sq_domain_read(p->model, p->file.path, p->net.nband, &p->domain));
    p->block = p->core < SQ_DOMAIN_BLOCK ? p->core : SQ_DOMAIN_BLOCK;
    p->blocks = (p->core + p->block - 1) / p->block;
    SQ_TRY(add_table(p, SQ_CATALOG_SOURCES));
    if (p->config.nside)
        SQ_TRY(add_table(p, SQ_CATALOG_COUNTS));
    if (p->config.samples) /* the last: draws empty the decoder */
        SQ_TRY(add_table(p, SQ_CATALOG_SAMPLES));
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
                                  .ntable = p->ntable};
    for (int t = 0; t < p->ntable; t++)
        out->table[t] = sq_catalog_rows_schema(p->rows[t]);
    memcpy(out->band, p->net.band, sizeof out->band);
    /* Three cutouts of five planes, the inputs, and some 160 channels of the network at full
     * resolution. */
    out->memory = pixels * 4 * (uint64_t)(p->net.nband * (3 * 5 + 4) + 160) + ((uint64_t)64 << 20);
    return SQ_OK;
}

/* Values of the head of one colour. */
static size_t head_size(const catalog_probe *p)
{
    size_t half = (size_t)(p->side / p->net.tile / 2);
    return (size_t)p->net.head * half * half;
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
    SQ_TRY(SQ_ALLOC(p->head, head_size(p), "network head"));
    SQ_TRY(SQ_ALLOC(p->work, 2 * (size_t)p->block * p->block, "domain"));
    SQ_TRY(SQ_ALLOC(p->ood, (size_t)p->blocks * p->blocks, "domain"));
    if (p->config.samples)
        SQ_TRY(SQ_ALLOC(p->first_head, head_size(p), "network head"));
    if (p->config.nside)
        SQ_TRY(sq_catalog_counter_create(&p->net, p->config.nside, p->core, p->halo, &p->counter));
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

/* The head of one colour, whose context the decoder holds. */
static sq_status run_colour(catalog_probe *p, int k)
{
    const float *input[INPUTS] = {p->inputs->image, p->inputs->planes, NULL, NULL, NULL};
    float *output[SQ_CATALOG_COLOURS] = {NULL};
    for (int i = 1; i <= k; i++)
        input[1 + i] = sq_decoder_context(p->decoder);
    output[k] = p->head;
    return sq_engine_run(p->engine, k, k, input, output);
}

/* The network, one colour of tiles after another. */
static sq_status infer(catalog_probe *p, sq_product *product)
{
    double network = 0.0, decode = 0.0;
    sq_decoder_begin(p->decoder);
    for (int k = 0; k < SQ_CATALOG_COLOURS; k++) {
        double began = sq_now();
        sq_status rc = run_colour(p, k);
        if (rc != SQ_OK)
            return rc;
        double ran = sq_now();
        if (k == 0 && p->first_head)
            memcpy(p->first_head, p->head, head_size(p) * sizeof *p->head);
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

/* Where block i begins; the last ones may overlap. */
static int block_at(const catalog_probe *p, int i)
{
    int last = p->core - p->block;
    return p->halo + (i * p->block < last ? i * p->block : last);
}

static void measure_domain(catalog_probe *p, const sq_cutout *c)
{
    float feature[SQ_DOMAIN_FEATURES];
    for (int j = 0; j < p->blocks; j++)
        for (int i = 0; i < p->blocks; i++) {
            double *score = &p->ood[j * p->blocks + i];
            *score = NAN;
            if (!p->domain)
                continue;
            sq_domain_measure(c, p->inputs, block_at(p, i), block_at(p, j), p->block, p->work,
                              feature);
            *score = sq_domain_score(p->domain, feature);
        }
}

static double ood_at(const catalog_probe *p, double x, double y)
{
    int last = p->blocks - 1;
    int i = (int)((x - p->halo) / p->block), j = (int)((y - p->halo) / p->block);
    i = i < 0 ? 0 : i > last ? last : i;
    j = j < 0 ? 0 : j > last ? last : j;
    return p->ood[j * p->blocks + i];
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
    row->ood = ood_at(p, s->x, s->y);
    for (int b = 0; b < p->net.nband; b++) {
        int64_t plane = (int64_t)b * SQ_PLANES_PER_BAND + SQ_PLANE_FWHM;
        const float *shape = p->inputs->planes + plane * tiles * tiles + tile;
        int64_t pixel = sq_pixel_of(s->y) * c->nx + sq_pixel_of(s->x);
        row->check[b] = sq_catalog_check(c, b, s->x, s->y, p->config.aperture / scale);
        row->sigma[b] = row->sky[b] = row->fwhm[b] = row->psf_e[b][0] = row->psf_e[b][1] = NAN;
        if (!c->present[b])
            continue;
        row->sigma[b] = p->inputs->sigma[b * tiles * tiles + tile];
        row->sky[b] = c->sky[sq_cutout_plane(c, b) + pixel];
        row->fwhm[b] = 4.0 * scale * exp(shape[0]);
        row->psf_e[b][0] = shape[tiles * tiles];
        row->psf_e[b][1] = shape[2 * tiles * tiles];
    }
    return sq_catalog_rows_add(p->rows[0], row);
}

/* The network's fluxes are in units of the PSF images, which may lack the wings. */
static sq_catalog_source to_total_flux(const sq_catalog_source *source, const sq_cutout *c)
{
    sq_catalog_source out = *source;
    for (int b = 0; b < c->nband; b++)
        out.ln_flux[b] += log(c->aperture[b]);
    return out;
}

/* Rows of one joint draw: those whose position this patch and this tile own. */
static sq_status add_draw(catalog_probe *p, const sq_place *place, const sq_cutout *c, int sample,
                          sq_catalog_rows *rows)
{
    const sq_catalog_source *source;
    int64_t count;
    sq_status rc = SQ_OK;
    sq_decoder_drawn(p->decoder, &source, &count);
    for (int64_t i = 0; i < count && rc == SQ_OK; i++) {
        sq_catalog_source total = to_total_flux(&source[i], c);
        sq_catalog_row row = {.net = &p->net, .source = &total, .sample = sample};
        if (!belongs(place, c, p, &row) || !(row.depth > 0))
            continue;
        rc = sq_wcs_pix2sky(place->wcs, 1, &row.x, &row.y, &row.ra, &row.dec);
        if (rc == SQ_OK &&
            (!place->owner || sq_owner_of(place->owner, row.ra, row.dec) == (int64_t)place->tile))
            rc = sq_catalog_rows_add(rows, &row);
    }
    return rc;
}

/* Each draw runs the colours again on the backbone that the engine still holds. */
static sq_status draw_samples(catalog_probe *p, const sq_place *place, const sq_cutout *c,
                              sq_catalog_rows *rows)
{
    const struct {
        uint64_t tile;
        int64_t x, y;
    } key = {sq_hash64(place->info->name, strlen(place->info->name)), place->patch.in_x0,
             place->patch.in_y0};
    sq_status rc = SQ_OK;
    for (int s = 0; s < p->config.samples; s++) {
        sq_rng rng;
        sq_rng_init(&rng, p->seed, RNG_SAMPLES + (uint32_t)s, sq_hash64(&key, sizeof key));
        sq_decoder_begin(p->decoder);
        for (int k = 0; k < SQ_CATALOG_COLOURS; k++) {
            const float *head = k ? p->head : p->first_head;
            if (k)
                SQ_TRY(run_colour(p, k));
            sq_decoder_colour(p->decoder, k, head, p->inputs);
            SQ_TRY(sq_decoder_draw(p->decoder, k, head, p->inputs, &rng));
        }
        SQ_TRY(add_draw(p, place, c, s, rows));
    }
cleanup:
    return rc;
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
    measure_domain(p, c);
    SQ_TRY(infer(p, product));
    SQ_TRY(sq_decoder_collect(p->decoder, p->threshold, &source, &count));
    for (int t = 0; t < p->ntable; t++)
        sq_catalog_rows_clear(p->rows[t]);
    for (int64_t i = 0; i < count; i++) {
        sq_catalog_source total = to_total_flux(&source[i], c);
        sq_catalog_row row = {.net = &p->net, .source = &total};
        if (belongs(place, c, p, &row))
            SQ_TRY(fill_row(p, place, c, &row));
    }
    for (int t = 1; t < p->ntable; t++) {
        if (p->table[t] == SQ_CATALOG_SAMPLES)
            SQ_TRY(draw_samples(p, place, c, p->rows[t]));
        else
            SQ_TRY(sq_catalog_count(p->counter, place, p->decoder, p->inputs, p->rows[t]));
    }
    for (int t = 0; t < p->ntable; t++)
        SQ_TRY(sq_catalog_rows_write(p->rows[t], t, product));
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
