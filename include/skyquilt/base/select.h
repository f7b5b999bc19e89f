/* Values by rank, without sorting all of them (Hoare 1961). Values are finite and are reordered.
 * Local. */
#ifndef SQ_BASE_SELECT_H
#define SQ_BASE_SELECT_H

#include <stdint.h>

/* The value of rank k (0: the least); smaller ones stand before it. */
double sq_select(double *value, int64_t n, int64_t k);
float sq_select_f32(float *value, int64_t n, int64_t k);
/* The mean of the two in the middle for an even n; NaN for none. */
double sq_median(double *value, int64_t n);

#endif
