#include "fourier/window.h"

#include <math.h>

#include "base/mem.h"

double sq_window_profile(sq_window kind, double d, double width)
{
    if (d >= width)
        return 1;
    if (!(d > 0))
        return 0;
    if (kind == SQ_WINDOW_COSINE)
        return 0.5 * (1 - cos(M_PI * d / width));
    /* sin of half angles: 1 - cos would cancel for small distances. */
    double x = sin(0.5 * d) / sin(0.5 * width);
    if (kind == SQ_WINDOW_C1)
        return x - sin(2 * M_PI * x) / (2 * M_PI);
    return 0.5 * (1 - cos(M_PI * x));
}

static sq_status check_width(double width, double limit)
{
    if (width >= 0 && width <= limit)
        return SQ_OK;
    return sq_fail(SQ_ERR_USAGE, "window: a width of %g is not within 0..%g rad", width, limit);
}

static sq_status axis_taper(int n, double step, sq_window kind, double width, double **out)
{
    sq_status rc = SQ_ALLOC(*out, n, "window");
    for (int i = 0; rc == SQ_OK && i < n; i++)
        (*out)[i] = sq_window_profile(kind, (fmin(i, n - 1 - i) + 0.5) * step, width);
    return rc;
}

sq_status sq_window_edges(const sq_flat *flat, sq_window kind, double width, double *out)
{
    sq_status rc = SQ_OK;
    double *wy = NULL, *wx = NULL;
    SQ_TRY(check_width(width, 0.5 * fmin(flat->ny * flat->dy, flat->nx * flat->dx)));
    SQ_TRY(axis_taper(flat->ny, flat->dy, kind, width, &wy));
    SQ_TRY(axis_taper(flat->nx, flat->dx, kind, width, &wx));
    for (int y = 0; y < flat->ny; y++) {
        for (int x = 0; x < flat->nx; x++)
            out[(int64_t)y * flat->nx + x] = wy[y] * wx[x];
    }
cleanup:
    sq_free(wy);
    sq_free(wx);
    return rc;
}

/* One-dimensional squared distance transform, the lower envelope of the parabolas (i - q)^2 step^2
 * + f[q] (Felzenszwalb & Huttenlocher 2012). */
static void envelope(int n, int64_t stride, double step, double *f, int *vertex, double *bound,
                     double *g)
{
    int k = -1;
    double s2 = step * step;
    for (int q = 0; q < n; q++) {
        double fq = f[q * stride], s = -INFINITY;
        if (isinf(fq))
            continue;
        while (k >= 0) {
            int v = vertex[k];
            s = ((fq + s2 * q * q) - (f[v * stride] + s2 * v * v)) / (2 * s2 * (q - v));
            if (s > bound[k])
                break;
            k--;
            s = -INFINITY;
        }
        vertex[++k] = q;
        bound[k] = s;
    }
    if (k < 0)
        return;
    bound[k + 1] = INFINITY;
    for (int q = 0, j = 0; q < n; q++) {
        while (bound[j + 1] < q)
            j++;
        double d = (q - vertex[j]) * step;
        g[q] = d * d + f[vertex[j] * stride];
    }
    for (int q = 0; q < n; q++)
        f[q * stride] = g[q];
}

sq_status sq_window_mask(const sq_flat *flat, sq_window kind, double width, const uint8_t *valid,
                         double *out)
{
    sq_status rc = SQ_OK;
    int64_t n = sq_flat_pixels(flat);
    int longest = flat->ny > flat->nx ? flat->ny : flat->nx, *vertex = NULL;
    double *bound = NULL, *row = NULL;
    SQ_TRY(check_width(width, M_PI));
    SQ_TRY(SQ_ALLOC(vertex, longest, "distance transform"));
    SQ_TRY(SQ_ALLOC(bound, longest + 1, "distance transform"));
    SQ_TRY(SQ_ALLOC(row, longest, "distance transform"));
    for (int64_t i = 0; i < n; i++)
        out[i] = valid[i] ? INFINITY : 0;
    for (int x = 0; x < flat->nx; x++)
        envelope(flat->ny, flat->nx, flat->dy, out + x, vertex, bound, row);
    for (int y = 0; y < flat->ny; y++)
        envelope(flat->nx, 1, flat->dx, out + (int64_t)y * flat->nx, vertex, bound, row);
    for (int64_t i = 0; i < n; i++)
        out[i] = valid[i] ? sq_window_profile(kind, sqrt(out[i]), width) : 0;
cleanup:
    sq_free(vertex);
    sq_free(bound);
    sq_free(row);
    return rc;
}

double sq_window_mean(const sq_flat *flat, const double *window, int order)
{
    int64_t n = sq_flat_pixels(flat);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double product = 1;
        for (int k = 0; k < order; k++)
            product *= window[i];
        sum += product;
    }
    return sum / (double)n;
}
