/* HEALPix tables: Gorski et al. 2005, ApJ 622, 759; the layout of the file as in the documentation
 * of HEALPix, "Format of HEALPix FITS files". */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "fits/cards.h"
#include "fits/map_internal.h"
#include "sky/sphere.h"

#define RAD (M_PI / 180)

enum { NSIDE_MAX = 1 << 29, LISTED_MAX = 1 << 27, GAP = 512, RUN = 1 << 18 };

/* ---- headers ---- */

static sq_status judge_frame(sq_map *map, const char *where, const char *header,
                             const sq_map_options *options)
{
    char text[72] = "";
    int given = sq_cards_text(header, "COORDSYS", text, sizeof text) && text[0] &&
                strcasecmp(text, "unknown") != 0;
    if (!given && !options->frame)
        return sq_fail(SQ_ERR_DATA, "%s: COORDSYS: missing; say which (C, G, E)", where);
    if (!given)
        snprintf(text, sizeof text, "%s", options->frame);
    char frame = text[0] & 0x5f;
    if (strcasecmp(text, "Q") == 0 || strncasecmp(text, "equ", 3) == 0 ||
        strncasecmp(text, "cel", 3) == 0)
        frame = 'C';
    else if (strlen(text) != 1 && strncasecmp(text, "gal", 3) != 0 &&
             strncasecmp(text, "ecl", 3) != 0)
        frame = '?';
    if (frame != 'C' && frame != 'G' && frame != 'E')
        return sq_fail(SQ_ERR_DATA, "%s: COORDSYS: '%s' is none of C, G, E", where, text);
    if (given && options->frame && (options->frame[0] & 0x5f) != frame)
        return sq_fail(SQ_ERR_DATA, "%s: COORDSYS: '%s' where '%s' is expected", where, text,
                       options->frame);
    map->info.frame = frame;
    return SQ_OK;
}

static sq_status judge_pixels(sq_map *map, const char *where, const char *header)
{
    char text[72] = "";
    int64_t nside = 0;
    if (!sq_cards_int(header, "NSIDE", &nside) || nside < 1 || nside > NSIDE_MAX ||
        (nside & (nside - 1)))
        return sq_fail(SQ_ERR_FORMAT, "%s: NSIDE: %lld is no power of two up to 2^29", where,
                       (long long)nside);
    sq_cards_text(header, "ORDERING", text, sizeof text);
    map->info.nested = strncasecmp(text, "NEST", 4) == 0;
    if (!map->info.nested && strcasecmp(text, "RING") != 0)
        return sq_fail(SQ_ERR_FORMAT, "%s: ORDERING: '%s' is neither RING nor NESTED", where, text);
    map->info.nside = nside;
    map->npix = 12 * nside * nside;
    memcpy(map->info.projection, "HPX", 4);
    map->info.scale = sqrt(4 * M_PI / (double)map->npix) / RAD * 60;
    text[0] = '\0';
    sq_cards_text(header, "INDXSCHM", text, sizeof text);
    map->info.partial = strcasecmp(text, "EXPLICIT") == 0;
    if (!map->info.partial && text[0] && strcasecmp(text, "IMPLICIT") != 0)
        return sq_fail(SQ_ERR_FORMAT, "%s: INDXSCHM: '%s' is neither IMPLICIT nor EXPLICIT", where,
                       text);
    return SQ_OK;
}

static sq_status add_columns(sq_map *map, const char *where, const char *header, int *index,
                             const sq_map_options *options)
{
    sq_status rc = SQ_OK;
    int64_t columns = 0;
    *index = 0;
    sq_cards_int(header, "TFIELDS", &columns);
    for (int c = 1; c <= columns; c++) {
        char key[16], name[72] = "";
        int type = 0, status = 0, plane = map->info.nplane;
        LONGLONG repeat = 0, width = 0;
        snprintf(key, sizeof key, "TTYPE%d", c);
        sq_cards_text(header, key, name, sizeof name);
        fits_get_coltypell(map->input->fits, c, &type, &repeat, &width, &status);
        if (status)
            return sq_fits_fail(status, map->input->path, map->input->hdu, key);
        if (type <= 0 || type == TSTRING || type == TLOGICAL || type >= TCOMPLEX || repeat < 1)
            return sq_fail(SQ_ERR_FORMAT, "%s: TFORM%d: not a column of numbers", where, c);
        if (map->repeat && repeat != map->repeat)
            return sq_fail(SQ_ERR_FORMAT, "%s: TFORM%d: %lld pixels a row where others have %lld",
                           where, c, (long long)repeat, (long long)map->repeat);
        map->repeat = repeat;
        if (map->info.partial && strncasecmp(name, "PIXEL", 5) == 0) {
            *index = c;
            continue;
        }
        if (plane == SQ_MAP_PLANES)
            return sq_fail(SQ_ERR_UNSUPPORTED, "%s: more than %d columns", where, SQ_MAP_PLANES);
        snprintf(key, sizeof key, "TUNIT%d", c);
        SQ_TRY(sq_map_judge_unit(map, plane, where, header, key, name, options));
        map->source[plane].hdu = map->input->hdu;
        map->source[plane].layer = c;
        map->info.nplane++;
    }
    if (map->info.nplane == 0)
        rc = sq_fail(SQ_ERR_FORMAT, "%s: TFIELDS: no column of values", where);
cleanup:
    return rc;
}

typedef struct entry {
    int64_t pixel, row;
} entry;

static int by_pixel(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    return (x->pixel > y->pixel) - (x->pixel < y->pixel);
}

static sq_status read_index(sq_map *map, const char *where, int column)
{
    sq_status rc = SQ_OK;
    entry *list = NULL;
    int status = 0, any;
    if (!column)
        return sq_fail(SQ_ERR_FORMAT, "%s: PIXEL: no such column in a map with INDXSCHM EXPLICIT",
                       where);
    if (map->listed > LISTED_MAX)
        return sq_fail(SQ_ERR_UNSUPPORTED, "%s: NAXIS2: %lld pixel numbers, more than %d", where,
                       (long long)map->listed, LISTED_MAX);
    SQ_TRY(SQ_ALLOC(map->pixel, map->listed, "pixel numbers"));
    SQ_TRY(SQ_ALLOC(map->row, map->listed, "rows"));
    SQ_TRY(SQ_ALLOC(list, map->listed, "pixel numbers"));
    fits_read_col(map->input->fits, TLONGLONG, column, 1, 1, map->listed, NULL, map->pixel, &any,
                  &status);
    if (status)
        SQ_TRY(sq_fits_fail(status, map->input->path, map->input->hdu, "PIXEL"));
    for (int64_t k = 0; k < map->listed; k++)
        list[k] = (entry){map->pixel[k], k};
    qsort(list, (size_t)map->listed, sizeof *list, by_pixel);
    for (int64_t k = 0; k < map->listed; k++) {
        map->pixel[k] = list[k].pixel;
        map->row[k] = list[k].row;
        if (list[k].pixel < 0 || list[k].pixel >= map->npix ||
            (k && list[k].pixel == list[k - 1].pixel))
            SQ_TRY(
                sq_fail(SQ_ERR_FORMAT, "%s: PIXEL: %lld is %s", where, (long long)list[k].pixel,
                        k && list[k].pixel == list[k - 1].pixel ? "there twice" : "out of range"));
    }
cleanup:
    sq_free(list);
    return rc;
}

sq_status sq_map_open_healpix(sq_map *map, int hdu, const sq_map_options *options)
{
    sq_status rc = SQ_OK;
    char *header = NULL, where[SQ_PATH_MAX + 16];
    int index;
    snprintf(where, sizeof where, "%s[%d]", map->info.file.path, hdu);
    SQ_TRY(sq_input_goto(map->input, hdu));
    SQ_TRY(sq_input_header(map->input, &header));
    int64_t rows = sq_input_rows(map->input);
    if (rows < 1)
        SQ_TRY(sq_fail(SQ_ERR_FORMAT, "%s: NAXIS2: no rows of pixels", where));
    SQ_TRY(judge_pixels(map, where, header));
    SQ_TRY(judge_frame(map, where, header, options));
    SQ_TRY(add_columns(map, where, header, &index, options));
    if (__builtin_mul_overflow(rows, map->repeat, &map->listed))
        map->listed = INT64_MAX;
    if (map->info.partial)
        SQ_TRY(read_index(map, where, index));
    else if (map->listed != map->npix)
        SQ_TRY(sq_fail(SQ_ERR_FORMAT, "%s: NAXIS2: %lld pixels where NSIDE %lld has %lld", where,
                       (long long)map->listed, (long long)map->info.nside, (long long)map->npix));
cleanup:
    sq_free(header);
    return rc;
}

/* ---- neighbours ---- */

typedef struct ring {
    int64_t first, count;
    double theta;
    int shifted;
} ring;

/* Healpix_Base::get_ring_info2 of the HEALPix C++ library. */
static ring ring_info(int64_t nside, int64_t number)
{
    ring r;
    int64_t npix = 12 * nside * nside, north = number > 2 * nside ? 4 * nside - number : number;
    double fact2 = 4.0 / (double)npix;
    if (north < nside) {
        double t = (double)north * (double)north * fact2;
        r.theta = atan2(sqrt(t * (2 - t)), 1 - t);
        r.count = 4 * north;
        r.shifted = 1;
        r.first = 2 * north * (north - 1);
    } else {
        r.theta = acos((double)(2 * nside - north) * 2 * (double)nside * fact2);
        r.count = 4 * nside;
        r.shifted = ((north - nside) & 1) == 0;
        r.first = 2 * nside * (nside - 1) + (north - nside) * r.count;
    }
    if (north != number) {
        r.theta = M_PI - r.theta;
        r.first = npix - r.first - r.count;
    }
    return r;
}

static int64_t ring_above(int64_t nside, double z)
{
    double az = fabs(z);
    if (az <= 2.0 / 3)
        return (int64_t)((double)nside * (2 - 1.5 * z));
    int64_t number = (int64_t)((double)nside * sqrt(3 * (1 - az)));
    return z > 0 ? number : 4 * nside - number - 1;
}

static void on_ring(const ring *r, double phi, int64_t pixel[2], double weight[2])
{
    double step = 2 * M_PI / (double)r->count, half = 0.5 * r->shifted, at = phi / step - half;
    int64_t left = (int64_t)floor(at), right = left + 1;
    weight[1] = at - (double)left;
    weight[0] = 1 - weight[1];
    pixel[0] = r->first + (left + r->count) % r->count;
    pixel[1] = r->first + right % r->count;
}

/* Healpix_Base::get_interpol: linear along the two rings around the point, then in theta; beyond
 * the outermost ring the pole is the mean of its four pixels. */
static void interpol(int64_t nside, double theta, double phi, int64_t pixel[4], double weight[4])
{
    int64_t above = ring_above(nside, cos(theta)), below = above + 1, last = 4 * nside;
    ring a = {0}, b = {0};
    if (above > 0) {
        a = ring_info(nside, above);
        on_ring(&a, phi, pixel, weight);
    }
    if (below < last) {
        b = ring_info(nside, below);
        on_ring(&b, phi, pixel + 2, weight + 2);
    }
    double t = above == 0      ? theta / b.theta
               : below == last ? (theta - a.theta) / (M_PI - a.theta)
                               : (theta - a.theta) / (b.theta - a.theta);
    double share[2] = {1 - t, t};
    int at = above == 0 ? 0 : 2; /* the side without a ring */
    if (above == 0 || below == last) {
        int other = 2 - at;
        double quarter = 0.25 * share[at / 2];
        int64_t base = above == 0 ? 0 : 12 * nside * nside - 4;
        for (int k = 0; k < 2; k++) {
            weight[other + k] = weight[other + k] * share[other / 2] + quarter;
            weight[at + k] = quarter;
            pixel[at + k] = base + ((pixel[other + k] - base + 2) & 3);
        }
        return;
    }
    for (int k = 0; k < 4; k++)
        weight[k] *= share[k / 2];
}

/* ---- values ---- */

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Place of the last element <= wanted, -1 when there is none. */
static int64_t place(const int64_t *sorted, int64_t n, int64_t wanted)
{
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (sorted[middle] <= wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low - 1;
}

/* Elements of the column at sorted, distinct places: runs with small gaps are read in one go. */
static sq_status read_places(sq_map *map, int column, const int64_t *at, size_t n, float *out)
{
    sq_status rc = SQ_OK;
    float *run = NULL, nan = NAN;
    SQ_TRY(SQ_ALLOC(run, RUN, "map section"));
    for (size_t i = 0, k; i < n; i = k) {
        int status = 0, any;
        for (k = i + 1; k < n && at[k] - at[k - 1] <= GAP && at[k] - at[i] < RUN;)
            k++;
        fits_read_col(map->input->fits, TFLOAT, column, at[i] / map->repeat + 1,
                      at[i] % map->repeat + 1, at[k - 1] - at[i] + 1, &nan, run, &any, &status);
        if (status)
            SQ_TRY(sq_fits_fail(status, map->input->path, map->input->hdu, "pixels"));
        for (size_t m = i; m < k; m++)
            out[m] = run[at[m] - at[i]];
    }
cleanup:
    sq_free(run);
    return rc;
}

/* Values of `n` pixels, NaN where the map has none. */
static sq_status read_pixels(sq_map *map, int plane, const int64_t *pixel, size_t n, float *out)
{
    sq_status rc = SQ_OK;
    int64_t *at = NULL;
    float *value = NULL;
    size_t count = 0;
    SQ_TRY(SQ_ALLOC(at, n, "pixel numbers"));
    SQ_TRY(SQ_ALLOC(value, n, "pixel values"));
    for (size_t k = 0; k < n; k++) {
        int64_t found = map->info.partial ? place(map->pixel, map->listed, pixel[k]) : pixel[k];
        out[k] = NAN;
        if (map->info.partial)
            found = found >= 0 && map->pixel[found] == pixel[k] ? map->row[found] : -1;
        if (found >= 0)
            at[count++] = found;
    }
    qsort(at, count, sizeof *at, by_number);
    size_t distinct = 0;
    for (size_t k = 0; k < count; k++) {
        if (k == 0 || at[k] != at[distinct - 1])
            at[distinct++] = at[k];
    }
    SQ_TRY(read_places(map, (int)map->source[plane].layer, at, distinct, value));
    for (size_t k = 0; k < n; k++) {
        int64_t found = map->info.partial ? place(map->pixel, map->listed, pixel[k]) : pixel[k];
        if (map->info.partial)
            found = found >= 0 && map->pixel[found] == pixel[k] ? map->row[found] : -1;
        if (found >= 0)
            out[k] = value[place(at, (int64_t)distinct, found)];
    }
cleanup:
    sq_free(at);
    sq_free(value);
    return rc;
}

static sq_status healpix_block(sq_map *map, int plane, sq_map_method method, size_t n,
                               const double *ra, const double *dec, float *value)
{
    sq_status rc = SQ_OK;
    int64_t *pixel = NULL, nside = map->info.nside;
    double(*weight)[4] = NULL;
    float *found = NULL;
    SQ_TRY(SQ_ALLOC(pixel, 4 * n, "pixel numbers"));
    SQ_TRY(SQ_ALLOC(weight, n, "weights"));
    SQ_TRY(SQ_ALLOC(found, 4 * n, "pixel values"));
    for (size_t k = 0; k < n; k++) {
        double theta = (90 - dec[k]) * RAD, phi = sq_wrap_ra(ra[k]) * RAD;
        int64_t *p = pixel + 4 * k;
        if (!(fabs(dec[k]) <= 90) || !isfinite(phi)) {
            weight[k][0] = NAN;
        } else if (method == SQ_MAP_NEAREST) {
            p[0] = sq_healpix_pixel(nside, 0, theta, phi);
            p[1] = p[2] = p[3] = p[0];
            weight[k][0] = 1;
        } else {
            interpol(nside, theta, phi, p, weight[k]);
        }
        for (int m = 0; m < 4 && map->info.nested; m++)
            p[m] = sq_healpix_ring_to_nested(nside, p[m]);
    }
    SQ_TRY(read_pixels(map, plane, pixel, 4 * n, found));
    for (size_t k = 0; k < n; k++) {
        double sum = isfinite(weight[k][0]) ? 0 : NAN;
        for (int m = 0; m < 4; m++) {
            if (weight[k][m] != 0)
                sum += sq_map_missing(found[4 * k + (size_t)m])
                           ? NAN
                           : weight[k][m] * found[4 * k + (size_t)m];
        }
        value[k] = (float)sum;
    }
cleanup:
    sq_free(pixel);
    sq_free(weight);
    sq_free(found);
    return rc;
}

sq_status sq_map_healpix_values(sq_map *map, int plane, sq_map_method method, size_t n,
                                const double *ra, const double *dec, float *value)
{
    const size_t block = 1 << 18;
    sq_status rc = sq_input_goto(map->input, map->source[plane].hdu);
    if (method > SQ_MAP_BILINEAR)
        return sq_fail(SQ_ERR_USAGE, "%s: HEALPix maps are read nearest or bilinear",
                       map->info.file.path);
    for (size_t k = 0; k < n && rc == SQ_OK; k += block)
        rc = healpix_block(map, plane, method, n - k < block ? n - k : block, ra + k, dec + k,
                           value + k);
    return rc;
}
