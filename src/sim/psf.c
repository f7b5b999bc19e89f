#include <math.h>

#include "sim/sim_internal.h"

/* Scale so that the PSF has unit sum over the side that PSF images have. */
static void normalise(sim_psf *psf)
{
    double inside = 0, half = 0.5 * SQ_PSF_SIDE;
    for (int k = 0; k < psf->count; k++) {
        double one = erf(half / sqrt(2 * psf->variance[k]));
        inside += psf->flux[k] * one * one;
    }
    for (int k = 0; k < psf->count; k++)
        psf->flux[k] /= inside;
}

static void add(sim_psf *psf, double peak, double variance)
{
    psf->flux[psf->count] = peak * 2 * M_PI * variance;
    psf->variance[psf->count++] = variance;
}

/* peak * (1 + r^2 / scale2)^-power as a sum of Gaussians: the integral
 * (1 + z)^-p = 1 / Gamma(p) int t^(p-1) e^(-t (1+z)) dt by the trapezoidal rule in log t. */
static void add_power_law(sim_psf *psf, double peak, double scale2, double power, double low,
                          double high, int count)
{
    double step = (high - low) / (count - 1);
    for (int i = 0; i < count; i++) {
        double u = low + i * step, t = exp(u);
        add(psf, peak * exp(power * u - t - lgamma(power)) * step, scale2 / (2 * t));
    }
}

void sim_psf_moffat(sim_psf *psf, double fwhm, double beta)
{
    double alpha2 = 0.25 * fwhm * fwhm / (pow(2, 1 / beta) - 1);
    psf->count = 0;
    /* Wide enough that what is left out of the wing holds a few 1e-4 of the flux. */
    double low = -7.5 / (beta - 1), high = 2.4;
    int count = 2 + (int)((high - low) / 0.6);
    add_power_law(psf, 1, alpha2, beta, low, high, count < SIM_PSF_MAX ? count : SIM_PSF_MAX);
    normalise(psf);
}

void sim_psf_sdss(sim_psf *psf, double sigma1, double sigma2, double b, double p0, double beta,
                  double sigmap)
{
    psf->count = 0;
    add(psf, 1, sigma1 * sigma1);
    add(psf, b, sigma2 * sigma2);
    if (p0 > 0) {
        /* Widths up to 40 pixels: the wing is cut there. */
        double scale2 = beta * sigmap * sigmap;
        add_power_law(psf, p0, scale2, 0.5 * beta, fmax(-7, log(scale2 / 3200)), 1.6, 7);
    }
    normalise(psf);
}

void sim_psf_at(const sim_psf *psf, double u, double v, sim_shape *shape)
{
    const double *s = psf->size;
    double size = exp(2 * (s[0] * u + s[1] * v + s[2] * u * u + s[3] * u * v + s[4] * v * v));
    double e1 = psf->e[0][0] + psf->e[0][1] * u + psf->e[0][2] * v;
    double e2 = psf->e[1][0] + psf->e[1][1] * u + psf->e[1][2] * v;
    double e = e1 * e1 + e2 * e2, f = size / (1 - e);
    shape->xx = f * (1 + e + 2 * e1);
    shape->xy = f * 2 * e2;
    shape->yy = f * (1 + e - 2 * e1);
}

void sim_psf_stamp(const sim_psf *psf, double u, double v, float *stamp)
{
    enum { N = SQ_PSF_SIDE };
    sim_shape s;
    sim_psf_at(psf, u, v, &s);
    for (int i = 0; i < N * N; i++)
        stamp[i] = 0;
    for (int k = 0; k < psf->count; k++) {
        double c = psf->variance[k];
        sim_add_gaussian(stamp, 0, 0, N, N, N / 2, N / 2, psf->flux[k], c * s.xx, c * s.xy,
                         c * s.yy, 3e-8, N);
    }
    double sum = 0;
    for (int i = 0; i < N * N; i++)
        sum += stamp[i];
    for (int i = 0; i < N * N; i++)
        stamp[i] = (float)(stamp[i] / sum);
}

double sim_psf_area(const sim_psf *psf)
{
    double sum = 0;
    for (int i = 0; i < psf->count; i++)
        for (int k = 0; k < psf->count; k++)
            sum += psf->flux[i] * psf->flux[k] / (2 * M_PI * (psf->variance[i] + psf->variance[k]));
    return 1 / sum;
}
