#include "clusters/inputs.h"

#include <complex.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"

const double sq_cluster_theta500[SQ_CLUSTER_SCALES] = {1.0, 2.2, 5.0};
const double sq_cluster_cutout_side = 8, sq_cluster_cutout_core = 6;

static const double TCMB = 2.726, ARCMIN = M_PI / 180 / 60;
static const double HIGH_PASS = 1500, UNIT_MAP = 20, UNIT_Y0 = 2e-5, UNIT_SNR = 10, LINEAR = 16;
static const double UNIT_NOISE = 5, UNIT_FWHM = 2, UNIT_SIGMA = 1e-6;
enum { MIDDLE = SQ_CLUSTER_SCALES / 2 };

double sq_cluster_signal(double ghz)
{
    return 1e6 * TCMB * sq_sz_spectrum(ghz, TCMB);
}

static double dust_kelvin(double ghz)
{
    const double per_ghz = 0.0479924307; /* h / k in K per GHz */
    const double temperature = 9.6, index = 1.75;
    double x = per_ghz * ghz / TCMB, e = exp(x);
    double brightness = pow(ghz, 3 + index) / expm1(per_ghz * ghz / temperature);
    return brightness * pow(e - 1, 2) / (pow(x, 4) * e);
}

double sq_cluster_dust(double ghz)
{
    return dust_kelvin(ghz) / dust_kelvin(150);
}

sq_status sq_cluster_inputs_create(const sq_flat *flat, int nband, sq_cluster_inputs **out)
{
    sq_status rc = SQ_OK;
    sq_cluster_inputs *in = NULL;
    *out = NULL;
    if (flat->nx != flat->ny || flat->nx % SQ_CLUSTER_CELL || nband < 1 || nband > SQ_MMF_BANDS)
        return sq_fail(SQ_ERR_USAGE, "cluster network: %d bands of %d x %d pixels", nband, flat->nx,
                       flat->ny);
    SQ_TRY(SQ_ALLOC(in, 1, "network inputs"));
    in->nband = nband;
    in->side = flat->nx;
    in->cells = flat->nx / SQ_CLUSTER_CELL;
    in->channels = nband + SQ_CLUSTER_SCALES + 2;
    in->conditions = 2 * nband + 2;
    SQ_TRY(SQ_ALLOC(in->image, in->channels * sq_flat_pixels(flat), "network image"));
    SQ_TRY(SQ_ALLOC(in->planes, (int64_t)in->conditions * in->cells * in->cells, "planes"));
    *out = in;
    in = NULL;
cleanup:
    sq_cluster_inputs_destroy(in);
    return rc;
}

void sq_cluster_inputs_destroy(sq_cluster_inputs *in)
{
    if (!in)
        return;
    sq_free(in->image);
    sq_free(in->planes);
    sq_free(in);
}

static int has_data(const sq_cluster_view *v, int64_t i)
{
    for (int b = 0; b < v->nband; b++) {
        if (!(v->noise[b][i] > 0))
            return 0;
    }
    return 1;
}

/* To the channel's unit, compressed, in place; 0 without data. */
static void finish(const sq_cluster_view *v, double unit, float *map)
{
    const float linear = (float)LINEAR;
    float scale = (float)(1 / unit);
    int64_t n = sq_flat_pixels(&v->flat);
    for (int64_t i = 0; i < n; i++) {
        float x = map[i] * scale, a = fabsf(x);
        map[i] = a > linear ? copysignf(linear * (1 + logf(a / linear)), x) : x;
    }
    for (int b = 0; b < v->nband; b++) {
        for (int64_t i = 0; i < n; i++)
            map[i] = v->noise[b][i] > 0 ? map[i] : 0;
    }
}

static sq_status fill_bands(const sq_cluster_view *v, float *image)
{
    sq_status rc = SQ_OK;
    sq_fftf *fft = NULL;
    float _Complex *mode = NULL;
    double *pass = NULL;
    int64_t n = sq_flat_pixels(&v->flat), modes = sq_flat_modes(&v->flat);
    SQ_TRY(SQ_ALLOC(mode, modes, "modes"));
    SQ_TRY(SQ_ALLOC(pass, modes, "high pass"));
    SQ_TRY(sq_fftf_create(v->flat.ny, v->flat.nx, &fft));
    sq_flat_ell(&v->flat, pass);
    for (int64_t k = 0; k < modes; k++)
        pass[k] = -expm1(-0.5 * pow(pass[k] / HIGH_PASS, 2));
    for (int b = 0; b < v->nband; b++) {
        sq_fftf_forward(fft, v->map[b], mode);
        for (int64_t k = 0; k < modes; k++)
            mode[k] *= (float)pass[k];
        sq_fftf_backward(fft, mode, image + b * n);
        finish(v, UNIT_MAP, image + b * n);
    }
cleanup:
    sq_fftf_destroy(fft);
    sq_free(mode);
    sq_free(pass);
    return rc;
}

/* *sigma: noise of y0 at the middle scale. */
static sq_status fill_filtered(const sq_cluster_view *v, float *image, double *sigma)
{
    sq_status rc = SQ_OK;
    int64_t n = sq_flat_pixels(&v->flat);
    float *clean = image + SQ_CLUSTER_SCALES * n, *snr = clean + n;
    double unused;
    for (int s = 0; s < SQ_CLUSTER_SCALES; s++) {
        float *y0 = image + s * n;
        double theta = sq_cluster_theta500[s] * ARCMIN;
        SQ_TRY(sq_mmf_filter(v->mmf, SQ_GAS_ARNAUD, theta, 0, y0, s == MIDDLE ? sigma : &unused));
        if (s == MIDDLE) {
            memcpy(snr, y0, (size_t)n * sizeof *snr);
            finish(v, UNIT_SNR * *sigma, snr);
        }
        finish(v, UNIT_Y0, y0);
    }
    memset(clean, 0, (size_t)n * sizeof *clean);
    if (v->deprojects) {
        double theta = sq_cluster_theta500[MIDDLE] * ARCMIN;
        SQ_TRY(sq_mmf_filter(v->mmf, SQ_GAS_ARNAUD, theta, 1, clean, &unused));
        finish(v, UNIT_Y0, clean);
    }
cleanup:
    return rc;
}

static void fill_cell(const sq_cluster_view *v, int row, int column, double sigma,
                      sq_cluster_inputs *in)
{
    int64_t plane = (int64_t)in->cells * in->cells, at = (int64_t)row * in->cells + column;
    double noise[SQ_MMF_BANDS] = {0};
    int held = 0;
    for (int k = 0; k < SQ_CLUSTER_CELL * SQ_CLUSTER_CELL; k++) {
        int64_t y = row * SQ_CLUSTER_CELL + k / SQ_CLUSTER_CELL;
        int64_t i = y * in->side + column * SQ_CLUSTER_CELL + k % SQ_CLUSTER_CELL;
        if (!has_data(v, i))
            continue;
        held++;
        for (int b = 0; b < v->nband; b++)
            noise[b] += v->noise[b][i];
    }
    float *out = in->planes + at;
    for (int c = 0; c < in->conditions; c++)
        out[c * plane] = 0;
    if (!held)
        return;
    for (int b = 0; b < v->nband; b++) {
        out[b * plane] = (float)log(noise[b] / held / UNIT_NOISE);
        out[(v->nband + b) * plane] = (float)(v->fwhm[b] / UNIT_FWHM);
    }
    out[2 * v->nband * plane] = (float)log(sigma / UNIT_SIGMA);
    out[(2 * v->nband + 1) * plane] = (float)held / (SQ_CLUSTER_CELL * SQ_CLUSTER_CELL);
}

sq_status sq_cluster_inputs_fill(const sq_cluster_view *v, sq_cluster_inputs *in)
{
    sq_status rc = SQ_OK;
    double sigma = 0;
    SQ_TRY(fill_bands(v, in->image));
    SQ_TRY(fill_filtered(v, in->image + v->nband * sq_flat_pixels(&v->flat), &sigma));
    for (int row = 0; row < in->cells; row++) {
        for (int column = 0; column < in->cells; column++)
            fill_cell(v, row, column, sigma, in);
    }
cleanup:
    return rc;
}

static int64_t wrap(int64_t i, int64_t n)
{
    return ((i % n) + n) % n;
}

static float bilinear(const float *map, const sq_flat *f, double x, double y)
{
    double x0 = floor(x), y0 = floor(y);
    float u = (float)(x - x0), v = (float)(y - y0);
    int64_t left = wrap((int64_t)x0, f->nx), right = wrap((int64_t)x0 + 1, f->nx);
    const float *low = map + wrap((int64_t)y0, f->ny) * f->nx;
    const float *high = map + wrap((int64_t)y0 + 1, f->ny) * f->nx;
    return (1 - v) * ((1 - u) * low[left] + u * low[right]) +
           v * ((1 - u) * high[left] + u * high[right]);
}

void sq_cluster_cutout(const sq_cluster_view *v, double x, double y, float *out)
{
    enum { SIDE = SQ_CLUSTER_CUTOUT };
    double step = sq_cluster_cutout_side / SIDE * ARCMIN;
    float low = INFINITY, high = -INFINITY;
    int n = v->nband * SIDE * SIDE;
    for (int b = 0; b < v->nband; b++) {
        for (int j = 0; j < SIDE; j++) {
            for (int i = 0; i < SIDE; i++) {
                float value = bilinear(v->map[b], &v->flat, x + (i + 0.5) * step / v->flat.dx,
                                       y + (j + 0.5) * step / v->flat.dy);
                out[(b * SIDE + j) * SIDE + i] = value;
                low = fminf(low, value);
                high = fmaxf(high, value);
            }
        }
    }
    float scale = high > low ? 1 / (high - low) : 0;
    for (int i = 0; i < n; i++)
        out[i] = (out[i] - low) * scale;
}
