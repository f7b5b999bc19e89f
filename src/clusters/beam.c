#include "clusters/beam.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const double ARCMIN = M_PI / 180 / 60;

typedef struct rows {
    double *x, *y;
    size_t capacity_x, capacity_y, n;
    int whole; /* all x are whole numbers */
} rows;

static sq_status read_rows(const char *path, char *text, rows *r)
{
    sq_status rc = SQ_OK;
    int line = 0;
    r->whole = 1;
    for (char *at = text, *next; at && *at; at = next) {
        char *end = strchr(at, '\n'), *rest;
        next = end ? end + 1 : NULL;
        if (end)
            *end = '\0';
        line++;
        at += strspn(at, " \t\r");
        if (*at == '#' || !*at)
            continue;
        double x = strtod(at, &rest), y = strtod(rest, &end);
        if (rest == at || end == rest || !isfinite(x) || !isfinite(y) || x < 0 ||
            (r->n && !(x > r->x[r->n - 1])))
            return sq_fail(SQ_ERR_DATA,
                           "%s:%d: not two numbers, the first of them ascending from row to row",
                           path, line);
        SQ_TRY(SQ_GROW(r->x, r->capacity_x, r->n + 1, "beam"));
        SQ_TRY(SQ_GROW(r->y, r->capacity_y, r->n + 1, "beam"));
        r->x[r->n] = x;
        r->y[r->n++] = y;
        r->whole &= x == floor(x);
    }
cleanup:
    return rc;
}

static void fill_transform(const rows *r, int lmax, double *out)
{
    size_t k = 0;
    for (int l = 0; l <= lmax; l++) {
        while (k + 1 < r->n && r->x[k + 1] < l)
            k++;
        if (l <= r->x[0])
            out[l] = r->y[0];
        else if (l > r->x[r->n - 1])
            out[l] = 0;
        else
            out[l] = r->y[k] + (r->y[k + 1] - r->y[k]) * (l - r->x[k]) / (r->x[k + 1] - r->x[k]);
        out[l] /= r->y[0];
    }
}

/* Trapezium rule over rows, by steps fine against the shortest wave. */
static void transform_profile(const rows *r, int lmax, double *out)
{
    enum { STEP_L = 20 };
    for (int l = 0; l <= lmax + STEP_L; l += STEP_L) {
        double sum = 0;
        for (size_t k = 0; k + 1 < r->n; k++) {
            double a = r->x[k] * ARCMIN, b = r->x[k + 1] * ARCMIN;
            int parts = 1 + (int)(l * (b - a) / 0.2);
            for (int i = 0; i < parts; i++) {
                double t = (i + 0.5) / parts, theta = a + t * (b - a);
                sum += (r->y[k] + t * (r->y[k + 1] - r->y[k])) * j0(l * theta) * theta * (b - a) /
                       parts;
            }
        }
        if (l <= lmax)
            out[l] = sum;
        for (int i = 1; i < STEP_L && l; i++) {
            double before = out[l - STEP_L];
            if (l - STEP_L + i <= lmax)
                out[l - STEP_L + i] = before + (sum - before) * i / STEP_L;
        }
    }
    for (int l = lmax; l >= 0; l--)
        out[l] /= out[0];
}

sq_status cluster_beam_parse(const char *path, const char *text, size_t size, int lmax, double *out)
{
    sq_status rc = SQ_OK;
    rows r = {0};
    char *copy = NULL;
    SQ_TRY(SQ_ALLOC(copy, size + 1, "beam"));
    memcpy(copy, text, size);
    SQ_TRY(read_rows(path, copy, &r));
    int transform = r.n > 1 && r.whole && r.x[r.n - 1] >= 1000;
    if (r.n < 2 || !(r.y[0] > 0) || (!transform && r.x[r.n - 1] > 600))
        SQ_TRY(sq_fail(SQ_ERR_DATA,
                       "%s: neither rows of l and b_l up to 1000 or more nor of arcmin and profile "
                       "within 600, beginning above 0",
                       path));
    if (transform)
        fill_transform(&r, lmax, out);
    else
        transform_profile(&r, lmax, out);
cleanup:
    sq_free(copy);
    sq_free(r.x);
    sq_free(r.y);
    return rc;
}

void cluster_beam_profile(const double *transfer, int lmax, double step, int n, double *out)
{
    for (int i = 0; i < n; i++) {
        double sum = 0;
        for (int l = 1; l <= lmax; l++)
            sum += l * transfer[l] * j0(l * i * step);
        out[i] = sum / (2 * M_PI);
    }
}
