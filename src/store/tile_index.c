#include "store/tile_index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/pulse.h"
#include "store/tensor.h"

static const char kind[] = "skyquilt tile index 1";

enum {
    CHECK = 24,
    NAME = SQ_NAME_MAX,
    BAND = 8,
    CHUNK = 1024 /* tiles that are in memory at a time */
};

/* Some tiles in a row, with their bands, files and texts. A file number of -1: there is none. */
typedef struct columns {
    int64_t ntile, nband, nfile, ntext;
    int64_t tile0, band0, file0, text0; /* what stands in the file before them */
    /* tiles */
    char *name; /* [ntile][NAME] */
    uint8_t *format, *bands, *reference;
    int64_t *psf, *calibration;
    double *ra, *dec; /* [ntile][4] */
    /* bands of all tiles in turn */
    char *band; /* [nband][BAND] */
    int64_t *nx, *ny, *image, *mask, *wcs, *wcs_size;
    /* files */
    int64_t *path, *path_size, *size;
    double *mtime;
    char *checksum, *datasum; /* [nfile][CHECK] */
    char *text;               /* paths and headers, without terminators */
} columns;

static void columns_clear(columns *c)
{
    void *all[] = {c->name,     c->format,    c->bands,   c->reference, c->psf,   c->calibration,
                   c->ra,       c->dec,       c->band,    c->nx,        c->ny,    c->image,
                   c->mask,     c->wcs,       c->path,    c->size,      c->mtime, c->checksum,
                   c->wcs_size, c->path_size, c->datasum, c->text};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sq_free(all[i]);
}

static sq_status alloc_tiles(columns *c)
{
    sq_status rc;
    int64_t n = c->ntile + 1;
    SQ_TRY(SQ_ALLOC(c->name, n * NAME, "tile names"));
    SQ_TRY(SQ_ALLOC(c->format, n, "tiles"));
    SQ_TRY(SQ_ALLOC(c->bands, n, "tiles"));
    SQ_TRY(SQ_ALLOC(c->reference, n, "tiles"));
    SQ_TRY(SQ_ALLOC(c->psf, n, "tiles"));
    SQ_TRY(SQ_ALLOC(c->calibration, n, "tiles"));
    SQ_TRY(SQ_ALLOC(c->ra, 4 * n, "tiles"));
    SQ_TRY(SQ_ALLOC(c->dec, 4 * n, "tiles"));
cleanup:
    return rc;
}

static sq_status alloc_bands(columns *c)
{
    sq_status rc;
    int64_t n = c->nband + 1;
    SQ_TRY(SQ_ALLOC(c->band, n * BAND, "bands"));
    SQ_TRY(SQ_ALLOC(c->nx, n, "bands"));
    SQ_TRY(SQ_ALLOC(c->ny, n, "bands"));
    SQ_TRY(SQ_ALLOC(c->image, n, "bands"));
    SQ_TRY(SQ_ALLOC(c->mask, n, "bands"));
    SQ_TRY(SQ_ALLOC(c->wcs, n, "bands"));
    SQ_TRY(SQ_ALLOC(c->wcs_size, n, "bands"));
cleanup:
    return rc;
}

static sq_status alloc_files(columns *c)
{
    sq_status rc;
    int64_t n = c->nfile + 1;
    SQ_TRY(SQ_ALLOC(c->path, n, "files"));
    SQ_TRY(SQ_ALLOC(c->path_size, n, "files"));
    SQ_TRY(SQ_ALLOC(c->size, n, "files"));
    SQ_TRY(SQ_ALLOC(c->mtime, n, "files"));
    SQ_TRY(SQ_ALLOC(c->checksum, n * CHECK, "files"));
    SQ_TRY(SQ_ALLOC(c->datasum, n * CHECK, "files"));
cleanup:
    return rc;
}

static sq_status alloc_text(columns *c)
{
    return SQ_ALLOC(c->text, c->ntext + 1, "paths and headers");
}

/* ---- Writing ---- */

static void count_file(columns *c, const sq_file_identity *file)
{
    if (!file->path)
        return;
    c->nfile++;
    c->ntext += (int64_t)strlen(file->path);
}

static void count_tile(columns *c, const sq_tile *tile)
{
    count_file(c, &tile->psf);
    count_file(c, &tile->calibration);
    for (int b = 0; b < tile->nband; b++, c->nband++) {
        count_file(c, &tile->band[b].image);
        count_file(c, &tile->band[b].mask);
        if (tile->band[b].wcs_header)
            c->ntext += (int64_t)strlen(tile->band[b].wcs_header);
    }
}

/* How far the columns are filled. */
typedef struct fill {
    int64_t band, file, text;
} fill;

static int64_t put_text(columns *c, fill *f, const char *text, int64_t *size)
{
    int64_t at = f->text;
    *size = text ? (int64_t)strlen(text) : 0;
    if (*size)
        memcpy(c->text + at, text, (size_t)*size);
    f->text += *size;
    return c->text0 + at;
}

static int64_t put_file(columns *c, fill *f, const sq_file_identity *file)
{
    if (!file->path)
        return -1;
    int64_t i = f->file++;
    c->path[i] = put_text(c, f, file->path, &c->path_size[i]);
    c->size[i] = file->size;
    c->mtime[i] = file->mtime;
    memcpy(c->checksum + i * CHECK, file->checksum, CHECK);
    memcpy(c->datasum + i * CHECK, file->datasum, CHECK);
    return c->file0 + i;
}

static void put_tile(columns *c, fill *f, int64_t t, const sq_tile *from)
{
    memcpy(c->name + t * NAME, from->name, strnlen(from->name, NAME));
    c->format[t] = (uint8_t)from->format;
    c->bands[t] = (uint8_t)from->nband;
    c->reference[t] = (uint8_t)from->reference;
    c->psf[t] = put_file(c, f, &from->psf);
    c->calibration[t] = put_file(c, f, &from->calibration);
    memcpy(c->ra + 4 * t, from->corner_ra, sizeof from->corner_ra);
    memcpy(c->dec + 4 * t, from->corner_dec, sizeof from->corner_dec);
    for (int b = 0; b < from->nband; b++, f->band++) {
        const sq_tile_band *band = &from->band[b];
        int64_t n = f->band;
        memcpy(c->band + n * BAND, band->name, strnlen(band->name, BAND));
        c->nx[n] = band->nx;
        c->ny[n] = band->ny;
        c->image[n] = put_file(c, f, &band->image);
        c->mask[n] = put_file(c, f, &band->mask);
        c->wcs[n] = put_text(c, f, band->wcs_header, &c->wcs_size[n]);
    }
}

static sq_status write_columns(sq_h5 *h5, const columns *c)
{
    sq_status rc;
    int64_t t = c->ntile, b = c->nband, f = c->nfile, corners[2] = {t, 4};
    SQ_TRY(sq_h5_append_text(h5, "tiles/name", NAME, t, c->name));
    SQ_TRY(sq_h5_append(h5, "tiles/format", SQ_U8, 1, &t, c->format));
    SQ_TRY(sq_h5_append(h5, "tiles/bands", SQ_U8, 1, &t, c->bands));
    SQ_TRY(sq_h5_append(h5, "tiles/reference", SQ_U8, 1, &t, c->reference));
    SQ_TRY(sq_h5_append(h5, "tiles/psf", SQ_I64, 1, &t, c->psf));
    SQ_TRY(sq_h5_append(h5, "tiles/calibration", SQ_I64, 1, &t, c->calibration));
    SQ_TRY(sq_h5_append(h5, "tiles/corner_ra", SQ_F64, 2, corners, c->ra));
    SQ_TRY(sq_h5_append(h5, "tiles/corner_dec", SQ_F64, 2, corners, c->dec));
    SQ_TRY(sq_h5_append_text(h5, "bands/name", BAND, b, c->band));
    SQ_TRY(sq_h5_append(h5, "bands/nx", SQ_I64, 1, &b, c->nx));
    SQ_TRY(sq_h5_append(h5, "bands/ny", SQ_I64, 1, &b, c->ny));
    SQ_TRY(sq_h5_append(h5, "bands/image", SQ_I64, 1, &b, c->image));
    SQ_TRY(sq_h5_append(h5, "bands/mask", SQ_I64, 1, &b, c->mask));
    SQ_TRY(sq_h5_append(h5, "bands/wcs", SQ_I64, 1, &b, c->wcs));
    SQ_TRY(sq_h5_append(h5, "bands/wcs_size", SQ_I64, 1, &b, c->wcs_size));
    SQ_TRY(sq_h5_append(h5, "files/path", SQ_I64, 1, &f, c->path));
    SQ_TRY(sq_h5_append(h5, "files/path_size", SQ_I64, 1, &f, c->path_size));
    SQ_TRY(sq_h5_append(h5, "files/size", SQ_I64, 1, &f, c->size));
    SQ_TRY(sq_h5_append(h5, "files/mtime", SQ_F64, 1, &f, c->mtime));
    SQ_TRY(sq_h5_append_text(h5, "files/checksum", CHECK, f, c->checksum));
    SQ_TRY(sq_h5_append_text(h5, "files/datasum", CHECK, f, c->datasum));
    SQ_TRY(sq_h5_append(h5, "text", SQ_U8, 1, &c->ntext, c->text));
cleanup:
    return rc;
}

/* Tiles [first, end) of a list behind those that stand in the file already. `c` moves on. */
static sq_status write_some(sq_h5 *h5, const sq_tile_list *list, int64_t first, int64_t end,
                            columns *c)
{
    sq_status rc = SQ_OK;
    fill f = {.band = 0};
    sq_tile *tile = NULL;
    int64_t n = end - first, have = 0;
    columns now = {.ntile = n, .band0 = c->band0, .file0 = c->file0, .text0 = c->text0};
    SQ_TRY(SQ_ALLOC(tile, n + 1, "tiles"));
    for (; have < n; have++) {
        SQ_TRY(sq_tile_list_get(list, first + have, &tile[have]));
        count_tile(&now, &tile[have]);
    }
    SQ_TRY(alloc_tiles(&now));
    SQ_TRY(alloc_bands(&now));
    SQ_TRY(alloc_files(&now));
    SQ_TRY(alloc_text(&now));
    for (int64_t t = 0; t < n; t++)
        put_tile(&now, &f, t, &tile[t]);
    SQ_TRY(write_columns(h5, &now));
    c->band0 += now.nband;
    c->file0 += now.nfile;
    c->text0 += now.ntext;
cleanup:
    for (int64_t t = 0; t < have; t++)
        sq_tile_clear(&tile[t]);
    sq_free(tile);
    columns_clear(&now);
    return rc;
}

static sq_status write_lists(sq_h5 *h5, const sq_tile_list *const *list, int lists)
{
    sq_status rc = SQ_OK;
    columns c = {.ntile = 0};
    int written = 0;
    for (int i = 0; i < lists; i++) {
        int64_t n = sq_tile_list_count(list[i]);
        for (int64_t t = 0; t < n; t += CHUNK, written++)
            SQ_TRY(write_some(h5, list[i], t, t + CHUNK < n ? t + CHUNK : n, &c));
    }
    if (!written)
        SQ_TRY(write_columns(h5, &c));
    SQ_TRY(sq_h5_attribute_text(h5, "/", "kind", kind));
cleanup:
    return rc;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static sq_status check_names(const sq_tile_list *const *list, int lists)
{
    const char **name = NULL;
    sq_status rc;
    int64_t n = 0, count = 0;
    for (int i = 0; i < lists; i++)
        count += sq_tile_list_count(list[i]);
    SQ_TRY(SQ_ALLOC(name, count + 1, "tile names"));
    for (int i = 0; i < lists; i++) {
        for (int64_t t = 0; t < sq_tile_list_count(list[i]); t++)
            name[n++] = sq_tile_list_name(list[i], t);
    }
    qsort(name, (size_t)count, sizeof *name, by_text);
    for (int64_t i = 1; i < count; i++) {
        if (strcmp(name[i - 1], name[i]) == 0)
            SQ_TRY(sq_fail(SQ_ERR_USAGE, "tile index: two tiles are named %s", name[i]));
    }
cleanup:
    sq_free(name);
    return rc;
}

sq_status sq_tile_index_write(const char *path, const sq_tile_list *const *list, int lists)
{
    sq_status rc;
    sq_h5 *h5 = NULL;
    SQ_TRY(check_names(list, lists));
    SQ_TRY(sq_h5_create_sealed(path, &h5));
    SQ_TRY(write_lists(h5, list, lists));
    rc = sq_h5_close(h5);
    h5 = NULL;
cleanup:
    sq_h5_abandon(h5);
    return rc;
}

/* ---- Reading ---- */

static sq_status rows_of(sq_h5 *h5, const char *name, int64_t *rows)
{
    sq_dtype type;
    int rank;
    int64_t dim[8];
    sq_status rc = sq_h5_shape(h5, name, &type, &rank, dim);
    if (rc == SQ_OK)
        *rows = dim[0];
    return rc;
}

/* Rows [first, first + n) of a column of `all` rows of `width` elements; another shape would not fit
 * the buffer. */
static sq_status read_column(sq_h5 *h5, const char *name, sq_dtype type, int64_t width, int64_t all,
                             int64_t first, int64_t n, void *out)
{
    sq_dtype stored;
    int rank;
    int64_t dim[8];
    sq_status rc = sq_h5_shape(h5, name, &stored, &rank, dim);
    if (rc != SQ_OK)
        return rc;
    if (dim[0] != all || rank > 2 || (rank == 2 ? dim[1] : 1) != width)
        return sq_fail(SQ_ERR_CORRUPT, "%s: another shape than the columns beside it", name);
    return n ? sq_h5_read(h5, name, type, first, n, out) : SQ_OK;
}

/* Rows of each kind in the whole file. */
typedef struct totals {
    int64_t tile, band, file, text;
} totals;

static sq_status read_tiles(sq_h5 *h5, const totals *all, columns *c)
{
    sq_status rc;
    int64_t a = all->tile, t = c->tile0, n = c->ntile;
    SQ_TRY(alloc_tiles(c));
    SQ_TRY(sq_h5_read_rows_text(h5, "tiles/name", NAME, t, n, c->name));
    SQ_TRY(read_column(h5, "tiles/format", SQ_U8, 1, a, t, n, c->format));
    SQ_TRY(read_column(h5, "tiles/bands", SQ_U8, 1, a, t, n, c->bands));
    SQ_TRY(read_column(h5, "tiles/reference", SQ_U8, 1, a, t, n, c->reference));
    SQ_TRY(read_column(h5, "tiles/psf", SQ_I64, 1, a, t, n, c->psf));
    SQ_TRY(read_column(h5, "tiles/calibration", SQ_I64, 1, a, t, n, c->calibration));
    SQ_TRY(read_column(h5, "tiles/corner_ra", SQ_F64, 4, a, t, n, c->ra));
    SQ_TRY(read_column(h5, "tiles/corner_dec", SQ_F64, 4, a, t, n, c->dec));
cleanup:
    return rc;
}

static sq_status read_bands(sq_h5 *h5, const totals *all, columns *c)
{
    sq_status rc;
    int64_t a = all->band, b = c->band0;
    for (int64_t t = 0; t < c->ntile; t++)
        c->nband += c->bands[t];
    if (c->nband > a - b)
        return sq_fail(SQ_ERR_CORRUPT, "tiles/bands: more than the file has");
    int64_t n = c->nband;
    SQ_TRY(alloc_bands(c));
    SQ_TRY(sq_h5_read_rows_text(h5, "bands/name", BAND, b, n, c->band));
    SQ_TRY(read_column(h5, "bands/nx", SQ_I64, 1, a, b, n, c->nx));
    SQ_TRY(read_column(h5, "bands/ny", SQ_I64, 1, a, b, n, c->ny));
    SQ_TRY(read_column(h5, "bands/image", SQ_I64, 1, a, b, n, c->image));
    SQ_TRY(read_column(h5, "bands/mask", SQ_I64, 1, a, b, n, c->mask));
    SQ_TRY(read_column(h5, "bands/wcs", SQ_I64, 1, a, b, n, c->wcs));
    SQ_TRY(read_column(h5, "bands/wcs_size", SQ_I64, 1, a, b, n, c->wcs_size));
cleanup:
    return rc;
}

/* Widen [*first, *end) to hold [at, at + size), which lies in [0, all); 0 when it does not. */
static int widen(int64_t at, int64_t size, int64_t all, int64_t *first, int64_t *end)
{
    if (at < 0 || size < 0 || at > all - size)
        return 0;
    if (size && (*first == *end || at < *first))
        *first = at;
    if (size && at + size > *end)
        *end = at + size;
    return 1;
}

static sq_status read_files(sq_h5 *h5, const totals *all, columns *c)
{
    sq_status rc;
    int64_t a = all->file, first = 0, end = 0;
    const int64_t *number[] = {c->psf, c->calibration, c->image, c->mask};
    for (int k = 0; k < 4; k++) {
        for (int64_t i = 0; i < (k < 2 ? c->ntile : c->nband); i++) {
            if (number[k][i] != -1 && !widen(number[k][i], 1, a, &first, &end))
                return sq_fail(SQ_ERR_CORRUPT, "a tile contradicts the files");
        }
    }
    c->file0 = first;
    c->nfile = end - first;
    int64_t n = c->nfile;
    SQ_TRY(alloc_files(c));
    SQ_TRY(read_column(h5, "files/path", SQ_I64, 1, a, first, n, c->path));
    SQ_TRY(read_column(h5, "files/path_size", SQ_I64, 1, a, first, n, c->path_size));
    SQ_TRY(read_column(h5, "files/size", SQ_I64, 1, a, first, n, c->size));
    SQ_TRY(read_column(h5, "files/mtime", SQ_F64, 1, a, first, n, c->mtime));
    SQ_TRY(sq_h5_read_rows_text(h5, "files/checksum", CHECK, first, n, c->checksum));
    SQ_TRY(sq_h5_read_rows_text(h5, "files/datasum", CHECK, first, n, c->datasum));
cleanup:
    return rc;
}

static sq_status read_text(sq_h5 *h5, const totals *all, columns *c)
{
    int64_t first = 0, end = 0;
    int good = 1;
    for (int64_t i = 0; i < c->nfile && good; i++)
        good = c->path_size[i] > 0 && c->path_size[i] < SQ_PATH_MAX &&
               widen(c->path[i], c->path_size[i], all->text, &first, &end);
    for (int64_t i = 0; i < c->nband && good; i++)
        good = widen(c->wcs[i], c->wcs_size[i], all->text, &first, &end);
    if (!good)
        return sq_fail(SQ_ERR_CORRUPT, "a file or band points outside the texts");
    c->text0 = first;
    c->ntext = end - first;
    sq_status rc = alloc_text(c);
    return rc == SQ_OK ? read_column(h5, "text", SQ_U8, 1, all->text, first, c->ntext, c->text)
                       : rc;
}

/* A file whose columns differ in length or whose numbers point outside is damaged. */
static sq_status shape_of(sq_h5 *h5, totals *all)
{
    sq_status rc;
    char *text = NULL;
    SQ_TRY(sq_h5_read_text(h5, "/", "kind", &text));
    if (strcmp(text, kind) != 0)
        SQ_TRY(sq_fail(SQ_ERR_FORMAT, "kind '%.40s': not a tile index of this version", text));
    SQ_TRY(rows_of(h5, "tiles/format", &all->tile));
    SQ_TRY(rows_of(h5, "bands/nx", &all->band));
    SQ_TRY(rows_of(h5, "files/size", &all->file));
    SQ_TRY(rows_of(h5, "text", &all->text));
cleanup:
    sq_free(text);
    return rc;
}

static sq_status get_text(const columns *c, int64_t at, int64_t size, char **out)
{
    sq_status rc = SQ_ALLOC(*out, size + 1, "paths and headers");
    if (rc == SQ_OK)
        memcpy(*out, c->text + (at - c->text0), (size_t)size);
    return rc;
}

static sq_status get_file(const columns *c, int64_t number, sq_file_identity *file)
{
    int64_t i = number - c->file0;
    if (number == -1)
        return SQ_OK;
    file->size = c->size[i];
    file->mtime = c->mtime[i];
    memcpy(file->checksum, c->checksum + i * CHECK, CHECK - 1);
    memcpy(file->datasum, c->datasum + i * CHECK, CHECK - 1);
    return get_text(c, c->path[i], c->path_size[i], &file->path);
}

static sq_status get_band(const columns *c, int64_t i, sq_tile_band *band)
{
    sq_status rc = SQ_OK;
    memcpy(band->name, c->band + i * BAND, BAND - 1);
    band->nx = c->nx[i];
    band->ny = c->ny[i];
    SQ_TRY(get_file(c, c->image[i], &band->image));
    SQ_TRY(get_file(c, c->mask[i], &band->mask));
    if (c->wcs_size[i])
        SQ_TRY(get_text(c, c->wcs[i], c->wcs_size[i], &band->wcs_header));
cleanup:
    return rc;
}

static sq_status get_tile(const columns *c, int64_t t, int64_t band, sq_tile *to)
{
    sq_status rc = SQ_OK;
    memcpy(to->name, c->name + t * NAME, NAME - 1);
    to->format = (sq_tile_format)c->format[t];
    to->reference = c->reference[t];
    memcpy(to->corner_ra, c->ra + 4 * t, sizeof to->corner_ra);
    memcpy(to->corner_dec, c->dec + 4 * t, sizeof to->corner_dec);
    if (c->bands[t] > SQ_MAX_BANDS || to->reference >= (c->bands[t] ? c->bands[t] : 1))
        return sq_fail(SQ_ERR_CORRUPT, "tile %lld contradicts its bands",
                       (long long)(c->tile0 + t));
    SQ_TRY(get_file(c, c->psf[t], &to->psf));
    SQ_TRY(get_file(c, c->calibration[t], &to->calibration));
    for (; to->nband < c->bands[t]; to->nband++)
        SQ_TRY(get_band(c, band + to->nband, &to->band[to->nband]));
cleanup:
    return rc;
}

/* Some tiles, to `visit`. *band: of the first of them; moved to that of the next. */
static sq_status read_some(sq_h5 *h5, const totals *all, int64_t first, int64_t *band,
                           sq_tile_visit visit, void *user)
{
    sq_status rc = SQ_OK;
    sq_tile tile = {.nband = 0};
    columns c = {.tile0 = first, .band0 = *band};
    c.ntile = all->tile - first < CHUNK ? all->tile - first : CHUNK;
    SQ_TRY(read_tiles(h5, all, &c));
    SQ_TRY(read_bands(h5, all, &c));
    SQ_TRY(read_files(h5, all, &c));
    SQ_TRY(read_text(h5, all, &c));
    sq_pulse("reading the index");
    for (int64_t t = 0, b = 0; t < c.ntile; b += c.bands[t++]) {
        SQ_TRY(get_tile(&c, t, b, &tile));
        SQ_TRY(visit(user, &tile));
        sq_tile_clear(&tile);
    }
    *band += c.nband;
cleanup:
    sq_tile_clear(&tile);
    columns_clear(&c);
    return rc;
}

sq_status sq_tile_index_read(const char *path, sq_tile_visit visit, void *user)
{
    totals all;
    sq_h5 *h5 = NULL;
    int64_t band = 0;
    sq_status rc = sq_h5_open(path, &h5);
    if (rc != SQ_OK)
        return rc;
    SQ_TRY(shape_of(h5, &all));
    for (int64_t t = 0; t < all.tile; t += CHUNK)
        SQ_TRY(read_some(h5, &all, t, &band, visit, user));
    if (band != all.band)
        rc = sq_fail(SQ_ERR_CORRUPT, "bands without a tile");
cleanup:
    sq_h5_abandon(h5);
    return rc == SQ_OK ? rc : sq_fail_in(rc, "%s", path);
}

static sq_hash add_file(sq_hash hash, const sq_file_identity *file)
{
    char checks[2 * CHECK] = "";
    memcpy(checks, file->checksum, strnlen(file->checksum, CHECK - 1));
    memcpy(checks + CHECK, file->datasum, strnlen(file->datasum, CHECK - 1));
    int64_t there[2] = {file->path != NULL, file->size};
    hash = sq_hash_combine(hash, sq_hash_bytes(there, sizeof there));
    return sq_hash_combine(hash, sq_hash_bytes(checks, sizeof checks));
}

static sq_hash add_geometry(sq_hash hash, const sq_tile_band *band)
{
    const char *wcs = band->wcs_header ? band->wcs_header : "";
    int64_t side[2] = {band->nx, band->ny};
    hash = sq_hash_combine(hash, sq_hash_bytes(band->name, strlen(band->name)));
    hash = sq_hash_combine(hash, sq_hash_bytes(side, sizeof side));
    return sq_hash_combine(hash, sq_hash_bytes(wcs, strlen(wcs)));
}

sq_hash sq_tile_geometry_hash(const sq_tile *tile)
{
    int64_t shape[3] = {tile->format, tile->nband, tile->reference};
    sq_hash hash = sq_hash_bytes(shape, sizeof shape);
    for (int b = 0; b < tile->nband; b++)
        hash = add_geometry(hash, &tile->band[b]);
    return hash;
}

static sq_hash add_file_now(sq_hash hash, const sq_file_identity *file)
{
    return sq_hash_combine(add_file(hash, file), sq_hash_bytes(&file->mtime, sizeof file->mtime));
}

sq_hash sq_tile_files_hash(const sq_tile *tile)
{
    sq_hash hash = sq_hash_bytes(tile->name, strlen(tile->name));
    hash = add_file_now(add_file_now(hash, &tile->psf), &tile->calibration);
    for (int b = 0; b < tile->nband; b++)
        hash = add_file_now(add_file_now(hash, &tile->band[b].image), &tile->band[b].mask);
    return hash;
}

static sq_hash add_tile(sq_hash hash, const sq_tile *tile)
{
    int64_t shape[3] = {tile->format, tile->nband, tile->reference};
    hash = sq_hash_combine(hash, sq_hash_bytes(tile->name, strlen(tile->name)));
    hash = sq_hash_combine(hash, sq_hash_bytes(shape, sizeof shape));
    hash = add_file(add_file(hash, &tile->psf), &tile->calibration);
    for (int b = 0; b < tile->nband; b++) {
        const sq_tile_band *band = &tile->band[b];
        hash = add_geometry(hash, band);
        hash = add_file(add_file(hash, &band->image), &band->mask);
    }
    return hash;
}

sq_status sq_tile_index_hash(const sq_tile_list *list, sq_hash *out)
{
    int64_t count = sq_tile_list_count(list);
    sq_hash hash = sq_hash_bytes(&count, sizeof count);
    for (int64_t t = 0; t < count; t++) {
        sq_tile tile;
        sq_status rc = sq_tile_list_get(list, t, &tile);
        if (rc != SQ_OK)
            return rc;
        hash = add_tile(hash, &tile);
        sq_tile_clear(&tile);
        sq_pulse(NULL);
    }
    *out = hash;
    return SQ_OK;
}
