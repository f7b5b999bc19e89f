/* Measurements of the machine and of an engine, on one thread, in seconds of that thread's CPU time (which other
 * processes do not lengthen) and FLOP/s. Local. */
#ifndef SQ_NN_BENCH_H
#define SQ_NN_BENCH_H

#include "nn/model.h"

/* One bare 3x3 convolution of a 1 x channels x side x side image to as many channels with a fused ReLU, in the
 * layouts that oneDNN likes best: the best FLOP/s of repeats over about `seconds`. */
sq_status sq_bench_convolution(int channels, int side, sq_precision precision, double seconds,
                               double *flops);

/* Bytes per second between memory and the core, best of the repeats over about `seconds`: the triad a = b + s c
 * (McCalpin's STREAM, three streams counted) over arrays of 128 MB, more than caches hold. */
sq_status sq_bench_bandwidth(double seconds, double *bytes_per_second);

/* One more pass with the caller's memory of the last one, each primitive timed by itself: *compute is the sum over
 * those that the model's nodes ask for (what a program that calls oneDNN itself must spend), *moves over the reorders
 * that layouts add. All stages must have been run, with inputs and outputs that are still there. */
sq_status sq_engine_bare(sq_engine *engine, double *compute, double *moves);

/* The implementation that operation i uses: "jit:avx512_core", "naive" ... */
const char *sq_engine_implementation(const sq_engine *engine, int i);

#endif
