#include "base/spline.h"

void sq_spline_fit(int count, const double *x, const double *y, double *second, double *work)
{
    second[0] = work[0] = 0;
    for (int i = 1; i < count - 1; i++) {
        double before = x[i] - x[i - 1], after = x[i + 1] - x[i];
        double share = before / (before + after), pivot = share * second[i - 1] + 2;
        double bend = (y[i + 1] - y[i]) / after - (y[i] - y[i - 1]) / before;
        second[i] = (share - 1) / pivot;
        work[i] = (6 * bend / (before + after) - share * work[i - 1]) / pivot;
    }
    second[count - 1] = 0;
    for (int i = count - 2; i >= 0; i--)
        second[i] = second[i] * second[i + 1] + work[i];
}

double sq_spline_at(const double *x, const double *y, const double *second, int i, double at)
{
    double h = x[i + 1] - x[i], a = (x[i + 1] - at) / h, b = (at - x[i]) / h;
    return a * y[i] + b * y[i + 1] +
           ((a * a * a - a) * second[i] + (b * b * b - b) * second[i + 1]) * h * h / 6;
}
