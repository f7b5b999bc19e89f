/* Probabilities against scipy 1.10, and the tests over blocks against their own promise: on
 * correlated data without a difference they are as rare as they say. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "assess/json.h"
#include "assess/significance.h"
#include "assess/svg.h"
#include "base/select.h"
#include "base/mem.h"
#include "base/rng.h"

static void near(double value, double expected, double relative)
{
    if (!(fabs(value - expected) <= relative * fabs(expected)))
        fail_msg("%.17g instead of %.17g", value, expected);
}

static void distributions(void **state)
{
    static const double student[][3] = {
        {0.5, 1, 0.7048327646991336},     {2, 3, 0.1393259685588431},
        {-2.5, 10, 0.031446844236608776}, {8, 31, 4.940263701903391e-09},
        {1e-3, 5, 0.9992407867721976},    {40, 4, 2.3340163226012694e-06},
        {6, 200, 9.115120348810404e-09},  {0, 7, 1.0}};
    (void)state;
    for (size_t i = 0; i < sizeof student / sizeof *student; i++)
        near(sq_student(student[i][0], student[i][1]), student[i][2], 1e-10);
    assert_true(sq_student(INFINITY, 3) == 0);
    assert_true(isnan(sq_student(NAN, 3)));
}

static void adjusted_probabilities(void **state)
{
    /* By hand: sorted 0.005 0.01 0.03 0.04 0.6, times 5 / rank, then the running minimum. */
    static const double p[] = {0.01, 0.04, NAN, 0.03, 0.005, 0.6};
    static const double expected[] = {0.025, 0.05, NAN, 0.05, 0.025, 0.6};
    double q[6];
    (void)state;
    assert_int_equal(sq_benjamini_hochberg(6, p, q), SQ_OK);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(isnan(q[i]), isnan(expected[i]));
        if (!isnan(q[i]))
            near(q[i], expected[i], 1e-12);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void medians(void **state)
{
    sq_rng rng;
    double value[101], sorted[101];
    (void)state;
    sq_rng_init(&rng, 1, 2, 3);
    assert_true(isnan(sq_median(value, 0)));
    for (int trial = 0; trial < 3000; trial++) {
        int n = 1 + trial % 100;
        for (int i = 0; i < n; i++)
            value[i] = trial % 3 ? sq_rng_normal(&rng) : floor(4 * sq_rng_uniform(&rng));
        memcpy(sorted, value, sizeof value);
        qsort(sorted, (size_t)n, sizeof *sorted, by_value);
        double expected = 0.5 * (sorted[(n - 1) / 2] + sorted[n / 2]);
        assert_true(sq_median(value, n) == expected);
    }
}

/* The plain formulas, in another order. */
static void ratio_over_blocks(void **state)
{
    static const double part[] = {1, 0, 3, 2, 2}, whole[] = {2, 1, 4, 2, 5};
    sq_block_sums *sums;
    double square = 0;
    (void)state;
    assert_int_equal(sq_block_sums_create(10, &sums), SQ_OK);
    for (int repeat = 0; repeat < 2; repeat++) {
        for (int b = 0; b < 5; b++) {
            sq_block_add(sums, 2 * b, part[b] / 2, whole[b]);
            sq_block_add(sums, 2 * b, part[b] / 2, 0);
        }
        sq_block_add(sums, -1, 100, 1); /* outside: not counted */
        sq_block_test t = sq_block_finish(sums, 0.25);
        double value = 8.0 / 14;
        square = 0;
        for (int b = 0; b < 5; b++)
            square += pow(part[b] - value * whole[b], 2);
        double error = sqrt(5.0 / 4 * square) / 14;
        near(t.value, value, 1e-14);
        near(t.error, error, 1e-14);
        near(t.p, fmax(sq_student((value - 0.25) / error, 4), 1.0 / 16), 1e-12);
        assert_int_equal(t.blocks, 5);
    }
    sq_block_add(sums, 3, 1, 1);
    assert_true(sq_block_finish(sums, 0).p == 1); /* one block proves nothing */
    assert_true(isnan(sq_block_finish(sums, 0).value));
    /* All blocks agree without scatter: the least that swapping blocks could reach. */
    for (int b = 0; b < 10; b++)
        sq_block_add(sums, b, 1, 1);
    near(sq_block_finish(sums, 0).p, exp2(-9), 1e-14);
    sq_block_sums_destroy(sums);
    assert_int_equal(sq_mem_held(), 0);
}

enum { BLOCKS = 40, PER_BLOCK = 25, TRIALS = 1000 };

/* Two samples that share most of their values' cause: the block's level, the source, and noise;
 * `shift` moves the second. Returns p. */
static double correlated_trial(sq_rng *rng, sq_block_sums *sums, double level, double source,
                               double noise, double shift)
{
    static sq_ks_value value[2 * BLOCKS * PER_BLOCK], scratch[2 * BLOCKS * PER_BLOCK];
    int64_t n = 0;
    for (int b = 0; b < BLOCKS; b++) {
        double block[2] = {level * sq_rng_normal(rng), level * sq_rng_normal(rng)};
        for (int i = 0; i < PER_BLOCK; i++) {
            double own = source * sq_rng_normal(rng);
            for (int s = 0; s < 2; s++)
                value[n++] = (sq_ks_value){
                    block[s] + own + noise * sq_rng_normal(rng) + (s ? shift : 0), b, s};
        }
    }
    return sq_ks(value, scratch, n, sums).p;
}

/* The digits sort as a comparison does, for any sign and size, and for ties. */
static void sorted_by_digits(void **state)
{
    enum { N = 6000 };
    static sq_ks_value value[N], scratch[N];
    static double expected[N];
    sq_block_sums *sums;
    sq_rng rng;
    (void)state;
    assert_int_equal(sq_block_sums_create(BLOCKS, &sums), SQ_OK);
    sq_rng_init(&rng, 5, 6, 7);
    for (int kind = 0; kind < 4; kind++) {
        for (int i = 0; i < N; i++) {
            double x = sq_rng_normal(&rng);
            x = kind == 0 ? x : kind == 1 ? (float)x : kind == 2 ? floor(x) : x * exp(100 * x);
            value[i] = (sq_ks_value){x, i % BLOCKS, i % 2};
            expected[i] = x;
        }
        qsort(expected, N, sizeof *expected, by_value);
        sq_ks_test t = sq_ks(value, scratch, N, sums);
        assert_int_equal(t.n[0], N / 2);
        for (int i = 0; i < N; i++)
            assert_true(value[i].value == expected[i]);
    }
    sq_block_sums_destroy(sums);
}

static void false_alarms_are_as_rare_as_they_say(void **state)
{
    /* level: correlated within a block and other in each sample; source: the same in both. */
    static const double model[][3] = {{0, 0, 1}, {1, 0, 1}, {0.5, 1, 0.1}, {0, 1, 0.05}};
    sq_block_sums *sums;
    sq_rng rng;
    (void)state;
    assert_int_equal(sq_block_sums_create(BLOCKS, &sums), SQ_OK);
    for (size_t m = 0; m < sizeof model / sizeof *model; m++) {
        int below[3] = {0, 0, 0};
        sq_rng_init(&rng, 11, 12, m);
        for (int k = 0; k < TRIALS; k++) {
            double p = correlated_trial(&rng, sums, model[m][0], model[m][1], model[m][2], 0);
            below[0] += p < 0.1;
            below[1] += p < 0.01;
            below[2] += p < 0.001;
        }
        print_message("model %zu: p < 0.1, 0.01, 0.001 in %.4f %.4f %.4f of the trials\n", m,
                      below[0] / (double)TRIALS, below[1] / (double)TRIALS,
                      below[2] / (double)TRIALS);
        assert_in_range(below[0], 0, TRIALS * 0.13);
        assert_in_range(below[1], 0, TRIALS * 0.02);
        assert_in_range(below[2], 0, TRIALS * 0.005);
    }
    /* Shared noise makes a small shift visible that independent samples would hide. */
    int seen[2] = {0, 0};
    for (int k = 0; k < 200; k++) {
        seen[0] += correlated_trial(&rng, sums, 0, 1, 0.05, 0.1) < 1e-3;
        seen[1] += correlated_trial(&rng, sums, 0, 0, 1, 0.1) < 1e-3;
    }
    assert_true(seen[0] > 180 && seen[1] < 60);
    sq_block_sums_destroy(sums);
    assert_int_equal(sq_mem_held(), 0);
}

static json_value *parsed(const char *text)
{
    json_value *v = NULL;
    return json_parse(text, strlen(text), "test", &v) == SQ_OK ? v : NULL;
}

static void json_that_is_right(void **state)
{
    json_value *v = parsed(" {\"a\": [1, -2.5e3, true, null, {}], \"b\\n\\u00e9\": \"\\ud83d\\ude00"
                           "<\\/\", \"c\": []}\n");
    (void)state;
    assert_non_null(v);
    assert_int_equal(json_member(v, "a")->count, 5);
    assert_true(json_member(v, "a")->item[1].number == -2500);
    assert_string_equal(json_string(v, "b\n\xc3\xa9"), "\xf0\x9f\x98\x80</");
    assert_true(isnan(json_number(v, "b")) && json_member(v, "d") == NULL);
    json_free(v);
    v = parsed("\"\\ud800\"");
    assert_string_equal(v->string, "\xef\xbf\xbd");
    json_free(v);
    assert_int_equal(sq_mem_held(), 0);
}

static void json_that_is_wrong(void **state)
{
    static const char *const wrong[] = {
        "",      "{",       "[1,]",        "[1 2]", "{\"a\" 1}", "{1: 2}",
        "\"abc", "\"\\x\"", "\"\\u12g4\"", "nul",   "[1]]",      "+1",
        ".5",    "--1",     "\"a\nb\"",    "\"\\",  "{\"a\":}",  "[\"\\ud800\\u\"]"};
    char deep[200];
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (parsed(wrong[i]))
            fail_msg("accepted: %s", wrong[i]);
    }
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    assert_null(parsed(deep));
    assert_int_equal(sq_mem_held(), 0);
}

static void texts_that_are_not_xml(void **state)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {{"a<b>&\"'", "a&lt;b&gt;&amp;&quot;&#39;"},
                 {"\xc3\xa9 \xf0\x9f\x98\x80", "\xc3\xa9 \xf0\x9f\x98\x80"},
                 {"\x01\xff", "&#xFFFD;&#xFFFD;"},
                 {"\xc0\xaf", "&#xFFFD;&#xFFFD;"},             /* overlong */
                 {"\xed\xa0\x80", "&#xFFFD;&#xFFFD;&#xFFFD;"}, /* half of a surrogate pair */
                 {"\xe2\x82", "&#xFFFD;&#xFFFD;"}};            /* cut off */
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        svg_escape(out, cases[i].text);
        fclose(out);
        assert_string_equal(text, cases[i].expected);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distributions),
        cmocka_unit_test(adjusted_probabilities),
        cmocka_unit_test(medians),
        cmocka_unit_test(ratio_over_blocks),
        cmocka_unit_test(sorted_by_digits),
        cmocka_unit_test(false_alarms_are_as_rare_as_they_say),
        cmocka_unit_test(json_that_is_right),
        cmocka_unit_test(json_that_is_wrong),
        cmocka_unit_test(texts_that_are_not_xml),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
