#include "store/tile_index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/tensor.h"

static const char kind[] = "skyquilt tile index 1";

enum { CHECK = 24, NAME = SQ_NAME_MAX, BAND = 8 };

/* The columns of the file, in memory. A file number of -1: there is none. */
typedef struct columns {
    int64_t ntile, nband, nfile;
    size_t text_size;
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
    int64_t text_used;
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

static sq_status columns_alloc(columns *c)
{
    sq_status rc;
    int64_t t = c->ntile + 1, b = c->nband + 1, f = c->nfile + 1;
    SQ_TRY(SQ_ALLOC(c->name, t * NAME, "tile names"));
    SQ_TRY(SQ_ALLOC(c->format, t, "tiles"));
    SQ_TRY(SQ_ALLOC(c->bands, t, "tiles"));
    SQ_TRY(SQ_ALLOC(c->reference, t, "tiles"));
    SQ_TRY(SQ_ALLOC(c->psf, t, "tiles"));
    SQ_TRY(SQ_ALLOC(c->calibration, t, "tiles"));
    SQ_TRY(SQ_ALLOC(c->ra, 4 * t, "tiles"));
    SQ_TRY(SQ_ALLOC(c->dec, 4 * t, "tiles"));
    SQ_TRY(SQ_ALLOC(c->band, b * BAND, "bands"));
    SQ_TRY(SQ_ALLOC(c->nx, b, "bands"));
    SQ_TRY(SQ_ALLOC(c->ny, b, "bands"));
    SQ_TRY(SQ_ALLOC(c->image, b, "bands"));
    SQ_TRY(SQ_ALLOC(c->mask, b, "bands"));
    SQ_TRY(SQ_ALLOC(c->wcs, b, "bands"));
    SQ_TRY(SQ_ALLOC(c->wcs_size, b, "bands"));
    SQ_TRY(SQ_ALLOC(c->path, f, "files"));
    SQ_TRY(SQ_ALLOC(c->path_size, f, "files"));
    SQ_TRY(SQ_ALLOC(c->size, f, "files"));
    SQ_TRY(SQ_ALLOC(c->mtime, f, "files"));
    SQ_TRY(SQ_ALLOC(c->checksum, f * CHECK, "files"));
    SQ_TRY(SQ_ALLOC(c->datasum, f * CHECK, "files"));
    SQ_TRY(SQ_ALLOC(c->text, c->text_size + 1, "paths and headers"));
cleanup:
    return rc;
}

/* ---- Writing ---- */

static void count_file(columns *c, const sq_file_identity *file)
{
    if (!file->path[0])
        return;
    c->nfile++;
    c->text_size += strlen(file->path);
}

static void count_all(columns *c, const sq_tile *tile, int64_t count)
{
    c->ntile = count;
    for (int64_t t = 0; t < count; t++) {
        count_file(c, &tile[t].psf);
        count_file(c, &tile[t].calibration);
        for (int b = 0; b < tile[t].nband; b++, c->nband++) {
            count_file(c, &tile[t].band[b].image);
            count_file(c, &tile[t].band[b].mask);
            if (tile[t].band[b].wcs_header)
                c->text_size += strlen(tile[t].band[b].wcs_header);
        }
    }
}

static int64_t put_text(columns *c, const char *text, int64_t *size)
{
    int64_t at = c->text_used;
    *size = text ? (int64_t)strlen(text) : 0;
    if (*size)
        memcpy(c->text + at, text, (size_t)*size);
    c->text_used += *size;
    return at;
}

static int64_t put_file(columns *c, int64_t *next, const sq_file_identity *file)
{
    if (!file->path[0])
        return -1;
    int64_t i = (*next)++;
    c->path[i] = put_text(c, file->path, &c->path_size[i]);
    c->size[i] = file->size;
    c->mtime[i] = file->mtime;
    memcpy(c->checksum + i * CHECK, file->checksum, CHECK);
    memcpy(c->datasum + i * CHECK, file->datasum, CHECK);
    return i;
}

static void fill(columns *c, const sq_tile *tile)
{
    int64_t file = 0, n = 0;
    for (int64_t t = 0; t < c->ntile; t++) {
        const sq_tile *from = &tile[t];
        memcpy(c->name + t * NAME, from->name, strnlen(from->name, NAME));
        c->format[t] = (uint8_t)from->format;
        c->bands[t] = (uint8_t)from->nband;
        c->reference[t] = (uint8_t)from->reference;
        c->psf[t] = put_file(c, &file, &from->psf);
        c->calibration[t] = put_file(c, &file, &from->calibration);
        memcpy(c->ra + 4 * t, from->corner_ra, sizeof from->corner_ra);
        memcpy(c->dec + 4 * t, from->corner_dec, sizeof from->corner_dec);
        for (int b = 0; b < from->nband; b++, n++) {
            const sq_tile_band *band = &from->band[b];
            memcpy(c->band + n * BAND, band->name, strnlen(band->name, BAND));
            c->nx[n] = band->nx;
            c->ny[n] = band->ny;
            c->image[n] = put_file(c, &file, &band->image);
            c->mask[n] = put_file(c, &file, &band->mask);
            c->wcs[n] = put_text(c, band->wcs_header, &c->wcs_size[n]);
        }
    }
}

static sq_status write_columns(sq_h5 *h5, const columns *c)
{
    sq_status rc;
    int64_t t = c->ntile, b = c->nband, f = c->nfile, corners[2] = {t, 4};
    int64_t text = (int64_t)c->text_size;
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
    SQ_TRY(sq_h5_append(h5, "text", SQ_U8, 1, &text, c->text));
    SQ_TRY(sq_h5_attribute_text(h5, "/", "kind", kind));
cleanup:
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const sq_tile *const *)a)->name, (*(const sq_tile *const *)b)->name);
}

static sq_status check_names(const sq_tile *tile, int64_t count)
{
    const sq_tile **order = NULL;
    sq_status rc;
    SQ_TRY(SQ_ALLOC(order, count + 1, "tile names"));
    for (int64_t i = 0; i < count; i++)
        order[i] = &tile[i];
    qsort(order, (size_t)count, sizeof *order, by_name);
    for (int64_t i = 1; i < count; i++) {
        if (strcmp(order[i - 1]->name, order[i]->name) == 0)
            SQ_TRY(sq_fail(SQ_ERR_USAGE, "tile index: two tiles are named %s", order[i]->name));
    }
cleanup:
    sq_free(order);
    return rc;
}

sq_status sq_tile_index_write(const char *path, const sq_tile *tile, int64_t count)
{
    sq_status rc;
    columns c = {0};
    sq_h5 *h5 = NULL;
    SQ_TRY(check_names(tile, count));
    count_all(&c, tile, count);
    SQ_TRY(columns_alloc(&c));
    fill(&c, tile);
    SQ_TRY(sq_h5_create_sealed(path, &h5));
    SQ_TRY(write_columns(h5, &c));
    rc = sq_h5_close(h5);
    h5 = NULL;
cleanup:
    sq_h5_abandon(h5);
    columns_clear(&c);
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

/* A column of n rows of `width` elements; another shape would not fit the buffer. */
static sq_status read_column(sq_h5 *h5, const char *name, sq_dtype type, int64_t width, int64_t n,
                             void *out)
{
    sq_dtype stored;
    int rank;
    int64_t dim[8];
    sq_status rc = sq_h5_shape(h5, name, &stored, &rank, dim);
    if (rc != SQ_OK)
        return rc;
    if (dim[0] != n || rank > 2 || (rank == 2 ? dim[1] : 1) != width)
        return sq_fail(SQ_ERR_CORRUPT, "%s: another shape than the columns beside it", name);
    return sq_h5_read(h5, name, type, 0, n, out);
}

static sq_status read_columns(sq_h5 *h5, columns *c)
{
    sq_status rc;
    SQ_TRY(sq_h5_read_rows_text(h5, "tiles/name", NAME, 0, c->ntile, c->name));
    SQ_TRY(read_column(h5, "tiles/format", SQ_U8, 1, c->ntile, c->format));
    SQ_TRY(read_column(h5, "tiles/bands", SQ_U8, 1, c->ntile, c->bands));
    SQ_TRY(read_column(h5, "tiles/reference", SQ_U8, 1, c->ntile, c->reference));
    SQ_TRY(read_column(h5, "tiles/psf", SQ_I64, 1, c->ntile, c->psf));
    SQ_TRY(read_column(h5, "tiles/calibration", SQ_I64, 1, c->ntile, c->calibration));
    SQ_TRY(read_column(h5, "tiles/corner_ra", SQ_F64, 4, c->ntile, c->ra));
    SQ_TRY(read_column(h5, "tiles/corner_dec", SQ_F64, 4, c->ntile, c->dec));
    SQ_TRY(sq_h5_read_rows_text(h5, "bands/name", BAND, 0, c->nband, c->band));
    SQ_TRY(read_column(h5, "bands/nx", SQ_I64, 1, c->nband, c->nx));
    SQ_TRY(read_column(h5, "bands/ny", SQ_I64, 1, c->nband, c->ny));
    SQ_TRY(read_column(h5, "bands/image", SQ_I64, 1, c->nband, c->image));
    SQ_TRY(read_column(h5, "bands/mask", SQ_I64, 1, c->nband, c->mask));
    SQ_TRY(read_column(h5, "bands/wcs", SQ_I64, 1, c->nband, c->wcs));
    SQ_TRY(read_column(h5, "bands/wcs_size", SQ_I64, 1, c->nband, c->wcs_size));
    SQ_TRY(read_column(h5, "files/path", SQ_I64, 1, c->nfile, c->path));
    SQ_TRY(read_column(h5, "files/path_size", SQ_I64, 1, c->nfile, c->path_size));
    SQ_TRY(read_column(h5, "files/size", SQ_I64, 1, c->nfile, c->size));
    SQ_TRY(read_column(h5, "files/mtime", SQ_F64, 1, c->nfile, c->mtime));
    SQ_TRY(sq_h5_read_rows_text(h5, "files/checksum", CHECK, 0, c->nfile, c->checksum));
    SQ_TRY(sq_h5_read_rows_text(h5, "files/datasum", CHECK, 0, c->nfile, c->datasum));
    SQ_TRY(read_column(h5, "text", SQ_U8, 1, (int64_t)c->text_size, c->text));
cleanup:
    return rc;
}

/* A file whose columns differ in length or whose numbers point outside is damaged. */
static sq_status shape_of(sq_h5 *h5, columns *c)
{
    sq_status rc;
    char *text = NULL;
    int64_t other, size;
    SQ_TRY(sq_h5_read_text(h5, "/", "kind", &text));
    if (strcmp(text, kind) != 0)
        SQ_TRY(sq_fail(SQ_ERR_FORMAT, "kind '%.40s': not a tile index of this version", text));
    SQ_TRY(rows_of(h5, "tiles/format", &c->ntile));
    SQ_TRY(rows_of(h5, "bands/nx", &c->nband));
    SQ_TRY(rows_of(h5, "files/size", &c->nfile));
    SQ_TRY(rows_of(h5, "text", &size));
    SQ_TRY(rows_of(h5, "tiles/corner_ra", &other));
    c->text_size = (size_t)size;
    if (other != c->ntile)
        rc = sq_fail(SQ_ERR_CORRUPT, "columns of different lengths");
cleanup:
    sq_free(text);
    return rc;
}

static int get_file(const columns *c, int64_t i, sq_file_identity *file)
{
    if (i == -1)
        return 1;
    if (i < 0 || i >= c->nfile)
        return 0;
    int64_t at = c->path[i], size = c->path_size[i];
    if (at < 0 || size < 1 || size >= SQ_PATH_MAX || at > (int64_t)c->text_size - size)
        return 0;
    memcpy(file->path, c->text + at, (size_t)size);
    file->size = c->size[i];
    file->mtime = c->mtime[i];
    memcpy(file->checksum, c->checksum + i * CHECK, CHECK - 1);
    memcpy(file->datasum, c->datasum + i * CHECK, CHECK - 1);
    return 1;
}

static sq_status get_band(const columns *c, int64_t i, sq_tile_band *band)
{
    int64_t at = c->wcs[i], size = c->wcs_size[i];
    if (!get_file(c, c->image[i], &band->image) || !get_file(c, c->mask[i], &band->mask) ||
        at < 0 || size < 0 || at > (int64_t)c->text_size - size)
        return sq_fail(SQ_ERR_CORRUPT, "a band points outside the file");
    memcpy(band->name, c->band + i * BAND, BAND - 1);
    band->nx = c->nx[i];
    band->ny = c->ny[i];
    if (!size)
        return SQ_OK;
    sq_status rc = sq_alloc(&band->wcs_header, (size_t)size + 1, 1, "WCS header");
    if (rc == SQ_OK)
        memcpy(band->wcs_header, c->text + at, (size_t)size);
    return rc;
}

static sq_status get_tiles(const columns *c, sq_tile *tile)
{
    int64_t next = 0;
    for (int64_t t = 0; t < c->ntile; t++) {
        sq_tile *to = &tile[t];
        memcpy(to->name, c->name + t * NAME, NAME - 1);
        to->format = (sq_tile_format)c->format[t];
        to->reference = c->reference[t];
        memcpy(to->corner_ra, c->ra + 4 * t, sizeof to->corner_ra);
        memcpy(to->corner_dec, c->dec + 4 * t, sizeof to->corner_dec);
        if (c->bands[t] > SQ_MAX_BANDS || c->bands[t] > c->nband - next ||
            to->reference >= (c->bands[t] ? c->bands[t] : 1) || !get_file(c, c->psf[t], &to->psf) ||
            !get_file(c, c->calibration[t], &to->calibration))
            return sq_fail(SQ_ERR_CORRUPT, "tile %lld contradicts the bands or files",
                           (long long)t);
        for (; to->nband < c->bands[t]; to->nband++, next++) {
            sq_status rc = get_band(c, next, &to->band[to->nband]);
            if (rc != SQ_OK)
                return rc;
        }
    }
    return next == c->nband ? SQ_OK : sq_fail(SQ_ERR_CORRUPT, "bands without a tile");
}

sq_status sq_tile_index_read(const char *path, sq_tile **tile, int64_t *count)
{
    columns c = {0};
    sq_h5 *h5 = NULL;
    sq_tile *list = NULL;
    sq_status rc = sq_h5_open(path, &h5);
    if (rc != SQ_OK)
        return rc;
    SQ_TRY(shape_of(h5, &c));
    SQ_TRY(columns_alloc(&c));
    SQ_TRY(read_columns(h5, &c));
    SQ_TRY(SQ_ALLOC(list, c.ntile + 1, "tiles"));
    SQ_TRY(get_tiles(&c, list));
    *tile = list;
    *count = c.ntile;
    list = NULL;
cleanup:
    sq_tile_index_free(list, c.ntile);
    columns_clear(&c);
    sq_h5_abandon(h5);
    return rc == SQ_OK ? rc : sq_fail_in(rc, "%s", path);
}

void sq_tile_index_free(sq_tile *tile, int64_t count)
{
    for (int64_t t = 0; tile && t < count; t++) {
        for (int b = 0; b < tile[t].nband; b++)
            sq_free(tile[t].band[b].wcs_header);
    }
    sq_free(tile);
}

static sq_hash add_file(sq_hash hash, const sq_file_identity *file)
{
    char checks[2 * CHECK] = "";
    memcpy(checks, file->checksum, strnlen(file->checksum, CHECK - 1));
    memcpy(checks + CHECK, file->datasum, strnlen(file->datasum, CHECK - 1));
    int64_t there[2] = {file->path[0] != 0, file->size};
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

sq_hash sq_tile_index_hash(const sq_tile *tile, int64_t count)
{
    sq_hash hash = sq_hash_bytes(&count, sizeof count);
    for (int64_t t = 0; t < count; t++) {
        int64_t shape[3] = {tile[t].format, tile[t].nband, tile[t].reference};
        hash = sq_hash_combine(hash, sq_hash_bytes(tile[t].name, strlen(tile[t].name)));
        hash = sq_hash_combine(hash, sq_hash_bytes(shape, sizeof shape));
        hash = add_file(add_file(hash, &tile[t].psf), &tile[t].calibration);
        for (int b = 0; b < tile[t].nband; b++) {
            const sq_tile_band *band = &tile[t].band[b];
            hash = add_geometry(hash, band);
            hash = add_file(add_file(hash, &band->image), &band->mask);
        }
    }
    return hash;
}
