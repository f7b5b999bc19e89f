#include "assess/statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "sky/sphere.h"

enum { DOMAIN = 0x41535345, FINEST = 29, BITS = 2 };

struct sq_bootstrap {
    int64_t blocks;
    int replicas;
    uint8_t *weight; /* [replicas][blocks] */
};

sq_status sq_bootstrap_create(uint64_t seed, int64_t blocks, int replicas, sq_bootstrap **out)
{
    sq_status rc;
    sq_bootstrap *b = NULL;
    if (blocks < 1 || replicas < 0)
        return sq_fail(SQ_ERR_USAGE, "bootstrap: %lld blocks, %d replicas", (long long)blocks,
                       replicas);
    SQ_TRY(SQ_ALLOC(b, 1, "bootstrap"));
    b->blocks = blocks;
    b->replicas = replicas;
    SQ_TRY(sq_alloc(&b->weight, (size_t)blocks, (size_t)(replicas ? replicas : 1), "bootstrap"));
    for (int r = 0; r < replicas; r++) {
        sq_rng rng;
        sq_rng_init(&rng, seed, DOMAIN, (uint64_t)r);
        for (int64_t i = 0; i < blocks; i++)
            b->weight[r * blocks + i] = (uint8_t)sq_rng_poisson(&rng, 1.0);
    }
    *out = b;
    b = NULL;
cleanup:
    sq_bootstrap_destroy(b);
    return rc;
}

int64_t sq_bootstrap_blocks(const sq_bootstrap *bootstrap)
{
    return bootstrap->blocks;
}

void sq_bootstrap_destroy(sq_bootstrap *bootstrap)
{
    if (!bootstrap)
        return;
    sq_free(bootstrap->weight);
    sq_free(bootstrap);
}

/* Standard deviation over the replicas, fed one by one (Welford 1962). */
typedef struct spread {
    int n;
    double mean, square;
} spread;

static void spread_add(spread *s, double value)
{
    if (!isfinite(value))
        return;
    s->n++;
    double step = value - s->mean;
    s->mean += step / s->n;
    s->square += step * (value - s->mean);
}

static double spread_error(const spread *s)
{
    return s->n > 1 ? sqrt(s->square / (s->n - 1)) : NAN;
}

static double weighted_sum(const uint8_t *weight, const double *value, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += weight ? weight[i] * value[i] : value[i];
    return sum;
}

static double ratio(double part, double whole)
{
    return whole > 0 ? part / whole : NAN;
}

sq_estimate sq_bootstrap_ratio(const sq_bootstrap *bootstrap, const double *part,
                               const double *whole)
{
    int64_t n = bootstrap->blocks;
    spread s = {0};
    for (int r = 0; r < bootstrap->replicas; r++) {
        const uint8_t *w = bootstrap->weight + r * n;
        spread_add(&s, ratio(weighted_sum(w, part, n), weighted_sum(w, whole, n)));
    }
    double value = ratio(weighted_sum(NULL, part, n), weighted_sum(NULL, whole, n));
    return (sq_estimate){value, spread_error(&s)};
}

static double f1_of(double completeness, double purity)
{
    double sum = completeness + purity;
    return sum > 0 ? 2 * completeness * purity / sum : sum == 0 ? 0 : NAN;
}

sq_estimate sq_bootstrap_f1(const sq_bootstrap *bootstrap, const double *matched,
                            const double *truth, const double *right, const double *found)
{
    int64_t n = bootstrap->blocks;
    spread s = {0};
    double value = NAN;
    for (int r = -1; r < bootstrap->replicas; r++) {
        const uint8_t *w = r < 0 ? NULL : bootstrap->weight + r * n;
        double f1 = f1_of(ratio(weighted_sum(w, matched, n), weighted_sum(w, truth, n)),
                          ratio(weighted_sum(w, right, n), weighted_sum(w, found, n)));
        if (r < 0)
            value = f1;
        else
            spread_add(&s, f1);
    }
    return (sq_estimate){value, spread_error(&s)};
}

typedef struct sample {
    double value;
    int64_t block;
    int positive;
} sample;

static int by_value(const void *a, const void *b)
{
    double x = ((const sample *)a)->value, y = ((const sample *)b)->value;
    return (x > y) - (x < y);
}

static double sorted_median(const sample *s, int64_t n)
{
    if (n == 0)
        return NAN;
    return n % 2 ? s[n / 2].value : 0.5 * (s[n / 2 - 1].value + s[n / 2].value);
}

/* The value at which half of the weight is reached. */
static double weighted_median(const uint8_t *weight, const sample *s, int64_t n)
{
    int64_t total = 0, below = 0;
    for (int64_t i = 0; i < n; i++)
        total += weight[s[i].block];
    for (int64_t i = 0; i < n; i++) {
        below += weight[s[i].block];
        if (2 * below == total && i + 1 < n)
            return 0.5 * (s[i].value + s[i + 1].value);
        if (2 * below > total)
            return s[i].value;
    }
    return NAN;
}

static double median_error(const sq_bootstrap *b, const sample *s, int64_t n)
{
    spread spread = {0};
    for (int r = 0; r < b->replicas; r++)
        spread_add(&spread, weighted_median(b->weight + r * b->blocks, s, n));
    return spread_error(&spread);
}

sq_status sq_bootstrap_median(const sq_bootstrap *bootstrap, int64_t n, const double *value,
                              const int64_t *block, sq_estimate *median, sq_estimate *mad)
{
    sample *s = NULL;
    sq_status rc = SQ_ALLOC(s, n + 1, "sorted values");
    if (rc != SQ_OK)
        return rc;
    for (int64_t i = 0; i < n; i++)
        s[i] = (sample){value[i], block[i], 0};
    qsort(s, (size_t)n, sizeof *s, by_value);
    *median = (sq_estimate){sorted_median(s, n), median_error(bootstrap, s, n)};
    for (int64_t i = 0; i < n; i++)
        s[i].value = fabs(s[i].value - median->value);
    qsort(s, (size_t)n, sizeof *s, by_value);
    *mad = (sq_estimate){1.4826 * sorted_median(s, n), 1.4826 * median_error(bootstrap, s, n)};
    sq_free(s);
    return SQ_OK;
}

static double weighted_auc(const uint8_t *weight, const sample *s, int64_t n)
{
    double area = 0, positives = 0, negatives = 0;
    for (int64_t i = 0; i < n;) {
        double tied[2] = {0, 0};
        double value = s[i].value;
        for (; i < n && s[i].value == value; i++)
            tied[s[i].positive] += weight ? weight[s[i].block] : 1;
        area += tied[1] * (negatives + 0.5 * tied[0]);
        positives += tied[1];
        negatives += tied[0];
    }
    return ratio(area, positives * negatives);
}

sq_status sq_bootstrap_auc(const sq_bootstrap *bootstrap, int64_t n, const double *score,
                           const uint8_t *positive, const int64_t *block, sq_estimate *auc)
{
    sample *s = NULL;
    spread spread = {0};
    sq_status rc = SQ_ALLOC(s, n + 1, "sorted scores");
    if (rc != SQ_OK)
        return rc;
    for (int64_t i = 0; i < n; i++)
        s[i] = (sample){score[i], block[i], positive[i] != 0};
    qsort(s, (size_t)n, sizeof *s, by_value);
    for (int r = 0; r < bootstrap->replicas; r++)
        spread_add(&spread, weighted_auc(bootstrap->weight + r * bootstrap->blocks, s, n));
    *auc = (sq_estimate){weighted_auc(NULL, s, n), spread_error(&spread)};
    sq_free(s);
    return SQ_OK;
}

static int by_key(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Distinct values of key >> shift among the sorted keys that are not negative. */
static int64_t occupied(const int64_t *key, int64_t n, int shift)
{
    int64_t count = 0, last = -1;
    for (int64_t i = 0; i < n; i++) {
        if (key[i] < 0 || key[i] >> shift == last)
            continue;
        last = key[i] >> shift;
        count++;
    }
    return count;
}

/* Replaces the sorted keys by their distinct cells; gives how many. */
static int64_t distinct(int64_t *key, int64_t n, int shift)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        if (key[i] < 0)
            continue;
        int64_t cell = key[i] >> shift;
        if (count == 0 || key[count - 1] != cell)
            key[count++] = cell;
    }
    return count;
}

sq_status sq_sky_blocks(int64_t n, const double *ra, const double *dec, int64_t least,
                        int64_t *block, int64_t *count)
{
    int64_t *key = NULL;
    sq_status rc = SQ_ALLOC(key, n + 1, "sky blocks");
    if (rc != SQ_OK)
        return rc;
    for (int64_t i = 0; i < n; i++)
        key[i] = block[i] = sq_healpix29(ra[i], dec[i]);
    qsort(key, (size_t)n, sizeof *key, by_key);
    int shift = BITS * FINEST;
    while (shift > 0 && occupied(key, n, shift) < least)
        shift -= BITS;
    *count = distinct(key, n, shift);
    for (int64_t i = 0; i < n; i++) {
        if (block[i] < 0)
            continue;
        int64_t cell = block[i] >> shift;
        const int64_t *at = bsearch(&cell, key, (size_t)*count, sizeof *key, by_key);
        block[i] = at - key;
    }
    sq_free(key);
    return SQ_OK;
}
