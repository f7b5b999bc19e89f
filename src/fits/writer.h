/* A FITS file being written: under a temporary name until it is complete and on disk. cfitsio's
 * running status is kept in the writer; what is called after a failure does nothing, and
 * sq_writer_finish says what failed. Local. */
#ifndef SQ_FITS_WRITER_H
#define SQ_FITS_WRITER_H

#include "fits/fits_internal.h"
#include "fits/tile.h"

typedef struct sq_writer {
    const char *path;
    char partial[SQ_PATH_MAX + 16];
    fitsfile *fits;
    int status;
    const char *what; /* what is being written, for the error */
} sq_writer;

sq_status sq_writer_begin(sq_writer *w, const char *path);
/* Close, flush and rename; on any failure so far (`rc` too) remove the temporary file and say why.
 */
sq_status sq_writer_finish(sq_writer *w, sq_status rc);

void sq_writer_text(sq_writer *w, const char *key, const char *value, const char *comment);
/* 80-character cards, comments left out. */
void sq_writer_cards(sq_writer *w, const char *cards);
/* CHECKSUM and DATASUM of the present HDU as cfitsio writes them, but without the date in their
 * comments: equal data makes equal files. */
void sq_writer_checksums(sq_writer *w);

#endif
