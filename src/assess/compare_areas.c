/* Where rows belong: tiles by their names, patches by their numbers within a tile. */
#include <stdio.h>
#include <string.h>

#include "assess/compare_report.h"
#include "assess/region.h"
#include "base/mem.h"

enum { TILE_NAME = 64, MOST_PATCH_AREAS = 4096 };

/* What one release says about tiles and patches. */
typedef struct layout {
    int64_t tiles;
    char (*name)[TILE_NAME];
    double *corner;
    int64_t patches, *patch, *tile; /* rows of /patches */
    int32_t *area;                  /* of each tile */
} layout;

static void layout_clear(layout *l)
{
    sq_free(l->name);
    sq_free(l->corner);
    sq_free(l->patch);
    sq_free(l->tile);
    sq_free(l->area);
}

static sq_status read_tiles(sq_h5 *file, layout *l)
{
    sq_status rc = SQ_OK;
    int width;
    if (!sq_h5_has(file, "tiles") || !sq_h5_has(file, "tiles/name"))
        return SQ_OK;
    SQ_TRY(sq_h5_text_shape(file, "tiles/name", &width, &l->tiles));
    SQ_TRY(SQ_ALLOC(l->name, l->tiles + 1, "names of tiles"));
    SQ_TRY(SQ_ALLOC(l->area, l->tiles + 1, "tiles"));
    SQ_TRY(sq_h5_read_rows_text(file, "tiles/name", TILE_NAME, 0, l->tiles, l->name[0]));
    for (int64_t t = 0; t < l->tiles; t++)
        l->name[t][TILE_NAME - 1] = '\0';
    if (l->tiles && sq_h5_has(file, "tiles/ra0")) {
        SQ_TRY(SQ_ALLOC(l->corner, 8 * l->tiles, "corners of tiles"));
        SQ_TRY(tile_corners(file, l->tiles, l->corner));
    }
cleanup:
    return rc;
}

static sq_status read_patches(sq_h5 *file, layout *l)
{
    sq_status rc = SQ_OK;
    sq_dtype type;
    int rank;
    int64_t dim[8];
    if (!sq_h5_has(file, "patches") || !sq_h5_has(file, "patches/patch"))
        return SQ_OK;
    SQ_TRY(sq_h5_shape(file, "patches/patch", &type, &rank, dim));
    l->patches = dim[0];
    SQ_TRY(SQ_ALLOC(l->patch, l->patches + 1, "patches"));
    SQ_TRY(SQ_ALLOC(l->tile, l->patches + 1, "patches"));
    SQ_TRY(sq_h5_read(file, "patches/patch", SQ_I64, 0, l->patches, l->patch));
    SQ_TRY(sq_h5_read(file, "patches/tile", SQ_I64, 0, l->patches, l->tile));
cleanup:
    return rc;
}

/* Every tile of A, then those of B alone. The search starts behind the last hit: tiles come in the
 * same order in most releases of one survey. */
static sq_status name_areas(layout l[2], cmp_table *out)
{
    sq_status rc = SQ_ALLOC(out->area, l[0].tiles + l[1].tiles + 1, "areas");
    if (rc != SQ_OK)
        return rc;
    for (int s = 0; s < 2; s++) {
        int64_t next = 0;
        for (int64_t t = 0; t < l[s].tiles; t++) {
            int64_t a = -1;
            for (int64_t k = 0; s == 1 && a < 0 && k < out->areas; k++) {
                int64_t at = (next + k) % out->areas;
                if (strcmp(out->area[at].name, l[s].name[t]) == 0)
                    a = at;
            }
            if (a < 0) {
                a = out->areas++;
                snprintf(out->area[a].name, CMP_NAME, "%s", l[s].name[t]);
            }
            if (l[s].corner) {
                out->area[a].corners = 4;
                memcpy(out->area[a].corner, l[s].corner + 8 * t, sizeof out->area[a].corner);
            }
            l[s].area[t] = (int32_t)a;
            next = a + 1;
        }
    }
    return SQ_OK;
}

/* First patch number and count of each area in one release. */
static sq_status count_patches(const layout *l, int64_t areas, int64_t *first, int64_t *count)
{
    for (int64_t a = 0; a < areas; a++) {
        first[a] = INT64_MAX;
        count[a] = 0;
    }
    for (int64_t i = 0; i < l->patches; i++) {
        int64_t a = 0;
        if (l->tiles)
            a = l->tile[i] >= 0 && l->tile[i] < l->tiles ? l->area[l->tile[i]] : -1;
        if (a < 0 || l->patch[i] < 0 || l->patch[i] >= INT32_MAX)
            return sq_fail(SQ_ERR_FORMAT, "patches: row %lld: no such tile or patch", (long long)i);
        first[a] = l->patch[i] < first[a] ? l->patch[i] : first[a];
    }
    for (int64_t i = 0; i < l->patches; i++) {
        int64_t a = l->tiles ? l->area[l->tile[i]] : 0, n = l->patch[i] - first[a] + 1;
        count[a] = n > count[a] ? n : count[a];
    }
    return SQ_OK;
}

/* The patches of both are the same pieces of sky when every common tile has equally many. */
static sq_status name_patches(int64_t *const first[2], int64_t *const count[2], int64_t areas,
                              int64_t *offset, cmp_table *out)
{
    sq_status rc = SQ_OK;
    int64_t total = 0;

    for (int64_t a = 0; a < areas; a++) {
        if (count[0][a] && count[1][a] && count[0][a] != count[1][a])
            out->patches_differ = 1;
        offset[a] = total;
        total += count[0][a] > count[1][a] ? count[0][a] : count[1][a];
    }
    if (out->patches_differ || total == 0)
        return SQ_OK;
    SQ_TRY(SQ_ALLOC(out->patch, total, "patches"));
    out->patches = total;
    for (int64_t a = 0; a < areas; a++) {
        int64_t n = (a + 1 < areas ? offset[a + 1] : total) - offset[a];
        int64_t start = count[0][a] ? first[0][a] : first[1][a];
        for (int64_t k = 0; k < n; k++) {
            out->patch[offset[a] + k].area = out->areas ? a : -1;
            out->patch[offset[a] + k].number = out->areas ? k : start + k;
        }
    }
cleanup:
    return rc;
}

static sq_status place_rows(cmp_rows *rows, int s, const layout *l, const int64_t *first,
                            const int64_t *offset, const cmp_table *out)
{
    sq_status rc;
    int64_t *tile = NULL, *patch = NULL, n = rows->n[s];
    const catalog *c = &rows->file[s];
    SQ_TRY(SQ_ALLOC(rows->area[s], n + 1, "areas of rows"));
    SQ_TRY(SQ_ALLOC(rows->patch[s], n + 1, "patches of rows"));
    SQ_TRY(SQ_ALLOC(tile, n + 1, "tiles of rows"));
    SQ_TRY(SQ_ALLOC(patch, n + 1, "patches of rows"));
    if (l->tiles)
        SQ_TRY(catalog_read(c, "tile", SQ_I64, tile));
    if (out->patches)
        SQ_TRY(catalog_read(c, "patch", SQ_I64, patch));
    for (int64_t i = 0; i < n; i++) {
        int64_t a = -1, p = -1;
        if (l->tiles && tile[i] >= 0 && tile[i] < l->tiles)
            a = l->area[tile[i]];
        if (out->patches && (a >= 0 || !l->tiles))
            p = patch[i] - first[a < 0 ? 0 : a] + offset[a < 0 ? 0 : a];
        rows->area[s][i] = (int32_t)a;
        rows->patch[s][i] = p >= 0 && p < out->patches ? (int32_t)p : -1;
    }
cleanup:
    sq_free(tile);
    sq_free(patch);
    return rc;
}

/* Without tiles the patches are the areas, when they are not too many. */
static sq_status areas_of_patches(cmp_rows *rows, cmp_table *out)
{
    if (out->areas || !out->patches || out->patches > MOST_PATCH_AREAS)
        return SQ_OK;
    sq_free(out->area);
    sq_status rc = SQ_ALLOC(out->area, out->patches, "areas");
    if (rc != SQ_OK)
        return rc;
    out->areas = out->patches;
    for (int64_t p = 0; p < out->patches; p++) {
        out->patch[p].area = p;
        snprintf(out->area[p].name, CMP_NAME, "patch %lld", (long long)out->patch[p].number);
    }
    for (int s = 0; s < 2; s++)
        memcpy(rows->area[s], rows->patch[s], (size_t)rows->n[s] * sizeof(int32_t));
    return SQ_OK;
}

static sq_status sort_rows(cmp_rows *rows, int64_t areas)
{
    sq_status rc = SQ_OK;
    for (int s = 0; s < 2; s++) {
        SQ_TRY(SQ_ALLOC(rows->row[s], rows->n[s] + 1, "order of rows"));
        SQ_TRY(SQ_ALLOC(rows->start[s], areas + 3, "order of rows"));
        /* A counting sort; rows without an area come last. */
        int64_t *start = rows->start[s] + 2;
        for (int64_t i = 0; i < rows->n[s]; i++)
            start[rows->area[s][i] >= 0 ? rows->area[s][i] : areas]++;
        for (int64_t a = 1; a <= areas; a++)
            start[a] += start[a - 1];
        start--; /* start[a] is now where area a begins, and moves to its end */
        for (int64_t i = 0; i < rows->n[s]; i++)
            rows->row[s][start[rows->area[s][i] >= 0 ? rows->area[s][i] : areas]++] = (int32_t)i;
    }
cleanup:
    return rc;
}

static int in_both(const cmp_rows *rows, const char *name)
{
    return catalog_has(&rows->file[0], name) && catalog_has(&rows->file[1], name);
}

sq_status cmp_areas(cmp_rows *rows, cmp_table *out)
{
    sq_status rc = SQ_OK;
    layout l[2] = {{0}, {0}};
    int64_t *first[2] = {NULL, NULL}, *count[2] = {NULL, NULL}, *offset = NULL;
    for (int s = 0; s < 2; s++) {
        if (in_both(rows, "tile"))
            SQ_TRY(read_tiles(rows->file[s].file, &l[s]));
        if (in_both(rows, "patch"))
            SQ_TRY(read_patches(rows->file[s].file, &l[s]));
    }
    SQ_TRY(name_areas(l, out));
    int64_t areas = out->areas ? out->areas : 1;
    SQ_TRY(SQ_ALLOC(offset, areas, "patches"));
    for (int s = 0; s < 2; s++) {
        SQ_TRY(SQ_ALLOC(first[s], areas, "patches"));
        SQ_TRY(SQ_ALLOC(count[s], areas, "patches"));
        SQ_TRY(count_patches(&l[s], areas, first[s], count[s]));
    }
    SQ_TRY(name_patches(first, count, areas, offset, out));
    for (int s = 0; s < 2; s++)
        SQ_TRY(place_rows(rows, s, &l[s], first[s], offset, out));
    SQ_TRY(areas_of_patches(rows, out));
    SQ_TRY(sort_rows(rows, out->areas));
cleanup:
    for (int s = 0; s < 2; s++) {
        layout_clear(&l[s]);
        sq_free(first[s]);
        sq_free(count[s]);
    }
    sq_free(offset);
    return rc;
}
