#include "sky/resample.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

enum { REACH = 3, TAPS = 2 * REACH, STEP_FIRST = 32, STEP_LAST = 4, TABLE = 1024 };

/* Largest error of the bilinear map in source pixels before its nodes move closer. */
static const double map_tolerance = 1e-3;

/* Elementwise loops only: the clones differ in width, not in the order of any sum. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDE
#endif

struct sq_grid_map {
    int nx, ny, step;
    int nodes_x, nodes_y;
    double *x, *y; /* source position of each node */
};

/* ---- the map ---- */

static sq_status fill_nodes(const sq_wcs *from, const sq_wcs *to, int64_t x0, int64_t y0,
                            sq_grid_map *m)
{
    sq_status rc = SQ_OK;
    size_t n = (size_t)m->nodes_x * m->nodes_y;
    double *ra = NULL, *dec = NULL;
    SQ_TRY(SQ_ALLOC(ra, n, "grid map"));
    SQ_TRY(SQ_ALLOC(dec, n, "grid map"));
    SQ_TRY(SQ_ALLOC(m->x, n, "grid map"));
    SQ_TRY(SQ_ALLOC(m->y, n, "grid map"));
    for (size_t k = 0; k < n; k++) {
        m->x[k] = (double)x0 + (double)(k % (size_t)m->nodes_x) * m->step;
        m->y[k] = (double)y0 + (double)(k / (size_t)m->nodes_x) * m->step;
    }
    SQ_TRY(sq_wcs_pix2sky(to, n, m->x, m->y, ra, dec));
    SQ_TRY(sq_wcs_sky2pix(from, n, ra, dec, m->x, m->y));
cleanup:
    sq_free(ra);
    sq_free(dec);
    return rc;
}

/* A node against the middle of its neighbours two steps apart: four times the error between nodes.
 */
static double curvature(const sq_grid_map *m)
{
    double worst = 0;
    for (int j = 0; j < m->nodes_y; j++) {
        for (int i = 0; i < m->nodes_x; i++) {
            size_t k = (size_t)j * m->nodes_x + i, up = (size_t)m->nodes_x;
            if (i > 0 && i + 1 < m->nodes_x) {
                worst = fmax(worst, fabs(m->x[k] - 0.5 * (m->x[k - 1] + m->x[k + 1])));
                worst = fmax(worst, fabs(m->y[k] - 0.5 * (m->y[k - 1] + m->y[k + 1])));
            }
            if (j > 0 && j + 1 < m->nodes_y) {
                worst = fmax(worst, fabs(m->x[k] - 0.5 * (m->x[k - up] + m->x[k + up])));
                worst = fmax(worst, fabs(m->y[k] - 0.5 * (m->y[k - up] + m->y[k + up])));
            }
        }
    }
    return worst / 4;
}

sq_status sq_grid_map_create(const sq_wcs *from, const sq_wcs *to, int64_t x0, int64_t y0, int nx,
                             int ny, sq_grid_map **out)
{
    sq_status rc = SQ_OK;
    sq_grid_map *m = NULL;
    *out = NULL;
    if (nx < 1 || ny < 1)
        return sq_fail(SQ_ERR_USAGE, "grid map of %d x %d pixels", nx, ny);
    for (int step = STEP_FIRST;; step /= 2) {
        SQ_TRY(SQ_ALLOC(m, 1, "grid map"));
        m->nx = nx;
        m->ny = ny;
        m->step = step;
        /* One node beyond the last pixel, and three at least to measure a curvature. */
        m->nodes_x = (nx - 1) / step + 2 > 3 ? (nx - 1) / step + 2 : 3;
        m->nodes_y = (ny - 1) / step + 2 > 3 ? (ny - 1) / step + 2 : 3;
        SQ_TRY(fill_nodes(from, to, x0, y0, m));
        if (step <= STEP_LAST || curvature(m) < map_tolerance)
            break;
        sq_grid_map_destroy(m);
        m = NULL;
    }
    *out = m;
    m = NULL;
cleanup:
    sq_grid_map_destroy(m);
    return rc;
}

void sq_grid_map_destroy(sq_grid_map *m)
{
    if (!m)
        return;
    sq_free(m->x);
    sq_free(m->y);
    sq_free(m);
}

/* The cell of nodes around a pixel, and the place in it. */
static size_t cell(const sq_grid_map *m, double i, double j, double *u, double *v)
{
    int ci = (int)floor(i / m->step), cj = (int)floor(j / m->step);
    ci = ci < 0 ? 0 : ci > m->nodes_x - 2 ? m->nodes_x - 2 : ci;
    cj = cj < 0 ? 0 : cj > m->nodes_y - 2 ? m->nodes_y - 2 : cj;
    *u = i / m->step - ci;
    *v = j / m->step - cj;
    return (size_t)cj * m->nodes_x + ci;
}

static double blend(const double *p, size_t up, double u, double v)
{
    double low = p[0] + u * (p[1] - p[0]), high = p[up] + u * (p[up + 1] - p[up]);
    return low + v * (high - low);
}

void sq_grid_map_at(const sq_grid_map *m, double i, double j, double *x, double *y, double *area)
{
    double u, v;
    size_t k = cell(m, i, j, &u, &v), up = (size_t)m->nodes_x;
    const double *px = m->x + k, *py = m->y + k;
    *x = blend(px, up, u, v);
    *y = blend(py, up, u, v);
    if (!area)
        return;
    double xi = (1 - v) * (px[1] - px[0]) + v * (px[up + 1] - px[up]);
    double xj = (1 - u) * (px[up] - px[0]) + u * (px[up + 1] - px[1]);
    double yi = (1 - v) * (py[1] - py[0]) + v * (py[up + 1] - py[up]);
    double yj = (1 - u) * (py[up] - py[0]) + u * (py[up + 1] - py[1]);
    *area = fabs(xi * yj - xj * yi) / ((double)m->step * m->step);
}

/* The same operations as above in their order, a cell of nodes after the other. */
WIDE void sq_grid_map_row(const sq_grid_map *m, int j, double *restrict x, double *restrict y,
                          double *restrict area)
{
    double first, v, square = (double)m->step * m->step;
    size_t k = cell(m, 0, j, &first, &v), up = (size_t)m->nodes_x;
    for (int from = 0; from < m->nx; from += m->step, k++) {
        int to = from + m->step < m->nx ? from + m->step : m->nx;
        const double *px = m->x + k, *py = m->y + k;
        double x00 = px[0], x01 = px[1], x10 = px[up], x11 = px[up + 1];
        double y00 = py[0], y01 = py[1], y10 = py[up], y11 = py[up + 1];
        double xi = (1 - v) * (x01 - x00) + v * (x11 - x10);
        double yi = (1 - v) * (y01 - y00) + v * (y11 - y10);
        for (int i = from; i < to; i++) {
            double u = (double)(i - from) / m->step;
            double low = x00 + u * (x01 - x00), high = x10 + u * (x11 - x10);
            x[i] = low + v * (high - low);
            low = y00 + u * (y01 - y00);
            high = y10 + u * (y11 - y10);
            y[i] = low + v * (high - low);
            double xj = (1 - u) * (x10 - x00) + u * (x11 - x01);
            double yj = (1 - u) * (y10 - y00) + u * (y11 - y01);
            area[i] = fabs(xi * yj - xj * yi) / square;
        }
    }
}

/* Widen a box by a position; NaN widens nothing. */
static void widen(double box[4], double x, double y)
{
    box[0] = fmin(box[0], isnan(y) ? NAN : x);
    box[1] = fmin(box[1], isnan(x) ? NAN : y);
    box[2] = fmax(box[2], isnan(y) ? NAN : x);
    box[3] = fmax(box[3], isnan(x) ? NAN : y);
}

void sq_grid_map_bounds(const sq_grid_map *m, int64_t *x0, int64_t *y0, int64_t *x1, int64_t *y1)
{
    double box[4] = {INFINITY, INFINITY, -INFINITY, -INFINITY}, x, y;
    /* Every pixel of the border, and a grid inside for maps that lose part of the border. */
    for (int j = 0; j < m->ny; j++) {
        int border = j == 0 || j == m->ny - 1 || j % m->step == 0;
        for (int i = 0; i < m->nx; i += border || i == m->nx - 1 ? 1 : m->nx - 1) {
            sq_grid_map_at(m, i, j, &x, &y, NULL);
            widen(box, x, y);
        }
    }
    *x0 = *y0 = *x1 = *y1 = 0;
    if (!(box[0] <= box[2]) || box[0] < -1e15 || box[1] < -1e15 || box[2] > 1e15 || box[3] > 1e15)
        return;
    *x0 = (int64_t)floor(box[0]) - REACH + 1;
    *y0 = (int64_t)floor(box[1]) - REACH + 1;
    *x1 = (int64_t)floor(box[2]) + REACH + 1;
    *y1 = (int64_t)floor(box[3]) + REACH + 1;
}

/* ---- the kernel ---- */

static double lanczos(double t)
{
    double a = fabs(t) * M_PI;
    if (a < 1e-9)
        return 1;
    return fabs(t) >= REACH ? 0 : REACH * sin(a) * sin(a / REACH) / (a * a);
}

/* Weights of the taps floor(x) - 2 .. floor(x) + 3 for the fraction f of x. The sum is one, and the
 * two middle taps take up the kernel's first moment (0.02 pixels at most): a centroid stays in
 * place. */
static void kernel(double f, double w[TAPS])
{
    double sum = 0, moment = 0;
    for (int k = 0; k < TAPS; k++)
        sum += w[k] = lanczos(f - (k - REACH + 1));
    for (int k = 0; k < TAPS; k++) {
        w[k] /= sum;
        moment += w[k] * (k - REACH + 1 - f);
    }
    w[REACH - 1] += moment;
    w[REACH] -= moment;
}

/* The same from a table, linear between its rows, which are 1/1024 pixel apart (error below 1e-6).
 */
typedef struct kernel_table {
    double w[TABLE + 2][TAPS];
} kernel_table;

static void fill_table(kernel_table *t)
{
    for (int k = 0; k <= TABLE + 1; k++)
        kernel((double)k / TABLE, t->w[k]);
}

static void look_up(const kernel_table *t, double f, double w[TAPS])
{
    int k = (int)(f * TABLE);
    double g = f * TABLE - k;
    for (int i = 0; i < TAPS; i++)
        w[i] = t->w[k][i] + g * (t->w[k + 1][i] - t->w[k][i]);
}

/* ---- resampling ---- */

typedef struct source {
    int64_t x0, y0;
    int nx, ny;
    const float *image, *variance;
    const uint32_t *mask;
    uint32_t bad;
} source;

typedef struct result {
    double image, variance, noise;
    uint32_t mask;
    int good;
} result;

/* The bits of the 2 x 2 pixels under the kernel's core (one along an axis without a shift); `good`
 * only when all of them have a value. */
static void look_at_core(const source *s, int64_t x, int64_t y, int wide, int high, result *r)
{
    for (int64_t j = y; j <= y + high; j++) {
        for (int64_t i = x; i <= x + wide; i++) {
            if (i < 0 || j < 0 || i >= s->nx || j >= s->ny) {
                r->mask |= s->bad;
                r->good = 0;
                continue;
            }
            size_t k = (size_t)j * s->nx + i;
            uint32_t bits = s->mask ? s->mask[k] : 0;
            if (isnan(s->image[k])) {
                bits = bits ? bits : s->bad;
                r->good = 0;
            }
            r->mask |= bits;
        }
    }
}

/* All taps have values: a product of two one-dimensional sums. Returns 0 when one is missing. */
static int convolve(const source *s, int64_t x, int64_t y, const double *wx, const double *wy,
                    result *r)
{
    double sum = 0, variance = 0, column[TAPS] = {0}, spread[TAPS] = {0};
    if (x < 0 || y < 0 || x + TAPS > s->nx || y + TAPS > s->ny)
        return 0;
    for (int j = 0; j < TAPS; j++) {
        const float *row = s->image + (size_t)(y + j) * s->nx + x;
        for (int i = 0; i < TAPS; i++)
            column[i] += wy[j] * row[i];
    }
    for (int i = 0; i < TAPS; i++)
        sum += wx[i] * column[i];
    if (isnan(sum))
        return 0;
    double square_x = 0, square_y = 0;
    for (int i = 0; i < TAPS; i++) {
        square_x += wx[i] * wx[i];
        square_y += wy[i] * wy[i];
    }
    for (int j = 0; s->variance && j < TAPS; j++) {
        const float *row = s->variance + (size_t)(y + j) * s->nx + x;
        double w = wy[j] * wy[j];
        for (int i = 0; i < TAPS; i++)
            spread[i] += w * row[i];
    }
    for (int i = 0; i < TAPS; i++)
        variance += wx[i] * wx[i] * spread[i];
    r->image = sum;
    r->variance = variance;
    r->noise = square_x * square_y;
    return 1;
}

/* Missing taps outside the core: the others are scaled to unit sum. */
static void convolve_gaps(const source *s, int64_t x, int64_t y, const double *wx, const double *wy,
                          result *r)
{
    double sum = 0, weight = 0, variance = 0, noise = 0;
    for (int j = 0; j < TAPS; j++) {
        for (int i = 0; i < TAPS; i++) {
            int64_t sx = x + i, sy = y + j;
            if (sx < 0 || sy < 0 || sx >= s->nx || sy >= s->ny)
                continue;
            size_t k = (size_t)sy * s->nx + sx;
            double w = wx[i] * wy[j];
            if (isnan(s->image[k]))
                continue;
            weight += w;
            sum += w * s->image[k];
            noise += w * w;
            variance += s->variance ? w * w * s->variance[k] : 0;
        }
    }
    if (weight < 0.5) {
        r->good = 0;
        r->mask |= s->bad;
        return;
    }
    r->image = sum / weight;
    r->variance = variance / (weight * weight);
    r->noise = noise / (weight * weight);
}

/* A pixel that lies exactly on a source pixel needs no neighbour. */
static double settle(double f)
{
    return f < 1e-6 ? 0 : f;
}

static void resample_pixel(const kernel_table *table, const source *s, double x, double y,
                           double area, result *r)
{
    double wx[TAPS], wy[TAPS];
    *r = (result){.good = 1};
    if (!(fabs(x) < 1e15 && fabs(y) < 1e15 && area > 0)) {
        r->good = 0;
        r->mask = s->bad;
        return;
    }
    int64_t bx = (int64_t)floor(x + 1e-6), by = (int64_t)floor(y + 1e-6);
    double fx = settle(x - (double)bx), fy = settle(y - (double)by);
    bx -= s->x0;
    by -= s->y0;
    if (fx == 0 && fy == 0 && bx >= 0 && by >= 0 && bx < s->nx && by < s->ny) {
        size_t k = (size_t)by * s->nx + bx;
        r->good = !isnan(s->image[k]);
        r->mask = s->mask ? s->mask[k] : 0;
        if (!r->good && !r->mask)
            r->mask = s->bad;
        r->image = s->image[k] * area;
        r->variance = s->variance ? s->variance[k] * area * area : 0;
        r->noise = area * area;
        return;
    }
    look_at_core(s, bx, by, fx > 0, fy > 0, r);
    if (!r->good)
        return;
    look_up(table, fx, wx);
    look_up(table, fy, wy);
    if (!convolve(s, bx - REACH + 1, by - REACH + 1, wx, wy, r))
        convolve_gaps(s, bx - REACH + 1, by - REACH + 1, wx, wy, r);
    r->image *= area;
    r->variance *= area * area;
    r->noise *= area * area;
}

sq_status sq_resample_noise_plane(const sq_grid_map *map, int64_t sx0, int64_t sy0, int snx,
                                  int sny, const float *image, const float *variance,
                                  const uint32_t *mask, uint32_t bad, float *out_image,
                                  float *out_variance, uint32_t *out_mask, float *out_noise)
{
    sq_status rc = SQ_OK;
    kernel_table *table = NULL;
    double *at = NULL;
    source s = {sx0, sy0, snx, sny, image, variance, mask, bad};
    if (snx < 0 || sny < 0)
        return sq_fail(SQ_ERR_USAGE, "resampling a box of %d x %d pixels", snx, sny);
    SQ_TRY(SQ_ALLOC(table, 1, "kernel table"));
    fill_table(table);
    SQ_TRY(SQ_ALLOC(at, 3 * (size_t)map->nx, "grid map"));
    double *x = at, *y = at + map->nx, *area = y + map->nx;
    for (int j = 0; j < map->ny; j++) {
        sq_grid_map_row(map, j, x, y, area);
        for (int i = 0; i < map->nx; i++) {
            size_t k = (size_t)j * map->nx + i;
            result r;
            resample_pixel(table, &s, x[i], y[i], area[i], &r);
            out_image[k] = r.good ? (float)r.image : 0;
            if (out_variance)
                out_variance[k] = r.good ? (float)r.variance : INFINITY;
            if (out_mask)
                out_mask[k] = r.mask;
            if (out_noise)
                out_noise[k] = r.good ? (float)r.noise : 0;
        }
    }
cleanup:
    sq_free(table);
    sq_free(at);
    return rc;
}

sq_status sq_resample(const sq_grid_map *map, int64_t sx0, int64_t sy0, int snx, int sny,
                      const float *image, const float *variance, const uint32_t *mask, uint32_t bad,
                      float *out_image, float *out_variance, uint32_t *out_mask)
{
    return sq_resample_noise_plane(map, sx0, sy0, snx, sny, image, variance, mask, bad, out_image,
                                   out_variance, out_mask, NULL);
}

/* ---- noise ---- */

/* Sum of w^2 and of w_k w_(k+1) at a phase. */
static void phase_noise(double f, double *square, double *neighbour)
{
    double w[TAPS];
    kernel(f, w);
    *square = *neighbour = 0;
    for (int k = 0; k < TAPS; k++) {
        *square += w[k] * w[k];
        *neighbour += k + 1 < TAPS ? w[k] * w[k + 1] : 0;
    }
}

static void axis_noise(double shift, double *ratio, double *correlation)
{
    enum { PHASES = 64 };
    if (isfinite(shift)) {
        double neighbour;
        phase_noise(shift - floor(shift), ratio, &neighbour);
        *correlation = neighbour / *ratio;
        return;
    }
    double square = 0, near = 0;
    for (int k = 0; k < PHASES; k++) {
        double a, b;
        phase_noise((k + 0.5) / PHASES, &a, &b);
        square += a / PHASES;
        near += b / PHASES;
    }
    *ratio = square;
    *correlation = near / square;
}

void sq_resample_noise(double dx, double dy, double noise[3])
{
    double rx, ry;
    axis_noise(dx, &rx, &noise[1]);
    axis_noise(dy, &ry, &noise[2]);
    noise[0] = rx * ry;
}
