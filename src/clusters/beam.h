/* Beams of the bands. */
#ifndef SQ_CLUSTERS_BEAM_H
#define SQ_CLUSTERS_BEAM_H

#include <stddef.h>

#include "base/status.h"

/* b_l, l = 0..lmax, 1 at the first row, from text: rows "l b_l" with whole l up to 1000 at least,
 * linear in between and 0 beyond, or rows "arcmin value" of a radial profile, whose transform is
 * taken. `path` is for messages: SQ_ERR_DATA names the line. */
sq_status cluster_beam_parse(const char *path, const char *text, size_t size, int lmax,
                             double *out);
/* The radial profile of unit integral, per steradian, at i * step rad, i = 0..n - 1, of a transfer
 * function at l = 0..lmax. */
void cluster_beam_profile(const double *transfer, int lmax, double step, int n, double *out);

#endif
