#include "catalog/inputs.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"

enum {
    BLOCK = 16,      /* pixels over which one PSF image serves */
    MAX_RADIUS = 12, /* of the matched filter's stamp, pixels */
    MIN_RADIUS = 3,
    MOMENT_STEPS = 12
};

#define W_LIMIT 60000.0f /* image / sky_sigma is clipped here: what a half float holds */

/* Elementwise loops only: the clones differ in width, not in the order of any sum. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDE
#endif

typedef struct psf_shape {
    double log_fwhm, e1, e2; /* log of pixels */
} psf_shape;

sq_status sq_inputs_create(int nband, int side, int tile, sq_inputs **out)
{
    *out = NULL;
    if (nband < 1 || nband > SQ_MAX_BANDS || tile < 1 || side < tile || side > 32768 || side % tile)
        return sq_fail(SQ_ERR_USAGE, "inputs: %d bands, side %d, tile %d: not possible", nband,
                       side, tile);
    sq_status rc = SQ_OK;
    sq_inputs *in = NULL;
    SQ_TRY(SQ_ALLOC(in, 1, "network inputs"));
    in->nband = nband;
    in->side = side;
    in->tile = tile;
    in->tiles = side / tile;
    size_t pixels = (size_t)side * side, tiles = (size_t)in->tiles * in->tiles;
    SQ_TRY(SQ_ALLOC(in->image, 2 * nband * pixels, "network image"));
    SQ_TRY(SQ_ALLOC(in->planes, nband * SQ_PLANES_PER_BAND * tiles, "conditioning planes"));
    SQ_TRY(SQ_ALLOC(in->mf_flux, nband * pixels, "matched-filter flux"));
    SQ_TRY(SQ_ALLOC(in->mf_error, nband * pixels, "matched-filter error"));
    SQ_TRY(SQ_ALLOC(in->sigma, nband * tiles, "sky rms"));
    SQ_TRY(SQ_ALLOC(in->peak, tiles, "tile peaks"));
    *out = in;
    in = NULL;
cleanup:
    sq_inputs_destroy(in);
    return rc;
}

void sq_inputs_destroy(sq_inputs *in)
{
    if (!in)
        return;
    sq_free(in->image);
    sq_free(in->planes);
    sq_free(in->mf_flux);
    sq_free(in->mf_error);
    sq_free(in->sigma);
    sq_free(in->peak);
    sq_free(in);
}

static int usable(const sq_cutout *c, int64_t i)
{
    return !(c->mask[i] & SQ_MASK_UNUSABLE) && c->sky_sigma[i] > 0.0f &&
           isfinite(c->sky_sigma[i]) && isfinite(c->image[i]);
}

/* Second moments in a round Gaussian window whose width follows the PSF's (Bernstein & Jarvis 2002,
 * AJ 123, 583, section 3): for a Gaussian PSF the windowed moment is half the true one. */
static psf_shape measure_psf(const float *stamp)
{
    double width2 = 2.0, e1 = 0.0, e2 = 0.0;
    for (int step = 0; step < MOMENT_STEPS; step++) {
        double sum = 0.0, xx = 0.0, yy = 0.0, xy = 0.0, window[SQ_PSF_SIDE];
        for (int i = 0; i < SQ_PSF_SIDE; i++) {
            double d = i - SQ_PSF_SIDE / 2;
            window[i] = exp(-0.5 * d * d / width2);
        }
        for (int j = 0; j < SQ_PSF_SIDE; j++) {
            double row = 0.0, row_x = 0.0, row_xx = 0.0, dy = j - SQ_PSF_SIDE / 2;
            for (int i = 0; i < SQ_PSF_SIDE; i++) {
                double w = window[i] * stamp[j * SQ_PSF_SIDE + i], dx = i - SQ_PSF_SIDE / 2;
                row += w;
                row_x += w * dx;
                row_xx += w * dx * dx;
            }
            sum += window[j] * row;
            xx += window[j] * row_xx;
            yy += window[j] * row * dy * dy;
            xy += window[j] * row_x * dy;
        }
        double size = sum > 0.0 ? (xx + yy) / sum : 0.0;
        if (!(size > 0.05) || size > 400.0)
            break;
        e1 = (xx - yy) / (xx + yy);
        e2 = 2.0 * xy / (xx + yy);
        width2 = size;
    }
    return (psf_shape){0.5 * log(8.0 * log(2.0) * width2), e1, e2};
}

/* The node interval and the weight of its upper end for position x on 0 .. n-1. */
static void node_weight(double x, int n, int *node, double *weight)
{
    double t = n > 1 ? x / (n - 1) * (SQ_PSF_NODES - 1) : 0.0;
    t = fmin(fmax(t, 0.0), SQ_PSF_NODES - 1);
    *node = t >= SQ_PSF_NODES - 1 ? SQ_PSF_NODES - 2 : (int)t;
    *weight = t - *node;
}

static psf_shape shape_at(const psf_shape *shape, double x, double y, int n)
{
    int i, j;
    double u, v;
    node_weight(x, n, &i, &u);
    node_weight(y, n, &j, &v);
    psf_shape out = {0.0, 0.0, 0.0};
    for (int k = 0; k < 4; k++) {
        const psf_shape *s = &shape[(j + k / 2) * SQ_PSF_NODES + i + k % 2];
        double w = (k % 2 ? u : 1.0 - u) * (k / 2 ? v : 1.0 - v);
        out.log_fwhm += w * s->log_fwhm;
        out.e1 += w * s->e1;
        out.e2 += w * s->e2;
    }
    return out;
}

/* ln v for v >= 1 to a few 1e-8 (Moshier's Cephes logf), in elementwise arithmetic so that loops
 * over it are vectorised. */
static inline float ln_above_one(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    uint32_t mantissa = (bits & 0x007fffffu) | 0x3f800000u;
    float m, e = (float)((int32_t)(bits >> 23) - 127);
    memcpy(&m, &mantissa, sizeof m);
    float high = m > 1.41421356f ? 1.0f : 0.0f;
    float x = m * (1.0f - 0.5f * high) - 1.0f, z = x * x;
    e += high;
    float y = 7.0376836292e-2f;
    y = y * x - 1.1514610310e-1f;
    y = y * x + 1.1676998740e-1f;
    y = y * x - 1.2420140846e-1f;
    y = y * x + 1.4249322787e-1f;
    y = y * x - 1.6668057665e-1f;
    y = y * x + 2.0000714765e-1f;
    y = y * x - 2.4999993993e-1f;
    y = y * x + 3.3333331174e-1f;
    return x + (x * z * y - 0.5f * z - 2.12194440e-4f * e) + 0.693359375f * e;
}

WIDE static void fill_asinh(int64_t n, const float *w, float scale, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        float a = fabsf(w[i] * scale);
        out[i] = copysignf(ln_above_one(a + sqrtf(a * a + 1.0f)), w[i]);
    }
}

/* image / sigma, clipped, where usable() holds, else 0. The division is done everywhere, so that no
 * branch is in the loop. */
WIDE static void fill_ratio(int64_t n, const float *image, const float *sigma, const uint32_t *mask,
                            float *out)
{
    for (int64_t i = 0; i < n; i++) {
        float w = image[i] / sigma[i];
        int good = !(mask[i] & SQ_MASK_UNUSABLE) & (sigma[i] > 0.0f) & (sigma[i] <= FLT_MAX) &
                   (fabsf(image[i]) <= FLT_MAX);
        w = good ? w : 0.0f;
        w = w > W_LIMIT ? W_LIMIT : w;
        out[i] = w < -W_LIMIT ? -W_LIMIT : w;
    }
}

static void fill_image(const sq_cutout *c, int band, sq_inputs *in)
{
    int64_t pixels = (int64_t)in->side * in->side, from = sq_cutout_plane(c, band);
    float *fine = in->image + 2 * band * pixels, *coarse = fine + pixels;
    if (c->present[band])
        fill_ratio(pixels, c->image + from, c->sky_sigma + from, c->mask + from, coarse);
    else
        memset(coarse, 0, (size_t)pixels * sizeof *coarse);
    fill_asinh(pixels, coarse, 1.0f, fine);
    fill_asinh(pixels, coarse, 1.0f / 30.0f, coarse);
}

/* One matched filter: the PSF's middle and the sums that its noise needs. */
typedef struct filter {
    int radius;
    float tap[(2 * MAX_RADIUS + 1) * (2 * MAX_RADIUS + 1)];
    double sum2, correlated; /* sum P^2; sum of P_i P_j rho_ij over sum P^2 */
} filter;

static void make_filter(const sq_cutout *c, int band, double x, double y, int radius, filter *f)
{
    enum { STAMP = SQ_PSF_SIDE * SQ_PSF_SIDE };
    int side = 2 * radius + 1, from = SQ_PSF_SIDE / 2 - radius, kx, ky;
    double u, v;
    node_weight(x, c->nx, &kx, &u);
    node_weight(y, c->ny, &ky, &v);
    const float *node = c->psf + ((int64_t)(band * SQ_PSF_NODES + ky) * SQ_PSF_NODES + kx) * STAMP;
    f->radius = radius;
    f->sum2 = 0.0;
    for (int j = 0; j < side; j++)
        for (int i = 0; i < side; i++) {
            const float *at = node + (from + j) * SQ_PSF_SIDE + from + i;
            double low = at[0] + u * ((double)at[STAMP] - at[0]);
            const float *up = at + (int64_t)SQ_PSF_NODES * STAMP;
            double high = up[0] + u * ((double)up[STAMP] - up[0]);
            float p = (float)(low + v * (high - low));
            f->tap[j * side + i] = p;
            f->sum2 += (double)p * p;
        }
    double along_x = 0.0, along_y = 0.0;
    for (int j = 0; j < side; j++)
        for (int i = 0; i < side; i++) {
            double p = f->tap[j * side + i];
            along_x += i + 1 < side ? p * f->tap[j * side + i + 1] : 0.0;
            along_y += j + 1 < side ? p * f->tap[(j + 1) * side + i] : 0.0;
        }
    double extra = 2.0 * (c->correlation[band][0] * along_x + c->correlation[band][1] * along_y);
    f->correlated = f->sum2 > 0.0 ? fmax(1.0 + extra / f->sum2, 0.1) : 1.0;
}

typedef float lanes __attribute__((vector_size(4 * BLOCK)));

/* out[j][i] = sum over taps of tap^power * in[j + dj][i + di]; `in` points at the block's first
 * pixel. Four rows at a time stay in registers; each pixel's sum keeps its order. */
WIDE static void correlate(const filter *f, int squared, const float *in, int64_t stride,
                           float out[BLOCK][BLOCK])
{
    int side = 2 * f->radius + 1;
    for (int j = 0; j < BLOCK; j += 4) {
        lanes a = {0}, b = {0}, c = {0}, d = {0}, v[4];
        for (int dj = 0; dj < side; dj++)
            for (int di = 0; di < side; di++) {
                float p = f->tap[dj * side + di];
                p = squared ? p * p : p;
                const float *row = in + (j + dj - f->radius) * stride + di - f->radius;
                for (int k = 0; k < 4; k++)
                    memcpy(&v[k], row + k * stride, sizeof v[k]);
                a += p * v[0];
                b += p * v[1];
                c += p * v[2];
                d += p * v[3];
            }
        memcpy(out[j], &a, sizeof a);
        memcpy(out[j + 1], &b, sizeof b);
        memcpy(out[j + 2], &c, sizeof c);
        memcpy(out[j + 3], &d, sizeof d);
    }
}

/* Work planes with a border of MAX_RADIUS and up to BLOCK on the far side. */
typedef struct padded {
    int64_t stride;
    float *signal, *weight; /* image and 1 where usable, else 0 */
} padded;

static int all_usable(const padded *p, int x0, int y0, int radius)
{
    for (int j = -radius; j < BLOCK + radius; j++) {
        const float *row = p->weight + (y0 + j + MAX_RADIUS) * p->stride + x0 + MAX_RADIUS;
        for (int i = -radius; i < BLOCK + radius; i++)
            if (row[i] == 0.0f)
                return 0;
    }
    return 1;
}

/* Flux and error from the correlations of a row; without `norm` the whole filter was seen. */
WIDE static void finish_row(int n, const filter *f, const float *flux, const float *norm,
                            const float *sky_sigma, float *restrict out, float *restrict error)
{
    double all = f->sum2, correlated = f->correlated;
    double least = 0.2 * all > 0.0 ? 0.2 * all : 0.0;
    for (int i = 0; i < n; i++) {
        double sum2 = norm ? (double)norm[i] : all, sigma = sky_sigma[i];
        double value = flux[i] / sum2, noise = sigma * sqrt(correlated / sum2);
        int good = (sum2 > least) & (sigma > 0.0) & (sigma <= DBL_MAX);
        out[i] = good ? (float)value : 0.0f;
        error[i] = good ? (float)noise : 0.0f;
    }
}

/* The flux of a point source at each pixel of a block, F = sum P I / sum P^2 over usable pixels,
 * and its error from the empty sky's noise; without enough PSF on usable pixels flux 0 and error 0.
 */
static void filter_block(const sq_cutout *c, int band, const padded *p, const filter *f, int x0,
                         int y0, sq_inputs *in)
{
    float flux[BLOCK][BLOCK], norm[BLOCK][BLOCK];
    int64_t origin = (y0 + MAX_RADIUS) * p->stride + x0 + MAX_RADIUS;
    correlate(f, 0, p->signal + origin, p->stride, flux);
    int whole = all_usable(p, x0, y0, f->radius);
    if (!whole)
        correlate(f, 1, p->weight + origin, p->stride, norm);
    int n = in->side;
    int wide = n - x0 < BLOCK ? n - x0 : BLOCK;
    for (int j = 0; j < BLOCK && y0 + j < n; j++) {
        int64_t at = (int64_t)(y0 + j) * n + x0, to = (int64_t)band * n * n + at;
        finish_row(wide, f, flux[j], whole ? NULL : norm[j],
                   c->sky_sigma + sq_cutout_plane(c, band) + at, in->mf_flux + to,
                   in->mf_error + to);
    }
}

static sq_status filter_band(const sq_cutout *c, int band, const psf_shape *shape, sq_inputs *in)
{
    sq_status rc = SQ_OK;
    int n = in->side, rows = (n + BLOCK - 1) / BLOCK * BLOCK + 2 * MAX_RADIUS;
    padded p = {rows, NULL, NULL};
    SQ_TRY(SQ_ALLOC(p.signal, (size_t)rows * rows, "matched filter"));
    SQ_TRY(SQ_ALLOC(p.weight, (size_t)rows * rows, "matched filter"));
    for (int y = 0; y < n; y++)
        for (int x = 0; x < n; x++) {
            int64_t from = sq_cutout_plane(c, band) + (int64_t)y * n + x;
            int64_t to = (y + MAX_RADIUS) * p.stride + x + MAX_RADIUS;
            if (usable(c, from)) {
                p.signal[to] = c->image[from];
                p.weight[to] = 1.0f;
            }
        }
    double widest = 0.0;
    for (int k = 0; k < SQ_PSF_NODES * SQ_PSF_NODES; k++)
        widest = fmax(widest, exp(shape[k].log_fwhm));
    int radius = (int)fmin(fmax(ceil(1.5 * widest), MIN_RADIUS), MAX_RADIUS);
    for (int y = 0; y < n; y += BLOCK)
        for (int x = 0; x < n; x += BLOCK) {
            filter f;
            make_filter(c, band, x + 0.5 * (BLOCK - 1), y + 0.5 * (BLOCK - 1), radius, &f);
            filter_block(c, band, &p, &f, x, y, in);
        }
cleanup:
    sq_free(p.signal);
    sq_free(p.weight);
    return rc;
}

/* sum[i] += the squared positive S/N. */
WIDE static void add_snr2(int n, const float *flux, const float *error, double *sum)
{
    for (int i = 0; i < n; i++) {
        double snr = (double)flux[i] / error[i];
        snr = (flux[i] > 0.0f) & (error[i] > 0.0f) ? snr : 0.0;
        sum[i] += snr * snr;
    }
}

/* The pixel of a tile with the largest sum over bands of squared positive S/N, given for the tile's
 * rows; the first of equals. */
static int32_t find_peak(const sq_inputs *in, const double *snr2, int tx, int ty)
{
    int n = in->side;
    int32_t peak = ty * in->tile * n + tx * in->tile;
    double best = -1.0;
    for (int y = ty * in->tile; y < (ty + 1) * in->tile; y++)
        for (int x = tx * in->tile; x < (tx + 1) * in->tile; x++) {
            double sum = snr2[(int64_t)(y - ty * in->tile) * n + x];
            if (sum > best) {
                best = sum;
                peak = y * n + x;
            }
        }
    return peak;
}

static sq_status find_peaks(sq_inputs *in)
{
    int64_t plane = (int64_t)in->side * in->side;
    int rows = in->tile * in->side;
    double *snr2 = NULL;
    sq_status rc = SQ_ALLOC(snr2, rows, "S/N of a row of tiles");
    for (int ty = 0; rc == SQ_OK && ty < in->tiles; ty++) {
        memset(snr2, 0, (size_t)rows * sizeof *snr2);
        for (int b = 0; b < in->nband; b++) {
            int64_t at = b * plane + (int64_t)ty * rows;
            add_snr2(rows, in->mf_flux + at, in->mf_error + at, snr2);
        }
        for (int tx = 0; tx < in->tiles; tx++)
            in->peak[ty * in->tiles + tx] = find_peak(in, snr2, tx, ty);
    }
    sq_free(snr2);
    return rc;
}

/* The mean sky rms and sky level over a tile's usable pixels and their fraction; at the tile's peak
 * the S/N and the error of the flux over the sky rms. */
typedef struct tile_sky {
    double sigma, sky, fraction, snr, unit;
} tile_sky;

static tile_sky measure_tile(const sq_cutout *c, int band, const sq_inputs *in, int tx, int ty)
{
    tile_sky t = {0.0, 0.0, 0.0, 0.0, 0.0};
    int n = in->side, good = 0;
    for (int y = ty * in->tile; y < (ty + 1) * in->tile; y++)
        for (int x = tx * in->tile; x < (tx + 1) * in->tile; x++) {
            int64_t from = sq_cutout_plane(c, band) + (int64_t)y * n + x;
            if (usable(c, from)) {
                t.sigma += c->sky_sigma[from];
                t.sky += c->sky[from];
                good++;
            }
        }
    if (good == 0)
        return t;
    t.sigma /= good;
    t.sky /= good;
    t.fraction = (double)good / (in->tile * in->tile);
    int64_t at = (int64_t)band * n * n + in->peak[ty * in->tiles + tx];
    if (in->mf_error[at] > 0.0f) {
        t.snr = (double)in->mf_flux[at] / in->mf_error[at];
        t.unit = in->mf_error[at] / t.sigma;
    }
    return t;
}

static void fill_tiles(const sq_cutout *c, int band, const psf_shape *shape, sq_inputs *in)
{
    int m = in->tiles;
    for (int ty = 0; ty < m; ty++)
        for (int tx = 0; tx < m; tx++) {
            tile_sky t = measure_tile(c, band, in, tx, ty);
            double half = 0.5 * (in->tile - 1);
            psf_shape s = shape_at(shape, tx * in->tile + half, ty * in->tile + half, in->side);
            double value[SQ_PLANES_PER_BAND] = {0.0};
            if (t.fraction > 0.0) {
                value[SQ_PLANE_SIGMA] = log10(t.sigma) - 2.0;
                value[SQ_PLANE_SKY] = 0.5 * log10(1.0 + fmax(t.sky, 0.0) / t.sigma);
            }
            value[SQ_PLANE_FWHM] = s.log_fwhm - log(4.0);
            value[SQ_PLANE_E1] = s.e1;
            value[SQ_PLANE_E2] = s.e2;
            value[SQ_PLANE_MF] = asinh(t.snr);
            value[SQ_PLANE_MF_UNIT] = t.unit > 0.0 ? log10(t.unit) : 0.0;
            value[SQ_PLANE_USABLE] = t.fraction;
            for (int k = 0; k < SQ_PLANES_PER_BAND; k++)
                in->planes[((int64_t)(band * SQ_PLANES_PER_BAND + k) * m + ty) * m + tx] =
                    (float)value[k];
            in->sigma[((int64_t)band * m + ty) * m + tx] = (float)t.sigma;
        }
}

/* A missing band: zero everywhere. */
static void clear_band(sq_inputs *in, int band)
{
    size_t pixels = (size_t)in->side * in->side;
    memset(in->mf_flux + band * pixels, 0, pixels * sizeof(float));
    memset(in->mf_error + band * pixels, 0, pixels * sizeof(float));
    size_t tiles = (size_t)in->tiles * in->tiles;
    memset(in->sigma + band * tiles, 0, tiles * sizeof(float));
    memset(in->planes + band * SQ_PLANES_PER_BAND * tiles, 0,
           SQ_PLANES_PER_BAND * tiles * sizeof(float));
}

sq_status sq_inputs_fill(const sq_cutout *c, sq_inputs *in)
{
    enum { NODES = SQ_PSF_NODES * SQ_PSF_NODES, STAMP = SQ_PSF_SIDE * SQ_PSF_SIDE };
    if (c->nband != in->nband || c->nx != in->side || c->ny != in->side)
        return sq_fail(SQ_ERR_USAGE, "inputs: a cutout of %d bands, %d x %d, for %d bands, side %d",
                       c->nband, c->nx, c->ny, in->nband, in->side);
    psf_shape shape[SQ_MAX_BANDS][NODES];
    for (int band = 0; band < c->nband; band++) {
        fill_image(c, band, in);
        if (!c->present[band]) {
            clear_band(in, band);
            continue;
        }
        for (int k = 0; k < NODES; k++)
            shape[band][k] = measure_psf(c->psf + ((int64_t)band * NODES + k) * STAMP);
        sq_status rc = filter_band(c, band, shape[band], in);
        if (rc != SQ_OK)
            return rc;
    }
    sq_status rc = find_peaks(in);
    if (rc != SQ_OK)
        return rc;
    for (int band = 0; band < c->nband; band++)
        if (c->present[band])
            fill_tiles(c, band, shape[band], in);
    return SQ_OK;
}
