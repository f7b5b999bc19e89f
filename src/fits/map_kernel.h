/* Interpolation along one axis of a flat map, in pixels of the map. Local. */
#ifndef SQ_FITS_MAP_KERNEL_H
#define SQ_FITS_MAP_KERNEL_H

#include "fits/map.h"

enum { SQ_MAP_TAPS = 12 }; /* of the widest kernel */

typedef struct sq_map_kernel sq_map_kernel;

sq_status sq_map_kernel_create(sq_map_method method, sq_map_kernel **out);
void sq_map_kernel_destroy(sq_map_kernel *kernel); /* accepts NULL */
/* The pixels that a value at x takes: how many, and the first of them. */
int sq_map_kernel_first(const sq_map_kernel *kernel, double x, int64_t *first);
/* Their weights, of unit sum. */
void sq_map_kernel_weights(const sq_map_kernel *kernel, double x, double w[SQ_MAP_TAPS]);
/* Amplitude that is left of a wave of `frequency` cycles a pixel, mean over places. */
double sq_map_kernel_response(const sq_map_kernel *kernel, double frequency);

#endif
