/* Polygons on the sky and pairs of positions with a tolerance in magnitude. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "assess/matching.h"
#include "assess/region.h"
#include "base/mem.h"
#include "base/rng.h"
#include "sky/sphere.h"

static void depth_in_a_square(void **state)
{
    /* Half a degree around RA 0 on the equator: edges are great circles to 1e-5. */
    static const double corner[8] = {359.75, -0.25, 0.25, -0.25, 0.25, 0.25, 359.75, 0.25};
    polygon *p;
    sq_rng rng;
    (void)state;
    assert_int_equal(polygon_create(corner, 4, &p), SQ_OK);
    assert_true(fabs(polygon_depth(p, 0, 0) - 900) < 0.02);
    assert_true(fabs(polygon_depth(p, 0.24, 0) - 36) < 0.02);
    assert_true(fabs(polygon_depth(p, 359.7, 0) + 180) < 0.02);
    assert_true(polygon_depth(p, 180, 0) < -1e6);
    sq_rng_init(&rng, 1, 2, 3);
    for (int i = 0; i < 1000; i++) {
        double x = sq_rng_range(&rng, -0.4, 0.4), y = sq_rng_range(&rng, -0.4, 0.4);
        double depth = polygon_depth(p, sq_wrap_ra(x), y);
        assert_int_equal(depth > 0, fabs(x) < 0.25 && fabs(y) < 0.25);
    }
    polygon_destroy(p);
    assert_int_equal(sq_mem_held(), 0);
}

static void a_polygon_with_a_notch(void **state)
{
    static const double corner[10] = {10, 60, 12, 60, 12, 61, 11, 60.5, 10, 61};
    polygon *p;
    (void)state;
    assert_int_equal(polygon_create(corner, 5, &p), SQ_OK);
    assert_true(polygon_depth(p, 10.1, 60.8) > 0);
    assert_true(polygon_depth(p, 11, 60.7) < 0);
    assert_true(polygon_depth(p, 11, 60.3) > 0);
    polygon_destroy(p);
    assert_int_equal(polygon_create(corner, 2, &p), SQ_ERR_USAGE);
    static const double bad[6] = {0, 0, 1, 95, 2, 0};
    assert_int_equal(polygon_create(bad, 3, &p), SQ_ERR_USAGE);
    static const double wide[6] = {0, 0, 120, 0, 240, 0};
    assert_int_equal(polygon_create(wide, 3, &p), SQ_ERR_USAGE);
    assert_int_equal(sq_mem_held(), 0);
}

/* A pole lies inside a polygon around it. */
static void a_polygon_around_the_pole(void **state)
{
    static const double corner[8] = {0, 89, 90, 89, 180, 89, 270, 89};
    polygon *p;
    (void)state;
    assert_int_equal(polygon_create(corner, 4, &p), SQ_OK);
    assert_true(polygon_depth(p, 123, 90) > 2000);
    assert_true(polygon_depth(p, 0, 89.5) > 0 && polygon_depth(p, 0, 88.9) < 0);
    polygon_destroy(p);
}

enum { N = 300 };

typedef struct lists {
    double ra[2][N], dec[2][N], mag[2][N];
} lists;

static int64_t nearest(const lists *l, int from, int64_t i, double radius, double tolerance)
{
    int64_t best = -1;
    double least = radius;
    for (int64_t j = 0; j < N; j++) {
        double d = 3600 * sq_separation(l->ra[from][i], l->dec[from][i], l->ra[1 - from][j],
                                        l->dec[1 - from][j]);
        if (tolerance > 0 && fabs(l->mag[from][i] - l->mag[1 - from][j]) > tolerance)
            continue;
        if (d <= least) {
            least = d;
            best = j;
        }
    }
    return best;
}

static void pairs_against_a_full_search(void **state)
{
    static lists l;
    static int64_t match1[N], match2[N];
    sq_rng rng;
    (void)state;
    sq_rng_init(&rng, 7, 7, 7);
    for (int s = 0; s < 2; s++) {
        for (int i = 0; i < N; i++) {
            l.ra[s][i] = sq_wrap_ra(sq_rng_range(&rng, -0.003, 0.003));
            l.dec[s][i] = sq_rng_range(&rng, 45, 45.004);
            l.mag[s][i] = sq_rng_range(&rng, 20, 22);
        }
    }
    for (int k = 0; k < 2; k++) {
        double tolerance = k ? 0.4 : 0;
        int pairs = 0;
        match_list a = {N, l.ra[0], l.dec[0], l.mag[0], NULL};
        match_list b = {N, l.ra[1], l.dec[1], l.mag[1], NULL};
        assert_int_equal(match_pairs(&a, &b, 1.0, tolerance, match1, match2), SQ_OK);
        for (int64_t i = 0; i < N; i++) {
            int64_t j = nearest(&l, 0, i, 1.0, tolerance);
            int64_t expected = j >= 0 && nearest(&l, 1, j, 1.0, tolerance) == i ? j : -1;
            assert_int_equal(match1[i], expected);
            pairs += expected >= 0;
            if (expected >= 0)
                assert_int_equal(match2[expected], i);
        }
        assert_true(pairs > 20 && pairs < N);
    }
    assert_int_equal(sq_mem_held(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(depth_in_a_square),
        cmocka_unit_test(a_polygon_with_a_notch),
        cmocka_unit_test(a_polygon_around_the_pole),
        cmocka_unit_test(pairs_against_a_full_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
