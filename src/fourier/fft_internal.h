/* How plans are made; shared by both precisions. Local. */
#ifndef SQ_FOURIER_FFT_INTERNAL_H
#define SQ_FOURIER_FFT_INTERNAL_H

#include "fourier/fft.h"

/* FFTW's planner is not reentrant: it is called between these two. `lock` returns the planner's
 * flags. */
unsigned sq_fft_planner_lock(void);
void sq_fft_planner_unlock(void);

sq_status sq_fft_check_size(int ny, int nx);
sq_status sq_fft_no_plan(int ny, int nx, const char *precision);

#endif
