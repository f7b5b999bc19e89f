#include "sim/cosmology.h"

#include <math.h>

#include "base/mem.h"

enum { NZ = 4001, NMASS = 401, NK = 4000 };
static const double Z_MAX = 20, LN_MASS_MIN = 20.72326583694641 /* ln 1e9 */,
                    LN_MASS_MAX = 39.14394658089878 /* ln 1e17 */;
static const double C_KMS = 299792.458, RHO_CRITICAL = 2.77536627e11; /* h^2 Msun / Mpc^3 */

struct sq_cosmology {
    sq_cosmology_parameters p;
    double amplitude;
    double comoving[NZ], growth[NZ];
    double ln_sigma[NMASS];
    /* Of Eisenstein & Hu 1998. */
    double theta, zeq, keq, s, ksilk, alpha_c, beta_c, alpha_b, beta_b, beta_node;
};

sq_cosmology_parameters sq_cosmology_sehgal(void)
{
    return (sq_cosmology_parameters){.h = 0.71,
                                     .omega_m = 0.264,
                                     .omega_b = 0.044,
                                     .sigma8 = 0.8,
                                     .ns = 0.96,
                                     .w = -1,
                                     .tcmb = 2.726};
}

const sq_cosmology_parameters *sq_cosmology_of(const sq_cosmology *c)
{
    return &c->p;
}

double sq_cosmology_e(const sq_cosmology *c, double z)
{
    double a = 1 + z;
    return sqrt(c->p.omega_m * a * a * a + (1 - c->p.omega_m) * pow(a, 3 * (1 + c->p.w)));
}

double sq_cosmology_omega_m(const sq_cosmology *c, double z)
{
    double e = sq_cosmology_e(c, z), a = 1 + z;
    return c->p.omega_m * a * a * a / (e * e);
}

double sq_cosmology_critical(const sq_cosmology *c, double z)
{
    double e = sq_cosmology_e(c, z);
    return RHO_CRITICAL * c->p.h * c->p.h * e * e;
}

double sq_cosmology_matter(const sq_cosmology *c, double z)
{
    return sq_cosmology_critical(c, z) * sq_cosmology_omega_m(c, z);
}

/* Cubic Lagrange interpolation in a table on a regular grid. */
static double at(const double *table, int n, double x)
{
    int i = (int)floor(x);
    i = i < 1 ? 1 : i > n - 3 ? n - 3 : i;
    double t = x - i, a = table[i - 1], b = table[i], c = table[i + 1], d = table[i + 2];
    return -t * (t - 1) * (t - 2) / 6 * a + (t + 1) * (t - 1) * (t - 2) / 2 * b -
           (t + 1) * t * (t - 2) / 2 * c + (t + 1) * t * (t - 1) / 6 * d;
}

double sq_cosmology_comoving(const sq_cosmology *c, double z)
{
    return at(c->comoving, NZ, z / Z_MAX * (NZ - 1));
}

double sq_cosmology_angular(const sq_cosmology *c, double z)
{
    return sq_cosmology_comoving(c, z) / (1 + z);
}

double sq_cosmology_volume(const sq_cosmology *c, double z)
{
    double d = sq_cosmology_comoving(c, z);
    return d * d * C_KMS / (100 * c->p.h) / sq_cosmology_e(c, z);
}

double sq_cosmology_growth(const sq_cosmology *c, double z)
{
    return at(c->growth, NZ, z / Z_MAX * (NZ - 1));
}

static void fill_distance(sq_cosmology *c)
{
    double step = Z_MAX / (NZ - 1), hubble = C_KMS / (100 * c->p.h);
    c->comoving[0] = 0;
    for (int i = 1; i < NZ; i++) {
        double z = (i - 1) * step;
        c->comoving[i] = c->comoving[i - 1] +
                         hubble * step / 6 *
                             (1 / sq_cosmology_e(c, z) + 4 / sq_cosmology_e(c, z + step / 2) +
                              1 / sq_cosmology_e(c, z + step));
    }
}

/* D'' + (2 + d ln H / d ln a) D' - 3/2 omega_m(a) D = 0 in ln a. */
static void growth_slope(const sq_cosmology *c, double x, const double y[2], double out[2])
{
    double z = exp(-x) - 1, om = sq_cosmology_omega_m(c, z);
    double dlnh = -1.5 * (om + (1 - om) * (1 + c->p.w));
    out[0] = y[1];
    out[1] = -(2 + dlnh) * y[1] + 1.5 * om * y[0];
}

static void growth_step(const sq_cosmology *c, double x, double h, double y[2])
{
    double k[4][2], t[2];
    static const double part[4] = {0, 0.5, 0.5, 1};
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 2; j++)
            t[j] = y[j] + (i ? part[i] * h * k[i - 1][j] : 0);
        growth_slope(c, x + part[i] * h, t, k[i]);
    }
    for (int j = 0; j < 2; j++)
        y[j] += h / 6 * (k[0][j] + 2 * k[1][j] + 2 * k[2][j] + k[3][j]);
}

static void fill_growth(sq_cosmology *c)
{
    double x = log(1e-3), y[2] = {1e-3, 1e-3}, end = -log1p(Z_MAX);
    for (int i = 0; i < 400; i++, x += (end - log(1e-3)) / 400)
        growth_step(c, x, (end - log(1e-3)) / 400, y);
    for (int i = NZ - 1; i >= 0; i--) {
        c->growth[i] = y[0];
        double here = -log1p(Z_MAX * i / (NZ - 1)), next = -log1p(Z_MAX * (i - 1) / (NZ - 1));
        if (i > 0)
            growth_step(c, here, next - here, y);
    }
    double today = c->growth[0];
    for (int i = 0; i < NZ; i++)
        c->growth[i] /= today;
}

/* Eisenstein & Hu 1998, equations 2-7, 11, 12, 14, 15, 23 and 24. */
static void fit_transfer(sq_cosmology *c)
{
    double om = c->p.omega_m * c->p.h * c->p.h, ob = c->p.omega_b * c->p.h * c->p.h;
    double t = c->p.tcmb / 2.7, fb = c->p.omega_b / c->p.omega_m, fc = 1 - fb;
    c->theta = t;
    c->zeq = 2.5e4 * om * pow(t, -4);
    c->keq = 7.46e-2 * om * pow(t, -2);
    double b1 = 0.313 * pow(om, -0.419) * (1 + 0.607 * pow(om, 0.674));
    double b2 = 0.238 * pow(om, 0.223);
    double zd = 1291 * pow(om, 0.251) / (1 + 0.659 * pow(om, 0.828)) * (1 + b1 * pow(ob, b2));
    double rd = 31.5 * ob * pow(t, -4) * 1000 / zd, req = 31.5 * ob * pow(t, -4) * 1000 / c->zeq;
    c->s =
        2 / (3 * c->keq) * sqrt(6 / req) * log((sqrt(1 + rd) + sqrt(rd + req)) / (1 + sqrt(req)));
    c->ksilk = 1.6 * pow(ob, 0.52) * pow(om, 0.73) * (1 + pow(10.4 * om, -0.95));
    double a1 = pow(46.9 * om, 0.670) * (1 + pow(32.1 * om, -0.532));
    double a2 = pow(12.0 * om, 0.424) * (1 + pow(45.0 * om, -0.582));
    c->alpha_c = pow(a1, -fb) * pow(a2, -fb * fb * fb);
    double c1 = 0.944 / (1 + pow(458 * om, -0.708)), c2 = pow(0.395 * om, -0.0266);
    c->beta_c = 1 / (1 + c1 * (pow(fc, c2) - 1));
    double y = (1 + c->zeq) / (1 + zd);
    double g = y * (-6 * sqrt(1 + y) + (2 + 3 * y) * log((sqrt(1 + y) + 1) / (sqrt(1 + y) - 1)));
    c->alpha_b = 2.07 * c->keq * c->s * pow(1 + rd, -0.75) * g;
    c->beta_b = 0.5 + fb + (3 - 2 * fb) * sqrt(pow(17.2 * om, 2) + 1);
    c->beta_node = 8.41 * pow(om, 0.435);
}

/* Equations 17, 19 and 20. */
static double pressureless(double q, double alpha, double beta)
{
    double l = log(M_E + 1.8 * beta * q);
    double cc = 14.2 / alpha + 386 / (1 + 69.9 * pow(q, 1.08));
    return l / (l + cc * q * q);
}

static double sinc(double x)
{
    return x < 1e-4 ? 1 - x * x / 6 : sin(x) / x;
}

/* Equations 16, 18, 21 and 22. */
static double transfer(const sq_cosmology *c, double k)
{
    double fb = c->p.omega_b / c->p.omega_m, q = k / (13.41 * c->keq), ks = k * c->s;
    double f = 1 / (1 + pow(ks / 5.4, 4));
    double tc =
        f * pressureless(q, 1, c->beta_c) + (1 - f) * pressureless(q, c->alpha_c, c->beta_c);
    double st = c->s / cbrt(1 + pow(c->beta_node / ks, 3));
    double tb = (pressureless(q, 1, 1) / (1 + pow(ks / 5.2, 2)) +
                 c->alpha_b / (1 + pow(c->beta_b / ks, 3)) * exp(-pow(k / c->ksilk, 1.4))) *
                sinc(k * st);
    return fb * tb + (1 - fb) * tc;
}

double sq_cosmology_power(const sq_cosmology *c, double k)
{
    double t = transfer(c, k);
    return c->amplitude * pow(k, c->p.ns) * t * t;
}

static double top_hat(double x)
{
    if (x < 1e-2)
        return 1 - x * x / 10;
    return 3 * (sin(x) - x * cos(x)) / (x * x * x);
}

/* The integral over ln k from 1e-5 to 1e3 / Mpc. */
static double variance(const double *k, const double *weight, double radius)
{
    double sum = 0;
    for (int i = 0; i < NK; i++) {
        double w = top_hat(k[i] * radius);
        sum += weight[i] * w * w;
    }
    return sum;
}

static sq_status fill_sigma(sq_cosmology *c)
{
    sq_status rc = SQ_OK;
    double *k = NULL, *weight = NULL;
    double low = log(1e-5), step = (log(1e3) - low) / (NK - 1);
    double mean = c->p.omega_m * RHO_CRITICAL * c->p.h * c->p.h;
    SQ_TRY(SQ_ALLOC(k, NK, "power spectrum"));
    SQ_TRY(SQ_ALLOC(weight, NK, "power spectrum"));
    c->amplitude = 1;
    for (int i = 0; i < NK; i++) {
        k[i] = exp(low + i * step);
        weight[i] = k[i] * k[i] * k[i] * sq_cosmology_power(c, k[i]) * step / (2 * M_PI * M_PI);
    }
    c->amplitude = c->p.sigma8 * c->p.sigma8 / variance(k, weight, 8 / c->p.h);
    for (int m = 0; m < NMASS; m++) {
        double mass = exp(LN_MASS_MIN + m * (LN_MASS_MAX - LN_MASS_MIN) / (NMASS - 1));
        double radius = cbrt(3 * mass / (4 * M_PI * mean));
        c->ln_sigma[m] = 0.5 * log(c->amplitude * variance(k, weight, radius));
    }
cleanup:
    sq_free(k);
    sq_free(weight);
    return rc;
}

double sq_cosmology_sigma(const sq_cosmology *c, double mass, double *slope)
{
    const double step = (LN_MASS_MAX - LN_MASS_MIN) / (NMASS - 1), width = 0.5;
    double x = (log(mass) - LN_MASS_MIN) / step;
    if (slope)
        *slope = (at(c->ln_sigma, NMASS, x + width) - at(c->ln_sigma, NMASS, x - width)) /
                 (2 * width * step);
    return exp(at(c->ln_sigma, NMASS, x));
}

static int inside(double x, double low, double high)
{
    return x >= low && x <= high;
}

sq_status sq_cosmology_create(const sq_cosmology_parameters *p, sq_cosmology **out)
{
    sq_status rc = SQ_OK;
    sq_cosmology *c = NULL;
    *out = NULL;
    if (!inside(p->h, 0.3, 1.5) || !inside(p->omega_m, 0.05, 1) || !inside(p->sigma8, 0.1, 2) ||
        !inside(p->ns, 0.5, 1.5) || !inside(p->w, -2, -0.4) || !inside(p->tcmb, 2, 3.5) ||
        !(p->omega_b > 0 && p->omega_b < p->omega_m))
        return sq_fail(SQ_ERR_CONFIG, "cosmology: a parameter is outside its range");
    SQ_TRY(SQ_ALLOC(c, 1, "cosmology"));
    c->p = *p;
    fill_distance(c);
    fill_growth(c);
    fit_transfer(c);
    SQ_TRY(fill_sigma(c));
    *out = c;
    c = NULL;
cleanup:
    sq_cosmology_destroy(c);
    return rc;
}

void sq_cosmology_destroy(sq_cosmology *c)
{
    sq_free(c);
}
