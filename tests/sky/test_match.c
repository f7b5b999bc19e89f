/* Matching against a search over all pairs, and border reconciliation against simulated detections.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "sky/match.h"
#include "sky/patch.h"
#include "sky/sphere.h"

#define RAD (M_PI / 180)

enum { MANY = 700 };

static double plane_distance(double x1, double y1, double x2, double y2)
{
    return hypot(x2 - x1, y2 - y1);
}

static double sky_distance(double ra1, double dec1, double ra2, double dec2)
{
    return 3600 * sq_separation(ra1, dec1, ra2, dec2);
}

static int64_t nearest(double (*distance)(double, double, double, double), double a, double b,
                       const double *x, const double *y, double radius)
{
    int64_t best = -1;
    double least = radius;
    for (int64_t j = 0; j < MANY; j++) {
        double d = distance(a, b, x[j], y[j]);
        if (d <= least && (best < 0 || d < least)) {
            best = j;
            least = d;
        }
    }
    return best;
}

static void check_mutual(sq_metric metric, const double *a1, const double *b1, const double *a2,
                         const double *b2, double radius, int least)
{
    double (*distance)(double, double, double, double) =
        metric == SQ_METRIC_SKY ? sky_distance : plane_distance;
    int64_t match1[MANY], match2[MANY];
    double far[MANY];
    int matched = 0;
    assert_int_equal(
        sq_match_mutual(metric, MANY, a1, b1, MANY, a2, b2, radius, match1, match2, far), SQ_OK);
    for (int64_t i = 0; i < MANY; i++) {
        int64_t j = nearest(distance, a1[i], b1[i], a2, b2, radius);
        int64_t back = j < 0 ? -1 : nearest(distance, a2[j], b2[j], a1, b1, radius);
        int64_t expected = back == i ? j : -1;
        assert_int_equal(match1[i], expected);
        if (expected < 0) {
            assert_true(isnan(far[i]));
            continue;
        }
        matched++;
        assert_int_equal(match2[expected], i);
        assert_true(fabs(far[i] - distance(a1[i], b1[i], a2[j], b2[j])) < 1e-6 * radius + 1e-9);
    }
    for (int64_t j = 0; j < MANY; j++)
        assert_true(match2[j] < 0 || match1[match2[j]] == j);
    assert_true(matched >= least);
}

static void scatter(sq_rng *rng, double ra0, double dec0, double size, double *ra, double *dec)
{
    for (int i = 0; i < MANY; i++) {
        double v[3], c[3];
        sq_unit_vector(ra0, dec0, c);
        for (int k = 0; k < 3; k++)
            v[k] = c[k] + size * RAD * sq_rng_range(rng, -1, 1);
        sq_from_vector(v, &ra[i], &dec[i]);
    }
}

static void test_mutual_sky(void **state)
{
    (void)state;
    const double places[][2] = {{0, 0},    {359.99, 45},   {180, 90},
                                {20, -90}, {0.001, -89.9}, {200, 10}};
    double ra1[MANY], dec1[MANY], ra2[MANY], dec2[MANY];
    sq_rng rng;
    for (uint64_t i = 0; i < 6; i++) {
        sq_rng_init(&rng, 50, 1, i);
        for (double size = 0.01; size < 200; size *= 10) {
            scatter(&rng, places[i][0], places[i][1], size, ra1, dec1);
            scatter(&rng, places[i][0], places[i][1], size, ra2, dec2);
            check_mutual(SQ_METRIC_SKY, ra1, dec1, ra2, dec2, size * 100, 50);
        }
    }
}

static void test_mutual_plane(void **state)
{
    (void)state;
    double x1[MANY], y1[MANY], x2[MANY], y2[MANY];
    sq_rng rng;
    sq_rng_init(&rng, 51, 1, 1);
    for (int grid = 0; grid < 2; grid++) {
        for (int i = 0; i < MANY; i++) {
            double s = grid ? 20 : 100;
            x1[i] = sq_rng_range(&rng, -s, s);
            y1[i] = sq_rng_range(&rng, -s, s);
            x2[i] = sq_rng_range(&rng, -s, s);
            y2[i] = sq_rng_range(&rng, -s, s);
            /* On a lattice most distances are exact ties. */
            if (grid) {
                x1[i] = floor(x1[i]);
                y1[i] = floor(y1[i]);
                x2[i] = floor(x2[i]);
                y2[i] = floor(y2[i]);
            }
        }
        check_mutual(SQ_METRIC_PLANE, x1, y1, x2, y2, 3, 100);
    }
}

static void test_odd_input(void **state)
{
    (void)state;
    double a[3] = {NAN, 10, 20}, b[3] = {0, INFINITY, 5};
    int64_t match[3];
    uint64_t patch[3] = {1, 1, 2}, row[3] = {7, 7, 7};
    double depth[3] = {0, 1, -1};
    uint8_t keep[3];
    assert_int_equal(sq_match_mutual(SQ_METRIC_SKY, 3, a, b, 3, a, b, 1, match, NULL, NULL), SQ_OK);
    assert_true(match[0] == -1 && match[1] == -1 && match[2] == 2);
    assert_int_equal(sq_match_mutual(SQ_METRIC_SKY, 0, a, b, 3, a, b, 1, match, NULL, NULL), SQ_OK);
    assert_int_equal(sq_match_mutual(SQ_METRIC_PLANE, 3, a, b, 3, a, b, 0, match, NULL, NULL),
                     SQ_ERR_USAGE);
    assert_int_equal(sq_reconcile(3, a, b, patch, row, depth, NULL, 1, keep, NULL), SQ_ERR_USAGE);
    row[1] = 8;
    assert_int_equal(sq_reconcile(3, a, b, patch, row, depth, NULL, NAN, keep, NULL), SQ_ERR_USAGE);
    assert_int_equal(sq_reconcile(3, a, b, patch, row, depth, NULL, 1, keep, NULL), SQ_OK);
    assert_true(keep[0] == 1 && keep[1] == 1 && keep[2] == 0);
    assert_int_equal(sq_reconcile(0, a, b, patch, row, depth, NULL, 1, keep, NULL), SQ_OK);
}

/* The rules of a seam one by one: rows a (patch 5) and b (patch 3), `gap` arcsec apart. */
static void seam(double gap, double depth_a, double depth_b, int band, int keep_a, int keep_b)
{
    double ra[2] = {100, 100}, dec[2] = {0, gap / 3600}, depth[2] = {depth_a, depth_b};
    uint64_t patch[2] = {5, 3}, row[2] = {0, 0};
    uint8_t in_band[2] = {1, (uint8_t)band}, keep[2];
    int64_t winner[2];
    assert_int_equal(sq_reconcile(2, ra, dec, patch, row, depth, in_band, 1, keep, winner), SQ_OK);
    assert_int_equal(keep[0], keep_a);
    assert_int_equal(keep[1], keep_b);
    int together = band && gap <= 1;
    assert_int_equal(winner[0], keep_a ? 0 : together ? 1 : -1);
    assert_int_equal(winner[1], keep_b ? 1 : together ? 0 : -1);
}

static void test_seam(void **state)
{
    (void)state;
    seam(0.5, 0.2, 0.1, 1, 1, 0); /* each claims it: the deeper one */
    seam(0.5, 0.1, 0.2, 1, 0, 1);
    seam(0.5, -0.1, -0.2, 1, 1, 0); /* each gives it away: not lost */
    seam(0.5, -0.2, 0.1, 1, 0, 1);
    seam(0.5, 0.1, 0.1, 1, 0, 1);     /* a tie: the lower patch */
    seam(1.5, 0.2, 0.1, 1, 1, 1);     /* two sources */
    seam(1.5, -0.2, -1e-30, 1, 0, 0); /* alone, in the other's core */
    seam(1.5, 0, -1e-30, 1, 1, 0);
    seam(0.5, 0.2, 0.1, 0, 1, 1); /* outside the band nothing is grouped */
}

typedef struct detections {
    size_t n, capacity[7];
    double *ra, *dec, *depth;
    uint64_t *patch, *row, *source;
    uint8_t *band;
} detections;

static void add(detections *d, double ra, double dec, uint64_t patch, double depth, uint64_t source)
{
    size_t need = d->n + 1;
    assert_int_equal(SQ_GROW(d->ra, d->capacity[0], need, "test"), SQ_OK);
    assert_int_equal(SQ_GROW(d->dec, d->capacity[1], need, "test"), SQ_OK);
    assert_int_equal(SQ_GROW(d->depth, d->capacity[2], need, "test"), SQ_OK);
    assert_int_equal(SQ_GROW(d->patch, d->capacity[3], need, "test"), SQ_OK);
    assert_int_equal(SQ_GROW(d->row, d->capacity[4], need, "test"), SQ_OK);
    assert_int_equal(SQ_GROW(d->source, d->capacity[5], need, "test"), SQ_OK);
    assert_int_equal(SQ_GROW(d->band, d->capacity[6], need, "test"), SQ_OK);
    d->ra[d->n] = ra;
    d->dec[d->n] = dec;
    d->depth[d->n] = depth;
    d->patch[d->n] = patch;
    d->row[d->n] = d->n;
    d->source[d->n] = source;
    d->band[d->n] = fabs(depth) <= 4;
    d->n++;
}

static void release(detections *d)
{
    sq_free(d->ra);
    sq_free(d->dec);
    sq_free(d->depth);
    sq_free(d->patch);
    sq_free(d->row);
    sq_free(d->source);
    sq_free(d->band);
}

static void swap_rows(detections *d, size_t i, size_t j)
{
#define SWAP(field)                                                                                \
    do {                                                                                           \
        __typeof__(*d->field) t = d->field[i];                                                     \
        d->field[i] = d->field[j];                                                                 \
        d->field[j] = t;                                                                           \
    } while (0)
    SWAP(ra);
    SWAP(dec);
    SWAP(depth);
    SWAP(patch);
    SWAP(row);
    SWAP(source);
    SWAP(band);
#undef SWAP
}

/* keep[] by (unique) row number, so that runs on permuted rows can be compared. */
static void reconcile(const detections *d, double radius, uint8_t *kept)
{
    uint8_t *keep;
    assert_int_equal(SQ_ALLOC(keep, d->n, "test"), SQ_OK);
    assert_int_equal(sq_reconcile((int64_t)d->n, d->ra, d->dec, d->patch, d->row, d->depth, d->band,
                                  radius, keep, NULL),
                     SQ_OK);
    for (size_t i = 0; i < d->n; i++)
        kept[d->row[i]] = keep[i];
    sq_free(keep);
}

static void shuffle(detections *d, sq_rng *rng)
{
    for (size_t i = d->n - 1; i > 0; i--)
        swap_rows(d, i, sq_rng_u64(rng) % (i + 1));
}

/* True sources on and near the borders of random patches, at least `apart` arcsec from each other.
 */
static size_t place_sources(sq_rng *rng, const sq_tiling *t, double pixel, size_t want,
                            double apart, double *ra, double *dec)
{
    size_t n = 0;
    for (int trial = 0; n < want && trial < 20000; trial++) {
        sq_patch p;
        uint32_t kind = sq_rng_u32(rng);
        assert_int_equal(sq_tiling_patch(t, sq_rng_u64(rng) % sq_tiling_count(t), &p), SQ_OK);
        double a = sq_rng_range(rng, p.ra0, p.ra1), d = sq_rng_range(rng, p.dec0, p.dec1);
        if (kind & 1)
            a = kind & 2 ? p.ra0 : p.ra1;
        if (kind & 4)
            d = kind & 8 ? p.dec0 : p.dec1;
        if (kind & 16) {
            a += 4 * pixel * sq_rng_normal(rng);
            d += pixel * sq_rng_normal(rng);
        }
        if (n < 2)
            d = n ? 90 : -90;
        if (n >= 2 && n < 40)
            a = 0;
        a = sq_wrap_ra(a);
        d = fmax(-90, fmin(90, d));
        int clear = 1;
        for (size_t i = 0; i < n && clear; i++)
            clear = sky_distance(a, d, ra[i], dec[i]) > apart;
        if (!clear)
            continue;
        ra[n] = a;
        dec[n++] = d;
    }
    return n;
}

/* Each patch sees each source in its core or in the band around it, displaced by its own noise of
 * at most `noise` arcsec, and gives the displaced position's depth. */
static void observe(sq_rng *rng, const sq_tiling *t, double pixel, double noise, uint64_t source,
                    double ra, double dec, detections *out)
{
    for (uint64_t i = 0; i < sq_tiling_count(t); i++) {
        sq_patch p;
        double v[3], c[3], a, d;
        assert_int_equal(sq_tiling_patch(t, i, &p), SQ_OK);
        if (sq_tiling_depth(t, &p, ra, dec) < -3)
            continue;
        sq_unit_vector(ra, dec, c);
        for (int k = 0; k < 3; k++)
            v[k] = c[k] + noise / sqrt(3) / 3600 * RAD * sq_rng_range(rng, -1, 1);
        sq_from_vector(v, &a, &d);
        add(out, a, d, i, sq_tiling_depth(t, &p, a, d), source);
    }
    (void)pixel;
}

static void check_borders(uint64_t seed, double core)
{
    enum { SOURCES = 400 };
    double ra[SOURCES], dec[SOURCES];
    detections d = {0};
    sq_tiling *t;
    sq_rng rng;
    uint8_t *first, *again;
    size_t alone = 0;
    sq_patch_shape shape = {64, 8, 1};
    double pixel = core / shape.core, noise = 0.8 * pixel * 3600, radius = 2.1 * noise;
    sq_rng_init(&rng, seed, 3, 1);
    assert_int_equal(sq_tiling_rings(60 * pixel, shape, &t), SQ_OK);
    size_t n = place_sources(&rng, t, pixel, SOURCES, 2 * radius + 2.1 * noise, ra, dec);
    assert_true(n > 100);
    for (size_t i = 0; i < n; i++)
        observe(&rng, t, pixel, noise, i, ra[i], dec[i], &d);
    assert_true(d.n > n * 3 / 2);
    assert_int_equal(SQ_ALLOC(first, d.n, "test"), SQ_OK);
    assert_int_equal(SQ_ALLOC(again, d.n, "test"), SQ_OK);
    reconcile(&d, radius, first);
    for (size_t i = 0; i < n; i++) {
        size_t rows = 0, kept = 0, owned = 0;
        for (size_t k = 0; k < d.n; k++) {
            rows += d.source[k] == i;
            kept += d.source[k] == i && first[k];
            owned += d.source[k] == i && d.depth[k] >= 0;
        }
        alone += owned != 1;
        if (kept != 1)
            fail_msg("core %g: source (%.9g, %.9g) with %zu rows is kept %zu times", core, ra[i],
                     dec[i], rows, kept);
    }
    /* Ownership alone would have lost or doubled some. */
    assert_true(alone > 0);
    for (int k = 0; k < 5; k++) {
        shuffle(&d, &rng);
        reconcile(&d, radius, again);
        assert_memory_equal(first, again, d.n);
    }
    sq_free(first);
    sq_free(again);
    release(&d);
    sq_tiling_destroy(t);
}

static void test_borders(void **state)
{
    (void)state;
    const double cores[] = {40, 20, 11, 6};
    for (uint64_t i = 0; i < 4; i++)
        check_borders(60 + i, cores[i]);
}

/* The same on the pixel grid of a tile, for patches of any size: sources on seams and corners of
 * the bricks, the tile across ra 0 or on a pole. */
static void check_bricks(uint64_t seed, double ra0, double dec0, int core)
{
    enum { SOURCES = 300, NX = 900, NY = 700 };
    const double cd[4] = {-1e-4, 2e-5, 2e-5, 1e-4};
    double xs[SOURCES], ys[SOURCES];
    detections d = {0};
    sq_tiling *t;
    sq_wcs *wcs;
    sq_rng rng;
    uint8_t kept[SOURCES * 16], shuffled[SOURCES * 16];
    const double noise = 0.7, pixel = 3600 * hypot(cd[0], cd[2]), radius = 2.05 * noise * pixel;
    sq_patch_shape shape = {core, 8, 1};
    size_t n = 0, unsure = 0;
    sq_rng_init(&rng, seed, 4, (uint64_t)core);
    assert_int_equal(sq_wcs_tan(ra0, dec0, NX / 2.0, NY / 2.0, cd, &wcs), SQ_OK);
    assert_int_equal(sq_tiling_bricks(NX, NY, shape, wcs, &t), SQ_OK);
    for (int trial = 0; n < SOURCES && trial < 20000; trial++) {
        sq_patch p;
        uint32_t kind = sq_rng_u32(&rng);
        assert_int_equal(sq_tiling_patch(t, sq_rng_u64(&rng) % sq_tiling_count(t), &p), SQ_OK);
        double x = sq_rng_range(&rng, (double)p.x0, (double)p.x1), y = (double)p.y0 - 0.5;
        if (kind & 1)
            x = (double)p.x0 - 0.5;
        if (kind & 2)
            y = sq_rng_range(&rng, (double)p.y0, (double)p.y1);
        int clear = x > 3 && y > 3 && x < NX - 4 && y < NY - 4;
        for (size_t i = 0; i < n && clear; i++)
            clear = hypot(x - xs[i], y - ys[i]) > 4.2 * noise + 2 * noise;
        if (!clear)
            continue;
        xs[n] = x;
        ys[n++] = y;
    }
    assert_true(n > 100);
    for (size_t i = 0; i < n; i++) {
        for (uint64_t k = 0; k < sq_tiling_count(t); k++) {
            sq_patch p;
            double ra, dec, angle = sq_rng_range(&rng, 0, 2 * M_PI),
                            r = noise * sq_rng_uniform(&rng);
            double x = xs[i] + r * cos(angle), y = ys[i] + r * sin(angle);
            assert_int_equal(sq_tiling_patch(t, k, &p), SQ_OK);
            if (sq_tiling_depth(t, &p, xs[i], ys[i]) < -3)
                continue;
            assert_int_equal(sq_wcs_pix2sky(wcs, 1, &x, &y, &ra, &dec), SQ_OK);
            add(&d, ra, dec, k, sq_tiling_depth(t, &p, x, y), i);
        }
    }
    assert_true(d.n <= SOURCES * 16);
    reconcile(&d, radius, kept);
    for (size_t i = 0; i < n; i++) {
        size_t count = 0, owned = 0;
        for (size_t k = 0; k < d.n; k++) {
            count += d.source[k] == i && kept[k];
            owned += d.source[k] == i && d.depth[k] >= 0;
        }
        unsure += owned != 1;
        if (count != 1)
            fail_msg("core %d: source (%g, %g) is kept %zu times", core, xs[i], ys[i], count);
    }
    assert_true(unsure > 0);
    shuffle(&d, &rng);
    reconcile(&d, radius, shuffled);
    assert_memory_equal(kept, shuffled, d.n);
    release(&d);
    sq_tiling_destroy(t);
    sq_wcs_destroy(wcs);
}

static void test_bricks(void **state)
{
    (void)state;
    const double places[][2] = {{180, 20}, {0, 0}, {359.99, 60}, {0, 89.99}, {45, -90}};
    const int cores[] = {24, 33, 64, 96, 200, 256};
    for (uint64_t i = 0; i < 5; i++) {
        for (int k = 0; k < 6; k++)
            check_bricks(80 + i, places[i][0], places[i][1], cores[k]);
    }
}

/* Crowded rows of many patches with no clean answer: still the same for any order of the input, and
 * never two rows of one patch merged. */
static void test_crowd(void **state)
{
    (void)state;
    enum { ROWS = 3000 };
    sq_rng rng;
    detections d = {0};
    uint8_t first[ROWS], again[ROWS];
    int64_t winner[ROWS];
    uint8_t keep[ROWS];
    sq_rng_init(&rng, 70, 1, 1);
    for (int i = 0; i < ROWS; i++) {
        /* A coarse lattice, for exact ties of distance and depth. */
        double ra = floor(sq_rng_range(&rng, 0, 40)) / 7200,
               dec = floor(sq_rng_range(&rng, 0, 40)) / 7200;
        add(&d, ra, dec, sq_rng_u32(&rng) % 6, floor(sq_rng_range(&rng, -3, 3)), 0);
    }
    reconcile(&d, 1.2, first);
    for (int k = 0; k < 10; k++) {
        shuffle(&d, &rng);
        reconcile(&d, 1.2, again);
        assert_memory_equal(first, again, ROWS);
    }
    assert_int_equal(
        sq_reconcile(ROWS, d.ra, d.dec, d.patch, d.row, d.depth, NULL, 1.2, keep, winner), SQ_OK);
    for (int i = 0; i < ROWS; i++) {
        assert_true(winner[i] < 0 ? !keep[i] && d.depth[i] < 0 : keep[winner[i]]);
        for (int j = 0; j < i; j++)
            assert_false(winner[i] >= 0 && winner[i] == winner[j] && d.patch[i] == d.patch[j]);
    }
    release(&d);
}

/* Whatever allocation fails: an error, and nothing held. */
static void test_no_memory(void **state)
{
    (void)state;
    enum { ROWS = 40 };
    double ra[ROWS], dec[ROWS], depth[ROWS];
    uint64_t patch[ROWS], row[ROWS], held = sq_mem_held();
    int64_t match[ROWS];
    uint8_t keep[ROWS];
    sq_status rc = SQ_ERR_NOMEM;
    for (int i = 0; i < ROWS; i++) {
        ra[i] = dec[i] = i / 3 * 1e-4;
        depth[i] = i % 3;
        patch[i] = (uint64_t)(i % 3);
        row[i] = (uint64_t)i;
    }
    int64_t tries = 0;
    for (; rc != SQ_OK && tries < 100; tries++) {
        sq_mem_fail_after(tries);
        rc = sq_reconcile(ROWS, ra, dec, patch, row, depth, NULL, 0.1, keep, NULL);
        assert_true(rc == SQ_OK || rc == SQ_ERR_NOMEM);
        assert_true(sq_mem_held() == held);
    }
    assert_true(tries > 5 && tries < 100);
    for (rc = SQ_ERR_NOMEM, tries = 0; rc != SQ_OK && tries < 100; tries++) {
        sq_mem_fail_after(tries);
        rc = sq_match_mutual(SQ_METRIC_SKY, ROWS, ra, dec, ROWS, ra, dec, 0.1, match, NULL, NULL);
        assert_true(rc == SQ_OK || rc == SQ_ERR_NOMEM);
        assert_true(sq_mem_held() == held);
    }
    sq_mem_fail_after(-1);
    assert_true(tries > 5 && tries < 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mutual_sky), cmocka_unit_test(test_mutual_plane),
        cmocka_unit_test(test_odd_input),  cmocka_unit_test(test_seam),
        cmocka_unit_test(test_borders),    cmocka_unit_test(test_bricks),
        cmocka_unit_test(test_crowd),      cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
