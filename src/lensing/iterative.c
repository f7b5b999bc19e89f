#include "lensing/iterative.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

enum { ROUNDS = 50 };

typedef struct grid {
    const sq_flat *flat;
    sq_fft *fft;
    int columns, lmax;
    int64_t pixels, modes;
    double *ly, *lx, *map[2], *sum[3], *power;
    double _Complex *work;
} grid;

static void drop(grid *g)
{
    sq_fft_destroy(g->fft);
    sq_free(g->ly);
    sq_free(g->lx);
    sq_free(g->work);
    sq_free(g->power);
    for (int i = 0; i < 2; i++)
        sq_free(g->map[i]);
    for (int i = 0; i < 3; i++)
        sq_free(g->sum[i]);
}

static sq_status make(const sq_flat *flat, int lmax, grid *g)
{
    sq_status rc = SQ_OK;
    *g = (grid){.flat = flat,
                .columns = flat->nx / 2 + 1,
                .lmax = lmax,
                .pixels = sq_flat_pixels(flat),
                .modes = sq_flat_modes(flat)};
    SQ_TRY(sq_fft_create(flat->ny, flat->nx, &g->fft));
    SQ_TRY(SQ_ALLOC(g->ly, flat->ny, "wave numbers"));
    SQ_TRY(SQ_ALLOC(g->lx, g->columns, "wave numbers"));
    SQ_TRY(SQ_ALLOC(g->work, g->modes, "modes"));
    SQ_TRY(SQ_ALLOC(g->power, g->modes, "power"));
    for (int i = 0; i < 2; i++)
        SQ_TRY(SQ_ALLOC(g->map[i], g->pixels, "map"));
    for (int i = 0; i < 3; i++)
        SQ_TRY(SQ_ALLOC(g->sum[i], g->pixels, "map"));
    sq_flat_axes(flat, g->ly, g->lx);
cleanup:
    return rc;
}

/* turn 0: 1, 1: cos 4 phi, 2: sin 4 phi. */
static double angle(int turn, double y, double x)
{
    double phi = turn ? 4 * atan2(y, x) : 0;
    return turn == 2 ? sin(phi) : turn == 1 ? cos(phi) : 1;
}

/* FT^-1 of l_i l_j times a power times an angle; pair 0: xx, 1: xy, 2: yy. */
static void transform(grid *g, const double *table, int pair, int turn, double *out)
{
    for (int v = 0; v < g->flat->ny; v++) {
        for (int u = 0; u < g->columns; u++) {
            double y = g->ly[v], x = g->lx[u], l = hypot(x, y);
            double ll = pair == 0 ? x * x : pair == 1 ? x * y : y * y;
            double value = l >= 2 && l <= g->lmax ? sq_table_at(table, g->lmax, l) : 0;
            g->work[(int64_t)v * g->columns + u] = ll * value * angle(turn, y, x);
        }
    }
    sq_fft_backward(g->fft, g->work, out);
}

/* Means over rings one fundamental mode wide, linear between their centres. */
static sq_status to_table(const grid *g, double *table)
{
    sq_status rc = SQ_OK;
    double width = 2 * M_PI / fmin(g->flat->nx * g->flat->dx, g->flat->ny * g->flat->dy);
    int count = (int)(g->lmax / width) + 2;
    double *sum = NULL, *weight = NULL;
    SQ_TRY(SQ_ALLOC(sum, count + 1, "rings"));
    SQ_TRY(SQ_ALLOC(weight, count + 1, "rings"));
    for (int v = 0; v < g->flat->ny; v++) {
        for (int u = 0; u < g->columns; u++) {
            int ring = (int)(hypot(g->ly[v], g->lx[u]) / width + 0.5);
            if (ring < 1 || ring > count)
                continue;
            sum[ring] += g->power[(int64_t)v * g->columns + u] * sq_flat_weight(g->flat, u);
            weight[ring] += sq_flat_weight(g->flat, u);
        }
    }
    for (int r = 1; r <= count; r++)
        sum[r] = weight[r] > 0 ? sum[r] / weight[r] : sum[r - 1];
    sum[0] = sum[1];
    for (int l = 0; l <= g->lmax; l++) {
        double x = l / width;
        int r = (int)x;
        table[l] = l < 2 ? 0 : sum[r] + (x - r) * (sum[r + 1] - sum[r]);
    }
cleanup:
    sq_free(sum);
    sq_free(weight);
    return rc;
}

static sq_status lensing_bb(grid *g, const double *e, const double *p, double *bb)
{
    double scale = 1 / (g->flat->dx * g->flat->dy);
    memset(g->power, 0, (size_t)g->modes * sizeof *g->power);
    for (int turn = 0; turn < 3; turn++)
        memset(g->sum[turn], 0, (size_t)g->pixels * sizeof *g->sum[turn]);
    for (int pair = 0; pair < 3; pair++) {
        transform(g, p, pair, 0, g->map[1]);
        for (int turn = 0; turn < 3; turn++) {
            transform(g, e, pair, turn, g->map[0]);
            for (int64_t k = 0; k < g->pixels; k++)
                g->sum[turn][k] += (pair == 1 ? 2 : 1) * g->map[0][k] * g->map[1][k];
        }
    }
    for (int turn = 0; turn < 3; turn++) {
        sq_fft_forward(g->fft, g->sum[turn], g->work);
        for (int v = 0; v < g->flat->ny; v++) {
            for (int u = 0; u < g->columns; u++) {
                int64_t k = (int64_t)v * g->columns + u;
                g->power[k] += (turn ? -0.5 : 0.5) * scale * angle(turn, g->ly[v], g->lx[u]) *
                               creal(g->work[k]);
            }
        }
    }
    return to_table(g, bb);
}

sq_status sq_lensing_bb(const sq_flat *flat, int lmax, const double *e, const double *p, double *bb)
{
    sq_status rc = SQ_OK;
    grid g;
    SQ_TRY(make(flat, lmax, &g));
    SQ_TRY(lensing_bb(&g, e, p, bb));
cleanup:
    drop(&g);
    return rc;
}

/* N0 of phi as a table, from that of kappa at the modes in g->power. */
static sq_status phi_noise(grid *g, const double *n0, double *table)
{
    for (int64_t k = 0; k < g->modes; k++)
        g->power[k] = isfinite(n0[k]) ? 1 / n0[k] : 0;
    sq_status rc = to_table(g, table);
    for (int l = 2; l <= g->lmax; l++)
        table[l] = table[l] > 0 ? 4 / (table[l] * pow((double)l * l, 2)) : INFINITY;
    return rc;
}

sq_status sq_iterative_n0(const sq_flat *flat, int lmin, int lmax, const sq_qe_spectra *spectra,
                          const double *bb, const double *phi, int phi_lmin, double *n0,
                          double *residual)
{
    sq_status rc = SQ_OK;
    grid g;
    sq_quadratic *q = NULL;
    double *e = NULL, *p = NULL, *total = NULL, *left = NULL, *noise = NULL;
    double change = 1, before = 0;
    double **all[] = {&e, &p, &total, &left, &noise};
    sq_qe_spectra s = *spectra;
    SQ_TRY(make(flat, lmax, &g));
    for (int i = 0; i < 5; i++)
        SQ_TRY(sq_alloc(all[i], (size_t)lmax + 1, sizeof(double), "spectrum"));
    for (int l = lmin; l <= lmax; l++)
        e[l] = spectra->weight_ee[l] * spectra->weight_ee[l] / spectra->total_ee[l];
    memcpy(total, spectra->total_bb, ((size_t)lmax + 1) * sizeof *total);
    s.total_bb = total;
    for (int round = 0; round < ROUNDS && change > 1e-4; round++) {
        SQ_TRY(sq_quadratic_create(flat, lmin, lmax, &s, &q));
        SQ_TRY(sq_quadratic_n0(q, SQ_QE_EB, n0));
        sq_quadratic_destroy(q);
        q = NULL;
        SQ_TRY(phi_noise(&g, n0, noise));
        for (int l = 2; l <= lmax; l++)
            p[l] = l >= phi_lmin && isfinite(noise[l]) ? phi[l] * phi[l] / (phi[l] + noise[l]) : 0;
        SQ_TRY(lensing_bb(&g, e, p, left));
        double sum = 0;
        for (int l = 2; l <= lmax; l++) {
            left[l] = fmax(0, bb[l] - left[l]);
            total[l] = spectra->total_bb[l] - bb[l] + left[l];
            sum += noise[l] > 0 && isfinite(noise[l]) ? log(noise[l]) : 0;
        }
        change = round ? fabs(sum - before) / lmax : 1;
        before = sum;
    }
    if (change > 1e-4)
        rc = sq_fail(SQ_ERR_DATA, "lensing: the iterative noise does not settle");
    if (residual)
        memcpy(residual, left, ((size_t)lmax + 1) * sizeof *left);
cleanup:
    for (int i = 0; i < 5; i++)
        sq_free(*all[i]);
    sq_quadratic_destroy(q);
    drop(&g);
    return rc;
}
