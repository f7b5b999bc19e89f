#include "catalog/domain.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "nn/metadata.h"

enum { MEDIAN, SPREAD, NEXT_X, NEXT_Y, PLANES };

static const int plane_of[SQ_DOMAIN_BAND - PLANES] = {SQ_PLANE_FWHM, SQ_PLANE_E1, SQ_PLANE_E2,
                                                      SQ_PLANE_SIGMA, SQ_PLANE_SKY};

/* The k-th smallest of n values; reorders them (Hoare's selection). */
static float kth(float *v, int64_t n, int64_t k)
{
    int64_t low = 0, high = n - 1;
    while (low < high) {
        float pivot = v[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (v[i] < pivot)
                i++;
            while (v[j] > pivot)
                j--;
            if (i <= j) {
                float t = v[i];
                v[i++] = v[j];
                v[j--] = t;
            }
        }
        if (k <= j)
            high = j;
        else if (k >= i)
            low = i;
        else
            break;
    }
    return v[k];
}

/* Mean product of pixels one step apart over the mean square, of w clipped at 3. */
static double neighbours(const float *w, int side, int dx, int dy)
{
    double product = 0, square = 0;
    for (int y = 0; y + dy < side; y++)
        for (int x = 0; x + dx < side; x++) {
            float a = w[y * side + x], b = w[(y + dy) * side + x + dx];
            if (isnan(a) || isnan(b))
                continue;
            product += (double)a * b;
            square += 0.5 * ((double)a * a + (double)b * b);
        }
    return square > 0 ? product / square : 0;
}

/* w holds image / sky rms, NaN where unusable, and becomes (w - median) / spread, clipped at 3. */
static void measure_pixels(float *w, int side, float *sorted, float *feature)
{
    int64_t n = 0, all = (int64_t)side * side;
    for (int64_t i = 0; i < all; i++)
        if (!isnan(w[i]))
            sorted[n++] = w[i];
    if (n < all / 4)
        return;
    float median = kth(sorted, n, n / 2);
    for (int64_t i = 0; i < n; i++)
        sorted[i] = fabsf(sorted[i] - median);
    float spread = 1.4826f * kth(sorted, n, n / 2);
    if (!(spread > 0))
        return;
    for (int64_t i = 0; i < all; i++)
        w[i] = isnan(w[i]) ? w[i] : fminf(3, fmaxf(-3, (w[i] - median) / spread));
    feature[MEDIAN] = median;
    feature[SPREAD] = logf(spread);
    feature[NEXT_X] = (float)neighbours(w, side, 1, 0);
    feature[NEXT_Y] = (float)neighbours(w, side, 0, 1);
}

static double plane_at(const sq_inputs *in, int band, int plane, int row, int column)
{
    int64_t m = in->tiles;
    return in->planes[(((int64_t)band * SQ_PLANES_PER_BAND + plane) * m + row) * m + column];
}

/* Means over the tiles of a box with usable pixels. */
static void measure_planes(const sq_inputs *in, int band, int x0, int y0, int side, float *feature)
{
    double sum[SQ_DOMAIN_BAND - PLANES] = {0};
    int n = 0;
    for (int row = y0 / in->tile; row < (y0 + side) / in->tile; row++)
        for (int column = x0 / in->tile; column < (x0 + side) / in->tile; column++) {
            if (!(plane_at(in, band, SQ_PLANE_USABLE, row, column) > 0))
                continue;
            n++;
            for (int k = 0; k < SQ_DOMAIN_BAND - PLANES; k++)
                sum[k] += plane_at(in, band, plane_of[k], row, column);
        }
    for (int k = 0; k < SQ_DOMAIN_BAND - PLANES && n > 0; k++)
        feature[PLANES + k] = (float)(sum[k] / n);
    if (feature[SQ_DOMAIN_BAND - 1] == 0)
        feature[SQ_DOMAIN_BAND - 1] = NAN; /* the sky was not told */
}

static void measure_crowd(const sq_inputs *in, int x0, int y0, int side, float *feature)
{
    double five = 0, twenty = 0, n = 0;
    for (int row = y0 / in->tile; row < (y0 + side) / in->tile; row++)
        for (int column = x0 / in->tile; column < (x0 + side) / in->tile; column++) {
            double sum = 0, usable = 0;
            for (int b = 0; b < in->nband; b++) {
                double snr = sinh(fmin(plane_at(in, b, SQ_PLANE_MF, row, column), 12));
                sum += snr > 0 ? snr * snr : 0;
                usable += plane_at(in, b, SQ_PLANE_USABLE, row, column);
            }
            n += usable > 0;
            five += usable > 0 && sum > 25;
            twenty += usable > 0 && sum > 400;
        }
    feature[0] = n > 0 ? (float)log(five / n + 0.01) : NAN;
    feature[1] = n > 0 ? (float)log(twenty / n + 0.01) : NAN;
}

void sq_domain_measure(const sq_cutout *c, const sq_inputs *in, int x0, int y0, int side,
                       float *work, float *feature)
{
    for (int k = 0; k < sq_domain_features(in->nband); k++)
        feature[k] = NAN;
    for (int b = 0; b < in->nband; b++) {
        float *f = feature + b * SQ_DOMAIN_BAND;
        for (int y = 0; y < side; y++)
            for (int x = 0; x < side; x++) {
                int64_t i = sq_cutout_plane(c, b) + (int64_t)(y0 + y) * c->nx + x0 + x;
                int usable = !(c->mask[i] & SQ_MASK_UNUSABLE) && c->sky_sigma[i] > 0;
                work[y * side + x] = usable ? c->image[i] / c->sky_sigma[i] : NAN;
            }
        measure_pixels(work, side, work + side * side, f);
        measure_planes(in, b, x0, y0, side, f);
    }
    measure_crowd(in, x0, y0, side, feature + in->nband * SQ_DOMAIN_BAND);
}

/* ---- The domain of a model ---- */

struct sq_domain {
    int n;
    double limit; /* distance of score 1 */
    double mean[SQ_DOMAIN_FEATURES];
    double covariance[SQ_DOMAIN_FEATURES * SQ_DOMAIN_FEATURES];
};

sq_status sq_domain_read(const sq_model *model, const char *path, int nband, sq_domain **out)
{
    sq_domain *d = NULL;
    double *lower = NULL;
    sq_status rc = SQ_OK;
    *out = NULL;
    if (!sq_model_metadata(model, "skyquilt.domain_limit"))
        return SQ_OK;
    SQ_TRY(SQ_ALLOC(d, 1, "domain"));
    d->n = sq_domain_features(nband);
    SQ_TRY(SQ_ALLOC(lower, d->n * (d->n + 1) / 2, "domain"));
    SQ_TRY(sq_metadata_real(model, path, "domain_limit", 1e-3, 1e3, &d->limit));
    SQ_TRY(sq_metadata_reals(model, path, "domain_mean", d->n, -1e4, 1e4, d->mean));
    SQ_TRY(sq_metadata_reals(model, path, "domain_covariance", d->n * (d->n + 1) / 2, -1e8, 1e8,
                             lower));
    for (int i = 0, k = 0; i < d->n; i++)
        for (int j = 0; j <= i; j++, k++)
            d->covariance[i * d->n + j] = d->covariance[j * d->n + i] = lower[k];
    *out = d;
    d = NULL;
cleanup:
    sq_free(lower);
    sq_domain_destroy(d);
    return rc;
}

void sq_domain_destroy(sq_domain *d)
{
    sq_free(d);
}

/* Square of the distance over the known features by the Cholesky factor of their covariance: rows
 * are eliminated one by one, so that only known ones are ever used. A feature that the others fix
 * adds nothing. */
double sq_domain_score(const sq_domain *d, const float *feature)
{
    double factor[SQ_DOMAIN_FEATURES][SQ_DOMAIN_FEATURES], z[SQ_DOMAIN_FEATURES], sum = 0;
    int known[SQ_DOMAIN_FEATURES], n = 0;
    for (int i = 0; i < d->n; i++)
        if (isfinite(feature[i]))
            known[n++] = i;
    for (int i = 0; i < n; i++) {
        z[i] = feature[known[i]] - d->mean[known[i]];
        for (int j = 0; j <= i; j++) {
            double v = d->covariance[known[i] * d->n + known[j]];
            for (int k = 0; k < j; k++)
                v -= factor[i][k] * factor[j][k];
            if (i == j)
                factor[i][i] = v > 0 ? sqrt(v) : INFINITY;
            else
                factor[i][j] = v / factor[j][j];
        }
        for (int k = 0; k < i; k++)
            z[i] -= factor[i][k] * z[k];
        z[i] /= factor[i][i];
        sum += z[i] * z[i];
    }
    return n ? sqrt(sum / n) / d->limit : NAN;
}
