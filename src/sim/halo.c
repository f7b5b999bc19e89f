#include "sim/halo.h"

#include <math.h>
#include <stddef.h>

double sq_halo_density(const sq_cosmology *c, double z, sq_overdensity d)
{
    double x;
    switch (d.of) {
    case SQ_CRITICAL:
        return d.factor * sq_cosmology_critical(c, z);
    case SQ_MEAN:
        return d.factor * sq_cosmology_matter(c, z);
    case SQ_VIRIAL:
        x = sq_cosmology_omega_m(c, z) - 1;
        return (18 * M_PI * M_PI + 82 * x - 39 * x * x) * sq_cosmology_critical(c, z);
    }
    return 0;
}

double sq_halo_radius(const sq_cosmology *c, double z, double mass, sq_overdensity d)
{
    return cbrt(3 * mass / (4 * M_PI * sq_halo_density(c, z, d)));
}

/* Table 1 of Duffy et al. 2008: 200 critical, full sample, z = 0-2; pivot 2e12 Msun / h. */
double sq_halo_concentration(const sq_cosmology *c, double z, double m200c)
{
    double m = m200c * sq_cosmology_of(c)->h / 2e12;
    return 5.71 * pow(m, -0.084) * pow(1 + z, -0.47);
}

/* Mass of an NFW profile within x scale radii, in units of 4 pi rho_s r_s^3. */
static double nfw(double x)
{
    return log1p(x) - x / (1 + x);
}

/* The ratio of the mass at `density` to M200c for a halo of concentration c200: Newton's method in
 * ln(r / r_s), on which the logarithm of the mean density depends nearly linearly. */
static double mass_ratio(double c200, double density, double density200)
{
    double whole = nfw(c200), target = log(density / density200 * whole) - 3 * log(c200);
    double x = c200;
    for (int i = 0; i < 30; i++) {
        double inside = nfw(x), grows = x / (1 + x);
        double step = (log(inside) - 3 * log(x) - target) / (3 - grows * grows / inside);
        x *= exp(step);
        if (fabs(step) < 1e-14)
            break;
    }
    return nfw(x) / whole;
}

double sq_halo_convert(const sq_cosmology *c, double z, double mass, sq_overdensity from,
                       sq_overdensity to)
{
    const sq_overdensity m200 = {SQ_CRITICAL, 200};
    double d200 = sq_halo_density(c, z, m200), df = sq_halo_density(c, z, from),
           dt = sq_halo_density(c, z, to), m = mass;
    /* M200c from the given mass: a fixed point, for the concentration depends on it weakly. */
    for (int i = 0; i < 20; i++) {
        double before = m;
        m = mass / mass_ratio(sq_halo_concentration(c, z, m), df, d200);
        if (fabs(m - before) < 1e-14 * m)
            break;
    }
    return m * mass_ratio(sq_halo_concentration(c, z, m), dt, d200);
}

/* Linear interpolation in log10 of the overdensity in the parameters of Tinker et al. 2008, table
 * 2. */
static void tinker_parameters(double delta, double out[4])
{
    static const double grid[] = {200, 300, 400, 600, 800, 1200, 1600, 2400, 3200};
    static const double a[] = {0.186, 0.200, 0.212, 0.218, 0.248, 0.255, 0.260, 0.260, 0.260};
    static const double b[] = {1.47, 1.52, 1.56, 1.61, 1.87, 2.13, 2.30, 2.53, 2.66};
    static const double d[] = {2.57, 2.25, 2.05, 1.87, 1.59, 1.51, 1.46, 1.44, 1.41};
    static const double e[] = {1.19, 1.27, 1.34, 1.45, 1.58, 1.80, 1.97, 2.24, 2.44};
    int i = 0;
    while (i < 7 && delta > grid[i + 1])
        i++;
    double t = (log10(delta) - log10(grid[i])) / (log10(grid[i + 1]) - log10(grid[i]));
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    const double *table[] = {a, b, d, e};
    for (int k = 0; k < 4; k++)
        out[k] = table[k][i] + t * (table[k][i + 1] - table[k][i]);
}

static double mean_overdensity(const sq_cosmology *c, double z, sq_overdensity d)
{
    return sq_halo_density(c, z, d) / sq_cosmology_matter(c, z);
}

double sq_halo_mass_function(const sq_cosmology *c, double z, double mass, sq_overdensity d)
{
    double delta = mean_overdensity(c, z, d), p[4], slope;
    tinker_parameters(delta, p);
    double alpha = pow(10, -pow(0.75 / log10(delta / 75), 1.2));
    double big_a = p[0] * pow(1 + z, -0.14), a = p[1] * pow(1 + z, -0.06),
           b = p[2] * pow(1 + z, -alpha), e = p[3];
    double sigma = sq_cosmology_sigma(c, mass, &slope) * sq_cosmology_growth(c, z);
    double f = big_a * (pow(sigma / b, -a) + 1) * exp(-e / (sigma * sigma));
    double mean = sq_cosmology_matter(c, 0);
    return f * mean / mass * -slope;
}

double sq_halo_bias(const sq_cosmology *c, double z, double mass, sq_overdensity d)
{
    double y = log10(mean_overdensity(c, z, d)), x = exp(-pow(4 / y, 4));
    double nu = 1.686 / (sq_cosmology_sigma(c, mass, NULL) * sq_cosmology_growth(c, z));
    double a = 0.44 * y - 0.88, na = pow(nu, a);
    return 1 - (1 + 0.24 * y * x) * na / (na + pow(1.686, a)) + 0.183 * pow(nu, 1.5) +
           (0.019 + 0.107 * y + 0.19 * x) * pow(nu, 2.4);
}
