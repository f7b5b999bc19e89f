#include "clusters/inputs.h"

#include <complex.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "sim/spectra.h"

const double sq_cluster_theta500[SQ_CLUSTER_SCALES] = {1.0, 2.2, 5.0};
const double sq_cluster_cutout_side = 8, sq_cluster_cutout_core = 6;

static const double TCMB = 2.726, ARCMIN = M_PI / 180 / 60;
static const double HIGH_PASS = 1500, CUT = 200, LMIN = 300;
static const double UNIT_MAP = 20, UNIT_Y0 = 2e-5, UNIT_SNR = 10, LINEAR = 16;
static const double UNIT_NOISE = 5, UNIT_FWHM = 2, UNIT_SIGMA = 1e-6;
enum { MIDDLE = SQ_CLUSTER_SCALES / 2 };

struct sq_cluster_inputs {
    sq_flat flat;
    int nband, lmax, cells;
    int64_t pixels;
    double ghz[SQ_MMF_BANDS], fwhm[SQ_MMF_BANDS]; /* arcmin */
    double *transfer[SQ_MMF_BANDS];               /* with the high pass */
    double *sky[SQ_MMF_BANDS * SQ_MMF_BANDS];     /* power but for the noise, high-passed */
    double *model[SQ_MMF_BANDS * SQ_MMF_BANDS];
    float *pass; /* [modes] */
    float _Complex *mode;
    float *cut[SQ_MMF_BANDS]; /* what the filter sees */
    sq_fftf *fft;
    sq_mmf *mmf;
    float *image, *planes;
};

double sq_cluster_signal(double ghz)
{
    return 1e6 * TCMB * sq_sz_spectrum(ghz, TCMB);
}

/* uK CMB per unit of flux density, in arbitrary units. */
static double per_flux(double ghz)
{
    double x = 0.0479924307 * ghz / TCMB, e = exp(x); /* h / k in K per GHz */
    return pow(e - 1, 2) / (pow(x, 4) * e);
}

static double dust_kelvin(double ghz)
{
    const double temperature = 9.6, index = 1.75;
    return pow(ghz, 3 + index) / expm1(0.0479924307 * ghz / temperature) * per_flux(ghz);
}

double sq_cluster_dust(double ghz)
{
    return dust_kelvin(ghz) / dust_kelvin(150);
}

static double radio(double ghz)
{
    return pow(ghz / 150, -0.6) * per_flux(ghz) / per_flux(150);
}

static double high_pass(double l)
{
    return -expm1(-0.5 * pow(l / HIGH_PASS, 2));
}

/* Sky power between two bands at 150 GHz levels of George et al. 2015 (ApJ 799, 177): D_3000 in
 * uK^2 of Poisson and clustered dust, of radio sources and of the thermal SZ effect. */
static double foregrounds(double ghz_i, double ghz_j, double l)
{
    double x = l / 3000, per_d = 2 * M_PI / (l * (l + 1));
    double dust = sq_cluster_dust(ghz_i) * sq_cluster_dust(ghz_j);
    double sources = radio(ghz_i) * radio(ghz_j);
    double sz = sq_cluster_signal(ghz_i) * sq_cluster_signal(ghz_j) /
                pow(sq_cluster_signal(150), 2);
    return per_d * (dust * (9.42 * x * x + 3.37 * pow(x, 0.8)) + sources * x * x + 4 * sz);
}

sq_status sq_cluster_sky_power(double ghz_i, double ghz_j, int lmax, double *out)
{
    sq_status rc = sq_fiducial_spectrum(SQ_LENSED_TT, lmax, out);
    for (int l = 2; rc == SQ_OK && l <= lmax; l++)
        out[l] += foregrounds(ghz_i, ghz_j, l);
    return rc;
}

static sq_status fill_sky(sq_cluster_inputs *in)
{
    sq_status rc = SQ_OK;
    int n = in->nband;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j <= i; j++) {
            double *sky = NULL;
            SQ_TRY(SQ_ALLOC(sky, in->lmax + 1, "sky power"));
            in->sky[i * n + j] = sky;
            SQ_TRY(SQ_ALLOC(in->model[i * n + j], in->lmax + 1, "noise power"));
            SQ_TRY(sq_cluster_sky_power(in->ghz[i], in->ghz[j], in->lmax, sky));
            for (int l = 0; l <= in->lmax; l++)
                sky[l] = l < 2 ? 0 : sky[l] * in->transfer[i][l] * in->transfer[j][l];
        }
    }
cleanup:
    return rc;
}

/* From the multipole at which the transfer falls to exp(-1/2); 0 when it does not. */
static double fwhm_of(const double *transfer, int lmax)
{
    for (int l = 1; l <= lmax; l++) {
        if (transfer[l] < exp(-0.5))
            return sqrt(8 * log(2)) / l / ARCMIN;
    }
    return 0;
}

static sq_status allocate(sq_cluster_inputs *in, const sq_cluster_bands *bands)
{
    sq_status rc = SQ_OK;
    int64_t modes = sq_flat_modes(&in->flat);
    double *ell = NULL;
    sq_mmf_setup setup = {.flat = in->flat, .nband = in->nband, .lmax = in->lmax, .lmin = LMIN};
    SQ_TRY(SQ_ALLOC(in->pass, modes, "high pass"));
    SQ_TRY(SQ_ALLOC(in->mode, modes, "modes"));
    SQ_TRY(SQ_ALLOC(ell, modes, "wave numbers"));
    sq_flat_ell(&in->flat, ell);
    for (int64_t k = 0; k < modes; k++)
        in->pass[k] = (float)high_pass(ell[k]);
    for (int b = 0; b < in->nband; b++) {
        in->ghz[b] = bands->ghz[b];
        in->fwhm[b] = fwhm_of(bands->transfer[b], in->lmax);
        SQ_TRY(SQ_ALLOC(in->transfer[b], in->lmax + 1, "beam"));
        SQ_TRY(SQ_ALLOC(in->cut[b], in->pixels, "map"));
        for (int l = 0; l <= in->lmax; l++)
            in->transfer[b][l] = bands->transfer[b][l] * high_pass(l);
        setup.transfer[b] = in->transfer[b];
        setup.signal[b] = sq_cluster_signal(in->ghz[b]);
        setup.deproject[b] = in->nband > 1 ? sq_cluster_dust(in->ghz[b]) : 0;
    }
    SQ_TRY(sq_mmf_create(&setup, &in->mmf));
    SQ_TRY(sq_fftf_create(in->flat.ny, in->flat.nx, &in->fft));
    SQ_TRY(SQ_ALLOC(in->image, sq_cluster_inputs_channels(in) * in->pixels, "network image"));
    SQ_TRY(SQ_ALLOC(in->planes, (int64_t)sq_cluster_inputs_conditions(in) * in->cells * in->cells,
                    "planes"));
cleanup:
    sq_free(ell);
    return rc;
}

sq_status sq_cluster_inputs_create(const sq_cluster_bands *bands, sq_cluster_inputs **out)
{
    sq_status rc = SQ_OK;
    sq_cluster_inputs *in = NULL;
    const sq_flat *f = &bands->flat;
    *out = NULL;
    if (f->nx != f->ny || f->nx < 1 || f->nx % SQ_CLUSTER_CELL || bands->nband < 1 ||
        bands->nband > SQ_MMF_BANDS)
        return sq_fail(SQ_ERR_USAGE, "cluster network: %d bands of %d x %d pixels", bands->nband,
                       f->nx, f->ny);
    SQ_TRY(SQ_ALLOC(in, 1, "network inputs"));
    in->flat = *f;
    in->nband = bands->nband;
    in->lmax = bands->lmax;
    in->pixels = sq_flat_pixels(f);
    in->cells = f->nx / SQ_CLUSTER_CELL;
    SQ_TRY(allocate(in, bands));
    SQ_TRY(fill_sky(in));
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
    for (int b = 0; b < SQ_MMF_BANDS; b++) {
        sq_free(in->transfer[b]);
        sq_free(in->cut[b]);
    }
    for (int i = 0; i < SQ_MMF_BANDS * SQ_MMF_BANDS; i++) {
        sq_free(in->sky[i]);
        sq_free(in->model[i]);
    }
    sq_free(in->pass);
    sq_free(in->mode);
    sq_free(in->image);
    sq_free(in->planes);
    sq_fftf_destroy(in->fft);
    sq_mmf_destroy(in->mmf);
    sq_free(in);
}

int sq_cluster_inputs_channels(const sq_cluster_inputs *in)
{
    return in->nband + SQ_CLUSTER_SCALES + 2;
}

int sq_cluster_inputs_conditions(const sq_cluster_inputs *in)
{
    return 2 * in->nband + 2;
}

const float *sq_cluster_inputs_image(const sq_cluster_inputs *in)
{
    return in->image;
}

double sq_cluster_inputs_fwhm(const sq_cluster_inputs *in, int band)
{
    return in->fwhm[band];
}

const float *sq_cluster_inputs_planes(const sq_cluster_inputs *in)
{
    return in->planes;
}

static int has_data(const sq_cluster_inputs *in, const float *const *noise, int64_t i)
{
    for (int b = 0; b < in->nband; b++) {
        if (!(noise[b][i] > 0))
            return 0;
    }
    return 1;
}

/* To the channel's unit, compressed, in place; 0 without data. */
static void finish(const sq_cluster_inputs *in, const float *const *noise, double unit, float *map)
{
    const float linear = (float)LINEAR, scale = (float)(1 / unit);
    for (int64_t i = 0; i < in->pixels; i++) {
        float x = map[i] * scale, a = fabsf(x);
        map[i] = a > linear ? copysignf(linear * (1 + logf(a / linear)), x) : x;
    }
    for (int b = 0; b < in->nband; b++) {
        for (int64_t i = 0; i < in->pixels; i++)
            map[i] = noise[b][i] > 0 ? map[i] : 0;
    }
}

static void fill_bands(sq_cluster_inputs *in, const float *const *map, const float *const *noise)
{
    int64_t modes = sq_flat_modes(&in->flat);
    for (int b = 0; b < in->nband; b++) {
        float *out = in->image + b * in->pixels;
        sq_fftf_forward(in->fft, map[b], in->mode);
        for (int64_t k = 0; k < modes; k++)
            in->mode[k] *= in->pass[k];
        sq_fftf_backward(in->fft, in->mode, out);
        for (int64_t i = 0; i < in->pixels; i++)
            in->cut[b][i] = fminf(out[i], (float)CUT);
        finish(in, noise, UNIT_MAP, out);
    }
}

/* The noise model for the patch's depth: the mean squared white noise of the pixels with data. */
static sq_status set_noise(sq_cluster_inputs *in, const float *const *noise)
{
    int n = in->nband;
    for (int b = 0; b < n; b++) {
        double sum = 0;
        int64_t held = 0;
        for (int64_t i = 0; i < in->pixels; i++) {
            if (noise[b][i] > 0) {
                sum += (double)noise[b][i] * noise[b][i];
                held++;
            }
        }
        if (!held)
            return sq_fail(SQ_ERR_DATA, "cluster network: band %d has no data in the patch", b);
        double white = sum / (double)held * ARCMIN * ARCMIN;
        for (int j = 0; j <= b; j++) {
            for (int l = 0; l <= in->lmax; l++)
                in->model[b * n + j][l] =
                    in->sky[b * n + j][l] + (j == b ? white * pow(high_pass(l), 2) : 0);
        }
    }
    return sq_mmf_noise(in->mmf, SQ_MMF_MODEL, 1, 0, (const double *const *)in->model);
}

/* *sigma: noise of y0 at the middle scale. */
static sq_status fill_filtered(sq_cluster_inputs *in, const float *const *noise, double *sigma)
{
    sq_status rc = SQ_OK;
    float *first = in->image + in->nband * in->pixels;
    float *clean = first + SQ_CLUSTER_SCALES * in->pixels, *snr = clean + in->pixels;
    double unused;
    sq_mmf_load(in->mmf, (const float *const *)in->cut);
    SQ_TRY(set_noise(in, noise));
    for (int s = 0; s < SQ_CLUSTER_SCALES; s++) {
        float *y0 = first + s * in->pixels;
        double theta = sq_cluster_theta500[s] * ARCMIN;
        SQ_TRY(sq_mmf_filter(in->mmf, SQ_GAS_ARNAUD, theta, 0, y0, s == MIDDLE ? sigma : &unused));
        if (s == MIDDLE) {
            memcpy(snr, y0, (size_t)in->pixels * sizeof *snr);
            finish(in, noise, UNIT_SNR * *sigma, snr);
        }
        finish(in, noise, UNIT_Y0, y0);
    }
    memset(clean, 0, (size_t)in->pixels * sizeof *clean);
    if (in->nband > 1) {
        double theta = sq_cluster_theta500[MIDDLE] * ARCMIN;
        SQ_TRY(sq_mmf_filter(in->mmf, SQ_GAS_ARNAUD, theta, 1, clean, &unused));
        finish(in, noise, UNIT_Y0, clean);
    }
cleanup:
    return rc;
}

static void fill_cell(sq_cluster_inputs *in, const float *const *noise, int row, int column,
                      double sigma)
{
    int64_t plane = (int64_t)in->cells * in->cells, at = (int64_t)row * in->cells + column;
    double sum[SQ_MMF_BANDS] = {0};
    float *out = in->planes + at;
    int held = 0;
    for (int k = 0; k < SQ_CLUSTER_CELL * SQ_CLUSTER_CELL; k++) {
        int64_t y = row * SQ_CLUSTER_CELL + k / SQ_CLUSTER_CELL;
        int64_t i = y * in->flat.nx + column * SQ_CLUSTER_CELL + k % SQ_CLUSTER_CELL;
        if (!has_data(in, noise, i))
            continue;
        held++;
        for (int b = 0; b < in->nband; b++)
            sum[b] += noise[b][i];
    }
    for (int c = 0; c < sq_cluster_inputs_conditions(in); c++)
        out[c * plane] = 0;
    if (!held)
        return;
    for (int b = 0; b < in->nband; b++) {
        out[b * plane] = (float)log(sum[b] / held / UNIT_NOISE);
        out[(in->nband + b) * plane] = (float)(in->fwhm[b] / UNIT_FWHM);
    }
    out[2 * in->nband * plane] = (float)log(sigma / UNIT_SIGMA);
    out[(2 * in->nband + 1) * plane] = (float)held / (SQ_CLUSTER_CELL * SQ_CLUSTER_CELL);
}

sq_status sq_cluster_inputs_fill(sq_cluster_inputs *in, const float *const *map,
                                 const float *const *noise)
{
    double sigma = 0;
    fill_bands(in, map, noise);
    sq_status rc = fill_filtered(in, noise, &sigma);
    for (int row = 0; rc == SQ_OK && row < in->cells; row++) {
        for (int column = 0; column < in->cells; column++)
            fill_cell(in, noise, row, column, sigma);
    }
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

void sq_cluster_cutout(const sq_flat *flat, int nband, const float *const *map, double x, double y,
                       float *out)
{
    enum { SIDE = SQ_CLUSTER_CUTOUT };
    double step = sq_cluster_cutout_side / SIDE * ARCMIN;
    float low = INFINITY, high = -INFINITY;
    int n = nband * SIDE * SIDE;
    for (int b = 0; b < nband; b++) {
        for (int j = 0; j < SIDE; j++) {
            for (int i = 0; i < SIDE; i++) {
                float value = bilinear(map[b], flat, x + (i + 0.5) * step / flat->dx,
                                       y + (j + 0.5) * step / flat->dy);
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
