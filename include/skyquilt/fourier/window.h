/* Apodisation windows: weights that fall smoothly from 1 to 0 toward edges and masked pixels.
 *
 * With d the distance to the border and w the width, x = min(1, d / w) or, for C1 and C2, x =
 * sqrt((1 - cos d) / (1 - cos w)) (Grain, Tristram & Stompor 2009, section III): COSINE  (1 -
 * cos(pi x)) / 2, d / w on the flat sky C1      x - sin(2 pi x) / (2 pi) C2      (1 - cos(pi x)) /
 * 2 The width is in the unit of the pixel sides, radians. Local, reentrant. */
#ifndef SQ_FOURIER_WINDOW_H
#define SQ_FOURIER_WINDOW_H

#include <stdint.h>

#include "base/status.h"
#include "fourier/flat.h"

typedef enum sq_window { SQ_WINDOW_COSINE, SQ_WINDOW_C1, SQ_WINDOW_C2 } sq_window;

/* The profile at distance d >= 0; 0 at d = 0, 1 from d = width on. A width of 0 is a step. */
double sq_window_profile(sq_window kind, double d, double width);
/* Edge taper, a product of two profiles: the border lies half a pixel outside the outermost pixel
 * centres. out[ny * nx]. SQ_ERR_USAGE for a width that is negative or above half of a side. */
sq_status sq_window_edges(const sq_flat *flat, sq_window kind, double width, double *out);
/* Weights from the Euclidean distance of each pixel centre to the nearest pixel centre with valid[]
 * == 0 (0 there; 1 everywhere when all are valid). Edges of the map are no border. valid[ny * nx],
 * out[ny * nx]. */
sq_status sq_window_mask(const sq_flat *flat, sq_window kind, double width, const uint8_t *valid,
                         double *out);
/* Mean over the pixels of window^order: the correction of a power spectrum for order 2. */
double sq_window_mean(const sq_flat *flat, const double *window, int order);

#endif
