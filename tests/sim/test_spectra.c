/* The fiducial spectra against CAMB between the nodes that are stored. */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "sim/spectra.h"

enum { LMAX = 15000 };
static double cl[LMAX + 1];

/* CAMB 1.6, the parameters of tools/train/make_spectra.py: D_l at l = 2, 215, 1003, 3333, 8888. */
static const int ELL[5] = {2, 215, 1003, 3333, 8888};
static const double CAMB[SQ_FIDUCIAL_COUNT][5] = {
    [SQ_LENSED_TT] = {1021.76, 5723.53, 1055.3, 14.4113, 0.247384},
    [SQ_LENSED_EE] = {0.0310824, 0.788576, 41.8981, 0.459869, 0.00278217},
    [SQ_LENSED_BB] = {1.83447e-06, 0.0165323, 0.0975151, 0.0163387, 0.00228996},
    [SQ_LENSED_TE] = {2.63493, 5.66874, -28.1986, -0.755387, -0.00340662},
    [SQ_UNLENSED_TT] = {1021.75, 5731.78, 1020.98, 12.4084, 0.00255444},
    [SQ_UNLENSED_EE] = {0.0310806, 0.760269, 43.7633, 0.354853, 8.52529e-07},
    [SQ_UNLENSED_TE] = {2.63493, 5.52675, -29.1663, -0.763786, 3.05871e-05},
    [SQ_GRADIENT_TT] = {1021.76, 5724.8, 1049.43, 12.7005, 0.0155588},
    [SQ_GRADIENT_EE] = {0.0310835, 0.80196, 41.9504, 0.426278, 0.00028907},
    [SQ_GRADIENT_TE] = {2.63492, 5.73089, -28.5374, -0.710327, -0.000422136},
    [SQ_POTENTIAL] = {5.03015e-08, 5.33608e-08, 6.69062e-09, 9.42046e-10, 1.94011e-10}};

static void test_values(void **state)
{
    (void)state;
    for (int kind = 0; kind < SQ_FIDUCIAL_COUNT; kind++) {
        assert_int_equal(sq_fiducial_spectrum((sq_fiducial)kind, LMAX, cl), SQ_OK);
        assert_true(cl[0] == 0 && cl[1] == 0);
        for (int i = 0; i < 5; i++) {
            double l = ELL[i], d = cl[ELL[i]] * l * (l + 1) / (2 * M_PI);
            if (kind == SQ_POTENTIAL)
                d *= l * (l + 1);
            assert_true(fabs(d / CAMB[kind][i] - 1) < 3e-4);
        }
    }
}

/* Beyond the table the spectra go on smoothly. */
static void test_tail(void **state)
{
    (void)state;
    assert_int_equal(sq_fiducial_spectrum(SQ_LENSED_TT, LMAX, cl), SQ_OK);
    for (int l = 11900; l < LMAX; l++)
        assert_true(cl[l + 1] < cl[l] && cl[l + 1] > 0.99 * cl[l]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_tail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
