#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/rng.h"
#include "sky/sphere.h"

#define RAD (M_PI / 180)

static void test_wrap(void **state)
{
    (void)state;
    assert_true(sq_wrap_ra(0) == 0);
    assert_true(sq_wrap_ra(360) == 0);
    assert_true(sq_wrap_ra(-90) == 270);
    assert_true(sq_wrap_ra(725) == 5);
    assert_true(sq_wrap_ra(-1e-300) == 0);
    assert_true(sq_wrap_ra(nextafter(360, 0)) < 360);
}

/* astropy.coordinates.angular_separation in degrees:
 * for a in
 * [(10,20,10.0001,20.0001),(0,90,123,-90),(359.9999,0,0.0001,0),(45,-30,225,30),(12,34,56,-78)]:
 *     print(repr(np.degrees(angular_separation(*np.radians(a))))) */
static void test_separation(void **state)
{
    (void)state;
    const double known[][5] = {
        {10, 20, 10.0001, 20.0001, 0.00013722323639298682},
        {0, 90, 123, -90, 180},
        {359.9999, 0, 0.0001, 0, 0.00020000000000000001},
        {45, -30, 225, 30, 180},
        {12, 34, 56, -78, 115.02306296614343},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        double d = sq_separation(known[i][0], known[i][1], known[i][2], known[i][3]);
        assert_true(fabs(d - known[i][4]) < 1e-10);
    }
    assert_true(sq_separation(77, 12, 77, 12) == 0);
    /* A milliarcsecond keeps nine digits. */
    double mas = 1 / 3.6e6;
    assert_true(fabs(sq_separation(200, 0, 200, mas) / mas - 1) < 1e-9);
}

static void test_vectors(void **state)
{
    (void)state;
    sq_rng rng;
    sq_rng_init(&rng, 1, 1, 1);
    for (int i = 0; i < 10000; i++) {
        double ra = sq_rng_range(&rng, 0, 360), dec = sq_rng_range(&rng, -89.99, 89.99), v[3], a, d;
        sq_unit_vector(ra, dec, v);
        assert_true(fabs(v[0] * v[0] + v[1] * v[1] + v[2] * v[2] - 1) < 1e-15);
        for (int k = 0; k < 3; k++)
            v[k] *= 7;
        sq_from_vector(v, &a, &d);
        assert_true(sq_separation(ra, dec, a, d) < 1e-12);
    }
    const double pole[3] = {0, 0, -2};
    double ra, dec;
    sq_from_vector(pole, &ra, &dec);
    assert_true(ra == 0 && dec == -90);
}

static void test_projection(void **state)
{
    (void)state;
    double x, y;
    sq_rng rng;
    sq_rng_init(&rng, 2, 1, 1);
    for (int i = 0; i < 2000; i++) {
        double ra0 = sq_rng_range(&rng, 0, 360), dec0 = sq_rng_range(&rng, -90, 90);
        double ra = sq_rng_range(&rng, 0, 360), dec = sq_rng_range(&rng, -90, 90);
        sq_project_zea(ra0, dec0, ra, dec, &x, &y);
        double chord = 2 * sin(sq_separation(ra0, dec0, ra, dec) * RAD / 2) / RAD;
        assert_true(fabs(hypot(x, y) - chord) < 1e-9);
    }
    sq_project_zea(10, 20, 10.001, 20, &x, &y);
    assert_true(x > 0 && fabs(x - 0.001 * cos(20 * RAD)) < 1e-9);
    sq_project_zea(10, 20, 10, 20.001, &x, &y);
    assert_true(fabs(x) < 1e-15 && y > 0.000999);
    sq_project_zea(0, -90, 0, 90, &x, &y);
    assert_true(isnan(x) && isnan(y));
}

/* Centre of a NESTED pixel, from the definition in Gorski et al. 2005, section 4 and equations
 * 2-10. */
static void pixel_centre(int order, int64_t pixel, double *ra, double *dec)
{
    static const int ring_factor[12] = {2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4};
    static const int phi_factor[12] = {1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7};
    int64_t nside = (int64_t)1 << order, face = pixel >> (2 * order), ix = 0, iy = 0, kshift = 0;
    for (int bit = 0; bit < order; bit++) {
        ix |= (pixel >> (2 * bit) & 1) << bit;
        iy |= (pixel >> (2 * bit + 1) & 1) << bit;
    }
    int64_t ring = ring_factor[face] * nside - ix - iy - 1, in_ring = nside;
    double n = (double)nside, z;
    if (ring < nside) {
        in_ring = ring;
        z = 1 - (double)ring * (double)ring / (3 * n * n);
    } else if (ring > 3 * nside) {
        in_ring = 4 * nside - ring;
        z = (double)in_ring * (double)in_ring / (3 * n * n) - 1;
    } else {
        z = 2 * (double)(2 * nside - ring) / (3 * n);
        kshift = (ring - nside) & 1;
    }
    int64_t k = (phi_factor[face] * in_ring + ix - iy + 1 + kshift) / 2;
    *ra = sq_wrap_ra(((double)k - 0.5 * (double)(kshift + 1)) * 90 / (double)in_ring);
    /* 1 - |z| is exact near the poles, where acos(z) would lose half of the digits. */
    double cap = ring < nside || ring > 3 * nside ? (double)in_ring / (sqrt(3) * n) : 0;
    *dec = cap > 0 ? (ring < nside ? 1 : -1) * (90 - 2 * asin(cap / sqrt(2)) / RAD) : asin(z) / RAD;
}

static void check_pixel(double ra, double dec)
{
    double a, d;
    int64_t pixel = sq_healpix29(ra, dec);
    assert_true(pixel >= 0 && pixel < (int64_t)12 << 58);
    pixel_centre(29, pixel, &a, &d);
    /* The longest half-diagonal of a pixel is 1.4 times its side, 0.39 mas. */
    double distance = sq_separation(ra, dec, a, d) * 3.6e6;
    if (distance > 0.39 * 1.4)
        fail_msg("(%.17g, %.17g): pixel centre %g mas away", ra, dec, distance);
}

static void test_healpix(void **state)
{
    (void)state;
    sq_rng rng;
    sq_rng_init(&rng, 3, 1, 1);
    for (int i = 0; i < 20000; i++)
        check_pixel(sq_rng_range(&rng, 0, 360), asin(sq_rng_range(&rng, -1, 1)) / RAD);
    for (int i = 0; i < 2000; i++) {
        double off = pow(10, sq_rng_range(&rng, -8, 0));
        check_pixel(sq_rng_range(&rng, 0, 360), i & 1 ? 90 - off : -90 + off);
        check_pixel(i & 1 ? off : 360 - off, sq_rng_range(&rng, -90, 90));
    }
    check_pixel(0, 90);
    check_pixel(123, -90);
    check_pixel(0, 0);
    assert_true(sq_healpix29(NAN, 0) == -1);
    assert_true(sq_healpix29(0, INFINITY) == -1);
    /* The base pixel of a point inside each of the twelve faces. */
    for (int face = 0; face < 12; face++) {
        double ra = face < 4 ? 45 + 90 * face : face < 8 ? 90 * (face - 4) : 45 + 90 * (face - 8);
        double dec = face < 4 ? 42 : face < 8 ? 0 : -42;
        assert_int_equal(sq_healpix29(ra, dec) >> 58, face);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrap),    cmocka_unit_test(test_separation),
        cmocka_unit_test(test_vectors), cmocka_unit_test(test_projection),
        cmocka_unit_test(test_healpix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
