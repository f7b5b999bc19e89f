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

void sim_add_gaussian(float *plane, int64_t x0, int64_t y0, int nx, int ny, double x, double y,
                      double flux, double cxx, double cxy, double cyy, double cut, double reach)
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

/* A profile of half-light radius (major axis, pixels) and ellipticity, convolved with the PSF. */
static void add_profile(const sim_scene *scene, int band, const sim_shape *psf_shape, double x,
                        double y, double flux, double radius, double e1, double e2, int count,
                        const double *part, const double *variance, float *plane, int64_t x0,
                        int64_t y0, int nx, int ny)
{
    const sim_band *b = &scene->band[band];
    double e = sqrt(e1 * e1 + e2 * e2), q = (1 - e) / (1 + e);
    double f = radius * radius * q / (1 - e * e);
    double xx = f * (1 + e * e + 2 * e1), xy = f * 2 * e2, yy = f * (1 + e * e - 2 * e1);
    for (int k = 0; k < b->psf.count; k++) {
        double v = b->psf.variance[k], held = 0, moment = 0;
        for (int j = 0; j < count; j++) {
            /* Components much narrower than the PSF's act as one of their mean variance. */
            held += part[j];
            moment += part[j] * variance[j];
            double next = j + 1 < count ? variance[j + 1] * radius * radius : INFINITY;
            if (next < 0.01 * v)
                continue;
            double w = moment / held;
            sim_add_gaussian(plane, x0, y0, nx, ny, x, y, flux * b->psf.flux[k] * held,
                             v * psf_shape->xx + w * xx, v * psf_shape->xy + w * xy,
                             v * psf_shape->yy + w * yy, b->cut, scene->margin);
            held = moment = 0;
        }
    }
}

void sim_add_source(const sim_scene *scene, int band, const sq_sim_source *s, float *plane,
                    int64_t x0, int64_t y0, int nx, int ny)
{
    double reach = scene->margin + LANES;
    if (s->x < x0 - reach || s->x > x0 + nx + reach || s->y < y0 - reach || s->y > y0 + ny + reach)
        return;
    const sim_band *b = &scene->band[band];
    sim_shape shape;
    double u, v;
    sim_field(scene, s->x, s->y, &u, &v);
    sim_psf_at(&b->psf, u, v, &shape);
    if (s->star) {
        for (int k = 0; k < b->psf.count; k++) {
            double c = b->psf.variance[k];
            sim_add_gaussian(plane, x0, y0, nx, ny, s->x, s->y, s->flux[band] * b->psf.flux[k],
                             c * shape.xx, c * shape.xy, c * shape.yy, b->cut, scene->margin);
        }
        return;
    }
    double bulge = s->flux[band] * s->bulge_fraction, disk = s->flux[band] - bulge;
    if (disk > 0)
        add_profile(scene, band, &shape, s->x, s->y, disk, s->disk_radius / scene->scale,
                    s->disk_e1, s->disk_e2, DISK_COUNT, disk_flux, disk_variance, plane, x0, y0, nx,
                    ny);
    if (bulge > 0)
        add_profile(scene, band, &shape, s->x, s->y, bulge, s->bulge_radius / scene->scale,
                    s->bulge_e1, s->bulge_e2, BULGE_COUNT, bulge_flux, bulge_variance, plane, x0,
                    y0, nx, ny);
}
