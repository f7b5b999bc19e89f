#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/mem.h"
#include "fits/band.h"

enum { MAX_DEPTH = 32 };

/* ---- listing ---- */

typedef struct listing {
    char **path;
    size_t count, capacity;
} listing;

static void clear_listing(listing *l)
{
    for (size_t k = 0; k < l->count; k++)
        sq_free(l->path[k]);
    sq_free(l->path);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Whether a name ends like a FITS file; the length of its stem. */
static int is_fits(const char *name, size_t *stem)
{
    static const char *const packed[] = {"", ".gz", ".bz2", ".fz"};
    static const char *const ends[] = {".fits", ".fit"};
    size_t n = strlen(name);
    for (size_t p = 0; p < 4; p++) {
        for (size_t e = 0; e < 2; e++) {
            char end[16];
            size_t k = (size_t)snprintf(end, sizeof end, "%s%s", ends[e], packed[p]);
            if (n > k && strcmp(name + n - k, end) == 0) {
                *stem = n - k;
                return 1;
            }
        }
    }
    return 0;
}

static sq_status add_path(listing *l, const char *path)
{
    size_t stem;
    if (!is_fits(base_name(path), &stem))
        return SQ_OK;
    if (strlen(path) >= SQ_PATH_MAX)
        return sq_fail(SQ_ERR_DATA, "%.200s...: path is longer than %d bytes", path,
                       SQ_PATH_MAX - 1);
    sq_status rc = SQ_GROW(l->path, l->capacity, l->count + 1, "list of files");
    if (rc == SQ_OK)
        rc = sq_strdup(&l->path[l->count], path);
    if (rc == SQ_OK)
        l->count++;
    return rc;
}

static sq_status list_folder(listing *l, const char *folder, int depth);

static sq_status list_path(listing *l, const char *path, int depth)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        if (depth > 0 && errno == ENOENT) /* a dangling link in a folder */
            return SQ_OK;
        return sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    }
    if (S_ISDIR(st.st_mode))
        return list_folder(l, path, depth);
    return S_ISREG(st.st_mode) ? add_path(l, path) : SQ_OK;
}

static sq_status list_folder(listing *l, const char *folder, int depth)
{
    sq_status rc = SQ_OK;
    struct dirent *entry;
    char path[SQ_PATH_MAX + 260];
    if (depth > MAX_DEPTH)
        return sq_fail(SQ_ERR_DATA, "%s: folders nested deeper than %d", folder, MAX_DEPTH);
    DIR *dir = opendir(folder);
    if (!dir)
        return sq_fail(SQ_ERR_IO, "%s: %s", folder, strerror(errno));
    while (rc == SQ_OK && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%.*s/%s", SQ_PATH_MAX - 1, folder, entry->d_name);
        /* The kind is asked of the file system only where the folder does not tell. */
        rc = entry->d_type == DT_REG ? add_path(l, path) : list_path(l, path, depth + 1);
    }
    closedir(dir);
    return rc;
}

/* ---- what a name says ---- */

typedef enum part { PART_IMAGE, PART_MASK, PART_PSF, PART_CALIBRATION } part;

typedef struct found {
    const char *path;
    sq_tile_format format; /* 0: psField and fpM serve both SDSS formats */
    part part;
    char band[8];
    char key[SQ_PATH_MAX]; /* files of one tile share it */
    char name[SQ_NAME_MAX];
    int whole_run; /* photoField: key is RUN-CAMCOL */
} found;

static int sdss_key(found *f, int run, int camcol, int field)
{
    snprintf(f->name, sizeof f->name, "%06d-%d-%04d", run, camcol, field);
    snprintf(f->key, sizeof f->key, "sdss %s", f->name);
    return 1;
}

static int read_sdss(const char *stem, found *f)
{
    int run, camcol, field, rerun, used = 0;
    char band;
#define IS(n) (used > 0 && stem[used] == '\0')
    if (sscanf(stem, "frame-%c-%6d-%1d-%4d%n", &band, &run, &camcol, &field, &used) == 4 && IS()) {
        f->format = SQ_TILE_SDSS_FRAME;
        f->part = PART_IMAGE;
    } else if (sscanf(stem, "fpC-%6d-%c%1d-%4d%n", &run, &band, &camcol, &field, &used) == 4 &&
               IS()) {
        f->format = SQ_TILE_SDSS_FPC;
        f->part = PART_IMAGE;
    } else if (sscanf(stem, "fpM-%6d-%c%1d-%4d%n", &run, &band, &camcol, &field, &used) == 4 &&
               IS()) {
        f->part = PART_MASK;
    } else if (sscanf(stem, "psField-%6d-%1d-%4d%n", &run, &camcol, &field, &used) == 3 && IS()) {
        f->part = PART_PSF;
        return sdss_key(f, run, camcol, field);
    } else if (sscanf(stem, "tsField-%6d-%1d-%d-%4d%n", &run, &camcol, &rerun, &field, &used) ==
                   4 &&
               IS()) {
        f->format = SQ_TILE_SDSS_FPC;
        f->part = PART_CALIBRATION;
        return sdss_key(f, run, camcol, field);
    } else if (sscanf(stem, "photoField-%6d-%1d%n", &run, &camcol, &used) == 2 && IS()) {
        f->format = SQ_TILE_SDSS_FRAME;
        f->part = PART_CALIBRATION;
        f->whole_run = 1;
        snprintf(f->key, sizeof f->key, "sdss %06d-%d", run, camcol);
        return 1;
    } else {
        return 0;
    }
#undef IS
    if (!strchr("ugriz", band))
        return 0;
    f->band[0] = band;
    return sdss_key(f, run, camcol, field);
}

/* NAME-BAND, NAME_BAND and calexp-BAND-NAME (a tract and patch), and NAME-psf beside them. */
static int read_lsst(const char *path, const char *stem, found *f)
{
    size_t n = strlen(stem), folder = (size_t)(base_name(path) - path), length = 0;
    const char *from = stem;
    f->format = SQ_TILE_LSST_EXPOSURE;
    if (strncmp(stem, "calexp-", 7) == 0 && stem[7] && strchr("ugrizy", stem[7]) &&
        stem[8] == '-') {
        f->part = PART_IMAGE;
        f->band[0] = stem[7];
        from = stem + 9;
        length = n - 9;
    } else if (n > 4 && strcmp(stem + n - 4, "-psf") == 0) {
        f->part = PART_PSF;
        from += strncmp(stem, "calexp-", 7) == 0 ? 7 : 0;
        length = n - 4 - (size_t)(from - stem);
    } else if (n > 2 && (stem[n - 2] == '-' || stem[n - 2] == '_') &&
               strchr("ugrizy", stem[n - 1])) {
        f->part = PART_IMAGE;
        f->band[0] = stem[n - 1];
        length = n - 2;
        /* a stored PSF image (NAME-psf-BAND) is no tile */
        if (length >= 4 && strncmp(stem + length - 4, "-psf", 4) == 0)
            return 0;
    } else {
        return 0;
    }
    if (length == 0 || length >= SQ_NAME_MAX)
        return 0;
    snprintf(f->name, sizeof f->name, "%.*s", (int)length, from);
    snprintf(f->key, sizeof f->key, "lsst %.*s%s", (int)folder, path, f->name);
    return 1;
}

/* A cell coadd of any other name. A folder with the band's name is left out of the key. */
static int read_cell_coadd(const char *path, found *f)
{
    size_t folder = (size_t)(base_name(path) - path);
    if (!sq_cell_coadd_name(path, f->band, f->name))
        return 0;
    if (folder > 2 && path[folder - 3] == '/' && path[folder - 2] == f->band[0])
        folder -= 2;
    f->format = SQ_TILE_CELL_COADD;
    f->part = PART_IMAGE;
    snprintf(f->key, sizeof f->key, "cell %.*s%s", (int)folder, path, f->name);
    return 1;
}

static int recognise(const char *path, found *f)
{
    char stem[SQ_PATH_MAX];
    size_t n = 0;
    const char *name = base_name(path);
    memset(f, 0, sizeof *f);
    f->path = path;
    if (!is_fits(name, &n))
        return 0;
    snprintf(stem, sizeof stem, "%.*s", (int)n, name);
    return read_sdss(stem, f) || read_lsst(path, stem, f) || read_cell_coadd(path, f);
}

/* ---- grouping ---- */

/* In the order of wavelength, others last. */
static size_t band_order(const found *f)
{
    return strcspn("ugrizy", f->band);
}

static int by_key(const void *a, const void *b)
{
    const found *x = a, *y = b;
    int order = strcmp(x->key, y->key);
    if (order == 0 && x->part != y->part)
        order = x->part < y->part ? -1 : 1;
    /* The order of the bands is that of wavelength, with frames before fpC. */
    if (order == 0 && x->format != y->format)
        order = x->format < y->format ? -1 : 1;
    if (order == 0 && band_order(x) != band_order(y))
        order = band_order(x) < band_order(y) ? -1 : 1;
    return order ? order : strcmp(x->path, y->path);
}

static sq_tile_band *band_of(sq_tile *tile, const char *name)
{
    for (int b = 0; b < tile->nband; b++) {
        if (strcmp(tile->band[b].name, name) == 0)
            return &tile->band[b];
    }
    return NULL;
}

static sq_status put_path(sq_file_identity *file, const found *f)
{
    if (!file->path)
        return sq_strdup(&file->path, f->path);
    sq_warn("%s: left out, %s holds the same", f->path, file->path);
    return SQ_OK;
}

static sq_status add_image(sq_tile *tile, const found *f)
{
    sq_tile_band *band = band_of(tile, f->band);
    if (!band && tile->nband < SQ_MAX_BANDS) {
        band = &tile->band[tile->nband++];
        snprintf(band->name, sizeof band->name, "%s", f->band);
    }
    return band ? put_path(&band->image, f) : SQ_OK;
}

/* Files first .. last - 1 share a key. The tile of one format out of them; without a band when it
 * has no image. */
static sq_status build(const found *file, size_t first, size_t last, sq_tile_format format,
                       const char *reference, sq_tile *tile)
{
    sq_status rc = SQ_OK;
    tile->format = format;
    for (size_t k = first; k < last && rc == SQ_OK; k++) {
        const found *f = &file[k];
        if (f->format && f->format != format)
            continue;
        snprintf(tile->name, sizeof tile->name, "%s", f->name);
        sq_tile_band *band = f->part == PART_MASK ? band_of(tile, f->band) : NULL;
        if (f->part == PART_IMAGE)
            rc = add_image(tile, f);
        else if (band)
            rc = put_path(&band->mask, f);
        else if (f->part == PART_PSF)
            rc = put_path(&tile->psf, f);
        else if (f->part == PART_CALIBRATION)
            rc = put_path(&tile->calibration, f);
    }
    for (int b = 0; b < tile->nband; b++) {
        if (strcmp(tile->band[b].name, reference) == 0)
            tile->reference = b;
    }
    if (tile->nband > 0 && !band_of(tile, reference))
        tile->reference = tile->nband / 2;
    return rc;
}

/* photoField serves all fields of its run and camcol, which follow it in the order of keys. */
static sq_status attach_run_table(const found *table, const found *file, sq_tile *tile)
{
    size_t length = table ? strlen(table->key) : 0;
    int serves = table && tile->format == table->format &&
                 strncmp(file->key, table->key, length) == 0 && file->key[length] == '-';
    return serves ? put_path(&tile->calibration, table) : SQ_OK;
}

static int by_name(const void *a, const void *b)
{
    const sq_tile *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->band[0].image.path, y->band[0].image.path);
}

/* Tiles of the same name in two folders get the folder's name in front, and a number if that does
 * not tell them apart. */
static void make_unique(sq_tile *tile, size_t count)
{
    if (count == 0)
        return;
    qsort(tile, count, sizeof *tile, by_name);
    for (size_t k = 0; k < count;) {
        size_t last = k + 1;
        while (last < count && strcmp(tile[last].name, tile[k].name) == 0)
            last++;
        for (size_t t = k; t < last && last - k > 1; t++) {
            char folder[SQ_PATH_MAX], name[SQ_NAME_MAX];
            snprintf(folder, sizeof folder, "%s", tile[t].band[0].image.path);
            char *slash = strrchr(folder, '/');
            if (slash)
                *slash = '\0';
            snprintf(name, sizeof name, "%.30s/%.30s", slash ? base_name(folder) : ".",
                     tile[t].name);
            memcpy(tile[t].name, name, sizeof name);
        }
        k = last;
    }
    qsort(tile, count, sizeof *tile, by_name);
    for (size_t k = 1, same = 1; k < count; k++) {
        char start[SQ_NAME_MAX];
        snprintf(start, sizeof start, "%s", tile[k - same].name);
        same = strcmp(tile[k].name, start) == 0 ? same + 1 : 1;
        if (same > 1) {
            char name[SQ_NAME_MAX];
            snprintf(name, sizeof name, "%.50s~%d", start, (int)same);
            memcpy(tile[k].name, name, sizeof name);
        }
    }
    qsort(tile, count, sizeof *tile, by_name);
}

static sq_status list_all(const char *const *paths, int count, listing *l)
{
    for (int k = 0; k < count; k++) {
        sq_status rc = list_path(l, paths[k], 0);
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}

sq_status sq_tile_group(const char *const *paths, int count, const char *reference, sq_tile **out,
                        int64_t *ntile)
{
    sq_status rc = SQ_OK;
    listing l = {0};
    found *file = NULL, *table = NULL;
    sq_tile *tile = NULL;
    size_t n = 0, made = 0, capacity = 0;
    *out = NULL;
    *ntile = 0;
    SQ_TRY(list_all(paths, count, &l));
    SQ_TRY(SQ_ALLOC(file, l.count, "file names"));
    for (size_t k = 0; k < l.count; k++)
        n += recognise(l.path[k], &file[n]) != 0;
    if (n > 0)
        qsort(file, n, sizeof *file, by_key);
    for (size_t k = 0; k < n;) {
        size_t last = k + 1;
        while (last < n && strcmp(file[last].key, file[k].key) == 0)
            last++;
        if (file[k].whole_run)
            table = &file[k];
        for (int format = SQ_TILE_SDSS_FRAME; format <= SQ_TILE_CELL_COADD; format++) {
            SQ_TRY(SQ_GROW(tile, capacity, made + 1, "tiles"));
            sq_tile *t = &tile[made++];
            SQ_TRY(build(file, k, last, (sq_tile_format)format, reference ? reference : "r", t));
            if (t->nband)
                SQ_TRY(attach_run_table(table, &file[k], t));
            else
                sq_tile_clear(&tile[--made]);
        }
        k = last;
    }
    make_unique(tile, made);
    *out = tile;
    *ntile = (int64_t)made;
    tile = NULL;
cleanup:
    for (size_t k = 0; tile && k < made; k++)
        sq_tile_clear(&tile[k]);
    sq_free(tile);
    sq_free(file);
    clear_listing(&l);
    return rc;
}

sq_status sq_tile_scan(const char *const *paths, int count, const char *reference,
                       sq_tile_problem problem, void *user, sq_tile **out, int64_t *ntile)
{
    int64_t kept = 0, found_count = 0;
    sq_tile *tile = NULL;
    sq_status rc = sq_tile_group(paths, count, reference, &tile, &found_count);
    *out = NULL;
    *ntile = 0;
    for (int64_t k = 0; k < found_count; k++) {
        sq_status code = sq_tile_headers(&tile[k]);
        if (code == SQ_OK) {
            tile[kept++] = tile[k];
            continue;
        }
        if (problem)
            problem(user, tile[k].name, code, sq_error());
        sq_tile_clear(&tile[k]);
    }
    *out = tile;
    *ntile = kept;
    return rc;
}
