/* Two-dimensional Fourier transforms of real maps, in double (sq_fft) and single (sq_fftf)
 * precision.
 *
 * A map has ny rows of nx pixels, x fastest; ny = 1 is a one-dimensional transform. Its transform
 * is the half plane of ny rows of nx/2 + 1 complex modes, as numpy.fft.rfft2 gives it: forward F(v,
 * u) = sum_yx f(y, x) exp(-2 pi i (v y / ny + u x / nx)) backward  f(y, x) = 1 / (nx ny) sum_vu
 * F(v, u) exp(+2 pi i (v y / ny + u x / nx)).
 *
 * Results must not depend on timing: plans come from FFTW_ESTIMATE, which does not measure, or
 * after sq_fft_wisdom_load from a wisdom file alone (FFTW_WISDOM_ONLY), which is an input that is
 * hashed like a model. Both give the same bits on every run of one machine type and FFTW build, for
 * any alignment of the caller's arrays. Wisdom is state of the process: load it once, before the
 * first plan.
 *
 * A plan is used by one thread at a time; plans may be made by several threads. Local. */
#ifndef SQ_FOURIER_FFT_H
#define SQ_FOURIER_FFT_H

#include "base/hash.h"
#include "base/status.h"

typedef struct sq_fft sq_fft;
typedef struct sq_fftf sq_fftf;

/* SQ_ERR_USAGE for sides outside 1..65536; SQ_ERR_CONFIG when wisdom was loaded and has none for
 * this size. */
sq_status sq_fft_create(int ny, int nx, sq_fft **out);
sq_status sq_fftf_create(int ny, int nx, sq_fftf **out);
/* The input is preserved; input and output may not overlap. */
void sq_fft_forward(sq_fft *fft, const double *map, double _Complex *modes);
void sq_fftf_forward(sq_fftf *fft, const float *map, float _Complex *modes);
void sq_fft_backward(sq_fft *fft, const double _Complex *modes, double *map);
void sq_fftf_backward(sq_fftf *fft, const float _Complex *modes, float *map);
int sq_fft_ny(const sq_fft *fft);
int sq_fft_nx(const sq_fft *fft);
void sq_fft_destroy(sq_fft *fft);
void sq_fftf_destroy(sq_fftf *fft);

/* Take plans from this file only, from now on. *hash (may be NULL) is the hash of the file's bytes.
 * SQ_ERR_CONFIG when there is none, it is not a wisdom file or was made by another FFTW, SQ_ERR_IO
 * when it cannot be read. */
sq_status sq_fft_wisdom_load(const char *path, sq_hash *hash);
/* The same from the file's bytes, with a NUL behind them, as sq_files_read gives them; `name` is for
 * errors. */
sq_status sq_fft_wisdom_parse(const void *data, size_t size, const char *name, sq_hash *hash);
/* Measure plans for one size in both precisions (seconds to minutes; `patient` tries many more). */
sq_status sq_fft_wisdom_learn(int ny, int nx, int patient);
/* Write all that this process has learnt: to `path`.partial, flushed, then renamed. */
sq_status sq_fft_wisdom_save(const char *path);
/* Back to FFTW_ESTIMATE without any wisdom. */
void sq_fft_wisdom_forget(void);

const char *sq_fft_version(void); /* "fftw-3.3.10-sse2-avx..." */

#endif
