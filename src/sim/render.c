#include <math.h>
#include <string.h>

#include "sim/sim_internal.h"
#include "sim/profile_table.inc.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

enum { LANES = 8 };
typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t lanes_i __attribute__((vector_size(4 * LANES)));

/* row[i] += peak * exp(-h * (i - centre)^2) for i in [low, high], a block of LANES pixels at a
 * time; `row` is indexed like i and may be written in [first, last); low is a multiple of LANES.
 * Elementwise operations only (no contraction, no sums over lanes), so that every instruction set
 * gives the same bits. exp by 2^n times a polynomial, 1e-7 relative. */
CLONES static void add_row(float *row, int first, int last, int low, int high, float centre,
                           float h, float peak)
{
    const lanes step = {0, 1, 2, 3, 4, 5, 6, 7}, floor_y = step * 0 - 120.0f;
    h *= -1.44269504f;
    for (int start = low; start <= high; start += LANES) {
        lanes t = ((float)start + step) - centre, y = h * (t * t);
        lanes_i under = y < floor_y;
        y = (lanes)(((lanes_i)y & ~under) | ((lanes_i)floor_y & under));
        lanes_i whole = __builtin_convertvector(y - 0.5f, lanes_i);
        lanes f = y - __builtin_convertvector(whole, lanes);
        lanes p = 1.32669704e-3f * f + 9.67545975e-3f;
        p = p * f + 5.55074262e-2f;
        p = p * f + 2.40221218e-1f;
        p = p * f + 6.93146949e-1f;
        p = p * f + 1.00000007f;
        p *= peak * (lanes)((whole + 127) << 23);
        if (start >= first && start + LANES <= last) {
            lanes old;
            memcpy(&old, row + start, sizeof old);
            old += p;
            memcpy(row + start, &old, sizeof old);
        } else {
            for (int k = 0; k < LANES; k++) {
                if (start + k >= first && start + k < last)
                    row[start + k] += p[k];
            }
        }
    }
}

CLONES void sim_add_gaussian(float *plane, int64_t x0, int64_t y0, int nx, int ny, double x,
                             double y, double flux, double cxx, double cxy, double cyy, double cut,
                             double reach)
{
    double det = cxx * cyy - cxy * cxy, peak = flux / (2 * M_PI * sqrt(det));
    if (!(peak > cut))
        return;
    /* Inside the ellipse q < level the value is above the cut. */
    double level = 2 * log(peak / cut);
    double half_y = fmin(reach, sqrt(level * cyy)), slope = cxy / cyy, narrow = det / cyy;
    int64_t ix = llround(x);
    int64_t low = (int64_t)ceil(y - half_y), high = (int64_t)floor(y + half_y);
    low = low < y0 ? y0 : low;
    high = high > y0 + ny - 1 ? y0 + ny - 1 : high;
    float h = (float)(0.5 / narrow);
    for (int64_t j = low; j <= high; j++) {
        double dy = j - y, left = level - dy * dy / cyy;
        if (left <= 0)
            continue;
        double centre = x + slope * dy, half = sqrt(left * narrow);
        int64_t a = (int64_t)ceil(fmax(centre - half, x - reach)) - ix;
        int64_t b = (int64_t)floor(fmin(centre + half, x + reach)) - ix;
        int64_t first = x0 - ix, last = first + nx;
        if (a > b)
            continue;
        /* Whole blocks, relative to the source's own pixel, so that the bits do not depend on the
         * box. */
        a &= ~(int64_t)(LANES - 1);
        b |= LANES - 1;
        if (a >= last || b < first)
            continue;
        a = a < first - LANES ? (first - LANES) & ~(int64_t)(LANES - 1) : a;
        b = b > last ? last : b;
        add_row(plane + (j - y0) * nx - first, (int)first, (int)last, (int)a, (int)b,
                (float)(centre - (double)ix), h, (float)(peak * exp(-0.5 * dy * dy / cyy)));
    }
}

/* Where a source is drawn: a box of a band, the source's place and the PSF's shape there. */
typedef struct canvas {
    const sim_band *band;
    sim_shape psf;
    double x, y, reach;
    float *plane;
    int64_t x0, y0;
    int nx, ny;
} canvas;

/* A profile as a sum of Gaussians; radius in pixels along the major axis. */
typedef struct profile {
    double flux, radius, e1, e2;
    int count;
    const double *part, *variance;
} profile;

/* A PSF component of variance v convolved with a profile component of covariance w * shape. */
static void add_pair(const canvas *c, double flux, double v, double w, const sim_shape *shape)
{
    sim_add_gaussian(c->plane, c->x0, c->y0, c->nx, c->ny, c->x, c->y, flux,
                     v * c->psf.xx + w * shape->xx, v * c->psf.xy + w * shape->xy,
                     v * c->psf.yy + w * shape->yy, c->band->cut, c->reach);
}

/* Components much narrower than what they are convolved with act as one of their mean variance:
 * those of the profile under a wide component of the PSF, those of the PSF under a wide component
 * of the profile. */
static void add_profile(const canvas *c, const profile *p)
{
    enum { MAX = 16 };
    const double narrow = 0.015;
    const sim_psf *psf = &c->band->psf;
    double e = sqrt(p->e1 * p->e1 + p->e2 * p->e2), q = (1 - e) / (1 + e);
    double f = p->radius * p->radius * q / (1 - e * e), minor = p->radius * p->radius * q * q;
    sim_shape shape = {f * (1 + e * e + 2 * p->e1), f * 2 * p->e2, f * (1 + e * e - 2 * p->e1)};
    double under[MAX] = {0}, moment_under[MAX] = {0};
    for (int k = 0; k < psf->count; k++) {
        double v = psf->variance[k], held = 0, moment = 0;
        for (int j = 0; j < p->count; j++) {
            if (v < narrow * minor * p->variance[j]) {
                under[j] += psf->flux[k];
                moment_under[j] += psf->flux[k] * v;
                continue;
            }
            held += p->part[j];
            moment += p->part[j] * p->variance[j];
            double next = j + 1 < p->count ? p->variance[j + 1] * p->radius * p->radius : INFINITY;
            if (next < narrow * v)
                continue;
            add_pair(c, p->flux * psf->flux[k] * held, v, moment / held, &shape);
            held = moment = 0;
        }
        if (held > 0)
            add_pair(c, p->flux * psf->flux[k] * held, v, moment / held, &shape);
    }
    for (int j = 0; j < p->count; j++) {
        if (under[j] > 0)
            add_pair(c, p->flux * under[j] * p->part[j], moment_under[j] / under[j], p->variance[j],
                     &shape);
    }
}

void sim_add_source(const sim_scene *scene, int band, const sq_sim_source *s, float *plane,
                    int64_t x0, int64_t y0, int nx, int ny)
{
    double reach = scene->margin + LANES, u, v;
    if (s->x < x0 - reach || s->x > x0 + nx + reach || s->y < y0 - reach || s->y > y0 + ny + reach)
        return;
    const sim_band *b = &scene->band[band];
    canvas c = {b, {0, 0, 0}, s->x, s->y, scene->margin, plane, x0, y0, nx, ny};
    sim_field(scene, s->x, s->y, &u, &v);
    sim_psf_at(&b->psf, u, v, &c.psf);
    if (s->star) {
        const sim_shape point = {0, 0, 0};
        for (int k = 0; k < b->psf.count; k++)
            add_pair(&c, s->flux[band] * b->psf.flux[k], b->psf.variance[k], 0, &point);
        return;
    }
    double bulge = s->flux[band] * s->bulge_fraction, disk = s->flux[band] - bulge;
    const profile both[2] = {{disk, s->disk_radius / scene->scale, s->disk_e1, s->disk_e2,
                              DISK_COUNT, disk_flux, disk_variance},
                             {bulge, s->bulge_radius / scene->scale, s->bulge_e1, s->bulge_e2,
                              BULGE_COUNT, bulge_flux, bulge_variance}};
    for (int k = 0; k < 2; k++) {
        if (both[k].flux > 0)
            add_profile(&c, &both[k]);
    }
}
