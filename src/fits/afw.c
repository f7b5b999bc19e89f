#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/select.h"
#include "fits/band.h"
#include "fits/cards.h"

enum { BITS = 32, CELL = 64 };

/* Mask planes by name; other planes (DETECTED and the like) say nothing about a pixel's use. */
static const struct {
    const char *name;
    uint32_t bit;
} known[] = {
    {"BAD", SQ_MASK_BAD},
    {"SAT", SQ_MASK_SATURATED},
    {"INTRP", SQ_MASK_INTERPOLATED},
    {"CR", SQ_MASK_COSMIC},
    {"EDGE", SQ_MASK_EDGE},
    {"SENSOR_EDGE", SQ_MASK_EDGE},
    {"NO_DATA", SQ_MASK_OUTSIDE},
    {"BRIGHT_OBJECT", SQ_MASK_BRIGHT},
    {"NOT_CHECKED", SQ_MASK_NOTCHECKED},
    {"NOT_DEBLENDED", SQ_MASK_NOTCHECKED},
    {"UNMASKEDNAN", SQ_MASK_BAD},
    /* Names of lsst.images. */
    {"SATURATED", SQ_MASK_SATURATED},
    {"INTERPOLATED", SQ_MASK_INTERPOLATED},
    {"COSMIC_RAY", SQ_MASK_COSMIC},
    {"DETECTION_EDGE", SQ_MASK_EDGE},
    {"UNMASKED_NAN", SQ_MASK_BAD},
};

uint32_t sq_afw_plane(const char *name)
{
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
        if (strcmp(name, known[k].name) == 0)
            return known[k].bit;
    }
    return 0;
}

typedef struct afw_band {
    sq_band base;
    const sq_psf_grid *psf;
    int number; /* in the PSF grid */
    sq_input *image;
    int hdu[3];         /* IMAGE, MASK, VARIANCE */
    double unit;        /* nJy per count */
    uint32_t bit[BITS]; /* unified bits of each mask plane */
    int32_t *raw;       /* scratch for mask pixels */
    size_t raw_capacity;
} afw_band;

sq_status sq_afw_find(sq_input *input, const char *plane, int *hdu)
{
    sq_status rc = SQ_OK;
    for (int k = 0; k < 64; k++) {
        char *header = NULL, text[32] = "";
        if (sq_input_goto(input, k) != SQ_OK)
            break;
        SQ_TRY(sq_input_header(input, &header));
        int is = (sq_cards_text(header, "EXTTYPE", text, sizeof text) ||
                  sq_cards_text(header, "EXTNAME", text, sizeof text)) &&
                 strcmp(text, plane) == 0;
        sq_free(header);
        if (is) {
            *hdu = k;
            return SQ_OK;
        }
    }
    rc = sq_fail(SQ_ERR_FORMAT, "%s: EXTTYPE: no HDU is %s", input->path, plane);
cleanup:
    return rc;
}

sq_status sq_afw_unit(const char *header, const char *where, double *out)
{
    static const struct {
        const char *name;
        double njy;
    } units[] = {{"njy", 1},
                 {"ujy", 1e3},
                 {"mjy", 1e6},
                 {"jy", 1e9},
                 {"nanomaggy", SQ_NJY_PER_NANOMAGGY},
                 {"nanomaggies", SQ_NJY_PER_NANOMAGGY}};
    static const char *const counts[] = {"", "adu", "count", "counts", "electron", "electrons"};
    char unit[32] = "";
    double zero;
    sq_cards_text(header, "BUNIT", unit, sizeof unit);
    for (char *c = unit; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    for (size_t k = 0; k < sizeof units / sizeof units[0]; k++) {
        if (strcmp(unit, units[k].name) == 0) {
            *out = units[k].njy;
            return SQ_OK;
        }
    }
    for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
        if (strcmp(unit, counts[k]) != 0)
            continue;
        /* FLUXMAG0: the counts of magnitude zero; without it LSST's and HSC's zero point 27. */
        if (!sq_cards_real(header, "FLUXMAG0", &zero) || zero <= 0)
            zero = pow(10, 27 / 2.5);
        *out = pow(10, 31.4 / 2.5) / zero;
        return SQ_OK;
    }
    return sq_fail(SQ_ERR_FORMAT, "%s: BUNIT: '%s' is not a unit of flux known here", where, unit);
}

/* ---- reading ---- */

float sq_empty_variance(const float *variance, int64_t nx, int x0, int x1, int y0, int y1,
                        float *work)
{
    int n = 0;
    for (int y = y0; y < y1; y++) {
        for (int x = x0; x < x1; x++) {
            float v = variance[(size_t)y * nx + x];
            if (isfinite(v))
                work[n++] = v;
        }
    }
    if (n == 0)
        return NAN;
    return sq_select_f32(work, n, n / 3);
}

/* Cells without usable pixels take the mean of the others. */
static void fill_gaps(sq_surface *s)
{
    double sum = 0;
    int n = 0, all = s->nx * s->ny;
    for (int k = 0; k < all; k++) {
        if (isfinite(s->value[k])) {
            sum += s->value[k];
            n++;
        }
    }
    for (int k = 0; k < all; k++) {
        if (!isfinite(s->value[k]))
            s->value[k] = n > 0 ? (float)(sum / n) : 0;
    }
}

static sq_status fill_sky_variance(const sq_planes *p, int nx, int ny)
{
    sq_status rc = SQ_OK;
    sq_surface s = {0};
    float *work = NULL;
    int cx = nx > CELL ? nx / CELL : 1, cy = ny > CELL ? ny / CELL : 1;
    SQ_TRY(sq_surface_create(cx, cy, nx, ny, &s));
    SQ_TRY(SQ_ALLOC(work, (size_t)(nx / cx + 1) * (ny / cy + 1), "variance cell"));
    for (int j = 0; j < cy; j++) {
        int y0 = (int)((int64_t)j * ny / cy), y1 = (int)((int64_t)(j + 1) * ny / cy);
        for (int i = 0; i < cx; i++) {
            int x0 = (int)((int64_t)i * nx / cx), x1 = (int)((int64_t)(i + 1) * nx / cx);
            s.value[j * cx + i] = sq_empty_variance(p->variance, nx, x0, x1, y0, y1, work);
        }
    }
    fill_gaps(&s);
    for (int x = 0; x < nx; x++)
        s.at_x[x] = ((float)x + 0.5f) * (float)cx / (float)nx - 0.5f;
    for (int y = 0; y < ny; y++)
        s.at_y[y] = ((float)y + 0.5f) * (float)cy / (float)ny - 0.5f;
    for (int y = 0; y < ny; y++) {
        float *row = p->sky_variance + (size_t)y * nx;
        sq_surface_row(&s, y, 0, nx, row);
        for (int x = 0; x < nx; x++) {
            if (!isfinite(p->variance[(size_t)y * nx + x]))
                row[x] = NAN;
        }
    }
cleanup:
    sq_free(work);
    sq_surface_clear(&s);
    return rc;
}

static uint32_t unify(const afw_band *b, uint32_t planes)
{
    uint32_t bits = 0;
    for (; planes; planes &= planes - 1)
        bits |= b->bit[__builtin_ctz(planes)];
    return bits;
}

void sq_afw_finish(const sq_planes *p, size_t n, float unit)
{
    for (size_t i = 0; i < n; i++) {
        p->image[i] *= unit;
        p->variance[i] *= unit * unit;
        if (!isfinite(p->image[i]) || !isfinite(p->variance[i]) || !(p->variance[i] > 0))
            p->mask[i] |= SQ_MASK_BAD;
        if (p->mask[i] & SQ_MASK_UNUSABLE)
            p->image[i] = p->variance[i] = NAN;
    }
}

static sq_status read_band(sq_band *band, int64_t x0, int64_t y0, int nx, int ny,
                           const sq_planes *out, sq_hasher *hasher)
{
    afw_band *b = (afw_band *)band;
    sq_status rc = SQ_OK;
    size_t n = (size_t)nx * ny;
    SQ_TRY(SQ_GROW(b->raw, b->raw_capacity, n, "mask pixels"));
    SQ_TRY(sq_input_goto(b->image, b->hdu[0]));
    SQ_TRY(sq_input_read_float(b->image, x0, y0, nx, ny, out->image));
    SQ_TRY(sq_input_goto(b->image, b->hdu[1]));
    SQ_TRY(sq_input_read_int(b->image, x0, y0, nx, ny, b->raw));
    SQ_TRY(sq_input_goto(b->image, b->hdu[2]));
    SQ_TRY(sq_input_read_float(b->image, x0, y0, nx, ny, out->variance));
    sq_hasher_add(hasher, out->image, n * sizeof *out->image);
    sq_hasher_add(hasher, b->raw, n * sizeof *b->raw);
    sq_hasher_add(hasher, out->variance, n * sizeof *out->variance);
    for (size_t i = 0; i < n; i++)
        out->mask[i] = unify(b, (uint32_t)b->raw[i]);
    sq_afw_finish(out, n, (float)b->unit);
    SQ_TRY(fill_sky_variance(out, nx, ny));
    for (int y = 0; y < ny; y++)
        sq_psf_grid_sky_row(b->psf, b->number, y0 + y, x0, nx, out->sky + (size_t)y * nx);
cleanup:
    return rc;
}

static sq_status psf_at(const sq_band *band, double x, double y, float *out)
{
    const afw_band *b = (const afw_band *)band;
    return sq_psf_grid_at(b->psf, b->number, x, y, out);
}

static void close_band(sq_band *band)
{
    afw_band *b = (afw_band *)band;
    sq_input_close(b->image);
    sq_free(b->raw);
    sq_free(b);
}

/* ---- opening ---- */

static sq_status read_planes(afw_band *b, const char *header)
{
    char name[64];
    int64_t plane;
    int found = 0;
    for (size_t at = 0; sq_cards_next(header, "MP_", &at, name, sizeof name, &plane);) {
        if (plane < 0 || plane >= BITS)
            return sq_fail(SQ_ERR_FORMAT, "%s[%d]: MP_%s: plane %lld of a 32-bit mask",
                           b->image->path, b->hdu[1], name, (long long)plane);
        found = 1;
        b->bit[plane] |= sq_afw_plane(name);
    }
    if (!found)
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: MP_: the mask does not name its planes",
                       b->image->path, b->hdu[1]);
    return SQ_OK;
}

static sq_status find_planes(afw_band *b)
{
    static const char *const names[3] = {"IMAGE", "MASK", "VARIANCE"};
    sq_status rc = SQ_OK;
    for (int k = 0; k < 3; k++) {
        int64_t nx, ny;
        SQ_TRY(sq_afw_find(b->image, names[k], &b->hdu[k]));
        SQ_TRY(sq_input_goto(b->image, b->hdu[k]));
        SQ_TRY(sq_input_image_size(b->image, &nx, &ny));
        if (k == 0) {
            b->base.nx = nx;
            b->base.ny = ny;
        } else if (nx != b->base.nx || ny != b->base.ny) {
            return sq_fail(SQ_ERR_FORMAT,
                           "%s[%d]: NAXIS1: %s has %lld x %lld pixels, IMAGE %lld x "
                           "%lld",
                           b->image->path, b->hdu[k], names[k], (long long)nx, (long long)ny,
                           (long long)b->base.nx, (long long)b->base.ny);
        }
    }
cleanup:
    return rc;
}

static sq_status read_cards(afw_band *b)
{
    sq_status rc = SQ_OK;
    char *header = NULL, *primary = NULL, *both = NULL, where[SQ_PATH_MAX + 16];
    SQ_TRY(sq_input_goto(b->image, b->hdu[1]));
    SQ_TRY(sq_input_header(b->image, &header));
    SQ_TRY(read_planes(b, header));
    sq_free(header);
    header = NULL;
    SQ_TRY(sq_input_goto(b->image, b->hdu[0]));
    SQ_TRY(sq_input_header(b->image, &header));
    SQ_TRY(sq_input_goto(b->image, 0));
    SQ_TRY(sq_input_header(b->image, &primary));
    /* The image's own cards come first and win: INHERIT. */
    SQ_TRY(sq_alloc(&both, strlen(header) + strlen(primary) + 1, 1, "header"));
    strcat(strcpy(both, header), primary);
    snprintf(where, sizeof where, "%s[%d]", b->image->path, b->hdu[0]);
    SQ_TRY(sq_afw_unit(both, where, &b->unit));
    double gain;
    if (sq_cards_real(both, "GAIN", &gain) && gain > 0)
        b->base.gain = gain / b->unit;
cleanup:
    sq_free(header);
    sq_free(primary);
    sq_free(both);
    return rc;
}

sq_status sq_afw_band_open(const sq_tile_band *info, const sq_psf_grid *psf, sq_band **out)
{
    sq_status rc = SQ_OK;
    afw_band *b = NULL;
    int64_t nx, ny;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(b, 1, "band"));
    b->base = (sq_band){.info = info, .read = read_band, .psf = psf_at, .close = close_band};
    b->psf = psf;
    b->number = sq_psf_grid_band(psf, info->name);
    if (b->number < 0)
        SQ_TRY(sq_fail(SQ_ERR_DATA, "%s: the PSF side file has no band %s", info->image.path,
                       info->name));
    SQ_TRY(sq_input_open(info->image.path, SQ_INPUT_ALL, &b->image));
    b->base.held = b->image->capacity;
    SQ_TRY(find_planes(b));
    sq_psf_grid_size(psf, &nx, &ny);
    if (nx != b->base.nx || ny != b->base.ny)
        SQ_TRY(sq_fail(SQ_ERR_DATA,
                       "%s: the PSF side file is for %lld x %lld pixels, the image has "
                       "%lld x %lld",
                       info->image.path, (long long)nx, (long long)ny, (long long)b->base.nx,
                       (long long)b->base.ny));
    SQ_TRY(read_cards(b));
    b->base.hash = sq_hash_combine(sq_psf_grid_hash(psf), sq_hash_bytes(b->bit, sizeof b->bit));
    *out = &b->base;
    b = NULL;
cleanup:
    if (b)
        close_band(&b->base);
    return rc;
}
