#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fits/band.h"
#include "fits/cards.h"

/* ---- judging a header ---- */

/* "HSC-R", "r_sim_1.4", "lsst r", "i2" -> "r", "i"; 0 when it is no name of an optical band. */
static int band_of_filter(const char *filter, char out[2])
{
    char text[64];
    size_t n = 0;
    for (const char *c = filter; *c && n + 1 < sizeof text; c++)
        text[n++] = (char)tolower((unsigned char)*c);
    text[n] = '\0';
    const char *at = text;
    if (strncmp(at, "hsc-", 4) == 0)
        at += 4;
    if (strncmp(at, "lsst", 4) == 0)
        for (at += 4; *at == ' ' || *at == '-' || *at == '_'; at++)
            ;
    if (!*at || !strchr("ugrizy", *at) || isalpha((unsigned char)at[1]))
        return 0;
    out[0] = *at;
    out[1] = '\0';
    return 1;
}

static sq_status check_filter(const char *where, const char *header, const char *band)
{
    char filter[72], found[2];
    if (sq_cards_text(header, "FILTER", filter, sizeof filter) && band_of_filter(filter, found) &&
        strcmp(found, band) != 0)
        return sq_fail(SQ_ERR_DATA, "%s: FILTER: '%s' in a file named as band %s", where, filter,
                       band);
    return SQ_OK;
}

/* Run, camcol and field of the header against the file's name. FRAME counts a CCD's own frames: a
 * star crosses the five filters in the order r i u z g, each two frames after the one before. */
static sq_status check_sdss_names(const char *where, const char *header, const char *tile,
                                  const char *band)
{
    static const int delay[5] = {4, 8, 0, 2, 6}; /* of u g r i z */
    int number = sq_sdss_band_number(band);
    static const char *const keys[3] = {"RUN", "CAMCOL", "FRAME"};
    int expected[3];
    int64_t value;
    if (!sq_sdss_parse_name(tile, &expected[0], &expected[1], &expected[2]))
        return sq_fail(SQ_ERR_DATA, "%s: tile %s is not RUN-CAMCOL-FIELD", where, tile);
    expected[2] += number >= 0 ? delay[number] : 0;
    for (int k = 0; k < 3; k++) {
        if (sq_cards_int(header, keys[k], &value) && value != expected[k])
            return sq_fail(SQ_ERR_DATA, "%s: %s: %lld where %d is expected in %s", where, keys[k],
                           (long long)value, expected[k], tile);
    }
    return SQ_OK;
}

/* ---- reading ---- */

static sq_status find_image(sq_input *in, sq_tile_format format, int *hdu)
{
    int naxis = 0, status = 0;
    if (format >= SQ_TILE_LSST_EXPOSURE)
        return sq_afw_find(in, "IMAGE", hdu);
    fits_get_img_dim(in->fits, &naxis, &status);
    *hdu = naxis == 0 && !status ? 1 : 0; /* a tile-compressed image follows an empty HDU */
    return SQ_OK;
}

static sq_status keep_wcs(const char *header, const char *where, sq_tile_band *band)
{
    sq_wcs *wcs = NULL;
    sq_status rc = sq_wcs_from_header(header, where, &wcs);
    if (rc == SQ_OK)
        rc = sq_wcs_to_header(wcs, &band->wcs_header);
    sq_wcs_destroy(wcs);
    return rc;
}

/* Exposures and cell coadds have the same names: the first band's header decides for the tile. */
static sq_status settle_format(sq_tile *tile, const sq_tile_band *band, const char *primary)
{
    sq_tile_format format =
        sq_cell_coadd_is(primary) ? SQ_TILE_CELL_COADD : SQ_TILE_LSST_EXPOSURE;
    if (tile->format < SQ_TILE_LSST_EXPOSURE)
        return SQ_OK;
    if (band == tile->band)
        tile->format = format;
    if (tile->format != format)
        return sq_fail(SQ_ERR_DATA, "%s[0]: DATAMODL: band %s is a cell coadd and band %s is not",
                       band->image.path,
                       format == SQ_TILE_CELL_COADD ? band->name : tile->band->name,
                       format == SQ_TILE_CELL_COADD ? tile->band->name : band->name);
    return SQ_OK;
}

static sq_status read_band(sq_tile *tile, sq_tile_band *band)
{
    sq_status rc = SQ_OK;
    sq_input *in = NULL;
    char *header = NULL, *primary = NULL, where[SQ_PATH_MAX + 16];
    int hdu = 0;
    SQ_TRY(sq_input_identity(band->image.path, &band->image));
    SQ_TRY(sq_input_open(band->image.path, SQ_INPUT_HEADERS, &in));
    SQ_TRY(sq_input_header(in, &primary));
    SQ_TRY(settle_format(tile, band, primary));
    SQ_TRY(find_image(in, tile->format, &hdu));
    SQ_TRY(sq_input_goto(in, hdu));
    SQ_TRY(sq_input_image_size(in, &band->nx, &band->ny));
    SQ_TRY(sq_input_header(in, &header));
    snprintf(where, sizeof where, "%s[%d]", band->image.path, hdu);
    SQ_TRY(check_filter(where, header, band->name));
    SQ_TRY(check_filter(where, primary, band->name));
    if (tile->format < SQ_TILE_LSST_EXPOSURE)
        SQ_TRY(check_sdss_names(where, header, tile->name, band->name));
    if (tile->format == SQ_TILE_CELL_COADD)
        SQ_TRY(sq_cell_coadd_check(band));
    SQ_TRY(keep_wcs(header, where, band));
    sq_cards_text(header, "CHECKSUM", band->image.checksum, sizeof band->image.checksum);
    sq_cards_text(header, "DATASUM", band->image.datasum, sizeof band->image.datasum);
    if (band->mask.path)
        SQ_TRY(sq_input_identity(band->mask.path, &band->mask));
cleanup:
    sq_free(header);
    sq_free(primary);
    sq_input_close(in);
    return rc;
}

/* The sky at the corners of the reference grid, counter-clockwise in pixels from the first. */
static sq_status find_corners(sq_tile *tile)
{
    const sq_tile_band *r = &tile->band[tile->reference];
    double right = (double)r->nx - 0.5, top = (double)r->ny - 0.5;
    double x[4] = {-0.5, right, right, -0.5}, y[4] = {-0.5, -0.5, top, top};
    sq_wcs *wcs = NULL;
    sq_status rc = sq_wcs_from_header(r->wcs_header, r->image.path, &wcs);
    if (rc == SQ_OK)
        rc = sq_wcs_pix2sky(wcs, 4, x, y, tile->corner_ra, tile->corner_dec);
    for (int k = 0; k < 4 && rc == SQ_OK; k++) {
        if (!isfinite(tile->corner_ra[k]))
            rc = sq_fail(SQ_ERR_FORMAT, "%s: WCS: corner (%g, %g) is not on the sky", r->image.path,
                         x[k], y[k]);
    }
    sq_wcs_destroy(wcs);
    return rc;
}

/* One that lies beside a cell coadd is another's. */
static void drop_side_file(sq_tile *tile)
{
    sq_free(tile->psf.path);
    memset(&tile->psf, 0, sizeof tile->psf);
}

static sq_status check_parts(const sq_tile *tile)
{
    static const char *const psf[] = {[SQ_TILE_SDSS_FRAME] = "psField",
                                      [SQ_TILE_SDSS_FPC] = "psField",
                                      [SQ_TILE_LSST_EXPOSURE] = "PSF side"};
    if (tile->nband < 1 || tile->nband > SQ_MAX_BANDS)
        return sq_fail(SQ_ERR_DATA, "%s: no image", tile->name);
    if (!tile->psf.path && tile->format != SQ_TILE_CELL_COADD)
        return sq_fail(SQ_ERR_DATA, "%s: no %s file", tile->name, psf[tile->format]);
    if (tile->format == SQ_TILE_SDSS_FPC && !tile->calibration.path)
        return sq_fail(SQ_ERR_DATA, "%s: no tsField file", tile->name);
    return SQ_OK;
}

sq_status sq_tile_headers(sq_tile *tile)
{
    sq_status rc = SQ_OK;
    for (int b = 0; b < tile->nband; b++) {
        sq_free(tile->band[b].wcs_header);
        tile->band[b].wcs_header = NULL;
        SQ_TRY(read_band(tile, &tile->band[b]));
    }
    SQ_TRY(check_parts(tile));
    if (tile->format == SQ_TILE_CELL_COADD)
        drop_side_file(tile);
    else
        SQ_TRY(sq_input_identity(tile->psf.path, &tile->psf));
    if (tile->calibration.path)
        SQ_TRY(sq_input_identity(tile->calibration.path, &tile->calibration));
    SQ_TRY(find_corners(tile));
cleanup:
    return rc;
}

sq_status sq_tile_check(const sq_tile *tile)
{
    const sq_file_identity *file[2 * SQ_MAX_BANDS + 2] = {&tile->psf, &tile->calibration};
    int n = 2;
    for (int b = 0; b < tile->nband; b++) {
        file[n++] = &tile->band[b].image;
        file[n++] = &tile->band[b].mask;
    }
    for (int i = 0; i < n; i++) {
        sq_status rc = file[i]->path ? sq_input_check(file[i]) : SQ_OK;
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}

void sq_tile_clear(sq_tile *tile)
{
    sq_free(tile->psf.path);
    sq_free(tile->calibration.path);
    for (int b = 0; b < SQ_MAX_BANDS; b++) {
        sq_free(tile->band[b].image.path);
        sq_free(tile->band[b].mask.path);
        sq_free(tile->band[b].wcs_header);
    }
    memset(tile, 0, sizeof *tile);
}

static sq_status copy_text(char **text)
{
    const char *from = *text;
    *text = NULL;
    return from ? sq_strdup(text, from) : SQ_OK;
}

/* Texts of the copy are the original's until they are copied: the first that fails must not leave
 * any of those. */
sq_status sq_tile_copy(const sq_tile *tile, sq_tile *out)
{
    sq_status rc = SQ_OK;
    *out = *tile;
    char **text[3 * SQ_MAX_BANDS + 2] = {&out->psf.path, &out->calibration.path};
    int n = 2;
    for (int b = 0; b < SQ_MAX_BANDS; b++) {
        text[n++] = &out->band[b].image.path;
        text[n++] = &out->band[b].mask.path;
        text[n++] = &out->band[b].wcs_header;
    }
    for (int i = 0; i < n; i++) {
        if (rc == SQ_OK)
            rc = copy_text(text[i]);
        else
            *text[i] = NULL;
    }
    if (rc != SQ_OK)
        sq_tile_clear(out);
    return rc;
}
