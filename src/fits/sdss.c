#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fits/band.h"
#include "fits/cards.h"

enum { SKY_CELL = 128, SKY_NODES_MAX = 1 << 22 };

/* A band of a frame or of an fpC. Both become DN = image / cal + sky with sky in DN. */
typedef struct sdss_band {
    sq_band base;
    const sq_sdss_field *field;
    int number; /* in ugriz */
    sq_input *image;
    int hdu;
    int raw; /* fpC: pixels are DN with the sky and a soft bias */
    double softbias;
    float *cal;     /* nJy per DN of each column */
    sq_surface sky; /* DN */
    double gain, dark;
    uint8_t *mask; /* of the whole image, NULL without fpM */
} sdss_band;

static void close_band(sq_band *band)
{
    sdss_band *b = (sdss_band *)band;
    sq_input_close(b->image);
    sq_free(b->cal);
    sq_surface_clear(&b->sky);
    sq_free(b->mask);
    sq_free(b);
}

/* ---- one box ---- */

/* A row: DN from the file are in `image`, sky DN in `sky`; all planes become nJy. */
static void calibrate_row(const sdss_band *b, int64_t x0, int64_t y, int nx, const sq_planes *p,
                          size_t at)
{
    const float *cal = b->cal + x0;
    const uint8_t *mask = b->mask ? b->mask + y * b->base.nx + x0 : NULL;
    float *image = p->image + at, *variance = p->variance + at, *sky = p->sky + at;
    float *empty = p->sky_variance + at;
    uint32_t *bits = p->mask + at;
    float inverse = (float)(1 / b->gain), dark = (float)b->dark, bias = (float)b->softbias;
    const float unit = (float)SQ_NJY_PER_NANOMAGGY;
    for (int i = 0; i < nx; i++) {
        float c = cal[i], level = sky[i];
        float value = b->raw ? (image[i] - bias - level) * c : image[i] * unit;
        float dn = b->raw ? image[i] - bias : value / c + level;
        float shot = dn > 0 ? dn * inverse : 0;
        bits[i] = mask ? mask[i] : 0;
        image[i] = value;
        variance[i] = c * c * (shot + dark);
        empty[i] = c * c * ((level > 0 ? level * inverse : 0) + dark);
        sky[i] = level * c;
        if (!isfinite(value) || !(variance[i] > 0) || !(empty[i] > 0) || !isfinite(variance[i])) {
            bits[i] |= SQ_MASK_BAD;
            image[i] = variance[i] = empty[i] = NAN;
        }
    }
}

static sq_status read_band(sq_band *band, int64_t x0, int64_t y0, int nx, int ny,
                           const sq_planes *out, sq_hasher *hasher)
{
    sdss_band *b = (sdss_band *)band;
    sq_status rc = sq_input_goto(b->image, b->hdu);
    if (rc == SQ_OK)
        rc = sq_input_read_float(b->image, x0, y0, nx, ny, out->image);
    if (rc != SQ_OK)
        return rc;
    sq_hasher_add(hasher, out->image, (size_t)nx * ny * sizeof *out->image);
    for (int j = 0; j < ny; j++) {
        size_t at = (size_t)j * nx;
        sq_surface_row(&b->sky, y0 + j, x0, nx, out->sky + at);
        calibrate_row(b, x0, y0 + j, nx, out, at);
        if (b->mask)
            sq_hasher_add(hasher, b->mask + (y0 + j) * b->base.nx + x0, (size_t)nx);
    }
    return SQ_OK;
}

static sq_status psf_at(const sq_band *band, double x, double y, float *out)
{
    const sdss_band *b = (const sdss_band *)band;
    return sq_sdss_field_psf(b->field, b->number, x, y, out);
}

/* ---- opening ---- */

static sq_status to_float(const char *path, int hdu, const char *what, const double *from,
                          int64_t n, double scale, float *to)
{
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(from[i]))
            return sq_fail(SQ_ERR_FORMAT, "%s[%d]: %s: not a number", path, hdu, what);
        to[i] = (float)(from[i] * scale);
    }
    return SQ_OK;
}

/* HDU 1 of a frame: nanomaggies per DN of each column. */
static sq_status read_calibration(sdss_band *b)
{
    sq_status rc = SQ_OK;
    int status = 0, naxis = 0, any;
    LONGLONG n = 0;
    float zero = 0;
    sq_input *in = b->image;
    SQ_TRY(sq_input_goto(in, b->hdu + 1));
    fits_get_img_dim(in->fits, &naxis, &status);
    if (!status && naxis == 1)
        fits_get_img_sizell(in->fits, 1, &n, &status);
    if (status || naxis != 1 || n != b->base.nx)
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: NAXIS1: %lld calibrations for %lld columns",
                       in->path, b->hdu + 1, (long long)n, (long long)b->base.nx);
    fits_read_img(in->fits, TFLOAT, 1, n, &zero, b->cal, &any, &status);
    if (status)
        return sq_fits_fail(status, in->path, b->hdu + 1, "calibration vector");
    for (int64_t i = 0; i < n; i++) {
        if (!(b->cal[i] > 0 && b->cal[i] < 1e6f))
            return sq_fail(SQ_ERR_FORMAT, "%s[%d]: calibration of column %lld is %g nMgy per DN",
                           in->path, b->hdu + 1, (long long)i, (double)b->cal[i]);
        b->cal[i] = (float)(b->cal[i] * SQ_NJY_PER_NANOMAGGY);
    }
cleanup:
    return rc;
}

/* The shape of ALLSKY from its TDIM. */
static sq_status allsky_shape(sq_input *in, int64_t *nx, int64_t *ny)
{
    int status = 0, column = 0, naxis = 0;
    LONGLONG axes[4] = {0, 0, 0, 0};
    fits_get_colnum(in->fits, CASEINSEN, "ALLSKY", &column, &status);
    fits_read_tdimll(in->fits, column, 4, &naxis, axes, &status);
    fits_clear_errmsg();
    if (status || naxis != 2 || axes[0] < 1 || axes[1] < 1 || axes[0] > SKY_NODES_MAX ||
        axes[1] > SKY_NODES_MAX / axes[0])
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: ALLSKY: no image of two dimensions", in->path,
                       in->hdu);
    *nx = axes[0];
    *ny = axes[1];
    return SQ_OK;
}

/* HDU 2 of a frame: the sky in DN and where the image's columns and rows lie on it. */
static sq_status read_sky(sdss_band *b)
{
    sq_status rc = SQ_OK;
    sq_input *in = b->image;
    double *cell = NULL;
    int hdu = b->hdu + 2;
    int64_t nx = 0, ny = 0, w = b->base.nx, h = b->base.ny;
    SQ_TRY(sq_input_goto(in, hdu));
    SQ_TRY(allsky_shape(in, &nx, &ny));
    SQ_TRY(sq_surface_create((int)nx, (int)ny, w, h, &b->sky));
    int64_t most = nx * ny > w ? nx * ny : w;
    SQ_TRY(SQ_ALLOC(cell, most > h ? most : h, "sky vectors"));
    SQ_TRY(sq_input_cell(in, "ALLSKY", 0, nx * ny, 0, cell));
    SQ_TRY(to_float(in->path, hdu, "ALLSKY", cell, nx * ny, 1, b->sky.value));
    /* A cut-out frame keeps the vectors of the whole one. */
    SQ_TRY(sq_input_cell(in, "XINTERP", 0, w, 1, cell));
    SQ_TRY(to_float(in->path, hdu, "XINTERP", cell, w, 1, b->sky.at_x));
    SQ_TRY(sq_input_cell(in, "YINTERP", 0, h, 1, cell));
    SQ_TRY(to_float(in->path, hdu, "YINTERP", cell, h, 1, b->sky.at_y));
cleanup:
    sq_free(cell);
    return rc;
}

/* Rows of an fpC in DN above the soft bias. */
static sq_status read_raw_rows(void *user, int64_t y0, int rows, float *out)
{
    sdss_band *b = user;
    int nx = (int)b->base.nx;
    sq_status rc = sq_input_read_float(b->image, 0, y0, nx, rows, out);
    for (int64_t i = 0; i < (int64_t)nx * rows && rc == SQ_OK; i++)
        out[i] -= (float)b->softbias;
    return rc;
}

static sq_status open_raw(sdss_band *b, const char *header, const sq_sdss_noise *noise)
{
    if (!sq_cards_real(header, "SOFTBIAS", &b->softbias))
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: SOFTBIAS: missing", b->image->path, b->hdu);
    b->raw = 1;
    for (int64_t i = 0; i < b->base.nx; i++)
        b->cal[i] = (float)(noise->nmgy * SQ_NJY_PER_NANOMAGGY);
    sq_status rc = sq_input_goto(b->image, b->hdu);
    if (rc == SQ_OK)
        rc = sq_background(b->base.nx, b->base.ny, SKY_CELL, read_raw_rows, b, &b->sky);
    return rc;
}

static sq_status check_unit(const sdss_band *b, const char *header)
{
    char unit[32];
    if (sq_cards_text(header, "BUNIT", unit, sizeof unit) && unit[0] &&
        strncmp(unit, "nanomagg", 8) != 0 && strncmp(unit, "nMgy", 4) != 0)
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: BUNIT: '%s' where nanomaggy is expected",
                       b->image->path, b->hdu, unit);
    return SQ_OK;
}

static sq_hash vectors_hash(const sdss_band *b)
{
    const sq_surface *s = &b->sky;
    sq_hash h = sq_sdss_field_hash(b->field, b->number);
    h = sq_hash_combine(h, sq_hash_bytes(b->cal, (size_t)b->base.nx * sizeof *b->cal));
    h = sq_hash_combine(h, sq_hash_bytes(s->value, (size_t)s->nx * s->ny * sizeof *s->value));
    h = sq_hash_combine(h, sq_hash_bytes(s->at_x, (size_t)s->width * sizeof *s->at_x));
    return sq_hash_combine(h, sq_hash_bytes(s->at_y, (size_t)s->height * sizeof *s->at_y));
}

/* The image HDU: the first, or the second of a tile-compressed file. */
static sq_status find_image(sdss_band *b)
{
    int naxis = 0, status = 0;
    sq_status rc = sq_input_goto(b->image, 0);
    if (rc != SQ_OK)
        return rc;
    fits_get_img_dim(b->image->fits, &naxis, &status);
    b->hdu = naxis == 0 && !status ? 1 : 0;
    rc = sq_input_goto(b->image, b->hdu);
    return rc == SQ_OK ? sq_input_image_size(b->image, &b->base.nx, &b->base.ny) : rc;
}

sq_status sq_sdss_band_open(const sq_tile *tile, const sq_tile_band *info,
                            const sq_sdss_field *field, sq_band **out)
{
    sq_status rc = SQ_OK;
    sdss_band *b = NULL;
    char *header = NULL;
    sq_sdss_noise noise;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(b, 1, "band"));
    b->base = (sq_band){.info = info, .read = read_band, .psf = psf_at, .close = close_band};
    b->field = field;
    b->number = sq_sdss_band_number(info->name);
    if (b->number < 0)
        SQ_TRY(sq_fail(SQ_ERR_DATA, "%s: band %s is not one of u g r i z", tile->name, info->name));
    sq_sdss_field_noise(field, b->number, &noise);
    b->gain = noise.gain;
    b->dark = noise.dark_variance;
    SQ_TRY(sq_input_open(info->image.path, SQ_INPUT_ALL, &b->image));
    b->base.held = b->image->capacity;
    SQ_TRY(find_image(b));
    SQ_TRY(sq_input_header(b->image, &header));
    SQ_TRY(SQ_ALLOC(b->cal, b->base.nx, "calibration vector"));
    if (tile->format == SQ_TILE_SDSS_FPC) {
        SQ_TRY(open_raw(b, header, &noise));
    } else {
        SQ_TRY(check_unit(b, header));
        SQ_TRY(read_calibration(b));
        SQ_TRY(read_sky(b));
    }
    if (info->mask.path)
        SQ_TRY(sq_fpm_read(info->mask.path, tile->name, b->base.nx, b->base.ny, &b->mask));
    b->base.gain = b->gain / b->cal[b->base.nx / 2];
    b->base.hash = vectors_hash(b);
    *out = &b->base;
    b = NULL;
cleanup:
    sq_free(header);
    if (b)
        close_band(&b->base);
    return rc;
}
