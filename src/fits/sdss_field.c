#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fits/band.h"
#include "fits/cards.h"

enum { BANDS = 5, MAX_EIGEN = 16, ORDER = 5, MAX_SIDE = 255, FILTERS_HDU = 6 };

static const char band_names[BANDS + 1] = "ugriz";

/* SDSS drift scans all have this exposure time (seconds); tsField's zero points are for a count
 * rate. */
static const double exposure_time = 53.907456;

/* The Karhunen-Loeve PSF of one band: PSF(row, col) = sum_k a_k(row, col) image_k with a_k = sum_ij
 * c[k][i][j] (row / 1000)^i (col / 1000)^j (Lupton et al. 2001). */
typedef struct klpsf {
    int count, rows, cols; /* eigenimages and their shape */
    int order_row[MAX_EIGEN], order_col[MAX_EIGEN];
    double c[MAX_EIGEN][ORDER][ORDER];
    float *image[MAX_EIGEN];
    sq_hash hash;
} klpsf;

struct sq_sdss_field {
    klpsf psf[BANDS];
    sq_sdss_noise noise[BANDS];
};

int sq_sdss_band_number(const char *name)
{
    const char *at = name[0] && !name[1] ? strchr(band_names, name[0]) : NULL;
    return at ? (int)(at - band_names) : -1;
}

int sq_sdss_parse_name(const char *name, int *run, int *camcol, int *field)
{
    /* A folder in front or a number behind tells apart tiles of one name. */
    const char *slash = strrchr(name, '/');
    int used = 0;
    name = slash ? slash + 1 : name;
    return sscanf(name, "%d-%d-%d%n", run, camcol, field, &used) == 3 &&
           (name[used] == '\0' || name[used] == '~') && *run >= 0 && *camcol >= 0 && *field >= 0;
}

/* ---- psField ---- */

static sq_status small_int(sq_input *in, const char *column, int64_t row, int low, int high,
                           int *out)
{
    double value;
    sq_status rc = sq_input_cell(in, column, row, 1, 0, &value);
    if (rc != SQ_OK)
        return rc;
    if (!(value >= low && value <= high))
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: %s: %g is out of range", in->path, in->hdu, column,
                       value);
    *out = (int)value;
    return SQ_OK;
}

static sq_status read_eigenimage(sq_input *in, int k, klpsf *psf, double *cells)
{
    sq_status rc = SQ_OK;
    int rows = 0, cols = 0;
    SQ_TRY(small_int(in, "RNROW", k, 1, MAX_SIDE, &rows));
    SQ_TRY(small_int(in, "RNCOL", k, 1, MAX_SIDE, &cols));
    if (rows % 2 == 0 || rows != cols || (k > 0 && rows != psf->rows))
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: RNROW: %d x %d is not one odd square shape",
                       in->path, in->hdu, rows, cols);
    psf->rows = rows;
    psf->cols = cols;
    SQ_TRY(small_int(in, "nrow_b", k, 1, ORDER, &psf->order_row[k]));
    SQ_TRY(small_int(in, "ncol_b", k, 1, ORDER, &psf->order_col[k]));
    SQ_TRY(sq_input_cell(in, "c", k, ORDER * ORDER, 0, &psf->c[k][0][0]));
    SQ_TRY(sq_input_cell(in, "RROWS", k, (int64_t)rows * cols, 0, cells));
    SQ_TRY(SQ_ALLOC(psf->image[k], rows * cols, "PSF eigenimage"));
    for (int i = 0; i < ORDER * ORDER; i++) {
        double *c = &psf->c[k][i / ORDER][i % ORDER];
        /* Beyond the orders in use the file may hold anything. */
        if (i / ORDER >= psf->order_row[k] || i % ORDER >= psf->order_col[k])
            *c = 0;
        if (!isfinite(*c))
            return sq_fail(SQ_ERR_FORMAT, "%s[%d]: c: not a number", in->path, in->hdu);
    }
    for (int i = 0; i < rows * cols; i++) {
        if (!isfinite(cells[i]))
            return sq_fail(SQ_ERR_FORMAT, "%s[%d]: RROWS: not a number", in->path, in->hdu);
        psf->image[k][i] = (float)cells[i];
    }
cleanup:
    return rc;
}

static sq_status read_klpsf(sq_input *in, int band, klpsf *psf)
{
    sq_status rc = SQ_OK;
    double *cells = NULL;
    SQ_TRY(sq_input_goto(in, band + 1));
    int64_t rows = sq_input_rows(in);
    if (rows < 1 || rows > MAX_EIGEN)
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: a table of %lld PSF eigenimages", in->path, band + 1,
                       (long long)rows);
    SQ_TRY(SQ_ALLOC(cells, MAX_SIDE * MAX_SIDE, "PSF eigenimage"));
    psf->count = (int)rows;
    psf->hash = sq_hash_bytes("psField", 7);
    for (int k = 0; k < psf->count; k++) {
        SQ_TRY(read_eigenimage(in, k, psf, cells));
        size_t bytes = (size_t)psf->rows * psf->cols * sizeof(float);
        psf->hash = sq_hash_combine(psf->hash, sq_hash_bytes(psf->image[k], bytes));
        psf->hash = sq_hash_combine(psf->hash, sq_hash_bytes(psf->c[k], sizeof psf->c[k]));
    }
cleanup:
    sq_free(cells);
    return rc;
}

/* The five bands in one row: HDU 6 of psField, photoField and tsField have the same column names.
 */
static sq_status read_noise(sq_input *in, int64_t row, sq_sdss_field *field)
{
    sq_status rc = SQ_OK;
    double gain[BANDS], dark[BANDS];
    SQ_TRY(sq_input_cell(in, "gain", row, BANDS, 0, gain));
    SQ_TRY(sq_input_cell(in, "dark_variance", row, BANDS, 0, dark));
    for (int b = 0; b < BANDS; b++) {
        if (!(gain[b] > 0 && gain[b] < 1e6))
            return sq_fail(SQ_ERR_FORMAT, "%s[%d]: gain: %g electrons per DN in %c", in->path,
                           in->hdu, gain[b], band_names[b]);
        if (!(dark[b] >= 0 && dark[b] < 1e9))
            return sq_fail(SQ_ERR_FORMAT, "%s[%d]: dark_variance: %g in %c", in->path, in->hdu,
                           dark[b], band_names[b]);
        field->noise[b].gain = gain[b];
        field->noise[b].dark_variance = dark[b];
    }
cleanup:
    return rc;
}

static sq_status check_card(const char *header, const char *key, int expected, const sq_input *in)
{
    int64_t value;
    if (sq_cards_int(header, key, &value) && value != expected)
        return sq_fail(SQ_ERR_DATA, "%s[0]: %s: %lld where %d is expected", in->path, key,
                       (long long)value, expected);
    return SQ_OK;
}

/* The file's own run, camcol and field against the tile's; the order of its bands. */
static sq_status check_names(sq_input *in, const char *tile, int with_field)
{
    sq_status rc = SQ_OK;
    int run, camcol, number;
    char *header = NULL, filters[32];
    SQ_TRY(sq_input_goto(in, 0));
    SQ_TRY(sq_input_header(in, &header));
    if (sq_sdss_parse_name(tile, &run, &camcol, &number)) {
        SQ_TRY(check_card(header, "RUN", run, in));
        SQ_TRY(check_card(header, "CAMCOL", camcol, in));
        if (with_field)
            SQ_TRY(check_card(header, "FIELD", number, in));
    }
    /* photoField's card lists the camera's rows, not the order of its arrays. */
    if (with_field && sq_cards_text(header, "FILTERS", filters, sizeof filters) &&
        strncmp(filters, "u g r i z", 9) != 0)
        rc = sq_fail(SQ_ERR_FORMAT, "%s[0]: FILTERS: '%s' where 'u g r i z' is expected", in->path,
                     filters);
cleanup:
    sq_free(header);
    return rc;
}

static sq_status open_psfield(const sq_tile *tile, sq_sdss_field *field)
{
    sq_status rc = SQ_OK;
    sq_input *in = NULL;
    SQ_TRY(sq_input_open(tile->psf.path, SQ_INPUT_ALL, &in));
    SQ_TRY(check_names(in, tile->name, 1));
    for (int b = 0; b < BANDS; b++)
        SQ_TRY(read_klpsf(in, b, &field->psf[b]));
    if (!tile->calibration.path) {
        SQ_TRY(sq_input_goto(in, FILTERS_HDU));
        SQ_TRY(read_noise(in, 0, field));
    }
cleanup:
    sq_input_close(in);
    return rc;
}

/* ---- photoField and tsField ---- */

static sq_status find_row(sq_input *in, int number, int64_t *row)
{
    sq_status rc = SQ_OK;
    double *fields = NULL;
    int64_t rows = sq_input_rows(in);
    *row = -1;
    if (rows < 1 || rows > 1 << 20)
        return sq_fail(SQ_ERR_FORMAT, "%s[%d]: no table of fields", in->path, in->hdu);
    SQ_TRY(SQ_ALLOC(fields, rows, "field numbers"));
    SQ_TRY(sq_input_column(in, "field", fields));
    for (int64_t k = 0; k < rows && *row < 0; k++) {
        if (fields[k] == number)
            *row = k;
    }
    if (*row < 0)
        rc = sq_fail(SQ_ERR_DATA, "%s[%d]: FIELD: no row for field %d", in->path, in->hdu, number);
cleanup:
    sq_free(fields);
    return rc;
}

/* nanomaggies per DN = 10^(9 + 0.4 (aa + kk airmass)) / exposure time. */
static sq_status read_zero_points(sq_input *in, int64_t row, sq_sdss_field *field)
{
    sq_status rc = SQ_OK;
    double aa[BANDS], kk[BANDS], airmass[BANDS];
    SQ_TRY(sq_input_cell(in, "aa", row, BANDS, 0, aa));
    SQ_TRY(sq_input_cell(in, "kk", row, BANDS, 0, kk));
    SQ_TRY(sq_input_cell(in, "airmass", row, BANDS, 0, airmass));
    for (int b = 0; b < BANDS; b++) {
        field->noise[b].nmgy = pow(10, 9 + 0.4 * (aa[b] + kk[b] * airmass[b])) / exposure_time;
        if (!isfinite(field->noise[b].nmgy) || field->noise[b].nmgy <= 0)
            return sq_fail(SQ_ERR_FORMAT, "%s[%d]: aa: no zero point in %c", in->path, in->hdu,
                           band_names[b]);
    }
cleanup:
    return rc;
}

static sq_status open_calibration(const sq_tile *tile, sq_sdss_field *field)
{
    sq_status rc = SQ_OK;
    sq_input *in = NULL;
    int run, camcol, number;
    int64_t row;
    SQ_TRY(sq_input_open(tile->calibration.path, SQ_INPUT_ALL, &in));
    SQ_TRY(check_names(in, tile->name, 0));
    SQ_TRY(sq_input_goto(in, 1));
    if (!sq_sdss_parse_name(tile->name, &run, &camcol, &number))
        SQ_TRY(sq_fail(SQ_ERR_DATA, "%s: tile %s is not RUN-CAMCOL-FIELD", in->path, tile->name));
    SQ_TRY(find_row(in, number, &row));
    SQ_TRY(read_noise(in, row, field));
    if (tile->format == SQ_TILE_SDSS_FPC)
        SQ_TRY(read_zero_points(in, row, field));
cleanup:
    sq_input_close(in);
    return rc;
}

sq_status sq_sdss_field_open(const sq_tile *tile, sq_sdss_field **out)
{
    sq_status rc = SQ_OK;
    sq_sdss_field *field = NULL;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(field, 1, "SDSS field"));
    if (!tile->psf.path)
        SQ_TRY(sq_fail(SQ_ERR_DATA, "%s: no psField file", tile->name));
    if (tile->format == SQ_TILE_SDSS_FPC && !tile->calibration.path)
        SQ_TRY(sq_fail(SQ_ERR_DATA, "%s: no tsField file", tile->name));
    SQ_TRY(open_psfield(tile, field));
    if (tile->calibration.path)
        SQ_TRY(open_calibration(tile, field));
    *out = field;
    field = NULL;
cleanup:
    sq_sdss_field_close(field);
    return rc;
}

void sq_sdss_field_close(sq_sdss_field *field)
{
    if (!field)
        return;
    for (int b = 0; b < BANDS; b++) {
        for (int k = 0; k < MAX_EIGEN; k++)
            sq_free(field->psf[b].image[k]);
    }
    sq_free(field);
}

void sq_sdss_field_noise(const sq_sdss_field *field, int band, sq_sdss_noise *out)
{
    *out = field->noise[band];
}

sq_hash sq_sdss_field_hash(const sq_sdss_field *field, int band)
{
    return sq_hash_combine(field->psf[band].hash,
                           sq_hash_bytes(&field->noise[band], sizeof field->noise[band]));
}

/* The coefficient of eigenimage k at a pixel. */
static double coefficient(const klpsf *p, int k, double row, double col)
{
    double sum = 0, pr = 1;
    for (int i = 0; i < p->order_row[k]; i++, pr *= 0.001 * row) {
        double pc = 1;
        for (int j = 0; j < p->order_col[k]; j++, pc *= 0.001 * col)
            sum += p->c[k][i][j] * pr * pc;
    }
    return sum;
}

sq_status sq_sdss_field_psf(const sq_sdss_field *field, int band, double x, double y, float *out)
{
    const klpsf *p = &field->psf[band];
    float stamp[MAX_SIDE * MAX_SIDE];
    int n = p->rows * p->cols;
    memset(stamp, 0, (size_t)n * sizeof *stamp);
    for (int k = 0; k < p->count; k++) {
        /* In SDSS's pixel coordinates the centre of the first pixel is (0.5, 0.5). */
        float a = (float)coefficient(p, k, y + 0.5, x + 0.5);
        for (int i = 0; i < n; i++)
            stamp[i] += a * p->image[k][i];
    }
    if (!sq_psf_fit(stamp, p->rows, out))
        return sq_fail(SQ_ERR_DATA, "psField: the %c PSF at pixel (%.0f, %.0f) has no positive sum",
                       band_names[band], x, y);
    return SQ_OK;
}
