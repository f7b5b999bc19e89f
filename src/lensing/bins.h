/* Where a multipole lies between the middles of bins. */
#ifndef SQ_LENSING_BINS_H
#define SQ_LENSING_BINS_H

/* The value at l is (1 - x) v[i] + x v[j]; constant beyond the outermost middles. */
static inline double bins_place(const double *edges, int bins, double l, int *i, int *j)
{
    int k = 0;
    while (k < bins - 2 && l > 0.5 * (edges[k + 1] + edges[k + 2]))
        k++;
    *i = k;
    *j = k + 1 < bins ? k + 1 : k;
    double low = 0.5 * (edges[k] + edges[k + 1]), high = 0.5 * (edges[*j] + edges[*j + 1]);
    double x = high > low ? (l - low) / (high - low) : 0;
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

#endif
