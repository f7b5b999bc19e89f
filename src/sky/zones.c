#include "sky/zones.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "sky/sphere.h"

#define RAD (M_PI / 180)

typedef struct zone_point {
    double zone, a;
    double v[3];
    int64_t index;
} zone_point;

struct sq_zones {
    sq_metric metric;
    double radius; /* deg on the sphere */
    double limit;  /* squared */
    double height; /* of a zone */
    int64_t n;
    zone_point *point;
};

static int by_zone(const void *x, const void *y)
{
    const zone_point *p = x, *q = y;
    if (p->zone != q->zone)
        return p->zone < q->zone ? -1 : 1;
    if (p->a != q->a)
        return p->a < q->a ? -1 : 1;
    return (p->index > q->index) - (p->index < q->index);
}

static int locate(const sq_zones *z, double a, double b, zone_point *out)
{
    if (!isfinite(a) || !isfinite(b) || (z->metric == SQ_METRIC_SKY && fabs(b) > 90))
        return 0;
    out->zone = floor(b / z->height);
    if (z->metric == SQ_METRIC_SKY) {
        out->a = sq_wrap_ra(a);
        sq_unit_vector(a, b, out->v);
    } else {
        out->a = out->v[0] = a;
        out->v[1] = b;
        out->v[2] = 0;
    }
    return 1;
}

sq_status sq_zones_create(sq_metric metric, int64_t n, const double *a, const double *b,
                          const uint8_t *use, double radius, sq_zones **out)
{
    sq_status rc = SQ_OK;
    sq_zones *z = NULL;
    *out = NULL;
    if (!(radius > 0) || !isfinite(radius))
        return sq_fail(SQ_ERR_USAGE, "match: a radius of %g is not positive", radius);
    SQ_TRY(SQ_ALLOC(z, 1, "matching zones"));
    SQ_TRY(SQ_ALLOC(z->point, n, "matching zones"));
    z->metric = metric;
    z->radius = metric == SQ_METRIC_SKY ? fmin(180, radius / 3600) : radius;
    double side = metric == SQ_METRIC_SKY ? 2 * sin(z->radius * RAD / 2) : radius;
    z->limit = side * side;
    z->height = metric == SQ_METRIC_SKY ? fmax(z->radius, 1e-7) : radius;
    for (int64_t i = 0; i < n; i++) {
        zone_point *p = &z->point[z->n];
        if ((use && !use[i]) || !locate(z, a[i], b[i], p))
            continue;
        p->index = i;
        z->n++;
    }
    qsort(z->point, (size_t)z->n, sizeof *z->point, by_zone);
    *out = z;
    z = NULL;
cleanup:
    sq_zones_destroy(z);
    return rc;
}

static int64_t lower_bound(const sq_zones *z, double zone, double a)
{
    int64_t low = 0, high = z->n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        const zone_point *p = &z->point[middle];
        if (p->zone < zone || (p->zone == zone && p->a < a))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static sq_status scan(const sq_zones *z, const zone_point *at, double zone, double a0, double a1,
                      sq_zone_hits *hits)
{
    for (int64_t i = lower_bound(z, zone, a0); i < z->n; i++) {
        const zone_point *p = &z->point[i];
        if (p->zone != zone || p->a > a1)
            break;
        /* Differences are antisymmetric in IEEE arithmetic: both sides of a pair get the same
         * value. */
        double x = p->v[0] - at->v[0], y = p->v[1] - at->v[1], w = p->v[2] - at->v[2];
        double d2 = x * x + y * y + w * w;
        if (d2 > z->limit)
            continue;
        sq_status rc = SQ_GROW(hits->hit, hits->capacity, hits->count + 1, "neighbours");
        if (rc != SQ_OK)
            return rc;
        hits->hit[hits->count++] = (sq_zone_hit){p->index, d2};
    }
    return SQ_OK;
}

/* Half-width in a of the window that holds every neighbour; 360 where it is the whole circle. */
static double window(const sq_zones *z, double b)
{
    if (z->metric == SQ_METRIC_PLANE)
        return z->radius;
    if (fabs(b) + z->radius >= 90 - 1e-9)
        return 360;
    return asin(fmin(1, sin(z->radius * RAD) / cos(b * RAD))) / RAD;
}

sq_status sq_zones_query(const sq_zones *z, double a, double b, sq_zone_hits *hits)
{
    sq_status rc = SQ_OK;
    zone_point at;
    hits->count = 0;
    if (!locate(z, a, b, &at))
        return SQ_OK;
    double half = window(z, b) * (1 + 1e-9) + 1e-9 * z->radius;
    int sky = z->metric == SQ_METRIC_SKY;
    for (double zone = at.zone - 1; zone <= at.zone + 1; zone++) {
        if (sky && half >= 180) {
            SQ_TRY(scan(z, &at, zone, 0, 360, hits));
            continue;
        }
        SQ_TRY(scan(z, &at, zone, at.a - half, at.a + half, hits));
        if (sky && at.a - half < 0)
            SQ_TRY(scan(z, &at, zone, at.a - half + 360, 360, hits));
        if (sky && at.a + half >= 360)
            SQ_TRY(scan(z, &at, zone, 0, at.a + half - 360, hits));
    }
cleanup:
    return rc;
}

double sq_zones_distance(const sq_zones *z, double d2)
{
    return z->metric == SQ_METRIC_SKY ? 3600 * 2 * asin(fmin(1, sqrt(d2) / 2)) / RAD : sqrt(d2);
}

void sq_zones_destroy(sq_zones *z)
{
    if (!z)
        return;
    sq_free(z->point);
    sq_free(z);
}
