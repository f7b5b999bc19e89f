/* Periodic interpolation of a flat map by the quintic B-spline (Unser 1999, IEEE Signal Processing
 * Magazine 16, 22), and its adjoint, the deposition of points.
 *
 * Positions are 0-based pixels, pixel centres at whole numbers; the map repeats. The spline goes
 * through the map's pixels; for a map that is smooth on the scale of a pixel the error falls with
 * the sixth power of the pixel side. Local, reentrant. */
#ifndef SQ_FOURIER_INTERPOLATE_H
#define SQ_FOURIER_INTERPOLATE_H

#include "fourier/flat.h"

/* From a map's modes to those of its spline coefficients, in place. */
void sq_filter_spline(const sq_flat *flat, double _Complex *modes);
/* The value at a point from the coefficients, [ny * nx]. */
double sq_spline_value(const sq_flat *flat, const double *coefficient, double x, double y);
/* Add `value` times the spline's weights, whose sum is 1, to the pixels around a point: a point of
 * that integral times the pixel's window to the sixth power, but for aliases that fall as (l d / (2
 * pi - l d))^6. */
void sq_spline_deposit(const sq_flat *flat, double x, double y, double value, double *map);

/* Multiply modes by a power of the window of the pixel, sinc(l_y dy / 2) sinc(l_x dx / 2). */
void sq_filter_pixel(const sq_flat *flat, int power, double _Complex *modes);

#endif
