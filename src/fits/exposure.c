#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fits/band.h"
#include "sky/resample.h"

enum {
    STAMP = SQ_PSF_SIDE * SQ_PSF_SIDE,
    PROBES = 9,          /* points along an axis at which grids are compared */
    HELD_CAP = 384 << 20 /* bytes of unpacked files of one tile */
};

/* How a band's grid lies to the reference grid. */
typedef enum relation {
    GRID_SAME,     /* whole pixels apart: (dx, dy) is added */
    GRID_RESAMPLED /* anything else */
} relation;

typedef struct slot {
    sq_band *band; /* NULL: missing */
    sq_wcs *wcs;
    relation relation;
    int64_t dx, dy;
} slot;

struct sq_exposure {
    sq_tile tile; /* a copy */
    int nband;
    char name[SQ_MAX_BANDS][8];
    slot slot[SQ_MAX_BANDS];
    sq_wcs *wcs; /* of the reference grid */
    sq_sdss_field *field;
    sq_psf_grid *psf;
    float *scratch; /* planes of a band's own box */
    uint32_t *scratch_mask;
    size_t capacity, mask_capacity;
};

/* ---- opening ---- */

static const sq_tile_band *find_band(const sq_tile *tile, const char *name)
{
    for (int b = 0; b < tile->nband; b++) {
        if (strcmp(tile->band[b].name, name) == 0)
            return &tile->band[b];
    }
    return NULL;
}

static sq_status check_files(const sq_tile *tile)
{
    sq_status rc = SQ_OK;
    if (tile->psf.path)
        SQ_TRY(sq_input_check(&tile->psf));
    if (tile->calibration.path)
        SQ_TRY(sq_input_check(&tile->calibration));
cleanup:
    return rc;
}

static sq_status open_shared(sq_exposure *e)
{
    if (e->tile.format == SQ_TILE_CELL_COADD)
        return SQ_OK;
    if (e->tile.format != SQ_TILE_LSST_EXPOSURE)
        return sq_sdss_field_open(&e->tile, &e->field);
    if (!e->tile.psf.path)
        return sq_fail(SQ_ERR_DATA, "%s: no PSF side file", e->tile.name);
    return sq_psf_grid_open(e->tile.psf.path, &e->psf);
}

/* Compare the grids at points over the reference image; find a whole-pixel shift; refuse bands that
 * do not overlap. */
static sq_status relate(const sq_exposure *e, slot *s)
{
    enum { N = PROBES * PROBES };
    const sq_tile_band *r = &e->tile.band[e->tile.reference];
    double x[N], y[N], ra[N], dec[N], bx[N], by[N], worst = 0;
    int inside = 0;
    for (int k = 0; k < N; k++) {
        x[k] = (double)(r->nx - 1) * (k % PROBES) / (PROBES - 1);
        y[k] = (double)(r->ny - 1) * (k / PROBES) / (PROBES - 1);
    }
    sq_status rc = sq_wcs_pix2sky(e->wcs, N, x, y, ra, dec);
    if (rc == SQ_OK)
        rc = sq_wcs_sky2pix(s->wcs, N, ra, dec, bx, by);
    if (rc != SQ_OK)
        return rc;
    double dx = round(bx[N / 2] - x[N / 2]), dy = round(by[N / 2] - y[N / 2]);
    for (int k = 0; k < N; k++) {
        double off = fmax(fabs(bx[k] - x[k] - dx), fabs(by[k] - y[k] - dy));
        worst = off <= worst ? worst : isnan(off) ? INFINITY : off;
        inside += bx[k] > -0.5 && bx[k] < (double)s->band->nx - 0.5 && by[k] > -0.5 &&
                  by[k] < (double)s->band->ny - 0.5;
    }
    if (inside == 0)
        return sq_fail(SQ_ERR_DATA, "%s: WCS: band %s does not overlap the reference band %s",
                       s->band->info->image.path, s->band->info->name, r->name);
    double mine = sq_wcs_scale(s->wcs, bx[N / 2], by[N / 2]);
    double ratio = mine / sq_wcs_scale(e->wcs, x[N / 2], y[N / 2]);
    if (!(fabs(ratio - 1) < 0.05))
        return sq_fail(SQ_ERR_DATA,
                       "%s: WCS: pixels of band %s are %.3f of the reference band's; "
                       "grids within 5 percent can be resampled",
                       s->band->info->image.path, s->band->info->name, ratio);
    s->relation = worst < 1e-3 ? GRID_SAME : GRID_RESAMPLED;
    s->dx = s->relation == GRID_SAME ? (int64_t)dx : 0;
    s->dy = s->relation == GRID_SAME ? (int64_t)dy : 0;
    return SQ_OK;
}

static sq_status open_band(sq_exposure *e, const sq_tile_band *info, slot *s)
{
    sq_status rc = SQ_OK;
    SQ_TRY(sq_input_check(&info->image));
    if (info->mask.path)
        SQ_TRY(sq_input_check(&info->mask));
    if (e->field)
        SQ_TRY(sq_sdss_band_open(&e->tile, info, e->field, &s->band));
    else if (e->psf)
        SQ_TRY(sq_afw_band_open(info, e->psf, &s->band));
    else
        SQ_TRY(sq_cell_band_open(info, &s->band));
    if (s->band->nx != info->nx || s->band->ny != info->ny)
        return sq_fail(SQ_ERR_CHANGED, "%s: %lld x %lld pixels, %lld x %lld when it was indexed",
                       info->image.path, (long long)s->band->nx, (long long)s->band->ny,
                       (long long)info->nx, (long long)info->ny);
    SQ_TRY(sq_wcs_from_header(info->wcs_header ? info->wcs_header : "", info->image.path, &s->wcs));
    SQ_TRY(relate(e, s));
    s->band->aperture = 1;
    /* The raw fpC images match their standard stars with the bare PSF to 0.01 mag. */
    if (e->tile.format == SQ_TILE_SDSS_FRAME) {
        SQ_TRY(sq_aperture_correction(s->band, &s->band->aperture));
        s->band->hash =
            sq_hash_combine(s->band->hash, sq_hash_bytes(&s->band->aperture, sizeof(double)));
    }
cleanup:
    return rc;
}

/* Unpacked files of a tile together: each is below its own cap, all of them below the tile's. */
static sq_status check_held(const sq_exposure *e)
{
    size_t held = 0;
    for (int b = 0; b < e->nband; b++)
        held += e->slot[b].band ? e->slot[b].band->held : 0;
    if (held > HELD_CAP)
        return sq_fail(SQ_ERR_DATA,
                       "%s: its compressed files unpack to more than %d MiB; unpack "
                       "them on disk or use tile compression",
                       e->tile.name, HELD_CAP >> 20);
    return SQ_OK;
}

sq_status sq_exposure_open(const sq_tile *tile, const char *const *bands, int nband,
                           int allow_missing, sq_exposure **out)
{
    sq_status rc = SQ_OK;
    sq_exposure *e = NULL;
    *out = NULL;
    if (nband < 1 || nband > SQ_MAX_BANDS || tile->nband < 1 || tile->nband > SQ_MAX_BANDS ||
        tile->reference < 0 || tile->reference >= tile->nband)
        return sq_fail(SQ_ERR_USAGE, "%s: %d bands wanted, %d in the tile", tile->name, nband,
                       tile->nband);
    SQ_TRY(SQ_ALLOC(e, 1, "exposure"));
    SQ_TRY(sq_tile_copy(tile, &e->tile));
    e->nband = nband;
    SQ_TRY(check_files(tile));
    const sq_tile_band *r = &e->tile.band[tile->reference];
    SQ_TRY(sq_wcs_from_header(r->wcs_header ? r->wcs_header : "", r->image.path, &e->wcs));
    SQ_TRY(open_shared(e));
    for (int b = 0; b < nband; b++) {
        const sq_tile_band *info = find_band(&e->tile, bands[b]);
        snprintf(e->name[b], sizeof e->name[b], "%s", bands[b]);
        if (info)
            SQ_TRY(open_band(e, info, &e->slot[b]));
        else if (!allow_missing)
            SQ_TRY(sq_fail(SQ_ERR_DATA, "%s: band %s is missing", tile->name, bands[b]));
        SQ_TRY(check_held(e));
    }
    *out = e;
    e = NULL;
cleanup:
    sq_exposure_close(e);
    return rc;
}

sq_status sq_exposure_check(const sq_exposure *e)
{
    sq_status rc = SQ_OK;
    for (int b = 0; b < e->nband && rc == SQ_OK; b++) {
        const sq_tile_band *info = e->slot[b].band ? e->slot[b].band->info : NULL;
        if (info)
            rc = sq_input_check(&info->image);
        if (info && rc == SQ_OK && info->mask.path)
            rc = sq_input_check(&info->mask);
    }
    return rc;
}

void sq_exposure_close(sq_exposure *e)
{
    if (!e)
        return;
    for (int b = 0; b < e->nband; b++) {
        if (e->slot[b].band)
            e->slot[b].band->close(e->slot[b].band);
        sq_wcs_destroy(e->slot[b].wcs);
    }
    sq_wcs_destroy(e->wcs);
    sq_sdss_field_close(e->field);
    sq_psf_grid_close(e->psf);
    sq_free(e->scratch);
    sq_free(e->scratch_mask);
    sq_tile_clear(&e->tile);
    sq_free(e);
}

const sq_wcs *sq_exposure_wcs(const sq_exposure *e)
{
    return e->wcs;
}

void sq_exposure_shape(const sq_exposure *e, int64_t *nx, int64_t *ny)
{
    *nx = e->tile.band[e->tile.reference].nx;
    *ny = e->tile.band[e->tile.reference].ny;
}

/* ---- reading ---- */

/* A half-open box. */
typedef struct box {
    int64_t x0, y0, x1, y1;
} box;

static box clip(box b, int64_t nx, int64_t ny)
{
    b.x0 = b.x0 > 0 ? b.x0 : 0;
    b.y0 = b.y0 > 0 ? b.y0 : 0;
    b.x1 = b.x1 < nx ? b.x1 : nx;
    b.y1 = b.y1 < ny ? b.y1 : ny;
    if (b.x1 <= b.x0 || b.y1 <= b.y0)
        b = (box){0, 0, 0, 0};
    return b;
}

/* Planes of a cutout's band. */
static sq_planes planes_of(const sq_cutout *c, int band)
{
    int64_t at = sq_cutout_plane(c, band);
    return (sq_planes){c->image + at, c->variance + at, c->mask + at, c->sky + at,
                       c->sky_sigma + at};
}

static void blank(const sq_planes *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        p->image[i] = p->sky[i] = p->sky_variance[i] = 0;
        p->variance[i] = INFINITY;
        p->mask[i] = SQ_MASK_OUTSIDE;
    }
}

/* The band's own box into the scratch planes. */
static sq_status read_scratch(sq_exposure *e, sq_band *band, box b, sq_hasher *hasher,
                              sq_planes *out)
{
    sq_status rc = SQ_OK;
    int nx = (int)(b.x1 - b.x0), ny = (int)(b.y1 - b.y0);
    size_t n = (size_t)nx * ny;
    SQ_TRY(SQ_GROW(e->scratch, e->capacity, 4 * n, "band pixels"));
    SQ_TRY(SQ_GROW(e->scratch_mask, e->mask_capacity, n, "band mask"));
    *out = (sq_planes){e->scratch, e->scratch + n, e->scratch_mask, e->scratch + 2 * n,
                       e->scratch + 3 * n};
    SQ_TRY(band->read(band, b.x0, b.y0, nx, ny, out, hasher));
cleanup:
    return rc;
}

/* One pixel in the cutout's conventions: 0 and inf where unusable. */
static void put(const sq_planes *to, size_t k, float image, float variance, uint32_t mask,
                float sky, float sky_variance)
{
    int usable = !(mask & SQ_MASK_UNUSABLE) && isfinite(image) && variance > 0 &&
                 isfinite(variance) && sky_variance > 0 && isfinite(sky_variance);
    to->mask[k] = usable || (mask & SQ_MASK_UNUSABLE) ? mask : mask | SQ_MASK_BAD;
    to->image[k] = usable ? image : 0;
    to->variance[k] = usable ? variance : INFINITY;
    to->sky[k] = sky;
    to->sky_variance[k] = usable ? sqrtf(sky_variance) : 0; /* it is the plane of sigma now */
}

static sq_status read_same(sq_exposure *e, slot *s, int64_t x0, int64_t y0, const sq_cutout *c,
                           const sq_planes *to, sq_hasher *hasher)
{
    sq_status rc = SQ_OK;
    sq_planes from = {0};
    int64_t ox = x0 + s->dx, oy = y0 + s->dy;
    box b = clip((box){ox, oy, ox + c->nx, oy + c->ny}, s->band->nx, s->band->ny);
    if (b.x1 == b.x0)
        return SQ_OK;
    SQ_TRY(read_scratch(e, s->band, b, hasher, &from));
    int64_t wide = b.x1 - b.x0;
    for (int64_t y = b.y0; y < b.y1; y++) {
        for (int64_t x = b.x0; x < b.x1; x++) {
            size_t k = (size_t)((y - b.y0) * wide + x - b.x0);
            put(to, (size_t)((y - oy) * c->nx + x - ox), from.image[k], from.variance[k],
                from.mask[k], from.sky[k], from.sky_variance[k]);
        }
    }
cleanup:
    return rc;
}

/* The smooth planes at the nearest source pixel; the sky's noise with the kernel's own factor. */
static sq_status finish_resampled(const sq_grid_map *map, box b, const sq_planes *from,
                                  const sq_cutout *c, const sq_planes *to, const float *noise)
{
    double *x = NULL;
    sq_status rc = SQ_ALLOC(x, 3 * (size_t)c->nx, "grid map");
    if (rc != SQ_OK)
        return rc;
    double *y = x + c->nx, *area = y + c->nx;
    int64_t wide = b.x1 - b.x0, high = b.y1 - b.y0;
    for (int j = 0; j < c->ny; j++) {
        sq_grid_map_row(map, j, x, y, area);
        for (int i = 0; i < c->nx; i++) {
            size_t k = (size_t)j * c->nx + i;
            if (to->mask[k] & SQ_MASK_UNUSABLE) {
                put(to, k, 0, 0, to->mask[k], 0, 0);
                continue;
            }
            int64_t sx = llround(x[i]) - b.x0, sy = llround(y[i]) - b.y0;
            sx = sx < 0 ? 0 : sx >= wide ? wide - 1 : sx;
            sy = sy < 0 ? 0 : sy >= high ? high - 1 : sy;
            size_t at = (size_t)(sy * wide + sx);
            put(to, k, to->image[k], to->variance[k], to->mask[k], from->sky[at] * (float)area[i],
                from->sky_variance[at] * noise[k]);
        }
    }
    sq_free(x);
    return SQ_OK;
}

static sq_status read_resampled(sq_exposure *e, slot *s, int64_t x0, int64_t y0, const sq_cutout *c,
                                const sq_planes *to, sq_hasher *hasher)
{
    sq_status rc = SQ_OK;
    sq_grid_map *map = NULL;
    sq_planes from = {0};
    float *noise = NULL;
    box b;
    SQ_TRY(sq_grid_map_create(s->wcs, e->wcs, x0, y0, c->nx, c->ny, &map));
    sq_grid_map_bounds(map, &b.x0, &b.y0, &b.x1, &b.y1);
    b = clip(b, s->band->nx, s->band->ny);
    if (b.x1 == b.x0)
        goto cleanup;
    /* A band with much finer pixels, or a map that folds, would need a box without bound. */
    if ((double)(b.x1 - b.x0) * (double)(b.y1 - b.y0) > 16.0 * ((double)c->nx + 8) * (c->ny + 8))
        SQ_TRY(sq_fail(SQ_ERR_DATA, "%s: WCS: a patch covers %lld x %lld pixels of band %s",
                       s->band->info->image.path, (long long)(b.x1 - b.x0),
                       (long long)(b.y1 - b.y0), s->band->info->name));
    SQ_TRY(read_scratch(e, s->band, b, hasher, &from));
    SQ_TRY(SQ_ALLOC(noise, (size_t)c->nx * c->ny, "kernel noise"));
    SQ_TRY(sq_resample_noise_plane(map, b.x0, b.y0, (int)(b.x1 - b.x0), (int)(b.y1 - b.y0),
                                   from.image, from.variance, from.mask, SQ_MASK_OUTSIDE, to->image,
                                   to->variance, to->mask, noise));
    SQ_TRY(finish_resampled(map, b, &from, c, to, noise));
cleanup:
    sq_free(noise);
    sq_grid_map_destroy(map);
    return rc;
}

/* ---- PSF ---- */

/* Band pixel and Jacobian d(band pixel)/d(reference pixel) at a reference pixel. */
static sq_status map_point(const sq_exposure *e, const slot *s, double x, double y, double at[2],
                           double jac[4])
{
    jac[0] = jac[3] = 1;
    jac[1] = jac[2] = 0;
    at[0] = x + (double)s->dx;
    at[1] = y + (double)s->dy;
    if (s->relation == GRID_SAME)
        return SQ_OK;
    double px[5] = {x, x - 2, x + 2, x, x}, py[5] = {y, y, y, y - 2, y + 2};
    double ra[5], dec[5], bx[5], by[5];
    sq_status rc = sq_wcs_pix2sky(e->wcs, 5, px, py, ra, dec);
    if (rc == SQ_OK)
        rc = sq_wcs_sky2pix(s->wcs, 5, ra, dec, bx, by);
    for (int k = 0; k < 5 && rc == SQ_OK; k++) {
        if (isnan(bx[k]))
            rc = sq_fail(SQ_ERR_DATA, "%s: WCS: pixel (%g, %g) is not on the sky",
                         s->band->info->image.path, px[k], py[k]);
    }
    if (rc != SQ_OK)
        return rc;
    at[0] = bx[0];
    at[1] = by[0];
    jac[0] = (bx[2] - bx[1]) / 4;
    jac[1] = (bx[4] - bx[3]) / 4;
    jac[2] = (by[2] - by[1]) / 4;
    jac[3] = (by[4] - by[3]) / 4;
    return SQ_OK;
}

static float stamp_at(const float *stamp, double x, double y)
{
    int kx = (int)floor(x), ky = (int)floor(y);
    double fx = x - kx, fy = y - ky, sum = 0;
    /* Catmull-Rom cubic: a PSF is well sampled, and the kernel stays inside the stamp's wings. */
    double wx[4] = {fx * (-0.5 + fx * (1 - 0.5 * fx)), 1 + fx * fx * (-2.5 + 1.5 * fx),
                    fx * (0.5 + fx * (2 - 1.5 * fx)), fx * fx * (-0.5 + 0.5 * fx)};
    double wy[4] = {fy * (-0.5 + fy * (1 - 0.5 * fy)), 1 + fy * fy * (-2.5 + 1.5 * fy),
                    fy * (0.5 + fy * (2 - 1.5 * fy)), fy * fy * (-0.5 + 0.5 * fy)};
    for (int j = 0; j < 4; j++) {
        for (int i = 0; i < 4; i++) {
            int sx = kx - 1 + i, sy = ky - 1 + j;
            if (sx >= 0 && sy >= 0 && sx < SQ_PSF_SIDE && sy < SQ_PSF_SIDE)
                sum += wx[i] * wy[j] * stamp[sy * SQ_PSF_SIDE + sx];
        }
    }
    return (float)sum;
}

/* A stamp on the band's pixels, turned and scaled to the reference's when they differ by more than
 * a thousandth. */
static void turn_stamp(const double jac[4], float *stamp)
{
    float turned[STAMP];
    int mid = SQ_PSF_SIDE / 2;
    if (fabs(jac[0] - 1) + fabs(jac[1]) + fabs(jac[2]) + fabs(jac[3] - 1) < 2e-3)
        return;
    for (int j = 0; j < SQ_PSF_SIDE; j++) {
        for (int i = 0; i < SQ_PSF_SIDE; i++) {
            double u = i - mid, v = j - mid;
            turned[j * SQ_PSF_SIDE + i] =
                stamp_at(stamp, mid + jac[0] * u + jac[1] * v, mid + jac[2] * u + jac[3] * v);
        }
    }
    if (!sq_psf_fit(turned, SQ_PSF_SIDE, stamp))
        sq_psf_fit(stamp, SQ_PSF_SIDE, turned);
}

static sq_status fill_psf(const sq_exposure *e, const slot *s, int64_t x0, int64_t y0, sq_cutout *c,
                          int band)
{
    sq_status rc = SQ_OK;
    int64_t nx, ny;
    sq_exposure_shape(e, &nx, &ny);
    for (int k = 0; k < SQ_PSF_NODES * SQ_PSF_NODES; k++) {
        float *stamp = c->psf + ((size_t)band * SQ_PSF_NODES * SQ_PSF_NODES + (size_t)k) * STAMP;
        double x = (double)x0 + (double)(c->nx - 1) * (k % SQ_PSF_NODES) / (SQ_PSF_NODES - 1);
        double y = (double)y0 + (double)(c->ny - 1) * (k / SQ_PSF_NODES) / (SQ_PSF_NODES - 1);
        double at[2], jac[4];
        /* Nodes outside the tile take the PSF at its border: the polynomials are not meant to go
         * on. */
        x = fmin((double)(nx - 1), fmax(0, x));
        y = fmin((double)(ny - 1), fmax(0, y));
        SQ_TRY(map_point(e, s, x, y, at, jac));
        at[0] = fmin((double)(s->band->nx - 1), fmax(0, at[0]));
        at[1] = fmin((double)(s->band->ny - 1), fmax(0, at[1]));
        SQ_TRY(s->band->psf(s->band, at[0], at[1], stamp));
        turn_stamp(jac, stamp);
    }
cleanup:
    return rc;
}

/* ---- the cutout ---- */

static void fill_noise(const sq_exposure *e, const slot *s, int64_t x0, int64_t y0, sq_cutout *c,
                       int band)
{
    double at[2], jac[4], noise[3] = {1, 0, 0};
    double x = (double)x0 + c->nx / 2, y = (double)y0 + c->ny / 2;
    if (s->relation == GRID_RESAMPLED && map_point(e, s, x, y, at, jac) == SQ_OK) {
        double stretch = fabs(jac[0] - 1) + fabs(jac[1]) + fabs(jac[2]) + fabs(jac[3] - 1);
        /* With one scale and direction the phase hardly changes over a patch. */
        if (stretch * c->nx < 0.2)
            sq_resample_noise(at[0] - x, at[1] - y, noise);
        else
            sq_resample_noise(NAN, NAN, noise);
    }
    c->correlation[band][0] = noise[1];
    c->correlation[band][1] = noise[2];
}

static sq_status read_band(sq_exposure *e, int b, int64_t x0, int64_t y0, sq_cutout *c,
                           sq_hasher *hasher)
{
    sq_status rc = SQ_OK;
    slot *s = &e->slot[b];
    sq_planes to = planes_of(c, b);
    blank(&to, (size_t)c->nx * c->ny);
    snprintf(c->band[b], sizeof c->band[b], "%s", e->name[b]);
    c->present[b] = s->band != NULL;
    c->gain[b] = s->band ? s->band->gain : 0;
    c->aperture[b] = s->band ? s->band->aperture : 1;
    c->correlation[b][0] = c->correlation[b][1] = 0;
    sq_hasher_add(hasher, c->band[b], sizeof c->band[b]);
    if (!s->band) {
        memset(c->psf + (size_t)b * SQ_PSF_NODES * SQ_PSF_NODES * STAMP, 0,
               SQ_PSF_NODES * SQ_PSF_NODES * STAMP * sizeof *c->psf);
        return SQ_OK;
    }
    sq_hasher_add(hasher, &s->band->hash, sizeof s->band->hash);
    if (s->relation == GRID_SAME)
        SQ_TRY(read_same(e, s, x0, y0, c, &to, hasher));
    else
        SQ_TRY(read_resampled(e, s, x0, y0, c, &to, hasher));
    SQ_TRY(fill_psf(e, s, x0, y0, c, b));
    fill_noise(e, s, x0, y0, c, b);
cleanup:
    return rc;
}

sq_status sq_exposure_read(sq_exposure *e, int64_t x0, int64_t y0, sq_cutout *c)
{
    sq_status rc = SQ_OK;
    sq_hasher *hasher = NULL;
    int64_t nx, ny;
    if (c->nband != e->nband)
        return sq_fail(SQ_ERR_USAGE, "%s: a cutout of %d bands from an exposure of %d",
                       e->tile.name, c->nband, e->nband);
    sq_exposure_shape(e, &nx, &ny);
    SQ_TRY(sq_hasher_create(&hasher));
    c->x0 = x0;
    c->y0 = y0;
    double x = fmin((double)(nx - 1), fmax(0, (double)x0 + c->nx / 2));
    double y = fmin((double)(ny - 1), fmax(0, (double)y0 + c->ny / 2));
    c->scale = sq_wcs_scale(e->wcs, x, y);
    for (int b = 0; b < e->nband; b++)
        SQ_TRY(read_band(e, b, x0, y0, c, hasher));
    c->input_hash = sq_hasher_finish(hasher);
cleanup:
    sq_hasher_destroy(hasher);
    return rc;
}
