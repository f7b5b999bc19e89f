#include "fits/mosaic.h"

#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fits/map_kernel.h"
#include "sky/sphere.h"

static const double ARCMIN = M_PI / 180 / 60;
enum { MESH = 9, FINE_MAX = 4096 };

typedef enum weight_kind { WEIGHT_NONE, WEIGHT_IVAR, WEIGHT_VARIANCE, WEIGHT_HITS } weight_kind;

typedef struct piece {
    sq_map *map, *weight; /* the same handle when the weight is a plane of the map's file */
    int plane, weight_plane;
    weight_kind kind;
    double ra, dec, radius;
} piece;

struct sq_mosaic {
    char group[24];
    double noise;
    int polarised, average, pieces;
    piece *piece;
    sq_hash identity;
    /* Of the fine grid that is read: */
    int side;
    float *value[3];
    uint8_t *valid, *other;
};

/* ---- files ---- */

sq_status sq_input_path(const char *group, const char *folder, const char *path, char *out,
                        size_t size)
{
    int absolute = path[0] == '/' || !folder || !folder[0];
    int n = snprintf(out, size, "%s%s%s", absolute ? "" : folder, absolute ? "" : "/", path);
    return n > 0 && (size_t)n < size ? SQ_OK
                                     : sq_fail(SQ_ERR_CONFIG, "%s: %s: path too long", group, path);
}

static sq_status find_files(const sq_mosaic_options *o, const char *key, const char *pattern,
                            glob_t *found)
{
    char path[4096];
    sq_status rc = sq_input_path(o->group, o->folder, pattern, path, sizeof path);
    if (rc != SQ_OK)
        return rc;
    if (glob(path, 0, NULL, found) != 0 || !found->gl_pathc)
        return sq_fail(SQ_ERR_CONFIG, "%s: %s: %s: no such file", o->group, key, path);
    return SQ_OK;
}

sq_hash sq_map_identity(const sq_map *map)
{
    const sq_file_identity *file = &sq_map_information(map)->file;
    double numbers[2] = {(double)file->size, file->mtime};
    return sq_hash_combine(sq_hash_bytes(file->path, strlen(file->path)),
                           sq_hash_bytes(numbers, sizeof numbers));
}

static sq_status open_map(sq_mosaic *m, const char *path, const sq_map_options *options,
                          sq_map **out)
{
    sq_status rc = sq_map_open(path, options, out);
    if (rc == SQ_OK)
        m->identity = sq_hash_combine(m->identity, sq_map_identity(*out));
    return rc;
}

static const char *given(const char *text)
{
    return text && *text ? text : NULL;
}

static sq_status choose_weight(const sq_mosaic *m, piece *p)
{
    static const struct {
        const char *name;
        weight_kind kind;
    } names[] = {{"ivar", WEIGHT_IVAR}, {"variance", WEIGHT_VARIANCE}, {"hits", WEIGHT_HITS}};
    const sq_map_info *info = sq_map_information(p->weight);
    for (size_t k = 0; k < sizeof names / sizeof *names && !p->kind; k++) {
        p->weight_plane = sq_map_find_plane(p->weight, names[k].name);
        if (p->weight_plane >= 0)
            p->kind = names[k].kind;
    }
    /* A weight map whose only plane has no name: its unit tells. */
    if (!p->kind && p->weight != p->map) {
        p->weight_plane = 0;
        p->kind = strcmp(info->plane[0].unit, "uK^-2") == 0  ? WEIGHT_IVAR
                  : strcmp(info->plane[0].unit, "uK^2") == 0 ? WEIGHT_VARIANCE
                                                             : WEIGHT_HITS;
    }
    if (p->kind != WEIGHT_IVAR && p->kind != WEIGHT_VARIANCE && !(m->noise >= 0))
        return sq_fail(SQ_ERR_CONFIG, "%s: noise: missing, and %s has no inverse variance",
                       m->group, info->file.path);
    return SQ_OK;
}

static sq_status check_units(const piece *p, int polarised)
{
    sq_status rc = sq_map_check_unit(p->map, p->plane, NULL);
    if (rc == SQ_OK && polarised)
        rc = sq_map_check_unit(p->map, sq_map_find_plane(p->map, "Q"), NULL);
    return rc;
}

static sq_status open_piece(sq_mosaic *m, const sq_mosaic_options *o, const char *path,
                            const char *weight, piece *p)
{
    sq_status rc = SQ_OK;
    sq_map_options values = {given(o->unit), given(o->frame), given(o->polarisation)};
    sq_map_options weights = {NULL, given(o->frame), NULL};
    SQ_TRY(open_map(m, path, &values, &p->map));
    p->plane = sq_map_find_plane(p->map, "I");
    if (p->plane < 0)
        p->plane = 0;
    if (strcmp(sq_map_information(p->map)->plane[p->plane].unit, "uK") != 0)
        SQ_TRY(sq_fail(SQ_ERR_DATA, "%s: no map of temperature", path));
    if (o->polarised && (sq_map_find_plane(p->map, "Q") < 0 || sq_map_find_plane(p->map, "U") < 0))
        SQ_TRY(sq_fail(SQ_ERR_DATA, "%s: no planes Q and U", path));
    p->weight = p->map;
    if (weight)
        SQ_TRY(open_map(m, weight, &weights, &p->weight));
    SQ_TRY(choose_weight(m, p));
    SQ_TRY(sq_map_extent(p->map, &p->ra, &p->dec, &p->radius));
    if (o->check)
        SQ_TRY(check_units(p, o->polarised));
cleanup:
    return rc;
}

static sq_status same_pixels(const sq_mosaic *m)
{
    const sq_map_info *first = sq_map_information(m->piece[0].map);
    for (int k = 1; k < m->pieces; k++) {
        const sq_map_info *other = sq_map_information(m->piece[k].map);
        if (fabs(other->scale / first->scale - 1) > 0.01)
            return sq_fail(SQ_ERR_CONFIG, "%s: maps: pixels of %.3f' in %s, %.3f' in %s", m->group,
                           other->scale, other->file.path, first->scale, first->file.path);
    }
    return SQ_OK;
}

sq_status sq_mosaic_open(const sq_mosaic_options *o, sq_mosaic **out)
{
    glob_t maps = {0}, weights = {0};
    sq_status rc = SQ_OK;
    sq_mosaic *m = NULL;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(m, 1, "maps"));
    snprintf(m->group, sizeof m->group, "%s", o->group);
    m->noise = o->noise;
    m->polarised = o->polarised;
    m->average = o->average;
    m->identity = sq_hash_bytes("maps", 4);
    SQ_TRY(find_files(o, "maps", o->maps, &maps));
    if (given(o->weights)) {
        SQ_TRY(find_files(o, "weights", o->weights, &weights));
        if (weights.gl_pathc != maps.gl_pathc)
            SQ_TRY(sq_fail(SQ_ERR_CONFIG, "%s: weights: %s: %zu files for %zu maps", o->group,
                           o->weights, weights.gl_pathc, maps.gl_pathc));
    }
    SQ_TRY(SQ_ALLOC(m->piece, maps.gl_pathc, "maps"));
    for (size_t k = 0; k < maps.gl_pathc; k++) {
        m->pieces++;
        SQ_TRY(open_piece(m, o, maps.gl_pathv[k], weights.gl_pathc ? weights.gl_pathv[k] : NULL,
                          &m->piece[k]));
    }
    SQ_TRY(same_pixels(m));
    *out = m;
    m = NULL;
cleanup:
    globfree(&maps);
    globfree(&weights);
    sq_mosaic_close(m);
    return rc;
}

static void drop_room(sq_mosaic *m)
{
    for (int i = 0; i < 3; i++) {
        sq_free(m->value[i]);
        m->value[i] = NULL;
    }
    sq_free(m->valid);
    sq_free(m->other);
    m->valid = m->other = NULL;
    m->side = 0;
}

void sq_mosaic_close(sq_mosaic *m)
{
    if (!m)
        return;
    for (int k = 0; k < m->pieces; k++) {
        if (m->piece[k].weight != m->piece[k].map)
            sq_map_close(m->piece[k].weight);
        sq_map_close(m->piece[k].map);
    }
    sq_free(m->piece);
    drop_room(m);
    sq_free(m);
}

const char *sq_mosaic_name(const sq_mosaic *m)
{
    return sq_map_information(m->piece[0].map)->file.path;
}

sq_hash sq_mosaic_identity(const sq_mosaic *m)
{
    return m->identity;
}

void sq_mosaic_extent(sq_mosaic *const *mosaic, int n, double *ra, double *width, double *low,
                      double *high)
{
    double left = 0, right = 0, origin = mosaic[0]->piece[0].ra;
    *low = 90;
    *high = -90;
    for (int b = 0; b < n; b++) {
        for (int k = 0; k < mosaic[b]->pieces; k++) {
            const piece *p = &mosaic[b]->piece[k];
            double far = fmax(fabs(p->dec - p->radius), fabs(p->dec + p->radius));
            /* A circle around a pole, or the whole sky, has every ra. */
            double half =
                far < 90 ? asin(sin(p->radius * M_PI / 180) / cos(p->dec * M_PI / 180)) * 180 / M_PI
                         : 180;
            double offset = remainder(p->ra - origin, 360);
            left = fmin(left, offset - half);
            right = fmax(right, offset + half);
            *low = fmin(*low, fmax(-90, p->dec - p->radius));
            *high = fmax(*high, fmin(90, p->dec + p->radius));
        }
    }
    *width = fmin(360, right - left);
    *ra = origin + 0.5 * (left + right);
}

static int near(const piece *p, const sq_patch *patch, double pixel)
{
    double reach = 0.75 * patch->side * pixel / 60;
    return p->radius >= 180 ||
           sq_separation(p->ra, p->dec, patch->ra, patch->dec) < p->radius + reach;
}

int sq_mosaic_near(const sq_mosaic *m, const sq_patch *patch, double pixel)
{
    for (int k = 0; k < m->pieces; k++) {
        if (near(&m->piece[k], patch, pixel))
            return 1;
    }
    return 0;
}

/* ---- windows ---- */

/* Fine pixels along a pixel of the patch. */
static int parts(const sq_mosaic *m, double pixel)
{
    double ratio = pixel / sq_map_information(m->piece[0].map)->scale;
    return m->average && ratio > 1.02 ? (int)ceil(ratio) : 1;
}

static double sinc(double x)
{
    return fabs(x) < 1e-4 ? 1 - x * x / 6 : sin(x) / x;
}

/* What is averaged is read by the sinc: an attenuation that changed over the patch would look like
 * lensing. */
static sq_map_method flat_method(const sq_mosaic *m)
{
    return m->average ? SQ_MAP_SINC : SQ_MAP_BICUBIC;
}

/* The mean attenuation at l by interpolation between samples `step` rad apart, averaged over
 * directions and over the places between the samples. */
static double interpolation_window(const sq_map_kernel *kernel, double step, double l)
{
    enum { STEPS = 32 };
    double sum = 0;
    for (int k = 0; k < STEPS; k++) {
        double phi = (k + 0.5) * M_PI / 4 / STEPS, f = l * step / (2 * M_PI);
        sum += sq_map_kernel_response(kernel, f * cos(phi)) *
               sq_map_kernel_response(kernel, f * sin(phi));
    }
    return sum / STEPS;
}

/* Bilinear interpolation between the rings of a HEALPix map, and along them between their pixels
 * (sides from Gorski et al. 2005, ApJ 622, 759, section 5), averaged over directions and over the
 * map's declinations. Around the equator pixels are up to 2.4 times as far apart along rings as
 * the rings are. */
static double healpix_window(const piece *p, double l)
{
    enum { STEPS = 16, BELTS = 8 };
    double nside = (double)sq_map_information(p->map)->nside, sum = 0;
    double low = sin(fmax(-90, p->dec - p->radius) * M_PI / 180);
    double high = sin(fmin(90, p->dec + p->radius) * M_PI / 180);
    for (int belt = 0; belt < BELTS; belt++) {
        double z = low + (belt + 0.5) * (high - low) / BELTS, across = sqrt(1 - z * z);
        double ring = fabs(z) > 2.0 / 3 ? sqrt(3 * (1 - fabs(z))) : 1; /* number over nside */
        double apart = 2 * ring / (3 * nside * across), along = M_PI * across / (2 * nside * ring);
        for (int k = 0; k < STEPS; k++) {
            double phi = (k + 0.5) * M_PI / 2 / STEPS;
            sum += pow(sinc(0.5 * l * along * cos(phi)) * sinc(0.5 * l * apart * sin(phi)), 2);
        }
    }
    return sum / (STEPS * BELTS);
}

/* The mean of n samples a side `step` rad apart. */
static double average_window(int n, double step, double l)
{
    enum { STEPS = 32 };
    double sum = 0;
    for (int k = 0; k < STEPS; k++) {
        double phi = (k + 0.5) * M_PI / 4 / STEPS, value = 1;
        for (int axis = 0; axis < 2; axis++) {
            double half = 0.5 * l * step * (axis ? sin(phi) : cos(phi));
            value *= sinc(n * half) / sinc(half);
        }
        sum += value;
    }
    return sum / STEPS;
}

static double window_at(const sq_mosaic *m, const sq_map_kernel *kernel, double pixel, int averaged,
                        double l)
{
    const sq_map *map = m->piece[0].map;
    const sq_map_info *info = sq_map_information(map);
    int n = parts(m, pixel);
    double reading = info->nside ? healpix_window(&m->piece[0], l)
                                 : interpolation_window(kernel, info->scale * ARCMIN, l);
    return reading * (n > 1 ? average_window(n, pixel / n * ARCMIN, l) : 1) *
           (averaged ? sq_map_window(map, l) : 1);
}

sq_status sq_mosaic_window(const sq_mosaic *m, double pixel, int averaged, int lmax, double *out)
{
    enum { STEP = 50 };
    sq_map_kernel *kernel = NULL;
    sq_status rc = sq_map_kernel_create(flat_method(m), &kernel);
    if (rc != SQ_OK)
        return rc;
    /* Smooth: every 50th multipole, linear in between. */
    double before = 1, after = 1;
    for (int l = 0; l <= lmax; l++) {
        if (l % STEP == 0) {
            before = after;
            after = window_at(m, kernel, pixel, averaged, l + STEP);
        }
        out[l] = before + (after - before) * (l % STEP) / STEP;
    }
    sq_map_kernel_destroy(kernel);
    return SQ_OK;
}

/* ---- patches ---- */

static sq_status make_room(sq_mosaic *m, int side)
{
    sq_status rc = SQ_OK;
    size_t n = (size_t)side * (size_t)side;
    if (m->side == side)
        return SQ_OK;
    drop_room(m);
    for (int i = 0; i < (m->polarised ? 3 : 1); i++)
        SQ_TRY(SQ_ALLOC(m->value[i], n, "values"));
    SQ_TRY(SQ_ALLOC(m->valid, n, "flags"));
    SQ_TRY(SQ_ALLOC(m->other, n, "flags"));
    m->side = side;
cleanup:
    return rc;
}

/* Side of the weight's pixels in arcmin over the grid: a mesh, bilinear in between. */
static sq_status pixel_sides(const sq_map *map, const sq_wcs *grid, int side,
                             double mesh[MESH][MESH])
{
    sq_status rc = SQ_OK;
    const sq_wcs *wcs = sq_map_wcs(map);
    for (int j = 0; j < MESH; j++) {
        for (int i = 0; i < MESH; i++) {
            double u = (double)i * (side - 1) / (MESH - 1), ra, dec, x, y;
            double v = (double)j * (side - 1) / (MESH - 1);
            mesh[j][i] = sq_map_information(map)->scale;
            if (!wcs)
                continue;
            SQ_TRY(sq_wcs_pix2sky(grid, 1, &u, &v, &ra, &dec));
            SQ_TRY(sq_wcs_sky2pix(wcs, 1, &ra, &dec, &x, &y));
            double here = isfinite(x) && isfinite(y) ? sq_wcs_scale(wcs, x, y) / 60 : NAN;
            mesh[j][i] = here > 0 ? here : mesh[j][i];
        }
    }
cleanup:
    return rc;
}

static double mesh_at(double mesh[MESH][MESH], int side, int64_t pixel)
{
    double step = (double)(side - 1) / (MESH - 1);
    double u = (double)(pixel % side) / step, v = (double)(pixel / side) / step;
    int i = (int)fmin(u, MESH - 2), j = (int)fmin(v, MESH - 2);
    u -= i;
    v -= j;
    return (1 - v) * ((1 - u) * mesh[j][i] + u * mesh[j][i + 1]) +
           v * ((1 - u) * mesh[j + 1][i] + u * mesh[j + 1][i + 1]);
}

/* The noise in uK-arcmin that a weight tells; 0: no data. */
static double noise_of(const sq_mosaic *m, const piece *p, double weight, double side)
{
    switch (p->kind) {
    case WEIGHT_IVAR:
        return weight > 0 ? side / sqrt(weight) : 0;
    case WEIGHT_VARIANCE:
        return weight > 0 ? side * sqrt(weight) : 0;
    case WEIGHT_HITS:
        return weight > 0 ? m->noise / sqrt(weight) : 0;
    case WEIGHT_NONE:
        break;
    }
    return m->noise;
}

/* Fill what earlier pieces left open; `noise` below 0 stands for open. */
static sq_status read_piece(sq_mosaic *m, piece *p, const sq_wcs *grid, int side,
                            float *const map[3], float *noise)
{
    sq_status rc = SQ_OK;
    size_t n = (size_t)side * (size_t)side;
    sq_map_method method = sq_map_wcs(p->map) ? flat_method(m) : SQ_MAP_BILINEAR;
    double mesh[MESH][MESH];
    SQ_TRY(make_room(m, side));
    SQ_TRY(sq_map_patch(p->map, p->plane, grid, side, side, method, m->value[0], m->valid));
    if (m->polarised) {
        SQ_TRY(
            sq_map_patch_qu(p->map, grid, side, side, method, m->value[1], m->value[2], m->other));
        for (size_t i = 0; i < n; i++)
            m->valid[i] &= m->other[i];
    }
    for (size_t i = 0; i < n; i++) {
        m->valid[i] = m->valid[i] && noise[i] < 0;
        for (int k = 0; k < (m->polarised ? 3 : 1) && m->valid[i]; k++)
            map[k][i] = m->value[k][i];
    }
    if (p->kind)
        SQ_TRY(sq_map_patch(p->weight, p->weight_plane, grid, side, side, SQ_MAP_NEAREST,
                            m->value[0], m->other));
    SQ_TRY(pixel_sides(p->weight, grid, side, mesh));
    for (size_t i = 0; i < n; i++) {
        if (!m->valid[i] || (p->kind && !m->other[i]))
            continue;
        if (p->kind && m->value[0][i] < 0)
            SQ_TRY(sq_fail(SQ_ERR_DATA, "%s: a weight of %g",
                           sq_map_information(p->weight)->file.path, m->value[0][i]));
        noise[i] = (float)noise_of(m, p, m->value[0][i], mesh_at(mesh, side, (int64_t)i));
        if (p->kind && !(noise[i] > 0))
            noise[i] = -1;
    }
cleanup:
    return rc;
}

/* The WCS of a grid whose pixels are divided into n * n. */
static sq_status fine_grid(const sq_wcs *grid, int n, sq_wcs **out)
{
    char *header = NULL;
    sq_status rc = SQ_OK;
    SQ_TRY(sq_wcs_to_header(grid, &header));
    size_t cards = strlen(header) / 80;
    for (size_t k = 0; k < cards; k++) {
        char *card = header + 80 * k, key[9] = "", text[48];
        double value;
        memcpy(key, card, 8);
        int place = !strncmp(key, "CRPIX", 5), scale = !strncmp(key, "CDELT", 5);
        if (!(place || scale) || sscanf(card + 9, "%lf", &value) != 1)
            continue;
        value = place ? (value - 0.5) * n + 0.5 : value / n;
        snprintf(text, sizeof text, "= %.17g", value);
        memset(card + 8, ' ', 72);
        memcpy(card + 8, text, strlen(text));
    }
    SQ_TRY(sq_wcs_from_header(header, "fine grid", out));
cleanup:
    sq_free(header);
    return rc;
}

/* Means over n * n; without data where any fine pixel has none. */
static void average(int side, int n, int planes, float *const fine[4], float *const map[3],
                    float *noise)
{
    int64_t wide = (int64_t)side * n;
    for (int64_t i = 0; i < (int64_t)side * side; i++) {
        double sum[4] = {0};
        int held = 0;
        for (int k = 0; k < n * n; k++) {
            int64_t at = (i / side * n + k / n) * wide + i % side * n + k % n;
            held += fine[3][at] >= 0;
            for (int p = 0; p < planes; p++)
                sum[p] += fine[p][at];
            sum[3] += (double)fine[3][at] * fine[3][at];
        }
        int all = held == n * n;
        for (int p = 0; p < planes; p++)
            map[p][i] = all ? (float)(sum[p] / (n * n)) : 0;
        noise[i] = all ? (float)sqrt(sum[3] / (n * n)) : -1;
    }
}

static sq_status read_pieces(sq_mosaic *m, const sq_patch *patch, double pixel, const sq_wcs *grid,
                             int side, float *const map[3], float *noise)
{
    for (int64_t i = 0; i < (int64_t)side * side; i++)
        noise[i] = -1;
    for (int k = 0; k < m->pieces; k++) {
        if (!near(&m->piece[k], patch, pixel))
            continue;
        sq_status rc = read_piece(m, &m->piece[k], grid, side, map, noise);
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}

sq_status sq_mosaic_read(sq_mosaic *m, const sq_patch *patch, const sq_wcs *grid, double pixel,
                         float *const map[3], float *noise)
{
    sq_status rc = SQ_OK;
    int n = parts(m, pixel), planes = m->polarised ? 3 : 1, side = patch->side;
    float *fine[4] = {NULL};
    sq_wcs *wcs = NULL;
    if (n == 1) {
        SQ_TRY(read_pieces(m, patch, pixel, grid, side, map, noise));
    } else {
        if ((int64_t)n * side > FINE_MAX)
            SQ_TRY(sq_fail(SQ_ERR_CONFIG, "%s: pixel: %g arcmin, %d pixels of %s", m->group, pixel,
                           n, sq_mosaic_name(m)));
        size_t wide = (size_t)side * (size_t)n;
        for (int k = 0; k < 4; k++) {
            if (k < planes || k == 3)
                SQ_TRY(SQ_ALLOC(fine[k], wide * wide, "fine grid"));
        }
        SQ_TRY(fine_grid(grid, n, &wcs));
        SQ_TRY(read_pieces(m, patch, pixel, wcs, (int)wide, fine, fine[3]));
        average(side, n, planes, fine, map, noise);
    }
    for (int64_t i = 0; i < (int64_t)side * side; i++)
        noise[i] = noise[i] > 0 ? noise[i] : 0;
cleanup:
    for (int k = 0; k < 4; k++)
        sq_free(fine[k]);
    sq_wcs_destroy(wcs);
    return rc;
}

/* ---- masks ---- */

sq_status sq_mask_apply(sq_map *mask, const sq_wcs *grid, int side, uint8_t *valid)
{
    sq_status rc = SQ_OK;
    size_t n = (size_t)side * (size_t)side;
    float *value = NULL;
    uint8_t *there = NULL;
    SQ_TRY(SQ_ALLOC(value, n, "mask"));
    SQ_TRY(SQ_ALLOC(there, n, "mask"));
    SQ_TRY(sq_map_patch(mask, 0, grid, side, side, SQ_MAP_NEAREST, value, there));
    for (size_t i = 0; i < n; i++)
        valid[i] = valid[i] && there[i] && value[i] > 0.5;
cleanup:
    sq_free(value);
    sq_free(there);
    return rc;
}

sq_status sq_discs_parse(const char *path, const void *data, size_t size, sq_disc **out,
                         size_t *count)
{
    sq_status rc = SQ_OK;
    size_t capacity = 0, n = 0;
    sq_disc *disc = NULL;
    char *text = NULL;
    int line = 0;
    SQ_TRY(SQ_ALLOC(text, size + 1, "sources"));
    memcpy(text, data, size);
    for (char *at = text, *next; at && *at; at = next) {
        char *end = strchr(at, '\n');
        sq_disc d;
        next = end ? end + 1 : NULL;
        if (end)
            *end = '\0';
        line++;
        at += strspn(at, " \t\r");
        if (*at == '#' || !*at)
            continue;
        if (sscanf(at, "%lf%*[ ,\t]%lf%*[ ,\t]%lf", &d.ra, &d.dec, &d.radius) != 3 ||
            !(fabs(d.dec) <= 90) || !(fabs(d.ra) <= 360) || !(d.radius > 0 && d.radius < 600))
            SQ_TRY(
                sq_fail(SQ_ERR_DATA, "%s:%d: not ra, dec (deg) and radius (arcmin)", path, line));
        SQ_TRY(SQ_GROW(disc, capacity, n + 1, "sources"));
        disc[n++] = d;
    }
    *out = disc;
    *count = n;
    disc = NULL;
cleanup:
    sq_free(text);
    sq_free(disc);
    return rc;
}

void sq_disc_clear(int ny, int nx, double x, double y, double radius, uint8_t *valid)
{
    int low = (int)fmax(0, ceil(y - radius)), high = (int)fmin(ny - 1, floor(y + radius));
    int left = (int)fmax(0, ceil(x - radius)), right = (int)fmin(nx - 1, floor(x + radius));
    for (int v = low; v <= high; v++) {
        for (int u = left; u <= right; u++) {
            if (hypot(u - x, v - y) <= radius)
                valid[(int64_t)v * nx + u] = 0;
        }
    }
}

sq_status sq_discs_apply(const sq_disc *disc, size_t count, const sq_wcs *grid, int side,
                         double pixel, uint8_t *valid)
{
    for (size_t k = 0; k < count; k++) {
        double x, y, radius = disc[k].radius / pixel;
        sq_status rc = sq_wcs_sky2pix(grid, 1, &disc[k].ra, &disc[k].dec, &x, &y);
        if (rc != SQ_OK)
            return rc;
        /* A point beyond the horizon of the grid's centre is far from its pixels. */
        if (isfinite(x) && isfinite(y) && fabs(x) < 1e6 && fabs(y) < 1e6)
            sq_disc_clear(side, side, x, y, radius, valid);
    }
    return SQ_OK;
}
