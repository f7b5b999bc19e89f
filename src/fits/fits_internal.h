/* Shared by the readers and writers of fits/: errors of cfitsio as one line. Local. */
#ifndef SQ_FITS_INTERNAL_H
#define SQ_FITS_INTERNAL_H

#include <fitsio.h>

#include "base/status.h"

enum { SQ_CARD = 80 };

/* "PATH[HDU]: what: cfitsio's reason" with the status that fits cfitsio's code; its message stack
 * is emptied. */
sq_status sq_fits_fail(int status, const char *path, int hdu, const char *what);

#endif
