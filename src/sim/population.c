#include <math.h>

#include "sim/sim_internal.h"

enum { VARIABLES = 6, TRIANGLE = VARIABLES * (VARIABLES + 1) / 2, ABSOLUTE = 22 };

/* A Gaussian over r and up to VARIABLES others, written as the others' regression on r. */
typedef struct mixture_component {
    double part, r, sd;
    double mean[VARIABLES], slope[VARIABLES], factor[TRIANGLE];
} mixture_component;

#include "sim/population_table.inc.h"

/* Integral of 10^(slope (m - knee)) from a to b. */
static double power_integral(double slope, double knee, double a, double b)
{
    if (b <= a)
        return 0;
    if (fabs(slope) < 1e-6)
        return b - a;
    double k = slope * M_LN10;
    return (exp(k * (b - knee)) - exp(k * (a - knee))) / k;
}

static void slopes(const sq_sim_optical_config *c, int star, double *bright, double *faint)
{
    *bright = star ? c->star_slope : c->galaxy_slope;
    *faint = star ? c->star_faint_slope : c->galaxy_faint_slope;
}

/* Relative number between the bright limit and m. */
static double counts_to(const sq_sim_optical_config *c, int star, double m)
{
    double bright, faint, knee = c->break_magnitude;
    slopes(c, star, &bright, &faint);
    return power_integral(bright, knee, c->bright_limit, fmin(m, knee)) +
           power_integral(faint, knee, fmax(knee, c->bright_limit), m);
}

double sim_density(const sq_sim_optical_config *c, int star)
{
    double density = star ? c->star_density : c->galaxy_density;
    return density / (3600.0 * 3600.0) * counts_to(c, star, c->faint_limit) /
           counts_to(c, star, ABSOLUTE);
}

/* Inverse of the cumulative counts. */
static double draw_magnitude(const sq_sim_optical_config *c, int star, sq_rng *rng)
{
    double bright, faint, knee = c->break_magnitude;
    slopes(c, star, &bright, &faint);
    double want = sq_rng_uniform(rng) * counts_to(c, star, c->faint_limit);
    double below = power_integral(bright, knee, c->bright_limit, fmin(c->faint_limit, knee));
    double from = c->bright_limit, slope = bright;
    if (want > below) {
        want -= below;
        from = fmax(knee, c->bright_limit);
        slope = faint;
    }
    if (fabs(slope) < 1e-6)
        return from + want;
    double k = slope * M_LN10;
    return knee + log(want * k + exp(k * (from - knee))) / k;
}

/* The other variables given r: a component by its responsibility, then a Gaussian. */
static void draw_mixture(const mixture_component *m, int components, int others, double r,
                         sq_rng *rng, double *out)
{
    double weight[16], total = 0, z[VARIABLES];
    for (int k = 0; k < components; k++) {
        double t = (r - m[k].r) / m[k].sd;
        weight[k] = m[k].part / m[k].sd * exp(-0.5 * t * t);
        total += weight[k];
    }
    double pick = sq_rng_uniform(rng) * total;
    int k = 0;
    while (k < components - 1 && pick > weight[k])
        pick -= weight[k++];
    for (int i = 0; i < others; i++) {
        z[i] = sq_rng_normal(rng);
        out[i] = m[k].mean[i] + m[k].slope[i] * (r - m[k].r);
        for (int j = 0; j <= i; j++)
            out[i] += m[k].factor[i * (i + 1) / 2 + j] * z[j];
    }
}

static double clamp(double x, double low, double high)
{
    return fmin(high, fmax(low, x));
}

/* Ellipticity with Gaussian components, cut at 0.8 (axis ratio 1/9). */
static void draw_ellipticity(sq_rng *rng, double rms, double *e1, double *e2)
{
    do {
        *e1 = rms * sq_rng_normal(rng);
        *e2 = rms * sq_rng_normal(rng);
    } while (*e1 * *e1 + *e2 * *e2 > 0.64);
}

/* Pure bulges are red and bright, pure disks faint; the fractions follow the catalogued ones of
 * CatSim below r = 22 and of SDSS above. */
static double draw_bulge_fraction(double r, double g_r, sq_rng *rng)
{
    double red = 1 / (1 + exp(-(g_r - 0.8) / 0.12));
    double pure_bulge = clamp(0.5 - 0.09 * (r - 18), 0.02, 0.55) * (0.1 + 0.9 * red);
    double pure_disk = clamp(0.18 + 0.1 * (r - 22), 0.12, 0.75);
    double pick = sq_rng_uniform(rng), mixed = sq_rng_beta(rng, 0.4, 1.8);
    if (pick < pure_bulge)
        return 1;
    return pick < pure_bulge + pure_disk * (1 - pure_bulge) ? 0 : mixed;
}

static void draw_galaxy(double r, double g_r, double log_radius, sq_rng *rng, sq_sim_source *s)
{
    double fraction = draw_bulge_fraction(r, g_r, rng);
    double ratio = exp(BULGE_RATIO_MEAN + 0.6 * BULGE_RATIO_SD * sq_rng_normal(rng));
    double main = clamp(exp(log_radius), 0.06, 12);
    s->bulge_fraction = fraction;
    s->disk_radius = fraction < 1 ? main : 0;
    s->bulge_radius = fraction == 1  ? main
                      : fraction > 0 ? clamp(main * clamp(ratio, 0.05, 1.5), 0.05, 12)
                                     : 0;
    draw_ellipticity(rng, DISK_ELLIPTICITY, &s->disk_e1, &s->disk_e2);
    /* Bulges are rounder; their position angle is the disk's with some scatter. */
    double a, b, share = 0.5 * BULGE_ELLIPTICITY / DISK_ELLIPTICITY;
    draw_ellipticity(rng, fraction == 1 ? 1.5 * BULGE_ELLIPTICITY : BULGE_ELLIPTICITY, &a, &b);
    s->bulge_e1 = a + share * s->disk_e1;
    s->bulge_e2 = b + share * s->disk_e2;
    if (fraction == 0)
        s->bulge_e1 = s->bulge_e2 = 0;
    if (fraction == 1)
        s->disk_e1 = s->disk_e2 = 0;
    s->e1 = fraction * s->bulge_e1 + (1 - fraction) * s->disk_e1;
    s->e2 = fraction * s->bulge_e2 + (1 - fraction) * s->disk_e2;
}

/* Light of a circular profile of unit half-light radius within x; gamma(2) and gamma(8) in closed
 * form. */
static double within(int n, double x)
{
    double b = n == 1 ? 1.6783469900166605 : 7.6692494425008036;
    double z = b * pow(x, 1.0 / n), term = 1, sum = 1;
    for (int k = 1; k < 2 * n; k++) {
        term *= z / k;
        sum += term;
    }
    return 1 - exp(-z) * sum;
}

/* Half-light radius of both components, circularised, by bisection. */
static double total_radius(const sq_sim_source *s)
{
    double e = hypot(s->disk_e1, s->disk_e2), rd = s->disk_radius * sqrt((1 - e) / (1 + e));
    e = hypot(s->bulge_e1, s->bulge_e2);
    double rb = s->bulge_radius * sqrt((1 - e) / (1 + e)), f = s->bulge_fraction;
    if (f <= 0 || f >= 1)
        return f <= 0 ? rd : rb;
    double low = fmin(rd, rb), high = fmax(rd, rb);
    for (int i = 0; i < 40; i++) {
        double r = 0.5 * (low + high);
        if (f * within(4, r / rb) + (1 - f) * within(1, r / rd) < 0.5)
            low = r;
        else
            high = r;
    }
    return 0.5 * (low + high);
}

void sim_draw_source(const sim_scene *scene, sq_rng *rng, int star, sq_sim_source *s)
{
    const sq_sim_optical_config *c = scene->config;
    double v[VARIABLES], mag[6];
    double r = draw_magnitude(c, star, rng), model = clamp(r, star ? 14.5 : 18.5, 27.5);
    s->star = star;
    s->r = r;
    if (star)
        draw_mixture(star_mixture, STAR_COMPONENTS, STAR_DIMENSION - 1, model, rng, v);
    else
        draw_mixture(galaxy_mixture, GALAXY_COMPONENTS, GALAXY_DIMENSION - 1, model, rng, v);
    mag[2] = r;
    mag[1] = r + clamp(v[1], -0.8, 3);
    mag[0] = mag[1] + clamp(v[0], -0.8, 4);
    for (int b = 3; b < 6; b++)
        mag[b] = mag[b - 1] - clamp(v[b - 1], -1, 3);
    for (int b = 0; b < scene->nband; b++)
        s->flux[b] = sim_flux(mag[b]);
    if (star)
        return;
    /* Brighter than the sample: larger as the flux's square root. */
    draw_galaxy(r, v[1], v[5] + 0.2 * M_LN10 * (model - r), rng, s);
    s->radius = total_radius(s);
}
