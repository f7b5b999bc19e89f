#include <math.h>

#include "base/mem.h"
#include "sim/mm_internal.h"

/* Gas for the kSZ: a beta model n ~ 1 / (1 + (r / r_c)^2), r_c = R500 / 5, to 2 R500, that holds
 * 90% of the cosmic baryon fraction within R500. */
static const double CORE = 0.2, END = 2, BARYONS = 0.9;
static const double SIGMA_T = 6.6524587321e-25, PROTON = 1.67262192e-24, MSUN = 1.98841e33,
                    MPC = 3.0856775814913673e24, LIGHT = 299792.458, MU_E = 1.14;
/* Pixels are averaged over 5 x 5 points, farther out than FINE pixels over the 2 x 2 Gauss points,
 * and beyond COARSE, where the profile is straight, taken at their centre. */
static const double FINE = 2.5, COARSE = 8;
enum { SUB = 5 };

typedef struct clump {
    double x, y, weight;
    double a, b, c; /* theta^2 = a dx^2 + 2 b dx dy + c dy^2, in rad^2 of pixel offsets */
} clump;

typedef struct profile {
    const sq_gas *gas;
    double edge;           /* rad */
    double core, end, tau; /* of the kSZ: rad, rad, central optical depth; tau 0: none */
} profile;

static double ksz_at(const profile *p, double theta)
{
    if (theta >= p->end)
        return 0;
    double s = sqrt(p->core * p->core + theta * theta);
    double length = sqrt(p->end * p->end - theta * theta);
    return p->tau * p->core / s * atan(length / s) / atan(p->end / p->core);
}

static double central_tau(const sq_sim_mm *sim, const sq_mm_halo *h, double r500)
{
    const sq_cosmology_parameters *p = sq_cosmology_of(sim->cosmology);
    double x = 1 / CORE, core = CORE * r500 * MPC;
    double mass = BARYONS * p->omega_b / p->omega_m * h->m500 * MSUN;
    /* mass within R500 = 4 pi rho0 rc^3 (x - atan x) */
    double rho0 = mass / (4 * M_PI * core * core * core * (x - atan(x)));
    return SIGMA_T * rho0 / (MU_E * PROTON) * 2 * core * atan(END / CORE);
}

static double mean_over_pixel(const clump *c, const profile *p, double dx, double dy, double r,
                              int ksz)
{
    double sum = 0;
    int n = r < FINE ? SUB : r < COARSE ? 2 : 1;
    double step = n == 2 ? 1 / sqrt(3) : 1.0 / n;
    for (int j = 0; j < n; j++) {
        for (int i = 0; i < n; i++) {
            double u = dx + (i - 0.5 * (n - 1)) * step, v = dy + (j - 0.5 * (n - 1)) * step;
            double theta = sqrt(fmax(0, c->a * u * u + 2 * c->b * u * v + c->c * v * v));
            sum += ksz ? ksz_at(p, theta) : sq_gas_at(p->gas, theta);
        }
    }
    return sum / (n * n);
}

static int64_t wrap(int64_t i, int64_t n)
{
    return ((i % n) + n) % n;
}

/* Add one clump to a periodic map. */
static void paint(const sq_sim_mm *sim, const clump *c, const profile *p, double factor, int ksz,
                  double *map)
{
    int64_t nx = sim->flat.nx, ny = sim->flat.ny;
    double least = 0.5 * (c->a + c->c) - hypot(0.5 * (c->a - c->c), c->b);
    double edge = (ksz ? p->end : p->edge) / sqrt(least);
    edge = fmin(edge + 0.75, 0.5 * (double)nx - 1); /* half a pixel's diagonal */
    int64_t x0 = (int64_t)floor(c->x), y0 = (int64_t)floor(c->y), reach = (int64_t)ceil(edge) + 1;
    for (int64_t y = y0 - reach; y <= y0 + reach; y++) {
        for (int64_t x = x0 - reach; x <= x0 + reach; x++) {
            double dx = (double)x - c->x, dy = (double)y - c->y, r = hypot(dx, dy);
            if (r > edge)
                continue;
            map[wrap(y, ny) * nx + wrap(x, nx)] +=
                factor * c->weight * mean_over_pixel(c, p, dx, dy, r, ksz);
        }
    }
}

/* Shape and clumps of a halo from its own random stream. */
static int make_clumps(const sq_sim_mm *sim, const sq_mm_halo *h, sq_rng *rng, clump out[2])
{
    double e1 = sim->config.ellipticity * sq_rng_normal(rng),
           e2 = sim->config.ellipticity * sq_rng_normal(rng), e = hypot(e1, e2);
    double has = sq_rng_uniform(rng), share = 0.1 + 0.3 * sq_rng_uniform(rng),
           angle = 2 * M_PI * sq_rng_uniform(rng), far = 0.3 + 0.7 * sq_rng_uniform(rng);
    if (e > 0.5) {
        e1 *= 0.5 / e;
        e2 *= 0.5 / e;
    }
    double det = 1 - e1 * e1 - e2 * e2, p2 = sim->flat.dx * sim->flat.dx;
    /* The integral over the sky stays: the quadratic form has the determinant of a circle's. */
    double s = p2 / det, q = (1 + e1 * e1 + e2 * e2);
    clump c = {.x = h->x,
               .y = h->y,
               .weight = 1,
               .a = s * (q - 2 * e1),
               .b = -2 * s * e2,
               .c = s * (q + 2 * e1)};
    out[0] = out[1] = c;
    if (has >= sim->config.substructure)
        return 1;
    out[0].weight = 1 - share;
    out[1].weight = share;
    out[1].x += far * h->theta500 / (sim->flat.dx * 180 * 60 / M_PI) * cos(angle);
    out[1].y += far * h->theta500 / (sim->flat.dx * 180 * 60 / M_PI) * sin(angle);
    return 2;
}

/* Battaglia's shape changes slowly with mass and redshift: one for each bin of ln(1 + z), kept
 * while the mass, which falls from halo to halo, is within a bin. */
enum { SHAPES = 40 };
typedef struct shapes {
    sq_gas shape[SHAPES];
    int mass_bin[SHAPES];
} shapes;

static sq_status gas_of(sq_sim_mm *sim, const sq_mm_halo *h, shapes *s, sq_gas *gas)
{
    sq_status rc = SQ_OK;
    const sq_overdensity m200m = {SQ_MEAN, 200}, m200c = {SQ_CRITICAL, 200};
    if (sim->config.gas == SQ_GAS_ARNAUD)
        return sq_gas_rescale(sim->cosmology, SQ_GAS_ARNAUD, h->z, h->m500, &sim->shape, gas);
    double m = sq_halo_convert(sim->cosmology, h->z, h->m200m, m200m, m200c);
    int i = (int)(log1p(h->z) / 0.05), bin = (int)floor(log(m) / 0.2);
    i = i < SHAPES ? i : SHAPES - 1;
    if (s->mass_bin[i] != bin) {
        SQ_TRY(sq_gas_battaglia(sim->cosmology, expm1(0.05 * (i + 0.5)), exp(0.2 * (bin + 0.5)),
                                &s->shape[i]));
        s->mass_bin[i] = bin;
    }
    SQ_TRY(sq_gas_rescale(sim->cosmology, SQ_GAS_BATTAGLIA, h->z, m, &s->shape[i], gas));
cleanup:
    return rc;
}

sq_status sq_mm_paint_halos(sq_sim_mm *sim, int64_t field, sq_mm_halo *halo, int64_t count,
                            double *y, double *ksz)
{
    sq_status rc = SQ_OK;
    sq_gas gas;
    shapes *kept = NULL;
    double tcmb = 1e6 * sq_cosmology_of(sim->cosmology)->tcmb;
    SQ_TRY(SQ_ALLOC(kept, 1, "gas profiles"));
    for (int64_t i = 0; i < count; i++) {
        sq_mm_halo *h = &halo[i];
        clump c[2];
        sq_rng rng;
        sq_rng_init(&rng, (uint64_t)sim->config.seed, MM_GAS, mm_stream(field, i));
        double boost = exp(sim->config.scatter * sq_rng_normal(&rng));
        SQ_TRY(gas_of(sim, h, kept, &gas));
        h->theta500 = gas.theta500 * 180 * 60 / M_PI;
        h->y0 = gas.y0 * boost;
        double r500 = gas.theta500 * sq_cosmology_angular(sim->cosmology, h->z);
        profile p = {.gas = &gas,
                     .edge = gas.edge * gas.theta_s,
                     .core = CORE * gas.theta500,
                     .end = END * gas.theta500,
                     .tau = sim->config.velocity > 0 ? central_tau(sim, h, r500) : 0};
        int clumps = make_clumps(sim, h, &rng, c);
        for (int k = 0; k < clumps; k++) {
            if (y && sim->config.tsz > 0)
                paint(sim, &c[k], &p, sim->config.tsz * boost, 0, y);
            if (ksz && p.tau > 0)
                paint(sim, &c[k], &p, -tcmb * h->velocity / LIGHT, 1, ksz);
        }
    }
cleanup:
    sq_free(kept);
    return rc;
}
