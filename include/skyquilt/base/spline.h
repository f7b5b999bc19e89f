/* The natural cubic spline through nodes x[0] < x[1] < ... Local, reentrant. */
#ifndef SQ_BASE_SPLINE_H
#define SQ_BASE_SPLINE_H

/* Second derivatives at the nodes: second[count], work[count]; count >= 2. */
void sq_spline_fit(int count, const double *x, const double *y, double *second, double *work);
/* The value at `at` in the interval x[i] .. x[i + 1]; the node's own y at a node. */
double sq_spline_at(const double *x, const double *y, const double *second, int i, double at);

#endif
