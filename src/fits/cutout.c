#include "fits/cutout.h"

#include <math.h>

#include "base/mem.h"

enum { CUTOUT_MAX_SIDE = 1 << 16, PSF_PIXELS = SQ_PSF_SIDE * SQ_PSF_SIDE };

sq_status sq_cutout_create(int nband, int nx, int ny, sq_cutout **out)
{
    sq_cutout *c = NULL;
    sq_status rc = SQ_OK;
    *out = NULL;
    if (nband < 1 || nband > SQ_MAX_BANDS || nx < 1 || ny < 1 || nx > CUTOUT_MAX_SIDE ||
        ny > CUTOUT_MAX_SIDE)
        return sq_fail(SQ_ERR_USAGE, "cutout of %d bands, %d x %d pixels: out of range", nband, nx,
                       ny);
    size_t n = (size_t)nband * nx * ny;
    SQ_TRY(SQ_ALLOC(c, 1, "cutout"));
    c->nband = nband;
    c->nx = nx;
    c->ny = ny;
    for (int b = 0; b < SQ_MAX_BANDS; b++)
        c->aperture[b] = 1;
    SQ_TRY(SQ_ALLOC(c->image, n, "cutout image"));
    SQ_TRY(SQ_ALLOC(c->variance, n, "cutout variance"));
    SQ_TRY(SQ_ALLOC(c->mask, n, "cutout mask"));
    SQ_TRY(SQ_ALLOC(c->sky, n, "cutout sky"));
    SQ_TRY(SQ_ALLOC(c->sky_sigma, n, "cutout sky sigma"));
    SQ_TRY(
        SQ_ALLOC(c->psf, (size_t)nband * SQ_PSF_NODES * SQ_PSF_NODES * PSF_PIXELS, "cutout PSF"));
    *out = c;
    c = NULL;
cleanup:
    sq_cutout_destroy(c);
    return rc;
}

void sq_cutout_destroy(sq_cutout *c)
{
    if (!c)
        return;
    sq_free(c->image);
    sq_free(c->variance);
    sq_free(c->mask);
    sq_free(c->sky);
    sq_free(c->sky_sigma);
    sq_free(c->psf);
    sq_free(c);
}

/* The interval and the weight of its far end for a position on nodes spread over 0 .. n - 1. */
static int bracket(double at, int n, double *weight)
{
    double t = n > 1 ? at / (n - 1) * (SQ_PSF_NODES - 1) : 0;
    t = fmin(SQ_PSF_NODES - 1, fmax(0, t));
    int node = (int)t;
    if (node > SQ_PSF_NODES - 2)
        node = SQ_PSF_NODES - 2;
    *weight = t - node;
    return node;
}

void sq_cutout_psf(const sq_cutout *c, int band, double x, double y, float *out)
{
    double wx, wy, sum = 0;
    int kx = bracket(x, c->nx, &wx), ky = bracket(y, c->ny, &wy);
    const float *base = c->psf + (size_t)band * SQ_PSF_NODES * SQ_PSF_NODES * PSF_PIXELS;
    const float *p00 = base + ((size_t)ky * SQ_PSF_NODES + kx) * PSF_PIXELS;
    const float *p01 = p00 + PSF_PIXELS;
    const float *p10 = p00 + (size_t)SQ_PSF_NODES * PSF_PIXELS;
    const float *p11 = p10 + PSF_PIXELS;
    for (int i = 0; i < PSF_PIXELS; i++) {
        double low = p00[i] + wx * ((double)p01[i] - p00[i]);
        double high = p10[i] + wx * ((double)p11[i] - p10[i]);
        out[i] = (float)(low + wy * (high - low));
        sum += out[i];
    }
    /* The nodes have unit sum; what is left is rounding. */
    if (sum > 0) {
        for (int i = 0; i < PSF_PIXELS; i++)
            out[i] = (float)(out[i] / sum);
    }
}
