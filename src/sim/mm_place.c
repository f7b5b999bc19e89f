/* Where the fields of an mm survey lie, and the grids of their maps. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "sim/mm_internal.h"
#include "sky/sphere.h"

static const double DEG = M_PI / 180;
enum { BORDER = 64, CARD = 80, MAP_MAX = 1 << 29 };

/* Circles around the fields, `apart` from centre to centre, on rings of declination: the first
 * field's ring, then those to the north and south of it in turn. */
static int64_t ring_fields(double dec, double apart)
{
    double s = sin(0.5 * apart * DEG) / cos(dec * DEG);
    return s >= 1 ? 1 : (int64_t)floor(M_PI / asin(s) + 1e-9);
}

sq_status sq_mm_place(sq_sim_mm *sim)
{
    sq_status rc = SQ_OK;
    const sq_sim_mm_config *c = &sim->config;
    double side = (double)c->side * c->pixel / 60, apart = side * sqrt(2) + c->gap;
    int64_t placed = 0;
    /* An equal-area square holds its corners up to a distance of 2 sin(rho / 2) = side / sqrt(2).
     */
    if (side * DEG / sqrt(2) > 1)
        return sq_fail(SQ_ERR_CONFIG, "side: a field of %.0f degrees is too large", side);
    SQ_TRY(SQ_ALLOC(sim->centre, 2 * c->fields, "fields"));
    for (int k = 0; placed < c->fields && k < 2 * (int)(180 / apart) + 2; k++) {
        double dec = c->dec + (k % 2 ? 1 : -1) * ((k + 1) / 2) * apart;
        if (fabs(dec) > 90)
            continue;
        int64_t n = ring_fields(dec, apart);
        for (int64_t i = 0; i < n && placed < c->fields; i++, placed++) {
            sim->centre[2 * placed] = sq_wrap_ra(c->ra + 360.0 * (double)i / (double)n);
            sim->centre[2 * placed + 1] = dec;
        }
    }
    sim->placed = placed; /* fields that are drawn only need no place */
cleanup:
    return rc;
}

void sq_sim_mm_centre(const sq_sim_mm *sim, int64_t field, double *ra, double *dec)
{
    *ra = sim->centre[2 * field];
    *dec = sim->centre[2 * field + 1];
}

void sq_mm_to_flat(const sq_sim_mm *sim, int64_t field, double ra, double dec, double *x, double *y)
{
    double u, v, side = sim->config.pixel / 60;
    sq_project_zea(sim->centre[2 * field], sim->centre[2 * field + 1], ra, dec, &u, &v);
    *x = 0.5 * (sim->flat.nx - 1) - u / side;
    *y = 0.5 * (sim->flat.ny - 1) + v / side;
}

double sq_mm_meridian_angle(const sq_sim_mm *sim, int64_t field, double ra, double dec)
{
    /* One of Napier's analogies. */
    double east = 0.5 * remainder(ra - sim->centre[2 * field], 360) * DEG;
    double dec0 = sim->centre[2 * field + 1];
    return 2 * atan2(sin(east) * sin(0.5 * (dec + dec0) * DEG),
                     cos(east) * cos(0.5 * (dec - dec0) * DEG));
}

typedef struct extent {
    double left, right, low, high; /* deg; of right ascension from the centre, and of declination */
} extent;

/* The box in right ascension and declination around a field. */
static sq_status field_extent(const sq_sim_mm *sim, int64_t field, const sq_wcs *zea, extent *out)
{
    sq_status rc = SQ_OK;
    double ra0 = sim->centre[2 * field], nx = sim->flat.nx, x, y, ra, dec;
    *out = (extent){180, -180, 90, -90};
    for (int i = 0; i < 4 * BORDER; i++) {
        double t = -0.5 + nx * (i % BORDER) / BORDER, far = nx - 0.5;
        const double corner[4][2] = {{t, -0.5}, {far, t}, {far - t - 0.5, far}, {-0.5, t}};
        x = corner[i / BORDER][0];
        y = corner[i / BORDER][1];
        SQ_TRY(sq_wcs_pix2sky(zea, 1, &x, &y, &ra, &dec));
        double off = remainder(ra - ra0, 360);
        out->left = fmin(out->left, off);
        out->right = fmax(out->right, off);
        out->low = fmin(out->low, dec);
        out->high = fmax(out->high, dec);
    }
    for (int pole = -1; pole <= 1; pole += 2) {
        sq_mm_to_flat(sim, field, ra0, 90.0 * pole, &x, &y);
        if (fabs(x - 0.5 * (nx - 1)) > 0.5 * nx || fabs(y - 0.5 * (nx - 1)) > 0.5 * nx)
            continue;
        out->left = -180;
        out->right = 180;
        *(pole > 0 ? &out->high : &out->low) = 90.0 * pole;
    }
cleanup:
    return rc;
}

typedef struct grid {
    const char *code;
    double ra, dec; /* CRVAL */
    double x, y;    /* CRPIX */
    double step_x, step_y;
    double lambda; /* PV2_1 of CEA; 0: none */
    int64_t nx, ny;
} grid;

static void put(char **at, const char *key, double value)
{
    *at += sprintf(*at, "%-8s= %20.14G%50s", key, value, "");
}

static void put_text(char **at, const char *key, const char *value)
{
    char quoted[32];
    snprintf(quoted, sizeof quoted, "'%-8s'", value);
    *at += sprintf(*at, "%-8s= %-70s", key, quoted);
}

static sq_status make_wcs(const grid *g, sq_wcs **out)
{
    char header[20 * CARD + 1], type[16], *at = header;
    put(&at, "NAXIS", 2);
    put(&at, "NAXIS1", (double)g->nx);
    put(&at, "NAXIS2", (double)g->ny);
    snprintf(type, sizeof type, "RA---%s", g->code);
    put_text(&at, "CTYPE1", type);
    snprintf(type, sizeof type, "DEC--%s", g->code);
    put_text(&at, "CTYPE2", type);
    put_text(&at, "CUNIT1", "deg");
    put_text(&at, "CUNIT2", "deg");
    put(&at, "CRVAL1", g->ra);
    put(&at, "CRVAL2", g->dec);
    put(&at, "CRPIX1", g->x);
    put(&at, "CRPIX2", g->y);
    put(&at, "CDELT1", g->step_x);
    put(&at, "CDELT2", g->step_y);
    put_text(&at, "RADESYS", "ICRS");
    /* A zenithal grid at a pole has its north up by this, a cylindrical one needs none. */
    if (g->dec != 0 || strcmp(g->code, "ZEA") == 0 || strcmp(g->code, "TAN") == 0)
        put(&at, "LONPOLE", 180);
    if (g->lambda > 0)
        put(&at, "PV2_1", g->lambda);
    return sq_wcs_from_header(header, "mm field", out);
}

static grid zenithal(const sq_sim_mm *sim, int64_t field, const char *code)
{
    double step = sim->config.pixel / 60;
    int64_t n = sim->config.side;
    return (grid){.code = code,
                  .ra = sim->centre[2 * field],
                  .dec = sim->centre[2 * field + 1],
                  .x = 0.5 * (double)(n + 1),
                  .y = 0.5 * (double)(n + 1),
                  .step_x = -step,
                  .step_y = step,
                  .nx = n,
                  .ny = n};
}

/* Pixels that are square at the field's centre (but for CAR, the sides of whose pixels are those of
 * right ascension and declination). */
static grid cylindrical(const sq_sim_mm *sim, int64_t field, const extent *e, int equal_area)
{
    double step = sim->config.pixel / 60, middle = cos(0.5 * (e->low + e->high) * DEG);
    double low = e->low, high = e->high;
    grid g = {.code = "CAR", .ra = sim->centre[2 * field]};
    if (equal_area) {
        middle = fmax(middle, 0.3);
        g.code = "CEA";
        g.lambda = middle * middle;
        step /= middle;
        low = sin(low * DEG) / (g.lambda * DEG);
        high = sin(high * DEG) / (g.lambda * DEG);
    }
    /* A whole number of pixels in 360 degrees. */
    step = 360 / round(360 / step);
    double left = floor(e->left / step), right = ceil(e->right / step);
    double down = floor(low / step + 1e-9), up = ceil(high / step - 1e-9);
    int whole = e->right - e->left >= 360;
    g.step_x = -step;
    g.step_y = step;
    g.nx = (int64_t)(right - left) + !whole;
    g.ny = (int64_t)(up - down) + 1;
    g.x = right + 1;
    g.y = 1 - down;
    return g;
}

sq_status sq_mm_own_grid(const sq_sim_mm *sim, int64_t field, sq_wcs **out)
{
    grid g = zenithal(sim, field, "ZEA");
    return make_wcs(&g, out);
}

sq_status sq_sim_mm_grid(const sq_sim_mm *sim, int64_t field, sq_wcs **wcs, int64_t *nx,
                         int64_t *ny)
{
    sq_status rc = SQ_OK;
    sq_wcs *zea = NULL;
    grid g = zenithal(sim, field, "ZEA");
    extent e;
    *wcs = NULL;
    SQ_TRY(sq_mm_own_grid(sim, field, &zea));
    switch ((sq_mm_projection)sim->config.projection) {
    case SQ_MM_ZEA:
        *wcs = zea;
        zea = NULL;
        break;
    case SQ_MM_TAN:
        g = zenithal(sim, field, "TAN");
        SQ_TRY(make_wcs(&g, wcs));
        break;
    case SQ_MM_CAR:
    case SQ_MM_CEA:
        SQ_TRY(field_extent(sim, field, zea, &e));
        g = cylindrical(sim, field, &e, sim->config.projection == SQ_MM_CEA);
        SQ_TRY(make_wcs(&g, wcs));
        break;
    }
    if (g.nx * g.ny > MAP_MAX)
        rc = sq_fail(SQ_ERR_CONFIG, "projection: field %lld would be a map of %lld x %lld pixels",
                     (long long)field, (long long)g.nx, (long long)g.ny);
    *nx = g.nx;
    *ny = g.ny;
cleanup:
    sq_wcs_destroy(zea);
    if (rc != SQ_OK) {
        sq_wcs_destroy(*wcs);
        *wcs = NULL;
    }
    return rc;
}
