/* Iso-latitude ring cells.
 *
 * With K = ceil(180 deg / h_max) the first layout has a cap of radius h/2 at each pole and K - 1
 * rings of height h = 180 deg / K; the second is shifted by half a ring and has K rings, the
 * outermost of which are wedges that meet in the pole (a cap there would be twice as wide as a
 * core). h_max is 1/33 less than the core: a parallel bends in the flat grid of a cell, and the
 * slack leaves room for its sagitta. The number of cells of a ring is the smallest whose cells fit
 * into the square core of their own grid.
 *
 * So a point lies within a quarter core of the grid's centre, in x and in y, in one of the four
 * passes. */
#include <math.h>

#include "base/mem.h"
#include "sky/sphere.h"
#include "sky/tiling_internal.h"

enum { SAMPLES = 16, LEAST_CELLS = 7, RINGS_MAX = 1 << 20 };

/* Largest |x|, |y| in degrees of a cell of half-width `half` (deg of ra) in its own ZEA grid. */
static double cell_extent(double dec0, double dec1, double half)
{
    double middle = 0.5 * (dec0 + dec1), most = 0;
    for (int i = 0; i <= SAMPLES; i++) {
        double f = (double)i / SAMPLES, x, y;
        /* The meridian side, then the two parallels; the cell is symmetric about its middle
         * meridian. */
        sq_project_zea(0, middle, half, dec0 + f * (dec1 - dec0), &x, &y);
        most = fmax(most, fmax(fabs(x), fabs(y)));
        sq_project_zea(0, middle, half * f, dec0, &x, &y);
        most = fmax(most, fmax(fabs(x), fabs(y)));
        sq_project_zea(0, middle, half * f, dec1, &x, &y);
        most = fmax(most, fmax(fabs(x), fabs(y)));
    }
    return most;
}

static int64_t cells_needed(double dec0, double dec1, double core)
{
    int64_t low = LEAST_CELLS, high = LEAST_CELLS;
    while (cell_extent(dec0, dec1, 180.0 / (double)high) > 0.5 * core) {
        low = high + 1;
        high *= 2;
    }
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (cell_extent(dec0, dec1, 180.0 / (double)middle) > 0.5 * core)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Border j of a layout in half rings from the south pole, exact and antisymmetric at the poles. */
static double border(int64_t half_rings, int64_t k)
{
    return 90.0 * (double)(half_rings - k) / (double)k;
}

static sq_status setup_layout(ring_layout *layout, int shifted, int64_t k, double core)
{
    layout->rings = shifted ? k : k + 1;
    sq_status rc = SQ_ALLOC(layout->ring, layout->rings, "rings of the tiling");
    if (rc != SQ_OK)
        return rc;
    for (int64_t i = 0; i < layout->rings; i++) {
        ring *r = &layout->ring[i];
        int cap = !shifted && (i == 0 || i == k);
        int64_t low = shifted ? 2 * i : 2 * i - 1, high = low + 2;
        r->dec0 = border(low < 0 ? 0 : low, k);
        r->dec1 = border(high > 2 * k ? 2 * k : high, k);
        r->cells = cap ? 1 : cells_needed(r->dec0, r->dec1, core);
        r->first = layout->count;
        layout->count += (uint64_t)r->cells;
    }
    return SQ_OK;
}

sq_status sq_rings_setup(sq_tiling *tiling, double scale)
{
    rings *all = &tiling->rings;
    double core = tiling->shape.core * scale / 60;
    if (!(core > 0) || core > 60)
        return sq_fail(SQ_ERR_USAGE, "tiling: a core of %g deg is not within 0..60 deg", core);
    double rows = ceil(180 / (core * 32 / 33));
    if (rows > RINGS_MAX)
        return sq_fail(SQ_ERR_USAGE, "tiling: cores of %g deg make more than %d rings", core,
                       RINGS_MAX);
    all->scale = scale / 60;
    for (int i = 0; i < (tiling->shape.passes == 4 ? 2 : 1); i++) {
        sq_status rc = setup_layout(&all->layout[i], i, (int64_t)rows, core);
        if (rc != SQ_OK)
            return rc;
    }
    for (int p = 0; p < tiling->shape.passes; p++)
        tiling->first[p + 1] = tiling->first[p] + all->layout[p >> 1].count;
    return SQ_OK;
}

void sq_rings_teardown(sq_tiling *tiling)
{
    sq_free(tiling->rings.layout[0].ring);
    sq_free(tiling->rings.layout[1].ring);
}

/* Western border of cell j; odd rings are shifted by half a cell, and odd passes by another half.
 */
static double meridian(const ring *r, int shifted, int64_t j)
{
    return 360.0 * (double)(2 * j + shifted) / (double)(2 * r->cells);
}

static int is_shifted(const ring *r, int64_t row, int pass)
{
    return r->cells > 1 && ((row ^ pass) & 1);
}

static const ring *ring_of_cell(const ring_layout *layout, uint64_t local)
{
    int64_t low = 0, high = layout->rings - 1;
    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        if (layout->ring[middle].first <= local)
            low = middle;
        else
            high = middle - 1;
    }
    return &layout->ring[low];
}

static const ring *ring_of_dec(const ring_layout *layout, double dec)
{
    int64_t low = 0, high = layout->rings - 1;
    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        if (layout->ring[middle].dec0 <= dec)
            low = middle;
        else
            high = middle - 1;
    }
    return &layout->ring[low];
}

void sq_rings_patch(const sq_tiling *tiling, int pass, uint64_t local, sq_patch *out)
{
    const ring_layout *layout = &tiling->rings.layout[pass >> 1];
    const ring *r = ring_of_cell(layout, local);
    out->row = r - layout->ring;
    out->column = (int64_t)(local - r->first);
    out->x0 = out->y0 = tiling->shape.halo;
    out->x1 = out->y1 = tiling->shape.halo + tiling->shape.core;
    int shifted = is_shifted(r, out->row, pass);
    out->dec0 = r->dec0;
    out->dec1 = r->dec1;
    out->ra0 = meridian(r, shifted, out->column);
    out->ra1 = meridian(r, shifted, out->column + 1);
    if (r->cells == 1) {
        out->dec = r->dec0 < 0 ? -90 : 90;
        return;
    }
    out->ra = sq_wrap_ra(0.5 * (out->ra0 + out->ra1));
    out->dec = 0.5 * (r->dec0 + r->dec1);
}

int sq_rings_owner(const sq_tiling *tiling, int pass, double ra, double dec, uint64_t *local)
{
    if (!isfinite(ra) || !(fabs(dec) <= 90))
        return 0;
    const ring_layout *layout = &tiling->rings.layout[pass >> 1];
    const ring *r = ring_of_dec(layout, dec);
    /* A pole is one point, whatever ra it is given with. */
    ra = fabs(dec) == 90 ? 0 : sq_wrap_ra(ra);
    int shifted = is_shifted(r, r - layout->ring, pass);
    int64_t j = (int64_t)floor(ra * (double)r->cells / 360 - 0.5 * shifted);
    while (meridian(r, shifted, j) > ra)
        j--;
    while (meridian(r, shifted, j + 1) <= ra)
        j++;
    /* Half a cell west of ra = 0 is the start of the last cell, which reaches across it. */
    *local = r->first + (uint64_t)((j + r->cells) % r->cells);
    return 1;
}

/* Angle from a point to a meridian `difference` deg of ra away, with the sign of the difference. */
static double meridian_distance(double difference, double dec)
{
    double d = fmax(-90, fmin(90, difference)) * M_PI / 180;
    return asin(cos(dec * M_PI / 180) * sin(d)) * 180 / M_PI;
}

double sq_rings_depth(const sq_tiling *tiling, const sq_patch *patch, double ra, double dec)
{
    const ring_layout *layout = &tiling->rings.layout[patch->pass >> 1];
    const ring *r = &layout->ring[patch->row];
    double distance = INFINITY;
    uint64_t local;
    if (!sq_rings_owner(tiling, patch->pass, ra, dec, &local))
        return -INFINITY;
    if (patch->row > 0)
        distance = fmin(distance, dec - r->dec0);
    if (patch->row < layout->rings - 1)
        distance = fmin(distance, r->dec1 - dec);
    if (r->cells > 1) {
        double offset = fabs(sq_wrap_ra(ra - patch->ra + 180) - 180);
        double half = 180.0 / (double)r->cells;
        distance = fmin(distance, meridian_distance(half - offset, dec));
    }
    int owned = local == r->first + (uint64_t)patch->column;
    return sq_signed_depth(distance / tiling->rings.scale, owned);
}
