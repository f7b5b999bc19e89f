/* The aperture correction of an SDSS band, measured on its own stars.
 *
 * The psField's stamps end at 10 arcsec and their wings are too faint, so that the amplitude of the
 * PSF is 1 to 4 percent below a star's flux within 7.43 arcsec, to which SDSS ties its magnitudes
 * (Stoughton et al. 2002, section 4.4.5). */
#include <math.h>

#include "base/mem.h"
#include "base/select.h"
#include "fits/band.h"

enum {
    STAMP = SQ_PSF_SIDE * SQ_PSF_SIDE,
    REACH = 30, /* half the side of the box that a star needs for itself */
    FIT = 6,    /* radius of the PSF's amplitude */
    STARS_MAX = 400,
    STARS_MIN = 8 /* with fewer the correction is 1 */
};

/* fpM calls every bright star a bright object: that bit is no damage. */
static const uint32_t touched = SQ_MASK_UNUSABLE | SQ_MASK_INTERPOLATED | SQ_MASK_COSMIC;
static const double aperture_radius = 18.76;    /* 7.43 arcsec of 0.396 arcsec pixels */
static const double sky_from = 22, sky_to = 30; /* annulus */
static const double error_most = 0.0065;        /* largest standard error of the median */
static const double peak_sigma = 60;            /* least peak in units of the sky's noise */
static const double neighbour_share = 0.02;     /* largest other peak in the box, of the star's */
static const double neighbour_sigma = 6;        /* but noise is no neighbour */

typedef struct image {
    const float *pixel;
    const uint32_t *mask;
    int64_t nx;
} image;

/* Alone, unmasked and the largest pixel of its box. */
static int is_candidate(const image *im, int64_t x, int64_t y, double sigma)
{
    const float *centre = im->pixel + y * im->nx + x;
    double most = fmax(neighbour_share * *centre, neighbour_sigma * sigma);
    for (int j = -REACH; j <= REACH; j++) {
        for (int i = -REACH; i <= REACH; i++) {
            int64_t k = (y + j) * im->nx + x + i;
            int r2 = i * i + j * j;
            double v = im->pixel[k];
            if (!isfinite(v) || v > *centre || (im->mask[k] & SQ_MASK_SATURATED) ||
                (r2 < 100 && (im->mask[k] & touched)) || (r2 > 80 && v > most))
                return 0;
        }
    }
    return 1;
}

static double sky_around(const image *im, int64_t x, int64_t y)
{
    double v[(2 * REACH + 1) * (2 * REACH + 1)];
    int n = 0;
    for (int j = -REACH; j <= REACH; j++) {
        for (int i = -REACH; i <= REACH; i++) {
            double r = sqrt(i * i + j * j), value = im->pixel[(y + j) * im->nx + x + i];
            if (r > sky_from && r < sky_to && isfinite(value))
                v[n++] = value;
        }
    }
    return n > 0 ? sq_median(v, n) : 0;
}

/* Centroid in a Gaussian window, iterated, relative to the pixel (x, y). */
static void centroid(const image *im, int64_t x, int64_t y, double sky, double *cx, double *cy)
{
    *cx = *cy = 0;
    for (int pass = 0; pass < 15; pass++) {
        double s = 0, sx = 0, sy = 0;
        for (int j = -FIT; j <= FIT; j++) {
            for (int i = -FIT; i <= FIT; i++) {
                double dx = i - *cx, dy = j - *cy, w = exp(-(dx * dx + dy * dy) / (2 * 1.7 * 1.7));
                w *= im->pixel[(y + j) * im->nx + x + i] - sky;
                s += w;
                sx += w * dx;
                sy += w * dy;
            }
        }
        *cx = fmin(1, fmax(-1, *cx + 2 * sx / s));
        *cy = fmin(1, fmax(-1, *cy + 2 * sy / s));
    }
}

/* The stamp moved by (cx, cy), at (i, j) from the centre: Taylor's series to the second order. */
static double moved(const float *psf, int i, int j, double cx, double cy)
{
    const float *p = psf + (SQ_PSF_SIDE / 2 + j) * SQ_PSF_SIDE + SQ_PSF_SIDE / 2 + i;
    const int up = SQ_PSF_SIDE;
    double gx = 0.5 * (p[1] - p[-1]), gy = 0.5 * (p[up] - p[-up]);
    double xx = p[1] - 2.0 * p[0] + p[-1], yy = p[up] - 2.0 * p[0] + p[-up];
    double xy = 0.25 * (p[up + 1] - p[up - 1] - p[1 - up] + p[-up - 1]);
    return p[0] - cx * gx - cy * gy + 0.5 * (cx * cx * xx + cy * cy * yy) + cx * cy * xy;
}

/* Flux in the aperture over the PSF's amplitude; 0 for what is not a star: its light is not
 * concentrated as the PSF's is. */
static double star_ratio(const image *im, int64_t x, int64_t y, double sky, const float *psf)
{
    double cx, cy, pp = 0, pi = 0, near = 0, far = 0, pnear = 0, pfar = 0, total = 0;
    centroid(im, x, y, sky, &cx, &cy);
    for (int j = -REACH; j <= REACH; j++) {
        for (int i = -REACH; i <= REACH; i++) {
            double v = im->pixel[(y + j) * im->nx + x + i] - sky, r = hypot(i - cx, j - cy);
            total += v * fmin(1, fmax(0, aperture_radius + 0.5 - r)); /* soft edge of a pixel */
            if (r > FIT)
                continue;
            double p = moved(psf, i, j, cx, cy);
            pp += p * p;
            pi += p * v;
            far += v;
            pfar += p;
            near += r < 2 ? v : 0;
            pnear += r < 2 ? p : 0;
        }
    }
    double concentration = near / far / (pnear / pfar);
    return fabs(concentration - 1) < 0.05 && pi > 0 ? total / (pi / pp) : 0;
}

static sq_status collect(const sq_band *band, const image *im, const float *sky_variance,
                         double *ratio, int *count)
{
    float psf[STAMP];
    for (int64_t y = REACH; y < band->ny - REACH && *count < STARS_MAX; y++) {
        for (int64_t x = REACH; x < band->nx - REACH && *count < STARS_MAX; x++) {
            int64_t k = y * im->nx + x;
            double v = im->pixel[k];
            double sigma = sqrt(sky_variance[k]);
            if (!(v > peak_sigma * sigma) || v < im->pixel[k - 1] || v < im->pixel[k + 1] ||
                v < im->pixel[k - im->nx] || v < im->pixel[k + im->nx])
                continue;
            if (!is_candidate(im, x, y, sigma))
                continue;
            sq_status rc = band->psf(band, (double)x, (double)y, psf);
            if (rc != SQ_OK)
                return rc;
            double r = star_ratio(im, x, y, sky_around(im, x, y), psf);
            if (r > 0.8 && r < 1.25)
                ratio[(*count)++] = r;
        }
    }
    return SQ_OK;
}

/* The median, or 1 where its standard error says that the stars do not agree: crowded fields. */
static double settled_median(double *ratio, int count)
{
    double middle = sq_median(ratio, count);
    for (int k = 0; k < count; k++)
        ratio[k] = fabs(ratio[k] - middle);
    double error = 1.25 * 1.4826 * sq_median(ratio, count) / sqrt(count);
    return error < error_most ? middle : 1;
}

sq_status sq_aperture_correction(sq_band *band, double *out)
{
    sq_status rc = SQ_OK;
    sq_hasher *unused = NULL;
    sq_planes p = {0};
    size_t n = (size_t)band->nx * (size_t)band->ny;
    double *ratio = NULL;
    int count = 0;
    *out = 1;
    if (band->nx <= 2 * REACH || band->ny <= 2 * REACH || n > (size_t)1 << 24)
        return SQ_OK;
    SQ_TRY(sq_hasher_create(&unused));
    SQ_TRY(SQ_ALLOC(ratio, STARS_MAX, "aperture corrections"));
    SQ_TRY(SQ_ALLOC(p.image, n, "band image"));
    SQ_TRY(SQ_ALLOC(p.variance, n, "band variance"));
    SQ_TRY(SQ_ALLOC(p.mask, n, "band mask"));
    SQ_TRY(SQ_ALLOC(p.sky, n, "band sky"));
    SQ_TRY(SQ_ALLOC(p.sky_variance, n, "band sky variance"));
    SQ_TRY(band->read(band, 0, 0, (int)band->nx, (int)band->ny, &p, unused));
    image im = {p.image, p.mask, band->nx};
    SQ_TRY(collect(band, &im, p.sky_variance, ratio, &count));
    if (count >= STARS_MIN)
        *out = settled_median(ratio, count);
cleanup:
    sq_hasher_destroy(unused);
    sq_free(ratio);
    sq_free(p.image);
    sq_free(p.variance);
    sq_free(p.mask);
    sq_free(p.sky);
    sq_free(p.sky_variance);
    return rc;
}
