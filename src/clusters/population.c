#include "clusters/population.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

/* ln y0 from 1e-7 to 0.3. */
enum { LEVELS = 300 };
static const double LOWEST = 1e-7, STEP = 0.05;
/* Of the signal: chosen on simulated validation skies so that 68% of clusters of every S/N lie
 * within one error. */
static const double SIZE_MISFIT = 0.3, Y0_MISFIT = 0.05;
/* Share of the prior that is even over scales and ln y0: for clusters that no formula foresees. */
static const double EVEN = 1e-4;
static const double REACH = 5; /* of errors around the best y0 */

struct cluster_population {
    int nscale;
    double ln_theta[CLUSTER_SCALES_MAX], y0[LEVELS];
    double prior[CLUSTER_SCALES_MAX][LEVELS]; /* per scale and step of ln y0; sum 1 */
};

/* Where x lies on an ascending grid: t of the way from *i to *i + 1, within the grid. */
static double place(int n, const double *grid, double x, int *i)
{
    for (*i = 0; *i < n - 2 && grid[*i + 1] < x;)
        ++*i;
    return fmin(fmax((x - grid[*i]) / (grid[*i + 1] - grid[*i]), 0), 1);
}

static double level_of(double y0)
{
    return fmin(fmax(log(y0 / LOWEST) / STEP, 0), LEVELS - 1.001);
}

typedef struct counts {
    cluster_population *population;
    double total;
} counts;

/* Shared out among the nearest two scales and levels. */
static void count_halo(void *to, double y0, double theta, double number)
{
    counts *c = to;
    int i, j;
    double t = place(c->population->nscale, c->population->ln_theta, log(theta), &i);
    double u = level_of(y0);
    j = (int)u;
    u -= j;
    double(*prior)[LEVELS] = c->population->prior;
    prior[i][j] += number * (1 - t) * (1 - u);
    prior[i][j + 1] += number * (1 - t) * u;
    prior[i + 1][j] += number * t * (1 - u);
    prior[i + 1][j + 1] += number * t * u;
    c->total += number;
}

sq_status cluster_population_create(const cluster_masses *masses, int n, const double *theta,
                                    cluster_population **out)
{
    sq_status rc = SQ_OK;
    cluster_population *p = NULL;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(p, 1, "prior of clusters"));
    p->nscale = n;
    for (int s = 0; s < n; s++)
        p->ln_theta[s] = log(theta[s]);
    for (int k = 0; k < LEVELS; k++)
        p->y0[k] = LOWEST * exp(k * STEP);
    counts c = {p, 0};
    SQ_TRY(cluster_count(masses, count_halo, &c));
    for (int k = 0; k < n * LEVELS; k++) {
        double *cell = &p->prior[k / LEVELS][k % LEVELS];
        *cell = *cell / c.total + EVEN / (n * LEVELS);
    }
    *out = p;
    p = NULL;
cleanup:
    cluster_population_destroy(p);
    return rc;
}

void cluster_population_destroy(cluster_population *p)
{
    sq_free(p);
}

/* Add what one scale says, in units of `scale`; gives its sum. */
static double add_scale(const cluster_population *p, int s, double q, double sigma, double scale,
                        double *posterior)
{
    double width = sqrt(1 + pow(Y0_MISFIT * q, 2)), sum = 0;
    int first = (int)ceil(level_of(fmax(q - REACH * width, 1e-3) * sigma));
    int last = (int)level_of((q + REACH * width) * sigma);
    for (int k = first; k <= last; k++) {
        double x = (p->y0[k] / sigma - q) / width;
        double w = scale / width * exp(-0.5 * x * x) * p->prior[s][k];
        posterior[k] += w;
        sum += w;
    }
    return sum;
}

/* y0 below which a share of the posterior lies; level k stands for half a step to either side. */
static double quantile(const double *posterior, double share)
{
    double sum = 0;
    int k = 0;
    while (k < LEVELS - 1 && sum + posterior[k] < share)
        sum += posterior[k++];
    double t = posterior[k] > 0 ? (share - sum) / posterior[k] : 0.5;
    return LOWEST * exp(STEP * (k - 0.5 + fmin(t, 1)));
}

void cluster_population_fit(const cluster_population *p, const double *q, const double *sigma,
                            cluster_fit *out)
{
    double posterior[LEVELS] = {0}, best = 0, sum = 0, first = 0, second = 0;
    for (int s = 0; s < p->nscale; s++)
        best = fmax(best, q[s]);
    double temper = 1 + pow(SIZE_MISFIT * best, 2);
    for (int s = 0; s < p->nscale; s++) {
        if (!(q[s] > 0))
            continue;
        double scale = exp(0.5 * (q[s] * q[s] - best * best) / temper);
        double w = add_scale(p, s, q[s], sigma[s], scale, posterior);
        sum += w;
        first += w * p->ln_theta[s];
        second += w * p->ln_theta[s] * p->ln_theta[s];
    }
    for (int k = 0; k < LEVELS; k++)
        posterior[k] /= sum;
    out->y0 = quantile(posterior, 0.5);
    out->y0_error = 0.5 * (quantile(posterior, 0.8413) - quantile(posterior, 0.1587));
    out->ln_theta = first / sum;
    out->ln_theta_err = sqrt(fmax(0, second / sum - out->ln_theta * out->ln_theta));
}
