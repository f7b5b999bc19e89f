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

/* The owner of some tiles, with a pool that keeps two WCS. */
typedef struct field {
    const tan_tile *tile;
    sq_wcs_pool *wcs;
    sq_owner *owner;
} field;

static sq_status solve(void *user, uint32_t number, sq_wcs **out)
{
    const tan_tile *t = &((const field *)user)->tile[number];
    return sq_wcs_tan(t->ra, t->dec, t->x0, t->y0, t->cd, out);
}

static sq_status open_field(const tan_tile *tile, uint32_t tiles, field *f)
{
    sq_footprint print[64];
    sq_status rc = SQ_OK;
    *f = (field){.tile = tile};
    SQ_TRY(sq_wcs_pool_create(tiles, 2, solve, f, &f->wcs));
    for (uint32_t i = 0; i < tiles; i++) {
        sq_wcs *wcs;
        SQ_TRY(solve(f, i, &wcs));
        rc = sq_footprint_of(wcs, tile[i].nx, tile[i].ny, &print[i]);
        sq_wcs_destroy(wcs);
        SQ_TRY(rc);
    }
    SQ_TRY(sq_owner_create(print, tiles, f->wcs, &f->owner));
cleanup:
    return rc;
}

static void close_field(field *f)
{
    sq_owner_destroy(f->owner);
    sq_wcs_pool_destroy(f->wcs);
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
    field f;
    sq_rng rng;
    int covered = 0, shared = 0;
    sq_rng_init(&rng, seed, 2, 1);
    for (int i = 0; i < tiles; i++) {
        double cosine = fmax(0.02, cos(dec0 * RAD));
        double dec = fmax(-90, fmin(90, dec0 + sq_rng_range(&rng, -1, 1)));
        double ra = dec0 == 90 || dec0 == -90 ? sq_rng_range(&rng, 0, 360)
                                              : ra0 + sq_rng_range(&rng, -1, 1) / cosine;
        random_tile(&rng, sq_wrap_ra(ra), dec, &tile[i]);
    }
    assert_int_equal(open_field(tile, (uint32_t)tiles, &f), SQ_OK);
    for (int k = 0; k < 4000; k++) {
        /* Half of the points lie on the edge of a tile. */
        double x, y, ra, dec;
        int i = (int)(sq_rng_u32(&rng) % (uint32_t)tiles);
        x = sq_rng_range(&rng, -0.7, 1.7) * (double)tile[i].nx;
        y = sq_rng_range(&rng, -0.7, 1.7) * (double)tile[i].ny;
        if (k & 1)
            x = k & 2 ? -0.5 : (double)tile[i].nx - 0.5;
        const sq_wcs *wcs;
        assert_int_equal(sq_wcs_pool_take(f.wcs, (uint32_t)i, &wcs), SQ_OK);
        assert_int_equal(sq_wcs_pix2sky(wcs, 1, &x, &y, &ra, &dec), SQ_OK);
        sq_wcs_pool_give(f.wcs, (uint32_t)i);
        double best = -INFINITY, second = -INFINITY;
        int64_t expected = -1, found = sq_owner_of(f.owner, ra, dec);
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
        assert_true(fabs(sq_owner_depth(f.owner, (uint32_t)expected, ra, dec) - best) < 1e-4);
    }
    assert_true(covered > 300);
    assert_true(shared >= (tiles > 10 ? 300 : 0));
    assert_int_equal(sq_owner_check(f.owner), SQ_OK);
    close_field(&f);
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
    field f;
    tan_tile tile[5];
    for (int i = 0; i < 5; i++)
        tile[i] = (tan_tile){.ra = 10,
                             .dec = 20,
                             .x0 = 50,
                             .y0 = 50,
                             .cd = {-1e-3, 0, 0, 1e-3},
                             .nx = 101,
                             .ny = 101};
    assert_int_equal(open_field(tile, 5, &f), SQ_OK);
    assert_int_equal(sq_owner_of(f.owner, 10.01, 20.01), 0);
    assert_int_equal(sq_owner_of(f.owner, 40, 20), -1);
    assert_int_equal(sq_owner_of(f.owner, NAN, 20), -1);
    assert_int_equal(sq_owner_of(f.owner, 10, 91), -1);
    close_field(&f);
}

/* A few tiles far apart, one of them tiny, and none at all. */
static void test_sparse(void **state)
{
    (void)state;
    field f;
    sq_footprint print;
    sq_wcs *wcs;
    assert_int_equal(open_field(NULL, 0, &f), SQ_OK);
    assert_int_equal(sq_owner_of(f.owner, 1, 2), -1);
    close_field(&f);
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
    assert_int_equal(open_field(tile, 3, &f), SQ_OK);
    assert_int_equal(sq_owner_of(f.owner, 359.9995, -0.0005), 0);
    assert_int_equal(sq_owner_of(f.owner, 0.01, 0), -1);
    assert_int_equal(sq_owner_of(f.owner, 185, 62), 1);
    assert_int_equal(sq_owner_of(f.owner, 0, -60), -1);
    for (int ra = 0; ra < 360; ra += 10)
        assert_int_equal(sq_owner_of(f.owner, ra, -89.98), 2);
    /* Points far from a tile do not need its WCS. */
    assert_int_equal(sq_wcs_pool_solved(f.wcs), 3);
    close_field(&f);
    assert_int_equal(solve(&f, 0, &wcs), SQ_OK);
    assert_int_equal(sq_footprint_of(wcs, 0, 10, &print), SQ_ERR_USAGE);
    sq_wcs_destroy(wcs);
}

static void test_no_memory(void **state)
{
    (void)state;
    const tan_tile t = {.cd = {-1e-3, 0, 0, 1e-3}, .nx = 10, .ny = 10};
    field f = {.tile = NULL};
    uint64_t held = sq_mem_held();
    int64_t tries = 0;
    for (; !f.owner && tries < 100; tries++) {
        sq_mem_fail_after(tries);
        sq_status rc = open_field(&t, 1, &f);
        assert_int_equal(rc, f.owner ? SQ_OK : SQ_ERR_NOMEM);
        if (!f.owner) {
            close_field(&f);
            assert_true(sq_mem_held() == held);
        }
    }
    sq_mem_fail_after(-1);
    assert_true(tries > 5 && tries < 100);
    /* A query whose WCS cannot be had has no answer, and the owner says so. */
    sq_mem_fail_after(0);
    assert_int_equal(sq_owner_of(f.owner, 0, 0), -1);
    sq_mem_fail_after(-1);
    assert_int_equal(sq_owner_check(f.owner), SQ_ERR_NOMEM);
    close_field(&f);
    assert_true(sq_mem_held() == held);
}

/* What is taken stays, and of the rest the pool keeps the ones used last. */
static void test_pool(void **state)
{
    (void)state;
    tan_tile tile[5];
    field f = {.tile = tile};
    const sq_wcs *wcs[5], *again;
    for (int i = 0; i < 5; i++)
        tile[i] = (tan_tile){.ra = 10.0 * i, .cd = {-1e-3, 0, 0, 1e-3}, .nx = 10, .ny = 10};
    assert_int_equal(sq_wcs_pool_create(5, 2, solve, &f, &f.wcs), SQ_OK);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(sq_wcs_pool_take(f.wcs, i, &wcs[i]), SQ_OK);
    for (uint32_t i = 0; i < 3; i++) {
        double x = 0, y = 0, ra, dec;
        assert_int_equal(sq_wcs_pix2sky(wcs[i], 1, &x, &y, &ra, &dec), SQ_OK);
        assert_true(fabs(ra - 10.0 * i) < 1e-9);
        assert_int_equal(sq_wcs_pool_take(f.wcs, i, &again), SQ_OK);
        assert_ptr_equal(again, wcs[i]);
        sq_wcs_pool_give(f.wcs, i);
    }
    assert_int_equal(sq_wcs_pool_solved(f.wcs), 3);
    sq_wcs_pool_give(f.wcs, 0);
    sq_wcs_pool_give(f.wcs, 1);
    const uint32_t asked[] = {3, 2, 1, 3, 0, 3, 1};
    const uint64_t solved[] = {4, 4, 4, 4, 5, 5, 6};
    for (int k = 0; k < 7; k++) {
        assert_int_equal(sq_wcs_pool_take(f.wcs, asked[k], &again), SQ_OK);
        assert_int_equal(sq_wcs_pool_solved(f.wcs), solved[k]);
        sq_wcs_pool_give(f.wcs, asked[k]);
    }
    sq_wcs_pool_give(f.wcs, 2);
    sq_wcs_pool_destroy(f.wcs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_partition),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_sparse),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
