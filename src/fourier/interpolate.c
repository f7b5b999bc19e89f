#include "fourier/interpolate.h"

#include <complex.h>
#include <math.h>

enum { TAPS = 6 };

/* Weights of the pixels floor(x) - 2 .. floor(x) + 3 for t = x - floor(x): the six pieces of the
 * quintic B-spline. */
static void weights(double t, double w[TAPS])
{
    double s = 1 - t, t2 = t * t, t4 = t2 * t2, s2 = s * s, s4 = s2 * s2;
    w[0] = s4 * s / 120;
    w[5] = t4 * t / 120;
    w[2] = (66 - 60 * t2 + 30 * t4 - 10 * t4 * t) / 120;
    w[3] = (66 - 60 * s2 + 30 * s4 - 10 * s4 * s) / 120;
    w[1] = (1 + s * (5 + s * (10 + s * (10 + s * (5 - 5 * s))))) / 120;
    w[4] = (1 + t * (5 + t * (10 + t * (10 + t * (5 - 5 * t))))) / 120;
}

static int wrap(int i, int n)
{
    i %= n;
    return i < 0 ? i + n : i;
}

/* First pixel and weights along one axis; positions far outside are brought in by whole turns. */
static void taps(double x, int n, int index[TAPS], double w[TAPS])
{
    double base = floor(x);
    weights(x - base, w);
    int first = (int)(base - n * floor(base / n)) - 2;
    for (int k = 0; k < TAPS; k++)
        index[k] = wrap(first + k, n);
}

double sq_spline_value(const sq_flat *flat, const double *coefficient, double x, double y)
{
    int ix[TAPS], iy[TAPS];
    double wx[TAPS], wy[TAPS], sum = 0;
    taps(x, flat->nx, ix, wx);
    taps(y, flat->ny, iy, wy);
    for (int j = 0; j < TAPS; j++) {
        const double *row = coefficient + (int64_t)iy[j] * flat->nx;
        double line = 0;
        for (int i = 0; i < TAPS; i++)
            line += wx[i] * row[ix[i]];
        sum += wy[j] * line;
    }
    return sum;
}

void sq_spline_deposit(const sq_flat *flat, double x, double y, double value, double *map)
{
    int ix[TAPS], iy[TAPS];
    double wx[TAPS], wy[TAPS];
    taps(x, flat->nx, ix, wx);
    taps(y, flat->ny, iy, wy);
    for (int j = 0; j < TAPS; j++) {
        double *row = map + (int64_t)iy[j] * flat->nx;
        for (int i = 0; i < TAPS; i++)
            row[ix[i]] += value * wy[j] * wx[i];
    }
}

static double sinc(double x)
{
    return fabs(x) < 1e-4 ? 1 - x * x / 6 : sin(x) / x;
}

/* Phase l d of mode k of n. */
static double phase(int k, int n)
{
    return 2 * M_PI * (k < (n + 1) / 2 ? k : k - n) / n;
}

void sq_filter_spline(const sq_flat *flat, double _Complex *modes)
{
    int columns = flat->nx / 2 + 1;
    for (int v = 0; v < flat->ny; v++) {
        double a = phase(v, flat->ny), wy = (66 + 52 * cos(a) + 2 * cos(2 * a)) / 120;
        for (int u = 0; u < columns; u++) {
            double b = phase(u, flat->nx), wx = (66 + 52 * cos(b) + 2 * cos(2 * b)) / 120;
            modes[(int64_t)v * columns + u] /= wy * wx;
        }
    }
}

static double whole_power(double x, int power)
{
    double out = 1;
    for (int k = power < 0 ? -power : power; k > 0; k--)
        out *= x;
    return power < 0 ? 1 / out : out;
}

void sq_filter_pixel(const sq_flat *flat, int power, double _Complex *modes)
{
    int columns = flat->nx / 2 + 1;
    for (int v = 0; v < flat->ny; v++) {
        double wy = sinc(0.5 * phase(v, flat->ny));
        for (int u = 0; u < columns; u++)
            modes[(int64_t)v * columns + u] *=
                whole_power(wy * sinc(0.5 * phase(u, flat->nx)), power);
    }
}
