/* Resampling of an image onto another pixel grid, with its variance, mask and noise correlation.
 *
 * The kernel is Lanczos of order 3 (of unit sum and no first moment), the declared kernel of the
 * program; flux density per pixel is multiplied by the ratio of pixel areas so that total flux is
 * kept: to 1e-3 for grids turned at will whose scales differ by less than 5 percent (coarser grids
 * alias). A masked or missing input pixel under the kernel's core (|dx|, |dy| < 1) sets its bits in
 * the output mask; one without a value (NaN) there leaves the output without one, elsewhere under
 * the kernel the other weights are scaled to unit sum. Local, reentrant. */
#ifndef SQ_SKY_RESAMPLE_H
#define SQ_SKY_RESAMPLE_H

#include <stdint.h>

#include "base/status.h"
#include "sky/wcs.h"

/* Positions of the pixels of a grid in the source image, exact at nodes `step` apart and bilinear
 * between. */
typedef struct sq_grid_map sq_grid_map;

/* The grid: `nx` x `ny` pixels of `to` with origin (x0, y0). */
sq_status sq_grid_map_create(const sq_wcs *from, const sq_wcs *to, int64_t x0, int64_t y0, int nx,
                             int ny, sq_grid_map **out);
/* Bounding box in the source (half-open, kernel support included, not clipped). */
void sq_grid_map_bounds(const sq_grid_map *map, int64_t *x0, int64_t *y0, int64_t *x1, int64_t *y1);
/* Source pixel position of the output pixel (i, j), and the area of an output pixel in source
 * pixels. */
void sq_grid_map_at(const sq_grid_map *map, double i, double j, double *x, double *y, double *area);
/* The same for the nx output pixels of row j: bit for bit what sq_grid_map_at gives. */
void sq_grid_map_row(const sq_grid_map *map, int j, double *x, double *y, double *area);
void sq_grid_map_destroy(sq_grid_map *map);

/* Source planes cover the box (sx0, sy0, snx, sny); NaN pixels count as masked, with `bad` when
 * their own mask is 0. variance and mask may be NULL (both in and out). Output planes are nx x ny
 * of the map. Pixels without source: image 0, variance inf, `bad`. */
sq_status sq_resample(const sq_grid_map *map, int64_t sx0, int64_t sy0, int snx, int sny,
                      const float *image, const float *variance, const uint32_t *mask, uint32_t bad,
                      float *out_image, float *out_variance, uint32_t *out_mask);

/* The same with the noise of the kernel as a plane: the variance of an output pixel for unit
 * variance of the source pixels (0 where unusable). out_variance, out_mask and out_noise may be
 * NULL. */
sq_status sq_resample_noise_plane(const sq_grid_map *map, int64_t sx0, int64_t sy0, int snx,
                                  int sny, const float *image, const float *variance,
                                  const uint32_t *mask, uint32_t bad, float *out_image,
                                  float *out_variance, uint32_t *out_mask, float *out_noise);

/* For a shift (dx, dy) in pixels between grids of one scale: noise[0] = variance of a resampled
 * pixel over the source pixel's, noise[1] = correlation of neighbours in x, noise[2] = in y. A NaN
 * shift means: averaged over the sub-pixel phases. */
void sq_resample_noise(double dx, double dy, double noise[3]);

#endif
