#include "catalog/decode.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

/* Channels of a slot; the rest follows from the number of bands. */
enum {
    MEAN_X,
    MEAN_Y,
    LOG_SIGMA_X,
    LOG_SIGMA_Y,
    CORRELATION,
    STAR,
    SHAPE,
    LOG_SIGMA_SHAPE = 10,
    FLUX = 14
};
/* Planes of the context: known, count / 2, empty, then four of each slot. */
enum { KNOWN, COUNT, EMPTY, SLOT, SLOT_PLANES = 4 };

#define LN10 2.302585092994046
#define LEAST 1e-3      /* probability from which a slot is decoded */
#define CONTEXT_SNR 5.0 /* of sources that are context in training */

struct sq_decoder {
    sq_catalog_net net;
    int tiles;
    float *context;          /* [context][M][M] */
    sq_catalog_source *slot; /* [M][M][2]; probability 0: not decoded */
    sq_catalog_source *found, *drawn;
    size_t capacity, draws, draw_capacity;
};

sq_status sq_decoder_create(const sq_catalog_net *net, int tiles, sq_decoder **out)
{
    sq_decoder *d = NULL;
    sq_status rc = SQ_OK;
    *out = NULL;
    if (tiles < 2 || tiles % 2 || tiles > 8192)
        return sq_fail(SQ_ERR_USAGE, "decoder: %d tiles a side: must be even", tiles);
    SQ_TRY(SQ_ALLOC(d, 1, "decoder"));
    d->net = *net;
    d->tiles = tiles;
    SQ_TRY(SQ_ALLOC(d->context, (size_t)net->context * tiles * tiles, "decoder context"));
    SQ_TRY(SQ_ALLOC(d->slot, (size_t)tiles * tiles * SQ_CATALOG_SLOTS, "decoder tiles"));
    *out = d;
    d = NULL;
cleanup:
    sq_decoder_destroy(d);
    return rc;
}

void sq_decoder_destroy(sq_decoder *d)
{
    if (!d)
        return;
    sq_free(d->context);
    sq_free(d->slot);
    sq_free(d->found);
    sq_free(d->drawn);
    sq_free(d);
}

void sq_decoder_begin(sq_decoder *d)
{
    size_t tiles = (size_t)d->tiles * d->tiles;
    memset(d->context, 0, (size_t)d->net.context * tiles * sizeof *d->context);
    memset(d->slot, 0, SQ_CATALOG_SLOTS * tiles * sizeof *d->slot);
    d->draws = 0;
}

const float *sq_decoder_context(const sq_decoder *d)
{
    return d->context;
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

/* Linear between the knots in ln S/N, constant outside. */
static double at_knots(const sq_catalog_calibration *c, const double *value, double ln_snr)
{
    int k = 1;
    if (c->knots == 1 || ln_snr <= c->ln_snr[0])
        return value[0];
    while (k < c->knots - 1 && ln_snr > c->ln_snr[k])
        k++;
    double t = fmin(1.0, (ln_snr - c->ln_snr[k - 1]) / (c->ln_snr[k] - c->ln_snr[k - 1]));
    return value[k - 1] + t * (value[k] - value[k - 1]);
}

/* What the conditioning planes of a tile say of its bands. */
typedef struct tile_light {
    double base[SQ_MAX_BANDS];     /* ln of the flux that the flux means are relative to, nJy; 0:
                                      missing band */
    double ln_error[SQ_MAX_BANDS]; /* ln of the matched filter's flux error */
    double snr;                    /* all bands together */
    double ln_sigma;               /* of the reference band's sky */
    int usable;
} tile_light;

static double plane_at(const sq_inputs *in, int band, int plane, int64_t tile)
{
    int64_t tiles = (int64_t)in->tiles * in->tiles;
    return in->planes[((int64_t)band * SQ_PLANES_PER_BAND + plane) * tiles + tile];
}

static tile_light light_of(const sq_catalog_net *net, const sq_inputs *in, int64_t tile)
{
    tile_light t = {.usable = 0};
    for (int b = 0; b < net->nband; b++) {
        if (!(plane_at(in, b, SQ_PLANE_USABLE, tile) > 0.0))
            continue;
        double snr = sinh(fmin(plane_at(in, b, SQ_PLANE_MF, tile), 12.0));
        double unit = plane_at(in, b, SQ_PLANE_MF_UNIT, tile);
        double sigma = plane_at(in, b, SQ_PLANE_SIGMA, tile);
        t.ln_error[b] = (unit + sigma + 2.0) * LN10;
        t.base[b] = log(fmax(snr, 1.0)) + t.ln_error[b];
        t.snr += snr > 0.0 ? snr * snr : 0.0;
        t.usable = 1;
    }
    t.snr = sqrt(t.snr);
    t.ln_sigma = (plane_at(in, net->reference, SQ_PLANE_SIGMA, tile) + 2.0) * LN10;
    return t;
}

/* A head's value of a channel at one of its tiles. */
typedef struct head_view {
    const float *data;
    int64_t stride; /* between channels */
} head_view;

static double channel(head_view h, int c)
{
    return h.data[c * h.stride];
}

/* Covariance of ln flux from the Cholesky factor A of the precision, P = A^T A: the columns of A^-1
 * give covariance = A^-1 A^-T. */
static void flux_covariance(head_view h, int first, int n, double out[SQ_MAX_BANDS][SQ_MAX_BANDS])
{
    double a[SQ_MAX_BANDS][SQ_MAX_BANDS], inverse[SQ_MAX_BANDS][SQ_MAX_BANDS] = {{0.0}};
    for (int i = 0, k = first; i < n; i++)
        for (int j = 0; j <= i; j++, k++)
            a[i][j] = i == j ? exp(clamp(channel(h, k), -3.0, 5.0)) : channel(h, k);
    for (int j = 0; j < n; j++)
        for (int i = j; i < n; i++) {
            double sum = i == j ? 1.0 : 0.0;
            for (int k = j; k < i; k++)
                sum -= a[i][k] * inverse[k][j];
            inverse[i][j] = sum / a[i][i];
        }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0.0;
            for (int k = 0; k <= (i < j ? i : j); k++)
                sum += inverse[i][k] * inverse[j][k];
            out[i][j] = sum;
        }
}

static void decode_flux(const sq_catalog_net *net, head_view h, const tile_light *light,
                        sq_catalog_source *s)
{
    const sq_catalog_calibration *c = &net->calibration;
    double ln_snr = log(fmax(light->snr, 1e-3));
    flux_covariance(h, FLUX + net->nband, net->nband, s->covariance);
    for (int b = 0; b < net->nband; b++) {
        s->ln_flux[b] = light->base[b] + clamp(channel(h, FLUX + b), -40.0, 40.0);
        s->raw_sigma[b] = sqrt(s->covariance[b][b]);
        if (c->knots)
            s->ln_flux[b] += at_knots(c, c->offset[b], ln_snr);
    }
    for (int i = 0; i < net->nband && c->knots; i++)
        for (int j = 0; j < net->nband; j++)
            s->covariance[i][j] *=
                at_knots(c, c->flux[i], ln_snr) * at_knots(c, c->flux[j], ln_snr);
}

static void decode_slot(const sq_catalog_net *net, head_view h, const tile_light *light,
                        sq_catalog_source *s)
{
    const sq_catalog_calibration *c = &net->calibration;
    double ln_snr = log(fmax(light->snr, 1e-3)), t = net->tile;
    double scale = c->knots ? at_knots(c, c->position, ln_snr) : 1.0;
    double sx = scale * t * exp(clamp(channel(h, LOG_SIGMA_X), -6.0, 1.0));
    double sy = scale * t * exp(clamp(channel(h, LOG_SIGMA_Y), -6.0, 1.0));
    double rho = 0.99 * tanh(channel(h, CORRELATION));
    s->x = t * (s->column + clamp(channel(h, MEAN_X), -1.0, 2.0)) - 0.5;
    s->y = t * (s->row + clamp(channel(h, MEAN_Y), -1.0, 2.0)) - 0.5;
    s->xx = sx * sx;
    s->yy = sy * sy;
    s->xy = rho * sx * sy;
    s->star = sigmoid(channel(h, STAR));
    s->snr = light->snr;
    for (int i = 0; i < SQ_CATALOG_SHAPES; i++) {
        s->shape[i] = channel(h, SHAPE + i);
        s->shape_sigma[i] = exp(clamp(channel(h, LOG_SIGMA_SHAPE + i), -6.0, 3.0));
        if (c->knots)
            s->shape_sigma[i] *= at_knots(c, c->shape[i], ln_snr);
    }
    decode_flux(net, h, light, s);
}

/* P(n >= 1) and P(n >= 2). */
static void count_probability(head_view h, double p[SQ_CATALOG_SLOTS])
{
    double a = channel(h, 0), b = channel(h, 1), c = channel(h, 2), top = fmax(a, fmax(b, c));
    a = exp(a - top);
    b = exp(b - top);
    c = exp(c - top);
    p[0] = (b + c) / (a + b + c);
    p[1] = c / (a + b + c);
}

static double calibrated(const sq_catalog_calibration *c, double p)
{
    if (c->knots == 0)
        return p;
    double q = clamp(p, 1e-12, 1.0 - 1e-12);
    return sigmoid(c->probability[0] + c->probability[1] * log(q / (1.0 - q)));
}

/* Tell the next colours of the first `count` sources of a tile. */
static void set_context(sq_decoder *d, int64_t tile, int count, const sq_catalog_source *slot,
                        const tile_light *light)
{
    int64_t tiles = (int64_t)d->tiles * d->tiles;
    float *context = d->context + tile;
    for (int k = 0; k < SLOT + SLOT_PLANES * SQ_CATALOG_SLOTS; k++)
        context[k * tiles] = 0.0f;
    context[KNOWN * tiles] = 1.0f;
    context[COUNT * tiles] = 0.5f * (float)count;
    context[EMPTY * tiles] = count == 0 ? 1.0f : 0.0f;
    for (int s = 0; s < count; s++) {
        const sq_catalog_source *at = &slot[s];
        double t = d->net.tile;
        double u = clamp((at->x + 0.5) / t - at->column, 0.0, 1.0);
        double v = clamp((at->y + 0.5) / t - at->row, 0.0, 1.0);
        float *to = context + (SLOT + SLOT_PLANES * s) * tiles;
        to[0] = (float)(u - 0.5);
        to[tiles] = (float)(v - 0.5);
        to[2 * tiles] = (float)((at->ln_flux[d->net.reference] - light->ln_sigma) / 4.0);
        to[3 * tiles] = at->star >= 0.5 ? 0.5f : -0.5f;
    }
}

/* Tile (i, j) among those of a colour, and its head. */
static int64_t tile_of(const sq_decoder *d, int colour, int i, int j)
{
    return (int64_t)(2 * j + colour / 2) * d->tiles + 2 * i + colour % 2;
}

static head_view view_of(const sq_decoder *d, const float *head, int i, int j)
{
    int64_t half = d->tiles / 2;
    return (head_view){head + j * half + i, half * half};
}

static head_view slot_view(const sq_decoder *d, head_view h, int slot)
{
    return (head_view){h.data + (3 + slot * d->net.slot) * h.stride, h.stride};
}

static void decode_tile(sq_decoder *d, int64_t tile, head_view h, const sq_inputs *in)
{
    sq_catalog_source *slot = d->slot + tile * SQ_CATALOG_SLOTS;
    tile_light light = light_of(&d->net, in, tile);
    double p[SQ_CATALOG_SLOTS];
    count_probability(h, p);
    for (int s = 0; s < SQ_CATALOG_SLOTS; s++) {
        slot[s].row = (int)(tile / d->tiles);
        slot[s].column = (int)(tile % d->tiles);
        slot[s].slot = s;
        slot[s].raw_probability = light.usable ? p[s] : 0.0;
        slot[s].probability = light.usable ? calibrated(&d->net.calibration, p[s]) : 0.0;
        slot[s].expected = p[0] + p[1];
        if (slot[s].raw_probability > LEAST)
            decode_slot(&d->net, slot_view(d, h, s), &light, &slot[s]);
    }
    int count = slot[0].raw_probability >= 0.5 ? 1 + (slot[1].raw_probability >= 0.5) : 0;
    set_context(d, tile, count, slot, &light);
}

void sq_decoder_colour(sq_decoder *d, int colour, const float *head, const sq_inputs *in)
{
    for (int j = 0; j < d->tiles / 2; j++)
        for (int i = 0; i < d->tiles / 2; i++)
            decode_tile(d, tile_of(d, colour, i, j), view_of(d, head, i, j), in);
}

/* ---- Joint draws ---- */

/* ln flux + L z with L L^T the covariance. */
static void draw_flux(int n, sq_catalog_source *s, sq_rng *rng)
{
    double lower[SQ_MAX_BANDS][SQ_MAX_BANDS] = {{0.0}}, z[SQ_MAX_BANDS];
    for (int i = 0; i < n; i++) {
        for (int j = 0; j <= i; j++) {
            double sum = s->covariance[i][j];
            for (int k = 0; k < j; k++)
                sum -= lower[i][k] * lower[j][k];
            lower[i][j] = i == j              ? sqrt(fmax(sum, 0.0))
                          : lower[j][j] > 0.0 ? sum / lower[j][j]
                                              : 0.0;
        }
        z[i] = sq_rng_normal(rng);
        for (int j = 0; j <= i; j++)
            s->ln_flux[i] += lower[i][j] * z[j];
    }
}

static void draw_source(const sq_catalog_net *net, sq_catalog_source *s, sq_rng *rng)
{
    double a = sq_rng_normal(rng), b = sq_rng_normal(rng), sx = sqrt(s->xx);
    double along = s->xy / sx;
    s->x += sx * a;
    s->y += along * a + sqrt(fmax(s->yy - along * along, 0.0)) * b;
    s->star = sq_rng_uniform(rng) < s->star;
    for (int i = 0; i < SQ_CATALOG_SHAPES; i++)
        s->shape[i] += s->shape_sigma[i] * sq_rng_normal(rng);
    draw_flux(net->nband, s, rng);
}

/* S/N that the matched filter expects of a flux, all bands together. */
static double flux_snr(const sq_catalog_net *net, const tile_light *light,
                       const sq_catalog_source *s)
{
    double sum = 0.0;
    for (int b = 0; b < net->nband; b++)
        if (light->base[b] != 0.0)
            sum += exp(2.0 * fmin(s->ln_flux[b] - light->ln_error[b], 15.0));
    return sqrt(sum);
}

static sq_status draw_tile(sq_decoder *d, int64_t tile, head_view h, const sq_inputs *in,
                           sq_rng *rng)
{
    const sq_catalog_source *slot = d->slot + tile * SQ_CATALOG_SLOTS;
    sq_catalog_source seen[SQ_CATALOG_SLOTS];
    tile_light light = light_of(&d->net, in, tile);
    double u = sq_rng_uniform(rng);
    int count = 0;
    sq_status rc = SQ_OK;
    SQ_TRY(SQ_GROW(d->drawn, d->draw_capacity, d->draws + SQ_CATALOG_SLOTS, "drawn sources"));
    for (int s = 0; s < SQ_CATALOG_SLOTS && u < slot[s].probability; s++) {
        sq_catalog_source *one = &d->drawn[d->draws++];
        *one = slot[s];
        if (!(one->raw_probability > LEAST))
            decode_slot(&d->net, slot_view(d, h, s), &light, one);
        draw_source(&d->net, one, rng);
        if (flux_snr(&d->net, &light, one) > CONTEXT_SNR)
            seen[count++] = *one;
    }
    set_context(d, tile, count, seen, &light);
cleanup:
    return rc;
}

sq_status sq_decoder_draw(sq_decoder *d, int colour, const float *head, const sq_inputs *in,
                          sq_rng *rng)
{
    sq_status rc = SQ_OK;
    for (int j = 0; j < d->tiles / 2 && rc == SQ_OK; j++)
        for (int i = 0; i < d->tiles / 2 && rc == SQ_OK; i++)
            rc = draw_tile(d, tile_of(d, colour, i, j), view_of(d, head, i, j), in, rng);
    return rc;
}

void sq_decoder_drawn(const sq_decoder *d, const sq_catalog_source **source, int64_t *count)
{
    *source = d->drawn;
    *count = (int64_t)d->draws;
}

static int all_finite(const sq_catalog_source *s, int nband)
{
    double sum = s->x + s->y + s->xx + s->yy + s->xy + s->star;
    for (int b = 0; b < nband; b++)
        sum += s->ln_flux[b] + s->covariance[b][b];
    for (int i = 0; i < SQ_CATALOG_SHAPES; i++)
        sum += s->shape[i] + s->shape_sigma[i];
    return isfinite(sum);
}

void sq_decoder_expected(const sq_decoder *d, int row, int column, double *mean, double *variance)
{
    const sq_catalog_source *s = d->slot + ((int64_t)row * d->tiles + column) * SQ_CATALOG_SLOTS;
    *mean = s[0].probability + s[1].probability;
    *variance = s[0].probability + 3.0 * s[1].probability - *mean * *mean;
}

static double neighbours_of(const sq_decoder *d, const sq_catalog_source *s)
{
    double sum = -s->probability, mean, variance;
    for (int row = s->row - 1; row <= s->row + 1; row++)
        for (int column = s->column - 1; column <= s->column + 1; column++)
            if (row >= 0 && column >= 0 && row < d->tiles && column < d->tiles) {
                sq_decoder_expected(d, row, column, &mean, &variance);
                sum += mean;
            }
    return sum;
}

sq_status sq_decoder_collect(sq_decoder *d, double threshold, const sq_catalog_source **source,
                             int64_t *count)
{
    size_t tiles = (size_t)d->tiles * d->tiles, n = 0;
    double least = fmax(threshold, LEAST);
    sq_status rc = SQ_OK;
    for (size_t k = 0; k < tiles * SQ_CATALOG_SLOTS; k++) {
        const sq_catalog_source *s = &d->slot[k];
        if (!(s->probability >= least && s->raw_probability > LEAST))
            continue;
        if (!all_finite(s, d->net.nband))
            return sq_fail(SQ_ERR_DATA, "the network gives no number at tile %d, %d", s->row,
                           s->column);
        SQ_TRY(SQ_GROW(d->found, d->capacity, n + 1, "decoded sources"));
        d->found[n] = *s;
        d->found[n++].neighbours = neighbours_of(d, s);
    }
    *source = d->found;
    *count = (int64_t)n;
cleanup:
    return rc;
}
