#include "catalog/photometry.h"

#include <math.h>

enum { HALF = 12, SIDE = 2 * HALF + 1, TAPS = 6, SUB = 5 };

/* Weights on pixels -3 .. 3 that give the value at -t: Lagrange's polynomial through seven points.
 */
static void interpolate(double t, double w[TAPS + 1])
{
    for (int k = 0; k <= TAPS; k++) {
        w[k] = 1.0;
        for (int j = 0; j <= TAPS; j++)
            if (j != k)
                w[k] *= (TAPS / 2 - j - t) / (k - j);
    }
}

/* The PSF's middle moved by (dx, dy) pixels: rows, then columns. */
static void shifted_psf(const float *psf, double dx, double dy, double out[SIDE][SIDE])
{
    enum { FROM = SQ_PSF_SIDE / 2 - HALF };
    double wx[TAPS + 1], wy[TAPS + 1], rows[SIDE + TAPS][SIDE];
    interpolate(dx, wx);
    interpolate(dy, wy);
    for (int j = 0; j < SIDE + TAPS; j++)
        for (int i = 0; i < SIDE; i++) {
            const float *row = psf + (FROM + j - TAPS / 2) * SQ_PSF_SIDE + FROM + i - TAPS / 2;
            rows[j][i] = 0.0;
            for (int k = 0; k <= TAPS; k++)
                rows[j][i] += wx[k] * row[k];
        }
    for (int j = 0; j < SIDE; j++)
        for (int i = 0; i < SIDE; i++) {
            out[j][i] = 0.0;
            for (int k = 0; k <= TAPS; k++)
                out[j][i] += wy[k] * rows[j + k][i];
        }
}

static int usable(const sq_cutout *c, int64_t i)
{
    return !(c->mask[i] & SQ_MASK_UNUSABLE) && isfinite(c->variance[i]) && c->variance[i] > 0.0f &&
           c->sky_sigma[i] > 0.0f && isfinite(c->image[i]);
}

static void psf_flux(const sq_cutout *c, int band, double x, double y, sq_check *out)
{
    float psf[SQ_PSF_SIDE * SQ_PSF_SIDE];
    double p[SIDE][SIDE], signal = 0.0, norm = 0.0, noise = 0.0, whole = 0.0, seen = 0.0;
    int cx = (int)floor(x + 0.5), cy = (int)floor(y + 0.5);
    sq_cutout_psf(c, band, x, y, psf);
    shifted_psf(psf, x - cx, y - cy, p);
    for (int j = 0; j < SIDE; j++)
        for (int i = 0; i < SIDE; i++) {
            int px = cx + i - HALF, py = cy + j - HALF;
            whole += p[j][i] * p[j][i];
            if (px < 0 || py < 0 || px >= c->nx || py >= c->ny)
                continue;
            int64_t at = sq_cutout_plane(c, band) + (int64_t)py * c->nx + px;
            if (!usable(c, at))
                continue;
            double s2 = (double)c->sky_sigma[at] * c->sky_sigma[at], w = p[j][i] / s2;
            signal += w * c->image[at];
            norm += w * p[j][i];
            noise += w * w * fmax(c->variance[at], s2);
            seen += p[j][i] * p[j][i];
        }
    if (norm > 0.0 && seen > 0.2 * whole) {
        out->psf_flux = c->aperture[band] * signal / norm;
        out->psf_error = c->aperture[band] * sqrt(noise) / norm;
    }
}

/* The fraction of a pixel, given by its centre relative to the circle's, inside the circle. */
static double covered(double dx, double dy, double radius)
{
    double r = sqrt(dx * dx + dy * dy);
    if (r < radius - 0.75)
        return 1.0;
    if (r > radius + 0.75)
        return 0.0;
    int inside = 0;
    for (int k = 0; k < SUB * SUB; k++) {
        double sx = dx + (k % SUB + 0.5) / SUB - 0.5, sy = dy + (k / SUB + 0.5) / SUB - 0.5;
        inside += sx * sx + sy * sy <= radius * radius;
    }
    return (double)inside / (SUB * SUB);
}

static void aperture_flux(const sq_cutout *c, int band, double x, double y, double radius,
                          sq_check *out)
{
    int reach = (int)ceil(radius) + 1, cx = (int)floor(x + 0.5), cy = (int)floor(y + 0.5);
    double sum = 0.0, variance = 0.0, area = 0.0, good = 0.0;
    for (int py = cy - reach; py <= cy + reach; py++)
        for (int px = cx - reach; px <= cx + reach; px++) {
            double f = covered(px - x, py - y, radius);
            area += f;
            if (f == 0.0 || px < 0 || py < 0 || px >= c->nx || py >= c->ny)
                continue;
            int64_t at = sq_cutout_plane(c, band) + (int64_t)py * c->nx + px;
            if (!usable(c, at))
                continue;
            good += f;
            sum += f * c->image[at];
            variance += f * f * c->variance[at];
        }
    if (good > 0.5 * area) {
        out->aperture_flux = sum * area / good;
        out->aperture_error = sqrt(variance) * area / good;
    }
}

sq_check sq_catalog_check(const sq_cutout *c, int band, double x, double y, double radius)
{
    sq_check out = {NAN, NAN, NAN, NAN, 0};
    int cx = (int)floor(x + 0.5), cy = (int)floor(y + 0.5);
    for (int py = cy - 1; py <= cy + 1; py++)
        for (int px = cx - 1; px <= cx + 1; px++)
            if (px < 0 || py < 0 || px >= c->nx || py >= c->ny)
                out.mask |= SQ_MASK_OUTSIDE;
            else
                out.mask |= c->mask[sq_cutout_plane(c, band) + (int64_t)py * c->nx + px];
    if (!c->present[band]) {
        out.mask = SQ_MASK_OUTSIDE;
        return out;
    }
    psf_flux(c, band, x, y, &out);
    aperture_flux(c, band, x, y, radius, &out);
    return out;
}
