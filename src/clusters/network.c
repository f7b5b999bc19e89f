#include "clusters/network.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "nn/metadata.h"

enum { BATCH = 64 };
static const double ARCMIN = M_PI / 180 / 60;

struct sq_cluster_network {
    sq_cluster_net net;
    sq_flat flat;
    int passes, tile;
    double core; /* pixels */
    sq_engine *engine;
    sq_cluster_inputs *inputs; /* of clusters-maps-1 */
    float *image, *planes;     /* of one tile, or a batch of cutouts */
    float *out;                /* of one tile or batch */
    float *sum;                /* [heads][ny * nx] */
    float *weight, *depth;     /* [ny * nx] */
};

static sq_status read_bands(const sq_model *model, const char *path, sq_cluster_net *net)
{
    const char *text;
    sq_status rc = sq_metadata_text(model, path, "ghz", &text);
    if (rc != SQ_OK)
        return rc;
    net->nband = 1;
    for (const char *at = text; *at; at++)
        net->nband += *at == ',';
    if (net->nband > SQ_MMF_BANDS)
        return sq_metadata_bad(path, "ghz", text);
    return sq_metadata_reals(model, path, "ghz", net->nband, 20, 900, net->ghz);
}

static sq_status check_tensor(const char *path, sq_tensor_info info, const char *name, int rank,
                              int64_t channels)
{
    if (!info.name || strcmp(info.name, name) != 0 || info.rank != rank ||
        (info.dim[1] != channels && info.dim[1] != -1))
        return sq_fail(SQ_ERR_CONFIG, "%s: '%s' of rank %d, not '%s' with %lld channels", path,
                       info.name ? info.name : "", info.rank, name, (long long)channels);
    return SQ_OK;
}

static sq_status check_tensors(const sq_model *model, const char *path, const sq_cluster_net *net)
{
    sq_status rc = SQ_OK;
    int inputs = net->cutouts ? 1 : 2;
    if (sq_model_inputs(model) != inputs || sq_model_outputs(model) != 1)
        return sq_fail(SQ_ERR_CONFIG, "%s: %d inputs and %d outputs, not %d and 1", path,
                       sq_model_inputs(model), sq_model_outputs(model), inputs);
    if (net->cutouts) {
        SQ_TRY(check_tensor(path, sq_model_input(model, 0), "cutout", 4, net->nband));
        SQ_TRY(check_tensor(path, sq_model_output(model, 0), "score", 2, 1));
    } else {
        SQ_TRY(check_tensor(path, sq_model_input(model, 0), "image", 4,
                            net->nband + SQ_CLUSTER_SCALES + 2));
        SQ_TRY(check_tensor(path, sq_model_input(model, 1), "planes", 4, 2 * net->nband + 2));
        SQ_TRY(check_tensor(path, sq_model_output(model, 0), "heads", 4, SQ_CLUSTER_HEADS));
    }
cleanup:
    return rc;
}

sq_status sq_cluster_net_read(const sq_model *model, const char *path, sq_cluster_net *net)
{
    const char *text;
    sq_status rc = SQ_OK;
    *net = (sq_cluster_net){.heads = SQ_CLUSTER_HEADS, .multiple = SQ_CLUSTER_CELL};
    SQ_TRY(sq_metadata_text(model, path, "kind", &text));
    if (strcmp(text, "clusters") != 0)
        return sq_fail(SQ_ERR_CONFIG, "%s: a network for '%s', not a cluster network", path, text);
    SQ_TRY(sq_metadata_text(model, path, "layout", &text));
    net->cutouts = strcmp(text, "clusters-cutouts-1") == 0;
    if (!net->cutouts && strcmp(text, "clusters-maps-1") != 0)
        return sq_metadata_bad(path, "layout", text);
    SQ_TRY(sq_metadata_name(model, path, "name", net->name, sizeof net->name));
    SQ_TRY(sq_metadata_name(model, path, "version", net->version, sizeof net->version));
    SQ_TRY(sq_metadata_real(model, path, "pixel", 0.05, 10, &net->pixel));
    SQ_TRY(read_bands(model, path, net));
    if (net->cutouts) {
        net->heads = 1;
    } else {
        SQ_TRY(sq_metadata_integer(model, path, "halo", 0, 1024, &net->halo));
        SQ_TRY(sq_metadata_integer(model, path, "multiple", SQ_CLUSTER_CELL, 1024, &net->multiple));
        SQ_TRY(sq_metadata_text(model, path, "heads", &text));
        if (strcmp(text, "halo,cluster,target,ln_mass,ln_sigma,far") != 0)
            return sq_metadata_bad(path, "heads", text);
        int planes = 2 * net->nband + 2;
        SQ_TRY(sq_metadata_reals(model, path, "domain_low", planes, -1e3, 1e3, net->domain[0]));
        SQ_TRY(sq_metadata_reals(model, path, "domain_high", planes, -1e3, 1e3, net->domain[1]));
    }
    SQ_TRY(check_tensors(model, path, net));
cleanup:
    return rc;
}

static sq_status check_setup(const sq_cluster_network_setup *s)
{
    const sq_cluster_net *net = &s->net;
    const sq_cluster_bands *bands = &s->bands;
    if (s->passes != 1 && s->passes != 2 && s->passes != 4)
        return sq_fail(SQ_ERR_USAGE, "cluster network: %d passes, not 1, 2 or 4", s->passes);
    if (!net->cutouts && !s->tile && s->passes > 1)
        return sq_fail(SQ_ERR_USAGE, "cluster network: %d passes of a whole patch", s->passes);
    int same = bands->nband == net->nband;
    for (int b = 0; b < bands->nband && same; b++)
        same = fabs(bands->ghz[b] / net->ghz[b] - 1) <= 0.05;
    if (!same)
        return sq_fail(SQ_ERR_CONFIG, "%s: the network was trained for other frequencies",
                       net->name);
    if (fabs(bands->flat.dx / (net->pixel * ARCMIN) - 1) > 1e-3 ||
        fabs(bands->flat.dy / bands->flat.dx - 1) > 1e-6)
        return sq_fail(SQ_ERR_CONFIG, "%s: the network was trained for pixels of %g arcmin",
                       net->name, net->pixel);
    if (!net->cutouts && s->tile &&
        (s->tile % net->multiple || s->tile <= 2 * net->halo || s->tile > bands->flat.nx))
        return sq_fail(SQ_ERR_CONFIG,
                       "%s: a tile of %d pixels is no multiple of %d, not above twice the halo of "
                       "%d, or larger than the patch of %d",
                       net->name, s->tile, net->multiple, net->halo, bands->flat.nx);
    return SQ_OK;
}

static sq_status create_engine(sq_cluster_network *n, const sq_cluster_network_setup *s)
{
    int64_t shape[2][SQ_MAX_RANK] = {{0}};
    int64_t bands = n->net.nband, cells = n->tile / SQ_CLUSTER_CELL;
    if (n->net.cutouts) {
        const int64_t cutout[] = {BATCH, bands, SQ_CLUSTER_CUTOUT, SQ_CLUSTER_CUTOUT};
        memcpy(shape[0], cutout, sizeof cutout);
    } else {
        const int64_t image[] = {1, bands + SQ_CLUSTER_SCALES + 2, n->tile, n->tile};
        const int64_t planes[] = {1, 2 * bands + 2, cells, cells};
        memcpy(shape[0], image, sizeof image);
        memcpy(shape[1], planes, sizeof planes);
    }
    return sq_engine_create(s->model, (const int64_t(*)[SQ_MAX_RANK])shape, NULL, s->precision,
                            &n->engine);
}

static sq_status allocate(sq_cluster_network *n)
{
    sq_status rc = SQ_OK;
    int64_t pixels = sq_flat_pixels(&n->flat), bands = n->net.nband;
    int64_t tile = (int64_t)n->tile * n->tile, cell = SQ_CLUSTER_CELL * SQ_CLUSTER_CELL;
    if (n->net.cutouts) {
        SQ_TRY(
            SQ_ALLOC(n->image, BATCH * bands * SQ_CLUSTER_CUTOUT * SQ_CLUSTER_CUTOUT, "cutouts"));
        SQ_TRY(SQ_ALLOC(n->out, BATCH, "scores"));
    } else {
        SQ_TRY(SQ_ALLOC(n->image, (bands + SQ_CLUSTER_SCALES + 2) * tile, "tile"));
        SQ_TRY(SQ_ALLOC(n->planes, (2 * bands + 2) * tile / cell, "tile"));
        SQ_TRY(SQ_ALLOC(n->out, SQ_CLUSTER_HEADS * tile, "heads"));
    }
    SQ_TRY(SQ_ALLOC(n->sum, n->net.heads * pixels, "network maps"));
    SQ_TRY(SQ_ALLOC(n->weight, pixels, "weights"));
    SQ_TRY(SQ_ALLOC(n->depth, pixels, "depth"));
cleanup:
    return rc;
}

sq_status sq_cluster_network_create(const sq_cluster_network_setup *s, sq_cluster_network **out)
{
    sq_status rc = SQ_OK;
    sq_cluster_network *n = NULL;
    *out = NULL;
    SQ_TRY(check_setup(s));
    SQ_TRY(SQ_ALLOC(n, 1, "cluster network"));
    n->net = s->net;
    n->flat = s->bands.flat;
    n->passes = s->passes;
    n->tile = s->tile ? s->tile : s->bands.flat.nx;
    n->core = s->net.cutouts ? sq_cluster_cutout_core / s->net.pixel
                             : (s->tile ? n->tile - 2 * n->net.halo : n->tile);
    if (!n->net.cutouts)
        SQ_TRY(sq_cluster_inputs_create(&s->bands, &n->inputs));
    SQ_TRY(create_engine(n, s));
    SQ_TRY(allocate(n));
    *out = n;
    n = NULL;
cleanup:
    sq_cluster_network_destroy(n);
    return rc;
}

void sq_cluster_network_destroy(sq_cluster_network *n)
{
    if (!n)
        return;
    sq_engine_destroy(n->engine);
    sq_cluster_inputs_destroy(n->inputs);
    sq_free(n->image);
    sq_free(n->planes);
    sq_free(n->out);
    sq_free(n->sum);
    sq_free(n->weight);
    sq_free(n->depth);
    sq_free(n);
}

/* The corner of a core; pixel i reaches from i to i + 1 here. */
typedef struct core {
    double x, y;
} core;

static double edge_distance(const sq_cluster_network *n, const core *c, int x, int y)
{
    double u = x + 0.5 - c->x, v = y + 0.5 - c->y;
    return fmin(fmin(u, n->core - u), fmin(v, n->core - v)) / (0.5 * n->core);
}

/* Add the values of one core to the sums: a plane a head, with rows of `stride` pixels, of which
 * the first is pixel x0, y0; a stride of 0 stands for one value for all pixels. */
static void add_core(sq_cluster_network *n, const core *c, const float *value, int64_t plane,
                     int x0, int y0, int stride)
{
    int64_t pixels = sq_flat_pixels(&n->flat);
    int left = (int)fmax(0, ceil(c->x - 0.5)), low = (int)fmax(0, ceil(c->y - 0.5));
    for (int y = low; y < n->flat.ny && y + 0.5 < c->y + n->core; y++) {
        for (int x = left; x < n->flat.nx && x + 0.5 < c->x + n->core; x++) {
            int64_t at = (int64_t)y * n->flat.nx + x;
            float depth = (float)edge_distance(n, c, x, y), w = fmaxf(depth, 1e-3f);
            int64_t from = stride ? (int64_t)(y - y0) * stride + x - x0 : 0;
            for (int h = 0; h < n->net.heads; h++)
                n->sum[h * pixels + at] += w * value[h * plane + from];
            n->weight[at] += w;
            n->depth[at] = fmaxf(n->depth[at], depth);
        }
    }
}

/* Where the cores of a pass begin along an axis. */
static double first_corner(const sq_cluster_network *n, int shifted)
{
    return shifted ? -0.5 * n->core : 0;
}

static sq_status run_tile(sq_cluster_network *n, const core *c)
{
    int side = n->flat.nx, tile = n->tile, small = tile / SQ_CLUSTER_CELL;
    int channels = sq_cluster_inputs_channels(n->inputs);
    int conditions = sq_cluster_inputs_conditions(n->inputs), cells = side / SQ_CLUSTER_CELL;
    /* The tile around the core, moved into the patch and onto the grid of cells. */
    int last = side - tile, x0 = (int)floor(c->x) - n->net.halo,
        y0 = (int)floor(c->y) - n->net.halo;
    x0 = (x0 < 0 ? 0 : x0 > last ? last : x0) / SQ_CLUSTER_CELL * SQ_CLUSTER_CELL;
    y0 = (y0 < 0 ? 0 : y0 > last ? last : y0) / SQ_CLUSTER_CELL * SQ_CLUSTER_CELL;
    const float *image = sq_cluster_inputs_image(n->inputs);
    const float *planes = sq_cluster_inputs_planes(n->inputs);
    for (int64_t k = 0; k < (int64_t)channels * tile; k++) {
        int64_t row = k / tile * side + y0 + k % tile;
        memcpy(n->image + k * tile, image + row * side + x0, (size_t)tile * sizeof *image);
    }
    for (int64_t k = 0; k < (int64_t)conditions * small; k++) {
        int64_t row = k / small * cells + y0 / SQ_CLUSTER_CELL + k % small;
        memcpy(n->planes + k * small, planes + row * cells + x0 / SQ_CLUSTER_CELL,
               (size_t)small * sizeof *planes);
    }
    const float *const input[] = {n->image, n->planes};
    float *const output[] = {n->out};
    sq_status rc = sq_engine_run(n->engine, 0, 0, input, output);
    if (rc == SQ_OK)
        add_core(n, c, n->out, (int64_t)tile * tile, x0, y0, tile);
    return rc;
}

static sq_status run_tiles(sq_cluster_network *n, int right, int down)
{
    for (double y = first_corner(n, down); y < n->flat.ny; y += n->core) {
        for (double x = first_corner(n, right); x < n->flat.nx; x += n->core) {
            sq_status rc = run_tile(n, &(core){x, y});
            if (rc != SQ_OK)
                return rc;
        }
    }
    return SQ_OK;
}

static int has_wanted(const sq_cluster_network *n, const core *c, const uint8_t *wanted)
{
    int left = (int)fmax(0, ceil(c->x - 0.5)), low = (int)fmax(0, ceil(c->y - 0.5));
    for (int y = low; y < n->flat.ny && y + 0.5 < c->y + n->core; y++) {
        for (int x = left; x < n->flat.nx && x + 0.5 < c->x + n->core; x++) {
            if (wanted[(int64_t)y * n->flat.nx + x])
                return 1;
        }
    }
    return 0;
}

static sq_status run_cutouts(sq_cluster_network *n, const float *const *map, const uint8_t *wanted,
                             int right, int down)
{
    sq_status rc = SQ_OK;
    double rim = 0.5 * (sq_cluster_cutout_side - sq_cluster_cutout_core) / n->net.pixel;
    int64_t size = (int64_t)n->net.nband * SQ_CLUSTER_CUTOUT * SQ_CLUSTER_CUTOUT;
    core held[BATCH];
    int count = 0;
    double y0 = first_corner(n, down), x0 = first_corner(n, right);
    int rows = (int)floor((n->flat.ny - rim - y0) / n->core);
    int columns = (int)floor((n->flat.nx - rim - x0) / n->core);
    for (int k = 0; k < rows * columns; k++) {
        core c = {x0 + n->core * (k % columns), y0 + n->core * (double)(k / columns)};
        if (c.x >= rim && c.y >= rim && (!wanted || has_wanted(n, &c, wanted))) {
            /* sq_cluster_cutout counts from the centre of pixel 0. */
            sq_cluster_cutout(&n->flat, n->net.nband, map, c.x - rim - 0.5, c.y - rim - 0.5,
                              n->image + count * size);
            held[count++] = c;
        }
        if (count == BATCH || (count && k == rows * columns - 1)) {
            const float *const input[] = {n->image};
            float *const output[] = {n->out};
            SQ_TRY(sq_engine_run(n->engine, 0, 0, input, output));
            for (int i = 0; i < count; i++)
                add_core(n, &held[i], n->out + i, 1, 0, 0, 0);
            count = 0;
        }
    }
cleanup:
    return rc;
}

sq_status sq_cluster_network_run(sq_cluster_network *n, const float *const *map,
                                 const float *const *noise, const uint8_t *wanted)
{
    static const int right[] = {0, 1, 1, 0}, down[] = {0, 1, 0, 1};
    int64_t pixels = sq_flat_pixels(&n->flat);
    sq_status rc = SQ_OK;
    memset(n->sum, 0, (size_t)(n->net.heads * pixels) * sizeof *n->sum);
    memset(n->weight, 0, (size_t)pixels * sizeof *n->weight);
    memset(n->depth, 0, (size_t)pixels * sizeof *n->depth);
    if (n->inputs)
        SQ_TRY(sq_cluster_inputs_fill(n->inputs, map, noise));
    for (int p = 0; p < n->passes; p++)
        SQ_TRY(n->inputs ? run_tiles(n, right[p], down[p])
                         : run_cutouts(n, map, wanted, right[p], down[p]));
    for (int h = 0; h < n->net.heads; h++) {
        for (int64_t i = 0; i < pixels; i++)
            n->sum[h * pixels + i] = n->weight[i] > 0 && (n->inputs || !wanted || wanted[i])
                                         ? n->sum[h * pixels + i] / n->weight[i]
                                         : NAN;
    }
cleanup:
    return rc;
}

const float *sq_cluster_network_map(const sq_cluster_network *n, int head)
{
    return n->sum + head * sq_flat_pixels(&n->flat);
}

const sq_flat *sq_cluster_network_flat(const sq_cluster_network *n)
{
    return &n->flat;
}

const float *sq_cluster_network_depth(const sq_cluster_network *n)
{
    return n->depth;
}

void sq_cluster_network_sample(const sq_cluster_network *n, double x, double y, double radius,
                               float *head)
{
    int64_t pixels = sq_flat_pixels(&n->flat), best = -1;
    for (int v = (int)ceil(y - radius); v <= floor(y + radius); v++) {
        for (int u = (int)ceil(x - radius); u <= floor(x + radius); u++) {
            int64_t at = (int64_t)v * n->flat.nx + u;
            int in = u >= 0 && v >= 0 && u < n->flat.nx && v < n->flat.ny &&
                     hypot(u - x, v - y) <= radius;
            if (in && !isnan(n->sum[at]) && (best < 0 || n->sum[at] > n->sum[best]))
                best = at;
        }
    }
    for (int h = 0; h < n->net.heads; h++)
        head[h] = best < 0 ? NAN : n->sum[h * pixels + best];
}

double sq_cluster_network_fwhm(const sq_cluster_network *n)
{
    return n->inputs ? sq_cluster_inputs_fwhm(n->inputs, n->net.nband / 2) : NAN;
}

int sq_cluster_network_in_domain(const sq_cluster_network *n, int x, int y)
{
    if (!n->inputs)
        return 1;
    int64_t cells = n->flat.nx / SQ_CLUSTER_CELL;
    const float *plane =
        sq_cluster_inputs_planes(n->inputs) + y / SQ_CLUSTER_CELL * cells + x / SQ_CLUSTER_CELL;
    for (int c = 0; c < sq_cluster_inputs_conditions(n->inputs); c++) {
        double value = plane[c * cells * cells];
        if (!(value >= n->net.domain[0][c] && value <= n->net.domain[1][c]))
            return 0;
    }
    return 1;
}
