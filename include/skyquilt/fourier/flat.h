/* Flat-sky grids and what is done to maps in Fourier space.
 *
 * A map has ny x nx pixels of dy x dx radians and periodic boundaries; its modes are those of
 * fourier/fft.h. Mode (v, u) has the angular wave vector l = 2 pi (v / (ny dy), u / (nx dx)), with
 * v taken in [-ny/2, ny/2) and u in 0..nx/2, as numpy.fft.fftfreq and rfftfreq give them. Power per
 * mode in the continuum normalisation: C(l) = |F(l)|^2 dx dy / (nx ny), in (map unit)^2 steradian.
 * Spin-2 maps: E + i B = (Q + i U) exp(-2 i phi_l) mode by mode, phi_l = atan2(l_y, l_x), with x
 * and y the axes of the map. Tables are indexed by integer l = 0..lmax, linear in between and 0
 * above. Sums run in a fixed order. Local, reentrant. */
#ifndef SQ_FOURIER_FLAT_H
#define SQ_FOURIER_FLAT_H

#include <stdint.h>

#include "base/rng.h"
#include "base/status.h"
#include "fourier/fft.h"

typedef struct sq_flat {
    int ny, nx;
    double dy, dx; /* rad */
} sq_flat;

int64_t sq_flat_pixels(const sq_flat *flat);
int64_t sq_flat_modes(const sq_flat *flat); /* ny (nx/2 + 1) */
double sq_flat_area(const sq_flat *flat);   /* steradian */
/* ly[ny] and lx[nx/2 + 1]; either may be NULL. */
void sq_flat_axes(const sq_flat *flat, double *ly, double *lx);
/* |l| of every mode, ell[modes]. */
void sq_flat_ell(const sq_flat *flat, double *ell);
/* How many modes of the full plane a column of the half plane stands for: 1 or 2. */
int sq_flat_weight(const sq_flat *flat, int column);

/* A table at l; 0 for l > lmax. */
double sq_table_at(const double *table, int lmax, double l);
/* Gaussian beam: b_l = exp(-l (l + 1) sigma^2 / 2), fwhm in rad; out[lmax + 1]. */
void sq_beam_gauss(double fwhm, int lmax, double *out);

/* Multiply every mode by the table at its |l|. */
void sq_filter_table(const sq_flat *flat, const double *table, int lmax, double _Complex *modes);
/* Derivative along y (axis 0) or x (axis 1) per radian: out = i l in. The Nyquist mode of an even
 * side has no derivative and is set to 0. `out` may be `modes`. */
void sq_filter_gradient(const sq_flat *flat, int axis, const double _Complex *modes,
                        double _Complex *out);
/* Rotate (Q, U) modes to (E, B) in place, and back: inverses of each other. The mode l = 0 is not
 * rotated. In the Nyquist column of an even nx, whose two signs of l_x are one mode, |l_y| stands
 * for l_y: the maps stay real. */
void sq_filter_qu_to_eb(const sq_flat *flat, double _Complex *q, double _Complex *u);
void sq_filter_eb_to_qu(const sq_flat *flat, double _Complex *e, double _Complex *b);

/* Periodic convolution of a map with a kernel of ky x kx pixels, both odd and not above the map's
 * sides; its centre pixel is the origin, so that a kernel of one central 1 is the identity. `out`
 * may be `map`. */
sq_status sq_convolve(sq_fft *fft, const double *map, const double *kernel, int ky, int kx,
                      double *out);

/* Binned cross power of the transforms a and b (auto power for a == b):
 *     power[i] = mean over modes with edges[i] <= |l| < edges[i + 1] of Re(a b*) dx dy / (nx ny) /
 * norm, each mode of the full plane counted once. `norm` is the mean of the product of the maps'
 * windows (sq_window_mean of order 2), 1 without window. ell[i] is the mean |l| of the modes,
 * count[i] their number; a bin without modes gets NaN. ell and count may be NULL. SQ_ERR_USAGE when
 * edges[bins + 1] do not ascend. */
sq_status sq_spectrum(const sq_flat *flat, const double _Complex *a, const double _Complex *b,
                      double norm, int bins, const double *edges, double *ell, double *power,
                      int64_t *count);

/* Modes of a Gaussian random field with power `cl` (in (map unit)^2 steradian): real-space white
 * noise from `rng`, pixel by pixel in row order, coloured in Fourier space. The same stream gives
 * the same field. */
sq_status sq_field_modes(sq_fft *fft, const sq_flat *flat, sq_rng *rng, const double *cl, int lmax,
                         double _Complex *modes);
/* Up to SQ_FIELDS_MAX correlated fields. cl[i * count + j] with j <= i is the cross power of fields
 * i and j (NULL: 0). modes[i]: the fields. SQ_ERR_DATA when the matrix is not positive semidefinite
 * at some l. */
enum { SQ_FIELDS_MAX = 6 };
sq_status sq_field_set(sq_fft *fft, const sq_flat *flat, sq_rng *rng, int count,
                       const double *const *cl, int lmax, double _Complex *const *modes);

#endif
