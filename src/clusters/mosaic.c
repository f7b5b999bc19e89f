#include "clusters/mosaic.h"

#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "clusters/beam.h"
#include "clusters/holes.h"
#include "fits/map.h"
#include "sky/sphere.h"

static const double ARCMIN = M_PI / 180 / 60;

typedef enum weight_kind { WEIGHT_NONE, WEIGHT_IVAR, WEIGHT_VARIANCE, WEIGHT_HITS } weight_kind;

typedef struct piece {
    sq_map *map, *weight; /* the same handle when the weight is a plane of the map's file */
    int plane, weight_plane;
    weight_kind kind;
    double ra, dec, radius; /* of a circle around the map, deg; 180: everywhere */
} piece;

typedef struct disc {
    double ra, dec, radius; /* deg, deg, arcmin */
} disc;

struct cluster_mosaic {
    const cluster_settings *settings;
    int nband, lmax;
    piece *piece[SQ_MMF_BANDS];
    int pieces[SQ_MMF_BANDS];
    double *transfer[SQ_MMF_BANDS];
    sq_map *mask;
    disc *disc;
    size_t discs;
    sq_hash identity;
    /* Of the patch that is read: */
    int side;
    float *value;
    uint8_t *valid, *clear;
};

/* ---- files ---- */

static sq_status full_path(const sq_probe_setup *setup, const char *path, char out[SQ_PATH_MAX])
{
    int absolute = path[0] == '/' || !setup->folder || !setup->folder[0];
    int n = snprintf(out, SQ_PATH_MAX, "%s%s%s", absolute ? "" : setup->folder, absolute ? "" : "/",
                     path);
    return n > 0 && n < SQ_PATH_MAX ? SQ_OK
                                    : sq_fail(SQ_ERR_CONFIG, "clusters: %s: path too long", path);
}

static sq_status find_files(const sq_probe_setup *setup, const char *key, const char *pattern,
                            glob_t *found)
{
    char path[SQ_PATH_MAX];
    sq_status rc = full_path(setup, pattern, path);
    if (rc != SQ_OK)
        return rc;
    if (glob(path, 0, NULL, found) != 0 || !found->gl_pathc)
        return sq_fail(SQ_ERR_CONFIG, "clusters: %s: %s: no such file", key, path);
    return SQ_OK;
}

static void add_identity(cluster_mosaic *m, const sq_map *map)
{
    const sq_file_identity *file = &sq_map_information(map)->file;
    double numbers[2] = {(double)file->size, file->mtime};
    m->identity = sq_hash_combine(m->identity, sq_hash_bytes(file->path, strlen(file->path)));
    m->identity = sq_hash_combine(m->identity, sq_hash_bytes(numbers, sizeof numbers));
}

static sq_status open_map(cluster_mosaic *m, const char *path, const char *unit, sq_map **out)
{
    const cluster_settings *s = m->settings;
    sq_map_options options = {.unit = unit && *unit ? unit : NULL,
                              .frame = *s->frame ? s->frame : NULL};
    sq_status rc = sq_map_open(path, &options, out);
    if (rc == SQ_OK)
        add_identity(m, *out);
    return rc;
}

static sq_status choose_weight(cluster_mosaic *m, int band, piece *p)
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
    if (p->kind != WEIGHT_IVAR && p->kind != WEIGHT_VARIANCE && !m->settings->noise.count)
        return sq_fail(SQ_ERR_CONFIG,
                       "clusters: noise: missing, and %s has no inverse variance (band %g GHz)",
                       info->file.path, m->settings->ghz.value[band]);
    return SQ_OK;
}

static sq_status open_piece(cluster_mosaic *m, int band, const char *path, const char *weight,
                            int check, piece *p)
{
    sq_status rc = SQ_OK;
    SQ_TRY(open_map(m, path, m->settings->unit, &p->map));
    p->plane = sq_map_find_plane(p->map, "I");
    if (p->plane < 0)
        p->plane = 0;
    if (strcmp(sq_map_information(p->map)->plane[p->plane].unit, "uK") != 0)
        SQ_TRY(sq_fail(SQ_ERR_DATA, "%s: no map of temperature", path));
    p->weight = p->map;
    if (weight)
        SQ_TRY(open_map(m, weight, NULL, &p->weight));
    SQ_TRY(choose_weight(m, band, p));
    SQ_TRY(sq_map_extent(p->map, &p->ra, &p->dec, &p->radius));
    if (check)
        SQ_TRY(sq_map_check_unit(p->map, p->plane, NULL));
cleanup:
    return rc;
}

static sq_status same_pixels(const cluster_mosaic *m, int band)
{
    const sq_map_info *first = sq_map_information(m->piece[band][0].map);
    for (int k = 1; k < m->pieces[band]; k++) {
        const sq_map_info *other = sq_map_information(m->piece[band][k].map);
        if (fabs(other->scale / first->scale - 1) > 0.01)
            return sq_fail(SQ_ERR_CONFIG, "clusters: maps: pixels of %.3f' in %s, %.3f' in %s",
                           other->scale, other->file.path, first->scale, first->file.path);
    }
    return SQ_OK;
}

static sq_status open_band(cluster_mosaic *m, const sq_probe_setup *setup, int band)
{
    const cluster_settings *s = m->settings;
    glob_t maps = {0}, weights = {0};
    sq_status rc = SQ_OK;
    SQ_TRY(find_files(setup, "maps", s->maps.value[band], &maps));
    if (s->weights.count) {
        SQ_TRY(find_files(setup, "weights", s->weights.value[band], &weights));
        if (weights.gl_pathc != maps.gl_pathc)
            SQ_TRY(sq_fail(SQ_ERR_CONFIG, "clusters: weights: %s: %zu files for %zu maps",
                           s->weights.value[band], weights.gl_pathc, maps.gl_pathc));
    }
    SQ_TRY(SQ_ALLOC(m->piece[band], maps.gl_pathc, "maps"));
    for (size_t k = 0; k < maps.gl_pathc; k++) {
        m->pieces[band]++;
        SQ_TRY(open_piece(m, band, maps.gl_pathv[k], weights.gl_pathc ? weights.gl_pathv[k] : NULL,
                          setup->root, &m->piece[band][k]));
    }
    SQ_TRY(same_pixels(m, band));
cleanup:
    globfree(&maps);
    globfree(&weights);
    return rc;
}

static sq_status load_transfer(cluster_mosaic *m, const sq_probe_setup *setup, int band)
{
    const cluster_settings *s = m->settings;
    const sq_map *map = m->piece[band][0].map;
    const sq_map_info *info = sq_map_information(map);
    sq_status rc = SQ_OK;
    double *out = NULL;
    SQ_TRY(SQ_ALLOC(m->transfer[band], m->lmax + 1, "beam"));
    out = m->transfer[band];
    if (s->beams.count) {
        char path[SQ_PATH_MAX];
        const void *text;
        size_t size;
        SQ_TRY(full_path(setup, s->beams.value[band], path));
        SQ_TRY(sq_files_read(setup->files, path, &text, &size));
        SQ_TRY(cluster_beam_parse(path, text, size, m->lmax, out));
    } else {
        sq_beam_gauss(s->fwhm.value[band] * ARCMIN, m->lmax, out);
    }
    enum { STEP = 50 };
    /* Both windows are smooth: every 50th multipole, linear in between. */
    double before = 1, after = 1;
    for (int l = 0; l <= m->lmax; l++) {
        if (l % STEP == 0) {
            double at = l + STEP;
            before = after;
            after = (s->pixel_window ? sq_map_window(map, at) : 1) *
                    (info->nside ? sq_pixel_window(info->scale * ARCMIN, at)
                                 : cluster_interpolation_window(info->scale * ARCMIN, at));
        }
        out[l] *= before + (after - before) * (l % STEP) / STEP;
    }
cleanup:
    return rc;
}

static sq_status load_sources(cluster_mosaic *m, const sq_probe_setup *setup)
{
    sq_status rc = SQ_OK;
    char path[SQ_PATH_MAX];
    const void *data;
    size_t size, capacity = 0;
    char *text = NULL;
    int line = 0;
    SQ_TRY(full_path(setup, m->settings->sources, path));
    SQ_TRY(sq_files_read(setup->files, path, &data, &size));
    SQ_TRY(SQ_ALLOC(text, size + 1, "sources"));
    memcpy(text, data, size);
    for (char *at = text, *next; at && *at; at = next) {
        char *end = strchr(at, '\n');
        disc d;
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
        SQ_TRY(SQ_GROW(m->disc, capacity, m->discs + 1, "sources"));
        m->disc[m->discs++] = d;
    }
cleanup:
    sq_free(text);
    return rc;
}

sq_status cluster_mosaic_open(const cluster_settings *s, const sq_probe_setup *setup,
                              cluster_mosaic **out)
{
    sq_status rc = SQ_OK;
    cluster_mosaic *m = NULL;
    char path[SQ_PATH_MAX];
    *out = NULL;
    SQ_TRY(SQ_ALLOC(m, 1, "maps"));
    m->settings = s;
    m->identity = sq_hash_bytes("maps", 4);
    m->lmax = (int)fmin(s->lmax, M_PI / (s->pixel * ARCMIN));
    m->nband = (int)s->ghz.count;
    for (int b = 0; b < m->nband; b++) {
        SQ_TRY(open_band(m, setup, b));
        SQ_TRY(load_transfer(m, setup, b));
    }
    if (*s->mask) {
        SQ_TRY(full_path(setup, s->mask, path));
        SQ_TRY(open_map(m, path, "1", &m->mask));
    }
    if (*s->sources)
        SQ_TRY(load_sources(m, setup));
    *out = m;
    m = NULL;
cleanup:
    cluster_mosaic_close(m);
    return rc;
}

void cluster_mosaic_close(cluster_mosaic *m)
{
    if (!m)
        return;
    for (int b = 0; b < m->nband; b++) {
        for (int k = 0; k < m->pieces[b]; k++) {
            if (m->piece[b][k].weight != m->piece[b][k].map)
                sq_map_close(m->piece[b][k].weight);
            sq_map_close(m->piece[b][k].map);
        }
        sq_free(m->piece[b]);
        sq_free(m->transfer[b]);
    }
    sq_map_close(m->mask);
    sq_free(m->disc);
    sq_free(m->value);
    sq_free(m->valid);
    sq_free(m->clear);
    sq_free(m);
}

int cluster_mosaic_lmax(const cluster_mosaic *m)
{
    return m->lmax;
}

const double *cluster_mosaic_transfer(const cluster_mosaic *m, int band)
{
    return m->transfer[band];
}

sq_hash cluster_mosaic_identity(const cluster_mosaic *m)
{
    return m->identity;
}

void cluster_mosaic_extent(const cluster_mosaic *m, double *ra, double *width, double *low,
                           double *high)
{
    double left = 0, right = 0, origin = m->piece[0][0].ra;
    *low = 90;
    *high = -90;
    for (int b = 0; b < m->nband; b++) {
        for (int k = 0; k < m->pieces[b]; k++) {
            const piece *p = &m->piece[b][k];
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

/* ---- patches ---- */

static sq_status make_room(cluster_mosaic *m, int side)
{
    sq_status rc = SQ_OK;
    size_t n = (size_t)side * (size_t)side;
    if (m->side == side)
        return SQ_OK;
    sq_free(m->value);
    sq_free(m->valid);
    sq_free(m->clear);
    m->value = NULL;
    m->valid = m->clear = NULL;
    m->side = 0;
    SQ_TRY(SQ_ALLOC(m->value, n, "values"));
    SQ_TRY(SQ_ALLOC(m->valid, n, "flags"));
    SQ_TRY(SQ_ALLOC(m->clear, n, "flags"));
    m->side = side;
cleanup:
    return rc;
}

static int near(const piece *p, const sq_patch *patch, double reach)
{
    return p->radius >= 180 ||
           sq_separation(p->ra, p->dec, patch->ra, patch->dec) < p->radius + reach;
}

/* Side of the map's pixels in arcmin over the patch: a mesh, bilinear in between. */
enum { MESH = 9 };
static sq_status pixel_sides(const cluster_mosaic *m, const sq_map *map, const sq_wcs *grid,
                             double mesh[MESH][MESH])
{
    sq_status rc = SQ_OK;
    const sq_wcs *wcs = sq_map_wcs(map);
    for (int j = 0; j < MESH; j++) {
        for (int i = 0; i < MESH; i++) {
            double u = (double)i * (m->side - 1) / (MESH - 1), ra, dec, x, y;
            double v = (double)j * (m->side - 1) / (MESH - 1);
            mesh[j][i] = sq_map_information(map)->scale;
            if (!wcs)
                continue;
            SQ_TRY(sq_wcs_pix2sky(grid, 1, &u, &v, &ra, &dec));
            SQ_TRY(sq_wcs_sky2pix(wcs, 1, &ra, &dec, &x, &y));
            double side = isfinite(x) && isfinite(y) ? sq_wcs_scale(wcs, x, y) / 60 : NAN;
            mesh[j][i] = side > 0 ? side : mesh[j][i];
        }
    }
cleanup:
    return rc;
}

static double mesh_at(const cluster_mosaic *m, double mesh[MESH][MESH], int64_t pixel)
{
    double step = (double)(m->side - 1) / (MESH - 1);
    double u = (double)(pixel % m->side) / step, v = (double)(pixel / m->side) / step;
    int i = (int)fmin(u, MESH - 2), j = (int)fmin(v, MESH - 2);
    u -= i;
    v -= j;
    return (1 - v) * ((1 - u) * mesh[j][i] + u * mesh[j][i + 1]) +
           v * ((1 - u) * mesh[j + 1][i] + u * mesh[j + 1][i + 1]);
}

/* The noise in uK-arcmin that a weight tells; 0: no data. */
static double noise_of(const cluster_mosaic *m, int band, const piece *p, double weight,
                       double side)
{
    switch (p->kind) {
    case WEIGHT_IVAR:
        return weight > 0 ? side / sqrt(weight) : 0;
    case WEIGHT_VARIANCE:
        return weight > 0 ? side * sqrt(weight) : 0;
    case WEIGHT_HITS:
        return weight > 0 ? m->settings->noise.value[band] / sqrt(weight) : 0;
    case WEIGHT_NONE:
        break;
    }
    return m->settings->noise.value[band];
}

/* Fill what earlier pieces left open. */
static sq_status read_piece(cluster_mosaic *m, int band, piece *p, const sq_wcs *grid,
                            cluster_input *in)
{
    sq_status rc = SQ_OK;
    size_t n = (size_t)m->side * (size_t)m->side;
    int flat = sq_map_wcs(p->map) != NULL;
    double mesh[MESH][MESH];
    float *map = in->map[band], *noise = in->noise[band];
    SQ_TRY(sq_map_patch(p->map, p->plane, grid, m->side, m->side,
                        flat ? SQ_MAP_BICUBIC : SQ_MAP_BILINEAR, m->value, m->valid));
    for (size_t i = 0; i < n; i++) {
        m->clear[i] = m->valid[i] && !(noise[i] > 0);
        if (m->clear[i])
            map[i] = m->value[i];
    }
    if (p->kind)
        SQ_TRY(sq_map_patch(p->weight, p->weight_plane, grid, m->side, m->side, SQ_MAP_NEAREST,
                            m->value, m->valid));
    SQ_TRY(pixel_sides(m, p->weight, grid, mesh));
    for (size_t i = 0; i < n; i++) {
        if (!m->clear[i] || (p->kind && !m->valid[i]))
            continue;
        if (p->kind && m->value[i] < 0)
            SQ_TRY(sq_fail(SQ_ERR_DATA, "%s: a weight of %g",
                           sq_map_information(p->weight)->file.path, m->value[i]));
        noise[i] = (float)noise_of(m, band, p, m->value[i], mesh_at(m, mesh, (int64_t)i));
    }
cleanup:
    return rc;
}

/* Pixels within the discs of listed sources. */
static sq_status cover_discs(const cluster_mosaic *m, const sq_patch *patch, const sq_wcs *grid,
                             double reach)
{
    for (size_t k = 0; k < m->discs; k++) {
        const disc *d = &m->disc[k];
        double x, y;
        if (sq_separation(d->ra, d->dec, patch->ra, patch->dec) > reach + d->radius / 60)
            continue;
        sq_status rc = sq_wcs_sky2pix(grid, 1, &d->ra, &d->dec, &x, &y);
        if (rc != SQ_OK)
            return rc;
        if (isfinite(x) && isfinite(y))
            cluster_clear_disc(m->side, m->side, x, y, d->radius / m->settings->pixel, m->clear);
    }
    return SQ_OK;
}

/* Where nothing forbids to look. */
static sq_status find_clear(cluster_mosaic *m, const sq_patch *patch, const sq_wcs *grid,
                            double reach)
{
    sq_status rc = SQ_OK;
    size_t n = (size_t)m->side * (size_t)m->side;
    memset(m->clear, 1, n);
    if (m->mask) {
        SQ_TRY(
            sq_map_patch(m->mask, 0, grid, m->side, m->side, SQ_MAP_NEAREST, m->value, m->valid));
        for (size_t i = 0; i < n; i++)
            m->clear[i] = m->valid[i] && m->value[i] > 0.5;
    }
    SQ_TRY(cover_discs(m, patch, grid, reach));
cleanup:
    return rc;
}

/* Keep the pixels that all bands have. */
static void intersect(const cluster_mosaic *m, cluster_input *in)
{
    size_t n = (size_t)m->side * (size_t)m->side;
    for (size_t i = 0; i < n; i++) {
        int bands = 0;
        for (int b = 0; b < m->nband; b++)
            bands += in->noise[b][i] > 0;
        int held = m->clear[i] && bands == m->nband;
        in->held += held;
        in->partial += m->clear[i] && bands && bands < m->nband;
        for (int b = 0; b < m->nband && !held; b++)
            in->map[b][i] = in->noise[b][i] = 0;
    }
}

/* A map in K that is read as uK, or one in uK read as K, has an rms that no CMB sky has. */
static sq_status check_values(const cluster_mosaic *m, const cluster_input *in)
{
    size_t n = (size_t)m->side * (size_t)m->side;
    for (int b = 0; b < m->nband && in->held > 1000; b++) {
        double sum = 0, square = 0;
        for (size_t i = 0; i < n; i++) {
            sum += in->map[b][i];
            square += (double)in->map[b][i] * in->map[b][i];
        }
        double mean = sum / (double)in->held, rms = sqrt(square / (double)in->held - mean * mean);
        if (!(rms > 0.05 && rms < 1e5))
            return sq_fail(SQ_ERR_DATA, "%s: rms %.3g uK in the patch: not a CMB map in uK",
                           sq_map_information(m->piece[b][0].map)->file.path, rms);
    }
    return SQ_OK;
}

static sq_status create_input(const cluster_mosaic *m, cluster_input **out)
{
    sq_status rc = SQ_OK;
    cluster_input *in = NULL;
    size_t n = (size_t)m->side * (size_t)m->side;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(in, 1, "patch"));
    in->nband = m->nband;
    in->side = m->side;
    for (int b = 0; b < m->nband; b++) {
        SQ_TRY(SQ_ALLOC(in->map[b], n, "map of a patch"));
        SQ_TRY(SQ_ALLOC(in->noise[b], n, "noise of a patch"));
    }
    *out = in;
    in = NULL;
cleanup:
    cluster_input_destroy(in);
    return rc;
}

sq_status cluster_mosaic_read(cluster_mosaic *m, const sq_patch *patch, const sq_wcs *grid,
                              cluster_input **out)
{
    sq_status rc = SQ_OK;
    cluster_input *in = NULL;
    double reach = 0.75 * patch->side * m->settings->pixel / 60;
    int any = 0;
    *out = NULL;
    for (int b = 0; b < m->nband; b++) {
        for (int k = 0; k < m->pieces[b]; k++)
            any |= near(&m->piece[b][k], patch, reach);
    }
    if (!any)
        return SQ_OK;
    SQ_TRY(make_room(m, patch->side));
    SQ_TRY(create_input(m, &in));
    for (int b = 0; b < m->nband; b++) {
        for (int k = 0; k < m->pieces[b]; k++) {
            if (near(&m->piece[b][k], patch, reach))
                SQ_TRY(read_piece(m, b, &m->piece[b][k], grid, in));
        }
    }
    SQ_TRY(find_clear(m, patch, grid, reach));
    intersect(m, in);
    SQ_TRY(check_values(m, in));
    *out = in;
    in = NULL;
cleanup:
    cluster_input_destroy(in);
    return rc;
}

void cluster_input_destroy(cluster_input *in)
{
    if (!in)
        return;
    for (int b = 0; b < SQ_MMF_BANDS; b++) {
        sq_free(in->map[b]);
        sq_free(in->noise[b]);
    }
    sq_free(in);
}

sq_hash cluster_input_hash(const cluster_input *in)
{
    sq_hash hash = sq_hash_bytes(&in->side, sizeof in->side);
    size_t size = (size_t)in->side * (size_t)in->side * sizeof(float);
    for (int b = 0; b < in->nband; b++) {
        hash = sq_hash_combine(hash, sq_hash_bytes(in->map[b], size));
        hash = sq_hash_combine(hash, sq_hash_bytes(in->noise[b], size));
    }
    return hash;
}
