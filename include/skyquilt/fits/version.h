/* The cfitsio that is loaded. Local. */
#ifndef SQ_FITS_VERSION_H
#define SQ_FITS_VERSION_H

const char *sq_cfitsio_version(void); /* "cfitsio 4.2.0" */

#endif
