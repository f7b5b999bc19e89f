/* IEEE 754 binary16 and back, round to nearest even. Local. */
#ifndef SQ_STORE_HALF_INTERNAL_H
#define SQ_STORE_HALF_INTERNAL_H

#include <stdint.h>
#include <string.h>

static inline uint16_t sq_half_from_float(float value)
{
    uint32_t bits, sign, magnitude;
    memcpy(&bits, &value, 4);
    sign = bits >> 16 & 0x8000u;
    magnitude = bits & 0x7fffffffu;
    if (magnitude >= 0x7f800000u) /* Inf and NaN; a NaN stays one */
        return (uint16_t)(sign | 0x7c00u | (magnitude > 0x7f800000u ? 0x200u : 0));
    if (magnitude >= 0x477ff000u) /* rounds beyond 65504 */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { /* subnormal: the adder does the rounding */
        float absolute, magic = 0.5f;
        uint32_t sum;
        memcpy(&absolute, &magnitude, 4);
        absolute += magic;
        memcpy(&sum, &absolute, 4);
        return (uint16_t)(sign | (sum - 0x3f000000u));
    }
    uint32_t odd = magnitude >> 13 & 1u;
    return (uint16_t)(sign | (magnitude - 0x38000000u + 0xfffu + odd) >> 13);
}

static inline float sq_half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u, bits;
    uint32_t fraction = half & 0x3ffu;
    float value;
    if (exponent == 0) {
        value = (float)fraction * 0x1p-24f;
        return sign ? -value : value;
    }
    bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112u) << 23) | fraction << 13;
    memcpy(&value, &bits, 4);
    return value;
}

#endif
