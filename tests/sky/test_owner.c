/* Ownership across overlapping tiles: a partition of the covered sky, checked against a plain
 * search over all tiles with the gnomonic projection written out (Calabretta & Greisen 2002,
 * section 5.1.3). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "sky/owner.h"
#include "sky/sphere.h"

#define RAD (M_PI / 180)

typedef struct tan_tile {
    double ra, dec, x0, y0, cd[4];
    int64_t nx, ny;
} tan_tile;

static sq_footprint open_tile(const tan_tile *t)
{
    sq_wcs *wcs;
    assert_int_equal(sq_wcs_tan(t->ra, t->dec, t->x0, t->y0, t->cd, &wcs), SQ_OK);
    return (sq_footprint){wcs, t->nx, t->ny};
}

static double tan_depth(const tan_tile *t, double ra, double dec)
{
    double d = (ra - t->ra) * RAD, s = sin(dec * RAD), c = cos(dec * RAD);
    double s0 = sin(t->dec * RAD), c0 = cos(t->dec * RAD), cosine = s0 * s + c0 * c * cos(d);
    if (cosine <= 0)
        return -INFINITY;
    double xi = c * sin(d) / cosine / RAD, eta = (c0 * s - s0 * c * cos(d)) / cosine / RAD;
    const double *m = t->cd;
    double det = m[0] * m[3] - m[1] * m[2];
    double x = t->x0 + (m[3] * xi - m[1] * eta) / det, y = t->y0 + (m[0] * eta - m[2] * xi) / det;
    /* Pixels of a tangent plane shrink away from its reference point; the tile is measured at its
     * centre. */
    double cx = 0.5 * (double)(t->nx - 1) - t->x0, cy = 0.5 * (double)(t->ny - 1) - t->y0;
    double u = (m[0] * cx + m[1] * cy) * RAD, v = (m[2] * cx + m[3] * cy) * RAD;
    double w = 1 + u * u + v * v, step[2];
    for (int k = 0; k < 2; k++) {
        double a = m[k], b = m[2 + k], along = a * u + b * v;
        /* |d/dx of the unit vector (u, v, 1)/sqrt(w)|. */
        step[k] = 3600 * sqrt((a * a + b * b) / w - along * along / (w * w));
    }
    double dx = fmin(x + 0.5, (double)t->nx - 0.5 - x), dy = fmin(y + 0.5, (double)t->ny - 0.5 - y);
    return fmin(dx * step[0], dy * step[1]);
}

static void random_tile(sq_rng *rng, double ra, double dec, tan_tile *t)
{
    double angle = sq_rng_range(rng, 0, 2 * M_PI), size = sq_rng_range(rng, 2e-4, 1e-3);
    double flip = sq_rng_u32(rng) & 1 ? -1 : 1;
    t->ra = ra;
    t->dec = dec;
    t->nx = 200 + sq_rng_u32(rng) % 2000;
    t->ny = 200 + sq_rng_u32(rng) % 2000;
    t->x0 = sq_rng_range(rng, 0, (double)t->nx);
    t->y0 = sq_rng_range(rng, 0, (double)t->ny);
    t->cd[0] = flip * size * cos(angle);
    t->cd[1] = -size * sin(angle);
    t->cd[2] = flip * size * sin(angle);
    t->cd[3] = size * cos(angle);
}

static void check_field(uint64_t seed, double ra0, double dec0, int tiles)
{
    tan_tile tile[64];
    sq_footprint print[64];
    sq_owner *owner;
    sq_rng rng;
    int covered = 0, shared = 0;
    sq_rng_init(&rng, seed, 2, 1);
    for (int i = 0; i < tiles; i++) {
        double cosine = fmax(0.02, cos(dec0 * RAD));
        double dec = fmax(-90, fmin(90, dec0 + sq_rng_range(&rng, -1, 1)));
        double ra = dec0 == 90 || dec0 == -90 ? sq_rng_range(&rng, 0, 360)
                                              : ra0 + sq_rng_range(&rng, -1, 1) / cosine;
        random_tile(&rng, sq_wrap_ra(ra), dec, &tile[i]);
        print[i] = open_tile(&tile[i]);
    }
    assert_int_equal(sq_owner_create(print, (uint32_t)tiles, &owner), SQ_OK);
    for (int k = 0; k < 4000; k++) {
        /* Half of the points lie on the edge of a tile. */
        double x, y, ra, dec;
        int i = (int)(sq_rng_u32(&rng) % (uint32_t)tiles);
        x = sq_rng_range(&rng, -0.7, 1.7) * (double)tile[i].nx;
        y = sq_rng_range(&rng, -0.7, 1.7) * (double)tile[i].ny;
        if (k & 1)
            x = k & 2 ? -0.5 : (double)tile[i].nx - 0.5;
        assert_int_equal(sq_wcs_pix2sky(print[i].wcs, 1, &x, &y, &ra, &dec), SQ_OK);
        double best = -INFINITY, second = -INFINITY;
        int64_t expected = -1, found = sq_owner_of(owner, ra, dec);
        for (int j = 0; j < tiles; j++) {
            double depth = tan_depth(&tile[j], ra, dec);
            if (depth > best) {
                second = best;
                best = depth;
                expected = j;
            } else if (depth > second) {
                second = depth;
            }
        }
        if (best < 1e-4) {
            /* Outside all tiles, or so near to the outer edge that rounding decides. */
            if (found != -1 && (best < -1e-4 || found != expected))
                fail_msg("(%.12g, %.12g): tile %lld of depth %g, but the deepest is %lld, %g", ra,
                         dec, (long long)found, tan_depth(&tile[found], ra, dec),
                         (long long)expected, best);
            continue;
        }
        covered++;
        shared += second > 0;
        if (found != expected && !(best - second < 1e-4))
            fail_msg("(%.12g, %.12g): tile %lld owns it, not %lld (%g against %g arcsec)", ra, dec,
                     (long long)expected, (long long)found, best, second);
        assert_true(found >= 0);
        assert_true(fabs(sq_owner_depth(owner, (uint32_t)expected, ra, dec) - best) < 1e-4);
    }
    assert_true(covered > 300);
    assert_true(shared >= (tiles > 10 ? 300 : 0));
    sq_owner_destroy(owner);
    for (int i = 0; i < tiles; i++)
        sq_wcs_destroy((sq_wcs *)print[i].wcs);
}

static void test_partition(void **state)
{
    (void)state;
    const double places[][2] = {{150, 2}, {0, 0}, {359.9, -45}, {0.1, 88.7}, {77, 90}, {5, -90}};
    for (uint64_t i = 0; i < 6; i++) {
        check_field(11 + i, places[i][0], places[i][1], 60);
        check_field(31 + i, places[i][0], places[i][1], 4);
    }
}

/* Equal depth: the lower number, in whatever order the tiles lie. */
static void test_ties(void **state)
{
    (void)state;
    sq_owner *owner;
    const tan_tile t = {
        .ra = 10, .dec = 20, .x0 = 50, .y0 = 50, .cd = {-1e-3, 0, 0, 1e-3}, .nx = 101, .ny = 101};
    sq_footprint print[5];
    for (int i = 0; i < 5; i++)
        print[i] = open_tile(&t);
    assert_int_equal(sq_owner_create(print, 5, &owner), SQ_OK);
    assert_int_equal(sq_owner_of(owner, 10.01, 20.01), 0);
    assert_int_equal(sq_owner_of(owner, 40, 20), -1);
    assert_int_equal(sq_owner_of(owner, NAN, 20), -1);
    assert_int_equal(sq_owner_of(owner, 10, 91), -1);
    sq_owner_destroy(owner);
    for (int i = 0; i < 5; i++)
        sq_wcs_destroy((sq_wcs *)print[i].wcs);
}

/* A few tiles far apart, one of them tiny, and none at all. */
static void test_sparse(void **state)
{
    (void)state;
    sq_owner *owner;
    assert_int_equal(sq_owner_create(NULL, 0, &owner), SQ_OK);
    assert_int_equal(sq_owner_of(owner, 1, 2), -1);
    sq_owner_destroy(owner);
    tan_tile tile[3] = {
        {.ra = 0, .dec = 0, .cd = {-1e-3, 0, 0, 1e-3}, .nx = 3, .ny = 3, .x0 = 1, .y0 = 1},
        {.ra = 180,
         .dec = 60,
         .cd = {-1e-2, 0, 0, 1e-2},
         .nx = 4000,
         .ny = 2000,
         .x0 = 2000,
         .y0 = 1000},
        {.ra = 90, .dec = -90, .cd = {-1e-3, 0, 0, 1e-3}, .nx = 101, .ny = 101, .x0 = 50, .y0 = 50},
    };
    sq_footprint print[3];
    for (int i = 0; i < 3; i++)
        print[i] = open_tile(&tile[i]);
    assert_int_equal(sq_owner_create(print, 3, &owner), SQ_OK);
    assert_int_equal(sq_owner_of(owner, 359.9995, -0.0005), 0);
    assert_int_equal(sq_owner_of(owner, 0.01, 0), -1);
    assert_int_equal(sq_owner_of(owner, 185, 62), 1);
    assert_int_equal(sq_owner_of(owner, 0, -60), -1);
    for (int ra = 0; ra < 360; ra += 10)
        assert_int_equal(sq_owner_of(owner, ra, -89.98), 2);
    sq_owner_destroy(owner);
    for (int i = 0; i < 3; i++)
        sq_wcs_destroy((sq_wcs *)print[i].wcs);
    sq_footprint none = {NULL, 10, 10};
    assert_int_equal(sq_owner_create(&none, 1, &owner), SQ_ERR_USAGE);
    assert_null(owner);
}

static void test_no_memory(void **state)
{
    (void)state;
    const tan_tile t = {.cd = {-1e-3, 0, 0, 1e-3}, .nx = 10, .ny = 10};
    sq_footprint print = open_tile(&t);
    sq_owner *owner = NULL;
    uint64_t held = sq_mem_held();
    int64_t tries = 0;
    for (; !owner && tries < 100; tries++) {
        sq_mem_fail_after(tries);
        sq_status rc = sq_owner_create(&print, 1, &owner);
        assert_int_equal(rc, owner ? SQ_OK : SQ_ERR_NOMEM);
        assert_true(owner || sq_mem_held() == held);
    }
    sq_mem_fail_after(-1);
    assert_true(tries > 5 && tries < 100);
    sq_owner_destroy(owner);
    assert_true(sq_mem_held() == held);
    sq_wcs_destroy((sq_wcs *)print.wcs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_partition),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_sparse),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
