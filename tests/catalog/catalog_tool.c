/* Runs functions of catalog/ on raw arrays for test_catalog.py:
 *     catalog_tool inputs NBAND SIDE TILE IN OUT
 *     catalog_tool domain NBAND SIDE TILE IN OUT MODEL X0 Y0 BLOCK
 *     catalog_tool check  NBAND SIDE IN OUT X Y RADIUS [X Y RADIUS ...]
 *     catalog_tool decode MODEL TILES THRESHOLD PLANES HEADS OUT
 *     catalog_tool draw   MODEL TILES DRAWS     PLANES HEADS OUT
 * IN holds image, variance, mask, sky, sky_sigma [B][N][N], the PSF nodes, present (int32) and
 * correlation (double). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/decode.h"
#include "catalog/domain.h"
#include "catalog/inputs.h"
#include "catalog/photometry.h"

static void die(const char *what)
{
    fprintf(stderr, "catalog_tool: %s: %s\n", what, sq_error());
    exit(1);
}

static void take(FILE *file, void *to, size_t size)
{
    if (fread(to, 1, size, file) != size)
        die("short input");
}

static void give(FILE *file, const void *from, size_t size)
{
    if (fwrite(from, 1, size, file) != size)
        die("cannot write");
}

static FILE *open_or_die(const char *path, const char *mode)
{
    FILE *file = fopen(path, mode);
    if (!file)
        die(path);
    return file;
}

static sq_cutout *read_cutout(const char *path, int nband, int side)
{
    sq_cutout *c;
    size_t n = (size_t)nband * side * side * 4;
    if (sq_cutout_create(nband, side, side, &c) != SQ_OK)
        die("cutout");
    FILE *file = open_or_die(path, "rb");
    take(file, c->image, n);
    take(file, c->variance, n);
    take(file, c->mask, n);
    take(file, c->sky, n);
    take(file, c->sky_sigma, n);
    take(file, c->psf, (size_t)nband * SQ_PSF_NODES * SQ_PSF_NODES * SQ_PSF_SIDE * SQ_PSF_SIDE * 4);
    take(file, c->present, (size_t)nband * 4);
    take(file, c->correlation, (size_t)nband * 16);
    fclose(file);
    return c;
}

static void run_inputs(char **a)
{
    int nband = atoi(a[0]), side = atoi(a[1]), tile = atoi(a[2]);
    sq_cutout *c = read_cutout(a[3], nband, side);
    sq_inputs *in;
    if (sq_inputs_create(nband, side, tile, &in) != SQ_OK || sq_inputs_fill(c, in) != SQ_OK)
        die("inputs");
    size_t pixels = (size_t)side * side * nband * 4, tiles = (size_t)in->tiles * in->tiles * 4;
    FILE *file = open_or_die(a[4], "wb");
    give(file, in->image, 2 * pixels);
    give(file, in->planes, tiles * nband * SQ_PLANES_PER_BAND);
    give(file, in->mf_flux, pixels);
    give(file, in->mf_error, pixels);
    give(file, in->sigma, tiles * nband);
    give(file, in->peak, tiles);
    fclose(file);
    sq_inputs_destroy(in);
    sq_cutout_destroy(c);
}

/* OUT: the features of a square, and its score as a double. */
static void run_domain(char **a)
{
    int nband = atoi(a[0]), side = atoi(a[1]), tile = atoi(a[2]), block = atoi(a[8]);
    sq_cutout *c = read_cutout(a[3], nband, side);
    sq_inputs *in;
    sq_model *model;
    sq_domain *domain;
    float feature[SQ_DOMAIN_FEATURES], *work = malloc(2 * sizeof(float) * (size_t)(block * block));
    if (sq_inputs_create(nband, side, tile, &in) != SQ_OK || sq_inputs_fill(c, in) != SQ_OK ||
        sq_model_load(a[5], NULL, &model) != SQ_OK ||
        sq_domain_read(model, a[5], nband, &domain) != SQ_OK)
        die("domain");
    sq_domain_measure(c, in, atoi(a[6]), atoi(a[7]), block, work, feature);
    double score = sq_domain_score(domain, feature);
    FILE *file = open_or_die(a[4], "wb");
    give(file, feature, (size_t)sq_domain_features(nband) * sizeof *feature);
    give(file, &score, sizeof score);
    fclose(file);
    free(work);
    sq_domain_destroy(domain);
    sq_model_destroy(model);
    sq_inputs_destroy(in);
    sq_cutout_destroy(c);
}

static void run_check(int n, char **a)
{
    int nband = atoi(a[0]), side = atoi(a[1]);
    sq_cutout *c = read_cutout(a[2], nband, side);
    FILE *file = open_or_die(a[3], "wb");
    for (int i = 4; i + 2 < n; i += 3)
        for (int b = 0; b < nband; b++) {
            sq_check k = sq_catalog_check(c, b, atof(a[i]), atof(a[i + 1]), atof(a[i + 2]));
            double row[] = {k.psf_flux, k.psf_error, k.aperture_flux, k.aperture_error, k.mask};
            give(file, row, sizeof row);
        }
    fclose(file);
    sq_cutout_destroy(c);
}

static void give_source(FILE *file, const sq_catalog_source *s, int nband)
{
    double head[] = {s->row,      s->column, s->slot, s->x,           s->y,
                     s->xx,       s->xy,     s->yy,   s->probability, s->raw_probability,
                     s->expected, s->star,   s->snr};
    give(file, head, sizeof head);
    give(file, s->shape, sizeof s->shape);
    give(file, s->shape_sigma, sizeof s->shape_sigma);
    give(file, s->ln_flux, (size_t)nband * 8);
    give(file, s->raw_sigma, (size_t)nband * 8);
    for (int b = 0; b < nband; b++)
        give(file, s->covariance[b], (size_t)nband * 8);
}

/* OUT: of each draw the context and the number of sources, then the sources. */
static void draw(sq_decoder *decoder, const sq_catalog_net *net, const sq_inputs *in,
                 const float *heads, size_t size, int number, FILE *out)
{
    const sq_catalog_source *source;
    int64_t count, tiles = in->tiles;
    sq_rng rng;
    sq_rng_init(&rng, 3, 1, (uint64_t)number);
    sq_decoder_begin(decoder);
    for (int k = 0; k < SQ_CATALOG_COLOURS; k++) {
        sq_decoder_colour(decoder, k, heads + (size_t)k * size, in);
        if (sq_decoder_draw(decoder, k, heads + (size_t)k * size, in, &rng) != SQ_OK)
            die("draw");
    }
    sq_decoder_drawn(decoder, &source, &count);
    give(out, sq_decoder_context(decoder), (size_t)(net->context * tiles * tiles) * 4);
    give(out, &count, sizeof count);
    for (int64_t i = 0; i < count; i++)
        give_source(out, &source[i], net->nband);
}

/* OUT: the context after each colour, then the sources; or draws. */
static void run_decode(char **a, int draws)
{
    sq_model *model;
    sq_catalog_net net;
    sq_inputs *in;
    sq_decoder *decoder;
    const sq_catalog_source *source;
    int64_t count;
    int tiles = atoi(a[1]);
    if (sq_model_load(a[0], NULL, &model) != SQ_OK ||
        sq_catalog_net_read(model, a[0], &net) != SQ_OK)
        die("model");
    if (sq_inputs_create(net.nband, tiles * net.tile, net.tile, &in) != SQ_OK ||
        sq_decoder_create(&net, tiles, &decoder) != SQ_OK)
        die("decoder");
    FILE *planes = open_or_die(a[3], "rb"), *heads = open_or_die(a[4], "rb");
    FILE *out = open_or_die(a[5], "wb");
    take(planes, in->planes, (size_t)net.nband * SQ_PLANES_PER_BAND * tiles * tiles * 4);
    size_t size = (size_t)net.head * tiles * tiles / 4 * 4;
    float *head = malloc(4 * size);
    if (draws)
        take(heads, head, 4 * size);
    for (int i = 0; i < draws; i++)
        draw(decoder, &net, in, head, size / 4, i, out);
    if (draws)
        goto end;
    sq_decoder_begin(decoder);
    for (int k = 0; k < SQ_CATALOG_COLOURS; k++) {
        take(heads, head, size);
        sq_decoder_colour(decoder, k, head, in);
        give(out, sq_decoder_context(decoder), (size_t)net.context * tiles * tiles * 4);
    }
    if (sq_decoder_collect(decoder, atof(a[2]), &source, &count) != SQ_OK)
        die("collect");
    for (int64_t i = 0; i < count; i++)
        give_source(out, &source[i], net.nband);
end:
    free(head);
    fclose(planes);
    fclose(heads);
    fclose(out);
    sq_decoder_destroy(decoder);
    sq_inputs_destroy(in);
    sq_model_destroy(model);
}

int main(int argc, char **argv)
{
    if (argc == 7 && strcmp(argv[1], "inputs") == 0)
        run_inputs(argv + 2);
    else if (argc == 11 && strcmp(argv[1], "domain") == 0)
        run_domain(argv + 2);
    else if (argc > 6 && strcmp(argv[1], "check") == 0)
        run_check(argc - 2, argv + 2);
    else if (argc == 8 && strcmp(argv[1], "decode") == 0)
        run_decode(argv + 2, 0);
    else if (argc == 8 && strcmp(argv[1], "draw") == 0)
        run_decode(argv + 2, atoi(argv[4]));
    else
        return 2;
    return 0;
}
