#include "fourier/flat.h"

#include <complex.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"

int64_t sq_flat_pixels(const sq_flat *flat)
{
    return (int64_t)flat->ny * flat->nx;
}

int64_t sq_flat_modes(const sq_flat *flat)
{
    return (int64_t)flat->ny * (flat->nx / 2 + 1);
}

double sq_flat_area(const sq_flat *flat)
{
    return flat->ny * flat->dy * (flat->nx * flat->dx);
}

static double mode_y(const sq_flat *flat, int row)
{
    int v = row < (flat->ny + 1) / 2 ? row : row - flat->ny;
    return 2 * M_PI * v / (flat->ny * flat->dy);
}

static double mode_x(const sq_flat *flat, int column)
{
    return 2 * M_PI * column / (flat->nx * flat->dx);
}

void sq_flat_axes(const sq_flat *flat, double *ly, double *lx)
{
    for (int v = 0; ly && v < flat->ny; v++)
        ly[v] = mode_y(flat, v);
    for (int u = 0; lx && u <= flat->nx / 2; u++)
        lx[u] = mode_x(flat, u);
}

void sq_flat_ell(const sq_flat *flat, double *ell)
{
    int columns = flat->nx / 2 + 1;
    for (int v = 0; v < flat->ny; v++) {
        for (int u = 0; u < columns; u++)
            ell[(int64_t)v * columns + u] = hypot(mode_y(flat, v), mode_x(flat, u));
    }
}

static int is_nyquist(int n, int k)
{
    return n % 2 == 0 && k == n / 2;
}

int sq_flat_weight(const sq_flat *flat, int column)
{
    return column == 0 || is_nyquist(flat->nx, column) ? 1 : 2;
}

double sq_table_at(const double *table, int lmax, double l)
{
    if (!(l >= 0) || l > lmax)
        return 0;
    int k = (int)l;
    if (k == lmax)
        return table[lmax];
    double f = l - k;
    return (1 - f) * table[k] + f * table[k + 1];
}

void sq_beam_gauss(double fwhm, int lmax, double *out)
{
    double sigma = fwhm / sqrt(8 * log(2));
    for (int l = 0; l <= lmax; l++)
        out[l] = exp(-0.5 * l * (l + 1.0) * sigma * sigma);
}

void sq_filter_table(const sq_flat *flat, const double *table, int lmax, double _Complex *modes)
{
    int columns = flat->nx / 2 + 1;
    for (int v = 0; v < flat->ny; v++) {
        double ly = mode_y(flat, v);
        for (int u = 0; u < columns; u++)
            modes[(int64_t)v * columns + u] *= sq_table_at(table, lmax, hypot(ly, mode_x(flat, u)));
    }
}

void sq_filter_gradient(const sq_flat *flat, int axis, const double _Complex *modes,
                        double _Complex *out)
{
    int columns = flat->nx / 2 + 1;
    for (int v = 0; v < flat->ny; v++) {
        for (int u = 0; u < columns; u++) {
            int64_t k = (int64_t)v * columns + u;
            double l = axis == 0 ? mode_y(flat, v) : mode_x(flat, u);
            if (axis == 0 ? is_nyquist(flat->ny, v) : is_nyquist(flat->nx, u))
                l = 0;
            out[k] = CMPLX(-l * cimag(modes[k]), l * creal(modes[k]));
        }
    }
}

/* (a, b) to (a cos + b sin, b cos - a sin) of the angle sense * 2 phi_l. */
static void rotate(const sq_flat *flat, double sense, double _Complex *a, double _Complex *b)
{
    int columns = flat->nx / 2 + 1;
    for (int v = 0; v < flat->ny; v++) {
        for (int u = 0; u < columns; u++) {
            int64_t k = (int64_t)v * columns + u;
            double ly = mode_y(flat, v), lx = mode_x(flat, u), l2 = ly * ly + lx * lx;
            if (is_nyquist(flat->nx, u))
                ly = fabs(ly);
            double c = l2 > 0 ? (lx * lx - ly * ly) / l2 : 1;
            double s = l2 > 0 ? sense * 2 * lx * ly / l2 : 0;
            double _Complex p = a[k], q = b[k];
            a[k] = c * p + s * q;
            b[k] = c * q - s * p;
        }
    }
}

void sq_filter_qu_to_eb(const sq_flat *flat, double _Complex *q, double _Complex *u)
{
    rotate(flat, 1, q, u);
}

void sq_filter_eb_to_qu(const sq_flat *flat, double _Complex *e, double _Complex *b)
{
    rotate(flat, -1, e, b);
}

sq_status sq_convolve(sq_fft *fft, const double *map, const double *kernel, int ky, int kx,
                      double *out)
{
    sq_status rc = SQ_OK;
    int ny = sq_fft_ny(fft), nx = sq_fft_nx(fft);
    int64_t count = (int64_t)ny * (nx / 2 + 1);
    double *padded = NULL;
    double _Complex *modes = NULL, *transfer = NULL;
    if (ky < 1 || kx < 1 || ky % 2 == 0 || kx % 2 == 0 || ky > ny || kx > nx)
        return sq_fail(SQ_ERR_USAGE, "convolve: a kernel of %d x %d is not odd or above %d x %d",
                       ky, kx, ny, nx);
    SQ_TRY(SQ_ALLOC(padded, (int64_t)ny * nx, "kernel"));
    SQ_TRY(SQ_ALLOC(modes, count, "convolution"));
    SQ_TRY(SQ_ALLOC(transfer, count, "convolution"));
    for (int j = 0; j < ky; j++) {
        int y = (j - ky / 2 + ny) % ny;
        for (int i = 0; i < kx; i++)
            padded[(int64_t)y * nx + (i - kx / 2 + nx) % nx] = kernel[j * kx + i];
    }
    sq_fft_forward(fft, padded, transfer);
    sq_fft_forward(fft, map, modes);
    for (int64_t k = 0; k < count; k++)
        modes[k] *= transfer[k];
    sq_fft_backward(fft, modes, out);
cleanup:
    sq_free(padded);
    sq_free(modes);
    sq_free(transfer);
    return rc;
}
