#include <math.h>
#include <stddef.h>

#include "sim/halo.h"

/* sigma_T / (m_e c^2) in cm^2 / keV, and a Mpc in cm. */
static const double THOMSON = 6.6524587321e-25 / 510.99895, MPC = 3.0856775814913673e24;
/* Msun^2 G / Mpc^4 in keV / cm^3: G M rho of Battaglia's P200. */
static const double G_MSUN2_MPC4 = 6.6743e-8 * 1.98841e33 * 1.98841e33 /
                                   (3.0856775814913673e24 * 3.0856775814913673e24) /
                                   (3.0856775814913673e24 * 3.0856775814913673e24) / 1.602176634e-9;
enum { LINE = 100, SHELLS = 2000 };

/* A pressure profile without its amplitude: x = r / r_s. */
typedef struct shape {
    double scale, gamma, alpha, beta, edge;
    int battaglia;
} shape;

static double pressure(const shape *s, double x)
{
    double u = x * s->scale;
    if (s->battaglia)
        return pow(u, -0.3) * pow(1 + u, -s->beta);
    return pow(u, -s->gamma) * pow(1 + pow(u, s->alpha), (s->gamma - s->beta) / s->alpha);
}

/* Twice the integral along the line of sight to the truncation sphere, with l = end t^3: the cusp
 * in the centre is integrable and the substitution makes it smooth. Midpoints. */
static double project(const shape *s, double x)
{
    double end = sqrt(fmax(0, s->edge * s->edge - x * x)), sum = 0;
    for (int i = 0; i < LINE; i++) {
        double t = (i + 0.5) / LINE, l = end * t * t * t;
        sum += pressure(s, sqrt(x * x + l * l)) * 3 * t * t;
    }
    return 2 * end * sum / LINE;
}

static shape arnaud_shape(void)
{
    return (shape){.scale = 1.177, .gamma = 0.3081, .alpha = 1.0510, .beta = 5.4905, .edge = 5};
}

/* What stands for 1 in the dimensionless profile. */
typedef struct scale {
    double pressure; /* keV / cm^3 */
    double radius;   /* proper Mpc */
    double theta, theta500, m500;
} scale;

static scale arnaud_scale(const sq_cosmology *c, double z, double m500)
{
    double h70 = sq_cosmology_of(c)->h / 0.7, e = sq_cosmology_e(c, z), m = m500 * h70 / 3e14;
    double p500 = 1.65e-3 * pow(e, 8.0 / 3) * pow(m, 2.0 / 3 + 0.12) * h70 * h70;
    scale s = {.pressure = p500 * 8.403 * pow(h70, -1.5),
               .radius = sq_halo_radius(c, z, m500, (sq_overdensity){SQ_CRITICAL, 500}),
               .m500 = m500};
    s.theta = s.theta500 = s.radius / sq_cosmology_angular(c, z);
    return s;
}

static scale battaglia_scale(const sq_cosmology *c, double z, double m200)
{
    const sq_overdensity d200 = {SQ_CRITICAL, 200}, d500 = {SQ_CRITICAL, 500};
    double p0 = 18.1 * pow(m200 / 1e14, 0.154) * pow(1 + z, -0.758);
    double fb = sq_cosmology_of(c)->omega_b / sq_cosmology_of(c)->omega_m;
    scale s = {.radius = sq_halo_radius(c, z, m200, d200),
               .m500 = sq_halo_convert(c, z, m200, d200, d500)};
    double p200 = G_MSUN2_MPC4 * m200 * 200 * sq_cosmology_critical(c, z) * fb / (2 * s.radius);
    s.pressure = p200 * p0 / 1.932;
    s.theta = s.radius / sq_cosmology_angular(c, z);
    s.theta500 = sq_halo_radius(c, z, s.m500, d500) / sq_cosmology_angular(c, z);
    return s;
}

static void set_scale(const scale *s, sq_gas *g)
{
    g->flux *= s->theta * s->theta;
    g->y0 = THOMSON * MPC * s->pressure * s->radius * g->centre;
    g->flux *= g->y0;
    g->theta_s = s->theta;
    g->theta500 = s->theta500;
    g->m500 = s->m500;
}

/* The profile of unit height, and in `flux` its integral in units of theta_s^2. */
static void fill_shape(const shape *s, sq_gas *out)
{
    double sum = 0, before = 0;
    out->centre = project(s, 0);
    out->edge = s->edge;
    for (int i = 0; i < SQ_GAS_POINTS; i++) {
        double t = (double)i / (SQ_GAS_POINTS - 1), x = s->edge * t * t;
        out->shape[i] = project(s, x) / out->centre;
        double now = 2 * M_PI * x * out->shape[i] * 2 * s->edge * t;
        sum += 0.5 * (before + now) / (SQ_GAS_POINTS - 1);
        before = now;
    }
    out->flux = sum;
}

static sq_status check_halo(double z, double mass)
{
    if (mass > 0 && z > 0)
        return SQ_OK;
    return sq_fail(SQ_ERR_DATA, "gas: mass and redshift must be positive");
}

sq_status sq_gas_arnaud(const sq_cosmology *c, double z, double m500, sq_gas *out)
{
    sq_status rc = SQ_OK;
    const shape s = arnaud_shape();
    SQ_TRY(check_halo(z, m500));
    scale size = arnaud_scale(c, z, m500);
    fill_shape(&s, out);
    set_scale(&size, out);
cleanup:
    return rc;
}

sq_status sq_gas_battaglia(const sq_cosmology *c, double z, double m200, sq_gas *out)
{
    sq_status rc = SQ_OK;
    double m = m200 / 1e14, a = 1 + z;
    SQ_TRY(check_halo(z, m200));
    shape s = {.scale = 1 / (0.497 * pow(m, -0.00865) * pow(a, 0.731)),
               .beta = 4.35 * pow(m, 0.0393) * pow(a, 0.415),
               .edge = 4,
               .battaglia = 1};
    scale size = battaglia_scale(c, z, m200);
    fill_shape(&s, out);
    set_scale(&size, out);
cleanup:
    return rc;
}

sq_status sq_gas_rescale(const sq_cosmology *c, sq_gas_model model, double z, double mass,
                         const sq_gas *like, sq_gas *out)
{
    sq_status rc = SQ_OK;
    SQ_TRY(check_halo(z, mass));
    scale size = model == SQ_GAS_ARNAUD ? arnaud_scale(c, z, mass) : battaglia_scale(c, z, mass);
    if (out != like)
        *out = *like;
    out->flux = like->flux / (like->y0 * like->theta_s * like->theta_s);
    set_scale(&size, out);
cleanup:
    return rc;
}

double sq_gas_at(const sq_gas *g, double theta)
{
    double x = theta / g->theta_s;
    if (x >= g->edge)
        return 0;
    double t = sqrt(x / g->edge) * (SQ_GAS_POINTS - 1);
    int i = t >= SQ_GAS_POINTS - 1 ? SQ_GAS_POINTS - 2 : (int)t;
    return g->y0 * (g->shape[i] + (t - i) * (g->shape[i + 1] - g->shape[i]));
}

/* By the slice theorem the transform of the projection is that of the sphere. x = edge t^2. */
double sq_gas_transform(sq_gas_model model, double k)
{
    shape s = model == SQ_GAS_ARNAUD
                  ? arnaud_shape()
                  : (shape){.scale = 1 / 0.497, .beta = 4.35, .edge = 4, .battaglia = 1};
    double sum = 0;
    int shells = SHELLS + (int)(20 * s.edge * k);
    for (int i = 0; i < shells; i++) {
        double t = (i + 0.5) / shells, x = s.edge * t * t, q = k * x;
        double sinc = q < 1e-4 ? 1 - q * q / 6 : sin(q) / q;
        sum += pressure(&s, x) * x * x * sinc * 2 * s.edge * t;
    }
    return 4 * M_PI * sum / shells / project(&s, 0);
}

double sq_sz_spectrum(double ghz, double tcmb)
{
    double x = 0.0479924307 * ghz / tcmb; /* h / k in K per GHz */
    return x / tanh(0.5 * x) - 4;
}
