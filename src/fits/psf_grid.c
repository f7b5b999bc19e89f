#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fits/band.h"
#include "fits/cards.h"

enum { MAX_NODES = 64, MAX_SIDE = 255, MAX_FLOATS = 16 << 20 };

struct sq_psf_grid {
    int nband, nodes_x, nodes_y;
    char band[SQ_MAX_BANDS][8];
    int64_t nx, ny;                          /* pixels of the tile */
    double at_x[MAX_NODES], at_y[MAX_NODES]; /* of the nodes, ascending */
    float *psf;                              /* [band][node_y][node_x][SQ_PSF_SIDE^2] of unit sum */
    float *sky;                              /* [band][node_y][node_x], NULL without */
    sq_hash hash;
};

enum { STAMP = SQ_PSF_SIDE * SQ_PSF_SIDE };

int sq_psf_fit(const float *stamp, int side, float *out)
{
    int shift = (SQ_PSF_SIDE - side) / 2; /* both sides are odd: the centres agree */
    double sum = 0;
    for (int y = 0; y < SQ_PSF_SIDE; y++) {
        for (int x = 0; x < SQ_PSF_SIDE; x++) {
            int sy = y - shift, sx = x - shift;
            int inside = sy >= 0 && sy < side && sx >= 0 && sx < side;
            float v = inside ? stamp[sy * side + sx] : 0;
            out[y * SQ_PSF_SIDE + x] = v;
            sum += v;
        }
    }
    if (!isfinite(sum) || sum <= 0)
        return 0;
    for (int i = 0; i < STAMP; i++)
        out[i] = (float)(out[i] / sum);
    return 1;
}

static sq_status read_nodes(const char *path, const char *header, char axis, int n, double *at)
{
    for (int k = 0; k < n; k++) {
        char key[16];
        snprintf(key, sizeof key, "NODE%c%d", axis, k + 1);
        if (!sq_cards_real(header, key, &at[k]) || (k > 0 && at[k] <= at[k - 1]))
            return sq_fail(SQ_ERR_FORMAT, "%s[0]: %s: missing or not ascending", path, key);
    }
    return SQ_OK;
}

static sq_status read_layout(sq_input *in, const char *header, sq_psf_grid *g, int *side)
{
    sq_status rc = SQ_OK;
    LONGLONG axes[5] = {0};
    int naxis = 0, status = 0;
    char text[16];
    fits_get_img_dim(in->fits, &naxis, &status);
    if (!status && naxis == 5)
        fits_get_img_sizell(in->fits, 5, axes, &status);
    if (status || naxis != 5 || !sq_cards_text(header, "PSFGRID", text, sizeof text))
        return sq_fail(SQ_ERR_FORMAT, "%s[0]: PSFGRID: not a PSF side file", in->path);
    if (axes[0] != axes[1] || axes[0] < 1 || axes[0] > MAX_SIDE || axes[0] % 2 == 0 ||
        axes[2] < 1 || axes[2] > MAX_NODES || axes[3] < 1 || axes[3] > MAX_NODES || axes[4] < 1 ||
        axes[4] > SQ_MAX_BANDS || axes[2] * axes[3] * axes[4] * STAMP > MAX_FLOATS)
        return sq_fail(SQ_ERR_FORMAT,
                       "%s[0]: NAXIS: PSF images of %lld x %lld at %lld x %lld nodes "
                       "in %lld bands",
                       in->path, (long long)axes[0], (long long)axes[1], (long long)axes[2],
                       (long long)axes[3], (long long)axes[4]);
    *side = (int)axes[0];
    g->nodes_x = (int)axes[2];
    g->nodes_y = (int)axes[3];
    g->nband = (int)axes[4];
    if (!sq_cards_int(header, "TILE_NX", &g->nx) || !sq_cards_int(header, "TILE_NY", &g->ny))
        return sq_fail(SQ_ERR_FORMAT, "%s[0]: TILE_NX: missing", in->path);
    SQ_TRY(read_nodes(in->path, header, 'X', g->nodes_x, g->at_x));
    SQ_TRY(read_nodes(in->path, header, 'Y', g->nodes_y, g->at_y));
    for (int b = 0; b < g->nband; b++) {
        snprintf(text, sizeof text, "BAND%d", b + 1);
        if (!sq_cards_text(header, text, g->band[b], sizeof g->band[b]))
            return sq_fail(SQ_ERR_FORMAT, "%s[0]: %s: missing", in->path, text);
    }
cleanup:
    return rc;
}

static sq_status read_stamps(sq_input *in, sq_psf_grid *g, int side)
{
    sq_status rc = SQ_OK;
    float *stamp = NULL, zero = 0;
    int n = g->nband * g->nodes_x * g->nodes_y, any;
    SQ_TRY(SQ_ALLOC(g->psf, (size_t)n * STAMP, "PSF grid"));
    SQ_TRY(SQ_ALLOC(stamp, side * side, "PSF image"));
    for (int k = 0; k < n; k++) {
        int status = 0;
        fits_read_img(in->fits, TFLOAT, 1 + (LONGLONG)k * side * side, side * side, &zero, stamp,
                      &any, &status);
        if (status)
            SQ_TRY(sq_fits_fail(status, in->path, 0, "PSF images"));
        g->hash = sq_hash_combine(g->hash, sq_hash_bytes(stamp, (size_t)side * side * 4));
        if (!sq_psf_fit(stamp, side, g->psf + (size_t)k * STAMP))
            SQ_TRY(sq_fail(SQ_ERR_DATA, "%s[0]: PSF image %d has no positive sum", in->path, k));
    }
cleanup:
    sq_free(stamp);
    return rc;
}

static sq_status read_sky(sq_input *in, sq_psf_grid *g)
{
    sq_status rc = SQ_OK;
    int status = 0, any, naxis = 0, n = g->nband * g->nodes_x * g->nodes_y;
    LONGLONG axes[3] = {0};
    float nan = NAN;
    if (in->hdus > 1) /* so that cfitsio does not look behind a single image */
        fits_movnam_hdu(in->fits, IMAGE_HDU, "SKY", 0, &status);
    else
        return SQ_OK;
    if (status) { /* the level is optional */
        fits_clear_errmsg();
        return SQ_OK;
    }
    fits_get_img_dim(in->fits, &naxis, &status);
    if (!status && naxis == 3)
        fits_get_img_sizell(in->fits, 3, axes, &status);
    if (status || axes[0] != g->nodes_x || axes[1] != g->nodes_y || axes[2] != g->nband)
        return sq_fail(SQ_ERR_FORMAT, "%s[SKY]: NAXIS: it has not the PSF images' nodes", in->path);
    SQ_TRY(SQ_ALLOC(g->sky, n, "sky levels"));
    fits_read_img(in->fits, TFLOAT, 1, n, &nan, g->sky, &any, &status);
    if (status)
        return sq_fits_fail(status, in->path, 1, "sky levels");
    for (int k = 0; k < n; k++) {
        if (!isfinite(g->sky[k]))
            return sq_fail(SQ_ERR_FORMAT, "%s[SKY]: not a number", in->path);
    }
    g->hash = sq_hash_combine(g->hash, sq_hash_bytes(g->sky, (size_t)n * sizeof *g->sky));
cleanup:
    return rc;
}

sq_status sq_psf_grid_open(const char *path, sq_psf_grid **out)
{
    sq_status rc = SQ_OK;
    sq_input *in = NULL;
    sq_psf_grid *g = NULL;
    char *header = NULL;
    int side = 0;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(g, 1, "PSF grid"));
    SQ_TRY(sq_input_open(path, SQ_INPUT_ALL, &in));
    SQ_TRY(sq_input_header(in, &header));
    SQ_TRY(read_layout(in, header, g, &side));
    g->hash = sq_hash_bytes(g->band, sizeof g->band);
    SQ_TRY(read_stamps(in, g, side));
    SQ_TRY(read_sky(in, g));
    *out = g;
    g = NULL;
cleanup:
    sq_free(header);
    sq_input_close(in);
    sq_psf_grid_close(g);
    return rc;
}

void sq_psf_grid_close(sq_psf_grid *g)
{
    if (!g)
        return;
    sq_free(g->psf);
    sq_free(g->sky);
    sq_free(g);
}

int sq_psf_grid_band(const sq_psf_grid *g, const char *name)
{
    for (int b = 0; b < g->nband; b++) {
        if (strcmp(g->band[b], name) == 0)
            return b;
    }
    return -1;
}

sq_hash sq_psf_grid_hash(const sq_psf_grid *g)
{
    return g->hash;
}

void sq_psf_grid_size(const sq_psf_grid *g, int64_t *nx, int64_t *ny)
{
    *nx = g->nx;
    *ny = g->ny;
}

/* The interval of nodes around a position and the weight of its far end, clamped. */
static int bracket(const double *at, int n, double x, double *weight)
{
    *weight = 0;
    if (n == 1 || !(x > at[0]))
        return 0;
    int k = 0;
    while (k < n - 2 && x >= at[k + 1])
        k++;
    *weight = fmin(1, (x - at[k]) / (at[k + 1] - at[k]));
    return k;
}

/* The four nodes around a pixel: index and weight of each. */
static void corners(const sq_psf_grid *g, int band, double x, double y, size_t index[4],
                    double weight[4])
{
    double wx, wy;
    int kx = bracket(g->at_x, g->nodes_x, x, &wx), ky = bracket(g->at_y, g->nodes_y, y, &wy);
    int stepx = g->nodes_x > 1, stepy = g->nodes_y > 1;
    for (int c = 0; c < 4; c++) {
        int dx = c % 2, dy = c / 2;
        index[c] = ((size_t)band * g->nodes_y + ky + dy * stepy) * g->nodes_x + kx + dx * stepx;
        weight[c] = (dx ? wx : 1 - wx) * (dy ? wy : 1 - wy);
    }
}

sq_status sq_psf_grid_at(const sq_psf_grid *g, int band, double x, double y, float *out)
{
    size_t index[4];
    double weight[4];
    corners(g, band, x, y, index, weight);
    for (int i = 0; i < STAMP; i++) {
        double v = 0;
        for (int c = 0; c < 4; c++)
            v += weight[c] * g->psf[index[c] * STAMP + i];
        out[i] = (float)v;
    }
    return SQ_OK;
}

void sq_psf_grid_sky_row(const sq_psf_grid *g, int band, int64_t y, int64_t x0, int n, float *out)
{
    double line[MAX_NODES], w;
    if (!g->sky) {
        memset(out, 0, (size_t)n * sizeof *out);
        return;
    }
    int ky = bracket(g->at_y, g->nodes_y, (double)y, &w);
    const float *low = g->sky + ((size_t)band * g->nodes_y + ky) * g->nodes_x;
    const float *high = g->nodes_y > 1 ? low + g->nodes_x : low;
    for (int k = 0; k < g->nodes_x; k++)
        line[k] = low[k] + w * ((double)high[k] - low[k]);
    for (int i = 0; i < n; i++) {
        int k = bracket(g->at_x, g->nodes_x, (double)(x0 + i), &w);
        out[i] = (float)(line[k] + (g->nodes_x > 1 ? w * (line[k + 1] - line[k]) : 0));
    }
}
