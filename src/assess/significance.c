#include "assess/significance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/select.h"

/* Continued fraction of the incomplete beta function by Lentz's method (DLMF 8.17.22). */
static double beta_fraction(double a, double b, double x)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double h = d;
    for (int m = 1; m < 10000; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        double step = 1;
        for (int k = 0; k < 2; k++) {
            double term = k ? odd : even;
            d = 1 + term * d;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = 1 + term / c;
            c = fabs(c) < tiny ? tiny : c;
            step = d * c;
            h *= step;
        }
        if (fabs(step - 1) < 1e-15)
            break;
    }
    return h;
}

/* Regularised incomplete beta function I_x(a, b). */
static double beta_ratio(double a, double b, double x)
{
    if (x <= 0 || x >= 1)
        return x >= 1;
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    if (x < (a + 1) / (a + b + 2))
        return front * beta_fraction(a, b, x) / a;
    return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double sq_student(double t, double degrees)
{
    if (isnan(t) || !(degrees > 0))
        return NAN;
    return isinf(t) ? 0 : beta_ratio(degrees / 2, 0.5, degrees / (degrees + t * t));
}

typedef struct ranked {
    double p;
    int64_t index;
} ranked;

static int by_p(const void *a, const void *b)
{
    double x = ((const ranked *)a)->p, y = ((const ranked *)b)->p;
    return (x > y) - (x < y);
}

sq_status sq_benjamini_hochberg(int64_t n, const double *p, double *q)
{
    ranked *r = NULL;
    int64_t tests = 0;
    sq_status rc = SQ_ALLOC(r, n + 1, "probabilities");
    if (rc != SQ_OK)
        return rc;
    for (int64_t i = 0; i < n; i++) {
        q[i] = NAN;
        if (!isnan(p[i]))
            r[tests++] = (ranked){p[i], i};
    }
    qsort(r, (size_t)tests, sizeof *r, by_p);
    double least = 1;
    for (int64_t k = tests - 1; k >= 0; k--) {
        least = fmin(least, r[k].p * (double)tests / (double)(k + 1));
        q[r[k].index] = least;
    }
    sq_free(r);
    return SQ_OK;
}

struct sq_block_sums {
    int64_t blocks, used;
    double *part, *whole;
    uint8_t *mark;
    int64_t *list; /* of the blocks in use */
};

sq_status sq_block_sums_create(int64_t blocks, sq_block_sums **out)
{
    sq_status rc;
    sq_block_sums *s = NULL;
    SQ_TRY(SQ_ALLOC(s, 1, "sums per block"));
    s->blocks = blocks;
    SQ_TRY(SQ_ALLOC(s->part, blocks + 1, "sums per block"));
    SQ_TRY(SQ_ALLOC(s->whole, blocks + 1, "sums per block"));
    SQ_TRY(SQ_ALLOC(s->mark, blocks + 1, "sums per block"));
    SQ_TRY(SQ_ALLOC(s->list, blocks + 1, "sums per block"));
    *out = s;
    s = NULL;
cleanup:
    sq_block_sums_destroy(s);
    return rc;
}

void sq_block_sums_destroy(sq_block_sums *sums)
{
    if (!sums)
        return;
    sq_free(sums->part);
    sq_free(sums->whole);
    sq_free(sums->mark);
    sq_free(sums->list);
    sq_free(sums);
}

void sq_block_add(sq_block_sums *sums, int64_t block, double part, double whole)
{
    if (block < 0 || block >= sums->blocks)
        return;
    if (!sums->mark[block]) {
        sums->mark[block] = 1;
        sums->list[sums->used++] = block;
    }
    sums->part[block] += part;
    sums->whole[block] += whole;
}

/* square: of the residuals of t->blocks blocks, whose denominators are `whole` together. */
static void judge(sq_block_test *t, double square, double whole, double null)
{
    double n = (double)t->blocks;
    if (n < 2 || isnan(t->value))
        return;
    t->error = sqrt(n / (n - 1) * square) / whole;
    if (t->value != null)
        t->p = fmax(sq_student((t->value - null) / t->error, n - 1), exp2(1 - n));
}

sq_block_test sq_block_finish(sq_block_sums *sums, double null)
{
    double part = 0, whole = 0, square = 0;
    int64_t n = sums->used;
    for (int64_t i = 0; i < n; i++) {
        part += sums->part[sums->list[i]];
        whole += sums->whole[sums->list[i]];
    }
    sq_block_test t = {whole > 0 ? part / whole : NAN, NAN, 1, n};
    for (int64_t i = 0; i < n; i++) {
        int64_t b = sums->list[i];
        double residual = sums->part[b] - t.value * sums->whole[b];
        square += residual * residual;
        sums->part[b] = sums->whole[b] = 0;
        sums->mark[b] = 0;
    }
    sums->used = 0;
    judge(&t, square, whole, null);
    return t;
}

static int by_value(const void *a, const void *b)
{
    double x = ((const sq_ks_value *)a)->value, y = ((const sq_ks_value *)b)->value;
    return (x > y) - (x < y);
}

/* An integer with the order of the numbers (IEEE 754). */
static uint64_t order_key(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
}

/* By value: digit by digit from the lowest, but for few. Digits that are the same in all values, as
 * the low ones of what was single precision, cost nothing. */
static void sort_values(sq_ks_value *value, sq_ks_value *scratch, int64_t n)
{
    enum { FEW = 200, DIGITS = 8, BASE = 256 };
    int64_t count[DIGITS][BASE] = {{0}};
    sq_ks_value *from = value, *to = scratch;
    if (n < FEW) {
        qsort(value, (size_t)n, sizeof *value, by_value);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        uint64_t key = order_key(value[i].value);
        for (int k = 0; k < DIGITS; k++)
            count[k][key >> (8 * k) & (BASE - 1)]++;
    }
    for (int k = 0; k < DIGITS; k++) {
        int64_t first = 0, *at = count[k];
        if (at[order_key(value[0].value) >> (8 * k) & (BASE - 1)] == n)
            continue;
        for (int b = 0; b < BASE; b++) {
            int64_t size = at[b];
            at[b] = first;
            first += size;
        }
        for (int64_t i = 0; i < n; i++)
            to[at[order_key(from[i].value) >> (8 * k) & (BASE - 1)]++] = from[i];
        sq_ks_value *swap = from;
        from = to;
        to = swap;
    }
    if (from != value)
        memcpy(value, from, (size_t)n * sizeof *value);
}

/* The places at which cumulative distributions are compared. */
typedef struct places {
    int n;
    int64_t below[SQ_KS_QUANTILES]; /* values that are not above the place */
} places;

static void choose_places(const sq_ks_value *value, int64_t n, places *at)
{
    double last = NAN;
    at->n = 0;
    for (int k = 1; k < SQ_KS_QUANTILES; k++) {
        double x = value[n * k / SQ_KS_QUANTILES].value;
        int64_t low = n * k / SQ_KS_QUANTILES, high = n;
        if (x == last)
            continue;
        while (low < high) {
            int64_t middle = low + (high - low) / 2;
            *(value[middle].value <= x ? &low : &high) =
                value[middle].value <= x ? middle + 1 : middle;
        }
        at->below[at->n++] = low;
        last = x;
    }
}

/* Values between two places, by the release that they are from. */
typedef struct tally {
    int64_t count[SQ_KS_QUANTILES][2];
} tally;

/* How much more of B than of A lies below each place, in shares of all values; what is expected of
 * the values of one tally is taken off. */
static void excess(const tally *t, const places *at, int64_t n, const int64_t size[2], double *out)
{
    int64_t all[2] = {0, 0}, below[2] = {0, 0};
    for (int k = 0; k <= at->n; k++) {
        all[0] += t->count[k][0];
        all[1] += t->count[k][1];
    }
    for (int k = 0; k < at->n; k++) {
        double f = (double)at->below[k] / (double)n;
        below[0] += t->count[k][0];
        below[1] += t->count[k][1];
        out[k] = ((double)below[1] - f * (double)all[1]) / (double)size[1] -
                 ((double)below[0] - f * (double)all[0]) / (double)size[0];
    }
}

/* Gathers what is needed of each value by blocks: block b has tag[whole[b]] to tag[part[b] - 1],
 * each twice its number of places below or at it, plus one in B. */
static void gather(const sq_ks_value *value, int64_t n, const places *at, sq_block_sums *sums,
                   uint8_t *tag, tally *all)
{
    int k = 0;
    double first = 0;
    memset(all, 0, sizeof *all);
    for (int64_t i = 0; i < n; i++)
        sq_block_add(sums, value[i].block, 1, 0);
    for (int64_t i = 0; i < sums->used; i++) {
        int64_t b = sums->list[i];
        sums->whole[b] = first;
        first += sums->part[b];
        sums->part[b] = sums->whole[b];
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t b = value[i].block;
        while (k < at->n && i >= at->below[k])
            k++;
        if (b < 0 || b >= sums->blocks)
            continue;
        tag[(int64_t)sums->part[b]++] = (uint8_t)(2 * k + value[i].second);
        all->count[k][value[i].second]++;
    }
}

/* Are the differences of the cumulative distributions zero, over blocks? The least probability of
 * all places, for as many tests. One pass gives the blocks' sums of all places. */
static double probability(const sq_ks_value *value, sq_ks_value *scratch, int64_t n,
                          const int64_t size[2], sq_block_sums *sums)
{
    places at;
    tally all;
    uint8_t *tag = (uint8_t *)scratch;
    double total[SQ_KS_QUANTILES], part[SQ_KS_QUANTILES], square[SQ_KS_QUANTILES] = {0};
    double least = 1, whole = 0;
    choose_places(value, n, &at);
    gather(value, n, &at, sums, tag, &all);
    excess(&all, &at, n, size, total);
    for (int k = 0; k <= at.n; k++)
        whole += (double)(all.count[k][0] + all.count[k][1]) / (double)n;
    for (int64_t i = 0; i < sums->used; i++) {
        int64_t b = sums->list[i], from = (int64_t)sums->whole[b], to = (int64_t)sums->part[b];
        tally one = {{{0}}};
        for (int64_t k = from; k < to; k++)
            one.count[tag[k] / 2][tag[k] % 2]++;
        excess(&one, &at, n, size, part);
        for (int k = 0; k < at.n; k++) {
            double residual = part[k] - total[k] / whole * (double)(to - from) / (double)n;
            square[k] += residual * residual;
        }
        sums->part[b] = sums->whole[b] = 0;
        sums->mark[b] = 0;
    }
    for (int k = 0; k < at.n; k++) {
        sq_block_test t = {whole > 0 ? total[k] / whole : NAN, NAN, 1, sums->used};
        judge(&t, square[k], whole, 0);
        least = fmin(least, t.p);
    }
    sums->used = 0;
    return fmin(1, (SQ_KS_QUANTILES - 1) * least);
}

sq_ks_test sq_ks(sq_ks_value *value, sq_ks_value *scratch, int64_t n, sq_block_sums *sums)
{
    sq_ks_test t = {{0, 0}, NAN, NAN, 1, 0};
    int64_t below[2] = {0, 0};
    for (int64_t i = 0; i < n; i++)
        t.n[value[i].second]++;
    if (!t.n[0] || !t.n[1])
        return t;
    sort_values(value, scratch, n);
    t.distance = 0;
    for (int64_t i = 0; i < n; i++) {
        below[value[i].second]++;
        if (i + 1 < n && value[i + 1].value == value[i].value)
            continue;
        double step = (double)below[1] / (double)t.n[1] - (double)below[0] / (double)t.n[0];
        if (fabs(step) > t.distance) {
            t.distance = fabs(step);
            t.signed_distance = step;
            t.at = value[i].value;
        }
    }
    if (t.distance > 0)
        t.p = probability(value, scratch, n, t.n, sums);
    return t;
}
