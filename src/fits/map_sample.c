/* Values of maps at points and on grids, in the units and frame that map.h promises. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fits/map_internal.h"
#include "sky/sphere.h"

#define RAD (M_PI / 180)

/* ---- frames ---- */

/* Rows: the axes of the frame in ICRS. Galactic: ESA SP-1200 (Hipparcos), vol. 1, eq. 1.5.11.
 * Ecliptic: mean obliquity of J2000, 84381.448" (IAU 1976; Lieske et al. 1977). */
static const double (*frame_axes(char frame))[3]
{
    static const double galactic[3][3] = {
        {-0.0548755604162154, -0.8734370902348850, -0.4838350155487132},
        {+0.4941094278755837, -0.4448296299600112, +0.7469822444972189},
        {-0.8676661490190047, -0.1980763734312015, +0.4559837761750669}};
    static const double ecliptic[3][3] = {{1, 0, 0},
                                          {0, 0.917482062069181826, 0.397777155931913702},
                                          {0, -0.397777155931913702, 0.917482062069181826}};
    return frame == 'G' ? galactic : ecliptic;
}

/* To the map's own longitudes and latitudes; `angle` (may be NULL) gets the position angle in ICRS
 * of the frame's north. */
static void to_frame(char frame, size_t n, const double *ra, const double *dec, double *lon,
                     double *lat, double *angle)
{
    const double(*axis)[3] = frame_axes(frame);
    for (size_t k = 0; k < n; k++) {
        double v[3], w[3];
        sq_unit_vector(ra[k], dec[k], v);
        for (int i = 0; i < 3; i++)
            w[i] = axis[i][0] * v[0] + axis[i][1] * v[1] + axis[i][2] * v[2];
        sq_from_vector(w, &lon[k], &lat[k]);
        double a = ra[k] * RAD, d = dec[k] * RAD;
        double east[3] = {-sin(a), cos(a), 0};
        double north[3] = {-sin(d) * cos(a), -sin(d) * sin(a), cos(d)};
        const double *pole = axis[2];
        if (angle)
            angle[k] = atan2(pole[0] * east[0] + pole[1] * east[1],
                             pole[0] * north[0] + pole[1] * north[1] + pole[2] * north[2]);
    }
}

void sq_map_from_frame(char frame, double lon, double lat, double *ra, double *dec)
{
    double v[3], w[3];
    *ra = lon;
    *dec = lat;
    if (frame == 'C')
        return;
    const double(*axis)[3] = frame_axes(frame);
    sq_unit_vector(lon, lat, v);
    for (int i = 0; i < 3; i++)
        w[i] = axis[0][i] * v[0] + axis[1][i] * v[1] + axis[2][i] * v[2];
    sq_from_vector(w, ra, dec);
}

void sq_spin2_rotate(size_t n, const double *angle, double sign, float *q, float *u)
{
    for (size_t k = 0; k < n; k++) {
        double c = cos(2 * sign * angle[k]), s = sin(2 * sign * angle[k]), was = q[k];
        if (!isfinite(c))
            continue;
        q[k] = (float)(was * c - u[k] * s);
        u[k] = (float)(was * s + u[k] * c);
    }
}

/* ---- points ---- */

/* To the units given out. */
static void judge(const sq_map *map, int plane, size_t n, float *value, uint8_t *valid)
{
    double scale = map->info.plane[plane].scale;
    int weight = map->source[plane].kind == -2;
    for (size_t k = 0; k < n; k++) {
        /* A negative inverse variance is none; so is a value beyond float. */
        float scaled = (float)(scale * value[k]);
        valid[k] = isfinite(scaled) && !(weight && scaled < 0);
        value[k] = valid[k] ? scaled : 0;
    }
}

static sq_status values(sq_map *map, int plane, sq_map_method method, size_t n, const double *ra,
                        const double *dec, float *value, uint8_t *valid)
{
    sq_status rc = map->info.nside ? sq_map_healpix_values(map, plane, method, n, ra, dec, value)
                                   : sq_map_flat_values(map, plane, method, n, ra, dec, value);
    if (rc == SQ_OK)
        judge(map, plane, n, value, valid);
    return rc;
}

static sq_status check_plane(const sq_map *map, int plane)
{
    if (plane < 0 || plane >= map->info.nplane)
        return sq_fail(SQ_ERR_USAGE, "%s: plane %d of %d", map->info.file.path, plane,
                       map->info.nplane);
    return SQ_OK;
}

sq_status sq_map_sample(sq_map *map, int plane, sq_map_method method, size_t n, const double *ra,
                        const double *dec, float *value, uint8_t *valid)
{
    sq_status rc = SQ_OK;
    double *lon = NULL, *lat = NULL;
    SQ_TRY(check_plane(map, plane));
    if (map->info.frame == 'C')
        return values(map, plane, method, n, ra, dec, value, valid);
    if (strchr("QU", map->info.plane[plane].name[0]) && !map->info.plane[plane].name[1])
        return sq_fail(SQ_ERR_USAGE, "%s: %s alone cannot be turned from frame %c; ask for both",
                       map->info.file.path, map->info.plane[plane].name, map->info.frame);
    SQ_TRY(SQ_ALLOC(lon, n, "points"));
    SQ_TRY(SQ_ALLOC(lat, n, "points"));
    to_frame(map->info.frame, n, ra, dec, lon, lat, NULL);
    SQ_TRY(values(map, plane, method, n, lon, lat, value, valid));
cleanup:
    sq_free(lon);
    sq_free(lat);
    return rc;
}

sq_status sq_map_sample_qu(sq_map *map, sq_map_method method, size_t n, const double *ra,
                           const double *dec, float *q, float *u, uint8_t *valid)
{
    sq_status rc = SQ_OK;
    double *lon = NULL, *lat = NULL, *angle = NULL;
    uint8_t *both = NULL;
    int turned = map->info.frame != 'C', pq = sq_map_find_plane(map, "Q");
    int pu = sq_map_find_plane(map, "U");
    if (pq < 0 || pu < 0)
        return sq_fail(SQ_ERR_DATA, "%s: no Q and U planes", map->info.file.path);
    SQ_TRY(SQ_ALLOC(both, n, "flags"));
    if (turned) {
        SQ_TRY(SQ_ALLOC(lon, n, "points"));
        SQ_TRY(SQ_ALLOC(lat, n, "points"));
        SQ_TRY(SQ_ALLOC(angle, n, "angles"));
        to_frame(map->info.frame, n, ra, dec, lon, lat, angle);
    }
    SQ_TRY(values(map, pq, method, n, turned ? lon : ra, turned ? lat : dec, q, both));
    SQ_TRY(values(map, pu, method, n, turned ? lon : ra, turned ? lat : dec, u, valid));
    for (size_t k = 0; k < n; k++) {
        valid[k] = valid[k] && both[k];
        if (!valid[k])
            q[k] = u[k] = 0;
    }
    if (turned)
        sq_spin2_rotate(n, angle, 1, q, u);
cleanup:
    sq_free(lon);
    sq_free(lat);
    sq_free(angle);
    sq_free(both);
    return rc;
}

/* ---- grids ---- */

static sq_status grid_sky(const sq_wcs *grid, int nx, int ny, double shift, double *ra, double *dec)
{
    sq_status rc = SQ_OK;
    double *x = NULL, *y = NULL;
    if (nx < 1 || ny < 1)
        return sq_fail(SQ_ERR_USAGE, "grid of %d x %d pixels", nx, ny);
    SQ_TRY(SQ_ALLOC(x, nx, "grid row"));
    SQ_TRY(SQ_ALLOC(y, nx, "grid row"));
    for (int row = 0; row < ny; row++) {
        size_t at = (size_t)row * (size_t)nx;
        for (int k = 0; k < nx; k++) {
            x[k] = k;
            y[k] = row + shift;
        }
        SQ_TRY(sq_wcs_pix2sky(grid, (size_t)nx, x, y, ra + at, dec + at));
    }
cleanup:
    sq_free(x);
    sq_free(y);
    return rc;
}

/* Pixels of the map under a mesh of grid pixels, two meshes in one: the corners of cells of STEP
 * pixels, and their centres, at which interpolation is checked. */
enum { STEP = 8 };
static const double TOLERANCE = 0.005; /* pixels of the map */

static sq_status mesh_points(const sq_map *map, const sq_wcs *grid, int columns, int rows,
                             double shift, double *x, double *y)
{
    sq_status rc = SQ_OK;
    size_t n = (size_t)columns * (size_t)rows;
    double *ra = NULL, *dec = NULL;
    SQ_TRY(SQ_ALLOC(ra, n, "mesh"));
    SQ_TRY(SQ_ALLOC(dec, n, "mesh"));
    for (size_t k = 0; k < n; k++) {
        x[k] = ((double)(k % (size_t)columns) + shift) * STEP;
        y[k] = ((double)(k / (size_t)columns) + shift) * STEP;
    }
    SQ_TRY(sq_wcs_pix2sky(grid, n, x, y, ra, dec));
    SQ_TRY(sq_wcs_sky2pix(map->wcs, n, ra, dec, x, y));
    /* On a cylinder all of them in the turn of the first. */
    for (size_t k = 1; k < n && map->period > 0; k++)
        x[k] -= map->period * floor((x[k] - x[0]) / map->period + 0.5);
cleanup:
    sq_free(ra);
    sq_free(dec);
    return rc;
}

static double between(const double *v, int columns, int i, int j, double s, double t)
{
    const double *low = v + (size_t)j * (size_t)columns + i, *high = low + columns;
    return (1 - t) * ((1 - s) * low[0] + s * low[1]) + t * ((1 - s) * high[0] + s * high[1]);
}

/* Is the mesh exact to the tolerance in the middle of every cell, where it is worst? */
static int mesh_holds(const double *v, const double *centre, int columns, int rows, double period)
{
    for (int j = 0; j < rows - 1; j++) {
        for (int i = 0; i < columns - 1; i++) {
            double d =
                between(v, columns, i, j, 0.5, 0.5) - centre[(size_t)j * (size_t)columns + i];
            if (!(fabs(period > 0 ? remainder(d, period) : d) < TOLERANCE))
                return 0;
        }
    }
    return 1;
}

/* The pixels of the map under all pixels of the grid; *good = 0 where projections bend too much,
 * near poles and at the seams of maps. */
static sq_status mesh_pixels(const sq_map *map, const sq_wcs *grid, int nx, int ny, double *x,
                             double *y, int *good)
{
    sq_status rc = SQ_OK;
    int columns = (nx - 1) / STEP + 2, rows = (ny - 1) / STEP + 2;
    size_t n = (size_t)columns * (size_t)rows;
    double *mesh = NULL, *u, *v, *cu, *cv;
    *good = 0;
    SQ_TRY(SQ_ALLOC(mesh, 4 * n, "mesh"));
    u = mesh;
    v = u + n;
    cu = v + n;
    cv = cu + n;
    SQ_TRY(mesh_points(map, grid, columns, rows, 0, u, v));
    SQ_TRY(mesh_points(map, grid, columns, rows, 0.5, cu, cv));
    *good = mesh_holds(u, cu, columns, rows, map->period) && mesh_holds(v, cv, columns, rows, 0);
    for (int j = 0; j < ny && *good; j++) {
        for (int i = 0; i < nx; i++) {
            double s = (double)(i % STEP) / STEP, t = (double)(j % STEP) / STEP;
            size_t at = (size_t)j * (size_t)nx + (size_t)i;
            x[at] = between(u, columns, i / STEP, j / STEP, s, t);
            y[at] = between(v, columns, i / STEP, j / STEP, s, t);
        }
    }
cleanup:
    sq_free(mesh);
    return rc;
}

static sq_status patch_by_mesh(sq_map *map, int plane, const sq_wcs *grid, int nx, int ny,
                               sq_map_method method, float *out, uint8_t *valid, int *done)
{
    sq_status rc = SQ_OK;
    size_t n = (size_t)nx * (size_t)ny;
    double *x = NULL, *y = NULL;
    SQ_TRY(SQ_ALLOC(x, n, "grid"));
    SQ_TRY(SQ_ALLOC(y, n, "grid"));
    SQ_TRY(mesh_pixels(map, grid, nx, ny, x, y, done));
    if (*done) {
        SQ_TRY(sq_map_flat_at(map, plane, method, n, x, y, out));
        judge(map, plane, n, out, valid);
    }
cleanup:
    sq_free(x);
    sq_free(y);
    return rc;
}

sq_status sq_map_patch(sq_map *map, int plane, const sq_wcs *grid, int nx, int ny,
                       sq_map_method method, float *out, uint8_t *valid)
{
    sq_status rc = SQ_OK;
    double *ra = NULL, *dec = NULL;
    size_t n = (size_t)nx * (size_t)ny;
    int done = 0;
    SQ_TRY(check_plane(map, plane));
    if (nx < 1 || ny < 1)
        return sq_fail(SQ_ERR_USAGE, "grid of %d x %d pixels", nx, ny);
    if (map->wcs && map->info.frame == 'C' && nx > 2 * STEP && ny > 2 * STEP)
        SQ_TRY(patch_by_mesh(map, plane, grid, nx, ny, method, out, valid, &done));
    if (done)
        return SQ_OK;
    SQ_TRY(SQ_ALLOC(ra, n, "grid"));
    SQ_TRY(SQ_ALLOC(dec, n, "grid"));
    SQ_TRY(grid_sky(grid, nx, ny, 0, ra, dec));
    SQ_TRY(sq_map_sample(map, plane, method, n, ra, dec, out, valid));
cleanup:
    sq_free(ra);
    sq_free(dec);
    return rc;
}

sq_status sq_grid_angle(const sq_wcs *grid, int nx, int ny, double *angle)
{
    sq_status rc = SQ_OK;
    double *ra[3] = {NULL}, *dec[3] = {NULL};
    static const double shift[3] = {-0.5, 0, 0.5};
    size_t n = (size_t)nx * (size_t)ny;
    for (int i = 0; i < 3; i++) {
        SQ_TRY(SQ_ALLOC(ra[i], n, "grid"));
        SQ_TRY(SQ_ALLOC(dec[i], n, "grid"));
        SQ_TRY(grid_sky(grid, nx, ny, shift[i], ra[i], dec[i]));
    }
    for (size_t k = 0; k < n; k++) {
        double low[3], high[3], a = ra[1][k] * RAD, d = dec[1][k] * RAD;
        sq_unit_vector(ra[0][k], dec[0][k], low);
        sq_unit_vector(ra[2][k], dec[2][k], high);
        for (int i = 0; i < 3; i++)
            high[i] -= low[i];
        double east = -sin(a) * high[0] + cos(a) * high[1];
        double north = -sin(d) * (cos(a) * high[0] + sin(a) * high[1]) + cos(d) * high[2];
        angle[k] = atan2(east, north);
    }
cleanup:
    for (int i = 0; i < 3; i++) {
        sq_free(ra[i]);
        sq_free(dec[i]);
    }
    return rc;
}

sq_status sq_map_patch_qu(sq_map *map, const sq_wcs *grid, int nx, int ny, sq_map_method method,
                          float *q, float *u, uint8_t *valid)
{
    sq_status rc = SQ_OK;
    double *ra = NULL, *dec = NULL;
    size_t n = (size_t)nx * (size_t)ny;
    SQ_TRY(SQ_ALLOC(ra, n, "grid"));
    SQ_TRY(SQ_ALLOC(dec, n, "grid"));
    SQ_TRY(grid_sky(grid, nx, ny, 0, ra, dec));
    SQ_TRY(sq_map_sample_qu(map, method, n, ra, dec, q, u, valid));
    SQ_TRY(sq_grid_angle(grid, nx, ny, ra));
    sq_spin2_rotate(n, ra, -1, q, u);
cleanup:
    sq_free(ra);
    sq_free(dec);
    return rc;
}

/* ---- units ---- */

/* Points spread over the pixels of the map, in its own frame. */
static sq_status typical_points(const sq_map *map, size_t n, double *ra, double *dec)
{
    sq_status rc = SQ_OK;
    double *x = NULL, *y = NULL;
    SQ_TRY(SQ_ALLOC(x, n, "points"));
    SQ_TRY(SQ_ALLOC(y, n, "points"));
    for (size_t k = 0; k < n; k++) {
        /* The golden ratio spreads points evenly over a rectangle and over the sphere. */
        double along = ((double)k + 0.5) / (double)n,
               across = fmod(0.6180339887498949 * (double)k, 1);
        x[k] = floor(across * (double)map->info.nx);
        y[k] = floor(along * (double)map->info.ny);
        ra[k] = 360 * across;
        dec[k] = asin(2 * along - 1) / RAD;
        if (map->info.partial) {
            int64_t pixel = map->pixel[(int64_t)(along * (double)map->listed)];
            double theta, phi;
            sq_healpix_centre(map->info.nside, map->info.nested, pixel, &theta, &phi);
            ra[k] = phi / RAD;
            dec[k] = 90 - theta / RAD;
        }
    }
    if (map->wcs)
        SQ_TRY(sq_wcs_pix2sky(map->wcs, n, x, y, ra, dec));
cleanup:
    sq_free(x);
    sq_free(y);
    return rc;
}

sq_status sq_map_check_unit(sq_map *map, int plane, double *rms)
{
    enum { POINTS = 4096 };
    sq_status rc = SQ_OK;
    double *ra = NULL, *dec = NULL, sum = 0, square = 0;
    float *value = NULL;
    uint8_t *valid = NULL;
    size_t count = 0;
    SQ_TRY(check_plane(map, plane));
    const sq_map_plane *p = &map->info.plane[plane];
    if (map->source[plane].kind != 1)
        return SQ_OK;
    SQ_TRY(SQ_ALLOC(ra, POINTS, "points"));
    SQ_TRY(SQ_ALLOC(dec, POINTS, "points"));
    SQ_TRY(SQ_ALLOC(value, POINTS, "values"));
    SQ_TRY(SQ_ALLOC(valid, POINTS, "flags"));
    SQ_TRY(typical_points(map, POINTS, ra, dec));
    SQ_TRY(values(map, plane, SQ_MAP_NEAREST, POINTS, ra, dec, value, valid));
    for (size_t k = 0; k < POINTS; k++) {
        /* Zeros are the filling of unobserved parts. */
        if (!valid[k] || value[k] == 0)
            continue;
        count++;
        sum += value[k];
        square += (double)value[k] * value[k];
    }
    if (count < 2)
        SQ_TRY(sq_fail(SQ_ERR_DATA, "%s[%d]: %s: no usable pixel in %d looked at",
                       map->info.file.path, map->source[plane].hdu, p->name, POINTS));
    double mean = sum / (double)count, sigma = sqrt(fmax(0, square / (double)count - mean * mean));
    double least = strcmp(p->name, "I") == 0 ? 20 : 0.3;
    if (rms)
        *rms = sigma;
    if (!(sigma >= least && sigma <= 2000))
        rc = sq_fail(SQ_ERR_DATA,
                     "%s[%d]: %s: '%s' makes the rms of %s %.3g uK, outside %g .. 2000 of a CMB "
                     "map",
                     map->info.file.path, map->source[plane].hdu, map->source[plane].key,
                     map->source[plane].given, p->name, sigma, least);
cleanup:
    sq_free(ra);
    sq_free(dec);
    sq_free(value);
    sq_free(valid);
    return rc;
}

/* ---- pixel window ---- */

static double sinc(double x)
{
    return fabs(x) < 1e-4 ? 1 - x * x / 6 : sin(x) / x;
}

double sq_pixel_window(double side, double l)
{
    enum { STEPS = 64 }; /* of an octant: the rest is the same; exact to rounding for l side < 50 */
    double sum = 0;
    for (int k = 0; k < STEPS; k++) {
        double phi = (k + 0.5) * M_PI / 4 / STEPS;
        sum += sinc(0.5 * l * side * cos(phi)) * sinc(0.5 * l * side * sin(phi));
    }
    return sum / STEPS;
}

/* HEALPix pixels are longer than squares: a square of 1.05 times their area has their mean second
 * moment. Against the tables of the HEALPix data files at nside 512 and 2048: within 0.0008 for l <
 * nside, 0.0013 for l < 2 nside, 0.0052 for l < 3 nside (at nside 64 0.0014, 0.0025, 0.003). */
double sq_map_window(const sq_map *map, double l)
{
    double side = map->info.scale / 60 * RAD;
    return sq_pixel_window(map->info.nside ? side * sqrt(1.05) : side, l);
}
