#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "fits/ast.h"
#include "fits/write.h"
#include "fits/writer.h"

enum { HDUS = 6 }; /* in front of the index: primary, IMAGE, MASK, VARIANCE, PSF, JSON */

#define SCHEMAS "https://images.lsst.io/schemas/"
#define VERSION "\"schema_version\":\"1.0.0\",\"min_read_version\":1"

static const struct {
    const char *name, *description;
    uint32_t bit;
} planes[] = {
    {"NO_DATA", "No data was available for this pixel.", SQ_MASK_UNUSABLE},
    {"INTERPOLATED", "The value is interpolated from nearby pixels.", SQ_MASK_INTERPOLATED},
    {"COSMIC_RAY", "A cosmic ray affected this pixel.", SQ_MASK_COSMIC},
    {"SATURATED", "Saturated in an input.", SQ_MASK_SATURATED},
    {"DETECTION_EDGE", "Too close to the edge for detection.", SQ_MASK_EDGE},
    {"BRIGHT_OBJECT", "Halo, ghost or bleed of a bright object.", SQ_MASK_BRIGHT},
    {"NOT_DEBLENDED", "Not looked at.", SQ_MASK_NOTCHECKED},
};
enum { PLANES = sizeof planes / sizeof planes[0] };

static int64_t cells(int64_t n, int cell)
{
    return (n + cell - 1) / cell;
}

static int is_missing(const sq_cell_coadd *c, int64_t i, int64_t j)
{
    return isnan(c->psf[(i * cells(c->nx, c->cell) + j) * c->side * c->side]);
}

static int no_data(const sq_cell_coadd *c, int64_t x, int64_t y)
{
    int64_t k = y * c->nx + x;
    return (c->mask[k] & SQ_MASK_UNUSABLE) || !isfinite(c->image[k]) || !isfinite(c->variance[k]) ||
           is_missing(c, y / c->cell, x / c->cell);
}

/* ---- the planes ---- */

static void put_long(sq_writer *w, const char *key, int64_t value, const char *comment)
{
    LONGLONG copy = value;
    fits_update_key(w->fits, TLONGLONG, key, &copy, comment, &w->status);
}

/* Tile-compressed without loss; `tile` has an entry for each axis. */
static void start_image(sq_writer *w, const char *name, int bitpix, int naxis, LONGLONG *axes,
                        long *tile)
{
    w->what = name;
    fits_set_compression_type(w->fits, GZIP_2, &w->status);
    fits_set_quantize_level(w->fits, 0, &w->status);
    fits_set_tile_dim(w->fits, naxis, tile, &w->status);
    fits_create_imgll(w->fits, bitpix, naxis, axes, &w->status);
    sq_writer_text(w, "EXTNAME", name, "");
}

/* The second WCS gives a pixel's place in the tract. */
static void start_plane(sq_writer *w, const char *name, int bitpix, const sq_cell_coadd *c,
                        const char *wcs_cards)
{
    LONGLONG axes[2] = {c->nx, c->ny};
    long tile[2] = {c->cell < c->nx ? c->cell : (long)c->nx,
                    c->cell < c->ny ? c->cell : (long)c->ny};
    double first = 1, x = (double)c->x0, y = (double)c->y0;
    start_image(w, name, bitpix, 2, axes, tile);
    sq_writer_cards(w, wcs_cards);
    sq_writer_text(w, "CTYPE1A", "LINEAR", "");
    sq_writer_text(w, "CTYPE2A", "LINEAR", "");
    fits_update_key(w->fits, TDOUBLE, "CRPIX1A", &first, NULL, &w->status);
    fits_update_key(w->fits, TDOUBLE, "CRPIX2A", &first, NULL, &w->status);
    fits_update_key(w->fits, TDOUBLE, "CRVAL1A", &x, NULL, &w->status);
    fits_update_key(w->fits, TDOUBLE, "CRVAL2A", &y, NULL, &w->status);
    sq_writer_text(w, "CUNIT1A", "PIXEL", "");
    sq_writer_text(w, "CUNIT2A", "PIXEL", "");
}

/* A whole row of cells at once: cfitsio would otherwise compress each of them again and again. */
typedef struct strip {
    int64_t y0, rows;
} strip;

static int next_strip(const sq_cell_coadd *c, const sq_writer *w, strip *s)
{
    s->y0 += s->rows;
    s->rows = c->ny - s->y0 < c->cell ? c->ny - s->y0 : c->cell;
    return s->rows > 0 && !w->status;
}

/* A plane of floats; `empty` where there are no data. */
static sq_status put_floats(sq_writer *w, const sq_cell_coadd *c, const float *plane, float empty)
{
    float *value = NULL;
    sq_status rc = SQ_ALLOC(value, c->nx * c->cell, "row of cells");
    for (strip s = {0, 0}; rc == SQ_OK && next_strip(c, w, &s);) {
        int64_t n = s.rows * c->nx, first = s.y0 * c->nx;
        for (int64_t k = 0; k < n; k++)
            value[k] =
                no_data(c, (first + k) % c->nx, (first + k) / c->nx) ? empty : plane[first + k];
        fits_write_img(w->fits, TFLOAT, 1 + first, n, value, &w->status);
    }
    sq_free(value);
    return rc;
}

static void put_plane_names(sq_writer *w)
{
    char key[16];
    for (int k = 0; k < PLANES; k++) {
        snprintf(key, sizeof key, "MSKN%04d", k);
        sq_writer_text(w, key, planes[k].name, "");
        snprintf(key, sizeof key, "MSKM%04d", k);
        put_long(w, key, 1 << k, "");
        snprintf(key, sizeof key, "MSKD%04d", k);
        sq_writer_text(w, key, planes[k].description, "");
    }
}

static int mask_bits(const sq_cell_coadd *c, int64_t x, int64_t y)
{
    int bits = no_data(c, x, y);
    for (int k = 1; k < PLANES; k++)
        bits |= (c->mask[y * c->nx + x] & planes[k].bit) ? 1 << k : 0;
    return bits;
}

static sq_status put_mask(sq_writer *w, const sq_cell_coadd *c)
{
    int *value = NULL;
    sq_status rc = SQ_ALLOC(value, c->nx * c->cell, "row of cells");
    put_plane_names(w);
    for (strip s = {0, 0}; rc == SQ_OK && next_strip(c, w, &s);) {
        int64_t n = s.rows * c->nx, first = s.y0 * c->nx;
        for (int64_t k = 0; k < n; k++)
            value[k] = mask_bits(c, (first + k) % c->nx, (first + k) / c->nx);
        fits_write_img(w->fits, TINT, 1 + first, n, value, &w->status);
    }
    sq_free(value);
    return rc;
}

static sq_status put_planes(sq_writer *w, const sq_cell_coadd *c, const char *wcs_cards)
{
    sq_status rc = SQ_OK;
    start_plane(w, "IMAGE", FLOAT_IMG, c, wcs_cards);
    sq_writer_text(w, "BUNIT", "nJy", "AB zero point 31.4");
    SQ_TRY(put_floats(w, c, c->image, 0));
    sq_writer_checksums(w);
    start_plane(w, "MASK", LONG_IMG, c, wcs_cards);
    SQ_TRY(put_mask(w, c));
    sq_writer_checksums(w);
    start_plane(w, "VARIANCE", FLOAT_IMG, c, wcs_cards);
    sq_writer_text(w, "BUNIT", "nJy2", "");
    SQ_TRY(put_floats(w, c, c->variance, INFINITY));
    sq_writer_checksums(w);
cleanup:
    return rc;
}

static void put_psf(sq_writer *w, const sq_cell_coadd *c)
{
    LONGLONG axes[4] = {c->side, c->side, cells(c->nx, c->cell), cells(c->ny, c->cell)};
    long tile[4] = {c->side, c->side, 1, 1}, first[4] = {1, 1, 1, 1};
    long last[4] = {c->side, c->side, (long)axes[2], (long)axes[3]};
    start_image(w, "PSF", FLOAT_IMG, 4, axes, tile);
    fits_write_subset(w->fits, TFLOAT, first, last, (float *)c->psf, &w->status);
    sq_writer_checksums(w);
}

/* ---- the tree ---- */

static void put_interval(FILE *f, char axis, int64_t start, int64_t n)
{
    fprintf(f, "\"%c\":{\"start\":%lld,\"stop\":%lld}", axis, (long long)start,
            (long long)(start + n));
}

static void put_box(FILE *f, const char *name, int64_t x0, int64_t y0, int64_t nx, int64_t ny)
{
    fprintf(f, "\"%s\":{", name);
    put_interval(f, 'y', y0, ny);
    fprintf(f, ",");
    put_interval(f, 'x', x0, nx);
    fprintf(f, "}");
}

static void put_array(FILE *f, const sq_cell_coadd *c, const char *name, const char *type)
{
    fprintf(f, "{\"source\":\"fits:%s\",\"shape\":[%lld,%lld],\"datatype\":\"%s\"}", name,
            (long long)c->ny, (long long)c->nx, type);
}

static void put_image(FILE *f, const sq_cell_coadd *c, const char *member, const char *name,
                      const char *unit)
{
    fprintf(f, "\"%s\":{" VERSION ",\"data\":{\"value\":", member);
    put_array(f, c, name, "float32");
    fprintf(f, ",\"unit\":\"%s\"},\"yx0\":[%lld,%lld],\"schema_url\":\"" SCHEMAS "image-1.0.0\"}",
            unit, (long long)c->y0, (long long)c->x0);
}

static void put_mask_tree(FILE *f, const sq_cell_coadd *c)
{
    fprintf(f, "\"mask\":{" VERSION ",\"data\":[");
    put_array(f, c, "MASK", "int32");
    fprintf(f, "],\"yx0\":[%lld,%lld],\"planes\":[", (long long)c->y0, (long long)c->x0);
    for (int k = 0; k < PLANES; k++)
        fprintf(f, "%s{\"name\":\"%s\",\"description\":\"%s\"}", k ? "," : "", planes[k].name,
                planes[k].description);
    fprintf(f, "],\"dtype\":\"uint8\",\"schema_url\":\"" SCHEMAS "mask-1.0.0\"}");
}

static void put_grid(FILE *f, const sq_cell_coadd *c, const char *name)
{
    fprintf(f, "\"%s\":{", name);
    put_box(f, "bbox", c->x0, c->y0, cells(c->nx, c->cell) * c->cell,
            cells(c->ny, c->cell) * c->cell);
    fprintf(f, ",\"cell_shape\":[%d,%d]}", c->cell, c->cell);
}

static void put_psf_tree(FILE *f, const sq_cell_coadd *c)
{
    int64_t nx = cells(c->nx, c->cell), ny = cells(c->ny, c->cell);
    const char *comma = "";
    fprintf(f,
            "\"psf\":{" VERSION ",\"array\":{\"source\":\"fits:PSF\",\"shape\":[%lld,%lld,%d,%d],"
            "\"datatype\":\"float32\"},\"bounds\":{",
            (long long)ny, (long long)nx, c->side, c->side);
    put_grid(f, c, "grid");
    fprintf(f, ",");
    put_box(f, "bbox", c->x0, c->y0, nx * c->cell, ny * c->cell);
    fprintf(f, ",\"missing\":[");
    for (int64_t k = 0; k < nx * ny; k++) {
        if (!is_missing(c, k / nx, k % nx))
            continue;
        fprintf(f, "%s{\"i\":%lld,\"j\":%lld}", comma, (long long)(k / nx), (long long)(k % nx));
        comma = ",";
    }
    fprintf(f, "]},\"schema_url\":\"" SCHEMAS "cell_psf-1.0.0\"}");
}

static void put_patch(FILE *f, const sq_cell_coadd *c)
{
    fprintf(f, "\"patch\":{\"id\":%lld,\"index\":[%lld,%lld],", (long long)c->patch,
            (long long)c->patch_y, (long long)c->patch_x);
    put_box(f, "inner_bbox", c->x0 + c->border, c->y0 + c->border, c->nx - 2 * c->border,
            c->ny - 2 * c->border);
    fprintf(f, ",");
    put_grid(f, c, "cells");
    fprintf(f, "}");
}

static void put_sky(FILE *f, const sq_cell_coadd *c)
{
    fprintf(f, "\"backgrounds\":{" VERSION ",\"fields\":{\"sky\":{" VERSION ",");
    put_box(f, "bounds", c->x0, c->y0, c->nx, c->ny);
    fprintf(f, ",\"coefficients\":{\"data\":[");
    for (int p = 0; p < 3; p++)
        fprintf(f, "%s[%.17g,%.17g,%.17g]", p ? "," : "", c->sky[p][0], c->sky[p][1], c->sky[p][2]);
    fprintf(f,
            "],\"datatype\":\"float64\"},\"unit\":\"nJy\",\"field_type\":\"CHEBYSHEV\","
            "\"schema_url\":\"" SCHEMAS "chebyshev_field-1.0.0\"}},\"descriptions\":{\"sky\":\"the "
            "level that was subtracted\"},\"subtracted\":\"sky\",\"schema_url\":\"" SCHEMAS
            "background_map-1.0.0\"}");
}

/* ---- the projection ---- */

static void put_projection(FILE *f, const sq_cell_coadd *c, const sq_tangent *t)
{
    fprintf(f,
            "\"sky_projection\":{" VERSION ",\"pixel_to_sky\":{" VERSION
            ",\"frames\":[{\"skymap\":\"%s\",\"tract\":0,",
            c->skymap);
    put_box(f, "bbox", 0, 0, c->tract_nx, c->tract_ny);
    fprintf(f, ",\"frame_type\":\"TRACT\"},\"ICRS\"],\"bounds\":[{");
    put_interval(f, 'y', 0, c->tract_ny);
    fprintf(f, ",");
    put_interval(f, 'x', 0, c->tract_nx);
    fprintf(f, "},null],\"mappings\":[{\"ast\":\"");
    sq_ast_mapping(f, t);
    fprintf(f, "\"}],\"schema_url\":\"" SCHEMAS "transform-1.0.0\"},\"schema_url\":\"" SCHEMAS
               "sky_projection-1.0.0\"}");
}

static sq_status make_tree(const sq_cell_coadd *c, const sq_tangent *t, char **out, size_t *size)
{
    FILE *f = open_memstream(out, size);
    if (!f)
        return sq_fail(SQ_ERR_NOMEM, "cell coadd %s: no memory for its tree", c->band);
    fprintf(f, "{" VERSION ",");
    put_image(f, c, "image", "IMAGE", "nJy");
    fprintf(f, ",");
    put_mask_tree(f, c);
    fprintf(f, ",");
    put_image(f, c, "variance", "VARIANCE", "nJy**2");
    fprintf(f, ",");
    put_projection(f, c, t);
    fprintf(f, ",\"mask_fractions\":{},\"noise_realizations\":[],\"band\":\"%s\",", c->band);
    put_psf_tree(f, c);
    fprintf(f, ",\"aperture_corrections\":null,");
    put_patch(f, c);
    fprintf(f, ",\"provenance\":null,");
    put_sky(f, c);
    fprintf(f, ",\"schema_url\":\"" SCHEMAS "cell_coadd-1.0.0\"}");
    if (fclose(f) != 0)
        return sq_fail(SQ_ERR_NOMEM, "cell coadd %s: no memory for its tree", c->band);
    return SQ_OK;
}

static void put_tree(sq_writer *w, const char *text, size_t size)
{
    char *name[] = {"JSON"}, *form[] = {"1PB"};
    w->what = "JSON";
    fits_create_tbl(w->fits, BINARY_TBL, 1, 1, name, form, NULL, "JSON", &w->status);
    fits_write_col(w->fits, TBYTE, 1, 1, 1, (LONGLONG)size, (char *)text, &w->status);
    sq_writer_checksums(w);
}

/* ---- the index ---- */

static void put_index(sq_writer *w)
{
    static const char *const names[HDUS] = {"", "IMAGE", "MASK", "VARIANCE", "PSF", "JSON"};
    char *name[] = {"EXTNAME", "EXTVER", "XTENSION", "ZIMAGE", "HDRADDR", "DATADDR", "DATSIZE"};
    char *form[] = {"8A", "1J", "8A", "1L", "1K", "1K", "1K"};
    LONGLONG at[HDUS][3];
    fits_flush_file(w->fits, &w->status);
    for (int k = 0; k < HDUS; k++) {
        fits_movabs_hdu(w->fits, k + 1, NULL, &w->status);
        fits_get_hduaddrll(w->fits, &at[k][0], &at[k][1], &at[k][2], &w->status);
    }
    w->what = "INDEX";
    fits_create_tbl(w->fits, BINARY_TBL, HDUS, 7, name, form, NULL, "INDEX", &w->status);
    for (int k = 0; k < HDUS && !w->status; k++) {
        char *extname = (char *)names[k], *kind = k ? "BINTABLE" : "IMAGE";
        char compressed = k > 0 && k < HDUS - 1;
        int version = 1;
        LONGLONG size = at[k][2] - at[k][1];
        fits_write_col(w->fits, TSTRING, 1, k + 1, 1, 1, &extname, &w->status);
        fits_write_col(w->fits, TINT, 2, k + 1, 1, 1, &version, &w->status);
        fits_write_col(w->fits, TSTRING, 3, k + 1, 1, 1, &kind, &w->status);
        fits_write_col(w->fits, TLOGICAL, 4, k + 1, 1, 1, &compressed, &w->status);
        fits_write_col(w->fits, TLONGLONG, 5, k + 1, 1, 1, &at[k][0], &w->status);
        fits_write_col(w->fits, TLONGLONG, 6, k + 1, 1, 1, &at[k][1], &w->status);
        fits_write_col(w->fits, TLONGLONG, 7, k + 1, 1, 1, &size, &w->status);
    }
    sq_writer_checksums(w);
}

static void put_addresses(sq_writer *w)
{
    LONGLONG tree[3] = {0}, index[3] = {0};
    if (fits_movabs_hdu(w->fits, HDUS, NULL, &w->status) == 0)
        fits_get_hduaddrll(w->fits, &tree[0], &tree[1], &tree[2], &w->status);
    if (fits_movabs_hdu(w->fits, HDUS + 1, NULL, &w->status) == 0)
        fits_get_hduaddrll(w->fits, &index[0], &index[1], &index[2], &w->status);
    fits_movabs_hdu(w->fits, 1, NULL, &w->status);
    w->what = "primary header";
    put_long(w, "INDXADDR", index[0], NULL);
    put_long(w, "INDXSIZE", index[2] - index[0], NULL);
    put_long(w, "JSONADDR", tree[0], NULL);
    put_long(w, "JSONSIZE", tree[2] - tree[0], NULL);
    sq_writer_checksums(w);
}

static void put_primary(sq_writer *w)
{
    w->what = "primary header";
    fits_create_imgll(w->fits, BYTE_IMG, 0, NULL, &w->status);
    put_long(w, "FMTVER", 1, "version of the container's layout");
    put_long(w, "INDXADDR", 0, "byte at which the index begins");
    put_long(w, "INDXSIZE", 0, "its bytes");
    put_long(w, "JSONADDR", 0, "byte at which the tree begins");
    put_long(w, "JSONSIZE", 0, "its bytes");
    sq_writer_text(w, "DATAMODL", SCHEMAS "cell_coadd-1.0.0", "");
    sq_writer_text(w, "CREATOR", "skyquilt " SQ_VERSION, "");
    sq_writer_checksums(w);
}

sq_status sq_write_cell_coadd(const char *path, const sq_cell_coadd *c, const sq_wcs *wcs)
{
    sq_status rc = SQ_OK;
    char *cards = NULL, *text = NULL;
    size_t size = 0;
    sq_tangent t;
    sq_writer w = {0};
    if (c->nx < 1 || c->ny < 1 || c->nx > INT32_MAX || c->ny > INT32_MAX || c->cell < 1 ||
        c->side < 1 || c->side % 2 == 0 || 2 * c->border >= c->nx || 2 * c->border >= c->ny)
        return sq_fail(SQ_ERR_USAGE, "%s: %lld x %lld pixels, cells of %d, PSF images of %d", path,
                       (long long)c->nx, (long long)c->ny, c->cell, c->side);
    SQ_TRY(sq_wcs_to_header(wcs, &cards));
    SQ_TRY(sq_tangent_read(cards, path, &t));
    t.x += (double)c->x0;
    t.y += (double)c->y0;
    SQ_TRY(make_tree(c, &t, &text, &size));
    SQ_TRY(sq_writer_begin(&w, path));
    put_primary(&w);
    SQ_TRY(put_planes(&w, c, cards));
    put_psf(&w, c);
    put_tree(&w, text, size);
    put_index(&w);
    put_addresses(&w);
cleanup:
    rc = sq_writer_finish(&w, rc);
    sq_free(cards);
    free(text);
    return rc;
}
