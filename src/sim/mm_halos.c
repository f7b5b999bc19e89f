#include <complex.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sim/mm_internal.h"

static const double SHELL = 150; /* comoving Mpc */
static const double MASS_TOP = 5e15, Z_MIN = 0.02;
enum { MASS_BINS = 120, GROUP = 6, LIMBER_LMAX = 12000 };

typedef struct shell {
    double near, far;        /* comoving Mpc */
    double z, z_near, z_far; /* of the middle, and of a little more than the shell */
    double *delta;           /* [cells] Gaussian density contrast, growth included */
    double *cumulative;      /* [cells + 1] of exp(b delta) */
    double variance;
} shell;

static double redshift_at(const sq_cosmology *c, double distance, double low, double high)
{
    while (high - low > 1e-9) {
        double z = 0.5 * (low + high);
        if (sq_cosmology_comoving(c, z) < distance)
            low = z;
        else
            high = z;
    }
    return low;
}

/* The projected density of a shell: C_l = P(l / chi) D^2 / (chi^2 d chi) (Limber). */
static sq_status fill_density(sq_sim_mm *sim, int64_t field, int number, shell *s)
{
    sq_status rc = SQ_OK;
    double *cl = NULL;
    double _Complex *modes = NULL;
    int64_t cells = sq_flat_pixels(&sim->coarse);
    double chi = 0.5 * (s->near + s->far), growth = sq_cosmology_growth(sim->cosmology, s->z);
    sq_rng rng;
    SQ_TRY(SQ_ALLOC(cl, LIMBER_LMAX + 1, "density"));
    SQ_TRY(SQ_ALLOC(modes, sq_flat_modes(&sim->coarse), "density"));
    for (int l = 2; l <= LIMBER_LMAX; l++)
        cl[l] = sq_cosmology_power(sim->cosmology, (l + 0.5) / chi) * growth * growth /
                (chi * chi * (s->far - s->near));
    sq_rng_init(&rng, (uint64_t)sim->config.seed, MM_DENSITY, mm_stream(field, number));
    SQ_TRY(sq_field_modes(sim->small, &sim->coarse, &rng, cl, LIMBER_LMAX, modes));
    sq_fft_backward(sim->small, modes, s->delta);
    s->variance = 0;
    for (int64_t i = 0; i < cells; i++)
        s->variance += s->delta[i] * s->delta[i] / (double)cells;
cleanup:
    sq_free(cl);
    sq_free(modes);
    return rc;
}

/* Relative halo density of each cell, lognormal with mean 1, as a running sum. */
static void accumulate(shell *s, int64_t cells, double bias)
{
    s->cumulative[0] = 0;
    for (int64_t i = 0; i < cells; i++)
        s->cumulative[i + 1] =
            s->cumulative[i] + exp(bias * s->delta[i] - 0.5 * bias * bias * s->variance);
}

static int64_t cell_at(const double *cumulative, int64_t cells, double value)
{
    int64_t low = 0, high = cells;
    while (high - low > 1) {
        int64_t mid = (low + high) / 2;
        if (cumulative[mid] <= value)
            low = mid;
        else
            high = mid;
    }
    return low;
}

static void place(const sq_sim_mm *sim, const shell *s, sq_rng *rng, sq_mm_halo *h)
{
    int64_t cells = sq_flat_pixels(&sim->coarse);
    int64_t cell = cell_at(s->cumulative, cells, sq_rng_uniform(rng) * s->cumulative[cells]);
    double block = sim->coarse.dx / sim->flat.dx;
    h->x = ((double)(cell % sim->coarse.nx) + sq_rng_uniform(rng)) * block - 0.5;
    h->y = ((double)(cell / sim->coarse.nx) + sq_rng_uniform(rng)) * block - 0.5;
    double near = pow(s->near, 3), far = pow(s->far, 3);
    h->z = redshift_at(sim->cosmology, cbrt(near + sq_rng_uniform(rng) * (far - near)), s->z_near,
                       s->z_far);
    h->velocity = sim->config.velocity * sq_rng_normal(rng) *
                  sq_cosmology_growth(sim->cosmology, h->z) * sqrt(1 + h->z);
}

static sq_status draw_shell(sq_sim_mm *sim, int64_t field, int number, shell *s, sq_mm_halo **halo,
                            size_t *capacity, int64_t *count)
{
    sq_status rc = SQ_OK;
    const sq_cosmology *c = sim->cosmology;
    const sq_overdensity m200m = {SQ_MEAN, 200};
    int64_t cells = sq_flat_pixels(&sim->coarse);
    double area = sq_flat_area(&sim->flat), near = s->near, far = s->far;
    double volume = area * (far * far * far - near * near * near) / 3;
    double low = log(sim->config.mass_min), step = (log(MASS_TOP) - low) / MASS_BINS;
    sq_rng rng;
    sq_rng_init(&rng, (uint64_t)sim->config.seed, MM_HALO, mm_stream(field, number));
    for (int b = 0; b < MASS_BINS; b++) {
        double mass = exp(low + (b + 0.5) * step);
        double mean = volume * step * sq_halo_mass_function(c, s->z, mass, m200m);
        double slope = log(sq_halo_mass_function(c, s->z, mass * 1.05, m200m) /
                           sq_halo_mass_function(c, s->z, mass / 1.05, m200m)) /
                       (2 * log(1.05));
        if (b % GROUP == 0) {
            double middle = exp(low + (b + 0.5 * GROUP) * step);
            accumulate(s, cells, sq_halo_bias(c, s->z, middle, m200m));
        }
        int64_t n = sq_rng_poisson(&rng, mean * s->cumulative[cells] / (double)cells);
        SQ_TRY(SQ_GROW(*halo, *capacity, *count + n, "halos"));
        for (int64_t k = 0; k < n; k++) {
            sq_mm_halo *h = *halo + (*count)++;
            /* Within the bin the counts fall as M^slope. */
            double u = sq_rng_uniform(&rng), t = slope * step;
            double x = fabs(t) < 1e-6 ? u : log1p(u * expm1(t)) / t;
            h->m200m = exp(low + (b + x) * step);
            place(sim, s, &rng, h);
        }
    }
cleanup:
    return rc;
}

static int heavier(const void *a, const void *b)
{
    const sq_mm_halo *x = a, *y = b;
    if (x->m200m != y->m200m)
        return x->m200m > y->m200m ? -1 : 1;
    return x->x < y->x ? -1 : x->x > y->x;
}

sq_status sq_mm_draw_halos(sq_sim_mm *sim, int64_t field, sq_mm_halo **halo, int64_t *count)
{
    sq_status rc = SQ_OK;
    const sq_overdensity m200m = {SQ_MEAN, 200}, m500c = {SQ_CRITICAL, 500}, vir = {SQ_VIRIAL, 0};
    size_t capacity = 0;
    shell s = {.delta = NULL};
    int64_t cells = sq_flat_pixels(&sim->coarse);
    double first = sq_cosmology_comoving(sim->cosmology, Z_MIN);
    double last = sq_cosmology_comoving(sim->cosmology, sim->config.z_max);
    int shells = (int)ceil((last - first) / SHELL);
    *halo = NULL;
    *count = 0;
    SQ_TRY(SQ_ALLOC(s.delta, cells, "density"));
    SQ_TRY(SQ_ALLOC(s.cumulative, cells + 1, "density"));
    for (int i = 0; i < shells; i++) {
        s.near = first + (last - first) * i / shells;
        s.far = first + (last - first) * (i + 1) / shells;
        s.z = redshift_at(sim->cosmology, 0.5 * (s.near + s.far), 0, 20);
        s.z_near = redshift_at(sim->cosmology, s.near, 0, 20) - 1e-6;
        s.z_far = redshift_at(sim->cosmology, s.far, 0, 20) + 1e-6;
        SQ_TRY(fill_density(sim, field, i, &s));
        SQ_TRY(draw_shell(sim, field, i, &s, halo, &capacity, count));
    }
    for (int64_t i = 0; i < *count; i++) {
        sq_mm_halo *h = *halo + i;
        h->m500 = sq_halo_convert(sim->cosmology, h->z, h->m200m, m200m, m500c);
        h->mvir = sq_halo_convert(sim->cosmology, h->z, h->m200m, m200m, vir);
    }
    if (*count)
        qsort(*halo, (size_t)*count, sizeof **halo, heavier);
cleanup:
    sq_free(s.delta);
    sq_free(s.cumulative);
    return rc;
}
