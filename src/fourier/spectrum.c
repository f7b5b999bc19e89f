#include <complex.h>
#include <math.h>

#include "base/mem.h"
#include "fourier/flat.h"

static int find_bin(const double *edges, int bins, double l)
{
    int low = 0, high = bins;
    if (!(l >= edges[0]) || l >= edges[bins])
        return -1;
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (edges[middle] <= l)
            low = middle;
        else
            high = middle;
    }
    return low;
}

sq_status sq_spectrum(const sq_flat *flat, const double _Complex *a, const double _Complex *b,
                      double norm, int bins, const double *edges, double *ell, double *power,
                      int64_t *count)
{
    sq_status rc = SQ_OK;
    int columns = flat->nx / 2 + 1;
    double *sum_l = NULL, *ly = NULL, *lx = NULL;
    int64_t *modes = NULL;
    for (int i = 0; i < bins; i++) {
        if (!(edges[i] < edges[i + 1]))
            return sq_fail(SQ_ERR_USAGE, "spectrum: bin edge %d does not ascend", i + 1);
    }
    SQ_TRY(SQ_ALLOC(sum_l, bins, "spectrum"));
    SQ_TRY(SQ_ALLOC(modes, bins, "spectrum"));
    SQ_TRY(SQ_ALLOC(ly, flat->ny, "spectrum"));
    SQ_TRY(SQ_ALLOC(lx, columns, "spectrum"));
    sq_flat_axes(flat, ly, lx);
    for (int i = 0; i < bins; i++)
        power[i] = 0;
    for (int v = 0; v < flat->ny; v++) {
        for (int u = 0; u < columns; u++) {
            int64_t k = (int64_t)v * columns + u;
            double l = hypot(ly[v], lx[u]);
            int weight = sq_flat_weight(flat, u), bin = find_bin(edges, bins, l);
            if (bin < 0)
                continue;
            modes[bin] += weight;
            sum_l[bin] += weight * l;
            power[bin] += weight * (creal(a[k]) * creal(b[k]) + cimag(a[k]) * cimag(b[k]));
        }
    }
    double scale = flat->dx * flat->dy / (double)sq_flat_pixels(flat) / norm;
    for (int i = 0; i < bins; i++) {
        power[i] = modes[i] ? power[i] * scale / (double)modes[i] : NAN;
        if (ell)
            ell[i] = modes[i] ? sum_l[i] / (double)modes[i] : NAN;
        if (count)
            count[i] = modes[i];
    }
cleanup:
    sq_free(sum_l);
    sq_free(modes);
    sq_free(ly);
    sq_free(lx);
    return rc;
}
