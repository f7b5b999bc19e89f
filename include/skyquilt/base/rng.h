/* Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, SC11).
 *
 * A stream is named by (seed, domain, id): `domain` says what it is for, `id` is a patch, tile or
 * object number, never a rank, so that results do not depend on who computes them. Local. */
#ifndef SQ_BASE_RNG_H
#define SQ_BASE_RNG_H

#include <stdint.h>

typedef struct sq_rng {
    uint32_t key[2];
    uint32_t counter[4];
    uint32_t buffer[4];
    int used;          /* words of buffer already handed out */
    int has_normal;
    double normal;     /* the second half of a Box-Muller pair */
} sq_rng;

void sq_rng_init(sq_rng *rng, uint64_t seed, uint32_t domain, uint64_t id);
uint32_t sq_rng_u32(sq_rng *rng);
uint64_t sq_rng_u64(sq_rng *rng);
double sq_rng_uniform(sq_rng *rng);                          /* in (0, 1) */
double sq_rng_range(sq_rng *rng, double low, double high);   /* uniform in (low, high) */
double sq_rng_normal(sq_rng *rng);                           /* mean 0, variance 1 */
void sq_rng_normal_fill(sq_rng *rng, float *out, int64_t n); /* n standard normals, fast path */
int64_t sq_rng_poisson(sq_rng *rng, double mean);            /* exact below 1e6, normal above */
double sq_rng_gamma(sq_rng *rng, double shape);              /* unit scale, Marsaglia & Tsang 2000 */
double sq_rng_beta(sq_rng *rng, double a, double b);
/* The raw Philox4x32-10 block function, exposed for its known-answer test. */
void sq_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);

#endif
