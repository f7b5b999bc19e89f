/* Flat maps: geometry from the headers, and values through boxes of bounded size. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fits/cards.h"
#include "fits/map_internal.h"
#include "fits/map_kernel.h"

/* ---- headers ---- */

static sq_status check_projection(sq_map *map, const char *where, const char *header)
{
    static const char *const known[] = {"CAR", "CEA", "ZEA", "TAN", "SFL"};
    char ctype[72] = "";
    if (!sq_cards_text(header, "CTYPE1", ctype, sizeof ctype) || !ctype[0])
        return sq_fail(SQ_ERR_FORMAT, "%s: CTYPE1: missing, the map has no coordinates", where);
    for (int k = 0; k < 5; k++) {
        if (strlen(ctype) >= 8 && strncmp(ctype + 5, known[k], 3) == 0) {
            memcpy(map->info.projection, known[k], 4);
            return SQ_OK;
        }
    }
    return sq_fail(SQ_ERR_UNSUPPORTED, "%s: CTYPE1: '%s' is none of CAR, CEA, ZEA, TAN, SFL", where,
                   ctype);
}

/* Cylindrical maps repeat after 360 deg of native longitude. */
static void find_period(sq_map *map, const char *header)
{
    double step = 0, skew = 0, value, x[2], y[2];
    const double ra[2] = {0, 0}, dec[2] = {-90, 90};
    map->pole[0] = map->pole[1] = NAN;
    if (strcmp(map->info.projection, "CAR") != 0 && strcmp(map->info.projection, "CEA") != 0)
        return;
    if (!sq_cards_real(header, "CD1_1", &step)) {
        double pc = 1;
        sq_cards_real(header, "PC1_1", &pc);
        step = 1;
        sq_cards_real(header, "CDELT1", &step);
        step *= pc;
    }
    static const char *const off[] = {"CD1_2", "CD2_1", "PC1_2", "PC2_1", "CROTA2"};
    for (int k = 0; k < 5; k++)
        skew += sq_cards_real(header, off[k], &value) ? fabs(value) : 0;
    if (step == 0 || skew != 0)
        return;
    map->period = 360 / fabs(step);
    double whole = round(map->period);
    if (fabs(map->period - whole) < 1e-6 * whole && (double)map->info.nx >= whole)
        map->turn = (int64_t)whole;
    double lat = 1;
    sq_cards_real(header, "CRVAL2", &lat);
    if (map->turn && map->turn % 2 == 0 && lat == 0 && strcmp(map->info.projection, "CAR") == 0 &&
        sq_wcs_sky2pix(map->wcs, 2, ra, dec, x, y) == SQ_OK)
        memcpy(map->pole, y, sizeof y);
}

/* The name of a layer of the third axis: the STOKES axis says it, else I, Q, U in order. */
static sq_status name_layer(const char *where, const char *header, int64_t layer, int64_t layers,
                            char *name, size_t size)
{
    char ctype[72] = "";
    double value = 1, pixel = 1, step = 1;
    int64_t number = layer + 1;
    if (sq_cards_text(header, "CTYPE3", ctype, sizeof ctype) && strcmp(ctype, "STOKES") == 0) {
        sq_cards_real(header, "CRVAL3", &value);
        sq_cards_real(header, "CRPIX3", &pixel);
        sq_cards_real(header, "CDELT3", &step);
        number = llround(value + ((double)layer + 1 - pixel) * step);
    } else if (layers != 1 && layers != 3) {
        return sq_fail(SQ_ERR_FORMAT,
                       "%s: NAXIS3: %lld planes where 1 (I) or 3 (I, Q, U) are "
                       "expected",
                       where, (long long)layers);
    }
    if (number < 1 || number > 3)
        return sq_fail(SQ_ERR_UNSUPPORTED, "%s: CRVAL3: Stokes number %lld is none of I, Q, U",
                       where, (long long)number);
    snprintf(name, size, "%c", "IQU"[number - 1]);
    return SQ_OK;
}

static sq_status image_axes(sq_map *map, const char *where, int64_t axis[3], int *naxis)
{
    LONGLONG size[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    int status = 0;
    fits_get_img_dim(map->input->fits, naxis, &status);
    if (!status && *naxis > 0 && *naxis <= 9)
        fits_get_img_sizell(map->input->fits, 9, size, &status);
    if (status)
        return sq_fits_fail(status, map->input->path, map->input->hdu, "image size");
    for (int k = 3; k < *naxis; k++) {
        if (*naxis > 9 || size[k] != 1)
            return sq_fail(SQ_ERR_FORMAT, "%s: NAXIS%d: %lld where 1 is expected", where, k + 1,
                           (long long)size[k < 9 ? k : 8]);
    }
    for (int k = 0; k < 3; k++)
        axis[k] = size[k];
    return SQ_OK;
}

static sq_status first_geometry(sq_map *map, const char *where, const char *header)
{
    sq_status rc = SQ_OK;
    for (int k = 0; k < 2; k++) {
        int64_t n = k ? map->info.ny : map->info.nx;
        if (n < 1 || n > SQ_AXIS_MAX)
            return sq_fail(SQ_ERR_FORMAT, "%s: NAXIS%d: %lld is out of range", where, k + 1,
                           (long long)n);
    }
    SQ_TRY(check_projection(map, where, header));
    SQ_TRY(sq_wcs_from_header(header, where, &map->wcs));
    find_period(map, header);
    map->info.scale =
        sq_wcs_scale(map->wcs, 0.5 * (double)(map->info.nx - 1), 0.5 * (double)(map->info.ny - 1)) /
        60;
cleanup:
    return rc;
}

/* Another HDU's image must lie on the first's grid: its far corners on the same sky. */
static sq_status same_geometry(sq_map *map, const char *where, const char *header,
                               const int64_t axis[3])
{
    sq_status rc = SQ_OK;
    sq_wcs *wcs = NULL;
    double nx = (double)map->info.nx - 1, ny = (double)map->info.ny - 1;
    const double x[3] = {nx / 2, nx / 2 + 1, nx / 2}, y[3] = {ny / 2, ny / 2, ny / 2 + 1};
    double ra[2][3], dec[2][3];
    if (axis[0] != map->info.nx || axis[1] != map->info.ny)
        return sq_fail(SQ_ERR_FORMAT,
                       "%s: NAXIS: %lld x %lld where the first plane has %lld x "
                       "%lld",
                       where, (long long)axis[0], (long long)axis[1], (long long)map->info.nx,
                       (long long)map->info.ny);
    SQ_TRY(sq_wcs_from_header(header, where, &wcs));
    SQ_TRY(sq_wcs_pix2sky(map->wcs, 3, x, y, ra[0], dec[0]));
    SQ_TRY(sq_wcs_pix2sky(wcs, 3, x, y, ra[1], dec[1]));
    for (int k = 0; k < 3; k++) {
        double turn = fabs(remainder(ra[0][k] - ra[1][k], 360));
        if (turn > 1e-6 || fabs(dec[0][k] - dec[1][k]) > 1e-6)
            SQ_TRY(sq_fail(SQ_ERR_FORMAT, "%s: CRVAL: the grid is not the first plane's", where));
    }
cleanup:
    sq_wcs_destroy(wcs);
    return rc;
}

static sq_status add_layer(sq_map *map, const char *where, const char *header, int64_t layer,
                           int64_t layers, const sq_map_options *options)
{
    sq_status rc = SQ_OK;
    int plane = map->info.nplane;
    char name[72] = "";
    if (plane == SQ_MAP_PLANES)
        return sq_fail(SQ_ERR_UNSUPPORTED, "%s: more than %d planes", where, SQ_MAP_PLANES);
    if (layers > 1)
        SQ_TRY(name_layer(where, header, layer, layers, name, sizeof name));
    else if (!sq_cards_text(header, "EXTNAME", name, sizeof name) && plane > 0)
        snprintf(name, sizeof name, "%c", plane < 3 ? "IQU"[plane] : '?');
    SQ_TRY(sq_map_judge_unit(map, plane, where, header, "BUNIT", name, options));
    map->source[plane].hdu = map->input->hdu;
    map->source[plane].layer = layer;
    map->info.nplane++;
    if (layers > 1 && map->source[plane].kind != 1 && layer > 0) {
        /* The weights of Q and U. */
        const char *what = map->source[plane].kind == -2 ? "ivar" : "plane";
        snprintf(map->info.plane[plane].name, sizeof map->info.plane[plane].name, "%s_%c", what,
                 name[0]);
    }
cleanup:
    return rc;
}

static sq_status add_image(sq_map *map, const char *header, const sq_map_options *options)
{
    sq_status rc = SQ_OK;
    int64_t axis[3] = {0};
    int naxis = 0;
    char where[SQ_PATH_MAX + 16];
    snprintf(where, sizeof where, "%s[%d]", map->info.file.path, map->input->hdu);
    SQ_TRY(image_axes(map, where, axis, &naxis));
    if (naxis < 2)
        return SQ_OK;
    if (map->wcs) {
        SQ_TRY(same_geometry(map, where, header, axis));
    } else {
        map->info.nx = axis[0];
        map->info.ny = axis[1];
        SQ_TRY(first_geometry(map, where, header));
    }
    if (axis[2] < 1 || axis[2] > SQ_MAP_PLANES)
        return sq_fail(SQ_ERR_FORMAT, "%s: NAXIS3: %lld planes", where, (long long)axis[2]);
    for (int64_t k = 0; k < axis[2]; k++)
        SQ_TRY(add_layer(map, where, header, k, axis[2], options));
cleanup:
    return rc;
}

sq_status sq_map_open_flat(sq_map *map, const sq_map_options *options)
{
    sq_status rc = SQ_OK;
    char *header = NULL;
    for (int hdu = 0; hdu < map->input->hdus; hdu++) {
        int type = 0, status = 0;
        SQ_TRY(sq_input_goto(map->input, hdu));
        fits_get_hdu_type(map->input->fits, &type, &status);
        if (type != IMAGE_HDU && !fits_is_compressed_image(map->input->fits, &status))
            continue;
        SQ_TRY(sq_input_header(map->input, &header));
        SQ_TRY(add_image(map, header, options));
        sq_free(header);
        header = NULL;
    }
    if (map->info.nplane == 0)
        rc = sq_fail(SQ_ERR_FORMAT, "%s: neither an image nor a HEALPix table (PIXTYPE)",
                     map->info.file.path);
cleanup:
    sq_free(header);
    return rc;
}

/* ---- boxes ---- */

typedef struct box {
    int64_t x0, y0, x1, y1; /* half-open; x may leave the map where it repeats */
} box;

static sq_status read_piece(sq_map *map, int plane, int64_t x, int64_t y, int64_t w, int64_t h,
                            float *out)
{
    long first[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, last[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    long step[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    int status = 0, any;
    float nan = NAN;
    first[0] = (long)x + 1;
    first[1] = (long)y + 1;
    last[0] = (long)(x + w);
    last[1] = (long)(y + h);
    first[2] = last[2] = (long)map->source[plane].layer + 1;
    fits_read_subset(map->input->fits, TFLOAT, first, last, step, &nan, out, &any, &status);
    return status ? sq_fits_fail(status, map->input->path, map->input->hdu, "pixels") : SQ_OK;
}

static int64_t modulo(int64_t a, int64_t n)
{
    return (a % n + n) % n;
}

/* The pixels of a box, NaN off the map. */
static sq_status read_box(sq_map *map, int plane, box b, float *out)
{
    sq_status rc = SQ_OK;
    float *piece = NULL;
    int64_t w = b.x1 - b.x0, y0 = b.y0 < 0 ? 0 : b.y0;
    int64_t y1 = b.y1 > map->info.ny ? map->info.ny : b.y1;
    int64_t limit = map->turn ? map->turn : map->info.nx;
    for (int64_t i = 0; i < w * (b.y1 - b.y0); i++)
        out[i] = NAN;
    if (y0 >= y1)
        return SQ_OK;
    SQ_TRY(SQ_ALLOC(piece, w * (y1 - y0), "map section"));
    for (int64_t x = b.x0; x < b.x1;) {
        int64_t from = map->turn ? modulo(x, limit) : x, n = limit - from;
        if (from < 0) {
            x = 0;
            continue;
        }
        if (n <= 0)
            break;
        n = n < b.x1 - x ? n : b.x1 - x;
        SQ_TRY(read_piece(map, plane, from, y0, n, y1 - y0, piece));
        for (int64_t y = y0; y < y1; y++)
            memcpy(out + (y - b.y0) * w + x - b.x0, piece + (y - y0) * n, (size_t)n * sizeof *out);
        x += n;
    }
cleanup:
    sq_free(piece);
    return rc;
}

/* Rows beyond a pole are the rows before it, half a turn on. Q and U keep their signs: north and
 * east both turn by 180 deg. */
static sq_status read_pixel(sq_map *map, int plane, int64_t x, int64_t y, float *out)
{
    for (int k = 0; k < 2; k++) {
        double sense = k ? 1 : -1;
        if (map->pole[1] < map->pole[0])
            sense = -sense;
        if (((double)y - map->pole[k]) * sense > 0.25) {
            y = llround(2 * map->pole[k] - (double)y);
            x += map->turn / 2;
        }
    }
    box b = {x, y, x + 1, y + 1};
    return read_box(map, plane, b, out);
}

/* ---- interpolation ---- */

typedef struct job {
    sq_map *map;
    int plane;
    const sq_map_kernel *kernel;
    const double *x, *y;
    float *value;
} job;

static float weigh(const float *pixel, int64_t stride, int n, const double *wx, const double *wy)
{
    double sum = 0;
    for (int j = 0; j < n; j++) {
        for (int i = 0; i < n; i++) {
            double w = wx[i] * wy[j];
            if (w != 0 && sq_map_missing(pixel[j * stride + i]))
                return NAN;
            if (w != 0)
                sum += w * pixel[j * stride + i];
        }
    }
    return (float)sum;
}

static box footprint(const job *j, size_t point)
{
    box b;
    int n = sq_map_kernel_first(j->kernel, j->x[point], &b.x0);
    sq_map_kernel_first(j->kernel, j->y[point], &b.y0);
    b.x1 = b.x0 + n;
    b.y1 = b.y0 + n;
    return b;
}

static float value_at(const job *j, size_t point, const float *pixel, int64_t stride)
{
    double wx[SQ_MAP_TAPS], wy[SQ_MAP_TAPS];
    box b = footprint(j, point);
    sq_map_kernel_weights(j->kernel, j->x[point], wx);
    sq_map_kernel_weights(j->kernel, j->y[point], wy);
    return weigh(pixel, stride, (int)(b.x1 - b.x0), wx, wy);
}

/* A point whose pixels reach over a pole: pixel by pixel. */
static sq_status over_pole(const job *j, size_t point)
{
    sq_status rc = SQ_OK;
    float pixel[SQ_MAP_TAPS * SQ_MAP_TAPS];
    box b = footprint(j, point);
    int n = (int)(b.x1 - b.x0);
    for (int k = 0; k < n * n; k++)
        SQ_TRY(read_pixel(j->map, j->plane, b.x0 + k % n, b.y0 + k / n, &pixel[k]));
    j->value[point] = value_at(j, point, pixel, n);
cleanup:
    return rc;
}

static sq_status fill(const job *j, const size_t *list, size_t n, box b)
{
    sq_status rc = SQ_OK;
    float *pixel = NULL;
    int64_t w = b.x1 - b.x0;
    SQ_TRY(SQ_ALLOC(pixel, w * (b.y1 - b.y0), "map box"));
    SQ_TRY(read_box(j->map, j->plane, b, pixel));
    for (size_t k = 0; k < n; k++) {
        box f = footprint(j, list[k]);
        j->value[list[k]] = value_at(j, list[k], pixel + (f.y0 - b.y0) * w + f.x0 - b.x0, w);
    }
cleanup:
    sq_free(pixel);
    return rc;
}

static box bounds(const job *j, const size_t *list, size_t n)
{
    box b = footprint(j, list[0]);
    for (size_t k = 1; k < n; k++) {
        box f = footprint(j, list[k]);
        b.x0 = f.x0 < b.x0 ? f.x0 : b.x0;
        b.y0 = f.y0 < b.y0 ? f.y0 : b.y0;
        b.x1 = f.x1 > b.x1 ? f.x1 : b.x1;
        b.y1 = f.y1 > b.y1 ? f.y1 : b.y1;
    }
    return b;
}

/* Read the points' bounding box when it is small or well filled; else halve it. The box of a single
 * point is tiny, so that this ends. */
static sq_status divide(const job *j, size_t *list, size_t n)
{
    if (n == 0)
        return SQ_OK;
    box b = bounds(j, list, n);
    int64_t w = b.x1 - b.x0, h = b.y1 - b.y0;
    if (w * h <= 4096 || (w * h <= SQ_MAP_BLOCK && w * h <= 64 * (int64_t)n))
        return fill(j, list, n, b);
    const double *along = w > h ? j->x : j->y;
    double low = INFINITY, high = -INFINITY;
    for (size_t k = 0; k < n; k++) {
        low = fmin(low, along[list[k]]);
        high = fmax(high, along[list[k]]);
    }
    size_t less = 0;
    for (size_t k = 0; k < n; k++) {
        if (along[list[k]] < 0.5 * (low + high)) {
            size_t keep = list[less];
            list[less++] = list[k];
            list[k] = keep;
        }
    }
    sq_status rc = divide(j, list, less);
    return rc == SQ_OK ? divide(j, list + less, n - less) : rc;
}

/* The turn of a cylindrical map in which the point lies on it. */
static double bring_in(const sq_map *map, double x)
{
    double right = (double)map->info.nx - 0.5;
    if (map->period > 0 && isfinite(x)) {
        x -= map->period * floor((x + 0.5) / map->period);
        if (map->period > right && x > right && x - map->period > -1)
            x -= map->period;
    }
    return x;
}

static int beyond_pole(const sq_map *map, box b)
{
    double low = fmin(map->pole[0], map->pole[1]), high = fmax(map->pole[0], map->pole[1]);
    return isfinite(low) && isfinite(high) && low > -1 && high < (double)map->info.ny &&
           (b.y0 < 0 || b.y1 > map->info.ny || (double)b.y0 < low - 0.25 ||
            (double)b.y1 - 1 > high + 0.25);
}

static sq_status interpolate(job *j, size_t n)
{
    sq_status rc = SQ_OK;
    const sq_map *map = j->map;
    size_t *list = NULL, count = 0;
    SQ_TRY(SQ_ALLOC(list, n, "points"));
    for (size_t k = 0; k < n; k++) {
        if (!isnan(j->value[k]))
            continue;
        /* Half a pixel around the map is the map's own. */
        if (!(j->x[k] >= -0.5 - (map->turn > 0) && j->x[k] < (double)map->info.nx + 0.5 &&
              j->y[k] >= -1 && j->y[k] <= (double)map->info.ny))
            continue;
        if (beyond_pole(map, footprint(j, k)))
            SQ_TRY(over_pole(j, k));
        else
            list[count++] = k;
    }
    SQ_TRY(divide(j, list, count));
cleanup:
    sq_free(list);
    return rc;
}

sq_status sq_map_flat_at(sq_map *map, int plane, sq_map_method method, size_t n, double *x,
                         const double *y, float *value)
{
    sq_status rc = SQ_OK;
    sq_map_kernel *kernel = NULL, *narrow = NULL;
    job j = {map, plane, NULL, x, y, value};
    for (size_t k = 0; k < n; k++) {
        x[k] = bring_in(map, x[k]);
        value[k] = NAN;
    }
    SQ_TRY(sq_input_goto(map->input, map->source[plane].hdu));
    SQ_TRY(sq_map_kernel_create(method, &kernel));
    j.kernel = kernel;
    SQ_TRY(interpolate(&j, n));
    if (method != SQ_MAP_SINC)
        goto cleanup;
    /* What lies near missing pixels, with fewer. */
    SQ_TRY(sq_map_kernel_create(SQ_MAP_BICUBIC, &narrow));
    j.kernel = narrow;
    SQ_TRY(interpolate(&j, n));
cleanup:
    sq_map_kernel_destroy(kernel);
    sq_map_kernel_destroy(narrow);
    return rc;
}

sq_status sq_map_flat_values(sq_map *map, int plane, sq_map_method method, size_t n,
                             const double *ra, const double *dec, float *value)
{
    sq_status rc = SQ_OK;
    double *x = NULL, *y = NULL;
    SQ_TRY(SQ_ALLOC(x, n, "points"));
    SQ_TRY(SQ_ALLOC(y, n, "points"));
    SQ_TRY(sq_wcs_sky2pix(map->wcs, n, ra, dec, x, y));
    SQ_TRY(sq_map_flat_at(map, plane, method, n, x, y, value));
cleanup:
    sq_free(x);
    sq_free(y);
    return rc;
}
