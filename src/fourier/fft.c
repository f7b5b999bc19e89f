#include "fourier/fft.h"

#include <fftw3.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "fourier/fft_internal.h"

#define REAL double
#define COMPLEX double _Complex
#define NAME(x) sq_fft##x
#define FFTW(x) fftw_##x
#define PRECISION "double"
#include "fourier/fft_plan.inc.h"
#undef REAL
#undef COMPLEX
#undef NAME
#undef FFTW
#undef PRECISION

#define REAL float
#define COMPLEX float _Complex
#define NAME(x) sq_fftf##x
#define FFTW(x) fftwf_##x
#define PRECISION "single"
#include "fourier/fft_plan.inc.h"

int sq_fft_ny(const sq_fft *fft)
{
    return fft->ny;
}

int sq_fft_nx(const sq_fft *fft)
{
    return fft->nx;
}

sq_status sq_fft_check_size(int ny, int nx)
{
    const int limit = 1 << 16;
    if (ny < 1 || nx < 1 || ny > limit || nx > limit)
        return sq_fail(SQ_ERR_USAGE, "FFT: %d x %d is not within 1..%d", ny, nx, limit);
    return SQ_OK;
}
