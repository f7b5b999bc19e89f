#include "base/rng.h"

#include <math.h>

void sq_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4])
{
    uint32_t k0 = key[0], k1 = key[1];
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void sq_rng_init(sq_rng *rng, uint64_t seed, uint32_t domain, uint64_t id)
{
    *rng = (sq_rng){.key = {(uint32_t)seed, (uint32_t)(seed >> 32) ^ (domain * 0x9E3779B1u)},
                    .counter = {0, domain, (uint32_t)id, (uint32_t)(id >> 32)},
                    .used = 4};
}

uint32_t sq_rng_u32(sq_rng *rng)
{
    if (rng->used == 4) {
        sq_philox(rng->key, rng->counter, rng->buffer);
        rng->counter[0]++;
        rng->used = 0;
    }
    return rng->buffer[rng->used++];
}

uint64_t sq_rng_u64(sq_rng *rng)
{
    uint64_t low = sq_rng_u32(rng);
    return low | (uint64_t)sq_rng_u32(rng) << 32;
}

double sq_rng_uniform(sq_rng *rng)
{
    return ((double)(sq_rng_u64(rng) >> 12) + 0.5) * 0x1p-52;
}

double sq_rng_range(sq_rng *rng, double low, double high)
{
    return low + (high - low) * sq_rng_uniform(rng);
}

double sq_rng_normal(sq_rng *rng)
{
    if (rng->has_normal) {
        rng->has_normal = 0;
        return rng->normal;
    }
    double radius = sqrt(-2 * log(sq_rng_uniform(rng)));
    double angle = 2 * M_PI * sq_rng_uniform(rng);
    rng->normal = radius * sin(angle);
    rng->has_normal = 1;
    return radius * cos(angle);
}

void sq_rng_normal_fill(sq_rng *rng, float *out, int64_t n)
{
    for (int64_t i = 0; i < n; i += 2) {
        float u = ((float)(sq_rng_u32(rng) >> 8) + 0.5f) * 0x1p-24f;
        float v = (float)(sq_rng_u32(rng) >> 8) * 0x1p-24f;
        float radius = sqrtf(-2 * logf(u)), s, c;
        sincosf(2 * (float)M_PI * v, &s, &c);
        out[i] = radius * c;
        if (i + 1 < n)
            out[i + 1] = radius * s;
    }
}

/* Transformed rejection (Hoermann 1993, PTRS), valid for mean >= 10. */
static int64_t poisson_ptrs(sq_rng *rng, double mean)
{
    double slam = sqrt(mean), loglam = log(mean);
    double b = 0.931 + 2.53 * slam, a = -0.059 + 0.02483 * b;
    double inv_alpha = 1.1239 + 1.1328 / (b - 3.4), vr = 0.9277 - 3.6224 / (b - 2);
    int sign;
    for (;;) {
        double u = sq_rng_uniform(rng) - 0.5, v = sq_rng_uniform(rng);
        double us = 0.5 - fabs(u);
        double k = floor((2 * a / us + b) * u + mean + 0.43);
        if (us >= 0.07 && v <= vr)
            return (int64_t)k;
        if (k < 0 || (us < 0.013 && v > us))
            continue;
        if (log(v) + log(inv_alpha) - log(a / (us * us) + b) <= k * loglam - mean - lgamma_r(k + 1, &sign))
            return (int64_t)k;
    }
}

int64_t sq_rng_poisson(sq_rng *rng, double mean)
{
    if (!(mean > 0))
        return 0;
    if (mean > 1e6) {
        double k = floor(mean + sqrt(mean) * sq_rng_normal(rng) + 0.5);
        return k < 0 ? 0 : (int64_t)k;
    }
    if (mean >= 10)
        return poisson_ptrs(rng, mean);
    double limit = exp(-mean), product = sq_rng_uniform(rng);
    int64_t k = 0;
    while (product > limit) {
        product *= sq_rng_uniform(rng);
        k++;
    }
    return k;
}

double sq_rng_gamma(sq_rng *rng, double shape)
{
    if (shape < 1)
        return sq_rng_gamma(rng, shape + 1) * pow(sq_rng_uniform(rng), 1 / shape);
    double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        double x = sq_rng_normal(rng), v = 1 + c * x;
        if (v <= 0)
            continue;
        v = v * v * v;
        if (log(sq_rng_uniform(rng)) < 0.5 * x * x + d - d * v + d * log(v))
            return d * v;
    }
}

double sq_rng_beta(sq_rng *rng, double a, double b)
{
    double x = sq_rng_gamma(rng, a), y = sq_rng_gamma(rng, b);
    return x / (x + y);
}
