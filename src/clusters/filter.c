#include "clusters/filter.h"

#include <complex.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "clusters/noise_power.h"

/* Transforms of the two profiles at x = ln(1 + l theta) on a regular grid, made at the first use.
 */
enum { TABLE = 2048 };
static const double TABLE_END = 6.908755; /* l theta = 1000 */
static double tables[2][TABLE];
static pthread_once_t made[2] = {PTHREAD_ONCE_INIT, PTHREAD_ONCE_INIT};

struct sq_mmf {
    sq_mmf_setup setup;
    sq_fftf *fft;
    int64_t pixels, modes;
    double *transfer[SQ_MMF_BANDS];
    float *ell;                         /* [modes]; 0 where a mode is not used */
    float _Complex *mode[SQ_MMF_BANDS]; /* of the loaded maps */
    double *power;                      /* [nband (nband + 1) / 2][modes]: N, lower triangle */
    float _Complex *combined[2];        /* a^T N^-1 m, plain and deprojected */
    float *weight[2];                   /* a^T N^-1 a, of the plain and deprojected filter */
    float _Complex *work;
    double *profile; /* [lmax + 1]: transform of the last scale */
    double sigma2;
    int last, deprojects;
};

static int pair(int i, int j)
{
    return i * (i + 1) / 2 + j;
}

static sq_status allocate(sq_mmf *m)
{
    sq_status rc = SQ_OK;
    int nband = m->setup.nband;
    for (int b = 0; b < nband; b++) {
        SQ_TRY(SQ_ALLOC(m->transfer[b], m->setup.lmax + 1, "beam"));
        memcpy(m->transfer[b], m->setup.transfer[b],
               (size_t)(m->setup.lmax + 1) * sizeof *m->transfer[b]);
        m->setup.transfer[b] = m->transfer[b];
        SQ_TRY(SQ_ALLOC(m->mode[b], m->modes, "modes of a map"));
    }
    SQ_TRY(SQ_ALLOC(m->ell, m->modes, "wave numbers"));
    SQ_TRY(SQ_ALLOC(m->power, m->modes * pair(nband, 0), "noise power"));
    for (int k = 0; k < 1 + m->deprojects; k++) {
        SQ_TRY(SQ_ALLOC(m->combined[k], m->modes, "combined modes"));
        SQ_TRY(SQ_ALLOC(m->weight[k], m->modes, "weights of modes"));
    }
    SQ_TRY(SQ_ALLOC(m->work, m->modes, "filtered modes"));
    SQ_TRY(SQ_ALLOC(m->profile, m->setup.lmax + 2, "profile"));
cleanup:
    return rc;
}

/* |l| of every mode, 0 outside [lmin, lmax] and in the Nyquist lines, whose sign is lost. */
static sq_status fill_ell(sq_mmf *m)
{
    sq_status rc = SQ_OK;
    const sq_flat *f = &m->setup.flat;
    double *ell = NULL;
    int columns = f->nx / 2 + 1;
    SQ_TRY(SQ_ALLOC(ell, m->modes, "wave numbers"));
    sq_flat_ell(f, ell);
    for (int v = 0; v < f->ny; v++) {
        for (int u = 0; u < columns; u++) {
            int64_t k = (int64_t)v * columns + u;
            int edge = (f->nx % 2 == 0 && u == columns - 1) || (f->ny % 2 == 0 && v == f->ny / 2);
            int used = !edge && ell[k] >= m->setup.lmin && ell[k] > 0 && ell[k] <= m->setup.lmax;
            m->ell[k] = used ? (float)ell[k] : 0;
        }
    }
cleanup:
    sq_free(ell);
    return rc;
}

sq_status sq_mmf_create(const sq_mmf_setup *setup, sq_mmf **out)
{
    sq_status rc = SQ_OK;
    sq_mmf *m = NULL;
    *out = NULL;
    if (setup->nband < 1 || setup->nband > SQ_MMF_BANDS || setup->lmax < 1)
        return sq_fail(SQ_ERR_USAGE, "matched filter: %d bands, lmax %d", setup->nband,
                       setup->lmax);
    SQ_TRY(SQ_ALLOC(m, 1, "matched filter"));
    m->setup = *setup;
    m->pixels = sq_flat_pixels(&setup->flat);
    m->modes = sq_flat_modes(&setup->flat);
    for (int b = 0; b < setup->nband; b++)
        m->deprojects |= setup->deproject[b] != 0;
    SQ_TRY(allocate(m));
    SQ_TRY(fill_ell(m));
    SQ_TRY(sq_fftf_create(setup->flat.ny, setup->flat.nx, &m->fft));
    *out = m;
    m = NULL;
cleanup:
    sq_mmf_destroy(m);
    return rc;
}

void sq_mmf_destroy(sq_mmf *m)
{
    if (!m)
        return;
    for (int b = 0; b < SQ_MMF_BANDS; b++) {
        sq_free(m->transfer[b]);
        sq_free(m->mode[b]);
    }
    for (int k = 0; k < 2; k++) {
        sq_free(m->combined[k]);
        sq_free(m->weight[k]);
    }
    sq_free(m->ell);
    sq_free(m->power);
    sq_free(m->work);
    sq_free(m->profile);
    sq_fftf_destroy(m->fft);
    sq_free(m);
}

void sq_mmf_load(sq_mmf *m, const float *const *map)
{
    for (int b = 0; b < m->setup.nband; b++)
        sq_fftf_forward(m->fft, map[b], m->mode[b]);
}

/* Solve N x = r for the lower triangle of N by Cholesky, in place; 0 when N is not positive
 * definite. */
static int factor(int n, double *a)
{
    for (int i = 0; i < n; i++) {
        for (int j = 0; j <= i; j++) {
            double sum = a[pair(i, j)];
            for (int k = 0; k < j; k++)
                sum -= a[pair(i, k)] * a[pair(j, k)];
            if (i == j && !(sum > 0))
                return 0;
            a[pair(i, j)] = i == j ? sqrt(sum) : sum / a[pair(j, j)];
        }
    }
    return 1;
}

static void solve(int n, const double *root, double *x)
{
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < i; k++)
            x[i] -= root[pair(i, k)] * x[k];
        x[i] /= root[pair(i, i)];
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int k = i + 1; k < n; k++)
            x[i] -= root[pair(k, i)] * x[k];
        x[i] /= root[pair(i, i)];
    }
}

/* a^T N^-1 at one mode, and its part without response to b. */
static void weigh(const sq_mmf *m, int64_t k, double plain[], double clean[])
{
    int n = m->setup.nband;
    double root[SQ_MMF_BANDS * (SQ_MMF_BANDS + 1) / 2], b[SQ_MMF_BANDS], nb[SQ_MMF_BANDS];
    for (int p = 0; p < pair(n, 0); p++)
        root[p] = m->power[p * m->modes + k];
    for (int i = 0; i < n; i++) {
        double t = sq_table_at(m->transfer[i], m->setup.lmax, m->ell[k]);
        plain[i] = m->setup.signal[i] * t;
        b[i] = nb[i] = m->setup.deproject[i] * t;
    }
    if (!factor(n, root)) {
        memset(plain, 0, (size_t)n * sizeof *plain);
        memset(clean, 0, (size_t)n * sizeof *clean);
        return;
    }
    solve(n, root, plain);
    if (!m->deprojects)
        return;
    solve(n, root, nb);
    double ab = 0, bb = 0;
    for (int i = 0; i < n; i++) {
        ab += plain[i] * b[i];
        bb += nb[i] * b[i];
    }
    for (int i = 0; i < n; i++)
        clean[i] = plain[i] - (bb > 0 ? ab / bb * nb[i] : 0);
}

static void combine(sq_mmf *m)
{
    int n = m->setup.nband;
    for (int64_t k = 0; k < m->modes; k++) {
        double w[2][SQ_MMF_BANDS] = {{0}};
        if (m->ell[k] > 0)
            weigh(m, k, w[0], w[1]);
        for (int d = 0; d < 1 + m->deprojects; d++) {
            double _Complex sum = 0;
            double weight = 0;
            for (int i = 0; i < n && m->ell[k] > 0; i++) {
                sum += w[d][i] * (double _Complex)m->mode[i][k];
                weight += w[d][i] * m->setup.signal[i] *
                          sq_table_at(m->transfer[i], m->setup.lmax, m->ell[k]);
            }
            m->combined[d][k] = (float _Complex)sum;
            m->weight[d][k] = (float)weight;
        }
    }
}

sq_status sq_mmf_noise(sq_mmf *m, sq_mmf_power kind, double norm, double smooth,
                       const double *const *model)
{
    noise_power_setup setup = {.flat = m->setup.flat,
                               .nband = m->setup.nband,
                               .ell = m->ell,
                               .mode = m->mode,
                               .kind = kind,
                               .norm = norm,
                               .smooth = smooth,
                               .model = model,
                               .lmax = m->setup.lmax};
    sq_status rc = sq_noise_power(&setup, m->power);
    if (rc == SQ_OK)
        combine(m);
    return rc;
}

void sq_mmf_reload(sq_mmf *m, const float *const *map)
{
    sq_mmf_load(m, map);
    combine(m);
}

static void fill_table(sq_gas_model shape)
{
    for (int i = 0; i < TABLE; i++)
        tables[shape][i] = sq_gas_transform(shape, expm1(i * TABLE_END / (TABLE - 1)));
}

static void fill_arnaud(void)
{
    fill_table(SQ_GAS_ARNAUD);
}

static void fill_battaglia(void)
{
    fill_table(SQ_GAS_BATTAGLIA);
}

static const double *profile_table(sq_gas_model shape)
{
    pthread_once(&made[shape], shape == SQ_GAS_ARNAUD ? fill_arnaud : fill_battaglia);
    return tables[shape];
}

static void set_profile(const sq_mmf *m, sq_gas_model shape, double theta, double *profile)
{
    const double *table = profile_table(shape);
    for (int l = 0; l <= m->setup.lmax; l++) {
        double x = log1p(l * theta) / TABLE_END * (TABLE - 1);
        int i = (int)x;
        profile[l] =
            i < TABLE - 1 ? theta * theta * (table[i] + (x - i) * (table[i + 1] - table[i])) : 0;
    }
}

static double profile_at(const double *profile, float ell)
{
    int l = (int)ell;
    double t = ell - (float)l;
    return profile[l] + t * (profile[l + 1] - profile[l]);
}

/* Integral d2l / (2 pi)^2 of the weight times one or two profiles; every mode of the full plane. */
static double integrate(const sq_mmf *m, const double *a, const double *b)
{
    const sq_flat *f = &m->setup.flat;
    int columns = f->nx / 2 + 1;
    double sum = 0;
    for (int v = 0; v < f->ny; v++) {
        for (int u = 0; u < columns; u++) {
            int64_t k = (int64_t)v * columns + u;
            if (m->ell[k] > 0)
                sum += sq_flat_weight(f, u) * (double)m->weight[m->last][k] *
                       profile_at(a, m->ell[k]) * profile_at(b, m->ell[k]);
        }
    }
    return sum / sq_flat_area(f);
}

sq_status sq_mmf_filter(sq_mmf *m, sq_gas_model shape, double theta, int deprojected, float *y0,
                        double *sigma)
{
    if (deprojected && !m->deprojects)
        return sq_fail(SQ_ERR_USAGE, "matched filter: no spectrum to deproject was given");
    m->last = deprojected != 0;
    set_profile(m, shape, theta, m->profile);
    double inverse = integrate(m, m->profile, m->profile);
    if (!(inverse > 0))
        return sq_fail(SQ_ERR_DATA, "matched filter: no mode of the patch can be used");
    m->sigma2 = 1 / inverse;
    *sigma = sqrt(m->sigma2);
    if (!y0)
        return SQ_OK;
    for (int64_t k = 0; k < m->modes; k++)
        m->work[k] = m->ell[k] > 0 ? (float)(m->sigma2 * profile_at(m->profile, m->ell[k])) *
                                         m->combined[m->last][k]
                                   : 0;
    sq_fftf_backward(m->fft, m->work, y0);
    return SQ_OK;
}

sq_status sq_mmf_response(sq_mmf *m, sq_gas_model shape, double theta, double *out)
{
    sq_status rc = SQ_OK;
    double *other = NULL;
    SQ_TRY(SQ_ALLOC(other, m->setup.lmax + 2, "profile"));
    set_profile(m, shape, theta, other);
    *out = m->sigma2 * integrate(m, m->profile, other);
cleanup:
    sq_free(other);
    return rc;
}

sq_status sq_mmf_profile(sq_mmf *m, sq_gas_model shape, double theta, double step, int n,
                         double *out)
{
    sq_status rc = SQ_OK;
    const sq_flat *f = &m->setup.flat;
    double *other = NULL, *sum = NULL, width = 2 * M_PI / (f->nx * f->dx);
    int rings = (int)(m->setup.lmax / width) + 1, columns = f->nx / 2 + 1;
    SQ_TRY(SQ_ALLOC(other, m->setup.lmax + 2, "profile"));
    SQ_TRY(SQ_ALLOC(sum, rings, "rings"));
    set_profile(m, shape, theta, other);
    for (int64_t k = 0; k < m->modes; k++) {
        if (m->ell[k] > 0)
            sum[(int)(m->ell[k] / width)] +=
                sq_flat_weight(f, (int)(k % columns)) * (double)m->weight[m->last][k] *
                profile_at(m->profile, m->ell[k]) * profile_at(other, m->ell[k]);
    }
    for (int i = 0; i < n; i++) {
        out[i] = 0;
        for (int r = 0; r < rings; r++)
            out[i] += m->sigma2 / sq_flat_area(f) * sum[r] * j0((r + 0.5) * width * i * step);
    }
cleanup:
    sq_free(other);
    sq_free(sum);
    return rc;
}

void sq_mmf_weights(const sq_mmf *m, int band, double *psi)
{
    for (int64_t k = 0; k < m->modes; k++) {
        double w[2][SQ_MMF_BANDS] = {{0}};
        if (m->ell[k] > 0)
            weigh(m, k, w[0], w[1]);
        psi[k] =
            m->ell[k] > 0 ? m->sigma2 * profile_at(m->profile, m->ell[k]) * w[m->last][band] : 0;
    }
}
