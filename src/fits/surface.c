#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "fits/band.h"

enum { CLIPS = 10 };

sq_status sq_surface_create(int nx, int ny, int64_t width, int64_t height, sq_surface *out)
{
    sq_status rc = SQ_OK;
    sq_surface s = {.nx = nx, .ny = ny, .width = width, .height = height};
    SQ_TRY(SQ_ALLOC(s.value, (size_t)nx * ny, "sky surface"));
    SQ_TRY(SQ_ALLOC(s.at_x, width, "sky columns"));
    SQ_TRY(SQ_ALLOC(s.at_y, height, "sky rows"));
    *out = s;
    memset(&s, 0, sizeof s);
cleanup:
    sq_surface_clear(&s);
    return rc;
}

void sq_surface_clear(sq_surface *s)
{
    sq_free(s->value);
    sq_free(s->at_x);
    sq_free(s->at_y);
    memset(s, 0, sizeof *s);
}

/* Node and weight of a coarse position, clamped. */
static int node(float at, int n, float *weight)
{
    float t = at > 0 ? at : 0; /* also NaN */
    if (t > (float)(n - 1))
        t = (float)(n - 1);
    int k = (int)t;
    if (k > n - 2)
        k = n > 1 ? n - 2 : 0;
    *weight = n > 1 ? t - (float)k : 0;
    return k;
}

void sq_surface_row(const sq_surface *s, int64_t y, int64_t x0, int n, float *out)
{
    float wy, wx;
    int ky = node(s->at_y[y], s->ny, &wy);
    const float *low = s->value + (size_t)ky * s->nx, *high = s->ny > 1 ? low + s->nx : low;
    int step = s->nx > 1;
    for (int i = 0; i < n; i++) {
        int kx = node(s->at_x[x0 + i], s->nx, &wx);
        float a = low[kx] + wx * (low[kx + step] - low[kx]);
        float b = high[kx] + wx * (high[kx + step] - high[kx]);
        out[i] = a + wy * (b - a);
    }
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double middle(const float *v, int n)
{
    return n % 2 ? v[n / 2] : 0.5 * ((double)v[n / 2 - 1] + v[n / 2]);
}

/* The mode of the empty sky: 3 sigma clipping about the median, then 2.5 median - 1.5 mean (Bertin
 * & Arnouts 1996, section 3.1), the median where the mode says that the cell is crowded. `v` is
 * sorted here. NaN without values. */
static double clipped_mode(float *v, int n)
{
    int low = 0, high = n;
    double median = NAN, mean = NAN, sigma = 0;
    if (n < 16)
        return NAN;
    qsort(v, (size_t)n, sizeof *v, ascending);
    for (int pass = 0; pass < CLIPS; pass++) {
        double sum = 0, square = 0;
        for (int i = low; i < high; i++) {
            double d = (double)v[i] - v[low];
            sum += d;
            square += d * d;
        }
        int count = high - low;
        mean = v[low] + sum / count;
        median = middle(v + low, count);
        sigma = sqrt(fmax(0, square / count - sum / count * (sum / count)));
        int a = low, b = high;
        while (a < b && v[a] < median - 3 * sigma)
            a++;
        while (b > a && v[b - 1] > median + 3 * sigma)
            b--;
        if ((a == low && b == high) || b - a < 16)
            break;
        low = a;
        high = b;
    }
    return fabs(mean - median) < 0.3 * sigma ? 2.5 * median - 1.5 * mean : median;
}

static sq_status fill_cells(int cell, sq_rows_reader read, void *user, sq_surface *s)
{
    sq_status rc = SQ_OK;
    float *rows = NULL, *values = NULL;
    SQ_TRY(SQ_ALLOC(rows, (size_t)s->width * cell, "background rows"));
    SQ_TRY(SQ_ALLOC(values, (size_t)cell * cell, "background cell"));
    for (int cy = 0; cy < s->ny; cy++) {
        int64_t y0 = (int64_t)cy * cell;
        int height = s->height - y0 < cell ? (int)(s->height - y0) : cell;
        SQ_TRY(read(user, y0, height, rows));
        for (int cx = 0; cx < s->nx; cx++) {
            int64_t x0 = (int64_t)cx * cell, x1 = x0 + cell < s->width ? x0 + cell : s->width;
            int n = 0;
            for (int y = 0; y < height; y++) {
                for (int64_t x = x0; x < x1; x++) {
                    float v = rows[(size_t)y * s->width + x];
                    if (isfinite(v))
                        values[n++] = v;
                }
            }
            s->value[(size_t)cy * s->nx + cx] = (float)clipped_mode(values, n);
        }
    }
cleanup:
    sq_free(rows);
    sq_free(values);
    return rc;
}

/* Median of the finite neighbours within one cell; cells without data take what is around them. */
static sq_status smooth(sq_surface *s)
{
    sq_status rc = SQ_OK;
    float *filtered = NULL, around[9];
    SQ_TRY(SQ_ALLOC(filtered, (size_t)s->nx * s->ny, "background filter"));
    for (int y = 0; y < s->ny; y++) {
        for (int x = 0; x < s->nx; x++) {
            int n = 0;
            for (int j = y > 0 ? y - 1 : 0; j <= y + 1 && j < s->ny; j++) {
                for (int i = x > 0 ? x - 1 : 0; i <= x + 1 && i < s->nx; i++) {
                    if (isfinite(s->value[(size_t)j * s->nx + i]))
                        around[n++] = s->value[(size_t)j * s->nx + i];
                }
            }
            qsort(around, (size_t)n, sizeof *around, ascending);
            filtered[(size_t)y * s->nx + x] = n > 0 ? (float)middle(around, n) : 0;
        }
    }
    memcpy(s->value, filtered, (size_t)s->nx * s->ny * sizeof *filtered);
cleanup:
    sq_free(filtered);
    return rc;
}

sq_status sq_background(int64_t width, int64_t height, int cell, sq_rows_reader read, void *user,
                        sq_surface *out)
{
    sq_status rc = SQ_OK;
    /* Whole cells only, the last one longer: a sliver has too few pixels for a mode. */
    int nx = width >= cell ? (int)(width / cell) : 1,
        ny = height >= cell ? (int)(height / cell) : 1;
    SQ_TRY(sq_surface_create(nx, ny, width, height, out));
    for (int64_t x = 0; x < width; x++)
        out->at_x[x] = ((float)x + 0.5f) / (float)cell - 0.5f;
    for (int64_t y = 0; y < height; y++)
        out->at_y[y] = ((float)y + 0.5f) / (float)cell - 0.5f;
    SQ_TRY(fill_cells(cell, read, user, out));
    SQ_TRY(smooth(out));
cleanup:
    if (rc != SQ_OK)
        sq_surface_clear(out);
    return rc;
}
