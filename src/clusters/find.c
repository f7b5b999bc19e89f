#include "clusters/find.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct sq_finder {
    int ny, nx, reference;
    const float *noise;
    float *snr, *y0, *fixed; /* S/N and y0 of the best scale; S/N at the reference scale */
    uint8_t *scale;
    double sigma[256], sigma_fixed;
};

static void empty(sq_finder *f)
{
    int64_t n = (int64_t)f->ny * f->nx;
    for (int64_t i = 0; i < n; i++) {
        f->snr[i] = NAN;
        f->fixed[i] = 0;
    }
    f->sigma_fixed = 0;
}

sq_status sq_finder_create(int ny, int nx, const float *noise, int reference, sq_finder **out)
{
    sq_status rc = SQ_OK;
    sq_finder *f = NULL;
    int64_t n = (int64_t)ny * nx;
    *out = NULL;
    if (ny < 3 || nx < 3)
        return sq_fail(SQ_ERR_USAGE, "finder: a map of %d x %d pixels", nx, ny);
    SQ_TRY(SQ_ALLOC(f, 1, "finder"));
    f->ny = ny;
    f->nx = nx;
    f->reference = reference;
    f->noise = noise;
    SQ_TRY(SQ_ALLOC(f->snr, n, "finder"));
    SQ_TRY(SQ_ALLOC(f->y0, n, "finder"));
    SQ_TRY(SQ_ALLOC(f->fixed, n, "finder"));
    SQ_TRY(SQ_ALLOC(f->scale, n, "finder"));
    empty(f);
    *out = f;
    f = NULL;
cleanup:
    sq_finder_destroy(f);
    return rc;
}

void sq_finder_destroy(sq_finder *f)
{
    if (!f)
        return;
    sq_free(f->snr);
    sq_free(f->y0);
    sq_free(f->fixed);
    sq_free(f->scale);
    sq_free(f);
}

static double relative(const sq_finder *f, int64_t i)
{
    return f->noise ? f->noise[i] : 1;
}

void sq_finder_add(sq_finder *f, int scale, const float *y0, double sigma)
{
    int64_t n = (int64_t)f->ny * f->nx;
    f->sigma[scale & 255] = sigma;
    if (scale == f->reference)
        f->sigma_fixed = sigma;
    for (int64_t i = 0; i < n; i++) {
        double noise = sigma * relative(f, i);
        if (!(noise > 0))
            continue;
        float q = (float)(y0[i] / noise);
        if (scale == f->reference)
            f->fixed[i] = q;
        if (!(q <= f->snr[i])) {
            f->snr[i] = q;
            f->y0[i] = y0[i];
            f->scale[i] = (uint8_t)scale;
        }
    }
}

const float *sq_finder_snr(const sq_finder *f)
{
    return f->snr;
}

/* Ties go to the earlier pixel. */
static int is_peak(const sq_finder *f, int x, int y, double threshold)
{
    int64_t here = (int64_t)y * f->nx + x;
    if (!(f->snr[here] >= threshold))
        return 0;
    for (int dy = -1; dy <= 1; dy++) {
        for (int dx = -1; dx <= 1; dx++) {
            int64_t i = here + (int64_t)dy * f->nx + dx;
            if (i < here ? f->snr[i] >= f->snr[here] : f->snr[i] > f->snr[here])
                return 0;
        }
    }
    return 1;
}

/* The top between three values at -1, 0, 1, of a Gaussian (a parabola where the middle is not
 * positive): where it is, how much higher than the middle as a factor, and its curvature in units of
 * it. The peak of what is as wide as the beam falls off less than a parabola between pixels. No beam
 * is narrower than a pixel (sigma): a neighbour near zero is noise, not the slope of a steeper top. */
static double top(double before, double here, double after, double *rise, double *curvature)
{
    static const double STEEPEST = -1; /* ln(neighbour / middle) if the top is halfway to the other */
    double left, right, shift = 0;
    if (here > 0) {
        left = before > 0 ? fmax(log(before / here), STEEPEST) : STEEPEST;
        right = after > 0 ? fmax(log(after / here), STEEPEST) : STEEPEST;
    } else {
        left = here < 0 ? before / here - 1 : 0;
        right = here < 0 ? after / here - 1 : 0;
    }
    *curvature = -left - right;
    if (*curvature > 0)
        shift = fmax(-0.5, fmin(0.5, 0.5 * (right - left) / *curvature));
    double up = 0.5 * fmax(*curvature, 0) * shift * shift;
    *rise = here > 0 ? exp(up) : 1 + up;
    return shift;
}

static sq_candidate describe(const sq_finder *f, int x, int y)
{
    int64_t i = (int64_t)y * f->nx + x;
    const float *q = f->snr + i;
    double kx, ky, rx, ry, centre = q[0];
    /* A masked neighbour leaves the axis at the pixel's centre. */
    double left = isnan(q[-1]) ? centre : q[-1], right = isnan(q[1]) ? centre : q[1];
    double down = isnan(q[-f->nx]) ? centre : q[-f->nx], up = isnan(q[f->nx]) ? centre : q[f->nx];
    double dx = top(left, centre, right, &rx, &kx), dy = top(down, centre, up, &ry, &ky);
    double noise = relative(f, i), sigma = f->sigma[f->scale[i]] * noise;
    sq_candidate c = {.x = x + dx,
                      .y = y + dy,
                      .error_x = kx > 0 ? 1 / (centre * sqrt(kx)) : 1,
                      .error_y = ky > 0 ? 1 / (centre * sqrt(ky)) : 1,
                      .snr = centre * rx * ry,
                      .snr_fixed = f->fixed[i],
                      .scale = f->scale[i],
                      .column = x,
                      .row = y,
                      .y0_error = sigma,
                      .y0_fixed = f->fixed[i] * f->sigma_fixed * noise,
                      .y0_fixed_error = f->sigma_fixed * noise};
    c.y0 = c.snr * sigma;
    return c;
}

static int stronger(const void *a, const void *b)
{
    const sq_candidate *p = a, *q = b;
    if (p->snr != q->snr)
        return p->snr > q->snr ? -1 : 1;
    if (p->y != q->y)
        return p->y < q->y ? -1 : 1;
    return p->x < q->x ? -1 : p->x > q->x;
}

/* Drop what has a stronger one within the radius: candidates are few against pixels, and sorted. */
static int64_t thin(sq_candidate *c, int64_t n, double radius)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
        int alone = 1;
        for (int64_t k = 0; k < kept && alone; k++)
            alone = hypot(c[i].x - c[k].x, c[i].y - c[k].y) > radius;
        if (alone)
            c[kept++] = c[i];
    }
    return kept;
}

sq_status sq_finder_peaks(sq_finder *f, double threshold, double radius, sq_candidate **out,
                          int64_t *count)
{
    sq_status rc = SQ_OK;
    sq_candidate *c = NULL;
    size_t capacity = 0;
    int64_t n = 0;
    *out = NULL;
    *count = 0;
    for (int y = 1; y < f->ny - 1; y++) {
        for (int x = 1; x < f->nx - 1; x++) {
            /* Half: the top of a peak lies between pixels, and is what counts. */
            if (!is_peak(f, x, y, fmin(threshold, 0.5 * threshold)))
                continue;
            SQ_TRY(SQ_GROW(c, capacity, n + 1, "candidates"));
            c[n] = describe(f, x, y);
            n += c[n].snr >= threshold;
        }
    }
    if (n)
        qsort(c, (size_t)n, sizeof *c, stronger);
    *count = thin(c, n, radius);
    *out = c;
    c = NULL;
    empty(f);
cleanup:
    sq_free(c);
    return rc;
}
