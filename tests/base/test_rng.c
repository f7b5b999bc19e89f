/* Philox against its published answers, distributions against scipy.stats (distributions.py). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/rng.h"

enum { SAMPLES = 200000 };

static double sample[SAMPLES];

/* Random123 1.14, tests/kat_vectors: philox4x32 10. */
static void test_known_answers(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t out[4];
        sq_philox(known[i].key, known[i].counter, out);
        assert_memory_equal(out, known[i].out, sizeof out);
    }
}

/* A stream is a function of (seed, domain, id) alone, and each of the three matters. */
static void test_streams(void **state)
{
    (void)state;
    static const uint64_t names[][3] = {{1, 2, 3}, {1, 2, 4},          {1, 3, 3},
                                        {2, 2, 3}, {1ull << 32, 2, 3}, {1, 2, 3ull << 32},
                                        {0, 0, 0}};
    enum { NAMES = sizeof names / sizeof *names };
    static uint32_t words[NAMES][4096];
    for (int i = 0; i < NAMES; i++) {
        sq_rng rng, copy;
        sq_rng_init(&rng, names[i][0], (uint32_t)names[i][1], names[i][2]);
        sq_rng_init(&copy, names[i][0], (uint32_t)names[i][1], names[i][2]);
        for (int k = 0; k < 4096; k++) {
            words[i][k] = sq_rng_u32(&rng);
            assert_int_equal(words[i][k], sq_rng_u32(&copy));
        }
    }
    for (int i = 0; i < NAMES; i++) {
        for (int j = 0; j < i; j++) {
            int equal = 0, bits = 0;
            for (int k = 0; k < 4096; k++) {
                equal += words[i][k] == words[j][k];
                bits += __builtin_popcount(words[i][k] ^ words[j][k]);
            }
            /* Half of 131072 bits differ, within 5 standard deviations of 181. */
            assert_true(equal <= 1);
            assert_true(abs(bits - 65536) < 905);
        }
    }
    sq_rng rng;
    uint32_t w0 = words[0][0], w1 = words[0][1];
    sq_rng_init(&rng, 1, 2, 3);
    assert_true(sq_rng_u64(&rng) == ((uint64_t)w1 << 32 | w0));
}

/* p-value of `count` samples under scipy's distribution; the streams are fixed, so that this is one
 * number. */
static void check(const char *distribution, double a, double b, int count)
{
    const char *python = getenv("SQ_PYTHON"), *root = getenv("SQ_SOURCE");
    char path[512], command[2048];
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/sq_rng_XXXXXX", folder && *folder ? folder : P_tmpdir);
    FILE *file = fdopen(mkstemp(path), "wb");
    assert_int_equal(fwrite(sample, sizeof *sample, (size_t)count, file), count);
    fclose(file);
    snprintf(command, sizeof command, "'%s' '%s/tests/base/distributions.py' %s %.17g %.17g %s",
             python ? python : "python3", root ? root : ".", distribution, a, b, path);
    FILE *answer = popen(command, "r");
    double p = -1;
    assert_int_equal(fscanf(answer, "%lf", &p), 1);
    pclose(answer);
    unlink(path);
    if (!(p > 1e-3))
        fail_msg("%s(%g, %g): p = %g", distribution, a, b, p);
}

static void test_uniform(void **state)
{
    (void)state;
    sq_rng rng;
    sq_rng_init(&rng, 5, 1, 1);
    for (int i = 0; i < SAMPLES; i++) {
        sample[i] = sq_rng_uniform(&rng);
        assert_true(sample[i] > 0 && sample[i] < 1);
    }
    check("uniform", 0, 1, SAMPLES);
    for (int i = 0; i < SAMPLES; i++)
        sample[i] = sq_rng_range(&rng, -3, 8);
    check("uniform", -3, 11, SAMPLES);
}

static void test_normal(void **state)
{
    (void)state;
    static float fast[SAMPLES];
    sq_rng rng;
    sq_rng_init(&rng, 6, 1, 1);
    for (int i = 0; i < SAMPLES; i++)
        sample[i] = sq_rng_normal(&rng);
    check("norm", 0, 1, SAMPLES);
    /* The two halves of a pair are independent. */
    double sum = 0;
    for (int i = 0; i < SAMPLES; i += 2)
        sum += sample[i] * sample[i + 1];
    assert_true(fabs(sum) < 4.5 * sqrt(SAMPLES / 2));
    sq_rng_normal_fill(&rng, fast, SAMPLES);
    for (int i = 0; i < SAMPLES; i++)
        sample[i] = fast[i];
    check("norm", 0, 1, SAMPLES);
    /* An odd length writes nothing behind its end. */
    fast[7] = 42;
    sq_rng_normal_fill(&rng, fast, 7);
    assert_true(fast[7] == 42);
}

static void test_poisson(void **state)
{
    (void)state;
    const double means[] = {0.01, 0.7, 4, 9.99, 10, 33.3, 1000, 999999, 5e6};
    for (size_t k = 0; k < sizeof means / sizeof *means; k++) {
        sq_rng rng;
        sq_rng_init(&rng, 7, 1, k);
        for (int i = 0; i < SAMPLES; i++) {
            sample[i] = (double)sq_rng_poisson(&rng, means[k]);
            assert_true(sample[i] >= 0);
        }
        check("poisson", means[k], 0, SAMPLES);
    }
    sq_rng rng;
    sq_rng_init(&rng, 7, 2, 0);
    assert_int_equal(sq_rng_poisson(&rng, 0), 0);
    assert_int_equal(sq_rng_poisson(&rng, -5), 0);
    assert_int_equal(sq_rng_poisson(&rng, NAN), 0);
}

static void test_gamma_beta(void **state)
{
    (void)state;
    const double shapes[] = {0.1, 0.5, 0.999, 1, 2.5, 40, 1e4};
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        sq_rng rng;
        sq_rng_init(&rng, 8, 1, k);
        for (int i = 0; i < SAMPLES; i++)
            sample[i] = sq_rng_gamma(&rng, shapes[k]);
        check("gamma", shapes[k], 0, SAMPLES);
        for (int i = 0; i < SAMPLES; i++)
            sample[i] = sq_rng_beta(&rng, shapes[k], 2);
        check("beta", shapes[k], 2, SAMPLES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers), cmocka_unit_test(test_streams),
        cmocka_unit_test(test_uniform),       cmocka_unit_test(test_normal),
        cmocka_unit_test(test_poisson),       cmocka_unit_test(test_gamma_beta),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
