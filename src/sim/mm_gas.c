#include <math.h>

#include "base/mem.h"
#include "sim/mm_internal.h"

/* Gas for the kSZ: a beta model n ~ 1 / (1 + (r / r_c)^2), r_c = R500 / 5, to 2 R500, that holds
 * 90% of the cosmic baryon fraction within R500. */
static const double CORE = 0.2, END = 2, BARYONS = 0.9;
static const double SIGMA_T = 6.6524587321e-25, PROTON = 1.67262192e-24, MSUN = 1.98841e33,
                    MPC = 3.0856775814913673e24, LIGHT = 299792.458, MU_E = 1.14;
/* Pixels around the centre are averages over Gauss points or, where the profile has its cusp, a
 * finer grid; farther out the profile is straight. */
typedef struct rule {
    double reach; /* pixels */
    int points;
    double at[5], weight[5];
} rule;
static const rule rules[] = {
    {0.9, 5, {-0.4, -0.2, 0, 0.2, 0.4}, {0.2, 0.2, 0.2, 0.2, 0.2}},
    {2.5, 3, {-0.3872983346, 0, 0.3872983346}, {5 / 18.0, 8 / 18.0, 5 / 18.0}},
    {6, 2, {-0.2886751346, 0.2886751346}, {0.5, 0.5}},
    {INFINITY, 1, {0}, {1}},
};

typedef struct clump {
    double x, y, weight;
    double a, b, c; /* theta^2 = a dx^2 + 2 b dx dy + c dy^2, in rad^2 of pixel offsets */
} clump;

/* The kSZ's profile as a function of theta / theta500, at END (i / (KSZ - 1))^2. */
enum { KSZ = 256 };
typedef struct ksz_table {
    double shape[KSZ];
} ksz_table;

static void fill_ksz(ksz_table *table)
{
    for (int i = 0; i < KSZ; i++) {
        double x = END * pow(i / (KSZ - 1.0), 2), s = sqrt(CORE * CORE + x * x);
        table->shape[i] = CORE / s * atan(sqrt(END * END - x * x) / s) / atan(END / CORE);
    }
}

/* Both profiles of a halo: values at t = sqrt(theta), linear between the nodes of their tables. */
typedef struct profile {
    const double *y, *ksz;
    double y_per, ksz_per; /* nodes per unit of t */
    double y0, t0;         /* of the centre: Compton y, kSZ in uK */
    double edge;           /* rad */
} profile;

static void add_at(const profile *p, double theta2, double weight, double *y, double *ksz)
{
    double t = sqrt(sqrt(theta2)), a = t * p->y_per, b = t * p->ksz_per;
    if (a < SQ_GAS_POINTS - 1) {
        int i = (int)a;
        *y += weight * (p->y[i] + (a - i) * (p->y[i + 1] - p->y[i]));
    }
    if (b < KSZ - 1) {
        int i = (int)b;
        *ksz += weight * (p->ksz[i] + (b - i) * (p->ksz[i + 1] - p->ksz[i]));
    }
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

/* The means over the pixel at dx, dy from the clump. */
static void pixel_mean(const clump *c, const profile *p, double dx, double dy, double *y,
                       double *ksz)
{
    double r2 = dx * dx + dy * dy;
    const rule *q = rules;
    while (r2 >= q->reach * q->reach)
        q++;
    *y = *ksz = 0;
    for (int j = 0; j < q->points; j++) {
        for (int i = 0; i < q->points; i++) {
            double u = dx + q->at[i], v = dy + q->at[j];
            add_at(p, fmax(0, c->a * u * u + 2 * c->b * u * v + c->c * v * v),
                   q->weight[i] * q->weight[j], y, ksz);
        }
    }
}

/* Add one clump to periodic maps. */
static void paint(const sq_sim_mm *sim, const clump *c, const profile *p, double *y, double *ksz)
{
    int64_t nx = sim->flat.nx, ny = sim->flat.ny;
    double least = 0.5 * (c->a + c->c) - hypot(0.5 * (c->a - c->c), c->b);
    double edge = p->edge / sqrt(least) + 0.75; /* half a pixel's diagonal */
    edge = fmin(edge, 0.5 * (double)nx - 1);
    int64_t y0 = (int64_t)ceil(c->y - edge), y1 = (int64_t)floor(c->y + edge);
    for (int64_t j = y0; j <= y1; j++) {
        double dy = (double)j - c->y, half = sqrt(fmax(0, edge * edge - dy * dy));
        int64_t x0 = (int64_t)ceil(c->x - half), x1 = (int64_t)floor(c->x + half);
        int64_t row = (j % ny + ny) % ny * nx, x = (x0 % nx + nx) % nx;
        for (int64_t i = x0; i <= x1; i++) {
            double here_y, here_ksz;
            pixel_mean(c, p, (double)i - c->x, dy, &here_y, &here_ksz);
            y[row + x] += c->weight * p->y0 * here_y;
            ksz[row + x] += c->weight * p->t0 * here_ksz;
            x = x + 1 == nx ? 0 : x + 1;
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

static profile profile_of(sq_sim_mm *sim, const sq_mm_halo *h, const sq_gas *gas,
                          const ksz_table *table, double boost)
{
    double tcmb = 1e6 * sq_cosmology_of(sim->cosmology)->tcmb;
    double r500 = gas->theta500 * sq_cosmology_angular(sim->cosmology, h->z);
    profile p = {.y = gas->shape,
                 .ksz = table->shape,
                 .y_per = (SQ_GAS_POINTS - 1) / sqrt(gas->edge * gas->theta_s),
                 .ksz_per = (KSZ - 1) / sqrt(END * gas->theta500),
                 .y0 = sim->config.tsz * boost * gas->y0,
                 .edge = fmax(gas->edge * gas->theta_s, END * gas->theta500)};
    if (sim->config.velocity > 0)
        p.t0 = -tcmb * h->velocity / LIGHT * central_tau(sim, h, r500);
    return p;
}

sq_status sq_mm_paint_halos(sq_sim_mm *sim, int64_t field, sq_mm_halo *halo, int64_t count,
                            double *y, double *ksz)
{
    sq_status rc = SQ_OK;
    sq_gas gas;
    shapes *kept = NULL;
    ksz_table table;
    fill_ksz(&table);
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
        if (!y)
            continue;
        profile p = profile_of(sim, h, &gas, &table, boost);
        int clumps = make_clumps(sim, h, &rng, c);
        for (int k = 0; k < clumps; k++)
            paint(sim, &c[k], &p, y, ksz);
    }
cleanup:
    sq_free(kept);
    return rc;
}
