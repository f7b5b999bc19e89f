#include "clusters/noise_power.h"

#include <complex.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"

enum { PAIRS = SQ_MMF_BANDS * (SQ_MMF_BANDS + 1) / 2 };

/* Rings of equal width in |l|, two fundamental modes wide. */
typedef struct rings {
    int count, pairs;
    double width;
    double *power; /* [ring][pair] */
    double *modes; /* [ring] */
} rings;

static int pair(int i, int j)
{
    return i * (i + 1) / 2 + j;
}

static double cross(const noise_power_setup *s, int i, int j, int64_t k)
{
    float _Complex a = s->mode[i][k], b = s->mode[j][k];
    return (double)crealf(a) * crealf(b) + (double)cimagf(a) * cimagf(b);
}

static sq_status measure(const noise_power_setup *s, rings *r)
{
    const sq_flat *f = &s->flat;
    int columns = f->nx / 2 + 1;
    double scale = f->dx * f->dy / ((double)f->nx * f->ny) / s->norm;
    for (int v = 0; v < f->ny; v++) {
        for (int u = 0; u < columns; u++) {
            int64_t k = (int64_t)v * columns + u;
            if (!(s->ell[k] > 0))
                continue;
            int ring = (int)(s->ell[k] / r->width);
            double weight = sq_flat_weight(f, u);
            r->modes[ring] += weight;
            for (int i = 0; i < s->nband; i++) {
                for (int j = 0; j <= i; j++)
                    r->power[ring * r->pairs + pair(i, j)] += weight * scale * cross(s, i, j, k);
            }
        }
    }
    for (int ring = 0; ring < r->count; ring++) {
        for (int p = 0; p < r->pairs && r->modes[ring] > 0; p++)
            r->power[ring * r->pairs + p] /= r->modes[ring];
        for (int i = 0; i < s->nband && r->modes[ring] > 0; i++) {
            double own = r->power[ring * r->pairs + pair(i, i)];
            if (!(own > 0) || !isfinite(own))
                return sq_fail(SQ_ERR_DATA, "matched filter: band %d has no power at l = %.0f", i,
                               (ring + 0.5) * r->width);
        }
    }
    return SQ_OK;
}

/* The determinant of the correlation of two choices decides, with the product of the auto powers.
 */
static double determinant(int n, const double *a)
{
    double root[PAIRS], product = 1;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j <= i; j++) {
            double sum = a[pair(i, j)];
            for (int k = 0; k < j; k++)
                sum -= root[pair(i, k)] * root[pair(j, k)];
            if (i == j && !(sum > 0))
                return 0;
            root[pair(i, j)] = i == j ? sqrt(sum) : sum / root[pair(j, j)];
        }
        product *= root[pair(i, i)] * root[pair(i, i)];
    }
    return product;
}

static void take_model(const noise_power_setup *s, rings *r)
{
    for (int ring = 0; ring < r->count; ring++) {
        double given[PAIRS] = {0}, *own = r->power + ring * r->pairs;
        for (int i = 0; i < s->nband; i++) {
            for (int j = 0; j <= i; j++) {
                const double *table = s->model[i * s->nband + j];
                given[pair(i, j)] =
                    table ? sq_table_at(table, s->lmax, fmin((ring + 0.5) * r->width, s->lmax)) : 0;
            }
        }
        if (s->kind == SQ_MMF_MODEL || determinant(s->nband, given) > determinant(s->nband, own))
            memcpy(own, given, (size_t)r->pairs * sizeof *own);
    }
}

/* Power at |l|: linear between the centres of rings that have modes. */
static double ring_at(const rings *r, int p, double ell)
{
    double x = ell / r->width - 0.5;
    int low = (int)floor(x), high = low + 1;
    low = low < 0 ? 0 : low;
    high = high >= r->count ? r->count - 1 : high;
    while (low > 0 && !(r->modes[low] > 0))
        low--;
    while (high < r->count - 1 && !(r->modes[high] > 0))
        high++;
    if (!(r->modes[low] > 0) || low == high)
        return r->power[high * r->pairs + p];
    if (!(r->modes[high] > 0))
        return r->power[low * r->pairs + p];
    double t = (x - low) / (high - low);
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    return (1 - t) * r->power[low * r->pairs + p] + t * r->power[high * r->pairs + p];
}

/* One-dimensional Gaussian mean over neighbours at a stride, periodic when asked; cells without
 * weight count nothing. */
static void blur_line(const double *in, double *out, int n, int64_t stride, double sigma,
                      int periodic)
{
    int reach = (int)ceil(3 * sigma);
    for (int i = 0; i < n; i++) {
        double sum = 0;
        for (int d = -reach; d <= reach; d++) {
            int j = i + d;
            if (periodic)
                j = ((j % n) + n) % n;
            else if (j < 0)
                j = -j; /* the half plane's mirror at u = 0 */
            if (j >= 0 && j < n)
                sum += exp(-0.5 * d * d / (sigma * sigma)) * in[j * stride];
        }
        out[i] = sum;
    }
}

static void blur(const sq_flat *f, double sigma, double *image, double *line)
{
    int columns = f->nx / 2 + 1;
    for (int v = 0; v < f->ny; v++) {
        blur_line(image + (int64_t)v * columns, line, columns, 1, sigma, 0);
        memcpy(image + (int64_t)v * columns, line, (size_t)columns * sizeof *line);
    }
    for (int u = 0; u < columns; u++) {
        blur_line(image + u, line, f->ny, columns, sigma, 1);
        for (int v = 0; v < f->ny; v++)
            image[(int64_t)v * columns + u] = line[v];
    }
}

/* Multiply each band's rings by its measured anisotropy: the smoothed ratio of power to rings. The
 * coherence between bands stays that of the rings, so that N stays positive. */
static sq_status add_anisotropy(const noise_power_setup *s, const rings *r, double *power)
{
    sq_status rc = SQ_OK;
    const sq_flat *f = &s->flat;
    int64_t modes = sq_flat_modes(f);
    double *ratio[SQ_MMF_BANDS] = {0}, *weight = NULL, *line = NULL;
    double scale = f->dx * f->dy / ((double)f->nx * f->ny) / s->norm;
    SQ_TRY(SQ_ALLOC(weight, modes, "anisotropy"));
    SQ_TRY(SQ_ALLOC(line, f->ny + f->nx, "anisotropy"));
    for (int64_t k = 0; k < modes; k++)
        weight[k] = s->ell[k] > 0;
    blur(f, s->smooth, weight, line);
    for (int i = 0; i < s->nband; i++) {
        SQ_TRY(SQ_ALLOC(ratio[i], modes, "anisotropy"));
        for (int64_t k = 0; k < modes; k++)
            ratio[i][k] =
                s->ell[k] > 0 ? scale * cross(s, i, i, k) / ring_at(r, pair(i, i), s->ell[k]) : 0;
        blur(f, s->smooth, ratio[i], line);
        for (int64_t k = 0; k < modes; k++)
            ratio[i][k] = s->ell[k] > 0 ? sqrt(ratio[i][k] / weight[k]) : 0;
    }
    for (int i = 0; i < s->nband; i++) {
        for (int j = 0; j <= i; j++) {
            for (int64_t k = 0; k < modes; k++)
                power[pair(i, j) * modes + k] *= ratio[i][k] * ratio[j][k];
        }
    }
cleanup:
    for (int i = 0; i < s->nband; i++)
        sq_free(ratio[i]);
    sq_free(weight);
    sq_free(line);
    return rc;
}

sq_status sq_noise_power(const noise_power_setup *s, double *power)
{
    sq_status rc = SQ_OK;
    int64_t modes = sq_flat_modes(&s->flat);
    double side = fmin(s->flat.ny * s->flat.dy, s->flat.nx * s->flat.dx);
    rings r = {.pairs = pair(s->nband, 0), .width = 4 * M_PI / side};
    r.count = (int)(s->lmax / r.width) + 1;
    SQ_TRY(SQ_ALLOC(r.power, r.count * r.pairs, "rings of power"));
    SQ_TRY(SQ_ALLOC(r.modes, r.count, "rings of power"));
    SQ_TRY(measure(s, &r));
    if (s->kind != SQ_MMF_DATA)
        take_model(s, &r);
    for (int p = 0; p < r.pairs; p++) {
        for (int64_t k = 0; k < modes; k++)
            power[p * modes + k] = s->ell[k] > 0 ? ring_at(&r, p, s->ell[k]) : 0;
    }
    if (s->smooth > 0 && s->kind == SQ_MMF_DATA)
        SQ_TRY(add_anisotropy(s, &r, power));
cleanup:
    sq_free(r.power);
    sq_free(r.modes);
    return rc;
}
