/* Maps: statistics of the difference, pixel by pixel. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "assess/compare_report.h"
#include "base/mem.h"

enum { CELLS = 8 };

static int same_number(float a, float b)
{
    return a == b || (isnan(a) && isnan(b));
}

typedef struct sums {
    double difference, square, square_a, cell[CELLS][CELLS];
    int64_t cell_n[CELLS][CELLS];
} sums;

static void add_pixel(cmp_map *m, sums *s, float a, float b, int64_t x, int64_t y)
{
    m->different += !same_number(a, b);
    m->missing[0] += isfinite(b) && !isfinite(a);
    m->missing[1] += isfinite(a) && !isfinite(b);
    if (!isfinite(a) || !isfinite(b))
        return;
    double d = (double)b - a;
    int64_t cx = x * CELLS / m->nx, cy = y * CELLS / m->ny;
    m->pixels++;
    s->difference += d;
    s->square += d * d;
    s->square_a += (double)a * a;
    s->cell[cy][cx] += d * d;
    s->cell_n[cy][cx]++;
    if (fabs(d) > m->largest) {
        m->largest = fabs(d);
        m->x = x;
        m->y = y;
    }
}

static void finish(cmp_map *m, const sums *s)
{
    double n = (double)m->pixels;
    m->mean = n > 0 ? s->difference / n : NAN;
    m->rms = n > 0 ? sqrt(s->square / n) : NAN;
    m->rms_a = n > 0 ? sqrt(s->square_a / n) : NAN;
    m->relative = m->rms == 0 ? 0 : m->rms / m->rms_a;
    for (int y = 0; y < CELLS; y++) {
        for (int x = 0; x < CELLS; x++) {
            m->cell[y][x] = s->cell_n[y][x] ? sqrt(s->cell[y][x] / (double)s->cell_n[y][x]) : NAN;
            if (m->cell[y][x] > m->cell_rms) {
                m->cell_rms = m->cell[y][x];
                m->cell_x = x;
                m->cell_y = y;
            }
        }
    }
}

sq_status cmp_map_compare(sq_h5 *a, sq_h5 *b, const char *name, int64_t plane, cmp_map *out)
{
    sq_status rc;
    sq_dtype type;
    int rank[2];
    int64_t dim[2][8] = {{0}, {0}};
    char path[CMP_NAME + 8], *unit = NULL;
    float *pixel[2] = {NULL, NULL};
    sums s = {0};
    snprintf(path, sizeof path, "maps/%.80s", name);
    snprintf(out->name, sizeof out->name, "%.80s", name);
    SQ_TRY(sq_h5_shape(a, path, &type, &rank[0], dim[0]));
    SQ_TRY(sq_h5_shape(b, path, &type, &rank[1], dim[1]));
    out->plane = plane;
    out->ny = dim[0][1];
    out->nx = dim[0][2];
    out->same_shape = rank[0] == 3 && rank[1] == 3 && memcmp(dim[0], dim[1], sizeof dim[0]) == 0;
    if (!out->same_shape)
        goto cleanup;
    if (sq_h5_read_text(a, path, "units", &unit) == SQ_OK)
        snprintf(out->unit, sizeof out->unit, "%s", unit);
    for (int k = 0; k < 2; k++) {
        SQ_TRY(SQ_ALLOC(pixel[k], out->nx * out->ny + 1, "map"));
        SQ_TRY(sq_h5_read(k ? b : a, path, SQ_F32, plane, 1, pixel[k]));
    }
    for (int64_t y = 0; y < out->ny; y++) {
        for (int64_t x = 0; x < out->nx; x++)
            add_pixel(out, &s, pixel[0][y * out->nx + x], pixel[1][y * out->nx + x], x, y);
    }
    finish(out, &s);
cleanup:
    sq_free(unit);
    sq_free(pixel[0]);
    sq_free(pixel[1]);
    return rc;
}
