/* Sums of products of transforms of real functions that are even under l -> -l, as responses and
 * covariances of quadratic estimators need them:
 *     out(L) = sum over products of scale L_i L_j integral d2x e^(-i L.x) A(x) B(x),
 * A and B the transforms of factors: tables times cosines and sines of 2 phi_l times up to two
 * components of l, one of them bringing a factor i, so that A and B are real.
 *
 * Every factor is even or odd in l_x and in l_y, and so is its transform. One transform therefore
 * carries four of them, one of each parity, and a quadrant of the plane holds each. Tables have one
 * value for each mode of the quadrant: rows l_y >= 0, columns l_x >= 0. Local, one thread. */
#ifndef SQ_LENSING_PRODUCTS_H
#define SQ_LENSING_PRODUCTS_H

#include <complex.h>

#include "base/status.h"
#include "fourier/flat.h"

typedef enum turn { ROUND, COS2, SIN2, TURNS } turn;
enum { NO_AXIS, ALONG_X, ALONG_Y };

typedef struct factor {
    const double *part[3]; /* multiplied; NULL: 1 */
    turn turn[2];          /* ascending; ROUND: 1 */
    int axis[2];
} factor;

typedef struct product {
    double scale;
    int pair; /* L_i L_j: 0 xx, 1 xy, 2 yy */
    factor a, b;
} product;

enum { PRODUCTS_MAX = 64 };
typedef struct product_list {
    int count;
    product item[PRODUCTS_MAX];
} product_list;

typedef struct products {
    sq_flat flat;
    sq_fft *fft;
    int rows, columns;           /* of the quadrant */
    int used_rows, used_columns; /* tables are 0 from there on */
    double *ly, *lx;             /* [rows], [columns], not negative */
    double *turn[TURNS];         /* [rows * columns]; ROUND: NULL */
    double _Complex *work;       /* [modes] */
    double *map, *line;          /* [pixels], [columns] */
    double *quarter;             /* transforms of factors, then three sums */
    size_t capacity;
} products;

/* Tables are 0 beyond l = lmax. */
sq_status products_create(const sq_flat *flat, int lmax, products *p);
void products_free(products *p);
/* A factor's function in one row of the quadrant, without i: out[used_columns]. */
void products_row(const products *p, const factor *f, int row, double *out);
/* One more product; scales of equal ones are added. */
void products_add(product_list *list, double scale, int pair, const factor *a, const factor *b);
/* The sum of each list, out[lists][modes]: each distinct factor of all is transformed once. `curl`:
 * with (L_y, -L_x) in the place of L. */
sq_status products_sums(products *p, int lists, const product_list *list, int curl,
                        double *const *out);

#endif
