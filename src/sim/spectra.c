#include "sim/spectra.h"

#include <math.h>

#include "base/mem.h"
#include "sim/spectra_table.inc.h"

/* Second derivatives of the natural cubic spline through the nodes. */
static void spline(const float *d, double *second, double *work)
{
    second[0] = work[0] = 0;
    for (int i = 1; i < SPECTRA_NODES - 1; i++) {
        double before = SPECTRA_L[i] - SPECTRA_L[i - 1], after = SPECTRA_L[i + 1] - SPECTRA_L[i];
        double share = before / (before + after), pivot = share * second[i - 1] + 2;
        double bend = ((double)d[i + 1] - d[i]) / after - ((double)d[i] - d[i - 1]) / before;
        second[i] = (share - 1) / pivot;
        work[i] = (6 * bend / (before + after) - share * work[i - 1]) / pivot;
    }
    second[SPECTRA_NODES - 1] = 0;
    for (int i = SPECTRA_NODES - 2; i >= 0; i--)
        second[i] = second[i] * second[i + 1] + work[i];
}

static double between(const float *d, const double *second, int i, int l)
{
    double h = SPECTRA_L[i + 1] - SPECTRA_L[i];
    double a = (SPECTRA_L[i + 1] - l) / h, b = (l - SPECTRA_L[i]) / h;
    return a * d[i] + b * d[i + 1] +
           ((a * a * a - a) * second[i] + (b * b * b - b) * second[i + 1]) * h * h / 6;
}

sq_status sq_fiducial_spectrum(sq_fiducial kind, int lmax, double *cl)
{
    sq_status rc = SQ_OK;
    const float *d = SPECTRA_D[kind];
    const int last = SPECTRA_NODES - 1;
    double *second = NULL, *work = NULL;
    SQ_TRY(SQ_ALLOC(second, SPECTRA_NODES, "spectrum"));
    SQ_TRY(SQ_ALLOC(work, SPECTRA_NODES, "spectrum"));
    spline(d, second, work);
    double slope =
        log((double)d[last] / d[last - 20]) / log((double)SPECTRA_L[last] / SPECTRA_L[last - 20]);
    for (int l = 0, i = 0; l <= lmax; l++) {
        while (i < last - 1 && l > SPECTRA_L[i + 1])
            i++;
        double value = l < 2                 ? 0
                       : l > SPECTRA_L[last] ? d[last] * pow((double)l / SPECTRA_L[last], slope)
                                             : between(d, second, i, l);
        double ll = (double)l * (l + 1);
        cl[l] = l < 2 ? 0 : value * 2 * M_PI / (kind == SQ_POTENTIAL ? ll * ll : ll);
    }
cleanup:
    sq_free(second);
    sq_free(work);
    return rc;
}
