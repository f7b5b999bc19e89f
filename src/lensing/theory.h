/* The spectra that the lensing probe works with, of files or the fiducial set. All [0..top], uK^2
 * steradian; 0 beyond the end of a file. Local. */
#ifndef SQ_LENSING_THEORY_H
#define SQ_LENSING_THEORY_H

#include "base/files.h"
#include "base/hash.h"
#include "lensing/settings.h"

enum { THEORY_TT, THEORY_EE, THEORY_TE, THEORY_BB };

typedef struct lensing_theory {
    int top;
    double *lensed[4];         /* by THEORY_TT .. THEORY_BB */
    double *gradient[3];       /* NULL: the lensed ones stand in */
    double *unlensed[3], *phi; /* of the potential */
    double *beam;              /* b_l alone */
    double *noise[2];          /* of T, of Q and U each; NULL: white */
    sq_hash hash;              /* of the content of the files */
} lensing_theory;

/* `top` at least lmax. SQ_ERR_CONFIG and SQ_ERR_DATA name the key or "FILE:LINE". */
sq_status lensing_theory_load(const lensing_settings *settings, const char *folder, sq_files *files,
                              int top, lensing_theory *out);
void lensing_theory_free(lensing_theory *theory);

#endif
