#include "base/select.h"

#include <math.h>

#define SELECT(name, type)                                                                         \
    type name(type *value, int64_t n, int64_t k)                                                   \
    {                                                                                              \
        int64_t low = 0, high = n - 1;                                                             \
        while (low < high) {                                                                       \
            type pivot = value[low + (high - low) / 2];                                            \
            int64_t i = low, j = high;                                                             \
            while (i <= j) {                                                                       \
                while (value[i] < pivot)                                                           \
                    i++;                                                                           \
                while (value[j] > pivot)                                                           \
                    j--;                                                                           \
                if (i <= j) {                                                                      \
                    type held = value[i];                                                          \
                    value[i++] = value[j];                                                         \
                    value[j--] = held;                                                             \
                }                                                                                  \
            }                                                                                      \
            if (k <= j)                                                                            \
                high = j;                                                                          \
            else if (k >= i)                                                                       \
                low = i;                                                                           \
            else                                                                                   \
                break;                                                                             \
        }                                                                                          \
        return value[k];                                                                           \
    }

SELECT(sq_select, double)
SELECT(sq_select_f32, float)

double sq_median(double *value, int64_t n)
{
    if (n == 0)
        return NAN;
    double middle = sq_select(value, n, n / 2);
    if (n % 2)
        return middle;
    double below = value[0];
    for (int64_t i = 1; i < n / 2; i++)
        below = fmax(below, value[i]);
    return 0.5 * (below + middle);
}
