#include "sim/spectra.h"

#include <math.h>

#include "base/mem.h"
#include "base/spline.h"
#include "sim/spectra_table.inc.h"

sq_status sq_fiducial_spectrum(sq_fiducial kind, int lmax, double *cl)
{
    sq_status rc = SQ_OK;
    const float *d = SPECTRA_D[kind];
    const int last = SPECTRA_NODES - 1;
    double *x = NULL, *y = NULL, *second = NULL, *work = NULL;
    double **all[] = {&x, &y, &second, &work};
    for (int i = 0; i < 4; i++)
        SQ_TRY(sq_alloc(all[i], SPECTRA_NODES, sizeof(double), "spectrum"));
    for (int i = 0; i < SPECTRA_NODES; i++) {
        x[i] = SPECTRA_L[i];
        y[i] = d[i];
    }
    sq_spline_fit(SPECTRA_NODES, x, y, second, work);
    double slope =
        log((double)d[last] / d[last - 20]) / log((double)SPECTRA_L[last] / SPECTRA_L[last - 20]);
    for (int l = 0, i = 0; l <= lmax; l++) {
        while (i < last - 1 && l > SPECTRA_L[i + 1])
            i++;
        double value = l < 2                 ? 0
                       : l > SPECTRA_L[last] ? d[last] * pow((double)l / SPECTRA_L[last], slope)
                                             : sq_spline_at(x, y, second, i, l);
        double ll = (double)l * (l + 1);
        cl[l] = l < 2 ? 0 : value * 2 * M_PI / (kind == SQ_POTENTIAL ? ll * ll : ll);
    }
cleanup:
    for (int i = 0; i < 4; i++)
        sq_free(*all[i]);
    return rc;
}
