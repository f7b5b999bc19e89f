#include "fits/map_kernel.h"

#include <math.h>

#include "base/mem.h"

enum { REACH = SQ_MAP_TAPS / 2, PHASES = 512 };

/* Modified Bessel function I0: Abramowitz & Stegun 9.6.12. */
static double bessel_i0(double x)
{
    double term = 1, sum = 1;
    for (int k = 1; term > 1e-17 * sum; k++) {
        term *= 0.25 * x * x / (k * k);
        sum += term;
    }
    return sum;
}

/* The sinc in a window of Kaiser (Kaiser & Schafer 1980, IEEE ASSP 28, 105). With 12 taps and this
 * slope, waves longer than three pixels keep amplitude and phase to 0.25% wherever the point lies
 * between its pixels. */
static double kaiser_sinc(double t)
{
    const double slope = 6;
    double a = M_PI * t, u = t / REACH, inside = 1 - u * u;
    if (inside <= 0)
        return 0;
    return (fabs(a) < 1e-9 ? 1 : sin(a) / a) * bessel_i0(slope * sqrt(inside)) / bessel_i0(slope);
}

static void sinc_weights(double t, double w[SQ_MAP_TAPS])
{
    double sum = 0;
    for (int k = 0; k < SQ_MAP_TAPS; k++)
        sum += w[k] = kaiser_sinc(t - (k - REACH + 1));
    for (int k = 0; k < SQ_MAP_TAPS; k++)
        w[k] /= sum;
}

struct sq_map_kernel {
    sq_map_method method;
    double table[PHASES + 2][SQ_MAP_TAPS]; /* of the sinc */
};

sq_status sq_map_kernel_create(sq_map_method method, sq_map_kernel **out)
{
    sq_status rc = SQ_OK;
    SQ_TRY(SQ_ALLOC(*out, 1, "kernel"));
    (*out)->method = method;
    for (int k = 0; method == SQ_MAP_SINC && k < PHASES + 2; k++)
        sinc_weights((double)k / PHASES, (*out)->table[k]);
cleanup:
    return rc;
}

void sq_map_kernel_destroy(sq_map_kernel *kernel)
{
    sq_free(kernel);
}

int sq_map_kernel_first(const sq_map_kernel *kernel, double x, int64_t *first)
{
    *first = (int64_t)floor(x);
    switch (kernel->method) {
    case SQ_MAP_NEAREST:
        *first = (int64_t)floor(x + 0.5);
        return 1;
    case SQ_MAP_BILINEAR:
        return 2;
    case SQ_MAP_BICUBIC:
        *first -= 1;
        return 4;
    case SQ_MAP_SINC:
        break;
    }
    *first -= REACH - 1;
    return SQ_MAP_TAPS;
}

void sq_map_kernel_weights(const sq_map_kernel *kernel, double x, double w[SQ_MAP_TAPS])
{
    double t = x - floor(x), place = t * PHASES;
    int row = (int)place;
    switch (kernel->method) {
    case SQ_MAP_NEAREST:
        w[0] = 1;
        return;
    case SQ_MAP_BILINEAR:
        w[0] = 1 - t;
        w[1] = t;
        return;
    case SQ_MAP_BICUBIC: /* Keys 1981, IEEE ASSP 29, 1153, a = -1/2 */
        w[0] = 0.5 * t * (-1 + t * (2 - t));
        w[1] = 1 + 0.5 * t * t * (-5 + 3 * t);
        w[2] = 0.5 * t * (1 + t * (4 - 3 * t));
        w[3] = 0.5 * t * t * (t - 1);
        return;
    case SQ_MAP_SINC:
        break;
    }
    for (int k = 0; k < SQ_MAP_TAPS; k++)
        w[k] = kernel->table[row][k] +
               (place - row) * (kernel->table[row + 1][k] - kernel->table[row][k]);
}

/* Of all places between two pixels those up to the middle: the others mirror them. */
double sq_map_kernel_response(const sq_map_kernel *kernel, double frequency)
{
    enum { STEPS = 16 };
    double sum = 0;
    for (int k = 0; k < STEPS; k++) {
        double x = (k + 0.5) / (2 * STEPS), w[SQ_MAP_TAPS];
        int64_t first;
        int n = sq_map_kernel_first(kernel, x, &first);
        sq_map_kernel_weights(kernel, x, w);
        for (int i = 0; i < n; i++)
            sum += w[i] * cos(2 * M_PI * frequency * ((double)(first + i) - x)) / STEPS;
    }
    return sum;
}
