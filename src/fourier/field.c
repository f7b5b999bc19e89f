#include <complex.h>
#include <math.h>

#include "base/mem.h"
#include "fourier/flat.h"

/* Transform of unit white noise: <|w|^2> is the number of pixels for every mode, and the symmetry
 * of a real map holds by construction. */
static void white_modes(sq_fft *fft, const sq_flat *flat, sq_rng *rng, double *map,
                        double _Complex *modes)
{
    int64_t n = sq_flat_pixels(flat);
    for (int64_t i = 0; i < n; i++)
        map[i] = sq_rng_normal(rng);
    sq_fft_forward(fft, map, modes);
}

/* Lower triangular root of the power matrix at l. A field without power of its own has a row of
 * zeros. */
static sq_status root_at(int count, const double *const *cl, int lmax, double l, double *root)
{
    for (int i = 0; i < count; i++) {
        double own = sq_table_at(cl[i * count + i], lmax, l);
        for (int j = 0; j <= i; j++) {
            const double *table = cl[i * count + j];
            double sum = table ? sq_table_at(table, lmax, l) : 0;
            for (int k = 0; k < j; k++)
                sum -= root[i * count + k] * root[j * count + k];
            if (i != j) {
                double pivot = root[j * count + j];
                root[i * count + j] = pivot > 0 ? sum / pivot : 0;
                continue;
            }
            if (!(own >= 0) || sum < -1e-10 * own)
                return sq_fail(SQ_ERR_DATA,
                               "field: the power matrix at l = %g is not positive semidefinite", l);
            root[i * count + i] = sum > 1e-14 * own ? sqrt(sum) : 0;
        }
    }
    return SQ_OK;
}

static sq_status colour(const sq_flat *flat, int count, const double *const *cl, int lmax,
                        double _Complex *const *modes)
{
    int columns = flat->nx / 2 + 1;
    double root[SQ_FIELDS_MAX * SQ_FIELDS_MAX] = {0}, *ly = NULL, *lx = NULL;
    double scale = 1 / sqrt(flat->dx * flat->dy);
    sq_status rc = SQ_OK;
    SQ_TRY(SQ_ALLOC(ly, flat->ny, "field"));
    SQ_TRY(SQ_ALLOC(lx, columns, "field"));
    sq_flat_axes(flat, ly, lx);
    for (int v = 0; v < flat->ny; v++) {
        for (int u = 0; u < columns; u++) {
            int64_t k = (int64_t)v * columns + u;
            SQ_TRY(root_at(count, cl, lmax, hypot(ly[v], lx[u]), root));
            /* From the last field up: row i needs the white noise of the fields before it. */
            for (int i = count - 1; i >= 0; i--) {
                double _Complex sum = 0;
                for (int j = 0; j <= i; j++)
                    sum += root[i * count + j] * modes[j][k];
                modes[i][k] = scale * sum;
            }
        }
    }
cleanup:
    sq_free(ly);
    sq_free(lx);
    return rc;
}

sq_status sq_field_set(sq_fft *fft, const sq_flat *flat, sq_rng *rng, int count,
                       const double *const *cl, int lmax, double _Complex *const *modes)
{
    sq_status rc = SQ_OK;
    double *map = NULL;
    if (count < 1 || count > SQ_FIELDS_MAX || lmax < 0)
        return sq_fail(SQ_ERR_USAGE, "field: %d fields to l = %d", count, lmax);
    if (sq_fft_ny(fft) != flat->ny || sq_fft_nx(fft) != flat->nx)
        return sq_fail(SQ_ERR_USAGE, "field: the plan is not for %d x %d pixels", flat->ny,
                       flat->nx);
    SQ_TRY(SQ_ALLOC(map, sq_flat_pixels(flat), "field"));
    for (int i = 0; i < count; i++)
        white_modes(fft, flat, rng, map, modes[i]);
    SQ_TRY(colour(flat, count, cl, lmax, modes));
cleanup:
    sq_free(map);
    return rc;
}

sq_status sq_field_modes(sq_fft *fft, const sq_flat *flat, sq_rng *rng, const double *cl, int lmax,
                         double _Complex *modes)
{
    return sq_field_set(fft, flat, rng, 1, &cl, lmax, &modes);
}
