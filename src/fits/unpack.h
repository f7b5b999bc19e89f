/* Unpacking .gz and .bz2 files into memory with a cap on what they grow to. Local. */
#ifndef SQ_FITS_UNPACK_H
#define SQ_FITS_UNPACK_H

#include <stddef.h>

#include "base/status.h"

typedef enum sq_packing { SQ_PACKING_NONE, SQ_PACKING_GZ, SQ_PACKING_BZ2 } sq_packing;

sq_packing sq_packing_of(const unsigned char magic[4]);

/* All members of the file behind `fd` (left open). With `whole`, more than `cap` bytes are
 * SQ_ERR_DATA and a broken end is SQ_ERR_FORMAT; without it the first `cap` bytes are enough and
 * *cut says whether there were more. */
sq_status sq_unpack(const char *path, int fd, sq_packing packing, size_t cap, int whole, void **out,
                    size_t *size, size_t *capacity, int *cut);

#endif
