#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fits/band.h"
#include "fits/cards.h"
#include "fits/cell_file.h"

enum {
    BITS = 32,
    NOISE_BLOCK = 256, /* pixels: cells larger than this have several sky variances */
    PSF_CAP = 16 << 20 /* pixels of all PSF images of a band */
};

typedef struct cell_band {
    sq_band base;
    sq_input *input;
    sq_cell_tree tree;
    int image, variance, mask[SQ_CELL_MASKS]; /* HDUs */
    uint32_t bit[SQ_CELL_MASKS][BITS];        /* unified bits of each mask plane */
    double unit;                              /* nJy per count */
    float *psf;                               /* [cells][side^2] */
    int *nearest;       /* the cell whose PSF a cell takes: itself, if not missing */
    int32_t *raw;       /* scratch for mask pixels */
    float *wide, *work; /* scratch for variances of whole noise blocks */
    size_t raw_capacity, wide_capacity, work_capacity;
} cell_band;

/* ---- reading ---- */

static uint32_t unify(const uint32_t bit[BITS], uint32_t planes)
{
    uint32_t bits = 0;
    for (; planes; planes &= planes - 1)
        bits |= bit[__builtin_ctz(planes)];
    return bits;
}

static sq_status read_masks(cell_band *b, int64_t x0, int64_t y0, int nx, int ny, uint32_t *mask,
                            sq_hasher *hasher)
{
    size_t n = (size_t)nx * ny;
    sq_status rc = SQ_OK;
    memset(mask, 0, n * sizeof *mask);
    SQ_TRY(SQ_GROW(b->raw, b->raw_capacity, n, "mask pixels"));
    for (int k = 0; k < b->tree.masks; k++) {
        SQ_TRY(sq_input_goto(b->input, b->mask[k]));
        SQ_TRY(sq_input_read_int(b->input, x0, y0, nx, ny, b->raw));
        sq_hasher_add(hasher, b->raw, n * sizeof *b->raw);
        for (size_t i = 0; i < n; i++)
            mask[i] |= unify(b->bit[k], (uint32_t)b->raw[i]);
    }
cleanup:
    return rc;
}

/* Noise blocks along an axis: a cell is cut into equal parts of at most NOISE_BLOCK pixels. */
typedef struct axis {
    int64_t cell, first, n; /* pixels of a cell, start of the first one, pixels of the image */
    int parts;
} axis;

static axis axis_of(const cell_band *b, int y)
{
    const sq_cell_tree *t = &b->tree;
    int64_t cell = y ? t->cell_ny : t->cell_nx;
    return (axis){cell, y ? t->bottom - t->y0 : t->left - t->x0, y ? t->ny : t->nx,
                  (int)((cell + NOISE_BLOCK - 1) / NOISE_BLOCK)};
}

static int64_t block_of(const axis *a, int64_t pixel)
{
    int64_t in = (pixel - a->first) % a->cell;
    return (pixel - a->first) / a->cell * a->parts + ((in + 1) * a->parts - 1) / a->cell;
}

/* First pixel of a block, inside the image. */
static int64_t block_start(const axis *a, int64_t block)
{
    int64_t at = a->first + block / a->parts * a->cell + block % a->parts * a->cell / a->parts;
    return at < 0 ? 0 : at > a->n ? a->n : at;
}

/* The empty sky's variance of every block that the box touches, from the whole block: it does not
 * depend on the box, and a cell has inputs of its own and so a noise of its own. `wide` holds the
 * variances from (left, bottom) on. */
static void spread_sky_variance(cell_band *b, const axis *ax, const axis *ay, int64_t left,
                                int64_t bottom, int64_t pitch, int64_t x0, int64_t y0, int nx,
                                int ny, const sq_planes *out)
{
    for (int64_t j = block_of(ay, y0); j <= block_of(ay, y0 + ny - 1); j++) {
        int64_t ya = block_start(ay, j), yb = block_start(ay, j + 1);
        for (int64_t i = block_of(ax, x0); i <= block_of(ax, x0 + nx - 1); i++) {
            int64_t xa = block_start(ax, i), xb = block_start(ax, i + 1);
            float v = sq_empty_variance(b->wide, pitch, (int)(xa - left), (int)(xb - left),
                                        (int)(ya - bottom), (int)(yb - bottom), b->work);
            v *= (float)(b->unit * b->unit);
            for (int64_t y = ya > y0 ? ya : y0; y < yb && y < y0 + ny; y++) {
                for (int64_t x = xa > x0 ? xa : x0; x < xb && x < x0 + nx; x++)
                    out->sky_variance[(y - y0) * nx + x - x0] = v;
            }
        }
    }
}

static sq_status read_variance(cell_band *b, int64_t x0, int64_t y0, int nx, int ny,
                               const sq_planes *out, sq_hasher *hasher)
{
    axis ax = axis_of(b, 0), ay = axis_of(b, 1);
    int64_t left = block_start(&ax, block_of(&ax, x0));
    int64_t right = block_start(&ax, block_of(&ax, x0 + nx - 1) + 1);
    int64_t bottom = block_start(&ay, block_of(&ay, y0));
    int64_t top = block_start(&ay, block_of(&ay, y0 + ny - 1) + 1);
    size_t n = (size_t)((right - left) * (top - bottom));
    sq_status rc = SQ_OK;
    SQ_TRY(SQ_GROW(b->wide, b->wide_capacity, n, "variances"));
    SQ_TRY(SQ_GROW(b->work, b->work_capacity, (size_t)NOISE_BLOCK * NOISE_BLOCK, "noise block"));
    SQ_TRY(sq_input_goto(b->input, b->variance));
    SQ_TRY(sq_input_read_float(b->input, left, bottom, (int)(right - left), (int)(top - bottom),
                               b->wide));
    sq_hasher_add(hasher, b->wide, n * sizeof *b->wide);
    for (int y = 0; y < ny; y++)
        memcpy(out->variance + (size_t)y * nx,
               b->wide + (y0 + y - bottom) * (right - left) + x0 - left,
               (size_t)nx * sizeof *b->wide);
    spread_sky_variance(b, &ax, &ay, left, bottom, right - left, x0, y0, nx, ny, out);
cleanup:
    return rc;
}

static int cell_at(const cell_band *b, int64_t x, int64_t y)
{
    const sq_cell_tree *t = &b->tree;
    int64_t i = (t->y0 + y - t->bottom) / t->cell_ny, j = (t->x0 + x - t->left) / t->cell_nx;
    return (int)(i * t->cells_x + j);
}

static sq_status read_band(sq_band *band, int64_t x0, int64_t y0, int nx, int ny,
                           const sq_planes *out, sq_hasher *hasher)
{
    cell_band *b = (cell_band *)band;
    size_t n = (size_t)nx * ny;
    sq_status rc = SQ_OK;
    SQ_TRY(sq_input_goto(b->input, b->image));
    SQ_TRY(sq_input_read_float(b->input, x0, y0, nx, ny, out->image));
    sq_hasher_add(hasher, out->image, n * sizeof *out->image);
    SQ_TRY(read_masks(b, x0, y0, nx, ny, out->mask, hasher));
    SQ_TRY(read_variance(b, x0, y0, nx, ny, out, hasher));
    for (size_t i = 0; i < n; i++) {
        if (b->tree.missing[cell_at(b, x0 + (int64_t)(i % (size_t)nx),
                                    y0 + (int64_t)(i / (size_t)nx))])
            out->mask[i] |= SQ_MASK_OUTSIDE;
    }
    sq_afw_finish(out, n, (float)b->unit);
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(out->variance[i]))
            out->sky_variance[i] = NAN;
    }
    for (int y = 0; y < ny; y++)
        sq_cell_sky_row(&b->tree, y0 + y, x0, nx, out->sky + (size_t)y * nx);
cleanup:
    return rc;
}

static sq_status psf_at(const sq_band *band, double x, double y, float *out)
{
    const cell_band *b = (const cell_band *)band;
    int64_t px = llround(x), py = llround(y);
    px = px < 0 ? 0 : px >= b->base.nx ? b->base.nx - 1 : px;
    py = py < 0 ? 0 : py >= b->base.ny ? b->base.ny - 1 : py;
    size_t cell = (size_t)b->nearest[cell_at(b, px, py)];
    if (!sq_psf_fit(b->psf + cell * (size_t)b->tree.side * b->tree.side, b->tree.side, out))
        return sq_fail(SQ_ERR_DATA, "%s: PSF of cell %zu: no positive sum within %d pixels",
                       b->input->path, cell, SQ_PSF_SIDE);
    return SQ_OK;
}

static void close_band(sq_band *band)
{
    cell_band *b = (cell_band *)band;
    sq_input_close(b->input);
    sq_cell_tree_clear(&b->tree);
    sq_free(b->psf);
    sq_free(b->nearest);
    sq_free(b->raw);
    sq_free(b->wide);
    sq_free(b->work);
    sq_free(b);
}

/* ---- opening ---- */

static sq_status check_plane(cell_band *b, const sq_cell_source *from, int *hdu)
{
    int64_t nx, ny;
    sq_status rc = SQ_OK;
    SQ_TRY(sq_cell_find(b->input, from, hdu));
    SQ_TRY(sq_input_goto(b->input, *hdu));
    SQ_TRY(sq_input_image_size(b->input, &nx, &ny));
    if (nx != b->tree.nx || ny != b->tree.ny)
        return sq_fail(SQ_ERR_FORMAT,
                       "%s[%d]: NAXIS1: %s has %lld x %lld pixels, the tree says %lld x %lld",
                       b->input->path, *hdu, from->name, (long long)nx, (long long)ny,
                       (long long)b->tree.nx, (long long)b->tree.ny);
cleanup:
    return rc;
}

/* MSKNnnnn names plane n, MSKMnnnn is its bit: 1 << n. */
static sq_status read_plane_names(cell_band *b, int k)
{
    char *header = NULL, key[16], name[64];
    int found = 0;
    sq_status rc = SQ_OK;
    SQ_TRY(sq_input_goto(b->input, b->mask[k]));
    SQ_TRY(sq_input_header(b->input, &header));
    for (int n = 0; n < BITS; n++) {
        int64_t bit = (int64_t)1 << n;
        snprintf(key, sizeof key, "MSKN%04d", n);
        if (!sq_cards_text(header, key, name, sizeof name))
            continue;
        snprintf(key, sizeof key, "MSKM%04d", n);
        sq_cards_int(header, key, &bit);
        if ((uint32_t)bit != 1u << n)
            SQ_TRY(sq_fail(SQ_ERR_FORMAT, "%s[%d]: %s: %lld is not the bit of plane %d",
                           b->input->path, b->mask[k], key, (long long)bit, n));
        b->bit[k][n] = sq_afw_plane(name);
        found = 1;
    }
    if (!found)
        SQ_TRY(sq_fail(SQ_ERR_FORMAT, "%s[%d]: MSKN0000: the mask does not name its planes",
                       b->input->path, b->mask[k]));
cleanup:
    sq_free(header);
    return rc;
}

static sq_status read_unit(cell_band *b)
{
    char *header = NULL, where[SQ_PATH_MAX + 16], text[32];
    sq_status rc = SQ_OK;
    snprintf(where, sizeof where, "%s[%d]", b->input->path, b->image);
    SQ_TRY(sq_input_goto(b->input, b->image));
    SQ_TRY(sq_input_header(b->input, &header));
    if (!sq_cards_text(header, "BUNIT", text, sizeof text))
        SQ_TRY(sq_fail(SQ_ERR_FORMAT, "%s: BUNIT: missing", where));
    SQ_TRY(sq_afw_unit(header, where, &b->unit));
cleanup:
    sq_free(header);
    return rc;
}

static sq_status check_psf_shape(const cell_band *b, int hdu)
{
    const sq_cell_tree *t = &b->tree;
    LONGLONG axes[4] = {0};
    int naxis = 0, type = 0, status = 0;
    fits_get_hdu_type(b->input->fits, &type, &status);
    if (!status && type == IMAGE_HDU)
        fits_get_img_dim(b->input->fits, &naxis, &status);
    if (!status && naxis == 4)
        fits_get_img_sizell(b->input->fits, 4, axes, &status);
    if (status)
        return sq_fits_fail(status, b->input->path, hdu, "PSF images");
    if (axes[0] != t->side || axes[1] != t->side || axes[2] != t->cells_x || axes[3] != t->cells_y)
        return sq_fail(SQ_ERR_FORMAT,
                       "%s[%d]: NAXIS: PSF images of %lld x %lld pixels in %lld x %lld cells, the "
                       "tree says %d x %d in %lld x %lld",
                       b->input->path, hdu, (long long)axes[0], (long long)axes[1],
                       (long long)axes[2], (long long)axes[3], t->side, t->side,
                       (long long)t->cells_x, (long long)t->cells_y);
    return SQ_OK;
}

static sq_status read_psf(cell_band *b)
{
    const sq_cell_tree *t = &b->tree;
    int hdu = 0, status = 0, any;
    int64_t stamp = (int64_t)t->side * t->side, cells = t->cells_x * t->cells_y;
    long first[4] = {1, 1, 1, 1}, step[4] = {1, 1, 1, 1};
    long last[4] = {t->side, t->side, (long)t->cells_x, (long)t->cells_y};
    float nan = NAN, unit[SQ_PSF_SIDE * SQ_PSF_SIDE];
    sq_status rc = SQ_OK;
    SQ_TRY(sq_cell_find(b->input, &t->psf, &hdu));
    SQ_TRY(sq_input_goto(b->input, hdu));
    SQ_TRY(check_psf_shape(b, hdu));
    if (stamp * cells > PSF_CAP)
        return sq_fail(SQ_ERR_DATA, "%s[%d]: NAXIS: %lld PSF images of %d pixels are too many",
                       b->input->path, hdu, (long long)cells, t->side);
    SQ_TRY(SQ_ALLOC(b->psf, stamp * cells, "PSF images"));
    fits_read_subset(b->input->fits, TFLOAT, first, last, step, &nan, b->psf, &any, &status);
    if (status)
        return sq_fits_fail(status, b->input->path, hdu, "PSF images");
    for (int64_t k = 0; k < cells; k++) {
        if (!t->missing[k] && !sq_psf_fit(b->psf + k * stamp, t->side, unit))
            return sq_fail(SQ_ERR_DATA,
                           "%s[%d]: PSF of cell (%lld, %lld) has no positive sum, and the cell is "
                           "not missing",
                           b->input->path, hdu, (long long)(k / t->cells_x),
                           (long long)(k % t->cells_x));
    }
    b->base.hash = sq_hash_combine(b->base.hash,
                                   sq_hash_bytes(b->psf, (size_t)(stamp * cells) * sizeof *b->psf));
cleanup:
    return rc;
}

/* A missing cell takes the PSF of the nearest cell that has one, of equally near ones the first. */
static sq_status find_nearest(cell_band *b)
{
    const sq_cell_tree *t = &b->tree;
    int cells = (int)(t->cells_x * t->cells_y), across = (int)t->cells_x;
    sq_status rc = SQ_ALLOC(b->nearest, cells, "cells");
    for (int k = 0; k < cells && rc == SQ_OK; k++) {
        int64_t best = INT64_MAX;
        for (int other = 0; other < cells; other++) {
            int64_t dy = (other / across - k / across) * t->cell_ny;
            int64_t dx = (other % across - k % across) * t->cell_nx;
            if (!t->missing[other] && dx * dx + dy * dy < best) {
                best = dx * dx + dy * dy;
                b->nearest[k] = other;
            }
        }
        if (best == INT64_MAX)
            rc = sq_fail(SQ_ERR_DATA, "%s: /psf/bounds/missing: every cell is", b->input->path);
    }
    return rc;
}

static sq_status open_planes(cell_band *b)
{
    sq_cell_tree *t = &b->tree;
    sq_status rc = SQ_OK;
    SQ_TRY(check_plane(b, &t->image, &b->image));
    SQ_TRY(check_plane(b, &t->variance, &b->variance));
    for (int k = 0; k < t->masks; k++) {
        SQ_TRY(check_plane(b, &t->mask[k], &b->mask[k]));
        SQ_TRY(read_plane_names(b, k));
    }
    SQ_TRY(read_unit(b));
cleanup:
    return rc;
}

sq_status sq_cell_band_open(const sq_tile_band *info, sq_band **out)
{
    sq_status rc = SQ_OK;
    cell_band *b = NULL;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(b, 1, "band"));
    b->base = (sq_band){.info = info, .read = read_band, .psf = psf_at, .close = close_band};
    SQ_TRY(sq_input_open(info->image.path, SQ_INPUT_ALL, &b->input));
    b->base.held = b->input->capacity;
    SQ_TRY(sq_cell_tree_read(b->input, &b->tree));
    SQ_TRY(sq_cell_tree_check(info, &b->tree));
    SQ_TRY(open_planes(b));
    b->base.nx = b->tree.nx;
    b->base.ny = b->tree.ny;
    const int64_t grid[6] = {b->tree.cell_nx,           b->tree.cell_ny,
                             b->tree.left - b->tree.x0, b->tree.bottom - b->tree.y0,
                             b->tree.cells_x,           b->tree.cells_y};
    b->base.hash = sq_hash_bytes(b->bit, sizeof b->bit);
    b->base.hash = sq_hash_combine(b->base.hash, sq_hash_bytes(grid, sizeof grid));
    b->base.hash = sq_hash_combine(b->base.hash, sq_hash_bytes(&b->tree.sky, sizeof b->tree.sky));
    b->base.hash = sq_hash_combine(
        b->base.hash, sq_hash_bytes(b->tree.missing, (size_t)(b->tree.cells_x * b->tree.cells_y)));
    SQ_TRY(read_psf(b));
    SQ_TRY(find_nearest(b));
    *out = &b->base;
    b = NULL;
cleanup:
    if (b)
        close_band(&b->base);
    return rc;
}
