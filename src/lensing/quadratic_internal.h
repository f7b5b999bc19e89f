/* The estimators as sums of terms, shared by quadratic.c and covariance.c.
 *
 * An estimator of X and Y is g(L) = -sum_j i L_j FT[v_j], v_j = sum over its terms of
 *     sign FT^-1[i l_j C Xbar xturn] FT^-1[Ybar yturn]. */
#ifndef SQ_LENSING_QUADRATIC_INTERNAL_H
#define SQ_LENSING_QUADRATIC_INTERNAL_H

#include "lensing/products.h"
#include "lensing/quadratic.h"

enum { TT, EE, TE, SPECTRA };
enum { T, E, B, FIELDS };
enum { TERMS_MAX = 3 };

typedef struct term {
    double sign; /* 0 ends */
    int x, spectrum;
    turn xturn;
    int y;
    turn yturn;
} term;

extern const term sq_qe_terms[SQ_QE_COUNT][TERMS_MAX];

/* Tables of quadratic.h's spectra have one value for each mode of the quadrant (products.h). */
struct sq_quadratic {
    int lmin, lmax, polarised;
    int64_t pixels, modes;
    products products;
    double *weight[SPECTRA], *gradient[SPECTRA]; /* 0 outside lmin..lmax; gradient may be weight */
    double *inverse[FIELDS];                     /* 1 / C_tot */
    double *response[SQ_QE_COUNT], *own[SQ_QE_COUNT]; /* [modes], R and R_ww, when asked for */
    double *curl_response[SQ_QE_COUNT];               /* R of the curl, when asked for */
    double *bar[FIELDS][TURNS];                       /* maps of Ybar, when asked for */
    double *sum[2][SQ_QE_COUNT], *gradient_map;       /* v_x and v_y */
};

/* A table of l = 0..lmax at the quadrant's modes within lmin..lmax, or its inverse. */
sq_status sq_quadratic_spread(const sq_quadratic *q, const double *table, int invert,
                              const char *what, double **out);
/* The products of the covariance of the g of a and b with weights wa and wb for fields of power
 * 1 / inverse, and `cross` = C^TE / (C^TT C^EE) between T and E (NULL: none). */
void sq_quadratic_gram(const sq_quadratic *q, sq_qe a, double *const *wa, sq_qe b,
                       double *const *wb, const double *cross, product_list *out);
/* Those of `kinds` (bits 1 << kind), together. */
sq_status sq_quadratic_need_responses(sq_quadratic *q, unsigned kinds);
/* L^4 / 4 of a mode: from the power of phi to that of kappa. */
double sq_quadratic_to_kappa(const sq_quadratic *q, int64_t mode);

#endif
