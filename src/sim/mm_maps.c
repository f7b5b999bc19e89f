/* The maps of an mm survey as files: what is seen in each band and split, kappa, masks. */
#include <complex.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "fits/write.h"
#include "fourier/interpolate.h"
#include "sim/mm_internal.h"

void sq_mm_path(const char *folder, int64_t field, const char *rest, char out[MM_PATH])
{
    snprintf(out, MM_PATH, "%.3900s/field-%03lld-%s", folder, (long long)field, rest);
}

static const char *weight_name(const sq_sim_mm *sim)
{
    return sim->config.weights == SQ_MM_HITS ? "hits" : "ivar";
}

static int own_weights(const sq_sim_mm *sim)
{
    return sim->config.weights == SQ_MM_FILE || sim->config.weights == SQ_MM_HITS;
}

static void map_path(const sq_sim_mm *sim, const char *folder, int64_t field, int band,
                     int64_t split, int weight, char out[MM_PATH])
{
    char rest[96], part[32] = "";
    if (sim->config.splits > 1)
        snprintf(part, sizeof part, "-split%lld", (long long)split);
    snprintf(rest, sizeof rest, "%g%s%s%s.fits", sim->config.ghz.value[band], part,
             weight ? "-" : "", weight ? weight_name(sim) : "");
    sq_mm_path(folder, field, rest, out);
}

static int is_there(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

int sq_mm_maps_are_there(const sq_sim_mm *sim, const char *folder, int64_t field)
{
    char path[MM_PATH];
    int all = 1;
    for (int b = 0; b < sim->nband; b++) {
        for (int64_t k = 0; k < sim->config.splits; k++) {
            for (int weight = 0; weight <= own_weights(sim); weight++) {
                map_path(sim, folder, field, b, k, weight, path);
                all = all && is_there(path);
            }
        }
    }
    sq_mm_path(folder, field, "kappa.fits", path);
    all = all && (!sim->config.polarisation || is_there(path));
    sq_mm_path(folder, field, "mask.fits", path);
    return all && (sim->config.hole_radius <= 0 || is_there(path));
}

/* The grid of the files, and what is read there on the field's own grid: its pixels when they are
 * the same, else a spline. */
typedef struct frame {
    sq_sim_mm *sim;
    int64_t field;
    sq_wcs *wcs;
    int64_t nx, ny;
    int own, stokes;
    float *data;              /* [stokes + 1][ny][nx]: maps and weight */
    double *sky[MM_STOKES];   /* values or coefficients, of the field's own grid */
    double *x, *y, *ra, *dec; /* of a row's pixels: places on the field's own grid and on the sky */
    mm_noise noise[MM_STOKES];
} frame;

static void to_values(const frame *f, double _Complex *modes, double *out)
{
    if (!f->own)
        sq_filter_spline(&f->sim->flat, modes);
    sq_fft_backward(f->sim->fft, modes, out);
}

static double value_at(const frame *f, const double *values, double x, double y)
{
    return f->own ? values[(int64_t)y * f->sim->flat.nx + (int64_t)x]
                  : sq_spline_value(&f->sim->flat, values, x, y);
}

/* A row's pixels; x is NaN outside the field. */
static sq_status locate(const frame *f, int64_t row)
{
    sq_status rc = SQ_OK;
    double nx = f->sim->flat.nx, ny = f->sim->flat.ny;
    for (int64_t i = 0; i < f->nx; i++) {
        f->x[i] = (double)i;
        f->y[i] = (double)row;
    }
    if (f->own && f->stokes == 1)
        return SQ_OK;
    SQ_TRY(sq_wcs_pix2sky(f->wcs, (size_t)f->nx, f->x, f->y, f->ra, f->dec));
    for (int64_t i = 0; i < f->nx && !f->own; i++) {
        double *x = &f->x[i], *y = &f->y[i];
        sq_mm_to_flat(f->sim, f->field, f->ra[i], f->dec[i], x, y);
        if (!(*x >= -0.5 && *x < nx - 0.5 && *y >= -0.5 && *y < ny - 0.5))
            *x = NAN;
    }
cleanup:
    return rc;
}

/* Q and U of the plane, about its x axis, as Q and U about north: x points west. */
static void turn(const frame *f, int64_t i, double *q, double *u)
{
    double a = 2 * sq_mm_meridian_angle(f->sim, f->field, f->ra[i], f->dec[i]), x = *q;
    *q = -(x * cos(a) - *u * sin(a));
    *u = -(x * sin(a) + *u * cos(a));
}

static void fill_pixel(frame *f, int64_t row, int64_t i)
{
    int64_t n = f->nx * f->ny, at = row * f->nx + i;
    double sky[MM_STOKES], normal[MM_STOKES], x = f->x[i], y = f->y[i];
    float *weight = &f->data[f->stokes * n + at];
    *weight = 0;
    for (int s = 0; s < f->stokes; s++) {
        normal[s] = sq_rng_normal(&f->noise[s].rng);
        f->data[s * n + at] = NAN;
    }
    if (isnan(x))
        return;
    double side = f->own ? f->sim->config.pixel : sq_wcs_scale(f->wcs, (double)i, (double)row) / 60;
    for (int s = 0; s < f->stokes; s++)
        sky[s] = value_at(f, f->sky[s], x, y);
    if (f->stokes > 1)
        turn(f, i, &sky[MM_Q], &sky[MM_U]);
    for (int s = 0; s < f->stokes; s++) {
        const mm_noise *noise = &f->noise[s];
        double depth = value_at(f, noise->depth, x, y), sigma = noise->level / side * depth;
        double excess = noise->excess ? depth * value_at(f, noise->excess, x, y) : 0;
        f->data[s * n + at] = (float)(sky[s] + excess + sigma * normal[s]);
        if (s == MM_I)
            *weight = sigma > 0 ? (float)(1 / (sigma * sigma)) : 0;
    }
}

/* The sky in a band with the noise of a split. */
static sq_status fill_split(frame *f, int band, int64_t split, double _Complex *modes)
{
    sq_status rc = SQ_OK;
    for (int s = 0; s < f->stokes; s++) {
        mm_noise *noise = &f->noise[s];
        SQ_TRY(sq_mm_noise(f->sim, f->field, band, s, split, noise));
        double *const maps[] = {noise->depth, noise->excess};
        for (int k = 0; k < 2 && !f->own; k++) {
            if (!maps[k])
                continue;
            sq_fft_forward(f->sim->fft, maps[k], modes);
            to_values(f, modes, maps[k]);
        }
    }
    for (int64_t row = 0; row < f->ny; row++) {
        SQ_TRY(locate(f, row));
        for (int64_t i = 0; i < f->nx; i++)
            fill_pixel(f, row, i);
    }
cleanup:
    for (int s = 0; s < f->stokes; s++)
        sq_mm_noise_clear(&f->noise[s]);
    return rc;
}

/* The file's units; weights as hits: 1000 times the square of the relative depth. */
static void convert(frame *f)
{
    int64_t n = f->nx * f->ny;
    const sq_sim_mm_config *c = &f->sim->config;
    float factor = c->unit ? 1e-6f : 1, most = 0, *weight = f->data + f->stokes * n;
    for (int64_t i = 0; i < f->stokes * n; i++)
        f->data[i] *= factor;
    for (int64_t i = 0; i < n; i++)
        most = fmaxf(most, weight[i]);
    int hits = c->weights == SQ_MM_HITS && most > 0;
    for (int64_t i = 0; i < n; i++)
        weight[i] = hits ? roundf(weight[i] / most * 1000) : weight[i] / (factor * factor);
}

static sq_status write_split(frame *f, int band, int64_t split, const char *folder)
{
    sq_status rc = SQ_OK;
    char path[MM_PATH];
    const sq_sim_mm_config *c = &f->sim->config;
    const char *const kelvin = c->unit ? "K" : "uK", *const weight = weight_name(f->sim);
    const char *const unit_of = c->weights == SQ_MM_HITS ? "1" : c->unit ? "K^-2" : "uK^-2";
    const char *const name[] = {"I", f->stokes > 1 ? "Q" : weight, "U", weight};
    const char *const unit[] = {kelvin, f->stokes > 1 ? kelvin : unit_of, kelvin, unit_of};
    convert(f);
    if (own_weights(f->sim)) {
        map_path(f->sim, folder, f->field, band, split, 1, path);
        SQ_TRY(sq_write_map(path, f->wcs, f->nx, f->ny, 1, &weight, &unit_of,
                            f->data + f->stokes * f->nx * f->ny));
    }
    map_path(f->sim, folder, f->field, band, split, 0, path);
    int planes = f->stokes + (c->weights == SQ_MM_PLANE);
    SQ_TRY(sq_write_map(path, f->wcs, f->nx, f->ny, planes, name, unit, f->data));
cleanup:
    return rc;
}

/* A map of the field's own grid in a file of its own; NaN outside the field. `nearest`: of pixels,
 * else of what value_at reads. */
static sq_status write_plane(frame *f, const double *values, int nearest, const char *name,
                             const char *folder)
{
    sq_status rc = SQ_OK;
    static const char *const unit = "1";
    char path[MM_PATH], rest[32];
    for (int64_t row = 0; row < f->ny; row++) {
        SQ_TRY(locate(f, row));
        for (int64_t i = 0; i < f->nx; i++) {
            double x = nearest ? floor(f->x[i] + 0.5) : f->x[i];
            double y = nearest ? floor(f->y[i] + 0.5) : f->y[i];
            f->data[row * f->nx + i] =
                isnan(x)  ? NAN
                : nearest ? (float)values[(int64_t)y * f->sim->flat.nx + (int64_t)x]
                          : (float)value_at(f, values, x, y);
        }
    }
    snprintf(rest, sizeof rest, "%s.fits", name);
    sq_mm_path(folder, f->field, rest, path);
    SQ_TRY(sq_write_map(path, f->wcs, f->nx, f->ny, 1, &name, &unit, f->data));
cleanup:
    return rc;
}

static void cut_disc(const sq_flat *flat, double x, double y, double radius, double *map)
{
    int left = (int)fmax(0, ceil(x - radius)), low = (int)fmax(0, ceil(y - radius));
    int right = (int)fmin(flat->nx - 1, floor(x + radius));
    int high = (int)fmin(flat->ny - 1, floor(y + radius));
    for (int j = low; j <= high; j++) {
        for (int i = left; i <= right; i++) {
            if (hypot(i - x, j - y) <= radius)
                map[(int64_t)j * flat->nx + i] = 0;
        }
    }
}

static sq_status write_mask(frame *f, const sq_mm_field *truth, double *map, const char *folder)
{
    const sq_sim_mm_config *c = &f->sim->config;
    const sq_flat *flat = &f->sim->flat;
    double radius = c->hole_radius / c->pixel;
    sq_rng rng;
    sq_rng_init(&rng, (uint64_t)c->seed, MM_HOLES, (uint64_t)f->field);
    for (int64_t i = 0; i < sq_flat_pixels(flat); i++)
        map[i] = 1;
    int64_t n = sq_rng_poisson(&rng, c->holes * sq_flat_area(flat) * pow(180 / M_PI, 2));
    for (int64_t k = 0; k < n; k++) {
        double x = sq_rng_uniform(&rng) * flat->nx, y = sq_rng_uniform(&rng) * flat->ny;
        cut_disc(flat, x - 0.5, y - 0.5, radius, map);
    }
    for (int64_t k = 0; k < truth->nsource && c->catalogue > 0; k++) {
        if (truth->source[k].flux >= c->catalogue)
            cut_disc(flat, truth->source[k].x, truth->source[k].y, radius, map);
    }
    return write_plane(f, map, 1, "mask", folder);
}

static sq_status write_bands(frame *f, const sq_mm_field *truth, mm_sky *sky, const char *folder)
{
    sq_status rc = SQ_OK;
    for (int b = 0; b < f->sim->nband; b++) {
        for (int s = 0; s < f->stokes; s++) {
            sq_mm_band(f->sim, f->field, b, s, truth, sky);
            to_values(f, sky->sum, f->sky[s]);
        }
        for (int64_t k = 0; k < f->sim->config.splits; k++) {
            SQ_TRY(fill_split(f, b, k, sky->sum));
            SQ_TRY(write_split(f, b, k, folder));
        }
    }
cleanup:
    return rc;
}

sq_status sq_mm_write_maps(sq_sim_mm *sim, int64_t field, const sq_mm_field *truth, mm_sky *sky,
                           const char *folder)
{
    sq_status rc = SQ_OK;
    frame f = {.sim = sim,
               .field = field,
               .own = sim->config.projection == SQ_MM_ZEA,
               .stokes = sim->config.polarisation ? MM_STOKES : 1};
    double **rows[] = {&f.x, &f.y, &f.ra, &f.dec};
    SQ_TRY(sq_sim_mm_grid(sim, field, &f.wcs, &f.nx, &f.ny));
    for (int i = 0; i < 4; i++)
        SQ_TRY(SQ_ALLOC(*rows[i], f.nx, "map row"));
    for (int s = 0; s < f.stokes; s++)
        SQ_TRY(SQ_ALLOC(f.sky[s], sq_flat_pixels(&sim->flat), "map"));
    SQ_TRY(SQ_ALLOC(f.data, (f.stokes + 1) * f.nx * f.ny, "map"));
    SQ_TRY(write_bands(&f, truth, sky, folder));
    if (sky->kappa) {
        to_values(&f, sky->kappa, sky->work);
        SQ_TRY(write_plane(&f, sky->work, 0, "kappa", folder));
    }
    if (sim->config.hole_radius > 0)
        SQ_TRY(write_mask(&f, truth, sky->work, folder));
cleanup:
    sq_wcs_destroy(f.wcs);
    sq_free(f.data);
    for (int i = 0; i < 4; i++)
        sq_free(*rows[i]);
    for (int s = 0; s < MM_STOKES; s++)
        sq_free(f.sky[s]);
    return rc;
}
