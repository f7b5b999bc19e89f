#include "fits/cell_tree.h"

#include <json-c/json.h>
#include <json-c/json_pointer.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { DEPTH = 64, READER = 1 };
static const int64_t FAR = 1 << 30; /* no tract has pixels beyond */

/* What the members are looked up in. */
typedef struct tree {
    json_object *root;
    const char *where;
} tree;

/* ---- members ---- */

static json_object *find(const tree *t, const char *path)
{
    json_object *out = NULL;
    return json_pointer_get(t->root, path, &out) == 0 ? out : NULL;
}

static sq_status get_int(const tree *t, const char *path, int64_t low, int64_t high, int64_t *out)
{
    json_object *o = find(t, path);
    if (!json_object_is_type(o, json_type_int))
        return sq_fail(SQ_ERR_FORMAT, "%s[JSON]: %s: missing or not an integer", t->where, path);
    *out = json_object_get_int64(o);
    if (*out < low || *out > high)
        return sq_fail(SQ_ERR_FORMAT, "%s[JSON]: %s: %lld is out of range", t->where, path,
                       (long long)*out);
    return SQ_OK;
}

static sq_status get_text(const tree *t, const char *path, const char **out)
{
    json_object *o = find(t, path);
    if (!json_object_is_type(o, json_type_string))
        return sq_fail(SQ_ERR_FORMAT, "%s[JSON]: %s: missing or not a text", t->where, path);
    *out = json_object_get_string(o);
    return SQ_OK;
}

/* Elements of an array, -1 when it is none. */
static int count(const tree *t, const char *path)
{
    json_object *o = find(t, path);
    return json_object_is_type(o, json_type_array) ? (int)json_object_array_length(o) : -1;
}

/* A half-open interval {"start", "stop"}. */
static sq_status get_interval(const tree *t, const char *path, int64_t *start, int64_t *stop)
{
    char member[160];
    sq_status rc = SQ_OK;
    snprintf(member, sizeof member, "%s/start", path);
    SQ_TRY(get_int(t, member, -FAR, FAR, start));
    snprintf(member, sizeof member, "%s/stop", path);
    SQ_TRY(get_int(t, member, *start + 1, FAR, stop));
cleanup:
    return rc;
}

/* ---- arrays elsewhere in the file ---- */

static sq_status get_source(const tree *t, const char *path, sq_cell_source *out)
{
    char member[160];
    const char *text = NULL;
    int used = 0;
    sq_status rc = SQ_OK;
    snprintf(member, sizeof member, "%s/source", path);
    SQ_TRY(get_text(t, member, &text));
    out->version = 1;
    if (sscanf(text, "fits:%71[A-Za-z0-9_/-]%n,%9d%n", out->name, &used, &out->version, &used) <
            1 ||
        text[used] || out->version < 1)
        return sq_fail(SQ_ERR_FORMAT, "%s[JSON]: %s: '%.80s' is not fits:EXTNAME", t->where, member,
                       text);
cleanup:
    return rc;
}

static sq_status get_shape(const tree *t, const char *path, int naxis, int64_t *out)
{
    char member[160];
    sq_status rc = SQ_OK;
    snprintf(member, sizeof member, "%s/shape", path);
    if (count(t, member) != naxis)
        return sq_fail(SQ_ERR_FORMAT, "%s[JSON]: %s: %d axes are expected", t->where, member,
                       naxis);
    for (int k = 0; k < naxis; k++) {
        snprintf(member, sizeof member, "%s/shape/%d", path, k);
        SQ_TRY(get_int(t, member, 1, 1 << 20, &out[k]));
    }
cleanup:
    return rc;
}

static sq_status get_plane(const tree *t, const char *path, sq_cell_tree *out, sq_cell_source *from)
{
    int64_t shape[2];
    sq_status rc = SQ_OK;
    SQ_TRY(get_source(t, path, from));
    SQ_TRY(get_shape(t, path, 2, shape));
    if (!out->nx) {
        out->ny = shape[0];
        out->nx = shape[1];
    } else if (shape[0] != out->ny || shape[1] != out->nx) {
        return sq_fail(SQ_ERR_FORMAT, "%s[JSON]: %s: %lld x %lld pixels, the image has %lld x %lld",
                       t->where, path, (long long)shape[1], (long long)shape[0], (long long)out->nx,
                       (long long)out->ny);
    }
cleanup:
    return rc;
}

static sq_status get_planes(const tree *t, sq_cell_tree *out)
{
    char path[64];
    sq_status rc = SQ_OK;
    SQ_TRY(get_plane(t, "/image/data/value", out, &out->image));
    SQ_TRY(get_plane(t, "/variance/data/value", out, &out->variance));
    out->masks = count(t, "/mask/data");
    if (out->masks < 1 || out->masks > SQ_CELL_MASKS)
        return sq_fail(SQ_ERR_FORMAT, "%s[JSON]: /mask/data: 1 to %d arrays are expected", t->where,
                       SQ_CELL_MASKS);
    for (int k = 0; k < out->masks; k++) {
        snprintf(path, sizeof path, "/mask/data/%d", k);
        SQ_TRY(get_plane(t, path, out, &out->mask[k]));
    }
    SQ_TRY(get_int(t, "/image/yx0/0", -FAR, FAR, &out->y0));
    SQ_TRY(get_int(t, "/image/yx0/1", -FAR, FAR, &out->x0));
cleanup:
    return rc;
}

/* ---- cells ---- */

/* One axis of the grid: the PSF images' box lies on the grid's lines and covers the image. */
static sq_status get_axis(const tree *t, char axis, int64_t cell, int64_t first, int64_t n,
                          int64_t grid[2], int64_t box[2])
{
    char path[64];
    sq_status rc = SQ_OK;
    snprintf(path, sizeof path, "/psf/bounds/grid/bbox/%c", axis);
    SQ_TRY(get_interval(t, path, &grid[0], &grid[1]));
    if ((grid[1] - grid[0]) % cell)
        return sq_fail(SQ_ERR_FORMAT, "%s[JSON]: %s: cells of %lld pixels do not tile %lld..%lld",
                       t->where, path, (long long)cell, (long long)grid[0], (long long)grid[1]);
    snprintf(path, sizeof path, "/psf/bounds/bbox/%c", axis);
    SQ_TRY(get_interval(t, path, &box[0], &box[1]));
    if (box[0] < grid[0] || box[1] > grid[1] || (box[0] - grid[0]) % cell ||
        (box[1] - grid[0]) % cell)
        return sq_fail(SQ_ERR_FORMAT,
                       "%s[JSON]: %s: %lld..%lld is no row of cells of %lld pixels in %lld..%lld",
                       t->where, path, (long long)box[0], (long long)box[1], (long long)cell,
                       (long long)grid[0], (long long)grid[1]);
    if (box[0] > first || box[1] < first + n)
        return sq_fail(SQ_ERR_FORMAT,
                       "%s[JSON]: %s: %lld..%lld does not cover the image, %lld..%lld", t->where,
                       path, (long long)box[0], (long long)box[1], (long long)first,
                       (long long)(first + n));
cleanup:
    return rc;
}

static sq_status get_missing(const tree *t, const int64_t grid_x[2], const int64_t grid_y[2],
                             sq_cell_tree *out)
{
    static const char path[] = "/psf/bounds/missing";
    char member[64];
    int64_t i, j;
    sq_status rc = SQ_OK;
    int64_t first_x = (out->left - grid_x[0]) / out->cell_nx;
    int64_t first_y = (out->bottom - grid_y[0]) / out->cell_ny;
    SQ_TRY(SQ_ALLOC(out->missing, out->cells_x * out->cells_y, "cells"));
    for (int k = 0, n = count(t, path); k < n; k++) {
        snprintf(member, sizeof member, "%s/%d/i", path, k);
        SQ_TRY(get_int(t, member, first_y, first_y + out->cells_y - 1, &i));
        snprintf(member, sizeof member, "%s/%d/j", path, k);
        SQ_TRY(get_int(t, member, first_x, first_x + out->cells_x - 1, &j));
        out->missing[(i - first_y) * out->cells_x + j - first_x] = 1;
    }
cleanup:
    return rc;
}

/* [y, x] or {"y", "x"}. */
static sq_status get_pair(const tree *t, const char *path, int64_t *y, int64_t *x)
{
    char member[160];
    int named = json_object_is_type(find(t, path), json_type_object);
    sq_status rc = SQ_OK;
    snprintf(member, sizeof member, "%s/%c", path, named ? 'y' : '0');
    SQ_TRY(get_int(t, member, 1, 1 << 20, y));
    snprintf(member, sizeof member, "%s/%c", path, named ? 'x' : '1');
    SQ_TRY(get_int(t, member, 1, 1 << 20, x));
cleanup:
    return rc;
}

static sq_status get_cells(const tree *t, sq_cell_tree *out)
{
    int64_t grid_x[2], grid_y[2], x[2], y[2], shape[4];
    sq_status rc = SQ_OK;
    SQ_TRY(get_pair(t, "/psf/bounds/grid/cell_shape", &out->cell_ny, &out->cell_nx));
    SQ_TRY(get_axis(t, 'x', out->cell_nx, out->x0, out->nx, grid_x, x));
    SQ_TRY(get_axis(t, 'y', out->cell_ny, out->y0, out->ny, grid_y, y));
    out->left = x[0];
    out->bottom = y[0];
    out->cells_x = (x[1] - x[0]) / out->cell_nx;
    out->cells_y = (y[1] - y[0]) / out->cell_ny;
    SQ_TRY(get_source(t, "/psf/array", &out->psf));
    SQ_TRY(get_shape(t, "/psf/array", 4, shape));
    if (shape[0] != out->cells_y || shape[1] != out->cells_x)
        return sq_fail(SQ_ERR_FORMAT,
                       "%s[JSON]: /psf/array/shape: PSF images of %lld x %lld cells, there are "
                       "%lld x %lld",
                       t->where, (long long)shape[1], (long long)shape[0], (long long)out->cells_x,
                       (long long)out->cells_y);
    if (shape[2] != shape[3] || shape[2] % 2 == 0 || shape[2] > 255 ||
        out->cells_x * out->cells_y > SQ_CELL_MAX)
        return sq_fail(SQ_ERR_FORMAT,
                       "%s[JSON]: /psf/array/shape: PSF images of %lld x %lld pixels in %lld cells",
                       t->where, (long long)shape[3], (long long)shape[2],
                       (long long)(out->cells_x * out->cells_y));
    out->side = (int)shape[2];
    SQ_TRY(get_missing(t, grid_x, grid_y, out));
cleanup:
    return rc;
}

/* ---- the subtracted background ---- */

/* A Chebyshev field; another kind leaves the level unknown. The name may have any characters, so it
 * is not looked up by a path. */
static sq_status get_field(json_object *field, const char *where, sq_cell_sky *sky)
{
    tree t = {field, where};
    int64_t x[2], y[2];
    char path[64];
    const char *kind = NULL;
    sq_status rc = SQ_OK;
    SQ_TRY(get_text(&t, "/field_type", &kind));
    if (strcmp(kind, "CHEBYSHEV") != 0 || !find(&t, "/bounds/x"))
        return SQ_OK;
    SQ_TRY(get_interval(&t, "/bounds/x", &x[0], &x[1]));
    SQ_TRY(get_interval(&t, "/bounds/y", &y[0], &y[1]));
    int ny = count(&t, "/coefficients/data"), nx = count(&t, "/coefficients/data/0");
    if (nx < 1 || ny < 1 || nx > SQ_CELL_ORDER || ny > SQ_CELL_ORDER)
        return sq_fail(SQ_ERR_FORMAT, "%s[JSON]: background: %d x %d coefficients", where, nx, ny);
    for (int k = 0; k < nx * ny; k++) {
        snprintf(path, sizeof path, "/coefficients/data/%d/%d", k / nx, k % nx);
        double value = json_object_get_double(find(&t, path));
        if (!find(&t, path) || !isfinite(value))
            return sq_fail(SQ_ERR_FORMAT, "%s[JSON]: background%s: not a number", where, path);
        sky->c[k / nx][k % nx] = value;
    }
    sky->left = (double)x[0] - 0.5;
    sky->bottom = (double)y[0] - 0.5;
    sky->width = (double)(x[1] - x[0]);
    sky->height = (double)(y[1] - y[0]);
    sky->nx = nx;
    sky->ny = ny;
cleanup:
    return rc;
}

static sq_status get_sky(const tree *t, sq_cell_tree *out)
{
    json_object *name = find(t, "/backgrounds/subtracted"), *field = NULL;
    if (!json_object_is_type(name, json_type_string))
        return SQ_OK;
    if (!json_object_object_get_ex(find(t, "/backgrounds/fields"), json_object_get_string(name),
                                   &field))
        return sq_fail(SQ_ERR_FORMAT,
                       "%s[JSON]: /backgrounds/fields: no '%.80s', which was subtracted", t->where,
                       json_object_get_string(name));
    return get_field(field, t->where, &out->sky);
}

/* T_0 .. T_{n-1} at x. */
static void chebyshev(double x, int n, double *out)
{
    out[0] = 1;
    out[1] = x;
    for (int k = 2; k < n; k++)
        out[k] = 2 * x * out[k - 1] - out[k - 2];
}

void sq_cell_sky_row(const sq_cell_tree *tree, int64_t y, int64_t x0, int n, float *out)
{
    const sq_cell_sky *s = &tree->sky;
    double row[SQ_CELL_ORDER] = {0}, t[SQ_CELL_ORDER + 1];
    if (s->ny)
        chebyshev(2 * ((double)(tree->y0 + y) - s->bottom) / s->height - 1, s->ny, t);
    for (int p = 0; p < s->ny; p++) {
        for (int q = 0; q < s->nx; q++)
            row[q] += s->c[p][q] * t[p];
    }
    for (int i = 0; i < n; i++) {
        double sum = 0;
        if (s->nx)
            chebyshev(2 * ((double)(tree->x0 + x0 + i) - s->left) / s->width - 1, s->nx, t);
        for (int q = 0; q < s->nx; q++)
            sum += row[q] * t[q];
        out[i] = (float)sum;
    }
}

/* ---- the tree ---- */

static sq_status get_names(const tree *t, sq_cell_tree *out)
{
    const char *text = NULL;
    int64_t reader;
    sq_status rc = SQ_OK;
    SQ_TRY(get_int(t, "/min_read_version", 0, FAR, &reader));
    if (reader > READER)
        return sq_fail(SQ_ERR_FORMAT, "%s[JSON]: /min_read_version: %lld, known here is %d",
                       t->where, (long long)reader, READER);
    if (json_object_is_type(find(t, "/band"), json_type_string)) {
        SQ_TRY(get_text(t, "/band", &text));
        snprintf(out->band, sizeof out->band, "%s", text);
    }
    out->tract = out->patch = -1;
    if (find(t, "/sky_projection/pixel_to_sky/frames/0/tract"))
        SQ_TRY(get_int(t, "/sky_projection/pixel_to_sky/frames/0/tract", 0, FAR, &out->tract));
    if (find(t, "/patch/id"))
        SQ_TRY(get_int(t, "/patch/id", 0, FAR, &out->patch));
cleanup:
    return rc;
}

sq_status sq_cell_tree_parse(const char *text, size_t size, const char *where, sq_cell_tree *out)
{
    sq_status rc = SQ_OK;
    tree t = {NULL, where};
    json_tokener *tokener = json_tokener_new_ex(DEPTH);
    memset(out, 0, sizeof *out);
    if (!tokener)
        return sq_fail(SQ_ERR_NOMEM, "%s[JSON]: no memory to parse it", where);
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    if (size <= INT32_MAX)
        t.root = json_tokener_parse_ex(tokener, text, (int)size);
    if (!json_object_is_type(t.root, json_type_object))
        SQ_TRY(sq_fail(SQ_ERR_FORMAT, "%s[JSON]: not a JSON object: %s at byte %zu of %zu", where,
                       json_tokener_error_desc(json_tokener_get_error(tokener)),
                       json_tokener_get_parse_end(tokener), size));
    SQ_TRY(get_names(&t, out));
    SQ_TRY(get_planes(&t, out));
    SQ_TRY(get_cells(&t, out));
    SQ_TRY(get_sky(&t, out));
cleanup:
    json_object_put(t.root);
    json_tokener_free(tokener);
    if (rc != SQ_OK)
        sq_cell_tree_clear(out);
    return rc;
}

void sq_cell_tree_clear(sq_cell_tree *tree)
{
    sq_free(tree->missing);
    memset(tree, 0, sizeof *tree);
}
