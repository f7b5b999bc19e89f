#include "clusters/mass.h"

#include <math.h>

#include "base/mem.h"
#include "sim/halo.h"

enum { GRID = 96, SCATTER = 17 };
static const double LOWEST = 1e13, HIGHEST = 5e15, PIVOT = 3e14;

struct cluster_masses {
    const cluster_settings *settings;
    sq_cosmology *cosmology;
    double ln_mass[GRID], ln_y0[GRID], theta[GRID], prior[GRID];
    double node[SCATTER], weight[SCATTER]; /* of a standard normal */
};

void cluster_truth(const cluster_masses *m, double m500, double z, double *y0, double *theta)
{
    const cluster_settings *s = m->settings;
    sq_overdensity d = {SQ_CRITICAL, 500};
    *y0 = s->amplitude * pow(sq_cosmology_e(m->cosmology, z), 2) * pow(m500 / PIVOT, s->slope);
    *theta = sq_halo_radius(m->cosmology, z, m500, d) / sq_cosmology_angular(m->cosmology, z);
}

sq_status cluster_masses_create(const cluster_settings *settings, cluster_masses **out)
{
    sq_status rc = SQ_OK;
    cluster_masses *m = NULL;
    sq_cosmology_parameters parameters = sq_cosmology_sehgal();
    sq_overdensity d = {SQ_CRITICAL, 500};
    double z = settings->redshift, sum = 0;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(m, 1, "masses"));
    m->settings = settings;
    SQ_TRY(sq_cosmology_create(&parameters, &m->cosmology));
    for (int i = 0; i < GRID; i++) {
        double mass = LOWEST * pow(HIGHEST / LOWEST, (double)i / (GRID - 1)), y0;
        cluster_truth(m, mass, z, &y0, &m->theta[i]);
        m->ln_mass[i] = log(mass);
        m->ln_y0[i] = log(y0);
        m->prior[i] = sq_halo_mass_function(m->cosmology, z, mass, d);
    }
    for (int k = 0; k < SCATTER; k++) {
        m->node[k] = 8.0 * k / (SCATTER - 1) - 4;
        m->weight[k] = exp(-0.5 * m->node[k] * m->node[k]);
        sum += m->weight[k];
    }
    for (int k = 0; k < SCATTER; k++)
        m->weight[k] /= sum;
    *out = m;
    m = NULL;
cleanup:
    cluster_masses_destroy(m);
    return rc;
}

void cluster_masses_destroy(cluster_masses *m)
{
    if (!m)
        return;
    sq_cosmology_destroy(m->cosmology);
    sq_free(m);
}

void cluster_mass(const cluster_masses *m, const cluster_patch *patch, double y0, double error,
                  double *ln_mass, double *ln_error)
{
    double sum = 0, first = 0, second = 0;
    for (int i = 0; i < GRID; i++) {
        double response = cluster_patch_response(patch, m->theta[i]), likelihood = 0;
        for (int k = 0; k < SCATTER; k++) {
            double y = response * exp(m->ln_y0[i] + m->settings->scatter * m->node[k]);
            likelihood += m->weight[k] * exp(-0.5 * pow((y0 - y) / error, 2));
        }
        double w = m->prior[i] * likelihood;
        sum += w;
        first += w * m->ln_mass[i];
        second += w * m->ln_mass[i] * m->ln_mass[i];
    }
    *ln_mass = sum > 0 ? first / sum : NAN;
    *ln_error = sum > 0 ? sqrt(fmax(0, second / sum - *ln_mass * *ln_mass)) : NAN;
}

/* Between scales linear in ln theta, beyond them the last. */
static double noise_at(int n, const double *theta, const float *sigma, double at)
{
    int i = 0;
    while (i < n - 2 && theta[i + 1] < at)
        i++;
    double t = log(at / theta[i]) / log(theta[i + 1] / theta[i]);
    t = fmin(fmax(t, 0), 1);
    return exp((1 - t) * log(sigma[i]) + t * log(sigma[i + 1]));
}

sq_status cluster_count(const cluster_masses *m,
                        void (*count)(void *to, double y0, double theta, double number), void *to)
{
    enum { REDSHIFTS = 60 };
    static const double STEP = 0.05;
    sq_status rc = SQ_OK;
    sq_gas_model model = (sq_gas_model)m->settings->gas;
    int arnaud = model == SQ_GAS_ARNAUD;
    sq_overdensity mean = {SQ_MEAN, 200}, critical = {SQ_CRITICAL, arnaud ? 500 : 200};
    sq_gas like, gas;
    SQ_TRY((arnaud ? sq_gas_arnaud : sq_gas_battaglia)(m->cosmology, 0.5, PIVOT, &like));
    for (int j = 0; j < REDSHIFTS; j++) {
        double z = STEP * (j + 0.5), volume = sq_cosmology_volume(m->cosmology, z) * STEP;
        for (int i = 0; i < GRID; i++) {
            double mass = exp(m->ln_mass[i]),
                   number = volume * (m->ln_mass[1] - m->ln_mass[0]) *
                            sq_halo_mass_function(m->cosmology, z, mass, mean);
            mass = sq_halo_convert(m->cosmology, z, mass, mean, critical);
            SQ_TRY(sq_gas_rescale(m->cosmology, model, z, mass, &like, &gas));
            for (int k = 0; k < SCATTER; k++)
                count(to, gas.y0 * exp(m->settings->scatter * m->node[k]), gas.theta_s,
                      number * m->weight[k]);
        }
    }
cleanup:
    return rc;
}

double cluster_completeness(const cluster_masses *m, double m500, double z, int n,
                            const double *theta, const float *sigma, double threshold)
{
    double y0, size, sum = 0;
    cluster_truth(m, m500, z, &y0, &size);
    double noise = noise_at(n, theta, sigma, size);
    for (int k = 0; k < SCATTER; k++) {
        double q = y0 * exp(m->settings->scatter * m->node[k]) / noise;
        sum += m->weight[k] * 0.5 * erfc((threshold - sqrt(q * q + 3)) / M_SQRT2);
    }
    return sum;
}
