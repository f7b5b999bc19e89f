#include "cli/bench_sky.h"

#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "sky/sphere.h"

enum { CORE = 32, PITCH = 20, BORDER = 10 }; /* grid lines of a core; pixels */

static const double pixel = 0.2 / 3600, jitter = 5, error = 0.5; /* deg; pixels */

static const sq_column columns[] = {
    {"ra", SQ_F64, "deg", "pos.eq.ra;meta.main", "Right ascension", 0},
    {"dec", SQ_F64, "deg", "pos.eq.dec;meta.main", "Declination", 0},
    {"depth", SQ_F32, "pix", "", "Distance from the border of the core", 1},
    {"source", SQ_I64, "", "meta.id", "Number of the source", 0},
    {"flux_u", SQ_F32, "nJy", "phot.flux", "Flux", 0},
    {"flux_g", SQ_F32, "nJy", "phot.flux", "Flux", 0},
    {"flux_r", SQ_F32, "nJy", "phot.flux", "Flux", 0},
    {"flux_i", SQ_F32, "nJy", "phot.flux", "Flux", 0},
    {"flux_z", SQ_F32, "nJy", "phot.flux", "Flux", 0},
    {"flux_error", SQ_F32, "nJy", "stat.error;phot.flux", "Error of the flux in r", 0},
    {"radius", SQ_F32, "arcsec", "phys.angSize", "Half-light radius", 0},
    {"flag", SQ_U32, "", "meta.code", "Flags", 0},
};
const sq_schema sq_bench_schema = {.name = "catalog",
                                   .description = "Synthetic sources",
                                   .count = sizeof columns / sizeof *columns,
                                   .column = columns,
                                   .ra = "ra",
                                   .dec = "dec",
                                   .depth = "depth",
                                   .border = BORDER,
                                   .radius = 0.5};

void sq_bench_sky_init(sq_bench_sky *sky, uint64_t seed, int64_t rows, int scatter)
{
    int64_t side = (int64_t)ceil(sqrt((double)rows) / CORE);
    *sky = (sq_bench_sky){seed, side, CORE * side - 1, scatter};
}

int64_t sq_bench_sky_rows(const sq_bench_sky *sky)
{
    return sky->lines * sky->lines;
}

int64_t sq_bench_sky_patches(const sq_bench_sky *sky)
{
    return sky->side * sky->side;
}

/* In (-1, 1). */
static double centred(uint64_t bits)
{
    return (double)(int32_t)(uint32_t)bits * 0x1p-31;
}

/* What a patch measures of a source. */
static void observe(const sq_bench_sky *sky, int64_t source, uint64_t patch, sq_bench_row *out)
{
    uint64_t key[3] = {sky->seed, (uint64_t)source, patch}, truth = sq_hash64(key, 16);
    uint64_t own = sq_hash64(key, sizeof key);
    double half = 0.5 * CORE * PITCH * (double)sky->side;
    double x = (double)(source % sky->lines + 1) * PITCH + jitter * centred(truth);
    double y = (double)(source / sky->lines + 1) * PITCH + jitter * centred(truth >> 32);
    double x0 = (double)(patch % (uint64_t)sky->side) * CORE * PITCH;
    double y0 = (double)(patch / (uint64_t)sky->side) * CORE * PITCH;
    memset(out, 0, sizeof *out);
    x += error * centred(own);
    y += error * centred(own >> 32);
    out->ra = sq_wrap_ra((x - half) * pixel);
    out->dec = (y - half) * pixel;
    out->depth =
        (float)fmin(fmin(x - x0, x0 + CORE * PITCH - x), fmin(y - y0, y0 + CORE * PITCH - y));
    if (sky->scatter)
        out->depth = CORE * PITCH;
    out->source = source;
    out->patch = patch;
    for (int b = 0; b < SQ_BENCH_BANDS; b++)
        out->flux[b] = (float)(uint32_t)(own >> (5 * b)) * 1e-6f;
    out->flux_error = (float)(uint32_t)(own >> 24) * 1e-8f;
    out->radius = (float)(uint32_t)(truth >> 16) * 1e-9f;
    out->flag = (uint32_t)(own >> 48);
}

static sq_status append(sq_table *out, const sq_bench_row *row, int64_t n)
{
    static const size_t at[] = {
        offsetof(sq_bench_row, ra),      offsetof(sq_bench_row, dec),
        offsetof(sq_bench_row, depth),   offsetof(sq_bench_row, source),
        offsetof(sq_bench_row, flux[0]), offsetof(sq_bench_row, flux[1]),
        offsetof(sq_bench_row, flux[2]), offsetof(sq_bench_row, flux[3]),
        offsetof(sq_bench_row, flux[4]), offsetof(sq_bench_row, flux_error),
        offsetof(sq_bench_row, radius),  offsetof(sq_bench_row, flag),
    };
    enum { COLUMNS = sizeof at / sizeof *at };
    double value[COLUMNS][SQ_BENCH_ROWS];
    const void *column[COLUMNS];
    for (int c = 0; c < COLUMNS; c++) {
        size_t width = (size_t)sq_dtype_size(columns[c].type);
        column[c] = value[c];
        for (int64_t r = 0; r < n; r++)
            memcpy((char *)value[c] + (size_t)r * width, (const char *)&row[r] + at[c], width);
    }
    return sq_table_append(out, n, column);
}

sq_status sq_bench_sky_patch(const sq_bench_sky *sky, uint64_t patch, sq_table *out)
{
    sq_bench_row row[SQ_BENCH_ROWS];
    int64_t n = 0, patches = sq_bench_sky_patches(sky);
    int64_t i = (int64_t)patch % sky->side * CORE, j = (int64_t)patch / sky->side * CORE;
    if (sky->scatter) {
        for (int64_t s = (int64_t)patch; s < sq_bench_sky_rows(sky); s += patches)
            observe(sky, s, patch, &row[n++]);
        return append(out, row, n);
    }
    for (int64_t b = j; b <= j + CORE; b++) {
        for (int64_t a = i; a <= i + CORE; a++) {
            if (a < 1 || b < 1 || a > sky->lines || b > sky->lines)
                continue;
            observe(sky, (b - 1) * sky->lines + a - 1, patch, &row[n]);
            n += row[n].depth >= -BORDER;
        }
    }
    return append(out, row, n);
}

void sq_bench_sky_source(const sq_bench_sky *sky, int64_t source, sq_bench_row *out)
{
    int64_t a = source % sky->lines + 1, b = source / sky->lines + 1;
    out->depth = -INFINITY;
    if (sky->scatter) {
        observe(sky, source, (uint64_t)(source % sq_bench_sky_patches(sky)), out);
        return;
    }
    for (int64_t j = (b - 1) / CORE; j <= b / CORE; j++) {
        for (int64_t i = (a - 1) / CORE; i <= a / CORE; i++) {
            sq_bench_row row;
            observe(sky, source, (uint64_t)(j * sky->side + i), &row);
            if (row.depth > out->depth)
                *out = row;
        }
    }
}

uint64_t sq_bench_row_hash(const sq_bench_row *row)
{
    sq_bench_row released = *row;
    released.depth = 0;
    return sq_hash64(&released, sizeof released);
}
