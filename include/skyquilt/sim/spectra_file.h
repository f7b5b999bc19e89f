/* Readers of theory spectra in CAMB's text formats, and of beams.
 *
 * A spectra file has one row an L, ascending from 0, 1 or 2 (what lies below 2 is not used), in
 * columns divided by blanks: those that a header line "# L TT EE ..." names (order free; "TxT" and
 * CLASS's "1:l 2:TT" are understood, other columns passed over), or without a header by their
 * number L TT | L TT EE TE | L TT EE BB TE (lensedCls) | L TT EE TE PP TP (scalCls) | L TT EE BB TE
 * PP TP EP (lenspotentialCls). Missing L are interpolated by the cubic spline through the rows of D
 * = L (L + 1) C_L / (2 pi), for PP of [L (L + 1)]^2 C_L / (2 pi). A repeated L with the same values
 * to 1e-6 is dropped silently, to 1% with a warning (the first row holds); beyond that it is an
 * error.
 *
 * CAMB writes TT, EE, BB, TE as D in uK^2, PP as [L (L + 1)]^2 C_L / (2 pi), and PP of scalCls (PP
 * without BB) as L^4 C_L T^2 with T = 2.7255 K; files of bare C_L have C_L of phi in PP. The height
 * of TT over L = 200..300 and of PP over 40..100 tells them apart: a file that does not have the
 * unit asked for is refused with the unit that it seems to have. Local. */
#ifndef SQ_SIM_SPECTRA_FILE_H
#define SQ_SIM_SPECTRA_FILE_H

#include <stddef.h>

#include "base/status.h"

typedef enum sq_cl { SQ_CL_TT, SQ_CL_EE, SQ_CL_BB, SQ_CL_TE, SQ_CL_PP, SQ_CL_COUNT } sq_cl;

typedef enum sq_cl_unit {
    SQ_DL_UK2, /* what CAMB writes */
    SQ_CL_UK2,
    SQ_DL_K2,
    SQ_CL_K2,
    SQ_DL_ONE, /* relative to T = 2.7255 K */
    SQ_CL_ONE,
    SQ_CL_UNITS
} sq_cl_unit;

typedef struct sq_spectra {
    int lmax;
    unsigned has;            /* bits 1 << sq_cl of the columns that are there */
    double *cl[SQ_CL_COUNT]; /* [lmax + 1], uK^2 steradian (PP: of phi, steradian); 0 at L < 2 */
    char warning[256];       /* one line, or "" */
} sq_spectra;

const char *sq_cl_name(sq_cl column);
const char *sq_cl_unit_name(sq_cl_unit unit); /* "dl-uK2", ... */
/* SQ_ERR_USAGE lists the names. */
sq_status sq_cl_unit_parse(const char *name, sq_cl_unit *unit);

/* The columns `need` (bits) must be there, reach lmax (0: that of the last row, 300 at least), and
 * have no negative power up to it.
 * SQ_ERR_FORMAT, SQ_ERR_DATA: one line "PATH:LINE: reason"; SQ_ERR_IO. */
sq_status sq_spectra_read(const char *path, sq_cl_unit unit, unsigned need, int lmax,
                          sq_spectra *out);
/* The same of a text in memory. */
sq_status sq_spectra_parse(const char *text, size_t size, const char *path, sq_cl_unit unit,
                           unsigned need, int lmax, sq_spectra *out);
void sq_spectra_free(sq_spectra *spectra);

/* A beam's b_l in rows "l b_l", or b_l alone from l = 0 on, each up to lmax, within 0..1 and
 * 1 +- 2% at its first l: out[lmax + 1]. */
sq_status sq_beam_read(const char *path, int lmax, double *out);
/* The same of a text in memory: out[top + 1], top at least lmax. Rows beyond lmax are taken as far
 * as they are within 0..1; from there on, the Gaussian that meets the last. */
sq_status sq_beam_parse(const char *text, size_t size, const char *path, int lmax, int top,
                        double *out);

#endif
