/* A tangent-plane projection as Starlink AST dumps a Mapping, which is how lsst.images keeps it.
 * Local. */
#ifndef SQ_FITS_AST_H
#define SQ_FITS_AST_H

#include <stdio.h>

#include "base/status.h"

typedef struct sq_tangent {
    double x, y;    /* of the tangent point, 0-based pixels */
    double cd[4];   /* radians a pixel, row by row */
    double ra, dec; /* radians */
} sq_tangent;

/* From the cards of a plain TAN (see sq_wcs_to_header); SQ_ERR_USAGE of another projection. */
sq_status sq_tangent_read(const char *cards, const char *where, sq_tangent *out);
/* Pixels to the sky: shift, scale and turn, undo the gnomonic projection, turn the sphere
 * (Calabretta & Greisen 2002, A&A 395, 1077, with a native pole at longitude 180 degrees). Lines
 * and quotes are escaped for a JSON text. */
void sq_ast_mapping(FILE *file, const sq_tangent *tangent);

#endif
